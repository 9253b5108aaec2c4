//! The fleet breaker as it is shown: many environments rolled back at once, so nothing begins anywhere for a time.
//!
//! It only shows; what holds a release is the gate `freeze`.

use std::collections::BTreeSet;

use portcullis_domain::policy::Governor;
use portcullis_domain::scope::FleetRollback;
use portcullis_domain::time::Timestamp;

use crate::api::FleetHold;

/// Whether so many environments rolled back that the governor holds every release.
pub(super) fn held(governor: Governor, rollbacks: &[FleetRollback], now: Timestamp) -> Option<FleetHold> {
    let since = now - governor.fleet_within;
    let recent = || rollbacks.iter().filter(|rollback| rollback.at >= since);
    let environments: BTreeSet<_> = recent().map(|rollback| rollback.target.clone()).collect();
    let until = recent().map(|rollback| rollback.at + governor.fleet_within).max()?;
    (environments.len() >= usize::from(governor.fleet.max(1))).then(|| FleetHold {
        environments: environments.into_iter().collect(),
        within: governor.fleet_within,
        until,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::names::ReleaseId;
    use portcullis_domain::time::Millis;

    fn rollback(target: &str, minute: u64) -> FleetRollback {
        let at = Timestamp(0) + Millis::minutes(minute);
        FleetRollback { target: target.parse().unwrap(), release: ReleaseId(1), at }
    }

    #[test]
    fn it_holds_by_environments_not_by_rollbacks_and_only_for_its_time() {
        let governor = Governor { fleet: 2, fleet_within: Millis::minutes(10), ..Governor::default() };
        let at = |minute| Timestamp(0) + Millis::minutes(minute);
        let one = [rollback("shop/production", 100), rollback("shop/production", 101)];
        assert_eq!(held(governor, &one, at(102)), None);
        let two = [rollback("shop/production", 100), rollback("pay/production", 104)];
        let hold = held(governor, &two, at(110)).unwrap();
        assert_eq!((hold.environments.len(), hold.until), (2, at(114)));
        assert_eq!(held(governor, &two, at(111)), None, "the first is long ago");
    }
}
