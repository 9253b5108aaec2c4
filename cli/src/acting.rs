//! What a person asks for, carried out by a recorder: the server's and the data directory's commands are the same.

use portcullis_domain::event::{Event, What};
use portcullis_domain::names::{ReleaseId, Subject, TargetId};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::scope::Stop;
use portcullis_domain::time::Timestamp;
use portcullis_engine::recorder::{Commanded, RecordError, Recorder};

use crate::api::{Answered, Ask, Asked, MOST_WORDS, StopAsk, StopAt};
use crate::show::text::safe;
use crate::words::{Line, Narrator};

/// What came of a command.
pub(crate) enum Acted {
    /// It was carried out.
    Done(Answered),
    /// It was refused, and why.
    Refused(String),
    /// It could not be understood, and why.
    Malformed(String),
}

/// Carries out what a person asks for.
pub(crate) async fn command(
    recorder: &Recorder,
    target: &TargetId,
    who: &Subject,
    ask: Ask,
) -> Result<Acted, RecordError> {
    let commanded = match ask.asked() {
        Err(why) => return Ok(Acted::Malformed(why)),
        Ok(Asked::Command(command)) => recorder.command(target, who, command).await?,
        Ok(Asked::Start { commit, typed, reason, forward_only }) => {
            recorder.start(target, who, &commit, typed, reason, forward_only).await?
        }
    };
    Ok(match commanded {
        Commanded::Refused { why, .. } => Acted::Refused(why),
        Commanded::Accepted(done) => Acted::Done(Answered {
            target: target.clone(),
            who: who.clone(),
            release: release(&done.events),
            recorded: words(&done.events),
        }),
    })
}

/// Puts a stop on a scope or lifts it; the inner error is in the words of whoever asked.
pub(crate) async fn stop(
    recorder: &Recorder,
    who: &Subject,
    ask: StopAsk,
    now: Timestamp,
) -> Result<Result<Option<StopAt>, String>, RecordError> {
    let StopAsk { scope, stop } = ask;
    let stop = match stop {
        None => None,
        Some(stop) => {
            let reason = safe(stop.reason.trim());
            if reason.is_empty() || reason.len() > MOST_WORDS {
                return Ok(Err(format!("a reason of 1 to {MOST_WORDS} bytes is wanted")));
            }
            if stop.until.is_some_and(|until| until <= now) {
                return Ok(Err("the stop would be over already".to_owned()));
            }
            Some(Stop { who: who.clone(), reason, since: now, until: stop.until })
        }
    };
    let state = recorder.set_stop(&scope, stop).await?;
    Ok(Ok(state.stop.map(|stop| StopAt { scope, stop })))
}

/// Whether some policy speaks of this person.
pub(crate) fn is_known(policies: &[SealedPolicy], who: &Subject) -> bool {
    policies
        .iter()
        .any(|policy| policy.people.contains_key(who) || policy.groups.values().any(|members| members.contains(who)))
}

fn release(events: &[Event]) -> Option<ReleaseId> {
    let opened = events.iter().find_map(|event| match event.what {
        What::Opened { release, .. } => Some(release),
        _ => None,
    });
    opened.or_else(|| events.iter().find_map(|event| event.what.release()))
}

/// What is worth telling the person who asked.
fn words(events: &[Event]) -> Vec<String> {
    let mut narrator = Narrator::default();
    let lines = events.iter().flat_map(|event| narrator.tell(event));
    lines.filter(|line| line.key).map(|line: Line| safe(&format!("{}: {}", line.verb, line.plain()))).collect()
}
