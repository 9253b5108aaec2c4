//! Every way in which a release ends before it changed anything.

use std::collections::BTreeMap;

use portcullis_domain::event::{End, What};
use portcullis_domain::facts::ScanStatus;
use portcullis_domain::policy::{Severity, Waiting};
use portcullis_domain::scope::{Scope, Stop};
use portcullis_domain::signal::{Command, FactKind};
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, commit, image, repository};
use portcullis_engine::recorder::Commanded;

/// Nothing was changed, and nothing is going on any more.
async fn assert_untouched(world: &World) {
    assert!(world.cluster.effects().is_empty(), "the cluster was changed");
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn one_reject_is_a_veto() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    let release = world.newest().await;
    let commanded = world.command("ama", Command::Reject { release, reason: "not today".into() }).await;
    assert!(matches!(commanded, Commanded::Accepted(_)));
    world.run_for(Millis::hours(1)).await;
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Rejected)));
    assert_untouched(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_critical_finding_blocks_even_an_approved_release() {
    let mut world = World::new();
    world.publish("api", 1);
    world.publish("web", 1);
    world.registry.set_scan(image("api", 1), ScanStatus::InProgress, world.clock.now(), BTreeMap::new());
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(3)).await;
    let release = world.newest().await;
    assert_eq!(world.phase(release).await.unwrap().name(), "gated", "a running scan holds");
    let worse = BTreeMap::from([(Severity::Critical, 1)]);
    world.registry.set_scan(image("api", 1), ScanStatus::Complete, world.clock.now(), worse);
    world.run_for(Millis::minutes(2)).await;
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Rejected)));
    assert_untouched(&world).await;
}

#[tokio::test(start_paused = true)]
async fn without_an_approval_it_is_brought_to_mind_and_expires() {
    let mut world = World::new();
    world.push_all(1).await;
    world.run_for(Millis::hours(25)).await;
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Expired)));
    let reminded = world.events().await.iter().filter(|event| matches!(event.what, What::Reminded { .. })).count();
    assert_eq!(reminded, 5, "every four hours of twenty-four");
    assert_untouched(&world).await;
}

#[tokio::test(start_paused = true)]
async fn with_an_image_missing_it_expires() {
    let mut world = World::new();
    world.push("api", 1).await;
    world.run_for(Millis::hours(3)).await;
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Expired)));
    assert_untouched(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_one_takes_its_place() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    let first = world.newest().await;
    world.run_for(Millis::minutes(5)).await;
    world.push_all(2).await;
    world.settle().await;
    let second = world.newest().await;
    assert_eq!(world.ending(first).await, Some(Ending::Settled(End::Superseded)));
    assert_eq!(world.phase(second).await.unwrap().name(), "gated");
    assert_untouched(&world).await;
}

#[tokio::test(start_paused = true)]
async fn where_all_may_wait_each_has_its_turn() {
    let mut world = World::with(|policy| policy.waiting = Waiting::Queue);
    world.push_all(1).await;
    world.settle().await;
    let first = world.newest().await;
    world.run_for(Millis::minutes(1)).await;
    world.push_all(2).await;
    world.settle().await;
    assert_eq!(world.phase(first).await.unwrap().name(), "gated", "the older one still waits");
    let second = world.newest().await;
    for release in [first, second] {
        let plan = world.release(release).await.unwrap().plan.unwrap().id;
        world.command("kofi", Command::Approve { release, plan, typed: None }).await;
    }
    world.run_for(Millis::hours(4)).await;
    assert_eq!(world.ending(first).await, Some(Ending::Live));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_gives_it_up() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    let release = world.newest().await;
    world.command("kofi", Command::Cancel { release, reason: "wrong branch".into() }).await;
    world.run_for(Millis::minutes(5)).await;
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Cancelled)));
    assert!(world.state().await.outstanding.is_empty());
    assert_untouched(&world).await;
}

#[tokio::test(start_paused = true)]
async fn an_older_commit_opens_nothing_on_its_own() {
    let mut world = World::new();
    world.push_all(5).await;
    world.settle().await;
    let release = world.newest().await;
    world.run_for(Millis::minutes(1)).await;
    world.push("api", 3).await;
    world.settle().await;
    assert_eq!(world.newest().await, release);
    assert!(world.events().await.iter().any(|event| matches!(event.what, What::Outdated { .. })));
    assert_untouched(&world).await;
}

#[tokio::test(start_paused = true)]
async fn while_a_stop_is_on_nothing_begins_and_when_it_is_lifted_it_goes_on_at_once() {
    let mut world = World::new();
    let stop =
        Stop { who: "ama".parse().unwrap(), reason: "the shop is full".into(), since: world.clock.now(), until: None };
    world.push_all(1).await;
    world.settle().await;
    world.recorder.set_stop(&Scope::All, Some(stop)).await.unwrap();
    world.approve("kofi").await;
    world.run_for(Millis::minutes(30)).await;
    assert_untouched(&world).await;
    world.recorder.set_stop(&Scope::All, None).await.unwrap();
    world.run_for(Millis::seconds(2)).await;
    let release = world.newest().await;
    assert!(world.phase(release).await.unwrap().in_flight(), "it did not wait for the next minute");
    world.run_until_phase("live").await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_an_end_is_lifted_by_the_sweep() {
    let mut world = World::new();
    let now = world.clock.now();
    let stop = Stop {
        who: "ama".parse().unwrap(),
        reason: "until the hour".into(),
        since: now,
        until: Some(now + Millis::minutes(20)),
    };
    let scope = Scope::Environment("production".parse().unwrap());
    world.recorder.set_stop(&scope, Some(stop)).await.unwrap();
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(19)).await;
    assert_untouched(&world).await;
    world.run_for(Millis::minutes(3)).await;
    let release = world.newest().await;
    assert!(world.phase(release).await.unwrap().in_flight());
}

#[tokio::test(start_paused = true)]
async fn an_approval_of_an_older_plan_and_one_of_the_author_do_not_count() {
    let mut world = World::with(|policy| {
        let dev = "dev".parse().unwrap();
        policy.groups.values_mut().for_each(|group| {
            group.insert(std::clone::Clone::clone(&dev));
        });
    });
    world.push_all(1).await;
    world.settle().await;
    let release = world.newest().await;
    let plan = world.release(release).await.unwrap().plan.unwrap().id;
    let own = world.command("dev", Command::Approve { release, plan, typed: None }).await;
    assert!(matches!(own, Commanded::Refused { .. }), "the author approved their own change");
    let worse = BTreeMap::from([(Severity::High, 3)]);
    world.registry.set_scan(image("web", 1), ScanStatus::Complete, world.clock.now(), worse);
    world.run_for(Millis::minutes(2)).await;
    let old = world.command("kofi", Command::Approve { release, plan, typed: None }).await;
    assert!(matches!(old, Commanded::Refused { .. }), "evidence got worse: the plan is another one");
    world.run_for(Millis::minutes(5)).await;
    assert_untouched(&world).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_holds() {
    use portcullis_engine::memory::{Faults, Op};
    for op in [Op::Image, Op::Scan, Op::Commit, Op::Observe, Op::Manifests, Op::Alarms] {
        let mut world = World::new();
        world.push_all(1).await;
        world.faults.fail(op, Faults::ALWAYS);
        world.settle().await;
        let release = world.newest().await;
        let plan = world.release(release).await.unwrap().plan.map(|plan| plan.id);
        if let Some(plan) = plan {
            world.command("kofi", Command::Approve { release, plan, typed: None }).await;
        }
        world.run_for(Millis::minutes(10)).await;
        assert_eq!(
            world.phase(release).await.map(portcullis_domain::target::Phase::name),
            Some("gated"),
            "{op:?} failed and did not hold"
        );
        assert_untouched(&world).await;
        world.faults.heal(op);
        world.run_for(Millis::minutes(2)).await;
        if world.phase(release).await.is_some_and(|phase| phase.name() == "gated") {
            // What it was approved for is not what is known now: the plan is another one.
            world.approve("kofi").await;
        }
        world.run_until_phase("live").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_is_raised_and_never_followed() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    let other = image("api", 77);
    let tag = portcullis_engine::memory::world::tag(1);
    world.registry.push(&repository("api"), other, &tag, world.clock.now());
    let fact = world.fact(FactKind::ImagePushed { repository: repository("api"), digest: other, tag: Some(tag) });
    world.ingest(&fact).await;
    world.settle().await;
    let release = world.newest().await;
    let release = world.release(release).await.unwrap();
    assert_eq!(
        (release.commit, release.artifacts.values().any(|artifact| artifact.digest == other)),
        (commit(1), false)
    );
    assert!(world.events().await.iter().any(|event| matches!(event.what, What::TagMoved { .. })));
    assert_untouched(&world).await;
}
