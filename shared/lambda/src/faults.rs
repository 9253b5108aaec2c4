//! Death at an effect, for tests (feature `faults`): the process kills itself, as `kill -9` does, before or after one of
//! its effects. Without the variables below nothing is changed.
//!
//! | variable | what it does |
//! | --- | --- |
//! | `DIE_AT_FILE` | a journal: one line for each boundary of an effect, over all processes that write to it |
//! | `DIE_AT` | the number of the boundary to die at, from 1, and after a space whose boundaries are counted, such as `shop/production`; without it the same from the file `DIE_AT_FILE` with `.at` behind, if it is there |
//! | `SETTLE_MILLIS` | how long data of metrics need to be there, in milliseconds: an emulator has them at once |
//!
//! Boundaries lie before and after every append, lease, send, put, write and test. They are counted over the journal, so a
//! process that was started again dies no second time; without a journal they are counted in the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, Measure, ObjectKey, Window, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::{AlarmName, DeliveryId, LedgerId, ReleaseId, Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place, Test};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{
    Append, AppendError, Blobs, Bundled, Cluster, Exported, Head, Ledger, Metrics, PortResult, Ports, Queue, Reading,
    Received, StoredCommit, TestResult, Wake, Written,
};

/// The same ports, with a boundary on each side of every effect if the environment asks for it.
pub(crate) fn between(mut ports: Ports) -> Ports {
    let settle = std::env::var("SETTLE_MILLIS").ok().and_then(|text| text.parse().ok());
    if let Some(settle) = settle {
        ports.metrics = Arc::new(Settled { metrics: ports.metrics, settle: Millis(settle) });
    }
    let Some(death) = Death::of_process() else { return ports };
    let death = Arc::new(death);
    Ports {
        ledger: Arc::new(Mortal { port: ports.ledger, death: death.clone() }),
        queue: Arc::new(Mortal { port: ports.queue, death: death.clone() }),
        blobs: Arc::new(Mortal { port: ports.blobs, death: death.clone() }),
        cluster: Arc::new(Mortal { port: ports.cluster, death }),
        ..ports
    }
}

/// Which boundary is the last one.
#[derive(Clone, PartialEq, Eq)]
struct Last {
    /// Its number, from 1.
    number: u64,
    /// Only boundaries of what begins like this are counted.
    of: String,
}

impl Last {
    fn read(text: &str) -> Option<Self> {
        let (number, of) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        Some(Self { number: number.parse().ok()?, of: of.to_owned() })
    }

    fn counts(&self, line: &str) -> bool {
        line.splitn(3, ' ').nth(2).is_some_and(|of| of.starts_with(&self.of))
    }
}

/// When this process dies.
struct Death {
    journal: Option<PathBuf>,
    last: Option<Last>,
    /// Held over a boundary, so that two are never one.
    passed: Mutex<u64>,
}

impl Death {
    fn of_process() -> Option<Self> {
        let journal = std::env::var_os("DIE_AT_FILE").map(PathBuf::from);
        let last = std::env::var("DIE_AT").ok().and_then(|text| Last::read(&text));
        (journal.is_some() || last.is_some()).then(|| Self { journal, last, passed: Mutex::new(0) })
    }

    /// One boundary: noted, and passed or not.
    fn boundary(&self, when: &str, effect: &str, of: &str) {
        let line = format!("{when} {effect} {of}");
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        match self.note(&line, &mut passed) {
            Ok(false) => {}
            Ok(true) => die(),
            // A journal that lacks a line would let a test believe in a death that never was.
            Err(error) => {
                tracing::error!(%error, "a boundary could not be noted in the journal");
                die();
            }
        }
    }

    /// Whether this is the last one.
    fn note(&self, line: &str, passed: &mut u64) -> io::Result<bool> {
        let Some(journal) = &self.journal else {
            let Some(last) = self.last.as_ref().filter(|last| last.counts(line)) else { return Ok(false) };
            *passed += 1;
            return Ok(*passed == last.number);
        };
        let mut file = OpenOptions::new().create(true).append(true).open(journal)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        let last = match &self.last {
            Some(last) => Some(last.clone()),
            None => match fs::read_to_string(format!("{}.at", journal.display())) {
                Ok(text) => Last::read(&text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        let Some(last) = last.filter(|last| last.counts(line)) else { return Ok(false) };
        let noted = fs::read_to_string(journal)?;
        let count = noted.lines().filter(|line| last.counts(line)).count();
        Ok(u64::try_from(count).is_ok_and(|count| count == last.number))
    }

    async fn around<T>(&self, effect: &str, of: &str, work: impl Future<Output = T>) -> T {
        self.boundary("before", effect, of);
        let done = work.await;
        self.boundary("after", effect, of);
        done
    }
}

/// Ends this process by SIGKILL: no destructor runs, nothing is written, nobody is answered.
fn die() -> ! {
    let _ = Command::new("/bin/sh").args(["-c", "kill -9 $PPID"]).status();
    // The signal is on its way.
    loop {
        std::thread::park();
    }
}

/// A port with a boundary on each side of its effects.
struct Mortal<P: ?Sized> {
    port: Arc<P>,
    death: Arc<Death>,
}

#[async_trait]
impl Ledger for Mortal<dyn Ledger> {
    fn id(&self) -> LedgerId {
        self.port.id()
    }
    async fn head(&self, target: &TargetId) -> PortResult<Option<Head>> {
        self.port.head(target).await
    }
    async fn reading(&self, target: &TargetId, scopes: &[Scope], delivery: Option<&DeliveryId>) -> PortResult<Reading> {
        self.port.reading(target, scopes, delivery).await
    }
    async fn append(&self, append: Append) -> Result<(), AppendError> {
        let of = format!("{} at {}", append.target, append.head.version);
        self.death.around("append", &of, self.port.append(append)).await
    }
    async fn commits(&self, target: &TargetId, after: Seq, most: usize) -> PortResult<Vec<StoredCommit>> {
        self.port.commits(target, after, most).await
    }
    async fn targets(&self) -> PortResult<Vec<TargetId>> {
        self.port.targets().await
    }
    async fn overdue(&self, at: Timestamp) -> PortResult<Vec<TargetId>> {
        self.port.overdue(at).await
    }
    async fn delivered(&self, target: &TargetId, delivery: &DeliveryId) -> PortResult<bool> {
        self.port.delivered(target, delivery).await
    }
    async fn release(&self, release: ReleaseId) -> PortResult<Option<TargetId>> {
        self.port.release(release).await
    }
    async fn next_release(&self) -> PortResult<ReleaseId> {
        self.port.next_release().await
    }
    async fn scopes(&self, scopes: &[Scope]) -> PortResult<Vec<ScopeState>> {
        self.port.scopes(scopes).await
    }
    async fn all_scopes(&self) -> PortResult<Vec<(Scope, ScopeState)>> {
        self.port.all_scopes().await
    }
    async fn set_scope(&self, scope: &Scope, state: &ScopeState) -> PortResult<bool> {
        self.port.set_scope(scope, state).await
    }
    async fn lease(&self, target: &TargetId, intention: Seq, now: Timestamp, until: Timestamp) -> PortResult<bool> {
        let of = format!("{target} on {intention}");
        self.death.around("lease", &of, self.port.lease(target, intention, now, until)).await
    }
    async fn end_lease(&self, target: &TargetId, intention: Seq) -> PortResult<()> {
        self.port.end_lease(target, intention).await
    }
    async fn cursor(&self, reader: &str, target: &TargetId) -> PortResult<Seq> {
        self.port.cursor(reader, target).await
    }
    async fn set_cursor(&self, reader: &str, target: &TargetId, at: Seq) -> PortResult<()> {
        self.port.set_cursor(reader, target, at).await
    }
}

#[async_trait]
impl Queue for Mortal<dyn Queue> {
    async fn send(&self, wake: Wake) -> PortResult<()> {
        let of = format!("{} at {}", wake.target, wake.version);
        self.death.around("send", &of, self.port.send(wake)).await
    }
    async fn receive(&self, most: usize, wait: Millis) -> PortResult<Vec<Received>> {
        self.port.receive(most, wait).await
    }
    async fn done(&self, receipt: &str) -> PortResult<()> {
        self.port.done(receipt).await
    }
}

#[async_trait]
impl Blobs for Mortal<dyn Blobs> {
    async fn put(&self, key: &str, bytes: &[u8], only_new: bool) -> PortResult<bool> {
        self.death.around("put", key, self.port.put(key, bytes, only_new)).await
    }
    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>> {
        self.port.get(key).await
    }
    async fn list(&self, prefix: &str) -> PortResult<Vec<String>> {
        self.port.list(prefix).await
    }
}

#[async_trait]
impl Cluster for Mortal<dyn Cluster> {
    async fn observe(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        self.port.observe(target, place, services).await
    }
    async fn manifests(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>> {
        self.port.manifests(target, place, services).await
    }
    async fn bundles(
        &self,
        target: &TargetId,
        place: &Place,
        texts: &BTreeMap<ServiceName, String>,
        objects: &mut BTreeMap<ObjectKey, Found>,
    ) -> PortResult<BTreeMap<ServiceName, Bundled>> {
        self.port.bundles(target, place, texts, objects).await
    }
    async fn write_from(
        &self,
        target: &TargetId,
        place: &Place,
        write: &Write,
        fence: &Fence,
        text: &str,
    ) -> PortResult<Written> {
        let of = format!("{target} {} {:?} by {fence}", write.object, write.purpose);
        self.death.around("write", &of, self.port.write_from(target, place, write, fence, text)).await
    }
    async fn write(&self, target: &TargetId, place: &Place, write: &Write, fence: &Fence) -> PortResult<Written> {
        let of = format!("{target} {} {:?} by {fence}", write.object, write.purpose);
        self.death.around("write", &of, self.port.write(target, place, write, fence)).await
    }
    async fn room(&self, target: &TargetId, place: &Place) -> PortResult<Option<u32>> {
        self.port.room(target, place).await
    }
    async fn look(&self, target: &TargetId, place: &Place, ask: &AwaitReady) -> PortResult<Found> {
        self.port.look(target, place, ask).await
    }
    async fn export(&self, target: &TargetId, place: &Place, secrets: Option<&str>) -> PortResult<Exported> {
        self.port.export(target, place, secrets).await
    }
    async fn test(
        &self,
        target: &TargetId,
        place: &Place,
        intention: Seq,
        test: &Test,
        against: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult> {
        let of = format!("{target} {}", test.name);
        self.death.around("test", &of, self.port.test(target, place, intention, test, against)).await
    }
}

/// Metrics whose data are there after another time.
struct Settled {
    metrics: Arc<dyn Metrics>,
    settle: Millis,
}

#[async_trait]
impl Metrics for Settled {
    async fn measure(
        &self,
        target: &TargetId,
        place: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        self.metrics.measure(target, place, ask, from, to).await
    }
    fn settle(&self) -> Millis {
        self.settle
    }
    async fn alarms(&self, place: &Place, patterns: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        self.metrics.alarms(place, patterns).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_boundaries_that_are_asked_for_are_counted() {
        let journal = std::env::temp_dir().join(format!("portcullis-boundaries-{}", std::process::id()));
        let last = Last::read("2 shop/production\n");
        let death = Death { journal: Some(journal.clone()), last, passed: Mutex::new(0) };
        let mut ends = Vec::new();
        for line in [
            "before append shop/production at 1",
            "after append other/production at 1",
            "after append shop/production at 1",
            "before put shop/production/releases/1/index.json",
        ] {
            ends.push(death.note(line, &mut 0).unwrap());
        }
        let noted = fs::read_to_string(&journal).unwrap();
        fs::remove_file(&journal).unwrap();
        assert_eq!(ends, [false, false, true, false]);
        assert_eq!(noted.lines().count(), 4);
    }

    #[test]
    fn without_a_journal_they_are_counted_in_the_process() {
        let death = Death { journal: None, last: Last::read("2"), passed: Mutex::new(0) };
        let mut passed = 0;
        let ends =
            ["before send a", "after send a", "before send b"].map(|line| death.note(line, &mut passed).unwrap());
        assert_eq!(ends, [false, true, false]);
    }
}
