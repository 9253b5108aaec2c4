//! Argo Rollouts #3039: a fast rollback went to a revision that had been aborted. Kargo #7032: a queued promotion was
//! never verified and counted as good.
//! Here: what a release returns to is what was verified and served before it, never a release that was undone; and none
//! can begin over one that is not verified yet.

use std::collections::BTreeMap;

use portcullis_domain::event::What;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::policy::Metric;
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image};

use crate::{gated, holds, is_over, refusal};

/// Release 1 was undone in its watch; release 2 serves and is watched.
async fn the_second_after_an_undone_one() -> World {
    let mut world = gated().await;
    world.metrics.set(image("api", 1), Metric::ErrorRate, 900);
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.run_until(Millis::minutes(5), "rolled back", is_over(ReleaseId(1))).await;
    world.push_all(2).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    assert!(world.all_serve(2));
    world
}

#[tokio::test(start_paused = true)]
async fn the_way_back_leads_past_the_release_that_was_undone() {
    let mut world = the_second_after_an_undone_one().await;
    world.metrics.set(image("web", 2), Metric::ErrorRate, 900);
    world.run_until(Millis::minutes(5), "rolled back", is_over(ReleaseId(2))).await;
    assert!(world.all_serve(0), "the baseline, not commit 1");
    let to = world.events().await.into_iter().find_map(|event| match event.what {
        What::RollbackBegan { release: ReleaseId(2), to, .. } => Some(to),
        _ => None,
    });
    let digests: BTreeMap<String, _> =
        to.unwrap().into_iter().map(|(service, serving)| (service.to_string(), serving.digest)).collect();
    assert_eq!(digests, BTreeMap::from([("api".into(), image("api", 0)), ("web".into(), image("web", 0))]));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_names_it_is_refused_in_words() {
    let mut world = the_second_after_an_undone_one().await;
    let command = Command::RollBack { to: Some(ReleaseId(1)), reason: "back to the one before".into() };
    let why = refusal(world.command("ama", command).await);
    assert_eq!(why, "release 1 is not what served before release 2; start a release of its commit instead");
    world.run_for(Millis::minutes(1)).await;
    assert!(world.all_serve(2), "nothing moved");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn no_release_begins_over_one_that_is_still_watched() {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.push_all(2).await;
    world.settle().await;
    world.approve("ama").await;
    world.run_for(Millis::minutes(3)).await;
    let open = holds(&world, ReleaseId(2)).await;
    assert!(open.iter().any(|hold| hold.starts_with("turn: release 1 is in flight")), "{open:?}");
    // Release 1 turns out bad: release 2 still waits, and returns to the baseline when it is undone itself.
    world.metrics.set(image("api", 1), Metric::ErrorRate, 900);
    world.run_until(Millis::minutes(5), "rolled back", is_over(ReleaseId(1))).await;
    world.run_until_phase("watching").await;
    assert!(world.all_serve(2));
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(5), "rolled back", is_over(ReleaseId(2))).await;
    assert_eq!(world.ending(ReleaseId(2)).await, Some(Ending::RolledBack));
    assert!(world.all_serve(0));
    world.assert_sound().await;
}
