//! What requests live through: switches, drains, replacements, restarts of pods; and that the numbers are theirs.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use portcullis_domain::action::Measure;
use portcullis_domain::policy::Metric;
use portcullis_engine::ports::Metrics as _;

use super::client::Connection;
use super::load::{Load, LoadOptions};
use super::*;

async fn client(addr: SocketAddr) -> Connection<Empty<Bytes>> {
    Connection::to(addr).await.unwrap()
}

async fn get(connection: &mut Connection<Empty<Bytes>>, path: &str) -> (u16, String) {
    let request = Request::get(path).header("host", "localhost").body(Empty::new()).unwrap();
    let response = connection.send(request).await.unwrap();
    let status = response.status().as_u16();
    let version = response.headers().get("x-version").map_or("", |version| version.to_str().unwrap()).to_owned();
    response.into_body().collect().await.unwrap();
    (status, version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_by_a_switch_or_a_rollback_at_full_load() {
    let mut world = World::new().await;
    let load = Load::start(world.address(), LoadOptions::full(16));
    until(async || load.report().answered > 100).await;
    let versions = ["v1", "v2", "v3"];
    for turn in 0..4 {
        let (live, next) = (versions[turn % 3], versions[(turn + 1) % 3]);
        let serving = if turn % 2 == 0 { Colour::Blue } else { Colour::Green };
        // There, back, and there for good: the colours take turns, and so do the versions.
        for (colour, from, to) in [(serving.other(), live, next), (serving, next, live), (serving.other(), live, next)]
        {
            load.allow(Some(only(&[from, to])));
            world.blue_green(colour, to).await;
            let mark = load.report().answered;
            load.allow(Some(only(&[to])));
            until(async || load.report().answered > mark + 100).await;
        }
    }
    let report = load.stop().await;
    assert_eq!((report.lost, report.failed, report.wrong_version), (0, 0, 0), "{:?}", report.reasons);
    assert_eq!(report.sent, report.answered);
    assert_eq!(answers(&report).keys().copied().collect::<Vec<_>>(), versions);
}

#[tokio::test]
async fn a_kept_alive_client_moves_at_once_and_a_slow_answer_survives_the_drain() {
    let slow = Build { latency: Millis(400), ..Build::new("v1") };
    let mut world = World::with(&[slow, Build::new("v2")]).await;
    let (mut waiting, mut kept) = (client(world.address()).await, client(world.address()).await);
    assert_eq!(get(&mut kept, "/").await, (200, "v1".into()));
    let blue = world.colour(Colour::Blue);
    let in_flight = tokio::spawn(async move { get(&mut waiting, "/").await });
    until(async || world.in_flight(&blue) > 0).await;
    world.blue_green(Colour::Green, "v2").await;
    assert_eq!(get(&mut kept, "/").await, (200, "v2".into()), "the same connection, another colour");
    assert_eq!(in_flight.await.unwrap(), (200, "v1".into()), "asked before the switch, answered after the drain");
    world.await_pods(&blue, "v1", 0).await;
}

#[tokio::test]
async fn a_pod_that_still_answers_counts_as_left_until_it_is_done() {
    let slow = Build { latency: Millis(400), ..Build::new("v1") };
    let mut world = World::with(&[slow]).await;
    let (mut client, blue) = (client(world.address()).await, world.colour(Colour::Blue));
    let in_flight = tokio::spawn(async move { get(&mut client, "/").await });
    until(async || world.in_flight(&blue) > 0).await;
    world.write(&blue, workload("v1", 0)).await;
    let left = world.look(&blue, "v1", 0).await.ready;
    assert!(left > 0 || in_flight.is_finished());
    world.await_pods(&blue, "v1", 0).await;
    assert_eq!(in_flight.await.unwrap(), (200, "v1".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_replacement_loses_nothing_and_never_serves_with_fewer_pods() {
    let slow_start = |version| Build { ready_after: Millis(50), latency: Millis(2), ..Build::new(version) };
    let mut world = World::with(&[slow_start("v1"), slow_start("v2"), slow_start("v3")]).await;
    let blue = world.colour(Colour::Blue);
    let load = Load::start(world.address(), LoadOptions::full(8));
    for (version, replicas) in [("v2", 2), ("v3", 4), ("v1", 1)] {
        world.write(&blue, workload(version, replicas)).await;
        until(async || {
            let ready = world.cluster.pods(&world.target, &world.service, Colour::Blue).len();
            assert!(ready >= usize::try_from(replicas.min(2)).unwrap(), "{ready} pods serve");
            let status = world.cluster.0.status(&world.target, &blue);
            status.pods.len() == replicas as usize && ready_of(&status, |of| of == digest(version)) == replicas
        })
        .await;
    }
    // A version that never comes up stops the replacement, and the old pods stay.
    world.write(&blue, workload("v8", 1)).await;
    until(async || !world.look(&blue, "v8", 1).await.problems.is_empty()).await;
    let mark = load.report().answered;
    until(async || load.report().answered > mark + 100).await;
    let report = load.stop().await;
    assert_eq!((report.lost, report.failed), (0, 0), "{:?}", report.reasons);
    assert_eq!(answers(&report).keys().copied().collect::<Vec<_>>(), ["v1", "v2", "v3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_measured_is_what_clients_saw() {
    let faulty = Build { error_every: Some(5), ..Build::new("v2") };
    let mut world = World::with(&[Build::new("v1"), faulty]).await;
    let (new, traffic) = (world.colour(Colour::Green), world.traffic());
    world.write(&new, workload("v2", 1)).await;
    world.await_pods(&new, "v2", 1).await;
    world.write(&traffic, green(2_500)).await;

    let from = now();
    let load = Load::start(world.address(), LoadOptions::per_second(500, 4));
    until(async || load.report().answered >= 400).await;
    let report = load.stop().await;
    let end = now() + world.cluster.settle();

    let measure = async |colour, from, to| {
        let ask = Measure {
            services: BTreeMap::from([(world.service.clone(), colour)]),
            metrics: BTreeSet::from([Metric::ErrorRate, Metric::ResponseTimeP95]),
            every: Millis(1_000),
            alarms: BTreeSet::new(),
        };
        let windows = world.cluster.measure(&world.target, &place(), &ask, from, to).await.unwrap();
        windows[&world.service].clone()
    };
    let (blue, green) =
        (measure(Colour::Blue, from - Millis(100), end).await, measure(Colour::Green, from - Millis(100), end).await);
    assert_eq!(blue.requests, report.versions["v1"]);
    assert_eq!(green.requests, report.versions["v2"]);
    assert_eq!((blue.failed, green.failed), (0, report.failed));
    assert_eq!(report.failed, report.versions["v2"] / 5, "one in five of the one pod");
    assert_eq!((blue.ready, green.ready), (Some(2), Some(1)));
    assert_eq!(blue.values[&Metric::ErrorRate], 0);
    let share = green.values[&Metric::ErrorRate];
    assert!((1_900..=2_000).contains(&share), "{share}");
    assert!(green.values[&Metric::ResponseTimeP95] > 0);
    let length = i64::try_from(end.since(from - Millis(100)).0).unwrap();
    let requests = i64::try_from(blue.requests).unwrap();
    assert_eq!(blue.values[&Metric::Requests], (requests * 1_000_000 + length / 2) / length);

    let quiet = measure(Colour::Blue, from - Millis(60_000), from - Millis(50_000)).await;
    assert_eq!((quiet.requests, quiet.values.len(), quiet.ready), (0, 0, Some(2)), "no traffic is no data");
}

#[tokio::test]
async fn a_colour_without_pods_fails_loudly_and_is_measured_so() {
    let mut world = World::new().await;
    let (traffic, from) = (world.traffic(), now());
    world.write(&traffic, green(10_000)).await;
    let mut client = client(world.address()).await;
    assert_eq!(get(&mut client, "/").await, (503, String::new()));
    let series = &world.cluster.0.running(&world.target, &world.service).unwrap().front.measured[1];
    let window = series.window(from - Millis(100), now() + Millis(200), now(), &BTreeSet::new());
    assert_eq!((window.requests, window.failed), (1, 1));

    let load = Load::start(world.address(), LoadOptions::full(1));
    until(async || load.report().lost > 3).await;
    let report = load.stop().await;
    assert_eq!((report.answered, report.lost), (0, report.sent));
    assert_eq!(report.reasons, ["answered 503 by no build"]);
}

#[tokio::test]
async fn load_counts_answers_of_versions_that_are_not_allowed() {
    let world = World::new().await;
    let load = Load::start(world.address(), LoadOptions::full(2));
    until(async || load.report().answered > 20).await;
    assert_eq!(load.report().wrong_version, 0, "at first any version may answer");
    load.allow(Some(only(&["v7"])));
    until(async || load.report().wrong_version > 20).await;
    load.allow(Some(only(&["v1"])));
    let report = load.stop().await;
    assert!(report.wrong_version < report.answered);
    let buckets = report.buckets.iter().map(|bucket| bucket.versions.values().sum::<u64>());
    assert_eq!(buckets.sum::<u64>(), report.answered);
}

#[tokio::test]
async fn a_body_sent_through_the_service_is_taken_whole() {
    let world = World::new().await;
    let mut connection = Connection::to(world.address()).await.unwrap();
    for _ in 0..3 {
        let body = http_body_util::Full::new(Bytes::from(vec![7; 1 << 20]));
        let request = Request::post("/orders").header("host", "localhost").body(body).unwrap();
        let response = connection.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    }
}
