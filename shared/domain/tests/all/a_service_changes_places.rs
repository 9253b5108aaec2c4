//! What is written and waited for, in order: up, over, back, and the old pods let go.

use portcullis_domain::action::{Action, Fence, Found, ObjectKey, Outcome, Purpose, Stamp, Value};
use portcullis_domain::event::{Event, What};
use portcullis_domain::names::Seq;
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::stages::{FIRST, at, backing_up, gated, intention, names, outcome, stands_at, verifying, why};
use crate::world::writing::{steps, write_in_words};
use crate::world::*;

#[test]
fn the_old_pods_are_let_go_at_their_moment_and_not_while_hands_are_off() {
    let mut world = World::new(policy());
    world.go_live(2);
    world.parked = |_| true;
    let until = world.release(FIRST).keep_old_until.unwrap();
    let events = at(&mut world, until);
    assert!(
        matches!(&events[..], [Event { what: What::Intended { intention, .. }, .. }] if intention.action == Action::Observe)
    );
    assert_eq!(world.signal(&Signal::Wake), vec![], "looked at once");

    let mut world = World::new(policy());
    world.go_live(2);
    world.parked = |_| true;
    let off = Some(world.now + Millis::hours(3));
    world.command("kofi", Command::HandsOff { until: off, reason: why("surgery") });
    world.now = world.now + Millis::hours(2);
    assert_eq!(world.signal(&Signal::Wake), vec![]);
}

#[test]
fn a_pod_of_the_old_colour_that_is_gone_already_needs_no_letting_go() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.commits.get_mut(&commit(2)).unwrap().changed.insert(service("api"), false);
    world.scan(image(1, "api"), &[]);
    world.push_one(2, "web");
    world.push_one(2, "jobs");
    world.settle();
    world.approve("kofi", FIRST);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
    let begun = world.events.len();
    world.pass(Millis::minutes(70));
    let drained: Vec<String> = world.events[begun..].iter().filter_map(write_in_words).collect();
    assert_eq!(drained, ["drain Deployment/web-blue to 0 pods"], "api stays, and the worker was stopped before");
    assert_eq!(world.release(FIRST).keep_old_until, None);
}

fn worker(overlap: bool) -> Policy {
    let mut policy = policy();
    policy.services[2].kind = ServiceKind::Worker { overlap };
    policy
}

#[test]
fn a_service_comes_up_switches_and_returns_in_this_order() {
    for (policy, name, forward, back) in [
        (
            policy(),
            "web",
            [
                "mark Deployment/web-blue to 3 pods",
                "mark Deployment/web-green to 0 pods",
                "mark Service/web to 0 green",
                "deploy Deployment/web-green to 3 pods",
                "await Deployment/web-green with 3 pods",
                "claim Deployment/web-green to 3 pods",
                "await Deployment/web-green with 3 pods",
                "switch Service/web to 10000 green",
            ]
            .as_slice(),
            [
                "restore Deployment/web-blue to 3 pods",
                "await Deployment/web-blue with 3 pods",
                "restore Service/web to 0 green",
                "restore Deployment/web-green to 0 pods",
            ]
            .as_slice(),
        ),
        (
            worker(false),
            "jobs",
            &[
                "mark Deployment/jobs-blue to 3 pods",
                "mark Deployment/jobs-green to 0 pods",
                "deploy Deployment/jobs-green to 0 pods",
                "drain Deployment/jobs-blue to 0 pods",
                "await Deployment/jobs-blue with 0 pods",
                "claim Deployment/jobs-green to 3 pods",
                "await Deployment/jobs-green with 3 pods",
            ],
            &[
                "restore Deployment/jobs-green to 0 pods",
                "await Deployment/jobs-green with 0 pods",
                "restore Deployment/jobs-blue to 3 pods",
                "await Deployment/jobs-blue with 3 pods",
            ],
        ),
        (
            worker(true),
            "jobs",
            &[
                "mark Deployment/jobs-blue to 3 pods",
                "mark Deployment/jobs-green to 0 pods",
                "deploy Deployment/jobs-green to 0 pods",
                "claim Deployment/jobs-green to 3 pods",
                "await Deployment/jobs-green with 3 pods",
                "drain Deployment/jobs-blue to 0 pods",
            ],
            &[
                "restore Deployment/jobs-blue to 3 pods",
                "await Deployment/jobs-blue with 3 pods",
                "restore Deployment/jobs-green to 0 pods",
            ],
        ),
    ] {
        let mut world = stands_at(policy, |_| false);
        assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
        assert_eq!(steps(&world, 0, name), forward);
        let begun = world.events.len();
        world.roll_back("kofi");
        assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
        assert_eq!(steps(&world, begun, name), back);
    }
}

#[test]
fn nothing_is_deployed_before_every_object_carries_our_fence() {
    let world = stands_at(policy(), |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Mark));
    let written: Vec<String> = world.events.iter().filter_map(write_in_words).collect();
    assert_eq!(written.len(), 8, "{written:?}");
    assert!(written.iter().all(|step| step.starts_with("mark")), "{written:?}");
}

#[test]
fn tests_run_against_what_answers_requests() {
    let world = verifying();
    let against = world.target.outstanding.values().find_map(|o| match &o.intention.action {
        Action::RunTest { against, .. } => Some(against.clone()),
        _ => None,
    });
    assert_eq!(against, Some([(service("api"), Colour::Green), (service("web"), Colour::Green)].into()));
}

#[test]
fn a_first_release_that_is_undone_before_it_serves_leaves_no_pods() {
    let mut world = World::empty(policy());
    world.build(2, "amara");
    world.push(2);
    world.parked = |action| matches!(action, Action::RunTest { .. });
    world.approve("kofi", FIRST);
    assert_eq!(world.phase(FIRST), Some(Phase::Verifying));
    world.parked = |_| false;
    let begun = world.events.len();
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(steps(&world, begun, "web"), ["restore Deployment/web-blue to 0 pods"]);
    assert_eq!(steps(&world, begun, "jobs"), ["restore Deployment/jobs-blue to 0 pods"]);
}

#[test]
fn pods_that_an_autoscaler_added_meanwhile_are_no_drift_and_are_given_again_on_return() {
    let mut world = backing_up();
    let blue = ObjectKey::workload(&service("web"), Colour::Blue);
    world.cluster.insert(
        blue.clone(),
        found(Stamp { fence: None, value: Value::Workload { digest: image(1, "web"), replicas: 5 } }, 5),
    );
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
    let begun = world.events.len();
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(steps(&world, begun, "web")[0], "restore Deployment/web-blue to 5 pods");
}

#[test]
fn what_is_awaited_is_ready_only_as_asked_for_and_somebody_elses_hand_is_seen() {
    let own = image(2, "web");
    let workload = |digest, replicas| Value::Workload { digest, replicas };
    let (ready, waits, drift) = (Some("done"), None, Some("drifted"));
    for (fenced, value, pods, expected) in [
        (Some(0), workload(own, 3), 3, ready),
        (Some(1), workload(own, 3), 3, ready),
        (Some(-1), workload(own, 3), 3, waits),
        (Some(0), workload(own, 3), 2, waits),
        (Some(0), workload(own, 3), 4, ready),
        (Some(0), workload(own, 2), 3, waits),
        (Some(0), workload(own, 4), 3, ready),
        (Some(0), workload(image(1, "web"), 3), 3, waits),
        (Some(0), Value::Traffic { green: 0 }, 3, waits),
        (None, workload(own, 3), 3, drift),
    ] {
        let mut world = stands_at(policy(), |action| matches!(action, Action::AwaitReady(_)));
        let seq = intention(&world, |action| matches!(action, Action::AwaitReady(_)));
        let Action::AwaitReady(ask) = world.target.outstanding[&seq].intention.action.clone() else { unreachable!() };
        assert_eq!((ask.digest, ask.replicas), (own, 3));
        let fence = fenced.map(|by: i64| Fence {
            ledger: World::ledger(),
            epoch: 0,
            seq: Seq(ask.after.0.checked_add_signed(by).unwrap()),
        });
        let events = outcome(&mut world, seq, Outcome::Seen(found(Stamp { fence, value }, pods)));
        let told = names(&events);
        match expected {
            None => assert_eq!(told, Vec::<String>::new(), "{fenced:?} {value:?} {pods}"),
            Some("done") => {
                assert!(told[0] == "done" && !told.contains(&why("drifted")), "{told:?} {fenced:?} {value:?} {pods}");
            }
            Some(other) => assert!(told.contains(&why(other)), "{told:?} {fenced:?} {value:?} {pods}"),
        }
    }
    // Deleted: nobody can say what happened to it.
    let mut world = stands_at(policy(), |action| matches!(action, Action::AwaitReady(_)));
    let seq = intention(&world, |action| matches!(action, Action::AwaitReady(_)));
    outcome(&mut world, seq, Outcome::Seen(Found::default()));
    assert_eq!(world.phase(FIRST), Some(Phase::NeedsHelp));
    let why = world.release(FIRST).asking.clone().unwrap().why;
    assert_eq!(why, "Deployment/web-green was deleted. It is not created again by itself");
    // There, but with nothing that could be one of its values.
    let mut world = stands_at(policy(), |action| matches!(action, Action::AwaitReady(_)));
    let seq = intention(&world, |action| matches!(action, Action::AwaitReady(_)));
    let found = Found { foreign: Some("no image".into()), written_by: Some("helm".into()), ..Found::default() };
    outcome(&mut world, seq, Outcome::Seen(found));
    let why = world.release(FIRST).asking.clone().unwrap().why;
    assert_eq!(
        why,
        "Deployment/web-green was changed by helm; it has no image, which Portcullis never wrote. Not overwritten"
    );
}

#[test]
fn a_worker_that_is_stopped_is_at_rest_when_its_pods_are_gone_or_it_is() {
    let stops: fn(&Action) -> bool = |action| matches!(action, Action::AwaitReady(ask) if ask.replicas == 0);
    for (found, rests) in [(None, true), (Some(0), true), (Some(1), false)] {
        let mut world = stands_at(policy(), stops);
        let seq = intention(&world, stops);
        let Action::AwaitReady(ask) = world.target.outstanding[&seq].intention.action.clone() else { unreachable!() };
        let found = found.map_or_else(Found::default, |ready| {
            let fence = Fence { ledger: World::ledger(), epoch: 0, seq: ask.after };
            self::found(Stamp { fence: Some(fence), value: Value::Workload { digest: ask.digest, replicas: 0 } }, ready)
        });
        let told = names(&outcome(&mut world, seq, Outcome::Seen(found.clone())));
        assert_eq!(told.first().is_some_and(|name| name == "done"), rests, "{found:?}");
        assert!(!told.contains(&why("drifted")));
    }
}

#[test]
fn a_reading_from_before_the_epoch_was_raised_tells_of_the_past_however_high_its_fence() {
    let mut world = gated(policy());
    world.command("kofi", Command::RaiseEpoch { reason: why("restored") });
    world.parked = |action| matches!(action, Action::AwaitReady(_));
    world.approve("kofi", FIRST);
    let seq = intention(&world, |action| matches!(action, Action::AwaitReady(_)));
    let Action::AwaitReady(ask) = world.target.outstanding[&seq].intention.action.clone() else { unreachable!() };
    let seen = |epoch| {
        let fence = Fence { ledger: World::ledger(), epoch, seq: Seq(10_000) };
        let value = Value::Workload { digest: ask.digest, replicas: ask.replicas };
        Outcome::Seen(found(Stamp { fence: Some(fence), value }, ask.replicas))
    };
    assert_eq!(outcome(&mut world, seq, seen(0)), vec![]);
    assert_eq!(names(&outcome(&mut world, seq, seen(1)))[0], "done");
}

#[test]
fn a_release_of_workers_alone_is_asked_nothing_over_http_and_its_jobs_run() {
    let mut policy = worker(false);
    let cronjob = portcullis_domain::names::ObjectName::new("journeys").unwrap();
    let job = Test { name: "journeys".into(), kind: TestKind::Job { cronjob }, ..policy.verify[0].clone() };
    assert!(matches!(policy.verify[0].kind, TestKind::Http { .. }));
    policy.verify.push(job);
    let mut world = World::new(policy);
    world.build(2, "amara");
    for unchanged in ["web", "api"] {
        world.commits.get_mut(&commit(2)).unwrap().changed.insert(service(unchanged), false);
        world.scan(image(1, unchanged), &[]);
    }
    world.push_one(2, "jobs");
    world.settle();
    world.approve("kofi", FIRST);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
    let tests = world.events.iter().filter_map(|event| match &event.what {
        What::Intended { intention, .. } => match &intention.action {
            Action::RunTest { test, .. } => Some(test.name.as_str()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(tests.collect::<Vec<_>>(), ["journeys"]);
}
