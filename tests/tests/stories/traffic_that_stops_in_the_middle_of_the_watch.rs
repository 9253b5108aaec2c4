//! Flagger #1011: traffic stopped in the middle of an analysis, and the canary advanced on the silence.
//! Here: silence adds nothing to the healthy time. The watch goes on where it was when traffic is back; if it stays
//! away, a person is asked.

use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::Metric;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image, name};

use crate::{is_over, watching};

const RELEASE: ReleaseId = ReleaseId(1);

async fn healthy(world: &World) -> Millis {
    world.release(RELEASE).await.unwrap().watch.unwrap().healthy
}

/// Five healthy minutes, then silence.
async fn silent_after_five_minutes() -> World {
    let mut world = watching().await;
    world.run_for(Millis::minutes(5)).await;
    assert_eq!(healthy(&world).await, Millis::minutes(5));
    world.metrics.silence(&name("api"), true);
    world.metrics.silence(&name("web"), true);
    world
}

#[tokio::test(start_paused = true)]
async fn the_watch_goes_on_where_it_was_when_traffic_is_back() {
    let mut world = silent_after_five_minutes().await;
    world.run_for(Millis::minutes(8)).await;
    let state = world.release(RELEASE).await.unwrap();
    assert_eq!((state.phase.name(), state.asking), ("watching", None));
    assert_eq!(healthy(&world).await, Millis::minutes(5), "silence is not health");
    world.metrics.silence(&name("api"), false);
    world.metrics.silence(&name("web"), false);
    world.run_for(Millis::minutes(4)).await;
    assert_eq!((world.ending(RELEASE).await, healthy(&world).await), (None, Millis::minutes(9)));
    world.run_for(Millis::minutes(1)).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::Live));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_bad_when_traffic_is_back_is_undone() {
    let mut world = silent_after_five_minutes().await;
    world.run_for(Millis::minutes(3)).await;
    world.metrics.set(image("api", 1), Metric::ErrorRate, 900);
    world.metrics.silence(&name("api"), false);
    world.run_until(Millis::minutes(3), "rolled back", is_over(RELEASE)).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn if_it_stays_away_a_person_is_asked() {
    let mut world = silent_after_five_minutes().await;
    world.run_for(Millis::minutes(12)).await;
    let state = world.release(RELEASE).await.unwrap();
    let why = state.asking.unwrap().why;
    assert_eq!(why, "the watch is inconclusive: too little traffic or no data. Promote it, or roll it back");
    world.run_for(Millis::hours(2)).await;
    assert_eq!(world.phase(RELEASE).await.unwrap().name(), "watching");
    world.assert_sound().await;
}
