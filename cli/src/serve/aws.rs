//! `serve` on AWS: each adapter that was chosen takes the place of its embedded twin.

use std::sync::Arc;

use portcullis_aws::blobs::{BucketOptions, S3Blobs};
use portcullis_aws::client::{self, Clients};
use portcullis_aws::cluster_access::ClusterAccess;
use portcullis_aws::inspector::Inspector;
use portcullis_aws::ledger::DynamoLedger;
use portcullis_aws::metrics::CloudWatch;
use portcullis_aws::policies::S3Policies;
use portcullis_aws::queue::SqsQueue;
use portcullis_aws::registry::EcrRegistry;
use portcullis_aws::roles::Roles;
use portcullis_engine::ports::Ports;
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};

use crate::args::{Adapters, Bucket};
use crate::exit;

/// AWS as this process reaches it.
pub(super) struct Aws {
    clients: Clients,
    roles: Arc<Roles>,
}

impl Aws {
    /// Finds region and credentials in the surroundings, if an adapter needs them. Nothing is asked of AWS yet.
    ///
    /// # Errors
    /// No region is known.
    pub(super) async fn chosen(adapters: &Adapters) -> anyhow::Result<Option<Self>> {
        if !adapters.on_aws() {
            return Ok(None);
        }
        let config = client::load().await;
        if config.region().is_none() {
            return Err(exit::usage(
                "in which region of AWS? Set AWS_REGION, or a region in the profile of AWS_PROFILE",
            ));
        }
        let roles = Roles::new(config.clone());
        let roles = match &adapters.external_id {
            Some(id) => roles.with_external_id(id),
            None => roles,
        };
        Ok(Some(Self { clients: Clients::new(config), roles: Arc::new(roles) }))
    }

    /// Reads and checks the policies, if they are in S3.
    ///
    /// # Errors
    /// They cannot be read, there are none, or they have errors.
    pub(super) async fn policies(&self, adapters: &Adapters) -> anyhow::Result<Option<Arc<S3Policies>>> {
        let Some(Bucket { name, prefix }) = &adapters.policies else { return Ok(None) };
        Ok(Some(Arc::new(S3Policies::open(self.clients.s3(), name, prefix).await?)))
    }

    /// Puts the chosen adapters in their places.
    ///
    /// # Errors
    /// The ledger's table cannot be read.
    pub(super) async fn replace(&self, adapters: &Adapters, ports: &mut Ports) -> anyhow::Result<()> {
        if let Some(table) = &adapters.table {
            ports.ledger = Arc::new(DynamoLedger::open(self.clients.dynamodb(), table).await?);
        }
        if let Some(url) = &adapters.queue {
            ports.queue = Arc::new(SqsQueue::new(self.clients.sqs(), url, ports.clock.clone()));
        }
        if let Some(Bucket { name, prefix }) = &adapters.blobs {
            let options = BucketOptions { bucket: name.clone(), prefix: prefix.clone(), ..BucketOptions::default() };
            ports.blobs = Arc::new(S3Blobs::new(self.clients.s3(), options));
        }
        if adapters.ecr {
            let inspector = Inspector::new(self.roles.clone());
            ports.registry = Arc::new(EcrRegistry::new(self.roles.clone()).with_inspector(inspector));
        }
        if adapters.eks {
            let access = ClusterAccess::new(self.roles.clone(), ports.clock.clone());
            ports.cluster = Arc::new(KubernetesCluster::new(Source::Access(Arc::new(access)), Options::default()));
        }
        if adapters.cloudwatch {
            ports.metrics = Arc::new(CloudWatch::new(self.roles.clone()));
        }
        Ok(())
    }
}
