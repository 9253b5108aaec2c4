//! What is refused, rule by rule. Each snapshot lists a changed line of a good policy and everything said about it.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod with;

use portcullis_policy::{Style, check, load};
use with::{GOOD, files, good_with, said_of};

#[test]
fn the_policy_that_the_tests_change_is_good() {
    let set = load(&files(&[("p", GOOD)])).map_err(|report| report.render(&Style::PLAIN)).unwrap();
    assert_eq!(set.warnings.diagnostics, []);
}

#[test]
fn durations_are_one_integer_and_one_unit() {
    insta::assert_snapshot!(said_of(&[
        ("for: 5m", "for: 300"),
        ("for: 5m", "for: 1.5h"),
        ("for: 5m", "for: 5 minutes"),
        ("for: 5m", "for: five minutes"),
        ("for: 5m", "for: 0s"),
        ("for: 5m", "for: 4000d"),
        ("for: 5m", "for: 99999999999999999999d"),
        ("for: 5m", "for: -5m"),
        ("for: 5m", "for: [5m]"),
        ("window: 24h", "window: 0s"),
        ("window: 24h", "window: 800ms"),
    ]));
}

#[test]
fn thresholds_have_one_grammar() {
    insta::assert_snapshot!(said_of(&[
        ("below 1%", "below 0.01"),
        ("below 1%", "below 5"),
        ("below 1%", "0.01"),
        ("below 1%", "< 1%"),
        ("below 1%", "under 1%"),
        ("below 1%", "below 1 %"),
        ("below 1%", "below 1s"),
        ("below 1%", "below 0.005%"),
        ("below 1%", "below 101%"),
        ("below 1%", "below 1% for 2"),
        ("below 1%", "below -1%"),
        ("below 1%", "below 1% in 2m"),
        ("below 1%", "below"),
        ("below 1%", "{ below: 1%, for: 2m }"),
        ("below 1%", "{ below: 1%, above: 2% }"),
        ("below 1%", "{ for: 2m }"),
        ("below 1%", "{ under: 1% }"),
        ("below 1%", "{ below: [1%] }"),
        ("below 1%", "[below 1%]"),
        ("error_rate: below 1%", "requests: at least 5"),
        ("error_rate: below 1%", "requests: at least 0.0001/s"),
        ("error_rate: below 1%", "response_time_p95: below 0.8s"),
        ("error_rate: below 1%", "response_time_p95: below 99999999999999s"),
    ]));
}

#[test]
fn a_threshold_that_is_always_or_never_breached_is_refused() {
    insta::assert_snapshot!(said_of(&[
        ("below 1%", "below 0%"),
        ("below 1%", "at most 100%"),
        ("below 1%", "at most 0%"),
        ("error_rate: below 1%", "requests: at least 0/s"),
        ("below 1%", "below 1% for 6m"),
        ("for: 5m,", "for: 5m, every: 3m,"),
        ("for: 5m,", "for: 5m, every: 6m,"),
        ("for: 5m,", "for: 5m, every: 5ms,"),
        ("window: 24h", "window: 24h, when: { error_rate: at least 0% }"),
        ("window: 24h", "window: 24h, when: { error_rate: above 100% }"),
        ("window: 24h", "window: 24h, when: { health: failing for 2d }"),
        ("window: 24h", "window: 24h, when: { health: 5m }"),
        ("for: 5m,", "for: 5m, traffic: below 5/s,"),
    ]));
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    insta::assert_snapshot!(said_of(&[
        ("verify:", "verfy:"),
        ("roll_back:", "rollback:"),
        ("gates:", "colour: blue\n    gates:"),
        ("error_rate:", "error-rate:"),
        ("error_rate:", "queue_depth:"),
        ("after: api", "after: apj"),
        ("after: api", "after: [api, nothing]"),
        ("[smoke]", "[smoek]"),
        ("1 of owners", "1 of owner"),
        ("critical: block", "critical: review by securty"),
        ("critical: block", "critcal: block"),
        ("mode: deploy", "mode: deplyo"),
        ("strategy: blue-green", "strategy: canary"),
        ("[terminal]", "[terminl]"),
        ("notify:\n  everything:", "notify:\n  everythin:"),
        ("[kofi, lena]", "[kofl, lena]"),
        ("notify:", "metrics: { preset: local, ap: { depth: {} } }\nnotify:"),
    ]));
}

#[test]
fn an_empty_value_is_an_error_that_knows_the_comment_trap() {
    insta::assert_snapshot!(said_of(&[
        ("[terminal]", "#deployments"),
        ("[terminal]", "slack #deployments"),
        ("[terminal]", "[slack #deployments]"),
        ("[terminal]", "[\"#deployments\"]"),
        ("[terminal]", ""),
        ("[terminal]", "[]"),
        ("api: {}", "api:"),
        ("cluster: local", "cluster: ~"),
        ("namespace: shop", "namespace: # shop"),
        ("people:", "  other:\n    http:\n      -\n      - GET /x\npeople:"),
    ]));
}

#[test]
fn the_traps_of_yaml_are_explained() {
    insta::assert_snapshot!(said_of(&[
        ("mode: deploy", "mode: deploy\n    account: 111111111111\n    region: us-east-1"),
        ("mode: deploy", "mode: deploy\n    account: \"1111\"\n    region: us-east-1"),
        ("  production:", "  on:"),
        ("[kofi, lena]", "[kofi, no]"),
        ("mode: deploy", "mode: &m deploy"),
        ("cluster: local", "cluster: &c local\n    branch: *c"),
        ("mode: deploy", "mode: !!str deploy"),
        ("cluster: local", "cluster: local\n    cluster: other"),
        ("cluster: local", "cluster: local\n\tbranch: x"),
        ("cluster: local", "cluster: local\n    [a, b]: c"),
        ("cluster: local", "cluster: 'local"),
        ("cluster: local", "cluster: |\n      two\n      lines"),
        ("portcullis: 1", "portcullis: 2"),
    ]));
}

#[test]
fn what_must_be_there_is_asked_for() {
    insta::assert_snapshot!(said_of(&[
        ("    mode: deploy\n", ""),
        ("    cluster: local\n", ""),
        ("    strategy: blue-green\n", ""),
        ("portcullis: 1\n", ""),
        ("application: shop\n", ""),
        ("registry: ghcr.io/example\n", ""),
        ("  api: {}\n  jobs: { after: api, kind: worker }", "  {}"),
        ("  smoke: { http: [GET /health] }", "  smoke: {}"),
        ("  smoke: { http: [GET /health] }", "  smoke: { http: [] }"),
        ("mode: deploy", "mode: deploy\n    account: \"111111111111\""),
        ("mode: deploy", "mode: deploy\n    role: r"),
        ("critical: block", "critical: block, waivers: [{ id: CVE-1, until: 2027-01-31 }]"),
        ("scan: { critical: block }", "scan: { max_age: 1h }"),
        ("registry: ghcr.io/example", "registry: ghcr.io/example\ntags: [\"v{version}\"]"),
    ]));
}

#[test]
fn approvals_that_nobody_can_give_are_refused() {
    insta::assert_snapshot!(said_of(&[
        ("1 of owners", "3 of owners"),
        ("[1 of owners]", "[1 of owners, 2 of owners]"),
        ("1 of owners", "2 of owners"),
        ("1 of owners", "0 of owners"),
        ("1 of owners", "2"),
        ("[1 of owners]", "1 of owners"),
        ("[1 of owners]", "[]"),
        ("[1 of owners]", ""),
        ("1 of owners", "1 of Owners"),
        ("1 of owners", "+1 of owners"),
        ("[kofi, lena]", "[]"),
        ("[kofi, lena]", "{}"),
        ("[kofi, lena]", "[kofi, kofi]"),
        ("[kofi, lena]", "{ github_team: o/t }"),
        ("critical: block", "critical: review by none }\n      expire: 1h\n      remind: 2h\n      checks: { x: y"),
        ("critical: block", "critical: review by owners, high: review by owners"),
        ("kofi: { github: kofi-m }", "kofi: { github: kofi-m }\n  lena: { github: KOFI-M }"),
    ]));
}

#[test]
fn approvals_that_cannot_all_be_had_because_a_person_counts_once_are_refused() {
    let with_groups = |approvals: &str| {
        good_with("[1 of owners]", approvals)
            .replace("  owners: [kofi, lena]", "  owners: [kofi]\n  security: [kofi]\n  all: [kofi, lena, tunde]")
    };
    for (approvals, possible) in [
        ("[1 of owners, 1 of security]", false),
        ("[1 of owners, 1 of all]", true),
        ("[2 of all, 1 of owners]", true),
        ("[1 of security, 2 of all]", true),
        ("[3 of all, 1 of owners]", false),
        ("[1 of owners, 1 of security, 1 of all]", false),
    ] {
        let report = check(&files(&[("p", &with_groups(approvals))]));
        assert_eq!(!report.failed(), possible, "{approvals}\n{}", report.render(&Style::PLAIN));
    }
    insta::assert_snapshot!(
        check(&files(&[("p", &with_groups("[1 of owners, 1 of security]"))])).render(&Style::PLAIN)
    );
}

#[test]
fn findings_of_a_scan_have_one_grammar() {
    insta::assert_snapshot!(said_of(&[
        ("critical: block", "critical: blocked"),
        ("critical: block", "critical: block above five"),
        ("critical: block", "critical: review"),
        ("critical: block", "critical: review by Security Team"),
        ("critical: block", "critical: allow"),
        ("critical: block", "critical: block above 2, high: review above 3 by owners, low: allow"),
        ("critical: block", "critical: block, waivers: [{ id: CVE-1, reason: x, until: 31.1.2027 }]"),
        ("critical: block", "critical: block, waivers: [{ id: CVE-1, reason: x, until: 2027-02-29 }]"),
        (
            "critical: block",
            "critical: block, waivers: [{ id: C, reason: x, until: 2027-01-31 }, { id: C, reason: y, until: 2028-02-29 }]",
        ),
    ]));
}

#[test]
fn services_that_can_never_come_up_or_be_told_apart_are_refused() {
    insta::assert_snapshot!(said_of(&[
        ("api: {}", "api: { after: jobs }"),
        ("api: {}", "api: { after: api }"),
        ("api: {}", "api: { after: [web] }\n  web: { after: db }\n  db: { after: api }"),
        ("api: {}", "api: { image: ghcr.io/example/jobs }"),
        ("api: {}", "api: { image: UPPER }"),
        ("api: {}", "api: { overlap: never }"),
        ("api: {}", "api: {}\n  api-blue: {}"),
        ("api: {}", "api: {}\n  Api: {}"),
        ("api: {}", "api: {}\n  web: { after: jobs }"),
        ("api: {}", "api: { kind: worker }"),
        ("api: {}", "api: { source: ../x }"),
    ]));
}

#[test]
fn too_many_services_are_refused() {
    let many = (0..51).map(|n| format!("  s{n}: {{}}\n")).collect::<Vec<_>>().concat();
    let text = good_with("  api: {}\n", &many);
    let report = check(&files(&[("p", &text)]));
    assert!(report.diagnostics.iter().any(|found| found.message.contains("1 to 50 services, this one has 52")));
}

#[test]
fn what_no_release_could_use_is_refused() {
    insta::assert_snapshot!(said_of(&[
        ("roll_back: { window: 24h }", "roll_back: { window: 40d }"),
        ("roll_back: { window: 24h }", "roll_back: { window: 24h }\n    backup: { keep: 1h }"),
        ("for: 5m,", "for: 5m, alarms: { roll_back: [\"a-*\"], ask: [\"a-*\"] },"),
        ("for: 5m,", "for: 5m, alarms: { roll_back: [] },"),
        ("[smoke]", "[smoke, smoke]"),
        ("[GET /health]", "[/health]"),
        ("[GET /health]", "[POST /health]"),
        ("[GET /health]", "[GET //evil.example/]"),
        ("smoke: {", "smoke: { job: cronjob/x,"),
        ("branch: main", "branch: release/*"),
        ("branch: main", "branch: refs/heads/main"),
        ("branch: main", "branch: main\n    moving_tag: a b"),
        ("kofi: { github: kofi-m }", "kofi: { github: \"@kofi\", slack: kofi, email: kofi }"),
        ("application: shop", "application: shop\nrepository: https://github.com/a/b"),
        ("application: shop", "application: shop\ntags: [\"{sah}\"]"),
    ]));
}

#[test]
fn environments_that_get_in_each_others_way_are_refused() {
    let second = |lines: &str| {
        format!("environments:\n  staging:\n    mode: deploy\n    cluster: local\n    strategy: rolling\n{lines}")
    };
    insta::assert_snapshot!(said_of(&[
        ("environments:\n", &second("    namespace: shop\n")),
        ("environments:\n", &second("    namespace: other\n    branch: main\n")),
        ("environments:\n", &second("    namespace: other\n    branch: develop\n")),
        ("environments:\n", &second("    namespace: other\n")),
        (
            "environments:\n",
            &second(
                "    namespace: other\n    branch: main\n    gates: { promoted_from: { environment: production, same: digests } }\n"
            ),
        ),
    ]));
}

#[test]
fn a_namespace_of_cloudwatch_is_ones_own_and_plain() {
    let published = |namespace: &str| format!("metrics: {{ publish: {namespace} }}\nnotify:");
    insta::assert_snapshot!(said_of(&[
        ("notify:", &published("AWS/Shop")),
        ("notify:", &published("Shop Deployments")),
        ("notify:", &published("\":Shop\"")),
        ("notify:", &published("Größe")),
        ("notify:", &published("[Shop]")),
        ("notify:", &published("a.b_c/d#e:f-9")),
    ]));
    for (length, fits) in [(255, true), (256, false)] {
        let text = good_with("notify:", &published(&"a".repeat(length)));
        assert_eq!(check(&files(&[("p", &text)])).failed(), !fits, "{length}");
    }
}

#[test]
fn what_comes_later_is_named_where_it_stands() {
    insta::assert_snapshot!(said_of(&[
        ("notify:", "metrics: { preset: nlb, prometheus: \"https://prometheus.example.com\" }\nnotify:"),
        ("window: 24h", "window: 24h, before: [backup], planned: { steps: [10%, 100%], every: 2m }"),
        ("strategy: blue-green", "strategy: blue-green\n    after_live: [lock_tags]\n    freeze: { weekends: yes }"),
        ("error_rate:", "cpu: below 80%, memory: below 2GB, restarts: below 3, error_rate:"),
        (
            "notify:",
            "metrics: { api: { queue_depth: { query: x } } }\nfreeze: [friday]\nrules: cedar\ntag_regex: \"v(.*)\"\nnotify:",
        ),
        ("portcullis: 1\n", "portcullis: 1\norganisation: example\n"),
        ("http: [GET /health]", "job: cronjob/x, error_rate: at most 10% worse"),
        ("http: [GET /health]", "http: [GET /health], error_rate: below 10%"),
    ]));
}

#[test]
fn files_that_are_no_policy_say_so() {
    for (text, expected) in [
        ("", "there is no policy here"),
        ("# only a comment\n", "there is no policy here"),
        ("---\n---\n", "there is no policy here"),
        ("just words\n", "a policy is a map of keys, this is a text"),
        ("[1, 2]\n", "a policy is a map of keys, this is a list"),
        (&"[".repeat(100), "nested more than 64 deep"),
        (&format!("x: [{}]", "1,".repeat(200_001)), "the file has more than 200000 values"),
        (&"#".repeat((1 << 20) + 1), "the file has 1048577 bytes; a policy has at most 1048576"),
    ] {
        let report = check(&files(&[("p", text)]));
        let messages: Vec<&str> = report.diagnostics.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(messages, [expected]);
    }
    assert!(check(&[]).failed());
}

#[test]
fn a_policy_too_large_for_the_ledger_is_refused() {
    let many = (0..400)
        .map(|n| format!("  person-number-{n}: {{ github: account-number-{n} }}\n"))
        .collect::<Vec<_>>()
        .concat();
    let report = check(&files(&[("p", &good_with("people:\n", &format!("people:\n{many}")))]));
    let messages: Vec<&str> = report.diagnostics.iter().map(|found| found.message.as_str()).collect();
    assert!(matches!(&messages[..], [one] if one.starts_with("the policy of shop/production has ")), "{messages:?}");
}

#[test]
fn only_the_first_five_hundred_findings_are_listed() {
    let many = (0..1000).map(|n| format!("key{n}: 1\n")).collect::<Vec<_>>().concat();
    let report = check(&files(&[("p", &format!("{GOOD}{many}"))]));
    assert_eq!((report.diagnostics.len(), report.more), (500, 500));
    assert!(report.render(&Style::PLAIN).contains("... and 500 more"));
}
