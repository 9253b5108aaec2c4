//! `notify`: the ledger's readers. None of them can hold up anything else; a reader that fails is told again next time.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::event::What;
use portcullis_engine::breaker::{self, FleetBreaker};
use portcullis_engine::ports::{Notice, Notices, PortResult, Ports};
use portcullis_engine::reader;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

use crate::deployed::{self, Deployed};
use crate::environment::{ConfigError, Environment};
use crate::restored::{self, Restored};
use crate::running::{Failed, Function, Invocation};
use crate::wiring::{Outside, Wired, Wiring};

/// The function's name in its metrics.
const NAME: &str = "notify";

/// Tells the log: one line per event of a ledger, for queries.
#[derive(Debug, Default)]
pub struct LogNotices;

#[async_trait]
impl Notices for LogNotices {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        let (environment, event) = (&notice.target, &notice.event);
        let release = event.what.release().map(|release| release.0);
        tracing::info!(%environment, seq = event.seq.0, release, event = name(&event.what), "ledger");
        Ok(())
    }
}

/// An event's name as the ledger has it. Its content stays there: it may be large, and it holds what people wrote.
fn name(what: &What) -> String {
    let fields = serde_json::to_value(what).unwrap_or_default();
    fields["event"].as_str().unwrap_or_default().to_owned()
}

/// The readers under Lambda.
pub struct Telling {
    wiring: Wiring,
    wired: OnceCell<Wired>,
}

#[async_trait]
impl Function for Telling {
    fn configure(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { wiring: Wiring::readers(environment)?, wired: OnceCell::new() })
    }

    async fn invoke(&self, _: &[u8], invocation: &Invocation) -> Result<Value, Failed> {
        let until = invocation.until();
        let wire = || self.wiring.wire(invocation, Outside::nothing);
        let wired = self.wired.get_or_try_init(wire).await.map_err(Failed::new)?;
        wired.refresh().await;
        let told = timeout_at(until, reader::deliver(&wired.ports, &readers(wired))).await;
        let told = told.map_err(|_| Failed::new("not everything was told in time; the next invocation goes on"))?;
        let told = told.map_err(Failed::new)?;
        Ok(json!({ "told": told.told, "failed": told.failed }))
    }
}

/// The readers, each with the name that its cursors are kept under.
fn readers(wired: &Wired) -> Vec<(String, Arc<dyn Notices>)> {
    let Ports { ledger, policies, clock, .. } = wired.ports.clone();
    vec![
        ("log".to_owned(), Arc::new(LogNotices)),
        (breaker::READER.to_owned(), Arc::new(FleetBreaker::new(wired.ports.clone()))),
        (restored::READER.to_owned(), Arc::new(Restored::new(ledger, NAME))),
        (deployed::READER.to_owned(), Arc::new(Deployed::new(wired.config.clone(), policies, clock))),
    ]
}
