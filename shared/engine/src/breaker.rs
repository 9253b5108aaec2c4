//! The fleet breaker: a reader of every ledger that notes automatic rollbacks where every commit point reads them.
//!
//! When many environments roll back at once, the cause is probably not their code: then no release begins anywhere
//! until it is quiet or a person lifts the stop. Rollbacks themselves never look at it.

use async_trait::async_trait;
use portcullis_domain::event::What;
use portcullis_domain::scope::{FleetRollback, Scope, ScopeState};

use crate::ports::{Notice, Notices, PortError, PortResult, Ports};

/// The reader's name: its cursors are kept under it.
pub const READER: &str = "fleet";
/// Rollbacks that are remembered.
const MOST: usize = 50;
/// Attempts of one note; each lost one is another's success.
const ATTEMPTS: u32 = 64;

/// Notes automatic rollbacks in the state of scope `all`. Telling one twice notes it once.
pub struct FleetBreaker {
    ports: Ports,
}

impl FleetBreaker {
    /// A breaker on these ports.
    pub fn new(ports: Ports) -> Self {
        Self { ports }
    }
}

#[async_trait]
impl Notices for FleetBreaker {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        let What::RollbackBegan { release, why, served: true, .. } = &notice.event.what else { return Ok(()) };
        if !why.is_automatic() {
            return Ok(());
        }
        let rollback = FleetRollback { target: notice.target.clone(), release: *release, at: notice.event.at };
        for _ in 0..ATTEMPTS {
            let known = self.ports.ledger.scopes(&[Scope::All]).await?;
            let state = known.into_iter().next().unwrap_or_default();
            let looked_at = state.quiet_since.is_some_and(|at| at >= rollback.at);
            if looked_at || state.rollbacks.contains(&rollback) {
                return Ok(());
            }
            let mut rollbacks = state.rollbacks;
            rollbacks.push(rollback.clone());
            let surplus = rollbacks.len().saturating_sub(MOST);
            rollbacks.drain(..surplus);
            let next = ScopeState { version: state.version + 1, rollbacks, ..state };
            if self.ports.ledger.set_scope(&Scope::All, &next).await? {
                return Ok(());
            }
        }
        Err(PortError::new("noting a rollback for the fleet breaker", "others changed the scope again and again"))
    }
}
