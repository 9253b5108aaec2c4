//! What became of each mutant: kept line by line, so that a run can be stopped, and told as a table.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::list::Mutant;
use crate::play::Outcome;

#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    outcome: Outcome,
}

/// All outcomes so far, by the mutant's name.
pub(crate) struct Report {
    file: File,
    outcomes: BTreeMap<String, Outcome>,
}

impl Report {
    /// Begins anew, or goes on where the last run stopped.
    pub(crate) fn open(path: &Path, again: bool) -> Result<Self> {
        let mut outcomes = BTreeMap::new();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if again && path.is_file() {
            for line in std::fs::read_to_string(path)?.lines() {
                let Line { name, outcome } = serde_json::from_str(line).context("reading the last outcomes")?;
                outcomes.insert(name, outcome);
            }
        }
        let file = File::options().create(true).append(again).truncate(!again).write(true).open(path);
        Ok(Self { file: file.with_context(|| format!("opening {}", path.display()))?, outcomes })
    }

    /// Whether there is nothing to learn from trying it again.
    pub(crate) fn is_settled(&self, name: &str) -> bool {
        self.outcomes.get(name).is_some_and(|outcome| *outcome != Outcome::Missed)
    }

    /// One more outcome.
    pub(crate) fn add(&mut self, mutant: &Mutant, outcome: Outcome) -> Result<()> {
        if outcome == Outcome::Missed {
            eprintln!("missed: {}", mutant.name);
        }
        let line = Line { name: mutant.name.clone(), outcome };
        writeln!(self.file, "{}", serde_json::to_string(&line)?)?;
        self.outcomes.insert(line.name, outcome);
        if self.outcomes.len().is_multiple_of(100) {
            eprintln!("mutants: {} done", self.outcomes.len());
        }
        Ok(())
    }

    /// Of those that compile, the part that some test noticed.
    pub(crate) fn share_caught(&self) -> f64 {
        let [caught, timed_out, missed, _] = counts(self.outcomes.values());
        let noticed = f64::from(caught + timed_out);
        noticed / (noticed + f64::from(missed)).max(1.0)
    }

    /// Prints a row per part of the core, and everything that was missed.
    pub(crate) fn tell(&self) {
        let mut parts: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for (name, outcome) in &self.outcomes {
            parts.entry(part(name)).or_default().push(outcome);
        }
        println!("| part | mutants | caught | timed out | missed | not compiling |");
        println!("| --- | ---: | ---: | ---: | ---: | ---: |");
        for (part, outcomes) in &parts {
            row(&format!("`{part}`"), outcomes);
        }
        row("all", &self.outcomes.values().collect::<Vec<_>>());
        println!("\n{:.1} % of those that compile were noticed. Missed:\n", self.share_caught() * 100.0);
        for (name, _) in self.outcomes.iter().filter(|(_, outcome)| **outcome == Outcome::Missed) {
            println!("- {name}");
        }
    }
}

fn row(title: &str, outcomes: &[&Outcome]) {
    let [caught, timed_out, missed, not_compiling] = counts(outcomes.iter().copied());
    println!("| {title} | {} | {caught} | {timed_out} | {missed} | {not_compiling} |", outcomes.len());
}

fn counts<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> [u32; 4] {
    let mut counts = [0; 4];
    for outcome in outcomes {
        counts[match outcome {
            Outcome::Caught => 0,
            Outcome::TimedOut => 1,
            Outcome::Missed => 2,
            Outcome::DoesNotCompile => 3,
        }] += 1;
    }
    counts
}

/// `decide` of `shared/domain/src/decide/watch.rs:266:5: replace ...`.
fn part(name: &str) -> &str {
    let inside = name.split_once("/src/").map_or(name, |(_, inside)| inside);
    inside.split(['/', '.', ':']).next().unwrap_or(inside)
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_part_is_a_file_or_folder_of_the_crate() {
        assert_eq!(part("shared/domain/src/decide/watch.rs:266:5: replace x"), "decide");
        assert_eq!(part("shared/domain/src/glob.rs:1:5: replace x"), "glob");
    }
}
