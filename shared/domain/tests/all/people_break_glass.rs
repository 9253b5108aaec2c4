//! Two people skip named gates together, for one plan, with a reason that stays visible.

use std::collections::BTreeSet;

use portcullis_domain::event::{End, What};
use portcullis_domain::names::{GroupName, ReleaseId};
use portcullis_domain::policy::{Policy, Quorum, Severity};
use portcullis_domain::signal::Command;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::*;

fn world() -> World {
    let mut policy = policy();
    let oncall = GroupName::new("oncall").unwrap();
    policy.groups.insert(oncall.clone(), BTreeSet::from([who("kofi"), who("lena"), who("amara")]));
    policy.gates.break_glass = Some(Quorum { count: 2, group: oncall });
    let mut world = World::new(policy);
    world.build(2, "amara");
    world
}

fn skip(world: &mut World, name: &str, id: ReleaseId, gates: &[&str]) {
    let plan = world.release(id).plan.as_ref().unwrap().id;
    let gates = gates.iter().map(|gate| (*gate).to_owned()).collect();
    world.command(name, Command::BreakGlass { release: id, plan, gates, reason: format!("{name} says so") });
}

#[test]
fn two_people_of_the_group_skip_a_gate_and_the_verdict_says_so() {
    let mut world = world();
    let id = world.push(2);
    skip(&mut world, "kofi", id, &["approval"]);
    assert_eq!(world.phase(id), Some(Phase::Gated), "one is not enough");
    skip(&mut world, "kofi", id, &["approval"]);
    assert_eq!(world.happened(|what| matches!(what, What::GlassBroken { .. })), 1, "saying it again is not two people");
    skip(&mut world, "lena", id, &["approval"]);
    assert_eq!(world.gate(id, "approval"), "pass: skipped by kofi and lena");
    let judgement = world.release(id).judgement.clone().unwrap();
    let gate = judgement.gates.iter().find(|gate| gate.gate == "approval").unwrap();
    assert!(gate.evidence.contains(&"kofi: kofi says so".to_owned()), "{:?}", gate.evidence);
    assert!(gate.evidence.iter().any(|line| line.starts_with("it said hold: 0 of 1")), "{:?}", gate.evidence);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), Some(Phase::Live));
}

#[test]
fn only_the_gates_that_both_named_are_skipped() {
    let mut world = world();
    let id = world.push(2);
    skip(&mut world, "kofi", id, &["approval", "scan"]);
    skip(&mut world, "lena", id, &["freeze"]);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert!(world.gate(id, "approval").starts_with("hold"));
}

#[test]
fn a_blocking_scan_waits_for_people_who_may_skip_it_instead_of_ending_the_release() {
    let mut world = world();
    world.scan(image(2, "web"), &[(Severity::Critical, 1)]);
    let id = world.push(2);
    assert_eq!(world.gate(id, "scan"), "block: web has 1 critical");
    assert_eq!(world.phase(id), Some(Phase::Gated));
    world.approve("kofi", id);
    skip(&mut world, "kofi", id, &["scan"]);
    skip(&mut world, "lena", id, &["scan"]);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}

#[test]
fn worse_evidence_makes_a_new_plan_that_nobody_agreed_to_skip_gates_of() {
    let mut world = world();
    world.scan(image(2, "web"), &[(Severity::Critical, 1)]);
    let id = world.push(2);
    skip(&mut world, "kofi", id, &["scan"]);
    world.scan(image(2, "api"), &[(Severity::Critical, 3)]);
    world.pass(Millis::minutes(2));
    skip(&mut world, "lena", id, &["scan"]);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert!(world.gate(id, "scan").starts_with("block"), "{}", world.gate(id, "scan"));
}

#[test]
fn gates_without_which_a_release_can_not_be_carried_out_are_never_skipped() {
    let mut world = world();
    let id = world.push(2);
    for gate in ["images", "cluster", "turn", "no such gate"] {
        skip(&mut world, "kofi", id, &[gate]);
        assert!(world.refusals().last().unwrap().starts_with(&format!("gate {gate} can not be skipped")), "{gate}");
    }
}

#[test]
fn strangers_empty_words_and_old_plans_are_refused() {
    let mut world = world();
    let id = world.push(2);
    let plan = world.release(id).plan.as_ref().unwrap().id;
    let gates = || BTreeSet::from(["approval".to_owned()]);
    let ask = |world: &mut World, name: &str, plan, gates, reason: &str| {
        world.command(name, Command::BreakGlass { release: id, plan, gates, reason: reason.into() });
        world.refusals().last().cloned().unwrap()
    };
    assert!(ask(&mut world, "kofi", plan, BTreeSet::new(), "x").starts_with("name the gates"));
    assert!(ask(&mut world, "kofi", plan, gates(), "  ").starts_with("name the gates"));
    assert!(ask(&mut world, "kofi", "0000-0000".parse().unwrap(), gates(), "x").contains("is not the plan"));
    assert!(ask(&mut world, "mallory", plan, gates(), "x").contains("is not in the policy"));
    assert_eq!(world.happened(|what| matches!(what, What::GlassBroken { .. })), 0);
}

#[test]
fn where_the_policy_names_nobody_glass_can_not_be_broken_and_a_block_ends_the_release() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    skip(&mut world, "kofi", id, &["approval"]);
    assert!(world.refusals()[0].contains("names nobody who may break glass"));
    world.scan(image(2, "web"), &[(Severity::Critical, 1)]);
    world.pass(Millis::minutes(2));
    assert_eq!(world.end_of(id), Some(End::Rejected));
}

#[test]
fn a_member_who_left_the_group_no_longer_counts() {
    let mut world = world();
    let id = world.push(2);
    skip(&mut world, "kofi", id, &["approval"]);
    let mut other = Policy::clone(&world.policy);
    other.groups.get_mut("oncall").unwrap().remove("kofi");
    world.policy = portcullis_domain::policy::SealedPolicy::new(other);
    world.pass(Millis::minutes(1));
    skip(&mut world, "lena", id, &["approval"]);
    assert_eq!(world.phase(id), Some(Phase::Gated));
}
