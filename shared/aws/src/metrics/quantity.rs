//! What is read of a service, and which metrics of an Application Load Balancer tell it (Elastic Load Balancing User
//! Guide, "CloudWatch metrics for your Application Load Balancer").

/// The namespace of these metrics.
pub(super) const NAMESPACE: &str = "AWS/ApplicationELB";

/// What is read of a service, from which its metrics follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quantity {
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
    /// The metrics that tell it together.
    pub(super) fn metrics(self) -> &'static [&'static str] {
        match self {
            Quantity::Requests => &["RequestCount"],
            // A target that accepts no connection answers nothing: the load balancer's own 502 for it is counted for the
            // load balancer only. Without the second metric a colour that is down would read as one without errors.
            Quantity::Failed => &["HTTPCode_Target_5XX_Count", "TargetConnectionErrorCount"],
            Quantity::ClientFailed => &["HTTPCode_Target_4XX_Count"],
            Quantity::ResponseTimeP50 | Quantity::ResponseTimeP95 | Quantity::ResponseTimeP99 => {
                &["TargetResponseTime"]
            }
        }
    }

    /// Which statistic of them.
    pub(super) fn statistic(self) -> &'static str {
        match self {
            Quantity::Requests | Quantity::Failed | Quantity::ClientFailed => "Sum",
            Quantity::ResponseTimeP50 => "p50",
            Quantity::ResponseTimeP95 => "p95",
            Quantity::ResponseTimeP99 => "p99",
        }
    }

    /// Two values of it as one, of two periods or two target groups: counts are added, of response times the worse is
    /// told.
    pub(super) fn joined(self, one: f64, other: f64) -> f64 {
        if self.is_count() { one + other } else { one.max(other) }
    }

    /// A value in our unit. Response times come in seconds, ours are microseconds.
    pub(super) fn in_our_unit(self, value: f64) -> f64 {
        if self.is_count() { value } else { value * 1_000_000.0 }
    }

    fn is_count(self) -> bool {
        matches!(self, Quantity::Requests | Quantity::Failed | Quantity::ClientFailed)
    }
}
