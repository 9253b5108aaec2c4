//! A proxy in front of AWS that fails: answers 500 in its place, throttles in each service's own words, and cuts the
//! connection after the request was done, so that nobody hears what came of it.
//!
//! Which request meets what is chosen by a seed; which requests come in which order is the functions' business.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Of so many requests one meets each kind of failure.
const ONE_OF: u64 = 24;

/// What became of the requests so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Met {
    /// Passed on, and answered as AWS answered.
    pub passed: u64,
    /// Answered 500; AWS never saw them.
    pub failed: u64,
    /// Answered that there are too many; AWS never saw them.
    pub throttled: u64,
    /// Done by AWS; the connection was cut before the answer.
    pub cut: u64,
}

/// A running proxy. It ends when it is dropped.
pub struct Proxy {
    address: String,
    met: Arc<Mutex<Met>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of this endpoint, `http://HOST:PORT`.
    pub async fn start(endpoint: &str, seed: u64) -> Self {
        let upstream: Arc<str> = Arc::from(endpoint.strip_prefix("http://").expect("an endpoint without TLS"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port to listen on");
        let address = listener.local_addr().expect("its address").to_string();
        let met: Arc<Mutex<Met>> = Arc::default();
        let shared = Arc::new(Shared { upstream, seed, requests: AtomicU64::new(0), met: met.clone() });
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let shared = shared.clone();
                tokio::spawn(async move {
                    let serve = service_fn(move |request| answer(shared.clone(), request));
                    // A connection that is cut is what is wanted, and one that its client leaves is its business.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self { address, met, task }
    }

    /// Its address, as an endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What became of the requests so far.
    pub fn met(&self) -> Met {
        *self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    upstream: Arc<str>,
    seed: u64,
    requests: AtomicU64,
    met: Arc<Mutex<Met>>,
}

#[derive(Clone, Copy)]
enum Fate {
    Passes,
    Fails,
    IsThrottled,
    IsCut,
}

impl Shared {
    /// `SplitMix64` (Steele et al. 2014) at the number of the request.
    fn fate(&self) -> Fate {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let mut z = self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        match (z ^ (z >> 31)) % ONE_OF {
            0 => Fate::Fails,
            1 => Fate::IsThrottled,
            2 => Fate::IsCut,
            _ => Fate::Passes,
        }
    }

    fn count(&self, of: impl FnOnce(&mut Met) -> &mut u64) {
        *of(&mut self.met.lock().unwrap_or_else(PoisonError::into_inner)) += 1;
    }
}

/// The connection is cut: the server ends it when its service fails.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut")
    }
}

impl std::error::Error for Cut {}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
    let fate = shared.fate();
    let speaks = Speaks::of(request.headers());
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    // The whole body has a length of its own.
    parts.headers.remove(header::TRANSFER_ENCODING);
    match fate {
        Fate::Fails => {
            shared.count(|met| &mut met.failed);
            Ok(speaks.failure())
        }
        Fate::IsThrottled => {
            shared.count(|met| &mut met.throttled);
            Ok(speaks.too_many())
        }
        Fate::IsCut => {
            pass_on(&shared.upstream, Request::from_parts(parts, Full::new(body))).await?;
            shared.count(|met| &mut met.cut);
            Err(Cut)
        }
        Fate::Passes => {
            let answered = pass_on(&shared.upstream, Request::from_parts(parts, Full::new(body))).await?;
            shared.count(|met| &mut met.passed);
            Ok(answered)
        }
    }
}

/// AWS's own answer, whole.
async fn pass_on(upstream: &str, request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Cut> {
    let is_head = request.method() == Method::HEAD;
    let stream = TcpStream::connect(upstream).await.map_err(|_| Cut)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Cut)?;
    let connection = tokio::spawn(connection);
    let answered = sender.send_request(request).await.map_err(|_| Cut)?;
    let (mut parts, body) = answered.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    connection.abort();
    // Both speak of the connection to AWS, and the whole body has a length of its own.
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONNECTION);
    if !is_head {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(Response::from_parts(parts, Full::new(body)))
}

/// How a service's errors look.
#[derive(Clone, Copy)]
enum Speaks {
    /// S3: XML.
    S3,
    /// CloudWatch: CBOR.
    Cbor,
    /// Those that are asked with `x-amz-target`: JSON. The word for "too many".
    Json(&'static str),
    /// STS, Elastic Load Balancing: a query, answered in XML.
    Query,
}

impl Speaks {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if text("smithy-protocol") == "rpc-v2-cbor" {
            return Self::Cbor;
        }
        match text("x-amz-target").split('.').next().unwrap_or_default() {
            "" if text("authorization").contains("/s3/") => Self::S3,
            "" => Self::Query,
            // Amazon SQS API Reference, "Common Errors".
            "AmazonSQS" => Self::Json("com.amazonaws.sqs#RequestThrottled"),
            "DynamoDB_20120810" => Self::Json("com.amazonaws.dynamodb.v20120810#ThrottlingException"),
            _ => Self::Json("ThrottlingException"),
        }
    }

    fn failure(self) -> Response<Full<Bytes>> {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        match self {
            Self::Json(_) => self.refusal(status, "InternalServerError"),
            Self::S3 => self.refusal(status, "InternalError"),
            Self::Cbor => self.refusal(status, "InternalServiceFault"),
            Self::Query => self.refusal(status, "InternalFailure"),
        }
    }

    fn too_many(self) -> Response<Full<Bytes>> {
        match self {
            Self::S3 => self.refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            Self::Json(code) => self.refusal(StatusCode::BAD_REQUEST, code),
            Self::Cbor | Self::Query => self.refusal(StatusCode::BAD_REQUEST, "Throttling"),
        }
    }

    fn refusal(self, status: StatusCode, code: &str) -> Response<Full<Bytes>> {
        let message = "by the test";
        let (kind, body) = match self {
            Self::S3 => {
                let xml = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
                ("application/xml", xml.into_bytes())
            }
            Self::Query => {
                let xml = format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                     <RequestId>0</RequestId></ErrorResponse>"
                );
                ("text/xml", xml.into_bytes())
            }
            Self::Json(_) => {
                let json = format!(r#"{{"__type":"{code}","message":"{message}"}}"#);
                ("application/x-amz-json-1.0", json.into_bytes())
            }
            Self::Cbor => ("application/cbor", cbor(&[("__type", code), ("message", message)])),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if matches!(self, Self::Cbor) {
            headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
        }
        response
    }
}

/// A map of texts shorter than 24 bytes each (RFC 8949, section 3).
fn cbor(fields: &[(&str, &str)]) -> Vec<u8> {
    let head = |major: u8, length: usize| {
        assert!(length < 24, "longer than this writes");
        major << 5 | u8::try_from(length).expect("a small number")
    };
    let mut bytes = vec![head(5, fields.len())];
    for text in fields.iter().flat_map(|(name, value)| [name, value]) {
        bytes.push(head(3, text.len()));
        bytes.extend(text.bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn upstream(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serve = service_fn(move |_: Request<Incoming>| async move {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(text.as_bytes()))))
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
            }
        });
        format!("http://{address}")
    }

    async fn ask(proxy: &Proxy) -> Option<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(&proxy.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::builder().uri("/").header("host", "aws").header("x-amz-target", "DynamoDB_20120810.GetItem");
        let answered = sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.ok()?;
        let status = answered.status();
        Some((status, answered.into_body().collect().await.ok()?.to_bytes()))
    }

    #[tokio::test]
    async fn a_request_is_passed_on_or_fails_in_one_of_three_ways_and_each_is_counted() {
        let proxy = Proxy::start(&upstream("done").await, 7).await;
        let mut seen = Met::default();
        for _ in 0..200 {
            match ask(&proxy).await {
                None => seen.cut += 1,
                Some((StatusCode::OK, body)) => {
                    assert_eq!(body, "done");
                    seen.passed += 1;
                }
                Some((StatusCode::INTERNAL_SERVER_ERROR, _)) => seen.failed += 1,
                Some((status, body)) => {
                    assert_eq!(status, StatusCode::BAD_REQUEST);
                    assert!(String::from_utf8_lossy(&body).contains("ThrottlingException"));
                    seen.throttled += 1;
                }
            }
        }
        assert_eq!(proxy.met(), seen);
        assert!(seen.cut > 0 && seen.failed > 0 && seen.throttled > 0 && seen.passed > 100, "{seen:?}");
    }

    #[test]
    fn a_refusal_in_cbor_is_a_map_of_texts() {
        assert_eq!(cbor(&[("__type", "Throttling")]), b"\xa1\x66__type\x6aThrottling");
    }
}
