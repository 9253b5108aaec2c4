//! How a release ends without being live, and why one is rolled back.

use serde::{Deserialize, Serialize};

use crate::names::{AlarmName, ServiceName};
use crate::policy::{Metric, Severity};
use crate::time::Millis;

/// How a release ended without being live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// A gate blocked it, or a person vetoed it.
    Rejected,
    /// Images, approvals or another gate did not come in time.
    Expired,
    /// A newer one took its place.
    Superseded,
    /// A person gave it up.
    Cancelled,
    /// A step before the first change failed; nothing was changed.
    Failed,
    /// `observe` mode: the gates held, nothing was done.
    Observed,
}

/// Why a rollback began.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reason {
    /// A threshold of the policy was breached.
    Threshold {
        /// The service.
        service: ServiceName,
        /// The metric.
        metric: Metric,
        /// The value, in the metric's unit.
        value: i64,
        /// The limit.
        limit: i64,
        /// The rule in words: `must stay below 1%`.
        rule: String,
    },
    /// Readiness failed for too long.
    Health {
        /// The service.
        service: ServiceName,
        /// For how long.
        failing: Millis,
    },
    /// An alarm rang.
    Alarm {
        /// The alarm.
        alarm: AlarmName,
        /// The reason it gave.
        reason: String,
    },
    /// A step failed or took too long.
    Step {
        /// Which and why.
        why: String,
    },
    /// A person said so.
    Person {
        /// Their words.
        reason: String,
    },
    /// A vulnerability was found in what serves; what served before is free of it.
    Vulnerability {
        /// The service.
        service: ServiceName,
        /// What was found.
        finding: String,
        /// How bad.
        severity: Severity,
    },
}

impl Reason {
    /// Whether nobody asked for it.
    pub fn is_automatic(&self) -> bool {
        !matches!(self, Reason::Person { .. })
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Threshold { service, metric, value, rule, .. } => {
                write!(f, "{service} {metric} {}, {rule}", metric.show(*value))
            }
            Reason::Health { service, failing } => write!(f, "{service} not ready for {failing}"),
            Reason::Alarm { alarm, reason } if reason.is_empty() => write!(f, "alarm {alarm}"),
            Reason::Alarm { alarm, reason } => write!(f, "alarm {alarm}: {reason}"),
            Reason::Step { why } => f.write_str(why),
            Reason::Person { reason } => write!(f, "a person: {reason}"),
            Reason::Vulnerability { service, finding, severity } => {
                write!(f, "{severity} vulnerability in {service}: {finding}")
            }
        }
    }
}
