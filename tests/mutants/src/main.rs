//! Mutation testing of `shared/domain` in minutes: every mutant that cargo-mutants names is compiled into one build,
//! asleep, and each run of the tests wakes one of them.
//!
//! cargo-mutants decides what a mutant is ([`list`]); [`weave`] writes them all into the source, [`tree`] keeps the copy
//! that is compiled, [`play`] runs the core's own tests and then the simulator against one after the other, [`report`]
//! tells. The few that cannot share a build (a constant, an `impl Trait`, a type that does not fit) are compiled alone, as
//! cargo-mutants would.
//! It must not know what the product does. Start reading at [`run`].

mod list;
mod play;
mod report;
mod tree;
mod weave;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::list::Mutant;
use crate::play::{Outcome, Program};
use crate::report::Report;
use crate::tree::Tree;

/// Changes the core one little thing at a time, and sees whether a test notices
#[derive(Parser)]
struct Args {
    /// What `cargo mutants --list --json` printed
    list: PathBuf,
    /// The root of the work tree
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Only every n-th mutant from the k-th on, such as `0/10`
    #[arg(long, value_name = "K/N", value_parser = list::shard)]
    shard: Option<(usize, usize)>,
    /// Only mutants of files whose path contains this
    #[arg(long, value_name = "PART")]
    file: Vec<String>,
    /// Only those that the last runs missed, or have not come to
    #[arg(long)]
    again: bool,
    /// How many to try at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when fewer than one in ten of those that compile was missed.
fn run(args: &Args) -> Result<bool> {
    let root = args.root.canonicalize().context("finding the work tree")?;
    let mut mutants = list::read(&args.list)?;
    if let Some((k, n)) = args.shard {
        mutants = mutants.into_iter().enumerate().filter(|(i, _)| i % n == k).map(|(_, mutant)| mutant).collect();
    }
    if !args.file.is_empty() {
        mutants.retain(|mutant| args.file.iter().any(|part| mutant.file.contains(part)));
    }
    let home = root.join("target/mutants");
    let mut report = Report::open(&home.join("outcomes.jsonl"), args.again)?;
    mutants.retain(|mutant| !report.is_settled(&mutant.name));
    if mutants.is_empty() {
        bail!("no mutant is left to try");
    }
    let tree = Tree::copy(&root, &home)?;

    let mut alone = BTreeSet::new();
    let mut programs = Program::tests(together(&tree, &mutants, &mut alone)?);
    programs.push(Program::simulator(tree.build_simulator()?));
    let limit = play::baseline(&programs)?;
    let woven: Vec<usize> = (0..mutants.len()).filter(|which| !alone.contains(which)).collect();
    eprintln!("mutants: {} in one build, {} alone; each may take {limit:?}", woven.len(), alone.len());
    play::all(&programs, &woven, limit, args.jobs, |which, outcome| report.add(&mutants[which], outcome))?;

    for (done, which) in alone.iter().enumerate() {
        let mutant = &mutants[*which];
        eprintln!("mutants: {} of {} alone: {}", done + 1, alone.len(), mutant.name);
        let outcome = match tree.build_alone(mutant)? {
            Some(tests) => match play::one(&Program::tests(tests), None, limit)? {
                Outcome::Missed => play::one(&[Program::simulator(tree.build_simulator()?)], None, limit)?,
                outcome => outcome,
            },
            None => Outcome::DoesNotCompile,
        };
        report.add(mutant, outcome)?;
    }
    report.tell();
    Ok(report.share_caught() >= 0.9)
}

/// Builds with all mutants but those in `alone`, to which it adds whatever the compiler complains of.
fn together(tree: &Tree, mutants: &[Mutant], alone: &mut BTreeSet<usize>) -> Result<Vec<PathBuf>> {
    loop {
        let woven = weave::all(tree.root(), mutants, alone)?;
        match tree.build_woven(&woven)? {
            Ok(tests) => return Ok(tests),
            Err(wrong) if wrong.is_empty() => bail!("the build fails for a reason that is no mutant's"),
            Err(wrong) => {
                eprintln!("mutants: {} do not compile with the others", wrong.len());
                let known = alone.len();
                alone.extend(wrong);
                if alone.len() == known {
                    bail!("the build fails at mutants that are not in it");
                }
            }
        }
    }
}
