//! The cluster of a command that only records: there is none. What is recorded is acted on by a server.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, Measure, ObjectKey, Window, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::{AlarmName, Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place, Test};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Cluster, Manifest, Metrics, PortError, PortResult, TestResult, Written};

/// No cluster: every call fails and says so.
pub(crate) struct Absent;

fn none<T>(doing: &str) -> PortResult<T> {
    Err(PortError::new(doing, "this command only records; a server acts"))
}

#[async_trait]
impl Cluster for Absent {
    async fn observe(
        &self,
        _: &TargetId,
        _: &Place,
        _: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        none("reading the cluster")
    }
    async fn manifests(
        &self,
        _: &TargetId,
        _: &Place,
        _: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>> {
        none("reading the manifests")
    }
    async fn write(&self, _: &TargetId, _: &Place, _: &Write, _: &Fence) -> PortResult<Written> {
        none("writing to the cluster")
    }
    async fn look(&self, _: &TargetId, _: &Place, _: &AwaitReady) -> PortResult<Found> {
        none("looking at a workload")
    }
    async fn export(&self, _: &TargetId, _: &Place) -> PortResult<Vec<Manifest>> {
        none("exporting the manifests")
    }
    async fn test(
        &self,
        _: &TargetId,
        _: &Place,
        _: Seq,
        _: &Test,
        _: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult> {
        none("running a test")
    }
}

#[async_trait]
impl Metrics for Absent {
    async fn measure(
        &self,
        _: &TargetId,
        _: &Place,
        _: &Measure,
        _: Timestamp,
        _: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        none("measuring")
    }
    fn settle(&self) -> Millis {
        Millis(0)
    }
    async fn alarms(&self, _: &Place, _: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        none("reading the alarms")
    }
}
