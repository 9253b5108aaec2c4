//! Kinds of objects and where the API has them.

use serde_json::Value as Json;

/// One kind of object, in one version of its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// API group; empty = the core group.
    pub group: &'static str,
    /// Version, such as `v1`.
    pub version: &'static str,
    /// Plural name in paths, such as `deployments`.
    pub plural: &'static str,
    /// As in a manifest, such as `Deployment`.
    pub kind: &'static str,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

const fn namespaced(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Kind {
    Kind { group, version, plural, kind, namespaced: true }
}

/// Deployments.
pub const DEPLOYMENTS: Kind = namespaced("apps", "v1", "deployments", "Deployment");
/// `ReplicaSets`.
pub const REPLICA_SETS: Kind = namespaced("apps", "v1", "replicasets", "ReplicaSet");
/// Services.
pub const SERVICES: Kind = namespaced("", "v1", "services", "Service");
/// Pods.
pub const PODS: Kind = namespaced("", "v1", "pods", "Pod");
/// Events.
pub const EVENTS: Kind = namespaced("", "v1", "events", "Event");
/// `ConfigMaps`.
pub const CONFIG_MAPS: Kind = namespaced("", "v1", "configmaps", "ConfigMap");
/// Secrets.
pub const SECRETS: Kind = namespaced("", "v1", "secrets", "Secret");
/// Resource quotas.
pub const QUOTAS: Kind = namespaced("", "v1", "resourcequotas", "ResourceQuota");
/// Endpoint slices.
pub const ENDPOINT_SLICES: Kind = namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
/// Autoscalers, in the version that every served cluster has.
pub const AUTOSCALERS: Kind = namespaced("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler");
/// Disruption budgets.
pub const BUDGETS: Kind = namespaced("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
/// Ingresses.
pub const INGRESSES: Kind = namespaced("networking.k8s.io", "v1", "ingresses", "Ingress");
/// Routes of the Gateway API.
pub const HTTP_ROUTES: Kind = namespaced("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute");
/// Jobs.
pub const JOBS: Kind = namespaced("batch", "v1", "jobs", "Job");
/// Cron jobs.
pub const CRON_JOBS: Kind = namespaced("batch", "v1", "cronjobs", "CronJob");
/// What the AWS Load Balancer Controller keeps for each target group.
pub const TARGET_GROUP_BINDINGS: Kind =
    namespaced("elbv2.k8s.aws", "v1beta1", "targetgroupbindings", "TargetGroupBinding");
/// Namespaces.
pub const NAMESPACES: Kind =
    Kind { group: "", version: "v1", plural: "namespaces", kind: "Namespace", namespaced: false };
/// Nodes.
pub const NODES: Kind = Kind { group: "", version: "v1", plural: "nodes", kind: "Node", namespaced: false };

impl Kind {
    /// `apps/v1`, or `v1` of the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As rights name it: `deployments.apps`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The path of its objects, or of one of them.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", escaped(self.group)) };
        path.push('/');
        path.push_str(&escaped(self.version));
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            path.push_str(&escaped(namespace));
        }
        path.push('/');
        path.push_str(&escaped(self.plural));
        if let Some(name) = name {
            path.push('/');
            path.push_str(&escaped(name));
        }
        path
    }

    /// Writes `apiVersion` and `kind` into an object: lists leave them out of their items.
    pub fn mark(&self, object: &mut Json) {
        object["apiVersion"] = self.api_version().into();
        object["kind"] = self.kind.into();
    }
}

/// A part of a path or a query, percent-encoded (RFC 3986, section 2.3).
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_where_the_api_has_it() {
        assert_eq!(DEPLOYMENTS.path(Some("shop"), Some("web")), "/apis/apps/v1/namespaces/shop/deployments/web");
        assert_eq!(SERVICES.path(Some("shop"), None), "/api/v1/namespaces/shop/services");
        assert_eq!(NODES.path(Some("shop"), Some("n")), "/api/v1/nodes/n");
        assert_eq!(PODS.path(None, None), "/api/v1/pods");
        assert_eq!(PODS.path(Some("a/../b"), None), "/api/v1/namespaces/a%2F..%2Fb/pods");
    }
}
