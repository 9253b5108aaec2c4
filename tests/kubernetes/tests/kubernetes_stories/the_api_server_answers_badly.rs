//! The API server refuses, asks to slow down, fails, does what was asked without saying so, breaks off, forgets where a
//! list was: a release goes live and comes back all the same, and no request is lost. Each fault by itself at the place
//! where it hurts most, then all of them by chance (`PORTCULLIS_WEATHER_SEED` repeats one; it is printed).
//!
//! The adapter holds no watches, so that none can expire: it lists, and what expires is a list's continuation.

use hyper::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::What;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::Colour;
use portcullis_kubernetes::client::{Client, ClientOptions};
use portcullis_kubernetes::client::{Selector, kinds};
use portcullis_kubernetes::error::Why;
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::fault_proxy::{Fault, FaultProxy, Rule};
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::samples::read;
use portcullis_tests_kubernetes::world::{Ending, Guard, MOVES_TRAFFIC, Scene, World, client_options};
use serde_json::json;

fn refuse(status: u16, retry_after: Option<u64>) -> Fault {
    Fault::Refuse { status, retry_after }
}

/// A world whose only driver asks through a proxy.
async fn behind_a_proxy<'c>(cluster: &'c Cluster, purpose: &str) -> (World<'c>, FaultProxy) {
    let mut world = World::start(cluster, purpose, Scene::default()).await;
    world.adopt().await;
    let proxy = FaultProxy::start(world.namespace.client.clone()).await;
    world.drive(proxy.client());
    (world, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_at_the_switch_and_at_what_comes_before_it_costs_time_only() {
    let Some(cluster) = Cluster::shared().await else { return };
    let (world, proxy) = behind_a_proxy(cluster, "badly").await;
    let load = world.load("web", LoadOptions::default()).await;
    let guard = Guard::start(&world.namespace.client, &world.namespace.name, "web", 1);
    let traffic = ObjectKey::traffic(&ServiceName::new("web").unwrap());
    let faults = [
        refuse(409, None),
        refuse(429, Some(1)),
        refuse(500, None),
        refuse(503, None),
        Fault::DoneWithoutAnswer,
        Fault::CutAnswer,
        Fault::CutRequest,
    ];
    let mut live = world.running("web").await.remove(0);
    for (n, fault) in (1..).zip(faults) {
        let words = format!("{fault:?}");
        // The switch; what is read back after it; the claim; the objects that readiness is read from.
        proxy.fail(Rule::next(1, Method::PATCH, "/services/web?", fault.clone()).saying(MOVES_TRAFFIC));
        proxy.fail(Rule::next(1, Method::PATCH, "/deployments/web-", fault.clone()).saying("claim"));
        proxy.fail(Rule::next(1, Method::POST, "/deployments?", fault.clone()));
        let (id, images) = world.push(n, &Behaviour::version(&format!("v{n}"))).await;
        world.approve(id).await;
        world.reaches(id, "switching").await;
        proxy.fail(Rule::next(1, Method::GET, "/services/web", fault.clone()));
        proxy.fail(Rule::next(1, Method::GET, "/pods?", fault.clone()));
        world.ends_so(id, Ending::Live).await;
        let open = proxy.open();
        assert_eq!((open[0], open[1]), (0, 0), "{words} did not happen at the claim and at the switch");
        let green = if n % 2 == 1 { 10_000 } else { 0 };
        assert_eq!(world.found(&traffic).await.stamp.unwrap().value, Value::Traffic { green }, "{words}");
        proxy.calm();
        world.close_window().await;
        world.only_runs("web", &[&images[0].digest]).await;
        live.clone_from(&images[0].digest);
    }
    let report = load.stop().await;
    assert_eq!(report.losses(), 0, "{report:?}");
    assert!(report.digests.contains_key(&live));
    guard.assert_kept();
    world.assert_sound().await;
    // A fault is no drift: nobody else was taken for having changed anything.
    let drifted = world.events().await.iter().filter(|event| matches!(event.what, What::Drifted { .. })).count();
    assert_eq!(drifted, 0, "{}", world.story().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_bad_weather_releases_go_live_and_come_back() {
    let Some(cluster) = Cluster::shared().await else { return };
    let seed = std::env::var("PORTCULLIS_WEATHER_SEED").ok().map(|text| text.parse().expect("a seed is a number"));
    let seed: u64 = seed.unwrap_or_else(rand::random);
    eprintln!("PORTCULLIS_WEATHER_SEED={seed}");
    let (mut world, proxy) = behind_a_proxy(cluster, "weather").await;
    let other = FaultProxy::start(world.namespace.client.clone()).await;
    world.drive(other.client());
    let load = world.load("web", LoadOptions::default()).await;
    let guard = Guard::start(&world.namespace.client, &world.namespace.name, "web", 1);
    let old = world.running("web").await.remove(0);
    for n in 1..=2 {
        proxy.weather(6, seed.wrapping_add(u64::from(n)));
        other.weather(6, seed.wrapping_sub(u64::from(n)));
        let (id, _) = world.push(n, &Behaviour::version(&format!("v{n}"))).await;
        world.approve(id).await;
        match world.ends(id).await {
            Ending::Live => {
                world.roll_back().await;
                world.ends_so(id, Ending::RolledBack).await;
            }
            // In bad enough weather a step takes too long, and that is undone.
            Ending::RolledBack | Ending::Settled(_) => {}
            Ending::Resolved => unreachable!("nobody resolves anything"),
        }
        let hurt = |proxy: &FaultProxy| proxy.seen().iter().filter(|seen| seen.faulty).count();
        assert!(hurt(&proxy) + hurt(&other) > 0, "the weather was fine");
        proxy.calm();
        other.calm();
        world.only_runs("web", &[&old]).await;
    }
    let report = load.stop().await;
    assert_eq!(report.losses(), 0, "seed {seed}: {report:?}");
    guard.assert_kept();
    world.assert_sound().await;
    let blue = ObjectKey::workload(&ServiceName::new("web").unwrap(), Colour::Blue);
    assert!(world.found(&blue).await.ready >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_continuation_expired_begins_once_more() {
    let Some(cluster) = Cluster::shared().await else { return };
    let namespace = cluster.namespace("expired").await;
    for n in 0..5 {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("map-{n}") } });
        namespace.create::<ConfigMap>(&read(map)).await;
    }
    let proxy = FaultProxy::start(namespace.client.clone()).await;
    let client = Client::from_kube(proxy.client(), ClientOptions { page: 2, ..client_options() });
    proxy.fail(Rule::next(1, Method::GET, "&continue=", refuse(410, None)));
    let listed = client.list(&kinds::CONFIG_MAPS, Some(&namespace.name), &Selector::default()).await.unwrap();
    // Every namespace has one of its own.
    let ours = listed.items.iter().filter(|map| map["metadata"]["name"].as_str().unwrap().starts_with("map-"));
    assert_eq!(ours.count(), 5);
    assert_eq!(proxy.open(), [0]);
    proxy.fail(Rule::next(9, Method::GET, "&continue=", refuse(410, None)));
    let error = client.list(&kinds::CONFIG_MAPS, Some(&namespace.name), &Selector::default()).await.unwrap_err();
    assert_eq!(error.why, Why::Expired);
}
