//! A ledger's backup, and its return: what happened in between is forgotten here and nowhere else.

use super::{MemoryLedger, Rows, locked};

/// Everything a ledger held at one moment.
#[derive(Clone)]
pub struct Backup(Rows);

impl MemoryLedger {
    /// Takes a backup of everything.
    pub fn backup(&self) -> Backup {
        Backup(locked(&self.rows).clone())
    }

    /// Puts a backup back, over everything.
    pub fn restore(&self, backup: Backup) {
        *locked(&self.rows) = backup.0;
    }
}
