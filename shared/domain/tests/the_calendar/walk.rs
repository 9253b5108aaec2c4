//! A second way to find when a window is, as slow as it is simple: day by day, and minute by minute.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use portcullis_domain::time::{Millis, Timestamp};

pub(crate) const DAY: u64 = 86_400_000;
const MINUTE: u64 = 60_000;
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("MO", Weekday::Monday),
    ("TU", Weekday::Tuesday),
    ("WE", Weekday::Wednesday),
    ("TH", Weekday::Thursday),
    ("FR", Weekday::Friday),
    ("SA", Weekday::Saturday),
    ("SU", Weekday::Sunday),
];

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) freq: &'static str,
    pub(crate) interval: usize,
    pub(crate) count: Option<usize>,
    /// Whole days after the first; as a day, or as the moment noon UTC.
    pub(crate) until: Option<(i16, bool)>,
    pub(crate) wkst: usize,
    pub(crate) months: Vec<i16>,
    pub(crate) weeks: Vec<i16>,
    pub(crate) year_days: Vec<i16>,
    pub(crate) month_days: Vec<i16>,
    pub(crate) on: Vec<(i16, usize)>,
    pub(crate) positions: Vec<i16>,
    pub(crate) starts: DateTime,
    pub(crate) zone: &'static str,
    pub(crate) length: Millis,
}

impl Case {
    pub(crate) fn rule(&self) -> String {
        let list = |name: &str, list: &[i16]| {
            let numbers: Vec<_> = list.iter().map(ToString::to_string).collect();
            if list.is_empty() { String::new() } else { format!(";{name}={}", numbers.join(",")) }
        };
        let mut rule = format!("FREQ={};INTERVAL={};WKST={}", self.freq, self.interval, WEEKDAYS[self.wkst].0);
        rule += &list("BYMONTH", &self.months);
        rule += &list("BYWEEKNO", &self.weeks);
        rule += &list("BYYEARDAY", &self.year_days);
        rule += &list("BYMONTHDAY", &self.month_days);
        rule += &list("BYSETPOS", &self.positions);
        let on: Vec<String> = self
            .on
            .iter()
            .map(|(nth, day)| match nth {
                0 => WEEKDAYS[*day].0.to_owned(),
                nth => format!("{nth}{}", WEEKDAYS[*day].0),
            })
            .collect();
        if !on.is_empty() {
            rule = format!("{rule};BYDAY={}", on.join(","));
        }
        if let Some(count) = self.count {
            rule = format!("{rule};COUNT={count}");
        }
        if let Some((_, exact)) = self.until {
            let time = if exact { "T120000Z" } else { "" };
            rule = format!("{rule};UNTIL={}{time}", self.last_day().unwrap().strftime("%Y%m%d"));
        }
        rule
    }

    fn last_day(&self) -> Option<Date> {
        self.until.map(|(days, _)| (0..days).fold(self.starts.date(), |day, _| day.tomorrow().unwrap()))
    }

    /// The first day of the day's period: what tells one period from another.
    fn period(&self, day: Date) -> Date {
        match self.freq {
            "DAILY" => day,
            "WEEKLY" => week(day, WEEKDAYS[self.wkst].1),
            "MONTHLY" => day.first_of_month(),
            _ => day.first_of_year(),
        }
    }

    fn names(&self, day: Date) -> bool {
        let first = self.starts.date();
        let either = |list: &[i16], from_start: usize, from_end: usize| {
            let is = |n: &i16| usize::from(n.unsigned_abs()) == if *n > 0 { from_start } else { from_end };
            list.is_empty() || list.iter().any(is)
        };
        let month = |other: Date| other.first_of_month() == day.first_of_month();
        let year = |other: Date| other.year() == day.year();
        let nothing = self.on.is_empty() && self.month_days.is_empty() && self.year_days.is_empty();
        let given = match self.freq {
            "WEEKLY" if nothing => day.weekday() == first.weekday(),
            "YEARLY" if nothing && self.months.is_empty() => (day.month(), day.day()) == (first.month(), first.day()),
            "MONTHLY" | "YEARLY" if nothing => day.day() == first.day(),
            _ => true,
        };
        let on = |(nth, weekday): &(i16, usize)| {
            let weekday = WEEKDAYS[*weekday].1;
            let same = |other: Date| other.weekday() == weekday;
            let (back, forth) = if self.freq == "YEARLY" && self.months.is_empty() {
                (back_to(day, year, same), forth_to(day, year, same))
            } else {
                (back_to(day, month, same), forth_to(day, month, same))
            };
            same(day) && (*nth == 0 || either(&[*nth], back, forth))
        };
        given
            && (self.months.is_empty() || self.months.contains(&i16::from(day.month())))
            && (self.month_days.is_empty()
                || either(&self.month_days, back_to(day, month, |_| true), forth_to(day, month, |_| true)))
            && (self.year_days.is_empty()
                || either(&self.year_days, back_to(day, year, |_| true), forth_to(day, year, |_| true)))
            && (self.on.is_empty() || self.on.iter().any(on))
            && (self.weeks.is_empty() || {
                let begins = WEEKDAYS[self.wkst].1;
                let own = |day: Date| owner(week(day, begins));
                let monday = |other: Date| other.weekday() == begins;
                let same = |other: Date| own(other) == own(day);
                let at = week(day, begins);
                either(&self.weeks, back_to(at, same, monday), forth_to(at, same, monday))
            })
    }

    /// All its days until one, in order.
    pub(crate) fn days(&self, to: Date) -> Vec<Date> {
        let first = self.starts.date();
        let mut periods: Vec<(Date, Vec<Date>)> = Vec::new();
        // The whole of the first period, and of the last.
        let mut day = self.period(first);
        while day <= to || periods.last().is_some_and(|(period, _)| *period == self.period(day)) {
            let period = self.period(day);
            if periods.last().is_none_or(|(last, _)| *last != period) {
                periods.push((period, vec![]));
            }
            if (periods.len() - 1).is_multiple_of(self.interval) && self.names(day) {
                periods.last_mut().unwrap().1.push(day);
            }
            day = day.tomorrow().unwrap();
        }
        let chosen = periods.into_iter().flat_map(|(_, days)| {
            let count = days.len();
            let place = |index: usize| {
                let at = |n: &i16| {
                    if *n > 0 {
                        usize::from(n.unsigned_abs()) - 1 == index
                    } else {
                        usize::from(n.unsigned_abs()) + index == count
                    }
                };
                self.positions.is_empty() || self.positions.iter().any(at)
            };
            days.into_iter().enumerate().filter(|(index, _)| place(*index)).map(|(_, day)| day).collect::<Vec<_>>()
        });
        let begun = chosen.filter(|day| {
            (first..=to).contains(day) && self.last_day().is_none_or(|last| *day <= last.tomorrow().unwrap())
        });
        begun.take(self.count.unwrap_or(usize::MAX)).collect()
    }

    pub(crate) fn zone(&self) -> TimeZone {
        TimeZoneDatabase::bundled().get(self.zone).unwrap()
    }

    /// Whether UNTIL still takes a beginning.
    fn before_the_end(&self, day: Date, at: Timestamp) -> bool {
        let Some((_, exact)) = self.until else { return true };
        let last = self.last_day().unwrap();
        if exact { at <= moment(&TimeZone::UTC, last.at(12, 0, 0, 0)) } else { day <= last }
    }

    /// Beginnings and ends of all that begin in this time, which must be well inside of what is walked.
    pub(crate) fn occurrences(&self, days: &[Date], from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let zone = self.zone();
        let near = |day: &&Date| {
            let utc = moment(&TimeZone::UTC, day.to_datetime(self.starts.time()));
            utc.0 + 3 * DAY > from.0 && utc.0 < to.0 + 3 * DAY
        };
        days.iter()
            .filter(near)
            .map(|day| (*day, moment(&zone, day.to_datetime(self.starts.time()))))
            .filter(|(day, at)| (from..=to).contains(at) && self.before_the_end(*day, *at))
            .map(|(_, at)| (at, Timestamp(at.0 + self.length.0)))
            .collect()
    }
}

/// The first day of a week.
fn week(mut day: Date, begins: Weekday) -> Date {
    while day.weekday() != begins {
        day = day.yesterday().unwrap();
    }
    day
}

/// The year that most days of a week are in.
fn owner(week: Date) -> i16 {
    let mut day = week;
    let mut years = vec![];
    for _ in 0..7 {
        years.push(day.year());
        day = day.tomorrow().unwrap();
    }
    years.sort_unstable();
    years[3]
}

/// How many days count, from this one back as long as they belong to it.
fn back_to(mut day: Date, belongs: impl Fn(Date) -> bool, counts: impl Fn(Date) -> bool) -> usize {
    let mut count = 0;
    while belongs(day) {
        count += usize::from(counts(day));
        day = day.yesterday().unwrap();
    }
    count
}

fn forth_to(mut day: Date, belongs: impl Fn(Date) -> bool, counts: impl Fn(Date) -> bool) -> usize {
    let mut count = 0;
    while belongs(day) {
        count += usize::from(counts(day));
        day = day.tomorrow().unwrap();
    }
    count
}

/// What a clock on the wall shows, minute by minute: the first time it shows this, or, if it jumps over it, as long
/// after the jump as it would have shown it after.
pub(crate) fn moment(zone: &TimeZone, local: DateTime) -> Timestamp {
    let shows = |at: u64| zone.to_datetime(jiff::Timestamp::from_millisecond(i64::try_from(at).unwrap()).unwrap());
    let utc = TimeZone::UTC.to_timestamp(local).unwrap().as_millisecond();
    let mut at = u64::try_from(utc).unwrap() - 15 * 60 * MINUTE;
    let before = shows(at);
    assert!(before < local);
    // Where it stands far from any change, straight there; then by minutes.
    let straight = at + u64::try_from(local.duration_since(before).as_millis()).unwrap();
    let steady = local.duration_since(shows(at - DAY))
        == local.duration_since(before) + jiff::SignedDuration::from_hours(24)
        && shows(straight) == local
        && shows(straight + DAY).duration_since(local) == jiff::SignedDuration::from_hours(24);
    if steady {
        return Timestamp(straight);
    }
    let mut last = before;
    while shows(at) < local {
        last = shows(at);
        at += MINUTE;
    }
    if shows(at) == local {
        return Timestamp(at);
    }
    let missing = u64::try_from(local.duration_since(last).as_millis()).unwrap();
    Timestamp(at - MINUTE + missing)
}
