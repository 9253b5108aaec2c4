//! Metrics that depend on which digest serves, and alarms that a test rings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_domain::action::{Measure, Window};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{AlarmFact, AlarmState};
use portcullis_domain::glob;
use portcullis_domain::names::{AlarmName, ServiceName, TargetId};
use portcullis_domain::policy::{Metric, Place};
use portcullis_domain::time::{Millis, Timestamp};

use super::{FakeCluster, Faults, Op, locked};
use crate::ports::{Metrics, PortResult};

#[derive(Default)]
struct State {
    by_digest: BTreeMap<Digest, BTreeMap<Metric, i64>>,
    silent: BTreeSet<ServiceName>,
    alarms: BTreeMap<AlarmName, AlarmFact>,
    settle: Millis,
    windows: Vec<(Timestamp, Timestamp)>,
}

/// Healthy traffic of 50 requests per second for every service, but for what a test sets.
pub struct FakeMetrics {
    cluster: Arc<FakeCluster>,
    faults: Faults,
    state: Mutex<State>,
}

impl FakeMetrics {
    /// All healthy, no alarms.
    pub fn new(cluster: Arc<FakeCluster>, faults: Faults) -> Arc<Self> {
        Arc::new(Self { cluster, faults, state: Mutex::default() })
    }

    /// Pods that run this digest show this value, in the metric's unit.
    pub fn set(&self, digest: Digest, metric: Metric, value: i64) {
        locked(&self.state).by_digest.entry(digest).or_default().insert(metric, value);
    }

    /// Whether there is no data at all of a service.
    pub fn silence(&self, service: &ServiceName, silent: bool) {
        let mut state = locked(&self.state);
        if silent {
            state.silent.insert(service.clone())
        } else {
            state.silent.remove(service)
        };
    }

    /// Sets an alarm.
    pub fn set_alarm(&self, alarm: &AlarmName, state: AlarmState, changed_at: Timestamp) {
        locked(&self.state).alarms.insert(alarm.clone(), AlarmFact { state, changed_at });
    }

    /// Data is there only so long after a window's end.
    pub fn set_settle(&self, settle: Millis) {
        locked(&self.state).settle = settle;
    }

    /// The windows measured so far.
    pub fn windows(&self) -> Vec<(Timestamp, Timestamp)> {
        locked(&self.state).windows.clone()
    }
}

#[async_trait]
impl Metrics for FakeMetrics {
    async fn measure(
        &self,
        target: &TargetId,
        _: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        self.faults.before(Op::Measure).await?;
        let mut state = locked(&self.state);
        state.windows.push((from, to));
        let mut found = BTreeMap::new();
        for (service, colour) in ask.services.iter().filter(|(service, _)| !state.silent.contains(*service)) {
            let digest = self.cluster.digest_of(target, service, *colour);
            let own = digest.and_then(|digest| state.by_digest.get(&digest));
            let value = |metric| {
                let healthy = match metric {
                    Metric::Requests => 50_000,
                    Metric::ErrorRate | Metric::ClientErrorRate => 0,
                    Metric::ResponseTimeP50 => 20_000,
                    Metric::ResponseTimeP95 => 80_000,
                    Metric::ResponseTimeP99 => 120_000,
                };
                own.and_then(|values| values.get(&metric).copied()).unwrap_or(healthy)
            };
            let wanted = ask.metrics.iter().copied().chain([Metric::Requests]);
            let values: BTreeMap<Metric, i64> = wanted.map(|metric| (metric, value(metric))).collect();
            let positive = |metric| u64::try_from(value(metric)).unwrap_or(0);
            let requests = positive(Metric::Requests) * to.since(from).0 / 1_000_000;
            let failed = requests * positive(Metric::ErrorRate) / 10_000;
            found.insert(service.clone(), Window { values, requests, failed, ready: None });
        }
        Ok(found)
    }

    fn settle(&self) -> Millis {
        locked(&self.state).settle
    }

    async fn alarms(&self, _: &Place, patterns: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        self.faults.before(Op::Alarms).await?;
        let state = locked(&self.state);
        let wanted = |alarm: &AlarmName| patterns.iter().any(|pattern| glob::matches(pattern, alarm.as_str()));
        Ok(state.alarms.iter().filter(|(alarm, _)| wanted(alarm)).map(|(a, f)| (a.clone(), *f)).collect())
    }
}
