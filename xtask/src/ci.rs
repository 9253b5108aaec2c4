//! `cargo xtask ci [STEP...]`: what a change must pass, cheap steps first.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;

use crate::step::{self, cargo, in_words, root, run as run_step};
use crate::{fuzz, python, test, tools};

/// One step, and what it leaves to say at the end although it passed.
struct Step {
    name: &'static str,
    /// One line for `--help`.
    about: &'static str,
    run: fn(&Args) -> Result<Option<Warning>>,
}

/// Something a reader of the summary must not miss.
type Warning = String;

/// Every step, in the order of a whole run.
const STEPS: &[Step] = &[
    Step { name: "fmt", about: "the sources are formatted", run: |_| plain(&["fmt", "--all", "--check"]) },
    Step {
        name: "clippy",
        about: "no warning of the compiler or of clippy, in the build that the tests are run of",
        run: |_| test::lint().map(|()| None),
    },
    Step { name: "test", about: "cargo xtask test", run: |_| test::run(&test::Args::all()).map(|()| None) },
    Step { name: "docs", about: "the documentation builds without a warning", run: |_| docs() },
    Step { name: "templates", about: "AWS's linters, and checkov, on the templates in infra/", run: |_| templates() },
    Step { name: "deny", about: "licences, bans, sources and, where it can be fetched, advisories", run: deny },
    Step { name: "machete", about: "no dependency that nothing uses", run: |_| machete() },
    Step {
        name: "fuzz",
        about: "a short run of every fuzz target",
        run: |_| fuzz::run(&fuzz::Args::short()).map(|()| None),
    },
    Step { name: "demo", about: "portcullis demo --yes, of the build that the tests are made with", run: |_| demo() },
];

/// What `cargo xtask ci` is told.
#[derive(clap::Args)]
#[command(after_help = steps_in_words())]
pub(crate) struct Args {
    /// Only these steps, in the order given (default: all)
    #[arg(value_name = "STEP", hide_possible_values = true, value_parser = names())]
    steps: Vec<String>,
    /// Fail when the advisory database can not be fetched, instead of saying so and going on
    #[arg(long)]
    require_advisories: bool,
}

/// Runs the steps until one fails, then says how long each took and what was left unchecked.
///
/// # Errors
/// The first step that fails, by name, with the command that runs it alone.
pub(crate) fn run(args: &Args) -> Result<()> {
    step::lint_all_builds();
    let chosen = choose(&args.steps)?;
    let mut passed: Vec<(&str, Duration)> = Vec::new();
    let mut warnings = Vec::new();
    for step in chosen {
        eprintln!("\n== {}: {}", step.name, step.about);
        let begun = Instant::now();
        let warning = (step.run)(args).with_context(|| format!("step {0} (alone: cargo xtask ci {0})", step.name))?;
        warnings.extend(warning);
        passed.push((step.name, begun.elapsed()));
    }
    eprintln!();
    for (name, time) in &passed {
        eprintln!("  {name:<9} passed  {:>12}", in_words(*time));
    }
    for warning in &warnings {
        eprintln!("\n{}", loud(warning));
    }
    Ok(())
}

/// Installs what the steps after the tests need. A step that misses its tool installs it too, so nothing depends on this.
///
/// # Errors
/// The first tool that cannot be installed.
pub(crate) fn install() -> Result<()> {
    python::SAM.path()?;
    python::CHECKOV.path()?;
    for tool in [tools::DENY, tools::MACHETE, tools::FUZZ] {
        tool.ensure()?;
    }
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<&'static Step>> {
    if names.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    let find = |name: &String| {
        STEPS
            .iter()
            .find(|step| step.name == name)
            .with_context(|| format!("there is no step {name:?}\n{}", steps_in_words()))
    };
    names.iter().map(find).collect()
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

fn steps_in_words() -> String {
    let lines = STEPS.iter().map(|step| format!("  {:<9} {}\n", step.name, step.about));
    format!("Steps:\n{}", lines.collect::<String>())
}

fn plain(args: &[&str]) -> Result<Option<Warning>> {
    run_step(&mut cargo(args)).map(|()| None)
}

fn demo() -> Result<Option<Warning>> {
    let program = test::portcullis()?;
    run_step(Command::new(program).args(["demo", "--yes"]).current_dir(root())).map(|()| None)
}

fn docs() -> Result<Option<Warning>> {
    run_step(cargo(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings")).map(|()| None)
}

/// The templates that an installer deploys.
const TEMPLATES: [&str; 3] = ["infra/hub.yaml", "infra/executor.yaml", "infra/registry.yaml"];

fn templates() -> Result<Option<Warning>> {
    let at_root = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(root());
        command
    };
    let sam = python::SAM.path()?;
    for template in TEMPLATES {
        let mut validate = at_root(&sam);
        validate.args(["validate", "--lint", "-t", template, "--region", "us-east-1"]);
        run_step(validate.env("SAM_CLI_TELEMETRY", "0"))?;
    }
    run_step(at_root(&sam.with_file_name("cfn-lint")).args(TEMPLATES))?;
    let mut checkov = at_root(&python::CHECKOV.path()?);
    checkov.args(["--framework", "cloudformation", "--skip-download", "--compact", "--quiet"]);
    run_step(checkov.args(TEMPLATES.iter().flat_map(|template| ["-f", template])))?;
    Ok(None)
}

fn machete() -> Result<Option<Warning>> {
    run_step(&mut tools::MACHETE.command(&["--skip-target-dir"])?).map(|()| None)
}

/// Checks what the tree itself can tell, then the advisories if their database can be had: it is a Git repository on
/// GitHub, which networks that only mirror crates.io do not reach.
fn deny(args: &Args) -> Result<Option<Warning>> {
    run_step(&mut tools::DENY.command(&["check", "bans", "licenses", "sources"])?)?;
    let mut fetch = tools::DENY.command(&["fetch", "db"])?;
    // Where the network is closed Git must neither ask for a name nor wait for a stalled connection.
    fetch.env("GIT_TERMINAL_PROMPT", "0").env("GIT_HTTP_LOW_SPEED_LIMIT", "1000").env("GIT_HTTP_LOW_SPEED_TIME", "30");
    let Err(why) = run_step(&mut fetch) else {
        return run_step(&mut tools::DENY.command(&["check", "--disable-fetch", "advisories"])?).map(|()| None);
    };
    let warning = format!("SECURITY ADVISORIES WERE NOT CHECKED: their database could not be fetched\n!! {why:#}");
    if args.require_advisories {
        bail!(warning);
    }
    eprintln!("\n{}", loud(&warning));
    Ok(Some(warning))
}

fn loud(warning: &str) -> String {
    let rule = "!".repeat(78);
    format!("{rule}\n!! {warning}\n{rule}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(steps: &[&Step]) -> Vec<&'static str> {
        steps.iter().map(|step| step.name).collect()
    }

    #[test]
    fn a_whole_run_is_cheap_first_and_ends_with_the_demo() {
        assert_eq!(
            named(&choose(&[]).unwrap()),
            ["fmt", "clippy", "test", "docs", "templates", "deny", "machete", "fuzz", "demo"]
        );
    }

    #[test]
    fn chosen_steps_run_in_the_order_given() {
        assert_eq!(named(&choose(&["docs".to_owned(), "fmt".to_owned()]).unwrap()), ["docs", "fmt"]);
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_list_of_steps() {
        let error = choose(&["lint".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("\"lint\"") && error.contains("machete"), "{error}");
    }

    #[test]
    fn ci_run_names_every_step_in_the_same_order() {
        let script = std::fs::read_to_string(crate::step::root().join(".ci/run")).unwrap();
        let called: Vec<&str> = script
            .lines()
            .filter_map(|line| line.strip_prefix("cargo xtask "))
            .flat_map(|line| line.strip_prefix("ci ").unwrap_or(line).split_whitespace())
            .collect();
        assert_eq!(called, named(&choose(&[]).unwrap()));
    }
}
