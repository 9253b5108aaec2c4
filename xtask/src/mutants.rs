//! `cargo xtask mutants`: changes the core one little thing at a time, and sees whether a test notices.

use anyhow::Result;

use crate::step::run as run_step;
use crate::tools;

/// What `cargo xtask mutants` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only every n-th mutant from the k-th on, such as `0/10`: a sample, or a share for one of several machines
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only mutants of these files
    #[arg(long, value_name = "GLOB")]
    file: Vec<String>,
    /// Handed to cargo-mutants, after `--`
    #[arg(last = true)]
    more: Vec<String>,
}

/// Runs the mutants of `shared/domain` against its own tests. All of them take hours: see `docs/correctness.md`.
///
/// # Errors
/// When a mutant is missed, or the tests fail without one.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = tools::MUTANTS.command(&["--package", "portcullis-domain", "--profile", "mutants"])?;
    command.args(["--output", "target", "--timeout", "120", "--jobs", "2"]);
    // The core has no examples in its documentation: looking for them takes as long as a build.
    command.args(["--cargo-test-arg=--lib", "--cargo-test-arg=--tests"]);
    if let Some(shard) = &args.shard {
        command.args(["--shard", shard]);
    }
    for file in &args.file {
        command.args(["--file", file]);
    }
    // The property tests repeat one idea many times: a few repetitions notice what many do, and every mutant runs them.
    command.env("PROPTEST_CASES", "12").args(&args.more);
    run_step(&mut command)
}
