//! A release that takes its traffic in steps: each is watched, and each can be left again.

use portcullis_domain::action::{Action, ObjectKey, Outcome, Purpose, Value, Write};
use portcullis_domain::event::What;
use portcullis_domain::policy::*;
use portcullis_domain::scope::{ScopeState, Stop};
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::measuring::both;
use crate::world::stages::{FIRST, refused, stands_at, undone, why};
use crate::world::writing::steps;
use crate::world::*;

/// A quarter, a half, all; two minutes at each.
fn stepped() -> Policy {
    let steps = vec![2_500, 5_000, 10_000];
    Policy { strategy: Strategy::BlueGreen { steps, every: Millis::minutes(2), manual: false }, ..policy() }
}

/// Release 1 is approved, and is watched at its first step.
fn at_the_first_step() -> World {
    let world = stands_at(stepped(), |_| false);
    assert_eq!(
        (world.phase(FIRST), shares(&world)),
        (Some(Phase::Watching), (2_500, 2_500)),
        "{:#?}",
        world.story(FIRST)
    );
    world
}

fn share(world: &World, name: &str) -> u16 {
    match world.cluster[&ObjectKey::traffic(&service(name))].stamp.as_ref().unwrap().value {
        Value::Traffic { green } => green,
        Value::Workload { .. } => unreachable!(),
    }
}

/// What green has of web and of api.
fn shares(world: &World) -> (u16, u16) {
    (share(world, "web"), share(world, "api"))
}

fn is_switch_to(action: &Action, share: u16) -> bool {
    let to = Value::Traffic { green: share };
    matches!(action, Action::Write(write) if write.purpose == Purpose::Switch && write.to == to)
}

fn is_back(world: &World) {
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(shares(world), (0, 0));
    assert_eq!(world.runs("jobs"), [image(1, "jobs")].into());
    let green = ObjectKey::workload(&service("web"), Colour::Green);
    let at_rest = Value::Workload { digest: image(2, "web"), replicas: 0 };
    assert_eq!(world.cluster[&green].stamp.as_ref().unwrap().value, at_rest);
}

#[test]
fn each_step_is_watched_before_the_next_and_workers_come_last() {
    let mut world = at_the_first_step();
    let old = [image(1, "jobs")].into();
    world.pass(Millis::minutes(1));
    assert_eq!(shares(&world), (2_500, 2_500), "one minute is not yet two");
    world.pass(Millis::minutes(1));
    assert_eq!((shares(&world), world.runs("jobs")), ((5_000, 5_000), old));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching));
    world.pass(Millis::minutes(1));
    assert_eq!(shares(&world), (5_000, 5_000), "what was measured at the step before does not count");
    world.pass(Millis::minutes(1));
    assert_eq!((shares(&world), world.runs("jobs")), ((10_000, 10_000), [image(2, "jobs")].into()));
    world.pass(Millis::minutes(4));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "after the last one the whole watch");
    world.pass(Millis::minutes(1));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
    // Four windows of steps and five of the watch, of two services each.
    let watch = world.release(FIRST).watch.clone().unwrap();
    assert_eq!((watch.requests, watch.healthy), (9 * 12_000, Millis::minutes(5)));
}

#[test]
fn before_each_step_readiness_is_asked_for_again_and_nothing_is_claimed_twice() {
    let mut world = at_the_first_step();
    world.pass(Millis::minutes(9));
    assert_eq!(world.phase(FIRST), Some(Phase::Live));
    let told = steps(&world, 0, "web");
    let ready = "await Deployment/web-green with 3 pods";
    let from_the_claim = told.iter().position(|text| text == "claim Deployment/web-green to 3 pods").unwrap();
    assert_eq!(
        told[from_the_claim..],
        [
            "claim Deployment/web-green to 3 pods",
            ready,
            "switch Service/web to 2500 green",
            ready,
            "switch Service/web to 5000 green",
            ready,
            "switch Service/web to 10000 green",
        ]
    );
}

#[test]
fn the_phases_are_told_by_step_and_wave() {
    let mut world = at_the_first_step();
    world.pass(Millis::minutes(4));
    let entered: Vec<Phase> = world
        .events
        .iter()
        .filter_map(|event| match event.what {
            What::Entered { phase: phase @ (Phase::Switching { .. } | Phase::Watching), .. } => Some(phase),
            _ => None,
        })
        .collect();
    let switching = |step, wave| Phase::Switching { step, wave };
    assert_eq!(
        entered,
        [
            switching(0, 0),
            switching(0, 1),
            Phase::Watching,
            switching(1, 0),
            switching(1, 1),
            Phase::Watching,
            switching(2, 0),
            switching(2, 1),
            switching(2, 2),
            Phase::Watching,
        ]
    );
}

#[test]
fn from_blue_to_green_and_on_to_blue_shares_are_of_the_new_colour() {
    let mut world = at_the_first_step();
    world.pass(Millis::hours(2));
    world.build(3, "amara");
    let second = world.push(3);
    world.approve("kofi", second);
    assert_eq!(
        (world.phase(second), shares(&world)),
        (Some(Phase::Watching), (7_500, 7_500)),
        "{:#?}",
        world.story(second)
    );
    world.pass(Millis::minutes(2));
    assert_eq!(shares(&world), (5_000, 5_000));
    world.pass(Millis::minutes(7));
    assert_eq!((world.phase(second), shares(&world)), (Some(Phase::Live), (0, 0)));
    assert_eq!(world.serves("web"), Some(image(3, "web")));
}

#[test]
fn a_breach_at_any_step_takes_all_traffic_back() {
    for step in 0..3 {
        let mut world = at_the_first_step();
        world.pass(Millis::minutes(2 * step));
        let at = shares(&world);
        assert_eq!(at, [(2_500, 2_500), (5_000, 5_000), (10_000, 10_000)][usize::try_from(step).unwrap()]);
        world.windows.insert(service("web"), Some(failing_window(680)));
        world.pass(Millis::minutes(1));
        assert_eq!(shares(&world), at, "one point is not yet a breach, and no reason to go on");
        world.pass(Millis::minutes(1));
        is_back(&world);
        assert_eq!(undone(&world), Some(why("web error_rate 6.8%, must stay below 1%")));
    }
}

#[test]
fn a_window_that_breaches_does_not_count_for_its_step() {
    let mut world = at_the_first_step();
    for bad in [false, true, false] {
        assert_eq!(shares(&world), (2_500, 2_500));
        world.windows.insert(service("api"), Some(if bad { failing_window(680) } else { healthy_window() }));
        world.pass(Millis::minutes(1));
    }
    assert_eq!(shares(&world), (5_000, 5_000), "two healthy minutes, and one between that was not");
}

#[test]
fn a_person_takes_it_back_while_one_service_has_moved_on_and_the_other_has_not() {
    let mut world = at_the_first_step();
    world.parked =
        |action| matches!(action, Action::Write(write) if write.object == ObjectKey::traffic(&service("api")));
    world.pass(Millis::minutes(2));
    assert_eq!(shares(&world), (5_000, 2_500));
    let (seq, late) = world.under_way();
    world.parked = |_| false;
    world.roll_back("kofi");
    is_back(&world);
    assert!(matches!(world.write(seq, &late), Outcome::Drift(_)), "the step that was under way comes too late");
    assert_eq!(shares(&world), (0, 0));
}

#[test]
fn while_a_person_pauses_no_step_is_taken_and_a_breach_is_still_undone() {
    let mut world = at_the_first_step();
    world.command("kofi", Command::Pause { release: FIRST });
    world.pass(Millis::minutes(30));
    assert_eq!((world.phase(FIRST), shares(&world)), (Some(Phase::Watching), (2_500, 2_500)));
    world.command("kofi", Command::Resume { release: FIRST });
    assert_eq!(shares(&world), (2_500, 2_500), "what was healthy long ago says nothing of now");
    world.pass(Millis::minutes(1));
    assert_eq!(shares(&world), (5_000, 5_000));
    world.command("kofi", Command::Pause { release: FIRST });
    world.windows.insert(service("web"), Some(failing_window(680)));
    world.pass(Millis::minutes(2));
    is_back(&world);
}

#[test]
fn a_release_that_breaches_when_its_pause_ends_takes_no_step() {
    let mut world = at_the_first_step();
    world.command("kofi", Command::Pause { release: FIRST });
    world.pass(Millis::minutes(10));
    world.command("kofi", Command::Resume { release: FIRST });
    world.windows.insert(service("web"), None);
    world.pass(Millis::minutes(1));
    assert_eq!(shares(&world), (2_500, 2_500), "nothing was measured");
    world.windows.insert(service("web"), Some(failing_window(680)));
    world.pass(Millis::minutes(1));
    assert_eq!(shares(&world), (2_500, 2_500));
    world.windows.insert(service("web"), Some(healthy_window()));
    world.pass(Millis::minutes(1));
    assert_eq!(shares(&world), (5_000, 5_000));
}

#[test]
fn a_stop_and_hands_off_hold_a_step_too() {
    let mut world = at_the_first_step();
    let stop = Stop { who: who("lena"), reason: "incident".into(), since: world.now, until: None };
    world.scopes[0].1 = ScopeState { version: 1, stop: Some(stop), ..ScopeState::default() };
    world.pass(Millis::minutes(5));
    assert_eq!(shares(&world), (2_500, 2_500));
    world.scopes[0].1 = ScopeState { version: 2, ..ScopeState::default() };
    world.pass(Millis::minutes(1));
    assert_eq!(shares(&world), (5_000, 5_000));
    let until = Some(world.now + Millis::minutes(5));
    world.command("kofi", Command::HandsOff { until, reason: "I look at it".into() });
    world.pass(Millis::minutes(4));
    assert_eq!(shares(&world), (5_000, 5_000));
    world.pass(Millis::minutes(2));
    assert_eq!(shares(&world), (10_000, 10_000));
}

#[test]
fn a_step_with_too_little_traffic_asks_and_a_person_lets_it_take_the_next() {
    let mut world = at_the_first_step();
    world.windows.insert(service("web"), None);
    world.pass(Millis::minutes(6));
    let asked = world.release(FIRST).asking.clone().unwrap();
    assert_eq!(asked.why, "the watch is inconclusive: too little traffic or no data. Promote it, or roll it back");
    assert_eq!(shares(&world), (2_500, 2_500));
    world.windows.insert(service("web"), Some(healthy_window()));
    world.command("kofi", Command::Promote { release: FIRST });
    assert_eq!((world.phase(FIRST), shares(&world)), (Some(Phase::Watching), (5_000, 5_000)), "one step, not live");
    world.pass(Millis::minutes(7));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
}

#[test]
fn a_person_can_not_let_it_go_on_while_forward_steps_are_stopped() {
    let mut world = at_the_first_step();
    world.windows.insert(service("web"), None);
    world.pass(Millis::minutes(6));
    world.command("kofi", Command::Pause { release: FIRST });
    let why = refused(world, Command::Promote { release: FIRST });
    assert_eq!(why, "release 1 takes no further step while forward steps are stopped");
}

#[test]
fn a_crash_or_a_doubled_wake_between_two_steps_changes_nothing() {
    let mut world = at_the_first_step();
    world.parked = |action| is_switch_to(action, 5_000);
    world.pass(Millis::minutes(2));
    assert_eq!(world.phase(FIRST), Some(Phase::Switching { step: 1, wave: 0 }));
    let (seq, write): (_, Write) = world.under_way();
    for _ in 0..3 {
        assert_eq!(world.signal(&Signal::Wake), vec![], "it is intended once");
    }
    // Its driver dies after the write; another one does it again, and both are heard.
    assert_eq!(world.write(seq, &write), Outcome::Written);
    assert_eq!(shares(&world), (5_000, 2_500));
    world.parked = |_| false;
    world.settle();
    assert_eq!((world.phase(FIRST), shares(&world)), (Some(Phase::Watching), (5_000, 5_000)));
    assert_eq!(world.signal(&Signal::Outcome { intention: seq, outcome: Outcome::Written }), vec![]);
    let again = world
        .happened(|what| matches!(what, What::Intended { intention, .. } if is_switch_to(&intention.action, 5_000)));
    assert_eq!(again, 2, "once for each service");
    assert_eq!(world.write(seq, &write), Outcome::Written, "the first driver's own copy, late: its fence is there");
    world.pass(Millis::minutes(2));
    assert!(matches!(world.write(seq, &write), Outcome::Drift(_)), "and after the next step it is refused");
    world.pass(Millis::minutes(5));
    assert_eq!((world.phase(FIRST), shares(&world)), (Some(Phase::Live), (10_000, 10_000)));
}

#[test]
fn what_was_measured_before_a_step_is_not_heard_after_it() {
    let mut world = at_the_first_step();
    let measures = |world: &World| {
        let all = world.target.outstanding.iter();
        all.filter(|(_, o)| matches!(o.intention.action, Action::Measure(_))).map(|(seq, _)| *seq).collect::<Vec<_>>()
    };
    let before = measures(&world);
    let from = world.release(FIRST).watch.as_ref().unwrap().measured_to;
    world.pass(Millis::minutes(2));
    let after = measures(&world);
    assert!(before.len() == 1 && after.len() == 1 && before != after, "{before:?} {after:?}");
    let services = both(&failing_window(680)).into_iter().map(|(name, window)| (service(name), window)).collect();
    let late = Outcome::Measured { from, to: from + Millis::minutes(1), services, alarms: [].into() };
    assert_eq!(world.signal(&Signal::Outcome { intention: before[0], outcome: late }), vec![]);
}

#[test]
fn green_that_is_no_longer_ready_gets_no_more_traffic_and_is_undone() {
    let mut world = at_the_first_step();
    let green = ObjectKey::workload(&service("web"), Colour::Green);
    world.pass(Millis::minutes(1));
    world.sick.insert(green);
    world.pass(Millis::minutes(1));
    assert_eq!((world.phase(FIRST), shares(&world)), (Some(Phase::Switching { step: 1, wave: 0 }), (2_500, 2_500)));
    world.pass(Millis::minutes(10));
    is_back(&world);
    assert_eq!(undone(&world), Some(why("Deployment/web-green did not become ready in time")));
}

#[test]
fn a_person_who_moved_the_weights_is_asked_and_not_overwritten() {
    let mut world = at_the_first_step();
    let web = ObjectKey::traffic(&service("web"));
    world.edited.insert(service("web"));
    world.cluster.get_mut(&web).unwrap().stamp.as_mut().unwrap().value = Value::Traffic { green: 3_000 };
    world.pass(Millis::minutes(3));
    assert_eq!((world.phase(FIRST), share(&world, "web")), (Some(Phase::NeedsHelp), 3_000));
    let said = world.release(FIRST).asking.clone().unwrap().why;
    assert_eq!(said, "Service/web was changed; it holds what Portcullis never wrote. Not overwritten");
}

#[test]
fn nothing_is_released_over_traffic_that_is_divided() {
    let mut world = at_the_first_step();
    world.edited.insert(service("web"));
    let web = ObjectKey::traffic(&service("web"));
    world.cluster.get_mut(&web).unwrap().stamp.as_mut().unwrap().value = Value::Traffic { green: 1_250 };
    world.pass(Millis::minutes(3));
    world.command("kofi", Command::Resolve { reason: "stays for the night".into() });
    assert_eq!(world.phase(FIRST), None, "{:#?}", world.story(FIRST));
    world.build(3, "amara");
    let second = world.push(3);
    world.approve("kofi", second);
    assert_eq!(
        world.phase(second),
        Some(Phase::Gated),
        "green serves some requests: it can not be replaced beside blue"
    );
    let said = world.gate(second, "cluster");
    assert!(said.contains("web has 12.5% of its traffic on green, and the rest on blue"), "{said}");
}

#[test]
fn what_has_no_old_pods_takes_all_its_traffic_at_once() {
    let mut world = World::empty(stepped());
    world.build(2, "amara");
    let first = world.push(2);
    world.approve("kofi", first);
    // Nothing was there: the first colour is blue.
    assert_eq!((world.phase(first), shares(&world)), (Some(Phase::Watching), (0, 0)), "{:#?}", world.story(first));
    assert_eq!(world.runs("jobs"), [image(2, "jobs")].into());
    world.pass(Millis::minutes(5));
    assert_eq!(world.phase(first), Some(Phase::Live), "{:#?}", world.story(first));
}

#[test]
fn a_service_that_is_new_beside_others_takes_all_of_its_own() {
    let mut world = World::new(stepped());
    for object in [ObjectKey::traffic(&service("api")), ObjectKey::workload(&service("api"), Colour::Blue)] {
        world.cluster.remove(&object);
    }
    world.build(2, "amara");
    assert_eq!(world.push(2), FIRST);
    world.approve("kofi", FIRST);
    assert_eq!((world.phase(FIRST), share(&world, "web")), (Some(Phase::Watching), 2_500), "{:#?}", world.story(FIRST));
    assert_eq!((share(&world, "api"), world.serves("api")), (0, Some(image(2, "api"))), "blue, which is its first");
    world.pass(Millis::minutes(9));
    assert_eq!((world.phase(FIRST), share(&world, "web")), (Some(Phase::Live), 10_000), "{:#?}", world.story(FIRST));
}

#[test]
fn where_only_a_worker_changes_there_is_nothing_to_share() {
    let mut policy = stepped();
    policy.services.retain(Service::is_worker);
    policy.services[0].after.clear();
    let mut world = World::new(policy);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(
        (world.phase(id), world.runs("jobs")),
        (Some(Phase::Watching), [image(2, "jobs")].into()),
        "{:#?}",
        world.story(id)
    );
    world.pass(Millis::minutes(5));
    assert_eq!(world.phase(id), Some(Phase::Live));
}

#[test]
fn where_a_person_switches_only_the_first_step_waits_for_them() {
    let mut policy = stepped();
    if let Strategy::BlueGreen { manual, .. } = &mut policy.strategy {
        *manual = true;
    }
    let mut world = stands_at(policy, |_| false);
    world.pass(Millis::minutes(30));
    assert_eq!((world.phase(FIRST), shares(&world)), (Some(Phase::Verifying), (0, 0)));
    world.command("kofi", Command::Promote { release: FIRST });
    assert_eq!(shares(&world), (2_500, 2_500));
    world.pass(Millis::minutes(9));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
}
