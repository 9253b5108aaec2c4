//! A clock in the test's hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_domain::time::{Millis, Timestamp};
use tokio::sync::watch;

use super::locked;
use crate::ports::Clock;

/// Stands still until it is moved.
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
    sleepers: Mutex<BTreeMap<Timestamp, u32>>,
}

impl ManualClock {
    /// A clock that shows this moment.
    pub fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { now: watch::Sender::new(now), sleepers: Mutex::default() })
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    /// Moves it forward, waking who sleeps.
    pub fn advance(&self, by: Millis) {
        self.now.send_modify(|now| *now = *now + by);
    }

    /// Sets it, even back: a test may want a wrong clock.
    pub fn set(&self, to: Timestamp) {
        self.now.send_modify(|now| *now = to);
    }

    /// The earliest moment somebody sleeps until.
    pub fn next_sleeper(&self) -> Option<Timestamp> {
        locked(&self.sleepers).keys().next().copied()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    async fn sleep_until(&self, at: Timestamp) {
        let mut now = self.now.subscribe();
        *locked(&self.sleepers).entry(at).or_default() += 1;
        let _counted = Sleeper { clock: self, at };
        while *now.borrow_and_update() < at {
            if now.changed().await.is_err() {
                return;
            }
        }
    }
}

struct Sleeper<'a> {
    clock: &'a ManualClock,
    at: Timestamp,
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        let mut sleepers = locked(&self.clock.sleepers);
        if let Some(count) = sleepers.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                sleepers.remove(&self.at);
            }
        }
    }
}
