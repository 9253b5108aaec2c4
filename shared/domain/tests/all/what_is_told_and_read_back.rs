//! What the core prints for people, and reads back from what it wrote.

use std::collections::BTreeMap;

use portcullis_domain::action::ObjectKey;
use portcullis_domain::digest::Digest;
use portcullis_domain::event::Reason;
use portcullis_domain::facts::{ScanFact, ScanStatus};
use portcullis_domain::names::{AlarmName, DeliveryId, Identity, Repository, ServiceName, Subject, Tag, TargetId};
use portcullis_domain::plan::{PlanId, evidence_class, is_worse};
use portcullis_domain::policy::{Colour, Comparison, Metric, Severity};
use portcullis_domain::tags::{InvalidPattern, TagPattern};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::{GateResult, Judgement, Verdict};

use crate::world::*;

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(&format!("{text:?}")).ok()
}

// Names of things, as they are written in the ledger and shown on a screen.

#[test]
fn an_object_is_read_back_from_what_it_prints() {
    for (key, text) in [
        (ObjectKey::traffic(&service("nestjs-service")), "Service/nestjs-service"),
        (ObjectKey::workload(&service("nestjs-service"), Colour::Blue), "Deployment/nestjs-service-blue"),
        (ObjectKey::workload(&service("web"), Colour::Green), "Deployment/web-green"),
        // The colour is the last part, whatever the service is called.
        (ObjectKey::workload(&service("deep-blue"), Colour::Green), "Deployment/deep-blue-green"),
    ] {
        assert_eq!(key.to_string(), text);
        assert_eq!(serde_json::to_string(&key).unwrap(), format!("{text:?}"));
        assert_eq!(json::<ObjectKey>(text), Some(key));
    }
    for wrong in ["", "web", "Pod/web", "Deployment/web", "Deployment/web-red", "Deployment/-blue", "Service/Web"] {
        assert_eq!(json::<ObjectKey>(wrong), None, "{wrong}");
    }
}

#[test]
fn a_digest_is_shown_by_its_beginning() {
    // SHA-256 of nothing (FIPS 180-4).
    let digest = Digest::of(b"");
    assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(digest.short(), "sha256:e3b0");
    assert_eq!(format!("{digest:?}"), "sha256:e3b0");
}

#[test]
fn a_target_is_shown_as_it_is_written_also_among_other_fields() {
    let target: TargetId = "shop/production".parse().unwrap();
    assert_eq!(format!("{target:?}"), "shop/production");
}

#[test]
fn a_plan_is_read_back_from_the_name_people_see() {
    for name in ["4be1-c07f", "0000-0001", "ffff-0000"] {
        let plan: PlanId = name.parse().unwrap();
        assert_eq!((plan.to_string(), format!("{plan:?}")), (name.to_owned(), name.to_owned()));
        assert_eq!(json::<PlanId>(name), Some(plan));
    }
    for wrong in ["", "-", "4be1c07f", "4be-c07f", "4be1-c07f0", "+be1-c07f", "4be1-+07f", "4be1-c07g"] {
        assert!(wrong.parse::<PlanId>().is_err(), "{wrong}");
    }
}

#[test]
fn a_name_may_be_just_as_long_as_its_limit() {
    let label = |length| ServiceName::new(&"a".repeat(length)).is_ok();
    assert_eq!([0, 1, 63, 64].map(label), [false, true, true, false]);
    let (repository, tag, alarm, subject, delivery, identity): (Fits, Fits, Fits, Fits, Fits, Fits) = (
        |text| Repository::new(text).is_ok(),
        |text| Tag::new(text).is_ok(),
        |text| AlarmName::new(text).is_ok(),
        |text| Subject::new(text).is_ok(),
        |text| DeliveryId::new(text).is_ok(),
        |text| Identity::new(&text.replacen('a', ":", 1)).is_ok(),
    );
    for (most, fits) in [(255, repository), (128, tag), (255, alarm), (64, subject), (200, delivery), (200, identity)] {
        let found = [0, 1, most, most + 1].map(|length| fits(&"a".repeat(length)));
        assert_eq!(found, [false, true, true, false], "at most {most}");
    }
}
type Fits = fn(&str) -> bool;

#[test]
fn a_colour_has_a_workload_as_long_as_its_name_fits_on_a_cluster() {
    let mut service = policy().services.remove(0);
    assert_eq!(service.workload_name(Colour::Blue).unwrap().as_str(), "web-blue");
    service.name = ServiceName::new(&"w".repeat(57)).unwrap();
    assert_eq!(service.workload_name(Colour::Green).unwrap().as_str(), format!("{}-green", "w".repeat(57)));
    service.name = ServiceName::new(&"w".repeat(58)).unwrap();
    assert_eq!(service.workload_name(Colour::Green), None);
}

// Tags.

#[test]
fn a_tag_pattern_is_read_back_from_what_it_prints() {
    for text in ["{sha}", "prod-{sha7}-{date}-{time}", "v{version}_{number}.x", "latest"] {
        let pattern: TagPattern = text.parse().unwrap();
        assert_eq!(pattern.to_string(), text);
        assert_eq!(json::<TagPattern>(text), Some(pattern));
    }
}

#[test]
fn only_a_pattern_with_a_commit_in_it_names_one() {
    let names = |text: &str| text.parse::<TagPattern>().unwrap().names_commit();
    assert!(names("{sha}") && names("prod-{sha7}-{date}"));
    assert!(!names("v{version}") && !names("{date}-{time}-{number}") && !names("latest"));
}

#[test]
fn a_tag_pattern_has_a_bounded_length_and_a_bounded_number_of_placeholders() {
    let read = |text: &str| text.parse::<TagPattern>().map(|pattern| pattern.to_string());
    let long = "a".repeat(128);
    assert_eq!(read(&long), Ok(long.clone()));
    assert_eq!(read(&format!("{long}a")), Err(InvalidPattern::Size));
    assert_eq!(read(""), Err(InvalidPattern::Size));
    let eight = "{date}".repeat(8);
    assert_eq!(read(&eight), Ok(eight.clone()));
    assert_eq!(read(&format!("{eight}{{time}}")), Err(InvalidPattern::Size));
    // Fixed text between them counts for nothing.
    let apart = "-{date}".repeat(8) + "-";
    assert_eq!(read(&apart), Ok(apart.clone()));
}

#[test]
fn a_version_is_three_numbers_and_perhaps_a_suffix() {
    let pattern: TagPattern = "{version}".parse().unwrap();
    let read = |tag: &str| pattern.read(&Tag::new(tag).unwrap()).and_then(|found| found.version);
    for version in ["1.2.3", "10.20.30", "1.2.3-rc.1", "0.0.0-"] {
        assert_eq!(read(version).as_deref(), Some(version));
    }
    for other in ["latest", "1.2.3.4", "1.22.", "1..23", "1.2.x", "a.b.c", "v1.2.3", "1-2.3.4"] {
        assert_eq!(read(other), None, "{other}");
    }
}

// What is measured.

#[test]
fn a_comparison_and_its_opposite_never_agree() {
    for (comparison, below, equal, above) in [
        (Comparison::Above, false, false, true),
        (Comparison::AtLeast, false, true, true),
        (Comparison::Below, true, false, false),
        (Comparison::AtMost, true, true, false),
    ] {
        for (value, holds) in [(4, below), (5, equal), (6, above), (-5, below)] {
            assert_eq!(comparison.holds(value, 5), holds, "{value} {comparison} 5");
            assert_eq!(comparison.negated().holds(value, 5), !holds, "not: {value} {comparison} 5");
        }
    }
    let told = [Comparison::Above, Comparison::AtLeast, Comparison::Below, Comparison::AtMost];
    assert_eq!(told.map(|comparison| comparison.to_string()), ["above", "at least", "below", "at most"]);
}

#[test]
fn a_measured_value_is_shown_in_the_unit_people_think_in() {
    use Metric::{ClientErrorRate, ErrorRate, Requests, ResponseTimeP50, ResponseTimeP95, ResponseTimeP99};
    for (metric, value, shown) in [
        (Requests, 5_000, "5/s"),
        (Requests, 1_250, "1.25/s"),
        (Requests, 7, "0.007/s"),
        (ErrorRate, 680, "6.8%"),
        (ErrorRate, 0, "0%"),
        (ErrorRate, 10_000, "100%"),
        (ClientErrorRate, 5, "0.05%"),
        (ResponseTimeP95, 612_000, "612 ms"),
        (ResponseTimeP95, 612_999, "612 ms"),
        (ResponseTimeP50, 10_000, "10 ms"),
        (ResponseTimeP50, 9_990, "9.99 ms"),
        (ResponseTimeP50, 40, "0.04 ms"),
        (ResponseTimeP99, 999_999, "999 ms"),
        (ResponseTimeP99, 1_000_000, "1 s"),
        (ResponseTimeP99, 2_345_000, "2.345 s"),
    ] {
        assert_eq!(metric.show(value), shown, "{metric} {value}");
    }
    for (metric, name) in Metric::ALL {
        assert_eq!((metric.name(), metric.to_string()), (name, name.to_owned()));
    }
}

#[test]
fn a_duration_is_as_long_as_its_unit_says() {
    let lengths = [Millis::seconds(5), Millis::minutes(5), Millis::hours(5), Millis::days(5)];
    assert_eq!(lengths, [5_000, 300_000, 18_000_000, 432_000_000].map(Millis));
    assert_eq!(lengths.map(|length| length.to_string()), ["5s", "5m", "5h", "5d"]);
    let at = Timestamp(1_000);
    assert_eq!(
        (at + Millis(500), at - Millis(400), at - Millis(2_000)),
        (Timestamp(1_500), Timestamp(600), Timestamp(0))
    );
    assert_eq!((at.since(Timestamp(300)), Timestamp(300).since(at)), (Millis(700), Millis(0)));
}

#[test]
fn more_findings_are_worse_and_as_many_are_not() {
    let class = |counts: &[(Severity, u32)]| {
        let scan = |counts: BTreeMap<Severity, u32>| ScanFact {
            status: ScanStatus::Complete,
            completed_at: None,
            counts,
            findings: vec![],
        };
        let scans = [scan(counts.iter().copied().collect()), scan(BTreeMap::from([(Severity::Low, 1)]))];
        evidence_class(scans.iter())
    };
    // A severity without a finding is no evidence, whether the scanner names it or not.
    assert_eq!(class(&[(Severity::Critical, 0), (Severity::Low, 2)]), BTreeMap::from([(Severity::Low, 3)]));
    let old = class(&[(Severity::High, 2)]);
    assert!(!is_worse(&old, &old));
    assert!(!is_worse(&class(&[(Severity::High, 1)]), &old));
    assert!(is_worse(&class(&[(Severity::High, 3)]), &old));
    assert!(is_worse(&class(&[(Severity::High, 1), (Severity::Critical, 1)]), &old));
}

// Why something happened.

#[test]
fn the_reason_of_a_rollback_is_one_line_of_plain_words() {
    let threshold = Reason::Threshold {
        service: service("web"),
        metric: Metric::ErrorRate,
        value: 680,
        limit: 100,
        rule: "must stay below 1%".into(),
    };
    let alarm = |reason: &str| Reason::Alarm { alarm: AlarmName::new("shop-5xx").unwrap(), reason: reason.to_owned() };
    let found = Reason::Vulnerability {
        service: service("web"),
        finding: "CVE-2026-1234".into(),
        severity: Severity::Critical,
    };
    for (reason, told, automatic) in [
        (threshold, "web error_rate 6.8%, must stay below 1%", true),
        (Reason::Health { service: service("web"), failing: Millis::minutes(5) }, "web not ready for 5m", true),
        (alarm("too many 5xx"), "alarm shop-5xx: too many 5xx", true),
        (alarm(""), "alarm shop-5xx", true),
        (Reason::Step { why: "the tests failed".into() }, "the tests failed", true),
        (Reason::Person { reason: "it hurts".into() }, "a person: it hurts", false),
        (found, "critical vulnerability in web: CVE-2026-1234", true),
    ] {
        assert_eq!((reason.to_string().as_str(), reason.is_automatic()), (told, automatic));
    }
}

#[test]
fn a_gate_of_parts_says_what_the_first_worst_part_waits_for() {
    let until = Some(Timestamp(7));
    let waits = GateResult { until, ..GateResult::hold("b", "b is not there", "b comes") };
    let later = GateResult { until: None, ..GateResult::hold("c", "c is not there", "c comes") };
    let parts = vec![GateResult::pass("a", "a is there"), waits, later];
    let all = GateResult::all_of("all", "all are there", parts.clone());
    let expected = GateResult { parts: parts.clone(), ..GateResult::hold("all", "b is not there", "b comes") };
    assert_eq!(all, GateResult { until, ..expected });
    let all = GateResult::all_of("all", "all are there", parts[..1].to_vec());
    assert_eq!(all, GateResult { parts: parts[..1].to_vec(), ..GateResult::pass("all", "all are there") });
}

#[test]
fn a_judgement_tells_what_blocks_it_and_whether_people_may_skip_that() {
    let judged = |gates: &[GateResult]| Judgement { at: Timestamp(1), gates: gates.to_vec() };
    let (pass, hold) = (GateResult::pass("alarms", "none rings"), GateResult::hold("approval", "none", "one comes"));
    let (scan, images) = (GateResult::block("scan", "1 critical"), GateResult::block("images", "web has none"));
    for (gates, verdict, told, skipped) in [
        (vec![pass.clone()], Verdict::Pass, "", true),
        (vec![pass.clone(), hold.clone()], Verdict::Hold, "", true),
        (vec![pass.clone(), hold.clone(), scan.clone()], Verdict::Block, "scan: 1 critical", true),
        (vec![hold.clone(), images.clone(), scan.clone()], Verdict::Block, "images: web has none", false),
        (vec![scan.clone(), images], Verdict::Block, "scan: 1 critical", false),
    ] {
        let judgement = judged(&gates);
        let found = (judgement.verdict(), judgement.blocked_by(), judgement.can_be_skipped());
        assert_eq!(found, (verdict, told.to_owned(), skipped), "{gates:?}");
    }
    let verdicts = [Verdict::Pass, Verdict::Hold, Verdict::Block].map(|verdict| verdict.to_string());
    assert_eq!(verdicts, ["pass", "hold", "block"]);
    // The moment, the evidence and the parts are no news; a verdict and its reason are.
    let old = judged(std::slice::from_ref(&hold));
    let more = GateResult { evidence: vec!["amara".into()], ..hold.clone() };
    assert!(old.same_as(&Judgement { at: Timestamp(2), gates: vec![more] }));
    assert!(!old.same_as(&judged(&[GateResult { why: "1 of 2".into(), ..hold.clone() }])));
    assert!(!old.same_as(&judged(&[GateResult { verdict: Verdict::Block, ..hold }])));
}
