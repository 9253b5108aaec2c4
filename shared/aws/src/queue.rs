//! The queue port on one standard SQS queue: wakes, and events that could not be recorded at once.
//!
//! A wake is sent with the delay that is left until its moment. SQS delays by at most 15 minutes: a wake that is further
//! off is not sent at all, since the ledger's head has the same moment and the sweep wakes what is overdue every minute.
//! Sending it early would cost a message and a read of the ledger every 15 minutes to find that it is too early.
//!
//! SQS drops characters that XML does not have, and a queue takes 256 KiB a message unless it was made with a larger
//! limit (1 MiB at most; Amazon SQS Developer Guide, "Message quotas"). An event that is larger, or not such text, is
//! stored as a blob and travels as a pointer with its hash.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message as Raw, MessageAttributeValue};
use portcullis_domain::digest::Digest;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Blobs, Clock, PortError, PortResult, Queue, Received, Wake};
use serde::{Deserialize, Serialize};

use crate::client::timeouts;
use crate::error;

/// The longest delay of a message.
const MOST_DELAY: Millis = Millis::minutes(15);
/// The longest wait of one receive.
const MOST_WAIT: Millis = Millis::seconds(20);
/// Messages of one receive.
const MOST_MESSAGES: usize = 10;
/// Bytes of a message that every queue takes, less what its attributes may take.
const MOST_BODY: usize = 250 * 1024;
/// Where events wait that are too large for a message.
const STORED: &str = "unrecorded/";
/// The attribute that carries the trace (W3C Trace Context, `traceparent`).
pub const TRACE_PARENT: &str = "traceparent";

/// What a message of the queue is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Look at this target.
    Wake(Wake),
    /// An event that could not be recorded when it came.
    Event(Unrecorded),
}

/// An event as it came, verified but not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrecorded {
    /// What it is, in the word of whoever received it.
    pub kind: String,
    /// Its bytes, or where they are.
    #[serde(flatten)]
    pub body: Body,
}

/// The bytes of an unrecorded event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// They are this text.
    Body(String),
    /// They are a blob.
    Stored {
        /// Its key.
        key: String,
        /// Its hash.
        sha256: Digest,
    },
}

impl Message {
    /// Reads the body of a message. What is no message of ours says why.
    pub fn decode(body: &str) -> PortResult<Self> {
        serde_json::from_str(body).map_err(|error| PortError::new("reading a message of the queue", error))
    }

    fn encode(&self) -> PortResult<String> {
        serde_json::to_string(self).map_err(|error| PortError::new("writing a message for the queue", error))
    }
}

/// Says the trace that the caller is in, as a W3C `traceparent`.
pub type TraceParent = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// One SQS queue.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
    clock: Arc<dyn Clock>,
    stored: Option<Arc<dyn Blobs>>,
    trace: Option<TraceParent>,
}

impl std::fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqsQueue").field("url", &self.url).finish_non_exhaustive()
    }
}

impl SqsQueue {
    /// The queue with this address; delays are counted by this clock.
    pub fn new(client: Client, url: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self { client, url: url.into(), clock, stored: None, trace: None }
    }

    /// Where events are stored that are too large for a message.
    #[must_use]
    pub fn with_blobs(mut self, blobs: Arc<dyn Blobs>) -> Self {
        self.stored = Some(blobs);
        self
    }

    /// Sends the caller's trace with every message.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceParent) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Sends an event that could not be recorded when it came, to be recorded by whoever receives it. `kind` is a word
    /// that tells the receiver how to read it.
    ///
    /// # Errors
    /// SQS or the blobs refuse, or it is too large and there are no blobs.
    pub async fn send_unrecorded(&self, kind: &str, event: &[u8]) -> PortResult<()> {
        let doing = format!("putting an unrecorded event ({kind}) in the queue");
        let message = |body| Message::Event(Unrecorded { kind: kind.to_owned(), body });
        if let Some(text) = std::str::from_utf8(event).ok().filter(|text| text.len() <= MOST_BODY && is_plain(text)) {
            let body = message(Body::Body(text.to_owned())).encode()?;
            // Quotes and line ends take more in the message than in the event.
            if body.len() <= MOST_BODY {
                return self.put(&doing, body, 0).await;
            }
        }
        let blobs = self.stored.as_ref();
        let blobs =
            blobs.ok_or_else(|| PortError::new(&doing, format!("{} bytes, too large for a message", event.len())))?;
        let sha256 = Digest::of(event);
        // Its name is its hash: one that is sent twice is stored once.
        let key = format!("{STORED}{}", sha256.hex());
        blobs.put(&key, event, true).await?;
        self.put(&doing, message(Body::Stored { key, sha256 }).encode()?, 0).await
    }

    /// The bytes of an unrecorded event, as they came.
    ///
    /// # Errors
    /// The blob can not be read, is gone, or is not what was stored.
    pub async fn unrecorded(&self, event: &Unrecorded) -> PortResult<Vec<u8>> {
        let (key, sha256) = match &event.body {
            Body::Body(text) => return Ok(text.as_bytes().to_vec()),
            Body::Stored { key, sha256 } => (key, sha256),
        };
        let failed = |found: &str| PortError::new(format!("reading the unrecorded event {key}"), found);
        if !key.starts_with(STORED) {
            return Err(failed("it is not where such events are stored"));
        }
        let blobs = self.stored.as_ref().ok_or_else(|| failed("there are no blobs to read it from"))?;
        let bytes = blobs.get(key).await?.ok_or_else(|| failed("it is gone"))?;
        if Digest::of(&bytes) != *sha256 {
            return Err(failed("it is not what was stored"));
        }
        Ok(bytes)
    }

    async fn put(&self, doing: &str, body: String, delay: i32) -> PortResult<()> {
        let mut send = self.client.send_message().queue_url(&self.url).message_body(body).delay_seconds(delay);
        if let Some(trace) = self.trace.as_ref().and_then(|trace| trace()) {
            let attribute = MessageAttributeValue::builder().data_type("String").string_value(trace).build();
            let attribute = attribute.map_err(|error| PortError::new(doing, error))?;
            send = send.message_attributes(TRACE_PARENT, attribute);
        }
        send.send().await.map_err(|error| PortError::new(doing, error::found(&error)))?;
        Ok(())
    }

    /// One receive that waits up to `wait`, in whole seconds up to 20.
    async fn ask(&self, most: usize, wait: Millis) -> PortResult<Vec<Raw>> {
        let wait = wait.0.min(MOST_WAIT.0).div_ceil(1_000);
        // The answer may begin so much later.
        let (read, all) = (Duration::from_secs(wait + 5), Duration::from_secs(wait + 15));
        let patient = aws_sdk_sqs::config::Builder::new().timeout_config(timeouts(read, read, all));
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(most).unwrap_or(i32::MAX))
            .wait_time_seconds(i32::try_from(wait).unwrap_or(i32::MAX))
            .customize()
            .config_override(patient)
            .send()
            .await
            .map_err(|error| PortError::new("receiving from the queue", error::found(&error)))?;
        Ok(answer.messages.unwrap_or_default())
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, wake: Wake) -> PortResult<()> {
        let doing = format!("sending a wake for {}", wake.target);
        let Some(delay) = delay(wake.at, self.clock.now()) else {
            tracing::debug!(target = %wake.target, at = wake.at.0, "a wake is further off than a message can wait: the sweep's");
            return Ok(());
        };
        self.put(&doing, Message::Wake(wake).encode()?, delay).await
    }

    /// Wakes only. What else is in the queue comes again after its time, to whoever asks for it, or goes where the queue
    /// puts what nobody takes.
    async fn receive(&self, most: usize, wait: Millis) -> PortResult<Vec<Received>> {
        let most = most.min(MOST_MESSAGES);
        let deadline = self.clock.now() + wait;
        if most == 0 {
            return Ok(Vec::new());
        }
        loop {
            let messages = self.ask(most, deadline.since(self.clock.now())).await?;
            let received: Vec<Received> = messages.into_iter().filter_map(wake_of).collect();
            if !received.is_empty() {
                return Ok(received);
            }
            if self.clock.now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    async fn done(&self, receipt: &str) -> PortResult<()> {
        let sent = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await;
        match sent {
            Ok(_) => Ok(()),
            // It was done before, or came again under another receipt: there is nothing left to end.
            Err(error) if error::code(&error) == Some("ReceiptHandleIsInvalid") => Ok(()),
            Err(error) => Err(PortError::new("ending a wake", error::found(&error))),
        }
    }
}

fn wake_of(message: Raw) -> Option<Received> {
    let id = message.message_id.unwrap_or_default();
    match Message::decode(&message.body.unwrap_or_default()) {
        Ok(Message::Wake(wake)) => Some(Received { wake, receipt: message.receipt_handle? }),
        Ok(Message::Event(event)) => {
            tracing::warn!(
                message_id = id,
                kind = event.kind,
                "an unrecorded event is in a queue that is read for wakes; left"
            );
            None
        }
        Err(error) => {
            tracing::error!(message_id = id, %error, "left for the dead-letter queue");
            None
        }
    }
}

/// Seconds until a moment, upwards: a wake is never early. None = further off than a message can wait.
fn delay(at: Timestamp, now: Timestamp) -> Option<i32> {
    let left = at.since(now);
    (left <= MOST_DELAY).then(|| i32::try_from(left.0.div_ceil(1_000)).unwrap_or(i32::MAX))
}

/// Whether SQS carries this text as it is: it replaces what XML 1.0 does not have. JSON writes control characters as
/// escapes, so that only two characters are left that would be lost.
fn is_plain(text: &str) -> bool {
    !text.contains(['\u{fffe}', '\u{ffff}'])
}

#[cfg(test)]
mod tests {
    use portcullis_domain::names::Seq;

    use super::*;

    #[test]
    fn a_wake_is_never_early_and_one_that_is_far_off_is_the_sweeps() {
        let now = Timestamp(1_000_000);
        let delays = [0, 1, 999, 1_000, 1_001, 900_000].map(|left| delay(now + Millis(left), now));
        assert_eq!(delays, [Some(0), Some(1), Some(1), Some(1), Some(2), Some(900)]);
        assert_eq!(delay(now + Millis(900_001), now), None);
        assert_eq!(delay(Timestamp(0), now), Some(0));
    }

    #[test]
    fn messages_are_json_that_a_person_can_read_in_a_dead_letter_queue() {
        let wake = Wake { target: "shop/production".parse().unwrap(), version: Seq(7), at: Timestamp(9) };
        let event = |body| Message::Event(Unrecorded { kind: "ecr".to_owned(), body });
        let stored = Body::Stored { key: "unrecorded/ab".to_owned(), sha256: Digest::of(b"") };
        let texts =
            [Message::Wake(wake), event(Body::Body("{\"a\":\"\u{1}\"}".to_owned())), event(stored)].map(|message| {
                let text = message.encode().unwrap();
                assert_eq!(Message::decode(&text).unwrap(), message);
                text
            });
        assert_eq!(texts[0], r#"{"wake":{"target":"shop/production","version":7,"at":9}}"#);
        assert_eq!(texts[1], r#"{"event":{"kind":"ecr","body":"{\"a\":\"\u0001\"}"}}"#);
        assert!(
            texts[2].starts_with(r#"{"event":{"kind":"ecr","stored":{"key":"unrecorded/ab","sha256":"sha256:e3b0"#)
        );
        assert!(Message::decode("{\"else\":1}").is_err());
    }

    #[test]
    fn what_sqs_would_change_is_not_sent_as_text() {
        assert!(is_plain("{\"name\": \"Ösi \u{1f512}\"}"));
        assert!(!is_plain("\u{ffff}"));
    }
}
