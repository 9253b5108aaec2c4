//! The ledger on SQLite by its port: conditions of an append, many writers, readers beside a server, the chain.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{DeliveryId, ReleaseId, Seq, Subject, TargetId};
use portcullis_domain::scope::{Scope, ScopeState, Stop};
use portcullis_domain::time::Timestamp;
use portcullis_embedded::sqlite::{ChainError, SqliteStore, Verified};
use portcullis_engine::codec::{chain, genesis};
use portcullis_engine::ports::{Append, AppendError, Head, Ledger, Queue, Wake};

fn target(name: &str) -> TargetId {
    name.parse().unwrap()
}

/// A commit of `events` events on top of a head.
fn append(target: &TargetId, head: Option<&Head>, events: u64, commit: &[u8]) -> Append {
    let expected = head.map_or(Seq(0), |head| head.version);
    let before = head.map_or_else(genesis, |head| head.chain);
    Append {
        target: target.clone(),
        expected,
        commit: commit.to_vec(),
        head: Head {
            version: Seq(expected.0 + events),
            snapshot: [b"state after ", commit].concat(),
            chain: chain(before, commit),
            last_at: Timestamp(1),
            wake_at: None,
            min_reader: 1,
        },
        scopes: Vec::new(),
        opens: Vec::new(),
        delivery: None,
    }
}

async fn extend(store: &SqliteStore, target: &TargetId, events: u64, commit: &[u8]) {
    let head = store.head(target).await.unwrap();
    store.append(append(target, head.as_ref(), events, commit)).await.unwrap();
}

fn store() -> (tempfile::TempDir, Arc<SqliteStore>) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    (directory, store)
}

#[tokio::test]
async fn what_was_appended_is_read_back_byte_for_byte_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let shop = target("shop/production");
    let mut one = append(&shop, None, 2, b"{\"one\":\0\xff}");
    one.head.wake_at = Some(Timestamp(70));
    one.head.min_reader = 3;
    let mut two = append(&shop, Some(&one.head), 3, &vec![7; 40_000]);
    two.head.wake_at = Some(Timestamp(90));
    let id = {
        let store = SqliteStore::open(directory.path()).unwrap();
        assert_eq!(store.head(&shop).await.unwrap(), None);
        store.append(one.clone()).await.unwrap();
        assert_eq!(store.head(&shop).await.unwrap(), Some(one.head.clone()));
        store.append(two.clone()).await.unwrap();
        store.id()
    };
    let store = SqliteStore::open(directory.path()).unwrap();
    assert_eq!(store.id(), id);
    assert_eq!(store.head(&shop).await.unwrap(), Some(two.head.clone()));
    let all = store.commits(&shop, Seq(0), 10).await.unwrap();
    let read: Vec<_> = all.iter().map(|commit| (commit.first.0, commit.last.0, commit.before, &commit.bytes)).collect();
    assert_eq!(read, [(1, 2, genesis(), &one.commit), (3, 5, one.head.chain, &two.commit)]);
    for (after, most, firsts) in
        [(1, 10, vec![1, 3]), (2, 10, vec![3]), (4, 10, vec![3]), (5, 10, vec![]), (0, 1, vec![1])]
    {
        let found = store.commits(&shop, Seq(after), most).await.unwrap();
        assert_eq!(found.iter().map(|commit| commit.first.0).collect::<Vec<_>>(), firsts, "after {after}");
    }
    assert_eq!(store.targets().await.unwrap(), std::slice::from_ref(&shop));
    assert_eq!(store.overdue(Timestamp(89)).await.unwrap(), []);
    assert_eq!(store.overdue(Timestamp(90)).await.unwrap(), std::slice::from_ref(&shop));
    assert_eq!(store.verify_chain(&shop).await.unwrap(), Verified { commits: 2, last: Seq(5) });
    assert_eq!(store.verify_chain(&target("no/body")).await.unwrap(), Verified { commits: 0, last: Seq(0) });
}

#[tokio::test]
async fn each_condition_of_an_append_refuses_it_whole() {
    let (_directory, store) = store();
    let (shop, bank) = (target("shop/production"), target("bank/production"));
    let halt = Stop { who: Subject::new("ama").unwrap(), reason: "audit".into(), since: Timestamp(1), until: None };
    let stopped = ScopeState { version: 1, stop: Some(halt), ..ScopeState::default() };
    assert!(store.set_scope(&Scope::All, &stopped).await.unwrap());
    let mut first = append(&bank, None, 1, b"bank");
    first.opens = vec![ReleaseId(7)];
    store.append(first).await.unwrap();

    let delivery = DeliveryId::new("d-1").unwrap();
    let good = Append {
        scopes: vec![(Scope::All, 1), (Scope::Application(shop.app.clone()), 0)],
        opens: vec![ReleaseId(8)],
        delivery: Some(delivery.clone()),
        ..append(&shop, None, 1, b"shop")
    };
    let refused = [
        Append { expected: Seq(1), head: Head { version: Seq(2), ..good.head.clone() }, ..good.clone() },
        Append { scopes: vec![(Scope::All, 0)], ..good.clone() },
        Append { scopes: vec![(Scope::Environment(shop.env.clone()), 1)], ..good.clone() },
        Append { opens: vec![ReleaseId(8), ReleaseId(7)], ..good.clone() },
        Append { head: Head { version: Seq(0), ..good.head.clone() }, ..good.clone() },
    ];
    let mut why = Vec::new();
    for append in refused {
        why.push(match store.append(append).await.unwrap_err() {
            AppendError::Conflict => "conflict",
            AppendError::ScopeMoved => "scope",
            AppendError::NumberTaken => "number",
            AppendError::Port(_) => "port",
        });
        assert_eq!(store.head(&shop).await.unwrap(), None);
        assert_eq!(store.commits(&shop, Seq(0), 9).await.unwrap(), []);
        assert_eq!(store.release(ReleaseId(8)).await.unwrap(), None);
        assert!(!store.delivered(&shop, &delivery).await.unwrap());
    }
    assert_eq!(why, ["conflict", "scope", "scope", "number", "port"]);

    assert_eq!(store.next_release().await.unwrap(), ReleaseId(8));
    store.append(good.clone()).await.unwrap();
    assert_eq!(store.next_release().await.unwrap(), ReleaseId(9));
    assert_eq!(store.release(ReleaseId(8)).await.unwrap(), Some(shop.clone()));
    assert!(store.delivered(&shop, &delivery).await.unwrap());
    assert!(!store.delivered(&bank, &delivery).await.unwrap());
    // Repeating one whose answer was lost changes nothing.
    assert!(matches!(store.append(good).await, Err(AppendError::Conflict)));
}

#[tokio::test]
async fn a_scope_changes_only_from_the_version_before() {
    let (_directory, store) = store();
    let scopes = Scope::of(&target("shop/production"));
    let state = |version| ScopeState { version, stop: None, ..ScopeState::default() };
    assert_eq!(store.scopes(&scopes).await.unwrap(), vec![ScopeState::default(); 4]);
    assert!(store.set_scope(&scopes[3], &state(1)).await.unwrap());
    assert!(!store.set_scope(&scopes[3], &state(1)).await.unwrap());
    assert!(!store.set_scope(&scopes[3], &state(3)).await.unwrap());
    assert!(store.set_scope(&scopes[3], &state(2)).await.unwrap());
    assert!(store.set_scope(&scopes[0], &state(1)).await.unwrap());
    assert!(!store.set_scope(&scopes[1], &state(0)).await.unwrap());
    let all = store.scopes(&scopes).await.unwrap();
    assert_eq!(all.iter().map(|state| state.version).collect::<Vec<_>>(), [1, 0, 0, 2]);
    let changed = store.all_scopes().await.unwrap();
    assert_eq!(changed, [(scopes[0].clone(), state(1)), (scopes[3].clone(), state(2))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_writers_on_one_head_exactly_one_wins() {
    let (_directory, store) = store();
    let shop = target("shop/production");
    let mut head = None;
    for round in 0..5_u8 {
        let writers: Vec<_> = (0..64_u8)
            .map(|n| {
                let (store, append) = (store.clone(), append(&shop, head.as_ref(), 1, &[round, n]));
                tokio::spawn(async move { (append.commit.clone(), store.append(append).await) })
            })
            .collect();
        let mut won = Vec::new();
        for writer in writers {
            match writer.await.unwrap() {
                (commit, Ok(())) => won.push(commit),
                (_, Err(AppendError::Conflict)) => {}
                (_, Err(other)) => panic!("{other}"),
            }
        }
        assert_eq!(won.len(), 1);
        head = store.head(&shop).await.unwrap();
        assert_eq!(store.commits(&shop, Seq(u64::from(round)), 9).await.unwrap()[0].bytes, won[0]);
    }
    assert_eq!(store.verify_chain(&shop).await.unwrap(), Verified { commits: 5, last: Seq(5) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_different_targets_all_win_and_one_release_number_is_taken_once() {
    let (_directory, store) = store();
    let writers: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let own = target(&format!("app-{n}/production"));
                let mut head = None;
                let mut retries = 0;
                for commit in [b"a", b"b"] {
                    loop {
                        let mut append = append(&own, head.as_ref(), 1, commit);
                        append.opens = vec![store.next_release().await.unwrap()];
                        let next = append.head.clone();
                        match store.append(append).await {
                            Ok(()) => break head = Some(next),
                            Err(AppendError::NumberTaken) => retries += 1,
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
                retries
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.next_release().await.unwrap(), ReleaseId(129));
    assert_eq!(store.targets().await.unwrap().len(), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_the_server_sees_whole_commits_while_it_writes() {
    let (directory, store) = store();
    let shop = target("shop/production");
    extend(&store, &shop, 1, b"first").await;
    let reader = SqliteStore::open_read_only(directory.path()).unwrap();
    assert_eq!(reader.id(), store.id());
    let writing = tokio::spawn({
        let (store, shop) = (store.clone(), shop.clone());
        async move {
            for n in 0..200_u16 {
                extend(&store, &shop, 1 + u64::from(n) % 3, &n.to_be_bytes()).await;
            }
        }
    });
    let mut seen = Seq(0);
    while !writing.is_finished() {
        let verified = reader.verify_chain(&shop).await.unwrap();
        assert!(verified.last >= seen);
        seen = verified.last;
    }
    writing.await.unwrap();
    assert_eq!(reader.head(&shop).await.unwrap(), store.head(&shop).await.unwrap());
    assert_eq!(reader.verify_chain(&shop).await.unwrap().commits, 201);

    let refused = reader.append(append(&shop, reader.head(&shop).await.unwrap().as_ref(), 1, b"x")).await.unwrap_err();
    assert!(refused.to_string().contains("opened for reading only"), "{refused}");
    assert!(reader.send(Wake { target: shop.clone(), version: Seq(1), at: Timestamp(1) }).await.is_err());
    assert!(reader.lease(&shop, Seq(1), Timestamp(1), Timestamp(2)).await.is_err());
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_is_there() {
    let (directory, store) = store();
    let error = SqliteStore::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("process {} has it open for writing", std::process::id())), "{error}");
    drop(store);
    SqliteStore::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_reader_without_a_store_is_told_so_and_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let error = SqliteStore::open_read_only(directory.path()).unwrap_err().to_string();
    assert!(error.contains("there is no portcullis.db"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_reader_reads_what_a_stopped_server_left() {
    let (directory, store) = store();
    let shop = target("shop/production");
    extend(&store, &shop, 1, b"first").await;
    drop(store);
    let reader = SqliteStore::open_read_only(directory.path()).unwrap();
    assert_eq!(reader.verify_chain(&shop).await.unwrap().commits, 1);
}

#[tokio::test]
async fn a_changed_byte_a_missing_commit_and_a_changed_head_break_the_chain() {
    let shop = target("shop/production");
    let damages = [
        ("UPDATE commits SET bytes = x'00' WHERE first = 3", 5, "hash of what is before"),
        ("UPDATE commits SET bytes = x'00' WHERE first = 7", 8, "the head has another hash"),
        ("DELETE FROM commits WHERE first = 3", 5, "a commit before it is missing"),
        ("DELETE FROM commits WHERE first = 7", 7, "commits are missing at the end"),
        ("UPDATE commits SET last = 9 WHERE first = 7", 9, "goes beyond the head"),
        ("UPDATE heads SET chain = zeroblob(32)", 8, "the head has another hash"),
    ];
    for (damage, event, words) in damages {
        let (directory, store) = store();
        for commit in [b"a", b"b", b"c", b"d"] {
            extend(&store, &shop, 2, commit).await;
        }
        let hand = rusqlite::Connection::open(directory.path().join("portcullis.db")).unwrap();
        hand.execute(damage, []).unwrap();
        match store.verify_chain(&shop).await {
            Err(ChainError::Broken { at, why, .. }) => assert!(at.0 == event && why.contains(words), "{at} {why}"),
            other => panic!("{damage}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_lease_is_held_by_one_until_it_ends_runs_out_or_its_process_dies() {
    let (directory, store) = store();
    let shop = target("shop/production");
    let lease = |now, until| store.lease(&shop, Seq(4), Timestamp(now), Timestamp(until));
    assert!(lease(10, 20).await.unwrap());
    assert!(!lease(19, 40).await.unwrap());
    assert!(lease(20, 40).await.unwrap());
    assert!(store.lease(&shop, Seq(5), Timestamp(20), Timestamp(40)).await.unwrap());
    store.end_lease(&shop, Seq(4)).await.unwrap();
    assert!(lease(21, 40).await.unwrap());
    drop(store);
    let store = SqliteStore::open(directory.path()).unwrap();
    assert!(store.lease(&shop, Seq(4), Timestamp(22), Timestamp(40)).await.unwrap());
}

#[tokio::test]
async fn a_cursor_only_moves_forward_and_is_each_readers_own() {
    let (_directory, store) = store();
    let (shop, bank) = (target("shop/production"), target("bank/production"));
    store.set_cursor("terminal", &shop, Seq(7)).await.unwrap();
    store.set_cursor("terminal", &shop, Seq(3)).await.unwrap();
    let at = async |reader, target| store.cursor(reader, target).await.unwrap().0;
    assert_eq!((at("terminal", &shop).await, at("terminal", &bank).await, at("file", &shop).await), (7, 0, 0));
}

#[tokio::test]
async fn a_number_too_large_to_store_is_refused_and_never_wrapped() {
    let (_directory, store) = store();
    let shop = target("shop/production");
    assert_eq!(store.release(ReleaseId(u64::MAX)).await.unwrap(), None);
    assert!(store.commits(&shop, Seq(u64::MAX), 1).await.is_err());
    let mut wrong = append(&shop, None, 1, b"x");
    wrong.head.version = Seq(u64::MAX);
    wrong.head.chain = Digest::of(b"x");
    assert!(matches!(store.append(wrong).await, Err(AppendError::Port(_))));
    assert_eq!(store.head(&shop).await.unwrap(), None);
}
