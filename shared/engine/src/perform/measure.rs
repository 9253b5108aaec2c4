//! Measuring the next window of a watch.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{Measure, ObjectKey, Outcome, Window};
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::policy::Place;
use portcullis_domain::target::{Phase, Target};
use portcullis_domain::time::{Millis, Timestamp};

use super::Performed;
use crate::ports::{PortResult, Ports};

/// The release an intention to measure belongs to, with the end of its last recorded window.
fn measured_to(state: &Target, seq: Seq) -> Option<(Phase, Timestamp)> {
    let outstanding = state.outstanding.get(&seq)?;
    let release = state.releases.get(&outstanding.release)?;
    Some((release.phase, release.watch.as_ref()?.measured_to))
}

/// Whether windows must join without a gap: then each has its own moment. Once live the newest counts, at the pace of
/// the intention.
pub(super) fn is_contiguous(state: &Target, seq: Seq) -> bool {
    measured_to(state, seq).is_some_and(|(phase, _)| phase == Phase::Watching)
}

/// When the next window of a watch is over and its data has settled.
pub(super) fn due_at(ports: &Ports, state: &Target, seq: Seq, ask: &Measure) -> Timestamp {
    match measured_to(state, seq) {
        Some((Phase::Watching, from)) => from + ask.every + ports.metrics.settle(),
        _ => Timestamp(0),
    }
}

/// The window to measure: contiguous with the last one while watching, the newest that is over once live.
fn window(ports: &Ports, phase: Phase, measured_to: Timestamp, every: Millis) -> (Timestamp, Timestamp) {
    let settled = ports.clock.now() - ports.metrics.settle();
    let windows = settled.since(measured_to).0 / every.0.max(1);
    let from = match phase {
        Phase::Watching => measured_to,
        _ => measured_to + Millis(windows.saturating_sub(1) * every.0),
    };
    (from, from + every)
}

/// Measures one window and reads the alarms with it. Which pods are ready is read from the cluster; if it can not be
/// asked the window says nothing of it.
pub(super) async fn measure(
    ports: &Ports,
    target: &TargetId,
    state: &Target,
    seq: Seq,
    place: &Place,
    ask: &Measure,
) -> PortResult<Performed> {
    let Some((phase, measured_to)) = measured_to(state, seq) else { return Ok(Performed::Gone) };
    let (from, to) = window(ports, phase, measured_to, ask.every);
    let again = to + ports.metrics.settle();
    if ports.clock.now() < again {
        return Ok(Performed::NotYet { again });
    }
    let services: BTreeSet<_> = ask.services.keys().cloned().collect();
    let (measured, alarms, objects) = tokio::join!(
        ports.metrics.measure(target, place, ask, from, to),
        async {
            if ask.alarms.is_empty() { Ok(BTreeMap::new()) } else { ports.metrics.alarms(place, &ask.alarms).await }
        },
        ports.cluster.observe(target, place, &services),
    );
    let mut services = measured?;
    let alarms = alarms?;
    match objects {
        Ok(objects) => {
            for (service, colour) in &ask.services {
                if let Some(found) = objects.get(&ObjectKey::workload(service, *colour)) {
                    let window = services.entry(service.clone()).or_insert_with(Window::default);
                    window.ready = window.ready.or(Some(found.ready));
                }
            }
        }
        Err(error) => tracing::warn!(%target, %error, "the ready pods could not be counted for this window"),
    }
    Ok(Performed::Outcome(Outcome::Measured { from, to, services, alarms }))
}
