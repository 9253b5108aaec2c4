//! Policies that a test sets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use portcullis_domain::names::TargetId;
use portcullis_domain::policy::{Policy, SealedPolicy};

use super::locked;
use crate::ports::Policies;

/// The policies in force.
#[derive(Default)]
pub struct MemoryPolicies(Mutex<BTreeMap<TargetId, SealedPolicy>>);

impl MemoryPolicies {
    /// None at first.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Puts a policy in force.
    pub fn set(&self, policy: Policy) {
        locked(&self.0).insert(policy.target.clone(), SealedPolicy::new(policy));
    }

    /// Takes a target out of the policy file.
    pub fn remove(&self, target: &TargetId) {
        locked(&self.0).remove(target);
    }
}

impl Policies for MemoryPolicies {
    fn get(&self, target: &TargetId) -> Option<SealedPolicy> {
        locked(&self.0).get(target).cloned()
    }

    fn all(&self) -> Vec<SealedPolicy> {
        locked(&self.0).values().cloned().collect()
    }
}
