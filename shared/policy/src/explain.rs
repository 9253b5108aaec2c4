//! A policy in plain words: what must hold, who may approve, what triggers a rollback, which defaults are in force.

use std::fmt::Write as _;

use portcullis_domain::policy::{
    Comparison, Governor, HoldFor, Limits, MetricsFrom, Mode, OnFailure, Policy, ServiceKind, Severity, Strategy,
    TestKind, TrafficBy, Trigger, Waiting, percent,
};
use portcullis_domain::time::Millis;

use crate::defaults;
use crate::explain_gates;
use crate::origins::Origins;

const WIDTH: usize = 100;
const INDENT: usize = 12;

/// The policy of one environment in plain words, at most 100 columns, ASCII but for names. A value that is what holds
/// where a policy says nothing is marked `(default)`.
pub fn explain(policy: &Policy) -> String {
    page(policy, None)
}

/// The same, with who asks for each gate where that is known.
pub(crate) fn page(policy: &Policy, origins: Option<&Origins>) -> String {
    let mut page = Page { text: format!("{}\n\n", policy.target), first: true, origins };
    page.part("Mode", |page| page.line(mode(policy.mode)));
    page.part("Runs on", |page| place(policy, page));
    page.part("Services", |page| services(policy, page));
    page.part("Starts", |page| starts(policy, page));
    page.part("Must hold", |page| explain_gates::write(policy, page));
    page.part("Then", |page| steps(policy, page));
    page.part("Watch", |page| watch(policy, page));
    page.part("Rolls back", |page| rolls_back(policy, page));
    page.part("Limits", |page| page.line(&limits(&policy.limits)));
    page.text.push_str("\n(default) marks what holds because the policy says nothing, or says the same.\n");
    if origins.is_some() {
        page.text.push_str(
            "(organisation) and (application) mark who asks for a gate; no application removes what the\norganisation asks for.\n",
        );
    }
    page.text
}

pub(crate) struct Page<'o> {
    text: String,
    first: bool,
    origins: Option<&'o Origins>,
}

impl Page<'_> {
    fn part(&mut self, title: &str, write: impl FnOnce(&mut Self)) {
        let _ = write!(self.text, "{title:INDENT$}");
        self.first = true;
        write(self);
    }

    /// One statement about a gate, with who asks for it.
    pub(crate) fn gate(&mut self, key: &str, text: &str) {
        let mark = self.origins.map_or("", |origins| origins.mark(key));
        self.line(&format!("{text}{mark}"));
    }

    /// One statement, folded at the page's width; the folded rest stands two columns further in.
    pub(crate) fn line(&mut self, text: &str) {
        let text: String = text.chars().map(crate::nearest::visible).collect();
        let mut column = INDENT;
        if !self.first {
            let _ = write!(self.text, "{:INDENT$}", "");
        }
        self.first = false;
        for (at, word) in text.split(' ').enumerate() {
            let width = word.chars().count();
            if at > 0 && column + 1 + width > WIDTH {
                let _ = write!(self.text, "\n{:width$}", "", width = INDENT + 2);
                column = INDENT + 2;
            } else if at > 0 {
                self.text.push(' ');
                column += 1;
            }
            self.text.push_str(word);
            column += width;
        }
        self.text.push('\n');
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe: records what it would have done, and does nothing",
        Mode::Gate => "gate: judges the gates, watches, and rolls back what others deploy",
        Mode::Deploy => "deploy: does everything",
    }
}

fn place(policy: &Policy, page: &mut Page<'_>) {
    let place = &policy.place;
    let mut text = format!("cluster {}, namespace {}", place.cluster, place.namespace);
    for (word, value) in [("account", &place.account), ("region", &place.region), ("role", &place.role)] {
        if let Some(value) = value {
            let _ = write!(text, ", {word} {value}");
        }
    }
    page.line(&text);
    if let Some(source) = &policy.source {
        page.line(&format!("built from {source}"));
    }
}

fn services(policy: &Policy, page: &mut Page<'_>) {
    for service in &policy.services {
        let mut text = format!("{}. {}", service.wave + 1, service.name);
        if !service.after.is_empty() {
            let names: Vec<&str> = service.after.iter().map(portcullis_domain::names::ServiceName::as_str).collect();
            let _ = write!(text, ", after {}", crate::quorums::joined(&names));
        }
        match service.kind {
            ServiceKind::Serving => {}
            ServiceKind::Worker { overlap: true } => text.push_str(", a worker: starts last, beside the old one"),
            ServiceKind::Worker { overlap: false } => {
                text.push_str(", a worker: starts last, once the old one has stopped");
            }
        }
        let _ = write!(text, "; images from {}", service.repository);
        if let Some(source) = &service.source {
            let _ = write!(text, "; keeps its live image while nothing under {source}/ changes");
        }
        page.line(&text);
    }
    let tags: Vec<String> = policy.tags.iter().map(ToString::to_string).collect();
    page.line(&format!("a tag names its commit as {}; what is deployed is always the digest", tags.join(" or ")));
}

fn starts(policy: &Policy, page: &mut Page<'_>) {
    if let Some(branch) = &policy.intake.branch {
        page.line(&format!("by itself when images of a commit on branch {branch} are pushed"));
    }
    if let Some(tag) = &policy.intake.moving_tag {
        page.line(&format!("by itself when images get the tag {tag}"));
    }
    page.line("when a person says so");
    page.line(match policy.waiting {
        Waiting::Newest => {
            "of several waiting, the newest replaces the others until it has an approval; from then newer ones queue (default)"
        }
        Waiting::Queue => "of several waiting, the oldest goes first",
    });
}

fn steps(policy: &Policy, page: &mut Page<'_>) {
    let kept = marked(policy.backup_keep, defaults::BACKUP_KEEP);
    page.line(&match &policy.backup_secrets {
        None => format!("backed up first, without Secrets; backups are kept {kept}"),
        Some(recipient) => format!("backed up first, Secrets encrypted to {recipient}; backups are kept {kept}"),
    });
    match &policy.strategy {
        Strategy::Rolling => page.line("rolling: the live Deployment takes the new images pod by pod"),
        Strategy::BlueGreen { steps, every, manual } => {
            let moves = match (&steps[..], manual) {
                ([_] | [], false) => "all traffic moves to it at once".to_owned(),
                ([_] | [], true) => "all traffic moves to it at once, when a person says switch".to_owned(),
                (steps, _) => {
                    let shares: Vec<String> = steps.iter().map(|share| percent(*share)).collect();
                    let when = if *manual { ", the first when a person says switch" } else { "" };
                    format!(
                        "traffic moves to it in steps of {}{when}; each but the last is watched until it was healthy for {every}",
                        shares.join(", ")
                    )
                }
            };
            page.line(&format!("blue-green: the new version comes up beside the live one, then {moves}"));
            page.line(match policy.traffic {
                TrafficBy::Selector => "traffic is moved by the selector of each Service (default)",
                TrafficBy::Alb => {
                    "traffic is moved by the weights of two target groups behind an Application Load Balancer"
                }
                TrafficBy::Gateway => "traffic is moved by the weights of an HTTPRoute of the Gateway API",
            });
        }
    }
    if policy.verify.is_empty() {
        page.line("not tested before it serves, beyond its readiness");
    }
    for test in &policy.verify {
        let what = match &test.kind {
            TestKind::Http { paths } => {
                format!("GET {} answers 200 to 299 on every service with traffic", paths.join(", GET "))
            }
            TestKind::Job { cronjob } => format!("a Job made from CronJob {cronjob} succeeds"),
        };
        let then = match test.on_failure {
            OnFailure::Stop => "",
            OnFailure::Continue => "; if not, that is told, and it goes on",
        };
        page.line(&format!("before it serves, test {}: {what}, within {}{then}", test.name, test.within));
    }
    if let Some(namespace) = &policy.publish {
        page.line(&format!("counted at its end, in the CloudWatch namespace {namespace}"));
    }
}

fn watch(policy: &Policy, page: &mut Page<'_>) {
    let watch = &policy.watch;
    let standard = defaults::watch(matches!(policy.strategy, Strategy::BlueGreen { .. }));
    let every = marked(watch.every, defaults::every(watch.length));
    page.line(&format!(
        "live after {} of healthy, measured time, in windows of {every}",
        marked(watch.length, standard)
    ));
    if policy.metrics_from == MetricsFrom::Alb {
        page.line("measured by the Application Load Balancers in front, by their metrics in CloudWatch");
    }
    if watch.healthy.is_empty() {
        page.line("only readiness and alarms are watched: no metric has a limit");
    }
    for trigger in &watch.healthy {
        let limit = trigger.metric.show(trigger.limit);
        page.line(&format!("{} must stay {} {limit}; {}", trigger.metric, trigger.breach.negated(), breached(trigger)));
    }
    if let Some(traffic) = watch.traffic {
        let least = portcullis_domain::policy::Metric::Requests.show(i64::try_from(traffic).unwrap_or(i64::MAX));
        page.line(&format!("less than {least} is inconclusive"));
    }
    page.line(&format!(
        "missing data is never healthy; inconclusive goes on for up to {} more, then a person is asked",
        marked(watch.extend, watch.length)
    ));
    if !watch.alarms_ask.is_empty() {
        page.line(&format!("a person is asked when an alarm rings: {}", watch.alarms_ask.join(", ")));
    }
}

fn breached(trigger: &Trigger) -> String {
    match trigger.hold {
        HoldFor::Points(2) => "breached by two consecutive data points (default)".to_owned(),
        HoldFor::Points(n) => format!("breached by {n} consecutive data points"),
        HoldFor::Time(time) => format!("breached when it is not so for {time}"),
    }
}

fn rolls_back(policy: &Policy, page: &mut Page<'_>) {
    let back = &policy.roll_back;
    page.line(&format!(
        "until {} after live; back in seconds for the first {}, while the old pods are up",
        marked(back.window, defaults::WINDOW),
        marked(back.keep_old, defaults::KEEP_OLD)
    ));
    page.line("when it does not become ready, a test fails, or a limit of the watch is breached before it is live");
    if let Some(time) = back.health_failing_for {
        page.line(&format!("when health fails for {time}"));
    }
    for trigger in &back.when {
        let how = match trigger.hold {
            HoldFor::Points(2) => "for two consecutive data points (default)".to_owned(),
            HoldFor::Points(n) => format!("for {n} consecutive data points"),
            HoldFor::Time(time) => format!("for {time}"),
        };
        let compared: Comparison = trigger.breach;
        page.line(&format!("when {} is {compared} {} {how}", trigger.metric, trigger.metric.show(trigger.limit)));
    }
    if !policy.watch.alarms_roll_back.is_empty() {
        page.line(&format!("when an alarm rings: {}", policy.watch.alarms_roll_back.join(", ")));
    }
    if let Some(severity) = back.vulnerability {
        let worse = if severity == Severity::ALL[0] { "" } else { " or worse" };
        page.line(&format!(
            "when a new finding that is {severity}{worse} shows in what is live, and what served before is free of it"
        ));
    }
    page.line("when a person says so: one person, no approval");
    let (governor, standard) = (&policy.governor, Governor::default());
    let mark = if *governor == standard { " (default)" } else { "" };
    page.line(&format!(
        "{} rollbacks by itself in {} stop the line, {} environments that roll back in {} stop every line{mark}; then a person is asked",
        governor.rollbacks, governor.within, governor.fleet, governor.fleet_within
    ));
}

fn limits(limits: &Limits) -> String {
    let standard = Limits::default();
    let parts = [
        ("images arrive within", limits.gather, standard.gather),
        ("backup", limits.backup, standard.backup),
        ("ready", limits.ready, standard.ready),
        ("one write", limits.write, standard.write),
        ("a person reminded louder after", limits.escalate, standard.escalate),
        ("facts looked at every", limits.look, standard.look),
    ];
    let words: Vec<String> =
        parts.iter().map(|(word, value, standard)| format!("{word} {}", marked(*value, *standard))).collect();
    words.join("; ")
}

pub(crate) fn marked(value: Millis, standard: Millis) -> String {
    if value == standard { format!("{value} (default)") } else { value.to_string() }
}
