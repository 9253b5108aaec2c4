//! An alarm undoes a release or asks a person, as the policy says.

use portcullis_domain::facts::{AlarmFact, AlarmState};
use portcullis_domain::names::AlarmName;
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::time::Millis;

use crate::world::measuring::{MINUTE, both, measured_with};
use crate::world::stages::{FIRST, names, undone, why};
use crate::world::*;

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
