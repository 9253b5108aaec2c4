//! Gate `alarms`: no alarm the policy names rings already, and every pattern names one.

use super::{Case, plural};
use crate::facts::{AlarmFact, AlarmState};
use crate::glob;
use crate::verdict::GateResult;

/// `None` if the policy names no alarms.
pub(super) fn judge(case: &Case<'_>) -> Option<GateResult> {
    let watch = &case.policy.watch;
    let patterns: Vec<&String> = watch.alarms_roll_back.iter().chain(&watch.alarms_ask).collect();
    if patterns.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    for pattern in &patterns {
        if !case.facts.alarms.keys().any(|alarm| glob::matches(pattern, alarm.as_str())) {
            let why = format!("{pattern} matches no alarm");
            parts.push(GateResult::hold(pattern, why, "an alarm of that name exists, or the policy names another"));
        }
    }
    let mut well = 0;
    for (alarm, fact) in &case.facts.alarms {
        // A message may make it worse than our own reading, never better.
        let worse = |told: &&AlarmFact| told.changed_at > fact.changed_at && told.state == AlarmState::Alarm;
        let fact = case.target.alarms.get(alarm).filter(worse).unwrap_or(fact);
        let accepted = case.release.accepted_alarms.contains(alarm);
        match fact.state {
            AlarmState::Alarm if accepted => {
                parts.push(GateResult::pass(alarm.as_str(), "rings; accepted by a person"));
            }
            AlarmState::Alarm => parts.push(GateResult::hold(
                alarm.as_str(),
                format!("{alarm} rings already"),
                "it is OK again, or a person accepts it",
            )),
            AlarmState::Ok | AlarmState::InsufficientData => {
                well += 1;
                parts.push(GateResult::pass(alarm.as_str(), "OK"));
            }
        }
    }
    let why = format!("{well} of {} OK", plural(case.facts.alarms.len(), "alarm", "alarms"));
    Some(GateResult::all_of("alarms", why, parts))
}
