//! A registry's scan can read COMPLETE with no findings seconds before its enhanced findings arrive (FACTS, "AWS
//! events"): a gate that takes the first COMPLETE for the last word lets a critical vulnerability through.
//! Here: the release is approved and under way on the empty scan when the findings come. It never serves, whether their
//! event arrives or is lost.

use std::collections::BTreeMap;

use portcullis_domain::event::{End, What};
use portcullis_domain::facts::ScanStatus;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::Severity;
use portcullis_domain::signal::FactKind;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image, repository};

use crate::{gated, is_over, undone_because};

fn critical() -> BTreeMap<Severity, u32> {
    BTreeMap::from([(Severity::Critical, 1)])
}

/// Approved on an empty scan that is complete since seconds ago; five seconds later the findings are there.
async fn findings_come() -> World {
    let mut world = World::with(|policy| {
        if let Some(scan) = &mut policy.gates.scan {
            scan.settle = Millis::seconds(60);
        }
    });
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::seconds(5)).await;
    world.registry.set_scan(image("api", 1), ScanStatus::Complete, world.clock.now(), critical());
    world
}

/// Runs on, a second at a time; panics if the image ever answers a request.
async fn run_and_never_serve(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.run_for(Millis::seconds(1)).await;
        let serving = world.cluster.serving(&world.target, &"api".parse().unwrap());
        assert!(!serving.contains_key(&image("api", 1)), "it serves\n{}", world.story().await);
    }
}

/// Undone, or rejected where it had not begun: either way with the finding for its reason.
async fn assert_ended_for_the_finding(world: &World, release: ReleaseId) {
    let ended = world.events().await.into_iter().find_map(|event| match event.what {
        What::Settled { release: of, end: End::Rejected, why } if of == release => Some(why),
        _ => None,
    });
    let why = match undone_because(world, release).await {
        Some(why) => why.to_string(),
        None => ended.expect("it ended in another way"),
    };
    assert!(why.contains("api has 1 critical"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn when_their_event_arrives() {
    let mut world = findings_come().await;
    let (repository, digest) = (repository("api"), image("api", 1));
    let (status, counts) = (ScanStatus::Complete, critical());
    let fact = world.fact(FactKind::ScanReported { repository, digest, status, counts });
    world.ingest(&fact).await;
    let release = world.newest().await;
    run_and_never_serve(&mut world, 60).await;
    world.run_until(Millis::minutes(5), "undone", is_over(release)).await;
    assert_ended_for_the_finding(&world, release).await;
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn when_their_event_is_lost() {
    let mut world = findings_come().await;
    let release = world.newest().await;
    run_and_never_serve(&mut world, 60).await;
    world.run_until(Millis::minutes(30), "undone", is_over(release)).await;
    assert_ended_for_the_finding(&world, release).await;
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn while_it_waits_for_its_approval_it_is_rejected() {
    let mut world = gated().await;
    let release = world.newest().await;
    world.run_for(Millis::seconds(5)).await;
    world.registry.set_scan(image("api", 1), ScanStatus::Complete, world.clock.now(), critical());
    world.run_for(Millis::seconds(90)).await;
    let ending = world.ending(release).await;
    assert_eq!(ending, Some(Ending::Settled(End::Rejected)), "found without an event");
    assert!(world.cluster.effects().is_empty());
    world.assert_sound().await;
}
