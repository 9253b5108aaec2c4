//! A pod's status, from the states of its containers: plain data, as a kubelet reports it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use serde_json::{Value, json};

/// What a container is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: &'static str, message: String },
    Running { since: Timestamp },
    Ended(Ended),
}

/// How a run of a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) began: Timestamp,
    pub(super) at: Timestamp,
}

/// All that is known of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) state: State,
    /// The run before.
    pub(super) last: Option<Ended>,
    pub(super) ready: bool,
    pub(super) started: bool,
    pub(super) restarts: u32,
    /// Repository and digest; empty until it was pulled.
    pub(super) image_id: String,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            state: State::Waiting { reason: "ContainerCreating", message: String::new() },
            last: None,
            ready: false,
            started: false,
            restarts: 0,
            image_id: String::new(),
        }
    }

    fn status(&self, container: &Container) -> Value {
        json!({
            "name": container.name,
            "image": container.image,
            "imageID": self.image_id,
            "containerID": if self.image_id.is_empty() { String::new() } else { format!("test://{}-{}", container.name, self.restarts) },
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": state(&self.state),
            "lastState": self.last.as_ref().map_or_else(|| json!({}), ended),
        })
    }
}

fn state(state: &State) -> Value {
    match state {
        State::Waiting { reason, message } if message.is_empty() => json!({ "waiting": { "reason": reason } }),
        State::Waiting { reason, message } => json!({ "waiting": { "reason": reason, "message": message } }),
        State::Running { since } => json!({ "running": { "startedAt": seconds(*since) } }),
        State::Ended(how) => ended(how),
    }
}

fn ended(how: &Ended) -> Value {
    json!({ "terminated": {
        "exitCode": how.code, "reason": how.reason, "message": how.message,
        "startedAt": seconds(how.began), "finishedAt": seconds(how.at),
    }})
}

/// The API's times have whole seconds.
pub(super) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The status of a pod, to be laid over what it has (a strategic merge patch: conditions of others stay).
pub(super) fn status(
    pod: &Pod,
    containers: &[(&Container, &Known)],
    addresses: Addresses<'_>,
    now: Timestamp,
) -> Value {
    let phase = phase(pod, containers);
    let finished = matches!(phase, "Succeeded" | "Failed");
    let names: Vec<_> =
        containers.iter().filter(|(_, known)| !known.ready).map(|(container, _)| container.name.as_str()).collect();
    let ready = names.is_empty() && !finished;
    let gate = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let closed: Vec<_> = gate.map(|gate| gate.condition_type.as_str()).filter(|gate| !is_true(pod, gate)).collect();
    let (reason, message) = match (finished, ready) {
        (true, _) => ("PodCompleted", String::new()),
        (false, false) => ("ContainersNotReady", format!("containers with unready status: [{}]", names.join(" "))),
        (false, true) => ("", String::new()),
    };
    let gates = format!("the status of pod readiness gate {closed:?} is not \"True\", but False");
    let all_ready = match (ready, closed.is_empty()) {
        (true, true) => condition(pod, "Ready", true, "", "", now),
        (true, false) => condition(pod, "Ready", false, "ReadinessGatesNotReady", &gates, now),
        (false, _) => condition(pod, "Ready", false, reason, &message, now),
    };
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let began = began(pod, now);
    let init: Vec<_> = init.map(|container| init_status(container, began, finished)).collect();
    let mut status = json!({
        "phase": phase,
        "startTime": seconds(began),
        "hostIP": addresses.host,
        "hostIPs": [{ "ip": addresses.host }],
        "podIP": addresses.pod,
        "podIPs": [{ "ip": addresses.pod }],
        "conditions": [
            condition(pod, "PodReadyToStartContainers", !finished, "", "", now),
            condition(pod, "Initialized", true, if finished { reason } else { "" }, "", now),
            all_ready,
            condition(pod, "ContainersReady", ready, reason, &message, now),
        ],
        "containerStatuses": containers.iter().map(|(container, known)| known.status(container)).collect::<Vec<_>>(),
    });
    if !init.is_empty() {
        status["initContainerStatuses"] = init.into();
    }
    status
}

/// Where a pod is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses<'a> {
    pub(super) host: &'a str,
    pub(super) pod: &'a str,
}

fn began(pod: &Pod, now: Timestamp) -> Timestamp {
    pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map_or(now, |time| time.0)
}

/// Init containers do nothing here: a plain one has ended well, one that restarts always (a sidecar) runs.
fn init_status(container: &Container, began: Timestamp, finished: bool) -> Value {
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    let runs = sidecar && !finished;
    let completed = Ended { code: 0, reason: "Completed", message: String::new(), began, at: began };
    json!({
        "name": container.name, "image": container.image, "imageID": container.image,
        "ready": runs || !sidecar, "started": runs, "restartCount": 0,
        "state": state(&if runs { State::Running { since: began } } else { State::Ended(completed) }),
        "lastState": {},
    })
}

/// `Failed` and `Succeeded` only when no container runs again.
fn phase(pod: &Pod, containers: &[(&Container, &Known)]) -> &'static str {
    let ended = || {
        containers.iter().filter_map(|(_, known)| if let State::Ended(how) = &known.state { Some(how) } else { None })
    };
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    let deleted = pod.metadata.deletion_timestamp.is_some();
    if !containers.is_empty() && ended().count() == containers.len() && (policy != "Always" || deleted) {
        return if ended().all(|how| how.code == 0) { "Succeeded" } else { "Failed" };
    }
    let never_ran = |known: &Known| matches!(known.state, State::Waiting { .. }) && known.last.is_none();
    if containers.iter().any(|(_, known)| never_ran(known)) { "Pending" } else { "Running" }
}

fn conditions(pod: &Pod) -> impl Iterator<Item = &PodCondition> {
    pod.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

fn is_true(pod: &Pod, kind: &str) -> bool {
    conditions(pod).any(|condition| condition.type_ == kind && condition.status == "True")
}

/// A condition; the moment of its last change is kept where nothing changed.
fn condition(pod: &Pod, kind: &str, holds: bool, reason: &str, message: &str, now: Timestamp) -> Value {
    let status = if holds { "True" } else { "False" };
    let same = conditions(pod).find(|condition| condition.type_ == kind && condition.status == status);
    let since = same.and_then(|condition| condition.last_transition_time.as_ref()).map_or(now, |time| time.0);
    json!({
        "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": seconds(since),
        "reason": if reason.is_empty() { Value::Null } else { reason.into() },
        "message": if message.is_empty() { Value::Null } else { message.into() },
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodReadinessGate, PodSpec};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn running(ready: bool) -> Known {
        Known { state: State::Running { since: NOW }, ready, started: true, ..Known::new() }
    }

    fn ended(code: i32) -> Ended {
        Ended { code, reason: "Error", message: String::new(), began: NOW, at: NOW }
    }

    fn judged(policy: &str, gates: &[&str], known: &[Known]) -> (String, Vec<(String, String)>) {
        let gates = gates.iter().map(|gate| PodReadinessGate { condition_type: (*gate).into() }).collect();
        let spec = PodSpec { restart_policy: Some(policy.into()), readiness_gates: Some(gates), ..PodSpec::default() };
        let pod = Pod { spec: Some(spec), ..Pod::default() };
        let container = Container { name: "app".into(), ..Container::default() };
        let containers: Vec<_> = known.iter().map(|known| (&container, known)).collect();
        let status = status(&pod, &containers, Addresses { host: "10.0.0.1", pod: "10.0.0.2" }, NOW);
        let conditions = status["conditions"].as_array().unwrap().iter();
        let conditions = conditions.map(|c| (c["type"].as_str().unwrap().into(), c["status"].as_str().unwrap().into()));
        (
            status["phase"].as_str().unwrap().into(),
            conditions.filter(|(kind, _): &(String, String)| kind.ends_with("Ready")).collect(),
        )
    }

    fn both(ready: &str, containers: &str) -> Vec<(String, String)> {
        vec![("Ready".into(), ready.into()), ("ContainersReady".into(), containers.into())]
    }

    #[test]
    fn a_pod_is_ready_when_all_containers_and_all_gates_are() {
        assert_eq!(judged("Always", &[], &[running(true), running(true)]), ("Running".into(), both("True", "True")));
        assert_eq!(judged("Always", &[], &[running(true), running(false)]), ("Running".into(), both("False", "False")));
        assert_eq!(judged("Always", &["lb.test/healthy"], &[running(true)]), ("Running".into(), both("False", "True")));
    }

    #[test]
    fn a_pod_ends_only_when_nothing_is_started_again() {
        let done = |code| Known { state: State::Ended(ended(code)), ..Known::new() };
        assert_eq!(judged("Never", &[], &[done(0)]).0, "Succeeded");
        assert_eq!(judged("Never", &[], &[done(0), done(3)]).0, "Failed");
        assert_eq!(judged("Never", &[], &[done(0), running(true)]).0, "Running");
        let again = State::Waiting { reason: "CrashLoopBackOff", message: String::new() };
        assert_eq!(judged("Always", &[], &[Known { state: again, last: Some(ended(1)), ..Known::new() }]).0, "Running");
        assert_eq!(judged("Always", &[], &[Known::new()]).0, "Pending");
    }
}
