//! Looking at one workload, and at where the data plane sends requests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis_domain::action::{AwaitReady, Found, Part};
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::{ALL_TRAFFIC, Colour};
use portcullis_engine::ports::PortResult;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::found::{found_workload, is_observed, ready, unclear};
use super::{Picture, Readings, Workload};
use crate::client::{Client, Selector, kinds};
use crate::error::ApiError;
use crate::objects::{COLOUR, SERVICE_OF_SLICE, colour_of, coloured, name};
use crate::problems::{self, evidence, is_over};
use crate::weights::{self, Way};

/// How soon is looked again at first, and twice as long each time up to the beat: a controller needs some 10 ms to see a write,
/// and that is all that a claim waits for on the way back.
const SOON: Duration = Duration::from_millis(25);

/// A look at a workload, as soon as it is what was asked for, and after `wait` whatever it is. `ready` counts pods of the
/// digest that was asked for; where none may be left, every pod that is there, also those that only finish what they have.
/// Where the Service sends to this colour, a pod counts once the endpoint slices have it, and addresses of others that they
/// still have are told.
pub async fn look(
    readings: &Readings,
    target: &TargetId,
    namespace: &str,
    ask: &AwaitReady,
    wait: Duration,
) -> PortResult<Found> {
    let Part::Workload(colour) = ask.object.part else {
        return Err(unclear(&ask.object, namespace, "only a workload becomes ready".into()));
    };
    let (begun, mut pause) = (Instant::now(), SOON);
    loop {
        let (picture, mut found) = glance(readings, target, namespace, ask, colour).await?;
        let is_there = found.stamp.is_some();
        let is_so = if ask.replicas == 0 { found.ready == 0 } else { found.ready >= ask.replicas };
        let next = (Instant::now() + pause).min(readings.next_beat());
        if is_there && !is_so && next <= begun + wait {
            tokio::time::sleep_until(next).await;
            pause *= 2;
            continue;
        }
        if let Some(workload) = picture.workload(colour).filter(|_| found.ready < ask.replicas) {
            let there = picture.pods_of(workload);
            let evidence = evidence(readings.client(), namespace, &there).await;
            if !evidence.is_empty() {
                found.problems = problems::lines(&workload.object, &there, &evidence);
            }
        }
        return Ok(found);
    }
}

/// What it is now, and what that was read from.
async fn glance(
    readings: &Readings,
    target: &TargetId,
    namespace: &str,
    ask: &AwaitReady,
    colour: Colour,
) -> PortResult<(Picture, Found)> {
    let service = &ask.object.service;
    let picture = readings.picture(namespace, service).await?;
    let Some(workload) = picture.workload(colour) else { return Ok((picture, Found::default())) };
    let there = picture.pods_of(workload);
    let found = found_workload(target, service, workload, &there);
    let mut found = found.map_err(|why| unclear(&ask.object, namespace, why))?;
    if ask.replicas == 0 {
        let left = there.iter().filter(|pod| !is_over(pod)).count();
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        // Until the controller saw the change it may still make pods.
        found.ready = if is_observed(&workload.object) { left } else { left.max(1) };
        return Ok((picture, found));
    }
    found.ready = ready(workload, service, &there, ask.digest);
    let names: BTreeSet<&str> = there.iter().map(|pod| name(pod)).collect();
    for front in fronts(&picture, service, workload, colour) {
        let serving = count(&readings.slices(namespace, &front).await?, |pod| names.contains(pod));
        found.ready = found.ready.min(serving.own);
        if serving.others > 0 {
            let line = format!("the Service {front} still sends to {} other pods", serving.others);
            found.problems.insert(0, line);
            found.problems.truncate(5);
        }
    }
    Ok((picture, found))
}

/// The Services by which requests come to a colour: the one whose selector is narrowed to it, and where it has weight its own.
fn fronts(picture: &Picture, service: &ServiceName, workload: &Workload, colour: Colour) -> Vec<String> {
    let mut fronts = Vec::new();
    let Some(front) = &picture.traffic else { return fronts };
    let selects = match front["spec"]["selector"].get(COLOUR).and_then(Json::as_str) {
        Some(text) => colour_of(text) == Some(colour),
        None => workload.plain,
    };
    if selects {
        fronts.push(service.to_string());
    }
    if let Ok(way) = Way::of(front)
        && let Some(carrier) = &picture.carrier
        && let Ok(green) = weights::green(&way, service, carrier)
        && green != colour.other().share(ALL_TRAFFIC)
    {
        fronts.push(coloured(service, colour));
    }
    fronts
}

/// Where the data plane sends a Service's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// Ready endpoints of the pods asked for.
    pub own: u32,
    /// Ready endpoints of all others.
    pub others: u32,
}

/// Counts the ready endpoints of a Service by whether they are pods that `is_own` knows.
pub async fn serving(
    client: &Client,
    namespace: &str,
    service: &str,
    is_own: impl Fn(&str) -> bool,
) -> Result<Serving, ApiError> {
    let selector = Selector::labels(format!("{SERVICE_OF_SLICE}={service}"));
    Ok(count(&client.list(&kinds::ENDPOINT_SLICES, Some(namespace), &selector).await?.items, is_own))
}

fn count(slices: &[Json], is_own: impl Fn(&str) -> bool) -> Serving {
    // One pod has an endpoint in the slices of each address family.
    let mut pods: BTreeMap<&str, bool> = BTreeMap::new();
    for endpoint in slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten()) {
        // Absent means ready (discovery.k8s.io/v1, `EndpointConditions`).
        if endpoint["conditions"]["ready"].as_bool().unwrap_or(true) {
            let pod = endpoint["targetRef"]["name"].as_str().unwrap_or_default();
            pods.insert(pod, is_own(pod));
        }
    }
    let count = |own: bool| u32::try_from(pods.values().filter(|one| **one == own).count()).unwrap_or(u32::MAX);
    Serving { own: count(true), others: count(false) }
}
