//! The clients of one Service: each request of the load is sent on to it, and what came of it is measured here, where a
//! user would notice it.
//!
//! Connections to the Service are kept for some requests, as a gateway keeps them: Kubernetes moves new connections only,
//! and one that is kept stays with its pod as long as that lives.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request as Asked, State};
use axum::http::HeaderValue;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode};
use portcullis_domain::action::Window;
use portcullis_domain::policy::Metric;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_embedded::clock::SystemClock;
use portcullis_embedded::local::client::Connection;
use portcullis_engine::ports::Clock as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A kept connection is given up after so many requests.
const KEPT: u32 = 20;
/// A request without an answer for so long has none.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const MOST: usize = 1 << 20;
/// Answers that are remembered: some minutes of the most load that the demo takes.
const REMEMBERED: usize = 500_000;
/// The header that says who answered.
const VERSION: &str = "x-version";

/// How a Service is reached.
#[derive(Clone)]
pub(super) enum Through {
    /// By its address.
    Address(SocketAddr),
    /// By the API server's service proxy: this path.
    ApiServer(kube::Client, String),
}

/// One answer, or that there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    at: Timestamp,
    /// None = no build answered.
    version: Option<String>,
    status: u16,
    micros: u64,
}

/// The clients of one Service.
pub(super) struct Front {
    through: Through,
    kept: Mutex<Vec<Kept>>,
    /// Connections of an earlier generation are not used again.
    generation: AtomicU64,
    answers: Mutex<VecDeque<Answer>>,
}

struct Kept {
    connection: Connection<Empty<Bytes>>,
    used: u32,
    generation: u64,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    /// Listens on the loopback, and sends on what comes. The task ends when it is aborted.
    pub(super) async fn start(through: Through) -> anyhow::Result<(Arc<Self>, SocketAddr, JoinHandle<()>)> {
        let front = Arc::new(Self {
            through,
            kept: Mutex::default(),
            generation: AtomicU64::new(0),
            answers: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listening on the loopback")?;
        let address = listener.local_addr().context("asking for the address that is listened on")?;
        let router = Router::new().fallback(pass).with_state(front.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the demo's clients ended");
            }
        });
        Ok((front, address, task))
    }

    /// From now on, requests go by new connections.
    pub(super) fn renew(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        held(&self.kept).clear();
    }

    /// What a version answered in a window. What no build answered counts as this version's failure.
    pub(super) fn window(&self, version: &str, from: Timestamp, to: Timestamp, metrics: &BTreeSet<Metric>) -> Window {
        let answers = held(&self.answers);
        let within = answers.iter().filter(|answer| answer.at >= from && answer.at < to);
        window(within, version, to.since(from), metrics)
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, Option<HeaderValue>, Bytes), String> {
        match &self.through {
            Through::Address(address) => self.direct(*address, path).await,
            Through::ApiServer(client, base) => {
                let request = Request::get(format!("{base}{path}")).body(kube::client::Body::from(Vec::new()));
                let request = request.map_err(|error| format!("not sent: {error}"))?;
                let response = client.send(request).await.map_err(|error| format!("the API server: {error}"))?;
                let (parts, body) = response.into_parts();
                let body = Limited::new(body, MOST).collect().await.map_err(|error| format!("broken off: {error}"))?;
                Ok((parts.status, parts.headers.get(VERSION).cloned(), body.to_bytes()))
            }
        }
    }

    /// On a kept connection if there is one. A GET whose kept connection was closed before any of its answer came is sent
    /// once more on a new one, as RFC 9110 (9.2.2) lets clients do.
    async fn direct(
        &self,
        address: SocketAddr,
        path: &str,
    ) -> Result<(StatusCode, Option<HeaderValue>, Bytes), String> {
        let generation = self.generation.load(Ordering::Relaxed);
        let kept = held(&self.kept).pop();
        if let Some(kept) = kept.filter(|kept| kept.generation == generation)
            && let Some(answer) = self.on(kept, path).await?
        {
            return Ok(answer);
        }
        let connection = Connection::to(address).await.map_err(|error| format!("not connected: {error}"))?;
        let new = Kept { connection, used: 0, generation };
        self.on(new, path).await?.ok_or_else(|| "broken off before an answer".to_owned())
    }

    /// None = it was closed before any of the answer came.
    async fn on(&self, mut kept: Kept, path: &str) -> Result<Option<(StatusCode, Option<HeaderValue>, Bytes)>, String> {
        let request = Request::get(path).header("host", "portcullis-demo").body(Empty::new());
        let request = request.map_err(|error| format!("not sent: {error}"))?;
        let Ok(response) = kept.connection.send(request).await else { return Ok(None) };
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MOST).collect().await.map_err(|error| format!("broken off: {error}"))?;
        kept.used += 1;
        if kept.used < KEPT && kept.generation == self.generation.load(Ordering::Relaxed) {
            held(&self.kept).push(kept);
        }
        Ok(Some((parts.status, parts.headers.get(VERSION).cloned(), body.to_bytes())))
    }

    fn remember(&self, answer: Answer) {
        let mut answers = held(&self.answers);
        answers.push_back(answer);
        if answers.len() > REMEMBERED {
            answers.pop_front();
        }
    }
}

/// Sends one request on. What no build answered is a 502 without a version: the load counts it as lost.
async fn pass(State(front): State<Arc<Front>>, asked: Asked) -> Response {
    let path = asked.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let began = Instant::now();
    let answered = tokio::time::timeout(PATIENCE, front.ask(&path)).await;
    let answered = answered.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (status, version, body) = match answered {
        Ok((status, version, body)) => (status, version, Body::from(body)),
        Err(why) => {
            tracing::debug!(why, "a request of the demo was lost");
            (StatusCode::BAD_GATEWAY, None, Body::from(why))
        }
    };
    let named = version.as_ref().and_then(|version| version.to_str().ok()).map(str::to_owned);
    front.remember(Answer { at: SystemClock.now(), version: named, status: status.as_u16(), micros });
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(version) = version {
        response.headers_mut().insert(VERSION, version);
    }
    response
}

/// The figures of a window, in the units of [`Metric`].
fn window<'a>(
    answers: impl Iterator<Item = &'a Answer>,
    version: &str,
    length: Millis,
    metrics: &BTreeSet<Metric>,
) -> Window {
    let own = answers.filter(|answer| answer.version.as_deref().is_none_or(|by| by == version));
    let mut times = Vec::new();
    let (mut failed, mut refused) = (0_u64, 0_u64);
    for answer in own {
        times.push(answer.micros);
        let bad = answer.status >= 500 || answer.version.is_none();
        failed += u64::from(bad);
        refused += u64::from(!bad && answer.status >= 400);
    }
    times.sort_unstable();
    let requests = times.len() as u64;
    let mut window = Window { requests, failed, ..Window::default() };
    if requests == 0 || length.0 == 0 {
        return window;
    }
    let rounded = |count: u64, scale: u64, of: u64| (count.saturating_mul(scale).saturating_add(of / 2)) / of;
    // Nearest rank.
    let percentile = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
    for metric in metrics.iter().copied().chain([Metric::Requests]) {
        let value = match metric {
            Metric::Requests => rounded(requests, 1_000_000, length.0),
            Metric::ErrorRate => rounded(failed, 10_000, requests),
            Metric::ClientErrorRate => rounded(refused, 10_000, requests),
            Metric::ResponseTimeP50 => percentile(50),
            Metric::ResponseTimeP95 => percentile(95),
            Metric::ResponseTimeP99 => percentile(99),
        };
        window.values.insert(metric, i64::try_from(value).unwrap_or(i64::MAX));
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(at: u64, version: Option<&str>, status: u16, micros: u64) -> Answer {
        Answer { at: Timestamp(at), version: version.map(str::to_owned), status, micros }
    }

    #[test]
    fn a_window_is_of_one_version_and_of_what_nobody_answered() {
        let answers = [
            answer(0, Some("v2"), 200, 1_000),
            answer(1, Some("v3"), 200, 10),
            answer(2, Some("v3"), 500, 20),
            answer(3, Some("v3"), 404, 30),
            answer(4, None, 502, 40),
        ];
        let metrics = BTreeSet::from([Metric::ErrorRate, Metric::ClientErrorRate, Metric::ResponseTimeP95]);
        let window = window(answers.iter(), "v3", Millis::seconds(2), &metrics);
        assert_eq!((window.requests, window.failed), (4, 2));
        let value = |metric| window.values.get(&metric).copied();
        assert_eq!(value(Metric::Requests), Some(2_000), "thousandths of a request per second");
        assert_eq!(value(Metric::ErrorRate), Some(5_000));
        assert_eq!(value(Metric::ClientErrorRate), Some(2_500));
        assert_eq!(value(Metric::ResponseTimeP95), Some(40));
    }

    #[test]
    fn a_window_without_answers_has_no_values() {
        let window = window([].iter(), "v3", Millis::seconds(2), &BTreeSet::from([Metric::ErrorRate]));
        assert_eq!(window, Window::default());
    }

    #[tokio::test]
    async fn requests_go_on_with_who_answered_and_a_service_that_is_gone_is_a_loss() {
        let pod = Router::new().fallback(|| async { ([(VERSION, "v1")], "hello") });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, pod).await });
        let (front, _, task) = Front::start(Through::Address(address)).await.unwrap();
        for _ in 0..2 * KEPT {
            let (status, version, body) = front.ask("/").await.unwrap();
            assert_eq!((status, version.unwrap().to_str().unwrap(), &body[..]), (StatusCode::OK, "v1", &b"hello"[..]));
        }
        front.renew();
        assert!(held(&front.kept).is_empty());
        serving.abort();
        let _ = serving.await;
        assert!(front.ask("/").await.is_err());
        task.abort();
    }
}
