//! What the core prints for people, and reads back from what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::thread;

use portcullis_domain::action::{Action, AwaitReady, Intention, ObjectKey, Purpose, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::{Reason, What};
use portcullis_domain::facts::{AlarmState, ScanFact, ScanStatus};
use portcullis_domain::gate::{self, Case};
use portcullis_domain::given::Given;
use portcullis_domain::names::{
    AlarmName, CommitSha, DeliveryId, Identity, ReleaseId, Repository, Seq, ServiceName, Subject, Tag, TargetId,
};
use portcullis_domain::next;
use portcullis_domain::plan::{PlanId, evidence_class, is_worse};
use portcullis_domain::policy::{Colour, Comparison, Metric, Mode, Policy, Quorum, SealedPolicy, Severity, Waiver};
use portcullis_domain::protection::Protection;
use portcullis_domain::route::{self, PushContext};
use portcullis_domain::rules::{self, MOST_RULES, Rule};
use portcullis_domain::scope::{Scope, ScopeState, Stop};
use portcullis_domain::signal::{Fact, FactKind, Pushed, Signal};
use portcullis_domain::tags::{InvalidPattern, TagPattern};
use portcullis_domain::target::{Phase, Target};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::{GateResult, Judgement, Verdict};

use crate::world::*;

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(&format!("{text:?}")).ok()
}

// Names of things, as they are written in the ledger and shown on a screen.

#[test]
fn an_object_is_read_back_from_what_it_prints() {
    for (key, text) in [
        (ObjectKey::traffic(&service("nestjs-service")), "Service/nestjs-service"),
        (ObjectKey::workload(&service("nestjs-service"), Colour::Blue), "Deployment/nestjs-service-blue"),
        (ObjectKey::workload(&service("web"), Colour::Green), "Deployment/web-green"),
        // The colour is the last part, whatever the service is called.
        (ObjectKey::workload(&service("deep-blue"), Colour::Green), "Deployment/deep-blue-green"),
    ] {
        assert_eq!(key.to_string(), text);
        assert_eq!(serde_json::to_string(&key).unwrap(), format!("{text:?}"));
        assert_eq!(json::<ObjectKey>(text), Some(key));
    }
    for wrong in ["", "web", "Pod/web", "Deployment/web", "Deployment/web-red", "Deployment/-blue", "Service/Web"] {
        assert_eq!(json::<ObjectKey>(wrong), None, "{wrong}");
    }
}

#[test]
fn a_digest_is_shown_by_its_beginning() {
    // SHA-256 of nothing (FIPS 180-4).
    let digest = Digest::of(b"");
    assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(digest.short(), "sha256:e3b0");
    assert_eq!(format!("{digest:?}"), "sha256:e3b0");
}

#[test]
fn a_target_is_shown_as_it_is_written_also_among_other_fields() {
    let target: TargetId = "shop/production".parse().unwrap();
    assert_eq!(format!("{target:?}"), "shop/production");
}

#[test]
fn a_plan_is_read_back_from_the_name_people_see() {
    for name in ["4be1-c07f", "0000-0001", "ffff-0000"] {
        let plan: PlanId = name.parse().unwrap();
        assert_eq!((plan.to_string(), format!("{plan:?}")), (name.to_owned(), name.to_owned()));
        assert_eq!(json::<PlanId>(name), Some(plan));
    }
    for wrong in ["", "-", "4be1c07f", "4be-c07f", "4be1-c07f0", "+be1-c07f", "4be1-+07f", "4be1-c07g"] {
        assert!(wrong.parse::<PlanId>().is_err(), "{wrong}");
    }
}

#[test]
fn a_name_may_be_just_as_long_as_its_limit() {
    let label = |length| ServiceName::new(&"a".repeat(length)).is_ok();
    assert_eq!([0, 1, 63, 64].map(label), [false, true, true, false]);
    let (repository, tag, alarm, subject, delivery, identity): (Fits, Fits, Fits, Fits, Fits, Fits) = (
        |text| Repository::new(text).is_ok(),
        |text| Tag::new(text).is_ok(),
        |text| AlarmName::new(text).is_ok(),
        |text| Subject::new(text).is_ok(),
        |text| DeliveryId::new(text).is_ok(),
        |text| Identity::new(&text.replacen('a', ":", 1)).is_ok(),
    );
    for (most, fits) in [(255, repository), (128, tag), (255, alarm), (64, subject), (200, delivery), (200, identity)] {
        let found = [0, 1, most, most + 1].map(|length| fits(&"a".repeat(length)));
        assert_eq!(found, [false, true, true, false], "at most {most}");
    }
}
type Fits = fn(&str) -> bool;

#[test]
fn a_colour_has_a_workload_as_long_as_its_name_fits_on_a_cluster() {
    let mut service = policy().services.remove(0);
    assert_eq!(service.workload_name(Colour::Blue).unwrap().as_str(), "web-blue");
    service.name = ServiceName::new(&"w".repeat(57)).unwrap();
    assert_eq!(service.workload_name(Colour::Green).unwrap().as_str(), format!("{}-green", "w".repeat(57)));
    service.name = ServiceName::new(&"w".repeat(58)).unwrap();
    assert_eq!(service.workload_name(Colour::Green), None);
}

// Tags.

#[test]
fn a_tag_pattern_is_read_back_from_what_it_prints() {
    for text in ["{sha}", "prod-{sha7}-{date}-{time}", "v{version}_{number}.x", "latest"] {
        let pattern: TagPattern = text.parse().unwrap();
        assert_eq!(pattern.to_string(), text);
        assert_eq!(json::<TagPattern>(text), Some(pattern));
    }
}

#[test]
fn only_a_pattern_with_a_commit_in_it_names_one() {
    let names = |text: &str| text.parse::<TagPattern>().unwrap().names_commit();
    assert!(names("{sha}") && names("prod-{sha7}-{date}"));
    assert!(!names("v{version}") && !names("{date}-{time}-{number}") && !names("latest"));
}

#[test]
fn a_tag_pattern_has_a_bounded_length_and_a_bounded_number_of_placeholders() {
    let read = |text: &str| text.parse::<TagPattern>().map(|pattern| pattern.to_string());
    let long = "a".repeat(128);
    assert_eq!(read(&long), Ok(long.clone()));
    assert_eq!(read(&format!("{long}a")), Err(InvalidPattern::Size));
    assert_eq!(read(""), Err(InvalidPattern::Size));
    let eight = "{date}".repeat(8);
    assert_eq!(read(&eight), Ok(eight.clone()));
    assert_eq!(read(&format!("{eight}{{time}}")), Err(InvalidPattern::Size));
    // Fixed text between them counts for nothing.
    let apart = "-{date}".repeat(8) + "-";
    assert_eq!(read(&apart), Ok(apart.clone()));
}

#[test]
fn a_version_is_three_numbers_and_perhaps_a_suffix() {
    let pattern: TagPattern = "{version}".parse().unwrap();
    let read = |tag: &str| pattern.read(&Tag::new(tag).unwrap()).and_then(|found| found.version);
    for version in ["1.2.3", "10.20.30", "1.2.3-rc.1", "0.0.0-"] {
        assert_eq!(read(version).as_deref(), Some(version));
    }
    for other in ["latest", "1.2.3.4", "1.22.", "1..23", "1.2.x", "a.b.c", "v1.2.3", "1-2.3.4"] {
        assert_eq!(read(other), None, "{other}");
    }
}

// What is measured.

#[test]
fn a_comparison_and_its_opposite_never_agree() {
    for (comparison, below, equal, above) in [
        (Comparison::Above, false, false, true),
        (Comparison::AtLeast, false, true, true),
        (Comparison::Below, true, false, false),
        (Comparison::AtMost, true, true, false),
    ] {
        for (value, holds) in [(4, below), (5, equal), (6, above), (-5, below)] {
            assert_eq!(comparison.holds(value, 5), holds, "{value} {comparison} 5");
            assert_eq!(comparison.negated().holds(value, 5), !holds, "not: {value} {comparison} 5");
        }
    }
    let told = [Comparison::Above, Comparison::AtLeast, Comparison::Below, Comparison::AtMost];
    assert_eq!(told.map(|comparison| comparison.to_string()), ["above", "at least", "below", "at most"]);
}

#[test]
fn a_measured_value_is_shown_in_the_unit_people_think_in() {
    use Metric::{ClientErrorRate, ErrorRate, Requests, ResponseTimeP50, ResponseTimeP95, ResponseTimeP99};
    for (metric, value, shown) in [
        (Requests, 5_000, "5/s"),
        (Requests, 1_250, "1.25/s"),
        (Requests, 7, "0.007/s"),
        (ErrorRate, 680, "6.8%"),
        (ErrorRate, 0, "0%"),
        (ErrorRate, 10_000, "100%"),
        (ClientErrorRate, 5, "0.05%"),
        (ResponseTimeP95, 612_000, "612 ms"),
        (ResponseTimeP95, 612_999, "612 ms"),
        (ResponseTimeP50, 10_000, "10 ms"),
        (ResponseTimeP50, 9_990, "9.99 ms"),
        (ResponseTimeP50, 40, "0.04 ms"),
        (ResponseTimeP99, 999_999, "999 ms"),
        (ResponseTimeP99, 1_000_000, "1 s"),
        (ResponseTimeP99, 2_345_000, "2.345 s"),
    ] {
        assert_eq!(metric.show(value), shown, "{metric} {value}");
    }
    for (metric, name) in Metric::ALL {
        assert_eq!((metric.name(), metric.to_string()), (name, name.to_owned()));
    }
}

#[test]
fn a_duration_is_as_long_as_its_unit_says() {
    let lengths = [Millis::seconds(5), Millis::minutes(5), Millis::hours(5), Millis::days(5)];
    assert_eq!(lengths, [5_000, 300_000, 18_000_000, 432_000_000].map(Millis));
    assert_eq!(lengths.map(|length| length.to_string()), ["5s", "5m", "5h", "5d"]);
    let at = Timestamp(1_000);
    assert_eq!(
        (at + Millis(500), at - Millis(400), at - Millis(2_000)),
        (Timestamp(1_500), Timestamp(600), Timestamp(0))
    );
    assert_eq!((at.since(Timestamp(300)), Timestamp(300).since(at)), (Millis(700), Millis(0)));
}

#[test]
fn more_findings_are_worse_and_as_many_are_not() {
    let class = |counts: &[(Severity, u32)]| {
        let scan = |counts: BTreeMap<Severity, u32>| ScanFact {
            status: ScanStatus::Complete,
            completed_at: None,
            counts,
            findings: vec![],
        };
        let scans = [scan(counts.iter().copied().collect()), scan(BTreeMap::from([(Severity::Low, 1)]))];
        evidence_class(scans.iter())
    };
    // A severity without a finding is no evidence, whether the scanner names it or not.
    assert_eq!(class(&[(Severity::Critical, 0), (Severity::Low, 2)]), BTreeMap::from([(Severity::Low, 3)]));
    let old = class(&[(Severity::High, 2)]);
    assert!(!is_worse(&old, &old));
    assert!(!is_worse(&class(&[(Severity::High, 1)]), &old));
    assert!(is_worse(&class(&[(Severity::High, 3)]), &old));
    assert!(is_worse(&class(&[(Severity::High, 1), (Severity::Critical, 1)]), &old));
}

// Why something happened.

#[test]
fn the_reason_of_a_rollback_is_one_line_of_plain_words() {
    let threshold = Reason::Threshold {
        service: service("web"),
        metric: Metric::ErrorRate,
        value: 680,
        limit: 100,
        rule: "must stay below 1%".into(),
    };
    let alarm = |reason: &str| Reason::Alarm { alarm: AlarmName::new("shop-5xx").unwrap(), reason: reason.to_owned() };
    let found = Reason::Vulnerability {
        service: service("web"),
        finding: "CVE-2026-1234".into(),
        severity: Severity::Critical,
    };
    for (reason, told, automatic) in [
        (threshold, "web error_rate 6.8%, must stay below 1%", true),
        (Reason::Health { service: service("web"), failing: Millis::minutes(5) }, "web not ready for 5m", true),
        (alarm("too many 5xx"), "alarm shop-5xx: too many 5xx", true),
        (alarm(""), "alarm shop-5xx", true),
        (Reason::Step { why: "the tests failed".into() }, "the tests failed", true),
        (Reason::Person { reason: "it hurts".into() }, "a person: it hurts", false),
        (found, "critical vulnerability in web: CVE-2026-1234", true),
    ] {
        assert_eq!((reason.to_string().as_str(), reason.is_automatic()), (told, automatic));
    }
}

#[test]
fn a_gate_of_parts_says_what_the_first_worst_part_waits_for() {
    let until = Some(Timestamp(7));
    let waits = GateResult { until, ..GateResult::hold("b", "b is not there", "b comes") };
    let later = GateResult { until: None, ..GateResult::hold("c", "c is not there", "c comes") };
    let parts = vec![GateResult::pass("a", "a is there"), waits, later];
    let all = GateResult::all_of("all", "all are there", parts.clone());
    let expected = GateResult { parts: parts.clone(), ..GateResult::hold("all", "b is not there", "b comes") };
    assert_eq!(all, GateResult { until, ..expected });
    let all = GateResult::all_of("all", "all are there", parts[..1].to_vec());
    assert_eq!(all, GateResult { parts: parts[..1].to_vec(), ..GateResult::pass("all", "all are there") });
}

#[test]
fn a_judgement_tells_what_blocks_it_and_whether_people_may_skip_that() {
    let judged = |gates: &[GateResult]| Judgement { at: Timestamp(1), gates: gates.to_vec() };
    let (pass, hold) = (GateResult::pass("alarms", "none rings"), GateResult::hold("approval", "none", "one comes"));
    let (scan, images) = (GateResult::block("scan", "1 critical"), GateResult::block("images", "web has none"));
    for (gates, verdict, told, skipped) in [
        (vec![pass.clone()], Verdict::Pass, "", true),
        (vec![pass.clone(), hold.clone()], Verdict::Hold, "", true),
        (vec![pass.clone(), hold.clone(), scan.clone()], Verdict::Block, "scan: 1 critical", true),
        (vec![hold.clone(), images.clone(), scan.clone()], Verdict::Block, "images: web has none", false),
        (vec![scan.clone(), images], Verdict::Block, "scan: 1 critical", false),
    ] {
        let judgement = judged(&gates);
        let found = (judgement.verdict(), judgement.blocked_by(), judgement.can_be_skipped());
        assert_eq!(found, (verdict, told.to_owned(), skipped), "{gates:?}");
    }
    let verdicts = [Verdict::Pass, Verdict::Hold, Verdict::Block].map(|verdict| verdict.to_string());
    assert_eq!(verdicts, ["pass", "hold", "block"]);
    // The moment, the evidence and the parts are no news; a verdict and its reason are.
    let old = judged(std::slice::from_ref(&hold));
    let more = GateResult { evidence: vec!["amara".into()], ..hold.clone() };
    assert!(old.same_as(&Judgement { at: Timestamp(2), gates: vec![more] }));
    assert!(!old.same_as(&judged(&[GateResult { why: "1 of 2".into(), ..hold.clone() }])));
    assert!(!old.same_as(&judged(&[GateResult { verdict: Verdict::Block, ..hold }])));
}

// What an event means to others.

fn intended(action: Action) -> What {
    let intention =
        Intention { action, place: policy().place, not_before: Timestamp(0), every: None, deadline: Timestamp(1) };
    What::Intended { release: ReleaseId(1), intention: Box::new(intention) }
}

#[test]
fn only_what_brings_new_code_closer_needs_the_stops_to_be_unchanged() {
    let release = ReleaseId(1);
    let write = |purpose| {
        let object = ObjectKey::traffic(&service("web"));
        intended(Action::Write(Write { object, from: vec![], to: Value::Traffic { green: 0 }, purpose }))
    };
    let ready = AwaitReady {
        object: ObjectKey::workload(&service("web"), Colour::Green),
        digest: image(2, "web"),
        replicas: 3,
        after: Seq(1),
    };
    let began = What::Began {
        release,
        plan: "4be1-c07f".parse().unwrap(),
        policy: Arc::new(policy()),
        before: BTreeMap::new(),
        objects: BTreeMap::new(),
    };
    let back = What::RollbackBegan {
        release,
        why: Reason::Step { why: "it failed".into() },
        to: BTreeMap::new(),
        served: true,
    };
    let entered = |phase| What::Entered { release, phase };
    for (what, forward) in [
        (began, true),
        (entered(Phase::Deploying { wave: 0 }), true),
        (entered(Phase::Switching { step: 0, wave: 0 }), true),
        (entered(Phase::BackingUp), false),
        (entered(Phase::Verifying), false),
        (entered(Phase::Watching), false),
        (write(Purpose::Deploy), true),
        (write(Purpose::Claim), true),
        (write(Purpose::Switch), true),
        (write(Purpose::Drain), true),
        (write(Purpose::Mark), false),
        (write(Purpose::Restore), false),
        (intended(Action::AwaitReady(ready)), false),
        (intended(Action::Observe), false),
        (back, false),
        (What::Paused { release }, false),
    ] {
        assert_eq!(what.moves_forward(), forward, "{what:?}");
    }
}

/// When the one measurement that stands is due, and the moment its intention names.
fn measurement(target: &Target) -> (Timestamp, Timestamp) {
    let due = next(target).actions.into_iter().find(|due| matches!(due.intention.action, Action::Measure(_))).unwrap();
    (due.not_before, due.intention.not_before)
}

#[test]
fn in_a_watch_the_next_window_is_due_when_it_is_over() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    let minute = Millis::minutes(1);
    for passed in 0..3 {
        let watch = world.release(id).watch.clone().unwrap();
        assert_eq!(watch.measured_to, watch.since + Millis::minutes(passed));
        assert_eq!(measurement(&world.target).0, watch.measured_to + minute);
        world.pass(minute);
    }
}

#[test]
fn after_the_watch_a_window_is_measured_as_its_intention_says() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    world.pass(Millis::minutes(3));
    assert_eq!(world.phase(id), Some(Phase::Live));
    let (due, said) = measurement(&world.target);
    assert_eq!(due, said);
    let measured_to = world.release(id).watch.as_ref().unwrap().measured_to;
    assert_ne!(due, measured_to + Millis::minutes(1), "the two would be told apart");
}

#[test]
fn the_end_of_the_old_colour_is_looked_at_again_only_once_the_new_one_is_live() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    let keep_old_until = world.release(id).keep_old_until;
    assert!(keep_old_until.is_some());
    let mut target = world.target.clone();
    // Nothing else is due.
    target.outstanding.clear();
    let release = target.releases.get_mut(&id).unwrap();
    (release.until, release.remind_at, release.asking) = (None, None, None);
    assert_eq!(next(&target).wake_at, keep_old_until);
    target.releases.get_mut(&id).unwrap().phase = Phase::RollingBack;
    assert_eq!(next(&target).wake_at, None);
}

// Policies.

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

fn forbidding(name: &str, condition: &str) -> Rule {
    Rule { name: name.into(), text: format!("forbid(principal, action, resource) when {{ {condition} }};") }
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

// Stops.

#[test]
fn a_stop_covers_its_targets_and_no_other() {
    let scope = |target: &str| Scope::of(&target.parse().unwrap());
    let target: TargetId = "shop/production".parse().unwrap();
    let [all, environment, application, itself] = scope("shop/production");
    assert!([&all, &environment, &application, &itself].iter().all(|scope| scope.covers(&target)));
    let told = [all, environment, application, itself].map(|scope| scope.to_string());
    assert_eq!(told, ["all", "environment production", "application shop", "shop/production"]);
    let [_, staging, bank, elsewhere] = scope("bank/staging");
    assert!(![&staging, &bank, &elsewhere].iter().any(|scope| scope.covers(&target)));
    // Neither the environment of another application nor another environment of this one.
    assert!(!scope("bank/production")[3].covers(&target) && !scope("shop/staging")[3].covers(&target));
}

#[test]
fn a_stop_with_an_end_is_in_force_until_just_before_it() {
    let stop = |until| Stop { who: who("kofi"), reason: "migration".into(), since: Timestamp(1), until };
    let state = |until| ScopeState { stop: Some(stop(until)), ..ScopeState::default() };
    let ends = state(Some(Timestamp(100)));
    assert_eq!(ends.stopped(Timestamp(99)), ends.stop.as_ref());
    assert_eq!(ends.stopped(Timestamp(100)), None);
    assert_eq!(ends.stopped(Timestamp(101)), None);
    let stays = state(None);
    assert_eq!(stays.stopped(Timestamp(u64::MAX)), stays.stop.as_ref());
    assert_eq!(ScopeState::default().stopped(Timestamp(1)), None);
}

// Facts from outside, and whom they concern.

const ACCOUNT: &str = "333333333333";
const REGION: &str = "us-east-1";

fn repository(name: &str) -> Repository {
    Repository::new(&format!("registry.test/shop/{name}")).unwrap()
}
fn fact(kind: FactKind) -> Fact {
    let delivery = DeliveryId::new("d1").unwrap();
    Fact { delivery, at: Timestamp(5), account: Some(ACCOUNT.into()), region: Some(REGION.into()), kind }
}
fn pushed(name: &str, tag: Option<&str>) -> Fact {
    let tag = tag.map(|tag| Tag::new(tag).unwrap());
    fact(FactKind::ImagePushed { repository: repository(name), digest: image(2, name), tag })
}
fn alarm(name: &str) -> Fact {
    fact(FactKind::AlarmChanged {
        alarm: AlarmName::new(name).unwrap(),
        state: AlarmState::Alarm,
        changed_at: Timestamp(4),
        reason: "5xx".into(),
        suppressed: true,
    })
}
fn nothing_more() -> PushContext {
    PushContext::default()
}

#[test]
fn what_is_said_of_an_image_concerns_the_targets_that_deploy_from_its_repository() {
    let policy = policy();
    for (name, known) in [("web", true), ("jobs", true), ("other", false)] {
        let (repository, digest) = (repository(name), image(2, name));
        let counts = BTreeMap::from([(Severity::High, 1)]);
        let status = ScanStatus::Complete;
        let deleted = fact(FactKind::ImageDeleted { repository: repository.clone(), digest, tag: None });
        let reported = FactKind::ScanReported { repository, digest, status, counts: counts.clone() };
        let said = |signal| known.then_some(signal);
        assert_eq!(route::signal(&policy, &deleted, &nothing_more()), said(Signal::ImageDeleted { digest }));
        let expected = said(Signal::ScanReported { digest, status, counts });
        assert_eq!(route::signal(&policy, &fact(reported), &nothing_more()), expected);
    }
    let frequency = |names: &[&str]| {
        let repositories = names.iter().map(|name| repository(name)).collect();
        route::signal(&policy, &fact(FactKind::ScanFrequencyChanged { repositories }), &nothing_more())
    };
    assert_eq!(frequency(&["other", "api"]), Some(Signal::Wake));
    assert_eq!(frequency(&["other"]), None);
    assert_eq!(frequency(&[]), None);
}

#[test]
fn an_alarm_concerns_the_targets_that_name_it_in_the_same_account_and_region() {
    let mut policy = policy();
    policy.watch.alarms_roll_back = vec!["shop-*-5xx".into()];
    policy.watch.alarms_ask = vec!["shop-latency".into()];
    let expected = Signal::Alarm {
        alarm: AlarmName::new("shop-web-5xx").unwrap(),
        state: AlarmState::Alarm,
        changed_at: Timestamp(4),
        reason: "5xx".into(),
        suppressed: true,
    };
    assert_eq!(route::signal(&policy, &alarm("shop-web-5xx"), &nothing_more()), Some(expected));
    assert!(route::concerns(&policy, &alarm("shop-latency")));
    assert!(!route::concerns(&policy, &alarm("bank-web-5xx")));
    let other = |text: &str| Some(text.to_owned());
    for (account, region, ours) in [
        (other(ACCOUNT), other(REGION), true),
        (None, None, true),
        (other(ACCOUNT), None, true),
        (None, other(REGION), true),
        (other("444444444444"), other(REGION), false),
        (other("444444444444"), None, false),
        (other(ACCOUNT), other("eu-west-1"), false),
        (None, other("eu-west-1"), false),
    ] {
        let fact = Fact { account, region, ..alarm("shop-latency") };
        assert_eq!(route::concerns(&policy, &fact), ours, "{:?} {:?}", fact.account, fact.region);
    }
    // A target that is not on AWS takes an alarm from wherever it comes.
    (policy.place.account, policy.place.region) = (None, None);
    assert!(route::concerns(&policy, &alarm("shop-latency")));
    assert!(!route::concerns(&policy, &alarm("bank-web-5xx")));
}

#[test]
fn a_pushed_image_is_of_the_commit_that_a_tag_of_it_names() {
    let policy = policy();
    let tag = |n: u8| Tag::new(commit(n).as_str()).unwrap();
    let also = |tags: &[Tag], commit: Option<CommitSha>| PushContext {
        tags: tags.iter().cloned().collect(),
        commit,
        facts: None,
    };
    let named = commit(2);
    let (own, moving) = (pushed("web", Some(named.as_str())), pushed("web", Some("latest")));
    for (fact, context, expected) in [
        (&own, also(&[], None), Some(commit(2))),
        (&own, also(&[tag(3)], Some(commit(4))), Some(commit(2))),
        (&moving, also(&[tag(3)], Some(commit(4))), Some(commit(3))),
        (&moving, also(&[], Some(commit(4))), Some(commit(4))),
        (&pushed("web", None), also(&[tag(3)], None), Some(commit(3))),
        (&moving, also(&[], None), None),
    ] {
        assert_eq!(route::commit_of(&policy, fact, &context), expected);
        let found = route::signal(&policy, fact, &context).map(|signal| match signal {
            Signal::Pushed(pushed) => pushed.commit,
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected);
    }
    assert_eq!(route::signal(&policy, &pushed("other", Some(named.as_str())), &nothing_more()), None);
}

#[test]
fn a_push_is_told_under_the_tag_that_names_its_commit() {
    let policy = policy();
    let sha = Tag::new(commit(2).as_str()).unwrap();
    let tagged = |own: Option<&str>, tags: &[&Tag]| {
        let tags = tags.iter().copied().cloned().collect();
        let context = PushContext { tags, commit: Some(commit(2)), facts: None };
        let Some(Signal::Pushed(pushed)) = route::signal(&policy, &pushed("web", own), &context) else { panic!() };
        pushed.tag
    };
    let (latest, another) = (Tag::new("latest").unwrap(), Tag::new("another").unwrap());
    assert_eq!(tagged(Some("latest"), &[&another, &sha]), Some(sha.clone()));
    assert_eq!(tagged(Some(sha.as_str()), &[&latest]), Some(sha));
    assert_eq!(tagged(Some("latest"), &[&another]), Some(latest));
    assert_eq!(tagged(None, &[&another]), None);
}

#[test]
fn a_push_opens_a_release_by_its_branch_or_by_a_moving_tag() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let facts = world.commits.remove(&commit(2)).unwrap();
    let staging = Tag::new("staging").unwrap();
    let opens = |branch: Option<&str>, moving_tag: Option<&Tag>, own: Option<&str>, tags: &[&Tag], known: bool| {
        let mut policy = policy();
        (policy.intake.branch, policy.intake.moving_tag) = (branch.map(str::to_owned), moving_tag.cloned());
        let facts = known.then(|| facts.clone());
        let tags: BTreeSet<Tag> = tags.iter().copied().cloned().collect();
        let context = PushContext { tags, commit: Some(commit(2)), facts: facts.clone() };
        let signal = route::signal(&policy, &pushed("web", own), &context);
        let Some(Signal::Pushed(pushed)) = signal else { panic!("{signal:?}") };
        let expected = Pushed {
            service: service("web"),
            digest: image(2, "web"),
            tag: own.map(|tag| Tag::new(tag).unwrap()),
            commit: commit(2),
            pushed_at: Timestamp(5),
            facts,
            opens: pushed.opens,
        };
        assert_eq!(pushed, expected);
        pushed.opens
    };
    assert!(opens(Some("main"), None, None, &[], true));
    assert!(!opens(Some("next"), None, None, &[], true), "another branch");
    assert!(!opens(Some("main"), None, None, &[], false), "nobody knows its branches");
    assert!(!opens(None, None, Some("staging"), &[], true), "only a person opens one here");
    assert!(opens(None, Some(&staging), Some("staging"), &[], true));
    assert!(opens(None, Some(&staging), Some("x"), &[&staging], true));
    assert!(!opens(None, Some(&staging), Some("x"), &[], true));
    assert!(!opens(None, Some(&staging), None, &[], true));
    assert!(opens(Some("main"), Some(&staging), Some("x"), &[], true), "one of the two is enough");
    assert!(opens(Some("next"), Some(&staging), Some("staging"), &[], true), "one of the two is enough");
}

#[test]
fn an_account_is_known_as_an_environments_or_as_a_registrys() {
    let mut shop = policy();
    let mut bank = policy();
    bank.place.account = Some("555555555555".into());
    bank.place.region = None;
    let registry = "444444444444.dkr.ecr.eu-central-1.amazonaws.com/shop/web";
    shop.services[0].repository = Repository::new(registry).unwrap();
    let policies = [SealedPolicy::new(shop), SealedPolicy::new(bank)];
    for (account, region, known) in [
        (ACCOUNT, None, true),
        (ACCOUNT, Some(REGION), true),
        (ACCOUNT, Some("eu-central-1"), false),
        // Its environment names no region.
        ("555555555555", Some("eu-central-1"), true),
        ("555555555555", None, true),
        ("444444444444", None, true),
        ("444444444444", Some("eu-central-1"), true),
        ("444444444444", Some(REGION), false),
        ("444444444444", Some("eu-central"), false),
        ("44444444444", None, false),
        ("666666666666", None, false),
        ("666666666666", Some(REGION), false),
    ] {
        assert_eq!(route::knows_account(&policies, account, region), known, "{account} {region:?}");
    }
    assert!(!route::knows_account(&[], ACCOUNT, None));
}

// The user's own rules.

#[test]
fn the_first_thing_wrong_with_a_rule_is_what_is_told() {
    for count in 2..8 {
        // Each on a line of its own, and none like another.
        let wrong: Vec<String> = (0..count).map(|n| format!("context.nothing{n} > {n}")).collect();
        let rule = forbidding("a rule", &wrong.join(" ||\n"));
        let error = rules::check(&rule).unwrap_err();
        assert_eq!((error.line, error.column), (1, 44), "{error}");
        assert!(error.message.starts_with("attribute `nothing0` in context"), "{error}");
    }
}

#[test]
fn compiled_rules_are_shown_by_their_names() {
    let named = |n: usize| forbidding(&format!("rule {n}"), "context.commits > 3");
    let compiled = rules::compile(&[named(1), named(2)]).unwrap();
    assert_eq!(format!("{compiled:?}"), r#"{"rule 1", "rule 2"}"#);
    let rules: Vec<Rule> = (0..MOST_RULES).map(named).collect();
    assert_eq!(rules::compile(&rules).unwrap().names().count(), MOST_RULES);
}

/// A text with so many of one operator, which no parser need understand: the bounds are looked at first.
fn bound(unit: &str, times: usize) -> Option<String> {
    let rule = Rule { name: "a rule".into(), text: unit.repeat(times) };
    let message = rules::check(&rule).unwrap_err().message;
    message.starts_with("the rule has more than 250 operators").then_some(message)
}

#[test]
fn every_operator_counts_and_nothing_else_does() {
    for operator in [".", "!", "-", "+", "*", "<", ">", "&&", "||", "==", "in", "has", "like", "is"] {
        let unit = format!("{operator} ");
        assert_eq!(bound(&unit, 250), None, "{operator}");
        assert!(bound(&unit, 251).is_some(), "{operator}");
        // `.` and its like need no space between them.
        assert_eq!(bound(operator, 250), None, "{operator}");
    }
    // What only begins or ends like one, is half of one, or stands in a text or a comment.
    for other in ["inside ", "_in ", "in_ ", "in1 ", "iff ", "& ", "| ", "= ", "x ", "\"!\" ", "//!\n", "1 "] {
        assert_eq!(bound(other, 300), None, "{other:?}");
    }
    assert_eq!(bound("if ", 16), None);
    assert!(bound("if ", 17).is_some());
    assert_eq!(bound("_if ", 17), None);
    assert!(bound("/!", 251).is_some(), "one stroke begins no comment");
    assert!(bound("//x\n!", 251).is_some(), "what follows on a comment counts again");
    assert!(bound("\"x\\\"\" !", 251).is_some(), "what follows on a text counts again");
    assert!(bound("a_b1!", 251).is_some(), "what follows on a word counts again");
}

#[test]
fn sixteen_brackets_may_be_open_and_closed_ones_are_not() {
    let nested = |n: usize| forbidding("a rule", &format!("{}context.commits{} > 3", "(".repeat(n), ")".repeat(n)));
    // One is open already: that of `when`.
    assert_eq!(rules::check(&nested(15)), Ok(()));
    let error = rules::check(&nested(16)).unwrap_err();
    assert_eq!((error.message.as_str(), error.column), ("more than 16 brackets are open here", 59));
    let flat = forbidding("a rule", &["(context.commits > 3)"; 30].join(" || "));
    assert_eq!(rules::check(&flat), Ok(()));
    // A comment need not end.
    let text = format!("forbid(principal, action, resource); // {}", "( ".repeat(100));
    assert_eq!(rules::check(&Rule { name: "a rule".into(), text }), Ok(()));
}

#[test]
fn a_word_is_pointed_at_where_it_is_one() {
    for before in [
        r#"context.title == "datetime" && "#,
        r#"context.title == "\"datetime" && "#,
        "// datetime\n",
        "context.datetimes && ",
        "context._datetime && ",
        "context.datetime1 && ",
    ] {
        let rule = forbidding("a rule", &format!(r#"{before}datetime("2026-12-01") < datetime("2026-12-02")"#));
        let error = rules::check(&rule).unwrap_err();
        assert_eq!(error.message, "a rule can not call datetime", "{before}");
        // Before it stands `forbid(principal, action, resource) when { `.
        let place = if before.ends_with('\n') { (2, 1) } else { (1, 44 + before.len()) };
        assert_eq!((error.line, error.column as usize), place, "{before}");
    }
}

#[test]
fn only_the_weekday_and_the_mode_of_a_release_are_one_of_a_few() {
    // A record may call its own field so, and put any text there.
    let own = r#"{a: {weekday: context.title}}.a.weekday == "WIP" || {a: {mode: context.title}}.a.mode == "WIP""#;
    assert_eq!(rules::check(&forbidding("a rule", own)), Ok(()));
    let error = rules::check(&forbidding("a rule", r#"context.mode == "production""#)).unwrap_err();
    assert!(error.message.starts_with("attribute `mode` in context"), "{error}");
}

/// A world whose release of commit 2 waits under one rule.
fn under(rule: Rule, prepare: impl FnOnce(&mut World)) -> (World, ReleaseId) {
    let mut policy = policy();
    policy.gates.rules = vec![rule];
    let mut world = World::new(policy);
    world.build(2, "amara");
    prepare(&mut world);
    let id = world.push(2);
    (world, id)
}

#[test]
fn what_a_rule_looked_at_is_shown_on_one_line_without_what_could_deceive() {
    let rule = forbidding("a rule", r#"context.title like "fix*" || context.approvers.contains("kofi")"#);
    let title = "fix\u{202e}ed\u{7}\nat\tlast";
    let (world, id) = under(rule, |world| world.commits.get_mut(&commit(2)).unwrap().title = title.into());
    let judgement = world.release(id).judgement.as_ref().unwrap();
    let gate = judgement.gates.iter().find(|gate| gate.gate == "rules").unwrap();
    assert_eq!(gate.parts[0].evidence, ["title: fixed at last", "approvers: none"]);
}

#[test]
fn the_longest_rule_is_evaluated_to_its_end_however_much_stack_the_caller_has() {
    let sum = format!("context.commits{} > 100", " + 1".repeat(247));
    let (world, id) = under(forbidding("a rule", &sum), |_| ());
    assert_eq!(world.gate(id, "rules"), "hold: forbidden by a rule");
    // It was read already; what is left is to ask it.
    let judged = || {
        let release = world.release(id);
        let given = Given {
            now: world.now,
            ledger: World::ledger(),
            next_release: ReleaseId(99),
            scopes: world.scopes.clone(),
        };
        let facts = release.facts.as_ref().unwrap();
        let case = Case { target: &world.target, release, policy: &world.policy, facts, given: &given };
        let gate = gate::judge(&case).gates.into_iter().find(|gate| gate.gate == "rules").unwrap();
        assert_eq!((gate.verdict, gate.why.as_str()), (Verdict::Hold, "forbidden by a rule"));
    };
    thread::scope(|scope| {
        for kib in [128, 1_024, 1_060, 1_100, 1_150, 2_048, 8_192] {
            thread::Builder::new().stack_size(kib * 1_024).spawn_scoped(scope, judged).unwrap();
        }
    });
}
