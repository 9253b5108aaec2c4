//! What adopting and releasing do where weights move the traffic. Pure: what is there in, steps out.
//!
//! A load balancer checks the health of what it has a target group for, and pods get their readiness gate when they are
//! made. So the order is: the colours' own Services; an action with all weight on the service as before and none on its
//! colours; once their target groups are there, blue's pods; once those are healthy, the weight; then the selector. A
//! gateway follows endpoints, and needs the pods only.

use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::{Colour, TrafficBy};
use serde_json::Value as Json;

use super::plan::{annotate, step};
use super::{AdoptOptions, Situation, Step, Then};
use crate::client::kinds;
use crate::colour::Copy;
use crate::objects::{SERVICE, TRAFFIC, coloured, label, name, weights_fence_key, weights_intention_key};
use crate::targets::INJECT;
use crate::traffic::{has_ip_targets, is_alb, refusal, routes_to};
use crate::weights::{
    Way, backends, green, ingress_beside, ingress_by_service, ingress_by_weights, ingress_staged, is_action, is_staged,
    route_by_service, route_by_weights, route_sends,
};

/// What has the weights, or will have them.
pub(super) struct Carried<'a> {
    pub(super) way: Way,
    pub(super) carrier: &'a Json,
}

/// Whether an Ingress sends to a service, be it by weights.
fn sends(service: &ServiceName, ingress: &Json) -> bool {
    routes_to(ingress, service.as_str()) || backends(ingress).any(|backend| is_action(backend, service.as_str()))
}

/// What will move the traffic of a service that is adopted; none = its selector.
///
/// # Errors
/// It can not be as it is wanted, in words.
pub(super) fn wanted<'a>(
    service: &ServiceName,
    there: &'a Situation,
    options: &AdoptOptions,
    is_done: bool,
) -> Result<Option<Carried<'a>>, String> {
    let Some(front) = &there.front else { return Ok(None) };
    let said = Way::of(front)?;
    let traffic = options.traffic;
    let is_settled = is_done || said != Way::Selector;
    if is_settled && said.by() != traffic {
        return Err(said.by().is_not(traffic));
    }
    let albs = || there.ingresses.iter().filter(move |ingress| is_alb(ingress) && sends(service, ingress));
    let routes = || there.routes.iter().filter(move |route| route_sends(service, route));
    match traffic {
        TrafficBy::Selector => {
            let by_weights = |ingress: &&Json| backends(ingress).any(|backend| is_action(backend, service.as_str()));
            if let Some(ingress) = there.ingresses.iter().find(by_weights) {
                return Err(format!(
                    "Ingress {} sends to {service} by an action: write `traffic: alb` in the policy, or take the action out",
                    name(ingress)
                ));
            }
            let colours = [Colour::Blue, Colour::Green].map(|colour| coloured(service, colour));
            let of_colours = |route: &&Json| {
                colours.iter().any(|own| ServiceName::new(own).is_ok_and(|own| route_sends(&own, route)))
            };
            if let Some(route) = there.routes.iter().find(of_colours) {
                return Err(format!(
                    "HTTPRoute {} sends to {service} by weights: write `traffic: gateway` in the policy",
                    name(route)
                ));
            }
            Ok(None)
        }
        TrafficBy::Gateway => {
            let route = only("HTTPRoute", service, routes())?;
            Ok(Some(Carried { way: Way::Route(name(route).to_owned()), carrier: route }))
        }
        TrafficBy::Alb => {
            if let Some(route) = routes().next() {
                return Err(format!(
                    "HTTPRoute {} sends to {service}, too: weights can be on one of them",
                    name(route)
                ));
            }
            let ingress = only("Ingress of an AWS load balancer", service, albs())?;
            if !has_ip_targets(ingress, front) {
                return Err(format!(
                    "the targets of Ingress {} are nodes: the Service's selector moves its traffic at once, and needs no \
                     weights (`traffic: selector` in the policy)",
                    name(ingress)
                ));
            }
            // Its own target groups are what this is for; a load balancer of the Service's own is not.
            if let Some(behind) = refusal(front, &[], &[]) {
                return Err(behind);
            }
            if there.injects == Some(false) {
                return Err(format!(
                    "pods of the namespace get no readiness gate, so nobody could say whether the load balancer finds them \
                     healthy: kubectl label namespace NAMESPACE {INJECT}=enabled"
                ));
            }
            Ok(Some(Carried { way: Way::Ingress(name(ingress).to_owned()), carrier: ingress }))
        }
    }
}

fn only<'a>(what: &str, service: &ServiceName, mut found: impl Iterator<Item = &'a Json>) -> Result<&'a Json, String> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(format!("no {what} of the namespace sends to {service}: there is nothing to put weights on")),
        (Some(one), Some(other)) => {
            Err(format!("{} and {} both send to {service}: weights can be on one of them", name(one), name(other)))
        }
    }
}

/// The Service as it will say what moves its traffic.
pub(super) fn says(front: &Json, way: &Way) -> Json {
    let mut front = front.clone();
    if let Some(text) = way.annotation() {
        annotate(&mut front, TRAFFIC, &text);
    }
    front
}

/// The colours' own Services.
fn own_services(
    target: &TargetId,
    service: &ServiceName,
    there: &Situation,
    front: &Json,
) -> Result<Vec<Step>, String> {
    let of = |colour: Colour| {
        let wanted = Copy { target, service, colour }.own_service(front);
        let before = there.own_fronts.iter().find(|own| name(own) == name(&wanted));
        if let Some(before) = before.filter(|before| label(before, SERVICE) != Some(service.as_str())) {
            return Err(format!("there is a Service {} already, and it is none of ours", name(before)));
        }
        let mut after = before.cloned().unwrap_or_else(|| wanted.clone());
        over(&mut after, &wanted);
        let what = format!("the Service {} is for {colour} only", name(&wanted));
        let mut made = step(what, &kinds::SERVICES, before.cloned(), Some(after), Then::Go);
        made.applied = Some(wanted);
        Ok(made)
    };
    [Colour::Blue, Colour::Green].into_iter().map(of).collect()
}

/// What an object is after another one was applied: its fields, and what it had besides.
fn over(object: &mut Json, wanted: &Json) {
    match (object, wanted) {
        (Json::Object(object), Json::Object(wanted)) => {
            for (key, value) in wanted {
                over(object.entry(key.clone()).or_insert(Json::Null), value);
            }
        }
        (Json::Array(object), Json::Array(wanted)) if object.len() == wanted.len() => {
            object.iter_mut().zip(wanted).for_each(|(object, wanted)| over(object, wanted));
        }
        (object, wanted) => object.clone_from(wanted),
    }
}

/// Before blue's pods come up.
pub(super) fn before(
    target: &TargetId,
    service: &ServiceName,
    there: &Situation,
    carried: &Carried<'_>,
    front: &Json,
) -> Result<Vec<Step>, String> {
    let mut steps = own_services(target, service, there, &says(front, &carried.way))?;
    if let Way::Ingress(ingress) = &carried.way {
        let staged = ingress_staged(service, carried.carrier)?;
        let fronts = [Colour::Blue, Colour::Green].map(|colour| coloured(service, colour)).to_vec();
        steps.push(step(
            format!("Ingress {ingress} knows both colours of {service}, and sends nothing to them yet"),
            &kinds::INGRESSES,
            Some(carried.carrier.clone()),
            Some(staged),
            Then::TargetGroups { fronts },
        ));
    }
    Ok(steps)
}

/// What is waited for until blue may have weight.
pub(super) fn up(service: &ServiceName, carried: &Carried<'_>, deployment: String, replicas: u32) -> Then {
    let fronts = vec![service.to_string(), coloured(service, Colour::Blue)];
    Then::Behind { deployment, replicas, fronts, healthy: matches!(carried.way, Way::Ingress(_)) }
}

/// Once blue's pods are up: all weight on blue.
pub(super) fn after(service: &ServiceName, carried: &Carried<'_>) -> Result<Step, String> {
    let (kind, after, then_before) = match &carried.way {
        Way::Selector => return Err("a selector has no weights".to_owned()),
        Way::Route(_) if green(&carried.way, service, carried.carrier).is_ok() => {
            (&kinds::HTTP_ROUTES, carried.carrier.clone(), carried.carrier.clone())
        }
        Way::Route(_) => (&kinds::HTTP_ROUTES, route_by_weights(service, carried.carrier)?, carried.carrier.clone()),
        Way::Ingress(_) => {
            // As it is by then.
            let staged = ingress_staged(service, carried.carrier)?;
            let is_on = green(&carried.way, service, &staged).is_ok();
            let after = if is_on { staged.clone() } else { ingress_by_weights(service, &staged)? };
            (&kinds::INGRESSES, after, staged)
        }
    };
    let what = format!("{} sends all of {service} to its blue by weight", carried.way);
    Ok(step(what, kind, Some(then_before), Some(after), Then::Settle))
}

/// What has the weights of a service that is released; none = its selector moves its traffic.
///
/// # Errors
/// What it names is not there; its traffic is between the colours; in words.
pub(super) fn released<'a>(
    service: &ServiceName,
    there: &'a Situation,
) -> Result<Option<(Carried<'a>, Option<Colour>)>, String> {
    let Some(front) = &there.front else { return Ok(None) };
    let way = Way::of(front)?;
    let all = match &way {
        Way::Selector => return Ok(None),
        Way::Route(_) => &there.routes,
        Way::Ingress(_) => &there.ingresses,
    };
    let wanted = way.carrier().map(|(_, name)| name).unwrap_or_default();
    let Some(carrier) = all.iter().find(|one| name(one) == wanted) else {
        return Err(format!("there is no {way}, though its annotation {TRAFFIC} names it"));
    };
    let live = match green(&way, service, carrier) {
        Ok(share) => Some(Colour::with_all(share).ok_or_else(|| {
            format!(
                "its traffic is between the colours ({share} of 10,000 on green): end the release first, forward or back"
            )
        })?),
        // Half way: the colour that has pods.
        Err(_) if matches!(way, Way::Ingress(_)) && is_staged(service, carrier) => None,
        Err(_) if !is_by_colours(&way, service, carrier) => None,
        Err(why) => return Err(why),
    };
    Ok(Some((Carried { way, carrier }, live)))
}

/// Whether any of it still sends to a colour.
fn is_by_colours(way: &Way, service: &ServiceName, carrier: &Json) -> bool {
    match way {
        Way::Selector => false,
        Way::Ingress(_) => backends(carrier).any(|backend| is_action(backend, service.as_str())),
        Way::Route(_) => [Colour::Blue, Colour::Green]
            .into_iter()
            .any(|colour| ServiceName::new(&coloured(service, colour)).is_ok_and(|own| route_sends(&own, carrier))),
    }
}

/// The way back, before the plain Deployment comes up: a load balancer has a target group for the service itself again.
pub(super) fn beside(service: &ServiceName, carried: &Carried<'_>) -> Result<Option<Step>, String> {
    let Way::Ingress(ingress) = &carried.way else { return Ok(None) };
    let done = is_staged(service, carried.carrier) || !is_by_colours(&carried.way, service, carried.carrier);
    let after = if done { carried.carrier.clone() } else { ingress_beside(service, carried.carrier)? };
    Ok(Some(step(
        format!("Ingress {ingress} knows {service} itself again, and sends nothing to it yet"),
        &kinds::INGRESSES,
        Some(carried.carrier.clone()),
        Some(after),
        Then::TargetGroups { fronts: vec![service.to_string()] },
    )))
}

/// The way back, once the plain Deployment is up: what had the weights sends to the service itself.
pub(super) fn back(target: &TargetId, service: &ServiceName, carried: &Carried<'_>) -> Result<Step, String> {
    let beside = beside(service, carried)?.and_then(|step| step.after).unwrap_or_else(|| carried.carrier.clone());
    let is_by_colours = is_by_colours(&carried.way, service, &beside);
    let mut after = match &carried.way {
        _ if !is_by_colours => beside.clone(),
        Way::Ingress(_) => ingress_by_service(service, &beside)?,
        Way::Selector | Way::Route(_) => route_by_service(service, &beside),
    };
    // Other services' stay: they may share it.
    if let Some(annotations) = after["metadata"]["annotations"].as_object_mut() {
        annotations.remove(&weights_fence_key(target, service));
        annotations.remove(&weights_intention_key(target, service));
    }
    let kind = carried.way.carrier().map_or(&kinds::INGRESSES, |(kind, _)| kind);
    Ok(step(format!("{} sends to {service} itself again", carried.way), kind, Some(beside), Some(after), Then::Settle))
}
