//! An alarm that was ringing before a deployment is not that deployment's doing: tools roll back for it, again and
//! again (Flagger #1186: users want a freeze, not a rollback).
//! Here: it holds the release before it serves, until it is well again or a person takes it as it is; it never undoes
//! one. And only what we fetched ourselves makes it well, never a message.

use portcullis_domain::action::ObjectKey;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{AlarmName, ReleaseId};
use portcullis_domain::signal::{Command, FactKind};
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, name};

use crate::{gated, holds, undone_because, verifying};

const RELEASE: ReleaseId = ReleaseId(1);
const WORDS: &str = "alarms: shop-errors rings already; clears when it is OK again, or a person accepts it";

fn alarm() -> AlarmName {
    "shop-errors".parse().unwrap()
}

/// The alarm rings; the release is approved and held.
async fn held() -> World {
    let mut world = gated().await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::minutes(2)).await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(10)).await;
    assert_eq!(holds(&world, RELEASE).await, [WORDS]);
    assert!(world.cluster.effects().is_empty());
    world
}

#[tokio::test(start_paused = true)]
async fn it_holds_until_it_is_well_again() {
    let mut world = held().await;
    world.alarm("shop-errors", AlarmState::Ok).await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn accepted_by_a_person_it_lets_the_release_go_and_does_not_undo_it() {
    let mut world = held().await;
    world.command("ama", Command::AcceptAlarm { release: RELEASE, alarm: alarm() }).await;
    world.run_until_phase("live").await;
    world.run_for(Millis::minutes(30)).await;
    assert_eq!((world.ending(RELEASE).await, undone_because(&world, RELEASE).await), (Some(Ending::Live), None));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_begins_to_ring_while_green_comes_up_holds_the_switch() {
    let mut world = verifying().await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::minutes(10)).await;
    assert_eq!(
        (world.phase(RELEASE).await.unwrap().name(), holds(&world, RELEASE).await),
        ("verifying", vec![WORDS.into()])
    );
    assert!(world.all_serve(0), "green stays up, and gets nothing");
    let green = world
        .cluster
        .found(&world.target, &ObjectKey::workload(&name("api"), portcullis_domain::policy::Colour::Green));
    assert_eq!(green.ready, 2);
    world.alarm("shop-errors", AlarmState::Ok).await;
    world.run_until_phase("live").await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn its_event_that_comes_late_in_the_watch_undoes_nothing() {
    let mut world = verifying().await;
    let rang = world.clock.now();
    world.run_until_phase("watching").await;
    let (state, reason) = (AlarmState::Alarm, "threshold crossed".to_owned());
    let fact =
        world.fact(FactKind::AlarmChanged { alarm: alarm(), state, changed_at: rang, reason, suppressed: false });
    world.ingest(&fact).await;
    world.run_until_phase("live").await;
    assert_eq!(undone_because(&world, RELEASE).await, None, "it rang before anything of this release served");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_says_it_is_well_is_not_believed() {
    let mut world = held().await;
    // The message says OK; whoever looks sees that it still rings.
    let (state, changed_at, reason) = (AlarmState::Ok, world.clock.now(), String::new());
    let fact = world.fact(FactKind::AlarmChanged { alarm: alarm(), state, changed_at, reason, suppressed: false });
    world.ingest(&fact).await;
    world.run_for(Millis::minutes(10)).await;
    assert_eq!(world.phase(RELEASE).await.unwrap().name(), "gated", "{}", world.story().await);
    assert!(world.cluster.effects().is_empty());
    world.assert_sound().await;
}
