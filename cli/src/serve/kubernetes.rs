//! `serve` on Kubernetes: the clusters of a kubeconfig in the place of the local one, and no metrics unless CloudWatch's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, Measure, ObjectKey, Window, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::{AlarmName, Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place, SealedPolicy, Test};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Cluster, Exported, Metrics, PortError, PortResult, TestResult, Written};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};

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
        let cluster = KubernetesCluster::new(Source::Connected(context.client().await?), Options::default());
        let one = Arc::new(One { cluster: Box::new(cluster), context: context.name, named: OnceLock::new() });
        Ok(Self { cluster: one.clone(), metrics: Arc::new(Unmeasured), one: Some(one) })
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
            [name] => {
                // It is set here only, and once.
                let _ = one.named.set((*name).to_owned());
                Ok(())
            }
            several => Err(exit::usage(format!(
                "--context {} is one cluster, and the policies name {}: leave it out, and name contexts in the policies",
                one.context,
                several.join(", ")
            ))),
        }
    }
}

/// One context for one cluster. A policy that comes later and names another is refused: it would act on the wrong one.
struct One {
    cluster: Box<dyn Cluster>,
    context: String,
    named: OnceLock<String>,
}

impl One {
    fn checked(&self, place: &Place) -> PortResult<&dyn Cluster> {
        let named = self.named.get_or_init(|| place.cluster.clone());
        if *named == place.cluster {
            return Ok(&*self.cluster);
        }
        Err(PortError::new(
            format!("reaching the cluster {}", place.cluster),
            format!(
                "this server was started with --context {}, which is {named}: name contexts in the policies",
                self.context
            ),
        ))
    }
}

#[async_trait]
impl Cluster for One {
    async fn observe(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        self.checked(place)?.observe(target, place, services).await
    }

    async fn manifests(
        &self,
        target: &TargetId,
        place: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>> {
        self.checked(place)?.manifests(target, place, services).await
    }

    async fn write(&self, target: &TargetId, place: &Place, write: &Write, fence: &Fence) -> PortResult<Written> {
        self.checked(place)?.write(target, place, write, fence).await
    }

    async fn room(&self, target: &TargetId, place: &Place) -> PortResult<Option<u32>> {
        self.checked(place)?.room(target, place).await
    }

    async fn look(&self, target: &TargetId, place: &Place, ask: &AwaitReady) -> PortResult<Found> {
        self.checked(place)?.look(target, place, ask).await
    }

    async fn export(&self, target: &TargetId, place: &Place, secrets: Option<&str>) -> PortResult<Exported> {
        self.checked(place)?.export(target, place, secrets).await
    }

    async fn test(
        &self,
        target: &TargetId,
        place: &Place,
        intention: Seq,
        test: &Test,
        against: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult> {
        self.checked(place)?.test(target, place, intention, test, against).await
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
    use portcullis_engine::absent::Absent;

    use super::*;

    fn place(cluster: &str) -> Place {
        Place { account: None, region: None, role: None, cluster: cluster.into(), namespace: "shop".into() }
    }

    #[test]
    fn one_context_never_stands_for_a_second_cluster() {
        let one = One { cluster: Box::new(Absent), context: "prod".into(), named: OnceLock::new() };
        assert!(one.checked(&place("shop-production")).is_ok());
        let Err(error) = one.checked(&place("shop-staging")) else { panic!("it was accepted") };
        assert!(error.to_string().contains("--context prod, which is shop-production"), "{error}");
        assert!(one.checked(&place("shop-production")).is_ok());
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
