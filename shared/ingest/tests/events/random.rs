//! Samples changed at random: whatever comes, nothing panics and every answer keeps its promises.

use std::cell::Cell;

use portcullis_domain::names::is_bidi_control;
use portcullis_domain::signal::FactKind;
use portcullis_ingest::{Read, read};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value};

use crate::support::{changed, places, samples};

/// Any JSON, and more often than by chance the words that the reader knows.
fn any_json() -> impl Strategy<Value = Value> {
    const WORDS: &[&str] = &[
        "",
        "PUSH",
        "DELETE",
        "SUCCESS",
        "COMPLETE",
        "ALARM",
        "OK",
        "ACTIVE",
        "aws.ecr",
        "aws.cloudwatch",
        "aws.inspector2",
        "ECR Image Scan",
        "Inspector2 Finding",
        "CloudWatch Alarm State Change",
        "Notification",
        "arn:aws:ecr:us-east-1:444444444444:repository/x",
        "2026-11-20T02:36:11+0000",
        "{\"AlarmName\":1}",
        "{}",
        "+262143-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "-000001-01-01T00:00:00Z",
        "\u{202e}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[a-z0-9:/._-]{0,300}".prop_map(Value::from),
        proptest::sample::select(WORDS).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let key = prop_oneof!["[a-zA-Z-]{1,12}", ".{0,100}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5).prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
        ]
    })
}

/// How many bodies were read as what.
#[derive(Debug, Default)]
struct Seen {
    facts: Cell<u32>,
    ignored: Cell<u32>,
    refused: Cell<u32>,
}

/// Reads a body and holds the answer to what it promises.
fn hold(body: &[u8], seen: &Seen) -> Result<(), TestCaseError> {
    match read(body) {
        Err(malformed) => {
            seen.refused.set(seen.refused.get() + 1);
            let text = malformed.to_string();
            prop_assert!(!malformed.field.is_empty() && !malformed.why.is_empty());
            // A value of 80 characters is at most ten times as long when every one is escaped.
            prop_assert!(text.len() < 3_000, "{}", text.len());
            prop_assert!(!text.chars().any(|c| c.is_control() || is_bidi_control(c)), "{text:?}");
        }
        Ok(Read::Ignored { kind, reason }) => {
            seen.ignored.set(seen.ignored.get() + 1);
            prop_assert!(!reason.is_empty() && kind.chars().count() <= 80);
            let shown = format!("{kind}{reason}");
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_bidi_control(c)), "{shown:?}");
        }
        Ok(Read::Facts(facts)) => {
            seen.facts.set(seen.facts.get() + 1);
            prop_assert!(!facts.is_empty());
            for fact in &facts {
                let account = fact.account.as_deref().unwrap_or_default();
                prop_assert!(account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit()));
                prop_assert!(fact.region.is_some());
                let registry = format!("{account}.dkr.ecr.");
                match &fact.kind {
                    FactKind::ImagePushed { repository, .. }
                    | FactKind::ImageDeleted { repository, .. }
                    | FactKind::ScanReported { repository, .. } => {
                        prop_assert!(repository.as_str().starts_with(&registry));
                    }
                    FactKind::ScanFrequencyChanged { repositories } => prop_assert!(!repositories.is_empty()),
                    FactKind::AlarmChanged { alarm, reason, .. } => {
                        prop_assert!(!alarm.as_str().is_empty());
                        prop_assert!(reason.chars().count() <= 500 && !reason.chars().any(char::is_control));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Holds 5,000 bodies to it, and prints what they were.
fn all<S: Strategy>(what: &str, bodies: &S, to_bytes: impl Fn(S::Value) -> Vec<u8>) -> Seen {
    let seen = Seen::default();
    let config = Config { cases: 5_000, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(bodies, |body| hold(&to_bytes(body), &seen));
    result.unwrap_or_else(|failure| panic!("{what}: {failure}"));
    let (facts, ignored, refused) = (seen.facts.get(), seen.ignored.get(), seen.refused.get());
    println!("{what}: {facts} read as facts, {ignored} ignored, {refused} refused");
    seen
}

#[test]
fn samples_with_places_replaced_by_anything_keep_the_promises() {
    let samples = samples();
    let change = (any::<Index>(), prop::option::weighted(0.8, any_json()));
    let changes = (any::<Index>(), prop::collection::vec(change, 1..4));
    let seen = all("places replaced", &changes, |(sample, changes)| {
        let mut event: Value = serde_json::from_slice(&sample.get(&samples).1).unwrap();
        for (place, to) in changes {
            // Once a change has put something into `Message` that is no JSON, no further place is looked for.
            if event.get("Message").is_some_and(|m| serde_json::from_str::<Value>(m.as_str().unwrap_or("?")).is_err()) {
                break;
            }
            let places = places(&event);
            if !places.is_empty() {
                let steps = place.get(&places).1.clone();
                event = changed(&event, &steps, to.as_ref());
            }
        }
        event.to_string().into_bytes()
    });
    assert!(seen.facts.get() > 500 && seen.ignored.get() > 100 && seen.refused.get() > 500, "{seen:?}");
}

#[test]
fn samples_with_bytes_changed_keep_the_promises() {
    let samples = samples();
    let change = (any::<Index>(), any::<u8>(), 0_u8..3);
    let changes = (any::<Index>(), prop::collection::vec(change, 1..6));
    let seen = all("bytes changed", &changes, |(sample, changes)| {
        let mut bytes = sample.get(&samples).1.clone();
        for (at, byte, way) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match way {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.drain(at..(at + usize::from(byte)).min(bytes.len()))),
            }
        }
        bytes
    });
    assert!(seen.facts.get() > 50 && seen.refused.get() > 500, "{seen:?}");
}

#[test]
fn anything_at_all_keeps_the_promises() {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let bodies = prop_oneof![any_json().prop_map(|value| value.to_string().into_bytes()), bytes];
    let seen = all("anything", &bodies, |body| body);
    assert!(seen.refused.get() > 4_000, "{seen:?}");
}
