//! A first policy from what runs in a namespace: `mode: observe`, so that it changes nothing, and every guess marked.
//!
//! [`see`] reads the namespace; [`policy`] writes the text, without I/O. What it writes passes `portcullis policy check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portcullis_domain::names::{AppName, EnvName, Repository, ServiceName};
use portcullis_domain::policy::{Colour, Service, ServiceKind};
use portcullis_engine::ports::{PortError, PortResult};
use serde_json::Value as Json;

use crate::backup::object::{label, list, name, text};
use crate::backup::wire::{Ask, MOST_PAGE, Wire, answer, encoded, shown};
use crate::backup::yaml_write::word;
use crate::objects::{SERVICE, own_container, repository_in};
use crate::traffic::refusal;

/// The most services of one application.
const MOST_SERVICES: usize = 50;
/// From this column on, a comment stands behind its line.
const COMMENT: usize = 49;

/// What runs in a namespace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Seen {
    /// Its Deployments.
    pub deployments: Vec<Json>,
    /// Its Services.
    pub services: Vec<Json>,
    /// Its Ingresses.
    pub ingresses: Vec<Json>,
    /// What the AWS Load Balancer Controller keeps per target group.
    pub bindings: Vec<Json>,
}

/// What a policy is called, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    /// The application.
    pub application: &'a AppName,
    /// The environment.
    pub environment: &'a EnvName,
    /// The EKS cluster's name, or the kubeconfig context.
    pub cluster: &'a str,
    /// The namespace.
    pub namespace: &'a str,
}

/// Reads a namespace.
///
/// # Errors
/// When the cluster cannot be reached, or Deployments or Services may not be listed.
pub async fn see(wire: &dyn Wire, namespace: &str) -> PortResult<Seen> {
    let listed = async |api: &str, resource: &str, must: bool| -> PortResult<Vec<Json>> {
        let doing = format!("listing {resource} of {}", shown(namespace));
        let path = format!("{api}/namespaces/{}/{resource}", encoded(namespace));
        let said = answer(wire, Ask::get(path).at_most(MOST_PAGE), &doing).await?;
        if !said.is_success() {
            return if must { Err(PortError::new(doing, said.words())) } else { Ok(Vec::new()) };
        }
        Ok(list(&said.json(&doing)?, "/items").to_vec())
    };
    Ok(Seen {
        deployments: listed("/apis/apps/v1", "deployments", true).await?,
        services: listed("/api/v1", "services", true).await?,
        ingresses: listed("/apis/networking.k8s.io/v1", "ingresses", false).await?,
        bindings: listed("/apis/elbv2.k8s.aws/v1beta1", "targetgroupbindings", false).await?,
    })
}

struct Found<'a> {
    name: ServiceName,
    repository: Repository,
    serving: bool,
    /// The path that its readiness is asked at.
    health: Option<String>,
    front: Option<&'a Json>,
    remark: Option<String>,
}

/// Writes a policy.
///
/// # Errors
/// When there is nothing to write one of, in words.
pub fn policy(seen: &Seen, place: &Place<'_>) -> Result<String, String> {
    let (services, left) = services(seen);
    if services.is_empty() {
        let none = format!("no Deployment of the namespace {} can be a service", shown(place.namespace));
        return Err(std::iter::once(none).chain(left).collect::<Vec<_>>().join("\n  "));
    }
    if services.len() > MOST_SERVICES {
        return Err(format!(
            "the namespace {} has {} services, an application at most {MOST_SERVICES}: make several applications of it",
            shown(place.namespace),
            services.len()
        ));
    }
    let registry = registry(&services);
    let mut out = String::new();
    head(&mut out, place, &services, registry.as_deref());
    environment(&mut out, seen, place, &services);
    tail(&mut out, seen, &services);
    if !left.is_empty() {
        out.push('\n');
    }
    for line in left {
        let _ = writeln!(out, "# Left out: {line}");
    }
    Ok(out)
}

fn head(out: &mut String, place: &Place<'_>, services: &[Found<'_>], registry: Option<&str>) {
    let _ = writeln!(
        out,
        "# Written by `portcullis init --from-cluster` from what runs in the namespace {}.\n\
         # It only observes. Look through it, then: portcullis policy check FILE",
        shown(place.namespace)
    );
    let _ = writeln!(out, "portcullis: 1\napplication: {}", word(place.application.as_str()));
    if let Some(registry) = registry {
        line(out, &format!("registry: {}", word(registry)), "image = registry/service");
    }
    out.push_str("\nservices:\n");
    for service in services {
        let mut keys = Vec::new();
        let by_registry = registry.map(|registry| format!("{registry}/{}", service.name));
        if by_registry.as_deref() != Some(service.repository.as_str()) {
            keys.push(format!("image: {}", word(service.repository.as_str())));
        }
        if !service.serving {
            keys.push("kind: worker".to_owned());
        }
        let keys = if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) };
        let remark = service.remark.clone().unwrap_or_default();
        line(out, &format!("  {}: {keys}", word(service.name.as_str())), &remark);
    }
    if services.len() > 1 {
        out.push_str("  # which comes up first is not known:  after: NAME\n");
    }
}

fn environment(out: &mut String, seen: &Seen, place: &Place<'_>, services: &[Found<'_>]) {
    let _ = writeln!(out, "\nenvironments:\n  {}:", word(place.environment.as_str()));
    line(out, "    mode: observe", "then gate, then deploy: one word each, and back");
    let ecr = services.iter().find_map(|service| ecr(&service.repository));
    if let Some((account, region)) = &ecr {
        line(out, &format!("    account: \"{account}\""), "the registry's: is the cluster in another?");
        line(out, &format!("    region: {region}"), "");
    }
    line(
        out,
        &format!("    cluster: {}", word(&one_line(place.cluster))),
        "an EKS cluster's name, or a kubeconfig context",
    );
    line(out, &format!("    namespace: {}", word(place.namespace)), "");
    line(out, "    branch: main", "a push to it opens a release");
    let refused = services
        .iter()
        .find_map(|service| Some((service.name.as_str(), refusal(service.front?, &seen.ingresses, &seen.bindings)?)));
    match refused {
        Some((service, _)) => {
            line(
                out,
                "    strategy: rolling",
                &format!("{service} is behind a load balancer to its pods: see cluster doctor"),
            );
        }
        None => line(out, "    strategy: blue-green", ""),
    }
    out.push_str("    gates:\n");
    if ecr.is_some() {
        line(out, "      scan: { critical: block }", "");
    } else {
        line(out, "      # scan: { critical: block }", "where the registry scans images");
    }
    line(out, "      # approvals: [1 of owners]", "never the requester, an author or a bot; needs groups");
    out.push_str("      expire: 24h\n");
    if health(services).is_some() {
        line(out, "    verify: [smoke]", "before it serves");
    }
    if has_alb(seen) {
        out.push_str("    watch:\n      for: 5m\n");
        line(out, "      healthy: { error_rate: below 1% }", "answers with 5xx");
    } else {
        line(out, "    watch: { for: 5m }", "readiness; add healthy: with metrics that you have");
    }
}

fn tail(out: &mut String, seen: &Seen, services: &[Found<'_>]) {
    if let Some(path) = health(services) {
        let _ = writeln!(out, "\ntests:\n  smoke: {{ http: [{}] }}", word(&format!("GET {path}")));
    }
    if has_alb(seen) {
        out.push_str("\nmetrics: { preset: alb }\n");
    }
    out.push_str("\n# people:\n#   kofi: { github: kofi-m }\n# groups:\n#   owners: [kofi]\n");
    out.push_str("\nnotify:\n  everything: [terminal]\n");
}

/// One line, with a comment behind it if there is one.
fn line(out: &mut String, text: &str, comment: &str) {
    out.push_str(text);
    if !comment.is_empty() {
        let gap = COMMENT.saturating_sub(text.chars().count()).max(1);
        let _ = write!(out, "{:gap$}# {}", "", one_line(comment));
    }
    out.push('\n');
}

fn one_line(text: &str) -> String {
    shown(text)
}

/// The services, by name, and the Deployments that are none, with why.
fn services(seen: &Seen) -> (Vec<Found<'_>>, Vec<String>) {
    let (mut found, mut left): (Vec<Found<'_>>, Vec<String>) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    let mut sorted: Vec<&Json> = seen.deployments.iter().collect();
    // What requests come to first: of two with one image, it is the service.
    sorted.sort_by_key(|deployment| (front(seen, deployment).is_none(), name(deployment)));
    for deployment in sorted {
        // A colour of ours is its service.
        let own = label(deployment, SERVICE).unwrap_or_else(|| name(deployment)).to_owned();
        if names.contains(&own) {
            continue;
        }
        match one(seen, deployment, &own) {
            Ok(service) => {
                if let Some(other) = found.iter().find(|other| other.repository == service.repository) {
                    left.push(format!(
                        "{own} runs the image of {}: a push must say which service it is for, so each needs a repository \
                         of its own",
                        other.name
                    ));
                } else {
                    names.insert(own);
                    found.push(service);
                }
            }
            Err(why) => left.push(format!("{}: {why}", shown(&own))),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    (found, left)
}

fn one<'a>(seen: &'a Seen, deployment: &Json, own: &str) -> Result<Found<'a>, String> {
    let service = ServiceName::new(own).map_err(|error| format!("its name {}", error.why))?;
    let pod = &deployment["spec"]["template"]["spec"];
    let containers = list(pod, "/containers");
    let (at, unsure) = match own_container(deployment, pod, own) {
        Ok(at) => (at, None),
        Err(_) if containers.is_empty() => return Err("it has no container".into()),
        Err(_) => {
            (0, Some(format!("the first of {} containers: annotate {}", containers.len(), crate::objects::CONTAINER)))
        }
    };
    let container = &containers[at];
    let image = full(repository_in(text(container, "/image")));
    if image.starts_with("docker.io/library/") {
        return Err(format!("{} is nobody's own image", shown(&image)));
    }
    let repository = Repository::new(&image).map_err(|error| format!("its image repository {}", error.why))?;
    let front = front(seen, deployment);
    let kind = if front.is_some() { ServiceKind::Serving } else { ServiceKind::Worker { overlap: false } };
    let whole = Service {
        name: service.clone(),
        repository: repository.clone(),
        source: None,
        wave: 0,
        after: Vec::new(),
        kind,
    };
    if whole.workload_name(Colour::Green).is_none() {
        return Err("its name is too long for a colour behind it".into());
    }
    let health = text(container, "/readinessProbe/httpGet/path");
    let fine = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '#' | '<' | '>');
    let health =
        (health.starts_with('/') && !health.starts_with("//") && health.len() <= 256 && health.chars().all(fine))
            .then(|| health.to_owned());
    Ok(Found { name: service, repository, serving: front.is_some(), health, front, remark: unsure })
}

/// The Service in front of a Deployment's pods.
fn front<'a>(seen: &'a Seen, deployment: &Json) -> Option<&'a Json> {
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    seen.services.iter().find(|service| {
        let selector = service["spec"]["selector"].as_object();
        selector.is_some_and(|by| !by.is_empty() && by.iter().all(|(key, value)| labels.get(key) == Some(value)))
    })
}

/// An image's repository with its registry's host (`nginx` is `docker.io/library/nginx`).
fn full(repository: &str) -> String {
    match repository.split_once('/') {
        None => format!("docker.io/library/{repository}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => repository.to_owned(),
        Some(_) => format!("docker.io/{repository}"),
    }
}

/// What comes before the service's name in most repositories.
fn registry(services: &[Found<'_>]) -> Option<String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for service in services {
        let own = format!("/{}", service.name);
        if let Some(registry) = service.repository.as_str().strip_suffix(&own) {
            *count.entry(registry).or_default() += 1;
        }
    }
    count
        .into_iter()
        .max_by_key(|(registry, count)| (*count, std::cmp::Reverse(*registry)))
        .map(|(registry, _)| registry.to_owned())
}

/// Account and region of an ECR repository: `ACCOUNT.dkr.ecr.REGION.amazonaws.com/…`.
fn ecr(repository: &Repository) -> Option<(String, String)> {
    let host = repository.as_str().split('/').next()?;
    let (account, rest) = host.split_once(".dkr.ecr.")?;
    let region = rest.split(".amazonaws.com").next()?;
    let fine = account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit()) && !region.is_empty();
    fine.then(|| (account.to_owned(), region.to_owned()))
}

/// The path that all serving services answer their readiness at: a test asks each of them for the same.
fn health<'a>(services: &'a [Found<'_>]) -> Option<&'a str> {
    let mut serving = services.iter().filter(|service| service.serving);
    let first = serving.next()?.health.as_deref()?;
    serving.all(|service| service.health.as_deref() == Some(first)).then_some(first)
}

fn has_alb(seen: &Seen) -> bool {
    seen.ingresses.iter().any(|ingress| {
        let class = text(ingress, "/spec/ingressClassName");
        let annotations = ingress.pointer("/metadata/annotations").and_then(Json::as_object);
        class.contains("alb")
            || annotations.is_some_and(|all| all.keys().any(|key| key.starts_with("alb.ingress.kubernetes.io/")))
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    fn deployment(name: &str, image: &str, health: Option<&str>) -> Json {
        let mut container = json!({ "name": name, "image": image });
        if let Some(path) = health {
            container["readinessProbe"] = json!({ "httpGet": { "path": path, "port": 8080 } });
        }
        json!({ "metadata": { "name": name }, "spec": { "template": { "metadata": { "labels": { "app": name } },
            "spec": { "containers": [container] } } } })
    }

    fn service(name: &str) -> Json {
        json!({ "metadata": { "name": name }, "spec": { "selector": { "app": name }, "ports": [{ "port": 80 }] } })
    }

    fn written(seen: &Seen) -> Result<String, String> {
        let (application, environment) = (AppName::new("shop").unwrap(), EnvName::new("production").unwrap());
        let place = Place {
            application: &application,
            environment: &environment,
            cluster: "arn:aws:eks:eu-west-1:444444444444:cluster/shop",
            namespace: "shop-prod",
        };
        policy(seen, &place)
    }

    fn checked(text: &str) -> portcullis_policy::PolicySet {
        match portcullis_policy::load(&[("policy.yaml".into(), text.to_owned())]) {
            Ok(set) => set,
            Err(report) => panic!("{report:?}\n{text}"),
        }
    }

    #[test]
    fn a_namespace_becomes_a_policy_that_passes_the_check_and_only_observes() {
        let ecr = |name: &str| format!("444444444444.dkr.ecr.eu-west-1.amazonaws.com/shop/{name}:1.2");
        let seen = Seen {
            deployments: vec![
                deployment("web", &ecr("web"), Some("/health")),
                deployment("api", &ecr("backend-api"), Some("/health")),
                deployment("jobs", &ecr("jobs"), None),
                deployment("mailer", &ecr("jobs"), None),
                deployment("cache", "redis:7", None),
            ],
            services: vec![service("web"), service("api"), service("cache")],
            ..Seen::default()
        };
        let text = written(&seen).unwrap();
        let set = checked(&text);
        assert_eq!(set.policies.len(), 1);
        assert_eq!(set.policies[0].mode, portcullis_domain::policy::Mode::Observe);
        assert_snapshot!(text, @r#"
        # Written by `portcullis init --from-cluster` from what runs in the namespace shop-prod.
        # It only observes. Look through it, then: portcullis policy check FILE
        portcullis: 1
        application: shop
        registry: "444444444444.dkr.ecr.eu-west-1.amazonaws.com/shop" # image = registry/service

        services:
          api: { image: "444444444444.dkr.ecr.eu-west-1.amazonaws.com/shop/backend-api" }
          jobs: { kind: worker }
          web: {}
          # which comes up first is not known:  after: NAME

        environments:
          production:
            mode: observe                                # then gate, then deploy: one word each, and back
            account: "444444444444"                      # the registry's: is the cluster in another?
            region: eu-west-1
            cluster: arn:aws:eks:eu-west-1:444444444444:cluster/shop # an EKS cluster's name, or a kubeconfig context
            namespace: shop-prod
            branch: main                                 # a push to it opens a release
            strategy: blue-green
            gates:
              scan: { critical: block }
              # approvals: [1 of owners]                 # never the requester, an author or a bot; needs groups
              expire: 24h
            verify: [smoke]                              # before it serves
            watch: { for: 5m }                           # readiness; add healthy: with metrics that you have

        tests:
          smoke: { http: ["GET /health"] }

        # people:
        #   kofi: { github: kofi-m }
        # groups:
        #   owners: [kofi]

        notify:
          everything: [terminal]

        # Left out: cache: docker.io/library/redis is nobody's own image
        # Left out: mailer runs the image of jobs: a push must say which service it is for, so each needs a repository of its own
        "#);
    }

    #[test]
    fn behind_a_load_balancer_to_the_pods_it_rolls_and_measures_there() {
        let ingress = json!({ "metadata": { "name": "front", "annotations": { "alb.ingress.kubernetes.io/target-type": "ip" } },
            "spec": { "ingressClassName": "alb", "defaultBackend": { "service": { "name": "web" } } } });
        let seen = Seen {
            deployments: vec![deployment("web", "ghcr.io/example/web@sha256:00", Some("/healthz"))],
            services: vec![service("web")],
            ingresses: vec![ingress],
            ..Seen::default()
        };
        let text = written(&seen).unwrap();
        checked(&text);
        assert!(text.contains("strategy: rolling") && text.contains("metrics: { preset: alb }"), "{text}");
    }

    #[test]
    fn names_from_a_cluster_can_not_write_policy() {
        let mut odd = deployment("web", "ghcr.io/example/web:1", Some("/x\nmode: deploy"));
        odd["spec"]["template"]["spec"]["containers"][0]["name"] = "a\nb".into();
        odd["spec"]["template"]["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": "c", "image": "x" }));
        let seen = Seen {
            deployments: vec![
                odd,
                deployment("bad\nmode: deploy", "ghcr.io/example/bad", None),
                deployment("y", "ghcr.io/example/y", None),
            ],
            ..Seen::default()
        };
        let text = written(&seen).unwrap();
        let set = checked(&text);
        assert_eq!(set.policies[0].services.len(), 2);
        assert!(!text.lines().any(|line| line.trim_start().starts_with("mode: deploy")), "{text}");
    }

    #[test]
    fn a_namespace_without_services_is_told_why() {
        let seen = Seen { deployments: vec![deployment("cache", "redis", None)], ..Seen::default() };
        assert_eq!(
            written(&seen).unwrap_err(),
            "no Deployment of the namespace shop-prod can be a service\n  cache: docker.io/library/redis is nobody's own image"
        );
    }

    #[test]
    fn a_repository_has_its_registrys_host() {
        assert_eq!(full("nginx"), "docker.io/library/nginx");
        assert_eq!(full("team/web"), "docker.io/team/web");
        assert_eq!(full("localhost:5000/web"), "localhost:5000/web");
    }
}
