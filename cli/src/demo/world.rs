//! The demo's world: the server, a cluster with three services under load, a registry and a source of commits.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use hyper::{Method, StatusCode};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{ImageFact, ScanFact, ScanStatus};
use portcullis_domain::names::{CommitSha, Identity, Repository, ServiceName, Subject, Tag, TargetId};
use portcullis_domain::policy::Severity;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_embedded::local::Build;
use portcullis_embedded::local::load::{Load, LoadOptions, LoadReport};
use portcullis_embedded::registry::FileRegistry;
use portcullis_embedded::source::{FileSource, SourceCommit};
use rand::TryRng as _;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret as _, SecretString};

use crate::api::{Answered, Ask};
use crate::args::{Adapters, Demo};
use crate::client::Client;
use crate::layout::Layout;
use crate::serve::token::EventsTokens;
use crate::serve::{Stack, StackOptions};
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
const SERVICES: [(&str, bool, u32); 3] =
    [("nestjs-service", false, 2), ("springboot-service", false, 2), ("temporal-workers", true, 1)];
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
    first: u64,
    loads: Vec<Load>,
    registry: FileRegistry,
    source: FileSource,
    events: Client,
    person: Client,
}

impl World {
    /// Starts the server, the baseline and the load.
    pub(crate) async fn start(flags: &Demo, screen: Screen) -> anyhow::Result<Self> {
        let policy = flags.data.join("policy.yaml");
        std::fs::write(&policy, POLICY).with_context(|| format!("writing {}", policy.display()))?;
        let events_token = random()?;
        let stack = Stack::start(StackOptions {
            policy: vec![policy],
            data: flags.data.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            tokens: EventsTokens::parse(events_token.expose_secret())?,
            screen,
            adapters: Adapters::default(),
        })
        .await?;
        let address = format!("http://{}", stack.address);
        let who = Subject::new("demo")?;
        stack.people.remove(&who)?;
        let person = Client::new(&address, stack.people.add(&who)?)?;
        let layout = Layout::new(&flags.data);
        let first = stack.ports.ledger.next_release().await?.0;
        let mut world = Self {
            target: "demo/production".parse()?,
            library: Library::new(stack.ports.ledger.clone(), Some(stack.ports.policies.clone())),
            began: stack.ports.clock.now(),
            baseline: version(1, None, None, "The first version"),
            first,
            loads: Vec::new(),
            registry: FileRegistry::new(&layout.registry())?,
            source: FileSource::new(&layout.source())?,
            events: Client::new(&address, events_token)?,
            person,
            stack,
        };
        world.baseline = world.serving_now().await?;
        world.baseline().await?;
        world.load(flags.rate)?;
        Ok(world)
    }

    /// The next version: a good one.
    pub(crate) fn good(&self) -> Version {
        version(self.first + 1, Some(&self.baseline), None, "Cache fare quotes")
    }

    /// The one after it: every fifth request fails.
    pub(crate) fn bad(&self) -> Version {
        version(self.first + 2, Some(&self.good()), Some(5), "Read the currency of the cached quote")
    }

    /// What an earlier demo left serving, or the first version.
    async fn serving_now(&self) -> anyhow::Result<Version> {
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
        let mut services = Vec::new();
        for (name, worker, replicas) in SERVICES {
            services.push((service(name)?, digest_of(&self.baseline, name), worker, replicas));
        }
        self.stack.cluster.apply_baseline(&self.target, &services).await?;
        Ok(self.stack.cluster.ready(&self.target, Millis::seconds(20)).await?)
    }

    fn load(&mut self, rate: u32) -> anyhow::Result<()> {
        let serving: Vec<&str> = SERVICES.iter().filter(|(_, worker, _)| !worker).map(|(name, _, _)| *name).collect();
        let share = rate / u32::try_from(serving.len()).unwrap_or(1).max(1);
        for name in serving {
            let address = self.stack.cluster.address(&self.target, &service(name)?);
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
            self.stack.cluster.push_image(&digest, &build)?;
        }
        Ok(())
    }

    /// Posts one event as AWS sends it, with what is of this push put in.
    async fn post(&self, template: &str, version: &Version, name: &str) -> anyhow::Result<()> {
        let mut event: serde_json::Value = serde_json::from_str(template)?;
        let digest = digest_of(version, name);
        let now = jiff::Timestamp::from_millisecond(i64::try_from(self.stack.ports.clock.now().0)?)?;
        let id = Digest::of(format!("{template}{digest}").as_bytes()).hex();
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
    }
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
    }
}

fn digest_of(version: &Version, service: &str) -> Digest {
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
