//! Which kinds the cluster has: by aggregated discovery (two requests) where there is, else group by group.

use std::collections::BTreeSet;

use portcullis_engine::ports::{PortError, PortResult};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::object::{list, text};
use super::wire::{Ask, Wire, answer, encoded};

/// What asks for aggregated discovery, then its beta, then neither (Kubernetes documentation, "The Kubernetes API",
/// section "Aggregated discovery").
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// One kind in the version that the cluster prefers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kind {
    /// Its API group; empty = the core one.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its name in a path, such as `deployments`.
    pub resource: String,
    /// Its name in an object, such as `Deployment`.
    pub kind: String,
    /// What can be done with it.
    pub verbs: BTreeSet<String>,
}

impl Kind {
    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `Deployment`, and `HTTPRoute.gateway.networking.k8s.io` for what is not built in.
    pub fn title(&self) -> String {
        if self.is_built_in() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// `deployments.apps`, as RBAC and kubectl write it.
    pub fn full_resource(&self) -> String {
        if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) }
    }

    /// Whether it is one of Kubernetes' own: without it a backup is not worth its name, while an extension's server
    /// may be down for days.
    pub fn is_built_in(&self) -> bool {
        matches!(self.group.as_str(), "" | "apps" | "batch" | "autoscaling" | "policy" | "extensions")
            || matches!(
                self.group.as_str(),
                "networking.k8s.io"
                    | "rbac.authorization.k8s.io"
                    | "discovery.k8s.io"
                    | "events.k8s.io"
                    | "coordination.k8s.io"
                    | "storage.k8s.io"
                    | "resource.k8s.io"
            )
    }

    /// The path of its objects in a namespace.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}/namespaces/{}/{}", self.api_version(), encoded(namespace), self.resource)
    }

    /// The path of one object.
    pub fn path_of(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.path(namespace), encoded(name))
    }

    /// Whether objects of it can be brought back.
    pub fn can_be_created(&self) -> bool {
        self.verbs.contains("create") && (self.verbs.contains("patch") || self.verbs.contains("update"))
    }
}

/// What the cluster said of its kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discovered {
    /// Every namespaced kind that can be listed, by group and resource.
    pub kinds: Vec<Kind>,
    /// `group/version` that could not be asked, and why.
    pub silent: Vec<(String, String)>,
}

impl Discovered {
    /// The kind of an object, by its group and kind.
    pub fn of(&self, group: &str, kind: &str) -> Option<&Kind> {
        self.kinds.iter().find(|found| found.group == group && found.kind == kind)
    }

    fn sorted(mut self) -> Self {
        self.kinds.sort();
        self.kinds.dedup_by(|a, b| a.group == b.group && a.resource == b.resource);
        // The same objects under two groups, as clusters up to 1.21 had them, are one kind.
        let newer: BTreeSet<String> =
            self.kinds.iter().filter(|kind| kind.group != "extensions").map(|kind| kind.kind.clone()).collect();
        self.kinds.retain(|kind| kind.group != "extensions" || !newer.contains(&kind.kind));
        self
    }
}

/// Asks which kinds there are.
///
/// # Errors
/// When the cluster does not answer, or not as an API server does.
pub async fn discover(wire: &dyn Wire) -> PortResult<Discovered> {
    let doing = "asking the cluster for its kinds";
    let mut all = Discovered::default();
    for root in ["/api", "/apis"] {
        let said = answer(wire, Ask::get(root).accepting(AGGREGATED), doing).await?;
        let Some(said) = said.found(doing)? else { return Err(PortError::new(doing, format!("{root} is not there"))) };
        let found =
            if said["kind"] == "APIGroupDiscoveryList" { aggregated(&said) } else { each(wire, root, &said).await? };
        all.kinds.extend(found.kinds);
        all.silent.extend(found.silent);
    }
    Ok(all.sorted())
}

/// Reads an `APIGroupDiscoveryList`. Versions come in the order of preference.
fn aggregated(said: &Json) -> Discovered {
    let mut found = Discovered::default();
    for group in list(said, "/items") {
        let name = text(group, "/metadata/name");
        let mut seen = BTreeSet::new();
        for version in list(group, "/versions") {
            let resources = list(version, "/resources");
            if version["freshness"] == "Stale" {
                let server = format!("{name}/{}", text(version, "/version"));
                found.silent.push((server, "the server behind it did not answer the cluster".into()));
            }
            for resource in resources {
                let named = text(resource, "/resource");
                if !seen.insert(named) || resource["scope"] != "Namespaced" {
                    continue;
                }
                let kind = Kind {
                    group: name.to_owned(),
                    version: text(version, "/version").to_owned(),
                    resource: named.to_owned(),
                    kind: text(resource, "/responseKind/kind").to_owned(),
                    verbs: verbs(resource),
                };
                found.kinds.extend(listable(kind));
            }
        }
    }
    found
}

/// Asks for each group and version by itself, as servers before aggregated discovery (1.26) want it.
async fn each(wire: &dyn Wire, root: &str, said: &Json) -> PortResult<Discovered> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    if root == "/api" {
        let versions = list(said, "/versions").iter().filter_map(Json::as_str).map(str::to_owned);
        groups.push((String::new(), versions.collect()));
    }
    for group in list(said, "/groups") {
        let preferred = text(group, "/preferredVersion/version").to_owned();
        let others = list(group, "/versions").iter().map(|version| text(version, "/version").to_owned());
        let others = others.filter(|version| *version != preferred);
        groups.push((text(group, "/name").to_owned(), std::iter::once(preferred.clone()).chain(others).collect()));
    }
    let mut found = Discovered::default();
    for (group, versions) in groups {
        let mut seen = BTreeSet::new();
        for version in versions.iter().filter(|version| !version.is_empty()) {
            let of = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            let doing = format!("asking the cluster for the kinds of {of}");
            let said = answer(wire, Ask::get(format!("{root}/{of}")), &doing).await?;
            if !said.is_success() {
                found.silent.push((of, said.words()));
                continue;
            }
            let said = said.json(&doing)?;
            for resource in list(&said, "/resources") {
                let named = text(resource, "/name");
                // A subresource has a `/` in its name.
                if named.contains('/') || !seen.insert(named.to_owned()) || resource["namespaced"] != true {
                    continue;
                }
                let kind = Kind {
                    group: group.clone(),
                    version: version.clone(),
                    resource: named.to_owned(),
                    kind: text(resource, "/kind").to_owned(),
                    verbs: verbs(resource),
                };
                found.kinds.extend(listable(kind));
            }
        }
    }
    Ok(found)
}

fn verbs(resource: &Json) -> BTreeSet<String> {
    list(resource, "/verbs").iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

/// Kinds that can be listed, and whose names are what names of kinds are: they become parts of paths and file names.
fn listable(kind: Kind) -> Option<Kind> {
    let name = |text: &str| {
        !text.is_empty() && text.len() <= 253 && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.".contains(&c))
    };
    let fine =
        name(&kind.resource) && name(&kind.kind) && name(&kind.version) && (kind.group.is_empty() || name(&kind.group));
    (fine && kind.verbs.contains("list")).then_some(kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(found: &Discovered) -> Vec<String> {
        found.kinds.iter().map(|kind| format!("{} {}", kind.api_version(), kind.resource)).collect()
    }

    #[test]
    fn of_several_versions_the_preferred_one_counts_and_one_that_only_an_older_has_is_not_lost() {
        let all = ["create", "list", "patch"];
        let said = json!({ "kind": "APIGroupDiscoveryList", "items": [{
            "metadata": { "name": "autoscaling" },
            "versions": [
                { "version": "v2", "freshness": "Current", "resources": [
                    { "resource": "hpas", "responseKind": { "kind": "HPA" }, "scope": "Namespaced", "verbs": all },
                    { "resource": "wide", "responseKind": { "kind": "Wide" }, "scope": "Cluster", "verbs": all },
                    { "resource": "ask", "responseKind": { "kind": "Ask" }, "scope": "Namespaced", "verbs": ["create"] },
                ] },
                { "version": "v1", "freshness": "Current", "resources": [
                    { "resource": "hpas", "responseKind": { "kind": "HPA" }, "scope": "Namespaced", "verbs": all },
                    { "resource": "olds", "responseKind": { "kind": "Old" }, "scope": "Namespaced", "verbs": all },
                ] },
                { "version": "v0", "freshness": "Stale", "resources": [] },
            ],
        }] });
        let found = aggregated(&said);
        assert_eq!(named(&found), ["autoscaling/v2 hpas", "autoscaling/v1 olds"]);
        assert_eq!(found.silent[0].0, "autoscaling/v0");
    }

    #[test]
    fn a_kind_whose_name_would_leave_its_path_is_none() {
        let kind = |resource: &str| Kind {
            group: "x.dev".into(),
            version: "v1".into(),
            resource: resource.into(),
            kind: "X".into(),
            verbs: BTreeSet::from(["list".to_owned()]),
        };
        assert!(listable(kind("xs")).is_some());
        for bad in ["../secrets", "xs?limit=1", "", "x/status"] {
            assert!(listable(kind(bad)).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_of_the_group_version_and_namespace() {
        let kind = |group: &str| Kind {
            group: group.into(),
            version: "v1".into(),
            resource: "pods".into(),
            kind: "Pod".into(),
            verbs: BTreeSet::new(),
        };
        assert_eq!(kind("").path("shop"), "/api/v1/namespaces/shop/pods");
        assert_eq!(kind("x.dev").path_of("shop", "a:b"), "/apis/x.dev/v1/namespaces/shop/pods/a%3Ab");
        assert_eq!(kind("x.dev").title(), "Pod.x.dev");
    }
}
