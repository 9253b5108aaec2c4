//! How many more pods fit: what the namespace's quotas leave, and what the nodes leave where they do not grow.
//!
//! An answer that is too small would hold a release for nothing, so nothing is guessed: on a cluster that adds nodes by
//! itself (Karpenter, EKS Auto Mode, Fargate, the Cluster Autoscaler) only quotas count, and where nodes may not be read
//! neither.

use portcullis_domain::names::TargetId;
use serde_json::Value as Json;

use crate::client::{Client, Selector, kinds};
use crate::error::ApiError;
use crate::objects::{APPLICATION, annotation};
use crate::observe::{is_out_of_reach, replicas};
use crate::problems::is_over;
use crate::quantity::thousandths;

/// What a pod asks for, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Size {
    cpu: i128,
    memory: i128,
    cpu_limit: i128,
    memory_limit: i128,
}

/// What a pod of this specification asks for: its containers together, or its largest init container where that is more
/// (Kubernetes documentation, "Init Containers", resource sharing within containers).
fn size(pod: &Json) -> Size {
    let of = |container: &Json| {
        let get = |kind: &str, what: &str| {
            container["resources"][kind][what].as_str().and_then(thousandths).unwrap_or_default()
        };
        // A limit without a request is the request.
        let request = |what: &str| match container["resources"]["requests"].get(what) {
            Some(_) => get("requests", what),
            None => get("limits", what),
        };
        [request("cpu"), request("memory"), get("limits", "cpu"), get("limits", "memory")]
    };
    let containers = |list: &str| pod[list].as_array().cloned().unwrap_or_default();
    let mut sum = [0_i128; 4];
    let mut add = |one: [i128; 4]| sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
    for container in &containers("containers") {
        add(of(container));
    }
    // A sidecar (an init container that always restarts) runs beside them.
    let (beside, first): (Vec<Json>, Vec<Json>) =
        containers("initContainers").into_iter().partition(|container| container["restartPolicy"] == "Always");
    for container in &beside {
        add(of(container));
    }
    for container in &first {
        sum.iter_mut().zip(of(container)).for_each(|(sum, one)| *sum = (*sum).max(one));
    }
    let overhead = |what: &str| pod["overhead"][what].as_str().and_then(thousandths).unwrap_or_default();
    Size { cpu: sum[0] + overhead("cpu"), memory: sum[1] + overhead("memory"), cpu_limit: sum[2], memory_limit: sum[3] }
}

impl Size {
    fn largest(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            cpu_limit: self.cpu_limit.max(other.cpu_limit),
            memory_limit: self.memory_limit.max(other.memory_limit),
        }
    }
}

/// How often something fits; what is not asked for fits always.
fn times(free: i128, each: i128) -> Option<u32> {
    (each > 0).then(|| u32::try_from(free.max(0) / each).unwrap_or(u32::MAX))
}

fn least(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// How many more pods of a size the quotas allow; none = they say nothing of it.
fn by_quotas(quotas: &[Json], size: Size) -> Option<u32> {
    let mut room = None;
    for quota in quotas {
        // One that counts some pods only (a scope) may not be about these.
        if quota["spec"].get("scopes").is_some_and(|scopes| !scopes.is_null())
            || quota["spec"]["scopeSelector"].is_object()
        {
            continue;
        }
        let hard = quota["status"]["hard"].as_object();
        for (what, hard) in hard.into_iter().flatten() {
            let each = match what.as_str() {
                "pods" | "count/pods" => 1_000,
                "cpu" | "requests.cpu" => size.cpu,
                "memory" | "requests.memory" => size.memory,
                "limits.cpu" => size.cpu_limit,
                "limits.memory" => size.memory_limit,
                _ => continue,
            };
            let used = quota["status"]["used"][what].as_str().and_then(thousandths).unwrap_or_default();
            let Some(hard) = hard.as_str().and_then(thousandths) else { continue };
            room = least(room, times(hard - used, each));
        }
    }
    room
}

/// Whether a cluster makes nodes when pods wait for some.
fn grows(nodes: &[Json]) -> bool {
    const MADE_BY: [&str; 5] = [
        "karpenter.sh/nodepool",
        "karpenter.sh/provisioner-name",
        "eks.amazonaws.com/compute-type",
        "cluster.x-k8s.io/cluster-name",
        "k8s.io/cluster-autoscaler-enabled",
    ];
    let labelled = |node: &Json| MADE_BY.iter().any(|key| node["metadata"]["labels"].get(*key).is_some());
    nodes.iter().any(|node| labelled(node) || annotation(node, "cluster.x-k8s.io/cluster-name").is_some())
}

/// Whether pods without tolerations may be put on a node.
fn takes_pods(node: &Json) -> bool {
    let tainted =
        node["spec"]["taints"].as_array().into_iter().flatten().any(|taint| taint["effect"] != "PreferNoSchedule");
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True");
    ready && !tainted && node["spec"]["unschedulable"] != true
}

/// How many more pods of a size the nodes have room for.
fn by_nodes(nodes: &[Json], pods: &[Json], size: Size) -> u32 {
    let mut room = 0_u32;
    for node in nodes.iter().filter(|node| takes_pods(node)) {
        let mut used = (0_i128, 0_i128, 0_i128);
        for pod in pods.iter().filter(|pod| pod["spec"]["nodeName"] == node["metadata"]["name"] && !is_over(pod)) {
            let size = self::size(&pod["spec"]);
            used = (used.0 + size.cpu, used.1 + size.memory, used.2 + 1_000);
        }
        let free = |what: &str, used: i128| {
            node["status"]["allocatable"][what].as_str().and_then(thousandths).unwrap_or_default() - used
        };
        let fits = least(times(free("cpu", used.0), size.cpu), times(free("memory", used.1), size.memory));
        let fits = least(fits, times(free("pods", used.2), 1_000)).unwrap_or(0);
        room = room.saturating_add(fits);
    }
    room
}

/// How many more pods of the size of the target's largest service fit; none = the cluster does not say.
///
/// # Errors
/// Deployments or quotas cannot be read.
pub async fn room(client: &Client, target: &TargetId, namespace: &str) -> Result<Option<u32>, ApiError> {
    let ours = Selector::labels(format!("{APPLICATION}={}", target.app));
    let everything = Selector::default();
    let (deployments, quotas) = tokio::join!(
        client.list(&kinds::DEPLOYMENTS, Some(namespace), &ours),
        client.list(&kinds::QUOTAS, Some(namespace), &everything),
    );
    let deployments = deployments?.items;
    let of = |deployment: &Json| size(&deployment["spec"]["template"]["spec"]);
    let Some(size) = deployments.iter().filter(|one| replicas(one) > 0).map(of).reduce(Size::largest) else {
        return Ok(None);
    };
    let quotas = match quotas {
        Err(error) if is_out_of_reach(&error) => Vec::new(),
        other => other?.items,
    };
    Ok(least(by_quotas(&quotas, size), on_nodes(client, size).await?))
}

async fn on_nodes(client: &Client, size: Size) -> Result<Option<u32>, ApiError> {
    let nodes = match client.list(&kinds::NODES, None, &Selector::default()).await {
        Err(error) if is_out_of_reach(&error) => return Ok(None),
        other => other?.items,
    };
    if grows(&nodes) {
        return Ok(None);
    }
    // The Cluster Autoscaler leaves no mark on nodes, but a note of what it does.
    let autoscaler = client.get(&kinds::CONFIG_MAPS, "kube-system", "cluster-autoscaler-status").await;
    if !matches!(autoscaler, Ok(None)) {
        return Ok(None);
    }
    let running = Selector { labels: None, fields: Some("status.phase!=Succeeded,status.phase!=Failed".into()) };
    let pods = match client.list(&kinds::PODS, None, &running).await {
        Err(error) if is_out_of_reach(&error) => return Ok(None),
        other => other?.items,
    };
    Ok(Some(by_nodes(&nodes, &pods, size)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(cpu: &str, memory: &str) -> Json {
        json!({ "containers": [{ "resources": { "requests": { "cpu": cpu, "memory": memory } } }] })
    }

    #[expect(clippy::needless_pass_by_value, reason = "what json! makes is a value")]
    fn node(name: &str, extra: Json) -> Json {
        let mut node = json!({ "metadata": { "name": name }, "spec": {}, "status": {
            "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "5" },
            "conditions": [{ "type": "Ready", "status": "True" }] } });
        for (key, value) in extra.as_object().into_iter().flatten() {
            node[key] = value.clone();
        }
        node
    }

    #[test]
    fn a_pods_size_counts_what_runs_at_once() {
        let spec = json!({
            "initContainers": [
                { "resources": { "requests": { "cpu": "2" } } },
                { "restartPolicy": "Always", "resources": { "requests": { "cpu": "100m" } } },
            ],
            "containers": [
                { "resources": { "requests": { "cpu": "500m" }, "limits": { "cpu": "1", "memory": "64Mi" } } },
                { "resources": { "requests": { "cpu": "250m" } } },
            ],
        });
        let size = size(&spec);
        assert_eq!((size.cpu, size.memory, size.cpu_limit), (2_000, 67_108_864_000, 1_000));
    }

    #[test]
    fn quotas_leave_what_they_leave() {
        let size = size(&pod("500m", "256Mi"));
        let quota = |status: Json| json!({ "spec": {}, "status": status });
        let cpu = quota(
            json!({ "hard": { "requests.cpu": "4", "pods": "50" }, "used": { "requests.cpu": "2", "pods": "1" } }),
        );
        let pods = quota(json!({ "hard": { "pods": "3" }, "used": { "pods": "5" } }));
        assert_eq!(by_quotas(&[], size), None);
        assert_eq!(by_quotas(std::slice::from_ref(&cpu), size), Some(4));
        assert_eq!(by_quotas(&[cpu, pods], size), Some(0), "more is used than allowed");
        let scoped = json!({ "spec": { "scopes": ["BestEffort"] }, "status": { "hard": { "pods": "0" } } });
        assert_eq!(by_quotas(&[scoped], size), None);
    }

    #[test]
    fn nodes_that_take_no_pods_have_no_room() {
        let size = size(&pod("500m", "1Gi"));
        let here =
            json!({ "spec": { "nodeName": "a", "containers": [{ "resources": { "requests": { "cpu": "1" } } }] } });
        assert_eq!(by_nodes(&[node("a", json!({}))], std::slice::from_ref(&here), size), 2);
        assert_eq!(by_nodes(&[node("a", json!({})), node("b", json!({}))], &[here], size), 6);
        for away in [
            json!({ "spec": { "unschedulable": true } }),
            json!({ "spec": { "taints": [{ "effect": "NoSchedule" }] } }),
            json!({ "status": { "allocatable": { "cpu": "9", "pods": "9" }, "conditions": [] } }),
        ] {
            assert_eq!(by_nodes(&[node("a", away.clone())], &[], size), 0, "{away}");
        }
    }

    #[test]
    fn a_cluster_that_makes_nodes_is_known_by_them() {
        let labelled =
            node("a", json!({ "metadata": { "name": "a", "labels": { "karpenter.sh/nodepool": "default" } } }));
        assert!(grows(&[node("b", json!({})), labelled]) && !grows(&[node("b", json!({}))]));
    }
}
