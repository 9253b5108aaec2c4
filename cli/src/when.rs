//! Moments and durations as people write and read them.

use std::str::FromStr;

use jiff::tz::TimeZone;
use portcullis_domain::time::{Millis, Timestamp};

/// A moment in the future, as a flag names it: `2h`, `3d` or `2026-12-01T08:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// So long from now.
    In(Millis),
    /// At this moment.
    At(Timestamp),
}

impl Until {
    /// The moment, seen from `now`.
    pub(crate) fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Until::In(time) => now + time,
            Until::At(at) => at,
        }
    }
}

impl FromStr for Until {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is neither a duration such as 2h or 3d nor a moment such as 2026-12-01T08:00Z");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if let Some(size) = match &text[digits..] {
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        } {
            let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
            return count
                .checked_mul(size)
                .filter(|ms| *ms > 0 && *ms <= Millis::days(366).0)
                .map(|ms| Until::In(Millis(ms)))
                .ok_or_else(|| format!("{text:?} is not between 1s and 366d"));
        }
        let at: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        u64::try_from(at.as_millisecond()).map(|ms| Until::At(Timestamp(ms))).map_err(|_| wrong())
    }
}

/// A duration as a flag names it: `4m`, `2h`, `3d`; at most 366 days.
pub(crate) fn duration(text: &str) -> Result<Millis, String> {
    match text.parse() {
        Ok(Until::In(time)) => Ok(time),
        _ => Err(format!("{text:?} is no duration such as 30m, 2h or 3d, at most 366d")),
    }
}

/// How moments are shown: in UTC, days named as seen from now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    now: Timestamp,
    /// The reader's offset from UTC in seconds.
    offset: i32,
}

impl Times {
    #[cfg(test)]
    /// Seen from `now`, by a reader whose clock is `offset` seconds ahead of UTC.
    pub(crate) fn new(now: Timestamp, offset: i32) -> Self {
        Self { now, offset }
    }

    /// Seen from `now`, by a reader where this machine is.
    pub(crate) fn here(now: Timestamp) -> Self {
        let offset = zoned(now).map_or(0, |at| TimeZone::system().to_offset(at.timestamp()).seconds());
        Self { now, offset }
    }

    /// Now.
    pub(crate) fn now(self) -> Timestamp {
        self.now
    }

    /// ` (your time +1 h)`, or nothing where the clock shows UTC.
    pub(crate) fn offset(self) -> String {
        if self.offset == 0 {
            return String::new();
        }
        let (sign, minutes) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs() / 60);
        match minutes % 60 {
            0 => format!(" (your time {sign}{} h)", minutes / 60),
            rest => format!(" (your time {sign}{}:{rest:02} h)", minutes / 60),
        }
    }

    /// `02:58:40`, with its day where that is not today: `yesterday 02:58:40`, `2026-11-18 02:58:40`.
    pub(crate) fn second(self, at: Timestamp) -> String {
        self.with_day(at, "%H:%M:%S")
    }

    /// `02:58`, with its day where that is not today.
    pub(crate) fn minute(self, at: Timestamp) -> String {
        self.with_day(at, "%H:%M")
    }

    fn with_day(self, at: Timestamp, form: &str) -> String {
        let (Some(at), Some(now)) = (zoned(at), zoned(self.now)) else { return "?".to_owned() };
        let time = at.strftime(form).to_string();
        let days = now.date().since((jiff::Unit::Day, at.date())).map_or(i32::MAX, |span| span.get_days());
        match days {
            0 => time,
            1 => format!("yesterday {time}"),
            -1 => format!("tomorrow {time}"),
            _ => format!("{} {time}", at.strftime("%Y-%m-%d")),
        }
    }
}

/// `02:58:40`, whatever the day.
pub(crate) fn clock(at: Timestamp) -> String {
    zoned(at).map_or_else(|| "?".to_owned(), |at| at.strftime("%H:%M:%S").to_string())
}

/// `2026-11-20`, in UTC.
pub(crate) fn day(at: Timestamp) -> String {
    zoned(at).map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

fn zoned(at: Timestamp) -> Option<jiff::Zoned> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
    Some(at.to_zoned(TimeZone::UTC))
}

/// `2 s`, `5m 18s`, `3h 5m`, `2d 4h`: how long something took, in the two largest units that matter.
pub(crate) fn span(time: Millis) -> String {
    let seconds = (time.0 + 500) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `87 ms` below a second, `4.1 s` below a minute, else as [`span`].
pub(crate) fn precise(time: Millis) -> String {
    match time.0 {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => span(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_795_176_000_000);

    #[test]
    fn a_flag_names_a_duration_or_a_moment() {
        assert_eq!("2h".parse(), Ok(Until::In(Millis::hours(2))));
        assert_eq!("1970-01-01T00:01:00Z".parse(), Ok(Until::At(Timestamp(60_000))));
        for bad in ["", "2", "h", "2w", "0s", "tomorrow", "999999999999999999d", "400d", "1960-01-01T00:00:00Z"] {
            assert!(bad.parse::<Until>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn days_are_named_as_seen_from_now() {
        let times = Times::new(NOON, 3_600);
        assert_eq!(times.second(NOON), "12:00:00");
        assert_eq!(times.minute(NOON + Millis::days(1)), "tomorrow 12:00");
        assert_eq!(times.minute(NOON - Millis::days(1)), "yesterday 12:00");
        assert_eq!(times.minute(NOON - Millis::days(3)), "2026-11-17 12:00");
        assert_eq!(times.offset(), " (your time +1 h)");
        assert_eq!(Times::new(NOON, -12_600).offset(), " (your time -3:30 h)");
        assert_eq!(Times::new(NOON, 0).offset(), "");
    }

    #[test]
    fn spans_read_as_people_say_them() {
        let shown = [400, 2_000, 318_000, 11_100_000, 187_200_000].map(|ms| span(Millis(ms)));
        assert_eq!(shown, ["0 s", "2 s", "5m 18s", "3h 5m", "2d 4h"]);
        assert_eq!((precise(Millis(87)), precise(Millis(4_100))), ("87 ms".into(), "4.1 s".into()));
    }
}
