//! What a backup leaves out, and why. Nothing is left out unseen: each is named in what the backup says of itself.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::discover::Kind;
use super::object::{self, ABOUT_LABEL, annotation, controller, label, list, text};
use super::wire::shown;
use crate::hooks::jobs::TEST_LABEL;

/// Something that a backup does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftOut {
    /// The kind, as [`Kind::title`] writes it.
    pub kind: String,
    /// The object; none = all of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why.
    pub why: Why,
}

/// Why something is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It tells of a moment: an old one means nothing.
    Passing,
    /// A controller writes it from other objects, and will again.
    Derived {
        /// Which one.
        by: String,
    },
    /// The cluster lets nobody create one.
    ReadOnly,
    /// Secrets were not asked for.
    Secret,
    /// A token that a controller makes for a service account.
    Token,
    /// Every namespace gets one by itself.
    InEveryNamespace,
    /// Its controller makes it again.
    Child {
        /// Such as `ReplicaSet/web-6d9c`.
        of: String,
    },
    /// It has finished: applying it would run it again.
    Finished,
    /// It is being deleted.
    GoingAway,
    /// What an earlier backup said of itself.
    About,
    /// The role may not list it.
    NotPermitted {
        /// The server's own words.
        said: String,
    },
    /// The server behind it did not answer.
    NotAnswered {
        /// What it said instead.
        said: String,
    },
    /// It is larger, deeper or has more values than can be applied again.
    TooMuch {
        /// In words.
        of: String,
    },
}

impl Why {
    /// Whether something that a person made may be missing from the backup.
    pub fn is_loss(&self) -> bool {
        matches!(self, Why::NotPermitted { .. } | Why::NotAnswered { .. } | Why::TooMuch { .. })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Passing => f.write_str("tells of a moment"),
            Why::Derived { by } => write!(f, "made from other objects by {by}"),
            Why::ReadOnly => f.write_str("nobody can create one"),
            Why::Secret => f.write_str("Secrets were not asked for"),
            Why::Token => f.write_str("a service account's token, which a controller makes"),
            Why::InEveryNamespace => f.write_str("every namespace gets one by itself"),
            Why::Child { of } => write!(f, "{of} makes it again"),
            Why::Finished => f.write_str("it has finished, and applying it would run it again"),
            Why::GoingAway => f.write_str("it is being deleted"),
            Why::About => f.write_str("what an earlier backup said of itself"),
            Why::NotPermitted { .. } => f.write_str("NOT BACKED UP: the role may not list it"),
            Why::NotAnswered { said } => write!(f, "NOT BACKED UP: no answer ({said})"),
            Why::TooMuch { of } => write!(f, "NOT BACKED UP: {of}"),
        }
    }
}

/// Kinds that are never kept: group, resource, who writes it (`None` = it tells of a moment).
const KINDS: [(&str, &str, Option<&str>); 14] = [
    ("", "events", None),
    ("events.k8s.io", "events", None),
    ("coordination.k8s.io", "leases", None),
    ("coordination.k8s.io", "leasecandidates", None),
    ("", "endpoints", Some("the endpoints controller")),
    ("discovery.k8s.io", "endpointslices", Some("the endpoint slice controller")),
    ("apps", "controllerrevisions", Some("the StatefulSet and DaemonSet controllers")),
    ("storage.k8s.io", "csistoragecapacities", Some("the storage provisioner")),
    ("metrics.k8s.io", "pods", None),
    ("cilium.io", "ciliumendpoints", Some("Cilium")),
    ("networking.k8s.aws", "policyendpoints", Some("the Amazon VPC CNI")),
    ("wgpolicyk8s.io", "policyreports", None),
    ("snapshot.storage.k8s.io", "volumesnapshotcontents", Some("the snapshot controller")),
    ("packages.operators.coreos.com", "packagemanifests", Some("the Operator Lifecycle Manager")),
];

/// Configuration that controllers put into every namespace.
const IN_EVERY_NAMESPACE: [&str; 3] = ["kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert"];

/// Why a whole kind is left out, before it is listed.
pub fn kind(kind: &Kind, secrets: bool) -> Option<Why> {
    let known = KINDS.iter().find(|(group, resource, _)| *group == kind.group && *resource == kind.resource);
    if let Some((_, _, by)) = known {
        return Some(by.map_or(Why::Passing, |by| Why::Derived { by: by.to_owned() }));
    }
    if kind.group.is_empty() && kind.resource == "secrets" && !secrets {
        return Some(Why::Secret);
    }
    (!kind.can_be_created()).then_some(Why::ReadOnly)
}

/// Why an object is left out. `known` are the uids of all objects that were listed: a child whose controller is not
/// among them is kept, since nothing in the backup would make it again.
pub fn object(found: &Json, known: &BTreeSet<String>) -> Option<Why> {
    let kind = (object::group(found), object::kind(found));
    if let Some(owner) = controller(found) {
        // A node's own pods: the kubelet mirrors them from its files.
        if known.contains(text(owner, "/uid")) || text(owner, "/kind") == "Node" {
            let of = shown(&format!("{}/{}", text(owner, "/kind"), text(owner, "/name")));
            return Some(Why::Child { of });
        }
    }
    if !found["metadata"]["deletionTimestamp"].is_null() {
        return Some(Why::GoingAway);
    }
    if label(found, ABOUT_LABEL).is_some() {
        return Some(Why::About);
    }
    // Brought back, it would run again.
    if label(found, TEST_LABEL).is_some() {
        return Some(Why::Derived { by: "a test of Portcullis".into() });
    }
    match kind {
        ("", "Secret") if text(found, "/type") == "kubernetes.io/service-account-token" => Some(Why::Token),
        ("", "ConfigMap") if IN_EVERY_NAMESPACE.contains(&object::name(found)) => Some(Why::InEveryNamespace),
        ("", "Pod") if annotation(found, "kubernetes.io/config.mirror").is_some() => {
            Some(Why::Child { of: "Node".into() })
        }
        ("", "Pod") if matches!(text(found, "/status/phase"), "Succeeded" | "Failed") => Some(Why::Finished),
        ("batch", "Job") if is_finished(found) => Some(Why::Finished),
        // The AWS Load Balancer Controller makes one for each target group of an Ingress or a Service, and labels it.
        ("elbv2.k8s.aws", "TargetGroupBinding")
            if label(found, "ingress.k8s.aws/stack").is_some()
                || label(found, "ingress.k8s.aws/stack-name").is_some()
                || label(found, "service.k8s.aws/stack-name").is_some() =>
        {
            Some(Why::Derived { by: "the AWS Load Balancer Controller".into() })
        }
        _ => None,
    }
}

/// Whether a Job says that it is complete or has failed.
pub fn is_finished(job: &Json) -> bool {
    list(job, "/status/conditions").iter().any(|condition| {
        matches!(text(condition, "/type"), "Complete" | "Failed") && text(condition, "/status") == "True"
    })
}

/// What was left out, one line per kind and reason, losses first: `Pod: 12; its ReplicaSet makes it again: web-1-a,
/// web-1-b and 10 more`.
pub fn summary(left_out: &[LeftOut], most_names: usize) -> Vec<String> {
    let mut groups: Vec<(&str, String, bool, Vec<&str>)> = Vec::new();
    for left in left_out {
        let why = match &left.why {
            Why::Child { of } => format!("its {} makes it again", of.split('/').next().unwrap_or_default()),
            why => why.to_string(),
        };
        let names: Vec<&str> = left.name.as_deref().into_iter().collect();
        match groups.iter_mut().find(|(kind, words, ..)| *kind == left.kind && *words == why) {
            Some((.., all)) => all.extend(names),
            None => groups.push((&left.kind, why, left.why.is_loss(), names)),
        }
    }
    groups.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(b.0)).then(a.1.cmp(&b.1)));
    let line = |(kind, why, _, names): (&str, String, bool, Vec<&str>)| match names.len() {
        0 => format!("{kind}: all; {why}"),
        count => {
            let some = names.iter().take(most_names).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
            let more = count.saturating_sub(most_names);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("{kind}: {count}; {why}: {some}{more}")
        }
    };
    groups.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind_of(group: &str, resource: &str, verbs: &[&str]) -> Kind {
        Kind {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            kind: "X".into(),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        }
    }

    #[test]
    fn secrets_are_kept_only_when_asked_for_and_kinds_that_cannot_be_created_never() {
        let all = ["create", "list", "patch"];
        assert_eq!(kind(&kind_of("", "secrets", &all), false), Some(Why::Secret));
        assert_eq!(kind(&kind_of("", "secrets", &all), true), None);
        assert_eq!(kind(&kind_of("x.dev", "readings", &["list", "get"]), true), Some(Why::ReadOnly));
        assert_eq!(kind(&kind_of("", "events", &all), true), Some(Why::Passing));
        assert!(matches!(kind(&kind_of("discovery.k8s.io", "endpointslices", &all), true), Some(Why::Derived { .. })));
    }

    #[test]
    fn a_child_is_left_out_only_if_its_controller_is_there() {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "ownerReferences": [
            { "kind": "ReplicaSet", "name": "web-1", "uid": "u1", "controller": true } ] } });
        let of = Why::Child { of: "ReplicaSet/web-1".into() };
        assert_eq!(object(&pod, &BTreeSet::from(["u1".to_owned()])), Some(of));
        assert_eq!(object(&pod, &BTreeSet::new()), None);
        let owned = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "tls", "ownerReferences": [
            { "kind": "Certificate", "name": "tls", "uid": "u2" } ] } });
        assert_eq!(
            object(&owned, &BTreeSet::from(["u2".to_owned()])),
            None,
            "an owner that is no controller only cleans up"
        );
    }

    #[test]
    fn what_would_run_again_or_comes_by_itself_is_left_out() {
        let none = BTreeSet::new();
        let of = |object: Json| super::object(&object, &none);
        let job = |condition: &str| {
            json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "j" },
                "status": { "conditions": [{ "type": condition, "status": "True" }] } })
        };
        assert_eq!(of(job("Complete")), Some(Why::Finished));
        assert_eq!(of(job("Suspended")), None);
        let mut test = job("Suspended");
        test["metadata"]["labels"] = json!({ TEST_LABEL: "job" });
        assert!(matches!(of(test), Some(Why::Derived { .. })));
        let map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
        assert_eq!(of(map("kube-root-ca.crt")), Some(Why::InEveryNamespace));
        assert_eq!(of(map("settings")), None);
        let token = json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
            "metadata": { "name": "t" } });
        assert_eq!(of(token), Some(Why::Token));
        let going = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s",
            "deletionTimestamp": "2026-11-21T08:00:00Z" } });
        assert_eq!(of(going), Some(Why::GoingAway));
        let binding = json!({ "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding", "metadata": {
            "name": "k8s-x", "labels": { "ingress.k8s.aws/stack-name": "web" } } });
        assert!(matches!(of(binding), Some(Why::Derived { .. })));
    }

    #[test]
    fn a_summary_names_losses_first_and_not_every_child() {
        let left = |kind: &str, name: Option<&str>, why: &Why| LeftOut {
            kind: kind.into(),
            name: name.map(str::to_owned),
            why: why.clone(),
        };
        let child = Why::Child { of: "ReplicaSet/web-1".into() };
        let all = [
            left("Pod", Some("a"), &child),
            left("Pod", Some("b"), &child),
            left("Pod", Some("c"), &child),
            left("Secret", None, &Why::Secret),
            left("Widget.x.dev", None, &Why::NotPermitted { said: "403".into() }),
        ];
        insta::assert_snapshot!(summary(&all, 2).join("\n"), @r"
        Widget.x.dev: all; NOT BACKED UP: the role may not list it
        Pod: 3; its ReplicaSet makes it again: a, b and 1 more
        Secret: all; Secrets were not asked for
        ");
    }
}
