//! The hash of what would be applied for a service: what a plan is bound to, so that configuration cannot change between an
//! approval and the switch unseen.
//!
//! It is of the live colour's Deployment, of the Service, autoscaler and disruption budget, and of the configuration they
//! name; without digest, replicas and colour, and without what the API server fills in, so that it is the same before and
//! after a switch and on another version of the cluster. A Secret counts by its uid and resource version: its content is
//! never read.

mod normal;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::digest::{Digest, FieldHasher};
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use portcullis_engine::ports::{Bundled, PortError, PortResult};
use serde_json::Value as Json;

use crate::bundle::Bundle;
use crate::client::{Client, Selector, kinds};
use crate::colour::Copy;
use crate::error::{ApiError, Why};
use crate::observe::{Picture, is_scaled_by, is_under, pictures};
use normal::{autoscaler, budget, deployment, front};

/// Configuration objects read at once.
const AT_ONCE: usize = 8;

/// The `ConfigMaps` and Secrets that a pod names, by kind and name.
fn configuration(pod: &Json) -> BTreeSet<(bool, String)> {
    let mut found = BTreeSet::new();
    let mut add = |secret: bool, name: &Json| {
        if let Some(name) = name.as_str() {
            found.insert((secret, name.to_owned()));
        }
    };
    let containers = ["initContainers", "containers"].map(|list| pod[list].as_array());
    for container in containers.into_iter().flatten().flatten() {
        for source in container["envFrom"].as_array().into_iter().flatten() {
            add(false, &source["configMapRef"]["name"]);
            add(true, &source["secretRef"]["name"]);
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            add(false, &variable["valueFrom"]["configMapKeyRef"]["name"]);
            add(true, &variable["valueFrom"]["secretKeyRef"]["name"]);
        }
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        add(false, &volume["configMap"]["name"]);
        add(true, &volume["secret"]["secretName"]);
        for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
            add(false, &source["configMap"]["name"]);
            add(true, &source["secret"]["name"]);
        }
    }
    found
}

/// JSON with its fields by name, whatever order they came in.
fn canonical(value: &Json, out: &mut Vec<u8>) {
    match value {
        Json::Object(fields) => {
            out.push(b'{');
            for (key, value) in fields.iter().collect::<BTreeMap<_, _>>() {
                out.extend(Json::from(key.as_str()).to_string().bytes());
                out.push(b':');
                canonical(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Json::Array(items) => {
            out.push(b'[');
            for item in items {
                canonical(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        scalar => out.extend(scalar.to_string().bytes()),
    }
}

fn field(hasher: &mut FieldHasher, value: &Json) {
    let mut bytes = Vec::new();
    canonical(value, &mut bytes);
    hasher.field(&bytes);
}

/// What a service's configuration counts as: per name a checksum; `absent`, or `not readable`.
type Checksums = BTreeMap<(bool, String), String>;

/// What the hashes of services are of.
struct Around {
    pictures: BTreeMap<ServiceName, Picture>,
    autoscalers: Vec<Json>,
    budgets: Vec<Json>,
    checksums: Checksums,
}

impl Around {
    async fn read(client: &Client, namespace: &str, services: &BTreeSet<ServiceName>) -> Result<Self, ApiError> {
        let everything = Selector::default();
        let (pictures, autoscalers, budgets) = tokio::join!(
            pictures(client, namespace, services),
            client.list(&kinds::AUTOSCALERS, Some(namespace), &everything),
            client.list(&kinds::BUDGETS, Some(namespace), &everything),
        );
        let (autoscalers, budgets) = (autoscalers?.items, budgets?.items);
        Ok(Self { pictures: pictures?, autoscalers, budgets, checksums: Checksums::new() })
    }

    /// What of configuration the Deployments name that serve.
    fn named(&self) -> impl Iterator<Item = (bool, String)> {
        self.pictures.values().filter_map(live).flat_map(|live| configuration(&live["spec"]["template"]["spec"]))
    }

    /// The Deployment that a new colour of a service would be made from.
    fn live(&self, service: &ServiceName) -> Option<&Json> {
        self.pictures.get(service).and_then(live)
    }

    /// The hash of one service if it is made from this, and sent to by that where it has no Service yet.
    fn hash(&self, service: &ServiceName, from: &Json, new_front: Option<&Json>) -> Digest {
        let first = |all: &'_ [Json], of: fn(&Json, &Json) -> bool, as_applied: fn(&Json) -> Json| {
            let found = self.live(service).and_then(|live| all.iter().find(|one| of(live, one)));
            found.map_or(Json::Null, as_applied)
        };
        let traffic = self.pictures.get(service).and_then(|picture| picture.traffic.as_ref()).or(new_front);
        let mut hasher = FieldHasher::new("portcullis kubernetes manifest 1");
        field(&mut hasher, &deployment(from, service));
        field(&mut hasher, &traffic.map_or(Json::Null, front));
        field(&mut hasher, &first(&self.autoscalers, is_scaled_by, autoscaler));
        field(&mut hasher, &first(&self.budgets, is_under, budget));
        for wanted in configuration(&from["spec"]["template"]["spec"]) {
            let (secret, name) = &wanted;
            hasher.number(u64::from(*secret)).field(name.as_bytes());
            hasher.field(self.checksums.get(&wanted).map_or("absent", String::as_str).as_bytes());
        }
        hasher.finish()
    }
}

/// The Deployment that a new colour would be made from.
fn live(picture: &Picture) -> Option<&Json> {
    let workload = picture.live().and_then(|colour| picture.workload(colour));
    workload.or(picture.blue.as_ref()).or(picture.green.as_ref()).map(|workload| &workload.object)
}

/// One configuration object's checksum.
async fn checksum(client: &Client, namespace: &str, secret: bool, name: &str) -> Result<String, ApiError> {
    let read = if secret {
        client.metadata(&kinds::SECRETS, namespace, name).await
    } else {
        client.get(&kinds::CONFIG_MAPS, namespace, name).await
    };
    Ok(match read {
        Ok(None) => "absent".into(),
        Ok(Some(object)) if secret => {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("uid"), text("resourceVersion"))
        }
        Ok(Some(object)) => {
            let mut bytes = Vec::new();
            canonical(&object["data"], &mut bytes);
            canonical(&object["binaryData"], &mut bytes);
            Digest::of(&bytes).to_string()
        }
        Err(error) if matches!(error.why, Why::Forbidden { .. }) => "not readable".into(),
        Err(error) => return Err(error),
    })
}

async fn checksums(client: &Client, namespace: &str, wanted: BTreeSet<(bool, String)>) -> Result<Checksums, ApiError> {
    let mut waiting = wanted.into_iter();
    let mut running = tokio::task::JoinSet::new();
    let mut found = Checksums::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((secret, name)) = waiting.next()
        {
            let (client, namespace) = (client.clone(), namespace.to_owned());
            running.spawn(async move {
                let checksum = checksum(&client, &namespace, secret, &name).await;
                checksum.map(|checksum| ((secret, name), checksum))
            });
        }
        match running.join_next().await {
            None => return Ok(found),
            Some(Ok(one)) => found.extend([one?]),
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// The hash of each service that has a Deployment.
///
/// # Errors
/// What would be hashed cannot be read. A Secret or a `ConfigMap` that may not be read counts as such, and no more.
pub async fn manifests(
    client: &Client,
    namespace: &str,
    services: &BTreeSet<ServiceName>,
) -> Result<BTreeMap<ServiceName, Digest>, ApiError> {
    let mut around = Around::read(client, namespace, services).await?;
    around.checksums = checksums(client, namespace, around.named().collect()).await?;
    let hash = |service: &ServiceName| Some((service.clone(), around.hash(service, around.live(service)?, None)));
    Ok(services.iter().filter_map(hash).collect())
}

/// What given manifests come to: the API server is asked what it would make of each, and makes nothing.
///
/// # Errors
/// One of them would not be what runs, or the API server refuses it; what would be hashed cannot be read.
pub async fn bundled(
    client: &Client,
    target: &TargetId,
    namespace: &str,
    given: &BTreeMap<ServiceName, Bundle>,
) -> PortResult<BTreeMap<ServiceName, Bundled>> {
    let mut around = Around::read(client, namespace, &given.keys().cloned().collect()).await?;
    let mut made = BTreeMap::new();
    for (service, bundle) in given {
        let wrong = |found: String| PortError::new(format!("reading the manifests given for {service}"), found);
        let front = around.pictures.get(service).and_then(|picture| picture.traffic.as_ref());
        let from = bundle.over(service, around.live(service), front).map_err(wrong)?;
        let copy = Copy { target, service, colour: Colour::Green };
        let mut probe = copy.deployment(&from, &Digest::of(service.as_str().as_bytes())).map_err(wrong)?;
        probe["metadata"]["name"] = format!("{service}-given").into();
        let stored = match client.would_create(&kinds::DEPLOYMENTS, namespace, &probe).await {
            Ok(stored) => stored,
            // Where nothing may be made there is nobody to ask.
            Err(error) if matches!(error.why, Why::Forbidden { .. }) => probe,
            Err(error) => return Err(wrong(error.to_string())),
        };
        // As it would be stored; of whose colour it is does not count.
        let mut from = from;
        from["spec"]["template"] = stored["spec"]["template"].clone();
        made.insert(service, from);
    }
    let named = made.values().flat_map(|from| configuration(&from["spec"]["template"]["spec"]));
    around.checksums = checksums(client, namespace, named.chain(around.named()).collect()).await?;
    let bundled = made.into_iter().map(|(service, from)| {
        let front = given.get(service).and_then(|given| given.service.as_ref());
        // Of a service that is there the Service stays as it is.
        let hash = around.hash(service, &from, front.filter(|_| around.live(service).is_none()));
        let differs = around.live(service).is_none_or(|live| around.hash(service, live, None) != hash);
        (service.clone(), Bundled { hash, differs, serves: front.is_some() })
    });
    Ok(bundled.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake::{deployment as plain, digest, service, target};
    use crate::observe::Workload;

    fn hashed(picture: &Picture, autoscalers: &[Json]) -> Option<Digest> {
        hashed_with(picture, autoscalers, Checksums::new())
    }

    fn hashed_with(picture: &Picture, autoscalers: &[Json], checksums: Checksums) -> Option<Digest> {
        let (pictures, autoscalers) = (BTreeMap::from([(service(), picture.clone())]), autoscalers.to_vec());
        let around = Around { pictures, autoscalers, budgets: Vec::new(), checksums };
        Some(around.hash(&service(), around.live(&service())?, None))
    }

    fn of(object: Json) -> Picture {
        let plain = object["metadata"]["name"] == "web";
        Picture { blue: Some(Workload { object, plain }), ..Picture::default() }
    }

    #[test]
    fn a_hash_is_the_same_for_every_digest_colour_and_number_of_replicas() {
        let (target, service) = (target(), service());
        let mut first = plain("web", None, 3, &digest(1));
        first["metadata"]["labels"] = json!({ "team": "shop", "app.kubernetes.io/managed-by": "Helm" });
        first["metadata"]["annotations"] = json!({ "argocd.argoproj.io/tracking-id": "x", "example.com/own": "1" });
        let copy = Copy { target: &target, service: &service, colour: Colour::Blue };
        let blue = copy.deployment(&first, &digest(2)).unwrap();
        let copy = Copy { target: &target, service: &service, colour: Colour::Green };
        let green = copy.deployment(&blue, &digest(3)).unwrap();
        let hash = hashed(&of(first.clone()), &[]).unwrap();
        assert_eq!(hashed(&of(blue), &[]), Some(hash));
        let picture = Picture { green: Some(Workload { object: green, plain: false }), ..Picture::default() };
        assert_eq!(hashed(&picture, &[]), Some(hash));
        let mut changed = first;
        changed["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "A", "value": "1" }]);
        assert_ne!(hashed(&of(changed), &[]), Some(hash));
        assert_eq!(hashed(&Picture::default(), &[]), None);
    }

    #[test]
    fn what_the_api_server_fills_in_does_not_count() {
        let image = format!("registry/web@{}", digest(1));
        let asked = json!({ "metadata": { "name": "web" }, "spec": { "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": {
                "containers": [{ "name": "web", "image": image, "ports": [{ "containerPort": 80 }],
                    "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }],
                    "readinessProbe": { "httpGet": { "path": "/", "port": 80 } } }],
                "volumes": [{ "name": "c", "configMap": { "name": "c" } }] } } } });
        let mut stored = asked.clone();
        stored["metadata"] = json!({ "name": "web", "uid": "u", "resourceVersion": "7", "generation": 2,
            "annotations": { "deployment.kubernetes.io/revision": "3" }, "managedFields": [{}] });
        stored["status"] = json!({ "replicas": 3 });
        stored["spec"]["replicas"] = 3.into();
        stored["spec"]["revisionHistoryLimit"] = 10.into();
        stored["spec"]["progressDeadlineSeconds"] = 600.into();
        stored["spec"]["strategy"] =
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } });
        let pod = &mut stored["spec"]["template"]["spec"];
        pod["restartPolicy"] = "Always".into();
        pod["dnsPolicy"] = "ClusterFirst".into();
        pod["schedulerName"] = "default-scheduler".into();
        pod["terminationGracePeriodSeconds"] = 30.into();
        pod["securityContext"] = json!({});
        pod["volumes"][0]["configMap"]["defaultMode"] = 420.into();
        let container = &mut pod["containers"][0];
        container["imagePullPolicy"] = "IfNotPresent".into();
        container["terminationMessagePath"] = "/dev/termination-log".into();
        container["terminationMessagePolicy"] = "File".into();
        container["resources"] = json!({});
        container["ports"][0]["protocol"] = "TCP".into();
        container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1".into();
        container["readinessProbe"] = json!({ "httpGet": { "path": "/", "port": 80, "scheme": "HTTP" },
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3 });
        assert_eq!(deployment(&stored, &service()), deployment(&asked, &service()));
    }

    #[test]
    fn a_pinned_autoscaler_counts_as_its_owner_wrote_it() {
        let object = plain("web", None, 3, &digest(1));
        let own = json!({ "spec": { "minReplicas": 2, "maxReplicas": 6, "scaleTargetRef": { "kind": "Deployment", "name": "web" } } });
        let mut pinned = own.clone();
        pinned["spec"]["minReplicas"] = 8.into();
        pinned["spec"]["maxReplicas"] = 8.into();
        pinned["metadata"] = json!({ "annotations": {
            "portcullis.dev/min-replicas": "2", "portcullis.dev/max-replicas": "6" } });
        let picture = of(object);
        assert_eq!(hashed(&picture, std::slice::from_ref(&own)), hashed(&picture, &[pinned]));
        let mut other = own.clone();
        other["spec"]["maxReplicas"] = 7.into();
        assert_ne!(hashed(&picture, &[own]), hashed(&picture, &[other]));
    }

    #[test]
    fn configuration_is_found_wherever_a_pod_names_it() {
        let pod = json!({
            "initContainers": [{ "envFrom": [{ "configMapRef": { "name": "a" } }, { "secretRef": { "name": "b" } }] }],
            "containers": [{ "env": [
                { "valueFrom": { "configMapKeyRef": { "name": "c" } } }, { "valueFrom": { "secretKeyRef": { "name": "d" } } }] }],
            "volumes": [{ "configMap": { "name": "e" } }, { "secret": { "secretName": "f" } },
                { "projected": { "sources": [{ "configMap": { "name": "g" } }, { "secret": { "name": "h" } }] } }],
        });
        let expected = [
            ("a", false),
            ("b", true),
            ("c", false),
            ("d", true),
            ("e", false),
            ("f", true),
            ("g", false),
            ("h", true),
        ];
        let expected: BTreeSet<_> = expected.into_iter().map(|(name, secret)| (secret, name.to_owned())).collect();
        assert_eq!(configuration(&pod), expected);
    }

    #[test]
    fn configuration_that_changes_changes_the_hash() {
        let mut object = plain("web", None, 3, &digest(1));
        object["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([{ "configMapRef": { "name": "c" } }]);
        let picture = of(object);
        let with = |checksum: &str| {
            hashed_with(&picture, &[], Checksums::from([((false, "c".to_owned()), checksum.to_owned())]))
        };
        assert_eq!(with("1"), with("1"));
        assert_ne!(with("1"), with("2"));
    }
}
