//! In-memory twins of every port, settable from tests, with time in the test's hand, and the [`world::World`] in which
//! whole stories are told.

pub mod blobs;
pub mod clock;
pub mod cluster;
pub mod faults;
pub mod kept;
pub mod ledger;
pub mod metrics;
pub mod notices;
pub mod policies;
pub mod queue;
pub mod registry;
pub mod source;
pub mod world;

pub use blobs::MemoryBlobs;
pub use clock::ManualClock;
pub use cluster::{Build, FakeCluster};
pub use faults::{Faults, Op};
pub use kept::Keeping;
pub use ledger::MemoryLedger;
pub use metrics::FakeMetrics;
pub use notices::MemoryNotices;
pub use policies::MemoryPolicies;
pub use queue::MemoryQueue;
pub use registry::FakeRegistry;
pub use source::FakeSource;
pub use world::World;

/// Locks, going on with what a panicking test left.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
