//! The ledger in memory.

mod backup;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_domain::names::{DeliveryId, LedgerId, ReleaseId, Seq, TargetId};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::Timestamp;

use super::{Faults, Op, locked};
use crate::codec;
use crate::ports::{Append, AppendError, Head, Ledger, PortResult, StoredCommit};

pub use self::backup::Backup;

#[derive(Default, Clone)]
struct Rows {
    heads: BTreeMap<TargetId, Head>,
    commits: BTreeMap<TargetId, Vec<StoredCommit>>,
    deliveries: HashSet<(TargetId, DeliveryId)>,
    releases: BTreeMap<ReleaseId, TargetId>,
    scopes: BTreeMap<Scope, ScopeState>,
    leases: HashMap<(TargetId, Seq), Timestamp>,
    cursors: HashMap<(String, TargetId), Seq>,
}

/// All ledgers of one installation.
pub struct MemoryLedger {
    id: LedgerId,
    faults: Faults,
    rows: Mutex<Rows>,
}

impl MemoryLedger {
    /// An empty one of this name.
    pub fn new(id: LedgerId, faults: Faults) -> Arc<Self> {
        Arc::new(Self { id, faults, rows: Mutex::default() })
    }

    /// Overwrites a head, as a damaged or newer one: for tests of what must not be acted on.
    pub fn damage(&self, target: &TargetId, how: impl FnOnce(&mut Head)) {
        if let Some(head) = locked(&self.rows).heads.get_mut(target) {
            how(head);
        }
    }

    /// Forgets every lease, as when a store is opened by its only process.
    pub fn end_leases(&self) {
        locked(&self.rows).leases.clear();
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    fn id(&self) -> LedgerId {
        self.id.clone()
    }

    async fn head(&self, target: &TargetId) -> PortResult<Option<Head>> {
        self.faults.before(Op::Head).await?;
        Ok(locked(&self.rows).heads.get(target).cloned())
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        self.faults.before(Op::Append).await?;
        {
            let mut rows = locked(&self.rows);
            let head = rows.heads.get(&append.target);
            let (version, before) = head.map_or((Seq(0), codec::genesis()), |head| (head.version, head.chain));
            if version != append.expected {
                return Err(AppendError::Conflict);
            }
            let moved = |(scope, version): &(Scope, u64)| rows.scopes.get(scope).map_or(0, |s| s.version) != *version;
            if append.scopes.iter().any(moved) {
                return Err(AppendError::ScopeMoved);
            }
            if append.opens.iter().any(|release| rows.releases.contains_key(release)) {
                return Err(AppendError::NumberTaken);
            }
            let stored =
                StoredCommit { first: Seq(version.0 + 1), last: append.head.version, before, bytes: append.commit };
            rows.commits.entry(append.target.clone()).or_default().push(stored);
            rows.heads.insert(append.target.clone(), append.head);
            for release in append.opens {
                rows.releases.insert(release, append.target.clone());
            }
            if let Some(delivery) = append.delivery {
                rows.deliveries.insert((append.target, delivery));
            }
        }
        Ok(self.faults.after(Op::Append).await?)
    }

    async fn commits(&self, target: &TargetId, after: Seq, most: usize) -> PortResult<Vec<StoredCommit>> {
        let rows = locked(&self.rows);
        let commits = rows.commits.get(target).map_or(&[][..], Vec::as_slice);
        Ok(commits.iter().filter(|commit| commit.last > after).take(most).cloned().collect())
    }

    async fn targets(&self) -> PortResult<Vec<TargetId>> {
        Ok(locked(&self.rows).heads.keys().cloned().collect())
    }

    async fn overdue(&self, at: Timestamp) -> PortResult<Vec<TargetId>> {
        let rows = locked(&self.rows);
        let overdue = rows.heads.iter().filter(|(_, head)| head.wake_at.is_some_and(|wake| wake <= at));
        Ok(overdue.map(|(target, _)| target.clone()).collect())
    }

    async fn delivered(&self, target: &TargetId, delivery: &DeliveryId) -> PortResult<bool> {
        Ok(locked(&self.rows).deliveries.contains(&(target.clone(), delivery.clone())))
    }

    async fn release(&self, release: ReleaseId) -> PortResult<Option<TargetId>> {
        Ok(locked(&self.rows).releases.get(&release).cloned())
    }

    async fn next_release(&self) -> PortResult<ReleaseId> {
        Ok(ReleaseId(locked(&self.rows).releases.keys().next_back().map_or(1, |last| last.0 + 1)))
    }

    async fn scopes(&self, scopes: &[Scope]) -> PortResult<Vec<ScopeState>> {
        let rows = locked(&self.rows);
        Ok(scopes.iter().map(|scope| rows.scopes.get(scope).cloned().unwrap_or_default()).collect())
    }

    async fn all_scopes(&self) -> PortResult<Vec<(Scope, ScopeState)>> {
        Ok(locked(&self.rows).scopes.clone().into_iter().collect())
    }

    async fn set_scope(&self, scope: &Scope, state: &ScopeState) -> PortResult<bool> {
        let mut rows = locked(&self.rows);
        let version = rows.scopes.get(scope).map_or(0, |state| state.version);
        if version + 1 != state.version {
            return Ok(false);
        }
        rows.scopes.insert(scope.clone(), state.clone());
        Ok(true)
    }

    async fn lease(&self, target: &TargetId, intention: Seq, now: Timestamp, until: Timestamp) -> PortResult<bool> {
        self.faults.before(Op::Lease).await?;
        let mut rows = locked(&self.rows);
        let key = (target.clone(), intention);
        if rows.leases.get(&key).is_some_and(|held| *held > now) {
            return Ok(false);
        }
        rows.leases.insert(key, until);
        Ok(true)
    }

    async fn end_lease(&self, target: &TargetId, intention: Seq) -> PortResult<()> {
        locked(&self.rows).leases.remove(&(target.clone(), intention));
        Ok(())
    }

    async fn cursor(&self, reader: &str, target: &TargetId) -> PortResult<Seq> {
        Ok(locked(&self.rows).cursors.get(&(reader.to_owned(), target.clone())).copied().unwrap_or_default())
    }

    async fn set_cursor(&self, reader: &str, target: &TargetId, at: Seq) -> PortResult<()> {
        let mut rows = locked(&self.rows);
        let cursor = rows.cursors.entry((reader.to_owned(), target.clone())).or_default();
        *cursor = at.max(*cursor);
        Ok(())
    }
}
