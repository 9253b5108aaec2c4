//! The gates: functions from facts to a verdict with its evidence. One file per gate; none has a side effect.

mod alarms;
mod approval;
mod calendar;
mod cluster;
pub mod glass;
mod images;
mod promotion;
mod rules;
mod scan;
mod stops;
mod way_back;

use crate::facts::Facts;
use crate::given::Given;
use crate::policy::SealedPolicy;
use crate::target::{Release, Target};
use crate::verdict::Judgement;

pub use approval::{Excluded, excluded, may_approve};
pub(crate) use scan::uncounted;

/// What a gate may look at.
pub struct Case<'a> {
    /// The target.
    pub target: &'a Target,
    /// The release.
    pub release: &'a Release,
    /// The policy it is judged by.
    pub policy: &'a SealedPolicy,
    /// The facts.
    pub facts: &'a Facts,
    /// The moment and the scopes.
    pub given: &'a Given,
}

/// Judges every gate that applies. The order is the order on the screen.
pub fn judge(case: &Case<'_>) -> Judgement {
    let scan = scan::judge(case);
    let reviews = scan.as_ref().map(|scan| scan.reviews.clone()).unwrap_or_default();
    let mut gates = vec![images::judge(case), cluster::judge(case)];
    gates.extend(scan.map(|scan| scan.result));
    gates.extend(alarms::judge(case));
    gates.extend(promotion::judge(case));
    gates.push(way_back::judge(case));
    gates.push(stops::judge(case));
    gates.extend(stops::quarantine(case));
    gates.extend(stops::turn(case));
    gates.extend(rules::judge(case));
    gates.extend(approval::confirmation(case));
    gates.extend(approval::judge(case, &reviews));
    let gates = gates.into_iter().map(|result| glass::skip(case, result)).collect();
    Judgement { at: case.given.now, gates }
}

/// `3 services` or `1 service`.
fn plural(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}
