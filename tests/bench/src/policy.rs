//! Loading and checking the policies of 200 applications with 3 environments each.

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use crate::report::{Goal, Line};
use crate::story::applications;
use crate::timing::in_turns;

const APPLICATIONS: usize = 200;
const ROUNDS: usize = 15;
const GOAL_MS: f64 = 100.0;

pub(crate) fn measure() -> Result<Vec<Line>> {
    let files = applications(APPLICATIONS);
    let set = portcullis_policy::load(&files).map_err(|report| anyhow!("{}", report.summary()))?;
    ensure!(set.policies.len() == APPLICATIONS * 3, "{} environments", set.policies.len());
    for (name, text) in &files {
        serde_saphyr::from_str::<Value>(text).map_err(|error| anyhow!("{name}: {error}"))?;
    }
    let (ours, beside) = in_turns(
        ROUNDS,
        || portcullis_policy::load(&files).is_ok(),
        || files.iter().filter_map(|(_, text)| serde_saphyr::from_str::<Value>(text).ok()).collect::<Vec<Value>>(),
    );
    let what = "loading and checking the policies of 200 applications x 3 environments, best round";
    let line = Line::new("policy", what, ours.best() * 1e3, "ms")
        .goal(Goal::Below(GOAL_MS))
        .beside("serde-saphyr parses the same YAML into generic values", beside.best() * 1e3, "ms")
        .detail("median", format!("{:.1} ms of {ROUNDS} rounds", ours.median() * 1e3))
        .detail("bytes", files.iter().map(|(_, text)| text.len()).sum::<usize>());
    Ok(vec![line])
}
