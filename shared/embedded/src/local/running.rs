//! Changing objects, and bringing what runs in line with them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use portcullis_domain::action::{ObjectKey, Part, Value};
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_engine::ports::{PortError, PortResult};

use super::deployment::{Deployment, Desired, Status};
use super::objects::{Change, Tested};
use super::pod::Template;
use super::proxy::{Front, Proxy};
use super::{Inner, blocking, http, index_of};

/// What runs of one service.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) front: Arc<Front>,
    pub(super) workloads: [OnceLock<Deployment>; 2],
    pub(super) proxy: OnceLock<Proxy>,
}

impl Inner {
    pub(super) fn check_running(&self) -> PortResult<()> {
        let stopped = self.stopped.load(Ordering::SeqCst);
        if stopped { Err(PortError::new("asking the local cluster", "it was stopped")) } else { Ok(()) }
    }

    pub(super) fn running(&self, target: &TargetId, service: &ServiceName) -> Option<Arc<Running>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(&(target.clone(), service.clone())).cloned()
    }

    pub(super) fn running_services(&self) -> Vec<Arc<Running>> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Patches an object and brings what runs in line with it. Goes on to its end even if the caller goes away, as a
    /// patch does that was sent already. False = the test failed, nothing was changed.
    pub(super) async fn change(
        self: Arc<Self>,
        target: &TargetId,
        key: &ObjectKey,
        tested: Option<Tested>,
        change: Change,
    ) -> PortResult<bool> {
        let (target, key) = (target.clone(), key.clone());
        let doing = format!("changing {key} of {target}");
        let changed = tokio::spawn(async move {
            let _applying = self.applying.lock().await;
            self.check_running()?;
            let (store, of) = (self.store.clone(), (target.clone(), key.clone()));
            let patched = blocking(move || store.patch(&of.0, &of.1, tested.as_ref(), change)).await?;
            if patched {
                self.carry_out(&target, &key).await?;
            }
            Ok(patched)
        });
        changed.await.map_err(|error| PortError::new(doing, error))?
    }

    /// Brings what runs in line with an object as it is now. Doing it again changes nothing.
    pub(super) async fn apply(&self, target: &TargetId, key: &ObjectKey) -> PortResult<()> {
        let _applying = self.applying.lock().await;
        self.check_running()?;
        self.carry_out(target, key).await
    }

    /// Needs `applying` to be held.
    async fn carry_out(&self, target: &TargetId, key: &ObjectKey) -> PortResult<()> {
        let Some(object) = self.store.get(target, key) else { return Ok(()) };
        let running = {
            let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
            services.entry((target.clone(), key.service.clone())).or_default().clone()
        };
        match (key.part, object.value) {
            (Part::Workload(colour), Value::Workload { digest, replicas }) => {
                let start = || {
                    let template = Template {
                        images: self.images.clone(),
                        service: key.service.clone(),
                        colour,
                        worker: self.store.is_worker(target, &key.service),
                        grace: self.grace(),
                    };
                    Deployment::start(template, running.front.clone())
                };
                let workload = running.workloads[index_of(colour)].get_or_init(start);
                workload.ask(Desired { version: object.version, digest, replicas });
                Ok(())
            }
            (Part::Traffic, Value::Traffic { green }) => {
                running.front.route.set_share(green);
                if running.proxy.get().is_none() {
                    let failed = |error| PortError::new(format!("opening the proxy of {key} of {target}"), error);
                    let listener = http::listen(object.port).await.map_err(failed)?;
                    let proxy = Proxy::start(listener, running.front.clone(), self.grace()).map_err(failed)?;
                    let port = proxy.addr.port();
                    // Nobody else can have set it: `applying` is held.
                    let _ = running.proxy.set(proxy);
                    let (store, of) = (self.store.clone(), (target.clone(), key.clone()));
                    blocking(move || store.set_port(&of.0, &of.1, port)).await?;
                }
                Ok(())
            }
            _ => Err(PortError::new(format!("reading {key} of {target}"), "its value is that of another kind")),
        }
    }

    fn grace(&self) -> Duration {
        Duration::from_millis(self.options.grace.0)
    }

    /// A workload's status as last shown; empty for one that does not run.
    pub(super) fn status(&self, target: &TargetId, key: &ObjectKey) -> Arc<Status> {
        let Part::Workload(colour) = key.part else { return Arc::default() };
        let running = self.running(target, &key.service);
        let workload = running.as_ref().and_then(|running| running.workloads[index_of(colour)].get());
        workload.map(Deployment::status).unwrap_or_default()
    }

    /// A workload's status by an observation of this version of its object, or of a later one.
    pub(super) async fn observed(&self, target: &TargetId, key: &ObjectKey, version: u64) -> PortResult<Arc<Status>> {
        let Part::Workload(colour) = key.part else { return Ok(Arc::default()) };
        let running = self.running(target, &key.service);
        let workload = running.as_ref().and_then(|running| running.workloads[index_of(colour)].get());
        let doing = || format!("observing {key} of {target}");
        let Some(workload) = workload else { return Err(PortError::new(doing(), "its controller has not begun yet")) };
        let seen = tokio::time::timeout(Duration::from_secs(5), workload.wait(|status| status.observed >= version));
        match seen.await {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(PortError::new(doing(), "its controller has ended")),
            Err(_) => Err(PortError::new(doing(), "its controller has not seen the last change yet")),
        }
    }
}
