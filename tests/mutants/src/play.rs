//! Running the tests, with one mutant awake.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A mutant that fills the memory is stopped here: kibibytes of address space.
const MEMORY_KIB: u32 = 4 * 1024 * 1024;

/// A program that fails when it notices something.
pub(crate) struct Program {
    path: PathBuf,
    args: &'static [&'static str],
}

impl Program {
    /// Cargo's test programs.
    pub(crate) fn tests(paths: Vec<PathBuf>) -> Vec<Self> {
        paths.into_iter().map(|path| Self { path, args: &[] }).collect()
    }

    /// The simulator: so few seeds that every mutant can play them.
    pub(crate) fn simulator(path: PathBuf) -> Self {
        Self { path, args: &["--seeds", "60", "--jobs", "1"] }
    }
}

/// How it went for a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// A test failed, or a seed.
    Caught,
    /// The tests did not end in time.
    TimedOut,
    /// All tests passed, and all seeds held.
    Missed,
    DoesNotCompile,
}

/// Runs the tests with no mutant awake; how long one mutant may take.
pub(crate) fn baseline(programs: &[Program]) -> Result<Duration> {
    let begun = Instant::now();
    let outcome = one(programs, None, Duration::from_mins(10))?;
    if outcome != Outcome::Missed {
        bail!("the tests do not pass with no mutant awake");
    }
    Ok((begun.elapsed() * 6).max(Duration::from_secs(10)))
}

/// Tries every one of `those`, some at once, and tells each as it ends.
pub(crate) fn all(
    programs: &[Program],
    those: &[usize],
    limit: Duration,
    jobs: usize,
    tell: impl FnMut(usize, Outcome) -> Result<()> + Send,
) -> Result<()> {
    let (tried, tell) = (AtomicUsize::new(0), Mutex::new(tell));
    let work = || -> Result<()> {
        while let Some(which) = those.get(tried.fetch_add(1, Ordering::Relaxed)) {
            let outcome = one(programs, Some(*which), limit)?;
            let mut tell = tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            tell(*which, outcome)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => done?,
                Err(_) => bail!("a worker stopped"),
            }
        }
        Ok(())
    })
}

/// One run of the tests, program by program, until one test fails.
pub(crate) fn one(programs: &[Program], awake: Option<usize>, limit: Duration) -> Result<Outcome> {
    let begun = Instant::now();
    for program in programs {
        let mut child = start(program, awake)?;
        let stdout = child.stdout.take().context("the tests have no output")?;
        let (tell, told) = mpsc::channel();
        // Ends with the output, which ends with the child.
        std::thread::spawn(move || {
            let failed = BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line.ends_with("... FAILED"));
            let _ = tell.send(failed);
        });
        let failed = told.recv_timeout(limit.saturating_sub(begun.elapsed()));
        if failed != Ok(false) {
            let _ = child.kill();
        }
        let status = child.wait()?;
        match failed {
            Err(_) => return Ok(Outcome::TimedOut),
            Ok(failed) if failed || !status.success() => return Ok(Outcome::Caught),
            Ok(_) => {}
        }
    }
    Ok(Outcome::Missed)
}

fn start(program: &Program, awake: Option<usize>) -> Result<Child> {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {MEMORY_KIB}; ulimit -c 0; exec \"$0\" \"$@\"")])
        .arg(&program.path)
        .args(program.args);
    // The property tests repeat one idea many times: a few repetitions notice what many do. What fails is not made
    // smaller, and not kept for later.
    command
        .env("PROPTEST_CASES", "12")
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
        .env("RUST_TEST_THREADS", "1")
        .env("RUST_BACKTRACE", "0")
        .env_remove("PORTCULLIS_MUTANT");
    if let Some(which) = awake {
        command.env("PORTCULLIS_MUTANT", which.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("starting {}", program.path.display()))
}
