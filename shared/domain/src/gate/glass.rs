//! Break-glass: gates that two people skip together, for one plan, with a reason that stays visible.

use std::collections::BTreeSet;

use super::Case;
use crate::names::Subject;
use crate::target::Glass;
use crate::verdict::{GateResult, Verdict};

/// The gates that can be skipped. What makes a release possible to carry out, and to undo safely, can not.
pub const SKIPPABLE: [&str; 9] =
    ["scan", "alarms", "freeze", "quarantine", "confirmation", "approval", "promotion", "rules", "way back"];

/// Whether a gate of this name can be skipped.
pub fn can_be_skipped(gate: &str) -> bool {
    SKIPPABLE.contains(&gate)
}

/// Lets a gate pass that enough people skip for the plan at hand. It says so, and keeps what it found.
pub(super) fn skip(case: &Case<'_>, result: GateResult) -> GateResult {
    let Some(quorum) = &case.policy.gates.break_glass else { return result };
    if result.verdict == Verdict::Pass || !can_be_skipped(&result.gate) {
        return result;
    }
    let plan = case.release.plan.as_ref().map(|plan| plan.id);
    let members = case.policy.groups.get(&quorum.group);
    let counts = |glass: &&Glass| {
        Some(glass.plan) == plan
            && glass.gates.contains(&result.gate)
            && members.is_some_and(|members| members.contains(&glass.who))
    };
    let said: Vec<&Glass> = case.release.glass.iter().filter(counts).collect();
    let people: BTreeSet<&Subject> = said.iter().map(|glass| &glass.who).collect();
    let wanted = usize::from(quorum.count.max(2));
    let mut evidence: Vec<String> = said.iter().map(|glass| format!("{}: {}", glass.who, glass.reason)).collect();
    if people.is_empty() {
        return result;
    }
    if people.len() < wanted {
        let mut result = result;
        evidence.push(format!("{} of {wanted} of {} would skip it", people.len(), quorum.group));
        result.evidence.extend(evidence);
        return result;
    }
    let names: Vec<&str> = people.iter().map(|who| who.as_str()).collect();
    evidence.push(format!("it said {}: {}", result.verdict, result.why));
    let why = format!("skipped by {}", names.join(" and "));
    GateResult { parts: result.parts, ..GateResult::pass(&result.gate, why) }.with_evidence(evidence)
}
