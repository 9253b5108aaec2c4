//! Every sample of `events/` is sent as its sender sends it, and enters at the function that the template routes it to, or
//! at none, with the reason. A rule that is missing in a template, or too wide, fails here; so does a sample without a line.

use std::collections::BTreeSet;

use portcullis_tests::samples::{self, sample};
use portcullis_tests_aws::home::Home;
use portcullis_tests_aws::host::Ended;
use portcullis_tests_aws::stack::{Options, Stack};
use serde_json::Value;

/// How its sender hands it over.
#[derive(Debug, Clone, Copy)]
enum By {
    /// The account's default event bus.
    Bus,
    /// The alarm itself.
    Alarm,
    /// The topic that alarms may name.
    Topic,
}

/// What the function answers.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// It is in a ledger.
    Recorded,
    /// It was read, and says nothing: the reason.
    Ignored(&'static str),
}

/// At which function an event enters, and what that answers; or why at none.
type Enters = Result<(&'static str, Answer), &'static str>;

const PUSH: &str = "on-image-push";
const SCAN: &str = "on-scan-result";
const ALARM: &str = "on-alarm";

const SAMPLES: [(&str, By, Enters); 18] = [
    ("cloudwatch/alarm-direct.json", By::Alarm, Ok((ALARM, Answer::Recorded))),
    ("cloudwatch/alarm-eventbridge-composite-suppressed.json", By::Bus, Ok((ALARM, Answer::Recorded))),
    ("cloudwatch/alarm-eventbridge-metric-math.json", By::Bus, Ok((ALARM, Answer::Recorded))),
    ("cloudwatch/alarm-eventbridge-metric.json", By::Bus, Ok((ALARM, Answer::Recorded))),
    ("cloudwatch/alarm-ok.json", By::Bus, Ok((ALARM, Answer::Recorded))),
    ("cloudwatch/alarm-sns.json", By::Topic, Ok((ALARM, Answer::Recorded))),
    ("cloudwatch/unknown.json", By::Bus, Err("that an alarm was configured says nothing of what serves")),
    ("ecr/image-action-delete.json", By::Bus, Ok((PUSH, Answer::Recorded))),
    ("ecr/image-action-push-failure.json", By::Bus, Ok((PUSH, Answer::Ignored("push failed")))),
    // The registry of this test has no other tag of it.
    (
        "ecr/image-action-push-untagged.json",
        By::Bus,
        Ok((PUSH, Answer::Ignored("it concerns no environment of any policy"))),
    ),
    ("ecr/image-action-push.json", By::Bus, Ok((PUSH, Answer::Recorded))),
    ("ecr/image-scan-complete.json", By::Bus, Ok((SCAN, Answer::Recorded))),
    ("ecr/image-scan-failed.json", By::Bus, Ok((SCAN, Answer::Recorded))),
    ("ecr/scan-resource-change.json", By::Bus, Ok((SCAN, Answer::Recorded))),
    ("inspector/finding-active.json", By::Bus, Ok((SCAN, Answer::Recorded))),
    ("inspector/finding-closed.json", By::Bus, Ok((SCAN, Answer::Ignored("finding is closed")))),
    ("inspector/scan-complete.json", By::Bus, Ok((SCAN, Answer::Recorded))),
    ("inspector/scan-ec2.json", By::Bus, Err("an instance's scan is of no image; they come by the thousand")),
];

/// The application that the samples speak of.
const POLICY: &str = "\
portcullis: 1
application: volteryde
registry: 444444444444.dkr.ecr.us-east-1.amazonaws.com/volteryde
tags: [\"{sha}\"]

services:
  nestjs-service: {}
  springboot-service: { after: nestjs-service }
  temporal-workers: { after: springboot-service, kind: worker, overlap: never }

environments:
  production:
    mode: deploy
    account: \"333333333333\"
    region: us-east-1
    cluster: local
    namespace: volteryde-prod
    moving_tag: main-latest
    strategy: blue-green
    watch: { for: 5m, alarms: { roll_back: [\"volteryde-prod-app-*\"] } }
";

#[test]
fn every_sample_has_a_line() {
    let lines: Vec<&str> = SAMPLES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(lines, samples::names());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_enters_where_the_template_says() {
    let home = Home::new(&[]).await;
    let policies = vec![("volteryde.yaml".to_owned(), POLICY.to_owned())];
    let stack = Stack::start(Options { policies, driver: home.driver(), ..Options::default() }).await;
    let mut wrong = Vec::new();
    let mut entered = BTreeSet::new();
    for (name, by, enters) in SAMPLES {
        let event = sample(name);
        let asked = match by {
            By::Bus => stack.publish(&event).await,
            By::Alarm => stack.alarm_directly(&event).await,
            By::Topic => stack.notification("AlarmTopic", &event).await,
        };
        entered.extend(asked.iter().map(|(function, _)| function.to_string()));
        let functions: Vec<&str> = asked.iter().map(|(function, _)| function.as_str()).collect();
        let is_right = match (enters, asked.as_slice()) {
            (Err(_), []) => true,
            (Ok((function, answer)), [(asked, ended)]) if asked.as_str() == function => answered(ended, answer),
            _ => false,
        };
        if !is_right {
            let ended: Vec<&Ended> = asked.iter().map(|(_, ended)| ended).collect();
            wrong.push(format!("{name} ({by:?}): expected {enters:?}, was asked {functions:?}: {ended:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(entered.into_iter().collect::<Vec<_>>(), [ALARM, PUSH, SCAN]);
    for queue in ["AlarmUnrecorded", "ImagePushUnrecorded", "ScanResultUnrecorded"] {
        assert_eq!(stack.depth(queue).await, 0, "{queue} keeps an event that was recorded at once");
    }
}

fn answered(ended: &Ended, expected: Answer) -> bool {
    let Ended::Answered(answer) = ended else { return false };
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match expected {
        Answer::Recorded => answer["recorded"] == 1,
        Answer::Ignored(reason) => answer["ignored"] == reason,
    }
}
