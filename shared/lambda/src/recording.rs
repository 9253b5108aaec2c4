//! The `on-*` functions: record, then acknowledge. Where the ledger cannot be reached, what was told goes onto the queue
//! as it came, and is recorded from there; only where that fails too is it Lambda's to repeat.
//!
//! A ledger that does not answer is not waited for to the end: in what is left of the invocation the queue must still
//! answer. An event that was recorded all the same, and comes again, changes nothing.

use std::time::SystemTime;

use async_trait::async_trait;
use portcullis_domain::route;
use portcullis_engine::ports::Ports;
use portcullis_engine::recorder::{RecordError, Recorder};
use portcullis_ingest::Read;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use crate::batch::{Batch, failures};
use crate::environment::{ConfigError, Environment};
use crate::health::{self, Metric, Unit};
use crate::running::{Failed, Function, Invocation};
use crate::synthetic::Synthetic;
use crate::wiring::{Outside, Wired, Wiring};

/// What one event came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is in the ledgers of so many targets.
    Recorded {
        /// Targets it concerns.
        targets: usize,
        /// Whether all of them had it already: a redelivery.
        repeated: bool,
        /// Whether it is the synthetic alarm, raised.
        synthetic: bool,
    },
    /// It says nothing that concerns us.
    Ignored {
        /// Why.
        reason: String,
    },
}

/// Why an event was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is not what its sender documents. Sending it again changes nothing.
    #[error("the event is malformed: {field}: {why}")]
    Malformed {
        /// The field.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The ledger, or what had to be asked, did not answer.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The same, and there is no time left to wait for it.
    #[error("the ledger did not answer in the time there was")]
    TooLate,
}

/// Takes one event: all of it is checked before any of it is recorded. The synthetic alarm, where there is one, is
/// recorded for its own target only.
///
/// # Errors
/// When it is malformed, or could not be recorded for every target it concerns.
pub async fn take(
    ports: &Ports,
    recorder: &Recorder,
    synthetic: Option<&Synthetic>,
    body: &[u8],
) -> Result<Taken, NotTaken> {
    let facts = match portcullis_ingest::read(body) {
        Err(malformed) => {
            return Err(NotTaken::Malformed { field: malformed.field, why: malformed.why });
        }
        Ok(Read::Ignored { kind, reason }) => {
            tracing::info!(kind, reason, "an event was ignored");
            return Ok(Taken::Ignored { reason });
        }
        Ok(Read::Facts(facts)) => facts,
    };
    let policies = ports.policies.all();
    for fact in &facts {
        let Some(account) = &fact.account else { continue };
        if !route::knows_account(&policies, account, fact.region.as_deref()) {
            tracing::warn!(account, region = fact.region, "an event came from an account that no policy knows");
            return Ok(Taken::Ignored { reason: format!("no policy knows the account {account}") });
        }
    }
    let (mut targets, mut repeated, mut raised) = (0, true, false);
    for fact in &facts {
        let ingested = match synthetic.filter(|synthetic| synthetic.is(fact)) {
            Some(synthetic) => {
                let ingested = synthetic.recorder(ports).ingest(fact).await?;
                raised |= synthetic.is_raised(fact) && !ingested.targets.is_empty();
                ingested
            }
            None => recorder.ingest(fact).await?,
        };
        repeated &= ingested.already_done;
        targets += ingested.targets.len();
        let events: usize = ingested.targets.iter().map(|(_, events)| events).sum();
        tracing::info!(delivery = %fact.delivery, targets = ingested.targets.len(), events, "an event was taken");
    }
    if targets == 0 {
        return Ok(Taken::Ignored { reason: "it concerns no environment of any policy".to_owned() });
    }
    Ok(Taken::Recorded { targets, repeated, synthetic: raised })
}

/// The function's name in its metrics: the recorders share one.
const NAME: &str = "recorder";

/// A recorder under Lambda. It takes events as their senders deliver them, and batches of the queue of those that could
/// not be recorded at once.
pub struct Recording {
    wiring: Wiring,
    synthetic: Option<Synthetic>,
    wired: OnceCell<Wired>,
}

impl Recording {
    /// One event, in the time there is; what came of it is counted.
    async fn take(&self, wired: &Wired, body: &[u8], until: Instant) -> Result<Taken, NotTaken> {
        let take = take(&wired.ports, &wired.recorder, self.synthetic.as_ref(), body);
        let taken = timeout_at(until, take).await.unwrap_or(Err(NotTaken::TooLate))?;
        if let Taken::Recorded { synthetic: true, .. } = taken {
            health::tell(wired.ports.clock.now(), NAME, &[Metric::count("synthetic_alarms", 1)]);
        }
        Ok(taken)
    }

    /// One event from its sender: recorded, or queued, or Lambda's to repeat.
    async fn event(&self, wired: &Wired, body: &[u8], until: Instant) -> Result<Value, Failed> {
        match self.take(wired, body, until).await {
            Ok(taken) => Ok(answer(&taken)),
            Err(error @ NotTaken::Malformed { .. }) => Err(Failed::new(error)),
            Err(error @ (NotTaken::Record(_) | NotTaken::TooLate)) => {
                tracing::error!(%error, "an event could not be recorded; it goes onto the queue");
                match wired.unrecorded.put(body).await {
                    Ok(()) => {
                        health::tell(wired.ports.clock.now(), NAME, &[Metric::count("events_queued", 1)]);
                        Ok(json!({ "queued": true }))
                    }
                    Err(queue) => Err(Failed::new(format!("not recorded: {error}; not queued: {queue}"))),
                }
            }
        }
    }

    /// Events that could not be recorded when they came. One that still cannot stays on the queue, and so does one for
    /// which no time is left.
    async fn queued(&self, wired: &Wired, batch: Batch, until: Instant) -> Value {
        let mut failed = Vec::new();
        for message in batch.messages {
            let taken = async {
                let body = timeout_at(until, wired.unrecorded.body(&message.body)).await;
                let body = body.map_err(|_| NotTaken::TooLate.to_string())?.map_err(|error| error.to_string())?;
                self.take(wired, &body, until).await.map_err(|error| error.to_string())
            };
            if let Err(why) = taken.await {
                let sent_in = message.trace().map(|trace| trace.xray_id());
                tracing::error!(message_id = message.message_id, sent_in, why, "a queued event could not be recorded");
                failed.push(message.message_id);
            }
        }
        failures(failed)
    }
}

#[async_trait]
impl Function for Recording {
    fn configure(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            wiring: Wiring::recorder(environment)?,
            synthetic: Synthetic::configure(environment)?,
            wired: OnceCell::new(),
        })
    }

    async fn invoke(&self, body: &[u8], invocation: &Invocation) -> Result<Value, Failed> {
        let (began, until) = (SystemTime::now(), invocation.until());
        let wire = || self.wiring.wire(invocation, Outside::images);
        let wired = self.wired.get_or_try_init(wire).await.map_err(Failed::new)?;
        wired.refresh().await;
        let answered = match Batch::read(body) {
            Some(batch) => Ok(self.queued(wired, batch, until).await),
            None => self.event(wired, body, until).await,
        };
        let took = began.elapsed().unwrap_or_default().as_secs_f64() * 1_000.0;
        let took = Metric { name: "recording", unit: Unit::Milliseconds, value: took };
        health::tell(wired.ports.clock.now(), NAME, &[took]);
        wired.tell_conflicts(NAME);
        answered
    }
}

fn answer(taken: &Taken) -> Value {
    match taken {
        Taken::Recorded { targets, repeated, .. } => json!({ "recorded": targets, "repeated": repeated }),
        Taken::Ignored { reason } => json!({ "ignored": reason }),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_domain::event::What;
    use portcullis_domain::policy::Mode;
    use portcullis_engine::memory::World;

    use super::*;

    const SAMPLE: &str = include_str!("../../../events/cloudwatch/alarm-eventbridge-metric.json");

    /// The alarm `portcullis-synthetic` of the world's account, after everything that a story does.
    fn alarm(state: &str) -> String {
        let sample =
            SAMPLE.replace("333333333333", "444444444444").replace("2026-11-20T03:08:09", "2027-01-15T23:00:00");
        sample.replace("volteryde-prod-app-5xx", "portcullis-synthetic").replace("\"ALARM\"", &format!("\"{state}\""))
    }

    fn synthetic() -> Synthetic {
        Synthetic::configure(&Environment::of(&[("SYNTHETIC_ALARM", "portcullis-synthetic")])).unwrap().unwrap()
    }

    /// A release is watched, and its policy names every alarm there is.
    async fn watched() -> World {
        let mut world = World::with(|policy| policy.watch.alarms_roll_back = vec!["*".to_owned()]);
        world.push_all(1).await;
        world.run_until_phase("gated").await;
        world.approve("kofi").await;
        world.run_until_phase("watching").await;
        let mut policy = World::policy();
        policy.target = "portcullis/synthetic".parse().unwrap();
        policy.mode = Mode::Observe;
        policy.watch.alarms_roll_back = vec!["portcullis-synthetic".to_owned()];
        world.policies.set(policy);
        world
    }

    async fn is_rolled_back(world: &World) -> bool {
        world.events().await.iter().any(|event| matches!(event.what, What::RollbackBegan { .. }))
    }

    #[tokio::test(start_paused = true)]
    async fn the_synthetic_alarm_is_recorded_for_its_own_target_and_rolls_nothing_back() {
        let world = watched().await;
        let (ports, recorder, synthetic) = (&world.ports, &world.recorder, synthetic());
        let body = alarm("ALARM");
        let taken = take(ports, recorder, Some(&synthetic), body.as_bytes()).await.unwrap();
        assert_eq!(taken, Taken::Recorded { targets: 1, repeated: false, synthetic: true });
        let own = recorder.state(&"portcullis/synthetic".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(own.alarms.len(), 1);
        assert!(!is_rolled_back(&world).await);
        let taken = take(ports, recorder, None, body.as_bytes()).await.unwrap();
        assert!(matches!(taken, Taken::Recorded { synthetic: false, .. }), "{taken:?}");
        assert!(is_rolled_back(&world).await, "any other alarm of this name would have");
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_synthetic_alarm_that_was_raised_and_recorded_counts() {
        let world = watched().await;
        let (ports, recorder, synthetic) = (&world.ports, &world.recorder, synthetic());
        let silent = take(ports, recorder, Some(&synthetic), alarm("OK").as_bytes()).await.unwrap();
        assert!(matches!(silent, Taken::Recorded { synthetic: false, .. }), "{silent:?}");
        world.policies.remove(&"portcullis/synthetic".parse().unwrap());
        let lost = take(ports, recorder, Some(&synthetic), alarm("ALARM").as_bytes()).await.unwrap();
        assert!(matches!(lost, Taken::Ignored { .. }), "{lost:?}");
    }
}
