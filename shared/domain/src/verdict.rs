//! The result tree of the gates: the same tree feeds the screen, the API and the audit.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The condition holds.
    Pass,
    /// It does not hold yet; time, a fact or a person can clear it.
    Hold,
    /// It can not hold for these digests.
    Block,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Pass => "pass",
            Verdict::Hold => "hold",
            Verdict::Block => "block",
        })
    }
}

/// One gate's result, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GateResult {
    /// The gate's name: `images`, `scan`, `approval` …
    pub gate: String,
    /// The verdict: the worst of what is below.
    pub verdict: Verdict,
    /// Why, in one line.
    pub why: String,
    /// What would clear a hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clears_when: Option<String>,
    /// Until when it waits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Timestamp>,
    /// The facts it rests on, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub evidence: Vec<String>,
    /// Parts of it that have verdicts of their own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parts: Vec<GateResult>,
}

impl GateResult {
    /// A gate that holds no release back.
    pub fn pass(gate: &str, why: impl Into<String>) -> Self {
        Self::new(gate, Verdict::Pass, why)
    }

    /// A gate that waits, and for what.
    pub fn hold(gate: &str, why: impl Into<String>, clears_when: impl Into<String>) -> Self {
        Self { clears_when: Some(clears_when.into()), ..Self::new(gate, Verdict::Hold, why) }
    }

    /// A gate that can not hold for these digests.
    pub fn block(gate: &str, why: impl Into<String>) -> Self {
        Self::new(gate, Verdict::Block, why)
    }

    fn new(gate: &str, verdict: Verdict, why: impl Into<String>) -> Self {
        Self {
            gate: gate.to_owned(),
            verdict,
            why: why.into(),
            clears_when: None,
            until: None,
            evidence: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Adds evidence.
    #[must_use]
    pub fn with_evidence(mut self, evidence: Vec<String>) -> Self {
        self.evidence = evidence;
        self
    }

    /// A gate made of parts: the worst of them, with the first worst one's reason. No parts at all is a hold:
    /// nothing to judge is not a pass.
    pub fn all_of(gate: &str, why_pass: impl Into<String>, parts: Vec<GateResult>) -> Self {
        let Some(worst) = parts.iter().map(|part| part.verdict).max() else {
            return Self::hold(gate, "there is nothing to judge", "there is something to judge");
        };
        let mut result = match parts.iter().find(|part| part.verdict == worst) {
            Some(part) if worst != Verdict::Pass => Self {
                clears_when: part.clears_when.clone(),
                until: part.until,
                ..Self::new(gate, worst, part.why.clone())
            },
            _ => Self::pass(gate, why_pass),
        };
        result.parts = parts;
        result
    }
}

/// All gates of a release at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Judgement {
    /// When it was judged.
    pub at: Timestamp,
    /// Each gate.
    pub gates: Vec<GateResult>,
}

impl Judgement {
    /// The worst verdict. No gates at all is a hold.
    pub fn verdict(&self) -> Verdict {
        self.gates.iter().map(|gate| gate.verdict).max().unwrap_or(Verdict::Hold)
    }

    /// The first gate that blocks, with its reason, in one line; empty if none does.
    pub fn blocked_by(&self) -> String {
        let gate = self.gates.iter().find(|gate| gate.verdict == Verdict::Block);
        gate.map_or_else(String::new, |gate| format!("{}: {}", gate.gate, gate.why))
    }

    /// Whether every gate that blocks is one that people may skip together.
    pub fn can_be_skipped(&self) -> bool {
        let mut blocking = self.gates.iter().filter(|gate| gate.verdict == Verdict::Block);
        blocking.all(|gate| crate::gate::glass::can_be_skipped(&gate.gate))
    }

    /// What would be worth telling again: the verdicts and reasons, without the moment.
    pub fn same_as(&self, other: &Judgement) -> bool {
        let key = |judgement: &Judgement| {
            judgement.gates.iter().map(|g| (g.gate.clone(), g.verdict, g.why.clone())).collect::<Vec<_>>()
        };
        key(self) == key(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_of_no_parts_and_a_judgement_of_no_gates_hold() {
        assert_eq!(GateResult::all_of("x", "fine", vec![]).verdict, Verdict::Hold);
        assert_eq!(Judgement { at: Timestamp(0), gates: vec![] }.verdict(), Verdict::Hold);
    }

    #[test]
    fn the_worst_part_decides_and_lends_its_reason() {
        let parts = vec![
            GateResult::pass("a", "fine"),
            GateResult::hold("b", "waits", "it comes"),
            GateResult::block("c", "never"),
        ];
        let all = GateResult::all_of("x", "fine", parts);
        assert_eq!((all.verdict, all.why.as_str()), (Verdict::Block, "never"));
    }
}
