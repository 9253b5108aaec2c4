//! Workers have no Service: a new one serves when it starts. With `overlap: never` the old one has gone to its last pod
//! before the new one starts, there and back; with `overlap: allowed` there is always one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use portcullis_domain::facts::AlarmState;
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::world::{Ending, Scene, Served, World};
use tokio::task::JoinHandle;

/// Which images ran at one moment, each set that was ever seen.
struct Seen {
    sets: Arc<Mutex<BTreeSet<BTreeSet<String>>>>,
    looking: JoinHandle<()>,
}

impl Seen {
    fn start(world: &World<'_>) -> Self {
        let pods: Api<Pod> = world.namespace.api();
        let sets = Arc::<Mutex<BTreeSet<BTreeSet<String>>>>::default();
        let noted = sets.clone();
        let looking = tokio::spawn(async move {
            let of_worker = ListParams::default().labels("app=jobs");
            loop {
                if let Ok(pods) = pods.list(&of_worker).await {
                    let started = |pod: &Pod| {
                        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
                        statuses.filter_map(|status| status.state.as_ref()).any(|state| state.running.is_some())
                    };
                    let image = |pod: &Pod| pod.spec.as_ref()?.containers.first()?.image.clone();
                    let running = pods.items.iter().filter(|pod| started(pod)).filter_map(image).collect();
                    noted.lock().unwrap().insert(running);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { sets, looking }
    }

    fn stop(self) -> BTreeSet<BTreeSet<String>> {
        self.looking.abort();
        self.sets.lock().unwrap().clone()
    }
}

/// One release that goes live, and one that an alarm undoes; which images were ever seen at once.
async fn lived(cluster: &Cluster, purpose: &str, overlap: bool) -> BTreeSet<BTreeSet<String>> {
    // The old ones take their time to finish what they have.
    let first = Behaviour { slow_stop_ms: 1_500, ..Behaviour::version("v0") };
    let scene = Scene { services: vec![Served::worker("jobs", overlap)], first, ..Scene::default() };
    let world = World::adopted(cluster, purpose, scene).await;
    let seen = Seen::start(&world);
    let slow = |version: &str| Behaviour { slow_stop_ms: 1_500, ..Behaviour::version(version) };
    let (id, images) = world.push(1, &slow("v1")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    let live = images[0].digest.clone();
    world.close_window().await;
    let (id, _) = world.push(2, &slow("v2")).await;
    world.approve(id).await;
    world.reaches(id, "watching").await;
    world.alarm(AlarmState::Alarm).await;
    world.ends_so(id, Ending::RolledBack).await;
    world.only_runs("jobs", &[&live]).await;
    world.assert_sound().await;
    seen.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn never_are_two_versions_seen_at_once() {
    let Some(cluster) = Cluster::shared().await else { return };
    let seen = lived(cluster, "worker-never", false).await;
    assert!(seen.iter().all(|running| running.len() <= 1), "{seen:#?}");
    let versions: BTreeSet<&String> = seen.iter().flatten().collect();
    assert_eq!(versions.len(), 3, "each ran: {seen:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_they_may_there_is_always_one() {
    let Some(cluster) = Cluster::shared().await else { return };
    let seen = lived(cluster, "worker-overlap", true).await;
    assert!(seen.iter().all(|running| !running.is_empty()), "{seen:#?}");
    assert!(seen.iter().any(|running| running.len() == 2), "they never overlapped: {seen:#?}");
}
