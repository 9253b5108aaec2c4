//! The coloured copies of what serves: Deployment, autoscaler, disruption budget, Service. Pure.
//!
//! A copy keeps what the team wrote and drops what another tool left to find its own objects by (Argo CD, Flux, Helm): a
//! copy that carried it would be taken for theirs, and pruned.

use portcullis_domain::action::Fence;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use serde_json::{Map, Value as Json, json};

use crate::client::Kind;
use crate::objects::{
    APPLICATION, COLOUR, CONTAINER, LEAST_BEFORE, MOST_BEFORE, OURS, SERVICE, annotation, coloured, own_container,
    set_digest,
};
use crate::weights::Way;

/// What begins the labels and annotations by which other tools know their objects.
const TRACKING: [&str; 8] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/",
    "argocd.argoproj.io/",
    "meta.helm.sh/",
    "helm.sh/",
    "helm.toolkit.fluxcd.io/",
    "kustomize.toolkit.fluxcd.io/",
    "objectset.rio.cattle.io/",
];
/// What begins the annotations of the AWS Load Balancer Controller.
const ALB: &str = "alb.ingress.kubernetes.io/";
/// Labels of the same use: Argo CD's default one, and who manages it.
const TRACKING_LABELS: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by"];

/// Whose copy is made, and of which colour.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    /// The target.
    pub target: &'a TargetId,
    /// The service.
    pub service: &'a ServiceName,
    /// The colour.
    pub colour: Colour,
}

/// Labels or annotations that are the team's own: none of ours, none by which another tool finds its objects.
pub(crate) fn kept(map: &Json, is_label: bool) -> Map<String, Json> {
    let drop = |key: &str| {
        key.starts_with(OURS)
            || TRACKING.iter().any(|prefix| key.starts_with(prefix))
            || is_label && TRACKING_LABELS.contains(&key)
    };
    let map = map.as_object().into_iter().flatten();
    map.filter(|(key, _)| !drop(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Copy<'_> {
    /// The labels of every object of ours.
    pub fn labels(&self) -> Map<String, Json> {
        let mut labels = Map::new();
        labels.insert(SERVICE.into(), self.service.as_str().into());
        labels.insert(APPLICATION.into(), self.target.app.as_str().into());
        labels.insert(COLOUR.into(), self.colour.to_string().into());
        labels
    }

    fn metadata(&self, source: &Json) -> Json {
        let mut labels = kept(&source["metadata"]["labels"], true);
        labels.extend(self.labels());
        labels.insert("app.kubernetes.io/managed-by".into(), "portcullis".into());
        let mut metadata = json!({
            "name": coloured(self.service, self.colour),
            "labels": labels,
            "annotations": kept(&source["metadata"]["annotations"], false),
        });
        if let Some(container) = annotation(source, CONTAINER) {
            metadata["annotations"][CONTAINER] = container.into();
        }
        metadata
    }

    /// The pods of this colour and this digest, as the source's are.
    ///
    /// # Errors
    /// Which of its containers is the service's is not known.
    pub fn template(&self, source: &Json, digest: &Digest) -> Result<Json, String> {
        let mut template = source["spec"]["template"].clone();
        let own = own_container(source, &template["spec"], self.service.as_str())?;
        set_digest(&mut template["spec"], own, digest);
        if let Some(metadata) = template["metadata"].as_object_mut() {
            metadata.remove("creationTimestamp");
        }
        for (key, value) in self.labels() {
            template["metadata"]["labels"][key] = value;
        }
        Ok(template)
    }

    /// The Deployment of this colour at rest: no replicas.
    ///
    /// # Errors
    /// Which of its containers is the service's is not known.
    pub fn deployment(&self, source: &Json, digest: &Digest) -> Result<Json, String> {
        let mut spec = source["spec"].clone();
        spec["replicas"] = 0.into();
        spec["template"] = self.template(source, digest)?;
        let mut matching = kept(&spec["selector"]["matchLabels"], false);
        matching.insert(SERVICE.into(), self.service.as_str().into());
        matching.insert(COLOUR.into(), self.colour.to_string().into());
        spec["selector"]["matchLabels"] = matching.into();
        if let Some(spec) = spec.as_object_mut() {
            // A copy of one that is paused would never come up.
            spec.remove("paused");
        }
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(source),
            "spec": spec,
        }))
    }

    /// The autoscaler of this colour, as the source's, pinned to at least so many replicas under a fence.
    pub fn autoscaler(&self, source: &Json, kind: &Kind, replicas: u32, fence: (&str, &Fence)) -> Json {
        let mut spec = source["spec"].clone();
        spec["scaleTargetRef"]["name"] = coloured(self.service, self.colour).into();
        let (least, most) = own_bounds(source);
        let mut metadata = self.metadata(source);
        metadata["annotations"][LEAST_BEFORE] = least.map_or_else(|| "none".to_owned(), |n| n.to_string()).into();
        metadata["annotations"][MOST_BEFORE] = most.to_string().into();
        metadata["annotations"][fence.0] = fence.1.to_string().into();
        let (low, high) = pinned(least, most, replicas);
        spec["minReplicas"] = low.into();
        spec["maxReplicas"] = high.into();
        let mut object = json!({ "metadata": metadata, "spec": spec });
        kind.mark(&mut object);
        object
    }

    /// The disruption budget of this colour; none where the source's is for both.
    pub fn budget(&self, source: &Json) -> Option<Json> {
        source["spec"]["selector"]["matchLabels"].get(COLOUR)?;
        let mut spec = source["spec"].clone();
        spec["selector"]["matchLabels"][COLOUR] = self.colour.to_string().into();
        Some(json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.metadata(source),
            "spec": spec,
        }))
    }

    /// The Service that only this colour answers on, inside the cluster. Nothing but the ports is as the source's: labels
    /// and annotations are what monitors, load balancers and name services go by, and they must not count it twice. Where
    /// a load balancer has weights between the colours, it is told how to reach and check each as it was told of the source.
    pub fn own_service(&self, source: &Json) -> Json {
        let mut selector = source["spec"]["selector"].clone();
        selector[COLOUR] = self.colour.to_string().into();
        let ports = source["spec"]["ports"].as_array().into_iter().flatten().map(|port| {
            let mut port = port.clone();
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
            port
        });
        let mut own = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": coloured(self.service, self.colour), "labels": self.labels() },
            "spec": { "type": "ClusterIP", "ports": ports.collect::<Vec<_>>(), "selector": selector },
        });
        if matches!(Way::of(source), Ok(Way::Ingress(_))) {
            let said = source["metadata"]["annotations"].as_object().into_iter().flatten();
            let said = said.filter(|(key, _)| key.starts_with(ALB));
            let mut said: Map<String, Json> = said.map(|(key, value)| (key.clone(), value.clone())).collect();
            // Without node ports there is no other; it need not be said of the source.
            said.insert(format!("{ALB}target-type"), "ip".into());
            own["metadata"]["annotations"] = said.into();
        }
        own
    }
}

/// The least and most replicas an autoscaler has by its owner's will, whatever ours is pinned to.
pub fn own_bounds(autoscaler: &Json) -> (Option<u32>, u32) {
    let number = |key: &str| autoscaler["spec"][key].as_u64().and_then(|n| u32::try_from(n).ok());
    let least = match annotation(autoscaler, LEAST_BEFORE) {
        Some("none") => None,
        Some(text) => text.parse().ok().or_else(|| number("minReplicas")),
        None => number("minReplicas"),
    };
    let most = annotation(autoscaler, MOST_BEFORE).and_then(|text| text.parse().ok());
    (least, most.or_else(|| number("maxReplicas")).unwrap_or(1))
}

/// What an autoscaler that must keep so many replicas is set to.
pub fn pinned(least: Option<u32>, most: u32, replicas: u32) -> (u32, u32) {
    let low = least.unwrap_or(1).max(replicas);
    (low, most.max(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::kinds;
    use crate::fake::{deployment, digest, service, target};

    fn green<'a>(target: &'a TargetId, service: &'a ServiceName) -> Copy<'a> {
        Copy { target, service, colour: Colour::Green }
    }

    #[test]
    fn a_copy_keeps_what_the_team_wrote_and_drops_what_other_tools_find_theirs_by() {
        let (target, service) = (target(), service());
        let mut source = deployment("web", None, 3, &digest(1));
        source["metadata"]["labels"] = json!({ "team": "shop", "app.kubernetes.io/instance": "shop-argo" });
        source["metadata"]["annotations"] = json!({
            "argocd.argoproj.io/tracking-id": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "portcullis.dev/fence.shop.production": "l/1/1", "example.com/keep": "yes",
        });
        source["spec"]["paused"] = true.into();
        let copy = green(&target, &service).deployment(&source, &digest(2)).unwrap();
        assert_eq!(copy["metadata"]["name"], "web-green");
        assert_eq!(copy["metadata"]["annotations"], json!({ "example.com/keep": "yes" }));
        assert_eq!(
            copy["metadata"]["labels"],
            json!({ "team": "shop", "app.kubernetes.io/managed-by": "portcullis", SERVICE: "web", APPLICATION: "shop",
                COLOUR: "green" })
        );
        assert_eq!(copy["spec"]["replicas"], 0);
        assert!(copy["spec"].get("paused").is_none() && copy.get("status").is_none());
        assert_eq!(copy["spec"]["selector"]["matchLabels"], json!({ "app": "web", SERVICE: "web", COLOUR: "green" }));
        let pods = &copy["spec"]["template"];
        assert_eq!(pods["metadata"]["labels"]["app"], "web");
        assert_eq!(pods["metadata"]["labels"][COLOUR], "green");
        assert_eq!(pods["spec"]["containers"][0]["image"], format!("registry/web@{}", digest(2)));
    }

    #[test]
    fn a_copy_of_blue_is_green_in_every_place() {
        let (target, service) = (target(), service());
        let blue = Copy { target: &target, service: &service, colour: Colour::Blue };
        let first = blue.deployment(&deployment("web", None, 3, &digest(1)), &digest(1)).unwrap();
        let copy = green(&target, &service).deployment(&first, &digest(2)).unwrap();
        assert!(!copy.to_string().contains("blue"), "{copy}");
    }

    #[test]
    fn an_autoscaler_is_pinned_and_remembers_its_owners_bounds() {
        let (target, service) = (target(), service());
        let fence: Fence = "l/1/7".parse().unwrap();
        let source = json!({ "metadata": { "name": "web" }, "spec": { "maxReplicas": 6,
            "scaleTargetRef": { "kind": "Deployment", "name": "web-blue" }, "metrics": [{ "type": "Resource" }] } });
        let copy = green(&target, &service).autoscaler(&source, &kinds::AUTOSCALERS, 8, ("portcullis.dev/f", &fence));
        assert_eq!((&copy["spec"]["minReplicas"], &copy["spec"]["maxReplicas"]), (&json!(8), &json!(8)));
        assert_eq!(copy["spec"]["scaleTargetRef"]["name"], "web-green");
        assert_eq!(own_bounds(&copy), (None, 6));
        // A copy of the copy has the owner's bounds still.
        let again = green(&target, &service).autoscaler(&copy, &kinds::AUTOSCALERS, 2, ("portcullis.dev/f", &fence));
        assert_eq!((&again["spec"]["minReplicas"], &again["spec"]["maxReplicas"]), (&json!(2), &json!(6)));
    }

    #[test]
    fn a_budget_for_both_colours_is_not_copied() {
        let (target, service) = (target(), service());
        let both = json!({ "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } } });
        assert_eq!(green(&target, &service).budget(&both), None);
        let blue =
            json!({ "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web", COLOUR: "blue" } } } });
        let copy = green(&target, &service).budget(&blue).unwrap();
        assert_eq!(copy["spec"]["selector"]["matchLabels"], json!({ "app": "web", COLOUR: "green" }));
    }

    #[test]
    fn a_colours_own_service_is_nobody_elses_business() {
        let (target, service) = (target(), service());
        let source = json!({
            "metadata": { "name": "web", "labels": { "monitor": "yes" }, "annotations": { "external-dns": "shop.example" } },
            "spec": { "type": "LoadBalancer", "clusterIP": "10.0.0.1", "selector": { "app": "web", COLOUR: "blue" },
                "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "nodePort": 31000 }] },
        });
        let own = green(&target, &service).own_service(&source);
        assert_eq!(
            own["spec"],
            json!({ "type": "ClusterIP", "selector": { "app": "web", COLOUR: "green" },
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] })
        );
        assert!(own["metadata"].get("annotations").is_none() && own["metadata"]["labels"].get("monitor").is_none());
    }

    #[test]
    fn a_load_balancer_checks_each_colour_as_it_checked_the_service() {
        let (target, service) = (target(), service());
        let source = json!({
            "metadata": { "name": "web", "annotations": { "portcullis.dev/traffic": "ingress/front",
                "alb.ingress.kubernetes.io/healthcheck-path": "/health", "external-dns": "shop.example" } },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
        });
        let own = green(&target, &service).own_service(&source);
        assert_eq!(
            own["metadata"]["annotations"],
            json!({ "alb.ingress.kubernetes.io/healthcheck-path": "/health", "alb.ingress.kubernetes.io/target-type": "ip" })
        );
    }
}
