//! Traffic that moves by weights, on a route of the Gateway API and on an Ingress of the AWS Load Balancer Controller, with
//! requests through a load balancer that follows them: adopted, released, moved in steps and back from the middle without
//! a loss; a target that never becomes healthy gets no weight; weights that a person wrote are told and not written over;
//! two services share one Ingress.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use portcullis_domain::action::{Action, AwaitReady, Fence, ObjectKey, Purpose, Stamp, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::What;
use portcullis_domain::names::{LedgerId, Seq, ServiceName};
use portcullis_domain::policy::{Colour, Policy, Strategy, TrafficBy};
use portcullis_domain::signal::Command;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;
use portcullis_engine::ports::{Cluster as _, Policies as _, PortResult, Written};
use portcullis_kubernetes::adopt::AdoptOptions;
use portcullis_kubernetes::objects::COLOUR;
use portcullis_tests::wait::{self, SOON};
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::fault_proxy::{Fault, FaultProxy, Held, Rule};
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::{Load, LoadOptions};
use portcullis_tests_kubernetes::load_balancer::{
    Follows, LoadBalancer, Options, inject_gates, install, make_ingress, make_route, weights,
};
use portcullis_tests_kubernetes::world::{Ending, Scene, Served, World, adopt_options};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

/// So long whatever follows weights has time to.
const SETTLED: Duration = Duration::from_millis(800);
/// Answers that a share is counted by.
const ENOUGH: u64 = 600;
/// How far a counted share may be off, in percent: more than four standard deviations of so many.
const OFF: u64 = 9;

fn unhurried() -> AdoptOptions {
    AdoptOptions { settle: SETTLED, ..adopt_options() }
}

fn route() -> Follows {
    Follows::Route("shop".into())
}

fn ingress() -> Follows {
    Follows::Ingress("front".into())
}

/// Two of these tests at a time: each has a load and a load balancer of its own, and all share the machine.
static TURNS: Semaphore = Semaphore::const_new(2);

/// The services as a team has them behind a load balancer, not adopted; and this test's turn.
async fn behind<'c>(
    cluster: &'c Cluster,
    purpose: &str,
    follows: &Follows,
    mut scene: Scene,
) -> (World<'c>, LoadBalancer, SemaphorePermit<'static>) {
    let turn = TURNS.acquire().await.unwrap();
    install(&cluster.client().await).await;
    scene.traffic = match follows {
        Follows::Route(_) => TrafficBy::Gateway,
        Follows::Ingress(_) => TrafficBy::Alb,
    };
    let services: Vec<String> = scene.services.iter().map(|served| served.name.to_string()).collect();
    let world = World::start(cluster, purpose, scene).await;
    let hosts: Vec<(String, &str)> = services.iter().map(|name| (format!("{name}.test"), name.as_str())).collect();
    let hosts: Vec<(&str, &str)> = hosts.iter().map(|(host, name)| (host.as_str(), *name)).collect();
    match follows {
        Follows::Route(name) => make_route(&world.namespace, name, hosts[0].0, hosts[0].1).await,
        Follows::Ingress(name) => {
            inject_gates(&world.namespace).await;
            make_ingress(&world.namespace, name, &hosts).await;
        }
    }
    let hosts: Vec<&str> = hosts.iter().map(|(host, _)| *host).collect();
    let balancer = LoadBalancer::start(&world.namespace, follows.clone(), &hosts, Options::default()).await;
    (world, balancer, turn)
}

/// Load through the load balancer, once it answers.
async fn load(world: &World<'_>, balancer: &LoadBalancer, service: &str) -> Load {
    let at = balancer.address(&format!("{service}.test"));
    wait::until("the load balancer has targets", SOON, async || {
        let options = LoadOptions { kept: 0, fresh: 1, slow: 0, ..LoadOptions::default() };
        let asked = Load::start(at, options);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let report = asked.stop().await;
        if report.answered > 0 && report.losses() == 0 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .await;
    world.load_at(at, service, LoadOptions::default()).await
}

async fn selected(world: &World<'_>, service: &str) -> String {
    let service = world.namespace.api::<Service>().get(service).await.unwrap();
    service.spec.unwrap().selector.unwrap().remove(COLOUR).unwrap_or_default()
}

fn all_to(service: &str, green: u64) -> Vec<(String, u64)> {
    vec![(format!("{service}-blue"), 100 - green), (format!("{service}-green"), green)]
}

// ---- whole releases ----

async fn there_and_back(purpose: &str, follows: Follows) {
    let Some(cluster) = Cluster::shared().await else { return };
    let (mut world, balancer, _turn) = behind(cluster, purpose, &follows, Scene::default()).await;
    let load = load(&world, &balancer, "web").await;
    let old = world.running("web").await.remove(0);
    load.allow(Some([old.clone()].into()));
    world.adopt_with(unhurried()).await;
    assert_eq!(weights(&world.namespace, &follows, "web").await, all_to("web", 0));
    assert_eq!(selected(&world, "web").await, "blue");

    world.drive(world.namespace.client.clone());
    let (id, images) = world.push(1, &Behaviour::version("v1")).await;
    load.allow(Some([old.clone(), images[0].digest.clone()].into()));
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    assert_eq!(weights(&world.namespace, &follows, "web").await, all_to("web", 100));
    assert_eq!(selected(&world, "web").await, "green", "callers inside the cluster follow");
    world.roll_back().await;
    world.ends_so(id, Ending::RolledBack).await;
    assert_eq!(weights(&world.namespace, &follows, "web").await, all_to("web", 0));
    assert_eq!(selected(&world, "web").await, "blue");
    world.only_runs("web", &[&old]).await;
    let report = load.stop().await;
    assert_eq!((report.losses(), report.wrong), (0, 0), "{report:?}");
    assert!(report.digests.get(&images[0].digest).is_some_and(|answers| *answers > 0), "{report:?}");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_there_and_back_on_a_route() {
    there_and_back("weights-route", route()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_there_and_back_on_an_ingress() {
    there_and_back("weights-alb", ingress()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_share_one_ingress() {
    let Some(cluster) = Cluster::shared().await else { return };
    let scene = Scene { services: vec![Served::serving("web"), Served::serving("api")], ..Scene::default() };
    let (mut world, balancer, _turn) = behind(cluster, "weights-shared", &ingress(), scene).await;
    let loads = [load(&world, &balancer, "web").await, load(&world, &balancer, "api").await];
    world.adopt_with(unhurried()).await;
    world.drive(world.namespace.client.clone());
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    let annotations = world.namespace.api::<Ingress>().get("front").await.unwrap().metadata.annotations.unwrap();
    let fences: Vec<&String> = annotations.keys().filter(|key| key.starts_with("portcullis.dev/fence.")).collect();
    assert_eq!(fences.len(), 2, "{annotations:?}");
    for service in ["web", "api"] {
        assert_eq!(weights(&world.namespace, &ingress(), service).await, all_to(service, 100));
        assert_eq!(selected(&world, service).await, "green");
    }
    world.roll_back().await;
    world.ends_so(id, Ending::RolledBack).await;
    for load in loads {
        let report = load.stop().await;
        assert_eq!(report.losses(), 0, "{report:?}");
    }
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_a_person_wrote_are_told_and_a_person_is_asked() {
    let Some(cluster) = Cluster::shared().await else { return };
    let (mut world, balancer, _turn) = behind(cluster, "weights-by-hand", &ingress(), Scene::default()).await;
    let load = load(&world, &balancer, "web").await;
    world.adopt_with(unhurried()).await;
    let proxy = FaultProxy::start(world.namespace.client.clone()).await;
    world.drive(proxy.client());
    let held = Held::default();
    // Only what moves them: a mark changes no weight.
    let moves = r#""op":"add","path":"/metadata/annotations/alb.ingress.kubernetes.io~1actions.web""#;
    proxy.fail(Rule::next(1, Method::PATCH, "/ingresses/front?", Fault::Hold(held.clone())).saying(moves));
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    held.comes().await;
    let by_hand = async |green: u64| {
        let group = |name: &str, weight: u64| json!({ "serviceName": name, "servicePort": 80, "weight": weight });
        let groups = json!([group("web-blue", 100 - green), group("web-green", green)]);
        let action = json!({ "type": "forward", "forwardConfig": { "targetGroups": groups } }).to_string();
        let change = json!({ "metadata": { "annotations": { "alb.ingress.kubernetes.io/actions.web": action } } });
        let hand = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
        world.namespace.api::<Ingress>().patch("front", &hand, &Patch::Merge(&change)).await.unwrap();
    };
    by_hand(40).await;
    held.arrive().await;
    assert_eq!(held.landed(), 0, "it was overwritten");
    world.reaches(id, "needs_help").await;
    let (object, found, ours) = world.drift().await;
    assert_eq!(object, ObjectKey::traffic(&ServiceName::new("web").unwrap()));
    assert!(!ours && found.written_by.is_some(), "{found:?}");
    assert_eq!(found.stamp.map(|stamp| stamp.value), Some(Value::Traffic { green: 4_000 }));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(weights(&world.namespace, &ingress(), "web").await, all_to("web", 40), "it was overwritten");
    assert_eq!((selected(&world, "web").await.as_str(), world.phase(id).await), ("blue", Some(Phase::NeedsHelp)));

    by_hand(0).await;
    world.commanded("ama", Command::Resolve { reason: "it was me; it is as before".into() }).await;
    world.ends_so(id, Ending::Resolved).await;
    assert_eq!(load.stop().await.losses(), 0);
    world.assert_sound().await;
}

// ---- steps, of whole releases ----

/// A release that moves a quarter, a half, then all; each but the last is watched for a while.
fn stepwise() -> Scene {
    Scene::default().policy_with(|policy| {
        let every = Millis::seconds(6);
        policy.strategy = Strategy::BlueGreen { steps: vec![2_500, 5_000, 10_000], every, manual: false };
    })
}

async fn until_green_has(world: &World<'_>, follows: &Follows, green: u64) {
    let what = format!("green has {green}%");
    wait::until(&what, 3 * SOON, async || {
        let found = weights(&world.namespace, follows, "web").await;
        if found == all_to("web", green) { Ok(()) } else { Err(format!("{found:?}\n{}", world.story().await)) }
    })
    .await;
}

/// The shares that releases sent to green, in their order, as the ledger has them.
async fn shares(world: &World<'_>) -> Vec<u16> {
    let events = world.events().await;
    let moved = events.iter().filter_map(|event| match &event.what {
        What::Intended { intention, .. } => match &intention.action {
            Action::Write(Write { to: Value::Traffic { green }, purpose: Purpose::Switch, .. }) => Some(*green),
            _ => None,
        },
        _ => None,
    });
    moved.collect()
}

async fn a_release_in_steps(purpose: &str, follows: Follows) {
    let Some(cluster) = Cluster::shared().await else { return };
    let (mut world, balancer, _turn) = behind(cluster, purpose, &follows, stepwise()).await;
    let load = load(&world, &balancer, "web").await;
    let old = world.running("web").await.remove(0);
    world.adopt_with(unhurried()).await;
    world.drive(world.namespace.client.clone());

    let (id, images) = world.push(1, &Behaviour::version("v1")).await;
    let new = &images[0].digest;
    load.allow(Some([old.clone(), new.clone()].into()));
    world.approve(id).await;
    for percent in [25, 50] {
        until_green_has(&world, &follows, percent).await;
        let found = counted(&load, new).await;
        assert!(found.abs_diff(percent) <= OFF, "{found}% of the answers instead of {percent}%");
        assert_eq!(selected(&world, "web").await, "blue", "callers inside the cluster follow at the end");
    }
    world.ends_so(id, Ending::Live).await;
    assert_eq!(shares(&world).await, [2_500, 5_000, 10_000]);
    assert_eq!(weights(&world.namespace, &follows, "web").await, all_to("web", 100));
    assert_eq!(selected(&world, "web").await, "green");

    // The next one is bad, and the first step shows it: green and blue have changed places.
    world.close_window().await;
    let (id, images) = world.push(2, &Behaviour { error_every: 2, ..Behaviour::version("v2") }).await;
    let bad = &images[0].digest;
    load.allow(Some([new.clone(), bad.clone()].into()));
    world.approve(id).await;
    world.ends_so(id, Ending::RolledBack).await;
    assert_eq!(shares(&world).await[3..], [7_500], "only the first step of it was taken");
    assert_eq!(weights(&world.namespace, &follows, "web").await, all_to("web", 100));
    assert_eq!(selected(&world, "web").await, "green");
    let report = load.stop().await;
    let failures = report.failures.get(bad).copied().unwrap_or(0);
    assert!(failures > 0, "nobody saw the bad build: {report:?}");
    assert_eq!((report.lost, report.failed - failures, report.wrong), (0, 0, 0), "{report:?}");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_moves_in_steps_and_a_bad_one_stops_at_the_first_on_a_route() {
    a_release_in_steps("release-steps-route", route()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_moves_in_steps_and_a_bad_one_stops_at_the_first_on_an_ingress() {
    a_release_in_steps("release-steps-alb", ingress()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_adopted_another_way_than_its_policy_says_is_held_at_the_gates() {
    let Some(cluster) = Cluster::shared().await else { return };
    let (mut world, _balancer, _turn) = behind(cluster, "weights-other-way", &route(), stepwise()).await;
    let mut policy = Policy::clone(&world.policies.get(&world.target).expect("a policy is in force"));
    world.adopt_with(unhurried()).await;
    policy.traffic = TrafficBy::Alb;
    world.policies.set(policy);
    world.drive(world.namespace.client.clone());
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    world.is_held(id, "adopted with `traffic: gateway`").await;
    assert_eq!(weights(&world.namespace, &route(), "web").await, all_to("web", 0));
}

// ---- steps, write by write ----

/// Writes as a release does it, one fence after the other.
struct Hand<'w, 'c> {
    world: &'w World<'c>,
    ledger: LedgerId,
    seq: u64,
    known: BTreeMap<ObjectKey, Option<Stamp>>,
}

impl<'w, 'c> Hand<'w, 'c> {
    fn new(world: &'w World<'c>) -> Self {
        Self { world, ledger: LedgerId::new("by-hand").unwrap(), seq: 0, known: BTreeMap::new() }
    }

    async fn try_write(&mut self, object: &ObjectKey, to: Value, purpose: Purpose) -> PortResult<Written> {
        self.seq += 1;
        let fence = Fence { ledger: self.ledger.clone(), epoch: 1, seq: Seq(self.seq) };
        let from = match self.known.get(object) {
            Some(known) => known.clone(),
            None => self.world.found(object).await.stamp,
        };
        let write = Write { object: object.clone(), from: vec![from], to, purpose, bundle: None };
        let written = self.world.adapter.write(&self.world.target, &self.world.place, &write, &fence).await;
        if let Ok(Written::Done) = &written {
            self.known.insert(object.clone(), Some(Stamp { fence: Some(fence), value: to }));
        }
        written
    }

    async fn write(&mut self, object: &ObjectKey, to: Value, purpose: Purpose) {
        assert_eq!(self.try_write(object, to, purpose).await.unwrap(), Written::Done, "{object}");
    }

    /// Green comes up with two pods; gives its digest.
    async fn comes_up(&mut self, ready: bool) -> Digest {
        let service = ServiceName::new("web").unwrap();
        let image = self.world.publish(&service, 1, &Behaviour::version("v1")).await;
        let digest: Digest = image.digest.parse().unwrap();
        let green = ObjectKey::workload(&service, Colour::Green);
        let to = Value::Workload { digest, replicas: 2 };
        self.write(&green, to, Purpose::Deploy).await;
        self.write(&green, to, Purpose::Claim).await;
        let ask = AwaitReady { object: green, digest, replicas: if ready { 2 } else { 0 }, after: Seq(self.seq) };
        wait::until("green is up", 2 * SOON, async || {
            let found = self.world.adapter.look(&self.world.target, &self.world.place, &ask).await.unwrap();
            if found.ready >= 2 { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        digest
    }

    async fn share(&mut self, green: u16, purpose: Purpose) {
        let object = ObjectKey::traffic(&ServiceName::new("web").unwrap());
        self.write(&object, Value::Traffic { green }, purpose).await;
    }
}

/// The share of a digest of the next answers, in percent.
async fn counted(load: &Load, digest: &str) -> u64 {
    tokio::time::sleep(SETTLED).await;
    let of = |report: &portcullis_tests_kubernetes::load::LoadReport| report.digests.get(digest).copied().unwrap_or(0);
    let before = load.report();
    let after = wait::until("enough answers came", 2 * SOON, async || {
        let report = load.report();
        if report.answered >= before.answered + ENOUGH { Ok(report) } else { Err(format!("{report:?}")) }
    })
    .await;
    (of(&after) - of(&before)) * 100 / (after.answered - before.answered)
}

async fn in_steps(purpose: &str, follows: Follows) {
    let Some(cluster) = Cluster::shared().await else { return };
    let (world, balancer, _turn) = behind(cluster, purpose, &follows, Scene::default()).await;
    world.adopt_with(unhurried()).await;
    let load = load(&world, &balancer, "web").await;
    let mut hand = Hand::new(&world);
    let green = hand.comes_up(true).await.to_string();
    for (share, percent, colour) in [(2_500, 25, "blue"), (5_000, 50, "blue"), (10_000, 100, "green")] {
        hand.share(share, Purpose::Switch).await;
        let found = counted(&load, &green).await;
        assert!(found.abs_diff(percent) <= OFF, "{found}% of the answers instead of {percent}%");
        assert_eq!(selected(&world, "web").await, colour, "at {percent}%");
    }
    // Back to the middle of a release, and from there to nothing.
    hand.share(0, Purpose::Restore).await;
    hand.share(2_500, Purpose::Switch).await;
    assert!(counted(&load, &green).await.abs_diff(25) <= OFF);
    hand.share(0, Purpose::Restore).await;
    assert_eq!(counted(&load, &green).await, 0);
    assert_eq!(weights(&world.namespace, &follows, "web").await, all_to("web", 0));
    assert_eq!(selected(&world, "web").await, "blue");
    let report = load.stop().await;
    assert_eq!(report.losses(), 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_as_the_steps_say_on_a_route() {
    in_steps("steps-route", route()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_as_the_steps_say_on_an_ingress() {
    in_steps("steps-alb", ingress()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_never_becomes_healthy_gets_no_weight() {
    let Some(cluster) = Cluster::shared().await else { return };
    let (world, balancer, _turn) = behind(cluster, "weights-sick", &ingress(), Scene::default()).await;
    world.adopt_with(unhurried()).await;
    let load = load(&world, &balancer, "web").await;
    balancer.never_finds_healthy("web-green");
    let mut hand = Hand::new(&world);
    let green = hand.comes_up(false).await;
    let traffic = ObjectKey::traffic(&ServiceName::new("web").unwrap());
    wait::until("the load balancer is said to find none healthy", SOON, async || {
        let written = hand.try_write(&traffic, Value::Traffic { green: 2_500 }, Purpose::Switch).await;
        let words = written.expect_err("it got weight").to_string();
        let all = ["finds 0 of 2 pods of web-green healthy", "Health checks failed"];
        if all.iter().all(|part| words.contains(part)) { Ok(()) } else { Err(words) }
    })
    .await;
    assert_eq!(weights(&world.namespace, &ingress(), "web").await, all_to("web", 0));
    // What served gets everything back though nobody asks about its targets.
    balancer.never_finds_healthy("web-blue");
    hand.share(0, Purpose::Restore).await;
    let report = load.stop().await;
    assert_eq!(report.losses(), 0, "{report:?}");
    assert!(!report.digests.contains_key(&green.to_string()), "{report:?}");
}
