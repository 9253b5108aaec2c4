//! What a signal and a tick of a watch may cost, counted on the wire: the real recorder and driver on the real adapters, in
//! this process, warm.
//!
//! A signal recorded: at most one read, one transaction, one message. A tick of a watch: at most one read, one call of
//! CloudWatch, one transaction, and the message that asks for the next tick.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_aws::blobs::{BucketOptions, S3Blobs};
use portcullis_aws::ledger::DynamoLedger;
use portcullis_aws::metrics::CloudWatch;
use portcullis_aws::queue::SqsQueue;
use portcullis_aws::registry::EcrRegistry;
use portcullis_aws::roles::Roles;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{DeliveryId, TargetId};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::signal::Signal;
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_embedded::clock::SystemClock;
use portcullis_embedded::local::{LocalCluster, LocalOptions};
use portcullis_engine::absent::NoSource;
use portcullis_engine::driver::Driver;
use portcullis_engine::ports::{Policies, Ports, Wake};
use portcullis_engine::recorder::Recorder;
use portcullis_ingest::Read;
use portcullis_policy::PolicySet;
use portcullis_tests::wait;
use portcullis_tests_aws::emulator::Emulator;
use portcullis_tests_aws::home::{Home, LIFE, Style, alarm, rings, target};
use portcullis_tests_aws::resources::{self, unique};
use portcullis_tests_aws::wire::Wire;
use serde_json::Value;

/// How long data of metrics take to be there, here.
const SETTLE: Millis = Millis(100);
/// The length of a window in the policies of these tests.
const WINDOW: Millis = Millis::seconds(5);

/// The policies, read once.
struct Given(PolicySet);

impl Policies for Given {
    fn get(&self, target: &TargetId) -> Option<SealedPolicy> {
        self.0.get(target).cloned()
    }
    fn all(&self) -> Vec<SealedPolicy> {
        self.0.policies.clone()
    }
}

/// One application whose release serves and is watched, everything of it over a wire that is counted.
struct Watched {
    wire: Wire,
    ports: Ports,
    recorder: Recorder,
    driver: Driver,
    application: String,
    target: TargetId,
    _home: Home,
    _emulator: Arc<Emulator>,
}

impl Watched {
    async fn start() -> Self {
        let emulator = Emulator::moto();
        let wire = Wire::default();
        let (plain, over) = (emulator.clients().await, emulator.clients_over(&wire).await);
        let application = unique("budget");
        let home = Home::new(&[(application.clone(), Style::SLOW)]).await;
        let image = home.push(&application, "v2").await;
        let table = resources::table(&plain.dynamodb()).await;
        let options = BucketOptions { bucket: resources::bucket(&plain.s3(), false).await, ..BucketOptions::default() };
        let (clock, roles) = (Arc::new(SystemClock), Arc::new(Roles::new(over.config().clone())));
        let policies = portcullis_policy::load(&home.policies()).unwrap_or_else(|report| panic!("{report:?}"));
        let ports = Ports {
            ledger: Arc::new(DynamoLedger::open(over.dynamodb(), &table).await.unwrap()),
            queue: Arc::new(SqsQueue::new(over.sqs(), resources::queue(&plain.sqs()).await, clock.clone())),
            blobs: Arc::new(S3Blobs::new(over.s3(), options)),
            registry: Arc::new(EcrRegistry::new(roles.clone())),
            source: Arc::new(NoSource),
            cluster: LocalCluster::start(LocalOptions::new(home.cluster())).await.unwrap(),
            metrics: Arc::new(CloudWatch::new(roles).settling(SETTLE)),
            clock,
            policies: Arc::new(Given(policies)),
        };
        let recorder = Recorder::new(ports.clone());
        let driver = Driver::new(ports.clone(), recorder.clone());
        let target = target(&application);
        let watched = Self { wire, ports, recorder, driver, application, target, _home: home, _emulator: emulator };
        watched.ingest(&image.push()).await;
        wait::until("it is watched", LIFE, async || {
            watched.step().await;
            match watched.state().await.releases.values().next().map(|release| release.phase.name()) {
                Some("watching") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        // Once, so that everything is there that is asked for once: clients, load balancers, the ledger's name.
        watched.tick().await;
        watched
    }

    async fn state(&self) -> Target {
        self.recorder.state(&self.target).await.unwrap().unwrap_or_default()
    }

    async fn step(&self) {
        let version = self.state().await.seq;
        self.driver.step(&self.wake(version)).await.unwrap();
    }

    fn wake(&self, version: portcullis_domain::names::Seq) -> Wake {
        Wake { target: self.target.clone(), version, at: self.ports.clock.now() }
    }

    /// Waits until the next window can be measured, and measures it: what that cost.
    async fn tick(&self) -> Cost {
        let state = self.state().await;
        let before = watched_to(&state);
        self.ports.clock.sleep_until(before + WINDOW + SETTLE).await;
        self.wire.take();
        let report = self.driver.step(&self.wake(state.seq)).await.unwrap();
        let cost = Cost::of(&self.wire);
        let after = watched_to(&self.state().await);
        assert_eq!(after, before + WINDOW, "one window was measured and recorded: {report:?}, {cost:?}");
        cost
    }

    /// An event on its way through the recorder: what it cost.
    async fn ingest(&self, event: &Value) -> Cost {
        let Ok(Read::Facts(facts)) = portcullis_ingest::read(event.to_string().as_bytes()) else {
            panic!("{event} is no fact")
        };
        self.wire.take();
        for fact in &facts {
            let ingested = self.recorder.ingest(fact).await.unwrap();
            assert_eq!(ingested.targets.len(), 1, "{ingested:?}");
        }
        Cost::of(&self.wire)
    }
}

fn watched_to(state: &Target) -> Timestamp {
    let watch = state.releases.values().find_map(|release| release.watch.as_ref());
    watch.expect("it is watched").measured_to
}

/// What was sent, by operation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cost(BTreeMap<String, usize>);

impl Cost {
    fn of(wire: &Wire) -> Self {
        let mut cost = BTreeMap::new();
        for operation in wire.operations() {
            *cost.entry(operation).or_default() += 1;
        }
        Self(cost)
    }

    fn count(&self, operations: &[&str]) -> usize {
        operations.iter().filter_map(|operation| self.0.get(*operation)).sum()
    }

    /// At most so much of each kind, and nothing of any other.
    fn assert_within(&self, what: &str, metrics: usize) {
        const KINDS: [(&str, &[&str]); 4] = [
            ("reads", &["GetItem", "BatchGetItem", "Query"]),
            ("transactions", &["TransactWriteItems"]),
            ("messages", &["SendMessage"]),
            ("calls of CloudWatch", &["GetMetricData", "DescribeAlarms"]),
        ];
        for ((kind, operations), most) in KINDS.into_iter().zip([1, 1, 1, metrics]) {
            let count = self.count(operations);
            assert!(count <= most, "{what}: {count} {kind}, at most {most} are allowed: {self:?}");
        }
        let known: usize = KINDS.iter().map(|(_, operations)| self.count(operations)).sum();
        assert_eq!(known, self.0.values().sum::<usize>(), "{what}: something else was sent: {self:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_of_a_watch_is_one_read_one_call_of_cloudwatch_and_one_transaction() {
    let watched = Watched::start().await;
    for _ in 0..3 {
        let cost = watched.tick().await;
        cost.assert_within("a tick", 1);
        assert_eq!(cost.count(&["TransactWriteItems"]), 1, "it is recorded: {cost:?}");
        assert_eq!(cost.count(&["DescribeAlarms"]), 1, "the alarms are read: {cost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_one_read_one_transaction_and_one_message() {
    let watched = Watched::start().await;
    let signal = |state, after: Millis| Signal::Alarm {
        alarm: alarm(&watched.application).parse().unwrap(),
        state,
        changed_at: watched.ports.clock.now() + after,
        reason: "by the test".to_owned(),
        suppressed: false,
    };
    for (delivery, signal) in [
        ("insufficient", signal(AlarmState::InsufficientData, Millis(0))),
        ("rings", signal(AlarmState::Alarm, Millis(1))),
    ] {
        let delivery = DeliveryId::new(delivery).unwrap();
        watched.wire.take();
        let recorded = watched.recorder.record(&watched.target, signal, Some(&delivery)).await.unwrap();
        let cost = Cost::of(&watched.wire);
        assert!(!recorded.events.is_empty(), "{delivery} said nothing");
        cost.assert_within(delivery.as_str(), 0);
        assert_eq!(cost.count(&["TransactWriteItems"]), 1, "it is recorded: {cost:?}");
    }
    let state = watched.state().await;
    assert!(state.releases.values().any(|release| release.phase.name() == "rolling_back"), "{:?}", state.releases);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarms_event_is_one_read_one_transaction_and_one_message() {
    let watched = Watched::start().await;
    let event = rings(&watched.application);
    let cost = watched.ingest(&event).await;
    assert_eq!(cost.count(&["TransactWriteItems"]), 1, "it is recorded: {cost:?}");
    cost.assert_within("an alarm's event", 0);
    // A redelivery is one read.
    let again = watched.ingest(&event).await;
    again.assert_within("its redelivery", 0);
    assert_eq!(again.count(&["TransactWriteItems", "SendMessage"]), 0, "{again:?}");
}
