//! A `portcullis serve` process: started, waited for, killed, stopped.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::{Api, EVENTS_TOKEN};
use crate::binary;
use crate::installation::Installation;
use crate::wait::{self, SOON};

/// So many of the last lines of its log are kept.
const LINES: usize = 4_000;

/// A `serve` on one data directory; a new process each time it is started again. Killed when dropped.
pub struct Server {
    data: PathBuf,
    policies: Vec<PathBuf>,
    process: Option<Process>,
    address: Arc<RwLock<Option<SocketAddr>>>,
    log: Arc<Mutex<Vec<String>>>,
}

struct Process {
    child: Child,
    reader: JoinHandle<()>,
}

impl Server {
    /// Starts a server on an installation, and waits until it answers.
    pub async fn start(on: &Installation) -> Self {
        let mut server = Self::on(&on.data(), on.policies());
        server.spawn();
        server.ready().await;
        server
    }

    /// A server that is not started yet.
    pub fn on(data: &Path, policies: &[PathBuf]) -> Self {
        let (address, log) = (Arc::default(), Arc::default());
        Self { data: data.to_owned(), policies: policies.to_vec(), process: None, address, log }
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts the process and does not wait for it.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        *self.address.write().unwrap() = None;
        let mut command = binary::command();
        command.arg("serve").arg("--data").arg(&self.data).args(["--listen", "127.0.0.1:0", "--cluster", "local"]);
        for policy in &self.policies {
            command.arg("--policy").arg(policy);
        }
        command.args(["--log", "json"]).env("PORTCULLIS_EVENTS_TOKEN", EVENTS_TOKEN);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starting serve");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (address, log) = (self.address.clone(), self.log.clone());
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let said: Value = serde_json::from_str(&line).unwrap_or_default();
                if said["message"] == "listening" {
                    let at = said["address"].as_str().and_then(|at| at.parse().ok());
                    *address.write().unwrap() = at;
                }
                let mut log = log.lock().unwrap();
                if log.len() >= LINES {
                    log.drain(..LINES / 2);
                }
                log.push(line);
            }
        });
        self.process = Some(Process { child, reader });
    }

    /// Waits until it answers.
    pub async fn ready(&mut self) {
        let api = self.api();
        let began = Instant::now();
        loop {
            if matches!(api.get("/healthz").await, Ok(answer) if answer.status == 200) {
                return;
            }
            let ended = self.process.as_mut().expect("it was started").child.try_wait().unwrap();
            assert!(ended.is_none(), "serve ended by itself: {ended:?}\n{}", self.log_end(40));
            assert!(began.elapsed() < SOON, "serve does not answer\n{}", self.log_end(40));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A client of it, which finds it again after each start.
    pub fn api(&self) -> Api {
        Api::new(self.address.clone())
    }

    /// The address of its API, as `http://…`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address.read().unwrap().expect("it listens"))
    }

    /// Kills it as a power cut would: SIGKILL, and gone when this returns.
    pub fn kill9(&mut self) {
        let Process { mut child, reader } = self.process.take().expect("it runs");
        child.kill().expect("killing serve");
        child.wait().expect("waiting for its end");
        reader.join().expect("reading its log");
        *self.address.write().unwrap() = None;
    }

    /// Kills it and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.kill9();
        self.spawn();
        self.ready().await;
    }

    /// Tells it to stop by SIGTERM, and waits for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let Process { mut child, reader } = self.process.take().expect("it runs");
        let status = wait::until("serve ends after SIGTERM", SOON, async || {
            child.try_wait().unwrap().ok_or_else(|| "it still runs".to_owned())
        })
        .await;
        reader.join().expect("reading its log");
        *self.address.write().unwrap() = None;
        status
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it runs").child.id();
        // A shell has `kill` built in where no such program is installed.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().expect("starting sh");
        assert!(sent.success(), "sending SIG{name}");
    }

    /// The last lines of its log, over all its starts.
    pub fn log_end(&self, most: usize) -> String {
        let log = self.log.lock().unwrap();
        log[log.len().saturating_sub(most)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of serve's log\n{}", self.log_end(60));
        }
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}
