//! The server: everything wired together in one process.
//!
//! Start reading at [`Stack::start`]; the HTTP API is in [`http`].

mod commands;
pub(crate) mod counting;
mod events;
mod http;
pub(crate) mod log;
mod metrics;
mod notices;
mod reading;
mod reload;
#[cfg(test)]
mod tests;
pub(crate) mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use portcullis_domain::time::Millis;
use portcullis_embedded::blobs::FileBlobs;
use portcullis_embedded::clock::SystemClock;
use portcullis_embedded::local::{LocalCluster, LocalOptions};
use portcullis_embedded::notices::FileNotices;
use portcullis_embedded::people::People;
use portcullis_embedded::registry::FileRegistry;
use portcullis_embedded::source::FileSource;
use portcullis_embedded::sqlite::SqliteStore;
use portcullis_engine::breaker::{self, FleetBreaker};
use portcullis_engine::driver::Driver;
use portcullis_engine::ports::{Ledger, Notices, Ports};
use portcullis_engine::reader;
use portcullis_engine::recorder::Recorder;
use portcullis_engine::sweep::Sweep;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::counting::Counting;
use self::http::App;
use self::metrics::Counters;
use self::token::EventsTokens;
use crate::args::{self, ClusterKind};
use crate::layout::Layout;
use crate::policies::FilePolicies;
use crate::show::screen::Screen;
use crate::view::Library;

/// Targets looked at side by side.
const WORKERS: usize = 8;
/// How often the sweep looks for what was missed.
const SWEEP: Millis = Millis::seconds(60);
/// How often the ledger's readers look for what is new.
const READ: Millis = Millis::seconds(1);
/// How long requests in flight may take once the server stops.
const STOPPING: Duration = Duration::from_secs(10);

/// What a server is started with.
pub(crate) struct StackOptions {
    /// The policy files.
    pub(crate) policy: Vec<PathBuf>,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// The address to listen on.
    pub(crate) listen: SocketAddr,
    /// The tokens events come with.
    pub(crate) tokens: EventsTokens,
    /// How errors of the policies are shown.
    pub(crate) screen: Screen,
}

/// A running server.
pub(crate) struct Stack {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its ports.
    pub(crate) ports: Ports,
    /// Whose token is whose.
    pub(crate) people: Arc<People>,
    /// Its cluster.
    pub(crate) cluster: Arc<LocalCluster>,
    /// Its policies.
    pub(crate) policies: Arc<FilePolicies>,
    recorder: Recorder,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Stack {
    /// Opens the data directory, takes its lock, and starts everything: the API, the driver, the sweep, the readers.
    /// Releases go on where they were.
    pub(crate) async fn start(options: StackOptions) -> anyhow::Result<Self> {
        let policies = Arc::new(FilePolicies::load(&options.policy, options.screen)?);
        let layout = Layout::new(&options.data);
        let store = SqliteStore::open(layout.root())?;
        let people = Arc::new(People::open(&store)?);
        let cluster = LocalCluster::start(LocalOptions::new(layout.cluster())).await?;
        let counters = Arc::new(Counters::default());
        let ledger: Arc<dyn Ledger> = store.clone();
        let ports = Ports {
            ledger: Arc::new(Counting::new(ledger, counters.appends.clone())),
            queue: store,
            blobs: Arc::new(FileBlobs::new(&layout.blobs())?),
            registry: Arc::new(FileRegistry::new(&layout.registry())?),
            source: Arc::new(FileSource::new(&layout.source())?),
            cluster: cluster.clone(),
            metrics: cluster.clone(),
            clock: Arc::new(SystemClock),
            policies: policies.clone(),
        };
        let readers: Vec<(String, Arc<dyn Notices>)> = vec![
            ("log".to_owned(), Arc::new(notices::LogNotices::default())),
            ("file".to_owned(), Arc::new(FileNotices::open(&layout.notices())?)),
            (breaker::READER.to_owned(), Arc::new(FleetBreaker::new(ports.clone()))),
        ];
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("listening on {}: choose another address with --listen", options.listen))?;
        let address = listener.local_addr().context("asking for the address that is listened on")?;
        let recorder = Recorder::new(ports.clone());
        let app = Arc::new(App {
            ports: ports.clone(),
            recorder: recorder.clone(),
            library: Library::new(ports.ledger.clone(), Some(policies.clone())),
            people: people.clone(),
            events_tokens: options.tokens,
            counters,
        });
        let (stop, told) = watch::channel(false);
        let waker = (ports.clone(), recorder.clone());
        let driver = Driver::new(ports.clone(), recorder.clone());
        let sweep = Sweep::new(ports.clone(), recorder.clone());
        let tasks = vec![
            tokio::spawn(answer(listener, http::router(app), told.clone())),
            tokio::spawn({
                let told = told.clone();
                async move { driver.run(told, WORKERS).await }
            }),
            tokio::spawn({
                let told = told.clone();
                async move { sweep.run(told, SWEEP).await }
            }),
            tokio::spawn(reader::run(ports.clone(), readers, told, READ)),
            // The policies may have been changed while no server ran.
            tokio::spawn(async move { reload::judge_again(&waker.0, &waker.1).await }),
        ];
        Ok(Self { address, ports, people, cluster, policies, recorder, stop, tasks })
    }

    /// Reads the policies again, and judges every environment by them at once. With errors those in force stay.
    pub(crate) async fn reload(&self) {
        match self.policies.reload() {
            Ok(environments) => {
                tracing::info!(environments, "the policies were read again");
                reload::judge_again(&self.ports, &self.recorder).await;
            }
            Err(error) => tracing::error!("the policies stay as they were: {error}"),
        }
    }

    /// Stops taking requests, lets what is under way come to its next safe point, and ends. What is not done goes on
    /// at the next start.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the server ended badly");
            }
        }
        self.cluster.stop().await;
    }
}

async fn answer(listener: TcpListener, router: axum::Router, mut told: watch::Receiver<bool>) {
    let mut stopping = told.clone();
    let stopped = async move {
        // A sender that is gone means the same.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
    tokio::select! {
        ended = served => {
            if let Err(error) = ended {
                tracing::error!(%error, "the HTTP server ended");
            }
        }
        () = async {
            let _ = told.wait_for(|stop| *stop).await;
            tokio::time::sleep(STOPPING).await;
        } => tracing::warn!("requests still in flight were cut off"),
    }
}

/// `portcullis serve`: runs until it is told to stop.
pub(crate) async fn run(flags: args::Serve, screen: Screen) -> anyhow::Result<()> {
    log::start(flags.log);
    let tokens = EventsTokens::from_env()?;
    let ClusterKind::Local = flags.cluster;
    let options = StackOptions { policy: flags.policy, data: flags.data.clone(), listen: flags.listen, tokens, screen };
    let stack = Stack::start(options).await?;
    let environments = stack.policies.set().policies.len();
    tracing::info!(address = %stack.address, data = %flags.data.display(), environments, "listening");
    if !stack.address.ip().is_loopback() {
        tracing::warn!("other machines can reach this server: put something that speaks TLS in front of it");
    }
    until_told_to_stop(&stack).await?;
    tracing::info!("stopping");
    stack.stop().await;
    tracing::info!("stopped; releases go on at the next start");
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C; reads the policies again on SIGHUP.
#[cfg(unix)]
async fn until_told_to_stop(stack: &Stack) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for Ctrl-C")?;
    let mut hangup = signal(SignalKind::hangup()).context("waiting for SIGHUP")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => stack.reload().await,
        }
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn until_told_to_stop(_: &Stack) -> anyhow::Result<()> {
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}
