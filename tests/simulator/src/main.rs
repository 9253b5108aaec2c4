//! `simulate`: plays seeds, prints what came of them, and of the first that fails everything there is to know.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use portcullis_simulator::report::{self, Progress, Totals};
use portcullis_simulator::{Options, Outcome, Simulator};

/// A quarter of a seed's time is allocation: states are cloned, encoded, dropped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays whole releases through the real engine under seeded faults.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(name = "simulate", max_term_width = 110)]
struct Args {
    /// How many seeds to play
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Play this one seed only
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With `--seed`: print everything that happened
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads; one per core if not given
    #[arg(long)]
    jobs: Option<usize>,
    /// The same stories without faults, for comparing speeds
    #[arg(long)]
    calm: bool,
    /// Play on after a seed failed, and list those that did
    #[arg(long, conflicts_with = "seed")]
    keep_going: bool,
    /// Print only `releases per second per core`, for other programs
    #[arg(long)]
    rate: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything held.
fn run(args: &Args) -> Result<bool> {
    let options = Options { traced: args.trace, calm: args.calm, broken: None };
    if let Some(seed) = args.seed {
        let outcome = Simulator::new().context("starting the runtime")?.simulate(seed, options);
        if let Some(trace) = &outcome.trace {
            print!("{trace}");
        }
        println!("seed {seed}: {:?}, {} events, hash {:016x}", outcome.endings, outcome.appended, outcome.hash);
        if outcome.failure.is_some() {
            tell(&outcome, options, !args.trace)?;
        }
        return Ok(outcome.failure.is_none());
    }
    let jobs = args.jobs.map_or_else(|| std::thread::available_parallelism().map(Into::into), Ok);
    let jobs = jobs.context("counting the cores")?;
    let totals = report::play(args.from, args.seeds, jobs, options, args.keep_going, |progress| match progress {
        Progress::Seeds(seeds) => eprintln!("simulate: {seeds} of {} seeds", args.seeds),
        Progress::Failed(seed, why) => eprintln!("simulate: seed {seed} FAILED: {why}"),
    })
    .context("starting a runtime")?;
    match &totals.failed {
        Some(outcome) if !args.keep_going => tell(outcome, options, true)?,
        _ => print(&totals, args.rate),
    }
    for (seed, why) in totals.failures.iter().filter(|_| args.keep_going) {
        println!("seed {seed} FAILED: {why}");
    }
    Ok(totals.failed.is_none())
}

fn print(totals: &Totals, rate: bool) {
    if rate {
        println!("{:.0}", totals.releases_per_second());
    } else {
        println!("{}", totals.table());
    }
}

/// Tells what went wrong; the trace is made by playing the seed once more.
fn tell(outcome: &Outcome, options: Options, traced: bool) -> Result<()> {
    let seed = outcome.seed;
    if traced {
        let again = Simulator::new().context("starting the runtime")?;
        let again = again.simulate(seed, Options { traced: true, ..options });
        println!("{}", again.trace.unwrap_or_default());
        if again.hash != outcome.hash {
            println!("and the seed did not repeat itself: a defect of the simulator");
        }
    }
    println!("the ledger:\n{}", outcome.story.as_deref().unwrap_or_default());
    println!("seed {seed} FAILED: {}", outcome.failure.as_deref().unwrap_or_default());
    println!("again: cargo xtask simulate --seed {seed} --trace");
    Ok(())
}
