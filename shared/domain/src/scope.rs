//! Global state that every commit point reads: a stop at any scope.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{AppName, EnvName, ReleaseId, Subject, TargetId};
use crate::time::Timestamp;

/// Where a stop applies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    All,
    /// Every application's environment of this name.
    Environment(EnvName),
    /// One application.
    Application(AppName),
    /// One application's environment.
    Target(TargetId),
}

impl Scope {
    /// The scopes that concern a target, widest first.
    pub fn of(target: &TargetId) -> [Scope; 4] {
        [
            Scope::All,
            Scope::Environment(target.env.clone()),
            Scope::Application(target.app.clone()),
            Scope::Target(target.clone()),
        ]
    }

    /// Whether a stop here concerns the target.
    pub fn covers(&self, target: &TargetId) -> bool {
        Self::of(target).contains(self)
    }
}
/// `all`, `environment production`, `application volteryde`, `volteryde/production`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => f.write_str("all"),
            Scope::Environment(env) => write!(f, "environment {env}"),
            Scope::Application(app) => write!(f, "application {app}"),
            Scope::Target(target) => write!(f, "{target}"),
        }
    }
}

/// The state of one scope. Every change raises its version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ScopeState {
    /// Raised by every change; 0 = never changed.
    pub version: u64,
    /// The stop in force.
    pub stop: Option<Stop>,
    /// The last automatic rollbacks of environments in this scope, newest last, at most 50; kept for `all` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollbacks: Vec<FleetRollback>,
    /// When a person lifted a stop last: rollbacks up to then were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_since: Option<Timestamp>,
}

/// An automatic rollback somewhere in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FleetRollback {
    /// Where.
    pub target: TargetId,
    /// Of which release.
    pub release: ReleaseId,
    /// When it began.
    pub at: Timestamp,
}

/// A stop: no release passes a commit point; rollbacks go on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stop {
    /// Who.
    pub who: Subject,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; none = until it is lifted.
    pub until: Option<Timestamp>,
}

impl ScopeState {
    /// The stop in force at this moment.
    pub fn stopped(&self, now: Timestamp) -> Option<&Stop> {
        self.stop.as_ref().filter(|stop| stop.until.is_none_or(|until| now < until))
    }
}
