//! What the samples do not show: other forms of the same envelopes, and what must not get through.

use portcullis_domain::signal::{Fact, FactKind};
use portcullis_ingest::{Malformed, Read, read};
use serde_json::{Value, json};

use crate::support::sample;

fn post(value: &Value) -> Result<Read, Malformed> {
    read(value.to_string().as_bytes())
}

fn fact(value: &Value) -> Fact {
    match post(value).unwrap() {
        Read::Facts(mut facts) => facts.remove(0),
        other @ Read::Ignored { .. } => panic!("{other}"),
    }
}

fn error(value: &Value) -> String {
    post(value).unwrap_err().to_string()
}

#[test]
fn an_event_that_comes_through_an_sns_topic_keeps_its_own_id() {
    let event = sample("ecr/image-action-push.json");
    let mut sns = sample("cloudwatch/alarm-sns.json");
    sns["Message"] = Value::String(event.to_string());
    assert_eq!(post(&sns), post(&event));
}

#[test]
fn what_sns_hands_to_a_function_is_the_notification_in_it() {
    let sns = sample("cloudwatch/alarm-sns.json");
    let record = json!({ "EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns });
    assert_eq!(post(&json!({ "Records": [record] })), post(&sns));

    let mut confirmation = record.clone();
    confirmation["Sns"]["Type"] = json!("SubscriptionConfirmation");
    assert_eq!(post(&json!({ "Records": [confirmation, record] })), post(&sns), "what says nothing hides nothing");
    assert!(matches!(post(&json!({ "Records": [confirmation] })), Ok(Read::Ignored { .. })));

    let mut other = record.clone();
    other["EventSource"] = json!("aws:sqs");
    assert!(error(&json!({ "Records": [other] })).starts_with("Records[0].EventSource"));
    let mut broken = record;
    broken["Sns"]["Message"] = json!("{");
    assert!(error(&json!({ "Records": [broken] })).starts_with("Records[0].Sns.Message"), "the field is named");
}

#[test]
fn raw_delivery_by_sns_says_the_same_under_a_stable_id() {
    let wrapped = fact(&sample("cloudwatch/alarm-sns.json"));
    let message: Value =
        serde_json::from_str(sample("cloudwatch/alarm-sns.json")["Message"].as_str().unwrap()).unwrap();
    let raw = fact(&message);
    assert_eq!(raw.kind, wrapped.kind);
    assert_eq!(raw.delivery, fact(&message).delivery);
}

#[test]
fn a_direct_alarm_has_one_id_per_state_and_suppression() {
    let event = sample("cloudwatch/alarm-direct.json");
    let same = fact(&event).delivery;
    let mut retried = event.clone();
    retried["time"] = json!("2026-11-20T03:09:00.000+0000");
    assert_eq!(fact(&retried).delivery, same);
    for (pointer, other) in
        [("/alarmData/state/timestamp", json!("2026-11-20T03:08:09.413+0000")), ("/alarmData/state/value", json!("OK"))]
    {
        let mut event = event.clone();
        *event.pointer_mut(pointer).unwrap() = other;
        assert_ne!(fact(&event).delivery, same, "{pointer}");
    }
    let mut suppressed = event.clone();
    suppressed["alarmData"]["state"]["actionsSuppressedBy"] = json!("Alarm");
    assert_ne!(fact(&suppressed).delivery, same);
}

#[test]
fn a_muted_alarm_is_suppressed() {
    let mut event = sample("cloudwatch/alarm-eventbridge-metric.json");
    event["detail"]["muteDetail"] =
        json!({"mutedByArn": "arn:aws:cloudwatch:us-east-1:333333333333:alarm-mute-rule:m"});
    assert!(matches!(fact(&event).kind, FactKind::AlarmChanged { suppressed: true, .. }));
    event["detail"]["muteDetail"] = Value::Null;
    assert!(matches!(fact(&event).kind, FactKind::AlarmChanged { suppressed: false, .. }));
}

#[test]
fn without_a_reason_the_reason_data_is_put_into_words() {
    let told = |name: &str| {
        let mut event = sample(name);
        event["detail"]["state"].as_object_mut().unwrap().remove("reason");
        let FactKind::AlarmChanged { reason, .. } = fact(&event).kind else { panic!() };
        reason
    };
    let composite = told("cloudwatch/alarm-eventbridge-composite-suppressed.json");
    assert_eq!(composite, "triggered by volteryde-prod-app-5xx");
    let metric = told("cloudwatch/alarm-eventbridge-metric.json");
    assert_eq!(metric, "recent 41, 63 against the threshold 5");
}

#[test]
fn a_reason_is_cut_and_cannot_move_a_cursor() {
    let mut event = sample("cloudwatch/alarm-eventbridge-metric.json");
    event["detail"]["state"]["reason"] = json!(format!("a\n\u{1b}[2J\u{202e}{}", "ü".repeat(1000)));
    let FactKind::AlarmChanged { reason, .. } = fact(&event).kind else { panic!() };
    assert_eq!(reason.chars().count(), 500);
    assert!(reason.starts_with("a  [2Jü"), "{reason}");
}

#[test]
fn an_alarm_never_comes_without_a_name_or_in_a_state_that_it_does_not_have() {
    let mut event = sample("cloudwatch/alarm-eventbridge-metric.json");
    event["detail"]["alarmName"] = json!("");
    assert_eq!(error(&event), "detail.alarmName: is empty");
    let mut event = sample("cloudwatch/alarm-eventbridge-metric.json");
    event["detail"]["state"]["value"] = json!("ok");
    assert_eq!(error(&event), "detail.state.value: \"ok\" is not OK, ALARM or INSUFFICIENT_DATA");
}

#[test]
fn nobody_speaks_for_another_account() {
    let mut direct = sample("cloudwatch/alarm-direct.json");
    direct["accountId"] = json!("999999999999");
    assert_eq!(error(&direct), "alarmArn: is of account 333333333333, but the event comes from 999999999999");
    let mut direct = sample("cloudwatch/alarm-direct.json");
    direct["alarmData"]["alarmName"] = json!("volteryde-prod-app-4xx");
    assert!(error(&direct).starts_with("alarmArn: \"alarm:volteryde-prod-app-5xx\" is not the ARN of alarm"));
    let mut scan = sample("inspector/scan-complete.json");
    scan["account"] = json!("999999999999");
    let why = "detail.repository-name: is of account 444444444444, but the event comes from 999999999999";
    assert_eq!(error(&scan), why);
    let mut finding = sample("inspector/finding-active.json");
    finding["account"] = json!("999999999999");
    assert!(error(&finding).starts_with("detail.resources[0].details.awsEcrContainerImage.registry: is another"));
    // A push names no account but its envelope's: it is a fact of that account's registry, for the caller to refuse.
    let mut push = sample("ecr/image-action-push.json");
    push["account"] = json!("999999999999");
    let push = fact(&push);
    assert_eq!(push.account.as_deref(), Some("999999999999"));
    let FactKind::ImagePushed { repository, .. } = push.kind else { panic!() };
    assert!(repository.as_str().starts_with("999999999999.dkr.ecr."));
}

#[test]
fn a_region_cannot_change_the_registry_s_host() {
    let mut push = sample("ecr/image-action-push.json");
    push["region"] = json!("us-east-1.amazonaws.com.evil.example/");
    assert_eq!(error(&push), "region: \"us-east-1.amazonaws.com.evil.example/\" is not a region");
}

#[test]
fn a_detail_type_under_another_source_is_not_aws_s() {
    let mut push = sample("ecr/image-action-push.json");
    push["source"] = json!("com.example");
    let said = post(&push).unwrap().to_string();
    assert_eq!(said, "ignored: \"ECR Image Action\" from \"com.example\" is not used");
}

#[test]
fn words_that_are_new_are_ignored_with_a_reason() {
    for (name, pointer, said) in [
        ("ecr/image-action-push.json", "/detail/action-type", "ignored: action \"NEW\" is not used"),
        ("ecr/image-scan-complete.json", "/detail/scan-status", "ignored: scan status \"NEW\" is not known"),
        ("ecr/scan-resource-change.json", "/detail/action-type", "ignored: action \"NEW\" is not used"),
        ("inspector/scan-complete.json", "/detail/scan-status", "ignored: scan status \"NEW\" is not known"),
        ("inspector/finding-active.json", "/detail/status", "ignored: finding status \"NEW\" is not known"),
        ("inspector/finding-active.json", "/detail/resources/0/type", "ignored: finding on \"NEW\", not on an image"),
        ("cloudwatch/alarm-sns.json", "/Type", "ignored: \"NEW\" of SNS is for a person to confirm"),
        ("cloudwatch/alarm-direct.json", "/source", "ignored: an alarm action from \"NEW\" is not used"),
    ] {
        let mut event = sample(name);
        *event.pointer_mut(pointer).unwrap() = json!("NEW");
        assert_eq!(post(&event).unwrap().to_string(), said, "{name}");
    }
}

#[test]
fn a_finding_in_two_images_is_two_facts_with_two_ids() {
    let mut event = sample("inspector/finding-active.json");
    let mut second = event["detail"]["resources"][0].clone();
    second["details"]["awsEcrContainerImage"]["imageHash"] = json!(format!("sha256:{}", "0".repeat(64)));
    event["detail"]["resources"].as_array_mut().unwrap().push(second);
    let Read::Facts(facts) = post(&event).unwrap() else { panic!() };
    let id = event["id"].as_str().unwrap();
    assert_eq!(facts.iter().map(|f| f.delivery.to_string()).collect::<Vec<_>>(), [id.to_owned(), format!("{id}/1")]);
}

#[test]
fn a_scan_with_every_severity_at_zero_is_a_scan_without_findings() {
    let mut event = sample("inspector/scan-complete.json");
    event["detail"]["finding-severity-counts"] = json!({"CRITICAL": 0, "HIGH": 0, "MEDIUM": 0, "TOTAL": 0});
    assert_eq!(post(&event).unwrap().to_string(), "fact: scan complete");
}

#[test]
fn one_contributor_of_an_alarm_is_not_the_alarm() {
    let mut direct = sample("cloudwatch/alarm-direct.json");
    direct["alarmData"]["alarmContributor"] = json!({"id": "6d442278dba546f6"});
    assert_eq!(post(&direct).unwrap().to_string(), "ignored: one contributor of an alarm changed, not the alarm");
}

#[test]
fn an_sns_message_that_is_something_else_is_told_apart_from_a_broken_alarm() {
    let mut sns = sample("cloudwatch/alarm-sns.json");
    sns["Message"] = json!("{\"hello\": 1}");
    let said = post(&sns).unwrap().to_string();
    assert_eq!(said, "ignored: the SNS message is neither an alarm nor an EventBridge event");
    sns["Message"] = json!("not json");
    assert!(error(&sns).starts_with("Message: is not JSON: expected"), "{}", error(&sns));
    sns["Message"] = json!("{\"AlarmName\": \"a\"}");
    assert_eq!(error(&sns), "Message.AlarmArn: is missing");
}

#[test]
fn an_error_shows_little_of_what_was_sent_and_nothing_raw() {
    let mut push = sample("ecr/image-action-push.json");
    push["detail"]["repository-name"] = json!(format!("\u{202e}{}", "A".repeat(400)));
    let said = error(&push);
    assert!(said.starts_with("detail.repository-name: \"\\u{202e}AAA"), "{said}");
    assert!(said.matches('A').count() < 81, "{said}");
}
