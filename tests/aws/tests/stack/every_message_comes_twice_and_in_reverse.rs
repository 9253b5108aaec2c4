//! SQS delivers at least once and in no order: here every message is handed over twice, and every batch turned around.
//! Nothing that is intended or done is another than without it.

use portcullis_tests_aws::home::target;
use portcullis_tests_aws::stack::Disorder;

use crate::{Two, goes_live, is_rolled_back, is_watched};

/// What was written for both releases.
async fn play(disorder: Disorder) -> [Vec<String>; 2] {
    let Two { home, stack, ledger, open, watched } = Two::start(|_, options| options.disorder = disorder).await;
    tokio::join!(goes_live(&home, &stack, &ledger, &open), async {
        is_watched(&home, &stack, &ledger, &watched).await;
        is_rolled_back(&home, &stack, &ledger, &watched).await;
    });
    let (live, back) = (ledger.assert_sound(&home, &open, 0).await, ledger.assert_sound(&home, &watched, 0).await);
    assert_eq!(live.releases().len() + back.releases().len(), 2, "of {} and {}", target(&open), target(&watched));
    [live.writes(), back.writes()]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_comes_twice_and_in_reverse() {
    let in_order = play(Disorder::default()).await;
    assert!(in_order.iter().all(|writes| writes.len() >= 4), "{in_order:?}");
    let disordered = play(Disorder { doubled: true, reversed: true }).await;
    assert_eq!(disordered, in_order);
}
