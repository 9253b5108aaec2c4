//! A store is restored from last night's backup: what was done since is on the cluster and in no book, and the numbers
//! that were used up are handed out again.
//! Here: objects that carry a fence above the ledger's head are not touched. Every release holds, loud and in words, as
//! long as it takes for a person to raise the epoch; then it goes on from what is there.

use portcullis_domain::action::{ObjectKey, Outcome};
use portcullis_domain::event::What;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::signal::Command;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::name;
use portcullis_engine::recorder::Commanded;

use crate::{holds, is};

async fn release(world: &mut World, n: u32) {
    world.push_all(n).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.run_for(Millis::hours(2)).await;
    assert!(world.all_serve(n));
}

/// The backup was taken after release 1; release 2 is live; the ledger is restored. Then commit 3 is pushed.
async fn restored() -> World {
    let mut world = World::new();
    release(&mut world, 1).await;
    let backup = world.ledger.backup();
    release(&mut world, 2).await;
    world.ledger.restore(backup);
    world.queue.clear();
    world.crash().await;
    world.run_for(Millis::minutes(2)).await;
    world.push_all(3).await;
    world.settle().await;
    world
}

async fn raise(world: &World) {
    let commanded = world.command("ama", Command::RaiseEpoch { reason: "restored from last night".into() }).await;
    assert!(matches!(commanded, Commanded::Accepted(_)), "{commanded:?}");
}

async fn newer_than_this_ledger(world: &World, release: ReleaseId) -> bool {
    let words =
        ", which this ledger never issued: it was restored from a backup; clears when a person raises the epoch";
    holds(world, release).await.iter().any(|hold| hold.starts_with("cluster: ") && hold.ends_with(words))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_until_a_person_raises_the_epoch() {
    let mut world = restored().await;
    let before = world.cluster.effects().len();
    let newest = world.newest().await;
    assert!(newer_than_this_ledger(&world, newest).await, "{:?}", holds(&world, newest).await);
    world.approve("kofi").await;
    world.run_for(Millis::minutes(30)).await;
    assert_eq!(world.cluster.effects().len(), before);
    assert!(world.all_serve(2));

    raise(&world).await;
    world.run_for(Millis::minutes(2)).await;
    if world.phase(newest).await.unwrap().name() == "gated" {
        world.approve("kofi").await;
    }
    world.run_until(Millis::hours(1), "live", is(newest, "live")).await;
    assert!(world.all_serve(3));
    let fence = world.cluster.found(&world.target, &ObjectKey::traffic(&name("api"))).stamp.unwrap().fence.unwrap();
    assert_eq!(fence.epoch, 1);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn it_stays_so_when_the_ledger_has_grown_past_the_fences() {
    let mut world = restored().await;
    let before = world.cluster.effects().len();
    let traffic = world.cluster.found(&world.target, &ObjectKey::traffic(&name("api")));
    let fence = traffic.stamp.unwrap().fence.unwrap();
    // Days of pushes that nobody may release: each is an entry, and the head comes up to the fences and passes them.
    for n in 4..40 {
        world.run_for(Millis::minutes(10)).await;
        world.push_all(n).await;
        world.settle().await;
    }
    assert!(world.state().await.seq > fence.seq, "{} is past {fence}", world.state().await.seq);
    world.run_for(Millis::minutes(2)).await;
    world.approve("kofi").await;
    world.run_for(Millis::minutes(30)).await;
    assert_eq!(world.cluster.effects().len(), before, "nobody raised the epoch\n{}", world.story().await);
    assert!(world.all_serve(2));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_number_was_used_before_takes_a_backup_of_its_own() {
    let mut world = World::new();
    release(&mut world, 1).await;
    let backup = world.ledger.backup();
    release(&mut world, 2).await;
    world.ledger.restore(backup);
    world.queue.clear();
    world.crash().await;
    world.push_all(3).await;
    world.settle().await;
    raise(&world).await;
    world.run_for(Millis::minutes(2)).await;
    let newest = world.newest().await;
    assert_eq!(newest, ReleaseId(2), "the number is handed out again");
    world.approve("kofi").await;
    world.run_until(Millis::hours(1), "watching", is(newest, "watching")).await;
    let began = world.events().await.into_iter().find_map(|event| match event.what {
        What::Began { release, .. } if release == newest => Some(event.at),
        _ => None,
    });
    let index = world.events().await.into_iter().find_map(|event| match event.what {
        What::Done { release, outcome, .. } if release == newest => match *outcome {
            Outcome::BackedUp { index, .. } => Some(index),
            _ => None,
        },
        _ => None,
    });
    let bytes = portcullis_engine::ports::Blobs::get(&*world.blobs, &index.unwrap()).await.unwrap().unwrap();
    let index: portcullis_engine::perform::backup::BackupIndex = serde_json::from_slice(&bytes).unwrap();
    let (taken, began) = (index.taken_at, began.unwrap());
    assert!(taken >= began, "it adopted the backup of another release: taken {} before it began", began.since(taken));
    world.assert_sound().await;
}
