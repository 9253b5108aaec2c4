//! A small API server in memory for tests: objects, label selectors, JSON patches with their tests, a log of what came over
//! the wire, and faults on request. Deployments get pods that are ready at once.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place};
use serde_json::{Value as Json, json};

use crate::client::{Client, ClientOptions, Kind, kinds};
use crate::objects::{COLOUR, SERVICE};

/// A fault: what it is for, the status and body that are answered, whether the request is carried out all the same.
#[derive(Clone)]
struct Fault {
    on: String,
    status: u16,
    body: Json,
    carried_out: bool,
}

#[derive(Default)]
struct State {
    /// By the path of the object.
    objects: BTreeMap<String, Json>,
    version: u64,
    log: Vec<String>,
    faults: VecDeque<Fault>,
}

/// The API server. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    /// One that has these objects.
    pub(crate) fn with(objects: &[Json]) -> Self {
        let api = Self::default();
        for object in objects {
            api.put(object.clone());
        }
        api
    }

    /// Puts an object there, of whatever state.
    pub(crate) fn put(&self, object: Json) {
        let mut state = self.state();
        let path = path_of(&object);
        state.store(&path, object, None);
    }

    /// An object as it is; null = there is none.
    pub(crate) fn object(&self, kind: &Kind, name: &str) -> Json {
        self.state().objects.get(&kind.path(Some(NAMESPACE), Some(name))).cloned().unwrap_or_default()
    }

    /// The next request that begins with this (`PATCH /apis/apps`) is answered like that, carried out or not.
    pub(crate) fn fail(&self, on: &str, status: u16, body: Json, carried_out: bool) {
        self.state().faults.push_back(Fault { on: on.into(), status, body, carried_out });
    }

    /// What came over the wire since this was last asked: method and path without query.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let (status, answer) = api.answer(&parts.method, &parts.uri, &parts.headers, &body);
                let answer = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        let options = ClientOptions { request: Duration::from_secs(2), page: 2, ..ClientOptions::default() };
        Client::from_kube(kube::Client::new(service, NAMESPACE), options)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, method: &Method, uri: &http::Uri, headers: &http::HeaderMap, body: &[u8]) -> (u16, Json) {
        let mut state = self.state();
        let line = format!("{method} {}", uri.path());
        state.log.push(line.clone());
        let fault = state.faults.iter().position(|fault| line.starts_with(&fault.on));
        let fault = fault.and_then(|at| state.faults.remove(at));
        if let Some(fault) = &fault
            && !fault.carried_out
        {
            return (fault.status, fault.body.clone());
        }
        let content = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let answer = state.carry_out(method, uri.path(), uri.query().unwrap_or_default(), content, body);
        fault.map_or(answer, |fault| (fault.status, fault.body))
    }
}

fn path_of(object: &Json) -> String {
    let version = object["apiVersion"].as_str().unwrap();
    let root = if version.contains('/') { "apis" } else { "api" };
    let kind = object["kind"].as_str().unwrap();
    let plural = if kind == "Ingress" { "ingresses".to_owned() } else { format!("{}s", kind.to_lowercase()) };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
    let of = if matches!(kind, "Node" | "Namespace") { String::new() } else { format!("/namespaces/{namespace}") };
    format!("/{root}/{version}{of}/{plural}/{}", object["metadata"]["name"].as_str().unwrap())
}

fn refused(status: u16, reason: &str, message: &str) -> (u16, Json) {
    (status, json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status }))
}

impl State {
    /// Stores an object as a server does: with a version, and with a generation that goes up with its specification.
    fn store(&mut self, path: &str, mut object: Json, before: Option<&Json>) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", self.version).into();
        }
        let generation = before.and_then(|before| before["metadata"]["generation"].as_u64()).unwrap_or(0);
        let same = before.is_some_and(|before| before["spec"] == object["spec"]);
        if object["metadata"]["generation"].is_null() || before.is_some() {
            object["metadata"]["generation"] = (generation + u64::from(!same)).into();
        }
        if object["kind"] == "Deployment" && before.is_some() {
            object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
            self.roll_out(&object);
        }
        self.objects.insert(path.to_owned(), object);
    }

    /// Makes the pods that a Deployment asks for, ready at once.
    fn roll_out(&mut self, deployment: &Json) {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        let owned = |path: &String| path.starts_with(&kinds::PODS.path(Some(NAMESPACE), Some(&format!("{name}-of-"))));
        self.objects.retain(|path, _| !owned(path));
        let template = &deployment["spec"]["template"];
        for n in 0..deployment["spec"]["replicas"].as_u64().unwrap_or(1) {
            let mut pod = pod(&format!("{name}-of-{n}"), template["metadata"]["labels"].clone(), "", true);
            pod["spec"] = template["spec"].clone();
            let path = path_of(&pod);
            self.store(&path, pod, None);
        }
    }

    fn carry_out(&mut self, method: &Method, path: &str, query: &str, content: &str, body: &[u8]) -> (u16, Json) {
        if path == "/apis/autoscaling" {
            return (200, json!({ "versions": [{ "version": "v2" }], "preferredVersion": { "version": "v2" } }));
        }
        if path == "/api" || path == "/apis" {
            return (200, discovery(path == "/api"));
        }
        let body: Json = serde_json::from_slice(body).unwrap_or_default();
        let there = self.objects.get(path).cloned();
        match (method.as_str(), there) {
            ("GET", Some(object)) => (200, object),
            ("GET", None) if is_list(path) => self.list(path, query),
            ("POST", _) => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
                if self.objects.contains_key(&path) {
                    return refused(409, "AlreadyExists", "already exists");
                }
                if query.contains("dryRun=All") {
                    return (201, body);
                }
                self.store(&path, body, Some(&Json::Null));
                (201, self.objects[&path].clone())
            }
            ("PATCH", there) if content.contains("apply") => {
                let mut merged = there.clone().unwrap_or_else(|| json!({}));
                merge(&mut merged, &body);
                self.store(path, merged, Some(&there.unwrap_or_default()));
                (200, self.objects[path].clone())
            }
            ("PATCH", Some(before)) => {
                let mut after = before.clone();
                for operation in body.as_array().into_iter().flatten() {
                    // Seen on 1.36: it does not say what could not be applied.
                    if apply(&mut after, operation).is_none() {
                        let said = "the server rejected our request due to an error in our request";
                        return refused(422, "Invalid", said);
                    }
                }
                self.store(path, after, Some(&before));
                (200, self.objects[path].clone())
            }
            ("DELETE", Some(object)) => {
                self.objects.remove(path);
                (200, object)
            }
            _ => refused(404, "NotFound", "not found"),
        }
    }

    fn list(&self, path: &str, query: &str) -> (u16, Json) {
        let value = |key: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            pair.map(decoded)
        };
        let everywhere = !path.contains("/namespaces/");
        let plural = path.rsplit('/').next().unwrap_or_default();
        let of = |object_path: &String| {
            let parent = object_path.rsplit_once('/').map(|(parent, _)| parent).unwrap_or_default();
            parent == path || everywhere && parent.ends_with(&format!("/{plural}"))
        };
        let labels = value("labelSelector").unwrap_or_default();
        let all: Vec<&Json> = self
            .objects
            .iter()
            .filter(|(path, object)| of(path) && selected(&labels, &object["metadata"]["labels"]))
            .map(|(_, object)| object)
            .collect();
        // Pages, as a server makes them.
        let limit = value("limit").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
        let from: usize = value("continue").and_then(|text| text.parse().ok()).unwrap_or(0);
        let next = if all.len() > from.saturating_add(limit) { (from + limit).to_string() } else { String::new() };
        let items: Vec<&Json> = all.into_iter().skip(from).take(limit).collect();
        (200, json!({ "metadata": { "resourceVersion": self.version.to_string(), "continue": next }, "items": items }))
    }
}

fn is_list(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| *part == "namespaces");
    match at {
        Some(at) => parts.len() == at + 3,
        None => true,
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex: Vec<u8> = bytes.by_ref().take(2).collect();
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap()
}

/// The selectors that are asked with: `a=b`, `a in (b,c)`, `a`.
fn selected(selector: &str, labels: &Json) -> bool {
    let mut rest = selector;
    while !rest.is_empty() {
        let end = match (rest.find('('), rest.find(',')) {
            (Some(open), Some(comma)) if open < comma => rest.find(')').map_or(rest.len(), |close| close + 1),
            (_, Some(comma)) => comma,
            _ => rest.len(),
        };
        let (one, more) = rest.split_at(end);
        rest = more.trim_start_matches(',');
        let holds = if let Some((key, values)) = one.split_once(" in (") {
            let value = labels[key].as_str();
            value.is_some_and(|value| values.trim_end_matches(')').split(',').any(|one| one == value))
        } else if let Some((key, value)) = one.split_once('=') {
            labels[key] == value
        } else {
            labels.get(one).is_some()
        };
        if !holds {
            return false;
        }
    }
    true
}

fn merge(into: &mut Json, from: &Json) {
    match (into, from) {
        (Json::Object(into), Json::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Json::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// One operation of a patch; none = it cannot be applied.
fn apply(object: &mut Json, operation: &Json) -> Option<()> {
    let (parent, key) = operation["path"].as_str()?.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    let target = object.pointer_mut(parent)?;
    match (operation["op"].as_str()?, target) {
        ("test", Json::Array(items)) => (items.get(key.parse::<usize>().ok()?) == operation.get("value")).then_some(()),
        // What is absent is null.
        ("test", other) => (other.get(&key).unwrap_or(&Json::Null) == &operation["value"]).then_some(()),
        ("add" | "replace", Json::Object(fields)) => {
            fields.insert(key, operation["value"].clone());
            Some(())
        }
        ("add" | "replace", Json::Array(items)) => {
            *items.get_mut(key.parse::<usize>().ok()?)? = operation["value"].clone();
            Some(())
        }
        ("remove", Json::Object(fields)) => fields.remove(&key).map(|_| ()),
        _ => None,
    }
}

fn discovery(core: bool) -> Json {
    let resource = |plural: &str, group: &str, kind: &str| {
        json!({ "resource": plural, "scope": "Namespaced", "verbs": ["create", "get", "list", "patch"],
            "responseKind": { "group": group, "version": "v1", "kind": kind } })
    };
    let group = |name: &str, resources: Json| json!({ "metadata": { "name": name }, "versions": [{ "version": "v1", "resources": resources }] });
    let items = if core {
        json!([group("", json!([resource("services", "", "Service")]))])
    } else {
        json!([group("apps", json!([resource("deployments", "apps", "Deployment")]))])
    };
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items })
}

/// The namespace of every test.
pub(crate) const NAMESPACE: &str = "shop";

/// The target of every test.
pub(crate) fn target() -> TargetId {
    "shop/production".parse().unwrap()
}

/// The service of every test.
pub(crate) fn service() -> ServiceName {
    ServiceName::new("web").unwrap()
}

/// Where it runs.
pub(crate) fn place() -> Place {
    Place { account: None, region: None, role: None, cluster: "test".into(), namespace: NAMESPACE.into() }
}

/// A digest for a number.
pub(crate) fn digest(n: u8) -> Digest {
    Digest::of(&[n])
}

/// A Deployment that its controller has seen.
pub(crate) fn deployment(name: &str, colour: Option<Colour>, replicas: u32, digest: &Digest) -> Json {
    let mut labels = json!({ "app": "web" });
    let mut own = json!({});
    if let Some(colour) = colour {
        for labels in [&mut labels, &mut own] {
            labels[SERVICE] = "web".into();
            labels[COLOUR] = colour.to_string().into();
        }
    }
    let image = format!("registry/web@{digest}");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": own, "annotations": {}, "generation": 1 },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "web", "image": image }] } },
        },
        "status": { "observedGeneration": 1, "availableReplicas": replicas },
    })
}

/// The Service, narrowed to a colour or not.
pub(crate) fn front(colour: Option<Colour>, fence: Option<&str>) -> Json {
    let mut selector = json!({ "app": "web" });
    if let Some(colour) = colour {
        selector[COLOUR] = colour.to_string().into();
    }
    let mut front = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "namespace": NAMESPACE },
        "spec": { "type": "ClusterIP", "selector": selector, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    });
    if let Some(fence) = fence {
        front["metadata"]["annotations"] = json!({ "portcullis.dev/fence.shop.production": fence });
    }
    front
}

/// A pod.
#[expect(clippy::needless_pass_by_value, reason = "what json! makes is a value")]
pub(crate) fn pod(name: &str, labels: Json, image: &str, ready: bool) -> Json {
    let status = if ready { "True" } else { "False" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": labels },
        "spec": { "containers": [{ "name": "web", "image": image }] },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": status }] },
    })
}
