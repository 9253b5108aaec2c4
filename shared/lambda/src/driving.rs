//! `run-release`: the driver. A batch of wakes comes in; each is looked at until nothing is due. What is not done when the
//! time is nearly over is dropped (each action is safe to drop) and handed on by a wake.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use portcullis_engine::driver::Driver;
use portcullis_engine::ports::{Ports, Wake};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::batch::{Batch, failures};
use crate::environment::{ConfigError, Environment};
use crate::running::{Failed, Function, Invocation};
use crate::wiring::{Wired, Wiring};

/// What became of one wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    /// It was acted on.
    Done,
    /// Its message stays on the queue.
    Left,
}

/// Acts on wakes until `until`. Returns the ids of those whose messages must come again.
pub async fn drive(ports: &Ports, driver: &Driver, wakes: Vec<(String, Wake)>, until: Instant) -> Vec<String> {
    let mut steps = JoinSet::new();
    for (id, wake) in wakes {
        let (ports, driver) = (ports.clone(), driver.clone());
        steps.spawn(async move {
            let became = match timeout_at(until, driver.step(&wake)).await {
                Ok(Ok(report)) if report.needs_newer => Became::Left,
                Ok(Ok(report)) => {
                    tracing::info!(target = %wake.target, ?report, "a wake was acted on");
                    Became::Done
                }
                Ok(Err(error)) => {
                    tracing::error!(target = %wake.target, %error, "a step failed; its wake comes again");
                    Became::Left
                }
                Err(_) => hand_on(&ports, &wake).await,
            };
            (id, became)
        });
    }
    let mut left = Vec::new();
    while let Some(ended) = steps.join_next().await {
        match ended {
            Ok((_, Became::Done)) => {}
            Ok((id, Became::Left)) => left.push(id),
            Err(error) => tracing::error!(%error, "a step ended abnormally; the sweep finds what it left"),
        }
    }
    left.sort();
    left
}

/// The time is over: another invocation goes on at once.
async fn hand_on(ports: &Ports, wake: &Wake) -> Became {
    let next = Wake { at: ports.clock.now(), ..wake.clone() };
    match ports.queue.send(next).await {
        Ok(()) => {
            tracing::info!(target = %wake.target, "the time of this invocation is over; another goes on");
            Became::Done
        }
        Err(error) => {
            tracing::warn!(target = %wake.target, %error, "the wake could not be handed on; its message comes again");
            Became::Left
        }
    }
}

/// The driver under Lambda.
pub struct Driving {
    wiring: Wiring,
    wired: OnceCell<(Wired, Arc<Driver>)>,
}

#[async_trait]
impl Function for Driving {
    fn configure(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { wiring: Wiring::driver(environment)?, wired: OnceCell::new() })
    }

    async fn invoke(&self, body: &[u8], invocation: &Invocation) -> Result<Value, Failed> {
        let until = Instant::now() + invocation.budget(SystemTime::now());
        let wire = || async {
            let wired = self.wiring.wire().await?;
            let driver = Arc::new(Driver::new(wired.ports.clone(), wired.recorder.clone()));
            Ok::<_, portcullis_engine::ports::PortError>((wired, driver))
        };
        let (wired, driver) = self.wired.get_or_try_init(wire).await.map_err(Failed::new)?;
        let batch = Batch::read(body).ok_or_else(|| Failed::new("the body is no batch of SQS messages"))?;
        let (mut wakes, mut poison) = (Vec::new(), Vec::new());
        for message in batch.messages {
            match serde_json::from_str::<Wake>(&message.body) {
                Ok(wake) => wakes.push((message.message_id, wake)),
                Err(error) => {
                    tracing::error!(message = message.message_id, %error, "a message is no wake; it goes to the dead letters");
                    poison.push(message.message_id);
                }
            }
        }
        poison.extend(drive(&wired.ports, driver, wakes, until).await);
        Ok(failures(poison))
    }
}
