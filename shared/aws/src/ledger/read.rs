//! Reads of several items: one batch, or page by page.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use portcullis_domain::names::{DeliveryId, ReleaseId, Seq, TargetId};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{Head, PortError, PortResult, Reading, StoredCommit};

use super::DynamoLedger;
use super::append::pause;
use super::item::{self, Item, bytes_of, digest_of, head_of, key_of, number, number_of, scope_state_of, text, text_of};
use super::table::{
    COMMITS_END, Key, OVERDUE_INDEX, OVERDUE_PARTITION_KEY, OVERDUE_SORT_KEY, PARTITION_KEY, SCOPES, SORT_KEY, TARGETS,
    WAITS, commit_sort, partition, scope_of, target_of,
};
use crate::error;

/// Keys of one batch (Amazon DynamoDB API Reference, `BatchGetItem`).
const MOST_KEYS: usize = 100;
/// So often is asked for what a batch left out because the table was busy.
const ATTEMPTS: u32 = 6;

impl DynamoLedger {
    /// One item, strongly consistent.
    pub(super) async fn get(&self, doing: &str, key: &Key) -> PortResult<Option<Item>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(item::key(key))).consistent_read(true);
        let answer = get.send().await.map_err(|error| PortError::new(doing, error::found(&error)))?;
        Ok(answer.item)
    }

    /// Several items, strongly consistent, in one call unless the table is busy. Absent ones are left out.
    async fn batch(&self, doing: &str, keys: impl IntoIterator<Item = Key>) -> PortResult<HashMap<Key, Item>> {
        let failed = |found: String| PortError::new(doing, found);
        let distinct: HashSet<Key> = keys.into_iter().collect();
        let mut left: Vec<Item> = distinct.iter().map(item::key).collect();
        let mut found = HashMap::with_capacity(left.len());
        let mut attempt = 0;
        while !left.is_empty() {
            if attempt == ATTEMPTS {
                return Err(failed(format!("the table is busy: {} items were left out", left.len())));
            }
            pause(attempt).await;
            attempt += 1;
            let rest = left.split_off(left.len().min(MOST_KEYS));
            let ask = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build();
            let ask = ask.map_err(|error| failed(error.to_string()))?;
            let answer = self.client.batch_get_item().request_items(&self.table, ask).send().await;
            let answer = answer.map_err(|error| failed(error::found(&error)))?;
            left = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, ask)| ask.keys).collect();
            if left.is_empty() {
                attempt = 0;
            }
            left.extend(rest);
            for item in answer.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                found.insert(key_of(&item).map_err(|error| failed(error.to_string()))?, item);
            }
        }
        Ok(found)
    }

    pub(super) async fn read_head(&self, target: &TargetId) -> PortResult<Option<Head>> {
        let doing = format!("reading the ledger of {target}");
        let key = Key::head(target);
        let item = if self.id.get().is_some() {
            self.get(&doing, &key).await?
        } else {
            let mut found = self.batch(&doing, [key.clone(), Key::installation()]).await?;
            self.learn(found.get(&Key::installation())).await?;
            found.remove(&key)
        };
        self.head_from(&doing, target, item.as_ref())
    }

    fn head_from(&self, doing: &str, target: &TargetId, item: Option<&Item>) -> PortResult<Option<Head>> {
        let head = item.map(head_of).transpose().map_err(|error| PortError::new(doing, error))?;
        if let Some(head) = &head {
            self.remember(target, head.version, head.chain);
        }
        Ok(head)
    }

    /// Head, scopes, next number and delivery by one call.
    pub(super) async fn read_all(
        &self,
        target: &TargetId,
        scopes: &[Scope],
        delivery: Option<&DeliveryId>,
    ) -> PortResult<Reading> {
        let doing = format!("reading the ledger of {target}");
        let delivery = delivery.map(|delivery| Key::delivery(target, delivery));
        let mut keys = vec![Key::head(target), Key::next_release()];
        keys.extend(scopes.iter().map(Key::scope));
        keys.extend(delivery.clone());
        if self.id.get().is_none() {
            keys.push(Key::installation());
        }
        let found = self.batch(&doing, keys).await?;
        self.learn(found.get(&Key::installation())).await?;
        Ok(Reading {
            head: self.head_from(&doing, target, found.get(&Key::head(target)))?,
            scopes: states(&doing, scopes, &found)?,
            next_release: next_release(&doing, found.get(&Key::next_release()))?,
            delivered: delivery.is_some_and(|key| found.contains_key(&key)),
        })
    }

    pub(super) async fn read_scopes(&self, scopes: &[Scope]) -> PortResult<Vec<ScopeState>> {
        let found = self.batch(READING_SCOPES, scopes.iter().map(Key::scope)).await?;
        states(READING_SCOPES, scopes, &found)
    }

    pub(super) async fn read_every_scope(&self) -> PortResult<Vec<(Scope, ScopeState)>> {
        let failed = |error: &dyn std::fmt::Display| PortError::new(READING_SCOPES, error);
        let mut all = Vec::new();
        for item in self.every(READING_SCOPES, || self.partition(SCOPES)).await? {
            let sort = text_of(&item, SORT_KEY).map_err(|error| failed(&error))?;
            let scope = scope_of(sort).ok_or_else(|| failed(&format!("there is no scope {sort:?}")))?;
            all.push((scope, scope_state_of(Some(&item)).map_err(|error| failed(&error))?));
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    pub(super) async fn read_targets(&self) -> PortResult<Vec<TargetId>> {
        let doing = "reading the targets";
        let failed = |error: &dyn std::fmt::Display| PortError::new(doing, error);
        let mut targets = Vec::new();
        for item in self.every(doing, || self.partition(TARGETS)).await? {
            let target = text_of(&item, SORT_KEY).map_err(|error| failed(&error))?;
            targets.push(target.parse().map_err(|error| failed(&error))?);
        }
        Ok(targets)
    }

    /// By the index, which follows the table within a second or so.
    pub(super) async fn read_overdue(&self, at: Timestamp) -> PortResult<Vec<TargetId>> {
        let doing = "reading the overdue targets";
        let query = || {
            self.client
                .query()
                .table_name(&self.table)
                .index_name(OVERDUE_INDEX)
                .key_condition_expression("#waits = :waits AND #wake_at <= :at")
                .expression_attribute_names("#waits", OVERDUE_PARTITION_KEY)
                .expression_attribute_names("#wake_at", OVERDUE_SORT_KEY)
                .expression_attribute_values(":waits", text(WAITS))
                .expression_attribute_values(":at", number(at.0))
        };
        let mut targets = Vec::new();
        for item in self.every(doing, query).await? {
            let key = key_of(&item).map_err(|error| PortError::new(doing, error))?;
            let strange = || PortError::new(doing, format!("{:?} is no target's partition", key.partition));
            targets.push(target_of(&key.partition).ok_or_else(strange)?);
        }
        Ok(targets)
    }

    pub(super) async fn read_commits(
        &self,
        target: &TargetId,
        after: Seq,
        most: usize,
    ) -> PortResult<Vec<StoredCommit>> {
        let doing = format!("reading the ledger of {target}");
        let failed = |error: &dyn std::fmt::Display| PortError::new(&doing, error);
        let mut commits: Vec<StoredCommit> = Vec::new();
        // Of the newest commit so many parts are still to come.
        let mut missing = 0;
        let Some(from) = after.0.checked_add(1).filter(|_| most > 0) else { return Ok(commits) };
        let mut from_key = None;
        loop {
            // A page may hold fewer: it ends at 1 MB.
            let limit = i32::try_from((most - commits.len()).max(missing).clamp(1, MOST_KEYS)).unwrap_or(i32::MAX);
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
                .expression_attribute_names("#pk", PARTITION_KEY)
                .expression_attribute_names("#sk", SORT_KEY)
                .expression_attribute_values(":pk", text(partition(target)))
                .expression_attribute_values(":from", text(commit_sort(Seq(from))))
                .expression_attribute_values(":to", text(COMMITS_END))
                .consistent_read(true)
                .limit(limit)
                .set_exclusive_start_key(from_key)
                .send()
                .await
                .map_err(|error| failed(&error::found(&error)))?;
            for item in page.items.unwrap_or_default() {
                if missing > 0 {
                    let whole = commits.last_mut().filter(|_| !item.contains_key("first"));
                    let whole = whole.ok_or_else(|| failed(&"a commit is not whole: a part of it is missing"))?;
                    whole.bytes.extend_from_slice(bytes_of(&item, "bytes").map_err(|error| failed(&error))?);
                    missing -= 1;
                } else if commits.len() == most {
                    break;
                } else {
                    let (commit, parts) = commit_of(&item).map_err(|error| failed(&error))?;
                    commits.push(commit);
                    missing = parts;
                }
            }
            from_key = page.last_evaluated_key;
            let ended = from_key.as_ref().is_none_or(HashMap::is_empty);
            if missing > 0 && ended {
                return Err(failed(&"the newest commit is not whole: a part of it is missing"));
            }
            if ended || (commits.len() == most && missing == 0) {
                return Ok(commits);
            }
        }
    }

    fn partition(&self, name: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", PARTITION_KEY)
            .expression_attribute_values(":pk", text(name))
            .consistent_read(true)
    }

    /// Every item of a query, page after page.
    async fn every(&self, doing: &str, query: impl Fn() -> QueryFluentBuilder) -> PortResult<Vec<Item>> {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let page = query().set_exclusive_start_key(from).send().await;
            let page = page.map_err(|error| PortError::new(doing, error::found(&error)))?;
            all.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(all);
            }
        }
    }
}

const READING_SCOPES: &str = "reading the stops";

/// A commit, or its beginning, and how many parts follow.
fn commit_of(item: &Item) -> Result<(StoredCommit, usize), item::Unreadable> {
    let parts = if item.contains_key("parts") { number_of(item, "parts")? } else { 1 };
    let commit = StoredCommit {
        first: Seq(number_of(item, "first")?),
        last: Seq(number_of(item, "last")?),
        before: digest_of(item, "before")?,
        bytes: bytes_of(item, "bytes")?.to_vec(),
    };
    Ok((commit, usize::try_from(parts).unwrap_or(usize::MAX).saturating_sub(1)))
}

fn states(doing: &str, scopes: &[Scope], found: &HashMap<Key, Item>) -> PortResult<Vec<ScopeState>> {
    let state = |scope| scope_state_of(found.get(&Key::scope(scope)));
    scopes.iter().map(|scope| state(scope).map_err(|error| PortError::new(doing, error))).collect()
}

/// The lowest number that no release has; an absent item is an installation without releases.
pub(super) fn next_release(doing: &str, item: Option<&Item>) -> PortResult<ReleaseId> {
    let number = item.map(|item| number_of(item, "number")).transpose();
    Ok(ReleaseId(number.map_err(|error| PortError::new(doing, error))?.unwrap_or(1)))
}
