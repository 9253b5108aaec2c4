//! A release that says of itself that it can not be undone: an automatic rollback becomes a question.

use portcullis_domain::action::{Action, ObjectKey, Outcome, Purpose, Write};
use portcullis_domain::event::What;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::signal::Command;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::*;

fn watched(n: u8) -> (World, ReleaseId) {
    let mut world = World::new(policy());
    world.build(n, "amara");
    world.commits.get_mut(&commit(n)).unwrap().forward_only = true;
    let id = world.push(n);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Watching));
    (world, id)
}

fn hurts(world: &mut World) {
    world.windows.insert(service("web"), Some(failing_window(2_000)));
    world.pass(Millis::minutes(3));
}

#[test]
fn what_would_undo_it_freezes_it_and_asks_a_person() {
    let (mut world, id) = watched(2);
    hurts(&mut world);
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp));
    assert_eq!(world.serves("web"), Some(image(2, "web")), "traffic stays");
    let why = world.release(id).asking.clone().unwrap().why;
    assert!(why.starts_with("web error_rate 20%, must stay below 1%. It is forward-only"), "{why}");
    assert!(world.target.outstanding.is_empty(), "nothing moves: {:?}", world.target.outstanding);
    assert_eq!(world.happened(|what| matches!(what, What::RollbackBegan { .. })), 0);
}

#[test]
fn a_person_may_still_roll_it_back() {
    let (mut world, id) = watched(2);
    hurts(&mut world);
    world.windows.clear();
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    assert_eq!(world.serves("web"), Some(image(1, "web")));
}

#[test]
fn a_person_may_take_it_as_it_is_and_the_next_release_goes_on() {
    let (mut world, id) = watched(2);
    hurts(&mut world);
    world.windows.clear();
    world.command("kofi", Command::Resolve { reason: "fix forward".into() });
    assert_eq!(world.phase(id), None);
    assert_eq!(world.target.live[&service("web")].digest, image(2, "web"));
    world.go_live(3);
}

#[test]
fn nothing_else_begins_while_it_waits_and_the_call_gets_louder() {
    let (mut world, id) = watched(2);
    hurts(&mut world);
    world.build(3, "amara");
    let next = world.push(3);
    world.approve("kofi", next);
    world.pass(Millis::hours(1));
    assert_eq!(world.phase(next), Some(Phase::Gated));
    assert!(world.release(id).asking.clone().unwrap().level >= 4);
}

#[test]
fn in_its_window_it_is_asked_about_too() {
    let mut policy = policy();
    policy.roll_back.when = policy.watch.healthy.clone();
    let mut world = World::new(policy);
    world.build(2, "amara");
    world.commits.get_mut(&commit(2)).unwrap().forward_only = true;
    let id = world.push(2);
    world.approve("kofi", id);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), Some(Phase::Live));
    hurts(&mut world);
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp), "{:#?}", world.story(id));
    assert_eq!((world.target.in_flight, world.target.live_release), (Some(id), None));
    world.windows.clear();
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
}

#[test]
fn before_its_first_change_it_ends_like_any_other() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.commits.get_mut(&commit(2)).unwrap().forward_only = true;
    let id = world.push(2);
    world.parked = |action| matches!(action, portcullis_domain::action::Action::BackUp { .. });
    world.approve("kofi", id);
    world.pass(Millis::minutes(11));
    assert_eq!(world.phase(id), None, "{:#?}", world.story(id));
    assert_eq!(world.happened(|what| matches!(what, What::Settled { .. })), 1);
}

#[test]
fn a_person_who_starts_a_release_can_say_it_of_it() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let images = ["web", "api", "jobs"].map(|name| (service(name), (image(2, name), None))).into();
    let start = Command::Start {
        commit: commit(2),
        images,
        facts: world.commits.get(&commit(2)).cloned(),
        typed: None,
        reason: None,
        forward_only: true,
    };
    world.command("lena", start);
    let id = *world.target.releases.keys().next().unwrap();
    world.approve("kofi", id);
    hurts(&mut world);
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp), "{:#?}", world.story(id));
}

/// A release whose switch of `web` was sent, and has not arrived when its time is over: it is forward-only, so a person
/// is asked.
fn switch_under_way() -> (World, ReleaseId, (Seq, Write)) {
    fn switches_web(action: &Action) -> bool {
        matches!(action, Action::Write(write)
            if write.purpose == Purpose::Switch && write.object == ObjectKey::traffic(&service("web")))
    }
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.commits.get_mut(&commit(2)).unwrap().forward_only = true;
    let id = world.push(2);
    world.parked = switches_web;
    world.approve("kofi", id);
    let sent = world.under_way();
    world.pass(Millis::minutes(10));
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp), "{:#?}", world.story(id));
    world.parked = |_| false;
    (world, id, sent)
}

#[test]
fn what_a_person_took_for_what_counts_is_not_changed_by_a_switch_that_arrives_late() {
    let (mut world, id, (seq, write)) = switch_under_way();
    world.command("kofi", Command::Resolve { reason: "stay on blue".into() });
    assert_eq!(world.phase(id), None, "{:#?}", world.story(id));
    assert_eq!(world.target.live[&service("web")].digest, image(1, "web"));
    assert!(matches!(world.write(seq, &write), Outcome::Drift(_)), "the late switch got through");
    assert_eq!(world.serves("web"), Some(image(1, "web")));
}

#[test]
fn a_switch_that_arrives_before_the_cluster_is_read_counts() {
    let (mut world, id, (seq, write)) = switch_under_way();
    assert_eq!(world.write(seq, &write), Outcome::Written);
    world.command("kofi", Command::Resolve { reason: "it arrived".into() });
    assert_eq!(world.phase(id), None, "{:#?}", world.story(id));
    assert_eq!(world.target.live[&service("web")].digest, image(2, "web"));
}

#[test]
fn while_it_is_resolved_a_rollback_is_still_heard() {
    let (mut world, id, _) = switch_under_way();
    world.parked = |action| matches!(action, Action::Observe);
    world.command("kofi", Command::Resolve { reason: "stay".into() });
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp));
    world.parked = |_| false;
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    assert_eq!(world.serves("api"), Some(image(1, "api")));
}

#[test]
fn with_hands_off_it_is_resolved_once_they_are_on_again() {
    let (mut world, id, (seq, write)) = switch_under_way();
    let until = Some(world.now + Millis::minutes(5));
    world.command("kofi", Command::HandsOff { until, reason: "I look at it".into() });
    world.command("kofi", Command::Resolve { reason: "stay on blue".into() });
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp), "a write of ours waits, too");
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), None, "{:#?}", world.story(id));
    assert!(matches!(world.write(seq, &write), Outcome::Drift(_)));
}
