//! The main story, and what can end a release before its first change.

use crate::world::*;
use portcullis_domain::action::{Action, Found, ObjectKey, Outcome, Value};
use portcullis_domain::event::{End, What};
use portcullis_domain::facts::ScanStatus;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::*;
use portcullis_domain::scope::Stop;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

#[test]
fn pushed_approved_watched_live() {
    let mut world = World::new(policy());
    let id = world.go_live(2);
    for name in ["web", "api"] {
        assert_eq!(world.serves(name), Some(image(2, name)));
    }
    assert_eq!(world.runs("jobs"), [image(2, "jobs")].into());
    assert_eq!(world.target.live.len(), 3);
    let phases: Vec<&str> = world
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Entered { phase, .. } => Some(phase.name()),
            _ => None,
        })
        .collect();
    assert_eq!(
        phases,
        ["deploying", "deploying", "deploying", "verifying", "switching", "switching", "switching", "watching"]
    );
    // The old colour is let go after its hour, and the window closes after its day.
    world.pass(Millis::hours(25));
    assert_eq!(world.phase(id), None);
    assert_eq!(world.happened(|what| matches!(what, What::OldReleased { .. })), 1);
    assert_eq!(world.serves("web"), Some(image(2, "web")));
    assert!(world.target.outstanding.is_empty());
}

#[test]
fn nothing_is_changed_before_the_gates_hold_and_the_backup_is_there() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let before = world.cluster.clone();
    let id = world.push(2);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert_eq!(world.gate(id, "approval"), "hold: 0 of 1 from release-managers");
    assert_eq!(world.cluster, before);
    world.parked = |action| matches!(action, Action::BackUp { .. });
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::BackingUp));
    assert_eq!(world.cluster, before);
}

#[test]
fn images_that_never_come_expire() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.push_one(2, "web");
    world.pass(Millis::hours(3));
    assert_eq!(world.end_of(ReleaseId(1)), Some(End::Expired));
}

#[test]
fn an_approval_that_never_comes_is_called_for_and_expires() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.pass(Millis::hours(25));
    assert_eq!(world.end_of(id), Some(End::Expired));
    assert_eq!(world.happened(|what| matches!(what, What::Reminded { .. })), 5);
}

#[test]
fn a_newer_release_takes_the_place_of_one_that_waits() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.build(3, "amara");
    let (old, new) = (world.push(2), world.push(3));
    assert_eq!(world.end_of(old), Some(End::Superseded));
    assert_eq!(world.phase(new), Some(Phase::Gated));
}

#[test]
fn a_release_with_its_first_approval_is_not_starved_by_newer_ones() {
    let mut two = policy();
    two.gates.approvals[0].count = 2;
    let mut world = World::new(two);
    for n in 2..5 {
        world.build(n, "amara");
    }
    let first = world.push(2);
    world.approve("kofi", first);
    let second = world.push(3);
    let third = world.push(4);
    assert_eq!(world.phase(first), Some(Phase::Gated));
    assert_eq!(world.end_of(second), Some(End::Superseded));
    assert_eq!(world.gate(third, "turn"), format!("hold: release {first} waits before it"));
    world.approve("lena", first);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(first), Some(Phase::Live));
}

#[test]
fn one_veto_is_enough() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.command("lena", Command::Reject { release: id, reason: "not on a Friday".into() });
    assert_eq!(world.end_of(id), Some(End::Rejected));
}

#[test]
fn a_critical_finding_blocks() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.scan(image(2, "api"), &[(Severity::Critical, 1)]);
    let id = world.push(2);
    assert_eq!(world.end_of(id), Some(End::Rejected));
}

#[test]
fn a_scan_that_is_not_complete_or_not_there_holds() {
    for status in [ScanStatus::InProgress, ScanStatus::Failed, ScanStatus::Unsupported, ScanStatus::Missing] {
        let mut world = World::new(policy());
        world.build(2, "amara");
        world.scans.get_mut(&image(2, "api")).unwrap().status = status;
        let id = world.push(2);
        world.approve("kofi", id);
        assert!(world.gate(id, "scan").starts_with("hold"), "{status:?}");
        assert_eq!(world.phase(id), Some(Phase::Gated));
    }
}

#[test]
fn evidence_that_gets_worse_makes_a_new_plan_and_takes_the_approval_with_it() {
    let mut two = policy();
    two.gates.approvals[0].count = 2;
    let mut world = World::new(two);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    let plan = world.release(id).plan.as_ref().unwrap().id;
    world.scan(image(2, "api"), &[(Severity::High, 3)]);
    world.pass(Millis::minutes(2));
    let new = world.release(id).plan.as_ref().unwrap().id;
    assert_ne!(plan, new);
    assert_eq!(world.gate(id, "approval"), "hold: 0 of 2 from release-managers");
    world.command("lena", Command::Approve { release: id, plan, typed: None });
    assert!(world.refusals()[0].contains("no longer the plan"), "{:?}", world.refusals());
}

#[test]
fn a_hint_of_a_worse_scan_holds_until_we_looked_ourselves_and_a_better_one_says_nothing() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    let hint = |counts: &[(Severity, u32)]| Signal::ScanReported {
        digest: image(2, "api"),
        status: ScanStatus::Complete,
        counts: counts.iter().copied().collect(),
    };
    world.scans.get_mut(&image(2, "web")).unwrap().status = ScanStatus::InProgress;
    world.pass(Millis::minutes(1));
    assert_eq!(world.signal(&hint(&[])), vec![], "good news is not believed, and not written down");
    let events = world.signal(&hint(&[(Severity::Critical, 1)]));
    assert!(matches!(events[0].what, What::Doubted { .. }));
    world.parked = |action| matches!(action, Action::Look(_));
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
}

#[test]
fn authors_requesters_and_strangers_do_not_count() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("amara", id);
    world.approve("mallory", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    let refusals = world.refusals();
    assert!(refusals[0].contains("they wrote part of it"), "{refusals:?}");
    assert!(refusals[1].contains("not in the policy"), "{refusals:?}");
}

#[test]
fn one_person_fills_one_seat_only() {
    let mut two = policy();
    two.groups.insert("security".parse().unwrap(), [who("kofi")].into());
    two.gates.approvals.push(Quorum { count: 1, group: "security".parse().unwrap() });
    let mut world = World::new(two);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated), "kofi is in both groups and counts once");
    world.approve("lena", id);
    assert_eq!(world.phase(id), Some(Phase::Watching), "lena takes the first seat, kofi the second");
}

#[test]
fn an_author_nobody_knows_holds() {
    let mut world = World::new(policy());
    world.build(2, "stranger");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.gate(id, "approval"), "hold: cannot tell who github:stranger is, who wrote part of it");
}

#[test]
fn a_stop_holds_a_release_at_its_commit_point_and_lifting_it_lets_it_go() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    let stop = Stop { who: who("lena"), reason: "incident".into(), since: world.now, until: None };
    world.scopes[0].1 = portcullis_domain::scope::ScopeState { version: 1, stop: Some(stop), ..Default::default() };
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert_eq!(world.gate(id, "freeze"), "hold: all is stopped by lena: incident");
    world.scopes[0].1 = portcullis_domain::scope::ScopeState { version: 2, stop: None, ..Default::default() };
    world.signal(&Signal::Wake);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), Some(Phase::Live));
}

#[test]
fn a_stop_between_the_gates_and_the_switch_keeps_new_code_from_serving() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.parked = |action| matches!(action, Action::RunTest { .. });
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Verifying));
    let stop = Stop { who: who("lena"), reason: "incident".into(), since: world.now, until: None };
    world.scopes[2].1 = portcullis_domain::scope::ScopeState { version: 1, stop: Some(stop), ..Default::default() };
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(id), Some(Phase::Verifying));
    assert_eq!(world.serves("web"), Some(image(1, "web")));
    // Rolling back ignores the stop.
    world.roll_back("kofi");
    assert!(world.rolled_back(id));
}

#[test]
fn unchanged_services_keep_their_image_only_with_proof() {
    let mut world = World::new(policy());
    world.go_live(2);
    world.pass(Millis::hours(2));
    world.build(3, "amara");
    world.commits.get_mut(&commit(3)).unwrap().changed.insert(service("jobs"), false);
    let id = ReleaseId(world.next_release);
    world.push_one(3, "web");
    world.settle();
    assert_eq!(world.phase(id), Some(Phase::Gathering), "api changed and has no image yet");
    world.push_one(3, "api");
    world.settle();
    assert_eq!(world.phase(id), Some(Phase::Gated));
    assert!(world.release(id).artifacts[&service("jobs")].kept);
    let jobs = world.cluster.clone();
    world.approve("kofi", id);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), Some(Phase::Live));
    let kept = |cluster: &std::collections::BTreeMap<_, _>| {
        format!(
            "{:?}",
            cluster
                .iter()
                .filter(|(k, _): &(&portcullis_domain::action::ObjectKey, _)| k.service == service("jobs"))
                .collect::<Vec<_>>()
        )
    };
    assert_eq!(kept(&world.cluster), kept(&jobs), "a kept service is never touched");
}

#[test]
fn an_old_commit_is_recorded_and_not_released() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.go_live(3);
    world.push_one(2, "web");
    world.push_one(2, "web");
    world.push_one(2, "api");
    assert_eq!(world.happened(|what| matches!(what, What::Outdated { .. })), 1);
    assert_eq!(world.target.releases.len(), 1);
}

#[test]
fn a_redelivered_push_of_a_settled_release_changes_nothing() {
    let mut world = World::new(policy());
    world.go_live(2);
    world.pass(Millis::hours(25));
    assert_eq!(world.push_one(2, "web"), vec![]);
}

#[test]
fn a_tag_that_moves_is_raised_once_and_never_followed() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    let Signal::Pushed(mut moved) = pushed(2, "web", &world) else { unreachable!() };
    moved.digest = image(99, "web");
    world.signal(&Signal::Pushed(moved.clone()));
    assert_eq!(world.signal(&Signal::Pushed(moved)), vec![]);
    assert_eq!(world.happened(|what| matches!(what, What::TagMoved { .. })), 1);
    world.approve("kofi", id);
    world.pass(Millis::minutes(6));
    assert_eq!(world.serves("web"), Some(image(2, "web")));
}

fn pushed(n: u8, name: &str, world: &World) -> Signal {
    Signal::Pushed(portcullis_domain::signal::Pushed {
        service: service(name),
        digest: image(n, name),
        tag: Some(commit(n).as_str().parse().unwrap()),
        commit: commit(n),
        pushed_at: world.now,
        facts: world.commits.get(&commit(n)).cloned(),
        opens: true,
    })
}

#[test]
fn observe_records_what_it_would_have_done_and_changes_nothing() {
    let mut observe = policy();
    observe.mode = Mode::Observe;
    observe.gates.approvals.clear();
    let mut world = World::new(observe);
    world.build(2, "amara");
    let before = world.cluster.clone();
    let id = world.push(2);
    assert_eq!(world.end_of(id), Some(End::Observed));
    assert_eq!(world.cluster, before);
}

#[test]
fn the_first_release_ever_goes_live_where_nothing_ran() {
    let mut world = World::empty(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    world.pass(Millis::minutes(6));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
    assert_eq!(world.serves("web"), Some(image(2, "web")));
    // It keeps no old pods: the next one does not wait for the hour of them.
    let next = world.go_live(3);
    assert!(next > id && world.serves("web") == Some(image(3, "web")));
}

#[test]
fn rolling_goes_live_in_place() {
    let mut rolling = policy();
    rolling.strategy = Strategy::Rolling;
    let mut world = World::new(rolling);
    let id = world.go_live(2);
    assert_eq!(world.serves("web"), Some(image(2, "web")));
    assert_eq!(world.runs("jobs"), [image(2, "jobs")].into());
    world.roll_back("kofi");
    assert!(world.rolled_back(id), "{:#?}", world.story(id));
    assert_eq!(world.serves("web"), Some(image(1, "web")));
    assert_eq!(world.runs("jobs"), [image(1, "jobs")].into());
}

#[test]
fn a_manual_switch_waits_for_a_person() {
    let mut manual = policy();
    manual.strategy = Strategy::BlueGreen { steps: vec![10_000], every: Millis(0), manual: true };
    let mut world = World::new(manual);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    world.pass(Millis::minutes(20));
    assert_eq!(world.phase(id), Some(Phase::Verifying));
    assert_eq!(world.serves("web"), Some(image(1, "web")));
    assert_eq!(world.happened(|what| matches!(what, What::Escalated { .. })), 1);
    world.command("kofi", Command::Promote { release: id });
    world.pass(Millis::minutes(7));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}

#[test]
fn an_outcome_of_an_intention_that_is_gone_changes_nothing() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.parked = |action| matches!(action, Action::BackUp { .. });
    world.approve("kofi", id);
    let (seq, _) = world.target.outstanding.iter().next().unwrap();
    let seq = *seq;
    world.roll_back("kofi");
    assert_eq!(world.end_of(id), Some(End::Cancelled));
    let late = Outcome::BackedUp { index: "x".into(), hash: image(0, "x"), objects: 1 };
    assert_eq!(world.signal(&Signal::Outcome { intention: seq, outcome: late }), vec![]);
}

#[test]
fn a_release_does_not_begin_while_the_old_pods_are_being_let_go() {
    let mut world = World::new(policy());
    let first = world.go_live(2);
    world.parked =
        |action| matches!(action, Action::Write(write) if write.purpose == portcullis_domain::action::Purpose::Drain);
    world.pass(Millis::minutes(61));
    assert!(!world.target.outstanding.is_empty(), "the old pods are being scaled down, and it takes its time");
    world.build(3, "amara");
    let second = world.push(3);
    world.approve("kofi", second);
    assert_eq!(
        world.gate(second, "turn"),
        format!("hold: the pods before release {first} are kept, to return in seconds")
    );
    world.parked = |_| false;
    world.pass(Millis::minutes(8));
    assert_eq!(world.phase(second), Some(Phase::Live), "{:#?}", world.story(second));
    assert_eq!(world.happened(|what| matches!(what, What::Drifted { .. })), 0);
}

#[test]
fn a_ledger_restored_from_a_backup_is_loud_and_goes_on_once_a_person_raised_the_epoch() {
    use portcullis_domain::action::{Fence, ObjectKey};
    let mut world = World::new(policy());
    let web = ObjectKey::workload(&service("web"), Colour::Blue);
    let newer = Fence { ledger: World::ledger(), epoch: 0, seq: portcullis_domain::names::Seq(10_000) };
    world.cluster.get_mut(&web).unwrap().stamp.as_mut().unwrap().fence = Some(newer);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert!(world.gate(id, "cluster").contains("which this ledger never issued"), "{}", world.gate(id, "cluster"));
    assert_eq!(world.phase(id), Some(Phase::Gated));
    world.command("kofi", Command::RaiseEpoch { reason: "restored from the 02:00 backup".into() });
    // Only now is it known what is live: it is another plan than the one that was approved.
    world.pass(Millis::minutes(2));
    assert_eq!(world.phase(id), Some(Phase::Gated));
    world.approve("kofi", id);
    world.pass(Millis::minutes(8));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}

#[test]
fn an_object_with_the_fence_of_another_installation_holds() {
    use portcullis_domain::action::{Fence, ObjectKey};
    let mut world = World::new(policy());
    let web = ObjectKey::traffic(&service("web"));
    let foreign = Fence { ledger: "ledger-b".parse().unwrap(), epoch: 0, seq: portcullis_domain::names::Seq(3) };
    world.cluster.get_mut(&web).unwrap().stamp.as_mut().unwrap().fence = Some(foreign);
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert!(world.gate(id, "cluster").contains("another ledger: ledger-b/0/3"), "{}", world.gate(id, "cluster"));
    assert_eq!(world.phase(id), Some(Phase::Gated));
}

#[test]
fn in_gate_mode_a_release_that_nobody_deploys_expires() {
    let mut gate = policy();
    gate.mode = Mode::Gate;
    let mut world = World::new(gate);
    world.build(2, "amara");
    let before = world.cluster.clone();
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Cleared));
    world.pass(Millis::hours(25));
    assert_eq!(world.end_of(id), Some(End::Expired));
    assert_eq!(world.cluster, before, "gate mode deploys nothing");
    assert!(world.target.outstanding.is_empty());
}

#[test]
fn a_person_can_end_the_time_of_the_old_pods_and_the_next_release_begins() {
    let mut world = World::new(policy());
    world.go_live(2);
    world.build(3, "amara");
    let second = world.push(3);
    world.approve("kofi", second);
    assert!(world.gate(second, "turn").starts_with("hold"));
    world.command("kofi", Command::CloseWindow { reason: "the fix must go out".into() });
    assert_eq!(world.happened(|what| matches!(what, What::OldReleased { .. })), 1);
    world.pass(Millis::minutes(7));
    assert_eq!(world.phase(second), Some(Phase::Live), "{:#?}", world.story(second));
}

#[test]
fn a_rolling_release_whose_gates_no_longer_hold_after_its_backup_waits_and_then_gives_way() {
    let mut rolling = policy();
    rolling.strategy = Strategy::Rolling;
    let mut world = World::new(rolling);
    world.build(2, "amara");
    let id = world.push(2);
    world.parked = |action| matches!(action, Action::BackUp { .. });
    world.approve("kofi", id);
    let traffic = ObjectKey::traffic(&service("api"));
    world.cluster.get_mut(&traffic).unwrap().foreign = Some("somebody/else".into());
    world.pass(Millis::minutes(2));
    world.parked = |_| false;
    world.settle();
    assert_eq!(world.phase(id), Some(Phase::BackingUp));
    assert!(world.gate(id, "cluster").starts_with("hold"), "{}", world.gate(id, "cluster"));
    world.pass(Millis::hours(24));
    assert_eq!(world.end_of(id), Some(End::Expired), "{:#?}", world.story(id));
    assert_eq!(world.serves("api"), Some(image(1, "api")));
}

#[test]
fn traffic_that_a_switch_could_not_move_or_that_is_not_ours_to_read_holds_a_release() {
    let api = ObjectKey::traffic(&service("api"));
    let judged = |policy: Policy, edit: fn(&mut Found)| {
        let mut world = World::new(policy);
        world.build(2, "amara");
        edit(world.cluster.get_mut(&api).unwrap());
        world.edited.insert(service("api"));
        let id = world.push(2);
        world.gate(id, "cluster")
    };
    let plain: fn(&mut Found) = |found| found.problems = vec!["its selector has no colour".into()];
    assert_eq!(judged(policy(), plain), "hold: Service/api: its selector has no colour");
    let mut rolling = policy();
    rolling.strategy = Strategy::Rolling;
    assert!(judged(rolling, plain).starts_with("pass"), "nothing is switched");
    let mut gate = policy();
    gate.mode = Mode::Gate;
    assert!(judged(gate, plain).starts_with("pass"), "nothing is written");
    let by_weights: fn(&mut Found) = |found| found.moved_by = Some(TrafficBy::Alb);
    assert!(judged(policy(), by_weights).starts_with(
        "hold: Service/api: it was adopted with `traffic: alb`, and the policy says `traffic: selector`: "
    ));
    let mut alb = policy();
    alb.traffic = TrafficBy::Alb;
    assert!(judged(alb.clone(), by_weights).starts_with("pass"));
    assert!(judged(alb, |found| found.moved_by = None).starts_with("pass"), "a cluster that knows one way only");
    let elsewhere: fn(&mut Found) = |found| {
        *found = Found {
            foreign: Some("the selector colour=purple".into()),
            written_by: Some("kubectl".into()),
            ..Found::default()
        };
    };
    assert_eq!(
        judged(policy(), elsewhere),
        "hold: Service/api has the selector colour=purple, which Portcullis never wrote, by kubectl"
    );
}

#[test]
fn traffic_that_somebody_sent_to_a_colour_without_pods_holds_a_release() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let traffic = ObjectKey::traffic(&service("api"));
    world.cluster.get_mut(&traffic).unwrap().stamp.as_mut().unwrap().value = Value::Traffic { green: 10_000 };
    world.edited.insert(service("api"));
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.gate(id, "cluster"), "hold: api sends its traffic to green, which has no pods, while blue has");
    assert_eq!(world.phase(id), Some(Phase::Gated));
}

#[test]
fn a_paused_release_is_brought_to_mind_until_it_goes_on() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    world.command("kofi", Command::Pause { release: id });
    world.pass(Millis::hours(9));
    assert_eq!(world.happened(|what| matches!(what, What::Reminded { .. })), 2);
    world.command("kofi", Command::Resume { release: id });
    world.pass(Millis::hours(9));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
    assert_eq!(world.happened(|what| matches!(what, What::Reminded { .. })), 2);
}
