//! The watch: measured windows, thresholds, readiness, alarms. Missing data is never healthy.

use std::collections::{BTreeMap, BTreeSet};

use super::Draft;
use crate::action::{Action, Found, Measure, ObjectKey, Outcome, Purpose, Value, Window};
use crate::event::{Actor, Reason, What};
use crate::facts::{AlarmFact, AlarmState};
use crate::glob;
use crate::names::{AlarmName, ReleaseId, Seq, ServiceName};
use crate::policy::{ALL_TRAFFIC, HoldFor, Metric, Policy, Trigger};
use crate::target::{Breach, Phase, Release, WatchState};
use crate::time::{Millis, Timestamp};

/// What one window said of a watch.
struct Said {
    watch: WatchState,
    undo: Option<Reason>,
    conclusive: bool,
}

impl Draft<'_> {
    /// One window of a watch was measured.
    pub(super) fn measured(
        &mut self,
        id: ReleaseId,
        measure: &Measure,
        (from, to): (Timestamp, Timestamp),
        services: &BTreeMap<ServiceName, Window>,
        alarms: &BTreeMap<AlarmName, AlarmFact>,
    ) {
        self.read_alarms(alarms);
        let Some(release) = self.release(id) else { return };
        let (phase, Some(watch)) = (release.phase, release.watch.clone()) else { return };
        // Windows join without a gap while watching; a doubled or late one says nothing. Once live, the newest counts.
        let joins = match phase {
            Phase::Watching => from == watch.measured_to && to > from,
            Phase::Live => from >= watch.measured_to && to > from,
            _ => false,
        };
        if !joins || to > self.now() + Millis::seconds(5) {
            return;
        }
        let policy = self.policy_of(id);
        let said = judge_window(release, &policy, measure, &watch, (from, to), services);
        let news = said.watch.breaches != watch.breaches || said.watch.unready != watch.unready;
        if phase == Phase::Watching || news || said.undo.is_some() {
            let saw = line(services, said.conclusive);
            self.push(What::Measured { release: id, watch: said.watch.clone(), saw });
        }
        if let Some(why) = said.undo {
            self.begin_rollback(id, why);
            return;
        }
        if phase != Phase::Watching {
            return;
        }
        let (asking, paused) = self.release(id).map_or((true, true), |r| (r.asking.is_some(), r.paused));
        if let Some(step) = self.next_step(id, &policy) {
            // A release that was held may have been healthy long ago: what counts is that it is now.
            let well = said.conclusive && said.watch.breaches.is_empty() && said.watch.unready.is_empty();
            if well && said.watch.healthy >= policy.strategy.every() && !self.is_held(id) {
                self.take_step(id, step);
                return;
            }
        } else if said.watch.healthy >= policy.watch.length && !asking && !paused {
            self.go_live(id, &policy);
            return;
        }
        if said.watch.inconclusive > policy.watch.extend && !asking {
            self.ask(id, "the watch is inconclusive: too little traffic or no data. Promote it, or roll it back");
        }
    }

    /// More traffic moves to the new colour.
    pub(super) fn take_step(&mut self, id: ReleaseId, step: u16) {
        self.push(What::Entered { release: id, phase: Phase::Switching { step, wave: 0 } });
    }

    pub(super) fn go_live(&mut self, id: ReleaseId, policy: &Policy) {
        let now = self.now();
        let window_until = now + policy.roll_back.window;
        let keep_old_until = now + policy.roll_back.keep_old.min(policy.roll_back.window);
        self.push(What::WentLive { release: id, window_until, keep_old_until });
    }

    /// Alarms as read with a window: the same as if each had told us.
    fn read_alarms(&mut self, alarms: &BTreeMap<AlarmName, AlarmFact>) {
        for (alarm, fact) in alarms {
            self.alarm(alarm, fact.state, fact.changed_at, "", false);
        }
    }

    /// An alarm changed. An older change than the one known says nothing of now; one that rang while a release served
    /// undoes it even if its message comes after the all-clear.
    pub(super) fn alarm(
        &mut self,
        alarm: &AlarmName,
        state: AlarmState,
        changed_at: Timestamp,
        reason: &str,
        suppressed: bool,
    ) {
        let fact = AlarmFact { state, changed_at };
        let known = self.target().alarms.get(alarm);
        let late = known.is_some_and(|known| known.changed_at > changed_at);
        if known == Some(&fact) || (late && state != AlarmState::Alarm) {
            return;
        }
        let ids = [self.target().in_flight, self.target().live_release];
        let watching: Vec<ReleaseId> = ids.into_iter().flatten().collect();
        let named = |patterns: &[String]| patterns.iter().any(|pattern| glob::matches(pattern, alarm.as_str()));
        let current = &self.policy.watch;
        let mut concerns = named(&current.alarms_roll_back) || named(&current.alarms_ask);
        for id in &watching {
            let policy = self.policy_of(*id);
            concerns |= named(&policy.watch.alarms_roll_back) || named(&policy.watch.alarms_ask);
        }
        if !concerns || suppressed {
            return;
        }
        if !late {
            self.actor = Actor::Outside;
            self.push(What::AlarmSeen { alarm: alarm.clone(), fact });
            self.actor = Actor::Portcullis;
        }
        if state != AlarmState::Alarm {
            return;
        }
        for id in watching {
            let policy = self.policy_of(id);
            let Some(release) = self.release(id) else { continue };
            let after = release.serving_since.is_some_and(|since| changed_at >= since);
            let accepted = release.accepted_alarms.contains(alarm);
            if !after || accepted || !release.phase.is_forward() {
                continue;
            }
            if named(&policy.watch.alarms_roll_back) {
                self.begin_rollback(id, Reason::Alarm { alarm: alarm.clone(), reason: reason.to_owned() });
            } else if !late
                && named(&policy.watch.alarms_ask)
                && release.asking.is_none()
                && release.phase != Phase::Live
            {
                self.ask(id, format!("alarm {alarm} rings; promote the release, or roll it back"));
            }
        }
    }

    /// A live release: the old colour is let go when its time is over, after a look at where traffic really goes. Only
    /// then does the window close: what is left of the release goes with it, and nobody would let the old pods go.
    pub(super) fn live(&mut self, id: ReleaseId) {
        let policy = self.policy_of(id);
        self.keep_scanning(id, &policy);
        let Some(release) = self.release(id) else { return };
        let (kept, asking, over) = (release.keep_old_until, release.asking.is_some(), self.window_over(release));
        if kept.is_none() && over.is_some() {
            self.push(What::WindowClosed { release: id });
            return;
        }
        let Some(until) = kept else { return };
        // Nothing is kept where nothing was before, or is any more: the next release waits for nobody.
        if self.old_at_work(id).is_empty() {
            self.push(What::OldReleased { release: id });
            return;
        }
        if until > self.now() || self.target().hands_off.is_some() {
            return;
        }
        if !self.is_outstanding(id, |action| matches!(action, Action::Write(_) | Action::Observe)) {
            let every = self.limits(id).look;
            self.intend(id, Action::Observe, Some(every), Millis::days(365));
        } else if over.is_some_and(|until| until + policy.limits.write <= self.now()) && !asking {
            let why = "its window is over, and its old pods could not be let go. Close the window to leave them, or \
                       roll it back";
            self.ask(id, why);
        }
    }

    /// When the window of a live release ended, if it did: only its old pods keep it open.
    pub(super) fn window_over(&self, release: &Release) -> Option<Timestamp> {
        release.until.filter(|until| release.phase == Phase::Live && *until <= self.now())
    }

    /// The old workloads of a live release that still have pods.
    fn old_at_work(&self, id: ReleaseId) -> Vec<(ObjectKey, Value)> {
        let Some(release) = self.release(id) else { return Vec::new() };
        let changed = release.progress.iter().filter(|(_, progress)| progress.changes);
        changed
            .filter_map(|(service, progress)| {
                let before = release.before.get(service).filter(|before| before.colour != progress.colour)?;
                let object = ObjectKey::workload(service, before.colour);
                let to = Value::Workload { digest: before.digest, replicas: 0 };
                let confirmed = self.target().objects.get(&object)?.confirmed.as_ref()?;
                (confirmed.value != to).then_some((object, to))
            })
            .collect()
    }

    /// What a live release's objects are, before its old colour is let go. Where a person moved traffic, it is not.
    pub(super) fn observed_live(&mut self, id: ReleaseId, intention: Seq, objects: &BTreeMap<ObjectKey, Found>) {
        let Some(release) = self.release(id) else { return };
        let policy = self.policy_of(id);
        let as_left = release.progress.iter().filter(|(_, progress)| progress.changes).all(|(service, progress)| {
            let green = progress.colour.share(ALL_TRAFFIC);
            let traffic = objects.get(&ObjectKey::traffic(service)).and_then(|found| found.stamp.as_ref());
            let worker = policy.service(service).is_some_and(crate::policy::Service::is_worker);
            worker || traffic.is_some_and(|stamp| stamp.value == Value::Traffic { green })
        });
        if !as_left {
            self.compare_live(objects);
            return;
        }
        self.done(id, intention, &Outcome::Observed(objects.clone()));
        for (object, to) in self.old_at_work(id) {
            self.intend_write(id, object, to, Purpose::Drain);
        }
    }
}

fn judge_window(
    release: &Release,
    policy: &Policy,
    measure: &Measure,
    watch: &WatchState,
    (from, to): (Timestamp, Timestamp),
    services: &BTreeMap<ServiceName, Window>,
) -> Said {
    let length = to.since(from);
    let mut next = WatchState { measured_to: to, ..watch.clone() };
    let mut undo = None;
    let mut conclusive = true;
    next.breaches.clear();
    // A worker has no traffic to judge by; its readiness and the alarms speak for it.
    let with_traffic = |name: &&ServiceName| policy.service(name).is_none_or(|service| !service.is_worker());
    for service in measure.services.keys().filter(with_traffic) {
        let window = services.get(service);
        let enough = window.is_some_and(|window| has_traffic(window, policy.watch.traffic));
        conclusive &= enough;
        let Some(window) = window else { continue };
        next.requests += window.requests;
        next.failed += window.failed;
        for (index, trigger) in triggers(policy, release.phase) {
            let Some(value) = window.values.get(&trigger.metric).copied() else {
                conclusive = false;
                continue;
            };
            // A share of next to no requests is noise; a request count of its own is not.
            if !enough && trigger.metric != Metric::Requests {
                continue;
            }
            if !trigger.breach.holds(value, trigger.limit) {
                continue;
            }
            let before = watch.breaches.iter().find(|b| b.service == *service && b.trigger == index);
            let breach = Breach {
                service: service.clone(),
                trigger: index,
                points: before.map_or(1, |b| b.points.saturating_add(1)),
                time: Millis(before.map_or(0, |b| b.time.0) + length.0),
            };
            if undo.is_none() && lasted(&breach, trigger.hold) {
                undo = Some(Reason::Threshold {
                    service: service.clone(),
                    metric: trigger.metric,
                    value,
                    limit: trigger.limit,
                    rule: rule(policy, index, trigger),
                });
            }
            next.breaches.push(breach);
        }
    }
    let unready = unready(release, services);
    next.unready.retain(|service, _| unready.contains(service));
    for service in unready {
        let since = *next.unready.entry(service.clone()).or_insert(from);
        let failing = to.since(since);
        if undo.is_none() && policy.roll_back.health_failing_for.is_some_and(|limit| failing >= limit) {
            undo = Some(Reason::Health { service, failing });
        }
    }
    if !conclusive {
        next.inconclusive = Millis(next.inconclusive.0 + length.0);
    } else if next.breaches.is_empty() && next.unready.is_empty() {
        next.healthy = Millis(next.healthy.0 + length.0);
    }
    Said { watch: next, undo, conclusive }
}

fn has_traffic(window: &Window, floor: Option<u64>) -> bool {
    let rate = window.values.get(&Metric::Requests).copied().unwrap_or(0);
    window.requests > 0 && floor.is_none_or(|floor| u64::try_from(rate).unwrap_or(0) >= floor)
}

/// The triggers in force with their index: until live also what must stay healthy.
fn triggers(policy: &Policy, phase: Phase) -> impl Iterator<Item = (u16, &Trigger)> {
    let healthy = policy.watch.healthy.len();
    let all = policy.watch.healthy.iter().chain(&policy.roll_back.when);
    (0..).zip(all).filter(move |(index, _)| phase == Phase::Watching || usize::from(*index) >= healthy)
}

fn lasted(breach: &Breach, hold: HoldFor) -> bool {
    match hold {
        HoldFor::Points(points) => breach.points >= points,
        HoldFor::Time(time) => breach.time >= time,
    }
}

/// The rule in the words of the policy.
fn rule(policy: &Policy, index: u16, trigger: &Trigger) -> String {
    let limit = trigger.metric.show(trigger.limit);
    if usize::from(index) < policy.watch.healthy.len() {
        format!("must stay {} {limit}", trigger.breach.negated())
    } else {
        format!("rolls back {} {limit}", trigger.breach)
    }
}

/// Services that change and have fewer ready pods than they were given.
fn unready(release: &Release, services: &BTreeMap<ServiceName, Window>) -> BTreeSet<ServiceName> {
    release
        .progress
        .iter()
        // A worker that waits for the last step has no pods yet.
        .filter(|(_, progress)| progress.changes && progress.share > 0)
        .filter(|(service, progress)| {
            services.get(*service).and_then(|window| window.ready).is_some_and(|ready| ready < progress.replicas)
        })
        .map(|(service, _)| service.clone())
        .collect()
}

fn line(services: &BTreeMap<ServiceName, Window>, conclusive: bool) -> String {
    let mut parts: Vec<String> = services
        .iter()
        .filter(|(_, window)| !window.values.is_empty())
        .map(|(service, window)| {
            let show = |metric: Metric| window.values.get(&metric).map(|value| metric.show(*value));
            let errors = show(Metric::ErrorRate).map(|value| format!(" errors {value}")).unwrap_or_default();
            let p95 = show(Metric::ResponseTimeP95).map(|value| format!(" p95 {value}")).unwrap_or_default();
            format!("{service}{errors}{p95}")
        })
        .collect();
    if !conclusive {
        parts.push("inconclusive".to_owned());
    }
    parts.join("  ")
}
