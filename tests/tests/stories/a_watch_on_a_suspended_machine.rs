//! A watch that is over when `now - start` says so is over when a laptop or a virtual machine wakes up: hours have
//! passed in which nobody looked.
//! Here: a watch is the sum of its measured windows, one after the other without a gap. However far the clock jumps, a
//! release goes live by ten of them, and is undone by what they say of the time in between.

use std::collections::BTreeMap;

use portcullis_domain::action::{Action, Outcome, Window};
use portcullis_domain::event::What;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::Metric;
use portcullis_domain::signal::Signal;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image, name};

use crate::{is_over, watching};

const RELEASE: ReleaseId = ReleaseId(1);

/// Three windows are measured; then the machine sleeps for the night.
async fn asleep_after_three_windows() -> World {
    let mut world = watching().await;
    world.run_for(Millis::minutes(3)).await;
    assert_eq!(world.metrics.windows().len(), 3);
    world.clock.advance(Millis::hours(9));
    world
}

#[tokio::test(start_paused = true)]
async fn it_completes_by_measured_windows_only() {
    let mut world = asleep_after_three_windows().await;
    world.run_until_phase("live").await;
    let events = world.events().await;
    let live = events.iter().find(|event| matches!(event.what, What::WentLive { .. })).unwrap();
    let measured = events.iter().filter(|e| e.seq < live.seq && matches!(e.what, What::Measured { .. })).count();
    assert_eq!(measured, 10, "not at the first tick after nine hours");
    let windows = &world.metrics.windows()[..10];
    assert!(windows.iter().all(|(from, to)| to.since(*from) == Millis::minutes(1)), "each of a minute: {windows:?}");
    assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0), "without a gap: {windows:?}");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn what_went_wrong_while_it_slept_undoes_the_release() {
    let mut world = asleep_after_three_windows().await;
    world.metrics.set(image("web", 1), Metric::ErrorRate, 680);
    world.run_until(Millis::minutes(5), "rolled back", is_over(RELEASE)).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_night_without_data_makes_nothing_live() {
    let mut world = asleep_after_three_windows().await;
    world.metrics.silence(&name("api"), true);
    world.metrics.silence(&name("web"), true);
    world.run_for(Millis::minutes(30)).await;
    let state = world.release(RELEASE).await.unwrap();
    assert_eq!((state.phase.name(), state.watch.unwrap().healthy), ("watching", Millis::minutes(3)));
    assert!(state.asking.is_some(), "a person is asked");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_starts_again_after_it_measures_on_where_the_ledger_is() {
    let mut world = asleep_after_three_windows().await;
    world.crash().await;
    world.run_until_phase("live").await;
    let windows = world.metrics.windows();
    assert!(windows[..10].windows(2).all(|pair| pair[0].1 == pair[1].0), "without a gap: {windows:?}");
    assert_eq!(world.ending(RELEASE).await, Some(Ending::Live));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_told_twice_or_across_a_gap_adds_nothing() {
    let world = asleep_after_three_windows().await;
    let state = world.state().await;
    let is_measure = |action: &Action| matches!(action, Action::Measure(_));
    let (seq, _) = state.outstanding.iter().find(|(_, of)| is_measure(&of.intention.action)).unwrap();
    let last = world.metrics.windows()[2];
    let gap = (last.1 + Millis::minutes(10), last.1 + Millis::minutes(11));
    let all_night = (last.0, world.clock.now());
    for (from, to) in [last, gap, all_night] {
        let good = Window {
            values: [(Metric::Requests, 50_000), (Metric::ErrorRate, 0)].into(),
            requests: 3_000,
            failed: 0,
            ready: Some(2),
        };
        let services = [(name("api"), good.clone()), (name("web"), good)].into();
        let outcome = Outcome::Measured { from, to, services, alarms: BTreeMap::new() };
        let signal = Signal::Outcome { intention: *seq, outcome };
        let recorded = world.recorder.record(&world.target, signal, None).await.unwrap();
        assert!(recorded.events.is_empty(), "{from:?} to {to:?}: {:?}", recorded.events);
    }
    let watch = world.release(RELEASE).await.unwrap().watch.unwrap();
    assert_eq!(watch.healthy, Millis::minutes(3));
    world.assert_sound().await;
}
