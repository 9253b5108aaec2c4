//! What the HTTP API says and takes, and what every screen is made from. JSON, `snake_case`, milliseconds since 1970.

mod ask;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::Bundle;
use portcullis_domain::digest::Digest;
use portcullis_domain::event::Event;
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::{AlarmName, CommitSha, ReleaseId, Seq, ServiceName, Subject, TargetId};
use portcullis_domain::plan::PlanId;
use portcullis_domain::policy::{Mode, Policy, Strategy};
use portcullis_domain::scope::{Scope, Stop};
use portcullis_domain::target::{Phase, Release, Serving};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::Judgement;
use serde::{Deserialize, Serialize};

pub(crate) use self::ask::{Answered, Ask, Asked, MOST_WORDS, StopAsk, StopWords};

/// One service's manifests that were given with a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenManifests {
    /// The service.
    pub(crate) service: ServiceName,
    /// Hash of their text.
    pub(crate) hash: Digest,
    /// Whether they were given by this very request; none = they were only asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) new: Option<bool>,
}

impl GivenManifests {
    /// What was found in the store.
    pub(crate) fn of(found: BTreeMap<ServiceName, (Bundle, String)>) -> Vec<Self> {
        let one = |(service, (bundle, _)): (_, (Bundle, _))| Self { service, hash: bundle.hash, new: None };
        found.into_iter().map(one).collect()
    }
}

/// Where a release is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Its images come in.
    Gathering,
    /// Its gates are judged.
    Gated,
    /// The gates held; somebody else deploys it.
    Cleared,
    /// The namespace is backed up.
    BackingUp,
    /// The new colour comes up.
    Deploying,
    /// The tests run.
    Verifying,
    /// Traffic moves.
    Switching,
    /// It serves and is watched.
    Watching,
    /// It was verified live and serves.
    Live,
    /// What served before is brought back.
    RollingBack,
    /// A person is needed.
    NeedsHelp,
    /// What served before serves again.
    RolledBack,
    /// It was live until a later one was.
    Replaced,
    /// A gate blocked it, or a person vetoed it.
    Rejected,
    /// Images, approvals or another gate did not come in time.
    Expired,
    /// A newer one took its place before it began.
    Superseded,
    /// A person gave it up.
    Cancelled,
    /// The gates held; in `observe` mode nothing is done.
    Observed,
    /// It failed before it changed anything that serves.
    Failed,
    /// A person took what was on the cluster as it was.
    Resolved,
}

impl State {
    /// Every state, in the order of a life.
    pub(crate) const ALL: [State; 20] = [
        State::Gathering,
        State::Gated,
        State::Cleared,
        State::BackingUp,
        State::Deploying,
        State::Verifying,
        State::Switching,
        State::Watching,
        State::Live,
        State::RollingBack,
        State::NeedsHelp,
        State::RolledBack,
        State::Replaced,
        State::Rejected,
        State::Expired,
        State::Superseded,
        State::Cancelled,
        State::Observed,
        State::Failed,
        State::Resolved,
    ];

    /// As the API writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Gathering => "gathering",
            State::Gated => "gated",
            State::Cleared => "cleared",
            State::BackingUp => "backing_up",
            State::Deploying => "deploying",
            State::Verifying => "verifying",
            State::Switching => "switching",
            State::Watching => "watching",
            State::Live => "live",
            State::RollingBack => "rolling_back",
            State::NeedsHelp => "needs_help",
            State::RolledBack => "rolled_back",
            State::Replaced => "replaced",
            State::Rejected => "rejected",
            State::Expired => "expired",
            State::Superseded => "superseded",
            State::Cancelled => "cancelled",
            State::Observed => "observed",
            State::Failed => "failed",
            State::Resolved => "resolved",
        }
    }

    /// The state of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more will happen to it by itself.
    pub(crate) fn is_settled(self) -> bool {
        self >= State::RolledBack || self == State::Live
    }
}

impl From<Phase> for State {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Gathering => State::Gathering,
            Phase::Gated => State::Gated,
            Phase::Cleared => State::Cleared,
            Phase::BackingUp => State::BackingUp,
            Phase::Deploying { .. } => State::Deploying,
            Phase::Verifying => State::Verifying,
            Phase::Switching { .. } => State::Switching,
            Phase::Watching => State::Watching,
            Phase::Live => State::Live,
            Phase::RollingBack => State::RollingBack,
            Phase::NeedsHelp => State::NeedsHelp,
        }
    }
}

/// A release in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReleaseSummary {
    /// Its number.
    pub(crate) id: ReleaseId,
    /// Where.
    pub(crate) target: TargetId,
    /// Where it is, or how it ended.
    pub(crate) state: State,
    /// The commit.
    pub(crate) commit: CommitSha,
    /// The commit's title, where known.
    pub(crate) title: Option<String>,
    /// Who asked for it; none = a push did.
    pub(crate) requested_by: Option<Subject>,
    /// When it was opened.
    pub(crate) opened_at: Timestamp,
    /// When its state last changed.
    pub(crate) changed_at: Timestamp,
    /// Forward steps are stopped.
    pub(crate) paused: bool,
    /// What it waits for, or why it ended, in one line.
    pub(crate) why: Option<String>,
    /// The plan that can be approved.
    pub(crate) plan: Option<PlanId>,
    /// Whether a person is asked something.
    pub(crate) asks: bool,
}

/// What of a policy is worth showing beside a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// How much Portcullis does there.
    pub(crate) mode: Mode,
    /// The watch's length.
    pub(crate) watch: Millis,
    /// How long a release may be rolled back by itself after live.
    pub(crate) window: Millis,
    /// Whether there is something to verify.
    pub(crate) verify: bool,
    /// Whether digests take over in the live Deployment instead of beside it.
    pub(crate) rolling: bool,
    /// The source folder per service, where it has one.
    pub(crate) sources: BTreeMap<ServiceName, String>,
    /// Who may skip gates together; none = nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) break_glass: Option<BreakGlass>,
}

/// Who may skip gates together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BreakGlass {
    /// So many people, at least two.
    pub(crate) count: u8,
    /// Of these.
    pub(crate) people: BTreeSet<Subject>,
}

impl From<&Policy> for Rules {
    fn from(policy: &Policy) -> Self {
        Self {
            mode: policy.mode,
            watch: policy.watch.length,
            window: policy.roll_back.window,
            verify: !policy.verify.is_empty(),
            rolling: policy.strategy == Strategy::Rolling,
            sources: policy
                .services
                .iter()
                .filter_map(|service| Some((service.name.clone(), service.source.clone()?)))
                .collect(),
            break_glass: policy.gates.break_glass.as_ref().map(|quorum| BreakGlass {
                count: quorum.count.max(2),
                people: policy.groups.get(&quorum.group).cloned().unwrap_or_default(),
            }),
        }
    }
}

/// Everything about one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReleaseDetail {
    /// It in one line.
    #[serde(flatten)]
    pub(crate) summary: ReleaseSummary,
    /// What its gates said last, with their evidence.
    pub(crate) gates: Option<Judgement>,
    /// What serves now in its environment.
    pub(crate) live: BTreeMap<ServiceName, Serving>,
    /// The alarms its environment's policy names.
    pub(crate) alarms: BTreeMap<AlarmName, AlarmFact>,
    /// Until when no write is made there.
    pub(crate) hands_off: Option<Timestamp>,
    /// Until when it may be rolled back by itself; none = it is not live, or its window is over.
    pub(crate) window_until: Option<Timestamp>,
    /// The rules it runs on, or would.
    pub(crate) rules: Option<Rules>,
    /// Its state as last known: for one that ended, just before its end.
    pub(crate) release: Release,
    /// Its events.
    pub(crate) ledger: Vec<Event>,
}

/// One environment in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetSummary {
    /// Which.
    pub(crate) target: TargetId,
    /// How much Portcullis does there; none = no policy that is known here names it.
    pub(crate) mode: Option<Mode>,
    /// The position of its last event.
    pub(crate) seq: Seq,
    /// What serves.
    pub(crate) live: BTreeMap<ServiceName, Serving>,
    /// The releases that are not settled, and the one that is live.
    pub(crate) releases: Vec<ReleaseSummary>,
    /// Alarms that ring.
    pub(crate) ringing: Vec<AlarmName>,
    /// Until when no write is made.
    pub(crate) hands_off: Option<Timestamp>,
    /// Digests that were rolled back.
    pub(crate) quarantine: BTreeMap<Digest, ReleaseId>,
    /// Why no release begins after too many rollbacks, until a person says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line_stopped: Option<String>,
    /// What serves and had something bad said of it after its release was over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) vulnerable: BTreeMap<ServiceName, Digest>,
    /// Stops in force that concern it.
    pub(crate) stops: Vec<StopAt>,
    /// Many environments rolled back at once: nothing begins here for a time; none = not so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fleet: Option<FleetHold>,
}

/// Many environments rolled back at once: probably infrastructure, not code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FleetHold {
    /// Which.
    pub(crate) environments: Vec<TargetId>,
    /// Within this time.
    pub(crate) within: Millis,
    /// When it ends by itself, if no more roll back.
    pub(crate) until: Timestamp,
}

/// A stop and where it applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StopAt {
    /// Where.
    pub(crate) scope: Scope,
    /// Who, why, until when.
    pub(crate) stop: Stop,
}

/// What an event came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventAnswer {
    /// It is of no concern here; recorded in log and counters only.
    Ignored(String),
    /// It is in the ledgers of these environments (of none if it was done before).
    Targets(Vec<TargetId>),
}

/// An error's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorAnswer {
    /// What was wrong, and what to do.
    pub(crate) error: String,
    /// The field that was wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) field: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back_from_their_names() {
        for state in State::ALL {
            assert_eq!(State::of_name(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), serde_json::json!(state.name()));
        }
    }
}
