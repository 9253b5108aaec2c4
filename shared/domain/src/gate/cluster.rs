//! Gate `cluster`: the objects can be read, are ours to write, and nothing asked for is missing.

use super::{Case, plural};
use crate::action::{ObjectKey, Value};
use crate::policy::{ALL_TRAFFIC, Colour, Mode, Service, Strategy, percent};
use crate::verdict::GateResult;

/// What was asked for was learned, and no object carries somebody else's fence.
pub(super) fn judge(case: &Case<'_>) -> GateResult {
    let mut parts: Vec<GateResult> = case
        .facts
        .missing
        .iter()
        .map(|(source, why)| GateResult::hold(source, format!("{source}: {why}"), format!("{source} answers again")))
        .collect();
    if let Some(doubt) = &case.release.doubt {
        parts.push(GateResult::hold("doubt", doubt.clone(), "we have looked ourselves"));
    }
    if case.facts.objects.is_empty() && case.facts.missing.is_empty() {
        parts.push(GateResult::hold("objects", "the cluster was not read yet", "the cluster answers"));
    }
    for (object, found) in &case.facts.objects {
        let foreign = found.foreign.clone().or_else(|| {
            let fence = found.stamp.as_ref()?.fence.as_ref()?;
            (fence.ledger != case.given.ledger).then(|| fence.to_string())
        });
        if let Some(foreign) = foreign.as_ref().filter(|_| found.stamp.is_none()) {
            let by = found.written_by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
            parts.push(GateResult::hold(
                "value",
                format!("{object} has {foreign}, which Portcullis never wrote{by}"),
                "a person puts it right",
            ));
        } else if let Some(foreign) = foreign {
            parts.push(GateResult::hold(
                "fence",
                format!("{object} carries the fence of another ledger: {foreign}"),
                "the other installation gives the object up, or its annotation is removed by a person",
            ));
        }
        let fence = found.stamp.as_ref().and_then(|stamp| stamp.fence.as_ref());
        if let Some(fence) = fence.filter(|_| case.target.is_beyond(&case.given.ledger, object, found)) {
            parts.push(GateResult::hold(
                "ledger",
                format!("{object} carries {fence}, which this ledger never issued: it was restored from a backup"),
                "a person raises the epoch",
            ));
        }
    }
    let of = |service| astray(case, service).or_else(|| divided(case, service));
    parts.extend(case.policy.services.iter().filter_map(of));
    parts.extend(case.policy.services.iter().filter_map(|service| unmoved(case, service)));
    parts.extend(case.policy.services.iter().filter_map(|service| bundled(case, service)));
    if parts.is_empty() {
        let objects = case.facts.objects.values().filter(|found| found.stamp.is_some()).count();
        return GateResult::pass("cluster", format!("{} read, ours to write", plural(objects, "object", "objects")));
    }
    GateResult::all_of("cluster", "", parts)
}

/// Traffic that a switch could not move. It is said before green comes up, not when it is there.
fn unmoved(case: &Case<'_>, service: &Service) -> Option<GateResult> {
    let moves = case.policy.mode == Mode::Deploy && matches!(case.policy.strategy, Strategy::BlueGreen { .. });
    let object = ObjectKey::traffic(&service.name);
    let found = case.facts.objects.get(&object).filter(|_| moves)?;
    if !found.problems.is_empty() {
        let why = format!("{object}: {}", found.problems.join("; "));
        return Some(GateResult::hold("traffic", why, "a person makes it movable"));
    }
    let by = found.moved_by.filter(|by| *by != case.policy.traffic)?;
    let why = format!("{object}: {}", by.is_not(case.policy.traffic));
    Some(GateResult::hold("traffic", why, "the policy and the service say the same"))
}

/// Manifests that were given with the commit and would not be what runs afterwards.
fn bundled(case: &Case<'_>, service: &Service) -> Option<GateResult> {
    let (name, release) = (&service.name, case.release);
    let fact = case.facts.bundles.get(name);
    let hold = |why: String, clears: &str| Some(GateResult::hold("manifests", format!("{name}: {why}"), clears));
    if release.policy.is_some() && release.bundles.get(name) != fact.map(|fact| &fact.bundle) {
        return hold("other manifests were given since the release began".into(), "it is cancelled and started again");
    }
    fact.filter(|fact| fact.differs && case.policy.mode == Mode::Deploy)?;
    let artifact = release.artifacts.get(name)?;
    let before = if release.policy.is_some() { &release.before } else { &case.target.live };
    let is_same = artifact.kept || before.get(name).is_some_and(|serving| serving.digest == artifact.digest);
    if is_same {
        let why = "the commit came with other manifests and without another image: nothing would be deployed";
        return hold(why.into(), "an image of a commit with these manifests is built");
    }
    let front = case.facts.objects.get(&ObjectKey::traffic(name));
    if !service.is_worker() && !fact?.serves && front.is_none_or(|front| front.stamp.is_none()) {
        let why = "there is no Service, and its manifests have none: nobody could be sent to it";
        return hold(why.into(), "a commit comes with one");
    }
    if case.policy.strategy == Strategy::Rolling {
        let why = "manifests were given, and nothing keeps the old ones: a rolling release changes the image only";
        return hold(why.into(), "the policy says `strategy: blue-green`, or a person applies them");
    }
    None
}

/// Traffic that both colours share before a release begins: the new pods would serve as soon as they are up. A release
/// that a person resolved in the middle of its steps leaves it so.
fn divided(case: &Case<'_>, service: &Service) -> Option<GateResult> {
    let found = case.facts.objects.get(&ObjectKey::traffic(&service.name))?;
    let Value::Traffic { green } = found.stamp.as_ref()?.value else { return None };
    // While another release is in flight it is that one's doing, and it is waited for anyway.
    let busy = case.target.in_flight.is_some_and(|id| id != case.release.id);
    if green == 0 || green >= ALL_TRAFFIC || busy {
        return None;
    }
    let why = format!("{} has {} of its traffic on green, and the rest on blue", service.name, percent(green));
    Some(GateResult::hold("traffic", why, "a person sends all of it to one colour"))
}

/// Traffic that points at a colour without pods while the other one has some: somebody moved it, and what serves is not
/// what it seems. Where neither has any, it is a first release.
fn astray(case: &Case<'_>, service: &Service) -> Option<GateResult> {
    let value = |object: &ObjectKey| Some(case.facts.objects.get(object)?.stamp.as_ref()?.value);
    let Value::Traffic { green } = value(&ObjectKey::traffic(&service.name))? else { return None };
    let to = Colour::with_most(green);
    let has_pods = |colour| {
        let workload = value(&ObjectKey::workload(&service.name, colour));
        matches!(workload, Some(Value::Workload { replicas, .. }) if replicas > 0)
    };
    if has_pods(to) || !has_pods(to.other()) {
        return None;
    }
    let why = format!("{} sends its traffic to {to}, which has no pods, while {} has", service.name, to.other());
    Some(GateResult::hold("traffic", why, "a person sends it where the pods are"))
}
