//! The state of one target: the fold of its ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::{Bundle, Fence, Found, Intention, ObjectKey, Stamp, Value};
use crate::digest::Digest;
use crate::event::Reason;
use crate::facts::{AlarmFact, Artifact, CommitFacts, Facts};
use crate::names::{AlarmName, CommitSha, LedgerId, ReleaseId, Seq, ServiceName, Subject, Tag};
use crate::plan::{Plan, PlanId};
use crate::policy::{Colour, Policy};
use crate::protection::Protection;
use crate::time::{Millis, Timestamp};
use crate::verdict::Judgement;

/// The state of one target. Everything `decide` and `next` know of the past is here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Target {
    /// The position of the last event.
    pub seq: Seq,
    /// The ledger's own name, from the first reading of the cluster on.
    pub ledger: Option<LedgerId>,
    /// Raised by a person after the ledger was restored.
    pub epoch: u32,
    /// At which positions it was raised, oldest first; those that lie before everything that is still meant are gone.
    #[serde(default)]
    pub raised: Vec<Seq>,
    /// Whether the baseline was read.
    pub adopted: bool,
    /// What serves now.
    pub live: BTreeMap<ServiceName, Serving>,
    /// What is known of each object on the cluster.
    pub objects: BTreeMap<ObjectKey, Known>,
    /// Releases that have not left the state: waiting, in flight, or live with an open window.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// The one in flight: between its first change and live, or rolling back, or needing help.
    pub in_flight: Option<ReleaseId>,
    /// The one that is live and may still be rolled back.
    pub live_release: Option<ReleaseId>,
    /// Intentions without outcome.
    pub outstanding: BTreeMap<Seq, Outstanding>,
    /// The last commits released or tried here, newest first, at most 50.
    pub commits: Vec<Tried>,
    /// Commits already recorded as outdated, at most 50.
    pub outdated: BTreeSet<CommitSha>,
    /// Digests that were rolled back, with the release, at most 200.
    pub quarantine: BTreeMap<Digest, ReleaseId>,
    /// Alarms that matched a pattern, at most 200.
    pub alarms: BTreeMap<AlarmName, AlarmFact>,
    /// Until when no write is made.
    pub hands_off: Option<Timestamp>,
    /// When automatic rollbacks of code that served began, newest last, at most 20.
    #[serde(default)]
    pub rollbacks: Vec<Timestamp>,
    /// Why no release begins, after too many rollbacks, until a person says so.
    #[serde(default)]
    pub line_stopped: Option<String>,
    /// Images that serve, whose release left the state, and of which something bad was said.
    #[serde(default)]
    pub vulnerable: BTreeMap<ServiceName, Digest>,
    /// The hash of the policy that was in force at the last event.
    #[serde(default)]
    pub policy: Option<Digest>,
    /// What protects the target by it.
    #[serde(default)]
    pub protection: Option<Arc<Protection>>,
    /// How long the last way back took, from its beginning until traffic was back.
    #[serde(default)]
    pub last_return: Option<Millis>,
    /// The last releases that ended, newest first, at most 10: what `rollback --to` can name.
    pub ended: Vec<Ended>,
}

/// A commit that was released or tried, for telling what is newer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tried {
    /// The commit.
    pub commit: CommitSha,
    /// When its first image was pushed.
    pub pushed_at: Timestamp,
    /// Its release.
    pub release: ReleaseId,
    /// Its ancestors, newest first; kept for the newest commit only.
    pub ancestors: Vec<CommitSha>,
}

/// A release that ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ended {
    /// The release.
    pub release: ReleaseId,
    /// The commit.
    pub commit: CommitSha,
    /// Whether it was verified live.
    pub verified: bool,
    /// When it ended, or went live.
    #[serde(default)]
    pub at: Timestamp,
    /// Its images.
    #[serde(default)]
    pub digests: BTreeMap<ServiceName, Digest>,
    /// The Git tree of its commit, where known.
    #[serde(default)]
    pub tree: Option<CommitSha>,
}

/// What serves for one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Serving {
    /// The image.
    pub digest: Digest,
    /// The colour whose pods serve.
    pub colour: Colour,
    /// How many were asked for.
    pub replicas: u32,
    /// The commit it was built from, where known.
    pub commit: Option<CommitSha>,
    /// A tag it was seen under.
    pub tag: Option<Tag>,
    /// The release that brought it; none = it was there at adoption, or somebody else did.
    pub release: Option<ReleaseId>,
}

/// What is known of one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Known {
    /// As last read or confirmed; none = absent.
    pub confirmed: Option<Stamp>,
    /// Values intended since, by their fence.
    pub meant: BTreeMap<Seq, Value>,
}

/// An intention without outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Outstanding {
    /// The release it belongs to.
    pub release: ReleaseId,
    /// The intention.
    pub intention: Arc<Intention>,
}

/// Where a release is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its images come in.
    Gathering,
    /// Its gates are judged.
    Gated,
    /// `gate` mode: the gates held; somebody else deploys it.
    Cleared,
    /// The namespace is backed up.
    BackingUp,
    /// The new colour comes up, wave by wave.
    Deploying {
        /// The wave, from 0.
        wave: u16,
    },
    /// The tests run.
    Verifying,
    /// Traffic moves, wave by wave.
    Switching {
        /// The step of the strategy, from 0.
        step: u16,
        /// The wave, from 0.
        wave: u16,
    },
    /// It serves, all or a step's share of the traffic, and is watched.
    Watching,
    /// It was verified live; its rollback window is open.
    Live,
    /// What served before is brought back.
    RollingBack,
    /// A person is needed.
    NeedsHelp,
}

impl Target {
    /// The epoch at a position of the ledger. What was intended before the epoch was raised keeps its own, whoever
    /// performs it, and whenever: two drivers, one of which knows of the new epoch, write the same fence.
    pub fn epoch_at(&self, seq: Seq) -> u32 {
        let since = self.raised.iter().rev().take_while(|raised| **raised > seq).count();
        self.epoch.saturating_sub(u32::try_from(since).unwrap_or(u32::MAX))
    }

    /// The fence that a write leaves which was intended at this position; none before the first reading of the cluster.
    pub fn fence_at(&self, seq: Seq) -> Option<Fence> {
        self.ledger.clone().map(|ledger| Fence { ledger, epoch: self.epoch_at(seq), seq })
    }

    /// Whether an object carries a fence of this ledger and epoch that this ledger never issued for it: then it was
    /// restored from a backup, and what was decided after that backup is lost.
    pub fn is_beyond(&self, ledger: &LedgerId, key: &ObjectKey, found: &Found) -> bool {
        let Some(fence) = found.stamp.as_ref().and_then(|stamp| stamp.fence.as_ref()) else { return false };
        if fence.ledger != *ledger || fence.epoch < self.epoch {
            return false;
        }
        let known = self.objects.get(key);
        let confirmed = known
            .and_then(|known| known.confirmed.as_ref()?.fence.as_ref())
            .filter(|confirmed| confirmed.ledger == *ledger)
            .map_or((0, Seq(0)), |confirmed| (confirmed.epoch, confirmed.seq));
        let meant =
            fence.epoch == self.epoch_at(fence.seq) && known.is_some_and(|known| known.meant.contains_key(&fence.seq));
        (fence.epoch, fence.seq) > confirmed && !meant
    }
}

impl Phase {
    /// Whether the release is between its first change and live (or not yet undone).
    pub fn in_flight(self) -> bool {
        !matches!(self, Phase::Gathering | Phase::Gated | Phase::Cleared | Phase::Live)
    }

    /// Whether it still moves forward.
    pub fn is_forward(self) -> bool {
        !matches!(self, Phase::RollingBack | Phase::NeedsHelp)
    }

    /// The phase's name without its numbers.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Gathering => "gathering",
            Phase::Gated => "gated",
            Phase::Cleared => "cleared",
            Phase::BackingUp => "backing_up",
            Phase::Deploying { .. } => "deploying",
            Phase::Verifying => "verifying",
            Phase::Switching { .. } => "switching",
            Phase::Watching => "watching",
            Phase::Live => "live",
            Phase::RollingBack => "rolling_back",
            Phase::NeedsHelp => "needs_help",
        }
    }
}

/// One release that has not left the state.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that was said of it, independent of the others")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Release {
    /// Its number.
    pub id: ReleaseId,
    /// The commit.
    pub commit: CommitSha,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// The person who started it; none = a push did.
    pub requested_by: Option<Subject>,
    /// Whether the typed confirmation was given.
    pub typed: bool,
    /// It can not be undone: an automatic rollback becomes a question.
    #[serde(default)]
    pub forward_only: bool,
    /// The manifests given with the commit, as they were when it began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bundles: BTreeMap<ServiceName, Bundle>,
    /// What the source said of the commit at the opening.
    pub commit_facts: Option<CommitFacts>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// Until when this phase may last, where it has a limit of its own.
    pub until: Option<Timestamp>,
    /// When a waiting release is brought to mind next.
    pub remind_at: Option<Timestamp>,
    /// Its images.
    pub artifacts: BTreeMap<ServiceName, Artifact>,
    /// Tags that moved to another digest while it was open.
    pub moved_tags: BTreeMap<ServiceName, Digest>,
    /// The facts of its gates.
    pub facts: Option<Arc<Facts>>,
    /// A hint that was worse than the facts, until we looked ourselves.
    pub doubt: Option<String>,
    /// The plan.
    pub plan: Option<Plan>,
    /// What the gates said last.
    pub judgement: Option<Judgement>,
    /// Approvals, of any plan of this release.
    pub approvals: Vec<Approval>,
    /// People who would skip gates, each for a plan.
    #[serde(default)]
    pub glass: Vec<Glass>,
    /// Ids of the findings that were known when its gates held, and of those that were asked about since; at most 200.
    #[serde(default)]
    pub findings: BTreeSet<String>,
    /// Alarms a person took as they are.
    pub accepted_alarms: BTreeSet<AlarmName>,
    /// Forward steps are stopped.
    pub paused: bool,
    /// A person let it go on.
    pub promoted: bool,
    /// The policy it runs on, from its first change.
    pub policy: Option<Arc<Policy>>,
    /// What served at its first change.
    pub before: BTreeMap<ServiceName, Serving>,
    /// Where its backup's index is.
    pub backup: Option<String>,
    /// How far each service is.
    pub progress: BTreeMap<ServiceName, Progress>,
    /// Tests that passed, or failed where that stops nothing.
    pub tests_passed: BTreeSet<String>,
    /// When the first intention that lets new code serve was appended.
    pub serving_since: Option<Timestamp>,
    /// The watch.
    pub watch: Option<WatchState>,
    /// The way back, once it began.
    pub rollback: Option<Rollback>,
    /// What a person is asked, and until when.
    pub asking: Option<Asking>,
    /// A person takes what is on the cluster as it is; why.
    pub resolving: Option<String>,
    /// When it went live.
    pub live_at: Option<Timestamp>,
    /// Until when the old colour stays up; none = it no longer does.
    pub keep_old_until: Option<Timestamp>,
}

/// Something a person is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asking {
    /// What.
    pub why: String,
    /// When it gets louder.
    pub until: Timestamp,
    /// How often it was said.
    pub level: u32,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Approval {
    /// The plan it is for.
    pub plan: PlanId,
    /// Who.
    pub who: Subject,
    /// When.
    pub at: Timestamp,
    /// Whether the confirmation text was typed.
    pub typed: bool,
}

/// One person who would skip gates of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Glass {
    /// The plan it is for.
    pub plan: PlanId,
    /// The gates, by their names.
    pub gates: BTreeSet<String>,
    /// Who.
    pub who: Subject,
    /// Why.
    pub reason: String,
}

/// How far a service is on its way forward.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// The colour that gets the new digest.
    pub colour: Colour,
    /// How many replicas it gets.
    pub replicas: u32,
    /// Whether this release changes it at all (a kept service is never touched).
    pub changes: bool,
    /// The step it is at.
    pub step: Step,
    /// Share of traffic on the new colour, of 10,000 (a worker: 10,000 once it runs).
    pub share: u16,
}

/// A service's step. A number is the intention that is outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nothing was intended yet.
    Idle,
    /// The new colour is being written.
    Deploying(Seq),
    /// Written; the number is the intention whose write readiness must come after.
    Deployed(Seq),
    /// Its readiness is awaited.
    Rising(Seq),
    /// It is ready (a worker: it is there, at 0 replicas).
    Up,
    /// The claim is being written.
    Claiming(Seq),
    /// Claimed by this intention.
    Claimed(Seq),
    /// Readiness after the claim is awaited.
    Confirming(Seq),
    /// Ready after the claim: traffic may move.
    Firm,
    /// Traffic is being moved (a worker: nothing; it serves once it is firm).
    Switching(Seq),
    /// Traffic is where this step of the strategy wants it.
    Switched,
    /// The old worker is being stopped.
    Stopping(Seq),
    /// The old worker was told to stop, by this intention.
    Stopped(Seq),
    /// The old worker's end is awaited.
    Ending(Seq),
    /// The old worker is gone; the new one may start.
    Clear,
}

/// The watch of a release.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct WatchState {
    /// When it began: anew at each step of the strategy.
    pub since: Timestamp,
    /// End of the last measured window; the next one begins here.
    pub measured_to: Timestamp,
    /// Healthy, contiguously measured time.
    pub healthy: Millis,
    /// Time that was measured and said nothing (no data, too little traffic).
    pub inconclusive: Millis,
    /// Requests counted in the measured windows until live, those of earlier steps too.
    pub requests: u64,
    /// Of them, failed (5xx).
    pub failed: u64,
    /// Triggers that breach at the moment.
    pub breaches: Vec<Breach>,
    /// Services not ready, with since when.
    pub unready: BTreeMap<ServiceName, Timestamp>,
}

/// A trigger that breaches at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Breach {
    /// The service.
    pub service: ServiceName,
    /// The trigger's index: `watch.healthy` first, then `roll_back.when`.
    pub trigger: u16,
    /// Consecutive data points so far.
    pub points: u16,
    /// Time they cover.
    pub time: Millis,
}

/// The way back of a release.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rollback {
    /// Why.
    pub why: Reason,
    /// When it began.
    pub since: Timestamp,
    /// The event that began it: every intention of the way back is later.
    pub seq: Seq,
    /// What is returned to.
    pub to: BTreeMap<ServiceName, Serving>,
    /// How far each service is on its way back.
    pub steps: BTreeMap<ServiceName, BackStep>,
    /// When traffic was back everywhere.
    pub restored_at: Option<Timestamp>,
    /// An object that holds what we never wrote: nothing moves until a person says what counts.
    pub stuck: Option<ObjectKey>,
}

/// A service's step on the way back. A number is the intention that is outstanding, or was last confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackStep {
    /// Nothing was intended yet.
    Idle,
    /// The new worker is being stopped first.
    Stopping(Seq),
    /// The new worker was told to stop.
    Stopped(Seq),
    /// The new worker's end is awaited.
    Ending(Seq),
    /// The new worker is gone.
    Clear,
    /// The old colour is being claimed (or the old digest written, when rolling).
    Claiming(Seq),
    /// Claimed by this intention.
    Claimed(Seq),
    /// Readiness after the claim is awaited.
    Confirming(Seq),
    /// The old colour is ready.
    Firm,
    /// Traffic is being moved back.
    Switching(Seq),
    /// Traffic is back.
    Back,
    /// The new colour is being scaled down.
    Draining(Seq),
    /// All is done for this service.
    Done,
}
