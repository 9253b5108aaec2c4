//! The shell around the pure core: the recorder, the driver, the sweep, the readers of the ledger, and their ports.
//!
//! It must not know: which cloud, cluster, store or sender is behind a port; what a gate or a strategy is (only the
//! core judges); what time it is other than by [`ports::Clock`].
//!
//! Start reading at [`ports`]; then [`recorder::Recorder`], which puts a signal into the ledger before anything is
//! acknowledged, and [`driver::Driver`], which does what the ledger says is to be done. A message between the two is a
//! hint: lost, doubled or late it changes nothing but time, because [`sweep::Sweep`] finds what was missed.

pub mod absent;
pub mod breaker;
pub mod bundles;
pub mod codec;
#[cfg(any(test, feature = "memory"))]
pub mod contract;
mod core;
pub mod counting;
pub mod driver;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod perform;
pub mod ports;
pub mod reader;
pub mod recorder;
pub mod sweep;
