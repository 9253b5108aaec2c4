//! What is asked again and what is not, tokens, pages, kubeconfig.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use http::Request;
use http::header::AUTHORIZATION;
use kube::client::Body;
use portcullis_engine::ports::{Endpoint, PortError};
use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::fake::{FakeApi, NAMESPACE, place};

fn count(api: &FakeApi, method: &str) -> usize {
    api.log().iter().filter(|line| line.starts_with(method)).count()
}

#[tokio::test]
async fn a_read_is_tried_again_and_a_write_is_not() {
    let api = FakeApi::default();
    for status in [500, 503, 504] {
        api.fail("GET", status, json!({}), false);
    }
    assert!(api.client().get(&kinds::PODS, NAMESPACE, "a").await.unwrap().is_none());
    assert_eq!(count(&api, "GET"), 4);
    for (status, tries) in [(500, 1), (503, 1), (504, 1), (403, 1), (409, 1)] {
        api.fail("POST", status, json!({}), false);
        let error = api.client().create(&kinds::PODS, NAMESPACE, &json!({ "metadata": { "name": "a" } })).await;
        assert!(error.is_err(), "{status}");
        assert_eq!(count(&api, "POST"), tries, "{status}");
    }
}

#[tokio::test]
async fn what_the_server_did_not_begin_is_sent_again_but_not_for_ever() {
    let api = FakeApi::default();
    let asked = json!({ "details": { "retryAfterSeconds": 0 } });
    api.fail("POST", 429, asked.clone(), false);
    api.fail("POST", 503, asked.clone(), false);
    api.client()
        .create(&kinds::PODS, NAMESPACE, &json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" } }))
        .await
        .unwrap();
    assert_eq!(count(&api, "POST"), 3);
    for _ in 0..10 {
        api.fail("POST", 429, asked.clone(), false);
    }
    let error =
        api.client().create(&kinds::PODS, NAMESPACE, &json!({ "metadata": { "name": "b" } })).await.unwrap_err();
    assert_eq!((error.why, count(&api, "POST")), (Why::TooMany, 4));
}

#[tokio::test]
async fn a_list_whose_continuation_ran_out_begins_once_more() {
    let api = FakeApi::default();
    api.fail("GET", 410, json!({ "reason": "Expired" }), false);
    assert!(api.client().list(&kinds::PODS, Some(NAMESPACE), &Selector::default()).await.unwrap().items.is_empty());
    api.fail("GET", 410, json!({ "reason": "Expired" }), false);
    api.fail("GET", 410, json!({ "reason": "Expired" }), false);
    let error = api.client().list(&kinds::PODS, Some(NAMESPACE), &Selector::default()).await.unwrap_err();
    assert_eq!(error.why, Why::Expired);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_given_up() {
    let service = tower::service_fn(|_: Request<Body>| {
        std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
    });
    let options = ClientOptions { tries: 2, ..ClientOptions::default() };
    let client = Client::from_kube(kube::Client::new(service, NAMESPACE), options);
    let error = client.get(&kinds::PODS, NAMESPACE, "a").await.unwrap_err();
    assert_eq!(error.why, Why::TimedOut);
    assert!(!error.is_certain());
}

#[tokio::test]
async fn an_answer_larger_than_allowed_is_not_read() {
    let service = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(vec![b' '; 5_000])))
    });
    let options = ClientOptions { most_bytes: 1_000, ..ClientOptions::default() };
    let client = Client::from_kube(kube::Client::new(service, NAMESPACE), options);
    let error = client.get(&kinds::PODS, NAMESPACE, "a").await.unwrap_err();
    assert_eq!(error.why, Why::Malformed);
    assert!(error.to_string().contains("larger than is read"), "{error}");
}

struct Tokens(AtomicUsize, Option<Timestamp>);

#[async_trait]
impl Access for Tokens {
    async fn endpoint(&self, _: &Place) -> PortResult<Endpoint> {
        Err(PortError::new("looking up the cluster", "it is not asked here"))
    }
    async fn bearer(&self, _: &Place) -> PortResult<Bearer> {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Bearer { token: SecretString::from(format!("token-{n}")), renew_at: self.1 })
    }
}

/// A client whose server takes only this token.
fn with_tokens(takes: &'static str, renew_at: Option<Timestamp>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| async move {
        let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let status = if sent == format!("Bearer {takes}") { 200 } else { 401 };
        let answer = http::Response::builder().status(status).body(Body::from(b"{}".to_vec()));
        Ok::<_, std::convert::Infallible>(answer.unwrap())
    });
    let access: Arc<dyn Access> = Arc::new(Tokens(AtomicUsize::new(0), renew_at));
    let auth = Auth { access, place: place(), bearer: Mutex::new(None) };
    Client::over(kube::Client::new(service, NAMESPACE), Some(auth), ClientOptions::default())
}

#[tokio::test]
async fn a_token_is_kept_until_it_is_due_and_renewed_once_when_it_is_refused() {
    let client = with_tokens("token-0", None);
    for _ in 0..3 {
        client.get(&kinds::PODS, NAMESPACE, "a").await.unwrap();
    }
    // Refused: a new one is asked for, once, also for a write.
    let client = with_tokens("token-1", None);
    client.patch(&kinds::PODS, NAMESPACE, "a", &[]).await.unwrap();
    let client = with_tokens("token-2", None);
    let error = client.get(&kinds::PODS, NAMESPACE, "a").await.unwrap_err();
    assert_eq!(error.why, Why::Unauthorized);
    // Due: each request has a new one.
    let client = with_tokens("token-1", Some(Timestamp(0)));
    assert!(client.get(&kinds::PODS, NAMESPACE, "a").await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_without_a_secret() {
    let service = tower::service_fn(|_: Request<Body>| async {
        Err::<http::Response<Body>, _>(std::io::Error::other("refused"))
    });
    let options = ClientOptions { tries: 1, ..ClientOptions::default() };
    let client = Client::from_kube(kube::Client::new(service, NAMESPACE), options);
    let error = client.get(&kinds::DEPLOYMENTS, NAMESPACE, "web").await.unwrap_err();
    assert_eq!(error.why, Why::Unreachable);
    assert!(error.to_string().starts_with("reading Deployment shop/web: the cluster cannot be reached"), "{error}");
    assert!(!format!("{:?}", Bearer { token: SecretString::from("s3cret"), renew_at: None }).contains("s3cret"));
}

#[tokio::test]
async fn a_context_that_is_not_there_is_named() {
    let file = std::env::temp_dir().join(format!("portcullis-kubeconfig-{}", std::process::id()));
    std::fs::write(&file, "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n").unwrap();
    let error = Client::from_kubeconfig(&file, Some("main"), ClientOptions::default()).await.unwrap_err().to_string();
    std::fs::remove_file(&file).unwrap();
    assert!(error.contains("context main"), "{error}");
    let missing = Client::from_kubeconfig(Path::new("/nonexistent/config"), None, ClientOptions::default()).await;
    assert!(missing.unwrap_err().to_string().contains("/nonexistent/config"));
}

struct Where(&'static str, &'static [u8]);

#[async_trait]
impl Access for Where {
    async fn endpoint(&self, _: &Place) -> PortResult<Endpoint> {
        Ok(Endpoint { url: self.0.into(), authority: self.1.to_vec() })
    }
    async fn bearer(&self, _: &Place) -> PortResult<Bearer> {
        Err(PortError::new("signing", "not asked here"))
    }
}

#[tokio::test]
async fn a_token_is_never_sent_to_what_is_not_https_or_not_verified() {
    for (access, expected) in [
        (Where("http://cluster.example", b""), "is not https"),
        (Where("https://cluster.example", b""), "has no certificate"),
        (
            Where("https://cluster.example", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"),
            "is not PEM",
        ),
    ] {
        let error = Client::from_access(Arc::new(access), &place(), ClientOptions::default()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
