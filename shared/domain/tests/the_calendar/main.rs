//! When releases may begin: freezes, open windows, clocks that jump, and rules of RFC 5545.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

mod any_rule;
mod limits;
mod rules;
mod walk;

use std::time::{Duration, Instant};

use portcullis_domain::calendar::{Calendar, CalendarError, Standing, When, Window};
use portcullis_domain::time::{Millis, Timestamp};

fn at(text: &str) -> Timestamp {
    Timestamp(u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap())
}

fn text(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap()).unwrap().to_string()
}

fn window(rule: &str, starts: &str, zone: &str, length: Millis) -> Window {
    Window::recurring("window", rule, starts, zone, length).unwrap()
}

fn freeze(windows: impl IntoIterator<Item = Window>) -> Calendar {
    Calendar { freeze: windows.into_iter().collect(), open: vec![] }
}

/// The end of the freeze at a moment; none if it is open.
fn frozen_until(calendar: &Calendar, moment: &str) -> Option<String> {
    match calendar.at(at(moment)) {
        Standing::Frozen { until, .. } => Some(text(until.unwrap())),
        Standing::Open => None,
        closed @ Standing::Closed { .. } => panic!("{closed:?}"),
    }
}

#[test]
fn a_weekly_freeze_follows_the_local_clock_through_the_year() {
    let calendar = freeze([window("FREQ=WEEKLY;BYDAY=FR", "2026-01-02T18:00", "Europe/Berlin", Millis::hours(60))]);
    for (moment, until) in [
        ("2026-01-02T16:59:59.999Z", None),
        ("2026-01-02T17:00:00Z", Some("2026-01-05T05:00:00Z")),
        ("2026-01-05T04:59:59.999Z", Some("2026-01-05T05:00:00Z")),
        ("2026-01-05T05:00:00Z", None),
        // In summer 18:00 in Berlin is 16:00 UTC.
        ("2026-07-03T15:59:59.999Z", None),
        ("2026-07-03T16:00:00Z", Some("2026-07-06T04:00:00Z")),
        // Before it starts at all.
        ("2025-12-26T20:00:00Z", None),
    ] {
        assert_eq!(frozen_until(&calendar, moment).as_deref(), until, "{moment}");
    }
}

#[test]
fn the_length_is_elapsed_time_also_over_a_night_in_which_the_clock_jumps() {
    // From Saturday 22:00 for 12 hours: to 10:00, in the night of spring to 11:00 and in that of autumn to 09:00.
    let calendar = freeze([window("FREQ=WEEKLY;BYDAY=SA", "2026-01-03T22:00", "Europe/Berlin", Millis::hours(12))]);
    assert_eq!(frozen_until(&calendar, "2026-03-22T03:00:00Z").unwrap(), "2026-03-22T09:00:00Z");
    assert_eq!(frozen_until(&calendar, "2026-03-29T03:00:00Z").unwrap(), "2026-03-29T09:00:00Z");
    assert_eq!(calendar.tell(at("2026-03-29T09:00:00Z")), "2026-03-29 11:00 Europe/Berlin");
    assert_eq!(frozen_until(&calendar, "2026-10-25T03:00:00Z").unwrap(), "2026-10-25T08:00:00Z");
    assert_eq!(calendar.tell(at("2026-10-25T08:00:00Z")), "2026-10-25 09:00 Europe/Berlin");
}

#[test]
fn a_freeze_at_a_time_the_clock_jumps_over_begins_as_far_after_the_jump() {
    let calendar = freeze([window("FREQ=DAILY", "2026-03-01T02:30", "Europe/Berlin", Millis::hours(1))]);
    assert_eq!(frozen_until(&calendar, "2026-03-28T01:30:00Z").unwrap(), "2026-03-28T02:30:00Z");
    // On 2026-03-29 02:00 is 03:00: 02:30 is read as 03:30, 01:30 UTC.
    assert_eq!(frozen_until(&calendar, "2026-03-29T01:29:59.999Z"), None);
    assert_eq!(frozen_until(&calendar, "2026-03-29T01:30:00Z").unwrap(), "2026-03-29T02:30:00Z");
    assert_eq!(frozen_until(&calendar, "2026-03-29T02:30:00Z"), None);
    assert_eq!(frozen_until(&calendar, "2026-03-30T00:30:00Z").unwrap(), "2026-03-30T01:30:00Z");
}

#[test]
fn a_freeze_at_a_time_that_comes_twice_begins_at_the_first() {
    let calendar = freeze([window("FREQ=DAILY", "2026-10-01T02:30", "Europe/Berlin", Millis::minutes(20))]);
    assert_eq!(frozen_until(&calendar, "2026-10-25T00:30:00Z").unwrap(), "2026-10-25T00:50:00Z");
    assert_eq!(frozen_until(&calendar, "2026-10-25T01:30:00Z"), None);
}

#[test]
fn a_clock_that_changes_at_midnight_leaves_no_freeze_out() {
    // In Havana 01:00 becomes 00:00 on 2026-11-01, and 00:00 becomes 01:00 on 2026-03-08.
    let calendar = freeze([window("FREQ=DAILY", "2026-01-01T00:30", "America/Havana", Millis::minutes(20))]);
    assert_eq!(frozen_until(&calendar, "2026-11-01T04:30:00Z").unwrap(), "2026-11-01T04:50:00Z");
    assert_eq!(frozen_until(&calendar, "2026-11-01T05:30:00Z"), None);
    assert_eq!(frozen_until(&calendar, "2026-03-08T05:30:00Z").unwrap(), "2026-03-08T05:50:00Z");
}

#[test]
fn a_day_that_a_place_never_had_moves_its_freeze_to_the_next() {
    // Samoa went from 2011-12-29 to 2011-12-31.
    let calendar = freeze([window("FREQ=MONTHLY;BYMONTHDAY=30", "2011-01-30T12:00", "Pacific/Apia", Millis::hours(1))]);
    assert_eq!(calendar.next_freeze(at("2011-12-01T00:00:00Z")).unwrap().1, at("2011-12-30T22:00:00Z"));
    assert_eq!(frozen_until(&calendar, "2011-12-30T22:30:00Z").unwrap(), "2011-12-30T23:00:00Z");
    assert_eq!(calendar.tell(at("2011-12-30T22:00:00Z")), "2011-12-31 12:00 Pacific/Apia");
}

#[test]
fn an_occurrence_that_began_long_before_still_holds_until_it_is_over() {
    let calendar = freeze([window("FREQ=YEARLY", "2024-12-20T18:00", "UTC", Millis::days(31))]);
    assert_eq!(frozen_until(&calendar, "2027-01-20T17:59:59.999Z").unwrap(), "2027-01-20T18:00:00Z");
    assert_eq!(frozen_until(&calendar, "2027-01-20T18:00:00Z"), None);
}

#[test]
fn freezes_that_overlap_or_follow_on_each_other_end_with_the_last() {
    let long = Window::once("year end", "2026-12-20T18:00", "2027-01-04T06:00", "Europe/Berlin").unwrap();
    let next = Window::once("move", "2027-01-04T06:00", "2027-01-05T06:00", "Europe/Berlin").unwrap();
    let apart = Window::once("later", "2027-01-05T06:00:01", "2027-01-06T06:00", "Europe/Berlin").unwrap();
    let weekend = window("FREQ=WEEKLY;BYDAY=FR", "2026-01-02T18:00", "Europe/Berlin", Millis::hours(60));
    let calendar = freeze([weekend, long, next, apart]);
    // The weekend began on Friday 18th and ends after the year end began.
    let Standing::Frozen { window, until } = calendar.at(at("2026-12-19T12:00:00Z")) else { panic!() };
    assert_eq!((window.as_str(), text(until.unwrap()).as_str()), ("window", "2027-01-05T05:00:00Z"));
    let Standing::Frozen { window, .. } = calendar.at(at("2026-12-26T12:00:00Z")) else { panic!() };
    assert_eq!(window, "window and year end");
    assert_eq!(calendar.at(at("2027-01-05T05:00:00.500Z")), Standing::Open);
}

#[test]
fn occurrences_that_overlap_with_their_next_ones_have_no_end_in_sight() {
    let calendar = freeze([window("FREQ=DAILY", "2026-01-01T00:00", "UTC", Millis::hours(24))]);
    assert_eq!(calendar.at(at("2026-05-05T05:05:05Z")), Standing::Frozen { window: "window".into(), until: None });
    let ending = freeze([window("FREQ=DAILY;UNTIL=20260510", "2026-01-01T00:00", "UTC", Millis::hours(24))]);
    assert_eq!(frozen_until(&ending, "2026-05-05T05:05:05Z").unwrap(), "2026-05-11T00:00:00Z");
}

#[test]
fn a_freeze_beats_an_open_window() {
    let hours = window("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "2026-01-05T09:00", "Europe/Berlin", Millis::hours(8));
    let day = Window::once("audit", "2026-01-07", "2026-01-08", "Europe/Berlin").unwrap();
    let calendar = Calendar { freeze: vec![day], open: vec![hours] };
    assert_eq!(calendar.at(at("2026-01-06T10:00:00Z")), Standing::Open);
    let until = Some(at("2026-01-07T23:00:00Z"));
    assert_eq!(calendar.at(at("2026-01-07T10:00:00Z")), Standing::Frozen { window: "audit".into(), until });
    let opens = Some(at("2026-01-08T08:00:00Z"));
    assert_eq!(calendar.at(at("2026-01-07T23:00:00Z")), Standing::Closed { opens });
    assert_eq!(calendar.at(at("2026-01-09T16:00:00Z")), Standing::Closed { opens: Some(at("2026-01-12T08:00:00Z")) });
}

#[test]
fn an_open_window_that_never_comes_again_leaves_it_closed_for_good() {
    let gone = Window::once("launch", "2026-01-07", "2026-01-08", "UTC").unwrap();
    let ended = window("FREQ=DAILY;COUNT=2", "2026-01-01T00:00", "UTC", Millis::hours(1));
    let calendar = Calendar { freeze: vec![], open: vec![gone, ended] };
    assert_eq!(calendar.at(at("2026-01-02T00:30:00Z")), Standing::Open);
    assert_eq!(calendar.at(at("2026-01-02T02:00:00Z")), Standing::Closed { opens: Some(at("2026-01-07T00:00:00Z")) });
    assert_eq!(calendar.at(at("2026-01-08T00:00:00Z")), Standing::Closed { opens: None });
}

#[test]
fn an_empty_calendar_is_open() {
    assert_eq!(Calendar::default().at(at("2026-01-02T02:00:00Z")), Standing::Open);
    assert_eq!(Calendar::default().at(Timestamp(u64::MAX)), Standing::Open);
}

#[test]
fn each_part_of_a_window_is_checked_and_named() {
    let rule = "FREQ=DAILY";
    let recurring = |name: &str, starts: &str, zone: &str, length| Window::recurring(name, rule, starts, zone, length);
    let hour = Millis::hours(1);
    let part = |window: Result<Window, CalendarError>| window.unwrap_err().part();
    assert_eq!(part(recurring("", "2026-01-02T18:00", "UTC", hour)), "name");
    assert_eq!(part(recurring(&"x".repeat(61), "2026-01-02T18:00", "UTC", hour)), "name");
    assert_eq!(part(recurring("a\u{202e}b", "2026-01-02T18:00", "UTC", hour)), "name");
    for zone in ["", "Berlin", "CEST", "+02:00", "Etc/Unknown", "../etc/passwd"] {
        assert_eq!(part(recurring("w", "2026-01-02T18:00", zone, hour)), "zone", "{zone}");
    }
    for starts in ["2026-01-02 18:00", "2026-01-02T18:00Z", "2026-01-02T18:00+01:00", "2026-02-30T18:00", "1970-12-31"]
        .into_iter()
        .chain(["2026-01-02T24:00", "2026-1-2", "20260102T180000", "3000-01-01", "2026-01-02T18:00:00.5", "T", ""])
    {
        assert_eq!(part(recurring("w", starts, "UTC", hour)), "starts", "{starts}");
        assert_eq!(part(Window::once("w", starts, "2026-01-02", "UTC")), "from", "{starts}");
        assert_eq!(part(Window::once("w", "2026-01-02", starts, "UTC")), "until", "{starts}");
    }
    for length in [Millis(0), Millis(366 * 86_400_000 + 1), Millis(u64::MAX)] {
        assert_eq!(part(recurring("w", "2026-01-02T18:00", "UTC", length)), "length");
    }
    assert!(recurring("w", "2026-01-02T18:00", "europe/berlin", Millis::days(366)).is_ok());
    assert_eq!(part(Window::once("w", "2026-01-02", "2026-01-02", "UTC")), "until");
    assert_eq!(part(Window::once("w", "2026-01-02", "2026-01-01", "UTC")), "until");
    // Both are 03:30 in the end.
    assert_eq!(part(Window::once("w", "2026-03-29T02:30", "2026-03-29T03:30", "Europe/Berlin")), "until");
    let error = Window::once("w", "tomorrow", "2026-01-01", "UTC").unwrap_err().to_string();
    assert_eq!(
        error,
        "\"tomorrow\" is not a local date-time; write 2026-12-20T18:00, or 2026-12-20 for its first moment, without an \
         offset, in the years 1971 to 2999"
    );
}

#[test]
fn a_window_is_kept_as_it_was_written() {
    let recurring = window("FREQ=WEEKLY;BYDAY=FR", "2026-01-02T18:00", "Europe/Berlin", Millis::hours(60));
    assert_eq!(
        serde_json::to_string(&recurring).unwrap(),
        r#"{"name":"window","when":{"recurring":{"rule":"FREQ=WEEKLY;BYDAY=FR","starts":"2026-01-02T18:00:00","zone":"Europe/Berlin","length":216000000}}}"#
    );
    let once = Window::once("year end", "2026-12-20", "2027-01-04T06:00", "Europe/Berlin").unwrap();
    let When::Once { from, until } = &once.when else { panic!() };
    assert_eq!((text(*from), text(*until)), ("2026-12-19T23:00:00Z".into(), "2027-01-04T05:00:00Z".into()));
}

#[test]
fn what_an_old_ledger_has_and_nobody_can_read_any_more_holds() {
    let when = |rule: &str, starts: &str, zone: &str, length| When::Recurring {
        rule: rule.into(),
        starts: starts.into(),
        zone: zone.into(),
        length: Millis(length),
    };
    for when in [
        when("FREQ=HOURLY", "2026-01-02T18:00:00", "UTC", 1),
        when("FREQ=DAILY", "once upon a time", "UTC", 1),
        when("FREQ=DAILY", "2026-01-02T18:00:00", "Atlantis/Capital", 1),
        when("FREQ=DAILY", "2026-01-02T18:00:00", "UTC", u64::MAX),
    ] {
        let lost = Window { name: "old".into(), when };
        let fine = Window::once("fine", "2026-01-02", "2026-01-03", "UTC").unwrap();
        for calendar in [
            freeze([lost.clone()]),
            freeze([fine.clone(), lost.clone()]),
            Calendar { freeze: vec![], open: vec![lost.clone()] },
        ] {
            let Standing::Frozen { window, until: None } = calendar.at(at("2026-01-02T02:00:00Z")) else { panic!() };
            assert!(window.contains("old, which can not be worked out: "), "{window}");
        }
        // Another window that is open lets it through: what can not be read only ever opens less.
        let calendar = Calendar { freeze: vec![], open: vec![lost, fine] };
        assert_eq!(calendar.at(at("2026-01-02T02:00:00Z")), Standing::Open);
    }
}

#[test]
fn a_moment_that_no_calendar_reaches_holds_where_a_rule_is_to_be_worked_out() {
    let daily = || window("FREQ=DAILY", "2026-01-02T18:00", "Europe/Berlin", Millis::hours(1));
    for calendar in [freeze([daily()]), Calendar { freeze: vec![], open: vec![daily()] }] {
        for now in [at("9500-01-01T00:00:00Z"), Timestamp(u64::MAX)] {
            assert!(matches!(calendar.at(now), Standing::Frozen { until: None, .. }));
            assert_eq!(calendar.next_freeze(now), None);
        }
        assert!(!calendar.tell(Timestamp(u64::MAX)).is_empty());
        assert!(!matches!(calendar.at(at("8999-01-01T12:00:00Z")), Standing::Frozen { .. }));
        assert!(!matches!(calendar.at(Timestamp(0)), Standing::Frozen { .. }));
    }
}

/// The least time of a few runs: what it takes where nothing else is in the way.
fn least(mut run: impl FnMut()) -> Duration {
    let time = |()| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    [(); 5].map(time).into_iter().min().unwrap()
}

#[test]
fn no_rule_takes_long_however_old_it_is() {
    let far = at("2999-12-31T00:00:00Z");
    let many = format!("FREQ=YEARLY;BYYEARDAY={}366;BYMONTH=2;BYMONTHDAY=29", "366,".repeat(60));
    for (rule, starts, length, most) in [
        ("FREQ=WEEKLY;BYDAY=FR", "2000-01-07T18:00", Millis::hours(60), 5),
        ("FREQ=WEEKLY;INTERVAL=3;BYDAY=FR", "1971-01-07T18:00", Millis::hours(60), 5),
        ("FREQ=DAILY", "1971-01-01T00:00", Millis::days(1), 100),
        ("FREQ=DAILY", "1971-01-01T00:00", Millis::days(366), 100),
        ("FREQ=DAILY;COUNT=14000", "1971-01-01T00:00", Millis::days(1), 100),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", "1971-01-01T00:00", Millis::days(1), 100),
        ("FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO,TU,WE,TH,FR,SA,SU", "1971-01-01T00:00", Millis::days(366), 100),
        (&many, "1971-01-01T00:00", Millis::days(366), 100),
    ] {
        let load = least(|| drop(Window::recurring("w", rule, starts, "Europe/Berlin", length)));
        let mut took = load;
        if let Ok(window) = Window::recurring("w", rule, starts, "Europe/Berlin", length) {
            for calendar in [freeze([window.clone()]), Calendar { freeze: vec![], open: vec![window] }] {
                for now in [at("2026-01-03T00:00:00Z"), far] {
                    took = took.max(least(|| drop(calendar.at(now))));
                }
            }
        }
        println!("{rule:.60}: loaded in {load:?}, asked in at most {took:?}");
        assert!(took < Duration::from_millis(most), "{rule}: {took:?}");
    }
}
