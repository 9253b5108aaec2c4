//! Flagger #1898: a rollback decided during a promotion sent all traffic to the broken version, because the promotion's
//! own write came after it.
//! Here: one driver's switch is on its way while another one rolls back. Whenever the switch arrives, even after its
//! sender died, what served before serves in the end, and nothing moves forward after the way back began.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::Reason;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, name};
use portcullis_engine::recorder::Commanded;

use crate::slow_hand::{Patches, slow_driver};
use crate::{forward_since, gated, is_over, undone_because};

/// The slow driver's switch of `api` is on its way; a second driver is there.
async fn switch_on_its_way() -> (World, ReleaseId, Patches) {
    let mut world = gated().await;
    let patches = slow_driver(&mut world);
    world.approve("kofi").await;
    world.run_for(Millis::seconds(15)).await;
    let release = world.newest().await;
    assert_eq!(world.phase(release).await.unwrap().name(), "switching");
    assert_eq!(patches.under_way(), 1, "the switch left the driver and did not arrive");
    assert!(world.all_serve(0));
    world.add_driver();
    (world, release, patches)
}

fn traffic(world: &World) -> (Value, Option<Seq>) {
    let stamp = world.cluster.found(&world.target, &ObjectKey::traffic(&name("api"))).stamp.unwrap();
    (stamp.value, stamp.fence.map(|fence| fence.seq))
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_arrives_after_the_way_back_is_refused() {
    let (mut world, release, patches) = switch_on_its_way().await;
    // The switch was intended: from then on the alarm may be this release's doing.
    world.alarm("shop-errors", AlarmState::Alarm).await;
    let since = world.state().await.seq;
    world.run_until(Millis::seconds(30), "rolled back", is_over(release)).await;
    assert_eq!(world.ending(release).await, Some(Ending::RolledBack));
    assert!(matches!(undone_because(&world, release).await, Some(Reason::Alarm { .. })));
    assert_eq!(patches.under_way(), 1, "the switch is still on its way");
    let before = traffic(&world);

    patches.arrive().await;
    assert_eq!(patches.landed(), 0, "the late switch got through");
    assert_eq!(traffic(&world), before);
    world.run_for(Millis::minutes(5)).await;
    assert!(world.all_serve(0));
    assert_eq!(forward_since(&world, since).await, Vec::<String>::new());
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_arrives_before_the_way_back_is_undone() {
    let (mut world, release, patches) = switch_on_its_way().await;
    let commanded = world.roll_back("ama").await;
    assert!(matches!(commanded, Commanded::Accepted(_)));
    let since = world.state().await.seq;
    patches.arrive().await;
    assert_eq!(patches.landed(), 1, "it got through");
    world.run_until(Millis::minutes(1), "rolled back", is_over(release)).await;
    assert!(world.all_serve(0), "and was undone");
    let of_api = world.cluster.effects().into_iter().filter(|effect| effect.object == ObjectKey::traffic(&name("api")));
    let moved: Vec<Value> = of_api.map(|effect| effect.to).collect();
    // The first is the mark: our fence on the value that was there.
    assert_eq!(moved, [0, 10_000, 0].map(|green| Value::Traffic { green }));
    assert_eq!(world.ending(release).await, Some(Ending::RolledBack));
    assert_eq!(forward_since(&world, since).await, Vec::<String>::new());
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_switch_whose_sender_died_is_refused_as_well() {
    let (mut world, release, patches) = switch_on_its_way().await;
    world.crash().await;
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", is_over(release)).await;
    assert_eq!(patches.under_way(), 1, "the switch outlives its sender");
    patches.arrive().await;
    assert_eq!((patches.landed(), traffic(&world).0), (0, Value::Traffic { green: 0 }));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}
