//! What `apply` keeps of an event, and for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_domain::action::{
    Action, AwaitReady, Fence, Found, Intention, Look, ObjectKey, Outcome, Purpose, Stamp, Value, Write,
};
use portcullis_domain::event::{Actor, End, Event, Reason, What};
use portcullis_domain::facts::{AlarmFact, AlarmState, Artifact, CommitFacts, Facts};
use portcullis_domain::names::{AlarmName, LedgerId, ReleaseId, Seq};
use portcullis_domain::policy::*;
use portcullis_domain::signal::{Command, Signal};
use portcullis_domain::target::{
    BackStep, Known, Outstanding, Phase, Progress, Release, Rollback, Serving, Step, Target,
};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::{apply, digest::Digest};

use crate::world::*;

const START: Timestamp = Timestamp(1_800_000_000_000);
const ID: ReleaseId = ReleaseId(1);
const OTHER: ReleaseId = ReleaseId(2);

/// The next event, one second after the one before.
fn say(target: &mut Target, what: What) -> Timestamp {
    let seq = Seq(target.seq.0 + 1);
    let at = START + Millis::seconds(seq.0);
    apply(target, &Event { seq, at, actor: Actor::Portcullis, what });
    at
}

fn opened(id: ReleaseId, n: u8) -> What {
    What::Opened {
        release: id,
        commit: commit(n),
        pushed_at: START,
        requested_by: Some(who("kofi")),
        typed: true,
        reason: None,
        forward_only: true,
        facts: Some(CommitFacts { title: "as opened".into(), ..CommitFacts::default() }),
        gather_until: START + Millis::hours(1),
    }
}

fn artifact(n: u8, name: &str) -> Artifact {
    Artifact { digest: image(n, name), tag: None, commit: Some(commit(n)), kept: false, size: None }
}

fn serving(n: u8, name: &str, replicas: u32) -> Serving {
    let digest = image(n, name);
    Serving { digest, colour: Colour::Blue, replicas, commit: Some(commit(n)), tag: None, release: None }
}

fn began(policy: Policy, before: &[(&str, Serving)], objects: BTreeMap<ObjectKey, Found>) -> What {
    let sealed = SealedPolicy::new(policy);
    let plan = "4be1-c07f".parse().unwrap();
    let before = before.iter().map(|(name, serving)| (service(name), serving.clone())).collect();
    What::Began { release: ID, plan, policy: sealed.share(), before, objects }
}

fn write(object: &ObjectKey, to: Value, purpose: Purpose) -> Action {
    Action::Write(Write { object: object.clone(), from: vec![], to, purpose })
}

fn pods(name: &str, replicas: u32) -> Value {
    Value::Workload { digest: image(2, name), replicas }
}

fn await_ready(object: &ObjectKey) -> Action {
    let digest = image(2, object.service.as_str());
    Action::AwaitReady(AwaitReady { object: object.clone(), digest, replicas: 3, after: Seq(5) })
}

fn look() -> Action {
    Action::Look(Look::default())
}

fn intention(action: Action) -> Intention {
    Intention { action, place: policy().place, not_before: START, every: None, deadline: START + Millis::hours(1) }
}

fn intend(target: &mut Target, action: Action) {
    say(target, What::Intended { release: ID, intention: Box::new(intention(action)) });
}

fn awaits(target: &mut Target, id: ReleaseId, seq: u64, action: Action) {
    target.outstanding.insert(Seq(seq), Outstanding { release: id, intention: Arc::new(intention(action)) });
}

fn answer(target: &mut Target, seq: u64, outcome: Outcome) -> Timestamp {
    say(target, What::Done { release: ID, intention: Seq(seq), outcome: Box::new(outcome) })
}

#[expect(clippy::unnecessary_wraps, reason = "as a stamp has it")]
fn own_fence(epoch: u32, seq: u64) -> Option<Fence> {
    Some(Fence { ledger: World::ledger(), epoch, seq: Seq(seq) })
}

fn traffic_read(fence: Option<Fence>, green: u16) -> Found {
    found(Stamp { fence, value: Value::Traffic { green } }, 0)
}

/// A release that changes one service, in green; blue serves before it.
fn on_its_way(policy: Policy, name: &str, step: Step, share: u16) -> Target {
    let name = service(name);
    let mut release = Release::new(ID, commit(2), START);
    release.phase = Phase::Deploying { wave: 0 };
    release.policy = Some(Arc::new(policy));
    release.before.insert(name.clone(), serving(1, name.as_str(), 3));
    let progress = Progress { colour: Colour::Green, replicas: 3, changes: true, step, share };
    release.progress.insert(name, progress);
    Target {
        seq: Seq(20),
        ledger: Some(World::ledger()),
        releases: BTreeMap::from([(ID, release)]),
        in_flight: Some(ID),
        ..Target::default()
    }
}

fn on_its_way_back(policy: Policy, steps: &[(&str, BackStep)]) -> Target {
    let mut target = on_its_way(policy, steps[0].0, Step::Switched, 10_000);
    let release = target.releases.get_mut(&ID).unwrap();
    release.phase = Phase::RollingBack;
    release.rollback = Some(Rollback {
        why: Reason::Person { reason: "it hurts".into() },
        since: START,
        seq: Seq(4),
        to: release.before.clone(),
        steps: steps.iter().map(|(name, step)| (service(name), *step)).collect(),
        restored_at: None,
        stuck: None,
    });
    target
}

fn step_of(target: &Target, name: &str) -> (Step, u16) {
    let progress = &target.releases[&ID].progress[&service(name)];
    (progress.step, progress.share)
}

fn back_of(target: &Target, name: &str) -> BackStep {
    target.releases[&ID].rollback.as_ref().unwrap().steps[&service(name)]
}

fn rolling() -> Policy {
    Policy { strategy: Strategy::Rolling, ..policy() }
}

fn green(name: &str) -> ObjectKey {
    ObjectKey::workload(&service(name), Colour::Green)
}
fn blue(name: &str) -> ObjectKey {
    ObjectKey::workload(&service(name), Colour::Blue)
}
fn traffic(name: &str) -> ObjectKey {
    ObjectKey::traffic(&service(name))
}

// The opening, and what is read of the commit.

#[test]
fn what_is_said_at_the_opening_is_what_the_release_is() {
    let mut target = Target::default();
    let at = say(&mut target, opened(ID, 2));
    let expected = Release {
        requested_by: Some(who("kofi")),
        typed: true,
        forward_only: true,
        commit_facts: Some(CommitFacts { title: "as opened".into(), ..CommitFacts::default() }),
        until: Some(START + Millis::hours(1)),
        ..Release::new(ID, commit(2), at)
    };
    assert_eq!(target.releases[&ID], expected);
}

#[test]
fn the_latest_reading_of_the_commit_counts_and_else_the_one_of_the_opening() {
    let mut target = Target::default();
    say(&mut target, opened(ID, 2));
    let title = |target: &Target| target.releases[&ID].commit_facts().map(|facts| facts.title.clone());
    let read = |commit| What::FactsRead { release: ID, facts: Arc::new(Facts { commit, ..Facts::default() }) };
    assert_eq!(title(&target).as_deref(), Some("as opened"));
    say(&mut target, read(None));
    assert_eq!(title(&target).as_deref(), Some("as opened"), "a reading that says nothing takes nothing away");
    say(&mut target, read(Some(CommitFacts { title: "as read".into(), ..CommitFacts::default() })));
    assert_eq!(title(&target).as_deref(), Some("as read"));
    assert_eq!(Release::new(ID, commit(2), START).commit_facts(), None, "nothing was said");
}

#[test]
fn a_doubt_lasts_until_we_looked_ourselves() {
    let mut target = Target::default();
    say(&mut target, opened(ID, 2));
    say(&mut target, What::Doubted { release: ID, why: "an alarm rings".into() });
    assert_eq!(target.releases[&ID].doubt.as_deref(), Some("an alarm rings"));
    say(&mut target, What::FactsRead { release: ID, facts: Arc::default() });
    assert_eq!(target.releases[&ID].doubt, None);
}

#[test]
fn a_release_that_ended_is_remembered_with_its_source_tree() {
    let mut target = Target::default();
    say(&mut target, opened(ID, 2));
    let facts = CommitFacts { tree: Some(commit(9)), ..CommitFacts::default() };
    let facts = Arc::new(Facts { commit: Some(facts), ..Facts::default() });
    say(&mut target, What::FactsRead { release: ID, facts });
    say(&mut target, What::Settled { release: ID, end: End::Cancelled, why: String::new() });
    assert_eq!(target.ended[0].tree, Some(commit(9)));
}

// What is remembered, and how much of it.

#[test]
fn fifty_outdated_commits_are_remembered_and_the_newest_is_among_them() {
    let mut target = Target::default();
    let outdated = |n: u8| What::Outdated {
        commit: commit(n),
        service: service("web"),
        digest: image(n, "web"),
        why: "older".into(),
    };
    for n in 1..=50 {
        say(&mut target, outdated(n));
        assert_eq!(target.outdated.len(), usize::from(n), "none is forgotten early");
    }
    say(&mut target, outdated(51));
    assert_eq!(target.outdated.len(), 50);
    assert!(target.outdated.contains(&commit(51)));
}

#[test]
fn fifty_commits_and_ten_ended_releases_are_remembered_newest_first() {
    let mut target = Target::default();
    for n in 1..=51 {
        let id = ReleaseId(u64::from(n));
        say(&mut target, opened(id, n));
        say(&mut target, What::Settled { release: id, end: End::Superseded, why: String::new() });
        assert_eq!(target.commits.len(), usize::from(n.min(50)));
        assert_eq!(target.ended.len(), usize::from(n.min(10)));
        assert_eq!((&target.commits[0].commit, target.ended[0].release), (&commit(n), id));
    }
}

#[test]
fn two_hundred_alarms_are_remembered_and_a_known_one_still_changes() {
    let mut target = Target::default();
    let fact = |n| AlarmFact { state: AlarmState::Alarm, changed_at: Timestamp(n) };
    let alarm = |n: u64| AlarmName::new(&format!("alarm-{n}")).unwrap();
    for n in 1..=201 {
        say(&mut target, What::AlarmSeen { alarm: alarm(n), fact: fact(n) });
    }
    assert_eq!(target.alarms.len(), 200);
    assert!(target.alarms.contains_key(&alarm(200)) && !target.alarms.contains_key(&alarm(201)));
    say(&mut target, What::AlarmSeen { alarm: alarm(7), fact: fact(500) });
    assert_eq!(target.alarms[&alarm(7)], fact(500));
}

#[test]
fn two_hundred_findings_of_a_release_are_known_and_not_one_more() {
    let mut target = Target::default();
    say(&mut target, opened(ID, 2));
    for n in 1..=201 {
        say(
            &mut target,
            What::VulnerabilityFound {
                release: ID,
                service: service("web"),
                digest: image(2, "web"),
                finding: format!("CVE-{n}"),
                severity: Severity::High,
                before_has_it: None,
            },
        );
    }
    let known = &target.releases[&ID].findings;
    assert_eq!(known.len(), 200);
    assert!(known.contains("CVE-1") && known.contains("CVE-200") && !known.contains("CVE-201"));
}

#[test]
fn two_hundred_digests_are_quarantined_and_not_one_more() {
    for (known, expected) in [(199_u64, 200), (200, 200)] {
        let mut target = on_its_way_back(policy(), &[("web", BackStep::Done)]);
        target.releases.get_mut(&ID).unwrap().artifacts.insert(service("web"), artifact(2, "web"));
        target.quarantine = (0..known).map(|n| (Digest::of(&n.to_be_bytes()), OTHER)).collect();
        say(&mut target, What::RolledBack { release: ID, restored_at: START });
        assert_eq!(target.quarantine.len(), expected);
        assert_eq!(target.quarantine.get(&image(2, "web")), (known < 200).then_some(&ID));
    }
}

#[test]
fn only_an_automatic_rollback_of_code_that_served_counts_as_one() {
    let person = Reason::Person { reason: "it hurts".into() };
    let step = Reason::Step { why: "not ready in time".into() };
    for (why, served, counts) in
        [(&step, true, true), (&step, false, false), (&person, true, false), (&person, false, false)]
    {
        let mut target = on_its_way(policy(), "web", Step::Up, 0);
        let began = What::RollbackBegan { release: ID, why: why.clone(), to: BTreeMap::new(), served };
        let at = say(&mut target, began);
        assert_eq!(target.rollbacks, Vec::from_iter(counts.then_some(at)), "{why}, served: {served}");
    }
}

#[test]
fn twenty_rollbacks_are_remembered_and_the_oldest_goes_first() {
    let mut target = on_its_way(policy(), "web", Step::Up, 0);
    target.rollbacks = (1..=19).map(Timestamp).collect();
    let why = Reason::Step { why: "not ready in time".into() };
    let began = What::RollbackBegan { release: ID, why, to: BTreeMap::new(), served: true };
    let twentieth = say(&mut target, began.clone());
    assert_eq!((target.rollbacks.len(), target.rollbacks[0], target.rollbacks[19]), (20, Timestamp(1), twentieth));
    let another = say(&mut target, began);
    assert_eq!((target.rollbacks.len(), target.rollbacks[0], target.rollbacks[19]), (20, Timestamp(2), another));
}

// Intentions that no longer count.

fn open(target: &Target) -> Vec<Seq> {
    target.outstanding.keys().copied().collect()
}

#[test]
fn a_release_that_leaves_its_gates_no_longer_looks_at_them() {
    let plan = "4be1-c07f".parse().unwrap();
    for what in [
        What::Cleared { release: ID, plan },
        What::Entered { release: ID, phase: Phase::Deploying { wave: 1 } },
        What::Entered { release: ID, phase: Phase::Switching { step: 0, wave: 0 } },
    ] {
        let mut target = on_its_way(policy(), "web", Step::Up, 0);
        awaits(&mut target, ID, 7, look());
        awaits(&mut target, ID, 8, Action::Observe);
        awaits(&mut target, OTHER, 9, look());
        say(&mut target, what.clone());
        assert_eq!(open(&target), [Seq(8), Seq(9)], "{what:?}");
    }
}

#[test]
fn nothing_that_was_intended_goes_on_once_a_person_takes_what_is_there() {
    let mut target = on_its_way(policy(), "web", Step::Deploying(Seq(7)), 0);
    awaits(&mut target, ID, 7, write(&green("web"), pods("web", 3), Purpose::Deploy));
    awaits(&mut target, ID, 8, Action::Observe);
    awaits(&mut target, OTHER, 9, look());
    say(&mut target, What::ResolveAsked { release: ID, reason: "stay".into() });
    assert_eq!(open(&target), [Seq(9)]);
}

#[test]
fn a_waiting_release_that_ends_leaves_the_one_in_flight_alone() {
    let mut target = on_its_way(policy(), "web", Step::Up, 0);
    say(&mut target, opened(OTHER, 3));
    say(&mut target, What::Settled { release: OTHER, end: End::Superseded, why: String::new() });
    assert_eq!(target.in_flight, Some(ID));
    say(&mut target, What::Settled { release: ID, end: End::Failed, why: String::new() });
    assert_eq!(target.in_flight, None);
}

// Objects and their fences.

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

// The way forward, step by step.

#[test]
fn only_the_answer_that_is_awaited_moves_a_service_forward() {
    let s = Seq(7);
    let (beside, in_place) = (&policy(), &rolling());
    // The policy, the service, its step and share; then both after what was awaited, and after what was not expected.
    let rows = [
        (beside, "web", Step::Deploying(s), 0, (Step::Deployed(s), 0), (Step::Idle, 0)),
        (beside, "web", Step::Rising(s), 0, (Step::Up, 0), (Step::Idle, 0)),
        (beside, "web", Step::Claiming(s), 0, (Step::Claimed(s), 0), (Step::Up, 0)),
        (beside, "web", Step::Confirming(s), 0, (Step::Firm, 0), (Step::Up, 0)),
        (beside, "web", Step::Switching(s), 0, (Step::Switched, 10_000), (Step::Firm, 0)),
        (beside, "jobs", Step::Deploying(s), 0, (Step::Up, 0), (Step::Idle, 0)),
        (beside, "jobs", Step::Confirming(s), 0, (Step::Firm, 10_000), (Step::Clear, 0)),
        (beside, "jobs", Step::Stopping(s), 0, (Step::Stopped(s), 0), (Step::Up, 0)),
        (beside, "jobs", Step::Stopping(s), 10_000, (Step::Stopped(s), 10_000), (Step::Firm, 10_000)),
        (beside, "jobs", Step::Ending(s), 0, (Step::Clear, 0), (Step::Up, 0)),
        (beside, "jobs", Step::Ending(s), 10_000, (Step::Clear, 10_000), (Step::Firm, 10_000)),
        (in_place, "web", Step::Deploying(s), 0, (Step::Deployed(s), 0), (Step::Idle, 0)),
        (in_place, "web", Step::Rising(s), 0, (Step::Up, 10_000), (Step::Idle, 0)),
        (in_place, "jobs", Step::Deploying(s), 0, (Step::Deployed(s), 0), (Step::Idle, 0)),
        (in_place, "jobs", Step::Rising(s), 0, (Step::Up, 10_000), (Step::Idle, 0)),
    ];
    for (policy, name, step, share, awaited, unexpected) in rows {
        let looks = matches!(step, Step::Rising(_) | Step::Confirming(_) | Step::Ending(_));
        let action = match step {
            _ if looks => await_ready(&green(name)),
            Step::Switching(_) => write(&traffic(name), Value::Traffic { green: 10_000 }, Purpose::Switch),
            _ => write(&green(name), pods(name, 3), Purpose::Deploy),
        };
        let good = if looks { Outcome::Seen(Found::default()) } else { Outcome::Written };
        let drift = Outcome::Drift(Found::default());
        for (outcome, after) in [(good, awaited), (drift, unexpected)] {
            let case = format!("{:?} {name} {step:?} {outcome:?}", policy.strategy);
            let mut target = on_its_way(policy.clone(), name, step, share);
            for seq in [6, 7] {
                awaits(&mut target, ID, seq, action.clone());
            }
            // A refused write is intended anew whichever of them it was; all else counts only where it is awaited.
            if looks || outcome == Outcome::Written {
                answer(&mut target, 6, outcome.clone());
                assert_eq!(step_of(&target, name), (step, share), "an older one: {case}");
            }
            answer(&mut target, 7, outcome.clone());
            assert_eq!(step_of(&target, name), after, "{case}");
            answer(&mut target, 7, outcome);
            assert_eq!(step_of(&target, name), after, "a second time: {case}");
        }
    }
}

#[test]
fn a_first_rolling_release_still_needs_its_switch_but_a_worker_has_none() {
    for (name, share) in [("web", 0), ("jobs", 10_000)] {
        let mut target = on_its_way(rolling(), name, Step::Rising(Seq(7)), 0);
        target.releases.get_mut(&ID).unwrap().before.clear();
        awaits(&mut target, ID, 7, await_ready(&green(name)));
        answer(&mut target, 7, Outcome::Seen(Found::default()));
        assert_eq!(step_of(&target, name), (Step::Up, share));
    }
}

#[test]
fn new_code_may_serve_from_the_first_intention_that_lets_it() {
    let switch = write(&traffic("web"), Value::Traffic { green: 0 }, Purpose::Switch);
    for (name, action, serves, why) in [
        ("web", write(&green("web"), pods("web", 3), Purpose::Deploy), false, "beside what serves"),
        ("web", write(&blue("web"), pods("web", 3), Purpose::Deploy), true, "in place"),
        ("web", write(&blue("web"), pods("web", 0), Purpose::Deploy), false, "in place, at rest"),
        ("web", write(&green("web"), pods("web", 3), Purpose::Claim), false, "has no traffic yet"),
        ("jobs", write(&green("jobs"), pods("jobs", 3), Purpose::Claim), true, "a worker works as soon as it runs"),
        ("jobs", write(&green("jobs"), pods("jobs", 1), Purpose::Claim), true, "so does one pod"),
        ("jobs", write(&green("jobs"), pods("jobs", 0), Purpose::Claim), false, "a worker at rest"),
        ("web", switch, true, "traffic moves"),
        ("web", write(&blue("web"), pods("web", 3), Purpose::Drain), false, "the old one is told to stop"),
    ] {
        let mut target = on_its_way(policy(), name, Step::Up, 0);
        intend(&mut target, action.clone());
        assert_eq!(target.releases[&ID].serving_since, serves.then_some(START + Millis::seconds(21)), "{why}");
        target.releases.get_mut(&ID).unwrap().serving_since = Some(START);
        intend(&mut target, action);
        assert_eq!(target.releases[&ID].serving_since, Some(START), "the first one counts: {why}");
    }
}

#[test]
fn what_each_service_gets_follows_from_what_serves() {
    let runs = |n, replicas| {
        let value = Value::Workload { digest: image(n, "web"), replicas };
        BTreeMap::from([(blue("web"), found(Stamp { fence: None, value }, replicas))])
    };
    let none = BTreeMap::new();
    let (beside, in_place) = (&policy(), &rolling());
    let kept = Artifact { kept: true, ..artifact(2, "web") };
    for (policy, before, objects, artifact, (colour, replicas, changes)) in [
        (beside, None, &none, artifact(2, "web"), (Colour::Blue, 1, true)),
        (beside, Some(serving(1, "web", 3)), &none, artifact(2, "web"), (Colour::Green, 3, true)),
        (beside, Some(serving(1, "web", 0)), &none, artifact(2, "web"), (Colour::Green, 1, true)),
        (beside, Some(serving(1, "web", 3)), &runs(1, 5), artifact(2, "web"), (Colour::Green, 5, true)),
        (beside, Some(serving(1, "web", 3)), &runs(1, 1), artifact(2, "web"), (Colour::Green, 1, true)),
        (beside, Some(serving(1, "web", 3)), &runs(1, 0), artifact(2, "web"), (Colour::Green, 3, true)),
        (beside, Some(serving(2, "web", 3)), &none, artifact(2, "web"), (Colour::Green, 3, false)),
        (beside, Some(serving(1, "web", 3)), &none, kept.clone(), (Colour::Green, 3, false)),
        (beside, None, &none, kept, (Colour::Blue, 1, false)),
        (in_place, Some(serving(1, "web", 3)), &none, artifact(2, "web"), (Colour::Blue, 3, true)),
        (in_place, None, &none, artifact(2, "web"), (Colour::Blue, 1, true)),
    ] {
        let mut target = Target::default();
        say(&mut target, opened(ID, 2));
        say(&mut target, What::ImageAdded { release: ID, service: service("web"), artifact: artifact.clone() });
        let case = format!("{:?} {before:?} {objects:?} {artifact:?}", policy.strategy);
        let before = before.map(|serving| ("web", serving));
        say(&mut target, began(policy.clone(), before.as_slice(), objects.clone()));
        let expected = Progress { colour, replicas, changes, step: Step::Idle, share: 0 };
        assert_eq!(target.releases[&ID].progress, BTreeMap::from([(service("web"), expected)]), "{case}");
    }
}

#[test]
fn a_release_that_begins_can_not_be_undone_if_anybody_said_so() {
    for (opening, read, expected) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let mut target = Target::default();
        say(&mut target, opened(ID, 2));
        target.releases.get_mut(&ID).unwrap().forward_only = opening;
        let facts = CommitFacts { forward_only: read, ..CommitFacts::default() };
        let facts = Arc::new(Facts { commit: Some(facts), ..Facts::default() });
        say(&mut target, What::FactsRead { release: ID, facts });
        say(&mut target, began(policy(), &[], BTreeMap::new()));
        assert_eq!(target.releases[&ID].forward_only, expected, "opened: {opening}, read: {read}");
    }
}

#[test]
fn limits_count_from_the_event_that_sets_them() {
    let mut rules = policy();
    rules.gates.expire = Millis::minutes(7);
    rules.gates.remind = Millis::minutes(3);
    rules.limits.backup = Millis::minutes(9);
    let mut target = Target::default();
    say(&mut target, opened(ID, 2));
    let of = |target: &Target| target.releases[&ID].clone();

    let at = say(&mut target, began(rules.clone(), &[], BTreeMap::new()));
    assert_eq!(of(&target).until, Some(at + Millis::minutes(9)), "the backup may take longer than the gates");
    rules.gates.expire = Millis::minutes(11);
    let at = say(&mut target, began(rules, &[], BTreeMap::new()));
    assert_eq!(of(&target).until, Some(at + Millis::minutes(11)), "and the gates longer than the backup");

    let at = say(&mut target, What::Paused { release: ID });
    assert_eq!(of(&target).remind_at, Some(at + Millis::minutes(3)));
    say(&mut target, What::Paused { release: ID });
    assert_eq!(of(&target).remind_at, Some(at + Millis::minutes(3)), "it was brought to mind already");

    let at = say(&mut target, What::Entered { release: ID, phase: Phase::Verifying });
    assert_eq!((of(&target).phase_since, of(&target).until), (at, Some(at + Millis::minutes(11))));

    for arrives in [false, true] {
        let at = say(
            &mut target,
            if arrives {
                What::Arrived { release: ID, serving: BTreeMap::new() }
            } else {
                What::Entered { release: ID, phase: Phase::Watching }
            },
        );
        let watch = of(&target).watch.unwrap();
        assert_eq!((watch.since, watch.measured_to), (at, at), "arrived by others: {arrives}");
        assert_eq!((of(&target).phase, of(&target).phase_since, of(&target).until), (Phase::Watching, at, None));
    }
}

#[test]
fn a_service_has_switched_when_the_new_code_has_its_place() {
    let overlap = ServiceKind::Worker { overlap: true };
    let alone = ServiceKind::Worker { overlap: false };
    for (kind, has_old, step, share, switched) in [
        (ServiceKind::Serving, true, Step::Firm, 0, false),
        (ServiceKind::Serving, true, Step::Switched, 5_000, false),
        (ServiceKind::Serving, true, Step::Switched, 10_000, true),
        (overlap, true, Step::Up, 0, false),
        (overlap, true, Step::Stopped(Seq(7)), 0, false),
        (overlap, true, Step::Firm, 10_000, false),
        (overlap, true, Step::Stopped(Seq(7)), 10_000, true),
        (overlap, true, Step::Up, 10_000, true),
        (overlap, false, Step::Firm, 10_000, true),
        (overlap, false, Step::Firm, 0, false),
        (alone, true, Step::Firm, 10_000, true),
        (alone, true, Step::Firm, 0, false),
    ] {
        let progress = Progress { colour: Colour::Green, replicas: 3, changes: true, step, share };
        assert_eq!(progress.is_switched(kind, has_old), switched, "{kind:?} {has_old} {step:?} {share}");
    }
}

// The way back, step by step.

#[test]
fn only_the_answer_that_is_awaited_moves_a_service_back() {
    let s = Seq(7);
    // The service and its step; then the step after what was awaited, and after what was not expected.
    for (name, step, awaited, unexpected) in [
        ("jobs", BackStep::Stopping(s), BackStep::Stopped(s), BackStep::Idle),
        ("jobs", BackStep::Ending(s), BackStep::Clear, BackStep::Idle),
        ("jobs", BackStep::Claiming(s), BackStep::Claimed(s), BackStep::Clear),
        ("jobs", BackStep::Confirming(s), BackStep::Firm, BackStep::Clear),
        ("web", BackStep::Claiming(s), BackStep::Claimed(s), BackStep::Idle),
        ("web", BackStep::Confirming(s), BackStep::Firm, BackStep::Idle),
        ("web", BackStep::Switching(s), BackStep::Back, BackStep::Firm),
        ("web", BackStep::Draining(s), BackStep::Done, BackStep::Back),
    ] {
        let looks = matches!(step, BackStep::Ending(_) | BackStep::Confirming(_));
        let action = match step {
            _ if looks => await_ready(&blue(name)),
            BackStep::Switching(_) => write(&traffic(name), Value::Traffic { green: 0 }, Purpose::Restore),
            _ => write(&blue(name), pods(name, 3), Purpose::Restore),
        };
        let good = if looks { Outcome::Seen(Found::default()) } else { Outcome::Written };
        for (outcome, after) in [(good, awaited), (Outcome::Drift(Found::default()), unexpected)] {
            let case = format!("{name} {step:?} {outcome:?}");
            let mut target = on_its_way_back(policy(), &[(name, step)]);
            for seq in [6, 7] {
                awaits(&mut target, ID, seq, action.clone());
            }
            // A refused write is intended anew whichever of them it was; all else counts only where it is awaited.
            if looks || outcome == Outcome::Written {
                answer(&mut target, 6, outcome.clone());
                assert_eq!(back_of(&target, name), step, "an older one: {case}");
            }
            answer(&mut target, 7, outcome.clone());
            assert_eq!(back_of(&target, name), after, "{case}");
            answer(&mut target, 7, outcome);
            assert_eq!(back_of(&target, name), after, "a second time: {case}");
            assert_eq!(step_of(&target, name), (Step::Switched, 10_000), "the way forward is over: {case}");
        }
    }
}

#[test]
fn an_intention_of_the_way_back_brings_its_service_to_the_step_that_waits_for_it() {
    let (old, s) = (Seq(5), Seq(21));
    let put = |object: &ObjectKey, replicas| write(object, pods("web", replicas), Purpose::Restore);
    let turn = || write(&traffic("web"), Value::Traffic { green: 0 }, Purpose::Restore);
    let mark = || write(&traffic("web"), Value::Traffic { green: 0 }, Purpose::Mark);
    let wait = || await_ready(&blue("web"));
    for (step, action, after, why) in [
        (BackStep::Idle, put(&green("web"), 0), BackStep::Stopping(s), "the new one is stopped"),
        (BackStep::Idle, put(&green("web"), 3), BackStep::Claiming(s), "the old digest is written in place"),
        (BackStep::Idle, put(&blue("web"), 3), BackStep::Claiming(s), "the old one is claimed"),
        (BackStep::Stopped(old), wait(), BackStep::Ending(s), "the end of the new one is awaited"),
        (BackStep::Clear, put(&blue("web"), 3), BackStep::Claiming(s), "the old one is claimed after that"),
        (BackStep::Claimed(old), wait(), BackStep::Confirming(s), "the old one comes up"),
        (BackStep::Firm, turn(), BackStep::Switching(s), "traffic moves back"),
        (BackStep::Firm, put(&green("web"), 0), BackStep::Draining(s), "no traffic to move"),
        (BackStep::Back, put(&green("web"), 0), BackStep::Draining(s), "the new one goes"),
        (BackStep::Back, wait(), BackStep::Back, "nothing is awaited"),
        (BackStep::Idle, mark(), BackStep::Idle, "a mark is no step"),
        (BackStep::Firm, mark(), BackStep::Firm, "a mark is no step"),
    ] {
        let mut target = on_its_way_back(policy(), &[("web", step)]);
        intend(&mut target, action);
        assert_eq!(back_of(&target, "web"), after, "{why}");
        assert_eq!(step_of(&target, "web"), (Step::Switched, 10_000), "the way forward is over");
    }
}

#[test]
fn traffic_is_back_when_the_last_service_is_and_the_cleaning_up_does_not_count() {
    let restored = |target: &Target| target.releases[&ID].rollback.as_ref().unwrap().restored_at;
    let turn = |name: &str| write(&traffic(name), Value::Traffic { green: 0 }, Purpose::Restore);
    let mut target =
        on_its_way_back(policy(), &[("web", BackStep::Switching(Seq(5))), ("api", BackStep::Switching(Seq(6)))]);
    awaits(&mut target, ID, 5, turn("web"));
    awaits(&mut target, ID, 6, turn("api"));
    awaits(&mut target, ID, 7, write(&green("web"), pods("web", 0), Purpose::Restore));
    answer(&mut target, 5, Outcome::Written);
    assert_eq!(restored(&target), None, "one still serves the new code");
    let back = answer(&mut target, 6, Outcome::Written);
    assert_eq!(restored(&target), Some(back));
    answer(&mut target, 7, Outcome::Written);
    say(&mut target, What::ServiceBack { release: ID, service: service("api") });
    assert_eq!(restored(&target), Some(back), "the rest is clean-up");
}

#[test]
fn a_release_that_goes_back_or_needs_help_no_longer_moves_forward() {
    let forward: BTreeSet<Phase> = [
        Phase::Gathering,
        Phase::Gated,
        Phase::Cleared,
        Phase::BackingUp,
        Phase::Deploying { wave: 0 },
        Phase::Verifying,
        Phase::Switching { step: 0, wave: 0 },
        Phase::Watching,
        Phase::Live,
        Phase::RollingBack,
        Phase::NeedsHelp,
    ]
    .into_iter()
    .filter(|phase| phase.is_forward())
    .collect();
    assert_eq!(forward.len(), 9);
    assert!(!forward.contains(&Phase::RollingBack) && !forward.contains(&Phase::NeedsHelp));
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
    let sent = world.target.outstanding.iter().find_map(|(seq, outstanding)| match &outstanding.intention.action {
        Action::Write(write) if switches_web(&outstanding.intention.action) => Some((*seq, write.clone())),
        _ => None,
    });
    let (seq, write) = sent.expect("the switch is under way");
    world.pass(Millis::minutes(10));
    assert_eq!(world.phase(id), Some(Phase::NeedsHelp), "{:#?}", world.story(id));
    world.parked = |_| false;
    world.command("kofi", Command::Resolve { reason: "stay on blue".into() });
    assert_eq!(world.phase(id), None);
    assert!(matches!(world.write(seq, &write), Outcome::Drift(_)), "the late switch got through");
    assert_eq!(world.serves("web"), Some(image(1, "web")));
}
