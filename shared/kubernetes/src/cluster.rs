//! The engine's `Cluster` on Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, ObjectKey, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place, Test};
use portcullis_engine::ports::{Access, Bundled, Cluster, Exported, PortError, PortResult, TestResult, Written};
use serde_json::Value as Json;
use tokio::sync::Mutex;

use crate::backup::seal::Recipient;
use crate::backup::wire::Wire;
use crate::backup::{self, Export, Wanted};
use crate::bundle::Bundle;
use crate::client::{Client, ClientOptions, Kind, kinds};
use crate::manifests::{bundled, manifests};
use crate::observe::Readings;
use crate::room::room;
use crate::write::Writer;
use crate::{hooks, observe};

/// How long a look waits for what was asked for. The engine looks once a second: without it most of that second would be
/// waited for nothing.
const LOOK_FOR: Duration = Duration::from_millis(800);

/// Where clusters are reached from.
#[derive(Clone)]
pub enum Source {
    /// The contexts of a kubeconfig file: a place's cluster names one.
    Kubeconfig(PathBuf),
    /// By endpoint, certificate authority and token.
    Access(Arc<dyn Access>),
    /// One that is connected already, whatever the place.
    Connected(Client),
    /// One that is connected already, for the one cluster that places name.
    One(Client, Arc<One>),
}

/// One context for one cluster. A place that names another is refused: it would act on the wrong one.
#[derive(Debug)]
pub struct One {
    /// What the context is called.
    pub context: String,
    named: OnceLock<String>,
}

impl One {
    /// For whatever cluster is named first.
    pub fn new(context: String) -> Self {
        Self { context, named: OnceLock::new() }
    }

    /// Makes sure that this cluster is the one that was named first.
    ///
    /// # Errors
    /// Another one was.
    pub fn check(&self, cluster: &str) -> PortResult<()> {
        let named = self.named.get_or_init(|| cluster.to_owned());
        if named == cluster {
            return Ok(());
        }
        Err(PortError::new(
            format!("reaching the cluster {cluster}"),
            format!(
                "this server was started with --context {}, which is {named}: name contexts in the policies",
                self.context
            ),
        ))
    }
}

/// How the adapter behaves, whatever the cluster.
#[derive(Clone, Default)]
pub struct Options {
    /// How clusters are asked.
    pub client: ClientOptions,
    /// Whether a Service's selector is switched behind a load balancer that loses requests then.
    pub selector_everywhere: bool,
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
    readings: Readings,
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
        Ok(self.reached(place).await?.readings.client().clone())
    }

    async fn reached(&self, place: &Place) -> PortResult<Reached> {
        if let Source::One(_, one) = &self.source {
            one.check(&place.cluster)?;
        }
        let key = (place.account.clone(), place.region.clone(), place.role.clone(), place.cluster.clone());
        if let Some(reached) = self.reached.lock().await.get(&key) {
            return Ok(reached.clone());
        }
        let options = self.options.client.clone();
        let client = match &self.source {
            Source::Kubeconfig(file) => Client::from_kubeconfig(file, Some(&place.cluster), options).await?,
            Source::Access(access) => Client::from_access(access.clone(), place, options).await?,
            Source::Connected(client) | Source::One(client, _) => client.clone(),
        };
        let autoscalers = autoscalers(&client.document("/apis/autoscaling", None).await?);
        let reached = Reached { readings: Readings::of(client), autoscalers };
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

/// Whether a backup has what a release cannot be brought back without; else what is missing, with the fix.
fn needed(export: &Export, target: &TargetId, secrets: bool) -> Result<(), String> {
    let (kinds, more): (&[&str], _) =
        if secrets { (&["Deployment", "Service", "Secret"], " --secrets") } else { (&["Deployment", "Service"], "") };
    export.has(kinds).map_err(|lost| {
        format!(
            "{lost}. Nothing is changed without it. Apply what `portcullis cluster rbac {target} --policy FILE{more}` prints"
        )
    })
}

/// Says of a service that is not there how many pods it will have, or that nothing can make it.
fn can_be_made(objects: &mut BTreeMap<ObjectKey, Found>, service: &ServiceName, bundle: Option<&Bundle>) {
    let colours = [Colour::Blue, Colour::Green].map(|colour| ObjectKey::workload(service, colour));
    let is_absent = |found: &Found| Found { wanted: None, ..found.clone() } == Found::default();
    if !colours.iter().all(|key| objects.get(key).is_some_and(is_absent)) {
        return;
    }
    let why = format!(
        "there is no Deployment {service}, and no manifest to make it from: give one with the commit \
         (`portcullis manifests give`)"
    );
    let problems = &mut objects.entry(ObjectKey::traffic(service)).or_default().problems;
    problems.retain(|problem| *problem != why);
    let Some(bundle) = bundle else {
        problems.push(why);
        return;
    };
    for key in colours {
        objects.entry(key).or_default().wanted = Some(observe::replicas(&bundle.deployment));
    }
}

impl KubernetesCluster {
    async fn written(
        &self,
        target: &TargetId,
        place: &Place,
        write: &Write,
        fence: &Fence,
        given: Option<&Bundle>,
    ) -> PortResult<Written> {
        let Reached { readings, autoscalers } = self.reached(place).await?;
        let writer = Writer {
            client: readings.client(),
            readings: &readings,
            target,
            namespace: &place.namespace,
            write,
            fence,
            autoscalers: &autoscalers,
            given,
            selector_everywhere: self.options.selector_everywhere,
        };
        writer.run().await
    }
}

#[async_trait]
impl Cluster for KubernetesCluster {
    async fn observe(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        let mut found = observe::observe(&self.client(place).await?, target, &place.namespace, services).await?;
        for service in services {
            can_be_made(&mut found, service, None);
        }
        Ok(found)
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
        self.written(target, place, write, fence, None).await
    }

    async fn bundles(
        &self,
        target: &TargetId,
        place: &Place,
        texts: &BTreeMap<ServiceName, String>,
        objects: &mut BTreeMap<ObjectKey, Found>,
    ) -> PortResult<BTreeMap<ServiceName, Bundled>> {
        let mut given = BTreeMap::new();
        for (service, text) in texts {
            let read = Bundle::parse(text)
                .map_err(|error| PortError::new(format!("{service}: {}", error.doing), error.found))?;
            given.insert(service.clone(), read);
        }
        let bundled = bundled(&self.client(place).await?, target, &place.namespace, &given).await?;
        for (service, bundle) in &given {
            can_be_made(objects, service, Some(bundle));
        }
        Ok(bundled)
    }

    async fn write_from(
        &self,
        target: &TargetId,
        place: &Place,
        write: &Write,
        fence: &Fence,
        text: &str,
    ) -> PortResult<Written> {
        self.written(target, place, write, fence, Some(&Bundle::parse(text)?)).await
    }

    async fn room(&self, target: &TargetId, place: &Place) -> PortResult<Option<u32>> {
        Ok(room(&self.client(place).await?, target, &place.namespace).await?)
    }

    async fn look(&self, target: &TargetId, place: &Place, ask: &AwaitReady) -> PortResult<Found> {
        let readings = self.reached(place).await?.readings;
        observe::look(&readings, target, &place.namespace, ask, LOOK_FOR).await
    }

    /// Fails where Deployments or Services, or Secrets that were asked for, may not be listed: nothing is changed then.
    async fn export(&self, target: &TargetId, place: &Place, secrets: Option<&str>) -> PortResult<Exported> {
        let doing = format!("backing up {target}");
        let recipient = secrets.map(str::parse::<Recipient>).transpose();
        let recipient = recipient
            .map_err(|error| PortError::new(&doing, format!("the key that Secrets are to be encrypted to: {error}")))?;
        let wire: Arc<dyn Wire> = Arc::new(self.client(place).await?);
        let export = backup::export(&wire, &place.namespace, Wanted { secrets: recipient }).await?;
        needed(&export, target, secrets.is_some()).map_err(|found| PortError::new(&doing, found))?;
        Ok(export.exported())
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
    use crate::fake::{FakeApi, place, target};

    /// Answers for an export: which kinds there are, and what is listed of each.
    fn answered(api: &FakeApi, lists: &[(&str, u16)]) {
        let resource = |resource: &str, kind: &str| {
            json!({ "resource": resource, "responseKind": { "kind": kind }, "scope": "Namespaced",
                "verbs": ["create", "list", "patch"] })
        };
        let group = |group: &str, resources: Vec<Json>| {
            json!({ "kind": "APIGroupDiscoveryList", "items": [{ "metadata": { "name": group },
                "versions": [{ "version": "v1", "freshness": "Current", "resources": resources }] }] })
        };
        let core =
            vec![resource("services", "Service"), resource("secrets", "Secret"), resource("configmaps", "ConfigMap")];
        // In the order in which they are asked: what comes first is taken first.
        for (path, status) in lists {
            let body = match *status {
                200 => json!({ "kind": "List", "metadata": { "resourceVersion": "7" }, "items": [] }),
                _ => json!({ "kind": "Status", "message": "no way", "code": status }),
            };
            api.fail(&format!("GET {path}"), *status, body, false);
        }
        api.fail("GET /apis", 200, group("apps", vec![resource("deployments", "Deployment")]), false);
        api.fail("GET /api", 200, group("", core), false);
    }

    #[tokio::test]
    async fn what_a_release_cannot_be_brought_back_without_is_never_only_left_out() {
        const ALL: [&str; 4] = [
            "/apis/apps/v1/namespaces/shop/deployments",
            "/api/v1/namespaces/shop/services",
            "/api/v1/namespaces/shop/secrets",
            "/api/v1/namespaces/shop/configmaps",
        ];
        let key = crate::backup::seal::tests::public();
        for (forbidden, secrets, missing) in [
            ("configmaps", None, None),
            ("secrets", None, None),
            ("deployments", None, Some(("Deployment", "cluster rbac shop/production --policy FILE`"))),
            ("services", None, Some(("Service", "cluster rbac shop/production --policy FILE`"))),
            ("secrets", Some(key.as_str()), Some(("Secret", "cluster rbac shop/production --policy FILE --secrets`"))),
            ("configmaps", Some(key.as_str()), None),
        ] {
            let api = FakeApi::with(&[]);
            let cluster = KubernetesCluster::new(Source::Connected(api.client()), Options::default());
            cluster.client(&place()).await.unwrap();
            let status = |path: &'static str| (path, if path.ends_with(forbidden) { 403 } else { 200 });
            answered(&api, &ALL.map(status));
            let exported = cluster.export(&target(), &place(), secrets).await;
            match (exported, missing) {
                (Ok(exported), None) => assert!(exported.about.is_some() && exported.sealed.is_empty()),
                (Err(error), Some((kind, fix))) => {
                    let words = error.to_string();
                    assert!(words.contains(&format!("{kind}: NOT BACKED UP")) && words.contains(fix), "{words}");
                }
                (came, _) => panic!("{forbidden} forbidden, secrets to {secrets:?}: {came:?}"),
            }
        }
    }

    #[tokio::test]
    async fn secrets_are_encrypted_to_a_public_key_or_nothing_is_exported() {
        let api = FakeApi::with(&[]);
        let cluster = KubernetesCluster::new(Source::Connected(api.client()), Options::default());
        let error = cluster.export(&target(), &place(), Some("hunter2")).await.unwrap_err().to_string();
        assert!(error.contains("no public key of age") && !error.contains("hunter2"), "{error}");
        assert!(api.log().is_empty(), "nothing was asked for");
    }

    #[test]
    fn one_context_never_stands_for_a_second_cluster() {
        let one = One::new("prod".into());
        assert!(one.check("shop-production").is_ok());
        let Err(error) = one.check("shop-staging") else { panic!("it was accepted") };
        assert!(error.to_string().contains("--context prod, which is shop-production"), "{error}");
        assert!(one.check("shop-production").is_ok());
    }

    #[tokio::test]
    async fn nothing_is_asked_of_a_context_for_a_second_cluster() {
        let api = FakeApi::default();
        let source = Source::One(api.client(), Arc::new(One::new("prod".into())));
        let cluster = KubernetesCluster::new(source, Options::default());
        let mut place = crate::fake::place();
        cluster.client(&place).await.unwrap();
        api.log();
        place.cluster.push_str("-2");
        assert!(cluster.client(&place).await.is_err());
        assert_eq!(api.log(), Vec::<String>::new());
    }

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
