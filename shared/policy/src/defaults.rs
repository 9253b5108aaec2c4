//! What holds where a policy says nothing. `explain` and the schema's descriptions name the same values.

use portcullis_domain::policy::Strategy;
use portcullis_domain::time::Millis;

/// How long a release waits for its gates.
pub(crate) const EXPIRE: Millis = Millis::hours(24);
/// A scan older than this does not count.
pub(crate) const SCAN_MAX_AGE: Millis = Millis::hours(24);
/// ECR's enhanced scan may read complete seconds before its findings arrive.
pub(crate) const SCAN_SETTLES_ON_ECR: Millis = Millis::seconds(60);
/// How long backups are kept.
pub(crate) const BACKUP_KEEP: Millis = Millis::days(30);
/// So long after live a release may be rolled back by itself.
pub(crate) const WINDOW: Millis = Millis::hours(24);
/// So long after live the old colour stays up.
pub(crate) const KEEP_OLD: Millis = Millis::hours(1);

/// The first reminder: after 4 h, or halfway to a nearer expiry.
pub(crate) fn remind(expire: Millis) -> Millis {
    Millis(Millis::hours(4).0.min(expire.0 / 2).max(1))
}

/// The length of a watch.
pub(crate) fn watch(blue_green: bool) -> Millis {
    if blue_green { Millis::minutes(5) } else { Millis::minutes(2) }
}

/// The length of a measured window: a minute, or half of a shorter watch (two points make a breach).
pub(crate) fn every(watch: Millis) -> Millis {
    Millis(Millis::minutes(1).0.min(watch.0 / 2).max(1))
}

/// How long a step is watched: two minutes, or two windows if those are longer.
pub(crate) fn step(window: Millis) -> Millis {
    Millis::minutes(2).max(Millis(window.0.saturating_mul(2)))
}

/// All traffic in one step.
pub(crate) fn blue_green(manual: bool) -> Strategy {
    Strategy::BlueGreen { steps: vec![10_000], every: Millis(0), manual }
}
