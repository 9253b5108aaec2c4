//! What runs in a container: an HTTP/1.1 server that says who it is.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::images::{Behaviour, Pulled};

/// A request may ask for no longer answer than this.
const SLOWEST: Duration = Duration::from_mins(1);

/// What a server is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Answer requests.
    Serve,
    /// Accept nothing new, answer what is in flight, end.
    Drain,
}

/// A running container's server.
pub(super) struct App {
    behaviour: Behaviour,
    started: Instant,
    requests: AtomicU64,
    version: HeaderValue,
    digest: HeaderValue,
    pod: HeaderValue,
    about: String,
}

impl App {
    /// An app of this image in the pod that `about` describes. An error says what about it is wrong.
    pub(super) fn new(pulled: &Pulled, pod: &str, mut about: Value) -> Result<Self, String> {
        let header = |text: &str| HeaderValue::from_str(text).map_err(|error| format!("{text:?}: {error}"));
        about["version"] = pulled.behaviour.version.clone().into();
        about["digest"] = pulled.digest.clone().into();
        Ok(Self {
            version: header(&pulled.behaviour.version)?,
            digest: header(&pulled.digest)?,
            pod: header(pod)?,
            behaviour: pulled.behaviour.clone(),
            started: Instant::now(),
            requests: AtomicU64::new(0),
            about: format!("{about}\n"),
        })
    }

    /// Whether its health paths answer 200 now.
    fn is_healthy(&self) -> bool {
        let up = self.started.elapsed();
        let after = |ms: u64| up >= Duration::from_millis(ms);
        let again = self.behaviour.unready_after_ms.is_some_and(after);
        !self.behaviour.never_ready && after(self.behaviour.ready_after_ms) && !again
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let health = is_health(request.uri().path());
        let asked = asked_delay(request.uri().query());
        // What was sent is read to its end, so that the connection can be used again.
        let _ = request.into_body().collect().await;
        let status = if health {
            if self.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
        } else {
            let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let think = asked.max(Duration::from_millis(self.behaviour.latency_ms));
            if !think.is_zero() {
                sleep(think).await;
            }
            let every = self.behaviour.error_every;
            if every != 0 && count.is_multiple_of(every) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
        };
        let mut response = Response::new(Full::from(self.about.clone()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-version", self.version.clone());
        headers.insert("x-digest", self.digest.clone());
        headers.insert("x-pod", self.pod.clone());
        response
    }
}

/// Paths that say whether it can serve.
fn is_health(path: &str) -> bool {
    matches!(path, "/health" | "/healthz" | "/ready" | "/readyz" | "/live" | "/livez" | "/ping")
        || path.ends_with("/health")
}

/// A request asks for a slow answer by `?ms=`.
fn asked_delay(query: Option<&str>) -> Duration {
    let ms = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok()));
    Duration::from_millis(ms.unwrap_or(0)).min(SLOWEST)
}

/// Listens on all ports of a container.
pub(super) async fn listen(ip: Ipv4Addr, ports: &[u16]) -> std::io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for port in ports {
        listeners.push(TcpListener::bind((ip, *port)).await?);
    }
    Ok(listeners)
}

/// Answers on all listeners until it is told to drain (or nobody is left to tell it), and returns when the last request
/// in flight has its answer. Dropping the future cuts every connection.
pub(super) async fn serve(listeners: Vec<TcpListener>, app: Arc<App>, order: watch::Receiver<Order>) {
    let mut servers = JoinSet::new();
    for listener in listeners {
        servers.spawn(serve_one(listener, app.clone(), order.clone()));
    }
    while servers.join_next().await.is_some() {}
}

async fn serve_one(listener: TcpListener, app: Arc<App>, mut order: watch::Receiver<Order>) {
    let mut connections = JoinSet::new();
    let told = order.clone();
    loop {
        tokio::select! {
            biased;
            () = told_to_drain(&mut order) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, app.clone(), told.clone()));
                }
                // Out of file descriptors, or a client that left already: neither ends a server.
                Err(_) => sleep(Duration::from_millis(5)).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn told_to_drain(order: &mut watch::Receiver<Order>) {
    let _ = order.wait_for(|order| *order >= Order::Drain).await;
}

async fn connection(stream: TcpStream, app: Arc<App>, mut order: watch::Receiver<Order>) {
    // Without it small answers wait for acknowledgements; failing to set it costs time only.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to_drain(&mut order) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that broke off has its own reasons; the load generator counts what it saw.
    drop(ended);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_slow_its_answer_shall_be() {
        for (query, ms) in [(None, 0), (Some("ms=250"), 250), (Some("a=b&ms=9999999"), 60_000), (Some("ms=x"), 0)] {
            assert_eq!(asked_delay(query), Duration::from_millis(ms), "{query:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn health_follows_the_behaviour() {
        let with = |behaviour| {
            let pulled = Pulled { digest: "sha256:00".into(), image_id: String::new(), behaviour };
            App::new(&pulled, "pod", serde_json::json!({})).unwrap()
        };
        let slow = with(Behaviour { ready_after_ms: 100, unready_after_ms: Some(300), ..Behaviour::version("v1") });
        let never = with(Behaviour { never_ready: true, ..Behaviour::version("v1") });
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push((slow.is_healthy(), never.is_healthy()));
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(seen, [(false, false), (true, false), (true, false), (false, false)]);
    }
}
