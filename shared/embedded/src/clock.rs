//! The machine's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::Clock;

/// The longest nap: a clock that was set, or a machine that slept, is noticed after at most this long.
const NAP: Duration = Duration::from_secs(5);

/// The machine's clock. Before 1970 it stands at 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, at: Timestamp) {
        loop {
            let left = at.since(self.now());
            if left.0 == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left.0).min(NAP)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::time::Millis;

    #[tokio::test]
    async fn sleeping_ends_at_the_moment_and_not_before() {
        let until = SystemClock.now() + Millis(30);
        SystemClock.sleep_until(until).await;
        assert!(SystemClock.now() >= until);
        SystemClock.sleep_until(Timestamp(0)).await;
    }
}
