//! At most so many automatic rollbacks in an hour: then the line stops, and a person is asked. None is ever refused.

use portcullis_domain::event::What;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::Governor;
use portcullis_domain::scope::{FleetRollback, Scope, ScopeState};
use portcullis_domain::signal::Command;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::*;

/// A release that serves, and then fails its watch.
fn fails(world: &mut World, n: u8) -> ReleaseId {
    world.build(n, "amara");
    let id = world.push(n);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Watching), "{:#?}", world.story(id));
    world.windows.insert(service("web"), Some(failing_window(2_000)));
    world.pass(Millis::minutes(3));
    world.windows.clear();
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    id
}

fn world(rollbacks: u8) -> World {
    let mut policy = policy();
    policy.governor = Governor { rollbacks, within: Millis::hours(1), ..Governor::default() };
    World::new(policy)
}

#[test]
fn the_third_rollback_within_an_hour_stops_the_line_until_a_person_resumes_it() {
    let mut world = world(3);
    for n in 2..5 {
        assert_eq!(world.target.line_stopped, None);
        fails(&mut world, n);
    }
    assert_eq!(world.target.line_stopped.as_deref(), Some("3 automatic rollbacks within 1h"));
    world.build(5, "amara");
    let id = world.push(5);
    world.approve("kofi", id);
    world.pass(Millis::hours(3));
    assert_eq!(world.phase(id), Some(Phase::Gated), "time alone does not start the line again");
    assert_eq!(world.gate(id, "freeze"), "hold: the line is stopped: 3 automatic rollbacks within 1h");
    world.command("kofi", Command::ResumeLine { reason: "the node is replaced".into() });
    assert_eq!(world.target.line_stopped, None);
    world.pass(Millis::minutes(7));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}

#[test]
fn rollbacks_further_apart_do_not_stop_the_line() {
    let mut world = world(3);
    for n in 2..6 {
        fails(&mut world, n);
        world.pass(Millis::minutes(35));
    }
    assert_eq!(world.target.line_stopped, None);
}

#[test]
fn a_persons_rollbacks_and_releases_that_never_served_are_not_counted() {
    let mut world = world(1);
    world.go_live(2);
    world.roll_back("kofi");
    assert_eq!(world.happened(|what| matches!(what, What::RolledBack { .. })), 1);
    assert_eq!(world.target.line_stopped, None);
    world.failing_test = true;
    world.build(3, "amara");
    let id = world.push(3);
    world.approve("kofi", id);
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    assert_eq!(world.target.line_stopped, None);
}

#[test]
fn a_stopped_line_refuses_no_rollback() {
    let mut world = world(1);
    let id = world.go_live(2);
    world.windows.insert(service("web"), Some(failing_window(2_000)));
    let first = fails_in_window(&mut world, id);
    assert!(first, "{:#?}", world.story(id));
    assert!(world.target.line_stopped.is_some());
}

/// A live release is undone by hand while the line is stopped.
fn fails_in_window(world: &mut World, id: ReleaseId) -> bool {
    let stopped = What::LineStopped { why: "by hand".into() };
    let event = portcullis_domain::event::Event {
        seq: portcullis_domain::names::Seq(world.target.seq.0 + 1),
        at: world.now,
        actor: portcullis_domain::event::Actor::Portcullis,
        what: stopped,
    };
    portcullis_domain::apply(&mut world.target, &event);
    world.events.push(event);
    world.roll_back("kofi");
    world.rolled_back(id)
}

#[test]
fn resuming_a_line_that_runs_is_refused_with_words() {
    let mut world = world(3);
    world.command("kofi", Command::ResumeLine { reason: "why not".into() });
    assert_eq!(world.refusals(), ["the line of shop/production is not stopped by rollbacks"]);
}

#[test]
fn many_environments_that_roll_back_at_once_hold_every_release_until_it_is_quiet() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let at = world.now;
    let rollback = |n: u64, app: &str| FleetRollback {
        target: format!("{app}/production").parse().unwrap(),
        release: ReleaseId(n),
        at,
    };
    let mut rollbacks: Vec<FleetRollback> = (0..4).map(|n| rollback(n, &format!("app{n}"))).collect();
    rollbacks.push(rollback(9, "app0"));
    assert_eq!(world.scopes[0].0, Scope::All);
    world.scopes[0].1 = ScopeState { version: 5, rollbacks: rollbacks.clone(), ..ScopeState::default() };
    let id = world.push(2);
    assert_eq!(world.gate(id, "freeze"), "pass: none", "four environments are not five");
    rollbacks.push(rollback(8, "app5"));
    world.scopes[0].1 = ScopeState { version: 6, rollbacks, ..ScopeState::default() };
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    let why = "hold: 5 environments rolled back by themselves within 10m: probably infrastructure, not code";
    assert_eq!(world.gate(id, "freeze"), why);
    world.pass(Millis::minutes(18));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}
