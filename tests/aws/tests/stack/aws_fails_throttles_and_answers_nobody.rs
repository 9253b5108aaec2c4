//! Between the functions and AWS every eighth request fails: it is answered 500, throttled in the service's own words, or
//! done while the connection is cut before the answer. Each release ends as its ledger says, each effect once.
//!
//! `PORTCULLIS_FAULT_SEED` names the seed of a run that failed.

use portcullis_tests_aws::emulator::Emulator;
use portcullis_tests_aws::proxy::Proxy;

use crate::{Two, goes_live, is_rolled_back, is_watched};

fn seed() -> u64 {
    std::env::var("PORTCULLIS_FAULT_SEED").map_or(1, |said| said.parse().expect("PORTCULLIS_FAULT_SEED is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_fails_throttles_and_answers_nobody() {
    let seed = seed();
    println!("PORTCULLIS_FAULT_SEED={seed}");
    let proxy = Proxy::start(&Emulator::moto().endpoint(), seed).await;
    let endpoint = proxy.endpoint();
    let Two { home, stack, ledger, open, watched } = Two::start(|_, options| options.endpoint = Some(endpoint)).await;
    tokio::join!(goes_live(&home, &stack, &ledger, &open), async {
        is_watched(&home, &stack, &ledger, &watched).await;
        is_rolled_back(&home, &stack, &ledger, &watched).await;
    });
    // A backup whose index was put, and whose answer was cut, is adopted; what another attempt left is nobody's.
    ledger.assert_sound(&home, &open, 3).await;
    ledger.assert_sound(&home, &watched, 3).await;
    let met = proxy.met();
    println!("{met:?}");
    assert!(met.failed >= 5 && met.throttled >= 5 && met.cut >= 5, "too little failed to show anything: {met:?}");
}
