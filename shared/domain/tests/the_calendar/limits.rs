//! The calendar at its limits: the last thing that is still taken, and the first that is not.

use portcullis_domain::calendar::{Calendar, Standing, When, Window};
use portcullis_domain::time::{Millis, Timestamp};

use super::{at, freeze, frozen_until, window};

/// The last moment for which a rule is worked out, in the year 9000.
const LAST: Timestamp = Timestamp(221_845_392_000_000);

/// Why a rule is refused; none if it is taken.
fn refused(rule: &str) -> Option<String> {
    let window = Window::recurring("w", rule, "2026-01-02T18:00", "Europe/Berlin", Millis::hours(1));
    window.err().map(|error| error.to_string())
}

/// The days on which a rule begins, the first ones.
fn days<const N: usize>(rule: &str, starts: &str) -> [String; N] {
    let calendar = Calendar { freeze: vec![], open: vec![window(rule, starts, "UTC", Millis::minutes(1))] };
    let mut now = at("1971-01-01T00:00:00Z");
    [(); N].map(|()| {
        let Standing::Closed { opens: Some(opens) } = calendar.at(now) else { panic!("{rule} ended") };
        now = opens + Millis::minutes(1);
        calendar.tell(opens).split(' ').next().unwrap().to_owned()
    })
}

#[test]
fn a_rule_is_worked_out_up_to_its_last_moment_and_holds_after_it() {
    let calendar = freeze([window("FREQ=DAILY", "2026-01-02T18:00", "UTC", Millis::minutes(1))]);
    assert_eq!(calendar.at(LAST), Standing::Open);
    let Standing::Frozen { window, until: None } = calendar.at(LAST + Millis(1)) else { panic!() };
    assert_eq!(window, "window, which can not be worked out: the moment is after the year 9000");
}

#[test]
fn freezes_that_follow_on_each_other_are_followed_for_a_year_and_no_further() {
    let days = |from, until| Window::once("w", from, until, "UTC").unwrap();
    // 366 days, and one that begins with its end.
    let year = days("2026-01-01", "2027-01-02");
    let calendar = freeze([year.clone(), days("2027-01-02", "2027-01-05")]);
    assert_eq!(frozen_until(&calendar, "2026-01-01T00:00:00Z").unwrap(), "2027-01-05T00:00:00Z");
    // Another one after that begins too far ahead to be looked at.
    let calendar = freeze([year, days("2027-01-02", "2027-01-05"), days("2027-01-05", "2027-01-06")]);
    let endless = Standing::Frozen { window: "w".into(), until: None };
    assert_eq!(calendar.at(at("2026-01-01T00:00:00Z")), endless);
    assert_eq!(frozen_until(&calendar, "2026-01-04T00:00:00Z").unwrap(), "2027-01-06T00:00:00Z");
    // A rule that ends, but years later.
    let rule = "FREQ=MONTHLY;BYMONTHDAY=1;UNTIL=20300101";
    let calendar = freeze([window(rule, "2026-01-01T00:00", "UTC", Millis::days(40))]);
    let endless = Standing::Frozen { window: "window".into(), until: None };
    assert_eq!(calendar.at(at("2026-01-04T00:00:00Z")), endless);
}

#[test]
fn a_rule_of_300_bytes_is_read_and_a_longer_one_is_not() {
    let rule = |last: &str| format!("FREQ=MONTHLY;BYMONTHDAY={}{last}", "1,".repeat(137));
    assert_eq!((rule("15").len(), refused(&rule("15"))), (300, None));
    assert!(refused(&rule("-15")).unwrap().contains("more than 300 characters"));
}

#[test]
fn a_month_may_have_a_fifth_friday_and_never_a_sixth() {
    assert_eq!(days("FREQ=MONTHLY;BYDAY=5FR", "2026-01-01T09:00"), ["2026-01-30", "2026-05-29", "2026-07-31"]);
    let january = "FREQ=YEARLY;BYMONTH=1;BYDAY=5FR";
    assert_eq!(days(january, "2026-01-01T09:00"), ["2026-01-30", "2027-01-29", "2031-01-31"]);
    for rule in ["FREQ=MONTHLY;BYDAY=6FR", "FREQ=MONTHLY;BYDAY=-6FR", "FREQ=YEARLY;BYMONTH=1;BYDAY=6FR"] {
        assert!(refused(rule).unwrap().contains("at most 5 of each"), "{rule}");
    }
}

#[test]
fn a_number_has_no_plus_sign() {
    assert_eq!(refused("FREQ=DAILY;INTERVAL=2"), None);
    assert!(refused("FREQ=DAILY;INTERVAL=+2").unwrap().contains("a number from 1 to 999, not \"+2\""));
    assert!(refused("FREQ=DAILY;COUNT=").unwrap().contains("not \"\""));
}

#[test]
fn until_is_read_in_its_two_forms_only() {
    for until in ["20270101", "20270101T000000Z", "20271231T235959Z"] {
        assert_eq!(refused(&format!("FREQ=DAILY;UNTIL={until}")), None, "{until}");
    }
    for until in [
        "19701231",
        "19701231T235959Z",
        "20270101X000000Z",
        "20270101T000000X",
        "20270101T+10000Z",
        "20270101T240000Z",
        "20270101T00000Z",
        "2027-1-1",
    ] {
        let why = refused(&format!("FREQ=DAILY;UNTIL={until}")).unwrap();
        assert!(why.contains("or a moment in UTC such as"), "{until}: {why}");
    }
}

#[test]
fn an_interval_longer_than_a_year_begins_with_its_first_month() {
    assert_eq!(days("FREQ=MONTHLY;INTERVAL=24;BYMONTHDAY=15", "2026-01-15T09:00"), ["2026-01-15", "2028-01-15"]);
    assert_eq!(days("FREQ=MONTHLY;INTERVAL=25;BYMONTHDAY=15", "2026-06-15T09:00"), ["2026-06-15", "2028-07-15"]);
    assert_eq!(days("FREQ=YEARLY;INTERVAL=3", "2026-06-15T09:00"), ["2026-06-15", "2029-06-15"]);
}

#[test]
fn the_next_freeze_is_one_that_has_not_begun() {
    let begins = at("2026-12-20T00:00:00Z");
    let calendar = freeze([Window::once("w", "2026-12-20", "2026-12-21", "UTC").unwrap()]);
    assert_eq!(calendar.next_freeze(begins - Millis(1)), Some(("w", begins)));
    assert_eq!(calendar.next_freeze(begins), None);
}

#[test]
fn a_window_that_ends_as_it_begins_never_comes() {
    let moment = at("2026-12-20T00:00:00Z");
    // Nobody can write one, but a ledger may have one.
    let empty = Window { name: "w".into(), when: When::Once { from: moment, until: moment } };
    let calendar = Calendar { freeze: vec![empty.clone()], open: vec![empty] };
    for now in [moment - Millis(1), moment, moment + Millis(1)] {
        assert_eq!(calendar.at(now), Standing::Closed { opens: None });
    }
    assert_eq!(calendar.next_freeze(moment - Millis(1)), None);
}
