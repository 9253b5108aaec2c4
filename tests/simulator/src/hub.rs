//! The heart of a run: time, what is due at which moment and in which order, chance, and the trace of it all.
//!
//! Every call of the engine to the outside passes here ([`Hub::plan`]) and may have to wait for a turn
//! ([`Hub::until`]); the run ([`crate::run`]) takes what is due, one thing at a time ([`Hub::next`]).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use portcullis_domain::time::Timestamp;

use crate::dice::{Dice, Purpose};
use crate::story::Happening;
use crate::weather::{Fault, Tally, Weather};

/// A call that takes longer than a driver waits for an answer takes at least this long, in milliseconds.
const HUNG: u64 = 61_000;

/// Shared by everything in one run.
pub(crate) struct Hub {
    now: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    due: BinaryHeap<Reverse<Entry>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    chance: Dice,
    order: Dice,
    weather: Weather,
    tally: Tally,
    trace: Trace,
    steps: u64,
}

/// One thing that is due: when, its rank among those of the same moment, where it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    rank: u32,
    slot: u32,
    turn: u32,
}

struct Slot {
    turn: u32,
    what: Waiting,
}

enum Waiting {
    Nothing,
    Call(Option<Waker>),
    Fired,
    Happening(Box<Happening>),
}

/// A fast hash that is the same in every run and on every machine of the same word order.
pub(crate) struct Mixer(pub(crate) u64);

impl Mixer {
    fn mix(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl std::hash::Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.mix(u64::from(*byte));
        }
    }
}

/// Everything that happened, as a hash, and as text if somebody wants to read it.
struct Trace {
    hash: Mixer,
    text: Option<String>,
}

/// What is going to happen to one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Its work is done at this moment; none = at once.
    pub(crate) works_at: Option<Timestamp>,
    /// It fails instead.
    pub(crate) fails_before: bool,
    /// It answers so many milliseconds after its work.
    pub(crate) answers_after: Option<u64>,
    /// Its answer is an error.
    pub(crate) fails_after: bool,
}

impl Fate {
    /// Whether something goes wrong with it.
    fn is_bad(self) -> bool {
        self.fails_before || self.fails_after
    }
}

impl Hub {
    /// A hub of this seed, at this moment.
    pub(crate) fn new(seed: u64, at: Timestamp, weather: Weather, traced: bool) -> Arc<Self> {
        let inner = Inner {
            due: BinaryHeap::with_capacity(256),
            slots: Vec::with_capacity(256),
            free: Vec::with_capacity(64),
            chance: Dice::new(seed, Purpose::Faults),
            order: Dice::new(seed, Purpose::Order),
            weather,
            tally: Tally::default(),
            trace: Trace { hash: Mixer(seed), text: traced.then(String::new) },
            steps: 0,
        };
        Arc::new(Self { now: AtomicU64::new(at.0), inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The true time, which no process knows.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    /// From now on it is like this.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.inner().weather = weather;
    }

    /// Something happens at a moment.
    pub(crate) fn schedule(&self, at: Timestamp, happening: Happening) {
        let at = at.0.max(self.now().0);
        let mut inner = self.inner();
        inner.enter(at, Waiting::Happening(Box::new(happening)));
    }

    /// Chance of the faults' stream: true so often in a thousand, counted as this fault.
    pub(crate) fn strikes(&self, permille: impl FnOnce(&Weather) -> u32, fault: Fault) -> bool {
        let mut inner = self.inner();
        let permille = permille(&inner.weather);
        let strikes = inner.chance.chance(permille);
        if strikes {
            inner.tally[fault as usize] += 1;
        }
        strikes
    }

    /// A number of the faults' stream, from `least` to `most`.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        self.inner().chance.between(least, most)
    }

    /// A position below `count`, of the stream that orders what could happen at once.
    pub(crate) fn turn_of(&self, count: usize) -> usize {
        self.inner().order.below(count)
    }

    /// Counts a fault that was not drawn here.
    pub(crate) fn count(&self, fault: Fault) {
        self.inner().tally[fault as usize] += 1;
    }

    /// Draws what will happen to a call of a process.
    pub(crate) fn plan(&self, process: u8, call: &'static str, can_fail: bool) -> Fate {
        let now = self.now().0;
        let mut inner = self.inner();
        let weather = inner.weather;
        let mut fate = Fate::default();
        // One draw decides for most calls that nothing happens to them at all.
        let roll = u32::try_from(inner.chance.between(0, 999)).unwrap_or(0);
        if roll < weather.turns {
            fate.works_at = Some(Timestamp(now + inner.chance.between(0, 40)));
        } else if roll < weather.turns * 5 / 4 {
            fate.answers_after = Some(inner.chance.between(0, 40));
        }
        if inner.chance.chance(weather.slow) {
            let (slow, first) = (inner.chance.between(1_000, 15_000), inner.chance.chance(500));
            if first {
                fate.works_at = Some(Timestamp(now + slow));
            } else {
                fate.answers_after = Some(slow);
            }
            inner.tally[Fault::Slow as usize] += 1;
        }
        if inner.chance.chance(weather.hangs) {
            fate.answers_after = Some(inner.chance.between(HUNG, 2 * HUNG));
            inner.tally[Fault::Hung as usize] += 1;
        }
        if can_fail && inner.chance.chance(weather.before) {
            fate.fails_before = true;
            inner.tally[Fault::FailedBefore as usize] += 1;
        } else if can_fail && inner.chance.chance(weather.after) {
            fate.fails_after = true;
            inner.tally[Fault::FailedAfter as usize] += 1;
        }
        let seen = u64::from(process) ^ (call.len() as u64) << 8 ^ u64::from(roll) << 16;
        inner.trace.hash.mix(seen ^ u64::from(fate.fails_before) << 40 ^ u64::from(fate.fails_after) << 41);
        if inner.trace.text.is_some() && (fate.is_bad() || fate.works_at.is_some() || fate.answers_after.is_some()) {
            let mut line = format!("p{process} {call}");
            if let Some(at) = fate.works_at {
                let _ = write!(line, ", works after {} ms", at.0 - now);
            }
            if let Some(ms) = fate.answers_after {
                let _ = write!(line, ", answers {ms} ms later");
            }
            line.push_str(if fate.fails_before { ", fails" } else { "" });
            line.push_str(if fate.fails_after { ", done, but answers with an error" } else { "" });
            inner.write(now, &line);
        }
        fate
    }

    /// Notes something in the trace.
    pub(crate) fn note(&self, hash: u64, line: impl FnOnce() -> String) {
        let now = self.now().0;
        let mut inner = self.inner();
        inner.trace.hash.mix(now);
        inner.trace.hash.mix(hash);
        if inner.trace.text.is_some() {
            inner.write(now, &line());
        }
    }

    /// Waits until a moment of the true time.
    pub(crate) fn until(self: &Arc<Self>, at: Timestamp) -> Until {
        Until { hub: self.clone(), at: at.0, place: None }
    }

    /// Takes the next thing that is due, moving time to it. None = nothing will ever happen again.
    pub(crate) fn next(&self) -> Option<Next> {
        let mut inner = self.inner();
        loop {
            let Reverse(entry) = inner.due.pop()?;
            let index = entry.slot as usize;
            if inner.slots[index].turn != entry.turn {
                continue;
            }
            let now = self.now.load(Ordering::Relaxed).max(entry.at);
            self.now.store(now, Ordering::Relaxed);
            inner.steps += 1;
            inner.trace.hash.mix(now ^ u64::from(entry.slot) << 48);
            match std::mem::replace(&mut inner.slots[index].what, Waiting::Fired) {
                Waiting::Call(waker) => return Some(Next::Call(waker)),
                Waiting::Happening(happening) => {
                    inner.leave(entry.slot);
                    return Some(Next::Happening(happening));
                }
                Waiting::Nothing | Waiting::Fired => {}
            }
        }
    }

    /// How many things happened so far.
    pub(crate) fn steps(&self) -> u64 {
        self.inner().steps
    }

    /// The hash of everything that happened, the text if it was wanted, and the faults.
    pub(crate) fn finish(&self) -> (u64, Option<String>, Tally) {
        let mut inner = self.inner();
        let hash = inner.trace.hash.0;
        (hash, inner.trace.text.take(), inner.tally)
    }
}

impl Inner {
    fn enter(&mut self, at: u64, what: Waiting) -> (u32, u32) {
        let rank = self.order.rank();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { turn: 0, what: Waiting::Nothing });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.slots[slot as usize];
        place.what = what;
        let turn = place.turn;
        self.due.push(Reverse(Entry { at, rank, slot, turn }));
        (slot, turn)
    }

    fn leave(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.turn = place.turn.wrapping_add(1);
        place.what = Waiting::Nothing;
        self.free.push(slot);
    }

    fn write(&mut self, now: u64, line: &str) {
        if let Some(text) = &mut self.trace.text {
            let since = now - crate::scene::BEGIN.0;
            let _ = writeln!(text, "{:>8}.{:03} {line}", since / 1_000, since % 1_000);
        }
    }
}

/// What is due.
pub(crate) enum Next {
    /// A call goes on.
    Call(Option<Waker>),
    /// Something happens.
    Happening(Box<Happening>),
}

/// Waits for a moment; given up when dropped.
pub(crate) struct Until {
    hub: Arc<Hub>,
    at: u64,
    place: Option<u32>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let hub = self.hub.clone();
        let mut inner = hub.inner();
        let Some(slot) = self.place else {
            let at = self.at.max(hub.now().0);
            let (slot, _) = inner.enter(at, Waiting::Call(Some(cx.waker().clone())));
            self.place = Some(slot);
            return Poll::Pending;
        };
        if let Waiting::Call(waker) = &mut inner.slots[slot as usize].what {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        inner.leave(slot);
        self.place = None;
        Poll::Ready(())
    }
}

impl Drop for Until {
    fn drop(&mut self) {
        if let Some(slot) = self.place {
            self.hub.inner().leave(slot);
        }
    }
}
