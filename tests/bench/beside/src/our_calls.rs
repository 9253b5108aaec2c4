//! The calls of `bare-calls` through what every function of ours is made of: its shell, its clients, its adapters.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use portcullis_aws::client::{self, Clients};
use portcullis_aws::ledger::DynamoLedger;
use portcullis_aws::queue::SqsQueue;
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{Clock, Ledger as _, PortError, Queue as _, Wake};
use portcullis_lambda::environment::{ConfigError, Environment};
use portcullis_lambda::running::{Failed, Function, Invocation, run};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

struct Calls {
    table: String,
    queue: String,
    made: OnceCell<(DynamoLedger, SqsQueue)>,
}

#[async_trait]
impl Function for Calls {
    fn configure(environment: &Environment) -> Result<Self, ConfigError> {
        let (table, queue) = (environment.required("LEDGER_TABLE")?, environment.required("WAKE_QUEUE_URL")?);
        Ok(Self { table, queue, made: OnceCell::new() })
    }

    async fn invoke(&self, _: &[u8], _: &Invocation) -> Result<Value, Failed> {
        let make = || async {
            let clients = Clients::new(client::load().await);
            let ledger = DynamoLedger::new(clients.dynamodb(), &self.table)?;
            Ok::<_, PortError>((ledger, SqsQueue::new(clients.sqs(), &self.queue, Arc::new(Now))))
        };
        let (ledger, queue) = self.made.get_or_try_init(make).await.map_err(Failed::new)?;
        let target: TargetId = "bench/production".parse().map_err(Failed::new)?;
        let head = ledger.head(&target).await.map_err(Failed::new)?;
        queue.send(Wake { target, version: Seq(0), at: Timestamp(0) }).await.map_err(Failed::new)?;
        Ok(json!({ "head": head.is_some() }))
    }
}

/// The system's clock; nothing here waits for it.
struct Now;

#[async_trait]
impl Clock for Now {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(Duration::from_millis(at.since(self.now()).0)).await;
    }
}

fn main() -> Result<(), lambda_runtime::Error> {
    run::<Calls>()
}
