//! The line to the cluster. A patch may leave its sender and land much later, whatever became of the sender.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, ObjectKey, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place, Test};
use portcullis_domain::time::Millis;
use portcullis_engine::ports::{Cluster, Exported, PortError, PortResult, TestResult, Written};

use super::{Line, Moment, Outside};
use crate::broken::Broken;
use crate::story::Happening;
use crate::weather::Fault;

/// A patch on its way.
#[derive(Debug, Clone)]
pub(crate) struct Patch {
    target: TargetId,
    place: Place,
    write: Write,
    fence: Fence,
}

/// What a future that waits for nothing comes to.
pub(crate) fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

impl Outside {
    /// A patch reaches the cluster.
    pub(crate) fn land(&self, process: Option<u8>, patch: &Patch) -> PortResult<Written> {
        let Patch { target, place, write, fence } = patch;
        let before = self.cluster.violations().len();
        let written = at_once(portcullis_engine::ports::Cluster::write(&*self.cluster, target, place, write, fence))
            .unwrap_or_else(|| Err(PortError::new("writing", "the cluster in memory waited")));
        let sender = || process.map_or_else(|| "late:".to_owned(), |process| format!("p{process}"));
        match &written {
            Ok(Written::Done) => {
                let wrong = self.cluster.violations().split_off(before);
                self.happened(Moment::Wrote { wrong });
                self.hub.note(fence.seq.0, || format!("{} {fence} writes {} {:?}", sender(), write.object, write.to));
            }
            Ok(Written::Drift(found)) => self.hub.note(!fence.seq.0, || {
                format!("{} {fence} may not write {} {:?}: found {:?}", sender(), write.object, write.to, found.stamp)
            }),
            Err(_) => {}
        }
        written
    }
}

#[async_trait]
impl Cluster for Line {
    async fn observe(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        self.call("observe", self.outside.cluster.observe(target, place, services)).await
    }

    async fn manifests(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>> {
        self.call("manifests", self.outside.cluster.manifests(target, place, services)).await
    }

    async fn write(&self, target: &TargetId, place: &Place, write: &Write, fence: &Fence) -> PortResult<Written> {
        let hub = self.hub();
        let fate = hub.plan(self.process, "write", true);
        self.before("write", fate).await?;
        let patch = Patch { target: target.clone(), place: place.clone(), write: write.clone(), fence: fence.clone() };
        if hub.strikes(|weather| weather.patches, Fault::PatchLate) {
            let (lands, answers) = (hub.between(1_000, 240_000), hub.between(500, 90_000));
            let process = self.process;
            hub.note(lands, || {
                format!("p{process} {fence}: its patch of {} is on its way for {lands} ms", write.object)
            });
            hub.schedule(hub.now() + Millis(lands), Happening::Land(patch));
            hub.until(hub.now() + Millis(answers)).await;
            return Err(PortError::new("writing", "a fault on purpose: no answer"));
        }
        let written = self.outside.land(Some(self.process), &patch)?;
        self.after("write", fate).await?;
        Ok(written)
    }

    async fn look(&self, target: &TargetId, place: &Place, ask: &AwaitReady) -> PortResult<Found> {
        let mut found = self.call("look", self.outside.cluster.look(target, place, ask)).await?;
        if self.outside.broken == Some(Broken::Readiness) {
            found.ready = ask.replicas;
        }
        Ok(found)
    }

    async fn export(&self, target: &TargetId, place: &Place, secrets: Option<&str>) -> PortResult<Exported> {
        self.call("export", self.outside.cluster.export(target, place, secrets)).await
    }

    async fn test(
        &self,
        target: &TargetId,
        place: &Place,
        intention: Seq,
        test: &Test,
        against: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult> {
        let result = self.call("test", self.outside.cluster.test(target, place, intention, test, against)).await;
        if matches!(result, Ok(TestResult::Failed(_))) {
            self.hub().count(Fault::TestFails);
        }
        result
    }
}
