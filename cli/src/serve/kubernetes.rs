//! `serve` on Kubernetes: the clusters of a kubeconfig in the place of the local one, and no metrics unless CloudWatch's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::action::{Measure, Window};
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::{AlarmName, ServiceName, TargetId};
use portcullis_domain::policy::{Place, SealedPolicy};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Cluster, Metrics, PortError, PortResult};
use portcullis_kubernetes::cluster::{KubernetesCluster, One, Options, Source};

use crate::args::Kube;
use crate::exit;
use crate::kubeconfig::{self, Context, Otherwise};

/// A cluster that is not the local one, and what measures it.
pub(crate) struct Elsewhere {
    /// The cluster.
    pub(super) cluster: Arc<dyn Cluster>,
    /// What measures it.
    pub(super) metrics: Arc<dyn Metrics>,
    /// Where one context stands for the cluster that the policies name: its name, once it is known.
    one: Option<Arc<One>>,
}

impl Elsewhere {
    /// As the flags say: every context by its own name, or one context for the one cluster of all policies.
    ///
    /// # Errors
    /// There is no such file or context.
    pub(crate) async fn of(kube: &Kube) -> anyhow::Result<Self> {
        if kube.context.is_none() {
            let file = kubeconfig::file(kube.kubeconfig.as_deref())?;
            if !file.is_file() {
                return Err(exit::usage(format!("there is no kubeconfig {}: say --kubeconfig FILE", file.display())));
            }
            let cluster = KubernetesCluster::new(Source::Kubeconfig(file), Options::default());
            return Ok(Self::new(Arc::new(cluster), Arc::new(Unmeasured)));
        }
        let context = Context::of(kube, Otherwise::Nothing)?;
        let client = context.client().await?;
        let one = Arc::new(One::new(context.name));
        let cluster = KubernetesCluster::new(Source::One(client, one.clone()), Options::default());
        Ok(Self { cluster: Arc::new(cluster), metrics: Arc::new(Unmeasured), one: Some(one) })
    }

    /// This cluster, measured by this.
    pub(crate) fn new(cluster: Arc<dyn Cluster>, metrics: Arc<dyn Metrics>) -> Self {
        Self { cluster, metrics, one: None }
    }

    /// Makes sure that one context is asked to be one cluster only.
    ///
    /// # Errors
    /// The policies name several.
    pub(super) fn is_one(&self, policies: &[SealedPolicy]) -> anyhow::Result<()> {
        let Some(one) = &self.one else { return Ok(()) };
        let names: BTreeSet<&str> = policies.iter().map(|policy| policy.place.cluster.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        match names.as_slice() {
            [] => Ok(()),
            // The first to be named.
            [name] => Ok(one.check(name)?),
            several => Err(exit::usage(format!(
                "--context {} is one cluster, and the policies name {}: leave it out, and name contexts in the policies",
                one.context,
                several.join(", ")
            ))),
        }
    }
}

/// No metrics: what is not measured is absent, never zero. Pods that are not ready are seen all the same, by the
/// cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unmeasured;

#[async_trait]
impl Metrics for Unmeasured {
    async fn measure(
        &self,
        _: &TargetId,
        _: &Place,
        _: &Measure,
        _: Timestamp,
        _: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        Ok(BTreeMap::new())
    }

    fn settle(&self) -> Millis {
        Millis(0)
    }

    async fn alarms(&self, _: &Place, _: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        Err(PortError::new(
            "reading the alarms",
            "nothing tells this server of alarms: start it with --metrics cloudwatch",
        ))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_domain::policy::Colour;

    use super::*;

    fn place(cluster: &str) -> Place {
        Place { account: None, region: None, role: None, cluster: cluster.into(), namespace: "shop".into() }
    }

    #[tokio::test]
    async fn what_is_not_measured_is_absent_and_alarms_are_an_error() {
        let target: TargetId = "shop/production".parse().unwrap();
        let ask = Measure {
            services: BTreeMap::from([(ServiceName::new("web").unwrap(), Colour::Green)]),
            metrics: BTreeSet::new(),
            every: Millis::seconds(60),
            alarms: BTreeSet::new(),
        };
        let measured = Unmeasured.measure(&target, &place("c"), &ask, Timestamp(0), Timestamp(1)).await.unwrap();
        assert!(measured.is_empty());
        let error = Unmeasured.alarms(&place("c"), &BTreeSet::from(["x".to_owned()])).await.unwrap_err();
        assert!(error.to_string().contains("--metrics cloudwatch"), "{error}");
    }
}
