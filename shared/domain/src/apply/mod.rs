//! `apply`: folds one event into the state. It judges nothing; what an event says has happened.

mod release;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::{Action, Found, ObjectKey, Outcome, Stamp};
use crate::event::{Event, What};
use crate::names::{ReleaseId, Seq, ServiceName};
use crate::target::{Ended, Outstanding, Phase, Release, Serving, Target, Tried};
use crate::time::Timestamp;

/// How many tried commits are remembered for telling what is newer.
const COMMITS: usize = 50;
/// How many ended releases `rollback --to` can name.
const ENDED: usize = 10;
/// How many rolled-back digests, alarms are remembered.
const REMEMBERED: usize = 200;
/// How many automatic rollbacks are remembered.
const ROLLBACKS: usize = 20;

/// Folds one event into the state.
pub fn apply(target: &mut Target, event: &Event) {
    target.seq = event.seq;
    let at = event.at;
    match &event.what {
        What::Adopted { ledger, live, objects } => {
            target.adopted = true;
            target.ledger = Some(ledger.clone());
            target.live.clone_from(live);
            target.confirm(objects);
        }
        What::LiveChangedOutside { live, objects } => {
            target.live.extend(live.iter().map(|(service, serving)| (service.clone(), serving.clone())));
            target.confirm(objects);
            if let Some(release) = target.live_release.take() {
                target.forget(release);
            }
        }
        What::Opened { release, commit, pushed_at, requested_by, typed, forward_only, facts, gather_until, .. } => {
            if let Some(newest) = target.commits.first_mut() {
                newest.ancestors.clear();
            }
            let ancestors = facts.as_ref().map(|facts| facts.ancestors.clone()).unwrap_or_default();
            let tried = Tried { commit: commit.clone(), pushed_at: *pushed_at, release: *release, ancestors };
            target.commits.insert(0, tried);
            target.commits.truncate(COMMITS);
            let new = Release {
                requested_by: requested_by.clone(),
                typed: *typed,
                forward_only: *forward_only,
                commit_facts: facts.clone(),
                until: Some(*gather_until),
                ..Release::new(*release, commit.clone(), at)
            };
            target.releases.insert(*release, new);
        }
        What::Outdated { commit, .. } => {
            if target.outdated.len() >= COMMITS {
                target.outdated.pop_first();
            }
            target.outdated.insert(commit.clone());
        }
        What::AlarmSeen { alarm, fact } => {
            if target.alarms.len() < REMEMBERED || target.alarms.contains_key(alarm) {
                target.alarms.insert(alarm.clone(), *fact);
            }
        }
        What::HandsOff { until, .. } => target.hands_off = *until,
        What::QuarantineLifted { digest, .. } => {
            target.quarantine.remove(digest);
        }
        What::EpochRaised { epoch, .. } => target.raise_epoch(*epoch, event.seq),
        What::LineStopped { why } => target.line_stopped = Some(why.clone()),
        What::LineResumed { .. } => {
            target.line_stopped = None;
            target.rollbacks.clear();
        }
        What::LiveVulnerable { service, digest, .. } => {
            target.vulnerable.insert(service.clone(), *digest);
        }
        What::PolicyChanged { to, protection, .. } => {
            target.policy = Some(*to);
            target.protection = Some(protection.clone());
        }
        What::Refused { .. } => {}
        what => {
            if let Some(release) = what.release() {
                apply_release(target, release, event.seq, at, what);
            }
        }
    }
}

fn apply_release(target: &mut Target, id: ReleaseId, seq: Seq, at: Timestamp, what: &What) {
    match what {
        What::Began { objects, .. } => {
            target.confirm(objects);
            target.in_flight = Some(id);
            target.drop_intentions(id, |_| true);
        }
        What::Intended { intention, .. } => {
            if let Action::Write(write) = &intention.action {
                let known = target.objects.entry(write.object.clone()).or_default();
                known.meant.insert(seq, write.to);
            }
            if matches!(intention.action, Action::Look(_)) {
                // A newer look asks for more; the one before it would go on telling less.
                target.drop_intentions(id, |action| matches!(action, Action::Look(_)));
            }
            let intention = Arc::new((**intention).clone());
            target.outstanding.insert(seq, Outstanding { release: id, intention });
        }
        What::Done { intention, outcome, .. } => finish(target, id, at, *intention, outcome),
        What::Entered { phase: Phase::Deploying { wave: 0 }, .. } | What::Arrived { .. } => {
            // From its first change on there is one way back: to what serves now.
            if let Some(old) = target.live_release.take() {
                target.forget(old);
            }
            target.drop_intentions(id, |action| matches!(action, Action::Look(_) | Action::Observe));
        }
        What::Entered { .. } | What::Cleared { .. } => {
            // While traffic moves to its next step, no window is of one share: the watch begins anew after it.
            let moves = matches!(what, What::Entered { phase: Phase::Switching { .. }, .. });
            target.drop_intentions(id, |action| {
                matches!(action, Action::Look(_)) || (moves && matches!(action, Action::Measure(_)))
            });
        }
        What::RollbackBegan { why, served, .. } => {
            target.take_over(id);
            if *served && why.is_automatic() {
                target.rollbacks.push(at);
                let surplus = target.rollbacks.len().saturating_sub(ROLLBACKS);
                target.rollbacks.drain(..surplus);
            }
        }
        // Without a way back under way nothing of it moves any more until a person says what counts.
        What::NeedsHelp { .. } if target.releases.get(&id).is_some_and(|release| release.rollback.is_none()) => {
            target.take_over(id);
        }
        // Nothing that was intended goes on: what is there is read, and counts.
        What::ResolveAsked { .. } => target.drop_intentions(id, |_| true),
        What::RolledBack { restored_at, .. } => return rolled_back(target, id, at, *restored_at),
        What::WentLive { .. } => went_live(target, id, at),
        What::WindowClosed { .. } => {
            target.live_release = None;
            return target.forget(id);
        }
        What::Settled { .. } => {
            target.remember(id, false, at);
            if target.in_flight == Some(id) {
                target.in_flight = None;
            }
            return target.forget(id);
        }
        What::Resolved { live, objects, .. } => {
            target.live.clone_from(live);
            target.confirm(objects);
            target.remember(id, false, at);
            target.in_flight = None;
            return target.forget(id);
        }
        // Ours or not, it is what is there: a person who takes over goes on from it.
        What::Drifted { object, found, .. } => target.confirm_one(object, found),
        _ => {}
    }
    if let Some(release) = target.releases.get_mut(&id) {
        release.apply(seq, at, what);
    }
}

/// An intention has its outcome: what it wrote is confirmed, and the release goes one step on.
fn finish(target: &mut Target, id: ReleaseId, at: Timestamp, intention: Seq, outcome: &Outcome) {
    let Some(done) = target.outstanding.remove(&intention) else { return };
    // Refused, it stays known as meant: another driver's copy of it may still be on its way.
    if let (Action::Write(write), Outcome::Written) = (&done.intention.action, outcome) {
        let fence = target.fence_at(intention);
        let known = target.objects.entry(write.object.clone()).or_default();
        known.confirmed = Some(Stamp { fence, value: write.to });
        known.meant.retain(|seq, _| *seq > intention);
    }
    if let Some(release) = target.releases.get_mut(&id) {
        release.step_on(at, intention, &done.intention.action, outcome);
    }
}

fn rolled_back(target: &mut Target, id: ReleaseId, at: Timestamp, restored_at: Timestamp) {
    if let Some(release) = target.releases.get(&id) {
        if let Some(rollback) = release.rollback.as_ref().filter(|_| release.serving_since.is_some()) {
            target.last_return = Some(restored_at.since(rollback.since));
        }
        for service in release.progress.iter().filter(|(_, p)| p.changes).map(|(service, _)| service) {
            let was = release.rollback.as_ref().and_then(|rollback| rollback.to.get(service));
            match was {
                Some(serving) => target.live.insert(service.clone(), serving.clone()),
                None => target.live.remove(service),
            };
            if let Some(artifact) = release.artifacts.get(service)
                && target.quarantine.len() < REMEMBERED
            {
                target.quarantine.insert(artifact.digest, id);
            }
        }
    }
    target.remember(id, false, at);
    target.in_flight = None;
    target.forget(id);
}

fn went_live(target: &mut Target, id: ReleaseId, at: Timestamp) {
    if let Some(release) = target.releases.get(&id) {
        let serving: Vec<(ServiceName, Serving)> = release
            .progress
            .iter()
            .filter(|(_, progress)| progress.changes)
            .filter_map(|(service, progress)| {
                let artifact = release.artifacts.get(service)?;
                let serving = Serving {
                    digest: artifact.digest,
                    colour: progress.colour,
                    replicas: progress.replicas,
                    commit: artifact.commit.clone(),
                    tag: artifact.tag.clone(),
                    release: Some(id),
                };
                Some((service.clone(), serving))
            })
            .collect();
        target.live.extend(serving);
    }
    target.remember(id, true, at);
    target.vulnerable.clear();
    target.in_flight = None;
    target.live_release = Some(id);
}

impl Target {
    /// Takes objects as they were read, unless the reading was made before our last confirmed write: fences only grow.
    /// Where a fence was taken off since, the next write finds out.
    fn confirm(&mut self, objects: &BTreeMap<ObjectKey, Found>) {
        for (key, found) in objects {
            if self.fence_found(found) >= self.fence_confirmed(key) {
                self.confirm_one(key, found);
            }
        }
    }

    /// Whether a reading of an object carries an older fence of ours than the one we confirmed last.
    pub(crate) fn is_older(&self, key: &ObjectKey, found: &Found) -> bool {
        self.fence_found(found).zip(self.fence_confirmed(key)).is_some_and(|(found, confirmed)| found < confirmed)
    }

    fn fence_confirmed(&self, key: &ObjectKey) -> Option<(u32, Seq)> {
        self.own_fence(self.objects.get(key)?.confirmed.as_ref()?)
    }

    fn fence_found(&self, found: &Found) -> Option<(u32, Seq)> {
        self.own_fence(found.stamp.as_ref()?)
    }

    /// A fence of an epoch that is over is below everything that is written now, whatever its number.
    pub(crate) fn own_fence(&self, stamp: &Stamp) -> Option<(u32, Seq)> {
        let fence = stamp.fence.as_ref().filter(|fence| Some(&fence.ledger) == self.ledger.as_ref())?;
        Some((fence.epoch, fence.seq))
    }

    /// Takes an object as found. What was intended later than its fence may still land, and stays known as ours.
    fn confirm_one(&mut self, key: &ObjectKey, found: &Found) {
        let fence = self.fence_found(found);
        let mut known = self.objects.remove(key).unwrap_or_default();
        known.confirmed.clone_from(&found.stamp);
        known.meant.retain(|seq, _| Some((self.epoch_at(*seq), *seq)) > fence);
        self.objects.insert(key.clone(), known);
    }

    /// A person raised the epoch: what is intended from now on is above every fence there is.
    fn raise_epoch(&mut self, epoch: u32, at: Seq) {
        self.epoch = epoch;
        let meant = self.objects.values().flat_map(|known| known.meant.keys());
        let oldest = meant.chain(self.outstanding.keys()).min().copied();
        self.raised.push(at);
        self.raised.retain(|raised| oldest.is_some_and(|oldest| *raised > oldest));
    }

    /// A release leaves the state, with its intentions.
    fn forget(&mut self, id: ReleaseId) {
        self.releases.remove(&id);
        self.drop_intentions(id, |_| true);
    }

    fn drop_intentions(&mut self, id: ReleaseId, which: impl Fn(&Action) -> bool) {
        self.outstanding.retain(|_, o| o.release != id || !which(&o.intention.action));
    }

    /// A release is the one in flight from now on, whatever it was, and nothing that was intended for it goes on.
    fn take_over(&mut self, id: ReleaseId) {
        self.drop_intentions(id, |_| true);
        self.in_flight = Some(id);
        if self.live_release == Some(id) {
            self.live_release = None;
        }
    }

    fn remember(&mut self, id: ReleaseId, verified: bool, at: Timestamp) {
        let Some(release) = self.releases.get(&id) else { return };
        let ended = Ended {
            release: id,
            commit: release.commit.clone(),
            verified,
            at,
            digests: release.artifacts.iter().map(|(service, artifact)| (service.clone(), artifact.digest)).collect(),
            tree: release.commit_facts().and_then(|facts| facts.tree.clone()),
        };
        self.ended.retain(|known| known.release != id);
        self.ended.insert(0, ended);
        self.ended.truncate(ENDED);
    }
}
