//! `cargo xtask bench SUBJECT [ARGS...]`: starts the benchmarks with the bench profile.

use anyhow::Result;

use crate::step::{cargo, run as run_step};

/// What `cargo xtask bench` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(clap::Subcommand)]
enum Subject {
    /// The engine: decisions per second, folding, policy load, ledger appends, the local switch, idle memory
    #[command(disable_help_flag = true)]
    Engine {
        /// Handed to the benchmark, e.g. `--output json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Builds and runs one benchmark.
///
/// # Errors
/// When it does not build, or something could not be measured. A figure that misses its goal is printed as such.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (subject, args) = match &args.subject {
        Subject::Engine { args } => ("engine", args),
    };
    let mut bench = cargo(["run", "--profile", "bench", "-p", "portcullis-bench", "--", subject]);
    run_step(bench.args(args))
}
