//! The API server is killed while a switch is on its way, and started again: the release goes on from what is there and
//! goes live. Killed on the way back, what served before serves again. No request is lost either time.

use std::time::Duration;

use hyper::Method;
use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::names::ServiceName;
use portcullis_tests_kubernetes::cluster::{Cluster, Options};
use portcullis_tests_kubernetes::fault_proxy::{Fault, FaultProxy, Held, Rule};
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::world::{Ending, MOVES_TRAFFIC, Scene, World};

/// How long the API server is away: longer than any request is waited for.
const AWAY: Duration = Duration::from_secs(4);

/// Waits until a patch of the Service is on its way, kills the API server, lets the patch go nowhere, starts it again.
async fn killed_while_it_is_on_its_way(cluster: &Cluster, held: &Held) {
    held.comes().await;
    cluster.kill_api_server();
    held.arrive().await;
    assert_eq!(held.landed(), 0, "nobody was there to do it");
    tokio::time::sleep(AWAY).await;
    cluster.start_api_server().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_live_and_comes_back_all_the_same() {
    let Some(cluster) = Cluster::alone(Options::default()).await else { return };
    let mut world = World::start(&cluster, "dies", Scene::default()).await;
    world.adopt().await;
    let proxy = FaultProxy::start(world.namespace.client.clone()).await;
    world.drive(proxy.client());
    let load = world.load("web", LoadOptions::default()).await;
    let old = world.running("web").await.remove(0);
    let (id, images) = world.push(1, &Behaviour::version("v1")).await;

    let held = Held::default();
    let switch =
        |held: &Held| Rule::next(1, Method::PATCH, "/services/web?", Fault::Hold(held.clone())).saying(MOVES_TRAFFIC);
    proxy.fail(switch(&held));
    world.approve(id).await;
    killed_while_it_is_on_its_way(&cluster, &held).await;
    world.ends_so(id, Ending::Live).await;
    let traffic = ObjectKey::traffic(&ServiceName::new("web").unwrap());
    assert_eq!(world.found(&traffic).await.stamp.unwrap().value, Value::Traffic { green: 10_000 });

    let held = Held::default();
    proxy.fail(switch(&held));
    world.roll_back().await;
    killed_while_it_is_on_its_way(&cluster, &held).await;
    world.ends_so(id, Ending::RolledBack).await;
    assert_eq!(world.found(&traffic).await.stamp.unwrap().value, Value::Traffic { green: 0 });
    world.only_runs("web", &[&old]).await;
    let report = load.stop().await;
    assert_eq!(report.losses(), 0, "{report:?}");
    assert!(report.digests.contains_key(&images[0].digest), "the new version never answered: {report:?}");
    world.assert_sound().await;
}
