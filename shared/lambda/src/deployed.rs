//! Deployments counted in CloudWatch, in the namespace that the target's policy names (`metrics: { publish: … }`): for
//! graphs beside those of the application. A policy that names none publishes nothing.
//!
//! | metric | of | dimensions |
//! | --- | --- | --- |
//! | `DeploymentCount` | every environment | `Application`, `Environment`, `Outcome` |
//! | `ProductionDeployment` | the environment that is called `production` | none |
//!
//! A release is counted when it is live, when it is rolled back, and when a person took what it left as it is: one that is
//! rolled back after it was live is counted under both outcomes. One that changed nothing is not counted. A notice may
//! come twice, and is then counted twice; what happened is in the ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::SdkConfig;
use portcullis_aws::deployments::{
    DeploymentDimension, DeploymentMetric, DeploymentMetrics, DeploymentOutcome, Deployments,
};
use portcullis_domain::event::What;
use portcullis_domain::names::{EnvName, InvalidName};
use portcullis_domain::time::Millis;
use portcullis_engine::ports::{Clock, Notice, Notices, Policies, PortError, PortResult};

/// The reader's name: its cursors are kept under it.
pub const READER: &str = "deployments";
/// What is older is passed over: CloudWatch takes no value that is older than two weeks (Amazon CloudWatch API Reference,
/// `MetricDatum`), and a reader that is new is told everything from the beginning.
const TOO_OLD: Millis = Millis::days(13);

/// Counts deployments as they end.
pub struct Deployed {
    config: SdkConfig,
    policies: Arc<dyn Policies>,
    clock: Arc<dyn Clock>,
}

impl Deployed {
    /// Counts them in the account and region of this configuration.
    pub fn new(config: SdkConfig, policies: Arc<dyn Policies>, clock: Arc<dyn Clock>) -> Self {
        Self { config, policies, clock }
    }
}

#[async_trait]
impl Notices for Deployed {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        let (target, at) = (&notice.target, notice.event.at);
        let Some(outcome) = outcome(&notice.event.what) else { return Ok(()) };
        let Some(namespace) = self.policies.get(target).and_then(|policy| policy.publish.clone()) else {
            return Ok(());
        };
        if self.clock.now().since(at) > TOO_OLD {
            return Ok(());
        }
        let metrics = metrics(namespace).map_err(|error| PortError::new("naming the metrics of deployments", error))?;
        Deployments::new(&self.config, metrics).count(target, outcome, at).await
    }
}

/// How a deployment ended; none = it did not end with this, or changed nothing.
fn outcome(what: &What) -> Option<DeploymentOutcome> {
    match what {
        What::WentLive { .. } => Some(DeploymentOutcome::Live),
        What::RolledBack { .. } => Some(DeploymentOutcome::RolledBack),
        What::Resolved { .. } => Some(DeploymentOutcome::Failed),
        _ => None,
    }
}

/// What is counted in a namespace.
fn metrics(namespace: String) -> Result<DeploymentMetrics, InvalidName> {
    use DeploymentDimension::{Application, Environment, Outcome};
    let all = DeploymentMetric {
        name: "DeploymentCount".to_owned(),
        environments: None,
        by: BTreeSet::from([Application, Environment, Outcome]),
    };
    let production = DeploymentMetric {
        name: "ProductionDeployment".to_owned(),
        environments: Some(BTreeSet::from([EnvName::new("production")?])),
        by: BTreeSet::new(),
    };
    Ok(DeploymentMetrics { namespace, metrics: vec![all, production] })
}

#[cfg(test)]
mod tests {
    use portcullis_domain::event::{Actor, End, Event};
    use portcullis_domain::names::{ReleaseId, Seq};
    use portcullis_domain::time::Timestamp;
    use portcullis_engine::memory::{ManualClock, MemoryPolicies, World};

    use super::*;

    const RELEASE: ReleaseId = ReleaseId(142);

    fn live() -> What {
        What::WentLive { release: RELEASE, window_until: Timestamp(0), keep_old_until: Timestamp(0) }
    }

    #[test]
    fn what_changed_something_and_ended_is_a_deployment() {
        let back = What::RolledBack { release: RELEASE, restored_at: Timestamp(0) };
        let expired = What::Settled { release: RELEASE, end: End::Expired, why: String::new() };
        assert_eq!(outcome(&live()), Some(DeploymentOutcome::Live));
        assert_eq!(outcome(&back), Some(DeploymentOutcome::RolledBack));
        assert_eq!(outcome(&expired), None);
        assert_eq!(outcome(&What::Paused { release: RELEASE }), None);
    }

    #[test]
    fn the_metrics_are_those_that_the_documentation_names() {
        let metrics = metrics("Volteryde/Deployments".to_owned()).unwrap();
        let names: Vec<_> = metrics.metrics.iter().map(|metric| (metric.name.as_str(), metric.by.len())).collect();
        assert_eq!(names, [("DeploymentCount", 3), ("ProductionDeployment", 0)]);
        let only = metrics.metrics[1].environments.as_ref().unwrap();
        assert_eq!(only.iter().map(EnvName::as_str).collect::<Vec<_>>(), ["production"]);
    }

    /// A call of AWS's from here fails: this configuration has no region and no credentials.
    async fn tell(publish: Option<&str>, age: Millis) -> PortResult<()> {
        let policies = MemoryPolicies::new();
        let mut policy = World::policy();
        policy.publish = publish.map(str::to_owned);
        let target = policy.target.clone();
        policies.set(policy);
        let now = Timestamp(1_800_000_000_000);
        let config = SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::v2026_01_12()).build();
        let deployed = Deployed::new(config, policies, ManualClock::new(now));
        let event = Event { seq: Seq(1), at: now - age, actor: Actor::Portcullis, what: live() };
        deployed.tell(&Notice { target, event }).await
    }

    #[tokio::test]
    async fn nothing_is_sent_without_a_namespace_or_of_what_cloudwatch_would_refuse() {
        assert!(tell(None, Millis(0)).await.is_ok());
        assert!(tell(Some("Volteryde/Deployments"), Millis::days(14)).await.is_ok());
        let sent = tell(Some("Volteryde/Deployments"), Millis(0)).await;
        assert!(sent.is_err(), "it is sent, and nobody is there to take it");
    }
}
