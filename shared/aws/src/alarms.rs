//! The state of CloudWatch's alarms: metric, composite and log alarms alike.
//!
//! Amazon CloudWatch API Reference, `DescribeAlarms`, `MetricAlarm`, `CompositeAlarm`; Amazon CloudWatch User Guide,
//! "Composite alarm action suppression" and "Alarm mute rules".

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmMuteRuleStatus, AlarmType, EvaluationState, StateValue};
use aws_smithy_types::DateTime;
use portcullis_domain::facts::{AlarmFact, AlarmState};
use portcullis_domain::glob;
use portcullis_domain::names::AlarmName;
use portcullis_engine::ports::{PortError, PortResult};

use crate::error::found as why;
use crate::moment;

/// Alarms of one answer, and names asked for at once: the most that CloudWatch allows.
const PAGE: i32 = 100;
const MOST_NAMES: usize = 100;

/// The alarms that match these patterns. One call where all are plain names or share how they begin, else as many as it
/// takes to read the account's alarms.
pub(crate) async fn read(client: &Client, patterns: &BTreeSet<String>) -> PortResult<BTreeMap<AlarmName, AlarmFact>> {
    let wrong = |found: String| PortError::new(format!("reading the alarms {}", listed(patterns)), found);
    if patterns.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut ask = client.describe_alarms();
    // Left out, it means metric alarms only.
    for kind in [AlarmType::MetricAlarm, AlarmType::CompositeAlarm, AlarmType::LogAlarm] {
        ask = ask.alarm_types(kind);
    }
    if patterns.len() <= MOST_NAMES && patterns.iter().all(|pattern| !pattern.contains('*')) {
        ask = ask.set_alarm_names(Some(patterns.iter().cloned().collect()));
    } else {
        ask = ask.set_alarm_name_prefix(shared_beginning(patterns));
    }
    let mut pages = ask.into_paginator().page_size(PAGE).send();
    let mut found = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| wrong(why(&error)))?;
        let metric = page.metric_alarms().iter().map(|alarm| Told {
            name: alarm.alarm_name(),
            state: alarm.state_value(),
            changed_at: alarm.state_transitioned_timestamp().or(alarm.state_updated_timestamp()),
            evaluation: alarm.evaluation_state(),
            is_suppressed: false,
        });
        let log = page.log_alarms().iter().map(|alarm| Told {
            name: alarm.alarm_name(),
            state: alarm.state_value(),
            changed_at: alarm.state_transitioned_timestamp().or(alarm.state_updated_timestamp()),
            evaluation: alarm.evaluation_state(),
            is_suppressed: false,
        });
        let composite = page.composite_alarms().iter().map(|alarm| Told {
            name: alarm.alarm_name(),
            state: alarm.state_value(),
            changed_at: alarm.state_transitioned_timestamp().or(alarm.state_updated_timestamp()),
            evaluation: None,
            is_suppressed: alarm.actions_suppressed_by().is_some(),
        });
        for told in metric.chain(log).chain(composite) {
            let name = told.name.unwrap_or_default();
            if patterns.iter().any(|pattern| glob::matches(pattern, name)) {
                let name = AlarmName::new(name).map_err(|error| wrong(error.to_string()))?;
                found.insert(name, told.fact().map_err(wrong)?);
            }
        }
    }
    for (name, fact) in &mut found {
        // Only one that rings is worth another call.
        if fact.state == AlarmState::Alarm && is_muted(client, name).await {
            fact.state = AlarmState::InsufficientData;
        }
    }
    Ok(found)
}

/// Whether a mute rule holds the alarm's actions back now: `DescribeAlarms` does not say. Where that cannot be known it
/// rings: a missing permission must not keep a release from being undone.
async fn is_muted(client: &Client, alarm: &AlarmName) -> bool {
    let active = client.list_alarm_mute_rules().alarm_name(alarm.as_str()).statuses(AlarmMuteRuleStatus::Active);
    match active.send().await {
        Ok(answer) => !answer.alarm_mute_rule_summaries().is_empty(),
        Err(error) => {
            tracing::warn!(%alarm, error = why(&error), "whether the alarm is muted is not known: it counts as ringing");
            false
        }
    }
}

/// One alarm as CloudWatch tells it, of whichever kind.
struct Told<'a> {
    name: Option<&'a str>,
    state: Option<&'a StateValue>,
    changed_at: Option<&'a DateTime>,
    evaluation: Option<&'a EvaluationState>,
    is_suppressed: bool,
}

impl Told<'_> {
    fn fact(&self) -> Result<AlarmFact, String> {
        let name = self.name.unwrap_or_default();
        let state = match self.state {
            // It exists, and must neither roll back nor count as well.
            _ if self.is_suppressed => AlarmState::InsufficientData,
            Some(StateValue::Alarm) => AlarmState::Alarm,
            // What it says was so when it could last be evaluated.
            Some(StateValue::Ok) if self.evaluation.is_some() => AlarmState::InsufficientData,
            Some(StateValue::Ok) => AlarmState::Ok,
            Some(StateValue::InsufficientData) => AlarmState::InsufficientData,
            other => return Err(format!("alarm {name} has a state we do not know: {other:?}")),
        };
        let changed_at = self.changed_at.and_then(moment::told);
        let changed_at = changed_at.ok_or_else(|| format!("alarm {name} does not say since when"))?;
        Ok(AlarmFact { state, changed_at })
    }
}

/// What all patterns begin with, before their first `*`; none = nothing.
fn shared_beginning(patterns: &BTreeSet<String>) -> Option<String> {
    let mut plain = patterns.iter().map(|pattern| pattern.split('*').next().unwrap_or_default());
    let first = plain.next()?;
    let shared = plain.fold(first, |shared, next| {
        let same = shared.char_indices().zip(next.chars()).take_while(|((_, one), other)| one == other);
        let end = same.last().map_or(0, |((at, one), _)| at + one.len_utf8());
        &shared[..end]
    });
    (!shared.is_empty()).then(|| shared.to_owned())
}

fn listed(patterns: &BTreeSet<String>) -> String {
    patterns.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(patterns: &[&str]) -> Option<String> {
        shared_beginning(&patterns.iter().map(|&pattern| pattern.to_owned()).collect())
    }

    #[test]
    fn the_shared_beginning_keeps_every_match() {
        assert_eq!(beginning(&["shop-prod-*"]).as_deref(), Some("shop-prod-"));
        assert_eq!(beginning(&["shop-prod-*", "shop-prod-web-5xx"]).as_deref(), Some("shop-prod-"));
        assert_eq!(beginning(&["shop-a*", "shop-b*"]).as_deref(), Some("shop-"));
        assert_eq!(beginning(&["größe-*", "grün"]).as_deref(), Some("gr"));
        assert_eq!(beginning(&["shop", "web"]), None);
        assert_eq!(beginning(&["*-5xx", "shop-*"]), None);
        assert_eq!(beginning(&[]), None);
    }
}
