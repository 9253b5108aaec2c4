//! `decide`: the only place that judges. One file per kind of signal; `advance` says what follows from the state.
//!
//! A decision is made on a draft: each event is folded into a copy of the state as it is decided, so that the next
//! step sees it. The copy is made only when there is something to decide.

mod back;
mod clock;
mod forward;
mod gates;
mod person;
mod protection;
mod push;
mod resolve;
mod vulnerable;
mod watch;

use std::sync::Arc;

use crate::action::{Action, Bundle, Intention, ObjectKey, Outcome, Part, Purpose, Stamp, Value, Write};
use crate::apply::apply;
use crate::event::{Actor, End, Event, Reason, What};
use crate::facts::Facts;
use crate::given::Given;
use crate::names::{ReleaseId, Seq};
use crate::policy::{Limits, SealedPolicy};
use crate::signal::Signal;
use crate::target::{Known, Outstanding, Phase, Release, Target};
use crate::time::{Millis, Timestamp};

/// Judges a signal: the events that follow from it, numbered from the state's last one on. Empty = it changes nothing.
pub fn decide(target: &Target, policy: &SealedPolicy, signal: &Signal, given: &Given) -> Vec<Event> {
    let mut draft = Draft::new(target, policy, given);
    draft.policy_changed();
    match signal {
        Signal::Pushed(pushed) => draft.pushed(pushed),
        Signal::ImageDeleted { .. } | Signal::Wake => {}
        Signal::ScanReported { digest, status, counts } => draft.scan_reported(digest, *status, counts),
        Signal::Alarm { alarm, state, changed_at, reason, suppressed } => {
            draft.alarm(alarm, *state, *changed_at, reason, *suppressed);
        }
        Signal::Person { who, command } => draft.person(who, command),
        Signal::Outcome { intention, outcome } => draft.outcome(*intention, outcome),
    }
    draft.clock();
    draft.advance();
    draft.policy_seen();
    draft.events
}

/// A decision being made.
struct Draft<'a> {
    base: &'a Target,
    work: Option<Box<Target>>,
    policy: &'a SealedPolicy,
    given: &'a Given,
    events: Vec<Event>,
    actor: Actor,
    /// Facts that came with this very signal, for the release they were fetched for.
    fresh: Option<(ReleaseId, Arc<Facts>)>,
    /// Whether a release was opened with the number that was given.
    opened: bool,
}

impl<'a> Draft<'a> {
    fn new(base: &'a Target, policy: &'a SealedPolicy, given: &'a Given) -> Self {
        Self {
            base,
            work: None,
            policy,
            given,
            events: Vec::new(),
            actor: Actor::Portcullis,
            fresh: None,
            opened: false,
        }
    }

    fn now(&self) -> Timestamp {
        self.given.now
    }

    /// The state with all events so far.
    fn target(&self) -> &Target {
        self.work.as_deref().unwrap_or(self.base)
    }

    fn release(&self, id: ReleaseId) -> Option<&Release> {
        self.target().releases.get(&id)
    }

    /// Decides one event.
    fn push(&mut self, what: What) {
        let base = self.base;
        let work = self.work.get_or_insert_with(|| Box::new(base.clone()));
        let event = Event { seq: Seq(work.seq.0 + 1), at: self.given.now, actor: self.actor.clone(), what };
        apply(work, &event);
        self.events.push(event);
    }

    /// The policy a release runs on: its own from its first change on, the one in force before.
    fn policy_of(&self, id: ReleaseId) -> Arc<crate::policy::Policy> {
        self.release(id).and_then(|release| release.policy.clone()).unwrap_or_else(|| self.policy.share())
    }

    fn limits(&self, id: ReleaseId) -> Limits {
        self.policy_of(id).limits
    }

    /// Intends an action of a release.
    fn intend(&mut self, release: ReleaseId, action: Action, every: Option<Millis>, within: Millis) {
        let now = self.now();
        let intention = Intention {
            action,
            place: self.policy_of(release).place.clone(),
            not_before: now,
            every,
            deadline: now + within,
        };
        self.push(What::Intended { release, intention: Box::new(intention) });
    }

    /// Intends a write, accepting what was confirmed last and everything intended since.
    fn intend_write(&mut self, release: ReleaseId, object: ObjectKey, to: Value, purpose: Purpose) {
        let from = self.expected(&object);
        let within = self.limits(release).write;
        let bundle = self.bundle(release, &object, purpose);
        self.intend(release, Action::Write(Write { object, from, to, purpose, bundle }), None, within);
    }

    /// What the new colour is made from, where that was given with the commit.
    fn bundle(&self, release: ReleaseId, object: &ObjectKey, purpose: Purpose) -> Option<Bundle> {
        let release = self.release(release)?;
        let progress = release.progress.get(&object.service).filter(|progress| progress.changes)?;
        let is_made = match object.part {
            Part::Workload(colour) => colour == progress.colour && matches!(purpose, Purpose::Mark | Purpose::Deploy),
            // A Service that is there stays as it is.
            Part::Traffic => purpose == Purpose::Switch && !release.before.contains_key(&object.service),
        };
        release.bundles.get(&object.service).filter(|_| is_made).cloned()
    }

    fn expected(&self, object: &ObjectKey) -> Vec<Option<Stamp>> {
        let target = self.target();
        let Some(Known { confirmed, meant }) = target.objects.get(object) else { return vec![None] };
        let mut from = vec![confirmed.clone()];
        // Before the first reading of the cluster there is no fence, and nothing was written.
        let left = |seq: Seq, value| target.fence_at(seq).map(|fence| Some(Stamp { fence: Some(fence), value }));
        from.extend(meant.iter().filter_map(|(seq, value)| left(*seq, *value)));
        // An object that is created comes up inert under its fence before it is patched.
        let inert = meant.iter().next_back().filter(|_| confirmed.is_none());
        if let Some((seq, Value::Workload { digest, .. })) = inert {
            from.extend(left(*seq, Value::Workload { digest: *digest, replicas: 0 }));
        }
        from
    }

    fn is_outstanding(&self, release: ReleaseId, which: impl Fn(&Action) -> bool) -> bool {
        self.target().outstanding.values().any(|o| o.release == release && which(&o.intention.action))
    }

    fn settle(&mut self, release: ReleaseId, end: End, why: impl Into<String>) {
        self.push(What::Settled { release, end, why: why.into() });
    }

    fn needs_help(&mut self, release: ReleaseId, why: impl Into<String>) {
        let until = self.now() + self.limits(release).escalate;
        self.push(What::NeedsHelp { release, why: why.into(), until });
    }

    fn ask(&mut self, release: ReleaseId, why: impl Into<String>) {
        let until = self.now() + self.limits(release).escalate;
        self.push(What::Asked { release, why: why.into(), until });
    }

    /// An intention's outcome. If it is no longer outstanding, it changes nothing.
    fn outcome(&mut self, intention: Seq, outcome: &Outcome) {
        let Some(Outstanding { release, intention: what }) = self.target().outstanding.get(&intention).cloned() else {
            return;
        };
        match (&what.action, outcome) {
            (Action::Look(_), Outcome::Facts(facts)) => {
                self.looked(release, facts);
                self.look_for_vulnerabilities(release, facts);
            }
            (Action::Observe, Outcome::Observed(objects)) => self.observed(release, intention, objects),
            (Action::Measure(measure), Outcome::Measured { from, to, services, alarms }) => {
                self.measured(release, measure, (*from, *to), services, alarms);
            }
            // A reading from before our last write tells of the past: the next one counts.
            (Action::AwaitReady(ask), Outcome::Seen(found)) if self.target().is_older(&ask.object, found) => {}
            (Action::AwaitReady(ask), Outcome::Seen(found)) if forward::is_ready(ask, found) => {
                self.done(release, intention, outcome);
            }
            (Action::AwaitReady(ask), Outcome::Seen(found)) if forward::is_disturbed(ask, found) => {
                self.drifted(release, intention, (&ask.object, None), found);
            }
            (Action::Write(write), Outcome::Drift(found)) => {
                self.drifted(release, intention, (&write.object, Some(write.to)), found);
            }
            (Action::Write(_), Outcome::Written)
            | (Action::BackUp { .. }, Outcome::BackedUp { .. })
            | (Action::RunTest { .. }, Outcome::TestPassed { .. }) => self.done(release, intention, outcome),
            (Action::RunTest { test, .. }, Outcome::TestFailed { why }) => {
                self.done(release, intention, outcome);
                if test.on_failure.is_stop() {
                    self.begin_rollback(release, Reason::Step { why: format!("test {} failed: {why}", test.name) });
                }
            }
            _ => {}
        }
    }

    fn done(&mut self, release: ReleaseId, intention: Seq, outcome: &Outcome) {
        self.push(What::Done { release, intention, outcome: Box::new(outcome.clone()) });
    }

    /// What follows from the state, until nothing does. Each step either appends an event or ends it.
    fn advance(&mut self) {
        // A release takes a bounded number of steps per signal; the bound only guards against a mistake here.
        for _ in 0..1_000 {
            let before = self.events.len();
            let ids: Vec<ReleaseId> = self.target().releases.keys().copied().collect();
            for id in ids {
                self.advance_release(id);
            }
            if self.events.len() == before {
                return;
            }
        }
    }

    fn advance_release(&mut self, id: ReleaseId) {
        let Some(release) = self.release(id) else { return };
        match release.phase {
            Phase::Gathering => self.gather(id),
            Phase::Gated => self.gates(id),
            Phase::Cleared => {}
            Phase::Live => self.live(id),
            Phase::RollingBack | Phase::NeedsHelp => {
                self.look_before_resolving(id);
                self.go_back(id);
            }
            phase => self.go_forward(id, phase),
        }
    }

    /// Whether forward steps are held for this release at the moment.
    fn is_held(&self, id: ReleaseId) -> bool {
        self.is_stopped(id) || self.release(id).is_none_or(|release| release.asking.is_some())
    }

    /// Whether a person stopped its forward steps, or everybody's.
    fn is_stopped(&self, id: ReleaseId) -> bool {
        let stopped = self.given.scopes.iter().any(|(_, scope)| scope.stopped(self.now()).is_some());
        stopped || self.target().hands_off.is_some() || self.release(id).is_none_or(|release| release.paused)
    }
}
