//! The functions, what is promised of each, and what each is invoked with.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::moto::{Made, Moto, REGION};

/// What GitHub's and Slack's webhooks are signed with.
pub(crate) const SECRET: &str = "It's a Secret to Everybody";
/// The signature of `{}` with it.
const SIGNED: &str = "sha256=50b0123e6e44430d2c43ecca0ee520d961ffd326425c07859f70a57161c3ebcd";
const ACCOUNT: &str = "123456789012";

/// A policy of one environment in the emulator's account.
pub(crate) const POLICY: &str = r#"
portcullis: 1
application: bench
registry: 123456789012.dkr.ecr.us-east-1.amazonaws.com/bench
tags: ["{sha}"]
services:
  web: {}
environments:
  production:
    mode: deploy
    account: "123456789012"
    region: us-east-1
    cluster: bench
    namespace: bench
    branch: main
    gates: { approvals: [1 of owners] }
    backup: { keep: 1d }
    strategy: blue-green
    watch:
      for: 5m
      healthy: { error_rate: below 1% }
      alarms: { roll_back: ["bench-*"] }
    roll_back: { window: 1h, keep_old: 1h }
metrics: { preset: local }
people:
  amara: { github: amara }
groups:
  owners: [kofi]
"#;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Promise {
    /// The size of the program, below so many megabytes.
    pub(crate) size: f64,
    /// The cold start, at most so many times that of hello.
    pub(crate) cold_start: f64,
    /// The most memory, below so many megabytes.
    pub(crate) memory: f64,
}

/// What is promised of a function that takes something in.
const INGEST: Option<Promise> = Some(Promise { size: 6.0, cold_start: 1.5, memory: 25.0 });
/// What is promised of the driver.
const DRIVER: Option<Promise> = Some(Promise { size: 12.0, cold_start: 2.5, memory: 40.0 });

/// One function.
pub(crate) struct Function {
    /// Its name, and its program's.
    pub(crate) name: &'static str,
    /// What is promised of it; none = it is measured for its own sake.
    pub(crate) promise: Option<Promise>,
    /// What it is invoked with.
    pub(crate) event: Event,
}

/// What a function is invoked with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// A sample of `events/`, as if it came from the emulator's account.
    Sample(&'static str),
    /// GitHub's ping, signed.
    GitHub,
    /// A request of Slack's that is not signed: it is refused after the secret was read.
    Slack,
    /// A batch with a wake that `our-calls` has sent.
    Wakes,
    /// The clock.
    Clock,
}

/// Every function, in the order of an event's way.
pub(crate) const FUNCTIONS: &[Function] = &[
    Function { name: "on-image-push", promise: INGEST, event: Event::Sample("ecr/image-action-push.json") },
    Function { name: "on-scan-result", promise: INGEST, event: Event::Sample("ecr/image-scan-complete.json") },
    Function { name: "on-alarm", promise: INGEST, event: Event::Sample("cloudwatch/alarm-eventbridge-metric.json") },
    Function { name: "on-github-event", promise: INGEST, event: Event::GitHub },
    Function { name: "on-approval", promise: INGEST, event: Event::Slack },
    Function { name: "run-release", promise: DRIVER, event: Event::Wakes },
    Function { name: "sweep", promise: None, event: Event::Clock },
    Function { name: "notify", promise: None, event: Event::Clock },
];

impl Event {
    /// The body of the invocation of this number: each event is another one.
    ///
    /// # Errors
    /// A sample is not there, or no wake is on the queue.
    pub(crate) fn body(self, moto: &Moto, made: &Made, time: u32) -> Result<Vec<u8>> {
        let body = match self {
            Self::Sample(path) => sample(path, time)?,
            Self::GitHub => {
                let headers = [
                    ("x-hub-signature-256", SIGNED),
                    ("x-github-event", "ping"),
                    ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
                ];
                request("/github/webhooks", &headers)
            }
            Self::Slack => request("/slack/interactivity", &[]),
            Self::Wakes => {
                let wake = moto.receive(&made.wakes)?.context("no wake is on the queue")?;
                json!({ "Records": [{
                    "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
                    "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
                    "body": wake,
                    "attributes": {},
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                    "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:wakes"),
                    "awsRegion": REGION,
                }] })
            }
            Self::Clock => json!({}),
        };
        Ok(body.to_string().into_bytes())
    }
}

/// A sample, from the emulator's account and about what the policy names.
fn sample(path: &str, time: u32) -> Result<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(path);
    let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let mut event: Value = serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))?;
    event["id"] = json!(format!("00000000-0000-4000-8000-{time:012}"));
    event["account"] = json!(ACCOUNT);
    event["region"] = json!(REGION);
    for (field, value) in [("repository-name", "bench/web"), ("alarmName", "bench-5xx")] {
        if event["detail"][field].is_string() {
            event["detail"][field] = json!(value);
        }
    }
    Ok(event)
}

/// A POST of payload format 2.0 with the body `{}`.
fn request(path: &str, headers: &[(&str, &str)]) -> Value {
    let mut all: serde_json::Map<String, Value> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    all.insert("content-type".to_owned(), json!("application/json"));
    json!({
        "version": "2.0",
        "routeKey": format!("POST {path}"),
        "rawPath": path,
        "rawQueryString": "",
        "headers": all,
        "requestContext": { "http": { "method": "POST", "path": path, "sourceIp": "192.0.2.1" } },
        "body": "{}",
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_function_is_measured() {
        let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions")).unwrap();
        let there: BTreeSet<String> =
            folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
        let measured: BTreeSet<String> = FUNCTIONS.iter().map(|function| function.name.to_owned()).collect();
        assert_eq!(measured, there);
    }

    #[test]
    fn the_policy_is_one_and_the_samples_concern_it() {
        let set = portcullis_policy::load(&[("bench.yaml".to_owned(), POLICY.to_owned())]).unwrap();
        assert_eq!(set.policies[0].target.to_string(), "bench/production");
        let of = |path| sample(path, 0).unwrap();
        assert_eq!(of("ecr/image-action-push.json")["detail"]["repository-name"], "bench/web");
        assert_eq!(of("cloudwatch/alarm-eventbridge-metric.json")["detail"]["alarmName"], "bench-5xx");
        for function in FUNCTIONS {
            if let Event::Sample(path) = function.event {
                assert_eq!((&of(path)["account"], &of(path)["region"]), (&json!(ACCOUNT), &json!(REGION)), "{path}");
            }
        }
    }
}
