//! Notices that are kept, refused, or never answered.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::locked;
use crate::ports::{Notice, Notices, PortError, PortResult};

/// How a receiver of notices behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// It takes everything.
    #[default]
    Takes,
    /// It refuses everything.
    Refuses,
    /// It never answers.
    Hangs,
}

/// Keeps what it is told.
#[derive(Default)]
pub struct MemoryNotices {
    told: Mutex<Vec<Notice>>,
    manner: Mutex<Manner>,
}

impl MemoryNotices {
    /// One that takes everything.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Sets how it behaves from now on.
    pub fn set(&self, manner: Manner) {
        *locked(&self.manner) = manner;
    }

    /// What it was told.
    pub fn told(&self) -> Vec<Notice> {
        locked(&self.told).clone()
    }
}

#[async_trait]
impl Notices for MemoryNotices {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        let manner = *locked(&self.manner);
        match manner {
            Manner::Takes => {
                locked(&self.told).push(notice.clone());
                Ok(())
            }
            Manner::Refuses => Err(PortError::new("telling a notice", "refused on purpose")),
            Manner::Hangs => std::future::pending().await,
        }
    }
}
