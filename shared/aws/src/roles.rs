//! Which credentials and which region each place is asked with: one STS `AssumeRole` per environment's role.
//!
//! AWS Identity and Access Management User Guide: "How to use an external ID when granting access to your AWS
//! resources to a third party", "Passing session tags in AWS STS". AWS Security Token Service API Reference,
//! `AssumeRole`: a role that is assumed from a role (as a function does) lasts at most one hour.
//!
//! A role is assumed when its credentials are first needed, and again [`EARLY`] before they end. When that fails, the
//! credentials in hand are used while they last, so that a short failure of STS stops no rollback.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, SharedCredentialsProvider, future};
use aws_sdk_sts::types::Tag;
use portcullis_domain::policy::Place;
use portcullis_engine::ports::{PortError, PortResult};
use serde::Deserialize;

use crate::error::found as why;

/// How long a role is assumed for: all that a role assumed from a role may last.
const SESSION: Duration = Duration::from_hours(1);
/// So long before they end, credentials are fetched anew, or sooner.
pub const EARLY: Duration = Duration::from_mins(5);
/// The longest that fetching credentials may hold a call up. The first call of a process also opens a connection.
const LOADING: Duration = Duration::from_secs(15);
/// Longest session name of `AssumeRole`.
const LONGEST_SESSION_NAME: usize = 64;

/// What a role's trust policy asks of whoever assumes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// The `sts:ExternalId` it demands.
    pub external_id: Option<String>,
    /// Session tags: the trust policy must allow `sts:TagSession` for them.
    pub tags: BTreeMap<String, String>,
}

/// The roles and regions of all places. A place without a role is asked with the process's own credentials.
#[derive(Debug)]
pub struct Roles {
    own: SdkConfig,
    trust: BTreeMap<String, Trust>,
    configs: Mutex<HashMap<Place, SdkConfig>>,
}

impl Roles {
    /// Roles that are assumed with these credentials of our own. HTTP client, retries and endpoint are taken over.
    pub fn new(own: SdkConfig) -> Self {
        Self { own, trust: BTreeMap::new(), configs: Mutex::default() }
    }

    /// Says what the trust policy of a role, named by its ARN, asks for.
    #[must_use]
    pub fn with_trust(mut self, role: impl Into<String>, trust: Trust) -> Self {
        self.trust.insert(role.into(), trust);
        self
    }

    /// The configuration that a place is asked with. Asks AWS nothing: the role is assumed at the first call.
    ///
    /// Fails if the role is of another account than the place: whatever it could read would be facts about somewhere
    /// else.
    pub fn config(&self, place: &Place) -> PortResult<SdkConfig> {
        if let Some(known) = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(place) {
            return Ok(known.clone());
        }
        let config = self.build(place)?;
        self.configs.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), config.clone());
        Ok(config)
    }

    fn build(&self, place: &Place) -> PortResult<SdkConfig> {
        let mut config = self.own.to_builder();
        if let Some(region) = &place.region {
            config = config.region(Region::new(region.clone()));
        }
        let config = config.build();
        let Some(role) = &place.role else { return Ok(config) };
        let doing = || format!("choosing the role for the cluster {}", place.cluster);
        let account = account_of(role).ok_or_else(|| {
            PortError::new(doing(), format!("{role:?} is not the ARN of a role: arn:aws:iam::…:role/…"))
        })?;
        if let Some(expected) = place.account.as_deref().filter(|expected| *expected != account) {
            return Err(PortError::new(doing(), format!("{role} is of account {account}, the place of {expected}")));
        }
        let trust = self.trust.get(role).cloned().unwrap_or_default();
        let assumed = AssumedRole {
            sts: aws_sdk_sts::Client::new(&config),
            role: role.clone(),
            session: session_name(place),
            trust,
            last: Mutex::default(),
        };
        // The cache takes a random part of this, at most half of it, off: so that not all begin at the same moment.
        let cache = IdentityCache::lazy().buffer_time(EARLY * 2).load_timeout(LOADING).build();
        let provider = SharedCredentialsProvider::new(assumed);
        Ok(config.into_builder().credentials_provider(provider).identity_cache(cache).build())
    }
}

/// The account of a role's ARN: `arn:aws:iam::444444444444:role/path/name`.
fn account_of(role: &str) -> Option<&str> {
    let mut parts = role.splitn(6, ':');
    let (arn, _partition, service, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (account, resource) = (parts.next()?, parts.next()?);
    let is_account = account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit());
    let is_role = arn == "arn" && service == "iam" && region.is_empty() && resource.starts_with("role/");
    (is_account && is_role).then_some(account)
}

/// What the account's trail shows: `portcullis-NAMESPACE`, in the characters that a session name may have.
fn session_name(place: &Place) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_=,.@-".contains(c) { c } else { '-' };
    format!("portcullis-{}", place.namespace).chars().map(allowed).take(LONGEST_SESSION_NAME).collect()
}

/// One role, assumed when asked. The identity cache in front of it decides when that is.
struct AssumedRole {
    sts: aws_sdk_sts::Client,
    role: String,
    session: String,
    trust: Trust,
    /// What came last, for as long as it lasts.
    last: Mutex<Option<Credentials>>,
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

/// A service's clients, one per place and region, made when first asked for: a function pays for none it does not use.
pub(crate) struct Clients<C> {
    roles: Arc<Roles>,
    make: fn(&SdkConfig) -> C,
    made: Mutex<HashMap<(Place, Option<String>), C>>,
}

impl<C> fmt::Debug for Clients<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl<C: Clone> Clients<C> {
    pub(crate) fn new(roles: Arc<Roles>, make: fn(&SdkConfig) -> C) -> Self {
        Self { roles, make, made: Mutex::default() }
    }

    /// The client of a place, in another region than the place's if one is named.
    pub(crate) fn of(&self, place: &Place, region: Option<&str>) -> PortResult<C> {
        let key = (place.clone(), region.map(str::to_owned));
        if let Some(client) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(client.clone());
        }
        let mut config = self.roles.config(place)?;
        if let Some(region) = region {
            config = config.into_builder().region(Region::new(region.to_owned())).build();
        }
        let client = (self.make)(&config);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, client.clone());
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;

    use super::*;

    fn place(account: Option<&str>, role: Option<&str>, namespace: &str) -> Place {
        Place {
            account: account.map(str::to_owned),
            region: Some("eu-west-1".to_owned()),
            role: role.map(str::to_owned),
            cluster: "main".to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    #[test]
    fn only_a_roles_arn_names_an_account() {
        for (role, account) in [
            ("arn:aws:iam::444444444444:role/portcullis", Some("444444444444")),
            ("arn:aws-cn:iam::444444444444:role/a/path/name", Some("444444444444")),
            ("arn:aws:iam::444444444444:user/portcullis", None),
            ("arn:aws:sts::444444444444:assumed-role/portcullis/x", None),
            ("arn:aws:iam::4444:role/portcullis", None),
            ("portcullis", None),
        ] {
            assert_eq!(account_of(role), account, "{role}");
        }
    }

    #[test]
    fn a_role_of_another_account_than_the_place_is_refused() {
        let roles = Roles::new(SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).build());
        let role = "arn:aws:iam::555555555555:role/portcullis";
        let refused = roles.config(&place(Some("444444444444"), Some(role), "shop")).unwrap_err();
        assert_eq!(refused.found, format!("{role} is of account 555555555555, the place of 444444444444"));
        assert!(roles.config(&place(Some("555555555555"), Some(role), "shop")).is_ok());
        assert!(roles.config(&place(None, Some("portcullis"), "shop")).is_err());
    }

    #[test]
    fn a_place_without_a_role_has_our_own_credentials_in_its_own_region() {
        let own = SdkConfig::builder().region(Region::new("us-east-1")).build();
        let config = Roles::new(own).config(&place(Some("444444444444"), None, "shop")).unwrap();
        assert_eq!(config.region().map(Region::as_ref), Some("eu-west-1"));
        assert!(config.credentials_provider().is_none());
    }

    #[test]
    fn a_session_is_named_after_its_namespace_in_allowed_characters() {
        assert_eq!(session_name(&place(None, None, "shop")), "portcullis-shop");
        assert_eq!(session_name(&place(None, None, "a/b c")), "portcullis-a-b-c");
        assert_eq!(session_name(&place(None, None, &"x".repeat(100))).len(), LONGEST_SESSION_NAME);
    }
}
