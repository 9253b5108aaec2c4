//! Argo Rollouts #1377: while the stable version was unhealthy no fix could be deployed over it. Here what serves has no
//! ready pod left, and the fix goes live.

use portcullis_domain::action::ObjectKey;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::Colour;
use portcullis_tests::wait::{self, SOON};
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::world::{Scene, World};

#[tokio::test(flavor = "multi_thread")]
async fn though_nothing_of_what_serves_is_ready() {
    let Some(cluster) = Cluster::shared().await else { return };
    // Long enough to be adopted, and then sick for good.
    let first = Behaviour { unready_after_ms: Some(40_000), ..Behaviour::version("v0") };
    let world = World::adopted(cluster, "sick", Scene { first, ..Scene::default() }).await;
    let blue = ObjectKey::workload(&ServiceName::new("web").unwrap(), Colour::Blue);
    wait::until("nothing of blue is ready", 2 * SOON, async || match world.found(&blue).await.ready {
        0 => Ok(()),
        ready => Err(format!("{ready} are")),
    })
    .await;
    let (id, images) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    world.reaches(id, "watching").await;
    let load = world.load("web", LoadOptions::default()).await;
    world.reaches(id, "live").await;
    let report = load.stop().await;
    assert_eq!(report.losses(), 0, "{report:?}");
    assert_eq!(report.digests.keys().collect::<Vec<_>>(), [&images[0].digest]);
    world.assert_sound().await;
}
