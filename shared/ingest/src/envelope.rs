//! Which envelope a body came in, and what every event of EventBridge has around its detail.
//!
//! Shapes: Amazon EventBridge User Guide, "AWS service event metadata"; Amazon SNS Developer Guide, "Parsing Amazon
//! SNS message formats"; for an alarm's own invocation of a function see `cloudwatch.rs`.

use portcullis_domain::names::DeliveryId;
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_domain::time::Timestamp;

use crate::json::{At, parse, shown};
use crate::{MAX_BODY, Malformed, Read, cloudwatch, ecr, inspector};

/// Longest id of a delivery, in bytes.
const ID: usize = 200;

/// Reads a body by the envelope it is in. An envelope is recognised by any of its fields, so that one that lacks a
/// field is an error about that field.
pub(crate) fn read(body: &At<'_>) -> Result<Read, Malformed> {
    if body.has("detail-type") || body.has("detail") {
        eventbridge(body)
    } else if body.has("TopicArn") || body.has("Type") {
        sns(body)
    } else if body.has("Records") {
        records(body)
    } else if body.has("alarmData") || body.has("alarmArn") {
        cloudwatch::invocation(body)
    } else if cloudwatch::is_message(body) {
        // SNS's raw message delivery: the message without its envelope.
        cloudwatch::message(body, None)
    } else {
        Err(body.wrong("is no EventBridge event, SNS notification or CloudWatch alarm action"))
    }
}

/// What EventBridge puts around a detail.
pub(crate) struct Event<'a> {
    /// The kind, for people.
    pub(crate) kind: &'a str,
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) detail: At<'a>,
    /// The whole event.
    pub(crate) whole: At<'a>,
    id: DeliveryId,
    at: Timestamp,
}

impl<'a> Event<'a> {
    fn of(whole: &At<'a>, kind: &'a str) -> Result<Self, Malformed> {
        Ok(Self {
            kind,
            id: whole.field("id")?.parsed(ID)?,
            at: whole.field("time")?.moment()?,
            account: whole.field("account")?.account()?,
            region: whole.field("region")?.region()?,
            detail: whole.field("detail")?,
            whole: whole.clone(),
        })
    }

    /// This event as one fact.
    pub(crate) fn fact(&self, kind: FactKind) -> Read {
        Read::Facts(vec![self.one(kind, self.id.clone())])
    }

    /// This event as several facts. Each has its own id, derived from the event's and the same each time, so that
    /// the second is not taken for a redelivery of the first. `None` if there are none.
    pub(crate) fn facts(&self, kinds: Vec<FactKind>) -> Result<Option<Read>, Malformed> {
        let mut facts = Vec::with_capacity(kinds.len());
        for (i, kind) in kinds.into_iter().enumerate() {
            let id = if i == 0 { Ok(self.id.clone()) } else { DeliveryId::new(&format!("{}/{i}", self.id)) };
            facts.push(self.one(kind, id.map_err(|why| Malformed { field: "id".to_owned(), why: why.to_string() })?));
        }
        Ok(if facts.is_empty() { None } else { Some(Read::Facts(facts)) })
    }

    fn one(&self, kind: FactKind, delivery: DeliveryId) -> Fact {
        let (account, region) = (Some(self.account.to_owned()), Some(self.region.to_owned()));
        Fact { delivery, at: self.at, account, region, kind }
    }

    /// This event as one that is not used.
    pub(crate) fn ignored(&self, reason: impl Into<String>) -> Read {
        Read::ignored(self.kind, reason)
    }
}

/// Sources that begin with `aws.` are AWS's own: nobody else can put events under them (Amazon EventBridge API
/// Reference, `PutEvents`). So source and detail type are matched together.
fn eventbridge(body: &At<'_>) -> Result<Read, Malformed> {
    let (source, kind) = (body.field("source")?.word()?, body.field("detail-type")?.word()?);
    let reader: fn(&Event<'_>) -> Result<Read, Malformed> = match (source, kind) {
        ("aws.ecr", "ECR Image Action") => ecr::image_action,
        ("aws.ecr", "ECR Image Scan") => ecr::image_scan,
        ("aws.ecr", "ECR Scan Resource Change") => ecr::scan_resource_change,
        ("aws.inspector2", "Inspector2 Scan") => inspector::scan,
        ("aws.inspector2", "Inspector2 Finding") => inspector::finding,
        ("aws.cloudwatch", "CloudWatch Alarm State Change") => cloudwatch::state_change,
        _ => return Ok(Read::ignored(kind, format!("{} from {} is not used", shown(kind), shown(source)))),
    };
    reader(&Event::of(body, kind)?)
}

/// What SNS hands to a function: its notifications in records (AWS Lambda Developer Guide, "Invoking Lambda functions with
/// Amazon SNS notifications").
fn records(body: &At<'_>) -> Result<Read, Malformed> {
    let (mut facts, mut ignored) = (Vec::new(), None);
    for record in body.field("Records")?.items()? {
        let source = record.field("EventSource")?;
        if source.word()? != "aws:sns" {
            return Err(source.wrong("is not aws:sns: records of no other sender are read"));
        }
        match sns(&record.field("Sns")?)? {
            Read::Facts(more) => facts.extend(more),
            other @ Read::Ignored { .. } => ignored = Some(other),
        }
    }
    Ok(ignored.filter(|_| facts.is_empty()).unwrap_or(Read::Facts(facts)))
}

fn sns(body: &At<'_>) -> Result<Read, Malformed> {
    let kind = body.field("Type")?.word()?;
    if kind != "Notification" {
        // The link in a subscription's confirmation is never followed: whoever can post here could name any host.
        return Ok(Read::ignored(kind, format!("{} of SNS is for a person to confirm", shown(kind))));
    }
    let delivery = body.field("MessageId")?.parsed(ID)?;
    let at = body.field("Timestamp")?.moment()?;
    let text = body.field("Message")?;
    let value = parse(text.raw_text(MAX_BODY)?.as_bytes(), text.path())?;
    let message = At::root(&value, text.path());
    if message.has("detail-type") || message.has("detail") {
        // A rule of EventBridge's with an SNS target: the event keeps its own id, by whichever way it comes.
        eventbridge(&message)
    } else if cloudwatch::is_message(&message) {
        cloudwatch::message(&message, Some((delivery, at)))
    } else {
        Ok(Read::ignored("SNS notification", "the SNS message is neither an alarm nor an EventBridge event"))
    }
}
