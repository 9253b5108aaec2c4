//! A world: who is in it, what may go wrong, and where it begins.

use portcullis_domain::policy::Waiting;

use crate::cast::Shape;
use crate::signal::{Ask, Scan};
use crate::state::Left;
use crate::variant::Variant;

/// A world to explore.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent thing that a world has or has not")]
pub struct World {
    /// Its name.
    pub name: &'static str,
    /// What is in it, in words.
    pub what: &'static str,
    /// The policy.
    pub shape: Shape,
    /// Approvals that are needed.
    pub quorum: u8,
    /// What happens when several releases wait.
    pub waiting: Waiting,
    /// Where it begins.
    pub begin: Begin,
    /// What may still go wrong, and what may still be asked for.
    pub left: Left,
    /// Drivers: 1 or 2.
    pub drivers: u8,
    /// Patches in flight at once, at most.
    pub patches: usize,
    /// People who try to approve: 0 and 1 may, 2 wrote the change.
    pub voters: &'static [u8],
    /// What else people ask for.
    pub asks: &'static [Ask],
    /// Changes by hand.
    pub drifts: &'static [Drift],
    /// Whether what was read may be old by the time it is recorded.
    pub stale_reads: bool,
    /// Whether drivers act only when woken.
    pub wakes: bool,
    /// Whether time passes only when there is nothing else to do.
    pub patient: bool,
    /// What the first push's scan says at the beginning.
    pub scan: Scan,
    /// Whether the end must be one of the ends without faults.
    pub converges: bool,
    /// Whether those whose approval is missing come in the end.
    pub people_come: bool,
    /// Whether what a person moved is ours as soon as we wrote the same value on it.
    pub marks_own: bool,
    /// Whether states are made one that differ in nothing that can still matter.
    pub reduced: bool,
    /// Which rule is broken.
    pub variant: Variant,
}

/// Where a world begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// The first push is on its way.
    Pushed,
    /// The first release waits for its approval.
    Gated,
    /// The first release is backed up and comes up.
    Deploying,
    /// The first release is about to move traffic.
    Switching,
    /// The first release is watched.
    Watching,
    /// The first release is live; what was before is kept.
    Live,
    /// The first release is live, and its old colour is about to be let go.
    LettingGo,
    /// The first release is live and may still be rolled back; its old colour is gone.
    LetGo,
}

/// A change by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// Traffic is moved to the other colour.
    Traffic,
    /// A workload is scaled to one more.
    Scale,
    /// The annotation is taken off.
    Prune,
    /// A workload at rest is deleted, and its fence with it.
    Delete,
}

impl World {
    /// One service, blue-green, two drivers, nothing goes wrong.
    pub const fn plain(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            what,
            shape: Shape::Web,
            quorum: 1,
            waiting: Waiting::Newest,
            begin: Begin::Pushed,
            left: Left {
                crashes: 0,
                losses: 0,
                doubles: 0,
                ticks: 1,
                approvals: 1,
                commands: 0,
                drifts: 0,
                pushes: 0,
                alarms: 0,
                scans: 0,
                stops: 0,
            },
            drivers: 2,
            patches: 4,
            voters: &[0],
            asks: &[],
            drifts: &[],
            stale_reads: false,
            wakes: false,
            patient: false,
            scan: Scan::Clean,
            converges: false,
            people_come: false,
            marks_own: false,
            reduced: true,
            variant: Variant::Sound,
        }
    }

    /// Whether its end is compared because messages are lost, doubled or late.
    pub fn loses_messages(&self) -> bool {
        self.converges && self.left.losses + self.left.doubles > 0
    }

    /// Whether its end is compared because drivers crash.
    pub fn crashes(&self) -> bool {
        self.converges && self.left.crashes > 0
    }

    /// The same without faults: what people and the world outside do stays.
    #[must_use]
    pub fn without_faults(&self) -> Self {
        let left = Left { crashes: 0, losses: 0, doubles: 0, drifts: 0, ..self.left };
        Self { left, converges: false, variant: Variant::Sound, stale_reads: false, ..self.clone() }
    }
}
