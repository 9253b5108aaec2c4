//! What the gates of images say: which are kept, what was verified elsewhere, and what scans found.

use std::collections::BTreeMap;

use portcullis_domain::facts::{Finding, Promoted, ScanStatus, Verified};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::*;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::{GateResult, Verdict};

use crate::world::waits::{NAMES, Waits, group, says, waits};
use crate::world::*;

#[test]
fn images_say_how_many_are_kept_and_which_tags_moved() {
    let mut waits = waits();
    let gate = waits.gate("images");
    assert_eq!((says(&gate).as_str(), gate.evidence.len()), ("pass: 3 of 3 by digest", 0));
    waits.release.moved_tags.insert(service("web"), image(9, "web"));
    let gate = waits.gate("images");
    assert_eq!(gate.evidence, ["1 tag moved since; not followed"]);
    assert_eq!(
        gate.parts[0].evidence,
        [format!("its tag now points at {}, which is not released", image(9, "web").short())]
    );
    waits.release.moved_tags.insert(service("api"), image(9, "api"));
    assert_eq!(waits.gate("images").evidence, ["2 tags moved since; not followed"]);
    waits.release.artifacts.get_mut("jobs").unwrap().kept = true;
    waits.facts.commit.as_mut().unwrap().changed.insert(service("jobs"), false);
    assert_eq!(waits.says("images"), "pass: 3 of 3 by digest (1 kept)");
    assert_eq!(waits.part("images", "jobs").unwrap().why, "kept: nothing changed under services/jobs");
    waits.facts.images.remove(&image(2, "api"));
    let gone = format!("hold: {} is not in registry.test/shop/api", image(2, "api").short());
    assert_eq!(waits.says("images"), gone);
    waits.release.artifacts.remove("web");
    assert_eq!(waits.says("images"), "hold: no image of 0202020 yet");
}

#[test]
fn what_is_kept_without_proof_that_nothing_changed_holds() {
    let mut waits = waits();
    waits.release.artifacts.get_mut("jobs").unwrap().kept = true;
    waits.facts.commit.as_mut().unwrap().changed.insert(service("jobs"), true);
    assert_eq!(waits.says("images"), "hold: services/jobs changed, but there is no image of 0202020");
    waits.facts.commit.as_mut().unwrap().changed.clear();
    assert_eq!(waits.says("images"), "hold: no proof that nothing under services/jobs changed");
}

#[test]
fn what_was_verified_elsewhere_counts_up_to_its_age_and_says_how_long_ago_it_was() {
    let staging = portcullis_domain::names::EnvName::new("staging").unwrap();
    let gate = |age: Millis, kept: bool| {
        let mut waits = waits();
        let within = Some(Millis::days(7));
        waits.policy.gates.promoted_from =
            Some(Promotion { environment: staging.clone(), same: Same::Digests, within });
        let verified = Verified {
            release: ReleaseId(70),
            commit: commit(2),
            tree: None,
            at: waits.world.now - age,
            digests: NAMES.iter().map(|name| (service(name), image(2, name))).collect(),
        };
        waits.facts.promoted = Some(Promoted { environment: staging.clone(), verified: vec![verified] });
        for artifact in waits.release.artifacts.values_mut() {
            artifact.kept = kept;
        }
        waits.gate("promotion")
    };
    let exact = gate(Millis::days(7), false);
    assert_eq!((exact.verdict, exact.evidence), (Verdict::Pass, vec!["verified live 10080 min ago".to_owned()]));
    let late = gate(Millis(Millis::days(7).0 + 1), false);
    assert_eq!(says(&late), "hold: staging release 70 was verified more than 7d ago");
    assert_eq!(gate(Millis::seconds(119), false).evidence, ["verified live 1 min ago"]);
    let nothing_new = gate(Millis(0), true);
    assert_eq!(says(&nothing_new), "hold: these digests were never verified live in staging");
}

#[test]
fn a_release_that_keeps_all_its_images_brings_nothing_that_could_have_been_verified() {
    let mut waits = waits();
    let environment = portcullis_domain::names::EnvName::new("staging").unwrap();
    waits.policy.gates.promoted_from =
        Some(Promotion { environment: environment.clone(), same: Same::Digests, within: None });
    let other = Verified {
        release: ReleaseId(70),
        commit: commit(9),
        tree: None,
        at: waits.world.now,
        digests: BTreeMap::new(),
    };
    waits.facts.promoted = Some(Promoted { environment, verified: vec![other] });
    let hold = waits.gate("promotion");
    assert_eq!(says(&hold), "hold: these digests were never verified live in staging");
    assert_eq!(hold.evidence, Vec::<String>::new(), "what was verified there is of another commit");
    assert_eq!(hold.clears_when.as_deref(), Some("a release of 0202020 is live in staging"));
}

/// What the scan gate says of a release whose scans were all made so long ago.
fn scanned(ago: Millis, settle: Millis) -> GateResult {
    let mut waits = waits();
    waits.policy.gates.scan.as_mut().unwrap().settle = settle;
    let at = waits.world.now - ago;
    for scan in waits.facts.scans.values_mut() {
        scan.completed_at = Some(at);
    }
    waits.gate("scan")
}

#[test]
fn a_scan_counts_from_when_it_has_settled_until_it_is_as_old_as_allowed() {
    let (day, settle) = (Millis::days(1), Millis::minutes(5));
    let just = |ago: Millis| scanned(ago, settle);
    assert_eq!(just(day).verdict, Verdict::Pass);
    assert_eq!(says(&just(Millis(day.0 + 1))), "hold: the scan of api is older than 1d");
    assert_eq!(just(settle).verdict, Verdict::Pass);
    let early = just(Millis(settle.0 - 1));
    assert_eq!(says(&early), "hold: the scan of api is complete for less than 5m: findings may follow");
    assert_eq!(early.until, Some(waits().world.now + Millis(1)), "it says when");
    assert_eq!(scanned(Millis(0), Millis(0)).verdict, Verdict::Pass);
}

#[test]
fn a_pass_says_how_old_the_oldest_scan_is_and_a_hold_does_not() {
    let mut waits = waits();
    let now = waits.world.now;
    waits.facts.scans.get_mut(&image(2, "api")).unwrap().completed_at = Some(now - Millis::minutes(7));
    waits.facts.scans.get_mut(&image(2, "jobs")).unwrap().completed_at = Some(now - Millis::seconds(3_719));
    assert_eq!(waits.gate("scan").evidence, ["complete, 61 min old"]);
    waits.facts.scans.get_mut(&image(2, "web")).unwrap().status = ScanStatus::Failed;
    let gate = waits.gate("scan");
    assert_eq!((says(&gate).as_str(), gate.evidence.len()), ("hold: the scan of web failed", 0));
}

#[test]
fn a_scan_that_says_nothing_is_told_apart_by_its_reason() {
    for (status, why) in [
        (ScanStatus::InProgress, "the scan of web is running"),
        (ScanStatus::Failed, "the scan of web failed"),
        (ScanStatus::Unsupported, "the scanner cannot read web"),
        (ScanStatus::Missing, "web has no scan"),
    ] {
        let mut waits = waits();
        waits.facts.scans.get_mut(&image(2, "web")).unwrap().status = status;
        assert_eq!(waits.says("scan"), format!("hold: {why}"));
    }
    let mut waits = waits();
    waits.facts.scans.get_mut(&image(2, "web")).unwrap().completed_at = None;
    assert_eq!(waits.says("scan"), "hold: nobody says when the scan of web was made");
    waits.facts.scans.remove(&image(2, "web"));
    assert_eq!(waits.says("scan"), "hold: web has no scan");
}

#[test]
fn counts_of_all_images_are_summed_and_the_limit_itself_is_allowed() {
    let mut waits = waits();
    let rules = [
        (Severity::Critical, ScanAction::Block { above: 2 }),
        (Severity::High, ScanAction::Review { above: 3, by: group("release-managers") }),
    ];
    waits.policy.gates.scan.as_mut().unwrap().severities = rules.into();
    waits.facts.scans.get_mut(&image(2, "web")).unwrap().counts =
        [(Severity::Critical, 2), (Severity::High, 3), (Severity::Low, 0)].into();
    waits.facts.scans.get_mut(&image(2, "api")).unwrap().counts = [(Severity::Critical, 1)].into();
    assert_eq!(waits.says("scan"), "pass: 3 critical, 3 high, 0 medium");
    assert_eq!(
        waits.parts("scan"),
        ["api: pass: 1 critical", "jobs: pass: no findings", "web: pass: 2 critical, 3 high"]
    );
    let web = |waits: &mut Waits, severity, count| {
        waits.facts.scans.get_mut(&image(2, "web")).unwrap().counts.insert(severity, count);
    };
    web(&mut waits, Severity::High, 4);
    assert_eq!(waits.part("scan", "web").unwrap().evidence, ["web has 4 high: reviewed by 1 of release-managers"]);
    web(&mut waits, Severity::Critical, 3);
    assert_eq!(waits.says("scan"), "block: web has 3 critical, 2 allowed");
}

#[test]
fn a_waiver_takes_out_its_own_finding_until_the_moment_it_ends() {
    let mut waits = waits();
    let until = waits.world.now + Millis::hours(1);
    let waiver = Waiver { id: "CVE-1".into(), reason: "not reachable".into(), until };
    waits.policy.gates.scan.as_mut().unwrap().waivers = vec![waiver];
    let finding = |id: &str| Finding { severity: Severity::Critical, id: id.into(), package: "zlib".into() };
    let scan = waits.facts.scans.get_mut(&image(2, "web")).unwrap();
    (scan.counts, scan.findings) = ([(Severity::Critical, 1)].into(), vec![finding("CVE-1")]);
    assert_eq!(waits.says("scan"), "pass: 0 critical, 0 high, 0 medium");
    assert_eq!(waits.part("scan", "web").unwrap().evidence, ["CVE-1 waived: not reachable"]);
    // A scanner that lists more than it counts, or a finding twice, makes nothing less than none.
    let scan = waits.facts.scans.get_mut(&image(2, "web")).unwrap();
    scan.findings = vec![finding("CVE-1"), finding("CVE-1")];
    assert_eq!(waits.part("scan", "web").unwrap().evidence, ["CVE-1 waived: not reachable"]);
    scan_of(&mut waits, "web").counts = [(Severity::Critical, 3)].into();
    scan_of(&mut waits, "web").findings = vec![finding("CVE-1"), finding("CVE-2")];
    assert_eq!(waits.says("scan"), "block: web has 2 critical");
    waits.world.now = Timestamp(until.0 - 1);
    assert_eq!(waits.says("scan"), "block: web has 2 critical");
    waits.world.now = until;
    assert_eq!(waits.says("scan"), "block: web has 3 critical", "its time is over");
}

fn scan_of<'a>(waits: &'a mut Waits, name: &str) -> &'a mut portcullis_domain::facts::ScanFact {
    waits.facts.scans.get_mut(&image(2, name)).unwrap()
}

#[test]
fn a_quarantined_digest_holds_the_release_that_brings_it_and_not_one_that_keeps_it() {
    let mut waits = waits();
    assert_eq!(waits.find("quarantine"), None);
    waits.world.target.quarantine.insert(image(7, "web"), ReleaseId(5));
    assert_eq!(waits.says("quarantine"), "pass: none of these digests was rolled back");
    waits.world.target.quarantine.insert(image(2, "web"), ReleaseId(5));
    let hold = waits.gate("quarantine");
    assert_eq!(says(&hold), format!("hold: web {} was rolled back with release 5", image(2, "web").short()));
    assert_eq!(hold.clears_when, Some(format!("a person lifts the quarantine of {}", image(2, "web"))));
    waits.release.artifacts.get_mut("web").unwrap().kept = true;
    assert_eq!(waits.says("quarantine"), "pass: none of these digests was rolled back");
}
