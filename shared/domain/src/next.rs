//! `next`: the intentions that have no outcome yet, and when to look again.

use std::sync::Arc;

use crate::action::{Action, Intention};
use crate::names::{ReleaseId, Seq};
use crate::target::{Phase, Target};
use crate::time::Timestamp;

/// What is to be done, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Intentions without outcome, oldest first.
    pub actions: Vec<Due>,
    /// The earliest moment at which something is due: an action, a deadline, a reminder, an expiry.
    pub wake_at: Option<Timestamp>,
    /// The same without the actions' own moments.
    pub moment_at: Option<Timestamp>,
}

/// One intention to perform, not before its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its position: the fence of what it writes.
    pub seq: Seq,
    /// The release it belongs to.
    pub release: ReleaseId,
    /// Not before this moment.
    pub not_before: Timestamp,
    /// The intention.
    pub intention: Arc<Intention>,
}

/// The intentions that have no outcome yet, and when to look again. While hands are off, writes wait.
pub fn next(target: &Target) -> Next {
    let mut actions = Vec::new();
    let mut moment_at: Option<Timestamp> = target.hands_off;
    let mut at = |moment: Option<Timestamp>| {
        if let Some(moment) = moment {
            moment_at = Some(moment_at.map_or(moment, |known| known.min(moment)));
        }
    };
    for (seq, outstanding) in &target.outstanding {
        let intention = &outstanding.intention;
        at(Some(intention.deadline));
        if target.hands_off.is_some() && matches!(intention.action, Action::Write(_)) {
            continue;
        }
        let release = target.releases.get(&outstanding.release);
        let not_before = match (&intention.action, release) {
            (Action::Measure(measure), Some(release)) if release.phase == Phase::Watching => {
                release.watch.as_ref().map_or(intention.not_before, |watch| watch.measured_to + measure.every)
            }
            _ => intention.not_before,
        };
        actions.push(Due { seq: *seq, release: outstanding.release, not_before, intention: intention.clone() });
    }
    for release in target.releases.values() {
        at(release.until);
        at(release.remind_at);
        at(release.asking.as_ref().map(|asking| asking.until));
        at(release.keep_old_until.filter(|_| release.phase == Phase::Live));
    }
    let wake_at = moment_at.into_iter().chain(actions.iter().map(|due| due.not_before)).min();
    Next { actions, wake_at, moment_at }
}
