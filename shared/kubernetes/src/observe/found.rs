//! What objects say of their fence and value, and what that is for the domain.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{Found, ObjectKey, Part, Stamp, Value};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::{ALL_TRAFFIC, Colour};
use portcullis_engine::ports::{PortError, PortResult};
use serde_json::Value as Json;

use super::{Workload, carrier, pictures, pods, replicas, workload};
use crate::client::{Client, kinds};
use crate::error::clean;
use crate::fence;
use crate::objects::{COLOUR, TRAFFIC, annotation, colour_of, digest_in, fence_key, own_container, weights_fence_key};
use crate::owners::{Writer, last_other, owners, written_fields};
use crate::problems::{self, is_over, is_ready};
use crate::weights::{self, Way};

/// What an object says of its fence and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Fence and value; none with `foreign` where the value is none that we could have written.
    pub stamp: Option<Stamp>,
    /// What is not understood: an annotation, a selector.
    pub foreign: Option<String>,
}

fn said(target: &TargetId, object: &Json, value: Value) -> Said {
    said_under(&fence_key(target), object, value)
}

fn said_under(key: &str, object: &Json, value: Value) -> Said {
    match fence::parse(annotation(object, key)) {
        Ok(fence) => Said { stamp: Some(Stamp { fence, value }), foreign: None },
        Err(text) => {
            Said { stamp: Some(Stamp { fence: None, value }), foreign: Some(text.chars().take(200).collect()) }
        }
    }
}

/// The digest that a pod runs of the service's own container.
fn digest_of(pod: &Json, container: &str) -> Option<Digest> {
    let of = |list: &Json| list.as_array()?.iter().find(|one| one["name"] == container).cloned();
    let asked = of(&pod["spec"]["containers"])?;
    digest_in(asked["image"].as_str()?)
        .or_else(|| digest_in(of(&pod["status"]["containerStatuses"])?["imageID"].as_str()?))
}

/// What a Deployment says. An image that is named by a tag is known by what its pods run.
///
/// # Errors
/// Neither the image nor its pods say which digest it is; which container is the service's is not known.
pub fn said_by_workload(
    target: &TargetId,
    service: &ServiceName,
    workload: &Workload,
    pods: &[&Json],
) -> Result<Said, String> {
    let object = &workload.object;
    let pod = &object["spec"]["template"]["spec"];
    let own = &pod["containers"][own_container(object, pod, service.as_str())?];
    let image = own["image"].as_str().unwrap_or_default();
    let container = own["name"].as_str().unwrap_or_default();
    let by_pods = || {
        let there = pods.iter().filter(|pod| !is_over(pod));
        let running: BTreeSet<Digest> = there.filter_map(|pod| digest_of(pod, container)).collect();
        match (running.first(), running.len()) {
            (Some(digest), 1) => Ok(*digest),
            (None, _) => Err(format!("its image {image} is no digest, and no pod of it says which one it runs")),
            _ => Err(format!("its image {image} is no digest, and its pods run different ones")),
        }
    };
    let digest = digest_in(image).map_or_else(by_pods, Ok)?;
    Ok(said(target, object, Value::Workload { digest, replicas: replicas(object) }))
}

/// What a Service says: which colour its selector is narrowed to. One without a colour sends to what is read as blue.
pub fn said_by_traffic(target: &TargetId, object: &Json) -> Said {
    let selector = &object["spec"]["selector"];
    let colour = selector.get(COLOUR).and_then(Json::as_str);
    match (colour, colour.and_then(colour_of)) {
        (_, Some(colour)) => said(target, object, Value::Traffic { green: colour.share(ALL_TRAFFIC) }),
        (None, _) if selector.as_object().is_some_and(|selector| !selector.is_empty()) => {
            said(target, object, Value::Traffic { green: 0 })
        }
        (None, _) => Said { stamp: None, foreign: Some("a Service without a selector".into()) },
        (Some(text), None) => Said { stamp: None, foreign: Some(clean(&format!("the selector {COLOUR}={text}"))) },
    }
}

/// What a Service says together with whatever has the weights, if its traffic moves by weights: `carrier` is the route or
/// Ingress that the Service names; none = there is none of that name.
pub fn said_by_front(target: &TargetId, service: &ServiceName, front: &Json, carrier: Option<&Json>) -> Said {
    let foreign = |why: String| Said { stamp: None, foreign: Some(clean(&why)) };
    let way = match Way::of(front) {
        Ok(Way::Selector) => return said_by_traffic(target, front),
        Ok(way) => way,
        Err(why) => return foreign(why),
    };
    let Some(carrier) = carrier else { return foreign(format!("no {way}, though its annotation {TRAFFIC} names it")) };
    let by_selector = said_by_traffic(target, front);
    if by_selector.foreign.is_some() {
        return by_selector;
    }
    let green = match weights::green(&way, service, carrier) {
        Ok(green) => green,
        Err(why) => return foreign(format!("weights that are not ours to read ({why})")),
    };
    let said = said_under(&weights_fence_key(target, service), carrier, Value::Traffic { green });
    // The selector follows the weights at either end, under the same fence. Under an older one it is still to follow; under
    // the same one and elsewhere, somebody pointed it there.
    if let (Some(weights), Some(selector), true) = (&said.stamp, &by_selector.stamp, said.foreign.is_none())
        && weights.fence == selector.fence
        && weights.value != selector.value
        && let Some(whither) = Colour::with_all(green)
    {
        let selects = front["spec"]["selector"][COLOUR].as_str().unwrap_or_default();
        return foreign(format!("the selector {COLOUR}={selects}, while {way} sends all to {whither}"));
    }
    said
}

/// Who wrote what we write of an object last, if it was not us. What scales or reports does not count.
fn written_by(object: &Json, container: &str) -> Option<String> {
    let fields = written_fields(object, container);
    let last = last_other(object, &fields)?;
    let ours = owners(object).into_iter().filter(|owner| owner.writer == Writer::Ours);
    let ours = ours.filter(|owner| fields.iter().any(|field| owner.owns(field))).map(|owner| owner.at).max();
    // Whole seconds, all in UTC: as text they are in order.
    let later = ours.is_none_or(|ours| last.at >= ours);
    let counts = !matches!(last.writer, Writer::Autoscaler | Writer::Kubernetes);
    (later && counts).then(|| last.writer.to_string())
}

/// Whether the Deployment's controller has seen its last change.
pub fn is_observed(deployment: &Json) -> bool {
    deployment["status"]["observedGeneration"].as_u64() >= deployment["metadata"]["generation"].as_u64()
}

/// The service's own container, by name; empty = not known.
fn container_name<'a>(service: &ServiceName, workload: &'a Workload) -> &'a str {
    let pod = &workload.object["spec"]["template"]["spec"];
    let own = own_container(&workload.object, pod, service.as_str());
    own.ok().and_then(|own| pod["containers"][own]["name"].as_str()).unwrap_or_default()
}

/// Ready pods of a digest, after the Deployment's last change was seen, and not more than have been ready for as long
/// as the Deployment asks.
pub(super) fn ready(workload: &Workload, service: &ServiceName, pods: &[&Json], digest: Digest) -> u32 {
    let object = &workload.object;
    let container = container_name(service, workload);
    if !is_observed(object) {
        return 0;
    }
    let counted = pods.iter().filter(|pod| is_ready(pod) && digest_of(pod, container) == Some(digest)).count();
    let counted = u32::try_from(counted).unwrap_or(u32::MAX);
    let waits = object["spec"]["minReadySeconds"].as_u64().unwrap_or(0) > 0;
    let available = object["status"]["availableReplicas"].as_u64().unwrap_or(0);
    if waits { counted.min(u32::try_from(available).unwrap_or(u32::MAX)) } else { counted }
}

pub(super) fn found_workload(
    target: &TargetId,
    service: &ServiceName,
    workload: &Workload,
    pods: &[&Json],
) -> Result<Found, String> {
    let said = said_by_workload(target, service, workload, pods)?;
    let digest = match said.stamp {
        Some(Stamp { value: Value::Workload { digest, .. }, .. }) => Some(digest),
        _ => None,
    };
    Ok(Found {
        ready: digest.map_or(0, |digest| ready(workload, service, pods, digest)),
        stamp: said.stamp,
        foreign: said.foreign,
        written_by: written_by(&workload.object, container_name(service, workload)),
        moved_by: None,
        wanted: None,
        problems: problems::lines(&workload.object, pods, &BTreeMap::new()),
    })
}

/// What was found in the place of the Service, with whatever has its weights.
pub fn found_traffic(target: &TargetId, service: &ServiceName, front: &Json, carrier: Option<&Json>) -> Found {
    let said = said_by_front(target, service, front, carrier);
    let by_weights = carrier.and_then(|carrier| written_by(carrier, service.as_str()));
    let written_by = by_weights.or_else(|| written_by(front, ""));
    let plain = front["spec"]["selector"].get(COLOUR).is_none() && said.stamp.is_some();
    let moved_by = Way::of(front).ok().filter(|_| !plain).map(|way| way.by());
    let problem = plain.then(|| "its selector has no colour; `portcullis cluster adopt` gives it one".to_owned());
    Found {
        stamp: said.stamp,
        foreign: said.foreign,
        written_by,
        moved_by,
        problems: problem.into_iter().collect(),
        ..Found::default()
    }
}

pub(super) fn unclear(key: &ObjectKey, namespace: &str, why: String) -> PortError {
    PortError::new(format!("reading {key} in namespace {namespace}"), why)
}

/// Every part of every service.
pub async fn observe(
    client: &Client,
    target: &TargetId,
    namespace: &str,
    services: &BTreeSet<ServiceName>,
) -> PortResult<BTreeMap<ObjectKey, Found>> {
    let mut found = BTreeMap::new();
    for (service, picture) in pictures(client, namespace, services).await? {
        for colour in [Colour::Blue, Colour::Green] {
            let key = ObjectKey::workload(&service, colour);
            let here = match picture.workload(colour) {
                Some(workload) => found_workload(target, &service, workload, &picture.pods_of(workload))
                    .map_err(|why| unclear(&key, namespace, why))?,
                None => Found::default(),
            };
            found.insert(key, here);
        }
        let traffic = picture.traffic.as_ref();
        let traffic = traffic.map(|front| found_traffic(target, &service, front, picture.carrier.as_ref()));
        found.insert(ObjectKey::traffic(&service), traffic.unwrap_or_default());
    }
    Ok(found)
}

/// One object, read now.
pub async fn found(client: &Client, target: &TargetId, namespace: &str, key: &ObjectKey) -> PortResult<Found> {
    match key.part {
        Part::Traffic => {
            let front = client.get(&kinds::SERVICES, namespace, key.service.as_str()).await?;
            let Some(front) = front else { return Ok(Found::default()) };
            let carrier = carrier(client, namespace, &front).await?;
            Ok(found_traffic(target, &key.service, &front, carrier.as_ref()))
        }
        Part::Workload(colour) => {
            let Some(workload) = workload(client, namespace, &key.service, colour).await? else {
                return Ok(Found::default());
            };
            let pods = pods(client, namespace, &workload).await?;
            let pods: Vec<&Json> = pods.iter().collect();
            found_workload(target, &key.service, &workload, &pods).map_err(|why| unclear(key, namespace, why))
        }
    }
}
