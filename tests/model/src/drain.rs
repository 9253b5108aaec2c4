//! Liveness: from any state the faults stop and a fair, deterministic schedule runs until nothing is under way. Every
//! state on the way has the same end, so each is walked once: the cost per state is about one step.

use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::PoisonError;

use portcullis_domain::target::Phase;

use crate::action::Act;
use crate::canon::hasher;
use crate::cast::{ALL, COMMITS, Held, PARTS};
use crate::ledger::Task;
use crate::model::{Model, is_moving};
use crate::property;
use crate::signal::Ask;
use crate::state::{Driver, Left, State};
use crate::tell;
use crate::variant::Variant;

/// Steps of the schedule within which every state must have ended.
const MOST_STEPS: usize = 600;

/// Where a state ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// The commit that serves each service, 1 = baseline; 0 = none.
    pub serves: [u8; 2],
    /// The commit that each service's live image is of, by the ledger.
    pub live: [u8; 2],
    /// Commits whose images are in quarantine, by bit.
    pub quarantine: u8,
    /// Whether a person is waited for.
    pub asks: bool,
    /// Whether it never came to an end, or nobody is called again: that must not be.
    pub stuck: bool,
}

impl Model {
    /// Where a state ends when faults stop and people approve.
    pub fn end(&self, state: &State) -> End {
        let mut state = state.clone();
        // Who stopped or paused something lets it go on.
        state.left = Left { commands: u8::MAX, ..Left::default() };
        state.outside.stopped = false;
        let mut path = Vec::new();
        let end = loop {
            let key = course(&state);
            let known = self.ends[shard(key)].lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
            if let Some(known) = known {
                break known;
            }
            if path.len() > MOST_STEPS {
                break End { stuck: true, ..self.end_of(&state) };
            }
            path.push(key);
            // An invariant that breaks on the way is no end either.
            if property::is_broken(&state) {
                break End { stuck: true, ..self.end_of(&state) };
            }
            if state.node.target.releases.values().any(|release| release.asking.is_some()) && self.is_quiet(&state) {
                break End { stuck: !self.escalates(&state), ..self.end_of(&state) };
            }
            match self.fair_step(&state, self.world.people_come) {
                Some((_, next)) => state = next,
                None => break self.end_of(&state),
            }
        };
        for key in path {
            self.ends[shard(key)].lock().unwrap_or_else(PoisonError::into_inner).insert(key, end);
        }
        end
    }

    /// What is there in the end.
    fn end_of(&self, state: &State) -> End {
        let target = &state.node.target;
        let mut end = End { serves: [0; 2], live: [0; 2], quarantine: 0, asks: false, stuck: false };
        for (service, name) in self.cast.services.iter().enumerate() {
            end.serves[service] = self.serves(state, service);
            let live = target.live.get(name).map(|serving| self.cast.commit_of(self.cast.number(&serving.digest)));
            end.live[service] = live.unwrap_or(0);
        }
        for digest in target.quarantine.keys() {
            end.quarantine |= 1 << self.cast.commit_of(self.cast.number(digest));
        }
        end.asks = target.releases.values().any(|release| release.asking.is_some());
        end.stuck = !end.asks && (!target.releases.is_empty() || !state.quiet_drivers());
        end
    }

    fn serves(&self, state: &State, service: usize) -> u8 {
        let first = service * PARTS;
        let pods = |at: usize| match state.objects[at].value {
            Some(Held::Pods { image, replicas: 1.. }) => self.cast.commit_of(image),
            _ => 0,
        };
        match state.objects[first + 2].value {
            Some(Held::Green(green)) => pods(first + usize::from(green >= ALL / 2)),
            _ => pods(first).max(pods(first + 1)),
        }
    }

    /// Whether who waits for a person calls louder when nobody comes.
    fn escalates(&self, state: &State) -> bool {
        let level = |state: &State| {
            let asking = state.node.target.releases.values().filter_map(|release| release.asking.as_ref());
            asking.map(|asking| asking.level).max()
        };
        let before = level(state);
        let mut state = state.clone();
        for _ in 0..8 {
            let Some(later) = self.step(&state, Act::Tick) else { return false };
            state = self.step(&later, Act::Wake).unwrap_or(later);
            if level(&state) != before {
                return true;
            }
        }
        false
    }

    /// One step of the fair schedule; `None` = nothing is left to do.
    pub(crate) fn fair_step(&self, state: &State, people: bool) -> Option<(Act, State)> {
        let small = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
        if !state.patches.is_empty() {
            return self.with(state, Act::Land(0));
        }
        for (at, driver) in state.drivers.iter().enumerate() {
            match driver {
                Driver::Idle => {}
                Driver::Sent(..) => return self.with(state, Act::ReadBack(small(at))),
                Driver::Holding(..) if self.world.variant == Variant::AppendToAnyVersion => {
                    return self.with(state, Act::Decide(small(at)));
                }
                Driver::Holding(..) | Driver::Decided(..) => return self.with(state, Act::Record(small(at))),
            }
        }
        if let Some(at) = state.objects.iter().position(is_moving) {
            return self.with(state, Act::Pods(small(at)));
        }
        if let Some(kind) = state.messages.iter().position(|copies| *copies > 0) {
            return self.with(state, Act::Deliver(small(kind)));
        }
        for commit in (2..=COMMITS).filter(|commit| state.outside.pushed & (1 << commit) != 0) {
            for service in 0..self.cast.services.len() {
                if self.is_unheard(state, commit, service)
                    && let Some(next) = self.with(state, Act::SweepPush(commit, small(service)))
                {
                    return Some(next);
                }
            }
        }
        self.fair_driver(state).or_else(|| self.fair_person(state, people)).or_else(|| self.fair_time(state))
    }

    fn fair_driver(&self, state: &State) -> Option<(Act, State)> {
        if !state.awake {
            let swept = self.world.variant != Variant::NoSweep;
            return swept.then(|| self.with(state, Act::SweepWake)).flatten();
        }
        if let Some(next) = self.with(state, Act::Wake) {
            return Some(next);
        }
        let due = || state.node.due.iter().enumerate().filter(|(_, due)| !state.lost.contains(&due.seq));
        for (at, due) in due() {
            if !matches!(due.task, Task::Write(_) | Task::BackUp(_) | Task::Test)
                && let Some(next) = self.with(state, Act::Read(u8::try_from(at).unwrap_or(u8::MAX)))
            {
                return Some(next);
            }
        }
        let effect = due().find(|(_, due)| matches!(due.task, Task::Write(_) | Task::BackUp(_) | Task::Test));
        effect.and_then(|(at, _)| self.with(state, Act::Take(0, u8::try_from(at).unwrap_or(u8::MAX))))
    }

    /// Those whose approval is missing come, where the world asks where things end; else nobody does.
    fn fair_person(&self, state: &State, people: bool) -> Option<(Act, State)> {
        let paused = state.node.target.releases.iter().find(|(_, release)| release.paused);
        if let Some((id, _)) = paused {
            return self.with(state, Act::Person(Ask::Resume, u8::try_from(id.0).unwrap_or(0)));
        }
        if !people {
            return None;
        }
        for (id, release) in &state.node.target.releases {
            let Some(plan) = release.plan.as_ref().filter(|_| release.phase == Phase::Gated) else { continue };
            for who in 0..self.world.quorum {
                let voter = &self.cast.people[usize::from(who)];
                if release.approvals.iter().any(|approval| approval.plan == plan.id && approval.who == *voter) {
                    continue;
                }
                let mut asked = state.clone();
                asked.left.approvals = 1;
                let number = u8::try_from(id.0).unwrap_or(0);
                let of = &mut asked.seen.releases[crate::cluster::release_index(id.0)];
                of.plan = Some(plan.id);
                return self.with(&asked, Act::Approve(who, number, false));
            }
        }
        None
    }

    fn fair_time(&self, state: &State) -> Option<(Act, State)> {
        if state.node.target.releases.is_empty() {
            return None;
        }
        self.with(state, Act::Tick)
    }

    fn with(&self, state: &State, act: Act) -> Option<(Act, State)> {
        self.step(state, act).map(|next| (act, next))
    }

    /// The fair schedule from a state to its end, one line per step, and what is there then.
    pub fn tell_end(&self, state: &State) -> Vec<String> {
        let mut state = state.clone();
        state.left = Left { commands: u8::MAX, ..Left::default() };
        state.outside.stopped = false;
        let mut lines = Vec::new();
        while lines.len() < MOST_STEPS
            && !property::is_broken(&state)
            && let Some((act, next)) = self.fair_step(&state, self.world.people_come)
        {
            lines.push(tell::step(self, &state, act));
            state = next;
            if state.node.target.releases.values().any(|release| release.asking.is_some()) && self.is_quiet(&state) {
                break;
            }
        }
        if lines.len() > 60 {
            let more = lines.len() - 60;
            lines.truncate(60);
            lines.push(format!("... {more} more"));
        }
        lines.push(format!("{:?}, {state:?}", self.end_of(&state)));
        lines
    }

    /// Every end of a world, by walking all of it.
    pub(crate) fn all_ends(&self) -> BTreeSet<End> {
        use stateright::Model as _;
        let mut ends = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut open = self.init_states();
        let mut acts = Vec::new();
        while let Some(state) = open.pop() {
            let mut hasher = hasher();
            state.hash(&mut hasher);
            if !seen.insert(hasher.finish()) {
                continue;
            }
            // The end is asked of the world with its people, who come in the end.
            ends.insert(self.end(&state));
            self.actions(&state, &mut acts);
            open.extend(acts.drain(..).filter_map(|act| self.next_state(&state, act)));
        }
        ends
    }
}

fn course(state: &State) -> u64 {
    let mut hasher = hasher();
    state.hash_course(&mut hasher);
    hasher.finish()
}

fn shard(key: u64) -> usize {
    usize::try_from(key >> 58).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Ask;
    use crate::state::Left;
    use crate::world::{Begin, World};

    #[test]
    fn making_states_one_loses_no_end() {
        let left = Left { crashes: 1, ticks: 1, approvals: 1, commands: 1, ..Left::default() };
        let reduced = World { begin: Begin::Gated, left, asks: &[Ask::RollBack], ..World::plain("", "") };
        let whole = World { reduced: false, ..reduced.clone() };
        let ends = Model::new(reduced).all_ends();
        assert!(ends.len() > 1, "it can end in more than one way: {ends:?}");
        assert_eq!(ends, Model::new(whole).all_ends());
    }
}
