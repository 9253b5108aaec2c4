//! `cluster ...`: adopt and release services, the rights that are needed, what is let in, what stands in the way.

mod change;
mod lines;
mod rights;

use portcullis_domain::policy::SealedPolicy;

use crate::args::{Cluster, Environment};
use crate::kubeconfig::Context;
use crate::out::Out;
use crate::policies;

/// Does what was said.
pub(crate) async fn run(command: Cluster, out: Out) -> anyhow::Result<()> {
    match command {
        Cluster::Adopt(asked) => change::run(&asked, change::To::Colours, out).await,
        Cluster::Release(asked) => change::run(&asked, change::To::Plain, out).await,
        Cluster::Rbac(asked) => rights::rbac(&asked, out).await,
        Cluster::Admission(asked) => rights::admission(&asked, out),
        Cluster::Doctor(asked) => rights::doctor(&asked, out).await,
    }
}

/// The policy of an environment.
fn policy(on: &Environment, out: Out) -> anyhow::Result<SealedPolicy> {
    policies::one(&on.policy, &on.target, out.screen)
}

/// The policy of an environment, and the context of its cluster.
fn place(on: &Environment, out: Out) -> anyhow::Result<(SealedPolicy, Context)> {
    let policy = policy(on, out)?;
    let context = Context::of_policy(&on.kube, &policy)?;
    Ok((policy, context))
}
