//! When one window is: what covers a moment, and what comes next. Every search is bounded.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::When;
use super::days::Days;
use super::error::{CalendarError, cut};
use super::rule::{End, Rule};
use super::zone::{days_later, local, local_time, moment, zone};
use crate::time::{Millis, Timestamp};

/// Forty years: how far is looked for a rule's first, last or next day.
const FAR: i64 = 14_610;
/// The longest length of a recurring window.
const LONGEST: Millis = Millis::days(366);

/// A window, ready to be asked.
pub(super) enum Times {
    /// From one moment to another.
    Once(Timestamp, Timestamp),
    /// Again and again.
    Again(Box<Recurrence>),
}

impl Times {
    pub(super) fn of(when: &When) -> Result<Self, CalendarError> {
        Ok(match when {
            When::Once { from, until } => Self::Once(*from, *until),
            When::Recurring { rule, starts, zone, length } => {
                Self::Again(Box::new(Recurrence::read(rule, starts, zone, *length)?))
            }
        })
    }

    /// The latest end of what covers a moment; `None` if nothing does. Always after the moment.
    pub(super) fn covers(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once(from, until) => (*from <= at && at < *until).then_some(*until),
            Self::Again(recurrence) => recurrence.covers(at),
        }
    }

    /// The first beginning after a moment, looking 40 years ahead of it and of the first day.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once(from, until) => (*from > after && from < until).then_some(*from),
            Self::Again(recurrence) => recurrence.next(after),
        }
    }
}

/// A rule with its first day, its time of day, its zone and its length.
pub(super) struct Recurrence {
    rule: Rule,
    first: Date,
    time: Time,
    zone: TimeZone,
    length: Millis,
    /// No day after this one.
    last: Date,
}

impl Recurrence {
    pub(super) fn read(rule: &str, starts: &str, in_zone: &str, length: Millis) -> Result<Self, CalendarError> {
        let zone = zone(in_zone)?;
        let starts = local("starts", starts)?;
        if length == Millis(0) || length > LONGEST {
            return Err(CalendarError::Length { found: length });
        }
        let first = starts.date();
        let text = rule;
        let rule = Rule::read(text, first)?;
        let last = match rule.end {
            End::Never => Some(Date::MAX),
            End::Day(day) => Some(day),
            // A day later, as local midnight is another moment; each beginning is compared with the moment itself.
            End::Moment(until) => local_time(&zone, until).and_then(|at| days_later(at.date(), 1)),
            End::Count(times) => {
                let to = days_later(first, FAR).unwrap_or(Date::MAX);
                Some(Days::new(&rule, first, first, to).nth(times - 1).ok_or_else(|| CalendarError::Rule {
                    found: cut(text),
                    why: format!("it does not happen {times} times within 40 years of `starts`; write UNTIL"),
                })?)
            }
        };
        Ok(Self { rule, first, time: starts.time(), zone, length, last: last.unwrap_or(Date::MAX) })
    }

    /// Whether it ever happens, looking 40 years ahead of its first day.
    pub(super) fn happens(&self) -> bool {
        days_later(self.first, FAR).is_some_and(|to| self.between(self.first, to).next().is_some())
    }

    /// The beginnings on these days.
    fn between(&self, from: Date, to: Date) -> impl Iterator<Item = Timestamp> {
        let until = match self.rule.end {
            End::Moment(until) => until,
            _ => Timestamp(u64::MAX),
        };
        Days::new(&self.rule, self.first, from, to.min(self.last))
            .filter_map(|day| moment(&self.zone, day.to_datetime(self.time)))
            .filter(move |at| *at <= until)
    }

    fn covers(&self, at: Timestamp) -> Option<Timestamp> {
        // Two days more on each side: a clock has jumped over a whole day before.
        let from = days_later(local_time(&self.zone, at - self.length)?.date(), -2)?;
        let to = days_later(local_time(&self.zone, at)?.date(), 2)?;
        let ends = self.between(from, to).filter(|began| *began <= at).map(|began| began + self.length);
        ends.filter(|ends| at < *ends).max()
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let from = days_later(local_time(&self.zone, after)?.date(), -2)?.max(self.first);
        let to = days_later(from, FAR).unwrap_or(Date::MAX);
        self.between(from, to).find(|at| *at > after)
    }
}
