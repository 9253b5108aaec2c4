//! One service's life on a real API server: adopted, released to green, rolled back, released to green again, drained, and
//! let go. Needs what `contract.rs` needs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod real;

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_domain::action::{AwaitReady, Found, ObjectKey, Purpose, Stamp, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place};
use portcullis_engine::ports::{Cluster as _, Written};
use portcullis_kubernetes::adopt::{AdoptOptions, Plan, carry_out, plan_adoption, plan_release};
use portcullis_kubernetes::client::{Client, kinds};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};
use portcullis_kubernetes::objects::{ADOPTED, COLOUR};
use portcullis_kubernetes::observe;
use serde_json::{Value as Json, json};

use real::{ended, images, namespace};

struct World {
    client: Client,
    cluster: KubernetesCluster,
    place: Place,
    target: TargetId,
    service: ServiceName,
    seq: u64,
}

impl World {
    async fn found(&self, key: &ObjectKey) -> Found {
        let services = BTreeSet::from([self.service.clone()]);
        self.cluster.observe(&self.target, &self.place, &services).await.unwrap().remove(key).unwrap()
    }

    fn of(&self, colour: Colour) -> ObjectKey {
        ObjectKey::workload(&self.service, colour)
    }

    /// Writes from what is there, as a decision on it would.
    async fn write(&mut self, object: ObjectKey, to: Value, purpose: Purpose) {
        self.seq += 1;
        let from = vec![self.found(&object).await.stamp];
        let write = Write { object, from, to, purpose, bundle: None };
        let fence = format!("life/1/{}", self.seq).parse().unwrap();
        let written = self.cluster.write(&self.target, &self.place, &write, &fence).await.unwrap();
        assert_eq!(written, Written::Done, "{write:?}");
    }

    async fn ready(&self, colour: Colour, digest: Digest, replicas: u32) {
        let ask = AwaitReady { object: self.of(colour), digest, replicas, after: Seq(self.seq) };
        let mut seen = Found::default();
        for _ in 0..300 {
            seen = self.cluster.look(&self.target, &self.place, &ask).await.unwrap();
            if (replicas == 0 && seen.ready == 0) || (replicas > 0 && seen.ready >= replicas) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{colour} did not get {replicas} ready pods: {seen:?}");
    }

    /// Waits until the endpoints are of this colour only.
    async fn alone(&self, colour: Colour) {
        let own = format!("{}-{colour}-", self.service);
        let mut serving = None;
        for _ in 0..100 {
            let now = observe::serving(&self.client, &self.place.namespace, self.service.as_str(), |pod| {
                pod.starts_with(&own)
            })
            .await;
            let now = now.unwrap();
            if now.own > 0 && now.others == 0 {
                return;
            }
            serving = Some(now);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not only {colour} serves: {serving:?}");
    }

    async fn object(&self, kind: &portcullis_kubernetes::client::Kind, name: &str) -> Json {
        self.client.get(kind, &self.place.namespace, name).await.unwrap().unwrap_or_default()
    }

    async fn carry_out(&self, plan: &Plan) {
        assert_eq!(plan.refusals, Vec::<String>::new());
        let (place, service) = (&self.place, &self.service);
        carry_out(&self.client, &place.namespace, service, plan, &options(), |_| {}).await.unwrap();
    }
}

fn options() -> AdoptOptions {
    AdoptOptions { within: Duration::from_secs(30), settle: Duration::from_millis(200), ..AdoptOptions::default() }
}

fn before(repository: &str, digest: Digest) -> Vec<(&'static portcullis_kubernetes::client::Kind, Json)> {
    let labels = json!({ "app": "web" });
    vec![
        (
            &kinds::DEPLOYMENTS,
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "labels": labels }, "spec": {
                "replicas": 2, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": {
                    "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                    "containers": [{ "name": "web", "image": format!("{repository}@{digest}"),
                        "env": [{ "name": "GREETING", "valueFrom": { "configMapKeyRef": { "name": "web", "key": "greeting" } } }] }] } } } }),
        ),
        (
            &kinds::SERVICES,
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
                "spec": { "selector": labels, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] } }),
        ),
        (
            &kinds::AUTOSCALERS,
            json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" }, "spec": {
                "minReplicas": 1, "maxReplicas": 5, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }] } }),
        ),
        (
            &kinds::BUDGETS,
            json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" },
                "spec": { "minAvailable": 1, "selector": { "matchLabels": labels } } }),
        ),
        (
            &kinds::CONFIG_MAPS,
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web" }, "data": { "greeting": "hello" } }),
        ),
    ]
}

async fn life(mut world: World, [old, new]: [Digest; 2]) {
    let services = BTreeSet::from([world.service.clone()]);
    let hash_before = world.cluster.manifests(&world.target, &world.place, &services).await.unwrap();
    let traffic = ObjectKey::traffic(&world.service);
    let (blue, green) = (world.of(Colour::Blue), world.of(Colour::Green));
    assert_eq!(world.found(&blue).await.stamp.unwrap().value, Value::Workload { digest: old, replicas: 2 });

    let plan =
        plan_adoption(&world.client, &world.target, &world.place.namespace, &world.service, &options()).await.unwrap();
    world.carry_out(&plan).await;
    assert_eq!(world.object(&kinds::DEPLOYMENTS, "web").await["spec"]["replicas"], 0);
    assert_eq!(world.object(&kinds::AUTOSCALERS, "web").await["spec"]["scaleTargetRef"]["name"], "web-blue");
    assert_eq!(world.object(&kinds::BUDGETS, "web").await["spec"]["selector"]["matchLabels"][COLOUR], "blue");
    world.alone(Colour::Blue).await;
    let hash = || world.cluster.manifests(&world.target, &world.place, &services);
    assert_eq!(hash().await.unwrap(), hash_before, "adopting changes no manifest");

    // Everything gets our fence; green is made at rest, comes up, is claimed, gets the traffic.
    world.write(traffic.clone(), Value::Traffic { green: 0 }, Purpose::Mark).await;
    world.write(blue.clone(), Value::Workload { digest: old, replicas: 2 }, Purpose::Mark).await;
    world.write(green.clone(), Value::Workload { digest: new, replicas: 0 }, Purpose::Mark).await;
    let up = Value::Workload { digest: new, replicas: 2 };
    world.write(green.clone(), up, Purpose::Deploy).await;
    world.ready(Colour::Green, new, 2).await;
    world.alone(Colour::Blue).await;
    let hash = || world.cluster.manifests(&world.target, &world.place, &services);
    assert_eq!(hash().await.unwrap(), hash_before, "nor does a green that comes up");
    let scaler = world.object(&kinds::AUTOSCALERS, "web-green").await;
    assert_eq!((&scaler["spec"]["minReplicas"], &scaler["spec"]["maxReplicas"]), (&json!(2), &json!(5)));
    assert_eq!(world.object(&kinds::BUDGETS, "web-green").await["spec"]["selector"]["matchLabels"][COLOUR], "green");
    world.write(green.clone(), up, Purpose::Claim).await;
    world.ready(Colour::Green, new, 2).await;
    world.write(traffic.clone(), Value::Traffic { green: 10_000 }, Purpose::Switch).await;
    world.alone(Colour::Green).await;
    world.ready(Colour::Green, new, 2).await;

    // Back: claim, look, switch, drain.
    world.write(blue.clone(), Value::Workload { digest: old, replicas: 2 }, Purpose::Restore).await;
    world.ready(Colour::Blue, old, 2).await;
    world.write(traffic.clone(), Value::Traffic { green: 0 }, Purpose::Restore).await;
    world.alone(Colour::Blue).await;
    world.write(green.clone(), Value::Workload { digest: new, replicas: 0 }, Purpose::Restore).await;
    world.ready(Colour::Green, new, 0).await;
    assert_eq!(world.object(&kinds::AUTOSCALERS, "web").await["spec"]["minReplicas"], 1, "blue's is let go");

    // Again, with configuration that changed since; a late switch of before changes nothing.
    let mut changed = world.object(&kinds::CONFIG_MAPS, "web").await;
    changed["data"]["greeting"] = "hi".into();
    let patch = [json!({ "op": "add", "path": "/data/greeting", "value": "hi" })];
    world.client.patch(&kinds::CONFIG_MAPS, &world.place.namespace, "web", &patch).await.unwrap();
    let hash = || world.cluster.manifests(&world.target, &world.place, &services);
    assert_ne!(hash().await.unwrap(), hash_before, "configuration is part of it");
    let late = Write {
        object: traffic.clone(),
        from: vec![Some(Stamp { fence: Some("life/1/1".parse().unwrap()), value: Value::Traffic { green: 0 } })],
        to: Value::Traffic { green: 10_000 },
        purpose: Purpose::Switch,
        bundle: None,
    };
    let late = world.cluster.write(&world.target, &world.place, &late, &"life/1/5".parse().unwrap()).await.unwrap();
    assert!(matches!(late, Written::Drift(_)), "{late:?}");
    world.alone(Colour::Blue).await;
    world.write(green.clone(), up, Purpose::Deploy).await;
    world.write(green.clone(), up, Purpose::Claim).await;
    world.ready(Colour::Green, new, 2).await;
    world.write(traffic, Value::Traffic { green: 10_000 }, Purpose::Switch).await;
    world.write(blue, Value::Workload { digest: old, replicas: 0 }, Purpose::Drain).await;
    world.ready(Colour::Blue, old, 0).await;
    world.alone(Colour::Green).await;
    assert_eq!(world.object(&kinds::AUTOSCALERS, "web-green").await["spec"]["minReplicas"], 1, "green's is let go");
    world.cluster.room(&world.target, &world.place).await.unwrap();

    let plan =
        plan_release(&world.client, &world.target, &world.place.namespace, &world.service, &options()).await.unwrap();
    world.carry_out(&plan).await;
    let back = world.object(&kinds::DEPLOYMENTS, "web").await;
    assert_eq!(back["spec"]["replicas"], 2);
    assert!(back["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().ends_with(&new.to_string()));
    assert!(back["metadata"]["annotations"].get(ADOPTED).is_none());
    assert_eq!(world.object(&kinds::SERVICES, "web").await["spec"]["selector"], json!({ "app": "web" }));
    assert_eq!(world.object(&kinds::AUTOSCALERS, "web").await["spec"]["scaleTargetRef"]["name"], "web");
    assert_eq!(world.object(&kinds::AUTOSCALERS, "web-green").await, Json::Null);
    assert_eq!(world.object(&kinds::DEPLOYMENTS, "web-green").await, Json::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_adopted_switched_rolled_back_and_let_go() {
    let Some((client, namespace)) = namespace("life").await else { return };
    let (repository, digests) = images();
    for (kind, object) in before(&repository, digests[0]) {
        client.create(kind, &namespace, &object).await.unwrap();
    }
    let running = observe::Workload {
        object: client.get(&kinds::DEPLOYMENTS, &namespace, "web").await.unwrap().unwrap(),
        plain: true,
    };
    for _ in 0..300 {
        let pods = observe::pods(&client, &namespace, &running).await.unwrap();
        if pods.iter().filter(|pod| portcullis_kubernetes::problems::is_ready(pod)).count() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The controller has counted them, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let world = World {
        cluster: KubernetesCluster::new(Source::Connected(client.clone()), Options::default()),
        place: Place { account: None, region: None, role: None, cluster: "test".into(), namespace: namespace.clone() },
        target: "shop/test".parse().unwrap(),
        service: ServiceName::new("web").unwrap(),
        client: client.clone(),
        seq: 0,
    };
    let result = tokio::spawn(life(world, digests)).await;
    ended(&client, &namespace, result).await;
}
