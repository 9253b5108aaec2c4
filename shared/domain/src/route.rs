//! `route`: which targets a fact from outside concerns, and what it means to each.

use std::collections::BTreeSet;

use crate::facts::CommitFacts;
use crate::glob;
use crate::names::{CommitSha, Repository, Tag};
use crate::policy::{Policy, SealedPolicy};
use crate::signal::{Fact, FactKind, Pushed, Signal};

/// What the shell found out about a pushed image before it is routed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushContext {
    /// All tags that point at the digest.
    pub tags: BTreeSet<Tag>,
    /// The commit, where the shell knows it otherwise than by a tag.
    pub commit: Option<CommitSha>,
    /// What the source says of the commit.
    pub facts: Option<CommitFacts>,
}

/// Whether a fact may concern this policy's target: by repository, or by alarm name with account and region.
pub fn concerns(policy: &Policy, fact: &Fact) -> bool {
    match &fact.kind {
        FactKind::ImagePushed { repository, .. }
        | FactKind::ImageDeleted { repository, .. }
        | FactKind::ScanReported { repository, .. } => policy.service_of(repository).is_some(),
        FactKind::ScanFrequencyChanged { repositories } => {
            repositories.iter().any(|repository| policy.service_of(repository).is_some())
        }
        FactKind::AlarmChanged { alarm, .. } => {
            let watch = &policy.watch;
            let same =
                |ours: &Option<String>, theirs: &Option<String>| ours.is_none() || theirs.is_none() || ours == theirs;
            same(&policy.place.account, &fact.account)
                && same(&policy.place.region, &fact.region)
                && watch.alarms_roll_back.iter().chain(&watch.alarms_ask).any(|p| glob::matches(p, alarm.as_str()))
        }
    }
}

/// The commit that a pushed image is of, by its own tag or another tag of the same digest.
pub fn commit_of(policy: &Policy, fact: &Fact, context: &PushContext) -> Option<CommitSha> {
    let FactKind::ImagePushed { tag, .. } = &fact.kind else { return None };
    let named = tag.iter().chain(&context.tags).find_map(|tag| policy.commit_of(tag));
    named.or_else(|| context.commit.clone())
}

/// What the fact means to this policy's target; `None` if it says nothing to it.
pub fn signal(policy: &Policy, fact: &Fact, context: &PushContext) -> Option<Signal> {
    if !concerns(policy, fact) {
        return None;
    }
    match &fact.kind {
        FactKind::ImagePushed { repository, digest, tag } => {
            let service = policy.service_of(repository)?.name.clone();
            let commit = commit_of(policy, fact, context)?;
            let on_branch = policy
                .intake
                .branch
                .as_ref()
                .is_some_and(|branch| context.facts.as_ref().is_some_and(|facts| facts.branches.contains(branch)));
            let moving = policy.intake.moving_tag.as_ref();
            let on_tag = moving.is_some_and(|moving| tag.as_ref() == Some(moving) || context.tags.contains(moving));
            // For people, the tag that names the commit says more than a moving one.
            let telling = tag.iter().chain(&context.tags).find(|tag| policy.commit_of(tag).is_some());
            Some(Signal::Pushed(Pushed {
                service,
                digest: *digest,
                tag: telling.or(tag.as_ref()).cloned(),
                commit,
                pushed_at: fact.at,
                facts: context.facts.clone(),
                opens: on_branch || on_tag,
            }))
        }
        FactKind::ImageDeleted { digest, .. } => Some(Signal::ImageDeleted { digest: *digest }),
        FactKind::ScanReported { digest, status, counts, .. } => {
            Some(Signal::ScanReported { digest: *digest, status: *status, counts: counts.clone() })
        }
        FactKind::ScanFrequencyChanged { .. } => Some(Signal::Wake),
        FactKind::AlarmChanged { alarm, state, changed_at, reason, suppressed } => Some(Signal::Alarm {
            alarm: alarm.clone(),
            state: *state,
            changed_at: *changed_at,
            reason: reason.clone(),
            suppressed: *suppressed,
        }),
    }
}

/// Whether an AWS account (and region, where told) is one the policies speak of: an environment's, or a registry's.
pub fn knows_account(policies: &[SealedPolicy], account: &str, region: Option<&str>) -> bool {
    policies.iter().any(|policy| {
        let place = &policy.place;
        let environment = place.account.as_deref() == Some(account)
            && (region.is_none() || place.region.is_none() || place.region.as_deref() == region);
        environment || policy.services.iter().any(|service| is_registry_of(&service.repository, account, region))
    })
}

/// `<account>.dkr.ecr.<region>.amazonaws.com/…` (Amazon ECR User Guide, "Private registries").
fn is_registry_of(repository: &Repository, account: &str, region: Option<&str>) -> bool {
    let Some(rest) = repository.as_str().strip_prefix(account) else { return false };
    let Some(rest) = rest.strip_prefix(".dkr.ecr.") else { return false };
    region.is_none_or(|region| rest.strip_prefix(region).is_some_and(|rest| rest.starts_with(".amazonaws.com")))
}
