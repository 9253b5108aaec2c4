//! What a driver remembers between steps: only what spares work. Losing it costs an attempt, never more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};

use crate::ports::Wake;

/// The longest pause between two attempts of an action that fails.
const MOST_PAUSE: Millis = Millis::seconds(30);
/// Wakes remembered per target as covered.
const MOST_COVERED: usize = 64;

/// A driver's memory.
#[derive(Default)]
pub(super) struct Memory {
    targets: HashMap<TargetId, Remembered>,
}

#[derive(Default)]
struct Remembered {
    /// Actions under way in this process.
    busy: HashSet<Seq>,
    /// When an action may be done again.
    paces: HashMap<Seq, Pace>,
    /// Until when another driver's lease is watched over.
    watched: HashMap<Seq, Timestamp>,
    /// Wakes of our own appends that a look of ours has answered already.
    covered: VecDeque<(Seq, Timestamp)>,
}

#[derive(Clone, Copy, Default)]
struct Pace {
    floor: Timestamp,
    failures: u32,
}

impl Memory {
    /// Whether a wake was answered before it came; each is forgotten when it comes.
    pub(super) fn was_covered(&mut self, wake: &Wake) -> bool {
        let Some(remembered) = self.targets.get_mut(&wake.target) else { return false };
        let found = remembered.covered.iter().position(|(seq, at)| (*seq, *at) == (wake.version, wake.at));
        found.is_some_and(|at| remembered.covered.remove(at).is_some())
    }

    /// A look at `state` answers the wakes of appends up to it whose moment has come.
    pub(super) fn cover(
        &mut self,
        target: &TargetId,
        state: &Target,
        now: Timestamp,
        sent: &mut Vec<(Seq, Timestamp)>,
    ) {
        let covered = &mut self.of(target).covered;
        for wake in sent.drain(..).filter(|(seq, at)| *seq <= state.seq && *at <= now) {
            covered.push_back(wake);
        }
        while covered.len() > MOST_COVERED {
            covered.pop_front();
        }
    }

    /// Forgets the pace of intentions that are no longer outstanding.
    pub(super) fn forget_gone(&mut self, target: &TargetId, state: &Target) {
        if let Some(remembered) = self.targets.get_mut(target) {
            remembered.paces.retain(|seq, _| state.outstanding.contains_key(seq));
            remembered.watched.retain(|seq, _| state.outstanding.contains_key(seq));
        }
    }

    pub(super) fn is_busy(&self, target: &TargetId, seq: Seq) -> bool {
        self.targets.get(target).is_some_and(|remembered| remembered.busy.contains(&seq))
    }

    /// Whether this process never ended a performance of this intention.
    pub(super) fn is_first(&self, target: &TargetId, seq: Seq) -> bool {
        !self.targets.get(target).is_some_and(|remembered| remembered.paces.contains_key(&seq))
    }

    /// Before this moment the action is not done again.
    pub(super) fn floor(&self, target: &TargetId, seq: Seq) -> Timestamp {
        let pace = self.targets.get(target).and_then(|remembered| remembered.paces.get(&seq));
        pace.map_or(Timestamp(0), |pace| pace.floor)
    }

    /// Not again before this moment; it did not fail.
    pub(super) fn pace(&mut self, target: &TargetId, seq: Seq, floor: Timestamp) {
        self.of(target).paces.insert(seq, Pace { floor, failures: 0 });
    }

    /// It went well, and has its own moment.
    pub(super) fn succeeded(&mut self, target: &TargetId, seq: Seq) {
        self.pace(target, seq, Timestamp(0));
    }

    /// It came to nothing: each time twice as long a pause, from `base` up to half a minute (or `base`, if longer).
    pub(super) fn failed(&mut self, target: &TargetId, seq: Seq, now: Timestamp, base: Millis) {
        let pace = self.of(target).paces.entry(seq).or_default();
        let grown = base.0.saturating_mul(1_u64 << pace.failures.min(10));
        pace.failures += 1;
        pace.floor = now + Millis(grown.min(MOST_PAUSE.0.max(base.0)));
    }

    /// Whether a wake must be sent to look after another's lease; true once until that moment.
    pub(super) fn watch_over(&mut self, target: &TargetId, seq: Seq, now: Timestamp, until: Timestamp) -> bool {
        let watched = &mut self.of(target).watched;
        if watched.get(&seq).is_some_and(|watched| *watched > now) {
            return false;
        }
        watched.insert(seq, until);
        true
    }

    fn of(&mut self, target: &TargetId) -> &mut Remembered {
        self.targets.entry(target.clone()).or_default()
    }
}

/// An action under way in this process; it ends when this is dropped, however it ends.
pub(super) struct Busy {
    memory: Arc<Mutex<Memory>>,
    target: TargetId,
    seq: Seq,
}

impl Busy {
    /// Begins an action, unless it is under way.
    pub(super) fn begin(memory: &Arc<Mutex<Memory>>, target: &TargetId, seq: Seq) -> Option<Self> {
        let began = memory.lock().unwrap_or_else(PoisonError::into_inner).of(target).busy.insert(seq);
        began.then(|| Self { memory: memory.clone(), target: target.clone(), seq })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(remembered) = memory.targets.get_mut(&self.target) {
            remembered.busy.remove(&self.seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_begin_anew_after_success() {
        let (mut memory, target) = (Memory::default(), "shop/production".parse().unwrap());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            memory.failed(&target, Seq(4), Timestamp(0), Millis::seconds(1));
            pauses.push(memory.floor(&target, Seq(4)).0 / 1_000);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        memory.succeeded(&target, Seq(4));
        memory.failed(&target, Seq(4), Timestamp(0), Millis::seconds(60));
        assert_eq!(memory.floor(&target, Seq(4)), Timestamp(60_000));
    }

    #[test]
    fn an_action_is_begun_once_until_it_ends() {
        let (memory, target) = (Arc::new(Mutex::new(Memory::default())), "shop/production".parse().unwrap());
        let first = Busy::begin(&memory, &target, Seq(1));
        assert!(first.is_some() && Busy::begin(&memory, &target, Seq(1)).is_none());
        drop(first);
        assert!(Busy::begin(&memory, &target, Seq(1)).is_some());
    }

    #[test]
    fn a_wake_of_our_own_append_is_skipped_once_and_only_if_its_moment_had_come() {
        let (mut memory, target): (_, TargetId) = (Memory::default(), "shop/production".parse().unwrap());
        let state = Target { seq: Seq(5), ..Target::default() };
        let wake = |at| Wake { target: target.clone(), version: Seq(5), at: Timestamp(at) };
        let mut sent = vec![(Seq(5), Timestamp(10)), (Seq(5), Timestamp(99))];
        memory.cover(&target, &state, Timestamp(10), &mut sent);
        assert!(memory.was_covered(&wake(10)));
        assert!(!memory.was_covered(&wake(10)), "only once");
        assert!(!memory.was_covered(&wake(99)), "its moment had not come");
    }
}
