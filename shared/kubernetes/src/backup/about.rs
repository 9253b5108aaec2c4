//! What a backup says of itself: of which moment each kind is, which images ran, what is not in it and why.
//!
//! The engine stores manifests, so it travels as one: a `ConfigMap` that is marked by a label, harmless if it is applied
//! with the rest, and never restored by us.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::leave::LeftOut;
use super::object::{ABOUT_LABEL, ObjectRef, controller, kind, label, list, name, text};
use super::wire::shown;

/// The name of the `ConfigMap`.
pub const ABOUT_NAME: &str = "portcullis-backup";
/// Its key.
const KEY: &str = "about.json";
/// The most bytes of it: a `ConfigMap` has at most 1 MiB.
const MOST: usize = 700 << 10;
/// Names per kind and reason that are kept where all would be too many.
const FEW: usize = 20;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct About {
    /// The format's version, 1.
    pub v: u32,
    /// The namespace it is of.
    pub namespace: String,
    /// The resource version of each kind, by its title: all its objects are of that moment.
    pub versions: BTreeMap<String, String>,
    /// The images that ran, by workload (`Deployment/web`) and container.
    pub images: BTreeMap<String, BTreeMap<String, Running>>,
    /// What is not in it.
    pub left_out: Vec<LeftOut>,
    /// What a person who restores it should know.
    pub notes: Vec<String>,
    /// How many entries of `left_out` were dropped because they were too many to keep.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An image that ran.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Running {
    /// As the pods asked for it.
    pub image: String,
    /// The digests that the nodes report; several while it is being replaced, none where a node does not say.
    pub digests: BTreeSet<String>,
    /// Pods that run it.
    pub pods: u32,
}

impl About {
    /// Whether something that a person made may be missing.
    pub fn has_losses(&self) -> bool {
        self.left_out.iter().any(|left| left.why.is_loss())
    }

    /// As an object.
    pub fn object(&self) -> Json {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": ABOUT_NAME, "namespace": self.namespace, "labels": { ABOUT_LABEL: "backup" } },
            "data": { KEY: self.bounded() },
        })
    }

    /// As text: names are dropped, and counted, where all of them would not fit. Losses never are.
    fn bounded(&self) -> String {
        let text = |about: &About| serde_json::to_string_pretty(about).unwrap_or_default() + "\n";
        let whole = text(self);
        if whole.len() <= MOST {
            return whole;
        }
        let mut seen: BTreeMap<(&str, String), usize> = BTreeMap::new();
        let mut few = About { left_out: Vec::new(), ..self.clone() };
        for left in &self.left_out {
            let count = seen.entry((&left.kind, group(left))).or_default();
            *count += 1;
            if *count <= FEW || left.why.is_loss() {
                few.left_out.push(left.clone());
            } else {
                few.more += 1;
            }
        }
        text(&few)
    }

    /// Reads it back from its object.
    pub fn read(object: &Json) -> Option<Self> {
        label(object, ABOUT_LABEL)?;
        serde_json::from_str(object.get("data")?.get(KEY)?.as_str()?).ok()
    }
}

/// Children are many because of their owners: by owner's kind, each reason else by its words.
fn group(left: &LeftOut) -> String {
    match &left.why {
        super::leave::Why::Child { of } => of.split('/').next().unwrap_or_default().to_owned(),
        why => why.to_string(),
    }
}

/// The images that run, from the pods' own status. `objects` are all that were listed, children included.
pub fn images(objects: &[&Json]) -> BTreeMap<String, BTreeMap<String, Running>> {
    let by_uid: BTreeMap<&str, &Json> = objects.iter().map(|object| (text(object, "/metadata/uid"), *object)).collect();
    let mut found: BTreeMap<String, BTreeMap<String, Running>> = BTreeMap::new();
    for pod in objects.iter().filter(|object| kind(object) == "Pod" && text(object, "/apiVersion") == "v1") {
        let workload = found.entry(top(pod, &by_uid)).or_default();
        for status in list(pod, "/status/containerStatuses") {
            if status["state"]["running"].is_null() {
                continue;
            }
            let container = workload.entry(shown(text(status, "/name"))).or_default();
            container.image = shown(text(status, "/image"));
            container.pods += 1;
            // `registry/web@sha256:…`; a node that built the image itself says only `sha256:…`, which no registry has.
            let id = text(status, "/imageID");
            if let Some((_, digest)) = id.rsplit_once('@') {
                container.digests.insert(shown(digest));
            }
        }
    }
    found.retain(|_, containers| !containers.is_empty());
    found
}

/// What is at the top of a pod's owners: its Deployment, or itself.
fn top(pod: &Json, by_uid: &BTreeMap<&str, &Json>) -> String {
    let mut at = pod;
    // Three levels are the most that Kubernetes itself has (CronJob, Job, Pod); a circle ends here, too.
    for _ in 0..8 {
        let Some(owner) = controller(at) else { break };
        match by_uid.get(text(owner, "/uid")) {
            Some(found) => at = found,
            None => return shown(&format!("{}/{}", text(owner, "/kind"), text(owner, "/name"))),
        }
    }
    shown(&ObjectRef::of(at).to_string())
}

/// What a person who restores it should know, from what is in it.
pub fn notes(kept: &[&Json]) -> Vec<String> {
    let mut notes = Vec::new();
    for service in kept.iter().filter(|object| kind(object) == "Service" && text(object, "/apiVersion") == "v1") {
        let named = shown(name(service));
        let selects = service.pointer("/spec/selector").and_then(Json::as_object).is_some_and(|by| !by.is_empty());
        if !selects && text(service, "/spec/type") != "ExternalName" {
            notes.push(format!(
                "Service/{named} has no selector: its endpoints were made by hand, and Endpoints are not backed up"
            ));
        }
        let ports: Vec<String> = list(service, "/spec/ports")
            .iter()
            .filter_map(|port| port["nodePort"].as_u64())
            .map(|n| n.to_string())
            .collect();
        if !ports.is_empty() && text(service, "/spec/type") == "NodePort" {
            notes.push(format!("Service/{named} had the node ports {}: made anew, it gets others", ports.join(", ")));
        }
    }
    let pods: Vec<&Json> =
        kept.iter().copied().filter(|object| kind(object) == "Pod" && text(object, "/apiVersion") == "v1").collect();
    if let [first, ..] = pods[..] {
        notes.push(format!(
            "Pod/{} and {} more are of no controller: kubectl takes them only after their service accounts, so apply twice",
            shown(name(first)),
            pods.len() - 1
        ));
    }
    for object in kept {
        if let Some(owner) = controller(object) {
            notes.push(format!(
                "{} belongs to {} {}, which is not in this backup",
                shown(&ObjectRef::of(object).to_string()),
                shown(text(owner, "/kind")),
                shown(text(owner, "/name"))
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::leave::Why;
    use super::*;

    #[test]
    fn the_images_that_run_are_told_by_workload_with_the_digests_that_nodes_report() {
        let owner =
            |kind: &str, name: &str, uid: &str| json!([{ "kind": kind, "name": name, "uid": uid, "controller": true }]);
        let pod = |name: &str, id: &str| {
            json!({ "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": name, "uid": name, "ownerReferences": owner("ReplicaSet", "web-1", "rs") },
                "status": { "containerStatuses": [
                    { "name": "web", "image": "r/web:1", "imageID": id, "state": { "running": {} } },
                    { "name": "waits", "image": "r/x", "imageID": "", "state": { "waiting": {} } },
                ] } })
        };
        let objects = [
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "uid": "d" } }),
            json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": { "name": "web-1", "uid": "rs", "ownerReferences": owner("Deployment", "web", "d") } }),
            pod("a", "r/web@sha256:aa"),
            pod("b", "docker-pullable://r/web@sha256:bb"),
            pod("c", "sha256:cc"),
        ];
        let running = Running {
            image: "r/web:1".into(),
            digests: BTreeSet::from(["sha256:aa".to_owned(), "sha256:bb".to_owned()]),
            pods: 3,
        };
        let wanted = BTreeMap::from([("Deployment/web".to_owned(), BTreeMap::from([("web".to_owned(), running)]))]);
        assert_eq!(images(&objects.iter().collect::<Vec<_>>()), wanted);
    }

    #[test]
    fn it_reads_back_from_its_object_and_never_drops_a_loss() {
        let child = |n: usize| LeftOut {
            kind: "Pod".into(),
            name: Some(format!("web-{n:0>40}")),
            why: Why::Child { of: format!("ReplicaSet/web-{n}") },
        };
        let loss = LeftOut { kind: "Widget.x".into(), name: None, why: Why::NotPermitted { said: "403".into() } };
        let left_out: Vec<LeftOut> = (0..20_000).map(child).chain([loss.clone()]).collect();
        let about = About { v: 1, namespace: "shop".into(), left_out, ..About::default() };
        let object = about.object();
        assert!(object.to_string().len() < 1 << 20, "it fits a ConfigMap");
        let read = About::read(&object).unwrap();
        assert_eq!((read.left_out.len(), read.more), (FEW + 1, 19_980));
        assert!(read.left_out.contains(&loss) && read.has_losses());
        let small = About { v: 1, namespace: "shop".into(), left_out: vec![loss], ..About::default() };
        assert_eq!(About::read(&small.object()), Some(small));
    }

    #[test]
    fn what_a_restore_can_not_bring_back_is_said() {
        let kept = [
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "db" }, "spec": {} }),
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
                "spec": { "type": "NodePort", "selector": { "a": "b" }, "ports": [{ "nodePort": 30080 }] } }),
        ];
        assert_eq!(
            notes(&kept.iter().collect::<Vec<_>>()),
            [
                "Service/db has no selector: its endpoints were made by hand, and Endpoints are not backed up",
                "Service/web had the node ports 30080: made anew, it gets others",
            ]
        );
    }
}
