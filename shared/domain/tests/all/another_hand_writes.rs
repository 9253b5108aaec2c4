//! What others changed in the cluster: seen, told, and taken as found where a person says so.

use portcullis_domain::action::{Action, Fence, ObjectKey, Outcome, Purpose, Stamp, Value};
use portcullis_domain::event::What;
use portcullis_domain::names::Seq;
use portcullis_domain::policy::*;
use portcullis_domain::signal::Command;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::stages::{FIRST, deploying, intention, live, look, outcome, stands_at, verifying, why};
use crate::world::writing::steps;
use crate::world::*;

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
