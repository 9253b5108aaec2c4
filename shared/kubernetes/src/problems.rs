//! What keeps pods from being ready, in words, with the pods' own evidence.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::client::{Client, Selector, kinds};
use crate::error::clean;
use crate::objects::name;

/// Most lines that are told.
const MOST_LINES: usize = 5;
/// Most characters of a line.
const MOST_CHARS: usize = 300;
/// Pods whose log or events are read.
const MOST_ASKED: usize = 2;
/// Lines of a log that are told.
const LOG_LINES: u32 = 3;

/// What is wrong with one pod, and what would say more about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// In words, without the pod's name: pods with the same one are counted together.
    pub what: String,
    /// Where evidence is.
    pub evidence: Evidence,
}

/// Where evidence is of what is wrong with a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// In what was read already.
    Told,
    /// In the log of a container's last run.
    Log {
        /// The container.
        container: String,
    },
    /// In the pod's events.
    Events,
}

/// Whether a pod is there to stay and counts itself ready.
pub fn is_ready(pod: &Json) -> bool {
    pod["metadata"].get("deletionTimestamp").is_none() && condition(pod, "Ready").is_some_and(|c| c["status"] == "True")
}

/// Whether a pod has ended for good.
pub fn is_over(pod: &Json) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn condition<'a>(object: &'a Json, kind: &str) -> Option<&'a Json> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// What is wrong with a pod; none = it is ready, or on its way without a complaint.
pub fn of_pod(pod: &Json) -> Option<Problem> {
    if is_ready(pod) || pod["metadata"].get("deletionTimestamp").is_some() {
        return None;
    }
    let told = |what: String| Some(Problem { what, evidence: Evidence::Told });
    let text = |value: &Json| clean(value.as_str().unwrap_or_default());
    let unscheduled = condition(pod, "PodScheduled").filter(|c| c["status"] == "False");
    if let Some(unscheduled) = unscheduled.filter(|c| c["reason"] == "Unschedulable") {
        return told(format!("cannot be scheduled: {}", text(&unscheduled["message"])));
    }
    let statuses = ["initContainerStatuses", "containerStatuses"].map(|list| pod["status"][list].as_array());
    for status in statuses.into_iter().flatten().flatten() {
        if let Some(problem) = of_container(pod, status) {
            return Some(problem);
        }
    }
    if pod["status"]["phase"] == "Failed" {
        return told(format!("failed: {} {}", text(&pod["status"]["reason"]), text(&pod["status"]["message"])));
    }
    let started = pod["status"]["containerStatuses"].as_array().is_some_and(|statuses| {
        !statuses.is_empty() && statuses.iter().all(|status| status["state"].get("running").is_some())
    });
    started.then(|| Problem { what: "runs, but is not ready".into(), evidence: Evidence::Events })
}

fn of_container(pod: &Json, status: &Json) -> Option<Problem> {
    let container = clean(status["name"].as_str().unwrap_or_default());
    let text = |value: &Json| clean(value.as_str().unwrap_or_default());
    let waiting = &status["state"]["waiting"];
    let reason = waiting["reason"].as_str().unwrap_or_default();
    // What it last died of: now, or before it was started again.
    let ended = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
    let ended = ended.into_iter().find(|ended| ended.is_object() && ended["exitCode"] != 0);
    if ended.is_some_and(|ended| ended["reason"] == "OOMKilled") {
        let spec = pod["spec"]["containers"].as_array().into_iter().flatten().find(|c| c["name"] == status["name"]);
        let limit = spec.and_then(|spec| spec["resources"]["limits"]["memory"].as_str());
        let limit = limit.map_or_else(String::new, |limit| format!(" of {}", clean(limit)));
        let what = format!("container {container} was killed for using more memory than its limit{limit} (OOMKilled)");
        return Some(Problem { what, evidence: Evidence::Told });
    }
    match reason {
        "" | "ContainerCreating" | "PodInitializing" => {
            let ended = ended?;
            let what = format!("container {container} ended with {} ({})", ended["exitCode"], text(&ended["reason"]));
            Some(Problem { what, evidence: Evidence::Log { container } })
        }
        "CrashLoopBackOff" => {
            let code = ended.map_or_else(String::new, |ended| format!(", exit code {}", ended["exitCode"]));
            let what = format!("container {container} crashes again and again (CrashLoopBackOff{code})");
            Some(Problem { what, evidence: Evidence::Log { container } })
        }
        // Bounds of the message: an image's name and the registry's words.
        reason => {
            let what =
                format!("container {container} does not start: {}: {}", clean(reason), text(&waiting["message"]));
            Some(Problem { what, evidence: Evidence::Told })
        }
    }
}

/// What the Deployment itself complains of: pods that cannot be made (a quota, an admission rule), or no progress.
pub fn of_deployment(deployment: &Json) -> Vec<String> {
    let text = |value: &Json| clean(value.as_str().unwrap_or_default());
    let failure = condition(deployment, "ReplicaFailure").filter(|c| c["status"] == "True");
    let stuck = condition(deployment, "Progressing").filter(|c| c["status"] == "False");
    let failure = failure.map(|c| format!("pods cannot be made: {}", text(&c["message"])));
    failure.into_iter().chain(stuck.map(|c| format!("no progress: {}", text(&c["message"])))).collect()
}

/// All problems of a workload as lines: equal ones counted together, at most 5, most pods first, each at most 300
/// characters.
pub fn lines(deployment: &Json, pods: &[&Json], evidence: &BTreeMap<String, String>) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods {
        if let Some(problem) = of_pod(pod) {
            groups.entry(problem.what).or_default().push(name(pod));
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, pods)| std::cmp::Reverse(pods.len()));
    let of_pods = groups.into_iter().map(|(what, pods)| {
        let said = pods.iter().find_map(|pod| evidence.get(*pod));
        let said = said.map_or_else(String::new, |said| format!(": {said}"));
        match pods.len() {
            1 => format!("pod {} {what}{said}", pods[0]),
            n => format!("{n} pods, such as {}: {what}{said}", pods[0]),
        }
    });
    let lines = of_deployment(deployment).into_iter().chain(of_pods);
    lines.map(|line| line.chars().take(MOST_CHARS).collect()).take(MOST_LINES).collect()
}

/// Reads what says more about the worst pods: the last lines of a log, the last warning among its events. What cannot be
/// read is left out: it is evidence, not a fact that anything waits for.
pub async fn evidence(client: &Client, namespace: &str, pods: &[&Json]) -> BTreeMap<String, String> {
    let mut asked = BTreeMap::new();
    for pod in pods {
        if let Some(problem) = of_pod(pod) {
            // One pod for each problem says it all.
            asked.entry(problem).or_insert(*pod);
        }
    }
    let mut found = BTreeMap::new();
    let worth = asked.into_iter().filter(|(problem, _)| problem.evidence != Evidence::Told);
    for (problem, pod) in worth.take(MOST_ASKED) {
        let said = match &problem.evidence {
            Evidence::Told => None,
            Evidence::Log { container } => log(client, namespace, name(pod), container).await,
            Evidence::Events => warning(client, namespace, name(pod)).await,
        };
        found.extend(said.map(|said| (name(pod).to_owned(), said)));
    }
    found
}

/// The last lines of the run that ended; of the one that runs, where none is kept.
async fn log(client: &Client, namespace: &str, pod: &str, container: &str) -> Option<String> {
    for previous in [true, false] {
        if let Ok(text) = client.log(namespace, pod, container, LOG_LINES, previous).await
            && !text.trim().is_empty()
        {
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            return Some(format!("log: {}", clean(&lines.join(" | "))));
        }
    }
    None
}

async fn warning(client: &Client, namespace: &str, pod: &str) -> Option<String> {
    let fields = format!("involvedObject.kind=Pod,involvedObject.name={pod},type=Warning");
    let selector = Selector { labels: None, fields: Some(fields) };
    let events = client.list(&kinds::EVENTS, Some(namespace), &selector).await.ok()?.items;
    let at = |event: &Json| {
        let moment = ["lastTimestamp", "eventTime"].into_iter().find_map(|key| event[key].as_str());
        moment.unwrap_or_default().to_owned()
    };
    let last = events.into_iter().max_by_key(at)?;
    Some(format!("{}: {}", clean(last["reason"].as_str()?), clean(last["message"].as_str().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "what json! makes is a value")]
    fn pod(name: &str, status: Json) -> Json {
        let spec = json!({ "containers": [{ "name": "web", "resources": { "limits": { "memory": "64Mi" } } }] });
        json!({ "metadata": { "name": name }, "spec": spec, "status": status })
    }

    #[expect(clippy::needless_pass_by_value, reason = "what json! makes is a value")]
    fn container(state: Json, last: Json) -> Json {
        json!({ "phase": "Running", "containerStatuses": [{ "name": "web", "state": state, "lastState": last }] })
    }

    #[test]
    fn each_way_not_to_be_ready_has_its_words() {
        for (status, expected, evidence) in [
            (
                json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient cpu." }] }),
                "cannot be scheduled: 0/3 nodes are available: 3 Insufficient cpu.",
                Evidence::Told,
            ),
            (
                container(
                    json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } }),
                    json!({}),
                ),
                "container web does not start: ImagePullBackOff: Back-off pulling image",
                Evidence::Told,
            ),
            (
                container(
                    json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
                    json!({ "terminated": { "exitCode": 2, "reason": "Error" } }),
                ),
                "container web crashes again and again (CrashLoopBackOff, exit code 2)",
                Evidence::Log { container: "web".into() },
            ),
            (
                container(
                    json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
                    json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } }),
                ),
                "container web was killed for using more memory than its limit of 64Mi (OOMKilled)",
                Evidence::Told,
            ),
            (container(json!({ "running": {} }), json!({})), "runs, but is not ready", Evidence::Events),
            (
                container(json!({ "terminated": { "exitCode": 1, "reason": "Error" } }), json!({})),
                "container web ended with 1 (Error)",
                Evidence::Log { container: "web".into() },
            ),
        ] {
            assert_eq!(of_pod(&pod("a", status)), Some(Problem { what: expected.into(), evidence }));
        }
        assert_eq!(of_pod(&pod("a", json!({ "conditions": [{ "type": "Ready", "status": "True" }] }))), None);
        assert_eq!(
            of_pod(&pod("a", container(json!({ "waiting": { "reason": "ContainerCreating" } }), json!({})))),
            None
        );
    }

    #[test]
    fn pods_with_the_same_problem_are_counted_together_with_one_evidence() {
        let status = || container(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), json!({}));
        let pods = [pod("a", status()), pod("b", status()), pod("c", container(json!({ "running": {} }), json!({})))];
        let deployment = json!({ "status": { "conditions": [{ "type": "ReplicaFailure", "status": "True",
            "message": "exceeded quota: q" }] } });
        let evidence = BTreeMap::from([("a".to_owned(), "log: no database".to_owned())]);
        assert_eq!(
            lines(&deployment, &pods.iter().collect::<Vec<_>>(), &evidence),
            [
                "pods cannot be made: exceeded quota: q",
                "2 pods, such as a: container web crashes again and again (CrashLoopBackOff): log: no database",
                "pod c runs, but is not ready",
            ]
        );
    }

    #[test]
    fn a_log_cannot_write_on_a_persons_screen() {
        let deployment = json!({});
        let pods = [pod("a", container(json!({ "running": {} }), json!({})))];
        let evidence = BTreeMap::from([("a".to_owned(), clean(&format!("\u{1b}[31m{}", "x".repeat(900))))]);
        let lines = lines(&deployment, &pods.iter().collect::<Vec<_>>(), &evidence);
        assert!(lines[0].chars().count() <= MOST_CHARS && !lines[0].contains('\u{1b}'), "{lines:?}");
    }
}
