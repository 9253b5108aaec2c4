//! AWS Lambda as the shell around the engine: what each function does with an invocation. The folders under
//! `functions/` only name one of these.
//!
//! - [`recording`]: the `on-*` functions. What they are told is in the ledger, or, where the ledger cannot be reached,
//!   on the queue, before they answer.
//! - `driving`: `run-release`. Wakes in, effects out; it stops in time and hands on by a wake. It alone reaches clusters,
//!   and is behind the feature `driver`, so that no other function has a client of Kubernetes in it.
//! - [`sweeping`]: `sweep`. What is overdue, and what was lost.
//! - [`telling`]: `notify`. The ledger's readers: the log, [`deployed`], [`restored`].
//! - [`webhooks`]: the two functions behind HTTP, `on-github-event` and `on-approval`; [`answering`] is their transport.
//!
//! It must not know: what a gate judges, how a release runs; how an adapter speaks to AWS. A client is made with the first
//! invocation, never before: a cold start costs what it uses.

#![allow(clippy::doc_markdown, reason = "EventBridge, CloudWatch and the like are names of products, not code")]

pub mod answering;
pub mod batch;
mod clock;
#[cfg(feature = "driver")]
mod clusters;
mod current;
pub mod deployed;
#[cfg(feature = "driver")]
pub mod driving;
pub mod environment;
#[cfg(feature = "faults")]
mod faults;
pub mod health;
mod log;
pub mod recording;
pub mod restored;
pub mod running;
mod settled;
pub mod sweeping;
pub mod synthetic;
pub mod telling;
pub mod trace;
mod wakes;
pub mod webhooks;
pub mod wiring;
