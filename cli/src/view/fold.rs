//! One target's ledger folded for reading: every release it ever had, and one of them in full.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{Action, Outcome, Purpose, Value};
use portcullis_domain::apply;
use portcullis_domain::event::{End, Event, What};
use portcullis_domain::names::{ReleaseId, Seq, ServiceName, TargetId};
use portcullis_domain::target::{BackStep, Release, Serving, Target};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::Verdict;
use portcullis_engine::ports::Policies;

use crate::api::{ReleaseDetail, ReleaseSummary, Rules, State};

/// One target's ledger, folded as far as it was read.
pub(crate) struct Fold {
    target: TargetId,
    state: Target,
    releases: BTreeMap<ReleaseId, ReleaseSummary>,
    wanted: Option<Wanted>,
    rollbacks: Rollbacks,
}

/// How long rollbacks took, from their decision to traffic being back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rollbacks {
    /// How many.
    pub(crate) count: u64,
    /// All together.
    pub(crate) time: Millis,
}

/// The release of which everything is kept.
struct Wanted {
    id: ReleaseId,
    release: Option<Release>,
    events: Vec<Event>,
    ended: bool,
}

impl Fold {
    /// Nothing read yet.
    pub(crate) fn new(target: TargetId) -> Self {
        Self {
            target,
            state: Target::default(),
            releases: BTreeMap::new(),
            wanted: None,
            rollbacks: Rollbacks::default(),
        }
    }

    /// Nothing read yet; everything of this release will be kept.
    pub(crate) fn of_release(target: TargetId, id: ReleaseId) -> Self {
        let wanted = Wanted { id, release: None, events: Vec::new(), ended: false };
        Self { wanted: Some(wanted), ..Self::new(target) }
    }

    /// Whose ledger it is.
    pub(crate) fn target(&self) -> &TargetId {
        &self.target
    }

    /// The state after the events read so far.
    pub(crate) fn state(&self) -> &Target {
        &self.state
    }

    /// How long rollbacks took.
    pub(crate) fn rollbacks(&self) -> Rollbacks {
        self.rollbacks
    }

    /// Reads the next event.
    pub(crate) fn absorb(&mut self, event: &Event) {
        let id = event.what.release();
        let end = ending(&event.what);
        if end.is_some() {
            // The release is in the state for the last time.
            self.keep_snapshot();
        }
        if let What::RolledBack { release, restored_at } = &event.what
            && let Some(rollback) = self.state.releases.get(release).and_then(|release| release.rollback.as_ref())
        {
            self.rollbacks.count += 1;
            self.rollbacks.time.0 += restored_at.since(rollback.since).0;
        }
        apply(&mut self.state, event);
        if let Some(release) = id.and_then(|id| self.state.releases.get(&id)) {
            let summary = summary(&self.target, release, event.at, self.releases.get(&release.id));
            self.releases.insert(release.id, summary);
        }
        if let Some((state, why)) = end
            && let Some(known) = id.and_then(|id| self.releases.get_mut(&id))
        {
            known.state = state;
            known.changed_at = event.at;
            known.why = why.or_else(|| known.why.take());
            known.asks = false;
            known.paused = false;
        }
        self.keep_event(event, id);
        self.keep_snapshot();
    }

    fn keep_snapshot(&mut self) {
        if let Some(wanted) = &mut self.wanted
            && let Some(release) = self.state.releases.get(&wanted.id)
        {
            wanted.release = Some(release.clone());
        }
    }

    /// Events of the wanted release, and those of its environment that came while it was there.
    fn keep_event(&mut self, event: &Event, id: Option<ReleaseId>) {
        let Some(wanted) = &mut self.wanted else { return };
        let own = id == Some(wanted.id);
        let open = !wanted.events.is_empty() && !wanted.ended;
        let around = matches!(
            event.what,
            What::AlarmSeen { .. }
                | What::HandsOff { .. }
                | What::Refused { .. }
                | What::LiveChangedOutside { .. }
                | What::LineStopped { .. }
                | What::LineResumed { .. }
                | What::PolicyChanged { .. }
        );
        if own || (open && around) {
            wanted.events.push(event.clone());
        }
        wanted.ended |= !wanted.events.is_empty() && !self.state.releases.contains_key(&wanted.id);
    }

    /// All releases, newest first.
    pub(crate) fn summaries(&self) -> impl Iterator<Item = ReleaseSummary> {
        self.releases.values().rev().map(|summary| self.as_now(summary.clone()))
    }

    /// A release that was live is so only as long as something of it serves.
    fn as_now(&self, mut summary: ReleaseSummary) -> ReleaseSummary {
        let id = Some(summary.id);
        let serves = self.state.live_release == id || self.state.live.values().any(|serving| serving.release == id);
        // While a later one is in flight nothing is decided: what served before may come back.
        let before = self.state.in_flight.and_then(|id| self.state.releases.get(&id));
        let returns = before.is_some_and(|later| later.before.values().any(|serving| serving.release == id));
        if summary.state == State::Live && !serves && !returns {
            summary.state = State::Replaced;
        }
        summary
    }

    /// Everything about the wanted release, if the ledger has it.
    pub(crate) fn detail(mut self, policies: Option<&dyn Policies>) -> Option<ReleaseDetail> {
        let Wanted { id, release, events, .. } = self.wanted.take()?;
        let release = release?;
        let summary = self.as_now(self.releases.get(&id)?.clone());
        let rules = match (&release.policy, policies.and_then(|policies| policies.get(&self.target))) {
            (Some(frozen), _) => Some(Rules::from(&**frozen)),
            (None, Some(policy)) => Some(Rules::from(&*policy)),
            (None, None) => None,
        };
        let live_at = release.live_at.filter(|_| self.state.live_release == Some(id));
        let window_until = live_at.zip(rules.as_ref()).map(|(at, rules)| at + rules.window);
        Some(ReleaseDetail {
            window_until,
            summary,
            gates: release.judgement.clone(),
            live: serving_now(&self.state),
            alarms: self.state.alarms,
            hands_off: self.state.hands_off,
            rules,
            release,
            ledger: events,
        })
    }
}

/// What serves now: what was live, and what a release in flight has moved since.
pub(super) fn serving_now(state: &Target) -> BTreeMap<ServiceName, Serving> {
    let mut now = state.live.clone();
    let Some(release) = state.in_flight.and_then(|id| state.releases.get(&id)) else { return now };
    for (service, progress) in release.progress.iter().filter(|(_, progress)| progress.changes) {
        let step = release.rollback.as_ref().and_then(|rollback| rollback.steps.get(service));
        let back = matches!(step, Some(BackStep::Back | BackStep::Draining(_) | BackStep::Done));
        let before = release.rollback.as_ref().and_then(|rollback| rollback.to.get(service));
        let moved = progress.share >= 5_000 || state.live_release == Some(release.id);
        match (release.artifacts.get(service), before) {
            (_, Some(before)) if back => {
                now.insert(service.clone(), before.clone());
            }
            (_, None) if back => {
                now.remove(service);
            }
            (Some(artifact), _) if moved => {
                let serving = Serving {
                    digest: artifact.digest,
                    colour: progress.colour,
                    replicas: progress.replicas,
                    commit: artifact.commit.clone().or_else(|| Some(release.commit.clone())),
                    tag: artifact.tag.clone(),
                    release: Some(release.id),
                };
                now.insert(service.clone(), serving);
            }
            _ => {}
        }
    }
    now
}

/// How a release ends by this event, and why, if it does.
fn ending(what: &What) -> Option<(State, Option<String>)> {
    match what {
        What::RolledBack { .. } => Some((State::RolledBack, None)),
        What::WindowClosed { .. } => Some((State::Live, None)),
        What::Resolved { reason, .. } => Some((State::Resolved, Some(reason.clone()))),
        What::Settled { end, why, .. } => {
            let state = match end {
                End::Rejected => State::Rejected,
                End::Expired => State::Expired,
                End::Superseded => State::Superseded,
                End::Cancelled => State::Cancelled,
                End::Observed => State::Observed,
                End::Failed => State::Failed,
            };
            Some((state, Some(why.clone())))
        }
        _ => None,
    }
}

fn summary(target: &TargetId, release: &Release, at: Timestamp, before: Option<&ReleaseSummary>) -> ReleaseSummary {
    let state = State::from(release.phase);
    let facts = release.facts.as_ref().and_then(|facts| facts.commit.as_ref()).or(release.commit_facts.as_ref());
    let changed_at = before.filter(|before| before.state == state).map_or(at, |before| before.changed_at);
    ReleaseSummary {
        id: release.id,
        target: target.clone(),
        state,
        commit: release.commit.clone(),
        title: facts.map(|facts| facts.title.clone()).filter(|title| !title.is_empty()),
        requested_by: release.requested_by.clone(),
        opened_at: release.opened_at,
        changed_at,
        paused: release.paused,
        why: why(release),
        plan: release.plan.as_ref().map(|plan| plan.id),
        asks: release.asking.is_some(),
    }
}

/// What it waits for, in one line.
fn why(release: &Release) -> Option<String> {
    if let Some(asking) = &release.asking {
        return Some(asking.why.clone());
    }
    if let Some(rollback) = &release.rollback {
        return Some(rollback.why.to_string());
    }
    if let Some(doubt) = &release.doubt {
        return Some(doubt.clone());
    }
    if State::from(release.phase) != State::Gated {
        return None;
    }
    let judgement = release.judgement.as_ref()?;
    let worst = judgement.verdict();
    let gate = judgement.gates.iter().find(|gate| gate.verdict == worst && worst != Verdict::Pass)?;
    Some(format!("{}: {}", gate.gate, gate.why))
}

/// When every service that a release had taken traffic of was back at its old one, as read back; none = not yet, or it
/// had taken none.
pub(crate) fn traffic_back<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Timestamp> {
    let mut intended: BTreeMap<Seq, (ServiceName, Purpose)> = BTreeMap::new();
    let mut away: BTreeSet<ServiceName> = BTreeSet::new();
    let mut back = None;
    for event in events {
        match &event.what {
            What::Intended { intention, .. } => {
                let Action::Write(write) = &intention.action else { continue };
                let Value::Traffic { .. } = write.to else { continue };
                if write.purpose == Purpose::Switch {
                    away.insert(write.object.service.clone());
                    back = None;
                }
                intended.insert(event.seq, (write.object.service.clone(), write.purpose));
            }
            What::Done { intention, outcome, .. } if matches!(**outcome, Outcome::Written) => {
                if let Some((service, Purpose::Restore)) = intended.get(intention)
                    && away.remove(service)
                    && away.is_empty()
                {
                    back = Some(event.at);
                }
            }
            _ => {}
        }
    }
    back
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::samples::story;

    fn folded(events: &[Event]) -> Fold {
        let mut fold = Fold::of_release("volteryde/production".parse().unwrap(), ReleaseId(142));
        for event in events {
            fold.absorb(event);
        }
        fold
    }

    #[test]
    fn a_release_that_left_the_state_is_shown_from_its_last_one() {
        let events = story();
        let fold = folded(&events);
        assert!(fold.state().releases.is_empty(), "it is gone from the state");
        let rollbacks = fold.rollbacks();
        assert_eq!(rollbacks.count, 1);
        let detail = fold.detail(None).unwrap();
        assert_eq!(detail.summary.state, State::RolledBack);
        assert_eq!(detail.summary.title.as_deref(), Some("Cache fare quotes"));
        assert_eq!(detail.release.approvals.len(), 1);
        assert_eq!(detail.ledger.len(), events.len(), "alarms of its time are part of it");
    }

    #[test]
    fn traffic_is_back_only_when_every_service_that_moved_is_back() {
        let events = story();
        let done: Vec<usize> = (0..events.len()).filter(|n| traffic_back(&events[..*n]).is_some()).collect();
        let last = events.iter().rposition(|event| matches!(event.what, What::Done { .. })).unwrap();
        assert_eq!(done.first(), Some(&(last + 1)));
        assert_eq!(traffic_back(&events), Some(events[last].at));
        let never_moved = events.iter().filter(|event| !matches!(event.what, What::Intended { .. }));
        assert_eq!(traffic_back(never_moved), None);
    }

    #[test]
    fn another_releases_events_are_not_part_of_it() {
        let mut fold = Fold::of_release("volteryde/production".parse().unwrap(), ReleaseId(7));
        for event in story() {
            fold.absorb(&event);
        }
        assert_eq!(fold.summaries().count(), 1);
        assert!(fold.detail(None).is_none());
    }
}
