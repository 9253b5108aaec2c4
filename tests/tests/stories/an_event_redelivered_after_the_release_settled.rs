//! Spinnaker #2827: a restart triggered every old image again. A GitHub redelivery days later has the same delivery id;
//! a queue's has not.
//! Here: however a release ended, its pushes told again (the same delivery, another delivery, found anew by a process
//! that was restarted) open nothing and change nothing.

use portcullis_domain::event::End;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::signal::{Command, Fact};
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::Ending;

use crate::{gated, opened};

/// How a release comes to its end.
#[derive(Clone, Copy, Debug)]
enum How {
    Rejected,
    Cancelled,
    Superseded,
    RolledBack,
    Live,
}

async fn ended(how: How) -> (World, Vec<Fact>) {
    let mut world = World::new();
    let mut facts = Vec::new();
    for service in ["api", "web"] {
        let fact = world.publish(service, 1);
        world.ingest(&fact).await;
        facts.push(fact);
    }
    world.settle().await;
    let release = ReleaseId(1);
    let reason = "not this one".to_owned();
    match how {
        How::Rejected => drop(world.command("ama", Command::Reject { release, reason }).await),
        How::Cancelled => drop(world.command("ama", Command::Cancel { release, reason }).await),
        How::Superseded => {
            world.run_for(Millis::minutes(1)).await;
            world.push_all(2).await;
        }
        How::RolledBack => {
            world.approve("kofi").await;
            world.run_until_phase("watching").await;
            world.roll_back("ama").await;
        }
        How::Live => world.approve("kofi").await,
    }
    world.run_for(Millis::hours(3)).await;
    (world, facts)
}

#[tokio::test(start_paused = true)]
async fn it_opens_nothing_and_changes_nothing() {
    for (how, ending, serves) in [
        (How::Rejected, Ending::Settled(End::Rejected), 0),
        (How::Cancelled, Ending::Settled(End::Cancelled), 0),
        (How::Superseded, Ending::Settled(End::Superseded), 0),
        (How::RolledBack, Ending::RolledBack, 0),
        (How::Live, Ending::Live, 1),
    ] {
        let (mut world, facts) = ended(how).await;
        let before = (opened(&world).await, world.cluster.effects());
        assert_eq!(world.ending(ReleaseId(1)).await, Some(ending), "{how:?}");
        for fact in &facts {
            assert!(world.ingest(fact).await.already_done, "{how:?}: the same delivery is done");
            let mut other = fact.clone();
            other.delivery = format!("redelivered-{}", fact.delivery).parse().unwrap();
            world.ingest(&other).await;
            other.delivery = format!("late-{}", fact.delivery).parse().unwrap();
            other.at = world.clock.now();
            world.ingest(&other).await;
        }
        world.crash().await;
        world.sweep_once().await;
        world.run_for(Millis::hours(1)).await;
        assert_eq!((opened(&world).await, world.cluster.effects()), before, "{how:?}\n{}", world.story().await);
        assert_eq!(world.ending(ReleaseId(1)).await, Some(ending), "{how:?}");
        assert!(world.all_serve(serves), "{how:?}");
        world.assert_sound().await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_it_is_open_it_changes_nothing_either() {
    let mut world = gated().await;
    let seq = world.state().await.seq;
    let fact = world.publish("api", 1);
    for delivery in ["again-1", "again-1", "again-2"] {
        let mut again = fact.clone();
        again.delivery = delivery.parse().unwrap();
        world.ingest(&again).await;
    }
    world.settle().await;
    assert_eq!(world.state().await.seq, seq, "{}", world.story().await);
    world.assert_sound().await;
}
