//! What moves the traffic of services, and what is in its way.

use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::{Colour, Policy, Strategy, TrafficBy, percent};
use serde_json::Value as Json;

use super::{Finding, Found, Level, carrier};
use crate::backup::wire::shown;
use crate::objects::{COLOUR, TRAFFIC, coloured};
use crate::targets;
use crate::traffic::{refusal, routes_to};
use crate::weights::{self, Way};

/// Whether weights can move the traffic of a Service that says so; none = its selector does.
fn by_weights(found: &Found, front: &Json, service: &ServiceName) -> Option<Finding> {
    let fix = "put it right, or `portcullis cluster release` and adopt it anew";
    let wrong = |why: String| Finding::bad("traffic", Level::Fail, format!("{service}: {}", shown(&why)), fix);
    let way = match Way::of(front) {
        Ok(Way::Selector) => return None,
        Ok(way) => way,
        Err(why) => return Some(wrong(format!("it has {why}"))),
    };
    let Some((carrier, _)) = carrier(found, front, service) else {
        return Some(wrong(format!("there is no {way} that could be read, though its annotation {TRAFFIC} names it")));
    };
    let green = match weights::green(&way, service, &carrier) {
        Ok(green) => green,
        Err(why) => return Some(wrong(format!("weights that are not ours to read ({why})"))),
    };
    if matches!(way, Way::Ingress(_)) {
        for colour in [Colour::Blue, Colour::Green] {
            if let Err(why) = targets::bindings_of(&coloured(service, colour), &found.bindings) {
                return Some(wrong(why));
            }
        }
    }
    let share = percent(green);
    Some(Finding::ok("traffic", format!("{service}: the weights of {way} move it; green has {share}")))
}

/// Of each Service what moves its traffic, and whether it may.
pub(super) fn of_traffic(found: &Found, policy: &Policy, fronts: &[(&ServiceName, Json)]) -> Vec<Finding> {
    let Some(ingresses) = &found.ingresses else {
        let what = "what is in front of the Services is not known: Ingresses cannot be listed";
        return vec![Finding::bad("traffic", Level::Hold, what, "give the right above, and ask again")];
    };
    fronts.iter().map(|(service, front)| of_one(found, ingresses, policy, service, front)).collect()
}

fn of_one(found: &Found, ingresses: &[Json], policy: &Policy, service: &ServiceName, front: &Json) -> Finding {
    let wrong =
        |why: &str, fix: String| Finding::bad("traffic", Level::Fail, format!("{service}: {}", shown(why)), fix);
    let wanted = policy.traffic;
    let is_blue_green = matches!(policy.strategy, Strategy::BlueGreen { .. });
    let is_adopted = front["spec"]["selector"].get(COLOUR).is_some();
    if let Some(has) =
        Way::of(front).ok().map(|way| way.by()).filter(|has| is_adopted && is_blue_green && *has != wanted)
    {
        let fix =
            format!("one of the two: the policy, or `portcullis cluster release {}` and adopt it anew", policy.target);
        return wrong(&has.is_not(wanted), fix);
    }
    if let Some(finding) = by_weights(found, front, service) {
        return finding;
    }
    let Some(why) = refusal(front, ingresses, &found.bindings) else {
        return Finding::ok("traffic", format!("{service}: its Service's selector moves it at once"));
    };
    if !is_blue_green {
        return Finding::ok("traffic", format!("{service}: a load balancer to its pods; rolling moves it pod by pod"));
    }
    // Only an Ingress can have the weights instead.
    let can_have_weights = ingresses.iter().any(|ingress| routes_to(ingress, service.as_str()));
    let fix = match (can_have_weights, wanted) {
        (true, TrafficBy::Alb) => format!("let weights move it: `portcullis cluster adopt {}`", policy.target),
        (true, _) => {
            "let weights move it: write `traffic: alb` in the policy, then `portcullis cluster adopt` (adopted \
                      already: release it first); or use strategy: rolling here"
                .to_owned()
        }
        (false, _) => {
            "use strategy: rolling here, or a load balancer whose targets are nodes (target-type: instance)".to_owned()
        }
    };
    wrong(&why, fix)
}
