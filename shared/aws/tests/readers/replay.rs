//! AWS as a list of answers, each given once to the first request that it is for; and the requests that came.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use portcullis_aws::roles::Roles;
use portcullis_domain::policy::Place;
use serde_json::Value;

use crate::cbor;

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The operation, or the path of a service that names none.
    operation: &'static str,
    /// What the request's body must hold.
    containing: Option<String>,
    status: u16,
    body: Vec<u8>,
    content_type: &'static str,
}

impl Answer {
    /// An answer in JSON.
    pub(crate) fn json(operation: &'static str, body: impl Into<String>) -> Self {
        let body = body.into();
        let checked: Value = serde_json::from_str(&body).expect("a shape is JSON");
        drop(checked);
        Self {
            operation,
            containing: None,
            status: 200,
            body: body.into_bytes(),
            content_type: "application/x-amz-json-1.1",
        }
    }

    /// An answer in CBOR, written as JSON.
    pub(crate) fn cbor(operation: &'static str, body: &str) -> Self {
        let value: Value = serde_json::from_str(body).expect("a shape is JSON");
        let body = cbor::encode(&value);
        Self { operation, containing: None, status: 200, body, content_type: "application/cbor" }
    }

    /// An answer in XML.
    pub(crate) fn xml(operation: &'static str, body: impl Into<String>) -> Self {
        let body = body.into().into_bytes();
        Self { operation, containing: None, status: 200, body, content_type: "text/xml" }
    }

    /// AWS's refusal in JSON.
    pub(crate) fn error(operation: &'static str, status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "__type": code, "message": message }).to_string();
        Self { status, ..Self::json(operation, body) }
    }

    /// The same with another status.
    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Only for a request whose body holds this text.
    pub(crate) fn when(self, containing: impl Into<String>) -> Self {
        Self { containing: Some(containing.into()), ..self }
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) operation: String,
    pub(crate) uri: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// The body, of JSON or CBOR.
    pub(crate) fn body(&self) -> Value {
        if self.headers.get("content-type").is_some_and(|kind| kind == "application/cbor") {
            return cbor::decode(&self.body);
        }
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body of text")
    }
}

#[derive(Debug, Default)]
struct Script {
    answers: Vec<Answer>,
    asked: Vec<Asked>,
}

/// AWS.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aws(Arc<Mutex<Script>>);

impl Aws {
    pub(crate) fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let aws = Self::default();
        aws.also(answers);
        aws
    }

    /// More answers, after those that are left.
    pub(crate) fn also(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.lock().unwrap().answers.extend(answers);
    }

    /// The requests that came so far, which are forgotten. Fails if an answer was left over: then less was asked than the
    /// test thinks.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let mut script = self.0.lock().unwrap();
        assert!(script.answers.is_empty(), "nobody asked for {:?}", script.answers);
        std::mem::take(&mut script.asked)
    }

    /// The operations that were asked for so far.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.operation).collect()
    }

    pub(crate) fn config(&self) -> SdkConfig {
        let credentials = Credentials::new("AKIDOWN", "secret", None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(self.clone())
            .build()
    }

    pub(crate) fn roles(&self) -> Arc<Roles> {
        Arc::new(Roles::new(self.config()))
    }
}

/// A place in `us-east-1` without a role.
pub(crate) fn place() -> Place {
    Place {
        account: Some("444444444444".to_owned()),
        region: Some("us-east-1".to_owned()),
        role: None,
        cluster: "volteryde-main".to_owned(),
        namespace: "volteryde".to_owned(),
    }
}

impl HttpClient for Aws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Aws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(self.answer(&request))
    }
}

impl Aws {
    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let body = request.body().bytes().unwrap_or_default().to_vec();
        let headers: BTreeMap<String, String> =
            request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let asked = Asked { operation: operation(request, &body), uri: request.uri().to_owned(), headers, body };
        let mut script = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&asked.body).into_owned();
        let is_for = |answer: &Answer| {
            answer.operation == asked.operation && answer.containing.as_ref().is_none_or(|part| text.contains(part))
        };
        let found = script.answers.iter().position(is_for);
        let shown = asked.operation.clone();
        script.asked.push(asked);
        let Some(found) = found else {
            return Err(ConnectorError::io(format!("no answer is left for {shown}").into()));
        };
        let answer = script.answers.remove(found);
        let mut response = HttpResponse::new(answer.status.try_into().unwrap(), SdkBody::from(answer.body));
        response.headers_mut().insert("content-type", answer.content_type);
        if answer.content_type == "application/cbor" {
            response.headers_mut().insert("smithy-protocol", "rpc-v2-cbor");
        }
        Ok(response)
    }
}

/// The operation's name by whichever way the service's protocol tells it.
fn operation(request: &HttpRequest, body: &[u8]) -> String {
    if let Some((_, name)) = request.headers().get("x-amz-target").and_then(|target| target.rsplit_once('.')) {
        return name.to_owned();
    }
    let path = request.uri().split_once("://").map_or("", |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    if let Some((_, name)) = path.rsplit_once("/operation/") {
        return name.to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let action = text.split('&').find_map(|pair| pair.strip_prefix("Action="));
    action.map_or_else(|| path.to_owned(), str::to_owned)
}
