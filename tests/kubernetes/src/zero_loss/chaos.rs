//! What happens to a service meanwhile: its pods are evicted, as when a node is drained, and its autoscaler scales it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use portcullis_kubernetes::objects::LEAST_BEFORE;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Between two things that happen.
const EVERY: Duration = Duration::from_millis(1_500);

/// Running chaos. Dropping it ends it.
pub(super) struct Chaos {
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    task: JoinHandle<()>,
}

impl Chaos {
    /// Starts it on the pods of an app and the autoscalers of the namespace.
    pub(super) fn start(client: &Client, namespace: &str, app: &str, bounds: (u32, u32)) -> Self {
        let counts = Arc::<Mutex<BTreeMap<&'static str, u64>>>::default();
        let task = Task {
            pods: Api::namespaced(client.clone(), namespace),
            autoscalers: Api::namespaced(client.clone(), namespace),
            deployments: Api::namespaced(client.clone(), namespace),
            app: app.to_owned(),
            least: bounds.0,
            counts: counts.clone(),
        };
        Self { counts, task: tokio::spawn(task.run()) }
    }

    /// What happened so far.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap().clone()
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    pods: Api<Pod>,
    autoscalers: Api<HorizontalPodAutoscaler>,
    deployments: Api<Deployment>,
    app: String,
    least: u32,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Task {
    async fn run(self) {
        for turn in 0_u64.. {
            sleep(EVERY).await;
            // What fails does not happen: a budget that is used up refuses an eviction.
            match turn % 4 {
                0 | 2 => self.evict().await,
                1 => self.scale_up().await,
                _ => self.scale_down().await,
            };
        }
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    /// One ready pod of the app goes, if its disruption budget lets it.
    async fn evict(&self) -> Option<()> {
        let pods = self.pods.list(&ListParams::default().labels(&format!("app={}", self.app))).await.ok()?.items;
        let ready = |pod: &&Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let mut ready = conditions.filter(|one| one.type_ == "Ready" && one.status == "True");
            pod.metadata.deletion_timestamp.is_none() && ready.next().is_some()
        };
        let ready: Vec<&Pod> = pods.iter().filter(ready).collect();
        let chosen = ready.get(rand::random_range(0..ready.len().max(1)))?;
        self.pods.evict(chosen.metadata.name.as_deref()?, &EvictParams::default()).await.ok()?;
        self.count("pods evicted");
        Some(())
    }

    /// Autoscalers that nobody pins: the others' bounds are not their owner's at the moment.
    async fn free(&self) -> Option<Vec<(String, String)>> {
        let autoscalers = self.autoscalers.list(&ListParams::default()).await.ok()?.items;
        let free = autoscalers.into_iter().filter(|autoscaler| {
            let annotations = autoscaler.metadata.annotations.as_ref();
            annotations.is_none_or(|annotations| !annotations.contains_key(LEAST_BEFORE))
        });
        Some(free.filter_map(|one| Some((one.metadata.name?, one.spec?.scale_target_ref.name))).collect())
    }

    /// The real autoscaler scales up: its least number rises.
    async fn scale_up(&self) -> Option<()> {
        for (name, _) in self.free().await? {
            let least = json!({ "spec": { "minReplicas": self.least + 1 } });
            self.autoscalers.patch(&name, &PatchParams::default(), &Patch::Merge(&least)).await.ok()?;
            self.count("scaled up");
        }
        Some(())
    }

    /// It scales down again, as it would by its metrics: the least number falls, and the Deployment's with it.
    async fn scale_down(&self) -> Option<()> {
        for (name, of) in self.free().await? {
            let least = json!({ "spec": { "minReplicas": self.least } });
            self.autoscalers.patch(&name, &PatchParams::default(), &Patch::Merge(&least)).await.ok()?;
            let now = self.deployments.get(&of).await.ok()?.spec?.replicas.unwrap_or(0);
            // One at rest is none of an autoscaler's business.
            if now > i32::try_from(self.least).ok()? {
                let scale = json!({ "spec": { "replicas": self.least } });
                let as_autoscaler =
                    PatchParams { field_manager: Some("kube-controller-manager".into()), ..PatchParams::default() };
                self.deployments.patch_scale(&of, &as_autoscaler, &Patch::Merge(&scale)).await.ok()?;
                self.count("scaled down");
            }
        }
        Some(())
    }
}
