//! What stands in the way on a cluster, each finding with its fix: access, rights, who else writes, what is in front of the
//! pods, room for a second colour.
//!
//! [`examine`] asks the cluster; [`findings`] judges what was found, without I/O; [`text`] shows it.

mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::{Colour, Policy, ServiceKind, Strategy};
use portcullis_engine::ports::{PortError, PortResult};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::backup::object::{list, name, text as text_at};
use crate::backup::wire::{Answer, Ask, Method, Wire, answer, encoded, shown};
use crate::objects::own_container;
use crate::owners::{Conflict, Field, conflicts, written_fields};
use crate::rbac::{Needs, Rule, SYSTEM, cluster_rules, rules, system_rules};
use crate::weights::Way;

/// Questions that are asked at once.
const AT_ONCE: usize = 8;
/// Columns of a screen.
const WIDTH: usize = 100;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// All is well.
    Ok,
    /// It works, but not as it should, or it is not known whether it does.
    Hold,
    /// It does not work.
    Fail,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check: `access`, `rights`, `services`, `writers`, `traffic`, `capacity`.
    pub check: &'static str,
    /// How bad.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do; none = nothing.
    pub fix: Option<String>,
    /// What goes with it as it is: YAML to add, or a command.
    pub yaml: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, what: what.into(), fix: None, yaml: None }
    }

    fn bad(check: &'static str, level: Level, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, level, what: what.into(), fix: Some(fix.into()), yaml: None }
    }
}

/// One right that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// What it is for.
    pub purpose: &'static str,
    /// `patch deployments.apps web-green`.
    pub what: String,
    /// Whether we have it.
    pub allowed: bool,
}

/// What was found on a cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Its version, such as `v1.34.2`; none = it was not reached, and why.
    pub version: Option<Result<String, String>>,
    /// The rights.
    pub rights: Vec<Right>,
    /// Deployments of the namespace; none = they may not be listed.
    pub deployments: Option<Vec<Json>>,
    /// Services of the namespace.
    pub services: Option<Vec<Json>>,
    /// Ingresses of the namespace.
    pub ingresses: Option<Vec<Json>>,
    /// Routes of the Gateway API in the namespace; empty where it is not installed.
    pub routes: Vec<Json>,
    /// What the AWS Load Balancer Controller keeps per target group; empty where it is not installed.
    pub bindings: Vec<Json>,
    /// How many more pods fit; none = the cluster does not say.
    pub room: Option<u32>,
}

/// Asks a cluster everything that [`findings`] judges. `room` is what [`crate::room::room`] says.
///
/// # Errors
/// Never for what the cluster refuses: that is a finding. Only when a task of ours fails.
pub async fn examine(wire: &Arc<dyn Wire>, namespace: &str, needs: &Needs, room: Option<u32>) -> PortResult<Found> {
    let mut found = Found { room, ..Found::default() };
    let version = answer(&**wire, Ask::get("/version"), "asking the cluster for its version").await;
    found.version = Some(match version {
        Ok(version) if version.is_success() => {
            Ok(version.json("").map_or_else(|_| "?".to_owned(), |said| shown(text_at(&said, "/gitVersion"))))
        }
        Ok(refused) => Err(refused.words()),
        Err(error) => Err(error.to_string()),
    });
    if let Some(Err(_)) = &found.version {
        return Ok(found);
    }
    found.rights = rights(wire, namespace, needs).await?;
    let listed = |path: String| async move {
        let listed: Answer = answer(&**wire, Ask::get(path).at_most(crate::backup::wire::MOST_PAGE), "").await.ok()?;
        let listed = listed.found("").ok()??;
        Some(list(&listed, "/items").to_vec())
    };
    let namespace = encoded(namespace);
    found.deployments = listed(format!("/apis/apps/v1/namespaces/{namespace}/deployments")).await;
    found.services = listed(format!("/api/v1/namespaces/{namespace}/services")).await;
    found.ingresses = listed(format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses")).await;
    let bindings = format!("/apis/elbv2.k8s.aws/v1beta1/namespaces/{namespace}/targetgroupbindings");
    found.bindings = listed(bindings).await.unwrap_or_default();
    let routes = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes");
    found.routes = listed(routes).await.unwrap_or_default();
    Ok(found)
}

/// Asks for each right of the Role by itself: a cluster with an authorizer of its own (EKS) cannot list them.
async fn rights(wire: &Arc<dyn Wire>, namespace: &str, needs: &Needs) -> PortResult<Vec<Right>> {
    let of = |rule: Rule, namespace: Option<String>| {
        each(&rule).into_iter().map(move |one| (one, namespace.clone())).collect::<Vec<_>>()
    };
    let own = rules(needs).into_iter().flat_map(|rule| of(rule, Some(namespace.to_owned())));
    let all = cluster_rules(needs).into_iter().flat_map(|rule| of(rule, None));
    let system = system_rules(needs).into_iter().flat_map(|rule| of(rule, Some(SYSTEM.to_owned())));
    let mut waiting = own.chain(all).chain(system).collect::<Vec<_>>().into_iter();
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((one, namespace)) = waiting.next()
        {
            let wire = wire.clone();
            running.spawn(async move {
                let mut about = one.about.clone();
                if let Some(namespace) = namespace {
                    about["namespace"] = namespace.into();
                }
                let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                    "spec": { "resourceAttributes": about } });
                let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
                let doing = "asking the cluster for our rights";
                let said = answer(&*wire, Ask::send(Method::Create, path, &review), doing).await;
                let said = said.ok().filter(Answer::is_success).and_then(|said| said.json(doing).ok());
                let allowed = said.is_some_and(|said| said["status"]["allowed"] == true);
                Right { purpose: one.purpose, what: one.what, allowed }
            });
        }
        let Some(one) = running.join_next().await else { break };
        done.push(one.map_err(|error| PortError::new("asking the cluster for our rights", error))?);
    }
    done.sort();
    done.dedup();
    Ok(done)
}

struct One {
    purpose: &'static str,
    what: String,
    about: Json,
}

/// A rule as single questions.
fn each(rule: &Rule) -> Vec<One> {
    let mut all = Vec::new();
    for resource in &rule.resources {
        let (resource, below) = resource.split_once('/').unwrap_or((resource, ""));
        for verb in &rule.verbs {
            let none = [String::new()];
            for name in if rule.names.is_empty() { &none[..] } else { &rule.names } {
                let dot = if rule.group.is_empty() { "" } else { "." };
                let slash = if below.is_empty() { "" } else { "/" };
                let what = format!("{verb} {resource}{slash}{below}{dot}{} {name}", rule.group);
                let about = json!({ "verb": verb, "group": rule.group, "resource": resource, "subresource": below, "name": name });
                all.push(One { purpose: rule.purpose, what: what.trim_end().to_owned(), about });
            }
        }
    }
    all
}

/// What stands in the way, in the order of the checks. Pure.
pub fn findings(found: &Found, policy: &Policy) -> Vec<Finding> {
    let mut all = Vec::new();
    match &found.version {
        Some(Ok(version)) => all.push(Finding::ok("access", format!("{} answers, {version}", policy.place.cluster))),
        Some(Err(why)) => {
            let fix =
                "check the cluster's name, its endpoint (private ones answer inside their network only) and the role";
            all.push(Finding::bad(
                "access",
                Level::Fail,
                format!("{} does not answer: {why}", policy.place.cluster),
                fix,
            ));
            return all;
        }
        None => return all,
    }
    all.extend(of_rights(found, policy));
    let mut writers = Vec::new();
    let mut fronts = Vec::new();
    for service in &policy.services {
        let deployment = live_deployment(found, service.name.as_str());
        let worker = matches!(service.kind, ServiceKind::Worker { .. });
        all.extend(of_service(found, service.name.as_str(), worker, deployment));
        if let Some(deployment) = deployment {
            let container = own_container(deployment, &deployment["spec"]["template"]["spec"], service.name.as_str());
            let container = container.ok().map(|at| &deployment["spec"]["template"]["spec"]["containers"][at]);
            let container = container.map(name_of).unwrap_or_default();
            let deployment = &marked(deployment, "apps/v1", "Deployment");
            writers.extend(conflicts(deployment, &written_fields(deployment, &container)));
        }
        let front = found.services.iter().flatten().find(|front| name(front) == service.name.as_str());
        if let Some(front) = front.filter(|_| !worker) {
            // Of a list, items do not say what they are.
            let front = &marked(front, "v1", "Service");
            writers.extend(conflicts(front, &written_fields(front, "")));
            if let Some((carrier, fields)) = carrier(found, front, &service.name) {
                writers.extend(conflicts(&carrier, &fields));
            }
            fronts.push((&service.name, front.clone()));
        }
    }
    all.extend(of_writers(&writers));
    all.extend(traffic::of_traffic(found, policy, &fronts));
    all.push(of_capacity(found, policy));
    all
}

fn name_of(container: &Json) -> String {
    text_at(container, "/name").to_owned()
}

fn marked(object: &Json, version: &str, kind: &str) -> Json {
    let mut object = object.clone();
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    object
}

/// The Deployment that serves: the coloured one with replicas, else the one without a colour.
fn live_deployment<'a>(found: &'a Found, service: &str) -> Option<&'a Json> {
    let named = |wanted: &str| found.deployments.iter().flatten().find(|one| name(one) == wanted);
    let up = |one: &&Json| one["spec"]["replicas"].as_u64().unwrap_or(1) > 0;
    let colours = [Colour::Blue, Colour::Green].into_iter();
    colours.filter_map(|colour| named(&format!("{service}-{colour}"))).find(up).or_else(|| named(service))
}

fn of_rights(found: &Found, policy: &Policy) -> Vec<Finding> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut asked = 0;
    for right in &found.rights {
        asked += 1;
        if !right.allowed {
            missing.entry(right.purpose).or_default().push(&right.what);
        }
    }
    if missing.is_empty() {
        return vec![Finding::ok("rights", format!("{asked} of {asked}"))];
    }
    let fix = format!("somebody who may give rights in {} runs:", policy.place.namespace);
    let command = format!("portcullis cluster rbac {} | kubectl apply -f -\n", policy.target);
    let mut all: Vec<Finding> = missing
        .into_iter()
        .map(|(purpose, what)| {
            // A kind that cannot be listed is named in the backup; everything else stops a release.
            let only_less = ["back up", "restore", "see capacity"].iter().any(|less| purpose.starts_with(less))
                || purpose.contains("front");
            let level = if only_less { Level::Hold } else { Level::Fail };
            let (purpose, _) = purpose.split_once(':').unwrap_or((purpose, ""));
            let more = what.len().saturating_sub(5);
            let some = what.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let what = format!("to {purpose}, missing: {some}{more}");
            Finding { yaml: Some(command.clone()), ..Finding::bad("rights", level, what, fix.clone()) }
        })
        .collect();
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    all
}

fn of_service(found: &Found, service: &str, worker: bool, deployment: Option<&Json>) -> Vec<Finding> {
    if found.deployments.is_none() {
        return vec![Finding::bad(
            "services",
            Level::Hold,
            format!("{service}: not known, Deployments cannot be listed"),
            "give the right above, and ask again",
        )];
    }
    let Some(deployment) = deployment else {
        let what = format!("{service}: there is no Deployment {service} (nor one of a colour with pods)");
        let fix = "name the service as its Deployment is named, or create it: a release may bring its manifests";
        return vec![Finding::bad("services", Level::Fail, what, fix)];
    };
    let mut all = Vec::new();
    let pod = &deployment["spec"]["template"]["spec"];
    match own_container(deployment, pod, service) {
        Err(why) => all.push(Finding::bad(
            "services",
            Level::Fail,
            format!("{service}: {}", shown(&why)),
            format!("kubectl annotate deployment {} {}=NAME", shown(name(deployment)), crate::objects::CONTAINER),
        )),
        Ok(at) if pod["containers"][at]["readinessProbe"].is_null() && !worker => all.push(Finding::bad(
            "services",
            Level::Hold,
            format!("{service}: its container has no readinessProbe, so that a pod counts as ready when it starts"),
            "add a readinessProbe that answers when it can serve",
        )),
        Ok(_) => {}
    }
    if !worker {
        let front = found.services.iter().flatten().find(|front| name(front) == service);
        match front {
            Some(front) => {
                let selects = front["spec"]["selector"].as_object().cloned().unwrap_or_default();
                let labels = &deployment["spec"]["template"]["metadata"]["labels"];
                if selects.is_empty() || selects.iter().any(|(key, value)| labels.get(key) != Some(value)) {
                    all.push(Finding::bad(
                        "services",
                        Level::Fail,
                        format!(
                            "{service}: Service/{service} does not select the pods of Deployment/{}",
                            shown(name(deployment))
                        ),
                        "make its selector match the labels of the pods' template",
                    ));
                }
            }
            None if found.services.is_some() => all.push(Finding::bad(
                "services",
                Level::Fail,
                format!("{service}: there is no Service {service}"),
                "name it as the Deployment is named; or say kind: worker, if no requests come to it",
            )),
            None => {}
        }
    }
    if all.is_empty() {
        all.push(Finding::ok("services", format!("{service}: Deployment/{}", shown(name(deployment)))));
    }
    all
}

fn of_writers(writers: &[Conflict]) -> Vec<Finding> {
    if writers.is_empty() {
        return vec![Finding::ok("writers", "nobody else writes these objects")];
    }
    let of = |conflict: &Conflict| Finding {
        check: "writers",
        level: if conflict.writer.writes_again() { Level::Fail } else { Level::Hold },
        what: conflict.why.clone(),
        fix: Some(conflict.fix.clone()),
        yaml: conflict.yaml.clone(),
    };
    writers.iter().map(of).collect()
}

/// What has the weights of a Service, with what is written of it.
fn carrier(found: &Found, front: &Json, service: &ServiceName) -> Option<(Json, Vec<Field>)> {
    let way = Way::of(front).ok()?;
    let (kind, wanted) = way.carrier()?;
    let all =
        if matches!(way, Way::Route(_)) { &found.routes[..] } else { found.ingresses.as_deref().unwrap_or_default() };
    let mut object = all.iter().find(|one| name(one) == wanted)?.clone();
    kind.mark(&mut object);
    Some((object, vec![way.field(service)]))
}

fn of_capacity(found: &Found, policy: &Policy) -> Finding {
    let pods =
        |service: &str| live_deployment(found, service).map_or(0, |one| one["spec"]["replicas"].as_u64().unwrap_or(1));
    let needed: u64 = match policy.strategy {
        Strategy::BlueGreen { .. } => policy.services.iter().map(|service| pods(service.name.as_str())).sum(),
        Strategy::Rolling => policy.services.iter().map(|service| pods(service.name.as_str()).min(1)).sum(),
    };
    match found.room {
        None => Finding::ok(
            "capacity",
            format!("a release needs {needed} more pods; the cluster does not say how many fit (it may add nodes)"),
        ),
        Some(room) if u64::from(room) >= needed => {
            Finding::ok("capacity", format!("a release needs {needed} more pods; {room} fit"))
        }
        Some(room) => Finding::bad(
            "capacity",
            Level::Fail,
            format!("a release needs {needed} more pods; {room} fit"),
            "add nodes or raise the ResourceQuota; with strategy: rolling fewer are needed",
        ),
    }
}

/// Findings as text: the worst of each check in its mark, at most 100 columns. `ascii` for screens without signs.
pub fn text(findings: &[Finding], ascii: bool) -> String {
    let mark = |level: Level| match (level, ascii) {
        (Level::Ok, false) => "✓",
        (Level::Hold, false) => "◐",
        (Level::Fail, false) => "✗",
        (Level::Ok, true) => "ok  ",
        (Level::Hold, true) => "hold",
        (Level::Fail, true) => "FAIL",
    };
    let mut out = String::new();
    let indent = if ascii { 17 } else { 14 };
    for finding in findings {
        let head = format!("  {} {:<10}", mark(finding.level), finding.check);
        wrapped(&mut out, &head, indent, &finding.what);
        if let Some(fix) = &finding.fix {
            wrapped(&mut out, &format!("{:indent$}fix: ", ""), indent + 5, fix);
        }
        for line in finding.yaml.iter().flat_map(|yaml| yaml.lines()) {
            let _ = writeln!(out, "{:1$}{line}", "", indent + 5);
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let checks: BTreeSet<&str> = findings.iter().map(|finding| finding.check).collect();
    let _ = writeln!(
        out,
        "\n{} checks: {} ok, {} to look at, {} in the way",
        checks.len(),
        count(Level::Ok),
        count(Level::Hold),
        count(Level::Fail)
    );
    out
}

/// Words after a head, broken at spaces before the last column.
fn wrapped(out: &mut String, head: &str, indent: usize, words: &str) {
    out.push_str(head);
    let mut column = head.chars().count();
    let begin = column;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column > begin.max(indent) && column + 1 + length > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > begin.max(indent) {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests;
