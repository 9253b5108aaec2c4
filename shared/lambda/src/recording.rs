//! The `on-*` functions: record, then acknowledge. Where the ledger cannot be reached, what was told goes onto the queue
//! as it came, and is recorded from there; only where that fails too is it Lambda's to repeat.

use std::time::SystemTime;

use async_trait::async_trait;
use portcullis_domain::route;
use portcullis_engine::ports::Ports;
use portcullis_engine::recorder::{RecordError, Recorder};
use portcullis_ingest::Read;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::batch::{Batch, failures};
use crate::environment::{ConfigError, Environment};
use crate::health::{self, Metric, Unit};
use crate::running::{Failed, Function, Invocation};
use crate::wiring::{Wired, Wiring};

/// What one event came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is in the ledgers of so many targets.
    Recorded {
        /// Targets it concerns.
        targets: usize,
        /// Whether all of them had it already: a redelivery.
        repeated: bool,
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
}

/// Takes one event: all of it is checked before any of it is recorded.
///
/// # Errors
/// When it is malformed, or could not be recorded for every target it concerns.
pub async fn take(ports: &Ports, recorder: &Recorder, body: &[u8]) -> Result<Taken, NotTaken> {
    let facts = match portcullis_ingest::read(body) {
        Err(malformed) => {
            return Err(NotTaken::Malformed { field: malformed.field.to_string(), why: malformed.why.to_string() });
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
    let (mut targets, mut repeated) = (0, true);
    for fact in &facts {
        let ingested = recorder.ingest(fact).await?;
        repeated &= ingested.already_done;
        targets += ingested.targets.len();
        let events: usize = ingested.targets.iter().map(|(_, events)| events).sum();
        tracing::info!(delivery = %fact.delivery, targets = ingested.targets.len(), events, "an event was taken");
    }
    if targets == 0 {
        return Ok(Taken::Ignored { reason: "it concerns no environment of any policy".to_owned() });
    }
    Ok(Taken::Recorded { targets, repeated })
}

/// A recorder under Lambda. It takes events as their senders deliver them, and batches of the queue of those that could
/// not be recorded at once.
pub struct Recording {
    wiring: Wiring,
    wired: OnceCell<Wired>,
}

impl Recording {
    /// One event from its sender: recorded, or queued, or Lambda's to repeat.
    async fn event(&self, wired: &Wired, body: &[u8]) -> Result<Value, Failed> {
        match take(&wired.ports, &wired.recorder, body).await {
            Ok(taken) => Ok(answer(&taken)),
            Err(error @ NotTaken::Malformed { .. }) => Err(Failed::new(error)),
            Err(NotTaken::Record(error)) => {
                tracing::error!(%error, "an event could not be recorded; it goes onto the queue");
                match wired.unrecorded.put(body).await {
                    Ok(()) => {
                        health::tell(wired.ports.clock.now(), "recorder", &[Metric::count("events_queued", 1)]);
                        Ok(json!({ "queued": true }))
                    }
                    Err(queue) => Err(Failed::new(format!("not recorded: {error}; not queued: {queue}"))),
                }
            }
        }
    }

    /// Events that could not be recorded when they came. One that still cannot stays on the queue.
    async fn queued(&self, wired: &Wired, batch: Batch) -> Value {
        let mut failed = Vec::new();
        for message in batch.messages {
            let taken = match wired.unrecorded.body(&message.body).await {
                Ok(body) => take(&wired.ports, &wired.recorder, &body).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(why) = taken {
                tracing::error!(message = message.message_id, why, "a queued event could not be recorded");
                failed.push(message.message_id);
            }
        }
        failures(failed)
    }
}

#[async_trait]
impl Function for Recording {
    fn configure(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { wiring: Wiring::recorder(environment)?, wired: OnceCell::new() })
    }

    async fn invoke(&self, body: &[u8], _: &Invocation) -> Result<Value, Failed> {
        let began = SystemTime::now();
        let wired = self.wired.get_or_try_init(|| self.wiring.wire()).await.map_err(Failed::new)?;
        let answered = match Batch::read(body) {
            Some(batch) => Ok(self.queued(wired, batch).await),
            None => self.event(wired, body).await,
        };
        let took = began.elapsed().unwrap_or_default().as_secs_f64() * 1_000.0;
        let took = Metric { name: "recording", unit: Unit::Milliseconds, value: took };
        health::tell(wired.ports.clock.now(), "recorder", &[took]);
        answered
    }
}

fn answer(taken: &Taken) -> Value {
    match taken {
        Taken::Recorded { targets, repeated } => json!({ "recorded": targets, "repeated": repeated }),
        Taken::Ignored { reason } => json!({ "ignored": reason }),
    }
}
