//! A process that is killed while it appends: nothing that it was told is stored may be missing.
//!
//! What a kill can show is that no acknowledgement runs ahead of the commit. That a commit has reached the disk is
//! SQLite's `synchronous = FULL`, which the schema's own test looks at.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_domain::names::{ReleaseId, Seq, TargetId};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_embedded::blobs::FileBlobs;
use portcullis_embedded::sqlite::SqliteStore;
use portcullis_engine::codec::{chain, genesis};
use portcullis_engine::ports::{Append, Blobs, Head, Ledger, Queue, Wake};

const WRITERS: u64 = 4;
const DIRECTORY: &str = "PORTCULLIS_TEST_CRASH_DIRECTORY";

fn target(writer: u64) -> TargetId {
    format!("app-{writer}/production").parse().unwrap()
}

fn body(writer: u64, version: u64) -> Vec<u8> {
    format!("{writer} {version} ").into_bytes().repeat(usize::try_from(1 + version * 7 % 300).unwrap())
}

/// Appends, and notes each acknowledgement in a file, until killed.
async fn append_for_ever(directory: &std::path::Path) {
    let store = SqliteStore::open(directory).unwrap();
    let blobs = FileBlobs::new(&directory.join("blobs")).unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, blobs) = (store.clone(), blobs.clone());
        let path = directory.join(format!("acknowledged-{writer}"));
        let mut notes = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writers.spawn(async move {
            let own = target(writer);
            // In one write: a kill between two would leave half a line, and the next process would go on in it.
            let mut note =
                |what: &str, version: u64| notes.write_all(format!("{what} {version}\n").as_bytes()).unwrap();
            loop {
                let head = store.head(&own).await.unwrap();
                let version = head.as_ref().map_or(0, |head| head.version.0) + 1;
                let commit = body(writer, version);
                let before = head.map_or_else(genesis, |head| head.chain);
                let head = Head {
                    version: Seq(version),
                    snapshot: commit.clone(),
                    chain: chain(before, &commit),
                    last_at: Timestamp(1),
                    wake_at: None,
                    min_reader: 1,
                };
                let append = Append {
                    target: own.clone(),
                    expected: Seq(version - 1),
                    commit,
                    head,
                    scopes: Vec::new(),
                    opens: vec![ReleaseId(version * WRITERS + writer)],
                    delivery: None,
                };
                store.append(append).await.unwrap();
                note("append", version);
                store.send(Wake { target: own.clone(), version: Seq(version), at: Timestamp(1) }).await.unwrap();
                note("wake", version);
                if version % 5 == 0 {
                    blobs.put(&format!("{writer}/{version}"), &body(writer, version), true).await.unwrap();
                    note("blob", version);
                }
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return append_for_ever(directory.as_ref()).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    // Moments at which to kill: during the opening, the first appends, later ones, a checkpoint.
    let early = [5, 40, 90, 150, 210, 330];
    for wait in early.into_iter().chain([470; 40]) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_has_lost_nothing_that_it_acknowledged"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = verify(directory.path()).await;
        if wait == 470 && acknowledged > 500 {
            return;
        }
    }
    panic!("only {acknowledged} appends were tried");
}

/// The number of acknowledged appends, all of which are there.
async fn verify(directory: &std::path::Path) -> usize {
    if !directory.join("portcullis.db").exists() {
        return 0;
    }
    // First as a command beside it would read what the dead process left; its tables may not have been made yet.
    let reader = SqliteStore::open_read_only(directory);
    let store = SqliteStore::open(directory).unwrap();
    let blobs = FileBlobs::new(&directory.join("blobs")).unwrap();
    let mut wakes = Vec::new();
    loop {
        let taken = store.receive(100, Millis(0)).await.unwrap();
        if taken.is_empty() {
            break;
        }
        wakes.extend(taken.into_iter().map(|received| (received.wake.target, received.wake.version.0)));
    }
    let mut acknowledged = 0;
    for writer in 0..WRITERS {
        let own = target(writer);
        let verified = store.verify_chain(&own).await.unwrap();
        assert_eq!(verified.last.0, verified.commits);
        if let Ok(reader) = &reader {
            assert_eq!(reader.verify_chain(&own).await.unwrap(), verified);
        }
        let head = store.head(&own).await.unwrap();
        assert_eq!(head.map_or(0, |head| head.version.0), verified.last.0);
        for commit in store.commits(&own, Seq(0), usize::MAX).await.unwrap() {
            assert_eq!(commit.bytes, body(writer, commit.first.0));
            let number = ReleaseId(commit.first.0 * WRITERS + writer);
            assert_eq!(store.release(number).await.unwrap(), Some(own.clone()));
        }
        let notes = std::fs::read_to_string(directory.join(format!("acknowledged-{writer}"))).unwrap_or_default();
        for note in notes.lines() {
            let (what, version) = note.split_once(' ').unwrap();
            let version: u64 = version.parse().unwrap();
            match what {
                "append" => assert!(version <= verified.last.0, "append {version} of {own} is lost"),
                "wake" => assert!(wakes.contains(&(own.clone(), version)), "wake {version} of {own} is lost"),
                _ => {
                    let bytes = blobs.get(&format!("{writer}/{version}")).await.unwrap();
                    assert_eq!(bytes, Some(body(writer, version)), "blob {version} of {own}");
                }
            }
            acknowledged += usize::from(what == "append");
        }
        for key in blobs.list(&format!("{writer}/")).await.unwrap() {
            assert!(blobs.get(&key).await.unwrap().is_some(), "blob {key} is torn");
        }
    }
    acknowledged
}
