//! Every world is explored whole, and all ten invariants hold in each; what must happen somewhere did.

use std::collections::BTreeSet;

use portcullis_model::note::Met;
use portcullis_model::property::INVARIANTS;
use portcullis_model::{run, worlds};

#[test]
fn all_ten_invariants_hold_in_every_state_of_every_world() {
    let mut met = BTreeSet::new();
    let mut generated = 0;
    println!("{}", run::head());
    // One after another: each has the memory for itself.
    for world in worlds::ci() {
        let report = run::explore(world, 2, None, None);
        println!("{}", report.line());
        assert!(report.broken.is_empty(), "{}", report.paths());
        assert!(report.whole, "{} was not explored whole", report.world.name);
        generated += report.generated;
        met.extend(report.met);
    }
    println!("{generated} states generated");
    let missing: Vec<&str> = Met::ALL.iter().filter(|(one, _)| !met.contains(one)).map(|(_, name)| *name).collect();
    assert!(missing.is_empty(), "never happened: {missing:#?}");
}

#[test]
fn what_is_known_not_to_hold_is_still_seen() {
    for (world, number) in worlds::known() {
        let report = run::explore(world, 2, Some(INVARIANTS[number - 1]), None);
        let seen = report.broken.iter().any(|(name, _)| *name == INVARIANTS[number - 1]);
        assert!(seen, "{} holds now: make it a world of every run", report.world.name);
    }
}
