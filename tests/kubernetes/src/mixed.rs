//! A namespace full of objects of many kinds, as a team's namespace is: for backups.

use portcullis_kubernetes::backup::Wanted;
use portcullis_kubernetes::backup::seal::PrivateKeys;
use portcullis_kubernetes::client::{Client, ClientOptions, Kind, kinds};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cluster::Namespace;

/// Requests at once.
const AT_ONCE: usize = 16;

const fn kind(group: &'static str, plural: &'static str, kind: &'static str) -> Kind {
    Kind { group, version: "v1", plural, kind, namespaced: true }
}

const ACCOUNTS: Kind = kind("", "serviceaccounts", "ServiceAccount");
const ROLES: Kind = kind("rbac.authorization.k8s.io", "roles", "Role");
const BINDINGS: Kind = kind("rbac.authorization.k8s.io", "rolebindings", "RoleBinding");
const NETWORK_POLICIES: Kind = kind("networking.k8s.io", "networkpolicies", "NetworkPolicy");

/// Of twenty objects, so many are of each kind.
const SHARES: [(Kind, usize); 11] = [
    (kinds::CONFIG_MAPS, 6),
    (kinds::SECRETS, 2),
    (kinds::SERVICES, 3),
    (kinds::DEPLOYMENTS, 2),
    (ACCOUNTS, 1),
    (ROLES, 1),
    (BINDINGS, 1),
    (NETWORK_POLICIES, 1),
    (kinds::BUDGETS, 1),
    (kinds::CRON_JOBS, 1),
    (kinds::INGRESSES, 1),
];

/// The value of every Secret.
pub const SECRET: &str = "aHVudGVyMg==";
/// The private key of the backups that tests take.
pub const PRIVATE_KEY: &str = "AGE-SECRET-KEY-1P5ZD2GVSJ79CX5YJQL9FFG9RTK0MWSPMP3Q0RG8JCLKZ00H0MGZSVMVF7U";

/// It, as it opens them.
///
/// # Panics
/// Never: it is one.
pub fn keys() -> PrivateKeys {
    PrivateKeys::read(&SecretString::from(PRIVATE_KEY)).expect("it is a private key")
}

/// A backup of all, Secrets encrypted to the tests' key.
pub fn wanted() -> Wanted {
    Wanted { secrets: keys().recipients().pop() }
}

/// A client that is not paced: setting a scene is not what is measured.
pub fn unpaced(namespace: &Namespace<'_>) -> Client {
    let options = ClientOptions { per_second: 100_000, burst: 100_000, ..ClientOptions::default() };
    Client::from_kube(namespace.client.clone(), options)
}

/// So many objects, each with its kind.
pub fn objects(count: usize) -> Vec<(Kind, Value)> {
    let turn: Vec<Kind> = SHARES.iter().flat_map(|(kind, share)| std::iter::repeat_n(*kind, *share)).collect();
    (0..count)
        .map(|n| {
            let kind = turn[n % turn.len()];
            let mut object = spec(&kind, n);
            kind.mark(&mut object);
            object["metadata"]["name"] = format!("{}-{n:04}", kind.kind.to_lowercase()).into();
            object["metadata"]["labels"] = json!({ "app": format!("app-{}", n / 20), "team": "checkout" });
            (kind, object)
        })
        .collect()
}

/// What an object is beside its name.
fn spec(kind: &Kind, n: usize) -> Value {
    let labels = json!({ "app": format!("app-{n}") });
    match kind.kind {
        "ConfigMap" => json!({ "data": {
            "settings.yaml": format!("port: {n}\nname: \"app {n}\"\nlist:\n  - a\n  - 'b: c'\n"), "empty": "", "number": "010",
        } }),
        "Secret" => json!({ "type": "Opaque", "data": { "key": SECRET } }),
        "Service" => json!({ "spec": { "selector": labels, "ports": [
            { "name": "http", "port": 80, "targetPort": "http" }, { "name": "metrics", "port": 9_090, "targetPort": 9_090 },
        ] } }),
        // At rest: what is backed up is what was asked for, not what runs.
        "Deployment" => json!({ "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [{
                "name": "app", "image": format!("registry.test/app:{n}"), "ports": [{ "name": "http", "containerPort": 8_080 }],
                "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "yes" }],
                "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
            }] },
        } } }),
        "ServiceAccount" => json!({ "automountServiceAccountToken": false }),
        "Role" => json!({ "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"] }] }),
        "RoleBinding" => json!({
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "any" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("user-{n}") }],
        }),
        "NetworkPolicy" => json!({ "spec": { "podSelector": { "matchLabels": labels }, "policyTypes": ["Ingress"],
            "ingress": [{ "ports": [{ "port": 8_080, "protocol": "TCP" }] }] } }),
        "PodDisruptionBudget" => json!({ "spec": { "maxUnavailable": 1, "selector": { "matchLabels": labels } } }),
        "CronJob" => {
            json!({ "spec": { "schedule": "0 3 * * *", "suspend": true, "jobTemplate": { "spec": { "template": {
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "job", "image": "registry.test/job:1" }] },
        } } } } })
        }
        "Ingress" => json!({ "spec": { "rules": [{ "host": format!("app-{n}.example.org"), "http": { "paths": [{
            "path": "/", "pathType": "Prefix",
            "backend": { "service": { "name": "web", "port": { "number": 80 } } },
        }] } }] } }),
        other => panic!("there is no {other} in the mixture"),
    }
}

/// Makes so many objects in a namespace.
pub async fn fill(namespace: &Namespace<'_>, count: usize) {
    let client = unpaced(namespace);
    let mut making = JoinSet::new();
    for (kind, object) in objects(count) {
        if making.len() >= AT_ONCE {
            making.join_next().await.expect("there are some").expect("an object is made");
        }
        let (client, name) = (client.clone(), namespace.name.clone());
        making.spawn(async move {
            client.create(&kind, &name, &object).await.unwrap_or_else(|error| panic!("{error}"));
        });
    }
    making.join_all().await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn twenty_objects_are_of_every_kind_and_no_two_have_one_name() {
        let objects = objects(40);
        let made: BTreeSet<&str> = objects.iter().map(|(kind, _)| kind.kind).collect();
        assert_eq!(made.len(), SHARES.len());
        assert_eq!(SHARES.iter().map(|(_, share)| share).sum::<usize>(), 20);
        let names: BTreeSet<&str> =
            objects.iter().map(|(_, object)| object["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 40);
    }
}
