//! The case that is judged: a target, a release and facts made up around what was given.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{Found, ObjectKey, Stamp, Value};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{
    AlarmFact, AlarmState, Artifact, CommitFacts, Facts, Finding, ImageFact, Promoted as Elsewhere, ScanFact,
    ScanStatus, Verified,
};
use portcullis_domain::gate::{Case, excluded, judge, may_approve};
use portcullis_domain::given::Given;
use portcullis_domain::names::{CommitSha, Identity, LedgerId, ReleaseId, Seq, ServiceName, Subject};
use portcullis_domain::plan::{Plan, PlanId, PlanInput, evidence_class};
use portcullis_domain::policy::{Colour, Policy, SealedPolicy};
use portcullis_domain::scope::{Scope, ScopeState, Stop};
use portcullis_domain::target::{Approval, Ended, Glass, Phase, Release, Serving, Target};
use portcullis_domain::time::Millis;
use portcullis_domain::verdict::Judgement;

use super::asked::Asked;
use crate::args::Promoted;
use crate::show::text::count;

/// What serves, and was verified, before the release.
const LIVE: ReleaseId = ReleaseId(1);
/// The release.
const RELEASE: ReleaseId = ReleaseId(2);
/// Pods of each service, and room for more.
const PODS: u32 = 2;
/// Whoever wrote a commit of which no author was given: somebody without a vote to lose.
const NOBODY: &str = "github:nobody[bot]";

/// A case made up.
pub(super) struct MadeUp {
    target: Target,
    release: Release,
    facts: Facts,
    given: Given,
    plan: Plan,
    /// What of the people's words would be refused.
    pub(super) refused: Vec<String>,
}

impl MadeUp {
    /// Around what was given.
    pub(super) fn of(policy: &SealedPolicy, asked: &Asked<'_>) -> Result<Self, String> {
        let words = |error: portcullis_domain::names::InvalidName| error.to_string();
        let ledger = LedgerId::new("simulate").map_err(words)?;
        let nobody = Identity::new(NOBODY).map_err(words)?;
        let somebody = Subject::new("somebody").map_err(words)?;
        let tree = CommitSha::new(&Digest::of(b"a tree of policy simulate").hex()[..40]).map_err(words)?;
        let target = target(policy, &ledger, asked)?;
        let artifacts = artifacts(policy, asked);
        let facts = facts(policy, asked, &target, &artifacts, &nobody, &tree);
        let mut release = Release {
            requested_by: asked.requested_by.cloned(),
            typed: asked.typed,
            forward_only: asked.forward_only,
            phase: Phase::Gated,
            phase_since: asked.at,
            until: Some(asked.at + policy.gates.expire),
            commit_facts: facts.commit.clone(),
            artifacts,
            ..Release::new(RELEASE, asked.commit.clone(), asked.at - Millis::minutes(5))
        };
        let plan = Plan::of(PlanInput {
            release: RELEASE,
            policy,
            artifacts: &release.artifacts,
            manifests: &facts.manifests,
            commit: &release.commit,
            live: target.live.iter().map(|(name, serving)| (name, serving.digest)).collect(),
            evidence: evidence_class(release.artifacts.values().filter_map(|one| facts.scans.get(&one.digest))),
        });
        release.plan = Some(plan.clone());
        let refused = said(policy, asked, &mut release, &facts, plan.id);
        let stop = asked.stop.map(|reason| Stop {
            who: somebody.clone(),
            reason: reason.to_owned(),
            since: asked.at,
            until: None,
        });
        let own = Scope::Target(policy.target.clone());
        let state =
            |scope: &Scope| ScopeState { stop: stop.clone().filter(|_| *scope == own), ..ScopeState::default() };
        let scopes = Scope::of(&policy.target).into_iter().map(|scope| (scope.clone(), state(&scope))).collect();
        let given = Given { now: asked.at, ledger, next_release: ReleaseId(RELEASE.0 + 1), scopes };
        Ok(Self { target, release, facts, given, plan, refused })
    }

    /// What the gates say.
    pub(super) fn judge(&self, policy: &SealedPolicy) -> Judgement {
        let Self { target, release, facts, given, .. } = self;
        judge(&Case { target, release, policy, facts, given })
    }

    /// The plan's name.
    pub(super) fn plan(&self) -> PlanId {
        self.plan.id
    }

    /// What was taken as given, one line each.
    pub(super) fn given(&self, policy: &Policy, asked: &Asked<'_>) -> Vec<String> {
        let moment = jiff::Timestamp::from_millisecond(i64::try_from(asked.at.0).unwrap_or(i64::MAX));
        let moment = moment.map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC, a %A").to_string());
        let authors: Vec<&str> = asked.authors.values().map(String::as_str).collect();
        let by = if authors.is_empty() { "nobody whom the policy knows".to_owned() } else { authors.join(", ") };
        let opened = asked.requested_by.map_or_else(|| "a push".to_owned(), ToString::to_string);
        let way = if asked.forward_only { ", forward only" } else { "" };
        let images = count(self.release.artifacts.len() as u64, "image");
        let mut lines = vec![
            moment,
            format!("{} written by {by}, opened by {opened}{way}; {images}, all there", self.release.commit.short()),
        ];
        if policy.gates.scan.is_some() {
            lines.push(match asked.scan {
                None => "no scan".to_owned(),
                Some((findings, age)) => {
                    let found: Vec<String> = findings
                        .iter()
                        .map(|found| match &found.id {
                            Some(id) => format!("{id} ({})", found.severity),
                            None => format!("{} {}", found.count, found.severity),
                        })
                        .collect();
                    let found = if found.is_empty() { "nothing found".to_owned() } else { found.join(", ") };
                    format!("scan {age} old: {found}")
                }
            });
        }
        if !asked.alarms.is_empty() {
            let ok = |state: &AlarmState| *state == AlarmState::Ok;
            let not: Vec<String> = asked
                .alarms
                .iter()
                .filter(|(_, state)| !ok(state))
                .map(|(name, state)| format!("{name} {}", crate::words::alarm_word(*state)))
                .collect();
            let well = asked.alarms.values().filter(|state| ok(state)).count();
            let rest = format!("{} OK", count(well as u64, "alarm"));
            lines.push(not.into_iter().chain([rest]).collect::<Vec<_>>().join(", "));
        }
        if let Some(rule) = &policy.gates.promoted_from {
            let (what, age) = asked.promoted;
            let from = &rule.environment;
            lines.push(match what {
                Promoted::Digests => format!("{from} verified these images {age} ago"),
                Promoted::SourceTree => format!("{from} verified other images of this source tree {age} ago"),
                Promoted::No => format!("{from} verified nothing of it"),
            });
        }
        lines
    }
}

/// A digest of nothing real.
fn digest(what: &str, service: &ServiceName, commit: &str) -> Digest {
    Digest::of(format!("policy simulate {what} {service} {commit}").as_bytes())
}

/// What serves: a release that was verified.
fn target(policy: &Policy, ledger: &LedgerId, asked: &Asked<'_>) -> Result<Target, String> {
    let before = CommitSha::new(&Digest::of(b"what served before, of policy simulate").hex()[..40]);
    let before = before.map_err(|error| error.to_string())?;
    let live: BTreeMap<ServiceName, Serving> = policy
        .services
        .iter()
        .map(|service| {
            let serving = Serving {
                digest: digest("live", &service.name, ""),
                colour: Colour::Blue,
                replicas: PODS,
                commit: Some(before.clone()),
                tag: None,
                release: Some(LIVE),
            };
            (service.name.clone(), serving)
        })
        .collect();
    let ended = Ended {
        release: LIVE,
        commit: before,
        verified: true,
        at: asked.at - Millis::days(2),
        digests: live.iter().map(|(name, serving)| (name.clone(), serving.digest)).collect(),
        tree: None,
    };
    let brought = artifacts(policy, asked).into_values().filter(|_| asked.quarantined);
    Ok(Target {
        seq: Seq(100),
        ledger: Some(ledger.clone()),
        adopted: true,
        live,
        quarantine: brought.map(|artifact| (artifact.digest, LIVE)).collect(),
        ended: vec![ended],
        ..Target::default()
    })
}

fn artifacts(policy: &Policy, asked: &Asked<'_>) -> BTreeMap<ServiceName, Artifact> {
    let artifact = |service: &ServiceName| Artifact {
        digest: digest("new", service, asked.commit.as_str()),
        tag: None,
        commit: Some(asked.commit.clone()),
        kept: false,
        size: None,
    };
    policy.services.iter().map(|service| (service.name.clone(), artifact(&service.name))).collect()
}

fn facts(
    policy: &Policy,
    asked: &Asked<'_>,
    target: &Target,
    artifacts: &BTreeMap<ServiceName, Artifact>,
    nobody: &Identity,
    tree: &CommitSha,
) -> Facts {
    let at = asked.at;
    let image = || ImageFact { tags: BTreeSet::new(), pushed_at: at - Millis::minutes(10), size: None };
    let new = artifacts.values().map(|artifact| artifact.digest);
    let images = new.chain(target.live.values().map(|serving| serving.digest)).map(|digest| (digest, image()));
    let people = match asked.authors.keys().cloned().collect::<BTreeSet<_>>() {
        people if people.is_empty() => [nobody.clone()].into(),
        people => people,
    };
    let commit = CommitFacts {
        commit: Some(asked.commit.clone()),
        branches: policy.intake.branch.iter().cloned().collect(),
        people,
        commits: 1,
        tree: Some(tree.clone()),
        forward_only: asked.forward_only,
        ..CommitFacts::default()
    };
    let first = policy.services.first().and_then(|service| artifacts.get(&service.name));
    let scans = artifacts.values().filter_map(|artifact| {
        let is_first = first.is_some_and(|first| first.digest == artifact.digest);
        Some((artifact.digest, scan(asked, is_first)?))
    });
    let alarm = |(name, state): (&portcullis_domain::names::AlarmName, &AlarmState)| {
        (name.clone(), AlarmFact { state: *state, changed_at: at - Millis::hours(1) })
    };
    Facts {
        fetched_at: at,
        images: images.collect(),
        scans: scans.collect(),
        alarms: asked.alarms.iter().map(alarm).collect(),
        commit: Some(commit),
        objects: objects(policy, target),
        promoted: elsewhere(policy, asked, artifacts, tree),
        room: Some(PODS * 100),
        ..Facts::default()
    }
}

/// The scan of an image: what was found is in the first service's.
fn scan(asked: &Asked<'_>, is_first: bool) -> Option<ScanFact> {
    let (found, age) = asked.scan?;
    let mut counts = BTreeMap::new();
    let mut findings = Vec::new();
    for found in found.iter().filter(|_| is_first) {
        *counts.entry(found.severity).or_insert(0_u32) += found.count;
        findings.extend(found.id.clone().map(|id| Finding { severity: found.severity, id, package: String::new() }));
    }
    Some(ScanFact { status: ScanStatus::Complete, completed_at: Some(asked.at - age), counts, findings })
}

/// The cluster: every service's blue pods with all traffic, which nobody fenced.
fn objects(policy: &Policy, target: &Target) -> BTreeMap<ObjectKey, Found> {
    let mut objects = BTreeMap::new();
    let found = |value, ready| Found { stamp: Some(Stamp { fence: None, value }), ready, ..Found::default() };
    for (service, serving) in policy.services.iter().filter_map(|one| Some((one, target.live.get(&one.name)?))) {
        let pods = Value::Workload { digest: serving.digest, replicas: PODS };
        objects.insert(ObjectKey::workload(&service.name, serving.colour), found(pods, PODS));
        if !service.is_worker() {
            objects.insert(ObjectKey::traffic(&service.name), found(Value::Traffic { green: 0 }, 0));
        }
    }
    objects
}

/// What the environment that it is promoted from verified.
fn elsewhere(
    policy: &Policy,
    asked: &Asked<'_>,
    artifacts: &BTreeMap<ServiceName, Artifact>,
    tree: &CommitSha,
) -> Option<Elsewhere> {
    let rule = policy.gates.promoted_from.as_ref()?;
    let (what, age) = asked.promoted;
    let verified = |digest: &dyn Fn(&ServiceName, &Artifact) -> Digest| Verified {
        release: LIVE,
        commit: asked.commit.clone(),
        tree: Some(tree.clone()),
        at: asked.at - age,
        digests: artifacts.iter().map(|(name, one)| (name.clone(), digest(name, one))).collect(),
    };
    let verified = match what {
        Promoted::Digests => vec![verified(&|_, artifact| artifact.digest)],
        Promoted::SourceTree => vec![verified(&|name, _| digest("rebuilt", name, asked.commit.as_str()))],
        Promoted::No => Vec::new(),
    };
    Some(Elsewhere { environment: rule.environment.clone(), verified })
}

/// Puts the people's words on the release as they would be recorded; what would be refused is told instead.
fn said(policy: &Policy, asked: &Asked<'_>, release: &mut Release, facts: &Facts, plan: PlanId) -> Vec<String> {
    let mut refused = Vec::new();
    let out = excluded(release, policy, Some(facts));
    for who in &asked.approve {
        if !may_approve(policy, who) {
            refused.push(format!("the approval of {who}: they are in no group whose approval counts"));
        } else if let Some(why) = out.people.get(*who) {
            refused.push(format!("the approval of {who}: they {why}"));
        } else {
            release.approvals.push(Approval { plan, who: (*who).clone(), at: asked.at, typed: false });
        }
    }
    for (who, gates) in &asked.skips {
        let group = policy.gates.break_glass.as_ref().map(|quorum| &quorum.group);
        let member = group.and_then(|group| policy.groups.get(group)).is_some_and(|group| group.contains(*who));
        if member {
            let reason = "simulated".to_owned();
            release.glass.push(Glass { plan, gates: gates.clone(), who: (*who).clone(), reason });
        } else if let Some(group) = group {
            refused.push(format!("the break-glass of {who}: they are not in {group}"));
        }
    }
    refused
}
