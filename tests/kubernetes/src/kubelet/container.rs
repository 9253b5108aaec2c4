//! One container's life: pulled, run, probed, restarted when it ends, stopped with grace.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::app::{App, Order, listen, serve};
use super::events::Events;
use super::logs::Log;
use super::probe::{Probing, Turn};
use super::status::{Ended, Known, State};
use crate::images::{self, Pulled};

/// Where a container that names no port listens.
const PORT: u16 = 8080;
/// The first wait before something is tried again; it doubles up to the longest. A real kubelet begins with ten seconds.
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// What a container is given.
pub(super) struct Container {
    pub(super) client: Client,
    pub(super) pod: Arc<Pod>,
    pub(super) spec: Spec,
    pub(super) index: usize,
    pub(super) ip: Ipv4Addr,
    pub(super) node: String,
    /// Where it says what it is at, under its index.
    pub(super) known: Arc<watch::Sender<Vec<Known>>>,
    pub(super) log: Log,
    pub(super) events: Events,
    /// Set when the pod is deleted: the moment of SIGKILL.
    pub(super) stop: watch::Receiver<Option<Instant>>,
}

/// Why a run is over.
enum Over {
    /// It exited by itself.
    Exited,
    /// Its liveness or startup probe failed.
    Unhealthy(String),
    /// The pod was deleted; the moment of SIGKILL.
    Deleted(Instant),
}

impl Container {
    /// Runs it until it is not to be started again, or the pod is deleted and it has ended.
    pub(super) async fn run(self: Arc<Self>) {
        let (mut stop, mut wait) = (self.stop.clone(), BACK_OFF);
        loop {
            let pulled = tokio::select! {
                biased;
                _ = told_to_stop(&mut stop) => return,
                pulled = self.pulled() => pulled,
            };
            let began = Timestamp::now();
            let (ended, deleted) = self.clone().once(&pulled, began, &mut stop).await;
            let again = !deleted && restarts(&self.pod, ended.code);
            self.set(|known| {
                known.ready = false;
                known.started = false;
                known.state = State::Ended(ended.clone());
                if again {
                    known.last = Some(ended.clone());
                    let message = format!(
                        "back-off {}s restarting failed container={} pod={}",
                        wait.as_secs(),
                        self.spec.name,
                        self.pod_name()
                    );
                    known.state = State::Waiting { reason: "CrashLoopBackOff", message };
                }
            });
            if !again {
                return;
            }
            let failed = format!("Back-off restarting failed container {} in pod {}", self.spec.name, self.pod_name());
            self.events.warning(&self.spec.name, "BackOff", failed);
            tokio::select! {
                () = sleep(wait) => {}
                _ = told_to_stop(&mut stop) => return,
            }
            wait = (wait * 2).min(LONGEST);
            self.log.restart();
            self.set(|known| known.restarts += 1);
        }
    }

    /// Pulls its image; says what keeps it from that, and tries again for ever.
    async fn pulled(&self) -> Pulled {
        let name = &self.spec.name;
        let mut wait = BACK_OFF;
        loop {
            let refused = match images::pull(&self.client, &self.spec).await {
                Ok(pulled) => return pulled,
                Err(refused) => refused,
            };
            self.events.warning(name, "Failed", refused.message.clone());
            self.waits(refused.reason, refused.message.clone());
            if refused.reason == "ErrImagePull" {
                sleep(Duration::from_millis(200)).await;
                let image = self.spec.image.as_deref().unwrap_or_default();
                let message = format!("Back-off pulling image \"{image}\": {}", refused.message);
                self.events.normal(name, "BackOff", message.clone());
                self.waits("ImagePullBackOff", message);
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST);
        }
    }

    fn waits(&self, reason: &'static str, message: String) {
        self.set(|known| known.state = State::Waiting { reason, message });
    }

    /// One run: how it ended, and whether because the pod was deleted.
    async fn once(
        self: Arc<Self>,
        pulled: &Pulled,
        began: Timestamp,
        stop: &mut watch::Receiver<Option<Instant>>,
    ) -> (Ended, bool) {
        let ended = |code, reason, message: String| Ended { code, reason, message, began, at: Timestamp::now() };
        let (order, mut server) = match self.start(pulled).await {
            Ok(started) => started,
            Err(why) => {
                self.log.write(format!("cannot start: {why}"));
                return (ended(128, "StartError", why), false);
            }
        };
        self.set(|known| {
            known.image_id.clone_from(&pulled.image_id);
            known.state = State::Running { since: began };
            known.started = self.spec.startup_probe.is_none();
            known.ready = known.started && self.spec.readiness_probe.is_none();
        });
        let mut probes = self.clone().probes();
        let exit = async {
            match pulled.behaviour.exit_after_ms {
                Some(after) => sleep(Duration::from_millis(after)).await,
                None => std::future::pending().await,
            }
        };
        let over = tokio::select! {
            biased;
            deadline = told_to_stop(stop) => Over::Deleted(deadline),
            () = exit => Over::Exited,
            unhealthy = unhealthy(&mut probes) => Over::Unhealthy(unhealthy),
        };
        let (deadline, deleted) = match over {
            Over::Exited => {
                let (code, reason) = match (&pulled.behaviour, pulled.behaviour.exit_code) {
                    (behaviour, _) if behaviour.out_of_memory => (137, "OOMKilled"),
                    (_, 0) => (0, "Completed"),
                    (_, code) => (code, "Error"),
                };
                if code != 137 {
                    self.log.write(format!("exiting with code {code}, as it was told to"));
                }
                return (ended(code, reason, String::new()), false);
            }
            Over::Unhealthy(why) => {
                let message = format!("Container {} failed liveness probe, will be restarted: {why}", self.spec.name);
                self.events.normal(&self.spec.name, "Killing", message);
                (Instant::now() + grace(&self.pod), false)
            }
            Over::Deleted(deadline) => {
                self.events.normal(&self.spec.name, "Killing", format!("Stopping container {}", self.spec.name));
                (deadline, true)
            }
        };
        // As a kubelet does: the container serves, and is probed, while its hook runs. Only then SIGTERM.
        let hook = before_stop(&self.spec);
        if !hook.is_zero() {
            let _ = timeout_at(deadline, sleep(hook)).await;
        }
        self.log.write("SIGTERM: accepting no more connections");
        let (code, reason) = if pulled.behaviour.abrupt_stop {
            (143, "Error")
        } else {
            order.send_replace(Order::Drain);
            let drained = async { while server.join_next().await.is_some() {} };
            let slow = sleep(Duration::from_millis(pulled.behaviour.slow_stop_ms));
            let drained = timeout_at(deadline, async { tokio::join!(drained, slow) }).await;
            if drained.is_ok() { (0, "Completed") } else { (137, "Error") }
        };
        // What still serves is cut with it.
        server.shutdown().await;
        (ended(code, reason, String::new()), deleted)
    }

    /// Starts its server.
    async fn start(&self, pulled: &Pulled) -> Result<(watch::Sender<Order>, JoinSet<()>), String> {
        let pod = self.pod_name();
        let about = serde_json::json!({
            "pod": pod, "namespace": self.pod.metadata.namespace, "node": self.node, "container": self.spec.name,
        });
        let app = Arc::new(App::new(pulled, pod, about)?);
        let ports = ports(&self.spec);
        let listeners =
            listen(self.ip, &ports).await.map_err(|error| format!("listening on {}:{ports:?}: {error}", self.ip))?;
        self.log.write(format!("version {} ({})", pulled.behaviour.version, pulled.digest));
        if let Some(line) = &pulled.behaviour.says {
            self.log.write(line.clone());
        }
        self.log.write(format!("listening on {}, ports {ports:?}", self.ip));
        let (order, told) = watch::channel(Order::Serve);
        let mut server = JoinSet::new();
        server.spawn(serve(listeners, app, told));
        Ok((order, server))
    }

    /// Its probes, running; one that ends says why the container must be restarted.
    fn probes(self: Arc<Self>) -> JoinSet<String> {
        let mut tasks = JoinSet::new();
        let spec = &self.spec;
        let of = |probe: &Option<_>| probe.as_ref().map(|probe| Probing::of(probe, spec, self.ip));
        let (startup, readiness, liveness) =
            (of(&spec.startup_probe), of(&spec.readiness_probe), of(&spec.liveness_probe));
        let (started, up) = watch::channel(startup.is_none());
        let until_up = |mut up: watch::Receiver<bool>| async move {
            let _ = up.wait_for(|up| *up).await;
        };
        if let Some(probe) = startup {
            let (container, always_ready) = (self.clone(), readiness.is_none());
            let mut passed = started.subscribe();
            tasks.spawn(async move {
                let failed = first_failure(&probe, "Startup", &container, || {
                    container.set(|known| {
                        known.started = true;
                        known.ready |= always_ready;
                    });
                    started.send_replace(true);
                });
                tokio::select! {
                    biased;
                    // It has done its work.
                    _ = passed.wait_for(|up| *up) => {}
                    why = failed => return why,
                }
                std::future::pending().await
            });
        }
        if let Some(probe) = readiness {
            let (container, up) = (self.clone(), until_up(up.clone()));
            tasks.spawn(async move {
                up.await;
                probe
                    .run(|turn| match turn {
                        Turn::Passed => container.set(|known| known.ready = true),
                        Turn::Failed(why) => {
                            container.set(|known| known.ready = false);
                            let message = format!("Readiness probe failed: {why}");
                            container.events.warning(&container.spec.name, "Unhealthy", message);
                        }
                    })
                    .await;
                String::new()
            });
        }
        if let Some(probe) = liveness {
            let (container, up) = (self.clone(), until_up(up));
            tasks.spawn(async move {
                up.await;
                first_failure(&probe, "Liveness", &container, || {}).await
            });
        }
        tasks
    }

    fn set(&self, change: impl FnOnce(&mut Known)) {
        self.known.send_modify(|known| change(&mut known[self.index]));
    }

    fn pod_name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }
}

/// Why the first of the probes that may restart a container failed.
async fn unhealthy(probes: &mut JoinSet<String>) -> String {
    match probes.join_next().await {
        Some(Ok(why)) => why,
        Some(Err(panicked)) => panic!("a probe: {panicked}"),
        None => std::future::pending().await,
    }
}

/// Probes until the failure threshold is reached, and says why.
async fn first_failure(probe: &Probing, kind: &str, container: &Container, mut passed: impl FnMut()) -> String {
    let (failed, mut first) = tokio::sync::mpsc::unbounded_channel();
    let probing = probe.run(|turn| match turn {
        Turn::Passed => passed(),
        Turn::Failed(why) => {
            let _ = failed.send(why);
        }
    });
    let why = tokio::select! {
        () = probing => String::new(),
        why = first.recv() => why.unwrap_or_default(),
    };
    container.events.warning(&container.spec.name, "Unhealthy", format!("{kind} probe failed: {why}"));
    why
}

/// Waits until the pod is deleted; the moment of SIGKILL. A pod that nobody watches any more has none left.
async fn told_to_stop(stop: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}

/// Whether a container that exited so is started again.
fn restarts(pod: &Pod, code: i32) -> bool {
    match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
        Some("Never") => false,
        Some("OnFailure") => code != 0,
        _ => true,
    }
}

/// The time a pod has from SIGTERM (and its hooks) to SIGKILL.
pub(super) fn grace(pod: &Pod) -> Duration {
    let asked = pod.metadata.deletion_grace_period_seconds;
    let seconds = asked.or_else(|| pod.spec.as_ref()?.termination_grace_period_seconds).unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn ports(spec: &Spec) -> Vec<u16> {
    let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let named = spec.ports.iter().flatten().filter(|port| tcp(&port.protocol));
    let mut ports: Vec<_> = named.filter_map(|port| u16::try_from(port.container_port).ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() { vec![PORT] } else { ports }
}

/// How long its `preStop` hook takes: `sleep`, by itself or as the command `sleep N`, also in a shell. Whatever else it
/// is cannot be run here, and takes no time.
fn before_stop(spec: &Spec) -> Duration {
    let Some(hook) = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) else {
        return Duration::ZERO;
    };
    if let Some(sleep) = &hook.sleep {
        return Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default());
    }
    let command = hook.exec.as_ref().and_then(|exec| exec.command.as_ref()).map(|command| command.join(" "));
    let words: Vec<_> = command.as_deref().unwrap_or_default().split_whitespace().collect();
    let after = words.iter().position(|word| matches!(*word, "sleep" | "/bin/sleep" | "/usr/bin/sleep"));
    let seconds = after.and_then(|at| words.get(at + 1)?.trim_end_matches('s').parse::<f64>().ok());
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ExecAction, Lifecycle, LifecycleHandler, SleepAction};

    use super::*;

    #[test]
    fn a_hook_that_sleeps_takes_its_time_however_it_is_written() {
        let hook = |handler| {
            let lifecycle = Lifecycle { pre_stop: Some(handler), ..Lifecycle::default() };
            before_stop(&Spec { lifecycle: Some(lifecycle), ..Spec::default() })
        };
        let sleep = SleepAction { seconds: 5 };
        assert_eq!(
            hook(LifecycleHandler { sleep: Some(sleep), ..LifecycleHandler::default() }),
            Duration::from_secs(5)
        );
        for (command, ms) in
            [(&["sleep", "3"][..], 3_000), (&["/bin/sh", "-c", "sleep 0.5"], 500), (&["nginx", "-s", "quit"], 0)]
        {
            let command = Some(command.iter().map(|word| (*word).to_owned()).collect());
            let exec = LifecycleHandler { exec: Some(ExecAction { command }), ..LifecycleHandler::default() };
            assert_eq!(hook(exec), Duration::from_millis(ms));
        }
    }
}
