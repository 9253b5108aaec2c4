//! One request and its answer: limits, repeats where they are safe, tokens.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;
use secrecy::ExposeSecret as _;

use super::pace::pause;
use super::{Call, Client, Kind, chain};
use crate::backup::wire::{self, NoAnswer, Wire};
use crate::error::{ApiError, Asked, Why, clean, of_answer, retry_after};

impl Client {
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        match self.exchange(call).await {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, body)) => Err(of_answer(call.asked, status.as_u16(), &body)),
            Err(lost) => Err(lost.error(call.asked)),
        }
    }

    /// Sends a request, again where that is safe: a read after any passing failure; a write only where the server said
    /// that it did not begin it (429, or 503 with the time to wait). After 401 a token is renewed once.
    async fn exchange(&self, call: &Call<'_>) -> Result<(StatusCode, Bytes), Lost> {
        let (mut tried, mut renewed) = (0, false);
        loop {
            // Before the clock runs: a request that waits for its turn was not sent, and nobody must wonder what became of it.
            self.0.pace.turn().await;
            let answer = match tokio::time::timeout(self.0.options.request, self.once(call)).await {
                Ok(answer) => answer,
                Err(_) => Err(Lost::TimedOut),
            };
            let safe = call.method == Method::GET;
            let (again, wait) = match &answer {
                Ok((StatusCode::UNAUTHORIZED, ..)) if !renewed && self.0.auth.is_some() => {
                    renewed = true;
                    if let Some(auth) = &self.0.auth {
                        *auth.bearer.lock().await = None;
                    }
                    continue;
                }
                Ok((status, body, wait)) => {
                    let wait = wait.or_else(|| retry_after(body).map(Duration::from_secs));
                    let again = match status.as_u16() {
                        429 => true,
                        503 if wait.is_some() => true,
                        500 | 502..=504 => safe,
                        _ => false,
                    };
                    (again, wait)
                }
                Err(lost) => (safe && matches!(lost, Lost::TimedOut | Lost::Unreachable(_)), None),
            };
            tried += 1;
            if !again || tried >= self.0.options.tries {
                return answer.map(|(status, body, _)| (status, body));
            }
            let pause = pause(tried - 1, wait);
            tracing::debug!(doing = %call.asked.doing(), ?pause, "asking the cluster again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One request and its whole answer: status, body, and how long it asks to wait.
    async fn once(&self, call: &Call<'_>) -> Result<(StatusCode, Bytes, Option<Duration>), Lost> {
        let mut request = Request::builder().method(call.method.clone()).uri(&call.path);
        request = request.header(ACCEPT, call.accept.unwrap_or("application/json"));
        let body = call.content.as_ref().map_or_else(Vec::new, |(_, body)| body.clone());
        if let Some((content, _)) = &call.content {
            request = request.header(CONTENT_TYPE, *content);
        }
        if let Some(auth) = &self.0.auth {
            let bearer = auth.current().await.map_err(|error| Lost::NoToken(error.to_string()))?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", bearer.token.expose_secret()))
                .map_err(|_| Lost::NoToken("the token is no header's value".into()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Body::from(body)).map_err(|error| Lost::NoRequest(error.to_string()))?;
        let answer = self.0.kube.send(request).await.map_err(|error| Lost::Unreachable(chain(&error)))?;
        let status = answer.status();
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = Limited::new(answer.into_body(), call.most.unwrap_or(self.0.options.most_bytes)).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() { Lost::TooLarge } else { Lost::Unreachable(clean(&error.to_string())) }
        })?;
        Ok((status, body.to_bytes(), wait.map(Duration::from_secs)))
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Lost {
    TimedOut,
    Unreachable(String),
    TooLarge,
    NoToken(String),
    NoRequest(String),
}

impl Lost {
    fn error(self, asked: Asked<'_>) -> ApiError {
        match self {
            Lost::TimedOut => asked.error(Why::TimedOut, ""),
            Lost::Unreachable(said) => asked.error(Why::Unreachable, &said),
            Lost::TooLarge => asked.error(Why::Malformed, "the answer is larger than is read"),
            Lost::NoToken(said) => asked.error(Why::Unauthorized, &said),
            Lost::NoRequest(said) => asked.error(Why::Refused(400), &format!("it is no request: {said}")),
        }
    }
}

/// What backup, tests and doctor ask: any path, bounded, with the same pace and the same repeats.
#[async_trait]
impl Wire for Client {
    async fn ask(&self, ask: wire::Ask) -> Result<wire::Answer, NoAnswer> {
        let path = ask.path.split('?').next().unwrap_or_default().to_owned();
        let (verb, method, content) = match ask.method {
            wire::Method::Get => ("get", Method::GET, None),
            wire::Method::Create => ("create", Method::POST, Some("application/json")),
            wire::Method::Apply => ("patch", Method::PATCH, Some("application/apply-patch+yaml")),
            wire::Method::JsonPatch => ("patch", Method::PATCH, Some("application/json-patch+json")),
            wire::Method::Delete => ("delete", Method::DELETE, Some("application/json")),
        };
        let kind = document();
        let asked = Asked { verb, kind: &kind, namespace: None, name: Some(&path) };
        let content = content.filter(|_| !ask.body.is_empty()).map(|content| (content, ask.body));
        let call = Call { asked, method, path: ask.path, content, accept: Some(ask.accept), most: Some(ask.most) };
        match self.exchange(&call).await {
            Ok((status, body)) => Ok(wire::Answer { status: status.as_u16(), body: body.into() }),
            Err(Lost::TooLarge) => Err(NoAnswer::TooLarge(ask.most)),
            Err(lost) => Err(NoAnswer::Failed(lost.error(asked).into())),
        }
    }
}

/// What is no object: a path of the API.
pub(super) fn document() -> Kind {
    Kind { group: "", version: "", plural: "documents", kind: "API document", namespaced: false }
}
