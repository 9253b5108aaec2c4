//! An object without what only its own cluster can say, so that `kubectl apply -f` accepts it anywhere.
//!
//! Each rule names what it takes away and why. What they take away is also what may differ between a backup and what
//! was restored from it.

use serde_json::{Map, Value as Json};

use super::object::{annotation, at, at_mut, group, kind, list, text};

/// One thing that is taken away.
pub struct Rule {
    /// Of which kinds: group and kind; none = of every kind.
    pub of: Option<(&'static str, &'static str)>,
    /// What is taken away.
    pub removes: &'static str,
    /// Why nothing is lost by it.
    pub because: &'static str,
    apply: fn(&mut Json),
}

/// Every rule, in the order in which they are applied.
pub const RULES: [Rule; 16] = [
    Rule {
        of: None,
        removes: "status, and fields without a value",
        because: "what a controller last saw is no wish",
        apply: without_status,
    },
    Rule {
        of: None,
        removes: "metadata: uid, resourceVersion, generation, creationTimestamp, selfLink, managedFields, generateName, \
                  deletionTimestamp, deletionGracePeriodSeconds",
        because: "the API server writes them",
        apply: without_identity,
    },
    Rule {
        of: None,
        removes: "metadata.ownerReferences",
        because: "they name the owner by its uid, which is another one after a restore: the garbage collector would \
                  delete the object",
        apply: |object| drop_in(object, "/metadata", &["ownerReferences"]),
    },
    Rule {
        of: None,
        removes: "metadata.finalizers",
        because: "each controller adds its own again; where it is not installed, the object could never be deleted",
        apply: |object| drop_in(object, "/metadata", &["finalizers"]),
    },
    Rule {
        of: None,
        removes: "annotations that tools and controllers keep their own state in: last-applied-configuration, \
                  deployment.kubernetes.io/*, leader election, autoscaling.alpha.kubernetes.io/*, limit-ranger",
        because: "they repeat the object as it was for somebody else, with the values of Secrets",
        apply: without_state_annotations,
    },
    Rule {
        of: None,
        removes: "annotations portcullis.dev/fence.*",
        because: "an old fence on an object says that a later write was never made",
        apply: |object| drop_annotations(object, |key| key.starts_with("portcullis.dev/fence.")),
    },
    Rule {
        of: Some(("", "Service")),
        removes: "spec: clusterIP and clusterIPs (but for None), ipFamilies, healthCheckNodePort, the ports' nodePort",
        because: "they are the cluster's: taken there by another Service, or outside its range",
        apply: service,
    },
    Rule {
        of: Some(("", "Pod")),
        removes: "spec: nodeName, serviceAccount, priority, preemptionPolicy, overhead, ephemeralContainers, the volume \
                  of the service account's token with its mounts",
        because: "scheduler and admission write them, and refuse other values than their own",
        apply: pod,
    },
    Rule {
        of: Some(("", "ServiceAccount")),
        removes: "secrets that are its generated tokens: NAME-token-xxxxx, NAME-dockercfg-xxxxx",
        because: "they are not in the backup, and made again",
        apply: service_account,
    },
    Rule {
        of: Some(("", "PersistentVolumeClaim")),
        removes: "spec.volumeName if the cluster chose it, and the annotations of binding and provisioning",
        because: "the volume is another cluster's; a volume that a person named is kept",
        apply: claim,
    },
    Rule {
        of: Some(("batch", "Job")),
        removes: "the generated spec.selector and the labels controller-uid and job-name, unless manualSelector",
        because: "they hold the Job's uid, and another one is refused",
        apply: job,
    },
    Rule {
        of: Some(("apps", "Deployment")),
        removes: "the template's metadata without content",
        because: "a creation time in a template means nothing",
        apply: template,
    },
    Rule {
        of: Some(("apps", "StatefulSet")),
        removes: "the status of its volume claim templates",
        because: "a template has none",
        apply: stateful,
    },
    Rule {
        of: Some(("apps", "ReplicaSet")),
        removes: "the label and selector pod-template-hash",
        because: "its Deployment gave it; on its own it keeps every other label",
        apply: replica_set,
    },
    Rule {
        of: Some(("networking.k8s.io", "Ingress")),
        removes: "the annotation kubernetes.io/ingress.class where ingressClassName says the same",
        because: "a cluster refuses an Ingress that is created with both",
        apply: ingress,
    },
    Rule {
        of: None,
        removes: "labels and annotations that are empty by now",
        because: "they say nothing",
        apply: without_empty_maps,
    },
];

/// Takes away what only its own cluster can say.
pub fn clean(object: &mut Json) {
    let is_of = |object: &Json, (of_group, of_kind)| of_group == group(object) && of_kind == kind(object);
    let concerns = RULES.each_ref().map(|rule| rule.of.is_none_or(|of| is_of(object, of)));
    for (rule, _) in RULES.iter().zip(concerns).filter(|(_, concerns)| *concerns) {
        (rule.apply)(object);
    }
}

/// A cleaned copy.
#[must_use]
pub fn cleaned(object: &Json) -> Json {
    let mut copy = object.clone();
    clean(&mut copy);
    copy
}

fn fields<'a>(object: &'a mut Json, path: &str) -> Option<&'a mut Map<String, Json>> {
    at_mut(object, path)?.as_object_mut()
}

fn drop_in(object: &mut Json, path: &str, keys: &[&str]) {
    if let Some(fields) = fields(object, path) {
        for key in keys {
            fields.remove(*key);
        }
    }
}

fn drop_annotations(object: &mut Json, is: impl Fn(&str) -> bool) {
    if let Some(annotations) = fields(object, "/metadata/annotations") {
        annotations.retain(|key, _| !is(key));
    }
}

fn without_status(object: &mut Json) {
    drop_in(object, "", &["status"]);
    // An API server leaves out what has no value but in templates; a null in an apply means "remove".
    without_nulls(object);
}

fn without_nulls(value: &mut Json) {
    match value {
        Json::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Json::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn without_identity(object: &mut Json) {
    let keys = [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "selfLink",
        "managedFields",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    drop_in(object, "/metadata", &keys);
}

fn without_state_annotations(object: &mut Json) {
    drop_annotations(object, |key| {
        key == "kubectl.kubernetes.io/last-applied-configuration"
            || key == "control-plane.alpha.kubernetes.io/leader"
            || key == "kubernetes.io/limit-ranger"
            || key.starts_with("deployment.kubernetes.io/")
            || key.starts_with("autoscaling.alpha.kubernetes.io/")
            || key.starts_with("endpoints.kubernetes.io/")
    });
}

fn without_empty_maps(object: &mut Json) {
    if let Some(metadata) = fields(object, "/metadata") {
        for key in ["labels", "annotations"] {
            if metadata.get(key).and_then(Json::as_object).is_some_and(Map::is_empty) {
                metadata.remove(key);
            }
        }
    }
}

fn service(object: &mut Json) {
    let headless = text(object, "/spec/clusterIP") == "None";
    drop_in(object, "/spec", &["clusterIPs", "ipFamilies", "healthCheckNodePort"]);
    if !headless {
        drop_in(object, "/spec", &["clusterIP"]);
    }
    if let Some(ports) = at_mut(object, "/spec/ports").and_then(Json::as_array_mut) {
        for port in ports.iter_mut().filter_map(Json::as_object_mut) {
            port.remove("nodePort");
        }
    }
}

/// Where the token of its service account is mounted in every container.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn pod(object: &mut Json) {
    let tokens: Vec<String> = list(object, "/spec/volumes")
        .iter()
        .map(|volume| text(volume, "/name"))
        .filter(|name| {
            name.starts_with("kube-api-access-") || is_token_of(name, text(object, "/spec/serviceAccountName"))
        })
        .map(str::to_owned)
        .collect();
    let is_token = |name: &str| tokens.iter().any(|token| token == name);
    drop_in(
        object,
        "/spec",
        &["nodeName", "serviceAccount", "priority", "preemptionPolicy", "overhead", "ephemeralContainers"],
    );
    if let Some(volumes) = at_mut(object, "/spec/volumes").and_then(Json::as_array_mut) {
        volumes.retain(|volume| !is_token(text(volume, "/name")));
    }
    for containers in ["/spec/containers", "/spec/initContainers"] {
        for container in at_mut(object, containers).and_then(Json::as_array_mut).into_iter().flatten() {
            if let Some(mounts) = at_mut(container, "/volumeMounts").and_then(Json::as_array_mut) {
                mounts.retain(|mount| !(is_token(text(mount, "/name")) && text(mount, "/mountPath") == TOKEN_PATH));
            }
        }
    }
}

fn is_token_of(name: &str, account: &str) -> bool {
    ["token", "dockercfg"].iter().any(|what| {
        let suffix = name.strip_prefix(account).and_then(|rest| rest.strip_prefix(&format!("-{what}-")));
        !account.is_empty()
            && suffix.is_some_and(|s| s.len() == 5 && s.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()))
    })
}

fn service_account(object: &mut Json) {
    let account = super::object::name(object).to_owned();
    for key in ["secrets", "imagePullSecrets"] {
        let Some(secrets) = object.get_mut(key).and_then(Json::as_array_mut) else { continue };
        secrets.retain(|secret| !is_token_of(text(secret, "/name"), &account));
        if secrets.is_empty() {
            drop_in(object, "", &[key]);
        }
    }
}

fn claim(object: &mut Json) {
    // Its absence on a bound claim means that a person named the volume (Kubernetes, `AnnBoundByController`).
    if annotation(object, "pv.kubernetes.io/bound-by-controller").is_some() {
        drop_in(object, "/spec", &["volumeName"]);
    }
    drop_annotations(object, |key| {
        matches!(
            key,
            "pv.kubernetes.io/bind-completed"
                | "pv.kubernetes.io/bound-by-controller"
                | "volume.kubernetes.io/selected-node"
                | "volume.kubernetes.io/storage-provisioner"
                | "volume.beta.kubernetes.io/storage-provisioner"
                | "volume.kubernetes.io/storage-resizer"
        )
    });
}

const JOB_LABELS: [&str; 4] =
    ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];

fn job(object: &mut Json) {
    if at(object, "/spec/manualSelector") == Some(&Json::Bool(true)) {
        return;
    }
    drop_in(object, "/spec", &["selector"]);
    drop_in(object, "/spec/template/metadata/labels", &JOB_LABELS);
    drop_in(object, "/metadata/labels", &JOB_LABELS);
}

fn template(object: &mut Json) {
    if at(object, "/spec/template/metadata").and_then(Json::as_object).is_some_and(Map::is_empty) {
        drop_in(object, "/spec/template", &["metadata"]);
    }
}

fn stateful(object: &mut Json) {
    for claim in at_mut(object, "/spec/volumeClaimTemplates").and_then(Json::as_array_mut).into_iter().flatten() {
        drop_in(claim, "", &["status"]);
    }
}

fn replica_set(object: &mut Json) {
    for pointer in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        drop_in(object, pointer, &["pod-template-hash"]);
    }
}

fn ingress(object: &mut Json) {
    let class = text(object, "/spec/ingressClassName").to_owned();
    if !class.is_empty() {
        drop_annotations(object, |key| key == "kubernetes.io/ingress.class");
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::super::yaml_write::yaml;
    use super::*;

    fn cleaned_yaml(object: &Json) -> String {
        yaml(&cleaned(object))
    }

    #[test]
    fn a_service_keeps_its_wish_and_loses_what_the_cluster_gave_it() {
        let service = |cluster_ip: &str| {
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {
                    "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "creationTimestamp": "x",
                    "managedFields": [{}], "finalizers": ["service.k8s.aws/resources"],
                    "ownerReferences": [{ "uid": "x" }],
                    "annotations": {
                        "kubectl.kubernetes.io/last-applied-configuration": "{}",
                        "portcullis.dev/fence.shop.production": "l/1/7",
                        "portcullis.dev/adopted": "yes",
                    },
                },
                "spec": {
                    "type": "LoadBalancer", "clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ipFamilies": ["IPv4"],
                    "ipFamilyPolicy": "SingleStack", "healthCheckNodePort": 31000, "selector": { "app": "web" },
                    "ports": [{ "name": "http", "port": 80, "nodePort": 30080, "targetPort": "http", "protocol": "TCP" }],
                },
                "status": { "loadBalancer": {} },
            })
        };
        assert_snapshot!(cleaned_yaml(&service("10.0.0.7")), @r#"
        apiVersion: v1
        kind: Service
        metadata:
          annotations:
            portcullis.dev/adopted: "yes"
          name: web
          namespace: shop
        spec:
          ipFamilyPolicy: SingleStack
          ports:
          - name: http
            port: 80
            protocol: TCP
            targetPort: http
          selector:
            app: web
          type: LoadBalancer
        "#);
        assert_eq!(cleaned(&service("None"))["spec"]["clusterIP"], "None", "headless is a wish");
    }

    #[test]
    fn a_pod_of_its_own_can_be_scheduled_anywhere() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "shell" },
            "spec": {
                "nodeName": "ip-10-0-1-7", "serviceAccount": "ops", "serviceAccountName": "ops", "priority": 0,
                "preemptionPolicy": "PreemptLowerPriority", "overhead": {}, "ephemeralContainers": [{}],
                "containers": [{ "name": "sh", "image": "busybox", "volumeMounts": [
                    { "name": "data", "mountPath": "/data" },
                    { "name": "kube-api-access-x2l7q", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" },
                ] }],
                "volumes": [{ "name": "data", "emptyDir": {} }, { "name": "kube-api-access-x2l7q", "projected": {} },
                    { "name": "ops-token-abcde", "secret": {} }],
            },
        });
        assert_snapshot!(cleaned_yaml(&pod), @r"
        apiVersion: v1
        kind: Pod
        metadata:
          name: shell
        spec:
          containers:
          - image: busybox
            name: sh
            volumeMounts:
            - mountPath: /data
              name: data
          serviceAccountName: ops
          volumes:
          - emptyDir: {}
            name: data
        ");
    }

    #[test]
    fn a_claim_loses_the_volume_that_the_cluster_chose_and_keeps_the_one_a_person_named() {
        let claim = |annotations: Json| {
            json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": "data", "annotations": annotations }, "spec": { "volumeName": "pv-1" } })
        };
        let chosen = cleaned(&claim(
            json!({ "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes" }),
        ));
        assert_eq!(chosen["spec"], json!({}));
        assert!(chosen["metadata"].get("annotations").is_none());
        let named = cleaned(&claim(json!({ "pv.kubernetes.io/bind-completed": "yes" })));
        assert_eq!(named["spec"]["volumeName"], "pv-1");
    }

    #[test]
    fn a_job_loses_its_generated_selector_unless_a_person_wrote_it() {
        let job = |manual: bool| {
            json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "j", "labels": { "job-name": "j" } },
                "spec": { "manualSelector": manual, "selector": { "matchLabels": { "controller-uid": "u" } },
                    "template": { "metadata": { "labels": { "batch.kubernetes.io/controller-uid": "u", "team": "a" } } } } })
        };
        let cleaned_job = cleaned(&job(false));
        assert!(cleaned_job["spec"].get("selector").is_none() && cleaned_job["metadata"].get("labels").is_none());
        assert_eq!(cleaned_job["spec"]["template"]["metadata"]["labels"], json!({ "team": "a" }));
        assert!(cleaned(&job(true))["spec"].get("selector").is_some());
    }

    #[test]
    fn only_generated_tokens_leave_a_service_account() {
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "ops" },
            "secrets": [{ "name": "ops-token-x2l7q" }], "imagePullSecrets": [{ "name": "ops-dockercfg-abcde" }, { "name": "ops-token-by-hand" }] });
        let account = cleaned(&account);
        assert!(account.get("secrets").is_none());
        assert_eq!(account["imagePullSecrets"], json!([{ "name": "ops-token-by-hand" }]));
    }

    #[test]
    fn cleaning_twice_is_cleaning_once_and_every_rule_says_why() {
        let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "web", "labels": {}, "annotations": { "deployment.kubernetes.io/revision": "7", "kubernetes.io/limit-ranger": "x" } },
            "spec": { "replicas": 3, "template": { "metadata": { "creationTimestamp": null }, "spec": {} } }, "status": {} });
        let once = cleaned(&object);
        assert_eq!(
            once,
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": { "replicas": 3, "template": { "spec": {} } } })
        );
        assert_eq!(cleaned(&once), once);
        assert!(RULES.iter().all(|rule| rule.removes.len() > 5 && rule.because.len() > 5));
    }
}
