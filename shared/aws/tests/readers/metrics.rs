//! Windows of CloudWatch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis_aws::metrics::{CloudWatch, SETTLE};
use portcullis_domain::action::{Measure, Window};
use portcullis_domain::names::{AppName, EnvName, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Metric};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Metrics, PortResult};
use serde_json::{Value as Json, json};

use crate::load_balancers::found;
use crate::registry::NOON;
use crate::replay::{Answer, Aws, place};

pub(crate) const GET: &str = "GetMetricData";
const MINUTE: u64 = 60_000;

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub(crate) fn target() -> TargetId {
    TargetId { app: AppName::new("volteryde").unwrap(), env: EnvName::new("production").unwrap() }
}

/// `web` and a worker, both in this colour.
pub(crate) fn ask(colour: Colour, metrics: &[Metric]) -> Measure {
    Measure {
        services: BTreeMap::from([(service("web"), colour), (service("worker"), colour)]),
        metrics: metrics.iter().copied().collect(),
        every: Millis::minutes(2),
        alarms: BTreeSet::new(),
    }
}

/// The window from 12:00:20 to 12:02:20: the two minutes that end in it.
pub(crate) fn window() -> (Timestamp, Timestamp) {
    (Timestamp(NOON + 20_000), Timestamp(NOON + 2 * MINUTE + 20_000))
}

async fn measure(aws: &Aws, metrics: &[Metric]) -> PortResult<BTreeMap<ServiceName, Window>> {
    let (from, to) = window();
    CloudWatch::new(aws.roles()).measure(&target(), &place(), &ask(Colour::Green, metrics), from, to).await
}

/// Results by query, each complete: values of 12:00, 12:01 and so on.
pub(crate) fn results(of: &[(&str, &[f64])]) -> Json {
    let results: Vec<_> = of
        .iter()
        .map(|(id, values)| {
            let times: Vec<_> = (0..values.len() as u64).map(|at| (NOON + at * MINUTE) / 1_000).collect();
            json!({ "Id": id, "Timestamps": times, "Values": values, "StatusCode": "Complete" })
        })
        .collect();
    json!({ "MetricDataResults": results, "Messages": [] })
}

/// CloudWatch with this answer, for the target groups of the shapes.
fn answering(body: &Json) -> Aws {
    Aws::answering(found().into_iter().chain([Answer::cbor(GET, &body.to_string())]))
}

#[tokio::test]
async fn a_window_of_a_target_group_is_read_to_its_last_page() {
    let pages = [
        Answer::cbor(GET, shape!("cloudwatch-window-1.json")),
        Answer::cbor(GET, shape!("cloudwatch-window-2.json")).when("page-2"),
    ];
    let aws = Aws::answering(found().into_iter().chain(pages));
    let measured = measure(&aws, &[Metric::ErrorRate, Metric::ResponseTimeP95]).await.unwrap();
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
    let body = asked.iter().find(|asked| asked.operation == GET).unwrap().body();
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
                        { "Name": "LoadBalancer", "Value": "app/k8s-volteryd-shop-0a1b2c3d4e/50dc6c495c0c9188" },
                        { "Name": "TargetGroup", "Value": "targetgroup/k8s-volteryd-webgreen-5f6a7b8c9d/943f017f100becff" },
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
    let measured = measure(&aws, &[Metric::ErrorRate, Metric::ClientErrorRate]).await.unwrap();
    let window = &measured[&service("web")];
    assert_eq!((window.requests, window.failed), (1_200, 12));
    assert_eq!(window.values[&Metric::ErrorRate], 100, "1 %");
    assert_eq!(window.values[&Metric::ClientErrorRate], 200, "2 %");
}

#[tokio::test]
async fn no_errors_means_none_only_beside_requests() {
    let quiet = answering(&results(&[("q1", &[]), ("q2", &[]), ("q3", &[])]));
    assert_eq!(measure(&quiet, &[Metric::ErrorRate]).await.unwrap(), BTreeMap::new());

    let idle = answering(&results(&[("q1", &[0.0, 0.0]), ("q2", &[]), ("q3", &[])]));
    let window = measure(&idle, &[Metric::ErrorRate]).await.unwrap().remove(&service("web")).unwrap();
    assert_eq!(window.values, BTreeMap::from([(Metric::Requests, 0)]), "of nothing there is no share");
}

#[tokio::test]
async fn what_cloudwatch_calls_partial_is_missing() {
    let all: &[(&str, &[f64])] = &[("q1", &[600.0, 600.0]), ("q2", &[1.0]), ("q3", &[]), ("q4", &[0.25])];
    let metrics = [Metric::ErrorRate, Metric::ResponseTimeP95];
    let mut partial = results(all);
    partial["MetricDataResults"][1]["StatusCode"] = json!("PartialData");
    let measured = measure(&answering(&partial), &metrics).await.unwrap();
    assert_eq!(measured[&service("web")].values.get(&Metric::ErrorRate), None);
    assert_eq!(measured[&service("web")].values.get(&Metric::ResponseTimeP95), Some(&250_000), "the others are whole");

    let mut about = results(all);
    about["MetricDataResults"][3]["Messages"] = json!([{ "Code": "Unprocessed", "Value": "not all was read" }]);
    let measured = measure(&answering(&about), &metrics).await.unwrap();
    assert_eq!(measured[&service("web")].values.get(&Metric::ResponseTimeP95), None);

    let mut requests = results(all);
    requests["MetricDataResults"][0]["StatusCode"] = json!("PartialData");
    assert_eq!(measure(&answering(&requests), &metrics).await.unwrap(), BTreeMap::new());

    let mut absent = results(all);
    absent["MetricDataResults"].as_array_mut().unwrap().remove(1);
    let measured = measure(&answering(&absent), &metrics).await.unwrap();
    assert_eq!(measured[&service("web")].values.get(&Metric::ErrorRate), None, "no result is not a result of none");
}

#[tokio::test]
async fn what_failed_or_is_forbidden_is_an_error_to_measure_again() {
    for status in ["InternalError", "Forbidden"] {
        let mut body = results(&[("q1", &[600.0]), ("q2", &[]), ("q3", &[])]);
        body["MetricDataResults"][0]["StatusCode"] = json!(status);
        assert!(measure(&answering(&body), &[Metric::ErrorRate]).await.is_err(), "{status}");
    }
    let mut body = results(&[("q1", &[600.0]), ("q2", &[]), ("q3", &[])]);
    body["Messages"] = json!([{ "Code": "MaxMetricsExceeded", "Value": "too many" }]);
    let error = measure(&answering(&body), &[Metric::ErrorRate]).await.unwrap_err();
    assert_eq!(error.found, "MaxMetricsExceeded: too many");
}

#[tokio::test]
async fn values_of_other_minutes_are_not_the_windows() {
    let mut body = results(&[("q1", &[600.0, 600.0, 5_000.0]), ("q2", &[]), ("q3", &[])]);
    body["MetricDataResults"][0]["Timestamps"] = json!([NOON / 1_000 - 60, NOON / 1_000, NOON / 1_000 + 120]);
    let measured = measure(&answering(&body), &[]).await.unwrap();
    assert_eq!(measured[&service("web")].requests, 600);
}

#[tokio::test]
async fn of_a_window_shorter_than_a_minute_nothing_is_told_and_nobody_is_asked() {
    let aws = Aws::default();
    let (from, to) = (Timestamp(NOON), Timestamp(NOON + 30_000));
    let ask = ask(Colour::Green, &[]);
    let told = CloudWatch::new(aws.roles()).measure(&target(), &place(), &ask, from, to).await.unwrap();
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(aws.operations(), [""; 0]);
}

#[test]
fn a_window_can_be_measured_once_its_last_minute_has_settled() {
    let cloudwatch = CloudWatch::new(Aws::default().roles());
    assert_eq!(cloudwatch.settle(), SETTLE);
    assert_eq!(cloudwatch.settling(Millis::minutes(5)).settle(), Millis::minutes(5));
}
