//! What the ledgers say, folded for reading: every environment, every release, also those that left the state long ago.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use portcullis_domain::action::{Action, Outcome, Purpose, Value};
use portcullis_domain::apply;
use portcullis_domain::event::{End, Event, What};
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{ReleaseId, Seq, ServiceName, TargetId};
use portcullis_domain::scope::Scope;
use portcullis_domain::target::{Release, Target};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::Verdict;
use portcullis_engine::codec::Commit;
use portcullis_engine::ports::{Ledger, Policies};
use tokio::sync::Mutex;

use crate::api::{ReleaseDetail, ReleaseSummary, Rules, State, StopAt, TargetSummary};

/// Commits read at a time.
const PAGE: usize = 200;

/// One target's ledger, folded as far as it was read.
pub(crate) struct Fold {
    target: TargetId,
    state: Target,
    releases: BTreeMap<ReleaseId, ReleaseSummary>,
    wanted: Option<Wanted>,
    rollbacks: Rollbacks,
}

/// How long rollbacks took, from their decision to traffic being back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rollbacks {
    /// How many.
    pub(crate) count: u64,
    /// All together.
    pub(crate) time: Millis,
}

/// The release of which everything is kept.
struct Wanted {
    id: ReleaseId,
    release: Option<Release>,
    events: Vec<Event>,
    ended: bool,
}

impl Fold {
    /// Nothing read yet.
    pub(crate) fn new(target: TargetId) -> Self {
        Self {
            target,
            state: Target::default(),
            releases: BTreeMap::new(),
            wanted: None,
            rollbacks: Rollbacks::default(),
        }
    }

    /// Nothing read yet; everything of this release will be kept.
    pub(crate) fn of_release(target: TargetId, id: ReleaseId) -> Self {
        let wanted = Wanted { id, release: None, events: Vec::new(), ended: false };
        Self { wanted: Some(wanted), ..Self::new(target) }
    }

    /// Whose ledger it is.
    pub(crate) fn target(&self) -> &TargetId {
        &self.target
    }

    /// The state after the events read so far.
    pub(crate) fn state(&self) -> &Target {
        &self.state
    }

    /// How long rollbacks took.
    pub(crate) fn rollbacks(&self) -> Rollbacks {
        self.rollbacks
    }

    /// Reads the next event.
    pub(crate) fn absorb(&mut self, event: &Event) {
        let id = event.what.release();
        let end = ending(&event.what);
        if end.is_some() {
            // The release is in the state for the last time.
            self.keep_snapshot();
        }
        if let What::RolledBack { release, restored_at } = &event.what
            && let Some(rollback) = self.state.releases.get(release).and_then(|release| release.rollback.as_ref())
        {
            self.rollbacks.count += 1;
            self.rollbacks.time.0 += restored_at.since(rollback.since).0;
        }
        apply(&mut self.state, event);
        if let Some(release) = id.and_then(|id| self.state.releases.get(&id)) {
            let summary = summary(&self.target, release, event.at, self.releases.get(&release.id));
            self.releases.insert(release.id, summary);
        }
        if let Some((state, why)) = end
            && let Some(known) = id.and_then(|id| self.releases.get_mut(&id))
        {
            known.state = state;
            known.changed_at = event.at;
            known.why = why.or_else(|| known.why.take());
            known.asks = false;
            known.paused = false;
        }
        self.keep_event(event, id);
        self.keep_snapshot();
    }

    fn keep_snapshot(&mut self) {
        if let Some(wanted) = &mut self.wanted
            && let Some(release) = self.state.releases.get(&wanted.id)
        {
            wanted.release = Some(release.clone());
        }
    }

    /// Events of the wanted release, and those of its environment that came while it was there.
    fn keep_event(&mut self, event: &Event, id: Option<ReleaseId>) {
        let Some(wanted) = &mut self.wanted else { return };
        let own = id == Some(wanted.id);
        let open = !wanted.events.is_empty() && !wanted.ended;
        let around = matches!(
            event.what,
            What::AlarmSeen { .. } | What::HandsOff { .. } | What::Refused { .. } | What::LiveChangedOutside { .. }
        );
        if own || (open && around) {
            wanted.events.push(event.clone());
        }
        wanted.ended |= !wanted.events.is_empty() && !self.state.releases.contains_key(&wanted.id);
    }

    /// All releases, newest first.
    pub(crate) fn summaries(&self) -> impl Iterator<Item = ReleaseSummary> {
        self.releases.values().rev().map(|summary| self.as_now(summary.clone()))
    }

    /// A release that was live is so only as long as something of it serves.
    fn as_now(&self, mut summary: ReleaseSummary) -> ReleaseSummary {
        let id = Some(summary.id);
        let serves = self.state.live_release == id || self.state.live.values().any(|serving| serving.release == id);
        // While a later one is in flight nothing is decided: what served before may come back.
        let before = self.state.in_flight.and_then(|id| self.state.releases.get(&id));
        let returns = before.is_some_and(|later| later.before.values().any(|serving| serving.release == id));
        if summary.state == State::Live && !serves && !returns {
            summary.state = State::Replaced;
        }
        summary
    }

    /// Everything about the wanted release, if the ledger has it.
    pub(crate) fn detail(mut self, policies: Option<&dyn Policies>) -> Option<ReleaseDetail> {
        let Wanted { id, release, events, .. } = self.wanted.take()?;
        let release = release?;
        let summary = self.as_now(self.releases.get(&id)?.clone());
        let rules = match (&release.policy, policies.and_then(|policies| policies.get(&self.target))) {
            (Some(frozen), _) => Some(Rules::from(&**frozen)),
            (None, Some(policy)) => Some(Rules::from(&*policy)),
            (None, None) => None,
        };
        Some(ReleaseDetail {
            summary,
            gates: release.judgement.clone(),
            live: self.state.live,
            alarms: self.state.alarms,
            hands_off: self.state.hands_off,
            rules,
            release,
            ledger: events,
        })
    }
}

/// How a release ends by this event, and why, if it does.
fn ending(what: &What) -> Option<(State, Option<String>)> {
    match what {
        What::RolledBack { .. } => Some((State::RolledBack, None)),
        What::WindowClosed { .. } => Some((State::Live, None)),
        What::Resolved { reason, .. } => Some((State::Resolved, Some(reason.clone()))),
        What::Settled { end, why, .. } => {
            let state = match end {
                End::Rejected => State::Rejected,
                End::Expired => State::Expired,
                End::Superseded => State::Superseded,
                End::Cancelled => State::Cancelled,
                End::Observed => State::Observed,
                End::Failed => State::Failed,
            };
            Some((state, Some(why.clone())))
        }
        _ => None,
    }
}

fn summary(target: &TargetId, release: &Release, at: Timestamp, before: Option<&ReleaseSummary>) -> ReleaseSummary {
    let state = State::from(release.phase);
    let facts = release.facts.as_ref().and_then(|facts| facts.commit.as_ref()).or(release.commit_facts.as_ref());
    let changed_at = before.filter(|before| before.state == state).map_or(at, |before| before.changed_at);
    ReleaseSummary {
        id: release.id,
        target: target.clone(),
        state,
        commit: release.commit.clone(),
        title: facts.map(|facts| facts.title.clone()).filter(|title| !title.is_empty()),
        requested_by: release.requested_by.clone(),
        opened_at: release.opened_at,
        changed_at,
        paused: release.paused,
        why: why(release),
        plan: release.plan.as_ref().map(|plan| plan.id),
        asks: release.asking.is_some(),
    }
}

/// What it waits for, in one line.
fn why(release: &Release) -> Option<String> {
    if let Some(asking) = &release.asking {
        return Some(asking.why.clone());
    }
    if let Some(rollback) = &release.rollback {
        return Some(rollback.why.to_string());
    }
    if let Some(doubt) = &release.doubt {
        return Some(doubt.clone());
    }
    if State::from(release.phase) != State::Gated {
        return None;
    }
    let judgement = release.judgement.as_ref()?;
    let worst = judgement.verdict();
    let gate = judgement.gates.iter().find(|gate| gate.verdict == worst && worst != Verdict::Pass)?;
    Some(format!("{}: {}", gate.gate, gate.why))
}

/// When every service that a release had taken traffic of was back at its old one, as read back; none = not yet, or it
/// had taken none.
pub(crate) fn traffic_back<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Timestamp> {
    let mut intended: BTreeMap<Seq, (ServiceName, Purpose)> = BTreeMap::new();
    let mut away: BTreeSet<ServiceName> = BTreeSet::new();
    let mut back = None;
    for event in events {
        match &event.what {
            What::Intended { intention, .. } => {
                let Action::Write(write) = &intention.action else { continue };
                let Value::Traffic { .. } = write.to else { continue };
                if write.purpose == Purpose::Switch {
                    away.insert(write.object.service.clone());
                    back = None;
                }
                intended.insert(event.seq, (write.object.service.clone(), write.purpose));
            }
            What::Done { intention, outcome, .. } if matches!(**outcome, Outcome::Written) => {
                if let Some((service, Purpose::Restore)) = intended.get(intention)
                    && away.remove(service)
                    && away.is_empty()
                {
                    back = Some(event.at);
                }
            }
            _ => {}
        }
    }
    back
}

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
        for event in self.events(&fold.target, fold.state.seq).await? {
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
        let modes: BTreeMap<TargetId, _> = self
            .policies
            .iter()
            .flat_map(|policies| policies.all())
            .map(|policy| (policy.target.clone(), policy.mode))
            .collect();
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
                    mode: modes.get(target).copied(),
                    seq: fold.state.seq,
                    live: fold.state.live.clone(),
                    releases: fold
                        .summaries()
                        .filter(|release| !release.state.is_settled() || release.state == State::Live)
                        .take(10)
                        .collect(),
                    ringing: fold
                        .state
                        .alarms
                        .iter()
                        .filter(|(_, fact)| fact.state == AlarmState::Alarm)
                        .map(|(name, _)| name.clone())
                        .collect(),
                    hands_off: fold.state.hands_off.filter(|until| *until > now),
                    quarantine: fold.state.quarantine.clone(),
                    stops: stops(target),
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
        releases.sort_by(|a, b| b.id.cmp(&a.id));
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
