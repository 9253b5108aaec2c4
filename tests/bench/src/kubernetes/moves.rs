//! Whole switches and rollbacks by the engine: from the decision in the ledger until every new request is answered by the
//! new version, beside the time that the cluster itself needs until its endpoints are the new ones; and how many writes
//! a rollback makes until traffic is back.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use portcullis_domain::action::{Action, Purpose};
use portcullis_domain::event::What;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::time::Timestamp;
use portcullis_embedded::local::client::Connection;
use portcullis_kubernetes::objects::{COLOUR, SERVICE};
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::fault_proxy::FaultProxy;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::samples::read;
use portcullis_tests_kubernetes::world::{Ending, Scene, World};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{median, number};
use crate::report::{Goal, Line};

const TURNS: u32 = 8;
const COUNTED: u32 = 4;
/// Endpoints that do not come in this time never do.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn measure(cluster: &Cluster) -> Result<Vec<Line>> {
    let mut world = World::start(cluster, "bench-moves", Scene::default()).await;
    world.adopt().await;
    world.drive(world.namespace.client.clone());
    twin(&world).await;
    // Little of it: what is measured is not the machine under load, but the watch wants some traffic.
    let calm = LoadOptions { kept: 1, fresh: 0, slow: 0, ..LoadOptions::default() };
    let load = world.load("web", calm).await;
    let old = world.running("web").await.first().cloned().context("nothing runs")?;
    let prober = Prober::start(world.namespace.address("web").await);
    let (mut ours, mut own) = (Vec::new(), Vec::new());
    for n in 1..=TURNS {
        let (id, digest) = switched(&world, n).await;
        let decided = world.decided(id, |what| intends(what, Purpose::Switch)).await.context("it was not switched")?;
        own.push(endpoints_follow(&world, "green").await?);
        // Until then the last one that was sent to the old version was sent.
        ours.push(prober.last_other(&digest, decided));
        endpoints_follow(&world, "blue").await?;
        world.roll_back().await;
        world.ends_so(id, Ending::RolledBack).await;
        world.only_runs("web", &[&old]).await;
    }
    drop(prober);

    // The same over a proxy that counts.
    world.kill_drivers().await;
    let proxy = FaultProxy::start(world.namespace.client.clone()).await;
    world.drive(proxy.client());
    let (mut back, mut most_writes) = (Vec::new(), 0);
    for n in TURNS + 1..=TURNS + COUNTED {
        let (id, _) = switched(&world, n).await;
        proxy.seen();
        world.roll_back().await;
        world.ends_so(id, Ending::RolledBack).await;
        let begun = world
            .decided(id, |what| matches!(what, What::RollbackBegan { .. }))
            .await
            .context("the way back did not begin")?;
        let writes: Vec<_> =
            proxy.seen().into_iter().filter(portcullis_tests_kubernetes::fault_proxy::Seen::writes).collect();
        let moved =
            writes.iter().position(|seen| seen.path.contains("/services/web?")).context("traffic was not moved")?;
        most_writes = most_writes.max(moved + 1);
        let at = writes[moved].at.duration_since(UNIX_EPOCH)?;
        back.push(at.saturating_sub(Duration::from_millis(begun.0)));
        world.only_runs("web", &[&old]).await;
    }
    load.stop().await;
    let (ours, own, back) = (median(ours), median(own), median(back));
    let switch = Line::new(
        "all on green",
        format!(
            "from the decision in the ledger until every new request is answered by the new version, in the time that \
             EndpointSlices need by themselves; the middle of {TURNS}"
        ),
        ours / own,
        "x EndpointSlices",
    )
    .goal(Goal::AtMost(1.3))
    .beside_at("a bare PATCH until the EndpointSlices hold only the new pods", own, "ms", ours / own)
    .detail("ours ms", ours);
    let rollback = Line::new(
        "rollback calls",
        format!("writes of a rollback with blue up until traffic is back, the most of {COUNTED}: claim and switch"),
        number(u64::try_from(most_writes)?),
        "writes",
    )
    .goal(Goal::AtMost(2.0))
    .beside("a bare patch of the selector, without a claim", 1.0, "writes")
    .detail("from the word to the switch ms", back);
    Ok(vec![switch, rollback])
}

/// A release that has moved the traffic to its image.
async fn switched(world: &World<'_>, n: u32) -> (ReleaseId, String) {
    let (id, images) = world.push(n, &Behaviour::version(&format!("v{n}"))).await;
    world.approve(id).await;
    world.reaches(id, "watching").await;
    (id, images[0].digest.clone())
}

fn intends(what: &What, purpose: Purpose) -> bool {
    match what {
        What::Intended { intention, .. } => {
            matches!(&intention.action, Action::Write(write) if write.purpose == purpose)
        }
        _ => false,
    }
}

/// A Service over the same pods that nothing of ours writes.
async fn twin(world: &World<'_>) {
    let twin: Service = read(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "twin" },
        "spec": {
            "selector": { SERVICE: "web", COLOUR: "blue" },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        },
    }));
    world.namespace.create(&twin).await;
}

/// Points the twin at a colour whose pods are up, and waits until its slices hold that colour's pods and no others.
async fn endpoints_follow(world: &World<'_>, colour: &str) -> Result<Duration> {
    let slices: Api<EndpointSlice> = world.namespace.api();
    let of_twin = ListParams::default().labels("kubernetes.io/service-name=twin");
    let selector = json!({ "spec": { "selector": { COLOUR: colour } } });
    let begun = tokio::time::Instant::now();
    world.namespace.api::<Service>().patch("twin", &PatchParams::default(), &Patch::Merge(&selector)).await?;
    let followed = async {
        loop {
            let listed = slices.list(&of_twin).await?;
            let endpoints = listed.items.iter().flat_map(|slice| &slice.endpoints);
            let pods: Vec<&str> =
                endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref()).collect();
            if !pods.is_empty() && pods.iter().all(|pod| pod.starts_with(&format!("web-{colour}-"))) {
                return Ok::<_, kube::Error>(begun.elapsed());
            }
        }
    };
    Ok(tokio::time::timeout(PATIENCE, followed).await.context("its endpoints never followed")??)
}

/// One new connection after the other, as fast as they are answered: when each was begun, and by what it was answered.
struct Prober {
    answers: Arc<Mutex<Vec<(SystemTime, String)>>>,
    task: JoinHandle<()>,
}

impl Prober {
    fn start(to: std::net::SocketAddr) -> Self {
        let answers = Arc::<Mutex<Vec<(SystemTime, String)>>>::default();
        let noted = answers.clone();
        let task = tokio::spawn(async move {
            loop {
                let begun = SystemTime::now();
                if let Ok(digest) = ask(to).await
                    && let Ok(mut noted) = noted.lock()
                {
                    noted.push((begun, digest));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { answers, task }
    }

    /// How long after a moment the last request was begun that another version than this one answered.
    fn last_other(&self, digest: &str, since: Timestamp) -> Duration {
        let since = UNIX_EPOCH + Duration::from_millis(since.0);
        let Ok(answers) = self.answers.lock() else { return Duration::MAX };
        let mut others = answers.iter().rev().filter(|(_, other)| other != digest);
        others.find_map(|(begun, _)| begun.duration_since(since).ok()).unwrap_or_default()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(to: std::net::SocketAddr) -> Result<String> {
    let mut connection = Connection::to(to).await.map_err(|error| anyhow::anyhow!(error))?;
    let request =
        Request::get("/").header("host", "service").header("connection", "close").body(Empty::<Bytes>::new())?;
    let answer = connection.send(request).await.map_err(|unanswered| anyhow::anyhow!(unanswered.why))?;
    let digest = answer.headers().get("x-digest").context("answered by no pod")?.to_str()?.to_owned();
    answer.into_body().collect().await?;
    Ok(digest)
}
