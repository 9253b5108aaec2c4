//! Argo Rollouts #4552 and #4302: a change of replicas hit the live version during an update; #2931: an autoscaler's
//! event in the middle of one confused it. Flagger #1934: the autoscaler's paused state was copied.
//! Here: replicas are the autoscaler's. Green starts with what blue has *now*; whatever it makes of either colour
//! during a release, nobody scales down what serves, and the way back needs no person because of it.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::Colour;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image, name};

use crate::{gated, is, verifying};

const RELEASE: ReleaseId = ReleaseId(1);

/// The autoscaler sets the replicas of a colour of `api`; image and annotation stay.
fn scale(world: &World, colour: Colour, digest: Digest, replicas: u32) {
    let object = ObjectKey::workload(&name("api"), colour);
    world.cluster.by_hand(&world.target, &object, Value::Workload { digest, replicas });
}

fn replicas(world: &World, colour: Colour) -> u32 {
    let found = world.cluster.found(&world.target, &ObjectKey::workload(&name("api"), colour));
    match found.stamp.unwrap().value {
        Value::Workload { replicas, .. } => replicas,
        Value::Traffic { .. } => unreachable!("a workload"),
    }
}

#[tokio::test(start_paused = true)]
async fn green_starts_with_what_blue_has_now() {
    let mut world = gated().await;
    world.run_for(Millis::minutes(3)).await;
    scale(&world, Colour::Blue, image("api", 0), 5);
    world.run_for(Millis::minutes(1)).await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    assert_eq!(replicas(&world, Colour::Green), 5, "not the two that it had when it was deployed");
    world.run_until_phase("live").await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn live_blue_scaled_up_during_the_release_is_returned_to_without_a_person() {
    let mut world = verifying().await;
    scale(&world, Colour::Blue, image("api", 0), 6);
    world.run_until_phase("watching").await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::minutes(2)).await;
    assert!(world.all_serve(0), "the way back waits for nobody\n{}", world.story().await);
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn live_blue_scaled_up_is_not_scaled_down_by_giving_the_release_up() {
    let mut world = verifying().await;
    scale(&world, Colour::Blue, image("api", 0), 6);
    world.run_for(Millis::seconds(4)).await;
    world.roll_back("ama").await;
    world.run_for(Millis::minutes(2)).await;
    assert_eq!(replicas(&world, Colour::Blue), 6, "it serves with six: nobody takes four of them away");
    assert!(world.all_serve(0));
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn green_scaled_up_in_the_watch_is_drained_without_a_person() {
    let mut world = verifying().await;
    world.run_until_phase("watching").await;
    scale(&world, Colour::Green, image("api", 1), 4);
    world.run_for(Millis::minutes(2)).await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::minutes(2)).await;
    assert!(world.all_serve(0), "traffic is back");
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack), "{}", world.story().await);
    assert_eq!(replicas(&world, Colour::Green), 0);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn green_scaled_up_before_it_is_claimed_keeps_what_it_was_given() {
    let mut world = verifying().await;
    scale(&world, Colour::Green, image("api", 1), 4);
    world.run_until(Millis::minutes(30), "live without a person", is(RELEASE, "live")).await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn old_blue_scaled_by_its_autoscaler_is_let_go_when_its_time_is_over() {
    let mut world = verifying().await;
    world.run_until_phase("live").await;
    scale(&world, Colour::Blue, image("api", 0), 1);
    world.run_for(Millis::hours(2)).await;
    assert_eq!(replicas(&world, Colour::Blue), 0, "{}", world.story().await);
    assert!(world.state().await.releases.is_empty(), "its window closed: {}", world.story().await);
    assert!(world.all_serve(1));
    world.assert_sound().await;
}
