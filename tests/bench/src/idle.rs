//! The memory of an idle `serve`, against a process that listens and does nothing else.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use portcullis_domain::digest::Digest;

use crate::memory::Memory;
use crate::report::{Goal, Line};
use crate::story::applications;

/// How long it idles before it is looked at.
const IDLE: Duration = Duration::from_secs(5);
const START: Duration = Duration::from_secs(20);
const GOAL_MB: f64 = 30.0;
/// Names the binary to be measured; without it, it is built.
const BINARY: &str = "PORTCULLIS_BIN";

pub(crate) fn measure() -> Result<Vec<Line>> {
    let binary = binary()?;
    let folder = tempfile::Builder::new().prefix("bench-idle-").tempdir()?;
    let policy = folder.path().join("portcullis.yaml");
    for (_, text) in applications(1) {
        std::fs::write(&policy, text)?;
    }
    let address = free_address()?;
    let log = std::fs::File::create(folder.path().join("log"))?;
    let mut serve = Command::new(&binary);
    serve.arg("serve").args([OsStr::new("--policy"), policy.as_os_str()]);
    serve.args([OsStr::new("--data"), folder.path().join("data").as_os_str(), OsStr::new("--listen")]);
    serve.arg(address.to_string()).env("PORTCULLIS_EVENTS_TOKEN", token()).stderr(log);
    let mut serve = Running(serve.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    if let Err(error) = serve.is_healthy(address) {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        return Err(error.context(format!("{} serve said: {}", binary.display(), log.trim())));
    }
    let mut listener = Command::new(std::env::current_exe()?);
    let mut listener = Running(listener.arg("listener").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    std::thread::sleep(IDLE);
    let (ours, beside) = (serve.memory()?, listener.memory()?);
    let line = Line::new(
        "idle",
        "resident memory of serve, 5 s idle, a policy of 3 environments, no release",
        ours.resident,
        "MB",
    )
    .goal(Goal::Below(GOAL_MB))
    .beside("an idle tokio runtime that listens, and nothing else", beside.resident, "MB")
    .detail("its own", format!("{:.1} MB not backed by a file", ours.anonymous))
    .detail("peak", format!("{:.1} MB since it was started", ours.peak));
    Ok(vec![line])
}

/// What an idle server is compared with.
pub(crate) fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        loop {
            drop(listener.accept().await?);
        }
    })
}

/// The binary named by the environment, or else built as this one was.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY) {
        return Ok(path.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "portcullis-cli"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.args(["--profile", "bench"]);
    }
    let status = build.stdout(Stdio::null()).status().context("starting cargo")?;
    ensure!(status.success(), "portcullis could not be built; name a binary by {BINARY}");
    let path = std::env::current_exe()?.with_file_name(format!("portcullis{}", std::env::consts::EXE_SUFFIX));
    ensure!(path.exists(), "there is no {}; name a binary by {BINARY}", path.display());
    Ok(path)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Nobody else's for the seconds it is used.
fn token() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Digest::of(format!("{} {since:?}", std::process::id()).as_bytes()).hex()
}

/// A process that ends when this is dropped.
struct Running(Child);

impl Running {
    /// Waits until it answers that it is healthy.
    fn is_healthy(&mut self, address: SocketAddr) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                bail!("it ended by itself: {status}");
            }
            if ask(address).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            ensure!(begin.elapsed() < START, "it was not healthy within {} s", START.as_secs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn memory(&mut self) -> Result<Memory> {
        ensure!(self.0.try_wait()?.is_none(), "it ended by itself");
        Memory::of(self.0.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to wait for either.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
