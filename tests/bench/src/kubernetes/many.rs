//! Fifty services in one release: from its first change until all traffic is on the new versions, beside the slowest of
//! fifty plain Deployments that are rolled out at once. How long a policy watches afterwards is its own business.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use portcullis_domain::event::What;
use portcullis_domain::time::Millis;
use portcullis_kubernetes::client::{Client, ClientOptions};
use portcullis_kubernetes::cluster::Options;
use portcullis_tests_kubernetes::cluster::{Cluster, Namespace};
use portcullis_tests_kubernetes::images::{self, Behaviour};
use portcullis_tests_kubernetes::samples;
use portcullis_tests_kubernetes::world::{Scene, Served, World};
use serde_json::json;

use crate::report::{Goal, Line};

/// A Deployment that is not rolled out in this time never is.
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) async fn measure(cluster: &Cluster, services: u32) -> Result<Vec<Line>> {
    let own = rollouts(cluster, services).await?.as_secs_f64();
    let served: Vec<Served> = (0..services).map(|n| Served::serving(&format!("svc-{n:02}"))).collect();
    let scene = Scene { services: served, replicas: 1, ..Scene::default() }.policy_with(|policy| {
        policy.limits.ready = Millis::minutes(5);
        policy.limits.write = Millis::minutes(5);
        // There is no load on so many: the watch would ask a person, after what is measured.
        policy.watch.extend = Millis::hours(1);
    });
    let mut world = World::start(cluster, "bench-many", scene).await;
    world.adopt().await;
    // Paced as a server is.
    let client = Client::from_kube(world.namespace.client.clone(), ClientOptions::default());
    world.drive_as(client, Options::default());
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    world.reaches(id, "watching").await;
    let entered =
        |wanted: &'static str| move |what: &What| matches!(what, What::Entered { phase, .. } if phase.name() == wanted);
    let began = world.decided(id, entered("deploying")).await.context("it did not begin to deploy")?;
    let switching = world.decided(id, entered("switching")).await.context("it did not begin to switch")?;
    let moved = world.decided(id, entered("watching")).await.context("it was not switched")?;
    let seconds = |length: Millis| Duration::from_millis(length.0).as_secs_f64();
    let ours = seconds(moved.since(began));
    let what = format!(
        "{services} services in one release, from the first pod of it until all traffic is on the new versions, in the time \
         of the slowest plain rollout"
    );
    let line = Line::new("many services", what, ours / own, "x the slowest rollout")
        .goal(Goal::AtMost(1.5))
        .beside_at(format!("the slowest of {services} plain Deployments rolled out at once"), own, "s", ours / own)
        .detail("ours s", ours)
        .detail("of it switching s", seconds(moved.since(switching)));
    Ok(vec![line])
}

/// So many plain Deployments are rolled out at once; how long the slowest takes.
async fn rollouts(cluster: &Cluster, count: u32) -> Result<Duration> {
    let namespace = &cluster.namespace("bench-rollouts").await;
    let names: Vec<String> = (0..count).map(|n| format!("plain-{n:02}")).collect();
    let [old, new] = ["v0", "v1"].map(Behaviour::version);
    let old = images::push(&namespace.client, "registry.test/plain", &old).await;
    let new = images::push(&namespace.client, "registry.test/plain", &new).await;
    for name in &names {
        namespace.create::<Deployment>(&samples::deployment(name, &old.reference, 1)).await;
    }
    for name in &names {
        namespace.rolled_out(name).await;
    }
    let patch =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": new.reference }] } } } });
    let deployments = namespace.api::<Deployment>();
    let begun = Instant::now();
    for name in &names {
        deployments.patch(name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
    }
    let all = async {
        while !all_rolled_out(namespace).await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(begun.elapsed())
    };
    tokio::time::timeout(PATIENCE, all).await.context("a plain Deployment was never rolled out")?
}

async fn all_rolled_out(namespace: &Namespace<'_>) -> Result<bool> {
    let listed = namespace.api::<Deployment>().list(&kube::api::ListParams::default()).await?;
    Ok(listed.items.iter().all(|deployment| {
        let Some(status) = &deployment.status else { return false };
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        status.observed_generation >= deployment.metadata.generation && counts.iter().all(|count| *count == Some(1))
    }))
}
