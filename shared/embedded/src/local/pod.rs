//! One pod: pulls its image, runs it as a real HTTP server on loopback, is probed until ready, and ends on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::Colour;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::build::{Build, Images};
use super::client::Connection;
use super::endpoint::Endpoint;
use super::http;

/// How long a pod waits before it tries again to pull its image, and between two readiness probes.
const AGAIN: Duration = Duration::from_millis(100);
/// A probe that takes longer has failed.
const PROBE: Duration = Duration::from_secs(5);
/// How often a worker's build does a piece of work.
const WORK: Duration = Duration::from_millis(20);

/// What every pod of a workload is made from.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) images: Images,
    pub(super) service: ServiceName,
    pub(super) colour: Colour,
    pub(super) worker: bool,
    pub(super) grace: Duration,
}

/// What a pod tells its workload.
#[derive(Debug)]
pub(super) enum PodEvent {
    /// A probe of its server succeeded.
    Ready(Arc<Endpoint>),
    /// What keeps it from being ready, one line.
    Problem(String),
    /// It has ended.
    Gone,
}

/// Runs a pod until it is told to stop (or the sender of `stop` is gone).
pub(super) async fn run(
    template: Template,
    digest: Digest,
    id: u64,
    events: mpsc::UnboundedSender<(u64, PodEvent)>,
    mut stop: watch::Receiver<bool>,
) {
    let tell = |event| {
        // A workload that is gone needs no news.
        let _ = events.send((id, event));
    };
    let told = stop.clone();
    let life = async {
        loop {
            match start(&template, &digest, told.clone()).await {
                Ok((build, addr, server)) => break (build, addr, server),
                Err(problem) => tell(PodEvent::Problem(problem)),
            }
            sleep(AGAIN).await;
        }
    };
    let started = tokio::select! {
        started = life => Some(started),
        () = http::told_to_stop(&mut stop) => None,
    };
    let Some((build, addr, server)) = started else { return };
    let probed = async {
        sleep(Duration::from_millis(build.ready_after.0)).await;
        while let Err(why) = timeout(PROBE, get(addr, "/health")).await.unwrap_or(Err("it takes too long".into())) {
            tell(PodEvent::Problem(format!("Unready: the probe of /health failed: {why}")));
            sleep(AGAIN).await;
        }
        tell(PodEvent::Ready(Endpoint::new(addr)));
    };
    tokio::select! {
        () = probed => {}
        () = http::told_to_stop(&mut stop) => {}
    }
    // The server ends itself when it is told to stop; a panic in it has ended it too.
    let _ = server.await;
}

type Started = (Build, SocketAddr, tokio::task::JoinHandle<()>);

async fn start(template: &Template, digest: &Digest, stop: watch::Receiver<bool>) -> Result<Started, String> {
    let (images, wanted) = (template.images.clone(), *digest);
    let build = tokio::task::spawn_blocking(move || images.pull(&wanted))
        .await
        .map_err(|error| format!("ImagePullBackOff: pulling broke off: {error}"))??;
    if build.crash {
        return Err(format!("CrashLoopBackOff: build {} exits as soon as it starts", build.version));
    }
    let listener =
        http::listen(None).await.map_err(|error| format!("CrashLoopBackOff: it cannot listen on loopback: {error}"))?;
    let addr = listener.local_addr().map_err(|error| format!("CrashLoopBackOff: it has no address: {error}"))?;
    let server = Arc::new(Server::new(template, digest, &build)?);
    let (worker, mut until) = (template.worker.then(|| server.clone()), stop.clone());
    let serving = http::serve(listener, stop, template.grace, move |request| answer(server.clone(), request));
    let task = tokio::spawn(async move {
        let work = async {
            if let Some(worker) = worker {
                let work = async {
                    loop {
                        sleep(WORK).await;
                        worker.worked.fetch_add(1, Ordering::Relaxed);
                    }
                };
                tokio::select! {
                    () = work => {}
                    () = http::told_to_stop(&mut until) => {}
                }
            }
        };
        tokio::join!(serving, work);
    });
    Ok((build, addr, task))
}

/// A running build.
struct Server {
    ready_at: Instant,
    latency: Duration,
    error_every: u64,
    requests: AtomicU64,
    worked: AtomicU64,
    version: HeaderValue,
    digest: HeaderValue,
    colour: HeaderValue,
    about: serde_json::Value,
}

impl Server {
    fn new(template: &Template, digest: &Digest, build: &Build) -> Result<Self, String> {
        let header = |text: &str| HeaderValue::from_str(text).map_err(|error| format!("InvalidImage: {error}"));
        Ok(Self {
            ready_at: Instant::now() + Duration::from_millis(build.ready_after.0),
            latency: Duration::from_millis(build.latency.0),
            error_every: build.error_every.unwrap_or(0).into(),
            requests: AtomicU64::new(0),
            worked: AtomicU64::new(0),
            version: header(&build.version)?,
            digest: header(&digest.to_string())?,
            colour: header(&template.colour.to_string())?,
            about: serde_json::json!({
                "service": template.service, "colour": template.colour, "version": build.version, "digest": digest,
            }),
        })
    }
}

/// Paths that say whether it can serve, and nothing of how well.
fn is_health(path: &str) -> bool {
    matches!(path, "/health" | "/healthz" | "/ready" | "/readyz" | "/live" | "/livez" | "/ping")
        || path.starts_with("/health/")
        || path.ends_with("/health")
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let health = is_health(request.uri().path());
    let mut body = request.into_body();
    while !body.is_end_stream() {
        // What was sent is read to its end, so that the connection can be used again.
        match body.frame().await {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break,
        }
    }
    let status = if health {
        if Instant::now() < server.ready_at { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    } else {
        let count = server.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if !server.latency.is_zero() {
            sleep_until(Instant::now() + server.latency).await;
        }
        let fails = server.error_every != 0 && count.is_multiple_of(server.error_every);
        if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    };
    let mut about = server.about.clone();
    about["worked"] = server.worked.load(Ordering::Relaxed).into();
    let mut response = Response::new(Full::from(format!("{about}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-version", server.version.clone());
    headers.insert("x-digest", server.digest.clone());
    headers.insert("x-colour", server.colour.clone());
    response
}

/// Asks a pod directly, past the Service. An error says what came instead of a status from 200 to 299.
pub(super) async fn get(addr: SocketAddr, path: &str) -> Result<(), String> {
    let uri: Uri = path.parse().map_err(|error| format!("{path:?} is no path: {error}"))?;
    let mut connection = Connection::to(addr).await.map_err(|error| format!("it cannot be reached: {error}"))?;
    let request = Request::builder().uri(uri).header("host", "localhost").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| format!("{path:?} cannot be asked for: {error}"))?;
    match connection.send(request).await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("it answered {}", response.status().as_u16())),
        Err(failed) => Err(format!("it did not answer: {}", failed.why)),
    }
}
