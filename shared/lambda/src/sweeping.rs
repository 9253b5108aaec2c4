//! `sweep`: every minute what is overdue, every quarter of an hour what the registry has and no event told.

use async_trait::async_trait;
use portcullis_domain::time::Millis;
use portcullis_engine::ports::PortError;
use portcullis_engine::sweep::{Sweep, SweepReport};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use crate::environment::{ConfigError, Environment};
use crate::health::{self, Metric};
use crate::running::{Failed, Function, Invocation};
use crate::wiring::{Outside, Wired, Wiring};

/// The function's name in its metrics.
const NAME: &str = "sweep";
/// How often the registry is compared with the ledger: a quarter of an hour, less half of what is between two sweeps, so
/// that one that comes a moment early counts.
const COMPARE: Millis = Millis::seconds(14 * 60 + 30);

/// The sweep under Lambda.
pub struct Sweeping {
    wiring: Wiring,
    wired: OnceCell<(Wired, Sweep)>,
}

#[async_trait]
impl Function for Sweeping {
    fn configure(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { wiring: Wiring::sweep(environment)?, wired: OnceCell::new() })
    }

    async fn invoke(&self, _: &[u8], invocation: &Invocation) -> Result<Value, Failed> {
        let until = invocation.until();
        let wire = || async {
            let wired = self.wiring.wire(invocation, Outside::images).await?;
            let sweep = Sweep::new(wired.ports.clone(), wired.recorder.clone()).comparing_every(COMPARE);
            Ok::<_, PortError>((wired, sweep))
        };
        let (wired, sweep) = self.wired.get_or_try_init(wire).await.map_err(Failed::new)?;
        wired.refresh().await;
        let swept = timeout_at(until, sweep.once()).await;
        let swept = swept.map_err(|_| Failed::new("the sweep did not come to its end; the next one goes on"))?;
        let report = swept.map_err(Failed::new)?;
        let dead = wired.dead_letters().await;
        health::tell(wired.ports.clock.now(), NAME, &metrics(&report, dead));
        wired.tell_conflicts(NAME);
        if report.events_lost > 0 {
            tracing::warn!(events_lost = report.events_lost, "events were lost, and found by the sweep");
        }
        Ok(json!({
            "woken": report.woken,
            "stuck": report.stuck,
            "events_lost": report.events_lost,
            "stops_lifted": report.stops_lifted,
            "failed": report.failed,
            "dead_letters": dead,
        }))
    }
}

/// A heartbeat, and what was found. A depth that could not be read is not told.
fn metrics(report: &SweepReport, dead: Option<usize>) -> Vec<Metric> {
    let mut metrics = vec![
        Metric::count("sweeps", 1),
        Metric::count("targets_overdue", report.woken),
        Metric::count("releases_stuck", report.stuck),
        Metric::count("events_lost", report.events_lost),
        Metric::count("targets_not_compared", report.failed),
    ];
    metrics.extend(dead.map(|dead| Metric::count("dead_letters", dead)));
    metrics
}
