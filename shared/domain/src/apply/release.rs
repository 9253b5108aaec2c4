//! How one release goes on: its phase, its services' steps, forward and back.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::{Action, Found, ObjectKey, Outcome, Part, Purpose, Value, Write};
use crate::event::What;
use crate::facts::CommitFacts;
use crate::names::{CommitSha, ReleaseId, Seq, ServiceName};
use crate::policy::{ALL_TRAFFIC, Colour, Policy, ServiceKind, Strategy};
use crate::target::{Approval, Asking, BackStep, Glass, Phase, Progress, Release, Rollback, Step, WatchState};
use crate::time::Timestamp;

/// How many findings of a release are remembered as known.
const FINDINGS: usize = 200;

impl Release {
    /// A release as it is opened: gathering, with nothing known yet.
    pub fn new(id: ReleaseId, commit: CommitSha, at: Timestamp) -> Self {
        Self {
            id,
            commit,
            opened_at: at,
            requested_by: None,
            typed: false,
            forward_only: false,
            bundles: BTreeMap::new(),
            commit_facts: None,
            phase: Phase::Gathering,
            phase_since: at,
            until: None,
            remind_at: None,
            artifacts: BTreeMap::new(),
            moved_tags: BTreeMap::new(),
            facts: None,
            doubt: None,
            plan: None,
            judgement: None,
            approvals: Vec::new(),
            glass: Vec::new(),
            findings: BTreeSet::new(),
            accepted_alarms: BTreeSet::new(),
            paused: false,
            promoted: false,
            policy: None,
            before: BTreeMap::new(),
            backup: None,
            progress: BTreeMap::new(),
            tests_passed: BTreeSet::new(),
            serving_since: None,
            watch: None,
            rollback: None,
            asking: None,
            resolving: None,
            live_at: None,
            keep_old_until: None,
        }
    }

    /// What the source says of the commit, by the latest reading.
    pub fn commit_facts(&self) -> Option<&CommitFacts> {
        self.facts.as_ref().and_then(|facts| facts.commit.as_ref()).or(self.commit_facts.as_ref())
    }

    fn know_finding(&mut self, id: &str) {
        if self.findings.len() < FINDINGS {
            self.findings.insert(id.to_owned());
        }
    }

    fn enter(&mut self, phase: Phase, at: Timestamp) {
        self.phase = phase;
        self.phase_since = at;
        self.until = None;
    }

    pub(super) fn apply(&mut self, seq: Seq, at: Timestamp, what: &What) {
        match what {
            What::ImageAdded { service, artifact, .. } => {
                self.artifacts.insert(service.clone(), artifact.clone());
            }
            What::TagMoved { service, to, .. } => {
                self.moved_tags.insert(service.clone(), *to);
            }
            What::Gathered { until, remind_at, .. } => {
                self.enter(Phase::Gated, at);
                self.until = Some(*until);
                self.remind_at = Some(*remind_at);
            }
            What::FactsRead { facts, .. } => {
                self.facts = Some(facts.clone());
                self.doubt = None;
            }
            What::Doubted { why, .. } => self.doubt = Some(why.clone()),
            What::Planned { plan, .. } => self.plan = Some(plan.clone()),
            What::Judged { judgement, .. } => self.judgement = Some(judgement.clone()),
            What::Approved { plan, who, typed, .. } => {
                self.approvals.push(Approval { plan: *plan, who: who.clone(), at, typed: *typed });
            }
            What::GlassBroken { plan, gates, who, reason, .. } => {
                let glass = Glass { plan: *plan, gates: gates.clone(), who: who.clone(), reason: reason.clone() };
                self.glass.push(glass);
            }
            What::VulnerabilityFound { finding, .. } => self.know_finding(finding),
            What::Reminded { next_at, .. } => self.remind_at = Some(*next_at),
            What::Began { policy, before, objects, .. } => {
                self.enter(Phase::BackingUp, at);
                // A rolling update has its second commit point here, and waits for its gates as long as at the first.
                self.until = Some(at + policy.gates.expire.max(policy.limits.backup));
                self.remind_at = None;
                self.before.clone_from(before);
                self.progress = progress(self, policy, objects);
                let facts = self.facts.clone();
                let given = facts.iter().flat_map(|facts| &facts.bundles);
                self.bundles = given.map(|(service, fact)| (service.clone(), fact.bundle.clone())).collect();
                let known = facts.iter().flat_map(|facts| facts.scans.values()).flat_map(|scan| &scan.findings);
                known.for_each(|finding| self.know_finding(&finding.id));
                self.forward_only |= self.commit_facts().is_some_and(|facts| facts.forward_only);
                self.policy = Some(policy.clone());
            }
            What::Cleared { .. } => {
                // It waits for others to deploy it no longer than it would have waited for its gates.
                let until = self.until;
                self.enter(Phase::Cleared, at);
                self.until = until;
                self.remind_at = None;
            }
            What::Intended { intention, .. } => self.intend(seq, at, &intention.action),
            What::Entered { phase, .. } => {
                self.enter(*phase, at);
                match phase {
                    Phase::Verifying => {
                        self.until = self.policy.as_ref().map(|policy| at + policy.gates.expire);
                    }
                    Phase::Watching => {
                        let (requests, failed) =
                            self.watch.as_ref().map_or((0, 0), |watch| (watch.requests, watch.failed));
                        let watch =
                            WatchState { since: at, measured_to: at, requests, failed, ..WatchState::default() };
                        self.watch = Some(watch);
                    }
                    _ => {}
                }
            }
            What::Measured { watch, .. } => self.watch = Some(watch.clone()),
            What::AlarmAccepted { alarm, .. } => {
                self.accepted_alarms.insert(alarm.clone());
            }
            What::Drifted { object, ours: false, .. } => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.stuck = Some(object.clone());
                }
            }
            What::Asked { why, until, .. } | What::NeedsHelp { why, until, .. } => {
                if matches!(what, What::NeedsHelp { .. }) {
                    self.enter(Phase::NeedsHelp, at);
                    // A person is asked anew: what they said before was of something else.
                    self.resolving = None;
                }
                self.asking = Some(Asking { why: why.clone(), until: *until, level: 1 });
            }
            What::Escalated { why, level, until, .. } => {
                self.asking = Some(Asking { why: why.clone(), until: *until, level: *level });
            }
            What::Promoted { .. } => {
                self.promoted = true;
                self.asking = None;
            }
            What::Paused { .. } => {
                self.paused = true;
                // Nothing else would bring a paused release to mind.
                if let Some(policy) = self.policy.as_ref().filter(|_| self.remind_at.is_none()) {
                    self.remind_at = Some(at + policy.gates.remind);
                }
            }
            What::Resumed { .. } => {
                self.paused = false;
                if self.phase.in_flight() {
                    self.remind_at = None;
                }
            }
            What::RollbackBegan { why, to, .. } => {
                self.enter(Phase::RollingBack, at);
                self.asking = None;
                self.resolving = None;
                let changed = self.progress.iter().filter(|(_, progress)| progress.changes);
                self.rollback = Some(Rollback {
                    why: why.clone(),
                    since: at,
                    seq,
                    to: to.clone(),
                    steps: changed.map(|(service, _)| (service.clone(), BackStep::Idle)).collect(),
                    restored_at: None,
                    stuck: None,
                });
            }
            What::WentLive { window_until, keep_old_until, .. } => {
                self.enter(Phase::Live, at);
                self.asking = None;
                self.live_at = Some(at);
                // Its gates are passed; what they looked at stays in the ledger. Only the authors are still asked for.
                if let Some(commit) = self.facts.take().and_then(|facts| facts.commit.clone()) {
                    self.commit_facts = Some(commit);
                }
                self.until = Some(*window_until);
                self.keep_old_until = Some(*keep_old_until);
            }
            What::OldReleased { .. } => self.keep_old_until = None,
            What::OldColourFreed { .. } => self.keep_old_until = Some(at),
            What::ResolveAsked { reason, .. } => self.resolving = Some(reason.clone()),
            What::ServiceBack { service, .. } => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.steps.insert(service.clone(), BackStep::Done);
                    rollback.note_restored(at);
                }
            }
            What::Arrived { serving, .. } => {
                for (service, progress) in &mut self.progress {
                    if let Some(serving) = serving.get(service) {
                        progress.colour = serving.colour;
                        progress.replicas = serving.replicas;
                    }
                    progress.share = ALL_TRAFFIC;
                    progress.step = Step::Switched;
                }
                self.serving_since = Some(at);
                self.enter(Phase::Watching, at);
                self.watch = Some(WatchState { since: at, measured_to: at, ..WatchState::default() });
            }
            _ => {}
        }
    }

    /// An intention was appended: the service it is for is at the step that waits for it.
    fn intend(&mut self, seq: Seq, at: Timestamp, action: &Action) {
        let (object, write) = match action {
            // A mark is no step of its service's.
            Action::Write(write) if write.purpose == Purpose::Mark => return,
            Action::Write(write) => (&write.object, Some(write)),
            Action::AwaitReady(ask) => (&ask.object, None),
            _ => return,
        };
        let Some(progress) = self.progress.get_mut(&object.service) else { return };
        if let Some(rollback) = &mut self.rollback {
            let own = Part::Workload(progress.colour);
            if let Some(step) = rollback.steps.get_mut(&object.service) {
                *step = match (write, *step) {
                    (None, BackStep::Stopped(_)) => BackStep::Ending(seq),
                    (None, BackStep::Claimed(_)) => BackStep::Confirming(seq),
                    (Some(_), BackStep::Idle) if object.part == own && is_stop(write) => BackStep::Stopping(seq),
                    (Some(_), BackStep::Idle | BackStep::Clear) => BackStep::Claiming(seq),
                    (Some(_), BackStep::Firm) if object.part == Part::Traffic => BackStep::Switching(seq),
                    (Some(_), BackStep::Firm | BackStep::Back) => BackStep::Draining(seq),
                    (_, step) => step,
                };
            }
            return;
        }
        let Some(write) = write else {
            progress.step = match progress.step {
                Step::Deployed(_) => Step::Rising(seq),
                // Before each further step its readiness is asked for again.
                Step::Claimed(_) | Step::Switched => Step::Confirming(seq),
                Step::Stopped(_) => Step::Ending(seq),
                step => step,
            };
            return;
        };
        let serves = match (write.purpose, write.to) {
            (Purpose::Deploy, Value::Workload { replicas, .. }) => replicas > 0 && self.before_colour_is(object),
            (Purpose::Claim, Value::Workload { replicas, .. }) => replicas > 0 && self.is_worker(&object.service),
            (Purpose::Switch, _) => true,
            _ => false,
        };
        if serves && self.serving_since.is_none() {
            self.serving_since = Some(at);
        }
        let Some(progress) = self.progress.get_mut(&object.service) else { return };
        progress.step = match (write.purpose, progress.step) {
            (Purpose::Deploy, _) => Step::Deploying(seq),
            (Purpose::Claim, _) => Step::Claiming(seq),
            (Purpose::Switch, _) => Step::Switching(seq),
            (Purpose::Drain, Step::Up | Step::Firm) => Step::Stopping(seq),
            (_, step) => step,
        };
    }

    /// Whether the object is the workload that serves before this release (a rolling one changes it in place).
    fn before_colour_is(&self, object: &ObjectKey) -> bool {
        self.before.get(&object.service).is_some_and(|serving| object.part == Part::Workload(serving.colour))
    }

    fn is_worker(&self, service: &ServiceName) -> bool {
        self.policy.as_ref().and_then(|policy| policy.service(service)).is_some_and(crate::policy::Service::is_worker)
    }

    /// An intention has its outcome: the service goes one step on, or back to where it can be intended again.
    pub(super) fn step_on(&mut self, at: Timestamp, intention: Seq, action: &Action, outcome: &Outcome) {
        let object = match (action, outcome) {
            (Action::BackUp { .. }, Outcome::BackedUp { index, .. }) => {
                self.backup = Some(index.clone());
                return;
            }
            (Action::RunTest { test, .. }, Outcome::TestPassed { .. }) => {
                self.tests_passed.insert(test.name.clone());
                return;
            }
            (Action::RunTest { test, .. }, Outcome::TestFailed { .. }) if !test.on_failure.is_stop() => {
                self.tests_passed.insert(test.name.clone());
                return;
            }
            (Action::Write(Write { object, .. }), Outcome::Written | Outcome::Drift(_)) => object,
            (Action::AwaitReady(ask), Outcome::Seen(_) | Outcome::Drift(_)) => &ask.object,
            _ => return,
        };
        let drift = matches!(outcome, Outcome::Drift(_));
        let worker = self.is_worker(&object.service);
        let rolling = self.policy.as_ref().is_some_and(|policy| policy.strategy == Strategy::Rolling);
        // Rolling changes what serves already; a first release has no traffic yet and still needs its switch.
        let serves_once_up = rolling && (worker || self.before.contains_key(&object.service));
        if let Some(rollback) = &mut self.rollback {
            if let Some(step) = rollback.steps.get_mut(&object.service) {
                *step = back_step(*step, intention, drift, worker);
            }
            rollback.note_restored(at);
            return;
        }
        let Some(progress) = self.progress.get_mut(&object.service) else { return };
        progress.step = match (progress.step, drift) {
            (Step::Deploying(_), true) => Step::Idle,
            (Step::Deploying(s), false) if s == intention => {
                if worker && !rolling {
                    Step::Up
                } else {
                    Step::Deployed(s)
                }
            }
            (Step::Claiming(_), true) => Step::Up,
            (Step::Claiming(s), false) if s == intention => Step::Claimed(s),
            (Step::Switching(_), true) => Step::Firm,
            (Step::Switching(s), false) if s == intention => {
                progress.share = share_of(action, progress.colour);
                Step::Switched
            }
            (Step::Stopping(_), true) => {
                if progress.share == 0 {
                    Step::Up
                } else {
                    Step::Firm
                }
            }
            (Step::Stopping(s), false) if s == intention => Step::Stopped(s),
            // The fence was taken off while its readiness was awaited: it is written again.
            (Step::Rising(s), true) if s == intention => Step::Idle,
            (Step::Confirming(s), true) if s == intention => {
                if worker {
                    Step::Clear
                } else {
                    Step::Up
                }
            }
            (Step::Ending(s), true) if s == intention => {
                if progress.share == 0 {
                    Step::Up
                } else {
                    Step::Firm
                }
            }
            (Step::Rising(s), _) if s == intention => {
                if serves_once_up {
                    progress.share = ALL_TRAFFIC;
                }
                Step::Up
            }
            (Step::Confirming(s), _) if s == intention => {
                if worker {
                    progress.share = ALL_TRAFFIC;
                }
                Step::Firm
            }
            (Step::Ending(s), _) if s == intention => Step::Clear,
            (step, _) => step,
        };
    }
}

/// The share that this colour has after a switch, in ten-thousandths.
fn share_of(action: &Action, colour: Colour) -> u16 {
    match action {
        Action::Write(Write { to: Value::Traffic { green }, .. }) => colour.share(*green),
        _ => ALL_TRAFFIC,
    }
}

fn is_stop(write: Option<&Write>) -> bool {
    write.is_some_and(|write| matches!(write.to, Value::Workload { replicas: 0, .. }))
}

fn back_step(step: BackStep, intention: Seq, drift: bool, worker: bool) -> BackStep {
    match (step, drift) {
        (BackStep::Stopping(_), true) => BackStep::Idle,
        (BackStep::Stopping(s), false) if s == intention => BackStep::Stopped(s),
        (BackStep::Ending(s), true) if s == intention => BackStep::Idle,
        (BackStep::Ending(s), false) if s == intention => BackStep::Clear,
        (BackStep::Confirming(s), true) if s == intention => {
            if worker {
                BackStep::Clear
            } else {
                BackStep::Idle
            }
        }
        (BackStep::Claiming(_), true) => {
            if worker {
                BackStep::Clear
            } else {
                BackStep::Idle
            }
        }
        (BackStep::Claiming(s), false) if s == intention => BackStep::Claimed(s),
        (BackStep::Confirming(s), _) if s == intention => BackStep::Firm,
        (BackStep::Switching(_), true) => BackStep::Firm,
        (BackStep::Switching(s), false) if s == intention => BackStep::Back,
        (BackStep::Draining(_), true) => BackStep::Back,
        (BackStep::Draining(s), false) if s == intention => BackStep::Done,
        (step, _) => step,
    }
}

/// What each service's way forward is, from what serves and what was found.
fn progress(
    release: &Release,
    policy: &Policy,
    objects: &BTreeMap<ObjectKey, Found>,
) -> BTreeMap<ServiceName, Progress> {
    let of = |service: &crate::policy::Service| {
        let artifact = release.artifacts.get(&service.name)?;
        let before = release.before.get(&service.name);
        let colour = match (before, &policy.strategy) {
            (None, _) => Colour::Blue,
            (Some(serving), Strategy::Rolling) => serving.colour,
            (Some(serving), Strategy::BlueGreen { .. }) => serving.colour.other(),
        };
        // Green starts with what blue has now: an autoscaler may have moved it since it was deployed.
        let current = before.and_then(|serving| {
            let found = objects.get(&ObjectKey::workload(&service.name, serving.colour))?;
            match found.stamp.as_ref()?.value {
                Value::Workload { replicas, .. } if replicas > 0 => Some(replicas),
                _ => None,
            }
        });
        // What is not there yet has what its manifest says.
        let wanted = objects.get(&ObjectKey::workload(&service.name, colour)).and_then(|found| found.wanted);
        let progress = Progress {
            colour,
            replicas: current.or(before.map(|serving| serving.replicas)).or(wanted).unwrap_or(1).max(1),
            changes: !artifact.kept && before.is_none_or(|serving| serving.digest != artifact.digest),
            step: Step::Idle,
            share: 0,
        };
        Some((service.name.clone(), progress))
    };
    policy.services.iter().filter_map(of).collect()
}

impl Rollback {
    /// Notes the moment from which every service's old pods serve; the rest is clean-up.
    fn note_restored(&mut self, at: Timestamp) {
        let served = |step: &BackStep| matches!(step, BackStep::Back | BackStep::Draining(_) | BackStep::Done);
        if self.restored_at.is_none() && self.steps.values().all(served) {
            self.restored_at = Some(at);
        }
    }
}

impl Progress {
    /// Whether the service serves the new digest, as far as this release moves it.
    pub fn is_switched(&self, kind: ServiceKind, has_old: bool) -> bool {
        match kind {
            ServiceKind::Serving => self.share == ALL_TRAFFIC,
            ServiceKind::Worker { overlap: true } if has_old => {
                self.share > 0 && matches!(self.step, Step::Stopped(_) | Step::Up)
            }
            ServiceKind::Worker { .. } => self.share > 0,
        }
    }
}
