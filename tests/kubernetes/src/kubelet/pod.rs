//! One pod's life on its node: an address, its containers, its status, its end.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::container::{Container, grace};
use super::events::Events;
use super::logs::Log;
use super::status::{Addresses, Known, status};
use crate::addresses::Pool;

/// How long after an API server that did not answer, or answered with an error, it is asked again.
const AGAIN: Duration = Duration::from_millis(250);
/// An answer that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a pod is given.
pub(super) struct Life {
    pub(super) client: Client,
    pub(super) node: String,
    pub(super) host: String,
    pub(super) addresses: Pool,
    /// The pod as it was last seen.
    pub(super) seen: watch::Receiver<Arc<Pod>>,
    /// One log per container, in their order.
    pub(super) logs: Vec<Log>,
}

/// The containers that really run.
pub(super) fn containers(pod: &Pod) -> &[Spec] {
    pod.spec.as_ref().map_or(&[], |spec| spec.containers.as_slice())
}

impl Life {
    /// Runs the pod until it is removed from the API server. Dropping the future cuts everything at once.
    pub(super) async fn run(mut self) {
        let pod = self.seen.borrow_and_update().clone();
        let api = self.api(&pod);
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) || is_deleted(&pod) {
            // Nothing of it runs: it ended before, or was deleted before it began.
            let _ = self.seen.wait_for(|pod| is_deleted(pod)).await;
            return remove(&api, &pod).await;
        }
        let events = Events::about(&pod, &self.node, self.client.clone());
        let address = loop {
            if let Some(address) = self.addresses.take() {
                break address;
            }
            events.warning("", "FailedCreatePodSandBox", "no address is free for the pod".into());
            sleep(Duration::from_secs(1)).await;
        };
        let specs = containers(&pod).to_vec();
        let (known, mut changed) = watch::channel(specs.iter().map(|_| Known::new()).collect::<Vec<_>>());
        let known = Arc::new(known);
        let (stop, stopped) = watch::channel(None);
        let mut running = JoinSet::new();
        for (index, (spec, log)) in specs.iter().zip(&self.logs).enumerate() {
            let container = Container {
                client: self.client.clone(),
                pod: pod.clone(),
                spec: spec.clone(),
                index,
                ip: address.ip,
                node: self.node.clone(),
                known: known.clone(),
                log: log.clone(),
                events: events.clone(),
                stop: stopped.clone(),
            };
            running.spawn(Arc::new(container).run());
        }
        let ip = address.ip.to_string();
        let mut reported = Value::Null;
        loop {
            let seen = self.seen.borrow_and_update().clone();
            if is_deleted(&seen) && stop.borrow().is_none() {
                stop.send_replace(Some(Instant::now() + grace(&seen)));
            }
            let now = changed.borrow_and_update().clone();
            let with: Vec<_> = specs.iter().zip(&now).collect();
            let status = status(&seen, &with, Addresses { host: &self.host, pod: &ip }, Timestamp::now());
            let late = if status == reported && agrees(&seen, &status) {
                false
            } else {
                let told = report(&api, &pod, &status).await;
                if told {
                    reported = status;
                }
                !told
            };
            if running.is_empty() && is_deleted(&seen) && !late {
                break;
            }
            tokio::select! {
                () = sleep(AGAIN), if late => {}
                _ = changed.changed() => {}
                gone = self.seen.changed() => if gone.is_err() { return },
                Some(_) = running.join_next(), if !running.is_empty() => {}
            }
        }
        remove(&api, &pod).await;
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), pod.metadata.namespace.as_deref().unwrap_or("default"))
    }
}

fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod says of its readiness what the status does. The controllers write "not ready" onto pods whose node
/// they have not heard of; only the node can take that back.
fn agrees(pod: &Pod, status: &Value) -> bool {
    let wanted = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let said = pod.status.iter().flat_map(|status| status.conditions.iter().flatten()).find(|one| one.type_ == "Ready");
    wanted.is_none_or(|wanted| said.is_some_and(|said| wanted["status"] == said.status.as_str()))
}

/// Writes the status; false if it is not known to be written and must be written again.
async fn report(api: &Api<Pod>, pod: &Pod, status: &Value) -> bool {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    // Never onto another pod that has the name by now.
    let patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
    let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
    let written = api.patch_status(name, &params, &patch);
    match timeout(PATIENCE, written).await {
        Ok(Ok(_)) => true,
        // Gone: nobody to tell.
        Ok(Err(kube::Error::Api(said))) => said.code == 404,
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Removes the pod from the API server.
async fn remove(api: &Api<Pod>, pod: &Pod) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let uid = Preconditions { resource_version: None, uid: pod.metadata.uid.clone() };
    let params = DeleteParams { grace_period_seconds: Some(0), preconditions: Some(uid), ..DeleteParams::default() };
    loop {
        match timeout(PATIENCE, api.delete(name, &params)).await {
            Ok(Ok(_)) => return,
            Ok(Err(kube::Error::Api(said))) if matches!(said.code, 404 | 409) => return,
            Ok(Err(_)) | Err(_) => sleep(AGAIN).await,
        }
    }
}
