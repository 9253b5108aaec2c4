//! Inspector's findings as evidence.

use portcullis_aws::inspector::{AffectedPackage, Inspector, Vulnerability};
use portcullis_domain::policy::Severity;
use portcullis_domain::time::Timestamp;
use serde_json::json;

use crate::registry::{NOON, digest, repository};
use crate::replay::{Answer, Aws, place};

fn arn(id: &str) -> String {
    format!("arn:aws:inspector2:us-east-1:444444444444:finding/{id}")
}

#[tokio::test]
async fn findings_tell_what_is_fixed_and_what_is_exploited() {
    let aws = Aws::answering([
        Answer::json("/findings/list", shape!("inspector-findings-1.json")),
        Answer::json("/findings/list", shape!("inspector-findings-2.json")).when("page-2"),
        Answer::json("/findings/details/batch/get", shape!("inspector-details.json")),
    ]);
    let inspector = Inspector::new(aws.roles());
    let mut found = inspector.findings(&place(), &repository(), &digest('a')).await.unwrap();
    inspector.look_up_exploitation(&place(), &repository(), &mut found).await.unwrap();
    let package = |fixed_in: Option<&str>| AffectedPackage {
        name: "openssl".to_owned(),
        version: "1.0".to_owned(),
        fixed_in: fixed_in.map(str::to_owned),
    };
    let expected = [
        Vulnerability {
            arn: arn("late"),
            severity: Severity::Critical,
            id: "CVE-2026-4444".to_owned(),
            packages: vec![package(None)],
            exploit_available: Some(false),
            epss: None,
            known_exploited_since: None,
            first_observed_at: Some(Timestamp(NOON + 30_000)),
        },
        Vulnerability {
            arn: arn("shared"),
            severity: Severity::High,
            id: "CVE-2026-1111".to_owned(),
            packages: vec![package(Some("0:1.1-1"))],
            exploit_available: Some(true),
            epss: Some(0.91),
            known_exploited_since: Some(Timestamp(NOON - 86_400_000)),
            first_observed_at: Some(Timestamp(NOON + 30_000)),
        },
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn details_are_asked_for_ten_at_once() {
    let details = || Answer::json("/findings/details/batch/get", r#"{"findingDetails": [], "errors": []}"#);
    let aws = Aws::answering([details(), details()]);
    let one = |at: u32| Vulnerability {
        arn: arn(&at.to_string()),
        severity: Severity::Low,
        id: String::new(),
        packages: Vec::new(),
        exploit_available: None,
        epss: None,
        known_exploited_since: None,
        first_observed_at: None,
    };
    let mut found: Vec<_> = (0..11).map(one).collect();
    Inspector::new(aws.roles()).look_up_exploitation(&place(), &repository(), &mut found).await.unwrap();
    let asked = aws.asked();
    let counts: Vec<_> = asked.iter().map(|asked| asked.body()["findingArns"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [10, 1]);
    assert_eq!(asked[1].body(), json!({ "findingArns": [arn("10")] }));
}
