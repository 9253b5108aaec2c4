//! Measured traffic and alarms on Amazon CloudWatch.
//!
//! Amazon CloudWatch API Reference, `GetMetricData` and `DescribeAlarms`. A service is measured by the metrics of the
//! Application Load Balancers in front of it. Which of their target groups are its own, and of which colour, is read from
//! their tags (AWS Load Balancer Controller, "Ingress annotations", "Resource Tags"): what was found counts for five
//! minutes, or until a measurement finds nothing.
//!
//! **Windows and periods.** CloudWatch keeps a value per period (a minute for a load balancer) and knows no shorter time.
//! A window of a watch is measured by the whole periods that *end* in it. Windows join without a gap, so every period is in
//! exactly one of them, and the end of a window reaches no further than the window itself. Of a window shorter than a minute
//! nothing is told.
//!
//! **Several periods, several target groups.** Counts are added. Of a percentile the worst is told: the percentile over
//! all of them is never above it, so a window never reads better than it was.
//!
//! **Missing data** is never zero and never healthy. The one exception: a load balancer counts 4xx and 5xx answers only
//! when there are some, so that none means none, if there were requests at all. What CloudWatch itself calls partial, or
//! says something about, is missing.

mod quantity;
mod queries;
mod readings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use portcullis_domain::action::{Measure, Window};
use portcullis_domain::facts::AlarmFact;
use portcullis_domain::names::{AlarmName, ServiceName, TargetId};
use portcullis_domain::policy::{Metric, Place};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Metrics, PortError, PortResult};

use crate::alarms;
use crate::load_balancers::LoadBalancers;
use crate::roles::{Clients, Roles};
use quantity::Quantity;
use queries::Plan;
use readings::{Reading, Readings};

/// How long after its end a minute of a load balancer is taken to be complete in CloudWatch. Elastic Load Balancing
/// sends once a minute what the minute before held, and CloudWatch makes it readable within the next: a minute read
/// earlier may show part of its requests, and so too few errors. There is no guarantee: whoever sees later data sets more.
pub const SETTLE: Millis = Millis::minutes(2);

/// Amazon CloudWatch of all places.
#[derive(Debug)]
pub struct CloudWatch {
    clients: Clients<Client>,
    load_balancers: LoadBalancers,
    settle: Millis,
}

impl CloudWatch {
    /// CloudWatch, asked with these roles. To measure, a role needs `cloudwatch:GetMetricData`,
    /// `elasticloadbalancing:DescribeTargetGroups` and `elasticloadbalancing:DescribeTags`; to read alarms
    /// `cloudwatch:DescribeAlarms`, and `cloudwatch:ListAlarmMuteRules`, without which one that is muted rings.
    pub fn new(roles: Arc<Roles>) -> Self {
        let load_balancers = LoadBalancers::new(roles.clone());
        Self { clients: Clients::new(roles, Client::new), load_balancers, settle: SETTLE }
    }

    /// Another time than [`SETTLE`], for load balancers whose metrics come later or sooner.
    #[must_use]
    pub fn settling(mut self, settle: Millis) -> Self {
        self.settle = settle;
        self
    }
}

#[async_trait]
impl Metrics for CloudWatch {
    async fn measure(
        &self,
        target: &TargetId,
        place: &Place,
        ask: &Measure,
        from: Timestamp,
        to: Timestamp,
    ) -> PortResult<BTreeMap<ServiceName, Window>> {
        let wrong = |found: String| PortError::new(format!("measuring {target} in {}", place.cluster), found);
        // The checker of policies takes none such where load balancers are to be believed; where they are not, only the
        // alarms count, and nobody is asked.
        let Some(mut plan) = Plan::new(from, to) else { return Ok(BTreeMap::new()) };
        let groups = self.load_balancers.target_groups(place).await?;
        // A worker has no target group: nothing asks it, and only its readiness speaks for it.
        let serving = groups.serving(&ask.services).map_err(|found| {
            self.load_balancers.forget(place);
            wrong(found)
        })?;
        let wanted = quantities(&ask.metrics);
        for (service, groups) in &serving {
            for quantity in &wanted {
                plan.add(service, *quantity, groups);
            }
        }
        let client = self.clients.of(place, None)?;
        let mut readings = Readings::default();
        for request in plan.requests() {
            readings.add(&client, &request).await.map_err(wrong)?;
        }
        let measured = serving.keys().filter_map(|service| {
            let window = window(&plan, &readings, service, &ask.metrics)?;
            Some((service.clone(), window))
        });
        let measured: BTreeMap<ServiceName, Window> = measured.collect();
        if measured.is_empty() {
            self.load_balancers.forget(place);
        }
        Ok(measured)
    }

    fn settle(&self) -> Millis {
        self.settle
    }

    async fn alarms(&self, place: &Place, patterns: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
        alarms::read(&self.clients.of(place, None)?, patterns).await
    }
}

/// What must be asked for to tell these metrics. Requests and failures always: a window carries their counts.
fn quantities(metrics: &BTreeSet<Metric>) -> BTreeSet<Quantity> {
    let of = |metric: &Metric| match metric {
        Metric::Requests => Quantity::Requests,
        Metric::ErrorRate => Quantity::Failed,
        Metric::ClientErrorRate => Quantity::ClientFailed,
        Metric::ResponseTimeP50 => Quantity::ResponseTimeP50,
        Metric::ResponseTimeP95 => Quantity::ResponseTimeP95,
        Metric::ResponseTimeP99 => Quantity::ResponseTimeP99,
    };
    metrics.iter().map(of).chain([Quantity::Requests, Quantity::Failed]).collect()
}

/// A service's window; none = nobody knows how many requests there were, so that nothing else says anything.
fn window(plan: &Plan, readings: &Readings, service: &ServiceName, metrics: &BTreeSet<Metric>) -> Option<Window> {
    let read = |quantity| plan.read(readings, service, quantity);
    let Some(Reading::Value(requests)) = read(Quantity::Requests) else { return None };
    let count = |quantity| match read(quantity) {
        Some(Reading::Value(value)) => Some(value),
        Some(Reading::Nothing) if requests > 0.0 => Some(0.0),
        _ => None,
    };
    let failed = count(Quantity::Failed);
    let mut window = Window { requests: whole(requests), failed: whole(failed.unwrap_or(0.0)), ..Window::default() };
    let rate = |count: Option<f64>| Some(count? / requests * 10_000.0).filter(|_| requests > 0.0);
    let micros = |quantity| match read(quantity) {
        Some(Reading::Value(value)) => Some(value),
        _ => None,
    };
    for metric in metrics.iter().copied().chain([Metric::Requests]) {
        let value = match metric {
            Metric::Requests => Some(requests * 1_000_000.0 / millis(plan.length())),
            Metric::ErrorRate => rate(failed),
            Metric::ClientErrorRate => rate(count(Quantity::ClientFailed)),
            Metric::ResponseTimeP50 => micros(Quantity::ResponseTimeP50),
            Metric::ResponseTimeP95 => micros(Quantity::ResponseTimeP95),
            Metric::ResponseTimeP99 => micros(Quantity::ResponseTimeP99),
        };
        if let Some(value) = value {
            window.values.insert(metric, i64::try_from(whole(value)).unwrap_or(i64::MAX));
        }
    }
    Some(window)
}

/// The nearest whole number; values below zero and what is no number read as zero, which no caller lets through.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's cast saturates at both ends")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "a window is far shorter than 2^52 milliseconds")]
fn millis(length: Millis) -> f64 {
    length.0.max(1) as f64
}
