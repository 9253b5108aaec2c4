//! What people do: they look at the target as a screen would show it, and give a command. They may be wrong, late, or
//! not allowed to.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_domain::names::{ReleaseId, Subject, TargetId};
use portcullis_domain::plan::PlanId;
use portcullis_domain::scope::{Scope, Stop};
use portcullis_domain::signal::Command;
use portcullis_domain::target::{Phase, Target};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::world::commit;
use portcullis_engine::recorder::{RecordError, Recorder};

use crate::hub::Hub;
use crate::scene;

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Approves the newest waiting release's plan.
    Approve,
    /// Approves a plan seen some time ago.
    ApproveSeen,
    /// Vetoes the newest release.
    Reject,
    /// Pauses the one in flight, or the newest.
    Pause,
    /// Lets it go on.
    Resume,
    /// Gives it up.
    Cancel,
    /// Wants back what served before.
    RollBack,
    /// Answers a question: go on.
    Promote,
    /// Stops every write for two minutes.
    HandsOff,
    /// Lets writes go on.
    HandsOn,
    /// Stops the line.
    Stop,
    /// Lifts the stop.
    Lift,
    /// Ends the old colour's time.
    CloseWindow,
    /// Takes what is on the cluster as it is.
    Resolve,
    /// Takes a ringing alarm as it is.
    AcceptAlarm,
    /// Lets a digest be released again that was rolled back.
    LiftQuarantine,
    /// Starts a release of a commit.
    Start(u32),
    /// Raises the epoch.
    RaiseEpoch,
    /// Would skip the scan and the approvals.
    BreakGlass,
    /// Lets releases begin again after too many rollbacks.
    ResumeLine,
    /// Resumes this very release.
    ResumeThis(ReleaseId),
    /// Approves this very plan.
    ApproveThis(ReleaseId, PlanId),
    /// Answers this very release's question.
    PromoteThis(ReleaseId),
}

/// Plans that somebody saw.
pub(crate) type Seen = Arc<Mutex<Vec<(ReleaseId, PlanId)>>>;

/// The one a person means: in flight, else live, else the newest.
fn meant(state: &Target) -> Option<ReleaseId> {
    state.in_flight.or(state.live_release).or_else(|| state.releases.keys().next_back().copied())
}

/// The newest release that waits for its gates.
fn waiting(state: &Target) -> Option<(ReleaseId, PlanId)> {
    let mut gated =
        state.releases.values().rev().filter(|release| matches!(release.phase, Phase::Gated | Phase::Verifying));
    gated.find_map(|release| Some((release.id, release.plan.as_ref()?.id)))
}

/// Looks, and gives the command. Nothing to do is no error.
pub(crate) async fn act(
    recorder: &Recorder,
    hub: &Hub,
    target: &TargetId,
    who: &Subject,
    deed: Deed,
    seen: &Seen,
) -> Result<(), RecordError> {
    let reason = || "on purpose".to_owned();
    let state = recorder.state(target).await?.unwrap_or_default();
    let plans = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(plan) = waiting(&state)
        && !plans().contains(&plan)
    {
        plans().push(plan);
    }
    let now = hub.now();
    let command = match deed {
        Deed::Stop | Deed::Lift => {
            let scope = Scope::of(target)[hub.turn_of(4)].clone();
            let stop = (deed == Deed::Stop).then(|| Stop {
                who: who.clone(),
                reason: reason(),
                since: now,
                until: Some(now + Millis::minutes(3)),
            });
            recorder.set_stop(&scope, stop).await?;
            return Ok(());
        }
        Deed::Start(n) => {
            recorder.start(target, who, &commit(n), None, Some(reason()), hub.turn_of(8) == 0).await?;
            return Ok(());
        }
        Deed::Approve => waiting(&state).map(|(release, plan)| Command::Approve { release, plan, typed: None }),
        Deed::ApproveSeen => {
            let plans = plans().clone();
            let one = (!plans.is_empty()).then(|| plans[hub.turn_of(plans.len())]);
            one.map(|(release, plan)| Command::Approve { release, plan, typed: None })
        }
        Deed::ApproveThis(release, plan) => Some(Command::Approve { release, plan, typed: None }),
        Deed::Reject => {
            let newest = state.releases.keys().next_back().copied();
            newest.map(|release| Command::Reject { release, reason: reason() })
        }
        Deed::Pause => meant(&state).map(|release| Command::Pause { release }),
        Deed::Resume => meant(&state).map(|release| Command::Resume { release }),
        Deed::ResumeThis(release) => Some(Command::Resume { release }),
        Deed::Cancel => meant(&state).map(|release| Command::Cancel { release, reason: reason() }),
        Deed::RollBack => Some(Command::RollBack { to: None, reason: reason() }),
        Deed::Promote => meant(&state).map(|release| Command::Promote { release }),
        Deed::PromoteThis(release) => Some(Command::Promote { release }),
        Deed::HandsOff => Some(Command::HandsOff { until: Some(now + Millis::minutes(2)), reason: reason() }),
        Deed::HandsOn => Some(Command::HandsOff { until: None, reason: reason() }),
        Deed::CloseWindow => Some(Command::CloseWindow { reason: reason() }),
        Deed::Resolve => Some(Command::Resolve { reason: reason() }),
        Deed::AcceptAlarm => {
            let alarm = scene::ALARM.parse().ok();
            meant(&state).zip(alarm).map(|(release, alarm)| Command::AcceptAlarm { release, alarm })
        }
        Deed::LiftQuarantine => {
            let first = state.quarantine.keys().next().copied();
            first.map(|digest| Command::LiftQuarantine { digest, reason: reason() })
        }
        Deed::BreakGlass => waiting(&state).map(|(release, plan)| {
            let gates = ["scan", "approval"].map(str::to_owned).into();
            Command::BreakGlass { release, plan, gates, reason: reason() }
        }),
        Deed::ResumeLine => Some(Command::ResumeLine { reason: reason() }),
        Deed::RaiseEpoch => Some(Command::RaiseEpoch { reason: reason() }),
    };
    if let Some(command) = command {
        recorder.command(target, who, command).await?;
    }
    Ok(())
}

/// What people do about what they are asked, once nothing fails any more.
pub(crate) fn asked(
    state: &Target,
    now: Timestamp,
    known: &[(ReleaseId, PlanId)],
    choice: usize,
) -> Vec<(&'static str, Deed)> {
    let mut deeds = Vec::new();
    if state.line_stopped.is_some() {
        deeds.push(("ama", Deed::ResumeLine));
    }
    for release in state.releases.values() {
        if release.paused {
            deeds.push(("kofi", Deed::ResumeThis(release.id)));
        }
        let plan = release.plan.as_ref().map(|plan| plan.id);
        match (release.phase, plan) {
            (Phase::Gated | Phase::Verifying, Some(plan)) if !known.contains(&(release.id, plan)) => {
                deeds.push(("ama", Deed::ApproveThis(release.id, plan)));
                deeds.push(("kofi", Deed::ApproveThis(release.id, plan)));
            }
            _ => {}
        }
        if release.asking.is_some() {
            deeds.push(match release.phase {
                Phase::NeedsHelp if choice == 0 => ("ama", Deed::RollBack),
                Phase::NeedsHelp => ("ama", Deed::Resolve),
                _ if choice == 0 => ("ama", Deed::RollBack),
                Phase::Live if release.until.is_some_and(|until| until <= now) => ("kofi", Deed::CloseWindow),
                _ => ("kofi", Deed::PromoteThis(release.id)),
            });
        }
    }
    deeds
}
