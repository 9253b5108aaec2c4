//! What the invariants want to know of an append: taken from the events, and nothing else kept of them.

use portcullis_domain::action::{Action, Outcome};
use portcullis_domain::event::{Actor, Event, What};
use portcullis_domain::plan::PlanId;
use portcullis_domain::target::{Phase, Release, Target};
use portcullis_domain::verdict::Verdict;

use crate::cast::{Cast, PARTS};
use crate::ledger::is_blue_green;
use crate::signal::{Hand, Scan, Sig};

/// Something that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Facts that we fetched ourselves were recorded for the gates of a release; whether its scans were clean.
    Looked(u64, bool),
    /// A release was opened for this commit.
    Opened(u64, u8),
    /// A plan was made.
    Planned(u64, PlanId),
    /// An approval was recorded: release, who, for this plan, and the plan that the person had before their eyes.
    Approved(u64, u8, PlanId, Option<PlanId>),
    /// A first commit point was passed, for this plan.
    Began(u64, PlanId),
    /// A second commit point was passed: from here on the new code may serve.
    MayServe(u64),
    /// A write is intended: release, object, whether it is forward.
    Intended(u64, u8, bool),
    /// The way back began, at this position.
    BackBegan(u64, u64),
    /// The way back is over; the objects of services that had something to return to, by bit.
    RolledBack(u64, u8),
    /// A release ended otherwise, or went live.
    Met(Met),
    /// An event lacks what every decision must have in the ledger.
    Unrecorded(&'static str),
}

/// Something that must happen somewhere in the worlds, or they prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is a sentence in `Met::ALL`")]
pub enum Met {
    Gathering,
    Gated,
    BackingUp,
    Deploying,
    Verifying,
    Switching,
    Watching,
    Live,
    RollingBack,
    NeedsHelp,
    RolledBack,
    CrashBeforeEffect,
    CrashAfterEffect,
    PatchRefused,
    PatchLate,
    PatchOrphaned,
    Doubled,
    Lost,
    Superseded,
    Outdated,
    DriftSeen,
    ApprovalRefused,
    Escalated,
    Doubted,
    Resolved,
    OldReleased,
    StaleOutcome,
    Swept,
}

impl Met {
    /// Each with its sentence.
    pub const ALL: [(Met, &'static str); 28] = [
        (Met::Gathering, "sometimes a release is gathering"),
        (Met::Gated, "sometimes a release is gated"),
        (Met::BackingUp, "sometimes a release is backing up"),
        (Met::Deploying, "sometimes a release is deploying"),
        (Met::Verifying, "sometimes a release is verifying"),
        (Met::Switching, "sometimes a release is switching"),
        (Met::Watching, "sometimes a release is watched"),
        (Met::Live, "sometimes a release is live"),
        (Met::RollingBack, "sometimes a release is rolling back"),
        (Met::NeedsHelp, "sometimes a release needs help"),
        (Met::RolledBack, "sometimes a release is rolled back"),
        (Met::CrashBeforeEffect, "sometimes a driver crashes between its patch and what came of it"),
        (Met::CrashAfterEffect, "sometimes a driver crashes between effect and append"),
        (Met::PatchRefused, "sometimes a delayed patch is refused"),
        (Met::PatchLate, "sometimes a delayed patch lands after its intention is gone"),
        (Met::PatchOrphaned, "sometimes a patch lands after its sender died"),
        (Met::Doubled, "sometimes a message comes twice"),
        (Met::Lost, "sometimes a message is lost"),
        (Met::Superseded, "sometimes a release is superseded"),
        (Met::Outdated, "sometimes an older commit comes late"),
        (Met::DriftSeen, "sometimes drift is found"),
        (Met::ApprovalRefused, "sometimes an approval is refused"),
        (Met::Escalated, "sometimes a call for a person gets louder"),
        (Met::Doubted, "sometimes a message makes a release hold"),
        (Met::Resolved, "sometimes a person takes what is there as it is"),
        (Met::OldReleased, "sometimes the old colour is let go"),
        (Met::StaleOutcome, "sometimes an outcome comes for an intention that is gone"),
        (Met::Swept, "sometimes the sweep finds a lost push"),
    ];

    /// Its bit.
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Notes what an event says, given the state before it.
pub(crate) fn of(cast: &Cast, before: &Target, sig: &Sig, event: &Event, notes: &mut Vec<Note>) {
    let release = |id: &portcullis_domain::names::ReleaseId| before.releases.get(id);
    if let (Sig::Outcome { seq, hand: Hand::Facts(read) }, true) = (sig, notes.is_empty())
        && let Some(outstanding) = before.outstanding.get(&portcullis_domain::names::Seq(*seq))
        && let Some(looked) = release(&outstanding.release)
    {
        notes.push(Note::Looked(looked.id.0, is_clean(cast, looked, &read.scans)));
    }
    if let Sig::Person { who, .. } = sig {
        let person = Actor::Person(cast.people[usize::from(*who)].clone());
        let theirs = matches!(
            event.what,
            What::Approved { .. }
                | What::Refused { .. }
                | What::Promoted { .. }
                | What::Paused { .. }
                | What::Resumed { .. }
        );
        if theirs && event.actor != person {
            notes.push(Note::Unrecorded("what a person said is in the ledger without them"));
        }
    }
    match &event.what {
        What::Opened { release, commit, .. } => {
            let at = cast.commits.iter().position(|known| known == commit).and_then(|at| u8::try_from(at + 1).ok());
            notes.push(Note::Opened(release.0, at.unwrap_or(0)));
            notes.push(Note::Met(Met::Gathering));
        }
        What::Gathered { .. } => notes.push(Note::Met(Met::Gated)),
        What::Outdated { .. } => notes.push(Note::Met(Met::Outdated)),
        What::Doubted { .. } => notes.push(Note::Met(Met::Doubted)),
        What::Refused { .. } if matches!(sig, Sig::Person { ask: crate::signal::Ask::Approve, .. }) => {
            notes.push(Note::Met(Met::ApprovalRefused));
        }
        What::Planned { release, plan, .. } => notes.push(Note::Planned(release.0, plan.id)),
        What::Approved { release, plan, who, .. } => {
            let at = cast.people.iter().position(|known| known == who).and_then(|at| u8::try_from(at).ok());
            let seen = match sig {
                Sig::Person { plan, who: told, .. } if at == Some(*told) => *plan,
                _ => None,
            };
            notes.push(Note::Approved(release.0, at.unwrap_or(u8::MAX), *plan, seen));
        }
        What::Began { release: id, plan, policy, .. } => {
            notes.push(Note::Began(id.0, *plan));
            notes.push(Note::Met(Met::BackingUp));
            let judged = release(id).is_some_and(|release| is_judged(release, *plan, cast));
            if !judged || **policy != *cast.policy || before.policy != Some(cast.policy.hash()) {
                notes.push(Note::Unrecorded(
                    "a commit point was passed without facts, judgement and policy in the ledger",
                ));
            }
        }
        What::Entered { release: id, phase } => entered(cast, release(id), *phase, id.0, notes),
        What::Intended { release, intention } => {
            if let Action::Write(write) = &intention.action {
                let object = u8::try_from(cast.object(&write.object)).unwrap_or(0);
                notes.push(Note::Intended(release.0, object, event.what.moves_forward()));
            }
        }
        What::Done { outcome, .. } if matches!(**outcome, Outcome::Drift(_)) => notes.push(Note::Met(Met::DriftSeen)),
        What::RollbackBegan { release, .. } => {
            notes.push(Note::BackBegan(release.0, event.seq.0));
            notes.push(Note::Met(Met::RollingBack));
        }
        What::RolledBack { release: id, .. } => {
            let to =
                release(id).and_then(|release| release.rollback.as_ref()).into_iter().flat_map(|back| back.to.keys());
            let objects = to.fold(0, |bits, service| bits | (0b111 << (cast.service(service) * PARTS)));
            notes.push(Note::RolledBack(id.0, objects));
            notes.push(Note::Met(Met::RolledBack));
        }
        What::WentLive { .. } => notes.push(Note::Met(Met::Live)),
        What::NeedsHelp { .. } => notes.push(Note::Met(Met::NeedsHelp)),
        What::Escalated { .. } => notes.push(Note::Met(Met::Escalated)),
        What::Resolved { .. } => notes.push(Note::Met(Met::Resolved)),
        What::OldReleased { .. } => notes.push(Note::Met(Met::OldReleased)),
        What::Settled { end: portcullis_domain::event::End::Superseded, .. } => {
            notes.push(Note::Met(Met::Superseded));
        }
        _ => {}
    }
}

fn entered(cast: &Cast, release: Option<&Release>, phase: Phase, id: u64, notes: &mut Vec<Note>) {
    let serves = match phase {
        Phase::Deploying { wave: 0 } => !is_blue_green(&cast.policy),
        Phase::Switching { step: 0, wave: 0 } => is_blue_green(&cast.policy),
        _ => false,
    };
    if serves {
        notes.push(Note::MayServe(id));
        let plan = release.and_then(|release| release.plan.as_ref());
        if !release.zip(plan).is_some_and(|(release, plan)| is_judged(release, plan.id, cast)) {
            notes.push(Note::Unrecorded("new code may serve without facts and judgement in the ledger"));
        }
    }
    notes.push(Note::Met(match phase {
        Phase::Deploying { .. } => Met::Deploying,
        Phase::Verifying => Met::Verifying,
        Phase::Switching { .. } => Met::Switching,
        _ => Met::Watching,
    }));
}

/// Whether the ledger has the facts, the judgement and the policy's hash that a commit point rests on.
fn is_judged(release: &Release, plan: PlanId, cast: &Cast) -> bool {
    let planned = release.plan.as_ref().is_some_and(|known| known.id == plan && known.policy == cast.policy.hash());
    let judged = release.judgement.as_ref().is_some_and(|judgement| judgement.verdict() == Verdict::Pass);
    release.facts.is_some() && planned && judged
}

/// Whether the scans of all images of a release were clean, by what was read.
fn is_clean(cast: &Cast, release: &Release, scans: &[Scan]) -> bool {
    release.artifacts.values().all(|artifact| {
        let commit = cast.commit_of(cast.number(&artifact.digest));
        scans.get(usize::from(commit - 1)) == Some(&Scan::Clean)
    })
}
