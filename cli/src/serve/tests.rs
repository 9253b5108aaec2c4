//! The server as its callers see it: started in this process, asked over HTTP.

use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use portcullis_domain::names::Subject;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::token::EventsTokens;
use super::{On, Stack, StackOptions, warnings};
use crate::args::{Adapters, ServeCluster};
use crate::client::{Answer, Client};
use crate::show::screen::Screen;

const TOKEN: &str = "an events token of a test";

const POLICY: &str = r#"
portcullis: 1
application: volteryde
registry: 444444444444.dkr.ecr.us-east-1.amazonaws.com/volteryde
tags: ["{sha}"]
services:
  nestjs-service: {}
environments:
  production:
    mode: deploy
    account: "333333333333"
    region: us-east-1
    cluster: volteryde-production
    namespace: volteryde-prod
    branch: main
    moving_tag: main-latest
    gates: { approvals: [1 of release-managers] }
    backup: { keep: 90d }
    strategy: blue-green
    watch:
      for: 5m
      healthy: { error_rate: below 1% }
      alarms: { roll_back: ["volteryde-prod-app-*"] }
    roll_back: { window: 24h, keep_old: 1h }
metrics: { preset: local }
people:
  amara: { github: amara }
groups:
  release-managers: [kofi]
"#;

struct Server {
    stack: Stack,
    directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let stack = stack(directory.path()).await;
        Self { stack, directory }
    }

    fn client(&self, token: &str) -> Client {
        Client::new(&format!("http://{}", self.stack.address), SecretString::from(token)).unwrap()
    }

    fn person(&self, name: &str) -> Client {
        let token = self.stack.people.add(&Subject::new(name).unwrap()).unwrap();
        self.client(token.expose_secret())
    }

    async fn event(&self, body: impl Into<Vec<u8>>) -> Answer {
        self.client(TOKEN).send(Method::POST, "/events", Some(body.into())).await.unwrap()
    }
}

async fn stack(directory: &Path) -> Stack {
    Stack::start(options(directory)).await.unwrap()
}

fn options(directory: &Path) -> StackOptions {
    let policy: PathBuf = directory.join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    StackOptions {
        policy: vec![policy],
        data: directory.join("data"),
        listen: ([127, 0, 0, 1], 0).into(),
        tokens: EventsTokens::parse(TOKEN).unwrap(),
        screen: Screen::PLAIN,
        adapters: Adapters::default(),
        cluster: On::Local,
    }
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn sample(path: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events").join(path);
    serde_json::from_slice(&std::fs::read(root).unwrap()).unwrap()
}

fn push() -> Value {
    sample("ecr/image-action-push.json")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_its_token_is_refused_whatever_it_says() {
    let server = Server::start().await;
    for token in ["x", "an events token of a tes", "an events token of a test2"] {
        let answer = server.client(token).send(Method::POST, "/events", Some(b"{".to_vec())).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token}");
    }
    server.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_of_ours_is_recorded_once_and_a_redelivery_says_the_same() {
    let server = Server::start().await;
    let alarm = sample("cloudwatch/alarm-eventbridge-metric.json").to_string();
    for _ in 0..2 {
        let answer = server.event(alarm.clone()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(body(&answer), json!({ "targets": ["volteryde/production"] }));
    }
    let targets = body(&server.person("kofi").send(Method::GET, "/api/targets", None).await.unwrap());
    assert_eq!(targets[0]["ringing"], json!(["volteryde-prod-app-5xx"]));
    // The alarm, and the first sight of the policy with it.
    assert_eq!(targets[0]["seq"], 2, "{targets}");
    server.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_nothing_here_is_accepted_and_ignored_with_its_reason() {
    let server = Server::start().await;
    for path in ["ecr/image-action-push-failure.json", "inspector/scan-ec2.json", "cloudwatch/unknown.json"] {
        let answer = server.event(sample(path).to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{path}");
        assert!(body(&answer)["ignored"].is_string(), "{path}");
    }
    let mut other = push();
    other["detail"]["repository-name"] = json!("volteryde/another");
    assert_eq!(server.event(other.to_string()).await.status, StatusCode::ACCEPTED);
    server.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mangled_events_get_a_clear_4xx_and_change_nothing() {
    let server = Server::start().await;
    let mut missing = push();
    missing["detail"].as_object_mut().unwrap().remove("image-digest");
    let mut wrong = push();
    wrong["detail"]["image-digest"] = json!(7);
    let mut foreign = push();
    foreign["account"] = json!("999999999999");
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let huge = vec![b' '; portcullis_ingest::MAX_BODY + 1];
    for (name, bytes, status, field) in [
        ("missing", missing.to_string().into_bytes(), StatusCode::BAD_REQUEST, Some("detail.image-digest")),
        ("wrong type", wrong.to_string().into_bytes(), StatusCode::BAD_REQUEST, Some("detail.image-digest")),
        ("foreign", foreign.to_string().into_bytes(), StatusCode::FORBIDDEN, None),
        ("not JSON", b"hello".to_vec(), StatusCode::BAD_REQUEST, Some("body")),
        ("deep", deep.into_bytes(), StatusCode::BAD_REQUEST, Some("body")),
        ("huge", huge, StatusCode::PAYLOAD_TOO_LARGE, None),
        ("empty", Vec::new(), StatusCode::BAD_REQUEST, Some("body")),
    ] {
        let answer = server.event(bytes).await;
        assert_eq!(answer.status, status, "{name}: {:?}", answer.body);
        let words = body(&answer);
        assert!(words["error"].is_string(), "{name}: {words}");
        assert_eq!(words.get("field").and_then(Value::as_str), field, "{name}: {words}");
    }
    let targets = body(&server.person("kofi").send(Method::GET, "/api/targets", None).await.unwrap());
    assert_eq!(targets[0]["seq"], 0, "{targets}");
    server.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_wants_a_persons_token_and_the_events_token_is_none() {
    let server = Server::start().await;
    for path in ["/api/targets", "/api/releases", "/api/releases/1", "/api/scopes"] {
        let answer = server.client(TOKEN).send(Method::GET, path, None).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let kofi = server.person("kofi");
    for (path, status) in [
        ("/api/releases", StatusCode::OK),
        ("/api/releases/1", StatusCode::NOT_FOUND),
        ("/api/releases?state=nonsense", StatusCode::BAD_REQUEST),
        ("/api/releases?target=volteryde", StatusCode::BAD_REQUEST),
        ("/nowhere", StatusCode::NOT_FOUND),
        ("/events", StatusCode::METHOD_NOT_ALLOWED),
        ("/healthz", StatusCode::OK),
    ] {
        assert_eq!(kofi.send(Method::GET, path, None).await.unwrap().status, status, "{path}");
    }
    server.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_carried_out_or_refused_with_why() {
    let server = Server::start().await;
    let (kofi, stranger) = (server.person("kofi"), server.person("stranger"));
    let path = "/api/targets/volteryde/production/commands";
    let freeze = json!({ "command": "hands_off", "until": 4_102_444_800_000_u64, "reason": "restoring" });
    let ask = |value: &Value| Some(value.to_string().into_bytes());

    let answer = stranger.send(Method::POST, path, ask(&freeze)).await.unwrap();
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(body(&answer)["error"].as_str().unwrap().contains("not in the policy"), "{:?}", answer.body);

    let approve = json!({ "command": "approve", "release": 9, "plan": "4be1-c07f" });
    assert_eq!(kofi.send(Method::POST, path, ask(&approve)).await.unwrap().status, StatusCode::CONFLICT);
    for wrong in [json!({ "command": "approve", "release": 9, "plan": "4be1-c07f", "who": "lena" }), json!({})] {
        assert_eq!(kofi.send(Method::POST, path, ask(&wrong)).await.unwrap().status, StatusCode::BAD_REQUEST);
    }
    let unknown = "/api/targets/volteryde/nowhere/commands";
    assert_eq!(kofi.send(Method::POST, unknown, ask(&approve)).await.unwrap().status, StatusCode::NOT_FOUND);

    let stop = json!({ "scope": "all", "stop": { "reason": "incident" } });
    assert_eq!(stranger.send(Method::POST, "/api/scopes", ask(&stop)).await.unwrap().status, StatusCode::CONFLICT);
    assert_eq!(kofi.send(Method::POST, "/api/scopes", ask(&stop)).await.unwrap().status, StatusCode::OK);
    let stops = body(&kofi.send(Method::GET, "/api/scopes", None).await.unwrap());
    assert_eq!((&stops[0]["stop"]["who"], &stops[0]["stop"]["reason"]), (&json!("kofi"), &json!("incident")));
    let lift = json!({ "scope": "all", "stop": null });
    assert_eq!(kofi.send(Method::POST, "/api/scopes", ask(&lift)).await.unwrap().status, StatusCode::OK);
    server.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_what_was_acknowledged() {
    let server = Server::start().await;
    let mut moving = push();
    moving["detail"]["image-tag"] = json!("8f3c2a1b6d0e4f7792c5a8e31b04d6f9a7c2e510");
    let digest = moving["detail"]["image-digest"].as_str().unwrap().parse().unwrap();
    put_image(server.directory.path(), digest);
    let answer = server.event(moving.to_string()).await;
    assert_eq!(body(&answer), json!({ "targets": ["volteryde/production"] }));
    server.stack.stop().await;

    let stack = stack(server.directory.path()).await;
    let server = Server { stack, directory: server.directory };
    let kofi = server.person("kofi");
    let release = body(&kofi.send(Method::GET, "/api/releases/1", None).await.unwrap());
    assert_eq!(release["target"], "volteryde/production");
    assert!(release["ledger"].as_array().unwrap().len() > 1, "{release}");
    let metrics = kofi.send(Method::GET, "/metrics", None).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.ends_with("# EOF\n") && metrics.contains("portcullis_releases{state=\"gated\"} 1"), "{metrics}");
    server.stack.stop().await;
}

fn put_image(directory: &Path, digest: portcullis_domain::digest::Digest) {
    use portcullis_domain::facts::ImageFact;
    use portcullis_domain::names::{Repository, Tag};
    use portcullis_domain::time::Timestamp;
    let registry = crate::layout::Layout::new(&directory.join("data")).registry();
    let registry = portcullis_embedded::registry::FileRegistry::new(&registry).unwrap();
    let repository = "444444444444.dkr.ecr.us-east-1.amazonaws.com/volteryde/nestjs-service";
    let tags = [Tag::new("8f3c2a1b6d0e4f7792c5a8e31b04d6f9a7c2e510").unwrap(), Tag::new("main-latest").unwrap()];
    let fact = ImageFact { tags: tags.into(), pushed_at: Timestamp(1), size: None };
    registry.put_image(&Repository::new(repository).unwrap(), &digest, &fact).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_breaker_reads_every_ledger() {
    let server = Server::start().await;
    server.event(sample("cloudwatch/alarm-eventbridge-metric.json").to_string()).await;
    let target = "volteryde/production".parse().unwrap();
    let began = std::time::Instant::now();
    while server.stack.ports.ledger.cursor("fleet", &target).await.unwrap().0 < 2 {
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "it does not read");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    server.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rollbacks_at_once_are_shown_until_a_person_lifts_them() {
    use portcullis_domain::names::ReleaseId;
    use portcullis_domain::scope::{FleetRollback, Scope, ScopeState};
    let server = Server::start().await;
    let at = server.stack.ports.clock.now();
    let rollback =
        |n: u64| FleetRollback { target: format!("app-{n}/production").parse().unwrap(), release: ReleaseId(n), at };
    let state = ScopeState { version: 1, rollbacks: (0..5).map(rollback).collect(), ..ScopeState::default() };
    assert!(server.stack.ports.ledger.set_scope(&Scope::All, &state).await.unwrap());
    let kofi = server.person("kofi");
    let targets = async || body(&kofi.send(Method::GET, "/api/targets", None).await.unwrap());
    assert_eq!(targets().await[0]["fleet"]["environments"].as_array().map(Vec::len), Some(5));
    let lift = json!({ "scope": "all", "stop": null }).to_string().into_bytes();
    assert_eq!(kofi.send(Method::POST, "/api/scopes", Some(lift)).await.unwrap().status, StatusCode::OK);
    assert_eq!(targets().await[0].get("fleet"), None);
    server.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_ledger_for_ever() {
    use portcullis_embedded::sqlite::SqliteStore;
    let on = |table: &str| Adapters { table: Some(table.to_owned()), ..Adapters::default() };
    let folder = tempfile::tempdir().unwrap();
    let layout = crate::layout::Layout::new(folder.path());
    let store = SqliteStore::open(folder.path()).unwrap();
    super::one_ledger(&layout, &store, &on("first")).await.unwrap();
    super::one_ledger(&layout, &store, &on("first")).await.unwrap();
    for other in [on("second"), Adapters::default()] {
        let error = super::one_ledger(&layout, &store, &other).await.unwrap_err().to_string();
        assert!(error.contains("the DynamoDB table first"), "{error}");
    }
    drop(store);
    let place = crate::args::Place { server: None, data: Some(folder.path().to_owned()), policy: Vec::new() };
    let error = crate::backend::Backend::open(&place, Screen::PLAIN).err().unwrap().to_string();
    assert!(error.contains("--server URL"), "an empty ledger is not shown in its place: {error}");

    // One that has a ledger of its own keeps it.
    let server = Server::start().await;
    server.event(sample("cloudwatch/alarm-eventbridge-metric.json").to_string()).await;
    server.stack.stop().await;
    let data = server.directory.path().join("data");
    let store = SqliteStore::open(&data).unwrap();
    let layout = crate::layout::Layout::new(&data);
    let error = super::one_ledger(&layout, &store, &on("first")).await.unwrap_err().to_string();
    assert!(error.contains("a ledger of its own"), "{error}");
    super::one_ledger(&layout, &store, &Adapters::default()).await.unwrap();
}

#[test]
fn a_server_says_plainly_what_it_cannot_measure() {
    let set = |text: &str| portcullis_policy::load(&[("p.yaml".to_owned(), text.to_owned())]).unwrap().policies;
    let policies = set(POLICY);
    let told = |adapters: &Adapters, cluster| warnings(adapters, cluster, &policies).join("\n");
    let (none, cloudwatch) = (Adapters::default(), Adapters { cloudwatch: true, ..Adapters::default() });
    assert_eq!(told(&none, ServeCluster::Local), "");
    let on_kubernetes = told(&none, ServeCluster::Kubeconfig);
    assert!(on_kubernetes.contains("nothing measures its traffic") && on_kubernetes.contains("alarms cannot be read"));
    assert!(told(&cloudwatch, ServeCluster::Kubeconfig).contains("metrics: { preset: alb }"));
    assert_eq!(told(&none, ServeCluster::Eks), on_kubernetes, "a cluster measures nothing, however it is reached");
    let alb = set(&POLICY.replace("preset: local", "preset: alb"));
    assert_eq!(warnings(&cloudwatch, ServeCluster::Kubeconfig, &alb), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_given_with_a_commit_once_and_listed_by_its_beginning() {
    const MANIFEST: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n  selector: {matchLabels: {app: x}}\n  \
        template:\n    metadata: {labels: {app: x}}\n    spec: {containers: [{name: x, image: registry/x}]}\n";
    let server = Server::start().await;
    let (kofi, commit) = (server.person("kofi"), "a1".repeat(20));
    let at = |target: &str, commit: &str, service: &str| format!("/api/targets/{target}/manifests/{commit}/{service}");
    let path = at("volteryde/production", &commit, "nestjs-service");
    let put = async |client: &Client, path: &str, text: &str| {
        client.send(Method::PUT, path, Some(text.as_bytes().to_vec())).await.unwrap()
    };
    for new in [true, false] {
        let answer = put(&kofi, &path, MANIFEST).await;
        assert_eq!((answer.status, &body(&answer)["new"]), (StatusCode::OK, &json!(new)));
    }
    let listed = kofi.send(Method::GET, "/api/targets/volteryde/production/manifests/a1a1a1a1", None).await.unwrap();
    assert_eq!(body(&listed)[0]["service"], "nestjs-service");
    let (too_large, other) = ("#".repeat(256 * 1024 + 1), MANIFEST.replace("registry/x", "registry/y"));
    for (path, text, status, words) in [
        (path.clone(), other.as_str(), StatusCode::CONFLICT, "in a commit of their own"),
        (path.clone(), "kind: Secret\napiVersion: v1\n", StatusCode::BAD_REQUEST, "it holds Secret"),
        (path.clone(), &too_large, StatusCode::BAD_REQUEST, "no Deployment"),
        (
            at("volteryde/production", "a1a1a1a1", "nestjs-service"),
            MANIFEST,
            StatusCode::BAD_REQUEST,
            "no whole commit",
        ),
        (at("volteryde/production", &commit, "Jobs"), MANIFEST, StatusCode::BAD_REQUEST, ""),
        (at("volteryde/production", &commit, "jobs"), MANIFEST, StatusCode::NOT_FOUND, "has no service jobs"),
        (at("volteryde/staging", &commit, "nestjs-service"), MANIFEST, StatusCode::NOT_FOUND, "no policy has"),
    ] {
        let answer = put(&kofi, &path, text).await;
        let said = body(&answer)["error"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == status && said.contains(words), "{path}: {} {said}", answer.status);
    }
    let nobody = put(&server.person("nobody"), &path, MANIFEST).await;
    assert_eq!(nobody.status, StatusCode::CONFLICT, "a stranger gives nothing");
    assert_eq!(put(&server.client("x"), &path, MANIFEST).await.status, StatusCode::UNAUTHORIZED);
    server.stack.stop().await;
}
