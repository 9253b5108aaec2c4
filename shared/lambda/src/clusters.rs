//! The clusters of Amazon EKS behind the engine's `Cluster`: where two adapters meet, neither of which knows the other. AWS
//! says where a cluster is and signs who asks; Kubernetes is what is asked.

use std::sync::Arc;
use std::time::Duration;

use portcullis_aws::cluster_access::ClusterAccess;
use portcullis_aws::roles::Roles;
use portcullis_engine::ports::Clock;
use portcullis_kubernetes::client::ClientOptions;
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};

/// How a cluster is asked from an invocation. A read that is tried as often as it may be, and a write after it, end within
/// the 110 s that an invocation of the template has for its work: what hangs is told as an error of its own, and not only
/// by the invocation's end, which drops it.
fn asking() -> ClientOptions {
    ClientOptions {
        connect: Duration::from_secs(3),
        request: Duration::from_secs(15),
        tries: 3,
        ..ClientOptions::default()
    }
}

/// The clusters of all places, each reached with its place's role. Nothing is asked yet.
pub(crate) fn of_eks(roles: Arc<Roles>, clock: Arc<dyn Clock>) -> KubernetesCluster {
    let access = ClusterAccess::new(roles, clock);
    let options = Options { client: asking(), ..Options::default() };
    KubernetesCluster::new(Source::Access(Arc::new(access)), options)
}

#[cfg(test)]
mod tests;
