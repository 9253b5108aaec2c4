//! What a backup says of itself: of which moment each kind is, which images ran, what is not in it and why.
//!
//! It stands in the backup's index. Until the index had room for it, it was one of the manifests: a `ConfigMap` that is
//! marked by a label. Such backups are read as well, and the `ConfigMap` is never restored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::leave::LeftOut;
use super::object::{ABOUT_LABEL, ObjectRef, at, controller, kind, label, list, name, text};
use super::wire::shown;

/// The key in such a `ConfigMap`.
const KEY: &str = "about.json";

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
    /// How many entries of `left_out` a backup of before dropped, because they were too many for its object.
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

    /// Reads it from the object that it was in backups of before.
    pub fn read(object: &Json) -> Option<Self> {
        label(object, ABOUT_LABEL)?;
        serde_json::from_str(object.get("data")?.get(KEY)?.as_str()?).ok()
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
        let selects = at(service, "/spec/selector").and_then(Json::as_object).is_some_and(|by| !by.is_empty());
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
    use serde_json::json;

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
    fn it_is_read_from_an_index_and_from_the_object_of_before() {
        let loss = LeftOut { kind: "Widget.x".into(), name: None, why: Why::NotPermitted { said: "403".into() } };
        let about = About { v: 1, namespace: "shop".into(), left_out: vec![loss], more: 3, ..About::default() };
        assert!(about.has_losses());
        let value = serde_json::to_value(&about).unwrap();
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "portcullis-backup", "labels": { ABOUT_LABEL: "backup" } },
            "data": { KEY: value.to_string() } });
        assert_eq!(About::read(&object), Some(about.clone()));
        assert_eq!(serde_json::from_value::<About>(value).unwrap(), about);
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
