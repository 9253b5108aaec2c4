//! A driver whose patch that moves traffic is on its way for as long as a story wants, even after the driver that sent
//! it is gone. Everything else it does arrives at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, ObjectKey, Purpose, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place, Test};
use portcullis_engine::driver::Driver;
use portcullis_engine::memory::World;
use portcullis_engine::ports::{Cluster, Exported, PortError, PortResult, Ports, TestResult, Written};
use portcullis_engine::recorder::Recorder;
use tokio::sync::watch;

/// The other end of a slow driver's patches.
pub(crate) struct Patches {
    let_go: watch::Sender<bool>,
    under_way: Arc<AtomicU32>,
    landed: Arc<AtomicU32>,
}

impl Patches {
    /// How many were sent and have not arrived.
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::SeqCst)
    }

    /// How many arrived late, and changed something.
    pub(crate) fn landed(&self) -> u32 {
        self.landed.load(Ordering::SeqCst)
    }

    /// They arrive.
    pub(crate) async fn arrive(&self) {
        self.let_go.send_replace(true);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.under_way(), 0, "a patch did not arrive");
    }
}

/// Puts a driver in the place of the world's only one, whose switches are slow to arrive.
pub(crate) fn slow_driver(world: &mut World) -> Patches {
    let (let_go, wait) = watch::channel(false);
    let patches = Patches { let_go, under_way: Arc::default(), landed: Arc::default() };
    let cluster = Arc::new(SlowCluster {
        inner: world.ports.cluster.clone(),
        wait,
        under_way: patches.under_way.clone(),
        landed: patches.landed.clone(),
    });
    let recorder = Recorder::new(world.ports.clone());
    world.drivers = vec![Driver::new(Ports { cluster, ..world.ports.clone() }, recorder)];
    patches
}

struct SlowCluster {
    inner: Arc<dyn Cluster>,
    wait: watch::Receiver<bool>,
    under_way: Arc<AtomicU32>,
    landed: Arc<AtomicU32>,
}

#[async_trait]
impl Cluster for SlowCluster {
    async fn observe(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        self.inner.observe(target, place, services).await
    }

    async fn manifests(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>> {
        self.inner.manifests(target, place, services).await
    }

    async fn write(&self, target: &TargetId, place: &Place, write: &Write, fence: &Fence) -> PortResult<Written> {
        if write.purpose != Purpose::Switch || *self.wait.borrow() {
            return self.inner.write(target, place, write, fence).await;
        }
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let (inner, mut wait) = (self.inner.clone(), self.wait.clone());
        let (under_way, landed) = (self.under_way.clone(), self.landed.clone());
        let (target, place, write, fence) = (target.clone(), place.clone(), write.clone(), fence.clone());
        // The patch lives on when its sender is gone.
        let patch = tokio::spawn(async move {
            let arrives = wait.wait_for(|go| *go).await.is_ok();
            let written = if arrives { Some(inner.write(&target, &place, &write, &fence).await) } else { None };
            if matches!(written, Some(Ok(Written::Done))) {
                landed.fetch_add(1, Ordering::SeqCst);
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
            written
        });
        let lost = || PortError::new("moving traffic", "the connection was lost");
        patch.await.ok().flatten().unwrap_or_else(|| Err(lost()))
    }

    async fn look(&self, target: &TargetId, place: &Place, ask: &AwaitReady) -> PortResult<Found> {
        self.inner.look(target, place, ask).await
    }

    async fn export(&self, target: &TargetId, place: &Place, secrets: Option<&str>) -> PortResult<Exported> {
        self.inner.export(target, place, secrets).await
    }

    async fn test(
        &self,
        target: &TargetId,
        place: &Place,
        intention: Seq,
        test: &Test,
        against: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult> {
        self.inner.test(target, place, intention, test, against).await
    }
}
