//! Every file of `events/`, posted to a running `serve`, does what its line in `events/README.md` says; whatever is
//! mangled is refused with a reason and changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should fail")]

use std::collections::BTreeSet;

use hyper::Method;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::TargetId;
use portcullis_domain::policy::Severity;
use portcullis_embedded::local::Build;
use portcullis_tests::api::{Answer, Api, EVENTS_TOKEN, events};
use portcullis_tests::installation::{Installation, target};
use portcullis_tests::ledger::Ledger;
use portcullis_tests::policy::{ALARMS, PolicyText};
use portcullis_tests::samples::{self, alarm_at, sample};
use portcullis_tests::server::Server;
use portcullis_tests::traffic::Traffic;
use portcullis_tests::wait::{self, SOON};
use serde_json::{Value, json};

const APP: &str = "volteryde";
const NEST: &str = "nestjs-service";
const SPRING: &str = "springboot-service";
const WORKERS: &str = "temporal-workers";
const SERVICES: &[(&str, bool)] = &[(NEST, false), (SPRING, false), (WORKERS, true)];
/// The commit that the samples speak of.
const COMMIT: &str = "8f3c2a1b6d0e4f7792c5a8e31b04d6f9a7c2e510";

/// An installation of the application that the samples speak of, and its server.
struct Volteryde {
    home: Installation,
    server: Server,
    target: TargetId,
    api: Api,
    kofi_token: String,
}

fn digest_of(sample_name: &str) -> Digest {
    let event = sample(sample_name);
    let image = &event["detail"]["image-digest"];
    image.as_str().unwrap_or_else(|| panic!("{sample_name} names no image")).parse().unwrap()
}

/// The images that the samples speak of.
fn image_of(service: &str) -> Digest {
    match service {
        NEST => digest_of("ecr/image-action-push.json"),
        SPRING => digest_of("ecr/image-scan-failed.json"),
        WORKERS => digest_of("ecr/image-action-push-untagged.json"),
        other => panic!("{other}"),
    }
}

impl Volteryde {
    async fn open(policy: &PolicyText) -> Self {
        let home = Installation::new(&[policy]);
        home.baseline(policy, "v1").await;
        home.alarms_are_ok().await;
        let kofi_token = home.person("kofi");
        let server = Server::start(&home).await;
        Self { home, target: target(APP), api: server.api().with(&kofi_token), server, kofi_token }
    }

    /// Puts an image of the samples' commit into the registry, scanned without findings.
    fn image(&self, service: &str) {
        let digest = image_of(service);
        self.home.image(APP, service, &digest, &[COMMIT]);
        self.home.scan(APP, service, &digest, &[]);
        self.home.build(&digest, &Build::new("v2"));
    }

    fn commit(&self) {
        self.home.commit(COMMIT, None, &["main"]);
    }

    /// Tells of all images of the samples' commit, so that a release of it is complete.
    async fn push_all(&self) {
        self.commit();
        for (service, _) in SERVICES {
            self.image(service);
            let push = samples::push(APP, service, &image_of(service), Some(COMMIT));
            assert_eq!(self.api.event(&push).await.status, 200);
        }
    }

    /// A release of the samples' commit that waits for an approval.
    async fn waiting(&self) -> Value {
        self.push_all().await;
        self.api.until_asked(COMMIT).await
    }

    /// A release of the samples' commit that serves.
    async fn serving(&self) -> Value {
        self.push_all().await;
        self.api.until_state(COMMIT, "watching").await
    }

    async fn post(&self, name: &str) -> Answer {
        self.api.try_event(samples::bytes(name)).await.unwrap()
    }

    /// Posts what must be taken for the target of these tests.
    async fn taken(&self, event: &Value) {
        let answer = self.api.event(event).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "targets": ["volteryde/production"] })), "{event}");
    }

    /// The ledger's end.
    async fn end(&self) -> u64 {
        Ledger::open(self.server.data()).ends().await.get(&self.target).map_or(0, |seq| seq.0)
    }

    /// The end of the ledger, and what the API shows of everything.
    async fn all(&self) -> Value {
        let releases = self.api.read("/api/releases").await;
        let details = match releases[0]["id"].as_u64() {
            Some(id) => self.api.release(&json!(id)).await,
            None => Value::Null,
        };
        json!([self.end().await, self.api.targets().await, releases, details, self.api.read("/api/scopes").await])
    }
}

/// Looked at again only on a hint, so that whatever changes, a hint did it.
fn policy() -> PolicyText {
    let mut policy = PolicyText::new(APP, SERVICES).looks_on_hints_only();
    policy.watch.push(ALARMS.to_owned());
    policy
}

fn verdict(detail: &Value, gate: &str) -> Value {
    let gates = detail["gates"]["gates"].as_array().into_iter().flatten();
    gates.into_iter().find(|one| one["gate"] == gate).map_or(Value::Null, |one| one["verdict"].clone())
}

#[test]
fn every_sample_has_its_line_in_the_readme() {
    let told: BTreeSet<String> = samples::lines().into_iter().map(|line| line.file).collect();
    let there: BTreeSet<String> = samples::names().into_iter().collect();
    assert_eq!(told, there);
    assert!(there.len() >= 18, "{there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered_as_the_readme_reads_it_and_what_is_ignored_changes_nothing() {
    let volteryde = Volteryde::open(&policy()).await;
    for line in samples::lines() {
        let before = volteryde.all().await;
        let answer = volteryde.post(&line.file).await;
        match line.ignored() {
            Some(reason) => {
                assert_eq!((answer.status, answer.json()), (202, json!({ "ignored": reason })), "{line:?}");
                assert_eq!(volteryde.all().await, before, "{line:?}");
            }
            // A push whose commit nobody knows says nothing to anybody.
            None if line.file == "ecr/image-action-push-untagged.json" => {
                assert_eq!(answer.status, 202, "{line:?}: {answer:?}");
                assert_eq!(volteryde.all().await, before, "{line:?}");
            }
            None => {
                let targets = json!({ "targets": ["volteryde/production"] });
                assert_eq!((answer.status, answer.json()), (200, targets), "{line:?}");
                // On an idle target only alarms are news.
                if !line.file.starts_with("cloudwatch/") {
                    assert_eq!(volteryde.all().await, before, "{line:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_the_branch_opens_a_release_of_its_commit_and_a_redelivery_changes_nothing() {
    let volteryde = Volteryde::open(&policy()).await;
    volteryde.commit();
    volteryde.image(NEST);
    volteryde.taken(&sample("ecr/image-action-push.json")).await;
    let release = volteryde.api.until("opened", COMMIT, |release| release["state"] == "gathering").await;
    assert_eq!((&release["target"], &release["requested_by"]), (&json!("volteryde/production"), &Value::Null));
    let detail = volteryde
        .api
        .until_detail("it has looked", &release["id"], |detail| !events(detail, "facts_read").is_empty())
        .await;
    assert_eq!(detail["release"]["artifacts"][NEST]["digest"], json!(image_of(NEST)), "{detail}");
    let before = volteryde.all().await;
    for _ in 0..3 {
        volteryde.taken(&sample("ecr/image-action-push.json")).await;
    }
    assert_eq!(volteryde.all().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_elsewhere_does_nothing_but_complete_a_release_that_is_open() {
    let mut elsewhere = policy();
    elsewhere.branch = "release".to_owned();
    let volteryde = Volteryde::open(&elsewhere).await;
    volteryde.commit();
    let before = volteryde.all().await;
    volteryde.taken(&sample("ecr/image-action-push.json")).await;
    assert_eq!(volteryde.all().await, before);

    volteryde.image(SPRING);
    let start = json!({ "command": "start", "commit": COMMIT, "reason": "try it" });
    let answer = volteryde.api.command(&volteryde.target, &start).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let release = volteryde.api.until("opened", COMMIT, |release| release["state"] == "gathering").await;
    volteryde.image(NEST);
    // A delivery of its own: the one before was of a push that meant nothing then.
    let mut push = sample("ecr/image-action-push.json");
    push["id"] = json!("6c4f1b53-2d7e-4d7c-9b0f-3f7f6f4f8a01");
    volteryde.taken(&push).await;
    let detail = volteryde.api.release(&release["id"]).await;
    assert_eq!(detail["release"]["artifacts"][NEST]["digest"], json!(image_of(NEST)), "{detail}");
    assert_eq!(volteryde.api.releases(&volteryde.target).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untagged_push_counts_by_the_tag_that_the_registry_has() {
    let volteryde = Volteryde::open(&policy()).await;
    volteryde.commit();
    volteryde.image(NEST);
    volteryde.taken(&sample("ecr/image-action-push.json")).await;
    let release = volteryde.api.until("opened", COMMIT, |release| release["state"] == "gathering").await;
    let id = &release["id"];
    volteryde.api.until_detail("it has looked", id, |detail| !events(detail, "facts_read").is_empty()).await;
    let before = volteryde.all().await;
    let untagged = sample("ecr/image-action-push-untagged.json");
    assert_eq!(volteryde.api.event(&untagged).await.status, 202, "the registry has no tag of it");
    assert_eq!(volteryde.all().await, before);
    volteryde.image(WORKERS);
    volteryde.taken(&untagged).await;
    let detail = volteryde.api.release(id).await;
    assert_eq!(detail["release"]["artifacts"][WORKERS]["digest"], json!(image_of(WORKERS)), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_image_makes_its_targets_look_again() {
    let volteryde = Volteryde::open(&policy()).await;
    let deleted = sample("ecr/image-action-delete.json");
    let digest = digest_of("ecr/image-action-delete.json");
    let commit = deleted["detail"]["image-tag"].as_str().unwrap();
    volteryde.home.commit(commit, None, &["main"]);
    for (service, _) in SERVICES {
        let image = if *service == NEST { digest } else { Digest::of(service.as_bytes()) };
        volteryde.home.image(APP, service, &image, &[commit]);
        volteryde.home.scan(APP, service, &image, &[]);
        volteryde.taken(&samples::push(APP, service, &image, Some(commit))).await;
    }
    let release = volteryde.api.until_asked(commit).await;
    let detail = volteryde.api.release(&release["id"]).await;
    assert_eq!(verdict(&detail, "images"), "pass", "{detail}");
    volteryde.home.remove_image(APP, NEST, &digest);
    volteryde.taken(&deleted).await;
    let held = |detail: &Value| verdict(detail, "images") == "hold";
    volteryde.api.until_detail("the image is missed", &release["id"], held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_scan_frequency_makes_its_targets_look_again() {
    let volteryde = Volteryde::open(&policy()).await;
    let release = volteryde.waiting().await;
    volteryde.home.scan(APP, NEST, &image_of(NEST), &[(Severity::Low, 3)]);
    volteryde.taken(&sample("ecr/scan-resource-change.json")).await;
    let planned = |now: &Value| now["plan"].is_string() && now["plan"] != release["plan"];
    volteryde.api.until("a new plan with what the registry says now", COMMIT, planned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_told_worse_than_known_holds_a_release_until_the_registry_was_asked_again() {
    let volteryde = Volteryde::open(&policy()).await;
    let release = volteryde.waiting().await;
    let id = &release["id"];
    let doubts = |detail: &Value| events(detail, "doubted").len();
    let worse = [
        "ecr/image-scan-complete.json",
        "ecr/image-scan-failed.json",
        "inspector/scan-complete.json",
        "inspector/finding-active.json",
    ];
    for (before, name) in worse.into_iter().enumerate() {
        volteryde.taken(&sample(name)).await;
        let detail = volteryde
            .api
            .until_detail(name, id, |detail| doubts(detail) == before + 1 && detail["release"]["doubt"].is_null())
            .await;
        // The registry says that nothing was found: the message alone made nothing better and nothing worse.
        assert_eq!((&detail["state"], &detail["plan"]), (&json!("gated"), &release["plan"]), "{name}");
        let ledger = detail["ledger"].as_array().unwrap();
        let doubted = ledger.iter().rposition(|event| event["event"] == "doubted").unwrap();
        assert!(ledger[doubted..].iter().any(|event| event["event"] == "facts_read"), "{name}: {detail}");
    }
    // What the registry confirms stays: a critical finding blocks.
    volteryde.home.scan(APP, SPRING, &image_of(SPRING), &[(Severity::Critical, 1)]);
    let mut again = sample("inspector/finding-active.json");
    again["id"] = json!("71c9f6a4-1b1f-4a5e-8a5f-08d1c5c0b7aa");
    volteryde.taken(&again).await;
    let rejected = volteryde.api.until_state(COMMIT, "rejected").await;
    assert!(rejected["why"].as_str().unwrap().starts_with("scan"), "{rejected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_never_makes_a_verdict_better() {
    let volteryde = Volteryde::open(&policy()).await;
    volteryde.commit();
    for (service, _) in SERVICES {
        volteryde.image(service);
    }
    // Nobody has scanned it yet.
    let unscanned = image_of(NEST);
    volteryde.home.remove_image(APP, NEST, &unscanned);
    volteryde.home.image(APP, NEST, &unscanned, &[COMMIT]);
    for (service, _) in SERVICES {
        volteryde.taken(&samples::push(APP, service, &image_of(service), Some(COMMIT))).await;
    }
    volteryde.api.until("held", COMMIT, |now| now["state"] == "gated" && now["plan"].is_string()).await;
    let held = |detail: &Value| verdict(detail, "scan") == "hold";
    let id = volteryde.api.releases(&volteryde.target).await[0]["id"].clone();
    volteryde.api.until_detail("no scan holds", &id, held).await;
    for name in ["ecr/image-scan-complete.json", "inspector/scan-complete.json", "inspector/finding-closed.json"] {
        let answer = volteryde.post(name).await;
        assert!(answer.status < 300, "{name}: {answer:?}");
    }
    // A look that comes after all of them has seen what the registry says, and that is nothing.
    volteryde.home.scan(APP, WORKERS, &image_of(WORKERS), &[(Severity::Low, 1)]);
    volteryde.taken(&sample("ecr/scan-resource-change.json")).await;
    let looked = |detail: &Value| detail["release"]["facts"]["scans"].to_string().contains("\"low\"");
    let detail = volteryde.api.until_detail("it has looked", &id, looked).await;
    assert!(held(&detail), "{detail}");
}

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

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_acknowledged_survives_a_kill() {
    let mut volteryde = Volteryde::open(&policy()).await;
    volteryde.commit();
    volteryde.image(NEST);
    for round in 0..3 {
        let mut push = samples::push(APP, NEST, &image_of(NEST), Some(COMMIT));
        push["id"] = json!(format!("delivery-{round}"));
        volteryde.taken(&push).await;
        volteryde.server.kill9();
        volteryde.server.spawn();
        volteryde.server.ready().await;
        let releases = wait::until("the release is there", SOON, async || {
            let releases = volteryde.api.get("/api/releases").await?.json();
            if releases.as_array().is_some_and(|all| all.len() == 1) { Ok(releases) } else { Err(releases.to_string()) }
        })
        .await;
        assert_eq!(releases[0]["commit"], COMMIT);
    }
    Ledger::open(volteryde.server.data()).verified(&volteryde.target).await;
}
