//! The sweep: every minute it wakes what is overdue, now and then it compares the registry with the ledger, and once a day
//! it reads each target's newest backup.
//!
//! Messages are hints; this is what makes losing one cost a minute and nothing else.
//!
//! It asks neither for alarms nor for approvals that ran out, because a wake finds both: an approval, a gate, a question
//! that ran out is a moment of the state, so its target is overdue; and a release that waits, is watched, or is in its
//! rollback window has a look that stands ([`Action::Look`], [`Action::Measure`]), which reads every alarm that its
//! policy names as if each had told us. What stands is due from the moment it was intended, so its target is overdue for
//! as long as it stands, and a driver that is woken looks again at the pace of the policy. An alarm that rang and fell
//! silent again between two looks, of which no message came either, is not found.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_domain::action::Action;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{DeliveryId, ReleaseId, Seq, ServiceName, Tag, TargetId};
use portcullis_domain::policy::{SealedPolicy, Service};
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_domain::target::{Release, Target};
use portcullis_domain::time::{Millis, Timestamp};
use tokio::sync::watch;

use crate::codec;
use crate::perform;
use crate::perform::backup::{BackupIndex, verify};
use crate::ports::{Head, PortError, Ports, Wake};
use crate::recorder::{RecordError, Recorder};

/// The name of its cursor: the moment up to which a target's pushes were compared.
const READER: &str = "sweep-pushes";
/// The name of the cursor that keeps when a target was compared first.
const BEGAN: &str = "sweep-began";
/// Pushes this much older than the cursor are compared again: a registry may list one late.
const OVERLAP: Millis = Millis::minutes(15);
/// Pushes remembered as saying nothing to a target.
const MOST_SEEN: usize = 20_000;
/// The name of the cursor that keeps when a target's backup was read last.
const BACKUPS: &str = "sweep-backups";
/// A backup that is not whole is read, and told, again after so long.
const TELL_AGAIN: Millis = Millis::hours(1);
/// What a store deletes by its own rules it may delete so long before its time.
const EARLY: Millis = Millis::days(1);
/// A target of which nothing came for so long after it had to is stuck. It was woken about ten times meanwhile.
pub const STUCK: Millis = Millis::minutes(10);

/// Wakes what is overdue, and finds what was lost. Cheap to clone.
#[derive(Clone)]
pub struct Sweep {
    ports: Ports,
    recorder: Recorder,
    compare_every: Millis,
    verify: Option<(Millis, Arc<BrokenBackups>)>,
    /// Pushes that came to nothing: not asked about again by this process.
    seen: Arc<Mutex<HashSet<(TargetId, Digest, Tag)>>>,
}

/// The targets whose newest backup is not whole, as the sweep of this process last found it.
#[derive(Debug, Default)]
pub struct BrokenBackups(Mutex<BTreeMap<TargetId, String>>);

impl BrokenBackups {
    /// Each of them, and why.
    pub fn all(&self) -> BTreeMap<TargetId, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, target: &TargetId, broken: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match broken {
            Some(why) => all.insert(target.clone(), why),
            None => all.remove(target),
        };
    }
}

/// What one sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Targets that were overdue.
    pub woken: usize,
    /// Those of them whose ledger had to move [`STUCK`] ago and did not: nobody drives them, or what drives them fails.
    /// A release that waits for facts or for a person is none.
    pub stuck: usize,
    /// Pushes that no event had told.
    pub events_lost: usize,
    /// Stops that ran out.
    pub stops_lifted: usize,
    /// Targets of which something could not be compared; they are tried again by the next sweep.
    pub failed: usize,
    /// Backups that were read, and are whole.
    pub backups_whole: usize,
    /// Backups that were read, and are not.
    pub backups_broken: usize,
}

impl Sweep {
    /// A sweep on these ports. It compares the registry every time.
    pub fn new(ports: Ports, recorder: Recorder) -> Self {
        Self { ports, recorder, compare_every: Millis(0), verify: None, seen: Arc::default() }
    }

    /// Compares the registry with a target's ledger only when the last time was at least so long ago. That time is in
    /// the ledger, so a process that begins anew keeps the pace.
    #[must_use]
    pub fn comparing_every(mut self, every: Millis) -> Self {
        self.compare_every = every;
        self
    }

    /// Reads the newest backup of each target, at most once in so long, and tells the log of one that is not whole at the
    /// level of errors, again every hour until it is. One target in each sweep, so that wakes do not wait for the rest.
    /// When it was is in the ledger, so a process that begins anew keeps the pace.
    #[must_use]
    pub fn verifying_backups(mut self, every: Millis, broken: Arc<BrokenBackups>) -> Self {
        self.verify = Some((every, broken));
        self
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
            let head = self.ports.ledger.head(&target).await?;
            if head.as_ref().is_some_and(|head| self.is_stuck(&target, head, now)) {
                report.stuck += 1;
                tracing::warn!(%target, "its ledger had to move more than {STUCK} ago: it is stuck");
            }
            let version = head.map_or(Seq(0), |head| head.version);
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
        if let Some((every, broken)) = &self.verify {
            for policy in self.ports.policies.all() {
                match self.verify(&policy.target, now, *every, broken).await {
                    Ok(None) => {}
                    Ok(Some(whole)) => {
                        report.backups_whole += usize::from(whole);
                        report.backups_broken += usize::from(!whole);
                        break;
                    }
                    Err(error) => {
                        report.failed += 1;
                        tracing::warn!(target = %policy.target, %error, "which backup it has is not known");
                    }
                }
            }
        }
        Ok(report)
    }

    /// Reads a target's newest backup if it is time to: whether it is whole. The newest is the one that the newest release
    /// of the state has, so that one that was deleted is found as well.
    async fn verify(
        &self,
        target: &TargetId,
        now: Timestamp,
        every: Millis,
        broken: &BrokenBackups,
    ) -> Result<Option<bool>, RecordError> {
        let last = Timestamp(self.ports.ledger.cursor(BACKUPS, target).await?.0);
        if now.since(last) < every {
            return Ok(None);
        }
        let state = self.recorder.load(target).await?.state;
        let newest = state.releases.values().rev().find_map(|release| Some((release, release.backup.as_ref()?)));
        let soon = Seq((now - every).0.saturating_add(TELL_AGAIN.0.min(every.0)));
        let Some((release, key)) = newest else {
            self.ports.ledger.set_cursor(BACKUPS, target, soon).await?;
            return Ok(None);
        };
        let found = match self.read_backup(key).await {
            Ok(is_there) if is_there || is_past(release, now) => None,
            Ok(_) => Some("it is not there".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        let next = match &found {
            None => Seq(now.0),
            Some(why) => {
                tracing::error!(
                    %target, backup = %key, %why,
                    "THE NEWEST BACKUP IS NOT WHOLE: it cannot be brought back from; look with `portcullis backup verify`"
                );
                soon
            }
        };
        let whole = found.is_none();
        broken.set(target, found);
        self.ports.ledger.set_cursor(BACKUPS, target, next).await?;
        Ok(Some(whole))
    }

    /// Reads a backup's index and files; whether there is one. One that need not be kept any more is not looked at.
    async fn read_backup(&self, key: &str) -> Result<bool, PortError> {
        let Some(bytes) = self.ports.blobs.get(key).await? else { return Ok(false) };
        let index = BackupIndex::read(&bytes).map_err(|error| PortError::new(format!("reading {key}"), error))?;
        if self.ports.clock.now() + EARLY < index.keep_until {
            verify(&*self.ports.blobs, key, &bytes).await?;
        }
        Ok(true)
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

    /// Whether a target's ledger had to move [`STUCK`] ago. A head whose moment is later cannot be; of the others most
    /// only wait, so the state says. One that a newer engine wrote, or that left the policy, is nobody's to drive.
    fn is_stuck(&self, target: &TargetId, head: &Head, now: Timestamp) -> bool {
        let limit = now - STUCK;
        if head.wake_at.is_none_or(|at| at > limit) || head.min_reader > codec::READER {
            return false;
        }
        let Ok(state) = codec::decode_shared(&head.snapshot) else { return false };
        let mut begun = [state.in_flight, state.live_release].into_iter().flatten();
        let is_driven = self.ports.policies.get(target).is_some()
            || begun.any(|id| state.releases.get(&id).is_some_and(|release| release.policy.is_some()));
        is_driven && must_move_by(&self.ports, &state).is_some_and(|at| at <= limit)
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
        if now.since(Timestamp(cursor.0)) < self.compare_every {
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

/// The moment at which an event must follow, whatever the outside says: a deadline, an expiry, a reminder, the next
/// window of a watch. Not when something is merely due: a look that stands is due for as long as it stands, and comes to
/// nothing while nothing changes. Of a release about which a person is asked, only when they are asked again.
fn must_move_by(ports: &Ports, state: &Target) -> Option<Timestamp> {
    let is_asked = |release: &ReleaseId| state.releases.get(release).is_some_and(|release| release.asking.is_some());
    let actions = state.outstanding.iter().filter(|(_, outstanding)| !is_asked(&outstanding.release));
    let actions = actions.filter_map(|(seq, outstanding)| {
        let intention = &outstanding.intention;
        match &intention.action {
            Action::Measure(_) if perform::is_always_recorded(state, *seq, intention) => {
                Some(perform::due_at(ports, state, *seq, intention))
            }
            Action::Look(_) | Action::Measure(_) | Action::Observe => None,
            Action::BackUp { .. } | Action::Write(_) | Action::AwaitReady(_) | Action::RunTest { .. } => {
                Some(intention.deadline)
            }
        }
    });
    let moments = state
        .releases
        .values()
        .flat_map(|release| [release.until, release.remind_at, release.asking.as_ref().map(|asking| asking.until)]);
    state.hands_off.into_iter().chain(actions).chain(moments.flatten()).min()
}

/// Whether a release's backup need not be there any more, by what the state says: the index that would say it is gone.
fn is_past(release: &Release, now: Timestamp) -> bool {
    let taken = release.serving_since.unwrap_or(release.phase_since);
    release.policy.as_ref().is_some_and(|policy| now + EARLY >= taken + policy.backup_keep)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Op, World};
    use crate::ports::Blobs as _;

    #[tokio::test(start_paused = true)]
    async fn a_release_that_waits_for_a_person_is_overdue_all_the_time_and_never_stuck() {
        let mut world = World::new();
        world.push_all(1).await;
        world.run_until_phase("gated").await;
        world.run_for(Millis::hours(2)).await;
        let report = world.sweep_once().await;
        assert_eq!((report.woken, report.stuck), (1, 0), "{}", world.story().await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_drives_is_stuck_ten_minutes_after_its_moment() {
        let mut world = World::new();
        world.push_all(1).await;
        world.run_until_phase("gated").await;
        let at = must_move_by(&world.ports, &world.state().await).unwrap();
        world.clock.set(at + STUCK - Millis(1));
        assert_eq!(world.sweep_once().await.stuck, 0);
        world.clock.set(at + STUCK);
        assert_eq!(world.sweep_once().await.stuck, 1);
        world.settle().await;
        assert_eq!(world.sweep_once().await.stuck, 0, "driven again: {}", world.story().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_left_the_policy_is_left_alone_and_not_stuck() {
        let mut world = World::new();
        world.push_all(1).await;
        world.run_until_phase("gated").await;
        let at = must_move_by(&world.ports, &world.state().await).unwrap();
        let policies: Arc<dyn crate::ports::Policies> = crate::memory::MemoryPolicies::new();
        let ports = Ports { policies, ..world.ports.clone() };
        world.clock.set(at + STUCK);
        let report = Sweep::new(ports.clone(), Recorder::new(ports)).once().await.unwrap();
        assert_eq!((report.woken, report.stuck), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_registry_is_compared_at_its_own_pace_also_by_a_process_that_began_anew() {
        let world = World::new();
        let sweep = || Sweep::new(world.ports.clone(), world.recorder.clone()).comparing_every(Millis::minutes(15));
        let listed = || world.faults.calls(Op::List);
        sweep().once().await.unwrap();
        assert_eq!(listed(), 0, "what was there before is not our business");
        world.clock.advance(Millis(Millis::minutes(15).0 - 1));
        sweep().once().await.unwrap();
        assert_eq!(listed(), 0);
        world.clock.advance(Millis(1));
        sweep().once().await.unwrap();
        let services = u64::try_from(World::policy().services.len()).unwrap();
        assert_eq!(listed(), services);
        sweep().once().await.unwrap();
        assert_eq!(listed(), services);
    }

    /// A world with a release that is live, its backup's index, and a sweep that reads backups once a day.
    async fn backed_up() -> (World, String, Sweep, Arc<BrokenBackups>) {
        let mut world = World::new();
        world.push_all(1).await;
        world.run_until_phase("gated").await;
        world.approve("kofi").await;
        world.run_until_phase("live").await;
        let state = world.state().await;
        let key = state.releases.values().rev().find_map(|release| release.backup.clone()).unwrap();
        let broken = Arc::new(BrokenBackups::default());
        let sweep = Sweep::new(world.ports.clone(), world.recorder.clone());
        let sweep = sweep.verifying_backups(Millis::days(1), broken.clone());
        (world, key, sweep, broken)
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_backup_is_read_once_a_day_also_by_a_process_that_began_anew() {
        let (world, _, sweep, broken) = backed_up().await;
        let read = async || {
            let report = sweep.once().await.unwrap();
            (report.backups_whole, report.backups_broken)
        };
        assert_eq!(read().await, (1, 0));
        assert_eq!(read().await, (0, 0), "not again so soon");
        let anew = Sweep::new(world.ports.clone(), world.recorder.clone());
        let report = anew.verifying_backups(Millis::days(1), broken.clone()).once().await.unwrap();
        assert_eq!(report.backups_whole, 0);
        world.clock.advance(Millis::days(1));
        assert_eq!(read().await, (1, 0));
        assert_eq!(broken.all(), BTreeMap::new());
        assert_eq!(Sweep::new(world.ports.clone(), world.recorder.clone()).once().await.unwrap().backups_whole, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_that_is_damaged_is_told_every_hour_until_it_is_whole() {
        let (world, key, sweep, broken) = backed_up().await;
        let index = BackupIndex::read(&world.blobs.get(&key).await.unwrap().unwrap()).unwrap();
        let file = &index.files[0].key;
        let whole = world.blobs.get(file).await.unwrap().unwrap();
        world.blobs.put(file, b"not what it was", false).await.unwrap();
        assert_eq!(sweep.once().await.unwrap().backups_broken, 1);
        assert!(broken.all()[&world.target].contains(file.as_str()), "{:?}", broken.all());
        assert_eq!(sweep.once().await.unwrap().backups_broken, 0);
        world.clock.advance(Millis::hours(1));
        assert_eq!(sweep.once().await.unwrap().backups_broken, 1);
        world.blobs.put(file, &whole, false).await.unwrap();
        world.clock.advance(Millis::hours(1));
        assert_eq!(sweep.once().await.unwrap().backups_whole, 1);
        assert_eq!(broken.all(), BTreeMap::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_that_somebody_deleted_is_found_until_it_need_not_be_there() {
        let (world, _, _, broken) = backed_up().await;
        let blobs = crate::memory::MemoryBlobs::new(world.faults.clone());
        let ports = Ports { blobs, ..world.ports.clone() };
        let sweep = Sweep::new(ports.clone(), Recorder::new(ports)).verifying_backups(Millis::days(1), broken.clone());
        assert_eq!(sweep.once().await.unwrap().backups_broken, 1);
        assert_eq!(broken.all()[&world.target], "it is not there");
        world.clock.advance(World::policy().backup_keep);
        assert_eq!(sweep.once().await.unwrap().backups_whole, 1, "its time is over");
        assert_eq!(broken.all(), BTreeMap::new());
    }
}
