//! What is there at the beginning: the services as a team deployed them, and the policy that they are released by.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::{
    Comparison, Governor, HoldFor, Limits, Metric, Policy, Service, ServiceKind, Strategy, TrafficBy, Trigger, Watch,
};
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World as Stories;
use portcullis_engine::memory::world::repository;
use serde_json::{Value, json};

use crate::images::{Behaviour, Image};
use crate::samples::{self, read};

/// One service of the scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its name.
    pub name: ServiceName,
    /// For a worker, whether old and new ones may run at once; none = requests reach it.
    pub worker: Option<bool>,
}

impl Served {
    /// A service that requests reach.
    pub fn serving(name: &str) -> Self {
        Self { name: ServiceName::new(name).unwrap(), worker: None }
    }

    /// A worker.
    pub fn worker(name: &str, overlap: bool) -> Self {
        Self { worker: Some(overlap), ..Self::serving(name) }
    }
}

/// How a policy is edited before it is in force.
pub type Edit = Box<dyn FnOnce(&mut Policy) + Send>;

/// What a world begins with.
pub struct Scene {
    /// The services, all of one wave.
    pub services: Vec<Served>,
    /// Pods of each.
    pub replicas: u32,
    /// The least and the most pods that an autoscaler gives each; none = there is no autoscaler.
    pub autoscaled: Option<(u32, u32)>,
    /// What the first image does.
    pub first: Behaviour,
    /// What moves traffic.
    pub traffic: TrafficBy,
    /// How its policy differs from the usual one.
    pub edit: Edit,
    /// How its Deployments differ.
    pub change: fn(&mut Value),
}

impl Default for Scene {
    /// `web` with two pods.
    fn default() -> Self {
        Self {
            services: vec![Served::serving("web")],
            replicas: 2,
            autoscaled: None,
            first: Behaviour::version("v0"),
            traffic: TrafficBy::Selector,
            edit: Box::new(|_| {}),
            change: |_| {},
        }
    }
}

impl Scene {
    /// With another policy.
    #[must_use]
    pub fn policy_with(mut self, edit: impl FnOnce(&mut Policy) + Send + 'static) -> Self {
        self.edit = Box::new(edit);
        self
    }

    /// With other Deployments.
    #[must_use]
    pub fn deployments_with(mut self, change: fn(&mut Value)) -> Self {
        self.change = change;
        self
    }

    /// The policy: one approval, a smoke test, three seconds of watch, an hour to be rolled back. Limits are those of a
    /// test: what does not come within seconds does not come.
    pub(super) fn policy(&mut self, namespace: &str) -> Policy {
        let mut policy = Stories::policy();
        namespace.clone_into(&mut policy.place.namespace);
        policy.traffic = self.traffic;
        policy.services = self.services.iter().map(service).collect();
        policy.gates.scan = None;
        policy.strategy = Strategy::BlueGreen { steps: vec![10_000], every: Millis::seconds(1), manual: false };
        let breach = |hold| Trigger {
            metric: Metric::ErrorRate,
            breach: Comparison::Above,
            limit: 500,
            hold: HoldFor::Points(hold),
        };
        policy.watch = Watch {
            length: Millis::seconds(3),
            every: Millis::seconds(1),
            healthy: vec![breach(2)],
            traffic: None,
            extend: Millis::minutes(1),
            alarms_roll_back: vec!["shop-*".to_owned()],
            alarms_ask: Vec::new(),
        };
        policy.roll_back.when = vec![breach(2)];
        policy.roll_back.health_failing_for = None;
        // A bench rolls back more often than any line would be let.
        policy.governor = Governor { rollbacks: u8::MAX, fleet: u8::MAX, ..Governor::default() };
        policy.limits = Limits {
            ready: Millis::minutes(1),
            write: Millis::seconds(45),
            look: Millis::seconds(1),
            ..Limits::default()
        };
        std::mem::replace(&mut self.edit, Box::new(|_| {}))(&mut policy);
        policy
    }

    pub(super) fn deployment(&self, served: &Served, image: &Image) -> Deployment {
        let mut deployment = samples::deployment_json(served.name.as_str(), &image.reference, self.replicas);
        if served.worker.is_some() {
            let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
            // Nobody sends it requests, so nothing has to forget it first.
            container.as_object_mut().expect("it is a container").remove("lifecycle");
        }
        (self.change)(&mut deployment);
        read(deployment)
    }
}

fn service(served: &Served) -> Service {
    let kind = served.worker.map_or(ServiceKind::Serving, |overlap| ServiceKind::Worker { overlap });
    Service {
        name: served.name.clone(),
        repository: repository(served.name.as_str()),
        source: None,
        wave: 0,
        after: Vec::new(),
        kind,
    }
}

/// One pod may be evicted at a time.
pub(super) fn budget(app: &str) -> PodDisruptionBudget {
    read(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": app },
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": app } } },
    }))
}

/// There are no metrics of processors here: it scales where the bounds themselves ask for it.
pub(super) fn autoscaler(app: &str, least: u32, most: u32) -> HorizontalPodAutoscaler {
    read(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": app },
        "spec": {
            "minReplicas": least, "maxReplicas": most,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": app },
            "metrics": [{ "type": "Resource", "resource": {
                "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }],
        },
    }))
}
