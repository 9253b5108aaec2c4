//! A cluster of real servers in each test: real sockets, no timing asserted, conditions waited for.

mod objects;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::action::{AwaitReady, Fence, ObjectKey, Purpose, Stamp, Value, Write};
use portcullis_domain::names::Seq;
use portcullis_domain::policy::Place;
use portcullis_engine::ports::{Cluster as _, Written};
use tempfile::TempDir;

use super::*;

const GENEROUS: Millis = Millis::seconds(60);

/// A cluster with one serving service on version `v1`, and builds `v1`, `v2`, `v3` known.
struct World {
    dir: TempDir,
    cluster: Arc<LocalCluster>,
    target: TargetId,
    service: ServiceName,
    seq: u64,
}

fn place() -> Place {
    Place { account: None, region: None, role: None, cluster: "local".into(), namespace: "volteryde".into() }
}

fn digest(version: &str) -> Digest {
    Digest::of(version.as_bytes())
}

fn workload(version: &str, replicas: u32) -> Value {
    Value::Workload { digest: digest(version), replicas }
}

fn green(share: u16) -> Value {
    Value::Traffic { green: share }
}

fn fence(seq: u64) -> Fence {
    format!("ledger/1/{seq}").parse().unwrap()
}

async fn cluster(dir: &Path) -> Arc<LocalCluster> {
    LocalCluster::start(LocalOptions::new(dir)).await.unwrap()
}

impl World {
    async fn new() -> Self {
        Self::with(&["v1", "v2", "v3"].map(Build::new)).await
    }

    /// Version `v1` serves with two pods.
    async fn with(builds: &[Build]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = cluster(dir.path()).await;
        let world = Self {
            dir,
            cluster,
            target: "volteryde/production".parse().unwrap(),
            service: ServiceName::new("nestjs-service").unwrap(),
            seq: 0,
        };
        for build in builds {
            world.cluster.push_image(&digest(&build.version), build).unwrap();
        }
        let services = [(world.service.clone(), digest("v1"), false, 2)];
        world.cluster.apply_baseline(&world.target, &services).await.unwrap();
        world.cluster.ready(&world.target, GENEROUS).await.unwrap();
        world
    }

    fn colour(&self, colour: Colour) -> ObjectKey {
        ObjectKey::workload(&self.service, colour)
    }

    fn traffic(&self) -> ObjectKey {
        ObjectKey::traffic(&self.service)
    }

    fn address(&self) -> SocketAddr {
        self.cluster.address(&self.target, &self.service).unwrap()
    }

    async fn found(&self, key: &ObjectKey) -> portcullis_domain::action::Found {
        let services = BTreeSet::from([key.service.clone()]);
        self.cluster.observe(&self.target, &place(), &services).await.unwrap()[key].clone()
    }

    async fn attempt(&self, object: &ObjectKey, from: Vec<Option<Stamp>>, to: Value, seq: u64) -> Written {
        let write = Write { object: object.clone(), from, to, purpose: Purpose::Switch, bundle: None };
        self.cluster.write(&self.target, &place(), &write, &fence(seq)).await.unwrap()
    }

    /// Writes what the engine would: from what is there, under the next fence.
    async fn write(&mut self, object: &ObjectKey, to: Value) {
        self.seq += 1;
        let from = vec![self.found(object).await.stamp];
        assert_eq!(self.attempt(object, from, to, self.seq).await, Written::Done);
    }

    async fn look(&self, object: &ObjectKey, version: &str, replicas: u32) -> portcullis_domain::action::Found {
        let ask = AwaitReady { object: object.clone(), digest: digest(version), replicas, after: Seq(self.seq) };
        self.cluster.look(&self.target, &place(), &ask).await.unwrap()
    }

    /// Requests that pods of a workload still owe an answer.
    fn in_flight(&self, workload: &ObjectKey) -> usize {
        let status = self.cluster.0.status(&self.target, workload);
        status.pods.iter().filter_map(|pod| pod.ready.as_ref()).map(|pod| pod.in_flight()).sum()
    }

    async fn await_pods(&self, object: &ObjectKey, version: &str, replicas: u32) {
        until(async || {
            let ready = self.look(object, version, replicas).await.ready;
            if replicas == 0 { ready == 0 } else { ready >= replicas }
        })
        .await;
    }

    /// The other colour comes up with a version; then all traffic moves there, and the old colour goes.
    async fn blue_green(&mut self, colour: Colour, version: &str) {
        let (new, old, traffic) = (self.colour(colour), self.colour(colour.other()), self.traffic());
        self.write(&new, workload(version, 2)).await;
        self.await_pods(&new, version, 2).await;
        self.write(&traffic, green(if colour == Colour::Green { 10_000 } else { 0 })).await;
        let Some(Stamp { value: Value::Workload { digest, .. }, .. }) = self.found(&old).await.stamp else {
            panic!("the old colour is gone")
        };
        self.write(&old, Value::Workload { digest, replicas: 0 }).await;
    }
}

async fn until(condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), met).await.expect("the condition was not met in two minutes");
}

fn only(versions: &[&str]) -> BTreeSet<String> {
    versions.iter().map(|version| (*version).to_owned()).collect()
}

fn answers(report: &load::LoadReport) -> BTreeMap<&str, u64> {
    report.versions.iter().map(|(version, count)| (version.as_str(), *count)).collect()
}
