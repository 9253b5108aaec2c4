//! Spinnaker #2827: after a restart every old image triggered a pipeline again; an archive replayed, or a registry
//! copied, tells of every push there ever was.
//! Here: a commit that is not newer than what was tried is recorded as outdated, once, and opens nothing; only a person
//! releases it. And a thousand of them hold nothing else up (Spinnaker #5921: too many new tags, and triggers stop).

use portcullis_domain::event::What;
use portcullis_domain::facts::CommitFacts;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::signal::Fact;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::commit;

use crate::{approve, is, opened, start};

/// Commits 1 to 5 were pushed, a minute each; the last one is live. Returns the facts of all pushes.
async fn archive() -> (World, Vec<Fact>) {
    let mut world = World::new();
    let mut facts = Vec::new();
    for n in 1..=5 {
        for service in ["api", "web"] {
            facts.push(world.publish(service, n));
        }
        world.clock.advance(Millis::minutes(1));
    }
    for fact in &facts[8..] {
        world.ingest(fact).await;
    }
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    world.run_for(Millis::hours(2)).await;
    assert!(world.all_serve(5));
    (world, facts)
}

fn again(fact: &Fact, run: &str, at: Timestamp) -> Fact {
    Fact { delivery: format!("{run}-{}", fact.delivery).parse().unwrap(), at, ..fact.clone() }
}

async fn outdated(world: &World) -> Vec<String> {
    let events = world.events().await.into_iter();
    events.filter_map(|event| if let What::Outdated { why, .. } = event.what { Some(why) } else { None }).collect()
}

#[tokio::test(start_paused = true)]
async fn the_replay_of_an_archive_opens_nothing() {
    let (mut world, facts) = archive().await;
    let effects = world.cluster.effects();
    for fact in &facts {
        world.ingest(&again(fact, "replay", fact.at)).await;
    }
    world.run_for(Millis::hours(1)).await;
    let recorded = outdated(&world).await;
    assert_eq!(recorded.len(), 4, "once per commit: {recorded:?}");
    assert!(recorded.iter().all(|why| why.starts_with("it is an ancestor of") && why.ends_with("release 1")));
    // A second replay, and one that is told as if everything had been pushed just now, have nothing to add.
    for fact in &facts {
        world.ingest(&again(fact, "second", fact.at)).await;
        world.ingest(&again(fact, "copied", world.clock.now())).await;
    }
    world.crash().await;
    world.run_for(Millis::hours(1)).await;
    assert_eq!((outdated(&world).await, opened(&world).await), (recorded, 1));
    assert_eq!(world.cluster.effects(), effects);
    assert!(world.all_serve(5));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn where_nobody_knows_the_ancestry_the_push_time_tells() {
    let (mut world, facts) = archive().await;
    for n in [2, 5] {
        let on_main = CommitFacts { branches: ["main".to_owned()].into(), ..CommitFacts::default() };
        world.source.set(&commit(n), on_main);
    }
    let newest = world.state().await.commits.first().unwrap().ancestors.clone();
    assert!(!newest.is_empty(), "of commit 5 its ancestors are known");
    // A commit of another line of history: neither is the other's ancestor.
    let mut stray = world.publish("api", 9);
    world.source.set(&commit(9), CommitFacts { branches: ["main".to_owned()].into(), ..CommitFacts::default() });
    stray.at = facts[0].at;
    world.ingest(&stray).await;
    world.settle().await;
    let told = outdated(&world).await;
    assert!(told.iter().any(|why| why.starts_with("it was pushed before")), "{told:?}");
    assert_eq!(opened(&world).await, 1);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_may_still_release_it() {
    let (mut world, _) = archive().await;
    start(&world, 3).await;
    world.settle().await;
    let release = world.newest().await;
    assert_eq!(release, ReleaseId(2));
    approve(&world, "kofi", release).await;
    world.run_until(Millis::minutes(30), "live", is(release, "live")).await;
    assert!(world.all_serve(3));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_old_pushes_at_once_do_not_hold_up_a_new_one() {
    let (mut world, facts) = archive().await;
    let head = world.state().await.seq;
    for run in 0..40 {
        for fact in &facts[..8] {
            world.ingest(&again(fact, &format!("run{run}"), fact.at)).await;
        }
    }
    let grown = world.state().await.seq.0 - head.0;
    assert!(grown <= 8, "320 old pushes appended {grown} events");
    world.push_all(6).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(6));
    world.assert_sound().await;
}
