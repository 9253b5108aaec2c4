//! `release show`: one release on one screen.

use std::collections::BTreeSet;

use portcullis_domain::event::What;
use portcullis_domain::verdict::Verdict;

use super::glass::{self, Standing};
use super::screen::{Screen, Tone};
use super::{gates, sections, timeline};
use crate::api::{ReleaseDetail, State};
use crate::when::Times;

/// One release: are users all right, what runs, why, what by whom, what to do.
pub(crate) fn show(view: &ReleaseDetail, screen: Screen, times: Times, all: bool) -> String {
    let (words, tone) = sections::headline(view, times);
    let title = format!("{}   release {}", view.summary.target, view.summary.id);
    let mut parts = vec![format!(
        "{}\n{}",
        screen.bold(&screen.sides(&title, &words, tone)),
        sections::byline(view, screen, times)
    )];
    let state = view.summary.state;
    let waiting = matches!(state, State::Gathering | State::Gated | State::Cleared);
    let never_began = view.release.policy.is_none() && state.is_settled();
    if state != State::RolledBack && state != State::RollingBack && state != State::NeedsHelp {
        parts.push(sections::stages(view, screen));
    }
    if waiting || never_began {
        if never_began {
            parts.push(facts(view, screen, times));
        }
        parts.push(sections::services(view, screen));
        if let Some(judgement) = &view.gates {
            parts.push(gates::tree(judgement, view.summary.plan, screen, times, all));
        }
        if all || view.gates.is_none() {
            parts.push(timeline::timeline(&view.ledger, screen, times, all));
        }
        if waiting {
            parts.push(ways(view));
        }
    } else {
        parts.push(facts(view, screen, times));
        if all {
            parts.push(sections::services(view, screen));
            if let Some(judgement) = &view.gates {
                parts.push(gates::tree(judgement, view.summary.plan, screen, times, all));
            }
        }
        parts.push(timeline::timeline(&view.ledger, screen, times, all));
        parts.push(ways(view));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// NOW, WHY, COST, DO.
fn facts(view: &ReleaseDetail, screen: Screen, times: Times) -> String {
    let mut now = sections::serving(&view.live);
    if sections::is_mixed(view) {
        now = format!("MIXED   {now}");
    }
    let back = sections::restored_at(view).filter(|_| view.summary.state == State::RolledBack);
    let more: Vec<String> =
        back.map(|at| format!("back at {}", times.second(at))).into_iter().chain(sections::alarms(view)).collect();
    if !more.is_empty() {
        let fits = super::text::width(&now) + more.join(", ").len() < 85;
        now = format!("{now}{}{}", if fits { "   " } else { "\n" }, more.join(", "));
    }
    let mut out = vec![sections::fact("NOW", &now, screen)];
    if let Some(why) = why(view) {
        out.push(sections::fact("WHY", &why, screen));
    }
    if let Some(cost) = cost(view, times) {
        out.push(sections::fact("COST", &cost, screen));
    }
    if let Some(until) = view.hands_off.filter(|until| *until > times.now()) {
        let words = format!("hands off until {}: nothing is written, rollbacks neither", times.second(until));
        out.push(screen.paint(Tone::Warn, &sections::fact("NOTE", &words, screen)));
    }
    out.push(sections::fact("DO", &to_do(view, times), screen));
    out.join("\n")
}

/// What a release that was undone cost its users, as far as it was measured: up to the last window before the way back.
fn cost(view: &ReleaseDetail, times: Times) -> Option<String> {
    let watch = view.release.watch.as_ref().filter(|watch| watch.requests > 0 && view.release.rollback.is_some())?;
    Some(format!(
        "{} of {} requests failed   {} to {}",
        super::text::thousands(watch.failed),
        super::text::thousands(watch.requests),
        times.second(watch.since),
        times.second(watch.measured_to)
    ))
}

/// Why it is as it is.
fn why(view: &ReleaseDetail) -> Option<String> {
    let release = &view.release;
    if let Some(asking) = release.asking.as_ref().filter(|_| !view.summary.state.is_settled()) {
        return Some(asking.why.clone());
    }
    if let Some(rollback) = &release.rollback {
        return Some(rollback.why.to_string());
    }
    if view.summary.state == State::Live {
        return view.ledger.iter().rev().find_map(|event| match &event.what {
            What::Measured { saw, .. } => Some(format!("the watch ended well: {saw}")),
            _ => None,
        });
    }
    view.summary.why.clone()
}

/// What the reader must do; often nothing.
fn to_do(view: &ReleaseDetail, times: Times) -> String {
    let commit = view.release.commit.short();
    match view.summary.state {
        State::NeedsHelp => "choose one of the ways out below; until then nothing moves".into(),
        _ if view.release.asking.is_some() && !view.summary.state.is_settled() => "answer: see below".into(),
        _ if view.release.paused && !view.summary.state.is_settled() => {
            "it is paused: let it go on, or cancel it".into()
        }
        State::RolledBack => {
            format!("nothing for traffic. {commit} may not be released here again until someone lifts it.")
        }
        State::RollingBack => "nothing: traffic is being brought back".into(),
        State::Live => match view.window_until.filter(|until| *until > times.now()) {
            Some(until) if sections::forward_only(view) => {
                format!("nothing. Until {} you are asked if it hurts: it is forward only.", times.minute(until))
            }
            Some(until) => format!("nothing. It is still rolled back by itself until {}.", times.minute(until)),
            None => "nothing".into(),
        },
        State::Rejected | State::Expired | State::Cancelled | State::Failed => {
            format!("nothing for traffic. To try again, push a new commit or start a release of {commit}.")
        }
        state if state.is_settled() => "nothing".into(),
        _ if sections::forward_only(view) => {
            "nothing: it is watched. It is forward only: if it hurts, it stops and asks you".into()
        }
        _ => "nothing: it is watched, and rolled back by itself if it hurts".into(),
    }
}

/// The commands that make sense now.
fn ways(view: &ReleaseDetail) -> String {
    let (id, target) = (view.summary.id, &view.summary.target);
    let mut out: Vec<(&str, String)> = Vec::new();
    let state = view.summary.state;
    let asks = view.release.asking.is_some() && !state.is_settled();
    match state {
        State::Gathering | State::Gated => {
            let wanted = view.gates.iter().flat_map(|judgement| &judgement.gates);
            let approval = wanted.into_iter().any(|gate| gate.gate == "approval" && gate.verdict == Verdict::Hold);
            if let Some(plan) = view.summary.plan.filter(|_| approval) {
                out.push(("Approve", format!("portcullis release approve {id} --plan {plan}")));
            }
            out.extend(skip(view));
            out.push(("Veto", format!("portcullis release reject {id} --reason TEXT")));
        }
        State::NeedsHelp => {
            out.push(("Back", format!("portcullis rollback {target} --reason TEXT      all on what served before")));
            out.push(("Keep", format!("portcullis resolve {target} --reason TEXT       what is there, as it is")));
        }
        State::RolledBack => {
            out.push(("Then", format!("portcullis freeze {target} --reason TEXT        stop further releases")));
            let brought = view.release.artifacts.values().find(|artifact| !artifact.kept);
            let digest = brought.map_or_else(|| "DIGEST".to_owned(), |artifact| artifact.digest.short());
            out.push(("Lift", format!("portcullis quarantine lift {target} {digest} --reason TEXT")));
        }
        State::Live if view.window_until.is_some() => {
            out.push(("Undo", format!("portcullis rollback {target} --reason TEXT")));
        }
        state if state.is_settled() => {}
        _ => {
            if asks || view.release.paused {
                let verb = if asks { "switch" } else { "resume" };
                out.push(("Go on", format!("portcullis release {verb} {id}")));
            }
            if state != State::RollingBack {
                out.push(("Undo", format!("portcullis rollback {target} --reason TEXT")));
            }
        }
    }
    out.push(("More", format!("portcullis release gates {id} | ledger {id} | show {id} --all")));
    out.iter().map(|(name, way)| format!("{name:<10}{way}")).collect::<Vec<_>>().join("\n")
}

/// The command of the next person, where somebody would skip gates and is not enough.
fn skip(view: &ReleaseDetail) -> Option<(&'static str, String)> {
    let plan = view.summary.plan?;
    let said = view.release.glass.iter().filter(|glass| glass.plan == plan);
    let gates: BTreeSet<String> = said.flat_map(|glass| glass.gates.iter().cloned()).collect();
    let standing = Standing::of(view, plan, &gates);
    let open = standing.open();
    (!open.is_empty()).then(|| ("Skip too", glass::command(view.summary.id, plan, &open)))
}
