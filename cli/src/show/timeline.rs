//! A release's events as a timeline.

use portcullis_domain::event::{Event, What};
use portcullis_domain::time::Timestamp;
use std::fmt::Write as _;

use super::screen::{Screen, WIDTH};
use super::text;
use crate::when::{self, Times};
use crate::words::{Line, Narrator};

/// Columns of the verb.
const VERB: usize = 15;
/// One event takes at most so many lines here; `release ledger --output json` has all of it.
const MOST_LINES: usize = 3;

/// The events in words; with `all`, every one of them, else those that a person wants to read at 3 a.m.
pub(crate) fn timeline(events: &[Event], screen: Screen, times: Times, all: bool) -> String {
    if events.is_empty() {
        return String::new();
    }
    let mut out = format!("Timeline, UTC{}", times.offset());
    let began = began(events);
    let mut day = String::new();
    for line in lines(events, all) {
        let today = when::day(line.at);
        if day != today && (!day.is_empty() || today != when::day(times.now())) {
            let _ = write!(out, "\n  {today}");
        }
        day = today;
        out.push('\n');
        out.push_str(&rows(&line, began, screen));
    }
    out
}

/// The lines to show, those that say the same of several services at once merged.
pub(crate) fn lines(events: &[Event], all: bool) -> Vec<Line> {
    let mut narrator = Narrator::default();
    let mut lines: Vec<Line> = Vec::new();
    for line in events.iter().flat_map(|event| narrator.tell(event)) {
        if !all && !line.key {
            continue;
        }
        match lines.last_mut() {
            Some(last) if !all && merges(last, &line) => {
                let name = line.detail.strip_prefix("read back: ").unwrap_or(&line.detail);
                last.detail = format!("{}, {name}", last.detail);
                last.at = line.at;
            }
            _ => lines.push(line),
        }
    }
    lines
}

/// Whether two lines tell one thing: traffic of several services that moved the same way within ten seconds.
fn merges(last: &Line, next: &Line) -> bool {
    last.moved.is_some() && last.moved == next.moved && last.verb == next.verb && next.at.since(last.at).0 < 10_000
}

/// The moment from which elapsed time is shown.
fn began(events: &[Event]) -> Option<Timestamp> {
    events.iter().find(|event| matches!(event.what, What::Began { .. })).map(|event| event.at)
}

fn rows(line: &Line, began: Option<Timestamp>, screen: Screen) -> String {
    let elapsed = began.filter(|began| line.at > *began).map(|began| when::span(line.at.since(began)));
    let verb = screen.paint(line.tone, &text::pad(&screen.safe(&line.verb), VERB));
    let detail = match line.moved {
        Some(moved) => format!("{} {} {}    {}", moved.from, screen.bar(moved.share), moved.to, line.detail),
        None => line.detail.clone(),
    };
    let head = format!("  {}{:>9}    ", when::clock(line.at), elapsed.unwrap_or_default());
    let indent = text::width(&head) + VERB;
    let mut lines = text::wrap_kept(&screen.safe(&detail), WIDTH - indent);
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        if let Some(last) = lines.last_mut() {
            *last = screen.cut(&format!("{last} {}", screen.more()), WIDTH - indent);
        }
    }
    let text = format!("{head}{verb}{}", lines.join(&format!("\n{}", " ".repeat(indent))));
    text.trim_end().to_owned()
}

/// Every event on a line of its own with its place in the ledger: `release ledger`.
pub(crate) fn ledger(events: &[Event], screen: Screen, times: Times) -> String {
    let mut narrator = Narrator::default();
    let mut out = format!("Ledger, UTC{}", times.offset());
    for event in events {
        for line in narrator.tell(event) {
            let head = format!("  {:>6}  {}  ", event.seq, times.second(line.at));
            let verb = screen.paint(line.tone, &text::pad(&screen.safe(&line.verb), VERB + 1));
            let room = WIDTH.saturating_sub(text::width(&head) + VERB + 1);
            let detail = screen.cut(&screen.safe(&line.plain()), room);
            let _ = write!(out, "\n{}", format!("{head}{verb}{detail}").trim_end());
        }
    }
    out
}
