//! Manifests that come with a commit: the new pods have what stands there, the old ones come back as they were, and what
//! the API server or the Service would not take is said at the gates.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use portcullis_domain::names::ServiceName;
use portcullis_engine::bundles;
use portcullis_engine::memory::world::commit;
use portcullis_engine::ports::Cluster as _;
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::samples;
use portcullis_tests_kubernetes::world::{Ending, Scene, World};
use serde_json::{Value, json};

fn web() -> ServiceName {
    ServiceName::new("web").unwrap()
}

/// As a pipeline has it: a name in the place of the image, more pods than there are, and this variable.
fn manifests(greeting: &str) -> Value {
    let mut deployment = samples::deployment_json("web", "IMAGE", 9);
    deployment["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "GREETING", "value": greeting }]);
    deployment
}

async fn give(world: &World<'_>, n: u32, manifests: &Value) {
    bundles::give(&*world.blobs, &world.target, &commit(n), &web(), &manifests.to_string()).await.unwrap();
}

/// What the variable is in the pods that are not on their way out.
async fn greetings(world: &World<'_>) -> BTreeSet<Option<String>> {
    let pods = world.namespace.api::<Pod>().list(&ListParams::default().labels("app=web")).await.unwrap();
    let pods = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let greeting = |pod: Pod| {
        let container = pod.spec.unwrap().containers.remove(0);
        container.env.unwrap_or_default().into_iter().find(|one| one.name == "GREETING").and_then(|one| one.value)
    };
    pods.map(greeting).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_pods_have_what_was_given_and_the_old_ones_come_back_without_it() {
    let Some(cluster) = Cluster::shared().await else { return };
    let world = World::adopted(cluster, "given", Scene::default()).await;
    let before = world.running("web").await;
    let load = world.load("web", LoadOptions::default()).await;
    give(&world, 1, &manifests("hello")).await;
    let (id, images) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    assert!(greetings(&world).await.contains(&Some("hello".to_owned())));
    let green = world.namespace.api::<Deployment>().get("web-green").await.unwrap().spec.unwrap();
    let wanted = Scene::default().replicas;
    assert_eq!(green.replicas, i32::try_from(wanted).ok(), "as many as served before");
    assert!(world.running("web").await.contains(&images[0].digest), "the image is by digest");

    world.roll_back().await;
    world.ends_so(id, Ending::RolledBack).await;
    world.only_runs("web", &[before[0].as_str()]).await;
    assert_eq!(greetings(&world).await, BTreeSet::from([None]));

    // Green is there already, at rest; what is given now replaces what it was made from.
    give(&world, 2, &manifests("good morning")).await;
    let (id, _) = world.push(2, &Behaviour::version("v2")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    world.close_window().await;
    // The next commit comes without: its pods are like those that serve.
    let (id, _) = world.push(3, &Behaviour::version("v3")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    assert_eq!(greetings(&world).await, BTreeSet::from([Some("good morning".to_owned())]));
    let report = load.stop().await;
    assert_eq!((report.losses(), report.wrong), (0, 0), "{report:?}");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_run_is_said_at_the_gates_before_anything_changes() {
    let Some(cluster) = Cluster::shared().await else { return };
    let world = World::adopted(cluster, "given-wrong", Scene::default()).await;
    let mut no_port = manifests("hello");
    no_port["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = 99_999.into();
    let mut not_found = manifests("hello");
    not_found["spec"]["template"]["metadata"]["labels"]["app"] = "shop".into();
    let two = json!([{ "name": "one", "image": "IMAGE" }, { "name": "two", "image": "IMAGE" }]);
    let mut which = manifests("hello");
    which["spec"]["template"]["spec"]["containers"] = two;
    for (n, given, words) in [
        (1, no_port, "containerPort"),
        (2, not_found, "its pods have no label app=web, by which"),
        (3, which, "which of its containers (one, two) is the service's is not known"),
    ] {
        give(&world, n, &given).await;
        let (id, _) = world.push(n, &Behaviour::version(&format!("v{n}"))).await;
        world.is_held(id, words).await;
    }
    assert!(world.namespace.api::<Deployment>().get_opt("web-given").await.unwrap().is_none(), "it is only asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_as_what_serves_is_no_other_configuration() {
    let Some(cluster) = Cluster::shared().await else { return };
    let world = World::adopted(cluster, "given-same", Scene::default()).await;
    let services = BTreeSet::from([web()]);
    let live = world.adapter.manifests(&world.target, &world.place, &services).await.unwrap();
    for (text, differs) in
        [(samples::deployment_json("web", "IMAGE", 9).to_string(), false), (manifests("hello").to_string(), true)]
    {
        let texts = BTreeMap::from([(web(), text)]);
        let mut objects = BTreeMap::new();
        let made = world.adapter.bundles(&world.target, &world.place, &texts, &mut objects).await.unwrap();
        assert_eq!((made[&web()].differs, made[&web()].hash != live[&web()]), (differs, differs));
        assert!(objects.is_empty());
    }
}
