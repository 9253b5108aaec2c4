//! What the ledgers say, folded for reading: every environment, every release, also those that left the state long ago.

mod fleet;
mod fold;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use portcullis_domain::event::Event;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{ReleaseId, Seq, TargetId};
use portcullis_domain::policy::{Governor, Mode};
use portcullis_domain::scope::Scope;
use portcullis_domain::time::Timestamp;
use portcullis_engine::codec::Commit;
use portcullis_engine::ports::{Ledger, Policies};
use tokio::sync::Mutex;

use self::fold::serving_now;
pub(crate) use self::fold::{Fold, traffic_back};
use crate::api::{ReleaseDetail, ReleaseSummary, State, StopAt, TargetSummary};

/// Commits read at a time.
const PAGE: usize = 200;

/// The ledgers of one installation, read as far as they were, and what is in force beside them.
pub(crate) struct Library {
    ledger: Arc<dyn Ledger>,
    policies: Option<Arc<dyn Policies>>,
    folds: Mutex<BTreeMap<TargetId, Fold>>,
}

impl Library {
    /// Of this ledger; the policies say what could run where, where they are known.
    pub(crate) fn new(ledger: Arc<dyn Ledger>, policies: Option<Arc<dyn Policies>>) -> Self {
        Self { ledger, policies, folds: Mutex::default() }
    }

    /// Calls with every fold, each read to the ledger's end.
    pub(crate) async fn folds<T>(&self, read: impl FnOnce(&BTreeMap<TargetId, Fold>) -> T) -> anyhow::Result<T> {
        let mut folds = self.folds.lock().await;
        let mut targets: BTreeSet<TargetId> = self.ledger.targets().await?.into_iter().collect();
        for policy in self.policies.iter().flat_map(|policies| policies.all()) {
            targets.insert(policy.target.clone());
        }
        for target in targets {
            let fold = folds.entry(target.clone()).or_insert_with(|| Fold::new(target));
            self.read_on(fold).await?;
        }
        Ok(read(&folds))
    }

    async fn read_on(&self, fold: &mut Fold) -> anyhow::Result<()> {
        for event in self.events(fold.target(), fold.state().seq).await? {
            fold.absorb(&event);
        }
        Ok(())
    }

    /// A target's events after a position, in order.
    pub(crate) async fn events(&self, target: &TargetId, after: Seq) -> anyhow::Result<Vec<Event>> {
        let mut events: Vec<Event> = Vec::new();
        let mut from = after;
        loop {
            let commits = self.ledger.commits(target, from, PAGE).await?;
            let Some(last) = commits.last() else { return Ok(events) };
            from = last.last;
            for commit in &commits {
                let commit = Commit::decode(&commit.bytes)
                    .with_context(|| format!("{target}: its ledger after {after} can not be read"))?;
                events.extend(commit.events.into_iter().filter(|event| event.seq > after));
            }
        }
    }

    /// Every environment that a policy or a ledger names.
    pub(crate) async fn targets(&self, now: Timestamp) -> anyhow::Result<Vec<TargetSummary>> {
        let scopes = self.ledger.all_scopes().await?;
        let policies: BTreeMap<TargetId, (Mode, Governor)> = self
            .policies
            .iter()
            .flat_map(|policies| policies.all())
            .map(|policy| (policy.target.clone(), (policy.mode, policy.governor)))
            .collect();
        let all = scopes.iter().find(|(scope, _)| *scope == Scope::All);
        let rollbacks = all.map(|(_, state)| state.rollbacks.as_slice()).unwrap_or_default();
        let fleet = |target: &TargetId| {
            let governor = policies.get(target).map(|(_, governor)| *governor).unwrap_or_default();
            fleet::held(governor, rollbacks, now)
        };
        let stops = |target: &TargetId| {
            let own = scopes.iter().filter(|(scope, _)| scope.covers(target));
            own.filter_map(|(scope, state)| Some((scope, state.stopped(now)?)))
                .map(|(scope, stop)| StopAt { scope: scope.clone(), stop: stop.clone() })
                .collect()
        };
        self.folds(|folds| {
            folds
                .iter()
                .map(|(target, fold)| TargetSummary {
                    target: target.clone(),
                    mode: policies.get(target).map(|(mode, _)| *mode),
                    seq: fold.state().seq,
                    live: serving_now(fold.state()),
                    releases: fold
                        .summaries()
                        .filter(|release| !release.state.is_settled() || release.state == State::Live)
                        .take(10)
                        .collect(),
                    ringing: fold
                        .state()
                        .alarms
                        .iter()
                        .filter(|(_, fact)| fact.state == AlarmState::Alarm)
                        .map(|(name, _)| name.clone())
                        .collect(),
                    hands_off: fold.state().hands_off.filter(|until| *until > now),
                    quarantine: fold.state().quarantine.clone(),
                    line_stopped: fold.state().line_stopped.clone(),
                    vulnerable: fold.state().vulnerable.clone(),
                    stops: stops(target),
                    fleet: fleet(target),
                })
                .collect()
        })
        .await
    }

    /// The releases of one target or of all, newest first.
    pub(crate) async fn releases(
        &self,
        target: Option<&TargetId>,
        state: Option<State>,
    ) -> anyhow::Result<Vec<ReleaseSummary>> {
        let mut releases: Vec<ReleaseSummary> = self
            .folds(|folds| {
                let wanted = folds.iter().filter(|(name, _)| target.is_none_or(|target| target == *name));
                wanted.flat_map(|(_, fold)| fold.summaries()).collect()
            })
            .await?;
        releases.retain(|release| state.is_none_or(|state| state == release.state));
        releases.sort_by_key(|release| std::cmp::Reverse(release.id));
        Ok(releases)
    }

    /// Everything about one release; none = there is no such release.
    pub(crate) async fn release(&self, id: ReleaseId) -> anyhow::Result<Option<ReleaseDetail>> {
        let Some(target) = self.ledger.release(id).await? else { return Ok(None) };
        let mut fold = Fold::of_release(target, id);
        self.read_on(&mut fold).await?;
        Ok(fold.detail(self.policies.as_deref()))
    }

    /// The scopes with a stop that is still in force.
    pub(crate) async fn stops(&self, now: Timestamp) -> anyhow::Result<Vec<StopAt>> {
        let scopes: Vec<(Scope, _)> = self.ledger.all_scopes().await?;
        let stopped = scopes.into_iter().filter_map(|(scope, state)| {
            let stop = state.stopped(now)?.clone();
            Some(StopAt { scope, stop })
        });
        Ok(stopped.collect())
    }
}
