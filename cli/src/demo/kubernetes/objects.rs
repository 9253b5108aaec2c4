//! The objects of the demo, as a team would have written them: nothing of Portcullis is in them.

use portcullis_kubernetes::client::Kind;
use serde_json::{Value as Json, json};

use crate::args::DemoImage;

/// The port of the Services.
pub(super) const PORT: u16 = 80;
/// The port that the images listen on.
const LISTENS: u16 = 8080;

/// Namespaces.
pub(super) const NAMESPACES: Kind =
    Kind { group: "", version: "v1", plural: "namespaces", kind: "Namespace", namespaced: false };

/// The demo's namespace.
pub(super) fn namespace(name: &str) -> Json {
    json!({ "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { "app.kubernetes.io/part-of": "portcullis-demo" } } })
}

/// A Deployment. Its pods wait before they stop, so that every node has noticed that they get no more requests.
pub(super) fn deployment(name: &str, image: &DemoImage, replicas: u32) -> Json {
    let labels = json!({ "app": name });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": labels },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 20,
                    "containers": [{
                        "name": name,
                        "image": format!("{}@{}", image.repository, image.digest),
                        "ports": [{ "name": "http", "containerPort": LISTENS }],
                        "resources": { "requests": { "cpu": "20m", "memory": "32Mi" } },
                        "readinessProbe": { "httpGet": { "path": "/health", "port": "http" }, "periodSeconds": 1 },
                        "lifecycle": { "preStop": { "sleep": { "seconds": 2 } } },
                    }],
                },
            },
        },
    })
}

/// A Service in front of a Deployment's pods.
pub(super) fn service(name: &str) -> Json {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": PORT, "targetPort": "http" }] },
    })
}
