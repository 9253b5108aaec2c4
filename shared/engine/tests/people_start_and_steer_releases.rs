//! What people do beside approving: start, pause, hands off, and the modes below `deploy`.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::{End, What};
use portcullis_domain::names::CommitSha;
use portcullis_domain::policy::{Colour, Mode, Strategy};
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, commit, image, name};
use portcullis_engine::recorder::{Commanded, RecordError};

#[tokio::test(start_paused = true)]
async fn a_person_starts_a_release_of_a_commit_by_its_first_digits() {
    let mut world = World::with(|policy| policy.intake.branch = None);
    world.push_all(1).await;
    world.settle().await;
    assert!(world.events().await.is_empty(), "no push opens a release here");
    let short = CommitSha::new(&commit(1).as_str()[..7]).unwrap();
    let who = "dev".parse().unwrap();
    let started = world.recorder.start(&world.target, &who, &short, None, Some("hotfix".into()), false).await.unwrap();
    assert!(matches!(started, Commanded::Accepted(_)), "{started:?}");
    let release = world.newest().await;
    let release = world.release(release).await.unwrap();
    assert_eq!(release.commit, commit(1), "the whole commit, as its tag names it");
    assert_eq!(release.artifacts.len(), 2);
    assert_eq!(release.artifacts[&name("api")].digest, image("api", 1));
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_images_and_a_stranger_are_refused_in_words() {
    let world = World::new();
    let who = "kofi".parse().unwrap();
    let refused = world.recorder.start(&world.target, &who, &commit(9), None, None, false).await.unwrap();
    let Commanded::Refused { why, .. } = refused else { panic!("{refused:?}") };
    assert!(why.contains("no image"), "{why}");
    let stranger = "mallory".parse().unwrap();
    let refused = world.recorder.start(&world.target, &stranger, &commit(0), None, None, false).await.unwrap();
    assert!(matches!(refused, Commanded::Refused { .. }));
    let nowhere = "shop/nowhere".parse().unwrap();
    let unknown = world.recorder.start(&nowhere, &who, &commit(0), None, None, false).await;
    assert!(matches!(unknown, Err(RecordError::NoPolicy { .. })));
}

#[tokio::test(start_paused = true)]
async fn while_paused_nothing_moves_forward_and_it_goes_on_when_resumed() {
    let mut world = World::new();
    world.cluster.set_test_takes(Millis::seconds(10));
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("verifying").await;
    let release = world.newest().await;
    world.command("ama", Command::Pause { release }).await;
    world.run_for(Millis::minutes(10)).await;
    assert!(world.all_serve(0), "nothing was switched");
    world.command("ama", Command::Resume { release }).await;
    world.run_until_phase("live").await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn while_hands_are_off_nothing_is_written_until_its_time_is_over() {
    let mut world = World::new();
    world.cluster.set_test_takes(Millis::seconds(10));
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("verifying").await;
    let until = Some(world.clock.now() + Millis::minutes(8));
    world.command("ama", Command::HandsOff { until, reason: "I look at it myself".into() }).await;
    let before = world.cluster.effects().len();
    world.run_for(Millis::minutes(7)).await;
    assert_eq!(world.cluster.effects().len(), before);
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn where_a_person_switches_traffic_waits_for_them() {
    let mut world = World::with(|policy| {
        policy.strategy = Strategy::BlueGreen { steps: vec![10_000], every: Millis::minutes(1), manual: true };
    });
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(10)).await;
    assert!(world.all_serve(0));
    let release = world.newest().await;
    world.command("ama", Command::Promote { release }).await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn in_observe_mode_it_is_only_told_what_would_have_been() {
    let mut world = World::with(|policy| policy.mode = Mode::Observe);
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(5)).await;
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Observed)));
    assert!(world.cluster.effects().is_empty());
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn in_gate_mode_what_somebody_else_deploys_is_watched_and_rolled_back() {
    let mut world = World::with(|policy| policy.mode = Mode::Gate);
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(3)).await;
    let release = world.newest().await;
    assert_eq!(world.phase(release).await.unwrap().name(), "cleared");
    assert!(world.cluster.effects().is_empty(), "somebody else deploys");
    for service in ["api", "web"] {
        let blue = ObjectKey::workload(&name(service), Colour::Blue);
        let value = Value::Workload { digest: image(service, 1), replicas: 2 };
        world.cluster.by_hand(&world.target, &blue, value);
    }
    world.run_for(Millis::minutes(3)).await;
    assert_eq!(world.phase(release).await.unwrap().name(), "watching", "{}", world.story().await);
    world.metrics.set(image("api", 1), portcullis_domain::policy::Metric::ErrorRate, 900);
    world.run_until(Millis::minutes(5), "rolled back", |state| state.releases.is_empty()).await;
    assert!(world.all_serve(0));
    assert!(world.events().await.iter().any(|event| matches!(event.what, What::RolledBack { .. })));
}
