//! A real Kubernetes for the tests: the project's own API server, controllers and scheduler, with everything around them
//! that a cluster has and a test machine has not.
//!
//! | file | what |
//! | --- | --- |
//! | [`programs`] | where the programs come from: built from Go modules, kept in the user's cache |
//! | [`control_plane`] | etcd, API server, controllers and scheduler as child processes |
//! | [`kubelet`] | nodes: pods bound to them run as real HTTP servers with addresses of their own |
//! | [`images`] | what the containers do: by image, by environment variable |
//! | [`service_proxy`] | what kube-proxy does: connections to a Service go to its ready endpoints |
//! | [`load`] | requests that are counted to the last one |
//! | [`load_balancer`] | a load balancer that moves traffic by weights, on a route or an Ingress |
//! | [`cluster`] | all of it together, or the cluster that `PORTCULLIS_TEST_KUBECONFIG` names |
//! | [`fault_proxy`] | an API server that fails on purpose |
//! | [`mixed`] | a namespace full of objects of many kinds |
//! | [`world`] | the real engine on it, with an application that it releases |
//! | [`zero_loss`] | switches and rollbacks under load, ours and others', counted alike |
//!
//! All but the last three must not know: the adapter under test, the engine, or how Portcullis names things. What they offer
//! is a cluster.
//!
//! Start reading at [`cluster::Cluster`], then at [`world::World`]. Everything here panics with what it saw: a test that can not go on has failed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on fails"
)]

pub mod addresses;
mod certificates;
pub mod cluster;
pub mod control_plane;
pub mod fault_proxy;
pub mod images;
pub mod kubelet;
pub mod load;
pub mod load_balancer;
pub mod mixed;
pub mod programs;
pub mod samples;
pub mod service_proxy;
mod watched;
pub mod world;
pub mod zero_loss;

/// Why there can be no cluster on this machine: a reason of the machine, not a defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotRun(pub String);

impl std::fmt::Display for CannotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotRun {}
