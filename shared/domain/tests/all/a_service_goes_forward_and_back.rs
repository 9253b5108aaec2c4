//! The way forward and the way back in `apply`, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_domain::action::{Action, AwaitReady, Found, ObjectKey, Outcome, Purpose, Stamp, Value};
use portcullis_domain::event::What;
use portcullis_domain::facts::{Artifact, CommitFacts, Facts};
use portcullis_domain::names::Seq;
use portcullis_domain::policy::*;
use portcullis_domain::target::{BackStep, Phase, Progress, Serving, Step, Target};
use portcullis_domain::time::Millis;

use crate::world::applying::{
    ID, START, answer, artifact, awaits, green, intention, on_its_way, on_its_way_back, opened, pods, say, serving,
    traffic, write,
};
use crate::world::*;

fn began(policy: Policy, before: &[(&str, Serving)], objects: BTreeMap<ObjectKey, Found>) -> What {
    let sealed = SealedPolicy::new(policy);
    let plan = "4be1-c07f".parse().unwrap();
    let before = before.iter().map(|(name, serving)| (service(name), serving.clone())).collect();
    What::Began { release: ID, plan, policy: sealed.share(), before, objects }
}

fn await_ready(object: &ObjectKey) -> Action {
    let digest = image(2, object.service.as_str());
    Action::AwaitReady(AwaitReady { object: object.clone(), digest, replicas: 3, after: Seq(5) })
}

fn intend(target: &mut Target, action: Action) {
    say(target, What::Intended { release: ID, intention: Box::new(intention(action)) });
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

fn blue(name: &str) -> ObjectKey {
    ObjectKey::workload(&service(name), Colour::Blue)
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
