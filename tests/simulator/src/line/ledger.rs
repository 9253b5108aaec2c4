//! The line to the ledger: strongly consistent, as its contract says, but it may fail, and its answers may be late.

use std::hash::{Hash as _, Hasher as _};

use async_trait::async_trait;
use portcullis_domain::names::{DeliveryId, LedgerId, ReleaseId, Seq, TargetId};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::Timestamp;
use portcullis_engine::memory::kept;
use portcullis_engine::ports::{Append, AppendError, Head, Ledger, PortResult, StoredCommit};

use super::{Line, Moment};
use crate::broken::Broken;
use crate::hub::Mixer;
use crate::weather::Fault;

/// What a commit says, for the trace: the hash of its events where they are kept, else that of its bytes.
fn content(commit: &[u8], chain: &[u8; 32]) -> u64 {
    if let Some(commit) = kept::commit(commit) {
        let mut hasher = Mixer(0);
        commit.events.hash(&mut hasher);
        return hasher.finish();
    }
    chain[..8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[async_trait]
impl Ledger for Line {
    fn id(&self) -> LedgerId {
        self.outside.ledger.id()
    }

    async fn head(&self, target: &TargetId) -> PortResult<Option<Head>> {
        self.call("head", self.outside.ledger.head(target)).await
    }

    async fn append(&self, mut append: Append) -> Result<(), AppendError> {
        let fate = self.hub().plan(self.process, "append", true);
        self.before("append", fate).await?;
        if self.outside.broken == Some(Broken::Stops) {
            append.scopes.clear();
        }
        let (version, hash) = (append.head.version, content(&append.commit, append.head.chain.bytes()));
        match self.outside.ledger.append(append).await {
            Ok(()) => {
                self.outside.happened(Moment::Appended);
                let process = self.process;
                self.hub().note(hash, || format!("p{process} appends up to {version}"));
            }
            Err(error) => {
                let process = self.process;
                self.hub().count(Fault::Conflict);
                self.hub().note(version.0, || format!("p{process} may not append up to {version}: {error}"));
                return Err(error);
            }
        }
        Ok(self.after("append", fate).await?)
    }

    async fn commits(&self, target: &TargetId, after: Seq, most: usize) -> PortResult<Vec<StoredCommit>> {
        self.call("commits", self.outside.ledger.commits(target, after, most)).await
    }

    async fn targets(&self) -> PortResult<Vec<TargetId>> {
        self.call("targets", self.outside.ledger.targets()).await
    }

    async fn overdue(&self, at: Timestamp) -> PortResult<Vec<TargetId>> {
        self.call("overdue", self.outside.ledger.overdue(at)).await
    }

    async fn delivered(&self, target: &TargetId, delivery: &DeliveryId) -> PortResult<bool> {
        self.call("delivered", self.outside.ledger.delivered(target, delivery)).await
    }

    async fn release(&self, release: ReleaseId) -> PortResult<Option<TargetId>> {
        self.call("release", self.outside.ledger.release(release)).await
    }

    async fn next_release(&self) -> PortResult<ReleaseId> {
        self.call("next release", self.outside.ledger.next_release()).await
    }

    async fn scopes(&self, scopes: &[Scope]) -> PortResult<Vec<ScopeState>> {
        let states = self.call("scopes", self.outside.ledger.scopes(scopes)).await?;
        if self.outside.broken == Some(Broken::Stops) {
            return Ok(states.into_iter().map(|state| ScopeState { stop: None, ..state }).collect());
        }
        Ok(states)
    }

    async fn all_scopes(&self) -> PortResult<Vec<(Scope, ScopeState)>> {
        self.call("all scopes", self.outside.ledger.all_scopes()).await
    }

    async fn set_scope(&self, scope: &Scope, state: &ScopeState) -> PortResult<bool> {
        let fate = self.hub().plan(self.process, "set scope", true);
        self.before("set scope", fate).await?;
        let set = self.outside.ledger.set_scope(scope, state).await?;
        if set {
            self.outside.happened(Moment::Scope(scope.clone(), state.clone()));
            let stopped = state.stop.is_some();
            self.hub().note(state.version, || format!("stop of {scope}: {stopped}"));
        }
        self.after("set scope", fate).await?;
        Ok(set)
    }

    async fn lease(&self, target: &TargetId, intention: Seq, now: Timestamp, until: Timestamp) -> PortResult<bool> {
        self.call("lease", self.outside.ledger.lease(target, intention, now, until)).await
    }

    async fn end_lease(&self, target: &TargetId, intention: Seq) -> PortResult<()> {
        self.call("end lease", self.outside.ledger.end_lease(target, intention)).await
    }

    async fn cursor(&self, reader: &str, target: &TargetId) -> PortResult<Seq> {
        self.call("cursor", self.outside.ledger.cursor(reader, target)).await
    }

    async fn set_cursor(&self, reader: &str, target: &TargetId, at: Seq) -> PortResult<()> {
        self.call("set cursor", self.outside.ledger.set_cursor(reader, target, at)).await
    }
}
