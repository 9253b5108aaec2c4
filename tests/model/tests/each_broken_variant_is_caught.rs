//! Each invariant can fail: a variant that breaks one rule of the design is caught, by the invariant that rule carries.

use portcullis_model::property::INVARIANTS;
use portcullis_model::{run, worlds};

#[test]
fn each_broken_variant_violates_the_invariant_that_its_rule_carries() {
    let mut caught = std::collections::BTreeSet::new();
    let mut missed = Vec::new();
    for (world, number) in worlds::broken() {
        let invariant = INVARIANTS[number - 1];
        let report = run::explore(world, 2, Some(invariant), None);
        println!("{}", report.line());
        match report.broken.iter().find(|(name, _)| *name == invariant) {
            Some((_, path)) => {
                assert!(!path.is_empty(), "{}: broken from the beginning", report.world.name);
                println!("  after {} steps: {invariant}", path.len());
                caught.insert(number);
            }
            None => missed.push(report.world.name),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
    assert_eq!(caught, (1..=10).collect(), "every invariant is shown able to fail");
}
