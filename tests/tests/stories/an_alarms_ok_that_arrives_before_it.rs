//! Alarm events are delivered at least once and in no order (FACTS, "AWS events"): an alarm's OK can arrive before the
//! ALARM it ends.
//! Here: an alarm that rang while the release served undoes it, in whatever order the two changes are told; a message
//! never makes a verdict better. And the older change never overwrites the newer one.

use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::AlarmName;
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::Ending;

use crate::{gated, holds, watching};

fn alarm() -> AlarmName {
    "shop-errors".parse().unwrap()
}

fn told(world: &mut World, state: AlarmState, changed_at: Timestamp) -> Fact {
    let reason = "threshold crossed".to_owned();
    world.fact(FactKind::AlarmChanged { alarm: alarm(), state, changed_at, reason, suppressed: false })
}

/// The alarm rang for ten seconds; both changes are told afterwards.
async fn rang_for_ten_seconds(world: &mut World) -> [Fact; 2] {
    let rang = world.clock.now();
    world.run_for(Millis::seconds(20)).await;
    let well = rang + Millis::seconds(10);
    world.metrics.set_alarm(&alarm(), AlarmState::Ok, well);
    [told(world, AlarmState::Alarm, rang), told(world, AlarmState::Ok, well)]
}

#[tokio::test(start_paused = true)]
async fn in_order_the_alarm_undoes_the_release() {
    let mut world = watching().await;
    let release = world.newest().await;
    for fact in rang_for_ten_seconds(&mut world).await {
        world.ingest(&fact).await;
    }
    world.run_for(Millis::minutes(1)).await;
    assert_eq!(world.ending(release).await, Some(Ending::RolledBack));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn out_of_order_the_alarm_undoes_the_release_as_well() {
    let mut world = watching().await;
    let release = world.newest().await;
    let [rang, well] = rang_for_ten_seconds(&mut world).await;
    for fact in [well, rang] {
        world.ingest(&fact).await;
    }
    world.run_for(Millis::minutes(20)).await;
    assert_eq!(world.ending(release).await, Some(Ending::RolledBack), "{}", world.story().await);
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn before_it_serves_the_older_change_holds_nothing_back() {
    let mut world = gated().await;
    let release = world.newest().await;
    let [rang, well] = rang_for_ten_seconds(&mut world).await;
    for fact in [well, rang] {
        world.ingest(&fact).await;
    }
    world.settle().await;
    let known = world.state().await.alarms.get(&alarm()).map(|fact| fact.state);
    assert_eq!(known, Some(AlarmState::Ok), "the older change says nothing of now");
    let open = holds(&world, release).await;
    assert!(open.iter().all(|hold| !hold.starts_with("alarms")), "{open:?}");
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.assert_sound().await;
}
