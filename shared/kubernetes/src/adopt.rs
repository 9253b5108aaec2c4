//! A plain Deployment and Service become a service with colours, without losing a request; and back.
//!
//! Adopting: a blue copy comes up beside the plain Deployment, under the same Service; once it answers requests the Service
//! narrows to it; what scales and protects the old pods follows; the old Deployment goes to rest and is kept, with a
//! warning on it. Releasing is the inverse. Each is planned first, from what is there, and planning again after a crash
//! goes on from where it stopped. Where weights are to move the traffic, they are put on between the two. A person starts both, and they carry no fence: no release may run meanwhile.

mod diff;
mod plan;
mod weights;

use std::time::Duration;

use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::TrafficBy;
use portcullis_engine::ports::{PortError, PortResult};
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::backup::yaml_write::yaml;
use crate::client::{Client, Kind, Selector, kinds};
use crate::error::Why;
use crate::objects::{COLOUR, coloured, name};
use crate::observe::{Readings, Workload, is_observed, is_out_of_reach, pods, replicas, serving};
use crate::problems::{self, is_ready};
use crate::targets::{self, INJECT};
use crate::traffic::read_refusal;
use crate::write::keeper;

/// Between two looks while something comes up or goes away.
const LOOK: Duration = Duration::from_millis(500);

/// How it is done.
#[derive(Debug, Clone)]
pub struct AdoptOptions {
    /// How long each step may take until pods are ready, or gone.
    pub within: Duration,
    /// How long every node has to notice that endpoints changed, before pods are stopped.
    pub settle: Duration,
    /// Whether old and new pods of a worker may run at once.
    pub overlap: bool,
    /// What will move its traffic, as the policy says.
    pub traffic: TrafficBy,
    /// Whether the selector is changed behind a load balancer that loses requests then.
    pub selector_everywhere: bool,
}

impl Default for AdoptOptions {
    fn default() -> Self {
        Self {
            within: Duration::from_mins(10),
            settle: Duration::from_secs(15),
            overlap: false,
            traffic: TrafficBy::Selector,
            selector_everywhere: false,
        }
    }
}

/// What is waited for after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Go,
    /// A Deployment has so many ready pods; with `serves`, the Service's endpoints have them, too.
    Ready {
        /// The Deployment.
        deployment: String,
        /// So many pods.
        replicas: u32,
        /// Whether the Service sends to them.
        serves: bool,
    },
    /// The Service sends to no pods but this Deployment's, and every node had time to notice.
    Alone {
        /// The Deployment.
        deployment: String,
    },
    /// A Deployment has so many ready pods, and each of these Services sends to them.
    Behind {
        /// The Deployment.
        deployment: String,
        /// So many pods.
        replicas: u32,
        /// The Services.
        fronts: Vec<String>,
        /// Whether a load balancer must have found them healthy, by the last of the Services.
        healthy: bool,
    },
    /// A load balancer's controller has made a target group for each of these Services.
    TargetGroups {
        /// The Services.
        fronts: Vec<String>,
    },
    /// Whatever follows weights had time to notice.
    Settle,
    /// A Deployment has no pods left.
    Gone {
        /// The Deployment.
        deployment: String,
    },
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Why, in words.
    pub what: String,
    /// The object's kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The object before; none = it is made.
    pub before: Option<Json>,
    /// The object after; none = it is deleted.
    pub after: Option<Json>,
    /// What is applied server-side under our field manager; none = the change is made by a patch. A release applies the same
    /// objects again, and would not be let if they were another way's.
    pub applied: Option<Json>,
    /// A Deployment that must not have more replicas than this by now: an autoscaler may have given it more.
    pub unless_grown: Option<(String, u32)>,
    /// What is waited for.
    pub then: Then,
}

impl Step {
    /// The object before, as YAML.
    pub fn before_yaml(&self) -> Option<String> {
        self.before.as_ref().map(shown)
    }

    /// The object after, as YAML.
    pub fn after_yaml(&self) -> Option<String> {
        self.after.as_ref().map(shown)
    }

    /// Whether it changes anything; one that does not is only waited for.
    pub fn changes(&self) -> bool {
        self.before != self.after
    }
}

/// An object as a person reads it: without what the server keeps for itself.
fn shown(object: &Json) -> String {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for key in ["managedFields", "resourceVersion", "uid", "generation", "creationTimestamp"] {
            metadata.remove(key);
        }
    }
    yaml(&object)
}

/// Everything that will be done, in its order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What a person should know first: who else writes these objects, and what two colours may trip over.
    pub warnings: Vec<String>,
    /// Why it can not be done. Not empty = nothing of it is.
    pub refusals: Vec<String>,
}

impl Plan {
    /// With a warning of whoever keeps writing what will be changed.
    fn with_writers(mut self, service: &ServiceName) -> Self {
        self.warnings.extend(writers(&self, service));
        self
    }
}

/// What is there before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Situation {
    pub(crate) deployments: Vec<Json>,
    pub(crate) front: Option<Json>,
    pub(crate) own_fronts: Vec<Json>,
    pub(crate) autoscalers: Vec<Json>,
    pub(crate) budgets: Vec<Json>,
    /// Pods of the plain Deployment: an image by tag is known by them.
    pub(crate) pods: Vec<Json>,
    pub(crate) ingresses: Vec<Json>,
    pub(crate) routes: Vec<Json>,
    /// Whether pods of the namespace get readiness gates of load balancers; none = it cannot be read.
    pub(crate) injects: Option<bool>,
    /// Why a selector would lose requests.
    pub(crate) behind: Option<String>,
}

impl Situation {
    fn deployment(&self, wanted: &str) -> Option<&Json> {
        self.deployments.iter().find(|object| name(object) == wanted)
    }
}

/// Plans the adoption of a service. Changes nothing: this is the dry run.
///
/// # Errors
/// What is there cannot be read.
pub async fn plan_adoption(
    client: &Client,
    target: &TargetId,
    namespace: &str,
    service: &ServiceName,
    options: &AdoptOptions,
) -> PortResult<Plan> {
    let situation = situation(client, namespace, service).await?;
    Ok(plan::adoption(target, service, &situation, options).with_writers(service))
}

/// Plans the release of a service from Portcullis. Changes nothing.
///
/// # Errors
/// What is there cannot be read.
pub async fn plan_release(
    client: &Client,
    target: &TargetId,
    namespace: &str,
    service: &ServiceName,
    options: &AdoptOptions,
) -> PortResult<Plan> {
    let situation = situation(client, namespace, service).await?;
    Ok(plan::release(target, service, &situation, options).with_writers(service))
}

/// Who keeps writing what will be changed.
fn writers(plan: &Plan, service: &ServiceName) -> Vec<String> {
    let mut found = Vec::new();
    for before in plan.steps.iter().filter_map(|step| step.before.as_ref()) {
        let containers = before["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
        let first = containers.into_iter().find_map(|container| container["name"].as_str()).unwrap_or_default();
        // Of an Ingress its action is asked about.
        let first = if before["kind"] == "Ingress" { service.as_str() } else { first };
        let fields = crate::owners::written_fields(before, first);
        for conflict in crate::owners::conflicts(before, &fields) {
            let stays = if keeper(before, &fields).is_some() { "" } else { " (once)" };
            let line = format!("{}{stays}: {}", conflict.why, conflict.fix);
            if !found.contains(&line) {
                found.push(line);
            }
        }
    }
    found
}

async fn situation(client: &Client, namespace: &str, service: &ServiceName) -> PortResult<Situation> {
    let everything = Selector::default();
    let (deployments, services, autoscalers, budgets, ingresses, routes, of_namespace) = tokio::join!(
        client.list(&kinds::DEPLOYMENTS, Some(namespace), &everything),
        client.list(&kinds::SERVICES, Some(namespace), &everything),
        client.list(&kinds::AUTOSCALERS, Some(namespace), &everything),
        client.list(&kinds::BUDGETS, Some(namespace), &everything),
        client.list(&kinds::INGRESSES, Some(namespace), &everything),
        client.list(&kinds::HTTP_ROUTES, Some(namespace), &everything),
        client.get(&kinds::NAMESPACES, namespace, namespace),
    );
    // Without the Gateway API there are no routes; without a right to them nothing can be put on one.
    let routes = match routes {
        Err(error) if is_out_of_reach(&error) => Vec::new(),
        other => other?.items,
    };
    let of_namespace = of_namespace.ok().flatten();
    let injects = of_namespace.map(|of| crate::objects::label(&of, INJECT) == Some("enabled"));
    let (deployments, services) = (deployments?.items, services?.items);
    let front = services.iter().find(|front| name(front) == service.as_str()).cloned();
    let behind = match &front {
        Some(front) => read_refusal(&Readings::of(client.clone()), namespace, front).await?,
        None => None,
    };
    let plain = deployments.iter().find(|object| name(object) == service.as_str());
    let pods = match plain {
        Some(object) => pods(client, namespace, &Workload { object: object.clone(), plain: true }).await?,
        None => Vec::new(),
    };
    let own = [
        coloured(service, portcullis_domain::policy::Colour::Blue),
        coloured(service, portcullis_domain::policy::Colour::Green),
    ];
    let own_fronts = services.into_iter().filter(|front| own.iter().any(|own| own == name(front))).collect();
    Ok(Situation {
        deployments,
        front,
        own_fronts,
        autoscalers: autoscalers?.items,
        budgets: budgets?.items,
        pods,
        ingresses: ingresses?.items,
        routes,
        injects,
        behind,
    })
}

/// Carries a plan out, step by step; `told` hears of each before it is done.
///
/// # Errors
/// The plan has refusals; something changed since it was planned; pods do not come up, or go, in time. What was done until
/// then stays, serves, and is gone on from by planning again.
pub async fn carry_out(
    client: &Client,
    namespace: &str,
    service: &ServiceName,
    plan: &Plan,
    options: &AdoptOptions,
    mut told: impl FnMut(&Step) + Send,
) -> PortResult<()> {
    if !plan.refusals.is_empty() {
        return Err(PortError::new(format!("changing how {service} is deployed"), plan.refusals.join("; ")));
    }
    for step in &plan.steps {
        told(step);
        if let Some((deployment, most)) = &step.unless_grown {
            let now = client.get(&kinds::DEPLOYMENTS, namespace, deployment).await?;
            let now = now.as_ref().map_or(0, replicas);
            if now > *most {
                return Err(moved(step, &format!("{deployment} was scaled to {now} meanwhile")));
            }
        }
        change(client, namespace, step).await?;
        wait(client, namespace, service, step, options).await?;
    }
    Ok(())
}

fn moved(step: &Step, why: &str) -> PortError {
    PortError::new(format!("changing {} {}", step.kind.kind, step.name), format!("{why}: plan it again, and go on"))
}

async fn change(client: &Client, namespace: &str, step: &Step) -> PortResult<()> {
    if !step.changes() {
        return Ok(());
    }
    let done = match (&step.before, &step.after) {
        (_, Some(_)) if step.applied.is_some() => {
            let applied = step.applied.clone().unwrap_or_default();
            client.apply(&step.kind, namespace, &step.name, &applied, false).await.map(|_| ())
        }
        (None, Some(after)) => client.create(&step.kind, namespace, after).await.map(|_| ()),
        (Some(_), None) => client.delete(&step.kind, namespace, &step.name).await.map(|_| ()),
        (Some(before), Some(after)) => {
            let patch = diff::patch(before, after);
            client.patch(&step.kind, namespace, &step.name, &patch).await.map(|_| ())
        }
        (None, None) => Ok(()),
    };
    done.map_err(|error| match error.why {
        Why::Invalid { test_failed: true, .. } | Why::Exists | Why::Conflict { .. } => {
            moved(step, "it is not what it was when this was planned")
        }
        _ => error.into(),
    })
}

async fn wait(
    client: &Client,
    namespace: &str,
    service: &ServiceName,
    step: &Step,
    options: &AdoptOptions,
) -> PortResult<()> {
    let until = Instant::now() + options.within;
    loop {
        let Some(why) = state(client, namespace, service, &step.then).await? else { break };
        if Instant::now() >= until {
            let doing = format!("waiting {} s after: {}", options.within.as_secs(), step.what);
            return Err(PortError::new(doing, why));
        }
        tokio::time::sleep(LOOK).await;
    }
    let settles = matches!(step.then, Then::Alone { .. }) || step.then == Then::Settle && step.changes();
    if settles {
        tokio::time::sleep(options.settle).await;
    }
    Ok(())
}

async fn bindings(client: &Client, namespace: &str) -> PortResult<Vec<Json>> {
    match client.list(&kinds::TARGET_GROUP_BINDINGS, Some(namespace), &Selector::default()).await {
        // Where the controller is not installed there are none: that is what is waited for, and told.
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => Ok(other?.items),
    }
}

/// What is still missing; none = it is as it should be.
async fn state(client: &Client, namespace: &str, service: &ServiceName, then: &Then) -> PortResult<Option<String>> {
    let deployment = match then {
        Then::Go | Then::Settle => return Ok(None),
        Then::TargetGroups { fronts } => {
            let bindings = bindings(client, namespace).await?;
            return Ok(fronts.iter().find_map(|front| targets::bindings_of(front, &bindings).err()));
        }
        Then::Ready { deployment, .. }
        | Then::Behind { deployment, .. }
        | Then::Alone { deployment }
        | Then::Gone { deployment } => deployment,
    };
    let Some(object) = client.get(&kinds::DEPLOYMENTS, namespace, deployment).await? else {
        return Ok((!matches!(then, Then::Gone { .. })).then(|| format!("{deployment} is not there")));
    };
    let coloured = object["spec"]["selector"]["matchLabels"].get(COLOUR).is_some();
    let workload = Workload { object, plain: !coloured };
    let pods = pods(client, namespace, &workload).await?;
    let is_own = |pod: &str| pods.iter().any(|own| name(own) == pod);
    let all: Vec<&Json> = pods.iter().collect();
    let problems = || problems::lines(&workload.object, &all, &std::collections::BTreeMap::new()).join("; ");
    Ok(match then {
        Then::Go | Then::Settle | Then::TargetGroups { .. } => None,
        Then::Behind { replicas, fronts, healthy, .. } => {
            let ready = u32::try_from(pods.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(u32::MAX);
            if *healthy && let Some(front) = fronts.last() {
                let found = targets::healthy(front, namespace, &bindings(client, namespace).await?, &pods);
                if let Err(why) =
                    found.map_err(|why| if ready < *replicas { format!("{why}. {}", problems()) } else { why })
                {
                    return Ok(Some(why));
                }
            }
            if !is_observed(&workload.object) || ready < *replicas {
                return Ok(Some(format!("{deployment} has {ready} of {replicas} pods ready. {}", problems())));
            }
            for front in fronts {
                let serving = serving(client, namespace, front, is_own).await?;
                if serving.own < *replicas {
                    return Ok(Some(format!("the Service {front} sends to {} of {replicas} pods", serving.own)));
                }
            }
            None
        }
        Then::Gone { .. } => (!is_observed(&workload.object) || !pods.is_empty())
            .then(|| format!("{deployment} has {} pods left", pods.len())),
        Then::Ready { replicas, serves, .. } => {
            let ready = u32::try_from(pods.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(u32::MAX);
            if !is_observed(&workload.object) || ready < *replicas {
                return Ok(Some(format!("{deployment} has {ready} of {replicas} pods ready. {}", problems())));
            }
            if !serves {
                return Ok(None);
            }
            let serving = serving(client, namespace, service.as_str(), is_own).await?;
            (serving.own < *replicas).then(|| format!("the Service sends to {} of {replicas} pods", serving.own))
        }
        Then::Alone { .. } => {
            let serving = serving(client, namespace, service.as_str(), is_own).await?;
            (serving.own == 0 || serving.others > 0).then(|| {
                format!("the Service sends to {} pods of {deployment} and {} others", serving.own, serving.others)
            })
        }
    })
}

#[cfg(test)]
mod tests;
