//! Samples with something broken: the field is named, nothing panics, and what does not count changes nothing.

use portcullis_domain::signal::FactKind;
use portcullis_ingest::{MAX_BODY, MAX_DEPTH, Malformed, Read, read};
use serde_json::{Value, json};

use crate::support::{Step, changed, places, sample, samples};

/// What a place in a sample is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Without it, or with something else in it, the event is malformed there.
    Needed,
    /// It may be left out; if it is there it must be right.
    Optional,
    /// Shown to people: whatever it is, the rest stays as it was.
    Told,
    /// Nobody looks.
    Unused,
}

const ENVELOPE: [&str; 7] = ["id", "detail-type", "source", "account", "time", "region", "detail"];
const ALARM: [&str; 4] = ["alarmName", "state", "state.value", "state.timestamp"];

fn place(sample: &str, path: &str) -> Place {
    let (sender, file) = sample.split_once('/').unwrap();
    let detail = path.strip_prefix("detail.");
    let needed = match (sender, file.trim_end_matches(".json")) {
        (_, "unknown") => ["detail-type", "source"].contains(&path),
        _ if ENVELOPE.contains(&path) && !["alarm-direct", "alarm-sns"].contains(&stem(file)) => true,
        ("ecr", "image-action-push-failure") => matches!(detail, Some("result" | "action-type")),
        ("ecr", "scan-resource-change") => {
            matches!(detail, Some("action-type" | "repositories"))
                || (path.starts_with("detail.repositories[")
                    && (path.ends_with(']') || path.ends_with(".repository-name")))
        }
        ("ecr", name) => {
            let own = if name.starts_with("image-scan") { "scan-status" } else { "action-type" };
            matches!(detail, Some("repository-name" | "image-digest"))
                || detail == Some(own)
                || (detail == Some("result") && name.starts_with("image-action"))
        }
        ("inspector", "scan-complete") => {
            matches!(detail, Some("scan-status" | "repository-name" | "image-digest"))
        }
        ("inspector", "scan-ec2") => path == "resources" || path == "resources[0]",
        ("inspector", "finding-closed") => detail == Some("status"),
        ("inspector", "finding-active") => {
            let image = "resources[0].details.awsEcrContainerImage";
            let in_image = detail.and_then(|d| d.strip_prefix(image));
            matches!(
                detail,
                Some(
                    "status" | "severity" | "resources" | "resources[0]" | "resources[0].type" | "resources[0].details"
                )
            ) || matches!(in_image, Some("" | ".registry" | ".repositoryName" | ".imageHash"))
        }
        ("cloudwatch", "alarm-direct") => {
            ["source", "alarmArn", "accountId", "time", "region", "alarmData"].contains(&path)
                || path.strip_prefix("alarmData.").is_some_and(|p| ALARM.contains(&p))
        }
        ("cloudwatch", "alarm-sns") => {
            let fields = ["Message.AlarmArn", "Message.AlarmName", "Message.NewStateValue", "Message.StateChangeTime"];
            ["Type", "MessageId", "Timestamp", "Message"].contains(&path) || fields.contains(&path)
        }
        ("cloudwatch", _) => detail.is_some_and(|p| ALARM.contains(&p)),
        other => panic!("{other:?} has no rule here"),
    };
    let reasons = ["detail.state.reason", "alarmData.state.reason", "Message.NewStateReason"];
    let ignored = matches!(stem(file), "unknown" | "scan-ec2" | "finding-closed" | "image-action-push-failure");
    if needed {
        Place::Needed
    } else if reasons.contains(&path) && !ignored {
        Place::Told
    } else if !ignored
        && (matches!(path, "detail.image-tag" | "detail.state.actionsSuppressedBy" | "Message.AWSAccountId")
            || path.starts_with("detail.finding-severity-counts"))
    {
        Place::Optional
    } else {
        Place::Unused
    }
}

fn stem(file: &str) -> &str {
    file.trim_end_matches(".json")
}

/// The same without what is only told.
fn untold(said: Result<Read, Malformed>) -> Result<Read, Malformed> {
    said.map(|mut said| {
        if let Read::Facts(facts) = &mut said {
            for fact in facts {
                if let FactKind::AlarmChanged { reason, .. } = &mut fact.kind {
                    reason.clear();
                }
            }
        }
        said
    })
}

#[test]
fn every_place_of_every_sample_counts_as_it_should() {
    let huge = Value::String("x".repeat(100_000));
    let (mut named, mut tolerated, mut unchanged) = (0, 0, 0);
    for (name, bytes) in samples() {
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        let as_is = read(&bytes);
        for (path, steps) in places(&event) {
            let value = event_at(&event, &steps);
            let other = if value.is_string() { json!(17) } else { json!("seventeen") };
            let ways = [
                ("removed", None),
                ("null", Some(Value::Null)),
                ("of another type", Some(other)),
                ("an empty array", Some(json!([]))),
                ("huge", Some(huge.clone())),
                ("empty", Some(json!(""))),
            ];
            for (way, to) in ways {
                let said = read(changed(&event, &steps, to.as_ref()).to_string().as_bytes());
                let told = format!("{name}: {path} {way}: {said:?}");
                match place(&name, &path) {
                    Place::Unused => {
                        assert_eq!(said, as_is, "{told}");
                        unchanged += 1;
                    }
                    Place::Told => {
                        assert_eq!(untold(said), untold(as_is.clone()), "{told}");
                        unchanged += 1;
                    }
                    Place::Optional
                        if matches!(way, "removed" | "null") || (way == "empty" && path.ends_with("-tag")) =>
                    {
                        assert!(matches!(said, Ok(Read::Facts(_))), "{told}");
                        tolerated += 1;
                    }
                    Place::Needed | Place::Optional => {
                        // One of two repositories may go; nothing is left of an array that held one thing.
                        if path.ends_with(']') && way == "removed" && matches!(said, Ok(Read::Facts(_))) {
                            tolerated += 1;
                            continue;
                        }
                        let malformed = said.expect_err(&told);
                        let whole = path.rsplit_once('[').map_or("", |(array, _)| array);
                        let elsewhere =
                            name == "inspector/scan-ec2.json" && malformed.field == "detail.repository-name";
                        let of_array = path.ends_with(']') && malformed.field == whole;
                        assert!(malformed.field == path || of_array || elsewhere, "{told}");
                        assert!(malformed.to_string().len() < 500, "{malformed}");
                        named += 1;
                    }
                }
            }
        }
    }
    println!("{named} broken fields named, {tolerated} optional ones left out, {unchanged} changes of no account");
    assert!(named > 1000 && tolerated > 20 && unchanged > 1000);
}

fn event_at(event: &Value, steps: &[Step]) -> Value {
    steps.iter().fold(event.clone(), |value, step| match step {
        Step::Key(key) => value[key].clone(),
        Step::Index(i) => value[i].clone(),
        Step::Inside => serde_json::from_str(value.as_str().unwrap()).unwrap(),
    })
}

#[test]
fn a_sample_cut_off_anywhere_is_not_json() {
    let mut cuts = 0;
    for (name, bytes) in samples() {
        let whole = bytes.trim_ascii_end();
        for end in 0..whole.len() {
            let malformed = read(&whole[..end]).expect_err(&name);
            assert_eq!(malformed.field, "body", "{name} cut at {end}");
            cuts += 1;
        }
    }
    println!("{cuts} truncations refused");
}

#[test]
fn what_is_no_object_is_refused_in_words() {
    for (body, why) in [
        (&b""[..], "body: is not JSON: EOF while parsing a value at line 1 column 0"),
        (b"  ", "body: is not JSON: EOF while parsing a value at line 1 column 2"),
        (b"hello", "body: is not JSON: expected value at line 1 column 1"),
        (b"<xml/>", "body: is not JSON: expected value at line 1 column 1"),
        (b"[]", "body: must be a JSON object, not an array"),
        (b"[{}]", "body: must be a JSON object, not an array"),
        (b"null", "body: must be a JSON object, not null"),
        (b"17", "body: must be a JSON object, not a number"),
        (b"true", "body: must be a JSON object, not true or false"),
        (b"\"text\"", "body: must be a JSON object, not a string"),
        (b"{}", "body: is no EventBridge event, SNS notification or CloudWatch alarm action"),
        (b"{} {}", "body: is not JSON: trailing characters at line 1 column 4"),
        (b"\xff{}", "body: is not UTF-8 from byte 0"),
        (b"{\"a\":\"\xc3\"}", "body: is not UTF-8 from byte 6"),
        (b"{\"detail\":{}}", "source: is missing"),
    ] {
        assert_eq!(read(body).unwrap_err().to_string(), why, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_body_of_two_mebibytes_is_refused_and_one_of_one_is_read() {
    let event = sample("ecr/image-action-push.json").to_string();
    let padded = |size: usize| format!("{event}{}", " ".repeat(size - event.len()));
    assert!(read(padded(MAX_BODY).as_bytes()).is_ok());
    let why = format!("body: has {} bytes; at most {MAX_BODY} are read", 2 * MAX_BODY);
    assert_eq!(read(padded(2 * MAX_BODY).as_bytes()).unwrap_err().to_string(), why);
    assert!(read(padded(MAX_BODY + 1).as_bytes()).is_err());
}

#[test]
fn nesting_is_read_to_its_limit_and_refused_beyond() {
    let nested = |depth: usize| {
        let event = sample("ecr/image-action-push.json").to_string();
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        format!("{},\"more\":{deep}}}", event.strip_suffix('}').unwrap())
    };
    assert!(read(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
    let why = "body: nests deeper than 64 levels";
    assert_eq!(read(nested(MAX_DEPTH).as_bytes()).unwrap_err().to_string(), why);
    assert_eq!(read(nested(200_000).as_bytes()).unwrap_err().to_string(), why);
    assert_eq!(read("[".repeat(500_000).as_bytes()).unwrap_err().to_string(), why);
    assert_eq!(read("{\"a\":".repeat(100_000).as_bytes()).unwrap_err().to_string(), why);
    let mut sns = sample("cloudwatch/alarm-sns.json");
    sns["Message"] = json!("[".repeat(65));
    assert_eq!(read(sns.to_string().as_bytes()).unwrap_err().to_string(), "Message: nests deeper than 64 levels");
}

#[test]
fn of_a_key_written_twice_the_last_counts() {
    let event = sample("ecr/image-action-push.json").to_string();
    let twice = format!("{},\"account\":\"555555555555\"}}", event.strip_suffix('}').unwrap());
    let Ok(Read::Facts(facts)) = read(twice.as_bytes()) else { panic!() };
    assert_eq!(facts[0].account.as_deref(), Some("555555555555"));
}
