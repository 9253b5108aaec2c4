//! What `decide` is given beside the state, the policy and the signal: the moment, and what no ledger of one target holds.

use crate::names::{LedgerId, ReleaseId};
use crate::scope::{Scope, ScopeState};
use crate::time::Timestamp;

/// The surroundings of one decision. All of it is read by the shell; `decide` itself reads nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Now.
    pub now: Timestamp,
    /// This installation's ledger.
    pub ledger: LedgerId,
    /// The number a release gets that this decision opens. Used at most once; the append fails if it is taken.
    pub next_release: ReleaseId,
    /// The scopes that concern the target. The append of a step forward is conditional on their versions.
    pub scopes: Vec<(Scope, ScopeState)>,
}
