//! Every reason to go back, from every phase, and what must hold on the way.

use crate::world::stages::back_up_next;
use crate::world::*;
use portcullis_domain::action::{Action, ObjectKey, Outcome, Part, Purpose, Value};
use portcullis_domain::event::What;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

/// A kind of action.
type Which = fn(&Action) -> bool;

fn watching(policy: Policy) -> (World, portcullis_domain::names::ReleaseId) {
    let mut world = World::new(policy);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Watching), "{:#?}", world.story(id));
    (world, id)
}

fn all_back(world: &World) {
    for name in ["web", "api"] {
        assert_eq!(world.serves(name), Some(image(1, name)), "{name}");
    }
    assert_eq!(world.runs("jobs"), [image(1, "jobs")].into());
}

#[test]
fn a_threshold_that_stays_breached_rolls_back_all_services_that_changed() {
    let (mut world, id) = watching(policy());
    world.windows.insert(service("api"), Some(failing_window(680)));
    world.pass(Millis::minutes(1));
    assert_eq!(world.phase(id), Some(Phase::Watching), "one point is not yet a breach");
    world.pass(Millis::minutes(1));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
    let why = world.events.iter().find_map(|event| match &event.what {
        What::RollbackBegan { why, .. } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(why.as_deref(), Some("api error_rate 6.8%, must stay below 1%"));
    assert!(world.target.quarantine.contains_key(&image(2, "api")));
}

#[test]
fn a_breach_that_ends_in_time_does_not_roll_back() {
    let (mut world, id) = watching(policy());
    for bad in [true, false, true, false, false, false, false, false, false] {
        let window = if bad { failing_window(680) } else { healthy_window() };
        world.windows.insert(service("api"), Some(window));
        world.pass(Millis::minutes(1));
    }
    assert_eq!(world.phase(id), Some(Phase::Live));
}

#[test]
fn what_was_rolled_back_is_not_released_again_until_a_person_lifts_it() {
    let (mut world, id) = watching(policy());
    world.roll_back("kofi");
    assert!(world.rolled_back(id));
    let images = ["web", "api", "jobs"].map(|name| (service(name), (image(2, name), None))).into();
    let start =
        Command::Start { forward_only: false, commit: commit(2), images, facts: None, typed: None, reason: None };
    let again = portcullis_domain::names::ReleaseId(world.next_release);
    world.command("amara", start);
    world.approve("kofi", again);
    assert!(world.gate(again, "quarantine").starts_with("hold: "), "{}", world.gate(again, "quarantine"));
    for name in ["web", "api", "jobs"] {
        let digest = image(2, name);
        world.command("lena", Command::LiftQuarantine { digest, reason: "it was the database".into() });
    }
    world.pass(Millis::minutes(7));
    assert_eq!(world.phase(again), Some(Phase::Live), "{:#?}", world.story(again));
}

#[test]
fn a_person_can_go_back_from_every_phase() {
    let stops: [(&str, Which); 6] = [
        ("deploying", |action| matches!(action, Action::Write(w) if w.purpose == Purpose::Deploy)),
        ("deploying", |action| matches!(action, Action::AwaitReady(_))),
        ("verifying", |action| matches!(action, Action::RunTest { .. })),
        ("switching", |action| matches!(action, Action::Write(w) if w.purpose == Purpose::Claim)),
        ("switching", |action| matches!(action, Action::Write(w) if w.purpose == Purpose::Switch)),
        ("switching", |action| matches!(action, Action::Write(w) if w.purpose == Purpose::Drain)),
    ];
    for (phase, parked) in stops {
        let mut world = World::new(policy());
        world.build(2, "amara");
        let id = world.push(2);
        world.parked = parked;
        world.approve("kofi", id);
        assert_eq!(world.phase(id).map(Phase::name), Some(phase));
        let late: Vec<_> = world.target.outstanding.iter().map(|(seq, o)| (*seq, o.intention.action.clone())).collect();
        world.parked = |_| false;
        world.roll_back("kofi");
        assert!(world.rolled_back(id), "{phase}: {:#?}", world.story(id));
        all_back(&world);
        // A driver that is late performs what it was told long ago: refused by the fence, and its word is not heard.
        let before = world.cluster.clone();
        for (seq, action) in late {
            if let Action::Write(write) = &action {
                let outcome = world.write(seq, write);
                assert!(matches!(outcome, Outcome::Drift(_)), "{phase}: a late write got through: {write:?}");
                assert_eq!(world.signal(&Signal::Outcome { intention: seq, outcome }), vec![]);
            }
        }
        assert_eq!(world.cluster, before, "{phase}");
    }
}

#[test]
fn a_write_that_landed_without_its_sender_knowing_is_taken_back_too() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.parked = |action| matches!(action, Action::Write(w) if w.purpose == Purpose::Switch);
    world.approve("kofi", id);
    // The patch lands, its sender dies before it can say so.
    let (seq, write) = world.under_way();
    assert_eq!(world.write(seq, &write), Outcome::Written);
    assert_eq!(world.serves("web"), Some(image(2, "web")));
    world.parked = |_| false;
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
}

#[test]
fn a_failing_test_undoes_what_was_deployed() {
    let mut world = World::new(policy());
    world.failing_test = true;
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
    let green = &world.cluster[&ObjectKey::workload(&service("web"), Colour::Green)];
    assert!(matches!(green.stamp.as_ref().unwrap().value, Value::Workload { replicas: 0, .. }));
}

#[test]
fn a_colour_that_never_becomes_ready_is_undone_at_its_deadline() {
    let mut world = World::new(policy());
    world.sick.insert(ObjectKey::workload(&service("api"), Colour::Green));
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Deploying { wave: 1 }));
    world.pass(Millis::minutes(11));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
}

#[test]
fn every_object_the_release_may_name_is_fenced_before_it_counts_as_rolled_back() {
    let mut world = World::new(policy());
    world.sick.insert(ObjectKey::workload(&service("web"), Colour::Green));
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    world.pass(Millis::minutes(11));
    assert!(world.rolled_back(id));
    let began = world.events.iter().find(|e| matches!(e.what, What::RollbackBegan { .. })).unwrap().seq;
    for (key, found) in &world.cluster {
        let fence = found.stamp.as_ref().and_then(|stamp| stamp.fence.as_ref());
        assert!(fence.is_some_and(|fence| fence.seq > began), "{key} is not fenced by the way back");
    }
    assert_eq!(world.cluster.len(), 8, "also what waves not begun would have created");
}

#[test]
fn an_alarm_counts_only_after_the_first_serving_change_and_in_any_order() {
    let mut with_alarms = policy();
    with_alarms.watch.alarms_roll_back = vec!["app-*".into()];
    let mut world = World::new(with_alarms);
    let before = world.now;
    world.alarm("app-5xx", AlarmState::Ok, before);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Watching));
    assert_eq!(world.happened(|what| matches!(what, What::RollbackBegan { .. })), 0);
    // One that rang before the release served says nothing of it, whenever it is told.
    let early = world.release(id).serving_since.unwrap() - Millis::seconds(1);
    world.pass(Millis::minutes(1));
    let (rang, ended) = (world.now, world.now + Millis::seconds(1));
    world.now = ended;
    world.alarm("app-5xx", AlarmState::Ok, ended);
    assert_eq!(world.alarm("app-5xx", AlarmState::Alarm, early), vec![]);
    // Its OK comes before its ALARM: it rang while the release served, and that undoes it.
    world.alarm("app-5xx", AlarmState::Alarm, rang);
    assert_eq!(world.phase(id), Some(Phase::RollingBack));
    let known = world.target.alarms[&portcullis_domain::names::AlarmName::new("app-5xx").unwrap()];
    assert_eq!((known.state, known.changed_at), (AlarmState::Ok, ended), "what is known of now stays");
    assert_eq!(world.alarm("app-5xx", AlarmState::Alarm, rang), vec![], "a doubled one says nothing");
    world.settle();
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
}

#[test]
fn an_alarm_that_rings_already_holds_until_a_person_accepts_it() {
    let mut with_alarms = policy();
    with_alarms.watch.alarms_roll_back = vec!["app-*".into()];
    let mut world = World::new(with_alarms);
    let before = world.now;
    world.alarm("app-5xx", AlarmState::Alarm, before);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.gate(id, "alarms"), "hold: app-5xx rings already");
    world.command("kofi", Command::AcceptAlarm { release: id, alarm: "app-5xx".parse().unwrap() });
    assert_eq!(world.phase(id), Some(Phase::Watching));
}

#[test]
fn a_pattern_that_matches_no_alarm_holds() {
    let mut with_alarms = policy();
    with_alarms.watch.alarms_roll_back = vec!["app-*".into()];
    let mut world = World::new(with_alarms);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.gate(id, "alarms"), "hold: app-* matches no alarm");
    assert_eq!(world.phase(id), Some(Phase::Gated));
}

#[test]
fn no_traffic_is_not_health_and_ends_with_a_question() {
    let (mut world, id) = watching(policy());
    world.windows.insert(service("api"), None);
    world.pass(Millis::minutes(30));
    assert_eq!(world.phase(id), Some(Phase::Watching));
    assert_eq!(world.happened(|what| matches!(what, What::Asked { .. })), 1);
    assert!(world.happened(|what| matches!(what, What::Escalated { .. })) >= 1);
    world.command("kofi", Command::Promote { release: id });
    assert_eq!(world.phase(id), Some(Phase::Live));
}

#[test]
fn pods_that_stay_unready_roll_back() {
    let (mut world, id) = watching(policy());
    let window = portcullis_domain::action::Window { ready: Some(1), ..healthy_window() };
    world.windows.insert(service("web"), Some(window));
    world.pass(Millis::minutes(6));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
}

#[test]
fn a_live_release_is_rolled_back_inside_its_window_even_after_the_old_pods_are_gone() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    world.pass(Millis::hours(3));
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
}

#[test]
fn rolling_back_again_is_a_no_op_and_never_a_toggle() {
    let mut world = World::new(policy());
    let first = world.go_live(2);
    world.pass(Millis::hours(2));
    let second = world.go_live(3);
    let back = Command::RollBack { to: Some(first), reason: "it hurts".into() };
    world.command("kofi", back.clone());
    assert!(world.rolled_back(second));
    assert_eq!(world.serves("web"), Some(image(2, "web")));
    let events = world.command("kofi", back);
    assert_eq!(events, vec![], "it is there already");
    assert_eq!(world.roll_back("kofi"), vec![], "also without naming the destination");
    world.command("kofi", Command::RollBack { to: Some(second), reason: "forward again".into() });
    assert_eq!(world.serves("web"), Some(image(2, "web")));
    assert_eq!(world.refusals().len(), 1);
}

#[test]
fn nothing_to_return_to_asks_a_person_and_keeps_serving() {
    let mut world = World::empty(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    world.windows.insert(service("web"), Some(failing_window(900)));
    world.pass(Millis::minutes(3));
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp), "{:#?}", world.story(id));
    assert_eq!(world.serves("web"), Some(image(2, "web")), "bad answers beat none");
    world.command("kofi", Command::Resolve { reason: "it is the only one we have".into() });
    assert_eq!(world.phase(id), None);
    assert_eq!(world.target.in_flight, None);
}

#[test]
fn an_old_colour_that_does_not_come_up_keeps_traffic_and_calls_a_person() {
    let (mut world, id) = watching(policy());
    world.sick.insert(ObjectKey::workload(&service("web"), Colour::Blue));
    world.roll_back("kofi");
    assert_eq!(world.phase(id), Some(Phase::RollingBack));
    assert_eq!(world.serves("web"), Some(image(2, "web")), "traffic waits for pods that are ready");
    world.pass(Millis::minutes(11));
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp));
    // It heals: what was still being tried goes through.
    world.sick.clear();
    let blue = ObjectKey::workload(&service("web"), Colour::Blue);
    world.cluster.get_mut(&blue).unwrap().ready = 3;
    world.pass(Millis::minutes(1));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
}

#[test]
fn a_change_by_hand_during_the_rollback_is_not_overwritten_until_a_person_takes_over() {
    let (mut world, id) = watching(policy());
    world.parked = |action| writes(action, |part| part == Part::Traffic);
    world.roll_back("kofi");
    let web = ObjectKey::traffic(&service("web"));
    let edited = world.cluster.get_mut(&web).unwrap();
    edited.stamp.as_mut().unwrap().value = Value::Traffic { green: 3_333 };
    edited.written_by = Some("kubectl-edit".into());
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp));
    let now = world.cluster[&web].stamp.clone().unwrap().value;
    assert_eq!(now, Value::Traffic { green: 3_333 }, "not overwritten");
    assert!(world.release(id).asking.as_ref().unwrap().why.contains("by kubectl-edit"));
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
}

#[test]
fn hands_off_stops_every_write_and_ends_by_itself() {
    let (mut world, id) = watching(policy());
    let until = world.now + Millis::minutes(10);
    world.command("kofi", Command::HandsOff { until: Some(until), reason: "surgery".into() });
    let before = world.cluster.clone();
    world.roll_back("kofi");
    world.pass(Millis::minutes(9));
    assert_eq!(world.cluster, before);
    world.pass(Millis::minutes(2));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
}

#[test]
fn pause_stops_forward_steps_only() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.parked = |action| matches!(action, Action::RunTest { .. });
    world.approve("kofi", id);
    world.command("kofi", Command::Pause { release: id });
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(id), Some(Phase::Verifying));
    world.command("kofi", Command::Resume { release: id });
    assert_eq!(world.phase(id), Some(Phase::Watching));
}

#[test]
fn somebody_elses_deployment_is_recorded_and_not_fought() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    world.pass(Millis::hours(25));
    let live = ObjectKey::workload(&service("web"), Colour::Green);
    let Some(stamp) = &mut world.cluster.get_mut(&live).unwrap().stamp else { unreachable!() };
    stamp.value = Value::Workload { digest: image(77, "web"), replicas: 3 };
    world.build(3, "amara");
    let next = world.push(3);
    assert_eq!(world.happened(|what| matches!(what, What::LiveChangedOutside { .. })), 1);
    assert_eq!(world.target.live[&service("web")].digest, image(77, "web"));
    assert_ne!(id, next);
    world.approve("kofi", next);
    world.roll_back("kofi");
    assert_eq!(world.serves("web"), Some(image(77, "web")), "the way back leads to what really served");
}

#[test]
fn gate_mode_watches_and_rolls_back_what_others_deploy() {
    let mut gate = policy();
    gate.mode = Mode::Gate;
    let mut world = World::new(gate);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Cleared));
    for name in ["web", "api", "jobs"] {
        let key = ObjectKey::workload(&service(name), Colour::Blue);
        let Some(stamp) = &mut world.cluster.get_mut(&key).unwrap().stamp else { unreachable!() };
        stamp.value = Value::Workload { digest: image(2, name), replicas: 3 };
    }
    world.pass(Millis::minutes(1));
    assert_eq!(world.phase(id), Some(Phase::Watching), "{:#?}", world.story(id));
    world.windows.insert(service("web"), Some(failing_window(900)));
    world.pass(Millis::minutes(3));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
}

#[test]
fn old_pods_that_a_person_sent_traffic_back_to_are_not_taken_away() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    let web = ObjectKey::traffic(&service("web"));
    world.cluster.get_mut(&web).unwrap().stamp.as_mut().unwrap().value = Value::Traffic { green: 0 };
    world.pass(Millis::hours(2));
    assert_eq!(world.serves("web"), Some(image(1, "web")));
    assert_eq!(world.phase(id), None, "what serves was changed outside; the release is no longer ours to roll back");
    assert_eq!(world.happened(|what| matches!(what, What::LiveChangedOutside { .. })), 1);
    assert_eq!(world.target.live[&service("web")].digest, image(1, "web"));
}

#[test]
fn a_worker_that_crashes_during_the_watch_rolls_back() {
    let (mut world, id) = watching(policy());
    let crashed = portcullis_domain::action::Window { ready: Some(0), ..Default::default() };
    world.windows.insert(service("jobs"), Some(crashed));
    world.pass(Millis::minutes(6));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    all_back(&world);
}

#[test]
fn an_alarm_of_the_live_release_is_not_missed_while_the_next_one_is_backed_up() {
    let mut with_alarms = policy();
    with_alarms.watch.alarms_roll_back = vec!["app-*".into()];
    let mut world = World::new(with_alarms);
    let now = world.now;
    world.alarm("app-5xx", AlarmState::Ok, now);
    let first = world.go_live(2);
    let second = back_up_next(&mut world, 3);
    let now = world.now;
    world.alarm("app-5xx", AlarmState::Alarm, now);
    world.settle();
    assert!(world.rolled_back(first), "{:#?}", world.story(first));
    assert_eq!(world.end_of(second), Some(portcullis_domain::event::End::Cancelled));
    all_back(&world);
}

#[test]
fn in_the_same_deployment_pods_that_an_autoscaler_added_stay_when_the_old_image_comes_back() {
    let mut rolling = policy();
    rolling.strategy = Strategy::Rolling;
    let mut world = World::new(rolling);
    let id = world.go_live(2);
    let web = ObjectKey::workload(&service("web"), Colour::Blue);
    let now = world.cluster.get_mut(&web).unwrap();
    now.ready = 9;
    now.stamp.as_mut().unwrap().value = Value::Workload { digest: image(2, "web"), replicas: 9 };
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    let back = world.cluster[&web].stamp.as_ref().unwrap().value;
    assert_eq!(back, Value::Workload { digest: image(1, "web"), replicas: 9 });
}
