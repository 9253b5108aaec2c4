//! Manifests that are given with a commit: stored once, bound to the plan, and what the new colour is made from.

use portcullis_domain::action::ObjectKey;
use portcullis_domain::policy::Colour;
use portcullis_domain::time::Millis;
use portcullis_engine::bundles;
use portcullis_engine::memory::world::{Ending, commit, name};
use portcullis_engine::memory::{Op, World};
use portcullis_engine::ports::Blobs as _;

#[tokio::test(start_paused = true)]
async fn the_new_colour_is_made_from_what_was_given_and_the_next_release_from_what_is_live() {
    let mut world = World::new();
    bundles::give(&*world.blobs, &world.target, &commit(1), &name("api"), "replicas: 2").await.unwrap();
    world.push_all(1).await;
    world.settle().await;
    world.approve("ama").await;
    world.run_until_phase("live").await;
    let green = |service: &str| ObjectKey::workload(&name(service), Colour::Green);
    assert_eq!(world.cluster.made_from(&world.target, &green("api")).as_deref(), Some("replicas: 2"));
    assert_eq!(world.cluster.made_from(&world.target, &green("web")), None, "nothing was given for it");
    world.run_for(Millis::hours(2)).await;

    world.push_all(2).await;
    world.settle().await;
    world.approve("ama").await;
    world.run_until_phase("live").await;
    let blue = ObjectKey::workload(&name("api"), Colour::Blue);
    assert_eq!(world.cluster.made_from(&world.target, &blue), None, "the next commit came without");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_exchanged_after_the_approval_is_another_plan() {
    let mut world = World::new();
    bundles::give(&*world.blobs, &world.target, &commit(1), &name("api"), "one").await.unwrap();
    world.push_all(1).await;
    world.settle().await;
    let release = world.newest().await;
    let plan = world.release(release).await.unwrap().plan.unwrap().id;
    let key = format!("manifests/shop/production/{}/api.yaml", commit(1));
    world.blobs.put(&key, b"two", false).await.unwrap();
    world.run_for(Millis::minutes(5)).await;
    assert_ne!(world.release(release).await.unwrap().plan.unwrap().id, plan);
    assert_eq!(world.phase(release).await.unwrap().name(), "gated");
}

#[tokio::test(start_paused = true)]
async fn what_was_exchanged_after_the_first_change_is_not_deployed() {
    let mut world = World::new();
    bundles::give(&*world.blobs, &world.target, &commit(1), &name("api"), "one").await.unwrap();
    world.push_all(1).await;
    world.settle().await;
    world.faults.fail(Op::Export, 2);
    world.approve("ama").await;
    let key = format!("manifests/shop/production/{}/api.yaml", commit(1));
    world.run_until_phase("backing_up").await;
    world.blobs.put(&key, b"two", false).await.unwrap();
    world.run_for(Millis::hours(1)).await;
    assert!(world.all_serve(0), "{}", world.story().await);
    let green = ObjectKey::workload(&name("api"), Colour::Green);
    assert_eq!(world.cluster.made_from(&world.target, &green), None);
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::RolledBack));
    world.assert_sound().await;
}
