//! `status`: every environment, and what waits for whom.

use super::screen::{Screen, Tone};
use super::sections::serving;
use super::{list, text};
use crate::api::{FleetHold, State, TargetSummary};
use crate::when::Times;

/// Every environment: is it all right, what serves, what is on its way, what must I do.
pub(crate) fn show(targets: &[TargetSummary], screen: Screen, times: Times) -> String {
    if targets.is_empty() {
        return "No environments: the policy names none, and the ledger has none.".to_owned();
    }
    targets.iter().map(|target| one(target, screen, times)).collect::<Vec<_>>().join("\n\n")
}

fn one(target: &TargetSummary, screen: Screen, times: Times) -> String {
    let (words, tone) = health(target);
    let mode = target.mode.map_or(String::new(), |mode| format!("   {mode:?}").to_lowercase());
    let title = format!("{}{mode}", target.target);
    let mut out = vec![screen.bold(&screen.sides(&title, words, tone))];
    out.push(line("serving", &serving(&target.live), screen));
    for release in &target.releases {
        let (state, tone) = list::word(release);
        let since = times.minute(release.changed_at);
        let name = format!("release {}  {}  {}", release.id, release.commit.short(), screen.paint(tone, &state));
        let why = release.why.clone().filter(|_| release.state != State::Live).or_else(|| release.title.clone());
        let why = screen.safe(&why.unwrap_or_default());
        out.push(line("", &format!("{name}  since {since}  {}", screen.cut(&why, 40)), screen));
        if let Some(command) = to_do(release) {
            out.push(line("do", &command, screen));
        }
    }
    if let Some(why) = &target.line_stopped {
        out.push(line("stopped", &format!("no release begins: {why}"), screen));
        out.push(line("do", &format!("portcullis resume-line {} --reason TEXT", target.target), screen));
    }
    for (service, digest) in &target.vulnerable {
        let words = format!("{service} {} serves, and something bad was found in it", digest.short());
        out.push(line("warning", &words, screen));
    }
    if let Some(fleet) = &target.fleet {
        out.push(line("frozen", &fleet_words(fleet, times), screen));
        out.push(line("do", "portcullis unfreeze --all    once you know that it was not the infrastructure", screen));
    }
    for alarm in &target.ringing {
        out.push(line("alarm", &format!("{alarm} rings"), screen));
    }
    if let Some(until) = target.hands_off.filter(|until| *until > times.now()) {
        out.push(line("note", &format!("hands off until {}: nothing is written", times.second(until)), screen));
    }
    for at in &target.stops {
        let until = at.stop.until.map_or("it is lifted".to_owned(), |until| times.minute(until));
        let words = format!("{} until {until}, by {}: {}", at.scope, at.stop.who, at.stop.reason);
        out.push(line("frozen", &words, screen));
    }
    out.join("\n")
}

fn line(name: &str, words: &str, screen: Screen) -> String {
    // What is from outside was made safe where colours are mixed in; cutting happens there, too.
    let words = if words.contains('\u{1b}') { words.to_owned() } else { screen.cut(&screen.safe(words), 90) };
    format!("  {}{words}", text::pad(name, 9)).trim_end().to_owned()
}

/// Why nothing begins anywhere, and until when.
pub(crate) fn fleet_words(fleet: &FleetHold, times: Times) -> String {
    let count = text::count(fleet.environments.len() as u64, "environment");
    let until = times.minute(fleet.until);
    format!("{count} rolled back by themselves within {}; until {until}, or it is lifted", fleet.within)
}

fn health(target: &TargetSummary) -> (&'static str, Tone) {
    let any = |wanted: &[State]| target.releases.iter().any(|release| wanted.contains(&release.state));
    if any(&[State::NeedsHelp]) || target.releases.iter().any(|release| release.asks) {
        ("NEEDS A PERSON", Tone::Bad)
    } else if any(&[State::RollingBack]) {
        ("ROLLING BACK", Tone::Warn)
    } else if target.line_stopped.is_some() {
        ("LINE STOPPED", Tone::Bad)
    } else if !target.ringing.is_empty() {
        ("ALARM", Tone::Warn)
    } else if any(&[State::BackingUp, State::Deploying, State::Verifying, State::Switching, State::Watching]) {
        ("RELEASING", Tone::Plain)
    } else if any(&[State::Gated, State::Gathering]) {
        ("ok, one waits", Tone::Warn)
    } else if target.live.is_empty() {
        ("nothing known yet", Tone::Dim)
    } else {
        ("ok", Tone::Good)
    }
}

fn to_do(release: &crate::api::ReleaseSummary) -> Option<String> {
    match release.state {
        State::Gated | State::NeedsHelp => Some(format!("portcullis release show {}", release.id)),
        _ if release.asks && !release.state.is_settled() => Some(format!("portcullis release show {}", release.id)),
        _ => None,
    }
}
