//! Who may say what: approvals, typed texts and glass, and every refusal with what is in the way.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::Action;
use portcullis_domain::event::{Actor, End, What};
use portcullis_domain::names::{AlarmName, GroupName, ReleaseId};
use portcullis_domain::plan::PlanId;
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Timestamp;

use crate::world::stages::{FIRST, back_to, gated, live, refused, rolling_back, verifying, watching, why};
use crate::world::*;

/// A world, what is said there, and the refusal.
type Case = (fn() -> World, Command, &'static str);

fn fresh() -> World {
    World::new(policy())
}

fn waiting() -> World {
    gated(policy())
}

fn ended() -> World {
    let mut world = gated(policy());
    world.command("lena", Command::Reject { release: FIRST, reason: why("no") });
    world
}

fn plan_of(world: &World) -> PlanId {
    world.release(FIRST).plan.as_ref().unwrap().id
}

fn approval(plan: PlanId) -> Command {
    Command::Approve { release: FIRST, plan, typed: None }
}

fn glass(plan: PlanId, gates: &[&str]) -> Command {
    let gates = gates.iter().map(|gate| (*gate).to_owned()).collect();
    Command::BreakGlass { release: FIRST, plan, gates, reason: why("fire") }
}

fn start(n: u8) -> Command {
    Command::Start {
        commit: commit(n),
        images: ["web", "api", "jobs"].map(|name| (service(name), (image(n, name), None))).into(),
        facts: None,
        typed: None,
        reason: None,
        forward_only: false,
    }
}

#[test]
fn every_refusal_says_what_is_in_the_way() {
    let reason = || why("x");
    let none: PlanId = "0000-0001".parse().unwrap();
    let approve = || approval(none);
    let cases: [Case; 19] = [
        (waiting, start(2), "release 1 of 0202020 is open already"),
        (ended, approve(), "release 1 has ended"),
        (fresh, approve(), "there is no release 1 of shop/production"),
        (watching, approve(), "release 1 is watching, not waiting for approval"),
        (watching, glass(none, &["scan"]), "release 1 is watching, not waiting for its gates"),
        (waiting, Command::Promote { release: FIRST }, "release 1 is gated; nothing waits for a person to say go"),
        (
            verifying,
            Command::Promote { release: FIRST },
            "release 1 is verifying; nothing waits for a person to say go",
        ),
        (watching, Command::Promote { release: FIRST }, "release 1 is watching; nothing waits for a person to say go"),
        (
            rolling_back,
            Command::Pause { release: FIRST },
            "release 1 is rolling_back; only forward steps can be paused",
        ),
        (live, Command::Cancel { release: FIRST, reason: reason() }, "release 1 is live: roll it back"),
        (
            watching,
            Command::Reject { release: FIRST, reason: reason() },
            "release 1 is watching: cancel it or roll it back",
        ),
        (
            fresh,
            Command::RollBack { to: None, reason: reason() },
            "nothing of shop/production can be rolled back: no release is in flight or in its window",
        ),
        (
            waiting,
            Command::RollBack { to: None, reason: reason() },
            "nothing of shop/production can be rolled back: no release is in flight or in its window",
        ),
        (live, back_to(9), "release 9 is not what served before release 1; start a release of its commit instead"),
        (watching, back_to(1), "release 1 is not what served before release 1; start a release of its commit instead"),
        (fresh, Command::ResumeLine { reason: reason() }, "the line of shop/production is not stopped by rollbacks"),
        (watching, Command::Resolve { reason: reason() }, "no release of shop/production needs help"),
        (rolling_back, Command::Resolve { reason: reason() }, "no release of shop/production needs help"),
        (watching, Command::CloseWindow { reason: reason() }, "no release of shop/production has an open window"),
    ];
    for (world, command, expected) in cases {
        let told = format!("{command:?}");
        assert_eq!(refused(world(), command), expected, "{told}");
    }
    let digest = image(2, "web");
    let lift = Command::LiftQuarantine { digest, reason: reason() };
    assert_eq!(refused(live(), lift), format!("{digest} is not in quarantine"));
    let none_left = Command::Start {
        commit: commit(2),
        images: BTreeMap::new(),
        facts: None,
        typed: None,
        reason: None,
        forward_only: false,
    };
    assert_eq!(refused(World::new(policy()), none_left), "the registry has no image of 0202020");
}

#[test]
fn a_refusal_keeps_the_command_in_words() {
    let (plan, digest, until) = ("4be1-c07f".parse().unwrap(), image(2, "web"), Some(Timestamp(9)));
    let (release, reason) = (ReleaseId(7), || why("x"));
    for (command, words) in [
        (start(2), "start a release of 0202020".to_owned()),
        (Command::Approve { release, plan, typed: None }, why("approve release 7, plan 4be1-c07f")),
        (Command::Reject { release, reason: reason() }, why("reject release 7")),
        (Command::Promote { release }, why("let release 7 go on")),
        (Command::Pause { release }, why("pause release 7")),
        (Command::Resume { release }, why("resume release 7")),
        (Command::Cancel { release, reason: reason() }, why("cancel release 7")),
        (back_to(7), why("roll back to release 7")),
        (Command::RollBack { to: None, reason: reason() }, why("roll back")),
        (
            Command::AcceptAlarm { release, alarm: AlarmName::new("app-5xx").unwrap() },
            why("accept alarm app-5xx for release 7"),
        ),
        (Command::HandsOff { until, reason: reason() }, why("hands off")),
        (Command::HandsOff { until: None, reason: reason() }, why("hands on")),
        (Command::LiftQuarantine { digest, reason: reason() }, format!("lift the quarantine of {}", digest.short())),
        (
            Command::BreakGlass { release, plan, gates: ["scan".into(), "rules".into()].into(), reason: reason() },
            why("skip rules, scan of release 7, plan 4be1-c07f"),
        ),
        (Command::ResumeLine { reason: reason() }, why("let releases begin again")),
        (Command::Resolve { reason: reason() }, why("resolve")),
        (Command::CloseWindow { reason: reason() }, why("end the old colour's time")),
        (Command::RaiseEpoch { reason: reason() }, why("raise the epoch")),
    ] {
        let mut world = World::new(policy());
        let events = world.signal(&Signal::Person { who: who("mallory"), command });
        let What::Refused { command, why, .. } = &events[0].what else { panic!("{events:?}") };
        assert_eq!(*command, words);
        assert_eq!(why, "mallory is not in the policy of shop/production; add them under people: or to a group");
        assert_eq!(events[0].actor, Actor::Person(who("mallory")));
    }
}

#[test]
fn whoever_is_in_a_group_or_among_the_people_is_known_but_only_a_group_that_counts_may_approve() {
    let mut policy = policy();
    policy.groups.insert(GroupName::new("support").unwrap(), [who("omar")].into());
    policy.people.insert(who("rosa"), BTreeSet::new());
    for name in ["omar", "rosa"] {
        let mut world = gated(policy.clone());
        let plan = plan_of(&world);
        world.command(name, approval(plan));
        world.command(name, Command::Reject { release: FIRST, reason: why("no") });
        let told = [
            format!("{name} is in no group whose approval counts for shop/production"),
            format!("{name} is in no group whose veto counts for shop/production; cancel it instead"),
        ];
        assert_eq!(world.refusals(), told);
        world.command(name, Command::Cancel { release: FIRST, reason: why("no") });
        assert_eq!(world.end_of(FIRST), Some(End::Cancelled));
    }
}

#[test]
fn who_only_reviews_what_a_scan_found_may_approve_too() {
    let mut policy = policy();
    policy.groups.insert(GroupName::new("security").unwrap(), [who("omar")].into());
    let review = ScanAction::Review { above: 0, by: GroupName::new("security").unwrap() };
    policy.gates.scan.as_mut().unwrap().severities.insert(Severity::High, review);
    let mut world = gated(policy);
    let plan = plan_of(&world);
    world.command("omar", approval(plan));
    assert_eq!(world.refusals(), Vec::<String>::new());
    assert_eq!(world.happened(|what| matches!(what, What::Approved { .. })), 1);
    assert_eq!(world.phase(FIRST), Some(Phase::Gated), "it counts for a review, and none is asked for");
}

#[test]
fn an_approval_said_again_changes_nothing_and_another_persons_counts() {
    let mut policy = policy();
    policy.gates.approvals[0].count = 3;
    let mut world = gated(policy);
    let plan = plan_of(&world);
    world.command("kofi", approval(plan));
    assert_eq!(world.command("kofi", approval(plan)), vec![]);
    assert!(!world.command("lena", approval(plan)).is_empty());
    let who: Vec<&str> = world.release(FIRST).approvals.iter().map(|approval| approval.who.as_str()).collect();
    assert_eq!(who, ["kofi", "lena"]);
}

#[test]
fn without_a_plan_there_is_nothing_to_approve_or_to_skip() {
    let mut policy = policy();
    policy.gates.break_glass = Some(Quorum { count: 2, group: GroupName::new("release-managers").unwrap() });
    let unread = || {
        let mut world = World::new(policy.clone());
        world.parked = |action| matches!(action, Action::Look(_));
        world.build(2, "amara");
        world.push(2);
        world
    };
    let plan: PlanId = "4be1-c07f".parse().unwrap();
    assert_eq!(refused(unread(), approval(plan)), "release 1 has no plan yet");
    let said = "plan 4be1-c07f is not the plan of release 1: it is none yet. Look again";
    assert_eq!(refused(unread(), glass(plan, &["scan"])), said);
}

#[test]
fn the_text_typed_with_an_approval_must_be_the_one_the_policy_asks_for() {
    for (wanted, typed, expected) in [
        (None, None, Some(false)),
        (None, Some("shop"), None),
        (Some("shop"), Some("shop"), Some(true)),
        (Some("shop"), Some("shap"), None),
        (Some("shop"), None, Some(false)),
    ] {
        let mut policy = policy();
        policy.gates.typed_confirmation = wanted.map(why);
        let mut world = gated(policy);
        let plan = plan_of(&world);
        world.command("kofi", Command::Approve { release: FIRST, plan, typed: typed.map(why) });
        let approved = world.events.iter().find_map(|event| match event.what {
            What::Approved { typed, .. } => Some(typed),
            _ => None,
        });
        assert_eq!(approved, expected, "{wanted:?} is wanted, {typed:?} is typed");
        let refusals: Vec<String> = match expected {
            None => vec![why("the text typed is not the one the policy asks for")],
            Some(_) => vec![],
        };
        assert_eq!(world.refusals(), refusals);
    }
}

#[test]
fn a_release_is_started_with_the_text_typed_and_only_of_services_that_the_policy_has() {
    let mut typed = policy();
    typed.gates.typed_confirmation = Some(why("shop"));
    let refusal = "type \"shop\" to start a release of shop/production";
    assert_eq!(refused(World::new(typed.clone()), start(2)), refusal);
    for (policy, text, is_typed) in [(typed, Some(why("shop")), true), (policy(), None, false)] {
        let mut world = World::new(policy);
        world.build(2, "amara");
        let Command::Start { mut images, .. } = start(2) else { unreachable!() };
        images.insert(service("gone"), (image(2, "gone"), None));
        let command = Command::Start {
            commit: commit(2),
            images,
            facts: None,
            typed: text,
            reason: Some(why("the fix")),
            forward_only: false,
        };
        world.signal(&Signal::Person { who: who("kofi"), command });
        let release = world.release(FIRST);
        assert_eq!((release.typed, release.requested_by.clone()), (is_typed, Some(who("kofi"))));
        let brought: Vec<String> = release.artifacts.keys().map(ToString::to_string).collect();
        assert_eq!(brought, ["api", "jobs", "web"]);
    }
}

#[test]
fn glass_is_broken_by_its_group_once_for_each_set_of_gates() {
    let mut policy = policy();
    let oncall = GroupName::new("oncall").unwrap();
    policy.groups.insert(oncall.clone(), [who("kofi"), who("lena")].into());
    policy.gates.break_glass = Some(Quorum { count: 3, group: oncall });
    let mut world = gated(policy);
    let plan = plan_of(&world);
    let mut broken = |name: &str, gates: &[&str]| {
        let events = world.signal(&Signal::Person { who: who(name), command: glass(plan, gates) });
        events.iter().filter(|event| matches!(event.what, What::GlassBroken { .. })).count()
    };
    assert_eq!(broken("kofi", &["scan"]), 1);
    assert_eq!(broken("kofi", &["scan"]), 0, "said again");
    assert_eq!(broken("kofi", &["scan", "rules"]), 1, "other gates");
    assert_eq!(broken("lena", &["scan"]), 1, "another person");
    assert_eq!(broken("amara", &["scan"]), 0);
    assert_eq!(world.refusals(), ["amara is not in oncall, who may break glass"]);
}
