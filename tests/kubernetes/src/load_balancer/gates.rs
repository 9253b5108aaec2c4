//! Readiness gates for pods that are made: what the AWS Load Balancer Controller's webhook does in a namespace that has the
//! label. The API server asks it for each pod, over TLS.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::alb::{GATE, selects};
use super::{all, kinds, text};
use crate::certificates::Authority;
use crate::kubelet::tls;
use crate::samples::read;

/// The label of a namespace whose pods get gates.
const INJECT: &str = "elbv2.k8s.aws/pod-readiness-gate-inject";

/// Answers for one namespace, for as long as the tasks live, and tells the API server where.
pub(super) async fn serve(client: &Client, namespace: &str, tasks: &mut JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let authority = Authority::new();
    let acceptor = tls(&authority.server(&[at.ip()], &[]));
    let (own, of) = (client.clone(), namespace.to_owned());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let (acceptor, client, namespace) = (acceptor.clone(), own.clone(), of.clone());
                    connections.spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let service = service_fn(move |request| {
                            let (client, namespace) = (client.clone(), namespace.clone());
                            async move { Ok::<_, Infallible>(answer(&client, &namespace, request).await) }
                        });
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            }
        }
    });
    let configuration: MutatingWebhookConfiguration = read(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": format!("gates-{namespace}") },
        "webhooks": [{
            "name": "gates.load-balancer.test", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "timeoutSeconds": 10,
            "clientConfig": { "url": format!("https://{at}/"), "caBundle": ByteString(authority.pem().into_bytes()) },
            "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace, INJECT: "enabled" } },
        }],
    }));
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    api.create(&PostParams::default(), &configuration).await.unwrap();
}

async fn answer(client: &Client, namespace: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut said = json!({ "uid": review["request"]["uid"], "allowed": true });
    match gates(client, namespace, &review["request"]["object"]).await {
        Ok(gates) if gates.is_empty() => {}
        Ok(gates) => {
            let gates: Vec<Value> = gates.into_iter().map(|gate| json!({ "conditionType": gate })).collect();
            let patch = json!([{ "op": "add", "path": "/spec/readinessGates", "value": gates }]);
            said["patchType"] = "JSONPatch".into();
            said["patch"] = json!(ByteString(patch.to_string().into_bytes()));
        }
        Err(error) => {
            said = json!({ "uid": review["request"]["uid"], "allowed": false, "status": { "message": error.to_string() } });
        }
    }
    let answer = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": said });
    let mut answer = Response::new(Full::from(answer.to_string()));
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    answer
}

/// The gates of the target groups whose Services select a pod.
async fn gates(client: &Client, namespace: &str, pod: &Value) -> Result<Vec<String>, kube::Error> {
    let bindings: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kinds::bindings());
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let (bindings, services) = (all(&bindings).await?, all(&services).await?);
    let pod: Pod = serde_json::from_value(pod.clone()).map_err(kube::Error::SerdeError)?;
    let selected = |binding: &&DynamicObject| {
        let service = text(&binding.data["spec"]["serviceRef"]["name"]);
        services.iter().any(|one| one.metadata.name.as_deref() == Some(service) && selects(one, &pod))
    };
    let names = bindings.iter().filter(selected).filter_map(|binding| binding.metadata.name.as_deref());
    Ok(names.map(|name| format!("{GATE}{name}")).collect())
}
