//! What is healthy behind a load balancer whose targets are pods, as the AWS Load Balancer Controller says it. Pure.
//!
//! The controller keeps a `TargetGroupBinding` for each Service that it forwards to, gives pods of it a readiness gate when
//! they are made, and sets that gate's condition once the target group finds the pod healthy ("Pod readiness gate" in its
//! documentation). A pod that was made before the binding, or in a namespace without the label, has no gate: nobody can say
//! then whether requests to it would arrive.

use serde_json::Value as Json;

use crate::objects::name;
use crate::problems::is_over;

/// What begins the condition of a target group's gate; the binding's name follows.
const GATE: &str = "target-health.elbv2.k8s.aws/";
/// The label by which pods of a namespace get their gates.
pub const INJECT: &str = "elbv2.k8s.aws/pod-readiness-gate-inject";

/// The bindings of a Service.
///
/// # Errors
/// There is none, or its targets are nodes; in words.
pub fn bindings_of<'a>(service: &str, bindings: &'a [Json]) -> Result<Vec<&'a Json>, String> {
    let own: Vec<&Json> = bindings.iter().filter(|one| one["spec"]["serviceRef"]["name"] == service).collect();
    if own.is_empty() {
        return Err(format!(
            "there is no TargetGroupBinding of Service {service} yet: the AWS Load Balancer Controller has made no target \
             group for it. Why not is in the events of its Ingress"
        ));
    }
    match own.iter().find(|one| one["spec"]["targetType"] == "instance") {
        Some(nodes) => Err(format!(
            "the targets of TargetGroupBinding {} are nodes: nobody says whether the pods behind them are reached. Set \
             alb.ingress.kubernetes.io/target-type: ip",
            name(nodes)
        )),
        None => Ok(own),
    }
}

/// Whether every pod that could serve is found healthy by every target group of a Service.
///
/// # Errors
/// Why not, and what to do, in words.
pub fn healthy(service: &str, namespace: &str, bindings: &[Json], pods: &[Json]) -> Result<(), String> {
    let gates: Vec<String> =
        bindings_of(service, bindings)?.into_iter().map(|binding| format!("{GATE}{}", name(binding))).collect();
    let going = |pod: &Json| pod["metadata"]["deletionTimestamp"].is_string() || is_over(pod);
    let there: Vec<&Json> = pods.iter().filter(|pod| !going(pod)).collect();
    if there.is_empty() {
        return Err(format!("{service} has no pods"));
    }
    let carries = |pod: &Json, gate: &str| {
        pod["spec"]["readinessGates"].as_array().into_iter().flatten().any(|one| one["conditionType"] == gate)
    };
    let without = there.iter().filter(|pod| gates.iter().any(|gate| !carries(pod, gate))).count();
    if without > 0 {
        return Err(format!(
            "{without} of {} pods of {service} do not carry the readiness gate of their target group ({}), so nobody can say \
             whether the load balancer reaches them. Label the namespace (kubectl label namespace {namespace} \
             {INJECT}=enabled), and let the pods be made anew",
            there.len(),
            gates.join(", ")
        ));
    }
    // One whose containers are not ready yet gets no requests: how many pods there must be was asked before.
    let up = there.iter().filter(|pod| condition(pod, "ContainersReady").is_some_and(|said| said["status"] == "True"));
    let up: Vec<&&Json> = up.collect();
    let is_healthy =
        |pod: &Json| gates.iter().all(|gate| condition(pod, gate).is_some_and(|said| said["status"] == "True"));
    match up.iter().find(|pod| !is_healthy(pod)) {
        None if up.is_empty() => Err(format!("no pod of {service} is up")),
        None => Ok(()),
        Some(first) => {
            let said = gates.iter().filter_map(|gate| condition(first, gate)).find(|said| said["status"] != "True");
            let said = said.and_then(|said| said["message"].as_str().or_else(|| said["reason"].as_str()));
            Err(format!(
                "the load balancer finds {} of {} pods of {service} healthy ({}: {})",
                up.iter().filter(|pod| is_healthy(pod)).count(),
                up.len(),
                name(first),
                said.unwrap_or("nothing is said of it yet")
            ))
        }
    }
}

fn condition<'a>(pod: &'a Json, kind: &str) -> Option<&'a Json> {
    pod["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn binding(service: &str, kind: &str) -> Json {
        json!({ "metadata": { "name": format!("tg-{service}") },
            "spec": { "serviceRef": { "name": service }, "targetType": kind } })
    }

    fn pod(gate: Option<&str>, healthy: Option<&str>, up: &str) -> Json {
        let gates: Vec<Json> = gate.iter().map(|gate| json!({ "conditionType": gate })).collect();
        let mut conditions = vec![json!({ "type": "ContainersReady", "status": up })];
        conditions.extend(healthy.map(|status| {
            json!({ "type": "target-health.elbv2.k8s.aws/tg-web-green", "status": status, "message": "Initial" })
        }));
        json!({ "metadata": { "name": "p" }, "spec": { "readinessGates": gates },
            "status": { "phase": "Running", "conditions": conditions } })
    }

    #[test]
    fn a_colour_is_healthy_when_the_load_balancer_says_so_of_every_pod_that_is_up() {
        let gate = Some("target-health.elbv2.k8s.aws/tg-web-green");
        let good = || pod(gate, Some("True"), "True");
        let mut going = pod(gate, Some("False"), "True");
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let ip = || vec![binding("web-green", "ip"), binding("web-blue", "ip")];
        for (what, bindings, pods, expected) in [
            ("healthy", ip(), vec![good(), good()], None),
            ("one that goes does not count", ip(), vec![good(), going], None),
            ("one that starts does not count", ip(), vec![good(), pod(gate, None, "False")], None),
            ("no target group", vec![binding("web-blue", "ip")], vec![good()], Some("no TargetGroupBinding")),
            ("nodes", vec![binding("web-green", "instance")], vec![good()], Some("target-type: ip")),
            ("no gate", ip(), vec![good(), pod(None, None, "True")], Some("kubectl label namespace shop")),
            ("another's gate", ip(), vec![pod(Some("x/y"), None, "True")], Some("1 of 1 pods")),
            (
                "not yet",
                ip(),
                vec![good(), pod(gate, Some("False"), "True")],
                Some("1 of 2 pods of web-green healthy (p: Initial)"),
            ),
            ("nothing said", ip(), vec![pod(gate, None, "True")], Some("nothing is said")),
            ("no pods", ip(), vec![], Some("has no pods")),
            ("none is up", ip(), vec![pod(gate, None, "False")], Some("is up")),
        ] {
            let found = healthy("web-green", "shop", &bindings, &pods).err();
            match expected {
                None => assert_eq!(found, None, "{what}"),
                Some(words) => {
                    assert!(found.as_deref().is_some_and(|found| found.contains(words)), "{what}: {found:?}");
                }
            }
        }
    }
}
