//! Nodes, without machines: what a kubelet does for the API server, with containers that are HTTP servers in this
//! process.
//!
//! What is real: readiness comes from probes over HTTP, endpoints from readiness, addresses can be connected to, a pod
//! that is deleted serves while its `preStop` hook runs, then answers what is in flight, and is cut when its grace
//! period is over. What is not: nothing is isolated, commands and volumes are ignored, init containers do nothing.
//!
//! Start reading at [`Kubelet`], then `pod.rs` and `container.rs`.

mod app;
mod container;
mod events;
mod logs;
mod pod;
mod probe;
mod server;
mod status;

pub(crate) use self::server::tls;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::addresses::{Block, Pool};
use crate::certificates::Authority;
use crate::watched::{Change, follow};

/// The label of every node of this kind: a test that needs such pods asks for it.
pub const LABEL: &str = "portcullis.test/node";

/// Nodes to be had. All are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    /// How many, 1 to 100.
    pub count: u8,
    /// Processors of each: more requests than that make a pod unschedulable.
    pub cpu: u32,
    /// Memory of each, in GiB.
    pub memory: u32,
    /// Pods that each takes.
    pub pods: u32,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { count: 3, cpu: 32, memory: 128, pods: 250 }
    }
}

/// Running nodes. Dropping it ends them and everything on them at once, as a power cut would.
#[derive(Debug)]
pub struct Kubelet {
    _tasks: JoinSet<()>,
}

impl Kubelet {
    /// Registers the nodes and runs what is bound to them, on the current runtime; they are ready when this returns.
    pub(crate) async fn start(client: &Client, block: &Block, authority: &Authority, nodes: Nodes) -> Self {
        let by_name: BTreeMap<String, IpAddr> =
            (1..=nodes.count).map(|number| (format!("node-{number}"), block.node(number).into())).collect();
        let addresses: Vec<_> = by_name.values().copied().collect();
        let names: Vec<_> = by_name.keys().map(String::as_str).collect();
        let tls = server::tls(&authority.server(&addresses, &names));
        let pods = Pods::default();
        let mut tasks = JoinSet::new();
        for (name, address) in &by_name {
            tasks.spawn(server::serve(SocketAddr::new(*address, server::PORT), tls.clone(), pods.clone()));
            register(client, name, *address, nodes).await;
            tasks.spawn(heartbeat(client.clone(), name.clone()));
        }
        tasks.spawn(run(client.clone(), by_name, block.pods(), pods));
        Self { _tasks: tasks }
    }
}

/// All pods that run here, by their uid.
#[derive(Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<HashMap<String, Running>>>);

/// A pod that runs here. Dropping it cuts it.
struct Running {
    latest: watch::Sender<Arc<Pod>>,
    logs: Vec<(String, logs::Log)>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pods {
    fn log(&self, namespace: &str, pod: &str, container: &str) -> Option<logs::Log> {
        let pods = self.0.lock().unwrap();
        let is = |running: &&Running| {
            let latest = running.latest.borrow();
            let meta = &latest.metadata;
            meta.namespace.as_deref() == Some(namespace) && meta.name.as_deref() == Some(pod)
        };
        let (_, log) = pods.values().find(is)?.logs.iter().find(|(name, _)| name == container)?;
        Some(log.clone())
    }
}

/// Runs every pod that is bound to one of these nodes.
async fn run(client: Client, nodes: BTreeMap<String, IpAddr>, addresses: Pool, pods: Pods) {
    let mut lives = JoinSet::new();
    let mut changes = pin!(follow::<Pod>(Api::all(client.clone())));
    loop {
        let change = tokio::select! {
            Some(_) = lives.join_next(), if !lives.is_empty() => continue,
            change = changes.next() => change.expect("it is followed for ever"),
        };
        let mut running = pods.0.lock().unwrap();
        let mut put = |running: &mut HashMap<String, Running>, pod: Pod| {
            let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else { return };
            let (Some(host), Some(uid)) = (nodes.get(&node), pod.metadata.uid.clone()) else { return };
            let pod = Arc::new(pod);
            if let Some(running) = running.get(&uid) {
                running.latest.send_replace(pod);
                return;
            }
            let logs: Vec<_> =
                pod::containers(&pod).iter().map(|container| (container.name.clone(), logs::Log::new())).collect();
            let (latest, seen) = watch::channel(pod);
            let life = pod::Life {
                client: client.clone(),
                node,
                host: host.to_string(),
                addresses: addresses.clone(),
                seen,
                logs: logs.iter().map(|(_, log)| log.clone()).collect(),
            };
            let task = lives.spawn(life.run());
            running.insert(uid, Running { latest, logs, task });
        };
        match change {
            Change::All(all) => {
                let there: HashSet<_> = all.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
                running.retain(|uid, _| there.contains(uid));
                for pod in all {
                    put(&mut running, pod);
                }
            }
            Change::Put(pod) => put(&mut running, pod),
            Change::Gone(pod) => {
                running.remove(pod.metadata.uid.as_deref().unwrap_or_default());
            }
        }
    }
}

/// Makes the node and says that it is ready.
async fn register(client: &Client, name: &str, address: IpAddr, nodes: Nodes) {
    let api: Api<Node> = Api::all(client.clone());
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": {
            LABEL: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        }},
    });
    let apply = PatchParams::apply("kubelet").force();
    api.patch(name, &apply, &Patch::Apply(&node)).await.unwrap_or_else(|error| panic!("registering {name}: {error}"));
    let room = json!({
        "cpu": nodes.cpu.to_string(), "memory": format!("{}Gi", nodes.memory), "pods": nodes.pods.to_string(),
        "ephemeral-storage": "100Gi",
    });
    let status = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
        "status": {
            "capacity": room, "allocatable": room,
            "addresses": [{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": name }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": server::PORT }},
            "conditions": ready_condition(),
            "nodeInfo": {
                "machineID": name, "systemUUID": name, "bootID": name, "kernelVersion": "test", "osImage": "test",
                "containerRuntimeVersion": "test://1", "kubeletVersion": format!("v{}", crate::programs::kubernetes_version()),
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
            },
        },
    });
    let said = api.patch_status(name, &apply, &Patch::Apply(&status)).await;
    said.unwrap_or_else(|error| panic!("saying that {name} is ready: {error}"));
}

fn ready_condition() -> serde_json::Value {
    let now = status::seconds(Timestamp::now());
    json!([{
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the test cluster's node is ready",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    }])
}

/// Keeps the node's lease, so that the controllers know that it lives.
async fn heartbeat(client: Client, name: String) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let apply = PatchParams::apply("kubelet").force();
    loop {
        let spec = LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(40),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let lease =
            Lease { metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() }, spec: Some(spec) };
        let kept = leases.patch(&name, &apply, &Patch::Apply(&lease)).await;
        sleep(Duration::from_millis(if kept.is_ok() { 10_000 } else { 500 })).await;
    }
}
