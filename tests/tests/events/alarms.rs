//! Alarms, in each of their wrappings.

use portcullis_tests::api::events;
use portcullis_tests::ledger::Ledger;
use portcullis_tests::policy::{ALARMS, PolicyText};
use portcullis_tests::samples::{alarm_at, sample};
use portcullis_tests::traffic::Traffic;
use serde_json::{Value, json};

use crate::{APP, COMMIT, NEST, SERVICES, SPRING, Volteryde, image_of, policy};

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_shown_while_it_rings_however_it_comes() {
    let volteryde = Volteryde::open(&policy()).await;
    let ringing = async || volteryde.api.target(&volteryde.target).await["ringing"].clone();
    volteryde.taken(&sample("cloudwatch/alarm-eventbridge-metric.json")).await;
    assert_eq!(ringing().await, json!(["volteryde-prod-app-5xx"]));
    // The same change of the same alarm by two other ways is no news.
    let end = volteryde.end().await;
    volteryde.taken(&sample("cloudwatch/alarm-direct.json")).await;
    volteryde.taken(&sample("cloudwatch/alarm-sns.json")).await;
    assert_eq!(volteryde.end().await, end);
    volteryde.taken(&sample("cloudwatch/alarm-eventbridge-metric-math.json")).await;
    assert_eq!(ringing().await, json!(["volteryde-prod-app-5xx", "volteryde-prod-app-error-rate"]));
    let end = volteryde.end().await;
    volteryde.taken(&sample("cloudwatch/alarm-eventbridge-composite-suppressed.json")).await;
    assert_eq!(volteryde.end().await, end, "a suppressed alarm says nothing");
    volteryde.taken(&sample("cloudwatch/alarm-ok.json")).await;
    assert_eq!(ringing().await, json!(["volteryde-prod-app-error-rate"]));
    // One that comes late does not ring again.
    let end = volteryde.end().await;
    let mut late = sample("cloudwatch/alarm-eventbridge-metric.json");
    late["id"] = json!("b2a1f0c8-6f5e-4c57-8b5a-8f0a4b8f2c11");
    volteryde.taken(&late).await;
    assert_eq!(volteryde.end().await, end);
}

/// A policy by which everything goes live by itself, and is watched until an alarm rings.
fn watched() -> PolicyText {
    let mut policy = PolicyText::new(APP, SERVICES).without_gates().watched_on().looks_on_hints_only();
    policy.watch.push(ALARMS.to_owned());
    policy
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

async fn rolls_back_what_serves(name: &str) {
    let volteryde = Volteryde::open(&watched()).await;
    let release = volteryde.serving().await;
    let alarm = alarm_at(sample(name), now());
    volteryde.taken(&alarm).await;
    volteryde.api.until_state(COMMIT, "rolled_back").await;
    let detail = volteryde.api.release(&release["id"]).await;
    let why = events(&detail, "rollback_began")[0]["why"].clone();
    assert_eq!(why["kind"], "alarm", "{why}");
    assert!(why["alarm"].as_str().unwrap().starts_with("volteryde-prod-app-"), "{why}");
    let fold = Ledger::open(volteryde.server.data()).verified(&volteryde.target).await;
    for (service, serving) in &fold.state.live {
        assert_ne!(serving.digest, image_of(service.as_str()));
        assert_eq!(volteryde.home.serving(APP, service.as_str()), Some(serving.digest));
    }
    // The same alarm once more is no second rollback.
    let before = volteryde.all().await;
    volteryde.taken(&alarm).await;
    assert_eq!(volteryde.all().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_by_eventbridge_rolls_back_what_serves() {
    rolls_back_what_serves("cloudwatch/alarm-eventbridge-metric.json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_on_an_expression_rolls_back_what_serves() {
    rolls_back_what_serves("cloudwatch/alarm-eventbridge-metric-math.json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_handed_over_directly_rolls_back_what_serves() {
    rolls_back_what_serves("cloudwatch/alarm-direct.json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_by_sns_rolls_back_what_serves() {
    rolls_back_what_serves("cloudwatch/alarm-sns.json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_rolls_back_a_release_that_is_live_already() {
    let mut policy = PolicyText::new(APP, SERVICES).without_gates().looks_on_hints_only().window_open();
    policy.watch.push(ALARMS.to_owned());
    let volteryde = Volteryde::open(&policy).await;
    let nest = Traffic::start(volteryde.server.data(), APP, NEST, 30).await;
    let _spring = Traffic::start(volteryde.server.data(), APP, SPRING, 30).await;
    volteryde.push_all().await;
    volteryde.api.until_state(COMMIT, "live").await;
    volteryde.taken(&alarm_at(sample("cloudwatch/alarm-eventbridge-metric.json"), now())).await;
    volteryde.api.until_state(COMMIT, "rolled_back").await;
    assert_eq!(nest.answers().await, "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_rang_before_is_suppressed_or_is_over_rolls_nothing_back() {
    let volteryde = Volteryde::open(&watched()).await;
    let before = now() - jiff::SignedDuration::from_hours(1);
    let release = volteryde.serving().await;
    let suppressed = alarm_at(sample("cloudwatch/alarm-eventbridge-composite-suppressed.json"), now());
    for event in [
        alarm_at(sample("cloudwatch/alarm-eventbridge-metric-math.json"), before),
        suppressed,
        alarm_at(sample("cloudwatch/alarm-ok.json"), now()),
    ] {
        volteryde.taken(&event).await;
    }
    let detail = volteryde.api.release(&release["id"]).await;
    assert_eq!(detail["state"], "watching", "{detail}");
    // The alarm before it and the one that is over were recorded, the suppressed one was not.
    let seen: Vec<&Value> = events(&detail, "alarm_seen").into_iter().map(|event| &event["alarm"]).collect();
    assert_eq!(seen, ["volteryde-prod-app-error-rate", "volteryde-prod-app-5xx"], "{detail}");
    volteryde.taken(&alarm_at(sample("cloudwatch/alarm-direct.json"), now())).await;
    volteryde.api.until_state(COMMIT, "rolled_back").await;
}
