//! What changes between two policies, and whether it loosens.

use std::hash::{DefaultHasher, Hash, Hasher};

use portcullis_domain::policy::{
    Mode, OnFailure, Policy, Quorum, SealedPolicy, Severity, Strategy, Test, TestKind, Waiver,
};
use portcullis_domain::protection::Protection;
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::rules::forbidding;
use crate::world::*;

fn hashed(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn two_policies_are_the_same_if_they_say_the_same() {
    let sealed = |mode| SealedPolicy::new(Policy { mode, ..policy() });
    let (one, same, other) = (sealed(Mode::Deploy), sealed(Mode::Deploy), sealed(Mode::Gate));
    assert!(one == same && one != other);
    assert_eq!(hashed(&one), hashed(&same));
    assert_ne!(hashed(&one), hashed(&other));
    // What was read of the rules is no part of it.
    assert!(one.rules().is_ok());
    assert!(one == same);
}

/// What changes between two policies, and whether it loosens.
fn between(was: impl FnOnce(&mut Policy), is: impl FnOnce(&mut Policy)) -> Vec<(String, bool)> {
    let (mut before, mut after) = (policy(), policy());
    was(&mut before);
    is(&mut after);
    let changes = Protection::of(&before).changes(&Protection::of(&after));
    changes.into_iter().map(|change| (change.what, change.loosens)).collect()
}
/// That the change loosens, and that the way back does not.
fn loosens(what: &str, was: fn(&mut Policy), is: fn(&mut Policy)) {
    assert_eq!(between(was, is), [(what.to_owned(), true)], "{what}");
    assert_eq!(between(is, was), [(what.to_owned(), false)], "{what}, the other way");
}
/// That each of two is looser than the other: neither can be told to be stricter.
fn loosens_both_ways(what: &str, was: fn(&mut Policy), is: fn(&mut Policy)) {
    assert_eq!(between(was, is), [(what.to_owned(), true)], "{what}");
    assert_eq!(between(is, was), [(what.to_owned(), true)], "{what}, the other way");
}

#[test]
fn a_change_loosens_one_way_and_tightens_the_other() {
    loosens("mode", |p| p.mode = Mode::Observe, |p| p.mode = Mode::Gate);
    loosens("mode", |p| p.mode = Mode::Gate, |p| p.mode = Mode::Deploy);
    loosens("gates.typed_confirmation", |p| p.gates.typed_confirmation = Some("yes".into()), |_| ());
    loosens("gates.rules", |p| p.gates.rules.push(forbidding("small steps", "context.commits > 20")), |_| ());
    loosens("gates.expire", |_| (), |p| p.gates.expire = Millis::hours(25));
    loosens("gates.scan", settle_a_minute, |_| ());
    loosens("gates.scan", |_| (), waive);
    loosens("tests", |p| p.verify = vec![health(OnFailure::Stop)], |p| p.verify = vec![health(OnFailure::Continue)]);
    loosens("tests", |p| p.verify = vec![health(OnFailure::Continue)], |p| p.verify.clear());
    loosens("strategy", |p| p.strategy = in_steps(&[2_500, 10_000]), |p| p.strategy = in_steps(&[10_000]));
    loosens("strategy", |p| p.strategy = in_steps(&[10_000]), |p| p.strategy = Strategy::Rolling);
    loosens("watch.for", |_| (), |p| p.watch.length = Millis::minutes(4));
    loosens("watch.traffic", |p| p.watch.traffic = Some(5), |p| p.watch.traffic = Some(4));
    loosens("watch.traffic", |p| p.watch.traffic = Some(5), |_| ());
    loosens("watch.extend", |_| (), |p| p.watch.extend = Millis::minutes(6));
    loosens("watch.alarms.roll_back", |p| p.watch.alarms_roll_back = vec!["a-*".into()], |_| ());
    loosens("watch.alarms.ask", |p| p.watch.alarms_ask = vec!["a-*".into()], |_| ());
    loosens(
        "roll_back.when.vulnerability",
        |p| p.roll_back.vulnerability = Some(Severity::High),
        |p| p.roll_back.vulnerability = Some(Severity::Critical),
    );
    loosens("roll_back.when.vulnerability", |p| p.roll_back.vulnerability = Some(Severity::Critical), |_| ());
    loosens("roll_back.window", |_| (), |p| p.roll_back.window = Millis::hours(23));
    loosens("roll_back.keep_old", |_| (), |p| p.roll_back.keep_old = Millis::minutes(59));
    loosens("roll_back.most", |_| (), |p| p.governor.rollbacks = 4);
    loosens("roll_back.most", |_| (), |p| p.governor.within = Millis::minutes(59));
    loosens("breaker", |_| (), |p| p.governor.fleet = 6);
    loosens("breaker", |_| (), |p| p.governor.fleet_within = Millis::minutes(9));
    loosens("gates.break_glass", |p| glass(p, 3, "release-managers"), |p| glass(p, 2, "release-managers"));
    loosens("gates.break_glass", |_| (), |p| glass(p, 2, "release-managers"));
    loosens_both_ways("gates.break_glass", |p| glass(p, 2, "security"), |p| glass(p, 2, "release-managers"));
    loosens_both_ways("gates.break_glass", |p| glass(p, 2, "security"), |p| glass(p, 3, "release-managers"));
}

fn health(on_failure: OnFailure) -> Test {
    let kind = TestKind::Http { paths: vec!["/health".into()] };
    Test { name: "health".into(), kind, within: Millis::seconds(5), on_failure }
}

fn in_steps(steps: &[u16]) -> Strategy {
    Strategy::BlueGreen { steps: steps.to_vec(), every: Millis::minutes(2), manual: false }
}

fn settle_a_minute(policy: &mut Policy) {
    policy.gates.scan.as_mut().unwrap().settle = Millis::minutes(1);
}
fn waive(policy: &mut Policy) {
    let waiver = Waiver { id: "CVE-2026-1234".into(), reason: "not reachable".into(), until: Timestamp(9) };
    policy.gates.scan.as_mut().unwrap().waivers.push(waiver);
}
fn glass(policy: &mut Policy, count: u8, group: &str) {
    policy.gates.break_glass = Some(Quorum { count, group: group.parse().unwrap() });
}

#[test]
fn another_open_window_in_place_of_one_opens_more_and_one_less_does_not() {
    use portcullis_domain::calendar::Window;
    let window = |name: &str| Window::once(name, "2026-12-20", "2027-01-03", "Europe/Berlin").unwrap();
    let open = |names: &'static [&'static str]| {
        move |p: &mut Policy| p.gates.calendar.open = names.iter().map(|name| window(name)).collect()
    };
    let changed = |loosens| [("gates.open".to_owned(), loosens)];
    assert_eq!(between(open(&["a"]), open(&["b"])), changed(true));
    assert_eq!(between(open(&["a", "b"]), open(&["a"])), changed(false));
    assert_eq!(between(open(&["a"]), open(&["a", "b"])), changed(true));
    assert_eq!(between(open(&["a"]), open(&[])), changed(true));
    assert_eq!(between(open(&[]), open(&["a"])), changed(false));
}
