//! Argo CD #12897: another tool, or a hand, changes what a deployment left behind, and the two fight over it.
//! Here: the image of the old colour is changed by hand while it is kept to return to. What serves goes on serving, the
//! hand is not overwritten, a person is called, and when they have said what counts the next release can go.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::Colour;
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{image, name};
use portcullis_engine::recorder::Commanded;

use crate::{gated, is};

fn blue() -> ObjectKey {
    ObjectKey::workload(&name("api"), Colour::Blue)
}

fn by_hand() -> Value {
    Value::Workload { digest: image("api", 99), replicas: 1 }
}

/// Release 1 is live; its old colour was changed by hand, and its time is over.
async fn changed_by_hand() -> World {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.cluster.by_hand(&world.target, &blue(), by_hand());
    world.run_for(Millis::minutes(40)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn it_is_not_overwritten_and_what_serves_goes_on_serving() {
    let mut world = changed_by_hand().await;
    world.run_for(Millis::hours(2)).await;
    assert_eq!(world.cluster.found(&world.target, &blue()).stamp.unwrap().value, by_hand());
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_resolves_it_and_the_next_release_goes() {
    let mut world = changed_by_hand().await;
    let state = world.state().await;
    if state.releases.values().any(|release| release.phase.name() == "needs_help") {
        let resolved = world.command("ama", Command::Resolve { reason: "a test of mine".into() }).await;
        assert!(matches!(resolved, Commanded::Accepted(_)), "{resolved:?}\n{}", world.story().await);
    }
    world.run_for(Millis::hours(2)).await;
    world.push_all(2).await;
    world.settle().await;
    let next = world.newest().await;
    assert_eq!(next, ReleaseId(2));
    world.approve("kofi").await;
    world.run_until(Millis::hours(2), "release 2 is live", is(next, "live")).await;
    assert!(world.all_serve(2));
    world.assert_sound().await;
}
