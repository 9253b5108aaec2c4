//! In which order objects are brought back: what others refer to comes first.

use serde_json::Value as Json;

use super::object::{ObjectRef, group, kind};

/// Kinds by rank; within a rank by name. Policies and limits first, so that nothing runs without them; then what pods
/// need to start; then what requests come through; then what runs; then what scales and starts it. Custom kinds stand
/// before workloads, since many of them make their Secrets; routes stand after the Services they point at.
const RANKS: [&[(&str, &str)]; 10] = [
    &[
        ("networking.k8s.io", "NetworkPolicy"),
        ("", "ResourceQuota"),
        ("", "LimitRange"),
        ("policy", "PodDisruptionBudget"),
    ],
    &[("", "ServiceAccount"), ("", "Secret"), ("", "ConfigMap"), ("", "PersistentVolumeClaim")],
    &[("rbac.authorization.k8s.io", "Role")],
    &[("rbac.authorization.k8s.io", "RoleBinding")],
    // Rank 4: everything that is not named here.
    &[],
    &[("", "Service")],
    &[
        ("apps", "StatefulSet"),
        ("apps", "Deployment"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("", "ReplicationController"),
        ("argoproj.io", "Rollout"),
    ],
    &[("", "Pod")],
    &[("autoscaling", "HorizontalPodAutoscaler"), ("batch", "Job"), ("batch", "CronJob")],
    &[("networking.k8s.io", "Ingress"), ("elbv2.k8s.aws", "TargetGroupBinding")],
];
const CUSTOM: usize = 4;
const ROUTES: usize = 9;

/// The rank of an object: objects of one rank do not refer to each other.
pub(super) fn rank(object: &Json) -> usize {
    let of = (group(object), kind(object));
    if of.0 == "gateway.networking.k8s.io" {
        // A Gateway may be up before its routes, a route means nothing without its Service.
        return if of.1 == "Gateway" { CUSTOM } else { ROUTES };
    }
    RANKS.iter().position(|kinds| kinds.contains(&of)).unwrap_or(CUSTOM)
}

/// Sorts objects so that each comes after what it refers to.
pub fn sort(objects: &mut [Json]) {
    objects.sort_by_cached_key(|object| (rank(object), ObjectRef::of(object)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_refer_to_comes_first() {
        let mut objects: Vec<Json> = [
            ("networking.k8s.io/v1", "Ingress"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("apps/v1", "Deployment"),
            ("v1", "Service"),
            ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            ("gateway.networking.k8s.io/v1", "Gateway"),
            ("external-secrets.io/v1", "ExternalSecret"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding"),
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("v1", "ConfigMap"),
            ("networking.k8s.io/v1", "NetworkPolicy"),
            ("v1", "ServiceAccount"),
        ]
        .into_iter()
        .map(|(version, kind)| json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "x" } }))
        .collect();
        sort(&mut objects);
        let kinds: Vec<&str> = objects.iter().map(kind).collect();
        assert_eq!(
            kinds,
            [
                "NetworkPolicy",
                "ConfigMap",
                "ServiceAccount",
                "Role",
                "RoleBinding",
                "ExternalSecret",
                "Gateway",
                "Service",
                "Deployment",
                "HorizontalPodAutoscaler",
                "HTTPRoute",
                "Ingress",
            ]
        );
    }
}
