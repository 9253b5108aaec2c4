//! From a push to live, in the order that the policy asks for.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::What;
use portcullis_domain::policy::{Colour, ServiceKind};
use portcullis_domain::time::Millis;
use portcullis_engine::codec::Commit;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::{Ending, image, name};
use portcullis_engine::perform::backup::BackupIndex;
use portcullis_engine::ports::{Blobs, Ledger};

#[tokio::test(start_paused = true)]
async fn a_push_is_gated_approved_backed_up_switched_watched_and_live() {
    let mut world = World::new();
    world.push_all(1).await;
    world.run_for(Millis::minutes(5)).await;
    let release = world.newest().await;
    assert_eq!(world.phase(release).await.unwrap().name(), "gated", "nothing moves before the approval");
    assert!(world.all_serve(0) && world.cluster.effects().is_empty());

    world.approve("kofi").await;
    world.run_until_phase("live").await;
    assert_eq!(world.ending(release).await, Some(Ending::Live));
    assert!(world.all_serve(1));
    let state = world.state().await;
    assert!(state.live.values().all(|serving| serving.colour == Colour::Green && serving.release == Some(release)));

    world.run_for(Millis::hours(2)).await;
    let state = world.state().await;
    assert!(state.releases.is_empty() && state.outstanding.is_empty(), "its window is over: it left the state");
    let blue = world.cluster.found(&world.target, &ObjectKey::workload(&name("api"), Colour::Blue));
    assert_eq!(blue.stamp.unwrap().value, Value::Workload { digest: image("api", 0), replicas: 0 });
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn waves_come_up_and_switch_in_order_and_every_switch_is_after_a_claim() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    world.approve("ama").await;
    world.run_until_phase("live").await;
    let order: Vec<String> = world
        .cluster
        .effects()
        .iter()
        .map(|effect| {
            let value = match effect.to {
                Value::Workload { replicas, .. } => format!("x{replicas}"),
                Value::Traffic { green } => format!("{}%", green / 100),
            };
            format!("{} {value}", effect.object)
        })
        .collect();
    assert_eq!(
        order,
        [
            // Our mark on what has none, as it is; what is not there is created at rest.
            "Deployment/api-blue x2",
            "Deployment/api-green x0",
            "Service/api 0%",
            "Deployment/web-blue x2",
            "Deployment/web-green x0",
            "Service/web 0%",
            "Deployment/api-green x2",
            "Deployment/web-green x2",
            "Deployment/api-green x2",
            "Service/api 100%",
            "Deployment/web-green x2",
            "Service/web 100%",
        ]
    );
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn the_backup_is_stored_and_verified_before_the_first_change() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    let events = world.events().await;
    let backed_up = events
        .iter()
        .find_map(|event| match &event.what {
            What::Done { outcome, .. } => match outcome.as_ref() {
                portcullis_domain::action::Outcome::BackedUp { index, hash, objects } => {
                    Some((event.at, index.clone(), *hash, *objects))
                }
                _ => None,
            },
            _ => None,
        })
        .unwrap();
    let (at, key, hash, objects) = backed_up;
    assert!(world.cluster.effects().iter().all(|effect| effect.at >= at));
    let bytes = world.blobs.get(&key).await.unwrap().unwrap();
    assert_eq!(portcullis_domain::digest::Digest::of(&bytes), hash);
    let index: BackupIndex = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(objects, 4, "two workloads, two services");
    let kinds: Vec<&str> = index.files.iter().map(|file| file.kind.as_str()).collect();
    assert_eq!(kinds, ["Deployment", "Service"]);
    assert!(index.files[0].key.contains("/backup-deployment-20"), "{}", index.files[0].key);
    assert_eq!(index.files[0].objects, ["api-blue", "web-blue"]);
}

#[tokio::test(start_paused = true)]
async fn the_watch_is_measured_in_contiguous_windows() {
    let mut world = World::new();
    world.metrics.set_settle(Millis::seconds(20));
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.run_until_phase("live").await;
    let windows = world.metrics.windows();
    assert_eq!(windows.len(), 10, "ten minutes in windows of one");
    assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0), "without a gap: {windows:?}");
    assert!(windows.iter().all(|(from, to)| to.since(*from) == Millis::minutes(1)));

    world.run_for(Millis::minutes(10)).await;
    let later = world.metrics.windows().len() - 10;
    assert!((9..=11).contains(&later), "once live it is measured at the same pace: {later}");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_release_of_all_has_nothing_to_return_to_and_goes_live() {
    let mut world = World::empty(|_| {});
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_switches_last_and_never_runs_beside_the_old_one() {
    let mut world = World::with(|policy| {
        let mut worker = World::service("worker", 1, &["api"]);
        worker.kind = ServiceKind::Worker { overlap: false };
        policy.services.push(worker);
    });
    // A worker has no Service in front.
    world.cluster.delete(&world.target, &ObjectKey::traffic(&name("worker")));
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    let effects = world.cluster.effects();
    let of_worker: Vec<(Option<Colour>, u32)> = effects
        .iter()
        .filter(|effect| effect.object.service == name("worker"))
        .map(|effect| {
            let colour = [Colour::Blue, Colour::Green]
                .into_iter()
                .find(|colour| effect.object == ObjectKey::workload(&name("worker"), *colour));
            let Value::Workload { replicas, .. } = effect.to else { panic!("a worker has no traffic") };
            (colour, replicas)
        })
        .collect();
    let (blue, green) = (Some(Colour::Blue), Some(Colour::Green));
    let order = [(blue, 2), (green, 0), (green, 0), (blue, 0), (green, 2)];
    let why = "the old one is marked, the new one created at rest; it stays so when it is deployed; the old stops; the new starts";
    assert_eq!(of_worker, order, "{why}");
    assert_eq!(effects.last().unwrap().object.service, name("worker"), "after everything else");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_release_goes_back_to_the_first_colour() {
    let mut world = World::new();
    for n in 1..=2 {
        world.push_all(n).await;
        world.settle().await;
        world.approve("kofi").await;
        world.run_until_phase("live").await;
        assert!(world.all_serve(n));
        world.run_for(Millis::hours(2)).await;
    }
    assert!(world.state().await.live.values().all(|serving| serving.colour == Colour::Blue));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn every_commit_says_which_policy_and_engine_decided() {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    let stored = world.ledger.commits(&world.target, portcullis_domain::names::Seq(0), 100).await.unwrap();
    let policy = portcullis_engine::ports::Policies::get(&*world.policies, &world.target).unwrap();
    for commit in stored {
        let commit = Commit::decode(&commit.bytes).unwrap();
        assert_eq!((commit.policy, commit.engine.as_str()), (policy.hash(), portcullis_engine::codec::ENGINE));
    }
}
