//! Whatever the rule and whenever it is asked: what the calendar says is what somebody finds who walks day by day from
//! the first one, counts on fingers, and looks at a clock that shows local time.

use jiff::tz::TimeZone;
use portcullis_domain::calendar::{Calendar, Standing, When, Window};
use portcullis_domain::time::{Millis, Timestamp};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::walk::{Case, DAY, moment};

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
        1 => subsequence((0_usize..7).collect::<Vec<_>>(), 1..=5)
            .prop_map(|days| days.into_iter().map(|day| (0, day)).collect()),
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

/// All windows that begin in the years walked, and until when all was walked.
struct Walked {
    windows: Vec<(Timestamp, Timestamp)>,
    until: Timestamp,
}

impl Walked {
    fn covers(&self, at: Timestamp) -> Option<Timestamp> {
        self.windows.iter().filter(|(begins, ends)| *begins <= at && at < *ends).map(|(_, ends)| *ends).max()
    }

    /// What is to be said of a moment by a calendar with this freeze, and by one with this open window.
    fn asked(&self, now: Timestamp, freeze: &Calendar, open: &Calendar) {
        let mut end = now;
        while let Some(later) = self.covers(end).filter(|_| end.0 <= now.0 + 366 * DAY) {
            end = later;
        }
        let until = if self.covers(end).is_some() { None } else { Some(end) };
        let frozen = self.covers(now).is_some();
        let expected = if frozen { Standing::Frozen { window: "w".into(), until } } else { Standing::Open };
        assert_eq!(freeze.at(now), expected, "{freeze:?} at {now:?}");
        let found = freeze.next_freeze(now).map(|(_, begins)| begins);
        match self.windows.iter().map(|(begins, _)| *begins).find(|begins| *begins > now) {
            Some(next) => assert_eq!(found, Some(next), "{freeze:?} after {now:?}"),
            None => assert!(found.is_none_or(|found| found > self.until), "{freeze:?} after {now:?}: {found:?}"),
        }
        let expected = if frozen { Standing::Open } else { Standing::Closed { opens: found } };
        assert_eq!(open.at(now), expected, "{open:?} at {now:?}");
    }
}

fn both(window: &Window) -> (Calendar, Calendar) {
    let (freeze, open) = (vec![window.clone()], vec![window.clone()]);
    (Calendar { freeze, open: vec![] }, Calendar { freeze: vec![], open })
}

/// Rules that are nearly ones.
const RULES: &str = "(FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY))?\
    (;(INTERVAL|COUNT|UNTIL|BY(DAY|MONTH|MONTHDAY|SETPOS|WEEKNO|YEARDAY)|WKST)=[-+,0-9A-Z]{0,16}){0,4}";

proptest! {
    // Few steps of shrinking: each walks for years.
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_calendar_says_what_walking_day_by_day_finds(
        case in cases(),
        askings in prop::collection::vec(askings(), 6),
    ) {
        let first = case.starts.date();
        let made = Window::recurring("w", &case.rule(), &case.starts.to_string(), case.zone, case.length);
        let years = if made.is_ok() { 6 } else { 40 };
        let to = jiff::civil::date(first.year() + years, first.month(), first.day());
        let windows = case.occurrences(&case.days(to), Timestamp(0), Timestamp(u64::MAX / 2));
        let Ok(window) = made else {
            let too_few = case.count.map_or(windows.is_empty(), |count| windows.len() < count);
            prop_assert!(too_few, "{}: {:?}", case.rule(), made);
            return Ok(());
        };
        let until = Timestamp(moment(&TimeZone::UTC, to.at(0, 0, 0, 0)).0 - 5 * DAY);
        let walked = Walked { windows, until };
        let (freeze, open) = both(&window);
        for (index, from_end, offset) in askings {
            let known = walked.windows.get(index % walked.windows.len().max(1)).copied();
            let (begins, ends) = known.unwrap_or_else(|| [moment(&case.zone(), case.starts); 2].into());
            let now = Timestamp((if from_end { ends } else { begins }).0.checked_add_signed(offset).unwrap());
            // Only where all that could follow was walked.
            if now.0 + 420 * DAY < until.0 {
                walked.asked(now, &freeze, &open);
            }
        }
    }

    #[test]
    fn no_text_and_no_moment_makes_it_panic(
        rule in RULES,
        starts in "([0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]|.{0,20})",
        zone in "(UTC|Europe/Berlin|Pacific/Apia|.{0,10})",
        length in any::<u64>(),
        now in prop_oneof![any::<u64>().prop_map(Timestamp), (0_u64..200_000_000_000_000).prop_map(Timestamp)],
    ) {
        for length in [Millis(length), Millis(length % (366 * DAY)), Millis::hours(1)] {
            let made = Window::recurring("w", &rule, &starts, &zone, length);
            let when = When::Recurring { rule: rule.clone(), starts: starts.clone(), zone: zone.clone(), length };
            let (freeze, open) = both(&Window { name: "w".into(), when });
            let lost = |at| matches!(at, Standing::Frozen { window, .. } if window != "w");
            let (freeze, open) = (freeze.at(now), open.at(now));
            if made.is_ok() && now.0 < 200_000_000_000_000 {
                prop_assert!(!lost(freeze.clone()) && !lost(open.clone()), "{:?} {:?}", freeze, open);
            }
            // What is in the way as a freeze is not as an open window, but what can not be worked out is as both.
            prop_assert_eq!(freeze == Standing::Open, matches!(open, Standing::Closed { .. }));
        }
    }
}
