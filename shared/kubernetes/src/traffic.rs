//! Where a Service's selector may move traffic, and where it would lose requests.
//!
//! Natively a switch is one change of the Service's selector: kube-proxy sends new connections to the other colour as soon
//! as it has the new endpoints. A load balancer that has the pods' own addresses as its targets does not follow like that:
//! it deregisters the old ones before the new ones passed their health checks (AWS Load Balancer Controller documentation,
//! "Pod readiness gate"; Argo Rollouts #1283). There the switch has to be a weight between two stable target groups.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::client::kinds;
use crate::error::ApiError;
use crate::objects::{annotation, name};
use crate::observe::{Readings, is_out_of_reach};
use crate::weights::{USE_ANNOTATION, backends};

/// Why a selector flip of this Service would lose requests; none = it would not.
pub fn refusal(service: &Json, ingresses: &[Json], bindings: &[Json]) -> Option<String> {
    let own = name(service);
    let why = by_itself(service)
        .or_else(|| {
            let ip = |binding: &&Json| {
                binding["spec"]["serviceRef"]["name"] == own && binding["spec"]["targetType"] != "instance"
            };
            let binding = bindings.iter().find(ip)?;
            Some(format!("the target group of TargetGroupBinding {} has its pods as targets", name(binding)))
        })
        .or_else(|| {
            let routes =
                |ingress: &&Json| is_alb(ingress) && routes_to(ingress, own) && has_ip_targets(ingress, service);
            let ingress = ingresses.iter().find(routes)?;
            Some(format!("the load balancer of Ingress {} has its pods as targets", name(ingress)))
        })?;
    Some(format!(
        "requests would be lost: {why}, and takes the old ones out before the new ones are healthy. Switch by weights \
         between two target groups (`traffic: alb` in the policy), or say that the selector is switched all the same"
    ))
}

/// A Service that is a load balancer's own.
fn by_itself(service: &Json) -> Option<String> {
    if service["spec"]["type"] != "LoadBalancer" {
        return None;
    }
    if service["spec"]["externalTrafficPolicy"] == "Local" {
        return Some(
            "its externalTrafficPolicy is Local, so that its load balancer's targets are the pods' nodes".into(),
        );
    }
    let said = |key: &str| annotation(service, &format!("service.beta.kubernetes.io/aws-load-balancer-{key}"));
    let ip = match said("nlb-target-type") {
        Some(kind) => kind == "ip",
        // Where nothing is said, EKS Auto Mode takes the pods.
        None => said("type") == Some("nlb-ip") || service["spec"]["loadBalancerClass"] == "eks.amazonaws.com/nlb",
    };
    ip.then(|| "its load balancer has the pods as targets".into())
}

pub(crate) fn is_alb(ingress: &Json) -> bool {
    let class = ingress["spec"]["ingressClassName"].as_str();
    let class = class.or_else(|| annotation(ingress, "kubernetes.io/ingress.class")).unwrap_or_default();
    let annotations = ingress["metadata"]["annotations"].as_object();
    class.contains("alb")
        || annotations.is_some_and(|all| all.keys().any(|key| key.starts_with("alb.ingress.kubernetes.io/")))
}

pub(crate) fn has_ip_targets(ingress: &Json, service: &Json) -> bool {
    let key = "alb.ingress.kubernetes.io/target-type";
    match annotation(service, key).or_else(|| annotation(ingress, key)) {
        Some(kind) => kind == "ip",
        // Targets are nodes by default, but a Service without node ports can only be reached by its pods.
        None => service["spec"]["type"].as_str().unwrap_or("ClusterIP") == "ClusterIP",
    }
}

pub(crate) fn routes_to(ingress: &Json, service: &str) -> bool {
    // One that stands for an action is not the Service, even of its name.
    let named = backends(ingress)
        .any(|backend| backend["service"]["name"] == service && backend["service"]["port"]["name"] != USE_ANNOTATION);
    // Actions in annotations name Services, too.
    let actions = ingress["metadata"]["annotations"].as_object().into_iter().flatten();
    let quoted = format!("\"{service}\"");
    named
        || actions
            .filter(|(key, _)| key.starts_with("alb.ingress.kubernetes.io/actions."))
            .any(|(_, value)| value.as_str().is_some_and(|text| text.contains(&quoted)))
}

/// Reads what is in front of a Service, and judges.
///
/// # Errors
/// Ingresses cannot be read: then nobody can say.
pub async fn read_refusal(readings: &Readings, namespace: &str, service: &Json) -> Result<Option<String>, ApiError> {
    let (ingresses, bindings) = tokio::join!(
        readings.list(&kinds::INGRESSES, namespace),
        readings.list(&kinds::TARGET_GROUP_BINDINGS, namespace),
    );
    // Where the controller is not installed there is no such kind; without a right to it the answer is the same.
    let bindings = match bindings {
        Err(error) if is_out_of_reach(&error) => Arc::default(),
        other => other?,
    };
    Ok(refusal(service, &ingresses?.items, &bindings.items))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "what json! makes is a value")]
    fn service(spec: Json, annotations: Json) -> Json {
        json!({ "metadata": { "name": "web", "annotations": annotations }, "spec": spec })
    }

    #[test]
    fn a_selector_flip_is_refused_where_pods_are_a_load_balancers_targets_and_nowhere_else() {
        let cluster = service(json!({ "type": "ClusterIP" }), json!({}));
        let node_port = service(json!({ "type": "NodePort" }), json!({}));
        let nlb = |annotations| service(json!({ "type": "LoadBalancer" }), annotations);
        let ip = json!({ "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip" });
        let instance = json!({ "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "instance" });
        let backend = json!({ "rules": [{ "http": { "paths": [{ "backend": { "service": { "name": "web" } } }] } }] });
        let ingress = |class: &str, annotations: Json| {
            let mut spec = backend.clone();
            spec["ingressClassName"] = class.into();
            json!({ "metadata": { "name": "front", "annotations": annotations }, "spec": spec })
        };
        let ip_ingress = json!({ "alb.ingress.kubernetes.io/target-type": "ip" });
        let mut by_weights = ingress(
            "alb",
            json!({ "alb.ingress.kubernetes.io/target-type": "ip",
            "alb.ingress.kubernetes.io/actions.web": "{\"forwardConfig\":{\"targetGroups\":[{\"serviceName\":\"web-blue\"}]}}" }),
        );
        by_weights["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] =
            json!({ "name": "use-annotation" });
        let action = json!({ "metadata": { "name": "front", "annotations": { "alb.ingress.kubernetes.io/target-type": "ip",
            "alb.ingress.kubernetes.io/actions.weighted": "{\"forwardConfig\":{\"targetGroups\":[{\"serviceName\":\"web\"}]}}" } },
            "spec": {} });
        let binding = |kind: &str| {
            json!({ "metadata": { "name": "b" },
            "spec": { "serviceRef": { "name": "web" }, "targetType": kind } })
        };
        for (what, service, ingresses, bindings, refused) in [
            ("inside the cluster", &cluster, vec![], vec![], false),
            ("NLB to pods", &nlb(ip), vec![], vec![], true),
            ("NLB to nodes", &nlb(instance), vec![], vec![], false),
            (
                "a load balancer to the pods' nodes only",
                &service(json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" }), json!({})),
                vec![],
                vec![],
                true,
            ),
            ("ALB to pods", &cluster, vec![ingress("alb", ip_ingress.clone())], vec![], true),
            ("ALB, nothing said, no node ports", &cluster, vec![ingress("alb", json!({}))], vec![], true),
            ("ALB to nodes", &node_port, vec![ingress("alb", json!({}))], vec![], false),
            ("ALB by an action", &cluster, vec![action], vec![], true),
            ("ALB by weights between its colours", &cluster, vec![by_weights], vec![], false),
            ("another controller's Ingress", &cluster, vec![ingress("nginx", json!({}))], vec![], false),
            ("a binding to pods", &cluster, vec![], vec![binding("ip")], true),
            ("a binding to nodes", &node_port, vec![], vec![binding("instance")], false),
        ] {
            assert_eq!(refusal(service, &ingresses, &bindings).is_some(), refused, "{what}");
        }
        let words = refusal(&cluster, &[ingress("alb", ip_ingress)], &[]).unwrap();
        assert!(words.contains("the load balancer of Ingress front") && words.contains("weights"), "{words}");
    }
}
