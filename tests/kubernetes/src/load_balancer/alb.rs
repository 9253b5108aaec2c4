//! What the AWS Load Balancer Controller and its load balancer do together: a target group for each Service that the Ingress
//! forwards to, the Service's pods in it, their health, and their readiness gates.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Group, Next, Seen, Turned, all, kinds, text};

/// What begins a gate's condition.
pub(super) const GATE: &str = "target-health.elbv2.k8s.aws/";

/// The target groups of one Ingress.
pub(super) struct TargetGroups {
    client: Client,
    namespace: String,
    healthy_after: Duration,
    turned: Arc<Turned>,
    /// Since when a pod is registered with the group of a Service; whether it was found healthy.
    registered: BTreeMap<(String, String), (Instant, bool)>,
}

/// The Services that a backend forwards to, with their weights.
fn forwards(ingress: &Ingress, backend: &IngressBackend) -> Vec<(String, u64)> {
    let Some(service) = &backend.service else { return Vec::new() };
    let is_action = service.port.as_ref().and_then(|port| port.name.as_deref()) == Some("use-annotation");
    if !is_action {
        return vec![(service.name.clone(), 1)];
    }
    let key = format!("alb.ingress.kubernetes.io/actions.{}", service.name);
    let action = ingress.metadata.annotations.as_ref().and_then(|all| all.get(&key));
    let action: Value = action.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let groups = action["forwardConfig"]["targetGroups"].as_array().cloned().unwrap_or_default();
    groups.iter().map(|group| (text(&group["serviceName"]).to_owned(), group["weight"].as_u64().unwrap_or(1))).collect()
}

impl TargetGroups {
    pub(super) fn new(client: Client, namespace: String, healthy_after: Duration, turned: Arc<Turned>) -> Self {
        Self { client, namespace, healthy_after, turned, registered: BTreeMap::new() }
    }

    /// One look at the Ingress and the pods; what was found is written on both, and is effective then.
    pub(super) async fn follow(&mut self, name: &str) -> Result<Next, kube::Error> {
        let ingresses: Api<Ingress> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let ingress = ingresses.get(name).await?;
        let seen = Seen::of(&self.client, &self.namespace).await?;
        let pods = all(&pods).await?;
        let mut hosts = BTreeMap::new();
        for rule in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()) {
            let Some(path) = rule.http.as_ref().and_then(|http| http.paths.first()) else { continue };
            hosts.insert(rule.host.clone().unwrap_or_default(), forwards(&ingress, &path.backend));
        }
        let services: BTreeSet<String> = hosts.values().flatten().map(|(service, _)| service.clone()).collect();
        self.bind(name, &services).await?;
        let mut targets = BTreeMap::new();
        for service in &services {
            let Some(object) = seen.service(service) else { continue };
            targets.insert(service.clone(), self.targets(name, service, object, &pods).await?);
        }
        self.registered.retain(|(service, _), _| services.contains(service));
        let group = |(service, weight): (String, u64)| Group {
            weight,
            targets: targets.get(&service).cloned().unwrap_or_default(),
        };
        Ok(hosts.into_iter().map(|(host, groups)| (host, groups.into_iter().map(group).collect())).collect())
    }

    /// A binding for each Service, and none for others.
    async fn bind(&self, ingress: &str, services: &BTreeSet<String>) -> Result<(), kube::Error> {
        let kind = kinds::bindings();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let there = all(&api).await?;
        let of = |binding: &DynamicObject| text(&binding.data["spec"]["serviceRef"]["name"]).to_owned();
        let ours: Vec<&DynamicObject> = there.iter().filter(|one| text(&one.data["spec"]["of"]) == ingress).collect();
        for service in services.iter().filter(|service| !ours.iter().any(|one| of(one) == **service)) {
            let spec = json!({ "serviceRef": { "name": service }, "targetType": "ip", "of": ingress });
            let binding = DynamicObject::new(&binding(ingress, service), &kind).data(json!({ "spec": spec }));
            api.create(&PostParams::default(), &binding).await?;
        }
        for gone in ours.iter().filter(|one| !services.contains(&of(one))) {
            let name = gone.metadata.name.clone().unwrap_or_default();
            api.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// The healthy targets of a Service; without any, all that are registered, as an AWS load balancer does.
    async fn targets(
        &mut self,
        ingress: &str,
        service: &str,
        object: &Service,
        pods: &[Pod],
    ) -> Result<Vec<SocketAddr>, kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let sick = self.turned.sick.lock().unwrap().contains(service);
        let gate = format!("{GATE}{}", binding(ingress, service));
        let (mut healthy, mut registered) = (Vec::new(), Vec::new());
        for pod in pods.iter().filter(|pod| selects(object, pod)) {
            let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else { continue };
            let key = (service.to_owned(), uid.clone());
            let up = pod.metadata.deletion_timestamp.is_none() && condition(pod, "ContainersReady");
            let Some(at) = address(object, pod).filter(|_| up) else {
                self.registered.remove(&key);
                continue;
            };
            let (since, is_healthy) = self.registered.entry(key).or_insert((Instant::now(), false));
            *is_healthy |= !sick && since.elapsed() >= self.healthy_after;
            registered.push(at);
            if *is_healthy {
                healthy.push(at);
            }
            let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
            let is_gated = gates.into_iter().any(|one| one.condition_type == gate);
            let said =
                pod.status.iter().flat_map(|status| status.conditions.iter().flatten()).find(|one| one.type_ == gate);
            let status = if *is_healthy { "True" } else { "False" };
            if is_gated && said.is_none_or(|said| said.status != status) {
                let message = if *is_healthy { "" } else { "Health checks failed or are not done" };
                let said =
                    json!({ "status": { "conditions": [{ "type": gate, "status": status, "message": message }] } });
                match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&said)).await {
                    // It went meanwhile.
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    other => drop(other?),
                }
            }
        }
        Ok(if healthy.is_empty() { registered } else { healthy })
    }
}

/// The name of the binding of a Service.
pub(super) fn binding(ingress: &str, service: &str) -> String {
    format!("k8s-{ingress}-{service}")
}

/// Whether a Service selects a pod.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.iter().flat_map(|spec| spec.selector.iter().flatten());
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let mut selector = selector.peekable();
    selector.peek().is_some() && selector.all(|(key, value)| labels.get(key) == Some(value))
}

fn condition(pod: &Pod, kind: &str) -> bool {
    let mut all = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    all.any(|one| one.type_ == kind && one.status == "True")
}

/// The address of a pod's port that is the target of a Service's first.
fn address(service: &Service, pod: &Pod) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let port = service.spec.as_ref()?.ports.as_ref()?.first()?.clone();
    let number = match port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => number,
        Some(IntOrString::String(name)) => {
            let ports = pod.spec.as_ref()?.containers.iter().flat_map(|container| container.ports.iter().flatten());
            ports.into_iter().find(|port| port.name.as_deref() == Some(&name))?.container_port
        }
    };
    Some(SocketAddr::new(ip, u16::try_from(number).ok()?))
}
