//! Argo Rollouts #1905, #1466, #3503: an analysis without traffic or data was taken for a success, or for a failure.
//! Here: it is neither. The watch says that it learned nothing, goes on up to its limit, and then a person is asked;
//! until they answer nothing becomes live and nothing is undone.

use portcullis_domain::event::{Actor, What};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::Metric;
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image, name};

use crate::{is_over, watching};

const RELEASE: ReleaseId = ReleaseId(1);
const WORDS: &str = "the watch is inconclusive: too little traffic or no data. Promote it, or roll it back";

async fn assert_a_person_is_asked(world: &mut World) {
    world.run_for(Millis::minutes(10)).await;
    let state = world.release(RELEASE).await.unwrap();
    assert_eq!((state.phase.name(), state.asking), ("watching", None), "its extension is not over");
    world.run_for(Millis::minutes(2)).await;
    let state = world.release(RELEASE).await.unwrap();
    assert_eq!((state.phase.name(), state.asking.unwrap().why.as_str()), ("watching", WORDS));
    assert_eq!(state.watch.unwrap().healthy, Millis(0), "not a minute of it counts as healthy");
    world.run_for(Millis::hours(2)).await;
    assert_eq!(world.phase(RELEASE).await.unwrap().name(), "watching", "nobody answered: nothing is decided");
    assert!(world.all_serve(1));
}

#[tokio::test(start_paused = true)]
async fn with_no_data_a_person_is_asked_and_may_let_it_go_live() {
    let mut world = watching().await;
    world.metrics.silence(&name("api"), true);
    world.metrics.silence(&name("web"), true);
    assert_a_person_is_asked(&mut world).await;
    world.command("ama", Command::Promote { release: RELEASE }).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::Live));
    let live = world.events().await.into_iter().find(|event| matches!(event.what, What::WentLive { .. })).unwrap();
    assert_eq!(live.actor, Actor::Person("ama".parse().unwrap()), "on whose word is in the ledger");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn with_zero_requests_a_person_is_asked_and_may_undo_it() {
    let mut world = watching().await;
    for service in ["api", "web"] {
        world.metrics.set(image(service, 1), Metric::Requests, 0);
        world.metrics.set(image(service, 1), Metric::ErrorRate, 0);
    }
    assert_a_person_is_asked(&mut world).await;
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", is_over(RELEASE)).await;
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_few_failed_requests_below_the_floor_undo_nothing() {
    let mut world = watching().await;
    for service in ["api", "web"] {
        // Half a request per second, all of them failed: noise, by the policy's own floor.
        world.metrics.set(image(service, 1), Metric::Requests, 500);
        world.metrics.set(image(service, 1), Metric::ErrorRate, 10_000);
    }
    assert_a_person_is_asked(&mut world).await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn one_silent_service_of_two_is_enough_to_learn_nothing() {
    let mut world = watching().await;
    world.metrics.silence(&name("web"), true);
    assert_a_person_is_asked(&mut world).await;
    world.assert_sound().await;
}
