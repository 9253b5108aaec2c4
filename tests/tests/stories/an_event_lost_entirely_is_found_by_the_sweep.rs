//! terraform-aws-github-runner: events lost before the queue were lost for ever. Argo Rollouts #3316: a missed event
//! left things stale until a deadline. ECR's events are best effort.
//! Here: an event that never comes costs a minute. The sweep and the readings of the watch find what it would have
//! told.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::Reason;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::Ending;

use crate::{is_over, opened, undone_because, watching};

/// What was written to each object, in order; two services that go side by side have no order between them.
fn written(world: &World) -> Vec<(ObjectKey, Value)> {
    let effects = world.cluster.effects().into_iter();
    let mut written: Vec<(ObjectKey, Value)> = effects.map(|effect| (effect.object, effect.to)).collect();
    written.sort_by(|a, b| a.0.cmp(&b.0));
    written
}

/// Images are pushed, some of their events are lost, and the release is approved when it is there.
async fn live_after(lost: &[&str]) -> World {
    let mut world = World::new();
    world.run_for(Millis::minutes(2)).await;
    for service in ["api", "web"] {
        if lost.contains(&service) {
            world.publish(service, 1);
        } else {
            world.push(service, 1).await;
        }
    }
    world.run_for(Millis::minutes(2)).await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.run_for(Millis::hours(2)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_push_of_which_no_event_came_is_released_like_any_other() {
    let told = live_after(&[]).await;
    for lost in [&["api"][..], &["web"], &["api", "web"]] {
        let world = live_after(lost).await;
        assert!(world.all_serve(1), "{lost:?}");
        assert_eq!(written(&world), written(&told), "{lost:?}");
        assert_eq!(opened(&world).await, 1, "{lost:?}: found once, not at every sweep");
        world.assert_sound().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_sweep_it_would_be_lost() {
    let mut world = World::new();
    world.run_for(Millis::minutes(2)).await;
    world.sweeping = false;
    world.publish("api", 1);
    world.publish("web", 1);
    world.run_for(Millis::hours(1)).await;
    assert!(world.events().await.is_empty(), "it is the sweep that finds it, nothing else");
    world.sweep_once().await;
    assert_eq!(opened(&world).await, 1);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_of_which_no_event_came_undoes_the_release_all_the_same() {
    let mut world = watching().await;
    let release = world.newest().await;
    world.run_for(Millis::seconds(90)).await;
    world.metrics.set_alarm(&"shop-errors".parse().unwrap(), AlarmState::Alarm, world.clock.now());
    world.run_until(Millis::seconds(90), "rolled back", is_over(release)).await;
    assert_eq!(world.ending(release).await, Some(Ending::RolledBack));
    assert!(matches!(undone_because(&world, release).await, Some(Reason::Alarm { .. })));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}
