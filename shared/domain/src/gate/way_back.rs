//! Gate `way back`: before it goes forward, a release shows that it can return, and in what time.

use super::{Case, plural};
use crate::policy::{Service, Strategy};
use crate::target::{Phase, Release, Serving};
use crate::verdict::GateResult;

/// What served before can be pulled, the backup was read back, and there is room for both colours.
pub(super) fn judge(case: &Case<'_>) -> GateResult {
    let before = if case.release.policy.is_some() { &case.release.before } else { &case.target.live };
    let mut parts = Vec::new();
    for service in &case.policy.services {
        let Some(serving) = before.get(&service.name).filter(|serving| changes(case.release, service, serving)) else {
            continue;
        };
        parts.push(image(case, service, serving));
    }
    if parts.is_empty() {
        parts.push(GateResult::pass("before", "nothing served before: there is nothing to return to"));
    }
    if case.release.phase == Phase::Verifying || case.release.phase == Phase::BackingUp {
        parts.push(match &case.release.backup {
            Some(_) => GateResult::pass("backup", "stored and read back"),
            None => GateResult::hold("backup", "there is no backup yet", "the backup is stored"),
        });
    }
    parts.extend(room(case));
    let mut result = GateResult::all_of("way back", time(case), parts);
    if let Some(last) = case.target.last_return {
        result.evidence.push(format!("the last return took {last}"));
    }
    result
}

fn changes(release: &Release, service: &Service, serving: &Serving) -> bool {
    release.artifacts.get(&service.name).is_some_and(|artifact| artifact.digest != serving.digest)
}

fn image(case: &Case<'_>, service: &Service, serving: &Serving) -> GateResult {
    let (name, digest) = (service.name.as_str(), serving.digest.short());
    if !case.facts.images.contains_key(&serving.digest) {
        let why = format!("what serves {name} now, {digest}, is not in {}", service.repository);
        return GateResult::hold(name, why, "the registry has this digest again");
    }
    let verified = |id| case.target.ended.iter().any(|ended| ended.release == id && ended.verified);
    let how = match serving.release {
        Some(id) if verified(id) => format!("release {id}, verified live"),
        Some(id) => format!("release {id}"),
        None => "as it was found; never verified by Portcullis".to_owned(),
    };
    GateResult::pass(name, format!("{digest} can be pulled: {how}"))
}

/// Room for the pods of the new colour beside the old ones, where they are not there yet.
fn room(case: &Case<'_>) -> Option<GateResult> {
    let room = case.facts.room?;
    if case.policy.strategy == Strategy::Rolling || case.release.phase == Phase::Verifying {
        return None;
    }
    let services = case.policy.services.iter().filter(|service| !service.is_worker());
    let needed: u32 = services
        .filter_map(|service| {
            let serving = case.target.live.get(&service.name)?;
            changes(case.release, service, serving).then_some(serving.replicas.max(1))
        })
        .sum();
    let pods = plural(usize::try_from(needed).unwrap_or(usize::MAX), "pod", "pods");
    Some(if room >= needed {
        GateResult::pass("room", format!("{pods} beside the old ones, room for {room}"))
    } else {
        let why = format!("room for {room} more pods, {needed} are needed beside the old ones");
        GateResult::hold("room", why, "the cluster has room")
    })
}

/// How one would return now, in words.
fn time(case: &Case<'_>) -> String {
    let kept = case.policy.roll_back.keep_old;
    let backed_up = if case.release.backup.is_some() { "backed up; " } else { "" };
    match &case.policy.strategy {
        _ if case.target.live.is_empty() => format!("{backed_up}nothing to return to"),
        Strategy::Rolling => format!("{backed_up}the old digest is written back, pod by pod"),
        Strategy::BlueGreen { .. } => format!("{backed_up}by a switch; the old pods stay up until {kept} after live"),
    }
}
