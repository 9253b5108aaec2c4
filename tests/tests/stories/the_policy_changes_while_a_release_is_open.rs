//! A policy is changed while something runs on it: the approvals of the old one count for the new one, or a rollback
//! fails because its rule was edited away.
//! Here: before the first change a changed policy makes another plan, and what was approved has to be approved again;
//! from the first change on a release runs, and returns, on the policy that it began with.

use std::collections::BTreeMap;

use portcullis_domain::event::{Reason, What};
use portcullis_domain::facts::{AlarmState, ScanStatus};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::{Metric, Policy};
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image};

use crate::{approve, gated, holds, is_over, undone_because, watching};

const RELEASE: ReleaseId = ReleaseId(1);

fn put_in_force(world: &World, edit: impl FnOnce(&mut Policy)) {
    let mut policy = World::policy();
    edit(&mut policy);
    world.policies.set(policy);
}

/// Approved; a running scan is all that holds it.
async fn approved_and_held() -> World {
    let mut world = gated().await;
    world.registry.set_scan(image("api", 1), ScanStatus::InProgress, world.clock.now(), BTreeMap::new());
    world.run_for(Millis::minutes(2)).await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(1)).await;
    assert_eq!(holds(&world, RELEASE).await, ["scan: the scan of api is running; clears when the scan is complete"]);
    world
}

async fn last_plan(world: &World) -> String {
    let planned = world.events().await.into_iter().filter_map(|event| match event.what {
        What::Planned { why, .. } => Some(why),
        _ => None,
    });
    planned.last().unwrap()
}

#[tokio::test(start_paused = true)]
async fn before_its_first_change_a_stricter_one_asks_for_new_approvals() {
    let mut world = approved_and_held().await;
    put_in_force(&world, |policy| policy.gates.approvals[0].count = 2);
    world.registry.set_scan(image("api", 1), ScanStatus::Complete, world.clock.now(), BTreeMap::new());
    world.run_for(Millis::minutes(5)).await;
    assert_eq!(last_plan(&world).await, "the policy changed");
    assert_eq!(
        holds(&world, RELEASE).await,
        ["approval: 0 of 2 from managers; clears when ama or kofi approves"],
        "what was approved was another plan"
    );
    assert!(world.cluster.effects().is_empty());
    for who in ["kofi", "ama"] {
        approve(&world, who, RELEASE).await;
    }
    world.run_until_phase("live").await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn before_its_first_change_a_looser_one_asks_for_new_approvals_too() {
    let mut world = approved_and_held().await;
    put_in_force(&world, |policy| policy.gates.scan = None);
    world.run_for(Millis::minutes(5)).await;
    assert_eq!(last_plan(&world).await, "the policy changed");
    assert_eq!(holds(&world, RELEASE).await, ["approval: 0 of 1 from managers; clears when ama or kofi approves"]);
    assert!(world.cluster.effects().is_empty(), "dropping the gate that held it let nothing through");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn after_its_first_change_it_is_undone_by_the_rules_it_began_with() {
    let mut world = watching().await;
    put_in_force(&world, |policy| {
        policy.watch.healthy.clear();
        policy.roll_back.when.clear();
        policy.roll_back.health_failing_for = None;
        policy.watch.alarms_roll_back.clear();
    });
    world.metrics.set(image("web", 1), Metric::ErrorRate, 680);
    world.run_until(Millis::minutes(5), "rolled back", is_over(RELEASE)).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    assert!(matches!(undone_because(&world, RELEASE).await, Some(Reason::Threshold { value: 680, .. })));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn after_its_first_change_an_alarm_it_began_with_still_undoes_it() {
    let mut world = watching().await;
    put_in_force(&world, |policy| policy.watch.alarms_roll_back = vec!["other-*".into()]);
    world.run_for(Millis::seconds(90)).await;
    world.metrics.set_alarm(&"shop-errors".parse().unwrap(), AlarmState::Alarm, world.clock.now());
    world.run_until(Millis::minutes(2), "rolled back", is_over(RELEASE)).await;
    assert!(matches!(undone_because(&world, RELEASE).await, Some(Reason::Alarm { .. })));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn after_its_first_change_the_event_of_an_alarm_it_began_with_is_still_routed_to_it() {
    let mut world = watching().await;
    put_in_force(&world, |policy| policy.watch.alarms_roll_back = vec!["other-*".into()]);
    world.run_for(Millis::seconds(70)).await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::seconds(10)).await;
    assert!(world.all_serve(0), "in seconds, not at the end of the next window\n{}", world.story().await);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn after_its_first_change_a_shorter_watch_does_not_end_its_own() {
    let mut world = watching().await;
    put_in_force(&world, |policy| policy.watch.length = Millis::minutes(1));
    world.run_for(Millis::minutes(9)).await;
    assert_eq!(world.phase(RELEASE).await.unwrap().name(), "watching", "ten minutes, as it began");
    world.run_for(Millis::minutes(2)).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::Live));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn taken_out_of_the_policy_file_it_still_finds_its_way_back() {
    let mut world = watching().await;
    world.policies.remove(&world.target);
    world.metrics.set(image("api", 1), Metric::ErrorRate, 900);
    world.run_until(Millis::minutes(5), "rolled back", is_over(RELEASE)).await;
    world.policies.set(World::policy());
    assert!(world.all_serve(0));
    world.assert_sound().await;
}
