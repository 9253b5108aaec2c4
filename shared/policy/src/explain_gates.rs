//! The part of [`crate::explain`] about what must hold before a release.

use std::fmt::Write as _;

use portcullis_domain::calendar::{When, Window};
use portcullis_domain::names::GroupName;
use portcullis_domain::policy::{Policy, Same, ScanAction, ScanRule};
use portcullis_domain::time::Millis;

use crate::defaults;
use crate::explain::{Page, marked};
use crate::grammar::{day_of, minute_of};
use crate::quorums::joined;

/// Writes what must hold, each gate as one statement.
pub(crate) fn write(policy: &Policy, page: &mut Page<'_>) {
    page.line("every service has an image of this commit, by digest");
    let gates = &policy.gates;
    promoted(policy, page);
    match &gates.scan {
        None => page.line("no image scan is asked for"),
        Some(rule) => scan(policy, rule, page),
    }
    if gates.approvals.is_empty() {
        page.line("nobody has to approve");
    }
    for quorum in &gates.approvals {
        let text = format!("approved by {} of {}", quorum.count, people(policy, &quorum.group));
        page.gate(&format!("approvals.{}", quorum.group), &text);
    }
    let reviews = gates.scan.iter().flat_map(|scan| scan.severities.values());
    if !gates.approvals.is_empty() || reviews.into_iter().any(|action| matches!(action, ScanAction::Review { .. })) {
        page.line(
            "  never counts: who requested or pushed it, its authors and committers, a bot; one rejection is a veto",
        );
    }
    if let Some(text) = &gates.typed_confirmation {
        page.gate("typed_confirmation", &format!("a person who starts it types: {text}"));
    }
    calendar(policy, page);
    for rule in &gates.rules {
        page.gate(&format!("rules.{}", rule.name), &format!("rule {} does not forbid it", rule.name));
    }
    let remind = marked(gates.remind, defaults::remind(gates.expire));
    page.line(&format!("waits at most {}, with a reminder after {remind}", marked(gates.expire, defaults::EXPIRE)));
    match &gates.break_glass {
        None => page.line("nobody can skip a gate"),
        Some(quorum) => {
            let group = people(policy, &quorum.group);
            let text =
                format!("{} of {group} together can skip a gate, each with a reason; all are told", quorum.count);
            page.gate("break_glass", &text);
        }
    }
}

fn promoted(policy: &Policy, page: &mut Page<'_>) {
    let Some(promotion) = &policy.gates.promoted_from else { return };
    let mut text = match promotion.same {
        Same::Digests => "the same images were".to_owned(),
        Same::SourceTree => "images built from the same source (weaker: not the same images) were".to_owned(),
    };
    let _ = write!(text, " verified live in {}", promotion.environment);
    if let Some(within) = promotion.within {
        let _ = write!(text, ", at most {within} ago");
    }
    page.gate("promoted_from", &text);
}

fn scan(policy: &Policy, scan: &ScanRule, page: &mut Page<'_>) {
    let age = marked(scan.max_age, defaults::SCAN_MAX_AGE);
    page.gate("scan.max_age", &format!("the image scan is complete and at most {age} old"));
    if scan.settle > Millis(0) {
        page.gate("scan.settle", &format!("  complete for at least {}: findings may come seconds after", scan.settle));
    }
    for (severity, action) in &scan.severities {
        let text = match action {
            ScanAction::Block { above: 0 } => format!("  {severity} findings: none"),
            ScanAction::Block { above } => format!("  {severity} findings: at most {above}"),
            ScanAction::Review { above, by } => {
                let many = if *above == 0 { "any".to_owned() } else { format!("more than {above}") };
                format!("  {severity} findings: {many} need a review by {}", people(policy, by))
            }
        };
        page.gate(&format!("scan.{severity}"), &text);
    }
    page.line("  findings of any other severity are allowed");
    for waiver in &scan.waivers {
        page.line(&format!("  {} does not count until {}: {}", waiver.id, day_of(waiver.until), waiver.reason));
    }
}

fn calendar(policy: &Policy, page: &mut Page<'_>) {
    let calendar = &policy.gates.calendar;
    for (key, before, windows) in
        [("freeze", "it does not begin in", &calendar.freeze), ("open", "it begins only in", &calendar.open)]
    {
        for (at, window) in windows.iter().enumerate() {
            let before = if key == "open" && at > 0 { "  or in" } else { before };
            page.gate(&format!("{key}.{}", window.name), &format!("{before} {}: {}", window.name, when(window)));
        }
    }
    if !calendar.is_empty() {
        page.line("  a rollback never waits for it");
    }
}

/// When a window is, in words as far as a simple rule allows.
fn when(window: &Window) -> String {
    match &window.when {
        When::Once { from, until } => format!("{} to {} UTC", minute_of(*from), minute_of(*until)),
        When::Recurring { rule, starts, zone, length } => {
            let (day, time) = starts.split_once('T').unwrap_or((starts, "00:00"));
            let time = time.strip_suffix(":00").filter(|time| time.len() == 5).unwrap_or(time);
            let days = days(rule).unwrap_or_else(|| format!("by the rule {rule}"));
            format!("{days} from {time} for {length}, {zone}, from {day} on")
        }
    }
}

/// `every Friday and Saturday`, for the rules that say no more than that.
fn days(rule: &str) -> Option<String> {
    const DAYS: [(&str, &str); 7] = [
        ("MO", "Monday"),
        ("TU", "Tuesday"),
        ("WE", "Wednesday"),
        ("TH", "Thursday"),
        ("FR", "Friday"),
        ("SA", "Saturday"),
        ("SU", "Sunday"),
    ];
    if rule == "FREQ=DAILY" {
        return Some("every day".to_owned());
    }
    let words = rule.strip_prefix("FREQ=WEEKLY;BYDAY=")?.split(',');
    let days: Option<Vec<&str>> =
        words.map(|word| DAYS.iter().find(|(short, _)| *short == word).map(|(_, day)| *day)).collect();
    Some(format!("every {}", joined(&days?)))
}

/// `release-managers (kofi, lena)`.
fn people(policy: &Policy, group: &GroupName) -> String {
    match policy.groups.get(group) {
        Some(members) if !members.is_empty() => {
            let names: Vec<&str> = members.iter().map(portcullis_domain::names::Subject::as_str).collect();
            format!("{group} ({})", names.join(", "))
        }
        _ => format!("{group} (nobody this version can name)"),
    }
}
