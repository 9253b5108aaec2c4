//! The parts that a release's screen is made of: its title, its stages, its services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portcullis_domain::event::What;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::ServiceName;
use portcullis_domain::target::Serving;
use portcullis_domain::time::Timestamp;
use portcullis_domain::verdict::Verdict;

use super::screen::{Screen, Tone};
use super::text::{cut, pad, width};
use crate::api::{ReleaseDetail, State};
use crate::when::{self, Times};
use crate::words::{short, version};

/// The state as a person reads it, with its tone.
pub(crate) fn headline(view: &ReleaseDetail, times: Times) -> (String, Tone) {
    let release = &view.release;
    if release.asking.is_some() && !view.summary.state.is_settled() && view.summary.state != State::NeedsHelp {
        return ("A PERSON IS ASKED".into(), Tone::Bad);
    }
    let (words, tone) = match view.summary.state {
        State::Gathering => ("WAITING FOR IMAGES".to_owned(), Tone::Warn),
        State::Gated => gated(view),
        State::Cleared => ("CLEARED: DEPLOY IT NOW".into(), Tone::Good),
        State::BackingUp => ("BACKING UP".into(), Tone::Plain),
        State::Deploying => ("DEPLOYING".into(), Tone::Plain),
        State::Verifying => ("VERIFYING".into(), Tone::Plain),
        State::Switching => ("SWITCHING".into(), Tone::Plain),
        State::Watching => (watching(view, times), Tone::Plain),
        State::Live => ("LIVE".into(), Tone::Good),
        State::RollingBack => ("ROLLING BACK".into(), Tone::Warn),
        State::NeedsHelp => ("NEEDS A PERSON".into(), Tone::Bad),
        State::RolledBack => (rolled_back(view), Tone::Warn),
        State::Replaced => ("REPLACED BY A LATER ONE".into(), Tone::Plain),
        State::Rejected => ("REJECTED".into(), Tone::Bad),
        State::Expired => ("EXPIRED".into(), Tone::Warn),
        State::Superseded => ("SUPERSEDED".into(), Tone::Plain),
        State::Cancelled => ("CANCELLED".into(), Tone::Plain),
        State::Observed => ("OBSERVED: GATES HELD".into(), Tone::Good),
        State::Failed => ("FAILED".into(), Tone::Bad),
        State::Resolved => ("RESOLVED BY A PERSON".into(), Tone::Plain),
    };
    if release.paused && !view.summary.state.is_settled() {
        return (format!("PAUSED while {}", words.to_lowercase()), Tone::Warn);
    }
    (words, tone)
}

fn gated(view: &ReleaseDetail) -> (String, Tone) {
    let Some(judgement) = &view.gates else { return ("WAITING FOR FACTS".into(), Tone::Warn) };
    let of = |verdict| judgement.gates.iter().filter(move |gate| gate.verdict == verdict).map(|gate| &gate.gate);
    match judgement.verdict() {
        Verdict::Block => ("BLOCKED".into(), Tone::Bad),
        Verdict::Pass => ("GATES HOLD".into(), Tone::Good),
        Verdict::Hold => {
            let holding: BTreeSet<String> = of(Verdict::Hold).map(|gate| gate.to_uppercase()).collect();
            let words = match holding.len() {
                0 => "ITS GATES".to_owned(),
                1 | 2 => holding.into_iter().collect::<Vec<_>>().join(" AND "),
                n => format!("{n} GATES"),
            };
            (format!("WAITING FOR {words}"), Tone::Warn)
        }
    }
}

fn watching(view: &ReleaseDetail, times: Times) -> String {
    let Some(watch) = &view.release.watch else { return "WATCHING".into() };
    let length = view.rules.as_ref().map(|rules| format!(" of {}", rules.watch)).unwrap_or_default();
    let healthy = if watch.healthy.0 == 0 { times.now().since(watch.since) } else { watch.healthy };
    format!("WATCHING {}{length}", when::span(healthy))
}

fn rolled_back(view: &ReleaseDetail) -> String {
    let restored = restored_at(view).zip(view.release.rollback.as_ref());
    restored.map_or_else(
        || "ROLLED BACK".into(),
        |(at, rollback)| format!("ROLLED BACK in {}", when::precise(at.since(rollback.since))),
    )
}

/// When traffic was back; where none had moved, when what ran before ran again.
pub(crate) fn restored_at(view: &ReleaseDetail) -> Option<Timestamp> {
    let traffic = crate::view::traffic_back(&view.ledger);
    if traffic.is_some() {
        return traffic;
    }
    let told = view.ledger.iter().rev().find_map(|event| match event.what {
        What::RolledBack { restored_at, .. } => Some(restored_at),
        _ => None,
    });
    told.or(view.release.rollback.as_ref().and_then(|rollback| rollback.restored_at))
}

/// `8f3c2a1  Cache fare quotes (3 commits)   amara, joao   opened 02:41:11 by a push`.
pub(crate) fn byline(view: &ReleaseDetail, screen: Screen, times: Times) -> String {
    let release = &view.release;
    let facts = release.facts.as_ref().and_then(|facts| facts.commit.as_ref()).or(release.commit_facts.as_ref());
    let approvals: BTreeSet<&str> = release
        .approvals
        .iter()
        .filter(|approval| view.summary.plan.is_none_or(|plan| approval.plan == plan))
        .map(|approval| approval.who.as_str())
        .collect();
    let last = release.approvals.iter().map(|approval| approval.at).max();
    let opened = if let Some(at) = last.filter(|_| !approvals.is_empty()) {
        format!("approved {} by {}", times.minute(at), approvals.into_iter().collect::<Vec<_>>().join(", "))
    } else {
        let by = release.requested_by.as_ref().map_or_else(|| "a push".to_owned(), ToString::to_string);
        format!("opened {} by {by}", times.second(release.opened_at))
    };
    let people = facts.map(|facts| {
        let names: Vec<&str> =
            facts.people.iter().map(|id| id.as_str().split_once(':').map_or(id.as_str(), |(_, name)| name)).collect();
        match names.as_slice() {
            [a, b, rest @ ..] if rest.len() > 1 => format!("{a}, {b} and {} more", rest.len()),
            few => few.join(", "),
        }
    });
    let title = facts.map(|facts| {
        let commits = if facts.commits > 1 { format!(" ({} commits)", facts.commits) } else { String::new() };
        format!("{}{commits}", screen.cut(&screen.safe(&facts.title), 44))
    });
    let head = format!("{}  {}", release.commit.short(), title.unwrap_or_default());
    let way = if forward_only(view) { "FORWARD ONLY" } else { "" };
    let parts = [head.trim_end().to_owned(), way.to_owned(), screen.safe(&people.unwrap_or_default()), opened];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    screen.cut(&parts.join("   "), super::screen::WIDTH)
}

/// Whether it can not be undone: what would be a rollback is a question.
pub(crate) fn forward_only(view: &ReleaseDetail) -> bool {
    let release = &view.release;
    let facts = release.facts.as_ref().and_then(|facts| facts.commit.as_ref()).or(release.commit_facts.as_ref());
    release.forward_only || facts.is_some_and(|facts| facts.forward_only)
}

/// `✓ images ─ ◐ GATES ─ ○ backup ─ … ─ ○ live`: how far it came.
pub(crate) fn stages(view: &ReleaseDetail, screen: Screen) -> String {
    let rules = view.rules.as_ref();
    let rolling = rules.is_some_and(|rules| rules.rolling);
    let mut names = vec![("images", State::Gathering), ("gates", State::Gated), ("backup", State::BackingUp)];
    names.push(("deploy", State::Deploying));
    if rules.is_none_or(|rules| rules.verify) {
        names.push(("verify", State::Verifying));
    }
    if !rolling {
        names.push(("switch", State::Switching));
    }
    let watch = rules.map_or_else(|| "watch".to_owned(), |rules| format!("watch {}", rules.watch));
    let reached: State = view.release.phase.into();
    let ended = view.summary.state.is_settled() && view.summary.state != State::Live;
    let live = matches!(view.summary.state, State::Live | State::Replaced);
    let stage = |name: &str, at: State| {
        if live || at < reached {
            format!("{} {name}", screen.paint(Tone::Good, screen.ok()))
        } else if at == reached && ended {
            format!("{} {}", screen.paint(Tone::Bad, screen.fail()), screen.bold(&loud(name)))
        } else if at == reached {
            format!("{} {}", screen.paint(Tone::Warn, screen.hold()), screen.bold(&loud(name)))
        } else {
            format!("{} {name}", screen.idle())
        }
    };
    let mut out: Vec<String> = names.into_iter().map(|(name, at)| stage(name, at)).collect();
    out.push(stage(&watch, State::Watching));
    out.push(stage("live", State::Live));
    format!("  {}", out.join(screen.then()))
}

/// `WATCH 5m`: the stage's name in capitals.
fn loud(name: &str) -> String {
    match name.split_once(' ') {
        Some((name, rest)) => format!("{} {rest}", name.to_uppercase()),
        None => name.to_uppercase(),
    }
}

/// The table of what is live and what this release brings.
pub(crate) fn services(view: &ReleaseDetail, screen: Screen) -> String {
    let release = &view.release;
    let mut out = format!("  {}{}{}{:>9}", pad("service", 21), pad("live now", 23), pad("this release", 40), "size");
    let names: BTreeSet<&ServiceName> = release.artifacts.keys().chain(view.live.keys()).collect();
    for name in names {
        let live = view.live.get(name);
        let now = live.map_or_else(|| "nothing".to_owned(), |live| named(&version(live), &live.digest.short()));
        let (this, size) = match release.artifacts.get(name) {
            None => ("not here yet".to_owned(), String::new()),
            Some(artifact) if artifact.kept => {
                let folder = view.rules.as_ref().and_then(|rules| rules.sources.get(name));
                let folder =
                    folder.map_or("its source".to_owned(), |folder| format!("{}/", folder.trim_end_matches('/')));
                (format!("kept: nothing changed under {folder}"), String::new())
            }
            Some(artifact) => {
                let commit = artifact.commit.as_ref().unwrap_or(&release.commit);
                let mut this = named(commit.short(), &artifact.digest.short());
                if let Some(moved) = release.moved_tags.get(name) {
                    this = format!("{this}, its tag moved to {}", moved.short());
                }
                let given = release.facts.as_ref().and_then(|facts| facts.bundles.get(name));
                if given.is_some_and(|given| given.differs) {
                    this = format!("{this}, other manifests");
                }
                let before = live.and_then(|live| release.facts.as_ref()?.images.get(&live.digest)?.size);
                (this, artifact.size.zip(before).map_or_else(String::new, |(new, old)| size_change(new, old)))
            }
        };
        let cell = |words: &str, columns| pad(&cut(&screen.safe(words), columns - 2, screen.more()), columns);
        let row = format!("  {}{}{}{size:>9}", cell(name.as_str(), 21), cell(&now, 23), cell(&this, 40));
        let _ = write!(out, "\n{}", row.trim_end());
    }
    out
}

fn named(version: &str, digest: &str) -> String {
    if version == digest { digest.to_owned() } else { format!("{version}  {digest}") }
}

fn size_change(new: u64, old: u64) -> String {
    let (sign, bytes) = if new >= old { ('+', new - old) } else { ('-', old - new) };
    match bytes {
        0..1_000 => format!("{sign}{bytes} B"),
        1_000..1_000_000 => format!("{sign}{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{sign}{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// What serves now, by service: `nestjs 5d1e07c   workers 41bb9d0`.
pub(crate) fn serving(live: &BTreeMap<ServiceName, Serving>) -> String {
    let all: Vec<String> = live.iter().map(|(name, serving)| format!("{} {}", short(name), version(serving))).collect();
    if all.is_empty() { "nothing that Portcullis knows of".to_owned() } else { all.join("   ") }
}

/// Whether some services of a release serve and others of it do not, where they should all or none.
pub(crate) fn is_mixed(view: &ReleaseDetail) -> bool {
    if matches!(view.summary.state, State::Switching | State::RollingBack) {
        return false;
    }
    let on: BTreeSet<bool> = view
        .release
        .progress
        .iter()
        .filter(|(_, progress)| progress.changes)
        .filter_map(|(name, _)| Some(view.live.get(name)?.digest == view.release.artifacts.get(name)?.digest))
        .collect();
    on.len() > 1 && view.summary.state == State::NeedsHelp
}

/// `alarms OK`, or those that ring.
pub(crate) fn alarms(view: &ReleaseDetail) -> Option<String> {
    if view.alarms.is_empty() {
        return None;
    }
    let ringing: Vec<&str> =
        view.alarms.iter().filter(|(_, fact)| fact.state == AlarmState::Alarm).map(|(name, _)| name.as_str()).collect();
    Some(if ringing.is_empty() { "alarms OK".to_owned() } else { format!("RINGING: {}", ringing.join(", ")) })
}

/// `  NOW    words`, wrapped under itself.
pub(crate) fn fact(name: &str, words: &str, screen: Screen) -> String {
    let room = super::screen::WIDTH - 9;
    let mut out = String::new();
    let lines: Vec<String> = words.lines().flat_map(|line| super::text::wrap_kept(&screen.safe(line), room)).collect();
    for (at, line) in lines.iter().enumerate() {
        let name = if at == 0 { name } else { "" };
        debug_assert!(width(name) <= 7, "{name} is too long a name for a fact");
        let _ = write!(out, "{}  {}{line}", if at == 0 { "" } else { "\n" }, pad(name, 7));
    }
    out
}
