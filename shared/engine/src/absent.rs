//! What a process that does not act does without: a cluster, its metrics, a registry. What is recorded is acted on by a driver.
//! And a source that is not connected.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, Measure, ObjectKey, Window, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{AlarmFact, CommitFacts, ImageFact, ScanFact};
use portcullis_domain::names::{AlarmName, CommitSha, Repository, Seq, ServiceName, Tag, TargetId};
use portcullis_domain::policy::{Colour, Place, Test};
use portcullis_domain::time::{Millis, Timestamp};

use crate::ports::{Blobs, Cluster, Exported, Metrics, PortError, PortResult, Registry, Source, TestResult, Written};

/// No cluster: every call fails and says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Absent;

fn none<T>(doing: &str) -> PortResult<T> {
    Err(PortError::new(doing, "this process does not ask for it; a driver does"))
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
    async fn export(&self, _: &TargetId, _: &Place, _: Option<&str>) -> PortResult<Exported> {
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

#[async_trait]
impl Registry for Absent {
    async fn image(&self, _: &Place, _: &Repository, _: &Digest) -> PortResult<Option<ImageFact>> {
        none("reading an image")
    }
    async fn tagged(&self, _: &Place, _: &Repository, _: &Tag) -> PortResult<Option<Digest>> {
        none("reading a tag")
    }
    async fn scan(&self, _: &Place, _: &Repository, _: &Digest) -> PortResult<ScanFact> {
        none("reading a scan")
    }
    async fn list(&self, _: &Place, _: &Repository) -> PortResult<Vec<(Tag, Digest, Timestamp)>> {
        none("listing images")
    }
}

/// No source repository is connected: it knows no commit, so nothing that is asked of one holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSource;

#[async_trait]
impl Source for NoSource {
    async fn commit(
        &self,
        _: Option<&str>,
        _: &CommitSha,
        _: &BTreeMap<ServiceName, CommitSha>,
        _: &BTreeMap<ServiceName, String>,
    ) -> PortResult<Option<CommitFacts>> {
        Ok(None)
    }
}

/// No blobs: every call fails and says so.
#[async_trait]
impl Blobs for Absent {
    async fn put(&self, _: &str, _: &[u8], _: bool) -> PortResult<bool> {
        none("storing a blob")
    }
    async fn get(&self, _: &str) -> PortResult<Option<Vec<u8>>> {
        none("reading a blob")
    }
    async fn list(&self, _: &str) -> PortResult<Vec<String>> {
        none("listing blobs")
    }
}
