//! A function as a real process under the Lambda Runtime API (AWS Lambda Developer Guide, "Lambda runtime API for custom
//! runtimes"): it asks for the next invocation, and answers it, over HTTP.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

type Waiting = HashMap<String, oneshot::Sender<Ended>>;

struct Invocation {
    id: String,
    body: Vec<u8>,
    deadline: SystemTime,
    ended: oneshot::Sender<Ended>,
}

struct Shared {
    next: AsyncMutex<mpsc::Receiver<Invocation>>,
    waiting: Mutex<Waiting>,
    function: String,
}

/// A function's process, started again when it died, and the runtime it asks.
pub struct Host {
    spec: FunctionSpec,
    address: String,
    send: mpsc::Sender<Invocation>,
    shared: Arc<Shared>,
    child: AsyncMutex<Option<Child>>,
    count: Mutex<u64>,
    server: JoinHandle<()>,
}

impl Host {
    /// Listens; the process starts with its first invocation.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn new(spec: FunctionSpec) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (send, next) = mpsc::channel(64);
        let shared =
            Arc::new(Shared { next: AsyncMutex::new(next), waiting: Mutex::default(), function: spec.name.clone() });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_invocation))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .route("/2018-06-01/runtime/init/error", post(|| async { StatusCode::ACCEPTED }))
            .with_state(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { spec, address, send, shared, child: AsyncMutex::new(None), count: Mutex::new(0), server })
    }

    /// Invokes the function once; a process that died before is started anew.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub async fn invoke(&self, body: &[u8]) -> std::io::Result<Ended> {
        let mut child = self.child.lock().await;
        let dead = match child.as_mut() {
            None => true,
            Some(running) => running.try_wait()?.is_some(),
        };
        if dead {
            *child = Some(self.start()?);
        }
        let id = {
            let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
            *count += 1;
            format!("00000000-0000-4000-8000-{:012}", *count)
        };
        let (ended, told) = oneshot::channel();
        let deadline = SystemTime::now() + self.spec.timeout;
        let invocation = Invocation { id: id.clone(), body: body.to_vec(), deadline, ended };
        if self.send.send(invocation).await.is_err() {
            return Ok(Ended::Died);
        }
        let running = child.as_mut().ok_or_else(|| std::io::Error::other("no process"))?;
        let ended = tokio::select! {
            biased;
            ended = told => ended.unwrap_or(Ended::Died),
            _ = running.wait() => Ended::Died,
            () = tokio::time::sleep(self.spec.timeout) => Ended::Died,
        };
        if ended == Ended::Died {
            running.kill().await?;
            *child = None;
            self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            // What the process had not taken yet is gone with it.
            let mut next = self.shared.next.lock().await;
            while next.try_recv().is_ok() {}
        }
        Ok(ended)
    }

    /// Kills the process as Lambda does: without a word.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn kill(&self) -> std::io::Result<()> {
        if let Some(mut child) = self.child.lock().await.take() {
            child.kill().await?;
        }
        Ok(())
    }

    fn start(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.spec.binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", &self.address)
            .env("AWS_LAMBDA_FUNCTION_NAME", &self.spec.name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", self.spec.name))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .envs(self.spec.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        command.spawn()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next_invocation(State(shared): State<Arc<Shared>>) -> Response {
    let Some(invocation) = shared.next.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = invocation.deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let arn = format!("arn:aws:lambda:eu-west-1:111122223333:function:{}", shared.function);
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
