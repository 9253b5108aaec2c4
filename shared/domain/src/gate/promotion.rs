//! Gate `promotion`: the same thing was verified live in another environment first.

use super::Case;
use crate::facts::{Promoted, Verified};
use crate::policy::{Promotion, Same};
use crate::verdict::GateResult;

/// `None` if the policy asks for no promotion.
pub(super) fn judge(case: &Case<'_>) -> Option<GateResult> {
    let rule = case.policy.gates.promoted_from.as_ref()?;
    let from = &rule.environment;
    let known = case.facts.promoted.as_ref().filter(|promoted| promoted.environment == *from);
    let Some(Promoted { verified, .. }) = known else {
        let why = format!("what {from} verified is not known");
        return Some(GateResult::hold("promotion", why, format!("the ledger of {from} can be read")));
    };
    let Some(found) = verified.iter().find(|verified| is_same(case, rule.same, verified)) else {
        return Some(missing(case, rule, verified));
    };
    let age = case.given.now.since(found.at);
    let place = format!("{from} release {}", found.release);
    if let Some(within) = rule.within.filter(|within| age > *within) {
        let why = format!("{place} was verified more than {within} ago");
        return Some(GateResult::hold("promotion", why, format!("it is verified in {from} again")));
    }
    let why = match rule.same {
        Same::Digests => format!("the same digests as {place}"),
        Same::SourceTree => format!("the same source tree as {place} (not the same digests)"),
    };
    let minutes = age.0 / 60_000;
    Some(GateResult::pass("promotion", why).with_evidence(vec![format!("verified live {minutes} min ago")]))
}

/// What is kept is live here already: only what the release brings must have been verified there.
fn is_same(case: &Case<'_>, same: Same, verified: &Verified) -> bool {
    let release = case.release;
    match same {
        Same::Digests => {
            let mut brought = release.artifacts.iter().filter(|(_, artifact)| !artifact.kept).peekable();
            brought.peek().is_some()
                && brought.all(|(service, artifact)| verified.digests.get(service) == Some(&artifact.digest))
        }
        Same::SourceTree => {
            let tree = case.facts.commit.as_ref().and_then(|commit| commit.tree.as_ref());
            let same_tree = tree.is_some_and(|tree| verified.tree.as_ref() == Some(tree));
            same_tree || verified.commit.matches(&release.commit)
        }
    }
}

fn missing(case: &Case<'_>, rule: &Promotion, verified: &[Verified]) -> GateResult {
    let from = &rule.environment;
    let what = match rule.same {
        Same::Digests => "these digests",
        Same::SourceTree => "this source tree",
    };
    let mut hold = GateResult::hold(
        "promotion",
        format!("{what} were never verified live in {from}").replace("tree were", "tree was"),
        format!("a release of {} is live in {from}", case.release.commit.short()),
    );
    let same_commit = verified.iter().find(|verified| verified.commit.matches(&case.release.commit));
    if let (Same::Digests, Some(other)) = (rule.same, same_commit) {
        hold.evidence.push(format!(
            "{from} release {} is of this commit, but of other images: it was built again; `same: source_tree` would accept it",
            other.release
        ));
    }
    hold
}
