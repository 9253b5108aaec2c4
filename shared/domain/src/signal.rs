//! Signals: facts from outside, normalised, already authenticated. Hints, until we looked ourselves.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::Outcome;
use crate::digest::Digest;
use crate::facts::{AlarmState, CommitFacts, ScanStatus};
use crate::names::{AlarmName, CommitSha, DeliveryId, ReleaseId, Repository, Seq, ServiceName, Subject, Tag, TargetId};
use crate::plan::PlanId;
use crate::policy::Severity;
use crate::time::Timestamp;

/// A fact from outside as its sender told it, before it is known which targets it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fact {
    /// The sender's id of this delivery; a redelivery has the same.
    pub delivery: DeliveryId,
    /// When the sender says it happened.
    pub at: Timestamp,
    /// The AWS account it came from, where it came from AWS.
    pub account: Option<String>,
    /// The AWS region.
    pub region: Option<String>,
    /// What happened.
    pub kind: FactKind,
}

/// What happened outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// An image was pushed (once per tag, or once without).
    ImagePushed {
        /// The repository with its registry host.
        repository: Repository,
        /// What was pushed.
        digest: Digest,
        /// The tag it was pushed under.
        tag: Option<Tag>,
    },
    /// An image was deleted.
    ImageDeleted {
        /// The repository with its registry host.
        repository: Repository,
        /// What was deleted.
        digest: Digest,
        /// The tag that was deleted.
        tag: Option<Tag>,
    },
    /// A scan says something of an image. Never believed when it is good news.
    ScanReported {
        /// The repository with its registry host.
        repository: Repository,
        /// The image.
        digest: Digest,
        /// The scan's state.
        status: ScanStatus,
        /// Findings by severity.
        counts: BTreeMap<Severity, u32>,
    },
    /// A scan's frequency changed for repositories: a reason to look again.
    ScanFrequencyChanged {
        /// The repositories.
        repositories: Vec<Repository>,
    },
    /// An alarm changed its state.
    AlarmChanged {
        /// Its name.
        alarm: AlarmName,
        /// The new state.
        state: AlarmState,
        /// When it changed, by the alarm's own clock.
        changed_at: Timestamp,
        /// The reason given, at most 500 characters.
        reason: String,
        /// Whether a composite alarm's actions are suppressed.
        suppressed: bool,
    },
}

/// What `decide` judges.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// An image of one of the target's services was pushed.
    Pushed(Pushed),
    /// An image of a release may be gone: a reason to look.
    ImageDeleted {
        /// The image.
        digest: Digest,
    },
    /// A scan said something: a reason to look, and a reason to hold if it is worse than what we know.
    ScanReported {
        /// The image.
        digest: Digest,
        /// The scan's state.
        status: ScanStatus,
        /// Findings by severity.
        counts: BTreeMap<Severity, u32>,
    },
    /// An alarm the target's policy names changed.
    Alarm {
        /// Its name.
        alarm: AlarmName,
        /// The new state.
        state: AlarmState,
        /// When it changed, by the alarm's own clock.
        changed_at: Timestamp,
        /// The reason given.
        reason: String,
        /// Whether its actions are suppressed.
        suppressed: bool,
    },
    /// A person wants something.
    Person {
        /// Who, signed in.
        who: Subject,
        /// What.
        command: Command,
    },
    /// What came of an intention.
    Outcome {
        /// The intention's position in the ledger.
        intention: Seq,
        /// What came of it.
        outcome: Outcome,
    },
    /// Time has passed, or something of the surroundings changed.
    Wake,
}

/// An image of one service was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pushed {
    /// The service.
    pub service: ServiceName,
    /// What was pushed.
    pub digest: Digest,
    /// The tag it came under.
    pub tag: Option<Tag>,
    /// The commit: from the tag, or from what the registry says of the digest.
    pub commit: CommitSha,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// What the source says of the commit, where it could be asked.
    pub facts: Option<CommitFacts>,
    /// Whether the push itself belongs here (branch or moving tag); else it only completes a release that is open.
    pub opens: bool,
}

/// What a person can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// Open a release of a commit, with the images given.
    Start {
        /// The commit.
        commit: CommitSha,
        /// The images, looked up in the registry by the shell.
        images: BTreeMap<ServiceName, (Digest, Option<Tag>)>,
        /// What the source says of it.
        facts: Option<CommitFacts>,
        /// The typed confirmation.
        typed: Option<String>,
        /// Why.
        reason: Option<String>,
        /// It can not be undone (a schema change): an automatic rollback becomes a question.
        forward_only: bool,
    },
    /// Approve a plan.
    Approve {
        /// The release.
        release: ReleaseId,
        /// The plan as shown.
        plan: PlanId,
        /// The typed confirmation.
        typed: Option<String>,
    },
    /// Veto a release.
    Reject {
        /// The release.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// Let traffic move, or let an inconclusive watch count as healthy.
    Promote {
        /// The release.
        release: ReleaseId,
    },
    /// Forward steps stop.
    Pause {
        /// The release.
        release: ReleaseId,
    },
    /// Forward steps go on.
    Resume {
        /// The release.
        release: ReleaseId,
    },
    /// Give a release up before it is live; what it changed is undone.
    Cancel {
        /// The release.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// Bring back what served before.
    RollBack {
        /// The release to be back at; none = the one before.
        to: Option<ReleaseId>,
        /// Why.
        reason: String,
    },
    /// Take an alarm that rings already as it is, for this release.
    AcceptAlarm {
        /// The release.
        release: ReleaseId,
        /// The alarm.
        alarm: AlarmName,
    },
    /// Every write stops until then; none = writes go on.
    HandsOff {
        /// Until when.
        until: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// A digest that was rolled back may be released again.
    LiftQuarantine {
        /// The digest.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// A release that needs help ends by taking what is on the cluster as it is.
    Resolve {
        /// Why.
        reason: String,
    },
    /// The old colour is no longer needed. Where it could not be let go until the window was over, it is left as it is.
    CloseWindow {
        /// Why.
        reason: String,
    },
    /// Skip gates of a release, together with another person who says the same.
    BreakGlass {
        /// The release.
        release: ReleaseId,
        /// The plan as shown.
        plan: PlanId,
        /// The gates, by their names.
        gates: BTreeSet<String>,
        /// Why.
        reason: String,
    },
    /// Releases may begin again after too many rollbacks.
    ResumeLine {
        /// Why.
        reason: String,
    },
    /// The ledger was restored: from now on its fences count as newer than all before.
    RaiseEpoch {
        /// Why.
        reason: String,
    },
}

/// A signal for one target, as `route` finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The target.
    pub target: TargetId,
    /// The signal.
    pub signal: Signal,
}
