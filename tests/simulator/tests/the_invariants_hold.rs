//! Some hundred seeds hold, and go everywhere; an outside that breaks its contract is noticed.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use portcullis_simulator::report::{self, Totals};
use portcullis_simulator::{Broken, Ending, Fault, Options};

/// Seeds that each test plays: seconds, optimised.
const SEEDS: u64 = 1_200;

fn play(options: Options) -> Totals {
    report::play(1, SEEDS, 2, options, false, |_| {}).unwrap()
}

#[test]
fn under_every_fault_the_invariants_hold_and_every_ending_and_fault_is_met() {
    let totals = play(Options::default());
    if let Some(failed) = &totals.failed {
        panic!("seed {}: {:?}\n{}", failed.seed, failed.failure, failed.story.as_deref().unwrap_or_default());
    }
    for (ending, name) in Ending::ALL {
        assert!(totals.endings.contains_key(&ending), "no release ended like this: {name}");
    }
    for (fault, name) in Fault::ALL {
        assert!(totals.faults[fault as usize] > 0, "never injected: {name}");
    }
    for name in ["drifted, ours", "drifted, not ours", "needs help", "escalated", "old colour released", "line stopped"]
    {
        assert!(totals.reached.contains_key(name), "never reached: {name}");
    }
}

#[test]
fn without_faults_the_same_stories_hold_too() {
    let totals = play(Options { calm: true, ..Options::default() });
    assert!(totals.failed.is_none(), "{:?}", totals.failed.unwrap().failure);
    assert_eq!(totals.faults[Fault::FailedBefore as usize] + totals.faults[Fault::Crash as usize], 0);
}

/// What is said of the first seed that fails on a broken outside.
fn caught(broken: Broken) -> String {
    let totals = play(Options { broken: Some(broken), ..Options::default() });
    totals.failed.unwrap_or_else(|| panic!("{broken:?} went unnoticed in {SEEDS} seeds")).failure.unwrap()
}

#[test]
fn a_cluster_without_fences_is_noticed() {
    let why = caught(Broken::Fences);
    assert!(why.starts_with("invariant ") || why.contains("the cluster serves"), "{why}");
}

#[test]
fn a_cluster_that_lies_about_readiness_is_noticed() {
    assert!(caught(Broken::Readiness).starts_with("invariant 2"));
}

#[test]
fn a_store_that_loses_a_backup_is_noticed() {
    assert!(caught(Broken::Backups).starts_with("invariant 6"));
}

#[test]
fn a_ledger_that_forgets_the_stops_is_noticed() {
    let why = caught(Broken::Stops);
    assert!(why.contains("the line was stopped"), "{why}");
}

#[test]
fn a_reader_that_skips_an_event_is_noticed() {
    let why = caught(Broken::Notices);
    assert!(why.contains("one was skipped"), "{why}");
}

#[test]
fn an_installation_in_which_nobody_is_ever_woken_is_noticed() {
    assert!(caught(Broken::Wakes).starts_with("invariant 7"));
}
