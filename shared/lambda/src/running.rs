//! A function's life: configured at its cold start, made with its first invocation, asked again and again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::current::{self, UnderWay};
use crate::environment::{ConfigError, Environment};
use crate::log;
use crate::trace::Trace;

/// Before this much is left of an invocation a function stops and hands on: Lambda kills without a word at its end.
pub const RESERVE: Duration = Duration::from_secs(10);

/// One invocation: who asked, and how long there is.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Lambda's id of the request.
    pub request: String,
    /// When Lambda kills it.
    pub deadline: SystemTime,
    /// The account that the function is in; none = the runtime did not say.
    pub account: Option<String>,
}

impl Invocation {
    /// How long may be worked: to the deadline, less [`RESERVE`] (or half of what is left, where that is less).
    pub fn budget(&self, now: SystemTime) -> Duration {
        let left = self.deadline.duration_since(now).unwrap_or_default();
        left.saturating_sub(RESERVE.min(left / 2))
    }

    /// The moment at which it stops and hands on.
    pub fn until(&self) -> Instant {
        Instant::now() + self.budget(SystemTime::now())
    }
}

/// The account in a function's ARN: `arn:aws:lambda:us-east-1:123456789012:function:NAME`.
fn account_of(function: &str) -> Option<String> {
    let mut parts = function.split(':');
    let is_function = parts.next() == Some("arn") && parts.nth(1) == Some("lambda");
    let account = parts.nth(1).filter(|account| account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit()));
    account.filter(|_| is_function).map(str::to_owned)
}

/// Why an invocation failed: Lambda repeats it, then gives it to its dead-letter queue with this text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

impl From<Failed> for Diagnostic {
    fn from(Failed(words): Failed) -> Self {
        Self { error_type: "Failed".to_owned(), error_message: words }
    }
}

impl Failed {
    /// In these words.
    pub fn new(words: impl std::fmt::Display) -> Self {
        Self(words.to_string())
    }
}

/// What a function does.
#[async_trait]
pub trait Function: Send + Sync + Sized + 'static {
    /// Reads its configuration. It makes no call and no client: a cold start waits for it.
    ///
    /// # Errors
    /// When a variable that the template sets is missing: then the function refuses to start.
    fn configure(environment: &Environment) -> Result<Self, ConfigError>;

    /// Answers one invocation.
    ///
    /// # Errors
    /// When Lambda is to invoke it again with the same body.
    async fn invoke(&self, body: &[u8], invocation: &Invocation) -> Result<Value, Failed>;
}

/// Runs a function under the Lambda Runtime API until Lambda ends it.
///
/// # Errors
/// When the configuration is incomplete, or the runtime cannot be reached.
pub fn run<F: Function>() -> Result<(), lambda_runtime::Error> {
    log::start();
    let function = Arc::new(F::configure(&Environment::of_process()).inspect_err(|error| {
        tracing::error!(%error, "the function is not configured");
    })?);
    // One invocation at a time: another thread would only cost memory and its start.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let function = function.clone();
        async move {
            let (payload, context) = event.into_parts();
            let invocation = Invocation {
                deadline: context.deadline(),
                account: account_of(&context.invoked_function_arn),
                request: context.request_id,
            };
            let trace = context.xray_trace_id.as_deref().and_then(Trace::of_xray);
            current::begin(UnderWay { request: invocation.request.clone(), trace });
            function
                .invoke(payload.get().as_bytes(), &invocation)
                .await
                .inspect_err(|error| tracing::error!(%error, "the invocation failed; it comes again"))
        }
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_are_kept_to_hand_on_and_half_of_a_short_invocation() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let within = |seconds| Invocation {
            request: String::new(),
            deadline: now + Duration::from_secs(seconds),
            account: None,
        };
        assert_eq!(within(60).budget(now), Duration::from_secs(50));
        assert_eq!(within(6).budget(now), Duration::from_secs(3));
        assert_eq!(within(0).budget(now), Duration::ZERO);
        assert_eq!(within(5).budget(now + Duration::from_secs(9)), Duration::ZERO);
    }

    #[test]
    fn a_functions_arn_says_whose_account_it_is() {
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:portcullis-sweep";
        assert_eq!(account_of(arn).as_deref(), Some("123456789012"));
        for other in ["", "arn:aws:lambda:us-east-1:1234:function:x", "arn:aws:sqs:us-east-1:123456789012:function:x"] {
            assert_eq!(account_of(other), None, "{other}");
        }
    }
}
