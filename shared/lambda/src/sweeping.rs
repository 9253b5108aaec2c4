//! `sweep`: every minute what is overdue, every quarter of an hour what the registry has and no event told.

use async_trait::async_trait;
use portcullis_engine::sweep::{Sweep, SweepReport};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::environment::{ConfigError, Environment};
use crate::health::{self, Metric};
use crate::running::{Failed, Function, Invocation};
use crate::wiring::{Wired, Wiring};

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

    async fn invoke(&self, _: &[u8], _: &Invocation) -> Result<Value, Failed> {
        let wire = || async {
            let wired = self.wiring.wire().await?;
            let sweep = Sweep::new(wired.ports.clone(), wired.recorder.clone());
            Ok::<_, portcullis_engine::ports::PortError>((wired, sweep))
        };
        let (wired, sweep) = self.wired.get_or_try_init(wire).await.map_err(Failed::new)?;
        let report = sweep.once().await.map_err(Failed::new)?;
        let dead = wired.dead_letters().await;
        health::tell(wired.ports.clock.now(), "sweep", &metrics(&report, dead));
        if report.events_lost > 0 {
            tracing::warn!(events_lost = report.events_lost, "events were lost, and found by the sweep");
        }
        Ok(json!({
            "woken": report.woken,
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
        Metric::count("events_lost", report.events_lost),
        Metric::count("targets_not_compared", report.failed),
    ];
    metrics.extend(dead.map(|dead| Metric::count("dead_letters", dead)));
    metrics
}
