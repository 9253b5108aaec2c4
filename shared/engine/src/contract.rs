//! What every adapter of a port must do, in memory or real: the same tests for all. Each panics with what is wrong.
//!
//! A store is given empty; names of targets are chosen so that several suites may share one.

mod blobs;
mod cluster;
mod ledger;
mod queue;

pub use blobs::blobs;
pub use cluster::{ClusterCase, cluster};
pub use ledger::ledger;
pub use queue::queue;
