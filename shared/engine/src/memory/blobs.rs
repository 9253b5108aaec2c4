//! Blobs in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{Faults, Op, locked};
use crate::ports::{Blobs, PortResult};

/// Bytes by key.
pub struct MemoryBlobs {
    faults: Faults,
    stored: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryBlobs {
    /// None at first.
    pub fn new(faults: Faults) -> Arc<Self> {
        Arc::new(Self { faults, stored: Mutex::default() })
    }

    /// Changes stored bytes behind everybody's back.
    pub fn damage(&self, key: &str, bytes: &[u8]) {
        locked(&self.stored).insert(key.to_owned(), bytes.to_vec());
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, key: &str, bytes: &[u8], only_new: bool) -> PortResult<bool> {
        self.faults.before(Op::Put).await?;
        let stored = {
            let mut stored = locked(&self.stored);
            let free = !(only_new && stored.contains_key(key));
            if free {
                stored.insert(key.to_owned(), bytes.to_vec());
            }
            free
        };
        self.faults.after(Op::Put).await?;
        Ok(stored)
    }

    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>> {
        self.faults.before(Op::Get).await?;
        Ok(locked(&self.stored).get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<String>> {
        let stored = locked(&self.stored);
        Ok(stored.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}
