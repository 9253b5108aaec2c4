//! A step in the words of the world it happens in, one line each.

use crate::action::Act;
use crate::ledger::Task;
use crate::model::Model;
use crate::state::{ALARM, Driver, SCAN_IS_BAD, SCAN_IS_CLEAN, State, WAKE};

const PEOPLE: [&str; 3] = ["kofi", "lena", "amara, who wrote it,"];

/// One line for a step out of a state.
pub fn step(model: &Model, state: &State, act: Act) -> String {
    let object = |at: u8| model.cast.keys.get(usize::from(at)).map(ToString::to_string).unwrap_or_default();
    let due =
        |at: u8| state.node.due.get(usize::from(at)).map_or_else(String::new, |due| task(model, due.seq, &due.task));
    let driver = |at: u8| held(model, &state.drivers[usize::from(at)]);
    match act {
        Act::Push(commit) => format!("commit {commit} is pushed to the registry"),
        Act::Ring => "the alarm begins to ring".to_owned(),
        Act::ScanChanges => "news of the scan of commit 2".to_owned(),
        Act::Stop(true) => "a person stops everything".to_owned(),
        Act::Stop(false) => "the stop is lifted".to_owned(),
        Act::Deliver(kind) => format!("message {:?} comes", message(kind)),
        Act::Lose(kind) => format!("message {:?} is lost", message(kind)),
        Act::Double(kind) => format!("message {:?} is doubled", message(kind)),
        Act::SweepPush(commit, service) => format!("the sweep finds image {service} of commit {commit}"),
        Act::SweepWake => "the sweep wakes what is overdue".to_owned(),
        Act::Sleep => "nothing is due: the driver sleeps".to_owned(),
        Act::Wake => "the recorder looks, because time passed".to_owned(),
        Act::Read(at) => format!("a driver does {}, and records it", due(at)),
        Act::Take(at, which) => format!("driver {at} takes {}, and acts", due(which)),
        Act::Land(at) => {
            let patch = state.patches.get(usize::from(at));
            let whose = if patch.is_some_and(|patch| patch.orphan) { "late patch" } else { "patch" };
            let what =
                patch.map_or_else(String::new, |patch| task(model, patch.seq, &Task::Write(patch.write.clone())));
            format!("{whose} arrives: {what}")
        }
        Act::ReadBack(at) => format!("driver {at} reads back {}", driver(at)),
        Act::Record(at) => format!("driver {at} records {}", driver(at)),
        Act::Decide(at) => format!("driver {at} decides on {}, and has not appended yet", driver(at)),
        Act::Crash(at) => format!("driver {at} crashes at {}", driver(at)),
        Act::Pods(at) => format!("the pods of {} come up, or go", object(at)),
        Act::Approve(who, release, older) => {
            let plan = if older { "an older plan" } else { "the plan" };
            format!("{} approves {plan} of release {release}", PEOPLE[usize::from(who)])
        }
        Act::Person(ask, release) => format!("kofi says {ask:?} of release {release}"),
        Act::ByHand(drift, at) => format!("by hand: {drift:?} of {}", object(at)),
        Act::Tick => "time passes, until something is due".to_owned(),
    }
}

fn message(kind: u8) -> String {
    match usize::from(kind) {
        SCAN_IS_BAD => "a scan found something".to_owned(),
        SCAN_IS_CLEAN => "a scan found nothing".to_owned(),
        ALARM => "the alarm rings".to_owned(),
        WAKE => "wake".to_owned(),
        _ => format!("image {} of commit {} was pushed", kind % 2, kind / 2 + 2),
    }
}

fn held(model: &Model, driver: &Driver) -> String {
    match driver {
        Driver::Idle => "nothing".to_owned(),
        Driver::Sent(seq, write) => task(model, *seq, &Task::Write(write.clone())),
        Driver::Holding(seq, hand) | Driver::Decided(seq, hand, _) => {
            let text = format!("{hand:?}");
            let name = text.split(['(', ' ']).next().unwrap_or_default();
            format!("{name:?} for intention {seq}")
        }
    }
}

fn task(model: &Model, seq: u64, task: &Task) -> String {
    match task {
        Task::Write(write) => {
            let object = &model.cast.keys[usize::from(write.object)];
            format!("write {seq}: {object} to {:?} ({:?}, release {})", write.to, write.purpose, write.release)
        }
        Task::BackUp(release) => format!("backup {seq} of release {release}"),
        Task::Test => format!("test {seq}"),
        Task::Look(release) => format!("look {seq} at the facts of release {release}"),
        Task::Await(object) => format!("look {seq} at the pods of {}", model.cast.keys[usize::from(*object)]),
        Task::Measure(..) => format!("measurement {seq}"),
        Task::Observe => format!("reading {seq} of the objects"),
    }
}
