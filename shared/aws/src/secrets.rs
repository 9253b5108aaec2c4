//! Secrets from AWS Secrets Manager: kept for minutes, two versions while one replaces the other.
//!
//! AWS Secrets Manager User Guide, "What's in a Secrets Manager secret?" (staging labels) and "Rotation by Lambda
//! function"; AWS Secrets Manager API Reference, `GetSecretValue`.
//!
//! A sender may sign with the old secret for a while after the new one is in place, so both count, the current one first.
//! `AWSPREVIOUS` stays on the old version until the next rotation, which may be never: it counts only while the current
//! one is younger than [`Keeping::overlap`].
//!
//! When Secrets Manager cannot be reached the last value counts for [`Keeping::stale`] longer. When it *answers* that a
//! secret is gone or forbidden, that is so at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Clock, PortError, PortResult};
use secrecy::SecretString;

use crate::error::found as why;
use crate::moment;

/// How long values are kept and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// A value younger than this is not asked for again.
    pub fresh: Millis,
    /// A value is at most this old where Secrets Manager cannot be asked.
    pub stale: Millis,
    /// The previous version counts while the current one is younger than this.
    pub overlap: Millis,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { fresh: Millis::minutes(5), stale: Millis::minutes(30), overlap: Millis::hours(24) }
    }
}

/// The secrets of one account and region.
pub struct Secrets {
    client: Client,
    clock: Arc<dyn Clock>,
    keeping: Keeping,
    known: Mutex<HashMap<String, Known>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("keeping", &self.keeping).finish_non_exhaustive()
    }
}

/// A secret's versions as they came.
#[derive(Clone)]
struct Known {
    asked_at: Timestamp,
    /// The current one first.
    versions: Vec<Version>,
}

#[derive(Clone)]
struct Version {
    id: Option<String>,
    value: SecretString,
    created_at: Option<Timestamp>,
}

impl Known {
    /// What counts at a moment: the current version, and the one before it for a while.
    fn counting(&self, at: Timestamp, overlap: Millis) -> Vec<SecretString> {
        let rotating =
            self.versions.first().and_then(|current| current.created_at).is_some_and(|since| at.since(since) < overlap);
        let count = if rotating { self.versions.len() } else { 1 };
        self.versions.iter().take(count).map(|version| version.value.clone()).collect()
    }
}

impl Secrets {
    /// Secrets that are read with this configuration.
    pub fn new(config: &SdkConfig, clock: Arc<dyn Clock>, keeping: Keeping) -> Self {
        Self { client: Client::new(config), clock, keeping, known: Mutex::default() }
    }

    /// The values of a secret that count now, the current one first; never empty. `name` is its name or ARN.
    pub async fn values(&self, name: &str) -> PortResult<Vec<SecretString>> {
        let now = self.clock.now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(known) = known.as_ref().filter(|known| now.since(known.asked_at) < self.keeping.fresh) {
            return Ok(known.counting(now, self.keeping.overlap));
        }
        let doing = || format!("reading the secret {name}");
        match self.fetch(name).await {
            Ok(versions) => {
                let fetched = Known { asked_at: now, versions };
                let values = fetched.counting(now, self.keeping.overlap);
                self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), fetched);
                Ok(values)
            }
            Err(Failure::Decided(found)) => {
                self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                Err(PortError::new(doing(), found))
            }
            Err(Failure::Passing(found)) => {
                let Some(known) = known.filter(|known| now.since(known.asked_at) < self.keeping.stale) else {
                    return Err(PortError::new(doing(), found));
                };
                let age = now.since(known.asked_at);
                tracing::warn!(secret = name, found, %age, "the secret could not be read; its last value still counts");
                Ok(known.counting(now, self.keeping.overlap))
            }
        }
    }

    async fn fetch(&self, name: &str) -> Result<Vec<Version>, Failure> {
        let (current, previous) = tokio::join!(self.version(name, "AWSCURRENT"), self.version(name, "AWSPREVIOUS"));
        let current =
            current?.ok_or_else(|| Failure::Decided("there is no such secret, or it has no value".to_owned()))?;
        // A secret that was never rotated has none; labels that both name one version mean a rotation is under way.
        let previous = previous?.filter(|previous| previous.id.is_none() || previous.id != current.id);
        Ok(std::iter::once(current).chain(previous).collect())
    }

    /// The version with this label; none = there is none.
    async fn version(&self, name: &str, label: &str) -> Result<Option<Version>, Failure> {
        match self.client.get_secret_value().secret_id(name).version_stage(label).send().await {
            Ok(answer) => version(answer).map(Some),
            Err(error) => match error.as_service_error() {
                Some(GetSecretValueError::ResourceNotFoundException(_)) => Ok(None),
                _ => Err(Failure::of(&error)),
            },
        }
    }
}

/// Why there is no value.
enum Failure {
    /// Secrets Manager answered: an older value would be wrong.
    Decided(String),
    /// It could not be asked, or could not answer now.
    Passing(String),
}

impl Failure {
    fn of(error: &SdkError<GetSecretValueError>) -> Self {
        let found = why(error);
        let SdkError::ServiceError(answer) = error else { return Self::Passing(found) };
        let throttled =
            crate::error::code(error).is_some_and(|code| code.contains("Throttl") || code.contains("TooManyRequests"));
        let is_decided = answer.raw().status().is_client_error() && !throttled;
        if is_decided { Self::Decided(found) } else { Self::Passing(found) }
    }
}

fn version(answer: GetSecretValueOutput) -> Result<Version, Failure> {
    let text = match (answer.secret_string, answer.secret_binary) {
        (Some(text), _) => text,
        (None, Some(bytes)) => String::from_utf8(bytes.into_inner())
            .map_err(|_| Failure::Decided("it holds bytes that are no text".to_owned()))?,
        (None, None) => return Err(Failure::Decided("it holds nothing".to_owned())),
    };
    if text.is_empty() {
        return Err(Failure::Decided("it is empty".to_owned()));
    }
    let created_at = answer.created_date.as_ref().and_then(moment::told);
    Ok(Version { id: answer.version_id, value: SecretString::from(text), created_at })
}
