//! What is there: a service's objects in one pass ([`pictures`], [`picture`]), and what they say as the domain has it
//! ([`observe`], [`found()`], [`look()`]).

mod found;
mod look;
mod readings;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::Colour;
use serde_json::Value as Json;

use crate::client::{Client, Kind, Selector, kinds};
use crate::error::{ApiError, Why};
use crate::objects::{ADOPTED, COLOUR, SERVICE, SERVICE_OF_SLICE, annotation, colour_of, coloured, label, name};
use crate::weights::Way;
pub use found::{Said, found, found_traffic, is_observed, observe, said_by_front, said_by_traffic, said_by_workload};
pub use look::{Serving, look, serving};
pub use readings::Readings;

/// Up to so many objects are read one by one rather than by a list.
const FEW: usize = 3;
/// So many services are named in a label selector; for more, everything of ours is listed.
const MOST_NAMED: usize = 60;

/// A colour's Deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The Deployment.
    pub object: Json,
    /// Whether it is the one without a colour, from before adoption: it is read as blue.
    pub plain: bool,
}

/// Everything of one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// The blue Deployment, or the plain one.
    pub blue: Option<Workload>,
    /// The green Deployment.
    pub green: Option<Workload>,
    /// The Service.
    pub traffic: Option<Json>,
    /// The route or Ingress that has the weights, where the Service names one.
    pub carrier: Option<Json>,
    /// Pods of both colours.
    pub pods: Vec<Json>,
    /// The Service's endpoint slices.
    pub slices: Vec<Json>,
    /// Autoscalers of its Deployments.
    pub autoscalers: Vec<Json>,
    /// Disruption budgets that its pods are under.
    pub budgets: Vec<Json>,
    /// What could not be read, in words.
    pub unread: Vec<String>,
}

impl Picture {
    /// A colour's Deployment.
    pub fn workload(&self, colour: Colour) -> Option<&Workload> {
        match colour {
            Colour::Blue => self.blue.as_ref(),
            Colour::Green => self.green.as_ref(),
        }
    }

    /// The colour that requests go to; of a worker the one that has replicas. None = neither.
    pub fn live(&self) -> Option<Colour> {
        if let Some(traffic) = &self.traffic {
            return match traffic["spec"]["selector"].get(COLOUR).and_then(Json::as_str) {
                Some(text) => colour_of(text),
                None => self.blue.as_ref().map(|_| Colour::Blue),
            };
        }
        [Colour::Blue, Colour::Green]
            .into_iter()
            .find(|colour| self.workload(*colour).is_some_and(|w| replicas(&w.object) > 0))
    }

    fn pods_of(&self, workload: &Workload) -> Vec<&Json> {
        self.pods.iter().filter(|pod| is_of(workload, pod)).collect()
    }
}

/// Whether a pod is one of a Deployment's.
fn is_of(workload: &Workload, pod: &Json) -> bool {
    // The plain one's selector matches the coloured ones' pods, too.
    !(workload.plain && label(pod, SERVICE).is_some())
        && selects(&workload.object["spec"]["selector"], &pod["metadata"]["labels"])
}

/// Replicas asked for; the API's default is 1.
pub fn replicas(deployment: &Json) -> u32 {
    deployment["spec"]["replicas"].as_u64().map_or(1, |n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// Whether a label selector selects these labels.
pub fn selects(selector: &Json, labels: &Json) -> bool {
    let value = |key: &str| labels.get(key).and_then(Json::as_str);
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let listed = selector["matchExpressions"].as_array().into_iter().flatten();
    exact.into_iter().all(|(key, wanted)| value(key) == wanted.as_str())
        && listed.into_iter().all(|rule| {
            let value = rule["key"].as_str().and_then(value);
            let among = || rule["values"].as_array().into_iter().flatten().any(|one| one.as_str() == value);
            match rule["operator"].as_str() {
                Some("In") => value.is_some() && among(),
                Some("NotIn") => value.is_none() || !among(),
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                _ => false,
            }
        })
}

/// A label selector as a query has it.
pub fn as_query(selector: &Json) -> String {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let exact = exact.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let listed = selector["matchExpressions"].as_array().into_iter().flatten().filter_map(|rule| {
        let key = rule["key"].as_str()?;
        let values: Vec<&str> = rule["values"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        match rule["operator"].as_str()? {
            "In" => Some(format!("{key} in ({})", values.join(","))),
            "NotIn" => Some(format!("{key} notin ({})", values.join(","))),
            "Exists" => Some(key.to_owned()),
            "DoesNotExist" => Some(format!("!{key}")),
            _ => None,
        }
    });
    exact.chain(listed).collect::<Vec<_>>().join(",")
}

/// Reads a colour's Deployment; for blue, where there is none, the plain one that was not adopted yet.
pub async fn workload(
    client: &Client,
    namespace: &str,
    service: &ServiceName,
    colour: Colour,
) -> Result<Option<Workload>, ApiError> {
    if let Some(object) = client.get(&kinds::DEPLOYMENTS, namespace, &coloured(service, colour)).await? {
        return Ok(Some(Workload { object, plain: false }));
    }
    if colour == Colour::Green {
        return Ok(None);
    }
    let plain = client.get(&kinds::DEPLOYMENTS, namespace, service.as_str()).await?;
    Ok(plain.filter(|object| annotation(object, ADOPTED).is_none()).map(|object| Workload { object, plain: true }))
}

/// The pods of a Deployment.
pub async fn pods(client: &Client, namespace: &str, workload: &Workload) -> Result<Vec<Json>, ApiError> {
    let selector = Selector::labels(as_query(&workload.object["spec"]["selector"]));
    let mut pods = client.list(&kinds::PODS, Some(namespace), &selector).await?.items;
    pods.retain(|pod| is_of(workload, pod));
    Ok(pods)
}

/// Objects whose label names one of these; of too many to be named, all that have the label.
fn named<'a>(label: &str, names: impl Iterator<Item = &'a str>) -> Selector {
    let names: Vec<&str> = names.collect();
    if names.len() > MOST_NAMED {
        return Selector::labels(label);
    }
    Selector::labels(format!("{label} in ({})", names.join(",")))
}

/// Objects of these names: one by one where they are few, else by a list.
async fn all_named(
    client: &Client,
    kind: &Kind,
    namespace: &str,
    names: &BTreeSet<&str>,
) -> Result<Vec<Json>, ApiError> {
    if names.len() > FEW {
        let mut all = client.list(kind, Some(namespace), &Selector::default()).await?.items;
        all.retain(|object| names.contains(name(object)));
        return Ok(all);
    }
    let mut found = Vec::new();
    for name in names {
        found.extend(client.get(kind, namespace, name).await?);
    }
    Ok(found)
}

/// The Deployments, Services and pods of services. Pods are read after what asks for them.
pub async fn pictures(
    client: &Client,
    namespace: &str,
    services: &BTreeSet<ServiceName>,
) -> Result<BTreeMap<ServiceName, Picture>, ApiError> {
    let mut pictures = objects(client, namespace, services).await?;
    read_pods(client, namespace, &mut pictures).await?;
    Ok(pictures)
}

/// The Deployments and Services of services, and what has their weights.
async fn objects(
    client: &Client,
    namespace: &str,
    services: &BTreeSet<ServiceName>,
) -> Result<BTreeMap<ServiceName, Picture>, ApiError> {
    let mut pictures: BTreeMap<ServiceName, Picture> =
        services.iter().map(|service| (service.clone(), Picture::default())).collect();
    if services.is_empty() {
        return Ok(pictures);
    }
    let ours = named(SERVICE, services.iter().map(ServiceName::as_str));
    let (deployments, fronts) = tokio::join!(
        client.list(&kinds::DEPLOYMENTS, Some(namespace), &ours),
        client.list(&kinds::SERVICES, Some(namespace), &ours),
    );
    for object in deployments?.items {
        let Some(picture) = label(&object, SERVICE).and_then(|service| pictures.get_mut(service)) else { continue };
        let service = label(&object, SERVICE).unwrap_or_default();
        match name(&object).strip_prefix(service).and_then(|rest| colour_of(rest.strip_prefix('-')?)) {
            Some(Colour::Blue) => picture.blue = Some(Workload { object, plain: false }),
            Some(Colour::Green) => picture.green = Some(Workload { object, plain: false }),
            None => {}
        }
    }
    for object in fronts?.items {
        if let Some(picture) = pictures.get_mut(name(&object)) {
            picture.traffic = Some(object);
        }
    }
    // What is not of ours yet has no label of ours.
    let without = |lacks: fn(&Picture) -> bool| -> BTreeSet<&str> {
        pictures.iter().filter(|(_, picture)| lacks(picture)).map(|(service, _)| service.as_str()).collect()
    };
    let (no_blue, no_front) = (without(|picture| picture.blue.is_none()), without(|picture| picture.traffic.is_none()));
    let (plain, fronts) = tokio::join!(
        all_named(client, &kinds::DEPLOYMENTS, namespace, &no_blue),
        all_named(client, &kinds::SERVICES, namespace, &no_front),
    );
    let (plain, fronts) = (plain?, fronts?);
    for object in plain.into_iter().filter(|object| annotation(object, ADOPTED).is_none()) {
        if let Some(picture) = pictures.get_mut(name(&object)) {
            picture.blue = Some(Workload { object, plain: true });
        }
    }
    for object in fronts {
        if let Some(picture) = pictures.get_mut(name(&object)) {
            picture.traffic = Some(object);
        }
    }
    read_carriers(client, namespace, &mut pictures).await?;
    Ok(pictures)
}

/// The routes and Ingresses that Services name.
async fn read_carriers(
    client: &Client,
    namespace: &str,
    pictures: &mut BTreeMap<ServiceName, Picture>,
) -> Result<(), ApiError> {
    let way = |picture: &Picture| picture.traffic.as_ref().and_then(|front| Way::of(front).ok());
    let ways: BTreeMap<ServiceName, Way> = pictures
        .iter()
        .filter_map(|(service, picture)| Some((service.clone(), way(picture)?)))
        .filter(|(_, way)| *way != Way::Selector)
        .collect();
    for kind in [&kinds::HTTP_ROUTES, &kinds::INGRESSES] {
        let of_kind = |way: &Way| way.carrier().filter(|(of, _)| *of == kind).map(|(_, name)| name.to_owned());
        let names: BTreeSet<String> = ways.values().filter_map(of_kind).collect();
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        // Without the API of routes there are none of them: that is told of the Service that names one.
        let found = match all_named(client, kind, namespace, &names).await {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other?,
        };
        for (service, way) in &ways {
            let carrier = of_kind(way).and_then(|wanted| found.iter().find(|object| name(object) == wanted));
            if let (Some(object), Some(picture)) = (carrier, pictures.get_mut(service)) {
                picture.carrier = Some(object.clone());
            }
        }
    }
    Ok(())
}

/// The route or Ingress that has a Service's weights; none = its selector moves its traffic, or what it names is not there.
pub async fn carrier(client: &Client, namespace: &str, front: &Json) -> Result<Option<Json>, ApiError> {
    let Ok(way) = Way::of(front) else { return Ok(None) };
    match way.carrier() {
        Some((kind, name)) => client.get(kind, namespace, name).await,
        None => Ok(None),
    }
}

async fn read_pods(
    client: &Client,
    namespace: &str,
    pictures: &mut BTreeMap<ServiceName, Picture>,
) -> Result<(), ApiError> {
    let ours = named(SERVICE, pictures.keys().map(ServiceName::as_str));
    let plain: Vec<Workload> =
        pictures.values().filter_map(|picture| picture.blue.clone()).filter(|workload| workload.plain).collect();
    let mut pods = if plain.len() > FEW {
        client.list(&kinds::PODS, Some(namespace), &Selector::default()).await?.items
    } else {
        client.list(&kinds::PODS, Some(namespace), &ours).await?.items
    };
    if plain.len() <= FEW {
        for workload in &plain {
            pods.extend(self::pods(client, namespace, workload).await?);
        }
    }
    for pod in pods {
        let of = |picture: &Picture| {
            [Colour::Blue, Colour::Green].iter().filter_map(|c| picture.workload(*c)).any(|w| is_of(w, &pod))
        };
        if let Some(picture) = pictures.values_mut().find(|picture| of(picture)) {
            picture.pods.push(pod);
        }
    }
    Ok(())
}

/// One service's whole picture, with autoscalers, budgets and endpoint slices. What may not be read is named.
pub async fn picture(client: &Client, namespace: &str, service: &ServiceName) -> Result<Picture, ApiError> {
    let services = BTreeSet::from([service.clone()]);
    let mut picture = pictures(client, namespace, &services).await?.remove(service).unwrap_or_default();
    let everything = Selector::default();
    let of_service = Selector::labels(format!("{SERVICE_OF_SLICE}={service}"));
    let (autoscalers, budgets, slices) = tokio::join!(
        client.list(&kinds::AUTOSCALERS, Some(namespace), &everything),
        client.list(&kinds::BUDGETS, Some(namespace), &everything),
        client.list(&kinds::ENDPOINT_SLICES, Some(namespace), &of_service),
    );
    let mut readable = |listed: Result<crate::client::Listed, ApiError>| match listed {
        Ok(listed) => listed.items,
        Err(error) => {
            picture.unread.push(error.to_string());
            Vec::new()
        }
    };
    let (autoscalers, budgets, slices) = (readable(autoscalers), readable(budgets), readable(slices));
    let workloads: Vec<&Workload> = [&picture.blue, &picture.green].into_iter().flatten().collect();
    let scales = |autoscaler: &Json| workloads.iter().any(|workload| is_scaled_by(&workload.object, autoscaler));
    let autoscalers = autoscalers.into_iter().filter(scales).collect();
    let covers = |budget: &Json| workloads.iter().any(|workload| is_under(&workload.object, budget));
    let budgets = budgets.into_iter().filter(covers).collect();
    (picture.autoscalers, picture.budgets, picture.slices) = (autoscalers, budgets, slices);
    Ok(picture)
}

/// Whether an autoscaler is a Deployment's.
pub fn is_scaled_by(deployment: &Json, autoscaler: &Json) -> bool {
    let of = &autoscaler["spec"]["scaleTargetRef"];
    of["kind"] == "Deployment" && of["name"] == deployment["metadata"]["name"]
}

/// Whether a Deployment's pods are under a disruption budget.
pub fn is_under(deployment: &Json, budget: &Json) -> bool {
    selects(&budget["spec"]["selector"], &deployment["spec"]["template"]["metadata"]["labels"])
}

/// Whether a failed reading only says that the kind is not there, or may not be read.
pub(crate) fn is_out_of_reach(error: &ApiError) -> bool {
    matches!(error.why, Why::NotFound | Why::Forbidden { .. })
}

#[cfg(test)]
mod tests;
