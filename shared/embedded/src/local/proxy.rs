//! The Service: a small HTTP/1.1 proxy on loopback that chooses a pod for each request and measures the answers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri, Version};
use portcullis_domain::policy::Colour;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::endpoint::{Entered, Sender, Unanswered};
use super::meter::Series;
use super::route::Route;
use super::{held, http, index_of, now};

/// So often a request that was not sent is tried on another pod.
const ATTEMPTS: usize = 16;

/// Headers that speak of one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What a service's proxy works on: where requests go, and what was measured of each colour.
#[derive(Debug, Default)]
pub(super) struct Front {
    pub(super) route: Route,
    pub(super) measured: [Series; 2],
}

/// A running proxy. Dropping it lets requests in flight finish and closes it.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    pub(super) fn start(listener: TcpListener, front: Arc<Front>, grace: Duration) -> std::io::Result<Self> {
        let addr = listener.local_addr()?;
        let (stop, told) = watch::channel(false);
        let answer = move |request| forward(front.clone(), request);
        let task = Mutex::new(Some(tokio::spawn(http::serve(listener, told, grace, answer))));
        Ok(Self { addr, stop, task })
    }

    /// Stops accepting, lets requests in flight finish, and returns when the port is free.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = held(&self.task).take();
        if let Some(task) = task {
            // A task that panicked is over too.
            let _ = task.await;
        }
    }
}

async fn forward(front: Arc<Front>, mut request: Request<Incoming>) -> Response<Answer> {
    let began = Instant::now();
    let count = |colour: Colour, status: StatusCode| {
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        front.measured[index_of(colour)].record(now(), status.as_u16(), micros);
    };
    to_upstream(&mut request);
    for _ in 0..ATTEMPTS {
        let Some((colour, entered)) = front.route.choose() else {
            return own(StatusCode::SERVICE_UNAVAILABLE, "the service has no traffic rule yet\n");
        };
        let Some(entered) = entered else {
            count(colour, StatusCode::SERVICE_UNAVAILABLE);
            return own(StatusCode::SERVICE_UNAVAILABLE, "no pod of the serving colour is ready\n");
        };
        match entered.send(request).await {
            Ok((mut response, sender)) => {
                count(colour, response.status());
                strip(response.headers_mut());
                return response.map(|body| Answer::Pod(Held { body, ended: false, lease: Some((entered, sender)) }));
            }
            Err(Unanswered::Unsent(unsent)) => request = *unsent,
            Err(Unanswered::Lost(error)) => {
                tracing::warn!(%error, "a pod broke off while it had a request");
                count(colour, StatusCode::BAD_GATEWAY);
                return own(StatusCode::BAD_GATEWAY, "the pod broke off\n");
            }
        }
    }
    if let Some((colour, _)) = front.route.choose() {
        count(colour, StatusCode::BAD_GATEWAY);
    }
    own(StatusCode::BAD_GATEWAY, "no pod could be reached\n")
}

/// Makes a request ready to be sent on: path only, HTTP/1.1, a host, nothing that speaks of the client's connection.
fn to_upstream(request: &mut Request<Incoming>) {
    if request.uri().scheme().is_some() {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    }
    *request.version_mut() = Version::HTTP_11;
    strip(request.headers_mut());
    request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// An answer of the proxy itself: it has no `x-version`, which is how a client tells it from a build's.
fn own(status: StatusCode, why: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::Own(Full::new(Bytes::from_static(why.as_bytes()))));
    *response.status_mut() = status;
    response
}

/// A pod's answer on its way to the client, or the proxy's own.
enum Answer {
    Pod(Held),
    Own(Full<Bytes>),
}

/// A body that keeps its place at the pod until its last byte was passed on, then gives the connection back.
struct Held {
    body: Incoming,
    ended: bool,
    lease: Option<(Entered, Sender)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((entered, sender)) = self.lease.take()
            && (self.ended || self.body.is_end_stream())
        {
            entered.give_back(sender);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Answer::Pod(held) => {
                let frame = Pin::new(&mut held.body).poll_frame(cx);
                held.ended |= matches!(frame, Poll::Ready(None));
                frame
            }
            Answer::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Pod(held) => held.body.is_end_stream(),
            Answer::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Pod(held) => held.body.size_hint(),
            Answer::Own(body) => body.size_hint(),
        }
    }
}
