//! Promotion, windows, own rules, break-glass and the governor: what they become, and what is refused of them.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod with;

use portcullis_domain::calendar::{When, Window};
use portcullis_domain::policy::{Governor, Policy, Promotion, Same, Severity};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_policy::{Style, check, explain, load};
use with::{files, good_with, lines, said_of};

fn loaded(text: &str) -> Vec<Policy> {
    let set = load(&files(&[("p", text)])).map_err(|report| report.render(&Style::PLAIN)).unwrap();
    assert_eq!(lines(&set.warnings), "");
    set.policies.iter().map(|policy| (**policy).clone()).collect()
}

/// The good policy with these lines under its gates.
fn gated(lines: &str) -> String {
    good_with("      scan: { critical: block }\n", &format!("      scan: {{ critical: block }}\n{lines}"))
}

/// The good policy with an environment before production.
fn staged(staging: &str, production: &str) -> String {
    gated(&format!("      promoted_from: {production}\n")).replace(
        "environments:\n",
        &format!(
            "environments:\n  staging:\n    mode: deploy\n    cluster: local\n    namespace: staging\n    branch: main\n    strategy: rolling\n{staging}"
        ),
    )
}

#[test]
fn a_promotion_is_by_digests_unless_the_weaker_proof_is_named() {
    for (text, same, within) in [
        ("{ environment: staging }", Same::Digests, None),
        ("{ environment: staging, same: digests, within: 7d }", Same::Digests, Some(Millis::days(7))),
        ("{ environment: staging, same: source_tree }", Same::SourceTree, None),
    ] {
        let promoted = loaded(&staged("", text))[0].gates.promoted_from.clone();
        assert_eq!(promoted, Some(Promotion { environment: "staging".parse().unwrap(), same, within }));
    }
}

#[test]
fn a_promotion_that_could_never_come_is_refused() {
    let from = |source: &str| format!("{{ environment: {source} }}");
    let all: Vec<String> = [
        staged("", &from("stagin")),
        staged("", &from("production")),
        staged("    gates: { promoted_from: { environment: production } }\n", &from("staging")),
        staged("", "{ same: digests }"),
        staged("", "{ environment: staging, same: images }"),
        staged("", "{ environment: staging, within: 0s }"),
        staged("", &from("staging")).replacen("mode: deploy", "mode: observe", 1),
    ]
    .iter()
    .map(|text| check(&files(&[("p", text)])).render(&Style::PLAIN))
    .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn one_branch_starts_two_environments_only_if_one_is_promoted() {
    let promoted = staged("", "{ environment: staging }");
    assert_eq!(lines(&check(&files(&[("p", &promoted)]))), "");
    let not = promoted.replace("      promoted_from: { environment: staging }\n", "");
    assert_eq!(
        lines(&check(&files(&[("p", &not)]))),
        "Error p:12:13 staging and production are both started by the branch `main`\n"
    );
}

#[test]
fn windows_are_once_or_again_and_again() {
    let policy = &loaded(&gated(
        "      freeze:\n        - { name: weekend, every: \"FREQ=WEEKLY;BYDAY=FR\", starts: 2026-01-02T18:00, for: 60h, zone: Europe/Berlin }\n        - { name: year end, from: 2026-12-20T18:00, until: 2027-01-03T08:00, zone: Europe/Berlin }\n      open:\n        - { name: office, every: \"FREQ=DAILY\", starts: 2026-01-02T08:00, for: 9h, zone: UTC }\n",
    ))[0];
    let calendar = &policy.gates.calendar;
    let recurring = |rule: &str, starts: &str, zone: &str, hours| When::Recurring {
        rule: rule.to_owned(),
        starts: starts.to_owned(),
        zone: zone.to_owned(),
        length: Millis::hours(hours),
    };
    assert_eq!(
        calendar.freeze,
        [
            Window {
                name: "weekend".to_owned(),
                when: recurring("FREQ=WEEKLY;BYDAY=FR", "2026-01-02T18:00:00", "Europe/Berlin", 60)
            },
            // 2026-12-20T17:00:00Z and 2027-01-03T07:00:00Z, by `date -ud`.
            Window {
                name: "year end".to_owned(),
                when: When::Once { from: Timestamp(1_797_786_000_000), until: Timestamp(1_798_959_600_000) }
            },
        ]
    );
    assert_eq!(calendar.open.len(), 1);
}

#[test]
fn what_is_wrong_with_a_window_is_shown_where_it_stands() {
    let once = |fields: &str| format!("scan: {{ critical: block }}\n      freeze: [{{ {fields} }}]");
    let all = [
        once("name: x, zone: UTC"),
        once("name: x, from: 2026-12-20, until: 2026-12-21"),
        once("name: x, from: 2026-12-20, zone: UTC"),
        once("name: x, from: 2026-12-20, until: 2026-12-21, every: FREQ=DAILY, zone: UTC"),
        once("name: x, every: FREQ=DAILY, zone: UTC"),
        once("name: x, from: 2026-12-20, until: 2026-12-19, zone: UTC"),
        once("name: x, from: 20.12.2026, until: 2026-12-21, zone: UTC"),
        once("name: x, from: 2026-12-20, until: 2026-12-21, zone: Berlin"),
        once("name: x, every: WEEKLY, starts: 2026-01-02T18:00, for: 60h, zone: UTC"),
        once("name: x, every: FREQ=DAILY, starts: friday, for: 60h, zone: UTC"),
        once("name: x, every: FREQ=YEARLY, starts: 2026-01-02, for: 400d, zone: UTC"),
        once("name: x, every: FREQ=DAILY, starts: 2026-01-02, for: 60, zone: UTC"),
        once(
            "name: x, from: 2026-12-20, until: 2026-12-21, zone: UTC }, { name: x, from: 2027-12-20, until: 2027-12-21, zone: UTC",
        ),
        "scan: { critical: block }\n      freeze: { weekends: yes }".to_owned(),
        "scan: { critical: block }\n      open: []".to_owned(),
    ];
    let changes: Vec<(&str, &str)> = all.iter().map(|new| ("scan: { critical: block }", &**new)).collect();
    insta::assert_snapshot!(said_of(&changes));
}

#[test]
fn too_many_windows_or_rules_are_refused() {
    let window = |n: u32| format!("        - {{ name: w{n}, from: 2026-12-20, until: 2026-12-21, zone: UTC }}\n");
    let windows: String = (0..21).map(window).collect();
    let report = check(&files(&[("p", &gated(&format!("      freeze:\n{windows}")))]));
    assert_eq!(lines(&report), "Error p:16:7 at most 20 windows can be given\n");
    let rule = |n: u32| format!("        r{n}: forbid(principal, action, resource);\n");
    let rules: String = (0..51).map(rule).collect();
    let report = check(&files(&[("p", &gated(&format!("      rules:\n{rules}")))]));
    assert_eq!(lines(&report), "Error p:16:7 at most 50 rules can be given\n");
}

#[test]
fn own_rules_come_by_name_from_the_defaults_and_the_environment() {
    let text = gated(
        "      rules:\n        zero: forbid(principal, action, resource) when { context.time.hour == 3 };\n        shared: |\n          // at night\n          forbid(principal, action, resource)\n            when { context.time.hour == 4 };\n",
    )
    .replace(
        "environments:\n",
        "defaults:\n  gates:\n    rules:\n      shared: forbid(principal, action, resource) when { context.time.hour == 1 };\n      aaa: forbid(principal, action, resource) when { context.time.hour == 2 };\nenvironments:\n",
    );
    let rules = loaded(&text)[0].gates.rules.clone();
    let names: Vec<(&str, usize)> = rules.iter().map(|rule| (&*rule.name, rule.text.lines().count())).collect();
    assert_eq!(names, [("aaa", 1), ("shared", 3), ("zero", 1)]);
}

#[test]
fn what_is_wrong_with_a_rule_is_shown_in_its_line_of_the_file() {
    let all: Vec<String> = [
        "      rules:\n        night: |\n          // a comment: ü\n\n          forbid(principal, action, resource)\n            when { contxt.hour == 4 };\n",
        "      rules:\n        night: |\n\n          forbid(principal, action, resource)\n            when { context.time.date == \"ü\" && context.hours == 4 };\n",
        "      rules:\n        night: \"forbid(principal, action, resource) when { context.nothing == 4 };\"\n",
        "      rules:\n        night: forbid(principal, action, resource) when { context.time.hour == };\n",
        "      rules:\n        night: >\n          forbid(principal, action, resource)\n          when { context.nothing == 4 };\n",
        "      rules:\n        night: permit(principal, action, resource);\n",
        "      rules:\n        Night Time: forbid(principal, action, resource);\n",
        "      rules: [forbid(principal)]\n",
        "      rules:\n        night:\n",
    ]
    .iter()
    .map(|lines| check(&files(&[("p", &gated(lines))])).render(&Style::PLAIN))
    .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_people_of_a_group_that_a_rule_names_are_in_the_policy() {
    let rule = |group: &str| {
        gated(&format!(
            "      rules:\n        interns: |\n          // not Group::\"nobody\"\n          forbid(principal in Portcullis::Group::\"{group}\", action, resource);\n"
        ))
        .replace("groups:\n", "groups:\n  interns: [mara]\n  others: [nils]\n")
    };
    let policy = &loaded(&rule("interns"))[0];
    let groups: Vec<String> = policy.groups.keys().map(ToString::to_string).collect();
    assert_eq!(groups, ["interns", "owners"]);
    for (group, position) in [("intern", "19:51"), ("In Terns", "19:51")] {
        let report = check(&files(&[("p", &rule(group))]));
        assert_eq!(lines(&report), format!("Error p:{position} there is no group `{group}`\n"));
    }
}

#[test]
fn breaking_the_glass_takes_two_people_who_exist() {
    insta::assert_snapshot!(said_of(&[
        ("critical: block }", "critical: block }\n      break_glass: 2 of owners"),
        ("critical: block }", "critical: block }\n      break_glass: 3 of owners"),
        ("critical: block }", "critical: block }\n      break_glass: 1 of owners"),
        ("critical: block }", "critical: block }\n      break_glass: 2 of oncall"),
        ("critical: block }", "critical: block }\n      break_glass: owners"),
        ("critical: block }", "critical: block }\n      break_glass: [2 of owners]"),
    ]));
}

#[test]
fn those_who_break_the_glass_are_known_to_the_policy() {
    let text = gated("      break_glass: 2 of oncall\n").replace("groups:\n", "groups:\n  oncall: [tunde, yuki]\n");
    let policy = &loaded(&text)[0];
    assert_eq!(policy.gates.break_glass.as_ref().map(ToString::to_string).as_deref(), Some("2 of oncall"));
    let groups: Vec<String> = policy.groups.keys().map(ToString::to_string).collect();
    assert_eq!(groups, ["oncall", "owners"]);
    assert!(policy.people.keys().any(|person| person.as_str() == "yuki"));
}

#[test]
fn how_many_rollbacks_are_too_many_has_two_forms() {
    let with = |most: &str| loaded(&good_with("window: 24h", &format!("window: 24h, most: {most}")))[0].governor;
    let standard = Governor::default();
    assert_eq!(with("2 in 30m"), Governor { rollbacks: 2, within: Millis::minutes(30), ..standard });
    assert_eq!(with("{ rollbacks: 4, within: 2h }"), Governor { rollbacks: 4, within: Millis::hours(2), ..standard });
    insta::assert_snapshot!(said_of(&[
        ("window: 24h", "window: 24h, most: 3"),
        ("window: 24h", "window: 24h, most: 0 in 1h"),
        ("window: 24h", "window: 24h, most: three in 1h"),
        ("window: 24h", "window: 24h, most: 3 in 1"),
        ("window: 24h", "window: 24h, most: { rollbacks: 3 }"),
        ("window: 24h", "window: 24h, most: { rollbacks: 0, within: 1h }"),
        ("window: 24h", "window: 24h, most: [3]"),
    ]));
}

#[test]
fn a_vulnerability_of_any_severity_can_undo_a_release() {
    for severity in Severity::ALL {
        let text = good_with("window: 24h", &format!("window: 24h, when: {{ vulnerability: {severity} }}"));
        assert_eq!(loaded(&text)[0].roll_back.vulnerability, Some(severity));
    }
    assert_eq!(loaded(&gated(""))[0].roll_back.vulnerability, None);
    let report = check(&files(&[("p", &good_with("window: 24h", "window: 24h, when: { vulnerability: severe }"))]));
    assert_eq!(
        lines(&report),
        "Error p:19:54 environments.production.roll_back.when.vulnerability: `severe` is not known here\n"
    );
}

#[test]
fn every_new_gate_is_explained() {
    let text = staged("", "{ environment: staging, same: source_tree, within: 7d }")
        .replace("window: 24h", "window: 24h, most: 2 in 30m, when: { vulnerability: high }")
        .replace(
            "      promoted_from:",
            "      break_glass: 2 of owners\n      rules:\n        night: forbid(principal, action, resource) when { context.time.hour == 4 };\n      freeze:\n        - { name: weekend, every: \"FREQ=WEEKLY;BYDAY=FR,SU\", starts: 2026-01-02T18:00, for: 60h, zone: Europe/Berlin }\n        - { name: year end, from: 2026-12-20T18:00, until: 2027-01-03T08:00, zone: Europe/Berlin }\n        - { name: easter, every: \"FREQ=YEARLY;BYMONTH=4\", starts: 2026-04-01T18:00:30, for: 3d, zone: UTC }\n      open:\n        - { name: office, every: FREQ=DAILY, starts: 2026-01-02T08:00, for: 9h, zone: UTC }\n        - { name: late, every: FREQ=DAILY, starts: 2026-01-02T20:00, for: 1h, zone: UTC }\n      promoted_from:",
        );
    let page = explain(&loaded(&text)[0]);
    assert!(page.lines().all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(page);
}
