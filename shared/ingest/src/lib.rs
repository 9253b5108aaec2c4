//! Wire formats of other parties, read into [`Fact`]s: the bytes of an AWS event go in, what it says comes out.
//!
//! Tolerant of what it does not need (unknown fields, missing descriptions), strict on what it does: a field that
//! decides something is there, of the right type, within its limits, or the event is [`Malformed`] and names it.
//!
//! It must not know: the policy (whether the account and region are ours is the caller's to check, by
//! [`Fact::account`] and [`Fact::region`]), HTTP, AWS's SDK, any I/O, a clock. It authenticates nothing: the caller
//! has done so before a byte comes here.
//!
//! Rules for every format:
//! - of a key written twice in one object the last counts, as in nearly every reader of JSON (RFC 8259, section 4);
//! - `null` is the same as absent;
//! - words of AWS's that we do not know (a new event type, a new action) are [`Read::Ignored`] with the reason,
//!   never an error, or a new feature of AWS's would fill dead-letter queues;
//! - an ARN in an event must name the account and region the event came from, or an account that may speak for one
//!   registry could speak for all.
//!
//! Start reading at [`read`], then `envelope.rs`; each sender has its file: `ecr.rs`, `inspector.rs`,
//! `cloudwatch.rs`. The folder `events/` at the root has a sample of each kind.

#![allow(clippy::doc_markdown, reason = "EventBridge, CloudWatch and the like are names of products, not code")]

mod arn;
mod cloudwatch;
mod ecr;
mod envelope;
mod inspector;
mod json;
mod registry;
mod severity;
pub mod signature;

use std::fmt;

use portcullis_domain::facts::{AlarmState, ScanStatus};
use portcullis_domain::signal::{Fact, FactKind};

/// The largest body that is read, in bytes: 1 MiB, the most that EventBridge, SQS and asynchronous Lambda carry
/// (AWS Compute Blog, "More room to build: serverless services now support payloads up to 1 MB").
pub const MAX_BODY: usize = 1024 * 1024;

/// The deepest nesting of objects and arrays that is read. The deepest event here has 8 levels; the JSON parser
/// itself stops at 128.
pub const MAX_DEPTH: usize = 64;

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Facts, at least one. Several only where one event speaks of several images.
    Facts(Vec<Fact>),
    /// A well-formed event that says nothing we act on.
    Ignored {
        /// What kind of event it is, as its sender names it; at most 80 characters, none of them control characters.
        kind: String,
        /// Why it is of no use.
        reason: String,
    },
}

impl Read {
    pub(crate) fn ignored(kind: &str, reason: impl Into<String>) -> Self {
        Self::Ignored { kind: json::plain(kind), reason: reason.into() }
    }
}

/// One line for people: `fact: image pushed`, `ignored: push failed`.
impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Read::Ignored { reason, .. } => write!(f, "ignored: {reason}"),
            Read::Facts(facts) => {
                f.write_str("fact: ")?;
                for (i, fact) in facts.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "; " })?;
                    describe(&fact.kind, f)?;
                }
                Ok(())
            }
        }
    }
}

fn describe(kind: &FactKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match kind {
        FactKind::ImagePushed { tag: Some(_), .. } => f.write_str("image pushed"),
        FactKind::ImagePushed { tag: None, .. } => f.write_str("image pushed without a tag"),
        FactKind::ImageDeleted { tag: Some(_), .. } => f.write_str("image deleted"),
        FactKind::ImageDeleted { tag: None, .. } => f.write_str("image deleted without a tag"),
        FactKind::ScanReported { status, counts, .. } => {
            f.write_str(match status {
                ScanStatus::Complete => "scan complete",
                ScanStatus::InProgress => "scan in progress",
                ScanStatus::Failed => "scan failed",
                ScanStatus::Unsupported => "scan unsupported",
                ScanStatus::Missing => "scan missing",
            })?;
            for (i, (severity, count)) in counts.iter().enumerate() {
                write!(f, "{} {count} {severity}", if i == 0 { ":" } else { "," })?;
            }
            Ok(())
        }
        FactKind::ScanFrequencyChanged { repositories } => {
            write!(f, "scan frequency changed, repositories: {}", repositories.len())
        }
        FactKind::AlarmChanged { alarm, state, suppressed, .. } => {
            let state = match state {
                AlarmState::Ok => "OK",
                AlarmState::Alarm => "ALARM",
                AlarmState::InsufficientData => "INSUFFICIENT_DATA",
            };
            write!(f, "{alarm} {state}{}", if *suppressed { ", suppressed" } else { "" })
        }
    }
}

/// Why a body is not an event we can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Malformed {
    /// Where, as a JSON path: `detail.image-digest`, `detail.resources[0].type`; inside a string that holds JSON the
    /// path goes on (`Message.AlarmName`); `body` is the whole.
    pub field: String,
    /// What is wrong. At most 80 characters of one value are shown, escaped.
    pub why: String,
}

/// Reads one event of AWS's: an EventBridge event, an SNS notification, or what CloudWatch hands to a Lambda function
/// as an alarm's action. Pure, and in time linear in the body.
///
/// # Errors
/// [`Malformed`] if the body has more than [`MAX_BODY`] bytes, is not UTF-8, is not a JSON object, nests deeper than
/// [`MAX_DEPTH`], is no known envelope, or lacks a field that its kind needs.
pub fn read(body: &[u8]) -> Result<Read, Malformed> {
    let value = json::parse(body, "")?;
    envelope::read(&json::At::root(&value, ""))
}
