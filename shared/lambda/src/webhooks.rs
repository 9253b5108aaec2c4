//! The two functions behind HTTP: `on-github-event` and `on-approval`. A webhook is believed by its signature over its raw
//! bytes, and answered at once: 2xx when it was taken or says nothing that is read, 4xx with the reason when it is not
//! what its sender documents, 503 when it may be sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_aws::client;
use portcullis_aws::secrets::{Keeping, Secrets};
use portcullis_engine::ports::Clock as _;
use portcullis_ingest::signature;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::answering::{Request, response};
use crate::clock::LambdaClock;
use crate::environment::{ConfigError, Environment};
use crate::health::{self, Metric};
use crate::running::{Failed, Function, Invocation};

/// What a webhook is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// A JSON body.
    pub body: Value,
}

impl Answer {
    fn refused(status: u16, why: impl std::fmt::Display) -> Self {
        Self { status, body: json!({ "error": why.to_string() }) }
    }

    fn taken(body: Value) -> Self {
        Self { status: 200, body }
    }

    /// Acknowledged, so that it is not sent again; nothing is read of it.
    fn ignored(reason: impl std::fmt::Display) -> Self {
        Self { status: 202, body: json!({ "ignored": reason.to_string() }) }
    }
}

/// Answers a webhook of GitHub's (GitHub Docs, "Webhook events and payloads").
pub fn github(request: &Request, secrets: &[SecretString]) -> Answer {
    if let Some(refused) = only_posts(request) {
        return refused;
    }
    if let Err(error) = signature::github(&request.body, request.header("x-hub-signature-256"), &exposed(secrets)) {
        return Answer::refused(401, error);
    }
    let Some(event) = request.header("x-github-event") else {
        return Answer::refused(400, "the header X-GitHub-Event is missing: it names the event");
    };
    if request.header("x-github-delivery").is_none() {
        return Answer::refused(400, "the header X-GitHub-Delivery is missing: it names the delivery");
    }
    if !request.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Answer::refused(415, "set the webhook's content type to application/json");
    }
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&request.body) {
        return Answer::refused(400, format!("the body is not JSON: {error}"));
    }
    match event {
        "ping" => Answer::taken(json!({ "pong": true })),
        other => Answer::ignored(format!("nothing is read of the event {:?}", cut(other))),
    }
}

/// Answers a request of Slack's (Slack, "Handling user interaction", "URL verification handshake"), `now` in seconds since
/// 1970.
pub fn slack(request: &Request, secrets: &[SecretString], now: u64) -> Answer {
    if let Some(refused) = only_posts(request) {
        return refused;
    }
    let (header, timestamp) = (request.header("x-slack-signature"), request.header("x-slack-request-timestamp"));
    if let Err(error) = signature::slack(&request.body, header, timestamp, now, &exposed(secrets)) {
        return Answer::refused(401, error);
    }
    match request.header("content-type").map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
        Some("application/json") => match serde_json::from_slice::<BTreeMap<String, Value>>(&request.body) {
            Ok(fields) if fields.get("type").is_some_and(|kind| kind == "url_verification") => {
                Answer::taken(json!({ "challenge": fields.get("challenge").cloned().unwrap_or_default() }))
            }
            Ok(_) => Answer::ignored("nothing is read of this event"),
            Err(error) => Answer::refused(400, format!("the body is no JSON object: {error}")),
        },
        Some("application/x-www-form-urlencoded") => Answer::ignored("nothing is read of interactions"),
        _ => Answer::refused(415, "neither JSON nor a form"),
    }
}

fn only_posts(request: &Request) -> Option<Answer> {
    (request.method != "POST").then(|| Answer::refused(405, "a webhook is sent by POST"))
}

fn exposed(secrets: &[SecretString]) -> Vec<&[u8]> {
    secrets.iter().map(|secret| secret.expose_secret().as_bytes()).collect()
}

/// Text from outside: at most 60 characters.
fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Who sends, and so how its webhooks are verified.
trait Sender: Send + Sync + 'static {
    /// The variable with the ARN of its secret.
    const SECRET: &'static str;
    /// The function's name in its metrics.
    const NAME: &'static str;
    fn answer(request: &Request, secrets: &[SecretString], now: u64) -> Answer;
}

struct GitHub;
struct Slack;

impl Sender for GitHub {
    const SECRET: &'static str = "GITHUB_WEBHOOK_SECRET_ARN";
    const NAME: &'static str = "on-github-event";
    fn answer(request: &Request, secrets: &[SecretString], _: u64) -> Answer {
        github(request, secrets)
    }
}

impl Sender for Slack {
    const SECRET: &'static str = "SLACK_SIGNING_SECRET_ARN";
    const NAME: &'static str = "on-approval";
    fn answer(request: &Request, secrets: &[SecretString], now: u64) -> Answer {
        slack(request, secrets, now)
    }
}

/// A function behind HTTP.
struct Webhooks {
    secret: String,
    secrets: OnceCell<Secrets>,
}

impl Webhooks {
    fn configure<S: Sender>(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { secret: environment.required(S::SECRET)?, secrets: OnceCell::new() })
    }

    async fn invoke<S: Sender>(&self, body: &[u8]) -> Result<Value, Failed> {
        let request = Request::read(body).map_err(Failed::new)?;
        let wire = || async { Secrets::new(&client::load().await, Arc::new(LambdaClock), Keeping::default()) };
        let now = LambdaClock.now();
        let answer = match self.secrets.get_or_init(wire).await.values(&self.secret).await {
            Ok(secrets) => S::answer(&request, &secrets, now.0 / 1_000),
            Err(error) => {
                tracing::error!(%error, "a webhook cannot be verified");
                Answer::refused(503, "its signature cannot be verified at the moment; send it again")
            }
        };
        let (status, path) = (answer.status, cut(&request.path));
        if (200..300).contains(&status) {
            tracing::info!(status, path, answer = %answer.body, "a webhook was answered");
        } else {
            tracing::warn!(status, path, answer = %answer.body, "a webhook was refused");
            health::tell(now, S::NAME, &[Metric::count("webhooks_refused", 1)]);
        }
        Ok(response(status, &answer.body))
    }
}

/// `on-github-event` under Lambda.
pub struct GitHubEvents(Webhooks);

#[async_trait]
impl Function for GitHubEvents {
    fn configure(environment: &Environment) -> Result<Self, ConfigError> {
        Webhooks::configure::<GitHub>(environment).map(Self)
    }

    async fn invoke(&self, body: &[u8], _: &Invocation) -> Result<Value, Failed> {
        self.0.invoke::<GitHub>(body).await
    }
}

/// `on-approval` under Lambda.
pub struct Approvals(Webhooks);

#[async_trait]
impl Function for Approvals {
    fn configure(environment: &Environment) -> Result<Self, ConfigError> {
        Webhooks::configure::<Slack>(environment).map(Self)
    }

    async fn invoke(&self, body: &[u8], _: &Invocation) -> Result<Value, Failed> {
        self.0.invoke::<Slack>(body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own example ("Validating webhook deliveries").
    const SIGNED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn request(method: &str, headers: &[(&str, &str)], body: &str) -> Request {
        let headers: serde_json::Map<_, _> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let wire = json!({
            "version": "2.0",
            "rawPath": "/github",
            "headers": headers,
            "requestContext": { "http": { "method": method } },
            "body": body,
        });
        Request::read(wire.to_string().as_bytes()).unwrap()
    }

    fn secrets() -> [SecretString; 1] {
        [SecretString::from("It's a Secret to Everybody")]
    }

    #[test]
    fn nothing_is_read_of_what_is_not_signed() {
        for (headers, status) in [
            (vec![], 401),
            (vec![("x-hub-signature-256", "sha256=00")], 401),
            (vec![("x-hub-signature-256", SIGNED)], 400),
            (vec![("x-hub-signature-256", SIGNED), ("x-github-event", "push")], 400),
        ] {
            let answer = github(&request("POST", &headers, "Hello, World!"), &secrets());
            assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
            assert!(!answer.body.to_string().contains("Hello"), "the body is nobody's");
        }
        assert_eq!(github(&request("GET", &[], ""), &secrets()).status, 405);
    }

    #[test]
    fn a_signed_body_that_is_no_json_is_refused_with_the_reason() {
        let mut headers = vec![("x-hub-signature-256", SIGNED), ("x-github-event", "push"), ("x-github-delivery", "7")];
        assert_eq!(github(&request("POST", &headers, "Hello, World!"), &secrets()).status, 415);
        headers.push(("content-type", "application/json"));
        let answer = github(&request("POST", &headers, "Hello, World!"), &secrets());
        assert_eq!(answer.status, 400);
        assert!(answer.body["error"].as_str().unwrap().starts_with("the body is not JSON"), "{}", answer.body);
    }

    #[test]
    fn slack_without_a_signature_is_refused() {
        let answer = slack(&request("POST", &[("content-type", "application/json")], "{}"), &secrets(), 0);
        assert_eq!(answer.status, 401);
    }
}
