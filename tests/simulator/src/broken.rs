//! Outsides that do not keep their contract: each shows that an invariant would be seen to fail.

/// What does not keep its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The cluster lets every write through, whatever its fence.
    Fences,
    /// The cluster says that pods are ready when they are not.
    Readiness,
    /// The store of backups loses what it said it had, once it was read back.
    Backups,
    /// The ledger tells of no stop, and appends steps forward whatever stop was put on meanwhile.
    Stops,
    /// A reader of the ledger forgets one notice in ten.
    Notices,
    /// No wake ever arrives, and nobody sweeps.
    Wakes,
}
