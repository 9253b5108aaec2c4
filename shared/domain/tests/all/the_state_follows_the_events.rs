//! What `apply` keeps of an event, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_domain::action::{Action, Look, Purpose};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::{End, Reason, What};
use portcullis_domain::facts::{AlarmFact, AlarmState, CommitFacts, Facts};
use portcullis_domain::names::{AlarmName, ReleaseId, Seq};
use portcullis_domain::policy::*;
use portcullis_domain::target::{BackStep, Phase, Release, Step, Target};
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::applying::{
    ID, START, artifact, awaits, green, on_its_way, on_its_way_back, opened, pods, say, write,
};
use crate::world::*;

const OTHER: ReleaseId = ReleaseId(2);

fn look() -> Action {
    Action::Look(Look::default())
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
