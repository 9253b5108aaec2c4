//! Where a cluster is and who asks: what a client is made of.

use async_trait::async_trait;
use portcullis_domain::policy::Place;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::PortResult;
use secrecy::SecretString;

/// How to reach a cluster's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its URL, `https://…`.
    pub url: String,
    /// Its certificate authority, PEM: the only one that is trusted there.
    pub authority: Vec<u8>,
}

/// What proves who asks, for a time.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// What is sent as `Authorization: Bearer`.
    pub token: SecretString,
    /// From this moment a new one is asked for. None = it does not end.
    pub renew_at: Option<Timestamp>,
}

/// Endpoint, certificate authority and token of the clusters of places, such as those of EKS.
///
/// Both are asked for rarely: the endpoint once in a client's life, a token when the one before it is due.
#[async_trait]
pub trait Access: Send + Sync {
    /// Where the place's cluster is.
    async fn endpoint(&self, place: &Place) -> PortResult<Endpoint>;
    /// A token for it.
    async fn bearer(&self, place: &Place) -> PortResult<Bearer>;
}
