//! What scans say, table by table.

use crate::world::*;
use portcullis_domain::event::End;
use portcullis_domain::facts::Finding;
use portcullis_domain::policy::{ScanAction, Severity, Waiver};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

/// The scan gate of a release whose api image has these counts, under this rule.
fn gate(rule: &[(Severity, ScanAction)], counts: &[(Severity, u32)]) -> String {
    let mut policy = policy();
    policy.gates.scan.as_mut().unwrap().severities = rule.iter().cloned().collect();
    let mut world = World::new(policy);
    world.build(2, "amara");
    world.scan(image(2, "api"), counts);
    let id = world.push(2);
    match world.end_of(id) {
        Some(End::Rejected) => "block".to_owned(),
        Some(other) => format!("{other:?}"),
        None => world.gate(id, "scan"),
    }
}

#[test]
fn severities_block_review_or_allow_with_counts() {
    let block = |above| ScanAction::Block { above };
    let review = |above| ScanAction::Review { above, by: "release-managers".parse().unwrap() };
    let (critical, high, medium) = (Severity::Critical, Severity::High, Severity::Medium);
    for (rule, counts, expected) in [
        (vec![(critical, block(0))], vec![], "pass: 0 critical, 0 high, 0 medium"),
        (vec![(critical, block(0))], vec![(critical, 1)], "block"),
        (vec![(critical, block(0))], vec![(high, 9)], "pass: 0 critical, 9 high, 0 medium"),
        (vec![(critical, block(2))], vec![(critical, 2)], "pass: 2 critical, 0 high, 0 medium"),
        (vec![(critical, block(2))], vec![(critical, 3)], "block"),
        (vec![(high, review(5))], vec![(high, 6)], "pass: 0 critical, 6 high, 0 medium"),
        (vec![(high, block(0)), (medium, review(0))], vec![(high, 1), (medium, 1)], "block"),
        (vec![], vec![(critical, 100)], "pass: 100 critical, 0 high, 0 medium"),
    ] {
        assert_eq!(gate(&rule, &counts), expected, "{rule:?} on {counts:?}");
    }
}

#[test]
fn a_review_needs_one_more_person_beside_the_approval() {
    let mut policy = policy();
    policy.groups.insert("security".parse().unwrap(), [who("lena")].into());
    let review = ScanAction::Review { above: 0, by: "security".parse().unwrap() };
    policy.gates.scan.as_mut().unwrap().severities.insert(Severity::High, review);
    let mut world = World::new(policy);
    world.build(2, "amara");
    world.scan(image(2, "api"), &[(Severity::High, 2)]);
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert_eq!(world.gate(id, "approval"), "hold: 0 of 1 from security (api has 2 high)");
    world.approve("lena", id);
    assert_eq!(world.phase(id), Some(Phase::Watching));
}

#[test]
fn a_waiver_covers_its_finding_until_it_expires_and_nothing_else() {
    let run = |id: &str, until: Millis, after: Millis| {
        let mut policy = policy();
        let base = World::new(policy.clone()).now;
        policy.gates.scan.as_mut().unwrap().waivers =
            vec![Waiver { id: "CVE-2026-1".into(), reason: "not reachable".into(), until: base + until }];
        let mut world = World::new(policy);
        world.now = world.now + after;
        world.build(2, "amara");
        world.scan(image(2, "api"), &[(Severity::Critical, 1)]);
        let finding = Finding { severity: Severity::Critical, id: id.into(), package: "openssl".into() };
        world.scans.get_mut(&image(2, "api")).unwrap().findings = vec![finding];
        let release = world.push(2);
        world.end_of(release)
    };
    assert_eq!(run("CVE-2026-1", Millis::days(1), Millis(0)), None, "waived");
    assert_eq!(run("CVE-2026-1", Millis::days(1), Millis::days(2)), Some(End::Rejected), "the waiver is over");
    assert_eq!(run("CVE-2026-2", Millis::days(1), Millis(0)), Some(End::Rejected), "another finding");
}

#[test]
fn an_old_scan_does_not_count() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.now = world.now + Millis::hours(25);
    let id = world.push(2);
    assert!(world.gate(id, "scan").ends_with("is older than 1d"), "{}", world.gate(id, "scan"));
}

#[test]
fn a_scan_that_ages_while_the_release_waits_holds_it_at_the_commit_point() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.pass(Millis::hours(23));
    assert!(world.gate(id, "scan").starts_with("pass"));
    world.now = world.now + Millis::hours(1);
    for digest in ["web", "api", "jobs"].map(|name| image(2, name)) {
        world.scans.get_mut(&digest).unwrap().completed_at = Some(world.now - Millis::hours(25));
    }
    world.approve("kofi", id);
    assert_ne!(world.phase(id), Some(Phase::Watching));
}

#[test]
fn many_findings_are_bounded_in_the_state_and_counted_in_full() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    for name in ["web", "api", "jobs"] {
        world.scan(image(2, name), &[(Severity::Low, 500)]);
        world.scans.get_mut(&image(2, name)).unwrap().findings = (0..50)
            .map(|n| Finding { severity: Severity::Low, id: format!("CVE-2026-{n}"), package: "zlib".into() })
            .collect();
    }
    let id = world.push(2);
    let facts = world.release(id).facts.clone().unwrap();
    assert_eq!(facts.scans.values().map(|scan| scan.findings.len()).sum::<usize>(), 60);
    assert!(facts.scans.values().all(|scan| scan.counts[&Severity::Low] == 500));
}
