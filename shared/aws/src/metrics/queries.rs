//! What is asked of CloudWatch for one window: every query with its own id, in as few requests as it takes.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use portcullis_domain::names::ServiceName;
use portcullis_domain::time::{Millis, Timestamp};

use super::quantity::{NAMESPACE, Quantity};
use super::readings::{Reading, Readings};
use crate::load_balancers::Behind;

/// The most queries that `GetMetricData` takes at once.
const MOST_QUERIES: usize = 500;
/// Load balancers tell their metrics once a minute: no window can be shorter.
const PERIOD: Millis = Millis::minutes(1);
const PERIOD_SECONDS: i32 = 60;

/// Everything that is asked for one window.
#[derive(Debug)]
pub(super) struct Plan {
    /// The beginning of the first period.
    start: Timestamp,
    /// The end of the last period.
    end: Timestamp,
    queries: Vec<MetricDataQuery>,
    /// The ids of the queries that tell a quantity together.
    told_by: BTreeMap<(ServiceName, Quantity), Vec<String>>,
}

/// One call of `GetMetricData`.
#[derive(Debug)]
pub(super) struct Request {
    /// The beginning of the first period.
    pub(super) start: Timestamp,
    /// The end of the last period.
    pub(super) end: Timestamp,
    pub(super) queries: Vec<MetricDataQuery>,
}

impl Plan {
    /// The whole periods that end in the window: one that is cut by its beginning is in it, one that is cut by its end is
    /// in the next. None = the window is shorter than a period: some of its like have none.
    pub(super) fn new(from: Timestamp, to: Timestamp) -> Option<Self> {
        let down = |at: Timestamp| Timestamp(at.0 / PERIOD.0 * PERIOD.0);
        let plan = Self { start: down(from), end: down(to), queries: Vec::new(), told_by: BTreeMap::new() };
        (to.since(from) >= PERIOD).then_some(plan)
    }

    /// How long the periods are together.
    pub(super) fn length(&self) -> Millis {
        self.end.since(self.start)
    }

    /// Adds what is asked for one quantity of a service, of all its target groups.
    pub(super) fn add(&mut self, service: &ServiceName, quantity: Quantity, groups: &BTreeSet<Behind>) {
        let told_by = self.told_by.entry((service.clone(), quantity)).or_default();
        for group in groups {
            for metric in quantity.metrics() {
                let id = format!("q{}", self.queries.len() + 1);
                self.queries.push(query(&id, metric, quantity.statistic(), group));
                told_by.push(id);
            }
        }
    }

    /// The calls to make.
    pub(super) fn requests(&self) -> Vec<Request> {
        let some =
            |queries: &[MetricDataQuery]| Request { start: self.start, end: self.end, queries: queries.to_vec() };
        self.queries.chunks(MOST_QUERIES).map(some).collect()
    }

    /// What came of a quantity, in our unit; none = it was not asked.
    pub(super) fn read(&self, readings: &Readings, service: &ServiceName, quantity: Quantity) -> Option<Reading> {
        let mut whole: Option<f64> = None;
        for id in self.told_by.get(&(service.clone(), quantity))? {
            let Some(values) = readings.values(id) else { return Some(Reading::Unknown) };
            for (at, value) in values {
                let is_inside =
                    u64::try_from(*at).is_ok_and(|at| (self.start.0..self.end.0).contains(&at.saturating_mul(1_000)));
                if is_inside {
                    whole = Some(whole.map_or(*value, |before| quantity.joined(before, *value)));
                }
            }
        }
        Some(match whole {
            None => Reading::Nothing,
            Some(value) if value.is_finite() && value >= 0.0 => Reading::Value(quantity.in_our_unit(value)),
            Some(_) => Reading::Unknown,
        })
    }
}

fn query(id: &str, metric: &str, statistic: &str, group: &Behind) -> MetricDataQuery {
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let metric = Metric::builder()
        .namespace(NAMESPACE)
        .metric_name(metric)
        .dimensions(dimension("LoadBalancer", &group.load_balancer))
        .dimensions(dimension("TargetGroup", &group.target_group))
        .build();
    let stat = MetricStat::builder().metric(metric).period(PERIOD_SECONDS).stat(statistic).build();
    MetricDataQuery::builder().id(id).metric_stat(stat).return_data(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn joining_windows_share_no_period_and_skip_none() {
        let mut covered = Vec::new();
        let mut from = Timestamp(100 * MINUTE + 20_000);
        for length in [MINUTE, 90_000, 5 * MINUTE, 61_000] {
            let to = from + Millis(length);
            let plan = Plan::new(from, to).unwrap();
            covered.push((plan.start, plan.end));
            from = to;
        }
        for pair in covered.windows(2) {
            assert_eq!(pair[0].1, pair[1].0);
        }
        assert_eq!(covered[0], (Timestamp(100 * MINUTE), Timestamp(101 * MINUTE)));
    }

    #[test]
    fn no_request_has_more_queries_than_cloudwatch_takes_and_no_two_have_one_id() {
        let mut plan = Plan::new(Timestamp(0), Timestamp(MINUTE)).unwrap();
        let behind = |name: &str| Behind { load_balancer: format!("app/{name}/1"), target_group: String::new() };
        let groups = BTreeSet::from([behind("public"), behind("inside")]);
        for at in 0..150 {
            plan.add(&ServiceName::new(&format!("s{at}")).unwrap(), Quantity::Failed, &groups);
        }
        let requests = plan.requests();
        let sizes: Vec<usize> = requests.iter().map(|request| request.queries.len()).collect();
        assert_eq!(sizes, [500, 100], "two metrics of two groups each");
        let ids: BTreeSet<_> =
            requests.iter().flat_map(|request| &request.queries).filter_map(|query| query.id()).collect();
        assert_eq!(ids.len(), 600);
    }

    #[test]
    fn a_window_shorter_than_a_period_has_no_plan() {
        assert!(Plan::new(Timestamp(0), Timestamp(59_999)).is_none());
        assert!(Plan::new(Timestamp(0), Timestamp(60_000)).is_some());
    }
}
