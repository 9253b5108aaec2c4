//! The queue of wakes in memory, which can lose or double what it is sent.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_domain::time::{Millis, Timestamp};
use tokio::sync::Notify;

use super::{Faults, Op, locked};
use crate::ports::{Clock, PortResult, Queue, Received, Wake};

/// How long a received wake that is not acknowledged stays hidden.
const HIDDEN: Millis = Millis::seconds(30);

struct Message {
    wake: Wake,
    receipt: u64,
    visible_at: Timestamp,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    sent: u64,
    copies: usize,
}

/// Wakes, at least once, in no order.
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    faults: Faults,
    state: Mutex<State>,
    came: Notify,
}

impl MemoryQueue {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>, faults: Faults) -> Arc<Self> {
        let state = State { copies: 1, ..State::default() };
        Arc::new(Self { clock, faults, state: Mutex::new(state), came: Notify::new() })
    }

    /// How many copies of each wake arrive: 0 loses all, 2 doubles all, 1 is the usual.
    pub fn copies(&self, copies: usize) {
        locked(&self.state).copies = copies;
    }

    /// Loses everything that is in it.
    pub fn clear(&self) {
        locked(&self.state).messages.clear();
    }

    /// When the next wake becomes visible.
    pub fn next_visible(&self) -> Option<Timestamp> {
        locked(&self.state).messages.iter().map(|message| message.visible_at).min()
    }

    /// How many wakes were ever sent.
    pub fn sent(&self) -> u64 {
        locked(&self.state).sent
    }

    /// How many wakes are in it.
    pub fn len(&self) -> usize {
        locked(&self.state).messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what is visible now, without waiting.
    pub fn take(&self, most: usize) -> Vec<Received> {
        let now = self.clock.now();
        let mut state = locked(&self.state);
        let visible = state.messages.iter_mut().filter(|message| message.visible_at <= now).take(most);
        visible
            .map(|message| {
                message.visible_at = now + HIDDEN;
                Received { wake: message.wake.clone(), receipt: message.receipt.to_string() }
            })
            .collect()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, wake: Wake) -> PortResult<()> {
        self.faults.before(Op::Send).await?;
        {
            let mut state = locked(&self.state);
            for _ in 0..state.copies {
                state.sent += 1;
                let receipt = state.sent;
                state.messages.push(Message { visible_at: wake.at, wake: wake.clone(), receipt });
            }
        }
        self.came.notify_waiters();
        Ok(())
    }

    async fn receive(&self, most: usize, wait: Millis) -> PortResult<Vec<Received>> {
        let until = self.clock.now() + wait;
        loop {
            let came = self.came.notified();
            let found = self.take(most);
            if !found.is_empty() || self.clock.now() >= until {
                return Ok(found);
            }
            let next = self.next_visible().map_or(until, |next| next.min(until));
            tokio::select! {
                biased;
                () = came => {}
                () = self.clock.sleep_until(next) => {}
            }
        }
    }

    async fn done(&self, receipt: &str) -> PortResult<()> {
        let Ok(receipt) = receipt.parse::<u64>() else { return Ok(()) };
        locked(&self.state).messages.retain(|message| message.receipt != receipt);
        Ok(())
    }
}
