//! The demo's ground on a cluster of Kubernetes: a namespace of its own with three plain services, adopted as a user's
//! would be, and requests that really go through their Services.
//!
//! There are no metrics of a cluster: the demo measures what its own clients see ([`front`]), by version.

mod front;
mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Measure, ObjectKey, Stamp, Value, Window};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::{AlarmName, Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Cluster, Metrics, PortError, PortResult};
use portcullis_kubernetes::adopt::{AdoptOptions, carry_out, plan_adoption};
use portcullis_kubernetes::client::{Client, kinds};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use self::front::{Front, Through};
use super::world::SERVICES;
use crate::args::{Demo, DemoImage, Way};
use crate::kubeconfig::{Context, Otherwise};
use crate::serve::kubernetes::Elsewhere;
use crate::{ask, exit};

/// What the policy calls the cluster: it has no other.
pub(super) const CLUSTER: &str = "kubeconfig";
/// Requests per second where none are said: by the Services' addresses, and through the API server, whose work it is.
const RATES: (u32, u32) = (400, 60);
/// The pods of the beginning are up within so long: their images may have to be pulled.
const WITHIN: Duration = Duration::from_mins(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A cluster's addresses are reached within so long, or not from here.
const REACHED: Duration = Duration::from_secs(2);
/// For every node to notice that endpoints changed.
const SETTLE: Duration = Duration::from_secs(3);

/// Where the demo runs.
pub(super) struct Ground {
    client: Client,
    context: Context,
    cluster: Arc<KubernetesCluster>,
    place: Place,
    /// What serves first, a good build, a bad one.
    pub(super) images: [DemoImage; 3],
    clients: Arc<Clients>,
    addresses: BTreeMap<ServiceName, SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    by_address: bool,
}

/// The clients of all Services, and which digest calls itself what.
struct Clients {
    fronts: std::sync::Mutex<BTreeMap<ServiceName, Arc<Front>>>,
    names: BTreeMap<Digest, String>,
    cluster: Arc<KubernetesCluster>,
}

impl Clients {
    fn of(&self, service: &ServiceName) -> Option<Arc<Front>> {
        self.fronts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(service).cloned()
    }

    fn all(&self) -> Vec<Arc<Front>> {
        self.fronts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).values().cloned().collect()
    }
}

impl Ground {
    /// Asks whether it may, makes the namespace, and brings everything up in it.
    ///
    /// # Errors
    /// It may not; the cluster cannot be used; pods do not come up. Then the namespace is deleted again.
    pub(super) async fn start(flags: &Demo, target: &TargetId) -> anyhow::Result<Self> {
        let images = images(&flags.images)?;
        let context = Context::of(&flags.kube, Otherwise::Current)?;
        let client = context.client().await?;
        let namespace = format!("portcullis-demo-{:06x}", rand::random::<u32>() & 0x00ff_ffff);
        let prompt = format!("Make the namespace {namespace} on {}, and delete it at the end?", context.shown());
        // A cluster that was named, or is the only thing that was said, needs no second word.
        ask::confirm(&prompt, flags.yes || flags.kube.context.is_some())?;
        let cluster = Arc::new(KubernetesCluster::new(Source::Connected(client.clone()), Options::default()));
        let place = Place { account: None, region: None, role: None, cluster: CLUSTER.to_owned(), namespace };
        let names = images.iter().map(|image| (image.digest, image.name.clone())).collect();
        let clients = Arc::new(Clients { fronts: std::sync::Mutex::default(), names, cluster: cluster.clone() });
        let mut ground = Self {
            client,
            context,
            cluster,
            place,
            images,
            clients,
            addresses: BTreeMap::new(),
            tasks: Vec::new(),
            by_address: true,
        };
        let object = objects::namespace(&ground.place.namespace);
        ground.client.create(&objects::NAMESPACES, "", &object).await.with_context(|| {
            format!("making a namespace on {}: the demo needs the right to", ground.context.shown())
        })?;
        if let Err(error) = ground.fill(flags.way, target).await {
            ground.clear().await;
            return Err(error);
        }
        Ok(ground)
    }

    async fn fill(&mut self, way: Way, target: &TargetId) -> anyhow::Result<()> {
        let namespace = self.place.namespace.clone();
        let mut waiting = JoinSet::new();
        for (name, worker, replicas) in SERVICES {
            let service = ServiceName::new(name)?;
            let deployment = objects::deployment(name, &self.images[0], replicas);
            self.client.create(&kinds::DEPLOYMENTS, &namespace, &deployment).await?;
            if !worker {
                self.client.create(&kinds::SERVICES, &namespace, &objects::service(name)).await?;
            }
            let (client, cluster) = (self.client.clone(), self.cluster.clone());
            let (target, place, digest) = (target.clone(), self.place.clone(), self.images[0].digest);
            waiting.spawn(async move {
                ready(&cluster, &target, &place, &service, digest, replicas).await?;
                adopt(&client, &target, &place.namespace, &service).await
            });
        }
        while let Some(one) = waiting.join_next().await {
            one.context("bringing the services up")??;
        }
        for (name, ..) in SERVICES.iter().filter(|(_, worker, _)| !worker) {
            self.reach(name, way).await?;
        }
        Ok(())
    }

    /// Puts clients before a Service, by the way that was chosen.
    async fn reach(&mut self, name: &str, way: Way) -> anyhow::Result<()> {
        let found = self.client.get(&kinds::SERVICES, &self.place.namespace, name).await?;
        let address = found.as_ref().and_then(|found| found["spec"]["clusterIP"].as_str()?.parse::<IpAddr>().ok());
        let address = address.map(|ip| SocketAddr::new(ip, objects::PORT));
        let reached = match address.filter(|_| way != Way::ApiServer) {
            Some(address) => timeout(REACHED, TcpStream::connect(address)).await.is_ok_and(|done| done.is_ok()),
            None => false,
        };
        let through = match address.filter(|_| reached) {
            Some(address) => Through::Address(address),
            None if way == Way::Direct => {
                bail!("the Services' addresses are not reached from this machine: say --way api-server");
            }
            None => {
                self.by_address = false;
                let path = format!("/api/v1/namespaces/{}/services/{name}:http/proxy", self.place.namespace);
                Through::ApiServer(plain_client(&self.context).await?, path)
            }
        };
        let service = ServiceName::new(name)?;
        let (front, address, task) = Front::start(through).await?;
        self.tasks.push(task);
        self.addresses.insert(service.clone(), address);
        self.clients.fronts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(service, front);
        Ok(())
    }

    /// The server's cluster and metrics.
    pub(super) fn elsewhere(&self) -> Elsewhere {
        Elsewhere::new(self.cluster.clone(), self.clients.clone())
    }

    /// Where a Service's clients listen.
    pub(super) fn address(&self, service: &ServiceName) -> Option<SocketAddr> {
        self.addresses.get(service).copied()
    }

    /// The namespace.
    pub(super) fn namespace(&self) -> &str {
        &self.place.namespace
    }

    /// Where it is, in words.
    pub(super) fn words(&self) -> String {
        let way = if self.by_address { "by their addresses" } else { "through the API server" };
        format!("in the namespace {} on {}, reached {way}", self.place.namespace, self.context.shown())
    }

    /// Requests per second where none are said.
    pub(super) fn rate(&self) -> u32 {
        if self.by_address { RATES.0 } else { RATES.1 }
    }

    /// From now on requests go by new connections.
    pub(super) fn renew(&self) {
        self.clients.all().iter().for_each(|front| front.renew());
    }

    /// Deletes the namespace, with everything in it.
    pub(super) async fn clear(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let namespace = &self.place.namespace;
        if let Err(error) = self.client.delete(&objects::NAMESPACES, "", namespace).await {
            let words = crate::show::text::safe(&error.to_string());
            eprintln!("The namespace {namespace} stays behind ({words}): kubectl delete namespace {namespace}");
        }
    }
}

/// Three images of one repository, with three names.
fn images(said: &[DemoImage]) -> anyhow::Result<[DemoImage; 3]> {
    let Ok(images) = <[DemoImage; 3]>::try_from(said.to_vec()) else {
        return Err(exit::usage(
            "on a cluster the demo needs three images: what serves first, a good build and a bad one:\n  \
             --images v1=REPOSITORY@sha256:...,v2=REPOSITORY@sha256:...,v3=REPOSITORY@sha256:...\n\
             docs/kubernetes.md says what they must answer",
        ));
    };
    let distinct = |of: fn(&DemoImage) -> String| images.iter().map(of).collect::<BTreeSet<_>>().len();
    if distinct(|image| image.repository.clone()) != 1 {
        return Err(exit::usage("the three images have to be of one repository: a release changes the digest only"));
    }
    if distinct(|image| image.name.clone()) != 3 || distinct(|image| image.digest.to_string()) != 3 {
        return Err(exit::usage(
            "the three images need three names, as they answer them in x-version, and three digests",
        ));
    }
    Ok(images)
}

async fn ready(
    cluster: &KubernetesCluster,
    target: &TargetId,
    place: &Place,
    service: &ServiceName,
    digest: Digest,
    replicas: u32,
) -> anyhow::Result<()> {
    let ask = AwaitReady { object: ObjectKey::workload(service, Colour::Blue), digest, replicas, after: Seq(0) };
    let until = Instant::now() + WITHIN;
    loop {
        let found = cluster.look(target, place, &ask).await?;
        if found.ready >= replicas {
            return Ok(());
        }
        if Instant::now() >= until {
            let problems = found.problems.join("; ");
            bail!("{service} has {} of {replicas} pods ready after {} s. {problems}", found.ready, WITHIN.as_secs());
        }
        sleep(LOOK).await;
    }
}

/// Makes it a service with colours, as `portcullis cluster adopt` does.
async fn adopt(client: &Client, target: &TargetId, namespace: &str, service: &ServiceName) -> anyhow::Result<()> {
    let options = AdoptOptions { within: WITHIN, settle: SETTLE, ..AdoptOptions::default() };
    let until = Instant::now() + WITHIN;
    loop {
        let plan = plan_adoption(client, target, namespace, service, &options).await?;
        // Its controller may not have counted the pods yet.
        if plan.refusals.is_empty() || Instant::now() >= until {
            return Ok(carry_out(client, namespace, service, &plan, &options, |_| {}).await?);
        }
        sleep(LOOK).await;
    }
}

/// A client that repeats nothing: what a user would have lost is lost.
async fn plain_client(context: &Context) -> anyhow::Result<kube::Client> {
    let known = kube::config::Kubeconfig::read_from(&context.file)?;
    let options = kube::config::KubeConfigOptions {
        context: Some(context.name.clone()),
        ..kube::config::KubeConfigOptions::default()
    };
    let mut config = kube::Config::from_custom_kubeconfig(known, &options).await?;
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

/// What the demo's clients saw of the version that a colour runs.
#[async_trait]
impl Metrics for Clients {
    async fn measure(
        &self,
        target: &TargetId,
        place: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        let services: BTreeSet<ServiceName> = ask.services.keys().cloned().collect();
        let found = self.cluster.observe(target, place, &services).await?;
        let mut windows = BTreeMap::new();
        for (service, colour) in &ask.services {
            let Some(front) = self.of(service) else { continue };
            let stamp = found.get(&ObjectKey::workload(service, *colour)).and_then(|found| found.stamp.as_ref());
            let Some(Stamp { value: Value::Workload { digest, .. }, .. }) = stamp else { continue };
            let Some(name) = self.names.get(digest) else { continue };
            windows.insert(service.clone(), front.window(name, from, to, &ask.metrics));
        }
        Ok(windows)
    }

    fn settle(&self) -> Millis {
        Millis(200)
    }

    async fn alarms(&self, _: &Place, _: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        Err(PortError::new("reading the alarms", "the demo has none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, repository: &str, n: u8) -> DemoImage {
        DemoImage { name: name.into(), repository: repository.into(), digest: Digest::of(&[n]) }
    }

    #[test]
    fn three_images_of_one_repository_are_needed_and_what_is_wrong_is_said() {
        let good = [image("v1", "r/web", 1), image("v2", "r/web", 2), image("v3", "r/web", 3)];
        assert_eq!(images(&good).unwrap(), good);
        for (wrong, said) in [
            (good[..2].to_vec(), "needs three images"),
            (vec![good[0].clone(), good[1].clone(), image("v3", "r/other", 3)], "one repository"),
            (vec![good[0].clone(), good[1].clone(), image("v2", "r/web", 3)], "three names"),
            (vec![good[0].clone(), good[1].clone(), image("v3", "r/web", 1)], "three digests"),
        ] {
            let error = images(&wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
