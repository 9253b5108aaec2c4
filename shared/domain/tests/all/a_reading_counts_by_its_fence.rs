//! What `apply` takes of a reading: by its fence, and by when it was made.

use std::collections::BTreeMap;

use portcullis_domain::action::{Action, Fence, Found, ObjectKey, Outcome, Purpose, Stamp, Value};
use portcullis_domain::event::What;
use portcullis_domain::names::{LedgerId, Seq};
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::{Known, Phase, Step, Target};
use portcullis_domain::time::Millis;

use crate::world::applying::{ID, answer, awaits, on_its_way, say, traffic, write};
use crate::world::*;

#[expect(clippy::unnecessary_wraps, reason = "as a stamp has it")]
fn own_fence(epoch: u32, seq: u64) -> Option<Fence> {
    Some(Fence { ledger: World::ledger(), epoch, seq: Seq(seq) })
}

fn traffic_read(fence: Option<Fence>, green: u16) -> Found {
    found(Stamp { fence, value: Value::Traffic { green } }, 0)
}

#[test]
fn a_confirmed_write_settles_what_was_meant_before_it_and_nothing_after_it() {
    let mut target = on_its_way(policy(), "web", Step::Switching(Seq(7)), 0);
    let value = |green| Value::Traffic { green };
    let meant = BTreeMap::from([(Seq(5), value(0)), (Seq(7), value(10_000)), (Seq(9), value(5_000))]);
    target.objects.insert(traffic("web"), Known { confirmed: None, meant });
    awaits(&mut target, ID, 7, write(&traffic("web"), value(10_000), Purpose::Switch));
    answer(&mut target, 7, Outcome::Written);
    let expected = Known {
        confirmed: Some(Stamp { fence: own_fence(0, 7), value: value(10_000) }),
        meant: BTreeMap::from([(Seq(9), value(5_000))]),
    };
    assert_eq!(target.objects[&traffic("web")], expected);
}

#[test]
fn what_was_meant_after_the_fence_that_is_found_may_still_land() {
    let value = |green| Value::Traffic { green };
    let all = [5, 7, 9].map(|seq| (Seq(seq), value(0)));
    for (fence, left) in [(own_fence(0, 7), &all[2..]), (None, &all[..])] {
        let mut target = on_its_way(policy(), "web", Step::Switched, 10_000);
        target.objects.insert(traffic("web"), Known { confirmed: None, meant: BTreeMap::from(all) });
        let found = traffic_read(fence, 4_000);
        let object = traffic("web");
        say(&mut target, What::Drifted { release: ID, object: object.clone(), found: found.clone(), ours: true });
        assert_eq!(target.objects[&object], Known { confirmed: found.stamp, meant: left.iter().copied().collect() });
    }
}

#[test]
fn a_reading_older_than_our_last_confirmed_write_is_not_taken() {
    let foreign = Some(Fence { ledger: LedgerId::new("ledger-b").unwrap(), epoch: 9, seq: Seq(99) });
    for (fence, taken, why) in [
        (own_fence(1, 6), false, "an older write of ours"),
        (own_fence(0, 99), false, "a write of an older epoch"),
        (own_fence(1, 7), true, "the very write"),
        (own_fence(1, 8), true, "a newer one"),
        (own_fence(2, 1), true, "one of a newer epoch"),
        (None, false, "no fence at all"),
        (foreign, false, "another ledger's fence"),
    ] {
        let mut target = Target { ledger: Some(World::ledger()), epoch: 1, ..Target::default() };
        let confirmed = traffic_read(own_fence(1, 7), 0).stamp;
        target.objects.insert(traffic("web"), Known { confirmed: confirmed.clone(), meant: BTreeMap::new() });
        let read = traffic_read(fence, 5_000);
        let objects = BTreeMap::from([(traffic("web"), read.clone())]);
        say(&mut target, What::LiveChangedOutside { live: BTreeMap::new(), objects });
        let expected = if taken { &read.stamp } else { &confirmed };
        assert_eq!(&target.objects[&traffic("web")].confirmed, expected, "{why}");
    }
}

#[test]
fn a_fence_this_ledger_issued_is_not_from_a_lost_future() {
    let mut target = Target { ledger: Some(World::ledger()), epoch: 1, ..Target::default() };
    let meant = BTreeMap::from([(Seq(9), Value::Traffic { green: 0 })]);
    target.objects.insert(traffic("web"), Known { confirmed: traffic_read(own_fence(1, 7), 0).stamp, meant });
    for (fence, beyond, why) in [
        (own_fence(1, 7), false, "confirmed"),
        (own_fence(1, 9), false, "meant"),
        (own_fence(1, 8), true, "never issued for it"),
        (own_fence(2, 9), true, "of an epoch that is still to come"),
        (own_fence(0, 9), false, "of an epoch that is over"),
    ] {
        assert_eq!(target.is_beyond(&World::ledger(), &traffic("web"), &traffic_read(fence, 0)), beyond, "{why}");
    }
}

#[test]
fn a_reading_from_before_the_last_release_changes_nothing_of_what_is_live() {
    let mut world = World::new(policy());
    world.go_live(2);
    let stale = world.observe();
    // The old colour is kept for an hour, and only then is there room for the next release.
    world.pass(Millis::hours(2));
    world.go_live(3);
    let live = world.target.live.clone();
    world.parked = |action| matches!(action, Action::Look(_));
    world.build(4, "amara");
    world.push(4);
    let (seq, looks) = world
        .target
        .outstanding
        .iter()
        .find(|(_, o)| matches!(&o.intention.action, Action::Look(look) if look.commit == Some(commit(4))))
        .map(|(seq, o)| (*seq, o.intention.action.clone()))
        .unwrap();
    let Some(Outcome::Facts(mut facts)) = world.perform(seq, &looks) else { panic!("a look reads facts") };
    facts.objects = stale;
    world.signal(&Signal::Outcome { intention: seq, outcome: Outcome::Facts(facts) });
    assert_eq!(world.happened(|what| matches!(what, What::LiveChangedOutside { .. })), 0);
    assert_eq!(world.target.live, live);
}

#[test]
fn a_late_switch_does_not_get_through_where_the_fence_is_of_an_epoch_that_is_over() {
    fn switches_web(action: &Action) -> bool {
        matches!(action, Action::Write(write)
            if write.purpose == Purpose::Switch && write.object == ObjectKey::traffic(&service("web")))
    }
    let mut world = World::new(policy());
    world.cluster.get_mut(&traffic("web")).unwrap().stamp.as_mut().unwrap().fence = own_fence(0, 10_000);
    world.build(2, "amara");
    world.commits.get_mut(&commit(2)).unwrap().forward_only = true;
    let id = world.push(2);
    world.parked = switches_web;
    world.command("kofi", Command::RaiseEpoch { reason: "restored".into() });
    world.pass(Millis::minutes(2));
    world.approve("kofi", id);
    let (seq, write) = world.under_way();
    world.pass(Millis::minutes(10));
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp), "{:#?}", world.story(id));
    world.parked = |_| false;
    world.command("kofi", Command::Resolve { reason: "stay on blue".into() });
    assert_eq!(world.phase(id), None);
    assert!(matches!(world.write(seq, &write), Outcome::Drift(_)), "the late switch got through");
    assert_eq!(world.serves("web"), Some(image(1, "web")));
}

#[test]
fn what_was_intended_before_the_epoch_was_raised_keeps_its_own() {
    let raise = |target: &mut Target| {
        let epoch = target.epoch + 1;
        say(target, What::EpochRaised { epoch, reason: "restored".into() });
        target.seq
    };
    let mut target = on_its_way(policy(), "web", Step::Switched, 0);
    let nothing_before = raise(&mut target);
    assert_eq!(target.raised, [], "nothing is under way that is older");
    assert_eq!(target.fence_at(Seq(nothing_before.0 + 1)), own_fence(1, nothing_before.0 + 1));

    let meant = Known { confirmed: None, meant: BTreeMap::from([(Seq(25), Value::Traffic { green: 0 })]) };
    target.objects.insert(traffic("web"), meant);
    target.seq = Seq(29);
    awaits(&mut target, ID, 28, write(&traffic("web"), Value::Traffic { green: 10_000 }, Purpose::Switch));
    let first = raise(&mut target);
    let second = raise(&mut target);
    assert_eq!(target.raised, [first, second]);
    for (seq, epoch) in [(25, 1), (28, 1), (first.0 - 1, 1), (first.0, 2), (second.0, 3), (second.0 + 9, 3)] {
        assert_eq!(target.epoch_at(Seq(seq)), epoch, "at {seq}");
    }

    // The value that was meant before both may still land; an intention between the two is what is left of them.
    target.objects.clear();
    target.outstanding.clear();
    awaits(&mut target, ID, first.0, write(&traffic("web"), Value::Traffic { green: 0 }, Purpose::Restore));
    let third = raise(&mut target);
    assert_eq!(target.raised, [second, third]);
    assert_eq!((target.epoch_at(first), target.epoch_at(third)), (2, 4));
}

#[test]
fn a_write_of_the_epoch_before_is_confirmed_with_the_fence_it_left() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.parked = |action| matches!(action, Action::Write(write) if write.purpose == Purpose::Deploy);
    world.approve("kofi", id);
    let (seq, write) = world.under_way();
    assert_eq!(world.write(seq, &write), Outcome::Written);
    world.command("kofi", Command::RaiseEpoch { reason: "restored".into() });
    // A second driver, that knows of the new epoch, leaves the same fence.
    let left = world.cluster[&write.object].stamp.clone();
    assert_eq!(world.write(seq, &write), Outcome::Written);
    assert_eq!(world.cluster[&write.object].stamp, left);
    world.parked = |_| false;
    world.signal(&Signal::Outcome { intention: seq, outcome: Outcome::Written });
    assert_eq!(world.target.objects[&write.object].confirmed, world.cluster[&write.object].stamp);
    // So what is read of it is no reading of the past, and the release goes on.
    world.pass(Millis::hours(1));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}
