//! Alarms of CloudWatch.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_aws::metrics::CloudWatch;
use portcullis_domain::facts::{AlarmFact, AlarmState};
use portcullis_domain::names::AlarmName;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{Metrics, PortResult};
use serde_json::json;

use crate::registry::NOON;
use crate::replay::{Answer, Aws, place};

const DESCRIBE: &str = "DescribeAlarms";
const MUTED: &str = "ListAlarmMuteRules";

async fn alarms(aws: &Aws, patterns: &[&str]) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
    let patterns: BTreeSet<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    CloudWatch::new(aws.roles()).alarms(&place(), &patterns).await
}

fn told(alarms: &BTreeMap<AlarmName, AlarmFact>) -> Vec<(&str, AlarmState, u64)> {
    alarms.iter().map(|(name, fact)| (name.as_str(), fact.state, (fact.changed_at.0 + 60_000 - NOON) / 1_000)).collect()
}

#[tokio::test]
async fn alarms_of_every_kind_are_told_by_the_moment_they_changed() {
    let aws = Aws::answering([
        Answer::cbor(DESCRIBE, shape!("cloudwatch-alarms-1.json")),
        Answer::cbor(DESCRIBE, shape!("cloudwatch-alarms-2.json")).when("page-2"),
        not_muted().when("volteryde-prod-app-5xx"),
        not_muted().when("volteryde-prod-app-any"),
    ]);
    let found = alarms(&aws, &["volteryde-prod-app-*"]).await.unwrap();
    // Seconds after 11:59. That of another name is not told.
    let expected = [
        ("volteryde-prod-app-5xx", AlarmState::Alarm, 60),
        ("volteryde-prod-app-any", AlarmState::Alarm, 70),
        // Its last word is from before it could no longer be evaluated.
        ("volteryde-prod-app-broken", AlarmState::InsufficientData, 60),
        ("volteryde-prod-app-latency", AlarmState::Ok, 0),
        ("volteryde-prod-app-log", AlarmState::InsufficientData, 60),
        // It rings, and somebody said that it must not.
        ("volteryde-prod-app-quiet", AlarmState::InsufficientData, 80),
    ];
    assert_eq!(told(&found), expected);
    let body = aws.asked()[0].body();
    assert_eq!(body["AlarmNamePrefix"], "volteryde-prod-app-");
    assert_eq!(body["AlarmTypes"], json!(["MetricAlarm", "CompositeAlarm", "LogAlarm"]));
    assert_eq!(body["MaxRecords"], 100);
    assert_eq!(body.get("AlarmNames"), None);
}

fn not_muted() -> Answer {
    Answer::cbor(MUTED, r#"{"AlarmMuteRuleSummaries": []}"#)
}

async fn ringing(answer: Answer) -> (AlarmState, Aws) {
    let body = json!({ "MetricAlarms": [{ "AlarmName": "one", "StateValue": "ALARM", "StateUpdatedTimestamp": 60 }] });
    let aws = Aws::answering([Answer::cbor(DESCRIBE, &body.to_string()), answer]);
    let found = alarms(&aws, &["one"]).await.unwrap();
    (found["one"].state, aws)
}

#[tokio::test]
async fn an_alarm_that_is_muted_neither_rings_nor_is_well() {
    let (state, aws) = ringing(Answer::cbor(MUTED, shape!("cloudwatch-mute-rules.json"))).await;
    assert_eq!(state, AlarmState::InsufficientData);
    assert_eq!(aws.asked()[1].body(), json!({ "AlarmName": "one", "Statuses": ["ACTIVE"] }));
    assert_eq!(ringing(not_muted()).await.0, AlarmState::Alarm);
}

#[tokio::test]
async fn an_alarm_of_which_nobody_says_whether_it_is_muted_rings() {
    let denied = r#"{"__type": "com.amazonaws.cloudwatch#AccessDeniedException", "message": "not authorized"}"#;
    assert_eq!(ringing(Answer::cbor(MUTED, denied).status(403)).await.0, AlarmState::Alarm);
}

#[tokio::test]
async fn plain_names_are_asked_for_by_name() {
    let aws = Aws::answering([Answer::cbor(DESCRIBE, r#"{"MetricAlarms": [], "CompositeAlarms": []}"#)]);
    assert_eq!(alarms(&aws, &["one", "two"]).await.unwrap(), BTreeMap::new());
    let body = aws.asked()[0].body();
    assert_eq!((&body["AlarmNames"], body.get("AlarmNamePrefix")), (&json!(["one", "two"]), None));
}

#[tokio::test]
async fn no_pattern_asks_for_no_alarm() {
    let aws = Aws::default();
    assert_eq!(alarms(&aws, &[]).await.unwrap(), BTreeMap::new());
    assert_eq!(aws.operations(), [""; 0]);
}

#[tokio::test]
async fn half_of_the_alarms_are_not_the_alarms() {
    let refused = r#"{"__type": "com.amazonaws.cloudwatch#InvalidNextToken", "message": "no such page"}"#;
    let aws = Aws::answering([
        Answer::cbor(DESCRIBE, shape!("cloudwatch-alarms-1.json")),
        Answer::cbor(DESCRIBE, refused).status(400).when("page-2"),
    ]);
    let error = alarms(&aws, &["volteryde-prod-app-*"]).await.unwrap_err();
    assert!(error.doing.contains("volteryde-prod-app-*") && error.found.contains("InvalidNextToken"), "{error}");
}

#[tokio::test]
async fn an_alarm_that_does_not_say_since_when_is_an_error() {
    let body = json!({ "MetricAlarms": [{ "AlarmName": "one", "StateValue": "OK" }] });
    let aws = Aws::answering([Answer::cbor(DESCRIBE, &body.to_string())]);
    assert_eq!(alarms(&aws, &["one"]).await.unwrap_err().found, "alarm one does not say since when");
    // Without the moment of the change the one of the update is the best there is.
    let body = json!({ "MetricAlarms": [{ "AlarmName": "one", "StateValue": "OK", "StateUpdatedTimestamp": 60.5 }] });
    let aws = Aws::answering([Answer::cbor(DESCRIBE, &body.to_string())]);
    let found = alarms(&aws, &["one"]).await.unwrap();
    let fact = AlarmFact { state: AlarmState::Ok, changed_at: Timestamp(60_500) };
    assert_eq!(found, BTreeMap::from([(AlarmName::new("one").unwrap(), fact)]));
}
