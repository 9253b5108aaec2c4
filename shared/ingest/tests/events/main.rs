//! The reader of events against `events/` at the root: as it is, in other wrappings, mangled, and changed at random.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should fail")]
#![allow(clippy::doc_markdown, reason = "EventBridge, CloudWatch and the like are names of products, not code")]

mod mangled;
mod random;
mod samples;
mod support;
mod wrappers;
