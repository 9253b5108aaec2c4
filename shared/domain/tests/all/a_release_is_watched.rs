//! What measured windows say of a release, while it is watched and once it is live.

use std::collections::BTreeMap;

use portcullis_domain::action::{Action, Outcome, Window};
use portcullis_domain::event::What;
use portcullis_domain::policy::*;
use portcullis_domain::signal::Command;
use portcullis_domain::target::{Phase, WatchState};
use portcullis_domain::time::Millis;

use crate::world::measuring::{MINUTE, both, measured, watched};
use crate::world::stages::{FIRST, intention, names, outcome, undone};
use crate::world::*;

fn saw(world: &World) -> String {
    let last = world.events.iter().rev().find_map(|event| match &event.what {
        What::Measured { saw, .. } => Some(saw.clone()),
        _ => None,
    });
    last.expect("a window was judged")
}

fn state(world: &World) -> WatchState {
    world.release(FIRST).watch.clone().unwrap()
}

#[test]
fn windows_join_without_a_gap_and_none_lies_in_the_future() {
    for (from, to, counts) in
        [(0, MINUTE, true), (1, MINUTE, false), (0, 0, false), (MINUTE, 2 * MINUTE, false), (0, MINUTE + 5_000, true)]
    {
        let mut world = watched(policy());
        world.now = state(&world).measured_to + Millis(MINUTE);
        let events = measured(&mut world, from, to, &both(&healthy_window()));
        assert_eq!(!events.is_empty(), counts, "from {from} to {to}");
    }
    let mut world = watched(policy());
    world.now = state(&world).measured_to + Millis(MINUTE);
    assert_eq!(measured(&mut world, 0, MINUTE + 5_001, &both(&healthy_window())), vec![]);
    let before = state(&world).measured_to;
    measured(&mut world, 0, MINUTE, &both(&healthy_window()));
    assert_eq!(state(&world).measured_to, before + Millis(MINUTE));
    assert_eq!((state(&world).requests, state(&world).failed, state(&world).healthy), (12_000, 0, Millis(MINUTE)));
}

#[test]
fn a_release_is_live_once_it_was_healthy_for_as_long_as_the_policy_wants() {
    let mut window = healthy_window();
    window.failed = 7;
    let mut world = watched(policy());
    measured(&mut world, 0, 5 * MINUTE - 1, &both(&window));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching));
    measured(&mut world, 0, 1, &both(&window));
    assert_eq!(world.phase(FIRST), Some(Phase::Live));
    let release = world.release(FIRST);
    assert_eq!((state(&world).requests, state(&world).failed), (24_000, 28));
    assert_eq!(release.until, Some(world.now + Millis::hours(24)));
    assert_eq!(release.keep_old_until, Some(world.now + Millis::hours(1)));
}

#[test]
fn the_old_pods_are_not_kept_longer_than_one_may_return_to_them() {
    let mut short = policy();
    short.roll_back.window = Millis::minutes(30);
    let mut world = watched(short);
    measured(&mut world, 0, 5 * MINUTE, &both(&healthy_window()));
    let release = world.release(FIRST);
    assert_eq!((release.until, release.keep_old_until), (Some(world.now + Millis::minutes(30)), release.until));
}

#[test]
fn a_paused_release_and_one_that_a_person_is_asked_about_do_not_become_live_by_themselves() {
    let mut world = watched(policy());
    world.command("kofi", Command::Pause { release: FIRST });
    measured(&mut world, 0, 6 * MINUTE, &both(&healthy_window()));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "paused");
    world.command("kofi", Command::Resume { release: FIRST });
    measured(&mut world, 0, MINUTE, &both(&healthy_window()));
    assert_eq!(world.phase(FIRST), Some(Phase::Live));

    let mut world = watched(policy());
    measured(&mut world, 0, 6 * MINUTE, &[]);
    assert!(world.release(FIRST).asking.is_some());
    measured(&mut world, 0, 9 * MINUTE, &both(&healthy_window()));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "asked about");
}

#[test]
fn an_inconclusive_watch_is_asked_about_only_when_it_is_longer_than_allowed() {
    let mut world = watched(policy());
    measured(&mut world, 0, 5 * MINUTE, &both(&Window::default()));
    assert_eq!(state(&world).inconclusive, Millis(5 * MINUTE));
    assert_eq!(saw(&world), "inconclusive");
    assert_eq!(world.release(FIRST).asking, None);
    measured(&mut world, 0, 1, &[]);
    let asked = world.release(FIRST).asking.clone().unwrap();
    assert_eq!(asked.why, "the watch is inconclusive: too little traffic or no data. Promote it, or roll it back");
    let events = measured(&mut world, 0, 1, &[]);
    assert_eq!(names(&events), ["measured"], "asked once");
}

#[test]
fn a_window_is_told_in_one_line_with_its_errors_and_its_response_time() {
    let mut world = watched(policy());
    let slow = Window { values: [(Metric::ResponseTimeP95, 250_000)].into(), requests: 9, failed: 0, ready: None };
    let worker = Window { ready: Some(3), ..Window::default() };
    measured(&mut world, 0, MINUTE, &[("api", slow), ("web", failing_window(250)), ("jobs", worker)]);
    assert_eq!(saw(&world), "api p95 250 ms  web errors 2.5% p95 4 ms  inconclusive");
    assert_eq!((state(&world).healthy, state(&world).inconclusive), (Millis(0), Millis(MINUTE)));
    measured(&mut world, 0, MINUTE, &both(&healthy_window()));
    assert_eq!(saw(&world), "api errors 0% p95 4 ms  web errors 0% p95 4 ms");
}

#[test]
fn one_service_without_traffic_makes_the_window_inconclusive_and_a_worker_does_not() {
    let quiet = Window { requests: 0, ..healthy_window() };
    for (windows, inconclusive) in [
        (vec![("web", healthy_window()), ("api", healthy_window())], false),
        (vec![("web", quiet.clone()), ("api", healthy_window())], true),
        (vec![("web", healthy_window()), ("api", quiet.clone())], true),
        (vec![("web", healthy_window())], true),
        (vec![("web", healthy_window()), ("api", healthy_window()), ("jobs", quiet)], false),
    ] {
        let mut world = watched(policy());
        measured(&mut world, 0, MINUTE, &windows);
        let expected = if inconclusive { (Millis(0), Millis(MINUTE)) } else { (Millis(MINUTE), Millis(0)) };
        assert_eq!((state(&world).healthy, state(&world).inconclusive), expected, "{windows:?}");
    }
}

#[test]
fn traffic_counts_from_the_policys_floor_on() {
    for (floor, rate, enough) in [(Some(100), 100, true), (Some(100), 99, false), (None, 0, true), (Some(0), -1, true)]
    {
        let mut floored = policy();
        floored.watch.traffic = floor;
        let mut world = watched(floored);
        let mut window = healthy_window();
        window.values.insert(Metric::Requests, rate);
        measured(&mut world, 0, MINUTE, &both(&window));
        assert_eq!(state(&world).healthy > Millis(0), enough, "{rate} where {floor:?} is wanted");
    }
}

#[test]
fn a_share_of_next_to_no_requests_is_noise_but_too_few_requests_are_not() {
    let mut few = policy();
    few.watch.traffic = Some(50_000);
    few.watch.healthy.push(trigger(Metric::Requests, Comparison::Below, 1_000));
    let mut window = failing_window(9_000);
    window.values.insert(Metric::Requests, 500);
    let mut world = watched(few);
    measured(&mut world, 0, MINUTE, &[("web", healthy_window()), ("api", window.clone())]);
    assert_eq!(state(&world).breaches.len(), 1, "{:?}", state(&world).breaches);
    measured(&mut world, 0, MINUTE, &[("web", healthy_window()), ("api", window)]);
    assert_eq!(undone(&world).as_deref(), Some("api requests 0.5/s, must stay at least 1/s"));
}

#[test]
fn what_breaches_must_be_the_same_service_and_the_same_threshold_again() {
    let mut two = policy();
    two.watch.healthy.push(trigger(Metric::ResponseTimeP95, Comparison::Above, 100_000));
    let mut slow = healthy_window();
    slow.values.insert(Metric::ResponseTimeP95, 100_001);
    let errors = failing_window(680);
    for (first, then, undoes) in [
        (("api", errors.clone()), ("api", errors.clone()), Some("api error_rate 6.8%, must stay below 1%")),
        (("api", errors.clone()), ("web", errors.clone()), None),
        (("api", errors), ("api", slow.clone()), None),
        (("web", slow.clone()), ("web", slow), Some("web response_time_p95 100 ms, must stay at most 100 ms")),
    ] {
        let mut world = watched(two.clone());
        for (name, window) in [first, then] {
            let mut windows: BTreeMap<&str, Window> = both(&healthy_window()).into_iter().collect();
            windows.insert(name, window);
            measured(&mut world, 0, MINUTE, &windows.into_iter().collect::<Vec<_>>());
        }
        assert_eq!(undone(&world).as_deref(), undoes);
        assert_eq!(world.phase(FIRST) == Some(Phase::Watching), undoes.is_none());
    }
}

#[test]
fn a_breach_must_last_as_many_points_or_as_long_as_the_threshold_says() {
    let points = |n| HoldFor::Points(n);
    let time = |ms| HoldFor::Time(Millis(ms));
    for (hold, windows, undoes) in [
        (points(1), vec![1], true),
        (points(3), vec![MINUTE, MINUTE], false),
        (points(3), vec![MINUTE, MINUTE, 1], true),
        (time(2 * MINUTE), vec![MINUTE, MINUTE - 1], false),
        (time(2 * MINUTE), vec![MINUTE, MINUTE], true),
        (time(2 * MINUTE), vec![2 * MINUTE], true),
    ] {
        let mut policy = policy();
        policy.watch.healthy[0].hold = hold;
        let mut world = watched(policy);
        for length in &windows {
            measured(&mut world, 0, *length, &both(&failing_window(100)));
        }
        assert_eq!(undone(&world).is_some(), undoes, "{hold:?} after {windows:?}");
    }
}

#[test]
fn pods_that_are_not_ready_undo_it_after_the_policys_time_without_a_break() {
    let ready = |pods| Window { ready: Some(pods), ..healthy_window() };
    for (windows, undoes) in [
        (vec![(2, 5 * MINUTE - 1)], None),
        (vec![(2, 5 * MINUTE)], Some("web not ready for 5m")),
        (vec![(3, 5 * MINUTE - 1)], None),
        (vec![(2, 4 * MINUTE), (3, 1), (2, 4 * MINUTE)], None),
        (vec![(2, 4 * MINUTE), (0, MINUTE)], Some("web not ready for 5m")),
        (vec![(4, 5 * MINUTE)], None),
    ] {
        let mut patient = policy();
        patient.watch.length = Millis::hours(1);
        let mut world = watched(patient);
        for (pods, length) in &windows {
            measured(&mut world, 0, *length, &[("web", ready(*pods)), ("api", ready(3))]);
        }
        assert_eq!(undone(&world).as_deref(), undoes, "{windows:?}");
    }
    let mut world = watched(policy());
    measured(&mut world, 0, MINUTE, &[("web", ready(2)), ("api", ready(3))]);
    assert_eq!(state(&world).healthy, Millis(0), "it is not healthy meanwhile");
    assert_eq!(state(&world).unready.len(), 1);
    measured(&mut world, 0, MINUTE, &both(&ready(3)));
    assert_eq!((state(&world).healthy, state(&world).unready.len()), (Millis(MINUTE), 0));
}

#[test]
fn where_no_time_is_set_pods_that_are_not_ready_undo_nothing() {
    let mut never = policy();
    never.roll_back.health_failing_for = None;
    let mut world = watched(never);
    let unready = Window { ready: Some(0), ..healthy_window() };
    measured(&mut world, 0, 30 * MINUTE, &both(&unready));
    assert_eq!(undone(&world), None);
}

/// Release 1 is live, and only what the test says is measured.
fn live_under(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.go_live(2);
    world.parked = |_| true;
    world.now = world.now + Millis::minutes(30);
    world
}

#[test]
fn once_live_only_what_rolls_back_counts_and_only_news_are_written_down() {
    let mut strict = policy();
    strict.roll_back.when = vec![trigger(Metric::ErrorRate, Comparison::AtLeast, 500)];
    let mut world = live_under(strict);
    assert_eq!(measured(&mut world, 0, MINUTE, &both(&failing_window(499))), vec![], "above what must stay healthy");
    let windows = [("web", healthy_window()), ("api", failing_window(500))];
    assert_eq!(names(&measured(&mut world, 30, MINUTE, &windows)), ["measured"]);
    assert_eq!(measured(&mut world, 0, 0, &windows), vec![], "an empty window");
    measured(&mut world, 0, MINUTE, &windows);
    assert_eq!(undone(&world).as_deref(), Some("api error_rate 5%, rolls back at least 5%"));
}

#[test]
fn once_live_a_window_from_before_the_last_one_says_nothing() {
    let mut strict = policy();
    strict.roll_back.when = vec![trigger(Metric::ErrorRate, Comparison::AtLeast, 500)];
    let mut world = live_under(strict);
    measured(&mut world, 10 * MINUTE, 11 * MINUTE, &both(&failing_window(500)));
    let seq = intention(&world, |action| matches!(action, Action::Measure(_)));
    let from = state(&world).measured_to - Millis(1);
    let services = both(&failing_window(500)).into_iter().map(|(name, window)| (service(name), window)).collect();
    let late = Outcome::Measured { from, to: from + Millis(MINUTE), services, alarms: BTreeMap::new() };
    assert_eq!(outcome(&mut world, seq, late), vec![]);
    measured(&mut world, 0, MINUTE, &both(&healthy_window()));
    assert_eq!(state(&world).breaches.len(), 0, "that it ended is news, too");
}
