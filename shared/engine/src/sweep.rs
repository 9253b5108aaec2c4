//! The sweep: every minute it wakes what is overdue and compares the outside with the ledger.
//!
//! Messages are hints; this is what makes losing one cost a minute and nothing else.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{DeliveryId, Seq, ServiceName, Tag, TargetId};
use portcullis_domain::policy::{SealedPolicy, Service};
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_domain::target::Target;
use portcullis_domain::time::{Millis, Timestamp};
use tokio::sync::watch;

use crate::ports::{PortError, Ports, Wake};
use crate::recorder::{RecordError, Recorder};

/// The name of its cursor: the moment up to which a target's pushes were compared.
const READER: &str = "sweep-pushes";
/// The name of the cursor that keeps when a target was compared first.
const BEGAN: &str = "sweep-began";
/// Pushes this much older than the cursor are compared again: a registry may list one late.
const OVERLAP: Millis = Millis::minutes(15);
/// Pushes remembered as saying nothing to a target.
const MOST_SEEN: usize = 20_000;

/// Wakes what is overdue, and finds what was lost. Cheap to clone.
#[derive(Clone)]
pub struct Sweep {
    ports: Ports,
    recorder: Recorder,
    /// Pushes that came to nothing: not asked about again by this process.
    seen: Arc<Mutex<HashSet<(TargetId, Digest, Tag)>>>,
}

/// What one sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Targets that were overdue.
    pub woken: usize,
    /// Pushes that no event had told.
    pub events_lost: usize,
    /// Stops that ran out.
    pub stops_lifted: usize,
    /// Targets of which something could not be compared; they are tried again by the next sweep.
    pub failed: usize,
}

impl Sweep {
    /// A sweep on these ports.
    pub fn new(ports: Ports, recorder: Recorder) -> Self {
        Self { ports, recorder, seen: Arc::default() }
    }

    /// Sweeps once. What fails for one target holds no other up; only a failing ledger is an error.
    pub async fn once(&self) -> Result<SweepReport, PortError> {
        let now = self.ports.clock.now();
        let mut report = SweepReport::default();
        for (scope, state) in self.ports.ledger.all_scopes().await? {
            if state.stop.is_some() && state.stopped(now).is_none() {
                match self.recorder.lift_expired(&scope, &state).await {
                    Ok(lifted) => report.stops_lifted += usize::from(lifted),
                    Err(error) => tracing::warn!(%scope, %error, "a stop that ran out could not be lifted"),
                }
            }
        }
        for target in self.ports.ledger.overdue(now).await? {
            let version = self.ports.ledger.head(&target).await?.map_or(Seq(0), |head| head.version);
            self.recorder.wake(Wake { target, version, at: now }).await;
            report.woken += 1;
        }
        for policy in self.ports.policies.all() {
            match self.compare(&policy, now).await {
                Ok(lost) => report.events_lost += lost,
                Err(error) => {
                    report.failed += 1;
                    tracing::warn!(target = %policy.target, %error, "the registry could not be compared with the ledger");
                }
            }
        }
        Ok(report)
    }

    /// Sweeps every minute until `stop` is true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>, every: Millis) {
        while !*stop.borrow_and_update() {
            if let Err(error) = self.once().await {
                tracing::warn!(%error, "the sweep failed");
            }
            let next = self.ports.clock.now() + every;
            tokio::select! {
                biased;
                () = self.ports.clock.sleep_until(next) => {}
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Records pushes that the registry has and the ledger never heard of. The first time a target is compared
    /// nothing is recorded: what was pushed before Portcullis came is not its business.
    async fn compare(&self, policy: &SealedPolicy, now: Timestamp) -> Result<usize, RecordError> {
        let target = &policy.target;
        let cursor = self.ports.ledger.cursor(READER, target).await?;
        if cursor == Seq(0) {
            self.ports.ledger.set_cursor(BEGAN, target, Seq(now.0)).await?;
            self.ports.ledger.set_cursor(READER, target, Seq(now.0)).await?;
            return Ok(0);
        }
        let began = Timestamp(self.ports.ledger.cursor(BEGAN, target).await?.0);
        let since = (Timestamp(cursor.0) - OVERLAP).max(began);
        let mut lost = 0;
        for service in &policy.services {
            let listed = self.ports.registry.list(&policy.place, &service.repository).await?;
            let mut fresh: Vec<_> = listed.into_iter().filter(|(_, _, pushed)| *pushed >= since).collect();
            fresh.sort_by_key(|(_, _, pushed)| *pushed);
            for (tag, digest, pushed_at) in fresh {
                lost += usize::from(self.tell(policy, service, tag, digest, pushed_at).await?);
            }
        }
        self.ports.ledger.set_cursor(READER, target, Seq(now.0)).await?;
        Ok(lost)
    }

    /// Records one push unless the ledger or this process knows it. True if it was news.
    async fn tell(
        &self,
        policy: &SealedPolicy,
        service: &Service,
        tag: Tag,
        digest: Digest,
        pushed_at: Timestamp,
    ) -> Result<bool, RecordError> {
        let target = &policy.target;
        let key = (target.clone(), digest, tag.clone());
        if self.seen().contains(&key) {
            return Ok(false);
        }
        let state = self.recorder.load(target).await?.state;
        let mut news = false;
        if !knows(&state, policy, &service.name, &tag, &digest) {
            let fact = Fact {
                delivery: delivery(&service.name, &tag, &digest)?,
                at: pushed_at,
                account: policy.place.account.clone(),
                region: policy.place.region.clone(),
                kind: FactKind::ImagePushed { repository: service.repository.clone(), digest, tag: Some(tag) },
            };
            news = self.recorder.ingest_for(policy, &fact).await?.is_some_and(|(events, _)| events > 0);
            if news {
                tracing::info!(%target, service = %service.name, digest = %digest.short(), "a push that no event told");
            }
        }
        let mut seen = self.seen();
        if seen.len() >= MOST_SEEN {
            seen.clear();
        }
        seen.insert(key);
        Ok(news)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashSet<(TargetId, Digest, Tag)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sweep's own delivery id of a push: the same however often it is found.
fn delivery(service: &ServiceName, tag: &Tag, digest: &Digest) -> Result<DeliveryId, PortError> {
    let name = Digest::of(format!("{service} {tag} {digest}").as_bytes());
    DeliveryId::new(&format!("sweep-{}", name.hex()))
        .map_err(|error| PortError::new("naming a push that was found", error))
}

/// Whether the state of a target has this image already, or has judged its commit.
fn knows(state: &Target, policy: &SealedPolicy, service: &ServiceName, tag: &Tag, digest: &Digest) -> bool {
    let of_release = || state.releases.values().filter_map(|release| release.artifacts.get(service));
    let commit = policy.commit_of(tag);
    let open = |named| state.releases.values().any(|release| release.commit.matches(named));
    of_release().any(|artifact| artifact.digest == *digest)
        || state.live.get(service).is_some_and(|serving| serving.digest == *digest)
        || commit.as_ref().is_some_and(|named| {
            let tried = state.commits.iter().any(|tried| tried.commit.matches(named));
            let old = state.outdated.iter().any(|outdated| outdated.matches(named));
            (tried || old) && !open(named)
        })
}
