//! From where to where a rollback goes that has nothing but what the objects say of themselves. Pure.
//!
//! Portcullis writes on each object the fence of its last write (`portcullis.dev/fence…`) and what it was for
//! (`portcullis.dev/intention`), on a Service the colour that had the traffic before. A way back is only taken where these
//! say, beyond doubt, that the last step was one forward and what served before is untouched since. So it is never a
//! toggle: after it the last step is one back, and there is nothing more to do.

use std::collections::BTreeMap;

use portcullis_domain::action::{Fence, Stamp, Value};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{LedgerId, Seq, ServiceName, TargetId};
use portcullis_domain::policy::{ALL_TRAFFIC, Colour};
use portcullis_kubernetes::objects::{
    COLOUR, INTENTION, PREVIOUS, PREVIOUS_COLOUR, RELEASED, REPLICAS_BEFORE, SERVICE, annotation, colour_of, fence_key,
    label, name, weights_fence_key, weights_intention_key,
};
use portcullis_kubernetes::observe::{Picture, Workload, said_by_front, said_by_workload};
use portcullis_kubernetes::owners::{conflicts, written_fields};
use serde_json::Value as Json;

/// An epoch's numbers below this are ours. A ledger goes on counting when its epoch is raised, and one that is that short
/// has finished no release, so there would be nothing to go back from.
const OURS: u64 = 10;

/// What is done with one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Back {
    /// The old colour is claimed, traffic moves to it, the new one is scaled down.
    Switch {
        /// Where traffic goes.
        to: Up,
        /// What is scaled down after; none = it has no pods.
        from: Option<Down>,
    },
    /// A worker: the new one stops, the old one starts.
    Restart {
        /// What starts.
        to: Up,
        /// What stops first; none = nothing runs.
        from: Option<Down>,
    },
    /// The one Deployment gets the digest that it had before.
    InPlace(Up),
    /// There is nothing to go back from; why.
    Nothing(String),
    /// It cannot be known; why, and what to do.
    Cannot(String),
}

/// A colour that comes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Up {
    /// The colour.
    pub(super) colour: Colour,
    /// Its digest.
    pub(super) digest: Digest,
    /// Its pods.
    pub(super) replicas: u32,
    /// Pods that it is asked to have now.
    pub(super) now: u32,
}

/// A colour that goes down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Down {
    /// The colour.
    pub(super) colour: Colour,
    /// Its digest.
    pub(super) digest: Digest,
}

/// What a whole environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// What is done, by service.
    pub(super) services: BTreeMap<ServiceName, Back>,
    /// The fence of all of it: a new epoch, so that nothing that was meant before is accepted after.
    pub(super) fence: Fence,
    /// What a person should know first.
    pub(super) warnings: Vec<String>,
}

/// The services of a target that are in a namespace, by the fences on their objects.
pub(super) fn services(target: &TargetId, objects: &[Json]) -> Vec<ServiceName> {
    let key = fence_key(target);
    let mut names: Vec<ServiceName> = objects
        .iter()
        .filter(|object| annotation(object, &key).is_some())
        .filter_map(|object| ServiceName::new(label(object, SERVICE).unwrap_or_else(|| name(object))).ok())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// One object as it says.
struct Said<'a> {
    object: &'a Json,
    fence: Option<(u32, Seq)>,
    intention: &'a str,
    value: Value,
}

impl Said<'_> {
    fn is(&self, intentions: &[&str]) -> bool {
        intentions.contains(&self.intention)
    }
}

/// Plans the way back of a whole environment.
///
/// # Errors
/// No object has a fence of this target, or they are of several ledgers: in words.
pub(super) fn plan(target: &TargetId, pictures: &BTreeMap<ServiceName, Picture>) -> Result<Plan, String> {
    let key = fence_key(target);
    let mut newest: BTreeMap<LedgerId, (u32, Seq)> = BTreeMap::new();
    let on_objects = pictures.values().flat_map(objects).map(|object| annotation(object, &key));
    let on_weights = pictures.iter().filter_map(|(service, picture)| {
        Some(annotation(picture.carrier.as_ref()?, &weights_fence_key(target, service)))
    });
    for text in on_objects.chain(on_weights).flatten() {
        if let Ok(fence) = text.parse::<Fence>() {
            let known = newest.entry(fence.ledger).or_insert((fence.epoch, fence.seq));
            *known = (*known).max((fence.epoch, fence.seq));
        }
    }
    let (ledger, (epoch, seq)) = match newest.len() {
        0 => return Err(format!("no object has a mark of {target}: Portcullis never released it there")),
        1 => newest.pop_first().ok_or("the marks changed while they were read")?,
        _ => {
            let all: Vec<String> = newest.keys().map(ToString::to_string).collect();
            return Err(format!(
                "the objects are of several ledgers ({}): which one counts is for a person to say",
                all.join(", ")
            ));
        }
    };
    let services: BTreeMap<ServiceName, Back> =
        pictures.iter().map(|(service, picture)| (service.clone(), of_service(target, service, picture))).collect();
    // Again after an earlier one of ours: above that.
    let (epoch, seq) = if seq.0 < OURS { (epoch, Seq(seq.0 + 1)) } else { (epoch + 1, Seq(0)) };
    let mut warnings: Vec<String> = pictures.values().flat_map(objects).flat_map(writers).collect();
    warnings.sort();
    warnings.dedup();
    Ok(Plan { services, fence: Fence { ledger, epoch, seq }, warnings })
}

fn objects(picture: &Picture) -> impl Iterator<Item = &Json> {
    let workloads = [&picture.blue, &picture.green].into_iter().flatten().map(|workload| &workload.object);
    workloads.chain(&picture.traffic)
}

/// Who would undo it by themselves.
fn writers(object: &Json) -> Vec<String> {
    let containers = object["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
    let first = containers.into_iter().find_map(|container| container["name"].as_str()).unwrap_or_default();
    let found = conflicts(object, &written_fields(object, first)).into_iter();
    found.filter(|conflict| conflict.writer.writes_again()).map(|conflict| conflict.why).collect()
}

fn of_service(target: &TargetId, service: &ServiceName, picture: &Picture) -> Back {
    let workload = |colour: Colour| -> Result<Option<Said<'_>>, String> {
        let Some(workload) = picture.workload(colour) else { return Ok(None) };
        workload_said(target, service, workload, picture).map(Some)
    };
    let (blue, green) = match (workload(Colour::Blue), workload(Colour::Green)) {
        (Ok(blue), Ok(green)) => (blue, green),
        (Err(why), _) | (_, Err(why)) => return Back::Cannot(why),
    };
    match &picture.traffic {
        Some(front) => serving(target, service, (front, picture.carrier.as_ref()), blue.as_ref(), green.as_ref()),
        None => worker(blue.as_ref(), green.as_ref()),
    }
}

fn intention(object: &Json) -> &str {
    annotation(object, INTENTION).unwrap_or_default()
}

fn workload_said<'a>(
    target: &TargetId,
    service: &ServiceName,
    workload: &'a Workload,
    picture: &Picture,
) -> Result<Said<'a>, String> {
    let pods: Vec<&Json> = picture.pods.iter().collect();
    let object = &workload.object;
    // Where the image does not say the digest, the pods of both colours together would not say whose it is.
    let said = said_by_workload(target, service, workload, if picture.green.is_some() { &[] } else { &pods });
    let said = said.map_err(|why| format!("Deployment/{}: {why}", name(object)))?;
    stamp(said.stamp, said.foreign, object, "Deployment")
}

fn stamp<'a>(stamp: Option<Stamp>, foreign: Option<String>, object: &'a Json, kind: &str) -> Result<Said<'a>, String> {
    match (stamp, foreign) {
        (Some(Stamp { fence, value }), None) => {
            let fence = fence.map(|fence| (fence.epoch, fence.seq));
            Ok(Said { object, fence, intention: intention(object), value })
        }
        (_, foreign) => Err(format!(
            "{kind}/{} holds what Portcullis never wrote ({}): look at it, and change it by hand",
            name(object),
            foreign.unwrap_or_else(|| "no value".to_owned())
        )),
    }
}

fn up(said: &Said<'_>, colour: Colour, least: u32) -> Result<Up, String> {
    let Value::Workload { digest, replicas } = said.value else { return Err("it is no Deployment".to_owned()) };
    let released = annotation(said.object, RELEASED);
    if released.is_some_and(|released| released != digest.to_string()) {
        return Err(format!(
            "Deployment/{} runs another image than Portcullis put there: somebody changed it by hand",
            name(said.object)
        ));
    }
    let before = annotation(said.object, REPLICAS_BEFORE).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let wanted = if replicas > 0 { replicas } else { before.max(least) };
    if wanted == 0 {
        return Err(format!("how many pods Deployment/{} had is not known", name(said.object)));
    }
    Ok(Up { colour, digest, replicas: wanted, now: replicas })
}

fn down(said: &Said<'_>, colour: Colour) -> Option<Down> {
    match said.value {
        Value::Workload { digest, replicas } if replicas > 0 => Some(Down { colour, digest }),
        _ => None,
    }
}

fn pods(said: &Said<'_>) -> u32 {
    match said.value {
        Value::Workload { replicas, .. } => replicas,
        Value::Traffic { .. } => 0,
    }
}

fn serving(
    target: &TargetId,
    service: &ServiceName,
    (front, carrier): (&Json, Option<&Json>),
    blue: Option<&Said<'_>>,
    green: Option<&Said<'_>>,
) -> Back {
    let of = |colour| match colour {
        Colour::Blue => blue,
        Colour::Green => green,
    };
    let said = said_by_front(target, service, front, carrier);
    let said = match stamp(said.stamp, said.foreign, front, "Service") {
        Ok(said) => said,
        Err(why) => return Back::Cannot(why),
    };
    if let Some(carrier) = carrier
        && let Some(back) = between(front, annotation(carrier, &weights_intention_key(target, service)), &said, of)
    {
        return back;
    }
    let live = if said.value == (Value::Traffic { green: 10_000 }) { Colour::Green } else { Colour::Blue };
    let Some(now) = of(live) else {
        return Back::Cannot(format!("Service/{} sends to {live}, which has no Deployment", name(front)));
    };
    // One Deployment whose image is replaced: it was written after whatever was written on its Service.
    if now.is(&["deploy", "claim"]) && now.fence > said.fence {
        return in_place(now, live);
    }
    if said.is(&["restore"]) {
        return Back::Nothing("it was brought back already".to_owned());
    }
    if !said.is(&["switch"]) {
        return Back::Nothing("no release has moved its traffic".to_owned());
    }
    let to = annotation(front, PREVIOUS_COLOUR).and_then(colour_of);
    let Some(to) = to.filter(|to| *to != live) else {
        return Back::Cannot(format!("Service/{} does not say which colour had the traffic before", name(front)));
    };
    let Some(old) = of(to) else {
        return Back::Cannot(format!(
            "{to}, which served before, has no Deployment any more: restore it from a backup"
        ));
    };
    // What served before is what it was, unless something was written there after the traffic left it that was not its
    // own scaling down: then the next release is coming up in it, or was undone in it.
    let claimed_by_us = old.is(&["restore"]) && old.fence.is_some_and(|(_, seq)| seq.0 < OURS);
    if old.fence > said.fence && !old.is(&["drain"]) && !claimed_by_us {
        return Back::Nothing(format!(
            "the next release is in {to} ({}), and has not moved traffic; what serves was watched to its end",
            old.intention
        ));
    }
    match up(old, to, pods(now)) {
        Ok(to) => Back::Switch { to, from: down(now, live) },
        Err(why) => Back::Cannot(why),
    }
}

/// Weights that are on their way: the Service's selector follows them only at their end, so it still has the colour that
/// served before. None = they are at an end, and the Service is there, too. On their way back they are ahead of it: where
/// they already are is where it goes.
fn between<'a>(
    front: &Json,
    intention: Option<&str>,
    said: &Said<'_>,
    of: impl Fn(Colour) -> Option<&'a Said<'a>>,
) -> Option<Back> {
    let selected = front["spec"]["selector"][COLOUR].as_str().and_then(colour_of)?;
    let Value::Traffic { green } = said.value else { return None };
    if green == selected.share(ALL_TRAFFIC) {
        return None;
    }
    let goes_back = intention == Some("restore") && green == selected.other().share(ALL_TRAFFIC);
    let before = if goes_back { selected.other() } else { selected };
    let (Some(old), Some(new)) = (of(before), of(before.other())) else {
        return Some(Back::Cannot(format!("Service/{} has weight on a colour that has no Deployment", name(front))));
    };
    Some(match up(old, before, pods(new)) {
        Ok(to) => Back::Switch { to, from: down(new, before.other()) },
        Err(why) => Back::Cannot(why),
    })
}

fn in_place(now: &Said<'_>, colour: Colour) -> Back {
    let Value::Workload { digest, replicas } = now.value else { return Back::Cannot("it is no Deployment".to_owned()) };
    let before = annotation(now.object, PREVIOUS).and_then(|text| text.parse::<Digest>().ok());
    match before.filter(|before| *before != digest) {
        Some(before) => Back::InPlace(Up { colour, digest: before, replicas, now: replicas }),
        None => Back::Cannot(format!("Deployment/{} does not say what it ran before", name(now.object))),
    }
}

fn worker(blue: Option<&Said<'_>>, green: Option<&Said<'_>>) -> Back {
    let (blue, green) = match (blue, green) {
        (Some(blue), Some(green)) => (blue, green),
        (Some(only), None) if only.is(&["deploy", "claim"]) => return in_place(only, Colour::Blue),
        (None, Some(only)) if only.is(&["deploy", "claim"]) => return in_place(only, Colour::Green),
        (Some(_), None) | (None, Some(_)) => {
            return Back::Nothing("no release has put another colour beside it".to_owned());
        }
        (None, None) => return Back::Nothing("it has no Deployment".to_owned()),
    };
    let ((new, new_colour), (old, old_colour)) = if green.fence > blue.fence {
        ((green, Colour::Green), (blue, Colour::Blue))
    } else {
        ((blue, Colour::Blue), (green, Colour::Green))
    };
    let forward = &["deploy", "claim", "switch"];
    let back = |to: Result<Up, String>, from| match to {
        Ok(to) => Back::Restart { to, from },
        Err(why) => Back::Cannot(why),
    };
    if new.is(&["restore"]) {
        // One that was begun: the new one was stopped, and the old one not started yet.
        let begun = pods(new) == 0 && pods(old) == 0 && old.is(&["drain"]);
        if begun {
            return back(up(old, old_colour, 0), None);
        }
        return Back::Nothing("it was brought back already".to_owned());
    }
    match (new.is(forward), pods(new), old.is(&["drain"]), pods(old)) {
        // The new one runs; the old one was let go, or runs still.
        (true, 1.., true, _) | (true, 1.., false, 1..) if new.is(&["claim", "switch"]) => {
            back(up(old, old_colour, pods(new)), down(new, new_colour))
        }
        // The old one was let go last, and the new one has not started, or has beside it.
        _ if new.is(&["drain"]) && old.is(forward) => back(up(new, new_colour, pods(old)), down(old, old_colour)),
        _ => Back::Nothing("no release has started another one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target() -> TargetId {
        "shop/production".parse().unwrap()
    }

    fn digest(n: u8) -> Digest {
        Digest::of(&[n])
    }

    fn deployment(colour: &str, n: u8, replicas: u32, seq: u64, intention: &str) -> Workload {
        let annotations = json!({ "portcullis.dev/fence.shop.production": format!("l/1/{seq}"),
            "portcullis.dev/released-digest": digest(n).to_string(), "portcullis.dev/intention": intention,
            "portcullis.dev/replicas-before": "3" });
        let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": format!("web-{colour}"), "annotations": annotations,
                "labels": { "portcullis.dev/service": "web", "portcullis.dev/colour": colour } },
            "spec": { "replicas": replicas, "template": { "spec": {
                "containers": [{ "name": "web", "image": format!("r/web@{}", digest(n)) }] } } } });
        Workload { object, plain: false }
    }

    fn front(colour: &str, before: &str, seq: u64, intention: &str) -> Json {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "annotations": {
            "portcullis.dev/fence.shop.production": format!("l/1/{seq}"), "portcullis.dev/intention": intention,
            "portcullis.dev/previous-colour": before } },
            "spec": { "selector": { "app": "web", "portcullis.dev/colour": colour } } })
    }

    fn planned(blue: Workload, green: Workload, traffic: Option<Json>) -> Plan {
        let picture = Picture { blue: Some(blue), green: Some(green), traffic, ..Picture::default() };
        plan(&target(), &BTreeMap::from([(ServiceName::new("web").unwrap(), picture)])).unwrap()
    }

    fn back(blue: Workload, green: Workload, traffic: Option<Json>) -> Back {
        planned(blue, green, traffic).services.into_values().next().unwrap()
    }

    fn up(colour: Colour, n: u8, now: u32) -> Up {
        Up { colour, digest: digest(n), replicas: 3, now }
    }

    fn gone(colour: Colour, n: u8) -> Down {
        Down { colour, digest: digest(n) }
    }

    #[test]
    fn after_a_switch_traffic_goes_back_to_the_colour_that_had_it_drained_or_not() {
        for blue in [deployment("blue", 1, 3, 10, "claim"), deployment("blue", 1, 0, 30, "drain")] {
            let now = blue.object["spec"]["replicas"].as_u64().unwrap();
            let plan =
                planned(blue, deployment("green", 2, 3, 20, "claim"), Some(front("green", "blue", 25, "switch")));
            let to = up(Colour::Blue, 1, u32::try_from(now).unwrap());
            let wanted = Back::Switch { to, from: Some(gone(Colour::Green, 2)) };
            assert_eq!(plan.services.into_values().next().unwrap(), wanted);
            assert_eq!(plan.fence.to_string(), "l/2/0", "nothing that was meant before is accepted after");
        }
    }

    #[test]
    fn it_is_never_a_toggle_and_never_a_step_forward() {
        let blue = || deployment("blue", 1, 3, 10, "claim");
        let green = |intention| deployment("green", 2, 0, 40, intention);
        for (what, back) in [
            ("brought back already", back(blue(), green("restore"), Some(front("blue", "green", 35, "restore")))),
            ("no release has moved", back(blue(), green("deploy"), Some(front("blue", "", 12, "mark")))),
            // Blue serves since the last switch; the next release comes up in green, and was never approved to serve.
            ("the next release is in green", back(blue(), green("deploy"), Some(front("blue", "green", 20, "switch")))),
            ("the next release is in green", back(blue(), green("claim"), Some(front("blue", "green", 20, "switch")))),
            (
                "the next release is in green",
                back(blue(), green("restore"), Some(front("blue", "green", 20, "switch"))),
            ),
        ] {
            assert!(matches!(&back, Back::Nothing(why) if why.contains(what)), "{what}: {back:?}");
        }
    }

    #[test]
    fn weights_that_are_on_their_way_go_back_to_what_served_and_never_forward() {
        let front = |colour: &str, seq| {
            let mut front = front(colour, "", seq, "switch");
            front["metadata"]["annotations"]["portcullis.dev/traffic"] = "httproute/shop".into();
            front
        };
        let route = |blue: u64, green: u64, seq: u64, intention: &str| {
            json!({ "metadata": { "name": "shop", "annotations": {
                "portcullis.dev/fence.shop.production.web": format!("l/1/{seq}"),
                "portcullis.dev/intention.shop.production.web": intention } },
                "spec": { "rules": [{ "backendRefs": [{ "name": "web-blue", "weight": blue },
                    { "name": "web-green", "weight": green }] }] } })
        };
        let planned = |traffic: Json, carrier: Option<Json>| {
            let (blue, green) = (deployment("blue", 1, 3, 10, "claim"), deployment("green", 2, 3, 20, "claim"));
            let picture =
                Picture { blue: Some(blue), green: Some(green), traffic: Some(traffic), carrier, ..Picture::default() };
            plan(&target(), &BTreeMap::from([(ServiceName::new("web").unwrap(), picture)])).unwrap()
        };
        let back = |traffic, carrier| planned(traffic, carrier).services.into_values().next().unwrap();
        let to_blue = Back::Switch { to: up(Colour::Blue, 1, 3), from: Some(gone(Colour::Green, 2)) };
        // In the middle; at the end, but not the Service yet; on the way back, and not the Service yet.
        assert_eq!(back(front("blue", 5), Some(route(75, 25, 25, "switch"))), to_blue);
        assert_eq!(back(front("blue", 5), Some(route(0, 100, 25, "switch"))), to_blue);
        assert_eq!(back(front("green", 25), Some(route(100, 0, 30, "restore"))), to_blue);
        // What is on the weights is above what is on all other objects.
        assert_eq!(planned(front("blue", 5), Some(route(75, 25, 25, "switch"))).fence.to_string(), "l/2/0");
        assert_eq!(planned(front("blue", 5), Some(route(75, 25, 3, "switch"))).fence.to_string(), "l/2/0");
        // At their end they say what a Service says.
        let mut done = front("green", 25);
        done["metadata"]["annotations"]["portcullis.dev/previous-colour"] = "blue".into();
        assert_eq!(back(done, Some(route(0, 100, 25, "switch"))), to_blue);
        let found = back(front("blue", 5), Some(route(2, 1, 25, "switch")));
        assert!(matches!(&found, Back::Cannot(why) if why.contains("weights that are not ours")), "{found:?}");
        assert!(matches!(back(front("blue", 5), None), Back::Cannot(_)), "what it names is not there");
    }

    #[test]
    fn what_somebody_changed_by_hand_is_for_a_person() {
        let mut blue = deployment("blue", 1, 3, 10, "claim");
        blue.object["spec"]["template"]["spec"]["containers"][0]["image"] = format!("r/web@{}", digest(9)).into();
        let green = || deployment("green", 2, 3, 20, "claim");
        let found = back(blue, green(), Some(front("green", "blue", 25, "switch")));
        assert!(matches!(&found, Back::Cannot(why) if why.contains("by hand")), "{found:?}");
        let mut odd = front("green", "blue", 25, "switch");
        odd["spec"]["selector"]["portcullis.dev/colour"] = "red".into();
        let found = back(deployment("blue", 1, 3, 10, "claim"), green(), Some(odd));
        assert!(matches!(found, Back::Cannot(_)), "{found:?}");
    }

    #[test]
    fn a_worker_stops_before_the_one_before_it_starts() {
        let blue = |replicas, seq| deployment("blue", 1, replicas, seq, "drain");
        let green = |replicas, seq, intention| deployment("green", 2, replicas, seq, intention);
        let restart = |from| Back::Restart { to: up(Colour::Blue, 1, 0), from };
        assert_eq!(
            back(blue(0, 20), green(3, 30, "claim"), None),
            restart(Some(gone(Colour::Green, 2))),
            "one after the other"
        );
        assert_eq!(
            back(blue(0, 40), green(3, 30, "claim"), None),
            restart(Some(gone(Colour::Green, 2))),
            "beside each other"
        );
        assert_eq!(back(blue(0, 40), green(0, 30, "deploy"), None), restart(None), "neither runs");
        assert_eq!(back(blue(0, 20), green(0, 40, "restore"), None), restart(None), "a way back that was begun");
        let restored = deployment("blue", 1, 3, 20, "restore");
        let back_again = Back::Restart { to: up(Colour::Blue, 1, 3), from: Some(gone(Colour::Green, 2)) };
        assert_eq!(
            back(restored, green(3, 30, "claim"), None),
            back_again,
            "the next release, beside what was restored"
        );
        for (blue, green) in
            [(blue(0, 20), green(0, 30, "deploy")), (deployment("blue", 1, 3, 40, "restore"), green(0, 30, "restore"))]
        {
            let found = back(blue, green, None);
            assert!(matches!(found, Back::Nothing(_)), "{found:?}");
        }
    }

    #[test]
    fn an_image_that_was_replaced_in_place_goes_back_to_the_one_before() {
        let mut only = deployment("blue", 2, 3, 30, "deploy");
        only.object["metadata"]["annotations"][PREVIOUS] = digest(1).to_string().into();
        let picture = Picture { blue: Some(only), traffic: Some(front("blue", "", 5, "mark")), ..Picture::default() };
        let plan = plan(&target(), &BTreeMap::from([(ServiceName::new("web").unwrap(), picture)])).unwrap();
        assert_eq!(plan.services.into_values().next().unwrap(), Back::InPlace(up(Colour::Blue, 1, 3)));
    }

    #[test]
    fn an_earlier_attempt_is_gone_on_from_above_it() {
        let mut blue = deployment("blue", 1, 3, 10, "restore");
        blue.object["metadata"]["annotations"]["portcullis.dev/fence.shop.production"] = "l/2/0".into();
        let plan = planned(blue, deployment("green", 2, 3, 20, "claim"), Some(front("green", "blue", 25, "switch")));
        assert_eq!(plan.fence.to_string(), "l/2/1");
        let back = plan.services.into_values().next().unwrap();
        assert!(matches!(&back, Back::Switch { to, .. } if to.colour == Colour::Blue), "{back:?}");
    }

    #[test]
    fn objects_of_two_ledgers_are_not_touched() {
        let mut green = deployment("green", 2, 3, 20, "claim");
        green.object["metadata"]["annotations"]["portcullis.dev/fence.shop.production"] = "other/1/20".into();
        let picture =
            Picture { blue: Some(deployment("blue", 1, 3, 10, "claim")), green: Some(green), ..Picture::default() };
        let pictures = BTreeMap::from([(ServiceName::new("web").unwrap(), picture)]);
        assert!(plan(&target(), &pictures).unwrap_err().contains("several ledgers"));
        assert!(plan(&target(), &BTreeMap::new()).unwrap_err().contains("never released it there"));
    }
}
