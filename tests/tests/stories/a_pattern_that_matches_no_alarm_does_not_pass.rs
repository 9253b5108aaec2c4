//! A glob that matched nothing made `all(...)` true, and the gate failed open: a misspelt name is a gate that is not
//! there.
//! Here: a pattern of alarms that matches none holds the release, and says which pattern and what would clear it. So
//! does every other "all of" that has nothing in it.

use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::time::Millis;
use portcullis_domain::verdict::{GateResult, Judgement, Verdict};
use portcullis_engine::memory::World;

use crate::holds;

const RELEASE: ReleaseId = ReleaseId(1);

#[tokio::test(start_paused = true)]
async fn it_holds_until_an_alarm_of_that_name_exists() {
    let mut world = World::with(|policy| policy.watch.alarms_roll_back.push("shpo-*".into()));
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::hours(1)).await;
    let words =
        "alarms: shpo-* matches no alarm; clears when an alarm of that name exists, or the policy names another";
    assert_eq!(holds(&world, RELEASE).await, [words]);
    assert!(world.cluster.effects().is_empty());

    world.metrics.set_alarm(&"shpo-errors".parse().unwrap(), AlarmState::Ok, world.clock.now());
    world.run_until_phase("live").await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn one_pattern_that_matches_does_not_speak_for_another() {
    let mut world = World::with(|policy| policy.watch.alarms_ask = vec!["nothing-*".into(), "*-nowhere".into()]);
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(10)).await;
    let judgement = world.release(RELEASE).await.unwrap().judgement.unwrap();
    let alarms = judgement.gates.iter().find(|gate| gate.gate == "alarms").unwrap();
    let held: Vec<&str> =
        alarms.parts.iter().filter(|part| part.verdict == Verdict::Hold).map(|part| part.why.as_str()).collect();
    assert_eq!(held, ["nothing-* matches no alarm", "*-nowhere matches no alarm"]);
    assert!(world.cluster.effects().is_empty());
    world.assert_sound().await;
}

#[test]
fn all_of_nothing_is_a_hold_everywhere() {
    let none = GateResult::all_of("anything", "all is well", Vec::new());
    assert_eq!((none.verdict, none.why.as_str()), (Verdict::Hold, "there is nothing to judge"));
    let at = portcullis_domain::time::Timestamp(0);
    assert_eq!(Judgement { at, gates: Vec::new() }.verdict(), Verdict::Hold);
}
