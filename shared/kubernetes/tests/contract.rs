//! The engine's contract of a cluster on a real API server.
//!
//! Runs where `PORTCULLIS_TEST_KUBECONFIG` names a kubeconfig; its current context is used, with rights to make a namespace.
//! Pods must become ready: by a real kubelet, or by one that plays it (kwok, or a fake that sets pods ready). With a real
//! one `PORTCULLIS_TEST_IMAGES` names two images that stay up, by digest and of one repository, with a comma between them:
//! `registry/app@sha256:…,registry/app@sha256:…`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod real;

use std::sync::Arc;

use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::Place;
use portcullis_engine::contract::{ClusterCase, cluster};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};
use serde_json::json;

use real::{SystemClock, ended, images, namespace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_cluster_keeps_the_contract() {
    let Some((client, namespace)) = namespace("contract").await else { return };
    let (repository, digests) = images();
    let manifests = [
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "contract" }, "spec": {
            "selector": { "matchLabels": { "app": "contract" } },
            "template": { "metadata": { "labels": { "app": "contract" } }, "spec": {
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "containers": [{ "name": "contract", "image": repository }] } } } }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "contract" },
            "spec": { "selector": { "app": "contract" }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] } }),
    ];
    let case = ClusterCase {
        cluster: Arc::new(KubernetesCluster::new(Source::Connected(client.clone()), Options::default())),
        clock: Arc::new(SystemClock),
        target: "contract/test".parse().unwrap(),
        place: Place { account: None, region: None, role: None, cluster: "test".into(), namespace: namespace.clone() },
        service: ServiceName::new("contract").unwrap(),
        manifests: Some(manifests.map(|manifest| manifest.to_string()).join("\n---\n")),
        digests,
    };
    let result = tokio::spawn(cluster(case)).await;
    ended(&client, &namespace, result).await;
}
