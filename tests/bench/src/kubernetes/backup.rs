//! The backup of a namespace of 2,000 mixed objects: beside bare LISTs of the same kinds at once, and beside `kubectl get`
//! for one kind after the other.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::Request;
use portcullis_kubernetes::backup::discover::{Kind, discover};
use portcullis_kubernetes::backup::wire::{Wire, encoded};
use portcullis_kubernetes::backup::{export, leave};
use portcullis_kubernetes::client::{Client, ClientOptions};
use portcullis_tests_kubernetes::cluster::{Cluster, Namespace};
use portcullis_tests_kubernetes::{mixed, programs};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::median;
use crate::report::{Goal, Line};

const ROUNDS: usize = 7;
/// Objects of one page, as ours are asked for.
const PAGE: u32 = 500;

pub(crate) async fn measure(cluster: &Cluster, objects: usize) -> Result<Vec<Line>> {
    let namespace = cluster.namespace("bench-backup").await;
    mixed::fill(&namespace, objects).await;
    // As a server asks, paced as it is.
    let wire: Arc<dyn Wire> = Arc::new(Client::from_kube(namespace.client.clone(), ClientOptions::default()));
    let kinds: Vec<Kind> = discover(&*wire).await?.kinds;
    let kinds: Vec<Kind> = kinds.into_iter().filter(|kind| leave::kind(kind, true).is_none()).collect();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        // A burst of requests is let through, and fills again in two seconds.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let begun = Instant::now();
        let taken = export(&wire, &namespace.name, mixed::wanted()).await?;
        let count = taken.count();
        let written = taken.exported();
        let took = begun.elapsed();
        ensure!(count >= objects, "only {count} of {objects} objects were backed up");
        drop(written);
        let listed = lists(&namespace, &kinds).await?;
        if round > 0 {
            ours.push(took);
            bare.push(listed);
        }
    }
    let begun = Instant::now();
    for kind in &kinds {
        kubectl(cluster, &namespace, kind).await?;
    }
    let (ours, bare, kubectl) = (median(ours), median(bare), begun.elapsed().as_secs_f64() * 1e3);
    let beside_lists = Line::new(
        "backup",
        format!("the backup of {objects} objects, cleaned and in YAML, in those of bare LISTs; the middle of {ROUNDS}"),
        ours / bare,
        "x bare LISTs",
    )
    .goal(Goal::AtMost(1.5))
    .beside_at(format!("LISTs of the same {} kinds at once, not read", kinds.len()), bare, "ms", ours / bare)
    .detail("ours ms", ours);
    let beside_kubectl = Line::new(
        "backup, kubectl",
        format!("how much faster than `kubectl get` of the same {} kinds, one after the other", kinds.len()),
        kubectl / ours,
        "x",
    )
    .goal(Goal::AtLeast(10.0))
    .beside_at("kubectl", kubectl, "ms", kubectl / ours)
    .detail("ours ms", ours);
    Ok(vec![beside_lists, beside_kubectl])
}

/// Of a page, only where the next one begins.
#[derive(Deserialize)]
struct Page {
    metadata: Next,
}
#[derive(Deserialize)]
struct Next {
    #[serde(default, rename = "continue")]
    next: String,
}

/// All pages of all kinds, all kinds at once.
async fn lists(namespace: &Namespace<'_>, kinds: &[Kind]) -> Result<Duration> {
    let begun = Instant::now();
    let mut listing = JoinSet::new();
    for kind in kinds {
        let (client, path) = (namespace.client.clone(), kind.path(&namespace.name));
        listing.spawn(async move {
            let mut next = String::new();
            loop {
                let page = format!("{path}?limit={PAGE}&continue={}", encoded(&next));
                let text = client.request_text(Request::get(page).body(Vec::new())?).await?;
                next = serde_json::from_str::<Page>(&text)?.metadata.next;
                if next.is_empty() {
                    return anyhow::Ok(());
                }
            }
        });
    }
    while let Some(listed) = listing.join_next().await {
        listed??;
    }
    Ok(begun.elapsed())
}

async fn kubectl(cluster: &Cluster, namespace: &Namespace<'_>, kind: &Kind) -> Result<()> {
    let mut get = programs::kubectl(cluster.kubeconfig())?;
    get.args(["get", &kind.full_resource(), "--namespace", &namespace.name, "--output", "yaml"]);
    get.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let said = tokio::task::spawn_blocking(move || get.output()).await?.context("starting kubectl")?;
    ensure!(said.status.success(), "kubectl get {}: {}", kind.full_resource(), String::from_utf8_lossy(&said.stderr));
    Ok(())
}
