//! Counts what really flowed: per service and colour, in slots of 100 ms, kept for ten minutes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;

use portcullis_domain::action::Window;
use portcullis_domain::policy::Metric;
use portcullis_domain::time::{Millis, Timestamp};

use super::held;

/// Length of a slot in milliseconds: the finest window that makes sense.
const SLOT: u64 = 100;
/// So many slots are kept.
const KEPT: u64 = 6_000;

/// The requests of one service's colour. Slots without traffic take no memory.
#[derive(Debug, Default)]
pub(super) struct Series(Mutex<VecDeque<Slot>>);

#[derive(Debug)]
struct Slot {
    /// Milliseconds since 1970, divided by the slot's length.
    index: u64,
    requests: u64,
    failed: u64,
    client_failed: u64,
    /// How many answers fell into which class of response time; sorted by class.
    times: Vec<(u16, u32)>,
}

impl Series {
    /// Counts one answer: when its head came, its status, and how long that took in microseconds.
    pub(super) fn record(&self, at: Timestamp, status: u16, micros: u64) {
        let index = at.0 / SLOT;
        let mut slots = held(&self.0);
        let slot = slot_of(&mut slots, index);
        slot.requests += 1;
        match status {
            500.. => slot.failed += 1,
            400..500 => slot.client_failed += 1,
            _ => {}
        }
        let class = class_of(micros);
        match slot.times.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => slot.times[at].1 += 1,
            Err(at) => slot.times.insert(at, (class, 1)),
        }
    }

    /// What was counted in slots that begin in `from..to`. Contiguous windows share no slot and skip none. Values are
    /// absent where nothing was counted, or where the window reaches back before what is kept at `now`.
    pub(super) fn window(&self, from: Timestamp, to: Timestamp, now: Timestamp, metrics: &BTreeSet<Metric>) -> Window {
        let mut window = Window::default();
        if (now.0 / SLOT).saturating_sub(from.0 / SLOT) >= KEPT {
            return window;
        }
        let mut client_failed = 0;
        let mut times: BTreeMap<u16, u64> = BTreeMap::new();
        for slot in held(&self.0).iter().filter(|slot| (from.0..to.0).contains(&(slot.index * SLOT))) {
            window.requests += slot.requests;
            window.failed += slot.failed;
            client_failed += slot.client_failed;
            for (class, count) in &slot.times {
                *times.entry(*class).or_default() += u64::from(*count);
            }
        }
        let Millis(length) = to.since(from);
        if window.requests == 0 || length == 0 {
            return window;
        }
        for metric in metrics.iter().copied().chain([Metric::Requests]) {
            let value = match metric {
                Metric::Requests => rounded(window.requests, 1_000_000, length),
                Metric::ErrorRate => rounded(window.failed, 10_000, window.requests),
                Metric::ClientErrorRate => rounded(client_failed, 10_000, window.requests),
                Metric::ResponseTimeP50 => percentile(&times, window.requests, 50),
                Metric::ResponseTimeP95 => percentile(&times, window.requests, 95),
                Metric::ResponseTimeP99 => percentile(&times, window.requests, 99),
            };
            window.values.insert(metric, i64::try_from(value).unwrap_or(i64::MAX));
        }
        window
    }
}

/// The slot of this index, made if it is missing. Nearly always the last one.
fn slot_of(slots: &mut VecDeque<Slot>, index: u64) -> &mut Slot {
    let at = slots.partition_point(|slot| slot.index < index);
    if slots.get(at).is_none_or(|slot| slot.index != index) {
        slots.insert(at, Slot { index, requests: 0, failed: 0, client_failed: 0, times: Vec::new() });
    }
    let newest = slots.back().map_or(index, |slot| slot.index);
    let old = slots.partition_point(|slot| slot.index + KEPT < newest).min(at);
    slots.drain(..old);
    &mut slots[at - old]
}

/// `count * scale / of`, rounded to the nearest.
fn rounded(count: u64, scale: u64, of: u64) -> u64 {
    (count.saturating_mul(scale).saturating_add(of / 2)) / of
}

/// Nearest-rank percentile, as the upper edge of its class.
fn percentile(times: &BTreeMap<u16, u64>, total: u64, percent: u64) -> u64 {
    let rank = (total * percent).div_ceil(100).max(1);
    let mut seen = 0;
    for (class, count) in times {
        seen += count;
        if seen >= rank {
            return upper_edge(*class);
        }
    }
    0
}

/// Classes of response time: exact below 128 µs, then 64 to each doubling (at most 1.6 % wide).
fn class_of(micros: u64) -> u16 {
    if micros < 128 {
        return u16::try_from(micros).unwrap_or(u16::MAX);
    }
    let doubling = u64::from(micros.ilog2());
    let within = (micros >> (doubling - 6)) - 64;
    u16::try_from(128 + (doubling - 7) * 64 + within).unwrap_or(u16::MAX)
}

fn upper_edge(class: u16) -> u64 {
    let class = u64::from(class);
    if class < 128 {
        return class;
    }
    let (doubling, within) = ((class - 128) / 64 + 7, (class - 128) % 64);
    (((u128::from(within) + 65) << (doubling - 6)) - 1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_800_000_000_000;

    #[test]
    fn a_class_holds_its_time_and_is_at_most_two_percent_wide() {
        for micros in (0..5_000).chain([10_000, 123_456, 9_999_999, 3_600_000_000, u64::MAX / 2, u64::MAX]) {
            let edge = upper_edge(class_of(micros));
            assert!(edge >= micros && (edge - micros) <= micros / 50, "{micros} -> {edge}");
            assert!(class_of(edge) == class_of(micros), "{micros}");
        }
    }

    #[test]
    fn a_window_counts_in_the_units_of_its_metrics() {
        let series = Series::default();
        for n in 0..200_u64 {
            let status = match n % 50 {
                0 | 10 | 20 | 30 | 40 => 500,
                1 => 404,
                _ => 200,
            };
            series.record(Timestamp(T + n * 10), status, (n + 1) * 100);
        }
        let all = Metric::ALL.iter().map(|(metric, _)| *metric).collect();
        let window = series.window(Timestamp(T), Timestamp(T + 2_000), Timestamp(T + 3_000), &all);
        assert_eq!((window.requests, window.failed), (200, 20));
        assert_eq!(window.values[&Metric::Requests], 100_000);
        assert_eq!(window.values[&Metric::ErrorRate], 1_000);
        assert_eq!(window.values[&Metric::ClientErrorRate], 200);
        for (metric, exact) in [(Metric::ResponseTimeP50, 10_000), (Metric::ResponseTimeP95, 19_000)] {
            let value = window.values[&metric];
            assert!((exact..exact + exact / 50).contains(&value), "{metric}: {value}");
        }
    }

    #[test]
    fn contiguous_windows_share_nothing_and_skip_nothing() {
        let series = Series::default();
        for n in 0..1_000 {
            series.record(Timestamp(T + n * 3), 200, 50);
        }
        let ends = [T, T + 333, T + 700, T + 1_301, T + 4_000];
        let count = |pair: &[u64]| {
            series.window(Timestamp(pair[0]), Timestamp(pair[1]), Timestamp(T), &BTreeSet::new()).requests
        };
        assert_eq!(ends.windows(2).map(count).sum::<u64>(), 1_000);
    }

    #[test]
    fn no_traffic_is_no_data_and_neither_is_what_is_no_longer_kept() {
        let series = Series::default();
        series.record(Timestamp(T), 200, 50);
        let window =
            |from, now| series.window(Timestamp(from), Timestamp(from + 1_000), Timestamp(now), &BTreeSet::new());
        assert_eq!(window(T + 1_000, T + 5_000), Window::default());
        assert_eq!(window(T, T + 1_000).requests, 1);
        assert_eq!(window(T, T + KEPT * SLOT), Window::default());
    }

    #[test]
    fn a_clock_that_steps_back_loses_no_count() {
        let series = Series::default();
        for at in [T + 5_000, T + 100, T + 5_100, T] {
            series.record(Timestamp(at), 200, 50);
        }
        assert_eq!(series.window(Timestamp(T), Timestamp(T + 6_000), Timestamp(T), &BTreeSet::new()).requests, 4);
        series.record(Timestamp(T + KEPT * SLOT * 2), 200, 50);
        assert_eq!(held(&series.0).len(), 1);
    }
}
