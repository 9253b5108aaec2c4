//! The calendar: windows in which nothing is released, and windows outside which nothing is. Deny beats allow.
//!
//! Plain functions of a moment: no clock, and no time zones but those compiled in. `rule` reads a recurrence rule,
//! `days` finds its days, `times` makes moments of them, `zone` knows local time.

mod days;
mod error;
mod rule;
mod times;
mod zone;

use serde::{Deserialize, Serialize};

pub use self::error::CalendarError;
use self::times::{Recurrence, Times};
use crate::names::is_bidi_control;
use crate::time::{Millis, Timestamp};

/// When releases may begin. Rollbacks never look at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Calendar {
    /// In any of these nothing is released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Window>,
    /// If there are any: outside all of these nothing is released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Window>,
}

/// A named stretch of time, once or again and again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Its name, as people read it: `weekend`. At most 60 characters.
    pub name: String,
    /// When it is.
    pub when: When,
}

/// When a window is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// From one moment to another.
    Once {
        /// Its first moment.
        from: Timestamp,
        /// The first moment after it.
        until: Timestamp,
    },
    /// Again and again, by a recurrence rule of RFC 5545 section 3.3.10 in a time zone.
    Recurring {
        /// The rule without its `RRULE:`, such as `FREQ=WEEKLY;BYDAY=FR`.
        rule: String,
        /// The first day and the local time of day: `2026-01-02T18:00:00`.
        starts: String,
        /// The IANA time zone: `Europe/Berlin`.
        zone: String,
        /// How long each lasts.
        length: Millis,
    },
}

/// What the calendar says of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is in the way.
    Open,
    /// In a freeze.
    Frozen {
        /// The names of the freezes that cover the moment, or which window can not be worked out any more and why.
        window: String,
        /// The end of all freezes that follow on each other without a gap; `None` if there is no end within a year.
        until: Option<Timestamp>,
    },
    /// Outside every open window.
    Closed {
        /// When the next one begins; a freeze may still be in the way then. `None` if none does within 40 years.
        opens: Option<Timestamp>,
    },
}

/// How many windows that follow on each other without a gap are looked at, and how far ahead they may begin.
const LINKS: usize = 400;
const AHEAD: Millis = Millis::days(366);

impl Window {
    /// A window from one local time to another in an IANA zone, each a date-time `2026-12-20T18:00` or a date
    /// `2026-12-20` for its first moment; so the day of `until` is not in it. A local time that comes twice is the
    /// first, one that the clock jumps over is as far after the jump. Errors: part `name`, `zone`, `from` or `until`.
    pub fn once(name: &str, from: &str, until: &str, zone: &str) -> Result<Self, CalendarError> {
        let name = named(name)?;
        let zone = zone::zone(zone)?;
        let at = |part: &'static str, text: &str| {
            let wrong = || CalendarError::Moment { part, found: error::cut(text) };
            zone::moment(&zone, zone::local(part, text)?).ok_or_else(wrong)
        };
        let (begins, ends) = (at("from", from)?, at("until", until)?);
        if ends <= begins {
            return Err(CalendarError::Order { from: error::cut(from), until: error::cut(until) });
        }
        Ok(Self { name, when: When::Once { from: begins, until: ends } })
    }

    /// A window that begins on the days of a rule, at the time of day of `starts` (local, `2026-01-02T18:00`), and
    /// lasts so long in elapsed time: more than nothing and at most 366 days. `starts` is the first day that may count;
    /// it does only if the rule names it. A time that the clock jumps over on a day is as far after the jump (no freeze
    /// is left out), one that comes twice is the first.
    ///
    /// The rule is at most 300 bytes with parts that name days (no `BYHOUR`, at most daily), `COUNT` reached within 40
    /// years, and at least one day within 40 years. Errors: part `name`, `zone`, `starts`, `rule` or `length`.
    pub fn recurring(name: &str, rule: &str, starts: &str, zone: &str, length: Millis) -> Result<Self, CalendarError> {
        let name = named(name)?;
        if !Recurrence::read(rule, starts, zone, length)?.happens() {
            let why = "it names no day within 40 years of `starts`; look at its parts together".to_owned();
            return Err(CalendarError::Rule { found: error::cut(rule), why });
        }
        let starts = zone::local("starts", starts)?.to_string();
        let (rule, zone) = (rule.to_owned(), zone.to_owned());
        Ok(Self { name, when: When::Recurring { rule, starts, zone, length } })
    }

    /// Its times, or why they can not be worked out at this moment, with its name.
    fn times(&self, now: Timestamp) -> Result<Times, String> {
        let lost = |why: &dyn std::fmt::Display| format!("{}, which can not be worked out: {why}", self.name);
        match &self.when {
            When::Recurring { .. } if now > zone::LAST => Err(lost(&"the moment is after the year 9000")),
            when => Times::of(when).map_err(|why| lost(&why)),
        }
    }
}

fn named(name: &str) -> Result<String, CalendarError> {
    let fine = (1..=60).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || is_bidi_control(c));
    if fine { Ok(name.to_owned()) } else { Err(CalendarError::Name { found: error::cut(name) }) }
}

impl Calendar {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.freeze.is_empty() && self.open.is_empty()
    }

    /// What it says of a moment: a freeze first, then whether a window is open. A window that can not be worked out
    /// (a rule out of an old ledger, a moment after the year 9000) never lets a release through.
    pub fn at(&self, now: Timestamp) -> Standing {
        let (mut covering, mut freezes, mut lost) = (Vec::new(), Vec::new(), false);
        for window in &self.freeze {
            match window.times(now) {
                Ok(times) => {
                    if times.covers(now).is_some() {
                        covering.push(window.name.clone());
                    }
                    freezes.push(times);
                }
                Err(why) => {
                    lost = true;
                    covering.push(why);
                }
            }
        }
        if !covering.is_empty() {
            let until = if lost { None } else { union_ends(&freezes, now) };
            return Standing::Frozen { window: covering.join(" and "), until };
        }
        if self.open.is_empty() {
            return Standing::Open;
        }
        let open: Vec<_> = self.open.iter().map(|window| window.times(now)).collect();
        if open.iter().flatten().any(|times| times.covers(now).is_some()) {
            return Standing::Open;
        }
        match open.iter().find_map(|times| times.as_ref().err()) {
            Some(why) => Standing::Frozen { window: why.clone(), until: None },
            None => Standing::Closed { opens: open.iter().flatten().filter_map(|times| times.next(now)).min() },
        }
    }

    /// The freeze that begins next after a moment, and when; `None` if none does within 40 years. One that can not be
    /// worked out is not named: [`Calendar::at`] holds for it already.
    pub fn next_freeze(&self, now: Timestamp) -> Option<(&str, Timestamp)> {
        let begins = |window: &Window| window.times(now).ok().and_then(|times| times.next(now));
        let next = self.freeze.iter().filter_map(|window| Some((window.name.as_str(), begins(window)?)));
        next.min_by_key(|(_, at)| *at)
    }

    /// A moment as people of this calendar read it: `2026-01-05 06:00 Europe/Berlin`, by the zone of its first
    /// recurring window, or UTC.
    pub fn tell(&self, at: Timestamp) -> String {
        let zones = self.freeze.iter().chain(&self.open).filter_map(|window| match &window.when {
            When::Recurring { zone, .. } => Some(zone.as_str()),
            When::Once { .. } => None,
        });
        let told = zones.chain(["UTC"]).find_map(|name| {
            let local = zone::local_time(&zone::zone(name).ok()?, at)?;
            let shape = if local.second() == 0 { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d %H:%M:%S" };
            Some(format!("{} {name}", local.strftime(shape)))
        });
        told.unwrap_or_else(|| "after the year 9999".to_owned())
    }
}

/// The end of everything that covers a moment and what follows on it without a gap; `None` if no end is in sight.
fn union_ends(freezes: &[Times], now: Timestamp) -> Option<Timestamp> {
    let mut end = now;
    for _ in 0..LINKS {
        match freezes.iter().filter_map(|times| times.covers(end)).max() {
            None => return Some(end),
            Some(_) if end > now + AHEAD => return None,
            Some(later) => end = later,
        }
    }
    None
}
