//! `cargo xtask cluster up|down|env`: a Kubernetes cluster for tests, in the background.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::step::{build_dir, in_words, run as run_step};
use crate::test;

const PAUSE: Duration = Duration::from_millis(100);
/// It stops child processes, which takes moments.
const DOWN: Duration = Duration::from_mins(1);

/// What `cargo xtask cluster` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Start it and leave it running: real control plane, nodes that make up containers, a proxy for Services (root)
    Up,
    /// Stop it; its state goes with it at the next start
    Down,
    /// Print what a shell evaluates to use it: `eval "$(cargo xtask cluster env)"`
    Env,
}

/// Starts, stops or names the cluster.
///
/// # Errors
/// When it cannot be started or stopped, or is not running where it must.
pub(crate) fn run(args: &Args) -> Result<()> {
    let builds = build_dir()?;
    let target = builds.parent().context("finding the folder of the builds")?;
    let state = State(target.join("cluster"));
    match args.what {
        What::Up => up(&state),
        What::Down => down(&state),
        What::Env => {
            if !state.is_running()? {
                bail!("no cluster is running: start one with `cargo xtask cluster up`");
            }
            let kubeconfig = state.path("kubeconfig").display().to_string().replace('\'', r"'\''");
            println!("export KUBECONFIG='{kubeconfig}'\nexport PORTCULLIS_TEST_KUBECONFIG='{kubeconfig}'");
            let images = fs::read_to_string(state.path("demo-images")).context("reading which images it has")?;
            println!("export PORTCULLIS_DEMO_IMAGES='{images}'");
            Ok(())
        }
    }
}

fn up(state: &State) -> Result<()> {
    if state.is_running()? {
        eprintln!("the cluster runs already; `cargo xtask cluster env` says how to use it");
        return Ok(());
    }
    let program = test::cluster()?;
    let begun = Instant::now();
    // Beside the state, which the cluster empties.
    let log = state.0.with_extension("log");
    let written = File::create(&log).with_context(|| format!("making {}", log.display()))?;
    // Of an earlier cluster, which would look like the new one.
    remove(&state.path("ready"))?;
    let mut child = Command::new(&program)
        .arg("--state")
        .arg(&state.0)
        // It outlives this terminal's ^C.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(written.try_clone()?)
        .stderr(written)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let mut said = File::open(&log)?;
    loop {
        // The first start builds the control plane for minutes, and says so.
        let mut more = Vec::new();
        said.read_to_end(&mut more)?;
        std::io::stderr().write_all(&more)?;
        if state.path("ready").exists() {
            break;
        }
        if let Some(ended) = child.try_wait()? {
            bail!("the cluster did not start ({ended}); its log is {}", log.display());
        }
        std::thread::sleep(PAUSE);
    }
    eprintln!(
        "the cluster is up after {}; use it with: eval \"$(cargo xtask cluster env)\"",
        in_words(begun.elapsed())
    );
    Ok(())
}

fn down(state: &State) -> Result<()> {
    if !state.is_running()? {
        eprintln!("no cluster is running");
        return Ok(());
    }
    let file = state.path("pid");
    let process =
        fs::read_to_string(&file).with_context(|| format!("{}: the cluster is still starting", file.display()))?;
    let process: u32 = process.trim().parse().with_context(|| format!("{} holds no process id", file.display()))?;
    // A shell has `kill` built in where no such program is installed.
    run_step(Command::new("sh").args(["-c", &format!("kill -TERM {process}")]))?;
    let begun = Instant::now();
    while state.is_running()? {
        if begun.elapsed() > DOWN {
            bail!("the cluster (process {process}) has not ended {} after SIGTERM", in_words(DOWN));
        }
        std::thread::sleep(PAUSE);
    }
    eprintln!("the cluster is down");
    Ok(())
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The folder that the cluster lives in.
struct State(PathBuf);

impl State {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether a cluster lives there: it holds the lock, and the system lets go of it with the process.
    fn is_running(&self) -> Result<bool> {
        let Ok(lock) = File::open(self.path("lock")) else { return Ok(false) };
        match lock.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).context("asking whether the cluster runs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_runs_as_long_as_its_lock_is_held() {
        let folder = std::env::temp_dir().join(format!("portcullis-xtask-cluster-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let state = State(folder.clone());
        let before = state.is_running().unwrap();
        let lock = File::create(state.path("lock")).unwrap();
        lock.lock().unwrap();
        let while_held = state.is_running().unwrap();
        drop(lock);
        let after = state.is_running().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((before, while_held, after), (false, true, false));
    }
}
