//! Gate `cluster`: the objects can be read, are ours to write, and nothing asked for is missing.

use super::{Case, plural};
use crate::verdict::GateResult;

/// What was asked for was learned, and no object carries somebody else's fence.
pub(super) fn judge(case: &Case<'_>) -> GateResult {
    let mut parts: Vec<GateResult> = case
        .facts
        .missing
        .iter()
        .map(|(source, why)| GateResult::hold(source, format!("{source}: {why}"), format!("{source} answers again")))
        .collect();
    if let Some(doubt) = &case.release.doubt {
        parts.push(GateResult::hold("doubt", doubt.clone(), "we have looked ourselves"));
    }
    if case.facts.objects.is_empty() && case.facts.missing.is_empty() {
        parts.push(GateResult::hold("objects", "the cluster was not read yet", "the cluster answers"));
    }
    for (object, found) in &case.facts.objects {
        let foreign = found.foreign.clone().or_else(|| {
            let fence = found.stamp.as_ref()?.fence.as_ref()?;
            (fence.ledger != case.given.ledger).then(|| fence.to_string())
        });
        if let Some(foreign) = foreign {
            parts.push(GateResult::hold(
                "fence",
                format!("{object} carries the fence of another ledger: {foreign}"),
                "the other installation gives the object up, or its annotation is removed by a person",
            ));
        }
        let fence = found.stamp.as_ref().and_then(|stamp| stamp.fence.as_ref());
        if let Some(fence) = fence.filter(|_| case.target.is_beyond(&case.given.ledger, object, found)) {
            parts.push(GateResult::hold(
                "ledger",
                format!("{object} carries {fence}, which this ledger never issued: it was restored from a backup"),
                "a person raises the epoch",
            ));
        }
    }
    if parts.is_empty() {
        let objects = case.facts.objects.values().filter(|found| found.stamp.is_some()).count();
        return GateResult::pass("cluster", format!("{} read, ours to write", plural(objects, "object", "objects")));
    }
    GateResult::all_of("cluster", "", parts)
}
