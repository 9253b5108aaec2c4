//! A small API server in memory: discovery, paged lists of one moment, create, server-side apply, JSON patch, dry runs,
//! immutable fields. As much of Kubernetes as a backup and a restore touch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_kubernetes::backup::wire::{Answer, Ask, Method, NoAnswer, Wire};
use serde_json::{Value as Json, json};

/// A kind that is served: group, version, resource, kind, verbs.
pub(crate) type Served = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const ALL: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

pub(crate) const KINDS: &[Served] = &[
    ("", "v1", "configmaps", "ConfigMap", ALL),
    ("", "v1", "secrets", "Secret", ALL),
    ("", "v1", "services", "Service", ALL),
    ("", "v1", "serviceaccounts", "ServiceAccount", ALL),
    ("", "v1", "pods", "Pod", ALL),
    ("", "v1", "events", "Event", ALL),
    ("", "v1", "endpoints", "Endpoints", ALL),
    ("apps", "v1", "deployments", "Deployment", ALL),
    ("apps", "v1", "replicasets", "ReplicaSet", ALL),
    ("apps", "v1", "statefulsets", "StatefulSet", ALL),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ALL),
    ("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ALL),
    ("batch", "v1", "jobs", "Job", ALL),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", ALL),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", ALL),
    ("widgets.example.com", "v1", "widgets", "Widget", ALL),
    ("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", &["get", "list"]),
];

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Json>,
    version: u64,
    /// What a continued list is a page of.
    snapshots: BTreeMap<String, (u64, Vec<Json>)>,
    asked: Vec<String>,
    /// Answers given instead: a part of the path, the status, how often.
    instead: Vec<(&'static str, u16, u32)>,
    /// Of lists that are continued, so many are told to be gone; an object is written before each.
    gone: u32,
    old_discovery: bool,
}

/// The server.
#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<State>>);

impl Api {
    pub(crate) fn wire(&self) -> Arc<dyn Wire> {
        Arc::new(self.clone())
    }

    /// Puts objects there as a cluster would have them.
    pub(crate) fn with(objects: Vec<Json>) -> Self {
        let api = Self::default();
        for object in objects {
            api.put(object);
        }
        api
    }

    pub(crate) fn put(&self, mut object: Json) {
        let mut state = self.0.lock().unwrap();
        let path = path_of(&object);
        finish(&mut object, state.objects.get(&path), &mut state.version.clone());
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.objects.insert(path, object);
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Json> {
        let state = self.0.lock().unwrap();
        state.objects.values().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).cloned()
    }

    pub(crate) fn edit(&self, kind: &str, name: &str, change: impl FnOnce(&mut Json)) {
        let mut object = self.get(kind, name).unwrap();
        change(&mut object);
        self.put(object);
    }

    pub(crate) fn objects(&self) -> Vec<Json> {
        self.0.lock().unwrap().objects.values().cloned().collect()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    pub(crate) fn instead(&self, path: &'static str, status: u16, times: u32) {
        self.0.lock().unwrap().instead.push((path, status, times));
    }

    pub(crate) fn gone(&self, times: u32) {
        self.0.lock().unwrap().gone = times;
    }

    pub(crate) fn with_old_discovery(self) -> Self {
        self.0.lock().unwrap().old_discovery = true;
        self
    }
}

fn served(object: &Json) -> &'static Served {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    KINDS.iter().find(|kind| kind.0 == group && kind.1 == version && object["kind"] == kind.3).unwrap()
}

fn root(kind: &Served) -> String {
    if kind.0.is_empty() { format!("/api/{}", kind.1) } else { format!("/apis/{}/{}", kind.0, kind.1) }
}

fn path_of(object: &Json) -> String {
    let namespace = object["metadata"]["namespace"].as_str().unwrap();
    let kind = served(object);
    format!("{}/namespaces/{namespace}/{}/{}", root(kind), kind.2, object["metadata"]["name"].as_str().unwrap())
}

/// What a cluster writes into an object by itself.
fn finish(object: &mut Json, before: Option<&Json>, version: &mut u64) {
    *version += 1;
    let uid =
        before.map_or_else(|| json!(format!("uid-{}", path_of(object))), |before| before["metadata"]["uid"].clone());
    if object["metadata"]["uid"].is_null() {
        object["metadata"]["uid"] = uid;
    }
    object["metadata"]["creationTimestamp"] = "2026-11-21T08:00:00Z".into();
    object["metadata"]["managedFields"] = json!([{ "manager": "x", "operation": "Update" }]);
    if object["kind"] == "Service" && object["spec"]["clusterIP"].is_null() {
        let address = format!("10.0.{}.{}", *version / 250 % 250, *version % 250);
        object["spec"]["clusterIP"] = address.clone().into();
        object["spec"]["clusterIPs"] = json!([address]);
    }
    if object["kind"] == "Deployment" {
        object["status"] = json!({ "observedGeneration": 1, "replicas": object["spec"]["replicas"] });
    }
}

/// Server-side apply, forced: maps are merged, lists of named items by their key, other lists replaced.
fn merge(live: &mut Json, wanted: &Json, field: &str) {
    match (live, wanted) {
        (Json::Object(live), Json::Object(wanted)) => {
            for (key, value) in wanted {
                match live.get_mut(key) {
                    Some(live) => merge(live, value, key),
                    None => {
                        live.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Json::Array(live), Json::Array(wanted)) => {
            let key = match field {
                "containers" | "env" | "volumes" => "name",
                "ports" => "port",
                _ => {
                    live.clone_from(wanted);
                    return;
                }
            };
            for item in wanted {
                match live.iter_mut().find(|one| one[key] == item[key]) {
                    Some(one) => merge(one, item, ""),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, wanted) => live.clone_from(wanted),
    }
}

fn refuse(status: u16, message: &str, field: Option<&str>) -> Answer {
    let causes: Vec<Json> = field.iter().map(|field| json!({ "field": field, "message": message })).collect();
    let body = json!({ "kind": "Status", "message": message, "code": status, "details": { "causes": causes } });
    Answer { status, body: body.to_string().into_bytes() }
}

fn fine(body: &Json) -> Answer {
    Answer { status: 200, body: body.to_string().into_bytes() }
}

fn immutable(before: &Json, after: &Json) -> Option<Answer> {
    let differs = |pointer: &str| before.pointer(pointer) != after.pointer(pointer);
    match before["kind"].as_str().unwrap() {
        "Deployment" if differs("/spec/selector") => {
            Some(refuse(422, "Invalid value: field is immutable", Some("spec.selector")))
        }
        "StatefulSet" if differs("/spec/serviceName") => Some(refuse(
            422,
            "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
            Some("spec"),
        )),
        _ => None,
    }
}

impl State {
    fn answer(&mut self, ask: &Ask) -> Answer {
        let (path, query) = ask.path.split_once('?').unwrap_or((&ask.path, ""));
        let query: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let dry = query.get("dryRun") == Some(&"All");
        let verb = if dry { "DRY " } else { "" };
        self.asked.push(format!("{verb}{:?} {path}", ask.method));
        if let Some(at) = self.instead.iter().position(|(part, _, times)| path.contains(part) && *times > 0) {
            self.instead[at].2 -= 1;
            return refuse(self.instead[at].1, "as the test says", None);
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts[..] {
            ["api" | "apis"] => return self.discovery(parts[0], ask.accept),
            ["api", "v1"] => return resources("", "v1"),
            ["apis", group, version] => return resources(group, version),
            ["api", "v1", "namespaces", name] => {
                return if name == "nowhere" {
                    refuse(404, "namespaces \"nowhere\" not found", None)
                } else {
                    fine(&json!({}))
                };
            }
            _ => {}
        }
        let (resource, name) = match parts[..] {
            [.., "namespaces", _, resource] => (resource, None),
            [.., "namespaces", _, resource, name] => (resource, Some(name)),
            _ => return refuse(404, "no such path", None),
        };
        let group = if parts[0] == "api" { "" } else { parts[1] };
        let Some(kind) = KINDS.iter().find(|kind| kind.0 == group && kind.2 == resource) else {
            return refuse(404, "the server could not find the requested resource", None);
        };
        match (ask.method, name) {
            (Method::Get, None) => self.list(path, kind, &query),
            (Method::Get, Some(_)) => self.objects.get(path).map_or_else(|| refuse(404, "not found", None), fine),
            (Method::Create, None) => {
                let object: Json = serde_json::from_slice(&ask.body).unwrap();
                let path = path_of(&object);
                if self.objects.contains_key(&path) {
                    return refuse(409, "already exists", None);
                }
                self.store(&path, object, dry)
            }
            (Method::Apply, Some(_)) => {
                let wanted: Json = serde_json::from_slice(&ask.body).unwrap();
                let Some(before) = self.objects.get(path).cloned() else { return self.store(path, wanted, dry) };
                let version = &wanted["metadata"]["resourceVersion"];
                if !version.is_null() && *version != before["metadata"]["resourceVersion"] {
                    return refuse(409, "the object has been modified", None);
                }
                let mut after = before.clone();
                merge(&mut after, &wanted, "");
                immutable(&before, &after).unwrap_or_else(|| self.store(path, after, dry))
            }
            (Method::JsonPatch, Some(_)) => {
                let operations: Json = serde_json::from_slice(&ask.body).unwrap();
                let Some(before) = self.objects.get(path).cloned() else { return refuse(404, "not found", None) };
                let mut after = before.clone();
                for operation in operations.as_array().unwrap() {
                    let pointer = operation["path"].as_str().unwrap();
                    match operation["op"].as_str().unwrap() {
                        "test" if after.pointer(pointer) == Some(&operation["value"]) => {}
                        "remove" if after.pointer(pointer).is_some() => take(&mut after, pointer),
                        _ => return refuse(422, "the patch does not fit", None),
                    }
                }
                immutable(&before, &after).unwrap_or_else(|| self.store(path, after, dry))
            }
            _ => refuse(405, "not allowed", None),
        }
    }

    fn store(&mut self, path: &str, mut object: Json, dry: bool) -> Answer {
        let before = self.objects.get(path).cloned();
        finish(&mut object, before.as_ref(), &mut self.version.clone());
        if !dry {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.objects.insert(path.to_owned(), object.clone());
        }
        fine(&object)
    }

    fn list(&mut self, path: &str, kind: &Served, query: &BTreeMap<&str, &str>) -> Answer {
        let limit: usize = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let (token, from) = if let Some(next) = query.get("continue") {
            if self.gone > 0 {
                self.gone -= 1;
                self.version += 1;
                // What changes while it is read: a page of then and one of now would not fit each other.
                for object in self.objects.values_mut().filter(|object| object["kind"] == kind.3) {
                    object["data"]["moment"] = self.version.to_string().into();
                }
                return refuse(410, "the provided continue parameter is too old", None);
            }
            let (token, from) = next.split_once('.').unwrap();
            (token.to_owned(), from.parse().unwrap())
        } else {
            let begin = format!("{path}/");
            let all = self.objects.iter().filter(|(of, _)| of.starts_with(&begin)).map(|(_, object)| {
                let mut item = object.clone();
                item.as_object_mut().unwrap().retain(|key, _| key != "kind" && key != "apiVersion");
                item
            });
            let token = format!("t{}", self.snapshots.len());
            let all = all.collect();
            self.snapshots.insert(token.clone(), (self.version, all));
            (token, 0)
        };
        let (version, all) = &self.snapshots[&token];
        let items: Vec<&Json> = all.iter().skip(from).take(limit).collect();
        let next =
            if from + items.len() < all.len() { format!("{token}.{}", from + items.len()) } else { String::new() };
        fine(
            &json!({ "kind": format!("{}List", kind.3), "metadata": { "resourceVersion": version.to_string(), "continue": next },
            "items": items }),
        )
    }

    fn discovery(&self, root: &str, accept: &str) -> Answer {
        let groups: BTreeSet<&str> =
            KINDS.iter().map(|kind| kind.0).filter(|group| group.is_empty() == (root == "api")).collect();
        if self.old_discovery || !accept.contains("APIGroupDiscoveryList") {
            if root == "api" {
                return fine(&json!({ "kind": "APIVersions", "versions": ["v1"] }));
            }
            let group = |group: &&str| {
                let versions: Vec<Json> = versions(group).iter().map(|version| json!({ "version": version })).collect();
                json!({ "name": group, "versions": versions, "preferredVersion": versions[0] })
            };
            return fine(&json!({ "kind": "APIGroupList", "groups": groups.iter().map(group).collect::<Vec<_>>() }));
        }
        let group = |group: &&str| {
            let version = |version: &&str| {
                let resources = KINDS.iter().filter(|kind| kind.0 == *group && kind.1 == *version).map(|kind| {
                    json!({ "resource": kind.2, "responseKind": { "kind": kind.3 }, "scope": "Namespaced", "verbs": kind.4 })
                });
                json!({ "version": version, "freshness": "Current", "resources": resources.collect::<Vec<_>>() })
            };
            json!({ "metadata": { "name": group }, "versions": versions(group).iter().map(version).collect::<Vec<_>>() })
        };
        fine(&json!({ "kind": "APIGroupDiscoveryList", "items": groups.iter().map(group).collect::<Vec<_>>() }))
    }
}

/// The versions of a group, the preferred one first.
fn versions(group: &str) -> Vec<&'static str> {
    let mut all: Vec<&str> = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.0 == group) {
        if !all.contains(&kind.1) {
            all.push(kind.1);
        }
    }
    all
}

fn resources(group: &str, version: &str) -> Answer {
    let of = KINDS.iter().filter(|kind| kind.0 == group && kind.1 == version);
    let each = of.flat_map(|kind| {
        let one = |name: String| json!({ "name": name, "kind": kind.3, "namespaced": true, "verbs": kind.4 });
        [one(kind.2.to_owned()), one(format!("{}/status", kind.2))]
    });
    fine(&json!({ "kind": "APIResourceList", "resources": each.collect::<Vec<_>>() }))
}

fn take(object: &mut Json, pointer: &str) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match object.pointer_mut(parent).unwrap() {
        Json::Object(fields) => {
            fields.remove(&last.replace("~1", "/").replace("~0", "~"));
        }
        Json::Array(items) => {
            items.remove(last.parse().unwrap());
        }
        other => panic!("nothing can be removed from {other}"),
    }
}

#[async_trait]
impl Wire for Api {
    async fn ask(&self, ask: Ask) -> Result<Answer, NoAnswer> {
        let answer = self.0.lock().unwrap().answer(&ask);
        if answer.body.len() > ask.most { Err(NoAnswer::TooLarge(ask.most)) } else { Ok(answer) }
    }
}
