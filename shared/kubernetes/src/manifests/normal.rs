//! Objects as they would be applied: without colour, digest, replicas, and what the API server fills in. Pure.

use portcullis_domain::names::ServiceName;
use serde_json::Value as Json;

use crate::colour::{kept, own_bounds};
use crate::objects::{OURS, own_container, repository_in};

/// Metadata that counts: what the team wrote. What another tool finds its objects by is not on a coloured copy, and
/// changes nothing of what runs.
fn metadata(object: &Json) -> Json {
    serde_json::json!({
        "labels": kept(&object["metadata"]["labels"], true),
        "annotations": kept(&object["metadata"]["annotations"], false),
    })
}

/// Drops a field that has the value which the API server fills in.
fn drop_default(object: &mut Json, key: &str, default: &Json) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(key).is_some_and(|value| value == default || value.is_null())
    {
        fields.remove(key);
    }
}

fn drop_field(object: &mut Json, key: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(key);
    }
}

/// The API's defaults (Kubernetes API reference; `pkg/apis/*/v1/defaults.go` is where the server has them).
fn without_pod_defaults(pod: &mut Json) {
    for (key, default) in [
        ("restartPolicy", "Always".into()),
        ("dnsPolicy", "ClusterFirst".into()),
        ("schedulerName", "default-scheduler".into()),
        ("terminationGracePeriodSeconds", Json::from(30)),
        ("securityContext", serde_json::json!({})),
        ("enableServiceLinks", true.into()),
        ("serviceAccountName", "default".into()),
        ("serviceAccount", "default".into()),
    ] {
        drop_default(pod, key, &default);
    }
    // The old name of the same field.
    drop_field(pod, "serviceAccount");
    for list in ["initContainers", "containers"] {
        for container in pod[list].as_array_mut().into_iter().flatten() {
            without_container_defaults(container);
        }
    }
    for volume in pod["volumes"].as_array_mut().into_iter().flatten() {
        for kind in ["configMap", "secret", "projected", "downwardAPI"] {
            drop_default(&mut volume[kind], "defaultMode", &420.into());
            if volume[kind].is_null() {
                drop_field(volume, kind);
            }
        }
    }
}

fn without_container_defaults(container: &mut Json) {
    let pulled =
        container["image"].as_str().is_some_and(|image| image.ends_with(":latest") || !image.contains([':', '@']));
    drop_default(container, "imagePullPolicy", &if pulled { "Always" } else { "IfNotPresent" }.into());
    drop_default(container, "terminationMessagePath", &"/dev/termination-log".into());
    drop_default(container, "terminationMessagePolicy", &"File".into());
    drop_default(container, "resources", &serde_json::json!({}));
    for port in container["ports"].as_array_mut().into_iter().flatten() {
        drop_default(port, "protocol", &"TCP".into());
    }
    for variable in container["env"].as_array_mut().into_iter().flatten() {
        if variable["valueFrom"]["fieldRef"].is_object() {
            drop_default(&mut variable["valueFrom"]["fieldRef"], "apiVersion", &"v1".into());
        }
    }
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if !container[probe].is_object() {
            drop_field(container, probe);
            continue;
        }
        let probe = &mut container[probe];
        for (key, default) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            drop_default(probe, key, &default.into());
        }
        if probe["httpGet"].is_object() {
            drop_default(&mut probe["httpGet"], "scheme", &"HTTP".into());
        }
        drop_default(probe, "httpGet", &Json::Null);
    }
    for list in ["ports", "env"] {
        drop_default(container, list, &Json::Null);
    }
}

fn without_ours(labels: &mut Json) {
    if let Some(labels) = labels.as_object_mut() {
        labels.retain(|key, _| !key.starts_with(OURS));
    }
}

/// A Deployment as it would be applied, of no colour, with its image's repository only.
pub(super) fn deployment(object: &Json, service: &ServiceName) -> Json {
    let mut spec = object["spec"].clone();
    for key in ["replicas", "paused"] {
        drop_field(&mut spec, key);
    }
    drop_default(&mut spec, "revisionHistoryLimit", &10.into());
    drop_default(&mut spec, "progressDeadlineSeconds", &600.into());
    let strategy =
        serde_json::json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } });
    drop_default(&mut spec, "strategy", &strategy);
    without_ours(&mut spec["selector"]["matchLabels"]);
    without_ours(&mut spec["template"]["metadata"]["labels"]);
    drop_field(&mut spec["template"]["metadata"], "creationTimestamp");
    let template = &mut spec["template"]["spec"];
    // Before the image loses its tag: the default of a pull policy goes by it.
    let own = own_container(object, template, service.as_str()).ok();
    let repository =
        own.and_then(|own| template["containers"][own]["image"].as_str()).map(repository_in).map(str::to_owned);
    if let Some(repository) = &repository {
        for list in ["initContainers", "containers"] {
            for container in template[list].as_array_mut().into_iter().flatten() {
                if container["image"].as_str().is_some_and(|image| repository_in(image) == repository) {
                    // By digest, as it will be deployed.
                    container["image"] = format!("{repository}@").into();
                }
            }
        }
    }
    without_pod_defaults(template);
    serde_json::json!({ "metadata": metadata(object), "spec": spec })
}

/// A Service as it would be applied, of no colour, without the addresses that it was given.
pub(super) fn front(object: &Json) -> Json {
    let mut spec = object["spec"].clone();
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
        drop_field(&mut spec, key);
    }
    drop_default(&mut spec, "type", &"ClusterIP".into());
    drop_default(&mut spec, "sessionAffinity", &"None".into());
    drop_default(&mut spec, "internalTrafficPolicy", &"Cluster".into());
    drop_default(&mut spec, "externalTrafficPolicy", &"Cluster".into());
    drop_default(&mut spec, "allocateLoadBalancerNodePorts", &true.into());
    without_ours(&mut spec["selector"]);
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        drop_field(port, "nodePort");
        drop_default(port, "protocol", &"TCP".into());
        let same = port["port"].clone();
        drop_default(port, "targetPort", &same);
    }
    serde_json::json!({ "metadata": metadata(object), "spec": spec })
}

/// An autoscaler by its owner's bounds, whatever it is pinned to.
pub(super) fn autoscaler(object: &Json) -> Json {
    let (least, most) = own_bounds(object);
    let mut spec = object["spec"].clone();
    spec["minReplicas"] = least.unwrap_or(1).into();
    spec["maxReplicas"] = most.into();
    drop_field(&mut spec, "scaleTargetRef");
    spec
}

pub(super) fn budget(object: &Json) -> Json {
    let mut spec = object["spec"].clone();
    without_ours(&mut spec["selector"]["matchLabels"]);
    spec
}
