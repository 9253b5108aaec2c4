//! `cargo xtask test [PART] [-- ARGS]`: sets up whatever the tests need, then runs them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;

use crate::step::{build_dir, cargo, in_words, run as run_step};
use crate::{dist, maven, python, simulate};

/// The program that people start.
const BINARY: &str = "portcullis";
/// Where tests that start it find it: an absolute path.
const BINARY_VARIABLE: &str = "PORTCULLIS_BIN";

/// Where tests find the emulator of AWS: an absolute path of the server program.
pub(crate) const MOTO_VARIABLE: &str = "PORTCULLIS_MOTO";

/// Where the ledger's tests find AWS's own emulator of DynamoDB: the absolute path of the folder of its jars.
const DYNAMODB_VARIABLE: &str = "PORTCULLIS_DYNAMODB_LOCAL";

/// Where tests that run the functions find them: the absolute path of their folder.
pub(crate) const FUNCTIONS_VARIABLE: &str = "PORTCULLIS_FUNCTIONS";
/// How the driver is built for them: with a local cluster behind it, and with the deaths that tests ask for.
pub(crate) const FUNCTIONS_FEATURES: &str = "run-release/local-cluster,run-release/faults";

/// Where tests find a Kubernetes cluster: the absolute path of its kubeconfig.
const KUBECONFIG_VARIABLE: &str = "PORTCULLIS_TEST_KUBECONFIG";
/// The program that is one, with nodes that make up containers.
const CLUSTER: &str = "cluster";

/// What is run on DynamoDB Local as well.
const LEDGER: Run = Run::Usual(&["--test", "ledger"]);

/// A share of the tests that can be run alone.
struct Part {
    name: &'static str,
    /// One line for `--help` and for a wrong name.
    about: &'static str,
    /// What is run of them.
    runs: &'static [Run],
    /// What is set up for it.
    needs: &'static [Need],
}

/// What a part of the tests needs beside itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The seeds of CI, played as well.
    Seeds,
    /// The `portcullis` binary: a test starts it.
    Binary,
    /// An emulator of AWS's APIs, and the functions.
    Aws,
    /// A Kubernetes cluster.
    Kubernetes,
}

/// One `cargo test`, by what it is given.
enum Run {
    /// In the usual build.
    Usual(&'static [&'static str]),
    /// In the optimised build of the proofs.
    Proof(&'static [&'static str]),
}

/// The model checker and the simulator are no part of it. Everything else is built in this one selection, programs as well
/// as tests: with another, cargo would build what they stand on once more.
const USUAL: &[&str] = &[
    "--workspace",
    "--exclude",
    "portcullis-model",
    "--exclude",
    "portcullis-simulator",
    "--features",
    FUNCTIONS_FEATURES,
];

impl Part {
    fn needs(&self, what: Need) -> bool {
        self.needs.contains(&what)
    }
}

impl Run {
    fn command(&self) -> Command {
        let mut tests = cargo(["test", "--no-fail-fast"]);
        match self {
            Self::Usual(which) => tests.args(USUAL).args(*which),
            Self::Proof(which) => tests.args(["--profile", "proof"]).args(*which),
        };
        tests
    }
}

/// What speaks to AWS, or is in the form of its answers.
const AWS: &[&str] = &[
    "--lib", "--test", "readers", "--test", "budget", "--test", "ledger", "--test", "roots", "--test", "serve",
    "--test", "stack", "--test", "stores", "--test", "template",
];

/// What runs on a Kubernetes cluster, or is in the form of its objects.
#[rustfmt::skip]
const KUBERNETES: &[&str] = &[
    "--test", "backup",
    "--test", "contract",
    "--test", "hostile_manifests",
    "--test", "life",
    "--test", "cluster",
    "--test", "kubernetes_stories",
];

/// Every part; a new one is one more line.
const PARTS: &[Part] = &[
    Part {
        name: "all",
        about: "everything below (the default)",
        runs: &[Run::Usual(&[]), Run::Proof(&["-p", "portcullis-model", "-p", "portcullis-simulator"])],
        needs: &[Need::Seeds, Need::Binary, Need::Aws, Need::Kubernetes],
    },
    Part { name: "unit", about: "what stands beside the code", runs: &[Run::Usual(&["--lib", "--bins"])], needs: &[] },
    Part {
        name: "integration",
        about: "what crosses modules and crates, on fakes and on real processes",
        runs: &[Run::Usual(&["--test", "*"])],
        needs: &[Need::Binary, Need::Aws, Need::Kubernetes],
    },
    Part { name: "doc", about: "the examples in the documentation", runs: &[Run::Usual(&["--doc"])], needs: &[] },
    Part {
        name: "crash",
        about: "kill -9 of `serve` during releases under load (a share of `integration`)",
        runs: &[Run::Usual(&["--test", "crash"])],
        needs: &[Need::Binary],
    },
    Part {
        name: "aws",
        about: "the AWS adapters and the functions, on an emulator of AWS's APIs (installed when missing)",
        runs: &[Run::Usual(AWS)],
        needs: &[Need::Binary, Need::Aws],
    },
    Part {
        name: "kubernetes",
        about: "the Kubernetes adapter on a real control plane, built when it is not cached (root; Go)",
        runs: &[Run::Usual(KUBERNETES)],
        needs: &[Need::Kubernetes],
    },
    Part {
        name: "model",
        about: "the model checker, optimised: every interleaving of small worlds",
        runs: &[Run::Proof(&["-p", "portcullis-model"])],
        needs: &[],
    },
    Part {
        name: "simulate",
        about: "the simulator, optimised: its tests, then the same few thousand seeds each time",
        runs: &[Run::Proof(&["-p", "portcullis-simulator"])],
        needs: &[Need::Seeds],
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

/// Runs one part, after building the programs that it starts.
///
/// # Errors
/// When the part is unknown, a program does not build, or a test fails. Every test program is run even if an earlier
/// one failed (`--no-fail-fast`), so that one run shows all that is wrong.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let Some(part) = PARTS.iter().find(|part| part.name == args.part) else {
        bail!("there is no part {:?} of the tests\n{}", args.part, parts_in_words());
    };
    let moto = part.needs(Need::Aws).then(|| python::MOTO.path()).transpose()?;
    let mut programs = if part.needs(Need::Aws) { dist::functions()? } else { Vec::new() };
    if part.needs(Need::Binary) {
        programs.push(BINARY.to_owned());
    }
    if part.needs(Need::Kubernetes) {
        programs.push(CLUSTER.to_owned());
    }
    let folder = build(&programs)?;
    let cluster = if part.needs(Need::Kubernetes) { Cluster::of_its_own(&folder)? } else { None };
    let run = |run: &Run, and: Option<(&str, PathBuf)>| {
        let mut tests = run.command();
        if !args.args.is_empty() {
            tests.arg("--").args(&args.args);
        }
        if part.needs(Need::Binary) {
            tests.env(BINARY_VARIABLE, folder.join(file_of(BINARY)));
        }
        if let Some(moto) = &moto {
            tests.env(MOTO_VARIABLE, moto).env(FUNCTIONS_VARIABLE, &folder);
        }
        if let Some(cluster) = &cluster {
            tests.env(KUBECONFIG_VARIABLE, cluster.kubeconfig());
        }
        run_step(tests.envs(and))
    };
    let mut ahead = build_ahead(part.runs);
    for one in part.runs {
        if let Some(mut build) = ahead.take_if(|_| matches!(one, Run::Proof(_))) {
            // What is wrong with it the run that follows says.
            let _ = build.0.wait();
        }
        run(one, None)?;
    }
    if part.needs(Need::Aws) {
        match maven::dynamodb_local()? {
            Some(jars) => run(&LEDGER, Some((DYNAMODB_VARIABLE, jars)))?,
            None => eprintln!("\nno Java or no Maven: the ledger was tested on moto alone, not on DynamoDB Local"),
        }
    }
    if part.needs(Need::Seeds) && args.args.is_empty() {
        simulate::run(&simulate::Args::ci())?;
    }
    eprintln!("\ntests ({}): passed in {}", part.name, in_words(begun.elapsed()));
    Ok(())
}

/// Builds the proofs while the usual tests run, which mostly wait. It says nothing: the run after it does.
fn build_ahead(runs: &[Run]) -> Option<Ahead> {
    let proof = runs.iter().skip(1).find(|run| matches!(run, Run::Proof(_)))?;
    let mut build = proof.command();
    build.arg("--no-run").stdout(Stdio::null()).stderr(Stdio::null());
    build.spawn().ok().map(Ahead)
}

/// A build that nobody needs once this is dropped.
struct Ahead(Child);

impl Drop for Ahead {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Builds the functions as tests run them; the folder they are in.
pub(crate) fn functions() -> Result<PathBuf> {
    build(&dist::functions()?)
}

/// Builds all tests but the proofs', which are built when they are run, and runs none. What it builds with is what they
/// are run with, so nothing is compiled twice.
///
/// # Errors
/// Something does not build.
pub(crate) fn lint() -> Result<()> {
    run_step(Run::Usual(&[]).command().arg("--no-run"))
}

/// Builds `portcullis` in the selection of the tests: by itself it would be compiled once more, with all it needs.
///
/// # Errors
/// It does not build.
pub(crate) fn portcullis() -> Result<PathBuf> {
    program(BINARY)
}

/// Builds the program that is a Kubernetes cluster, in the same selection.
///
/// # Errors
/// It does not build.
pub(crate) fn cluster() -> Result<PathBuf> {
    program(CLUSTER)
}

fn program(name: &str) -> Result<PathBuf> {
    Ok(build(&[name.to_owned()])?.join(file_of(name)))
}

/// Builds these programs in the selection of the tests; the folder they are in.
fn build(programs: &[String]) -> Result<PathBuf> {
    let folder = build_dir()?;
    if programs.is_empty() {
        return Ok(folder);
    }
    let mut build = cargo(["build"]);
    build.args(USUAL);
    for program in programs {
        build.args(["--bin", program]);
    }
    run_step(&mut build)?;
    if let Some(missing) = programs.iter().map(|program| folder.join(file_of(program))).find(|file| !file.is_file()) {
        bail!("cargo built no {}: run xtask with the same profile and target as the tests", missing.display());
    }
    Ok(folder)
}

/// A Kubernetes cluster that all test programs of one run share. It ends with this.
struct Cluster {
    state: PathBuf,
    process: Child,
}

impl Cluster {
    /// Between two looks whether it is up.
    const PAUSE: Duration = Duration::from_millis(100);

    /// Starts one, unless a person has named theirs. None = theirs is used, or this machine can have none: the tests say
    /// so then, and fail where `CI` is set.
    fn of_its_own(programs: &Path) -> Result<Option<Self>> {
        if std::env::var_os(KUBECONFIG_VARIABLE).is_some() {
            return Ok(None);
        }
        let target = programs.parent().context("finding the folder of the builds")?;
        // Beside that of `cargo xtask cluster up`, which may run.
        let state = target.join(format!("cluster-of-tests-{}", std::process::id()));
        let program = programs.join(file_of(CLUSTER));
        let process = Command::new(&program).arg("--state").arg(&state).stdin(Stdio::null()).spawn();
        let mut cluster = Self { state, process: process.with_context(|| format!("starting {}", program.display()))? };
        while !cluster.state.join("ready").exists() {
            // It has said why.
            if cluster.process.try_wait()?.is_some() {
                return Ok(None);
            }
            std::thread::sleep(Self::PAUSE);
        }
        Ok(Some(cluster))
    }

    fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // One that ended by itself is not to be told: its number may be another's by now.
        if matches!(self.process.try_wait(), Ok(None)) {
            // A shell has `kill` built in where no such program is installed.
            let told = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.process.id())]).status();
            if !told.is_ok_and(|told| told.success()) {
                let _ = self.process.kill();
            }
            let _ = self.process.wait();
        }
        // What it left is of no use to anybody.
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

fn file_of(program: &str) -> String {
    format!("{program}{}", std::env::consts::EXE_SUFFIX)
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
    fn the_part_aws_has_every_test_program_of_its_crates() {
        for folder in ["shared/aws/tests", "tests/aws/tests"] {
            for entry in std::fs::read_dir(crate::step::root().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").is_file() {
                    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                    assert!(AWS.contains(&name.as_str()), "{folder} has {name}");
                }
            }
        }
    }

    #[test]
    fn the_part_kubernetes_has_every_test_program_of_its_crates() {
        for folder in ["shared/kubernetes/tests", "tests/kubernetes/tests"] {
            for entry in std::fs::read_dir(crate::step::root().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").is_file() {
                    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                    assert!(KUBERNETES.contains(&name.as_str()), "{folder} has {name}");
                }
            }
        }
    }

    #[test]
    fn ci_asks_for_a_part_that_exists() {
        assert!(PARTS.iter().any(|part| part.name == Args::all().part));
    }
}
