//! The engine's contract tests on the stores of this crate.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;

use portcullis_embedded::blobs::FileBlobs;
use portcullis_embedded::clock::SystemClock;
use portcullis_embedded::sqlite::SqliteStore;
use portcullis_engine::contract;

fn store() -> (tempfile::TempDir, Arc<SqliteStore>) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    (directory, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_on_sqlite_keeps_the_contract() {
    let (_directory, store) = store();
    contract::ledger(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_on_sqlite_keeps_the_contract() {
    let (_directory, store) = store();
    contract::queue(store, Arc::new(SystemClock)).await;
}

#[tokio::test]
async fn blobs_in_files_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract::blobs(Arc::new(FileBlobs::new(directory.path()).unwrap())).await;
}
