//! What the passing of time brings: expiries, reminders, deadlines, louder calls for a person.

use super::Draft;
use crate::action::{Action, Outcome, Purpose};
use crate::event::{End, Reason, What};
use crate::names::{ReleaseId, Seq};
use crate::target::Phase;
use crate::time::Timestamp;

/// Why a release that had begun does not go on.
const NOT_CLEARED: &str = "its gates no longer held, and did not clear in time";

impl Draft<'_> {
    pub(super) fn clock(&mut self) {
        let now = self.now();
        if self.target().hands_off.is_some_and(|until| until <= now) {
            self.push(What::HandsOff { until: None, reason: "its time is over".to_owned() });
        }
        let overdue: Vec<(Seq, ReleaseId)> = self
            .target()
            .outstanding
            .iter()
            .filter(|(_, outstanding)| outstanding.intention.deadline <= now)
            .map(|(seq, outstanding)| (*seq, outstanding.release))
            .collect();
        for (seq, release) in overdue {
            self.overdue(seq, release);
        }
        let ids: Vec<ReleaseId> = self.target().releases.keys().copied().collect();
        for id in ids {
            self.expire(id, now);
            self.remind(id, now);
        }
    }

    /// An intention was not done in time: forward it is undone, backward a person is called; neither waits unseen.
    fn overdue(&mut self, seq: Seq, id: ReleaseId) {
        // A release that is held does nothing; what was intended before still counts as late only once it goes on.
        let Some(outstanding) = self.target().outstanding.get(&seq).cloned() else { return };
        if let Action::RunTest { test, .. } = &outstanding.intention.action
            && !test.on_failure.is_stop()
        {
            let why = format!("it took longer than {}", test.within);
            self.done(id, seq, &Outcome::TestFailed { why });
            return;
        }
        let Some(release) = self.release(id) else { return };
        let what = match &outstanding.intention.action {
            Action::BackUp { .. } => "the backup took too long".to_owned(),
            Action::Write(write) => format!("{} could not be written in time", write.object),
            Action::AwaitReady(ask) => format!("{} did not become ready in time", ask.object),
            Action::RunTest { test, .. } => format!("test {} took longer than {}", test.name, test.within),
            Action::Look(_) | Action::Measure(_) | Action::Observe => return,
        };
        let drain = matches!(&outstanding.intention.action, Action::Write(write) if write.purpose == Purpose::Drain);
        match release.phase {
            Phase::Live if drain => {}
            Phase::RollingBack => self.needs_help(id, format!("{what} on the way back; it is still being tried")),
            Phase::NeedsHelp => {}
            _ => self.begin_rollback(id, Reason::Step { why: what }),
        }
    }

    fn expire(&mut self, id: ReleaseId, now: Timestamp) {
        let Some(release) = self.release(id) else { return };
        if let Some(asking) = release.asking.clone()
            && asking.until <= now
        {
            let until = now + self.limits(id).escalate;
            self.push(What::Escalated { release: id, why: asking.why, level: asking.level + 1, until });
        }
        let Some(release) = self.release(id) else { return };
        if release.until.is_none_or(|until| until > now) {
            return;
        }
        match release.phase {
            Phase::Gathering => {
                let missing: Vec<&str> = self
                    .policy
                    .services
                    .iter()
                    .filter(|service| !release.artifacts.contains_key(&service.name))
                    .map(|service| service.name.as_str())
                    .collect();
                let why = format!("no image came in time for {}", missing.join(", "));
                self.settle(id, End::Expired, why);
            }
            Phase::Cleared => {
                let why = "its gates held, and nobody deployed it in time";
                self.settle(id, End::Expired, why);
            }
            Phase::Gated => {
                let holds = release.judgement.as_ref().and_then(|judgement| {
                    judgement.gates.iter().find(|gate| gate.verdict != crate::verdict::Verdict::Pass)
                });
                let why = holds.map_or_else(
                    || "its gates were not judged in time".to_owned(),
                    |gate| format!("{} did not clear in time: {}", gate.gate, gate.why),
                );
                self.settle(id, End::Expired, why);
            }
            Phase::BackingUp => self.settle(id, End::Expired, NOT_CLEARED),
            Phase::Verifying => self.begin_rollback(id, Reason::Step { why: NOT_CLEARED.to_owned() }),
            _ => {}
        }
    }

    fn remind(&mut self, id: ReleaseId, now: Timestamp) {
        if self.release(id).and_then(|release| release.remind_at).is_some_and(|at| at <= now) {
            let next_at = now + self.policy.gates.remind;
            self.push(What::Reminded { release: id, next_at });
        }
    }
}
