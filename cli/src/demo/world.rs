//! The demo's world: the server, a cluster with three services under load, a registry and a source of commits.
//!
//! The cluster is this machine's, or one of Kubernetes ([`super::kubernetes`]).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hyper::{Method, StatusCode};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{ImageFact, ScanFact, ScanStatus};
use portcullis_domain::names::{CommitSha, Identity, Repository, ServiceName, Subject, Tag, TargetId};
use portcullis_domain::policy::Severity;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_embedded::local::load::{Load, LoadOptions, LoadReport};
use portcullis_embedded::local::{Build, LocalCluster};
use portcullis_embedded::registry::FileRegistry;
use portcullis_embedded::source::{FileSource, SourceCommit};
use rand::TryRng as _;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret as _, SecretString};

use super::kubernetes::{CLUSTER, Ground};
use crate::api::{Answered, Ask};
use crate::args::{Adapters, ClusterKind, Demo};
use crate::client::Client;
use crate::layout::Layout;
use crate::serve::token::EventsTokens;
use crate::serve::{On, Stack, StackOptions};
use crate::show::screen::Screen;
use crate::view::Library;

/// The policy; a copy is left in the data directory, for a server that goes on with it.
const POLICY: &str = include_str!("../../demo/policy.yaml");
/// The events, as ECR sends them; repository, digest, tag and moment are put in.
const PUSH: &str = include_str!("../../../events/ecr/image-action-push.json");
const SCAN: &str = include_str!("../../../events/ecr/image-scan-complete.json");

/// The registry of the policy.
const REGISTRY: &str = "444444444444.dkr.ecr.us-east-1.amazonaws.com";
/// Service, whether it is a worker, replicas.
pub(super) const SERVICES: [(&str, bool, u32); 3] =
    [("nestjs-service", false, 2), ("springboot-service", false, 2), ("temporal-workers", true, 1)];
/// Requests per second on this machine where none are said.
pub(super) const RATE: u32 = 400;
/// Kept-alive connections to each service.
const CONNECTIONS: usize = 8;

/// One version of the application.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// `v2`.
    pub(crate) name: String,
    /// Its commit.
    pub(crate) commit: CommitSha,
    title: String,
    parent: Option<CommitSha>,
    error_every: Option<u32>,
    /// On a cluster of Kubernetes, the image of all its services.
    image: Option<Digest>,
}

/// Everything that the demo runs.
pub(crate) struct World {
    /// The server.
    pub(crate) stack: Stack,
    /// The environment.
    pub(crate) target: TargetId,
    /// Reads the ledger.
    pub(crate) library: Library,
    /// When the load began: the demo's zero.
    pub(crate) began: Timestamp,
    /// The version that serves at the beginning.
    pub(crate) baseline: Version,
    /// Requests per second.
    pub(crate) rate: u32,
    first: u64,
    ground: Option<Ground>,
    loads: Vec<Load>,
    registry: FileRegistry,
    source: FileSource,
    events: Client,
    person: Client,
}

impl World {
    /// Starts the server, the baseline and the load.
    pub(crate) async fn start(flags: &Demo, screen: Screen) -> anyhow::Result<Self> {
        let target: TargetId = "demo/production".parse()?;
        let ground = match flags.cluster {
            ClusterKind::Local => None,
            ClusterKind::Kubeconfig => Some(Ground::start(flags, &target).await?),
        };
        // What was made on a cluster is deleted again, whatever fails.
        let made = async {
            let (stack, token) = stack(flags, ground.as_ref(), screen).await?;
            let parts = Parts::of(&stack, token, flags).await?;
            anyhow::Ok((stack, parts))
        };
        let (stack, parts) = match made.await {
            Ok(made) => made,
            Err(error) => {
                cleared(ground).await;
                return Err(error);
            }
        };
        let mut world = Self {
            target,
            library: Library::new(stack.ports.ledger.clone(), Some(stack.ports.policies.clone())),
            began: stack.ports.clock.now(),
            baseline: version(1, None, None, "The first version"),
            rate: flags.rate.unwrap_or_else(|| ground.as_ref().map_or(RATE, Ground::rate)),
            first: parts.first,
            loads: Vec::new(),
            registry: parts.registry,
            source: parts.source,
            events: parts.events,
            person: parts.person,
            ground,
            stack,
        };
        match world.begin().await {
            Ok(()) => Ok(world),
            Err(error) => {
                cleared(world.ground.take()).await;
                Err(error)
            }
        }
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        self.baseline = self.named(self.baseline.clone(), 0);
        self.baseline = self.serving_now().await?;
        self.baseline().await?;
        self.load()
    }

    /// On a cluster of Kubernetes a version is one of the images that were named, and is called as that.
    fn named(&self, version: Version, at: usize) -> Version {
        match self.ground.as_ref().and_then(|ground| ground.images.get(at)) {
            Some(image) => Version { name: image.name.clone(), image: Some(image.digest), ..version },
            None => version,
        }
    }

    /// Where it runs, in words.
    pub(crate) fn place(&self) -> String {
        self.ground.as_ref().map_or_else(|| "on this machine".to_owned(), Ground::words)
    }

    /// Whether it is a cluster of Kubernetes, where everything takes longer.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.ground.is_some()
    }

    /// The next version: a good one.
    pub(crate) fn good(&self) -> Version {
        self.named(version(self.first + 1, Some(&self.baseline), None, "Cache fare quotes"), 1)
    }

    /// The one after it: every fifth request fails.
    pub(crate) fn bad(&self) -> Version {
        self.named(version(self.first + 2, Some(&self.good()), Some(5), "Read the currency of the cached quote"), 2)
    }

    /// What an earlier demo left serving, or the first version.
    async fn serving_now(&self) -> anyhow::Result<Version> {
        if self.ground.is_some() {
            return Ok(self.baseline.clone());
        }
        let name = service("nestjs-service")?;
        let targets = self.library.targets(self.began).await?;
        let live = targets.iter().find(|summary| summary.target == self.target);
        let digest = live.and_then(|summary| summary.live.get(&name)).map(|serving| serving.digest);
        let mut known = (1..=self.first + 1).map(|n| version(n, None, None, "An earlier version"));
        let found = known.rfind(|version| digest == Some(digest_of(version, "nestjs-service")));
        Ok(found.unwrap_or_else(|| self.baseline.clone()))
    }

    /// Runs the first version where nothing runs yet.
    async fn baseline(&self) -> anyhow::Result<()> {
        self.store(&self.baseline)?;
        let Some(local) = &self.stack.local else { return Ok(()) };
        let mut services = Vec::new();
        for (name, worker, replicas) in SERVICES {
            services.push((service(name)?, digest_of(&self.baseline, name), worker, replicas));
        }
        local.apply_baseline(&self.target, &services).await?;
        Ok(local.ready(&self.target, Millis::seconds(20)).await?)
    }

    fn address(&self, service: &ServiceName) -> Option<SocketAddr> {
        match (&self.ground, &self.stack.local) {
            (Some(ground), _) => ground.address(service),
            (None, local) => local.as_deref().and_then(|local: &LocalCluster| local.address(&self.target, service)),
        }
    }

    fn load(&mut self) -> anyhow::Result<()> {
        let serving: Vec<&str> = SERVICES.iter().filter(|(_, worker, _)| !worker).map(|(name, _, _)| *name).collect();
        let share = self.rate / u32::try_from(serving.len()).unwrap_or(1).max(1);
        for name in serving {
            let address = self.address(&service(name)?);
            let address = address.with_context(|| format!("{name} has no Service"))?;
            self.loads.push(Load::start(address, LoadOptions::per_second(share, CONNECTIONS)));
        }
        self.began = self.loads.iter().map(|load| load.report().began_at).min().unwrap_or(self.began);
        self.allow([&self.baseline.name]);
        Ok(())
    }

    /// Lets so much time pass.
    pub(crate) async fn rest(&self, time: Millis) {
        let clock = &self.stack.ports.clock;
        clock.sleep_until(clock.now() + time).await;
    }

    /// From now on only these versions may answer.
    pub(crate) fn allow<'a>(&self, versions: impl IntoIterator<Item = &'a String>) {
        let versions: BTreeSet<String> = versions.into_iter().cloned().collect();
        // A connection that is kept stays with its pod, whatever a Service says by then.
        if let Some(ground) = &self.ground {
            ground.renew();
        }
        for load in &self.loads {
            load.allow(Some(versions.clone()));
        }
    }

    /// What came of the load of each service so far.
    pub(crate) fn reports(&self) -> Vec<LoadReport> {
        self.loads.iter().map(Load::report).collect()
    }

    /// Pushes a version: to the registry, the source, the cluster's images; then ECR's events come in.
    pub(crate) async fn push(&self, version: &Version) -> anyhow::Result<usize> {
        self.store(version)?;
        let mut posted = 0;
        for (name, _, _) in SERVICES {
            self.post(PUSH, version, name).await?;
            posted += 1;
        }
        for (name, _, _) in SERVICES {
            self.post(SCAN, version, name).await?;
        }
        Ok(posted)
    }

    fn store(&self, version: &Version) -> anyhow::Result<()> {
        let now = self.stack.ports.clock.now();
        self.source.put_commit(&SourceCommit {
            commit: version.commit.clone(),
            title: version.title.clone(),
            parent: version.parent.clone(),
            branches: BTreeSet::from(["main".to_owned()]),
            people: BTreeSet::from([Identity::new("github:demo-author")?]),
            files: None,
            tree: None,
            forward_only: false,
        })?;
        for (at, (name, worker, _)) in (0..).zip(SERVICES) {
            let digest = digest_of(version, name);
            let repository = Repository::new(&format!("{REGISTRY}/demo/{name}"))?;
            let tags = BTreeSet::from([Tag::new(version.commit.as_str())?]);
            let size = Some(48_200_000 + at * 31_000_000 + u64::from(digest.bytes()[0]) * 10_000);
            self.registry.put_image(&repository, &digest, &ImageFact { tags, pushed_at: now, size })?;
            // The registry says what the event says.
            let counts = [(Severity::High, 2), (Severity::Medium, 5), (Severity::Undefined, 1)].into_iter().collect();
            let scan = ScanFact { status: ScanStatus::Complete, completed_at: Some(now), counts, findings: Vec::new() };
            self.registry.put_scan(&repository, &digest, &scan)?;
            let build = Build {
                error_every: version.error_every.filter(|_| !worker),
                latency: Millis(2),
                ready_after: Millis(0),
                ..Build::new(&version.name)
            };
            if let Some(local) = &self.stack.local {
                local.push_image(&digest, &build)?;
            }
        }
        Ok(())
    }

    /// Posts one event as AWS sends it, with what is of this push put in.
    async fn post(&self, template: &str, version: &Version, name: &str) -> anyhow::Result<()> {
        let mut event: serde_json::Value = serde_json::from_str(template)?;
        let digest = digest_of(version, name);
        let now = jiff::Timestamp::from_millisecond(i64::try_from(self.stack.ports.clock.now().0)?)?;
        let id = Digest::of(format!("{template}{name}{digest}").as_bytes()).hex();
        event["id"] = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32]).into();
        event["time"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        event["detail"]["repository-name"] = format!("demo/{name}").into();
        event["detail"]["image-digest"] = digest.to_string().into();
        if event["detail"].get("image-tag").is_some() {
            event["detail"]["image-tag"] = version.commit.as_str().into();
        }
        if event["detail"].get("image-tags").is_some() {
            event["detail"]["image-tags"] = serde_json::json!([version.commit.as_str()]);
            event["resources"] =
                serde_json::json!([format!("arn:aws:ecr:us-east-1:444444444444:repository/demo/{name}")]);
        }
        let answer = self.events.send(Method::POST, "/events", Some(serde_json::to_vec(&event)?)).await?;
        anyhow::ensure!(
            answer.status == StatusCode::OK,
            "the event of {name} was answered {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(())
    }

    /// Asks for something as the demo's person, by the API.
    pub(crate) async fn ask(&self, ask: &Ask) -> anyhow::Result<Answered> {
        self.person.command(&self.target, ask).await
    }

    /// Every service's digest of a version.
    pub(crate) fn digests(version: &Version) -> anyhow::Result<Vec<(ServiceName, Digest)>> {
        SERVICES.iter().map(|(name, _, _)| Ok((service(name)?, digest_of(version, name)))).collect()
    }

    /// Ends the load, then the server.
    pub(crate) async fn stop(mut self) {
        for load in self.loads.drain(..) {
            let _ = load.stop().await;
        }
        if tokio::time::timeout(Duration::from_secs(15), self.stack.stop()).await.is_err() {
            tracing::warn!("the server took too long to stop; what it was doing goes on at the next start");
        }
        cleared(self.ground.take()).await;
    }
}

/// Takes back what was made on a cluster.
async fn cleared(ground: Option<Ground>) {
    if let Some(ground) = ground {
        ground.clear().await;
    }
}

/// What a world has beside its server.
struct Parts {
    first: u64,
    registry: FileRegistry,
    source: FileSource,
    events: Client,
    person: Client,
}

impl Parts {
    async fn of(stack: &Stack, events_token: SecretString, flags: &Demo) -> anyhow::Result<Self> {
        let address = format!("http://{}", stack.address);
        let who = Subject::new("demo")?;
        stack.people.remove(&who)?;
        let layout = Layout::new(&flags.data);
        Ok(Self {
            first: stack.ports.ledger.next_release().await?.0,
            registry: FileRegistry::new(&layout.registry())?,
            source: FileSource::new(&layout.source())?,
            events: Client::new(&address, events_token)?,
            person: Client::new(&address, stack.people.add(&who)?)?,
        })
    }
}

/// The server, and the token that events come with.
async fn stack(flags: &Demo, ground: Option<&Ground>, screen: Screen) -> anyhow::Result<(Stack, SecretString)> {
    let file = flags.data.join("policy.yaml");
    let text = ground.map_or_else(|| POLICY.to_owned(), |ground| policy_on(ground.namespace()));
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    let token = random()?;
    let stack = Stack::start(StackOptions {
        policy: vec![file],
        data: flags.data.clone(),
        listen: ([127, 0, 0, 1], 0).into(),
        tokens: EventsTokens::parse(token.expose_secret())?,
        screen,
        adapters: Adapters::default(),
        cluster: ground.map_or(On::Local, |ground| On::Elsewhere(ground.elsewhere())),
    })
    .await?;
    Ok((stack, token))
}

/// The policy on a cluster of Kubernetes: the same, but for where it is and how long images may take to be pulled.
fn policy_on(namespace: &str) -> String {
    POLICY
        .replace("    cluster: local\n", &format!("    cluster: {CLUSTER}\n"))
        .replace("    namespace: demo\n", &format!("    namespace: {namespace}\n"))
        .replace("ready: 30s", "ready: 3m")
}

fn version(n: u64, parent: Option<&Version>, error_every: Option<u32>, title: &str) -> Version {
    let hex = Digest::of(format!("portcullis demo v{n}").as_bytes()).hex();
    // Forty hexadecimal digits are always a commit's name.
    let commit = CommitSha::new(&hex[..40]).unwrap_or_else(|error| unreachable!("{error}"));
    Version {
        name: format!("v{n}"),
        commit,
        title: title.to_owned(),
        parent: parent.map(|parent| parent.commit.clone()),
        error_every,
        image: None,
    }
}

fn digest_of(version: &Version, service: &str) -> Digest {
    if let Some(image) = version.image {
        return image;
    }
    Digest::of(format!("portcullis demo {service} {}", version.name).as_bytes())
}

fn service(name: &str) -> anyhow::Result<ServiceName> {
    Ok(ServiceName::new(name)?)
}

/// A token of 256 random bits.
fn random() -> anyhow::Result<SecretString> {
    let mut bytes = [0_u8; 32];
    SysRng.try_fill_bytes(&mut bytes).context("making a random token")?;
    Ok(SecretString::from(Digest::from_bytes(bytes).hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_kubernetes_the_policy_is_the_same_but_for_its_place() {
        let load = |text: &str| {
            let set = portcullis_policy::load(&[("demo.yaml".to_owned(), text.to_owned())]);
            set.unwrap_or_else(|report| panic!("{report:?}")).policies.remove(0)
        };
        let (local, elsewhere) = (load(POLICY), load(&policy_on("portcullis-demo-00ff00")));
        assert_eq!(
            (elsewhere.place.cluster.as_str(), elsewhere.place.namespace.as_str()),
            (CLUSTER, "portcullis-demo-00ff00")
        );
        assert_eq!((&elsewhere.watch, &elsewhere.gates), (&local.watch, &local.gates));
        assert!(elsewhere.limits.ready > local.limits.ready);
    }

    #[test]
    fn services_of_one_image_have_events_of_their_own() {
        let image = Digest::of(b"image");
        let version = Version { image: Some(image), ..version(1, None, None, "x") };
        assert_eq!(digest_of(&version, "a"), image);
        let local = Version { image: None, ..version };
        assert_ne!(digest_of(&local, "a"), digest_of(&local, "b"));
    }
}
