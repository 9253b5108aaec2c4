//! The world of the stories: one application with everything around it in memory, the real recorder, driver and sweep,
//! and time that jumps from one thing that is due to the next. A story in which something cannot be done panics.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "only for tests, which fail by panicking")]

mod check;
mod scene;
mod told;

pub use self::scene::{ACCOUNT, REGION, commit, commit_facts, image, name, repository, tag};
pub use self::told::{Ending, lines};

use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{AlarmName, DeliveryId, LedgerId, ServiceName, Subject, TargetId};
use portcullis_domain::policy::{Colour, Policy};
use portcullis_domain::signal::{Command, Fact, FactKind};
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};
use tokio::task::JoinSet;

use super::{
    FakeCluster, FakeMetrics, FakeRegistry, FakeSource, Faults, ManualClock, MemoryBlobs, MemoryLedger, MemoryPolicies,
    MemoryQueue,
};
use crate::driver::Driver;
use crate::ports::{Policies, Ports};
use crate::recorder::{Commanded, Ingested, Recorder};
use crate::sweep::{Sweep, SweepReport};

/// How long nothing may happen in the process before it counts as idle. With tokio's paused time it takes none.
const IDLE: Duration = Duration::from_millis(20);
/// How often the sweep runs.
const SWEEP: Millis = Millis::minutes(1);
/// Rounds at one moment of the clock: more is a busy loop.
const MOST_ROUNDS: u32 = 2_000;

/// Everything, in memory. A test drives it with verbs: `push_all`, `approve`, `run_for`, `alarm`, `crash`.
pub struct World {
    /// The clock, in the test's hand.
    pub clock: Arc<ManualClock>,
    /// What fails or is held.
    pub faults: Faults,
    /// The ledger.
    pub ledger: Arc<MemoryLedger>,
    /// The queue.
    pub queue: Arc<MemoryQueue>,
    /// The blobs.
    pub blobs: Arc<MemoryBlobs>,
    /// The registry.
    pub registry: Arc<FakeRegistry>,
    /// The source repository.
    pub source: Arc<FakeSource>,
    /// The cluster.
    pub cluster: Arc<FakeCluster>,
    /// Metrics and alarms.
    pub metrics: Arc<FakeMetrics>,
    /// The policies.
    pub policies: Arc<MemoryPolicies>,
    /// All of them, as the engine has them.
    pub ports: Ports,
    /// The recorder.
    pub recorder: Recorder,
    /// The drivers that take wakes in turn; one at first.
    pub drivers: Vec<Driver>,
    /// The sweep.
    pub sweep: Sweep,
    /// The target of the stories.
    pub target: TargetId,
    /// Whether the sweep runs each minute.
    pub sweeping: bool,
    steps: JoinSet<()>,
    next_sweep: Timestamp,
    deliveries: u64,
    turn: usize,
}

impl World {
    /// The world with the policy of [`World::policy`]; both services serve image 0 on blue.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with another policy.
    pub fn with(edit: impl FnOnce(&mut Policy)) -> Self {
        let mut world = Self::empty(edit);
        world.seed();
        world
    }

    /// The same, where nothing was ever deployed.
    pub fn empty(edit: impl FnOnce(&mut Policy)) -> Self {
        let clock = ManualClock::new(Timestamp(1_800_000_000_000));
        let faults = Faults::default();
        let policies = MemoryPolicies::new();
        let mut policy = Self::policy();
        edit(&mut policy);
        let target = policy.target.clone();
        policies.set(policy);
        let ledger = MemoryLedger::new(LedgerId::new("ledger-of-tests").unwrap(), faults.clone());
        let queue = MemoryQueue::new(clock.clone(), faults.clone());
        let blobs = MemoryBlobs::new(faults.clone());
        let registry = FakeRegistry::new(faults.clone());
        let source = FakeSource::new(faults.clone());
        let cluster = FakeCluster::new(clock.clone(), faults.clone());
        let metrics = FakeMetrics::new(cluster.clone(), faults.clone());
        let ports = Ports {
            ledger: ledger.clone(),
            queue: queue.clone(),
            blobs: blobs.clone(),
            registry: registry.clone(),
            source: source.clone(),
            cluster: cluster.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            policies: policies.clone(),
        };
        let recorder = Recorder::new(ports.clone());
        let driver = Driver::new(ports.clone(), recorder.clone());
        let sweep = Sweep::new(ports.clone(), recorder.clone());
        let next_sweep = clock.now() + SWEEP;
        for alarm in ["shop-errors", "ask-latency"] {
            metrics.set_alarm(&AlarmName::new(alarm).unwrap(), AlarmState::Ok, clock.now());
        }
        Self {
            clock,
            faults,
            ledger,
            queue,
            blobs,
            registry,
            source,
            cluster,
            metrics,
            policies,
            ports,
            recorder,
            drivers: vec![driver],
            sweep,
            target,
            sweeping: true,
            steps: JoinSet::new(),
            next_sweep,
            deliveries: 0,
            turn: 0,
        }
    }

    // ---- the outside ----

    /// An image of a service is pushed, and the registry's event comes.
    pub async fn push(&mut self, service: &str, n: u32) -> Ingested {
        let fact = self.publish(service, n);
        self.ingest(&fact).await
    }

    /// Images of every service are pushed.
    pub async fn push_all(&mut self, n: u32) {
        for service in self.services() {
            self.push(service.as_str(), n).await;
        }
    }

    /// An image is pushed and its event is lost: the fact that nobody heard of.
    pub fn publish(&mut self, service: &str, n: u32) -> Fact {
        let repository = repository(service);
        let (tag, digest) = (tag(n), image(service, n));
        let now = self.clock.now();
        self.registry.push(&repository, digest, &tag, now);
        self.know_commit(n);
        self.fact(FactKind::ImagePushed { repository, digest, tag: Some(tag) })
    }

    /// A fact of now, with a delivery of its own.
    pub fn fact(&mut self, kind: FactKind) -> Fact {
        self.deliveries += 1;
        Fact {
            delivery: DeliveryId::new(&format!("delivery-{}", self.deliveries)).unwrap(),
            at: self.clock.now(),
            account: Some(scene::ACCOUNT.to_owned()),
            region: Some(scene::REGION.to_owned()),
            kind,
        }
    }

    /// A fact arrives.
    pub async fn ingest(&self, fact: &Fact) -> Ingested {
        self.recorder.ingest(fact).await.unwrap()
    }

    /// An alarm changes its state: its event comes, and whoever reads it sees it.
    pub async fn alarm(&mut self, name: &str, state: AlarmState) {
        let alarm = AlarmName::new(name).unwrap();
        let changed_at = self.clock.now();
        self.metrics.set_alarm(&alarm, state, changed_at);
        let kind =
            FactKind::AlarmChanged { alarm, state, changed_at, reason: "threshold crossed".into(), suppressed: false };
        let fact = self.fact(kind);
        self.ingest(&fact).await;
    }

    // ---- people ----

    /// A person's command.
    pub async fn command(&self, who: &str, command: Command) -> Commanded {
        let who = Subject::new(who).unwrap();
        self.recorder.command(&self.target, &who, command).await.unwrap()
    }

    /// A person approves the newest release's plan.
    pub async fn approve(&self, who: &str) {
        let release = self.newest().await;
        let plan = self.release(release).await.unwrap().plan.unwrap().id;
        let commanded = self.command(who, Command::Approve { release, plan, typed: None }).await;
        assert!(matches!(commanded, Commanded::Accepted(_)), "the approval was refused: {commanded:?}");
    }

    /// A person wants back what served before.
    pub async fn roll_back(&self, who: &str) -> Commanded {
        self.command(who, Command::RollBack { to: None, reason: "it hurts".into() }).await
    }

    // ---- time ----

    /// Drives everything that is due now, until nothing happens any more or only held calls are left.
    pub async fn settle(&mut self) {
        // Whatever else runs in the process comes first.
        tokio::time::sleep(Duration::from_millis(1)).await;
        for _ in 0..MOST_ROUNDS {
            let mut moved = false;
            for received in self.queue.take(100) {
                moved = true;
                self.turn += 1;
                let driver = self.drivers[self.turn % self.drivers.len()].clone();
                self.steps.spawn(async move { driver.answer(received.wake, &received.receipt).await });
            }
            while let Ok(Some(ended)) = tokio::time::timeout(IDLE, self.steps.join_next()).await {
                assert!(!ended.is_err_and(|error| error.is_panic()), "a step panicked");
                moved = true;
            }
            if !moved {
                return;
            }
        }
        panic!("the engine does not come to rest at {:?}: a busy loop", self.clock.now());
    }

    /// Lets so much time pass, from one thing that is due to the next.
    pub async fn run_for(&mut self, time: Millis) {
        let end = self.clock.now() + time;
        self.run_to(end, |_| false).await;
    }

    /// Lets time pass until the state is so, at most `limit`.
    pub async fn run_until(&mut self, limit: Millis, what: &str, is_so: impl Fn(&Target) -> bool) {
        let end = self.clock.now() + limit;
        if !self.run_to(end, is_so).await {
            let story = self.story().await;
            panic!("within {limit} it never came to: {what}\n{story}");
        }
    }

    /// Lets time pass until the newest release is in this phase.
    pub async fn run_until_phase(&mut self, name: &'static str) {
        let is_so = |state: &Target| state.releases.values().next_back().is_some_and(|r| r.phase.name() == name);
        self.run_until(Millis::hours(1), name, is_so).await;
    }

    async fn run_to(&mut self, end: Timestamp, is_so: impl Fn(&Target) -> bool) -> bool {
        loop {
            self.settle().await;
            if is_so(&self.state().await) {
                return true;
            }
            let now = self.clock.now();
            let sweep = self.sweeping.then_some(self.next_sweep);
            let due = [self.queue.next_visible(), self.clock.next_sleeper(), sweep];
            // What is due by now and still there is held by the test.
            let next = due.into_iter().flatten().filter(|at| *at > now).min().unwrap_or(end);
            if now >= end {
                return false;
            }
            self.clock.set(next.min(end));
            if self.sweeping && self.clock.now() >= self.next_sweep {
                self.next_sweep = self.clock.now() + SWEEP;
                self.sweep_once().await;
            }
        }
    }

    /// Sweeps.
    pub async fn sweep_once(&self) -> SweepReport {
        self.sweep.once().await.unwrap()
    }

    // ---- the process ----

    /// Every driver dies on the spot and another process takes over: what it held in memory is gone, its leases stay.
    pub async fn crash(&mut self) {
        self.steps.abort_all();
        while self.steps.join_next().await.is_some() {}
        self.recorder = Recorder::new(self.ports.clone());
        self.sweep = Sweep::new(self.ports.clone(), self.recorder.clone());
        let count = self.drivers.len();
        self.drivers = (0..count).map(|_| Driver::new(self.ports.clone(), self.recorder.clone())).collect();
    }

    /// Another driver of the same target, in another process.
    pub fn add_driver(&mut self) {
        let recorder = Recorder::new(self.ports.clone());
        self.drivers.push(Driver::new(self.ports.clone(), recorder));
    }

    fn services(&self) -> Vec<ServiceName> {
        let policy = self.policies.get(&self.target);
        policy.map_or_else(Vec::new, |policy| policy.services.iter().map(|service| service.name.clone()).collect())
    }

    fn seed(&mut self) {
        for service in self.services() {
            let digest = image(service.as_str(), 0);
            self.registry.push(&repository(service.as_str()), digest, &tag(0), self.clock.now());
            self.cluster.seed(&self.target, &service, Colour::Blue, digest, 2);
        }
        self.know_commit(0);
        self.clock.advance(Millis::minutes(10));
        self.next_sweep = self.clock.now() + SWEEP;
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
