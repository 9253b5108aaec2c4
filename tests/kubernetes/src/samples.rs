//! Objects to begin with, as small as they can be and still be served without a loss.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

/// The port that a sample's containers listen on. Its name is `http`.
pub const PORT: u16 = 8080;

/// A Deployment of one container with a readiness probe every second, and a `preStop` hook that gives the Service's
/// proxies the time to forget a pod.
pub fn deployment(name: &str, image: &str, replicas: u32) -> Deployment {
    read(deployment_json(name, image, replicas))
}

/// The same as JSON, to be changed before it is used.
pub fn deployment_json(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "terminationGracePeriodSeconds": 20,
                    "containers": [{
                        "name": "app", "image": image,
                        "ports": [{ "name": "http", "containerPort": PORT }],
                        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
                        "readinessProbe": { "httpGet": { "path": "/health", "port": "http" }, "periodSeconds": 1 },
                        "lifecycle": { "preStop": { "sleep": { "seconds": 2 } } },
                    }],
                },
            },
        },
    })
}

/// A Service on port 80 in front of the pods that have this `app`.
pub fn service(name: &str, app: &str) -> Service {
    read(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": {
            "selector": { "app": app },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        },
    }))
}

/// An object of JSON.
pub fn read<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap_or_else(|error| panic!("a sample is wrong: {error}"))
}
