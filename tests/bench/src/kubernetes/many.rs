//! Fifty services in one release: from its first change until all traffic is on the new versions, beside the slowest of
//! fifty plain Deployments that are rolled out at once. How long a policy watches afterwards is its own business.
//!
//! The first release after adoption also makes the other colour of each: a Deployment, a Service, a disruption budget. Every
//! later one finds them at rest. Both are measured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use portcullis_domain::event::What;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::signal::Command;
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};
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
const ROUNDS: u32 = 3;

pub(crate) async fn measure(cluster: &Cluster, services: u32) -> Result<Vec<Line>> {
    let own = middle(rollouts(cluster, services).await?);
    let served: Vec<Served> = (0..services).map(|n| Served::serving(&format!("svc-{n:02}"))).collect();
    let scene = Scene { services: served, replicas: 1, ..Scene::default() }.policy_with(|policy| {
        policy.limits.ready = Millis::minutes(5);
        policy.limits.write = Millis::minutes(5);
        // There is no load on so many: the watch asks a person, after what is measured.
        policy.watch.extend = Millis::seconds(1);
    });
    let mut world = World::start(cluster, "bench-many", scene).await;
    world.adopt().await;
    // Paced as a server is.
    let client = Client::from_kube(world.namespace.client.clone(), ClientOptions::default());
    world.drive_as(client, Options::default());
    let (mut ours, mut switching) = (Vec::new(), Vec::new());
    for n in 0..=ROUNDS {
        let (id, _) = world.push(n + 1, &Behaviour::version(&format!("v{}", n + 1))).await;
        world.approve(id).await;
        world.reaches(id, "watching").await;
        let [began, switches, moved] = entered(&world, id).await?;
        ours.push(Duration::from_millis(moved.since(began).0));
        switching.push(Duration::from_millis(moved.since(switches).0));
        let asks = |target: &Target| target.releases.get(&id).is_some_and(|release| release.asking.is_some());
        world.wait_until("the watch asks a person", asks).await;
        world.commanded("ama", Command::Promote { release: id }).await;
        world.reaches(id, "live").await;
        world.close_window().await;
    }
    let line = |name: &'static str, which: &str, ours: f64, switching: f64| {
        let what = format!(
            "{services} services in one release, {which}: from its first write until all traffic is on the new versions, in \
             the time of the slowest plain rollout"
        );
        Line::new(name, what, ours / own, "x the slowest rollout")
            .goal(Goal::AtMost(1.5))
            .beside_at(format!("the slowest of {services} plain Deployments rolled out at once"), own, "s", ours / own)
            .detail("ours s", ours)
            .detail("of it switching s", switching)
    };
    let first = (ours.remove(0).as_secs_f64(), switching.remove(0).as_secs_f64());
    Ok(vec![
        line("many, first", "the first release, which makes the other colours", first.0, first.1),
        line("many", &format!("a later one, the middle of {ROUNDS}"), middle(ours), middle(switching)),
    ])
}

/// The middle one, in seconds.
fn middle(all: Vec<Duration>) -> f64 {
    super::median(all) / 1e3
}

/// When a release began to deploy, began to switch, and had switched.
async fn entered(world: &World<'_>, id: ReleaseId) -> Result<[Timestamp; 3]> {
    let mut at = [Timestamp(0); 3];
    for (at, wanted) in at.iter_mut().zip(["deploying", "switching", "watching"]) {
        let entered = |what: &What| matches!(what, What::Entered { phase, .. } if phase.name() == wanted);
        *at = world.decided(id, entered).await.with_context(|| format!("it was never {wanted}"))?;
    }
    Ok(at)
}

/// So many plain Deployments are rolled out at once; how long the slowest takes, each time.
async fn rollouts(cluster: &Cluster, count: u32) -> Result<Vec<Duration>> {
    let namespace = &cluster.namespace("bench-rollouts").await;
    let names: Vec<String> = (0..count).map(|n| format!("plain-{n:02}")).collect();
    let old = images::push(&namespace.client, "registry.test/plain", &Behaviour::version("v0")).await;
    for name in &names {
        namespace.create::<Deployment>(&samples::deployment(name, &old.reference, 1)).await;
    }
    for name in &names {
        namespace.rolled_out(name).await;
    }
    let deployments = namespace.api::<Deployment>();
    let mut took = Vec::new();
    for n in 1..=ROUNDS {
        let new = images::push(&namespace.client, "registry.test/plain", &Behaviour::version(&format!("v{n}"))).await;
        let container = json!({ "name": "app", "image": new.reference });
        let patch = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
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
        let all = tokio::time::timeout(PATIENCE, all).await;
        took.push(all.context("a plain Deployment was never rolled out")??);
    }
    Ok(took)
}

async fn all_rolled_out(namespace: &Namespace<'_>) -> Result<bool> {
    let listed = namespace.api::<Deployment>().list(&kube::api::ListParams::default()).await?;
    Ok(listed.items.iter().all(|deployment| {
        let Some(status) = &deployment.status else { return false };
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        status.observed_generation >= deployment.metadata.generation && counts.iter().all(|count| *count == Some(1))
    }))
}
