//! etcd, the API server, the controllers and the scheduler: real programs, as children of this process.
//!
//! Each ends when this process does, however it ends: it holds the other end of their standard input.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use k8s_openapi::ByteString;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use portcullis_tests::wait;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::addresses::Block;
use crate::certificates::{Authority, signing_key};

/// The limit of a program's start: it takes seconds, and the machine may have a lot else to do.
const START: Duration = Duration::from_mins(3);

/// The file that the API server writes its audit log to, an event of JSON on each line.
pub(crate) const AUDIT_LOG: &str = "audit.log";
/// What it writes there: who wrote Deployments, and what admission said of it.
const AUDITED: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch]
    resources: [{ group: apps, resources: [deployments] }]
  - level: None
";

/// The running programs. Killed when dropped.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    etcd: Program,
    api_server: Program,
    others: Vec<Program>,
}

impl ControlPlane {
    /// Starts all programs, with their state in this folder, and waits until the API server answers and the namespace
    /// `default` has its service account, which is when pods can be created.
    ///
    /// Needs a tokio runtime with time and I/O.
    pub(crate) async fn start(program: &Path, folder: &Path, block: &Block, authority: &Authority) -> Self {
        let mut plane = Self::described(program, folder, block, authority);
        plane.etcd.start();
        plane.api_server.start();
        plane.ready().await;
        for other in &mut plane.others {
            other.start();
        }
        let account =
            kube::Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(plane.client().await, "default");
        wait::until("the controllers have made the default service account", START, async || {
            plane.none_ended();
            account.get("default").await.map_err(|error| error.to_string())
        })
        .await;
        plane
    }

    /// All programs with their arguments, none started.
    fn described(program: &Path, folder: &Path, block: &Block, authority: &Authority) -> Self {
        let path = |name: &str| folder.join(name).display().to_string();
        let [etcd_port, peer_port, api_port] = free_ports();
        let (client_url, peer_url) = (format!("http://127.0.0.1:{etcd_port}"), format!("http://127.0.0.1:{peer_port}"));
        let etcd = [
            format!("--data-dir={}", path("etcd")),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            // The machine's crash loses no test that it did not stop anyway.
            "--unsafe-no-fsync=true".into(),
            "--log-level=warn".into(),
        ];

        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let (certificate, key) = authority.server(&[loopback], &names).write(folder, "api-server");
        let (kubelet_certificate, kubelet_key) = authority.client("kube-apiserver").write(folder, "kubelet-client");
        fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
        let (accounts_key, accounts_public) = signing_key();
        fs::write(folder.join("accounts.key"), accounts_key).unwrap();
        fs::write(folder.join("accounts.pub"), accounts_public).unwrap();
        let token = SecretString::from(format!("{:032x}", rand::random::<u128>()));
        fs::write(folder.join("tokens"), format!("{},admin,admin,system:masters\n", token.expose_secret())).unwrap();
        write_kubeconfig(&folder.join("kubeconfig"), api_port, authority, &token);
        let api_server = [
            format!("--etcd-servers={client_url}"),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={api_port}"),
            format!("--advertise-address={}", block.api_server()),
            // Nothing but our own clients reaches it: the Service `kubernetes` needs no endpoints.
            "--endpoint-reconciler-type=none".into(),
            format!("--service-cluster-ip-range={}", block.services()),
            format!("--tls-cert-file={}", certificate.display()),
            format!("--tls-private-key-file={}", key.display()),
            format!("--token-auth-file={}", path("tokens")),
            "--authorization-mode=RBAC".into(),
            "--allow-privileged=true".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", path("accounts.pub")),
            format!("--service-account-signing-key-file={}", path("accounts.key")),
            format!("--kubelet-certificate-authority={}", path("ca.crt")),
            format!("--kubelet-client-certificate={}", kubelet_certificate.display()),
            format!("--kubelet-client-key={}", kubelet_key.display()),
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--audit-policy-file={}", path("audit-policy")),
            format!("--audit-log-path={}", path(AUDIT_LOG)),
            "--profiling=false".into(),
        ];
        fs::write(folder.join("audit-policy"), AUDITED).unwrap();

        let client = [
            format!("--kubeconfig={}", path("kubeconfig")),
            "--leader-elect=false".into(),
            // By default they ask 20 times a second, which would be the slowest part of every test.
            "--kube-api-qps=500".into(),
            "--kube-api-burst=1000".into(),
            "--secure-port=0".into(),
            "--profiling=false".into(),
        ];
        let mut controllers = client.to_vec();
        controllers.extend([
            format!("--service-account-private-key-file={}", path("accounts.key")),
            format!("--root-ca-file={}", path("ca.crt")),
            // Its default is outside of what belongs to the tests.
            format!("--flex-volume-plugin-dir={}", path("volume-plugins")),
            "--horizontal-pod-autoscaler-sync-period=1s".into(),
            // Each controller is who it is on a real cluster: admission policies tell them apart.
            "--use-service-account-credentials=true".into(),
        ]);

        let described = |name, args| Program::new(program, folder, name, args);
        Self {
            folder: folder.to_owned(),
            etcd: described("etcd", etcd.to_vec()),
            api_server: described("kube-apiserver", api_server.to_vec()),
            others: vec![
                described("kube-controller-manager", controllers),
                described("kube-scheduler", client.to_vec()),
            ],
        }
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Kills the API server as a power cut would: SIGKILL, and gone when this returns. Everything else runs on.
    pub fn kill_api_server(&mut self) {
        self.api_server.kill();
    }

    /// Starts the API server again, on the same port and state, and does not wait for it.
    pub fn start_api_server(&mut self) {
        self.api_server.start();
    }

    /// Stops the API server where it is, without ending it (SIGSTOP): requests hang until [`Self::resume_api_server`].
    pub fn pause_api_server(&mut self) {
        self.api_server.signal("STOP");
    }

    /// Lets a paused API server go on.
    pub fn resume_api_server(&mut self) {
        self.api_server.signal("CONT");
    }

    /// The last lines of a program's log, by its name.
    pub fn log_end(&self, name: &str, most: usize) -> String {
        let all = [&self.etcd, &self.api_server].into_iter().chain(&self.others);
        all.filter(|program| program.name == name).map(|program| program.log_end(most)).collect()
    }

    async fn ready(&mut self) {
        let client = self.client().await;
        wait::until("the API server is ready", START, async || {
            self.none_ended();
            is_ready(&client).await
        })
        .await;
    }

    async fn client(&self) -> Client {
        client(&self.kubeconfig()).await
    }

    fn none_ended(&mut self) {
        for program in [&mut self.etcd, &mut self.api_server].into_iter().chain(&mut self.others) {
            program.assert_runs();
        }
    }
}

/// A client of the cluster of a kubeconfig, on the current runtime. It repeats nothing by itself.
pub async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).unwrap_or_else(|error| panic!("{}: {error}", kubeconfig.display()));
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let mut config = config.unwrap_or_else(|error| panic!("{}: {error}", kubeconfig.display()));
    config.default_retry = false;
    Client::try_from(config).unwrap_or_else(|error| panic!("{}: {error}", kubeconfig.display()))
}

/// Whether the API server says that it is ready; an error says what it said instead.
pub async fn is_ready(client: &Client) -> Result<(), String> {
    let ask = hyper::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
    let asked = tokio::time::timeout(Duration::from_secs(5), client.request_text(ask)).await;
    asked.map_err(|_| "no answer within 5 s".to_owned())?.map(|_| ()).map_err(|error| error.to_string())
}

/// Ports that nobody listens on now, and that the system gives to nobody else by itself: a killed API server's port must
/// still be free when it is started again.
fn free_ports<const N: usize>() -> [u16; N] {
    // Below where Linux takes ports for outgoing connections (`ip_local_port_range`).
    let listen = || loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", rand::random_range(20_000..32_000))) {
            return listener;
        }
    };
    // They are of different listeners, so they differ.
    let listeners: [TcpListener; N] = std::array::from_fn(|_| listen());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn write_kubeconfig(path: &Path, port: u16, authority: &Authority, token: &SecretString) {
    let name = "portcullis-test";
    // JSON is YAML; and `ByteString` writes base64.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": ByteString(authority.pem().into_bytes()),
        }}],
        "users": [{ "name": name, "user": { "token": token.expose_secret() }}],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name, "namespace": "default" }}],
        "current-context": name,
    });
    fs::write(path, serde_json::to_vec_pretty(&config).unwrap()).unwrap();
}

/// One program, running or not.
#[derive(Debug)]
struct Program {
    file: PathBuf,
    name: &'static str,
    args: Vec<String>,
    log: PathBuf,
    running: Option<Child>,
}

impl Program {
    fn new(file: &Path, folder: &Path, name: &'static str, args: Vec<String>) -> Self {
        Self { file: file.to_owned(), name, args, log: folder.join(format!("{name}.log")), running: None }
    }

    fn start(&mut self) {
        assert!(self.running.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(&self.file)
            .arg(self.name)
            .args(&self.args)
            .env("PORTCULLIS_END_WITH_STDIN", "1")
            // What ^C sends to a terminal's programs is not for them: they end with us.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.running = Some(child.unwrap_or_else(|error| panic!("starting {}: {error}", self.name)));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, name: &str) {
        let id = self.running.as_ref().expect("it runs").id();
        // A shell has `kill` built in where no such program is installed.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().expect("starting sh");
        assert!(sent.success(), "sending SIG{name} to {}", self.name);
    }

    fn assert_runs(&mut self) {
        if let Some(child) = &mut self.running {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended by itself ({ended:?})\n{}", self.name, self.log_end(30));
        }
    }

    fn log_end(&self, most: usize) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(most)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
