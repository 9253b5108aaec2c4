//! What can happen in one step.

use crate::signal::Ask;
use crate::world::Drift;

/// One atomic step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A later commit is pushed.
    Push(u8),
    /// The alarm begins to ring.
    Ring,
    /// The scan of the first push comes to something else.
    ScanChanges,
    /// Everything is stopped, or goes on.
    Stop(bool),
    /// A message comes.
    Deliver(u8),
    /// A message is lost.
    Lose(u8),
    /// A message is doubled.
    Double(u8),
    /// The sweep compares the registry with the ledger, and finds this commit's image of this service.
    SweepPush(u8, u8),
    /// The sweep wakes what is overdue.
    SweepWake,
    /// Somebody looks because time passed.
    Wake,
    /// There is nothing more to do: the driver sleeps.
    Sleep,
    /// Something is read outside, and recorded at once.
    Read(u8),
    /// A driver reads the head, takes this intention and acts outside.
    Take(u8, u8),
    /// A patch arrives.
    Land(u8),
    /// A driver reads back what it wrote, or sends it again.
    ReadBack(u8),
    /// A driver records an outcome.
    Record(u8),
    /// A driver loads the ledger and decides, without appending yet.
    Decide(u8),
    /// A driver dies.
    Crash(u8),
    /// Pods come up, or go.
    Pods(u8),
    /// A person approves: who, of which release, whether the plan before the present one.
    Approve(u8, u8, bool),
    /// A person wants something of a release.
    Person(Ask, u8),
    /// An object is changed by hand.
    ByHand(Drift, u8),
    /// Time passes until something is due.
    Tick,
}
