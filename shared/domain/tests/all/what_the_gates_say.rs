//! What each gate says at its limits: the verdict, the reason, what would clear it, and until when.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{ObjectKey, Stamp, Value};
use portcullis_domain::facts::{AlarmFact, AlarmState, Facts, Finding, Promoted, ScanStatus, Verified};
use portcullis_domain::gate::{self, Case};
use portcullis_domain::given::Given;
use portcullis_domain::names::{AlarmName, GroupName, Identity, ReleaseId};
use portcullis_domain::policy::*;
use portcullis_domain::scope::{FleetRollback, Stop};
use portcullis_domain::target::{Approval, Glass, Phase, Release};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::{GateResult, Verdict};

use crate::world::*;

const NAMES: [&str; 3] = ["web", "api", "jobs"];

/// A release that waits for its gates, and all that they look at: changed as a test wants it, then judged.
struct Waits {
    world: World,
    release: Release,
    facts: Facts,
    policy: Policy,
}

/// Release 1 of commit 2 by amara waits for its approval.
fn waits() -> Waits {
    waits_under(policy())
}

fn waits_under(policy: Policy) -> Waits {
    let mut world = World::new(policy);
    world.build(2, "amara");
    let id = world.push(2);
    let release = world.release(id).clone();
    let facts = (**release.facts.as_ref().unwrap()).clone();
    let policy = Policy::clone(&world.policy);
    Waits { world, release, facts, policy }
}

impl Waits {
    fn find(&self, gate: &str) -> Option<GateResult> {
        let given = Given {
            now: self.world.now,
            ledger: World::ledger(),
            next_release: ReleaseId(99),
            scopes: self.world.scopes.clone(),
        };
        let policy = SealedPolicy::new(self.policy.clone());
        let case = Case {
            target: &self.world.target,
            release: &self.release,
            policy: &policy,
            facts: &self.facts,
            given: &given,
        };
        gate::judge(&case).gates.into_iter().find(|found| found.gate == gate)
    }

    fn gate(&self, gate: &str) -> GateResult {
        self.find(gate).expect("the gate was judged")
    }

    /// The verdict and the reason.
    fn says(&self, gate: &str) -> String {
        says(&self.gate(gate))
    }

    fn part(&self, gate: &str, part: &str) -> Option<GateResult> {
        self.gate(gate).parts.into_iter().find(|found| found.gate == part)
    }

    fn parts(&self, gate: &str) -> Vec<String> {
        self.gate(gate).parts.iter().map(|part| format!("{}: {}", part.gate, says(part))).collect()
    }

    fn approve(&mut self, name: &str) {
        let plan = self.release.plan.as_ref().unwrap().id;
        self.release.approvals.push(Approval { plan, who: who(name), at: self.world.now, typed: false });
    }
}

fn says(gate: &GateResult) -> String {
    format!("{}: {}", gate.verdict, gate.why)
}
fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}
fn people(names: &[&str]) -> BTreeSet<portcullis_domain::names::Subject> {
    names.iter().map(|name| who(name)).collect()
}
fn identities(names: &[&str]) -> BTreeSet<Identity> {
    names.iter().map(|name| Identity::new(name).unwrap()).collect()
}

#[test]
fn a_message_can_make_an_alarm_worse_than_our_own_reading_but_only_a_later_one() {
    let (ok, rings) = (AlarmState::Ok, AlarmState::Alarm);
    let at = |seconds: u64| Timestamp(1_700_000_000_000) + Millis::seconds(seconds);
    for (told, read, expected) in [
        ((rings, 9), (ok, 10), "pass: 1 of 1 alarm OK"),
        ((rings, 10), (ok, 10), "pass: 1 of 1 alarm OK"),
        ((rings, 11), (ok, 10), "hold: app-5xx rings already"),
        ((ok, 11), (rings, 10), "hold: app-5xx rings already"),
    ] {
        let mut waits = waits();
        waits.policy.watch.alarms_roll_back = vec!["app-*".into()];
        let alarm = AlarmName::new("app-5xx").unwrap();
        let fact = |(state, seconds)| AlarmFact { state, changed_at: at(seconds) };
        waits.world.target.alarms.insert(alarm.clone(), fact(told));
        waits.facts.alarms.insert(alarm, fact(read));
        assert_eq!(waits.says("alarms"), expected, "told {told:?}, read {read:?}");
    }
}

#[test]
fn alarms_are_counted_and_one_that_a_person_accepted_is_named() {
    let mut waits = waits();
    waits.policy.watch.alarms_roll_back = vec!["app-*".into()];
    waits.policy.watch.alarms_ask = vec!["db-*".into()];
    let changed_at = waits.world.now;
    let states = [("app-1", AlarmState::Ok), ("app-2", AlarmState::Alarm), ("app-3", AlarmState::InsufficientData)];
    for (name, state) in states {
        waits.facts.alarms.insert(AlarmName::new(name).unwrap(), AlarmFact { state, changed_at });
    }
    assert_eq!(
        waits.parts("alarms"),
        ["db-*: hold: db-* matches no alarm", "app-1: pass: OK", "app-2: hold: app-2 rings already", "app-3: pass: OK"]
    );
    waits.policy.watch.alarms_ask.clear();
    waits.release.accepted_alarms.insert(AlarmName::new("app-2").unwrap());
    assert_eq!(waits.says("alarms"), "pass: 2 of 3 alarms OK");
    assert_eq!(waits.parts("alarms")[1], "app-2: pass: rings; accepted by a person");
}

#[test]
fn a_bot_has_no_vote_to_lose_but_a_stranger_holds() {
    let mut waits = waits();
    waits.facts.commit.as_mut().unwrap().people = identities(&["github:amara", "github:renovate[bot]"]);
    assert_eq!(waits.says("approval"), "hold: 0 of 1 from release-managers");
    waits.facts.commit.as_mut().unwrap().people = identities(&["github:amara", "github:renovate"]);
    assert_eq!(waits.says("approval"), "hold: cannot tell who github:renovate is, who wrote part of it");
    waits.facts.commit.as_mut().unwrap().people.clear();
    assert_eq!(waits.says("approval"), "hold: nobody can say who wrote 0202020");
}

#[test]
fn who_is_still_asked_to_approve_is_named_and_who_cannot_count_with_the_reason() {
    let mut waits = waits();
    waits.policy.gates.approvals[0].count = 2;
    waits.release.requested_by = Some(who("lena"));
    waits.facts.commit.as_mut().unwrap().people = identities(&["github:amara"]);
    waits.policy.groups.get_mut("release-managers").unwrap().extend(people(&["omar", "rosa"]));
    let gate = waits.gate("approval");
    assert_eq!(gate.clears_when.as_deref(), Some("kofi, omar or rosa approves"));
    assert_eq!(gate.evidence, ["cannot count: amara (wrote part of it)", "cannot count: lena (asked for the release)"]);
    assert_eq!(gate.until, waits.release.until);
    waits.approve("kofi");
    let gate = waits.gate("approval");
    assert_eq!(says(&gate), "hold: 1 of 2 from release-managers");
    assert_eq!(gate.clears_when.as_deref(), Some("omar or rosa approves"));
    assert_eq!(gate.parts[0].evidence, ["by kofi"]);
    waits.policy.groups.get_mut("release-managers").unwrap().remove("rosa");
    assert_eq!(waits.gate("approval").clears_when.as_deref(), Some("omar approves"));
    waits.policy.groups.get_mut("release-managers").unwrap().remove("omar");
    let clears = waits.gate("approval").clears_when;
    assert_eq!(clears.as_deref(), Some("nobody of release-managers is left who may; change the group"));
}

#[test]
fn approvals_of_another_plan_of_authors_and_of_strangers_do_not_count() {
    let mut waits = waits();
    waits.approve("kofi");
    assert_eq!(waits.says("approval"), "pass: given");
    waits.release.approvals[0].plan = "0000-0001".parse().unwrap();
    assert_eq!(waits.says("approval"), "hold: 0 of 1 from release-managers");
    waits.approve("amara");
    waits.approve("mallory");
    assert_eq!(waits.says("approval"), "hold: 0 of 1 from release-managers");
}

#[test]
fn each_voter_takes_one_seat_and_the_seats_are_given_so_that_most_are_filled() {
    let (narrow, wide) = (["kofi"].as_slice(), ["kofi", "lena", "omar"].as_slice());
    for (seats, voters, expected) in [
        // The one who alone may take the second seat gives the first one up.
        (vec![(1, "wide"), (1, "narrow")], vec!["kofi", "lena"], "pass: given"),
        (vec![(1, "wide"), (1, "narrow")], vec!["lena", "omar"], "hold: 0 of 1 from narrow"),
        (vec![(1, "wide"), (1, "narrow")], vec!["kofi"], "hold: 0 of 1 from narrow"),
        (vec![(2, "wide"), (1, "narrow")], vec!["kofi", "lena", "omar"], "pass: given"),
        (vec![(2, "wide"), (1, "narrow")], vec!["kofi", "lena"], "hold: 0 of 1 from narrow"),
        (vec![(3, "wide")], vec!["kofi", "lena"], "hold: 2 of 3 from wide"),
        (vec![(1, "wide")], vec!["kofi", "lena", "omar"], "pass: given"),
        (vec![(1, "narrow"), (2, "wide")], vec!["lena", "omar"], "hold: 0 of 1 from narrow"),
        (vec![(1, "empty")], vec!["kofi"], "hold: 0 of 1 from empty"),
    ] {
        let mut waits = waits();
        waits.policy.groups.insert(group("narrow"), people(narrow));
        waits.policy.groups.insert(group("wide"), people(wide));
        waits.policy.gates.approvals =
            seats.iter().map(|(count, name)| Quorum { count: *count, group: group(name) }).collect();
        for voter in &voters {
            waits.approve(voter);
        }
        let hold = waits.gate("approval");
        let shown = match hold.verdict {
            Verdict::Pass => says(&hold),
            _ => hold.parts.iter().filter(|part| part.verdict == Verdict::Hold).map(says).next_back().unwrap(),
        };
        assert_eq!(shown, expected, "{seats:?} by {voters:?}");
        let taken: Vec<&String> = hold.parts.iter().flat_map(|part| &part.evidence).collect();
        assert_eq!(taken.len(), taken.iter().collect::<BTreeSet<_>>().len(), "nobody twice: {taken:?}");
    }
}

#[test]
fn a_group_reviews_once_for_all_that_the_scans_found_and_beside_its_approval() {
    let review = |by: &str| ScanAction::Review { above: 0, by: group(by) };
    let mut waits = waits();
    waits.policy.groups.insert(group("security"), people(&["lena"]));
    waits.policy.gates.scan.as_mut().unwrap().severities = [(Severity::High, review("security"))].into();
    for name in ["web", "api"] {
        waits.facts.scans.get_mut(&image(2, name)).unwrap().counts.insert(Severity::High, 1);
    }
    let seats = [
        "1 of release-managers: hold: 0 of 1 from release-managers",
        "1 of security: hold: 0 of 1 from security (api has 1 high)",
    ];
    assert_eq!(waits.parts("approval"), seats);
    waits.policy.gates.scan.as_mut().unwrap().severities = [(Severity::High, review("release-managers"))].into();
    let seats = [
        "1 of release-managers: hold: 0 of 1 from release-managers",
        "1 of release-managers: hold: 0 of 1 from release-managers (api has 1 high)",
    ];
    assert_eq!(waits.parts("approval"), seats, "who approves is not also who reviews");
    waits.approve("kofi");
    assert!(waits.says("approval").starts_with("hold"));
    waits.approve("lena");
    assert_eq!(waits.says("approval"), "pass: given");
}

#[test]
fn two_groups_that_review_are_both_asked() {
    let mut waits = waits();
    let review = |by: &str| ScanAction::Review { above: 0, by: group(by) };
    let rules = [(Severity::High, review("security")), (Severity::Medium, review("legal"))];
    waits.policy.gates.scan.as_mut().unwrap().severities = rules.into();
    waits.policy.gates.approvals.clear();
    assert_eq!(waits.find("approval"), None, "nobody is asked where nothing was found");
    waits.facts.scans.get_mut(&image(2, "web")).unwrap().counts = [(Severity::High, 1), (Severity::Medium, 1)].into();
    let names: Vec<String> = waits.gate("approval").parts.into_iter().map(|part| part.gate).collect();
    assert_eq!(names, ["1 of security", "1 of legal"]);
}

#[test]
fn a_release_that_a_person_started_needs_the_typed_text_of_somebody_for_this_plan() {
    let mut waits = waits();
    waits.policy.gates.typed_confirmation = Some("shop".into());
    assert_eq!(waits.find("confirmation"), None, "a push needs none");
    waits.release.requested_by = Some(who("kofi"));
    let hold = waits.gate("confirmation");
    assert_eq!(says(&hold), "hold: the confirmation was not typed");
    assert_eq!(hold.clears_when.as_deref(), Some("a person types \"shop\""));
    waits.approve("lena");
    assert!(waits.says("confirmation").starts_with("hold"), "an approval without the text");
    waits.release.approvals[0].typed = true;
    assert_eq!(waits.says("confirmation"), "pass: typed");
    waits.release.approvals[0].plan = "0000-0001".parse().unwrap();
    assert!(waits.says("confirmation").starts_with("hold"), "it was typed for another plan");
    waits.release.typed = true;
    assert_eq!(waits.says("confirmation"), "pass: typed");
    waits.policy.gates.typed_confirmation = None;
    assert_eq!(waits.find("confirmation"), None);
}

#[test]
fn the_calendar_is_a_part_of_the_freeze_and_lends_it_its_end() {
    use portcullis_domain::calendar::Window;
    let mut waits = waits();
    waits.policy.gates.calendar.freeze.push(Window::once("launch", "2027-01-15", "2027-01-16", "UTC").unwrap());
    let gate = waits.gate("freeze");
    assert_eq!(says(&gate), "hold: frozen: launch, until 2027-01-16 00:00 UTC");
    assert_eq!(gate.until, Some(Timestamp(1_800_057_600_000)));
}

#[test]
fn a_cluster_that_was_not_read_holds_and_a_source_that_is_missing_is_named_once() {
    let mut waits = waits();
    assert_eq!(waits.says("cluster"), "pass: 5 objects read, ours to write");
    waits.facts.objects.clear();
    assert_eq!(waits.says("cluster"), "hold: the cluster was not read yet");
    waits.facts.missing.insert("cluster".into(), "timed out".into());
    assert_eq!(waits.parts("cluster"), ["cluster: hold: cluster: timed out"]);
    assert_eq!(waits.gate("cluster").clears_when.as_deref(), Some("cluster answers again"));
    let mut waits = self::waits();
    waits.facts.missing.insert("metrics".into(), "timed out".into());
    assert_eq!(waits.parts("cluster"), ["metrics: hold: metrics: timed out"]);
}

#[test]
fn traffic_holds_only_where_it_goes_to_no_pods_while_the_other_colour_has_some() {
    let web = service("web");
    for (green, blue_pods, green_pods, holds) in [
        (0, 3, 0, None),
        (0, 3, 3, None),
        (0, 0, 0, None),
        (0, 0, 3, Some("web sends its traffic to blue, which has no pods, while green has")),
        (4_999, 0, 3, Some("web sends its traffic to blue, which has no pods, while green has")),
        (5_000, 0, 3, None),
        (5_000, 3, 0, Some("web sends its traffic to green, which has no pods, while blue has")),
        (10_000, 3, 3, None),
    ] {
        let mut waits = waits();
        let workload = |replicas| Value::Workload { digest: image(1, "web"), replicas };
        let values = [
            (ObjectKey::traffic(&web), Value::Traffic { green }),
            (ObjectKey::workload(&web, Colour::Blue), workload(blue_pods)),
            (ObjectKey::workload(&web, Colour::Green), workload(green_pods)),
        ];
        for (key, value) in values {
            waits.facts.objects.insert(key, found(Stamp { fence: None, value }, 0));
        }
        let said = waits.part("cluster", "traffic").map(|part| part.why);
        assert_eq!(said.as_deref(), holds, "{green} of 10000 to green; {blue_pods} blue, {green_pods} green pods");
    }
}

/// A release whose approval is skipped by these people, where so many of `oncall` must.
fn skipped_by(count: u8, names: &[&str]) -> GateResult {
    let mut waits = waits();
    waits.policy.groups.insert(group("oncall"), people(&["kofi", "lena", "omar"]));
    waits.policy.gates.break_glass = Some(Quorum { count, group: group("oncall") });
    let plan = waits.release.plan.as_ref().unwrap().id;
    let gates = BTreeSet::from(["approval".to_owned()]);
    for name in names {
        waits.release.glass.push(Glass { plan, gates: gates.clone(), who: who(name), reason: "fire".into() });
    }
    let other = Glass { plan, gates: ["scan".to_owned()].into(), who: who("omar"), reason: "fire".into() };
    let older = Glass { plan: "0000-0001".parse().unwrap(), gates, who: who("omar"), reason: "fire".into() };
    waits.release.glass.extend([other, older]);
    waits.gate("approval")
}

#[test]
fn a_gate_is_skipped_by_as_many_as_the_policy_wants_and_never_by_fewer_than_two() {
    for (count, names, expected) in [
        (0, ["kofi"].as_slice(), "hold: 0 of 1 from release-managers"),
        (1, &["kofi"], "hold: 0 of 1 from release-managers"),
        (1, &["kofi", "lena"], "pass: skipped by kofi and lena"),
        (2, &["kofi", "kofi"], "hold: 0 of 1 from release-managers"),
        (2, &["kofi", "mallory"], "hold: 0 of 1 from release-managers"),
        (3, &["kofi", "lena"], "hold: 0 of 1 from release-managers"),
        (3, &["kofi", "lena", "omar"], "pass: skipped by kofi and lena and omar"),
    ] {
        assert_eq!(says(&skipped_by(count, names)), expected, "{count} wanted, said by {names:?}");
    }
    let open = skipped_by(3, &["kofi", "lena"]).evidence;
    assert_eq!(open[1..], ["kofi: fire", "lena: fire", "2 of 3 of oncall would skip it"], "{open:?}");
    assert_eq!(skipped_by(2, &[]).evidence, ["cannot count: amara (wrote part of it)"], "nothing is said of nobody");
    let skipped = skipped_by(2, &["kofi", "lena"]);
    assert_eq!(skipped.evidence.last().unwrap(), "it said hold: 0 of 1 from release-managers");
    assert_eq!(skipped.parts.len(), 1, "what it found stays to be seen");
}

#[test]
fn a_gate_that_passes_by_itself_is_not_said_to_be_skipped() {
    let mut waits = waits();
    waits.policy.gates.break_glass = Some(Quorum { count: 2, group: group("release-managers") });
    let plan = waits.release.plan.as_ref().unwrap().id;
    for name in ["kofi", "lena"] {
        // The second names what can not be skipped at all, as an older version might have let pass.
        let gates = BTreeSet::from(["scan".to_owned(), "cluster".to_owned()]);
        waits.release.glass.push(Glass { plan, gates, who: who(name), reason: "fire".into() });
    }
    assert_eq!(waits.says("scan"), "pass: 0 critical, 0 high, 0 medium");
    waits.facts.objects.clear();
    assert_eq!(waits.says("cluster"), "hold: the cluster was not read yet");
}

#[test]
fn images_say_how_many_are_kept_and_which_tags_moved() {
    let mut waits = waits();
    let gate = waits.gate("images");
    assert_eq!((says(&gate).as_str(), gate.evidence.len()), ("pass: 3 of 3 by digest", 0));
    waits.release.moved_tags.insert(service("web"), image(9, "web"));
    let gate = waits.gate("images");
    assert_eq!(gate.evidence, ["1 tag moved since; not followed"]);
    assert_eq!(
        gate.parts[0].evidence,
        [format!("its tag now points at {}, which is not released", image(9, "web").short())]
    );
    waits.release.moved_tags.insert(service("api"), image(9, "api"));
    assert_eq!(waits.gate("images").evidence, ["2 tags moved since; not followed"]);
    waits.release.artifacts.get_mut("jobs").unwrap().kept = true;
    waits.facts.commit.as_mut().unwrap().changed.insert(service("jobs"), false);
    assert_eq!(waits.says("images"), "pass: 3 of 3 by digest (1 kept)");
    assert_eq!(waits.part("images", "jobs").unwrap().why, "kept: nothing changed under services/jobs");
    waits.facts.images.remove(&image(2, "api"));
    let gone = format!("hold: {} is not in registry.test/shop/api", image(2, "api").short());
    assert_eq!(waits.says("images"), gone);
    waits.release.artifacts.remove("web");
    assert_eq!(waits.says("images"), "hold: no image of 0202020 yet");
}

#[test]
fn what_is_kept_without_proof_that_nothing_changed_holds() {
    let mut waits = waits();
    waits.release.artifacts.get_mut("jobs").unwrap().kept = true;
    waits.facts.commit.as_mut().unwrap().changed.insert(service("jobs"), true);
    assert_eq!(waits.says("images"), "hold: services/jobs changed, but there is no image of 0202020");
    waits.facts.commit.as_mut().unwrap().changed.clear();
    assert_eq!(waits.says("images"), "hold: no proof that nothing under services/jobs changed");
}

#[test]
fn what_was_verified_elsewhere_counts_up_to_its_age_and_says_how_long_ago_it_was() {
    let staging = portcullis_domain::names::EnvName::new("staging").unwrap();
    let gate = |age: Millis, kept: bool| {
        let mut waits = waits();
        let within = Some(Millis::days(7));
        waits.policy.gates.promoted_from =
            Some(Promotion { environment: staging.clone(), same: Same::Digests, within });
        let verified = Verified {
            release: ReleaseId(70),
            commit: commit(2),
            tree: None,
            at: waits.world.now - age,
            digests: NAMES.iter().map(|name| (service(name), image(2, name))).collect(),
        };
        waits.facts.promoted = Some(Promoted { environment: staging.clone(), verified: vec![verified] });
        for artifact in waits.release.artifacts.values_mut() {
            artifact.kept = kept;
        }
        waits.gate("promotion")
    };
    let exact = gate(Millis::days(7), false);
    assert_eq!((exact.verdict, exact.evidence), (Verdict::Pass, vec!["verified live 10080 min ago".to_owned()]));
    let late = gate(Millis(Millis::days(7).0 + 1), false);
    assert_eq!(says(&late), "hold: staging release 70 was verified more than 7d ago");
    assert_eq!(gate(Millis::seconds(119), false).evidence, ["verified live 1 min ago"]);
    let nothing_new = gate(Millis(0), true);
    assert_eq!(says(&nothing_new), "hold: these digests were never verified live in staging");
}

#[test]
fn a_release_that_keeps_all_its_images_brings_nothing_that_could_have_been_verified() {
    let mut waits = waits();
    let environment = portcullis_domain::names::EnvName::new("staging").unwrap();
    waits.policy.gates.promoted_from =
        Some(Promotion { environment: environment.clone(), same: Same::Digests, within: None });
    let other = Verified {
        release: ReleaseId(70),
        commit: commit(9),
        tree: None,
        at: waits.world.now,
        digests: BTreeMap::new(),
    };
    waits.facts.promoted = Some(Promoted { environment, verified: vec![other] });
    let hold = waits.gate("promotion");
    assert_eq!(says(&hold), "hold: these digests were never verified live in staging");
    assert_eq!(hold.evidence, Vec::<String>::new(), "what was verified there is of another commit");
    assert_eq!(hold.clears_when.as_deref(), Some("a release of 0202020 is live in staging"));
}

/// What the scan gate says of a release whose scans were all made so long ago.
fn scanned(ago: Millis, settle: Millis) -> GateResult {
    let mut waits = waits();
    waits.policy.gates.scan.as_mut().unwrap().settle = settle;
    let at = waits.world.now - ago;
    for scan in waits.facts.scans.values_mut() {
        scan.completed_at = Some(at);
    }
    waits.gate("scan")
}

#[test]
fn a_scan_counts_from_when_it_has_settled_until_it_is_as_old_as_allowed() {
    let (day, settle) = (Millis::days(1), Millis::minutes(5));
    let just = |ago: Millis| scanned(ago, settle);
    assert_eq!(just(day).verdict, Verdict::Pass);
    assert_eq!(says(&just(Millis(day.0 + 1))), "hold: the scan of api is older than 1d");
    assert_eq!(just(settle).verdict, Verdict::Pass);
    let early = just(Millis(settle.0 - 1));
    assert_eq!(says(&early), "hold: the scan of api is complete for less than 5m: findings may follow");
    assert_eq!(early.until, Some(waits().world.now + Millis(1)), "it says when");
    assert_eq!(scanned(Millis(0), Millis(0)).verdict, Verdict::Pass);
}

#[test]
fn a_pass_says_how_old_the_oldest_scan_is_and_a_hold_does_not() {
    let mut waits = waits();
    let now = waits.world.now;
    waits.facts.scans.get_mut(&image(2, "api")).unwrap().completed_at = Some(now - Millis::minutes(7));
    waits.facts.scans.get_mut(&image(2, "jobs")).unwrap().completed_at = Some(now - Millis::seconds(3_719));
    assert_eq!(waits.gate("scan").evidence, ["complete, 61 min old"]);
    waits.facts.scans.get_mut(&image(2, "web")).unwrap().status = ScanStatus::Failed;
    let gate = waits.gate("scan");
    assert_eq!((says(&gate).as_str(), gate.evidence.len()), ("hold: the scan of web failed", 0));
}

#[test]
fn a_scan_that_says_nothing_is_told_apart_by_its_reason() {
    for (status, why) in [
        (ScanStatus::InProgress, "the scan of web is running"),
        (ScanStatus::Failed, "the scan of web failed"),
        (ScanStatus::Unsupported, "the scanner cannot read web"),
        (ScanStatus::Missing, "web has no scan"),
    ] {
        let mut waits = waits();
        waits.facts.scans.get_mut(&image(2, "web")).unwrap().status = status;
        assert_eq!(waits.says("scan"), format!("hold: {why}"));
    }
    let mut waits = waits();
    waits.facts.scans.get_mut(&image(2, "web")).unwrap().completed_at = None;
    assert_eq!(waits.says("scan"), "hold: nobody says when the scan of web was made");
    waits.facts.scans.remove(&image(2, "web"));
    assert_eq!(waits.says("scan"), "hold: web has no scan");
}

#[test]
fn counts_of_all_images_are_summed_and_the_limit_itself_is_allowed() {
    let mut waits = waits();
    let rules = [
        (Severity::Critical, ScanAction::Block { above: 2 }),
        (Severity::High, ScanAction::Review { above: 3, by: group("release-managers") }),
    ];
    waits.policy.gates.scan.as_mut().unwrap().severities = rules.into();
    waits.facts.scans.get_mut(&image(2, "web")).unwrap().counts =
        [(Severity::Critical, 2), (Severity::High, 3), (Severity::Low, 0)].into();
    waits.facts.scans.get_mut(&image(2, "api")).unwrap().counts = [(Severity::Critical, 1)].into();
    assert_eq!(waits.says("scan"), "pass: 3 critical, 3 high, 0 medium");
    assert_eq!(
        waits.parts("scan"),
        ["api: pass: 1 critical", "jobs: pass: no findings", "web: pass: 2 critical, 3 high"]
    );
    let web = |waits: &mut Waits, severity, count| {
        waits.facts.scans.get_mut(&image(2, "web")).unwrap().counts.insert(severity, count);
    };
    web(&mut waits, Severity::High, 4);
    assert_eq!(waits.part("scan", "web").unwrap().evidence, ["web has 4 high: reviewed by 1 of release-managers"]);
    web(&mut waits, Severity::Critical, 3);
    assert_eq!(waits.says("scan"), "block: web has 3 critical, 2 allowed");
}

#[test]
fn a_waiver_takes_out_its_own_finding_until_the_moment_it_ends() {
    let mut waits = waits();
    let until = waits.world.now + Millis::hours(1);
    let waiver = Waiver { id: "CVE-1".into(), reason: "not reachable".into(), until };
    waits.policy.gates.scan.as_mut().unwrap().waivers = vec![waiver];
    let finding = |id: &str| Finding { severity: Severity::Critical, id: id.into(), package: "zlib".into() };
    let scan = waits.facts.scans.get_mut(&image(2, "web")).unwrap();
    (scan.counts, scan.findings) = ([(Severity::Critical, 1)].into(), vec![finding("CVE-1")]);
    assert_eq!(waits.says("scan"), "pass: 0 critical, 0 high, 0 medium");
    assert_eq!(waits.part("scan", "web").unwrap().evidence, ["CVE-1 waived: not reachable"]);
    // A scanner that lists more than it counts, or a finding twice, makes nothing less than none.
    let scan = waits.facts.scans.get_mut(&image(2, "web")).unwrap();
    scan.findings = vec![finding("CVE-1"), finding("CVE-1")];
    assert_eq!(waits.part("scan", "web").unwrap().evidence, ["CVE-1 waived: not reachable"]);
    scan_of(&mut waits, "web").counts = [(Severity::Critical, 3)].into();
    scan_of(&mut waits, "web").findings = vec![finding("CVE-1"), finding("CVE-2")];
    assert_eq!(waits.says("scan"), "block: web has 2 critical");
    waits.world.now = Timestamp(until.0 - 1);
    assert_eq!(waits.says("scan"), "block: web has 2 critical");
    waits.world.now = until;
    assert_eq!(waits.says("scan"), "block: web has 3 critical", "its time is over");
}

fn scan_of<'a>(waits: &'a mut Waits, name: &str) -> &'a mut portcullis_domain::facts::ScanFact {
    waits.facts.scans.get_mut(&image(2, name)).unwrap()
}

#[test]
fn a_stop_at_any_scope_says_who_why_and_until_when() {
    let mut waits = waits();
    let now = waits.world.now;
    let stop = Stop { who: who("lena"), reason: "incident".into(), since: now, until: Some(now + Millis::hours(1)) };
    waits.world.scopes[1].1.stop = Some(stop);
    let gate = waits.gate("freeze");
    assert_eq!(says(&gate), "hold: environment production is stopped by lena: incident");
    assert_eq!(gate.until, Some(now + Millis::hours(1)));
    waits.world.now = now + Millis::hours(1);
    assert_eq!(waits.says("freeze"), "pass: none", "its time is over");
}

#[test]
fn a_quarantined_digest_holds_the_release_that_brings_it_and_not_one_that_keeps_it() {
    let mut waits = waits();
    assert_eq!(waits.find("quarantine"), None);
    waits.world.target.quarantine.insert(image(7, "web"), ReleaseId(5));
    assert_eq!(waits.says("quarantine"), "pass: none of these digests was rolled back");
    waits.world.target.quarantine.insert(image(2, "web"), ReleaseId(5));
    let hold = waits.gate("quarantine");
    assert_eq!(says(&hold), format!("hold: web {} was rolled back with release 5", image(2, "web").short()));
    assert_eq!(hold.clears_when, Some(format!("a person lifts the quarantine of {}", image(2, "web"))));
    waits.release.artifacts.get_mut("web").unwrap().kept = true;
    assert_eq!(waits.says("quarantine"), "pass: none of these digests was rolled back");
}

#[test]
fn a_release_waits_for_those_before_it_and_for_nobody_behind_it() {
    let mut waits = waits();
    assert_eq!(waits.find("turn"), None, "nobody waits");
    let plan = waits.release.plan.as_ref().unwrap().id;
    let approval = Approval { plan, who: who("kofi"), at: waits.world.now, typed: false };
    let other = |id: u64, phase, approvals: &[Approval]| {
        let id = ReleaseId(id);
        let mut release = Release::new(id, commit(9), Timestamp(0));
        (release.phase, release.approvals) = (phase, approvals.to_vec());
        (id, release)
    };
    waits.release.id = ReleaseId(5);
    for (waiting, release, expected) in [
        (Waiting::Newest, other(4, Phase::Gated, &[]), None),
        (Waiting::Newest, other(4, Phase::Gated, std::slice::from_ref(&approval)), Some("release 4 waits before it")),
        (Waiting::Newest, other(6, Phase::Gated, std::slice::from_ref(&approval)), None),
        (Waiting::Newest, other(4, Phase::Gathering, std::slice::from_ref(&approval)), None),
        (Waiting::Queue, other(4, Phase::Gated, &[]), Some("release 4 waits before it")),
        (Waiting::Queue, other(4, Phase::Cleared, &[]), None),
        (Waiting::Queue, other(6, Phase::Gated, &[]), None),
    ] {
        waits.policy.waiting = waiting;
        let told = format!("{waiting:?}: {} {:?} {}", release.0, release.1.phase, release.1.approvals.len());
        waits.world.target.releases = [release, (ReleaseId(5), waits.release.clone())].into();
        let said = waits.find("turn").map(|gate| gate.why);
        assert_eq!(said.as_deref(), expected, "{told}");
    }
    waits.world.target.in_flight = Some(ReleaseId(5));
    assert_eq!(waits.find("turn"), None, "it is in flight itself");
    waits.world.target.in_flight = Some(ReleaseId(3));
    assert_eq!(waits.says("turn"), "hold: release 3 is in flight");
}

#[test]
fn the_old_colour_is_waited_for_until_it_is_let_go_but_not_where_there_is_only_one() {
    let mut waits = waits();
    let until = waits.world.now + Millis::minutes(20);
    let mut live = Release::new(ReleaseId(9), commit(9), Timestamp(0));
    (live.phase, live.keep_old_until) = (Phase::Live, Some(until));
    waits.world.target.live_release = Some(live.id);
    waits.world.target.releases.insert(live.id, live);
    let hold = waits.gate("turn");
    assert_eq!(says(&hold), "hold: the pods before release 9 are kept, to return in seconds");
    assert_eq!(hold.until, Some(until));
    waits.policy.strategy = Strategy::Rolling;
    assert_eq!(waits.find("turn"), None);
    waits.policy.strategy = policy().strategy;
    waits.release.phase = Phase::Verifying;
    assert_eq!(waits.find("turn"), None, "only what waits is held by it");
}

#[test]
fn many_rollbacks_elsewhere_hold_it_until_the_last_of_them_is_long_enough_ago() {
    let mut waits = waits();
    let now = waits.world.now;
    let within = waits.policy.governor.fleet_within;
    let rollback = |n: u64, ago: Millis| FleetRollback {
        target: format!("app{n:02}/production").parse().unwrap(),
        release: ReleaseId(n),
        at: now - ago,
    };
    let oldest = rollback(1, within);
    let mut rollbacks: Vec<FleetRollback> = (2..6).map(|n| rollback(n, Millis::minutes(n))).collect();
    rollbacks.push(oldest);
    waits.world.scopes[0].1.rollbacks = rollbacks.clone();
    let gate = waits.gate("freeze");
    assert_eq!(gate.until, Some(now - Millis::minutes(2) + within));
    assert_eq!(gate.parts[0].evidence[0], "app01/production");
    assert!(says(&gate).starts_with("hold: 5 environments rolled back by themselves within 10m"), "{}", says(&gate));
    waits.world.now = now + Millis(1);
    assert_eq!(waits.says("freeze"), "pass: none", "one of them is longer ago");
    waits.world.now = now;
    waits.world.scopes[0].1.rollbacks = rollbacks.into_iter().chain((10..30).map(|n| rollback(n, Millis(0)))).collect();
    assert_eq!(waits.gate("freeze").parts[0].evidence.len(), 10, "not a page of names");
    waits.policy.governor.fleet = 26;
    assert_eq!(waits.says("freeze"), "pass: none");
    (waits.policy.governor.fleet, waits.world.scopes[0].1.rollbacks) = (0, vec![]);
    assert_eq!(waits.says("freeze"), "pass: none", "no rollback at all is never too many");
}

#[test]
fn rollbacks_told_at_another_scope_are_not_the_fleets() {
    let mut waits = waits();
    let at = waits.world.now;
    let rollback =
        |n: u64| FleetRollback { target: format!("app{n}/production").parse().unwrap(), release: ReleaseId(n), at };
    waits.world.scopes[1].1.rollbacks = (0..9).map(rollback).collect();
    assert_eq!(waits.says("freeze"), "pass: none");
}

#[test]
fn the_backup_is_asked_for_from_its_phase_on() {
    for (phase, backup, expected) in [
        (Phase::Gated, None, None),
        (Phase::BackingUp, None, Some("hold: there is no backup yet")),
        (Phase::Verifying, None, Some("hold: there is no backup yet")),
        (Phase::BackingUp, Some("index.json".to_owned()), Some("pass: stored and read back")),
        (Phase::Verifying, Some("index.json".to_owned()), Some("pass: stored and read back")),
    ] {
        let mut waits = waits();
        (waits.release.phase, waits.release.backup) = (phase, backup);
        assert_eq!(waits.part("way back", "backup").map(|part| says(&part)).as_deref(), expected, "{phase:?}");
    }
}

#[test]
fn only_what_changes_needs_a_way_back_and_it_says_whether_it_was_verified() {
    let mut waits = waits();
    let digest = |name: &str| image(1, name).short();
    let found = |name: &str| {
        format!("{name}: pass: {} can be pulled: as it was found; never verified by Portcullis", digest(name))
    };
    assert_eq!(waits.parts("way back"), NAMES.map(found));
    let live = &mut waits.world.target.live;
    live.get_mut("web").unwrap().release = Some(ReleaseId(7));
    live.get_mut("api").unwrap().release = Some(ReleaseId(8));
    live.get_mut("jobs").unwrap().digest = image(2, "jobs");
    let ended = |release: u64, verified| portcullis_domain::target::Ended {
        release: ReleaseId(release),
        commit: commit(1),
        verified,
        at: Timestamp(0),
        digests: BTreeMap::new(),
        tree: None,
    };
    waits.world.target.ended = vec![ended(6, true), ended(7, true), ended(8, false)];
    assert_eq!(
        waits.parts("way back"),
        [
            format!("web: pass: {} can be pulled: release 7, verified live", digest("web")),
            format!("api: pass: {} can be pulled: release 8", digest("api")),
        ]
    );
    waits.facts.images.remove(&image(1, "jobs"));
    assert_eq!(waits.gate("way back").verdict, Verdict::Pass, "jobs stays as it is");
    for name in ["web", "api"] {
        waits.world.target.live.get_mut(name).unwrap().digest = image(2, name);
    }
    assert_eq!(waits.parts("way back"), ["before: pass: nothing served before: there is nothing to return to"]);
}

#[test]
fn room_is_asked_for_the_pods_of_changing_services_that_come_up_beside_the_old_ones() {
    let mut waits = waits();
    let room = |waits: &Waits| waits.part("way back", "room").map(|part| says(&part));
    assert_eq!(room(&waits), None, "the cluster does not say");
    waits.facts.room = Some(6);
    assert_eq!(room(&waits).as_deref(), Some("pass: 6 pods beside the old ones, room for 6"), "a worker needs none");
    waits.facts.room = Some(5);
    assert_eq!(room(&waits).as_deref(), Some("hold: room for 5 more pods, 6 are needed beside the old ones"));
    waits.world.target.live.get_mut("web").unwrap().digest = image(2, "web");
    waits.world.target.live.get_mut("api").unwrap().replicas = 0;
    assert_eq!(room(&waits).as_deref(), Some("pass: 1 pod beside the old ones, room for 5"));
    waits.release.phase = Phase::Verifying;
    assert_eq!(room(&waits), None, "they are there");
    waits.release.phase = Phase::Gated;
    waits.policy.strategy = Strategy::Rolling;
    assert_eq!(room(&waits), None, "rolling takes the place of the old ones");
}

#[test]
fn how_one_would_return_is_said_by_the_strategy() {
    let mut waits = waits();
    assert_eq!(waits.gate("way back").why, "by a switch; the old pods stay up until 1h after live");
    waits.release.backup = Some("index.json".into());
    assert_eq!(waits.gate("way back").why, "backed up; by a switch; the old pods stay up until 1h after live");
    waits.policy.strategy = Strategy::Rolling;
    assert_eq!(waits.gate("way back").why, "backed up; the old digest is written back, pod by pod");
    waits.world.target.live.clear();
    assert_eq!(waits.gate("way back").why, "backed up; nothing to return to");
}
