//! A tool that syncs from Git and prunes what is not in its repository takes our annotations off (Argo CD #12897:
//! auto-sync undoes what a rollback did). A fence that is gone must not count as the oldest of all.
//! Here: a pruned object is found out by the next write, gone on from what is there, and fenced again; and a patch of
//! long ago does not get through because the fence is gone.

use portcullis_domain::action::{Action, Fence, ObjectKey, Purpose, Value, Write};
use portcullis_domain::event::What;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::policy::Colour;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, name};
use portcullis_engine::ports::{Ledger, Written};

use crate::slow_hand::slow_driver;
use crate::{count, gated, is, is_over, verifying};

fn prune(world: &World) {
    for service in ["api", "web"] {
        let parts = [Colour::Blue, Colour::Green].map(|colour| ObjectKey::workload(&name(service), colour));
        for object in parts.into_iter().chain([ObjectKey::traffic(&name(service))]) {
            world.cluster.set_annotation(&world.target, &object, None);
        }
    }
}

/// The fences of what this release wrote are there again.
fn assert_fenced_again(world: &World) {
    for service in ["api", "web"] {
        let traffic = world.cluster.found(&world.target, &ObjectKey::traffic(&name(service)));
        assert!(traffic.stamp.unwrap().fence.is_some(), "{service} has no fence");
    }
}

async fn drifted(world: &World) -> usize {
    count(world, |what| matches!(what, What::Drifted { ours: true, .. })).await
}

#[tokio::test(start_paused = true)]
async fn on_the_way_forward_it_is_written_again_and_the_release_goes_live() {
    let mut world = verifying().await;
    prune(&world);
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    assert!(drifted(&world).await >= 1, "it was found out, and is in the ledger");
    assert_fenced_again(&world);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn on_the_way_back_it_holds_nothing_up() {
    let mut world = verifying().await;
    world.run_until_phase("watching").await;
    prune(&world);
    world.alarm("shop-errors", AlarmState::Alarm).await;
    let rang = world.clock.now();
    world.run_until(Millis::minutes(1), "rolled back", is_over(ReleaseId(1))).await;
    assert_eq!(world.ending(ReleaseId(1)).await, Some(Ending::RolledBack));
    assert!(world.all_serve(0));
    assert!(world.clock.now().since(rang) <= Millis::seconds(15), "seconds, although every fence was gone");
    assert_fenced_again(&world);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn pruned_again_and_again_a_release_still_comes_to_its_end() {
    let mut world = gated().await;
    world.approve("kofi").await;
    for _ in 0..60 {
        prune(&world);
        world.run_for(Millis::seconds(1)).await;
    }
    world.run_for(Millis::hours(3)).await;
    let ending = world.ending(ReleaseId(1)).await;
    assert!(matches!(ending, Some(Ending::Live | Ending::RolledBack)), "{ending:?}\n{}", world.story().await);
    assert!(world.all_serve(u32::from(ending == Some(Ending::Live))));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn between_a_write_and_the_look_after_it_the_release_still_goes_live() {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_for(Millis::seconds(1)).await;
    assert_eq!(world.phase(ReleaseId(1)).await.unwrap().name(), "deploying", "green of api comes up");
    prune(&world);
    world.run_until(Millis::minutes(30), "live", is(ReleaseId(1), "live")).await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn between_a_write_and_the_look_after_it_the_way_back_goes_on() {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.run_for(Millis::minutes(40)).await;
    // The old colour is at rest and has to come up first: three seconds in which its fence can be lost.
    world.roll_back("ama").await;
    world.run_for(Millis::seconds(1)).await;
    assert!(world.all_serve(1));
    prune(&world);
    world.run_for(Millis::minutes(1)).await;
    assert!(world.all_serve(0), "{}", world.story().await);
    world.run_until(Millis::minutes(2), "rolled back", is_over(ReleaseId(1))).await;
    world.assert_sound().await;
}

/// The switch of `api` that was intended and never arrived, as its sender sent it.
async fn switch_under_way(world: &World) -> (Seq, Write) {
    let state = world.state().await;
    let found = state.outstanding.iter().find_map(|(seq, outstanding)| match &outstanding.intention.action {
        Action::Write(write) if write.purpose == Purpose::Switch => Some((*seq, write.clone())),
        _ => None,
    });
    found.expect("the switch is outstanding")
}

/// A release whose switch left a driver that died is undone; then the fences are pruned, and the switch arrives.
async fn arrives_after_the_prune(world: &mut World) -> Written {
    let patches = slow_driver(world);
    let release = world.newest().await;
    world.approve("kofi").await;
    world
        .run_until(Millis::hours(1), "switching", |state| {
            state.releases.get(&release).is_some_and(|release| release.phase.name() == "switching")
        })
        .await;
    world.run_for(Millis::seconds(8)).await;
    assert_eq!(patches.under_way(), 1);
    let (seq, write) = switch_under_way(world).await;
    assert_eq!(write.object, ObjectKey::traffic(&name("api")));
    world.drivers.clear();
    world.add_driver();
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", is_over(release)).await;
    prune(world);
    let fence = Fence { ledger: world.ledger.id(), epoch: 0, seq };
    world.ports.cluster.write(&world.target, &World::policy().place, &write, &fence).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_patch_of_long_ago_does_not_get_through_because_the_fence_is_gone() {
    // Release 1 goes live, so that every object carries a fence before release 2 begins.
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.run_for(Millis::hours(2)).await;
    world.push_all(2).await;
    world.settle().await;
    let late = arrives_after_the_prune(&mut world).await;
    assert!(matches!(late, Written::Drift(_)), "the late switch got through");
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn not_even_on_an_object_that_had_no_fence_before_this_release() {
    let mut world = gated().await;
    let late = arrives_after_the_prune(&mut world).await;
    assert!(matches!(late, Written::Drift(_)), "the late switch got through: nobody answers requests of api now");
    let found = world.cluster.found(&world.target, &ObjectKey::traffic(&name("api"))).stamp.unwrap();
    assert_eq!(found.value, Value::Traffic { green: 0 });
    assert!(world.all_serve(0));
    world.assert_sound().await;
}
