//! The ledger with its conflicts counted, for `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use portcullis_domain::names::{DeliveryId, LedgerId, ReleaseId, Seq, TargetId};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{Append, AppendError, Head, Ledger, PortResult, Reading, StoredCommit};

/// Appends counted by how they went.
#[derive(Debug, Default)]
pub(crate) struct Appends {
    /// Made.
    pub(crate) made: AtomicU64,
    /// Overtaken by another append, a changed stop or a taken release number: decided again.
    pub(crate) overtaken: AtomicU64,
    /// Failed by the store.
    pub(crate) failed: AtomicU64,
}

/// A ledger whose appends are counted.
pub(crate) struct Counting {
    inner: Arc<dyn Ledger>,
    appends: Arc<Appends>,
}

impl Counting {
    /// Counts the appends to `inner`.
    pub(crate) fn new(inner: Arc<dyn Ledger>, appends: Arc<Appends>) -> Self {
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
