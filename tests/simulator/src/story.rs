//! What happens in a seed, drawn before it begins: pushes, people, alarms, crashes, edits by hand, at their moments.

use std::collections::BTreeMap;

use portcullis_domain::action::Value;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::{Policy, Severity};
use portcullis_domain::signal::Fact;
use portcullis_domain::time::{Millis, Timestamp};

use crate::dice::Dice;
use crate::line::Patch;
use crate::people::Deed;
use crate::scene;

/// Something that happens at a moment.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A wake may be visible.
    Queue,
    /// A patch lands that left its sender some time ago.
    Land(Patch),
    /// A process sweeps.
    Sweep,
    /// The readers of the ledger are told what is new.
    Notices,
    /// A process dies.
    Crash(u8),
    /// It is started again.
    Restart(u8),
    /// Its clock is set, to so many milliseconds ahead.
    Skew(u8, i64),
    /// An event of the outside is delivered, for the n-th time.
    Event(Fact, u8),
    /// An image is pushed.
    Push(Push),
    /// An alarm changes its state.
    Alarm(&'static str, bool),
    /// A person does something, in the n-th attempt.
    Person(&'static str, Deed, u8),
    /// Somebody changes the cluster by hand.
    Edit(Edit),
    /// The error rate of an image's pods, in hundredths of a percent.
    Errors(ServiceName, u32, i64),
    /// No metric comes of a service, or again.
    Silence(ServiceName, bool),
    /// The pods of an image are no longer ready.
    Sicken(ServiceName, u32),
    /// Tests fail, or pass again.
    Tests(bool),
    /// From here on nothing fails any more.
    Calm,
    /// People look at what they are asked.
    Tend,
}

/// An image is pushed.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    /// The service.
    pub(crate) service: ServiceName,
    /// The commit's number.
    pub(crate) n: u32,
    /// How long its pods take to be ready; none = they never are.
    pub(crate) ready_after: Option<Millis>,
    /// What its scan finds.
    pub(crate) findings: BTreeMap<Severity, u32>,
    /// Who wrote the commit.
    pub(crate) author: &'static str,
    /// Whether the commit says of itself that it can not be undone.
    pub(crate) forward_only: bool,
}

/// Somebody changes the cluster by hand.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// The service.
    pub(crate) service: ServiceName,
    /// What is done to it.
    pub(crate) kind: EditKind,
}

/// What somebody does to an object by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EditKind {
    /// Traffic is set to a share.
    Traffic(Value),
    /// Green is scaled.
    Scale(u32),
    /// The annotation is taken off the Service.
    Prune,
    /// Another installation's annotation is on the Service.
    Foreign,
    /// Green is deleted.
    DeleteGreen,
}

/// The moments of one seed.
pub(crate) struct Script<'a> {
    pub(crate) dice: &'a mut Dice,
    pub(crate) policy: &'a Policy,
    pub(crate) happenings: Vec<(Timestamp, Happening)>,
}

impl Script<'_> {
    fn at(&mut self, at: Timestamp, happening: Happening) {
        self.happenings.push((at, happening));
    }

    /// A moment so many seconds after another.
    fn after(&mut self, at: Timestamp, least: u64, most: u64) -> Timestamp {
        at + Millis(self.dice.between(least * 1_000, most * 1_000))
    }

    fn service(&mut self) -> ServiceName {
        let index = self.dice.below(self.policy.services.len());
        self.policy.services[index].name.clone()
    }

    /// Draws everything. Returns the moment from which on nothing fails.
    pub(crate) fn write(&mut self) -> Timestamp {
        for process in 0..crate::run::PROCESSES {
            let ahead = self.skew();
            self.at(scene::BEGIN, Happening::Skew(process, ahead));
        }
        let releases = [1, 1, 1, 1, 1, 2, 2, 2, 2, 3][self.dice.below(10)];
        let mut order: Vec<u32> = (1..=releases).collect();
        if releases > 1 && self.dice.chance(80) {
            order.swap(0, 1);
        }
        let mut moment = self.after(scene::BEGIN, 65, 90);
        let mut last = moment;
        for n in order {
            self.push(moment, n);
            self.people(moment, n);
            self.troubles(moment, n);
            last = moment;
            moment = if self.dice.chance(300) { self.after(moment, 5, 90) } else { self.after(moment, 200, 700) };
        }
        for _ in 0..self.dice.pick(&[0, 0, 1, 3]) {
            let (at, process) =
                (self.after(scene::BEGIN, 60, 900), self.dice.below(usize::from(crate::run::PROCESSES)));
            let process = u8::try_from(process).unwrap_or(0);
            self.at(at, Happening::Crash(process));
            let back = self.after(at, 1, 60);
            self.at(back, Happening::Restart(process));
        }
        let calm = self.after(last, 120, 600);
        self.at(calm, Happening::Calm);
        calm
    }

    /// How far a clock is off: usually less than the five seconds that are tolerated, now and then more.
    fn skew(&mut self) -> i64 {
        let most = match self.dice.below(20) {
            0 => 9_000,
            1..=3 => 4_500,
            4..=12 => 1_500,
            _ => 0,
        };
        let ahead = i64::try_from(self.dice.between(0, 2 * most)).unwrap_or(0);
        ahead - i64::try_from(most).unwrap_or(0)
    }

    fn push(&mut self, at: Timestamp, n: u32) {
        let (author, forward_only) = (scene::author(self.dice), scene::forward_only(self.dice));
        let skipped = self.dice.chance(50).then(|| self.service());
        for service in self.policy.services.clone() {
            let ready_after = (!self.dice.chance(50)).then(|| Millis(self.dice.between(500, 20_000)));
            let mut findings = BTreeMap::new();
            if self.dice.chance(50) {
                findings.insert(Severity::Critical, 1);
            } else if self.dice.chance(100) {
                findings.insert(Severity::High, 3);
            }
            let push = Push { service: service.name.clone(), n, ready_after, findings, author, forward_only };
            let moment = self.after(at, 0, 20);
            if skipped.as_ref() != Some(&service.name) {
                self.at(moment, Happening::Push(push.clone()));
            }
            if self.dice.chance(60) {
                // A rebuild, or a late one: the same image again.
                let again = self.after(moment, 30, 600);
                self.at(again, Happening::Push(push));
            }
        }
    }

    /// What people do around one push.
    fn people(&mut self, at: Timestamp, n: u32) {
        if self.dice.chance(850) {
            let when = self.after(at, 20, 200);
            self.at(when, Happening::Person("ama", Deed::Approve, 0));
            if self.dice.chance(80) {
                // Who is first, the stop or the first change, is decided within milliseconds.
                let stop = when + Millis(self.dice.between(0, 400));
                self.at(stop, Happening::Person("kofi", Deed::Stop, 0));
            }
        }
        for (permille, who, deed, least, most) in [
            (400, "kofi", Deed::Approve, 30, 400),
            (100, "dev", Deed::Approve, 30, 300),
            (100, "mallory", Deed::Approve, 30, 300),
            (100, "ama", Deed::ApproveSeen, 60, 600),
            (30, "kofi", Deed::Reject, 40, 300),
            (60, "kofi", Deed::Pause, 60, 500),
            (60, "kofi", Deed::Resume, 90, 600),
            (40, "dev", Deed::Cancel, 60, 500),
            (120, "ama", Deed::RollBack, 90, 900),
            (100, "kofi", Deed::Promote, 100, 700),
            (40, "kofi", Deed::HandsOff, 60, 600),
            (20, "kofi", Deed::HandsOn, 60, 600),
            (60, "ama", Deed::Stop, 60, 500),
            (50, "ama", Deed::Lift, 100, 600),
            (40, "dev", Deed::CloseWindow, 200, 900),
            (30, "kofi", Deed::Resolve, 120, 900),
            (40, "kofi", Deed::AcceptAlarm, 60, 600),
            (40, "kofi", Deed::LiftQuarantine, 200, 900),
            (60, "ama", Deed::Start(n), 30, 900),
            (15, "kofi", Deed::RaiseEpoch, 60, 900),
            (60, "kofi", Deed::BreakGlass, 40, 300),
            (60, "ama", Deed::BreakGlass, 40, 300),
            (40, "ama", Deed::ResumeLine, 100, 900),
        ] {
            if self.dice.chance(permille) {
                let when = self.after(at, least, most);
                self.at(when, Happening::Person(who, deed, 0));
            }
        }
    }

    /// What goes wrong around one push by itself.
    fn troubles(&mut self, at: Timestamp, n: u32) {
        if self.dice.chance(100) {
            let (service, from) = (self.service(), self.after(at, 60, 500));
            let rate = i64::try_from(self.dice.between(50, 3_000)).unwrap_or(0);
            self.at(from, Happening::Errors(service.clone(), n, rate));
            let to = self.after(from, 30, 300);
            self.at(to, Happening::Errors(service, n, 0));
        }
        if self.dice.chance(60) {
            let (service, from) = (self.service(), self.after(at, 60, 400));
            self.at(from, Happening::Silence(service.clone(), true));
            let to = self.after(from, 60, 300);
            self.at(to, Happening::Silence(service, false));
        }
        for (permille, alarm) in [(100, scene::ALARM), (50, scene::ASKS)] {
            if self.dice.chance(permille) {
                let from = self.after(at, 30, 800);
                self.at(from, Happening::Alarm(alarm, true));
                let to = self.after(from, 20, 300);
                self.at(to, Happening::Alarm(alarm, false));
            }
        }
        if self.dice.chance(50) {
            let from = self.after(at, 0, 200);
            self.at(from, Happening::Tests(true));
            let to = self.after(from, 20, 200);
            self.at(to, Happening::Tests(false));
        }
        if self.dice.chance(40) {
            let (service, from) = (self.service(), self.after(at, 100, 700));
            self.at(from, Happening::Sicken(service, n));
        }
        if self.dice.chance(60) {
            let kind = match self.dice.below(6) {
                0 => EditKind::Traffic(Value::Traffic { green: 3_333 }),
                1 => EditKind::Traffic(Value::Traffic { green: self.dice.pick(&[0, 0, 10_000, 10_000]) }),
                2 => EditKind::Scale(self.dice.pick(&[0, 1, 3, 7])),
                3 => EditKind::Prune,
                4 => EditKind::Foreign,
                _ => EditKind::DeleteGreen,
            };
            let (service, when) = (self.service(), self.after(at, 60, 700));
            self.at(when, Happening::Edit(Edit { service, kind }));
        }
    }
}
