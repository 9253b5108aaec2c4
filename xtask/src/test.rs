//! `cargo xtask test [PART] [-- ARGS]`: sets up whatever the tests need, then runs them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

use crate::step::{build_dir, cargo, in_words, run as run_step};
use crate::{dist, maven, python, simulate};

/// Where tests that start the real binary find it: an absolute path.
const BINARY_VARIABLE: &str = "PORTCULLIS_BIN";

/// Where tests find the emulator of AWS: an absolute path of the server program.
pub(crate) const MOTO_VARIABLE: &str = "PORTCULLIS_MOTO";

/// Where the ledger's tests find AWS's own emulator of DynamoDB: the absolute path of the folder of its jars.
const DYNAMODB_VARIABLE: &str = "PORTCULLIS_DYNAMODB_LOCAL";

/// Where tests that run the functions find them: the absolute path of their folder.
pub(crate) const FUNCTIONS_VARIABLE: &str = "PORTCULLIS_FUNCTIONS";
/// How the driver is built for them: with a local cluster behind it, and with the deaths that tests ask for.
const FUNCTIONS_FEATURES: &str = "run-release/local-cluster,run-release/faults";

/// What is run on DynamoDB Local as well.
const LEDGER: &[&str] = &["-p", "portcullis-tests-aws", "--test", "ledger"];

/// A share of the tests that can be run alone.
struct Part {
    name: &'static str,
    /// One line for `--help` and for a wrong name.
    about: &'static str,
    /// What each run of `cargo test` is given.
    runs: &'static [&'static [&'static str]],
    /// Whether the seeds of CI are played as well.
    plays_seeds: bool,
    /// Whether a test of this part starts the `portcullis` binary.
    starts_the_binary: bool,
    /// Whether a test of this part speaks to AWS's APIs, as an emulator has them, and starts the functions.
    speaks_to_aws: bool,
}

/// The proofs need an optimised build, and are no part of a run with the usual one.
const USUAL: &[&str] = &["--workspace", "--exclude", "portcullis-model", "--exclude", "portcullis-simulator"];
/// What is compiled only into tests.
const FAULTS: &[&str] = &["-p", "portcullis-lambda", "--lib", "--features", "portcullis-lambda/faults"];
/// The model checker and the simulator.
const PROOFS: &[&str] = &["--profile", "proof", "-p", "portcullis-model", "-p", "portcullis-simulator"];

/// Every part; a new one is one more line.
const PARTS: &[Part] = &[
    Part {
        name: "all",
        about: "everything below (the default)",
        runs: &[USUAL, FAULTS, PROOFS],
        plays_seeds: true,
        starts_the_binary: true,
        speaks_to_aws: true,
    },
    Part {
        name: "unit",
        about: "what stands beside the code",
        runs: &[&["--workspace", "--lib", "--bins"]],
        plays_seeds: false,
        starts_the_binary: false,
        speaks_to_aws: false,
    },
    Part {
        name: "integration",
        about: "what crosses modules and crates, on fakes and on real processes",
        runs: &[&["--workspace", "--exclude", "portcullis-model", "--exclude", "portcullis-simulator", "--test", "*"]],
        plays_seeds: false,
        starts_the_binary: true,
        speaks_to_aws: true,
    },
    Part {
        name: "doc",
        about: "the examples in the documentation",
        runs: &[&["--workspace", "--doc"]],
        plays_seeds: false,
        starts_the_binary: false,
        speaks_to_aws: false,
    },
    Part {
        name: "crash",
        about: "kill -9 of `serve` during releases under load (a share of `integration`)",
        runs: &[&["--workspace", "--test", "crash"]],
        plays_seeds: false,
        starts_the_binary: true,
        speaks_to_aws: false,
    },
    Part {
        name: "aws",
        about: "the AWS adapters and the functions, on an emulator of AWS's APIs (installed when missing)",
        runs: &[&["-p", "portcullis-aws", "-p", "portcullis-tests-aws"], FAULTS],
        plays_seeds: false,
        starts_the_binary: true,
        speaks_to_aws: true,
    },
    Part {
        name: "model",
        about: "the model checker, optimised: every interleaving of small worlds",
        runs: &[&["--profile", "proof", "-p", "portcullis-model"]],
        plays_seeds: false,
        starts_the_binary: false,
        speaks_to_aws: false,
    },
    Part {
        name: "simulate",
        about: "the simulator, optimised: its tests, then the same few thousand seeds each time",
        runs: &[&["--profile", "proof", "-p", "portcullis-simulator"]],
        plays_seeds: true,
        starts_the_binary: false,
        speaks_to_aws: false,
    },
];

/// What `cargo xtask test` is told.
#[derive(clap::Args)]
#[command(after_help = parts_in_words())]
pub(crate) struct Args {
    /// Which part to run
    #[arg(default_value = "all", hide_possible_values = true, value_parser = names())]
    part: String,
    /// Handed to the test programs, after `--`: a name to filter by, `--nocapture`, `--ignored`
    #[arg(last = true)]
    args: Vec<String>,
}

impl Args {
    /// Every test, as `.ci/run` asks for.
    pub(crate) fn all() -> Self {
        Self { part: "all".to_owned(), args: Vec::new() }
    }
}

/// Runs one part, after building the binary if the part starts it.
///
/// # Errors
/// When the part is unknown, the binary does not build, or a test fails. Every test program is run even if an earlier
/// one failed (`--no-fail-fast`), so that one run shows all that is wrong.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let Some(part) = PARTS.iter().find(|part| part.name == args.part) else {
        bail!("there is no part {:?} of the tests\n{}", args.part, parts_in_words());
    };
    let mut binary = None;
    if part.starts_the_binary {
        run_step(&mut cargo(["build", "--package", "portcullis-cli", "--bin", "portcullis"]))?;
        let built = build_dir()?.join(format!("portcullis{}", std::env::consts::EXE_SUFFIX));
        if !built.is_file() {
            bail!(
                "cargo built `portcullis`, but not to {}: run xtask with the same profile and target as the tests",
                built.display()
            );
        }
        binary = Some(built);
    }
    let aws = if part.speaks_to_aws { Some((python::MOTO.path()?, functions()?)) } else { None };
    for run in part.runs {
        let mut tests = cargo(["test", "--no-fail-fast"]);
        tests.args(*run);
        if !args.args.is_empty() {
            tests.arg("--").args(&args.args);
        }
        if let Some(binary) = &binary {
            tests.env(BINARY_VARIABLE, binary);
        }
        if let Some((moto, functions)) = &aws {
            tests.env(MOTO_VARIABLE, moto).env(FUNCTIONS_VARIABLE, functions);
        }
        run_step(&mut tests)?;
    }
    if part.speaks_to_aws {
        match maven::dynamodb_local()? {
            Some(jars) => {
                let mut tests = cargo(["test", "--no-fail-fast"]);
                tests.args(LEDGER).env(DYNAMODB_VARIABLE, jars);
                if !args.args.is_empty() {
                    tests.arg("--").args(&args.args);
                }
                run_step(&mut tests)?;
            }
            None => eprintln!("\nno Java or no Maven: the ledger was tested on moto alone, not on DynamoDB Local"),
        }
    }
    if part.plays_seeds && args.args.is_empty() {
        simulate::run(&simulate::Args::ci())?;
    }
    eprintln!("\ntests ({}): passed in {}", part.name, in_words(begun.elapsed()));
    Ok(())
}

/// Builds the functions as tests run them; the folder they are in.
pub(crate) fn functions() -> Result<PathBuf> {
    let mut build = cargo(["build", "--features", FUNCTIONS_FEATURES]);
    for name in dist::functions()? {
        build.args(["--package", &name]);
    }
    run_step(&mut build)?;
    let folder = build_dir()?;
    let driver = folder.join(format!("run-release{}", std::env::consts::EXE_SUFFIX));
    if !driver.is_file() {
        bail!(
            "cargo built the functions, but not to {}: run xtask with the same profile and target as the tests",
            folder.display()
        );
    }
    Ok(folder)
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(PARTS.iter().map(|part| part.name))
}

fn parts_in_words() -> String {
    let lines = PARTS.iter().map(|part| format!("  {:<12} {}\n", part.name, part.about));
    format!("Parts:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_part_is_refused_with_the_list_of_parts() {
        let error = run(&Args { part: "nightly".to_owned(), args: Vec::new() }).unwrap_err().to_string();
        assert!(error.contains("\"nightly\"") && PARTS.iter().all(|part| error.contains(part.name)), "{error}");
    }

    #[test]
    fn ci_asks_for_a_part_that_exists() {
        assert!(PARTS.iter().any(|part| part.name == Args::all().part));
    }
}
