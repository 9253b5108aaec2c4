//! The engine's `Cluster` on a local one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, ObjectKey, Stamp, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place, Test, TestKind};
use portcullis_engine::ports::{Cluster, Exported, PortError, PortResult, TestResult, Written};

use super::fence::{self, Judgement};
use super::objects::{Change, Object, Tested};
use super::{Inner, LocalCluster, manifest, pod, problems_of, ready_of, valid};

/// Who wrote an object that a fenced write changed.
const OURSELVES: &str = "portcullis";
/// So often a write reads again because somebody changed the object between reading and patching.
const ATTEMPTS: usize = 8;

/// Objects belong to a target here; the place is not looked at.
#[async_trait]
impl Cluster for LocalCluster {
    async fn observe(
        &self,
        target: &TargetId,
        _place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        self.0.check_running()?;
        let mut found = BTreeMap::new();
        for service in services {
            let workload = |colour| ObjectKey::workload(service, colour);
            for key in [workload(Colour::Blue), workload(Colour::Green), ObjectKey::traffic(service)] {
                let seen = self.0.found(target, &key).await?;
                found.insert(key, seen);
            }
        }
        Ok(found)
    }

    /// Services without any object are absent.
    async fn manifests(
        &self,
        target: &TargetId,
        _place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>> {
        self.0.check_running()?;
        let known: BTreeSet<_> = self.0.store.of(target).into_iter().map(|(key, _)| key.service).collect();
        let of = services.intersection(&known);
        Ok(of
            .map(|service| (service.clone(), manifest::hash(target, service, self.0.store.is_worker(target, service))))
            .collect())
    }

    async fn write(&self, target: &TargetId, _place: &Place, write: &Write, fence: &Fence) -> PortResult<Written> {
        valid(&write.object, &write.to)?;
        let key = &write.object;
        let ours = Stamp { fence: Some(fence.clone()), value: write.to };
        for _ in 0..ATTEMPTS {
            self.0.check_running()?;
            let object = self.0.store.get(target, key);
            let found = object.as_ref().map(|object| (object.fence.as_deref(), object.value));
            match fence::judge(found, write, fence) {
                Judgement::Refuse => return Ok(Written::Drift(self.0.found(target, key).await?)),
                // It is stored; whether it was also carried out is not known, and doing so again changes nothing.
                Judgement::Again => self.0.apply(target, key).await?,
                Judgement::Accept => {
                    let change = Change {
                        fence: Some(fence.to_string()),
                        written_by: OURSELVES.into(),
                        // One step that creates it only where there is none: a late one can do no harm, so that there
                        // is no need to create it inert first.
                        value: write.to,
                    };
                    if !self.0.clone().change(target, key, object.as_ref().map(Tested::from), change).await? {
                        continue;
                    }
                }
            }
            let found = self.0.found(target, key).await?;
            return Ok(if found.stamp.as_ref() == Some(&ours) { Written::Done } else { Written::Drift(found) });
        }
        Err(PortError::new(format!("writing {key} of {target}"), "somebody keeps changing it"))
    }

    /// `ready` counts pods of the digest that was asked for. Where none may be left, it counts every pod that is
    /// there, also those that only finish what they have.
    async fn look(&self, target: &TargetId, _place: &Place, ask: &AwaitReady) -> PortResult<Found> {
        self.0.check_running()?;
        let Some(object) = self.0.store.get(target, &ask.object) else { return Ok(Found::default()) };
        let status = self.0.observed(target, &ask.object, object.version).await?;
        let mut found = described(&object);
        found.ready = if ask.replicas == 0 {
            u32::try_from(status.pods.len()).unwrap_or(u32::MAX).saturating_add(status.leaving)
        } else {
            ready_of(&status, |digest| digest == ask.digest)
        };
        found.problems = problems_of(&status, ask.digest);
        Ok(found)
    }

    /// It has no Secrets.
    async fn export(&self, target: &TargetId, place: &Place, _: Option<&str>) -> PortResult<Exported> {
        self.0.check_running()?;
        let manifests = manifest::export(target, &place.namespace, &self.0.store.of(target));
        Ok(Exported { manifests, ..Exported::default() })
    }

    /// Runs to its end in one call; doing it again asks again.
    async fn test(
        &self,
        target: &TargetId,
        _place: &Place,
        _intention: Seq,
        test: &Test,
        against: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult> {
        self.0.check_running()?;
        let paths = match &test.kind {
            TestKind::Job { cronjob } => {
                let why = format!("the local cluster runs no Jobs: CronJob {cronjob} can only be run on Kubernetes");
                return Ok(TestResult::Failed(why));
            }
            TestKind::Http { paths } => paths,
        };
        let asking = self.ask_pods(target, paths, against);
        Ok(match tokio::time::timeout(Duration::from_millis(test.within.0), asking).await {
            Ok(Ok(Some(note))) => TestResult::Passed(note),
            Ok(Ok(None)) => TestResult::Running,
            Ok(Err(why)) => TestResult::Failed(why),
            Err(_) => {
                TestResult::Failed(format!("test {} had no answer to everything within {}", test.name, test.within))
            }
        })
    }
}

impl LocalCluster {
    /// Asks every ready pod for every path. The error is the first answer that is not 200 to 299; none while a
    /// service has no ready pod: they may be coming up again after a restart, and the test's deadline bounds the wait.
    async fn ask_pods(
        &self,
        target: &TargetId,
        paths: &[String],
        against: &BTreeMap<ServiceName, Colour>,
    ) -> Result<Option<String>, String> {
        let (mut services, mut answers) = (0, 0);
        for (service, colour) in against {
            if self.0.store.is_worker(target, service) {
                continue;
            }
            let pods = self.pods(target, service, *colour);
            if pods.is_empty() {
                return Ok(None);
            }
            services += 1;
            for addr in pods {
                for path in paths {
                    pod::get(addr, path).await.map_err(|why| format!("{path} of {service} {colour}: {why}"))?;
                    answers += 1;
                }
            }
        }
        Ok(Some(format!("{answers} answers from {services} services, all 2xx")))
    }
}

impl Inner {
    async fn found(&self, target: &TargetId, key: &ObjectKey) -> PortResult<Found> {
        let Some(object) = self.store.get(target, key) else { return Ok(Found::default()) };
        let mut found = described(&object);
        if let Value::Workload { digest, .. } = object.value {
            let status = self.observed(target, key, object.version).await?;
            found.ready = ready_of(&status, |of| of == digest);
            found.problems = problems_of(&status, digest);
        }
        Ok(found)
    }
}

/// What an object says of itself, without its pods.
fn described(object: &Object) -> Found {
    let (fence, foreign) = match fence::parse(object.fence.as_deref()) {
        Ok(fence) => (fence, None),
        Err(text) => (None, Some(text.chars().take(200).collect())),
    };
    Found {
        stamp: Some(Stamp { fence, value: object.value }),
        foreign,
        written_by: (object.written_by != OURSELVES).then(|| object.written_by.clone()),
        ..Found::default()
    }
}
