//! Which credentials and which region each place is asked with: one STS `AssumeRole` per environment's role.
//!
//! AWS Identity and Access Management User Guide: "How to use an external ID when granting access to your AWS
//! resources to a third party", "Passing session tags in AWS STS". AWS Security Token Service API Reference,
//! `AssumeRole`: a role that is assumed from a role (as a function does) lasts at most one hour.
//!
//! Whoever acts (a driver) asks with each place's own role. Whoever only reads ([`Roles::reading`], as the functions of
//! the hub do) must not have those: it asks in other accounts with a role there that can only read.
//!
//! A role is assumed when its credentials are first needed, and again [`EARLY`] before they end. When that fails, the
//! credentials in hand are used while they last, so that a short failure of STS stops no rollback.

mod assumed;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use portcullis_domain::policy::Place;
use portcullis_engine::ports::{PortError, PortResult};
use serde::Deserialize;

use self::assumed::AssumedRole;

/// So long before they end, credentials are fetched anew, or sooner.
pub const EARLY: Duration = Duration::from_mins(5);
/// The longest that fetching credentials may hold a call up. The first call of a process also opens a connection.
const LOADING: Duration = Duration::from_secs(15);
/// Longest session name of `AssumeRole`.
const LONGEST_SESSION_NAME: usize = 64;
/// What the trail of another account shows of whoever only reads there.
const READER_SESSION: &str = "portcullis-reader";

/// What a role's trust policy asks of whoever assumes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// The `sts:ExternalId` it demands.
    pub external_id: Option<String>,
    /// Session tags: the trust policy must allow `sts:TagSession` for them.
    pub tags: BTreeMap<String, String>,
}

/// A role that can only read, in an account of which something has to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderRole {
    account: String,
    arn: String,
}

/// Text that is not the ARN of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME")]
pub struct NoRole(String);

impl FromStr for ReaderRole {
    type Err = NoRole;

    fn from_str(arn: &str) -> Result<Self, NoRole> {
        let account = account_of(arn).ok_or_else(|| NoRole(arn.chars().take(200).collect()))?;
        Ok(Self { account: account.to_owned(), arn: arn.to_owned() })
    }
}

/// Which role is assumed, and under which name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Chosen {
    role: String,
    session: String,
}

/// A region and a role that are asked with; none = our own.
type Asked = (Option<String>, Option<Chosen>);

/// What somebody who only reads has instead of the places' roles.
#[derive(Debug, Default)]
struct Reading {
    own_account: Option<String>,
    /// By their account.
    roles: HashMap<String, String>,
}

/// The roles and regions of all places. A place without a role is asked with the process's own credentials.
#[derive(Debug)]
pub struct Roles {
    own: SdkConfig,
    trust: BTreeMap<String, Trust>,
    external_id: Option<String>,
    reading: Option<Reading>,
    /// Places that share region and role share the role's credentials.
    configs: Mutex<HashMap<Asked, SdkConfig>>,
}

impl Roles {
    /// Roles that are assumed with these credentials of our own. HTTP client, retries and endpoint are taken over.
    pub fn new(own: SdkConfig) -> Self {
        Self { own, trust: BTreeMap::new(), external_id: None, reading: None, configs: Mutex::default() }
    }

    /// Says what the trust policy of a role, named by its ARN, asks for.
    #[must_use]
    pub fn with_trust(mut self, role: impl Into<String>, trust: Trust) -> Self {
        self.trust.insert(role.into(), trust);
        self
    }

    /// The `sts:ExternalId` that every role is told of which [`Roles::with_trust`] says nothing.
    #[must_use]
    pub fn with_external_id(mut self, id: impl Into<String>) -> Self {
        self.external_id = Some(id.into());
        self
    }

    /// Only reads. What is in our own account is asked with our own credentials, whichever role the place has; what is in
    /// another account with the reader role of that account, or, where none is given, with the place's role. Without
    /// `own_account` no account is our own. Of two reader roles of one account the last counts.
    #[must_use]
    pub fn reading(mut self, own_account: Option<String>, roles: impl IntoIterator<Item = ReaderRole>) -> Self {
        let roles = roles.into_iter().map(|role| (role.account, role.arn)).collect();
        self.reading = Some(Reading { own_account, roles });
        self
    }

    /// The configuration that a place is asked with. Asks AWS nothing: the role is assumed at the first call.
    ///
    /// Fails if the place's role is of another account than the place: whatever it could read would be facts about
    /// somewhere else.
    pub fn config(&self, place: &Place) -> PortResult<SdkConfig> {
        self.config_in(place, None)
    }

    /// The same for what belongs to a place but is in this account, as its images may be; none = in the place's own.
    pub(crate) fn config_in(&self, place: &Place, account: Option<&str>) -> PortResult<SdkConfig> {
        let key = (place.region.clone(), self.choose(place, account)?);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = configs.get(&key) {
            return Ok(known.clone());
        }
        let config = self.build(key.0.as_deref(), key.1.as_ref());
        configs.insert(key, config.clone());
        Ok(config)
    }

    /// The role that is assumed; none = our own credentials.
    fn choose(&self, place: &Place, account: Option<&str>) -> PortResult<Option<Chosen>> {
        if let Some(reading) = &self.reading
            && let Some(account) = account.or(place.account.as_deref())
        {
            if reading.own_account.as_deref() == Some(account) {
                return Ok(None);
            }
            if let Some(role) = reading.roles.get(account) {
                return Ok(Some(Chosen { role: role.clone(), session: READER_SESSION.to_owned() }));
            }
        }
        let Some(role) = &place.role else { return Ok(None) };
        let doing = || format!("choosing the role for the cluster {}", place.cluster);
        let of = account_of(role).ok_or_else(|| PortError::new(doing(), NoRole(role.clone())))?;
        if let Some(expected) = place.account.as_deref().filter(|expected| *expected != of) {
            return Err(PortError::new(doing(), format!("{role} is of account {of}, the place of {expected}")));
        }
        Ok(Some(Chosen { role: role.clone(), session: session_name(place) }))
    }

    fn build(&self, region: Option<&str>, chosen: Option<&Chosen>) -> SdkConfig {
        let mut config = self.own.to_builder();
        if let Some(region) = region {
            config = config.region(Region::new(region.to_owned()));
        }
        let config = config.build();
        let Some(Chosen { role, session }) = chosen else { return config };
        let unsaid = || Trust { external_id: self.external_id.clone(), ..Trust::default() };
        let trust = self.trust.get(role).cloned().unwrap_or_else(unsaid);
        let assumed = AssumedRole::new(&config, role, session, trust);
        // The cache takes a random part of this, at most half of it, off: so that not all begin at the same moment.
        let cache = IdentityCache::lazy().buffer_time(EARLY * 2).load_timeout(LOADING).build();
        let provider = SharedCredentialsProvider::new(assumed);
        config.into_builder().credentials_provider(provider).identity_cache(cache).build()
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

/// A place, the account in it and the region that a client is for.
type For = (Place, Option<String>, Option<String>);

/// A service's clients, one per place, account and region, made when first asked for: a function pays for none it does
/// not use.
pub(crate) struct Clients<C> {
    roles: Arc<Roles>,
    make: fn(&SdkConfig) -> C,
    made: Mutex<HashMap<For, C>>,
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
        self.in_account(place, None, region)
    }

    /// The same for what belongs to the place but is in this account, such as the registry of its images.
    pub(crate) fn in_account(&self, place: &Place, account: Option<&str>, region: Option<&str>) -> PortResult<C> {
        let key = (place.clone(), account.map(str::to_owned), region.map(str::to_owned));
        if let Some(client) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(client.clone());
        }
        let mut config = self.roles.config_in(place, account)?;
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

    /// What is assumed by a reader of account 111111111111 that has roles in 333333333333 and 444444444444.
    fn chosen(place: &Place, account: Option<&str>) -> PortResult<Option<String>> {
        let readers = ["arn:aws:iam::333333333333:role/reader", "arn:aws:iam::444444444444:role/images"];
        let readers = readers.map(|arn| arn.parse::<ReaderRole>().unwrap());
        let own = SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).build();
        let roles = Roles::new(own).reading(Some("111111111111".to_owned()), readers);
        Ok(roles.choose(place, account)?.map(|chosen| chosen.role))
    }

    #[test]
    fn a_reader_has_its_own_credentials_at_home_and_reader_roles_elsewhere() {
        let home = place(Some("111111111111"), Some("arn:aws:iam::111111111111:role/driver"), "shop");
        assert_eq!(chosen(&home, None).unwrap(), None, "the driver's role is not ours");
        assert_eq!(
            chosen(&home, Some("444444444444")).unwrap().as_deref(),
            Some("arn:aws:iam::444444444444:role/images")
        );
        let other = place(Some("333333333333"), Some("arn:aws:iam::333333333333:role/driver"), "shop");
        assert_eq!(chosen(&other, None).unwrap().as_deref(), Some("arn:aws:iam::333333333333:role/reader"));
        assert_eq!(chosen(&other, Some("111111111111")).unwrap(), None, "its images are at home");
        let unknown = place(Some("555555555555"), Some("arn:aws:iam::555555555555:role/driver"), "shop");
        assert_eq!(chosen(&unknown, None).unwrap(), unknown.role, "no reader role is given: the place's");
        assert_eq!(chosen(&place(Some("555555555555"), None, "shop"), None).unwrap(), None);
        let nowhere = place(None, Some("arn:aws:iam::555555555555:role/driver"), "shop");
        assert_eq!(chosen(&nowhere, None).unwrap(), nowhere.role);
    }

    #[test]
    fn who_acts_has_the_places_role_whichever_account_is_asked() {
        let roles = Roles::new(SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).build());
        let place = place(Some("333333333333"), Some("arn:aws:iam::333333333333:role/driver"), "shop");
        for account in [None, Some("333333333333"), Some("444444444444")] {
            let chosen = roles.choose(&place, account).unwrap().unwrap();
            assert_eq!((Some(chosen.role), chosen.session.as_str()), (place.role.clone(), "portcullis-shop"));
        }
    }

    #[test]
    fn what_is_no_roles_arn_is_no_reader() {
        let error = "portcullis-reader".parse::<ReaderRole>().unwrap_err().to_string();
        assert_eq!(error, "\"portcullis-reader\" is not the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME");
    }

    #[test]
    fn a_session_is_named_after_its_namespace_in_allowed_characters() {
        assert_eq!(session_name(&place(None, None, "shop")), "portcullis-shop");
        assert_eq!(session_name(&place(None, None, "a/b c")), "portcullis-a-b-c");
        assert_eq!(session_name(&place(None, None, &"x".repeat(100))).len(), LONGEST_SESSION_NAME);
    }
}
