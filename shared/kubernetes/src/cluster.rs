//! The engine's `Cluster` on Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, ObjectKey, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place, Test};
use portcullis_engine::ports::{Cluster, Manifest, PortResult, TestResult, Written};
use serde_json::Value as Json;
use tokio::sync::Mutex;

use crate::backup::wire::Wire;
use crate::backup::{self, Wanted};
use crate::bundle::Bundles;
use crate::client::access::Access;
use crate::client::{Client, ClientOptions, Kind, kinds};
use crate::manifests::manifests;
use crate::room::room;
use crate::write::Writer;
use crate::{hooks, observe};

/// Where clusters are reached from.
#[derive(Clone)]
pub enum Source {
    /// The contexts of a kubeconfig file: a place's cluster names one.
    Kubeconfig(PathBuf),
    /// By endpoint, certificate authority and token.
    Access(Arc<dyn Access>),
    /// One that is connected already, whatever the place.
    Connected(Client),
}

/// How the adapter behaves, whatever the cluster.
#[derive(Clone, Default)]
pub struct Options {
    /// How clusters are asked.
    pub client: ClientOptions,
    /// What is made where nothing is.
    pub bundles: Option<Arc<dyn Bundles>>,
    /// Whether a Service's selector is switched behind a load balancer that loses requests then.
    pub selector_everywhere: bool,
    /// Whether backups hold Secrets. Whoever stores them must encrypt them.
    pub secrets: bool,
}

/// Clusters, each reached when it is first asked for. Implements the engine's `Cluster`.
pub struct KubernetesCluster {
    source: Source,
    options: Options,
    reached: Mutex<BTreeMap<Key, Reached>>,
}

/// What tells clusters, and who asks them, apart.
type Key = (Option<String>, Option<String>, Option<String>, String);

/// A cluster and what was learned of it.
#[derive(Clone)]
struct Reached {
    client: Client,
    autoscalers: Kind,
}

impl std::fmt::Debug for KubernetesCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesCluster").finish_non_exhaustive()
    }
}

impl KubernetesCluster {
    /// Clusters from this source. Nothing is asked yet.
    pub fn new(source: Source, options: Options) -> Self {
        Self { source, options, reached: Mutex::default() }
    }

    /// The client of a place's cluster.
    ///
    /// # Errors
    /// It cannot be reached, or is not known.
    pub async fn client(&self, place: &Place) -> PortResult<Client> {
        Ok(self.reached(place).await?.client)
    }

    async fn reached(&self, place: &Place) -> PortResult<Reached> {
        let key = (place.account.clone(), place.region.clone(), place.role.clone(), place.cluster.clone());
        if let Some(reached) = self.reached.lock().await.get(&key) {
            return Ok(reached.clone());
        }
        let options = self.options.client.clone();
        let client = match &self.source {
            Source::Kubeconfig(file) => Client::from_kubeconfig(file, Some(&place.cluster), options).await?,
            Source::Access(access) => Client::from_access(access.clone(), place, options).await?,
            Source::Connected(client) => client.clone(),
        };
        let autoscalers = autoscalers(&client.document("/apis/autoscaling", None).await?);
        let reached = Reached { client, autoscalers };
        // Two that came at once learned the same.
        self.reached.lock().await.insert(key, reached.clone());
        Ok(reached)
    }
}

/// The version in which the cluster is asked for autoscalers: `v2` says all of one; where it is not there, the version
/// that the cluster prefers.
fn autoscalers(group: &Json) -> Kind {
    let versions = group["versions"].as_array().into_iter().flatten();
    let has_v2 = versions.into_iter().any(|version| version["version"] == "v2");
    let preferred = group["preferredVersion"]["version"].as_str().filter(|_| !has_v2).unwrap_or("v2");
    let version = ["v1", "v2beta1", "v2beta2"].into_iter().find(|known| *known == preferred).unwrap_or("v2");
    Kind { version, ..kinds::AUTOSCALERS }
}

#[async_trait]
impl Cluster for KubernetesCluster {
    async fn observe(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        observe::observe(&self.client(place).await?, target, &place.namespace, services).await
    }

    /// Services without any Deployment are absent.
    async fn manifests(
        &self,
        _target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>> {
        Ok(manifests(&self.client(place).await?, &place.namespace, services).await?)
    }

    async fn write(&self, target: &TargetId, place: &Place, write: &Write, fence: &Fence) -> PortResult<Written> {
        let Reached { client, autoscalers } = self.reached(place).await?;
        let writer = Writer {
            client: &client,
            target,
            namespace: &place.namespace,
            write,
            fence,
            autoscalers: &autoscalers,
            bundles: self.options.bundles.as_deref(),
            selector_everywhere: self.options.selector_everywhere,
        };
        writer.run().await
    }

    async fn room(&self, target: &TargetId, place: &Place) -> PortResult<Option<u32>> {
        Ok(room(&self.client(place).await?, target, &place.namespace).await?)
    }

    async fn look(&self, target: &TargetId, place: &Place, ask: &AwaitReady) -> PortResult<Found> {
        observe::look(&self.client(place).await?, target, &place.namespace, ask).await
    }

    async fn export(&self, _target: &TargetId, place: &Place) -> PortResult<Vec<Manifest>> {
        let wire: Arc<dyn Wire> = Arc::new(self.client(place).await?);
        let export = backup::export(&wire, &place.namespace, Wanted { secrets: self.options.secrets }).await?;
        Ok(export.manifests())
    }

    async fn test(
        &self,
        target: &TargetId,
        place: &Place,
        intention: Seq,
        test: &Test,
        against: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult> {
        let client = self.client(place).await?;
        hooks::test(&client, target, &place.namespace, intention, test, against).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn autoscalers_are_asked_for_in_the_version_that_says_all() {
        let group = |versions: &[&str], preferred: &str| {
            json!({ "versions": versions.iter().map(|v| json!({ "version": v })).collect::<Vec<_>>(),
                "preferredVersion": { "version": preferred } })
        };
        assert_eq!(autoscalers(&group(&["v2", "v1"], "v2")).version, "v2");
        assert_eq!(autoscalers(&group(&["v1", "v2"], "v1")).version, "v2");
        assert_eq!(autoscalers(&group(&["v1", "v2beta2"], "v2beta2")).version, "v2beta2");
    }
}
