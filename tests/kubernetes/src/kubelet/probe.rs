//! Probes of a container, with the meaning that the API's documentation gives their fields.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, StatusCode};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portcullis_embedded::local::client::Connection;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A probe, with the API's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probing {
    how: How,
    delay: Duration,
    period: Duration,
    limit: Duration,
    successes: u32,
    failures: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum How {
    Http {
        to: SocketAddr,
        path: String,
    },
    Connect(SocketAddr),
    /// A command or gRPC: there is nothing to run it in, so it is taken to succeed.
    Assumed,
    /// It names a port that the container has not.
    NoSuchPort(String),
}

/// What became of a container's health by its probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// It passed so often in a row as it must.
    Passed,
    /// It failed so often in a row as it may not; the last reason.
    Failed(String),
}

impl Probing {
    /// A probe of this container at this address.
    pub(super) fn of(probe: &Probe, container: &Container, ip: Ipv4Addr) -> Self {
        let at = |port: &IntOrString| port_of(port, container).map(|port| SocketAddr::from((ip, port)));
        let named = |port: &IntOrString| match port {
            IntOrString::Int(port) => How::NoSuchPort(port.to_string()),
            IntOrString::String(name) => How::NoSuchPort(name.clone()),
        };
        let how = if let Some(http) = &probe.http_get {
            let path = http.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into());
            at(&http.port).map_or_else(|| named(&http.port), |to| How::Http { to, path })
        } else if let Some(tcp) = &probe.tcp_socket {
            at(&tcp.port).map_or_else(|| named(&tcp.port), How::Connect)
        } else {
            How::Assumed
        };
        let seconds = |value: Option<i32>, default| {
            Duration::from_secs(u64::try_from(value.unwrap_or(default)).unwrap_or_default())
        };
        let times = |value: Option<i32>, default| u32::try_from(value.unwrap_or(default)).unwrap_or_default().max(1);
        Self {
            how,
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            limit: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            successes: times(probe.success_threshold, 1),
            failures: times(probe.failure_threshold, 3),
        }
    }

    /// Probes for ever; `turned` is told whenever a threshold is reached.
    pub(super) async fn run(&self, mut turned: impl FnMut(Turn)) {
        let (mut passed, mut failed) = (0, 0);
        sleep(self.delay).await;
        loop {
            match self.once().await {
                Ok(()) => {
                    (passed, failed) = (passed + 1, 0);
                    if passed == self.successes {
                        turned(Turn::Passed);
                    }
                }
                Err(why) => {
                    (passed, failed) = (0, failed + 1);
                    if failed == self.failures {
                        turned(Turn::Failed(why));
                    }
                }
            }
            sleep(self.period).await;
        }
    }

    async fn once(&self) -> Result<(), String> {
        let probed = timeout(self.limit, async {
            match &self.how {
                How::Http { to, path } => get(*to, path).await,
                How::Connect(to) => {
                    TcpStream::connect(to).await.map(|_| ()).map_err(|error| format!("dial tcp {to}: {error}"))
                }
                How::Assumed => Ok(()),
                How::NoSuchPort(port) => Err(format!("couldn't find port: {port}")),
            }
        });
        probed.await.unwrap_or_else(|_| Err(format!("no answer within {} s", self.limit.as_secs())))
    }
}

/// A port by number, or by its name in the container.
fn port_of(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(port) => u16::try_from(*port).ok(),
        IntOrString::String(name) => {
            let found = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name))?;
            u16::try_from(found.container_port).ok()
        }
    }
}

/// As a kubelet does: any status from 200 to 399 passes.
async fn get(to: SocketAddr, path: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("Get \"http://{to}{path}\": {error}");
    let mut connection = Connection::to(to).await.map_err(|error| failed(&error))?;
    let request = Request::get(path).header("host", to.to_string()).header("connection", "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    match connection.send(request).await.map_err(|unanswered| failed(&unanswered.why))?.status() {
        status if (StatusCode::OK..StatusCode::BAD_REQUEST).contains(&status) => Ok(()),
        status => Err(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction};

    use super::*;

    #[test]
    fn defaults_are_the_api_s_and_ports_are_found_by_name() {
        let port = ContainerPort { container_port: 8080, name: Some("http".into()), ..ContainerPort::default() };
        let container = Container { ports: Some(vec![port]), ..Container::default() };
        let probe = |port: &str| {
            let http_get = HTTPGetAction { port: IntOrString::String(port.into()), ..HTTPGetAction::default() };
            let probe = Probe { http_get: Some(http_get), ..Probe::default() };
            Probing::of(&probe, &container, Ipv4Addr::new(10, 89, 0, 1))
        };
        let found = probe("http");
        assert_eq!(found.how, How::Http { to: "10.89.0.1:8080".parse().unwrap(), path: "/".into() });
        assert_eq!(
            (found.delay, found.period, found.limit),
            (Duration::ZERO, Duration::from_secs(10), Duration::from_secs(1))
        );
        assert_eq!((found.successes, found.failures), (1, 3));
        assert_eq!(probe("grpc").how, How::NoSuchPort("grpc".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn thresholds_count_in_a_row() {
        let ip = Ipv4Addr::LOCALHOST;
        let never = Probing { failures: 2, successes: 1, ..Probing::of(&Probe::default(), &Container::default(), ip) };
        let never = Probing { how: How::NoSuchPort("x".into()), ..never };
        let mut turns = Vec::new();
        let _ = timeout(Duration::from_secs(45), never.run(|turn| turns.push(turn))).await;
        assert_eq!(turns, [Turn::Failed("couldn't find port: x".into())]);
    }
}
