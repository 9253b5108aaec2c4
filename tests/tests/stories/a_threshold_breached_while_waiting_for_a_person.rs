//! Flagger #1801: while a canary waited for a confirmation, its thresholds were breached and nobody looked: it kept
//! waiting, and could be confirmed.
//! Here: waiting for a person is no pause in judging. What serves and breaches is undone while it waits; what does not
//! serve yet is judged again when the person says go.

use portcullis_domain::event::Reason;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::{Metric, Strategy};
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::world::{Ending, image};
use portcullis_engine::memory::{Build, World};
use portcullis_engine::recorder::Commanded;

use crate::{holds, is_over, undone_because, watching};

const RELEASE: ReleaseId = ReleaseId(1);

/// Green is up and tested; traffic moves when a person says so.
async fn waiting_for_the_switch() -> World {
    let mut world = World::with(|policy| {
        policy.strategy = Strategy::BlueGreen { steps: vec![10_000], every: Millis::minutes(1), manual: true };
    });
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(5)).await;
    let asking = world.release(RELEASE).await.unwrap().asking.unwrap();
    assert_eq!(asking.why, "green is up and tested; traffic moves when a person says so");
    assert!(world.all_serve(0));
    world
}

#[tokio::test(start_paused = true)]
async fn a_release_that_serves_and_waits_for_a_word_is_undone_when_it_breaches() {
    let mut world = watching().await;
    world.alarm("ask-latency", AlarmState::Alarm).await;
    world.run_for(Millis::seconds(90)).await;
    let asking = world.release(RELEASE).await.unwrap().asking.unwrap();
    assert_eq!(asking.why, "alarm ask-latency rings; promote the release, or roll it back");
    world.metrics.set(image("web", 1), Metric::ErrorRate, 680);
    world.run_until(Millis::minutes(3), "undone without the person", is_over(RELEASE)).await;
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    let why = undone_because(&world, RELEASE).await.unwrap();
    assert!(matches!(why, Reason::Threshold { value: 680, .. }), "{why}");
    let late = world.command("ama", Command::Promote { release: RELEASE }).await;
    assert_eq!(crate::refusal(late), "release 1 has ended");
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn healthy_or_not_it_does_not_go_live_while_a_person_is_asked() {
    let mut world = watching().await;
    world.alarm("ask-latency", AlarmState::Alarm).await;
    world.run_for(Millis::minutes(30)).await;
    assert_eq!(world.phase(RELEASE).await.unwrap().name(), "watching", "the alarm's question is open");
    let promoted = world.command("ama", Command::Promote { release: RELEASE }).await;
    assert!(matches!(promoted, Commanded::Accepted(_)));
    assert_eq!(world.phase(RELEASE).await.unwrap().name(), "live");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_rings_while_it_waits_holds_the_switch_although_a_person_says_go() {
    let mut world = waiting_for_the_switch().await;
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::minutes(2)).await;
    world.command("ama", Command::Promote { release: RELEASE }).await;
    world.run_for(Millis::minutes(5)).await;
    assert!(world.all_serve(0), "what was well when it began is not well now");
    assert_eq!(
        holds(&world, RELEASE).await,
        ["alarms: shop-errors rings already; clears when it is OK again, or a person accepts it"]
    );
    world.alarm("shop-errors", AlarmState::Ok).await;
    world.run_until_phase("watching").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_fail_while_it_waits_never_get_traffic_although_a_person_says_go() {
    let mut world = waiting_for_the_switch().await;
    let sick = Build { problem: Some("CrashLoopBackOff".into()), ..Build::default() };
    world.cluster.set_build(image("api", 1), sick);
    world.run_for(Millis::minutes(2)).await;
    world.command("ama", Command::Promote { release: RELEASE }).await;
    for _ in 0..30 {
        world.run_for(Millis::seconds(30)).await;
        assert!(world.all_serve(0));
    }
    assert_eq!(world.ending(RELEASE).await, Some(Ending::RolledBack));
    let why = undone_because(&world, RELEASE).await.unwrap().to_string();
    assert_eq!(why, "Deployment/api-green did not become ready in time");
    world.assert_sound().await;
}
