//! `events/` and its README: every sample is listed, and is read as its line says.

use std::collections::BTreeMap;
use std::fs;

use portcullis_domain::facts::{AlarmState, ScanStatus};
use portcullis_domain::policy::Severity;
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_domain::time::Timestamp;
use portcullis_ingest::{Read, read};

use crate::support::{folder, sample, samples};

/// The lines of the README's first table as cells.
fn lines() -> Vec<Vec<String>> {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let table = readme.split("| file |").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.lines().skip(2).map(cells).collect()
}

fn facts(name: &str) -> Vec<Fact> {
    match read(sample(name).to_string().as_bytes()).unwrap() {
        Read::Facts(facts) => facts,
        other @ Read::Ignored { .. } => panic!("{name} is {other}"),
    }
}

#[test]
fn every_sample_does_what_its_line_in_the_readme_says() {
    let samples: BTreeMap<String, Vec<u8>> = samples().into_iter().collect();
    let lines = lines();
    let listed: Vec<String> = lines.iter().map(|line| line[0].trim_matches('`').to_owned()).collect();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, samples.keys().cloned().collect::<Vec<_>>(), "the README lists each file once");
    for (line, name) in lines.iter().zip(&listed) {
        let said = read(&samples[name]).unwrap_or_else(|malformed| panic!("{name}: {malformed}"));
        assert_eq!(format!("`{said}`"), line[2], "{name}");
    }
    println!("{} samples do what the README says", lines.len());
}

#[test]
fn every_line_of_the_readme_names_a_document_that_is_listed() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    for line in lines() {
        assert_eq!(line.len(), 5, "{line:?}");
        assert!(!line[3].is_empty());
        for source in line[4].split(", ") {
            assert!(readme.contains(&format!("\n| {source} | Amazon ")), "{source} is listed under Sources");
        }
    }
}

#[test]
fn a_push_is_read_in_full() {
    let [fact] = &facts("ecr/image-action-push.json")[..] else { panic!("one fact") };
    let event = sample("ecr/image-action-push.json");
    assert_eq!(fact.delivery.as_str(), event["id"].as_str().unwrap());
    assert_eq!(fact.at, Timestamp(1_795_142_171_000));
    assert_eq!((fact.account.as_deref(), fact.region.as_deref()), (Some("444444444444"), Some("us-east-1")));
    let FactKind::ImagePushed { repository, digest, tag } = &fact.kind else { panic!("{fact:?}") };
    let host = "444444444444.dkr.ecr.us-east-1.amazonaws.com";
    assert_eq!(repository.as_str(), format!("{host}/volteryde/nestjs-service"));
    assert_eq!(digest.to_string(), event["detail"]["image-digest"].as_str().unwrap());
    assert_eq!(tag.as_ref().unwrap().as_str(), event["detail"]["image-tag"].as_str().unwrap());
}

#[test]
fn both_scanners_name_the_same_image_in_the_same_way() {
    let reported = |name: &str| match &facts(name)[0].kind {
        FactKind::ScanReported { repository, digest, status, counts } => {
            (repository.clone(), *digest, *status, counts.clone())
        }
        other => panic!("{other:?}"),
    };
    let (basic, enhanced) = (reported("ecr/image-scan-complete.json"), reported("inspector/scan-complete.json"));
    assert_eq!((&basic.0, basic.1), (&enhanced.0, enhanced.1));
    assert_eq!(enhanced.2, ScanStatus::Complete);
    assert_eq!(enhanced.3, BTreeMap::from([(Severity::High, 2), (Severity::Medium, 7)]));
    let (failed, finding) = (reported("ecr/image-scan-failed.json"), reported("inspector/finding-active.json"));
    assert_eq!((&failed.0, failed.1), (&finding.0, finding.1));
    assert_eq!((failed.2, failed.3.is_empty()), (ScanStatus::Failed, true));
    assert_eq!(finding.3, BTreeMap::from([(Severity::Critical, 1)]));
}

#[test]
fn an_alarm_says_the_same_in_all_three_wrappers() {
    let names =
        ["cloudwatch/alarm-eventbridge-metric.json", "cloudwatch/alarm-direct.json", "cloudwatch/alarm-sns.json"];
    let told = names.map(|name| facts(name).remove(0));
    for fact in &told {
        assert_eq!(fact.kind, told[0].kind);
        assert_eq!((fact.account.as_deref(), fact.region.as_deref()), (Some("333333333333"), Some("us-east-1")));
    }
    let FactKind::AlarmChanged { alarm, state, changed_at, reason, suppressed } = &told[0].kind else { panic!() };
    assert_eq!((alarm.as_str(), *state, *suppressed), ("volteryde-prod-app-5xx", AlarmState::Alarm, false));
    assert_eq!(*changed_at, Timestamp(1_795_144_089_412));
    assert!(reason.starts_with("Threshold Crossed: 2 out of the last 2 datapoints [41.0"), "{reason}");
}
