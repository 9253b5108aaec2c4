//! `decide` + `apply` + `next` for each signal, on one core.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portcullis_domain::action::Outcome;
use portcullis_domain::signal::Signal;
use portcullis_domain::target::Target;
use portcullis_domain::{apply, decide, next};
use serde_json::{Value, json};

use crate::report::{Goal, Line};
use crate::story::Story;
use crate::timing::in_turns;

const EVENTS: usize = 3_000;
const ROUNDS: usize = 60;
const GOAL: f64 = 200_000.0;

pub(crate) fn measure() -> Result<Vec<Line>> {
    let story = Story::of(EVENTS)?;
    ensure!(story.replay() == story.end, "the same signals lead to another state");
    let signals: Vec<&Signal> = story.steps.iter().map(|step| &step.signal).collect();
    let (ours, beside) =
        in_turns(ROUNDS, || story.replay(), || signals.iter().filter(|signal| through_json(signal).is_ok()).count());
    let count = count(signals.len());
    let appending = story.steps.iter().filter(|step| !step.events.is_empty()).count();
    let line =
        Line::new("decide", "decide + apply + next per signal, one core, best round", count / ours.best(), "signals/s")
            .goal(Goal::AtLeast(GOAL))
            .beside("serde_json writes and reads the same signals", count / beside.best(), "signals/s")
            .detail("median", format!("{:.0} thousand signals/s of {ROUNDS} rounds", count / ours.median() / 1e3))
            .detail("signals", signals.len())
            .detail("events", story.events().count())
            .detail("appending", format!("{:.0}% of the signals", 100.0 * self::count(appending) / count))
            .detail("micros", by_kind(&story));
    Ok(vec![line])
}

fn through_json(signal: &Signal) -> serde_json::Result<Signal> {
    serde_json::from_slice(&std::hint::black_box(serde_json::to_vec(signal)?))
}

/// The best time by kind of signal, with how many there are: where the time goes.
fn by_kind(story: &Story) -> Value {
    let mut best = vec![Duration::MAX; story.steps.len()];
    for _ in 0..ROUNDS / 3 {
        let mut target = Target::default();
        for (step, best) in story.steps.iter().zip(&mut best) {
            let begin = Instant::now();
            for event in &decide(&target, &story.policy, &step.signal, &step.given) {
                apply(&mut target, event);
            }
            std::hint::black_box(next(&target));
            *best = begin.elapsed().min(*best);
        }
    }
    let mut kinds: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (step, best) in story.steps.iter().zip(best) {
        let events = if step.events.is_empty() { "nothing" } else { "events" };
        let (time, count) = kinds.entry(format!("{} -> {events}", kind(&step.signal))).or_default();
        *time += best.as_secs_f64() * 1e6;
        *count += 1;
    }
    let each =
        kinds.into_iter().map(|(kind, (time, count))| (format!("{count} x {kind}"), json!(time / self::count(count))));
    Value::Object(each.collect())
}

fn kind(signal: &Signal) -> &'static str {
    match signal {
        Signal::Pushed(_) => "push",
        Signal::ImageDeleted { .. } => "image deleted",
        Signal::ScanReported { .. } => "scan",
        Signal::Alarm { .. } => "alarm",
        Signal::Person { .. } => "person",
        Signal::Wake => "wake",
        Signal::Outcome { outcome, .. } => match outcome {
            Outcome::Facts(_) => "look",
            Outcome::BackedUp { .. } => "backup",
            Outcome::Written | Outcome::Drift(_) => "write",
            Outcome::Seen(_) => "readiness",
            Outcome::TestPassed { .. } | Outcome::TestFailed { .. } => "test",
            Outcome::Measured { .. } => "window",
            Outcome::Observed(_) => "observation",
            Outcome::Failed { .. } => "failure",
        },
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
pub(crate) fn count(count: usize) -> f64 {
    count as f64
}
