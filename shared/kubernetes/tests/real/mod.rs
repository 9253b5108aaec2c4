//! What the tests on a real API server share.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use portcullis_domain::digest::Digest;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::Clock;
use portcullis_kubernetes::client::{Client, ClientOptions, Kind};
use portcullis_kubernetes::objects::{digest_in, repository_in};
use serde_json::json;

const NAMESPACES: Kind = Kind { group: "", version: "v1", plural: "namespaces", kind: "Namespace", namespaced: false };

pub(crate) struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(u64::try_from(since.as_millis()).unwrap())
    }
    async fn sleep_until(&self, at: Timestamp) {
        let wait = at.0.saturating_sub(self.now().0);
        tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
    }
}

/// The repository, and two digests in it.
pub(crate) fn images() -> (String, [Digest; 2]) {
    let Ok(named) = std::env::var("PORTCULLIS_TEST_IMAGES") else {
        return ("example.invalid/contract".into(), [Digest::of(b"1"), Digest::of(b"2")]);
    };
    let (one, other) = named.split_once(',').expect("two images with a comma between them");
    assert_eq!(repository_in(one), repository_in(other), "both are of one repository");
    let digest = |image: &str| digest_in(image.trim()).expect("an image by digest");
    (repository_in(one).to_owned(), [digest(one), digest(other)])
}

/// A client, and a namespace of the test's own; none = no cluster is named, said loudly.
pub(crate) async fn namespace(what: &str) -> Option<(Client, String)> {
    let Some(file) = std::env::var_os("PORTCULLIS_TEST_KUBECONFIG").map(PathBuf::from) else {
        eprintln!("SKIPPED: no cluster; name a kubeconfig in PORTCULLIS_TEST_KUBECONFIG");
        return None;
    };
    let client = Client::from_kubeconfig(&file, None, ClientOptions::default()).await.unwrap();
    let namespace = format!("{what}-{}-{}", std::process::id(), SystemClock.now().0);
    let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    client.create(&NAMESPACES, "", &made).await.unwrap();
    Some((client, namespace))
}

/// Takes the namespace away, whatever came of the test, and then says what came of it.
pub(crate) async fn ended(client: &Client, namespace: &str, result: Result<(), tokio::task::JoinError>) {
    client.delete(&NAMESPACES, "", namespace).await.unwrap();
    result.unwrap();
}
