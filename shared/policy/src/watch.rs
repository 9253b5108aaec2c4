//! Thresholds, alarms and the way back of one environment.

use portcullis_domain::policy::{Comparison, HoldFor, Metric, MetricsFrom, RollBack, Severity, Trigger, Unit, Watch};
use portcullis_domain::time::Millis;

use crate::amounts::Measure;
use crate::defaults;
use crate::diagnostic::{Diagnostic, Sink};
use crate::environment::Env;
use crate::grammar;
use crate::nearest::shown;
use crate::node::Span;
use crate::shape;

/// The shortest measured window.
const SHORTEST_WINDOW: Millis = Millis(100);
/// The shortest that load balancers can tell anything of (Elastic Load Balancing, "`CloudWatch` metrics for your Application
/// Load Balancer": measured and sent in 60-second intervals).
const SHORTEST_OF_BALANCERS: Millis = Millis::minutes(1);

/// Reads `watch` and `roll_back`.
pub(crate) fn read(env: &Env<'_>, blue_green: bool, sink: &mut Sink) -> (Watch, RollBack) {
    let file = env.app.file;
    let length =
        env.duration(&["watch", "for"]).filter(|length| length.0 > 0).unwrap_or_else(|| defaults::watch(blue_green));
    let shortest = match env.app.metrics_from {
        MetricsFrom::Alb => SHORTEST_OF_BALANCERS,
        MetricsFrom::Local => SHORTEST_WINDOW,
    };
    let usual = defaults::every(length).max(shortest).min(length);
    let mut every = env.duration(&["watch", "every"]).unwrap_or(usual);
    if let Some(entry) = env.find(&["watch", "for"]).filter(|_| length < shortest) {
        let found = Diagnostic::error(format!("a watch of {length} is too short to measure"));
        sink.push(
            found
                .label(file, entry.value.span.clone(), format!("at least {shortest}"))
                .help(format!("write, for example:  for: {}", defaults::watch(blue_green))),
        );
    } else if let Some(entry) = env.find(&["watch", "every"]) {
        let wrong = if every > length {
            let label = "longer than the watch".to_owned();
            Some((format!("a window of {every} does not fit into a watch of {length}"), label))
        } else if every < shortest {
            Some((format!("a window of {every} is too short to measure"), format!("at least {shortest}")))
        } else {
            None
        };
        if let Some((message, label)) = wrong {
            let found = Diagnostic::error(message).label(file, entry.value.span.clone(), label);
            every = usual;
            sink.push(found.help(format!("write, for example:  every: {every}")));
        }
    }
    let window = env.duration(&["roll_back", "window"]).unwrap_or(defaults::WINDOW);
    let watch = Watch {
        length,
        every,
        healthy: triggers(env, &["watch", "healthy"], Reading::MustStay, length, every, sink),
        traffic: traffic(env, sink),
        extend: env.duration(&["watch", "extend"]).unwrap_or(length),
        alarms_roll_back: patterns(env, "roll_back"),
        alarms_ask: patterns(env, "ask"),
    };
    alarms(env, &watch, sink);
    let lasts = length.max(window);
    let health = env.find(&["roll_back", "when", "health"]);
    let failing = health.and_then(|entry| grammar::failing(entry.value.text()?).ok());
    if let (Some(failing), Some(entry)) = (failing, health) {
        too_long(file, failing, lasts, &entry.value.span, sink);
    }
    let roll_back = RollBack {
        window,
        keep_old: env.duration(&["roll_back", "keep_old"]).unwrap_or(defaults::KEEP_OLD),
        when: triggers(env, &["roll_back", "when"], Reading::Undoes, lasts, every, sink),
        health_failing_for: failing,
        vulnerability: env
            .text(&["roll_back", "when", "vulnerability"])
            .and_then(|text| Severity::ALL.into_iter().find(|severity| severity.to_string() == text)),
    };
    (watch, roll_back)
}

/// How a threshold is meant where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It must stay true: its opposite is the breach.
    MustStay,
    /// It is the breach.
    Undoes,
}

fn triggers(
    env: &Env<'_>,
    path: &[&str; 2],
    reading: Reading,
    lasts: Millis,
    every: Millis,
    sink: &mut Sink,
) -> Vec<Trigger> {
    let mut triggers = Vec::new();
    for (metric, name) in Metric::ALL {
        let Some(entry) = env.find(&[path[0], path[1], name]) else { continue };
        let Ok(threshold) = shape::threshold(&entry.value, Measure::from(metric.unit())) else { continue };
        let breach = match reading {
            Reading::MustStay => threshold.comparison.negated(),
            Reading::Undoes => threshold.comparison,
        };
        let hold = threshold.hold.map_or(HoldFor::Points(2), HoldFor::Time);
        let file = env.app.file;
        if let Some(always) = foregone(metric, breach, threshold.limit) {
            let (message, label) = match (always, reading) {
                (true, Reading::MustStay) => {
                    (format!("{name} can never be so: every release would fail"), "never true")
                }
                (true, Reading::Undoes) => {
                    (format!("{name} is always so: every release would be rolled back"), "always true")
                }
                (false, Reading::MustStay) => (format!("{name} is always so: it says nothing"), "always true"),
                (false, Reading::Undoes) => (format!("{name} can never be so: it undoes nothing"), "never true"),
            };
            let found = Diagnostic::error(message).label(file, entry.value.span.clone(), label);
            let example = match metric.unit() {
                Unit::BasisPoints => "1%",
                Unit::Micros => "800ms",
                Unit::MilliPerSecond => "5/s",
            };
            let word = if reading == Reading::MustStay { "below" } else { "above" };
            sink.push(found.help(format!("write, for example:  {name}: {word} {example}")));
        }
        match hold {
            HoldFor::Time(time) => too_long(file, time, lasts, &entry.value.span, sink),
            HoldFor::Points(points) => {
                let needed = Millis(every.0.saturating_mul(u64::from(points)));
                if needed > lasts {
                    sink.push(
                        Diagnostic::error(format!(
                            "{name} can never be breached: {points} windows of {every} are longer than {lasts}"
                        ))
                        .label(file, entry.value.span.clone(), "counts only after two windows")
                        .help("make `every` at most half of `for`, or give the threshold a time of its own"),
                    );
                }
            }
        }
        triggers.push(Trigger { metric, breach, limit: threshold.limit, hold });
    }
    triggers
}

/// Whether a breach is certain (true) or impossible (false) whatever is measured.
fn foregone(metric: Metric, breach: Comparison, limit: i64) -> Option<bool> {
    let most = if metric.unit() == Unit::BasisPoints { 10_000 } else { i64::MAX };
    match breach {
        Comparison::AtLeast if limit <= 0 => Some(true),
        Comparison::AtMost if limit >= most => Some(true),
        Comparison::Below if limit <= 0 => Some(false),
        Comparison::Above if limit >= most => Some(false),
        _ => None,
    }
}

fn too_long(file: usize, time: Millis, lasts: Millis, span: &Span, sink: &mut Sink) {
    if time > lasts {
        let found =
            Diagnostic::error(format!("this can never count: it must last {time}, but is looked at for {lasts}"));
        sink.push(found.label(file, span.clone(), "too long").help("make its `for` shorter"));
    }
}

fn traffic(env: &Env<'_>, sink: &mut Sink) -> Option<u64> {
    let entry = env.find(&["watch", "traffic"])?;
    let threshold = shape::threshold(&entry.value, Measure::Rate).ok()?;
    if threshold.comparison != Comparison::AtLeast || threshold.hold.is_some() || threshold.limit <= 0 {
        sink.push(
            Diagnostic::error("watch.traffic: this is not a least traffic")
                .label(env.app.file, entry.value.span.clone(), "`at least`, more than 0, without `for`")
                .help("write:  traffic: at least 5/s"),
        );
    }
    u64::try_from(threshold.limit).ok()
}

fn patterns(env: &Env<'_>, list: &str) -> Vec<String> {
    let items = env.find(&["watch", "alarms", list]).map_or(&[][..], |entry| entry.value.items());
    items.iter().filter_map(|item| item.text()).map(str::to_owned).collect()
}

fn alarms(env: &Env<'_>, watch: &Watch, sink: &mut Sink) {
    let both = watch.alarms_ask.iter().find(|pattern| watch.alarms_roll_back.contains(pattern));
    if let (Some(pattern), Some(entry)) = (both, env.find(&["watch", "alarms", "ask"])) {
        let found = Diagnostic::error(format!("the alarm `{}` is in both lists", shown(pattern)));
        let found = found.label(env.app.file, entry.value.span.clone(), "also under roll_back");
        sink.push(found.help("each alarm has one consequence: roll_back or ask"));
    }
}
