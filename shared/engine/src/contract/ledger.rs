//! The ledger: all of an append or nothing, once, in order, on the version it was decided on.

use std::sync::Arc;

use portcullis_domain::names::{DeliveryId, ReleaseId, Seq, Subject, TargetId};
use portcullis_domain::scope::{Scope, ScopeState, Stop};
use portcullis_domain::time::Timestamp;

use crate::codec;
use crate::ports::{Append, AppendError, Head, Ledger, StoredCommit};

/// The contract of [`Ledger`], on an empty store.
///
/// # Panics
/// Where the adapter breaks it.
pub async fn ledger(ledger: Arc<dyn Ledger>) {
    entries_are_kept_byte_for_byte_and_in_order(&*ledger).await;
    an_append_is_all_or_nothing(&*ledger).await;
    scopes_guard_appends(&*ledger).await;
    overdue_targets_are_found(&*ledger).await;
    leases_and_cursors(&*ledger).await;
    of_64_writers_one_wins(ledger.clone()).await;
    targets_do_not_hinder_each_other(ledger).await;
}

#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
fn target(name: &str) -> TargetId {
    format!("contract/{name}").parse().unwrap()
}

fn append(target: &TargetId, expected: u64, events: u64, bytes: &[u8]) -> Append {
    Append {
        target: target.clone(),
        expected: Seq(expected),
        commit: bytes.to_vec(),
        head: Head {
            version: Seq(expected + events),
            snapshot: vec![b'j', 1, b'{', b'}'],
            chain: codec::chain(codec::genesis(), bytes),
            last_at: Timestamp(expected + 1_000),
            wake_at: None,
            min_reader: 1,
        },
        scopes: Vec::new(),
        opens: Vec::new(),
        delivery: None,
    }
}

#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
async fn entries_are_kept_byte_for_byte_and_in_order(ledger: &dyn Ledger) {
    let target = target("order");
    assert_eq!(ledger.head(&target).await.unwrap(), None, "a new target has no head");
    assert!(ledger.commits(&target, Seq(0), 10).await.unwrap().is_empty());
    assert_eq!(ledger.id(), ledger.id(), "a ledger's name does not change");

    let bytes = [&b"\x00\xff{not json"[..], b"two", b"three"];
    let one = append(&target, 0, 2, bytes[0]);
    let mut two = append(&target, 2, 1, bytes[1]);
    two.head.chain = codec::chain(one.head.chain, bytes[1]);
    two.head.wake_at = Some(Timestamp(77));
    two.head.min_reader = 3;
    let mut three = append(&target, 3, 3, bytes[2]);
    three.head.chain = codec::chain(two.head.chain, bytes[2]);
    for append in [&one, &two, &three] {
        ledger.append(append.clone()).await.unwrap();
        assert_eq!(ledger.head(&target).await.unwrap().as_ref(), Some(&append.head), "the head is read back whole");
    }
    let stored = ledger.commits(&target, Seq(0), 10).await.unwrap();
    let commit = |first, last, before, bytes: &[u8]| StoredCommit {
        first: Seq(first),
        last: Seq(last),
        before,
        bytes: bytes.to_vec(),
    };
    let all = [
        commit(1, 2, codec::genesis(), bytes[0]),
        commit(3, 3, one.head.chain, bytes[1]),
        commit(4, 6, two.head.chain, bytes[2]),
    ];
    assert_eq!(stored, all, "oldest first, byte for byte, each with the chain before it (32 zero bytes at first)");
    assert_eq!(ledger.commits(&target, Seq(1), 10).await.unwrap(), all, "a commit that reaches past `after` is in it");
    assert_eq!(ledger.commits(&target, Seq(2), 1).await.unwrap(), all[1..2], "at most `most`");
    assert_eq!(ledger.commits(&target, Seq(5), 10).await.unwrap(), all[2..]);
    assert!(ledger.commits(&target, Seq(6), 10).await.unwrap().is_empty());
    assert!(ledger.targets().await.unwrap().contains(&target));
}

#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
async fn an_append_is_all_or_nothing(ledger: &dyn Ledger) {
    let target = target("whole");
    let other = self::target("whole-other");
    let delivery = |name: &str| DeliveryId::new(name).unwrap();
    let number = ledger.next_release().await.unwrap();
    let first = Append { opens: vec![number], delivery: Some(delivery("contract-a")), ..append(&target, 0, 1, b"1") };
    ledger.append(first.clone()).await.unwrap();
    assert_eq!(ledger.release(number).await.unwrap(), Some(target.clone()));
    assert_eq!(ledger.next_release().await.unwrap(), ReleaseId(number.0 + 1));
    assert!(ledger.delivered(&target, &delivery("contract-a")).await.unwrap());
    assert!(!ledger.delivered(&other, &delivery("contract-a")).await.unwrap(), "a delivery is done per target");

    let again = ledger.append(first).await;
    assert!(matches!(again, Err(AppendError::Conflict)), "the same append twice is a conflict: {again:?}");
    let stale = Append { delivery: Some(delivery("contract-b")), ..append(&target, 0, 1, b"2") };
    assert!(matches!(ledger.append(stale).await, Err(AppendError::Conflict)));
    let ahead = append(&target, 5, 1, b"2");
    assert!(matches!(ledger.append(ahead).await, Err(AppendError::Conflict)), "a version that never was");
    let taken = Append { opens: vec![number], delivery: Some(delivery("contract-b")), ..append(&other, 0, 1, b"2") };
    assert!(matches!(ledger.append(taken).await, Err(AppendError::NumberTaken)));

    assert!(!ledger.delivered(&target, &delivery("contract-b")).await.unwrap(), "a refused append leaves no mark");
    assert!(!ledger.delivered(&other, &delivery("contract-b")).await.unwrap());
    assert_eq!(ledger.head(&other).await.unwrap(), None, "nor a head");
    assert_eq!(ledger.commits(&target, Seq(0), 10).await.unwrap().len(), 1, "nor an entry");
}

#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
async fn scopes_guard_appends(ledger: &dyn Ledger) {
    let target = target("scoped");
    let scopes = Scope::of(&target);
    let before = ledger.scopes(&scopes).await.unwrap();
    assert_eq!(before.len(), 4, "every scope asked for is answered, in order");
    let seen: Vec<(Scope, u64)> = scopes.iter().cloned().zip(before.iter().map(|state| state.version)).collect();
    ledger.append(Append { scopes: seen.clone(), ..append(&target, 0, 1, b"1") }).await.unwrap();

    let stop = Stop {
        who: Subject::new("kofi").unwrap(),
        reason: "contract".to_owned(),
        since: Timestamp(1),
        until: Some(Timestamp(9)),
    };
    let scope = Scope::Target(target.clone());
    let version = before[3].version + 1;
    let state = ScopeState { version, stop: Some(stop), ..ScopeState::default() };
    assert!(ledger.set_scope(&scope, &state).await.unwrap());
    assert!(!ledger.set_scope(&scope, &state).await.unwrap(), "the same version twice");
    let skips = ScopeState { version: version + 2, stop: None, ..ScopeState::default() };
    assert!(!ledger.set_scope(&scope, &skips).await.unwrap(), "a version that leaves one out");
    assert_eq!(ledger.scopes(&[Scope::All, scope.clone()]).await.unwrap()[1], state);
    assert!(ledger.all_scopes().await.unwrap().contains(&(scope, state)));

    let moved = ledger.append(Append { scopes: seen, ..append(&target, 1, 1, b"2") }).await;
    assert!(matches!(moved, Err(AppendError::ScopeMoved)), "after a stop nothing passes: {moved:?}");
    ledger.append(append(&target, 1, 1, b"2")).await.unwrap();
}

#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
async fn overdue_targets_are_found(ledger: &dyn Ledger) {
    let (due, later, never) = (target("due"), target("later"), target("never"));
    for (target, wake_at) in [(&due, Some(Timestamp(100))), (&later, Some(Timestamp(1_000))), (&never, None)] {
        let mut append = append(target, 0, 1, b"1");
        append.head.wake_at = wake_at;
        ledger.append(append).await.unwrap();
    }
    let all = [&due, &later, &never];
    let overdue = |at: u64| async move {
        let found = ledger.overdue(Timestamp(at)).await.unwrap();
        all.map(|target| found.contains(target))
    };
    assert_eq!(overdue(99).await, [false, false, false]);
    assert_eq!(overdue(100).await, [true, false, false], "at its very moment");
    assert_eq!(overdue(1_000).await, [true, true, false]);
}

#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
async fn leases_and_cursors(ledger: &dyn Ledger) {
    let target = target("leased");
    let lease = |seq: u64, now: u64, until: u64| {
        let target = target.clone();
        async move { ledger.lease(&target, Seq(seq), Timestamp(now), Timestamp(until)).await.unwrap() }
    };
    assert!(lease(1, 0, 10).await);
    assert!(!lease(1, 9, 20).await, "somebody has it");
    assert!(lease(2, 9, 20).await, "another intention is another lease");
    assert!(lease(1, 10, 20).await, "it lapses at its moment");
    ledger.end_lease(&target, Seq(1)).await.unwrap();
    ledger.end_lease(&target, Seq(1)).await.unwrap();
    assert!(lease(1, 11, 20).await, "it was given back");

    assert_eq!(ledger.cursor("contract", &target).await.unwrap(), Seq(0));
    ledger.set_cursor("contract", &target, Seq(5)).await.unwrap();
    ledger.set_cursor("contract", &target, Seq(3)).await.unwrap();
    assert_eq!(ledger.cursor("contract", &target).await.unwrap(), Seq(5), "a cursor only moves forward");
    assert_eq!(ledger.cursor("other", &target).await.unwrap(), Seq(0), "each reader has its own");
    let far = Seq(1_800_000_000_000);
    ledger.set_cursor("contract", &target, far).await.unwrap();
    assert_eq!(ledger.cursor("contract", &target).await.unwrap(), far, "a cursor may be a moment");
}

#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
async fn of_64_writers_one_wins(ledger: Arc<dyn Ledger>) {
    let target = target("race");
    for round in 0..4_u64 {
        let mut writers = Vec::new();
        for n in 0..64_u64 {
            let (ledger, target) = (ledger.clone(), target.clone());
            let bytes = format!("{round} {n}").into_bytes();
            writers.push(tokio::spawn(async move {
                match ledger.append(append(&target, round, 1, &bytes)).await {
                    Ok(()) => Some(bytes),
                    Err(AppendError::Conflict) => None,
                    Err(other) => panic!("a writer that lost is told of a conflict, not {other}"),
                }
            }));
        }
        let mut won = Vec::new();
        for writer in writers {
            won.extend(writer.await.unwrap());
        }
        assert_eq!(won.len(), 1, "of 64 writers one wins");
        let stored = ledger.commits(&target, Seq(round), 2).await.unwrap();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].bytes, won[0], "and it is the one that was told so");
    }
}

#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
async fn targets_do_not_hinder_each_other(ledger: Arc<dyn Ledger>) {
    let mut writers = Vec::new();
    for n in 0..16 {
        let ledger = ledger.clone();
        writers.push(tokio::spawn(async move {
            let target = target(&format!("own-{n}"));
            for version in 0..8 {
                ledger.append(append(&target, version, 1, b"x")).await.unwrap();
            }
            ledger.head(&target).await.unwrap().unwrap().version
        }));
    }
    for writer in writers {
        assert_eq!(writer.await.unwrap(), Seq(8));
    }
}
