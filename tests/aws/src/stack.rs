//! The stack as its templates say: every function a real process, events and messages on the ways that the templates
//! name and on no other. A rule, a queue or a variable that is missing there is missing here.
//!
//! What AWS does between services is done here, because the emulator does not do it: EventBridge to a function, a queue
//! to its consumer with partial batches, a failed event to the function's queue, the clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use portcullis_aws::client::Clients;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::emulator::Emulator;
use crate::host::{Ended, FunctionSpec, Host};
use crate::resources::{self, REGION, unique};
use crate::template::{FunctionName, ResourceId, Template, reference};

/// The account of everything.
pub const ACCOUNT: &str = "123456789012";
/// Who invokes a function as an alarm's action.
pub const ALARMS: &str = "lambda.alarms.cloudwatch.amazonaws.com";
/// The stack's name where nobody says another.
const STACK: &str = "portcullis";
/// How often EventBridge is let try before an event goes to its rule's queue: fewer than AWS's, and at once.
const TRIES: u32 = 2;
/// A message that was not acknowledged is seen again after this, in seconds: AWS waits for minutes.
const HIDDEN: &str = "3";
/// An invocation of an unoptimised function on a machine that has a lot else to do may take longer than the template
/// allows on AWS.
const LEAST_TIMEOUT: Duration = Duration::from_mins(1);
/// The clock of these tests: a minute of the template's schedule.
const MINUTE: Duration = Duration::from_secs(2);

/// What a test may do to messages on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disorder {
    /// Every message is handed over twice.
    pub doubled: bool,
    /// A batch is turned around.
    pub reversed: bool,
}

/// A running stack.
pub struct Stack {
    /// The emulator under it.
    pub emulator: Arc<Emulator>,
    /// The ledger's table.
    pub table: String,
    /// The bucket with the policies.
    pub policies: String,
    templates: Vec<Template>,
    hosts: BTreeMap<FunctionName, Arc<Host>>,
    /// The address of each queue.
    queues: BTreeMap<ResourceId, String>,
    made: BTreeMap<String, String>,
    sqs: aws_sdk_sqs::Client,
    running: JoinSet<()>,
    _logs: TempDir,
}

/// What a stack is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with the functions' binaries.
    pub binaries: PathBuf,
    /// The policy files: name and text.
    pub policies: Vec<(String, String)>,
    /// Added to the environment of `run-release`.
    pub driver: Vec<(String, String)>,
    /// What happens to messages on their way.
    pub disorder: Disorder,
    /// Calls to AWS go here instead of to the emulator.
    pub endpoint: Option<String>,
}

impl Default for Options {
    /// The binaries that `PORTCULLIS_FUNCTIONS` names, and nothing else.
    fn default() -> Self {
        let binaries = std::env::var_os("PORTCULLIS_FUNCTIONS").map(PathBuf::from).expect(
            "PORTCULLIS_FUNCTIONS names the folder of the functions' binaries: run `cargo xtask test aws`, which builds them",
        );
        Self { binaries, policies: Vec::new(), driver: Vec::new(), disorder: Disorder::default(), endpoint: None }
    }
}

impl Stack {
    /// Makes what the templates name, and starts what listens. The functions start with their first invocation.
    pub async fn start(options: Options) -> Self {
        let emulator = Emulator::moto();
        let clients = emulator.clients().await;
        let (sqs, s3) = (clients.sqs(), clients.s3());
        let table = resources::table(&clients.dynamodb()).await;
        let policies = resources::bucket(&s3, false).await;
        for (name, text) in &options.policies {
            let put = s3.put_object().bucket(&policies).key(format!("policies/{name}"));
            put.body(text.clone().into_bytes().into()).send().await.expect("putting a policy");
        }

        let name = unique("stack");
        let (hub, executor) = templates(&name, &table, &policies);
        let mut made = BTreeMap::from([
            ("Ledger".to_owned(), table.clone()),
            ("PolicyBucket".to_owned(), policies.clone()),
            ("Key".to_owned(), KEY.to_owned()),
        ]);
        let mut queues = BTreeMap::new();
        for template in [&hub, &executor] {
            make(template, &name, &clients, &mut queues, &mut made).await;
        }

        let endpoint = options.endpoint.clone().unwrap_or_else(|| emulator.endpoint());
        let logs = tempfile::tempdir().expect("a folder for the logs");
        let mut hosts = BTreeMap::new();
        for template in [&hub, &executor] {
            for function in template.functions() {
                let binary = options.binaries.join(function.as_str());
                assert!(binary.is_file(), "{function} has no binary at {}", binary.display());
                let variables = template.environment(&function).into_iter();
                let mut environment: Vec<(String, String)> =
                    variables.map(|(name, value)| (name, physical(&value, &made))).collect();
                for (name, value) in [
                    ("AWS_ENDPOINT_URL", endpoint.as_str()),
                    ("AWS_REGION", REGION),
                    ("AWS_ACCESS_KEY_ID", "testing"),
                    ("AWS_SECRET_ACCESS_KEY", "testing"),
                ] {
                    environment.push((name.to_owned(), value.to_owned()));
                }
                if function.as_str() == "run-release" {
                    environment.extend(options.driver.iter().cloned());
                }
                let spec = FunctionSpec {
                    name: function.as_str().to_owned(),
                    binary,
                    environment,
                    timeout: template.timeout(&function).max(LEAST_TIMEOUT),
                    log: logs.path().join(format!("{function}.log")),
                };
                hosts.insert(function, Arc::new(Host::new(spec)));
            }
        }
        let mut stack = Self {
            emulator,
            table,
            policies,
            templates: vec![hub, executor],
            hosts,
            queues,
            made,
            sqs,
            running: JoinSet::new(),
            _logs: logs,
        };
        stack.poll(options.disorder);
        stack
    }

    /// An event on the account's default bus: to every function that a rule names, and after some failures to the
    /// function's queue. Returns who was asked, and how it ended the last time.
    pub async fn publish(&self, event: &Value) -> Vec<(FunctionName, Ended)> {
        let mut asked = Vec::new();
        for template in &self.templates {
            for function in template.routes_of(event).expect("patterns that are known") {
                let ended = self.deliver(template, &function, event).await;
                asked.push((function, ended));
            }
        }
        asked
    }

    /// An alarm that hands itself to every function that may be its action.
    pub async fn alarm_directly(&self, alarm: &Value) -> Vec<(FunctionName, Ended)> {
        let mut asked = Vec::new();
        for template in &self.templates {
            for function in template.invoked_by(ALARMS) {
                let ended = self.deliver(template, &function, alarm).await;
                asked.push((function, ended));
            }
        }
        asked
    }

    /// A notification of a topic, to every function that subscribes to it (AWS Lambda Developer Guide, "Invoking Lambda
    /// functions with Amazon SNS notifications").
    pub async fn notification(&self, topic: &str, message: &Value) -> Vec<(FunctionName, Ended)> {
        let event = json!({ "Records": [{ "EventSource": "aws:sns", "EventVersion": "1.0", "Sns": message }] });
        let mut asked = Vec::new();
        for template in &self.templates {
            for function in template.subscribers_of(&ResourceId::new(topic)) {
                let ended = self.deliver(template, &function, &event).await;
                asked.push((function, ended));
            }
        }
        asked
    }

    async fn deliver(&self, template: &Template, function: &FunctionName, event: &Value) -> Ended {
        let body = event.to_string().into_bytes();
        let mut last = Ended::Died;
        for _ in 0..TRIES {
            last = self.host(function.as_str()).invoke(&body).await.expect("starting a function");
            if matches!(last, Ended::Answered(_)) {
                return last;
            }
        }
        let Some(queue) = template.dead_letter_queue_of(function) else {
            panic!("{function} failed, and the template keeps its events nowhere")
        };
        let send = self.sqs.send_message().queue_url(&self.queues[&queue]).message_body(event.to_string());
        send.send().await.expect("keeping an event");
        last
    }

    /// Invokes a function as the clock would.
    pub async fn tick(&self, function: &str) -> Value {
        self.assert_scheduled(function);
        match self.host(function).invoke(b"{}").await.expect("starting a function") {
            Ended::Answered(answer) => serde_json::from_slice(&answer).expect("an answer in JSON"),
            ended => panic!("{function} ended otherwise: {ended:?}\n{}", self.host(function).log_end(20)),
        }
    }

    /// Lets the clock run: a function is invoked again and again, as its schedule says. One that fails is invoked again.
    pub fn run_clock(&mut self, function: &str) {
        self.assert_scheduled(function);
        let host = self.host(function).clone();
        self.running.spawn(async move {
            loop {
                let _ = host.invoke(b"{}").await;
                tokio::time::sleep(MINUTE).await;
            }
        });
    }

    fn assert_scheduled(&self, function: &str) {
        let name = FunctionName::new(function);
        let scheduled = self.templates.iter().any(|template| !template.schedule(&name).is_empty());
        assert!(scheduled, "no template invokes {function} by the clock");
    }

    /// Whether the HTTP API of the templates has a route for such a request.
    pub fn routes(&self, method: &str, path: &str) -> bool {
        self.behind(method, path).is_some()
    }

    /// The function that the HTTP API routes such a request to.
    fn behind(&self, method: &str, path: &str) -> Option<FunctionName> {
        let fits = |pattern: &str| match pattern.strip_suffix("{proxy+}") {
            Some(before) => path.starts_with(before),
            None => path == pattern,
        };
        let mut routes = self.templates.iter().flat_map(Template::http_routes);
        routes.find(|route| route.method == method && fits(&route.path)).map(|route| route.function)
    }

    /// Invokes a function behind HTTP with a request of payload format 2.0.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
        let function = self.behind(method, path).unwrap_or_else(|| panic!("no template routes {method} {path}"));
        let headers: BTreeMap<_, _> = headers.iter().copied().collect();
        let wire = json!({
            "version": "2.0",
            "rawPath": path,
            "headers": headers,
            "requestContext": { "http": { "method": method } },
            "body": body,
        });
        let host = self.host(function.as_str());
        match host.invoke(wire.to_string().as_bytes()).await.expect("starting a function") {
            Ended::Answered(answer) => serde_json::from_slice(&answer).expect("an answer in JSON"),
            ended => panic!("{method} {path} ended otherwise: {ended:?}"),
        }
    }

    /// How often each function was invoked so far, and what that took together.
    pub fn used(&self) -> BTreeMap<&str, (u64, Duration)> {
        self.hosts.iter().map(|(name, host)| (name.as_str(), host.used())).collect()
    }

    /// A function.
    pub fn host(&self, function: &str) -> &Arc<Host> {
        let found = self.hosts.get(&FunctionName::new(function));
        found.unwrap_or_else(|| panic!("there is no function {function}"))
    }

    /// What a bucket or a secret of the templates is called here.
    pub fn made(&self, id: &str) -> &str {
        self.made.get(id).unwrap_or_else(|| panic!("{id} was not made"))
    }

    /// The address of a queue of the templates.
    pub fn queue(&self, id: &str) -> &str {
        self.queues.get(&ResourceId::new(id)).unwrap_or_else(|| panic!("there is no queue {id}"))
    }

    /// How many messages a queue holds, those that are being looked at too.
    pub async fn depth(&self, id: &str) -> usize {
        use QueueAttributeName::{
            ApproximateNumberOfMessages as Waiting, ApproximateNumberOfMessagesNotVisible as Taken,
        };
        let asked = self.sqs.get_queue_attributes().queue_url(self.queue(id));
        let told = asked.attribute_names(Waiting).attribute_names(Taken).send().await.expect("asking a queue");
        let told = told.attributes.unwrap_or_default();
        [Waiting, Taken].iter().filter_map(|name| told.get(name)?.parse::<usize>().ok()).sum()
    }

    /// Hands the messages of every queue to the function that it feeds.
    fn poll(&mut self, disorder: Disorder) {
        for template in &self.templates {
            for queue in template.queues() {
                for consumer in template.consumers_of(&queue) {
                    assert!(consumer.says_which_failed, "one failed message of {queue} fails all");
                    let (sqs, url) = (self.sqs.clone(), self.queues[&queue].clone());
                    let host = self.hosts[&consumer.function].clone();
                    let batch = i32::try_from(consumer.batch.min(10)).unwrap_or(10);
                    self.running.spawn(async move {
                        loop {
                            let received = receive(&sqs, &url, batch).await;
                            hand_over(&sqs, &url, &host, received, disorder).await;
                        }
                    });
                }
            }
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (function, host) in self.hosts.iter().filter(|(_, host)| host.starts() > 0) {
                eprintln!("--- the end of the log of {function} ({} starts)\n{}", host.starts(), host.log_end(30));
            }
        }
    }
}

/// The key of the hub. Nothing is encrypted with it: the emulator's queues and buckets are plain.
const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/hub";

/// Both templates for one account, as a small installation has them.
fn templates(name: &str, table: &str, policies: &str) -> (Template, Template) {
    let infra = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra");
    let wakes = format!("{name}-wakes");
    let hub = [("CodeBucket", "code"), ("WakeQueueName", wakes.as_str())];
    let hub = Template::read_with(infra.join("hub.yaml"), &hub).expect("reading the hub's template");
    let (arn, location) =
        (format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}"), format!("s3://{policies}/policies/"));
    let executor = [
        ("CodeBucket", "code"),
        ("WakeQueueName", wakes.as_str()),
        ("LedgerArn", arn.as_str()),
        ("HubKeyArn", KEY),
        ("PolicyLocation", location.as_str()),
    ];
    let executor =
        Template::read_with(infra.join("executor.yaml"), &executor).expect("reading the executor's template");
    (hub, executor)
}

async fn receive(sqs: &aws_sdk_sqs::Client, url: &str, batch: i32) -> Vec<Message> {
    let asked = sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(batch)
        .wait_time_seconds(1)
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All);
    let Ok(received) = asked.send().await else {
        // The emulator is about to end, or busy.
        tokio::time::sleep(Duration::from_millis(200)).await;
        return Vec::new();
    };
    received.messages.unwrap_or_default()
}

/// One batch (AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", "Reporting batch item failures").
async fn hand_over(sqs: &aws_sdk_sqs::Client, url: &str, host: &Host, mut received: Vec<Message>, disorder: Disorder) {
    if received.is_empty() {
        return;
    }
    if disorder.reversed {
        received.reverse();
    }
    let batch = json!({ "Records": received.iter().map(record).collect::<Vec<_>>() }).to_string();
    if disorder.doubled {
        let _ = host.invoke(batch.as_bytes()).await;
    }
    let Ok(Ended::Answered(answer)) = host.invoke(batch.as_bytes()).await else { return };
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let failed: Vec<&str> = answer["batchItemFailures"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|failure| failure["itemIdentifier"].as_str())
        .collect();
    for message in received.iter().filter(|message| !message.message_id().is_some_and(|id| failed.contains(&id))) {
        let _ = sqs.delete_message().queue_url(url).set_receipt_handle(message.receipt_handle.clone()).send().await;
    }
}

/// A message as Lambda hands it over.
fn record(message: &Message) -> Value {
    let attributes: BTreeMap<&str, &String> =
        message.attributes().into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
    let told = message.message_attributes().into_iter().flatten();
    let told: BTreeMap<&String, Value> = told
        .map(|(name, value)| (name, json!({ "stringValue": value.string_value(), "dataType": value.data_type() })))
        .collect();
    json!({
        "messageId": message.message_id(),
        "receiptHandle": message.receipt_handle(),
        "body": message.body(),
        "attributes": attributes,
        "messageAttributes": told,
        "eventSource": "aws:sqs",
        "awsRegion": REGION,
    })
}

/// Makes the queues, buckets and secrets of a template; what each is called goes into `made`. Names begin with this
/// stack's, so that several stacks have room beside each other.
async fn make(
    template: &Template,
    stack: &str,
    clients: &Clients,
    queues: &mut BTreeMap<ResourceId, String>,
    made: &mut BTreeMap<String, String>,
) {
    for queue in template.queues() {
        let named = template.queue_name(&queue).unwrap_or_else(|| panic!("{queue} has no name"));
        let name = named.strip_prefix(STACK).map_or_else(|| named.clone(), |rest| format!("{stack}{rest}"));
        let created = clients
            .sqs()
            .create_queue()
            .queue_name(name)
            .attributes(QueueAttributeName::VisibilityTimeout, HIDDEN)
            .send()
            .await
            .expect("making a queue");
        let url = created.queue_url.expect("its address");
        made.insert(queue.as_str().to_owned(), url.clone());
        queues.insert(queue, url);
    }
    for queue in template.queues() {
        let Some((dead, most)) = template.dead_letters_of(&queue) else { continue };
        let name = queues[&dead].rsplit('/').next().unwrap_or_default().to_owned();
        let redrive = json!({
            "deadLetterTargetArn": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"),
            "maxReceiveCount": most,
        });
        let set = clients.sqs().set_queue_attributes().queue_url(&queues[&queue]);
        let set = set.attributes(QueueAttributeName::RedrivePolicy, redrive.to_string());
        set.send().await.expect("saying where dead letters go");
    }
    for (id, _) in template.resources_of("AWS::S3::Bucket") {
        if !made.contains_key(id) {
            let bucket = resources::bucket(&clients.s3(), id == "Backups").await;
            made.insert(id.to_owned(), bucket);
        }
    }
    for (id, _) in template.resources_of("AWS::SecretsManager::Secret") {
        let client = aws_sdk_secretsmanager::Client::new(clients.config());
        let created = client.create_secret().name(unique(id)).secret_string(id).send().await.expect("making a secret");
        made.insert(id.to_owned(), created.arn.expect("its ARN"));
    }
}

/// A value of the template with what its references are called here.
fn physical(value: &str, made: &BTreeMap<String, String>) -> String {
    if let Some(id) = reference(value) {
        return made.get(id.as_str()).unwrap_or_else(|| panic!("{value} is not made for a test")).clone();
    }
    let named = made.iter().fold(value.to_owned(), |value, (id, name)| value.replace(&format!("${{{id}}}"), name));
    assert!(!named.contains("${"), "{value} refers to what is not made for a test");
    named
}
