//! Folding a ledger of 10,000 events: from events, and from the bytes that are stored.

use anyhow::{Context as _, Result, ensure};
use portcullis_domain::apply;
use portcullis_domain::event::Event;
use portcullis_domain::target::Target;
use portcullis_engine::codec::{CodecError, Commit, ENGINE};
use serde_json::Value;

use crate::report::{Goal, Line};
use crate::story::Story;
use crate::timing::in_turns;

const EVENTS: usize = 10_000;
const ROUNDS: usize = 15;
const GOAL_MS: f64 = 10.0;

pub(crate) fn measure() -> Result<Vec<Line>> {
    let story = Story::of(EVENTS)?;
    let mut left = EVENTS;
    let mut commits = Vec::new();
    for step in &story.steps {
        let events: Vec<Event> = step.events.iter().take(left).cloned().collect();
        left -= events.len();
        if !events.is_empty() {
            commits.push(Commit { events, policy: story.policy.hash(), engine: ENGINE.to_owned() });
        }
    }
    let events: Vec<&Event> = commits.iter().flat_map(|commit| &commit.events).collect();
    ensure!(events.len() == EVENTS, "the story has {} events", events.len());
    let stored: Vec<Vec<u8>> = commits.iter().map(Commit::encode).collect::<Result<_, CodecError>>()?;
    ensure!(decode_and_fold(&stored)? == fold(&events), "stored events lead to another state");

    let (folding, decoding) = in_turns(ROUNDS, || fold(&events), || decode(&stored));
    let (both, generic) = in_turns(ROUNDS, || decode_and_fold(&stored), || parse(&stored));
    let bytes: usize = stored.iter().map(Vec::len).sum();
    let (fold_ms, decode_ms) = (folding.best() * 1e3, decoding.best() * 1e3);
    let line = Line::new("fold", "folding a ledger of 10,000 events that were decoded, best round", fold_ms, "ms")
        .goal(Goal::Below(GOAL_MS))
        .beside("decoding the same events from their stored bytes", decode_ms, "ms")
        .detail("median", format!("{:.2} ms of {ROUNDS} rounds", folding.median() * 1e3));
    let whole =
        Line::new("decode+fold", "the same from stored bytes (JSON commits) to the state", both.best() * 1e3, "ms")
            .beside("parsing the same bytes into generic JSON values", generic.best() * 1e3, "ms")
            .detail("median", format!("{:.1} ms of {ROUNDS} rounds", both.median() * 1e3))
            .detail("commits", commits.len())
            .detail("bytes", bytes);
    Ok(vec![line, whole])
}

fn fold(events: &[&Event]) -> Target {
    let mut target = Target::default();
    for event in events {
        apply(&mut target, event);
    }
    target
}

fn decode(stored: &[Vec<u8>]) -> Result<Vec<Commit>, CodecError> {
    stored.iter().map(|bytes| Commit::decode(bytes)).collect()
}

fn decode_and_fold(stored: &[Vec<u8>]) -> Result<Target> {
    let mut target = Target::default();
    for bytes in stored {
        let commit = Commit::decode(bytes).context("a stored commit")?;
        commit.events.iter().for_each(|event| apply(&mut target, event));
    }
    Ok(target)
}

fn parse(stored: &[Vec<u8>]) -> serde_json::Result<Vec<Value>> {
    stored.iter().map(|bytes| serde_json::from_slice(bytes)).collect()
}
