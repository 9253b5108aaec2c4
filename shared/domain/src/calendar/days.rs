//! The days a rule names, in order, from any day on and without walking there from the first.

use jiff::civil::Date;

use super::rule::{Freq, OnDay, Rule};
use super::zone::{days_between, days_later};

/// The days of a rule from one day to another, both included, none before its first.
pub(super) struct Days<'a> {
    rule: &'a Rule,
    first: Date,
    from: Date,
    to: Date,
    /// The next period: so many days, weeks, months or years after the one the first day is in.
    period: i64,
    ready: std::vec::IntoIter<Date>,
}

impl<'a> Days<'a> {
    pub(super) fn new(rule: &'a Rule, first: Date, from: Date, to: Date) -> Self {
        let from = from.max(first);
        let behind = rule.period_of(first, from) % rule.interval;
        // The period `from` is in, or the first one after it that the interval does not leave out.
        let skipped = if behind == 0 { 0 } else { rule.interval - behind };
        let period = rule.period_of(first, from) + skipped;
        Self { rule, first, from, to, period, ready: Vec::new().into_iter() }
    }
}

impl Iterator for Days<'_> {
    type Item = Date;

    fn next(&mut self) -> Option<Date> {
        loop {
            if let Some(day) = self.ready.next() {
                return Some(day);
            }
            let begins = self.rule.period_begins(self.first, self.period).filter(|begins| *begins <= self.to)?;
            let next = self.rule.period_begins(self.first, self.period + 1)?;
            let mut days = self.rule.choose(begins, next);
            days.retain(|day| (self.from..=self.to).contains(day));
            self.ready = days.into_iter();
            self.period += self.rule.interval;
        }
    }
}

impl Rule {
    fn week_of(&self, day: Date) -> Date {
        days_later(day, -i64::from(day.weekday().since(self.week_start))).unwrap_or(day)
    }

    /// How many periods a day is after the first day's.
    fn period_of(&self, first: Date, day: Date) -> i64 {
        let years = i64::from(day.year()) - i64::from(first.year());
        match self.freq {
            Freq::Daily => days_between(first, day),
            Freq::Weekly => days_between(self.week_of(first), self.week_of(day)) / 7,
            Freq::Monthly => years * 12 + i64::from(day.month()) - i64::from(first.month()),
            Freq::Yearly => years,
        }
    }

    /// The first day of a period; `None` past the calendar's end.
    fn period_begins(&self, first: Date, period: i64) -> Option<Date> {
        let year = |years: i64| i16::try_from(i64::from(first.year()) + years).ok();
        match self.freq {
            Freq::Daily => days_later(first, period),
            Freq::Weekly => days_later(self.week_of(first), period.checked_mul(7)?),
            Freq::Monthly => {
                let months = i64::from(first.month()) - 1 + period;
                let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
                Date::new(year(months.div_euclid(12))?, month, 1).ok()
            }
            Freq::Yearly => Date::new(year(period)?, 1, 1).ok(),
        }
    }

    /// The days of one period.
    fn choose(&self, begins: Date, next: Date) -> Vec<Date> {
        let mut days = Vec::new();
        let mut day = begins;
        while day < next {
            if self.names(day) {
                days.push(day);
            }
            let Ok(tomorrow) = day.tomorrow() else { break };
            day = tomorrow;
        }
        if self.by_position.is_empty() {
            return days;
        }
        let count = days.len();
        let chosen = |index: usize| {
            let from_start = i16::try_from(index + 1).unwrap_or(i16::MAX);
            let from_end = i16::try_from(count - index).unwrap_or(i16::MAX);
            self.by_position.contains(&from_start) || self.by_position.contains(&-from_end)
        };
        days.into_iter().enumerate().filter(|(index, _)| chosen(*index)).map(|(_, day)| day).collect()
    }

    /// Whether every part but `BYSETPOS` takes this day.
    fn names(&self, day: Date) -> bool {
        takes(&self.by_month, i16::from(day.month()), 12)
            && takes(&self.by_month_day, i16::from(day.day()), i16::from(day.days_in_month()))
            && takes(&self.by_year_day, day.day_of_year(), day.days_in_year())
            && (self.by_day.is_empty() || self.by_day.iter().any(|on| self.is_on(*on, day)))
            && (self.by_week.is_empty() || {
                let (week, weeks) = self.week_number(day);
                takes(&self.by_week, week, weeks)
            })
    }

    fn is_on(&self, on: OnDay, day: Date) -> bool {
        if on.weekday != day.weekday() {
            return false;
        }
        let in_year = self.freq == Freq::Yearly && self.by_month.is_empty();
        let (place, places) = if in_year {
            (day.day_of_year(), day.days_in_year())
        } else {
            (i16::from(day.day()), i16::from(day.days_in_month()))
        };
        match on.ordinal {
            0 => true,
            nth @ 1.. => (place - 1) / 7 + 1 == nth,
            last => (places - place) / 7 + 1 == -last,
        }
    }

    /// The number of a day's week, and how many weeks that week's year has. Week 1 has at least four days of its year.
    fn week_number(&self, day: Date) -> (i16, i16) {
        let fourth = days_later(self.week_of(day), 3).unwrap_or(day);
        let week = (fourth.day_of_year() - 1) / 7 + 1;
        (week, week + (fourth.days_in_year() - fourth.day_of_year()) / 7)
    }
}

/// Whether a list takes the place, counted from 1 or, if negative, back from the last of so many. An empty one does.
fn takes(list: &[i16], place: i16, places: i16) -> bool {
    list.is_empty() || list.contains(&place) || list.contains(&(place - places - 1))
}
