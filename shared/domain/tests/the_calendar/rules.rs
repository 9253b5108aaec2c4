//! Which days a rule names, and which rules are refused.

use portcullis_domain::calendar::{Calendar, Standing, Window};
use portcullis_domain::time::Millis;

use super::{at, window};

/// The local days of the first beginnings of a rule, as `MM-DD` after their year.
fn days(rule: &str, starts: &str, most: usize) -> Vec<String> {
    let zone = "America/New_York";
    let calendar = Calendar { freeze: vec![], open: vec![window(rule, starts, zone, Millis::minutes(1))] };
    let mut now = at("1971-01-01T00:00:00Z");
    let mut found = Vec::new();
    while let Standing::Closed { opens: Some(opens) } = calendar.at(now) {
        found.push(calendar.tell(opens).split(' ').next().unwrap().to_owned());
        now = opens + Millis::minutes(1);
        if found.len() == most {
            break;
        }
    }
    found
}

fn refused(rule: &str) -> String {
    let error = Window::recurring("w", rule, "2026-01-02T18:00", "Europe/Berlin", Millis::hours(1)).unwrap_err();
    assert_eq!(error.part(), "rule", "{error}");
    error.to_string()
}

#[test]
fn count_counts_from_the_first_day_that_the_rule_names() {
    // 2026-01-01 is a Thursday, which the rule does not name.
    assert_eq!(days("FREQ=WEEKLY;BYDAY=FR;COUNT=3", "2026-01-01T09:00", 9), ["2026-01-02", "2026-01-09", "2026-01-16"]);
}

#[test]
fn until_is_a_whole_day_or_an_exact_moment() {
    let rule = |until: &str| format!("FREQ=DAILY;UNTIL={until}");
    // 09:00 in New York is 14:00 UTC.
    assert_eq!(days(&rule("20260103"), "2026-01-01T09:00", 9), ["2026-01-01", "2026-01-02", "2026-01-03"]);
    assert_eq!(days(&rule("20260102T140000Z"), "2026-01-01T09:00", 9), ["2026-01-01", "2026-01-02"]);
    assert_eq!(days(&rule("20260102T135959Z"), "2026-01-01T09:00", 9), ["2026-01-01"]);
}

/// The examples of RFC 5545 section 3.8.5.3 that speak of days, with the days it gives.
#[test]
fn the_examples_of_the_rfc_give_the_days_it_says() {
    let tuesday = "1997-09-02T09:00";
    for (rule, starts, expected) in [
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", tuesday, "1997: 09-02 09-12 09-22 10-02 10-12"),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU", tuesday, "1997: 09-02 09-16 09-30 10-14 10-28 11-11 11-25 12-09 12-23"),
        ("FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", tuesday, "1997: 09-02 09-04 09-09 09-11 09-16 09-18 09-23 09-25"),
        (
            "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
            "1997-09-01T09:00",
            "1997: 09-01 09-03 09-05 09-15 09-17 09-19 09-29 10-01 10-03 10-13 10-15 10-17 10-27 10-29 10-31 11-10",
        ),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH", tuesday, "1997: 09-02 09-04 09-16 09-18 09-30 10-02"),
        ("FREQ=MONTHLY;COUNT=10;BYDAY=1FR", "1997-09-05T09:00", "1997: 09-05 10-03 11-07 12-05"),
        ("FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU", "1997-09-07T09:00", "1997: 09-07 09-28 11-02 11-30"),
        ("FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "1997-09-22T09:00", "1997: 09-22 10-20 11-17 12-22"),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", "1997-09-28T09:00", "1997: 09-28 10-29 11-28 12-29"),
        ("FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15", tuesday, "1997: 09-02 09-15 10-02 10-15 11-02 11-15 12-02 12-15"),
        ("FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1", "1997-09-30T09:00", "1997: 09-30 10-01 10-31 11-01 11-30 12-01"),
        (
            "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
            "1997-09-10T09:00",
            "1997: 09-10 09-11 09-12 09-13 09-14 09-15 | 1999: 03-10 03-11 03-12 03-13",
        ),
        ("FREQ=MONTHLY;INTERVAL=2;BYDAY=TU", tuesday, "1997: 09-02 09-09 09-16 09-23 09-30 11-04 11-11 11-18 11-25"),
        ("FREQ=YEARLY;COUNT=10;BYMONTH=6,7", "1997-06-10T09:00", "1997: 06-10 07-10 | 1998: 06-10 07-10"),
        ("FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3", "1997-03-10T09:00", "1997: 03-10 | 1999: 01-10 02-10 03-10"),
        (
            "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
            "1997-01-01T09:00",
            "1997: 01-01 04-10 07-19 | 2000: 01-01 04-09 07-18 | 2003: 01-01 04-10 07-19 | 2006: 01-01",
        ),
        ("FREQ=YEARLY;BYDAY=20MO", "1997-05-19T09:00", "1997: 05-19 | 1998: 05-18 | 1999: 05-17"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "1997-05-12T09:00", "1997: 05-12 | 1998: 05-11 | 1999: 05-17"),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=TH", "1997-03-13T09:00", "1997: 03-13 03-20 03-27 | 1998: 03-05 03-12 03-19"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", tuesday, "1998: 02-13 03-13 11-13 | 1999: 08-13 | 2000: 10-13"),
        (
            "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
            "1997-09-13T09:00",
            "1997: 09-13 10-11 11-08 12-13 | 1998: 01-10 02-07 03-07 04-11 05-09 06-13",
        ),
        (
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            "1996-11-05T09:00",
            "1996: 11-05 | 2000: 11-07 | 2004: 11-02",
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "1997-09-04T09:00", "1997: 09-04 10-07 11-06"),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
            "1997-09-29T09:00",
            "1997: 09-29 10-30 11-27 12-30 | 1998: 01-29 02-26 03-30",
        ),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "1997-08-05T09:00", "1997: 08-05 08-10 08-19 08-24"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "1997-08-05T09:00", "1997: 08-05 08-17 08-19 08-31"),
        ("FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "2007-01-15T09:00", "2007: 01-15 01-30 02-15 03-15 03-30"),
    ] {
        let expected: Vec<String> = expected
            .split(" | ")
            .flat_map(|year| {
                let (year, days) = year.split_once(": ").unwrap();
                days.split(' ').map(move |day| format!("{year}-{day}"))
            })
            .collect();
        assert_eq!(days(rule, starts, expected.len()), expected, "{rule}");
    }
}

#[test]
fn a_rule_that_leaves_the_day_open_takes_that_of_the_first() {
    for (rule, starts, expected) in [
        ("FREQ=WEEKLY", "2026-01-02T09:00", ["2026-01-02", "2026-01-09", "2026-01-16"]),
        ("FREQ=MONTHLY", "2026-01-31T09:00", ["2026-01-31", "2026-03-31", "2026-05-31"]),
        ("FREQ=YEARLY", "2024-02-29T09:00", ["2024-02-29", "2028-02-29", "2032-02-29"]),
        ("FREQ=YEARLY;BYMONTH=5", "2024-02-29T09:00", ["2024-05-29", "2025-05-29", "2026-05-29"]),
    ] {
        assert_eq!(days(rule, starts, 3), expected, "{rule}");
    }
}

#[test]
fn weeks_are_numbered_from_the_day_they_begin_on_also_across_a_new_year() {
    // Week 1 of 2026 begins on Monday 2025-12-29; with weeks from Sunday, on Sunday 2026-01-04.
    let first = |wkst: &str| days(&format!("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO;WKST={wkst}"), "2025-06-01T09:00", 2);
    assert_eq!(first("MO"), ["2025-12-29", "2027-01-04"]);
    assert_eq!(first("SU"), ["2026-01-05", "2027-01-04"]);
    // 2026 has 53 weeks from Monday.
    assert_eq!(days("FREQ=YEARLY;BYWEEKNO=53;BYDAY=FR", "2025-06-01T09:00", 1), ["2027-01-01"]);
    assert_eq!(days("FREQ=YEARLY;BYWEEKNO=-1;BYDAY=FR", "2026-06-01T09:00", 2), ["2027-01-01", "2027-12-31"]);
}

#[test]
fn a_rule_that_never_happens_is_refused() {
    for rule in [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=31;BYMONTH=2",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=31",
        "FREQ=MONTHLY;BYDAY=1FR;BYMONTHDAY=20",
        "FREQ=DAILY;UNTIL=20251231",
        "FREQ=WEEKLY;BYDAY=SA,SU;BYSETPOS=3",
    ] {
        assert!(refused(rule).contains("names no day within 40 years"), "{rule}: {}", refused(rule));
    }
}

#[test]
fn rules_that_can_not_be_meant_say_what_to_write() {
    for (rule, hint) in [
        ("", "is not NAME=VALUE"),
        ("FREQ=WEEKLY;", "is not NAME=VALUE"),
        ("every friday", "such as FREQ=WEEKLY;BYDAY=FR"),
        ("RRULE:FREQ=WEEKLY", "without RRULE:"),
        ("BYDAY=FR", "how often"),
        ("FREQ=HOURLY", "write FREQ=DAILY, and one window for each time of the day"),
        ("FREQ=MINUTELY", "too often"),
        ("FREQ=SECONDLY", "too often"),
        ("FREQ=FORTNIGHTLY", "is not DAILY, WEEKLY, MONTHLY or YEARLY"),
        ("FREQ=DAILY;BYHOUR=9", "the time of day is that of `starts`"),
        ("FREQ=DAILY;EXDATE=20260101", "write another window"),
        ("FREQ=DAILY;X-OWN=1", "is not a part that is known"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ is there twice"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20270101", "one COUNT or one UNTIL"),
        ("FREQ=DAILY;COUNT=0", "from 1 to"),
        ("FREQ=DAILY;COUNT=20000", "within 40 years"),
        ("FREQ=DAILY;INTERVAL=0", "from 1 to 999"),
        ("FREQ=DAILY;INTERVAL=1000", "from 1 to 999"),
        ("FREQ=DAILY;INTERVAL=-1", "from 1 to 999"),
        ("FREQ=DAILY;UNTIL=20270101T000000", "moment in UTC such as"),
        ("FREQ=DAILY;UNTIL=20270230", "moment in UTC such as"),
        ("FREQ=DAILY;UNTIL=+2270101", "moment in UTC such as"),
        ("FREQ=DAILY;BYMONTH=13", "from 1 to 12, not \"13\""),
        ("FREQ=DAILY;BYMONTH=-1", "from 1 to 12"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "from 1 to 31, or with - from the end"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,,2", "not \"\""),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "write FREQ=MONTHLY"),
        ("FREQ=WEEKLY;BYDAY=FRI", "days such as FR, 1FR or -1FR"),
        ("FREQ=WEEKLY;BYDAY=1FR", "FREQ=MONTHLY or FREQ=YEARLY only"),
        ("FREQ=MONTHLY;BYDAY=6FR", "at most 5"),
        ("FREQ=MONTHLY;BYDAY=0FR", "days such as FR"),
        ("FREQ=YEARLY;BYMONTH=1;BYDAY=20MO", "at most 5"),
        ("FREQ=YEARLY;BYDAY=54MO", "days such as FR"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "FREQ=YEARLY only"),
        ("FREQ=MONTHLY;BYWEEKNO=1;BYDAY=MO", "FREQ=YEARLY only"),
        ("FREQ=YEARLY;BYWEEKNO=1", "needs the days of that week"),
        ("FREQ=YEARLY;BYWEEKNO=1;BYDAY=1MO", "needs the days of that week"),
        ("FREQ=YEARLY;INTERVAL=2;BYWEEKNO=1;BYDAY=MO", "read in two ways"),
        ("FREQ=MONTHLY;BYSETPOS=1", "among the days of another part"),
        ("FREQ=WEEKLY;WKST=XX", "WKST=MO"),
        ("FREQ=WEEKLY;BYDAY=é", "days such as FR"),
    ] {
        assert!(refused(rule).contains(hint), "{rule}: {}", refused(rule));
    }
    let long = format!("FREQ=WEEKLY;BYDAY={}FR", "FR,".repeat(100));
    assert!(refused(&long).contains("more than 300 characters"));
    assert!(refused(&"ä".repeat(400)).len() < 400, "what was found is cut");
}
