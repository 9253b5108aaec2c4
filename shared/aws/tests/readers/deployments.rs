//! Deployment metrics.

use portcullis_aws::deployments::{DeploymentMetrics, DeploymentOutcome, Deployments};
use portcullis_domain::names::{AppName, EnvName, TargetId};
use portcullis_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::registry::NOON;
use crate::replay::{Answer, Aws};

fn target(environment: &str) -> TargetId {
    TargetId { app: AppName::new("volteryde").unwrap(), env: EnvName::new(environment).unwrap() }
}

fn metrics() -> DeploymentMetrics {
    let written = json!({
        "namespace": "Volteryde/Deployments",
        "metrics": [
            { "name": "DeploymentCount", "by": ["application", "environment", "outcome"] },
            { "name": "ProductionDeployment", "environments": ["production"] },
        ],
    });
    serde_json::from_value(written).unwrap()
}

fn deployments(aws: &Aws) -> Deployments {
    Deployments::new(&aws.config(), metrics())
}

#[tokio::test]
async fn a_deployment_is_counted_once_under_every_name_that_is_for_it() {
    let aws = Aws::answering([Answer::cbor("PutMetricData", "{}")]);
    deployments(&aws).count(&target("production"), DeploymentOutcome::RolledBack, Timestamp(NOON)).await.unwrap();
    let mut body = aws.asked()[0].body();
    for datum in body["MetricData"].as_array_mut().unwrap() {
        let at = datum.as_object_mut().unwrap().remove("Timestamp").as_ref().and_then(Value::as_f64);
        assert_eq!(at, Some(1_777_896_000.0));
    }
    let dimension = |name: &str, value: &str| json!({ "Name": name, "Value": value });
    let expected = json!({
        "Namespace": "Volteryde/Deployments",
        "MetricData": [
            {
                "MetricName": "DeploymentCount",
                "Dimensions": [
                    dimension("Application", "volteryde"),
                    dimension("Environment", "production"),
                    dimension("Outcome", "RolledBack"),
                ],
                "Value": 1.0,
                "Unit": "Count",
            },
            { "MetricName": "ProductionDeployment", "Dimensions": [], "Value": 1.0, "Unit": "Count" },
        ],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_name_for_production_counts_nothing_else() {
    let aws = Aws::answering([Answer::cbor("PutMetricData", "{}")]);
    deployments(&aws).count(&target("staging"), DeploymentOutcome::Live, Timestamp(NOON)).await.unwrap();
    let body = aws.asked()[0].body();
    let names: Vec<_> = body["MetricData"].as_array().unwrap().iter().map(|datum| &datum["MetricName"]).collect();
    assert_eq!(names, ["DeploymentCount"]);
}

#[tokio::test]
async fn where_nothing_is_counted_nothing_is_sent() {
    let aws = Aws::default();
    let metrics = DeploymentMetrics { namespace: "Volteryde/Deployments".to_owned(), metrics: Vec::new() };
    let deployments = Deployments::new(&aws.config(), metrics);
    deployments.count(&target("production"), DeploymentOutcome::Live, Timestamp(NOON)).await.unwrap();
    assert_eq!(aws.operations(), [""; 0]);
}

#[tokio::test]
async fn a_count_that_was_not_taken_is_told() {
    let refused = r#"{"__type": "com.amazonaws.cloudwatch#InvalidParameterValueException", "message": "too old"}"#;
    let aws = Aws::answering([Answer::cbor("PutMetricData", refused).status(400)]);
    let error =
        deployments(&aws).count(&target("production"), DeploymentOutcome::Live, Timestamp(0)).await.unwrap_err();
    assert!(error.doing.contains("volteryde/production") && error.found.contains("too old"), "{error}");
}
