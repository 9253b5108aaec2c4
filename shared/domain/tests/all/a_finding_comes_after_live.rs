//! A vulnerability is found in what serves already: undone only for something better, else a person is asked.

use portcullis_domain::digest::Digest;
use portcullis_domain::event::{Reason, What};
use portcullis_domain::facts::{Finding, ScanStatus};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::{Policy, Severity, Waiver};
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::*;

fn world() -> World {
    let mut policy = policy();
    policy.roll_back.vulnerability = Some(Severity::Critical);
    let mut world = World::new(policy);
    for name in ["web", "api", "jobs"] {
        world.scan(image(1, name), &[]);
    }
    world
}

fn find(world: &mut World, digest: Digest, ids: &[&str]) {
    world.scan(digest, &[(Severity::Critical, u32::try_from(ids.len()).unwrap())]);
    let finding = |id: &&str| Finding { severity: Severity::Critical, id: (*id).into(), package: "zlib".into() };
    world.scans.get_mut(&digest).unwrap().findings = ids.iter().map(finding).collect();
}

/// A message of a scan, and the look that it causes.
fn told(world: &mut World, digest: Digest, critical: u32) {
    let counts = [(Severity::Critical, critical)].into();
    world.signal(&Signal::ScanReported { digest, status: ScanStatus::Complete, counts });
    world.settle();
}

fn undone_for(world: &World, id: ReleaseId) -> Option<String> {
    world.events.iter().find_map(|event| match &event.what {
        What::RollbackBegan { release, why: why @ Reason::Vulnerability { .. }, .. } if *release == id => {
            Some(why.to_string())
        }
        _ => None,
    })
}

#[test]
fn a_live_release_is_undone_if_what_served_before_is_free_of_the_finding() {
    let mut world = world();
    let id = world.go_live(2);
    find(&mut world, image(2, "web"), &["CVE-2026-1"]);
    told(&mut world, image(2, "web"), 1);
    assert_eq!(undone_for(&world, id).as_deref(), Some("critical vulnerability in web: CVE-2026-1"));
    assert!(world.rolled_back(id));
    assert_eq!(world.serves("web"), Some(image(1, "web")));
}

#[test]
fn it_is_found_without_any_message() {
    let mut world = world();
    let id = world.go_live(2);
    find(&mut world, image(2, "api"), &["CVE-2026-2"]);
    world.pass(Millis::minutes(61));
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
}

#[test]
fn where_what_served_before_has_it_too_nothing_moves_and_a_person_is_asked_once() {
    let mut world = world();
    let id = world.go_live(2);
    find(&mut world, image(2, "web"), &["CVE-2026-1"]);
    find(&mut world, image(1, "web"), &["CVE-2026-1"]);
    world.pass(Millis::minutes(61));
    assert_eq!(world.phase(id), Some(Phase::Live));
    let why = world.release(id).asking.clone().unwrap().why;
    let said = "critical vulnerability in web: CVE-2026-1; what served before has it too. Roll it back or promote it";
    assert_eq!(why, said);
    world.command("kofi", Command::Promote { release: id });
    assert_eq!(world.release(id).asking, None);
    world.pass(Millis::hours(5));
    assert_eq!(world.release(id).asking, None, "what was answered is not asked again");
    assert_eq!(world.happened(|what| matches!(what, What::VulnerabilityFound { .. })), 1);
}

#[test]
fn where_nobody_can_say_what_served_before_has_a_person_is_asked() {
    let mut world = world();
    world.scans.remove(&image(1, "web"));
    let id = world.go_live(2);
    find(&mut world, image(2, "web"), &["CVE-2026-1"]);
    world.pass(Millis::minutes(61));
    assert_eq!(world.phase(id), Some(Phase::Live));
    assert!(world.release(id).asking.clone().unwrap().why.contains("nobody can say"));
}

#[test]
fn a_message_alone_undoes_nothing() {
    let mut world = world();
    let id = world.go_live(2);
    told(&mut world, image(2, "web"), 7);
    world.pass(Millis::hours(2));
    assert_eq!(world.phase(id), Some(Phase::Live), "the registry knows of no finding");
}

#[test]
fn findings_that_were_known_when_its_gates_held_are_no_news() {
    let mut world = world();
    let mut policy = Policy::clone(&world.policy);
    policy.gates.scan.as_mut().unwrap().severities.clear();
    world.policy = portcullis_domain::policy::SealedPolicy::new(policy);
    world.build(2, "amara");
    find(&mut world, image(2, "web"), &["CVE-2026-1"]);
    let id = world.push(2);
    world.approve("kofi", id);
    world.pass(Millis::hours(3));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
    find(&mut world, image(2, "web"), &["CVE-2026-9"]);
    world.pass(Millis::hours(2));
    assert!(world.rolled_back(id), "as many as before, but another one: {:#?}", world.story(id));
}

#[test]
fn a_waived_finding_is_no_news_and_a_lesser_one_neither() {
    let mut world = world();
    let mut policy = Policy::clone(&world.policy);
    let until = Timestamp(world.now.0 + 9_000_000_000);
    let waiver = Waiver { id: "CVE-2026-1".into(), reason: "not reachable".into(), until };
    policy.gates.scan.as_mut().unwrap().waivers.push(waiver);
    world.policy = portcullis_domain::policy::SealedPolicy::new(policy);
    let id = world.go_live(2);
    find(&mut world, image(2, "web"), &["CVE-2026-1"]);
    world.scan(image(2, "api"), &[(Severity::High, 4)]);
    world.pass(Millis::hours(3));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}

#[test]
fn a_scanner_that_names_no_findings_is_believed_by_its_counts() {
    let mut world = world();
    let id = world.go_live(2);
    world.scan(image(2, "web"), &[(Severity::Critical, 2)]);
    world.pass(Millis::hours(2));
    assert_eq!(undone_for(&world, id).as_deref(), Some("critical vulnerability in web: 2 critical"));
}

#[test]
fn while_it_is_watched_a_finding_undoes_it_too() {
    let mut world = world();
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Watching));
    find(&mut world, image(2, "web"), &["CVE-2026-1"]);
    told(&mut world, image(2, "web"), 1);
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
}

#[test]
fn after_its_window_people_are_told_once_and_nothing_is_undone() {
    let mut world = world();
    let id = world.go_live(2);
    world.pass(Millis::hours(25));
    assert_eq!(world.phase(id), None);
    told(&mut world, image(2, "web"), 1);
    told(&mut world, image(2, "web"), 1);
    told(&mut world, image(9, "web"), 1);
    let told: Vec<String> = world
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::LiveVulnerable { why, .. } => Some(why.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(told, [format!("a scan is said to have 1 critical in {}, which serves", image(2, "web").short())]);
    assert_eq!(world.serves("web"), Some(image(2, "web")));
}

#[test]
fn of_a_kept_image_nobody_looks_after_people_are_told_at_once() {
    let mut world = world();
    world.build(2, "amara");
    world.commits.get_mut(&commit(2)).unwrap().changed.insert(service("web"), false);
    world.images.remove(&image(2, "web"));
    let id = world.push_without(2, "web");
    world.approve("kofi", id);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
    assert!(world.release(id).artifacts[&service("web")].kept);
    told(&mut world, image(1, "web"), 1);
    assert_eq!(
        world.happened(|what| matches!(what, What::LiveVulnerable { digest, .. } if *digest == image(1, "web"))),
        1
    );
    assert_eq!(undone_for(&world, id), None, "to undo it would not take the finding away");
}
