//! Recurrence rules of RFC 5545 section 3.3.10, as far as they name days: text in, [`Rule`] out.
//!
//! A part that is read in more than one way by the programs people use, or that says nothing about days, is refused
//! with words rather than guessed at.

use jiff::civil::{Date, Weekday};
use jiff::tz::Offset;

use super::error::{CalendarError, cut};
use crate::time::Timestamp;

/// The longest rule text, in bytes.
const LONGEST: usize = 300;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freq {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// When it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Never,
    /// After so many times.
    Count(usize),
    /// With this day.
    Day(Date),
    /// With this moment.
    Moment(Timestamp),
}

/// `-1FR`: the last Friday. Ordinal 0: each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnDay {
    pub(super) ordinal: i16,
    pub(super) weekday: Weekday,
}

/// A rule, checked. An empty list does not choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) freq: Freq,
    pub(super) interval: i64,
    pub(super) end: End,
    pub(super) week_start: Weekday,
    pub(super) by_month: Vec<i16>,
    pub(super) by_week: Vec<i16>,
    pub(super) by_year_day: Vec<i16>,
    pub(super) by_month_day: Vec<i16>,
    pub(super) by_day: Vec<OnDay>,
    pub(super) by_position: Vec<i16>,
}

impl Rule {
    /// Reads a rule. What it leaves open is as on the first day (`FREQ=WEEKLY` alone is that day of the week).
    pub(super) fn read(text: &str, first: Date) -> Result<Self, CalendarError> {
        let mut rule =
            parse(text).and_then(checked).map_err(|why| CalendarError::Rule { found: cut(text), why: why.into() })?;
        rule.complete(first);
        Ok(rule)
    }

    fn complete(&mut self, first: Date) {
        let no_days = self.by_day.is_empty() && self.by_month_day.is_empty() && self.by_year_day.is_empty();
        if !no_days || self.freq == Freq::Daily {
            return;
        }
        if self.freq == Freq::Weekly {
            self.by_day.push(OnDay { ordinal: 0, weekday: first.weekday() });
            return;
        }
        if self.freq == Freq::Yearly && self.by_month.is_empty() {
            self.by_month.push(i16::from(first.month()));
        }
        self.by_month_day.push(i16::from(first.day()));
    }
}

/// A reason with what to write instead.
type Why = std::borrow::Cow<'static, str>;

fn parse(text: &str) -> Result<Rule, Why> {
    if text.len() > LONGEST {
        return Err(format!("it has more than {LONGEST} characters; write several windows").into());
    }
    let text = text.to_ascii_uppercase();
    if text.starts_with("RRULE:") {
        return Err("write it without RRULE:, such as FREQ=WEEKLY;BYDAY=FR".into());
    }
    let mut freq = None;
    let mut rule = Rule {
        freq: Freq::Daily,
        interval: 1,
        end: End::Never,
        week_start: Weekday::Monday,
        by_month: vec![],
        by_week: vec![],
        by_year_day: vec![],
        by_month_day: vec![],
        by_day: vec![],
        by_position: vec![],
    };
    let mut seen: Vec<&str> = Vec::new();
    for part in text.split(';') {
        let Some((name, value)) = part.split_once('=') else {
            return Err(format!("{part:?} is not NAME=VALUE; write such as FREQ=WEEKLY;BYDAY=FR").into());
        };
        if seen.contains(&name) || (name == "COUNT" || name == "UNTIL") && rule.end != End::Never {
            return Err(match name {
                "COUNT" | "UNTIL" => "it may end once only: write either one COUNT or one UNTIL".into(),
                _ => format!("{name} is there twice; write its values in one list, such as BYDAY=SA,SU").into(),
            });
        }
        seen.push(name);
        match name {
            "FREQ" => freq = Some(frequency(value)?),
            "INTERVAL" => rule.interval = whole(name, value, 999)?,
            "COUNT" => rule.end = End::Count(whole(name, value, 99_999)?.unsigned_abs().try_into().unwrap_or(1)),
            "UNTIL" => rule.end = until(value)?,
            "WKST" => rule.week_start = weekday(value).ok_or("WKST is a day of the week, such as WKST=MO")?,
            "BYMONTH" => rule.by_month = numbers(name, value, 1..=12)?,
            "BYWEEKNO" => rule.by_week = numbers(name, value, -53..=53)?,
            "BYYEARDAY" => rule.by_year_day = numbers(name, value, -366..=366)?,
            "BYMONTHDAY" => rule.by_month_day = numbers(name, value, -31..=31)?,
            "BYSETPOS" => rule.by_position = numbers(name, value, -366..=366)?,
            "BYDAY" => rule.by_day = value.split(',').map(on_day).collect::<Result<_, _>>()?,
            "BYHOUR" | "BYMINUTE" | "BYSECOND" => {
                return Err(format!("{name} does not say a day; the time of day is that of `starts`").into());
            }
            "EXDATE" | "RDATE" | "EXRULE" | "DTSTART" => {
                return Err(format!("{name} is not part of a rule; write another window instead").into());
            }
            _ => return Err(format!("{name:?} is not a part that is known; RFC 5545 section 3.3.10 has them").into()),
        }
    }
    rule.freq = freq.ok_or("it does not say how often; write such as FREQ=WEEKLY;BYDAY=FR")?;
    Ok(rule)
}

/// What may not stand together.
fn checked(rule: Rule) -> Result<Rule, Why> {
    let Rule { freq, .. } = rule;
    let ordinal = rule.by_day.iter().map(|day| day.ordinal.abs()).max().unwrap_or(0);
    if !rule.by_week.is_empty() {
        if freq != Freq::Yearly {
            return Err("BYWEEKNO goes with FREQ=YEARLY only".into());
        }
        if rule.by_day.is_empty() || ordinal > 0 {
            return Err("BYWEEKNO needs the days of that week, such as BYWEEKNO=51,52;BYDAY=MO,TU,WE".into());
        }
        if rule.interval > 1 || !rule.by_position.is_empty() {
            return Err("BYWEEKNO with INTERVAL or BYSETPOS is read in two ways, as a week can be in two years; \
                        write the days by BYMONTH and BYMONTHDAY"
                .into());
        }
    }
    if !rule.by_year_day.is_empty() && freq != Freq::Yearly {
        return Err("BYYEARDAY goes with FREQ=YEARLY only".into());
    }
    if !rule.by_month_day.is_empty() && freq == Freq::Weekly {
        return Err("BYMONTHDAY does not go with FREQ=WEEKLY; write FREQ=MONTHLY".into());
    }
    match freq {
        Freq::Daily | Freq::Weekly if ordinal > 0 => {
            return Err("a numbered day such as 1FR goes with FREQ=MONTHLY or FREQ=YEARLY only".into());
        }
        Freq::Monthly if ordinal > 5 => return Err("a month has at most 5 of each day of the week".into()),
        Freq::Yearly if ordinal > 5 && !rule.by_month.is_empty() => {
            return Err("with BYMONTH, a numbered day counts in its month, which has at most 5 of each".into());
        }
        _ => {}
    }
    let others = [&rule.by_month, &rule.by_year_day, &rule.by_month_day];
    if !rule.by_position.is_empty() && rule.by_day.is_empty() && others.iter().all(|list| list.is_empty()) {
        return Err("BYSETPOS chooses among the days of another part; write such as BYDAY=MO,TU;BYSETPOS=-1".into());
    }
    Ok(rule)
}

fn frequency(value: &str) -> Result<Freq, Why> {
    Ok(match value {
        "DAILY" => Freq::Daily,
        "WEEKLY" => Freq::Weekly,
        "MONTHLY" => Freq::Monthly,
        "YEARLY" => Freq::Yearly,
        "HOURLY" | "MINUTELY" | "SECONDLY" => {
            let why = format!("{value} is too often; write FREQ=DAILY, and one window for each time of the day");
            return Err(why.into());
        }
        _ => return Err(format!("{value:?} is not DAILY, WEEKLY, MONTHLY or YEARLY").into()),
    })
}

fn whole(name: &str, value: &str, most: i64) -> Result<i64, Why> {
    let digits = !value.is_empty() && value.bytes().all(|c| c.is_ascii_digit());
    let number = digits.then(|| value.parse().ok()).flatten().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| format!("{name} is a number from 1 to {most}, not {value:?}").into())
}

fn numbers(name: &str, value: &str, within: std::ops::RangeInclusive<i16>) -> Result<Vec<i16>, Why> {
    let number = |text: &str| text.parse().ok().filter(|n| *n != 0 && within.contains(n));
    let least = (*within.start()).max(1);
    let back = if *within.start() < 0 { ", or with - from the end" } else { "" };
    value
        .split(',')
        .map(|text| {
            let why = || format!("{name} has numbers from {least} to {}{back}, not {text:?}", within.end());
            number(text).ok_or_else(|| why().into())
        })
        .collect()
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    })
}

fn on_day(text: &str) -> Result<OnDay, Why> {
    let read = || {
        let (ordinal, day) = text.split_at_checked(text.len().checked_sub(2)?)?;
        let ordinal = match ordinal {
            "" => 0,
            _ => ordinal.parse().ok().filter(|n| *n != 0 && (-53..=53).contains(n))?,
        };
        Some(OnDay { ordinal, weekday: weekday(day)? })
    };
    read().ok_or_else(|| format!("BYDAY has days such as FR, 1FR or -1FR, not {text:?}").into())
}

/// `20261231` is that day, `20261231T170000Z` that moment.
fn until(value: &str) -> Result<End, Why> {
    let number = |at: std::ops::Range<usize>| value.get(at)?.parse::<i16>().ok();
    let small = |at| number(at).and_then(|n| i8::try_from(n).ok());
    let digits = |text: Option<&str>| text.is_some_and(|text| text.bytes().all(|c| c.is_ascii_digit()));
    let day = || {
        let day = digits(value.get(0..8)).then(|| Date::new(number(0..4)?, small(4..6)?, small(6..8)?).ok());
        day.flatten().filter(|day| day.year() > 1970)
    };
    let time = || {
        let shape = value.get(8..9) == Some("T") && digits(value.get(9..15)) && value.get(15..) == Some("Z");
        let (hour, minute, second) = (small(9..11)?, small(11..13)?, small(13..15)?);
        shape.then(|| jiff::civil::Time::new(hour, minute, second, 0).ok()).flatten()
    };
    let read = || match value.len() {
        8 => day().map(End::Day),
        16 => {
            let at = Offset::UTC.to_timestamp(day()?.to_datetime(time()?)).ok()?;
            u64::try_from(at.as_millisecond()).ok().map(|at| End::Moment(Timestamp(at)))
        }
        _ => None,
    };
    read().ok_or_else(|| {
        format!("UNTIL is a day such as 20261231, or a moment in UTC such as 20261231T170000Z, not {value:?}").into()
    })
}
