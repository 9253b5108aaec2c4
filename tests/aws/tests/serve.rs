//! `portcullis serve` on AWS: the real process with its ledger on DynamoDB, its wakes on SQS, its backups and policies on
//! S3 and its images on ECR, as the emulator has them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_aws::ledger::DynamoLedger;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{CommitSha, Identity, ReleaseId, ServiceName, TargetId};
use portcullis_domain::target::{Phase, Release};
use portcullis_embedded::local::{Build, LocalCluster, LocalOptions};
use portcullis_embedded::source::{FileSource, SourceCommit};
use portcullis_embedded::sqlite::SqliteStore;
use portcullis_engine::codec::decode_head;
use portcullis_engine::ports::Ledger;
use portcullis_tests_aws::emulator::Emulator;
use portcullis_tests_aws::resources::{self, REGION};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const TOKEN: &str = "the-token-of-the-tests-events";
const ACCOUNT: &str = "123456789012";
const COMMIT: &str = "8f3c2a1b6d0e4f7792c5a8e31b04d6f9a7c2e510";
/// A limit that only a defect reaches.
const WITHIN: Duration = Duration::from_mins(2);

/// Nobody is asked, nothing is scanned, and the watch lasts longer than the test.
const POLICY: &str = r#"
portcullis: 1
application: shop
repository: github.com/example/shop
registry: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop
tags: ["{sha}"]
services:
  web: {}
environments:
  production:
    mode: deploy
    account: "123456789012"
    region: eu-west-1
    cluster: local
    namespace: shop
    branch: main
    strategy: blue-green
    verify: [smoke]
    backup: { keep: 1d }
    watch:
      for: 10m
      every: 1s
      extend: 10m
    roll_back:
      window: 1h
      keep_old: 1h
    limits: { look: 1s, ready: 60s, write: 60s, backup: 60s }
tests:
  smoke: { http: [GET /health], within: 60s }
metrics: { preset: local }
people:
  amara: { github: amara-o }
groups:
  owners: [kofi, lena]
"#;

/// The binary: `PORTCULLIS_BIN`, else what cargo left beside the test's own folder.
fn binary() -> PathBuf {
    let found = std::env::var_os("PORTCULLIS_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("the path of this test");
            test.ancestors().nth(2).expect("a test runs in target/PROFILE/deps").join("portcullis")
        },
        PathBuf::from,
    );
    assert!(found.is_file(), "there is no binary at {}: run `cargo xtask test aws`, which builds it", found.display());
    found
}

/// A command of the binary that sees nothing of this test's environment.
fn command() -> Command {
    let mut command = Command::new(binary());
    command.env_clear().env("RUST_LOG", "info").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

/// A running server. Its log is printed when its test failed.
struct Serve {
    child: Child,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Serve {
    async fn start(emulator: &Emulator, args: &[String]) -> Self {
        let mut command = command();
        command.arg("serve").args(args).args(["--listen", "127.0.0.1:0", "--log", "json"]);
        command.env("PORTCULLIS_EVENTS_TOKEN", TOKEN);
        command.env("AWS_ENDPOINT_URL", emulator.endpoint()).env("AWS_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starting serve");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let keep = |line: String| log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("reading its log") {
                let said: Value = serde_json::from_str(&line).unwrap_or_default();
                keep(line);
                if said["message"] == "listening" {
                    return said["address"].as_str().map(str::to_owned);
                }
            }
            None
        };
        let address = tokio::time::timeout(WITHIN, listening).await.ok().flatten();
        let address = address.unwrap_or_else(|| panic!("serve does not listen:\n{log:#?}"));
        let serve = Self { child, address, log: log.clone() };
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        serve
    }

    async fn event(&self, event: &Value) -> (u16, Value) {
        let headers = format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
        let (status, body) = post(&self.address, "/events", &headers, &event.to_string()).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    async fn kill(mut self) {
        self.child.kill().await.expect("killing serve");
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("--- the end of serve's log\n{}", log[log.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// One POST over a connection of its own.
async fn post(address: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connecting");
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).await.expect("sending a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reading an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer with a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// A call of ECR as the AWS CLI would make it: the emulator reads the service from the signature and checks none.
async fn ecr(emulator: &Emulator, operation: &str, body: &Value) {
    let address = emulator.endpoint().trim_start_matches("http://").to_owned();
    let headers = format!(
        "content-type: application/x-amz-json-1.1\r\n\
         x-amz-target: AmazonEC2ContainerRegistry_V20150921.{operation}\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=testing/20260101/{REGION}/ecr/aws4_request, \
         SignedHeaders=host, Signature=00\r\n"
    );
    let (status, answer) = post(&address, "/", &headers, &body.to_string()).await;
    assert_eq!(status, 200, "{operation}: {answer}");
}

async fn image(emulator: &Emulator, digest: &Digest, tag: &str) {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "size": 7 },
        "layers": [{ "digest": digest }],
    });
    let image = json!({
        "repositoryName": "shop/web",
        "imageManifest": manifest.to_string(),
        "imageTag": tag,
        "imageDigest": digest,
    });
    ecr(emulator, "PutImage", &image).await;
}

fn push(digest: &Digest) -> Value {
    json!({
        "version": "0",
        "id": "fc4ef8f4-2099-aee1-96cf-a2ed2cf76f44",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": ACCOUNT,
        "time": "2026-11-20T02:36:11Z",
        "region": REGION,
        "resources": [],
        "detail": {
            "result": "SUCCESS",
            "repository-name": "shop/web",
            "image-digest": digest,
            "action-type": "PUSH",
            "image-tag": COMMIT,
        },
    })
}

/// What is no adapter's of AWS's: the local cluster with the version that serves, what its images do, and the commit.
async fn machine(data: &Path, target: &TargetId, serving: &Digest, new: &Digest) {
    let cluster = LocalCluster::start(LocalOptions::new(data.join("cluster"))).await.unwrap();
    cluster.push_image(serving, &Build::new("v1")).unwrap();
    cluster.push_image(new, &Build::new("v2")).unwrap();
    cluster.apply_baseline(target, &[(ServiceName::new("web").unwrap(), *serving, false, 1)]).await.unwrap();
    cluster.stop().await;
    let commit = SourceCommit {
        commit: CommitSha::new(COMMIT).unwrap(),
        title: "Change the web".to_owned(),
        parent: None,
        branches: BTreeSet::from(["main".to_owned()]),
        people: BTreeSet::from([Identity::new("github:amara-o").unwrap()]),
        files: None,
        tree: None,
        forward_only: false,
    };
    FileSource::new(&data.join("source")).unwrap().put_commit(&commit).unwrap();
}

/// The release as the ledger in the table has it; none = there is none yet.
async fn release(ledger: &DynamoLedger, target: &TargetId) -> Option<Release> {
    let head = ledger.head(target).await.unwrap()?;
    decode_head(&head.snapshot).unwrap().releases.remove(&ReleaseId(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_becomes_a_release_in_the_ledger_on_dynamodb_and_is_driven_by_wakes_on_sqs() {
    let emulator = Emulator::moto();
    let clients = emulator.clients().await;
    let table = resources::table(&clients.dynamodb()).await;
    let queue = resources::queue(&clients.sqs()).await;
    let (policies, backups) =
        (resources::bucket(&clients.s3(), false).await, resources::bucket(&clients.s3(), false).await);
    let put = clients.s3().put_object().bucket(&policies).key("live/shop.yaml");
    put.body(POLICY.as_bytes().to_vec().into()).send().await.expect("putting the policy");

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let target: TargetId = "shop/production".parse().unwrap();
    let (serving, new) = (Digest::of(b"v1"), Digest::of(b"v2"));
    machine(&data, &target, &serving, &new).await;
    ecr(&emulator, "CreateRepository", &json!({ "repositoryName": "shop/web" })).await;
    image(&emulator, &serving, "v1").await;
    image(&emulator, &new, COMMIT).await;

    let args = [
        "--policy-location".to_owned(),
        format!("s3://{policies}/live"),
        "--data".to_owned(),
        data.display().to_string(),
        "--ledger".to_owned(),
        "dynamodb".to_owned(),
        "--table".to_owned(),
        table.clone(),
        "--queue".to_owned(),
        "sqs".to_owned(),
        "--queue-url".to_owned(),
        queue,
        "--blobs".to_owned(),
        format!("s3://{backups}/kept"),
        // The pods are this machine's.
        "--metrics".to_owned(),
        "local".to_owned(),
    ];
    let serve = Serve::start(&emulator, &args).await;
    assert_eq!(serve.event(&push(&new)).await, (200, json!({ "targets": ["shop/production"] })));

    let ledger = DynamoLedger::open(clients.dynamodb(), &table).await.unwrap();
    assert_eq!(
        ledger.release(ReleaseId(1)).await.unwrap(),
        Some(target.clone()),
        "recorded before it was acknowledged"
    );
    let began = Instant::now();
    let watched = loop {
        let release = release(&ledger, &target).await.expect("the release");
        match release.phase {
            Phase::Watching => break release,
            Phase::NeedsHelp | Phase::RollingBack => panic!("it went wrong: {release:?}"),
            _ => assert!(began.elapsed() < WITHIN, "not driven to its watch: {release:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(watched.commit.as_str(), COMMIT);
    assert!(watched.backup.is_some());
    let stored = clients.s3().list_objects_v2().bucket(&backups).prefix("kept/").send().await.unwrap();
    assert!(stored.key_count().unwrap_or_default() > 0, "the backup is in S3");
    let here = SqliteStore::open_read_only(&data).unwrap();
    assert!(here.targets().await.unwrap().is_empty(), "nothing of the ledger is on this machine");

    // Killed and started again it knows what it did: the ledger does.
    serve.kill().await;
    let serve = Serve::start(&emulator, &args).await;
    assert_eq!(serve.event(&push(&new)).await.0, 200);
    assert_eq!(ledger.next_release().await.unwrap(), ReleaseId(2), "a redelivery opens nothing");
    serve.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_region_it_refuses_to_start_and_says_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let mut command = command();
    command.args(["serve", "--policy", "none.yaml", "--data", &data, "--ledger", "dynamodb", "--table", "ledger"]);
    let ended = command.env("PORTCULLIS_EVENTS_TOKEN", TOKEN).stderr(Stdio::piped()).output();
    let ended = tokio::time::timeout(WITHIN, ended).await.expect("it ends by itself").expect("starting serve");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("AWS_REGION"), "{said}");
}
