//! A cluster on this machine, real enough to measure: workloads are pods that are real HTTP servers on loopback, a
//! Service is a proxy whose backends are switched in one step and drained, metrics are counted on the traffic that
//! really flows, and every object obeys the fence protocol. A restart of the process finds its objects again.
//!
//! It must not know: releases, gates, policies; who asks, and why. Start reading at [`LocalCluster`]; the protocol is
//! in `fence`, the pods' life in `deployment` and `pod`, the Service in `route` and `proxy`.

mod build;
pub mod client;
mod cluster;
mod deployment;
mod endpoint;
mod fence;
mod files;
mod http;
pub mod load;
mod manifest;
mod meter;
mod metrics;
mod objects;
mod pod;
mod proxy;
mod route;
mod running;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_domain::action::{ObjectKey, Part, Value};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{PortError, PortResult};

pub use build::Build;
use build::Images;
use deployment::Status;
use files::{Files, failed};
use objects::{Change, Object, ObjectStore, Tested};
use running::Running;

/// Most replicas of one workload: each is a server of its own in this process.
pub const MOST_REPLICAS: u32 = 64;

/// How a local cluster is started.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The folder of its objects, images and alarms. Made if it is missing; used by one process at a time.
    pub state_dir: PathBuf,
    /// Replicas of a baseline service that asks for 0.
    pub replicas_default: u32,
    /// How long a pod (or a proxy that stops) may still work on requests in flight before they are cut.
    pub grace: Millis,
}

impl LocalOptions {
    /// Two replicas, 30 seconds of grace (Kubernetes' default).
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), replicas_default: 2, grace: Millis::seconds(30) }
    }
}

/// The local cluster. Implements the engine's `Cluster` and `Metrics`. Dropping it ends its pods and proxies;
/// [`LocalCluster::stop`] also waits for their last answers.
#[derive(Debug)]
pub struct LocalCluster(Arc<Inner>);

type Name = (TargetId, ServiceName);

#[derive(Debug)]
struct Inner {
    options: LocalOptions,
    files: Files,
    store: Arc<ObjectStore>,
    images: Images,
    services: RwLock<BTreeMap<Name, Arc<Running>>>,
    /// Held while objects are changed and what runs is brought in line with them.
    applying: tokio::sync::Mutex<()>,
    /// Held while the file of alarms is changed.
    alarms: Mutex<()>,
    stopped: AtomicBool,
    /// Keeps other processes from the folder.
    lock: Mutex<Option<File>>,
}

impl LocalCluster {
    /// Opens the folder and starts the pods and proxies of every object in it, each Service on its port of before
    /// where that is free. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// The folder cannot be read or written, another process uses it, or a file in it is no object.
    pub async fn start(options: LocalOptions) -> PortResult<Arc<Self>> {
        let dir = options.state_dir.clone();
        let (lock, store, files) = blocking(move || {
            let files = Files::at(&dir)?;
            let path = dir.join("lock");
            let lock = File::create(&path).map_err(|error| failed("opening", &path, error))?;
            lock.try_lock().map_err(|_| failed("taking", &path, "another process runs a cluster on it"))?;
            Ok((lock, ObjectStore::open(dir.join("objects"), files.clone())?, files))
        })
        .await?;
        let inner = Arc::new(Inner {
            images: Images::new(&options.state_dir, files.clone()),
            files,
            options,
            store: Arc::new(store),
            services: RwLock::default(),
            applying: tokio::sync::Mutex::default(),
            alarms: Mutex::default(),
            stopped: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        });
        // Workloads sort before traffic: a proxy opens when its pods are already coming up.
        for (target, key) in inner.store.names() {
            inner.apply(&target, &key).await?;
        }
        Ok(Arc::new(Self(inner)))
    }

    /// Stops accepting requests, lets those in flight finish, ends all pods, and gives the folder free. From then on
    /// every call fails. The objects stay.
    pub async fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        let _applying = self.0.applying.lock().await;
        let services: Vec<_> = self.0.running_services();
        for service in &services {
            if let Some(proxy) = service.proxy.get() {
                proxy.stop().await;
            }
        }
        for workload in services.iter().flat_map(|service| &service.workloads) {
            if let Some(workload) = workload.get() {
                workload.stop().await;
            }
        }
        held(&self.0.lock).take();
    }

    /// Where a service's requests go: the address of its proxy, the same for its life. None = it has no Service.
    pub fn address(&self, target: &TargetId, service: &ServiceName) -> Option<SocketAddr> {
        self.0.running(target, service)?.proxy.get().map(|proxy| proxy.addr)
    }

    /// The addresses of a colour's ready pods.
    pub fn pods(&self, target: &TargetId, service: &ServiceName, colour: Colour) -> Vec<SocketAddr> {
        let status = self.0.status(target, &ObjectKey::workload(service, colour));
        status.pods.iter().filter_map(|pod| pod.ready.as_ref()).map(|ready| ready.addr()).collect()
    }

    /// Makes an image known: pods of this digest run this build. Blocks on the disk.
    pub fn push_image(&self, digest: &Digest, build: &Build) -> PortResult<()> {
        self.0.images.push(digest, build)
    }

    /// Creates what runs before Portcullis comes: for each service a blue workload that serves, and a Service unless
    /// it is a worker; none of them fenced. Objects that exist already stay as they are. Does not wait for pods.
    pub async fn apply_baseline(
        &self,
        target: &TargetId,
        services: &[(ServiceName, Digest, bool, u32)],
    ) -> PortResult<()> {
        for (service, digest, worker, replicas) in services {
            let replicas = if *replicas == 0 { self.0.options.replicas_default } else { *replicas };
            let workload = (ObjectKey::workload(service, Colour::Blue), Value::Workload { digest: *digest, replicas });
            let traffic = (ObjectKey::traffic(service), Value::Traffic { green: 0 });
            // The Service first: what has none is a worker.
            for (key, value) in (!worker).then_some(traffic).into_iter().chain([workload]) {
                valid(&key, &value)?;
                let change = Change { fence: None, written_by: "baseline".into(), value };
                self.0.clone().change(target, &key, None, change).await?;
            }
        }
        Ok(())
    }

    /// Waits until every workload of a target has the ready pods it asks for.
    ///
    /// # Errors
    /// It takes longer than `within`; says which workload waits, and what keeps its pods.
    pub async fn ready(&self, target: &TargetId, within: Millis) -> PortResult<()> {
        let until = tokio::time::Instant::now() + Duration::from_millis(within.0);
        for (key, object) in self.0.store.of(target) {
            let Value::Workload { digest, replicas } = object.value else { continue };
            let mut last = String::from("no pod is up yet");
            let waiting = async {
                loop {
                    let status = self.0.observed(target, &key, object.version).await?;
                    if ready_of(&status, |of| of == digest) >= replicas {
                        return Ok(());
                    }
                    if let Some(problem) = problems_of(&status, digest).pop() {
                        last = problem;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            match tokio::time::timeout_at(until, waiting).await {
                Ok(done) => done?,
                Err(_) => return Err(PortError::new(format!("waiting {within} for {key} of {target}"), last)),
            }
        }
        Ok(())
    }

    /// Changes an object's value by hand, as `kubectl edit` would: the annotation stays as it is.
    ///
    /// # Errors
    /// There is no such object, or the value cannot be its.
    pub async fn edit(&self, target: &TargetId, key: &ObjectKey, value: Value) -> PortResult<()> {
        valid(key, &value)?;
        self.by_hand(target, key, |found| (found.fence.clone(), value)).await
    }

    /// Writes (or removes) an object's fence annotation by hand, whatever text it is.
    ///
    /// # Errors
    /// There is no such object.
    pub async fn annotate(&self, target: &TargetId, key: &ObjectKey, fence: Option<&str>) -> PortResult<()> {
        self.by_hand(target, key, |found| (fence.map(str::to_owned), found.value)).await
    }

    async fn by_hand(
        &self,
        target: &TargetId,
        key: &ObjectKey,
        edit: impl Fn(&Object) -> (Option<String>, Value),
    ) -> PortResult<()> {
        loop {
            let doing = || format!("editing {key} of {target} by hand");
            let found =
                self.0.store.get(target, key).ok_or_else(|| PortError::new(doing(), "there is no such object"))?;
            let (fence, value) = edit(&found);
            let change = Change { fence, written_by: "kubectl-edit".into(), value };
            if self.0.clone().change(target, key, Some(Tested::from(&found)), change).await? {
                return Ok(());
            }
        }
    }
}

/// Whether an object of this kind can hold this value.
fn valid(key: &ObjectKey, value: &Value) -> PortResult<()> {
    let wrong = |why: String| Err(PortError::new(format!("checking a value for {key}"), why));
    match (key.part, *value) {
        (Part::Workload(_), Value::Workload { replicas, .. }) if replicas > MOST_REPLICAS => {
            wrong(format!("{replicas} replicas: the local cluster runs at most {MOST_REPLICAS} of a workload"))
        }
        (Part::Traffic, Value::Traffic { green }) if green > route::WHOLE => {
            wrong(format!("a share of {green} is more than {}", route::WHOLE))
        }
        (Part::Workload(_), Value::Workload { .. }) | (Part::Traffic, Value::Traffic { .. }) => Ok(()),
        _ => wrong("it is the value of another kind of object".into()),
    }
}

fn ready_of(status: &Status, counts: impl Fn(Digest) -> bool) -> u32 {
    let ready = status.pods.iter().filter(|pod| pod.ready.is_some() && counts(pod.digest)).count();
    u32::try_from(ready).unwrap_or(u32::MAX)
}

/// What keeps pods of this digest from being ready: each line once, at most 5.
fn problems_of(status: &Status, digest: Digest) -> Vec<String> {
    let of_digest = status.pods.iter().filter(|pod| pod.digest == digest);
    let problems: BTreeSet<&String> = of_digest.filter_map(|pod| pod.problem.as_ref()).collect();
    problems.into_iter().take(5).cloned().collect()
}

fn index_of(colour: Colour) -> usize {
    match colour {
        Colour::Blue => 0,
        Colour::Green => 1,
    }
}

/// Takes a lock. Whoever panicked while holding it left whole values: every change under one is a single step.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Runs what blocks on the disk where it holds up nothing else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> PortResult<T> + Send + 'static) -> PortResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PortError::new("using the disk", error))?
}
