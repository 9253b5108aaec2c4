//! Whatever is mangled or comes without a token is refused with a reason and changes nothing.

use hyper::Method;
use portcullis_tests::api::EVENTS_TOKEN;
use portcullis_tests::samples::{self, sample};
use serde_json::{Value, json};

use crate::{Volteryde, policy};

/// The places of a sample without which it is nothing.
fn needed(name: &str, event: &Value) -> Vec<&'static str> {
    match name {
        "cloudwatch/unknown.json" => vec!["/detail-type", "/source"],
        "cloudwatch/alarm-sns.json" => vec!["/Type", "/MessageId", "/Timestamp", "/Message"],
        "cloudwatch/alarm-direct.json" => vec![
            "/source",
            "/alarmArn",
            "/accountId",
            "/time",
            "/region",
            "/alarmData",
            "/alarmData/alarmName",
            "/alarmData/state",
            "/alarmData/state/value",
            "/alarmData/state/timestamp",
        ],
        _ => {
            let envelope = ["/id", "/detail-type", "/source", "/account", "/time", "/region", "/detail"];
            let own = [
                "/detail/repository-name",
                "/detail/image-digest",
                "/detail/action-type",
                "/detail/scan-status",
                "/detail/repositories",
                "/detail/severity",
                "/detail/alarmName",
                "/detail/state",
                "/detail/state/value",
                "/detail/state/timestamp",
            ];
            let ignored =
                ["ecr/image-action-push-failure.json", "inspector/scan-ec2.json", "inspector/finding-closed.json"];
            let own = own.into_iter().filter(|_| !ignored.contains(&name));
            envelope.into_iter().chain(own.filter(|place| event.pointer(place).is_some())).collect()
        }
    }
}

/// The event without one place, or with something else there.
fn with(event: &Value, place: &str, to: Option<&Value>) -> Value {
    let mut event = event.clone();
    let (parent, key) = place.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match to {
        Some(to) => drop(parent.insert(key.to_owned(), to.clone())),
        None => drop(parent.remove(key).unwrap()),
    }
    event
}

/// Every mangled variant of a sample, with what was done to it and whether it is from elsewhere.
fn mangled(name: &str, is_fact: bool) -> Vec<(String, Vec<u8>, bool)> {
    let bytes = samples::bytes(name);
    let text = String::from_utf8(bytes.clone()).unwrap();
    let event = sample(name);
    let mut variants: Vec<(String, Vec<u8>, bool)> = Vec::new();
    let mut add = |what: String, body: Vec<u8>| variants.push((what, body, false));
    for place in needed(name, &event) {
        add(format!("without {place}"), with(&event, place, None).to_string().into_bytes());
        for wrong in [json!(17), json!(["x"]), json!(true), Value::Null] {
            let body = with(&event, place, Some(&wrong)).to_string().into_bytes();
            add(format!("with {wrong} as {place}"), body);
        }
    }
    let whole = text.trim_end();
    add("cut off".to_owned(), whole.as_bytes()[..whole.len() / 2].to_vec());
    add("with a trailing comma".to_owned(), format!("{},}}", whole.strip_suffix('}').unwrap()).into_bytes());
    add("twice".to_owned(), format!("{whole}{whole}").into_bytes());
    add("in an array".to_owned(), format!("[{whole}]").into_bytes());
    add("in a string".to_owned(), json!(whole).to_string().into_bytes());
    add("not UTF-8".to_owned(), [&b"\xff\xfe"[..], &bytes].concat());
    let more = |more: String| format!("{},\"more\":{more}}}", whole.strip_suffix('}').unwrap()).into_bytes();
    for depth in [64, 1_000, 200_000] {
        add(format!("with {depth} arrays in it"), more(format!("{}{}", "[".repeat(depth), "]".repeat(depth))));
    }
    add("with 60,000 objects in it".to_owned(), more(format!("{}1{}", "{\"a\":".repeat(60_000), "}".repeat(60_000))));
    add("too large".to_owned(), format!("{whole}{}", " ".repeat(1024 * 1024 + 1 - whole.len())).into_bytes());
    add("far too large".to_owned(), more(format!("\"{}\"", "x".repeat(3 * 1024 * 1024))));
    if is_fact {
        let account = |text: &str| text.replace("444444444444", "999999999999").replace("333333333333", "999999999999");
        let region = |text: &str| text.replace("us-east-1", "eu-west-9");
        variants.push(("from another account".to_owned(), account(whole).into_bytes(), true));
        variants.push(("from another region".to_owned(), region(whole).into_bytes(), true));
        // An account that may speak for one environment may not speak for another's registry or alarms. (An SNS topic
        // may be anywhere: what counts is the alarm in its message.)
        let from = whole.find("\"Message\"").unwrap_or(0);
        let (head, tail) = whole.split_at(from);
        let tail = tail.replacen("444444444444", "999999999999", 1).replacen("333333333333", "999999999999", 1);
        let half = format!("{head}{tail}");
        variants.push(("with the account changed in one place".to_owned(), half.into_bytes(), true));
    }
    variants
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_mangled_is_refused_with_a_reason_and_changes_nothing() {
    let volteryde = Volteryde::open(&policy()).await;
    volteryde.waiting().await;
    let before = volteryde.all().await;
    let mut refused = 0;
    for line in samples::lines() {
        for (what, body, foreign) in mangled(&line.file, line.ignored().is_none()) {
            let told = format!("{} {what}", line.file);
            let answer = volteryde.api.try_event(body).await.unwrap_or_else(|error| panic!("{told}: {error}"));
            assert!((400..500).contains(&answer.status), "{told}: {answer:?}");
            let reason = answer.reason();
            match answer.status {
                400 | 403 if foreign => {}
                400 => {
                    let field = answer.json()["field"].clone();
                    assert!(field.as_str().is_some_and(|field| !field.is_empty()), "{told}: {answer:?}");
                }
                413 => assert!(what.ends_with("too large") && reason.contains("1048576"), "{told}: {answer:?}"),
                other => panic!("{told}: {other} {reason}"),
            }
            refused += 1;
        }
    }
    for (what, body) in [
        ("nothing", &b""[..]),
        ("blanks", b"  \n"),
        ("a word", b"hello"),
        ("XML", b"<a/>"),
        ("null", b"null"),
        ("{}", b"{}"),
    ] {
        let answer = volteryde.api.try_event(body.to_vec()).await.unwrap();
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        answer.reason();
    }
    assert_eq!(volteryde.all().await, before);
    println!("{refused} mangled events were refused");
    assert!(refused > 700, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_without_the_events_token_is_refused_unread_and_changes_nothing() {
    let volteryde = Volteryde::open(&policy()).await;
    volteryde.waiting().await;
    let before = volteryde.all().await;
    let longer = format!("Bearer {EVENTS_TOKEN}0");
    let shorter = format!("Bearer {}", &EVENTS_TOKEN[1..]);
    let capitals = format!("Bearer {}", EVENTS_TOKEN.to_uppercase());
    let person = format!("Bearer {}", volteryde.kofi_token);
    let basic = format!("Basic {EVENTS_TOKEN}");
    let tokens = [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some(EVENTS_TOKEN),
        Some(&longer),
        Some(&shorter),
        Some(&capitals),
        Some(&person),
        Some(&basic),
    ];
    let bodies = samples::names().into_iter().map(|name| samples::bytes(&name)).chain([b"hello".to_vec(), Vec::new()]);
    for body in bodies {
        for token in tokens {
            let answer = volteryde.api.send(Method::POST, "/events", token, body.clone()).await.unwrap();
            assert_eq!(answer.status, 401, "{token:?}: {answer:?}");
            answer.reason();
        }
    }
    assert_eq!(volteryde.all().await, before);
    // In the path or the query a token would be in every log between.
    let path = format!("/events?token={EVENTS_TOKEN}");
    let sent = volteryde.api.send(Method::POST, &path, None, samples::bytes("ecr/image-action-push.json")).await;
    assert_eq!(sent.unwrap().status, 401);
}
