//! The ledger with its appends counted: how many were made, how many were overtaken, how many the store refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use portcullis_domain::names::{DeliveryId, LedgerId, ReleaseId, Seq, TargetId};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::Timestamp;

use crate::ports::{Append, AppendError, Head, Ledger, PortResult, Reading, StoredCommit};

/// Appends counted by how they went, since the process began or since they were last taken.
#[derive(Debug, Default)]
pub struct Appends {
    /// Made.
    pub made: AtomicU64,
    /// Overtaken by another append, a changed stop or a taken release number: decided again.
    pub overtaken: AtomicU64,
    /// Failed by the store.
    pub failed: AtomicU64,
}

/// The same as numbers of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Made.
    pub made: u64,
    /// Overtaken, and decided again.
    pub overtaken: u64,
    /// Failed by the store.
    pub failed: u64,
}

impl Appends {
    /// What was counted since the last time this was asked; counting begins again at zero. An append that ends at the
    /// same moment is in this answer or in the next, never in both and never in none.
    pub fn take(&self) -> Counted {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Counted { made: take(&self.made), overtaken: take(&self.overtaken), failed: take(&self.failed) }
    }
}

/// A ledger whose appends are counted.
pub struct Counting {
    inner: Arc<dyn Ledger>,
    appends: Arc<Appends>,
}

impl Counting {
    /// Counts the appends to `inner`.
    pub fn new(inner: Arc<dyn Ledger>, appends: Arc<Appends>) -> Self {
        Self { inner, appends }
    }
}

#[async_trait]
impl Ledger for Counting {
    fn id(&self) -> LedgerId {
        self.inner.id()
    }
    async fn head(&self, target: &TargetId) -> PortResult<Option<Head>> {
        self.inner.head(target).await
    }
    async fn reading(&self, target: &TargetId, scopes: &[Scope], delivery: Option<&DeliveryId>) -> PortResult<Reading> {
        self.inner.reading(target, scopes, delivery).await
    }
    async fn append(&self, append: Append) -> Result<(), AppendError> {
        let done = self.inner.append(append).await;
        let counter = match &done {
            Ok(()) => &self.appends.made,
            Err(AppendError::Port(_)) => &self.appends.failed,
            Err(AppendError::Conflict | AppendError::ScopeMoved | AppendError::NumberTaken) => &self.appends.overtaken,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        done
    }
    async fn commits(&self, target: &TargetId, after: Seq, most: usize) -> PortResult<Vec<StoredCommit>> {
        self.inner.commits(target, after, most).await
    }
    async fn targets(&self) -> PortResult<Vec<TargetId>> {
        self.inner.targets().await
    }
    async fn overdue(&self, at: Timestamp) -> PortResult<Vec<TargetId>> {
        self.inner.overdue(at).await
    }
    async fn delivered(&self, target: &TargetId, delivery: &DeliveryId) -> PortResult<bool> {
        self.inner.delivered(target, delivery).await
    }
    async fn release(&self, release: ReleaseId) -> PortResult<Option<TargetId>> {
        self.inner.release(release).await
    }
    async fn next_release(&self) -> PortResult<ReleaseId> {
        self.inner.next_release().await
    }
    async fn scopes(&self, scopes: &[Scope]) -> PortResult<Vec<ScopeState>> {
        self.inner.scopes(scopes).await
    }
    async fn all_scopes(&self) -> PortResult<Vec<(Scope, ScopeState)>> {
        self.inner.all_scopes().await
    }
    async fn set_scope(&self, scope: &Scope, state: &ScopeState) -> PortResult<bool> {
        self.inner.set_scope(scope, state).await
    }
    async fn lease(&self, target: &TargetId, intention: Seq, now: Timestamp, until: Timestamp) -> PortResult<bool> {
        self.inner.lease(target, intention, now, until).await
    }
    async fn end_lease(&self, target: &TargetId, intention: Seq) -> PortResult<()> {
        self.inner.end_lease(target, intention).await
    }
    async fn cursor(&self, reader: &str, target: &TargetId) -> PortResult<Seq> {
        self.inner.cursor(reader, target).await
    }
    async fn set_cursor(&self, reader: &str, target: &TargetId, at: Seq) -> PortResult<()> {
        self.inner.set_cursor(reader, target, at).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Faults, MemoryLedger, Op};

    fn append(target: &TargetId, expected: u64) -> Append {
        let version = Seq(expected + 1);
        let head = Head {
            version,
            snapshot: Vec::new(),
            chain: crate::codec::genesis(),
            last_at: Timestamp(1),
            wake_at: None,
            min_reader: 0,
        };
        Append {
            target: target.clone(),
            expected: Seq(expected),
            commit: b"commit".to_vec(),
            head,
            scopes: Vec::new(),
            opens: Vec::new(),
            delivery: None,
        }
    }

    #[tokio::test]
    async fn appends_are_counted_by_how_they_went_and_each_is_taken_once() {
        let faults = Faults::default();
        let appends = Arc::new(Appends::default());
        let inner = MemoryLedger::new(LedgerId::new("counted").unwrap(), faults.clone());
        let ledger = Counting::new(inner, appends.clone());
        let target: TargetId = "shop/production".parse().unwrap();
        ledger.append(append(&target, 0)).await.unwrap();
        ledger.append(append(&target, 1)).await.unwrap();
        assert!(matches!(ledger.append(append(&target, 0)).await, Err(AppendError::Conflict)));
        faults.fail(Op::Append, 1);
        assert!(matches!(ledger.append(append(&target, 2)).await, Err(AppendError::Port(_))));
        assert_eq!(appends.take(), Counted { made: 2, overtaken: 1, failed: 1 });
        assert_eq!(appends.take(), Counted::default());
    }
}
