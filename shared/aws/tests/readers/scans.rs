//! Scans of ECR and Inspector.

use std::collections::BTreeMap;

use portcullis_aws::inspector::Inspector;
use portcullis_aws::registry::EcrRegistry;
use portcullis_domain::facts::{Finding, ScanFact, ScanStatus};
use portcullis_domain::policy::Severity;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{PortResult, Registry};
use serde_json::{Value, json};

use crate::registry::{NOON, digest, repository};
use crate::replay::{Answer, Aws, place};

const SCAN: &str = "DescribeImageScanFindings";

async fn scan(aws: &Aws, digit: char) -> PortResult<ScanFact> {
    let roles = aws.roles();
    let registry = EcrRegistry::new(roles.clone()).with_inspector(Inspector::new(roles));
    registry.scan(&place(), &repository(), &digest(digit)).await
}

fn finding(severity: Severity, id: &str, package: &str) -> Finding {
    Finding { severity, id: id.to_owned(), package: package.to_owned() }
}

fn not_scanned() -> Answer {
    Answer::error(SCAN, 400, "ScanNotFoundException", "Image scan does not exist for the image")
}

fn image() -> Answer {
    Answer::json("BatchGetImage", shape!("ecr-image-manifest.json"))
}

#[tokio::test]
async fn a_basic_scan_is_read_to_its_last_page() {
    let aws = Aws::answering([
        Answer::json(SCAN, shape!("ecr-scan-basic-1.json")),
        Answer::json(SCAN, shape!("ecr-scan-basic-2.json")).when("page-2"),
    ]);
    let fact = scan(&aws, 'a').await.unwrap();
    let expected = ScanFact {
        status: ScanStatus::Complete,
        completed_at: Some(Timestamp(NOON + 60_000)),
        // Each page repeats the counts: they are those of the scan. What is not named is zero.
        counts: BTreeMap::from([(Severity::High, 2), (Severity::Undefined, 1)]),
        findings: vec![
            finding(Severity::High, "CVE-2026-1111", "openssl"),
            finding(Severity::High, "CVE-2026-3333", "curl"),
            finding(Severity::Undefined, "CVE-2026-2222", "zlib"),
        ],
    };
    assert_eq!(fact, expected);
    let asked = aws.asked();
    assert_eq!(asked.len(), 2, "Inspector knows nothing of basic scans");
    assert_eq!(asked[0].body()["imageId"], json!({ "imageDigest": digest('a').to_string() }));
    assert_eq!(asked[0].body()["maxResults"], 1_000);
}

#[tokio::test]
async fn a_complete_scan_without_findings_has_none() {
    let body = json!({
        "imageScanStatus": { "status": "COMPLETE" },
        "imageScanFindings": { "imageScanCompletedAt": NOON / 1_000, "findings": [], "findingSeverityCounts": {} },
    });
    let fact = scan(&Aws::answering([Answer::json(SCAN, body.to_string())]), 'a').await.unwrap();
    assert_eq!((fact.status, fact.counts, fact.findings), (ScanStatus::Complete, BTreeMap::new(), Vec::new()));
}

#[tokio::test]
async fn a_scan_that_is_not_complete_says_which_way() {
    for (status, description, expected) in [
        ("PENDING", "", ScanStatus::InProgress),
        ("IN_PROGRESS", "", ScanStatus::InProgress),
        ("FAILED", "The scan failed.", ScanStatus::Failed),
        ("FAILED", "UnsupportedImageError: The operating system is not supported.", ScanStatus::Unsupported),
        ("UNSUPPORTED_IMAGE", "", ScanStatus::Unsupported),
        ("SCAN_ELIGIBILITY_EXPIRED", "", ScanStatus::Missing),
        ("FINDINGS_UNAVAILABLE", "", ScanStatus::Failed),
        ("LIMIT_EXCEEDED", "", ScanStatus::Failed),
        ("A_NEW_WORD", "", ScanStatus::Failed),
    ] {
        let body = json!({ "imageScanStatus": { "status": status, "description": description } });
        let aws = Aws::answering([Answer::json(SCAN, body.to_string())]);
        if expected != ScanStatus::InProgress {
            aws.also([image()]);
        }
        assert_eq!(scan(&aws, 'a').await.unwrap().status, expected, "{status}");
        aws.asked();
    }
    let aws = Aws::answering([not_scanned(), image()]);
    assert_eq!(scan(&aws, 'a').await.unwrap().status, ScanStatus::Missing);
}

#[tokio::test]
async fn what_cannot_be_read_is_no_clean_scan() {
    let aws = Aws::answering([Answer::error(SCAN, 500, "ServerException", "try again")]);
    assert!(scan(&aws, 'a').await.unwrap_err().found.contains("ServerException"));
    let aws = Aws::answering([
        Answer::json(SCAN, shape!("ecr-scan-basic-1.json")),
        Answer::error(SCAN, 500, "ServerException", "try again").when("page-2"),
    ]);
    assert!(scan(&aws, 'a').await.is_err(), "half of the findings are not the findings");
}

/// An image under continuous scanning, with what Inspector has.
fn enhanced(coverage: &str) -> Aws {
    Aws::answering([
        Answer::json(SCAN, shape!("ecr-scan-enhanced.json")),
        Answer::json("/findings/list", shape!("inspector-findings-1.json")),
        Answer::json("/findings/list", shape!("inspector-findings-2.json")).when("page-2"),
        Answer::json("/coverage/list", coverage),
    ])
}

#[tokio::test]
async fn an_enhanced_scan_holds_what_ecr_and_inspector_know_each_once() {
    let aws = enhanced(shape!("inspector-coverage.json"));
    let fact = scan(&aws, 'a').await.unwrap();
    let expected = ScanFact {
        status: ScanStatus::Complete,
        // The image is watched: it was scanned again after ECR's first result.
        completed_at: Some(Timestamp(NOON + 90_000_000)),
        counts: BTreeMap::from([(Severity::Critical, 1), (Severity::High, 1), (Severity::Medium, 1)]),
        findings: vec![
            // Not in ECR's answer yet.
            finding(Severity::Critical, "CVE-2026-4444", "openssl"),
            // In both, told once; the closed one is gone.
            finding(Severity::High, "CVE-2026-1111", "openssl"),
            finding(Severity::Medium, "CVE-2026-2222", "zlib1g"),
        ],
    };
    assert_eq!(fact, expected);
    let asked = aws.asked();
    let findings = asked.iter().find(|asked| asked.operation == "/findings/list").unwrap().body();
    let equals = |value: &str| json!([{ "comparison": "EQUALS", "value": value }]);
    let filter = json!({
        "ecrImageHash": equals(&digest('a').to_string()),
        "ecrImageRegistry": equals("444444444444"),
        "ecrImageRepositoryName": equals("volteryde/nestjs-service"),
        "findingStatus": equals("ACTIVE"),
        "resourceType": equals("AWS_ECR_CONTAINER_IMAGE"),
    });
    assert_eq!(findings["filterCriteria"], filter);
    let coverage = asked.iter().find(|asked| asked.operation == "/coverage/list").unwrap().body();
    let arn = format!("arn:aws:ecr:us-east-1:444444444444:repository/volteryde/nestjs-service/{}", digest('a'));
    assert_eq!(coverage["filterCriteria"], json!({ "resourceId": equals(&arn) }));
}

#[tokio::test]
async fn an_image_that_inspector_has_still_to_scan_is_not_scanned() {
    let mut coverage: Value = serde_json::from_str(shape!("inspector-coverage.json")).unwrap();
    coverage["coveredResources"][0]["scanStatus"] = json!({ "reason": "PENDING_INITIAL_SCAN", "statusCode": "ACTIVE" });
    let fact = scan(&enhanced(&coverage.to_string()), 'a').await.unwrap();
    assert_eq!(fact.status, ScanStatus::InProgress);
}

#[tokio::test]
async fn an_image_that_inspector_no_longer_watches_ages() {
    let mut coverage: Value = serde_json::from_str(shape!("inspector-coverage.json")).unwrap();
    coverage["coveredResources"][0]["scanStatus"] =
        json!({ "reason": "SCAN_FREQUENCY_MANUAL", "statusCode": "INACTIVE" });
    for coverage in [coverage.to_string(), r#"{"coveredResources": []}"#.to_owned()] {
        let fact = scan(&enhanced(&coverage), 'a').await.unwrap();
        assert_eq!(fact.completed_at, Some(Timestamp(NOON + 30_000)));
    }
}

#[tokio::test]
async fn without_inspectors_answer_an_enhanced_scan_is_unknown() {
    let denied = json!({ "message": "not authorized to perform: inspector2:ListFindings" }).to_string();
    let aws = Aws::answering([
        Answer::json(SCAN, shape!("ecr-scan-enhanced.json")),
        Answer::json("/findings/list", denied).status(403),
        Answer::json("/coverage/list", shape!("inspector-coverage.json")),
    ]);
    assert!(scan(&aws, 'a').await.unwrap_err().doing.contains("Inspector"));
}

#[tokio::test]
async fn without_inspector_ecrs_own_word_counts() {
    let aws = Aws::answering([Answer::json(SCAN, shape!("ecr-scan-enhanced.json"))]);
    let fact = EcrRegistry::new(aws.roles()).scan(&place(), &repository(), &digest('a')).await.unwrap();
    assert_eq!(fact.counts, BTreeMap::from([(Severity::High, 1), (Severity::Medium, 1)]));
    // One finding about two packages is one finding.
    assert_eq!(fact.findings[0], finding(Severity::High, "CVE-2026-1111", "openssl, libssl3"));
    assert_eq!(aws.operations(), [SCAN]);
}

#[tokio::test]
async fn an_index_is_scanned_platform_by_platform() {
    let platform = |digit: char, at: u64, high: u32| {
        let body = json!({
            "imageScanStatus": { "status": "COMPLETE" },
            "imageScanFindings": { "imageScanCompletedAt": at, "findingSeverityCounts": { "HIGH": high } },
        });
        Answer::json(SCAN, body.to_string()).when(digest(digit).to_string())
    };
    let index = || {
        let index = Answer::json("BatchGetImage", shape!("ecr-index-manifest.json"));
        [not_scanned().when(digest('e').to_string()), index]
    };
    let aws = Aws::answering(index());
    aws.also([platform('b', 2_000, 1), platform('c', 1_000, 0)]);
    let fact = scan(&aws, 'e').await.unwrap();
    assert_eq!((fact.status, fact.completed_at), (ScanStatus::Complete, Some(Timestamp(1_000_000))));
    assert_eq!(fact.counts, BTreeMap::from([(Severity::High, 1)]));
    assert_eq!(aws.operations(), [SCAN, "BatchGetImage", SCAN, SCAN], "the attestation is no platform");

    let aws = Aws::answering(index());
    aws.also([platform('b', 2_000, 1), not_scanned().when(digest('c').to_string())]);
    assert_eq!(scan(&aws, 'e').await.unwrap().status, ScanStatus::Missing);
}
