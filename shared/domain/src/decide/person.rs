//! What people ask for. Every refusal is an event with its reason, and repeating a command that was done is a no-op.

use std::collections::BTreeSet;

use super::Draft;
use super::push::Opening;
use crate::event::{Actor, End, Reason, What};
use crate::gate::{excluded, glass, may_approve};
use crate::names::{AlarmName, ReleaseId, Subject};
use crate::plan::PlanId;
use crate::signal::Command;
use crate::target::{Phase, Release};
use crate::time::Timestamp;

/// Why a command was refused, in words for the one who gave it.
type Refusal = String;

impl Draft<'_> {
    pub(super) fn person(&mut self, who: &Subject, command: &Command) {
        self.actor = Actor::Person(who.clone());
        let done = if self.is_known(who) {
            self.command(who, command)
        } else {
            Err(format!("{who} is not in the policy of {}; add them under people: or to a group", self.policy.target))
        };
        if let Err(why) = done {
            self.push(What::Refused { who: who.clone(), command: words(command), why });
        }
        self.actor = Actor::Portcullis;
    }

    fn is_known(&self, who: &Subject) -> bool {
        self.policy.people.contains_key(who) || self.policy.groups.values().any(|group| group.contains(who))
    }

    fn command(&mut self, who: &Subject, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Start { .. } => self.start(who, command),
            Command::Approve { release, plan, typed } => self.approve(who, *release, *plan, typed.as_deref()),
            Command::Reject { release, reason } => self.reject(who, *release, reason),
            Command::Promote { release } => self.promote(*release),
            Command::Pause { release } => self.pause(*release, true),
            Command::Resume { release } => self.pause(*release, false),
            Command::Cancel { release, reason } => self.cancel(*release, reason),
            Command::RollBack { to, reason } => self.roll_back(*to, reason),
            Command::AcceptAlarm { release, alarm } => self.accept_alarm(*release, alarm),
            Command::HandsOff { until, reason } => self.hands_off(*until, reason),
            Command::LiftQuarantine { digest, reason } => {
                if !self.target().quarantine.contains_key(digest) {
                    return Err(format!("{digest} is not in quarantine"));
                }
                self.push(What::QuarantineLifted { digest: *digest, reason: reason.clone() });
                Ok(())
            }
            Command::BreakGlass { release, plan, gates, reason } => {
                self.break_glass(who, *release, *plan, gates, reason)
            }
            Command::ResumeLine { reason } => {
                if self.target().line_stopped.is_none() {
                    return Err(format!("the line of {} is not stopped by rollbacks", self.policy.target));
                }
                self.push(What::LineResumed { reason: reason.clone() });
                Ok(())
            }
            Command::Resolve { reason } => self.resolve(reason),
            Command::CloseWindow { reason } => self.close_window(reason),
            Command::RaiseEpoch { reason } => {
                let epoch = self.target().epoch + 1;
                self.push(What::EpochRaised { epoch, reason: reason.clone() });
                Ok(())
            }
        }
    }

    fn find(&self, id: ReleaseId) -> Result<&Release, Refusal> {
        self.release(id).ok_or_else(|| {
            let ended = self.target().ended.iter().any(|ended| ended.release == id);
            if ended {
                format!("release {id} has ended")
            } else {
                format!("there is no release {id} of {}", self.policy.target)
            }
        })
    }

    fn start(&mut self, who: &Subject, command: &Command) -> Result<(), Refusal> {
        let Command::Start { commit, images, facts, typed, reason, forward_only } = command else { return Ok(()) };
        let wanted = self.policy.gates.typed_confirmation.as_deref();
        if let Some(wanted) = wanted.filter(|wanted| typed.as_deref() != Some(*wanted)) {
            return Err(format!("type {wanted:?} to start a release of {}", self.policy.target));
        }
        if let Some(open) = self.target().releases.values().find(|release| release.commit.matches(commit)) {
            return Err(format!("release {} of {} is open already", open.id, commit.short()));
        }
        if images.is_empty() {
            return Err(format!("the registry has no image of {}", commit.short()));
        }
        let opening = Opening {
            commit,
            pushed_at: self.now(),
            requested_by: Some(who),
            typed: wanted.is_some(),
            reason: reason.as_ref(),
            forward_only: *forward_only,
            facts: facts.as_ref(),
        };
        if let Some(id) = self.open(&opening) {
            for (service, (digest, tag)) in images {
                if self.policy.service(service).is_some() {
                    self.add_image(id, service, *digest, tag.clone(), commit);
                }
            }
        }
        Ok(())
    }

    fn approve(&mut self, who: &Subject, id: ReleaseId, plan: PlanId, typed: Option<&str>) -> Result<(), Refusal> {
        let release = self.find(id)?;
        if !matches!(release.phase, Phase::Gated | Phase::BackingUp | Phase::Verifying) {
            return Err(format!("release {id} is {}, not waiting for approval", release.phase.name()));
        }
        let Some(current) = release.plan.as_ref().map(|plan| plan.id) else {
            return Err(format!("release {id} has no plan yet"));
        };
        if current != plan {
            return Err(format!("plan {plan} is no longer the plan of release {id}: it is {current} now. Look again"));
        }
        if release.approvals.iter().any(|approval| approval.plan == plan && approval.who == *who) {
            return Ok(());
        }
        let policy = self.policy_of(id);
        if !may_approve(&policy, who) {
            return Err(format!("{who} is in no group whose approval counts for {}", policy.target));
        }
        let excluded = excluded(release, &policy, release.facts.as_deref());
        if let Some(why) = excluded.people.get(who) {
            return Err(format!("{who} cannot approve release {id}: they {why}"));
        }
        let wanted = policy.gates.typed_confirmation.as_deref();
        if let Some(typed) = typed
            && wanted != Some(typed)
        {
            return Err("the text typed is not the one the policy asks for".to_owned());
        }
        let typed = typed.is_some();
        self.push(What::Approved { release: id, plan, who: who.clone(), typed });
        Ok(())
    }

    /// One of at least two people who would skip gates of this plan.
    fn break_glass(
        &mut self,
        who: &Subject,
        id: ReleaseId,
        plan: PlanId,
        gates: &BTreeSet<String>,
        reason: &str,
    ) -> Result<(), Refusal> {
        let release = self.find(id)?;
        if !matches!(release.phase, Phase::Gated | Phase::BackingUp | Phase::Verifying) {
            return Err(format!("release {id} is {}, not waiting for its gates", release.phase.name()));
        }
        let current = release.plan.as_ref().map(|plan| plan.id);
        if current != Some(plan) {
            let now = current.map_or_else(|| "none yet".to_owned(), |plan| plan.to_string());
            return Err(format!("plan {plan} is not the plan of release {id}: it is {now}. Look again"));
        }
        let policy = self.policy_of(id);
        let Some(quorum) = &policy.gates.break_glass else {
            return Err(format!("the policy of {} names nobody who may break glass", policy.target));
        };
        if !policy.groups.get(&quorum.group).is_some_and(|group| group.contains(who)) {
            return Err(format!("{who} is not in {}, who may break glass", quorum.group));
        }
        if let Some(gate) = gates.iter().find(|gate| !glass::can_be_skipped(gate)) {
            let can = glass::SKIPPABLE.join(", ");
            return Err(format!("gate {gate} can not be skipped; these can: {can}"));
        }
        if gates.is_empty() || reason.trim().is_empty() {
            return Err("name the gates to skip, and say why".to_owned());
        }
        let said = release.glass.iter().any(|glass| glass.plan == plan && glass.who == *who && glass.gates == *gates);
        if !said {
            let (who, reason) = (who.clone(), reason.to_owned());
            self.push(What::GlassBroken { release: id, plan, gates: gates.clone(), who, reason });
        }
        Ok(())
    }

    fn reject(&mut self, who: &Subject, id: ReleaseId, reason: &str) -> Result<(), Refusal> {
        let release = self.find(id)?;
        if !matches!(release.phase, Phase::Gathering | Phase::Gated | Phase::Cleared) {
            return Err(format!("release {id} is {}: cancel it or roll it back", release.phase.name()));
        }
        if !may_approve(self.policy, who) {
            return Err(format!(
                "{who} is in no group whose veto counts for {}; cancel it instead",
                self.policy.target
            ));
        }
        self.settle(id, End::Rejected, format!("vetoed by {who}: {reason}"));
        Ok(())
    }

    fn promote(&mut self, id: ReleaseId) -> Result<(), Refusal> {
        let release = self.find(id)?;
        let (phase, asked) = (release.phase, release.asking.is_some());
        match phase {
            Phase::Live if self.window_over(release).is_some() => {
                return Err(format!("release {id} is live and its window is over: close the window, or roll it back"));
            }
            Phase::Verifying | Phase::Live if asked => self.push(What::Promoted { release: id }),
            Phase::Watching if asked => {
                let policy = self.policy_of(id);
                let step = self.next_step(id, &policy);
                if step.is_some() && self.is_stopped(id) {
                    return Err(format!("release {id} takes no further step while forward steps are stopped"));
                }
                self.push(What::Promoted { release: id });
                match step {
                    Some(step) => self.take_step(id, step),
                    None => self.go_live(id, &policy),
                }
            }
            Phase::Switching { .. } | Phase::Live => {}
            _ => return Err(format!("release {id} is {}; nothing waits for a person to say go", phase.name())),
        }
        Ok(())
    }

    fn pause(&mut self, id: ReleaseId, pause: bool) -> Result<(), Refusal> {
        let release = self.find(id)?;
        if !release.phase.is_forward() {
            return Err(format!("release {id} is {}; only forward steps can be paused", release.phase.name()));
        }
        if release.paused != pause {
            self.push(if pause { What::Paused { release: id } } else { What::Resumed { release: id } });
        }
        Ok(())
    }

    fn cancel(&mut self, id: ReleaseId, reason: &str) -> Result<(), Refusal> {
        let release = self.find(id)?;
        match release.phase {
            Phase::Gathering | Phase::Gated | Phase::Cleared => {
                self.settle(id, End::Cancelled, reason);
            }
            Phase::Live => return Err(format!("release {id} is live: roll it back")),
            Phase::RollingBack | Phase::NeedsHelp => {}
            _ => self.begin_rollback(id, Reason::Person { reason: reason.to_owned() }),
        }
        Ok(())
    }

    /// Brings back what served before. Names its destination: asking again for what is there already does nothing.
    fn roll_back(&mut self, to: Option<ReleaseId>, reason: &str) -> Result<(), Refusal> {
        let target = self.target();
        // A release that is being backed up has changed nothing yet: what hurts is the one that serves.
        let changed = target.in_flight.filter(|id| self.release(*id).is_some_and(|r| r.phase != Phase::BackingUp));
        let Some(id) = changed.or(target.live_release).or(target.in_flight) else {
            // Asked again after it was done, or for what is there already: nothing to do, and never a toggle.
            let just_back =
                target.ended.first().is_some_and(|last| target.quarantine.values().any(|by| *by == last.release));
            let there = match to {
                Some(to) => target.live.values().any(|serving| serving.release == Some(to)),
                None => just_back,
            };
            return if there {
                Ok(())
            } else {
                Err(format!(
                    "nothing of {} can be rolled back: no release is in flight or in its window",
                    self.policy.target
                ))
            };
        };
        let release = self.find(id)?;
        if let Some(to) = to {
            if to == id && release.phase == Phase::Live {
                return Ok(());
            }
            let known = release.before.values().any(|serving| serving.release == Some(to));
            if !known {
                return Err(format!(
                    "release {to} is not what served before release {id}; start a release of its commit instead"
                ));
            }
        }
        if release.before.is_empty() && release.serving_since.is_some() {
            return Err(format!("nothing served before release {id}: there is nothing to return to"));
        }
        match release.phase {
            Phase::RollingBack => {}
            Phase::NeedsHelp if release.rollback.as_ref().is_some_and(|rollback| rollback.stuck.is_none()) => {}
            _ => self.begin_rollback(id, Reason::Person { reason: reason.to_owned() }),
        }
        Ok(())
    }

    fn accept_alarm(&mut self, id: ReleaseId, alarm: &AlarmName) -> Result<(), Refusal> {
        let release = self.find(id)?;
        if !release.accepted_alarms.contains(alarm) {
            self.push(What::AlarmAccepted { release: id, alarm: alarm.clone() });
        }
        Ok(())
    }

    fn hands_off(&mut self, until: Option<Timestamp>, reason: &str) -> Result<(), Refusal> {
        if until.is_some_and(|until| until <= self.now()) {
            return Err("the moment until which hands stay off is over already".to_owned());
        }
        if self.target().hands_off != until {
            self.push(What::HandsOff { until, reason: reason.to_owned() });
        }
        Ok(())
    }

    fn resolve(&mut self, reason: &str) -> Result<(), Refusal> {
        let found = self.target().in_flight.and_then(|id| self.release(id)).filter(|r| r.phase == Phase::NeedsHelp);
        let Some(id) = found.map(|release| release.id) else {
            return Err(format!("no release of {} needs help", self.policy.target));
        };
        self.push(What::ResolveAsked { release: id, reason: reason.to_owned() });
        Ok(())
    }

    fn close_window(&mut self, reason: &str) -> Result<(), Refusal> {
        let Some(id) = self.target().live_release else {
            return Err(format!("no release of {} has an open window", self.policy.target));
        };
        let Some(release) = self.release(id).filter(|release| release.keep_old_until.is_some()) else { return Ok(()) };
        let overdue = self.window_over(release).is_some();
        self.push(What::OldColourFreed { release: id, reason: reason.to_owned() });
        if overdue {
            self.push(What::WindowClosed { release: id });
        }
        Ok(())
    }
}

/// The command in words, for the ledger's reader.
fn words(command: &Command) -> String {
    match command {
        Command::Start { commit, .. } => format!("start a release of {}", commit.short()),
        Command::Approve { release, plan, .. } => format!("approve release {release}, plan {plan}"),
        Command::Reject { release, .. } => format!("reject release {release}"),
        Command::Promote { release } => format!("let release {release} go on"),
        Command::Pause { release } => format!("pause release {release}"),
        Command::Resume { release } => format!("resume release {release}"),
        Command::Cancel { release, .. } => format!("cancel release {release}"),
        Command::RollBack { to: Some(to), .. } => format!("roll back to release {to}"),
        Command::RollBack { to: None, .. } => "roll back".to_owned(),
        Command::AcceptAlarm { release, alarm } => format!("accept alarm {alarm} for release {release}"),
        Command::HandsOff { until: Some(_), .. } => "hands off".to_owned(),
        Command::HandsOff { until: None, .. } => "hands on".to_owned(),
        Command::LiftQuarantine { digest, .. } => format!("lift the quarantine of {}", digest.short()),
        Command::BreakGlass { release, plan, gates, .. } => {
            let gates: Vec<&str> = gates.iter().map(String::as_str).collect();
            format!("skip {} of release {release}, plan {plan}", gates.join(", "))
        }
        Command::ResumeLine { .. } => "let releases begin again".to_owned(),
        Command::Resolve { .. } => "resolve".to_owned(),
        Command::CloseWindow { .. } => "end the old colour's time".to_owned(),
        Command::RaiseEpoch { .. } => "raise the epoch".to_owned(),
    }
}
