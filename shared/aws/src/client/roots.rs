//! Whom a connection trusts: Amazon's own roots, and the system's when those no longer do.
//!
//! Reading a system's bundle of some 150 certificates is the largest part of a cold start that makes a connection. All
//! of AWS's endpoints end in five roots (Amazon Trust Services, "Repository"), so these are built in. A rotation of
//! AWS's certificates, or a company's proxy that opens TLS, must not break a rollback: when a server's issuer is unknown
//! the same request is sent again on the system's roots, and from then on those are used.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// The roots of Amazon Trust Services: Amazon Root CA 1 to 4 and Starfield Services Root CA G2, as PEM.
const AMAZON: &[u8] = include_bytes!("../../roots/amazon.pem");

/// The one HTTP client of a process: all service clients share its connections.
pub fn http_client() -> SharedHttpClient {
    let pinned = connections(TrustStore::empty().with_pem_certificate(AMAZON));
    SharedHttpClient::new(Roots { pinned, system: OnceLock::new().into(), outgrown: Arc::default() })
}

fn connections(roots: TrustStore) -> SharedHttpClient {
    let builder = Builder::new().tls_provider(Provider::rustls(CryptoMode::Ring));
    match TlsContext::builder().with_trust_store(roots).build() {
        Ok(context) => builder.tls_context(context).build_https(),
        // Says nothing that could be done about it; the system's roots are what it falls back to anyway.
        Err(error) => {
            tracing::error!(%error, "the built-in roots cannot be used; the system's are");
            builder.build_https()
        }
    }
}

struct Roots {
    pinned: SharedHttpClient,
    system: Arc<OnceLock<SharedHttpClient>>,
    /// A server was met that only the system's roots know.
    outgrown: Arc<AtomicBool>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("outgrown", &self.outgrown).finish_non_exhaustive()
    }
}

impl HttpClient for Roots {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let system = System {
            client: self.system.clone(),
            settings: settings.clone(),
            components: components.clone(),
            outgrown: self.outgrown.clone(),
        };
        if self.outgrown.load(Ordering::Relaxed) {
            return system.connector();
        }
        SharedHttpConnector::new(Pinned { first: self.pinned.http_connector(settings, components), system })
    }
}

/// How to reach the connections on the system's roots, which are made only when they are needed.
#[derive(Clone)]
struct System {
    client: Arc<OnceLock<SharedHttpClient>>,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
    outgrown: Arc<AtomicBool>,
}

impl System {
    fn connector(&self) -> SharedHttpConnector {
        self.client.get_or_init(|| connections(TrustStore::default())).http_connector(&self.settings, &self.components)
    }
}

struct Pinned {
    first: SharedHttpConnector,
    system: System,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("first", &self.first).finish_non_exhaustive()
    }
}

impl HttpConnector for Pinned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // A body that is in memory is shared, not copied. Nothing of a request is sent before the handshake is over, so
        // sending it again repeats nothing.
        let again = request.try_clone();
        let (first, system) = (self.first.clone(), self.system.clone());
        HttpConnectorFuture::new(async move {
            match (first.call(request).await, again) {
                (Err(error), Some(again)) if is_unknown_issuer(&error) => {
                    let host = host(again.uri());
                    tracing::warn!(host, "the server's root is not one of Amazon's; using the system's");
                    let answer = system.connector().call(again).await;
                    if answer.is_ok() {
                        system.outgrown.store(true, Ordering::Relaxed);
                    }
                    answer
                }
                (answer, _) => answer,
            }
        })
    }
}

/// The host of an address, without path and query: those may name more than a log should say.
fn host(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// Whether a handshake failed because none of the roots vouches for the server. The TLS library's own type is not part of
/// the HTTP client's interface, so its words are looked for (rustls 0.23: `invalid peer certificate: UnknownIssuer`).
fn is_unknown_issuer(error: &ConnectorError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.to_string().contains("UnknownIssuer") {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use portcullis_domain::digest::Digest;

    use super::*;

    /// As Amazon Trust Services publishes them ("Repository", SHA-256 of the certificate).
    const FINGERPRINTS: [&str; 5] = [
        "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
        "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
        "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
        "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
        "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
    ];

    #[test]
    fn the_built_in_roots_are_amazons() {
        let text = std::str::from_utf8(AMAZON).unwrap();
        let mut found = Vec::new();
        for part in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
            let (body, _) = part.split_once("-----END CERTIFICATE-----").unwrap();
            let der = aws_smithy_types::base64::decode(body.split_whitespace().collect::<String>()).unwrap();
            found.push(Digest::of(&der).hex());
        }
        assert_eq!(found, FINGERPRINTS);
    }

    #[test]
    fn of_an_address_only_the_host_is_logged() {
        assert_eq!(
            host("https://sqs.eu-west-1.amazonaws.com/1/queue?X-Amz-Signature=1"),
            "sqs.eu-west-1.amazonaws.com"
        );
        assert_eq!(host("https://example.com?a=b"), "example.com");
    }

    #[test]
    fn an_unknown_issuer_is_told_from_other_failures() {
        let error = |words: &'static str| ConnectorError::other(Box::new(std::io::Error::other(words)), None);
        assert!(is_unknown_issuer(&error("invalid peer certificate: UnknownIssuer")));
        assert!(!is_unknown_issuer(&error("invalid peer certificate: Expired")));
        assert!(!is_unknown_issuer(&error("connection reset")));
    }
}
