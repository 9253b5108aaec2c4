//! The same thing must have been verified live in another environment first.

use std::collections::BTreeMap;

use portcullis_domain::facts::{Promoted, Verified};
use portcullis_domain::names::{CommitSha, EnvName, ReleaseId};
use portcullis_domain::policy::{Promotion, Same};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::*;

const NAMES: [&str; 3] = ["web", "api", "jobs"];

fn staging() -> EnvName {
    EnvName::new("staging").unwrap()
}

fn world(same: Same, within: Option<Millis>) -> World {
    let mut policy = policy();
    policy.gates.promoted_from = Some(Promotion { environment: staging(), same, within });
    let mut world = World::new(policy);
    world.build(2, "amara");
    world
}

/// What staging verified: images of commit `n`, of a commit with this number, so long ago.
fn verified(world: &World, images: u8, n: u8, ago: Millis) -> Verified {
    Verified {
        release: ReleaseId(70),
        commit: commit(n),
        tree: None,
        at: world.now - ago,
        digests: NAMES.iter().map(|name| (service(name), image(images, name))).collect(),
    }
}

fn tell(world: &mut World, verified: Vec<Verified>) {
    world.promoted = Some(Promoted { environment: staging(), verified });
}

#[test]
fn the_same_digests_verified_live_elsewhere_let_a_release_begin() {
    let mut world = world(Same::Digests, None);
    let found = verified(&world, 2, 2, Millis::hours(2));
    tell(&mut world, vec![found]);
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.gate(id, "promotion"), "pass: the same digests as staging release 70");
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), Some(Phase::Live));
}

#[test]
fn without_it_a_release_holds_and_says_what_would_clear_it() {
    let mut world = world(Same::Digests, None);
    tell(&mut world, vec![]);
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert_eq!(world.gate(id, "promotion"), "hold: these digests were never verified live in staging");
    let found = verified(&world, 2, 2, Millis(0));
    tell(&mut world, vec![found]);
    world.pass(Millis::minutes(7));
    assert_eq!(world.phase(id), Some(Phase::Live));
}

#[test]
fn images_built_again_of_the_same_commit_are_not_the_same_digests_but_the_same_source() {
    let mut strict = world(Same::Digests, None);
    let rebuilt = verified(&strict, 3, 2, Millis::hours(1));
    tell(&mut strict, vec![rebuilt.clone()]);
    let id = strict.push(2);
    assert_eq!(strict.gate(id, "promotion"), "hold: these digests were never verified live in staging");
    let judgement = strict.release(id).judgement.clone().unwrap();
    let gate = judgement.gates.iter().find(|gate| gate.gate == "promotion").unwrap();
    assert!(gate.evidence[0].contains("built again"), "{:?}", gate.evidence);

    let mut weak = world(Same::SourceTree, None);
    tell(&mut weak, vec![rebuilt]);
    let id = weak.push(2);
    let said = "pass: the same source tree as staging release 70 (not the same digests)";
    assert_eq!(weak.gate(id, "promotion"), said);
}

#[test]
fn equal_trees_of_different_commits_are_the_same_source_and_unknown_ones_are_not() {
    let tree = CommitSha::new(&"ab".repeat(20)).unwrap();
    for (ours, theirs, holds) in [
        (Some(tree.clone()), Some(tree.clone()), false),
        (Some(tree.clone()), Some(commit(9)), true),
        (None, None, true),
    ] {
        let mut world = world(Same::SourceTree, None);
        world.commits.get_mut(&commit(2)).unwrap().tree = ours;
        let found = Verified { tree: theirs, ..verified(&world, 5, 5, Millis::hours(1)) };
        tell(&mut world, vec![found]);
        let id = world.push(2);
        let says = world.gate(id, "promotion");
        assert_eq!(says.starts_with("hold: this source tree was never"), holds, "{says}");
    }
}

#[test]
fn what_was_verified_too_long_ago_does_not_count() {
    let mut world = world(Same::Digests, Some(Millis::days(7)));
    let found = verified(&world, 2, 2, Millis::days(8));
    tell(&mut world, vec![found]);
    let id = world.push(2);
    assert_eq!(world.gate(id, "promotion"), "hold: staging release 70 was verified more than 7d ago");
}

#[test]
fn an_environment_that_can_not_be_asked_or_another_one_is_no_pass() {
    let mut world = world(Same::Digests, None);
    let id = world.push(2);
    assert_eq!(world.gate(id, "promotion"), "hold: what staging verified is not known");
    let found = verified(&world, 2, 2, Millis(0));
    world.promoted = Some(Promoted { environment: EnvName::new("dev").unwrap(), verified: vec![found] });
    world.pass(Millis::minutes(2));
    assert_eq!(world.gate(id, "promotion"), "hold: what staging verified is not known");
}

#[test]
fn a_promotion_that_was_undone_meanwhile_holds_again_before_new_code_serves() {
    let mut policy = policy();
    policy.gates.promoted_from = Some(Promotion { environment: staging(), same: Same::Digests, within: None });
    policy.verify[0].within = Millis::minutes(10);
    let mut world = World::new(policy);
    world.build(2, "amara");
    let found = verified(&world, 2, 2, Millis(0));
    tell(&mut world, vec![found]);
    let id = world.push(2);
    world.parked = |action| matches!(action, portcullis_domain::action::Action::RunTest { .. });
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Verifying));
    tell(&mut world, vec![]);
    world.pass(Millis::minutes(2));
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(id), Some(Phase::Verifying));
    assert!(world.gate(id, "promotion").starts_with("hold"), "{}", world.gate(id, "promotion"));
    assert_eq!(world.serves("web"), Some(image(1, "web")));
}

#[test]
fn what_a_release_keeps_need_not_have_been_verified_elsewhere_but_all_it_brings_must() {
    let mut world = world(Same::Digests, None);
    world.commits.get_mut(&commit(2)).unwrap().changed.insert(service("jobs"), false);
    let mut found = verified(&world, 2, 2, Millis(0));
    found.digests.insert(service("jobs"), image(7, "jobs"));
    tell(&mut world, vec![found.clone()]);
    world.push_one(2, "web");
    world.push_one(2, "api");
    world.settle();
    let id = *world.target.releases.keys().next().unwrap();
    assert!(world.release(id).artifacts[&service("jobs")].kept);
    assert!(world.gate(id, "promotion").starts_with("pass"), "{}", world.gate(id, "promotion"));
    found.digests = BTreeMap::from([(service("web"), image(2, "web"))]);
    tell(&mut world, vec![found]);
    world.pass(Millis::minutes(2));
    assert!(world.gate(id, "promotion").starts_with("hold"), "{}", world.gate(id, "promotion"));
}

#[test]
fn a_release_that_went_live_is_what_another_environment_can_be_shown() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    let ended = world.target.ended.iter().find(|ended| ended.release == id).unwrap();
    assert!(ended.verified);
    assert_eq!(ended.digests[&service("web")], image(2, "web"));
    assert_eq!(ended.at, world.release(id).live_at.unwrap());
    world.roll_back("kofi");
    let ended: Vec<bool> = world.target.ended.iter().filter(|e| e.release == id).map(|e| e.verified).collect();
    assert_eq!(ended, [false], "rolled back is no longer verified");
}
