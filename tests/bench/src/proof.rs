//! The proofs' speed: the model checker's states per second, the simulator's whole releases per second of one core.
//!
//! Both are programs of their own, built with the profile `proof` by `cargo xtask bench proof`; they are started here
//! and asked for their figures.

mod toy;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::report::{Goal, Line, Report};

/// What the issue asks of the model checker, on two cores.
const STATES: f64 = 200_000.0;
/// What it asks of the simulator, per core.
const RELEASES: f64 = 1_000.0;
/// Rounds in turns; the best of each counts.
const ROUNDS: usize = 3;

/// What `proof` is told.
#[derive(clap::Args)]
pub(crate) struct Proof {
    /// The program `model`
    #[arg(long)]
    model: PathBuf,
    /// The program `simulate`
    #[arg(long)]
    simulate: PathBuf,
    /// States that each world of the model checker is explored to, at most
    #[arg(long, default_value_t = 300_000)]
    states: u64,
    /// Seeds per round of the simulator
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Measures both.
pub(crate) fn measure(args: &Proof) -> Result<()> {
    let mut report = Report::new("proof");
    if !args.json {
        println!("{}", report.title());
    }
    for line in [model(args)?, simulator(args)?] {
        if !args.json {
            println!("\n{line}");
        }
        report.lines.push(line);
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("\n{}", report.summary());
    }
    Ok(())
}

fn output(program: &Path, args: &[String]) -> Result<String> {
    let doing = || format!("running {} {}", program.display(), args.join(" "));
    let done = Command::new(program).args(args).output().with_context(doing)?;
    if !done.status.success() {
        bail!("{}: {}\n{}", doing(), done.status, String::from_utf8_lossy(&done.stdout));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// States generated and the seconds they took, from the model checker's table.
fn explored(table: &str) -> (f64, f64) {
    let rows = table.lines().filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let generated: f64 = columns.next()?.parse().ok()?;
        let seconds: f64 = columns.nth(2)?.parse().ok()?;
        Some((generated, seconds))
    });
    rows.fold((0.0, 0.0), |(states, time), (generated, seconds)| (states + generated, time + seconds))
}

fn model(args: &Proof) -> Result<Line> {
    let (mut best, mut beside): (f64, f64) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let table = output(&args.model, &["--at-most".to_owned(), args.states.to_string()])?;
        let (states, seconds) = explored(&table);
        best = best.max(states / seconds.max(1e-3));
        let begun = Instant::now();
        let toy = toy::explore();
        beside = beside.max(toy / begun.elapsed().as_secs_f64());
    }
    let what = format!("states generated of the real decide/next/apply, {} states of each world", args.states);
    let line = Line::new("model", what, best, "states/s").goal(Goal::AtLeast(STATES));
    Ok(line.beside("the same checker on two-phase commit with 8 resource managers", beside, "states/s"))
}

fn simulator(args: &Proof) -> Result<Line> {
    let rate = |calm: bool| -> Result<f64> {
        let mut words = vec!["--rate".to_owned(), "--jobs".to_owned(), "1".to_owned()];
        words.extend(["--seeds".to_owned(), args.seeds.to_string()]);
        words.extend(calm.then(|| "--calm".to_owned()));
        let said = output(&args.simulate, &words)?;
        said.trim().parse().with_context(|| format!("reading {said:?} as a rate"))
    };
    let (mut best, mut calm): (f64, f64) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        best = best.max(rate(false)?);
        calm = calm.max(rate(true)?);
    }
    let what = format!("whole releases through the real engine with faults on, {} seeds on one core", args.seeds);
    let line = Line::new("simulator", what, best, "releases/s").goal(Goal::AtLeast(RELEASES));
    Ok(line.beside("the same seeds without faults", calm, "releases/s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_model_checker_is_added_up() {
        let table = "world generated unique depth seconds states/s invariants what\n\
                     small 1000 400 12 0.5 2000 all hold one release\n\
                     large 3000 900 40 1.5 2000 all hold two releases\n  met 3 of 4\n";
        assert_eq!(explored(table), (4_000.0, 2.0));
    }
}
