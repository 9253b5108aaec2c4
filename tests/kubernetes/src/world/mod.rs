//! The real engine on the test cluster: recorder, drivers, sweep and ledger as a server has them, the Kubernetes adapter
//! under test, and people, pushes and metrics in the test's hand. Time is real.
//!
//! Start reading at [`World::start`]; a test then pushes, approves, waits for a phase or an ending, and looks.

mod guard;
mod scene;
mod told;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service as ServiceObject;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use portcullis_domain::action::{Found, ObjectKey};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::Event;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{AlarmName, DeliveryId, LedgerId, ReleaseId, ServiceName, Subject, TargetId};
use portcullis_domain::policy::{Place, TrafficBy};
use portcullis_domain::signal::{Command, Fact, FactKind};
use portcullis_embedded::clock::SystemClock;
use portcullis_engine::driver::Driver;
use portcullis_engine::memory::world::{ACCOUNT, REGION, commit, commit_facts, repository, tag};
use portcullis_engine::memory::{
    FakeRegistry, FakeSource, Faults, MemoryBlobs, MemoryLedger, MemoryPolicies, MemoryQueue,
};
use portcullis_engine::ports::{Clock as _, Cluster as _, Ports};
use portcullis_engine::recorder::{Commanded, Recorder};
use portcullis_engine::sweep::Sweep;
use portcullis_kubernetes::adopt::{AdoptOptions, carry_out, plan_adoption};
use portcullis_kubernetes::client::{Client, ClientOptions};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};
use portcullis_tests::wait::{self, LIFE, SOON};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use self::guard::{Guard, Watched};
pub use self::scene::{Edit, Scene, Served};
pub use self::traffic::Traffic;
pub use portcullis_engine::memory::world::Ending;

use crate::cluster::{Cluster, Namespace};
use crate::images::{self, Behaviour, Image};
use crate::load::{Load, LoadOptions};

/// How often the sweep runs.
const SWEEP: Duration = Duration::from_secs(2);
/// Looks at a time of one driver.
const WORKERS: usize = 8;
/// How long a lease lasts while drivers race: each lapse lets every action be done, and its wake be sent, once more.
const RACING: Duration = Duration::from_millis(100);
/// Between two tries of a person to approve.
const APPROVING: Duration = Duration::from_millis(100);

/// What only a patch of a Service holds that moves its traffic; a mark changes no selector.
pub const MOVES_TRAFFIC: &str = r#""op":"add","path":"/spec/selector/portcullis.dev~1colour""#;

/// An application on the cluster with the engine that releases it.
pub struct World<'c> {
    /// Where it runs.
    pub namespace: Namespace<'c>,
    /// The target.
    pub target: TargetId,
    /// The same place as the engine knows it.
    pub place: Place,
    /// The ledger.
    pub ledger: Arc<MemoryLedger>,
    /// The queue of wakes.
    pub queue: Arc<MemoryQueue>,
    /// Stored backups.
    pub blobs: Arc<MemoryBlobs>,
    /// The policies in force.
    pub policies: Arc<MemoryPolicies>,
    /// The metrics and alarms.
    pub traffic: Arc<Traffic>,
    /// The adapter, without faults in front of it.
    pub adapter: Arc<KubernetesCluster>,
    /// The recorder.
    pub recorder: Recorder,
    registry: Arc<FakeRegistry>,
    source: Arc<FakeSource>,
    ports: Ports,
    /// Its services.
    pub services: Vec<Served>,
    /// What moves their traffic.
    moved_by: TrafficBy,
    /// What runs apart from the test: ends with it.
    running: JoinSet<()>,
    drivers: Vec<Running>,
    told: Mutex<Vec<Event>>,
}

/// A driver in a process of its own, as far as anything it holds is concerned.
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How the adapter asks in these tests: an answer that does not come is given up soon.
pub fn client_options() -> ClientOptions {
    ClientOptions { connect: Duration::from_secs(1), request: Duration::from_secs(2), ..ClientOptions::default() }
}

/// How services are adopted in these tests: every node of this cluster hears of endpoints at once.
pub fn adopt_options() -> AdoptOptions {
    AdoptOptions { within: SOON, settle: Duration::from_millis(500), ..AdoptOptions::default() }
}

impl<'c> World<'c> {
    /// Sets the scene in a namespace of its own: every service runs its image 0, plain as a team would have it; nobody
    /// has adopted it, and no driver runs.
    pub async fn start(cluster: &'c Cluster, purpose: &str, mut scene: Scene) -> Self {
        cluster.assert_has_our_nodes().await;
        let namespace = cluster.namespace(purpose).await;
        let policy = scene.policy(&namespace.name);
        let (target, place) = (policy.target.clone(), policy.place.clone());
        let (clock, faults) = (Arc::new(SystemClock), Faults::default());
        let client = Client::from_kube(namespace.client.clone(), client_options());
        let adapter = Arc::new(KubernetesCluster::new(Source::Connected(client.clone()), Options::default()));
        let policies = MemoryPolicies::new();
        policies.set(policy);
        // Each its own: a fence of another test's is a foreign one.
        let ledger = LedgerId::new(&format!("ledger-{:08x}", rand::random::<u32>())).unwrap();
        let ledger = MemoryLedger::new(ledger, faults.clone());
        let queue = MemoryQueue::new(clock.clone(), faults.clone());
        let blobs = MemoryBlobs::new(faults.clone());
        let registry = FakeRegistry::new(faults.clone());
        let source = FakeSource::new(faults);
        let traffic = Traffic::new(client);
        traffic.set_alarm(&alarm(), AlarmState::Ok, clock.now());
        let ports = Ports {
            ledger: ledger.clone(),
            queue: queue.clone(),
            blobs: blobs.clone(),
            registry: registry.clone(),
            source: source.clone(),
            cluster: adapter.clone(),
            metrics: traffic.clone(),
            clock,
            policies: policies.clone(),
        };
        let recorder = Recorder::new(ports.clone());
        let sweep = Sweep::new(ports.clone(), recorder.clone());
        let mut running = JoinSet::new();
        running.spawn(async move {
            loop {
                // It never fails on a ledger in memory; what fails for one target it says itself.
                let _ = sweep.once().await;
                tokio::time::sleep(SWEEP).await;
            }
        });
        let world = Self {
            namespace,
            target,
            place,
            ledger,
            queue,
            blobs,
            policies,
            traffic,
            adapter,
            recorder,
            registry,
            source,
            ports,
            services: scene.services.clone(),
            moved_by: scene.traffic,
            running,
            drivers: Vec::new(),
            told: Mutex::default(),
        };
        world.baseline(&scene).await;
        world
    }

    /// The same, adopted, with one driver that reaches the API server directly.
    pub async fn adopted(cluster: &'c Cluster, purpose: &str, scene: Scene) -> Self {
        let mut world = Self::start(cluster, purpose, scene).await;
        world.adopt().await;
        world.drive(world.namespace.client.clone());
        world
    }

    async fn baseline(&self, scene: &Scene) {
        for served in &scene.services {
            let image = self.publish(&served.name, 0, &scene.first).await;
            let name = served.name.as_str();
            self.namespace.create::<Deployment>(&scene.deployment(served, &image)).await;
            if served.worker.is_none() {
                self.namespace.create::<ServiceObject>(&crate::samples::service(name, name)).await;
                self.namespace.create::<PodDisruptionBudget>(&scene::budget(name)).await;
            }
            if let Some((least, most)) = scene.autoscaled {
                self.namespace.create::<HorizontalPodAutoscaler>(&scene::autoscaler(name, least, most)).await;
            }
        }
        for served in &scene.services {
            self.namespace.rolled_out(served.name.as_str()).await;
        }
    }

    /// Adopts every service, several at a time.
    pub async fn adopt(&self) {
        self.adopt_with(adopt_options()).await;
    }

    /// The same, carried out so.
    pub async fn adopt_with(&self, options: AdoptOptions) {
        let options = AdoptOptions { traffic: self.moved_by, ..options };
        let client = Client::from_kube(self.namespace.client.clone(), client_options());
        let mut adopting = JoinSet::new();
        for served in &self.services {
            // Those that share an Ingress or a route are adopted one after the other, as the command does it.
            let at_once = if self.moved_by.is_selector() { 10 } else { 1 };
            if adopting.len() >= at_once {
                adopting.join_next().await.expect("there are some").expect("a service is adopted");
            }
            let (client, target, namespace) = (client.clone(), self.target.clone(), self.namespace.name.clone());
            let (service, options) = (served.name.clone(), options.clone());
            adopting.spawn(async move {
                let plan = plan_adoption(&client, &target, &namespace, &service, &options).await.unwrap();
                assert_eq!(plan.refusals, Vec::<String>::new(), "{service} cannot be adopted");
                carry_out(&client, &namespace, &service, &plan, &options, |_| {}).await.unwrap();
            });
        }
        adopting.join_all().await;
    }

    // ---- drivers ----

    /// Starts a driver that reaches the API server by this client, with nothing in memory that another one has.
    pub fn drive(&mut self, client: kube::Client) {
        self.drive_with(client, Options::default());
    }

    /// The same with other options of the adapter.
    pub fn drive_with(&mut self, client: kube::Client, options: Options) {
        self.drive_as(Client::from_kube(client, client_options()), options);
    }

    /// The same with a client of the adapter's own.
    pub fn drive_as(&mut self, client: Client, options: Options) {
        let cluster = Arc::new(KubernetesCluster::new(Source::Connected(client), options));
        let ports = Ports { cluster, ..self.ports.clone() };
        let driver = Driver::new(ports.clone(), Recorder::new(ports));
        let (stop, told) = watch::channel(false);
        let task = tokio::spawn(async move { driver.run(told, WORKERS).await });
        self.drivers.push(Running { stop, task });
    }

    /// Every driver dies on the spot, with what it held in memory. What it had sent stays on its way.
    pub async fn kill_drivers(&mut self) {
        for driver in self.drivers.drain(..) {
            driver.task.abort();
            let _ = driver.task.await;
        }
    }

    /// From now on every wake comes twice, and no lease keeps a driver for long from doing what another one does.
    pub fn race(&mut self) {
        self.queue.copies(2);
        let ledger = self.ledger.clone();
        self.running.spawn(async move {
            loop {
                ledger.end_leases();
                tokio::time::sleep(RACING).await;
            }
        });
    }

    // ---- the outside ----

    /// An image of a service is pushed to the registry, of a commit that the source knows. Nobody hears of it.
    pub async fn publish(&self, service: &ServiceName, n: u32, behaviour: &Behaviour) -> Image {
        let repository = repository(service.as_str());
        // One of each namespace: a digest that another test rolled back is another one.
        let behaviour =
            Behaviour { version: format!("{}-{}", behaviour.version, self.namespace.name), ..behaviour.clone() };
        let image = images::push(&self.namespace.client, repository.as_str(), &behaviour).await;
        let digest: Digest = image.digest.parse().unwrap();
        self.registry.push(&repository, digest, &tag(n), SystemClock.now());
        self.source.set(&commit(n), commit_facts(n, "dev"));
        image
    }

    /// Images of commit `n` of every service are pushed, and the registry's events come: a release waits for its
    /// approval then.
    pub async fn push(&self, n: u32, behaviour: &Behaviour) -> (ReleaseId, Vec<Image>) {
        let mut images = Vec::new();
        for served in &self.services {
            let image = self.publish(&served.name, n, behaviour).await;
            let (digest, repository) = (image.digest.parse().unwrap(), repository(served.name.as_str()));
            self.ingest(FactKind::ImagePushed { repository, digest, tag: Some(tag(n)) }).await;
            images.push(image);
        }
        let opened = wait::until("a release is opened for the push", SOON, async || {
            let releases = self.state().await.releases;
            let ours = releases.values().find(|release| release.commit == commit(n));
            ours.map(|release| release.id).ok_or_else(|| format!("{:?}", releases.keys()))
        });
        (opened.await, images)
    }

    async fn ingest(&self, kind: FactKind) {
        let fact = Fact {
            delivery: DeliveryId::new(&format!("delivery-{:016x}", rand::random::<u64>())).unwrap(),
            at: SystemClock.now(),
            account: Some(ACCOUNT.to_owned()),
            region: Some(REGION.to_owned()),
            kind,
        };
        self.recorder.ingest(&fact).await.unwrap();
    }

    /// The alarm that rolls back changes: its event comes, and whoever reads it sees it.
    pub async fn alarm(&self, state: AlarmState) {
        let changed_at = SystemClock.now();
        self.traffic.set_alarm(&alarm(), state, changed_at);
        let reason = "threshold crossed".to_owned();
        self.ingest(FactKind::AlarmChanged { alarm: alarm(), state, changed_at, reason, suppressed: false }).await;
    }

    // ---- people ----

    /// A person's command.
    pub async fn command(&self, who: &str, command: Command) -> Commanded {
        self.recorder.command(&self.target, &Subject::new(who).unwrap(), command).await.unwrap()
    }

    /// A person's command that must be accepted.
    pub async fn commanded(&self, who: &str, command: Command) {
        let words = format!("{command:?}");
        let commanded = self.command(who, command).await;
        assert!(matches!(commanded, Commanded::Accepted(_)), "{words}: {commanded:?}\n{}", self.story().await);
    }

    /// Kofi approves whatever plan the release has, until it begins. Panics if it ends, or does not begin soon.
    pub async fn approve(&self, id: ReleaseId) {
        let begun = async {
            loop {
                let state = self.state().await;
                let Some(release) = state.releases.get(&id) else {
                    panic!("release {id} ended\n{}", self.story().await)
                };
                if !matches!(release.phase.name(), "gathering" | "gated") {
                    return;
                }
                if let Some(plan) = release.plan.as_ref().map(|plan| plan.id)
                    && release.approvals.iter().all(|approval| approval.plan != plan)
                {
                    // Refused where the plan was replaced meanwhile.
                    self.command("kofi", Command::Approve { release: id, plan, typed: None }).await;
                }
                tokio::time::sleep(APPROVING).await;
            }
        };
        let begun = tokio::time::timeout(SOON, begun).await;
        assert!(begun.is_ok(), "release {id} was approved and does not begin\n{}", self.story().await);
    }

    /// Ama wants back what served before.
    pub async fn roll_back(&self) {
        self.commanded("ama", Command::RollBack { to: None, reason: "it hurts".into() }).await;
    }

    /// The old colour of the live release is no longer wanted; waits until it has no pods.
    pub async fn close_window(&self) {
        self.commanded("ama", Command::CloseWindow { reason: "it is fine".into() }).await;
        self.wait_until("the old colour is let go", |state| {
            let live = state.live_release.and_then(|id| state.releases.get(&id));
            live.is_none_or(|release| release.keep_old_until.is_none())
        })
        .await;
    }

    // ---- looking ----

    /// Load on a service from when it accepts connections. The engine measures it.
    pub async fn load(&self, service: &str, options: LoadOptions) -> Load {
        let to = self.namespace.address(service).await;
        self.load_at(to, service, options).await
    }

    /// The same on an address of whatever stands in front of the Service.
    pub async fn load_at(&self, to: SocketAddr, service: &str, options: LoadOptions) -> Load {
        wait::until("the Service's address accepts connections", SOON, async || {
            TcpStream::connect(to).await.map_err(|error| error.to_string())
        })
        .await;
        let load = Load::start(to, options);
        self.traffic.follow(&ServiceName::new(service).unwrap(), load.reporter());
        load
    }

    /// What the adapter finds of an object now.
    pub async fn found(&self, key: &ObjectKey) -> Found {
        let services = [key.service.clone()].into();
        let mut objects = self.adapter.observe(&self.target, &self.place, &services).await.unwrap();
        objects.remove(key).expect("every part of every service is told")
    }

    /// The digests of all pods of a service that still run something: also those that only finish what they have.
    pub async fn running(&self, service: &str) -> Vec<String> {
        let pods = self.namespace.pods(service).await;
        let alive = pods.iter().filter(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed"))
        });
        let image = |pod: &k8s_openapi::api::core::v1::Pod| pod.spec.as_ref()?.containers.first()?.image.clone();
        let digest = |image: String| image.rsplit_once('@').map(|(_, digest)| digest.to_owned());
        let mut running: Vec<String> = alive.filter_map(image).filter_map(digest).collect();
        running.sort();
        running.dedup();
        running
    }

    /// Waits until all pods of a service run one of these digests, the last ones of others gone.
    pub async fn only_runs(&self, service: &str, allowed: &[&str]) {
        wait::until("no pod of another version is left", 2 * SOON, async || {
            let running = self.running(service).await;
            let all = running.iter().all(|digest| allowed.contains(&digest.as_str()));
            if all { Ok(()) } else { Err(format!("{running:?}")) }
        })
        .await;
    }

    /// Waits until a release's gates hold it with these words.
    pub async fn is_held(&self, id: ReleaseId, words: &str) {
        self.wait_until(&format!("release {id} is held: {words}"), |state| {
            let judgement = state.releases.get(&id).and_then(|release| release.judgement.as_ref());
            judgement.is_some_and(|judgement| judgement.gates.iter().any(|gate| format!("{gate:?}").contains(words)))
        })
        .await;
    }

    /// Waits until the state is so. Panics with the story after the time of a whole life.
    pub async fn wait_until(&self, what: &str, is_so: impl Fn(&portcullis_domain::target::Target) -> bool) {
        let waiting = async {
            while !is_so(&self.state().await) {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        let came = tokio::time::timeout(LIFE, waiting).await;
        assert!(came.is_ok(), "it never came to: {what}\n{}", self.story().await);
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        for driver in &self.drivers {
            driver.stop.send_replace(true);
            driver.task.abort();
        }
    }
}

/// The alarm that rolls back.
fn alarm() -> AlarmName {
    AlarmName::new("shop-errors").unwrap()
}
