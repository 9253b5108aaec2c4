//! The JSON Schema, held against policies that the loader knows to be good or bad. Keywords: only those it uses.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod with;

use portcullis_policy::{check, json_schema};
use serde_json::Value;
use with::{GOOD, files, good_with};

/// Every way in which the value does not fit the schema; panics at a keyword that this does not know.
fn misfits(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some(keywords) = schema.as_object() else { return found };
    let miss = |found: &mut Vec<String>, what: String| found.push(format!("{path}: {what}"));
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            "type" => {
                let fits = match wanted.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("type {other}"),
                };
                if !fits {
                    miss(&mut found, format!("{value} is not of type {wanted}"));
                }
            }
            "const" if wanted != value => miss(&mut found, format!("{value} is not {wanted}")),
            "enum" if !wanted.as_array().unwrap().contains(value) => {
                miss(&mut found, format!("{value} is none of {wanted}"));
            }
            "pattern" => {
                let pattern = regex_lite::Regex::new(wanted.as_str().unwrap()).unwrap();
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    miss(&mut found, format!("{value} does not match {wanted}"));
                }
            }
            "minLength" if value.as_str().is_some_and(str::is_empty) => {
                miss(&mut found, "is empty".to_owned());
            }
            "minItems" if value.as_array().is_some_and(Vec::is_empty) => {
                miss(&mut found, "is an empty list".to_owned());
            }
            "required" => {
                for key in wanted.as_array().unwrap() {
                    if value.is_object() && value.get(key.as_str().unwrap()).is_none() {
                        miss(&mut found, format!("has no {key}"));
                    }
                }
            }
            "oneOf" => {
                let fitting =
                    wanted.as_array().unwrap().iter().filter(|one| misfits(one, value, path).is_empty()).count();
                if fitting != 1 {
                    miss(&mut found, format!("{value} fits {fitting} of the alternatives"));
                }
            }
            "properties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    let schema = wanted.get(key).unwrap_or(&keywords["additionalProperties"]);
                    if schema == &Value::Bool(false) {
                        miss(&mut found, format!("{key} is not a key"));
                    }
                    found.extend(misfits(schema, inner, &format!("{path}/{key}")));
                }
            }
            "propertyNames" => {
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    found.extend(misfits(wanted, &Value::String(key.clone()), &format!("{path}/{key}")));
                }
            }
            "items" => {
                for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(misfits(wanted, inner, &format!("{path}/{at}")));
                }
            }
            "if" => {
                let branch = if misfits(wanted, value, path).is_empty() { "then" } else { "else" };
                found.extend(misfits(&keywords[branch], value, path));
            }
            // Words for people, what another keyword looks into, and guards above that were not met.
            "$schema"
            | "title"
            | "description"
            | "additionalProperties"
            | "const"
            | "enum"
            | "then"
            | "else"
            | "minLength"
            | "minItems"
            | "maxLength"
            | "minimum"
            | "maximum" => {}
            other => panic!("unknown keyword {other}"),
        }
    }
    found
}

fn held_against_the_schema(text: &str) -> Vec<String> {
    misfits(&json_schema(), &serde_saphyr::from_str(text).unwrap(), "")
}

#[test]
fn every_policy_the_tests_know_to_be_well_formed_fits_the_schema() {
    for text in [
        GOOD,
        include_str!("fixtures/volteryde.yaml"),
        include_str!("fixtures/swiftconcur.yaml"),
        include_str!("../../../docs/examples/first-policy.yaml"),
        include_str!("../../../docs/examples/volteryde-local.yaml"),
        include_str!("../../../docs/examples/organisation.yaml"),
        include_str!("../../../docs/examples/promoted.yaml"),
    ] {
        assert_eq!(held_against_the_schema(text), [] as [&str; 0]);
    }
}

#[test]
fn what_the_loader_takes_the_schema_takes_too() {
    for (old, new) in [
        ("below 1%", "{ below: 1%, for: 2m }"),
        ("below 1%", "at least 0.5% for 90s"),
        ("strategy: blue-green", "strategy: { blue-green: { switch: manual } }"),
        ("strategy: blue-green", "strategy: rolling\n    traffic: selector"),
        (
            "strategy: blue-green",
            "strategy: { blue-green: { steps: [12.5%, 100%], every: 2m } }\n    traffic: alb\n    backup: { keep: 90d, secrets: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p }",
        ),
        ("{ http: [GET /health] }", "{ job: cronjob/k6, on_failure: continue, within: 20m }"),
        ("critical: block", "critical: review above 3 by owners, max_age: 2h"),
        ("critical: block", "critical: block, waivers: [{ id: CVE-1, reason: x, until: 2027-01-31 }]"),
        ("window: 24h", "window: 0s, when: { health: failing for 5m, requests: below 0.5/s }"),
        ("window: 24h", "window: 24h, most: 3 in 1h, when: { vulnerability: high }"),
        ("window: 24h", "window: 24h, most: { rollbacks: 2, within: 30m }"),
        ("notify:", "metrics: { preset: alb, publish: Shop/Deployments }\nnotify:"),
        ("critical: block }", "critical: block }\n      break_glass: 2 of owners"),
        (
            "critical: block }",
            "critical: block }\n      freeze: [{ name: year end, from: 2026-12-20, until: 2027-01-03T08:00, zone: Europe/Berlin }]\n      open: [{ name: office, every: FREQ=DAILY, starts: 2026-01-02T08:00:00, for: 9h, zone: UTC }]",
        ),
        ("after: api,", "after: [api], overlap: allowed,"),
        (
            "branch: main",
            "branch: team/main\n    moving_tag: dev-latest\n    waiting: queue\n    limits: { look: 30s }",
        ),
        ("{ github: kofi-m }", "{ github: kofi-m, slack: T01AB/U03CD, email: k@x.org, oidc: \"auth0|1\" }"),
        ("portcullis: 1", "portcullis: 1\nrepository: git.example.com:8443/a/b\ntags: [\"prod-{sha7}-{date}-{time}\"]"),
    ] {
        let text = good_with(old, new);
        assert_eq!(with::lines(&check(&files(&[("p", &text)]))), "", "{new}");
        assert_eq!(held_against_the_schema(&text), [] as [&str; 0], "{new}");
    }
}

#[test]
fn what_the_loader_refuses_for_its_form_the_schema_refuses_too() {
    for (old, new) in [
        ("verify:", "verfy:"),
        ("for: 5m", "for: 300"),
        ("below 1%", "below 0.01"),
        ("below 1%", "{ below: 1%, above: 2% }"),
        ("mode: deploy", "mode: on"),
        ("[1 of owners]", "[]"),
        ("1 of owners", "two of owners"),
        ("application: shop\n", ""),
        ("api: {}", "Api: {}"),
        ("strategy: blue-green", "strategy: canary"),
        ("cluster: local", "cluster: local\n    account: 111111111111"),
        ("[terminal]", "[\"#deployments\"]"),
        ("[GET /health]", "[POST /health]"),
        ("window: 24h", "window: 24h, most: 3"),
        ("window: 24h", "window: 24h, most: { rollbacks: 2 }"),
        ("window: 24h", "window: 24h, when: { vulnerability: bad }"),
        ("notify:", "metrics: { publish: Shop Deployments }\nnotify:"),
        ("critical: block }", "critical: block }\n      break_glass: 1 of owners"),
        ("strategy: blue-green", "strategy: { blue-green: { steps: [25] } }"),
        ("strategy: blue-green", "strategy: blue-green\n    traffic: istio"),
        ("strategy: blue-green", "strategy: blue-green\n    backup: { secrets: age1abc }"),
        ("{ http: [GET /health] }", "{ job: cronjob/k6, on_failure: ignore }"),
        ("critical: block }", "critical: block }\n      freeze: []"),
        ("critical: block }", "critical: block }\n      freeze: [{ name: x, from: 2026-12-20, until: 2026-12-21 }]"),
        ("critical: block }", "critical: block }\n      promoted_from: { same: digests }"),
        ("portcullis: 1", "organisation: x\nalways: { mode: deploy }"),
        ("portcullis: 1", "organisation: x"),
    ] {
        let text = good_with(old, new);
        assert!(check(&files(&[("p", &text)])).failed(), "{new}");
        assert_ne!(held_against_the_schema(&text), [] as [&str; 0], "{new}");
    }
}
