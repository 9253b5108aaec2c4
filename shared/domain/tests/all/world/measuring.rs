//! Windows that a test measures, of release 1.

use portcullis_domain::action::{Action, Outcome, Window};
use portcullis_domain::event::Event;
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::AlarmName;
use portcullis_domain::policy::*;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use super::stages::{FIRST, intention, outcome, stands_at};
use super::*;

/// A window of all services from and to so many milliseconds after what was measured last.
pub fn measured(world: &mut World, from: u64, to: u64, windows: &[(&str, Window)]) -> Vec<Event> {
    measured_with(world, from, to, windows, &[])
}

pub fn measured_with(
    world: &mut World,
    from: u64,
    to: u64,
    windows: &[(&str, Window)],
    alarms: &[(&str, AlarmFact)],
) -> Vec<Event> {
    let base = world.release(FIRST).watch.as_ref().unwrap().measured_to;
    let measured = Outcome::Measured {
        from: base + Millis(from),
        to: base + Millis(to),
        services: windows.iter().map(|(name, window)| (service(name), window.clone())).collect(),
        alarms: alarms.iter().map(|(name, fact)| (AlarmName::new(name).unwrap(), *fact)).collect(),
    };
    let seq = intention(world, |action| matches!(action, Action::Measure(_)));
    outcome(world, seq, measured)
}

pub const MINUTE: u64 = 60_000;

/// Release 1 is watched, and only what the test says is measured.
pub fn watched(policy: Policy) -> World {
    let mut world = stands_at(policy, |_| false);
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
    world.parked = |_| true;
    world.now = world.now + Millis::hours(1);
    world
}

pub fn both(window: &Window) -> Vec<(&'static str, Window)> {
    vec![("web", window.clone()), ("api", window.clone())]
}
