//! The ledger on DynamoDB: the contract that its embedded twin passes, and what is AWS's own (answers that are lost,
//! throttling, limits).
//!
//! They run on moto, or, if `PORTCULLIS_DYNAMODB_LOCAL` names the folder of its jars, on AWS's own DynamoDB Local, which
//! honours `ClientRequestToken`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use portcullis_aws::ledger::DynamoLedger;
use portcullis_domain::names::{DeliveryId, ReleaseId, Seq, Subject, TargetId};
use portcullis_domain::scope::{Scope, ScopeState, Stop};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{Append, AppendError, Head, Ledger};
use portcullis_engine::{codec, contract};
use portcullis_tests_aws::emulator::Emulator;
use portcullis_tests_aws::resources;
use portcullis_tests_aws::wire::{Fault, Wire, cancellation, refusal};

fn target(name: &str) -> TargetId {
    format!("stores/{name}").parse().unwrap()
}

fn append(target: &TargetId, expected: u64, bytes: &[u8]) -> Append {
    Append {
        target: target.clone(),
        expected: Seq(expected),
        commit: bytes.to_vec(),
        head: Head {
            version: Seq(expected + 1),
            snapshot: b"j\x02{}".to_vec(),
            chain: codec::chain(codec::genesis(), bytes),
            last_at: Timestamp(1),
            wake_at: None,
            min_reader: 1,
        },
        scopes: Vec::new(),
        opens: Vec::new(),
        delivery: None,
    }
}

/// A ledger whose wire the test holds, and another one on the same table.
struct Two {
    _emulator: Arc<Emulator>,
    wire: Wire,
    ours: DynamoLedger,
    theirs: Arc<DynamoLedger>,
}

async fn two() -> Two {
    let emulator = Emulator::of_dynamodb();
    let wire = Wire::default();
    let clients = emulator.clients().await;
    let table = resources::table(&clients.dynamodb()).await;
    let theirs = DynamoLedger::open(clients.dynamodb(), &table).await.unwrap();
    let ours = DynamoLedger::open(emulator.clients_over(&wire).await.dynamodb(), &table).await.unwrap();
    wire.take();
    Two { _emulator: emulator, wire, ours, theirs: Arc::new(theirs) }
}

const TRANSACTION: &str = "TransactWriteItems";

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_keeps_its_contract() {
    let emulator = Emulator::of_dynamodb();
    let client = emulator.clients().await.dynamodb();
    let table = resources::table(&client).await;
    contract::ledger(Arc::new(DynamoLedger::open(client, table).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_was_lost_is_made_once_and_is_a_success() {
    let Two { wire, ours, theirs, _emulator } = two().await;
    let target = target("lost-answer");
    wire.next(TRANSACTION, Fault::AnswerLost(None));
    ours.append(append(&target, 0, b"1")).await.unwrap();
    assert_eq!(theirs.commits(&target, Seq(0), 10).await.unwrap().len(), 1);

    // The same when the others went on before it was repeated: the head is not ours any more, the commit is.
    let (others, theirs_next) = (theirs.clone(), append(&target, 2, b"3"));
    let meanwhile = async move { others.append(theirs_next).await.unwrap() };
    wire.next(TRANSACTION, Fault::AnswerLost(Some(Box::pin(meanwhile))));
    ours.append(append(&target, 1, b"2")).await.unwrap();
    let all: Vec<Vec<u8>> =
        theirs.commits(&target, Seq(0), 10).await.unwrap().into_iter().map(|commit| commit.bytes).collect();
    assert_eq!(all, [b"1", b"2", b"3"]);
    wire.assert_all_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_none_of_whose_answers_came_is_found_to_be_made() {
    let Two { wire, ours, theirs, _emulator } = two().await;
    let target = target("no-answers");
    wire.next(TRANSACTION, Fault::AnswerLost(None));
    for _ in 0..7 {
        wire.next(TRANSACTION, Fault::RequestLost);
    }
    ours.append(append(&target, 0, b"1")).await.unwrap();
    assert_eq!(theirs.head(&target).await.unwrap().unwrap().version, Seq(1));
    wire.assert_all_met();

    for _ in 0..8 {
        wire.next(TRANSACTION, Fault::RequestLost);
    }
    let error = ours.append(append(&target, 1, b"2")).await.unwrap_err();
    assert!(matches!(error, AppendError::Port(_)), "what nobody knows is an error, not a conflict: {error:?}");
    assert!(error.to_string().starts_with("appending to the ledger of stores/no-answers: "), "{error}");
    wire.assert_all_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_was_lost_while_another_one_won_is_a_conflict_even_with_the_same_bytes() {
    let Two { wire, ours, theirs, _emulator } = two().await;
    let target = target("lost-request");
    theirs.append(append(&target, 0, b"1")).await.unwrap();
    ours.head(&target).await.unwrap();
    // Lost on its way, and repeated after somebody else appended the very same.
    theirs.append(append(&target, 1, b"the same")).await.unwrap();
    wire.next(TRANSACTION, Fault::RequestLost);
    let lost = ours.append(append(&target, 1, b"the same")).await;
    assert!(matches!(lost, Err(AppendError::Conflict)), "{lost:?}");
    wire.assert_all_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_and_what_does_not_is_told_at_once() {
    let Two { wire, ours, theirs, _emulator } = two().await;
    let target = target("busy");
    wire.next(TRANSACTION, refusal("ThrottlingException"));
    wire.next(TRANSACTION, refusal("ProvisionedThroughputExceededException"));
    wire.next(TRANSACTION, refusal("TransactionInProgressException"));
    // Commit, head, the listing of a new target.
    wire.next(TRANSACTION, cancellation(&["None", "TransactionConflict", "None"]));
    wire.next(TRANSACTION, cancellation(&["ThrottlingError", "None", "None"]));
    wire.next(TRANSACTION, Fault::Answered(500, r#"{"__type":"InternalServerError"}"#.to_owned()));
    ours.append(append(&target, 0, b"1")).await.unwrap();
    assert_eq!(wire.operations(), [TRANSACTION; 7]);
    assert_eq!(theirs.commits(&target, Seq(0), 10).await.unwrap().len(), 1);

    for _ in 0..8 {
        wire.next(TRANSACTION, cancellation(&["None", "TransactionConflict"]));
    }
    let busy = ours.append(append(&target, 1, b"2")).await;
    assert!(matches!(busy, Err(AppendError::Conflict)), "who writes the target all the time has appended: {busy:?}");

    wire.take();
    wire.next(TRANSACTION, refusal("AccessDeniedException"));
    let refused = ours.append(append(&target, 1, b"2")).await.unwrap_err().to_string();
    assert!(refused.contains("AccessDeniedException: by the test"), "{refused}");
    assert_eq!(wire.operations(), [TRANSACTION], "what is refused for good is not repeated");
    wire.assert_all_met();

    wire.next("BatchGetItem", refusal("ThrottlingException"));
    wire.next(".GetItem", Fault::RequestLost);
    assert_eq!(ours.reading(&target, &Scope::of(&target), None).await.unwrap().head.unwrap().version, Seq(1));
    assert_eq!(ours.next_release().await.unwrap(), ReleaseId(1));
    wire.assert_all_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_one_read_and_one_transaction() {
    let emulator = Emulator::of_dynamodb();
    let wire = Wire::default();
    let table = resources::table(&emulator.clients().await.dynamodb()).await;
    // As a function starts: nothing is known yet, not even the ledger's name.
    let ledger = DynamoLedger::new(emulator.clients_over(&wire).await.dynamodb(), &table).unwrap();
    assert_eq!(ledger.id().as_str(), "unread");
    let target = target("counted");
    let delivery = DeliveryId::new("delivery-1").unwrap();
    let scopes = Scope::of(&target);

    let new = ledger.reading(&target, &scopes, Some(&delivery)).await.unwrap();
    assert!(new.head.is_none() && !new.delivered && new.next_release == ReleaseId(1));
    assert_eq!(new.scopes, vec![ScopeState::default(); 4]);
    assert_eq!(wire.operations(), ["BatchGetItem", "PutItem"], "the very first one makes the ledger's name");
    assert!(ledger.id().as_str().starts_with("pl-"), "{}", ledger.id());

    let full = |expected, delivery: &DeliveryId, opens: Vec<ReleaseId>| Append {
        scopes: scopes.iter().map(|scope| (scope.clone(), 0)).collect(),
        delivery: Some(delivery.clone()),
        opens,
        ..append(&target, expected, b"1")
    };
    ledger.append(full(0, &delivery, vec![new.next_release])).await.unwrap();
    let read = ledger.reading(&target, &scopes, Some(&delivery)).await.unwrap();
    assert_eq!(read.head.as_ref().map(|head| head.version), Some(Seq(1)));
    assert!(read.delivered && read.next_release == ReleaseId(2));
    let next = DeliveryId::new("delivery-2").unwrap();
    ledger.append(full(1, &next, vec![read.next_release])).await.unwrap();
    assert_eq!(wire.operations(), [TRANSACTION, "BatchGetItem", TRANSACTION]);

    // Another function on the same table reads the same name with its first head.
    let other = DynamoLedger::new(emulator.clients_over(&wire).await.dynamodb(), &table).unwrap();
    assert_eq!(other.head(&target).await.unwrap().unwrap().version, Seq(2));
    assert_eq!(wire.operations(), ["BatchGetItem"]);
    assert_eq!(other.id(), ledger.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_gets_one_name_however_many_open_it_at_once() {
    let emulator = Emulator::of_dynamodb();
    let client = emulator.clients().await.dynamodb();
    let table = resources::table(&client).await;
    let opened = (0..8).map(|_| {
        let (client, table) = (client.clone(), table.clone());
        tokio::spawn(async move { DynamoLedger::open(client, table).await.unwrap().id() })
    });
    let mut names = Vec::new();
    for opened in opened.collect::<Vec<_>>() {
        names.push(opened.await.unwrap());
    }
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_come_whole_over_many_pages_and_in_parts() {
    let Two { wire, ours, theirs, _emulator } = two().await;
    let target = target("pages");
    // A page ends at 1 MB, an item at 400 KB.
    let sizes = [200_000, 1_200_000, 1, 389_120, 389_121, 300_000, 300_000, 300_000, 300_000, 0];
    let commits: Vec<Vec<u8>> = (0..).zip(sizes).map(|(n, size): (u8, usize)| vec![n; size]).collect();
    for (expected, commit) in (0..).zip(&commits) {
        ours.append(append(&target, expected, commit)).await.unwrap();
    }
    wire.take();
    let bytes = |from: u64, most| {
        let (ledger, target) = (&ours, &target);
        async move {
            let read = ledger.commits(target, Seq(from), most).await.unwrap();
            read.into_iter().map(|commit| commit.bytes).collect::<Vec<_>>()
        }
    };
    assert!(bytes(0, 100).await == commits, "all of them, in order, byte for byte");
    assert!(wire.operations().len() >= 3, "3.4 MB do not fit two pages");
    assert!(bytes(0, 2).await == commits[..2], "the last one asked for is whole");
    assert!(bytes(1, 1).await == commits[1..2]);
    assert!(bytes(2, 3).await == commits[2..5]);
    assert!(bytes(9, 5).await == commits[9..]);
    assert!(bytes(0, 0).await.is_empty());

    let large = vec![7; 3 * 1024 * 1024];
    ours.append(append(&target, 10, &large)).await.unwrap();
    assert!(theirs.commits(&target, Seq(10), 1).await.unwrap()[0].bytes == large);
    let error = ours.append(append(&target, 11, &vec![7; 3 * 1024 * 1024 + 1])).await.unwrap_err().to_string();
    assert_eq!(error, "appending to the ledger of stores/pages: the commit has 3145729 bytes, more than 3145728");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_by_what_moved() {
    let Two { ours, theirs, _emulator, wire: _wire } = two().await;
    let (one, other) = (target("one"), target("other"));
    let number = ours.next_release().await.unwrap();
    let opens = |target: &TargetId, number| Append { opens: vec![number], ..append(target, 0, b"1") };
    theirs.append(opens(&one, number)).await.unwrap();
    let taken = ours.append(opens(&other, number)).await;
    assert!(matches!(taken, Err(AppendError::NumberTaken)), "{taken:?}");
    // A number that was left out lies behind the next one: it is as good as taken.
    theirs.append(opens(&target("third"), ReleaseId(9))).await.unwrap();
    let behind = ours.append(opens(&other, ReleaseId(5))).await;
    assert!(matches!(behind, Err(AppendError::NumberTaken)), "{behind:?}");
    assert_eq!(ours.next_release().await.unwrap(), ReleaseId(10));
    assert_eq!(ours.release(ReleaseId(9)).await.unwrap(), Some(target("third")));
    assert_eq!(ours.release(ReleaseId(5)).await.unwrap(), None);

    // All at once: the target's own version is told first, since everything is read anew then.
    let state = ScopeState { version: 1, ..ScopeState::default() };
    assert!(theirs.set_scope(&Scope::All, &state).await.unwrap());
    let all = Append { scopes: vec![(Scope::All, 0)], ..opens(&one, number) };
    assert!(matches!(ours.append(all.clone()).await, Err(AppendError::Conflict)));
    let scope = Append { target: other.clone(), ..all };
    assert!(matches!(ours.append(scope).await, Err(AppendError::ScopeMoved)));
    let targets = ours.targets().await.unwrap();
    assert_eq!(targets, [one, target("third")], "what was refused is not listed");
    assert_eq!(ours.head(&other).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_or_a_lease_whose_answer_was_lost_is_ours_once() {
    let Two { wire, ours, theirs, _emulator } = two().await;
    let target = target("own");
    let stop = Stop { who: Subject::new("kofi").unwrap(), reason: "test".to_owned(), since: Timestamp(1), until: None };
    let state = ScopeState { version: 1, stop: Some(stop), ..ScopeState::default() };
    wire.next("PutItem", Fault::AnswerLost(None));
    assert!(ours.set_scope(&Scope::All, &state).await.unwrap(), "it was set, by this very call");
    assert!(!theirs.set_scope(&Scope::All, &state).await.unwrap());
    assert!(!ours.set_scope(&Scope::All, &state).await.unwrap(), "another call is another one");

    wire.next("PutItem", Fault::AnswerLost(None));
    assert!(ours.lease(&target, Seq(1), Timestamp(0), Timestamp(10)).await.unwrap());
    assert!(!theirs.lease(&target, Seq(1), Timestamp(5), Timestamp(15)).await.unwrap());

    wire.next("PutItem", Fault::AnswerLost(None));
    ours.set_cursor("reader", &target, Seq(4)).await.unwrap();
    assert_eq!(theirs.cursor("reader", &target).await.unwrap(), Seq(4));
    wire.assert_all_met();
}
