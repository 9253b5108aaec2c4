//! A function as a real process under the Lambda Runtime API (AWS Lambda Developer Guide, "Lambda runtime API for custom
//! runtimes"): it asks for the next invocation, and answers it, over HTTP.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::resources::REGION;

/// How a function is started.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    /// Its name, as the template has it.
    pub name: String,
    /// Its binary.
    pub binary: PathBuf,
    /// Its environment, besides what the runtime itself sets. Nothing else of the test's environment is seen by it.
    pub environment: Vec<(String, String)>,
    /// How long one invocation may take.
    pub timeout: Duration,
    /// The file that its processes write their log to, one after the other.
    pub log: PathBuf,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It answered.
    Answered(Vec<u8>),
    /// It said that it failed.
    Failed(String),
    /// Its process ended before it answered, by a crash or because the time was over.
    Died,
}

struct Invocation {
    id: String,
    body: Vec<u8>,
    deadline: SystemTime,
    ended: oneshot::Sender<Ended>,
}

/// The runtime that one process asks. A new process gets a new one, so that nothing is handed to a dead one.
struct Shared {
    next: AsyncMutex<mpsc::Receiver<Invocation>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Ended>>>,
    function: String,
}

struct Process {
    child: Child,
    send: mpsc::Sender<Invocation>,
    server: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A function: its process, started with its first invocation, and again when it died. One invocation at a time.
pub struct Host {
    spec: FunctionSpec,
    process: AsyncMutex<Option<Process>>,
    invocations: AtomicU64,
    /// What its invocations took together, in milliseconds.
    busy: AtomicU64,
    starts: AtomicU64,
}

impl Host {
    /// A function that is not started yet.
    pub fn new(spec: FunctionSpec) -> Self {
        let (invocations, busy, starts) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { spec, process: AsyncMutex::default(), invocations, busy, starts }
    }

    /// Invokes the function once; a process that died before is started anew.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub async fn invoke(&self, body: &[u8]) -> std::io::Result<Ended> {
        let mut held = self.process.lock().await;
        let runs = match held.as_mut() {
            Some(process) => process.child.try_wait()?.is_none(),
            None => false,
        };
        if !runs {
            *held = Some(self.start().await?);
        }
        let process = held.as_mut().ok_or_else(|| std::io::Error::other("no process"))?;
        let id = format!("00000000-0000-4000-8000-{:012}", self.invocations.fetch_add(1, Ordering::Relaxed));
        let (ended, told) = oneshot::channel();
        let begun = Instant::now();
        let deadline = SystemTime::now() + self.spec.timeout;
        let sent = process.send.send(Invocation { id, body: body.to_vec(), deadline, ended }).await;
        let ended = if sent.is_err() {
            Ended::Died
        } else {
            tokio::select! {
                biased;
                ended = told => ended.unwrap_or(Ended::Died),
                _ = process.child.wait() => Ended::Died,
                () = tokio::time::sleep(self.spec.timeout) => Ended::Died,
            }
        };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.busy.fetch_add(took, Ordering::Relaxed);
        if ended == Ended::Died
            && let Some(mut process) = held.take()
        {
            // It may be gone already.
            let _ = process.child.kill().await;
        }
        Ok(ended)
    }

    /// Kills the process as Lambda does, without a word, between two invocations.
    pub async fn kill(&self) {
        if let Some(mut process) = self.process.lock().await.take() {
            // It may be gone already.
            let _ = process.child.kill().await;
        }
    }

    /// How often it was invoked, and what that took together.
    pub fn used(&self) -> (u64, Duration) {
        let busy = Duration::from_millis(self.busy.load(Ordering::Relaxed));
        (self.invocations.load(Ordering::Relaxed), busy)
    }

    /// How many processes were started.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// The last lines of its log, of all its processes.
    pub fn log_end(&self, most: usize) -> String {
        let log = std::fs::read_to_string(&self.spec.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(most)..].join("\n")
    }

    async fn start(&self) -> std::io::Result<Process> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (send, next) = mpsc::channel(1);
        let function = self.spec.name.clone();
        let shared = Arc::new(Shared { next: AsyncMutex::new(next), waiting: Mutex::default(), function });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_invocation))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .route("/2018-06-01/runtime/init/error", post(|| async { StatusCode::ACCEPTED }))
            .with_state(shared);
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let log = File::options().create(true).append(true).open(&self.spec.log)?;
        let mut command = Command::new(&self.spec.binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", &address)
            .env("AWS_LAMBDA_FUNCTION_NAME", &self.spec.name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/portcullis/{}", self.spec.name))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .envs(self.spec.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn()?;
        self.starts.fetch_add(1, Ordering::Relaxed);
        Ok(Process { child, send, server })
    }
}

async fn next_invocation(State(shared): State<Arc<Shared>>) -> Response {
    let Some(invocation) = shared.next.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = invocation.deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let arn = format!("arn:aws:lambda:{REGION}:123456789012:function:{}", shared.function);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", invocation.id.clone()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", arn),
        ("content-type", "application/json".to_owned()),
    ] {
        match HeaderValue::from_str(&value) {
            Ok(value) => headers.insert(name, value),
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
    }
    shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(invocation.id, invocation.ended);
    (headers, invocation.body).into_response()
}

async fn answered(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    end(&shared, &id, Ended::Answered(body.to_vec()))
}

async fn failed(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    end(&shared, &id, Ended::Failed(String::from_utf8_lossy(&body).into_owned()))
}

fn end(shared: &Shared, id: &str, ended: Ended) -> StatusCode {
    match shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id) {
        // Who asked may have given up meanwhile.
        Some(told) => {
            let _ = told.send(ended);
            StatusCode::ACCEPTED
        }
        None => StatusCode::BAD_REQUEST,
    }
}
