//! Flagger #1898: a canary was given up while it was being promoted, and all traffic went to the broken version. #1186:
//! people want a canary to stay where it is, not to be undone, while they look.
//! Here: each step is watched by itself, a crash or a second driver between two of them changes nothing, and what is
//! given up at any step has no traffic any more.

use portcullis_domain::action::{Action, ObjectKey, Purpose, Value};
use portcullis_domain::event::{Reason, What};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::{Metric, Strategy};
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::world::{Ending, image, name};
use portcullis_engine::memory::{Op, World};

use crate::{count, is_over, undone_because};

const RELEASE: ReleaseId = ReleaseId(1);
const SERVICES: [&str; 2] = ["api", "web"];

/// Release 1 is watched at the first of three steps, two minutes each.
async fn at_a_quarter() -> World {
    let mut world = World::with(|policy| {
        let steps = vec![2_500, 5_000, 10_000];
        policy.strategy = Strategy::BlueGreen { steps, every: Millis::minutes(2), manual: false };
    });
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    assert_eq!(shares(&world), [2_500, 2_500]);
    world
}

/// What the new version has of each service's requests.
fn shares(world: &World) -> [u16; 2] {
    SERVICES.map(|service| {
        world.cluster.serving(&world.target, &name(service)).get(&image(service, 1)).copied().unwrap_or(0)
    })
}

async fn run_until_shares(world: &mut World, limit: Millis, wanted: [u16; 2]) {
    for _ in 0..limit.0 / 1_000 {
        if shares(world) == wanted {
            return;
        }
        world.run_for(Millis::seconds(1)).await;
    }
    panic!("{:?} is not {wanted:?}\n{}", shares(world), world.story().await);
}

/// How often a share was intended.
async fn switches(world: &World, green: u16) -> usize {
    let is_switch = |what: &What| match what {
        What::Intended { intention, .. } => matches!(
            &intention.action,
            Action::Write(write) if write.purpose == Purpose::Switch && write.to == Value::Traffic { green }
        ),
        _ => false,
    };
    count(world, is_switch).await
}

#[tokio::test(start_paused = true)]
async fn each_step_is_watched_until_all_traffic_has_moved() {
    let mut world = at_a_quarter().await;
    world.run_for(Millis::seconds(110)).await;
    assert_eq!(shares(&world), [2_500, 2_500], "not before its time");
    run_until_shares(&mut world, Millis::minutes(2), [5_000, 5_000]).await;
    world.run_for(Millis::seconds(110)).await;
    assert_eq!(shares(&world), [5_000, 5_000]);
    run_until_shares(&mut world, Millis::minutes(2), [10_000, 10_000]).await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    for green in [2_500, 5_000, 10_000] {
        assert_eq!(switches(&world, green).await, 2, "one for each service");
    }
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_breach_at_the_second_step_leaves_it_no_traffic() {
    let mut world = at_a_quarter().await;
    run_until_shares(&mut world, Millis::minutes(4), [5_000, 5_000]).await;
    world.metrics.set(image("web", 1), Metric::ErrorRate, 680);
    world.run_until(Millis::minutes(6), "undone", is_over(RELEASE)).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    let why = undone_because(&world, RELEASE).await.unwrap();
    assert!(matches!(why, Reason::Threshold { value: 680, .. }), "{why}");
    assert_eq!(shares(&world), [0, 0]);
    assert!(world.all_serve(0));
    assert_eq!(switches(&world, 10_000).await, 0);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_pauses_between_two_steps_for_an_hour() {
    let mut world = at_a_quarter().await;
    world.command("ama", Command::Pause { release: RELEASE }).await;
    world.run_for(Millis::hours(1)).await;
    assert_eq!(shares(&world), [2_500, 2_500]);
    world.command("ama", Command::Resume { release: RELEASE }).await;
    run_until_shares(&mut world, Millis::minutes(4), [5_000, 5_000]).await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_two_steps_and_a_second_driver_take_each_step_once() {
    let mut world = at_a_quarter().await;
    world.add_driver();
    // The next step is on the cluster, its answer never comes, and the process dies.
    world.faults.hold_after_nth(Op::Write, 0);
    for _ in 0..240 {
        world.run_for(Millis::seconds(1)).await;
        if world.faults.held(Op::Write) > 0 {
            break;
        }
    }
    assert_eq!(world.faults.held(Op::Write), 1);
    let moved = SERVICES.map(|service| {
        let found = world.cluster.found(&world.target, &ObjectKey::traffic(&name(service)));
        found.stamp.unwrap().value
    });
    assert!(moved.contains(&Value::Traffic { green: 5_000 }), "{moved:?}");
    world.crash().await;
    world.faults.heal(Op::Write);
    run_until_shares(&mut world, Millis::minutes(4), [5_000, 5_000]).await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    for green in [2_500, 5_000, 10_000] {
        assert_eq!(switches(&world, green).await, 2, "one for each service");
    }
    world.assert_sound().await;
}
