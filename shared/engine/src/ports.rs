//! What the engine needs of the outside, each port the few calls really needed. One adapter per real thing,
//! one embedded twin; both pass the same contract tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, Measure, ObjectKey, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{AlarmFact, CommitFacts, ImageFact, ScanFact};
use portcullis_domain::names::{
    AlarmName, CommitSha, DeliveryId, LedgerId, ReleaseId, Repository, Seq, ServiceName, Tag, TargetId,
};
use portcullis_domain::policy::{Colour, Place, SealedPolicy, Test};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::{Millis, Timestamp};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// An adapter's failure: what was being done, to what, what was found. Never holds a secret or a body.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{doing}: {found}")]
pub struct PortError {
    /// What was being done, to what.
    pub doing: String,
    /// What was found instead.
    pub found: String,
}

impl PortError {
    /// Says what was being done and what was found.
    pub fn new(doing: impl Into<String>, found: impl std::fmt::Display) -> Self {
        Self { doing: doing.into(), found: found.to_string() }
    }
}

/// Result of a port's call.
pub type PortResult<T> = Result<T, PortError>;

/// The head of a target's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The sequence number of the last event; 0 = no entry yet. What an append is conditional on.
    pub version: Seq,
    /// The encoded [`portcullis_domain::target::Target`]; empty = none yet.
    pub snapshot: Vec<u8>,
    /// Hash of the stored bytes of the last commit, chained.
    pub chain: Digest,
    /// The moment of the last event: nothing is decided by a clock that is further behind.
    pub last_at: Timestamp,
    /// When the target must be looked at next; none = nothing to wait for.
    pub wake_at: Option<Timestamp>,
    /// An engine older than this acts on nothing.
    pub min_reader: u32,
}

/// One append: all of it or nothing.
#[derive(Debug, Clone)]
pub struct Append {
    /// The target.
    pub target: TargetId,
    /// The head's version it was decided on.
    pub expected: Seq,
    /// The encoded commit: several events and what they were decided with. Stored byte for byte.
    pub commit: Vec<u8>,
    /// The head after it. `head.version` minus `expected` is the number of events.
    pub head: Head,
    /// Scopes that must still have these versions.
    pub scopes: Vec<(Scope, u64)>,
    /// Release numbers it takes; each can be taken once in an installation.
    pub opens: Vec<ReleaseId>,
    /// The delivery that is done with it.
    pub delivery: Option<DeliveryId>,
}

/// Why an append was not made. Nothing was stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first: load again, decide again.
    #[error("the ledger moved on")]
    Conflict,
    /// A scope changed: read the scopes again, decide again.
    #[error("a stop was put on or lifted meanwhile")]
    ScopeMoved,
    /// A release number was taken by another target: take the next one.
    #[error("the release number is taken")]
    NumberTaken,
    /// The store failed; the append may or may not have been made, and repeating it is safe.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// One stored commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommit {
    /// Sequence number of its first event.
    pub first: Seq,
    /// Sequence number of its last event.
    pub last: Seq,
    /// The chain hash before it.
    pub before: Digest,
    /// The bytes as stored.
    pub bytes: Vec<u8>,
}

/// What a decision on a target stands on.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The target's head, if it has one.
    pub head: Option<Head>,
    /// The state of the scopes that were asked for, in their order.
    pub scopes: Vec<ScopeState>,
    /// The lowest number that no release has yet.
    pub next_release: ReleaseId,
    /// Whether the delivery was done for the target.
    pub delivered: bool,
}

/// The ledger: the truth. Reads are strongly consistent.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// This ledger's own name, made once at random.
    fn id(&self) -> LedgerId;
    /// The head of a target, if it has one.
    async fn head(&self, target: &TargetId) -> PortResult<Option<Head>>;
    /// All that a decision stands on; a store that can, answers with one call. Its parts need not be of one moment: an
    /// append is conditional on each of them.
    async fn reading(&self, target: &TargetId, scopes: &[Scope], delivery: Option<&DeliveryId>) -> PortResult<Reading> {
        let delivered = match delivery {
            Some(delivery) => self.delivered(target, delivery).await?,
            None => false,
        };
        let head = self.head(target).await?;
        let scopes = self.scopes(scopes).await?;
        Ok(Reading { head, scopes, next_release: self.next_release().await?, delivered })
    }
    /// Appends a commit if the head is still as expected.
    async fn append(&self, append: Append) -> Result<(), AppendError>;
    /// Commits with events after `after`, oldest first, at most `most`.
    async fn commits(&self, target: &TargetId, after: Seq, most: usize) -> PortResult<Vec<StoredCommit>>;
    /// All targets that have a head.
    async fn targets(&self) -> PortResult<Vec<TargetId>>;
    /// Targets whose `wake_at` is at or before this moment.
    async fn overdue(&self, at: Timestamp) -> PortResult<Vec<TargetId>>;
    /// Whether a delivery was done for a target.
    async fn delivered(&self, target: &TargetId, delivery: &DeliveryId) -> PortResult<bool>;
    /// Which target a release belongs to.
    async fn release(&self, release: ReleaseId) -> PortResult<Option<TargetId>>;
    /// The lowest number that no release has yet.
    async fn next_release(&self) -> PortResult<ReleaseId>;
    /// The state of these scopes, in their order.
    async fn scopes(&self, scopes: &[Scope]) -> PortResult<Vec<ScopeState>>;
    /// All scopes that were ever changed.
    async fn all_scopes(&self) -> PortResult<Vec<(Scope, ScopeState)>>;
    /// Sets a scope if its version is still `state.version - 1`; false if it moved.
    async fn set_scope(&self, scope: &Scope, state: &ScopeState) -> PortResult<bool>;
    /// Takes a soft lease on one intention until a moment; false if somebody holds it. Efficiency, never safety.
    async fn lease(&self, target: &TargetId, intention: Seq, now: Timestamp, until: Timestamp) -> PortResult<bool>;
    /// Gives a lease back.
    async fn end_lease(&self, target: &TargetId, intention: Seq) -> PortResult<()>;
    /// How far a reader of the ledger came.
    async fn cursor(&self, reader: &str, target: &TargetId) -> PortResult<Seq>;
    /// Moves a reader's cursor forward.
    async fn set_cursor(&self, reader: &str, target: &TargetId, at: Seq) -> PortResult<()>;
}

/// A wake: look at this target at this moment. A hint; losing or doubling it changes nothing but time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// The target.
    pub target: TargetId,
    /// The ledger's version when it was sent: a wake of an older version re-arms nothing.
    pub version: Seq,
    /// Not before this moment.
    pub at: Timestamp,
}

/// A received wake with what acknowledges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The wake.
    pub wake: Wake,
    /// Names this delivery to the queue.
    pub receipt: String,
}

/// The queue of wakes: at least once, in no order.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends a wake that becomes visible at its moment.
    async fn send(&self, wake: Wake) -> PortResult<()>;
    /// Takes up to `most` visible wakes, waiting up to `wait` for the first. Not acknowledged ones come again.
    async fn receive(&self, most: usize, wait: Millis) -> PortResult<Vec<Received>>;
    /// The wake was acted on.
    async fn done(&self, receipt: &str) -> PortResult<()>;
}

/// Stored bytes by key: backups, evidence.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores bytes; with `only_new`, only if the key is absent (false if it was there). Durable when it returns.
    async fn put(&self, key: &str, bytes: &[u8], only_new: bool) -> PortResult<bool>;
    /// The bytes, verified against their checksum; none = absent.
    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>>;
    /// Keys with this prefix, sorted.
    async fn list(&self, prefix: &str) -> PortResult<Vec<String>>;
}

/// The image registry, and what it knows of scans.
#[async_trait]
pub trait Registry: Send + Sync {
    /// An image by digest; none = the registry does not have it.
    async fn image(&self, place: &Place, repository: &Repository, digest: &Digest) -> PortResult<Option<ImageFact>>;
    /// The digest a tag points at now.
    async fn tagged(&self, place: &Place, repository: &Repository, tag: &Tag) -> PortResult<Option<Digest>>;
    /// An image's scan.
    async fn scan(&self, place: &Place, repository: &Repository, digest: &Digest) -> PortResult<ScanFact>;
    /// All tags of a repository with their digests and push times, newest first, at most 1,000.
    async fn list(&self, place: &Place, repository: &Repository) -> PortResult<Vec<(Tag, Digest, Timestamp)>>;
}

/// The source repository: who wrote a commit, on which branch, what changed.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it knows of a commit; `since` is the live commit per service to compare with, `folders` the source
    /// folder per service. None = it does not know the commit (or no source is connected).
    async fn commit(
        &self,
        repository: Option<&str>,
        commit: &CommitSha,
        since: &BTreeMap<ServiceName, CommitSha>,
        folders: &BTreeMap<ServiceName, String>,
    ) -> PortResult<Option<CommitFacts>>;
}

/// What a fenced write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The object holds the value and this fence, by a read after the write.
    Done,
    /// Something else was found; nothing was changed.
    Drift(Found),
}

/// One manifest of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its kind, such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// YAML that can be applied again.
    pub yaml: String,
}

/// Objects of one kind that only who has the private key can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Their kind, such as `Secret`.
    pub kind: String,
    /// Their names, in the order in which they are inside.
    pub names: Vec<String>,
    /// The public key that they are encrypted to (age, X25519).
    pub recipient: String,
    /// An age file (age-encryption.org/v1, binary) of their YAML.
    pub bytes: Vec<u8>,
}

/// What a backup keeps of a place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// Everything that may lie open in the store.
    pub manifests: Vec<Manifest>,
    /// What may not.
    pub sealed: Vec<Sealed>,
    /// What the cluster says of it: of which moment each kind is, which images ran, what was left out and why. In the
    /// adapter's own form, kept as it is in the index.
    pub about: Option<serde_json::Value>,
}

/// How to reach a cluster's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its URL, `https://…`.
    pub url: String,
    /// Its certificate authority, PEM: the only one that is trusted there.
    pub authority: Vec<u8>,
}

/// What proves who asks, for a time.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// What is sent as `Authorization: Bearer`.
    pub token: SecretString,
    /// From this moment a new one is asked for. None = it does not end.
    pub renew_at: Option<Timestamp>,
}

/// Endpoint, certificate authority and token of the clusters of places, such as those of EKS. Not the engine's own need:
/// a cluster's adapter asks it of the adapter of whoever runs the clusters, and neither knows the other.
///
/// Both are asked for rarely: the endpoint once in a client's life, a token when the one before it is due.
#[async_trait]
pub trait Access: Send + Sync {
    /// Where the place's cluster is.
    async fn endpoint(&self, place: &Place) -> PortResult<Endpoint>;
    /// A token for it.
    async fn bearer(&self, place: &Place) -> PortResult<Bearer>;
}

/// What given manifests come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bundled {
    /// Hash of what would be applied, as [`Cluster::manifests`] takes it of what is live.
    pub hash: Digest,
    /// Whether it is anything else than what is live.
    pub differs: bool,
    /// Whether a Service can be made from them.
    pub serves: bool,
}

/// What a test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestResult {
    /// It passed; one line of evidence.
    Passed(String),
    /// It failed, and why.
    Failed(String),
    /// It is still running: ask again.
    Running,
}

const TAKES_NONE: &str = "this cluster takes no manifests";

/// The cluster that a target runs on.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// All objects of these services, absent ones as [`Found::default`]; every part of every service is in it.
    async fn observe(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>>;
    /// Hash of each service's manifest as it would be applied, without digest and replicas.
    async fn manifests(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>>;
    /// Writes one object under a fence, by DESIGN section 1's protocol: reads; accepts only a state in `write.from`
    /// whose fence is lower than `fence` (or its own earlier write, which is written again); changes value and fence in one atomic
    /// step conditional on what was read; reads back.
    async fn write(&self, target: &TargetId, place: &Place, write: &Write, fence: &Fence) -> PortResult<Written>;
    /// What the manifests that were given with a commit come to, and into `objects` what that changes of what was
    /// observed: what is not there yet can be made from them. Fails for what could not be applied.
    async fn bundles(
        &self,
        target: &TargetId,
        _place: &Place,
        _texts: &BTreeMap<ServiceName, String>,
        _objects: &mut BTreeMap<ObjectKey, Found>,
    ) -> PortResult<BTreeMap<ServiceName, Bundled>> {
        Err(PortError::new(format!("reading the manifests given for {target}"), TAKES_NONE))
    }
    /// The same as [`Cluster::write`] for a workload that is made from these manifests.
    async fn write_from(
        &self,
        _target: &TargetId,
        _place: &Place,
        write: &Write,
        _fence: &Fence,
        _text: &str,
    ) -> PortResult<Written> {
        Err(PortError::new(format!("making {}", write.object), TAKES_NONE))
    }
    /// How many more pods of the size of these services' the place has room for; none = the cluster does not say.
    async fn room(&self, _target: &TargetId, _place: &Place) -> PortResult<Option<u32>> {
        Ok(None)
    }
    /// One look at a workload, by an observation made now (after the write that `ask` names).
    async fn look(&self, target: &TargetId, place: &Place, ask: &AwaitReady) -> PortResult<Found>;
    /// Every manifest of the place. Secrets are in it only encrypted, to the public key in `secrets` (age, X25519);
    /// none = they are left out. Fails rather than leave out what a release cannot be brought back without.
    async fn export(&self, target: &TargetId, place: &Place, secrets: Option<&str>) -> PortResult<Exported>;
    /// Runs a test, or looks at the one that runs: named by target and intention, so that repeating adopts it.
    async fn test(
        &self,
        target: &TargetId,
        place: &Place,
        intention: Seq,
        test: &Test,
        against: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult>;
}

/// Measured traffic and alarms.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// One window; a service or metric without data is absent from it, never zero.
    async fn measure(
        &self,
        target: &TargetId,
        place: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, portcullis_domain::action::Window>>;
    /// How long after a window's end its data can be trusted to be there.
    fn settle(&self) -> Millis;
    /// The alarms that match these patterns, with their state. One whose actions are suppressed is told as
    /// `InsufficientData`: it exists, and must neither roll back nor count as well.
    async fn alarms(&self, place: &Place, patterns: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>>;
}

/// The clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Waits until this moment.
    async fn sleep_until(&self, at: Timestamp);
}

/// The policies in force: one per target.
pub trait Policies: Send + Sync {
    /// The effective policy of a target.
    fn get(&self, target: &TargetId) -> Option<SealedPolicy>;
    /// All of them.
    fn all(&self) -> Vec<SealedPolicy>;
}

/// Where notices go. A notice may come twice; it says which event it is of.
#[async_trait]
pub trait Notices: Send + Sync {
    /// Tells one event of a target, with the state after it.
    async fn tell(&self, notice: &Notice) -> PortResult<()>;
}

/// One thing to tell.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The target.
    pub target: TargetId,
    /// The event.
    pub event: portcullis_domain::event::Event,
}

/// All ports together, as the engine is given them.
#[derive(Clone)]
pub struct Ports {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The blobs.
    pub blobs: Arc<dyn Blobs>,
    /// The registry.
    pub registry: Arc<dyn Registry>,
    /// The source repository.
    pub source: Arc<dyn Source>,
    /// The cluster.
    pub cluster: Arc<dyn Cluster>,
    /// Metrics and alarms.
    pub metrics: Arc<dyn Metrics>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The policies.
    pub policies: Arc<dyn Policies>,
}
