//! Events: facts decided by us, appended to the ledger, never changed. The enum is the state machine's alphabet.

mod ending;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::ending::{End, Reason};
use crate::action::{Found, Intention, ObjectKey, Outcome};
use crate::digest::Digest;
use crate::facts::{AlarmFact, Artifact, CommitFacts, Facts};
use crate::names::{AlarmName, CommitSha, LedgerId, ReleaseId, Seq, ServiceName, Subject, Tag};
use crate::plan::{Plan, PlanId};
use crate::policy::{Policy, Severity};
use crate::protection::{Change, Protection};
use crate::target::{Phase, Serving, WatchState};
use crate::time::Timestamp;
use crate::verdict::Judgement;

/// One event at its place in its target's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// Its position; for an intention also its fence.
    pub seq: Seq,
    /// When it was decided.
    pub at: Timestamp,
    /// On whose word.
    pub actor: Actor,
    /// What was decided.
    #[serde(flatten)]
    pub what: What,
}

/// On whose word an event was decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Portcullis itself, following its policy.
    Portcullis,
    /// A fact from outside.
    Outside,
    /// A signed-in person.
    Person(Subject),
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum What {
    /// What served before Portcullis knew the target was read from the cluster: the baseline to return to.
    Adopted {
        /// The ledger's own name: part of every fence written from here on.
        ledger: LedgerId,
        /// What serves, per service.
        live: BTreeMap<ServiceName, Serving>,
        /// The objects as found.
        objects: BTreeMap<ObjectKey, Found>,
    },
    /// Somebody else changed what serves while no release was in flight. Recorded, not fought.
    LiveChangedOutside {
        /// What serves now, per changed service.
        live: BTreeMap<ServiceName, Serving>,
        /// The objects as found.
        objects: BTreeMap<ObjectKey, Found>,
    },
    /// A release was opened for a commit.
    Opened {
        /// Its number.
        release: ReleaseId,
        /// The commit.
        commit: CommitSha,
        /// When its first image was pushed.
        pushed_at: Timestamp,
        /// The person who started it; none = a push did.
        requested_by: Option<Subject>,
        /// Whether the typed confirmation was given.
        typed: bool,
        /// Why, in a person's words.
        reason: Option<String>,
        /// It can not be undone: an automatic rollback becomes a question.
        #[serde(default)]
        forward_only: bool,
        /// What the source said of the commit then.
        facts: Option<CommitFacts>,
        /// Until when all images must have come.
        gather_until: Timestamp,
    },
    /// An image joined a release.
    ImageAdded {
        /// The release.
        release: ReleaseId,
        /// The service.
        service: ServiceName,
        /// The image.
        artifact: Artifact,
    },
    /// A tag of an open release now points at another digest. Raised, never followed.
    TagMoved {
        /// The release.
        release: ReleaseId,
        /// The service.
        service: ServiceName,
        /// The tag.
        tag: Tag,
        /// The digest in the release.
        from: Digest,
        /// The digest the tag has now.
        to: Digest,
    },
    /// A commit that is older than one released, or was tried already: only a person releases it.
    Outdated {
        /// The commit.
        commit: CommitSha,
        /// The service whose image came.
        service: ServiceName,
        /// The image.
        digest: Digest,
        /// Why it is outdated.
        why: String,
    },
    /// All images are there; the gates are judged.
    Gathered {
        /// The release.
        release: ReleaseId,
        /// Until when the gates must have passed.
        until: Timestamp,
        /// When it is brought to mind.
        remind_at: Timestamp,
    },
    /// The facts of the gates, as fetched by ourselves, changed.
    FactsRead {
        /// The release.
        release: ReleaseId,
        /// The facts.
        facts: Arc<Facts>,
    },
    /// A hint from outside was worse than what we know: the release holds until we looked ourselves.
    Doubted {
        /// The release.
        release: ReleaseId,
        /// Why.
        why: String,
    },
    /// A plan was made; approvals of an older one no longer count.
    Planned {
        /// The release.
        release: ReleaseId,
        /// The plan.
        plan: Plan,
        /// Why a new one was needed.
        why: String,
    },
    /// The gates were judged, and say something new.
    Judged {
        /// The release.
        release: ReleaseId,
        /// The plan they were judged for.
        plan: PlanId,
        /// The whole tree.
        judgement: Judgement,
    },
    /// A person approved a plan.
    Approved {
        /// The release.
        release: ReleaseId,
        /// The plan.
        plan: PlanId,
        /// Who.
        who: Subject,
        /// Whether the typed confirmation was given with it.
        typed: bool,
    },
    /// A person would skip gates of a plan. With enough of them the gates are skipped.
    GlassBroken {
        /// The release.
        release: ReleaseId,
        /// The plan.
        plan: PlanId,
        /// The gates, by their names.
        gates: BTreeSet<String>,
        /// Who.
        who: Subject,
        /// Why.
        reason: String,
    },
    /// A waiting release was brought to mind.
    Reminded {
        /// The release.
        release: ReleaseId,
        /// When it is brought to mind again.
        next_at: Timestamp,
    },
    /// A person's command was not carried out.
    Refused {
        /// Who.
        who: Subject,
        /// What they asked for, in words.
        command: String,
        /// Why not, and what would help.
        why: String,
    },
    /// The first commit point: the gates held for this plan. Everything needed to return is frozen here.
    Began {
        /// The release.
        release: ReleaseId,
        /// The plan.
        plan: PlanId,
        /// The policy it runs on to its end.
        policy: Arc<Policy>,
        /// What serves now and will be returned to; empty = nothing to return to.
        before: BTreeMap<ServiceName, Serving>,
        /// The objects as last read.
        objects: BTreeMap<ObjectKey, Found>,
    },
    /// In `observe` and `gate` mode: the gates held; in `observe` this is where it ends.
    Cleared {
        /// The release.
        release: ReleaseId,
        /// The plan.
        plan: PlanId,
    },
    /// `gate` mode: what others deployed is this release. It is watched like one of ours.
    Arrived {
        /// The release.
        release: ReleaseId,
        /// What serves now.
        serving: BTreeMap<ServiceName, Serving>,
    },
    /// Something will be done outside. Carries everything; its position is its fence.
    Intended {
        /// The release.
        release: ReleaseId,
        /// What, where, until when.
        intention: Box<Intention>,
    },
    /// An intention has its outcome.
    Done {
        /// The release.
        release: ReleaseId,
        /// The intention.
        intention: Seq,
        /// What came of it.
        outcome: Box<Outcome>,
    },
    /// The release entered a phase.
    Entered {
        /// The release.
        release: ReleaseId,
        /// The phase.
        phase: Phase,
    },
    /// One window of a watch was measured.
    Measured {
        /// The release.
        release: ReleaseId,
        /// The watch after it.
        watch: WatchState,
        /// What it saw, in one line.
        saw: String,
    },
    /// An alarm the policy names changed.
    AlarmSeen {
        /// The alarm.
        alarm: AlarmName,
        /// Its state.
        fact: AlarmFact,
    },
    /// A person took an alarm that rings as it is.
    AlarmAccepted {
        /// The release.
        release: ReleaseId,
        /// The alarm.
        alarm: AlarmName,
    },
    /// An object was found in a state that the intention did not expect.
    Drifted {
        /// The release.
        release: ReleaseId,
        /// The object.
        object: ObjectKey,
        /// What was found.
        found: Found,
        /// Whether the value is one of ours (then we go on from it).
        ours: bool,
    },
    /// A person must look: something is inconclusive. Nothing moves until they do.
    Asked {
        /// The release.
        release: ReleaseId,
        /// What is asked.
        why: String,
        /// When they are reminded louder.
        until: Timestamp,
    },
    /// A person answered: go on.
    Promoted {
        /// The release.
        release: ReleaseId,
    },
    /// Forward steps stopped.
    Paused {
        /// The release.
        release: ReleaseId,
    },
    /// Forward steps go on.
    Resumed {
        /// The release.
        release: ReleaseId,
    },
    /// The way back began. From here no forward intention is appended.
    RollbackBegan {
        /// The release that is undone.
        release: ReleaseId,
        /// Why.
        why: Reason,
        /// The state to return to.
        to: BTreeMap<ServiceName, Serving>,
        /// Whether new code may have answered requests.
        #[serde(default)]
        served: bool,
    },
    /// One service needs no further step on the way back.
    ServiceBack {
        /// The release.
        release: ReleaseId,
        /// The service.
        service: ServiceName,
    },
    /// What served before serves again, and everything that the release may have touched is fenced.
    RolledBack {
        /// The release.
        release: ReleaseId,
        /// When traffic was back, before the clean-up.
        restored_at: Timestamp,
    },
    /// The watch ended well.
    WentLive {
        /// The release.
        release: ReleaseId,
        /// Until when it may still be rolled back by itself.
        window_until: Timestamp,
        /// Until when the old colour stays up.
        keep_old_until: Timestamp,
    },
    /// The old colour is no longer kept up.
    OldReleased {
        /// The release.
        release: ReleaseId,
    },
    /// The rollback window is over: the release leaves the state.
    WindowClosed {
        /// The release.
        release: ReleaseId,
    },
    /// The release ended without being live.
    Settled {
        /// The release.
        release: ReleaseId,
        /// How.
        end: End,
        /// Why, in one line.
        why: String,
    },
    /// A person is needed; traffic stays as it is.
    NeedsHelp {
        /// The release.
        release: ReleaseId,
        /// What is stuck on what, and the ways out.
        why: String,
        /// When they are reminded louder.
        until: Timestamp,
    },
    /// A person did not come in time: louder.
    Escalated {
        /// The release.
        release: ReleaseId,
        /// For what they are needed.
        why: String,
        /// How often it was said.
        level: u32,
        /// When it gets louder again.
        until: Timestamp,
    },
    /// A person takes what is on the cluster as it is; it is read to know what that is.
    ResolveAsked {
        /// The release.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// A person ended the time for which the old colour is kept; the way back is the slower one from now on.
    OldColourFreed {
        /// The release.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// A person took what is on the cluster as it is; the release ends.
    Resolved {
        /// The release.
        release: ReleaseId,
        /// What serves.
        live: BTreeMap<ServiceName, Serving>,
        /// The objects as found.
        objects: BTreeMap<ObjectKey, Found>,
        /// Why.
        reason: String,
    },
    /// Every write stops until then (none = writes go on).
    HandsOff {
        /// Until when.
        until: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// A digest may be released again.
    QuarantineLifted {
        /// The digest.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// A vulnerability was found in what this release serves, that was not known when its gates held.
    VulnerabilityFound {
        /// The release.
        release: ReleaseId,
        /// The service.
        service: ServiceName,
        /// The image.
        digest: Digest,
        /// What was found: its id, or a count where the scanner names none.
        finding: String,
        /// How bad.
        severity: Severity,
        /// Whether what served before has it too; none = nobody can say.
        before_has_it: Option<bool>,
    },
    /// The same in what serves after its release left the state: nothing is undone by itself any more.
    LiveVulnerable {
        /// The service.
        service: ServiceName,
        /// The image.
        digest: Digest,
        /// What is said of it.
        why: String,
    },
    /// Too many automatic rollbacks: no release begins until a person says so.
    LineStopped {
        /// Why.
        why: String,
    },
    /// A person let releases begin again.
    LineResumed {
        /// Why.
        reason: String,
    },
    /// The policy changed; what it loosens is named.
    PolicyChanged {
        /// The hash of the one before; none = the first one seen.
        from: Option<Digest>,
        /// The hash of the one in force.
        to: Digest,
        /// What protects the target by it.
        protection: Arc<Protection>,
        /// What changed in that.
        changes: Vec<Change>,
    },
    /// The ledger was restored; fences of older epochs count as older.
    EpochRaised {
        /// The new epoch.
        epoch: u32,
        /// Why.
        reason: String,
    },
}

impl What {
    /// The release it is about.
    pub fn release(&self) -> Option<ReleaseId> {
        use What as W;
        match self {
            W::Opened { release, .. }
            | W::ImageAdded { release, .. }
            | W::TagMoved { release, .. }
            | W::Gathered { release, .. }
            | W::FactsRead { release, .. }
            | W::Doubted { release, .. }
            | W::Planned { release, .. }
            | W::Judged { release, .. }
            | W::Approved { release, .. }
            | W::Reminded { release, .. }
            | W::GlassBroken { release, .. }
            | W::VulnerabilityFound { release, .. }
            | W::Began { release, .. }
            | W::Cleared { release, .. }
            | W::Arrived { release, .. }
            | W::ServiceBack { release, .. }
            | W::ResolveAsked { release, .. }
            | W::OldColourFreed { release, .. }
            | W::Intended { release, .. }
            | W::Done { release, .. }
            | W::Entered { release, .. }
            | W::Measured { release, .. }
            | W::AlarmAccepted { release, .. }
            | W::Drifted { release, .. }
            | W::Asked { release, .. }
            | W::Promoted { release }
            | W::Paused { release }
            | W::Resumed { release }
            | W::RollbackBegan { release, .. }
            | W::RolledBack { release, .. }
            | W::WentLive { release, .. }
            | W::OldReleased { release }
            | W::WindowClosed { release }
            | W::Settled { release, .. }
            | W::NeedsHelp { release, .. }
            | W::Escalated { release, .. }
            | W::Resolved { release, .. } => Some(*release),
            W::Adopted { .. }
            | W::LiveChangedOutside { .. }
            | W::Outdated { .. }
            | W::Refused { .. }
            | W::AlarmSeen { .. }
            | W::HandsOff { .. }
            | W::QuarantineLifted { .. }
            | W::LiveVulnerable { .. }
            | W::LineStopped { .. }
            | W::LineResumed { .. }
            | W::PolicyChanged { .. }
            | W::EpochRaised { .. } => None,
        }
    }

    /// Whether appending it passes a commit point or moves forward, and so needs the scopes to be unchanged.
    pub fn moves_forward(&self) -> bool {
        use crate::action::{Action, Purpose};
        match self {
            What::Began { .. } | What::Entered { phase: Phase::Deploying { .. } | Phase::Switching { .. }, .. } => true,
            What::Intended { intention, .. } => match &intention.action {
                // A mark leaves things as they are; it also comes before a state is taken as it is.
                Action::Write(write) => !matches!(write.purpose, Purpose::Restore | Purpose::Mark),
                _ => false,
            },
            _ => false,
        }
    }
}
