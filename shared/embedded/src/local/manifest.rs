//! The objects as Kubernetes manifests: what a backup keeps, and what a plan's hash is of.

use std::fmt::Write as _;

use portcullis_domain::action::{ObjectKey, Part, Value};
use portcullis_domain::digest::{Digest, FieldHasher};
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use portcullis_engine::ports::Manifest;
use serde_json::{Value as Json, json};

use super::objects::Object;

/// Every object of a target as YAML that `kubectl apply -f` takes, and a ConfigMap that says what it is of.
pub(super) fn export(target: &TargetId, namespace: &str, objects: &[(ObjectKey, Object)]) -> Vec<Manifest> {
    let with_traffic = |service| objects.iter().any(|(key, _)| *key == ObjectKey::traffic(service));
    let mut services: Vec<&str> = objects.iter().map(|(key, _)| key.service.as_str()).collect();
    services.dedup();
    let about = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": format!("{}-portcullis", target.app), "labels": { PART_OF: target.app } },
        "data": { "application": target.app, "environment": target.env, "services": services.join(" ") },
    });
    let of_objects = objects.iter().map(|(key, object)| {
        let mut manifest = match (key.part, object.value) {
            (Part::Workload(colour), Value::Workload { digest, replicas }) => {
                let mut manifest = deployment(target, &key.service, colour, !with_traffic(&key.service));
                manifest["spec"]["replicas"] = replicas.into();
                manifest["spec"]["template"]["spec"]["containers"][0]["image"] =
                    format!("{}@{digest}", key.service).into();
                manifest
            }
            (_, value) => {
                let green = if let Value::Traffic { green } = value { green } else { 0 };
                let mut manifest = service(target, &key.service);
                let colour = Colour::with_most(green);
                manifest["spec"]["selector"][COLOUR] = colour.to_string().into();
                manifest["metadata"]["annotations"]["portcullis.dev/green-share"] = green.to_string().into();
                manifest
            }
        };
        if let Some(fence) = &object.fence {
            manifest["metadata"]["annotations"][fence_key(target)] = fence.as_str().into();
        }
        manifest
    });
    std::iter::once(about)
        .chain(of_objects)
        .map(|mut manifest| {
            manifest["metadata"]["namespace"] = namespace.into();
            let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
            let (kind, name) = (text(&manifest["kind"]), text(&manifest["metadata"]["name"]));
            Manifest { kind, name, yaml: yaml(&manifest) }
        })
        .collect()
}

/// The hash of a service's manifests without digest, replicas, colour's share, fence and place.
pub(super) fn hash(target: &TargetId, name: &ServiceName, worker: bool) -> Digest {
    let mut hasher = FieldHasher::new("portcullis local manifest 1");
    for colour in [Colour::Blue, Colour::Green] {
        hasher.field(yaml(&deployment(target, name, colour, worker)).as_bytes());
    }
    if !worker {
        hasher.field(yaml(&service(target, name)).as_bytes());
    }
    hasher.finish()
}

const NAME: &str = "app.kubernetes.io/name";
const PART_OF: &str = "app.kubernetes.io/part-of";
const COLOUR: &str = "portcullis.dev/colour";

/// The annotation of a target's fence. A name in a key has at most 63 characters: longer ones are hashed.
fn fence_key(target: &TargetId) -> String {
    let name = format!("fence.{}.{}", target.app, target.env);
    if name.len() <= 63 {
        return format!("portcullis.dev/{name}");
    }
    format!("portcullis.dev/fence.{}", &Digest::of(target.to_string().as_bytes()).hex()[..32])
}

fn deployment(target: &TargetId, service: &ServiceName, colour: Colour, worker: bool) -> Json {
    let pods = json!({ NAME: service, COLOUR: colour });
    let mut labels = pods.clone();
    labels[PART_OF] = target.app.as_str().into();
    let mut container = json!({ "name": service });
    if !worker {
        container["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
        container["readinessProbe"] = json!({ "httpGet": { "path": "/health", "port": "http" } });
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": format!("{service}-{colour}"), "labels": labels },
        "spec": {
            "selector": { "matchLabels": pods },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
        },
    })
}

fn service(target: &TargetId, service: &ServiceName) -> Json {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": service, "labels": { NAME: service, PART_OF: target.app } },
        "spec": {
            "selector": { NAME: service },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        },
    })
}

/// Block-style YAML. Every string is quoted as JSON quotes it, which YAML reads alike, so that none turns into a
/// number, a boolean or null.
fn yaml(value: &Json) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Json, indent: usize, out: &mut String) {
    match value {
        Json::Object(fields) => {
            // By name: whether a map keeps the order of insertion is another crate's choice.
            for (key, value) in fields.iter().collect::<std::collections::BTreeMap<_, _>>() {
                // Keys are ours: letters, digits and . / -
                let _ = write!(out, "{:indent$}{key}:", "");
                child(value, indent, out);
            }
        }
        Json::Array(items) => {
            for item in items {
                let mut text = String::new();
                block(item, indent + 2, &mut text);
                let _ = write!(out, "{:indent$}- {}", "", text.trim_start_matches(' '));
            }
        }
        scalar => {
            let _ = writeln!(out, "{:indent$}{scalar}", "");
        }
    }
}

fn child(value: &Json, indent: usize, out: &mut String) {
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Json::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        scalar => {
            let _ = writeln!(out, " {scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object { version: 1, fence: Some("l/1/7".into()), written_by: "x".into(), port: Some(1), value }
    }

    #[test]
    fn an_export_is_what_kubectl_applies() {
        let target: TargetId = "volteryde/production".parse().unwrap();
        let service = ServiceName::new("nestjs-service").unwrap();
        let workload = Value::Workload { digest: Digest::of(b"1"), replicas: 2 };
        let objects = [
            (ObjectKey::workload(&service, Colour::Blue), object(workload)),
            (ObjectKey::traffic(&service), object(Value::Traffic { green: 10_000 })),
        ];
        let manifests = export(&target, "volteryde", &objects);
        let names: Vec<_> = manifests.iter().map(|m| format!("{}/{}", m.kind, m.name)).collect();
        assert_eq!(
            names,
            ["ConfigMap/volteryde-portcullis", "Deployment/nestjs-service-blue", "Service/nestjs-service"]
        );
        assert_eq!(
            manifests[1].yaml,
            r#"apiVersion: "apps/v1"
kind: "Deployment"
metadata:
  annotations:
    portcullis.dev/fence.volteryde.production: "l/1/7"
  labels:
    app.kubernetes.io/name: "nestjs-service"
    app.kubernetes.io/part-of: "volteryde"
    portcullis.dev/colour: "blue"
  name: "nestjs-service-blue"
  namespace: "volteryde"
spec:
  replicas: 2
  selector:
    matchLabels:
      app.kubernetes.io/name: "nestjs-service"
      portcullis.dev/colour: "blue"
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
    type: "RollingUpdate"
  template:
    metadata:
      labels:
        app.kubernetes.io/name: "nestjs-service"
        app.kubernetes.io/part-of: "volteryde"
        portcullis.dev/colour: "blue"
    spec:
      containers:
        - image: "nestjs-service@sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
          name: "nestjs-service"
          ports:
            - containerPort: 8080
              name: "http"
          readinessProbe:
            httpGet:
              path: "/health"
              port: "http"
"#
        );
        assert!(manifests[2].yaml.contains("portcullis.dev/green-share: \"10000\""));
    }

    #[test]
    fn a_hash_is_of_what_would_be_applied_and_differs_by_service_and_kind() {
        let target: TargetId = "volteryde/production".parse().unwrap();
        let names = [ServiceName::new("a").unwrap(), ServiceName::new("b").unwrap()];
        assert_eq!(hash(&target, &names[0], false), hash(&target, &names[0], false));
        assert_ne!(hash(&target, &names[0], false), hash(&target, &names[1], false));
        assert_ne!(hash(&target, &names[0], false), hash(&target, &names[0], true));
    }
}
