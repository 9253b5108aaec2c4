//! Release 1 at each stage, and what is asked of it there.

use portcullis_domain::action::{Action, Outcome, Purpose};
use portcullis_domain::event::{Actor, Event, What};
use portcullis_domain::facts::Facts;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::{Millis, Timestamp};

use super::*;

pub const FIRST: ReleaseId = ReleaseId(1);

/// The names of events.
pub fn names(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| serde_json::to_value(&event.what).unwrap()["event"].as_str().unwrap().to_owned())
        .collect()
}

pub fn why(text: &str) -> String {
    text.to_owned()
}

/// Release 1 waits for its approval.
pub fn gated(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.build(2, "amara");
    assert_eq!(world.push(2), FIRST);
    assert_eq!(world.phase(FIRST), Some(Phase::Gated), "{:#?}", world.story(FIRST));
    world
}

/// Release 1 is approved, and stands where this action is not performed.
pub fn stands_at(policy: Policy, parked: fn(&Action) -> bool) -> World {
    let mut world = gated(policy);
    world.parked = parked;
    world.approve("kofi", FIRST);
    world
}

pub fn watching() -> World {
    let world = stands_at(policy(), |_| false);
    assert_eq!(world.phase(FIRST), Some(Phase::Watching));
    world
}

pub fn live() -> World {
    let mut world = World::new(policy());
    world.go_live(2);
    world
}

/// The next release is approved, and stands at its backup.
pub fn back_up_next(world: &mut World, n: u8) -> ReleaseId {
    world.pass(Millis::hours(2));
    world.build(n, "amara");
    let next = world.push(n);
    world.parked = |action| matches!(action, Action::BackUp { .. });
    world.approve("kofi", next);
    assert_eq!(world.phase(next), Some(Phase::BackingUp));
    next
}

/// Release 1 was approved when its facts were five minutes old, and nothing is performed.
pub fn approved_on_old_facts() -> World {
    let mut world = gated(policy());
    world.parked = |_| true;
    world.now = world.now + Millis::minutes(5);
    world.approve("kofi", FIRST);
    assert_eq!(world.phase(FIRST), Some(Phase::Gated));
    world
}

pub fn backing_up() -> World {
    stands_at(policy(), |action| matches!(action, Action::BackUp { .. }))
}

pub fn deploying() -> World {
    stands_at(policy(), |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Deploy))
}

pub fn verifying() -> World {
    stands_at(policy(), |action| matches!(action, Action::RunTest { .. }))
}

pub fn rolling_back() -> World {
    let mut world = watching();
    world.parked = |action| matches!(action, Action::AwaitReady(_));
    world.roll_back("kofi");
    assert_eq!(world.phase(FIRST), Some(Phase::RollingBack));
    world
}

pub fn back_to(release: u64) -> Command {
    Command::RollBack { to: Some(ReleaseId(release)), reason: why("it hurts") }
}

/// The one refusal of this command, given by kofi.
pub fn refused(mut world: World, command: Command) -> String {
    let said = world.refusals().len();
    let events = world.signal(&Signal::Person { who: who("kofi"), command });
    assert_eq!(world.refusals().len(), said + 1, "{events:?}");
    assert_eq!(events[0].actor, Actor::Person(who("kofi")));
    world.refusals().pop().unwrap()
}

/// What the moment brings, and the moment one millisecond before must not.
pub fn at(world: &mut World, moment: Timestamp) -> Vec<Event> {
    world.now = moment - Millis(1);
    assert_eq!(world.signal(&Signal::Wake), vec![], "one millisecond early");
    world.now = moment;
    world.signal(&Signal::Wake)
}

/// Why the release began its way back.
pub fn undone(world: &World) -> Option<String> {
    world.events.iter().find_map(|event| match &event.what {
        What::RollbackBegan { why, .. } => Some(why.to_string()),
        _ => None,
    })
}

/// The intention that this is the outcome of.
pub fn intention(world: &World, which: fn(&Action) -> bool) -> Seq {
    let mut found = world.target.outstanding.iter().filter(|(_, o)| which(&o.intention.action));
    *found.next_back().expect("it is intended").0
}

pub fn outcome(world: &mut World, intention: Seq, outcome: Outcome) -> Vec<Event> {
    world.signal(&Signal::Outcome { intention, outcome })
}

/// The facts that a look of this release would bring now.
pub fn look(world: &mut World) -> (Seq, Box<Facts>) {
    let seq = intention(world, |action| matches!(action, Action::Look(_)));
    let action = world.target.outstanding[&seq].intention.action.clone();
    let Some(Outcome::Facts(facts)) = world.perform(seq, &action) else { unreachable!() };
    (seq, facts)
}
