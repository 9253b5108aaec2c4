//! A person points the Service somewhere else in the middle of a release: what they did is shown, with who did it, and is
//! not overwritten. Before it begins the release holds until it is put right; at the switch a person is asked, and when
//! they have put it right and said so, releases go on.

use std::time::Duration;

use hyper::Method;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use portcullis_domain::action::ObjectKey;
use portcullis_domain::event::What;
use portcullis_domain::names::ServiceName;
use portcullis_domain::signal::Command;
use portcullis_domain::target::Phase;
use portcullis_kubernetes::objects::COLOUR;
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::fault_proxy::{Fault, FaultProxy, Held, Rule};
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::world::{Ending, MOVES_TRAFFIC, Scene, World};
use serde_json::json;

/// So long nobody comes.
const LATER: Duration = Duration::from_secs(6);

async fn point(world: &World<'_>, colour: &str) {
    let services = world.namespace.api::<Service>();
    let by_hand = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
    let selector = json!({ "spec": { "selector": { COLOUR: colour } } });
    services.patch("web", &by_hand, &Patch::Merge(&selector)).await.unwrap();
}

async fn colour(world: &World<'_>) -> String {
    let service = world.namespace.api::<Service>().get("web").await.unwrap();
    service.spec.unwrap().selector.unwrap().remove(COLOUR).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_begins_the_release_holds_until_it_is_put_right() {
    let Some(cluster) = Cluster::shared().await else { return };
    let world = World::adopted(cluster, "by-hand-before", Scene::default()).await;
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    point(&world, "purple").await;
    world.is_held(id, "purple").await;
    let put_right = async {
        tokio::time::sleep(LATER).await;
        assert_eq!(colour(&world).await, "purple", "it was overwritten");
        assert_eq!(world.phase(id).await, Some(Phase::Gated));
        point(&world, "blue").await;
    };
    tokio::join!(world.approve(id), put_right);
    world.reaches(id, "watching").await;
    assert_eq!(colour(&world).await, "green");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_switch_a_person_is_asked() {
    let Some(cluster) = Cluster::shared().await else { return };
    let mut world = World::start(cluster, "by-hand-at", Scene::default()).await;
    world.adopt().await;
    let proxy = FaultProxy::start(world.namespace.client.clone()).await;
    world.drive(proxy.client());
    let held = Held::default();
    proxy.fail(Rule::next(1, Method::PATCH, "/services/web?", Fault::Hold(held.clone())).saying(MOVES_TRAFFIC));
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    held.comes().await;
    point(&world, "purple").await;
    held.arrive().await;
    assert_eq!(held.landed(), 0, "it was overwritten");
    world.reaches(id, "needs_help").await;
    let (object, found, ours) = world.drift().await;
    assert_eq!(object, ObjectKey::traffic(&ServiceName::new("web").unwrap()));
    assert!(!ours);
    assert!(found.foreign.as_deref().unwrap().contains("purple"), "{found:?}");
    assert!(found.written_by.is_some(), "who did it is not told: {found:?}");
    let events = world.events().await;
    let asked = events.iter().find_map(|event| match &event.what {
        What::NeedsHelp { why, .. } => Some(why.clone()),
        _ => None,
    });
    let asked = asked.unwrap();
    assert!(asked.contains("Service/web was changed"), "{asked}");
    tokio::time::sleep(LATER).await;
    assert_eq!(colour(&world).await, "purple", "it was overwritten");
    assert_eq!(world.phase(id).await, Some(Phase::NeedsHelp));

    point(&world, "blue").await;
    world.commanded("ama", Command::Resolve { reason: "it was me; it is as before".into() }).await;
    world.ends_so(id, Ending::Resolved).await;
    assert_eq!(colour(&world).await, "blue");
    let (next, _) = world.push(2, &Behaviour::version("v2")).await;
    world.approve(next).await;
    world.reaches(next, "watching").await;
    world.assert_sound().await;
}
