//! `run-release`: the driver. A batch of wakes comes in; each is looked at until nothing is due. What is not done when the
//! time is nearly over is dropped (each action is safe to drop) and handed on by a wake.
//!
//! A message that is no wake is reported as failed each time it comes, so that SQS moves it to the dead letters after the
//! queue's `maxReceiveCount`, under the same message id. Why it failed is in the log, on the lines with that
//! `message_id`: a queue cannot say it.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_aws::queue::Message;
use portcullis_engine::driver::Driver;
use portcullis_engine::ports::{PortError, Ports, Wake};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::batch::{self, Batch, failures};
use crate::environment::{ConfigError, Environment};
use crate::running::{Failed, Function, Invocation};
use crate::trace::Trace;
use crate::wiring::{Outside, Wired, Wiring};

/// The function's name in its metrics.
const NAME: &str = "run-release";

/// What became of one wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    /// It was acted on.
    Done,
    /// Its message stays on the queue.
    Left,
}

/// A wake as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waking {
    /// Its message.
    pub message: String,
    /// The wake.
    pub wake: Wake,
    /// The trace that its sender was in.
    pub sent_in: Option<Trace>,
}

/// Acts on wakes until `until`. Returns the ids of those whose messages must come again.
pub async fn drive(ports: &Ports, driver: &Driver, wakes: Vec<Waking>, until: Instant) -> Vec<String> {
    let mut steps = JoinSet::new();
    for Waking { message, wake, sent_in } in wakes {
        let (ports, driver) = (ports.clone(), driver.clone());
        // On every line of this step, so that it is found by its target and by what caused it.
        let sent_in = sent_in.map(|trace| trace.xray_id());
        let span = tracing::info_span!("wake", target = %wake.target, message_id = message, sent_in);
        let step = async move {
            let became = match timeout_at(until, driver.step(&wake)).await {
                Ok(Ok(report)) if report.needs_newer => Became::Left,
                Ok(Ok(report)) => {
                    tracing::info!(?report, "a wake was acted on");
                    Became::Done
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "a step failed; its wake comes again");
                    Became::Left
                }
                Err(_) => hand_on(&ports, &wake).await,
            };
            (message, became)
        };
        steps.spawn(step.instrument(span));
    }
    let mut left = Vec::new();
    while let Some(ended) = steps.join_next().await {
        match ended {
            Ok((_, Became::Done)) => {}
            Ok((message, Became::Left)) => left.push(message),
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
            tracing::info!("the time of this invocation is over; another goes on");
            Became::Done
        }
        Err(error) => {
            tracing::warn!(%error, "the wake could not be handed on; its message comes again");
            Became::Left
        }
    }
}

/// The wakes of a batch, and the ids of the messages that are none.
fn sorted(batch: Batch) -> (Vec<Waking>, Vec<String>) {
    let (mut wakes, mut poison) = (Vec::new(), Vec::new());
    for received in batch.messages {
        let sent_in = received.trace();
        let batch::Message { message_id: message, body, .. } = received;
        let wake = Message::decode(&body).and_then(|decoded| match decoded {
            Message::Wake(wake) => Ok(wake),
            Message::Event(event) => {
                let found = format!("it is an unrecorded event ({}), which a recorder's queue is for", event.kind);
                Err(PortError::new("reading a message of the queue", found))
            }
        });
        match wake {
            Ok(wake) => wakes.push(Waking { message, wake, sent_in }),
            Err(error) => {
                let sent_in = sent_in.map(|trace| trace.xray_id());
                tracing::error!(message_id = message, sent_in, %error, "a message is no wake; it goes to the dead letters");
                poison.push(message);
            }
        }
    }
    (wakes, poison)
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
        let until = invocation.until();
        let wire = || async {
            let wired = self.wiring.wire(invocation, Outside::all).await?;
            let driver = Arc::new(Driver::new(wired.ports.clone(), wired.recorder.clone()));
            Ok::<_, PortError>((wired, driver))
        };
        let (wired, driver) = self.wired.get_or_try_init(wire).await.map_err(Failed::new)?;
        wired.refresh().await;
        let batch = Batch::read(body).ok_or_else(|| Failed::new("the body is no batch of SQS messages"))?;
        let (wakes, mut failed) = sorted(batch);
        failed.extend(drive(&wired.ports, driver, wakes, until).await);
        wired.tell_conflicts(NAME);
        Ok(failures(failed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_engine::memory::{Op, World};
    use serde_json::json;

    use super::*;

    fn record(id: &str, body: &str) -> Value {
        json!({ "messageId": id, "body": body, "eventSource": "aws:sqs", "messageAttributes": {} })
    }

    #[test]
    fn what_is_no_wake_is_poison_and_keeps_no_wake_from_being_acted_on() {
        let wake = r#"{"wake":{"target":"shop/production","version":7,"at":9}}"#;
        let bare = r#"{"target":"shop/production","version":7,"at":9}"#;
        let event = r#"{"event":{"kind":"event","body":"{}"}}"#;
        let records = [record("m1", "nonsense"), record("m2", wake), record("m3", bare), record("m4", event)];
        let batch = Batch::read(json!({ "Records": records }).to_string().as_bytes()).unwrap();
        let (wakes, poison) = sorted(batch);
        let wakes: Vec<_> = wakes.iter().map(|waking| (waking.message.as_str(), waking.wake.version.0)).collect();
        assert_eq!(wakes, [("m2", 7)]);
        assert_eq!(poison, ["m1", "m3", "m4"]);
    }

    /// A release whose next effect never ends, and a wake for it.
    async fn hanging() -> (World, Waking) {
        let mut world = World::new();
        world.push_all(1).await;
        world.faults.hold_before(Op::Observe);
        let wake = world.queue.take(100).pop().unwrap().wake;
        world.queue.clear();
        (world, Waking { message: "m1".to_owned(), wake, sent_in: None })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_done_in_time_is_handed_on_before_the_deadline() {
        let (world, waking) = hanging().await;
        let until = Instant::now() + Duration::from_secs(5);
        let left = drive(&world.ports, &world.drivers[0], vec![waking.clone()], until).await;
        assert_eq!(left, Vec::<String>::new(), "its message is done: another wake goes on");
        assert!(Instant::now() < until + Duration::from_secs(1));
        let handed = world.queue.take(10).into_iter().map(|received| received.wake);
        let wanted = Wake { at: world.clock.now(), ..waking.wake };
        assert_eq!(handed.filter(|wake| *wake == wanted).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_handed_on_comes_again_by_its_message() {
        let (world, waking) = hanging().await;
        world.faults.fail(Op::Send, 1_000);
        let until = Instant::now() + Duration::from_secs(5);
        assert_eq!(drive(&world.ports, &world.drivers[0], vec![waking], until).await, ["m1"]);
    }
}
