//! The test cluster itself: that it is a cluster, and that what is counted on it can be believed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use portcullis_tests::wait::{self, SOON};
use portcullis_tests_kubernetes::cluster::{Cluster, Namespace, Options};
use portcullis_tests_kubernetes::images::{self, Behaviour, Image};
use portcullis_tests_kubernetes::load::{Load, LoadOptions, LoadReport};
use portcullis_tests_kubernetes::{programs, samples};
use serde_json::{Value, json};

const REPOSITORY: &str = "registry.test/shop/web";

/// Deploys this image as `web` behind a Service, and waits until it is rolled out.
async fn deployed(namespace: &Namespace<'_>, deployment: &Value) {
    namespace.create::<Service>(&samples::service("web", "web")).await;
    namespace.create::<Deployment>(&samples::read(deployment.clone())).await;
    namespace.rolled_out("web").await;
}

async fn pushed(namespace: &Namespace<'_>, behaviour: &Behaviour) -> Image {
    images::push(&namespace.client, REPOSITORY, behaviour).await
}

/// Load on `web`, from when the first answer has come.
async fn loaded(namespace: &Namespace<'_>, options: LoadOptions) -> Load {
    let to = namespace.address("web").await;
    wait::until("the Service's address accepts connections", SOON, async || {
        tokio::net::TcpStream::connect(to).await.map_err(|error| error.to_string())
    })
    .await;
    let load = Load::start(to, options);
    more(&load, 20).await;
    load
}

/// Waits until so many more requests were sent.
async fn more(load: &Load, requests: u64) {
    let until = load.report().sent + requests;
    wait::until("more requests are sent", SOON, async || {
        let report = load.report();
        if report.sent >= until { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .await;
}

/// Rolls `web` out with another image, and waits until the pods of the old one are gone.
async fn rolled_to(namespace: &Namespace<'_>, image: &Image) {
    let patch =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": image.reference }] } } } });
    let deployments = namespace.api::<Deployment>();
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap();
    let rolled_out = namespace.rolled_out("web").await;
    let replicas = usize::try_from(rolled_out.spec.unwrap().replicas.unwrap()).unwrap();
    wait::until("the old pods are gone", SOON, async || {
        let pods = namespace.pods("web").await.len();
        if pods == replicas { Ok(()) } else { Err(format!("{pods} pods")) }
    })
    .await;
}

/// Waits until the first container of a pod of `app` looks so.
async fn container<T>(namespace: &Namespace<'_>, app: &str, look: impl Fn(&Pod, &ContainerStatus) -> Option<T>) -> T {
    wait::until("a container of the app is seen so", SOON, async || {
        let pods = namespace.pods(app).await;
        let statuses = |pod: &Pod| pod.status.clone().unwrap_or_default().container_statuses.unwrap_or_default();
        let found = pods.iter().find_map(|pod| look(pod, statuses(pod).first()?));
        found.ok_or_else(|| format!("{:?}", pods.iter().map(|pod| pod.status.clone()).collect::<Vec<_>>()))
    })
    .await
}

/// The condition `Ready`: its status and reason.
fn readiness(pod: &Pod) -> (String, Option<String>) {
    let conditions = pod.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("every pod has it");
    (ready.status, ready.reason)
}

fn waits_for(status: &ContainerStatus) -> Option<String> {
    status.state.as_ref()?.waiting.as_ref()?.reason.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_with_a_hook_before_the_stop_loses_nothing() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.assert_has_our_nodes().await;
    let namespace = cluster.namespace("rollout").await;
    let (old, new) = (
        pushed(&namespace, &Behaviour::version("v1")).await,
        pushed(&namespace, &Behaviour { ready_after_ms: 300, ..Behaviour::version("v2") }).await,
    );
    deployed(&namespace, &samples::deployment_json("web", &old.reference, 3)).await;

    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    let slices = namespace.api::<EndpointSlice>();
    let mut addresses: Vec<_> = wait::until("three endpoints are ready", SOON, async || {
        let slices = slices.list(&of_web).await.map_err(|error| error.to_string())?;
        let endpoints = slices.items.into_iter().flat_map(|slice| slice.endpoints);
        let ready = endpoints.filter(|one| one.conditions.as_ref().is_some_and(|is| is.ready == Some(true)));
        let ready: Vec<_> = ready.flat_map(|endpoint| endpoint.addresses).collect();
        if ready.len() == 3 { Ok(ready) } else { Err(format!("{ready:?}")) }
    })
    .await;
    let of_pods = namespace.pods("web").await.into_iter().filter_map(|pod| pod.status?.pod_ip);
    let mut of_pods: Vec<_> = of_pods.collect();
    addresses.sort();
    of_pods.sort();
    assert_eq!(addresses, of_pods);

    let load = loaded(&namespace, LoadOptions::default()).await;
    load.allow(Some(BTreeSet::from([old.digest.clone(), new.digest.clone()])));
    rolled_to(&namespace, &new).await;
    load.allow(Some(BTreeSet::from([new.digest.clone()])));
    more(&load, 50).await;
    let report = load.stop().await;
    assert_eq!((report.losses(), report.wrong), (0, 0), "{report:?}");
    assert_eq!(report.digests.keys().collect::<BTreeSet<_>>(), BTreeSet::from([&old.digest, &new.digest]));
    assert!(["kept", "fresh", "slow"].iter().all(|kind| report.kinds[kind] > 0), "{report:?}");
}

/// Without this, the test above could pass on a load that sees nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_cuts_what_is_in_flight_is_seen_by_the_load_and_so_are_errors_and_the_wrong_version() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.assert_has_our_nodes().await;
    let namespace = cluster.namespace("cut").await;
    let old = pushed(&namespace, &Behaviour { abrupt_stop: true, ..Behaviour::version("v1") }).await;
    let new = pushed(&namespace, &Behaviour { error_every: 5, ..Behaviour::version("v2") }).await;
    let mut deployment = samples::deployment_json("web", &old.reference, 2);
    deployment["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("lifecycle");
    deployed(&namespace, &deployment).await;
    let load = loaded(&namespace, LoadOptions { slow: 4, ..LoadOptions::default() }).await;
    load.allow(Some(BTreeSet::from([old.digest])));
    rolled_to(&namespace, &new).await;
    more(&load, 50).await;
    let LoadReport { sent, answered, failed, lost, wrong, .. } = load.stop().await;
    assert!(lost > 0, "nothing in flight was lost");
    assert!(failed > 0, "no answer failed");
    assert!(wrong > 0, "no answer was of the wrong version");
    assert_eq!(sent, answered + failed + lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_selector_moves_new_connections_at_once_and_established_ones_when_their_pods_end() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.assert_has_our_nodes().await;
    let namespace = cluster.namespace("selector").await;
    let mut digests = Vec::new();
    for colour in ["blue", "green"] {
        let image = pushed(&namespace, &Behaviour::version(colour)).await;
        namespace.create::<Deployment>(&samples::deployment(colour, &image.reference, 2)).await;
        namespace.rolled_out(colour).await;
        digests.push(image.digest);
    }
    let [blue, green] = [&digests[0], &digests[1]].map(|digest| BTreeSet::from([digest.clone()]));
    namespace.create::<Service>(&samples::service("web", "blue")).await;
    let kept = loaded(&namespace, LoadOptions { fresh: 0, slow: 0, ..LoadOptions::default() }).await;
    let fresh = loaded(&namespace, LoadOptions { kept: 0, slow: 0, ..LoadOptions::default() }).await;
    kept.allow(Some(blue));

    let services = namespace.api::<Service>();
    let to_green = json!({ "spec": { "selector": { "app": "green" } } });
    services.patch("web", &PatchParams::default(), &Patch::Merge(&to_green)).await.unwrap();
    wait::until("new connections reach green", SOON, async || {
        let digests = fresh.report().digests;
        if green.iter().all(|green| digests.contains_key(green)) { Ok(()) } else { Err(format!("{digests:?}")) }
    })
    .await;
    // What was on its way to blue when the first reached green.
    more(&fresh, 10).await;
    fresh.allow(Some(green.clone()));
    more(&fresh, 50).await;
    more(&kept, 50).await;
    assert_eq!(kept.report().wrong, 0, "{:?}", kept.report());

    kept.allow(None);
    let none = json!({ "spec": { "replicas": 0 } });
    let deployments = namespace.api::<Deployment>();
    deployments.patch("blue", &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    wait::until("the pods of blue are gone", SOON, async || {
        let pods = namespace.pods("blue").await.len();
        if pods == 0 { Ok(()) } else { Err(format!("{pods} pods")) }
    })
    .await;
    kept.allow(Some(green));
    more(&kept, 50).await;
    let (kept, fresh) = (kept.stop().await, fresh.stop().await);
    assert_eq!((kept.losses(), kept.wrong, fresh.losses(), fresh.wrong), (0, 0, 0, 0), "{kept:?}\n{fresh:?}");

    deployments.patch("green", &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    let to = namespace.address("web").await;
    wait::until("a Service without pods refuses connections", SOON, async || match TcpStream::connect(to) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_http_are_reached_through_the_api_server() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.assert_has_our_nodes().await;
    let namespace = cluster.namespace("through").await;
    let image =
        pushed(&namespace, &Behaviour { says: Some("ready for trade".into()), ..Behaviour::version("v7") }).await;
    deployed(&namespace, &samples::deployment_json("web", &image.reference, 1)).await;
    let pod = namespace.pods("web").await.remove(0);
    let pod = pod.metadata.name.as_deref().unwrap();

    let pods = namespace.api::<Pod>();
    let log = pods.logs(pod, &LogParams::default()).await.unwrap();
    assert!(log.contains("\nready for trade\n") && log.contains(&image.digest), "{log}");
    let last = pods.logs(pod, &LogParams { tail_lines: Some(1), ..LogParams::default() }).await.unwrap();
    assert_eq!(log.lines().last(), last.lines().last());
    assert_eq!(last.lines().count(), 1);

    for path in [format!("pods/{pod}:8080"), "services/web:http".to_owned()] {
        let ask = hyper::Request::get(format!("/api/v1/namespaces/{}/{path}/proxy/", namespace.name));
        let answer: Value = namespace.client.request(ask.body(Vec::new()).unwrap()).await.unwrap();
        assert_eq!((&answer["version"], &answer["digest"]), (&json!("v7"), &json!(image.digest)), "{path}");
    }
    let mut kubectl = programs::kubectl(cluster.kubeconfig()).unwrap();
    let said =
        kubectl.args(["get", "deployment", "web", "--no-headers", "--namespace", &namespace.name]).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("web   1/1"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_pod_from_running_is_said_as_a_cluster_says_it() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.assert_has_our_nodes().await;
    let namespace = &cluster.namespace("problems").await;
    let with = |name: &'static str, change: fn(&mut Value)| async move {
        let mut deployment = samples::deployment_json(name, &format!("{REPOSITORY}:v1"), 1);
        change(&mut deployment["spec"]["template"]["spec"]["containers"][0]);
        namespace.create::<Deployment>(&samples::read(deployment)).await;
    };

    with("missing", |container| container["image"] = "registry.test/shop/unpullable:v1".into()).await;
    with("huge", |container| container["resources"]["requests"]["memory"] = "900Gi".into()).await;
    with("unready", |container| container["env"] = json!([{ "name": "TEST_NEVER_READY", "value": "true" }])).await;
    with("typo", |container| container["env"] = json!([{ "name": "TEST_LATENCY", "value": "1" }])).await;
    with("crash", |container| {
        container["env"] =
            json!([{ "name": "TEST_EXIT_AFTER_MS", "value": "0" }, { "name": "TEST_EXIT_CODE", "value": "3" }]);
    })
    .await;
    with("greedy", |container| {
        container["env"] =
            json!([{ "name": "TEST_EXIT_AFTER_MS", "value": "50" }, { "name": "TEST_OUT_OF_MEMORY", "value": "true" }]);
    })
    .await;

    container(namespace, "missing", |_, status| (waits_for(status)? == "ImagePullBackOff").then_some(())).await;
    container(namespace, "typo", |_, status| (waits_for(status)? == "CreateContainerConfigError").then_some(())).await;
    let ended = |reason: &'static str, code: i32| {
        move |pod: &Pod, status: &ContainerStatus| {
            let last = status.last_state.as_ref()?.terminated.as_ref()?;
            let backs_off = waits_for(status)? == "CrashLoopBackOff" && status.restart_count > 0;
            (backs_off && last.reason.as_deref() == Some(reason) && last.exit_code == code).then(|| pod.clone())
        }
    };
    let crashed = container(namespace, "crash", ended("Error", 3)).await;
    container(namespace, "greedy", ended("OOMKilled", 137)).await;
    let before = LogParams { previous: true, ..LogParams::default() };
    let log = namespace.api::<Pod>().logs(crashed.metadata.name.as_deref().unwrap(), &before).await.unwrap();
    assert!(log.contains("exiting with code 3"), "{log}");

    let events = namespace.api::<Event>();
    let mut missing: BTreeSet<_> =
        [("missing", "BackOff"), ("huge", "FailedScheduling"), ("unready", "Unhealthy"), ("crash", "BackOff")].into();
    wait::until("each problem has its event", SOON, async || {
        let seen = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        missing.retain(|(app, reason)| {
            let about = |event: &Event| event.involved_object.name.as_ref().is_some_and(|name| name.starts_with(app));
            !seen.items.iter().any(|event| about(event) && event.reason.as_deref() == Some(reason))
        });
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    let unready = namespace.pods("unready").await.remove(0);
    assert_eq!(readiness(&unready), ("False".to_owned(), Some("ContainersNotReady".to_owned())));
    assert_eq!(unready.status.unwrap().phase.as_deref(), Some("Running"));
}

/// The controllers do so to the pods of a node that they have not heard of for long, such as after a paused API server.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_somebody_called_not_ready_is_ready_again_when_its_node_says_so() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.assert_has_our_nodes().await;
    let namespace = cluster.namespace("again").await;
    deployed(&namespace, &samples::deployment_json("web", &format!("{REPOSITORY}:v1"), 1)).await;
    let pod = namespace.pods("web").await.remove(0).metadata.name.unwrap();
    let lost = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "NodeLost" }] } });
    let pods = namespace.api::<Pod>();
    let patched = pods.patch_status(&pod, &PatchParams::default(), &Patch::Strategic(&lost)).await.unwrap();
    assert_eq!(readiness(&patched), ("False".to_owned(), Some("NodeLost".to_owned())));
    wait::until("the pod is ready again", SOON, async || {
        let readiness = readiness(&pods.get(&pod).await.map_err(|error| error.to_string())?);
        if readiness == ("True".to_owned(), None) { Ok(()) } else { Err(format!("{readiness:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_to_their_end() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.assert_has_our_nodes().await;
    let namespace = cluster.namespace("jobs").await;
    for (name, code, kind) in [("passes", 0, "Complete"), ("fails", 1, "Failed")] {
        let job: Job = samples::read(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name },
            "spec": { "backoffLimit": 0, "template": { "spec": {
                "restartPolicy": "Never",
                "containers": [{ "name": "test", "image": "registry.test/smoke:v1", "env": [
                    { "name": "TEST_EXIT_AFTER_MS", "value": "20" }, { "name": "TEST_EXIT_CODE", "value": code.to_string() },
                ] }],
            } } },
        }));
        namespace.create(&job).await;
        let jobs = namespace.api::<Job>();
        wait::until("the Job has ended", SOON, async || {
            let status = jobs.get(name).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let is = |condition: &str| {
                status.conditions.iter().flatten().any(|one| one.type_ == condition && one.status == "True")
            };
            if is(kind) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_serve_while_the_api_server_is_away_and_follow_it_when_it_is_back() {
    let Some(cluster) = Cluster::alone(Options::default()).await else { return };
    let namespace = cluster.namespace("away").await;
    let image = pushed(&namespace, &Behaviour::version("v1")).await;
    deployed(&namespace, &samples::deployment_json("web", &image.reference, 2)).await;
    let load = loaded(&namespace, LoadOptions::default()).await;

    cluster.kill_api_server();
    assert!(namespace.api::<Pod>().list(&ListParams::default()).await.is_err(), "it answers although it was killed");
    more(&load, 100).await;
    cluster.start_api_server().await;

    let deployments = namespace.api::<Deployment>();
    let scale = json!({ "spec": { "replicas": 3 } });
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    namespace.rolled_out("web").await;
    let pod = namespace.pods("web").await.remove(0).metadata.name.unwrap();
    namespace.api::<Pod>().delete(&pod, &DeleteParams::default()).await.unwrap();
    wait::until("the deleted pod is gone", SOON, async || {
        let seen = namespace.api::<Pod>().get_opt(&pod).await.map_err(|error| error.to_string())?;
        seen.map_or(Ok(()), |pod| Err(format!("{:?}", pod.status)))
    })
    .await;
    namespace.rolled_out("web").await;
    let report = load.stop().await;
    assert_eq!(report.losses(), 0, "{report:?}");
}

/// A program of ours that is killed when a test ends in whatever way.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_on_when_the_process_that_started_a_cluster_is_killed() {
    if Cluster::shared().await.is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("cluster");
    let child = Command::new(env!("CARGO_BIN_EXE_cluster")).arg("--state").arg(&state).stdout(Stdio::null()).spawn();
    let mut cluster = Killed(child.unwrap());
    wait::until("the cluster is up", 2 * SOON, async || {
        let ended = cluster.0.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
        state.join("ready").exists().then_some(()).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    let port = api_port(&state.join("kubeconfig"));
    let running = programs_of(&state);
    assert_eq!(running.len(), 4, "{running:?}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());

    cluster.0.kill().unwrap();
    cluster.0.wait().unwrap();
    wait::until("all its programs have ended", SOON, async || {
        let left = programs_of(&state);
        let answers = TcpStream::connect(("127.0.0.1", port)).is_ok();
        if left.is_empty() && !answers { Ok(()) } else { Err(format!("{left:?}, the port answers: {answers}")) }
    })
    .await;
}

fn api_port(kubeconfig: &Path) -> u16 {
    let config: Value = serde_json::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    server.rsplit(':').next().unwrap().parse().unwrap()
}

/// The command lines of running programs that name this folder, except the one that started them.
fn programs_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder) && !line.contains(" --state ")).collect()
}
