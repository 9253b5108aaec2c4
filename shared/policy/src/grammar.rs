//! The small texts inside a policy, beside amounts: `1 of release-managers`, `GET /health`.

use portcullis_domain::time::{Millis, Timestamp};

use crate::amounts::{Measure, amount, some_duration};
use crate::nearest::{nearest, shown};
use crate::notices::Channel;

/// Why a text is not what stands there in the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// What is wrong; the key's path goes before it.
    pub(crate) problem: String,
    /// For under the text.
    pub(crate) label: String,
    /// What to write instead.
    pub(crate) help: Option<String>,
}

impl Wrong {
    pub(crate) fn new(problem: impl Into<String>, label: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problem: problem.into(), label: label.into(), help: Some(help.into()) }
    }
}

/// `failing for 5m`.
pub(crate) fn failing(text: &str) -> Result<Millis, Wrong> {
    match text.strip_prefix("failing for ") {
        Some(rest) => some_duration(rest.trim_start()),
        None => Err(Wrong::new(
            format!("`{}` is not a health rule", shown(text)),
            "says when health counts as lost",
            "write: failing for 5m",
        )),
    }
}

/// `1 of release-managers`: the count and the group's name.
pub(crate) fn quorum(text: &str) -> Result<(u8, &str), Wrong> {
    let not = |label: &str, help: String| Err(Wrong::new(format!("`{}` is not a quorum", shown(text)), label, help));
    let Some((count, group)) = text.split_once(" of ").map(|(count, group)| (count.trim_end(), group.trim())) else {
        let help = if text.bytes().all(|c| c.is_ascii_digit()) && !text.is_empty() {
            format!("say of whom: {} of release-managers", shown(text))
        } else {
            "write a number and a group: 1 of release-managers".to_owned()
        };
        return not("so many people of a group", help);
    };
    name_like(group).map_err(|why| {
        let label = format!("the group {why}");
        Wrong::new(format!("`{}` is not a quorum", shown(text)), label, "write: 1 of release-managers")
    })?;
    match count.parse::<u8>() {
        Ok(0) => not("nobody would be asked", format!("write 1 of {group}, or remove the line")),
        Ok(count) if count <= 50 && text.as_bytes()[0].is_ascii_digit() => Ok((count, group)),
        _ => not("the number is from 1 to 50", format!("write: 1 of {}", shown(group))),
    }
}

/// `2 of oncall`: a quorum of at least two.
pub(crate) fn glass_quorum(text: &str) -> Result<(), Wrong> {
    let example = |wrong: Wrong| Wrong { help: Some("write: 2 of oncall".to_owned()), ..wrong };
    match quorum(text).map_err(example)? {
        (1, group) => Err(Wrong::new(
            format!("`{}` lets one person skip a gate", shown(text)),
            "at least two people together",
            format!("write: 2 of {group}"),
        )),
        _ => Ok(()),
    }
}

/// `3 in 1h`: so many in so long.
pub(crate) fn often(text: &str) -> Result<(u8, Millis), Wrong> {
    let wrong =
        |label: &str| Err(Wrong::new(format!("`{}` does not say how often", shown(text)), label, "write: 3 in 1h"));
    let Some((count, time)) = text.split_once(" in ") else { return wrong("so many in so long") };
    match count.trim_end().parse::<u8>() {
        Ok(count @ 1..=50) if text.as_bytes()[0].is_ascii_digit() => Ok((count, some_duration(time.trim_start())?)),
        _ => wrong("the number is from 1 to 50"),
    }
}

fn name_like(text: &str) -> Result<(), String> {
    portcullis_domain::names::GroupName::new(text).map(|_| ()).map_err(|error| error.why.to_owned())
}

/// What a severity's entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanWord<'t> {
    Allow,
    Block { above: u32 },
    Review { above: u32, by: &'t str },
}

/// `block`, `block above 5`, `review by security`, `review above 5 by security`, `allow`.
pub(crate) fn scan_action(text: &str) -> Result<ScanWord<'_>, Wrong> {
    let words: Vec<&str> = text.split_whitespace().take(8).collect();
    let above = |n: &str| -> Result<u32, Wrong> {
        let label = "after `above` stands a whole number";
        let wrong =
            |_| Wrong::new(format!("`{}` is not a rule for findings", shown(text)), label, "write: block above 5");
        n.parse().map_err(wrong)
    };
    let group = |name: &'_ str| {
        name_like(name).map_err(|why| {
            let label = format!("the group {why}");
            Wrong::new(format!("`{}` is not a rule for findings", shown(text)), label, "write: review by security")
        })
    };
    match words[..] {
        ["allow"] => Ok(ScanWord::Allow),
        ["block"] => Ok(ScanWord::Block { above: 0 }),
        ["block", "above", n] => Ok(ScanWord::Block { above: above(n)? }),
        ["review", "by", by] => group(by).map(|()| ScanWord::Review { above: 0, by }),
        ["review", "above", n, "by", by] => {
            group(by)?;
            Ok(ScanWord::Review { above: above(n)?, by })
        }
        ["review", ..] => Err(Wrong::new(
            format!("`{}` does not say who reviews", shown(text)),
            "a review names its group",
            "write: review by security",
        )),
        _ => Err(Wrong::new(
            format!("`{}` is not a rule for findings", shown(text)),
            "one of block, review, allow",
            "write: block, block above 5, review by GROUP, review above 5 by GROUP, or allow",
        )),
    }
}

/// `2027-01-31`: the first moment of that day, UTC. Years 2000 to 2199.
pub(crate) fn date(text: &str) -> Result<Timestamp, Wrong> {
    let wrong =
        || Wrong::new(format!("`{}` is not a date", shown(text)), "a day, as year-month-day", "write: 2027-01-31");
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return Err(wrong());
    }
    let number = |part: &str| {
        part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten().ok_or_else(wrong)
    };
    let part = |range: std::ops::Range<usize>| text.get(range).ok_or_else(wrong).and_then(number);
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let length = |month: u64| match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(2000..2200).contains(&year) || !(1..=12).contains(&month) || day == 0 || day > length(month) {
        return Err(wrong());
    }
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let days = years + (1..month).map(length).sum::<u64>() + day - 1;
    Ok(Timestamp(days * 86_400_000))
}

/// The day of a moment, as [`date`] reads it.
pub(crate) fn day_of(moment: Timestamp) -> String {
    let mut left = moment.0 / 86_400_000;
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while left >= if leap(year) { 366 } else { 365 } {
        left -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let months = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while month < 11 && left >= months[month] {
        left -= months[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, left + 1)
}

/// A moment to the minute, UTC: `2026-12-20 17:00`.
pub(crate) fn minute_of(moment: Timestamp) -> String {
    let minutes = moment.0 / 60_000 % 1_440;
    format!("{} {:02}:{:02}", day_of(moment), minutes / 60, minutes % 60)
}

/// `GET /health`: the path.
pub(crate) fn http_request(text: &str) -> Result<&str, Wrong> {
    let help = "write: GET /health";
    let Some(path) = text.strip_prefix("GET ").map(str::trim_start) else {
        let label = if text.starts_with('/') { "the method is missing" } else { "only GET, which changes nothing" };
        return Err(Wrong::new(format!("`{}` is not a request", shown(text)), label, help));
    };
    let fine = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '#' | '<' | '>');
    if !path.starts_with('/') || path.starts_with("//") || path.len() > 256 || !path.chars().all(fine) {
        let label = "the path begins with / and has at most 256 plain characters";
        return Err(Wrong::new(format!("`{}` is not a request", shown(text)), label, help));
    }
    Ok(path)
}

/// `slack deployments`, `terminal`, `email ops@example.com`.
pub(crate) fn channel(text: &str) -> Result<Channel, Wrong> {
    const KINDS: [&str; 7] = ["terminal", "file", "slack", "github", "email", "pagerduty", "compliance"];
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    let wrong = |label: &str, help: &str| Err(Wrong::new(format!("`{}` is not a channel", shown(text)), label, help));
    if text.contains('#') {
        return wrong("channels are written without their \"#\"", "write: slack deployments");
    }
    let named = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && name.len() <= 80;
    match words[..] {
        ["terminal"] => Ok(Channel::Terminal),
        ["file"] => Ok(Channel::File),
        ["github", what @ ("status" | "comment" | "issue")] => Ok(Channel::Github(what.to_owned())),
        ["github", ..] => wrong("github what?", "write: github status, github comment or github issue"),
        ["slack", name] if named(name) => Ok(Channel::Slack(name.to_owned())),
        ["pagerduty", name] if named(name) => Ok(Channel::PagerDuty(name.to_owned())),
        ["email", address] if email(address).is_ok() => Ok(Channel::Email(address.to_owned())),
        ["compliance", "report"] => Ok(Channel::ComplianceReport),
        ["slack"] => wrong("which one? A name after a \"#\" is a comment to YAML", "write: slack deployments"),
        ["pagerduty" | "slack", ..] => wrong("one name, without spaces", "write: slack deployments"),
        ["email", ..] => wrong("email to whom?", "write: email ops@example.com"),
        ["compliance", ..] => wrong("compliance what?", "write: compliance report"),
        [kind, ..] if nearest(kind, KINDS).is_some() => {
            let near = nearest(kind, KINDS).unwrap_or_default();
            wrong("not a kind of channel", &format!("did you mean `{near}`?"))
        }
        _ => wrong(
            "not a kind of channel",
            "channels: terminal, file, slack NAME, github status|comment|issue, email ADDRESS, pagerduty NAME, compliance report",
        ),
    }
}

/// `name@domain`, roughly.
pub(crate) fn email(text: &str) -> Result<(), Wrong> {
    let fine =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && !"@<>\"',;:\\".contains(c));
    match text.split_once('@') {
        Some((name, host)) if fine(name) && fine(host) && text.len() <= 190 => Ok(()),
        _ => Err(Wrong::new(
            format!("`{}` is not an e-mail address", shown(text)),
            "NAME@DOMAIN",
            "write: ops@example.com",
        )),
    }
}

/// `T01AB/U03CD`: a Slack team and user.
pub(crate) fn slack_user(text: &str) -> Result<(), Wrong> {
    let id = |part: &str, first: &[char]| {
        part.starts_with(first) && part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    match text.split_once('/') {
        Some((team, user)) if id(team, &['T', 'E']) && id(user, &['U', 'W']) && text.len() <= 60 => Ok(()),
        _ => Err(Wrong::new(
            format!("`{}` is not a Slack user", shown(text)),
            "TEAM/USER, by their ids: a name or an e-mail can be taken over",
            "write: T01AB/U03CD (in Slack: profile, Copy member ID)",
        )),
    }
}

/// `at most 10% worse`, compared with what is live.
pub(crate) fn worse(text: &str) -> Result<(), Wrong> {
    let amount_of = text.strip_prefix("at most ").and_then(|rest| rest.strip_suffix(" worse"));
    match amount_of.map(|value| amount(value.trim(), Measure::Percent)) {
        Some(Ok(_)) => Ok(()),
        Some(Err(wrong)) => Err(wrong),
        None => Err(Wrong::new(
            format!("`{}` is not a comparison with what is live", shown(text)),
            "so much worse than live is accepted",
            "write: at most 10% worse",
        )),
    }
}
