//! Local time and moments, by the time zone database that is compiled in. Nothing of the system is read.

use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::error::{CalendarError, cut};
use crate::time::Timestamp;

/// No recurring window is worked out past this moment, in the year 9000.
pub(super) const LAST: Timestamp = Timestamp(221_845_392_000_000);

/// The time zone of an IANA name.
pub(super) fn zone(name: &str) -> Result<TimeZone, CalendarError> {
    let known = TimeZoneDatabase::bundled().get(name).ok();
    known.filter(|zone| !zone.is_unknown()).ok_or_else(|| CalendarError::Zone { found: cut(name) })
}

/// A local date-time: `2026-12-20T18:00`, the same with seconds, or `2026-12-20` for midnight.
pub(super) fn local(part: &'static str, text: &str) -> Result<DateTime, CalendarError> {
    read(text).ok_or_else(|| CalendarError::Moment { part, found: cut(text) })
}

fn read(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = match time.len() {
        5 => fields(time, ':', [2, 2]).map(|[hour, minute]| [hour, minute, 0])?,
        _ => fields(time, ':', [2, 2, 2])?,
    };
    let small = |n: i16| i8::try_from(n).ok();
    let (month, day) = (small(month)?, small(day)?);
    let (hour, minute, second) = (small(hour)?, small(minute)?, small(second)?);
    DateTime::new(year, month, day, hour, minute, second, 0).ok().filter(|at| (1971..=2999).contains(&at.year()))
}

/// Numbers of just these many digits.
fn fields<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i16; N]> {
    let mut found = [0; N];
    let mut parts = text.split(between);
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|c| c.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// The moment of a local time. Where the clock jumps over it: as far after the jump as it is after the jump's beginning
/// (RFC 5545 section 3.3.5: read with the offset before the gap). Where it comes twice: the first.
pub(super) fn moment(zone: &TimeZone, at: DateTime) -> Option<Timestamp> {
    let at = zone.to_ambiguous_timestamp(at).compatible().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

/// The local time of a moment; `None` past the year 9999.
pub(super) fn local_time(zone: &TimeZone, at: Timestamp) -> Option<DateTime> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
    Some(zone.to_datetime(at))
}

/// The day so many days later, or earlier; `None` past the calendar's ends.
pub(super) fn days_later(day: Date, days: i64) -> Option<Date> {
    day.checked_add(jiff::SignedDuration::from_hours(days.checked_mul(24)?)).ok()
}

/// How many days the second is after the first.
pub(super) fn days_between(from: Date, to: Date) -> i64 {
    to.duration_since(from).as_hours() / 24
}
