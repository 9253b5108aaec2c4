//! Every way in which a release that began is undone: by itself, by an alarm, by a person in every phase.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::{End, Reason, What};
use portcullis_domain::facts::AlarmState;
use portcullis_domain::policy::{Colour, Metric};
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::world::{Ending, image, name};
use portcullis_engine::memory::{Build, Op, World};
use portcullis_engine::recorder::Commanded;

async fn approved() -> World {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world
}

/// What served before serves again, the new colour is at rest, and every object is fenced on the way back.
async fn assert_rolled_back(world: &mut World) -> Reason {
    let release = world.newest().await;
    let began = world.events().await.into_iter().find_map(|event| match event.what {
        What::RollbackBegan { release: of, why, .. } if of == release => Some((why, event.seq)),
        _ => None,
    });
    let Some((why, seq)) = began else { panic!("no rollback began\n{}", world.story().await) };
    assert_eq!(world.ending(release).await, Some(Ending::RolledBack), "{}", world.story().await);
    assert!(world.all_serve(0), "what served before serves again");
    for service in ["api", "web"] {
        let green = world.cluster.found(&world.target, &ObjectKey::workload(&name(service), Colour::Green));
        if let Some(stamp) = green.stamp {
            assert_eq!(stamp.value, Value::Workload { digest: image(service, 1), replicas: 0 }, "green is at rest");
            assert!(stamp.fence.is_some_and(|fence| fence.seq > seq), "a late driver of this release is fenced off");
        }
    }
    assert!(world.state().await.quarantine.contains_key(&image("api", 1)), "its digests are in quarantine");
    world.assert_sound().await;
    why
}

#[tokio::test(start_paused = true)]
async fn when_a_threshold_is_breached_in_the_watch() {
    let mut world = approved().await;
    world.metrics.set(image("web", 1), Metric::ErrorRate, 680);
    world.run_until_phase("watching").await;
    let switched = world.clock.now();
    world.run_until(Millis::minutes(5), "rolled back", |state| state.releases.is_empty()).await;
    let why = assert_rolled_back(&mut world).await;
    assert!(matches!(&why, Reason::Threshold { service, value: 680, .. } if *service == name("web")), "{why}");
    let restored = world.clock.now().since(switched);
    assert!(restored <= Millis::seconds(70), "one window and a few seconds: {restored}");
}

#[tokio::test(start_paused = true)]
async fn when_a_threshold_is_breached_after_live() {
    let mut world = approved().await;
    world.run_until_phase("live").await;
    world.run_for(Millis::minutes(7)).await;
    world.metrics.set(image("api", 1), Metric::ErrorRate, 2_000);
    world.run_until(Millis::minutes(4), "rolled back", |state| state.releases.is_empty()).await;
    assert!(matches!(assert_rolled_back(&mut world).await, Reason::Threshold { .. }));
}

#[tokio::test(start_paused = true)]
async fn when_green_never_becomes_ready() {
    let mut world = approved().await;
    let sick = Build { problem: Some("CrashLoopBackOff".into()), ..Build::default() };
    world.cluster.set_build(image("web", 1), sick);
    world.run_until(Millis::minutes(15), "rolled back", |state| state.releases.is_empty()).await;
    assert!(matches!(assert_rolled_back(&mut world).await, Reason::Step { .. }));
    assert!(!world.cluster.effects().iter().any(|effect| effect.to == Value::Traffic { green: 10_000 }));
}

#[tokio::test(start_paused = true)]
async fn when_its_pods_fail_in_the_watch() {
    let mut world = approved().await;
    world.run_until_phase("watching").await;
    world.run_for(Millis::minutes(2)).await;
    let sick = Build { problem: Some("OOMKilled".into()), ..Build::default() };
    world.cluster.set_build(image("api", 1), sick);
    world.run_until(Millis::minutes(8), "rolled back", |state| state.releases.is_empty()).await;
    assert!(matches!(assert_rolled_back(&mut world).await, Reason::Health { .. }));
}

#[tokio::test(start_paused = true)]
async fn when_a_test_of_green_fails() {
    let mut world = approved().await;
    world.cluster.fail_test("smoke", "GET /health answered 503");
    world.run_until(Millis::minutes(5), "rolled back", |state| state.releases.is_empty()).await;
    let why = assert_rolled_back(&mut world).await;
    assert!(why.to_string().contains("503"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn when_an_alarm_rings_in_the_watch() {
    let mut world = approved().await;
    world.run_until_phase("watching").await;
    world.run_for(Millis::seconds(90)).await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    let rang = world.clock.now();
    world.run_until(Millis::minutes(1), "rolled back", |state| state.releases.is_empty()).await;
    assert!(matches!(assert_rolled_back(&mut world).await, Reason::Alarm { .. }));
    assert!(world.clock.now().since(rang) <= Millis::seconds(5), "blue was up: seconds, not minutes");
}

#[tokio::test(start_paused = true)]
async fn when_an_alarm_rings_of_which_no_event_came() {
    let mut world = approved().await;
    world.run_until_phase("watching").await;
    let alarm = "shop-errors".parse().unwrap();
    world.metrics.set_alarm(&alarm, AlarmState::Alarm, world.clock.now() + Millis(1));
    world.run_until(Millis::seconds(90), "rolled back", |state| state.releases.is_empty()).await;
    assert!(matches!(assert_rolled_back(&mut world).await, Reason::Alarm { .. }), "the window's reading told it");
}

#[tokio::test(start_paused = true)]
async fn by_a_person_in_every_phase() {
    for phase in ["deploying", "verifying", "watching", "live"] {
        let mut world = World::new();
        world.cluster.set_test_takes(Millis::seconds(10));
        world.push_all(1).await;
        world.settle().await;
        world.approve("kofi").await;
        world.run_until_phase(phase).await;
        let commanded = world.roll_back("ama").await;
        assert!(matches!(commanded, Commanded::Accepted(_)), "{phase}: {commanded:?}");
        world.run_until(Millis::minutes(2), phase, |state| state.releases.is_empty()).await;
        assert!(matches!(assert_rolled_back(&mut world).await, Reason::Person { .. }), "{phase}");
        let again = world.roll_back("ama").await;
        world.run_for(Millis::minutes(5)).await;
        assert!(world.all_serve(0), "{phase}: no rollback of a rollback: {again:?}");
        world.assert_sound().await;
    }
}

#[tokio::test(start_paused = true)]
async fn by_a_person_while_a_write_of_the_switch_is_under_way() {
    // Each write from the first claim on is held in turn; then a person rolls back, and only then it lands.
    for held in 0..4 {
        let mut world = World::new();
        world.cluster.set_test_takes(Millis::seconds(10));
        world.push_all(1).await;
        world.settle().await;
        world.approve("kofi").await;
        world.run_until_phase("verifying").await;
        world.faults.hold_before_nth(Op::Write, held);
        world.run_for(Millis::seconds(30)).await;
        assert_eq!(world.phase(world.newest().await).await.unwrap().name(), "switching");
        world.roll_back("ama").await;
        world.faults.heal(Op::Write);
        world.run_until(Millis::minutes(2), "rolled back", |state| state.releases.is_empty()).await;
        assert!(matches!(assert_rolled_back(&mut world).await, Reason::Person { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn by_a_person_while_it_is_backed_up_it_just_ends() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    world.faults.hold_before(Op::Export);
    world.approve("kofi").await;
    world.run_until_phase("backing_up").await;
    world.roll_back("ama").await;
    world.faults.heal(Op::Export);
    world.run_for(Millis::minutes(2)).await;
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Cancelled)));
    assert!(world.cluster.effects().is_empty() && world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn by_a_person_who_cancels_it_in_flight() {
    let mut world = World::new();
    world.cluster.set_test_takes(Millis::seconds(10));
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("verifying").await;
    let release = world.newest().await;
    world.command("kofi", Command::Cancel { release, reason: "not this one".into() }).await;
    world.run_until(Millis::minutes(2), "rolled back", |state| state.releases.is_empty()).await;
    assert_rolled_back(&mut world).await;
}

#[tokio::test(start_paused = true)]
async fn with_nothing_to_return_to_a_person_is_called_and_traffic_stays() {
    let mut world = World::empty(|_| {});
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.metrics.set(image("api", 1), Metric::ErrorRate, 900);
    world.run_until_phase("needs_help").await;
    assert!(world.all_serve(1), "what serves is left to serve");
    world.run_for(Millis::minutes(40)).await;
    let louder = world.events().await.iter().filter(|event| matches!(event.what, What::Escalated { .. })).count();
    assert!(louder >= 2, "it gets louder until somebody comes");
    let release = world.newest().await;
    world.command("ama", Command::Resolve { reason: "fixed by hand".into() }).await;
    world.run_for(Millis::minutes(2)).await;
    assert_eq!(world.ending(release).await, Some(Ending::Resolved), "{}", world.story().await);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn after_the_old_colour_was_let_go_it_is_scaled_up_first() {
    let mut world = approved().await;
    world.run_until_phase("live").await;
    world.run_for(Millis::minutes(40)).await;
    let blue = ObjectKey::workload(&name("api"), Colour::Blue);
    assert_eq!(world.cluster.found(&world.target, &blue).ready, 0, "blue is at rest");
    world.roll_back("kofi").await;
    world.run_until(Millis::minutes(3), "rolled back", |state| state.releases.is_empty()).await;
    assert!(matches!(assert_rolled_back(&mut world).await, Reason::Person { .. }));
}

#[tokio::test(start_paused = true)]
async fn when_the_old_colour_cannot_come_up_traffic_stays_and_a_person_is_called() {
    let mut world = approved().await;
    world.run_until_phase("live").await;
    world.run_for(Millis::minutes(40)).await;
    let sick = Build { problem: Some("ImagePullBackOff".into()), ..Build::default() };
    world.cluster.set_build(image("api", 0), sick.clone());
    world.cluster.set_build(image("web", 0), sick);
    world.roll_back("kofi").await;
    world.run_until_phase("needs_help").await;
    assert!(world.all_serve(1), "requests are answered all the while");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_policy_file_it_still_finds_its_way_back() {
    let mut world = approved().await;
    world.run_until_phase("watching").await;
    world.policies.remove(&world.target);
    world.metrics.set(image("api", 1), Metric::ErrorRate, 900);
    world.run_until(Millis::minutes(5), "rolled back", |state| state.releases.is_empty()).await;
    world.policies.set(World::policy());
    assert!(matches!(assert_rolled_back(&mut world).await, Reason::Threshold { .. }));
}

#[tokio::test(start_paused = true)]
async fn with_registry_source_and_metrics_gone_it_still_finds_its_way_back() {
    use portcullis_engine::memory::Faults;
    let mut world = approved().await;
    world.run_until_phase("watching").await;
    for op in [Op::Image, Op::Scan, Op::List, Op::Commit, Op::Measure, Op::Alarms, Op::Get, Op::Put] {
        world.faults.fail(op, Faults::ALWAYS);
    }
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(1), "rolled back", |state| state.releases.is_empty()).await;
    assert_rolled_back(&mut world).await;
}
