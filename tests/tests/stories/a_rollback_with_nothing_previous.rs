//! The first deployment of all fails, and the rollback has nothing to return to: tools that scale the only version to
//! zero, or report success, take the service down.
//! Here: what serves is left to serve, a person is called in words and louder each time, and their own rollback is
//! refused with the reason.

use portcullis_domain::event::What;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::Ending;

use crate::{count, refusal};

async fn first_of_all() -> World {
    let mut world = World::empty(|_| {});
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    assert!(world.all_serve(1));
    world
}

#[tokio::test(start_paused = true)]
async fn traffic_stays_and_a_person_is_called() {
    let mut world = first_of_all().await;
    let release = world.newest().await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_until_phase("needs_help").await;
    let asking = world.release(release).await.unwrap().asking.unwrap();
    assert_eq!(asking.why, "api was never live before this release: there is nothing to return to");
    for _ in 0..40 {
        world.run_for(Millis::minutes(1)).await;
        assert!(world.all_serve(1), "requests are answered all the while");
    }
    assert!(count(&world, |what| matches!(what, What::Escalated { .. })).await >= 2, "it gets louder");
    world.command("ama", Command::Resolve { reason: "fixed by hand".into() }).await;
    world.run_for(Millis::minutes(2)).await;
    assert_eq!(world.ending(release).await, Some(Ending::Resolved));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_asks_for_it_is_told_why_not() {
    let mut world = first_of_all().await;
    let why = refusal(world.roll_back("ama").await);
    assert_eq!(why, "nothing served before release 1: there is nothing to return to");
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}
