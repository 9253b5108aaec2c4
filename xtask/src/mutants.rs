//! `cargo xtask mutants`: changes the core one little thing at a time, and sees whether a test notices.

use anyhow::{Context, Result};

use crate::step::{cargo, root, run as run_step};
use crate::tools;

/// What `cargo xtask mutants` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Handed to the program that tries them, e.g. `--again`, `--file calendar`, `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
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
    run_step(command.arg(&list).args(&args.args))
}
