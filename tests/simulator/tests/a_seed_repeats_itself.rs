//! A seed is one story: given twice it is told twice, byte for byte, whatever was played before it.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use portcullis_simulator::{Options, Simulator};

const TRACED: Options = Options { traced: true, calm: false, broken: None };

#[test]
fn the_same_seed_twice_prints_the_same_trace_byte_for_byte() {
    let simulator = Simulator::new().unwrap();
    for seed in 1..60 {
        let first = simulator.simulate(seed, TRACED);
        let second = simulator.simulate(seed, TRACED);
        assert!(
            first.trace.as_deref().is_some_and(|trace| trace.lines().count() > 20),
            "seed {seed} says next to nothing"
        );
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(
            (first.hash, first.endings, first.faults, first.appended),
            (second.hash, second.endings, second.faults, second.appended),
            "seed {seed}"
        );
    }
}

#[test]
fn neither_the_seeds_before_it_nor_keeping_the_trace_change_a_seed() {
    let simulator = Simulator::new().unwrap();
    let alone = Simulator::new().unwrap().simulate(77, Options::default());
    for seed in 1..30 {
        simulator.simulate(seed, Options::default());
    }
    let after_others = simulator.simulate(77, Options::default());
    let traced = simulator.simulate(77, TRACED);
    assert_eq!((alone.hash, alone.steps), (after_others.hash, after_others.steps));
    assert_eq!((alone.hash, alone.steps), (traced.hash, traced.steps));
}

#[test]
fn a_seed_is_the_same_on_another_thread() {
    let here = Simulator::new().unwrap().simulate(5, Options::default()).hash;
    let there = std::thread::spawn(|| Simulator::new().unwrap().simulate(5, Options::default()).hash).join().unwrap();
    assert_eq!(here, there);
}

#[test]
fn different_seeds_are_different_stories() {
    let simulator = Simulator::new().unwrap();
    let hashes: std::collections::BTreeSet<u64> =
        (1..100).map(|seed| simulator.simulate(seed, Options::default()).hash).collect();
    assert_eq!(hashes.len(), 99);
}
