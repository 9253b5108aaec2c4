//! unkey#4899: an old commit overwrote the newer one that was being deployed. openship#847: a push during a deployment
//! was answered with 200 and dropped. Argo Rollouts #4073: a late write-back overwrote fresher state.
//! Here: whatever is pushed while traffic moves touches nothing; a newer commit waits and is released after it, an
//! older one never goes by itself, however late it comes.

use portcullis_domain::action::Value;
use portcullis_domain::event::What;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::world::{Ending, image};
use portcullis_engine::memory::{Op, World};

use crate::{approve, count, holds, is, opened};

/// A release of commit `n` whose first switch has left the driver and did not arrive yet.
async fn switching(n: u32) -> (World, ReleaseId) {
    let mut world = World::new();
    world.cluster.set_test_takes(Millis::seconds(10));
    world.push_all(n).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("verifying").await;
    world.faults.hold_before_nth(Op::Write, 1);
    world.run_for(Millis::seconds(20)).await;
    let release = world.newest().await;
    assert_eq!(world.phase(release).await.unwrap().name(), "switching");
    assert_eq!(world.faults.held(Op::Write), 1, "the switch is under way");
    (world, release)
}

/// The numbers of the commits whose images were ever written to the cluster, in order of their first write; not those
/// that were there before.
fn written(world: &World) -> Vec<u32> {
    let mut order = Vec::new();
    for effect in world.cluster.effects() {
        let Value::Workload { digest, .. } = effect.to else { continue };
        let number = (1..10).find(|n| digest == image("api", *n) || digest == image("web", *n));
        let Some(n) = number else { continue };
        if !order.contains(&n) {
            order.push(n);
        }
    }
    order
}

#[tokio::test(start_paused = true)]
async fn a_newer_commit_waits_until_the_switch_is_finished_and_then_follows() {
    let (mut world, first) = switching(1).await;
    world.push_all(2).await;
    world.run_for(Millis::seconds(10)).await;
    let second = world.newest().await;
    assert_ne!(second, first, "the push was not dropped");
    let turn = holds(&world, second).await;
    let words = "turn: release 1 is in flight; clears when release 1 is live or undone";
    assert!(turn.iter().any(|hold| hold == words), "{turn:?}");

    world.faults.heal(Op::Write);
    world.run_until(Millis::minutes(20), "release 1 is live", is(first, "live")).await;
    assert!(world.all_serve(1));
    assert_eq!(written(&world), [1], "nothing of the newer commit is on the cluster");
    // What was live when it came is not what is live now: only from here on it can be approved for good.
    approve(&world, "ama", second).await;
    world.run_until(Millis::hours(1), "release 2 is live", is(second, "live")).await;
    assert!(world.all_serve(2));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn an_older_commit_that_comes_late_is_recorded_and_never_released() {
    let (mut world, release) = switching(5).await;
    // The slow build of an older commit: its images are pushed after those of the newer one.
    world.push_all(3).await;
    world.faults.heal(Op::Write);
    world.run_until(Millis::minutes(20), "release 1 is live", is(release, "live")).await;
    world.run_for(Millis::hours(3)).await;
    assert!(world.all_serve(5));
    assert_eq!((written(&world), opened(&world).await), (vec![5], 1));
    assert_eq!(world.ending(release).await, Some(Ending::Live));
    let is_told = |what: &What| matches!(what, What::Outdated { why, .. } if why.starts_with("it is an ancestor of"));
    assert_eq!(count(&world, is_told).await, 1, "it was not dropped either: the ledger says why it does not go");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_pushed_again_under_the_tag_of_the_release_changes_nothing_of_it() {
    let (mut world, release) = switching(1).await;
    let repository = portcullis_engine::memory::world::repository("web");
    let tag = portcullis_engine::memory::world::tag(1);
    world.registry.push(&repository, image("web", 9), &tag, world.clock.now());
    let kind = portcullis_domain::signal::FactKind::ImagePushed { repository, digest: image("web", 9), tag: Some(tag) };
    let fact = world.fact(kind);
    world.ingest(&fact).await;
    world.faults.heal(Op::Write);
    world.run_until(Millis::minutes(20), "live", is(release, "live")).await;
    assert!(world.all_serve(1), "the digests that were approved");
    assert_eq!(written(&world), [1]);
    world.assert_sound().await;
}
