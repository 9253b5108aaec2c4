//! `serve` on Amazon EKS: where AWS's adapter and Kubernetes' meet, neither of which knows the other. AWS says where a
//! cluster is and signs who asks; Kubernetes is what is asked. The functions do the same (`portcullis-lambda`).

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_aws::cluster_access::ClusterAccess;
use portcullis_aws::roles::Roles;
use portcullis_domain::policy::Place;
use portcullis_engine::ports::{Clock, Cluster, PortResult};
use portcullis_kubernetes::client::access::{Access, Bearer, Endpoint};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};

/// The clusters of all places, each reached with its place's role. Nothing is asked yet.
pub(super) fn clusters(roles: Arc<Roles>, clock: Arc<dyn Clock>) -> Arc<dyn Cluster> {
    let access = Eks(ClusterAccess::new(roles, clock));
    Arc::new(KubernetesCluster::new(Source::Access(Arc::new(access)), Options::default()))
}

/// What AWS says of a cluster, as a client of Kubernetes takes it.
struct Eks(ClusterAccess);

#[async_trait]
impl Access for Eks {
    async fn endpoint(&self, place: &Place) -> PortResult<Endpoint> {
        let found = self.0.endpoint(place).await?;
        Ok(Endpoint { url: found.url, authority: found.authority })
    }

    async fn bearer(&self, place: &Place) -> PortResult<Bearer> {
        let token = self.0.token(place).await?;
        Ok(Bearer { token: token.bearer, renew_at: Some(token.renew_at) })
    }
}
