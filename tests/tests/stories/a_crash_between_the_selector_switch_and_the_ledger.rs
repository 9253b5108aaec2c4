//! Argo Rollouts #2235 and #4750: a controller that died around its switch left traffic where its books did not say,
//! switched minutes late, or left a selector that nobody answered.
//! Here: the process dies after the Service was switched and before the ledger knew. Whoever takes over finds the
//! fence of the intention on the Service, goes on from there or goes back from there, and requests are answered all
//! the while.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::What;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::world::{Ending, image, name};
use portcullis_engine::memory::{Op, World};

use crate::{count, is_over, verifying};

const RELEASE: ReleaseId = ReleaseId(1);

fn traffic() -> ObjectKey {
    ObjectKey::traffic(&name("api"))
}

/// `api` is switched on the cluster, the ledger does not know, and the process is dead.
async fn switched_and_dead() -> World {
    let mut world = verifying().await;
    // The claim goes through; the switch is done and its answer never comes.
    world.faults.hold_after_nth(Op::Write, 1);
    world.run_for(Millis::seconds(20)).await;
    assert_eq!(world.faults.held(Op::Write), 1);
    let found = world.cluster.found(&world.target, &traffic()).stamp.unwrap();
    assert_eq!(found.value, Value::Traffic { green: 10_000 }, "the cluster is switched");
    let known = world.state().await.objects[&traffic()].confirmed.clone().unwrap();
    assert_eq!(known.value, Value::Traffic { green: 0 }, "the ledger does not know");
    world.crash().await;
    world.faults.heal(Op::Write);
    world
}

/// Runs for a while; requests of `api` are answered at every second of it.
async fn run_and_always_answer(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.run_for(Millis::seconds(1)).await;
        let serving = world.cluster.serving(&world.target, &name("api"));
        assert_eq!(serving.values().sum::<u16>(), 10_000, "a blackout\n{}", world.story().await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_process_goes_on_from_there() {
    let mut world = switched_and_dead().await;
    run_and_always_answer(&mut world, 60).await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    let switched = |what: &What| match what {
        What::Intended { intention, .. } => {
            let text = format!("{:?}", intention.action);
            text.starts_with("Write") && text.contains("Switch")
        }
        _ => false,
    };
    assert_eq!(count(&world, switched).await, 2, "one intention per service: the same one, done again");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn or_back_from_there_when_an_alarm_rang_meanwhile() {
    let mut world = switched_and_dead().await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    run_and_always_answer(&mut world, 60).await;
    world.run_until(Millis::minutes(2), "rolled back", is_over(RELEASE)).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn and_with_the_ledger_down_for_minutes_as_well() {
    let mut world = verifying().await;
    let mut switched = false;
    for _ in 0..40 {
        world.run_for(Millis::seconds(1)).await;
        let found = world.cluster.found(&world.target, &traffic()).stamp.unwrap();
        let mid = world
            .state()
            .await
            .outstanding
            .values()
            .any(|outstanding| format!("{:?}", outstanding.intention.action).contains("purpose: Switch"));
        switched = found.value == Value::Traffic { green: 10_000 };
        if mid || switched {
            break;
        }
        // The ledger takes no more than what begins the switch.
        if world.phase(RELEASE).await.unwrap().name() == "switching" {
            break;
        }
    }
    world.faults.fail(Op::Append, portcullis_engine::memory::Faults::ALWAYS);
    run_and_always_answer(&mut world, 30).await;
    world.crash().await;
    run_and_always_answer(&mut world, 60).await;
    world.faults.heal(Op::Append);
    run_and_always_answer(&mut world, 60).await;
    world.run_for(Millis::minutes(20)).await;
    let ending = world.ending(RELEASE).await;
    assert!(matches!(ending, Some(Ending::Live | Ending::RolledBack)), "{ending:?} {switched}");
    let n = u32::from(ending == Some(Ending::Live));
    assert!(world.all_serve(n), "what the ledger says serves: {:?}", image("api", n));
    world.assert_sound().await;
}
