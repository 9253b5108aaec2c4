//! `GET /metrics`: what the server counts, in the OpenMetrics text format (OpenMetrics 1.0, "Text format").

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_domain::time::Timestamp;
use portcullis_engine::counting::Appends;
use portcullis_engine::sweep::BrokenBackups;

use crate::api::State;
use crate::view::Fold;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What this process counts. What is in the ledgers is counted from there.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Appends by how they went.
    pub(crate) appends: Arc<Appends>,
    /// The environments whose newest backup is not whole.
    pub(crate) backups: Arc<BrokenBackups>,
    events: Mutex<BTreeMap<(String, &'static str), u64>>,
    commands: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// Counts an event by its kind and what came of it.
    pub(crate) fn event(&self, kind: &str, result: &'static str) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Kinds come from outside: past a bound they are one.
        let known = events.len() < 200 || events.keys().any(|(name, _)| name == kind);
        let kind = if known { kind } else { "other" };
        *events.entry((kind.to_owned(), result)).or_default() += 1;
    }

    /// Counts a person's command by what came of it.
    pub(crate) fn command(&self, result: &'static str) {
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner).entry(result).or_default() += 1;
    }
}

/// The text of `/metrics`.
pub(crate) fn render<'a>(
    counters: &Counters,
    folds: impl Iterator<Item = &'a Fold> + Clone,
    oldest_overdue: Option<Timestamp>,
    now: Timestamp,
) -> String {
    let mut out = String::new();
    family(&mut out, "portcullis_build", "info", "The version that runs.");
    let _ = writeln!(out, "portcullis_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));

    family(&mut out, "portcullis_events", "counter", "Events posted, by kind and what came of them.");
    for ((kind, result), count) in counters.events.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = writeln!(out, "portcullis_events_total{{kind=\"{}\",result=\"{result}\"}} {count}", escaped(kind));
    }
    family(&mut out, "portcullis_commands", "counter", "Commands of people, by what came of them.");
    for (result, count) in counters.commands.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = writeln!(out, "portcullis_commands_total{{result=\"{result}\"}} {count}");
    }
    family(&mut out, "portcullis_appends", "counter", "Appends to ledgers; overtaken ones were decided again.");
    let appends = &counters.appends;
    for (result, count) in [("made", &appends.made), ("overtaken", &appends.overtaken), ("failed", &appends.failed)] {
        let _ = writeln!(out, "portcullis_appends_total{{result=\"{result}\"}} {}", count.load(Ordering::Relaxed));
    }

    let help = "1 for each environment whose newest backup is not whole.";
    family(&mut out, "portcullis_backup_broken", "gauge", help);
    for target in counters.backups.all().keys() {
        let _ = writeln!(out, "portcullis_backup_broken{{environment=\"{target}\"}} 1");
    }

    family(&mut out, "portcullis_releases", "gauge", "Releases by state.");
    let mut states: BTreeMap<State, u64> = State::ALL.into_iter().map(|state| (state, 0)).collect();
    for summary in folds.clone().flat_map(Fold::summaries) {
        *states.entry(summary.state).or_default() += 1;
    }
    for (state, count) in states {
        let _ = writeln!(out, "portcullis_releases{{state=\"{}\"}} {count}", state.name());
    }
    family(&mut out, "portcullis_ledger_events", "gauge", "Events in the ledger of each environment.");
    for fold in folds.clone() {
        let _ = writeln!(out, "portcullis_ledger_events{{environment=\"{}\"}} {}", fold.target(), fold.state().seq);
    }
    let (count, time) = folds.fold((0, 0), |(count, time), fold| {
        let rollbacks = fold.rollbacks();
        (count + rollbacks.count, time + rollbacks.time.0)
    });
    let help = "Rollbacks, and the seconds from their decision to traffic being back.";
    family(&mut out, "portcullis_rollback_seconds", "summary", help);
    let _ = writeln!(out, "portcullis_rollback_seconds_count {count}");
    let _ = writeln!(out, "portcullis_rollback_seconds_sum {}.{:03}", time / 1_000, time % 1_000);

    let help = "For how long the most overdue environment has waited to be looked at; 0 = none is overdue.";
    family(&mut out, "portcullis_oldest_overdue_seconds", "gauge", help);
    let late = oldest_overdue.map_or(0, |at| now.since(at).0);
    let _ = writeln!(out, "portcullis_oldest_overdue_seconds {}.{:03}", late / 1_000, late % 1_000);
    out.push_str("# EOF\n");
    out
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# TYPE {name} {kind}\n# HELP {name} {help}");
}

fn escaped(label: &str) -> String {
    crate::show::text::safe(label).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_openmetrics_format() {
        let counters = Counters::default();
        counters.event("ECR Image Action", "recorded");
        counters.event("evil\"\n", "ignored");
        counters.command("refused");
        let fold = Fold::new("shop/production".parse().unwrap());
        let text = render(&counters, std::iter::once(&fold), Some(Timestamp(1_000)), Timestamp(3_500));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn kinds_from_outside_cannot_grow_without_bound() {
        let counters = Counters::default();
        for n in 0..1_000 {
            counters.event(&format!("kind {n}"), "ignored");
        }
        assert!(counters.events.lock().unwrap().len() <= 201);
    }
}
