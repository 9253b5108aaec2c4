//! To cancel, to undo, to go on: what a command does at each phase, and when it says nothing new.

use portcullis_domain::action::{Action, Purpose};
use portcullis_domain::event::{End, What};
use portcullis_domain::names::AlarmName;
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::stages::{
    FIRST, back_to, back_up_next, backing_up, deploying, gated, live, names, refused, rolling_back, stands_at,
    verifying, watching, why,
};
use crate::world::*;

/// A command that is made of the world it is said in.
type InThere = fn(&World) -> Command;

fn switching() -> World {
    stands_at(policy(), |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Switch))
}

#[test]
fn commands_that_were_done_already_say_nothing_new() {
    let alarm = || AlarmName::new("app-5xx").unwrap();
    let until = |world: &World| Some(world.now + Millis::hours(1));
    let cases: Vec<(World, InThere)> = vec![
        (watching(), |_| Command::Pause { release: FIRST }),
        (gated(policy()), |_| Command::AcceptAlarm { release: FIRST, alarm: AlarmName::new("app-5xx").unwrap() }),
        (watching(), |world| Command::HandsOff { until: Some(world.now + Millis::hours(1)), reason: why("x") }),
    ];
    for (mut world, command) in cases {
        let command = command(&world);
        assert_eq!(world.command("kofi", command.clone()).len(), 1, "{command:?}");
        assert_eq!(world.command("kofi", command.clone()), vec![], "{command:?}");
    }
    let mut world = watching();
    assert_eq!(world.command("kofi", Command::Resume { release: FIRST }), vec![]);
    assert_eq!(world.command("kofi", Command::HandsOff { until: None, reason: why("x") }), vec![]);
    world.command("kofi", Command::AcceptAlarm { release: FIRST, alarm: alarm() });
    assert_eq!(world.release(FIRST).accepted_alarms, [alarm()].into());
    let command = Command::HandsOff { until: until(&world), reason: why("x") };
    world.command("kofi", command);
    assert_eq!(names(&world.command("kofi", Command::HandsOff { until: None, reason: why("x") })), ["hands_off"]);
    assert_eq!(world.refusals(), Vec::<String>::new());
}

#[test]
fn to_cancel_or_to_undo_what_is_on_its_way_back_is_no_news() {
    for command in
        [Command::Cancel { release: FIRST, reason: why("x") }, Command::RollBack { to: None, reason: why("x") }]
    {
        let mut world = rolling_back();
        assert_eq!(world.signal(&Signal::Person { who: who("kofi"), command: command.clone() }), vec![], "{command:?}");
    }
    // Also where it takes too long and a person was called: it is still being tried.
    let mut world = rolling_back();
    world.pass(Millis::minutes(11));
    assert_eq!(world.phase(FIRST), Some(Phase::NeedsHelp));
    assert_eq!(world.roll_back("kofi"), vec![]);
    assert_eq!(world.command("kofi", Command::Cancel { release: FIRST, reason: why("x") }), vec![]);
    assert_eq!(world.refusals(), Vec::<String>::new());
}

#[test]
fn hands_stay_off_until_a_moment_that_is_yet_to_come() {
    let off = |until: Timestamp| Command::HandsOff { until: Some(until), reason: why("surgery") };
    let over = "the moment until which hands stay off is over already";
    let world = || World::new(policy());
    let now = world().now;
    assert_eq!(refused(world(), off(now)), over);
    assert_eq!(refused(world(), off(now - Millis(1))), over);
    let mut world = world();
    assert_eq!(world.command("kofi", off(now + Millis(1))).len(), 2, "and the policy is noted");
    assert_eq!(world.target.hands_off, Some(now + Millis(1)));
    world.now = now + Millis(1);
    assert_eq!(names(&world.signal(&Signal::Wake)), ["hands_off"], "it is over at the moment itself");
    assert_eq!(world.target.hands_off, None);
}

#[test]
fn cancelling_ends_what_changed_nothing_and_undoes_what_did() {
    let cancel = Command::Cancel { release: FIRST, reason: why("not today") };
    let mut gathering = World::new(policy());
    gathering.build(2, "amara");
    gathering.push_one(2, "web");
    let mut gate = policy();
    gate.mode = Mode::Gate;
    let cleared = stands_at(gate, |_| false);
    assert_eq!(cleared.phase(FIRST), Some(Phase::Cleared));
    for (mut world, expected) in [
        (gathering, "not today"),
        (gated(policy()), "not today"),
        (cleared, "not today"),
        (backing_up(), "a person: not today"),
    ] {
        let phase = world.phase(FIRST);
        let events = world.signal(&Signal::Person { who: who("kofi"), command: cancel.clone() });
        let What::Settled { end: End::Cancelled, why, .. } = &events[0].what else { panic!("{phase:?}: {events:?}") };
        assert_eq!(why, expected, "{phase:?}");
    }
    for mut world in [deploying(), verifying(), switching(), watching()] {
        let phase = world.phase(FIRST);
        let events = world.signal(&Signal::Person { who: who("kofi"), command: cancel.clone() });
        let What::RollbackBegan { why, .. } = &events[0].what else { panic!("{phase:?}: {events:?}") };
        assert_eq!(why.to_string(), "a person: not today", "{phase:?}");
    }
}

#[test]
fn saying_go_again_while_traffic_moves_or_after_it_is_no_refusal() {
    for mut world in [switching(), live()] {
        assert_eq!(world.command("kofi", Command::Promote { release: FIRST }), vec![]);
    }
}

#[test]
fn rolling_back_to_what_serves_already_does_nothing_and_names_what_came_before() {
    let mut world = live();
    assert_eq!(world.command("kofi", back_to(1)), vec![], "it serves");
    world.pass(Millis::hours(2));
    let second = world.go_live(3);
    assert_eq!(world.command("kofi", back_to(second.0)), vec![]);
    world.command("kofi", back_to(1));
    assert!(world.rolled_back(second), "{:#?}", world.story(second));
    assert_eq!(world.command("kofi", back_to(1)), vec![]);
    assert_eq!(world.refusals(), Vec::<String>::new());
}

#[test]
fn only_right_after_a_rollback_asking_for_one_again_is_no_refusal() {
    let mut world = watching();
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST));
    assert_eq!(world.roll_back("kofi"), vec![]);
    world.build(3, "amara");
    let second = world.push(3);
    world.command("kofi", Command::Cancel { release: second, reason: why("no") });
    world.roll_back("kofi");
    assert_eq!(world.refusals().len(), 1, "what ended last was not rolled back");
}

#[test]
fn a_first_release_can_be_undone_until_it_serves() {
    let first = |parked: fn(&Action) -> bool| {
        let mut world = World::empty(policy());
        world.build(2, "amara");
        world.push(2);
        world.parked = parked;
        world.approve("kofi", FIRST);
        world
    };
    let mut world = first(|action| matches!(action, Action::RunTest { .. }));
    world.parked = |_| false;
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(
        refused(first(|_| false), Command::RollBack { to: None, reason: why("x") }),
        "nothing served before release 1: there is nothing to return to"
    );
}

#[test]
fn what_hurts_is_the_release_that_serves_and_not_one_that_is_only_backed_up() {
    let mut world = live();
    let second = back_up_next(&mut world, 3);
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(
        world.settled(second),
        Some((End::Cancelled, why("release 1, which it was to replace, is rolled back")))
    );
}

#[test]
fn the_old_colours_time_is_ended_once_and_the_epoch_raised_by_one() {
    let mut world = live();
    let events = world.command("kofi", Command::CloseWindow { reason: why("the fix") });
    assert_eq!(names(&events)[0], "old_colour_freed");
    assert_eq!(world.release(FIRST).keep_old_until, None);
    assert_eq!(world.command("kofi", Command::CloseWindow { reason: why("the fix") }), vec![]);
    world.command("kofi", Command::RaiseEpoch { reason: why("restored") });
    world.command("kofi", Command::RaiseEpoch { reason: why("restored") });
    assert_eq!(world.target.epoch, 2);
}

#[test]
fn a_veto_names_who_said_it_and_why() {
    let mut world = gated(policy());
    world.command("lena", Command::Reject { release: FIRST, reason: why("not on a Friday") });
    assert_eq!(world.settled(FIRST), Some((End::Rejected, why("vetoed by lena: not on a Friday"))));
    assert_eq!(refused(world, Command::Reject { release: FIRST, reason: why("no") }), "release 1 has ended");
}
