//! What is done to adopt a service, and to let it go again. Pure: what is there in, steps out.

use std::collections::BTreeSet;

use portcullis_domain::action::Value;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use serde_json::{Value as Json, json};

use super::weights::{self, Carried};
use super::{AdoptOptions, Plan, Situation, Step, Then};
use crate::client::{Kind, kinds};
use crate::colour::{Copy, own_bounds};
use crate::objects::{
    ADOPTED, APPLICATION, COLOUR, LEAST_BEFORE, MOST_BEFORE, OURS, RELEASED, REPLICAS_BEFORE, SERVICE, WARNING,
    annotation, colour_of, coloured, name,
};
use crate::observe::{Workload, is_observed, is_scaled_by, is_under, replicas, said_by_workload, selects};
use crate::targets::INJECT;
use crate::weights::Way;

pub(super) fn step(what: String, kind: &Kind, before: Option<Json>, after: Option<Json>, then: Then) -> Step {
    let name = after.as_ref().or(before.as_ref()).map(name).unwrap_or_default().to_owned();
    Step { what, kind: *kind, name, before, after, applied: None, unless_grown: None, then }
}

pub(super) fn annotate(object: &mut Json, key: &str, value: &str) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][key] = value.into();
}

fn label(object: &mut Json, key: &str, value: &str) {
    if !object["metadata"]["labels"].is_object() {
        object["metadata"]["labels"] = json!({});
    }
    object["metadata"]["labels"][key] = value.into();
}

/// Takes every label and annotation of ours off.
fn without_ours(object: &mut Json) {
    for map in ["labels", "annotations"] {
        if let Some(map) = object["metadata"][map].as_object_mut() {
            map.retain(|key, _| !key.starts_with(OURS));
        }
    }
}

/// Adopting: blue beside the plain one, then instead of it.
pub(super) fn adoption(target: &TargetId, service: &ServiceName, there: &Situation, options: &AdoptOptions) -> Plan {
    let mut plan = Plan::default();
    let blue_name = coloured(service, Colour::Blue);
    let Some(original) = there.deployment(service.as_str()) else {
        plan.refusals.push(match there.deployment(&blue_name) {
            Some(_) => format!("{service} is adopted already"),
            None => format!("there is no Deployment {service}"),
        });
        return plan;
    };
    let blue = there.deployment(&blue_name);
    let is_done = annotation(original, ADOPTED).is_some();
    if let Some(other) = annotation(original, ADOPTED).filter(|other| *other != target.to_string()) {
        plan.refusals.push(format!("it was adopted by {other}"));
    }
    if !is_done && (!is_observed(original) || is_rolling_out(original)) {
        plan.refusals.push(format!("the Deployment {service} is being rolled out: wait until it is done"));
    }
    let carried = weights::wanted(service, there, options, is_done).unwrap_or_else(|why| {
        plan.refusals.push(why);
        None
    });
    let by_load_balancer = carried.as_ref().is_some_and(|carried| matches!(carried.way, Way::Ingress(_)));
    if let Some(behind) = there.behind.as_ref().filter(|_| !options.selector_everywhere && !by_load_balancer) {
        plan.refusals.push(behind.clone());
    }
    if by_load_balancer && there.injects.is_none() {
        plan.warnings.push(format!(
            "whether pods of the namespace get readiness gates cannot be read: it needs the label {INJECT}=enabled"
        ));
    }
    let pods: Vec<&Json> = there.pods.iter().collect();
    let digest = match said_by_workload(target, service, &Workload { object: original.clone(), plain: true }, &pods) {
        Ok(said) => said.stamp.map(|stamp| stamp.value),
        // Its pods are gone: what they ran was noted before they went.
        Err(_) if is_done => annotation(original, RELEASED)
            .and_then(|text| text.parse().ok())
            .map(|digest| Value::Workload { digest, replicas: 0 }),
        Err(why) => {
            plan.refusals.push(why);
            None
        }
    };
    plan.warnings.extend(trips(original));
    let copy = Copy { target, service, colour: Colour::Blue };
    let made = match (blue, digest) {
        (Some(blue), _) => Ok(Some(blue.clone())),
        (None, Some(Value::Workload { digest, .. })) => copy.deployment(original, &digest).map(Some),
        _ => Ok(None),
    };
    let made = match made {
        Ok(Some(made)) if plan.refusals.is_empty() => made,
        Ok(_) => return plan,
        Err(why) => {
            plan.refusals.push(why);
            return plan;
        }
    };
    let before =
        annotation(original, REPLICAS_BEFORE).and_then(|text| text.parse().ok()).filter(|_| is_done && blue.is_none());
    let wanted = replicas(original).max(blue.map_or(0, replicas)).max(before.unwrap_or(0));
    let serves = there.front.is_some();
    let mut up = made;
    up["spec"]["replicas"] = wanted.into();
    label(&mut up, SERVICE, service.as_str());
    let then = match &carried {
        // Once it is done blue need not be what serves.
        Some(carried) if !is_done => weights::up(service, carried, blue_name.clone(), wanted),
        Some(_) => Then::Go,
        None => Then::Ready { deployment: blue_name.clone(), replicas: wanted, serves },
    };
    let bring_up = step(
        format!("a blue copy of {service} comes up with {wanted} pods, of exactly the digest that runs"),
        &kinds::DEPLOYMENTS,
        blue.cloned(),
        Some(up.clone()),
        then,
    );
    let rest = to_rest(target, service, original, digest);
    // A worker whose pods must not run twice stops first.
    let first_stop = !serves && !options.overlap;
    if first_stop {
        plan.steps.push(rest.clone());
    }
    let (before, after) = match around(target, service, there, carried.as_ref()) {
        Ok(around) => around,
        Err(why) => {
            plan.refusals.push(why);
            plan.steps.clear();
            return plan;
        }
    };
    plan.steps.extend(before);
    plan.steps.push(bring_up);
    plan.steps.extend(after);
    if let Some(front) = &there.front {
        let said = carried.as_ref().map_or_else(|| front.clone(), |carried| weights::says(front, &carried.way));
        let mut narrowed = said.clone();
        narrowed["spec"]["selector"][COLOUR] = "blue".into();
        label(&mut narrowed, SERVICE, service.as_str());
        label(&mut narrowed, APPLICATION, target.app.as_str());
        let has_colour = front["spec"]["selector"].get(COLOUR).is_some();
        let after = if has_colour { said } else { narrowed };
        let serving = has_colour.then(|| front["spec"]["selector"][COLOUR].as_str().and_then(colour_of)).flatten();
        let deployment = coloured(service, serving.unwrap_or(Colour::Blue));
        let mut narrow = step(
            format!("the Service {service} sends to blue only"),
            &kinds::SERVICES,
            Some(front.clone()),
            Some(after),
            Then::Alone { deployment },
        );
        narrow.unless_grown = (!has_colour).then(|| (service.to_string(), wanted));
        plan.steps.push(narrow);
    }
    plan.steps.extend(there.autoscalers.iter().filter(|one| is_scaled_by(original, one)).map(|autoscaler| {
        let mut after = autoscaler.clone();
        after["spec"]["scaleTargetRef"]["name"] = blue_name.as_str().into();
        step(
            format!("the autoscaler {} scales blue", name(autoscaler)),
            &kinds::AUTOSCALERS,
            Some(autoscaler.clone()),
            Some(after),
            Then::Go,
        )
    }));
    for budget in there.budgets.iter().filter(|budget| is_under(original, budget)) {
        let others: BTreeSet<&str> = there
            .deployments
            .iter()
            .filter(|other| {
                is_under(other, budget)
                    && *other != original
                    && crate::objects::label(other, SERVICE) != Some(service.as_str())
            })
            .map(name)
            .collect();
        if !others.is_empty() {
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            plan.warnings.push(format!(
                "the disruption budget {} is for {others}, too: it stays as it is, and counts both colours",
                name(budget)
            ));
            continue;
        }
        let mut after = budget.clone();
        after["spec"]["selector"]["matchLabels"][COLOUR] = "blue".into();
        plan.steps.push(step(
            format!("the disruption budget {} protects blue", name(budget)),
            &kinds::BUDGETS,
            Some(budget.clone()),
            Some(after),
            Then::Go,
        ));
    }
    if !first_stop {
        plan.steps.push(rest);
    }
    plan
}

/// What is done before and after blue's pods come up, where weights move the traffic.
fn around(
    target: &TargetId,
    service: &ServiceName,
    there: &Situation,
    carried: Option<&Carried<'_>>,
) -> Result<(Vec<Step>, Option<Step>), String> {
    match (carried, &there.front) {
        (Some(carried), Some(front)) => {
            let before = weights::before(target, service, there, carried, front)?;
            Ok((before, Some(weights::after(service, carried)?)))
        }
        _ => Ok((Vec::new(), None)),
    }
}

/// Whether a Deployment's pods are not all of its present template, ready.
fn is_rolling_out(deployment: &Json) -> bool {
    let count = |key: &str| deployment["status"][key].as_u64().unwrap_or(0);
    let wanted = u64::from(replicas(deployment));
    // Where nothing is said of updated pods (an object that never ran) nothing is rolled out.
    let updated = deployment["status"].get("updatedReplicas").is_some();
    updated && (count("updatedReplicas") < wanted || count("replicas") > count("updatedReplicas"))
}

/// The plain one at rest, kept, with what a person should know on it.
fn to_rest(target: &TargetId, service: &ServiceName, plain: &Json, runs: Option<Value>) -> Step {
    let mut after = plain.clone();
    if let Some(Value::Workload { digest, .. }) = runs {
        annotate(&mut after, RELEASED, &digest.to_string());
    }
    if replicas(plain) > 0 {
        annotate(&mut after, REPLICAS_BEFORE, &replicas(plain).to_string());
    }
    annotate(&mut after, ADOPTED, &target.to_string());
    let warning = format!(
        "Kept at rest: {service} is deployed by Portcullis as {service}-blue and {service}-green. Changing this object \
         changes nothing that serves. `portcullis cluster release` brings it back."
    );
    annotate(&mut after, WARNING, &warning);
    after["spec"]["replicas"] = 0.into();
    step(
        format!("the Deployment {service} goes to rest, and is kept"),
        &kinds::DEPLOYMENTS,
        Some(plain.clone()),
        Some(after),
        Then::Gone { deployment: service.to_string() },
    )
}

/// What two colours side by side may trip over.
fn trips(plain: &Json) -> Vec<String> {
    let pod = &plain["spec"]["template"]["spec"];
    let labels = &plain["spec"]["template"]["metadata"]["labels"];
    let mut found = Vec::new();
    let apart = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"].as_array();
    if apart.into_iter().flatten().any(|term| selects(&term["labelSelector"], labels)) {
        found.push(
            "its pods must not share a node with pods of the same labels: two colours at once need twice the nodes"
                .into(),
        );
    }
    let claims = pod["volumes"].as_array().into_iter().flatten();
    let claims: Vec<&str> = claims.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str()).collect();
    if !claims.is_empty() {
        found.push(format!(
            "its pods mount {}: both colours write to it at once, and where it can be mounted by one node only the other \
             colour does not come up",
            claims.join(", ")
        ));
    }
    if pod["hostNetwork"] == true
        || pod["containers"].as_array().into_iter().flatten().any(|container| {
            container["ports"].as_array().into_iter().flatten().any(|port| port["hostPort"].as_u64().unwrap_or(0) > 0)
        })
    {
        found.push("its pods take ports of their nodes: two colours at once need twice the nodes".into());
    }
    found
}

/// Releasing: the plain one beside the live colour, then instead of both.
pub(super) fn release(target: &TargetId, service: &ServiceName, there: &Situation, options: &AdoptOptions) -> Plan {
    let mut plan = Plan::default();
    let names = [Colour::Blue, Colour::Green].map(|colour| coloured(service, colour));
    let colours: Vec<&Json> = names.iter().filter_map(|name| there.deployment(name)).collect();
    let carried = match weights::released(service, there) {
        Ok(carried) => carried,
        Err(why) => {
            plan.refusals.push(why);
            return plan;
        }
    };
    let by_weight = carried.as_ref().and_then(|(_, live)| *live);
    let by_weight = by_weight.and_then(|colour| there.deployment(&coloured(service, colour)));
    let Some(live) = by_weight.or_else(|| live(there, &colours)) else {
        plan.refusals.push(if colours.is_empty() {
            format!("{service} has no colours: there is nothing to release")
        } else {
            format!("which colour of {service} is live is not known")
        });
        return plan;
    };
    let carried = carried.map(|(carried, _)| carried);
    let unguarded = !options.selector_everywhere && there.front.is_some() && carried.is_none();
    if let Some(behind) = there.behind.as_ref().filter(|_| unguarded) {
        plan.refusals.push(behind.clone());
        return plan;
    }
    let serves = there.front.is_some();
    let wanted = replicas(live);
    // Pods of the other colour would get requests as soon as the Service is wide again.
    plan.steps.extend(colours.iter().filter(|other| name(other) != name(live) && replicas(other) > 0).map(|other| {
        let mut after = (*other).clone();
        after["spec"]["replicas"] = 0.into();
        let then = Then::Gone { deployment: name(other).to_owned() };
        step(format!("{} goes to rest", name(other)), &kinds::DEPLOYMENTS, Some((*other).clone()), Some(after), then)
    }));
    let original = there.deployment(service.as_str());
    let mut up = original.cloned().unwrap_or_else(|| without_colour(service, live));
    up["spec"]["template"] = plain_template(live);
    up["spec"]["replicas"] = wanted.into();
    without_ours(&mut up);
    let then = match &carried {
        Some(carried) => Then::Behind {
            deployment: service.to_string(),
            replicas: wanted,
            fronts: vec![service.to_string()],
            healthy: matches!(carried.way, Way::Ingress(_)),
        },
        None => Then::Ready { deployment: service.to_string(), replicas: wanted, serves: false },
    };
    let bring_up = step(
        format!("the Deployment {service} comes up with {wanted} pods, as {} runs them", name(live)),
        &kinds::DEPLOYMENTS,
        original.cloned(),
        Some(up),
        then,
    );
    let mut live_rests = live.clone();
    live_rests["spec"]["replicas"] = 0.into();
    let live_rests = step(
        format!("{} goes to rest", name(live)),
        &kinds::DEPLOYMENTS,
        Some(live.clone()),
        Some(live_rests),
        Then::Gone { deployment: name(live).to_owned() },
    );
    let first_stop = !serves && !options.overlap;
    if first_stop {
        plan.steps.push(live_rests.clone());
    }
    if let (Some(carried), Some(front)) = (&carried, &there.front) {
        match back_from_weights(target, service, carried, front, live, bring_up) {
            Ok(steps) => plan.steps.extend(steps),
            Err(why) => {
                plan.refusals.push(why);
                plan.steps.clear();
                return plan;
            }
        }
    } else {
        plan.steps.push(bring_up);
    }
    if let Some(front) = there.front.as_ref().filter(|_| carried.is_none()) {
        let mut wide = front.clone();
        without_ours(&mut wide);
        if let Some(selector) = wide["spec"]["selector"].as_object_mut() {
            selector.remove(COLOUR);
        }
        let then = Then::Ready { deployment: service.to_string(), replicas: wanted, serves: true };
        let mut widen = step(
            format!("the Service {service} sends to all its pods again"),
            &kinds::SERVICES,
            Some(front.clone()),
            Some(wide),
            then,
        );
        widen.unless_grown = Some((name(live).to_owned(), wanted));
        plan.steps.push(widen);
    }
    plan.steps.extend(scaling_back(service, there, &names));
    plan.steps.extend(budgets_back(there, &colours, &names));
    if !first_stop {
        plan.steps.push(live_rests);
    }
    // Only now: what would be forgotten with them nobody needs any more.
    for colour in &colours {
        // As it will be by then: only its name counts.
        let what = format!("{} is deleted", name(colour));
        plan.steps.push(step(what, &kinds::DEPLOYMENTS, Some((*colour).clone()), None, Then::Go));
    }
    plan.steps.extend(
        there.own_fronts.iter().filter(|own| crate::objects::label(own, SERVICE) == Some(service.as_str())).map(
            |own| {
                step(
                    format!("the Service {} is deleted", name(own)),
                    &kinds::SERVICES,
                    Some(own.clone()),
                    None,
                    Then::Go,
                )
            },
        ),
    );
    plan.warnings
        .push(format!("the fences of {target} are forgotten with it: end its releases first, or put its hands off"));
    plan
}

/// From weights back to the Service. It is widened first, while only the live colour has pods: what comes up then is one
/// of its targets, and the pods get their gates. What says that there are weights goes last.
fn back_from_weights(
    target: &TargetId,
    service: &ServiceName,
    carried: &Carried<'_>,
    front: &Json,
    live: &Json,
    bring_up: Step,
) -> Result<Vec<Step>, String> {
    let mut wide = front.clone();
    if let Some(selector) = wide["spec"]["selector"].as_object_mut() {
        selector.remove(COLOUR);
    }
    let mut steps = vec![step(
        format!("the Service {service} selects all its pods again"),
        &kinds::SERVICES,
        Some(front.clone()),
        Some(wide.clone()),
        Then::Ready { deployment: name(live).to_owned(), replicas: replicas(live), serves: true },
    )];
    steps.extend(weights::beside(service, carried)?);
    steps.push(bring_up);
    let mut back = weights::back(target, service, carried)?;
    back.unless_grown = Some((name(live).to_owned(), replicas(live)));
    steps.push(back);
    let mut plain = wide.clone();
    without_ours(&mut plain);
    let what = format!("the Service {service} says nothing of Portcullis any more");
    steps.push(step(what, &kinds::SERVICES, Some(wide), Some(plain), Then::Go));
    Ok(steps)
}

fn live<'a>(there: &Situation, colours: &[&'a Json]) -> Option<&'a Json> {
    let of =
        |colour: &str| colours.iter().copied().find(|one| one["spec"]["selector"]["matchLabels"][COLOUR] == colour);
    match &there.front {
        Some(front) => match front["spec"]["selector"].get(COLOUR).and_then(Json::as_str) {
            Some(colour) => of(colour),
            // A release that was begun: whoever has pods.
            None => colours.iter().copied().max_by_key(|one| replicas(one)),
        },
        None => colours.iter().copied().max_by_key(|one| replicas(one)),
    }
}

fn plain_template(live: &Json) -> Json {
    let mut template = live["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.retain(|key, _| !key.starts_with(OURS));
    }
    template
}

/// A plain Deployment where the original is lost.
fn without_colour(service: &ServiceName, live: &Json) -> Json {
    let mut spec = live["spec"].clone();
    if let Some(matching) = spec["selector"]["matchLabels"].as_object_mut() {
        matching.retain(|key, _| !key.starts_with(OURS));
        if matching.is_empty() {
            matching.insert("app.kubernetes.io/name".into(), service.as_str().into());
        }
    }
    let labels = live["metadata"]["labels"].clone();
    let mut object = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": service.as_str(), "labels": labels, "annotations": {} }, "spec": spec });
    without_ours(&mut object);
    object
}

/// The autoscaler that is not one of our copies goes back to the plain Deployment; copies are deleted.
fn scaling_back(service: &ServiceName, there: &Situation, names: &[String; 2]) -> Vec<Step> {
    let of_colours = |one: &&Json| names.iter().any(|name| one["spec"]["scaleTargetRef"]["name"] == name.as_str());
    let all: Vec<&Json> = there.autoscalers.iter().filter(of_colours).collect();
    let is_copy = |one: &Json| names.iter().any(|own| own == name(one));
    let back = |one: &Json| {
        let (least, most) = own_bounds(one);
        let mut after = one.clone();
        if annotation(one, LEAST_BEFORE).is_some() || annotation(one, MOST_BEFORE).is_some() {
            after["spec"]["minReplicas"] = least.unwrap_or(1).into();
            after["spec"]["maxReplicas"] = most.into();
        }
        after["spec"]["scaleTargetRef"]["name"] = service.as_str().into();
        without_ours(&mut after);
        after
    };
    let mut steps = Vec::new();
    match (all.iter().find(|one| !is_copy(one)), all.first()) {
        (Some(original), _) => {
            let what = format!("the autoscaler {} scales {service}", name(original));
            steps.push(step(what, &kinds::AUTOSCALERS, Some((*original).clone()), Some(back(original)), Then::Go));
        }
        (None, Some(copy)) => {
            let after = back(copy);
            let mut new = json!({ "apiVersion": copy["apiVersion"], "kind": copy["kind"],
                "metadata": { "name": service.as_str(), "labels": after["metadata"]["labels"] }, "spec": after["spec"] });
            without_ours(&mut new);
            let what = format!("an autoscaler {service} as {} was", name(copy));
            steps.push(step(what, &kinds::AUTOSCALERS, None, Some(new), Then::Go));
        }
        (None, None) => {}
    }
    steps.extend(all.iter().filter(|one| is_copy(one)).map(|copy| {
        let what = format!("the autoscaler {} is deleted", name(copy));
        step(what, &kinds::AUTOSCALERS, Some((*copy).clone()), None, Then::Go)
    }));
    steps
}

fn budgets_back(there: &Situation, colours: &[&Json], names: &[String; 2]) -> Vec<Step> {
    let narrowed = |budget: &&Json| {
        budget["spec"]["selector"]["matchLabels"].get(COLOUR).is_some()
            && colours.iter().any(|colour| is_under(colour, budget))
    };
    let all = there.budgets.iter().filter(narrowed);
    all.map(|budget| {
        if names.iter().any(|own| own == name(budget)) {
            let what = format!("the disruption budget {} is deleted", name(budget));
            return step(what, &kinds::BUDGETS, Some(budget.clone()), None, Then::Go);
        }
        let mut after = budget.clone();
        if let Some(matching) = after["spec"]["selector"]["matchLabels"].as_object_mut() {
            matching.remove(COLOUR);
        }
        let what = format!("the disruption budget {} protects all pods again", name(budget));
        step(what, &kinds::BUDGETS, Some(budget.clone()), Some(after), Then::Go)
    })
    .collect()
}
