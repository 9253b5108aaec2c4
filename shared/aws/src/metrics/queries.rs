//! What is asked of CloudWatch for one window: every query with its own id, in as few requests as their periods allow.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use portcullis_domain::names::ServiceName;
use portcullis_domain::time::{Millis, Timestamp};

use super::readings::{Reading, Readings};
use super::sources::{Quantity, Query, Statistic, Value};

/// The most queries that `GetMetricData` takes at once.
const MOST_QUERIES: usize = 500;

/// Everything that is asked for one window.
#[derive(Debug)]
pub(super) struct Plan {
    from: Timestamp,
    to: Timestamp,
    asked: BTreeMap<(ServiceName, Quantity), Asked>,
    ids: usize,
}

/// How one quantity of one service is asked for.
#[derive(Debug)]
struct Asked {
    /// The period in seconds.
    period: u32,
    queries: Vec<MetricDataQuery>,
    /// The ids whose values are added.
    told_by: Vec<String>,
    factor: f64,
    only_when_nonzero: bool,
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
    pub(super) fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to, asked: BTreeMap::new(), ids: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Adds what is asked for one quantity. Says in words what a query cannot be.
    pub(super) fn add(&mut self, service: &ServiceName, quantity: Quantity, query: &Query) -> Result<(), String> {
        let wrong = |why: String| format!("the query for {quantity:?} of {service} {why}");
        let statistics: Vec<&Statistic> = match &query.value {
            Value::SumOf(all) => all.iter().collect(),
            Value::Math { inputs, .. } => inputs.values().collect(),
        };
        let period = statistics.first().map(|one| one.period).ok_or_else(|| wrong("names no metric".to_owned()))?;
        if statistics.iter().any(|one| one.period != period) {
            return Err(wrong("mixes periods".to_owned()));
        }
        if !(matches!(period, 1 | 5 | 10 | 20 | 30) || (period > 0 && period.is_multiple_of(60))) {
            return Err(wrong(format!(
                "has a period of {period} s; CloudWatch knows 1, 5, 10, 20, 30 and whole minutes"
            )));
        }
        let length = self.to.since(self.from);
        if length < Millis::seconds(period.into()) {
            return Err(wrong(format!("has a period of {period} s: a window of {length} is too short for it")));
        }
        let (queries, told_by) = match &query.value {
            Value::SumOf(all) => {
                let ids: Vec<String> = all.iter().map(|_| self.id()).collect();
                (all.iter().zip(&ids).map(|(one, id)| statistic(one, id, true)).collect(), ids)
            }
            Value::Math { expression, inputs } => {
                let ids: BTreeMap<&str, String> = inputs.keys().map(|name| (name.as_str(), self.id())).collect();
                let result = self.id();
                let expression = with_ids(expression, &ids).map_err(wrong)?;
                let mut queries: Vec<_> =
                    inputs.iter().map(|(name, one)| statistic(one, &ids[name.as_str()], false)).collect();
                let period = i32::try_from(period).unwrap_or(i32::MAX);
                queries.push(
                    MetricDataQuery::builder()
                        .id(&result)
                        .expression(expression)
                        .period(period)
                        .return_data(true)
                        .build(),
                );
                (queries, vec![result])
            }
        };
        let (factor, only_when_nonzero) = (query.scale.factor(), query.only_when_nonzero);
        self.asked.insert((service.clone(), quantity), Asked { period, queries, told_by, factor, only_when_nonzero });
        Ok(())
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("q{}", self.ids)
    }

    /// The whole periods that end in the window. One that is cut by its beginning is in it, one that is cut by its end is
    /// in the next.
    fn periods(&self, period: u32) -> (Timestamp, Timestamp) {
        let length = u64::from(period) * 1_000;
        let down = |at: Timestamp| Timestamp(at.0 / length * length);
        (down(self.from), down(self.to))
    }

    /// The calls to make. What belongs to one quantity is in one call.
    pub(super) fn requests(&self) -> Vec<Request> {
        let mut requests: Vec<(u32, Request)> = Vec::new();
        for asked in self.asked.values() {
            let fits = |(period, request): &&mut (u32, Request)| {
                *period == asked.period && request.queries.len() + asked.queries.len() <= MOST_QUERIES
            };
            if let Some((_, request)) = requests.iter_mut().find(fits) {
                request.queries.extend(asked.queries.iter().cloned());
            } else {
                let (start, end) = self.periods(asked.period);
                requests.push((asked.period, Request { start, end, queries: asked.queries.clone() }));
            }
        }
        requests.into_iter().map(|(_, request)| request).collect()
    }

    /// What came of a quantity, in our unit, with the length of the periods it is about; none = it was not asked.
    pub(super) fn read(
        &self,
        readings: &Readings,
        service: &ServiceName,
        quantity: Quantity,
    ) -> Option<(Reading, Millis)> {
        let asked = self.asked.get(&(service.clone(), quantity))?;
        let (start, end) = self.periods(asked.period);
        let mut by_period: BTreeMap<i64, f64> = BTreeMap::new();
        for id in &asked.told_by {
            let Some(values) = readings.values(id) else { return Some((Reading::Unknown, end.since(start))) };
            for (at, value) in values {
                let is_inside = u64::try_from(*at).is_ok_and(|at| (start.0..end.0).contains(&(at * 1_000)));
                if is_inside {
                    *by_period.entry(*at).or_default() += value * asked.factor;
                }
            }
        }
        let values = by_period.into_values();
        let whole = if quantity.is_count() { values.reduce(|one, other| one + other) } else { values.reduce(f64::max) };
        let reading = match whole {
            None => Reading::Nothing { means_none: asked.only_when_nonzero },
            Some(value) if value.is_finite() && value >= 0.0 => Reading::Value(value),
            Some(_) => Reading::Unknown,
        };
        Some((reading, end.since(start)))
    }
}

fn statistic(one: &Statistic, id: &str, told: bool) -> MetricDataQuery {
    let dimensions = one.dimensions.iter().map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let metric = Metric::builder()
        .namespace(&one.namespace)
        .metric_name(&one.metric)
        .set_dimensions(Some(dimensions.collect()))
        .build();
    let period = i32::try_from(one.period).unwrap_or(i32::MAX);
    let stat = MetricStat::builder().metric(metric).period(period).stat(&one.statistic).build();
    MetricDataQuery::builder().id(id).metric_stat(stat).return_data(told).build()
}

/// The expression with each `{name}` replaced by the id that the input has in this request.
fn with_ids(expression: &str, ids: &BTreeMap<&str, String>) -> Result<String, String> {
    let mut text = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| format!("has a brace without an end: {expression}"))?;
        let id = ids.get(name).ok_or_else(|| format!("has no input {name:?} for its expression {expression}"))?;
        text.push_str(before);
        text.push_str(id);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::sources::Scale;
    use super::*;

    const MINUTE: u64 = 60_000;

    fn service(name: &str) -> ServiceName {
        ServiceName::new(name).unwrap()
    }

    fn sum(metric: &str, period: u32) -> Statistic {
        Statistic {
            namespace: "Shop".to_owned(),
            metric: metric.to_owned(),
            dimensions: BTreeMap::new(),
            statistic: "Sum".to_owned(),
            period,
        }
    }

    fn query(value: Value) -> Query {
        Query { value, scale: Scale::One, only_when_nonzero: false }
    }

    #[test]
    fn joining_windows_share_no_period_and_skip_none() {
        let mut covered = Vec::new();
        let mut from = Timestamp(100 * MINUTE + 20_000);
        for length in [MINUTE, 90_000, 5 * MINUTE, 61_000] {
            let to = from + Millis(length);
            covered.push(Plan::new(from, to).periods(60));
            from = to;
        }
        for pair in covered.windows(2) {
            assert_eq!(pair[0].1, pair[1].0);
        }
        assert_eq!(covered[0], (Timestamp(100 * MINUTE), Timestamp(101 * MINUTE)));
    }

    #[test]
    fn queries_of_one_period_go_in_one_request_with_ids_of_their_own() {
        let mut plan = Plan::new(Timestamp(0), Timestamp(5 * MINUTE));
        for name in ["web", "api"] {
            plan.add(&service(name), Quantity::Requests, &query(Value::SumOf(vec![sum("Requests", 60)]))).unwrap();
        }
        plan.add(&service("web"), Quantity::Failed, &query(Value::SumOf(vec![sum("Failed", 300)]))).unwrap();
        let requests = plan.requests();
        let ids: Vec<Vec<_>> =
            requests.iter().map(|request| request.queries.iter().filter_map(|q| q.id()).collect()).collect();
        assert_eq!(ids, [vec!["q2", "q1"], vec!["q3"]]);
    }

    #[test]
    fn no_request_has_more_queries_than_cloudwatch_takes() {
        let mut plan = Plan::new(Timestamp(0), Timestamp(MINUTE));
        let three = query(Value::SumOf(vec![sum("a", 60), sum("b", 60), sum("c", 60)]));
        for at in 0..200 {
            plan.add(&service(&format!("s{at}")), Quantity::Requests, &three).unwrap();
        }
        let sizes: Vec<usize> = plan.requests().iter().map(|request| request.queries.len()).collect();
        assert_eq!(sizes, [498, 102]);
    }

    #[test]
    fn an_expression_names_its_inputs_in_braces() {
        let mut plan = Plan::new(Timestamp(0), Timestamp(MINUTE));
        let inputs = BTreeMap::from([("all".to_owned(), sum("All", 60)), ("good".to_owned(), sum("Good", 60))]);
        let math = |expression: &str| query(Value::Math { expression: expression.to_owned(), inputs: inputs.clone() });
        plan.add(&service("web"), Quantity::Failed, &math("FILL({all}, 0) - {good}")).unwrap();
        let [request] = &plan.requests()[..] else { panic!("one request") };
        let told: Vec<_> = request.queries.iter().map(|query| (query.expression(), query.return_data())).collect();
        assert_eq!(told, [(None, Some(false)), (None, Some(false)), (Some("FILL(q1, 0) - q2"), Some(true))]);
        for wrong in ["{al} - {good}", "{all - {good}"] {
            assert!(plan.add(&service("web"), Quantity::Failed, &math(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cloudwatch_cannot_tell_is_refused_in_words() {
        let mut plan = Plan::new(Timestamp(0), Timestamp(30_000));
        let mut add = |value| plan.add(&service("web"), Quantity::Requests, &query(value));
        let short = add(Value::SumOf(vec![sum("Requests", 60)])).unwrap_err();
        assert_eq!(short, "the query for Requests of web has a period of 60 s: a window of 30s is too short for it");
        assert!(add(Value::SumOf(vec![sum("Requests", 45)])).is_err());
        assert!(add(Value::SumOf(vec![sum("Requests", 0)])).is_err());
        assert!(add(Value::SumOf(vec![sum("Requests", 30), sum("More", 10)])).is_err());
        assert!(add(Value::SumOf(Vec::new())).is_err());
        assert!(add(Value::SumOf(vec![sum("Requests", 30)])).is_ok());
    }
}
