//! A cluster to test on: the one that is named, or one of our own, with everything around it.

use std::fs::{self, DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Node, Pod, Service, ServiceAccount};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use portcullis_tests::wait::{self, SOON};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::addresses::Block;
use crate::certificates::Authority;
use crate::control_plane::{self, ControlPlane};
use crate::kubelet::{self, Kubelet, Nodes};
use crate::service_proxy::ServiceProxy;
use crate::{CannotRun, programs};

/// A cluster of this kubeconfig is used as it is.
pub const KUBECONFIG_VARIABLE: &str = "PORTCULLIS_TEST_KUBECONFIG";
/// How folders of clusters of our own begin.
const FOLDER: &str = "portcullis-test-cluster-";
/// An answer to a deletion that takes longer is not waited for.
const DELETING: Duration = Duration::from_secs(5);
/// A file that is locked as long as a cluster lives in its folder.
const LOCK: &str = "lock";

/// How a cluster of our own is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Its nodes.
    pub nodes: Nodes,
    /// How late the Services' proxy follows; see [`ServiceProxy`].
    pub lag: Duration,
}

/// A cluster. One of our own is stopped when dropped, and when this process ends, however it ends.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    own: Option<Own>,
}

/// What a cluster of our own consists of. Dropped from first to last.
#[derive(Debug)]
struct Own {
    /// On it run the nodes and the proxy: a test's own runtime ends with the test.
    runtime: Option<Runtime>,
    _kubelet: Kubelet,
    _proxy: ServiceProxy,
    plane: Mutex<ControlPlane>,
    _block: Block,
    folder: Folder,
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed within another runtime, where a test is.
            runtime.shutdown_background();
        }
    }
}

impl Cluster {
    /// The cluster that all tests of this program share: the named one, else one of our own. None = this machine
    /// cannot have one; that is said, and in CI (where `CI` is set) it is a failure.
    pub async fn shared() -> Option<&'static Cluster> {
        static SHARED: OnceCell<Option<Cluster>> = OnceCell::const_new();
        let made = SHARED.get_or_init(async || match std::env::var_os(KUBECONFIG_VARIABLE) {
            Some(named) => Some(Self::named(Path::new(&named))),
            None => Self::alone(Options::default()).await,
        });
        made.await.as_ref()
    }

    /// A cluster of our own for one test that disturbs others. None as for [`Cluster::shared`].
    pub async fn alone(options: Options) -> Option<Cluster> {
        let made = match Folder::temporary() {
            Ok(folder) => Self::start(folder, options).await,
            Err(cannot) => Err(cannot),
        };
        match made {
            Ok(cluster) => Some(cluster),
            Err(CannotRun(why)) => {
                let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
                let said = format!(
                    "NO KUBERNETES HERE: {why}\n  {KUBECONFIG_VARIABLE} can name the kubeconfig of a cluster to test on."
                );
                assert!(!ci, "{said}");
                programs::say(&format!("\n=== {said}\n=== Tests that need one are SKIPPED.\n"));
                None
            }
        }
    }

    /// The cluster of a kubeconfig.
    pub fn named(kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), own: None }
    }

    /// A cluster of our own with its state in this folder, which is emptied first.
    ///
    /// # Errors
    /// When this machine cannot have one. Panics when another cluster lives in the folder.
    pub async fn start_in(folder: &Path, options: Options) -> Result<Self, CannotRun> {
        Self::start(Folder::fixed(folder)?, options).await
    }

    async fn start(folder: Folder, options: Options) -> Result<Self, CannotRun> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| CannotRun(format!("no runtime can be had: {error}")))?;
        // On a thread that may block: what is started must be spawned on the cluster's runtime, not on the test's.
        let started = tokio::task::spawn_blocking(move || {
            let program = programs::control_plane()?;
            let block = Block::take()?;
            let authority = Authority::new();
            let (plane, kubelet, proxy) = runtime.block_on(async {
                let plane = ControlPlane::start(&program, &folder.path, &block, &authority).await;
                let client = control_plane::client(&plane.kubeconfig()).await;
                let kubelet = Kubelet::start(&client, &block, &authority, options.nodes).await;
                (plane, kubelet, ServiceProxy::start(&client, options.lag))
            });
            Ok(Own {
                runtime: Some(runtime),
                _kubelet: kubelet,
                _proxy: proxy,
                plane: Mutex::new(plane),
                _block: block,
                folder,
            })
        });
        let own = match started.await {
            Ok(started) => started?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        Ok(Self { kubeconfig: own.folder.path.join("kubeconfig"), own: Some(own) })
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's audit log of who wrote Deployments; none = the cluster is not ours.
    pub fn audit_log(&self) -> Option<PathBuf> {
        Some(self.own.as_ref()?.folder.path.join(control_plane::AUDIT_LOG))
    }

    /// An administrator's client, on the current runtime.
    pub async fn client(&self) -> Client {
        control_plane::client(&self.kubeconfig).await
    }

    /// The control plane, for faults. Panics on a cluster that is not ours.
    pub fn control_plane(&self) -> &Mutex<ControlPlane> {
        &self.own.as_ref().expect("faults are for a cluster of our own").plane
    }

    /// Kills the API server (SIGKILL). Pods and Services go on.
    pub fn kill_api_server(&self) {
        self.control_plane().lock().unwrap().kill_api_server();
    }

    /// Starts the API server again, and waits until it is ready.
    pub async fn start_api_server(&self) {
        self.control_plane().lock().unwrap().start_api_server();
        let client = self.client().await;
        wait::until("the API server is ready again", SOON, async || control_plane::is_ready(&client).await).await;
    }

    /// A namespace of a test's own, with pods' service account in it. Its name begins with the purpose.
    pub async fn namespace(&self, purpose: &str) -> Namespace<'_> {
        let client = self.client().await;
        let name = format!("{purpose}-{:08x}", rand::random::<u32>());
        let api: Api<NamespaceObject> = Api::all(client.clone());
        let namespace = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = NamespaceObject { metadata: namespace, ..NamespaceObject::default() };
        api.create(&PostParams::default(), &namespace).await.unwrap_or_else(|error| panic!("making {name}: {error}"));
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        wait::until("the namespace has its service account", SOON, async || {
            accounts.get("default").await.map_err(|error| error.to_string())
        })
        .await;
        Namespace { cluster: self, client, name }
    }

    /// Panics with words if no node is of this crate's kind: without, a test's images cannot be pulled.
    pub async fn assert_has_our_nodes(&self) {
        let nodes: Api<Node> = Api::all(self.client().await);
        let ours = nodes.list(&ListParams::default().labels(kubelet::LABEL)).await.unwrap();
        assert!(
            !ours.items.is_empty(),
            "this test needs nodes that make up containers (labelled {}), and the cluster of {} has none: \
             `cargo xtask cluster up` starts one that has",
            kubelet::LABEL,
            self.kubeconfig.display()
        );
    }
}

/// A namespace of a test's own, deleted when dropped; its pods end a moment later. In a cluster of our own it stays when
/// the test has failed.
pub struct Namespace<'c> {
    cluster: &'c Cluster,
    /// A client on the runtime that the namespace was made on.
    pub client: Client,
    /// Its name.
    pub name: String,
}

impl Namespace<'_> {
    /// Its objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::core::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Makes an object.
    pub async fn create<K>(&self, object: &K) -> K
    where
        K: kube::core::Resource<Scope = kube::core::NamespaceResourceScope>
            + serde::Serialize
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let made = self.api::<K>().create(&PostParams::default(), object).await;
        made.unwrap_or_else(|error| panic!("making {:?}: {error}", object.meta().name))
    }

    /// Waits until a Deployment is rolled out: what is asked for is observed, all its pods are new and available, and
    /// no old one is counted any more (pods that are still terminating are not).
    pub async fn rolled_out(&self, name: &str) -> Deployment {
        let deployments: Api<Deployment> = self.api();
        wait::until("the Deployment is rolled out", 2 * SOON, async || {
            let seen = deployments.get(name).await.map_err(|error| error.to_string())?;
            let (wanted, status) =
                (seen.spec.clone().unwrap_or_default().replicas, seen.status.clone().unwrap_or_default());
            let observed = status.observed_generation >= seen.metadata.generation;
            let wanted = wanted.unwrap_or(1);
            let all = [status.replicas, status.updated_replicas, status.available_replicas];
            if observed && all.iter().all(|count| count.unwrap_or(0) == wanted) {
                Ok(seen)
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await
    }

    /// The pods of an app.
    pub async fn pods(&self, app: &str) -> Vec<Pod> {
        let pods = self.api::<Pod>().list(&ListParams::default().labels(&format!("app={app}"))).await;
        pods.unwrap_or_else(|error| panic!("listing pods: {error}")).items
    }

    /// The address of a Service's first port.
    pub async fn address(&self, service: &str) -> SocketAddr {
        let service = self.api::<Service>().get(service).await.unwrap_or_else(|error| panic!("{service}: {error}"));
        let spec = service.spec.expect("a Service has a spec");
        let port = spec.ports.as_ref().and_then(|ports| ports.first()).expect("it has a port").port;
        let ip = spec.cluster_ip.expect("it has an address").parse().expect("it is an address");
        SocketAddr::new(ip, u16::try_from(port).expect("it is a port"))
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let ours = self.cluster.own.is_some();
        if ours && std::thread::panicking() {
            return;
        }
        let (kubeconfig, name) = (self.cluster.kubeconfig.clone(), self.name.clone());
        // A test's runtime may be about to end, and must not be blocked.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let deleted = runtime.block_on(async {
                let api: Api<NamespaceObject> = Api::all(control_plane::client(&kubeconfig).await);
                tokio::time::timeout(DELETING, api.delete(&name, &DeleteParams::background())).await
            });
            // A test may leave an API server of ours killed.
            if !ours && !matches!(deleted, Ok(Ok(_))) {
                programs::say(&format!("the namespace {name} stays behind: {deleted:?}"));
            }
        });
        let _ = deleting.join();
    }
}

/// A folder that one cluster lives in.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    temporary: bool,
    /// Held as long as the cluster lives: the system lets go of it with the process.
    _lock: File,
}

impl Folder {
    /// A new folder for this process. Folders that killed processes left behind are removed.
    fn temporary() -> Result<Self, CannotRun> {
        let above = std::env::temp_dir();
        let cannot = |error: std::io::Error| CannotRun(format!("{} cannot be used: {error}", above.display()));
        // A folder is made and locked, or found unlocked and removed, by one process at a time.
        let turn = File::create(above.join("portcullis-test-clusters.lock")).map_err(cannot)?;
        turn.lock().map_err(cannot)?;
        for old in fs::read_dir(&above).map_err(cannot)?.flatten() {
            if !old.file_name().to_string_lossy().starts_with(FOLDER) {
                continue;
            }
            let lived_in = File::open(old.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err());
            if !lived_in {
                // What cannot be removed is somebody else's.
                let _ = fs::remove_dir_all(old.path());
            }
        }
        Self::make(above.join(format!("{FOLDER}{:016x}", rand::random::<u64>())), true)
    }

    /// This folder, emptied.
    fn fixed(path: &Path) -> Result<Self, CannotRun> {
        if let Ok(lock) = File::open(path.join(LOCK)) {
            assert!(lock.try_lock().is_ok(), "a cluster lives in {} already", path.display());
        }
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CannotRun(format!("{} cannot be emptied: {error}", path.display())));
            }
            Ok(()) | Err(_) => {}
        }
        Self::make(path.to_owned(), false)
    }

    fn make(path: PathBuf, temporary: bool) -> Result<Self, CannotRun> {
        // Keys and an administrator's token will be in it: for nobody else to read.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        let made = made.and_then(|()| File::create(path.join(LOCK)));
        let lock = made.map_err(|error| CannotRun(format!("{} cannot be made: {error}", path.display())))?;
        assert!(lock.try_lock().is_ok(), "a cluster lives in {} already", path.display());
        Ok(Self { path, temporary, _lock: lock })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // The next cluster removes what stays.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
