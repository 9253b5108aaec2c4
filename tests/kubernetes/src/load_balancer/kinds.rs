//! Two kinds that a cluster has only where somebody installed them, as small as they can be: an `HTTPRoute` of the Gateway
//! API, and a `TargetGroupBinding` of the AWS Load Balancer Controller.

use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use portcullis_tests::wait::{self, SOON};
use serde_json::{Value, json};

use super::{Follows, text};
use crate::cluster::Namespace;
use crate::samples::read;

pub(super) fn routes() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"),
        "httproutes",
    )
}

pub(super) fn bindings() -> ApiResource {
    let kind = GroupVersionKind::gvk("elbv2.k8s.aws", "v1beta1", "TargetGroupBinding");
    ApiResource::from_gvk_with_plural(&kind, "targetgroupbindings")
}

/// Installs both, where they are not there yet, and waits until they are served.
pub async fn install(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for kind in [routes(), bindings()] {
        let name = format!("{}.{}", kind.plural, kind.group);
        let definition: CustomResourceDefinition = read(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            // A group under k8s.io is protected: the cluster wants to know who approved it.
            "metadata": { "name": name, "annotations": { "api-approved.kubernetes.io": "unapproved, for tests only" } },
            "spec": {
                "group": kind.group, "scope": "Namespaced",
                "names": { "kind": kind.kind, "plural": kind.plural, "singular": kind.kind.to_lowercase() },
                "versions": [{ "name": kind.version, "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                    "type": "object", "properties": {
                        "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                        "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } } } }],
            },
        }));
        match api.create(&PostParams::default(), &definition).await {
            Ok(_) => {}
            // Another test of this cluster did.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("installing {name}: {error}"),
        }
        wait::until("the kind is served", SOON, async || {
            let found = api.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            let is = conditions.iter().any(|one| one.type_ == "Established" && one.status == "True");
            if is { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }
}

/// Pods of a namespace get readiness gates from now on.
pub async fn inject_gates(namespace: &Namespace<'_>) {
    let api: Api<NamespaceObject> = Api::all(namespace.client.clone());
    let label = json!({ "metadata": { "labels": { "elbv2.k8s.aws/pod-readiness-gate-inject": "enabled" } } });
    api.patch(&namespace.name, &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
}

/// Makes a route for a host that sends all to a Service.
pub async fn make_route(namespace: &Namespace<'_>, name: &str, host: &str, service: &str) {
    let rule = json!({ "backendRefs": [{ "name": service, "port": 80, "weight": 1 }] });
    let route = DynamicObject::new(name, &routes()).data(json!({ "spec": { "hostnames": [host], "rules": [rule] } }));
    let api: Api<DynamicObject> = Api::namespaced_with(namespace.client.clone(), &namespace.name, &routes());
    api.create(&PostParams::default(), &route).await.unwrap();
}

/// Makes an Ingress of an AWS load balancer with pods as its targets, with a Service for each host.
pub async fn make_ingress(namespace: &Namespace<'_>, name: &str, hosts: &[(&str, &str)]) {
    let rule = |(host, service): &(&str, &str)| {
        json!({ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix",
            "backend": { "service": { "name": service, "port": { "number": 80 } } } }] } })
    };
    let ingress: Ingress = read(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "annotations": { "alb.ingress.kubernetes.io/target-type": "ip" } },
        "spec": { "ingressClassName": "alb", "rules": hosts.iter().map(rule).collect::<Vec<_>>() },
    }));
    namespace.create::<Ingress>(&ingress).await;
}

/// The weights as a person reads them: of the first rule of a route, or of a service's action of an Ingress.
pub async fn weights(namespace: &Namespace<'_>, follows: &Follows, service: &str) -> Vec<(String, u64)> {
    let (list, key) = match follows {
        Follows::Route(name) => {
            let api: Api<DynamicObject> = Api::namespaced_with(namespace.client.clone(), &namespace.name, &routes());
            (api.get(name).await.unwrap().data["spec"]["rules"][0]["backendRefs"].clone(), "name")
        }
        Follows::Ingress(name) => {
            let ingress = namespace.api::<Ingress>().get(name).await.unwrap();
            let action = format!("alb.ingress.kubernetes.io/actions.{service}");
            let action: Value =
                serde_json::from_str(&ingress.metadata.annotations.unwrap_or_default()[&action]).unwrap();
            (action["forwardConfig"]["targetGroups"].clone(), "serviceName")
        }
    };
    let of = |one: &Value| (text(&one[key]).to_owned(), one["weight"].as_u64().unwrap_or(1));
    list.as_array().into_iter().flatten().map(of).collect()
}
