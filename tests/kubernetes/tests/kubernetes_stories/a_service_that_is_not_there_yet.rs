//! A service that the cluster does not have: its first release makes it from the manifests that came with its commit, by
//! the digest that was released, and the second one goes from there to the other colour without a loss. Without them it is
//! held at its gates.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::DeleteParams;
use portcullis_domain::action::ObjectKey;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::Colour;
use portcullis_engine::bundles;
use portcullis_engine::memory::world::{commit, repository};
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::samples;
use portcullis_tests_kubernetes::world::{Ending, Scene, World};

const PODS: u32 = 3;

/// A manifest names no digest.
fn manifests() -> String {
    let deployment = samples::deployment_json("web", repository("web").as_str(), PODS);
    format!("{deployment}\n---\n{}\n", serde_json::to_value(samples::service("web", "web")).unwrap())
}

/// The policy knows the service, and the cluster has nothing of it.
async fn without_it<'c>(cluster: &'c Cluster, purpose: &str) -> World<'c> {
    let world = World::start(cluster, purpose, Scene::default()).await;
    let now = DeleteParams::background();
    world.namespace.api::<Deployment>().delete("web", &now).await.unwrap();
    world.namespace.api::<Service>().delete("web", &now).await.unwrap();
    world.namespace.api::<PodDisruptionBudget>().delete("web", &now).await.unwrap();
    world.only_runs("web", &[]).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn is_made_by_its_first_release_and_goes_on_from_there() {
    let Some(cluster) = Cluster::shared().await else { return };
    let mut world = without_it(cluster, "first").await;
    world.drive(world.namespace.client.clone());
    let web = ServiceName::new("web").unwrap();
    bundles::give(&*world.blobs, &world.target, &commit(1), &web, &manifests()).await.unwrap();
    let (id, images) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    world.reaches(id, "watching").await;
    let load = world.load("web", LoadOptions::default()).await;
    world.ends_so(id, Ending::Live).await;
    let first = images[0].digest.clone();
    assert_eq!(world.running("web").await, [first.as_str()]);
    let blue = world.found(&ObjectKey::workload(&web, Colour::Blue)).await;
    assert_eq!(blue.ready, PODS, "as its manifest says: {blue:?}");

    // It keeps no old pods, so the next one does not wait for the end of their time.
    let (id, images) = world.push(2, &Behaviour::version("v2")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    world.roll_back().await;
    world.ends_so(id, Ending::RolledBack).await;
    world.only_runs("web", &[&first]).await;
    let report = load.stop().await;
    assert_eq!((report.losses(), report.wrong), (0, 0), "{report:?}");
    assert!(report.digests.contains_key(&images[0].digest), "{report:?}");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn is_held_at_its_gates_where_there_is_no_manifest() {
    let Some(cluster) = Cluster::shared().await else { return };
    let mut world = without_it(cluster, "first-none").await;
    world.drive(world.namespace.client.clone());
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    world.is_held(id, "there is no Deployment web, and no manifest to make it from").await;
}
