//! `cargo xtask stack POLICY...`: the AWS stack on this machine, until Ctrl-C.

use std::path::PathBuf;

use anyhow::Result;

use crate::step::{cargo, run as run_step};
use crate::{python, test};

/// What `cargo xtask stack` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The policy files
    #[arg(required = true, value_name = "POLICY")]
    policies: Vec<PathBuf>,
}

/// Installs the emulator if it is missing, builds the functions, and starts them.
///
/// # Errors
/// When something cannot be installed, built or started.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut stack = cargo(["run", "--package", "portcullis-tests-aws", "--bin", "stack", "--"]);
    stack.args(&args.policies);
    stack.env(test::MOTO_VARIABLE, python::MOTO.path()?).env(test::FUNCTIONS_VARIABLE, test::functions()?);
    run_step(&mut stack)
}
