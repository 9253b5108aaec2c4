//! The engine's metrics, measured on the load: what the answers of a colour's digest were in a window. And alarms that a
//! test rings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_domain::action::{Measure, Window};
use portcullis_domain::facts::{AlarmFact, AlarmState};
use portcullis_domain::glob;
use portcullis_domain::names::{AlarmName, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Metric, Place};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_embedded::clock::SystemClock;
use portcullis_engine::ports::{Clock as _, Metrics, PortError, PortResult};
use portcullis_kubernetes::client::{Client, kinds};
use portcullis_kubernetes::objects::{coloured, digest_in};
use tokio::task::JoinSet;

use crate::load::{LoadReport, Reporter};

/// How often a load is read.
const EVERY: Duration = Duration::from_millis(100);
/// A window is measured so long after its end: by then a load was read once more.
const SETTLE: Millis = Millis(250);

/// Answers so far, and those of them that failed, by digest.
struct Sample {
    at: Timestamp,
    answers: BTreeMap<String, u64>,
    failures: BTreeMap<String, u64>,
}

/// What one load was seen to have counted, in the order of time.
type Samples = Arc<Mutex<Vec<Sample>>>;

/// Loads as the engine measures them.
pub struct Traffic {
    client: Client,
    loads: Mutex<BTreeMap<ServiceName, Samples>>,
    alarms: Mutex<BTreeMap<AlarmName, AlarmFact>>,
    reading: Mutex<JoinSet<()>>,
}

impl Traffic {
    /// Nothing is measured yet, and there is no alarm. The client tells which digest a colour has.
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, loads: Mutex::default(), alarms: Mutex::default(), reading: Mutex::default() })
    }

    /// From now on this load is the traffic of a service, instead of any before.
    pub(crate) fn follow(self: &Arc<Self>, service: &ServiceName, load: Reporter) {
        let samples = Samples::default();
        self.loads.lock().unwrap().insert(service.clone(), samples.clone());
        let samples = Arc::downgrade(&samples);
        self.reading.lock().unwrap().spawn(async move {
            while let Some(samples) = samples.upgrade() {
                let LoadReport { digests, failures, .. } = load.report();
                let sample = Sample { at: SystemClock.now(), answers: digests, failures };
                samples.lock().unwrap().push(sample);
                drop(samples);
                tokio::time::sleep(EVERY).await;
            }
        });
    }

    /// Sets an alarm.
    pub(crate) fn set_alarm(&self, alarm: &AlarmName, state: AlarmState, changed_at: Timestamp) {
        self.alarms.lock().unwrap().insert(alarm.clone(), AlarmFact { state, changed_at });
    }

    async fn digest(&self, place: &Place, service: &ServiceName, colour: Colour) -> PortResult<Option<String>> {
        for name in [coloured(service, colour), service.to_string()] {
            if let Some(found) = self.client.get(&kinds::DEPLOYMENTS, &place.namespace, &name).await? {
                let image = &found["spec"]["template"]["spec"]["containers"][0]["image"];
                return Ok(image.as_str().and_then(digest_in).map(|digest| digest.to_string()));
            }
        }
        Ok(None)
    }

    /// Answers of a digest between two moments, and those that failed; none = nobody counted then.
    fn counted(&self, service: &ServiceName, digest: &str, from: Timestamp, to: Timestamp) -> Option<(u64, u64)> {
        let samples = self.loads.lock().unwrap().get(service)?.clone();
        let samples = samples.lock().unwrap();
        let at = |moment: Timestamp| samples.iter().rev().find(|sample| sample.at <= moment);
        let of = |counts: &BTreeMap<String, u64>| counts.get(digest).copied().unwrap_or(0);
        let (before, after) = (at(from), at(to)?);
        let since = |now: u64, then: Option<u64>| now - then.unwrap_or(0);
        Some((
            since(of(&after.answers), before.map(|sample| of(&sample.answers))),
            since(of(&after.failures), before.map(|sample| of(&sample.failures))),
        ))
    }
}

#[async_trait]
impl Metrics for Traffic {
    async fn measure(
        &self,
        _: &TargetId,
        place: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        let mut found = BTreeMap::new();
        let length = to.since(from).0.max(1);
        let number = |count: u64| {
            i64::try_from(count).map_err(|error| PortError::new("counting the answers of a window", error))
        };
        for (service, colour) in &ask.services {
            let Some(digest) = self.digest(place, service, *colour).await? else { continue };
            let Some((requests, failed)) = self.counted(service, &digest, from, to) else { continue };
            if requests == 0 {
                continue;
            }
            let values = BTreeMap::from([
                (Metric::Requests, number(requests * 1_000_000 / length)?),
                (Metric::ErrorRate, number(failed * 10_000 / requests)?),
            ]);
            found.insert(service.clone(), Window { values, requests, failed, ready: None });
        }
        Ok(found)
    }

    fn settle(&self) -> Millis {
        SETTLE
    }

    async fn alarms(&self, _: &Place, patterns: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        let alarms = self.alarms.lock().unwrap();
        let wanted = |alarm: &AlarmName| patterns.iter().any(|pattern| glob::matches(pattern, alarm.as_str()));
        Ok(alarms.iter().filter(|(alarm, _)| wanted(alarm)).map(|(alarm, fact)| (alarm.clone(), *fact)).collect())
    }
}
