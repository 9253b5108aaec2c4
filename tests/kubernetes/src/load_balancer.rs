//! A load balancer in user space that moves traffic by weights: it follows an `HTTPRoute`, or the action of an Ingress as the
//! AWS Load Balancer Controller does, and sends each request to a pod of one of the Services by chance and weight.
//!
//! It is what a real one is to a client: it knows requests rather than connections, so that kept connections follow the
//! weights, too; without a target it answers 503 itself. What it hears becomes effective later if it is told to lag. As a
//! gateway it sends to ready endpoints. As an AWS load balancer it has target groups of pods: a pod is registered when its
//! containers are ready, is healthy some time later, and then has its readiness gate opened (`alb`); the gates are put
//! on pods when they are made, in a namespace that has the label (`gates`).
//!
//! Each host of the route has an address of its own here, so that a load needs no names. Paths, filters, stickiness and
//! TLS are not there.

mod alb;
mod gates;
mod kinds;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, ObjectList};
use kube::core::DynamicObject;
use kube::{Api, Client};
use portcullis_embedded::local::client::Connection;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use self::kinds::{inject_gates, install, make_ingress, make_route, weights};

use crate::cluster::Namespace;
use crate::service_proxy::backends;

/// How often it looks at what it follows.
const EVERY: Duration = Duration::from_millis(100);

/// What it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// An `HTTPRoute` of this name: its first hostname, and the first rule.
    Route(String),
    /// An Ingress of this name: each host of its rules, with its first path.
    Ingress(String),
}

/// How it behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// So much later what it hears becomes effective.
    pub lag: Duration,
    /// So long a registered pod takes until it is healthy.
    pub healthy_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { lag: Duration::ZERO, healthy_after: Duration::from_millis(700) }
    }
}

/// Targets of one weight.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    weight: u64,
    targets: Vec<SocketAddr>,
}

/// What is effective, by host.
type Table = Arc<RwLock<BTreeMap<String, Vec<Group>>>>;

/// What a test can turn while it runs.
#[derive(Debug, Default)]
struct Turned {
    /// Services whose targets never become healthy.
    sick: Mutex<BTreeSet<String>>,
}

/// A running load balancer. Dropping it ends it at once.
#[derive(Debug)]
pub struct LoadBalancer {
    addresses: BTreeMap<String, SocketAddr>,
    turned: Arc<Turned>,
    _tasks: JoinSet<()>,
}

impl LoadBalancer {
    /// Starts one for these hosts. What it follows need not be there yet.
    pub async fn start(namespace: &Namespace<'_>, follows: Follows, hosts: &[&str], options: Options) -> Self {
        let (table, turned) = (Table::default(), Arc::<Turned>::default());
        let (mut addresses, mut tasks) = (BTreeMap::new(), JoinSet::new());
        for host in hosts {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            addresses.insert((*host).to_owned(), listener.local_addr().unwrap());
            tasks.spawn(listen(listener, (*host).to_owned(), table.clone()));
        }
        if matches!(follows, Follows::Ingress(_)) {
            gates::serve(&namespace.client, &namespace.name, &mut tasks).await;
        }
        tasks.spawn(follow(namespace.client.clone(), namespace.name.clone(), follows, options, table, turned.clone()));
        Self { addresses, turned, _tasks: tasks }
    }

    /// Where requests to a host are sent.
    pub fn address(&self, host: &str) -> SocketAddr {
        self.addresses[host]
    }

    /// From now on targets of a Service never become healthy; those that are stay so.
    pub fn never_finds_healthy(&self, service: &str) {
        self.turned.sick.lock().unwrap().insert(service.to_owned());
    }
}

/// What is there of a namespace.
struct Seen {
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
}

async fn all<K>(api: &Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let listed: ObjectList<K> = api.list(&ListParams::default()).await?;
    Ok(listed.items)
}

impl Seen {
    async fn of(client: &Client, namespace: &str) -> Result<Self, kube::Error> {
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        Ok(Self { services: all(&services).await?, slices: all(&slices).await? })
    }

    fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.metadata.name.as_deref() == Some(name))
    }

    /// The ready endpoints of a Service's first port.
    fn endpoints(&self, name: &str) -> Vec<SocketAddr> {
        let ports = self.service(name).and_then(|service| service.spec.as_ref()?.ports.as_ref());
        let port = ports.and_then(|ports| ports.first()?.name.clone()).unwrap_or_default();
        let of = |slice: &&EndpointSlice| {
            slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"))
                == Some(&name.to_owned())
        };
        backends(self.slices.iter().filter(of), &port)
    }
}

async fn follow(
    client: Client,
    namespace: String,
    follows: Follows,
    options: Options,
    table: Table,
    turned: Arc<Turned>,
) {
    let mut groups = alb::TargetGroups::new(client.clone(), namespace.clone(), options.healthy_after, turned);
    let mut pending = JoinSet::new();
    loop {
        let next = match &follows {
            Follows::Route(name) => by_route(&client, &namespace, name).await,
            Follows::Ingress(name) => groups.follow(name).await,
        };
        // An API server that is away changes nothing.
        if let Ok(next) = next {
            let (table, lag) = (table.clone(), options.lag);
            pending.spawn(async move {
                sleep(lag).await;
                *table.write().unwrap() = next;
            });
        }
        while pending.try_join_next().is_some() {}
        sleep(EVERY).await;
    }
}

type Next = BTreeMap<String, Vec<Group>>;

async fn by_route(client: &Client, namespace: &str, name: &str) -> Result<Next, kube::Error> {
    let routes: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kinds::routes());
    let route = routes.get(name).await?.data;
    let seen = Seen::of(client, namespace).await?;
    let refs = route["spec"]["rules"][0]["backendRefs"].as_array().cloned().unwrap_or_default();
    let groups = refs.iter().map(|backend| Group {
        weight: backend["weight"].as_u64().unwrap_or(1),
        targets: seen.endpoints(text(&backend["name"])),
    });
    Ok(BTreeMap::from([(text(&route["spec"]["hostnames"][0]).to_owned(), groups.collect())]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

// ---- requests ----

async fn listen(listener: TcpListener, host: String, table: Table) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let (host, table) = (host.clone(), table.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let target = choose(&table, &host);
                        async move { Ok::<_, Infallible>(pass_on(request, target).await) }
                    });
                    // How it ends is seen by whoever sent it.
                    let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }
    }
}

/// A target by the weights of the groups, then any of the group; none = the group that it came to has none.
fn choose(table: &Table, host: &str) -> Option<SocketAddr> {
    let table = table.read().unwrap();
    let groups = table.get(host)?;
    let total: u64 = groups.iter().map(|group| group.weight).sum();
    let mut ticket = if total == 0 { return None } else { rand::random_range(0..total) };
    for group in groups {
        if ticket < group.weight {
            let targets = &group.targets;
            return (!targets.is_empty()).then(|| targets[rand::random_range(0..targets.len())]);
        }
        ticket -= group.weight;
    }
    None
}

type Body = BoxBody<Bytes, hyper::Error>;

/// One request to one pod, on a connection of its own.
async fn pass_on(request: Request<Incoming>, target: Option<SocketAddr>) -> Response<Body> {
    let failed = |status: StatusCode| {
        let mut response = Response::new(Empty::new().map_err(|never: Infallible| match never {}).boxed());
        *response.status_mut() = status;
        response
    };
    let Some(target) = target else { return failed(StatusCode::SERVICE_UNAVAILABLE) };
    let Ok(mut pod) = Connection::to(target).await else { return failed(StatusCode::BAD_GATEWAY) };
    let mut to_pod = Request::get(request.uri().path_and_query().map_or("/", |path| path.as_str()));
    to_pod = to_pod.header("host", "service").header("connection", "close");
    let to_pod = to_pod.body(Empty::<Bytes>::new()).unwrap();
    match pod.send(to_pod).await {
        Ok(answer) => {
            let (mut parts, body) = answer.into_parts();
            // That was between the two of them.
            parts.headers.remove("connection");
            parts.headers.remove("transfer-encoding");
            Response::from_parts(parts, body.boxed())
        }
        Err(_) => failed(StatusCode::BAD_GATEWAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(groups: Vec<Group>) -> Table {
        Arc::new(RwLock::new(BTreeMap::from([("web".to_owned(), groups)])))
    }

    fn group(weight: u64, port: u16) -> Group {
        let targets = if port == 0 { Vec::new() } else { vec![SocketAddr::from(([127, 0, 0, 1], port))] };
        Group { weight, targets }
    }

    #[test]
    fn requests_are_shared_out_as_the_weights_say() {
        let table = table(vec![group(75, 1), group(25, 2), group(0, 3)]);
        let mut counts = BTreeMap::<u16, u32>::new();
        for _ in 0..10_000 {
            *counts.entry(choose(&table, "web").unwrap().port()).or_default() += 1;
        }
        assert!((7_200..7_800).contains(&counts[&1]) && (2_200..2_800).contains(&counts[&2]), "{counts:?}");
        assert!(!counts.contains_key(&3));
    }

    #[test]
    fn a_group_without_targets_fails_its_share_and_no_weight_fails_all() {
        assert_eq!(choose(&table(vec![group(1, 0)]), "web"), None);
        assert_eq!(choose(&table(vec![group(0, 1)]), "web"), None);
        assert_eq!(choose(&table(vec![group(1, 1)]), "other"), None);
    }
}
