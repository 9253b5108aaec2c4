//! One state of the world: the ledger, the cluster, what is under way between them, and what the invariants remember.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use portcullis_domain::plan::PlanId;
use portcullis_domain::time::Timestamp;

use crate::cast::{COMMITS, MOST_OBJECTS};
use crate::ledger::{FencedWrite, Node};
use crate::signal::{Hand, Object, Scan, Snapshot};

/// Releases that the invariants remember.
pub const MOST_RELEASES: usize = 3;
/// Kinds of messages: a push of each later commit for each service, and the four below.
pub const MESSAGES: usize = 8;
/// The message that a scan found something.
pub const SCAN_IS_BAD: usize = 4;
/// The message that a scan found nothing.
pub const SCAN_IS_CLEAN: usize = 5;
/// The message that the alarm rings.
pub const ALARM: usize = 6;
/// The wake.
pub const WAKE: usize = 7;

/// One state.
#[derive(Clone)]
pub struct State {
    /// The ledger.
    pub node: Arc<Node>,
    /// The cluster.
    pub objects: [Object; MOST_OBJECTS],
    /// Patches that were sent and have not arrived, by position.
    pub patches: Vec<Patch>,
    /// The drivers.
    pub drivers: [Driver; 2],
    /// The world outside.
    pub outside: Outside,
    /// Messages under way, by kind: how many copies.
    pub messages: [u8; MESSAGES],
    /// Whether a driver is awake (worlds with explicit wakes only).
    pub awake: bool,
    /// Intentions that only a dead driver knew of (one broken variant only).
    pub lost: Vec<u64>,
    /// What may still go wrong, and what may still be asked for.
    pub left: Left,
    /// What the invariants remember.
    pub seen: Seen,
}

/// A write on its way: it may arrive late, also after its sender died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Its fence.
    pub seq: u64,
    /// The write.
    pub write: Arc<FencedWrite>,
    /// Whether its sender died.
    pub orphan: bool,
}

/// What a driver is at.
#[derive(Clone, Default)]
pub enum Driver {
    /// Nothing.
    #[default]
    Idle,
    /// Its patch is sent; it will read back.
    Sent(u64, Arc<FencedWrite>),
    /// It has an outcome to record.
    Holding(u64, Hand),
    /// It decided on the ledger as it was then (one broken variant only).
    Decided(u64, Hand, Arc<Node>),
}

/// The world outside, as it really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    /// Commits that were pushed, by bit.
    pub pushed: u8,
    /// The scans of each commit's images.
    pub scans: [Scan; COMMITS as usize],
    /// Since when the alarm rings.
    pub alarm: Option<Timestamp>,
    /// Whether somebody stopped everything.
    pub stopped: bool,
    /// Releases whose backup is stored and was read back, by bit.
    pub stored: u8,
}

/// Budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Left {
    /// Drivers may still crash so often.
    pub crashes: u8,
    /// Messages that may still be lost.
    pub losses: u8,
    /// Messages that may still come twice.
    pub doubles: u8,
    /// Times that time may still pass.
    pub ticks: u8,
    /// Approvals that may still be tried.
    pub approvals: u8,
    /// Other things that people may still ask for.
    pub commands: u8,
    /// Changes by hand.
    pub drifts: u8,
    /// Pushes of later commits.
    pub pushes: u8,
    /// Alarms.
    pub alarms: u8,
    /// Scans that may still change.
    pub scans: u8,
    /// Stops of everything.
    pub stops: u8,
}

/// What the invariants remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Invariants that were broken, by bit.
    pub bad: u16,
    /// By release number.
    pub releases: [OfRelease; MOST_RELEASES],
}

/// What the invariants remember of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfRelease {
    /// Its commit; 0 = there is no such release yet.
    pub commit: u8,
    /// Its plan.
    pub plan: Option<PlanId>,
    /// The plan before that one.
    pub older: Option<PlanId>,
    /// Who said yes to that one: it may become the plan again, and is then the same plan.
    pub older_yes: u8,
    /// People who said yes to its plan with that plan before their eyes, and had no hand in it, by bit.
    pub yes: u8,
    /// What we read of its scans ourselves.
    pub read: Read,
    /// Whether the gates held at its first commit point.
    pub began: bool,
    /// Whether the gates held at both commit points: it may serve.
    pub may_serve: bool,
    /// Where its way back began; 0 = it did not.
    pub back: u64,
    /// Whether the way back is over.
    pub rolled_back: bool,
}

/// What we read of a release's scans ourselves, since time passed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Read {
    /// Nothing.
    #[default]
    Nothing,
    /// They are clean.
    Clean,
    /// They are not.
    Dirty,
}

impl Default for Outside {
    fn default() -> Self {
        Self { pushed: 0b10, scans: [Scan::Clean; COMMITS as usize], alarm: None, stopped: false, stored: 0 }
    }
}

impl State {
    /// What is read outside now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot { objects: self.objects, scans: self.outside.scans, alarm: self.outside.alarm })
    }

    /// Puts what has no order into one.
    pub(crate) fn sort(&mut self) {
        self.patches.sort_by_key(|patch| (patch.seq, patch.orphan));
        // Drivers are alike: which of them does what is the same.
        let rank = |driver: &Driver| match driver {
            Driver::Idle => (3, 0),
            Driver::Sent(seq, _) => (0, *seq),
            Driver::Holding(seq, _) => (1, *seq),
            Driver::Decided(seq, ..) => (2, *seq),
        };
        if rank(&self.drivers[1]) < rank(&self.drivers[0]) {
            self.drivers.swap(0, 1);
        }
    }

    /// The ranks of every position that still occurs.
    fn ranks(&self) -> Vec<u64> {
        let mut all = Vec::with_capacity(48);
        all.extend_from_slice(&self.node.seqs);
        all.extend(self.objects.iter().map(|object| object.fence));
        let of_write = |all: &mut Vec<u64>, seq: u64, write: &FencedWrite| {
            all.push(seq);
            all.extend(write.from.iter().flatten().map(|(fence, _)| *fence));
        };
        for patch in &self.patches {
            of_write(&mut all, patch.seq, &patch.write);
        }
        for driver in &self.drivers {
            match driver {
                Driver::Idle => {}
                Driver::Sent(seq, write) => of_write(&mut all, *seq, write),
                Driver::Holding(seq, hand) => of_hand(&mut all, *seq, hand),
                Driver::Decided(seq, hand, node) => {
                    of_hand(&mut all, *seq, hand);
                    all.extend_from_slice(&node.seqs);
                }
            }
        }
        all.extend_from_slice(&self.lost);
        all.push(0);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Everything that can make a difference to what happens outside of budgets and memories.
    pub(crate) fn hash_course<H: Hasher>(&self, hasher: &mut H) {
        let ranks = self.ranks();
        let rank = |seq: u64| ranks.binary_search(&seq).unwrap_or(usize::MAX);
        let now = self.node.now;
        let Self { node, objects, patches, drivers, outside, messages, awake, lost, left: _, seen: _ } = self;
        let hash_node = |node: &Node, hasher: &mut H| {
            hasher.write_u64(node.skeleton);
            node.seqs.iter().for_each(|seq| hasher.write_usize(rank(*seq)));
        };
        let hash_object = |Object { value, fence, ready, by_hand, pruned }: &Object, hasher: &mut H| {
            (value, rank(*fence), ready, by_hand, pruned).hash(hasher);
        };
        let hash_write = |seq: u64, write: &FencedWrite, hasher: &mut H| {
            let FencedWrite { release, object, from, to, purpose } = write;
            (rank(seq), release, object, to, purpose, from.len()).hash(hasher);
            for found in from {
                found.map(|(fence, held)| (rank(fence), held)).hash(hasher);
            }
        };
        let moment = |at: &Timestamp| at.0.wrapping_sub(now.0);
        let hash_hand = |seq: u64, hand: &Hand, hasher: &mut H| {
            (rank(seq), std::mem::discriminant(hand)).hash(hasher);
            match hand {
                Hand::Written(object) => hasher.write_u8(*object),
                Hand::Drift(object) | Hand::Seen(object) => hash_object(object, hasher),
                Hand::BackedUp | Hand::Passed => {}
                Hand::Facts(read) | Hand::Observed(read) => {
                    let Snapshot { objects, scans, alarm } = &**read;
                    for object in objects {
                        hash_object(object, hasher);
                    }
                    (scans, alarm.as_ref().map(moment)).hash(hasher);
                }
                Hand::Measured(from, to, alarm) => {
                    (moment(from), moment(to), alarm.as_ref().map(moment)).hash(hasher);
                }
            }
        };
        hash_node(node, hasher);
        for object in objects {
            hash_object(object, hasher);
        }
        hasher.write_usize(patches.len());
        // Whether its sender lives makes no difference to a patch.
        for Patch { seq, write, orphan: _ } in patches {
            hash_write(*seq, write, hasher);
        }
        for driver in drivers {
            std::mem::discriminant(driver).hash(hasher);
            match driver {
                Driver::Idle => {}
                Driver::Sent(seq, write) => hash_write(*seq, write, hasher),
                Driver::Holding(seq, hand) => hash_hand(*seq, hand, hasher),
                Driver::Decided(seq, hand, node) => {
                    hash_hand(*seq, hand, hasher);
                    hash_node(node, hasher);
                }
            }
        }
        let Outside { pushed, scans, alarm, stopped, stored } = outside;
        (pushed, scans, alarm.as_ref().map(moment), stopped, stored).hash(hasher);
        (messages, awake).hash(hasher);
        for seq in lost {
            hasher.write_usize(rank(*seq));
        }
    }
}

fn of_hand(all: &mut Vec<u64>, seq: u64, hand: &Hand) {
    all.push(seq);
    match hand {
        Hand::Drift(object) | Hand::Seen(object) => all.push(object.fence),
        Hand::Facts(read) | Hand::Observed(read) => all.extend(read.objects.iter().map(|object| object.fence)),
        Hand::Written(_) | Hand::BackedUp | Hand::Passed | Hand::Measured(..) => {}
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash_course(hasher);
        self.left.hash(hasher);
        let Seen { bad, releases } = &self.seen;
        bad.hash(hasher);
        for OfRelease { commit, plan, older, older_yes, yes, read, began, may_serve, back, rolled_back } in releases {
            (commit, plan, older, older_yes, yes, read, began, may_serve, rolled_back).hash(hasher);
            // Of where a way back began only is asked which fences are older than it.
            (*back > 0).hash(hasher);
            self.objects.iter().for_each(|object| (object.fence >= *back).hash(hasher));
            self.patches.iter().for_each(|patch| (patch.seq >= *back).hash(hasher));
            self.node.seqs.iter().for_each(|seq| (seq >= back).hash(hasher));
        }
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let number = |state: &Self| {
            let mut hasher = crate::canon::hasher();
            state.hash(&mut hasher);
            hasher.finish()
        };
        number(self) == number(other)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases: Vec<_> = self.node.target.releases.values().map(|release| (release.id.0, release.phase)).collect();
        write!(f, "{phases:?} {:?}", self.objects)
    }
}
