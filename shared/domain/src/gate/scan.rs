//! Gate `scan`: per severity block, review or allow; no scan, a failed one or an old one is never a pass.

use std::collections::BTreeMap;

use super::Case;
use crate::facts::{ScanFact, ScanStatus};
use crate::names::GroupName;
use crate::policy::{ScanAction, ScanRule, Severity};
use crate::time::Timestamp;
use crate::verdict::{GateResult, Verdict};

/// The gate's result, and the groups that must review.
pub(super) struct Scan {
    pub(super) result: GateResult,
    pub(super) reviews: Vec<(GroupName, String)>,
}

/// Judges the scans of all images; `None` if the policy asks for none.
pub(super) fn judge(case: &Case<'_>) -> Option<Scan> {
    let rule = case.policy.gates.scan.as_ref()?;
    let mut reviews = Vec::new();
    let mut totals: BTreeMap<Severity, u32> = BTreeMap::new();
    let mut oldest: Option<Timestamp> = None;
    let parts: Vec<GateResult> = case
        .release
        .artifacts
        .iter()
        .map(|(service, artifact)| {
            let name = service.as_str();
            let Some(scan) = case.facts.scans.get(&artifact.digest) else {
                return GateResult::hold(name, format!("{service} has no scan"), "its image is scanned");
            };
            if let Some(hold) = incomplete(name, scan, rule, case.given.now) {
                return hold;
            }
            oldest = match (oldest, scan.completed_at) {
                (Some(known), Some(at)) => Some(known.min(at)),
                (known, at) => known.or(at),
            };
            let counts = counted(scan, rule, case.given.now);
            for (severity, count) in &counts.left {
                *totals.entry(*severity).or_default() += count;
            }
            judge_counts(name, &counts, rule, &mut reviews)
        })
        .collect();
    let shown: Vec<String> = [Severity::Critical, Severity::High, Severity::Medium]
        .iter()
        .map(|severity| format!("{} {severity}", totals.get(severity).copied().unwrap_or(0)))
        .collect();
    let mut result = GateResult::all_of("scan", shown.join(", "), parts);
    if result.verdict == Verdict::Pass
        && let Some(at) = oldest
    {
        result.evidence.push(format!("complete, {} min old", case.given.now.since(at).0 / 60_000));
    }
    Some(Scan { result, reviews })
}

fn incomplete(name: &str, scan: &ScanFact, rule: &ScanRule, now: Timestamp) -> Option<GateResult> {
    let hold = |why: String, clears: &str| Some(GateResult::hold(name, why, clears));
    match scan.status {
        ScanStatus::InProgress => hold(format!("the scan of {name} is running"), "the scan is complete"),
        ScanStatus::Failed => hold(format!("the scan of {name} failed"), "a scan is complete"),
        ScanStatus::Unsupported => hold(format!("the scanner cannot read {name}"), "an image it can read is pushed"),
        ScanStatus::Missing => hold(format!("{name} has no scan"), "its image is scanned"),
        ScanStatus::Complete => match scan.completed_at {
            None => hold(format!("nobody says when the scan of {name} was made"), "a scan is complete"),
            Some(at) if now.since(at) > rule.max_age => {
                hold(format!("the scan of {name} is older than {}", rule.max_age), "its image is scanned again")
            }
            Some(at) if now.since(at) < rule.settle => {
                let why = format!("the scan of {name} is complete for less than {}: findings may follow", rule.settle);
                Some(GateResult { until: Some(at + rule.settle), ..GateResult::hold(name, why, "it has settled") })
            }
            Some(_) => None,
        },
    }
}

/// The ids of findings that a waiver of the policy takes out at the moment.
pub(crate) fn uncounted(rule: Option<&ScanRule>, now: Timestamp) -> impl Fn(&str) -> bool {
    move |id| rule.is_some_and(|rule| rule.waivers.iter().any(|waiver| waiver.id == id && now < waiver.until))
}

struct Counted {
    left: BTreeMap<Severity, u32>,
    waived: Vec<String>,
}

/// The counts without what is waived. Only a finding that is listed by its id can be waived.
fn counted(scan: &ScanFact, rule: &ScanRule, now: Timestamp) -> Counted {
    let mut left = scan.counts.clone();
    let mut waived = Vec::new();
    for finding in &scan.findings {
        let found = rule.waivers.iter().find(|waiver| waiver.id == finding.id && now < waiver.until);
        if let Some(waiver) = found
            && let Some(count) = left.get_mut(&finding.severity)
            && *count > 0
        {
            *count -= 1;
            waived.push(format!("{} waived: {}", waiver.id, waiver.reason));
        }
    }
    Counted { left, waived }
}

fn judge_counts(name: &str, counts: &Counted, rule: &ScanRule, reviews: &mut Vec<(GroupName, String)>) -> GateResult {
    let mut evidence = counts.waived.clone();
    for (severity, action) in &rule.severities {
        let count = counts.left.get(severity).copied().unwrap_or(0);
        match action {
            ScanAction::Block { above } if count > *above => {
                let allowed = if *above == 0 { String::new() } else { format!(", {above} allowed") };
                return GateResult::block(name, format!("{name} has {count} {severity}{allowed}"))
                    .with_evidence(evidence);
            }
            ScanAction::Review { above, by } if count > *above => {
                let why = format!("{name} has {count} {severity}");
                evidence.push(format!("{why}: reviewed by 1 of {by}"));
                reviews.push((by.clone(), why));
            }
            ScanAction::Block { .. } | ScanAction::Review { .. } => {}
        }
    }
    let shown: Vec<String> = counts
        .left
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(severity, count)| format!("{count} {severity}"))
        .collect();
    let why = if shown.is_empty() { "no findings".to_owned() } else { shown.join(", ") };
    GateResult::pass(name, why).with_evidence(evidence)
}
