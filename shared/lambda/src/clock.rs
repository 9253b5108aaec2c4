//! The clock of a function's machine. AWS keeps it in step.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::Clock;

/// The longest single sleep: a frozen function wakes up to another time.
const NAP: Duration = Duration::from_secs(1);

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LambdaClock;

#[async_trait]
impl Clock for LambdaClock {
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
