//! The driver's own loop on the queue: one worker, a parked action, a graceful stop.

use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::time::Millis;
use portcullis_engine::memory::world::Ending;
use portcullis_engine::memory::{Op, World};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Runs the driver of a world with this many workers, its clock moving with tokio's.
fn running(world: &World, workers: usize) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (stop, stopped) = watch::channel(false);
    let driver = world.drivers[0].clone();
    let clock = Arc::clone(&world.clock);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            clock.advance(Millis(100));
        }
    });
    (stop, tokio::spawn(async move { driver.run(stopped, workers).await }))
}

/// Lets tokio's (paused) time pass.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn one_worker_brings_a_release_live_and_stops_when_told() {
    let mut world = World::new();
    let (stop, run) = running(&world, 1);
    world.push_all(1).await;
    pass(5).await;
    world.approve("kofi").await;
    pass(15 * 60).await;
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::Live));
    assert!(world.all_serve(1));
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(15), run).await.expect("it stops").unwrap();
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn with_one_worker_and_a_parked_backup_a_person_is_still_answered_at_once() {
    let mut world = World::new();
    let (stop, run) = running(&world, 1);
    world.push_all(1).await;
    pass(5).await;
    world.faults.hold_before(Op::Export);
    world.approve("kofi").await;
    pass(60).await;
    assert!(world.faults.held(Op::Export) >= 1, "the driver is parked");
    world.roll_back("ama").await;
    pass(5).await;
    assert!(world.state().await.releases.is_empty(), "it was settled meanwhile");
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(15), run).await.expect("a parked action does not keep it").unwrap();
}
