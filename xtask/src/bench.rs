//! `cargo xtask bench SUBJECT [ARGS...]`: starts the benchmarks with the bench profile.

use anyhow::Result;

use crate::step::{build, cargo, run as run_step};
use crate::{dist, python, test};

/// What the Lambda functions are measured beside.
const BESIDE: &str = "portcullis-bench-beside";

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
    /// The proofs: states per second of the model checker, releases per second of the simulator
    #[command(disable_help_flag = true)]
    Proof {
        /// Handed to the benchmark, e.g. `--json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The Lambda functions as they are shipped: size, cold start, memory, the first answer, beside a hello world
    #[command(disable_help_flag = true)]
    Lambda {
        /// Handed to the benchmark, e.g. `--output json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The Kubernetes adapter on a real control plane: requests lost, switch, rollback, backup, a large release (root; Go)
    #[command(disable_help_flag = true)]
    Kubernetes {
        /// Handed to the benchmark, e.g. `--output json`, `--only switch,backup`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Builds and runs one benchmark.
///
/// # Errors
/// When it does not build, or something could not be measured. A figure that misses its goal is printed as such.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (subject, handed, programs) = match &args.subject {
        Subject::Engine { args } => ("engine", args, Vec::new()),
        Subject::Proof { args } => {
            let model = build("portcullis-model", "model")?.get_program().to_owned();
            let simulate = build("portcullis-simulator", "simulate")?.get_program().to_owned();
            ("proof", args, vec!["--model".into(), model, "--simulate".into(), simulate])
        }
        Subject::Lambda { args } => {
            ("lambda", args, vec!["--programs".into(), dist::programs(BESIDE)?.into_os_string()])
        }
        Subject::Kubernetes { args } => ("kubernetes", args, Vec::new()),
    };
    let mut bench = cargo(["run", "--profile", "bench", "-p", "portcullis-bench", "--", subject]);
    if matches!(args.subject, Subject::Lambda { .. }) {
        bench.env(test::MOTO_VARIABLE, python::MOTO.path()?);
    }
    run_step(bench.args(programs).args(handed))
}
