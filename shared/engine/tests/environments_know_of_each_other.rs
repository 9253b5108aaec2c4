//! What crosses environments: a promotion is read from the other's ledger, and rollbacks everywhere stop every line.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::sync::Arc;

use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{EnvName, TargetId};
use portcullis_domain::policy::{Governor, Promotion, Same};
use portcullis_domain::scope::{Scope, Stop};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;
use portcullis_engine::breaker::{FleetBreaker, READER};
use portcullis_engine::memory::World;
use portcullis_engine::ports::{Ledger, Notices};
use portcullis_engine::reader;

fn gate(state: &portcullis_domain::target::Target, gate: &str) -> String {
    let release = state.releases.values().next_back().unwrap();
    let judgement = release.judgement.as_ref().unwrap();
    judgement.gates.iter().find(|found| found.gate == gate).map(|found| found.why.clone()).unwrap()
}

/// The same ledger and registry with a second environment: what `world` did is staging to it.
fn production(world: &World) -> TargetId {
    let mut policy = World::policy();
    policy.target.env = EnvName::new("second").unwrap();
    "second".clone_into(&mut policy.place.namespace);
    policy.gates.promoted_from =
        Some(Promotion { environment: world.target.env.clone(), same: Same::Digests, within: None });
    let target = policy.target.clone();
    world.policies.set(policy);
    target
}

#[tokio::test(start_paused = true)]
async fn a_promotion_is_read_from_the_ledger_of_the_other_environment() {
    let mut world = World::new();
    let second = production(&world);
    world.push_all(1).await;
    world.settle().await;
    let state = world.recorder.state(&second).await.unwrap().unwrap();
    assert_eq!(gate(&state, "promotion"), "these digests were never verified live in production");
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.run_for(Millis::minutes(2)).await;
    let state = world.recorder.state(&second).await.unwrap().unwrap();
    assert!(
        gate(&state, "promotion").starts_with("the same digests as production release"),
        "{}",
        gate(&state, "promotion")
    );
}

/// A release that serves, and is undone by an alarm.
async fn is_undone(world: &mut World, n: u32) {
    world.push_all(n).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.run_for(Millis::seconds(5)).await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_until(Millis::hours(1), "rolled back", |state| state.in_flight.is_none()).await;
    world.alarm("shop-errors", AlarmState::Ok).await;
}

async fn tell(world: &World) {
    let breaker: Arc<dyn Notices> = Arc::new(FleetBreaker::new(world.ports.clone()));
    reader::deliver(&world.ports, &[(READER.to_owned(), breaker)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_automatic_rollback_is_noted_once_however_often_it_is_told_and_holds_the_next_release() {
    let one = Governor { fleet: 1, fleet_within: Millis::hours(2), ..Governor::default() };
    let mut world = World::with(|policy| policy.governor = one);
    is_undone(&mut world, 1).await;
    tell(&world).await;
    world.ledger.set_cursor(READER, &world.target, portcullis_domain::names::Seq(0)).await.unwrap();
    tell(&world).await;
    let all = world.ledger.scopes(&[Scope::All]).await.unwrap().remove(0);
    assert_eq!(all.rollbacks.iter().map(|rollback| &rollback.target).collect::<Vec<_>>(), [&world.target]);
    world.push_all(2).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(3)).await;
    assert!(gate(&world.state().await, "freeze").starts_with("1 environments rolled back"));
    world.recorder.set_stop(&Scope::All, None).await.unwrap();
    tell(&world).await;
    world.run_until(Millis::hours(1), "live", |state| state.live_release.is_some()).await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_a_person_lifted_the_stop_after_is_not_noted_again() {
    let mut world = World::new();
    is_undone(&mut world, 1).await;
    let stop = Stop { who: "kofi".parse().unwrap(), reason: "incident".into(), since: world.clock.now(), until: None };
    world.recorder.set_stop(&Scope::All, Some(stop)).await.unwrap();
    world.recorder.set_stop(&Scope::All, None).await.unwrap();
    tell(&world).await;
    let all = world.ledger.scopes(&[Scope::All]).await.unwrap().remove(0);
    assert_eq!(all.rollbacks, []);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_by_a_person_says_nothing_of_the_fleet() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.roll_back("kofi").await;
    world.run_until(Millis::hours(1), "rolled back", |state| state.in_flight.is_none()).await;
    tell(&world).await;
    let all = world.ledger.scopes(&[Scope::All]).await.unwrap().remove(0);
    assert_eq!(all.rollbacks, []);
    assert!(!matches!(world.phase(world.newest().await).await, Some(Phase::Live)));
}
