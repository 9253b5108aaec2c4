//! By Portcullis: adoption under load, then releases that are rolled back while they are watched or when they are live,
//! some that stay. Two drivers do all work twice.

use std::time::Duration;

use portcullis_domain::facts::AlarmState;

use super::chaos::Chaos;
use super::{BOUNDS, REPLICAS, Row, Way, allow, load_options, more};
use crate::cluster::Cluster;
use crate::fault_proxy::FaultProxy;
use crate::images::Behaviour;
use crate::world::{Ending, Guard, Scene, World};

/// One in so many turns begins with a release that stays.
const STAYS: u32 = 5;

pub(super) async fn run(cluster: &Cluster, lag: Duration, turns: u32) -> Row {
    let scene = Scene { replicas: REPLICAS, autoscaled: Some(BOUNDS), ..Scene::default() };
    let mut world = World::start(cluster, "zero-loss", scene).await;
    let mut live = world.running("web").await.remove(0);
    let load = world.load("web", load_options()).await;
    allow(&load, [&live]);
    let guard = Guard::start(&world.namespace.client, &world.namespace.name, "web", 1);
    world.adopt().await;
    // Each driver's requests are counted: both must have acted.
    let behind = world.namespace.client.clone();
    let (one, other) = (FaultProxy::start(behind.clone()).await, FaultProxy::start(behind).await);
    world.drive(one.client());
    world.drive(other.client());
    world.race();
    let chaos = Chaos::start(&world.namespace.client, &world.namespace.name, "web", BOUNDS);

    let (mut n, mut switches, mut rollbacks) = (0, 0, 0);
    for turn in 0..turns {
        if turn % STAYS == STAYS - 1 {
            n += 1;
            live = stays(&world, &load, n, &live).await;
            switches += 1;
        }
        n += 2;
        comes_back(&world, &load, n, turn, &live).await;
        switches += 1;
        rollbacks += 1;
    }
    let mut meanwhile = chaos.counts();
    drop(chaos);
    more(&load).await;
    for (proxy, name) in [(&one, "writes of one driver"), (&other, "writes of the other")] {
        let writes = proxy.seen().iter().filter(|seen| seen.writes()).count();
        meanwhile.insert(name, u64::try_from(writes).expect("it is a count"));
    }
    let too_few = guard.seen().too_few;
    let report = load.stop().await;
    world.assert_sound().await;
    Row { way: Way::Portcullis, lag, moves: (switches, rollbacks), report, meanwhile, too_few }
}

/// A release that is approved, goes live and stays; the old colour goes.
async fn stays(world: &World<'_>, load: &crate::load::Load, n: u32, live: &str) -> String {
    let (id, images) = world.push(n, &Behaviour::version(&format!("v{n}"))).await;
    let new = images[0].digest.clone();
    allow(load, [live, &new]);
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    more(load).await;
    world.close_window().await;
    world.only_runs("web", &[&new]).await;
    allow(load, [&new]);
    more(load).await;
    new
}

/// A release that is approved and switched to, and then rolled back: by an alarm while it is watched, or by a person when
/// it is live. The one of the commit before it is pushed, too, and nobody approves that: it may never answer.
async fn comes_back(world: &World<'_>, load: &crate::load::Load, n: u32, turn: u32, live: &str) {
    // Every other one is ready late: whoever switches before it is loses.
    let late = if turn.is_multiple_of(2) { 0 } else { 1_500 };
    let behaviour = Behaviour { ready_after_ms: late, ..Behaviour::version(&format!("v{n}")) };
    world.push(n - 1, &Behaviour::version(&format!("unapproved-v{}", n - 1))).await;
    let (id, images) = world.push(n, &behaviour).await;
    let new = images[0].digest.as_str();
    // Pushed, and not approved yet: still only the live one may answer.
    more(load).await;
    allow(load, [live, new]);
    world.approve(id).await;
    if turn.is_multiple_of(2) {
        world.reaches(id, "watching").await;
        more(load).await;
        world.alarm(AlarmState::Alarm).await;
    } else {
        world.ends_so(id, Ending::Live).await;
        more(load).await;
        world.roll_back().await;
    }
    world.ends_so(id, Ending::RolledBack).await;
    world.only_runs("web", &[live]).await;
    allow(load, [live]);
    world.alarm(AlarmState::Ok).await;
    more(load).await;
}
