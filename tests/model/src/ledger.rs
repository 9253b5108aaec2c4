//! The ledger of the world: the state of the target at a moment, found by what counts of it, and the real `decide`,
//! `apply` and `next` on it. A decision is made once for each (state, signal) and remembered.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_domain::action::{Action, Purpose, Stamp};
use portcullis_domain::event::Event;
use portcullis_domain::given::Given;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::policy::{Metric, Policy};
use portcullis_domain::scope::{ScopeState, Stop};
use portcullis_domain::target::{Phase, Target};
use portcullis_domain::time::Timestamp;
use portcullis_domain::{apply, decide, next};

use crate::canon::{Numbered, canon, hasher, numbered};
use crate::cast::{Cast, HORIZON, Held};
use crate::note::{self, Note};
use crate::signal::Sig;
use crate::variant::{self, Variant};

/// The state of the target at one moment, with what the world asks of it again and again.
pub struct Node {
    /// Its number: equal numbers are equal nodes.
    pub id: u64,
    /// The state.
    pub target: Target,
    /// Now.
    pub now: Timestamp,
    /// What counts of it, without its positions.
    pub(crate) skeleton: u64,
    /// Its positions, in the order in which they occur.
    pub(crate) seqs: Box<[u64]>,
    /// What may be performed now.
    pub due: Vec<Due>,
    /// The next moment at which something is due, after now.
    pub moment: Option<Timestamp>,
}

/// One intention to perform, small.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its position.
    pub seq: u64,
    /// What it is.
    pub task: Task,
}

/// What an intention is.
#[derive(Debug, Clone)]
pub enum Task {
    /// A fenced write.
    Write(Arc<FencedWrite>),
    /// The backup, of this release.
    BackUp(u64),
    /// The test.
    Test,
    /// The facts of the gates of this release.
    Look(u64),
    /// A workload's readiness, of this object.
    Await(u8),
    /// The window between these moments.
    Measure(Timestamp, Timestamp),
    /// The objects.
    Observe,
}

/// A fenced write with everything in it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct FencedWrite {
    /// The release it belongs to.
    pub release: u64,
    /// The object.
    pub object: u8,
    /// The states it accepts: absent, or a fence (0 = none) with a value.
    pub from: Vec<Option<(u64, Held)>>,
    /// The value it will hold.
    pub to: Held,
    /// Why.
    pub purpose: Purpose,
}

/// What a signal came to.
pub struct Decided {
    /// The ledger after it; the same node = nothing was appended that counts.
    pub node: Arc<Node>,
    /// What was appended, as far as the invariants ask.
    pub notes: Vec<Note>,
}

const SHARDS: usize = 64;

/// All nodes and decisions so far.
pub struct Book {
    cast: Arc<Cast>,
    variant: Variant,
    given: [Vec<(portcullis_domain::scope::Scope, ScopeState)>; 2],
    nodes: Vec<Mutex<Numbered<Arc<Node>>>>,
    decisions: Vec<Mutex<Numbered<Arc<Decided>>>>,
    next_id: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shard(key: u64) -> usize {
    usize::try_from(key >> 58).unwrap_or(0) % SHARDS
}

impl Book {
    /// An empty one.
    pub fn new(cast: Arc<Cast>, variant: Variant) -> Self {
        let scopes = |stopped: bool| {
            let state = |index: usize| {
                let stop =
                    Stop { who: cast.people[0].clone(), reason: "stop".to_owned(), since: Timestamp(0), until: None };
                ScopeState { stop: (stopped && index == 0).then_some(stop), ..ScopeState::default() }
            };
            cast.scopes.iter().cloned().enumerate().map(|(index, scope)| (scope, state(index))).collect()
        };
        let given = [scopes(false), scopes(true)];
        Self {
            given,
            cast,
            variant,
            nodes: (0..SHARDS).map(|_| Mutex::new(numbered())).collect(),
            decisions: (0..SHARDS).map(|_| Mutex::new(numbered())).collect(),
            next_id: AtomicU64::new(0),
        }
    }

    /// How many nodes and decisions there are.
    pub fn size(&self) -> (usize, usize) {
        let nodes = self.nodes.iter().map(|shard| locked(shard).len()).sum();
        (nodes, self.decisions.iter().map(|shard| locked(shard).len()).sum())
    }

    /// The node of a state at a moment.
    pub fn node(&self, target: Target, now: Timestamp) -> Arc<Node> {
        let (skeleton, seqs) = canon(&target, now);
        let mut hasher = hasher();
        (skeleton, &seqs, now, target.seq).hash(&mut hasher);
        let key = hasher.finish();
        let mut nodes = locked(&self.nodes[shard(key)]);
        if let Some(node) = nodes.get(&key) {
            return node.clone();
        }
        let (due, moment) = self.due(&target, now);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let node = Arc::new(Node { id, target, now, skeleton, seqs, due, moment });
        nodes.insert(key, node.clone());
        node
    }

    /// The same state later.
    pub fn later(&self, node: &Node, now: Timestamp) -> Arc<Node> {
        self.node(node.target.clone(), now)
    }

    /// Decides a signal on the ledger and appends what was decided, atomically: the append is conditional on the
    /// version that was decided on, so a decision that lost against another is made again on what is there then.
    pub fn decide(&self, node: &Arc<Node>, sig: &Sig, stopped: bool) -> Arc<Decided> {
        let mut hasher = hasher();
        (node.id, sig, stopped).hash(&mut hasher);
        let key = hasher.finish();
        if let Some(known) = locked(&self.decisions[shard(key)]).get(&key) {
            return known.clone();
        }
        let events = self.events(node, sig, stopped);
        let decided = Arc::new(self.append(node, sig, &events));
        locked(&self.decisions[shard(key)]).insert(key, decided.clone());
        decided
    }

    /// What is decided on a signal, without appending it.
    pub fn events(&self, node: &Node, sig: &Sig, stopped: bool) -> Vec<Event> {
        let given = Given {
            now: node.now,
            ledger: self.cast.ledger.clone(),
            next_release: ReleaseId(node.target.commits.len() as u64 + 1),
            scopes: self.given[usize::from(stopped)].clone(),
        };
        if let Some(events) = variant::instead(self.variant, &self.cast, node, sig, &given) {
            return events;
        }
        let heard = variant::heard(self.variant, node, sig);
        let events = decide(&node.target, &self.cast.policy, &heard.signal(&self.cast, node), &given);
        variant::appended(self.variant, &node.target, events)
    }

    /// Appends events to the ledger as it is. Those of a decision on another version are numbered anew: only the
    /// broken variant without the version's condition does that.
    pub fn append(&self, node: &Arc<Node>, sig: &Sig, events: &[Event]) -> Decided {
        let mut target = node.target.clone();
        let mut notes = Vec::new();
        for event in events {
            let event = Event { seq: Seq(target.seq.0 + 1), ..event.clone() };
            note::of(&self.cast, &target, sig, &event, &mut notes);
            apply(&mut target, &event);
        }
        let same = events.is_empty() || canon(&target, node.now) == (node.skeleton, node.seqs.clone());
        let node = if same { node.clone() } else { self.node(target, node.now) };
        Decided { node, notes }
    }

    /// What may be performed now, and the next moment after now at which something is due: what `next` says, and
    /// when it would say more.
    fn due(&self, target: &Target, now: Timestamp) -> (Vec<Due>, Option<Timestamp>) {
        let mut due = Vec::new();
        let mut moments = Vec::new();
        let said = next(target);
        moments.extend(said.wake_at);
        for action in said.actions {
            moments.push(action.not_before);
            if action.not_before <= now
                && let Some(task) = self.task(target, action.release, action.seq, &action.intention.action, now)
            {
                due.push(Due { seq: action.seq.0, task });
            }
        }
        // `next` names the earliest moment only; a driver that is slow lets it pass, and the one after it comes.
        moments.extend(target.hands_off);
        moments.extend(target.outstanding.values().map(|outstanding| outstanding.intention.deadline));
        for release in target.releases.values() {
            moments.extend(release.until);
            moments.extend(release.remind_at);
            moments.extend(release.asking.as_ref().map(|asking| asking.until));
            moments.extend(release.keep_old_until.filter(|_| release.phase == Phase::Live));
        }
        let moment = moments.into_iter().filter(|at| *at > now && at.since(now) < HORIZON).min();
        (due, moment)
    }

    fn task(&self, target: &Target, release: ReleaseId, seq: Seq, action: &Action, now: Timestamp) -> Option<Task> {
        let cast = &self.cast;
        let small = |stamp: &Stamp| (stamp.fence.as_ref().map_or(0, |fence| fence.seq.0), cast.held(stamp.value));
        Some(match action {
            Action::Write(write) => Task::Write(Arc::new(FencedWrite {
                release: release.0,
                object: u8::try_from(cast.object(&write.object)).unwrap_or(0),
                from: write.from.iter().map(|stamp| stamp.as_ref().map(small)).collect(),
                to: cast.held(write.to),
                purpose: write.purpose,
            })),
            Action::BackUp { .. } => Task::BackUp(release.0),
            Action::RunTest { .. } => Task::Test,
            Action::Look(_) => Task::Look(release.0),
            Action::AwaitReady(ask) => Task::Await(u8::try_from(cast.object(&ask.object)).unwrap_or(0)),
            Action::Measure(measure) => {
                let release = target.releases.get(&target.outstanding.get(&seq)?.release)?;
                let from = match release.phase {
                    Phase::Watching => release.watch.as_ref()?.measured_to,
                    _ => now - measure.every,
                };
                let to = from + measure.every;
                return (to <= now).then_some(Task::Measure(from, to));
            }
            Action::Observe => Task::Observe,
        })
    }
}

/// What every measured window of a healthy service says.
pub(crate) fn healthy() -> portcullis_domain::action::Window {
    portcullis_domain::action::Window {
        values: [(Metric::Requests, 100_000), (Metric::ErrorRate, 0)].into(),
        requests: 6_000,
        failed: 0,
        ready: None,
    }
}

/// Whether a policy moves traffic between two colours.
pub(crate) fn is_blue_green(policy: &Policy) -> bool {
    policy.strategy != portcullis_domain::policy::Strategy::Rolling
}
