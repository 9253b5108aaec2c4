//! What people do without us, under the same load and the same chaos.

use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Patch, PatchParams};
use portcullis_tests::wait::{self, SOON};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::chaos::Chaos;
use super::{BOUNDS, REPLICAS, Row, Way, allow, load_options, more};
use crate::cluster::{Cluster, Namespace};
use crate::images::{self, Behaviour, Image};
use crate::load::Load;
use crate::programs;
use crate::samples::{self, read};
use crate::world::Guard;

const REPOSITORY: &str = "registry.test/shop/web";

async fn pushed(namespace: &Namespace<'_>, n: u32, late: bool) -> Image {
    let version = format!("v{n}-{}", namespace.name);
    let ready_after_ms = if late { 1_500 } else { 0 };
    images::push(&namespace.client, REPOSITORY, &Behaviour { ready_after_ms, ..Behaviour::version(&version) }).await
}

async fn loaded(namespace: &Namespace<'_>, allowed: &str) -> Load {
    let to = namespace.address("web").await;
    wait::until("the Service's address accepts connections", SOON, async || {
        TcpStream::connect(to).await.map_err(|error| error.to_string())
    })
    .await;
    let load = Load::start(to, load_options());
    allow(&load, [allowed]);
    more(&load).await;
    load
}

async fn budget(namespace: &Namespace<'_>) {
    namespace
        .create::<PodDisruptionBudget>(&read(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" },
            "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "web" } } },
        })))
        .await;
}

/// Waits until no pod of the app has another image than this, those that still end included.
async fn only_runs(namespace: &Namespace<'_>, image: &Image) {
    wait::until("the pods of other versions are gone", 2 * SOON, async || {
        let pods = namespace.pods("web").await;
        let others = pods.iter().filter(|pod| {
            let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
            container.and_then(|container| container.image.as_deref()) != Some(image.reference.as_str())
        });
        let others = others.count();
        if others == 0 { Ok(()) } else { Err(format!("{others} pods")) }
    })
    .await;
}

/// `kubectl set image` and `kubectl rollout undo`.
pub(super) async fn set_image(cluster: &Cluster, lag: Duration, turns: u32) -> Row {
    let namespace = &cluster.namespace("set-image").await;
    let old = pushed(namespace, 0, false).await;
    namespace.create::<Deployment>(&samples::deployment("web", &old.reference, REPLICAS)).await;
    namespace.create::<Service>(&samples::service("web", "web")).await;
    budget(namespace).await;
    namespace
        .create::<HorizontalPodAutoscaler>(&read(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
            "spec": {
                "minReplicas": BOUNDS.0, "maxReplicas": BOUNDS.1,
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            },
        })))
        .await;
    namespace.rolled_out("web").await;
    let load = loaded(namespace, &old.digest).await;
    let guard = Guard::start(&namespace.client, &namespace.name, "web", 1);
    let chaos = Chaos::start(&namespace.client, &namespace.name, "web", BOUNDS);
    for turn in 0..turns {
        let new = pushed(namespace, turn + 1, turn % 2 == 1).await;
        allow(&load, [&old.digest, &new.digest]);
        kubectl(cluster, namespace, &["set", "image", "deployment/web", &format!("app={}", new.reference)]).await;
        kubectl(cluster, namespace, &["rollout", "status", "deployment/web", "--timeout=120s"]).await;
        only_runs(namespace, &new).await;
        allow(&load, [&new.digest]);
        more(&load).await;
        allow(&load, [&old.digest, &new.digest]);
        kubectl(cluster, namespace, &["rollout", "undo", "deployment/web"]).await;
        kubectl(cluster, namespace, &["rollout", "status", "deployment/web", "--timeout=120s"]).await;
        only_runs(namespace, &old).await;
        allow(&load, [&old.digest]);
        more(&load).await;
    }
    let (meanwhile, too_few) = (chaos.counts(), guard.seen().too_few);
    drop(chaos);
    Row { way: Way::SetImage, lag, moves: (turns, turns), report: load.stop().await, meanwhile, too_few }
}

async fn kubectl(cluster: &Cluster, namespace: &Namespace<'_>, args: &[&str]) {
    let mut command = programs::kubectl(cluster.kubeconfig()).unwrap();
    command.args(["--namespace", &namespace.name]).args(args).stdin(Stdio::null());
    let said = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(said.status.success(), "kubectl {args:?}: {said:?}");
}

/// The colours of the script.
const COLOURS: [&str; 2] = ["blue", "green"];

/// A new Deployment is started and the selector is patched at once; the old one is scaled down. Back, the same.
pub(super) async fn selector(cluster: &Cluster, lag: Duration, turns: u32) -> Row {
    let namespace = &cluster.namespace("selector").await;
    let old = pushed(namespace, 0, false).await;
    for (colour, replicas) in COLOURS.into_iter().zip([REPLICAS, 0]) {
        let mut deployment = samples::deployment_json("web", &old.reference, replicas);
        deployment["metadata"]["name"] = format!("web-{colour}").into();
        for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            deployment.pointer_mut(labels).expect("a sample has labels")["colour"] = colour.into();
        }
        namespace.create::<Deployment>(&read(deployment)).await;
    }
    namespace.create::<Service>(&samples::service("web", "web")).await;
    narrow(namespace, "blue").await;
    budget(namespace).await;
    namespace.rolled_out("web-blue").await;
    let load = loaded(namespace, &old.digest).await;
    let guard = Guard::start(&namespace.client, &namespace.name, "web", 1);
    let chaos = Chaos::start(&namespace.client, &namespace.name, "web", BOUNDS);
    for turn in 0..turns {
        let new = pushed(namespace, turn + 1, turn % 2 == 1).await;
        allow(&load, [&old.digest, &new.digest]);
        let pods = json!({ "template": { "spec": { "containers": [{ "name": "app", "image": new.reference }] } } });
        change(namespace, "web-green", pods).await;
        moved(namespace, "green", "blue").await;
        only_runs(namespace, &new).await;
        allow(&load, [&new.digest]);
        more(&load).await;
        allow(&load, [&old.digest, &new.digest]);
        moved(namespace, "blue", "green").await;
        only_runs(namespace, &old).await;
        allow(&load, [&old.digest]);
        more(&load).await;
    }
    let (meanwhile, too_few) = (chaos.counts(), guard.seen().too_few);
    drop(chaos);
    Row { way: Way::Selector, lag, moves: (turns, turns), report: load.stop().await, meanwhile, too_few }
}

/// Starts one colour, points the selector at it, stops the other one, and waits until it is rolled out.
async fn moved(namespace: &Namespace<'_>, to: &str, from: &str) {
    change(namespace, &format!("web-{to}"), json!({ "replicas": REPLICAS })).await;
    narrow(namespace, to).await;
    change(namespace, &format!("web-{from}"), json!({ "replicas": 0 })).await;
    namespace.rolled_out(&format!("web-{to}")).await;
}

async fn narrow(namespace: &Namespace<'_>, colour: &str) {
    let selector = json!({ "spec": { "selector": { "colour": colour } } });
    namespace.api::<Service>().patch("web", &PatchParams::default(), &Patch::Merge(&selector)).await.unwrap();
}

async fn change(namespace: &Namespace<'_>, deployment: &str, spec: Value) {
    let patch = json!({ "spec": spec });
    namespace.api::<Deployment>().patch(deployment, &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap();
}
