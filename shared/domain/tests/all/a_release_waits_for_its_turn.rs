//! What lets a release go on or holds it: the line, the freeze, the facts and how fresh they are.

use portcullis_domain::action::{Action, ObjectKey, Outcome, Stamp, Value};
use portcullis_domain::event::{End, What};
use portcullis_domain::facts::Finding;
use portcullis_domain::policy::*;
use portcullis_domain::signal::Command;
use portcullis_domain::target::Phase;
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::measuring::{MINUTE, both, measured, watched};
use crate::world::stages::{FIRST, approved_on_old_facts, gated, intention, look, names, outcome, verifying, why};
use crate::world::*;

#[test]
fn a_persons_rollback_stops_no_line_however_many_were_counted_before() {
    let mut three = policy();
    three.governor = Governor { rollbacks: 3, ..Governor::default() };
    let mut world = watched(three);
    for _ in 0..2 {
        measured(&mut world, 0, MINUTE, &both(&failing_window(900)));
    }
    world.parked = |_| false;
    world.settle();
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    let mut one = Policy::clone(&world.policy);
    one.governor.rollbacks = 1;
    world.policy = SealedPolicy::new(one);
    world.build(3, "amara");
    let second = world.push(3);
    world.approve("kofi", second);
    assert_eq!(world.phase(second), Some(Phase::Watching), "{:#?}", world.story(second));
    world.roll_back("kofi");
    assert!(world.rolled_back(second));
    assert_eq!(world.target.line_stopped, None);
}

#[test]
fn so_many_releases_wait_and_one_more_takes_the_place_of_the_oldest() {
    let mut queue = policy();
    queue.waiting = Waiting::Queue;
    let mut world = World::new(queue);
    for n in 2..13 {
        world.build(n, "amara");
        world.push(n);
    }
    assert_eq!(world.target.releases.len(), 11);
    assert_eq!(world.happened(|what| matches!(what, What::Settled { .. })), 0);
    world.build(13, "amara");
    let newest = world.push(13);
    assert_eq!(world.settled(FIRST), Some((End::Superseded, format!("release {newest} is newer and complete"))));
    assert_eq!(world.happened(|what| matches!(what, What::Settled { .. })), 1);
}

#[test]
fn a_release_goes_on_under_the_policy_it_began_with() {
    let mut world = verifying();
    let mut strict = policy();
    strict.gates.approvals[0].count = 3;
    world.policy = SealedPolicy::new(strict);
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
}

#[test]
fn scans_are_looked_at_where_a_gate_or_a_rule_wants_them() {
    let rule = |condition: &str| portcullis_domain::rules::Rule {
        name: why("rule"),
        text: format!("forbid(principal, action, resource) when {{ {condition} }};"),
    };
    for (gate, rules, scans) in [
        (true, vec![], true),
        (false, vec![], false),
        (false, vec![rule("context.commits > 20")], false),
        (false, vec![rule("context.findings.high > 3")], true),
    ] {
        let mut policy = policy();
        policy.gates.scan = policy.gates.scan.filter(|_| gate);
        policy.gates.rules = rules;
        let world = gated(policy);
        let seq = intention(&world, |action| matches!(action, Action::Look(_)));
        let Action::Look(look) = &world.target.outstanding[&seq].intention.action else { unreachable!() };
        assert_eq!(look.scans, scans, "gate: {gate}");
    }
}

#[test]
fn why_a_new_plan_was_made_is_told() {
    let whys = |world: &World| -> Vec<String> {
        let planned = world.events.iter().filter_map(|event| match &event.what {
            What::Planned { why, .. } => Some(why.clone()),
            _ => None,
        });
        planned.collect()
    };
    let mut world = gated(policy());
    world.scan(image(2, "api"), &[(Severity::High, 1)]);
    world.pass(Millis::minutes(2));
    let mut other = policy();
    other.backup_keep = Millis::days(30);
    world.policy = SealedPolicy::new(other);
    world.pass(Millis::minutes(2));
    let blue = ObjectKey::workload(&service("api"), Colour::Blue);
    let value = Value::Workload { digest: image(77, "api"), replicas: 3 };
    world.cluster.insert(blue, found(Stamp { fence: None, value }, 3));
    world.pass(Millis::minutes(2));
    world.scan(image(2, "api"), &[]);
    world.pass(Millis::minutes(2));
    let told = ["first plan", "the scan found more", "the policy changed", "what is live, or a manifest, changed"];
    assert_eq!(whys(&world), told, "evidence that gets better keeps the plan");
}

#[test]
fn facts_count_as_fresh_for_a_minute_from_when_we_got_them() {
    for (age, begins) in [(Millis::minutes(1), true), (Millis(MINUTE + 1), false)] {
        let mut world = gated(policy());
        world.parked = |_| true;
        world.now = world.now + age;
        world.approve("kofi", FIRST);
        assert_eq!(world.phase(FIRST) == Some(Phase::BackingUp), begins, "{age}");
    }
    // The reader's own clock is not asked.
    let mut world = approved_on_old_facts();
    let (seq, mut facts) = look(&mut world);
    facts.fetched_at = Timestamp(5);
    outcome(&mut world, seq, Outcome::Facts(facts));
    assert_eq!(world.phase(FIRST), Some(Phase::BackingUp), "{:#?}", world.story(FIRST));
}

#[test]
fn nothing_goes_forward_while_hands_are_off() {
    let mut world = verifying();
    let until = Some(world.now + Millis::minutes(10));
    world.command("kofi", Command::HandsOff { until, reason: why("surgery") });
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Verifying));
    world.pass(Millis::minutes(11));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
}

#[test]
fn while_a_freeze_lasts_nobody_takes_the_place_of_another_that_waits_for_its_end() {
    use portcullis_domain::calendar::Window;
    let mut frozen = policy();
    frozen.waiting = Waiting::Queue;
    frozen.gates.calendar.freeze.push(Window::once("launch", "2027-01-15", "2027-01-16", "UTC").unwrap());
    let mut world = World::new(frozen);
    for n in [2, 3] {
        world.build(n, "amara");
        let id = world.push(n);
        world.approve("kofi", id);
    }
    world.pass(Millis::minutes(10));
    assert_eq!(world.phase(FIRST), Some(Phase::Gated), "{:#?}", world.story(FIRST));
    assert_eq!(world.happened(|what| matches!(what, What::Settled { .. })), 0);
}

#[test]
fn a_look_that_finds_nothing_new_makes_the_facts_fresh_again() {
    let mut world = approved_on_old_facts();
    let seq = intention(&world, |action| matches!(action, Action::Look(_)));
    let same = Box::new((**world.release(FIRST).facts.as_ref().unwrap()).clone());
    let events = outcome(&mut world, seq, Outcome::Facts(same));
    assert_eq!(world.phase(FIRST), Some(Phase::BackingUp), "{events:#?}");
    assert!(!names(&events).contains(&why("facts_read")), "and is not written down");
}

#[test]
fn of_many_findings_those_that_a_waiver_names_are_kept_first() {
    let mut waived = policy();
    let until = World::new(waived.clone()).now + Millis::days(1);
    waived.gates.scan.as_mut().unwrap().severities.clear();
    waived.gates.scan.as_mut().unwrap().waivers =
        vec![Waiver { id: why("CVE-waived"), reason: why("not reachable"), until }];
    let mut world = World::new(waived);
    world.build(2, "amara");
    let finding = |severity, id: String| Finding { severity, id, package: why("zlib") };
    let scan = world.scans.get_mut(&image(2, "web")).unwrap();
    scan.findings = (0..70).map(|n| finding(Severity::Critical, format!("CVE-{n}"))).collect();
    scan.findings.push(finding(Severity::Low, why("CVE-waived")));
    world.push(2);
    let kept = &world.release(FIRST).facts.as_ref().unwrap().scans[&image(2, "web")].findings;
    assert_eq!((kept[0].id.as_str(), kept.len()), ("CVE-waived", 60));
}
