//! The world as a model: which steps are possible, and what each leads to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_domain::target::{Phase, Target};
use stateright::{Model as Stateright, Property};

use crate::action::Act;
use crate::canon::{Numbered, numbered};
use crate::cast::{COMMITS, Cast, EPOCH, Held, MOST_OBJECTS, PARTS, REQUIRED};
use crate::cluster;
use crate::drain::End;
use crate::ledger::{Book, Task};
use crate::note::Met;
use crate::property;
use crate::signal::Object;
use crate::state::{Driver, Left, MESSAGES, Outside, Seen, State};
use crate::variant::Variant;
use crate::world::{Begin, Drift, World};

/// A world, and everything that was found out about it so far.
pub struct Model {
    /// The world.
    pub world: World,
    /// The cast.
    pub cast: Arc<Cast>,
    /// The ledger's states and decisions.
    pub book: Book,
    /// Where states end when faults stop.
    pub(crate) ends: Vec<Mutex<Numbered<End>>>,
    /// The ends there are without faults; worlds that converge only.
    pub allowed: BTreeSet<End>,
    met: AtomicU32,
    told: AtomicU32,
}

impl Model {
    /// The model of a world.
    pub fn new(world: World) -> Self {
        let alarms = world.left.alarms > 0;
        let cast = Arc::new(Cast::new(world.shape, world.quorum, world.waiting, alarms));
        let book = Book::new(cast.clone(), world.variant);
        let mut model = Self {
            cast,
            book,
            ends: (0..64).map(|_| Mutex::new(numbered())).collect(),
            allowed: BTreeSet::new(),
            met: AtomicU32::new(0),
            told: AtomicU32::new(0),
            world,
        };
        if model.world.converges {
            model.allowed = Self::new(model.world.without_faults()).all_ends();
        }
        model
    }

    /// Something happened that must happen somewhere.
    pub(crate) fn meet(&self, met: Met) {
        if self.met.load(Ordering::Relaxed) & met.bit() == 0 {
            self.met.fetch_or(met.bit(), Ordering::Relaxed);
        }
    }

    /// Whether something happened on any path explored so far.
    pub fn has_met(&self, met: Met) -> bool {
        self.met.load(Ordering::Relaxed) & met.bit() != 0
    }

    /// Whether something happened, told once: the checker keeps a path each time it is told.
    pub(crate) fn tell(&self, met: Met) -> bool {
        let untold = self.has_met(met) && self.told.load(Ordering::Relaxed) & met.bit() == 0;
        untold && self.told.fetch_or(met.bit(), Ordering::Relaxed) & met.bit() == 0
    }

    /// The message of a push.
    pub(crate) fn push_message(commit: u8, service: usize) -> usize {
        usize::from(commit - 2) * 2 + service
    }

    /// Version 1 of every service is live in blue; nobody fenced it yet; the first push was just made.
    fn beginning(&self) -> State {
        let mut objects = [Object::default(); MOST_OBJECTS];
        for service in 0..self.cast.services.len() {
            let image = u8::try_from(service).unwrap_or(0);
            let blue = Held::Pods { image, replicas: REQUIRED };
            objects[service * PARTS] = Object { value: Some(blue), ready: REQUIRED, ..Object::default() };
            if !self.cast.workers[service] {
                objects[service * PARTS + 2] = Object { value: Some(Held::Green(0)), ..Object::default() };
            }
        }
        let mut messages = [0; MESSAGES];
        for service in 0..self.cast.services.len() {
            messages[Self::push_message(2, service)] = 1;
        }
        let mut outside = Outside { pushed: 1 << 2, ..Outside::default() };
        outside.scans[1] = self.world.scan;
        State {
            node: self.book.node(Target::default(), EPOCH),
            objects,
            patches: Vec::new(),
            drivers: [Driver::Idle, Driver::Idle],
            outside,
            messages,
            awake: !self.world.wakes,
            lost: Vec::new(),
            left: self.world.left,
            seen: Seen::default(),
        }
    }

    /// Whether a state is where the world begins.
    fn begins(&self, state: &State) -> bool {
        let Some(first) = state.node.target.releases.values().next() else {
            return self.world.begin == Begin::Pushed;
        };
        let lets_go = || state.node.due.iter().any(|due| matches!(due.task, Task::Write(_)));
        match self.world.begin {
            Begin::Pushed => true,
            Begin::Gated => first.phase == Phase::Gated && first.plan.is_some() && state.quiet_drivers(),
            Begin::Deploying => matches!(first.phase, Phase::Deploying { .. }),
            Begin::Switching => matches!(first.phase, Phase::Switching { .. }),
            Begin::Watching => first.phase == Phase::Watching,
            Begin::Live => first.phase == Phase::Live,
            Begin::LettingGo => first.phase == Phase::Live && first.keep_old_until.is_some() && lets_go(),
            Begin::LetGo => first.phase == Phase::Live && first.keep_old_until.is_none(),
        }
    }

    /// The state in which the world begins: reached from the first push by the fair schedule without any fault.
    fn begin(&self) -> State {
        let mut state = self.beginning();
        state.left = Left { approvals: u8::MAX, ..Left::default() };
        for _ in 0..500 {
            if self.begins(&state) {
                break;
            }
            let Some((_, next)) = self.fair_step(&state, true) else { break };
            state = next;
        }
        state.left = self.world.left;
        state
    }

    fn driver_acts(&self, state: &State, acts: &mut Vec<Act>) {
        let small = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
        let idle = (0..usize::from(self.world.drivers)).find(|at| matches!(state.drivers[*at], Driver::Idle));
        if state.awake {
            for (at, due) in state.node.due.iter().enumerate() {
                let reads = !matches!(due.task, Task::Write(_) | Task::BackUp(_) | Task::Test);
                if state.lost.contains(&due.seq) {
                    continue;
                }
                if reads && !self.world.stale_reads {
                    acts.push(Act::Read(small(at)));
                } else if let Some(driver) = idle {
                    let writes = matches!(due.task, Task::Write(_));
                    if !writes || state.patches.len() < self.world.patches {
                        acts.push(Act::Take(small(driver), small(at)));
                    }
                }
            }
            acts.push(Act::Wake);
            if self.world.wakes && state.quiet_drivers() && state.node.due.is_empty() {
                acts.push(Act::Sleep);
            }
        } else if self.world.variant != Variant::NoSweep {
            acts.push(Act::SweepWake);
        }
        for (at, driver) in state.drivers.iter().enumerate() {
            match driver {
                Driver::Idle => continue,
                Driver::Sent(seq, write) => {
                    let object = &state.objects[usize::from(write.object)];
                    let open = cluster::accepts(self.world.variant, object, *seq, write)
                        && !cluster::is_written(object, *seq, write);
                    if !open || !state.patches.iter().any(|patch| patch.seq == *seq) {
                        acts.push(Act::ReadBack(small(at)));
                    }
                }
                Driver::Holding(..) if self.world.variant == Variant::AppendToAnyVersion => {
                    acts.push(Act::Decide(small(at)));
                }
                Driver::Holding(..) | Driver::Decided(..) => acts.push(Act::Record(small(at))),
            }
            if state.left.crashes > 0 {
                acts.push(Act::Crash(small(at)));
            }
        }
    }

    fn outside_acts(&self, state: &State, acts: &mut Vec<Act>) {
        let small = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
        for (kind, copies) in state.messages.iter().enumerate().filter(|(_, copies)| **copies > 0) {
            acts.push(Act::Deliver(small(kind)));
            // Losing one of two is never having doubled it.
            if state.left.losses > 0 && *copies == 1 {
                acts.push(Act::Lose(small(kind)));
            }
            if state.left.doubles > 0 && *copies == 1 {
                acts.push(Act::Double(small(kind)));
            }
        }
        for commit in 2..=COMMITS {
            if state.outside.pushed & (1 << commit) == 0 {
                if state.left.pushes > 0 && commit == 3 {
                    acts.push(Act::Push(commit));
                }
                continue;
            }
            for service in 0..self.cast.services.len() {
                if self.is_unheard(state, commit, service) {
                    acts.push(Act::SweepPush(commit, small(service)));
                }
            }
        }
        for at in 0..state.patches.len() {
            acts.push(Act::Land(small(at)));
        }
        for (at, object) in state.objects.iter().enumerate() {
            if is_moving(object) {
                acts.push(Act::Pods(small(at)));
            }
        }
        if state.left.alarms > 0 {
            acts.push(Act::Ring);
        }
        if state.left.scans > 0 {
            acts.push(Act::ScanChanges);
        }
        if state.left.stops > 0 {
            acts.push(Act::Stop(!state.outside.stopped));
        }
    }

    fn people_acts(&self, state: &State, acts: &mut Vec<Act>) {
        for (id, release) in &state.node.target.releases {
            let number = u8::try_from(id.0).unwrap_or(0);
            let of = &state.seen.releases[cluster::release_index(id.0)];
            if state.left.approvals > 0 && of.plan.is_some() && matches!(release.phase, Phase::Gated | Phase::Verifying)
            {
                for who in self.world.voters {
                    acts.push(Act::Approve(*who, number, false));
                    if of.older.is_some() {
                        acts.push(Act::Approve(*who, number, true));
                    }
                }
            }
            if state.left.commands > 0 {
                acts.extend(self.world.asks.iter().map(|ask| Act::Person(*ask, number)));
            }
        }
        if state.left.drifts > 0 {
            for drift in self.world.drifts {
                for (at, object) in state.objects.iter().enumerate() {
                    let fits = match (drift, object.value) {
                        (Drift::Traffic, Some(Held::Green(_))) => true,
                        (Drift::Scale, Some(Held::Pods { replicas, .. })) => replicas > 0,
                        (Drift::Prune, Some(_)) => object.fence > 0,
                        // While a release is under way nobody tidies up.
                        (Drift::Delete, Some(Held::Pods { replicas: 0, .. })) => {
                            object.fence > 0 && state.node.target.in_flight.is_none()
                        }
                        _ => false,
                    };
                    if fits {
                        acts.push(Act::ByHand(*drift, u8::try_from(at).unwrap_or(0)));
                    }
                }
            }
        }
    }

    /// Whether the registry has an image that the ledger has not heard of, and no message of it is under way.
    pub(crate) fn is_unheard(&self, state: &State, commit: u8, service: usize) -> bool {
        if self.world.variant == Variant::SeenIsDone && state.messages[Self::push_message(commit, service)] == 0 {
            return false;
        }
        let target = &state.node.target;
        let sha = &self.cast.commits[usize::from(commit - 1)];
        let digest = self.cast.image(commit, service);
        let open = target.releases.values().find(|release| release.commit == *sha);
        let known = match open {
            Some(release) => release.artifacts.values().any(|artifact| artifact.digest == digest),
            None => target.commits.iter().any(|tried| tried.commit == *sha) || target.outdated.contains(sha),
        };
        !known && state.messages[Self::push_message(commit, service)] == 0
    }

    /// Whether nothing can happen but that time passes, or somebody acts from outside.
    pub(crate) fn is_quiet(&self, state: &State) -> bool {
        let mut acts = Vec::new();
        self.driver_acts(state, &mut acts);
        acts.retain(|act| !matches!(act, Act::Crash(_)));
        let begun = acts.len();
        self.outside_acts(state, &mut acts);
        let moves = acts[begun..]
            .iter()
            .any(|act| matches!(act, Act::Deliver(_) | Act::SweepPush(..) | Act::Land(_) | Act::Pods(_)));
        acts.truncate(begun);
        !moves && acts.into_iter().all(|act| self.step(state, act).is_none())
    }
}

/// Whether pods of a workload are still coming or going.
pub(crate) fn is_moving(object: &Object) -> bool {
    matches!(object.value, Some(Held::Pods { replicas, .. }) if replicas != object.ready)
}

impl State {
    pub(crate) fn quiet_drivers(&self) -> bool {
        self.patches.is_empty() && self.drivers.iter().all(|driver| matches!(driver, Driver::Idle))
    }
}

impl Stateright for Model {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![self.begin()]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        // What comes after an invariant was broken proves nothing.
        if property::is_broken(state) {
            return;
        }
        self.outside_acts(state, acts);
        self.driver_acts(state, acts);
        self.people_acts(state, acts);
        if state.left.ticks > 0 && state.node.moment.is_some() && (!self.world.patient || self.is_quiet(state)) {
            acts.push(Act::Tick);
        }
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        self.step(state, act)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::of()
    }
}
