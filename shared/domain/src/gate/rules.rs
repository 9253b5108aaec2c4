//! Gate `rules`: none of the user's own rules forbids it. What nobody can tell is never a pass.

use std::collections::BTreeSet;

use super::{Case, excluded, plural};
use crate::facts::ScanStatus;
use crate::names::Subject;
use crate::policy::{Mode, Severity};
use crate::rules::{Answer, Attribute, Datum, MODES, Place, Situation, WEEKDAYS};
use crate::time::Timestamp;
use crate::verdict::GateResult;

/// The most characters of evidence in all: it is kept in the target's state.
const MOST_EVIDENCE: usize = 1_000;

/// `None` if the policy has no rules.
pub(super) fn judge(case: &Case<'_>) -> Option<GateResult> {
    let rules = &case.policy.gates.rules;
    if rules.is_empty() {
        return None;
    }
    let compiled = match case.policy.rules() {
        Ok(compiled) => compiled,
        Err(why) => {
            let why = format!("the rules could not be read: {why}");
            return Some(GateResult::hold("rules", why, "the policy is mended"));
        }
    };
    let mut room = MOST_EVIDENCE;
    let parts = compiled
        .ask(&situation(case))
        .into_iter()
        .map(|(name, answer, evidence)| {
            let evidence = evidence.into_iter().take_while(|line| {
                let fits = line.len() <= room;
                room = room.saturating_sub(line.len());
                fits
            });
            match answer {
                Answer::Silent => GateResult::pass(name, "does not forbid it"),
                Answer::Forbids => {
                    GateResult::hold(name, format!("forbidden by {name}"), format!("{name} no longer forbids it"))
                        .with_evidence(evidence.collect())
                }
                Answer::Unsure(why) => GateResult::hold(
                    name,
                    format!("rule {name} could not be evaluated: {why}"),
                    format!("{name} can be evaluated and does not forbid it"),
                )
                .with_evidence(evidence.collect()),
            }
        })
        .collect();
    Some(GateResult::all_of("rules", format!("{}, none forbids it", plural(rules.len(), "rule", "rules")), parts))
}

/// The case as rules see it.
fn situation<'a>(case: &'a Case<'_>) -> Situation<'a> {
    let policy = &**case.policy;
    let requester = case.release.requested_by.as_ref();
    let has = |members: &BTreeSet<Subject>| requester.is_some_and(|who| members.contains(who));
    let mut context = of_the_commit(case);
    context.extend([approvers(case), findings(case)]);
    context.extend(of_the_release(case));
    Situation {
        requester,
        groups: policy.groups.iter().filter(|(_, members)| has(members)).map(|(group, _)| group).collect(),
        place: Place {
            target: &policy.target,
            mode: match policy.mode {
                Mode::Observe => MODES[0],
                Mode::Gate => MODES[1],
                Mode::Deploy => MODES[2],
            },
            cluster: &policy.place.cluster,
            namespace: &policy.place.namespace,
            account: policy.place.account.as_deref(),
            region: policy.place.region.as_deref(),
        },
        context,
    }
}

fn known(name: &'static str, value: Datum) -> Attribute {
    Attribute { name, value, unknown: None }
}

/// What the source repository says of the commit.
fn of_the_commit(case: &Case<'_>) -> Vec<Attribute> {
    let release = case.release;
    let facts = case.facts.commit.as_ref().or(release.commit_facts.as_ref());
    let silent = facts.is_none().then(|| format!("nobody can say what {} is", release.commit.short()));
    let facts = facts.cloned().unwrap_or_default();
    let nameless = facts.people.is_empty().then(|| format!("nobody can say who wrote {}", release.commit.short()));
    let person = |identity| case.policy.resolve(identity).map_or_else(|| identity.to_string(), Subject::to_string);
    let authors = facts.people.iter().map(person).collect();
    let said = |name, value| Attribute { name, value, unknown: silent.clone() };
    vec![
        said("title", Datum::Text(facts.title)),
        said("branches", Datum::Texts(facts.branches)),
        said("commits", Datum::Number(facts.commits.into())),
        Attribute { name: "authors", value: Datum::Texts(authors), unknown: nameless },
        Attribute {
            name: "forward_only",
            value: Datum::Flag(release.forward_only || facts.forward_only),
            unknown: silent.clone().filter(|_| !release.forward_only),
        },
    ]
}

/// Whose approval counts, by what the gate `approval` goes by.
fn approvers(case: &Case<'_>) -> Attribute {
    let excluded = excluded(case.release, case.policy, Some(case.facts));
    let plan = case.release.plan.as_ref().map(|plan| plan.id);
    let counts = case.release.approvals.iter().filter(|one| Some(one.plan) == plan);
    let counts = counts.filter(|one| !excluded.people.contains_key(&one.who)).map(|one| one.who.to_string());
    let unknown = match excluded.unknown.first() {
        _ if excluded.nobody_says => Some(format!("nobody can say who wrote {}", case.release.commit.short())),
        Some(who) => Some(format!("cannot tell who {who} is, who wrote part of it")),
        None => None,
    };
    Attribute { name: "approvers", value: Datum::Texts(counts.collect()), unknown }
}

/// The findings in all images together.
fn findings(case: &Case<'_>) -> Attribute {
    let mut unknown = None;
    let mut totals = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low].map(|it| (it, 0_i64));
    for (service, artifact) in &case.release.artifacts {
        match case.facts.scans.get(&artifact.digest).filter(|scan| scan.status == ScanStatus::Complete) {
            None => unknown = unknown.or_else(|| Some(format!("{service} has no finished scan"))),
            Some(scan) => {
                for (severity, total) in &mut totals {
                    *total += scan.counts.get(severity).copied().map_or(0, i64::from);
                }
            }
        }
    }
    let names = ["critical", "high", "medium", "low"];
    let fields = names.into_iter().zip(totals).map(|(name, (_, total))| (name, Datum::Number(total)));
    Attribute { name: "findings", value: Datum::Record(fields.collect()), unknown }
}

/// What is always known.
fn of_the_release(case: &Case<'_>) -> Vec<Attribute> {
    let release = case.release;
    let number = |n: u64| Datum::Number(i64::try_from(n).unwrap_or(i64::MAX));
    let changed = release.artifacts.iter().filter(|(_, artifact)| !artifact.kept).map(|(name, _)| name.to_string());
    vec![
        known("commit", Datum::Text(release.commit.to_string())),
        known("services", Datum::Texts(case.policy.services.iter().map(|one| one.name.to_string()).collect())),
        known("changed", Datum::Texts(changed.collect())),
        known("started_by_person", Datum::Flag(release.requested_by.is_some())),
        known("waiting_minutes", number(case.given.now.since(release.opened_at).0 / 60_000)),
        time(case.given.now),
    ]
}

/// The moment in UTC.
fn time(at: Timestamp) -> Attribute {
    let moment = i64::try_from(at.0).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    let unknown = moment.is_none().then(|| "the calendar ends before this moment".to_owned());
    let moment = jiff::tz::TimeZone::UTC.to_datetime(moment.unwrap_or_default());
    let weekday = usize::try_from(moment.weekday().to_monday_zero_offset()).ok().and_then(|day| WEEKDAYS.get(day));
    let fields = vec![
        ("date", Datum::Text(moment.date().to_string())),
        ("weekday", Datum::Text(weekday.copied().unwrap_or_default().to_owned())),
        ("hour", Datum::Number(moment.hour().into())),
        ("minute", Datum::Number(moment.minute().into())),
        ("year", Datum::Number(moment.year().into())),
        ("month", Datum::Number(moment.month().into())),
        ("day", Datum::Number(moment.day().into())),
    ];
    Attribute { name: "time", value: Datum::Record(fields), unknown }
}
