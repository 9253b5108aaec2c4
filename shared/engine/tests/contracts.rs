//! The in-memory twins keep the contracts that every adapter must keep.

use std::sync::Arc;

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{LedgerId, ServiceName};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::contract;
use portcullis_engine::memory::{FakeCluster, Faults, ManualClock, MemoryBlobs, MemoryLedger, MemoryQueue, World};
use portcullis_engine::ports::Clock;

/// A clock that moves on by itself while a contract waits.
fn running_clock() -> Arc<ManualClock> {
    let clock = ManualClock::new(Timestamp(1_800_000_000_000));
    let moved = clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            moved.advance(Millis(10));
        }
    });
    clock
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_ledger_keeps_its_contract() {
    contract::ledger(MemoryLedger::new(LedgerId::new("memory").unwrap(), Faults::default())).await;
}

#[tokio::test(start_paused = true)]
async fn the_queue_keeps_its_contract() {
    let clock = running_clock();
    contract::queue(MemoryQueue::new(clock.clone(), Faults::default()), clock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_blobs_keep_their_contract() {
    contract::blobs(MemoryBlobs::new(Faults::default())).await;
}

#[tokio::test(start_paused = true)]
async fn the_cluster_keeps_its_contract() {
    let clock = running_clock();
    let cluster = FakeCluster::new(clock.clone() as Arc<dyn Clock>, Faults::default());
    contract::cluster(contract::ClusterCase {
        cluster,
        clock,
        target: "shop/production".parse().unwrap(),
        place: World::policy().place,
        service: ServiceName::new("api").unwrap(),
        manifests: None,
        digests: [Digest::of(b"one"), Digest::of(b"two")],
    })
    .await;
}
