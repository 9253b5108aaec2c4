//! Requests that are counted to the last one: on kept connections, on new ones, and slow ones that are in flight while
//! something changes.
//!
//! The embedded cluster has a load of its own, for its HTTP proxy. This one is for connections that a Service only
//! passes on, so it tells apart what a client of such a Service sees.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, StatusCode};
use portcullis_embedded::local::client::Connection;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// So many different reasons are kept.
const REASONS: usize = 8;

/// What is sent, by how many at once. Each sender sends again when it has its answer, after a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Senders that keep their connection.
    pub kept: usize,
    /// Senders that make a connection for each request.
    pub fresh: usize,
    /// Senders whose requests take [`LoadOptions::slow_for`], each on a connection of its own.
    pub slow: usize,
    /// How long a slow request takes.
    pub slow_for: Duration,
    /// The pause of the senders that are not slow.
    pub pause: Duration,
    /// A request without an answer for so long is lost.
    pub patience: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            kept: 4,
            fresh: 2,
            slow: 2,
            slow_for: Duration::from_millis(500),
            pause: Duration::from_millis(10),
            patience: Duration::from_secs(10),
        }
    }
}

/// What came of the load. `sent` = `answered` + `failed` + `lost`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadReport {
    /// Requests whose end is known.
    pub sent: u64,
    /// Answers of pods with a status below 500.
    pub answered: u64,
    /// Answers with a status of 500 or more.
    pub failed: u64,
    /// Requests without an answer of a pod: not connected, broken off, timed out.
    pub lost: u64,
    /// Requests that were sent anew, once, because the kept connection they were sent on was closed before any of the
    /// answer came. RFC 9110, 9.2.2 lets a client do so for a GET, and every common one does; it is no loss, but counted.
    pub reopened: u64,
    /// Answers by a digest that was allowed neither when the request was sent nor when the answer came.
    pub wrong: u64,
    /// Answers by digest.
    pub digests: BTreeMap<String, u64>,
    /// Those of them with a status of 500 or more.
    pub failures: BTreeMap<String, u64>,
    /// Requests by kind: `kept`, `fresh`, `slow`.
    pub kinds: BTreeMap<&'static str, u64>,
    /// The longest that an answer took beyond what was asked for.
    pub slowest: Duration,
    /// Why requests were lost or failed: the first few different reasons.
    pub reasons: Vec<String>,
}

impl LoadReport {
    /// What a user would have noticed.
    pub fn losses(&self) -> u64 {
        self.lost + self.failed
    }
}

/// Running load. Dropping it without [`Load::stop`] ends it at once.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    senders: JoinSet<()>,
}

/// Tells the report of a load that somebody else has.
#[derive(Debug, Clone)]
pub struct Reporter(Arc<Shared>);

impl Reporter {
    /// The report so far.
    pub fn report(&self) -> LoadReport {
        self.0.report.lock().unwrap().clone()
    }
}

type Allowed = Option<Arc<BTreeSet<String>>>;

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    options: LoadOptions,
    allowed: Mutex<Allowed>,
    report: Mutex<LoadReport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kept,
    Fresh,
    Slow,
}

impl Load {
    /// Starts sending. Needs a tokio runtime with time and I/O.
    pub fn start(to: SocketAddr, options: LoadOptions) -> Self {
        let kinds = [(Kind::Kept, options.kept), (Kind::Fresh, options.fresh), (Kind::Slow, options.slow)];
        let shared = Arc::new(Shared { to, options, allowed: Mutex::default(), report: Mutex::default() });
        let (stop, told) = watch::channel(false);
        let mut senders = JoinSet::new();
        for (kind, count) in kinds {
            for _ in 0..count {
                senders.spawn(shared.clone().send(kind, told.clone()));
            }
        }
        Self { shared, stop, senders }
    }

    /// From now on only these digests may answer; none = any may, which is how it begins.
    pub fn allow(&self, digests: Option<BTreeSet<String>>) {
        *self.shared.allowed.lock().unwrap() = digests.map(Arc::new);
    }

    /// The report so far.
    pub fn report(&self) -> LoadReport {
        self.shared.report.lock().unwrap().clone()
    }

    /// What tells the report so far, also beside whoever stops the load.
    pub fn reporter(&self) -> Reporter {
        Reporter(self.shared.clone())
    }

    /// Sends no more, waits for the answers that are still due, and reports.
    pub async fn stop(mut self) -> LoadReport {
        self.stop.send_replace(true);
        while let Some(sender) = self.senders.join_next().await {
            sender.expect("a sender counts whatever happens");
        }
        self.report()
    }
}

/// How far a request is.
struct Progress {
    at: &'static str,
    reopened: bool,
}

/// A pod's digest and the status; or why there is none.
type Answer = Result<(String, StatusCode), String>;

impl Shared {
    async fn send(self: Arc<Self>, kind: Kind, stop: watch::Receiver<bool>) {
        let mut kept = None;
        while !*stop.borrow() {
            let allowed = self.allowed.lock().unwrap().clone();
            let began = Instant::now();
            let patience = self.options.patience;
            let mut progress = Progress { at: "", reopened: false };
            let answer = timeout(patience, self.ask(kind, &mut kept, &mut progress)).await.unwrap_or_else(|_| {
                let again = if progress.reopened { ", sent anew" } else { "" };
                Err(format!("no answer within {} s: {}{again}", patience.as_secs(), progress.at))
            });
            if answer.is_err() {
                kept = None;
            }
            self.count(kind, answer, progress.reopened, &allowed, began.elapsed());
            sleep(self.options.pause).await;
        }
    }

    async fn ask(&self, kind: Kind, kept: &mut Option<Connection<Empty<Bytes>>>, progress: &mut Progress) -> Answer {
        loop {
            progress.at = "connecting";
            let (mut connection, fresh) = match kept.take() {
                Some(connection) => (connection, false),
                None => (Connection::to(self.to).await.map_err(|why| format!("not connected: {why}"))?, true),
            };
            let slow = format!("/?ms={}", self.options.slow_for.as_millis());
            let mut request =
                Request::get(if kind == Kind::Slow { slow.as_str() } else { "/" }).header("host", "service");
            if kind != Kind::Kept {
                request = request.header("connection", "close");
            }
            let request = request.body(Empty::new()).expect("the path and the headers are valid");
            progress.at = "waiting for the answer";
            let response = match connection.send(request).await {
                Ok(response) => response,
                Err(_) if !fresh => {
                    progress.reopened = true;
                    continue;
                }
                Err(failed) => return Err(format!("broken off: {}", failed.why)),
            };
            let status = response.status();
            let digest = response.headers().get("x-digest").and_then(|digest| digest.to_str().ok()).map(str::to_owned);
            progress.at = "within the answer";
            let body = response.into_body().collect().await;
            body.map_err(|error| format!("broken off within the answer: {error}"))?;
            if kind == Kind::Kept {
                *kept = Some(connection);
            }
            let digest = digest.ok_or_else(|| format!("answered {} by no pod", status.as_u16()))?;
            return Ok((digest, status));
        }
    }

    fn count(&self, kind: Kind, answer: Answer, reopened: bool, allowed_before: &Allowed, took: Duration) {
        let allowed_now = self.allowed.lock().unwrap().clone();
        let (name, asked_for) = match kind {
            Kind::Kept => ("kept", Duration::ZERO),
            Kind::Fresh => ("fresh", Duration::ZERO),
            Kind::Slow => ("slow", self.options.slow_for),
        };
        let mut report = self.report.lock().unwrap();
        let report = &mut *report;
        report.sent += 1;
        report.reopened += u64::from(reopened);
        *report.kinds.entry(name).or_default() += 1;
        let why = match answer {
            Ok((digest, status)) => {
                let wrong = |allowed: &Allowed| allowed.as_ref().is_some_and(|allowed| !allowed.contains(&digest));
                report.wrong += u64::from(wrong(allowed_before) && wrong(&allowed_now));
                *report.digests.entry(digest.clone()).or_default() += 1;
                report.slowest = report.slowest.max(took.saturating_sub(asked_for));
                if !status.is_server_error() {
                    report.answered += 1;
                    return;
                }
                report.failed += 1;
                *report.failures.entry(digest).or_default() += 1;
                format!("{name}: answered {}", status.as_u16())
            }
            Err(why) => {
                report.lost += 1;
                format!("{name}: {why}")
            }
        };
        if report.reasons.len() < REASONS && !report.reasons.contains(&why) {
            report.reasons.push(why);
        }
    }
}
