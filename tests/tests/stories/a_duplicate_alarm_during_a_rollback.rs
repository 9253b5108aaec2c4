//! Argo Rollouts #1667 and #4764: the same thing was told again and again; a composite alarm may go from ALARM to
//! ALARM.
//! Here: an alarm that comes doubled, that rings again, or a second alarm, while the way back is under way or when it
//! is done, changes nothing: one rollback, the same writes as without it, and no rollback of a rollback.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::What;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::signal::FactKind;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::world::Ending;
use portcullis_engine::memory::{Op, World};

use crate::{count, is_over, watching};

/// The alarm rings in the watch, and its way back has begun: the first write of it is held.
async fn on_its_way_back() -> World {
    let mut world = watching().await;
    world.run_for(Millis::seconds(90)).await;
    world.faults.hold_before(Op::Write);
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::seconds(2)).await;
    assert!(world.faults.held(Op::Write) > 0, "the way back is under way");
    world
}

/// What was written to each object, in order; two services that go side by side have no order between them.
fn written(world: &World) -> Vec<(ObjectKey, Value)> {
    let effects = world.cluster.effects().into_iter();
    let mut written: Vec<(ObjectKey, Value)> = effects.map(|effect| (effect.object, effect.to)).collect();
    written.sort_by(|a, b| a.0.cmp(&b.0));
    written
}

async fn finish(world: &mut World) {
    let release = world.newest().await;
    world.faults.heal(Op::Write);
    world.run_until(Millis::minutes(2), "rolled back", is_over(release)).await;
    assert_eq!(world.ending(release).await, Some(Ending::RolledBack));
    assert!(world.all_serve(0));
}

#[tokio::test(start_paused = true)]
async fn however_often_it_rings_there_is_one_way_back() {
    let mut once = on_its_way_back().await;
    finish(&mut once).await;

    let mut often = on_its_way_back().await;
    let changed_at = often.clock.now() - Millis::seconds(2);
    let (alarm, state) = ("shop-errors".parse().unwrap(), AlarmState::Alarm);
    let reason = "threshold crossed".to_owned();
    let fact = often.fact(FactKind::AlarmChanged { alarm, state, changed_at, reason, suppressed: false });
    for delivery in ["doubled-1", "doubled-1", "doubled-2"] {
        let mut again = fact.clone();
        again.delivery = delivery.parse().unwrap();
        often.ingest(&again).await;
    }
    often.run_for(Millis::seconds(1)).await;
    often.alarm("shop-errors", AlarmState::Alarm).await;
    often.alarm("shop-latency", AlarmState::Alarm).await;
    finish(&mut often).await;

    assert_eq!(written(&often), written(&once));
    assert_eq!(count(&often, |what| matches!(what, What::RollbackBegan { .. })).await, 1);
    assert_eq!(count(&often, |what| matches!(what, What::RolledBack { .. })).await, 1);
    often.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn when_it_is_done_a_further_alarm_only_is_recorded() {
    let mut world = on_its_way_back().await;
    finish(&mut world).await;
    let before = written(&world);
    world.run_for(Millis::minutes(1)).await;
    world.alarm("shop-errors", AlarmState::Ok).await;
    world.run_for(Millis::minutes(1)).await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::minutes(30)).await;
    let seen = |what: &What| matches!(what, What::AlarmSeen { fact, .. } if fact.state == AlarmState::Alarm);
    assert_eq!(count(&world, seen).await, 2, "it is in the ledger");
    assert_eq!(count(&world, |what| matches!(what, What::RollbackBegan { .. })).await, 1);
    assert_eq!(written(&world), before);
    assert!(world.all_serve(0));
    world.assert_sound().await;
}
