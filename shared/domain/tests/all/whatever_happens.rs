//! Whatever happens in whatever order: the invariants hold at every step, and every release comes to an end.

use std::collections::BTreeSet;

use crate::world::*;
use portcullis_domain::action::{Action, ObjectKey, Outcome, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::What;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::policy::{Colour, ServiceKind, Waiting};
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::{Phase, Target};
use portcullis_domain::time::Millis;
use portcullis_domain::{apply, next};
use proptest::prelude::*;

/// Something that can happen.
#[derive(Debug, Clone)]
enum Happening {
    Push(u8),
    Redeliver(u8),
    Approve,
    RollBack,
    Cancel,
    Pause,
    Resume,
    Promote,
    Veto,
    Resolve,
    HandsOff,
    Minutes(u64),
    Alarm(bool),
    Sick(u8, bool, bool),
    Window(u8, u8),
    FailingTest(bool),
    /// Actions of a kind are not performed for a while.
    Park(u8),
    /// An old write lands now, whoever sent it.
    LateWrite(u8),
    /// An outcome is told again.
    OutcomeAgain(u8),
    EditByHand(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    prop_oneof![
        4 => (2u8..9).prop_map(H::Push),
        1 => (2u8..9).prop_map(H::Redeliver),
        4 => Just(H::Approve),
        1 => Just(H::RollBack),
        1 => Just(H::Cancel),
        1 => Just(H::Pause),
        2 => Just(H::Resume),
        1 => Just(H::Promote),
        1 => Just(H::Veto),
        1 => Just(H::Resolve),
        1 => Just(H::HandsOff),
        6 => (1u64..90).prop_map(H::Minutes),
        1 => any::<bool>().prop_map(H::Alarm),
        1 => (0u8..3, any::<bool>(), any::<bool>()).prop_map(|(s, green, sick)| H::Sick(s, green, sick)),
        1 => (0u8..2, 0u8..3).prop_map(|(s, w)| H::Window(s, w)),
        1 => any::<bool>().prop_map(H::FailingTest),
        3 => (0u8..8).prop_map(H::Park),
        2 => any::<u8>().prop_map(H::LateWrite),
        2 => any::<u8>().prop_map(H::OutcomeAgain),
        1 => (0u8..2).prop_map(H::EditByHand),
    ]
}

/// Who parks: nobody, or one kind of action.
fn parking(kind: u8) -> fn(&Action) -> bool {
    match kind {
        0 => |action| matches!(action, Action::Write(_)),
        1 => |action| matches!(action, Action::AwaitReady(_)),
        2 => |action| matches!(action, Action::BackUp { .. }),
        3 => |action| matches!(action, Action::RunTest { .. }),
        4 => |action| matches!(action, Action::Measure(_)),
        5 => |action| matches!(action, Action::Look(_)),
        _ => |_| false,
    }
}

struct Run {
    world: World,
    /// Every write that was ever intended, with its fence: what a driver that is late may still send.
    writes: Vec<(Seq, Write)>,
    told: Vec<(Seq, Outcome)>,
}

impl Run {
    fn new(kind: u8) -> Self {
        let mut policy = policy();
        match kind {
            1 => policy.strategy = portcullis_domain::policy::Strategy::Rolling,
            2 => policy.services[2].kind = ServiceKind::Worker { overlap: true },
            3 => policy.waiting = Waiting::Queue,
            4 => {
                let steps = vec![2_500, 5_000, 10_000];
                let every = Millis::minutes(2);
                policy.strategy = portcullis_domain::policy::Strategy::BlueGreen { steps, every, manual: false };
            }
            _ => {}
        }
        policy.watch.alarms_roll_back = vec!["app-*".into()];
        let mut world = World::new(policy);
        let now = world.now;
        world.alarm("app-5xx", AlarmState::Ok, now);
        for n in 2..9 {
            world.build(n, "amara");
        }
        Self { world, writes: vec![], told: vec![] }
    }

    fn some_release(&self) -> ReleaseId {
        self.world.target.releases.keys().next_back().copied().unwrap_or(ReleaseId(1))
    }

    fn step(&mut self, happening: &Happening) {
        let names = ["web", "api", "jobs"];
        let release = self.some_release();
        match happening {
            Happening::Push(n) => {
                self.world.push(*n);
            }
            Happening::Redeliver(n) => {
                self.world.push_one(*n, "web");
            }
            Happening::Approve => {
                let plan = self.world.target.releases.get(&release).and_then(|r| Some(r.plan.as_ref()?.id));
                if let Some(plan) = plan {
                    self.world.command("kofi", Command::Approve { release, plan, typed: None });
                }
            }
            Happening::RollBack => {
                self.world.roll_back("kofi");
            }
            Happening::Cancel => {
                self.world.command("kofi", Command::Cancel { release, reason: "no".into() });
            }
            Happening::Pause => {
                self.world.command("kofi", Command::Pause { release });
            }
            Happening::Resume => {
                self.world.command("kofi", Command::Resume { release });
            }
            Happening::Promote => {
                self.world.command("kofi", Command::Promote { release });
            }
            Happening::Veto => {
                self.world.command("lena", Command::Reject { release, reason: "no".into() });
            }
            Happening::Resolve => {
                self.world.command("kofi", Command::Resolve { reason: "as it is".into() });
            }
            Happening::HandsOff => {
                let until = Some(self.world.now + Millis::minutes(30));
                self.world.command("kofi", Command::HandsOff { until, reason: "surgery".into() });
            }
            Happening::Minutes(n) => self.world.pass(Millis::minutes(*n)),
            Happening::Alarm(rings) => {
                let now = self.world.now;
                self.world.alarm("app-5xx", if *rings { AlarmState::Alarm } else { AlarmState::Ok }, now);
                self.world.settle();
            }
            Happening::Sick(s, green, sick) => {
                let colour = if *green { Colour::Green } else { Colour::Blue };
                let key = ObjectKey::workload(&service(names[usize::from(*s)]), colour);
                if *sick {
                    self.world.sick.insert(key);
                } else {
                    self.world.sick.remove(&key);
                }
            }
            Happening::Window(s, kind) => {
                let window = [Some(healthy_window()), Some(failing_window(2_000)), None][usize::from(*kind)].clone();
                self.world.windows.insert(service(names[usize::from(*s)]), window);
            }
            Happening::FailingTest(fails) => self.world.failing_test = *fails,
            Happening::Park(kind) => {
                self.world.parked = parking(*kind);
                self.world.settle();
            }
            Happening::LateWrite(which) => {
                if !self.writes.is_empty() {
                    let (seq, write) = self.writes[usize::from(*which) % self.writes.len()].clone();
                    self.world.write(seq, &write);
                }
            }
            Happening::OutcomeAgain(which) => {
                if !self.told.is_empty() {
                    let (intention, outcome) = self.told[usize::from(*which) % self.told.len()].clone();
                    if !self.world.target.outstanding.contains_key(&intention) {
                        let events = self.world.signal(&Signal::Outcome { intention, outcome });
                        let heard = events.iter().any(|event| matches!(event.what, What::Done { .. }));
                        assert!(!heard, "an outcome counted twice");
                    }
                }
            }
            Happening::EditByHand(s) => {
                let key = ObjectKey::traffic(&service(names[usize::from(*s)]));
                if let Some(stamp) = self.world.cluster.get_mut(&key).and_then(|found| found.stamp.as_mut()) {
                    stamp.value = Value::Traffic { green: 3_333 };
                    self.world.edited.insert(key.service.clone());
                }
            }
        }
        self.note();
        self.check();
    }

    fn note(&mut self) {
        self.writes = self
            .world
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Intended { intention, .. } => match &intention.action {
                    Action::Write(write) => Some((event.seq, write.clone())),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        self.told = self
            .world
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Done { intention, outcome, .. } => Some((*intention, (**outcome).clone())),
                _ => None,
            })
            .collect();
    }

    /// The invariants that can be seen from outside.
    fn check(&self) {
        let world = &self.world;
        // 1: what serves was there before, or is of a release whose gates held.
        let mut allowed: BTreeSet<Digest> = ["web", "api", "jobs"].iter().map(|name| image(1, name)).collect();
        let mut artifacts: Vec<(ReleaseId, Digest)> = vec![];
        for event in &world.events {
            match &event.what {
                What::ImageAdded { release, artifact, .. } => artifacts.push((*release, artifact.digest)),
                What::Began { release, .. } => {
                    allowed.extend(artifacts.iter().filter(|(of, _)| of == release).map(|(_, digest)| *digest));
                }
                _ => {}
            }
        }
        if world.edited.is_empty() {
            for name in ["web", "api"] {
                let serves = world.serves(name);
                assert!(serves.is_some_and(|digest| allowed.contains(&digest)), "{name} serves {serves:?}");
            }
        }
        // 4: after the way back began, nothing of that release is intended forward.
        let mut back = BTreeSet::new();
        for event in &world.events {
            match &event.what {
                What::RollbackBegan { release, .. } => {
                    back.insert(*release);
                }
                what if what.moves_forward() => {
                    assert!(
                        what.release().is_none_or(|release| !back.contains(&release)),
                        "forward after back: {what:?}"
                    );
                }
                _ => {}
            }
        }
        // 6: no write before the backup.
        let mut backed_up = BTreeSet::new();
        for event in &world.events {
            match &event.what {
                What::Done { release, outcome, .. } if matches!(**outcome, Outcome::BackedUp { .. }) => {
                    backed_up.insert(*release);
                }
                What::Intended { release, intention } if matches!(intention.action, Action::Write(_)) => {
                    assert!(backed_up.contains(release), "a write before the backup");
                }
                _ => {}
            }
        }
        // The fold of the ledger is the state.
        let mut folded = Target::default();
        world.events.iter().for_each(|event| apply(&mut folded, event));
        assert_eq!(folded, world.target);
    }

    /// Everything heals, people act, time passes: then every release has ended, is live, or waits for a person.
    fn drain(&mut self) {
        self.world.parked = |_| false;
        self.world.sick.clear();
        self.world.windows.clear();
        self.world.failing_test = false;
        let now = self.world.now;
        self.world.alarm("app-5xx", AlarmState::Ok, now);
        for found in self.world.cluster.values_mut() {
            if let Some(Value::Workload { replicas, .. }) = found.stamp.as_ref().map(|stamp| stamp.value) {
                found.ready = replicas;
            }
        }
        let ids: Vec<ReleaseId> = self.world.target.releases.keys().copied().collect();
        for release in ids {
            if self.world.target.releases.get(&release).is_some_and(|r| r.paused) {
                self.world.command("kofi", Command::Resume { release });
            }
        }
        self.world.pass(Millis::hours(50));
        for release in self.world.target.releases.values() {
            let waits = release.phase == Phase::Live || release.asking.is_some();
            assert!(
                waits,
                "release {} is {:?} and nobody is asked: {:#?}",
                release.id,
                release.phase,
                self.world.story(release.id)
            );
        }
        let wake = next(&self.world.target).wake_at;
        assert!(self.world.target.releases.is_empty() || wake.is_some(), "somebody waits, and nobody will look");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_and_every_release_ends(
        kind in 0u8..5,
        happenings in prop::collection::vec(happening(), 1..40),
    ) {
        let mut run = Run::new(kind);
        for happening in &happenings {
            run.step(happening);
        }
        run.drain();
    }
}

/// A hundred stories in every test run; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100)
}
