//! The queue on SQLite by its port, with time in the test's hand where it matters.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_embedded::sqlite::{SqliteOptions, SqliteStore};
use portcullis_engine::ports::{Clock, Queue, Wake};

fn target(name: &str) -> TargetId {
    name.parse().unwrap()
}

struct Hand(AtomicU64);

impl Hand {
    fn at(now: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now)))
    }
    fn set(&self, now: u64) {
        self.0.store(now, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
    async fn sleep_until(&self, at: Timestamp) {
        while self.now() < at {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn store_at(now: u64) -> (tempfile::TempDir, Arc<Hand>, Arc<SqliteStore>) {
    let directory = tempfile::tempdir().unwrap();
    let clock = Hand::at(now);
    let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
    let store = SqliteStore::open_with(directory.path(), options).unwrap();
    (directory, clock, store)
}

fn wake(name: &str, version: u64, at: u64) -> Wake {
    Wake { target: target(name), version: Seq(version), at: Timestamp(at) }
}

#[tokio::test]
async fn a_wake_is_seen_from_its_moment_on_once_until_it_is_done() {
    let (_directory, clock, store) = store_at(1_000);
    let (now, later) = (wake("shop/production", 3, 900), wake("shop/production", 4, 1_500));
    for wake in [&later, &now, &now] {
        store.send(wake.clone()).await.unwrap();
    }
    let taken = store.receive(10, Millis(0)).await.unwrap();
    assert_eq!(taken.iter().map(|received| &received.wake).collect::<Vec<_>>(), [&now]);
    assert_eq!(store.receive(10, Millis(0)).await.unwrap(), []);
    store.done(&taken[0].receipt).await.unwrap();
    clock.set(1_500);
    let taken = store.receive(10, Millis(0)).await.unwrap();
    assert_eq!(taken.iter().map(|received| &received.wake).collect::<Vec<_>>(), [&later]);
    store.done(&taken[0].receipt).await.unwrap();
    store.done("nonsense").await.unwrap();
    clock.set(1_000_000);
    assert_eq!(store.receive(10, Millis(0)).await.unwrap(), []);
}

#[tokio::test]
async fn a_wake_that_is_not_done_comes_again_and_its_first_receipt_ends_nothing() {
    let (_directory, clock, store) = store_at(1_000);
    store.send(wake("shop/production", 3, 900)).await.unwrap();
    let first = store.receive(10, Millis(0)).await.unwrap();
    clock.set(60_999);
    assert_eq!(store.receive(10, Millis(0)).await.unwrap(), []);
    clock.set(61_000);
    let second = store.receive(10, Millis(0)).await.unwrap();
    assert_eq!(second[0].wake, first[0].wake);
    store.done(&first[0].receipt).await.unwrap();
    clock.set(200_000);
    let third = store.receive(10, Millis(0)).await.unwrap();
    assert_eq!(third.len(), 1);
    store.done(&third[0].receipt).await.unwrap();
    clock.set(400_000);
    assert_eq!(store.receive(10, Millis(0)).await.unwrap(), []);
}

#[tokio::test]
async fn a_wake_sent_again_while_one_like_it_is_acted_on_is_not_lost() {
    let (_directory, _, store) = store_at(1_000);
    let same = wake("shop/production", 3, 900);
    store.send(same.clone()).await.unwrap();
    let first = store.receive(10, Millis(0)).await.unwrap();
    store.send(same.clone()).await.unwrap();
    store.done(&first[0].receipt).await.unwrap();
    let second = store.receive(10, Millis(0)).await.unwrap();
    assert_eq!(second.iter().map(|received| &received.wake).collect::<Vec<_>>(), [&same]);
}

#[tokio::test]
async fn after_a_restart_taken_wakes_are_there_at_once() {
    let (directory, _, store) = store_at(1_000);
    store.send(wake("shop/production", 3, 900)).await.unwrap();
    let first = store.receive(10, Millis(0)).await.unwrap();
    drop(store);
    let options = SqliteOptions { clock: Hand::at(1_001), ..SqliteOptions::default() };
    let store = SqliteStore::open_with(directory.path(), options).unwrap();
    store.done(&first[0].receipt).await.unwrap();
    assert_eq!(store.receive(10, Millis(0)).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_receiver_hears_a_wake_at_once_and_a_later_one_at_its_moment() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let now = SqliteOptions::default().clock.now();
    let receiving = tokio::spawn({
        let store = store.clone();
        async move { store.receive(1, Millis::seconds(60)).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!receiving.is_finished());
    store.send(wake("shop/production", 1, now.0)).await.unwrap();
    let taken = tokio::time::timeout(Duration::from_secs(10), receiving).await.unwrap().unwrap();
    store.done(&taken[0].receipt).await.unwrap();

    let now = SqliteOptions::default().clock.now();
    let due = now + Millis(200);
    store.send(wake("shop/production", 2, due.0)).await.unwrap();
    assert_eq!(store.receive(1, Millis(20)).await.unwrap(), []);
    let taken = store.receive(1, Millis::seconds(60)).await.unwrap();
    assert_eq!(taken[0].wake.version, Seq(2));
    assert!(SqliteOptions::default().clock.now() >= due);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_receivers_each_wake_goes_to_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let receivers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                loop {
                    let some = store.receive(3, Millis(500)).await.unwrap();
                    if some.is_empty() {
                        return taken;
                    }
                    for received in some {
                        store.done(&received.receipt).await.unwrap();
                        taken.push(received.wake.version.0);
                    }
                }
            })
        })
        .collect();
    for version in 0..100 {
        store.send(wake("shop/production", version, 1)).await.unwrap();
    }
    let mut all = Vec::new();
    for receiver in receivers {
        all.extend(receiver.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}
