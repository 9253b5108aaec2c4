//! The strategy `rolling`: the one Deployment takes the new digest pod by pod and is watched; what hurts takes the one
//! before it back. It needs no adoption, and loses no request.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::{Reason, What};
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::{Colour, Strategy};
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::world::{Ending, Scene, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_good_one_stays_and_one_with_errors_is_taken_back() {
    let Some(cluster) = Cluster::shared().await else { return };
    let scene = Scene::default().policy_with(|policy| policy.strategy = Strategy::Rolling);
    let mut world = World::start(cluster, "rolling", scene).await;
    world.drive(world.namespace.client.clone());
    let load = world.load("web", LoadOptions::default()).await;
    let (id, images) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    world.only_runs("web", &[&images[0].digest]).await;
    let good = &images[0].digest;
    let report = load.report();
    assert_eq!(report.losses(), 0, "{report:?}");

    let sick = Behaviour { error_every: 4, ..Behaviour::version("v2") };
    let (id, images) = world.push(2, &sick).await;
    world.approve(id).await;
    world.ends_so(id, Ending::RolledBack).await;
    world.only_runs("web", &[good]).await;
    let events = world.events().await;
    let why = events.iter().rev().find_map(|event| match &event.what {
        What::RollbackBegan { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(matches!(why, Some(Reason::Threshold { .. })), "{why:?}");
    let workload = ObjectKey::workload(&ServiceName::new("web").unwrap(), Colour::Blue);
    let Value::Workload { digest, replicas } = world.found(&workload).await.stamp.unwrap().value else {
        panic!("a workload holds no traffic");
    };
    assert_eq!((digest.to_string().as_str(), replicas), (good.as_str(), 2));
    let report = load.stop().await;
    // Its errors are its own; none is lost on the way there or back.
    assert_eq!(report.lost, 0, "{report:?}");
    assert_eq!(report.failures.keys().collect::<Vec<_>>(), [&images[0].digest], "only the sick one failed: {report:?}");
    world.assert_sound().await;
}
