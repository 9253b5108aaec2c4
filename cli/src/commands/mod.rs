//! What each command does. One file per family.

mod backup;
mod cluster;
mod control;
mod direct;
mod freeze;
mod glass;
mod manifests;
mod people;
mod policy;
mod release;

use clap::CommandFactory as _;

use crate::args::{Cli, Command};
use crate::backend::Backend;
use crate::out::Out;
use crate::{demo, init, replay, serve, show};

/// Does what was said.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let out = Out::new(cli.answer);
    match cli.command {
        Command::Demo(flags) => Box::pin(demo::run(flags, out)).await,
        Command::Serve(flags) => serve::run(flags, out.screen).await,
        Command::Status { target, place } => status(target.as_ref(), &Backend::open(&place, out.screen)?, out).await,
        Command::Release(command) => release::run(command, out).await,
        Command::Quarantine(command) => control::quarantine(command, out).await,
        Command::Person(command) => people::run(command, out),
        Command::Policy(command) => policy::run(command, out),
        Command::Cluster(command) => Box::pin(cluster::run(command, out)).await,
        Command::Backup(command) => Box::pin(backup::run(command, out)).await,
        Command::Manifests(command) => manifests::run(command, out).await,
        Command::Init { file, from } if from.from_cluster => init::from_cluster(&file, &from, out).await,
        Command::Init { file, .. } => init::run(&file, out),
        Command::Replay { events, policy } => replay::run(&events, &policy, out),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut std::io::stdout());
            Ok(())
        }
        command => control::run(command, out).await,
    }
}

async fn status(
    target: Option<&portcullis_domain::names::TargetId>,
    backend: &Backend,
    out: Out,
) -> anyhow::Result<()> {
    let mut targets = backend.targets().await?;
    if let Some(wanted) = target {
        targets.retain(|summary| summary.target == *wanted);
        if targets.is_empty() {
            return Err(crate::exit::not_found(format!("no policy and no ledger names {wanted}")));
        }
    }
    out.answer(&targets, || show::status::show(&targets, out.screen, crate::out::times()))
}
