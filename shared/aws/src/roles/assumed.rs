//! One role as a provider of credentials: assumed when asked, and what came last used while it lasts.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, future};
use aws_sdk_sts::Client;
use aws_sdk_sts::types::Tag;

use super::Trust;
use crate::error::found as why;

/// How long a role is assumed for: all that a role assumed from a role may last.
const SESSION: Duration = Duration::from_hours(1);

/// One role, assumed when asked. The identity cache in front of it decides when that is.
pub(super) struct AssumedRole {
    sts: Client,
    role: String,
    session: String,
    trust: Trust,
    /// What came last, for as long as it lasts.
    last: Mutex<Option<Credentials>>,
}

impl AssumedRole {
    /// This role, assumed with the credentials of `config` and in its region.
    pub(super) fn new(config: &SdkConfig, role: &str, session: &str, trust: Trust) -> Self {
        let (role, session) = (role.to_owned(), session.to_owned());
        Self { sts: Client::new(config), role, session, trust, last: Mutex::default() }
    }
}

impl fmt::Debug for AssumedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssumedRole").field("role", &self.role).finish_non_exhaustive()
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            match self.assume().await {
                Ok(fresh) => {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
                    Ok(fresh)
                }
                Err(error) => {
                    let Some(last) = self.lasting() else { return Err(error) };
                    tracing::warn!(role = self.role, %error, "the role was not assumed anew; its credentials still last");
                    Ok(last)
                }
            }
        })
    }

    /// Where STS takes too long to answer.
    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.lasting()
    }
}

impl AssumedRole {
    /// The credentials that came last, if they have not ended.
    fn lasting(&self) -> Option<Credentials> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.filter(|last| last.expiry().is_some_and(|end| end > SystemTime::now()))
    }

    async fn assume(&self) -> Provided {
        let mut tags = Vec::with_capacity(self.trust.tags.len());
        for (key, value) in &self.trust.tags {
            let tag = Tag::builder().key(key).value(value).build();
            tags.push(tag.map_err(CredentialsError::invalid_configuration)?);
        }
        let seconds = i32::try_from(SESSION.as_secs()).unwrap_or(i32::MAX);
        let answer = self
            .sts
            .assume_role()
            .role_arn(&self.role)
            .role_session_name(&self.session)
            .duration_seconds(seconds)
            .set_external_id(self.trust.external_id.clone())
            .set_tags((!tags.is_empty()).then_some(tags))
            .send()
            .await
            .map_err(|error| CredentialsError::provider_error(format!("assuming {}: {}", self.role, why(&error))))?;
        let given = answer
            .credentials
            .ok_or_else(|| CredentialsError::unhandled(format!("assuming {}: no credentials came", self.role)))?;
        let ends = SystemTime::try_from(given.expiration).map_err(CredentialsError::unhandled)?;
        Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            Some(ends),
            "PortcullisAssumedRole",
        ))
    }
}
