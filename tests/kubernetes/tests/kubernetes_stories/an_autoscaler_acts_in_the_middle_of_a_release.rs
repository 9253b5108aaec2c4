//! Argo Rollouts #2931: an autoscaler's event in the middle of an update confused it; #4552 and #4302: a change of replicas
//! hit the live version. Flagger #1934: the autoscaler was paused, and its paused state was copied.
//! Here: the cluster's own autoscaler scales blue up while green comes up. Blue never loses a pod by it, not on the way
//! there nor back; and when all is over the autoscaler has its owner's bounds, not the ones it was pinned to.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Patch, PatchParams};
use portcullis_kubernetes::objects::{LEAST_BEFORE, MOST_BEFORE};
use portcullis_tests::wait::{self, SOON};
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::world::{Ending, Guard, Scene, World};
use serde_json::json;

/// The least and the most of the autoscaler of a Deployment, and whether it is pinned.
async fn bounds(world: &World<'_>, of: &str) -> (Option<i32>, i32, bool) {
    let all = world.namespace.api::<HorizontalPodAutoscaler>().list(&kube::api::ListParams::default()).await.unwrap();
    let own = all.items.into_iter().find(|one| one.spec.as_ref().unwrap().scale_target_ref.name == of);
    let own = own.unwrap_or_else(|| panic!("{of} has no autoscaler"));
    let annotations = own.metadata.annotations.unwrap_or_default();
    let spec = own.spec.unwrap();
    (spec.min_replicas, spec.max_replicas, [LEAST_BEFORE, MOST_BEFORE].iter().any(|key| annotations.contains_key(*key)))
}

async fn replicas(world: &World<'_>, of: &str) -> i32 {
    world.namespace.api::<Deployment>().get(of).await.unwrap().spec.unwrap().replicas.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_keeps_what_it_was_given_and_nothing_pinned_is_left() {
    let Some(cluster) = Cluster::shared().await else { return };
    let scene = Scene { autoscaled: Some((2, 6)), ..Scene::default() };
    let world = World::adopted(cluster, "autoscaled", scene).await;
    let load = world.load("web", LoadOptions::default()).await;
    let guard = Guard::start(&world.namespace.client, &world.namespace.name, "web", 2);
    assert_eq!(bounds(&world, "web-blue").await, (Some(2), 6, false));

    let slow = Behaviour { ready_after_ms: 4_000, ..Behaviour::version("v1") };
    let (id, images) = world.push(1, &slow).await;
    let old = world.running("web").await.remove(0);
    world.approve(id).await;
    world.reaches(id, "deploying").await;
    // Its metrics would say so; here its owner does.
    let busier = json!({ "spec": { "minReplicas": 4 } });
    let autoscalers = world.namespace.api::<HorizontalPodAutoscaler>();
    autoscalers.patch("web", &PatchParams::default(), &Patch::Merge(&busier)).await.unwrap();
    wait::until("the autoscaler has scaled blue up", SOON, async || match replicas(&world, "web-blue").await {
        4 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    world.reaches(id, "watching").await;
    assert_eq!(replicas(&world, "web-blue").await, 4, "what served lost pods");
    world.roll_back().await;
    world.ends_so(id, Ending::RolledBack).await;
    world.only_runs("web", &[&old]).await;
    assert!(replicas(&world, "web-blue").await >= 4, "what serves again lost pods");
    let (least, most, pinned) = bounds(&world, "web-blue").await;
    assert_eq!((least, most, pinned), (Some(4), 6, false), "blue's owner has its bounds back");

    // A second life: the copy of an autoscaler has its owner's bounds as well.
    let (id, later) = world.push(2, &Behaviour::version("v2")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    world.close_window().await;
    world.only_runs("web", &[&later[0].digest]).await;
    wait::until("green's autoscaler is let go", SOON, async || match bounds(&world, "web-green").await {
        (Some(4), 6, false) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(replicas(&world, "web-green").await >= 4, "green came up with fewer than blue had");
    let report = load.stop().await;
    assert_eq!(report.losses(), 0, "{report:?}");
    assert!(report.digests.contains_key(&images[0].digest));
    guard.assert_kept();
    world.assert_sound().await;
}
