//! AWS's APIs on this machine (the moto server), with what the functions need to find in them. It is spoken to by hand: an
//! SDK for a dozen calls would be minutes of building.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// Names the moto server; `cargo xtask bench lambda` sets it.
const MOTO: &str = "PORTCULLIS_MOTO";
/// Starts it with what the tests had to mend in it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../aws/src/moto_server.py");
/// Python starts slowly on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_mins(3);
/// The region of everything.
pub(crate) const REGION: &str = "us-east-1";

/// A running emulator. It ends when this is dropped.
pub(crate) struct Moto {
    port: u16,
    process: Child,
}

/// What is in it, by the names that the functions are configured with.
pub(crate) struct Made {
    /// The functions' environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// The queue of wakes.
    pub(crate) wakes: String,
}

impl Moto {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// It is not named, or does not start.
    pub(crate) fn start() -> Result<Self> {
        let named = std::env::var_os(MOTO).map(PathBuf::from);
        let program =
            named.with_context(|| format!("{MOTO} is not set: run `cargo xtask bench lambda`, which sets it"))?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
        let port = free.local_addr()?.port();
        drop(free);
        let mut command = Command::new(program.with_file_name("python3"));
        command.arg(SCRIPT).args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut moto = Self { port, process };
        let begun = Instant::now();
        // Where nobody listens yet, a connection may be one with itself.
        let listens = |stream: TcpStream| stream.local_addr().is_ok_and(|own| own.port() != port);
        while !TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok_and(listens) {
            if let Some(status) = moto.process.try_wait()? {
                bail!("the moto server ended at its start ({status}): {command:?}");
            }
            ensure!(begun.elapsed() < STARTS_WITHIN, "the moto server does not listen: {command:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(moto)
    }

    /// Makes the table, the queues, the buckets with a policy, and the secrets.
    ///
    /// # Errors
    /// A call is refused.
    pub(crate) fn make(&self, policy: &str) -> Result<Made> {
        self.json("dynamodb", "DynamoDB_20120810.CreateTable", &table())?;
        let name = json!({ "pk": { "S": "INSTALLATION" }, "sk": { "S": "LEDGER" }, "id": { "S": "pl-bench" } });
        self.json("dynamodb", "DynamoDB_20120810.PutItem", &json!({ "TableName": "ledger", "Item": name }))?;
        let queue = |name: &str| -> Result<String> {
            let made = self.json("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": name }))?;
            text(&made, "QueueUrl")
        };
        let (wakes, unrecorded, dead) = (queue("wakes")?, queue("unrecorded")?, queue("dead-letters")?);
        for (path, body) in [("/policies", ""), ("/blobs", ""), ("/policies/live/bench.yaml", policy)] {
            self.call("s3", "PUT", path, "", body)?;
        }
        let secret = |name: &str| -> Result<String> {
            let asked = json!({ "Name": name, "SecretString": super::functions::SECRET });
            text(&self.json("secretsmanager", "secretsmanager.CreateSecret", &asked)?, "ARN")
        };
        let environment = vec![
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
            ("RUST_LOG", "info".to_owned()),
            ("LEDGER_TABLE", "ledger".to_owned()),
            ("POLICY_LOCATION", "s3://policies/live/".to_owned()),
            ("WAKE_QUEUE_URL", wakes.clone()),
            ("UNRECORDED_QUEUE_URL", unrecorded),
            ("DEAD_LETTER_QUEUE_URL", dead),
            ("BLOB_BUCKET", "blobs".to_owned()),
            ("GITHUB_WEBHOOK_SECRET_ARN", secret("github")?),
            ("SLACK_SIGNING_SECRET_ARN", secret("slack")?),
            ("NOTICE_SECRET_ARN", secret("notices")?),
        ];
        Ok(Made { environment, wakes })
    }

    /// Takes a message from a queue, as Lambda's poller would; none = it is empty.
    ///
    /// # Errors
    /// The call is refused.
    pub(crate) fn receive(&self, queue: &str) -> Result<Option<String>> {
        let asked = json!({ "QueueUrl": queue, "MaxNumberOfMessages": 1, "VisibilityTimeout": 0 });
        let received = self.json("sqs", "AmazonSQS.ReceiveMessage", &asked)?;
        Ok(received["Messages"][0]["Body"].as_str().map(str::to_owned))
    }

    fn json(&self, service: &str, target: &str, body: &Value) -> Result<Value> {
        let kind = "content-type: application/x-amz-json-1.0\r\n";
        let answer =
            self.call(service, "POST", "/", &format!("{kind}x-amz-target: {target}\r\n"), &body.to_string())?;
        serde_json::from_str(&answer).with_context(|| format!("reading the answer to {target}"))
    }

    /// One call. The emulator reads service and region from the signature, and checks none.
    fn call(&self, service: &str, method: &str, path: &str, headers: &str, body: &str) -> Result<String> {
        let doing = || format!("{method} {path} of {service}");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\ncontent-length: {}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=testing/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=00\r\n{headers}\r\n{body}",
            self.port,
            body.len()
        );
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).with_context(doing)?;
        stream.write_all(request.as_bytes()).with_context(doing)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(doing)?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(doing)?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{}: {answer}", doing());
        Ok(body.to_owned())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(answer: &Value, field: &str) -> Result<String> {
    answer[field].as_str().map(str::to_owned).with_context(|| format!("an answer without {field}: {answer}"))
}

/// The ledger's table, by the names of `shared/aws/src/ledger/table.rs`.
fn table() -> Value {
    let key = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
    let attribute = |name: &str, kind: &str| json!({ "AttributeName": name, "AttributeType": kind });
    json!({
        "TableName": "ledger",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions":
            [attribute("pk", "S"), attribute("sk", "S"), attribute("waits", "S"), attribute("wake_at", "N")],
        "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
        "GlobalSecondaryIndexes": [{
            "IndexName": "overdue",
            "KeySchema": [key("waits", "HASH"), key("wake_at", "RANGE")],
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        }],
    })
}
