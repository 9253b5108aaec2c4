//! A client of a running server's API.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portcullis_domain::names::{CommitSha, ReleaseId, ServiceName, TargetId};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{
    Answered, Ask, ErrorAnswer, GivenManifests, ReleaseDetail, ReleaseSummary, State, StopAsk, StopAt, TargetSummary,
};
use crate::exit;

/// The environment variable that holds a person's token.
pub(crate) const TOKEN: &str = "PORTCULLIS_TOKEN";

/// An answer is never larger than this. Bytes.
const MOST_ANSWER: usize = 64 * 1024 * 1024;
/// An answer takes at most so long.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A client of one server, as one person.
pub(crate) struct Client {
    base: String,
    token: SecretString,
    http: Hyper<HttpConnector, Full<Bytes>>,
}

/// A status and its body.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The body.
    pub(crate) body: Bytes,
}

impl Client {
    /// Of the server at this address, as whose token this is.
    ///
    /// # Errors
    /// The address is not `http://HOST:PORT`, or would carry the token in the clear to another machine.
    pub(crate) fn new(server: &str, token: SecretString) -> anyhow::Result<Self> {
        let wrong = |why: &str| exit::usage(format!("the server {server:?} {why}"));
        let uri: Uri = server.parse().map_err(|_| wrong("is not an address such as http://127.0.0.1:8470"))?;
        let host = uri.host().map(|host| host.trim_matches(['[', ']']));
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("needs TLS, which this program does not speak yet: use an SSH tunnel")),
            _ => return Err(wrong("is not an address such as http://127.0.0.1:8470")),
        }
        let here = host.is_some_and(|host| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        });
        if !here {
            return Err(wrong("is another machine: a token must not go there in the clear; use an SSH tunnel"));
        }
        let http = Hyper::builder(TokioExecutor::new()).build_http();
        Ok(Self { base: server.trim_end_matches('/').to_owned(), token, http })
    }

    /// Of this server, as the person of `PORTCULLIS_TOKEN`.
    pub(crate) fn from_env(server: &str) -> anyhow::Result<Self> {
        Self::new(server, token_from_env()?)
    }

    /// Sends a request and gives back its answer, whatever its status.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Answer> {
        let failed = |error: &dyn std::fmt::Display| {
            anyhow::anyhow!("asking {}{path}: {error}. Does the server run? Is the address right?", self.base)
        };
        let mut value = hyper::header::HeaderValue::from_str(&format!("Bearer {}", self.token.expose_secret()))
            .map_err(|_| exit::usage(format!("{TOKEN} holds characters that no token has")))?;
        value.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, value)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| failed(&error))?;
        let asked = async {
            let response = self.http.request(request).await.map_err(|error| failed(&chain(&error)))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MOST_ANSWER).collect().await.map_err(|error| failed(&error))?;
            Ok(Answer { status: parts.status, body: body.to_bytes() })
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .map_err(|_| failed(&format!("no answer within {} s", PATIENCE.as_secs())))?
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        read(&self.send(Method::GET, path, None).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        read(&self.send(Method::POST, path, Some(serde_json::to_vec(body)?)).await?)
    }

    /// Every environment.
    pub(crate) async fn targets(&self) -> anyhow::Result<Vec<TargetSummary>> {
        self.get("/api/targets").await
    }

    /// The releases, newest first.
    pub(crate) async fn releases(
        &self,
        target: Option<&TargetId>,
        state: Option<State>,
    ) -> anyhow::Result<Vec<ReleaseSummary>> {
        let wanted: Vec<String> = target
            .map(|target| format!("target={target}"))
            .into_iter()
            .chain(state.map(|state| format!("state={}", state.name())))
            .collect();
        self.get(&format!("/api/releases?{}", wanted.join("&"))).await
    }

    /// Everything about one release; none = there is no such release.
    pub(crate) async fn release(&self, id: ReleaseId) -> anyhow::Result<Option<ReleaseDetail>> {
        let answer = self.send(Method::GET, &format!("/api/releases/{id}"), None).await?;
        if answer.status == StatusCode::NOT_FOUND { Ok(None) } else { read(&answer).map(Some) }
    }

    /// Asks for something.
    pub(crate) async fn command(&self, target: &TargetId, ask: &Ask) -> anyhow::Result<Answered> {
        self.post(&format!("/api/targets/{}/{}/commands", target.app, target.env), ask).await
    }

    /// Gives one service's manifests with a commit.
    pub(crate) async fn give_manifests(
        &self,
        target: &TargetId,
        commit: &CommitSha,
        service: &ServiceName,
        text: String,
    ) -> anyhow::Result<GivenManifests> {
        let path = format!("/api/targets/{}/{}/manifests/{commit}/{service}", target.app, target.env);
        read(&self.send(Method::PUT, &path, Some(text.into_bytes())).await?)
    }

    /// What was given with a commit.
    pub(crate) async fn manifests(&self, target: &TargetId, commit: &CommitSha) -> anyhow::Result<Vec<GivenManifests>> {
        self.get(&format!("/api/targets/{}/{}/manifests/{commit}", target.app, target.env)).await
    }

    /// Puts a stop on a scope, or lifts it.
    pub(crate) async fn stop(&self, ask: &StopAsk) -> anyhow::Result<Option<StopAt>> {
        self.post("/api/scopes", ask).await
    }
}

/// The token in `PORTCULLIS_TOKEN`.
pub(crate) fn token_from_env() -> anyhow::Result<SecretString> {
    match std::env::var(TOKEN) {
        Ok(token) if !token.trim().is_empty() => Ok(SecretString::from(token.trim().to_owned())),
        _ => Err(exit::usage(format!(
            "who are you? Set {TOKEN} to your token; on the server's machine `portcullis person add NAME` makes one"
        ))),
    }
}

fn read<T: DeserializeOwned>(answer: &Answer) -> anyhow::Result<T> {
    if answer.status.is_success() {
        return serde_json::from_slice(&answer.body)
            .map_err(|error| anyhow::anyhow!("the server's answer is not what this version reads: {error}"));
    }
    let words = match serde_json::from_slice::<ErrorAnswer>(&answer.body) {
        Ok(ErrorAnswer { error, field: Some(field) }) => format!("{field}: {error}"),
        Ok(ErrorAnswer { error, field: None }) => error,
        Err(_) => format!("the server answered {}", answer.status),
    };
    Err(match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT => exit::refused(words),
        StatusCode::NOT_FOUND => exit::not_found(words),
        StatusCode::BAD_REQUEST => exit::usage(words),
        _ => anyhow::anyhow!(words),
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words = format!("{words}: {inner}");
        source = inner.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_goes_to_another_machine_in_the_clear() {
        let client = |server: &str| Client::new(server, SecretString::from("x"));
        for good in ["http://127.0.0.1:8470", "http://localhost:1/", "http://[::1]:8470"] {
            assert!(client(good).is_ok(), "{good}");
        }
        for bad in ["https://x.example.com", "http://10.0.0.1:8470", "http://example.com", "127.0.0.1:8470", ""] {
            assert!(client(bad).is_err(), "{bad}");
        }
    }
}
