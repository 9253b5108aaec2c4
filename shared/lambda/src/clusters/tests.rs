//! Against an EKS and an API server of our own: real HTTP to the one, real TLS to the other.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_smithy_types::base64;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use portcullis_aws::client;
use portcullis_domain::policy::Place;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::ManualClock;
use portcullis_engine::ports::PortResult;
use portcullis_kubernetes::client::kinds;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::clock::LambdaClock;
use crate::running::Invocation;

const NAME: &str = "volteryde-main";
/// After so long a token is due.
const DUE: Millis = Millis::minutes(10);

fn place() -> Place {
    Place {
        account: None,
        region: Some("eu-central-1".into()),
        role: None,
        cluster: NAME.into(),
        namespace: "shop".into(),
    }
}

/// What a server was asked: paths, and what each came with to prove who asks.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<(String, String)>>>);

impl Asked {
    fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn paths(&self) -> Vec<String> {
        self.all().into_iter().map(|(path, _)| path).collect()
    }

    fn proofs(&self) -> Vec<String> {
        self.all().into_iter().map(|(_, proof)| proof).collect()
    }
}

/// Answers every request by its path, over TLS or not, until the test ends.
async fn serve(
    tls: Option<TlsAcceptor>,
    answer: impl Fn(&str) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, asked) = (listener.local_addr().unwrap(), Asked::default());
    let seen = asked.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (answer, seen, tls) = (answer.clone(), seen.clone(), tls.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let path = request.uri().path().to_owned();
                    let proof = request.headers().get(AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
                    let (status, body) = answer(&path);
                    seen.0.lock().unwrap_or_else(PoisonError::into_inner).push((path, proof.to_owned()));
                    let response = Response::builder().status(status).header("content-type", "application/json");
                    let response = response.body(Full::new(Bytes::from(body.to_string()))).unwrap();
                    async move { Ok::<_, Infallible>(response) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                // Who breaks off knows why.
                match tls {
                    None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        drop(server.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            });
        }
    });
    (at, asked)
}

/// A certificate authority, and a server on this machine that it vouches for.
fn authority() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    let key = KeyPair::generate().unwrap();
    let issuer: &rcgen::Issuer<'_, KeyPair> = &authority;
    let certificate = params.signed_by(&key, issuer).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

struct World {
    cluster: KubernetesCluster,
    eks: Asked,
    api: Asked,
}

/// A function whose AWS says that the cluster is an API server of ours, trusted by this authority; none = by its own.
async fn world(clock: Arc<dyn Clock>, trusted: Option<String>) -> World {
    let (own, tls) = authority();
    let (at, api) = serve(Some(tls), |path| match path {
        "/apis/autoscaling" => {
            (200, json!({ "versions": [{ "version": "v2" }], "preferredVersion": { "version": "v2" } }))
        }
        _ => (
            404,
            json!({ "kind": "Status", "reason": "NotFound", "message": "not found", "details": { "kind": "pods" } }),
        ),
    })
    .await;
    let authority = base64::encode(trusted.unwrap_or(own));
    let (aws, eks) = serve(None, move |path| match path.strip_prefix("/clusters/") {
        Some(NAME) => (
            200,
            json!({ "cluster": { "name": NAME, "status": "ACTIVE", "endpoint": format!("https://{at}"),
                "certificateAuthority": { "data": authority } } }),
        ),
        _ => (404, json!({ "__type": "ResourceNotFoundException", "message": "No cluster found for name" })),
    })
    .await;
    let config = client::loader()
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .endpoint_url(format!("http://{aws}"))
        .load()
        .await;
    World { cluster: of_eks(Arc::new(Roles::new(config)), clock), eks, api }
}

impl World {
    /// Asks for a pod that is not there.
    async fn ask(&self) -> PortResult<()> {
        let client = self.cluster.client(&place()).await?;
        assert_eq!(client.get(&kinds::PODS, "shop", "web-1").await?, None);
        Ok(())
    }
}

#[tokio::test]
async fn a_places_cluster_is_asked_where_aws_says_it_is_with_a_token_that_is_kept() {
    let world = world(Arc::new(LambdaClock), None).await;
    world.ask().await.unwrap();
    world.ask().await.unwrap();
    let pod = "/api/v1/namespaces/shop/pods/web-1";
    assert_eq!(world.api.paths(), ["/apis/autoscaling", pod, pod]);
    let proofs = world.api.proofs();
    assert!(proofs[0].starts_with("Bearer k8s-aws-v1."), "{proofs:?}");
    assert!(proofs.iter().all(|proof| *proof == proofs[0]), "one token serves until it is due");
    assert_eq!(world.eks.paths(), [format!("/clusters/{NAME}")], "where it is, is asked once");
}

#[tokio::test]
async fn a_token_that_is_due_is_signed_anew() {
    // Tokens of this clock are due as soon as they are signed.
    let clock = ManualClock::new(Timestamp(LambdaClock.now().0 - DUE.0));
    let world = world(clock.clone(), None).await;
    for _ in 0..2 {
        world.ask().await.unwrap();
        clock.set(LambdaClock.now());
    }
    world.ask().await.unwrap();
    // Discovery and the first look are of one moment of the clock, so both tokens are the same text.
    let [first, old, new, kept] = world.api.proofs().try_into().unwrap();
    assert_eq!(first, old);
    assert_ne!(old, new, "it was due");
    assert_eq!(new, kept, "and the new one is not");
    assert!(new.starts_with("Bearer k8s-aws-v1."), "{new}");
}

#[tokio::test]
async fn a_server_that_the_clusters_authority_does_not_vouch_for_gets_no_token() {
    let world = world(Arc::new(LambdaClock), Some(authority().0)).await;
    let error = world.ask().await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    assert!(world.api.all().is_empty());
}

#[tokio::test]
async fn a_cluster_that_aws_does_not_know_is_told_by_its_name() {
    let world = world(Arc::new(LambdaClock), None).await;
    let elsewhere = Place { cluster: "volteryde-old".into(), ..place() };
    let Err(error) = world.cluster.client(&elsewhere).await else { panic!("it was reached") };
    assert!(error.doing.contains("volteryde-old") && error.found.contains("No cluster found"), "{error}");
    assert!(world.api.all().is_empty());
}

#[test]
fn what_hangs_is_given_up_within_an_invocation() {
    let now = std::time::SystemTime::UNIX_EPOCH;
    // The template's.
    let deadline = now + Duration::from_mins(2);
    let whole = Invocation { request: String::new(), deadline, account: None }.budget(now);
    let asking = asking();
    assert!(asking.request * (asking.tries + 1) < whole, "a read and a write that hang, and time to say so");
    assert!(asking.connect < asking.request);
}
