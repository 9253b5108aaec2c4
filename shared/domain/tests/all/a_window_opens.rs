//! At a window's opening the newest candidate goes, and only it. A rollback looks at no window.

use portcullis_domain::calendar::Window;
use portcullis_domain::event::End;
use portcullis_domain::policy::Waiting;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::*;

/// 2027-01-15, when the world begins, is a Friday at 08:00 UTC; the freeze is over on Saturday.
fn frozen(waiting: Waiting) -> World {
    let mut policy = policy();
    policy.waiting = waiting;
    policy.gates.calendar.freeze.push(Window::once("launch", "2027-01-15", "2027-01-16", "UTC").unwrap());
    World::new(policy)
}

#[test]
fn a_freeze_holds_a_release_until_it_is_over() {
    let mut world = frozen(Waiting::Newest);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert!(
        world.gate(id, "freeze").starts_with("hold: frozen: launch, until 2027-01-16"),
        "{}",
        world.gate(id, "freeze")
    );
    world.pass(Millis::hours(17));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}

#[test]
fn of_all_that_waited_for_it_only_the_newest_goes() {
    let mut world = frozen(Waiting::Queue);
    let ids: Vec<_> = (2..5)
        .map(|n| {
            world.build(n, "amara");
            let id = world.push(n);
            world.approve("kofi", id);
            id
        })
        .collect();
    world.pass(Millis::hours(17));
    assert_eq!(world.end_of(ids[0]), Some(End::Superseded), "{:#?}", world.story(ids[0]));
    assert_eq!(world.end_of(ids[1]), Some(End::Superseded));
    assert_eq!(world.phase(ids[2]), Some(Phase::Live), "{:#?}", world.story(ids[2]));
}

#[test]
fn one_that_nobody_approved_takes_the_place_of_none() {
    let mut world = frozen(Waiting::Queue);
    world.build(2, "amara");
    let approved = world.push(2);
    world.approve("kofi", approved);
    world.build(3, "amara");
    let open = world.push(3);
    world.pass(Millis::hours(17));
    assert_eq!(world.phase(approved), Some(Phase::Live), "{:#?}", world.story(approved));
    assert_eq!(world.phase(open), Some(Phase::Gated));
}

#[test]
fn a_rollback_looks_at_no_window() {
    let mut policy = policy();
    policy.gates.calendar.freeze.push(Window::once("launch", "2027-01-15T09:00", "2027-01-16", "UTC").unwrap());
    let mut world = World::new(policy);
    let id = world.go_live(2);
    world.pass(Millis::hours(2));
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
}
