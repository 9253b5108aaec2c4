//! What newer scans say of images that are known, of what serves and of what served before.

use std::collections::BTreeSet;

use portcullis_domain::action::{Action, Outcome};
use portcullis_domain::event::What;
use portcullis_domain::facts::{Finding, ScanStatus};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::*;
use portcullis_domain::signal::Signal;
use portcullis_domain::target::Phase;
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::stages::{FIRST, gated, intention, live, look, names, outcome, rolling_back, undone, verifying, why};
use crate::world::*;

#[test]
fn a_hint_of_a_scan_raises_doubt_only_where_it_is_worse_than_what_is_known() {
    let hint = |world: &mut World, n: u8, status, counts: &[(Severity, u32)]| {
        let counts = counts.iter().copied().collect();
        names(&world.signal(&Signal::ScanReported { digest: image(n, "web"), status, counts }))
    };
    let known = |phase: fn() -> World| {
        let mut world = phase();
        world.parked = |_| true;
        world
    };
    let (complete, failed) = (ScanStatus::Complete, ScanStatus::Failed);
    for (n, status, counts, expected) in [
        (2, complete, [].as_slice(), false),
        (2, ScanStatus::InProgress, &[], false),
        (2, complete, &[(Severity::Low, 1)], true),
        (2, failed, &[], true),
        (9, failed, &[(Severity::Low, 1)], false),
    ] {
        let mut world = known(|| gated(policy()));
        let doubted = hint(&mut world, n, status, counts);
        assert_eq!(doubted.first().is_some_and(|name| name == "doubted"), expected, "{n} {status:?} {counts:?}");
        if expected {
            assert_eq!(hint(&mut world, n, status, counts), Vec::<String>::new(), "doubted once");
            let said = format!("a newer scan of {} is said to be worse", image(2, "web").short());
            assert_eq!(world.release(FIRST).doubt, Some(said));
        }
    }
    let mut world = gated(policy());
    world.parked = |_| true;
    world.scans.get_mut(&image(2, "web")).unwrap().status = failed;
    world.parked = |_| false;
    world.pass(Millis::minutes(1));
    assert_eq!(hint(&mut world, 2, failed, &[]), Vec::<String>::new(), "that it failed is known");
    assert_eq!(hint(&mut known(rolling_back), 2, failed, &[]), Vec::<String>::new(), "on its way back");
    assert_eq!(hint(&mut known(live), 2, failed, &[]), Vec::<String>::new(), "live");
    assert_eq!(hint(&mut known(verifying), 2, failed, &[])[0], "doubted");
}

/// Release 1 is live, and undone for a critical finding that what served before has not.
fn scanned_live(waivers: Vec<Waiver>) -> World {
    let mut policy = policy();
    policy.roll_back.vulnerability = Some(Severity::Critical);
    policy.gates.scan.as_mut().unwrap().waivers = waivers;
    let mut world = World::new(policy);
    for name in ["web", "api", "jobs"] {
        world.scan(image(1, name), &[]);
    }
    world.go_live(2);
    world
}

fn waiver(id: &str, until: Timestamp) -> Waiver {
    Waiver { id: id.into(), reason: why("not reachable"), until }
}

fn find(world: &mut World, n: u8, severity: Severity, ids: &[&str]) {
    let digest = image(n, "web");
    world.scan(digest, &[(severity, u32::try_from(ids.len()).unwrap())]);
    let finding = |id: &&str| Finding { severity, id: (*id).into(), package: why("zlib") };
    world.scans.get_mut(&digest).unwrap().findings = ids.iter().map(finding).collect();
}

#[test]
fn the_scans_of_what_serves_and_of_what_served_before_are_looked_at() {
    let world = scanned_live(vec![]);
    let seq = intention(&world, |action| matches!(action, Action::Look(_)));
    let Action::Look(look) = &world.target.outstanding[&seq].intention.action else { unreachable!() };
    let images: BTreeSet<_> = look.images.keys().copied().collect();
    let wanted = ["web", "api", "jobs"].into_iter().flat_map(|name| [image(1, name), image(2, name)]);
    assert_eq!((look.scans, images), (true, wanted.collect()));
}

#[test]
fn it_is_undone_only_where_what_served_before_has_nothing_as_bad() {
    let far = Timestamp(u64::MAX);
    for (before, severity, waivers, undoes) in [
        ([].as_slice(), Severity::Critical, vec![], true),
        (&["CVE-1"], Severity::Critical, vec![], false),
        (&["CVE-9"], Severity::Critical, vec![], false),
        (&["CVE-9"], Severity::High, vec![], true),
        (&["CVE-9"], Severity::Critical, vec![waiver("CVE-9", far)], true),
        (&["CVE-9", "CVE-8"], Severity::Critical, vec![waiver("CVE-9", far)], false),
    ] {
        let mut world = scanned_live(waivers.clone());
        find(&mut world, 1, severity, before);
        find(&mut world, 2, Severity::Critical, &["CVE-1"]);
        world.pass(Millis::minutes(61));
        assert_eq!(world.rolled_back(FIRST), undoes, "{severity} {before:?} before, {} waived", waivers.len());
        if !undoes {
            let asked = world.release(FIRST).asking.clone().unwrap().why;
            assert!(asked.contains("what served before has it too"), "{asked}");
        }
    }
}

#[test]
fn a_finding_is_news_from_the_moment_its_waiver_ends() {
    let until = World::new(policy()).now + Millis::hours(2);
    let mut world = scanned_live(vec![waiver("CVE-1", until)]);
    world.parked = |_| true;
    find(&mut world, 2, Severity::Critical, &["CVE-1"]);
    for (moment, news) in [(until - Millis(1), 0), (until, 1)] {
        world.now = moment;
        let (seq, facts) = look(&mut world);
        outcome(&mut world, seq, Outcome::Facts(facts));
        assert_eq!(world.happened(|what| matches!(what, What::VulnerabilityFound { .. })), news);
    }
}

#[test]
fn as_many_findings_without_a_name_as_its_plan_was_made_on_are_no_news() {
    let mut allows = policy();
    allows.roll_back.vulnerability = Some(Severity::Critical);
    allows.gates.scan.as_mut().unwrap().severities.clear();
    let mut world = World::new(allows);
    world.build(2, "amara");
    for name in ["web", "api", "jobs"] {
        world.scan(image(1, name), &[]);
    }
    world.scan(image(2, "web"), &[(Severity::Critical, 2)]);
    world.push(2);
    world.approve("kofi", FIRST);
    world.pass(Millis::hours(3));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
    assert_eq!(world.happened(|what| matches!(what, What::VulnerabilityFound { .. })), 0);
    world.scan(image(2, "web"), &[(Severity::Critical, 3)]);
    world.pass(Millis::minutes(61));
    assert_eq!(undone(&world).as_deref(), Some("critical vulnerability in web: 3 critical"));
}

fn told_vulnerable(world: &mut World, n: u8, name: &str, counts: &[(Severity, u32)]) -> bool {
    let counts = counts.iter().copied().collect();
    let signal = Signal::ScanReported { digest: image(n, name), status: ScanStatus::Complete, counts };
    names(&world.signal(&signal)).contains(&why("live_vulnerable"))
}

#[test]
fn of_what_serves_alone_only_findings_as_bad_as_the_policy_says_are_told() {
    for (counts, told) in [
        ([(Severity::Critical, 1)].as_slice(), true),
        (&[(Severity::Critical, 0)], false),
        (&[(Severity::High, 3)], false),
        (&[(Severity::Critical, 0), (Severity::High, 3)], false),
    ] {
        let mut world = scanned_live(vec![]);
        assert!(!told_vulnerable(&mut world, 2, "web", counts), "in its window the release looks for itself");
        world.pass(Millis::hours(25));
        assert_eq!(told_vulnerable(&mut world, 2, "web", counts), told, "{counts:?}");
    }
}

#[test]
fn a_release_that_waits_or_that_brought_another_image_looks_after_nothing_that_serves() {
    let bad = [(Severity::Critical, 1)];
    let mut world = scanned_live(vec![]);
    world.pass(Millis::hours(25));
    world.build(3, "amara");
    world.commits.get_mut(&commit(3)).unwrap().changed.insert(service("jobs"), false);
    world.push_one(3, "web");
    world.push_one(3, "api");
    world.settle();
    let second = ReleaseId(2);
    assert!(world.release(second).artifacts[&service("jobs")].kept);
    assert_eq!(world.phase(second), Some(Phase::Gated));
    assert!(told_vulnerable(&mut world, 2, "jobs", &bad), "it waits, and keeps what serves");

    let mut world = scanned_live(vec![]);
    world.pass(Millis::hours(25));
    world.build(3, "amara");
    let second = world.push(3);
    world.approve("kofi", second);
    assert_eq!(world.phase(second), Some(Phase::Watching), "{:#?}", world.story(second));
    assert!(told_vulnerable(&mut world, 2, "web", &bad), "what it would return to");
    assert!(!told_vulnerable(&mut world, 3, "web", &bad), "its own image it looks at itself");
}
