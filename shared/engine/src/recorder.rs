//! The recorder: load, decide, append, wake. Under a second, and before anything is acknowledged.
//!
//! Every attempt decides anew on what it loaded; an append is conditional on that very version, and, where a step
//! forward is in it, on the versions of the scopes it was decided with.

mod error;
mod ingest;
mod people;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_domain::digest::Digest;
use portcullis_domain::event::{Event, What};
use portcullis_domain::given::Given;
use portcullis_domain::names::{DeliveryId, ReleaseId, Seq, TargetId};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::signal::Signal;
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};

pub use self::error::RecordError;
pub use self::ingest::Ingested;
pub use self::people::Commanded;
use crate::codec::{self, Commit, ENGINE, READER};
use crate::core::{apply, decide};
use crate::perform;
use crate::ports::{Append, AppendError, Head, Ports, Wake};

/// Attempts of one append before its caller is told that the ledger is contended. Each lost one is another's success.
const ATTEMPTS: u32 = 128;
/// How often a failing store is asked again within one call.
const STORE_ATTEMPTS: u32 = 3;
/// A clock further behind the ledger than this must not decide anything.
const MOST_SKEW: Millis = Millis::seconds(5);
/// Decoded snapshots kept, one per target.
const MOST_DECODED: usize = 256;
/// Commits read at a time.
const PAGE: usize = 200;

/// Snapshots as stored, by their target, with the state in them.
type Decoded = HashMap<TargetId, (Vec<u8>, Arc<Target>)>;

/// Puts signals into the ledgers of targets. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    pub(crate) ports: Ports,
    /// The snapshot of each target that was read or written last, with the state in it: decoding one takes longer than
    /// judging it, and a driver reads the same head several times per action. Only the very same bytes are believed.
    decoded: Arc<Mutex<Decoded>>,
}

/// What a signal came to.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The events appended; none = the signal changed nothing.
    pub events: Vec<Event>,
    /// The state after them.
    pub state: Arc<Target>,
}

/// One event of a ledger with what it was decided with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The event.
    pub event: Event,
    /// The hash of the policy it was decided with.
    pub policy: Digest,
    /// The version of the engine that decided.
    pub engine: Arc<str>,
}

/// A target as loaded: its head and the state in it.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) head: Option<Head>,
    pub(crate) state: Arc<Target>,
}

/// What a decision stood on, after it: the next one of the same step begins with it instead of a read. Old, it costs
/// an attempt and nothing else, because an append is conditional on it.
pub(crate) struct Basis {
    loaded: Loaded,
    scopes: Vec<ScopeState>,
    next_release: ReleaseId,
}

impl Basis {
    pub(crate) fn state(&self) -> &Arc<Target> {
        &self.loaded.state
    }

    /// The same after an append.
    fn after(self, head: Head, recorded: &Recorded) -> Self {
        let opened = recorded.events.iter().filter_map(|event| match event.what {
            What::Opened { release, .. } => Some(ReleaseId(release.0 + 1)),
            _ => None,
        });
        let next_release = opened.fold(self.next_release, ReleaseId::max);
        let loaded = Loaded { head: Some(head), state: recorded.state.clone() };
        Self { loaded, next_release, ..self }
    }
}

/// Who sends the wake that an append asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waking {
    /// The recorder.
    Sent,
    /// Its caller, who sends one in any case.
    Callers,
}

/// An append of which the store did not say whether it was made.
struct Unsure {
    first: Seq,
    bytes: Vec<u8>,
    recorded: Recorded,
    basis: Basis,
    woken_at: Option<Timestamp>,
}

impl Recorder {
    /// A recorder on these ports.
    pub fn new(ports: Ports) -> Self {
        Self { ports, decoded: Arc::default() }
    }

    /// Decides on a signal and appends what was decided, all of it or nothing.
    ///
    /// With a `delivery`: one that is done already changes nothing, and it is marked as done by the same append; a
    /// delivery that changed nothing is not marked.
    pub async fn record(
        &self,
        target: &TargetId,
        signal: Signal,
        delivery: Option<&DeliveryId>,
    ) -> Result<Recorded, RecordError> {
        Ok(self.record_from(target, signal, delivery, None, Waking::Sent).await?.0)
    }

    /// The same, beginning with what is known from the decision before, if it is.
    pub(crate) async fn record_from(
        &self,
        target: &TargetId,
        signal: Signal,
        delivery: Option<&DeliveryId>,
        mut known: Option<Arc<Basis>>,
        waking: Waking,
    ) -> Result<(Recorded, Arc<Basis>), RecordError> {
        let scopes = Scope::of(target);
        let mut unsure: Option<Unsure> = None;
        let mut failures = 0;
        for _ in 0..ATTEMPTS {
            let known = known.take();
            let is_read = known.is_none();
            let (basis, delivered) = match known {
                Some(known) => (Basis { loaded: known.loaded.clone(), scopes: known.scopes.clone(), ..*known }, false),
                None => self.read(target, &scopes, delivery).await?,
            };
            if let Some(attempt) = unsure.take()
                && self.was_made(target, &attempt).await?
            {
                let recorded = self.finish(target, attempt.recorded, attempt.woken_at, waking).await;
                return Ok((recorded, Arc::new(attempt.basis)));
            }
            let loaded = &basis.loaded;
            // Time passes for a target only once something happened to it.
            let unknown = loaded.head.is_none() && matches!(signal, Signal::Wake);
            if delivered || unknown {
                return Ok((Recorded { events: Vec::new(), state: loaded.state.clone() }, Arc::new(basis)));
            }
            let policy = self.policy(target, &loaded.state)?;
            let given = Given {
                now: self.ports.clock.now(),
                ledger: self.ports.ledger.id(),
                next_release: basis.next_release,
                scopes: scopes.iter().cloned().zip(basis.scopes.iter().cloned()).collect(),
            };
            let events = decide(&loaded.state, &policy, &signal, &given);
            if events.is_empty() {
                if is_read {
                    return Ok((Recorded { events, state: loaded.state.clone() }, Arc::new(basis)));
                }
                // Nothing follows from what was known; of what is there now something may.
                continue;
            }
            guard_clock(target, loaded.head.as_ref(), given.now)?;
            let (append, recorded) = self.prepare(target, loaded, &policy, &given, events, delivery)?;
            let woken_at = loaded.head.as_ref().and_then(|head| head.wake_at);
            let (first, bytes, head) = (Seq(append.expected.0 + 1), append.commit.clone(), append.head.clone());
            match self.ports.ledger.append(append).await {
                Ok(()) => {
                    self.keep(target, &head.snapshot, &recorded.state);
                    let basis = Arc::new(basis.after(head, &recorded));
                    return Ok((self.finish(target, recorded, woken_at, waking).await, basis));
                }
                Err(AppendError::Conflict | AppendError::ScopeMoved | AppendError::NumberTaken) => {}
                Err(AppendError::Port(error)) => {
                    failures += 1;
                    if failures >= STORE_ATTEMPTS {
                        return Err(error.into());
                    }
                    let basis = basis.after(head, &recorded);
                    unsure = Some(Unsure { first, bytes, recorded, basis, woken_at });
                }
            }
        }
        Err(RecordError::Contended { target: target.clone(), attempts: ATTEMPTS })
    }

    /// Everything a decision stands on, and whether the delivery is done already.
    pub(super) async fn read(
        &self,
        target: &TargetId,
        scopes: &[Scope],
        delivery: Option<&DeliveryId>,
    ) -> Result<(Basis, bool), RecordError> {
        let reading = self.ports.ledger.reading(target, scopes, delivery).await?;
        let loaded = self.open(target, reading.head).await?;
        let basis = Basis { loaded, scopes: reading.scopes, next_release: reading.next_release };
        Ok((basis, reading.delivered))
    }

    /// What is there now, for the actions of a step.
    pub(crate) async fn basis(&self, target: &TargetId) -> Result<Arc<Basis>, RecordError> {
        Ok(Arc::new(self.read(target, &Scope::of(target), None).await?.0))
    }

    /// The state of a target; none = its ledger has no entry.
    pub async fn state(&self, target: &TargetId) -> Result<Option<Target>, RecordError> {
        let loaded = self.load(target).await?;
        Ok(loaded.head.map(|_| Arc::unwrap_or_clone(loaded.state)))
    }

    /// Events of a target after a position, oldest first, at most `most`.
    pub async fn history(&self, target: &TargetId, after: Seq, most: usize) -> Result<Vec<Entry>, RecordError> {
        let mut entries = Vec::new();
        let mut from = after;
        while entries.len() < most {
            let stored = self.ports.ledger.commits(target, from, PAGE.min(most)).await?;
            let Some(end) = stored.last().map(|commit| commit.last) else { break };
            for commit in stored {
                let commit = decode(target, &commit.bytes)?;
                let engine: Arc<str> = Arc::from(commit.engine);
                for event in commit.events.into_iter().filter(|event| event.seq > after) {
                    entries.push(Entry { event, policy: commit.policy, engine: engine.clone() });
                }
            }
            from = end;
        }
        entries.truncate(most);
        Ok(entries)
    }

    /// Loads the head, folding the ledger anew if the snapshot is of another fold or can not be read.
    pub(crate) async fn load(&self, target: &TargetId) -> Result<Loaded, RecordError> {
        let head = self.ports.ledger.head(target).await?;
        self.open(target, head).await
    }

    async fn open(&self, target: &TargetId, head: Option<Head>) -> Result<Loaded, RecordError> {
        let Some(head) = head else {
            return Ok(Loaded { head: None, state: Arc::default() });
        };
        if head.min_reader > READER {
            return Err(RecordError::NewerReader { target: target.clone(), needs: head.min_reader });
        }
        if let Some((snapshot, state)) = self.decoded().get(target)
            && state.seq == head.version
            && *snapshot == head.snapshot
        {
            let state = state.clone();
            return Ok(Loaded { head: Some(head), state });
        }
        let state = match codec::decode_shared(&head.snapshot) {
            Ok(state) if state.seq == head.version => {
                self.keep(target, &head.snapshot, &state);
                return Ok(Loaded { head: Some(head), state });
            }
            Ok(_) => self.refold(target, head.version, "its position is not the head's").await?,
            Err(error) => self.refold(target, head.version, &error.to_string()).await?,
        };
        Ok(Loaded { head: Some(head), state: Arc::new(state) })
    }

    /// The snapshot is only a shortcut: the ledger is the truth.
    async fn refold(&self, target: &TargetId, version: Seq, why: &str) -> Result<Target, RecordError> {
        tracing::warn!(%target, why, "the snapshot can not be used; folding the ledger anew");
        let mut state = Target::default();
        while state.seq < version {
            let stored = self.ports.ledger.commits(target, state.seq, PAGE).await?;
            let before = state.seq;
            for commit in stored {
                for event in decode(target, &commit.bytes)?.events {
                    if event.seq > state.seq && event.seq <= version {
                        apply(&mut state, &event);
                    }
                }
            }
            if state.seq == before {
                return Err(RecordError::Broken { target: target.clone(), ends: before, head: version });
            }
        }
        Ok(state)
    }

    /// The policy in force; for a target that left the policy file, the one its release in flight runs on.
    fn policy(&self, target: &TargetId, state: &Target) -> Result<SealedPolicy, RecordError> {
        if let Some(policy) = self.ports.policies.get(target) {
            return Ok(policy);
        }
        let frozen = [state.in_flight, state.live_release]
            .into_iter()
            .flatten()
            .find_map(|id| state.releases.get(&id)?.policy.clone());
        frozen.map(SealedPolicy::from_arc).ok_or_else(|| RecordError::NoPolicy { target: target.clone() })
    }

    /// Whether an append of which the store said nothing was made after all.
    async fn was_made(&self, target: &TargetId, attempt: &Unsure) -> Result<bool, RecordError> {
        let stored = self.ports.ledger.commits(target, Seq(attempt.first.0 - 1), 1).await?;
        Ok(stored.first().is_some_and(|commit| commit.first == attempt.first && commit.bytes == attempt.bytes))
    }

    /// After an append: sends the wake that the new state asks for.
    async fn finish(
        &self,
        target: &TargetId,
        recorded: Recorded,
        woken_at: Option<Timestamp>,
        waking: Waking,
    ) -> Recorded {
        if waking == Waking::Callers {
            return recorded;
        }
        let wake_at = perform::wake_at(&self.ports, &recorded.state);
        let intends = recorded.events.iter().any(|event| matches!(event.what, What::Intended { .. }));
        if let Some(at) = wake_at
            && (intends || wake_at != woken_at)
        {
            self.wake(Wake { target: target.clone(), version: recorded.state.seq, at }).await;
        }
        recorded
    }

    /// Sends a wake. A lost one is found by the sweep, so a failing queue fails nothing.
    pub(crate) async fn wake(&self, wake: Wake) {
        let target = wake.target.clone();
        if let Err(error) = self.ports.queue.send(wake).await {
            tracing::warn!(%target, %error, "a wake could not be sent; the sweep will find it");
        }
    }

    /// Makes the standing looks of a target happen now: a hint from outside is a reason to ask. Whatever else is due is
    /// found by the same wake.
    pub(crate) async fn look_now(&self, target: &TargetId, state: &Target) {
        for (seq, outstanding) in &state.outstanding {
            if outstanding.intention.every.is_some()
                && !perform::is_always_recorded(state, *seq, &outstanding.intention)
                && let Err(error) = self.ports.ledger.end_lease(target, *seq).await
            {
                tracing::debug!(%target, %error, "a lease could not be ended; the look comes at its usual time");
            }
        }
        self.wake(Wake { target: target.clone(), version: state.seq, at: self.ports.clock.now() }).await;
    }

    /// The append of what was decided, and the state after it.
    fn prepare(
        &self,
        target: &TargetId,
        loaded: &Loaded,
        policy: &SealedPolicy,
        given: &Given,
        events: Vec<Event>,
        delivery: Option<&DeliveryId>,
    ) -> Result<(Append, Recorded), RecordError> {
        let mut state = Target::clone(&loaded.state);
        for event in &events {
            apply(&mut state, event);
        }
        let failed = |why| RecordError::Codec { target: target.clone(), why };
        let commit = Commit { events, policy: policy.hash(), engine: ENGINE.to_owned() };
        let bytes = commit.encode().map_err(failed)?;
        let (before, min_reader) =
            loaded.head.as_ref().map_or((codec::genesis(), READER), |head| (head.chain, head.min_reader.max(READER)));
        let state = Arc::new(state);
        let snapshot = codec::encode_shared(&state).map_err(failed)?;
        if snapshot.len() > codec::MOST_HEAD {
            tracing::warn!(%target, bytes = snapshot.len(), "the state is larger than it should be");
        }
        let head = Head {
            version: state.seq,
            snapshot,
            chain: codec::chain(before, &bytes),
            last_at: loaded.head.as_ref().map_or(given.now, |head| head.last_at.max(given.now)),
            wake_at: perform::wake_at(&self.ports, &state),
            min_reader,
        };
        let forward = commit.events.iter().any(|event| event.what.moves_forward());
        let opens = commit.events.iter().filter_map(|event| match event.what {
            What::Opened { release, .. } => Some(release),
            _ => None,
        });
        let append = Append {
            target: target.clone(),
            expected: loaded.state.seq,
            commit: bytes,
            head,
            scopes: if forward {
                given.scopes.iter().map(|(scope, state)| (scope.clone(), state.version)).collect()
            } else {
                Vec::new()
            },
            opens: opens.collect(),
            delivery: delivery.cloned(),
        };
        Ok((append, Recorded { events: commit.events, state }))
    }

    /// Keeps a decoded snapshot.
    fn keep(&self, target: &TargetId, snapshot: &[u8], state: &Arc<Target>) {
        let mut decoded = self.decoded();
        if decoded.len() >= MOST_DECODED && !decoded.contains_key(target) {
            decoded.clear();
        }
        decoded.insert(target.clone(), (snapshot.to_vec(), state.clone()));
    }

    fn decoded(&self) -> std::sync::MutexGuard<'_, Decoded> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses to decide with a clock that is behind the ledger's last event.
fn guard_clock(target: &TargetId, head: Option<&Head>, now: Timestamp) -> Result<(), RecordError> {
    match head {
        Some(head) if head.last_at.since(now) > MOST_SKEW => {
            Err(RecordError::Clock { target: target.clone(), behind: head.last_at.since(now) })
        }
        _ => Ok(()),
    }
}

fn decode(target: &TargetId, bytes: &[u8]) -> Result<Commit, RecordError> {
    Commit::decode(bytes).map_err(|why| RecordError::Codec { target: target.clone(), why })
}
