//! How new images take over: steps, what moves traffic, tests by Jobs, and Secrets in backups.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod with;

use portcullis_domain::policy::{OnFailure, Policy, Strategy, TestKind, TrafficBy};
use portcullis_domain::time::Millis;
use portcullis_policy::{Style, check, explain, load};
use with::{GOOD, files, good_with, said_of};

/// The recipient of the examples of age's own documentation.
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const PRIVATE: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

fn loaded(text: &str) -> Policy {
    let set = load(&files(&[("p", text)])).map_err(|report| report.render(&Style::PLAIN)).unwrap();
    assert_eq!(set.warnings.diagnostics, [], "{text}");
    (*set.policies[0]).clone()
}

/// [`GOOD`] with another strategy, and lines beside it.
fn strategy(written: &str) -> String {
    good_with("strategy: blue-green", &format!("strategy: {written}"))
}

#[test]
fn traffic_moves_in_the_steps_that_are_written() {
    let both = |written: &str| {
        let policy = loaded(&strategy(written));
        (policy.strategy, policy.traffic)
    };
    let blue_green = |steps: &[u16], every, manual| Strategy::BlueGreen { steps: steps.to_vec(), every, manual };
    assert_eq!(
        both("{ blue-green: { steps: [25%, 50%, 100%], every: 2m } }\n    traffic: alb"),
        (blue_green(&[2_500, 5_000, 10_000], Millis::minutes(2), false), TrafficBy::Alb)
    );
    assert_eq!(
        both("{ blue-green: { switch: manual, steps: [0.25%, 12.5%, 100%], every: 90s } }\n    traffic: gateway"),
        (blue_green(&[25, 1_250, 10_000], Millis::seconds(90), true), TrafficBy::Gateway)
    );
    // Where the time of a step is not written: two minutes, or two windows.
    for (watch, every) in [("{ for: 5m }", 2), ("{ for: 20m, every: 3m }", 6)] {
        let text = strategy("{ blue-green: { steps: [1%, 100%] } }\n    traffic: gateway");
        let text = text.replace("{ for: 5m, healthy: { error_rate: below 1% } }", watch);
        assert_eq!(loaded(&text).strategy, blue_green(&[100, 10_000], Millis::minutes(every), false), "{watch}");
    }
    // One step is no steps.
    for written in
        ["{ blue-green: { steps: [100%] } }", "{ blue-green: {} }", "blue-green", "blue-green\n    traffic: selector"]
    {
        assert_eq!(both(written), (blue_green(&[10_000], Millis(0), false), TrafficBy::Selector), "{written}");
    }
    assert_eq!(both("rolling\n    traffic: selector"), (Strategy::Rolling, TrafficBy::Selector));
    let twenty: Vec<String> = (1..=20).map(|step| format!("{}%", step * 5)).collect();
    let text = strategy(&format!("{{ blue-green: {{ steps: [{}] }} }}\n    traffic: alb", twenty.join(", ")));
    assert_eq!(loaded(&text).strategy.steps().len(), 20);
}

#[test]
fn what_the_environment_does_not_say_of_its_steps_the_defaults_do() {
    let defaults =
        "defaults:\n  traffic: gateway\n  strategy: { blue-green: { steps: [25%, 100%], every: 3m } }\nenvironments:";
    let with = |written: &str| loaded(&strategy(written).replace("environments:", defaults)).strategy;
    let steps = |steps: &[u16], every, manual| Strategy::BlueGreen { steps: steps.to_vec(), every, manual };
    assert_eq!(with("{ blue-green: { switch: manual } }"), steps(&[2_500, 10_000], Millis::minutes(3), true));
    assert_eq!(with("{ blue-green: { steps: [10%, 100%] } }"), steps(&[1_000, 10_000], Millis::minutes(3), false));
    assert_eq!(with("blue-green"), steps(&[10_000], Millis(0), false), "a word says all of it");
    assert_eq!(with("rolling\n    traffic: selector"), Strategy::Rolling);
}

#[test]
fn steps_and_what_moves_traffic_must_go_together() {
    let alb = |steps: &str| format!("strategy: {{ blue-green: {{ {steps} }} }}\n    traffic: alb");
    let many: Vec<String> = (1..=21).map(|step| format!("{step}%")).collect();
    let changes = [
        alb("steps: [50%, 25%, 100%]"),
        alb("steps: [25%, 25%, 100%]"),
        alb("steps: [0%, 100%]"),
        alb("steps: [25%, 50%]"),
        alb("steps: [100%, 100%]"),
        alb("steps: [25, 100%]"),
        alb("steps: [25%, 101%]"),
        alb("steps: []"),
        alb("steps: 25%"),
        alb(&format!("steps: [{}]", many.join(", "))),
        alb("steps: [12.55%, 100%]"),
        alb("steps: [25%, 100%], every: 30s"),
        alb("steps: [25%, 100%], every: 0s"),
        alb("every: 2m"),
        alb("steps: [100%], every: 2m"),
        "strategy: { blue-green: { steps: [25%, 100%] } }".to_owned(),
        "strategy: { blue-green: { steps: [25%, 100%] } }\n    traffic: selector".to_owned(),
        "strategy: rolling\n    traffic: alb".to_owned(),
        "strategy: blue-green\n    traffic: istio".to_owned(),
    ];
    let changes: Vec<(&str, &str)> = changes.iter().map(|change| ("strategy: blue-green", change.as_str())).collect();
    insta::assert_snapshot!(said_of(&changes));
}

#[test]
fn a_rolling_environment_leaves_the_traffic_of_the_defaults_to_the_others() {
    let text = strategy("rolling").replace("environments:", "defaults: { traffic: alb }\nenvironments:");
    let report = check(&files(&[("p", &text)]));
    let [found] = &report.diagnostics[..] else { panic!("{report:?}") };
    assert_eq!(found.message, "production is rolling: there is no traffic for alb to move");
    assert_eq!(found.help.as_deref(), Some("add  traffic: selector, or write  strategy: blue-green"));
    loaded(&text.replace("strategy: rolling", "strategy: rolling\n    traffic: selector"));
}

#[test]
fn a_test_is_a_job_and_may_fail_without_consequence() {
    let tests = |written: &str| loaded(&good_with("{ http: [GET /health] }", written)).verify;
    let [test] = &tests("{ job: cronjob/integration-tests, on_failure: continue }")[..] else { unreachable!() };
    assert_eq!(test.kind, TestKind::Job { cronjob: "integration-tests".parse().unwrap() });
    assert_eq!((test.within, test.on_failure), (Millis::minutes(10), OnFailure::Continue));
    let [test] = &tests("{ job: cronjob/k6, within: 20m }")[..] else { unreachable!() };
    assert_eq!((test.within, test.on_failure), (Millis::minutes(20), OnFailure::Stop));
    let [test] = &tests("{ http: [GET /health], on_failure: stop }")[..] else { unreachable!() };
    assert_eq!((test.within, test.on_failure), (Millis::minutes(1), OnFailure::Stop));
    insta::assert_snapshot!(said_of(&[
        ("{ http: [GET /health] }", "{ job: integration-tests }"),
        ("{ http: [GET /health] }", "{ job: cronjob/Integration }"),
        ("{ http: [GET /health] }", "{ job: cronjob/x, http: [GET /health] }"),
        ("{ http: [GET /health] }", "{ job: cronjob/x, on_failure: ignore }"),
        ("{ http: [GET /health] }", "{ job: cronjob/x, response_time_p95: at most 10% worse }"),
    ]));
}

#[test]
fn secrets_are_in_backups_only_where_the_policy_has_a_key_for_them() {
    let backup = |written: &str| good_with("verify:", &format!("backup: {written}\n    verify:"));
    assert_eq!(loaded(GOOD).backup_secrets, None);
    let policy = loaded(&backup(&format!("{{ keep: 90d, secrets: \"{RECIPIENT}\" }}")));
    assert_eq!((policy.backup_keep, policy.backup_secrets.as_deref()), (Millis::days(90), Some(RECIPIENT)));
    let changes = ["age1abc", "\"\"", "yes", "ssh-ed25519 AAAAC3Nza", &RECIPIENT.replace('3', "4")];
    let changes: Vec<String> =
        changes.iter().map(|secrets| format!("backup: {{ secrets: {secrets} }}\n    verify:")).collect();
    let changes: Vec<(&str, &str)> = changes.iter().map(|change| ("verify:", change.as_str())).collect();
    insta::assert_snapshot!(said_of(&changes));
}

#[test]
fn a_private_key_is_refused_and_shown_nowhere() {
    let lower = PRIVATE.to_lowercase();
    for (old, new) in [
        ("verify:", format!("backup: {{ keep: 1x, secrets: \"{PRIVATE}\", more: 1 }}\n    verify:")),
        ("verify:", format!("backup: {{ secrets: {lower} }}\n    verify:")),
        ("mode: deploy", format!("mode: {PRIVATE}")),
        ("verify:", format!("{PRIVATE}: 1\n    verify:")),
        ("application: shop", format!("application: {PRIVATE}")),
        ("registry: ghcr.io/example", format!("registry: {PRIVATE}")),
        ("branch: main", format!("branch: \"{PRIVATE} x\"")),
    ] {
        let report = check(&files(&[("p", &good_with(old, &new))]));
        assert!(report.failed(), "{new}");
        let told = format!("{}{:?}", report.render(&Style::PLAIN), report.diagnostics).to_uppercase();
        assert!(told.contains("AGE-SECRET-KEY-*") && !told.contains("GFPYY"), "{told}");
    }
    let text = good_with("verify:", &format!("backup: {{ keep: 90d, secrets: \"{PRIVATE}\" }}\n    verify:"));
    insta::assert_snapshot!(check(&files(&[("p", &text)])).render(&Style::PLAIN));
}

#[test]
fn all_of_it_is_explained() {
    let text = GOOD
        .replace(
            "strategy: blue-green",
            "strategy: { blue-green: { switch: manual, steps: [12.5%, 50%, 100%], every: 2m } }\n    traffic: alb",
        )
        .replace("verify: [smoke]", &format!("verify: [smoke, k6]\n    backup: {{ secrets: {RECIPIENT} }}"))
        .replace("tests:\n", "tests:\n  k6: { job: cronjob/k6-baseline, on_failure: continue }\n");
    let page = explain(&loaded(&text));
    let then: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("Then"))
        .take_while(|line| !line.starts_with("Watch"))
        .collect();
    insta::assert_snapshot!(then.join("\n"));
}

#[test]
fn a_policy_that_says_nothing_of_it_is_written_as_before_it_could() {
    let policy = loaded(GOOD);
    let written = serde_json::to_value(&policy).unwrap();
    for key in ["traffic", "backup_secrets"] {
        assert_eq!(written.get(key), None);
    }
    assert_eq!(written["verify"][0].get("on_failure"), None);
    for said in [
        Policy { traffic: TrafficBy::Gateway, ..policy.clone() },
        Policy { backup_secrets: Some(RECIPIENT.to_owned()), ..policy.clone() },
    ] {
        assert_ne!(said.hash(), policy.hash());
        assert_eq!(serde_json::from_value::<Policy>(serde_json::to_value(&said).unwrap()).unwrap(), said);
    }
}
