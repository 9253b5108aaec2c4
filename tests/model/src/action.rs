//! What can happen in one step.

use std::fmt;

use crate::signal::Ask;
use crate::state::{ALARM, SCAN_IS_BAD, SCAN_IS_CLEAN, WAKE};
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

const OBJECTS: [&str; 6] =
    ["web-blue", "web-green", "web traffic", "second-blue", "second-green", "second traffic"];
const PEOPLE: [&str; 3] = ["kofi", "lena", "amara (the author)"];

fn message(kind: u8) -> String {
    match usize::from(kind) {
        SCAN_IS_BAD => "a scan found something".to_owned(),
        SCAN_IS_CLEAN => "a scan found nothing".to_owned(),
        ALARM => "the alarm rings".to_owned(),
        WAKE => "wake".to_owned(),
        push => format!("push {}, image {}", push / 2 + 1, push % 2 + 1),
    }
}

/// One line, as a person tells it.
impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Push(commit) => write!(f, "commit {commit} is pushed to the registry"),
            Act::Ring => write!(f, "the alarm begins to ring"),
            Act::ScanChanges => write!(f, "the scan of commit 2 comes to something else"),
            Act::Stop(true) => write!(f, "a person stops everything"),
            Act::Stop(false) => write!(f, "the stop is lifted"),
            Act::Deliver(kind) => write!(f, "the message \"{}\" is recorded", message(*kind)),
            Act::Lose(kind) => write!(f, "the message \"{}\" is lost", message(*kind)),
            Act::Double(kind) => write!(f, "the message \"{}\" is doubled", message(*kind)),
            Act::SweepPush(commit, service) => {
                write!(f, "the sweep finds image {} of commit {commit}", service + 1)
            }
            Act::SweepWake => write!(f, "the sweep wakes what is overdue"),
            Act::Wake => write!(f, "the recorder looks because time passed"),
            Act::Sleep => write!(f, "nothing is due: the driver sleeps"),
            Act::Read(at) => write!(f, "a driver reads for intention {at} of those due, and records it"),
            Act::Take(driver, at) => write!(f, "driver {driver} takes intention {at} of those due, and acts"),
            Act::Land(at) => write!(f, "patch {at} of those in flight arrives"),
            Act::ReadBack(driver) => write!(f, "driver {driver} reads back what it wrote"),
            Act::Record(driver) => write!(f, "driver {driver} records its outcome"),
            Act::Decide(driver) => write!(f, "driver {driver} decides on its outcome, and has not appended yet"),
            Act::Crash(driver) => write!(f, "driver {driver} crashes"),
            Act::Pods(object) => write!(f, "the pods of {} come to what is asked for", OBJECTS[usize::from(*object)]),
            Act::Approve(who, release, older) => {
                let plan = if *older { "an older plan" } else { "the plan" };
                write!(f, "{} approves {plan} of release {release}", PEOPLE[usize::from(*who)])
            }
            Act::Person(ask, release) => write!(f, "kofi says {ask:?} of release {release}"),
            Act::ByHand(drift, object) => write!(f, "{drift:?} of {} by hand", OBJECTS[usize::from(*object)]),
            Act::Tick => write!(f, "time passes until something is due"),
        }
    }
}
