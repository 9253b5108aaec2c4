//! `policy simulate`: what would the gates say of facts given by hand? The real judging, on a case that is made up.
//!
//! Start reading at [`run`]; `asked` checks what was given against the policy, `case` makes the case of it.

mod asked;
mod case;
#[cfg(test)]
mod tests;

use portcullis_domain::names::{CommitSha, TargetId};
use portcullis_domain::plan::PlanId;
use portcullis_domain::policy::{Mode, SealedPolicy};
use portcullis_domain::time::Timestamp;
use portcullis_domain::verdict::{GateResult, Judgement, Verdict};
use portcullis_embedded::clock::SystemClock;
use portcullis_engine::ports::Clock as _;
use serde::Serialize;

use self::asked::Asked;
use self::case::MadeUp;
use crate::args::{Output, Simulate};
use crate::exit::{self, Exit, Stop};
use crate::out::Out;
use crate::policies;
use crate::show::gates;
use crate::show::screen::{Screen, Tone};
use crate::show::text::{pad, wrap};
use crate::when::Times;

/// What the gates would say.
#[derive(Debug, Serialize)]
struct Simulated {
    /// Where.
    target: TargetId,
    /// When.
    at: Timestamp,
    /// Of which commit.
    commit: CommitSha,
    /// The plan that the approvals are for.
    plan: PlanId,
    /// The worst of all gates.
    verdict: Verdict,
    /// What would become of the release.
    then: &'static str,
    /// What was taken as given, one line each.
    given: Vec<String>,
    /// What of the people's words would be refused, and why.
    refused: Vec<String>,
    /// What would clear it, by the innermost thing that does not pass.
    clears: Vec<Unmet>,
    /// Every gate with its evidence.
    gates: Vec<GateResult>,
}

/// One thing that does not pass, and what would clear it.
#[derive(Debug, Serialize)]
struct Unmet {
    /// The gate it is part of.
    gate: String,
    /// Why it does not pass.
    why: String,
    /// What would clear it; none = nothing does for these images.
    clears_when: Option<String>,
    /// Until when it waits by itself.
    until: Option<Timestamp>,
}

/// Judges, prints, and ends with 0, 5 or 6.
pub(crate) fn run(asked: &Simulate, out: Out) -> anyhow::Result<()> {
    let out = if asked.json { Out { form: Output::Json, ..out } } else { out };
    let policy = policies::one(&asked.files, &asked.target, out.screen)?;
    let simulated = simulate(&policy, asked, SystemClock.now())?;
    let times = Times::here(simulated.at);
    out.answer(&simulated, || words(&simulated, out.screen, times))?;
    // What the gates say is this command's answer; the exit code repeats it for scripts.
    match simulated.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Hold => Err(Stop { code: Exit::Held, words: String::new() }.into()),
        Verdict::Block => Err(Stop { code: Exit::Blocked, words: String::new() }.into()),
    }
}

fn simulate(policy: &SealedPolicy, options: &Simulate, now: Timestamp) -> anyhow::Result<Simulated> {
    let asked = Asked::of(policy, options, now).map_err(exit::usage)?;
    let made_up = MadeUp::of(policy, &asked).map_err(exit::usage)?;
    let judgement = made_up.judge(policy);
    let mut clears = Vec::new();
    for gate in &judgement.gates {
        innermost(gate, gate, &mut clears);
    }
    Ok(Simulated {
        target: policy.target.clone(),
        at: asked.at,
        commit: asked.commit.clone(),
        plan: made_up.plan(),
        verdict: judgement.verdict(),
        then: then(policy, &judgement),
        given: made_up.given(policy, &asked),
        refused: made_up.refused,
        clears,
        gates: judgement.gates,
    })
}

/// What would become of a release of which the gates say this.
fn then(policy: &SealedPolicy, judgement: &Judgement) -> &'static str {
    match (judgement.verdict(), policy.mode) {
        (Verdict::Pass, Mode::Deploy) => "It would begin.",
        (Verdict::Pass, Mode::Gate) => "It would be cleared for whoever deploys it.",
        (Verdict::Pass, Mode::Observe) => "It would be recorded, and nothing done.",
        (Verdict::Hold, _) => "It would wait.",
        (Verdict::Block, _) if policy.gates.break_glass.is_some() && judgement.can_be_skipped() => {
            "It would wait for people to skip what blocks it, and expire without them."
        }
        (Verdict::Block, _) => "It would be rejected.",
    }
}

/// The parts without parts of their own that do not pass.
fn innermost(gate: &GateResult, part: &GateResult, clears: &mut Vec<Unmet>) {
    if part.verdict == Verdict::Pass {
        return;
    }
    if part.parts.is_empty() {
        clears.push(Unmet {
            gate: gate.gate.clone(),
            why: part.why.clone(),
            clears_when: part.clears_when.clone(),
            until: part.until,
        });
    }
    for inner in &part.parts {
        innermost(gate, inner, clears);
    }
}

fn words(simulated: &Simulated, screen: Screen, times: Times) -> String {
    let (word, tone) = match simulated.verdict {
        Verdict::Pass => ("PASS", Tone::Good),
        Verdict::Hold => ("HOLD", Tone::Warn),
        Verdict::Block => ("BLOCK", Tone::Bad),
    };
    let title = format!("{}   simulated", simulated.target);
    let mut out = vec![screen.bold(&screen.sides(&title, word, tone))];
    for (name, lines) in [("Given", &simulated.given), ("Refused", &simulated.refused)] {
        let room = crate::show::screen::WIDTH - 10;
        let lines = lines.iter().flat_map(|line| wrap(&screen.safe(line), room));
        out.extend(lines.enumerate().map(|(at, line)| format!("{}{line}", pad(if at == 0 { name } else { "" }, 10))));
    }
    let judgement = Judgement { at: simulated.at, gates: simulated.gates.clone() };
    let tree = gates::tree(&judgement, Some(simulated.plan), screen, times, true);
    format!("{}\n\n{tree}\n\n{} Nothing was touched.", out.join("\n"), simulated.then)
}
