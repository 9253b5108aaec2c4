//! Green is half deployed when it has to go: a pod of it is not ready, cannot be pulled, does not fit. What serves is not
//! touched, what is there of green goes, and no request is lost. Argo Rollouts #4750: a crash loop left the selector empty,
//! and the service was gone.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::{Reason, What};
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::Colour;
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::world::{Ending, Guard, Scene, World};

/// Releases this build; once green is coming up, `then` happens; gives why it was undone.
async fn undone(cluster: &Cluster, purpose: &str, build: Behaviour, cancel: bool) -> Reason {
    // What hangs is given up soon; but not before a person who cancels has come.
    let ready = if cancel { Millis::minutes(2) } else { Millis::seconds(8) };
    let scene = Scene::default().policy_with(move |policy| policy.limits.ready = ready);
    let world = World::adopted(cluster, purpose, scene).await;
    let load = world.load("web", LoadOptions::default()).await;
    let guard = Guard::start(&world.namespace.client, &world.namespace.name, "web", 2);
    let old = world.running("web").await.remove(0);
    load.allow(Some([old.clone()].into()));
    let (id, images) = world.push(1, &build).await;
    world.approve(id).await;
    world.reaches(id, "deploying").await;
    let new = images[0].digest.clone();
    let green = ObjectKey::workload(&ServiceName::new("web").unwrap(), Colour::Green);
    portcullis_tests::wait::until("some of green is there", portcullis_tests::wait::SOON, async || {
        let running = world.running("web").await;
        if running.contains(&new) { Ok(()) } else { Err(format!("{running:?}")) }
    })
    .await;
    if cancel {
        world.commanded("ama", Command::Cancel { release: id, reason: "not this one".into() }).await;
    }
    world.ends_so(id, Ending::RolledBack).await;
    world.only_runs("web", &[&old]).await;
    let found = world.found(&green).await;
    assert!(matches!(found.stamp.unwrap().value, Value::Workload { replicas: 0, .. }), "green is not at rest");
    let report = load.stop().await;
    assert_eq!((report.losses(), report.wrong), (0, 0), "{report:?}");
    guard.assert_kept();
    world.assert_sound().await;
    let events = world.events().await;
    let why = events.iter().find_map(|event| match &event.what {
        What::RollbackBegan { why, served, .. } => Some((why.clone(), *served)),
        _ => None,
    });
    let (why, served) = why.expect("the way back began");
    assert!(!served, "it never served");
    why
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_never_ready_goes_when_its_time_is_over() {
    let Some(cluster) = Cluster::shared().await else { return };
    let build = Behaviour { never_ready: true, ..Behaviour::version("v1") };
    let why = undone(cluster, "half-unready", build, false).await;
    assert!(matches!(&why, Reason::Step { why } if why.contains("did not become ready in time")), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_crashes_again_and_again_never_gets_the_selector() {
    let Some(cluster) = Cluster::shared().await else { return };
    let why = undone(cluster, "half-crash", Behaviour::crashing("v1"), false).await;
    assert!(matches!(&why, Reason::Step { why } if why.contains("did not become ready in time")), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_a_person_cancels_on_its_way_up_goes_at_once() {
    let Some(cluster) = Cluster::shared().await else { return };
    let build = Behaviour { ready_after_ms: 30_000, ..Behaviour::version("v1") };
    let why = undone(cluster, "half-cancelled", build, true).await;
    assert!(matches!(why, Reason::Person { .. }), "{why:?}");
}
