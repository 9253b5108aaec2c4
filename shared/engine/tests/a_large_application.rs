//! Many services and many releases that wait: the head stays small, and a rollback is appended all the same.

use portcullis_domain::policy::Waiting;
use portcullis_domain::time::Millis;
use portcullis_engine::codec::MOST_HEAD;
use portcullis_engine::memory::World;
use portcullis_engine::ports::Ledger;

async fn head_size(world: &World) -> usize {
    world.ledger.head(&world.target).await.map_or(0, |head| head.map_or(0, |head| head.snapshot.len()))
}

#[tokio::test(start_paused = true)]
async fn of_ten_services_with_six_releases_waiting_is_released_and_rolled_back() {
    let mut world = World::with(|policy| {
        policy.services =
            (0..10).map(|n| World::service(&format!("a-rather-long-service-name-{n}"), n / 4, &[])).collect();
        policy.waiting = Waiting::Queue;
    });
    let mut largest = 0;
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    for n in 2..8 {
        world.push_all(n).await;
        world.settle().await;
        largest = largest.max(head_size(&world).await);
    }
    world.run_for(Millis::minutes(13)).await;
    largest = largest.max(head_size(&world).await);
    assert!(world.all_serve(1));
    world.roll_back("ama").await;
    world.run_for(Millis::minutes(5)).await;
    largest = largest.max(head_size(&world).await);
    assert!(world.all_serve(0));
    println!("the largest head took {largest} of {MOST_HEAD} bytes");
    assert!(largest < MOST_HEAD);
    world.assert_sound().await;
}
