//! The user's own rules: each can hold a release, none can let one go or stop a way back.

use std::collections::BTreeSet;

use portcullis_domain::facts::{Facts, ScanStatus};
use portcullis_domain::gate::{self, Case};
use portcullis_domain::given::Given;
use portcullis_domain::names::{Identity, ReleaseId};
use portcullis_domain::policy::{Mode, SealedPolicy, Severity};
use portcullis_domain::rules::{self, Rule, SCHEMA};
use portcullis_domain::signal::Command;
use portcullis_domain::target::Phase;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::{GateResult, Verdict};

use crate::world::*;

fn rule(name: &str, text: &str) -> Rule {
    Rule { name: name.into(), text: text.into() }
}
fn when(name: &str, condition: &str) -> Rule {
    rule(name, &format!("forbid(principal, action, resource) when {{ {condition} }};"))
}

/// A world whose release of commit 2 waits for its approval, under these rules.
fn waiting(rules: Vec<Rule>) -> (World, ReleaseId) {
    let mut policy = policy();
    policy.gates.rules = rules;
    let mut world = World::new(policy);
    world.build(2, "amara");
    let id = world.push(2);
    (world, id)
}

/// What the gate says of a release, with its parts.
fn gate_of(world: &World, id: ReleaseId) -> GateResult {
    let judgement = world.release(id).judgement.as_ref().unwrap();
    judgement.gates.iter().find(|gate| gate.gate == "rules").unwrap().clone()
}

/// What the gate says of the same release on other facts or at another moment.
fn judged(world: &World, id: ReleaseId, now: Timestamp, change: impl Fn(&mut Facts)) -> GateResult {
    let release = world.release(id);
    let mut facts = (**release.facts.as_ref().unwrap()).clone();
    change(&mut facts);
    let scopes = world.scopes.clone();
    let given = Given { now, ledger: World::ledger(), next_release: ReleaseId(99), scopes };
    let case = Case { target: &world.target, release, policy: &world.policy, facts: &facts, given: &given };
    gate::judge(&case).gates.into_iter().find(|gate| gate.gate == "rules").unwrap()
}

/// Whether this condition forbids the release of commit 2, in a world that was changed first.
fn forbids_in(condition: &str, prepare: impl Fn(&mut World)) -> bool {
    let mut policy = policy();
    policy.gates.rules = vec![when("the rule", condition)];
    let mut world = World::new(policy);
    world.build(2, "amara");
    prepare(&mut world);
    let id = world.push(2);
    let gate = gate_of(&world, id);
    match gate.verdict {
        Verdict::Pass => false,
        _ if gate.why == "forbidden by the rule" => true,
        _ => panic!("{condition}: {}", gate.why),
    }
}
fn forbids(condition: &str) -> bool {
    forbids_in(condition, |_| ())
}

#[test]
fn the_name_of_the_rule_that_forbids_is_in_the_verdict_with_what_it_looked_at() {
    let (world, id) = waiting(vec![
        when("small steps", "context.commits > 20"),
        rule(
            "nothing in the morning",
            "@reason(\"the night shift goes home\") forbid(principal, action, resource) \
             when { context.time.hour < 10 && context.branches.contains(\"main\") };",
        ),
    ]);
    let gate = gate_of(&world, id);
    assert_eq!((gate.verdict, gate.why.as_str()), (Verdict::Hold, "forbidden by nothing in the morning"));
    assert_eq!(gate.clears_when.as_deref(), Some("nothing in the morning no longer forbids it"));
    let parts: Vec<_> = gate.parts.iter().map(|part| (part.gate.as_str(), part.verdict, part.why.as_str())).collect();
    assert_eq!(
        parts,
        [
            ("small steps", Verdict::Pass, "does not forbid it"),
            ("nothing in the morning", Verdict::Hold, "forbidden by nothing in the morning"),
        ]
    );
    assert_eq!(
        gate.parts[1].evidence,
        [
            "the night shift goes home",
            "branches: main",
            "time: date 2027-01-15, weekday friday, hour 8, minute 0, year 2027, month 1, day 15",
        ]
    );
}

#[test]
fn a_rule_that_is_silent_passes_and_the_release_goes_on() {
    let (mut world, id) = waiting(vec![when("never on sundays", r#"context.time.weekday == "sunday""#)]);
    assert_eq!(world.gate(id, "rules"), "pass: 1 rule, none forbids it");
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Watching));
}

#[test]
fn without_rules_there_is_no_such_gate() {
    let (world, id) = waiting(vec![]);
    assert!(world.release(id).judgement.as_ref().unwrap().gates.iter().all(|gate| gate.gate != "rules"));
}

#[test]
fn a_release_waits_for_its_rule_and_goes_on_when_the_time_has_come() {
    let (mut world, id) = waiting(vec![when("nothing before nine", "context.time.hour < 9")]);
    world.approve("kofi", id);
    world.pass(Millis::minutes(59));
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert_eq!(world.gate(id, "rules"), "hold: forbidden by nothing before nine");
    world.pass(Millis::minutes(2));
    assert_ne!(world.phase(id), Some(Phase::Gated), "{}", world.gate(id, "rules"));
}

#[test]
fn a_rule_that_can_not_be_evaluated_denies() {
    // Cedar skips a forbid that errs, and would allow: 2 times the greatest number is no number.
    let overflow = "context.commits * 9223372036854775807 > 0";
    let (world, id) = waiting(vec![when("sums", overflow), when("quiet", "context.commits > 20")]);
    let gate = judged(&world, id, world.now, |facts| facts.commit.as_mut().unwrap().commits = 2);
    assert_eq!(gate.verdict, Verdict::Hold);
    assert!(gate.why.starts_with("rule sums could not be evaluated: integer overflow"), "{}", gate.why);
    assert_eq!(gate.parts[1].verdict, Verdict::Pass);
    let gate = judged(&world, id, world.now, |facts| facts.commit.as_mut().unwrap().commits = 0);
    assert_eq!(gate.verdict, Verdict::Pass);
}

#[test]
fn rules_that_could_not_be_read_hold_every_release() {
    let (mut world, id) = waiting(vec![when("wrong", "context.nothing > 1")]);
    assert!(world.gate(id, "rules").starts_with("hold: the rules could not be read: rule wrong: attribute `nothing`"));
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
}

#[test]
fn a_fact_that_nobody_knows_holds_the_rules_that_look_at_it_and_no_other() {
    let (world, id) = waiting(vec![
        when("findings", "context.findings.high > 3"),
        when("title", r#"context has title && context.title like "*WIP*""#),
        when("whole", r#"{a: context}.a.title == "x""#),
        when("time", "context.time.hour > 22"),
    ]);
    assert_eq!(gate_of(&world, id).verdict, Verdict::Pass);
    let holds = |change: &dyn Fn(&mut Facts)| {
        let gate = judged(&world, id, world.now, change);
        let held = gate.parts.iter().filter(|part| part.verdict != Verdict::Pass);
        held.map(|part| part.why.clone()).collect::<Vec<_>>()
    };
    let unscanned = [
        "rule findings could not be evaluated: findings: api has no finished scan",
        "rule whole could not be evaluated: findings: api has no finished scan",
    ];
    let api = image(2, "api");
    assert_eq!(holds(&|facts| drop(facts.scans.remove(&api))), unscanned);
    assert_eq!(holds(&|facts| facts.scans.get_mut(&api).unwrap().status = ScanStatus::InProgress), unscanned);
    let nobody = |facts: &mut Facts| facts.commit.as_mut().unwrap().people.clear();
    assert_eq!(holds(&nobody), ["rule whole could not be evaluated: authors: nobody can say who wrote 0202020"]);
    let end = Timestamp(u64::MAX);
    let gate = judged(&world, id, end, |_| ());
    assert_eq!(gate.parts[3].why, "rule time could not be evaluated: time: the calendar ends before this moment");
}

#[test]
fn a_commit_that_the_source_does_not_know_holds_what_looks_at_it() {
    let mut policy = policy();
    policy.gates.rules = vec![
        when("title", r#"context.title like "*WIP*""#),
        when("branches", r#"!context.branches.contains("main")"#),
        when("commits", "context.commits > 20"),
        when("authors", r#"context.authors.contains("kofi")"#),
        when("approvers", r#"context.approvers.contains("amara")"#),
        when("forward only", "context.forward_only"),
        when("changed", r#"context.changed.contains("nothing")"#),
    ];
    let mut world = World::new(policy);
    world.build(2, "amara");
    let id = world.push(2);
    let mut release = world.release(id).clone();
    release.commit_facts = None;
    let facts = Facts { commit: None, ..(**release.facts.as_ref().unwrap()).clone() };
    let given = Given { now: world.now, ledger: World::ledger(), next_release: ReleaseId(99), scopes: vec![] };
    let case = Case { target: &world.target, release: &release, policy: &world.policy, facts: &facts, given: &given };
    let gate = gate::judge(&case).gates.into_iter().find(|gate| gate.gate == "rules").unwrap();
    let held: Vec<_> =
        gate.parts.iter().filter(|part| part.verdict == Verdict::Hold).map(|p| p.gate.as_str()).collect();
    assert_eq!(held, ["title", "branches", "commits", "authors", "approvers", "forward only"]);
    assert_eq!(gate.why, "rule title could not be evaluated: title: nobody can say what 0202020 is");
}

#[test]
fn each_attribute_of_the_context_says_what_it_should() {
    let sha = commit(2);
    for holds in [
        &format!("context.commit == \"{sha}\""),
        r#"context.title == "change 2" && context.branches == ["main"] && context.commits == 1"#,
        r#"context.authors == ["amara"] && context.approvers.isEmpty()"#,
        r#"context.services == ["api", "jobs", "web"] && context.changed == context.services"#,
        "context.findings == {critical: 0, high: 0, medium: 0, low: 0}",
        r#"context.time == {year: 2027, month: 1, day: 15, hour: 8, minute: 0, weekday: "friday", date: "2027-01-15"}"#,
        "!context.started_by_person && !context.forward_only && context.waiting_minutes == 0",
        r#"resource == Portcullis::Environment::"shop/production" && principal is Portcullis::Push"#,
        r#"resource.application == "shop" && resource.name == "production" && resource.mode == "deploy""#,
        r#"resource.cluster == "shop" && resource.namespace == "shop""#,
        r#"resource has account && resource.account == "333333333333" && resource has region"#,
    ] {
        assert!(forbids(holds), "{holds}");
        assert!(!forbids(&format!("!({holds})")), "{holds}");
    }
}

#[test]
fn an_environment_outside_the_cloud_has_no_account() {
    let mut policy = policy();
    policy.gates.rules = vec![when("no account", "!(resource has account) && !(resource has region)")];
    (policy.place.account, policy.place.region, policy.mode) = (None, None, Mode::Gate);
    let mut world = World::new(policy);
    world.build(2, "amara");
    let id = world.push(2);
    assert_eq!(world.gate(id, "rules"), "hold: forbidden by no account");
}

#[test]
fn findings_are_summed_over_the_images_and_not_lowered_by_a_waiver() {
    let high = |world: &mut World| {
        world.scan(image(2, "api"), &[(Severity::High, 2), (Severity::Low, 7)]);
        world.scan(image(2, "web"), &[(Severity::High, 1), (Severity::Medium, 4)]);
    };
    assert!(forbids_in("context.findings == {critical: 0, high: 3, medium: 4, low: 7}", high));
    assert!(!forbids_in("context.findings.high > 3", high));
}

#[test]
fn an_author_whom_nobody_knows_is_named_by_the_account() {
    let stranger = |world: &mut World| {
        let people = &mut world.commits.get_mut(&commit(2)).unwrap().people;
        *people = BTreeSet::from(["github:amara", "github:octocat"].map(|who| Identity::new(who).unwrap()));
    };
    assert!(forbids_in(r#"context.authors == ["amara", "github:octocat"]"#, stranger));
}

#[test]
fn only_an_approval_that_counts_is_seen_by_a_rule() {
    let (mut world, id) = waiting(vec![when("needs lena", r#"!context.approvers.contains("lena")"#)]);
    world.approve("kofi", id);
    assert_eq!(world.gate(id, "rules"), "hold: forbidden by needs lena");
    world.approve("amara", id);
    world.approve("lena", id);
    assert_eq!(world.phase(id), Some(Phase::Watching));

    let (mut world, id) = waiting(vec![when("amara", r#"context.approvers.contains("amara")"#), when("stays", "true")]);
    world.approve("amara", id);
    world.approve("kofi", id);
    let gate = judged(&world, id, world.now, |_| ());
    assert_eq!(gate.parts[0].verdict, Verdict::Pass, "amara wrote it: her approval is none");
}

#[test]
fn a_rule_can_speak_of_who_started_the_release_and_of_their_groups() {
    let start = |condition: &str| {
        let mut policy = policy();
        policy.gates.rules = vec![when("who", condition)];
        let mut world = World::new(policy);
        world.build(2, "amara");
        let images = world.policy.services.iter().map(|s| (s.name.clone(), (image(2, s.name.as_str()), None)));
        let images = images.collect();
        let facts = world.commits.get(&commit(2)).cloned();
        let command =
            Command::Start { commit: commit(2), images, facts, typed: None, reason: None, forward_only: true };
        world.command("kofi", command);
        world.gate(ReleaseId(1), "rules")
    };
    for forbidden in [
        r#"principal == Portcullis::Person::"kofi" && context.started_by_person"#,
        r#"principal in Portcullis::Group::"release-managers""#,
        "principal is Portcullis::Person && context.forward_only",
    ] {
        assert_eq!(start(forbidden), "hold: forbidden by who", "{forbidden}");
    }
    for silent in [r#"principal == Portcullis::Person::"lena""#, r#"principal in Portcullis::Group::"trainees""#] {
        assert_eq!(start(silent), "pass: 1 rule, none forbids it", "{silent}");
    }
}

#[test]
fn a_rule_that_forbids_everything_does_not_stop_a_rollback() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    let mut frozen = policy();
    frozen.gates.rules = vec![rule("stop", "forbid(principal, action, resource);")];
    world.policy = SealedPolicy::new(frozen);
    world.build(3, "amara");
    let next = world.push(3);
    assert_eq!(world.gate(next, "rules"), "hold: forbidden by stop");
    world.roll_back("kofi");
    world.pass(Millis::minutes(5));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    assert_eq!(world.serves("api"), Some(image(1, "api")));
}

#[test]
fn evidence_is_bounded_whatever_the_rules_look_at() {
    let rules: Vec<Rule> = (0..50).map(|n| when(&format!("rule {n}"), "{a: context}.a.commits >= 0")).collect();
    let (world, id) = waiting(rules);
    let gate = judged(&world, id, world.now, |facts| facts.commit.as_mut().unwrap().title = "é".repeat(200));
    let bytes: usize = gate.parts.iter().flat_map(|part| &part.evidence).map(String::len).sum();
    assert!(bytes <= 1_000, "{bytes}");
    assert!(gate.parts[0].evidence.iter().any(|line| line.ends_with("é…")), "{:?}", gate.parts[0].evidence);
    assert_eq!(gate.parts.iter().filter(|part| part.verdict == Verdict::Hold).count(), 50);
}

#[test]
fn the_rules_of_a_sealed_policy_are_read_once_and_are_no_part_of_what_makes_it_equal() {
    let mut policy = policy();
    policy.gates.rules = vec![when("one", "context.findings.high > 0")];
    let (sealed, untouched) = (SealedPolicy::new(policy.clone()), SealedPolicy::new(policy));
    let clone = sealed.clone();
    let compiled = sealed.rules().as_ref().unwrap();
    assert_eq!(compiled.names().collect::<Vec<_>>(), ["one"]);
    assert!(compiled.reads("findings") && !compiled.reads("title"));
    assert!(std::ptr::eq(sealed.rules(), clone.rules()), "a clone shares what was read");
    assert_eq!(sealed, untouched);
}

#[test]
fn the_users_page_shows_the_schema_that_is_in_force_and_only_rules_that_are_taken() {
    let page = include_str!("../../../../docs/rules.md");
    assert!(page.contains(SCHEMA.trim()), "docs/rules.md does not show the schema");
    let blocks: Vec<&str> = page.split("```cedar\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let examples: Vec<&&str> = blocks.iter().filter(|block| !block.contains("namespace Portcullis")).collect();
    assert!(examples.len() >= 8, "{}", examples.len());
    for text in examples {
        assert_eq!(rules::check(&rule("an example", text)), Ok(()), "{text}");
    }
}
