//! Exploring a world, and telling of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model as _};

use crate::model::Model;
use crate::note::Met;
use crate::property::INVARIANTS;
use crate::tell;
use crate::world::World;

/// The invariants that speak of where a release ends.
const LIVENESS: [&str; 3] = [INVARIANTS[6], INVARIANTS[7], INVARIANTS[8]];

/// What came of exploring a world.
pub struct Report {
    /// The world.
    pub world: World,
    /// Whether all of it was explored.
    pub whole: bool,
    /// States generated, doubles included.
    pub generated: usize,
    /// States that differ.
    pub unique: usize,
    /// Steps of the longest path.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// States of the ledger, and decisions made on them.
    pub ledgers: (usize, usize),
    /// What must happen somewhere and did.
    pub met: BTreeSet<Met>,
    /// Invariants that were broken, each with a path of one line per step.
    pub broken: Vec<(&'static str, Vec<String>)>,
}

/// Explores a world: whole, or until this invariant (else any) is broken, or until so many states were generated.
pub fn explore(world: World, threads: usize, until: Option<&'static str>, most: Option<usize>) -> Report {
    let begun = Instant::now();
    let model = Model::new(world.clone());
    let finish = match until {
        Some(name) => HasDiscoveries::AnyOf(BTreeSet::from([name])),
        None => HasDiscoveries::AnyFailures,
    };
    let mut builder = model.checker().threads(threads).finish_when(finish);
    if let Some(most) = most {
        builder = builder.target_state_count(most);
    }
    let checker = builder.spawn_bfs().join();
    let took = begun.elapsed();
    let model = checker.model();
    let mut broken = Vec::new();
    for name in INVARIANTS {
        if let Some(path) = checker.discovery(name) {
            let holds = model.property(name).condition;
            let mut steps = Vec::new();
            // The checker remembers the last state it saw broken; the first one on its path says it all.
            for (state, act) in path.into_vec() {
                if !holds(model, &state) {
                    if LIVENESS.contains(&name) {
                        steps.push("from here on nothing more goes wrong:".to_owned());
                        steps.extend(model.tell_end(&state));
                    }
                    break;
                }
                steps.extend(act.map(|act| tell::step(model, &state, act)));
            }
            broken.push((name, steps));
        }
    }
    let generated = checker.state_count();
    Report {
        whole: broken.is_empty() && most.is_none_or(|most| generated < most),
        generated,
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        took,
        ledgers: model.book.size(),
        met: Met::ALL.into_iter().map(|(met, _)| met).filter(|met| model.has_met(*met)).collect(),
        broken,
        world,
    }
}

impl Report {
    /// States generated in a second.
    pub fn speed(&self) -> u128 {
        self.generated as u128 * 1_000 / self.took.as_millis().max(1)
    }

    /// One line of a table.
    pub fn line(&self) -> String {
        let held = match (self.broken.len(), self.whole) {
            (0, true) => "all hold".to_owned(),
            (0, false) => "cut short".to_owned(),
            (broken, _) => format!("{broken} BROKEN"),
        };
        format!(
            "{:<12} {:>11} {:>10} {:>5} {:>7.1} {:>9}  {:<9}  {}",
            self.world.name,
            self.generated,
            self.unique,
            self.depth,
            self.took.as_secs_f64(),
            self.speed(),
            held,
            self.world.what
        )
    }

    /// The paths to what was broken.
    pub fn paths(&self) -> String {
        let mut text = String::new();
        for (name, steps) in &self.broken {
            let _ = writeln!(text, "\n{} broken in world {}:", name, self.world.name);
            for (at, step) in steps.iter().enumerate() {
                let _ = writeln!(text, "{:>4}  {step}", at + 1);
            }
        }
        text
    }
}

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<12} {:>11} {:>10} {:>5} {:>7} {:>9}  {:<9}  {}",
        "world", "generated", "unique", "depth", "seconds", "states/s", "invariants", "what is in it"
    )
}
