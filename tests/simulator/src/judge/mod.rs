//! What must be true of every seed: the invariants of the design, as far as they can be seen from outside.
//!
//! The ledger is read from its beginning, in the order in which things happened on the cluster beside it.

mod court;
mod end;

use std::collections::BTreeMap;

use portcullis_domain::event::{Event, What};
use portcullis_domain::names::{ReleaseId, Seq, TargetId};
use portcullis_domain::policy::Policy;
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::target::Target;
use portcullis_engine::codec;
use portcullis_engine::ports::Ledger;

use crate::line::{Outside, at_once};

/// The longest line of a story.
const MOST_LINE: usize = 300;

/// How a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// It was verified live, and its window closed or a newer one took its place.
    Live,
    /// What served before serves again, after it had been live.
    RolledBackFromLive,
    /// What served before serves again; it was never live.
    RolledBack,
    /// A gate blocked it, or a person vetoed it.
    Rejected,
    /// Its images or its gates did not come in time.
    Expired,
    /// A newer one took its place.
    Superseded,
    /// A person gave it up.
    Cancelled,
    /// A step before the first change failed.
    Failed,
    /// `observe`: it would have been released.
    Observed,
    /// A person took things as they were.
    Resolved,
    /// It waits for a person who does not come, and is asked for louder and louder.
    NeedsPerson,
}

impl Ending {
    /// All, in the order of the report.
    pub const ALL: [(Ending, &'static str); 11] = [
        (Ending::Live, "live"),
        (Ending::RolledBackFromLive, "rolled back from live"),
        (Ending::RolledBack, "rolled back"),
        (Ending::Rejected, "rejected"),
        (Ending::Expired, "expired"),
        (Ending::Superseded, "superseded"),
        (Ending::Cancelled, "cancelled"),
        (Ending::Failed, "failed before a change"),
        (Ending::Observed, "observed"),
        (Ending::Resolved, "resolved by a person"),
        (Ending::NeedsPerson, "waits for a person"),
    ];
}

/// How often something was reached, by its name: a world in which nothing happens proves nothing.
pub type Reached = BTreeMap<&'static str, u64>;

/// What the judgement says.
pub(crate) struct Judged {
    pub(crate) failure: Option<String>,
    pub(crate) story: String,
    pub(crate) endings: Vec<(ReleaseId, Ending)>,
    pub(crate) reached: Reached,
    pub(crate) appended: u64,
}

/// The state in the head, read without any line in between.
pub(crate) fn head(outside: &Outside, target: &TargetId) -> Option<Target> {
    let head = at_once(outside.ledger.head(target))?.ok()??;
    codec::decode_head(&head.snapshot).ok()
}

/// Whether a stop stands on any of these scopes, whether or not it has run out.
pub(crate) fn stops(outside: &Outside, scopes: &[Scope]) -> bool {
    let states: Vec<ScopeState> = at_once(outside.ledger.scopes(scopes)).and_then(Result::ok).unwrap_or_default();
    states.iter().any(|state| state.stop.is_some())
}

/// Judges a run that has ended.
pub(crate) fn judge(outside: &Outside, policy: &Policy, deserted: bool) -> Judged {
    let commits = at_once(outside.ledger.commits(&policy.target, Seq(0), usize::MAX));
    let commits = commits.and_then(Result::ok).unwrap_or_default();
    let mut court = court::Court::new(outside, policy);
    let failure = court.hear(&commits).and_then(|()| end::judge(&mut court, deserted)).err();
    let story = if failure.is_some() { story(&court.events) } else { String::new() };
    let endings = court.endings();
    Judged { failure, story, endings, reached: reached(&court.events), appended: court.events.len() as u64 }
}

fn reached(events: &[Event]) -> Reached {
    let mut reached = Reached::new();
    for event in events {
        let name = match &event.what {
            What::Began { .. } => "began",
            What::Entered { phase, .. } => phase.name(),
            What::WentLive { .. } => "live",
            What::RollbackBegan { .. } => "rollback began",
            What::Drifted { ours: true, .. } => "drifted, ours",
            What::Drifted { ours: false, .. } => "drifted, not ours",
            What::NeedsHelp { .. } => "needs help",
            What::Asked { .. } => "asked",
            What::Escalated { .. } => "escalated",
            What::Refused { .. } => "refused",
            What::Outdated { .. } => "outdated",
            What::LiveChangedOutside { .. } => "live changed outside",
            What::Paused { .. } => "paused",
            What::HandsOff { until: Some(_), .. } => "hands off",
            What::OldReleased { .. } => "old colour released",
            What::EpochRaised { .. } => "epoch raised",
            What::GlassBroken { .. } => "glass broken",
            What::LineStopped { .. } => "line stopped",
            What::LineResumed { .. } => "line resumed",
            _ => continue,
        };
        *reached.entry(name).or_default() += 1;
    }
    reached
}

/// The ledger as one line per event.
fn story(events: &[Event]) -> String {
    let lines = events.iter().map(|event| {
        let what = match &event.what {
            What::Judged { judgement, .. } => judgement.gates.iter().fold("Judged".to_owned(), |line, gate| {
                format!("{line} | {} {}: {}", gate.gate, gate.verdict, gate.why)
            }),
            what => format!("{what:?}"),
        };
        let short: String = what.chars().take(MOST_LINE).collect();
        let after = event.at.0.saturating_sub(crate::scene::BEGIN.0);
        format!("{:>8}.{:03} {:>4} {short}\n", after / 1_000, after % 1_000, event.seq)
    });
    lines.collect()
}
