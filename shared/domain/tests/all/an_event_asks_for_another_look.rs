//! What an event means to others: the stops it looks at again, and when the next look is due.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_domain::action::{Action, AwaitReady, Intention, ObjectKey, Purpose, Value, Write};
use portcullis_domain::event::{Reason, What};
use portcullis_domain::names::{ReleaseId, Seq, TargetId};
use portcullis_domain::next;
use portcullis_domain::policy::Colour;
use portcullis_domain::scope::{Scope, ScopeState, Stop};
use portcullis_domain::target::{Phase, Target};
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::*;

// What an event means to others.

fn intended(action: Action) -> What {
    let intention =
        Intention { action, place: policy().place, not_before: Timestamp(0), every: None, deadline: Timestamp(1) };
    What::Intended { release: ReleaseId(1), intention: Box::new(intention) }
}

#[test]
fn only_what_brings_new_code_closer_needs_the_stops_to_be_unchanged() {
    let release = ReleaseId(1);
    let write = |purpose| {
        let object = ObjectKey::traffic(&service("web"));
        intended(Action::Write(Write { object, from: vec![], to: Value::Traffic { green: 0 }, purpose, bundle: None }))
    };
    let ready = AwaitReady {
        object: ObjectKey::workload(&service("web"), Colour::Green),
        digest: image(2, "web"),
        replicas: 3,
        after: Seq(1),
    };
    let began = What::Began {
        release,
        plan: "4be1-c07f".parse().unwrap(),
        policy: Arc::new(policy()),
        before: BTreeMap::new(),
        objects: BTreeMap::new(),
    };
    let back = What::RollbackBegan {
        release,
        why: Reason::Step { why: "it failed".into() },
        to: BTreeMap::new(),
        served: true,
    };
    let entered = |phase| What::Entered { release, phase };
    for (what, forward) in [
        (began, true),
        (entered(Phase::Deploying { wave: 0 }), true),
        (entered(Phase::Switching { step: 0, wave: 0 }), true),
        (entered(Phase::BackingUp), false),
        (entered(Phase::Verifying), false),
        (entered(Phase::Watching), false),
        (write(Purpose::Deploy), true),
        (write(Purpose::Claim), true),
        (write(Purpose::Switch), true),
        (write(Purpose::Drain), true),
        (write(Purpose::Mark), false),
        (write(Purpose::Restore), false),
        (intended(Action::AwaitReady(ready)), false),
        (intended(Action::Observe), false),
        (back, false),
        (What::Paused { release }, false),
    ] {
        assert_eq!(what.moves_forward(), forward, "{what:?}");
    }
}

/// When the one measurement that stands is due, and the moment its intention names.
fn measurement(target: &Target) -> (Timestamp, Timestamp) {
    let due = next(target).actions.into_iter().find(|due| matches!(due.intention.action, Action::Measure(_))).unwrap();
    (due.not_before, due.intention.not_before)
}

#[test]
fn in_a_watch_the_next_window_is_due_when_it_is_over() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    let minute = Millis::minutes(1);
    for passed in 0..3 {
        let watch = world.release(id).watch.clone().unwrap();
        assert_eq!(watch.measured_to, watch.since + Millis::minutes(passed));
        assert_eq!(measurement(&world.target).0, watch.measured_to + minute);
        world.pass(minute);
    }
}

#[test]
fn after_the_watch_a_window_is_measured_as_its_intention_says() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    world.pass(Millis::minutes(3));
    assert_eq!(world.phase(id), Some(Phase::Live));
    let (due, said) = measurement(&world.target);
    assert_eq!(due, said);
    let measured_to = world.release(id).watch.as_ref().unwrap().measured_to;
    assert_ne!(due, measured_to + Millis::minutes(1), "the two would be told apart");
}

#[test]
fn the_end_of_the_old_colour_is_looked_at_again_only_once_the_new_one_is_live() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    let keep_old_until = world.release(id).keep_old_until;
    assert!(keep_old_until.is_some());
    let mut target = world.target.clone();
    // Nothing else is due.
    target.outstanding.clear();
    let release = target.releases.get_mut(&id).unwrap();
    (release.until, release.remind_at, release.asking) = (None, None, None);
    assert_eq!(next(&target).wake_at, keep_old_until);
    target.releases.get_mut(&id).unwrap().phase = Phase::RollingBack;
    assert_eq!(next(&target).wake_at, None);
}

// Stops.

#[test]
fn a_stop_covers_its_targets_and_no_other() {
    let scope = |target: &str| Scope::of(&target.parse().unwrap());
    let target: TargetId = "shop/production".parse().unwrap();
    let [all, environment, application, itself] = scope("shop/production");
    assert!([&all, &environment, &application, &itself].iter().all(|scope| scope.covers(&target)));
    let told = [all, environment, application, itself].map(|scope| scope.to_string());
    assert_eq!(told, ["all", "environment production", "application shop", "shop/production"]);
    let [_, staging, bank, elsewhere] = scope("bank/staging");
    assert!(![&staging, &bank, &elsewhere].iter().any(|scope| scope.covers(&target)));
    // Neither the environment of another application nor another environment of this one.
    assert!(!scope("bank/production")[3].covers(&target) && !scope("shop/staging")[3].covers(&target));
}

#[test]
fn a_stop_with_an_end_is_in_force_until_just_before_it() {
    let stop = |until| Stop { who: who("kofi"), reason: "migration".into(), since: Timestamp(1), until };
    let state = |until| ScopeState { stop: Some(stop(until)), ..ScopeState::default() };
    let ends = state(Some(Timestamp(100)));
    assert_eq!(ends.stopped(Timestamp(99)), ends.stop.as_ref());
    assert_eq!(ends.stopped(Timestamp(100)), None);
    assert_eq!(ends.stopped(Timestamp(101)), None);
    let stays = state(None);
    assert_eq!(stays.stopped(Timestamp(u64::MAX)), stays.stop.as_ref());
    assert_eq!(ScopeState::default().stopped(Timestamp(1)), None);
}
