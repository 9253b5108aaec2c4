//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! One file per command ([`mod@test`], [`ci`], [`simulate`], [`fuzz`], [`mutants`], [`mod@bench`], [`stack`], [`cluster`],
//! [`dist`]); [`step`] runs a child and prints it first, [`tools`] knows the pinned cargo plugins, [`python`] and [`maven`]
//! the pinned programs of other worlds. It must not know the product: it only starts cargo and reports, so that whatever it
//! does can also be typed by hand from what it prints. Start reading at [`Command`].

mod bench;
mod ci;
mod cluster;
mod dist;
mod fuzz;
mod maven;
mod mutants;
mod python;
mod simulate;
mod stack;
mod step;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What `cargo xtask` can do.
#[derive(Subcommand)]
enum Command {
    /// Set up whatever the tests need, then run them (all, or one part)
    Test(test::Args),
    /// Run what `.ci/run` runs, cheap steps first, and stop at the first that fails
    Ci(ci::Args),
    /// Install the pinned tools that the last steps of `ci` need, so that this can be done while something else waits
    Tools,
    /// Play whole releases through the real engine under seeded faults
    Simulate(simulate::Args),
    /// Feed what parses bytes from outside with inputs nobody thought of
    Fuzz(fuzz::Args),
    /// Change the core one little thing at a time, and see whether a test notices
    #[command(disable_help_flag = true)]
    Mutants(mutants::Args),
    /// Measure speed; the table is printed, everything after the subject goes to the benchmark
    Bench(bench::Args),
    /// Run the whole AWS stack on this machine: every function a process, on an emulator, wired as the templates say
    Stack(stack::Args),
    /// Run a Kubernetes cluster for tests on this machine, in the background
    Cluster(cluster::Args),
    /// Make the archives of a release: every Lambda function, their checksums, their bills of materials
    Dist(dist::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Tools => ci::install(),
        Command::Simulate(args) => simulate::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Mutants(args) => mutants::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Stack(args) => stack::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Dist(args) => dist::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
