//! Gates `freeze`, `quarantine` and `turn`: nobody stopped it, its digests were not rolled back, and it is its turn.

use std::collections::BTreeSet;

use super::{Case, calendar};
use crate::names::TargetId;
use crate::policy::{Strategy, Waiting};
use crate::scope::Scope;
use crate::target::{Phase, Release};
use crate::verdict::GateResult;

/// No stop is in force at any scope of the target.
pub(super) fn judge(case: &Case<'_>) -> GateResult {
    let mut parts: Vec<GateResult> = case
        .given
        .scopes
        .iter()
        .filter_map(|(scope, state)| {
            let stop = state.stopped(case.given.now)?;
            let mut hold = GateResult::hold(
                "stop",
                format!("{scope} is stopped by {}: {}", stop.who, stop.reason),
                "the stop is lifted",
            );
            hold.until = stop.until;
            Some(hold)
        })
        .collect();
    parts.extend(calendar::part(case));
    parts.extend(line(case));
    parts.extend(fleet(case));
    if parts.is_empty() { GateResult::pass("freeze", "none") } else { GateResult::all_of("freeze", "none", parts) }
}

/// No digest of the release was rolled back before; `None` if nothing is quarantined.
pub(super) fn quarantine(case: &Case<'_>) -> Option<GateResult> {
    if case.target.quarantine.is_empty() {
        return None;
    }
    let parts: Vec<GateResult> = case
        .release
        .artifacts
        .iter()
        .filter(|(_, artifact)| !artifact.kept)
        .filter_map(|(service, artifact)| {
            let by = case.target.quarantine.get(&artifact.digest)?;
            Some(GateResult::hold(
                service.as_str(),
                format!("{service} {} was rolled back with release {by}", artifact.digest.short()),
                format!("a person lifts the quarantine of {}", artifact.digest),
            ))
        })
        .collect();
    if parts.is_empty() {
        return Some(GateResult::pass("quarantine", "none of these digests was rolled back"));
    }
    Some(GateResult::all_of("quarantine", "", parts))
}

/// One release at a time, and the old colour is not taken while it is kept; `None` if there is nothing to wait for.
pub(super) fn turn(case: &Case<'_>) -> Option<GateResult> {
    let mut parts = Vec::new();
    if let Some(other) = case.target.in_flight.filter(|other| *other != case.release.id) {
        let why = format!("release {other} is in flight");
        parts.push(GateResult::hold("in flight", why, format!("release {other} is live or undone")));
    }
    if case.release.phase == Phase::Gated {
        if let Some(first) = case.target.releases.values().find(|other| goes_first(other, case)) {
            let why = format!("release {} waits before it", first.id);
            parts.push(GateResult::hold("queue", why, format!("release {} ends", first.id)));
        }
        let live = case.target.live_release.and_then(|id| case.target.releases.get(&id));
        let kept = live.and_then(|live| Some((live.id, live.keep_old_until?)));
        // Not only until their time is over: until they are let go, with no write of the live release still under way.
        if let Some((live, until)) = kept.filter(|_| case.policy.strategy != Strategy::Rolling) {
            let mut hold = GateResult::hold(
                "old colour",
                format!("the pods before release {live} are kept, to return in seconds"),
                "their time is over and they are let go, or a person ends it",
            );
            hold.until = Some(until);
            parts.push(hold);
        }
    }
    (!parts.is_empty()).then(|| GateResult::all_of("turn", "", parts))
}

/// Whether another waiting release goes before this one.
fn goes_first(other: &Release, case: &Case<'_>) -> bool {
    if other.phase != Phase::Gated || other.id >= case.release.id {
        return false;
    }
    match case.policy.waiting {
        Waiting::Queue => true,
        Waiting::Newest => !other.approvals.is_empty(),
    }
}

/// Too many automatic rollbacks here stopped the line.
fn line(case: &Case<'_>) -> Option<GateResult> {
    let why = case.target.line_stopped.as_ref()?;
    Some(GateResult::hold("line", format!("the line is stopped: {why}"), "a person lets releases begin again"))
}

/// Many environments rolled back at once: probably infrastructure, not code.
fn fleet(case: &Case<'_>) -> Option<GateResult> {
    let governor = case.policy.governor;
    let since = case.given.now - governor.fleet_within;
    let all = case.given.scopes.iter().find(|(scope, _)| *scope == Scope::All)?;
    let recent = || all.1.rollbacks.iter().filter(|rollback| rollback.at >= since);
    let targets: BTreeSet<&TargetId> = recent().map(|rollback| &rollback.target).collect();
    if targets.len() < usize::from(governor.fleet.max(1)) {
        return None;
    }
    let why = format!(
        "{} environments rolled back by themselves within {}: probably infrastructure, not code",
        targets.len(),
        governor.fleet_within
    );
    let mut hold = GateResult::hold("fleet", why, "a person lifts the stop of all, or it is quiet for that long");
    hold.until = recent().map(|rollback| rollback.at + governor.fleet_within).max();
    hold.evidence = targets.iter().take(10).map(ToString::to_string).collect();
    Some(hold)
}
