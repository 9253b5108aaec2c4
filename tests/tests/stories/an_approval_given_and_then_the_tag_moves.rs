//! A tag is a name that anybody who may push can move: what was approved under it is not what it points at later.
//! Here: an approval is bound to digests. When a tag moves after it was given, before or after the release began, that
//! is recorded, the approved digests are released, and the other image is never deployed.

use portcullis_domain::action::Value;
use portcullis_domain::digest::Digest;
use portcullis_domain::event::What;
use portcullis_domain::facts::ScanStatus;
use portcullis_domain::signal::FactKind;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{image, repository, tag};
use std::collections::BTreeMap;

use crate::{count, gated};

/// The image that somebody puts under the approved one's tag.
fn other() -> Digest {
    image("api", 77)
}

async fn move_the_tag(world: &mut World) {
    world.registry.push(&repository("api"), other(), &tag(1), world.clock.now());
    let fact = world.fact(FactKind::ImagePushed { repository: repository("api"), digest: other(), tag: Some(tag(1)) });
    world.ingest(&fact).await;
    world.settle().await;
}

async fn assert_what_was_approved_serves(world: &World) {
    assert!(world.all_serve(1), "{}", world.story().await);
    let deployed = |effect: &portcullis_engine::memory::cluster::Effect| match effect.to {
        Value::Workload { digest, .. } => digest == other(),
        Value::Traffic { .. } => false,
    };
    assert!(!world.cluster.effects().iter().any(deployed), "the image under the moved tag was deployed");
    let told =
        |what: &What| matches!(what, What::TagMoved { from, to, .. } if (*from, *to) == (image("api", 1), other()));
    assert_eq!(count(world, told).await, 1, "it is raised once");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn before_the_release_begins() {
    let mut world = gated().await;
    world.registry.set_scan(image("web", 1), ScanStatus::InProgress, world.clock.now(), BTreeMap::new());
    world.run_for(Millis::minutes(2)).await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(1)).await;
    assert!(world.cluster.effects().is_empty(), "the scan holds it");
    move_the_tag(&mut world).await;
    world.registry.set_scan(image("web", 1), ScanStatus::Complete, world.clock.now(), BTreeMap::new());
    world.run_until_phase("live").await;
    let shown = world.events().await.into_iter().filter_map(|event| match event.what {
        What::Judged { judgement, .. } => Some(format!("{judgement:?}")),
        _ => None,
    });
    let words = format!("its tag now points at {}, which is not released", other().short());
    assert!(shown.last().unwrap().contains(&words), "the screen says so beside the image");
    assert_what_was_approved_serves(&world).await;
}

#[tokio::test(start_paused = true)]
async fn while_it_is_watched() {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    move_the_tag(&mut world).await;
    world.run_until_phase("live").await;
    world.run_for(Millis::hours(2)).await;
    assert_what_was_approved_serves(&world).await;
}
