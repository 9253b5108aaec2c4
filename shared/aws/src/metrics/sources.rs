//! Which CloudWatch metrics speak for a service: a preset for an Application Load Balancer, or any queries.

use std::collections::BTreeMap;

use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use serde::{Deserialize, Serialize};

/// The namespace of an Application Load Balancer's metrics.
const ALB: &str = "AWS/ApplicationELB";
/// Written in a dimension's value, it stands for the colour that is measured: `blue` or `green`.
const COLOUR: &str = "{colour}";

/// The sources of every target's services.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetricSources(pub BTreeMap<TargetId, BTreeMap<ServiceName, Source>>);

impl MetricSources {
    /// The source of a service; none = nothing measures it.
    pub(super) fn of(&self, target: &TargetId, service: &ServiceName) -> Option<&Source> {
        self.0.get(target)?.get(service)
    }
}

/// Where a service's metrics are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A target group per colour behind an Application Load Balancer (Elastic Load Balancing User Guide, "CloudWatch
    /// metrics for your Application Load Balancer").
    Alb {
        /// The `LoadBalancer` dimension: `app/NAME/ID`.
        load_balancer: String,
        /// The blue colour's `TargetGroup` dimension: `targetgroup/NAME/ID`.
        blue: String,
        /// The green colour's. The same as blue's where one group serves both; then no colour is told from the other.
        green: String,
    },
    /// Queries of one's own. Without `requests` nothing is measured.
    Queries(BTreeMap<Quantity, Query>),
}

/// What is read of a service, from which its metrics follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The number of requests.
    Requests,
    /// Of them, those that failed (5xx).
    Failed,
    /// Of them, those that were refused (4xx).
    ClientFailed,
    /// The median response time.
    ResponseTimeP50,
    /// The 95th percentile of the response time. Says little below some 200 requests a period.
    ResponseTimeP95,
    /// The 99th percentile of the response time.
    ResponseTimeP99,
}

impl Quantity {
    /// Whether the values of several periods are added; else the worst of them is told.
    pub(super) fn is_count(self) -> bool {
        matches!(self, Quantity::Requests | Quantity::Failed | Quantity::ClientFailed)
    }
}

/// How one quantity is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// What is asked for.
    pub value: Value,
    /// In what it is counted.
    #[serde(default)]
    pub scale: Scale,
    /// Whether the metric is there only when it is not zero: then none, beside requests, means none.
    #[serde(default)]
    pub only_when_nonzero: bool,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Value {
    /// One statistic, or the sum of several; of those, one that is missing adds nothing while another is there.
    SumOf(Vec<Statistic>),
    /// Metric math over statistics. The expression names an input in braces: `{all} - {good}`.
    Math {
        /// The expression.
        expression: String,
        /// Its inputs.
        inputs: BTreeMap<String, Statistic>,
    },
}

/// One statistic of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistic {
    /// The namespace, such as `AWS/ApplicationELB`.
    pub namespace: String,
    /// The metric's name.
    pub metric: String,
    /// Its dimensions. `{colour}` in a value stands for `blue` or `green`.
    pub dimensions: BTreeMap<String, String>,
    /// `Sum`, `Average`, `p95` and so on.
    pub statistic: String,
    /// The period in seconds: 1, 5, 10, 20, 30 or a multiple of 60. No window can be shorter.
    #[serde(default = "a_minute")]
    pub period: u32,
}

fn a_minute() -> u32 {
    60
}

/// In what a value is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As it is: a number of requests, or microseconds.
    #[default]
    One,
    /// Milliseconds of a response time.
    Milliseconds,
    /// Seconds of a response time.
    Seconds,
}

impl Scale {
    /// By what a value is multiplied to be in our unit.
    pub(super) fn factor(self) -> f64 {
        match self {
            Scale::One => 1.0,
            Scale::Milliseconds => 1_000.0,
            Scale::Seconds => 1_000_000.0,
        }
    }
}

impl Source {
    /// How a quantity of a colour is read; none = this source does not tell it.
    pub(super) fn query(&self, quantity: Quantity, colour: Colour) -> Option<Query> {
        let (load_balancer, blue, green) = match self {
            Source::Queries(queries) => return queries.get(&quantity).map(|query| query.of_colour(colour)),
            Source::Alb { load_balancer, blue, green } => (load_balancer, blue, green),
        };
        let target_group = match colour {
            Colour::Blue => blue,
            Colour::Green => green,
        };
        let statistic = |metric: &str, statistic: &str| Statistic {
            namespace: ALB.to_owned(),
            metric: metric.to_owned(),
            dimensions: BTreeMap::from([
                ("LoadBalancer".to_owned(), load_balancer.clone()),
                ("TargetGroup".to_owned(), target_group.clone()),
            ]),
            statistic: statistic.to_owned(),
            period: a_minute(),
        };
        let sum = |metrics: &[&str], only_when_nonzero| Query {
            value: Value::SumOf(metrics.iter().map(|metric| statistic(metric, "Sum")).collect()),
            scale: Scale::One,
            only_when_nonzero,
        };
        let time = |percentile| Query {
            value: Value::SumOf(vec![statistic("TargetResponseTime", percentile)]),
            scale: Scale::Seconds,
            only_when_nonzero: false,
        };
        Some(match quantity {
            Quantity::Requests => sum(&["RequestCount"], false),
            // A target that accepts no connection answers nothing: the load balancer's own 502 for it is counted for the
            // load balancer only. Without the second metric a colour that is down would read as one without errors.
            Quantity::Failed => sum(&["HTTPCode_Target_5XX_Count", "TargetConnectionErrorCount"], true),
            Quantity::ClientFailed => sum(&["HTTPCode_Target_4XX_Count"], true),
            Quantity::ResponseTimeP50 => time("p50"),
            Quantity::ResponseTimeP95 => time("p95"),
            Quantity::ResponseTimeP99 => time("p99"),
        })
    }
}

impl Query {
    fn of_colour(&self, colour: Colour) -> Self {
        let of = |statistic: &Statistic| Statistic {
            dimensions: statistic
                .dimensions
                .iter()
                .map(|(name, value)| (name.clone(), value.replace(COLOUR, &colour.to_string())))
                .collect(),
            ..statistic.clone()
        };
        let value = match &self.value {
            Value::SumOf(all) => Value::SumOf(all.iter().map(of).collect()),
            Value::Math { expression, inputs } => Value::Math {
                expression: expression.clone(),
                inputs: inputs.iter().map(|(name, input)| (name.clone(), of(input))).collect(),
            },
        };
        Self { value, ..self.clone() }
    }
}
