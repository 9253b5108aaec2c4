//! Single decisions that the stories pass by.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{Action, Fence, Found, ObjectKey, Outcome, Purpose, Stamp, Value, Window};
use portcullis_domain::event::{Actor, End, Event, What};
use portcullis_domain::facts::{AlarmFact, AlarmState, CommitFacts, Facts, Finding, ScanStatus};
use portcullis_domain::names::{AlarmName, GroupName, ReleaseId, Seq};
use portcullis_domain::plan::PlanId;
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Pushed, Signal};
use portcullis_domain::target::{Phase, WatchState};
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::*;

/// A world, what is said there, and the refusal.
type Case = (fn() -> World, Command, &'static str);
/// A command that is made of the world it is said in.
type InThere = fn(&World) -> Command;

const FIRST: ReleaseId = ReleaseId(1);

/// The names of events.
fn names(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| serde_json::to_value(&event.what).unwrap()["event"].as_str().unwrap().to_owned())
        .collect()
}

fn why(text: &str) -> String {
    text.to_owned()
}

/// Release 1 waits for its approval.
fn gated(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.build(2, "amara");
    assert_eq!(world.push(2), FIRST);
    assert_eq!(world.phase(FIRST), Some(Phase::Gated), "{:#?}", world.story(FIRST));
    world
}

/// Release 1 is approved, and stands where this action is not performed.
fn stands_at(policy: Policy, parked: fn(&Action) -> bool) -> World {
    let mut world = gated(policy);
    world.parked = parked;
    world.approve("kofi", FIRST);
    world
}

fn fresh() -> World {
    World::new(policy())
}

fn waiting() -> World {
    gated(policy())
}

fn watching() -> World {
    let world = stands_at(policy(), |_| false);
    assert_eq!(world.phase(FIRST), Some(Phase::Watching));
    world
}

fn live() -> World {
    let mut world = World::new(policy());
    world.go_live(2);
    world
}

fn backing_up() -> World {
    stands_at(policy(), |action| matches!(action, Action::BackUp { .. }))
}

fn deploying() -> World {
    stands_at(policy(), |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Deploy))
}

fn verifying() -> World {
    stands_at(policy(), |action| matches!(action, Action::RunTest { .. }))
}

fn switching() -> World {
    stands_at(policy(), |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Switch))
}

fn rolling_back() -> World {
    let mut world = watching();
    world.parked = |action| matches!(action, Action::AwaitReady(_));
    world.roll_back("kofi");
    assert_eq!(world.phase(FIRST), Some(Phase::RollingBack));
    world
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

fn back_to(release: u64) -> Command {
    Command::RollBack { to: Some(ReleaseId(release)), reason: why("it hurts") }
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

/// The one refusal of this command, given by kofi.
fn refused(mut world: World, command: Command) -> String {
    let said = world.refusals().len();
    let events = world.signal(&Signal::Person { who: who("kofi"), command });
    assert_eq!(world.refusals().len(), said + 1, "{events:?}");
    assert_eq!(events[0].actor, Actor::Person(who("kofi")));
    world.refusals().pop().unwrap()
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

#[test]
fn commands_that_were_done_already_say_nothing_new() {
    let alarm = || AlarmName::new("app-5xx").unwrap();
    let until = |world: &World| Some(world.now + Millis::hours(1));
    let cases: Vec<(World, InThere)> = vec![
        (watching(), |_| Command::Pause { release: FIRST }),
        (gated(policy()), |_| Command::AcceptAlarm { release: FIRST, alarm: AlarmName::new("app-5xx").unwrap() }),
        (watching(), |world| Command::HandsOff { until: Some(world.now + Millis::hours(1)), reason: why("x") }),
    ];
    for (mut world, command) in cases {
        let command = command(&world);
        assert_eq!(world.command("kofi", command.clone()).len(), 1, "{command:?}");
        assert_eq!(world.command("kofi", command.clone()), vec![], "{command:?}");
    }
    let mut world = watching();
    assert_eq!(world.command("kofi", Command::Resume { release: FIRST }), vec![]);
    assert_eq!(world.command("kofi", Command::HandsOff { until: None, reason: why("x") }), vec![]);
    world.command("kofi", Command::AcceptAlarm { release: FIRST, alarm: alarm() });
    assert_eq!(world.release(FIRST).accepted_alarms, [alarm()].into());
    let command = Command::HandsOff { until: until(&world), reason: why("x") };
    world.command("kofi", command);
    assert_eq!(names(&world.command("kofi", Command::HandsOff { until: None, reason: why("x") })), ["hands_off"]);
    assert_eq!(world.refusals(), Vec::<String>::new());
}

#[test]
fn to_cancel_or_to_undo_what_is_on_its_way_back_is_no_news() {
    for command in
        [Command::Cancel { release: FIRST, reason: why("x") }, Command::RollBack { to: None, reason: why("x") }]
    {
        let mut world = rolling_back();
        assert_eq!(world.signal(&Signal::Person { who: who("kofi"), command: command.clone() }), vec![], "{command:?}");
    }
    // Also where it takes too long and a person was called: it is still being tried.
    let mut world = rolling_back();
    world.pass(Millis::minutes(11));
    assert_eq!(world.phase(FIRST), Some(Phase::NeedsHelp));
    assert_eq!(world.roll_back("kofi"), vec![]);
    assert_eq!(world.command("kofi", Command::Cancel { release: FIRST, reason: why("x") }), vec![]);
    assert_eq!(world.refusals(), Vec::<String>::new());
}

#[test]
fn hands_stay_off_until_a_moment_that_is_yet_to_come() {
    let off = |until: Timestamp| Command::HandsOff { until: Some(until), reason: why("surgery") };
    let over = "the moment until which hands stay off is over already";
    let world = || World::new(policy());
    let now = world().now;
    assert_eq!(refused(world(), off(now)), over);
    assert_eq!(refused(world(), off(now - Millis(1))), over);
    let mut world = world();
    assert_eq!(world.command("kofi", off(now + Millis(1))).len(), 2, "and the policy is noted");
    assert_eq!(world.target.hands_off, Some(now + Millis(1)));
    world.now = now + Millis(1);
    assert_eq!(names(&world.signal(&Signal::Wake)), ["hands_off"], "it is over at the moment itself");
    assert_eq!(world.target.hands_off, None);
}

#[test]
fn cancelling_ends_what_changed_nothing_and_undoes_what_did() {
    let cancel = Command::Cancel { release: FIRST, reason: why("not today") };
    let mut gathering = World::new(policy());
    gathering.build(2, "amara");
    gathering.push_one(2, "web");
    let mut gate = policy();
    gate.mode = Mode::Gate;
    let cleared = stands_at(gate, |_| false);
    assert_eq!(cleared.phase(FIRST), Some(Phase::Cleared));
    for (mut world, expected) in [
        (gathering, "not today"),
        (gated(policy()), "not today"),
        (cleared, "not today"),
        (backing_up(), "a person: not today"),
    ] {
        let phase = world.phase(FIRST);
        let events = world.signal(&Signal::Person { who: who("kofi"), command: cancel.clone() });
        let What::Settled { end: End::Cancelled, why, .. } = &events[0].what else { panic!("{phase:?}: {events:?}") };
        assert_eq!(why, expected, "{phase:?}");
    }
    for mut world in [deploying(), verifying(), switching(), watching()] {
        let phase = world.phase(FIRST);
        let events = world.signal(&Signal::Person { who: who("kofi"), command: cancel.clone() });
        let What::RollbackBegan { why, .. } = &events[0].what else { panic!("{phase:?}: {events:?}") };
        assert_eq!(why.to_string(), "a person: not today", "{phase:?}");
    }
}

#[test]
fn saying_go_again_while_traffic_moves_or_after_it_is_no_refusal() {
    for mut world in [switching(), live()] {
        assert_eq!(world.command("kofi", Command::Promote { release: FIRST }), vec![]);
    }
}

#[test]
fn rolling_back_to_what_serves_already_does_nothing_and_names_what_came_before() {
    let mut world = live();
    assert_eq!(world.command("kofi", back_to(1)), vec![], "it serves");
    world.pass(Millis::hours(2));
    let second = world.go_live(3);
    assert_eq!(world.command("kofi", back_to(second.0)), vec![]);
    world.command("kofi", back_to(1));
    assert!(world.rolled_back(second), "{:#?}", world.story(second));
    assert_eq!(world.command("kofi", back_to(1)), vec![]);
    assert_eq!(world.refusals(), Vec::<String>::new());
}

#[test]
fn only_right_after_a_rollback_asking_for_one_again_is_no_refusal() {
    let mut world = watching();
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST));
    assert_eq!(world.roll_back("kofi"), vec![]);
    world.build(3, "amara");
    let second = world.push(3);
    world.command("kofi", Command::Cancel { release: second, reason: why("no") });
    world.roll_back("kofi");
    assert_eq!(world.refusals().len(), 1, "what ended last was not rolled back");
}

#[test]
fn a_first_release_can_be_undone_until_it_serves() {
    let first = |parked: fn(&Action) -> bool| {
        let mut world = World::empty(policy());
        world.build(2, "amara");
        world.push(2);
        world.parked = parked;
        world.approve("kofi", FIRST);
        world
    };
    let mut world = first(|action| matches!(action, Action::RunTest { .. }));
    world.parked = |_| false;
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(
        refused(first(|_| false), Command::RollBack { to: None, reason: why("x") }),
        "nothing served before release 1: there is nothing to return to"
    );
}

#[test]
fn what_hurts_is_the_release_that_serves_and_not_one_that_is_only_backed_up() {
    let mut world = live();
    world.pass(Millis::hours(2));
    world.build(3, "amara");
    let second = world.push(3);
    world.parked = |action| matches!(action, Action::BackUp { .. });
    world.approve("kofi", second);
    assert_eq!(world.phase(second), Some(Phase::BackingUp));
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    let ended = world.events.iter().find_map(|event| match &event.what {
        What::Settled { release, end, why } if *release == second => Some((*end, why.clone())),
        _ => None,
    });
    assert_eq!(ended, Some((End::Cancelled, why("release 1, which it was to replace, is rolled back"))));
}

#[test]
fn the_old_colours_time_is_ended_once_and_the_epoch_raised_by_one() {
    let mut world = live();
    let events = world.command("kofi", Command::CloseWindow { reason: why("the fix") });
    assert_eq!(names(&events)[0], "old_colour_freed");
    assert_eq!(world.release(FIRST).keep_old_until, None);
    assert_eq!(world.command("kofi", Command::CloseWindow { reason: why("the fix") }), vec![]);
    world.command("kofi", Command::RaiseEpoch { reason: why("restored") });
    world.command("kofi", Command::RaiseEpoch { reason: why("restored") });
    assert_eq!(world.target.epoch, 2);
}

#[test]
fn a_veto_names_who_said_it_and_why() {
    let mut world = gated(policy());
    world.command("lena", Command::Reject { release: FIRST, reason: why("not on a Friday") });
    assert_eq!(settled(&world, FIRST), Some((End::Rejected, why("vetoed by lena: not on a Friday"))));
    assert_eq!(refused(world, Command::Reject { release: FIRST, reason: why("no") }), "release 1 has ended");
}

/// How a release ended, and why.
fn settled(world: &World, id: ReleaseId) -> Option<(End, String)> {
    world.events.iter().find_map(|event| match &event.what {
        What::Settled { release, end, why } if *release == id => Some((*end, why.clone())),
        _ => None,
    })
}

/// What the moment brings, and the moment one millisecond before must not.
fn at(world: &mut World, moment: Timestamp) -> Vec<Event> {
    world.now = moment - Millis(1);
    assert_eq!(world.signal(&Signal::Wake), vec![], "one millisecond early");
    world.now = moment;
    world.signal(&Signal::Wake)
}

#[test]
fn a_release_that_waits_too_long_expires_at_its_moment_with_what_was_missing() {
    let mut gathering = World::new(policy());
    gathering.parked = |_| true;
    gathering.build(2, "amara");
    gathering.push_one(2, "web");
    let mut gate = policy();
    gate.mode = Mode::Gate;
    let mut unread = World::new(policy());
    unread.parked = |_| true;
    unread.build(2, "amara");
    unread.push(2);
    let calm = |mut policy: Policy| {
        policy.gates.remind = Millis::days(9);
        policy
    };
    unread.policy = SealedPolicy::new(calm(policy()));
    let day = Millis::hours(24);
    for (mut world, after, expected) in [
        (gathering, Millis::hours(2), "no image came in time for api, jobs"),
        (stands_at(gate, |_| false), day, "its gates held, and nobody deployed it in time"),
        (gated(calm(policy())), day, "approval did not clear in time: 0 of 1 from release-managers"),
    ] {
        world.parked = |_| true;
        let moment = world.now + after;
        let events = at(&mut world, moment);
        assert_eq!(names(&events), ["settled"]);
        assert_eq!(settled(&world, FIRST), Some((End::Expired, expected.to_owned())));
    }
    unread.now = unread.now + day;
    unread.signal(&Signal::Wake);
    assert_eq!(settled(&unread, FIRST), Some((End::Expired, why("its gates were not judged in time"))));
}

#[test]
fn a_release_that_waits_is_brought_to_mind_each_time_so_much_later() {
    let mut world = gated(policy());
    world.parked = |_| true;
    let first = world.now + Millis::hours(4);
    for moment in [first, first + Millis::hours(4), first + Millis::hours(8)] {
        assert_eq!(names(&at(&mut world, moment)), ["reminded"]);
        assert_eq!(world.release(FIRST).remind_at, Some(moment + Millis::hours(4)));
    }
}

#[test]
fn a_call_for_a_person_gets_louder_each_time_nobody_answers() {
    let mut manual = policy();
    manual.strategy = Strategy::BlueGreen { steps: vec![10_000], every: Millis(0), manual: true };
    manual.limits.escalate = Millis::minutes(20);
    let mut world = stands_at(manual, |_| false);
    let asked = world.release(FIRST).asking.clone().unwrap();
    assert_eq!((asked.level, asked.until), (1, world.now + Millis::minutes(20)));
    assert_eq!(asked.why, "green is up and tested; traffic moves when a person says so");
    for level in 2..5 {
        let moment = world.release(FIRST).asking.as_ref().unwrap().until;
        assert_eq!(names(&at(&mut world, moment)), ["escalated"]);
        let asking = world.release(FIRST).asking.clone().unwrap();
        assert_eq!((asking.level, asking.until), (level, moment + Millis::minutes(20)));
        assert_eq!(asking.why, asked.why);
    }
}

#[test]
fn a_call_for_help_gets_louder_after_the_policys_time_too() {
    let mut quick = policy();
    quick.limits.escalate = Millis::minutes(7);
    let mut world = stands_at(quick, |_| false);
    world.parked = |action| matches!(action, Action::AwaitReady(_));
    world.roll_back("kofi");
    world.pass(Millis::minutes(10));
    assert_eq!(world.phase(FIRST), Some(Phase::NeedsHelp));
    let asking = world.release(FIRST).asking.clone().unwrap();
    assert_eq!((asking.level, asking.until), (1, world.now + Millis::minutes(7)));
    let said = " did not become ready in time on the way back; it is still being tried";
    assert!(asking.why.starts_with("Deployment/") && asking.why.ends_with(said), "{}", asking.why);
}

#[test]
fn what_is_late_ends_or_undoes_a_release_at_its_deadline_with_the_reason() {
    let (backup, ready, write) = (Millis::minutes(10), Millis::minutes(10), Millis::minutes(2));
    let mut quick = policy();
    quick.limits =
        Limits { backup: Millis::minutes(3), ready: Millis::minutes(4), write: Millis::minutes(5), ..quick.limits };
    let stands = |policy: &Policy, parked: fn(&Action) -> bool| stands_at(policy.clone(), parked);
    for (policy, limits) in
        [(policy(), (backup, ready, write)), (quick, (Millis::minutes(3), Millis::minutes(4), Millis::minutes(5)))]
    {
        let (backup, ready, write) = limits;
        for (mut world, after, expected) in [
            (stands(&policy, |a| matches!(a, Action::BackUp { .. })), backup, "the backup took too long"),
            (
                stands(&policy, |a| matches!(a, Action::Write(w) if w.purpose == Purpose::Deploy)),
                write,
                "Deployment/web-green could not be written in time",
            ),
            (
                stands(&policy, |a| matches!(a, Action::AwaitReady(_))),
                ready,
                "Deployment/web-green did not become ready in time",
            ),
            (
                stands(&policy, |a| matches!(a, Action::RunTest { .. })),
                Millis::minutes(1),
                "test smoke took longer than 1m",
            ),
        ] {
            world.parked = |_| true;
            let moment = world.now + after;
            at(&mut world, moment);
            let said = world.events.iter().find_map(|event| match &event.what {
                What::RollbackBegan { why, .. } => Some(why.to_string()),
                What::Settled { end: End::Failed, why, .. } => Some(why.clone()),
                _ => None,
            });
            assert_eq!(said.as_deref(), Some(expected));
        }
    }
}

#[test]
fn a_failing_test_undoes_it_with_its_name_and_what_it_saw() {
    let mut world = verifying();
    world.failing_test = true;
    world.parked = |_| false;
    world.settle();
    let said = world.events.iter().find_map(|event| match &event.what {
        What::RollbackBegan { why, .. } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(said.as_deref(), Some("test smoke failed: GET /health: 500"));
}

#[test]
fn old_pods_that_take_their_time_to_go_do_not_hurt_the_release_that_is_live() {
    let mut world = live();
    world.parked = |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Drain);
    world.pass(Millis::hours(2));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
    assert_eq!(world.happened(|what| matches!(what, What::NeedsHelp { .. } | What::RollbackBegan { .. })), 0);
}

#[test]
fn gates_that_do_not_hold_again_before_traffic_moves_undo_it_in_the_end() {
    let mut slow = policy();
    slow.verify[0].within = Millis::minutes(10);
    let mut world = stands_at(slow, |action| matches!(action, Action::RunTest { .. }));
    let api = ObjectKey::traffic(&service("api"));
    world.cluster.get_mut(&api).unwrap().foreign = Some("somebody/else".into());
    world.now = world.now + Millis::minutes(2);
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Verifying), "{:#?}", world.story(FIRST));
    world.parked = |_| true;
    let until = world.release(FIRST).until.unwrap();
    at(&mut world, until);
    assert_eq!(undone(&world).as_deref(), Some("its gates no longer held, and did not clear in time"));
}

/// Why the release began its way back.
fn undone(world: &World) -> Option<String> {
    world.events.iter().find_map(|event| match &event.what {
        What::RollbackBegan { why, .. } => Some(why.to_string()),
        _ => None,
    })
}

fn push(n: u8, pushed_at: Timestamp, facts: Option<CommitFacts>) -> Signal {
    Signal::Pushed(Pushed {
        service: service("web"),
        digest: image(n, "web"),
        tag: None,
        commit: commit(n),
        pushed_at,
        facts,
        opens: true,
    })
}

#[test]
fn a_commit_that_is_not_newer_is_recorded_with_how_that_is_known() {
    let ancestors = |numbers: &[u8]| {
        Some(CommitFacts { ancestors: numbers.iter().map(|n| commit(*n)).collect(), ..CommitFacts::default() })
    };
    let (before, after) = (Millis::minutes(1), Millis::minutes(2));
    for (n, pushed, facts, expected) in [
        (3, after, None, Some("it was tried with release 1")),
        (2, after, None, Some("it is an ancestor of 0303030, release 1")),
        (9, Millis(before.0 - 1), None, Some("it was pushed before 0303030, release 1")),
        (9, before, None, None),
        (9, after, None, None),
        (9, Millis(0), ancestors(&[3]), None),
        (9, Millis(0), ancestors(&[8]), Some("it was pushed before 0303030, release 1")),
    ] {
        let mut world = World::new(policy());
        let base = world.now;
        world.signal(&push(3, base + before, ancestors(&[2, 1])));
        world.command("kofi", Command::Cancel { release: FIRST, reason: why("no") });
        let mut events = world.signal(&push(n, base + pushed, facts.clone()));
        let told = match events.remove(0).what {
            What::Outdated { why, .. } => Some(why),
            What::Opened { release, gather_until, .. } => {
                assert_eq!((release, gather_until), (ReleaseId(2), world.now + Millis::hours(2)));
                None
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(told.as_deref(), expected, "commit {n}, pushed {pushed}, {facts:?}");
    }
}

#[test]
fn an_old_push_is_recorded_once_and_not_where_its_image_serves_or_was_rolled_back() {
    let mut world = live();
    let early = Timestamp(1);
    let moved = |n: u8, digest| match push(n, early, None) {
        Signal::Pushed(pushed) => Signal::Pushed(Pushed { digest, ..pushed }),
        other => other,
    };
    assert_eq!(world.signal(&moved(1, image(2, "web"))), vec![], "it serves");
    assert_eq!(names(&world.signal(&moved(1, image(9, "web")))), ["outdated"]);
    assert_eq!(world.signal(&moved(1, image(9, "web"))), vec![], "said again");
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST));
    world.target.outdated.clear();
    assert_eq!(world.signal(&moved(1, image(2, "web"))), vec![], "it was rolled back");
    assert_eq!(world.signal(&moved(1, image(1, "web"))), vec![], "it serves again");
}

#[test]
fn an_image_of_an_open_release_is_taken_while_it_gathers_and_never_swapped() {
    let with = |world: &World, name: &str, digest, tag: bool| {
        Signal::Pushed(Pushed {
            service: service(name),
            digest,
            tag: tag.then(|| commit(2).as_str().parse().unwrap()),
            commit: commit(2),
            pushed_at: world.now,
            facts: None,
            opens: true,
        })
    };
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.push_one(2, "web");
    let again = with(&world, "web", image(2, "web"), true);
    assert_eq!(world.signal(&again), vec![], "the same image again");
    let untagged = with(&world, "web", image(9, "web"), false);
    assert_eq!(world.signal(&untagged), vec![], "no tag moved");
    let (to, back) = (with(&world, "web", image(9, "web"), true), with(&world, "web", image(8, "web"), true));
    assert_eq!(names(&world.signal(&to)), ["tag_moved"]);
    assert_eq!(world.signal(&to), vec![]);
    assert_eq!(names(&world.signal(&back)), ["tag_moved"], "it moved on");
    let api = with(&world, "api", image(2, "api"), true);
    assert_eq!(names(&world.signal(&api))[0], "image_added");

    // What was kept stays so once the gates are judged, whatever comes later; before, its own image counts.
    for (first, expected) in [(["web", "api"].as_slice(), false), (["web"].as_slice(), true)] {
        let mut world = World::new(policy());
        world.build(2, "amara");
        world.commits.get_mut(&commit(2)).unwrap().changed.insert(service("jobs"), false);
        for name in first {
            world.push_one(2, name);
        }
        world.settle();
        assert!(world.release(FIRST).artifacts[&service("jobs")].kept);
        let jobs = with(&world, "jobs", image(2, "jobs"), true);
        let added = names(&world.signal(&jobs)).contains(&why("image_added"));
        assert_eq!(added, expected, "{:?}", world.phase(FIRST));
    }
}

#[test]
fn a_push_that_may_not_open_a_release_opens_none() {
    let mut world = World::new(policy());
    let Signal::Pushed(mut pushed) = push(2, world.now, None) else { unreachable!() };
    pushed.opens = false;
    assert_eq!(world.signal(&Signal::Pushed(pushed)), vec![]);
}

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

/// The intention that this is the outcome of.
fn intention(world: &World, which: fn(&Action) -> bool) -> Seq {
    let mut found = world.target.outstanding.iter().filter(|(_, o)| which(&o.intention.action));
    *found.next_back().expect("it is intended").0
}

fn outcome(world: &mut World, intention: Seq, outcome: Outcome) -> Vec<Event> {
    world.signal(&Signal::Outcome { intention, outcome })
}

/// A window of all services from and to so many milliseconds after what was measured last.
fn measured(world: &mut World, from: u64, to: u64, windows: &[(&str, Window)]) -> Vec<Event> {
    measured_with(world, from, to, windows, &[])
}

fn measured_with(
    world: &mut World,
    from: u64,
    to: u64,
    windows: &[(&str, Window)],
    alarms: &[(&str, AlarmFact)],
) -> Vec<Event> {
    let base = world.release(FIRST).watch.as_ref().unwrap().measured_to;
    let measured = Outcome::Measured {
        from: base + Millis(from),
        to: base + Millis(to),
        services: windows.iter().map(|(name, window)| (service(name), window.clone())).collect(),
        alarms: alarms.iter().map(|(name, fact)| (AlarmName::new(name).unwrap(), *fact)).collect(),
    };
    let seq = intention(world, |action| matches!(action, Action::Measure(_)));
    outcome(world, seq, measured)
}

const MINUTE: u64 = 60_000;

/// Release 1 is watched, and only what the test says is measured.
fn watched(policy: Policy) -> World {
    let mut world = stands_at(policy, |_| false);
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
    world.parked = |_| true;
    world.now = world.now + Millis::hours(1);
    world
}

fn both(window: &Window) -> Vec<(&'static str, Window)> {
    vec![("web", window.clone()), ("api", window.clone())]
}

fn saw(world: &World) -> String {
    let last = world.events.iter().rev().find_map(|event| match &event.what {
        What::Measured { saw, .. } => Some(saw.clone()),
        _ => None,
    });
    last.expect("a window was judged")
}

fn state(world: &World) -> WatchState {
    world.release(FIRST).watch.clone().unwrap()
}

#[test]
fn windows_join_without_a_gap_and_none_lies_in_the_future() {
    for (from, to, counts) in
        [(0, MINUTE, true), (1, MINUTE, false), (0, 0, false), (MINUTE, 2 * MINUTE, false), (0, MINUTE + 5_000, true)]
    {
        let mut world = watched(policy());
        world.now = state(&world).measured_to + Millis(MINUTE);
        let events = measured(&mut world, from, to, &both(&healthy_window()));
        assert_eq!(!events.is_empty(), counts, "from {from} to {to}");
    }
    let mut world = watched(policy());
    world.now = state(&world).measured_to + Millis(MINUTE);
    assert_eq!(measured(&mut world, 0, MINUTE + 5_001, &both(&healthy_window())), vec![]);
    let before = state(&world).measured_to;
    measured(&mut world, 0, MINUTE, &both(&healthy_window()));
    assert_eq!(state(&world).measured_to, before + Millis(MINUTE));
    assert_eq!((state(&world).requests, state(&world).failed, state(&world).healthy), (12_000, 0, Millis(MINUTE)));
}

#[test]
fn a_release_is_live_once_it_was_healthy_for_as_long_as_the_policy_wants() {
    let mut window = healthy_window();
    window.failed = 7;
    let mut world = watched(policy());
    measured(&mut world, 0, 5 * MINUTE - 1, &both(&window));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching));
    measured(&mut world, 0, 1, &both(&window));
    assert_eq!(world.phase(FIRST), Some(Phase::Live));
    let release = world.release(FIRST);
    assert_eq!((state(&world).requests, state(&world).failed), (24_000, 28));
    assert_eq!(release.until, Some(world.now + Millis::hours(24)));
    assert_eq!(release.keep_old_until, Some(world.now + Millis::hours(1)));
}

#[test]
fn the_old_pods_are_not_kept_longer_than_one_may_return_to_them() {
    let mut short = policy();
    short.roll_back.window = Millis::minutes(30);
    let mut world = watched(short);
    measured(&mut world, 0, 5 * MINUTE, &both(&healthy_window()));
    let release = world.release(FIRST);
    assert_eq!((release.until, release.keep_old_until), (Some(world.now + Millis::minutes(30)), release.until));
}

#[test]
fn a_paused_release_and_one_that_a_person_is_asked_about_do_not_become_live_by_themselves() {
    let mut world = watched(policy());
    world.command("kofi", Command::Pause { release: FIRST });
    measured(&mut world, 0, 6 * MINUTE, &both(&healthy_window()));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "paused");
    world.command("kofi", Command::Resume { release: FIRST });
    measured(&mut world, 0, MINUTE, &both(&healthy_window()));
    assert_eq!(world.phase(FIRST), Some(Phase::Live));

    let mut world = watched(policy());
    measured(&mut world, 0, 6 * MINUTE, &[]);
    assert!(world.release(FIRST).asking.is_some());
    measured(&mut world, 0, 9 * MINUTE, &both(&healthy_window()));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "asked about");
}

#[test]
fn an_inconclusive_watch_is_asked_about_only_when_it_is_longer_than_allowed() {
    let mut world = watched(policy());
    measured(&mut world, 0, 5 * MINUTE, &both(&Window::default()));
    assert_eq!(state(&world).inconclusive, Millis(5 * MINUTE));
    assert_eq!(saw(&world), "inconclusive");
    assert_eq!(world.release(FIRST).asking, None);
    measured(&mut world, 0, 1, &[]);
    let asked = world.release(FIRST).asking.clone().unwrap();
    assert_eq!(asked.why, "the watch is inconclusive: too little traffic or no data. Promote it, or roll it back");
    let events = measured(&mut world, 0, 1, &[]);
    assert_eq!(names(&events), ["measured"], "asked once");
}

#[test]
fn a_window_is_told_in_one_line_with_its_errors_and_its_response_time() {
    let mut world = watched(policy());
    let slow = Window { values: [(Metric::ResponseTimeP95, 250_000)].into(), requests: 9, failed: 0, ready: None };
    let worker = Window { ready: Some(3), ..Window::default() };
    measured(&mut world, 0, MINUTE, &[("api", slow), ("web", failing_window(250)), ("jobs", worker)]);
    assert_eq!(saw(&world), "api p95 250 ms  web errors 2.5% p95 4 ms  inconclusive");
    assert_eq!((state(&world).healthy, state(&world).inconclusive), (Millis(0), Millis(MINUTE)));
    measured(&mut world, 0, MINUTE, &both(&healthy_window()));
    assert_eq!(saw(&world), "api errors 0% p95 4 ms  web errors 0% p95 4 ms");
}

#[test]
fn one_service_without_traffic_makes_the_window_inconclusive_and_a_worker_does_not() {
    let quiet = Window { requests: 0, ..healthy_window() };
    for (windows, inconclusive) in [
        (vec![("web", healthy_window()), ("api", healthy_window())], false),
        (vec![("web", quiet.clone()), ("api", healthy_window())], true),
        (vec![("web", healthy_window()), ("api", quiet.clone())], true),
        (vec![("web", healthy_window())], true),
        (vec![("web", healthy_window()), ("api", healthy_window()), ("jobs", quiet)], false),
    ] {
        let mut world = watched(policy());
        measured(&mut world, 0, MINUTE, &windows);
        let expected = if inconclusive { (Millis(0), Millis(MINUTE)) } else { (Millis(MINUTE), Millis(0)) };
        assert_eq!((state(&world).healthy, state(&world).inconclusive), expected, "{windows:?}");
    }
}

#[test]
fn traffic_counts_from_the_policys_floor_on() {
    for (floor, rate, enough) in [(Some(100), 100, true), (Some(100), 99, false), (None, 0, true), (Some(0), -1, true)]
    {
        let mut floored = policy();
        floored.watch.traffic = floor;
        let mut world = watched(floored);
        let mut window = healthy_window();
        window.values.insert(Metric::Requests, rate);
        measured(&mut world, 0, MINUTE, &both(&window));
        assert_eq!(state(&world).healthy > Millis(0), enough, "{rate} where {floor:?} is wanted");
    }
}

#[test]
fn a_share_of_next_to_no_requests_is_noise_but_too_few_requests_are_not() {
    let mut few = policy();
    few.watch.traffic = Some(50_000);
    few.watch.healthy.push(trigger(Metric::Requests, Comparison::Below, 1_000));
    let mut window = failing_window(9_000);
    window.values.insert(Metric::Requests, 500);
    let mut world = watched(few);
    measured(&mut world, 0, MINUTE, &[("web", healthy_window()), ("api", window.clone())]);
    assert_eq!(state(&world).breaches.len(), 1, "{:?}", state(&world).breaches);
    measured(&mut world, 0, MINUTE, &[("web", healthy_window()), ("api", window)]);
    assert_eq!(undone(&world).as_deref(), Some("api requests 0.5/s, must stay at least 1/s"));
}

#[test]
fn what_breaches_must_be_the_same_service_and_the_same_threshold_again() {
    let mut two = policy();
    two.watch.healthy.push(trigger(Metric::ResponseTimeP95, Comparison::Above, 100_000));
    let mut slow = healthy_window();
    slow.values.insert(Metric::ResponseTimeP95, 100_001);
    let errors = failing_window(680);
    for (first, then, undoes) in [
        (("api", errors.clone()), ("api", errors.clone()), Some("api error_rate 6.8%, must stay below 1%")),
        (("api", errors.clone()), ("web", errors.clone()), None),
        (("api", errors), ("api", slow.clone()), None),
        (("web", slow.clone()), ("web", slow), Some("web response_time_p95 100 ms, must stay at most 100 ms")),
    ] {
        let mut world = watched(two.clone());
        for (name, window) in [first, then] {
            let mut windows: BTreeMap<&str, Window> = both(&healthy_window()).into_iter().collect();
            windows.insert(name, window);
            measured(&mut world, 0, MINUTE, &windows.into_iter().collect::<Vec<_>>());
        }
        assert_eq!(undone(&world).as_deref(), undoes);
        assert_eq!(world.phase(FIRST) == Some(Phase::Watching), undoes.is_none());
    }
}

#[test]
fn a_breach_must_last_as_many_points_or_as_long_as_the_threshold_says() {
    let points = |n| HoldFor::Points(n);
    let time = |ms| HoldFor::Time(Millis(ms));
    for (hold, windows, undoes) in [
        (points(1), vec![1], true),
        (points(3), vec![MINUTE, MINUTE], false),
        (points(3), vec![MINUTE, MINUTE, 1], true),
        (time(2 * MINUTE), vec![MINUTE, MINUTE - 1], false),
        (time(2 * MINUTE), vec![MINUTE, MINUTE], true),
        (time(2 * MINUTE), vec![2 * MINUTE], true),
    ] {
        let mut policy = policy();
        policy.watch.healthy[0].hold = hold;
        let mut world = watched(policy);
        for length in &windows {
            measured(&mut world, 0, *length, &both(&failing_window(100)));
        }
        assert_eq!(undone(&world).is_some(), undoes, "{hold:?} after {windows:?}");
    }
}

#[test]
fn pods_that_are_not_ready_undo_it_after_the_policys_time_without_a_break() {
    let ready = |pods| Window { ready: Some(pods), ..healthy_window() };
    for (windows, undoes) in [
        (vec![(2, 5 * MINUTE - 1)], None),
        (vec![(2, 5 * MINUTE)], Some("web not ready for 5m")),
        (vec![(3, 5 * MINUTE - 1)], None),
        (vec![(2, 4 * MINUTE), (3, 1), (2, 4 * MINUTE)], None),
        (vec![(2, 4 * MINUTE), (0, MINUTE)], Some("web not ready for 5m")),
        (vec![(4, 5 * MINUTE)], None),
    ] {
        let mut patient = policy();
        patient.watch.length = Millis::hours(1);
        let mut world = watched(patient);
        for (pods, length) in &windows {
            measured(&mut world, 0, *length, &[("web", ready(*pods)), ("api", ready(3))]);
        }
        assert_eq!(undone(&world).as_deref(), undoes, "{windows:?}");
    }
    let mut world = watched(policy());
    measured(&mut world, 0, MINUTE, &[("web", ready(2)), ("api", ready(3))]);
    assert_eq!(state(&world).healthy, Millis(0), "it is not healthy meanwhile");
    assert_eq!(state(&world).unready.len(), 1);
    measured(&mut world, 0, MINUTE, &both(&ready(3)));
    assert_eq!((state(&world).healthy, state(&world).unready.len()), (Millis(MINUTE), 0));
}

#[test]
fn where_no_time_is_set_pods_that_are_not_ready_undo_nothing() {
    let mut never = policy();
    never.roll_back.health_failing_for = None;
    let mut world = watched(never);
    let unready = Window { ready: Some(0), ..healthy_window() };
    measured(&mut world, 0, 30 * MINUTE, &both(&unready));
    assert_eq!(undone(&world), None);
}

/// Release 1 is live, and only what the test says is measured.
fn live_under(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.go_live(2);
    world.parked = |_| true;
    world.now = world.now + Millis::minutes(30);
    world
}

#[test]
fn once_live_only_what_rolls_back_counts_and_only_news_are_written_down() {
    let mut strict = policy();
    strict.roll_back.when = vec![trigger(Metric::ErrorRate, Comparison::AtLeast, 500)];
    let mut world = live_under(strict);
    assert_eq!(measured(&mut world, 0, MINUTE, &both(&failing_window(499))), vec![], "above what must stay healthy");
    let windows = [("web", healthy_window()), ("api", failing_window(500))];
    assert_eq!(names(&measured(&mut world, 30, MINUTE, &windows)), ["measured"]);
    assert_eq!(measured(&mut world, 0, 0, &windows), vec![], "an empty window");
    measured(&mut world, 0, MINUTE, &windows);
    assert_eq!(undone(&world).as_deref(), Some("api error_rate 5%, rolls back at least 5%"));
}

#[test]
fn once_live_a_window_from_before_the_last_one_says_nothing() {
    let mut strict = policy();
    strict.roll_back.when = vec![trigger(Metric::ErrorRate, Comparison::AtLeast, 500)];
    let mut world = live_under(strict);
    measured(&mut world, 10 * MINUTE, 11 * MINUTE, &both(&failing_window(500)));
    let seq = intention(&world, |action| matches!(action, Action::Measure(_)));
    let from = state(&world).measured_to - Millis(1);
    let services = both(&failing_window(500)).into_iter().map(|(name, window)| (service(name), window)).collect();
    let late = Outcome::Measured { from, to: from + Millis(MINUTE), services, alarms: BTreeMap::new() };
    assert_eq!(outcome(&mut world, seq, late), vec![]);
    measured(&mut world, 0, MINUTE, &both(&healthy_window()));
    assert_eq!(state(&world).breaches.len(), 0, "that it ended is news, too");
}

/// Release 1 is watched, or live, under a policy with alarms: `app-*` undo it, `db-*` ask.
fn with_alarms(live: bool) -> World {
    let mut policy = policy();
    policy.watch.alarms_roll_back = vec!["app-*".into()];
    policy.watch.alarms_ask = vec!["db-*".into()];
    let mut world = World::new(policy);
    let now = world.now;
    world.alarm("app-5xx", AlarmState::Ok, now);
    world.alarm("db-cpu", AlarmState::Ok, now);
    world.build(2, "amara");
    world.push(2);
    world.approve("kofi", FIRST);
    if live {
        world.pass(Millis::minutes(6));
    }
    world.now = world.now + Millis::minutes(1);
    world.parked = |_| true;
    world
}

fn rings(world: &mut World, name: &str, state: AlarmState, after: Millis, suppressed: bool) -> Vec<String> {
    let changed_at = world.release(FIRST).serving_since.unwrap() + after;
    let alarm = AlarmName::new(name).unwrap();
    names(&world.signal(&Signal::Alarm { alarm, state, changed_at, reason: why("5xx"), suppressed }))
}

#[test]
fn an_alarm_undoes_or_asks_as_the_policy_says_and_only_for_what_served_when_it_rang() {
    let (second, alarm) = (Millis::seconds(1), AlarmState::Alarm);
    for (live, name, state, after, suppressed, expected) in [
        (false, "app-5xx", alarm, second, false, ["alarm_seen", "rollback_began"].as_slice()),
        (false, "app-5xx", alarm, Millis(0), false, &["alarm_seen", "rollback_began"]),
        (false, "app-5xx", alarm, second, true, &[]),
        (false, "other", alarm, second, false, &[]),
        (false, "app-5xx", AlarmState::InsufficientData, second, false, &["alarm_seen"]),
        (false, "app-new", AlarmState::Ok, second, false, &["alarm_seen"]),
        (false, "db-cpu", alarm, second, false, &["alarm_seen", "asked"]),
        (true, "app-5xx", alarm, second, false, &["alarm_seen", "rollback_began"]),
        (true, "db-cpu", alarm, second, false, &["alarm_seen"]),
    ] {
        let mut world = with_alarms(live);
        let mut told = rings(&mut world, name, state, after, suppressed);
        told.retain(|name| name != "intended");
        assert_eq!(told, expected, "{name} {state:?} after {after}, live: {live}, suppressed: {suppressed}");
    }
}

#[test]
fn an_alarm_that_asks_does_so_once_and_names_itself() {
    let mut world = with_alarms(false);
    rings(&mut world, "db-cpu", AlarmState::Alarm, Millis::seconds(1), false);
    let asked = world.release(FIRST).asking.clone().unwrap();
    assert_eq!(asked.why, "alarm db-cpu rings; promote the release, or roll it back");
    assert_eq!(rings(&mut world, "db-io", AlarmState::Alarm, Millis::seconds(2), false), ["alarm_seen"]);
    // One whose all-clear came first asks nobody: it is over.
    let mut world = with_alarms(false);
    rings(&mut world, "db-cpu", AlarmState::Ok, Millis::seconds(2), false);
    assert_eq!(rings(&mut world, "db-cpu", AlarmState::Alarm, Millis::seconds(1), false), Vec::<String>::new());
    assert_eq!(
        rings(&mut world, "db-cpu", AlarmState::InsufficientData, Millis::seconds(1), false),
        Vec::<String>::new()
    );
    assert_eq!(
        rings(&mut world, "db-cpu", AlarmState::Alarm, Millis::seconds(2), false),
        ["alarm_seen", "asked"],
        "of the same moment it is not late"
    );
}

#[test]
fn an_alarm_that_a_person_accepted_or_that_rings_on_the_way_back_undoes_nothing() {
    let mut world = with_alarms(false);
    let alarm = AlarmName::new("app-5xx").unwrap();
    world.command("kofi", Command::AcceptAlarm { release: FIRST, alarm });
    assert_eq!(rings(&mut world, "app-5xx", AlarmState::Alarm, Millis::seconds(1), false), ["alarm_seen"]);
    let mut world = with_alarms(false);
    world.roll_back("kofi");
    assert_eq!(rings(&mut world, "app-5xx", AlarmState::Alarm, Millis::seconds(1), false), ["alarm_seen"]);
}

#[test]
fn alarms_of_the_policy_in_force_and_of_the_one_a_release_runs_on_are_both_heard() {
    for (patterns, heard) in [("app-*", true), ("db-*", true), ("new-*", true), ("old-*", false)] {
        let mut world = with_alarms(false);
        let mut changed = Policy::clone(&world.policy);
        changed.watch.alarms_roll_back = vec!["new-*".into()];
        changed.watch.alarms_ask = vec![];
        world.policy = SealedPolicy::new(changed);
        world.signal(&Signal::Wake);
        let name = patterns.replace('*', "x");
        let told = rings(&mut world, &name, AlarmState::Ok, Millis::seconds(1), false);
        assert_eq!(told == ["alarm_seen"], heard, "{name}: {told:?}");
    }
}

#[test]
fn alarms_that_are_read_with_a_window_count_like_those_that_are_told() {
    let mut world = with_alarms(false);
    let changed_at = world.now;
    let alarms = [("app-5xx", AlarmFact { state: AlarmState::Alarm, changed_at })];
    measured_with(&mut world, 0, MINUTE, &both(&healthy_window()), &alarms);
    assert_eq!(undone(&world).as_deref(), Some("alarm app-5xx"));
}

#[test]
fn the_old_pods_are_let_go_at_their_moment_and_not_while_hands_are_off() {
    let mut world = World::new(policy());
    world.go_live(2);
    world.parked = |_| true;
    let until = world.release(FIRST).keep_old_until.unwrap();
    let events = at(&mut world, until);
    assert!(
        matches!(&events[..], [Event { what: What::Intended { intention, .. }, .. }] if intention.action == Action::Observe)
    );
    assert_eq!(world.signal(&Signal::Wake), vec![], "looked at once");

    let mut world = World::new(policy());
    world.go_live(2);
    world.parked = |_| true;
    let off = Some(world.now + Millis::hours(3));
    world.command("kofi", Command::HandsOff { until: off, reason: why("surgery") });
    world.now = world.now + Millis::hours(2);
    assert_eq!(world.signal(&Signal::Wake), vec![]);
}

#[test]
fn a_pod_of_the_old_colour_that_is_gone_already_needs_no_letting_go() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.commits.get_mut(&commit(2)).unwrap().changed.insert(service("api"), false);
    world.scan(image(1, "api"), &[]);
    world.push_one(2, "web");
    world.push_one(2, "jobs");
    world.settle();
    world.approve("kofi", FIRST);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(FIRST), Some(Phase::Live), "{:#?}", world.story(FIRST));
    let begun = world.events.len();
    world.pass(Millis::minutes(70));
    let drained: Vec<String> = world.events[begun..].iter().filter_map(write_in_words).collect();
    assert_eq!(drained, ["drain Deployment/web-blue to 0 pods"], "api stays, and the worker was stopped before");
    assert_eq!(world.release(FIRST).keep_old_until, None);
}

/// An intended write or wait, in words.
fn write_in_words(event: &Event) -> Option<String> {
    let What::Intended { intention, .. } = &event.what else { return None };
    match &intention.action {
        Action::Write(write) => {
            let purpose = format!("{:?}", write.purpose).to_lowercase();
            Some(match write.to {
                Value::Workload { replicas, .. } => format!("{purpose} {} to {replicas} pods", write.object),
                Value::Traffic { green } => format!("{purpose} {} to {green} green", write.object),
            })
        }
        Action::AwaitReady(ask) => Some(format!("await {} with {} pods", ask.object, ask.replicas)),
        _ => None,
    }
}

/// What was written and waited for since, of one service.
fn steps(world: &World, begun: usize, name: &str) -> Vec<String> {
    let of = |text: &String| text.contains(&format!("/{name}"));
    world.events[begun..].iter().filter_map(write_in_words).filter(of).collect()
}

fn worker(overlap: bool) -> Policy {
    let mut policy = policy();
    policy.services[2].kind = ServiceKind::Worker { overlap };
    policy
}

#[test]
fn a_service_comes_up_switches_and_returns_in_this_order() {
    for (policy, name, forward, back) in [
        (
            policy(),
            "web",
            [
                "mark Deployment/web-blue to 3 pods",
                "mark Deployment/web-green to 0 pods",
                "mark Service/web to 0 green",
                "deploy Deployment/web-green to 3 pods",
                "await Deployment/web-green with 3 pods",
                "claim Deployment/web-green to 3 pods",
                "await Deployment/web-green with 3 pods",
                "switch Service/web to 10000 green",
            ]
            .as_slice(),
            [
                "restore Deployment/web-blue to 3 pods",
                "await Deployment/web-blue with 3 pods",
                "restore Service/web to 0 green",
                "restore Deployment/web-green to 0 pods",
            ]
            .as_slice(),
        ),
        (
            worker(false),
            "jobs",
            &[
                "mark Deployment/jobs-blue to 3 pods",
                "mark Deployment/jobs-green to 0 pods",
                "deploy Deployment/jobs-green to 0 pods",
                "drain Deployment/jobs-blue to 0 pods",
                "await Deployment/jobs-blue with 0 pods",
                "claim Deployment/jobs-green to 3 pods",
                "await Deployment/jobs-green with 3 pods",
            ],
            &[
                "restore Deployment/jobs-green to 0 pods",
                "await Deployment/jobs-green with 0 pods",
                "restore Deployment/jobs-blue to 3 pods",
                "await Deployment/jobs-blue with 3 pods",
            ],
        ),
        (
            worker(true),
            "jobs",
            &[
                "mark Deployment/jobs-blue to 3 pods",
                "mark Deployment/jobs-green to 0 pods",
                "deploy Deployment/jobs-green to 0 pods",
                "claim Deployment/jobs-green to 3 pods",
                "await Deployment/jobs-green with 3 pods",
                "drain Deployment/jobs-blue to 0 pods",
            ],
            &[
                "restore Deployment/jobs-blue to 3 pods",
                "await Deployment/jobs-blue with 3 pods",
                "restore Deployment/jobs-green to 0 pods",
            ],
        ),
    ] {
        let mut world = stands_at(policy, |_| false);
        assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
        assert_eq!(steps(&world, 0, name), forward);
        let begun = world.events.len();
        world.roll_back("kofi");
        assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
        assert_eq!(steps(&world, begun, name), back);
    }
}

#[test]
fn nothing_is_deployed_before_every_object_carries_our_fence() {
    let world = stands_at(policy(), |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Mark));
    let written: Vec<String> = world.events.iter().filter_map(write_in_words).collect();
    assert_eq!(written.len(), 8, "{written:?}");
    assert!(written.iter().all(|step| step.starts_with("mark")), "{written:?}");
}

#[test]
fn tests_run_against_what_answers_requests() {
    let world = verifying();
    let against = world.target.outstanding.values().find_map(|o| match &o.intention.action {
        Action::RunTest { against, .. } => Some(against.clone()),
        _ => None,
    });
    assert_eq!(against, Some([(service("api"), Colour::Green), (service("web"), Colour::Green)].into()));
}

#[test]
fn a_first_release_that_is_undone_before_it_serves_leaves_no_pods() {
    let mut world = World::empty(policy());
    world.build(2, "amara");
    world.push(2);
    world.parked = |action| matches!(action, Action::RunTest { .. });
    world.approve("kofi", FIRST);
    assert_eq!(world.phase(FIRST), Some(Phase::Verifying));
    world.parked = |_| false;
    let begun = world.events.len();
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(steps(&world, begun, "web"), ["restore Deployment/web-blue to 0 pods"]);
    assert_eq!(steps(&world, begun, "jobs"), ["restore Deployment/jobs-blue to 0 pods"]);
}

#[test]
fn pods_that_an_autoscaler_added_meanwhile_are_no_drift_and_are_given_again_on_return() {
    let mut world = backing_up();
    let blue = ObjectKey::workload(&service("web"), Colour::Blue);
    world.cluster.insert(
        blue.clone(),
        found(Stamp { fence: None, value: Value::Workload { digest: image(1, "web"), replicas: 5 } }, 5),
    );
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
    let begun = world.events.len();
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    assert_eq!(steps(&world, begun, "web")[0], "restore Deployment/web-blue to 5 pods");
}

#[test]
fn what_is_awaited_is_ready_only_as_asked_for_and_somebody_elses_hand_is_seen() {
    let own = image(2, "web");
    let workload = |digest, replicas| Value::Workload { digest, replicas };
    let (ready, waits, drift) = (Some("done"), None, Some("drifted"));
    for (fenced, value, pods, expected) in [
        (Some(0), workload(own, 3), 3, ready),
        (Some(1), workload(own, 3), 3, ready),
        (Some(-1), workload(own, 3), 3, waits),
        (Some(0), workload(own, 3), 2, waits),
        (Some(0), workload(own, 3), 4, ready),
        (Some(0), workload(own, 2), 3, waits),
        (Some(0), workload(own, 4), 3, ready),
        (Some(0), workload(image(1, "web"), 3), 3, waits),
        (Some(0), Value::Traffic { green: 0 }, 3, waits),
        (None, workload(own, 3), 3, drift),
    ] {
        let mut world = stands_at(policy(), |action| matches!(action, Action::AwaitReady(_)));
        let seq = intention(&world, |action| matches!(action, Action::AwaitReady(_)));
        let Action::AwaitReady(ask) = world.target.outstanding[&seq].intention.action.clone() else { unreachable!() };
        assert_eq!((ask.digest, ask.replicas), (own, 3));
        let fence = fenced.map(|by: i64| Fence {
            ledger: World::ledger(),
            epoch: 0,
            seq: Seq(ask.after.0.checked_add_signed(by).unwrap()),
        });
        let events = outcome(&mut world, seq, Outcome::Seen(found(Stamp { fence, value }, pods)));
        let told = names(&events);
        match expected {
            None => assert_eq!(told, Vec::<String>::new(), "{fenced:?} {value:?} {pods}"),
            Some("done") => {
                assert!(told[0] == "done" && !told.contains(&why("drifted")), "{told:?} {fenced:?} {value:?} {pods}");
            }
            Some(other) => assert!(told.contains(&why(other)), "{told:?} {fenced:?} {value:?} {pods}"),
        }
    }
    // Deleted: nobody can say what happened to it.
    let mut world = stands_at(policy(), |action| matches!(action, Action::AwaitReady(_)));
    let seq = intention(&world, |action| matches!(action, Action::AwaitReady(_)));
    outcome(&mut world, seq, Outcome::Seen(Found::default()));
    assert_eq!(world.phase(FIRST), Some(Phase::NeedsHelp));
    let why = world.release(FIRST).asking.clone().unwrap().why;
    assert_eq!(why, "Deployment/web-green was deleted. It is not created again by itself");
}

#[test]
fn a_worker_that_is_stopped_is_at_rest_when_its_pods_are_gone_or_it_is() {
    let stops: fn(&Action) -> bool = |action| matches!(action, Action::AwaitReady(ask) if ask.replicas == 0);
    for (found, rests) in [(None, true), (Some(0), true), (Some(1), false)] {
        let mut world = stands_at(policy(), stops);
        let seq = intention(&world, stops);
        let Action::AwaitReady(ask) = world.target.outstanding[&seq].intention.action.clone() else { unreachable!() };
        let found = found.map_or_else(Found::default, |ready| {
            let fence = Fence { ledger: World::ledger(), epoch: 0, seq: ask.after };
            self::found(Stamp { fence: Some(fence), value: Value::Workload { digest: ask.digest, replicas: 0 } }, ready)
        });
        let told = names(&outcome(&mut world, seq, Outcome::Seen(found.clone())));
        assert_eq!(told.first().is_some_and(|name| name == "done"), rests, "{found:?}");
        assert!(!told.contains(&why("drifted")));
    }
}

#[test]
fn what_another_hand_wrote_is_not_gone_on_from() {
    let (old, new) = (image(1, "web"), image(2, "web"));
    let own = |seq| Some(Fence { ledger: World::ledger(), epoch: 0, seq: Seq(seq) });
    let other = Some(Fence { ledger: "ledger-b".parse().unwrap(), epoch: 0, seq: Seq(1) });
    for (fence, digest, ours) in [
        (None, new, true),
        (own(1), new, true),
        (own(1), image(9, "web"), false),
        (None, image(9, "web"), false),
        (None, old, false),
        (other, new, false),
        (own(9_999), new, false),
    ] {
        let mut world = deploying();
        let seq = intention(&world, |action| matches!(action, Action::Write(_)));
        let found = found(Stamp { fence: fence.clone(), value: Value::Workload { digest, replicas: 7 } }, 7);
        outcome(&mut world, seq, Outcome::Drift(found));
        let said = world.events.iter().find_map(|event| match event.what {
            What::Drifted { ours, .. } => Some(ours),
            _ => None,
        });
        assert_eq!(said, Some(ours), "{fence:?} {digest:?}");
        assert_eq!(world.phase(FIRST) == Some(Phase::NeedsHelp), !ours);
    }
}

#[test]
fn a_persons_rollback_stops_no_line_however_many_were_counted_before() {
    let mut three = policy();
    three.governor = Governor { rollbacks: 3, ..Governor::default() };
    let mut world = watched(three);
    for _ in 0..2 {
        measured(&mut world, 0, MINUTE, &both(&failing_window(900)));
    }
    world.parked = |_| false;
    world.settle();
    assert!(world.rolled_back(FIRST), "{:#?}", world.story(FIRST));
    let mut one = Policy::clone(&world.policy);
    one.governor.rollbacks = 1;
    world.policy = SealedPolicy::new(one);
    world.build(3, "amara");
    let second = world.push(3);
    world.approve("kofi", second);
    assert_eq!(world.phase(second), Some(Phase::Watching), "{:#?}", world.story(second));
    world.roll_back("kofi");
    assert!(world.rolled_back(second));
    assert_eq!(world.target.line_stopped, None);
}

#[test]
fn so_many_releases_wait_and_one_more_takes_the_place_of_the_oldest() {
    let mut queue = policy();
    queue.waiting = Waiting::Queue;
    let mut world = World::new(queue);
    for n in 2..13 {
        world.build(n, "amara");
        world.push(n);
    }
    assert_eq!(world.target.releases.len(), 11);
    assert_eq!(world.happened(|what| matches!(what, What::Settled { .. })), 0);
    world.build(13, "amara");
    let newest = world.push(13);
    assert_eq!(settled(&world, FIRST), Some((End::Superseded, format!("release {newest} is newer and complete"))));
    assert_eq!(world.happened(|what| matches!(what, What::Settled { .. })), 1);
}

#[test]
fn a_release_goes_on_under_the_policy_it_began_with() {
    let mut world = verifying();
    let mut strict = policy();
    strict.gates.approvals[0].count = 3;
    world.policy = SealedPolicy::new(strict);
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
}

#[test]
fn scans_are_looked_at_where_a_gate_or_a_rule_wants_them() {
    let rule = |condition: &str| portcullis_domain::rules::Rule {
        name: why("rule"),
        text: format!("forbid(principal, action, resource) when {{ {condition} }};"),
    };
    for (gate, rules, scans) in [
        (true, vec![], true),
        (false, vec![], false),
        (false, vec![rule("context.commits > 20")], false),
        (false, vec![rule("context.findings.high > 3")], true),
    ] {
        let mut policy = policy();
        policy.gates.scan = policy.gates.scan.filter(|_| gate);
        policy.gates.rules = rules;
        let world = gated(policy);
        let seq = intention(&world, |action| matches!(action, Action::Look(_)));
        let Action::Look(look) = &world.target.outstanding[&seq].intention.action else { unreachable!() };
        assert_eq!(look.scans, scans, "gate: {gate}");
    }
}

#[test]
fn why_a_new_plan_was_made_is_told() {
    let whys = |world: &World| -> Vec<String> {
        let planned = world.events.iter().filter_map(|event| match &event.what {
            What::Planned { why, .. } => Some(why.clone()),
            _ => None,
        });
        planned.collect()
    };
    let mut world = gated(policy());
    world.scan(image(2, "api"), &[(Severity::High, 1)]);
    world.pass(Millis::minutes(2));
    let mut other = policy();
    other.backup_keep = Millis::days(30);
    world.policy = SealedPolicy::new(other);
    world.pass(Millis::minutes(2));
    let blue = ObjectKey::workload(&service("api"), Colour::Blue);
    let value = Value::Workload { digest: image(77, "api"), replicas: 3 };
    world.cluster.insert(blue, found(Stamp { fence: None, value }, 3));
    world.pass(Millis::minutes(2));
    world.scan(image(2, "api"), &[]);
    world.pass(Millis::minutes(2));
    let told = ["first plan", "the scan found more", "the policy changed", "what is live, or a manifest, changed"];
    assert_eq!(whys(&world), told, "evidence that gets better keeps the plan");
}

#[test]
fn facts_count_as_fresh_for_a_minute_from_when_we_got_them() {
    for (age, begins) in [(Millis::minutes(1), true), (Millis(MINUTE + 1), false)] {
        let mut world = gated(policy());
        world.parked = |_| true;
        world.now = world.now + age;
        world.approve("kofi", FIRST);
        assert_eq!(world.phase(FIRST) == Some(Phase::BackingUp), begins, "{age}");
    }
    // The reader's own clock is not asked.
    let mut world = gated(policy());
    world.parked = |_| true;
    world.now = world.now + Millis::minutes(5);
    world.approve("kofi", FIRST);
    assert_eq!(world.phase(FIRST), Some(Phase::Gated));
    let seq = intention(&world, |action| matches!(action, Action::Look(_)));
    let action = world.target.outstanding[&seq].intention.action.clone();
    let Some(Outcome::Facts(mut facts)) = world.perform(seq, &action) else { unreachable!() };
    facts.fetched_at = Timestamp(5);
    outcome(&mut world, seq, Outcome::Facts(facts));
    assert_eq!(world.phase(FIRST), Some(Phase::BackingUp), "{:#?}", world.story(FIRST));
}

#[test]
fn nothing_goes_forward_while_hands_are_off() {
    let mut world = verifying();
    let until = Some(world.now + Millis::minutes(10));
    world.command("kofi", Command::HandsOff { until, reason: why("surgery") });
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(FIRST), Some(Phase::Verifying));
    world.pass(Millis::minutes(11));
    assert_eq!(world.phase(FIRST), Some(Phase::Watching), "{:#?}", world.story(FIRST));
}

/// The facts that a look of this release would bring now.
fn look(world: &mut World) -> (Seq, Box<Facts>) {
    let seq = intention(world, |action| matches!(action, Action::Look(_)));
    let action = world.target.outstanding[&seq].intention.action.clone();
    let Some(Outcome::Facts(facts)) = world.perform(seq, &action) else { unreachable!() };
    (seq, facts)
}

#[test]
fn a_cluster_that_was_not_read_whole_is_not_taken_for_what_is_live() {
    for (objects, missing) in [(true, true), (false, false), (false, true)] {
        let mut world = World::new(policy());
        world.parked = |_| true;
        world.build(2, "amara");
        world.push(2);
        let (seq, mut facts) = look(&mut world);
        if !objects {
            facts.objects.clear();
        }
        if missing {
            facts.missing.insert(why("cluster"), why("timed out"));
        }
        outcome(&mut world, seq, Outcome::Facts(facts));
        assert!(!world.target.adopted, "objects: {objects}, missing: {missing}");
    }
}

fn changed_outside(world: &World) -> Vec<String> {
    let found = world.events.iter().filter_map(|event| match &event.what {
        What::LiveChangedOutside { live, .. } => Some(live.keys().map(ToString::to_string)),
        _ => None,
    });
    found.flatten().collect()
}

/// Somebody writes another image into a workload, and leaves our fence on it.
fn overwrite(world: &mut World, object: &ObjectKey, digest: portcullis_domain::digest::Digest) {
    let stamp = world.cluster.get_mut(object).unwrap().stamp.as_mut().unwrap();
    stamp.value = Value::Workload { digest, replicas: 3 };
}

#[test]
fn what_others_changed_is_told_only_while_nothing_of_ours_is_in_flight_or_being_written() {
    let mut world = verifying();
    overwrite(&mut world, &ObjectKey::workload(&service("web"), Colour::Blue), image(77, "web"));
    world.now = world.now + Millis::seconds(59);
    world.parked = |_| false;
    world.settle();
    assert_eq!(changed_outside(&world), Vec::<String>::new(), "{:#?}", world.story(FIRST));

    let mut world = live();
    world.parked = |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Drain);
    world.pass(Millis::minutes(61));
    assert!(world.target.outstanding.values().any(|o| matches!(o.intention.action, Action::Write(_))));
    overwrite(&mut world, &ObjectKey::workload(&service("web"), Colour::Green), image(77, "web"));
    world.build(3, "amara");
    world.push(3);
    assert_eq!(changed_outside(&world), Vec::<String>::new(), "the old pods are being let go");
}

#[test]
fn a_deployment_whose_gates_held_is_awaited_and_another_is_a_surprise() {
    let mut gate = policy();
    gate.mode = Mode::Gate;
    let mut world = stands_at(gate, |_| false);
    assert_eq!(world.phase(FIRST), Some(Phase::Cleared));
    overwrite(&mut world, &ObjectKey::workload(&service("web"), Colour::Blue), image(2, "web"));
    world.pass(Millis::minutes(2));
    assert_eq!(changed_outside(&world), Vec::<String>::new(), "one of three has arrived");
    overwrite(&mut world, &ObjectKey::workload(&service("api"), Colour::Blue), image(77, "api"));
    world.pass(Millis::minutes(2));
    assert_eq!(changed_outside(&world), ["api"]);
}

#[test]
fn while_a_freeze_lasts_nobody_takes_the_place_of_another_that_waits_for_its_end() {
    use portcullis_domain::calendar::Window;
    let mut frozen = policy();
    frozen.waiting = Waiting::Queue;
    frozen.gates.calendar.freeze.push(Window::once("launch", "2027-01-15", "2027-01-16", "UTC").unwrap());
    let mut world = World::new(frozen);
    for n in [2, 3] {
        world.build(n, "amara");
        let id = world.push(n);
        world.approve("kofi", id);
    }
    world.pass(Millis::minutes(10));
    assert_eq!(world.phase(FIRST), Some(Phase::Gated), "{:#?}", world.story(FIRST));
    assert_eq!(world.happened(|what| matches!(what, What::Settled { .. })), 0);
}

#[test]
fn a_look_that_finds_nothing_new_makes_the_facts_fresh_again() {
    let mut world = gated(policy());
    world.parked = |_| true;
    world.now = world.now + Millis::minutes(5);
    world.approve("kofi", FIRST);
    assert_eq!(world.phase(FIRST), Some(Phase::Gated));
    let seq = intention(&world, |action| matches!(action, Action::Look(_)));
    let same = Box::new((**world.release(FIRST).facts.as_ref().unwrap()).clone());
    let events = outcome(&mut world, seq, Outcome::Facts(same));
    assert_eq!(world.phase(FIRST), Some(Phase::BackingUp), "{events:#?}");
    assert!(!names(&events).contains(&why("facts_read")), "and is not written down");
}

#[test]
fn of_many_findings_those_that_a_waiver_names_are_kept_first() {
    let mut waived = policy();
    let until = World::new(waived.clone()).now + Millis::days(1);
    waived.gates.scan.as_mut().unwrap().severities.clear();
    waived.gates.scan.as_mut().unwrap().waivers =
        vec![Waiver { id: why("CVE-waived"), reason: why("not reachable"), until }];
    let mut world = World::new(waived);
    world.build(2, "amara");
    let finding = |severity, id: String| Finding { severity, id, package: why("zlib") };
    let scan = world.scans.get_mut(&image(2, "web")).unwrap();
    scan.findings = (0..70).map(|n| finding(Severity::Critical, format!("CVE-{n}"))).collect();
    scan.findings.push(finding(Severity::Low, why("CVE-waived")));
    world.push(2);
    let kept = &world.release(FIRST).facts.as_ref().unwrap().scans[&image(2, "web")].findings;
    assert_eq!((kept[0].id.as_str(), kept.len()), ("CVE-waived", 60));
}

#[test]
fn what_a_person_takes_as_found_keeps_the_release_and_the_commit_it_came_with() {
    let mut world = live();
    world.pass(Millis::hours(2));
    world.build(3, "amara");
    let second = world.push(3);
    world.parked = |action| matches!(action, Action::RunTest { .. } | Action::AwaitReady(_));
    world.approve("kofi", second);
    world.pass(Millis::minutes(25));
    assert_eq!(world.phase(second), Some(Phase::NeedsHelp), "{:#?}", world.story(second));
    world.command("kofi", Command::Resolve { reason: why("I looked") });
    assert_eq!(world.phase(second), None, "{:#?}", world.story(second));
    let web = &world.target.live[&service("web")];
    assert_eq!((web.digest, web.release, web.commit.clone()), (image(2, "web"), Some(FIRST), Some(commit(2))));
}

#[test]
fn what_was_changed_by_hand_is_taken_as_found_without_a_write() {
    let switches: fn(&Action) -> bool = |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Switch && write.object.service == service("web"));
    for (by_hand, written) in [(false, vec!["mark Service/web to 0 green"]), (true, vec![])] {
        let mut world = World::new(policy());
        world.build(2, "amara");
        world.commits.get_mut(&commit(2)).unwrap().forward_only = true;
        world.push(2);
        world.parked = switches;
        world.approve("kofi", FIRST);
        world.pass(Millis::minutes(10));
        assert_eq!(world.phase(FIRST), Some(Phase::NeedsHelp), "{:#?}", world.story(FIRST));
        world.parked = |_| false;
        if by_hand {
            let web = ObjectKey::traffic(&service("web"));
            world.cluster.get_mut(&web).unwrap().stamp.as_mut().unwrap().value = Value::Traffic { green: 3_333 };
        }
        let begun = world.events.len();
        world.command("kofi", Command::Resolve { reason: why("I looked") });
        assert_eq!(world.phase(FIRST), None, "{:#?}", world.story(FIRST));
        assert_eq!(steps(&world, begun, ""), written, "by hand: {by_hand}");
    }
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
