//! Argo Rollouts #4073: a late write-back overwrote fresher state. Flagger #1898: a rollback decided during a promotion sent
//! all traffic to the broken version, because the promotion's own write came after it.
//! Here: one driver's patch is kept on its way to the real API server while everything else goes on. Whenever it arrives,
//! after the way back is over or in the middle of it, and though its sender died, what served before serves in the end.

use std::time::Duration;

use hyper::Method;
use portcullis_domain::action::{ObjectKey, Stamp, Value};
use portcullis_domain::names::{ReleaseId, ServiceName};
use portcullis_domain::policy::Colour;
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::fault_proxy::{Fault, FaultProxy, Held, Rule};
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::{Load, LoadOptions};
use portcullis_tests_kubernetes::world::{Ending, MOVES_TRAFFIC, Scene, World};

/// So long is watched that nothing moves any more.
const STILL: Duration = Duration::from_secs(4);

struct Story<'c> {
    world: World<'c>,
    load: Load,
    held: Held,
    release: ReleaseId,
    old: String,
    /// The driver's way to the API server: without it nothing that is held could arrive.
    _proxy: FaultProxy,
}

/// A release whose only driver has sent a patch that is kept on its way; then that driver dies, and another takes over.
async fn kept_on_its_way<'c>(cluster: &'c Cluster, purpose: &str, rule: impl FnOnce(Fault) -> Rule) -> Story<'c> {
    let mut world = World::start(cluster, purpose, Scene::default()).await;
    world.adopt().await;
    let proxy = FaultProxy::start(world.namespace.client.clone()).await;
    world.drive(proxy.client());
    let load = world.load("web", LoadOptions::default()).await;
    let old = world.running("web").await.remove(0);
    let held = Held::default();
    proxy.fail(rule(Fault::Hold(held.clone())));
    let (release, _) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(release).await;
    held.comes().await;
    world.kill_drivers().await;
    world.drive(world.namespace.client.clone());
    Story { world, load, held, release, old, _proxy: proxy }
}

impl Story<'_> {
    fn traffic() -> ObjectKey {
        ObjectKey::traffic(&ServiceName::new("web").unwrap())
    }

    async fn stamp(&self, key: &ObjectKey) -> Stamp {
        self.world.found(key).await.stamp.expect("it is there")
    }

    /// What must be so in the end.
    async fn ends_where_it_began(self) {
        self.world.only_runs("web", &[&self.old]).await;
        let before = self.stamp(&Self::traffic()).await;
        assert_eq!(before.value, Value::Traffic { green: 0 });
        tokio::time::sleep(STILL).await;
        assert_eq!(self.stamp(&Self::traffic()).await, before, "something moved afterwards");
        assert_eq!(self.world.running("web").await, [self.old.as_str()]);
        let report = self.load.stop().await;
        assert_eq!(report.losses(), 0, "{report:?}");
        self.world.assert_sound().await;
    }
}

fn switch(fault: Fault) -> Rule {
    Rule::next(1, Method::PATCH, "/services/web?", fault).saying(MOVES_TRAFFIC)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_arrives_after_the_way_back_changes_nothing() {
    let Some(cluster) = Cluster::shared().await else { return };
    let story = kept_on_its_way(cluster, "late-switch", switch).await;
    story.world.roll_back().await;
    story.world.ends_so(story.release, Ending::RolledBack).await;
    let before = story.stamp(&Story::traffic()).await;
    story.held.arrive().await;
    assert_eq!(story.held.landed(), 0, "the late switch got through");
    assert_eq!(story.stamp(&Story::traffic()).await, before);
    story.ends_where_it_began().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_arrives_while_the_way_back_begins_is_undone() {
    let Some(cluster) = Cluster::shared().await else { return };
    let story = kept_on_its_way(cluster, "early-switch", switch).await;
    story.world.roll_back().await;
    // Now, whatever the way back has done by now: it may be refused, or land and be undone.
    story.held.arrive().await;
    story.world.ends_so(story.release, Ending::RolledBack).await;
    story.ends_where_it_began().await;
}

/// The patch that lets the old colour go: late, it would take the pods away that a rollback has just sent the traffic to.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_order_to_scale_the_old_colour_down_never_meets_its_traffic() {
    let Some(cluster) = Cluster::shared().await else { return };
    let mut world = World::start(cluster, "late-drain", Scene::default()).await;
    world.adopt().await;
    let proxy = FaultProxy::start(world.namespace.client.clone()).await;
    world.drive(proxy.client());
    let load = world.load("web", LoadOptions::default()).await;
    let old = world.running("web").await.remove(0);
    let (release, _) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(release).await;
    world.ends_so(release, Ending::Live).await;
    let held = Held::default();
    let drain = Rule::next(1, Method::PATCH, "/deployments/web-blue?", Fault::Hold(held.clone()));
    proxy.fail(drain.saying("\"drain\""));
    let close = portcullis_domain::signal::Command::CloseWindow { reason: "it is fine".into() };
    world.commanded("ama", close).await;
    held.comes().await;
    world.kill_drivers().await;
    world.drive(world.namespace.client.clone());
    world.roll_back().await;
    world.ends_so(release, Ending::RolledBack).await;
    let blue = ObjectKey::workload(&ServiceName::new("web").unwrap(), Colour::Blue);
    let before = world.found(&blue).await;
    held.arrive().await;
    assert_eq!(held.landed(), 0, "the late order got through");
    assert_eq!(world.found(&blue).await.stamp, before.stamp);
    let story = Story { world, load, held, release, old, _proxy: proxy };
    story.ends_where_it_began().await;
}
