//! The policy of a target changed: what it loosens is named, and stays visible.

use std::sync::Arc;

use super::Draft;
use crate::event::What;
use crate::protection::Protection;

impl Draft<'_> {
    /// Another policy than at the last event.
    pub(super) fn policy_changed(&mut self) {
        let known = self.target().policy;
        if known.is_some_and(|known| known != self.policy.hash()) {
            self.see_policy();
        }
    }

    /// The first policy is noted with the first thing that happens: alone it is no news.
    pub(super) fn policy_seen(&mut self) {
        if self.target().policy.is_none() && !self.events.is_empty() {
            self.see_policy();
        }
    }

    fn see_policy(&mut self) {
        let now = Protection::of(self.policy);
        let (from, changes) = match (&self.target().policy, &self.target().protection) {
            (from, Some(before)) => (*from, before.changes(&now)),
            (from, None) => (*from, Vec::new()),
        };
        let to = self.policy.hash();
        self.push(What::PolicyChanged { from, to, protection: Arc::new(now), changes });
    }
}
