//! Readers of the ledger: notices. Each (reader, target) has its own cursor; none can hold up or break anything else.

use std::sync::Arc;

use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::time::Millis;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::codec::Commit;
use crate::ports::{Notice, Notices, PortError, PortResult, Ports};

/// How long one notice may take; then its reader is left until the next round.
const MOST_TELLING: Millis = Millis::seconds(10);
/// Commits read at a time.
const PAGE: usize = 50;

/// What one round of telling came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Events told.
    pub told: usize,
    /// Ledgers that a reader could not be told to the end; the next round goes on where this one stopped.
    pub failed: usize,
}

/// Tells every reader what is new in every ledger. A reader that fails or hangs holds no other up; an event may be
/// told twice, never skipped. A new reader is told everything from the beginning.
pub async fn deliver(ports: &Ports, notices: &[(String, Arc<dyn Notices>)]) -> PortResult<Delivered> {
    let targets: Arc<[TargetId]> = ports.ledger.targets().await?.into();
    let mut readers = JoinSet::new();
    for (name, to) in notices {
        let (ports, name, to, targets) = (ports.clone(), name.clone(), to.clone(), targets.clone());
        readers.spawn(async move { tell_all(&ports, &name, to.as_ref(), &targets).await });
    }
    let mut all = Delivered::default();
    while let Some(round) = readers.join_next().await {
        let round = round.unwrap_or(Delivered { told: 0, failed: targets.len() });
        all.told += round.told;
        all.failed += round.failed;
    }
    Ok(all)
}

/// Tells the readers what is new, again and again, until `stop` is true.
pub async fn run(
    ports: Ports,
    notices: Vec<(String, Arc<dyn Notices>)>,
    mut stop: watch::Receiver<bool>,
    every: Millis,
) {
    while !*stop.borrow_and_update() {
        if let Err(error) = deliver(&ports, &notices).await {
            tracing::warn!(%error, "the readers could not be told");
        }
        let next = ports.clock.now() + every;
        tokio::select! {
            biased;
            () = ports.clock.sleep_until(next) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

/// Why a ledger was not told to its end.
enum Stuck {
    /// This ledger, or this event.
    Here(PortError),
    /// The reader does not answer at all.
    Silent,
}

impl From<PortError> for Stuck {
    fn from(error: PortError) -> Self {
        Self::Here(error)
    }
}

async fn tell_all(ports: &Ports, reader: &str, to: &dyn Notices, targets: &[TargetId]) -> Delivered {
    let mut round = Delivered::default();
    for (done, target) in targets.iter().enumerate() {
        match tell_one(ports, reader, to, target, &mut round.told).await {
            Ok(()) => {}
            Err(Stuck::Here(error)) => {
                round.failed += 1;
                tracing::warn!(reader, %target, %error, "a notice was not told; it will be tried again");
            }
            Err(Stuck::Silent) => {
                round.failed += targets.len() - done;
                tracing::warn!(reader, %target, "the reader does not answer; it will be tried again");
                break;
            }
        }
    }
    round
}

async fn tell_one(
    ports: &Ports,
    reader: &str,
    to: &dyn Notices,
    target: &TargetId,
    told: &mut usize,
) -> Result<(), Stuck> {
    let mut cursor = ports.ledger.cursor(reader, target).await?;
    loop {
        let stored = ports.ledger.commits(target, cursor, PAGE).await?;
        if stored.is_empty() {
            return Ok(());
        }
        for commit in stored {
            let events = Commit::decode(&commit.bytes)
                .map_err(|error| PortError::new(format!("reading the ledger of {target}"), error))?
                .events;
            for event in events.into_iter().filter(|event| event.seq > cursor) {
                let at = event.seq;
                let told_to = tell(ports, to, Notice { target: target.clone(), event }).await;
                if told_to.is_err() && cursor < Seq(at.0 - 1) {
                    ports.ledger.set_cursor(reader, target, Seq(at.0 - 1)).await?;
                }
                told_to?;
                *told += 1;
            }
            cursor = commit.last;
            ports.ledger.set_cursor(reader, target, cursor).await?;
        }
    }
}

async fn tell(ports: &Ports, to: &dyn Notices, notice: Notice) -> Result<(), Stuck> {
    let limit = ports.clock.now() + MOST_TELLING;
    tokio::select! {
        biased; // random turns could not be repeated by the simulator
        told = to.tell(&notice) => Ok(told?),
        () = ports.clock.sleep_until(limit) => Err(Stuck::Silent),
    }
}
