//! Deployment metrics: a count per deployment in a namespace and under names of the installation's own choice, such as
//! `DeploymentCount` and `ProductionDeployment` in `Volteryde/Deployments`.
//!
//! Amazon CloudWatch API Reference, `PutMetricData`. It takes no token that would let CloudWatch recognise a repeated
//! call: a count that was sent twice (a lost answer, a notice that came again) is counted twice. These metrics are for
//! graphs; what happened is in the ledger.

use std::collections::BTreeSet;

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use portcullis_domain::names::{EnvName, TargetId};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{PortError, PortResult};
use serde::{Deserialize, Serialize};

use crate::error::found as why;
use crate::moment;

/// Where deployments are counted, and under which names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentMetrics {
    /// The namespace, such as `Volteryde/Deployments`. Not `AWS/…`, which CloudWatch keeps to itself.
    pub namespace: String,
    /// What is counted.
    pub metrics: Vec<DeploymentMetric>,
}

/// One count of deployments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentMetric {
    /// The metric's name, such as `DeploymentCount`.
    pub name: String,
    /// Only deployments to these environments; none = to all.
    #[serde(default)]
    pub environments: Option<BTreeSet<EnvName>>,
    /// What it is told apart by. Every combination of values is a metric of its own, and is paid for.
    #[serde(default)]
    pub by: BTreeSet<DeploymentDimension>,
}

/// What a count may be told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentDimension {
    /// `Application`.
    Application,
    /// `Environment`.
    Environment,
    /// `Outcome`: `Live`, `RolledBack` or `Failed`.
    Outcome,
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeploymentOutcome {
    /// It went live.
    Live,
    /// It was rolled back.
    RolledBack,
    /// It changed something and ended neither live nor rolled back.
    Failed,
}

impl DeploymentOutcome {
    fn name(self) -> &'static str {
        match self {
            DeploymentOutcome::Live => "Live",
            DeploymentOutcome::RolledBack => "RolledBack",
            DeploymentOutcome::Failed => "Failed",
        }
    }
}

/// Counts deployments in the account that the gatekeeper itself runs in.
#[derive(Debug, Clone)]
pub struct Deployments {
    client: Client,
    metrics: DeploymentMetrics,
}

impl Deployments {
    /// Counts as these metrics say.
    pub fn new(config: &SdkConfig, metrics: DeploymentMetrics) -> Self {
        Self { client: Client::new(config), metrics }
    }

    /// Counts one deployment at the moment it ended, which may be at most two weeks ago. Repeating it counts it again.
    pub async fn count(&self, target: &TargetId, outcome: DeploymentOutcome, at: Timestamp) -> PortResult<()> {
        let counted = |metric: &&DeploymentMetric| {
            metric.environments.as_ref().is_none_or(|environments| environments.contains(&target.env))
        };
        let data: Vec<MetricDatum> =
            self.metrics.metrics.iter().filter(counted).map(|metric| datum(metric, target, outcome, at)).collect();
        if data.is_empty() {
            return Ok(());
        }
        let sent = self.client.put_metric_data().namespace(&self.metrics.namespace).set_metric_data(Some(data));
        sent.send().await.map_err(|error| {
            PortError::new(format!("counting a deployment of {target} in {}", self.metrics.namespace), why(&error))
        })?;
        Ok(())
    }
}

fn datum(metric: &DeploymentMetric, target: &TargetId, outcome: DeploymentOutcome, at: Timestamp) -> MetricDatum {
    let dimensions = metric.by.iter().map(|by| {
        let (name, value) = match by {
            DeploymentDimension::Application => ("Application", target.app.as_str()),
            DeploymentDimension::Environment => ("Environment", target.env.as_str()),
            DeploymentDimension::Outcome => ("Outcome", outcome.name()),
        };
        Dimension::builder().name(name).value(value).build()
    });
    MetricDatum::builder()
        .metric_name(&metric.name)
        .set_dimensions(Some(dimensions.collect()))
        .timestamp(moment::telling(at))
        .value(1.0)
        .unit(StandardUnit::Count)
        .build()
}
