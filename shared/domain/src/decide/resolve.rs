//! A person takes what is on the cluster for what counts: it is read, and taken as it is.

use std::collections::BTreeMap;

use super::Draft;
use crate::action::{Action, Found, ObjectKey, Outcome, Purpose, Stamp, Write};
use crate::event::What;
use crate::names::{ReleaseId, Seq, ServiceName};
use crate::target::Serving;

impl Draft<'_> {
    /// The cluster is read as soon as nothing that was written for it is open.
    pub(super) fn look_before_resolving(&mut self, id: ReleaseId) {
        let resolving = self.release(id).is_some_and(|release| release.resolving.is_some());
        let open = |action: &Action| matches!(action, Action::Observe | Action::Write(_));
        if resolving && !self.is_outstanding(id, open) {
            let limits = self.limits(id);
            self.intend(id, Action::Observe, Some(limits.look), limits.write);
        }
    }

    /// The cluster was read. Where a write that was sent before would still be accepted, our fence is raised first, the
    /// value as it is: what a person took for what counts must not change behind them.
    pub(super) fn take_as_found(
        &mut self,
        id: ReleaseId,
        intention: Seq,
        objects: &BTreeMap<ObjectKey, Found>,
        live: BTreeMap<ServiceName, Serving>,
        reason: String,
    ) {
        // A reading that was under way while we wrote tells of the past: the next one counts.
        if objects.iter().any(|(object, found)| self.target().is_older(object, found)) {
            return;
        }
        let open: Vec<(ObjectKey, Stamp)> = objects
            .iter()
            .filter(|(_, found)| found.foreign.is_none())
            .filter_map(|(object, found)| Some((object.clone(), found.stamp.clone()?)))
            .filter(|(object, stamp)| self.may_still_change(object, stamp))
            .collect();
        if open.is_empty() {
            self.push(What::Resolved { release: id, live, objects: objects.clone(), reason });
            return;
        }
        self.done(id, intention, &Outcome::Observed(objects.clone()));
        let within = self.limits(id).write;
        for (object, stamp) in open {
            let write =
                Write { object, to: stamp.value, from: vec![Some(stamp)], purpose: Purpose::Mark, bundle: None };
            self.intend(id, Action::Write(write), None, within);
        }
    }

    /// Whether a write that was intended, and may be under way, would be accepted on what was found. One of another
    /// ledger's accepts nothing of ours, a mark neither.
    fn may_still_change(&self, object: &ObjectKey, stamp: &Stamp) -> bool {
        let ledger = self.target().ledger.as_ref();
        if stamp.fence.as_ref().is_some_and(|fence| Some(&fence.ledger) != ledger) {
            return false;
        }
        let Some(newest) = self.target().objects.get(object).and_then(|known| known.meant.keys().next_back()) else {
            return false;
        };
        let fenced_above = self.target().own_fence(stamp) >= Some((self.target().epoch_at(*newest), *newest));
        !fenced_above && self.expected(object).contains(&Some(stamp.clone()))
    }
}
