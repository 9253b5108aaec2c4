//! Hears everything in order: each event of the ledger and each write on the cluster, against the invariants.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{Action, ObjectKey, Outcome, Part, Purpose, Value, Write};
use portcullis_domain::apply;
use portcullis_domain::digest::Digest;
use portcullis_domain::event::{Actor, End, Event, What};
use portcullis_domain::facts::ScanStatus;
use portcullis_domain::names::{ReleaseId, Seq, ServiceName, Subject};
use portcullis_domain::plan::PlanId;
use portcullis_domain::policy::{Colour, Policy, ServiceKind, Severity, Strategy};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::target::{Phase, Release, Target};
use portcullis_domain::verdict::Verdict;
use portcullis_engine::codec::{self, Commit, ENGINE};
use portcullis_engine::memory::cluster::Effect;
use portcullis_engine::ports::StoredCommit;

use super::Ending;
use crate::line::{Moment, Outside};
use crate::{run, scene};

/// What is known of one release.
#[derive(Default)]
pub(super) struct Docket {
    approvals: BTreeSet<(PlanId, Subject)>,
    glass: BTreeSet<(PlanId, Subject)>,
    backup: Option<(String, Digest)>,
    back: Option<Seq>,
    rolled_back: bool,
    was_live: bool,
    pub(super) ending: Option<Ending>,
}

/// Everything heard so far.
pub(super) struct Court<'a> {
    pub(super) outside: &'a Outside,
    pub(super) policy: &'a Policy,
    policy_hash: Digest,
    pub(super) state: Target,
    pub(super) chain: Digest,
    pub(super) events: Vec<Event>,
    pub(super) dockets: BTreeMap<ReleaseId, Docket>,
    in_flight: BTreeSet<ReleaseId>,
    intended: BTreeMap<Seq, (ReleaseId, Write)>,
    /// What the cluster holds, by our writes.
    pub(super) objects: BTreeMap<ObjectKey, (Option<Seq>, Value)>,
    /// What may answer requests.
    allowed: BTreeMap<ServiceName, BTreeSet<Digest>>,
    /// Services that somebody changed by hand, or whose pods failed by themselves.
    pub(super) disturbed: BTreeSet<ServiceName>,
    scopes: BTreeMap<Scope, ScopeState>,
}

type Heard = Result<(), String>;

impl<'a> Court<'a> {
    pub(super) fn new(outside: &'a Outside, policy: &'a Policy) -> Self {
        let mut objects = BTreeMap::new();
        let mut allowed: BTreeMap<ServiceName, BTreeSet<Digest>> = BTreeMap::new();
        for (service, is_worker) in run::services(policy) {
            let digest = scene::image_of(&service, 0);
            let blue = ObjectKey::workload(&service, Colour::Blue);
            objects.insert(blue, (None, Value::Workload { digest, replicas: 2 }));
            if !is_worker {
                objects.insert(ObjectKey::traffic(&service), (None, Value::Traffic { green: 0 }));
            }
            allowed.entry(service).or_default().insert(digest);
        }
        Self {
            outside,
            policy,
            policy_hash: policy.hash(),
            state: Target::default(),
            chain: codec::genesis(),
            events: Vec::with_capacity(128),
            dockets: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            intended: BTreeMap::new(),
            objects,
            allowed,
            disturbed: BTreeSet::new(),
            scopes: BTreeMap::new(),
        }
    }

    pub(super) fn endings(&self) -> Vec<(ReleaseId, Ending)> {
        self.dockets.iter().filter_map(|(id, docket)| Some((*id, docket.ending?))).collect()
    }

    /// Hears everything that happened.
    pub(super) fn hear(&mut self, commits: &[StoredCommit]) -> Heard {
        let effects = self.outside.cluster.effects();
        let (mut commits, mut effects) = (commits.iter(), effects.iter());
        let record = std::mem::take(&mut *self.outside.record());
        for moment in record {
            match moment {
                Moment::Appended => {
                    let commit = commits.next().ok_or("an append that was acknowledged is not in the ledger")?;
                    self.append(commit)?;
                }
                Moment::Wrote { wrong } => {
                    let effect = effects.next().ok_or("the cluster forgot a write")?;
                    self.wrote(effect, &wrong)?;
                }
                Moment::ByHand(key) => {
                    self.disturbed.insert(key.service);
                }
                Moment::Sick(service) => {
                    self.disturbed.insert(service);
                }
                Moment::Scope(scope, state) => {
                    self.scopes.insert(scope, state);
                }
            }
        }
        if commits.next().is_some() {
            return Err("the ledger has a commit that nobody appended".to_owned());
        }
        Ok(())
    }

    /// Invariant 10, and the chain: a commit says who decided by what, and follows from the one before.
    fn append(&mut self, stored: &StoredCommit) -> Heard {
        if stored.before != self.chain {
            return Err(format!("the chain is broken at {}", stored.first));
        }
        self.chain = codec::chain(self.chain, &stored.bytes);
        let commit = Commit::decode(&stored.bytes).map_err(|error| format!("commit {}: {error}", stored.first))?;
        if commit.engine != ENGINE || commit.policy != self.policy_hash {
            return Err(format!("invariant 10: commit {} does not say what it was decided with", stored.first));
        }
        for event in commit.events {
            if event.seq.0 != self.state.seq.0 + 1 {
                return Err(format!("events are not numbered without a gap at {}", event.seq));
            }
            self.event(&event).map_err(|why| format!("{why}, at {}", event.seq))?;
            apply(&mut self.state, &event);
            self.events.push(event);
        }
        if self.state.seq != stored.last {
            return Err(format!("commit {} does not end where it says", stored.first));
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Heard {
        let Some(id) = event.what.release() else { return Ok(()) };
        let docket = self.dockets.entry(id).or_default();
        let ended = docket.ending.is_some() && docket.ending != Some(Ending::Live);
        if ended {
            return Err(format!("release {id} had ended, and goes on: {}", short(&event.what)));
        }
        if event.what.moves_forward() && docket.back.is_some() {
            return Err(format!("invariant 4: release {id} moves forward after its way back began"));
        }
        match &event.what {
            What::Approved { plan, who, .. } => self.approved(id, *plan, who, &event.actor)?,
            What::GlassBroken { plan, who, .. } => {
                docket.glass.insert((*plan, who.clone()));
            }
            What::Began { .. } => {
                self.gates_hold(id, event, "its first change")?;
                self.in_flight.insert(id);
                if self.in_flight.len() > 1 {
                    return Err(format!("invariant 5: in flight at once: {:?}", self.in_flight));
                }
            }
            What::Entered { phase, .. } => self.entered(id, *phase, event)?,
            What::Intended { intention, .. } => {
                if let Action::Write(write) = &intention.action {
                    if docket.backup.is_none() {
                        return Err(format!("invariant 6: release {id} intends a write before its backup"));
                    }
                    self.intended.insert(event.seq, (id, write.clone()));
                }
            }
            What::Done { outcome, .. } => {
                if let Outcome::BackedUp { index, hash, .. } = &**outcome {
                    docket.backup = Some((index.clone(), *hash));
                }
            }
            What::RollbackBegan { .. } => {
                docket.back = Some(event.seq);
                self.in_flight.insert(id);
            }
            What::RolledBack { .. } => self.rolled_back(id)?,
            What::WentLive { .. } => {
                docket.was_live = true;
                docket.ending = Some(Ending::Live);
                self.in_flight.remove(&id);
            }
            What::Settled { end, .. } => {
                docket.ending = Some(match end {
                    End::Rejected => Ending::Rejected,
                    End::Expired => Ending::Expired,
                    End::Superseded => Ending::Superseded,
                    End::Cancelled => Ending::Cancelled,
                    End::Failed => Ending::Failed,
                    End::Observed => Ending::Observed,
                });
                self.in_flight.remove(&id);
            }
            What::Resolved { live, .. } => {
                docket.ending = Some(Ending::Resolved);
                self.in_flight.remove(&id);
                for (service, serving) in live {
                    self.allowed.entry(service.clone()).or_default().insert(serving.digest);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Invariant 3: an approval is of the plan there is, by somebody who may, once.
    fn approved(&mut self, id: ReleaseId, plan: PlanId, who: &Subject, actor: &Actor) -> Heard {
        let release = self.state.releases.get(&id).ok_or(format!("invariant 3: an approval of no release {id}"))?;
        if release.plan.as_ref().map(|plan| plan.id) != Some(plan) {
            return Err(format!("invariant 3: {who} approved a plan that release {id} no longer has"));
        }
        if *actor != Actor::Person(who.clone()) {
            return Err(format!("invariant 10: {who}'s approval was recorded as done by {actor:?}"));
        }
        if !["kofi", "ama"].contains(&who.as_str()) || excluded(release).contains(who.as_str()) {
            return Err(format!("invariant 3: {who} may not approve release {id}"));
        }
        if !self.dockets.entry(id).or_default().approvals.insert((plan, who.clone())) {
            return Err(format!("invariant 3: {who} approved release {id} twice"));
        }
        Ok(())
    }

    /// The second commit point: from here on new code serves.
    fn entered(&mut self, id: ReleaseId, phase: Phase, event: &Event) -> Heard {
        let serves = match phase {
            Phase::Deploying { wave: 0 } => self.policy.strategy == Strategy::Rolling,
            Phase::Switching { step: 0, wave: 0 } => true,
            _ => false,
        };
        if !serves {
            return Ok(());
        }
        self.gates_hold(id, event, "its switch")?;
        let release = self.state.releases.get(&id).ok_or(format!("release {id} switches, and is not there"))?;
        for (service, artifact) in &release.artifacts {
            self.allowed.entry(service.clone()).or_default().insert(artifact.digest);
        }
        Ok(())
    }

    /// Invariant 1: at a commit point the gates hold, judged here once more from what the ledger has.
    fn gates_hold(&self, id: ReleaseId, event: &Event, point: &str) -> Heard {
        let wrong = |why: &str| Err(format!("invariant 1: release {id} came to {point}, and {why}"));
        let Some(release) = self.state.releases.get(&id) else { return wrong("is not there") };
        let Some(plan) = release.plan.as_ref().map(|plan| plan.id) else { return wrong("has no plan") };
        let broke = self.dockets.get(&id).into_iter().flat_map(|docket| &docket.glass).filter(|(of, _)| *of == plan);
        let skipped = self.policy.gates.break_glass.is_some() && broke.count() >= 2;
        for quorum in self.policy.gates.approvals.iter().filter(|_| !skipped) {
            let excluded = excluded(release);
            let approvals = self.dockets.get(&id).map(|docket| &docket.approvals);
            let counted = approvals.into_iter().flatten().filter(|(of, who)| {
                *of == plan && ["kofi", "ama"].contains(&who.as_str()) && !excluded.contains(who.as_str())
            });
            if counted.count() < usize::from(quorum.count) {
                return wrong("is not approved");
            }
        }
        if let Some(rule) = self.policy.gates.scan.as_ref().filter(|_| !skipped) {
            let scans = release.facts.as_ref().map(|facts| &facts.scans);
            let blocks = rule.severities.contains_key(&Severity::Critical);
            for artifact in release.artifacts.values() {
                let scan = scans.and_then(|scans| scans.get(&artifact.digest));
                let clean = scan.is_some_and(|scan| {
                    scan.status == ScanStatus::Complete
                        && !(blocks && scan.counts.get(&Severity::Critical).is_some_and(|count| *count > 0))
                });
                if !clean {
                    return wrong("its images are not known to be clean");
                }
            }
        }
        match &release.judgement {
            Some(judgement) if judgement.gates.iter().all(|gate| gate.verdict == Verdict::Pass) => {}
            _ => return wrong("not every gate was judged to pass"),
        }
        let covering = self.scopes.iter().filter(|(scope, _)| scope.covers(&self.policy.target));
        if covering.clone().any(|(_, state)| state.stopped(event.at).is_some()) {
            return wrong("the line was stopped");
        }
        if release.artifacts.values().any(|artifact| self.state.quarantine.contains_key(&artifact.digest))
            && release.requested_by.is_none()
        {
            return wrong("an image of it is in quarantine");
        }
        Ok(())
    }

    /// Invariant 4: everything that was meant is fenced before the way back ends.
    fn rolled_back(&mut self, id: ReleaseId) -> Heard {
        let docket = self.dockets.entry(id).or_default();
        docket.rolled_back = true;
        docket.ending = Some(if docket.was_live { Ending::RolledBackFromLive } else { Ending::RolledBack });
        let back = docket.back.unwrap_or_default();
        self.in_flight.remove(&id);
        let forward = self.intended.values().filter(|(of, write)| *of == id && write.purpose != Purpose::Restore);
        for (_, write) in forward {
            let object = &write.object;
            if self.disturbed.contains(&object.service) {
                continue;
            }
            if self.objects.get(object).and_then(|(fence, _)| *fence).is_none_or(|fence| fence < back) {
                return Err(format!("invariant 4: release {id} is rolled back, and {object} was not fenced"));
            }
        }
        Ok(())
    }

    /// A fenced write changed the cluster.
    fn wrote(&mut self, effect: &Effect, wrong: &[String]) -> Heard {
        let service = &effect.object.service;
        if let Some(wrong) = wrong.first()
            && !self.disturbed.contains(service)
        {
            return Err(format!("invariant 2: {wrong}"));
        }
        let seq = effect.fence.seq;
        let Some((id, write)) = self.intended.get(&seq) else {
            return Err(format!("a write under {seq}, which no intention has"));
        };
        if write.object != effect.object || write.to != effect.to {
            return Err(format!("the write under {seq} is not what was intended"));
        }
        // A mark writes the value that is there, or puts an absent workload there at rest: late, it moves nothing.
        let as_it_is = match self.objects.get(&effect.object) {
            Some((_, value)) => *value == effect.to,
            None => matches!(effect.to, Value::Workload { replicas: 0, .. }),
        };
        let forward = match write.purpose {
            Purpose::Restore => false,
            Purpose::Mark => !as_it_is,
            Purpose::Deploy | Purpose::Claim | Purpose::Switch | Purpose::Drain => true,
        };
        if forward && self.dockets.get(id).is_some_and(|docket| docket.rolled_back) {
            return Err(format!("invariant 4: {} moved forward after release {id} was rolled back", effect.object));
        }
        self.objects.insert(effect.object.clone(), (Some(seq), effect.to));
        if self.disturbed.contains(service) {
            return Ok(());
        }
        self.answers(service)
    }

    /// Invariant 1: what answers requests was allowed to.
    fn answers(&self, service: &ServiceName) -> Heard {
        let workload = |colour| match self.objects.get(&ObjectKey::workload(service, colour))?.1 {
            Value::Workload { digest, replicas } => Some((digest, replicas)),
            Value::Traffic { .. } => None,
        };
        let colours = [Colour::Blue, Colour::Green];
        let kind = self.policy.service(service).map(|service| service.kind);
        let traffic = self.objects.get(&ObjectKey::traffic(service)).map(|(_, value)| *value);
        let serving: Vec<Digest> = if let Some(Value::Traffic { green }) = traffic {
            let gets = |colour: &Colour| if *colour == Colour::Green { green > 0 } else { green < 10_000 };
            colours.into_iter().filter(gets).filter_map(|colour| Some(workload(colour)?.0)).collect()
        } else {
            let running = colours.into_iter().filter_map(workload).filter(|(_, replicas)| *replicas > 0);
            running.map(|(digest, _)| digest).collect()
        };
        if matches!(kind, Some(ServiceKind::Worker { overlap: false })) && serving.len() > 1 {
            return Err(format!("invariant 2: old and new {service} run at once, which its policy forbids"));
        }
        let allowed = self.allowed.get(service);
        match serving.iter().find(|digest| !allowed.is_some_and(|allowed| allowed.contains(digest))) {
            Some(digest) => Err(format!("invariant 1: {service} is answered by {digest}, whose gates did not hold")),
            None => Ok(()),
        }
    }

    /// The backups that were recorded: where, with which hash.
    pub(super) fn backups(&self) -> impl Iterator<Item = (&ReleaseId, &(String, Digest))> {
        self.dockets.iter().filter_map(|(id, docket)| Some((id, docket.backup.as_ref()?)))
    }

    /// What serves of a service by our writes, if that is one digest only.
    pub(super) fn serves(&self, service: &ServiceName) -> Option<Digest> {
        let colour = match self.objects.get(&ObjectKey::traffic(service)).map(|(_, value)| *value) {
            // In the middle of its steps it is the larger share.
            Some(Value::Traffic { green }) => Some(Colour::with_most(green)),
            _ => None,
        };
        let mut running = self.objects.iter().filter_map(|(key, (_, value))| match (key.part, value) {
            (Part::Workload(of), Value::Workload { digest, replicas: 1.. })
                if key.service == *service && colour.is_none_or(|colour| colour == of) =>
            {
                Some(*digest)
            }
            _ => None,
        });
        running.next()
    }
}

/// Who may not approve a release: who asked for it, and who wrote it.
fn excluded(release: &Release) -> BTreeSet<&str> {
    let facts = release.facts.as_ref().and_then(|facts| facts.commit.as_ref()).or(release.commit_facts.as_ref());
    let authors = facts.into_iter().flat_map(|facts| &facts.people);
    let names = authors.filter_map(|identity| identity.as_str().strip_prefix("github:"));
    names.chain(release.requested_by.as_ref().map(Subject::as_str)).collect()
}

fn short(what: &What) -> String {
    format!("{what:?}").chars().take(120).collect()
}
