//! What one step leads to.

use portcullis_domain::action::Purpose;
use portcullis_domain::names::Seq;

use crate::action::Act;
use crate::cast::{ALL, Held};
use crate::cluster::{self, release_index};
use crate::ledger::{FencedWrite, Task};
use crate::model::{Model, is_moving};
use crate::note::Met;
use crate::signal::{Ask, Hand, Scan, Sig};
use crate::state::{ALARM, Driver, Patch, Read, SCAN_IS_BAD, SCAN_IS_CLEAN, State, WAKE};
use crate::variant::Variant;
use crate::world::Drift;

impl Model {
    /// The state after a step; `None` = the step changes nothing.
    pub(crate) fn step(&self, state: &State, act: Act) -> Option<State> {
        let mut next = state.clone();
        match act {
            Act::Push(commit) => {
                next.left.pushes -= 1;
                next.outside.pushed |= 1 << commit;
                for service in 0..self.cast.services.len() {
                    next.messages[Self::push_message(commit, service)] = 1;
                }
            }
            Act::Ring => {
                next.left.alarms -= 1;
                next.outside.alarm = Some(state.node.now);
                next.messages[ALARM] = 1;
            }
            Act::ScanChanges => {
                next.left.scans -= 1;
                // What runs may be told to be clean before it is; what was clean may turn out not to be.
                if state.outside.scans[1] == Scan::Clean {
                    next.outside.scans[1] = Scan::Critical;
                    next.messages[SCAN_IS_BAD] = 1;
                } else {
                    next.messages[SCAN_IS_CLEAN] = 1;
                }
            }
            Act::Stop(stop) => {
                next.left.stops -= 1;
                next.outside.stopped = stop;
            }
            Act::Deliver(kind) => {
                next.messages[usize::from(kind)] -= 1;
                if usize::from(kind) == WAKE {
                    next.awake = true;
                } else {
                    self.say(&mut next, &Self::message(state, usize::from(kind)));
                }
            }
            Act::Lose(kind) => {
                self.meet(Met::Lost);
                next.left.losses -= 1;
                next.messages[usize::from(kind)] -= 1;
            }
            Act::Double(kind) => {
                self.meet(Met::Doubled);
                next.left.doubles -= 1;
                next.messages[usize::from(kind)] += 1;
            }
            Act::SweepPush(commit, service) => {
                self.meet(Met::Swept);
                if !self.say(&mut next, &Sig::Pushed { commit, service }) {
                    return None;
                }
            }
            Act::SweepWake => {
                let due = state.node.due.iter().any(|due| !state.lost.contains(&due.seq));
                let told = self.book.decide(&state.node, &Sig::Wake, state.outside.stopped);
                if !due && told.node.id == state.node.id {
                    return None;
                }
                next.awake = true;
            }
            Act::Sleep => next.awake = false,
            Act::Wake => {
                if !self.say(&mut next, &Sig::Wake) {
                    return None;
                }
            }
            Act::Read(at) => {
                let due = state.node.due.get(usize::from(at))?;
                let hand = self.effect(&mut next, due.seq, &due.task)?;
                if !self.say(&mut next, &Sig::Outcome { seq: due.seq, hand }) {
                    return None;
                }
            }
            Act::Take(driver, at) => {
                let due = state.node.due.get(usize::from(at))?;
                next.drivers[usize::from(driver)] = match &due.task {
                    Task::Write(write) if self.is_claim_unwritten(write) => {
                        Driver::Holding(due.seq, Hand::Written(write.object))
                    }
                    Task::Write(write) => {
                        next.patches.push(Patch { seq: due.seq, write: write.clone(), orphan: false });
                        Driver::Sent(due.seq, write.clone())
                    }
                    task => Driver::Holding(due.seq, self.effect(&mut next, due.seq, task)?),
                };
            }
            Act::Land(at) => self.land(&mut next, usize::from(at)),
            Act::ReadBack(driver) => self.read_back(&mut next, usize::from(driver)),
            Act::Record(driver) => self.record(&mut next, usize::from(driver)),
            Act::Decide(driver) => {
                let Driver::Holding(seq, hand) = &state.drivers[usize::from(driver)] else { return None };
                next.drivers[usize::from(driver)] = Driver::Decided(*seq, hand.clone(), state.node.clone());
            }
            Act::Crash(driver) => self.crash(&mut next, usize::from(driver)),
            Act::Pods(at) => {
                let object = &mut next.objects[usize::from(at)];
                if let (true, Some(Held::Pods { replicas, .. })) = (is_moving(object), object.value) {
                    object.ready = replicas;
                }
            }
            Act::Approve(who, release, older) => {
                next.left.approvals -= 1;
                let of = &state.seen.releases[release_index(u64::from(release))];
                let plan = if older { of.older } else { of.plan };
                self.say(&mut next, &Sig::Person { who, ask: Ask::Approve, release: u64::from(release), plan });
            }
            Act::Person(ask, release) => {
                next.left.commands -= 1;
                let said = Sig::Person { who: 0, ask, release: u64::from(release), plan: None };
                if !self.say(&mut next, &said) {
                    return None;
                }
            }
            Act::ByHand(drift, at) => Self::by_hand(&mut next, drift, usize::from(at)),
            Act::Tick => {
                next.left.ticks = next.left.ticks.saturating_sub(1);
                next.node = self.book.later(&state.node, state.node.moment?);
                // What was read before is old now.
                next.seen.releases.iter_mut().for_each(|of| of.read = Read::Nothing);
                if self.world.wakes {
                    next.messages[WAKE] = 1;
                }
            }
        }
        self.reduce(&mut next);
        Some(next)
    }

    /// Makes states one that differ in nothing that can still matter.
    ///
    /// - A driver whose intention is gone: whatever it will record, the real `decide` makes nothing of it (it is asked
    ///   here each time), and a position is never intended again. What it sent stays under way, as if it had died.
    /// - A patch below its object's fence is refused whenever it arrives, because fences only grow (not in worlds where
    ///   a person takes annotations off, nor where the cluster is the broken part).
    fn reduce(&self, state: &mut State) {
        if !self.world.reduced {
            state.sort();
            return;
        }
        let heard = self.world.variant != Variant::OutcomeForAnyIntention;
        for at in 0..state.drivers.len() * usize::from(heard) {
            let (seq, hand) = match &state.drivers[at] {
                Driver::Sent(seq, write) => (*seq, Hand::Written(write.object)),
                Driver::Holding(seq, hand) => (*seq, hand.clone()),
                Driver::Idle | Driver::Decided(..) => continue,
            };
            let sent = matches!(state.drivers[at], Driver::Sent(..));
            if state.node.target.outstanding.contains_key(&Seq(seq)) {
                continue;
            }
            let told = self.book.decide(&state.node, &Sig::Outcome { seq, hand }, state.outside.stopped);
            if told.node.id == state.node.id && told.notes.is_empty() {
                self.meet(Met::StaleOutcome);
                state.drivers[at] = Driver::Idle;
                if sent {
                    state.patches.iter_mut().filter(|patch| patch.seq == seq).for_each(|patch| patch.orphan = true);
                }
            }
        }
        let forgets = self.world.drifts.iter().any(|drift| matches!(drift, Drift::Prune | Drift::Delete));
        if !forgets && !matches!(self.world.variant, Variant::NoFence | Variant::AbsentIsOlder) {
            let before = state.patches.len();
            state.patches.retain(|patch| {
                let object = &state.objects[usize::from(patch.write.object)];
                let half_done = object.fence == patch.seq && !cluster::is_written(object, patch.seq, &patch.write);
                object.fence < patch.seq || half_done
            });
            if state.patches.len() < before {
                self.meet(Met::PatchRefused);
            }
        }
        state.sort();
        if !forgets {
            // Two patches of one intention are one: after the first the other finds its own work, or is refused.
            state.patches.dedup_by_key(|patch| patch.seq);
        }
    }

    fn is_claim_unwritten(&self, write: &FencedWrite) -> bool {
        let claims = matches!(write.purpose, Purpose::Claim | Purpose::Restore);
        self.world.variant == Variant::NoClaim && claims && matches!(write.to, Held::Pods { replicas: 1.., .. })
    }

    fn message(state: &State, kind: usize) -> Sig {
        match kind {
            SCAN_IS_BAD => Sig::Scan { commit: 2, clean: false },
            SCAN_IS_CLEAN => Sig::Scan { commit: 2, clean: true },
            ALARM => Sig::Alarm(state.outside.alarm.unwrap_or(state.node.now)),
            push => Sig::Pushed {
                commit: u8::try_from(push / 2 + 2).unwrap_or(2),
                service: u8::try_from(push % 2).unwrap_or(0),
            },
        }
    }

    /// Does something outside that is not a write; what came of it.
    fn effect(&self, state: &mut State, seq: u64, task: &Task) -> Option<Hand> {
        Some(match task {
            Task::Write(_) => return None,
            Task::BackUp(release) => {
                if self.world.variant != Variant::BackupNotRead {
                    state.outside.stored |= 1 << release;
                }
                Hand::BackedUp
            }
            Task::Test => Hand::Passed,
            Task::Look(_) => Hand::Facts(state.snapshot()),
            Task::Observe => Hand::Observed(state.snapshot()),
            Task::Await(object) => {
                let mut seen = state.objects[usize::from(*object)];
                if self.world.variant == Variant::NoClaim {
                    seen.fence = seq;
                }
                Hand::Seen(seen)
            }
            Task::Measure(from, to) => Hand::Measured(*from, *to, state.outside.alarm),
        })
    }

    /// Records a signal. False = nothing came of it.
    pub(crate) fn say(&self, state: &mut State, sig: &Sig) -> bool {
        let decided = self.book.decide(&state.node, sig, state.outside.stopped);
        let changed = decided.node.id != state.node.id || !decided.notes.is_empty();
        self.absorb(state, &decided);
        changed
    }

    fn record(&self, state: &mut State, driver: usize) {
        match std::mem::take(&mut state.drivers[driver]) {
            Driver::Holding(seq, hand) => {
                if !state.node.target.outstanding.contains_key(&Seq(seq)) {
                    self.meet(Met::StaleOutcome);
                }
                self.say(state, &Sig::Outcome { seq, hand });
            }
            Driver::Decided(seq, hand, node) => {
                let sig = Sig::Outcome { seq, hand };
                let events = self.book.events(&node, &sig, state.outside.stopped);
                let decided = self.book.append(&state.node, &sig, &events);
                self.absorb(state, &decided);
            }
            other => state.drivers[driver] = other,
        }
    }

    fn read_back(&self, state: &mut State, driver: usize) {
        let Driver::Sent(seq, write) = state.drivers[driver].clone() else { return };
        let object = state.objects[usize::from(write.object)];
        state.drivers[driver] = if cluster::is_written(&object, seq, &write) {
            Driver::Holding(seq, Hand::Written(write.object))
        } else if cluster::accepts(self.world.variant, &object, seq, &write) {
            state.patches.push(Patch { seq, write: write.clone(), orphan: false });
            Driver::Sent(seq, write)
        } else {
            Driver::Holding(seq, Hand::Drift(object))
        };
    }

    fn crash(&self, state: &mut State, driver: usize) {
        state.left.crashes = state.left.crashes.saturating_sub(1);
        let seq = match std::mem::take(&mut state.drivers[driver]) {
            Driver::Idle => return,
            Driver::Sent(seq, _) => {
                self.meet(Met::CrashBeforeEffect);
                if let Some(patch) = state.patches.iter_mut().find(|patch| patch.seq == seq && !patch.orphan) {
                    patch.orphan = true;
                }
                seq
            }
            Driver::Holding(seq, _) | Driver::Decided(seq, ..) => {
                self.meet(Met::CrashAfterEffect);
                seq
            }
        };
        if self.world.wakes {
            state.awake = false;
        }
        if self.world.variant == Variant::OnlyTheDriverKnows {
            state.lost.push(seq);
        }
    }

    fn by_hand(state: &mut State, drift: Drift, at: usize) {
        state.left.drifts = state.left.drifts.saturating_sub(1);
        let object = &mut state.objects[at];
        match (drift, &mut object.value) {
            (Drift::Traffic, Some(Held::Green(green))) => {
                *green = if *green == 0 { ALL } else { 0 };
                object.by_hand = true;
            }
            (Drift::Scale, Some(Held::Pods { replicas, .. })) => {
                *replicas += 1;
                object.by_hand = true;
            }
            (Drift::Prune, _) => (object.fence, object.pruned) = (0, true),
            (Drift::Delete, value) => (*value, object.fence, object.ready) = (None, 0, 0),
            _ => {}
        }
    }
}
