//! The effective policy of one target: typed, validated data. Text, files and error positions are the policy crate's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::switching::{ALL_TRAFFIC, Colour, Strategy, TrafficBy, percent};
pub use crate::threshold::{Comparison, HoldFor, Metric, Trigger, Unit};

use crate::calendar::Calendar;
use crate::digest::{Digest, FieldHasher};
use crate::names::{
    CommitSha, EnvName, GroupName, Identity, ObjectName, Repository, ServiceName, Subject, Tag, TargetId,
};
use crate::rules::{self, Compiled, Rule};
use crate::tags::TagPattern;
use crate::time::{Millis, Timestamp};

/// Everything that judges a release of one target. Frozen in the ledger when a release makes its first change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// The target it is for.
    pub target: TargetId,
    /// How much Portcullis does there.
    pub mode: Mode,
    /// Where it runs.
    pub place: Place,
    /// The source repository, such as `github.com/volteryde/volteryde`; none = not named.
    pub source: Option<String>,
    /// The services, each wave after the one before it; within a wave by name.
    pub services: Vec<Service>,
    /// How a tag names its commit, first match wins.
    pub tags: Vec<TagPattern>,
    /// Which pushes open a release here.
    pub intake: Intake,
    /// What must hold at a commit point.
    pub gates: Gates,
    /// How new digests take over.
    pub strategy: Strategy,
    /// Tests of green before it serves, in order.
    pub verify: Vec<Test>,
    /// How long backups are kept.
    pub backup_keep: Millis,
    /// The watch after the switch, until live.
    pub watch: Watch,
    /// The way back.
    pub roll_back: RollBack,
    /// What happens when several releases wait.
    pub waiting: Waiting,
    /// Time limits of the steps.
    pub limits: Limits,
    /// How many rollbacks are too many.
    #[serde(default)]
    pub governor: Governor,
    /// Where the metrics of its watches come from. Not written where it is the default, as `publish`: policies from
    /// before there was a choice keep their hash.
    #[serde(default, skip_serializing_if = "MetricsFrom::is_local")]
    pub metrics_from: MetricsFrom,
    /// The CloudWatch namespace that its deployments are counted in; none = they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<String>,
    /// What moves traffic from one colour to the other. Not written where it is the default, as `backup_secrets`.
    #[serde(default, skip_serializing_if = "TrafficBy::is_selector")]
    pub traffic: TrafficBy,
    /// The age recipient (an X25519 public key, `age1` and 58 characters) that Secrets in backups are encrypted to;
    /// none = backups have no Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_secrets: Option<String>,
    /// The people this target's rules speak of, with their accounts elsewhere.
    pub people: BTreeMap<Subject, BTreeSet<Identity>>,
    /// The groups this target's rules speak of.
    pub groups: BTreeMap<GroupName, BTreeSet<Subject>>,
}

/// How much Portcullis does in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Records what it would have done.
    Observe,
    /// Judges the gates, watches and rolls back what others deploy.
    Gate,
    /// Does everything.
    Deploy,
}

/// Where the metrics of a watch come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsFrom {
    /// The local cluster's own.
    #[default]
    Local,
    /// Application Load Balancers, by their metrics in CloudWatch.
    Alb,
}

impl MetricsFrom {
    /// Whether it is the default, which is not written.
    pub fn is_local(&self) -> bool {
        *self == MetricsFrom::Local
    }
}

/// Where a target runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The AWS account's 12 digits; none = not on AWS.
    pub account: Option<String>,
    /// The AWS region, such as `us-east-1`.
    pub region: Option<String>,
    /// The role assumed there.
    pub role: Option<String>,
    /// The EKS cluster's name, or a kubeconfig context.
    pub cluster: String,
    /// The Kubernetes namespace.
    pub namespace: String,
}

/// One service of the application.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The repository its images are pushed to.
    pub repository: Repository,
    /// The folder of the source it is built from; none = every commit builds it.
    pub source: Option<String>,
    /// From its `after:` graph: wave 0 comes up and switches first.
    pub wave: u16,
    /// Services that come up before it.
    pub after: Vec<ServiceName>,
    /// Whether requests reach it.
    pub kind: ServiceKind,
}

/// Whether requests reach a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// It has a Service in front; a switch moves its traffic.
    Serving,
    /// A worker: it starts serving when it starts. `overlap`: whether old and new may run at once.
    Worker {
        /// Whether old and new workers may run at the same time.
        overlap: bool,
    },
}

impl Service {
    /// Whether it is a worker.
    pub fn is_worker(&self) -> bool {
        matches!(self.kind, ServiceKind::Worker { .. })
    }

    /// The name of its Deployment of this colour. `None` if that would be too long for a cluster name.
    pub fn workload_name(&self, colour: Colour) -> Option<ObjectName> {
        ObjectName::new(&format!("{}-{colour}", self.name)).ok()
    }
}

/// Which pushes open a release in this environment. A person always can.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intake {
    /// Commits of this branch.
    pub branch: Option<String>,
    /// Images that this moving tag was put on. Only says *where*; the digest is what is released.
    pub moving_tag: Option<Tag>,
}

/// What must hold at a commit point, beside what every release must have (images by digest, a backup, a plan).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gates {
    /// The image scan; none = no scan asked for.
    pub scan: Option<ScanRule>,
    /// Each entry a quorum, all needed.
    pub approvals: Vec<Quorum>,
    /// The text a person must type who starts a release.
    pub typed_confirmation: Option<String>,
    /// How long a release waits for its gates.
    pub expire: Millis,
    /// When a waiting release is brought to mind again.
    pub remind: Millis,
    /// The environment that the same thing must have been verified in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<Promotion>,
    /// When releases may begin.
    #[serde(default, skip_serializing_if = "Calendar::is_empty")]
    pub calendar: Calendar,
    /// The user's own rules, each by its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Who may skip a gate together, each with a reason; none = nobody. At least two people, whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<Quorum>,
}

impl Gates {
    /// No gate of the policy's own: what every release must have still holds.
    pub fn none(expire: Millis, remind: Millis) -> Self {
        Self {
            scan: None,
            approvals: Vec::new(),
            typed_confirmation: None,
            expire,
            remind,
            promoted_from: None,
            calendar: Calendar::default(),
            rules: Vec::new(),
            break_glass: None,
        }
    }
}

/// What must have been verified live in another environment first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promotion {
    /// The other environment, of the same application.
    pub environment: EnvName,
    /// What must be the same there.
    pub same: Same,
    /// So long ago at most; none = whenever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Millis>,
}

/// What must be the same for a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Same {
    /// The very images.
    Digests,
    /// The weaker one: images built from the same source tree.
    SourceTree,
}

/// How many rollbacks are too many: then the line stops, and a person is asked. None is ever refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Governor {
    /// So many automatic rollbacks of one environment stop its line. At least 1.
    pub rollbacks: u8,
    /// Counted over this time.
    pub within: Millis,
    /// So many environments that roll back by themselves stop every line: probably infrastructure, not code.
    pub fleet: u8,
    /// Counted over this time.
    pub fleet_within: Millis,
}

impl Default for Governor {
    fn default() -> Self {
        Self { rollbacks: 3, within: Millis::hours(1), fleet: 5, fleet_within: Millis::minutes(10) }
    }
}

/// `1 of release-managers`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Quorum {
    /// So many different people, at least 1.
    pub count: u8,
    /// Of this group.
    pub group: GroupName,
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.group)
    }
}

/// The image scan's rule. A severity that is not named is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanRule {
    /// What a finding of a severity means.
    pub severities: BTreeMap<Severity, ScanAction>,
    /// A scan older than this does not count.
    pub max_age: Millis,
    /// A scan that is complete for less than this does not count yet: findings may come seconds after.
    #[serde(default)]
    pub settle: Millis,
    /// Findings that do not count, each for a time.
    pub waivers: Vec<Waiver>,
}

/// What a finding of a severity means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanAction {
    /// More than this many block the release (`block` = 0).
    Block {
        /// So many are still allowed.
        above: u32,
    },
    /// More than this many need an approval of the group beside the others.
    Review {
        /// So many need no review.
        above: u32,
        /// Who reviews; `1 of GROUP`.
        by: GroupName,
    },
}

/// The severity of a finding, as ECR and Inspector name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Critical.
    Critical,
    /// High.
    High,
    /// Medium.
    Medium,
    /// Low.
    Low,
    /// Informational.
    Informational,
    /// Not rated (ECR `UNDEFINED`, Inspector `UNTRIAGED`).
    Undefined,
}

impl Severity {
    /// All, worst first.
    pub const ALL: [Severity; 6] = [
        Severity::Critical,
        Severity::High,
        Severity::Medium,
        Severity::Low,
        Severity::Informational,
        Severity::Undefined,
    ];
}
impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Critical => "critical",
            Severity::High => "high",
            Severity::Medium => "medium",
            Severity::Low => "low",
            Severity::Informational => "informational",
            Severity::Undefined => "undefined",
        })
    }
}

/// One finding that does not count for a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Waiver {
    /// The vulnerability's id, such as `CVE-2026-1234`.
    pub id: String,
    /// Why it does not count.
    pub reason: String,
    /// From this moment it counts again.
    pub until: Timestamp,
}

/// A test of the new colour before it serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Test {
    /// Its name under `tests:`.
    pub name: String,
    /// What is done.
    pub kind: TestKind,
    /// The time limit.
    pub within: Millis,
    /// What follows when it fails. Not written where it stops the release: policies from before there was a choice keep
    /// their hash.
    #[serde(default, skip_serializing_if = "OnFailure::is_stop")]
    pub on_failure: OnFailure,
}

/// What follows when a test fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The release is undone.
    #[default]
    Stop,
    /// It is told, and the release goes on.
    Continue,
}

impl OnFailure {
    /// Whether it is the default, which is not written.
    pub fn is_stop(&self) -> bool {
        *self == OnFailure::Stop
    }
}

/// What a test does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestKind {
    /// Each path answers with a status from 200 to 299, on every service with traffic.
    Http {
        /// Paths such as `/health`.
        paths: Vec<String>,
    },
    /// A Job made from a suspended CronJob succeeds.
    Job {
        /// The CronJob's name.
        cronjob: ObjectName,
    },
}

/// The watch after the switch, until live.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Watch {
    /// So much healthy, contiguously measured time makes a release live.
    pub length: Millis,
    /// The length of one measured window.
    pub every: Millis,
    /// What must stay true until live, as its breach.
    pub healthy: Vec<Trigger>,
    /// Less traffic than this (thousandths of a request per second) is inconclusive.
    pub traffic: Option<u64>,
    /// How much longer than `length` an inconclusive watch may go on before a person is asked.
    pub extend: Millis,
    /// Patterns of alarms that roll back.
    pub alarms_roll_back: Vec<String>,
    /// Patterns of alarms that make a person look.
    pub alarms_ask: Vec<String>,
}

/// The way back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RollBack {
    /// So long after live a release may still be rolled back by itself.
    pub window: Millis,
    /// So long after live the old colour stays up.
    pub keep_old: Millis,
    /// What undoes a release at any time inside the window.
    pub when: Vec<Trigger>,
    /// Failing readiness for so long undoes a release.
    pub health_failing_for: Option<Millis>,
    /// A finding of this severity or worse in what is live, that was not known when it was released, undoes it,
    /// if what served before is free of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vulnerability: Option<Severity>,
}

/// What happens when several releases wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Waiting {
    /// The newest replaces those waiting, until one has its first approval; from then newer ones queue behind it.
    Newest,
    /// All wait, oldest first.
    Queue,
}

/// Time limits of the steps. At each one a release is undone, expires, or asks a person; never waits unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// For all images of a commit to arrive.
    pub gather: Millis,
    /// For the backup.
    pub backup: Millis,
    /// For a colour to become ready.
    pub ready: Millis,
    /// For one write or read to the cluster to be seen done.
    pub write: Millis,
    /// For a person to act before they are reminded louder.
    pub escalate: Millis,
    /// Between two looks at a gate's facts.
    pub look: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            gather: Millis::hours(2),
            backup: Millis::minutes(10),
            ready: Millis::minutes(10),
            write: Millis::minutes(2),
            escalate: Millis::minutes(15),
            look: Millis::minutes(1),
        }
    }
}

impl Policy {
    /// The hash of everything in it: what a plan binds to.
    pub fn hash(&self) -> Digest {
        let mut hasher = FieldHasher::new("portcullis policy 1");
        // A struct of plain data always serialises; were it not to, the empty field would still differ by purpose.
        hasher.field(&serde_json::to_vec(self).unwrap_or_default());
        hasher.finish()
    }

    /// The service fed by this repository. Repositories are unique within a policy.
    pub fn service_of(&self, repository: &Repository) -> Option<&Service> {
        self.services.iter().find(|service| service.repository == *repository)
    }

    /// The service of this name.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// The commit a tag names, by the first pattern that matches.
    pub fn commit_of(&self, tag: &Tag) -> Option<CommitSha> {
        self.tags.iter().find_map(|pattern| pattern.commit(tag))
    }

    /// The person whose account this is. Senders do not agree on upper and lower case, and none of them tells two
    /// people apart by it.
    pub fn resolve(&self, identity: &Identity) -> Option<&Subject> {
        let same = |account: &Identity| account.as_str().eq_ignore_ascii_case(identity.as_str());
        self.people.iter().find(|(_, accounts)| accounts.iter().any(same)).map(|(subject, _)| subject)
    }

    /// The number of waves.
    pub fn waves(&self) -> u16 {
        self.services.iter().map(|service| service.wave + 1).max().unwrap_or(0)
    }

    /// The environment's name.
    pub fn environment(&self) -> &EnvName {
        &self.target.env
    }
}

/// A policy with its hash, computed once, and its rules, read when they are first asked.
#[derive(Debug, Clone)]
pub struct SealedPolicy {
    policy: std::sync::Arc<Policy>,
    hash: Digest,
    /// Follows from the policy: no part of what makes two of them equal.
    rules: std::sync::Arc<std::sync::OnceLock<Result<Compiled, String>>>,
}

impl PartialEq for SealedPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.policy == other.policy
    }
}
impl Eq for SealedPolicy {}
impl std::hash::Hash for SealedPolicy {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl SealedPolicy {
    /// Computes the hash.
    pub fn new(policy: Policy) -> Self {
        Self::from_arc(std::sync::Arc::new(policy))
    }

    /// Computes the hash of a shared policy.
    pub fn from_arc(policy: std::sync::Arc<Policy>) -> Self {
        let hash = policy.hash();
        Self { policy, hash, rules: std::sync::Arc::default() }
    }

    /// The hash of the policy.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The policy, to share.
    pub fn share(&self) -> std::sync::Arc<Policy> {
        self.policy.clone()
    }

    /// The user's own rules, read and validated once for all clones; or why they could not be, which holds every
    /// release.
    pub fn rules(&self) -> &Result<Compiled, String> {
        self.rules.get_or_init(|| rules::compile(&self.gates.rules).map_err(|error| error.to_string()))
    }
}
impl std::ops::Deref for SealedPolicy {
    type Target = Policy;
    fn deref(&self) -> &Policy {
        &self.policy
    }
}
