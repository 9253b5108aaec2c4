//! The organisation's document: recognised, read, joined into every policy; never weakened by an application.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod with;

use std::fmt::Write as _;

use portcullis_domain::policy::{Governor, Policy, Quorum, Same, ScanAction, Severity};
use portcullis_domain::time::Millis;
use portcullis_policy::{PolicySet, Style, check, explain, load};
use proptest::prelude::*;
use proptest::sample::select;
use with::{GOOD, files, good_with, lines, said};

const EXAMPLE: &str = include_str!("../../../docs/examples/organisation.yaml");
const FIRST: &str = include_str!("../../../docs/examples/first-policy.yaml");

/// An organisation of which the tests replace lines.
const ORGANISATION: &str = "\
organisation: Example
people:
  tunde: { github: tunde-a }
groups:
  security: [tunde, yuki, zoe]
  oncall: [tunde, yuki]
accounts:
  production: \"333333333333\"
always:
  scan: { critical: block, high: review above 2 by security }
environments:
  production:
    always:
      approvals: [2 of security]
";

fn with_organisation(organisation: &str, application: &str) -> Vec<(String, String)> {
    files(&[("organisation.yaml", organisation), ("shop.yaml", application)])
}

fn loaded(organisation: &str, application: &str) -> PolicySet {
    load(&with_organisation(organisation, application)).map_err(|report| report.render(&Style::PLAIN)).unwrap()
}

fn production(organisation: &str, application: &str) -> Policy {
    (*loaded(organisation, application).policies[0]).clone()
}

fn org_with(old: &str, new: &str) -> String {
    assert!(ORGANISATION.contains(old), "{old}");
    ORGANISATION.replacen(old, new, 1)
}

fn asked(policy: &Policy) -> Vec<String> {
    policy.gates.approvals.iter().map(ToString::to_string).collect()
}

#[test]
fn what_the_organisation_always_asks_for_is_in_every_policy() {
    let policy = production(ORGANISATION, GOOD);
    assert_eq!(asked(&policy), ["2 of security", "1 of owners"]);
    let scan = policy.gates.scan.clone().unwrap();
    let review = ScanAction::Review { above: 2, by: "security".parse().unwrap() };
    assert_eq!(
        scan.severities.into_iter().collect::<Vec<_>>(),
        [(Severity::Critical, ScanAction::Block { above: 0 }), (Severity::High, review)]
    );
    let people: Vec<String> = policy.people.keys().map(ToString::to_string).collect();
    assert_eq!(people, ["kofi", "lena", "tunde", "yuki", "zoe"]);
    let groups: Vec<String> = policy.groups.keys().map(ToString::to_string).collect();
    assert_eq!(groups, ["owners", "security"]);
}

#[test]
fn an_environment_of_another_name_is_asked_only_for_what_all_are() {
    let staging = GOOD.replace("production", "staging");
    let set = loaded(&org_with("  production:\n    always", "  staging2:\n    always"), &staging);
    assert_eq!(asked(&set.policies[0]), ["1 of owners"]);
    assert!(set.policies[0].gates.scan.as_ref().unwrap().severities.contains_key(&Severity::High));
    assert_eq!(lines(&set.warnings), "Warning organisation.yaml:12:3 no application has an environment staging2\n");
}

#[test]
fn the_order_of_the_files_does_not_matter_and_one_file_may_hold_both() {
    let (there, back) =
        (load(&with_organisation(ORGANISATION, GOOD)), load(&files(&[("a", GOOD), ("b", ORGANISATION)])));
    let one = load(&files(&[("all", &format!("{ORGANISATION}---\n{GOOD}"))]));
    let there = there.unwrap().policies;
    assert_eq!(there, back.unwrap().policies);
    assert_eq!(there, one.unwrap().policies);
}

#[test]
fn an_organisation_alone_is_checked_and_has_no_policy() {
    let set = load(&files(&[("o", ORGANISATION)])).unwrap();
    assert_eq!((set.policies.len(), lines(&set.warnings)), (0, String::new()));
    let report = check(&files(&[("o", &org_with("2 of security", "4 of security"))]));
    assert_eq!(lines(&report), "Error o:14:18 production can never be approved\n");
    let report = check(&files(&[("o", &org_with("by security", "by securty"))]));
    assert_eq!(lines(&report), "Error o:10:34 there is no group `securty`\n");
}

/// Everything said of some applications under one organisation, each after its change.
fn said_of_applications(changes: &[(&str, &str)]) -> String {
    let mut all = String::new();
    for (old, new) in changes {
        let list = with_organisation(
            &org_with("always:\n  scan", "always:\n  typed_confirmation: GO\n  break_glass: 2 of oncall\n  scan")
                .replace(
                    "      approvals:",
                    "      promoted_from: { environment: staging, within: 1d }\n      freeze: [{ name: weekend, every: \"FREQ=WEEKLY;BYDAY=FR\", starts: 2026-01-02T18:00, for: 60h, zone: UTC }]\n      rules: { night: \"forbid(principal, action, resource) when { context.time.hour == 3 };\" }\n      approvals:",
                ),
            &good_with(old, new).replace(
                "environments:\n",
                "environments:\n  staging: { mode: deploy, cluster: local, namespace: staging, strategy: rolling }\n",
            ),
        );
        all.push_str(&new.trim().replace('\n', "\n  "));
        all.push('\n');
        all.push_str(&said(&check(&list), &list));
    }
    all
}

#[test]
fn an_application_that_asks_for_less_is_told_so_with_both_places() {
    insta::assert_snapshot!(said_of_applications(&[
        ("critical: block", "critical: allow"),
        ("critical: block", "critical: block above 5"),
        ("critical: block", "high: review above 3 by security"),
        ("critical: block", "high: review by owners"),
        ("critical: block", "high: block above 5"),
        ("critical: block", "high: allow"),
        ("critical: block", "critical: block, max_age: 2d"),
        ("critical: block", "critical: block, waivers: [{ id: CVE-1, reason: x, until: 2027-01-31 }]"),
        ("1 of owners", "1 of owners, 1 of security"),
        ("critical: block }", "critical: block }\n      typed_confirmation: OK"),
        ("critical: block }", "critical: block }\n      break_glass: 2 of owners"),
        ("critical: block }", "critical: block }\n      promoted_from: { environment: staging, same: source_tree }"),
        ("critical: block }", "critical: block }\n      promoted_from: { environment: staging, within: 2d }"),
    ]));
}

#[test]
fn an_application_that_asks_for_as_much_or_more_is_told_nothing() {
    let all = said_of_applications(&[
        ("critical: block", "critical: block, high: block, medium: block above 9, max_age: 2h"),
        ("critical: block", "high: review above 2 by security"),
        ("1 of owners", "1 of owners, 2 of security"),
        ("critical: block }", "critical: block }\n      typed_confirmation: GO"),
        ("critical: block }", "critical: block }\n      break_glass: 2 of oncall"),
        ("critical: block }", "critical: block }\n      promoted_from: { environment: staging, within: 2h }"),
        (
            "critical: block }",
            "critical: block }\n      freeze: [{ name: x, from: 2026-12-20, until: 2026-12-21, zone: UTC }]",
        ),
        (
            "critical: block }",
            "critical: block }\n      open: [{ name: x, from: 2026-12-20, until: 2026-12-21, zone: UTC }]",
        ),
    ]);
    assert_eq!(all.matches("    nothing\n").count(), 8, "{all}");
}

#[test]
fn what_an_application_can_not_say_again_is_refused() {
    insta::assert_snapshot!(said_of_applications(&[
        ("people:\n", "people:\n  tunde: { github: mallory }\n"),
        ("people:\n", "people:\n  zoe: { github: mallory }\n"),
        ("people:\n", "people:\n  mallory: { github: Tunde-A }\n"),
        ("groups:\n", "groups:\n  security: [kofi]\n"),
        (
            "critical: block }",
            "critical: block }\n      freeze: [{ name: weekend, from: 2026-12-20, until: 2026-12-21, zone: UTC }]",
        ),
        ("critical: block }", "critical: block }\n      rules: { night: \"forbid(principal, action, resource);\" }"),
        ("mode: deploy", "mode: deploy\n    account: \"444444444444\"\n    region: us-east-1"),
        ("mode: deploy", "mode: deploy\n    account: prodution\n    region: us-east-1"),
        ("portcullis: 1", "portcullis: 1\nalways: { scan: { critical: block } }"),
        ("1 of owners", "1 of oncall, 1 of owners, 3 of security"),
    ]));
}

#[test]
fn a_mistake_of_the_organisation_is_shown_in_its_file() {
    let mut all = String::new();
    for (old, new) in [
        ("organisation: Example", "organisation:"),
        ("organisation: Example", "organisation: Example\nservices: {}"),
        ("always:\n", "always:\n  mode: observe\n"),
        ("always:\n", "always:\n  promoted_from: { environment: staging }\n"),
        ("always:\n", "always:\n  checks: [tests]\n"),
        ("always:\n", "scan: { low: block }\nalways:\n"),
        ("always:\n", "breaker: 5\nalways:\n"),
        ("[tunde, yuki, zoe]", "{ github_team: o/security }"),
        ("production: \"333333333333\"", "production: \"333333333333\"\n  other: \"333333333333\""),
        ("production: \"333333333333\"", "production: 333333333333"),
        ("  production: \"333333333333\"", "  {}"),
        ("approvals:", "promoted_from: { environment: staging }\n      approvals:"),
        ("approvals:", "scan: { critical: block above 3 }\n      approvals:"),
        ("[2 of security]", "[2 of owners]"),
        ("[2 of security]", "[2 of security]\n      break_glass: 3 of oncall"),
        ("    always:\n      approvals: [2 of security]", "    {}"),
    ] {
        let list = with_organisation(&org_with(old, new), GOOD);
        all.push_str(&new.trim().replace('\n', "\n  "));
        all.push('\n');
        all.push_str(&said(&check(&list), &list));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn there_is_one_organisation_and_its_key_comes_first() {
    let report = check(&files(&[("a", ORGANISATION), ("b", ORGANISATION)]));
    assert_eq!(lines(&report), "Error b:1:1 there are two organisations\n");
    let late = org_with("organisation: Example\n", "") + "organisation: Example\n";
    let report = check(&files(&[("a", &late)]));
    assert_eq!(lines(&report), "Error a:14:1 `organisation` is not a key of an application\n");
}

#[test]
fn open_windows_of_both_are_refused_because_one_more_would_loosen() {
    let open = |name: &str| {
        format!("open: [{{ name: {name}, every: FREQ=DAILY, starts: 2026-01-02T08:00, for: 9h, zone: UTC }}]")
    };
    let organisation = org_with("always:\n", &format!("always:\n  {}\n", open("office")));
    let application = good_with("critical: block }", &format!("critical: block }}\n      {}", open("always")));
    let report = check(&with_organisation(&organisation, &application));
    assert_eq!(lines(&report), "Error shop.yaml:16:22 the organisation says already when releases may begin\n");
    assert_eq!(production(&organisation, GOOD).gates.calendar.open.len(), 1);
}

#[test]
fn nobody_but_the_organisation_says_who_may_skip_its_gates() {
    let application = good_with("critical: block }", "critical: block }\n      break_glass: 2 of owners");
    assert_eq!(production(ORGANISATION, &application).gates.break_glass, None);
    let organisation = org_with("always:\n", "always:\n  break_glass: 2 of oncall\n");
    let expected = Some(Quorum { count: 2, group: "oncall".parse().unwrap() });
    assert_eq!(production(&organisation, &application).gates.break_glass, expected);
    let elsewhere = organisation.replace("      approvals:", "      break_glass: 3 of security\n      approvals:");
    let security = Some(Quorum { count: 3, group: "security".parse().unwrap() });
    assert_eq!(production(&elsewhere, &application).gates.break_glass, security, "it may differ by environment");
    let empty = "organisation: x\npeople: {}\n";
    let own = Some(Quorum { count: 2, group: "owners".parse().unwrap() });
    assert_eq!(production(empty, &application).gates.break_glass, own, "there is no gate of the organisation to skip");
}

#[test]
fn an_account_is_named_or_listed() {
    let at = |account: &str| {
        let text = good_with("mode: deploy", &format!("mode: deploy\n    account: {account}\n    region: us-east-1"));
        production(ORGANISATION, &text).place.account
    };
    assert_eq!(at("production").as_deref(), Some("333333333333"));
    assert_eq!(at("\"333333333333\"").as_deref(), Some("333333333333"));
    let text = good_with("mode: deploy", "mode: deploy\n    account: production\n    region: us-east-1");
    assert_eq!(lines(&check(&files(&[("p", &text)]))), "Error p:10:14 `production` is not an AWS account\n");
}

#[test]
fn the_breaker_is_the_organisations() {
    let breaker = |text: &str| production(&format!("{ORGANISATION}breaker: {text}\n"), GOOD).governor;
    let standard = Governor::default();
    assert_eq!(breaker("3 in 20m"), Governor { fleet: 3, fleet_within: Millis::minutes(20), ..standard });
    assert_eq!(
        breaker("{ environments: 2, within: 1h }"),
        Governor { fleet: 2, fleet_within: Millis::hours(1), ..standard }
    );
    assert_eq!(production(ORGANISATION, GOOD).governor, standard);
}

#[test]
fn a_promotion_that_the_organisation_wants_needs_its_environment() {
    let organisation =
        org_with("      approvals:", "      promoted_from: { environment: staging, within: 1d }\n      approvals:");
    let list = with_organisation(&organisation, GOOD);
    insta::assert_snapshot!(check(&list).render(&Style::PLAIN));
    let application = good_with(
        "environments:\n",
        "environments:\n  staging: { mode: deploy, cluster: local, namespace: staging, strategy: rolling }\n",
    )
    .replace(
        "      scan:",
        "      promoted_from: { environment: staging, same: source_tree, within: 2h }\n      scan:",
    );
    let promoted = production(&organisation, &application).gates.promoted_from.unwrap();
    assert_eq!((promoted.same, promoted.within), (Same::Digests, Some(Millis::hours(2))));
}

#[test]
fn explain_says_who_asks_for_each_gate() {
    let list = files(&[("organisation.yaml", EXAMPLE), ("first-policy.yaml", FIRST)]);
    let set = load(&list).map_err(|report| report.render(&Style::PLAIN)).unwrap();
    assert_eq!(lines(&set.warnings), "");
    let target = set.policies[0].target.clone();
    let page = set.explain(&target).unwrap();
    assert!(page.lines().all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(page);
    let alone = load(&files(&[("first-policy.yaml", FIRST)])).unwrap();
    assert_eq!(alone.explain(&target).unwrap(), explain(&alone.policies[0]), "nothing to tell apart");
    assert_eq!(set.explain(&"hello/staging".parse().unwrap()), None);
}

/// An action as a policy writes it, with how many findings it lets through unseen; none = it says nothing.
fn actions() -> impl Strategy<Value = String> {
    select(vec![
        "allow",
        "block",
        "block above 1",
        "block above 5",
        "review by security",
        "review above 3 by security",
        "review by owners",
    ])
    .prop_map(str::to_owned)
}

/// Whether `count` findings pass by this action alone: 0 = refused, 1 = with a review, 2 = freely.
fn lets_through(action: Option<&ScanAction>, count: u32) -> u8 {
    match action {
        Some(ScanAction::Block { above }) if count > *above => 0,
        Some(ScanAction::Review { above, .. }) if count > *above => 1,
        _ => 2,
    }
}

fn reads(action: &str) -> Option<ScanAction> {
    let group = if action.contains("security") { "security" } else { "owners" };
    let by = group.parse().unwrap();
    let above = action.split(' ').find_map(|word| word.parse().ok()).unwrap_or(0);
    match action.split(' ').next() {
        Some("block") => Some(ScanAction::Block { above }),
        Some("review") => Some(ScanAction::Review { above, by }),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_application_takes_anything_from_the_organisation(
        theirs in actions(), own in proptest::option::of(actions()), asked_of in 0_u8..4, own_asked in 0_u8..4,
        ages in (1_u64..9, proptest::option::of(1_u64..9)),
    ) {
        let approvals = |count: u8| if count == 0 { String::new() } else { format!("[{count} of security]") };
        let mut organisation = format!(
            "organisation: x\ngroups:\n  security: [a, b, c, d, e, f]\n  owners: [g, h]\nalways:\n  scan: {{ critical: {theirs}, max_age: {}h }}\n",
            ages.0
        );
        if asked_of > 0 {
            let _ = writeln!(organisation, "  approvals: {}", approvals(asked_of));
        }
        let age = ages.1.map_or(String::new(), |age| format!(", max_age: {age}h"));
        let scan = own.as_ref().map_or(format!("{{ low: block{age} }}"), |own| format!("{{ critical: {own}{age} }}"));
        let text = GOOD
            .replace("{ critical: block }", &scan)
            .replace("  owners: [kofi, lena]", "  team: [kofi, lena]")
            .replace("[1 of owners]", &if own_asked == 0 { "[1 of team]".to_owned() } else { approvals(own_asked) });
        let policy = production(&organisation, &text);
        let rule = policy.gates.scan.as_ref().unwrap();
        let in_force = rule.severities.get(&Severity::Critical);
        for count in 0..8 {
            for said in [Some(&theirs), own.as_ref()].into_iter().flatten() {
                let (said, joined) = (reads(said), lets_through(in_force, count));
                prop_assert!(joined <= lets_through(said.as_ref(), count), "{} + {:?}", theirs, own);
            }
        }
        let reviewer = |action: Option<&ScanAction>| match action {
            Some(ScanAction::Review { by, .. }) => Some(by.clone()),
            _ => None,
        };
        if let (Some(wanted), Some(found)) = (reviewer(reads(&theirs).as_ref()), reviewer(in_force)) {
            prop_assert_eq!(wanted, found, "only the organisation says who reviews");
        }
        prop_assert_eq!(rule.max_age, Millis::hours(ages.1.map_or(ages.0, |own| own.min(ages.0))));
        let security = policy.gates.approvals.iter().find(|quorum| quorum.group.as_str() == "security");
        prop_assert_eq!(security.map_or(0, |quorum| quorum.count), asked_of.max(own_asked));
    }
}
