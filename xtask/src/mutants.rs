//! `cargo xtask mutants`: changes the core one little thing at a time, and sees whether a test notices.

use anyhow::{Context, Result};

use crate::step::{cargo, root, run as run_step};
use crate::tools;

/// What `cargo xtask mutants` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only every n-th mutant from the k-th on, such as `0/10`: a sample
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
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

/// Tries the mutants of `shared/domain`, as cargo-mutants lists them, all in one build: see `docs/decisions/0006`.
///
/// # Errors
/// When a tenth or more of them is missed, or the tests fail without one.
pub(crate) fn run(args: &Args) -> Result<()> {
    let home = root().join("target/mutants");
    std::fs::create_dir_all(&home).context("making a folder for the mutants")?;
    let list = home.join("list.json");
    let listed = tools::MUTANTS.command(&["--package", "portcullis-domain", "--list", "--json"])?.output()?;
    anyhow::ensure!(listed.status.success(), "cargo mutants: {}", String::from_utf8_lossy(&listed.stderr));
    std::fs::write(&list, listed.stdout).context("keeping the list of mutants")?;

    let mut command = cargo(["run", "--quiet", "--package", "portcullis-mutants", "--"]);
    command.arg(&list).args(["--jobs", &args.jobs.to_string()]);
    if let Some(shard) = &args.shard {
        command.args(["--shard", shard]);
    }
    for file in &args.file {
        command.args(["--file", file]);
    }
    if args.again {
        command.arg("--again");
    }
    run_step(&mut command)
}
