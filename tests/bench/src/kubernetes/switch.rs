//! The switch of one Service: what goes over the wire, and how long it takes beside one bare PATCH of a Service like it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hyper::{Method, Request};
use k8s_openapi::api::core::v1::Service;
use portcullis_domain::action::{Fence, ObjectKey, Purpose, Value, Write};
use portcullis_domain::names::{Seq, ServiceName};
use portcullis_engine::ports::{Cluster as _, Ledger as _, Written};
use portcullis_kubernetes::client::{Client, ClientOptions};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};
use portcullis_kubernetes::objects::COLOUR;
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::fault_proxy::FaultProxy;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::samples::read;
use portcullis_tests_kubernetes::world::{Ending, Scene, World};
use serde_json::json;

use super::{median, number};
use crate::report::{Goal, Line};

const TURNS: u64 = 60;
const REST: Duration = Duration::from_millis(100);
/// Above every position that the ledger of this world comes to.
const FIRST_FENCE: u64 = 1_000_000;

pub(crate) async fn measure(cluster: &Cluster) -> Result<Vec<Line>> {
    let mut world = World::adopted(cluster, "bench-switch", Scene::default()).await;
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    let load = world.load("web", portcullis_tests_kubernetes::load::LoadOptions::default()).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    load.stop().await;
    // Both colours are up now, and nobody else writes.
    world.kill_drivers().await;
    twin(&world).await?;

    // Twice the same switch, once over a proxy that counts and once without it.
    let proxy = FaultProxy::start(world.namespace.client.clone()).await;
    let counted = adapter(proxy.client());
    let mut seq = FIRST_FENCE;
    let mut to_green = false;
    switch(&world, &counted, to_green, seq).await?;
    proxy.seen();
    to_green = !to_green;
    seq += 1;
    switch(&world, &counted, to_green, seq).await?;
    let calls = proxy.seen();
    let on_the_wire: Vec<String> = calls.iter().map(|seen| seen.method.to_string()).collect();

    let direct = adapter(world.namespace.client.clone());
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        to_green = !to_green;
        seq += 1;
        // Each begins when what the one before made the controllers do is over.
        tokio::time::sleep(REST).await;
        let took = switch(&world, &direct, to_green, seq).await?;
        tokio::time::sleep(REST).await;
        let patched = bare_patch(&world, to_green).await?;
        if turn > 0 {
            ours.push(took);
            bare.push(patched);
        }
    }
    let (ours, bare) = (median(ours), median(bare));
    let calls_line = Line::new(
        "switch calls",
        "requests on the wire for the switch of one Service: one patch, whose answer is read back",
        number(u64::try_from(calls.len())?),
        "requests",
    )
    .goal(Goal::AtMost(2.0))
    .beside("a bare patch", 1.0, "requests")
    .detail("methods", on_the_wire.join(", "));
    let time = Line::new(
        "switch",
        format!(
            "the switch of one Service, fenced and seen to be stored, in those of a bare PATCH; the middle of {TURNS}"
        ),
        ours / bare,
        "x a bare PATCH",
    )
    .goal(Goal::AtMost(1.5))
    .beside_at("a bare PATCH of a Service like it, on a kept connection", bare, "ms", ours / bare)
    .detail("ours ms", ours);
    Ok(vec![calls_line, time])
}

fn adapter(client: kube::Client) -> Arc<KubernetesCluster> {
    // Paced as a server's is, but for the one burst of this benchmark.
    let options = ClientOptions { per_second: 10_000, burst: 10_000, ..ClientOptions::default() };
    Arc::new(KubernetesCluster::new(Source::Connected(Client::from_kube(client, options)), Options::default()))
}

/// A Service like ours that nobody fences: the same selector, so that its endpoints change with it as much.
async fn twin(world: &World<'_>) -> Result<()> {
    let ours = world.namespace.api::<Service>().get("web").await?;
    let selector = ours.spec.and_then(|spec| spec.selector).context("it has no selector")?;
    let annotations = ours.metadata.annotations.unwrap_or_default();
    let twin: Service = read(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "twin", "annotations": annotations },
        "spec": { "selector": selector, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    }));
    world.namespace.create(&twin).await;
    Ok(())
}

/// Moves the traffic as the driver does, from what was found before; how long the write took.
async fn switch(world: &World<'_>, adapter: &KubernetesCluster, to_green: bool, seq: u64) -> Result<Duration> {
    let service = ServiceName::new("web")?;
    let key = ObjectKey::traffic(&service);
    let objects = world.adapter.observe(&world.target, &world.place, &BTreeSet::from([service])).await?;
    let from = objects.get(&key).and_then(|found| found.stamp.clone()).context("the Service is not there")?;
    let to = Value::Traffic { green: if to_green { 10_000 } else { 0 } };
    let write = Write { object: key, from: vec![Some(from)], to, purpose: Purpose::Switch, bundle: None };
    let epoch = world.state().await.epoch;
    let fence = Fence { ledger: world.ledger.id(), epoch, seq: Seq(seq) };
    // The cluster is reached, and what it serves is known, as by a driver that is at work.
    adapter.client(&world.place).await?;
    let begun = Instant::now();
    match adapter.write(&world.target, &world.place, &write, &fence).await? {
        Written::Done => Ok(begun.elapsed()),
        Written::Drift(found) => bail!("the Service holds {found:?}"),
    }
}

async fn bare_patch(world: &World<'_>, to_green: bool) -> Result<Duration> {
    let colour = if to_green { "green" } else { "blue" };
    let path = format!("/spec/selector/{}", COLOUR.replace('/', "~1"));
    let body = json!([{ "op": "replace", "path": path, "value": colour }]).to_string();
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("/api/v1/namespaces/{}/services/twin", world.namespace.name))
        .header("content-type", "application/json-patch+json")
        .body(body.into_bytes())?;
    let begun = Instant::now();
    world.namespace.client.request_text(request).await?;
    Ok(begun.elapsed())
}
