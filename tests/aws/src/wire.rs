//! The wire between an SDK client and AWS: counts what is sent, loses it, loses its answer, answers in AWS's place.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

/// What happens while an answer is lost.
pub type Meanwhile = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What becomes of one request.
pub enum Fault {
    /// It never arrives.
    RequestLost,
    /// It arrives and is done; then something may happen; the answer never comes.
    AnswerLost(Option<Meanwhile>),
    /// It never arrives; this is answered.
    Answered(u16, String),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestLost => "RequestLost",
            Self::AnswerLost(_) => "AnswerLost",
            Self::Answered(..) => "Answered",
        })
    }
}

/// One request as it was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The operation: `DynamoDB_20120810.TransactWriteItems`, or the method and the path: of an object for S3, ending in
    /// `/operation/DescribeAlarms` for CloudWatch.
    pub operation: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Sent {
    /// One header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    sent: Vec<Sent>,
    faults: VecDeque<(String, Fault)>,
}

/// A wire that a test holds one end of. Clones are the same wire.
#[derive(Clone)]
pub struct Wire {
    state: Arc<Mutex<State>>,
    beneath: SharedHttpClient,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("faults", &self.state().faults).finish_non_exhaustive()
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self { state: Arc::default(), beneath: portcullis_aws::client::http_client() }
    }
}

impl Wire {
    /// The next request with this in its operation meets this fault. Faults of one operation come in order.
    pub fn next(&self, operation: &str, fault: Fault) {
        self.state().faults.push_back((operation.to_owned(), fault));
    }

    /// What was sent since the last time this was asked.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.state().sent)
    }

    /// The operations that were sent since the last time, without the name of their service.
    pub fn operations(&self) -> Vec<String> {
        let short = |sent: Sent| match sent.operation.rsplit_once("/operation/") {
            Some((_, operation)) => operation.to_owned(),
            None => sent.operation.rsplit('.').next().unwrap_or_default().to_owned(),
        };
        self.take().into_iter().map(short).collect()
    }

    /// Panics if a fault was never met: a test that waits for nothing proves nothing.
    pub fn assert_all_met(&self) {
        let faults = &self.state().faults;
        assert!(faults.is_empty(), "faults that nothing met: {faults:?}");
    }

    /// What a client is given.
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, request: &HttpRequest) -> Option<Fault> {
        let path = request.uri().split("://").nth(1).and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
        let operation = match request.headers().get("x-amz-target") {
            Some(target) => target.to_owned(),
            None => format!("{} /{path}", request.method()),
        };
        let headers =
            request.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let mut state = self.state();
        let at = state.faults.iter().position(|(wanted, _)| operation.contains(wanted.as_str()));
        state.sent.push(Sent { operation, headers });
        at.and_then(|at| state.faults.remove(at)).map(|(_, fault)| fault)
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let beneath = self.beneath.http_connector(settings, components);
        SharedHttpConnector::new(Connection { wire: self.clone(), beneath })
    }
}

#[derive(Debug)]
struct Connection {
    wire: Wire,
    beneath: SharedHttpConnector,
}

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let fault = self.wire.note(&request);
        let beneath = self.beneath.clone();
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::timeout("nothing came in time".into());
            match fault {
                None => beneath.call(request).await,
                Some(Fault::RequestLost) => Err(lost()),
                Some(Fault::AnswerLost(meanwhile)) => {
                    let answer = beneath.call(request).await?;
                    assert!(answer.status().is_success(), "a lost answer is one of success, this was {answer:?}");
                    if let Some(meanwhile) = meanwhile {
                        meanwhile.await;
                    }
                    Err(lost())
                }
                Some(Fault::Answered(status, body)) => {
                    let status = StatusCode::try_from(status).map_err(|error| ConnectorError::user(error.into()))?;
                    Ok(HttpResponse::new(status, SdkBody::from(body)))
                }
            }
        })
    }
}

/// DynamoDB's words for a refusal, with the code it has.
pub fn refusal(code: &str) -> Fault {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"by the test"}}"#);
    Fault::Answered(400, body)
}

/// DynamoDB's words for a cancelled transaction, with a reason per action.
pub fn cancellation(reasons: &[&str]) -> Fault {
    let reasons: Vec<String> = reasons.iter().map(|code| format!(r#"{{"Code":"{code}"}}"#)).collect();
    let body = format!(
        r#"{{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","message":"by the test","CancellationReasons":[{}]}}"#,
        reasons.join(",")
    );
    Fault::Answered(400, body)
}
