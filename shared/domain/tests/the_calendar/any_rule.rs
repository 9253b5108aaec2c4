//! Whatever the rule and whenever it is asked: what the calendar says is what somebody finds who walks day by day from
//! the first one, counts on fingers, and looks at a clock that shows local time.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use portcullis_domain::calendar::{Calendar, Standing, Window};
use portcullis_domain::time::{Millis, Timestamp};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const DAY: u64 = 86_400_000;
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
struct Case {
    freq: &'static str,
    interval: usize,
    count: Option<usize>,
    /// Whole days after the first; as a day, or as the moment noon UTC.
    until: Option<(i16, bool)>,
    wkst: usize,
    months: Vec<i16>,
    weeks: Vec<i16>,
    year_days: Vec<i16>,
    month_days: Vec<i16>,
    on: Vec<(i16, usize)>,
    positions: Vec<i16>,
    starts: DateTime,
    zone: &'static str,
    length: Millis,
}

impl Case {
    fn rule(&self) -> String {
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
    fn days(&self, to: Date) -> Vec<Date> {
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

    fn zone(&self) -> TimeZone {
        TimeZoneDatabase::bundled().get(self.zone).unwrap()
    }

    /// Whether UNTIL still takes a beginning.
    fn before_the_end(&self, day: Date, at: Timestamp) -> bool {
        let Some((_, exact)) = self.until else { return true };
        let last = self.last_day().unwrap();
        if exact { at <= moment(&TimeZone::UTC, last.at(12, 0, 0, 0)) } else { day <= last }
    }

    /// Beginnings and ends of all that begin in this time, which must be well inside of what is walked.
    fn occurrences(&self, days: &[Date], from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
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

/// What a clock on the wall shows, minute by minute: the first time it shows this, or, if it jumps over it, as long after
/// the jump as it would have shown it after.
fn moment(zone: &TimeZone, local: DateTime) -> Timestamp {
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

fn list(numbers: impl Strategy<Value = i16> + 'static, most: usize) -> BoxedStrategy<Vec<i16>> {
    prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(numbers, 1..=most)].boxed()
}

fn either_way(most: i16) -> impl Strategy<Value = i16> {
    prop_oneof![2 => 1..=most, 1 => -most..=-1]
}

fn cases() -> impl Strategy<Value = Case> {
    let freq = select(vec!["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]);
    let zones = vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Havana",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Kolkata",
        "Africa/Casablanca",
    ];
    let starts =
        (2005_i16..2022, 1_i8..=12, 1_i8..=28, select(vec![0_i8, 1, 2, 3, 9, 18, 23]), select(vec![0_i8, 15, 30]))
            .prop_map(|(year, month, day, hour, minute)| jiff::civil::date(year, month, day).at(hour, minute, 0, 0));
    let end = prop_oneof![
        3 => Just((None, None)),
        1 => (1_usize..60).prop_map(|count| (Some(count), None)),
        1 => (0_i16..900, any::<bool>()).prop_map(|until| (None, Some(until))),
    ];
    let length = prop_oneof![
        2 => (1_u64..2 * 24 * 60).prop_map(Millis::minutes),
        1 => (1_u64..40 * 24).prop_map(Millis::hours),
    ];
    let on = prop_oneof![
        1 => Just(vec![]),
        1 => subsequence((0_usize..7).collect::<Vec<_>>(), 1..=5).prop_map(|days| days.into_iter().map(|day| (0, day)).collect()),
        1 => prop::collection::vec((either_way(5), 0_usize..7), 1..=3),
    ];
    let parts = (
        list(1_i16..=12, 4),
        list(either_way(53), 3),
        list(either_way(366), 4),
        list(either_way(31), 4),
        on,
        list(either_way(4), 2),
    );
    (freq, 1_usize..=4, end, 0_usize..7, parts, starts, select(zones), length).prop_map(
        |(freq, interval, (count, until), wkst, parts, starts, zone, length)| {
            let (months, weeks, year_days, month_days, on, positions) = parts;
            let mut case = Case {
                freq,
                interval,
                count,
                until,
                wkst,
                months,
                weeks,
                year_days,
                month_days,
                on,
                positions,
                starts,
                zone,
                length,
            };
            // Only what may stand together.
            if freq != "YEARLY" || case.on.is_empty() || interval > 1 {
                case.weeks.clear();
            }
            if !case.weeks.is_empty() {
                case.positions.clear();
            }
            if freq != "YEARLY" {
                case.year_days.clear();
            }
            if freq == "WEEKLY" {
                case.month_days.clear();
            }
            if matches!(freq, "DAILY" | "WEEKLY") || !case.weeks.is_empty() {
                case.on.iter_mut().for_each(|(nth, _)| *nth = 0);
            }
            if [&case.months, &case.year_days, &case.month_days].iter().all(|list| list.is_empty())
                && case.on.is_empty()
            {
                case.positions.clear();
            }
            case
        },
    )
}

/// What is asked: so many milliseconds from one end of an occurrence, or from the first day.
fn askings() -> impl Strategy<Value = (usize, bool, i64)> {
    let day = i64::try_from(DAY).unwrap();
    (0_usize..400, any::<bool>(), prop_oneof![2 => -1_i64..=1, 1 => -3 * day..3 * day])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_calendar_says_what_walking_day_by_day_finds(case in cases(), askings in prop::collection::vec(askings(), 6)) {
        let first = case.starts.date();
        let made = Window::recurring("w", &case.rule(), &case.starts.to_string(), case.zone, case.length);
        let years = if made.is_ok() { 6 } else { 40 };
        let to = jiff::civil::date(first.year() + years, first.month(), first.day());
        let days = case.days(to);
        let walked = case.occurrences(&days, Timestamp(0), Timestamp(u64::MAX / 2));
        let Ok(window) = made else {
            prop_assert!(case.count.map_or(walked.is_empty(), |count| walked.len() < count), "{}: {:?}", case.rule(), made);
            return Ok(());
        };
        let horizon = moment(&TimeZone::UTC, to.at(0, 0, 0, 0)).0 - 5 * DAY;
        let freeze = Calendar { freeze: vec![window.clone()], open: vec![] };
        let open = Calendar { freeze: vec![], open: vec![window] };
        for (index, from_end, offset) in askings {
            let known = walked.get(index % walked.len().max(1)).copied();
            let (begins, ends) = known.unwrap_or_else(|| { let at = moment(&case.zone(), case.starts); (at, at) });
            let now = Timestamp((if from_end { ends } else { begins }).0.checked_add_signed(offset).unwrap());
            // The end is judged only where all that could follow was walked.
            if now.0 + 420 * DAY > horizon {
                continue;
            }
            let covers = |at: Timestamp| walked.iter().filter(|(begins, ends)| *begins <= at && at < *ends).map(|(_, ends)| *ends).max();
            let mut end = now;
            while let Some(later) = covers(end).filter(|_| end.0 <= now.0 + 366 * DAY) {
                end = later;
            }
            let until = if covers(end).is_some() { None } else { Some(end) };
            let expected = match covers(now) {
                Some(_) => Standing::Frozen { window: "w".into(), until },
                None => Standing::Open,
            };
            prop_assert_eq!(freeze.at(now), expected, "{} at {:?}", case.rule(), now);
            let next = walked.iter().map(|(begins, _)| *begins).find(|begins| *begins > now);
            let found = freeze.next_freeze(now).map(|(_, begins)| begins);
            match next {
                Some(next) => prop_assert_eq!(found, Some(next), "{} after {:?}", case.rule(), now),
                None => prop_assert!(found.is_none_or(|found| found.0 > horizon), "{} after {:?}: {:?}", case.rule(), now, found),
            }
            let expected = if covers(now).is_some() { Standing::Open } else { Standing::Closed { opens: found } };
            prop_assert_eq!(open.at(now), expected);
        }
    }

    #[test]
    fn no_text_and_no_moment_makes_it_panic(
        rule in "(FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY))?(;(INTERVAL|COUNT|UNTIL|BY(DAY|MONTH|MONTHDAY|SETPOS|WEEKNO|YEARDAY)|WKST)=[-+,0-9A-Z]{0,16}){0,4}",
        starts in "([0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]|.{0,20})",
        zone in "(UTC|Europe/Berlin|Pacific/Apia|.{0,10})",
        length in any::<u64>(),
        now in prop_oneof![any::<u64>(), 0_u64..300_000_000_000_000],
    ) {
        for length in [Millis(length), Millis(length % (366 * DAY)), Millis::hours(1)] {
            let when = portcullis_domain::calendar::When::Recurring { rule: rule.clone(), starts: starts.clone(), zone: zone.clone(), length };
            let window = Window { name: "w".into(), when };
            let made = Window::recurring("w", &rule, &starts, &zone, length);
            let calendar = Calendar { freeze: vec![window.clone()], open: vec![window] };
            let standing = calendar.at(Timestamp(now));
            calendar.next_freeze(Timestamp(now));
            // Closed here is possible only where the rule was readable.
            if let Standing::Open = standing {
                prop_assert!(false, "a window that is both can not be open");
            }
            if made.is_ok() && Timestamp(now) < Timestamp(200_000_000_000_000) {
                let lost = matches!(&standing, Standing::Frozen { window, .. } if window != "w");
                prop_assert!(!lost, "{:?}", standing);
            }
        }
    }
}
