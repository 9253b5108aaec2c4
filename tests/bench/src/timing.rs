//! Two pieces of work timed in turns, so that whatever else the machine does hurts both alike.

use std::time::{Duration, Instant};

/// The times of one piece of work.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// The best round, in seconds: what the machine does when nothing else runs on it.
    pub(crate) fn best(&self) -> f64 {
        self.0.first().map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// The middle round, in seconds.
    pub(crate) fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }
}

/// Runs both in turns, `rounds` times after one that does not count.
pub(crate) fn in_turns<A, B>(
    rounds: usize,
    mut one: impl FnMut() -> A,
    mut other: impl FnMut() -> B,
) -> (Times, Times) {
    let mut times = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (first, second) = (time(&mut one), time(&mut other));
        if round > 0 {
            times.0.push(first);
            times.1.push(second);
        }
    }
    times.0.sort_unstable();
    times.1.sort_unstable();
    (Times(times.0), Times(times.1))
}

/// The time until the result is there and let go again.
fn time<T>(work: &mut impl FnMut() -> T) -> Duration {
    let begin = Instant::now();
    drop(std::hint::black_box(work()));
    begin.elapsed()
}
