//! How a cluster of Amazon EKS is reached: its endpoint, its certificate authority, and a token for its API.
//!
//! Amazon EKS API Reference, `DescribeCluster`. The token is that of AWS's IAM Authenticator for Kubernetes, as
//! `aws eks get-token` makes it: a presigned URL of STS `GetCallerIdentity` that also signs the cluster's name, so that a
//! token for one cluster is worth nothing at another. The cluster calls the URL and learns who signed it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_eks::Client;
use aws_sdk_eks::types::ClusterStatus;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_types::base64;
use portcullis_domain::policy::Place;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Access, Bearer, Clock, Endpoint, PortError, PortResult};
use secrecy::SecretString;

use crate::error::found as why;
use crate::roles::{Clients, Roles};

/// How long the presigned URL is valid for STS. The authenticator refuses longer ones than 15 minutes and itself takes a
/// token for 15 minutes from its signing.
const SIGNED_FOR: Duration = Duration::from_mins(1);
/// How long the cluster takes a token.
const LASTS: Millis = Millis::minutes(15);
/// So old a token is replaced: well before its end, for clocks differ and calls take time.
pub const RENEW_AFTER: Millis = Millis::minutes(10);
/// What every token begins with.
const PREFIX: &str = "k8s-aws-v1.";

/// A token for one cluster, and how long it is good for.
#[derive(Debug, Clone)]
pub struct Token {
    /// What is sent as `Authorization: Bearer`.
    pub bearer: SecretString,
    /// From this moment a new one is to be asked for.
    pub renew_at: Timestamp,
    /// The cluster refuses it from this moment on.
    pub ends_at: Timestamp,
}

/// The clusters of all places.
pub struct ClusterAccess {
    roles: Arc<Roles>,
    clients: Clients<Client>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ClusterAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterAccess").field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl ClusterAccess {
    /// Clusters reached with each place's role.
    pub fn new(roles: Arc<Roles>, clock: Arc<dyn Clock>) -> Self {
        Self { clients: Clients::new(roles.clone(), Client::new), roles, clock }
    }

    /// A token for the place's cluster, signed now. Asks AWS nothing but, when they are due, credentials.
    pub async fn token(&self, place: &Place) -> PortResult<Token> {
        let doing = || format!("signing a token for the cluster {}", place.cluster);
        let config = self.roles.config(place)?;
        let credentials = credentials(&config).await.map_err(|found| PortError::new(doing(), found))?;
        let region = config.region().ok_or_else(|| PortError::new(doing(), "no region is known"))?;
        let now = self.clock.now();
        let bearer = bearer(&credentials, region.as_ref(), &place.cluster, now);
        let bearer = bearer.map_err(|found| PortError::new(doing(), found))?;
        // A token cannot outlive the credentials that signed it.
        let expiry = credentials.expiry().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let expiry = expiry.and_then(|since| u64::try_from(since.as_millis()).ok()).map(Timestamp);
        let ends_at = expiry.map_or(now + LASTS, |expiry| expiry.min(now + LASTS));
        Ok(Token { bearer: SecretString::from(bearer), renew_at: (now + RENEW_AFTER).min(ends_at), ends_at })
    }
}

#[async_trait]
impl Access for ClusterAccess {
    /// Neither changes in a cluster's life.
    async fn endpoint(&self, place: &Place) -> PortResult<Endpoint> {
        let wrong = |found: String| PortError::new(format!("looking up the cluster {}", place.cluster), found);
        let client = self.clients.of(place, None)?;
        let answer = client.describe_cluster().name(&place.cluster).send().await.map_err(|error| wrong(why(&error)))?;
        let cluster = answer.cluster.ok_or_else(|| wrong("an answer without a cluster".to_owned()))?;
        // One that is updated serves; in every other state its endpoint may be missing or about to go.
        if !matches!(cluster.status, None | Some(ClusterStatus::Active | ClusterStatus::Updating)) {
            return Err(wrong(format!(
                "it is {}",
                cluster.status.map_or_else(String::new, |status| status.to_string())
            )));
        }
        let url = cluster.endpoint.filter(|url| url.starts_with("https://"));
        let url = url.ok_or_else(|| wrong("it has no https endpoint".to_owned()))?;
        let authority = cluster.certificate_authority.and_then(|authority| authority.data);
        let authority = authority.ok_or_else(|| wrong("it has no certificate authority".to_owned()))?;
        let authority =
            base64::decode(authority).map_err(|error| wrong(format!("its certificate authority: {error}")))?;
        Ok(Endpoint { url, authority })
    }

    async fn bearer(&self, place: &Place) -> PortResult<Bearer> {
        let token = self.token(place).await?;
        Ok(Bearer { token: token.bearer, renew_at: Some(token.renew_at) })
    }
}

/// The place's credentials. The provider itself keeps nothing: a token is signed every ten minutes at most.
async fn credentials(config: &SdkConfig) -> Result<Credentials, String> {
    let provider = config.credentials_provider().ok_or("no credentials are known")?;
    provider.provide_credentials().await.map_err(|error| chain(&error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
    format!("{error}{source}")
}

/// The token: the presigned URL, base64url without padding, after its prefix.
fn bearer(credentials: &Credentials, region: &str, cluster: &str, at: Timestamp) -> Result<String, String> {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let url = format!("https://sts.{region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(SIGNED_FOR);
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(SystemTime::UNIX_EPOCH + Duration::from_millis(at.0))
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let headers = [("x-k8s-aws-id", cluster)];
    let request = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(&[]));
    let request = request.map_err(|error| error.to_string())?;
    let (instructions, _) = sign(request, &params).map_err(|error| error.to_string())?.into_parts();
    let mut signed = url;
    for (name, value) in instructions.params() {
        signed.push('&');
        signed.push_str(name);
        signed.push('=');
        push_encoded(&mut signed, value);
    }
    let text = base64::encode(signed).replace('+', "-").replace('/', "_");
    Ok(format!("{PREFIX}{}", text.trim_end_matches('=')))
}

/// Percent-encoded as Signature Version 4 wants a query's values: everything but unreserved characters (RFC 3986, section 2.3).
fn push_encoded(text: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-05-04T12:00:00Z.
    const AT: Timestamp = Timestamp(1_777_896_000_000);
    /// The key of AWS's own Signature Version 4 test suite.
    const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    /// Signatures made by botocore 1.43 as `aws eks get-token` asks for them: `GetCallerIdentity` in `eu-central-1`,
    /// presigned for 60 s with the header `x-k8s-aws-id: volteryde-main`.
    const WITHOUT_SESSION: &str = "820ef6b2d8fc6a0b9a736bb137749b8daca8c11e340d3e413d05ffbf17252756";
    const WITH_SESSION: &str = "5145bcc13cae46b3c9cbe4a47531b2bf906fa59f90c591d8a57bd676ca8cc39e";

    /// The URL in a token, without its scheme and host, its query sorted.
    fn query_of(token: &str) -> (String, Vec<String>) {
        let text = token.strip_prefix(PREFIX).unwrap();
        assert!(!text.contains(['+', '/', '=']), "{text}");
        let mut text = text.replace('-', "+").replace('_', "/");
        while !text.len().is_multiple_of(4) {
            text.push('=');
        }
        let url = String::from_utf8(base64::decode(text).unwrap()).unwrap();
        let (host, query) = url.split_once("/?").unwrap();
        let mut query: Vec<String> = query.split('&').map(str::to_owned).collect();
        query.sort();
        (host.to_owned(), query)
    }

    fn expected(session: Option<&str>, signature: &str) -> Vec<String> {
        let mut query: Vec<String> = [
            "Action=GetCallerIdentity",
            "Version=2011-06-15",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=AKIDEXAMPLE%2F20260504%2Feu-central-1%2Fsts%2Faws4_request",
            "X-Amz-Date=20260504T120000Z",
            "X-Amz-Expires=60",
            "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id",
        ]
        .map(str::to_owned)
        .into();
        query.extend(session.map(|session| format!("X-Amz-Security-Token={session}")));
        query.push(format!("X-Amz-Signature={signature}"));
        query.sort();
        query
    }

    #[test]
    fn a_token_is_the_one_that_awss_own_tool_makes() {
        for (session, encoded, signature) in [
            (None, None, WITHOUT_SESSION),
            (
                Some("IQoJb3JpZ2luX2VjEXAMPLE/token+with=signs"),
                Some("IQoJb3JpZ2luX2VjEXAMPLE%2Ftoken%2Bwith%3Dsigns"),
                WITH_SESSION,
            ),
        ] {
            let credentials = Credentials::new("AKIDEXAMPLE", KEY, session.map(str::to_owned), None, "test");
            let token = bearer(&credentials, "eu-central-1", "volteryde-main", AT).unwrap();
            let (host, query) = query_of(&token);
            assert_eq!(host, "https://sts.eu-central-1.amazonaws.com");
            assert_eq!(query, expected(encoded, signature));
        }
    }

    #[test]
    fn a_token_is_for_one_cluster_and_one_moment() {
        let credentials = Credentials::new("AKIDEXAMPLE", KEY, None, None, "test");
        let of = |cluster, at| bearer(&credentials, "eu-central-1", cluster, at).unwrap();
        assert_eq!(of("volteryde-main", AT), of("volteryde-main", AT));
        assert_ne!(of("volteryde-main", AT), of("another", AT));
        assert_ne!(of("volteryde-main", AT), of("volteryde-main", AT + Millis::seconds(1)));
        let china = bearer(&credentials, "cn-north-1", "volteryde-main", AT).unwrap();
        assert_eq!(query_of(&china).0, "https://sts.cn-north-1.amazonaws.com.cn");
    }
}
