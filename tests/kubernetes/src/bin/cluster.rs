//! A cluster of its own for a person: started by `cargo xtask cluster up`, ended by `cargo xtask cluster down`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it ends with what it saw")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use portcullis_tests_kubernetes::cluster::{Cluster, Options};
use portcullis_tests_kubernetes::images::{self, Behaviour};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a Kubernetes cluster for tests, until SIGTERM or SIGINT
#[derive(Parser)]
struct Args {
    /// Where its state is: emptied first; when it is up, `kubeconfig` and `demo-images` are there, and `pid` names the process
    #[arg(long)]
    state: PathBuf,
}

/// What `portcullis demo` releases there, as it wants to be told: two that are well, and one that fails one request in
/// five.
async fn demo_images(cluster: &Cluster) -> String {
    let client = cluster.client().await;
    let failing = Behaviour { error_every: 5, ..Behaviour::version("v3") };
    let mut told = Vec::new();
    for behaviour in [Behaviour::version("v1"), Behaviour::version("v2"), failing] {
        let image = images::push(&client, "registry.test/demo/app", &behaviour).await;
        told.push(format!("{}={}", behaviour.version, image.reference));
    }
    told.join(",")
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
    fs::write(state.join("demo-images"), demo_images(&cluster).await).unwrap();
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
