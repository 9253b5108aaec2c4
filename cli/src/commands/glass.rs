//! `release break-glass`: skipping gates takes two people, and each is told what the other has to do.

use std::collections::BTreeSet;

use portcullis_domain::names::ReleaseId;
use portcullis_domain::plan::PlanId;
use serde::Serialize;

use crate::api::{Answered, Ask};
use crate::args::Place;
use crate::backend::Backend;
use crate::out::Out;
use crate::show::glass::Standing;
use crate::{ask, exit};

/// What one person said.
pub(crate) struct Said {
    /// The release.
    pub(crate) release: ReleaseId,
    /// The plan as shown.
    pub(crate) plan: PlanId,
    /// The gates to skip.
    pub(crate) gates: BTreeSet<String>,
    /// Why.
    pub(crate) reason: String,
    /// Whether it needs no confirmation.
    pub(crate) yes: bool,
}

/// What was recorded, and what is still wanted.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    answered: &'a Answered,
    break_glass: &'a Standing,
}

/// Asks, records, and says what is still wanted.
pub(crate) async fn run(said: Said, place: &Place, out: Out) -> anyhow::Result<()> {
    let Said { release, plan, gates, reason, yes } = said;
    let backend = Backend::open(place, out.screen)?;
    let before = backend.release(release).await?;
    let target = before.summary.target.clone();
    if let Some(current) = before.summary.plan.filter(|current| *current != plan) {
        let words = format!("plan {plan} is not the plan of release {release}: it is {current} now. Look again");
        return Err(exit::refused(words));
    }
    let named: Vec<&str> = gates.iter().map(String::as_str).collect();
    let commit = before.summary.commit.short();
    let prompt = format!("Skip {} for {target}, release {release} ({commit}), plan {plan}?", named.join(", "));
    ask::confirm(&prompt, yes)?;
    let ask = Ask::BreakGlass { release, plan, gates: gates.clone(), reason };
    let answered = backend.command(&target, &ask).await?;
    let standing = Standing::of(&backend.release(release).await?, plan, &gates);
    out.answer(&Outcome { answered: &answered, break_glass: &standing }, || {
        let recorded = if answered.recorded.is_empty() {
            "it was so already; nothing changed".to_owned()
        } else {
            answered.recorded.join("\n  ")
        };
        format!("{target} (as {})\n  {recorded}\n\n{}", answered.who, standing.words(release, plan))
    })?;
    match backend.afterword() {
        Some(words) if !answered.recorded.is_empty() => out.aside(words),
        _ => Ok(()),
    }
}
