//! `freeze` and `unfreeze`: what is stopped now, what was lifted, and what still holds releases there.

use portcullis_domain::names::TargetId;
use portcullis_domain::scope::Scope;
use serde::Serialize;

use crate::api::{FleetHold, StopAsk, StopAt, TargetSummary};
use crate::args::Place;
use crate::backend::Backend;
use crate::out::Out;
use crate::show::status::fleet_words;
use crate::when::Times;

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Where.
    scope: Scope,
    /// The stop in force there now; none = there is none.
    stop: Option<StopAt>,
    /// The hold of the fleet breaker that was lifted with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    lifted: Option<FleetHold>,
    /// What else keeps releases from beginning in the environments of the scope.
    also: Vec<Also>,
}

/// Something else that keeps releases from beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Also {
    /// Where; none = everywhere.
    target: Option<TargetId>,
    /// Why.
    why: String,
    /// The command that ends it.
    ends_with: String,
}

/// Puts the stop on its scope, or lifts it.
pub(crate) async fn run(place: &Place, ask: StopAsk, out: Out) -> anyhow::Result<()> {
    let backend = Backend::open(place, out.screen)?;
    let (scope, lift) = (ask.scope.clone(), ask.stop.is_none());
    let before = backend.targets().await?;
    let stop = backend.stop(ask).await?;
    let after = backend.targets().await?;
    let times = crate::out::times();
    let held = |targets: &[TargetSummary]| targets.iter().find_map(|target| target.fleet.clone());
    let lifted = held(&before).filter(|_| lift && held(&after).is_none());
    let also = also(&scope, &after, times);
    let outcome = Outcome { scope, stop, lifted, also };
    out.answer(&outcome, || words(&outcome, times))
}

/// What else holds in the environments that the scope covers.
fn also(scope: &Scope, targets: &[TargetSummary], times: Times) -> Vec<Also> {
    let mut all = Vec::new();
    for target in targets.iter().filter(|target| scope.covers(&target.target)) {
        for at in target.stops.iter().filter(|at| at.scope != *scope) {
            let why = format!("{} is frozen by {}: {}", at.scope, at.stop.who, at.stop.reason);
            all.push(Also { target: None, why, ends_with: format!("portcullis unfreeze {}", named(&at.scope)) });
        }
        if let Some(why) = &target.line_stopped {
            let ends_with = format!("portcullis resume-line {} --reason TEXT", target.target);
            all.push(Also {
                target: Some(target.target.clone()),
                why: format!("the line is stopped: {why}"),
                ends_with,
            });
        }
        if let Some(fleet) = &target.fleet {
            let ends_with = "portcullis unfreeze --all".to_owned();
            all.push(Also { target: None, why: fleet_words(fleet, times), ends_with });
        }
    }
    // One stop covers many environments; it is told once.
    let mut once: Vec<Also> = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

/// The scope as `freeze` and `unfreeze` are told it.
fn named(scope: &Scope) -> String {
    match scope {
        Scope::All => "--all".to_owned(),
        Scope::Environment(env) => format!("--env {env}"),
        Scope::Application(app) => format!("--app {app}"),
        Scope::Target(target) => target.to_string(),
    }
}

fn words(outcome: &Outcome, times: Times) -> String {
    let named = if outcome.scope == Scope::All { "Everything".to_owned() } else { outcome.scope.to_string() };
    let stop = match &outcome.stop {
        None => format!("{named}: not frozen."),
        Some(at) => {
            let until = at.stop.until.map_or("it is lifted".to_owned(), |until| times.minute(until));
            let (who, reason) = (&at.stop.who, &at.stop.reason);
            format!("{named}: no release passes a commit point until {until}; rollbacks go on.\n  by {who}: {reason}")
        }
    };
    let mut out = vec![stop];
    if let Some(fleet) = &outcome.lifted {
        let all: Vec<String> = fleet.environments.iter().map(ToString::to_string).collect();
        out.push(format!("  lifted, too: {} rolled back by themselves within {}", all.join(", "), fleet.within));
    }
    for also in &outcome.also {
        let place = also.target.as_ref().map(|target| format!("{target}: ")).unwrap_or_default();
        out.push(format!("  also holding   {place}{}", also.why));
        out.push(format!("                 {}", also.ends_with));
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::samples::{NIGHT, environment, times};
    use portcullis_domain::names::Subject;
    use portcullis_domain::scope::Stop;
    use portcullis_domain::time::Millis;

    fn frozen(scope: Scope) -> StopAt {
        let who = Subject::new("kofi").unwrap();
        StopAt { scope, stop: Stop { who, reason: "black friday".into(), since: NIGHT, until: None } }
    }

    fn troubled() -> TargetSummary {
        let mut target = environment();
        target.line_stopped = Some("3 automatic rollbacks within 1h".into());
        target.stops = vec![frozen(Scope::Environment(target.target.env.clone()))];
        let environments = ["pay/production", "shop/production"].map(|name| name.parse().unwrap()).to_vec();
        let until = NIGHT + Millis::minutes(7);
        target.fleet = Some(FleetHold { environments, within: Millis::minutes(10), until });
        target
    }

    #[test]
    fn an_unfreeze_says_what_still_holds_and_what_ends_it() {
        let target = troubled();
        let scope = Scope::Target(target.target.clone());
        let also = also(&scope, &[target.clone(), target], times());
        let outcome = Outcome { scope, stop: None, lifted: None, also };
        insta::assert_snapshot!(words(&outcome, times()));
    }

    #[test]
    fn an_unfreeze_of_everything_says_that_it_lifted_the_hold_of_many_rollbacks() {
        let lifted = troubled().fleet;
        let outcome = Outcome { scope: Scope::All, stop: None, lifted, also: Vec::new() };
        insta::assert_snapshot!(words(&outcome, times()));
    }

    #[test]
    fn another_environments_trouble_is_not_told() {
        let scope = Scope::Target("another/production".parse().unwrap());
        assert_eq!(also(&scope, &[troubled()], times()), []);
    }
}
