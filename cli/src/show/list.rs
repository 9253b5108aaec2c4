//! `release list`: one line per release.

use super::screen::{Screen, Tone};
use super::text::pad;
use crate::api::{ReleaseSummary, State};
use crate::when::Times;
use std::fmt::Write as _;

/// The releases in their order, one line each.
pub(crate) fn show(releases: &[ReleaseSummary], screen: Screen, times: Times) -> String {
    if releases.is_empty() {
        return "No releases yet. A push to a branch or tag that the policy names opens one.".to_owned();
    }
    let widest = releases.iter().map(|release| release.target.to_string().len()).max().unwrap_or(0).clamp(11, 34);
    let row = |id: &str, target: &str, state: &str, commit: &str, when: &str, what: &str| {
        let target = pad(&screen.cut(target, widest), widest);
        format!("{id:>7}  {target}  {state}  {commit:<7}  {}  {what}", pad(when, 16))
    };
    let mut out = row("release", "environment", &pad("state", 14), "commit", "since", "");
    out.truncate(out.trim_end().len());
    for release in releases {
        let (words, tone) = word(release);
        let state = screen.paint(tone, &pad(&words, 14));
        let what = release.why.clone().filter(|_| !matches!(release.state, State::Live | State::Replaced));
        let what = screen.safe(&what.or_else(|| release.title.clone()).unwrap_or_default());
        let used = 7 + 2 + widest + 2 + 14 + 2 + 7 + 2 + 16 + 2;
        let what = screen.cut(&what, super::screen::WIDTH.saturating_sub(used));
        let id = release.id.to_string();
        let when = times.minute(release.changed_at);
        let line = row(&id, &release.target.to_string(), &state, release.commit.short(), &when, &what);
        let _ = write!(out, "\n{}", line.trim_end());
    }
    out
}

/// A release's state in a word or two, with its tone.
pub(crate) fn word(release: &ReleaseSummary) -> (String, Tone) {
    if release.asks && !release.state.is_settled() {
        return ("ASKS A PERSON".into(), Tone::Bad);
    }
    if release.paused && !release.state.is_settled() {
        return ("paused".into(), Tone::Warn);
    }
    let tone = match release.state {
        State::Live | State::Cleared | State::Observed => Tone::Good,
        State::Gathering | State::Gated | State::RollingBack | State::RolledBack | State::Expired => Tone::Warn,
        State::NeedsHelp | State::Rejected | State::Failed => Tone::Bad,
        _ => Tone::Plain,
    };
    let words = match release.state {
        State::Gated => "waiting".to_owned(),
        State::NeedsHelp => "NEEDS A PERSON".to_owned(),
        State::Live => "LIVE".to_owned(),
        state => state.name().replace('_', " "),
    };
    (words, tone)
}
