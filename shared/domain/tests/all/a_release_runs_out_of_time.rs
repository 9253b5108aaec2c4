//! Deadlines: what each moment brings, and the moment one millisecond before must not.

use portcullis_domain::action::{Action, ObjectKey, Purpose, Value};
use portcullis_domain::event::{End, What};
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::stages::{FIRST, at, gated, live, names, stands_at, undone, verifying, why};
use crate::world::*;

#[test]
fn a_release_that_waits_too_long_expires_at_its_moment_with_what_was_missing() {
    let mut gathering = World::new(policy());
    gathering.parked = |_| true;
    gathering.build(2, "amara");
    gathering.push_one(2, "web");
    let mut gate = policy();
    gate.mode = Mode::Gate;
    let mut unread = World::new(policy());
    unread.parked = |_| true;
    unread.build(2, "amara");
    unread.push(2);
    let calm = |mut policy: Policy| {
        policy.gates.remind = Millis::days(9);
        policy
    };
    unread.policy = SealedPolicy::new(calm(policy()));
    let day = Millis::hours(24);
    for (mut world, after, expected) in [
        (gathering, Millis::hours(2), "no image came in time for api, jobs"),
        (stands_at(gate, |_| false), day, "its gates held, and nobody deployed it in time"),
        (gated(calm(policy())), day, "approval did not clear in time: 0 of 1 from release-managers"),
    ] {
        world.parked = |_| true;
        let moment = world.now + after;
        let events = at(&mut world, moment);
        assert_eq!(names(&events), ["settled"]);
        assert_eq!(world.settled(FIRST), Some((End::Expired, expected.to_owned())));
    }
    unread.now = unread.now + day;
    unread.signal(&Signal::Wake);
    assert_eq!(unread.settled(FIRST), Some((End::Expired, why("its gates were not judged in time"))));
}

#[test]
fn a_release_that_waits_is_brought_to_mind_each_time_so_much_later() {
    let mut world = gated(policy());
    world.parked = |_| true;
    let first = world.now + Millis::hours(4);
    for moment in [first, first + Millis::hours(4), first + Millis::hours(8)] {
        assert_eq!(names(&at(&mut world, moment)), ["reminded"]);
        assert_eq!(world.release(FIRST).remind_at, Some(moment + Millis::hours(4)));
    }
}

#[test]
fn a_call_for_a_person_gets_louder_each_time_nobody_answers() {
    let mut manual = policy();
    manual.strategy = Strategy::BlueGreen { steps: vec![10_000], every: Millis(0), manual: true };
    manual.limits.escalate = Millis::minutes(20);
    let mut world = stands_at(manual, |_| false);
    let asked = world.release(FIRST).asking.clone().unwrap();
    assert_eq!((asked.level, asked.until), (1, world.now + Millis::minutes(20)));
    assert_eq!(asked.why, "green is up and tested; traffic moves when a person says so");
    for level in 2..5 {
        let moment = world.release(FIRST).asking.as_ref().unwrap().until;
        assert_eq!(names(&at(&mut world, moment)), ["escalated"]);
        let asking = world.release(FIRST).asking.clone().unwrap();
        assert_eq!((asking.level, asking.until), (level, moment + Millis::minutes(20)));
        assert_eq!(asking.why, asked.why);
    }
}

#[test]
fn a_call_for_help_gets_louder_after_the_policys_time_too() {
    let mut quick = policy();
    quick.limits.escalate = Millis::minutes(7);
    let mut world = stands_at(quick, |_| false);
    world.parked = |action| matches!(action, Action::AwaitReady(_));
    world.roll_back("kofi");
    world.pass(Millis::minutes(10));
    assert_eq!(world.phase(FIRST), Some(Phase::NeedsHelp));
    let asking = world.release(FIRST).asking.clone().unwrap();
    assert_eq!((asking.level, asking.until), (1, world.now + Millis::minutes(7)));
    let said = " did not become ready in time on the way back; it is still being tried";
    assert!(asking.why.starts_with("Deployment/") && asking.why.ends_with(said), "{}", asking.why);
}

#[test]
fn what_is_late_ends_or_undoes_a_release_at_its_deadline_with_the_reason() {
    let (backup, ready, write) = (Millis::minutes(10), Millis::minutes(10), Millis::minutes(2));
    let mut quick = policy();
    quick.limits =
        Limits { backup: Millis::minutes(3), ready: Millis::minutes(4), write: Millis::minutes(5), ..quick.limits };
    let stands = |policy: &Policy, parked: fn(&Action) -> bool| stands_at(policy.clone(), parked);
    for (policy, limits) in
        [(policy(), (backup, ready, write)), (quick, (Millis::minutes(3), Millis::minutes(4), Millis::minutes(5)))]
    {
        let (backup, ready, write) = limits;
        for (mut world, after, expected) in [
            (stands(&policy, |a| matches!(a, Action::BackUp { .. })), backup, "the backup took too long"),
            (
                stands(&policy, |a| matches!(a, Action::Write(w) if w.purpose == Purpose::Deploy)),
                write,
                "Deployment/web-green could not be written in time",
            ),
            (
                stands(&policy, |a| matches!(a, Action::AwaitReady(_))),
                ready,
                "Deployment/web-green did not become ready in time",
            ),
            (
                stands(&policy, |a| matches!(a, Action::RunTest { .. })),
                Millis::minutes(1),
                "test smoke took longer than 1m",
            ),
        ] {
            world.parked = |_| true;
            let moment = world.now + after;
            at(&mut world, moment);
            let said = world.events.iter().find_map(|event| match &event.what {
                What::RollbackBegan { why, .. } => Some(why.to_string()),
                What::Settled { end: End::Failed, why, .. } => Some(why.clone()),
                _ => None,
            });
            assert_eq!(said.as_deref(), Some(expected));
        }
    }
}

#[test]
fn a_failing_test_undoes_it_with_its_name_and_what_it_saw() {
    let mut world = verifying();
    world.failing_test = true;
    world.parked = |_| false;
    world.settle();
    let said = world.events.iter().find_map(|event| match &event.what {
        What::RollbackBegan { why, .. } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(said.as_deref(), Some("test smoke failed: GET /health: 500"));
}

#[test]
fn old_pods_that_take_their_time_to_go_do_not_hurt_the_release_that_is_live() {
    let mut world = live();
    world.parked = |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Drain);
    world.pass(Millis::hours(2));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
    assert_eq!(world.happened(|what| matches!(what, What::NeedsHelp { .. } | What::RollbackBegan { .. })), 0);
}

#[test]
fn a_window_closes_only_once_the_old_pods_are_let_go() {
    let mut world = live();
    let until = world.release(FIRST).until.unwrap();
    let is_drain = |action: &Action| matches!(action, Action::Write(write) if write.purpose == Purpose::Drain);
    world.parked = is_drain;
    world.now = until + Millis::hours(1);
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
    assert!(world.target.outstanding.values().any(|outstanding| is_drain(&outstanding.intention.action)));
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), None, "{:#?}", world.story(FIRST));
    for name in ["web", "api"] {
        let old = ObjectKey::workload(&service(name), Colour::Blue);
        let stamp = world.cluster[&old].stamp.as_ref().unwrap();
        assert!(matches!(stamp.value, Value::Workload { replicas: 0, .. }), "{name}: {stamp:?}");
    }
    let ends = world.events.iter().filter_map(|event| match &event.what {
        What::OldReleased { .. } => Some("let go"),
        What::WindowClosed { .. } => Some("closed"),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), ["let go", "closed"]);
}

#[test]
fn old_pods_that_stay_longer_than_the_window_are_asked_about_and_left_when_a_person_says_so() {
    let mut world = live();
    let web = ObjectKey::traffic(&service("web"));
    world.cluster.get_mut(&web).unwrap().stamp.as_mut().unwrap().value = Value::Traffic { green: 6_667 };
    let until = world.release(FIRST).until.unwrap();
    world.now = until;
    world.settle();
    assert!(world.release(FIRST).asking.is_none(), "they have a moment to go");
    world.pass(Millis::minutes(10));
    let asking = world.release(FIRST).asking.clone().unwrap();
    assert_eq!(
        asking.why,
        "its window is over, and its old pods could not be let go. Close the window to leave them, or roll it back"
    );
    let refused = world.command("kofi", Command::Promote { release: FIRST });
    assert!(matches!(&refused[0].what, What::Refused { why, .. } if why.contains("close the window")), "{refused:?}");
    let before = world.cluster.clone();
    world.command("kofi", Command::CloseWindow { reason: why("the third stays where it is") });
    assert_eq!(world.phase(FIRST), None, "{:#?}", world.story(FIRST));
    world.pass(Millis::minutes(10));
    assert_eq!(world.cluster, before);
}

#[test]
fn gates_that_do_not_hold_again_before_traffic_moves_undo_it_in_the_end() {
    let mut slow = policy();
    slow.verify[0].within = Millis::minutes(10);
    let mut world = stands_at(slow, |action| matches!(action, Action::RunTest { .. }));
    let api = ObjectKey::traffic(&service("api"));
    world.cluster.get_mut(&api).unwrap().foreign = Some("somebody/else".into());
    world.now = world.now + Millis::minutes(2);
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Verifying), "{:#?}", world.story(FIRST));
    world.parked = |_| true;
    let until = world.release(FIRST).until.unwrap();
    at(&mut world, until);
    assert_eq!(undone(&world).as_deref(), Some("its gates no longer held, and did not clear in time"));
}
