//! One append is one transaction: the commit, the head, what marks it as done, and the conditions it stands on.
//!
//! Every attempt to append has a random name. It is the transaction's `ClientRequestToken`, so that DynamoDB itself does
//! not make a repeated one twice (for 10 minutes), and it is stored in the commit, so that an append whose answer was
//! lost is recognised for ever, also when others appended after it. A token of target and sequence alone would not do:
//! two writers that decided the very same would both be told that they won, and two that decided differently would get
//! an error instead of a conflict.

use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{ConditionCheck, Put, TransactWriteItem, Update};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, TargetId};
use portcullis_engine::codec::genesis;
use portcullis_engine::ports::{Append, AppendError, PortError, PortResult};

use super::item::{self, Item, bytes, head_item, number, text, text_of};
use super::table::{ABSENT, EXPIRES, Key};
use super::{DynamoLedger, KEPT, epoch_seconds};
use crate::error;

/// Bytes of a commit in one item: an item has at most 400 KB with its keys and attribute names (Amazon DynamoDB
/// Developer Guide, "Quotas").
const PART: usize = 380 * 1024;
/// Bytes of a commit. A transaction has at most 4 MB, and the head takes up to 300 KB of it.
pub(super) const MOST_COMMIT: usize = 3 * 1024 * 1024;
/// Actions of a transaction (same source).
const MOST_ACTIONS: usize = 100;

/// So often is a transaction sent. With the pauses below, 64 writers of one target are served before the last gives up.
const ATTEMPTS: u32 = 8;
/// The upper bound of the first pause; each pause is random between zero and its bound, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The largest bound of a pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// What an action of the transaction is there for: how its refusal is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Commit,
    Head,
    Scope,
    Number,
    Mark,
}

/// An append as it is sent, the same at every attempt.
struct Transaction {
    name: String,
    actions: Vec<TransactWriteItem>,
    roles: Vec<Role>,
}

/// Why an attempt did not succeed.
enum Failure {
    /// A condition did not hold: nothing was stored, now or later. All conditions are on what only grows, so an earlier
    /// attempt that is still under way can not succeed either.
    Refused(AppendError),
    /// Nothing was stored; the next attempt may succeed. True if it was the target itself that others were writing.
    Busy(bool, String),
    /// Nobody knows whether it was stored.
    Unsure(String),
    /// Nothing was stored, and no attempt will succeed.
    Final(String),
}

impl DynamoLedger {
    pub(super) async fn append_once(&self, append: Append) -> Result<(), AppendError> {
        let doing = format!("appending to the ledger of {}", append.target);
        let failed = |found: String| PortError::new(&doing, found);
        if append.head.version <= append.expected {
            return Err(failed("a commit holds at least one event".to_owned()).into());
        }
        let Some(before) = self.chain_at(&append.target, append.expected).await? else {
            return Err(AppendError::Conflict);
        };
        let transaction = self.transaction(&append, before).map_err(failed)?;
        self.attempt(&append, &transaction, &doing).await?;
        self.remember(&append.target, append.head.version, append.head.chain);
        Ok(())
    }

    /// Sends a transaction until it is known whether it was made.
    async fn attempt(&self, append: &Append, transaction: &Transaction, doing: &str) -> Result<(), AppendError> {
        let failed = |found: String| AppendError::from(PortError::new(doing, found));
        let (mut unsure, mut crowded, mut last) = (false, false, String::new());
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let failure = match self.send(transaction).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            (crowded, last) = match failure {
                Failure::Final(found) => return Err(failed(found)),
                // An attempt of our own may be what it found.
                Failure::Refused(_) if unsure && self.was_made(append, &transaction.name).await? => return Ok(()),
                Failure::Refused(why) => return Err(why),
                Failure::Busy(target, found) => (target, found),
                Failure::Unsure(found) => {
                    unsure = true;
                    (false, found)
                }
            };
            tracing::debug!(target = %append.target, attempt, found = last, "an append was not made; trying again");
        }
        if unsure && self.was_made(append, &transaction.name).await? {
            return Ok(());
        }
        if crowded && !unsure {
            // Whoever else was writing has appended, or will: to load and decide again is right either way.
            return Err(AppendError::Conflict);
        }
        Err(failed(format!("{last} ({ATTEMPTS} attempts)")))
    }

    /// The chain hash of a target at this version; none = the head is at another one. A head that was just read is
    /// remembered, so that this usually costs nothing; the append is conditional on it.
    async fn chain_at(&self, target: &TargetId, version: Seq) -> PortResult<Option<Digest>> {
        if version == Seq(0) {
            return Ok(Some(genesis()));
        }
        if let Some(chain) = self.remembered(target, version) {
            return Ok(Some(chain));
        }
        let head = self.read_head(target).await?;
        Ok(head.filter(|head| head.version == version).map(|head| head.chain))
    }

    fn transaction(&self, append: &Append, before: Digest) -> Result<Transaction, String> {
        if append.commit.len() > MOST_COMMIT {
            return Err(format!("the commit has {} bytes, more than {MOST_COMMIT}", append.commit.len()));
        }
        let name = format!("{:032x}", rand::random::<u128>());
        let mut build = Build { table: &self.table, actions: Vec::new(), roles: Vec::new() };
        build.commit(append, before, &name)?;
        build.head(append, before)?;
        if append.expected == Seq(0) {
            build.put(Role::Mark, item::key(&Key::listed(&append.target)))?;
        }
        if let Some(delivery) = &append.delivery {
            let now = epoch_seconds();
            let at = Key::delivery(&append.target, delivery);
            build.put(Role::Mark, item::item(&at, [("at", number(now)), (EXPIRES, number(now + KEPT.as_secs()))]))?;
        }
        build.scopes(append)?;
        build.numbers(append)?;
        if build.actions.len() > MOST_ACTIONS {
            return Err(format!("the append has {} parts, more than {MOST_ACTIONS}", build.actions.len()));
        }
        Ok(Transaction { name, actions: build.actions, roles: build.roles })
    }

    async fn send(&self, transaction: &Transaction) -> Result<(), Failure> {
        // Attempts are counted here: whether an earlier one may have been made decides what a refusal means.
        let once = aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled());
        let sent = self
            .client
            .transact_write_items()
            .set_transact_items(Some(transaction.actions.clone()))
            .client_request_token(&transaction.name)
            .customize()
            .config_override(once)
            .send()
            .await;
        sent.map(|_| ()).map_err(|error| failure(&error, &transaction.roles))
    }

    /// Whether the commit that is stored where ours would be is ours.
    async fn was_made(&self, append: &Append, name: &str) -> PortResult<bool> {
        let doing = format!("looking whether an append to {} was made", append.target);
        let key = Key::commit(&append.target, append.head.version, 0);
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item::key(&key)))
            .consistent_read(true)
            .projection_expression("attempt")
            .send()
            .await
            .map_err(|error| PortError::new(doing, error::found(&error)))?;
        Ok(found.item.is_some_and(|item| text_of(&item, "attempt").is_ok_and(|attempt| attempt == name)))
    }
}

struct Build<'a> {
    table: &'a str,
    actions: Vec<TransactWriteItem>,
    roles: Vec<Role>,
}

impl Build<'_> {
    fn add(&mut self, role: Role, action: TransactWriteItem) {
        self.actions.push(action);
        self.roles.push(role);
    }

    fn put(&mut self, role: Role, item: Item) -> Result<(), String> {
        let put = Put::builder().table_name(self.table).set_item(Some(item));
        let put = put.build().map_err(|error| error.to_string())?;
        self.add(role, TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    fn put_new(&mut self, role: Role, item: Item) -> Result<(), String> {
        let put = Put::builder().table_name(self.table).set_item(Some(item));
        let put = put.condition_expression(ABSENT).build().map_err(|error| error.to_string())?;
        self.add(role, TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    /// The commit, in as many items as it needs: a decision about many services, each with its evidence, may be larger
    /// than an item, and refusing it could refuse a rollback.
    fn commit(&mut self, append: &Append, before: Digest, name: &str) -> Result<(), String> {
        let at = |part| Key::commit(&append.target, append.head.version, part);
        let mut parts = append.commit.chunks(PART);
        let mut first = item::item(
            &at(0),
            [
                ("first", number(append.expected.0 + 1)),
                ("last", number(append.head.version)),
                ("before", bytes(before.bytes())),
                ("bytes", bytes(parts.next().unwrap_or_default())),
                ("attempt", text(name)),
            ],
        );
        if parts.len() > 0 {
            first.insert("parts".to_owned(), number(parts.len() + 1));
        }
        self.put_new(Role::Commit, first)?;
        for (part, chunk) in (1..).zip(parts) {
            self.put_new(Role::Commit, item::item(&at(part), [("bytes", bytes(chunk))]))?;
        }
        Ok(())
    }

    fn head(&mut self, append: &Append, before: Digest) -> Result<(), String> {
        let at = Key::head(&append.target);
        if append.expected == Seq(0) {
            return self.put_new(Role::Head, head_item(&at, &append.head));
        }
        let put = Put::builder()
            .table_name(self.table)
            .set_item(Some(head_item(&at, &append.head)))
            .condition_expression("#version = :version AND #chain = :chain")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#chain", "chain")
            .expression_attribute_values(":version", number(append.expected))
            .expression_attribute_values(":chain", bytes(before.bytes()))
            .build()
            .map_err(|error| error.to_string())?;
        self.add(Role::Head, TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    fn scopes(&mut self, append: &Append) -> Result<(), String> {
        for (n, (scope, version)) in append.scopes.iter().enumerate() {
            if append.scopes[..n].contains(&(scope.clone(), *version)) {
                // A transaction may name an item once.
                continue;
            }
            let check = ConditionCheck::builder().table_name(self.table).set_key(Some(item::key(&Key::scope(scope))));
            let check = match version {
                0 => check.condition_expression(ABSENT),
                _ => check
                    .condition_expression("#version = :version")
                    .expression_attribute_names("#version", "version")
                    .expression_attribute_values(":version", number(version)),
            };
            let check = check.build().map_err(|error| error.to_string())?;
            self.add(Role::Scope, TransactWriteItem::builder().condition_check(check).build());
        }
        Ok(())
    }

    /// Takes the numbers, and moves the next one behind them: it is one item, so that it can be read with a head.
    fn numbers(&mut self, append: &Append) -> Result<(), String> {
        let (Some(least), Some(most)) = (append.opens.iter().min(), append.opens.iter().max()) else { return Ok(()) };
        for release in &append.opens {
            let target = text(append.target.to_string());
            self.put_new(Role::Number, item::item(&Key::release(*release), [("target", target)]))?;
        }
        let next = Update::builder()
            .table_name(self.table)
            .set_key(Some(item::key(&Key::next_release())))
            .update_expression("SET #number = :next")
            .condition_expression("attribute_not_exists(pk) OR #number <= :least")
            .expression_attribute_names("#number", "number")
            .expression_attribute_values(":least", number(least))
            .expression_attribute_values(":next", number(most.0.saturating_add(1)))
            .build()
            .map_err(|error| error.to_string())?;
        self.add(Role::Number, TransactWriteItem::builder().update(next).build());
        Ok(())
    }
}

fn failure(error: &SdkError<TransactWriteItemsError, HttpResponse>, roles: &[Role]) -> Failure {
    let found = error::found(error);
    let SdkError::ServiceError(service) = error else {
        return match error {
            SdkError::ConstructionFailure(_) => Failure::Final(found),
            _ => Failure::Unsure(found),
        };
    };
    let said = service.err();
    if let TransactWriteItemsError::TransactionCanceledException(cancelled) = said {
        return cancellation(cancelled, roles, found);
    }
    match said.meta().code() {
        Some(
            "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "ThrottledException"
            | "LimitExceededException",
        ) => Failure::Busy(false, found),
        // Our own earlier attempt is still being made.
        Some("TransactionInProgressException" | "InternalServerError" | "ServiceUnavailable") => Failure::Unsure(found),
        _ if service.raw().status().is_client_error() => Failure::Final(found),
        _ => Failure::Unsure(found),
    }
}

fn cancellation(cancelled: &TransactionCanceledException, roles: &[Role], found: String) -> Failure {
    let failed: Vec<(Role, &str)> = roles
        .iter()
        .copied()
        .zip(cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None")))
        .filter(|(_, code)| *code != "None")
        .collect();
    let refused = |wanted: Role| failed.contains(&(wanted, "ConditionalCheckFailed"));
    // In this order: whoever is told of a conflict looks at everything anew.
    if refused(Role::Head) {
        return Failure::Refused(AppendError::Conflict);
    }
    if refused(Role::Commit) {
        // The head says that this position is free. Only a damaged table has both.
        return Failure::Final(
            "a commit is stored behind the head: the table holds what no append of ours left".to_owned(),
        );
    }
    if refused(Role::Scope) {
        return Failure::Refused(AppendError::ScopeMoved);
    }
    if refused(Role::Number) {
        return Failure::Refused(AppendError::NumberTaken);
    }
    let passing =
        |code: &str| matches!(code, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded");
    if !failed.is_empty() && failed.iter().all(|(_, code)| passing(code)) {
        let target = failed.contains(&(Role::Head, "TransactionConflict"));
        return Failure::Busy(target, found);
    }
    Failure::Final(found)
}

/// Waits before an attempt that is not the first: between nothing and a bound that doubles (full jitter).
pub(super) async fn pause(attempt: u32) {
    let Some(before) = attempt.checked_sub(1) else { return };
    let bound = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST_PAUSE);
    tokio::time::sleep(bound.mul_f64(rand::random::<f64>())).await;
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::CancellationReason;

    use super::*;

    /// What a cancellation with these reasons is told as.
    fn told(reasons: [&str; 5]) -> &'static str {
        let roles = [Role::Commit, Role::Head, Role::Mark, Role::Scope, Role::Number];
        let reasons = reasons.map(|code| CancellationReason::builder().code(code).build());
        let cancelled =
            TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons.to_vec())).build();
        match cancellation(&cancelled, &roles, String::new()) {
            Failure::Refused(AppendError::Conflict) => "conflict",
            Failure::Refused(AppendError::ScopeMoved) => "scope moved",
            Failure::Refused(AppendError::NumberTaken) => "number taken",
            Failure::Refused(AppendError::Port(_)) | Failure::Final(_) => "final",
            Failure::Busy(true, _) => "the target is busy",
            Failure::Busy(false, _) => "busy",
            Failure::Unsure(_) => "unsure",
        }
    }

    #[test]
    fn a_cancellation_is_told_by_the_condition_that_counts_most() {
        const NO: &str = "None";
        const REFUSED: &str = "ConditionalCheckFailed";
        const BUSY: &str = "TransactionConflict";
        assert_eq!(told([REFUSED, REFUSED, NO, REFUSED, REFUSED]), "conflict");
        assert_eq!(told([NO, REFUSED, NO, NO, NO]), "conflict");
        assert_eq!(told([NO, NO, NO, REFUSED, REFUSED]), "scope moved");
        assert_eq!(told([NO, NO, NO, NO, REFUSED]), "number taken");
        assert_eq!(told([BUSY, BUSY, NO, REFUSED, NO]), "scope moved");
        assert_eq!(told([NO, BUSY, NO, NO, NO]), "the target is busy");
        assert_eq!(told([NO, NO, NO, BUSY, NO]), "busy");
        assert_eq!(told(["ThrottlingError", NO, NO, NO, "ProvisionedThroughputExceeded"]), "busy");
        assert_eq!(told([NO, BUSY, NO, NO, "ValidationError"]), "final");
        assert_eq!(told([REFUSED, NO, NO, NO, NO]), "final", "a commit behind the head is a damaged table");
        assert_eq!(told([NO, NO, NO, NO, NO]), "final");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_bounded_and_the_first_attempt_waits_for_nothing() {
        let begun = tokio::time::Instant::now();
        pause(0).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for attempt in 1..ATTEMPTS {
            pause(attempt).await;
        }
        let all: Duration = (1..ATTEMPTS).map(|n| (FIRST_PAUSE * 2_u32.pow(n - 1)).min(LONGEST_PAUSE)).sum();
        assert!(begun.elapsed() <= all + Duration::from_millis(u64::from(ATTEMPTS)), "{:?}", begun.elapsed());
        assert!(all < Duration::from_secs(3));
    }
}
