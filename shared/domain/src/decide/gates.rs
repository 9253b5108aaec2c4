//! From the first image to the first commit point: gathering, looking, judging, beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Draft;
use crate::action::{Action, Found, Look, ObjectKey, Value};
use crate::digest::Digest;
use crate::event::{End, What};
use crate::facts::{Artifact, Facts};
use crate::gate::{Case, judge};
use crate::names::{ReleaseId, ServiceName};
use crate::plan::{Plan, PlanInput, evidence_class, is_worse};
use crate::policy::{Colour, Mode, SealedPolicy, Service, Waiting};
use crate::target::{Phase, Release, Serving};
use crate::time::Millis;
use crate::verdict::{Judgement, Verdict};

/// Facts older than this are fetched again before a commit point.
const FRESH: Millis = Millis::minutes(1);
/// Waiting releases that are kept in the state; an older one is superseded even where the policy lets all wait.
const WAITING: usize = 10;
/// Findings that are kept in the state for all images of a release together: those that a waiver names, then the worst.
const FINDINGS: usize = 60;

impl Draft<'_> {
    /// Images are coming in.
    pub(super) fn gather(&mut self, id: ReleaseId) {
        self.keep_unchanged(id);
        let Some(release) = self.release(id) else { return };
        let complete = self.policy.services.iter().all(|service| release.artifacts.contains_key(&service.name));
        if complete {
            let now = self.now();
            let (until, remind_at) = (now + self.policy.gates.expire, now + self.policy.gates.remind);
            self.push(What::Gathered { release: id, until, remind_at });
            self.supersede_older(id);
            self.look(id);
        } else {
            self.look(id);
        }
    }

    /// Services without an image whose source did not change keep their live one.
    fn keep_unchanged(&mut self, id: ReleaseId) {
        let Some(release) = self.release(id) else { return };
        let facts = release.facts.as_ref().and_then(|facts| facts.commit.as_ref()).or(release.commit_facts.as_ref());
        let Some(facts) = facts else { return };
        let keep: Vec<(ServiceName, Artifact)> = self
            .policy
            .services
            .iter()
            .filter(|service| !release.artifacts.contains_key(&service.name))
            .filter(|service| facts.changed.get(&service.name) == Some(&false))
            .filter_map(|service| {
                let live = self.target().live.get(&service.name)?;
                let artifact = Artifact {
                    digest: live.digest,
                    tag: live.tag.clone(),
                    commit: live.commit.clone(),
                    kept: true,
                    size: None,
                };
                Some((service.name.clone(), artifact))
            })
            .collect();
        for (service, artifact) in keep {
            self.push(What::ImageAdded { release: id, service, artifact });
        }
    }

    /// A complete release takes the place of those that wait, unless one has its first approval or all may wait.
    fn supersede_older(&mut self, id: ReleaseId) {
        let waiting: Vec<&Release> = self
            .target()
            .releases
            .values()
            .filter(|other| other.id < id && matches!(other.phase, Phase::Gathering | Phase::Gated | Phase::Cleared))
            .collect();
        let too_many = waiting.len().saturating_sub(WAITING);
        let superseded: Vec<ReleaseId> = waiting
            .iter()
            .enumerate()
            .filter(|(index, other)| match self.policy.waiting {
                Waiting::Queue => *index < too_many,
                Waiting::Newest => other.approvals.is_empty(),
            })
            .map(|(_, other)| other.id)
            .collect();
        for other in superseded {
            self.settle(other, End::Superseded, format!("release {id} is newer and complete"));
        }
    }

    /// Makes sure that the facts of the release are looked at, all of them that are wanted now.
    pub(super) fn look(&mut self, id: ReleaseId) {
        let Some(release) = self.release(id) else { return };
        let policy = self.policy_of(id);
        // What serves before is asked for, too: it is the way back.
        let live = if release.policy.is_some() { &release.before } else { &self.target().live };
        let own = release.artifacts.iter().map(|(name, artifact)| (name, artifact.digest));
        let images = live
            .iter()
            .map(|(name, serving)| (name, serving.digest))
            .chain(own)
            .filter_map(|(name, digest)| Some((digest, policy.service(name)?.repository.clone())))
            .collect();
        let sources: BTreeMap<ServiceName, String> =
            policy.services.iter().filter_map(|s| Some((s.name.clone(), s.source.clone()?))).collect();
        let look = Look {
            commit: Some(release.commit.clone()),
            since: live.iter().filter_map(|(name, serving)| Some((name.clone(), serving.commit.clone()?))).collect(),
            sources,
            images,
            scans: policy.gates.scan.is_some() || self.policy.rules().as_ref().is_ok_and(|r| r.reads("findings")),
            alarms: policy.watch.alarms_roll_back.iter().chain(&policy.watch.alarms_ask).cloned().collect(),
            services: policy.services.iter().map(|service| service.name.clone()).collect(),
            promoted_from: policy.gates.promoted_from.as_ref().map(|rule| rule.environment.clone()),
        };
        let action = Action::Look(look);
        if !self.is_outstanding(id, |outstanding| *outstanding == action) {
            let every = policy.limits.look;
            // It stands as long as the release waits, which has a limit of its own.
            self.intend(id, action, Some(every), Millis::days(365));
        }
    }

    /// The facts of a release were fetched.
    pub(super) fn looked(&mut self, id: ReleaseId, facts: &Facts) {
        if !facts.objects.is_empty() && !facts.missing.contains_key("cluster") {
            self.compare_live(&facts.objects);
        }
        let Some(release) = self.release(id) else { return };
        // A release that serves has passed its gates: only its scans are still looked at.
        if matches!(release.phase, Phase::Watching | Phase::Live) {
            return;
        }
        let mut facts = Facts { fetched_at: self.now(), ..facts.clone() };
        summarise(&mut facts, &self.policy_of(id));
        let facts = Arc::new(facts);
        let changed = release.doubt.is_some() || release.facts.as_ref().is_none_or(|known| !known.same_content(&facts));
        if changed {
            self.push(What::FactsRead { release: id, facts: facts.clone() });
        }
        // A look that was sent before the last image came is no longer outstanding: these are of all images.
        self.fresh = Some((id, facts));
    }

    /// The first reading is the baseline; later ones show what others changed while nothing of ours was in flight.
    pub(super) fn compare_live(&mut self, objects: &BTreeMap<ObjectKey, Found>) {
        let found = serving(objects, self.policy, &self.target().live);
        // A restored ledger takes nothing of what it no longer knows for given until a person raised its epoch.
        if self.is_restored(objects) {
            return;
        }
        if !self.target().adopted {
            let ledger = self.given.ledger.clone();
            self.push(What::Adopted { ledger, live: found, objects: objects.clone() });
            return;
        }
        let writing = self.target().outstanding.values().any(|o| matches!(o.intention.action, Action::Write(_)));
        // A reading that was under way while we wrote tells of the past.
        let older = objects.iter().any(|(key, found)| self.target().is_older(key, found));
        if self.target().in_flight.is_some() || writing || older {
            return;
        }
        let changed: BTreeMap<ServiceName, Serving> = found
            .into_iter()
            .filter(|(service, now)| {
                let known = self.target().live.get(service);
                !self.is_cleared(service, now.digest)
                    && known.is_none_or(|known| known.digest != now.digest || known.colour != now.colour)
            })
            .collect();
        if !changed.is_empty() {
            self.push(What::LiveChangedOutside { live: changed, objects: objects.clone() });
        }
    }

    /// Whether any object carries a fence that this ledger never issued.
    fn is_restored(&self, objects: &BTreeMap<ObjectKey, Found>) -> bool {
        objects.iter().any(|(object, found)| self.target().is_beyond(&self.given.ledger, object, found))
    }

    /// Whether a digest that others deploy is one whose gates held: then its arrival is awaited, not a surprise.
    fn is_cleared(&self, service: &ServiceName, digest: Digest) -> bool {
        let mut cleared = self.target().releases.values().filter(|release| release.phase == Phase::Cleared);
        cleared.any(|release| release.artifacts.get(service).is_some_and(|artifact| artifact.digest == digest))
    }

    /// The gates are judged.
    pub(super) fn gates(&mut self, id: ReleaseId) {
        self.look(id);
        let was_frozen = self.release(id).and_then(|release| release.judgement.as_ref()).is_some_and(is_frozen);
        let Some(judgement) = self.judge(id) else { return };
        if was_frozen && !is_frozen(&judgement) {
            // What waited for a window does not go one after the other: the newest that may go, goes.
            let newer = self.target().releases.values().rev().find(|other| other.id > id && waits_for_window(other));
            if let Some(newer) = newer.map(|other| other.id) {
                self.settle(id, End::Superseded, format!("releases may begin again, and release {newer} is newer"));
                return;
            }
        }
        match judgement.verdict() {
            // What people may still skip together waits for them as long as any release waits.
            Verdict::Block if self.policy.gates.break_glass.is_some() && judgement.can_be_skipped() => {}
            Verdict::Block => self.settle(id, End::Rejected, judgement.blocked_by()),
            Verdict::Hold => {}
            Verdict::Pass => self.begin(id),
        }
    }

    /// Judges the gates on the facts at hand; records the plan and the judgement where they say something new.
    /// `None` while there are no facts.
    pub(super) fn judge(&mut self, id: ReleaseId) -> Option<Judgement> {
        let facts = self.facts_of(id)?;
        if !self.target().adopted && !self.is_restored(&facts.objects) {
            return None;
        }
        // Hashing a policy costs more than all gates together: it is done again only if the file changed meanwhile.
        let policy = match self.release(id)?.policy.clone() {
            Some(frozen) if *frozen != **self.policy => SealedPolicy::from_arc(frozen),
            _ => self.policy.clone(),
        };
        self.plan(id, &policy, &facts);
        let release = self.release(id)?;
        let judgement =
            judge(&Case { target: self.target(), release, policy: &policy, facts: &facts, given: self.given });
        let plan = release.plan.as_ref()?.id;
        if release.judgement.as_ref().is_none_or(|known| !known.same_as(&judgement)) {
            self.push(What::Judged { release: id, plan, judgement: judgement.clone() });
        }
        Some(judgement)
    }

    fn facts_of(&self, id: ReleaseId) -> Option<Arc<Facts>> {
        match &self.fresh {
            Some((release, facts)) if *release == id => Some(facts.clone()),
            _ => self.release(id)?.facts.clone(),
        }
    }

    /// Whether the facts at hand are young enough for a commit point.
    pub(super) fn is_fresh(&self, id: ReleaseId) -> bool {
        self.facts_of(id).is_some_and(|facts| self.now().since(facts.fetched_at) <= FRESH)
    }

    /// Makes a plan, unless the one there is still says it all. Evidence that gets better keeps the plan.
    fn plan(&mut self, id: ReleaseId, policy: &SealedPolicy, facts: &Facts) {
        let Some(release) = self.release(id) else { return };
        let wanted: BTreeSet<Digest> = release.artifacts.values().map(|artifact| artifact.digest).collect();
        let mut evidence =
            evidence_class(facts.scans.iter().filter(|(digest, _)| wanted.contains(digest)).map(|(_, scan)| scan));
        let known = release.plan.clone();
        if let Some(known) = &known
            && !is_worse(&evidence, &known.evidence)
        {
            evidence.clone_from(&known.evidence);
        }
        let live = if release.policy.is_some() { &release.before } else { &self.target().live };
        let plan = Plan::of(PlanInput {
            release: id,
            policy,
            artifacts: &release.artifacts,
            manifests: &facts.manifests,
            commit: &release.commit,
            live: live.iter().map(|(service, serving)| (service, serving.digest)).collect(),
            evidence,
        });
        if known.as_ref().is_some_and(|known| known.hash == plan.hash) {
            return;
        }
        let why = match &known {
            None => "first plan",
            Some(known) if known.policy != plan.policy => "the policy changed",
            Some(known) if known.evidence != plan.evidence => "the scan found more",
            Some(_) => "what is live, or a manifest, changed",
        };
        self.push(What::Planned { release: id, plan, why: why.to_owned() });
    }

    /// The first commit point: all gates hold for this plan, on fresh facts.
    fn begin(&mut self, id: ReleaseId) {
        if !self.is_fresh(id) || self.is_held(id) || self.target().in_flight.is_some() {
            return;
        }
        let (Some(release), Some(facts)) = (self.release(id), self.facts_of(id)) else { return };
        let Some(plan) = release.plan.as_ref().map(|plan| plan.id) else { return };
        match self.policy.mode {
            Mode::Observe => {
                self.push(What::Cleared { release: id, plan });
                self.settle(id, End::Observed, "observe: it would have been released");
            }
            Mode::Gate => {
                self.push(What::Cleared { release: id, plan });
                let every = self.policy.limits.look;
                self.intend(id, Action::Observe, Some(every), Millis::days(365));
            }
            Mode::Deploy => {
                let policy = self.policy.share();
                let names: BTreeSet<&ServiceName> = policy.services.iter().map(|service| &service.name).collect();
                let before = self.target().live.iter().filter(|(name, _)| names.contains(name));
                let before = before.map(|(name, serving)| (name.clone(), serving.clone())).collect();
                let (keep, within) = (policy.backup_keep, policy.limits.backup);
                let secrets = policy.backup_secrets.clone();
                self.push(What::Began { release: id, plan, policy, before, objects: facts.objects.clone() });
                // Of this attempt alone: after a restore a number may be used again.
                let prefix = format!("{}/deployments/{}-{id}/", self.policy.target, self.now().stamp_with_millis());
                self.intend(id, Action::BackUp { prefix, keep, secrets }, None, within);
            }
        }
    }
}

/// Whether a window of the calendar holds a release.
fn is_frozen(judgement: &Judgement) -> bool {
    let mut freeze = judgement.gates.iter().filter(|gate| gate.gate == "freeze").flat_map(|gate| &gate.parts);
    freeze.any(|part| part.gate == "window" && part.verdict != Verdict::Pass)
}

/// Whether a release would go, were it not for a window of the calendar, as it was judged last.
fn waits_for_window(release: &Release) -> bool {
    let Some(judgement) = release.judgement.as_ref().filter(|_| release.phase == Phase::Gated) else { return false };
    let mut others = judgement.gates.iter().filter(|gate| gate.gate != "freeze" && gate.gate != "turn");
    is_frozen(judgement) && others.all(|gate| gate.verdict == Verdict::Pass)
}

/// Bounds the findings that go into the state, so that a rollback can always be appended; the counts stay whole.
fn summarise(facts: &mut Facts, policy: &crate::policy::Policy) {
    let waived: BTreeSet<&str> =
        policy.gates.scan.iter().flat_map(|rule| &rule.waivers).map(|waiver| waiver.id.as_str()).collect();
    let mut ranked: Vec<(bool, crate::facts::Finding, Digest)> = facts
        .scans
        .iter_mut()
        .flat_map(|(digest, scan)| std::mem::take(&mut scan.findings).into_iter().map(|finding| (finding, *digest)))
        .map(|(finding, digest)| (!waived.contains(finding.id.as_str()), finding, digest))
        .collect();
    ranked.sort();
    ranked.truncate(FINDINGS);
    for (_, finding, digest) in ranked {
        if let Some(scan) = facts.scans.get_mut(&digest) {
            scan.findings.push(finding);
        }
    }
}

/// What serves, read from the objects: the colour with the traffic; a worker's, the colour with pods.
pub(super) fn serving(
    objects: &BTreeMap<ObjectKey, Found>,
    policy: &crate::policy::Policy,
    known: &BTreeMap<ServiceName, Serving>,
) -> BTreeMap<ServiceName, Serving> {
    let of = |service: &Service| {
        let workload = |colour| match objects.get(&ObjectKey::workload(&service.name, colour))?.stamp.as_ref()?.value {
            Value::Workload { digest, replicas } => Some((colour, digest, replicas)),
            Value::Traffic { .. } => None,
        };
        let traffic = objects.get(&ObjectKey::traffic(&service.name)).and_then(|found| found.stamp.as_ref());
        let (colour, digest, replicas) = match traffic.map(|stamp| stamp.value) {
            Some(Value::Traffic { green }) => workload(Colour::with_most(green))?,
            _ => {
                [Colour::Blue, Colour::Green].into_iter().filter_map(workload).find(|(_, _, replicas)| *replicas > 0)?
            }
        };
        let same = known.get(&service.name).filter(|known| known.digest == digest);
        let serving = Serving {
            digest,
            colour,
            replicas,
            commit: same.and_then(|known| known.commit.clone()),
            tag: same.and_then(|known| known.tag.clone()),
            release: same.and_then(|known| known.release),
        };
        Some((service.name.clone(), serving))
    };
    policy.services.iter().filter_map(of).collect()
}
