//! The metrics of a function that does not measure. It says when the next window of a watch can be read all the same,
//! because it appends, and what it appends says when the target must be looked at next.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use portcullis_aws::metrics::SETTLE;
use portcullis_domain::action::{Measure, Window};
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::{AlarmName, ServiceName, TargetId};
use portcullis_domain::policy::Place;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::absent::Absent;
use portcullis_engine::ports::{Metrics, PortResult};

/// Knows how long metrics take to settle, and nothing else.
pub(crate) struct OnlySettles;

#[async_trait]
impl Metrics for OnlySettles {
    async fn measure(
        &self,
        target: &TargetId,
        place: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        Absent.measure(target, place, ask, from, to).await
    }

    fn settle(&self) -> Millis {
        SETTLE
    }

    async fn alarms(&self, place: &Place, patterns: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        Absent.alarms(place, patterns).await
    }
}
