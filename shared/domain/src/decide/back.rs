//! The way back: it waits for no gate, covers everything the release may have touched, and ends in a known state.

use super::Draft;
use crate::action::{ObjectKey, Purpose, Stamp, Value};
use crate::event::{End, Reason, What};
use crate::names::{ReleaseId, ServiceName};
use crate::policy::{ALL_TRAFFIC, Service, ServiceKind, Strategy};
use crate::target::{BackStep, Phase, Step};

impl Draft<'_> {
    /// Begins the way back. A release that changed nothing yet simply ends.
    pub(super) fn begin_rollback(&mut self, id: ReleaseId, why: Reason) {
        let Some(release) = self.release(id) else { return };
        if release.phase == Phase::BackingUp {
            let end = if matches!(why, Reason::Person { .. }) { End::Cancelled } else { End::Failed };
            self.settle(id, end, why.to_string());
            return;
        }
        if release.phase == Phase::RollingBack {
            return;
        }
        let (to, served) = (release.before.clone(), release.serving_since.is_some());
        let forward_only = release.forward_only && why.is_automatic();
        if forward_only && release.phase == Phase::NeedsHelp {
            return;
        }
        // A release that is being backed up has changed nothing: it makes way for the rollback of the one that serves.
        if let Some(other) = self.target().in_flight.filter(|other| *other != id) {
            self.settle(other, End::Cancelled, format!("release {id}, which it was to replace, is rolled back"));
        }
        if forward_only {
            let why = format!(
                "{why}. It is forward-only, so nothing is undone by itself: a person rolls it back or resolves it"
            );
            self.needs_help(id, why);
            return;
        }
        let counts = served && why.is_automatic();
        self.push(What::RollbackBegan { release: id, why, to, served });
        if counts {
            self.govern(id);
        }
    }

    /// Too many automatic rollbacks in a short time stop the line: the next release would only be the next one undone.
    fn govern(&mut self, id: ReleaseId) {
        let governor = self.policy_of(id).governor;
        let since = self.now() - governor.within;
        let recent = self.target().rollbacks.iter().filter(|at| **at >= since).count();
        if recent >= usize::from(governor.rollbacks.max(1)) && self.target().line_stopped.is_none() {
            let many = if recent == 1 { "rollback" } else { "rollbacks" };
            let why = format!("{recent} automatic {many} within {}", governor.within);
            self.push(What::LineStopped { why });
        }
    }

    /// One step on the way back, for every service at once.
    pub(super) fn go_back(&mut self, id: ReleaseId) {
        if self.target().hands_off.is_some() {
            return;
        }
        let Some(release) = self.release(id) else { return };
        let Some(rollback) = release.rollback.clone() else { return };
        if rollback.stuck.is_some() || release.resolving.is_some() {
            return;
        }
        let policy = self.policy_of(id);
        for service in &policy.services {
            if let Some(step) = rollback.steps.get(&service.name) {
                self.step_back(id, service, *step, policy.strategy == Strategy::Rolling);
            }
        }
        let Some(release) = self.release(id) else { return };
        let Some(rollback) = &release.rollback else { return };
        if !rollback.steps.values().all(|step| *step == BackStep::Done) {
            return;
        }
        let orphan = rollback.steps.keys().find(|service| !rollback.to.contains_key(*service));
        if let Some(service) = orphan.filter(|_| release.serving_since.is_some()) {
            if release.phase != Phase::NeedsHelp {
                let why = format!("{service} was never live before this release: there is nothing to return to");
                self.needs_help(id, why);
            }
            return;
        }
        let restored_at = rollback.restored_at.unwrap_or(self.given.now);
        self.push(What::RolledBack { release: id, restored_at });
    }

    fn step_back(&mut self, id: ReleaseId, service: &Service, step: BackStep, rolling: bool) {
        let Some(release) = self.release(id) else { return };
        let (Some(progress), Some(artifact)) =
            (release.progress.get(&service.name).cloned(), release.artifacts.get(&service.name))
        else {
            return;
        };
        let digest = artifact.digest;
        let own = ObjectKey::workload(&service.name, progress.colour);
        let at_rest = Value::Workload { digest, replicas: 0 };
        let old = release.rollback.as_ref().and_then(|rollback| rollback.to.get(&service.name)).cloned();
        let Some(old) = old else {
            self.step_back_to_nothing(id, service, step, &own, at_rest);
            return;
        };
        let old_object = ObjectKey::workload(&service.name, old.colour);
        // Where the old digest comes back in the same Deployment, there is nothing beside it to stop or drain.
        let rolling = rolling || old.colour == progress.colour;
        // An autoscaler may have given it more meanwhile: nobody takes those away from what is about to serve. In the
        // same Deployment it gave them to the new digest.
        let scaled = match self.target().objects.get(&old_object).and_then(|known| known.confirmed.as_ref()) {
            Some(Stamp { value: Value::Workload { digest, replicas }, .. }) if rolling || *digest == old.digest => {
                *replicas
            }
            _ => 0,
        };
        let replicas = old.replicas.max(progress.replicas).max(scaled);
        let old_value = Value::Workload { digest: old.digest, replicas };
        let stop_first = matches!(service.kind, ServiceKind::Worker { overlap: false }) && !rolling;
        match step {
            BackStep::Idle if stop_first => self.intend_write(id, own, at_rest, Purpose::Restore),
            BackStep::Stopped(after) => self.await_ready(id, own, digest, 0, after),
            BackStep::Idle | BackStep::Clear => self.intend_write(id, old_object, old_value, Purpose::Restore),
            BackStep::Claimed(after) => self.await_ready(id, old_object, old.digest, replicas, after),
            BackStep::Firm if service.is_worker() && (stop_first || rolling) => self.back(id, &service.name),
            BackStep::Firm if service.is_worker() => self.intend_write(id, own, at_rest, Purpose::Restore),
            BackStep::Firm => {
                let green = old.colour.share(ALL_TRAFFIC);
                let object = ObjectKey::traffic(&service.name);
                self.intend_write(id, object, Value::Traffic { green }, Purpose::Restore);
            }
            BackStep::Back if rolling => self.back(id, &service.name),
            BackStep::Back => self.intend_write(id, own, at_rest, Purpose::Restore),
            _ => {}
        }
    }

    /// A service that was not live before: its new pods are stopped unless they alone answer requests.
    fn step_back_to_nothing(
        &mut self,
        id: ReleaseId,
        service: &Service,
        step: BackStep,
        own: &ObjectKey,
        at_rest: Value,
    ) {
        let Some(progress) = self.release(id).and_then(|release| release.progress.get(&service.name)) else { return };
        let answers = progress.share > 0 || matches!(progress.step, Step::Switching(_));
        match step {
            BackStep::Idle if answers => self.back(id, &service.name),
            BackStep::Idle => self.intend_write(id, own.clone(), at_rest, Purpose::Restore),
            BackStep::Stopped(_) | BackStep::Claimed(_) => self.back(id, &service.name),
            _ => {}
        }
    }

    fn back(&mut self, id: ReleaseId, service: &ServiceName) {
        self.push(What::ServiceBack { release: id, service: service.clone() });
    }
}
