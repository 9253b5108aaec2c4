//! Performing an intention: one small function per action. No choice is made here; everything is in the intention.
//!
//! An action may be performed twice, or late, or by two drivers at once: each is safe to repeat. One that was not
//! wanted any more when it was about to change something is [`Performed::Gone`].

pub mod backup;
mod look;
mod measure;

use std::collections::BTreeSet;

use portcullis_domain::action::{Action, Fence, Intention, Outcome, Write};
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::Place;
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};

use crate::core::next;
use crate::ports::{PortError, PortResult, Ports, TestResult, Written};
use crate::{bundles, codec};

/// How long a running test is left alone before it is asked again.
const TEST_POLL: Millis = Millis::seconds(1);
/// The longest text of a failure.
const MOST_WHY: usize = 500;

/// What came of performing an intention once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Performed {
    /// It has an outcome, to be recorded.
    Outcome(Outcome),
    /// It is under way, or its moment is not yet there: perform it again then.
    NotYet {
        /// Not before this moment.
        again: Timestamp,
    },
    /// The intention was no longer outstanding when something would have been changed; it was left.
    Gone,
}

/// Performs an intention once. `state` is the target as just loaded; a port's failure becomes [`Outcome::Failed`].
pub async fn perform(ports: &Ports, target: &TargetId, state: &Target, seq: Seq, intention: &Intention) -> Performed {
    let done = match &intention.action {
        Action::Look(ask) => Ok(Performed::Outcome(look::look(ports, target, &intention.place, ask).await)),
        Action::BackUp { prefix, keep, secrets } => {
            let asked = backup::Asked { seq, prefix, keep: *keep, secrets: secrets.as_deref() };
            backup::back_up(ports, target, &intention.place, &asked, !state.live.is_empty()).await
        }
        Action::Write(write) => {
            let fence = Fence { ledger: ports.ledger.id(), epoch: state.epoch_at(seq), seq };
            written(ports, target, &intention.place, write, &fence).await.map(|written| {
                Performed::Outcome(match written {
                    Written::Done => Outcome::Written,
                    Written::Drift(found) => Outcome::Drift(found),
                })
            })
        }
        Action::AwaitReady(ask) => {
            let seen = ports.cluster.look(target, &intention.place, ask).await;
            seen.map(|found| Performed::Outcome(Outcome::Seen(found)))
        }
        Action::RunTest { test, against } => {
            let result = ports.cluster.test(target, &intention.place, seq, test, against).await;
            result.map(|result| match result {
                TestResult::Passed(note) => Performed::Outcome(Outcome::TestPassed { note: cut(&note) }),
                TestResult::Failed(why) => Performed::Outcome(Outcome::TestFailed { why: cut(&why) }),
                TestResult::Running => Performed::NotYet { again: ports.clock.now() + TEST_POLL },
            })
        }
        Action::Measure(ask) => measure::measure(ports, target, state, seq, &intention.place, ask).await,
        Action::Observe => {
            let services = services(ports, target, state, seq);
            let objects = ports.cluster.observe(target, &intention.place, &services).await;
            objects.map(|objects| Performed::Outcome(Outcome::Observed(objects)))
        }
    };
    done.unwrap_or_else(|error| failed(&error))
}

async fn written(ports: &Ports, target: &TargetId, place: &Place, write: &Write, fence: &Fence) -> PortResult<Written> {
    let Some(bundle) = &write.bundle else { return ports.cluster.write(target, place, write, fence).await };
    let text = bundles::read(&*ports.blobs, bundle).await?;
    ports.cluster.write_from(target, place, write, fence, &text).await
}

/// When an outstanding intention is due: its own moment, or for a measurement the end of the next window, once its
/// data has settled.
pub fn due_at(ports: &Ports, state: &Target, seq: Seq, intention: &Intention) -> Timestamp {
    match &intention.action {
        Action::Measure(ask) => measure::due_at(ports, state, seq, ask).max(intention.not_before),
        _ => intention.not_before,
    }
}

/// The earliest moment at which something of a target is due, with the time that measured data needs to settle: what
/// its head says, and what a wake is sent for.
pub fn wake_at(ports: &Ports, state: &Target) -> Option<Timestamp> {
    let next = next(state);
    let actions = next.actions.iter().map(|due| due_at(ports, state, due.seq, &due.intention).max(due.not_before));
    next.moment_at.into_iter().chain(actions).min()
}

/// Whether an action changes nothing outside: performed on an old reading it costs a call.
pub fn only_reads(action: &Action) -> bool {
    match action {
        Action::Look(_) | Action::AwaitReady(_) | Action::Measure(_) | Action::Observe => true,
        Action::BackUp { .. } | Action::Write(_) | Action::RunTest { .. } => false,
    }
}

/// Whether every performance of an action is recorded, and moves it on to a moment of its own: the append is what keeps
/// two drivers from doing it twice, and what sends the next wake. It needs no lease.
pub fn is_always_recorded(state: &Target, seq: Seq, intention: &Intention) -> bool {
    matches!(intention.action, Action::Measure(_)) && measure::is_contiguous(state, seq)
}

/// How often an action that stands is performed; `None` for one that is done once, or has its moments by itself.
pub fn paced(state: &Target, seq: Seq, intention: &Intention) -> Option<Millis> {
    match intention.action {
        Action::Measure(_) if measure::is_contiguous(state, seq) => None,
        _ => intention.every,
    }
}

/// An outcome for what could not be done.
pub(crate) fn failed(why: &impl std::fmt::Display) -> Performed {
    Performed::Outcome(Outcome::Failed { why: cut(&why.to_string()) })
}

/// Text from outside, without control characters, at most 500 characters.
fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_WHY).collect()
}

/// Whether an intention is still outstanding, by the head as it is now.
async fn still_wanted(ports: &Ports, target: &TargetId, seq: Seq) -> PortResult<bool> {
    let Some(head) = ports.ledger.head(target).await? else { return Ok(false) };
    let state = codec::decode_shared(&head.snapshot)
        .map_err(|error| PortError::new(format!("reading the head of {target}"), error))?;
    Ok(state.outstanding.contains_key(&seq))
}

/// The services of a target: of the policy its release runs on, else of the one in force, else what is live.
fn services(ports: &Ports, target: &TargetId, state: &Target, seq: Seq) -> BTreeSet<ServiceName> {
    let release = state.outstanding.get(&seq).and_then(|outstanding| state.releases.get(&outstanding.release));
    let frozen = release.and_then(|release| release.policy.clone());
    let policy = frozen.or_else(|| ports.policies.get(target).map(|policy| policy.share()));
    match policy {
        Some(policy) => policy.services.iter().map(|service| service.name.clone()).collect(),
        None => state.live.keys().cloned().collect(),
    }
}
