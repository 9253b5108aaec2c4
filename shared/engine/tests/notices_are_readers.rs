//! Notices read the ledger with a cursor each; none can hold up or break anything else.

use std::sync::Arc;

use portcullis_domain::names::Seq;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::notices::Manner;
use portcullis_engine::memory::{MemoryNotices, World};
use portcullis_engine::ports::{Ledger, Notices};
use portcullis_engine::reader::{Delivered, deliver};

fn readers(all: &[(&str, &Arc<MemoryNotices>)]) -> Vec<(String, Arc<dyn Notices>)> {
    all.iter().map(|(name, notices)| ((*name).to_owned(), (*notices).clone() as Arc<dyn Notices>)).collect()
}

fn told(notices: &MemoryNotices) -> Vec<Seq> {
    notices.told().iter().map(|notice| notice.event.seq).collect()
}

#[tokio::test(start_paused = true)]
async fn each_event_is_told_once_and_in_order_and_a_failing_reader_catches_up() {
    let mut world = World::new();
    let (good, bad) = (MemoryNotices::new(), MemoryNotices::new());
    bad.set(Manner::Refuses);
    let readers = readers(&[("good", &good), ("bad", &bad)]);
    world.push_all(1).await;
    world.settle().await;
    let events = world.events().await.len();
    let round = deliver(&world.ports, &readers).await.unwrap();
    assert_eq!(round, Delivered { told: events, failed: 1 });
    assert_eq!(told(&good), (1..=events as u64).map(Seq).collect::<Vec<_>>());

    world.approve("kofi").await;
    world.run_until_phase("live").await;
    deliver(&world.ports, &readers).await.unwrap();
    bad.set(Manner::Takes);
    deliver(&world.ports, &readers).await.unwrap();
    assert_eq!(told(&good), told(&bad), "the one that failed missed nothing");
    assert_eq!(told(&good).len(), world.events().await.len());
    assert_eq!(deliver(&world.ports, &readers).await.unwrap(), Delivered::default(), "nothing is told twice");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_never_answers_holds_no_other_up_and_no_release() {
    let mut world = World::new();
    let (good, silent) = (MemoryNotices::new(), MemoryNotices::new());
    silent.set(Manner::Hangs);
    world.push_all(1).await;
    world.settle().await;
    let (ports, both) = (world.ports.clone(), readers(&[("silent", &silent), ("good", &good)]));
    let telling = tokio::spawn(async move { deliver(&ports, &both).await.unwrap() });
    world.run_for(Millis::seconds(5)).await;
    assert_eq!(told(&good).len(), world.events().await.len(), "the other was told meanwhile");
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    let round = telling.await.unwrap();
    assert_eq!(round.failed, 1, "the silent one was given up for this round");
    assert_eq!(world.ledger.cursor("silent", &world.target).await.unwrap(), Seq(0), "and is told again");
}
