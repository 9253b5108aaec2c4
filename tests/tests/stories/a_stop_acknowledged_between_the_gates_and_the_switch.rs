//! A freeze that is only looked at when the gates are judged comes too late for what was judged a moment before: it is
//! acknowledged, and then traffic moves.
//! Here: the append that carries a commit point is made on the condition that no stop was put on meanwhile. Once a stop
//! is acknowledged nothing of a release moves forward, wherever it was; when it is lifted, it goes on.

use portcullis_domain::action::Value;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::scope::{Scope, Stop};
use portcullis_domain::time::Millis;
use portcullis_engine::memory::{Op, World};
use portcullis_engine::ports::Ledger;

use crate::{forward_since, gated, holds, is_over, verifying};

const RELEASE: ReleaseId = ReleaseId(1);

/// A person stops everything. Returns the ledger's position at the acknowledgement.
async fn stop(world: &World) -> Seq {
    let (who, reason) = ("ama".parse().unwrap(), "the shop is full".to_owned());
    let stop = Stop { who, reason, since: world.clock.now(), until: None };
    world.recorder.set_stop(&Scope::All, Some(stop)).await.unwrap();
    world.state().await.seq
}

fn switches(world: &World) -> usize {
    let to_green = |effect: &&portcullis_engine::memory::cluster::Effect| effect.to == Value::Traffic { green: 10_000 };
    world.cluster.effects().iter().filter(to_green).count()
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_was_decided_and_not_yet_appended_is_not_made() {
    let mut world = verifying().await;
    world.faults.hold_before(Op::Append);
    world.run_for(Millis::seconds(15)).await;
    assert_eq!(world.faults.held(Op::Append), 1, "the driver has decided: the tests passed, the gates hold");
    let since = stop(&world).await;
    world.faults.heal(Op::Append);
    world.run_for(Millis::minutes(10)).await;
    assert_eq!(forward_since(&world, since).await, Vec::<String>::new());
    assert_eq!((world.phase(RELEASE).await.unwrap().name(), switches(&world)), ("verifying", 0));
    assert!(world.all_serve(0));

    world.recorder.set_stop(&Scope::All, None).await.unwrap();
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn at_whatever_append_of_the_switch_it_comes_nothing_moves_forward_after_it() {
    let (mut appends, mut stopped_before) = (0, 0);
    for nth in 0.. {
        let mut world = verifying().await;
        world.faults.hold_before_nth(Op::Append, nth);
        world.run_for(Millis::seconds(25)).await;
        if world.faults.held(Op::Append) == 0 {
            break;
        }
        appends += 1;
        let since = stop(&world).await;
        world.faults.heal(Op::Append);
        world.run_for(Millis::seconds(90)).await;
        assert_eq!(forward_since(&world, since).await, Vec::<String>::new(), "{nth}\n{}", world.story().await);
        stopped_before += usize::from(switches(&world) == 0);
        world.recorder.set_stop(&Scope::All, None).await.unwrap();
        world.run_until_phase("live").await;
        world.assert_sound().await;
    }
    assert!(appends >= 6, "from the test's outcome to the watch: {appends}");
    assert!((1..appends).contains(&stopped_before), "before and after the switch was intended: {stopped_before}");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_decided_and_not_yet_begun_does_not_begin() {
    let mut world = gated().await;
    world.faults.hold_before(Op::Append);
    let (recorder, target) = (world.recorder.clone(), world.target.clone());
    let plan = world.release(RELEASE).await.unwrap().plan.unwrap().id;
    let approving = tokio::spawn(async move {
        let command = portcullis_domain::signal::Command::Approve { release: RELEASE, plan, typed: None };
        recorder.command(&target, &"kofi".parse().unwrap(), command).await
    });
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert_eq!(world.faults.held(Op::Append), 1, "the approval and the beginning are decided together");
    let since = world.state().await.seq;
    let (recorder, since_when) = (world.recorder.clone(), world.clock.now());
    let stopping = tokio::spawn(async move {
        let (who, reason) = ("ama".parse().unwrap(), "the shop is full".to_owned());
        recorder.set_stop(&Scope::All, Some(Stop { who, reason, since: since_when, until: None })).await
    });
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert!(world.ledger.all_scopes().await.unwrap().iter().any(|(_, scope)| scope.stop.is_some()), "it is on");
    world.faults.heal(Op::Append);
    approving.await.unwrap().unwrap();
    stopping.await.unwrap().unwrap();
    world.run_for(Millis::minutes(10)).await;
    assert_eq!(forward_since(&world, since).await, Vec::<String>::new());
    let words = "freeze: all is stopped by ama: the shop is full; clears when the stop is lifted";
    assert_eq!(holds(&world, RELEASE).await, [words], "the approval was not lost, and does not suffice");
    assert!(world.cluster.effects().is_empty());
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_does_not_ask_for_it() {
    let mut world = verifying().await;
    world.run_until_phase("watching").await;
    stop(&world).await;
    world.roll_back("kofi").await;
    world.run_until(Millis::minutes(1), "rolled back", is_over(RELEASE)).await;
    assert!(world.all_serve(0));
    world.assert_sound().await;
}
