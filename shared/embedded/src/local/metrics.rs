//! The engine's `Metrics` on a local cluster: what its proxies counted, and alarms from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use async_trait::async_trait;
use portcullis_domain::action::{Measure, ObjectKey, Window};
use portcullis_domain::facts::{AlarmFact, AlarmState};
use portcullis_domain::glob;
use portcullis_domain::names::{AlarmName, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Metrics, PortResult};

use super::files::failed;
use super::{LocalCluster, blocking, held, index_of, now, ready_of};

type Alarms = BTreeMap<AlarmName, AlarmFact>;

#[async_trait]
impl Metrics for LocalCluster {
    /// A response time ends with the head of the answer (as CloudWatch's `TargetResponseTime` does), and an answer
    /// belongs to the window in which its head came, in steps of 100 ms. What the proxy answers itself because the
    /// chosen colour had no pod counts as that colour's failure. A service without traffic has no values, and still
    /// its ready pods (of any digest); one without a workload of that colour is absent. Ten minutes are kept.
    async fn measure(
        &self,
        target: &TargetId,
        _place: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        self.0.check_running()?;
        let mut windows = BTreeMap::new();
        for (service, colour) in &ask.services {
            if let Some(window) = self.window(target, service, *colour, ask, from, to) {
                windows.insert(service.clone(), window);
            }
        }
        Ok(windows)
    }

    fn settle(&self) -> Millis {
        Millis(200)
    }

    async fn alarms(&self, _place: &Place, patterns: &BTreeSet<String>) -> PortResult<Alarms> {
        self.0.check_running()?;
        let path = self.alarms_file();
        let mut alarms = blocking(move || read(&path)).await?;
        alarms.retain(|name, _| patterns.iter().any(|pattern| glob::matches(pattern, name.as_str())));
        Ok(alarms)
    }
}

impl LocalCluster {
    /// Sets an alarm, as its own service would: its state, and when it changed to it.
    ///
    /// # Errors
    /// The file of alarms cannot be read or written.
    pub async fn set_alarm(&self, name: &AlarmName, state: AlarmState, changed_at: Timestamp) -> PortResult<()> {
        let (inner, path, name) = (self.0.clone(), self.alarms_file(), name.clone());
        blocking(move || {
            let _changing = held(&inner.alarms);
            let mut alarms = read(&path)?;
            alarms.insert(name, AlarmFact { state, changed_at });
            let bytes = serde_json::to_vec_pretty(&alarms).map_err(|error| failed("encoding", &path, error))?;
            inner.files.write(&path, &bytes)
        })
        .await
    }

    fn alarms_file(&self) -> PathBuf {
        self.0.options.state_dir.join("alarms.json")
    }

    fn window(
        &self,
        target: &TargetId,
        service: &ServiceName,
        colour: Colour,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<Window> {
        let running = self.0.running(target, service)?;
        let mut window = running.front.measured[index_of(colour)].window(from, to, now(), &ask.metrics);
        let workload = ObjectKey::workload(service, colour);
        let has_workload = self.0.store.get(target, &workload).is_some();
        window.ready = has_workload.then(|| ready_of(&self.0.status(target, &workload), |_| true));
        (has_workload || window.requests > 0).then_some(window)
    }
}

fn read(path: &Path) -> PortResult<Alarms> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed("reading", path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Alarms::new()),
        Err(error) => Err(failed("reading", path, error)),
    }
}
