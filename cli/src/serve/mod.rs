//! The server: everything wired together in one process.
//!
//! Start reading at [`Stack::start`]; the HTTP API is in [`http`].

#[cfg(feature = "aws")]
mod aws;
mod commands;
#[cfg(feature = "aws")]
mod events;
mod given;
mod http;
mod in_force;
pub(crate) mod kubernetes;
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
use portcullis_domain::policy::{MetricsFrom, SealedPolicy};
use portcullis_domain::time::Millis;
use portcullis_embedded::blobs::FileBlobs;
use portcullis_embedded::clock::SystemClock;
use portcullis_embedded::local::{LocalCluster, LocalOptions};
use portcullis_embedded::notices::FileNotices;
use portcullis_embedded::people::People;
use portcullis_embedded::registry::FileRegistry;
use portcullis_embedded::source::FileSource;
use portcullis_embedded::sqlite::SqliteStore;
use portcullis_engine::absent::Absent;
use portcullis_engine::breaker::{self, FleetBreaker};
use portcullis_engine::counting::Counting;
use portcullis_engine::driver::Driver;
use portcullis_engine::ports::{Cluster, Ledger as _, Metrics, Notices, Ports};
use portcullis_engine::reader;
use portcullis_engine::recorder::Recorder;
use portcullis_engine::sweep::Sweep;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::http::App;
use self::in_force::InForce;
use self::kubernetes::{Elsewhere, Unmeasured};
use self::metrics::Counters;
use self::token::EventsTokens;
use crate::args::{self, Adapters, ServeCluster};
use crate::exit;
use crate::layout::Layout;
use crate::policies::FilePolicies;
use crate::show::screen::Screen;
use crate::view::Library;

/// Targets looked at side by side.
const WORKERS: usize = 8;
/// How often the sweep looks for what was missed.
const SWEEP: Millis = Millis::seconds(60);
/// How often the newest backup of each environment is read.
const VERIFY: Millis = Millis::days(1);
/// How often the ledger's readers look for what is new.
const READ: Millis = Millis::seconds(1);
/// The same where every look is paid for: a look at 10 environments is 61 read units of DynamoDB.
const READ_PAID: Millis = Millis::seconds(15);
/// How long requests in flight may take once the server stops.
const STOPPING: Duration = Duration::from_secs(10);

/// The cluster that a server is started on.
pub(crate) enum On {
    /// Servers on this machine's loopback, in the data directory; it measures itself.
    Local,
    /// Kubernetes.
    Elsewhere(Elsewhere),
}

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
    /// The adapters it runs on.
    pub(crate) adapters: Adapters,
    /// The cluster.
    pub(crate) cluster: On,
}

/// A running server.
pub(crate) struct Stack {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its ports.
    pub(crate) ports: Ports,
    /// Whose token is whose.
    pub(crate) people: Arc<People>,
    /// The local cluster, with what it has beyond the port, where the server runs on it.
    pub(crate) local: Option<Arc<LocalCluster>>,
    policies: InForce,
    /// Holds the lock of the data directory, also where the ledger is elsewhere.
    _store: Arc<SqliteStore>,
    recorder: Recorder,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Stack {
    /// Opens the data directory, takes its lock, and starts everything: the API, the driver, the sweep, the readers.
    /// Releases go on where they were.
    pub(crate) async fn start(options: StackOptions) -> anyhow::Result<Self> {
        #[cfg(feature = "aws")]
        let aws = aws::Aws::chosen(&options.adapters).await?;
        #[cfg(feature = "aws")]
        let in_s3 = match &aws {
            Some(aws) => aws.policies(&options.adapters).await?.map(InForce::Bucket),
            None => None,
        };
        #[cfg(not(feature = "aws"))]
        let in_s3 = None;
        let policies = match in_s3 {
            Some(policies) => policies,
            None => InForce::Files(Arc::new(FilePolicies::load(&options.policy, options.screen)?)),
        };
        if let On::Elsewhere(there) = &options.cluster {
            there.is_one(&policies.port().all())?;
        }
        let layout = Layout::new(&options.data);
        let store = SqliteStore::open(layout.root())?;
        one_ledger(&layout, &store, &options.adapters).await?;
        let people = Arc::new(People::open(&store)?);
        // Only now: the lock of the directory is held.
        let mut local = None;
        let (cluster, metrics): (Arc<dyn Cluster>, Arc<dyn Metrics>) = match options.cluster {
            On::Local => {
                let started = LocalCluster::start(LocalOptions::new(layout.cluster())).await?;
                local = Some(started.clone());
                (started.clone(), started)
            }
            On::Elsewhere(there) => (there.cluster, there.metrics),
        };
        let counters = Arc::new(Counters::default());
        let backups = counters.backups.clone();
        let mut ports = Ports {
            ledger: store.clone(),
            queue: store.clone(),
            blobs: Arc::new(FileBlobs::new(&layout.blobs())?),
            registry: Arc::new(FileRegistry::new(&layout.registry())?),
            source: Arc::new(FileSource::new(&layout.source())?),
            cluster,
            metrics,
            clock: Arc::new(SystemClock),
            policies: policies.port(),
        };
        #[cfg(feature = "aws")]
        if let Some(aws) = &aws {
            aws.replace(&options.adapters, &mut ports).await?;
        }
        ports.ledger = Arc::new(Counting::new(ports.ledger.clone(), counters.appends.clone()));
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
            library: Library::new(ports.ledger.clone(), Some(ports.policies.clone())),
            people: people.clone(),
            events_tokens: options.tokens,
            counters,
        });
        let (stop, told) = watch::channel(false);
        let waker = (ports.clone(), recorder.clone());
        let driver = Driver::new(ports.clone(), recorder.clone());
        let sweep = Sweep::new(ports.clone(), recorder.clone()).verifying_backups(VERIFY, backups);
        let read = if options.adapters.table.is_some() { READ_PAID } else { READ };
        let following = policies.follow(&ports, &recorder, &told);
        let mut tasks = vec![
            tokio::spawn(answer(listener, http::router(app), told.clone())),
            tokio::spawn({
                let told = told.clone();
                async move { driver.run(told, WORKERS).await }
            }),
            tokio::spawn({
                let told = told.clone();
                async move { sweep.run(told, SWEEP).await }
            }),
            tokio::spawn(reader::run(ports.clone(), readers, told, read)),
            // The policies may have been changed while no server ran.
            tokio::spawn(async move { reload::judge_again(&waker.0, &waker.1).await }),
        ];
        tasks.extend(following);
        Ok(Self { address, ports, people, local, policies, _store: store, recorder, stop, tasks })
    }

    /// Reads the policies again, and judges every environment by them at once. With errors those in force stay.
    pub(crate) async fn reload(&self) {
        match self.policies.reload().await {
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
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// Makes sure that a data directory belongs to one ledger for ever: two would each think that the cluster is theirs.
///
/// # Errors
/// The directory has a ledger of its own, or belongs to another one than was chosen.
async fn one_ledger(layout: &Layout, store: &SqliteStore, adapters: &Adapters) -> anyhow::Result<()> {
    let directory = layout.root().display();
    let place = adapters.table.as_ref().map(|table| format!("the DynamoDB table {table}"));
    match (layout.ledger_elsewhere()?, place) {
        (None, None) => Ok(()),
        (Some(known), Some(place)) if known == place => Ok(()),
        (Some(known), _) => Err(exit::usage(format!(
            "the ledger of {directory} is {known}: start on that one, or with another directory in --data"
        ))),
        (None, Some(place)) if store.targets().await?.is_empty() => layout.set_ledger_elsewhere(&place),
        (None, Some(place)) => Err(exit::usage(format!(
            "{directory} has a ledger of its own, and {place} would be a second one: start with another directory in --data"
        ))),
    }
}

/// What is possible and yet perhaps not meant.
fn warn_of(adapters: &Adapters, cluster: ServeCluster, policies: &[SealedPolicy]) {
    for words in warnings(adapters, cluster, policies) {
        tracing::warn!("{words}");
    }
}

fn warnings(adapters: &Adapters, cluster: ServeCluster, policies: &[SealedPolicy]) -> Vec<String> {
    let mut all = Vec::new();
    if adapters.table.is_some() && adapters.blobs.is_none() {
        all.push("the ledger is on DynamoDB and backups are in --data: keep that disk, or say --blobs".to_owned());
    }
    for policy in policies {
        let target = &policy.target;
        let watch = &policy.watch;
        let asks = !watch.healthy.is_empty() || watch.traffic.is_some() || !policy.roll_back.when.is_empty();
        let rings = !watch.alarms_roll_back.is_empty() || !watch.alarms_ask.is_empty();
        let local = policy.metrics_from == MetricsFrom::Local;
        match (adapters.cloudwatch, cluster) {
            (true, _) if local && asks => all.push(format!(
                "{target}: its metrics are the local cluster's, and CloudWatch is read: say --metrics local, or in the \
                 policy metrics: {{ preset: alb }}"
            )),
            (false, ServeCluster::Local) if !local => all.push(format!(
                "{target}: its metrics are CloudWatch's, which is not read: say --metrics cloudwatch"
            )),
            (false, ServeCluster::Kubeconfig | ServeCluster::Eks) if asks => all.push(format!(
                "{target}: nothing measures its traffic, so that a watch with thresholds ends with a question to a person, \
                 and only pods that are not ready roll back: say --metrics cloudwatch, and in the policy metrics: \
                 {{ preset: alb }}"
            )),
            _ => {}
        }
        if rings && !adapters.cloudwatch && cluster != ServeCluster::Local {
            all.push(format!(
                "{target}: its alarms cannot be read, so that no release begins: say --metrics cloudwatch"
            ));
        }
    }
    all
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
    let local_metrics = flags.adapters.says_local_metrics();
    let adapters = flags.adapters.chosen(flags.cluster)?;
    let cluster = match flags.cluster {
        ServeCluster::Local | ServeCluster::Eks if flags.kube.context.is_some() => {
            return Err(exit::usage("--context means nothing without --cluster kubeconfig: say both"));
        }
        ServeCluster::Local => On::Local,
        ServeCluster::Kubeconfig | ServeCluster::Eks if local_metrics => {
            return Err(exit::usage(
                "--metrics local is what the local cluster measures itself, and no other has anything like it: \
                 say --metrics cloudwatch, or leave --metrics out and watch readiness only",
            ));
        }
        ServeCluster::Kubeconfig => On::Elsewhere(Elsewhere::of(&flags.kube).await?),
        // AWS's adapter takes its place, as for everything that is chosen there.
        ServeCluster::Eks => On::Elsewhere(Elsewhere::new(Arc::new(Absent), Arc::new(Unmeasured))),
    };
    let options = StackOptions {
        policy: flags.policy,
        data: flags.data.clone(),
        listen: flags.listen,
        tokens,
        screen,
        adapters: adapters.clone(),
        cluster,
    };
    let stack = Stack::start(options).await?;
    warn_of(&adapters, flags.cluster, &stack.ports.policies.all());
    let environments = stack.policies.environments();
    let table = adapters.table.as_deref();
    tracing::info!(address = %stack.address, data = %flags.data.display(), table, environments, "listening");
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
