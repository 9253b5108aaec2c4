//! The lines between a process and its outside: every port of the engine, with whatever the weather does to a call.
//!
//! Behind them are the engine's own in-memory twins, which never fail here: what fails, hangs or is late is decided by
//! the [`Hub`] for each call.

mod cluster;
mod ledger;
mod reads;

pub(crate) use self::cluster::Patch;
pub(crate) use self::cluster::at_once;

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use portcullis_domain::action::ObjectKey;
use portcullis_domain::names::ServiceName;
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::{
    FakeCluster, FakeMetrics, FakeRegistry, FakeSource, MemoryBlobs, MemoryLedger, MemoryNotices, MemoryPolicies,
    MemoryQueue,
};
use portcullis_engine::ports::{Blobs, Clock, PortError, PortResult, Ports, Queue, Received, Wake};

use crate::broken::Broken;
use crate::hub::{Fate, Hub};
use crate::story::Happening;
use crate::weather::Fault;

/// Everything outside of the processes.
pub(crate) struct Outside {
    /// Time, order, chance, trace.
    pub(crate) hub: Arc<Hub>,
    /// The ledger.
    pub(crate) ledger: Arc<MemoryLedger>,
    /// The queue.
    pub(crate) queue: Arc<MemoryQueue>,
    /// The blobs.
    pub(crate) blobs: Arc<MemoryBlobs>,
    /// The registry.
    pub(crate) registry: Arc<FakeRegistry>,
    /// The source repository.
    pub(crate) source: Arc<FakeSource>,
    /// The cluster.
    pub(crate) cluster: Arc<FakeCluster>,
    /// Metrics and alarms.
    pub(crate) metrics: Arc<FakeMetrics>,
    /// The policies.
    pub(crate) policies: Arc<MemoryPolicies>,
    /// What the readers of the ledger were told.
    pub(crate) notices: Arc<MemoryNotices>,
    /// What does not keep its contract.
    pub(crate) broken: Option<Broken>,
    /// What happened, in order, for the judgement at the end.
    pub(crate) record: Mutex<Vec<Moment>>,
}

/// One thing that the judgement at the end must know the order of.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// A commit was appended; which one follows from the order.
    Appended,
    /// A fenced write changed an object: the position in [`FakeCluster::effects`], and when.
    Wrote {
        /// What the cluster found wrong with it.
        wrong: Vec<String>,
    },
    /// Somebody changed an object by hand.
    ByHand(ObjectKey),
    /// Pods of a service stopped being ready by themselves.
    Sick(ServiceName),
    /// A scope was set.
    Scope(Scope, ScopeState),
}

impl Outside {
    /// Adds to the record.
    pub(crate) fn happened(&self, moment: Moment) {
        self.record().push(moment);
    }

    /// A store that loses what it has: the first file of every backup whose index is there.
    pub(crate) fn lose_a_backup(&self) {
        let stored = at_once(Blobs::list(&*self.blobs, "")).and_then(Result::ok).unwrap_or_default();
        if stored.iter().any(|key| key.ends_with("index.json"))
            && let Some(file) = stored.iter().find(|key| key.contains("/backup-"))
        {
            self.blobs.damage(file, b"");
        }
    }

    /// The record.
    pub(crate) fn record(&self) -> MutexGuard<'_, Vec<Moment>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process's lines to everything.
#[derive(Clone)]
pub(crate) struct Line {
    process: u8,
    outside: Arc<Outside>,
}

impl Line {
    /// The ports of a process.
    pub(crate) fn ports(process: u8, outside: &Arc<Outside>, clock: &Arc<SkewedClock>) -> Ports {
        let line = Arc::new(Self { process, outside: outside.clone() });
        Ports {
            ledger: line.clone(),
            queue: line.clone(),
            blobs: line.clone(),
            registry: line.clone(),
            source: line.clone(),
            cluster: line.clone(),
            metrics: line.clone(),
            clock: clock.clone(),
            policies: outside.policies.clone(),
        }
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.outside.hub
    }

    /// Lets a call meet its fate around its work.
    async fn call<T>(&self, name: &'static str, work: impl Future<Output = PortResult<T>>) -> PortResult<T> {
        let fate = self.hub().plan(self.process, name, true);
        self.before(name, fate).await?;
        let done = work.await?;
        self.after(name, fate).await?;
        Ok(done)
    }

    async fn before(&self, name: &'static str, fate: Fate) -> PortResult<()> {
        if let Some(at) = fate.works_at {
            self.hub().until(at).await;
        }
        if fate.fails_before {
            return Err(PortError::new(name, "a fault on purpose: nothing was done"));
        }
        Ok(())
    }

    async fn after(&self, name: &'static str, fate: Fate) -> PortResult<()> {
        if let Some(ms) = fate.answers_after {
            self.hub().until(self.hub().now() + Millis(ms)).await;
        }
        if fate.fails_after {
            return Err(PortError::new(name, "a fault on purpose: no answer; it was done"));
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for Line {
    async fn send(&self, wake: Wake) -> PortResult<()> {
        let hub = self.hub();
        let fate = hub.plan(self.process, "send", true);
        self.before("send", fate).await?;
        let deaf = self.outside.broken == Some(Broken::Wakes);
        if !deaf && !hub.strikes(|weather| weather.lost, Fault::WakeLost) {
            let copies = 1 + usize::from(hub.strikes(|weather| weather.doubled, Fault::WakeDoubled));
            for _ in 0..copies {
                let mut wake = wake.clone();
                if hub.strikes(|weather| weather.late, Fault::WakeLate) {
                    wake.at = wake.at.max(hub.now()) + Millis(hub.between(100, 45_000));
                }
                let visible = wake.at;
                self.outside.queue.send(wake).await?;
                hub.schedule(visible, Happening::Queue);
            }
        }
        self.after("send", fate).await
    }

    async fn receive(&self, most: usize, wait: Millis) -> PortResult<Vec<Received>> {
        self.outside.queue.receive(most, wait).await
    }

    async fn done(&self, receipt: &str) -> PortResult<()> {
        self.call("done", self.outside.queue.done(receipt)).await
    }
}

/// A process's clock: the true time, and how far it is off.
pub(crate) struct SkewedClock {
    hub: Arc<Hub>,
    /// Milliseconds it is ahead.
    ahead: AtomicI64,
}

impl SkewedClock {
    /// A clock that is so many milliseconds ahead.
    pub(crate) fn new(hub: &Arc<Hub>, ahead: i64) -> Arc<Self> {
        Arc::new(Self { hub: hub.clone(), ahead: AtomicI64::new(ahead) })
    }

    /// Somebody sets it.
    pub(crate) fn set(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.hub.now().0.saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }

    async fn sleep_until(&self, at: Timestamp) {
        let truly = at.0.saturating_add_signed(-self.ahead.load(Ordering::Relaxed));
        self.hub.until(Timestamp(truly)).await;
    }
}
