//! How new images take over: the strategy, the steps in which traffic moves, and what moves it.

use portcullis_domain::policy::{ALL_TRAFFIC, Strategy, TrafficBy, percent};
use portcullis_domain::time::Millis;

use crate::amounts::{self, Measure};
use crate::defaults;
use crate::diagnostic::{Diagnostic, Sink};
use crate::environment::Env;
use crate::node::{Entry, Kind};

/// The most steps that traffic moves in.
const MOST_STEPS: usize = 20;
/// The finest step of a load balancer, in ten-thousandths: its weights are whole numbers from 0 to 999 (Elastic Load
/// Balancing, "Listener rules for your Application Load Balancer", forward actions).
const FINEST_OF_BALANCERS: u16 = 10;
/// What a good list looks like.
const EXAMPLE: &str = "steps: [25%, 50%, 100%]";

/// Reads `strategy`; a window of the watch is so long.
pub(crate) fn strategy(env: &Env<'_>, window: Millis, sink: &mut Sink) -> Option<Strategy> {
    let entry = env.find(&["strategy"])?;
    match (&entry.value.kind, entry.value.text()) {
        (_, Some("rolling")) => Some(Strategy::Rolling),
        (_, Some("blue-green")) => Some(defaults::blue_green(false)),
        (Kind::Map(_), _) if entry.value.get("blue-green").is_some() => {
            let manual = env.text(&["strategy", "blue-green", "switch"]) == Some("manual");
            Some(match steps(env, sink) {
                Some(steps) if steps.len() > 1 => {
                    Strategy::BlueGreen { steps, every: every(env, window, sink), manual }
                }
                _ => {
                    lonely_every(env, sink);
                    defaults::blue_green(manual)
                }
            })
        }
        _ => None,
    }
}

/// Whether it replaces pods in place, as far as can be told before everything is read.
pub(crate) fn is_rolling(env: &Env<'_>) -> bool {
    env.text(&["strategy"]) == Some("rolling")
}

/// The key of the strategy in force, where it is written as a map.
fn find<'a>(env: &Env<'a>, key: &str) -> Option<&'a Entry<'a>> {
    let written = env.find(&["strategy"])?;
    matches!(written.value.kind, Kind::Map(_)).then(|| env.find(&["strategy", "blue-green", key])).flatten()
}

/// The shares of 10,000; none if there are none, or something is wrong with them.
fn steps(env: &Env<'_>, sink: &mut Sink) -> Option<Vec<u16>> {
    let entry = find(env, "steps")?;
    let file = env.app.file;
    let items = entry.value.items();
    let read = |text: &str| u16::try_from(amounts::amount(text, Measure::Percent).ok()?).ok();
    let shares: Vec<u16> = items.iter().map(|item| read(item.text()?)).collect::<Option<_>>()?;
    let mut refuse = |at: usize, message: String, label: String| {
        let span = items.get(at).map_or(entry.value.span.clone(), |item| item.span.clone());
        sink.push(Diagnostic::error(message).label(file, span, label).help(format!("write, for example:  {EXAMPLE}")));
        None
    };
    let last = *shares.last()?;
    if shares.len() > MOST_STEPS {
        return refuse(
            MOST_STEPS,
            format!("{} steps are too many", shares.len()),
            format!("one more than {MOST_STEPS}, the most"),
        );
    }
    let mut before = 0;
    for (at, share) in shares.iter().copied().enumerate() {
        if share <= before {
            let message = if at == 0 {
                format!("a step of {} moves no traffic", percent(share))
            } else {
                format!("a step of {} after {} moves no more traffic", percent(share), percent(before))
            };
            return refuse(at, message, format!("more than {}", percent(before)));
        }
        before = share;
    }
    if last != ALL_TRAFFIC {
        let message = format!("the last step is {}: the old version would never be left", percent(last));
        return refuse(shares.len() - 1, message, "the last step is 100%".to_owned());
    }
    Some(shares)
}

/// How long each step but the last is watched.
fn every(env: &Env<'_>, window: Millis, sink: &mut Sink) -> Millis {
    let usual = defaults::step(window);
    let Some(entry) = find(env, "every") else { return usual };
    let Some(every) = entry.value.text().and_then(|text| amounts::some_duration(text).ok()) else { return usual };
    if every < window {
        let message = format!("a step of {every} is too short to measure: one window of the watch is {window}");
        let found =
            Diagnostic::error(message).label(env.app.file, entry.value.span.clone(), format!("at least {window}"));
        sink.push(found.help(format!("write, for example:  every: {usual}")));
    }
    every
}

/// `every` where there is one step only.
fn lonely_every(env: &Env<'_>, sink: &mut Sink) {
    let few = find(env, "steps").is_none_or(|steps| steps.value.items().len() == 1);
    if let Some(entry) = find(env, "every").filter(|_| few) {
        let found = Diagnostic::error("`every` says how long each step but the last is watched, and there is no other");
        let found = found.label(env.app.file, entry.key_span.clone(), "means nothing here");
        sink.push(
            found.help(format!("add {EXAMPLE}, or remove `every`; the watch after all traffic has moved is watch.for")),
        );
    }
}

/// Reads `traffic`, and whether it can do what the strategy asks for.
pub(crate) fn traffic(env: &Env<'_>, strategy: Option<&Strategy>, sink: &mut Sink) -> TrafficBy {
    let entry = env.find(&["traffic"]);
    let by = match entry.map(|entry| entry.value.text()) {
        None | Some(Some("selector")) => TrafficBy::Selector,
        Some(Some("alb")) => TrafficBy::Alb,
        Some(Some("gateway")) => TrafficBy::Gateway,
        // Refused where it stands: what follows from it says nothing more.
        Some(_) => return TrafficBy::Selector,
    };
    let (Some(strategy), file) = (strategy, env.app.file) else { return by };
    if let (Strategy::Rolling, false, Some(entry)) = (strategy, by.is_selector(), entry) {
        let message = format!("{} is rolling: there is no traffic for {by} to move", env.name);
        let mut found =
            Diagnostic::error(message).label(file, entry.value.span.clone(), "has no two colours to share it");
        if let Some(strategy) = env.find(&["strategy"]) {
            found = found.label(file, strategy.value.span.clone(), "pods are replaced in place");
        }
        let instead = if env.overrides(&["traffic".to_owned()]) { "remove it" } else { "add  traffic: selector" };
        sink.push(found.help(format!("{instead}, or write  strategy: blue-green")));
    }
    let steps = find(env, "steps").filter(|_| strategy.steps().len() > 1);
    match (by, steps) {
        (TrafficBy::Selector, Some(steps)) => {
            let message = format!("{} moves its traffic in steps, and a Service's selector moves all of it", env.name);
            let mut found =
                Diagnostic::error(message).label(file, steps.value.span.clone(), "need something with weights");
            if let Some(entry) = entry {
                found = found.label(file, entry.value.span.clone(), "all or nothing");
            }
            sink.push(found.help("add  traffic: alb  or  traffic: gateway, or remove the steps"));
        }
        (TrafficBy::Alb, Some(steps)) => {
            let mut written = strategy.steps().iter().zip(steps.value.items());
            if let Some((share, item)) = written.find(|(share, _)| **share % FINEST_OF_BALANCERS != 0) {
                let message = format!("a load balancer can not send {} of its requests somewhere", percent(*share));
                let found = Diagnostic::error(message).label(file, item.span.clone(), "finer than 0.1%");
                sink.push(found.help("write one digit after the point at most, such as 12.5%"));
            }
        }
        _ => {}
    }
    by
}
