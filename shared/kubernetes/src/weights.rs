//! What moves a service's traffic, and weights as it: between the two colours' own Services, on a route of the Gateway API
//! or on an Ingress of the AWS Load Balancer Controller. Pure.
//!
//! Which of them it is stands on the Service ([`TRAFFIC`], written by adoption). Weights are read as a share of 10,000, as
//! the domain has it; what is no share between exactly these two colours is never taken for one, and never written over.

use std::fmt;

use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::{Colour, TrafficBy};
use serde_json::{Map, Value as Json, json};

use crate::client::{Kind, kinds};
use crate::objects::{TRAFFIC, annotation, coloured, name, pointer};
use crate::owners::Field;

/// All of the traffic, as the domain counts shares.
const ALL: u64 = 10_000;
/// The most that one weight may be on a route (Gateway API, `HTTPBackendRef`: 0 to 1,000,000).
const MOST_OF_ROUTE: u64 = 1_000_000;
/// The most that one weight may be on a load balancer (Elastic Load Balancing API, `TargetGroupTuple`: 0 to 999).
const MOST_OF_INGRESS: u64 = 999;
/// What two weights come to, the first that they fit.
const TOTALS: [u64; 3] = [100, 1_000, 10_000];
/// The port of a backend that stands for an action in an annotation (AWS Load Balancer Controller, "Ingress annotations").
pub(crate) const USE_ANNOTATION: &str = "use-annotation";

/// What moves a service's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Its Service's selector: all at once.
    Selector,
    /// The weights of an `HTTPRoute` of this name.
    Route(String),
    /// The weights of an action of an `Ingress` of this name.
    Ingress(String),
}

/// `HTTPRoute shop`, `Ingress front`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Selector => f.write_str("the Service's selector"),
            Way::Route(name) => write!(f, "HTTPRoute {name}"),
            Way::Ingress(name) => write!(f, "Ingress {name}"),
        }
    }
}

impl Way {
    /// As a policy writes it.
    pub fn by(&self) -> TrafficBy {
        match self {
            Way::Selector => TrafficBy::Selector,
            Way::Route(_) => TrafficBy::Gateway,
            Way::Ingress(_) => TrafficBy::Alb,
        }
    }

    /// What a Service says.
    ///
    /// # Errors
    /// The annotation is none that we write, in words.
    pub fn of(service: &Json) -> Result<Self, String> {
        let Some(text) = annotation(service, TRAFFIC) else { return Ok(Way::Selector) };
        // DNS subdomain (RFC 1123), as both kinds are named.
        let is_name = |name: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            !name.is_empty() && name.len() <= 253 && name.chars().all(fits)
        };
        match text.split_once('/') {
            Some(("httproute", name)) if is_name(name) => Ok(Way::Route(name.to_owned())),
            Some(("ingress", name)) if is_name(name) => Ok(Way::Ingress(name.to_owned())),
            _ => {
                let text: String = text.chars().take(80).collect();
                Err(format!("the annotation {TRAFFIC}={text:?}, which is neither httproute/NAME nor ingress/NAME"))
            }
        }
    }

    /// The annotation that says so; none = there is none for it.
    pub fn annotation(&self) -> Option<String> {
        match self {
            Way::Selector => None,
            Way::Route(name) => Some(format!("httproute/{name}")),
            Way::Ingress(name) => Some(format!("ingress/{name}")),
        }
    }

    /// The kind and name of the object that has the weights; none = there are no weights.
    pub fn carrier(&self) -> Option<(&'static Kind, &str)> {
        match self {
            Way::Selector => None,
            Way::Route(name) => Some((&kinds::HTTP_ROUTES, name)),
            Way::Ingress(name) => Some((&kinds::INGRESSES, name)),
        }
    }

    /// The field that is written to move traffic.
    pub fn field(&self, service: &ServiceName) -> Field {
        match self {
            Way::Selector => Field::of(&["spec", "selector"]),
            Way::Route(_) => Field::of(&["spec", "rules"]),
            Way::Ingress(_) => Field::of(&["metadata", "annotations", &action_key(service.as_str())]),
        }
    }
}

/// The annotation of an action of the AWS Load Balancer Controller.
pub(crate) fn action_key(action: &str) -> String {
    format!("alb.ingress.kubernetes.io/actions.{action}")
}

/// One value of an object that is changed as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Where, as a JSON pointer.
    pub path: String,
    /// The whole value as it was read.
    pub before: Json,
    /// The whole value as it will be.
    pub after: Json,
}

/// Green's share of 10,000, as a route or an Ingress has it for a service.
///
/// # Errors
/// What it has is no share between the two colours of this service, in words that name what differs.
pub fn green(way: &Way, service: &ServiceName, carrier: &Json) -> Result<u16, String> {
    match way {
        Way::Selector => Err("a selector has no weights".to_owned()),
        Way::Route(_) => route_share(service, carrier).map_err(|why| format!("{way}: {why}")),
        Way::Ingress(_) => ingress_share(service, carrier).map_err(|why| format!("{way}: {why}")),
    }
}

/// What is changed so that green has this share of 10,000. Where it has that already, nothing differs before and after.
///
/// # Errors
/// What is there is no share of ours; or this share cannot be had by weights, in words.
pub fn changes(way: &Way, service: &ServiceName, carrier: &Json, to: u16) -> Result<Vec<Change>, String> {
    let same = green(way, service, carrier)? == to;
    match way {
        Way::Selector => Ok(Vec::new()),
        Way::Route(_) => {
            let (blue, green) = weights(to, MOST_OF_ROUTE)?;
            let rules = own_rules(service, carrier).map(|(n, refs)| {
                let after = if same { refs.clone() } else { with_weights(service, refs, blue, green) };
                Change { path: format!("/spec/rules/{n}/backendRefs"), before: refs.clone(), after }
            });
            Ok(rules.collect())
        }
        Way::Ingress(_) => {
            let (blue, green) = weights(to, MOST_OF_INGRESS)?;
            let key = action_key(service.as_str());
            let before = annotation(carrier, &key).unwrap_or_default();
            let after = if same { before.to_owned() } else { action_with(service, before, blue, green)? };
            let path = format!("/metadata/annotations/{}", pointer(&key));
            Ok(vec![Change { path, before: before.into(), after: after.into() }])
        }
    }
}

/// The weights of blue and green for green's share of 10,000.
fn weights(green: u16, most: u64) -> Result<(u64, u64), String> {
    let green = u64::from(green);
    if green > ALL {
        return Err(format!("a share of {green} of 10,000 is more than all"));
    }
    let fits = |total: &u64| (green * total).is_multiple_of(ALL);
    let of = |total: u64| (total - green * total / ALL, green * total / ALL);
    let mut found = TOTALS.iter().filter(|total| fits(total)).map(|total| of(*total));
    found.find(|(blue, green)| (*blue).max(*green) <= most).ok_or_else(|| {
        format!(
            "a share of {green} of 10,000: the weights of a load balancer are 0 to {most}, so that a share is a multiple of \
             0.1%"
        )
    })
}

fn share(blue: u64, green: u64) -> Result<u16, String> {
    let total = blue.checked_add(green).filter(|total| *total > 0);
    let Some(total) = total else { return Err("both weights are 0".to_owned()) };
    let whole = green.checked_mul(ALL).filter(|parts| parts.is_multiple_of(total)).map(|parts| parts / total);
    whole
        .and_then(|share| u16::try_from(share).ok())
        .ok_or_else(|| format!("its weights {blue} for blue and {green} for green are no share that Portcullis writes"))
}

/// A weight; where none is said it is 1 (Gateway API, `BackendRef`; Elastic Load Balancing API, `ForwardActionConfig`).
fn weight(backend: &Json) -> Result<u64, String> {
    match backend.get("weight") {
        None | Some(Json::Null) => Ok(1),
        Some(weight) => weight.as_u64().ok_or_else(|| format!("the weight {weight} is no number")),
    }
}

/// Blue's and green's weight among backends that are exactly those two; `named` gives a backend's Service.
fn two(service: &ServiceName, backends: &[Json], named: fn(&Json) -> &str) -> Result<(u64, u64), String> {
    let (blue, green) = (coloured(service, Colour::Blue), coloured(service, Colour::Green));
    let other = backends.iter().map(named).find(|name| *name != blue && *name != green);
    if let Some(other) = other {
        return Err(format!("it sends to {other:?}, too, besides {blue} and {green}"));
    }
    let of = |wanted: &str| -> Result<u64, String> {
        let mut all = backends.iter().filter(|one| named(one) == wanted);
        match (all.next(), all.next()) {
            (Some(one), None) => weight(one),
            (None, _) => Err(format!("it does not send to {wanted}")),
            _ => Err(format!("it sends to {wanted} twice")),
        }
    };
    Ok((of(&blue)?, of(&green)?))
}

// ---- routes ----

/// The Service of the same namespace that a reference of a route names; empty = it names something else.
pub(crate) fn ref_name(backend: &Json) -> &str {
    let is = |key: &str, default: &str| backend.get(key).and_then(Json::as_str).unwrap_or(default) == default;
    let elsewhere = backend.get("namespace").is_some_and(|namespace| !namespace.is_null());
    if !is("group", "") || !is("kind", "Service") || elsewhere {
        return "";
    }
    backend["name"].as_str().unwrap_or_default()
}

/// The rules that send to the service, or to one of its colours, by position.
fn own_rules<'a>(service: &ServiceName, route: &'a Json) -> impl Iterator<Item = (usize, &'a Json)> {
    let own = own_names(service);
    let rules = route["spec"]["rules"].as_array().into_iter().flatten().enumerate();
    rules.map(|(n, rule)| (n, &rule["backendRefs"])).filter(move |(_, refs)| {
        refs.as_array().into_iter().flatten().any(|backend| own.iter().any(|own| own == ref_name(backend)))
    })
}

fn own_names(service: &ServiceName) -> [String; 3] {
    [service.to_string(), coloured(service, Colour::Blue), coloured(service, Colour::Green)]
}

/// Whether a route sends to a service, or to one of its colours.
pub(crate) fn route_sends(service: &ServiceName, route: &Json) -> bool {
    own_rules(service, route).next().is_some()
}

fn route_share(service: &ServiceName, route: &Json) -> Result<u16, String> {
    let mut found: Option<(usize, u16)> = None;
    for (n, refs) in own_rules(service, route) {
        let rule = |why: String| format!("rule {}: {why}", n + 1);
        let backends = refs.as_array().map(Vec::as_slice).unwrap_or_default();
        let (blue, green) = two(service, backends, ref_name).map_err(rule)?;
        let green = share(blue, green).map_err(rule)?;
        match found {
            Some((first, other)) if other != green => {
                return Err(format!(
                    "rule {} gives green {} of 10,000, and rule {} gives it {other}",
                    n + 1,
                    green,
                    first + 1
                ));
            }
            _ => found = Some((n, green)),
        }
    }
    found.map(|(_, green)| green).ok_or_else(|| format!("none of its rules sends to {service}"))
}

fn with_weights(service: &ServiceName, refs: &Json, blue: u64, green: u64) -> Json {
    let is_blue = coloured(service, Colour::Blue);
    let mut refs = refs.clone();
    for backend in refs.as_array_mut().into_iter().flatten() {
        backend["weight"] = if ref_name(backend) == is_blue { blue } else { green }.into();
    }
    refs
}

/// A route whose rules send to the colours of a service instead of to the service itself: all to blue.
///
/// # Errors
/// A rule sends to other backends, too, or none to the service; in words.
pub(crate) fn route_by_weights(service: &ServiceName, route: &Json) -> Result<Json, String> {
    let mut after = route.clone();
    let mut found = false;
    for (n, refs) in own_rules(service, route) {
        found = true;
        let backends = refs.as_array().map(Vec::as_slice).unwrap_or_default();
        let [only] = backends else {
            return Err(format!("rule {} of HTTPRoute {} sends to other backends than {service}", n + 1, name(route)));
        };
        let to = |colour: Colour, weight: u64| {
            let mut backend = only.clone();
            backend["name"] = coloured(service, colour).into();
            backend["weight"] = weight.into();
            backend
        };
        if ref_name(only) != service.as_str() {
            return Err(format!("rule {} of HTTPRoute {} sends to one colour only", n + 1, name(route)));
        }
        after["spec"]["rules"][n]["backendRefs"] = json!([to(Colour::Blue, 100), to(Colour::Green, 0)]);
    }
    if found { Ok(after) } else { Err(format!("none of the rules of HTTPRoute {} sends to {service}", name(route))) }
}

/// The inverse: every rule sends to the service itself again.
pub(crate) fn route_by_service(service: &ServiceName, route: &Json) -> Json {
    let mut after = route.clone();
    for (n, refs) in own_rules(service, route) {
        let Some(mut backend) = refs.get(0).cloned() else { continue };
        backend["name"] = service.as_str().into();
        backend["weight"] = 1.into();
        after["spec"]["rules"][n]["backendRefs"] = json!([backend]);
    }
    after
}

// ---- Ingresses ----

/// Every backend of an Ingress.
pub(crate) fn backends(ingress: &Json) -> impl Iterator<Item = &Json> {
    let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
    let paths = rules.flat_map(|rule| rule["http"]["paths"].as_array().into_iter().flatten());
    paths.map(|path| &path["backend"]).chain([&ingress["spec"]["defaultBackend"]])
}

fn backends_mut(ingress: &mut Json) -> Vec<&mut Json> {
    let Some(spec) = ingress["spec"].as_object_mut() else { return Vec::new() };
    let mut all = Vec::new();
    for (key, value) in spec {
        match key.as_str() {
            "defaultBackend" => all.push(value),
            "rules" => {
                let rules = value.as_array_mut().into_iter().flatten();
                let paths = rules.filter_map(|rule| rule.pointer_mut("/http/paths")?.as_array_mut()).flatten();
                all.extend(paths.filter_map(|path| path.get_mut("backend")));
            }
            _ => {}
        }
    }
    all
}

/// Whether a backend stands for an action of this name rather than for a Service.
pub(crate) fn is_action(backend: &Json, action: &str) -> bool {
    backend["service"]["name"] == action && backend["service"]["port"]["name"] == USE_ANNOTATION
}

fn group_name(group: &Json) -> &str {
    group["serviceName"].as_str().unwrap_or_default()
}

fn action(service: &str, ingress: &Json) -> Result<Json, String> {
    let key = action_key(service);
    let text = annotation(ingress, &key).ok_or_else(|| format!("it has no annotation {key}"))?;
    parsed(&key, text)
}

fn parsed(key: &str, text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("the annotation {key} is no JSON ({error})"))
}

fn groups(action: &Json) -> &[Json] {
    action["forwardConfig"]["targetGroups"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn ingress_share(service: &ServiceName, ingress: &Json) -> Result<u16, String> {
    if !backends(ingress).any(|backend| is_action(backend, service.as_str())) {
        return Err(format!("no backend of it uses the action {service} (port {USE_ANNOTATION})"));
    }
    let own = own_names(service);
    let itself = backends(ingress).find(|backend| {
        own.iter().any(|own| backend["service"]["name"] == own.as_str()) && !is_action(backend, service.as_str())
    });
    if let Some(backend) = itself {
        return Err(format!("a backend of it sends to {} past the weights", backend["service"]["name"]));
    }
    let action = action(service.as_str(), ingress)?;
    if !action["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("forward")) {
        return Err(format!("the action {service} is of type {}, and forwards nothing", action["type"]));
    }
    let (blue, green) =
        two(service, groups(&action), group_name).map_err(|why| format!("the action {service}: {why}"))?;
    share(blue, green).map_err(|why| format!("the action {service}: {why}"))
}

fn action_with(service: &ServiceName, text: &str, blue: u64, green: u64) -> Result<String, String> {
    let mut action = parsed(&action_key(service.as_str()), text)?;
    let is_blue = coloured(service, Colour::Blue);
    for group in action["forwardConfig"]["targetGroups"].as_array_mut().into_iter().flatten() {
        group["weight"] = if group_name(group) == is_blue { blue } else { green }.into();
    }
    Ok(action.to_string())
}

/// The port by which every backend of an Ingress names a service.
fn port_of(service: &ServiceName, ingress: &Json) -> Result<Json, String> {
    let own = backends(ingress)
        .filter(|backend| backend["service"]["name"] == service.as_str() && !is_action(backend, service.as_str()));
    let ports: Vec<Json> = own
        .map(|backend| {
            let port = &backend["service"]["port"];
            if port["number"].is_u64() { port["number"].clone() } else { port["name"].clone() }
        })
        .collect();
    match ports.first() {
        None => Err(format!("no backend of Ingress {} sends to {service}", name(ingress))),
        Some(first) if ports.iter().all(|port| port == first) => Ok(first.clone()),
        Some(_) => Err(format!(
            "Ingress {} sends to several ports of {service}: weights are for one, so give each port a Service of its own",
            name(ingress)
        )),
    }
}

/// An Ingress whose backends of a service are an action: all to the service itself as before, nothing to its colours, whose
/// target groups the controller makes then. Where it is so already, or further, it is given as it is.
///
/// # Errors
/// There is another action of this name, or no backend of this service; in words.
pub(crate) fn ingress_staged(service: &ServiceName, ingress: &Json) -> Result<Json, String> {
    let is_used = backends(ingress).any(|backend| is_action(backend, service.as_str()));
    if is_used && (ingress_share(service, ingress).is_ok() || is_staged(service, ingress)) {
        return Ok(ingress.clone());
    }
    let key = action_key(service.as_str());
    if annotation(ingress, &key).is_some() {
        return Err(format!("Ingress {} has an action {service} already, and it is none of ours", name(ingress)));
    }
    let port = port_of(service, ingress)?;
    let mut after = ingress.clone();
    for backend in backends_mut(&mut after) {
        if backend["service"]["name"] == service.as_str() {
            backend["service"]["port"] = json!({ "name": USE_ANNOTATION });
        }
    }
    let group = |name: String, weight: u64| json!({ "serviceName": name, "servicePort": port, "weight": weight });
    let action = json!({ "type": "forward", "forwardConfig": { "targetGroups": [
        group(service.to_string(), 100), group(coloured(service, Colour::Blue), 0), group(coloured(service, Colour::Green), 0),
    ] } });
    if !after["metadata"]["annotations"].is_object() {
        after["metadata"]["annotations"] = Map::new().into();
    }
    after["metadata"]["annotations"][key] = action.to_string().into();
    Ok(after)
}

/// Whether the action has the service itself beside its two colours: an adoption, or a release, is half way.
pub(crate) fn is_staged(service: &ServiceName, ingress: &Json) -> bool {
    let Ok(action) = action(service.as_str(), ingress) else { return false };
    let own = own_names(service);
    let groups = groups(&action);
    groups.len() == 3 && own.iter().all(|own| groups.iter().any(|group| group_name(group) == own))
}

/// An Ingress whose action is between the two colours only: all to this one.
pub(crate) fn ingress_by_weights(service: &ServiceName, ingress: &Json) -> Result<Json, String> {
    let key = action_key(service.as_str());
    let mut action = action(service.as_str(), ingress)?;
    let is_blue = coloured(service, Colour::Blue);
    if let Some(groups) = action["forwardConfig"]["targetGroups"].as_array_mut() {
        groups.retain(|group| group_name(group) != service.as_str());
        for group in groups {
            group["weight"] = if group_name(group) == is_blue { 100 } else { 0 }.into();
        }
    }
    let mut after = ingress.clone();
    after["metadata"]["annotations"][key] = action.to_string().into();
    Ok(after)
}

/// The way back: the service itself beside its colours, without weight, so that its target group is made and filled.
pub(crate) fn ingress_beside(service: &ServiceName, ingress: &Json) -> Result<Json, String> {
    let key = action_key(service.as_str());
    let mut action = action(service.as_str(), ingress)?;
    if let Some(groups) = action["forwardConfig"]["targetGroups"].as_array_mut()
        && let Some(mut group) = groups.first().cloned()
    {
        group["serviceName"] = service.as_str().into();
        group["weight"] = 0.into();
        groups.insert(0, group);
    }
    let mut after = ingress.clone();
    after["metadata"]["annotations"][key] = action.to_string().into();
    Ok(after)
}

/// The inverse: the backends send to the service itself again, and there is no action.
pub(crate) fn ingress_by_service(service: &ServiceName, ingress: &Json) -> Result<Json, String> {
    let found = action(service.as_str(), ingress)?;
    let port = groups(&found).first().map(|group| group["servicePort"].clone()).unwrap_or_default();
    let port = if port.is_u64() { json!({ "number": port }) } else { json!({ "name": port }) };
    let mut after = ingress.clone();
    for backend in backends_mut(&mut after) {
        if is_action(backend, service.as_str()) {
            backend["service"]["port"] = port.clone();
        }
    }
    if let Some(annotations) = after["metadata"]["annotations"].as_object_mut() {
        annotations.remove(&action_key(service.as_str()));
    }
    Ok(after)
}

#[cfg(test)]
mod tests;
