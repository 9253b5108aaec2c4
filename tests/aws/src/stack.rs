//! The stack as its templates say: every function a real process, events and messages on the ways that the templates
//! name and on no other. A rule, a queue or a variable that is missing there is missing here.
//!
//! What AWS does between services is done here, because the emulator does not do it: EventBridge to a function, a queue
//! to its consumer with partial batches, a failed event to the rule's queue, the clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::emulator::Emulator;
use crate::host::{Ended, FunctionSpec, Host};
use crate::resources::{self, REGION, unique};
use crate::template::{FunctionName, ResourceId, Template, reference};

/// The account of everything.
pub const ACCOUNT: &str = "123456789012";
/// How often EventBridge is let try before an event goes to its rule's queue: fewer than AWS's, and at once.
const TRIES: u32 = 2;
/// A message that was not acknowledged is seen again after this: AWS waits for minutes.
const HIDDEN: &str = "3";

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
    /// Where the policies are.
    pub policies: String,
    templates: Vec<Template>,
    hosts: BTreeMap<FunctionName, Arc<Host>>,
    /// The address of each queue.
    queues: BTreeMap<ResourceId, String>,
    sqs: aws_sdk_sqs::Client,
    pollers: JoinSet<()>,
    stopped: Arc<AtomicBool>,
}

/// What a stack is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with the functions' binaries.
    pub binaries: PathBuf,
    /// The policy file's text.
    pub policy: String,
    /// Added to the environment of `run-release`.
    pub driver: Vec<(String, String)>,
    /// What happens to messages on their way.
    pub disorder: Disorder,
    /// Calls to AWS go here instead of to the emulator.
    pub endpoint: Option<String>,
}

impl Stack {
    /// Makes what the templates name, and starts what listens. The functions start with their first invocation.
    pub async fn start(options: Options) -> Self {
        let emulator = Emulator::moto();
        let clients = emulator.clients().await;
        let (sqs, s3) = (clients.sqs(), clients.s3());
        let table = resources::table(&clients.dynamodb()).await;
        let policies = resources::bucket(&s3, false).await;
        s3.put_object()
            .bucket(&policies)
            .key("policies/policy.yaml")
            .body(options.policy.clone().into_bytes().into())
            .send()
            .await
            .expect("putting the policy");

        let infra = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra");
        let location = format!("s3://{policies}/policies/");
        let arn = format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}");
        let executor = Template::read_with(
            infra.join("executor.yaml"),
            &[("LedgerArn", &arn), ("PolicyLocation", &location), ("AWS::AccountId", ACCOUNT), ("AWS::Region", REGION)],
        )
        .expect("reading the executor's template");
        let (mut queues, mut made) = (BTreeMap::new(), BTreeMap::new());
        make(&executor, &clients, &mut queues, &mut made).await;
        let wakes = queues.get(&ResourceId::new("Wakes")).expect("the executor has a queue of wakes").clone();
        let hub = Template::read_with(
            infra.join("hub.yaml"),
            &[("WakeQueueName", ""), ("WakeQueueUrl", &wakes), ("AWS::AccountId", ACCOUNT), ("AWS::Region", REGION)],
        )
        .expect("reading the hub's template");
        made.insert("Ledger".to_owned(), table.clone());
        made.insert("PolicyBucket".to_owned(), policies.clone());
        make(&hub, &clients, &mut queues, &mut made).await;

        let endpoint = options.endpoint.clone().unwrap_or_else(|| emulator.endpoint());
        let mut hosts = BTreeMap::new();
        for template in [&hub, &executor] {
            for function in template.functions() {
                let binary = options.binaries.join(function.as_str());
                assert!(binary.is_file(), "{} has no binary at {}", function.as_str(), binary.display());
                let mut environment: Vec<(String, String)> = template
                    .environment(&function)
                    .into_iter()
                    .map(|(name, value)| (name, physical(&value, &made)))
                    .collect();
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
                let timeout = template.timeout(&function);
                let spec = FunctionSpec { name: function.as_str().to_owned(), binary, environment, timeout };
                hosts.insert(function, Arc::new(Host::new(spec).await.expect("a port to listen on")));
            }
        }
        let mut stack = Self {
            emulator,
            table,
            policies,
            templates: vec![hub, executor],
            hosts,
            queues,
            sqs,
            pollers: JoinSet::new(),
            stopped: Arc::default(),
        };
        stack.poll(options.disorder);
        stack
    }

    /// An event on the account's default bus: to every function that a rule names, and after some failures to the rule's
    /// queue. Returns who was asked.
    pub async fn publish(&self, event: &Value) -> Vec<FunctionName> {
        let mut asked = Vec::new();
        for template in &self.templates {
            for function in template.routes_of(event).expect("patterns that are known") {
                self.deliver(template, &function, event).await;
                asked.push(function);
            }
        }
        asked
    }

    async fn deliver(&self, template: &Template, function: &FunctionName, event: &Value) {
        let body = event.to_string().into_bytes();
        for _ in 0..TRIES {
            if matches!(self.host(function).invoke(&body).await.expect("starting a function"), Ended::Answered(_)) {
                return;
            }
        }
        let Some(queue) = template.dead_letter_queue_of(function) else {
            panic!("{} failed, and the template keeps its events nowhere", function.as_str())
        };
        self.send(&queue, &event.to_string()).await;
    }

    /// Invokes a function as the clock would.
    pub async fn tick(&self, function: &str) -> Ended {
        let function = FunctionName::new(function);
        let by_clock = self.templates.iter().any(|template| !template.schedule(&function).is_empty());
        assert!(by_clock, "no template invokes {} by the clock", function.as_str());
        self.host(&function).invoke(b"{}").await.expect("starting a function")
    }

    /// Invokes a function behind HTTP with a request of payload format 2.0.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
        let routes = self.templates.iter().flat_map(Template::http_routes);
        let fits = |pattern: &str| match pattern.strip_suffix("{proxy+}") {
            Some(before) => path.starts_with(before),
            None => path == pattern,
        };
        let route = routes.into_iter().find(|route| route.method == method && fits(&route.path));
        let function = route.unwrap_or_else(|| panic!("no template routes {method} {path}")).function;
        let headers: BTreeMap<_, _> = headers.iter().copied().collect();
        let wire = json!({
            "version": "2.0",
            "rawPath": path,
            "headers": headers,
            "requestContext": { "http": { "method": method } },
            "body": body,
        });
        match self.host(&function).invoke(wire.to_string().as_bytes()).await.expect("starting a function") {
            Ended::Answered(answer) => serde_json::from_slice(&answer).expect("an answer in JSON"),
            ended => panic!("{method} {path} ended otherwise: {ended:?}"),
        }
    }

    /// A function's process, to kill it.
    pub fn host(&self, function: &FunctionName) -> &Arc<Host> {
        self.hosts.get(function).unwrap_or_else(|| panic!("there is no function {}", function.as_str()))
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
        let asked = self.sqs.get_queue_attributes().queue_url(self.queue(id)).attribute_names(Waiting);
        let told = asked.attribute_names(Taken).send().await.expect("asking a queue");
        let told = told.attributes.unwrap_or_default();
        [Waiting, Taken].iter().filter_map(|name| told.get(name)?.parse::<usize>().ok()).sum()
    }

    async fn send(&self, queue: &ResourceId, body: &str) {
        let url = &self.queues[queue];
        self.sqs.send_message().queue_url(url).message_body(body).send().await.expect("sending a message");
    }

    /// Hands the messages of every queue to the function that it feeds.
    fn poll(&mut self, disorder: Disorder) {
        for template in &self.templates {
            for queue in template.queues() {
                for consumer in template.consumers_of(&queue) {
                    let (sqs, url) = (self.sqs.clone(), self.queues[&queue].clone());
                    let (host, stopped) = (self.host(&consumer.function).clone(), self.stopped.clone());
                    assert!(consumer.says_which_failed, "one failed message of {} fails all", queue.as_str());
                    let batch = i32::try_from(consumer.batch.min(10)).unwrap_or(10);
                    self.pollers.spawn(async move {
                        while !stopped.load(Ordering::Relaxed) {
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
        self.stopped.store(true, Ordering::Relaxed);
    }
}

async fn receive(sqs: &aws_sdk_sqs::Client, url: &str, batch: i32) -> Vec<Message> {
    let asked = sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(batch)
        .wait_time_seconds(1)
        .message_system_attribute_names(MessageSystemAttributeName::All);
    match asked.send().await {
        Ok(received) => received.messages.unwrap_or_default(),
        // The emulator is about to end, or busy.
        Err(_) => {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Vec::new()
        }
    }
}

/// One batch (AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", "Reporting batch item failures").
async fn hand_over(sqs: &aws_sdk_sqs::Client, url: &str, host: &Host, mut received: Vec<Message>, disorder: Disorder) {
    if received.is_empty() {
        return;
    }
    if disorder.reversed {
        received.reverse();
    }
    let record = |message: &Message| {
        json!({
            "messageId": message.message_id(),
            "receiptHandle": message.receipt_handle(),
            "body": message.body(),
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "awsRegion": REGION,
        })
    };
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

/// Makes the queues, buckets and secrets of a template; what each is called goes into `made`.
async fn make(
    template: &Template,
    clients: &portcullis_aws::client::Clients,
    queues: &mut BTreeMap<ResourceId, String>,
    made: &mut BTreeMap<String, String>,
) {
    for queue in template.queues() {
        let created = clients
            .sqs()
            .create_queue()
            .queue_name(unique(queue.as_str()))
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
    made.iter().fold(value.to_owned(), |value, (id, name)| value.replace(&format!("${{{id}}}"), name))
}
