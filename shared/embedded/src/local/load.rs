//! A load generator that misses nothing: every request it sends is answered, failed or lost, and counted as such.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, StatusCode};
use portcullis_domain::time::{Millis, Timestamp};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::Connection;
use super::http::told_to_stop;
use super::{held, now};

/// A request without an answer for so long is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many different reasons of losses are kept.
const REASONS: usize = 5;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Requests per second over all connections; none = each connection sends again as soon as it has its answer.
    pub rate: Option<u32>,
    /// Kept-alive connections, at least 1.
    pub connections: usize,
    /// The path asked for.
    pub path: String,
    /// Length of a bucket of the report.
    pub bucket: Millis,
}

impl LoadOptions {
    /// As fast as so many connections can.
    pub fn full(connections: usize) -> Self {
        Self { rate: None, connections, path: "/".into(), bucket: Millis(100) }
    }

    /// So many requests per second over so many connections; fewer if the answers come too slowly for that.
    pub fn per_second(rate: u32, connections: usize) -> Self {
        Self { rate: Some(rate), ..Self::full(connections) }
    }
}

/// What came of the load, so far or in all. `sent` = `answered` + `lost`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LoadReport {
    /// When it began.
    pub began_at: Timestamp,
    /// How long it has run.
    pub length: Millis,
    /// Requests whose end is known.
    pub sent: u64,
    /// Answers of builds (they have an `x-version`), whatever their status.
    pub answered: u64,
    /// Requests without an answer of a build: not connected, broken off, or refused by the proxy (502, 503).
    pub lost: u64,
    /// Answers of builds with a 5xx status.
    pub failed: u64,
    /// Answers by a version that was allowed neither when the request was sent nor when the answer came.
    pub wrong_version: u64,
    /// Answers by version.
    pub versions: BTreeMap<String, u64>,
    /// When the first and the last failed answer came.
    pub failed_between: Option<(Timestamp, Timestamp)>,
    /// What happened over time; buckets without answers are empty, and there from the beginning.
    pub buckets: Vec<LoadBucket>,
    /// Why requests were lost: the first few different reasons.
    pub reasons: Vec<String>,
}

/// One bucket of time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LoadBucket {
    /// Answers by version.
    pub versions: BTreeMap<String, u64>,
    /// Of them, with a 5xx status.
    pub failed: u64,
    /// Requests lost.
    pub lost: u64,
}

/// Running load. Dropping it without [`Load::stop`] ends it at once.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: VecDeque<JoinHandle<()>>,
}

type Allowed = Option<Arc<BTreeSet<String>>>;

#[derive(Debug)]
struct Shared {
    addr: SocketAddr,
    options: LoadOptions,
    began: Instant,
    turn: AtomicU64,
    allowed: Mutex<Allowed>,
    report: Mutex<LoadReport>,
}

impl Load {
    /// Starts sending. Needs a tokio runtime with time and I/O.
    pub fn start(addr: SocketAddr, options: LoadOptions) -> Self {
        let (stop, told) = watch::channel(false);
        let shared = Arc::new(Shared {
            addr,
            began: Instant::now(),
            turn: AtomicU64::new(0),
            allowed: Mutex::default(),
            report: Mutex::new(LoadReport { began_at: now(), ..LoadReport::default() }),
            options,
        });
        let connections = shared.options.connections.max(1);
        let tasks = (0..connections).map(|_| tokio::spawn(shared.clone().send(told.clone()))).collect();
        Self { shared, stop, tasks }
    }

    /// From now on only these versions may answer; none = any may, which is how it begins.
    pub fn allow(&self, versions: Option<BTreeSet<String>>) {
        *held(&self.shared.allowed) = versions.map(Arc::new);
    }

    /// The report so far.
    pub fn report(&self) -> LoadReport {
        let mut report = held(&self.shared.report).clone();
        report.length = self.shared.elapsed();
        report
    }

    /// Sends no more, waits for the answers that are still due, and reports.
    pub async fn stop(mut self) -> LoadReport {
        self.stop.send_replace(true);
        while let Some(task) = self.tasks.pop_front() {
            // A task that panicked counted what it could.
            let _ = task.await;
        }
        self.report()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

enum Ended {
    Answered { version: String, status: StatusCode },
    Lost(String),
}

impl Shared {
    fn elapsed(&self) -> Millis {
        Millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn send(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut connection = None;
        loop {
            if let Some(rate) = self.options.rate {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let due = Duration::from_nanos(turn.saturating_mul(1_000_000_000) / u64::from(rate.max(1)));
                tokio::select! {
                    () = sleep_until(self.began + due) => {}
                    () = told_to_stop(&mut stop) => {}
                }
            }
            if *stop.borrow() {
                return;
            }
            let allowed = held(&self.allowed).clone();
            let ended = timeout(PATIENCE, self.ask(&mut connection)).await;
            let ended = ended.unwrap_or_else(|_| Ended::Lost(format!("no answer within {} s", PATIENCE.as_secs())));
            let lost = matches!(ended, Ended::Lost(_));
            self.count(ended, &allowed);
            if lost {
                connection = None;
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Sends one request, on a new connection if the kept one was closed before anything was sent on it.
    async fn ask(&self, kept: &mut Option<Connection<Empty<Bytes>>>) -> Ended {
        loop {
            let (mut connection, fresh) = match kept.take() {
                Some(connection) => (connection, false),
                None => match Connection::to(self.addr).await {
                    Ok(connection) => (connection, true),
                    Err(why) => return Ended::Lost(format!("not connected: {why}")),
                },
            };
            let request = Request::builder().uri(&self.options.path).header("host", "localhost").body(Empty::new());
            let request = match request {
                Ok(request) => request,
                Err(error) => return Ended::Lost(format!("not sent: {error}")),
            };
            let response = match connection.send(request).await {
                Ok(response) => response,
                Err(failed) if !fresh && failed.unsent.is_some() => continue,
                Err(failed) => return Ended::Lost(format!("broken off: {}", failed.why)),
            };
            let status = response.status();
            let version = response.headers().get("x-version").and_then(|version| version.to_str().ok());
            let version = version.map(str::to_owned);
            if let Err(error) = response.into_body().collect().await {
                return Ended::Lost(format!("broken off within the answer: {error}"));
            }
            *kept = Some(connection);
            return match version {
                Some(version) => Ended::Answered { version, status },
                None => Ended::Lost(format!("answered {} by no build", status.as_u16())),
            };
        }
    }

    fn count(&self, ended: Ended, allowed_before: &Allowed) {
        let at = usize::try_from(self.elapsed().0 / self.options.bucket.0.max(1)).unwrap_or(usize::MAX);
        let allowed_now = held(&self.allowed).clone();
        let mut report = held(&self.report);
        let report = &mut *report;
        if report.buckets.len() <= at {
            report.buckets.resize_with(at + 1, LoadBucket::default);
        }
        let bucket = &mut report.buckets[at];
        report.sent += 1;
        match ended {
            Ended::Answered { version, status } => {
                report.answered += 1;
                if status.is_server_error() {
                    report.failed += 1;
                    bucket.failed += 1;
                    let now = now();
                    report.failed_between = Some((report.failed_between.map_or(now, |(first, _)| first), now));
                }
                let wrong = |allowed: &Allowed| allowed.as_ref().is_some_and(|allowed| !allowed.contains(&version));
                report.wrong_version += u64::from(wrong(allowed_before) && wrong(&allowed_now));
                *bucket.versions.entry(version.clone()).or_default() += 1;
                *report.versions.entry(version).or_default() += 1;
            }
            Ended::Lost(why) => {
                report.lost += 1;
                bucket.lost += 1;
                if report.reasons.len() < REASONS && !report.reasons.contains(&why) {
                    report.reasons.push(why);
                }
            }
        }
    }
}
