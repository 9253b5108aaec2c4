//! The ledger port on one DynamoDB table.
//!
//! | part | what it holds |
//! | --- | --- |
//! | [`table`] | keys, index and names: what template, tests and code agree on |
//! | `item` | between DynamoDB's attributes and the domain's types |
//! | `append` | the one transaction, its conditions, its retries |
//! | `read` | reads of several items: one batch, or page by page |
//!
//! Everything is read strongly consistent, but for the index of overdue targets: that is a hint, and what it misses now
//! the next sweep finds.

mod append;
mod item;
mod read;
pub mod table;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{DeliveryId, LedgerId, ReleaseId, Seq, TargetId};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{Append, AppendError, Head, Ledger, PortError, PortResult, Reading, StoredCommit};

use self::item::{Item, number, text, text_of};
use self::table::{ABSENT, EXPIRES, Key};
use crate::error;

/// How long a delivery is known to be done. The longest that a sender sends one again: a queue's retention of 14 days
/// (SQS), a redelivery by hand within 3 days (GitHub), an archive's replay within the month that it is kept.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// A lease that lapsed is not wanted any more; DynamoDB deletes it some time after this.
const LAPSED: u64 = 3_600;
/// Heads whose chain hash is remembered.
const MOST_REMEMBERED: usize = 1_024;
/// The name of a ledger that was not read yet. No fence has it, so whatever carries it changes nothing.
const UNREAD: &str = "unread";

/// The ledger of one installation, in one DynamoDB table.
pub struct DynamoLedger {
    client: Client,
    table: String,
    /// Learnt from the first read.
    id: OnceLock<LedgerId>,
    unread: LedgerId,
    /// The chain hash of each target's head, by the version it belongs to: what the next commit says of what is before
    /// it. A version has one hash for ever, and every append is conditional on it.
    chains: Mutex<HashMap<TargetId, (Seq, Digest)>>,
}

impl std::fmt::Debug for DynamoLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DynamoLedger").field("table", &self.table).field("id", &self.id).finish_non_exhaustive()
    }
}

impl DynamoLedger {
    /// The ledger in this table, which must be there. Nothing is read yet: the ledger's name comes with the first read
    /// of a head, in the same call, so that a function pays nothing for it. Until then [`Ledger::id`] has none.
    pub fn new(client: Client, table: impl Into<String>) -> PortResult<Self> {
        let table = table.into();
        let unread =
            LedgerId::new(UNREAD).map_err(|error| PortError::new(format!("opening the table {table}"), error))?;
        Ok(Self { client, table, id: OnceLock::new(), unread, chains: Mutex::default() })
    }

    /// The same, with the ledger's name read, or made if the table is new: what a server does at its start.
    pub async fn open(client: Client, table: impl Into<String>) -> PortResult<Self> {
        let ledger = Self::new(client, table)?;
        let found = ledger.get(&format!("opening the table {}", ledger.table), &Key::installation()).await?;
        ledger.learn(found.as_ref()).await?;
        Ok(ledger)
    }

    /// The name of the table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Keeps the ledger's name; makes one, once for ever, if there is none.
    async fn learn(&self, found: Option<&Item>) -> PortResult<()> {
        if self.id.get().is_some() {
            return Ok(());
        }
        let doing = format!("reading the name of the ledger in {}", self.table);
        let failed = |error: &dyn std::fmt::Display| PortError::new(&doing, error);
        let name = if let Some(item) = found {
            text_of(item, "id").map_err(|error| failed(&error))?.to_owned()
        } else {
            let made = format!("pl-{:08x}", rand::random::<u32>());
            let item = item::item(&Key::installation(), [("id", text(made.as_str()))]);
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
            match put.condition_expression(ABSENT).send().await {
                Ok(_) => made,
                // Somebody else made one, or an attempt of our own did.
                Err(error) if error::code(&error) == Some(REFUSED) => {
                    let item = self.get(&doing, &Key::installation()).await?;
                    let item = item.ok_or_else(|| failed(&"it was there and is gone"))?;
                    text_of(&item, "id").map_err(|error| failed(&error))?.to_owned()
                }
                Err(error) => return Err(failed(&error::found(&error))),
            }
        };
        let id = LedgerId::new(&name).map_err(|error| failed(&error))?;
        // Another call may have been quicker; it read the same.
        let _ = self.id.set(id);
        Ok(())
    }

    fn remember(&self, target: &TargetId, version: Seq, chain: Digest) {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if chains.len() >= MOST_REMEMBERED && !chains.contains_key(target) {
            chains.clear();
        }
        chains.insert(target.clone(), (version, chain));
    }

    fn remembered(&self, target: &TargetId, version: Seq) -> Option<Digest> {
        let chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        chains.get(target).filter(|(at, _)| *at == version).map(|(_, chain)| *chain)
    }

    /// Stores an item if this condition holds, or if an attempt of this very call stored it before; false if neither.
    async fn put_if(&self, doing: &str, mut item: Item, condition: Condition) -> PortResult<bool> {
        let attempt = format!("{:032x}", rand::random::<u128>());
        item.insert("attempt".to_owned(), text(attempt.as_str()));
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition.expression)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some((attribute, value)) = condition.value {
            put = put.expression_attribute_names("#attribute", attribute).expression_attribute_values(":value", value);
        }
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let found = refused.item().and_then(|item| text_of(item, "attempt").ok());
                    Ok(found == Some(attempt.as_str()))
                }
                _ => Err(PortError::new(doing, error::found(&error))),
            },
        }
    }
}

/// DynamoDB's word for a condition that does not hold.
const REFUSED: &str = "ConditionalCheckFailedException";

/// A condition on one attribute, called `#attribute`, compared with `:value`.
struct Condition {
    expression: &'static str,
    value: Option<(&'static str, aws_sdk_dynamodb::types::AttributeValue)>,
}

#[async_trait]
impl Ledger for DynamoLedger {
    fn id(&self) -> LedgerId {
        self.id.get().unwrap_or(&self.unread).clone()
    }

    async fn head(&self, target: &TargetId) -> PortResult<Option<Head>> {
        self.read_head(target).await
    }

    async fn reading(&self, target: &TargetId, scopes: &[Scope], delivery: Option<&DeliveryId>) -> PortResult<Reading> {
        self.read_all(target, scopes, delivery).await
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        self.append_once(append).await
    }

    async fn commits(&self, target: &TargetId, after: Seq, most: usize) -> PortResult<Vec<StoredCommit>> {
        self.read_commits(target, after, most).await
    }

    async fn targets(&self) -> PortResult<Vec<TargetId>> {
        self.read_targets().await
    }

    async fn overdue(&self, at: Timestamp) -> PortResult<Vec<TargetId>> {
        self.read_overdue(at).await
    }

    async fn delivered(&self, target: &TargetId, delivery: &DeliveryId) -> PortResult<bool> {
        let found = self.get(&format!("looking for a delivery to {target}"), &Key::delivery(target, delivery)).await?;
        Ok(found.is_some())
    }

    async fn release(&self, release: ReleaseId) -> PortResult<Option<TargetId>> {
        let doing = format!("looking for release {release}");
        let Some(item) = self.get(&doing, &Key::release(release)).await? else { return Ok(None) };
        let target = text_of(&item, "target").map_err(|error| PortError::new(&doing, error))?;
        target.parse().map(Some).map_err(|error| PortError::new(&doing, error))
    }

    async fn next_release(&self) -> PortResult<ReleaseId> {
        let doing = "looking for the next release number";
        read::next_release(doing, self.get(doing, &Key::next_release()).await?.as_ref())
    }

    async fn scopes(&self, scopes: &[Scope]) -> PortResult<Vec<ScopeState>> {
        self.read_scopes(scopes).await
    }

    async fn all_scopes(&self) -> PortResult<Vec<(Scope, ScopeState)>> {
        self.read_every_scope().await
    }

    async fn set_scope(&self, scope: &Scope, state: &ScopeState) -> PortResult<bool> {
        let doing = format!("changing the stop of {scope}");
        // Version 0 is what a scope has that was never changed: none is before it.
        let Some(before) = state.version.checked_sub(1) else { return Ok(false) };
        let stored = serde_json::to_string(state).map_err(|error| PortError::new(&doing, error))?;
        let item = item::item(&Key::scope(scope), [("version", number(state.version)), ("state", text(stored))]);
        let condition = match before {
            0 => Condition { expression: ABSENT, value: None },
            _ => Condition { expression: "#attribute = :value", value: Some(("version", number(before))) },
        };
        self.put_if(&doing, item, condition).await
    }

    async fn lease(&self, target: &TargetId, intention: Seq, now: Timestamp, until: Timestamp) -> PortResult<bool> {
        let doing = format!("taking a lease on {target} {intention}");
        let item = item::item(
            &Key::lease(target, intention),
            [("until", number(until.0)), (EXPIRES, number((until.0 / 1_000).saturating_add(LAPSED)))],
        );
        let condition = Condition {
            expression: "attribute_not_exists(pk) OR #attribute <= :value",
            value: Some(("until", number(now.0))),
        };
        self.put_if(&doing, item, condition).await
    }

    async fn end_lease(&self, target: &TargetId, intention: Seq) -> PortResult<()> {
        let delete = self.client.delete_item().table_name(&self.table);
        let sent = delete.set_key(Some(item::key(&Key::lease(target, intention)))).send().await;
        let failed = |error| PortError::new(format!("ending a lease on {target} {intention}"), error::found(&error));
        sent.map(|_| ()).map_err(failed)
    }

    async fn cursor(&self, reader: &str, target: &TargetId) -> PortResult<Seq> {
        let doing = format!("reading how far {reader} came in {target}");
        match self.get(&doing, &Key::cursor(reader, target)).await? {
            None => Ok(Seq(0)),
            Some(item) => Ok(Seq(item::number_of(&item, "at").map_err(|error| PortError::new(&doing, error))?)),
        }
    }

    async fn set_cursor(&self, reader: &str, target: &TargetId, at: Seq) -> PortResult<()> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::item(&Key::cursor(reader, target), [("at", number(at))])))
            .condition_expression("attribute_not_exists(pk) OR #at < :at")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":at", number(at));
        match put.send().await {
            Ok(_) => Ok(()),
            // It is there already, or further.
            Err(error) if error::code(&error) == Some(REFUSED) => Ok(()),
            Err(error) => {
                Err(PortError::new(format!("storing how far {reader} came in {target}"), error::found(&error)))
            }
        }
    }
}

/// Now, in seconds since 1970; 0 before.
fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
