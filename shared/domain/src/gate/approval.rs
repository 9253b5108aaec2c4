//! Gate `approval`: quorums of people who had no hand in the change, each for exactly this plan, each person once.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use crate::facts::{CommitFacts, Facts};
use crate::names::{GroupName, Subject};
use crate::policy::{Policy, Quorum};
use crate::target::Release;
use crate::verdict::GateResult;

/// Who may not approve a release, each with why; and identities nobody could tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excluded {
    /// People, with why.
    pub people: BTreeMap<Subject, String>,
    /// Identities of the change that no person of the policy has.
    pub unknown: BTreeSet<String>,
    /// Whether nobody could say who made the change.
    pub nobody_says: bool,
}

/// Who may not approve this release.
pub fn excluded(release: &Release, policy: &Policy, facts: Option<&Facts>) -> Excluded {
    let mut excluded = Excluded::default();
    if let Some(requester) = &release.requested_by {
        excluded.people.insert(requester.clone(), "asked for the release".to_owned());
    }
    let commit: Option<&CommitFacts> = facts.and_then(|facts| facts.commit.as_ref()).or(release.commit_facts.as_ref());
    let Some(commit) = commit.filter(|commit| !commit.people.is_empty()) else {
        excluded.nobody_says = true;
        return excluded;
    };
    for identity in &commit.people {
        match policy.resolve(identity) {
            Some(person) => {
                excluded.people.entry(person.clone()).or_insert_with(|| "wrote part of it".to_owned());
            }
            // A bot has no vote to lose.
            None if identity.as_str().ends_with("[bot]") => {}
            None => {
                excluded.unknown.insert(identity.to_string());
            }
        }
    }
    excluded
}

/// Whether this person is in a group whose approval or review counts for the release.
pub fn may_approve(policy: &Policy, who: &Subject) -> bool {
    let reviewers =
        policy.gates.scan.iter().flat_map(|rule| rule.severities.values()).filter_map(|action| match action {
            crate::policy::ScanAction::Review { by, .. } => Some(by),
            crate::policy::ScanAction::Block { .. } => None,
        });
    let groups = policy.gates.approvals.iter().map(|quorum| &quorum.group).chain(reviewers);
    groups.filter_map(|group| policy.groups.get(group)).any(|members| members.contains(who))
}

/// The typed confirmation of a release that a person started; `None` if none is needed.
pub(super) fn confirmation(case: &Case<'_>) -> Option<GateResult> {
    let text = case.policy.gates.typed_confirmation.as_ref()?;
    case.release.requested_by.as_ref()?;
    let plan = case.release.plan.as_ref().map(|plan| plan.id);
    let typed = case.release.typed || case.release.approvals.iter().any(|a| a.typed && Some(a.plan) == plan);
    Some(if typed {
        GateResult::pass("confirmation", "typed")
    } else {
        GateResult::hold("confirmation", "the confirmation was not typed", format!("a person types {text:?}"))
    })
}

/// The quorums of the policy and the reviews that the scan asks for; `None` if neither asks for anybody.
pub(super) fn judge(case: &Case<'_>, reviews: &[(GroupName, String)]) -> Option<GateResult> {
    let mut quorums: Vec<(Quorum, Option<&str>)> =
        case.policy.gates.approvals.iter().map(|quorum| (quorum.clone(), None)).collect();
    for (group, why) in reviews {
        if !quorums.iter().any(|(quorum, why)| why.is_some() && quorum.group == *group) {
            quorums.push((Quorum { count: 1, group: group.clone() }, Some(why)));
        }
    }
    if quorums.is_empty() {
        return None;
    }
    let excluded = excluded(case.release, case.policy, Some(case.facts));
    if excluded.nobody_says {
        let why = format!("nobody can say who wrote {}", case.release.commit.short());
        return Some(GateResult::hold("approval", why, "the source repository names its authors"));
    }
    if let Some(unknown) = excluded.unknown.first() {
        let why = format!("cannot tell who {unknown} is, who wrote part of it");
        let clears = format!("{unknown} is added under people: of the policy");
        return Some(GateResult::hold("approval", why, clears));
    }
    let plan = case.release.plan.as_ref().map(|plan| plan.id);
    let voters: BTreeSet<&Subject> = case
        .release
        .approvals
        .iter()
        .filter(|approval| Some(approval.plan) == plan && !excluded.people.contains_key(&approval.who))
        .map(|approval| &approval.who)
        .collect();
    let taken = assign(&quorums, &voters, case.policy);
    let parts = quorums
        .iter()
        .enumerate()
        .map(|(index, (quorum, review))| {
            let have: Vec<&Subject> = taken.iter().filter(|(_, at)| **at == index).map(|(who, _)| *who).collect();
            part(case, quorum, *review, &have, &excluded)
        })
        .collect();
    let mut result = GateResult::all_of("approval", "given", parts);
    result.evidence.extend(excluded.people.iter().map(|(who, why)| format!("cannot count: {who} ({why})")));
    result.until = case.release.until;
    Some(result)
}

fn part(case: &Case<'_>, quorum: &Quorum, review: Option<&str>, have: &[&Subject], excluded: &Excluded) -> GateResult {
    let reason = review.map(|why| format!(" ({why})")).unwrap_or_default();
    let why = format!("{} of {} from {}{reason}", have.len(), quorum.count, quorum.group);
    let evidence: Vec<String> = have.iter().map(|who| format!("by {who}")).collect();
    let name = quorum.to_string();
    if have.len() >= usize::from(quorum.count) {
        return GateResult::pass(&name, why).with_evidence(evidence);
    }
    let open: Vec<&str> = case
        .policy
        .groups
        .get(&quorum.group)
        .into_iter()
        .flatten()
        .filter(|who| !excluded.people.contains_key(*who) && !have.contains(who))
        .map(Subject::as_str)
        .collect();
    let clears = match open.split_last() {
        None => format!("nobody of {} is left who may; change the group", quorum.group),
        Some((one, [])) => format!("{one} approves"),
        Some((last, others)) => format!("{} or {last} approves", others.join(", ")),
    };
    GateResult::hold(&name, why, clears).with_evidence(evidence)
}

/// Gives each voter to at most one quorum, as many as can be used: augmenting paths over a handful of people.
fn assign<'a>(
    quorums: &[(Quorum, Option<&str>)],
    voters: &BTreeSet<&'a Subject>,
    policy: &Policy,
) -> BTreeMap<&'a Subject, usize> {
    let mut taken: BTreeMap<&'a Subject, usize> = BTreeMap::new();
    for voter in voters {
        let mut seen = BTreeSet::new();
        place(voter, quorums, policy, &mut taken, &mut seen);
    }
    taken
}

fn place<'a>(
    voter: &'a Subject,
    quorums: &[(Quorum, Option<&str>)],
    policy: &Policy,
    taken: &mut BTreeMap<&'a Subject, usize>,
    seen: &mut BTreeSet<usize>,
) -> bool {
    for (index, (quorum, _)) in quorums.iter().enumerate() {
        if !policy.groups.get(&quorum.group).is_some_and(|group| group.contains(voter)) || !seen.insert(index) {
            continue;
        }
        let holders: Vec<&'a Subject> = taken.iter().filter(|(_, at)| **at == index).map(|(who, _)| *who).collect();
        let free = holders.len() < usize::from(quorum.count);
        if free || holders.into_iter().any(|holder| place(holder, quorums, policy, taken, seen)) {
            taken.insert(voter, index);
            return true;
        }
    }
    false
}
