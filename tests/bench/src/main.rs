//! Measures what the engine is promised to do, each figure beside something else that ran in the same run.
//!
//! Run by `cargo xtask bench engine`, `… proof`, `… lambda` and `… kubernetes`. It asserts no speed: what misses its goal is
//! printed as `goal not reached`, and the exit code is 0 as long as everything could be measured. `docs/performance.md` keeps figures and methods.
//!
//! It must not know: the inside of what it measures; it uses the crates as their callers do. Start reading at
//! [`engine`], [`proof`], [`lambda`] and [`kubernetes`]; each line is a module of its own, what they have in common is in `story`.

mod decide;
mod fold;
mod idle;
mod kubernetes;
mod lambda;
mod ledger;
mod memory;
mod policy;
mod proof;
mod report;
mod story;
mod switch;
mod timing;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

use report::{Line, Report};

#[derive(Parser)]
#[command(name = "portcullis-bench", about = "Speed, measured beside something else in the same run")]
struct Cli {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// Decisions, folding, policies, the ledger, the local switch, the idle server
    Engine(Engine),
    /// The model checker and the simulator
    Proof(proof::Proof),
    /// The Lambda functions: sizes, cold starts, memory, the first answer
    Lambda(lambda::Lambda),
    /// The Kubernetes adapter on a real control plane: requests lost, switch, rollback, backup, a large release
    Kubernetes(kubernetes::Kubernetes),
    /// What the idle server's memory is compared with: an async runtime that listens, and nothing else
    #[command(hide = true)]
    Listener,
}

#[derive(clap::Args)]
struct Engine {
    /// Only these lines
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Name>,
    /// A table for people, or one JSON object on stdout
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Where the ledgers are written (default: beside this program, not a memory file system)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Requests that the local switch is measured with, at least
    #[arg(long, default_value_t = 200_000)]
    requests: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// The lines, in their order.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// decide + apply + next, per signal
    Decide,
    /// Folding a ledger of 10,000 events
    Fold,
    /// Loading and checking 200 applications
    Policy,
    /// Appends to the SQLite ledger
    Ledger,
    /// 50 switches and 50 rollbacks at full load
    Switch,
    /// The idle server's memory
    Idle,
}

fn main() -> Result<()> {
    match Cli::parse().subject {
        Subject::Engine(args) => engine(&args),
        Subject::Proof(args) => proof::measure(&args),
        Subject::Lambda(args) => lambda::measure(&args),
        Subject::Kubernetes(args) => kubernetes::measure(&args),
        Subject::Listener => idle::listen(),
    }
}

/// Measures the lines one after the other, each printed as soon as it is known.
fn engine(args: &Engine) -> Result<()> {
    let mut report = Report::new("engine");
    let table = args.output == Output::Table;
    if table {
        println!("{}", report.title());
    }
    for name in Name::value_variants() {
        if !args.only.is_empty() && !args.only.contains(name) {
            continue;
        }
        for line in measure(*name, args)? {
            if table {
                println!("\n{line}");
            }
            report.lines.push(line);
        }
    }
    if table {
        println!("\n{}", report.summary());
    } else {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

fn measure(name: Name, args: &Engine) -> Result<Vec<Line>> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::current_exe()?.parent().context("this program is in no directory")?.to_owned(),
    };
    match name {
        Name::Decide => decide::measure().context("decide"),
        Name::Fold => fold::measure().context("fold"),
        Name::Policy => policy::measure().context("policy"),
        Name::Ledger => ledger::measure(&dir).context("ledger"),
        Name::Switch => switch::measure(&dir, args.requests).context("switch"),
        Name::Idle => idle::measure().context("idle"),
    }
}
