//! `cargo xtask fuzz [TARGET]`: feeds everything that parses bytes from outside with inputs that nobody thought of.

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;

use crate::step::{root, run as run_step};
use crate::tools;

/// A fuzz target, and where inputs are that it should begin with.
struct Target {
    name: &'static str,
    about: &'static str,
    begins_with: &'static [&'static str],
}

const TARGETS: &[Target] = &[
    Target {
        name: "events",
        about: "every event format",
        begins_with: &["events/ecr", "events/inspector", "events/cloudwatch"],
    },
    Target { name: "policy", about: "the policy loader", begins_with: &["docs/examples", "cli/demo"] },
    Target { name: "calendar", about: "recurrence rules and windows", begins_with: &[] },
    Target { name: "rules", about: "rules in Cedar", begins_with: &[] },
    Target { name: "ledger", about: "the ledger's decoders", begins_with: &[] },
    Target { name: "words", about: "names, digests, fences, patterns", begins_with: &[] },
];

/// What `cargo xtask fuzz` is told.
#[derive(clap::Args)]
#[command(after_help = targets_in_words())]
pub(crate) struct Args {
    /// Only this target (default: each in turn)
    #[arg(hide_possible_values = true, value_parser = names())]
    target: Option<String>,
    /// How long each target is run; a long run is hours
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// So many inputs in place of a time, the same ones every time
    #[arg(long)]
    runs: Option<u32>,
}

impl Args {
    /// The short run of every change: the same inputs every time, so that it fails for a change and not by chance.
    pub(crate) fn short() -> Self {
        Self { target: None, seconds: 0, runs: Some(10_000) }
    }
}

/// Runs one target, or each in turn.
///
/// # Errors
/// When the fuzzer can not be installed or built, and when an input makes a target panic, allocate more than 64 MB at
/// once, grow over 512 MB in all, or take longer than 100 ms for each begun 100 KB. The input is kept under
/// `fuzz/artifacts/`.
pub(crate) fn run(args: &Args) -> Result<()> {
    for target in TARGETS.iter().filter(|target| args.target.as_deref().is_none_or(|name| name == target.name)) {
        run_target(target, args)?;
    }
    Ok(())
}

fn run_target(target: &Target, args: &Args) -> Result<()> {
    let corpus = format!("fuzz/corpus/{}", target.name);
    std::fs::create_dir_all(root().join(&corpus)).with_context(|| format!("making {corpus}"))?;
    let mut wanted = vec!["run", "--sanitizer", "none", "--target-dir", "target/fuzz", target.name, corpus.as_str()];
    for folder in target.begins_with {
        if !root().join(folder).is_dir() {
            bail!("{folder}, with which target {} begins, is not there", target.name);
        }
        wanted.push(folder);
    }
    let mut command = tools::FUZZ.command(&wanted)?;
    // Coverage is counted by a flag of the compiler that is not stable; the compiler is the one of every other build.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.args(["--", "-malloc_limit_mb=64", "-rss_limit_mb=512", "-timeout=10", "-max_len=100000"]);
    command.args(["-verbosity=0", "-print_final_stats=1"]);
    match args.runs {
        Some(runs) => command.arg("-seed=1").arg(format!("-runs={runs}")),
        None => command.arg(format!("-max_total_time={}", args.seconds)),
    };
    run_step(&mut command).with_context(|| format!("fuzzing {} ({})", target.name, target.about))
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(TARGETS.iter().map(|target| target.name))
}

fn targets_in_words() -> String {
    let lines = TARGETS.iter().map(|target| format!("  {:<10} {}\n", target.name, target.about));
    format!("Targets:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_a_program_of_the_fuzz_workspace_and_begins_with_what_is_there() {
        let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
            assert!(target.begins_with.iter().all(|folder| root().join(folder).is_dir()), "{}", target.name);
        }
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}
