//! Whole lives of releases: live, breached, alarmed, rejected, blocked, superseded; with the waiting in between.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use portcullis_domain::action::{Action, Outcome};
use portcullis_domain::event::{End, What};
use portcullis_domain::facts::{AlarmState, ScanStatus};
use portcullis_domain::names::{AlarmName, ReleaseId, Seq, Subject, Tag};
use portcullis_domain::next;
use portcullis_domain::policy::{SealedPolicy, Severity};
use portcullis_domain::signal::{Command, Pushed, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use super::outside::{Outside, commit, image};
use super::{Story, Teller};

/// How a release ends. In the order in which they come, over and over.
const ENDS: [Life; 10] = [
    Life::Good,
    Life::Good,
    Life::Breached,
    Life::Good,
    Life::Superseded,
    Life::Good,
    Life::Rejected,
    Life::Good,
    Life::Alarmed,
    Life::Blocked,
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Approved, watched, live; its old colour goes an hour later.
    Good,
    /// Its error rate rises in the watch.
    Breached,
    /// An alarm rings in the watch.
    Alarmed,
    /// A person says no.
    Rejected,
    /// The scan finds something critical.
    Blocked,
    /// The next one comes before anybody approves.
    Superseded,
}

/// Tells lives until there are so many events.
pub(super) fn tell(policy: SealedPolicy, events: usize) -> Result<Story> {
    let mut teller = Teller::new(policy)?;
    let outside = Outside::new(&teller.policy, teller.now)?;
    let mut lives = Lives { outside, asked: BTreeMap::new(), told: BTreeSet::new() };
    let mut n = 0;
    let mut count = 0;
    let mut counted = 0;
    while count < events {
        n += 1;
        lives.live(&mut teller, n, ENDS[n % ENDS.len()])?;
        count += teller.steps[counted..].iter().map(|step| step.events.len()).sum::<usize>();
        counted = teller.steps.len();
    }
    let story = Story { policy: teller.policy, steps: teller.steps, end: teller.target };
    // A story of which a part never happened would measure something else than it says.
    let happened = |which: fn(&What) -> bool| story.events().any(|event| which(&event.what));
    ensure!(happened(|what| matches!(what, What::WentLive { .. })), "no release of the story went live");
    ensure!(happened(|what| matches!(what, What::RolledBack { .. })), "no release of the story was rolled back");
    ensure!(happened(|what| matches!(what, What::OldReleased { .. })), "no old colour of the story went");
    for end in [End::Rejected, End::Superseded] {
        let settled = |what: &What| matches!(what, What::Settled { end: found, .. } if *found == end);
        ensure!(story.events().any(|event| settled(&event.what)), "no release of the story ended {end:?}");
    }
    ensure!(!happened(|what| matches!(what, What::Drifted { .. } | What::NeedsHelp { .. })), "the story went wrong");
    Ok(story)
}

struct Lives {
    outside: Outside,
    /// How often an intention that stands was asked for.
    asked: BTreeMap<Seq, u32>,
    /// Intentions done at this moment.
    told: BTreeSet<Seq>,
}

impl Lives {
    fn live(&mut self, t: &mut Teller, n: usize, life: Life) -> Result<()> {
        let id = ReleaseId(t.next_release);
        self.outside.build(n, &t.policy.clone(), t.now)?;
        self.push(t, n)?;
        self.minutes(t, 2);
        self.scans(t, n, life == Life::Blocked);
        self.minutes(t, 8);
        match life {
            Life::Blocked | Life::Superseded => return Ok(()),
            Life::Rejected => {
                self.person(t, Command::Reject { release: id, reason: "not before the holidays".into() })?;
                return Ok(());
            }
            Life::Good | Life::Breached | Life::Alarmed => {}
        }
        let plan = t.target.releases.get(&id).and_then(|release| release.plan.as_ref()).map(|plan| plan.id);
        ensure!(plan.is_some(), "release {id} has no plan to approve");
        if let Some(plan) = plan {
            self.person(t, Command::Approve { release: id, plan, typed: None })?;
        }
        // It begins on facts that are fetched anew.
        self.minutes(t, 1);
        let phase = |t: &Teller| t.target.releases.get(&id).map(|release| release.phase);
        let gates = || t.target.releases.get(&id).map(|release| &release.judgement);
        ensure!(phase(t) == Some(Phase::Watching), "release {id} is not watched but {:?}: {:?}", phase(t), gates());
        self.minutes(t, 2);
        match life {
            Life::Breached => {
                self.outside.errors = 680;
                self.minutes(t, 4);
                self.outside.errors = 12;
            }
            Life::Alarmed => {
                self.alarm(t, AlarmState::Alarm)?;
                self.minutes(t, 3);
                self.alarm(t, AlarmState::Ok)?;
            }
            _ => {
                self.minutes(t, 4);
                ensure!(phase(t) == Some(Phase::Live), "release {id} is not live but {:?}", phase(t));
                // Until the old colour is let go.
                self.minutes(t, 64);
                return Ok(());
            }
        }
        ensure!(phase(t).is_none(), "release {id} is not rolled back but {:?}", phase(t));
        self.minutes(t, 10);
        Ok(())
    }

    /// An image of every service comes, each under its commit's tag, then under the moving one.
    fn push(&mut self, t: &mut Teller, n: usize) -> Result<()> {
        let commit = commit(n)?;
        for tag in [commit.as_str(), "production-latest"] {
            for service in t.policy.clone().services.iter().map(|service| &service.name) {
                let pushed = Pushed {
                    service: service.clone(),
                    digest: image(n, service.as_str()),
                    tag: Some(Tag::new(tag)?),
                    commit: commit.clone(),
                    pushed_at: t.now,
                    facts: self.outside.commits.get(&commit).cloned(),
                    opens: true,
                };
                t.tell(Signal::Pushed(pushed));
                self.settle(t);
            }
        }
        Ok(())
    }

    /// The scans end: a hint for each, and what the next look finds.
    fn scans(&mut self, t: &mut Teller, n: usize, critical: bool) {
        for service in t.policy.clone().services.iter().map(|service| &service.name) {
            let digest = image(n, service.as_str());
            let mut counts = vec![(Severity::Medium, 4), (Severity::Low, 31)];
            if critical {
                counts.push((Severity::Critical, 1));
            }
            self.outside.scan(digest, ScanStatus::Complete, &counts, t.now);
            let counts = counts.into_iter().collect();
            t.tell(Signal::ScanReported { digest, status: ScanStatus::Complete, counts });
            self.settle(t);
        }
    }

    fn alarm(&mut self, t: &mut Teller, state: AlarmState) -> Result<()> {
        let alarm = AlarmName::new("app-0-production-5xx")?;
        self.outside.alarm(&alarm, state, t.now);
        let reason = "Threshold Crossed: 2 datapoints were greater than the threshold (5.0)".to_owned();
        t.tell(Signal::Alarm { alarm, state, changed_at: t.now, reason, suppressed: false });
        self.settle(t);
        Ok(())
    }

    fn person(&mut self, t: &mut Teller, command: Command) -> Result<()> {
        t.tell(Signal::Person { who: Subject::new("kofi")?, command });
        self.settle(t);
        Ok(())
    }

    /// Time passes; every minute what stands is done again.
    fn minutes(&mut self, t: &mut Teller, count: u32) {
        for _ in 0..count {
            t.now = t.now + Millis::minutes(1);
            self.told.clear();
            t.tell(Signal::Wake);
            self.settle(t);
        }
    }

    /// Does everything that is due now, what stands once.
    fn settle(&mut self, t: &mut Teller) {
        loop {
            let due = next(&t.target).actions.into_iter();
            let Some(due) = due.filter(|due| due.not_before <= t.now).find(|due| !self.told.contains(&due.seq)) else {
                return;
            };
            let asked = self.asked.entry(due.seq).or_default();
            *asked += 1;
            // Pods take their time: two looks see them starting.
            let starting = *asked <= 2;
            let outcome = self.outside.perform(&t.target, due.seq, &due.intention.action, t.now);
            let outcome = match (&due.intention.action, outcome) {
                (Action::AwaitReady(ask), Some(Outcome::Seen(mut found))) if starting && ask.replicas > 0 => {
                    found.ready = 0;
                    t.now = t.now + Millis::seconds(2);
                    Some(Outcome::Seen(found))
                }
                (_, outcome) => {
                    self.told.insert(due.seq);
                    outcome
                }
            };
            if let Some(outcome) = outcome {
                t.tell(Signal::Outcome { intention: due.seq, outcome });
            }
        }
    }
}
