//! The lines to blobs, registry, source and metrics. A registry's list may not have the newest images yet.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use portcullis_domain::action::{Measure, Window};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{AlarmFact, CommitFacts, ImageFact, ScanFact};
use portcullis_domain::names::{AlarmName, CommitSha, Repository, ServiceName, Tag, TargetId};
use portcullis_domain::policy::Place;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Blobs, Metrics, PortResult, Registry, Source};

use super::Line;
use crate::weather::Fault;

/// Images pushed so short a time ago may be missing from a stale list.
const STALE: Millis = Millis::minutes(2);

#[async_trait]
impl Blobs for Line {
    async fn put(&self, key: &str, bytes: &[u8], only_new: bool) -> PortResult<bool> {
        self.call("put", self.outside.blobs.put(key, bytes, only_new)).await
    }

    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>> {
        self.call("get", self.outside.blobs.get(key)).await
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<String>> {
        self.call("list blobs", Blobs::list(&*self.outside.blobs, prefix)).await
    }
}

#[async_trait]
impl Registry for Line {
    async fn image(&self, place: &Place, repository: &Repository, digest: &Digest) -> PortResult<Option<ImageFact>> {
        self.call("image", self.outside.registry.image(place, repository, digest)).await
    }

    async fn tagged(&self, place: &Place, repository: &Repository, tag: &Tag) -> PortResult<Option<Digest>> {
        self.call("tagged", self.outside.registry.tagged(place, repository, tag)).await
    }

    async fn scan(&self, place: &Place, repository: &Repository, digest: &Digest) -> PortResult<ScanFact> {
        self.call("scan", self.outside.registry.scan(place, repository, digest)).await
    }

    async fn list(&self, place: &Place, repository: &Repository) -> PortResult<Vec<(Tag, Digest, Timestamp)>> {
        let listed = Registry::list(&*self.outside.registry, place, repository);
        let mut listed = self.call("list", listed).await?;
        if self.hub().strikes(|weather| weather.stale, Fault::ListStale) {
            let seen = self.hub().now() - STALE;
            listed.retain(|(_, _, pushed)| *pushed < seen);
        }
        Ok(listed)
    }
}

#[async_trait]
impl Source for Line {
    async fn commit(
        &self,
        repository: Option<&str>,
        commit: &CommitSha,
        since: &BTreeMap<ServiceName, CommitSha>,
        folders: &BTreeMap<ServiceName, String>,
    ) -> PortResult<Option<CommitFacts>> {
        self.call("commit", self.outside.source.commit(repository, commit, since, folders)).await
    }
}

#[async_trait]
impl Metrics for Line {
    async fn measure(
        &self,
        target: &TargetId,
        place: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        self.call("measure", self.outside.metrics.measure(target, place, ask, from, to)).await
    }

    fn settle(&self) -> Millis {
        self.outside.metrics.settle()
    }

    async fn alarms(&self, place: &Place, patterns: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        self.call("alarms", self.outside.metrics.alarms(place, patterns)).await
    }
}
