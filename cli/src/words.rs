//! Every event in words, one line each. Screens, notices and the demo say the same thing in the same words.

mod phrases;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{Action, Intention, Outcome, Part, Purpose, Value, Write};
use portcullis_domain::event::{Event, What};
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{AlarmName, ReleaseId, Seq, ServiceName};
use portcullis_domain::policy::Colour;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Timestamp;
use portcullis_domain::verdict::Verdict;

pub(crate) use self::phrases::{action_words, alarm_word, short, version};
use self::phrases::{by, end_words, phase_words, policy_words, serving, times};
use crate::show::screen::Tone;
use crate::show::text::count;

/// One event in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// When.
    pub(crate) at: Timestamp,
    /// What happened, in one to three words.
    pub(crate) verb: String,
    /// Traffic that moved.
    pub(crate) moved: Option<Moved>,
    /// The rest, possibly with text from outside in it: make it safe before showing it.
    pub(crate) detail: String,
    /// What it means.
    pub(crate) tone: Tone,
    /// Whether it belongs on a short timeline.
    pub(crate) key: bool,
}

/// Traffic that moved from one colour to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Away from.
    pub(crate) from: Colour,
    /// To.
    pub(crate) to: Colour,
    /// Share that `to` has now, of 10,000.
    pub(crate) share: u16,
}

impl Line {
    /// The detail with traffic in words, without any drawing.
    pub(crate) fn plain(&self) -> String {
        match self.moved {
            Some(Moved { from, to, share: 10_000 }) => format!("{from} -> {to}, {}", self.detail),
            Some(Moved { to, share, .. }) => format!("{}% on {to}, {}", share / 100, self.detail),
            None => self.detail.clone(),
        }
    }
}

/// Tells events in their order; remembers the intentions, so that an outcome can be told with what was meant.
#[derive(Debug, Default)]
pub(crate) struct Narrator {
    intentions: BTreeMap<Seq, Intention>,
    before: BTreeMap<ServiceName, Colour>,
    up: BTreeMap<ServiceName, (Colour, u32, u32)>,
    told_up: BTreeSet<ServiceName>,
    alarms: BTreeMap<AlarmName, AlarmState>,
}

impl Narrator {
    /// The event in words; the next ones must follow in their order.
    pub(crate) fn tell(&mut self, event: &Event) -> Vec<Line> {
        let mut lines = Vec::new();
        if let What::Entered { phase: Phase::Verifying | Phase::Switching { .. } | Phase::Watching, .. } = &event.what {
            lines.extend(self.colour_up(event.at));
        }
        let (verb, detail, tone, key) = self.words(event);
        let moved = self.moved(&event.what);
        lines.push(Line { at: event.at, verb, moved, detail, tone, key });
        self.remember(event);
        lines
    }

    fn remember(&mut self, event: &Event) {
        match &event.what {
            What::Intended { intention, .. } => {
                self.intentions.insert(event.seq, (**intention).clone());
            }
            What::Done { intention, outcome, .. } => {
                if let (Some(Action::AwaitReady(ask)), Outcome::Seen(found)) = (self.action(*intention), &**outcome)
                    && let Part::Workload(colour) = ask.object.part
                    && ask.replicas > 0
                {
                    let service = ask.object.service.clone();
                    if !self.told_up.contains(&service) {
                        self.up.insert(service, (colour, found.ready, ask.replicas));
                    }
                }
            }
            What::Began { before, .. } => {
                self.before = before.iter().map(|(name, serving)| (name.clone(), serving.colour)).collect();
                self.up.clear();
                self.told_up.clear();
            }
            What::RollbackBegan { .. } => self.up.clear(),
            What::AlarmSeen { alarm, fact } => {
                self.alarms.insert(alarm.clone(), fact.state);
            }
            // What an ended release meant needs no telling any more.
            What::RolledBack { .. } | What::WindowClosed { .. } | What::Settled { .. }
                if self.intentions.len() > 1_000 =>
            {
                self.intentions.clear();
            }
            _ => {}
        }
    }

    fn action(&self, intention: Seq) -> Option<&Action> {
        self.intentions.get(&intention).map(|intention| &intention.action)
    }

    /// `green up: nestjs-service 6/6, springboot-service 6/6`, once.
    fn colour_up(&mut self, at: Timestamp) -> Option<Line> {
        let up = std::mem::take(&mut self.up);
        self.told_up.extend(up.keys().cloned());
        let (first, _, _) = up.values().next()?;
        let verb = if up.values().all(|(colour, _, _)| colour == first) {
            format!("{first} up")
        } else {
            "new colour up".to_owned()
        };
        let detail: Vec<String> =
            up.iter().map(|(name, (_, ready, wanted))| format!("{} {ready}/{wanted}", short(name))).collect();
        Some(Line { at, verb, moved: None, detail: detail.join(", "), tone: Tone::Plain, key: true })
    }

    /// Traffic that an outcome confirms to have moved.
    fn moved(&self, what: &What) -> Option<Moved> {
        let What::Done { intention, outcome, .. } = what else { return None };
        let (Some(Action::Write(write)), Outcome::Written) = (self.action(*intention), &**outcome) else {
            return None;
        };
        let Value::Traffic { green } = write.to else { return None };
        let to = match (write.purpose, self.before.get(&write.object.service)) {
            (Purpose::Switch, Some(before)) => before.other(),
            _ => Colour::with_most(green),
        };
        Some(Moved { from: to.other(), to, share: to.share(green) })
    }

    #[expect(clippy::too_many_lines, reason = "one arm per event: the list is the point")]
    fn words(&self, event: &Event) -> (String, String, Tone, bool) {
        use Tone::{Bad, Dim, Good, Plain, Warn};
        let (verb, detail, tone, key) = match &event.what {
            What::Adopted { live, .. } => ("adopted", format!("found serving: {}", serving(live)), Plain, true),
            What::LiveChangedOutside { live, .. } => {
                ("changed outside", format!("somebody else deployed {}", serving(live)), Warn, true)
            }
            What::Opened { release, commit, requested_by, reason, facts, forward_only, .. } => {
                let by = match (requested_by, reason) {
                    (None, _) => "a push".to_owned(),
                    (Some(who), None) => who.to_string(),
                    (Some(who), Some(reason)) => format!("{who}: {reason}"),
                };
                let title = facts.as_ref().map(|facts| &facts.title).filter(|title| !title.is_empty());
                let title = title.map(|title| format!(" {title}")).unwrap_or_default();
                let way = if *forward_only { "; forward only: it is not undone by itself" } else { "" };
                ("opened", format!("release {release}: {}{title}, by {by}{way}", commit.short()), Plain, true)
            }
            What::ImageAdded { service, artifact, .. } if artifact.kept => {
                ("image kept", format!("{service} {}: its source did not change", artifact.digest.short()), Dim, false)
            }
            What::ImageAdded { service, artifact, .. } => {
                let tag = artifact.tag.as_ref().map(|tag| format!(" ({tag})")).unwrap_or_default();
                ("image", format!("{service} {}{tag}", artifact.digest.short()), Dim, false)
            }
            What::TagMoved { service, tag, from, to, .. } => {
                let detail = format!("{service}:{tag} now means {}; the release keeps {}", to.short(), from.short());
                ("tag moved", detail, Warn, true)
            }
            What::Outdated { commit, service, why, .. } => {
                ("outdated", format!("{} of {service}: {why}", commit.short()), Warn, true)
            }
            What::Gathered { .. } => ("gathered", "all images are there; the gates are judged".into(), Dim, false),
            What::FactsRead { facts, .. } if facts.missing.is_empty() => {
                ("facts", "read for every gate".into(), Dim, false)
            }
            What::FactsRead { facts, .. } => {
                let missing: Vec<String> = facts.missing.iter().map(|(from, why)| format!("{from}: {why}")).collect();
                ("facts", format!("missing: {}", missing.join("; ")), Warn, false)
            }
            What::Doubted { why, .. } => ("doubt", why.clone(), Warn, true),
            What::Planned { plan, why, .. } => ("plan", format!("{}: {why}", plan.id), Dim, false),
            What::Judged { judgement, .. } => {
                let gates: Vec<String> = judgement
                    .gates
                    .iter()
                    .filter(|gate| gate.verdict != Verdict::Pass)
                    .map(|gate| format!("{} {}: {}", gate.gate, gate.verdict, gate.why))
                    .collect();
                let tone = match judgement.verdict() {
                    Verdict::Pass => Good,
                    Verdict::Hold => Dim,
                    Verdict::Block => Bad,
                };
                let all = || format!("all {} pass", judgement.gates.len());
                ("gates", if gates.is_empty() { all() } else { gates.join("; ") }, tone, false)
            }
            What::Approved { plan, who, .. } => ("approved", format!("{who}, plan {plan}"), Good, true),
            What::Reminded { .. } => ("reminded", "it still waits".into(), Dim, false),
            What::Refused { who, command, why } => ("refused", format!("{who} asked: {command}. {why}"), Warn, true),
            What::Began { plan, before, .. } => {
                let back = if before.is_empty() { "nothing".to_owned() } else { serving(before) };
                ("began", format!("gates held for plan {plan}; the way back: {back}"), Plain, false)
            }
            What::Cleared { plan, .. } => ("cleared", format!("gates held for plan {plan}"), Good, true),
            What::Arrived { serving: now, .. } => {
                ("arrived", format!("somebody deployed it: {}", serving(now)), Plain, true)
            }
            What::ServiceBack { service, .. } => ("back", format!("{} is as it was", short(service)), Plain, false),
            What::ResolveAsked { reason, .. } => {
                let who = by(&event.actor);
                ("resolving", format!("{who} takes what is there: {reason}; it is being read"), Plain, true)
            }
            What::OldColourFreed { reason, .. } => {
                ("old pods", format!("let go early by {}: {reason}", by(&event.actor)), Plain, true)
            }
            What::Intended { intention, .. } => ("will", action_words(&intention.action), Dim, false),
            What::Done { intention, outcome, .. } => return self.done_words(*intention, outcome),
            What::Entered { phase, .. } => ("phase", phase_words(*phase), Dim, false),
            What::Measured { watch, saw, .. } if watch.breaches.is_empty() && watch.unready.is_empty() => {
                ("watch", saw.clone(), Dim, false)
            }
            What::Measured { saw, .. } => ("watch", saw.clone(), Warn, true),
            What::AlarmSeen { alarm, fact } => {
                let from = self.alarms.get(alarm).map(|before| format!("{} -> ", alarm_word(*before)));
                let tone = if fact.state == AlarmState::Alarm { Warn } else { Plain };
                let now = alarm_word(fact.state);
                ("alarm", format!("{alarm} {}{now}", from.unwrap_or_default()), tone, true)
            }
            What::AlarmAccepted { alarm, .. } => {
                ("alarm accepted", format!("{alarm}, by {}", by(&event.actor)), Plain, true)
            }
            What::Drifted { object, found, ours, .. } => {
                let who = found.written_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
                let then = if *ours { "going on from there" } else { "not overwritten" };
                ("drift", format!("{object} was changed{who}; {then}"), Warn, true)
            }
            What::Asked { why, .. } => ("ASKS A PERSON", why.clone(), Bad, true),
            What::Promoted { .. } => ("go on", format!("said {}", by(&event.actor)), Good, true),
            What::Paused { .. } => ("paused", format!("by {}", by(&event.actor)), Warn, true),
            What::Resumed { .. } => ("resumed", format!("by {}", by(&event.actor)), Plain, true),
            What::RollbackBegan { why, to, .. } => {
                ("ROLLING BACK", format!("{why}; back to {}", serving(to)), Warn, true)
            }
            What::RolledBack { release, .. } => {
                ("rolled back", format!("release {release}: what served before serves again"), Warn, true)
            }
            What::WentLive { release, .. } => ("LIVE", format!("release {release}: the watch ended well"), Good, true),
            What::OldReleased { .. } => ("old pods", "no longer kept up".into(), Dim, true),
            What::WindowClosed { .. } => ("window closed", "no longer rolled back by itself".into(), Dim, false),
            What::Settled { end, why, .. } => {
                let (verb, tone) = end_words(*end);
                (verb, why.clone(), tone, true)
            }
            What::NeedsHelp { why, .. } => ("NEEDS A PERSON", why.clone(), Bad, true),
            What::Escalated { why, level, .. } => {
                ("STILL NEEDS ONE", format!("{why} (said {})", times(*level)), Bad, true)
            }
            What::Resolved { live, reason, .. } => {
                let who = by(&event.actor);
                ("resolved", format!("by {who}: {reason}; serving: {}", serving(live)), Plain, true)
            }
            What::HandsOff { until: Some(_), reason } => {
                ("hands off", format!("by {}: {reason}", by(&event.actor)), Warn, true)
            }
            What::HandsOff { until: None, reason } => {
                ("hands on", format!("by {}: {reason}", by(&event.actor)), Plain, true)
            }
            What::QuarantineLifted { digest, reason } => {
                ("quarantine", format!("{} may be released again: {reason}", digest.short()), Plain, true)
            }
            What::GlassBroken { plan, gates, who, reason, .. } => {
                let gates: Vec<&str> = gates.iter().map(String::as_str).collect();
                ("break-glass", format!("{who} would skip {} for plan {plan}: {reason}", gates.join(", ")), Warn, true)
            }
            What::VulnerabilityFound { service, finding, severity, before_has_it, .. } => {
                let before = match before_has_it {
                    Some(true) => "has it too",
                    Some(false) => "is free of it",
                    None => "may have it too: nobody can say",
                };
                let detail = format!("{severity} in {}: {finding}; what served before {before}", short(service));
                ("vulnerability", detail, Warn, true)
            }
            What::LiveVulnerable { service, digest, why } => {
                ("vulnerability", format!("{} {}: {why}", short(service), digest.short()), Warn, true)
            }
            What::LineStopped { why } => {
                ("LINE STOPPED", format!("{why}; no release begins until a person resumes it"), Bad, true)
            }
            What::LineResumed { reason } => ("line resumed", format!("by {}: {reason}", by(&event.actor)), Plain, true),
            What::PolicyChanged { from, to, changes, .. } => return policy_words(from.as_ref(), to, changes),
            What::EpochRaised { epoch, reason } => {
                ("epoch", format!("raised to {epoch} by {}: {reason}", by(&event.actor)), Warn, true)
            }
        };
        (verb.to_owned(), detail, tone, key)
    }

    fn done_words(&self, intention: Seq, outcome: &Outcome) -> (String, String, Tone, bool) {
        use Tone::{Bad, Dim, Good, Plain, Warn};
        let action = self.action(intention);
        let what = action.map_or_else(|| format!("step {intention}"), action_words);
        let (verb, detail, tone, key) = match outcome {
            Outcome::Facts(_) => ("facts", "read".into(), Dim, false),
            Outcome::BackedUp { index, objects, .. } => {
                ("backed up", format!("{}, read back    {index}", count(u64::from(*objects), "object")), Plain, true)
            }
            Outcome::Written => match action {
                Some(Action::Write(Write { object, to: Value::Traffic { .. }, .. })) => {
                    ("switched", format!("read back: {}", short(&object.service)), Plain, true)
                }
                Some(Action::Write(Write { object, purpose: Purpose::Drain, .. })) => {
                    ("drained", object.to_string(), Plain, false)
                }
                _ => ("done", what, Dim, false),
            },
            Outcome::Drift(found) => {
                let who = found.written_by.as_ref().map(|who| format!(", written by {who}")).unwrap_or_default();
                ("not as expected", format!("{what}: found something else{who}"), Warn, false)
            }
            Outcome::Seen(found) if found.problems.is_empty() => {
                ("seen", format!("{what}: {} ready", found.ready), Dim, false)
            }
            Outcome::Seen(found) => ("not ready", format!("{what}: {}", found.problems.join("; ")), Warn, true),
            Outcome::TestPassed { note } => match action {
                Some(Action::RunTest { test, .. }) => ("verified", format!("{}: {note}", test.name), Good, true),
                _ => ("verified", note.clone(), Good, true),
            },
            Outcome::TestFailed { why } => match action {
                Some(Action::RunTest { test, .. }) if !test.on_failure.is_stop() => {
                    ("test failed", format!("{}: {why}; it stops nothing", test.name), Warn, true)
                }
                _ => ("TEST FAILED", format!("{what}: {why}"), Bad, true),
            },
            Outcome::Measured { .. } => ("measured", what, Dim, false),
            Outcome::Observed(_) => ("observed", "the objects of the environment".into(), Dim, false),
            Outcome::Failed { why } => ("failed once", format!("{what}: {why}; tried again"), Warn, false),
        };
        (verb.to_owned(), detail, tone, key)
    }
}

/// The event without memory of others, for notices: what happened, and to which release.
pub(crate) fn notice(line: &Line, release: Option<ReleaseId>) -> String {
    match release {
        Some(release) => format!("release {release} {}: {}", line.verb, line.plain()),
        None => format!("{}: {}", line.verb, line.plain()),
    }
}
