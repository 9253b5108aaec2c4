//! Tests whose failure is told and stops nothing (`on_failure: continue`).

use portcullis_domain::action::{Action, Outcome};
use portcullis_domain::event::What;
use portcullis_domain::policy::*;
use portcullis_domain::signal::Signal;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::stages::{FIRST, stands_at, undone, why};
use crate::world::*;

/// A database snapshot that may fail, then a smoke test that may not.
fn two_tests() -> Policy {
    let mut policy = policy();
    let snapshot = Test {
        name: "snapshot".into(),
        kind: TestKind::Job { cronjob: "database-snapshot".parse().unwrap() },
        within: Millis::minutes(2),
        on_failure: OnFailure::Continue,
    };
    policy.verify.insert(0, snapshot);
    policy
}

fn failures(world: &World) -> Vec<String> {
    let failed = |what: &What| match what {
        What::Done { outcome, .. } => match &**outcome {
            Outcome::TestFailed { why } => Some(why.clone()),
            _ => None,
        },
        _ => None,
    };
    world.events.iter().filter_map(|event| failed(&event.what)).collect()
}

fn is_snapshot(action: &Action) -> bool {
    matches!(action, Action::RunTest { test, .. } if test.name == "snapshot")
}

#[test]
fn its_failure_is_told_once_and_the_next_test_runs() {
    let mut world = stands_at(two_tests(), is_snapshot);
    assert_eq!(world.phase(FIRST), Some(Phase::Verifying));
    let seq = *world.target.outstanding.iter().find(|(_, o)| is_snapshot(&o.intention.action)).unwrap().0;
    let outcome = Outcome::TestFailed { why: why("disk full") };
    world.signal(&Signal::Outcome { intention: seq, outcome });
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
    assert_eq!(failures(&world), ["disk full"]);
    assert_eq!(
        world.happened(|what| matches!(what, What::Intended { intention, .. } if is_snapshot(&intention.action))),
        1
    );
    assert_eq!(world.release(FIRST).tests_passed, ["snapshot".to_owned(), "smoke".to_owned()].into());
}

#[test]
fn one_that_takes_too_long_is_told_too() {
    let mut world = stands_at(two_tests(), is_snapshot);
    world.pass(Millis::minutes(2));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
    assert_eq!(failures(&world), ["it took longer than 2m"]);
}

#[test]
fn the_one_after_it_still_stops_the_release() {
    let mut world = stands_at(two_tests(), |action| matches!(action, Action::RunTest { .. }));
    world.failing_test = true;
    world.parked = |_| false;
    world.settle();
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(failures(&world).len(), 2);
    assert_eq!(undone(&world), Some(why("test smoke failed: GET /health: 500")));
}

#[test]
fn a_test_that_stops_the_release_is_written_as_before_there_was_a_choice() {
    let [snapshot, smoke] = &two_tests().verify[..] else { unreachable!() };
    let written = serde_json::to_string(smoke).unwrap();
    assert_eq!(written, r#"{"name":"smoke","kind":{"http":{"paths":["/health"]}},"within":60000}"#);
    assert_eq!(serde_json::from_str::<Test>(&written).unwrap(), *smoke);
    let written = serde_json::to_string(snapshot).unwrap();
    assert!(written.ends_with(r#""on_failure":"continue"}"#), "{written}");
    assert_eq!(serde_json::from_str::<Test>(&written).unwrap(), *snapshot);
}
