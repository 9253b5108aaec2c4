//! From the backup to the watch: waves come up, tests run, the gates are judged again, traffic moves.

use std::collections::BTreeMap;

use super::Draft;
use crate::action::{Action, AwaitReady, Found, Measure, ObjectKey, Purpose, Stamp, Value};
use crate::event::{Reason, What};
use crate::names::{ReleaseId, Seq, ServiceName};
use crate::policy::{ALL_TRAFFIC, Colour, Metric, Policy, Service, ServiceKind, Strategy, Test, TestKind};
use crate::target::{Phase, Progress, Step};
use crate::time::Millis;
use crate::verdict::Verdict;

/// Between two looks at a workload that comes up.
const LOOK_AT_PODS: Millis = Millis::seconds(1);

/// Whether what was seen is what was asked for.
pub(super) fn is_ready(ask: &AwaitReady, found: &Found) -> bool {
    let Some(stamp) = &found.stamp else { return ask.replicas == 0 };
    let fenced = stamp.fence.as_ref().is_some_and(|fence| fence.seq >= ask.after);
    let holds = match stamp.value {
        Value::Workload { digest, replicas } => digest == ask.digest && replicas >= ask.replicas,
        Value::Traffic { .. } => false,
    };
    fenced && holds && if ask.replicas == 0 { found.ready == 0 } else { found.ready >= ask.replicas }
}

/// Whether somebody took our fence off while readiness is awaited: then nobody can say what happened to the object.
/// An older fence of ours may be an old reading, and is waited out.
pub(super) fn is_disturbed(ask: &AwaitReady, found: &Found) -> bool {
    match &found.stamp {
        Some(stamp) => stamp.fence.is_none(),
        None => ask.replicas > 0,
    }
}

fn is_same_image(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Workload { digest: one, .. }, Value::Workload { digest: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

impl Draft<'_> {
    pub(super) fn go_forward(&mut self, id: ReleaseId, phase: Phase) {
        if self.is_held(id) {
            return;
        }
        let policy = self.policy_of(id);
        match phase {
            Phase::BackingUp => {
                let backed_up = self.release(id).is_some_and(|release| release.backup.is_some());
                // A rolling deployment lets new code serve at once: its second commit point is here.
                if backed_up && (policy.strategy != Strategy::Rolling || self.holds_again(id)) {
                    self.push(What::Entered { release: id, phase: Phase::Deploying { wave: 0 } });
                }
            }
            Phase::Deploying { wave } => self.deploy(id, &policy, wave),
            Phase::Verifying => self.verify(id, &policy),
            Phase::Switching { step, wave } => self.switch(id, &policy, step, wave),
            Phase::Watching => self.watch(id, &policy),
            _ => {}
        }
    }

    fn changing(&self, id: ReleaseId, service: &Service) -> Option<Progress> {
        let release = self.release(id)?;
        release.progress.get(&service.name).filter(|progress| progress.changes).cloned()
    }

    fn digest(&self, id: ReleaseId, service: &ServiceName) -> Option<crate::digest::Digest> {
        Some(self.release(id)?.artifacts.get(service)?.digest)
    }

    /// Puts our fence on every object of the release that has none, its value as it is, and creates its workloads at
    /// rest. A write that expects no fence, or no object, could land late: on an object whose fence somebody took off,
    /// or where somebody deleted what a rollback had put to rest.
    fn mark(&mut self, id: ReleaseId, policy: &Policy) -> bool {
        let mut unmarked: Vec<(ObjectKey, Value)> = Vec::new();
        for service in &policy.services {
            let Some(progress) = self.changing(id, service) else { continue };
            let Some(digest) = self.digest(id, &service.name) else { continue };
            let own = ObjectKey::workload(&service.name, progress.colour);
            let workloads = [Colour::Blue, Colour::Green].map(|colour| ObjectKey::workload(&service.name, colour));
            for object in workloads.into_iter().chain([ObjectKey::traffic(&service.name)]) {
                let known = self.target().objects.get(&object).and_then(|known| known.confirmed.as_ref());
                match known {
                    Some(Stamp { fence: None, value }) => unmarked.push((object, *value)),
                    None if object == own => unmarked.push((object, Value::Workload { digest, replicas: 0 })),
                    _ => {}
                }
            }
        }
        let done = unmarked.is_empty();
        for (object, value) in unmarked {
            let is_marked = |action: &Action| matches!(action, Action::Write(write) if write.object == object);
            if !self.is_outstanding(id, is_marked) {
                self.intend_write(id, object, value, Purpose::Mark);
            }
        }
        done
    }

    fn deploy(&mut self, id: ReleaseId, policy: &Policy, wave: u16) {
        if !self.mark(id, policy) {
            return;
        }
        let mut all_up = true;
        for service in policy.services.iter().filter(|service| service.wave == wave) {
            let Some(progress) = self.changing(id, service) else { continue };
            all_up &= progress.step == Step::Up;
            let Some(digest) = self.digest(id, &service.name) else { continue };
            let object = ObjectKey::workload(&service.name, progress.colour);
            match progress.step {
                Step::Idle => {
                    // A worker serves when it starts: beside a live one it is only put there, at rest.
                    let rests = service.is_worker() && policy.strategy != Strategy::Rolling;
                    let replicas = if rests { 0 } else { progress.replicas };
                    self.intend_write(id, object, Value::Workload { digest, replicas }, Purpose::Deploy);
                }
                Step::Deployed(after) => self.await_ready(id, object, digest, progress.replicas, after),
                _ => {}
            }
        }
        if all_up {
            let phase = if wave + 1 < policy.waves() { Phase::Deploying { wave: wave + 1 } } else { Phase::Verifying };
            self.push(What::Entered { release: id, phase });
        }
    }

    pub(super) fn await_ready(
        &mut self,
        id: ReleaseId,
        object: ObjectKey,
        digest: crate::digest::Digest,
        replicas: u32,
        after: Seq,
    ) {
        let within = self.limits(id).ready;
        let ask = AwaitReady { object, digest, replicas, after };
        self.intend(id, Action::AwaitReady(ask), Some(LOOK_AT_PODS), within);
    }

    fn verify(&mut self, id: ReleaseId, policy: &Policy) {
        let Some(release) = self.release(id) else { return };
        let against = self.colours(id, policy.services.iter().filter(|service| !service.is_worker()).cloned());
        // Where only workers change there is nobody to send a request to.
        let is_about = |test: &&Test| !against.is_empty() || !matches!(test.kind, TestKind::Http { .. });
        let open = policy.verify.iter().filter(is_about).find(|test| !release.tests_passed.contains(&test.name));
        if let Some(test) = open {
            if !self.is_outstanding(id, |action| matches!(action, Action::RunTest { .. })) {
                let within = test.within;
                self.intend(id, Action::RunTest { test: test.clone(), against }, Some(LOOK_AT_PODS), within);
            }
            return;
        }
        let to_switch =
            self.groups(id, policy).iter().flatten().any(|service| !self.is_switched(id, service, ALL_TRAFFIC));
        if !to_switch {
            self.push(What::Entered { release: id, phase: Phase::Watching });
            return;
        }
        if let Strategy::BlueGreen { manual: true, .. } = policy.strategy
            && !release.promoted
        {
            self.ask(id, "green is up and tested; traffic moves when a person says so");
            return;
        }
        if self.holds_again(id) {
            self.push(What::Entered { release: id, phase: Phase::Switching { step: 0, wave: 0 } });
        }
    }

    /// The second commit point: before new code serves, the gates are judged again for the same plan on fresh facts.
    fn holds_again(&mut self, id: ReleaseId) -> bool {
        self.look(id);
        if !self.is_fresh(id) {
            return false;
        }
        let Some(judgement) = self.judge(id) else { return false };
        if judgement.verdict() == Verdict::Block {
            self.begin_rollback(id, Reason::Step { why: judgement.blocked_by() });
        }
        judgement.verdict() == Verdict::Pass
    }

    /// The services that change, by the colour that gets the new digest.
    fn colours(&self, id: ReleaseId, services: impl Iterator<Item = Service>) -> BTreeMap<ServiceName, Colour> {
        services.filter_map(|service| Some((service.name.clone(), self.changing(id, &service)?.colour))).collect()
    }

    /// What switches together, in order: services with traffic wave by wave, then workers wave by wave.
    fn groups<'p>(&self, id: ReleaseId, policy: &'p Policy) -> Vec<Vec<&'p Service>> {
        let mut groups: BTreeMap<(bool, u16), Vec<&Service>> = BTreeMap::new();
        for service in &policy.services {
            if self.changing(id, service).is_some() {
                groups.entry((service.is_worker(), service.wave)).or_default().push(service);
            }
        }
        groups.into_values().collect()
    }

    /// Whether the service has this share of its traffic on the new colour. A worker has no share: it starts with the
    /// last step.
    fn is_switched(&self, id: ReleaseId, service: &Service, share: u16) -> bool {
        let Some(progress) = self.changing(id, service) else { return true };
        match service.kind {
            ServiceKind::Serving => progress.share >= share,
            ServiceKind::Worker { .. } => {
                share < ALL_TRAFFIC || progress.is_switched(service.kind, self.has_old(id, service))
            }
        }
    }

    fn has_old(&self, id: ReleaseId, service: &Service) -> bool {
        self.release(id).is_some_and(|release| release.before.contains_key(&service.name))
    }

    /// The shares that this release's traffic moves in. Only what old pods serve can be shared with them: a release
    /// without any has one step.
    fn steps<'p>(&self, id: ReleaseId, policy: &'p Policy) -> &'p [u16] {
        let all = policy.strategy.steps();
        let shared = policy.services.iter().any(|service| self.is_shared(id, service));
        if shared { all } else { &all[all.len() - 1..] }
    }

    fn is_shared(&self, id: ReleaseId, service: &Service) -> bool {
        !service.is_worker() && self.changing(id, service).is_some() && self.has_old(id, service)
    }

    /// The step that follows the one a release is watched at; none = all its traffic has moved.
    pub(super) fn next_step(&self, id: ReleaseId, policy: &Policy) -> Option<u16> {
        let shared = policy.services.iter().filter(|service| self.is_shared(id, service));
        let least = shared.filter_map(|service| Some(self.changing(id, service)?.share)).min()?;
        let next = self.steps(id, policy).iter().position(|share| *share > least)?;
        u16::try_from(next).ok()
    }

    fn switch(&mut self, id: ReleaseId, policy: &Policy, step: u16, wave: u16) {
        let steps = self.steps(id, policy);
        let share = steps.get(usize::from(step)).copied().unwrap_or(ALL_TRAFFIC);
        let mut groups = self.groups(id, policy);
        if share < ALL_TRAFFIC {
            groups.retain(|group| group.iter().any(|service| !service.is_worker()));
        }
        let Some(group) = groups.get(usize::from(wave)) else {
            self.push(What::Entered { release: id, phase: Phase::Watching });
            return;
        };
        // What has no old pods takes all of its traffic at the first step.
        let wanted = |draft: &Self, service: &Service| if draft.has_old(id, service) { share } else { ALL_TRAFFIC };
        if group.iter().all(|service| self.is_switched(id, service, wanted(self, service))) {
            let wave = wave + 1;
            let more = usize::from(wave) < groups.len();
            let phase = if more { Phase::Switching { step, wave } } else { Phase::Watching };
            self.push(What::Entered { release: id, phase });
            return;
        }
        for service in group {
            let share = wanted(self, service);
            if !self.is_switched(id, service, share) {
                self.switch_service(id, service, share);
            }
        }
    }

    /// The next thing to do until this share of the service's traffic is on its new colour.
    fn switch_service(&mut self, id: ReleaseId, service: &Service, share: u16) {
        let (Some(progress), Some(digest)) = (self.changing(id, service), self.digest(id, &service.name)) else {
            return;
        };
        let own = ObjectKey::workload(&service.name, progress.colour);
        let old = self.release(id).and_then(|release| release.before.get(&service.name)).cloned();
        let claim = Value::Workload { digest, replicas: progress.replicas };
        let stop_old = |draft: &mut Self| {
            if let Some(old) = &old {
                let object = ObjectKey::workload(&service.name, old.colour);
                let to = Value::Workload { digest: old.digest, replicas: 0 };
                draft.intend_write(id, object, to, Purpose::Drain);
            }
        };
        match (service.kind, progress.step) {
            (ServiceKind::Worker { overlap: false }, Step::Up) if old.is_some() => stop_old(self),
            (ServiceKind::Worker { overlap: true }, Step::Firm) => stop_old(self),
            (ServiceKind::Worker { overlap: false }, Step::Stopped(after)) => {
                if let Some(old) = &old {
                    let object = ObjectKey::workload(&service.name, old.colour);
                    self.await_ready(id, object, old.digest, 0, after);
                }
            }
            (_, Step::Up | Step::Clear) => self.intend_write(id, own, claim, Purpose::Claim),
            (_, Step::Claimed(after)) => self.await_ready(id, own, digest, progress.replicas, after),
            // The next step: what was claimed for the first one must be ready still.
            (ServiceKind::Serving, Step::Switched) => {
                let known = self.target().objects.get(&own).and_then(|known| known.confirmed.as_ref());
                let after = known.and_then(|stamp| stamp.fence.as_ref()).map_or(Seq(0), |fence| fence.seq);
                self.await_ready(id, own, digest, progress.replicas, after);
            }
            (ServiceKind::Serving, Step::Firm) => {
                let green = progress.colour.share(share.min(ALL_TRAFFIC));
                let object = ObjectKey::traffic(&service.name);
                self.intend_write(id, object, Value::Traffic { green }, Purpose::Switch);
            }
            _ => {}
        }
    }

    fn watch(&mut self, id: ReleaseId, policy: &Policy) {
        self.keep_scanning(id, policy);
        if self.is_outstanding(id, |action| matches!(action, Action::Measure(_))) {
            return;
        }
        let mut metrics: std::collections::BTreeSet<Metric> =
            policy.watch.healthy.iter().chain(&policy.roll_back.when).map(|trigger| trigger.metric).collect();
        metrics.insert(Metric::Requests);
        // A worker that waits for the last step has nothing to say yet.
        let works = |service: &&Service| self.changing(id, service).is_some_and(|progress| progress.share > 0);
        let measure = Measure {
            services: self.colours(id, policy.services.iter().filter(works).cloned()),
            metrics,
            every: policy.watch.every,
            alarms: policy.watch.alarms_roll_back.iter().chain(&policy.watch.alarms_ask).cloned().collect(),
        };
        // It stands as long as the rollback window, which has a limit of its own.
        self.intend(id, Action::Measure(measure), Some(policy.watch.every), Millis::days(365));
    }

    /// An object holds something else than expected. What is one of ours is gone on from; else a person is asked.
    pub(super) fn drifted(
        &mut self,
        id: ReleaseId,
        intention: Seq,
        (object, to): (&ObjectKey, Option<Value>),
        found: &Found,
    ) {
        let known = self.expected(object);
        let target = self.target();
        let newest = (target.epoch, target.seq);
        let ours = found.foreign.is_none()
            && match &found.stamp {
                None => known.contains(&None),
                Some(stamp) => {
                    let fence_is_ours =
                        stamp.fence.is_none() || target.own_fence(stamp).is_some_and(|fence| fence <= newest);
                    let mut values = known.iter().flatten().map(|stamp| stamp.value).chain(to);
                    // How many pods a workload has is an autoscaler's business, too: only another image is not ours.
                    fence_is_ours && values.any(|value| is_same_image(&value, &stamp.value))
                }
            };
        let outcome = crate::action::Outcome::Drift(found.clone());
        self.done(id, intention, &outcome);
        self.push(What::Drifted { release: id, object: object.clone(), found: found.clone(), ours });
        if !ours {
            let by = found.written_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let why = match (&found.stamp, &found.foreign) {
                (Some(_), _) => {
                    format!("{object} was changed{by}; it holds what Portcullis never wrote. Not overwritten")
                }
                (None, Some(foreign)) => {
                    format!("{object} was changed{by}; it has {foreign}, which Portcullis never wrote. Not overwritten")
                }
                (None, None) => format!("{object} was deleted{by}. It is not created again by itself"),
            };
            self.needs_help(id, why);
        }
    }

    /// In `gate` mode: what others deployed. Once it is this release, it is watched like one of ours.
    pub(super) fn observed(&mut self, id: ReleaseId, intention: Seq, objects: &BTreeMap<ObjectKey, Found>) {
        let now = super::gates::serving(objects, self.policy, &self.target().live);
        let Some(release) = self.release(id) else { return };
        if let Some(reason) = release.resolving.clone() {
            self.take_as_found(id, intention, objects, now, reason);
            return;
        }
        if release.phase == Phase::Live {
            self.observed_live(id, intention, objects);
            return;
        }
        let arrived = release.phase == Phase::Cleared
            && release
                .artifacts
                .iter()
                .all(|(service, artifact)| now.get(service).is_some_and(|serving| serving.digest == artifact.digest));
        if !arrived {
            self.compare_live(objects);
            return;
        }
        let Some(plan) = release.plan.as_ref().map(|plan| plan.id) else { return };
        let before = self.target().live.clone();
        let policy = self.policy.share();
        self.push(What::Began { release: id, plan, policy, before, objects: objects.clone() });
        self.push(What::Arrived { release: id, serving: now });
    }
}
