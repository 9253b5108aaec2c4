//! Spinnaker #7921: the message that had started a pipeline was delivered again and revived it after it was finished.
//! Here: nothing that ever went over the queue, no outcome that a driver ever reported, and no start repeated by a
//! person brings a release back that has ended.

use portcullis_domain::action::{Found, Outcome};
use portcullis_domain::event::What;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::signal::Signal;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, commit};
use portcullis_engine::ports::Wake;

use crate::{gated, is_over, refusal, start};

async fn rolled_back() -> World {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", is_over(ReleaseId(1))).await;
    world.run_for(Millis::minutes(1)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn every_wake_that_was_ever_sent_comes_again() {
    let mut world = rolled_back().await;
    world.crash().await;
    let (before, effects) = (world.state().await, world.cluster.effects());
    let target = world.target.clone();
    for version in 0..=before.seq.0 {
        let wake = Wake { target: target.clone(), version: Seq(version), at: world.clock.now() };
        let report = world.drivers[0].step(&wake).await.unwrap();
        assert_eq!((report.performed, report.appended), (0, 0), "the wake of version {version} did something");
    }
    world.run_for(Millis::minutes(10)).await;
    assert_eq!((world.state().await, world.cluster.effects()), (before, effects));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn every_outcome_that_was_ever_reported_comes_again() {
    let mut world = rolled_back().await;
    let (before, effects) = (world.state().await, world.cluster.effects());
    let mut told = 0;
    for event in world.events().await {
        let outcomes = match event.what {
            What::Done { intention, outcome, .. } => vec![(intention, *outcome)],
            What::Intended { .. } => {
                let others = [Outcome::Written, Outcome::Drift(Found::default()), Outcome::Seen(Found::default())];
                others.map(|outcome| (event.seq, outcome)).to_vec()
            }
            _ => continue,
        };
        for (intention, outcome) in outcomes {
            told += 1;
            let signal = Signal::Outcome { intention, outcome };
            let recorded = world.recorder.record(&world.target, signal, None).await.unwrap();
            assert!(recorded.events.is_empty(), "the outcome of {intention} told again: {:?}", recorded.events);
        }
    }
    assert!(told > 50, "there were outcomes to tell: {told}");
    world.run_for(Millis::minutes(10)).await;
    assert_eq!((world.state().await, world.cluster.effects()), (before, effects));
    assert_eq!(world.ending(ReleaseId(1)).await, Some(Ending::RolledBack));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_a_person_repeats_is_refused_while_it_is_open_and_held_when_it_was_undone() {
    let mut world = World::with(|policy| policy.intake.branch = None);
    world.push_all(1).await;
    start(&world, 1).await;
    world.settle().await;
    assert_eq!(refusal(start(&world, 1).await), format!("release 1 of {} is open already", commit(1).short()));
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", is_over(ReleaseId(1))).await;

    start(&world, 1).await;
    world.settle().await;
    assert_eq!(world.newest().await, ReleaseId(2), "another release, with gates of its own");
    world.approve("kofi").await;
    world.run_for(Millis::hours(1)).await;
    let open = crate::holds(&world, ReleaseId(2)).await;
    let words = "was rolled back with release 1; clears when a person lifts the quarantine of sha256:";
    assert!(open.iter().any(|hold| hold.starts_with("quarantine: api") && hold.contains(words)), "{open:?}");
    assert_eq!(world.ending(ReleaseId(1)).await, Some(Ending::RolledBack));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}
