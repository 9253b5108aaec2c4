//! Two-phase commit (after Gray and Lamport, "Consensus on Transaction Commit", section 3): what the model checker's
//! speed is compared with, a state of a few bytes and steps of a few instructions.

use std::collections::BTreeSet;

use stateright::{Checker as _, Model, Property};

/// Resource managers.
const MANAGERS: u8 = 8;
/// Threads, as the model checker has.
const THREADS: usize = 2;

/// What a resource manager does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Manager {
    Working,
    Prepared,
    Committed,
    Aborted,
}

/// What was sent, and stays in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Prepared(u8),
    Commit,
    Abort,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    managers: Vec<Manager>,
    /// None = the coordinator has not decided.
    committed: Option<bool>,
    heard: BTreeSet<u8>,
    sent: BTreeSet<Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Hear(u8),
    Commit,
    Abort,
    Prepare(u8),
    GiveUp(u8),
    Obey(u8, bool),
}

struct TwoPhase;

impl Model for TwoPhase {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let managers = vec![Manager::Working; usize::from(MANAGERS)];
        vec![State { managers, committed: None, heard: BTreeSet::new(), sent: BTreeSet::new() }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.committed.is_none() {
            if state.heard.len() == usize::from(MANAGERS) {
                steps.push(Step::Commit);
            }
            steps.push(Step::Abort);
        }
        for (id, manager) in (0..MANAGERS).zip(&state.managers) {
            if state.committed.is_none() && state.sent.contains(&Message::Prepared(id)) {
                steps.push(Step::Hear(id));
            }
            if *manager == Manager::Working {
                steps.extend([Step::Prepare(id), Step::GiveUp(id)]);
            }
            for (message, commits) in [(Message::Commit, true), (Message::Abort, false)] {
                if state.sent.contains(&message) {
                    steps.push(Step::Obey(id, commits));
                }
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut state = state.clone();
        match step {
            Step::Hear(id) => {
                state.heard.insert(id);
            }
            Step::Commit => {
                state.committed = Some(true);
                state.sent.insert(Message::Commit);
            }
            Step::Abort => {
                state.committed = Some(false);
                state.sent.insert(Message::Abort);
            }
            Step::Prepare(id) => {
                state.managers[usize::from(id)] = Manager::Prepared;
                state.sent.insert(Message::Prepared(id));
            }
            Step::GiveUp(id) => state.managers[usize::from(id)] = Manager::Aborted,
            Step::Obey(id, commits) => {
                state.managers[usize::from(id)] = if commits { Manager::Committed } else { Manager::Aborted };
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::<Self>::always("all end alike", |_, state| {
            let any = |what| state.managers.contains(&what);
            !(any(Manager::Committed) && any(Manager::Aborted))
        })]
    }
}

/// Explores it whole; the number of states generated.
#[expect(clippy::cast_precision_loss, reason = "a number of states, for a rate")]
pub(super) fn explore() -> f64 {
    let checker = TwoPhase.checker().threads(THREADS).target_state_count(1_500_000).spawn_bfs().join();
    checker.state_count() as f64
}
