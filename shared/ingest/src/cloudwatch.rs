//! CloudWatch's alarms, in the three ways they come: through EventBridge, by invoking a Lambda function, through SNS.
//!
//! Shapes: Amazon CloudWatch User Guide, "Alarm events and EventBridge", "Invoke a Lambda function from an alarm",
//! "Notifying users on alarm changes". What the alarm watches (one metric, an expression, other alarms) is in its
//! configuration and is not read: nothing here depends on it, and no kind of alarm can fail for it.

use portcullis_domain::digest::FieldHasher;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{AlarmName, DeliveryId, is_bidi_control};
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_domain::time::Timestamp;
use serde_json::Value;

use crate::arn::{self, Arn};
use crate::envelope::Event;
use crate::json::{At, parse, shown};
use crate::{Malformed, Read};

/// Longest alarm name, in bytes, whose text an error may show.
const NAME: usize = 1024;

/// Longest reason that is kept, in characters ([`FactKind::AlarmChanged`]).
const REASON: usize = 500;

/// An alarm's change of state.
struct Change {
    alarm: AlarmName,
    state: AlarmState,
    changed_at: Timestamp,
    reason: String,
    suppressed: bool,
}

impl Change {
    fn into_kind(self) -> FactKind {
        let Self { alarm, state, changed_at, reason, suppressed } = self;
        FactKind::AlarmChanged { alarm, state, changed_at, reason, suppressed }
    }
}

/// `CloudWatch Alarm State Change` of EventBridge.
pub(crate) fn state_change(event: &Event<'_>) -> Result<Read, Malformed> {
    Ok(event.fact(change(&event.detail)?.into_kind()))
}

/// What an alarm's action hands to a Lambda function. It carries no id of its own: the delivery is named by what it
/// says, so that a retry has the same name.
pub(crate) fn invocation(body: &At<'_>) -> Result<Read, Malformed> {
    let source = body.field("source")?.word()?;
    if source != "aws.cloudwatch" {
        return Ok(Read::ignored("alarm action", format!("an alarm action from {} is not used", shown(source))));
    }
    let (account, region) = (body.field("accountId")?.account()?, body.field("region")?.region()?);
    let at = body.field("time")?.moment()?;
    let (named, data) = (body.field("alarmArn")?, body.field("alarmData")?);
    let arn = arn::read(&named, "cloudwatch")?;
    arn.must_be_of(&named, account, region)?;
    if data.optional("alarmContributor")?.is_some() {
        // One time series of a query over many; the alarm itself reports its own state.
        return Ok(Read::ignored("alarm action", "one contributor of an alarm changed, not the alarm"));
    }
    let change = change(&data)?;
    must_name(&named, arn, &change)?;
    Ok(one(delivery(&named, &change)?, at, arn, change))
}

/// Whether this is an alarm as SNS carries it.
pub(crate) fn is_message(message: &At<'_>) -> bool {
    ["AlarmName", "NewStateValue", "AlarmArn"].iter().any(|name| message.has(name))
}

/// The message that an alarm sends to an SNS topic. `envelope` is SNS's id and time; without it (raw message
/// delivery) the delivery is named by what it says. The account and region are the ARN's: `Region` is a name for
/// people ("US East (N. Virginia)").
pub(crate) fn message(message: &At<'_>, envelope: Option<(DeliveryId, Timestamp)>) -> Result<Read, Malformed> {
    let named = message.field("AlarmArn")?;
    let arn = arn::read(&named, "cloudwatch")?;
    if let Some(account) = message.optional("AWSAccountId")? {
        arn.must_be_of(&named, account.account()?, arn.region)?;
    }
    if message.optional("AlarmContributorId")?.is_some() {
        return Ok(Read::ignored("SNS notification", "one contributor of an alarm changed, not the alarm"));
    }
    let change = Change {
        alarm: message.field("AlarmName")?.parsed(NAME)?,
        state: state(&message.field("NewStateValue")?)?,
        changed_at: message.field("StateChangeTime")?.moment()?,
        reason: message.optional("NewStateReason")?.and_then(|at| at.maybe_text()).map(line).unwrap_or_default(),
        // An alarm whose actions are suppressed or muted sends nothing to its topic.
        suppressed: false,
    };
    must_name(&named, arn, &change)?;
    let (id, at) = match envelope {
        Some(envelope) => envelope,
        None => (delivery(&named, &change)?, change.changed_at),
    };
    Ok(one(id, at, arn, change))
}

/// The part that EventBridge's detail and a function's `alarmData` have in common.
fn change(data: &At<'_>) -> Result<Change, Malformed> {
    let now = data.field("state")?;
    Ok(Change {
        alarm: data.field("alarmName")?.parsed(NAME)?,
        state: state(&now.field("value")?)?,
        changed_at: now.field("timestamp")?.moment()?,
        reason: reason(&now)?,
        suppressed: suppressed(&now, data)?,
    })
}

/// Whether the alarm's own actions are held back: a composite alarm's by its suppressor or the wait for it, any
/// alarm's by a mute rule. EventBridge is told all the same.
fn suppressed(now: &At<'_>, data: &At<'_>) -> Result<bool, Malformed> {
    if let Some(by) = now.optional("actionsSuppressedBy")? {
        by.word()?;
        return Ok(true);
    }
    let Some(mute) = data.optional("muteDetail")? else { return Ok(false) };
    mute.entries()?;
    Ok(true)
}

fn state(at: &At<'_>) -> Result<AlarmState, Malformed> {
    match at.word()? {
        "OK" => Ok(AlarmState::Ok),
        "ALARM" => Ok(AlarmState::Alarm),
        "INSUFFICIENT_DATA" => Ok(AlarmState::InsufficientData),
        other => Err(at.wrong(format!("{} is not OK, ALARM or INSUFFICIENT_DATA", shown(other)))),
    }
}

/// The reason as a sentence; if there is none, what `reasonData` says. Shown to people only, so no alarm is refused
/// for its reason.
fn reason(now: &At<'_>) -> Result<String, Malformed> {
    let text = now.optional("reason")?.and_then(|at| at.maybe_text()).map(line).unwrap_or_default();
    if !text.is_empty() {
        return Ok(text);
    }
    let data = now.optional("reasonData")?.and_then(|at| at.maybe_text());
    Ok(data.and_then(|json| parse(json.as_bytes(), "reasonData").ok()).map(|value| told(&value)).unwrap_or_default())
}

/// What `reasonData` says, in words: the alarms that triggered a composite one, or the points against the threshold.
fn told(data: &Value) -> String {
    let arns = data["triggeringAlarms"].as_array().into_iter().flatten().filter_map(|alarm| alarm["arn"].as_str());
    let names: Vec<&str> = arns.filter_map(|arn| arn.split_once(":alarm:").map(|(_, name)| name)).collect();
    if !names.is_empty() {
        return line(&format!("triggered by {}", names.join(", ")));
    }
    let points: Vec<String> = data["recentDatapoints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .map(|n| n.to_string())
        .collect();
    match (points.is_empty(), data["threshold"].as_f64()) {
        (false, Some(threshold)) => line(&format!("recent {} against the threshold {threshold}", points.join(", "))),
        _ => String::new(),
    }
}

/// One line for people: at most [`REASON`] characters, nothing that moves a cursor or reorders text.
fn line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().filter(|c| !is_bidi_control(*c)).map(clean).take(REASON).collect()
}

/// An error unless the ARN is this alarm's.
fn must_name(at: &At<'_>, arn: Arn<'_>, change: &Change) -> Result<(), Malformed> {
    if arn.resource.strip_prefix("alarm:") == Some(change.alarm.as_str()) {
        return Ok(());
    }
    Err(at.wrong(format!("{} is not the ARN of alarm {}", shown(arn.resource), shown(change.alarm.as_str()))))
}

/// A name for a delivery that has none: what it says, hashed. Suppression is part of it because a composite alarm
/// may report ALARM twice, first suppressed and then not.
fn delivery(arn: &At<'_>, change: &Change) -> Result<DeliveryId, Malformed> {
    let mut hasher = FieldHasher::new("portcullis alarm delivery");
    hasher.field(arn.text(2048)?.as_bytes()).number(change.changed_at.0).number(match change.state {
        AlarmState::Ok => 0,
        AlarmState::Alarm => 1,
        AlarmState::InsufficientData => 2,
    });
    hasher.number(change.suppressed.into());
    DeliveryId::new(&format!("alarm-{}", hasher.finish().hex())).map_err(|why| arn.wrong(why.to_string()))
}

fn one(delivery: DeliveryId, at: Timestamp, arn: Arn<'_>, change: Change) -> Read {
    let (account, region) = (Some(arn.account.to_owned()), Some(arn.region.to_owned()));
    Read::Facts(vec![Fact { delivery, at, account, region, kind: change.into_kind() }])
}
