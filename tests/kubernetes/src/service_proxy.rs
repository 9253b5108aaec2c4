//! What kube-proxy does, in user space: connections to a Service's address go to one of its ready endpoints.
//!
//! Like kube-proxy it knows connections, not requests: one that is established lives on until an end closes it, also
//! when its endpoint is removed; a new one goes to an endpoint by chance; and while there are only endpoints that
//! terminate but still serve, it goes to one of them (Kubernetes, "Virtual IPs and Service Proxies"). Without any, the
//! connection is refused. Session affinity, node ports and UDP are not there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::watched::{Change, follow};

/// The label that names the Service of an `EndpointSlice`.
const SERVICE: &str = "kubernetes.io/service-name";

/// A running proxy for all Services. Dropping it ends its listeners; what is connected ends with the runtime.
#[derive(Debug)]
pub struct ServiceProxy {
    _tasks: JoinSet<()>,
}

impl ServiceProxy {
    /// Starts it on the current runtime. What it hears becomes effective `lag` later: a node of a real cluster, under
    /// load, takes up to seconds.
    pub(crate) fn start(client: &Client, lag: Duration) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(run(client.clone(), lag));
        Self { _tasks: tasks }
    }
}

/// Namespace and name of a Service.
type Key = (String, String);

async fn run(client: Client, lag: Duration) {
    let mut services = pin!(follow::<Service>(Api::all(client.clone())));
    let mut slices = pin!(follow::<EndpointSlice>(Api::all(client)));
    let (mut heard, mut rules) = (Heard::default(), Rules::default());
    let mut changed = BTreeSet::new();
    let mut due = None;
    loop {
        let until = due;
        let wait = async move {
            match until {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = wait => {
                due = None;
                for key in std::mem::take(&mut changed) {
                    rules.set(heard.rules_of(&key), &key);
                }
                continue;
            }
            change = services.next() => heard.service(change.expect("it is followed for ever"), &mut changed),
            change = slices.next() => heard.slice(change.expect("it is followed for ever"), &mut changed),
        }
        if due.is_none() && !changed.is_empty() {
            due = Some(Instant::now() + lag);
        }
    }
}

/// What the API server said.
#[derive(Default)]
struct Heard {
    services: BTreeMap<Key, Service>,
    /// By Service, then by name.
    slices: BTreeMap<Key, BTreeMap<String, EndpointSlice>>,
}

impl Heard {
    fn service(&mut self, change: Change<Service>, changed: &mut BTreeSet<Key>) {
        match change {
            Change::All(all) => {
                changed.extend(self.services.keys().cloned());
                self.services = all.into_iter().map(|service| (key(&service.metadata), service)).collect();
                changed.extend(self.services.keys().cloned());
            }
            Change::Put(service) => {
                changed.insert(key(&service.metadata));
                self.services.insert(key(&service.metadata), service);
            }
            Change::Gone(service) => {
                changed.insert(key(&service.metadata));
                self.services.remove(&key(&service.metadata));
            }
        }
    }

    fn slice(&mut self, change: Change<EndpointSlice>, changed: &mut BTreeSet<Key>) {
        match change {
            Change::All(all) => {
                changed.extend(std::mem::take(&mut self.slices).into_keys());
                for slice in all {
                    self.slice(Change::Put(slice), changed);
                }
            }
            Change::Put(slice) => {
                let Some(service) = service_of(&slice) else { return };
                changed.insert(service.clone());
                self.slices.entry(service).or_default().insert(key(&slice.metadata).1, slice);
            }
            Change::Gone(slice) => {
                let Some(service) = service_of(&slice) else { return };
                if let Some(of) = self.slices.get_mut(&service) {
                    of.remove(&key(&slice.metadata).1);
                }
                changed.insert(service);
            }
        }
    }

    /// Where each port of a Service leads; one without endpoints leads nowhere.
    fn rules_of(&self, key: &Key) -> BTreeMap<SocketAddr, Vec<SocketAddr>> {
        let mut rules = BTreeMap::new();
        let Some(spec) = self.services.get(key).and_then(|service| service.spec.as_ref()) else { return rules };
        // A headless Service says "None": nothing to listen on.
        let Some(ip) = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()) else { return rules };
        for port in spec.ports.iter().flatten() {
            let Ok(number) = u16::try_from(port.port) else { continue };
            if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
                continue;
            }
            let slices = self.slices.get(key).into_iter().flat_map(BTreeMap::values);
            rules.insert(SocketAddr::new(ip, number), backends(slices, port.name.as_deref().unwrap_or_default()));
        }
        rules
    }
}

fn key(meta: &ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE)?;
    Some((slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

/// The endpoints that serve a port: the ready ones, or, without any, those that terminate but still serve.
pub(crate) fn backends<'s>(slices: impl Iterator<Item = &'s EndpointSlice>, port: &str) -> Vec<SocketAddr> {
    let (mut ready, mut last_resort) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        let named = slice.ports.iter().flatten().find(|named| named.name.as_deref().unwrap_or_default() == port);
        let Some(number) = named.and_then(|named| u16::try_from(named.port?).ok()) else { continue };
        for endpoint in &slice.endpoints {
            let at =
                endpoint.addresses.iter().filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, number)));
            if is_ready(endpoint) {
                ready.extend(at);
            } else if serves_to_the_last(endpoint) {
                last_resort.extend(at);
            }
        }
    }
    (if ready.is_empty() { last_resort } else { ready }).into_iter().collect()
}

/// Absent means ready (`EndpointConditions`).
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn serves_to_the_last(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    conditions.serving.unwrap_or(true) && conditions.terminating.unwrap_or(false)
}

/// What is in effect.
#[derive(Default)]
struct Rules {
    services: BTreeMap<Key, BTreeMap<SocketAddr, Rule>>,
}

/// An address that is listened on.
struct Rule {
    backends: Arc<RwLock<Vec<SocketAddr>>>,
    listener: AbortHandle,
}

impl Drop for Rule {
    fn drop(&mut self) {
        // Accepted connections are tasks of their own, and live on.
        self.listener.abort();
    }
}

impl Rules {
    fn set(&mut self, wanted: BTreeMap<SocketAddr, Vec<SocketAddr>>, key: &Key) {
        let rules = self.services.entry(key.clone()).or_default();
        rules.retain(|at, _| wanted.get(at).is_some_and(|backends| !backends.is_empty()));
        for (at, backends) in wanted.into_iter().filter(|(_, backends)| !backends.is_empty()) {
            if let Some(rule) = rules.get(&at) {
                *rule.backends.write().unwrap() = backends;
            } else {
                let backends = Arc::new(RwLock::new(backends));
                let listener = tokio::spawn(listen(at, backends.clone())).abort_handle();
                rules.insert(at, Rule { backends, listener });
            }
        }
        if rules.is_empty() {
            self.services.remove(key);
        }
    }
}

async fn listen(at: SocketAddr, backends: Arc<RwLock<Vec<SocketAddr>>>) {
    // The address may still be held by the listener that was just told to end.
    let listener = loop {
        match TcpListener::bind(at).await {
            Ok(listener) => break listener,
            Err(_) => sleep(Duration::from_millis(2)).await,
        }
    };
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(Duration::from_millis(2)).await;
            continue;
        };
        let chosen = {
            let backends = backends.read().unwrap();
            backends[rand::random_range(0..backends.len())]
        };
        tokio::spawn(connect(client, chosen));
    }
}

/// One connection, until both ends have closed it. An endpoint that cannot be reached closes the client's, as the reset
/// of a real one would.
async fn connect(mut client: TcpStream, to: SocketAddr) {
    let Ok(mut pod) = TcpStream::connect(to).await else { return };
    let _ = client.set_nodelay(true);
    let _ = pod.set_nodelay(true);
    let _ = copy_bidirectional(&mut client, &mut pod).await;
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointPort};

    use super::*;

    fn endpoint(ip: &str, ready: bool, terminating: bool) -> Endpoint {
        let conditions = EndpointConditions { ready: Some(ready), serving: Some(true), terminating: Some(terminating) };
        Endpoint { addresses: vec![ip.into()], conditions: Some(conditions), ..Endpoint::default() }
    }

    fn led(endpoints: Vec<Endpoint>, port: &str) -> Vec<String> {
        let named = EndpointPort { name: Some("http".into()), port: Some(8080), ..EndpointPort::default() };
        let slice = EndpointSlice { endpoints, ports: Some(vec![named]), ..EndpointSlice::default() };
        backends([&slice].into_iter(), port).iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn connections_go_to_ready_endpoints_of_the_port_s_name() {
        let endpoints = || vec![endpoint("10.89.0.2", false, true), endpoint("10.89.0.1", true, false)];
        assert_eq!(led(endpoints(), "http"), ["10.89.0.1:8080"]);
        assert!(led(endpoints(), "metrics").is_empty());
    }

    #[test]
    fn without_a_ready_endpoint_one_that_terminates_but_serves_is_better_than_none() {
        let endpoints = vec![endpoint("10.89.0.2", false, true), endpoint("10.89.0.3", false, false)];
        assert_eq!(led(endpoints, "http"), ["10.89.0.2:8080"]);
    }

    #[test]
    fn a_service_that_is_gone_leads_nowhere() {
        let meta = ObjectMeta { name: Some("web".into()), namespace: Some("shop".into()), ..ObjectMeta::default() };
        let service = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "clusterIP": "10.90.0.9", "ports": [{ "port": 80, "name": "http" }, { "port": 53, "protocol": "UDP" }] },
        }));
        let (mut heard, mut changed) = (Heard::default(), BTreeSet::new());
        heard.service(Change::Put(service.unwrap()), &mut changed);
        let rules = heard.rules_of(&key(&meta));
        assert_eq!(rules.keys().map(SocketAddr::to_string).collect::<Vec<_>>(), ["10.90.0.9:80"]);
        heard.service(Change::All(Vec::new()), &mut changed);
        assert!(heard.rules_of(&key(&meta)).is_empty());
        assert_eq!(changed.len(), 1);
    }
}
