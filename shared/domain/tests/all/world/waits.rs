//! A release that waits, judged by its gates as a test changes it.

use portcullis_domain::facts::Facts;
use portcullis_domain::gate::{self, Case};
use portcullis_domain::names::GroupName;
use portcullis_domain::policy::*;
use portcullis_domain::target::{Approval, Release};
use portcullis_domain::verdict::GateResult;

use super::stages::{FIRST, gated};
use super::*;

pub const NAMES: [&str; 3] = ["web", "api", "jobs"];

/// A release that waits for its gates, and all that they look at: changed as a test wants it, then judged.
pub struct Waits {
    pub world: World,
    pub release: Release,
    pub facts: Facts,
    pub policy: Policy,
}

/// Release 1 of commit 2 by amara waits for its approval.
pub fn waits() -> Waits {
    let world = gated(policy());
    let release = world.release(FIRST).clone();
    let facts = (**release.facts.as_ref().unwrap()).clone();
    let policy = Policy::clone(&world.policy);
    Waits { world, release, facts, policy }
}

impl Waits {
    pub fn find(&self, gate: &str) -> Option<GateResult> {
        let given = self.world.given();
        let policy = SealedPolicy::new(self.policy.clone());
        let case = Case {
            target: &self.world.target,
            release: &self.release,
            policy: &policy,
            facts: &self.facts,
            given: &given,
        };
        gate::judge(&case).gates.into_iter().find(|found| found.gate == gate)
    }

    pub fn gate(&self, gate: &str) -> GateResult {
        self.find(gate).expect("the gate was judged")
    }

    /// The verdict and the reason.
    pub fn says(&self, gate: &str) -> String {
        says(&self.gate(gate))
    }

    pub fn part(&self, gate: &str, part: &str) -> Option<GateResult> {
        self.gate(gate).parts.into_iter().find(|found| found.gate == part)
    }

    pub fn parts(&self, gate: &str) -> Vec<String> {
        self.gate(gate).parts.iter().map(|part| format!("{}: {}", part.gate, says(part))).collect()
    }

    pub fn approve(&mut self, name: &str) {
        let plan = self.release.plan.as_ref().unwrap().id;
        self.release.approvals.push(Approval { plan, who: who(name), at: self.world.now, typed: false });
    }
}

pub fn says(gate: &GateResult) -> String {
    format!("{}: {}", gate.verdict, gate.why)
}
pub fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}
