//! Thresholds: what is measured of a service, in which unit, and when a value counts as a breach.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// A condition that counts as a breach when it stays true.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trigger {
    /// What is measured.
    pub metric: Metric,
    /// How the value breaches.
    pub breach: Comparison,
    /// The limit, in the metric's unit.
    pub limit: i64,
    /// How long it must be so.
    pub hold: HoldFor,
}

/// How a value breaches a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// value > limit
    Above,
    /// value >= limit
    AtLeast,
    /// value < limit
    Below,
    /// value <= limit
    AtMost,
}

impl Comparison {
    /// Whether the value breaches the limit.
    pub fn holds(self, value: i64, limit: i64) -> bool {
        match self {
            Comparison::Above => value > limit,
            Comparison::AtLeast => value >= limit,
            Comparison::Below => value < limit,
            Comparison::AtMost => value <= limit,
        }
    }

    /// The comparison that is true exactly when this one is not.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Comparison::Above => Comparison::AtMost,
            Comparison::AtLeast => Comparison::Below,
            Comparison::Below => Comparison::AtLeast,
            Comparison::AtMost => Comparison::Above,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Comparison::Above => "above",
            Comparison::AtLeast => "at least",
            Comparison::Below => "below",
            Comparison::AtMost => "at most",
        })
    }
}

/// How long a breach must last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldFor {
    /// So many consecutive data points (2 where a policy says nothing).
    Points(u16),
    /// Consecutive data points covering at least this long.
    Time(Millis),
}

/// What is measured of a service: the RED vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Requests per second, in thousandths.
    Requests,
    /// Share of 5xx answers, in hundredths of a percent (basis points).
    ErrorRate,
    /// Share of 4xx answers, in basis points.
    ClientErrorRate,
    /// Median response time, in microseconds.
    ResponseTimeP50,
    /// 95th percentile of the response time, in microseconds.
    ResponseTimeP95,
    /// 99th percentile of the response time, in microseconds.
    ResponseTimeP99,
}

/// The unit in which a metric's values are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of one per second.
    MilliPerSecond,
    /// Hundredths of a percent.
    BasisPoints,
    /// Microseconds.
    Micros,
}

impl Metric {
    /// Every metric with the name a policy uses.
    pub const ALL: [(Metric, &'static str); 6] = [
        (Metric::Requests, "requests"),
        (Metric::ErrorRate, "error_rate"),
        (Metric::ClientErrorRate, "client_error_rate"),
        (Metric::ResponseTimeP50, "response_time_p50"),
        (Metric::ResponseTimeP95, "response_time_p95"),
        (Metric::ResponseTimeP99, "response_time_p99"),
    ];

    /// The unit of its values.
    pub fn unit(self) -> Unit {
        match self {
            Metric::Requests => Unit::MilliPerSecond,
            Metric::ErrorRate | Metric::ClientErrorRate => Unit::BasisPoints,
            Metric::ResponseTimeP50 | Metric::ResponseTimeP95 | Metric::ResponseTimeP99 => Unit::Micros,
        }
    }

    /// The name a policy uses.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(metric, _)| *metric == self).map_or("", |(_, name)| name)
    }

    /// A value as people read it: `6.8%`, `612 ms`, `5/s`.
    pub fn show(self, value: i64) -> String {
        let decimal = |value: i64, per: i64| {
            let (whole, rest) = (value / per, (value % per).abs());
            let digits = per.ilog10() as usize;
            let text = format!("{whole}.{rest:0digits$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match self.unit() {
            Unit::MilliPerSecond => format!("{}/s", decimal(value, 1_000)),
            Unit::BasisPoints => format!("{}%", decimal(value, 100)),
            Unit::Micros if value >= 1_000_000 => format!("{} s", decimal(value / 1_000, 1_000)),
            Unit::Micros if value >= 10_000 => format!("{} ms", value / 1_000),
            Unit::Micros => format!("{} ms", decimal(value / 10, 100)),
        }
    }
}
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
