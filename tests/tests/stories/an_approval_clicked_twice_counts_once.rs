//! GitHub asks for an environment's approval once per matrix job, and people click twice: two clicks of one person
//! were taken for two approvals, or for two deployments.
//! Here: one person is one approval, whether the clicks come one after the other or at the same moment in two
//! processes; and one quorum begins one release once.

use portcullis_domain::event::What;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::plan::PlanId;
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::{Op, World};
use portcullis_engine::recorder::{Commanded, Recorder};

use crate::{approve, count, gated, holds};

fn approvals(what: &What) -> bool {
    matches!(what, What::Approved { .. })
}

/// Two people must approve.
async fn of_two() -> (World, ReleaseId, PlanId) {
    let mut world = World::with(|policy| policy.gates.approvals[0].count = 2);
    world.push_all(1).await;
    world.settle().await;
    let release = world.newest().await;
    let plan = world.release(release).await.unwrap().plan.unwrap().id;
    (world, release, plan)
}

/// The same click in two processes at the same moment: both have decided before either could append.
async fn at_once(world: &World, clicks: [(&str, ReleaseId, PlanId); 2]) -> Vec<Commanded> {
    world.faults.hold_before(Op::Append);
    let mut clicking = Vec::new();
    for (who, release, plan) in clicks {
        let (recorder, target) = (Recorder::new(world.ports.clone()), world.target.clone());
        let who = who.parse().unwrap();
        clicking.push(tokio::spawn(async move {
            recorder.command(&target, &who, Command::Approve { release, plan, typed: None }).await.unwrap()
        }));
    }
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert_eq!(world.faults.held(Op::Append), 2, "both decided on the same version");
    world.faults.heal(Op::Append);
    let mut answers = Vec::new();
    for click in clicking {
        answers.push(click.await.unwrap());
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn one_after_the_other() {
    let (mut world, release, _) = of_two().await;
    for _ in 0..3 {
        assert!(matches!(approve(&world, "kofi", release).await, Commanded::Accepted(_)), "a second click is no error");
    }
    world.run_for(Millis::minutes(10)).await;
    assert_eq!(count(&world, approvals).await, 1);
    let words = "approval: 1 of 2 from managers; clears when ama approves";
    assert_eq!(holds(&world, release).await, [words]);
    assert!(world.cluster.effects().is_empty());
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn by_one_person_in_two_processes_at_once() {
    let (mut world, release, plan) = of_two().await;
    let answers = at_once(&world, [("kofi", release, plan), ("kofi", release, plan)]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Commanded::Accepted(_))), "{answers:?}");
    world.run_for(Millis::minutes(10)).await;
    assert_eq!(count(&world, approvals).await, 1);
    assert_eq!(world.phase(release).await.unwrap().name(), "gated");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn by_two_people_in_two_processes_at_once() {
    let (mut world, release, plan) = of_two().await;
    world.add_driver();
    at_once(&world, [("kofi", release, plan), ("ama", release, plan)]).await;
    world.run_until_phase("live").await;
    assert_eq!(count(&world, approvals).await, 2, "neither was lost");
    assert_eq!(count(&world, |what| matches!(what, What::Began { .. })).await, 1, "and it began once");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn twice_where_one_suffices_it_begins_once() {
    let mut world = gated().await;
    world.add_driver();
    world.queue.copies(2);
    let release = world.newest().await;
    let plan = world.release(release).await.unwrap().plan.unwrap().id;
    at_once(&world, [("kofi", release, plan), ("kofi", release, plan)]).await;
    world.run_until_phase("live").await;
    assert_eq!(count(&world, approvals).await, 1);
    assert_eq!(count(&world, |what| matches!(what, What::Began { .. })).await, 1);
    let late = crate::refusal(approve_of(&world, release, plan).await);
    assert_eq!(late, "release 1 is live, not waiting for approval");
    world.assert_sound().await;
}

async fn approve_of(world: &World, release: ReleaseId, plan: PlanId) -> Commanded {
    world.command("kofi", Command::Approve { release, plan, typed: None }).await
}
