//! How fast and how often a cluster is asked.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A bucket of requests that fills at a steady rate.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl Pace {
    /// So many a second, and so many at once after a rest.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let (per_second, burst) = (f64::from(per_second.max(1)), f64::from(burst.max(1)));
        Self { per_second, burst, state: Mutex::new((burst, Instant::now())) }
    }

    /// Waits until one more request may be sent.
    pub(super) async fn turn(&self) {
        let wait = {
            let mut state = self.state.lock().await;
            let now = Instant::now();
            let filled = state.0 + now.saturating_duration_since(state.1).as_secs_f64() * self.per_second;
            // Below zero is what others wait for already: each waits for its own turn, in order.
            *state = (filled.min(self.burst) - 1.0, now);
            if state.0 >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-state.0 / self.per_second) }
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// How long to wait before the next try: what the server asked for, else doubling from 100 ms, each with up to half of it
/// more by chance, so that several who were refused together do not come back together. At most 10 s.
pub(super) fn pause(tried: u32, asked: Option<Duration>) -> Duration {
    let base = asked.unwrap_or_else(|| Duration::from_millis(100) * 2_u32.saturating_pow(tried.min(6)));
    base.mul_f64(1.0 + rand::random::<f64>() / 2.0).min(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let (pace, start) = (Pace::new(10, 5), Instant::now());
        for _ in 0..5 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            pace.turn().await;
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(990) && took < Duration::from_millis(1_100), "{took:?}");
    }

    #[test]
    fn a_pause_is_at_least_what_was_asked_and_never_long() {
        let asked = Duration::from_secs(2);
        assert!((0..50).all(|_| (asked..=Duration::from_secs(3)).contains(&pause(0, Some(asked)))));
        assert!(pause(0, Some(Duration::from_hours(1))) <= Duration::from_secs(10));
        assert!(pause(1, None) >= Duration::from_millis(200));
    }
}
