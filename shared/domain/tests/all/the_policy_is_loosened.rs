//! A change of the policy is an event with its diff; what it loosens is named, and stays visible.

use portcullis_domain::event::What;
use portcullis_domain::policy::{Mode, Policy, Quorum, ScanAction, SealedPolicy, Severity};
use portcullis_domain::protection::{Change, Protection};
use portcullis_domain::signal::Signal;
use portcullis_domain::time::Millis;

use crate::world::*;

fn changed(edit: impl FnOnce(&mut Policy)) -> Vec<(String, bool)> {
    let before = policy();
    let mut after = policy();
    edit(&mut after);
    let changes = Protection::of(&before).changes(&Protection::of(&after));
    let back = Protection::of(&after).changes(&Protection::of(&before));
    assert_eq!(changes.len(), back.len());
    changes.into_iter().map(|change| (change.what, change.loosens)).collect()
}

fn one(what: &str, loosens: bool) -> Vec<(String, bool)> {
    vec![(what.to_owned(), loosens)]
}

#[test]
fn a_looser_policy_is_recorded_with_what_it_loosens_as_soon_as_anything_happens() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.push(2);
    let first = world.happened(|what| matches!(what, What::PolicyChanged { from: None, .. }));
    assert_eq!(first, 1, "the first policy is noted once");
    let mut looser = policy();
    looser.gates.approvals.clear();
    world.policy = SealedPolicy::new(looser);
    world.signal(&Signal::Wake);
    world.signal(&Signal::Wake);
    let found: Vec<&Vec<Change>> = world
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::PolicyChanged { from: Some(_), changes, .. } => Some(changes),
            _ => None,
        })
        .collect();
    let [changes] = found.as_slice() else { panic!("{found:?}") };
    let change = Change {
        what: "gates.approvals".into(),
        before: r#"["1 of release-managers"]"#.into(),
        after: String::new(),
        loosens: true,
    };
    assert_eq!(**changes, [change]);
}

#[test]
fn a_target_of_which_nothing_is_known_notes_no_policy() {
    let mut world = World::new(policy());
    assert_eq!(world.signal(&Signal::Wake), []);
}

#[test]
fn asking_for_more_is_told_from_asking_for_less() {
    let managers = || policy().gates.approvals[0].group.clone();
    assert_eq!(changed(|_| {}), []);
    assert_eq!(changed(|p| p.mode = Mode::Observe), one("mode", false));
    assert_eq!(changed(|p| p.gates.approvals[0].count = 2), one("gates.approvals", false));
    assert_eq!(changed(|p| p.gates.approvals.clear()), one("gates.approvals", true));
    let second = Quorum { count: 1, group: "security".parse().unwrap() };
    assert_eq!(changed(|p| p.gates.approvals.push(second.clone())), one("gates.approvals", false));
    assert_eq!(changed(|p| p.gates.approvals = vec![second.clone()]), one("gates.approvals", true));
    assert_eq!(changed(|p| p.gates.scan = None), one("gates.scan", true));
    let severity = |severity, action| {
        changed(move |p| {
            p.gates.scan.as_mut().unwrap().severities.insert(severity, action);
        })
    };
    assert_eq!(severity(Severity::Critical, ScanAction::Block { above: 1 }), one("gates.scan", true));
    assert_eq!(severity(Severity::High, ScanAction::Block { above: 1 }), one("gates.scan", false));
    let review = ScanAction::Review { above: 0, by: managers() };
    assert_eq!(severity(Severity::Critical, review.clone()), one("gates.scan", true));
    assert_eq!(severity(Severity::High, review), one("gates.scan", false));
    let scan = |p: &mut Policy, days| p.gates.scan.as_mut().unwrap().max_age = Millis::days(days);
    assert_eq!(changed(|p| scan(p, 2)), one("gates.scan", true));
    assert_eq!(changed(|p| scan(p, 0)), one("gates.scan", false));
    assert_eq!(changed(|p| p.gates.typed_confirmation = Some("yes".into())), one("gates.typed_confirmation", false));
    assert_eq!(changed(|p| p.gates.expire = Millis::hours(25)), one("gates.expire", true));
    let quorum = Quorum { count: 2, group: managers() };
    assert_eq!(changed(|p| p.gates.break_glass = Some(quorum)), one("gates.break_glass", true));
    assert_eq!(changed(|p| p.watch.length = Millis::minutes(4)), one("watch.for", true));
    assert_eq!(changed(|p| p.watch.length = Millis::minutes(6)), one("watch.for", false));
    assert_eq!(changed(|p| p.watch.healthy.clear()), one("watch.healthy", true));
    assert_eq!(changed(|p| p.watch.traffic = Some(5)), one("watch.traffic", false));
    assert_eq!(changed(|p| p.watch.extend = Millis::hours(1)), one("watch.extend", true));
    assert_eq!(changed(|p| p.watch.alarms_roll_back = vec!["a".into()]), one("watch.alarms.roll_back", false));
    assert_eq!(changed(|p| p.watch.alarms_ask = vec!["a".into()]), one("watch.alarms.ask", false));
    assert_eq!(changed(|p| p.roll_back.window = Millis::hours(1)), one("roll_back.window", true));
    assert_eq!(changed(|p| p.roll_back.keep_old = Millis::minutes(1)), one("roll_back.keep_old", true));
    assert_eq!(changed(|p| p.roll_back.when = p.watch.healthy.clone()), one("roll_back.when", false));
    assert_eq!(changed(|p| p.roll_back.health_failing_for = None), one("roll_back.when.health", true));
    let health = |p: &mut Policy, minutes| p.roll_back.health_failing_for = Some(Millis::minutes(minutes));
    assert_eq!(changed(|p| health(p, 6)), one("roll_back.when.health", true));
    assert_eq!(changed(|p| health(p, 4)), one("roll_back.when.health", false));
    let seen = |p: &mut Policy| p.roll_back.vulnerability = Some(Severity::High);
    assert_eq!(changed(seen), one("roll_back.when.vulnerability", false));
    assert_eq!(changed(|p| p.governor.rollbacks = 4), one("roll_back.most", true));
    assert_eq!(changed(|p| p.governor.within = Millis::hours(2)), one("roll_back.most", false));
    assert_eq!(changed(|p| p.governor.fleet = 4), one("breaker", false));
    assert_eq!(changed(|p| p.governor.fleet_within = Millis::minutes(1)), one("breaker", true));
    let joins = |p: &mut Policy| p.groups.get_mut("release-managers").unwrap().insert(who("mallory"));
    assert_eq!(changed(|p| _ = joins(p)), one("groups.release-managers", true));
    let leaves = |p: &mut Policy| p.groups.get_mut("release-managers").unwrap().remove("kofi");
    assert_eq!(changed(|p| _ = leaves(p)), one("groups.release-managers", false));
}

#[test]
fn promotion_windows_and_rules_are_told_apart_too() {
    use portcullis_domain::calendar::Window;
    use portcullis_domain::policy::{Promotion, Same};
    use portcullis_domain::rules::Rule;
    let promotion =
        |environment: &str, same, within| Some(Promotion { environment: environment.parse().unwrap(), same, within });
    let compare = |before: Option<Promotion>, after: Option<Promotion>| {
        let (mut was, mut is) = (policy(), policy());
        (was.gates.promoted_from, is.gates.promoted_from) = (before, after);
        Protection::of(&was).changes(&Protection::of(&is)).first().is_some_and(|change| change.loosens)
    };
    let week = Some(Millis::days(7));
    let strict = promotion("staging", Same::Digests, week);
    assert!(!compare(None, strict.clone()));
    assert!(compare(strict.clone(), None));
    assert!(compare(strict.clone(), promotion("dev", Same::Digests, week)));
    assert!(compare(strict.clone(), promotion("staging", Same::SourceTree, week)));
    assert!(compare(strict.clone(), promotion("staging", Same::Digests, None)));
    assert!(compare(strict.clone(), promotion("staging", Same::Digests, Some(Millis::days(8)))));
    assert!(!compare(strict.clone(), promotion("staging", Same::Digests, Some(Millis::days(6)))));
    assert!(!compare(promotion("staging", Same::SourceTree, None), strict));
    let window = |name: &str| Window::once(name, "2026-12-20", "2027-01-03", "Europe/Berlin").unwrap();
    assert_eq!(changed(|p| p.gates.calendar.freeze.push(window("a"))), one("gates.freeze", false));
    assert_eq!(changed(|p| p.gates.calendar.open.push(window("a"))), one("gates.open", false));
    let rule = Rule { name: "no".into(), text: "forbid(principal, action, resource);".into() };
    assert_eq!(changed(|p| p.gates.rules.push(rule)), one("gates.rules", false));
    let (mut was, mut is) = (policy(), policy());
    was.gates.calendar.freeze.push(window("a"));
    was.gates.calendar.open.push(window("a"));
    is.gates.calendar.open.extend([window("a"), window("b")]);
    let loosened = Protection::of(&was).changes(&Protection::of(&is));
    let loosened: Vec<(&str, bool)> = loosened.iter().map(|change| (change.what.as_str(), change.loosens)).collect();
    assert_eq!(loosened, [("gates.freeze", true), ("gates.open", true)]);
}
