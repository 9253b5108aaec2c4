//! Lost, doubled, late, reordered: a message changes nothing but time.

use std::collections::BTreeMap;

use portcullis_domain::event::What;
use portcullis_domain::facts::{AlarmState, ScanStatus};
use portcullis_domain::names::Seq;
use portcullis_domain::policy::Severity;
use portcullis_domain::signal::FactKind;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image, repository};
use portcullis_engine::ports::Wake;

#[tokio::test(start_paused = true)]
async fn a_redelivered_event_changes_nothing() {
    let mut world = World::new();
    let fact = world.publish("api", 1);
    assert_eq!(world.ingest(&fact).await.targets.len(), 1);
    world.settle().await;
    let before = world.state().await.seq;
    let again = world.ingest(&fact).await;
    assert!(again.already_done);
    assert_eq!((again.targets[0].1, world.state().await.seq), (0, before));

    let mut late = fact.clone();
    late.delivery = "another-delivery".parse().unwrap();
    let doubled = world.ingest(&late).await;
    assert_eq!(
        (doubled.targets[0].1, world.state().await.seq),
        (0, before),
        "the same push, told anew, says nothing new"
    );
}

#[tokio::test(start_paused = true)]
async fn a_push_that_concerns_nobody_appends_nothing() {
    let mut world = World::new();
    let mut fact = world.publish("api", 1);
    if let FactKind::ImagePushed { repository, .. } = &mut fact.kind {
        *repository = portcullis_engine::memory::world::repository("unknown");
    }
    assert!(world.ingest(&fact).await.targets.is_empty());
    assert!(world.events().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_event_is_found_by_the_sweep() {
    let mut world = World::new();
    world.run_for(Millis::minutes(2)).await;
    assert!(world.events().await.is_empty(), "what was there before is not our business");
    world.publish("api", 1);
    world.publish("web", 1);
    let report = world.sweep_once().await;
    assert_eq!(report.events_lost, 2);
    assert_eq!(world.sweep_once().await.events_lost, 0, "found once");
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.run_for(Millis::hours(2)).await;
    let opened = world.events().await.iter().filter(|event| matches!(event.what, What::Opened { .. })).count();
    assert_eq!(opened, 1, "a release that ended is not found again: {}", world.story().await);
    let outdated = world.events().await.iter().any(|event| matches!(event.what, What::Outdated { .. }));
    assert!(!outdated);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn when_every_wake_is_lost_the_sweep_alone_brings_it_live() {
    let mut world = World::new();
    world.queue.copies(0);
    world.push_all(1).await;
    for _ in 0..600 {
        world.run_for(Millis::minutes(1)).await;
        // Only what the sweep sends arrives.
        world.queue.copies(1);
        world.sweep_once().await;
        world.queue.copies(0);
        world.settle().await;
        let release = world.newest().await;
        let state = world.release(release).await;
        if let Some(plan) = state.filter(|release| release.approvals.is_empty()).and_then(|release| release.plan) {
            let command = portcullis_domain::signal::Command::Approve { release, plan: plan.id, typed: None };
            world.command("kofi", command).await;
        }
        if world.ending(release).await == Some(Ending::Live) {
            break;
        }
    }
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::Live), "{}", world.story().await);
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn doubled_wakes_do_nothing_twice() {
    let mut once = World::new();
    let mut thrice = World::new();
    thrice.queue.copies(3);
    for world in [&mut once, &mut thrice] {
        world.push_all(1).await;
        world.settle().await;
        world.approve("kofi").await;
        world.run_until_phase("live").await;
        world.assert_sound().await;
    }
    let values = |world: &World| world.cluster.effects().iter().map(|e| (e.object.clone(), e.to)).collect::<Vec<_>>();
    assert_eq!(values(&once), values(&thrice));
}

#[tokio::test(start_paused = true)]
async fn wakes_of_nobody_and_of_old_versions_are_harmless() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    let before = world.state().await;
    for (target, version) in [("shop/production", 1), ("shop/production", 9_999), ("nobody/nowhere", 1)] {
        let wake = Wake { target: target.parse().unwrap(), version: Seq(version), at: world.clock.now() };
        world.drivers[0].step(&wake).await.unwrap();
    }
    assert_eq!(world.state().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_looked_into_at_once_and_good_news_is_not_believed() {
    let mut world = World::new();
    world.push_all(1).await;
    world.registry.set_scan(image("api", 1), ScanStatus::InProgress, world.clock.now(), BTreeMap::new());
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::seconds(10)).await;
    let release = world.newest().await;
    let told = |world: &mut World| {
        let (repository, digest) = (repository("api"), image("api", 1));
        world.fact(FactKind::ScanReported { repository, digest, status: ScanStatus::Complete, counts: BTreeMap::new() })
    };
    let fact = told(&mut world);
    world.ingest(&fact).await;
    world.run_for(Millis::seconds(5)).await;
    assert_eq!(world.phase(release).await.unwrap().name(), "gated", "the registry says it still runs");

    world.registry.set_scan(image("api", 1), ScanStatus::Complete, world.clock.now(), BTreeMap::new());
    let fact = told(&mut world);
    world.ingest(&fact).await;
    world.run_for(Millis::seconds(2)).await;
    assert!(world.phase(release).await.unwrap().in_flight(), "looked at once, not at the next minute");
}

#[tokio::test(start_paused = true)]
async fn a_worse_scan_told_is_held_until_it_was_looked_at() {
    let mut world = World::new();
    world.push_all(1).await;
    world.run_for(Millis::seconds(90)).await;
    world.approve("kofi").await;
    let (repository, digest) = (repository("web"), image("web", 1));
    let counts = BTreeMap::from([(Severity::Critical, 2)]);
    world.registry.set_scan(digest, ScanStatus::Complete, world.clock.now(), counts.clone());
    let fact = world.fact(FactKind::ScanReported { repository, digest, status: ScanStatus::Complete, counts });
    world.ingest(&fact).await;
    world.run_for(Millis::minutes(5)).await;
    assert!(world.cluster.effects().is_empty());
    let release = world.newest().await;
    assert!(matches!(world.ending(release).await, Some(Ending::Settled(_))));
}

#[tokio::test(start_paused = true)]
async fn alarms_out_of_order_end_as_in_order() {
    let mut world = World::new();
    let (now, alarm) = (world.clock.now(), "shop-errors".parse::<portcullis_domain::names::AlarmName>().unwrap());
    let fact = |world: &mut World, state, at| {
        let (alarm, reason) = (alarm.clone(), String::new());
        world.fact(FactKind::AlarmChanged { alarm, state, changed_at: at, reason, suppressed: false })
    };
    world.push_all(1).await;
    world.settle().await;
    let later = fact(&mut world, AlarmState::Ok, now + Millis::seconds(20));
    let earlier = fact(&mut world, AlarmState::Alarm, now + Millis::seconds(10));
    world.ingest(&later).await;
    world.ingest(&earlier).await;
    let known = world.state().await.alarms.get(&alarm).copied();
    assert_eq!(known.map(|fact| fact.state), Some(AlarmState::Ok), "an older change says nothing");
}

#[tokio::test(start_paused = true)]
async fn wakes_do_not_pile_up_while_a_release_waits() {
    let mut world = World::new();
    world.push_all(1).await;
    world.run_for(Millis::hours(3)).await;
    assert!(world.queue.len() < 40, "{} wakes for one waiting release", world.queue.len());
    let sent = world.queue.sent();
    world.run_for(Millis::hours(1)).await;
    let per_minute = (world.queue.sent() - sent) / 60;
    assert!(per_minute <= 4, "{per_minute} wakes a minute for one waiting release");
}
