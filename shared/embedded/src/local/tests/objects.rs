//! Objects, the fence protocol as it is carried out, tests, alarms, restarts.

use portcullis_domain::action::Found;
use portcullis_domain::facts::{AlarmFact, AlarmState};
use portcullis_domain::names::AlarmName;
use portcullis_domain::policy::{OnFailure, Test, TestKind};
use portcullis_engine::ports::{Metrics as _, TestResult};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_cluster_keeps_the_contract() {
    let world = World::new().await;
    let case = portcullis_engine::contract::ClusterCase {
        cluster: world.cluster.clone(),
        clock: Arc::new(crate::clock::SystemClock),
        target: "contract/test".parse().unwrap(),
        place: place(),
        service: ServiceName::new("contract").unwrap(),
        manifests: None,
        digests: [digest("v1"), digest("v2")],
    };
    portcullis_engine::contract::cluster(case).await;
}

#[tokio::test]
async fn a_baseline_serves_unfenced_and_green_is_absent() {
    let world = World::new().await;
    let blue = world.found(&world.colour(Colour::Blue)).await;
    assert_eq!(blue.stamp, Some(Stamp { fence: None, value: workload("v1", 2) }));
    assert_eq!((blue.ready, blue.written_by.as_deref()), (2, Some("baseline")));
    assert_eq!(world.found(&world.colour(Colour::Green)).await, Found::default());
    assert_eq!(world.found(&world.traffic()).await.stamp, Some(Stamp { fence: None, value: green(0) }));
    // Doing it again changes nothing.
    let services = [(world.service.clone(), digest("v2"), false, 1)];
    world.cluster.apply_baseline(&world.target, &services).await.unwrap();
    assert_eq!(world.found(&world.colour(Colour::Blue)).await, blue);
}

#[tokio::test]
async fn a_write_changes_value_and_fence_together_and_repeating_it_is_done_again() {
    let world = World::new().await;
    let key = world.colour(Colour::Green);
    assert_eq!(world.attempt(&key, vec![None], workload("v2", 1), 7).await, Written::Done);
    assert_eq!(world.attempt(&key, vec![None], workload("v2", 1), 7).await, Written::Done);
    let found = world.found(&key).await;
    assert_eq!(found.stamp, Some(Stamp { fence: Some(fence(7)), value: workload("v2", 1) }));
    assert_eq!(found.written_by, None, "it was us");
}

#[tokio::test]
async fn a_value_that_is_already_right_still_gets_the_fence() {
    let mut world = World::new().await;
    let key = world.colour(Colour::Blue);
    world.write(&key, workload("v1", 2)).await;
    assert_eq!(world.found(&key).await.stamp.unwrap().fence, Some(fence(1)));
}

#[tokio::test]
async fn drift_is_reported_and_nothing_is_touched() {
    let mut world = World::new().await;
    let key = world.traffic();
    world.write(&key, green(2_500)).await;
    let confirmed = vec![Some(Stamp { fence: Some(fence(1)), value: green(2_500) })];

    // A late write of a lower fence.
    let Written::Drift(_) = world.attempt(&key, vec![None], green(0), 1).await else { panic!("accepted") };
    // A value by hand under our annotation.
    world.cluster.edit(&world.target, &key, green(9_000)).await.unwrap();
    let Written::Drift(found) = world.attempt(&key, confirmed.clone(), green(10_000), 2).await else {
        panic!("accepted")
    };
    assert_eq!(found.stamp, Some(Stamp { fence: Some(fence(1)), value: green(9_000) }));
    assert_eq!(found.written_by.as_deref(), Some("kubectl-edit"));
    // An annotation that is none of ours, and one that cannot be read.
    world.cluster.edit(&world.target, &key, green(2_500)).await.unwrap();
    for (annotation, foreign) in [("other/1/1", None), ("by hand", Some("by hand"))] {
        world.cluster.annotate(&world.target, &key, Some(annotation)).await.unwrap();
        let Written::Drift(found) = world.attempt(&key, confirmed.clone(), green(10_000), 2).await else {
            panic!("accepted on {annotation}")
        };
        assert_eq!(found.foreign.as_deref(), foreign);
        assert_eq!(found.stamp.unwrap().value, green(2_500));
    }
    // A missing one.
    world.cluster.annotate(&world.target, &key, None).await.unwrap();
    let Written::Drift(found) = world.attempt(&key, confirmed, green(10_000), 2).await else { panic!("accepted") };
    assert_eq!(found.stamp, Some(Stamp { fence: None, value: green(2_500) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_on_one_state_one_wins_and_the_other_sees_it() {
    let world = World::new().await;
    let key = world.traffic();
    let from = || vec![Some(Stamp { fence: None, value: green(0) })];
    for _ in 0..20 {
        let results = tokio::join!(
            world.attempt(&key, from(), green(100), 5),
            world.attempt(&key, from(), green(200), 6),
            world.attempt(&key, from(), green(300), 7),
        );
        let done = [&results.0, &results.1, &results.2].into_iter().filter(|result| **result == Written::Done);
        assert_eq!(done.count(), 1, "{results:?}");
        world.cluster.annotate(&world.target, &key, None).await.unwrap();
        world.cluster.edit(&world.target, &key, green(0)).await.unwrap();
    }
}

#[tokio::test]
async fn a_value_that_no_object_can_hold_is_an_error() {
    let world = World::new().await;
    for (object, to) in [
        (world.traffic(), green(10_001)),
        (world.traffic(), workload("v1", 1)),
        (world.colour(Colour::Blue), green(0)),
        (world.colour(Colour::Blue), workload("v1", MOST_REPLICAS + 1)),
    ] {
        let write = Write { object, from: vec![], to, purpose: Purpose::Deploy, bundle: None };
        assert!(world.cluster.write(&world.target, &place(), &write, &fence(1)).await.is_err(), "{write:?}");
    }
}

#[tokio::test]
async fn pods_that_cannot_become_ready_say_why_and_recover_when_they_can() {
    let crashing = Build { crash: true, ..Build::new("v9") };
    let mut world = World::with(&[Build::new("v1"), crashing]).await;
    let green = world.colour(Colour::Green);
    for (version, problem) in [("v8", "ImagePullBackOff: there is no image"), ("v9", "CrashLoopBackOff: build v9")] {
        world.write(&green, workload(version, 2)).await;
        until(async || world.look(&green, version, 2).await.problems.iter().any(|line| line.starts_with(problem)))
            .await;
        assert_eq!(world.look(&green, version, 2).await.ready, 0);
    }
    let waited = world.cluster.ready(&world.target, Millis(50)).await.unwrap_err().to_string();
    assert!(waited.contains("Deployment/nestjs-service-green"), "{waited}");
    world.write(&green, workload("v8", 2)).await;
    world.cluster.push_image(&digest("v8"), &Build::new("v8")).unwrap();
    world.await_pods(&green, "v8", 2).await;
    assert_eq!(world.look(&green, "v8", 2).await.problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_worker_has_pods_and_no_service() {
    let world = World::new().await;
    let worker = ServiceName::new("worker").unwrap();
    world.cluster.apply_baseline(&world.target, &[(worker.clone(), digest("v1"), true, 1)]).await.unwrap();
    world.cluster.ready(&world.target, GENEROUS).await.unwrap();
    assert_eq!(world.cluster.address(&world.target, &worker), None);
    assert_eq!(world.cluster.pods(&world.target, &worker, Colour::Blue).len(), 1);
    assert_eq!(world.found(&ObjectKey::traffic(&worker)).await, Found::default());
    let green = ObjectKey::workload(&worker, Colour::Green);
    assert_eq!(world.attempt(&green, vec![None], workload("v2", 1), 3).await, Written::Done);
    assert_eq!(world.cluster.address(&world.target, &worker), None);
}

#[tokio::test]
async fn tests_ask_every_pod_of_the_colour_itself() {
    let faulty = Build { error_every: Some(1), ..Build::new("v3") };
    let mut world = World::with(&[Build::new("v1"), faulty]).await;
    let key = world.colour(Colour::Green);
    let against = BTreeMap::from([(world.service.clone(), Colour::Green)]);
    let http = |paths: &[&str]| TestKind::Http { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
    let run = async |world: &World, kind| {
        let test = Test { name: "smoke".into(), kind, within: GENEROUS, on_failure: OnFailure::Stop };
        world.cluster.test(&world.target, &place(), Seq(9), &test, &against).await.unwrap()
    };
    let failed = |why: &str| TestResult::Failed(why.into());
    assert_eq!(run(&world, http(&["/health"])).await, TestResult::Running, "no pod to ask yet");
    world.write(&key, workload("v3", 2)).await;
    world.await_pods(&key, "v3", 2).await;
    let passed = TestResult::Passed("2 answers from 1 services, all 2xx".into());
    assert_eq!(run(&world, http(&["/health"])).await, passed);
    assert_eq!(run(&world, http(&["/health", "/"])).await, failed("/ of nestjs-service green: it answered 500"));
    let job = TestKind::Job { cronjob: portcullis_domain::names::ObjectName::new("smoke").unwrap() };
    assert_eq!(
        run(&world, job).await,
        failed("the local cluster runs no Jobs: CronJob smoke can only be run on Kubernetes")
    );
}

#[tokio::test]
async fn alarms_are_read_by_pattern() {
    let world = World::new().await;
    let patterns = BTreeSet::from(["volteryde-*".to_owned()]);
    let read = async || world.cluster.alarms(&place(), &patterns).await.unwrap();
    assert_eq!(read().await, BTreeMap::new());
    let name = AlarmName::new("volteryde-5xx").unwrap();
    let fact = AlarmFact { state: AlarmState::Alarm, changed_at: Timestamp(5) };
    world.cluster.set_alarm(&name, AlarmState::Ok, Timestamp(4)).await.unwrap();
    world.cluster.set_alarm(&name, fact.state, fact.changed_at).await.unwrap();
    world.cluster.set_alarm(&AlarmName::new("other").unwrap(), AlarmState::Alarm, Timestamp(4)).await.unwrap();
    assert_eq!(read().await, BTreeMap::from([(name, fact)]));
}

#[tokio::test]
async fn a_restart_finds_objects_pods_and_port_again() {
    let mut world = World::new().await;
    let (traffic, green_key) = (world.traffic(), world.colour(Colour::Green));
    world.write(&green_key, workload("v2", 2)).await;
    world.await_pods(&green_key, "v2", 2).await;
    world.write(&traffic, green(10_000)).await;
    let (address, before) = (world.address(), world.found(&traffic).await);

    let refused = LocalCluster::start(LocalOptions::new(world.dir.path())).await.unwrap_err().to_string();
    assert!(refused.contains("another process"), "{refused}");
    world.cluster.stop().await;
    assert!(world.cluster.export(&world.target, &place(), None).await.is_err(), "a stopped cluster answers nothing");

    world.cluster = cluster(world.dir.path()).await;
    world.cluster.ready(&world.target, GENEROUS).await.unwrap();
    assert_eq!((world.address(), world.found(&traffic).await), (address, before));
    let load = load::Load::start(address, load::LoadOptions::full(1));
    until(async || load.report().answered > 10).await;
    let report = load.stop().await;
    assert_eq!((report.lost, answers(&report).keys().copied().collect::<Vec<_>>()), (0, vec!["v2"]));
}

#[tokio::test]
async fn a_cluster_that_was_dropped_ends_and_its_folder_can_be_used_again() {
    let mut world = World::new().await;
    let pod = world.cluster.pods(&world.target, &world.service, Colour::Blue)[0];
    let second = tempfile::tempdir().unwrap();
    world.cluster = cluster(second.path()).await;
    until(async || tokio::net::TcpStream::connect(pod).await.is_err()).await;
    world.cluster = cluster(world.dir.path()).await;
    world.cluster.ready(&world.target, GENEROUS).await.unwrap();
}

#[tokio::test]
async fn manifests_hash_alike_whatever_digest_replicas_and_share() {
    let mut world = World::new().await;
    let services = BTreeSet::from([world.service.clone(), ServiceName::new("unknown").unwrap()]);
    let before = world.cluster.manifests(&world.target, &place(), &services).await.unwrap();
    assert_eq!(before.keys().collect::<Vec<_>>(), [&world.service]);
    world.blue_green(Colour::Green, "v2").await;
    assert_eq!(world.cluster.manifests(&world.target, &place(), &services).await.unwrap(), before);
    let exported = world.cluster.export(&world.target, &place(), None).await.unwrap().manifests;
    assert_eq!(exported.len(), 4);
}
