//! What the gates of people say: who approves, who reviews, who skips, and who is still asked.

use std::collections::BTreeSet;

use portcullis_domain::names::Identity;
use portcullis_domain::policy::*;
use portcullis_domain::target::Glass;
use portcullis_domain::verdict::{GateResult, Verdict};

use crate::world::waits::{group, says, waits};
use crate::world::*;

fn people(names: &[&str]) -> BTreeSet<portcullis_domain::names::Subject> {
    names.iter().map(|name| who(name)).collect()
}
fn identities(names: &[&str]) -> BTreeSet<Identity> {
    names.iter().map(|name| Identity::new(name).unwrap()).collect()
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
