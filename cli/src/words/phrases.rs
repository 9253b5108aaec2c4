//! Names, numbers and single things in words.

use std::collections::BTreeMap;

use portcullis_domain::action::{Action, Purpose, Value};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::{Actor, End};
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::percent;
use portcullis_domain::protection::Change;
use portcullis_domain::target::{Phase, Serving};

use crate::show::screen::Tone;
use crate::show::text::count;

/// The service's name as lines with several of them show it: without a `-service` at its end.
pub(crate) fn short(service: &ServiceName) -> &str {
    let name = service.as_str();
    name.strip_suffix("-service").filter(|rest| !rest.is_empty()).unwrap_or(name)
}

/// What serves of one service, as people name it: its commit, else a tag, else its digest.
pub(crate) fn version(serving: &Serving) -> String {
    match (&serving.commit, &serving.tag) {
        (Some(commit), _) => commit.short().to_owned(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => serving.digest.short(),
    }
}

pub(super) fn serving(live: &BTreeMap<ServiceName, Serving>) -> String {
    let all: Vec<String> = live.iter().map(|(name, serving)| format!("{} {}", short(name), version(serving))).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

pub(super) fn by(actor: &Actor) -> String {
    match actor {
        Actor::Portcullis => "Portcullis".to_owned(),
        Actor::Outside => "the outside".to_owned(),
        Actor::Person(who) => who.to_string(),
    }
}

pub(super) fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// An alarm's state as its owner writes it.
pub(crate) fn alarm_word(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Ok => "OK",
        AlarmState::Alarm => "ALARM",
        AlarmState::InsufficientData => "INSUFFICIENT_DATA",
    }
}

pub(super) fn end_words(end: End) -> (&'static str, Tone) {
    match end {
        End::Rejected => ("REJECTED", Tone::Bad),
        End::Expired => ("expired", Tone::Warn),
        End::Superseded => ("superseded", Tone::Plain),
        End::Cancelled => ("cancelled", Tone::Plain),
        End::Observed => ("observed", Tone::Good),
        End::Failed => ("FAILED", Tone::Bad),
    }
}

/// A change of policy as verb, detail, tone and whether everybody sees it: what it loosens comes first, and is always
/// shown.
pub(super) fn policy_words(from: Option<&Digest>, to: &Digest, changes: &[Change]) -> (String, String, Tone, bool) {
    let told = |verb: &str, detail: String, tone, key| (verb.to_owned(), detail, tone, key);
    if from.is_none() {
        return told("policy", format!("{} is in force", to.short()), Tone::Dim, false);
    }
    let (loosened, others): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|change| change.loosens);
    let all = |changes: &[&Change]| changes.iter().map(|change| change_words(change)).collect::<Vec<_>>().join("; ");
    match (loosened.as_slice(), others.as_slice()) {
        ([], []) => told("policy", format!("{} is in force; it protects as before", to.short()), Tone::Dim, false),
        ([], others) => told("policy", format!("changed: {}", all(others)), Tone::Plain, true),
        (loosened, []) => told("policy LOOSENED", all(loosened), Tone::Warn, true),
        (loosened, others) => {
            told("policy LOOSENED", format!("{}; also changed: {}", all(loosened), all(others)), Tone::Warn, true)
        }
    }
}

fn change_words(change: &Change) -> String {
    let Change { what, before, after, .. } = change;
    match (before.is_empty(), after.is_empty()) {
        (_, true) => format!("{what}: {before} is gone"),
        (true, false) => format!("{what}: {after} is new"),
        (false, false) => format!("{what}: {before} -> {after}"),
    }
}

/// A phase in words.
pub(crate) fn phase_words(phase: Phase) -> String {
    match phase {
        Phase::Gathering => "its images come in".into(),
        Phase::Gated => "its gates are judged".into(),
        Phase::Cleared => "cleared; somebody else deploys it".into(),
        Phase::BackingUp => "backing up".into(),
        Phase::Deploying { wave } => format!("deploying wave {}", wave + 1),
        Phase::Verifying => "verifying".into(),
        Phase::Switching { step, wave } => format!("switching step {}, wave {}", step + 1, wave + 1),
        Phase::Watching => "watching".into(),
        Phase::Live => "live".into(),
        Phase::RollingBack => "rolling back".into(),
        Phase::NeedsHelp => "a person is needed".into(),
    }
}

/// An action in words, as what will be done.
pub(crate) fn action_words(action: &Action) -> String {
    match action {
        Action::Look(_) => "read the facts of the gates".into(),
        Action::BackUp { prefix, .. } => format!("back up every manifest to {prefix}"),
        Action::Write(write) => {
            let why = match write.purpose {
                Purpose::Mark => "mark",
                Purpose::Deploy => "deploy",
                Purpose::Claim => "claim",
                Purpose::Switch => "switch",
                Purpose::Drain => "drain",
                Purpose::Restore => "restore",
            };
            let to = match write.to {
                Value::Workload { digest, replicas } => {
                    format!("{} x {}", count(u64::from(replicas), "pod"), digest.short())
                }
                Value::Traffic { green } => format!("{} green", percent(green)),
            };
            format!("{why} {}: {to}", write.object)
        }
        Action::AwaitReady(ask) if ask.replicas == 0 => format!("wait until {} is gone", ask.object),
        Action::AwaitReady(ask) => {
            format!("wait until {} has {} ready", ask.object, count(u64::from(ask.replicas), "pod"))
        }
        Action::RunTest { test, .. } => format!("run test {}", test.name),
        Action::Measure(ask) => format!("measure every {}", ask.every),
        Action::Observe => "read the objects of the environment".into(),
    }
}
