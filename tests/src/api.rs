//! A client of a running server.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portcullis_domain::names::TargetId;
use serde_json::{Value, json};

use crate::wait::{self, LIFE, SOON};

/// The token that events come with.
pub const EVENTS_TOKEN: &str = "the-token-of-the-tests-events";

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content type.
    pub kind: String,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The reason that an error gives, checked to be one a person can read.
    pub fn reason(&self) -> String {
        assert!((400..500).contains(&self.status), "not refused: {self:?}");
        assert_eq!(self.kind, "application/json", "{self:?}");
        let reason = self.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(!reason.trim().is_empty() && reason.len() < 1_000, "no reason: {self:?}");
        reason
    }
}

/// A client of one server, wherever that listens at the moment.
#[derive(Clone)]
pub struct Api {
    address: Arc<RwLock<Option<SocketAddr>>>,
    person: Option<String>,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    pub(crate) fn new(address: Arc<RwLock<Option<SocketAddr>>>) -> Self {
        // No connection is kept: one of a process that was killed must not be found again.
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { address, person: None, http }
    }

    /// The same server, spoken to with this person's token.
    #[must_use]
    pub fn with(&self, token: &str) -> Self {
        Self { person: Some(token.to_owned()), ..self.clone() }
    }

    /// Sends a request; an error is a server that is not there, or broke off.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        authorization: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let address = *self.address.read().unwrap();
        let address = address.ok_or("no server listens yet")?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body.into())).map_err(|error| error.to_string())?;
        let asked = async {
            let response = self.http.request(request).await.map_err(|error| format!("{error:?}"))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            Ok(Answer {
                status: parts.status.as_u16(),
                kind: kind.to_owned(),
                text: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::time::timeout(Duration::from_secs(30), asked).await.map_err(|_| "no answer within 30 s".to_owned())?
    }

    fn bearer(&self) -> Option<String> {
        self.person.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// Reads an address as the person.
    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send(Method::GET, path, self.bearer().as_deref(), "").await
    }

    /// Reads an address as the person; it must be there.
    pub async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Posts an event with the events' token.
    pub async fn try_event(&self, body: impl Into<Bytes>) -> Result<Answer, String> {
        self.send(Method::POST, "/events", Some(&format!("Bearer {EVENTS_TOKEN}")), body).await
    }

    /// Posts an event with the events' token.
    pub async fn event(&self, event: &Value) -> Answer {
        self.try_event(event.to_string()).await.unwrap()
    }

    /// Asks for something as the person.
    pub async fn try_command(&self, target: &TargetId, command: &Value) -> Result<Answer, String> {
        let path = format!("/api/targets/{target}/commands");
        self.send(Method::POST, &path, self.bearer().as_deref(), command.to_string()).await
    }

    /// Asks for something as the person.
    pub async fn command(&self, target: &TargetId, command: &Value) -> Answer {
        self.try_command(target, command).await.unwrap()
    }

    /// Approves the plan that a release shows.
    pub async fn approve(&self, release: &Value) -> Answer {
        let target = release["target"].as_str().unwrap().parse().unwrap();
        let command = json!({ "command": "approve", "release": release["id"], "plan": release["plan"] });
        self.command(&target, &command).await
    }

    /// Every environment.
    pub async fn targets(&self) -> Value {
        self.read("/api/targets").await
    }

    /// One environment.
    pub async fn target(&self, target: &TargetId) -> Value {
        let all = self.targets().await;
        let found = all.as_array().unwrap().iter().find(|one| one["target"] == target.to_string());
        found.unwrap_or_else(|| panic!("{target} is not in {all}")).clone()
    }

    /// The releases of an environment, newest first.
    pub async fn releases(&self, target: &TargetId) -> Vec<Value> {
        self.read(&format!("/api/releases?target={target}")).await.as_array().unwrap().clone()
    }

    /// One release with everything.
    pub async fn release(&self, id: &Value) -> Value {
        self.read(&format!("/api/releases/{id}")).await
    }

    /// Waits until a release of this commit is as wanted.
    pub async fn until(&self, what: &str, commit: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, LIFE, async || {
            let all = self.get("/api/releases").await?.json();
            let found = all.as_array().and_then(|all| all.iter().find(|one| one["commit"] == commit).cloned());
            match found {
                Some(found) if wanted(&found) => Ok(found),
                other => Err(format!("{other:?} among {all}")),
            }
        })
        .await
    }

    /// Waits until a release of this commit is in this state.
    pub async fn until_state(&self, commit: &str, state: &str) -> Value {
        self.until(state, commit, |release| release["state"] == state).await
    }

    /// Waits until a release of this commit has a plan that only a person's word is missing for.
    pub async fn until_asked(&self, commit: &str) -> Value {
        let gated = |release: &Value| {
            let why = release["why"].as_str().unwrap_or_default();
            release["state"] == "gated" && release["plan"].is_string() && why.starts_with("approval: ")
        };
        self.until("waits for an approval", commit, gated).await
    }

    /// Waits until one release's details are as wanted.
    pub async fn until_detail(&self, what: &str, id: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, SOON, async || {
            let detail = self.get(&format!("/api/releases/{id}")).await?.json();
            if wanted(&detail) { Ok(detail) } else { Err(detail.to_string()) }
        })
        .await
    }
}

/// The events of a release's details that are of this type.
pub fn events<'a>(detail: &'a Value, what: &str) -> Vec<&'a Value> {
    detail["ledger"].as_array().into_iter().flatten().filter(|event| event["event"] == what).collect()
}
