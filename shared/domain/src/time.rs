//! Moments and durations as plain integers; the core never reads a clock.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A duration in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// So many seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(n * 1_000)
    }
    /// So many minutes.
    pub const fn minutes(n: u64) -> Self {
        Self(n * 60_000)
    }
    /// So many hours.
    pub const fn hours(n: u64) -> Self {
        Self(n * 3_600_000)
    }
    /// So many days of 24 hours.
    pub const fn days(n: u64) -> Self {
        Self(n * 86_400_000)
    }
}

impl Timestamp {
    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Timestamp) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment in UTC as a part of a name that sorts by time: `20261121T080147Z` (ISO 8601, basic format).
    pub fn stamp(self) -> String {
        self.written("%Y%m%dT%H%M%SZ")
    }

    /// The same with milliseconds: `20261121T080147.250Z`.
    pub fn stamp_with_millis(self) -> String {
        self.written("%Y%m%dT%H%M%S%.3fZ")
    }

    /// A moment past the year 9999 is written as its milliseconds.
    fn written(self, form: &str) -> String {
        let moment = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        moment.map_or_else(|| self.0.to_string(), |moment| moment.strftime(form).to_string())
    }
}

impl Add<Millis> for Timestamp {
    type Output = Timestamp;
    fn add(self, rhs: Millis) -> Timestamp {
        Timestamp(self.0.saturating_add(rhs.0))
    }
}
impl Sub<Millis> for Timestamp {
    type Output = Timestamp;
    fn sub(self, rhs: Millis) -> Timestamp {
        Timestamp(self.0.saturating_sub(rhs.0))
    }
}

/// As a policy writes it: one integer and one unit, `90s` `5m` `24h` `30d`; the largest unit that divides it.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .into_iter()
            .find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size))
            .unwrap_or(("ms", 1));
        f.pad(&format!("{}{unit}", self.0 / size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_policy_writes_them() {
        let shown = [0, 800, 1_000, 90_000, 300_000, 86_400_000, 172_800_000].map(|ms| Millis(ms).to_string());
        assert_eq!(shown, ["0ms", "800ms", "1s", "90s", "5m", "1d", "2d"]);
    }

    #[test]
    fn a_moment_in_a_name_sorts_by_time() {
        let at = Timestamp(1_795_248_107_050);
        assert_eq!((at.stamp(), at.stamp_with_millis()), ("20261121T080147Z".into(), "20261121T080147.050Z".into()));
        assert_eq!(Timestamp(1_795_248_107_000).stamp_with_millis(), "20261121T080147.000Z");
        assert_eq!(Timestamp(u64::MAX).stamp(), u64::MAX.to_string());
    }
}
