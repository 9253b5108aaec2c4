//! Gate `images`: every service has an image by digest, or keeps its live one with proof that nothing changed.

use super::{Case, plural};
use crate::verdict::GateResult;

/// Every service of the policy has its image, and the registry has it.
pub(super) fn judge(case: &Case<'_>) -> GateResult {
    let parts: Vec<GateResult> = case
        .policy
        .services
        .iter()
        .map(|service| {
            let name = service.name.as_str();
            let Some(artifact) = case.release.artifacts.get(&service.name) else {
                return GateResult::hold(
                    name,
                    format!("no image of {} yet", case.release.commit.short()),
                    format!("an image is pushed to {}", service.repository),
                );
            };
            if artifact.kept {
                return kept(case, service);
            }
            if !case.facts.images.contains_key(&artifact.digest) {
                let why = format!("{} is not in {}", artifact.digest.short(), service.repository);
                return GateResult::hold(name, why, "the registry has this digest again");
            }
            let mut part = GateResult::pass(name, artifact.digest.short());
            if let Some(moved) = case.release.moved_tags.get(&service.name) {
                part.evidence.push(format!("its tag now points at {}, which is not released", moved.short()));
            }
            part
        })
        .collect();
    let kept = case.release.artifacts.values().filter(|artifact| artifact.kept).count();
    let mut why = format!("{} of {} by digest", parts.len(), parts.len());
    if kept > 0 {
        why = format!("{why} ({kept} kept)");
    }
    let mut result = GateResult::all_of("images", why, parts);
    let moved = case.release.moved_tags.len();
    if moved > 0 {
        result.evidence.push(format!("{} moved since; not followed", plural(moved, "tag", "tags")));
    }
    result
}

fn kept(case: &Case<'_>, service: &crate::policy::Service) -> GateResult {
    let name = service.name.as_str();
    let folder = service.source.as_deref().unwrap_or("its source");
    let changed = case.facts.commit.as_ref().and_then(|commit| commit.changed.get(&service.name));
    match changed {
        Some(false) => GateResult::pass(name, format!("kept: nothing changed under {folder}")),
        Some(true) => GateResult::hold(
            name,
            format!("{folder} changed, but there is no image of {}", case.release.commit.short()),
            format!("an image is pushed to {}", service.repository),
        ),
        None => GateResult::hold(
            name,
            format!("no proof that nothing under {folder} changed"),
            "the source repository says what changed, or an image is pushed",
        ),
    }
}
