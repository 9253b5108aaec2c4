//! What the gates say of all around a release: alarms, the calendar, the cluster, stops, and the way back.

use std::collections::BTreeMap;

use portcullis_domain::action::{ObjectKey, Stamp, Value};
use portcullis_domain::facts::{AlarmFact, AlarmState};
use portcullis_domain::names::{AlarmName, ReleaseId};
use portcullis_domain::policy::*;
use portcullis_domain::scope::{FleetRollback, Stop};
use portcullis_domain::target::{Approval, Phase, Release};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::Verdict;

use crate::world::waits::{NAMES, Waits, says, waits};
use crate::world::*;

#[test]
fn a_message_can_make_an_alarm_worse_than_our_own_reading_but_only_a_later_one() {
    let (ok, rings) = (AlarmState::Ok, AlarmState::Alarm);
    let at = |seconds: u64| Timestamp(1_700_000_000_000) + Millis::seconds(seconds);
    for (told, read, expected) in [
        ((rings, 9), (ok, 10), "pass: 1 of 1 alarm OK"),
        ((rings, 10), (ok, 10), "pass: 1 of 1 alarm OK"),
        ((rings, 11), (ok, 10), "hold: app-5xx rings already"),
        ((ok, 11), (rings, 10), "hold: app-5xx rings already"),
    ] {
        let mut waits = waits();
        waits.policy.watch.alarms_roll_back = vec!["app-*".into()];
        let alarm = AlarmName::new("app-5xx").unwrap();
        let fact = |(state, seconds)| AlarmFact { state, changed_at: at(seconds) };
        waits.world.target.alarms.insert(alarm.clone(), fact(told));
        waits.facts.alarms.insert(alarm, fact(read));
        assert_eq!(waits.says("alarms"), expected, "told {told:?}, read {read:?}");
    }
}

#[test]
fn alarms_are_counted_and_one_that_a_person_accepted_is_named() {
    let mut waits = waits();
    waits.policy.watch.alarms_roll_back = vec!["app-*".into()];
    waits.policy.watch.alarms_ask = vec!["db-*".into()];
    let changed_at = waits.world.now;
    let states = [("app-1", AlarmState::Ok), ("app-2", AlarmState::Alarm), ("app-3", AlarmState::InsufficientData)];
    for (name, state) in states {
        waits.facts.alarms.insert(AlarmName::new(name).unwrap(), AlarmFact { state, changed_at });
    }
    assert_eq!(
        waits.parts("alarms"),
        ["db-*: hold: db-* matches no alarm", "app-1: pass: OK", "app-2: hold: app-2 rings already", "app-3: pass: OK"]
    );
    waits.policy.watch.alarms_ask.clear();
    waits.release.accepted_alarms.insert(AlarmName::new("app-2").unwrap());
    assert_eq!(waits.says("alarms"), "pass: 2 of 3 alarms OK");
    assert_eq!(waits.parts("alarms")[1], "app-2: pass: rings; accepted by a person");
}

#[test]
fn the_calendar_is_a_part_of_the_freeze_and_lends_it_its_end() {
    use portcullis_domain::calendar::Window;
    let mut waits = waits();
    waits.policy.gates.calendar.freeze.push(Window::once("launch", "2027-01-15", "2027-01-16", "UTC").unwrap());
    let gate = waits.gate("freeze");
    assert_eq!(says(&gate), "hold: frozen: launch, until 2027-01-16 00:00 UTC");
    assert_eq!(gate.until, Some(Timestamp(1_800_057_600_000)));
}

#[test]
fn a_cluster_that_was_not_read_holds_and_a_source_that_is_missing_is_named_once() {
    let mut waits = waits();
    assert_eq!(waits.says("cluster"), "pass: 5 objects read, ours to write");
    waits.facts.objects.clear();
    assert_eq!(waits.says("cluster"), "hold: the cluster was not read yet");
    waits.facts.missing.insert("cluster".into(), "timed out".into());
    assert_eq!(waits.parts("cluster"), ["cluster: hold: cluster: timed out"]);
    assert_eq!(waits.gate("cluster").clears_when.as_deref(), Some("cluster answers again"));
    let mut waits = self::waits();
    waits.facts.missing.insert("metrics".into(), "timed out".into());
    assert_eq!(waits.parts("cluster"), ["metrics: hold: metrics: timed out"]);
}

#[test]
fn traffic_holds_only_where_it_goes_to_no_pods_while_the_other_colour_has_some_or_to_both_colours() {
    let web = service("web");
    for (green, blue_pods, green_pods, holds) in [
        (0, 3, 0, None),
        (0, 3, 3, None),
        (0, 0, 0, None),
        (0, 0, 3, Some("web sends its traffic to blue, which has no pods, while green has")),
        (4_999, 0, 3, Some("web sends its traffic to blue, which has no pods, while green has")),
        (5_000, 0, 3, Some("web has 50% of its traffic on green, and the rest on blue")),
        (1, 3, 3, Some("web has 0.01% of its traffic on green, and the rest on blue")),
        (9_999, 3, 3, Some("web has 99.99% of its traffic on green, and the rest on blue")),
        (5_000, 3, 0, Some("web sends its traffic to green, which has no pods, while blue has")),
        (10_000, 3, 3, None),
    ] {
        let mut waits = waits();
        let workload = |replicas| Value::Workload { digest: image(1, "web"), replicas };
        let values = [
            (ObjectKey::traffic(&web), Value::Traffic { green }),
            (ObjectKey::workload(&web, Colour::Blue), workload(blue_pods)),
            (ObjectKey::workload(&web, Colour::Green), workload(green_pods)),
        ];
        for (key, value) in values {
            waits.facts.objects.insert(key, found(Stamp { fence: None, value }, 0));
        }
        let said = waits.part("cluster", "traffic").map(|part| part.why);
        assert_eq!(said.as_deref(), holds, "{green} of 10000 to green; {blue_pods} blue, {green_pods} green pods");
    }
}

#[test]
fn a_stop_at_any_scope_says_who_why_and_until_when() {
    let mut waits = waits();
    let now = waits.world.now;
    let stop = Stop { who: who("lena"), reason: "incident".into(), since: now, until: Some(now + Millis::hours(1)) };
    waits.world.scopes[1].1.stop = Some(stop);
    let gate = waits.gate("freeze");
    assert_eq!(says(&gate), "hold: environment production is stopped by lena: incident");
    assert_eq!(gate.until, Some(now + Millis::hours(1)));
    waits.world.now = now + Millis::hours(1);
    assert_eq!(waits.says("freeze"), "pass: none", "its time is over");
}

#[test]
fn a_release_waits_for_those_before_it_and_for_nobody_behind_it() {
    let mut waits = waits();
    assert_eq!(waits.find("turn"), None, "nobody waits");
    let plan = waits.release.plan.as_ref().unwrap().id;
    let approval = Approval { plan, who: who("kofi"), at: waits.world.now, typed: false };
    let other = |id: u64, phase, approvals: &[Approval]| {
        let id = ReleaseId(id);
        let mut release = Release::new(id, commit(9), Timestamp(0));
        (release.phase, release.approvals) = (phase, approvals.to_vec());
        (id, release)
    };
    waits.release.id = ReleaseId(5);
    for (waiting, release, expected) in [
        (Waiting::Newest, other(4, Phase::Gated, &[]), None),
        (Waiting::Newest, other(4, Phase::Gated, std::slice::from_ref(&approval)), Some("release 4 waits before it")),
        (Waiting::Newest, other(6, Phase::Gated, std::slice::from_ref(&approval)), None),
        (Waiting::Newest, other(4, Phase::Gathering, std::slice::from_ref(&approval)), None),
        (Waiting::Queue, other(4, Phase::Gated, &[]), Some("release 4 waits before it")),
        (Waiting::Queue, other(4, Phase::Cleared, &[]), None),
        (Waiting::Queue, other(6, Phase::Gated, &[]), None),
    ] {
        waits.policy.waiting = waiting;
        let told = format!("{waiting:?}: {} {:?} {}", release.0, release.1.phase, release.1.approvals.len());
        waits.world.target.releases = [release, (ReleaseId(5), waits.release.clone())].into();
        let said = waits.find("turn").map(|gate| gate.why);
        assert_eq!(said.as_deref(), expected, "{told}");
    }
    waits.world.target.in_flight = Some(ReleaseId(5));
    assert_eq!(waits.find("turn"), None, "it is in flight itself");
    waits.world.target.in_flight = Some(ReleaseId(3));
    assert_eq!(waits.says("turn"), "hold: release 3 is in flight");
}

#[test]
fn the_old_colour_is_waited_for_until_it_is_let_go_but_not_where_there_is_only_one() {
    let mut waits = waits();
    let until = waits.world.now + Millis::minutes(20);
    let mut live = Release::new(ReleaseId(9), commit(9), Timestamp(0));
    (live.phase, live.keep_old_until) = (Phase::Live, Some(until));
    waits.world.target.live_release = Some(live.id);
    waits.world.target.releases.insert(live.id, live);
    let hold = waits.gate("turn");
    assert_eq!(says(&hold), "hold: the pods before release 9 are kept, to return in seconds");
    assert_eq!(hold.until, Some(until));
    waits.policy.strategy = Strategy::Rolling;
    assert_eq!(waits.find("turn"), None);
    waits.policy.strategy = policy().strategy;
    waits.release.phase = Phase::Verifying;
    assert_eq!(waits.find("turn"), None, "only what waits is held by it");
}

#[test]
fn many_rollbacks_elsewhere_hold_it_until_the_last_of_them_is_long_enough_ago() {
    let mut waits = waits();
    let now = waits.world.now;
    let within = waits.policy.governor.fleet_within;
    let rollback = |n: u64, ago: Millis| FleetRollback {
        target: format!("app{n:02}/production").parse().unwrap(),
        release: ReleaseId(n),
        at: now - ago,
    };
    let oldest = rollback(1, within);
    let mut rollbacks: Vec<FleetRollback> = (2..6).map(|n| rollback(n, Millis::minutes(n))).collect();
    rollbacks.push(oldest);
    waits.world.scopes[0].1.rollbacks = rollbacks.clone();
    let gate = waits.gate("freeze");
    assert_eq!(gate.until, Some(now - Millis::minutes(2) + within));
    assert_eq!(gate.parts[0].evidence[0], "app01/production");
    assert!(says(&gate).starts_with("hold: 5 environments rolled back by themselves within 10m"), "{}", says(&gate));
    waits.world.now = now + Millis(1);
    assert_eq!(waits.says("freeze"), "pass: none", "one of them is longer ago");
    waits.world.now = now;
    waits.world.scopes[0].1.rollbacks = rollbacks.into_iter().chain((10..30).map(|n| rollback(n, Millis(0)))).collect();
    assert_eq!(waits.gate("freeze").parts[0].evidence.len(), 10, "not a page of names");
    waits.policy.governor.fleet = 26;
    assert_eq!(waits.says("freeze"), "pass: none");
    (waits.policy.governor.fleet, waits.world.scopes[0].1.rollbacks) = (0, vec![]);
    assert_eq!(waits.says("freeze"), "pass: none", "no rollback at all is never too many");
}

#[test]
fn rollbacks_told_at_another_scope_are_not_the_fleets() {
    let mut waits = waits();
    let at = waits.world.now;
    let rollback =
        |n: u64| FleetRollback { target: format!("app{n}/production").parse().unwrap(), release: ReleaseId(n), at };
    waits.world.scopes[1].1.rollbacks = (0..9).map(rollback).collect();
    assert_eq!(waits.says("freeze"), "pass: none");
}

#[test]
fn the_backup_is_asked_for_from_its_phase_on() {
    for (phase, backup, expected) in [
        (Phase::Gated, None, None),
        (Phase::BackingUp, None, Some("hold: there is no backup yet")),
        (Phase::Verifying, None, Some("hold: there is no backup yet")),
        (Phase::BackingUp, Some("index.json".to_owned()), Some("pass: stored and read back")),
        (Phase::Verifying, Some("index.json".to_owned()), Some("pass: stored and read back")),
    ] {
        let mut waits = waits();
        (waits.release.phase, waits.release.backup) = (phase, backup);
        assert_eq!(waits.part("way back", "backup").map(|part| says(&part)).as_deref(), expected, "{phase:?}");
    }
}

#[test]
fn only_what_changes_needs_a_way_back_and_it_says_whether_it_was_verified() {
    let mut waits = waits();
    let digest = |name: &str| image(1, name).short();
    let found = |name: &str| {
        format!("{name}: pass: {} can be pulled: as it was found; never verified by Portcullis", digest(name))
    };
    assert_eq!(waits.parts("way back"), NAMES.map(found));
    let live = &mut waits.world.target.live;
    live.get_mut("web").unwrap().release = Some(ReleaseId(7));
    live.get_mut("api").unwrap().release = Some(ReleaseId(8));
    live.get_mut("jobs").unwrap().digest = image(2, "jobs");
    let ended = |release: u64, verified| portcullis_domain::target::Ended {
        release: ReleaseId(release),
        commit: commit(1),
        verified,
        at: Timestamp(0),
        digests: BTreeMap::new(),
        tree: None,
    };
    waits.world.target.ended = vec![ended(6, true), ended(7, true), ended(8, false)];
    assert_eq!(
        waits.parts("way back"),
        [
            format!("web: pass: {} can be pulled: release 7, verified live", digest("web")),
            format!("api: pass: {} can be pulled: release 8", digest("api")),
        ]
    );
    waits.facts.images.remove(&image(1, "jobs"));
    assert_eq!(waits.gate("way back").verdict, Verdict::Pass, "jobs stays as it is");
    for name in ["web", "api"] {
        waits.world.target.live.get_mut(name).unwrap().digest = image(2, name);
    }
    assert_eq!(waits.parts("way back"), ["before: pass: nothing served before: there is nothing to return to"]);
}

#[test]
fn room_is_asked_for_the_pods_of_changing_services_that_come_up_beside_the_old_ones() {
    let mut waits = waits();
    let room = |waits: &Waits| waits.part("way back", "room").map(|part| says(&part));
    assert_eq!(room(&waits), None, "the cluster does not say");
    waits.facts.room = Some(6);
    assert_eq!(room(&waits).as_deref(), Some("pass: 6 pods beside the old ones, room for 6"), "a worker needs none");
    waits.facts.room = Some(5);
    assert_eq!(room(&waits).as_deref(), Some("hold: room for 5 more pods, 6 are needed beside the old ones"));
    waits.world.target.live.get_mut("web").unwrap().digest = image(2, "web");
    waits.world.target.live.get_mut("api").unwrap().replicas = 0;
    assert_eq!(room(&waits).as_deref(), Some("pass: 1 pod beside the old ones, room for 5"));
    waits.release.phase = Phase::Verifying;
    assert_eq!(room(&waits), None, "they are there");
    waits.release.phase = Phase::Gated;
    waits.policy.strategy = Strategy::Rolling;
    assert_eq!(room(&waits), None, "rolling takes the place of the old ones");
}

#[test]
fn how_one_would_return_is_said_by_the_strategy() {
    let mut waits = waits();
    assert_eq!(waits.gate("way back").why, "by a switch; the old pods stay up until 1h after live");
    waits.release.backup = Some("index.json".into());
    assert_eq!(waits.gate("way back").why, "backed up; by a switch; the old pods stay up until 1h after live");
    waits.policy.strategy = Strategy::Rolling;
    assert_eq!(waits.gate("way back").why, "backed up; the old digest is written back, pod by pod");
    waits.world.target.live.clear();
    assert_eq!(waits.gate("way back").why, "backed up; nothing to return to");
}
