//! Argo Rollouts #1283, #4259, #4834: behind an AWS load balancer that has the pods as its targets, a change of the Service's
//! selector loses requests. Here it is refused before a single pod of green comes up, in words that say why and what else
//! to do; what serves is not touched.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use portcullis_domain::time::Millis;
use portcullis_kubernetes::cluster::Options;
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::samples::read;
use portcullis_tests_kubernetes::world::{Ending, Scene, World};
use serde_json::json;

fn alb() -> Ingress {
    read(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "front", "annotations": { "alb.ingress.kubernetes.io/target-type": "ip" } },
        "spec": { "ingressClassName": "alb", "rules": [{ "http": { "paths": [{
            "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "web", "port": { "number": 80 } } },
        }] } }] },
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_somebody_says_that_it_may_be() {
    let Some(cluster) = Cluster::shared().await else { return };
    let scene = Scene::default().policy_with(|policy| policy.limits.write = Millis::seconds(8));
    let mut world = World::adopted(cluster, "alb", scene).await;
    world.namespace.create::<Ingress>(&alb()).await;
    let load = world.load("web", LoadOptions::default()).await;
    let old = world.running("web").await.remove(0);
    let before = world.namespace.api::<Service>().get("web").await.unwrap().spec.unwrap().selector;
    load.allow(Some([old.clone()].into()));
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    // It says so at every try, and is given up when its time is over.
    world.ends_so(id, Ending::RolledBack).await;
    assert_eq!(world.running("web").await, [old.as_str()], "a pod of green came up");
    let after = world.namespace.api::<Service>().get("web").await.unwrap().spec.unwrap().selector;
    assert_eq!(after, before);
    let report = load.stop().await;
    assert_eq!((report.losses(), report.wrong), (0, 0), "{report:?}");

    // Where a person knows better, it goes.
    world.kill_drivers().await;
    let client = world.namespace.client.clone();
    world.drive_with(client, Options { selector_everywhere: true, ..Options::default() });
    let load = world.load("web", LoadOptions::default()).await;
    let (id, _) = world.push(2, &Behaviour::version("v2")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    assert_eq!(load.stop().await.losses(), 0);
    world.assert_sound().await;
}
