//! A batch of SQS messages, and which of them failed (`ReportBatchItemFailures`, AWS Lambda Developer Guide, "Handling
//! errors for an SQS event source").

use std::collections::BTreeMap;

use portcullis_aws::queue::TRACE_PARENT;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::trace::Trace;

/// A batch as Lambda hands it over.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// Its messages.
    #[serde(rename = "Records")]
    pub messages: Vec<Message>,
}

/// One message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// What names it in the answer.
    pub message_id: String,
    /// Its body.
    pub body: String,
    /// `aws:sqs`.
    event_source: String,
    #[serde(default, rename = "messageAttributes")]
    attributes: BTreeMap<String, Attribute>,
}

/// What a sender said beside the body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attribute {
    string_value: Option<String>,
}

impl Message {
    /// The trace that its sender was in, where it said so.
    pub fn trace(&self) -> Option<Trace> {
        self.attributes.get(TRACE_PARENT)?.string_value.as_deref().and_then(Trace::of_w3c)
    }
}

impl Batch {
    /// The batch in a body, if it is one: an event of another kind has other fields.
    pub fn read(body: &[u8]) -> Option<Self> {
        let batch: Self = serde_json::from_slice(body).ok()?;
        let sqs = batch.messages.iter().all(|message| message.event_source == "aws:sqs");
        (sqs && !batch.messages.is_empty()).then_some(batch)
    }
}

/// The answer to a batch: these come again, the others are done.
pub fn failures(ids: impl IntoIterator<Item = String>) -> Value {
    let failures: Vec<Value> = ids.into_iter().map(|id| json!({ "itemIdentifier": id })).collect();
    json!({ "batchItemFailures": failures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_told_from_other_events() {
        let batch = br#"{"Records":[{"messageId":"m1","body":"{}","eventSource":"aws:sqs","attributes":{}}]}"#;
        let batch = Batch::read(batch).unwrap();
        assert_eq!(batch.messages[0].message_id, "m1");
        for other in [
            &br#"{"Records":[{"EventSource":"aws:sns","Sns":{"Message":"{}"}}]}"#[..],
            br#"{"detail-type":"ECR Image Action","detail":{}}"#,
            br#"{"Records":[]}"#,
            b"[]",
        ] {
            assert!(Batch::read(other).is_none());
        }
    }

    #[test]
    fn a_message_says_which_trace_it_was_sent_in() {
        let read = |attributes: &str| {
            let record =
                format!(r#"{{"messageId":"m1","body":"","eventSource":"aws:sqs","messageAttributes":{attributes}}}"#);
            Batch::read(format!(r#"{{"Records":[{record}]}}"#).as_bytes()).unwrap().messages[0].trace()
        };
        let sent = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
        let trace =
            read(&format!(r#"{{"traceparent":{{"stringValue":"{sent}","stringListValues":[],"dataType":"String"}}}}"#));
        assert_eq!(trace.unwrap().xray_id(), "1-5759e988-bd862e3fe1be46a994272793");
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"traceparent":{"stringValue":"nothing","dataType":"String"}}"#), None);
    }

    #[test]
    fn only_what_failed_comes_again() {
        assert_eq!(failures([]), json!({ "batchItemFailures": [] }));
        assert_eq!(failures(["m2".to_owned()]), json!({ "batchItemFailures": [{ "itemIdentifier": "m2" }] }));
    }
}
