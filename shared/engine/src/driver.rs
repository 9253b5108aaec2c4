//! The driver: wake, load, next, perform each action; its outcome is a signal to the recorder; and again.
//!
//! - Every action is its own task, so a slow one never delays an urgent one: another wake of the same target finds
//!   the new intentions and performs them beside it.
//! - Before an effect the head is read again; an intention that is gone is left.
//! - A soft lease per intention keeps two drivers from doing the same work, and is also what paces an action that
//!   stands: whoever holds the lease sends the wake for when it lapses, everybody else re-arms nothing.
//! - Nothing is in memory that the ledger does not have, but for pacing failures: losing it costs an attempt.

mod memory;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_domain::action::{Action, Intention, Outcome};
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::signal::Signal;
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use self::memory::{Busy, Memory};
use crate::core::next;
use crate::perform::{self, Performed};
use crate::ports::{Ports, Wake};
use crate::recorder::{Basis, RecordError, Recorded, Recorder, Waking};

/// Nothing is repeated faster than this.
const LEAST_PACE: Millis = Millis::seconds(1);
/// How long a driver that died holds up one write or read.
const LEASE: Millis = Millis::seconds(10);
/// The same for a backup.
const LEASE_BACKUP: Millis = Millis::seconds(30);
/// One answer of a port may take so long, and a backup until its deadline.
const MOST_ANSWER: Millis = Millis::seconds(60);
/// Looks within one step: far more than a release has intentions. A defect of the core must not spin.
const MOST_LOOKS: u32 = 10_000;
/// How long a stop waits for actions under way before they are dropped; each is safe to drop.
const MOST_STOPPING: Millis = Millis::seconds(10);

/// Does what the ledgers say is to be done. Cheap to clone; clones share their memory.
#[derive(Clone)]
pub struct Driver {
    ports: Ports,
    recorder: Recorder,
    memory: Arc<Mutex<Memory>>,
    looking: Arc<Semaphore>,
}

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Actions performed.
    pub performed: usize,
    /// Events appended.
    pub appended: usize,
    /// Actions left to another driver that has their lease.
    pub leased: usize,
    /// The ledger needs a newer engine: nothing was done, and the wake must not be acknowledged.
    pub needs_newer: bool,
}

/// What one action came to.
#[derive(Default)]
struct Acted {
    performed: bool,
    appended: usize,
    /// The wake that its append sent.
    woken: Option<(Seq, Timestamp)>,
    /// What its outcome was decided on, after that.
    after: Option<Arc<Basis>>,
}

/// An action that was begun.
struct Begun {
    target: TargetId,
    seq: Seq,
    started: Timestamp,
    /// Until when its lease was taken, if it needs one.
    until: Option<Timestamp>,
    busy: Busy,
}

impl Driver {
    /// A driver on these ports.
    pub fn new(ports: Ports, recorder: Recorder) -> Self {
        Self { ports, recorder, memory: Arc::default(), looking: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    /// Looks at a target until nothing is due: records that time has passed, performs what is due, records what came
    /// of it. Returns when every action it began has ended; one that takes long holds up no other step.
    pub async fn step(&self, wake: &Wake) -> Result<StepReport, RecordError> {
        let target = &wake.target;
        let mut report = StepReport::default();
        if self.memory().was_covered(wake) {
            return Ok(report);
        }
        let mut permit = self.looking.acquire().await.ok();
        let mut sent = Vec::new();
        let mut basis = match self.recorder.record_from(target, Signal::Wake, None, None, Waking::Sent).await {
            Ok((recorded, basis)) => {
                report.appended += recorded.events.len();
                sent.extend(self.wake_of(&recorded));
                basis
            }
            Err(RecordError::NoPolicy { .. }) => {
                tracing::warn!(%target, "left alone: it is in no policy, and nothing of it is in flight");
                return Ok(report);
            }
            Err(RecordError::NewerReader { needs, .. }) => {
                tracing::warn!(%target, needs, "left alone: its ledger needs a newer engine");
                return Ok(StepReport { needs_newer: true, ..report });
            }
            Err(error) => return Err(error),
        };
        let mut tasks = JoinSet::new();
        for look in 0.. {
            let state = basis.state();
            if look < MOST_LOOKS {
                report.leased += self.launch(wake, &basis, &mut tasks).await;
                self.memory().cover(target, state, self.ports.clock.now(), &mut sent);
            } else if look == MOST_LOOKS {
                tracing::error!(%target, seq = %state.seq, "a step does not end: a defect of the core; left to the sweep");
            }
            drop(permit.take());
            let Some(first) = tasks.join_next().await else { break };
            let mut ended = vec![first];
            while let Some(more) = tasks.try_join_next() {
                ended.push(more);
            }
            let mut newest: Option<Arc<Basis>> = None;
            for acted in ended {
                match acted {
                    Ok(acted) => {
                        report.performed += usize::from(acted.performed);
                        report.appended += acted.appended;
                        sent.extend(acted.woken);
                        newest = newest.into_iter().chain(acted.after).max_by_key(|basis| basis.state().seq);
                    }
                    Err(error) => tracing::error!(%target, %error, "an action ended abnormally"),
                }
            }
            permit = self.looking.acquire().await.ok();
            basis = match newest.filter(|newest| newest.state().seq >= basis.state().seq) {
                Some(newest) => newest,
                None => self.recorder.basis(target).await?,
            };
        }
        Ok(report)
    }

    /// Receives wakes and steps until `stop` is true, `workers` looks at a time. Actions under way do not count: a
    /// parked one blocks no other wake.
    pub async fn run(&self, mut stop: watch::Receiver<bool>, workers: usize) {
        let driver = Self { looking: Arc::new(Semaphore::new(workers.max(1))), ..self.clone() };
        let mut steps = JoinSet::new();
        while !*stop.borrow_and_update() {
            while steps.try_join_next().is_some() {}
            let receive = async {
                drop(driver.looking.acquire().await);
                driver.ports.queue.receive(workers.max(1), LEAST_PACE).await
            };
            let received = tokio::select! {
                biased; // as everywhere here: random turns could not be repeated by the simulator
                received = receive => received,
                changed = stop.changed() => if changed.is_err() { break } else { continue },
            };
            match received {
                Ok(received) => {
                    for one in received {
                        let driver = driver.clone();
                        steps.spawn(async move { driver.answer(one.wake, &one.receipt).await });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no wakes could be received");
                    self.ports.clock.sleep_until(self.ports.clock.now() + LEAST_PACE).await;
                }
            }
        }
        let limit = self.ports.clock.now() + MOST_STOPPING;
        tokio::select! {
            biased;
            () = async { while steps.join_next().await.is_some() {} } => {}
            () = self.ports.clock.sleep_until(limit) => steps.abort_all(),
        }
    }

    /// Steps for a received wake and acknowledges it. One that failed comes again.
    pub(crate) async fn answer(&self, wake: Wake, receipt: &str) {
        match self.step(&wake).await {
            Ok(report) if report.needs_newer => {}
            Ok(_) => {
                if let Err(error) = self.ports.queue.done(receipt).await {
                    tracing::debug!(target = %wake.target, %error, "a wake could not be acknowledged; it comes again");
                }
            }
            Err(error) => tracing::warn!(target = %wake.target, %error, "a step failed; its wake comes again"),
        }
    }

    /// Starts a task for every action that is due and that nobody does; arms a wake for each that is due later.
    /// Returns how many are left to others.
    async fn launch(&self, wake: &Wake, basis: &Arc<Basis>, tasks: &mut JoinSet<Acted>) -> usize {
        let (target, state) = (&wake.target, basis.state());
        let mut left = 0;
        self.memory().forget_gone(target, state);
        for due in next(state).actions {
            let now = self.ports.clock.now();
            let at =
                perform::due_at(&self.ports, state, due.seq, &due.intention).max(self.memory().floor(target, due.seq));
            let unleased = perform::is_always_recorded(state, due.seq, &due.intention);
            if at > now {
                if self.memory().is_busy(target, due.seq) {
                    continue;
                }
                // What needs no lease has its wake from the append before it: only the one that came too early is sent
                // again, so that wakes do not multiply. Later than it was sent for: by whoever's clock it came, that one
                // is ahead of ours, and would hand it back at once until ours is there.
                if unleased && wake.version >= state.seq {
                    self.arm(target, state.seq, at.max(wake.at + LEAST_PACE)).await;
                } else if !unleased && self.lease(target, due.seq, now, at).await {
                    self.arm(target, state.seq, at).await;
                }
                continue;
            }
            let Some(busy) = Busy::begin(&self.memory, target, due.seq) else { continue };
            let until = now + lease_length(state, due.seq, &due.intention);
            if !unleased && !self.lease(target, due.seq, now, until).await {
                left += 1;
                drop(busy);
                self.watch_over(target, state.seq, due.seq, now, until).await;
                continue;
            }
            if self.memory().is_first(target, due.seq) && due.intention.every.is_none() {
                self.arm(target, state.seq, due.intention.deadline).await;
            }
            let begun =
                Begun { target: target.clone(), seq: due.seq, started: now, until: (!unleased).then_some(until), busy };
            let (driver, basis) = (self.clone(), basis.clone());
            // On every line of what is done: the release is known here and nowhere further in.
            let span = tracing::info_span!("action", release = due.release.0, seq = due.seq.0);
            tasks.spawn(async move { driver.act(begun, &due.intention, basis).await }.instrument(span));
        }
        left
    }

    /// Performs one action and records what came of it.
    async fn act(self, begun: Begun, intention: &Intention, basis: Arc<Basis>) -> Acted {
        let Begun { target, seq, started, until, busy } = begun;
        let mut acted = Acted::default();
        // Before something is changed the head is read again; what only looks goes by the look that found it due.
        let basis = if perform::only_reads(&intention.action) { Ok(basis) } else { self.recorder.basis(&target).await };
        let after;
        let mut version = Seq(0);
        let mut stands = false;
        match basis {
            Ok(basis) if basis.state().outstanding.contains_key(&seq) => {
                acted.performed = true;
                let state = basis.state().clone();
                version = state.seq;
                stands = perform::paced(&state, seq, intention).is_some();
                let limit = match intention.action {
                    Action::BackUp { .. } => intention.deadline,
                    _ => intention.deadline.min(started + MOST_ANSWER),
                };
                let limit = limit.max(started + LEAST_PACE);
                let performed = tokio::select! {
                    biased;
                    performed = perform::perform(&self.ports, &target, &state, seq, intention) => performed,
                    () = self.ports.clock.sleep_until(limit) => perform::failed(&"no answer in time"),
                };
                after = self.settle(&target, seq, performed, basis, &mut acted).await;
            }
            Ok(_) => after = After::Gone,
            Err(error) => {
                after = After::Failed;
                tracing::warn!(%target, %seq, %error, "the head could not be read before an action");
            }
        }
        let now = self.ports.clock.now();
        match after {
            After::Gone => {}
            After::Again(at) => self.memory().pace(&target, seq, at),
            After::Changed => self.memory().succeeded(&target, seq),
            After::Nothing if stands => {}
            After::Nothing | After::Failed => self.memory().failed(&target, seq, now, LEAST_PACE),
        }
        if let Some(until) = until {
            if stands && matches!(after, After::Changed | After::Nothing) {
                // The lease stays: it is the pace. A hint ends it, and then the next look is at once.
                self.memory().pace(&target, seq, started + LEAST_PACE);
                self.watch_over(&target, version, seq, now, until).await;
            } else if let Err(error) = self.ports.ledger.end_lease(&target, seq).await {
                tracing::debug!(%target, %seq, %error, "a lease could not be ended; it lapses");
            }
        }
        drop(busy);
        acted
    }

    /// Records what performing came to.
    async fn settle(
        &self,
        target: &TargetId,
        seq: Seq,
        performed: Performed,
        basis: Arc<Basis>,
        acted: &mut Acted,
    ) -> After {
        let outcome = match performed {
            Performed::Gone => return After::Gone,
            Performed::NotYet { again } => return After::Again(again),
            Performed::Outcome(outcome) => outcome,
        };
        let failed = if let Outcome::Failed { why } = &outcome {
            tracing::warn!(%target, %seq, why, "an action could not be done this time");
            true
        } else {
            false
        };
        let signal = Signal::Outcome { intention: seq, outcome };
        match self.recorder.record_from(target, signal, None, Some(basis), Waking::Sent).await {
            Ok((recorded, after)) => {
                acted.appended = recorded.events.len();
                acted.woken = self.wake_of(&recorded);
                acted.after = Some(after);
                match (recorded.state.outstanding.contains_key(&seq), failed, recorded.events.is_empty()) {
                    (false, ..) => After::Gone,
                    (true, true, _) => After::Failed,
                    (true, false, true) => After::Nothing,
                    (true, false, false) => After::Changed,
                }
            }
            Err(error) => {
                tracing::warn!(%target, %seq, %error, "an outcome could not be recorded; the action is repeated");
                After::Failed
            }
        }
    }

    /// The wake that an append sent.
    fn wake_of(&self, recorded: &Recorded) -> Option<(Seq, Timestamp)> {
        if recorded.events.is_empty() {
            return None;
        }
        Some((recorded.state.seq, perform::wake_at(&self.ports, &recorded.state)?))
    }

    /// Takes a lease. If the ledger can not say, the work is done: a lease is efficiency, never safety.
    async fn lease(&self, target: &TargetId, seq: Seq, now: Timestamp, until: Timestamp) -> bool {
        self.ports.ledger.lease(target, seq, now, until).await.unwrap_or_else(|error| {
            tracing::debug!(%target, %seq, %error, "no lease could be asked for");
            true
        })
    }

    /// Comes back when another driver's lease has lapsed, in case it died. Once per lapse.
    async fn watch_over(&self, target: &TargetId, version: Seq, seq: Seq, now: Timestamp, until: Timestamp) {
        if self.memory().watch_over(target, seq, now, until) {
            self.arm(target, version, until).await;
        }
    }

    async fn arm(&self, target: &TargetId, version: Seq, at: Timestamp) {
        self.recorder.wake(Wake { target: target.clone(), version, at }).await;
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an action's end means for its next time.
#[derive(Clone, Copy)]
enum After {
    /// The intention is no longer outstanding.
    Gone,
    /// It is under way: again then.
    Again(Timestamp),
    /// It stands, and something was recorded.
    Changed,
    /// It stands, and nothing was worth recording.
    Nothing,
    /// It could not be done.
    Failed,
}

/// How long a lease on an action is taken: for one that stands, as long as it is paced.
fn lease_length(state: &Target, seq: Seq, intention: &Intention) -> Millis {
    match perform::paced(state, seq, intention) {
        Some(every) => every.max(LEAST_PACE),
        None if matches!(intention.action, Action::BackUp { .. }) => LEASE_BACKUP,
        None => LEASE,
    }
}
