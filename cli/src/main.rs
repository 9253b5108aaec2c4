//! The `portcullis` binary: the server, the commands that people use, and the demo.
//!
//! It must not know: how anything is judged (the core does), how anything is stored or changed (the engine and its
//! ports do). It wires them together, and puts into words what they say.
//!
//! Start reading at [`args`], the command line; then [`commands`], what each command does; [`serve`] wires the server;
//! [`show`] and [`words`] are what people see; [`demo`] is the main job on one machine.

mod acting;
mod api;
mod args;
mod ask;
mod backend;
mod client;
mod commands;
mod demo;
mod exit;
mod init;
mod kubeconfig;
mod layout;
mod out;
mod policies;
mod replay;
mod serve;
mod show;
mod simulate;
mod stores;
mod view;
mod when;
mod words;

use std::process::ExitCode;

use clap::Parser as _;

use crate::exit::{Exit, Stop};

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::anyhow!("starting: {error}")),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Says what went wrong; its words are safe for a terminal.
fn fail(error: &anyhow::Error) -> ExitCode {
    let stop = error.downcast_ref::<Stop>();
    let words = stop.map_or_else(|| format!("{error:#}"), |stop| stop.words.clone());
    for line in words.lines() {
        eprintln!("{}", show::text::safe(line));
    }
    ExitCode::from(stop.map_or(Exit::Failed, |stop| stop.code) as u8)
}
