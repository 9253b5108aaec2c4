//! `cargo xtask simulate`: builds the simulator with the profile `proof` and plays seeds.

use anyhow::Result;

use crate::step::{build, run as run_step};

/// What `cargo xtask simulate` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds to play; a million take one to two hours on two cores
    #[arg(long, default_value_t = 10_000)]
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
    /// Play on after a seed failed, and list those that did
    #[arg(long, conflicts_with = "seed")]
    keep_going: bool,
}

impl Args {
    /// What every change must pass: always the same seeds, so that a failure is the change's.
    pub(crate) fn ci() -> Self {
        Self { seeds: 3_000, from: 1, seed: None, trace: false, jobs: None, keep_going: false }
    }
}

/// Builds and plays.
///
/// # Errors
/// When the simulator does not build, or a seed fails: then its number, trace and story were printed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut simulate = build("portcullis-simulator", "simulate")?;
    match args.seed {
        Some(seed) => simulate.args(["--seed", &seed.to_string()]),
        None => simulate.args(["--seeds", &args.seeds.to_string(), "--from", &args.from.to_string()]),
    };
    if args.trace {
        simulate.arg("--trace");
    }
    if args.keep_going {
        simulate.arg("--keep-going");
    }
    if let Some(jobs) = args.jobs {
        simulate.args(["--jobs", &jobs.to_string()]);
    }
    run_step(&mut simulate)
}
