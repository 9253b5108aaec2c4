//! A function as a process: started, invoked once, looked at, killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::runtime_api::{Asked, RuntimeApi, What};
use crate::memory::Memory;

/// A limit that only a defect reaches, on a machine that has a lot else to do.
const WITHIN: Duration = Duration::from_mins(1);

/// A function's process that asked for its first invocation. Killed when dropped.
pub(crate) struct Process {
    /// From just before it was started to its first request.
    pub(crate) cold_start: Duration,
    running: Running,
    next: Asked,
}

/// What one invocation came to.
pub(crate) struct Invoked {
    /// From handing it over to the first byte of its answer.
    pub(crate) took: Duration,
    /// The answer.
    pub(crate) answer: String,
    /// The most memory that the process ever had, in megabytes.
    pub(crate) peak: f64,
}

impl Process {
    /// Starts a program with nothing in its environment but this, and what Lambda itself sets.
    ///
    /// # Errors
    /// It cannot be started, or ends before it asks for an invocation: with the end of what it said.
    pub(crate) fn start(program: &Path, environment: &[(&str, &str)], log: &Path) -> Result<Self> {
        let api = RuntimeApi::listen()?;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let said = File::create(log).with_context(|| format!("making {}", log.display()))?;
        let mut command = Command::new(program);
        command.env_clear().env("AWS_LAMBDA_RUNTIME_API", api.address()).env("AWS_LAMBDA_FUNCTION_NAME", &name);
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256").env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        command.env("AWS_LAMBDA_LOG_GROUP_NAME", "/bench").env("AWS_LAMBDA_LOG_STREAM_NAME", "bench");
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        command.stdout(said.try_clone()?).stderr(said);
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut running = Running { name, child, api, log: log.to_owned() };
        let next = running.asked()?;
        if next.what != What::Next {
            return Err(running.failed(&format!("it asked for no invocation but told {:?}", next.what)));
        }
        Ok(Self { cold_start: next.at.duration_since(begun), running, next })
    }

    /// Invokes it once, and waits until it asks for another invocation.
    ///
    /// # Errors
    /// It says that it failed, or ends.
    pub(crate) fn invoke(self, body: &[u8]) -> Result<(Self, Invoked)> {
        let Self { cold_start, mut running, next } = self;
        let handed = Instant::now();
        next.invoke(body);
        let told = running.asked()?;
        let took = told.at.duration_since(handed);
        let answer = match &told.what {
            What::Answer(answer) => String::from_utf8_lossy(answer).into_owned(),
            other => return Err(running.failed(&format!("it answered with {other:?}"))),
        };
        told.accept();
        let again = running.asked()?;
        if again.what != What::Next {
            return Err(running.failed(&format!("after its answer it told {:?}", again.what)));
        }
        let peak = Memory::of(running.child.id())?.peak;
        Ok((Self { cold_start, running, next: again }, Invoked { took, answer, peak }))
    }
}

struct Running {
    name: String,
    child: Child,
    api: RuntimeApi,
    log: PathBuf,
}

impl Running {
    /// Its next request.
    fn asked(&mut self) -> Result<Asked> {
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            if let Some(asked) = self.api.asked(Duration::from_millis(200)) {
                return Ok(asked);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failed(&format!("it ended by itself: {status}")));
            }
        }
        Err(self.failed("it asked for nothing within a minute"))
    }

    fn failed(&self, found: &str) -> anyhow::Error {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(10)..].join("\n  ");
        anyhow::anyhow!("{}: {found}; it said\n  {end}", self.name)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to wait for either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The size of a program, in megabytes of 1,000,000 bytes.
pub(crate) fn size(program: &Path) -> Result<f64> {
    let found = std::fs::metadata(program).with_context(|| format!("looking for {}", program.display()))?;
    if !found.is_file() {
        bail!("{} is no program", program.display());
    }
    #[expect(clippy::cast_precision_loss, reason = "no program has 2^52 bytes")]
    let bytes = found.len() as f64;
    Ok(bytes / 1e6)
}
