//! AWS's moments and ours.

use aws_smithy_types::DateTime;
use portcullis_domain::time::Timestamp;

/// A moment AWS told; none = before 1970, which no answer of AWS's is.
pub(crate) fn told(at: &DateTime) -> Option<Timestamp> {
    u64::try_from(at.to_millis().ok()?).ok().map(Timestamp)
}

/// A moment as AWS is told it.
#[cfg(feature = "metrics")]
pub(crate) fn telling(at: Timestamp) -> DateTime {
    DateTime::from_millis(i64::try_from(at.0).unwrap_or(i64::MAX))
}
