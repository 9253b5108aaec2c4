//! Windows of CloudWatch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis_aws::metrics::{CloudWatch, MetricSources, Quantity, Query, SETTLE, Scale, Source, Statistic, Value};
use portcullis_domain::action::{Measure, Window};
use portcullis_domain::names::{AppName, EnvName, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Metric};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Metrics, PortResult};
use serde_json::{Value as Json, json};

use crate::registry::NOON;
use crate::replay::{Answer, Aws, place};

const GET: &str = "GetMetricData";
const MINUTE: u64 = 60_000;

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn target() -> TargetId {
    TargetId { app: AppName::new("volteryde").unwrap(), env: EnvName::new("production").unwrap() }
}

fn sources(source: Source) -> MetricSources {
    MetricSources(BTreeMap::from([(target(), BTreeMap::from([(service("web"), source)]))]))
}

fn alb() -> Source {
    Source::Alb {
        load_balancer: "app/main/50dc6c495c0c9188".to_owned(),
        blue: "targetgroup/web-blue/73e2d6bc24d8a067".to_owned(),
        green: "targetgroup/web-green/943f017f100becff".to_owned(),
    }
}

fn ask(metrics: &[Metric]) -> Measure {
    Measure {
        services: BTreeMap::from([(service("web"), Colour::Green), (service("worker"), Colour::Green)]),
        metrics: metrics.iter().copied().collect(),
        every: Millis::minutes(2),
        alarms: BTreeSet::new(),
    }
}

/// The window from 12:00:20 to 12:02:20: the two minutes that end in it.
async fn measure(aws: &Aws, source: Source, metrics: &[Metric]) -> PortResult<BTreeMap<ServiceName, Window>> {
    let cloudwatch = CloudWatch::new(aws.roles(), sources(source));
    let (from, to) = (Timestamp(NOON + 20_000), Timestamp(NOON + 2 * MINUTE + 20_000));
    cloudwatch.measure(&target(), &place(), &ask(metrics), from, to).await
}

/// Results by query, each complete: values of 12:00, 12:01 and so on.
fn results(of: &[(&str, &[f64])]) -> Json {
    let results: Vec<_> = of
        .iter()
        .map(|(id, values)| {
            let times: Vec<_> = (0..values.len() as u64).map(|at| (NOON + at * MINUTE) / 1_000).collect();
            json!({ "Id": id, "Timestamps": times, "Values": values, "StatusCode": "Complete" })
        })
        .collect();
    json!({ "MetricDataResults": results, "Messages": [] })
}

fn answering(body: &Json) -> Aws {
    Aws::answering([Answer::cbor(GET, &body.to_string())])
}

#[tokio::test]
async fn a_window_of_a_target_group_is_read_to_its_last_page() {
    let aws = Aws::answering([
        Answer::cbor(GET, shape!("cloudwatch-window-1.json")),
        Answer::cbor(GET, shape!("cloudwatch-window-2.json")).when("page-2"),
    ]);
    let measured = measure(&aws, alb(), &[Metric::ErrorRate, Metric::ResponseTimeP95]).await.unwrap();
    let window = Window {
        values: BTreeMap::from([
            // 1,500 requests in two minutes, 12.5 a second.
            (Metric::Requests, 12_500),
            (Metric::ErrorRate, 0),
            // The worse of both minutes: 0.5 s.
            (Metric::ResponseTimeP95, 500_000),
        ]),
        requests: 1_500,
        failed: 0,
        ready: None,
    };
    assert_eq!(measured, BTreeMap::from([(service("web"), window)]), "the worker is not measured");
    let asked = aws.asked();
    let body = asked[0].body();
    let seconds = |value: &Json| Duration::from_secs_f64(value.as_f64().unwrap());
    assert_eq!(seconds(&body["StartTime"]), Duration::from_millis(NOON));
    assert_eq!(seconds(&body["EndTime"]), Duration::from_millis(NOON + 2 * MINUTE));
    let stat = |id: &str, metric: &str, stat: &str| {
        json!({
            "Id": id,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/ApplicationELB",
                    "MetricName": metric,
                    "Dimensions": [
                        { "Name": "LoadBalancer", "Value": "app/main/50dc6c495c0c9188" },
                        { "Name": "TargetGroup", "Value": "targetgroup/web-green/943f017f100becff" },
                    ],
                },
                "Period": 60,
                "Stat": stat,
            },
            "ReturnData": true,
        })
    };
    let queries = json!([
        stat("q1", "RequestCount", "Sum"),
        stat("q2", "HTTPCode_Target_5XX_Count", "Sum"),
        stat("q3", "TargetConnectionErrorCount", "Sum"),
        stat("q4", "TargetResponseTime", "p95"),
    ]);
    assert_eq!(body["MetricDataQueries"], queries);
}

#[tokio::test]
async fn failures_are_those_answered_and_those_not_even_accepted() {
    let aws = answering(&results(&[("q1", &[600.0, 600.0]), ("q2", &[6.0]), ("q3", &[3.0, 3.0]), ("q4", &[24.0])]));
    let measured = measure(&aws, alb(), &[Metric::ErrorRate, Metric::ClientErrorRate]).await.unwrap();
    let window = &measured[&service("web")];
    assert_eq!((window.requests, window.failed), (1_200, 12));
    assert_eq!(window.values[&Metric::ErrorRate], 100, "1 %");
    assert_eq!(window.values[&Metric::ClientErrorRate], 200, "2 %");
}

#[tokio::test]
async fn no_errors_means_none_only_beside_requests() {
    let quiet = answering(&results(&[("q1", &[]), ("q2", &[]), ("q3", &[])]));
    assert_eq!(measure(&quiet, alb(), &[Metric::ErrorRate]).await.unwrap(), BTreeMap::new());

    let idle = answering(&results(&[("q1", &[0.0, 0.0]), ("q2", &[]), ("q3", &[])]));
    let window = measure(&idle, alb(), &[Metric::ErrorRate]).await.unwrap().remove(&service("web")).unwrap();
    assert_eq!(window.values, BTreeMap::from([(Metric::Requests, 0)]), "of nothing there is no share");
}

#[tokio::test]
async fn a_metric_that_is_always_there_is_missed_when_it_is_not() {
    let queries = |only_when_nonzero| {
        let sum = |metric: &str, only_when_nonzero| Query {
            value: Value::SumOf(vec![own(metric)]),
            scale: Scale::One,
            only_when_nonzero,
        };
        Source::Queries(BTreeMap::from([
            (Quantity::Requests, sum("Requests", false)),
            (Quantity::Failed, sum("Failed", only_when_nonzero)),
        ]))
    };
    for (only_when_nonzero, expected) in [(false, None), (true, Some(&0))] {
        let aws = answering(&results(&[("q1", &[600.0]), ("q2", &[])]));
        let measured = measure(&aws, queries(only_when_nonzero), &[Metric::ErrorRate]).await.unwrap();
        assert_eq!(measured[&service("web")].values.get(&Metric::ErrorRate), expected);
    }
}

fn own(metric: &str) -> Statistic {
    Statistic {
        namespace: "Shop".to_owned(),
        metric: metric.to_owned(),
        dimensions: BTreeMap::from([("Deployment".to_owned(), "web-{colour}".to_owned())]),
        statistic: "Sum".to_owned(),
        period: 60,
    }
}

#[tokio::test]
async fn metric_math_is_told_its_inputs_and_only_its_result_counts() {
    let inputs = BTreeMap::from([("all".to_owned(), own("All")), ("good".to_owned(), own("Good"))]);
    let requests = Query { value: Value::SumOf(vec![own("All")]), scale: Scale::One, only_when_nonzero: false };
    let failed = Query {
        value: Value::Math { expression: "{all} - {good}".to_owned(), inputs },
        scale: Scale::One,
        only_when_nonzero: false,
    };
    let source = Source::Queries(BTreeMap::from([(Quantity::Requests, requests), (Quantity::Failed, failed)]));
    let aws = answering(&results(&[("q1", &[100.0, 100.0]), ("q4", &[1.0, 3.0])]));
    let window = measure(&aws, source, &[Metric::ErrorRate]).await.unwrap().remove(&service("web")).unwrap();
    assert_eq!((window.failed, window.values[&Metric::ErrorRate]), (4, 200));
    let queries = aws.asked()[0].body()["MetricDataQueries"].clone();
    assert_eq!(queries[3], json!({ "Id": "q4", "Expression": "q2 - q3", "Period": 60, "ReturnData": true }));
    assert_eq!(queries[1]["ReturnData"], false);
    assert_eq!(
        queries[1]["MetricStat"]["Metric"]["Dimensions"],
        json!([{ "Name": "Deployment", "Value": "web-green" }])
    );
}

#[tokio::test]
async fn what_cloudwatch_calls_partial_is_missing() {
    let all: &[(&str, &[f64])] = &[("q1", &[600.0, 600.0]), ("q2", &[1.0]), ("q3", &[]), ("q4", &[0.25])];
    let metrics = [Metric::ErrorRate, Metric::ResponseTimeP95];
    let mut partial = results(all);
    partial["MetricDataResults"][1]["StatusCode"] = json!("PartialData");
    let measured = measure(&answering(&partial), alb(), &metrics).await.unwrap();
    assert_eq!(measured[&service("web")].values.get(&Metric::ErrorRate), None);
    assert_eq!(measured[&service("web")].values.get(&Metric::ResponseTimeP95), Some(&250_000), "the others are whole");

    let mut about = results(all);
    about["MetricDataResults"][3]["Messages"] = json!([{ "Code": "Unprocessed", "Value": "not all was read" }]);
    let measured = measure(&answering(&about), alb(), &metrics).await.unwrap();
    assert_eq!(measured[&service("web")].values.get(&Metric::ResponseTimeP95), None);

    let mut requests = results(all);
    requests["MetricDataResults"][0]["StatusCode"] = json!("PartialData");
    assert_eq!(measure(&answering(&requests), alb(), &metrics).await.unwrap(), BTreeMap::new());

    let mut absent = results(all);
    absent["MetricDataResults"].as_array_mut().unwrap().remove(1);
    let measured = measure(&answering(&absent), alb(), &metrics).await.unwrap();
    assert_eq!(measured[&service("web")].values.get(&Metric::ErrorRate), None, "no result is not a result of none");
}

#[tokio::test]
async fn what_failed_or_is_forbidden_is_an_error_to_measure_again() {
    for status in ["InternalError", "Forbidden"] {
        let mut body = results(&[("q1", &[600.0]), ("q2", &[]), ("q3", &[])]);
        body["MetricDataResults"][0]["StatusCode"] = json!(status);
        assert!(measure(&answering(&body), alb(), &[Metric::ErrorRate]).await.is_err(), "{status}");
    }
    let mut body = results(&[("q1", &[600.0]), ("q2", &[]), ("q3", &[])]);
    body["Messages"] = json!([{ "Code": "MaxMetricsExceeded", "Value": "too many" }]);
    let error = measure(&answering(&body), alb(), &[Metric::ErrorRate]).await.unwrap_err();
    assert_eq!(error.found, "MaxMetricsExceeded: too many");
}

#[tokio::test]
async fn values_of_other_minutes_are_not_the_windows() {
    let mut body = results(&[("q1", &[600.0, 600.0, 5_000.0]), ("q2", &[]), ("q3", &[])]);
    body["MetricDataResults"][0]["Timestamps"] = json!([NOON / 1_000 - 60, NOON / 1_000, NOON / 1_000 + 120]);
    let measured = measure(&answering(&body), alb(), &[]).await.unwrap();
    assert_eq!(measured[&service("web")].requests, 600);
}

#[tokio::test]
async fn a_window_shorter_than_a_minute_is_refused_before_anything_is_asked() {
    let aws = Aws::default();
    let cloudwatch = CloudWatch::new(aws.roles(), sources(alb()));
    let (from, to) = (Timestamp(NOON), Timestamp(NOON + 30_000));
    let error = cloudwatch.measure(&target(), &place(), &ask(&[]), from, to).await.unwrap_err();
    assert!(error.found.ends_with("has a period of 60 s: a window of 30s is too short for it"), "{error}");
    assert_eq!(aws.operations(), [""; 0]);
}

#[tokio::test]
async fn a_service_that_nobody_measures_asks_nothing() {
    let aws = Aws::default();
    let cloudwatch = CloudWatch::new(aws.roles(), MetricSources::default());
    let (from, to) = (Timestamp(NOON), Timestamp(NOON + MINUTE));
    assert_eq!(cloudwatch.measure(&target(), &place(), &ask(&[]), from, to).await.unwrap(), BTreeMap::new());
    assert_eq!(cloudwatch.settle(), SETTLE);
    assert_eq!(cloudwatch.settling(Millis::minutes(5)).settle(), Millis::minutes(5));
}

#[test]
fn sources_are_written_as_data() {
    let text = json!({
        "volteryde/production": {
            "web": { "alb": {
                "load_balancer": "app/main/50dc6c495c0c9188",
                "blue": "targetgroup/web-blue/73e2d6bc24d8a067",
                "green": "targetgroup/web-green/943f017f100becff",
            } },
        },
    });
    assert_eq!(serde_json::from_value::<MetricSources>(text).unwrap(), sources(alb()));
    let queries = json!({ "queries": { "requests": { "value": { "sum_of": [{
        "namespace": "Shop", "metric": "All", "dimensions": { "Deployment": "web-{colour}" }, "statistic": "Sum",
    }] } } } });
    let expected = Query { value: Value::SumOf(vec![own("All")]), scale: Scale::One, only_when_nonzero: false };
    let read: Source = serde_json::from_value(queries).unwrap();
    assert_eq!(read, Source::Queries(BTreeMap::from([(Quantity::Requests, expected)])));
}
