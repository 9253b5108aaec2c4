//! A cluster of its own for a person: started by `cargo xtask cluster up`, ended by `cargo xtask cluster down`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it ends with what it saw")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use portcullis_tests_kubernetes::cluster::{Cluster, Options};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a Kubernetes cluster for tests, until SIGTERM or SIGINT
#[derive(Parser)]
struct Args {
    /// Where its state is: emptied first, `kubeconfig` is there when it is up, `pid` names the process
    #[arg(long)]
    state: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { state } = Args::parse();
    let (mut term, mut int) = (signal(SignalKind::terminate()).unwrap(), signal(SignalKind::interrupt()).unwrap());
    let cluster = tokio::select! {
        started = Cluster::start_in(&state, Options::default()) => match started {
            Ok(cluster) => cluster,
            Err(cannot) => {
                eprintln!("there can be no cluster on this machine: {cannot}");
                return ExitCode::FAILURE;
            }
        },
        _ = term.recv() => return ExitCode::FAILURE,
        _ = int.recv() => return ExitCode::FAILURE,
    };
    fs::write(state.join("pid"), std::process::id().to_string()).unwrap();
    // Last: whoever waits for the cluster waits for this file.
    fs::write(state.join("ready"), "").unwrap();
    println!("up: {}", cluster.kubeconfig().display());
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    drop(cluster);
    ExitCode::SUCCESS
}
