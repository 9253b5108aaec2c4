//! Which target groups of Application Load Balancers serve a service, in which colour: read from the tags that the AWS
//! Load Balancer Controller puts on what it makes. Nobody types a load balancer's name.
//!
//! Elastic Load Balancing API Reference (version 2015-12-01), `DescribeTargetGroups`, `DescribeTags`. AWS Load Balancer
//! Controller, "Ingress annotations", sections "Resource Tags" and "`IngressGroup`", and its source,
//! `pkg/deploy/tracking/provider.go`:
//!
//! | tag | value on a target group |
//! | --- | --- |
//! | `elbv2.k8s.aws/cluster` | the EKS cluster's name |
//! | `ingress.k8s.aws/resource` | `NAMESPACE/INGRESS-SERVICE:PORT` |
//! | `ingress.k8s.aws/stack` | `NAMESPACE/INGRESS`; for Ingresses that share a load balancer the name of their `group.name` |
//!
//! **Colours.** The Kubernetes Service has our service's name, or there are two with `-blue` and `-green` behind it. The
//! group of the plain name serves both colours, which then are not told apart; beside it a group of one colour is
//! ambiguous.
//!
//! **Names.** `INGRESS-SERVICE` can be split at any of its hyphens. Where the stack names the Ingress there is one way;
//! else it is the longest name of ours that it ends with, and the group's own name must not contradict: the controller
//! writes the first eight letters and digits of the Service's name into it (`k8s-NAMESPACE-SERVICE-HASH`, in
//! `pkg/ingress/model_build_target_group.go`). What may as well be another Service's is an error that names both.
//!
//! Groups of a Network Load Balancer (`service.k8s.aws/resource`), of the Gateway API and those that are behind no load
//! balancer are passed over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::Client;
use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::{Colour, Place};
use portcullis_engine::ports::{PortError, PortResult};
use tokio::time::Instant;

use crate::error::found as why;
use crate::roles::{Clients, Roles};

const CLUSTER: &str = "elbv2.k8s.aws/cluster";
const RESOURCE: &str = "ingress.k8s.aws/resource";
const STACK: &str = "ingress.k8s.aws/stack";

/// Target groups of one answer, and groups whose tags are asked for at once: the most that Elastic Load Balancing allows.
const PAGE: i32 = 400;
const MOST_TAGGED: usize = 20;
/// So long is what was found taken as current.
const LIFE: Duration = Duration::from_mins(5);
/// So many letters and digits of a Service's name are in the name that the controller gives its target group.
const SHORTENED: usize = 8;

/// A target group behind one load balancer, by the values of CloudWatch's dimensions (Elastic Load Balancing User Guide,
/// "CloudWatch metrics for your Application Load Balancer").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Behind {
    /// `LoadBalancer`: `app/NAME/ID`.
    pub(crate) load_balancer: String,
    /// `TargetGroup`: `targetgroup/NAME/ID`.
    pub(crate) target_group: String,
}

/// The load balancers of all places.
#[derive(Debug)]
pub(crate) struct LoadBalancers {
    clients: Clients<Client>,
    known: Mutex<HashMap<Place, Known>>,
}

#[derive(Debug)]
struct Known {
    groups: Arc<TargetGroups>,
    found_at: Instant,
}

impl LoadBalancers {
    pub(crate) fn new(roles: Arc<Roles>) -> Self {
        Self { clients: Clients::new(roles, Client::new), known: Mutex::default() }
    }

    /// The target groups of a place, at most five minutes old.
    pub(crate) async fn target_groups(&self, place: &Place) -> PortResult<Arc<TargetGroups>> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(place)
            && known.found_at.elapsed() < LIFE
        {
            return Ok(known.groups.clone());
        }
        let client = self.clients.of(place, None)?;
        let groups = find(&client, place).await.map_err(|found| {
            PortError::new(format!("finding the target groups of {}/{}", place.cluster, place.namespace), found)
        })?;
        let known = Known { groups: Arc::new(groups), found_at: Instant::now() };
        let groups = known.groups.clone();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), known);
        Ok(groups)
    }

    /// Finds a place's target groups anew the next time: what was found is of no use.
    pub(crate) fn forget(&self, place: &Place) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(place);
    }
}

async fn find(client: &Client, place: &Place) -> Result<TargetGroups, String> {
    let mut behind: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut pages = client.describe_target_groups().page_size(PAGE).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| why(&error))?;
        for group in page.target_groups() {
            let load_balancers: Vec<String> =
                group.load_balancer_arns().iter().filter_map(|arn| application(arn)).map(str::to_owned).collect();
            if let (Some(arn), false) = (group.target_group_arn(), load_balancers.is_empty()) {
                behind.insert(arn.to_owned(), load_balancers);
            }
        }
    }
    let arns: Vec<&String> = behind.keys().collect();
    let mut groups = Vec::new();
    for some in arns.chunks(MOST_TAGGED) {
        let some = some.iter().map(|arn| (*arn).clone()).collect();
        let answer = client.describe_tags().set_resource_arns(Some(some)).send().await.map_err(|error| why(&error))?;
        for described in answer.tag_descriptions() {
            let tag =
                |key: &str| described.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
            if tag(CLUSTER) != Some(place.cluster.as_str()) {
                continue;
            }
            let (Some(arn), Some(resource)) = (described.resource_arn(), tag(RESOURCE)) else { continue };
            let Some(load_balancers) = behind.get(arn) else { continue };
            groups.extend(TargetGroup::read(arn, load_balancers, &place.namespace, resource, tag(STACK)));
        }
    }
    Ok(TargetGroups(groups))
}

/// The `LoadBalancer` dimension of an Application Load Balancer, from its ARN; none = it is of another kind.
fn application(arn: &str) -> Option<&str> {
    let (_, name) = arn.rsplit_once(":loadbalancer/")?;
    name.starts_with("app/").then_some(name)
}

/// The target groups of one place.
#[derive(Debug)]
pub(crate) struct TargetGroups(Vec<TargetGroup>);

/// One that the controller made for an Ingress of the place's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TargetGroup {
    /// `targetgroup/NAME/ID`.
    id: String,
    /// `app/NAME/ID` of each load balancer in front.
    load_balancers: Vec<String>,
    /// `INGRESS-SERVICE`.
    backend: String,
    /// Of it, the Service where the stack says which part is the Ingress.
    service: Option<String>,
}

impl fmt::Display for TargetGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.backend)
    }
}

impl TargetGroup {
    /// None = it belongs to another namespace, or to nothing that we know.
    fn read(
        arn: &str,
        load_balancers: &[String],
        namespace: &str,
        resource: &str,
        stack: Option<&str>,
    ) -> Option<Self> {
        let (_, id) = arn.rsplit_once(':')?;
        let (within, rest) = resource.split_once('/')?;
        let (backend, _port) = rest.rsplit_once(':')?;
        // The name of a `group.name` has no slash.
        let service = match stack.and_then(|stack| stack.split_once('/')) {
            Some((_, ingress)) => Some(backend.strip_prefix(ingress)?.strip_prefix('-')?.to_owned()),
            None => None,
        };
        let (id, backend) = (id.to_owned(), backend.to_owned());
        (within == namespace).then(|| Self { id, load_balancers: load_balancers.to_vec(), backend, service })
    }

    /// The Service it is of, if that is one of these, and whether that is certain.
    fn of<'n>(&self, names: &'n BTreeSet<String>) -> Option<(&'n str, bool)> {
        if let Some(service) = &self.service {
            return names.get(service).map(|name| (name.as_str(), true));
        }
        let ends = |name: &&String| {
            let ingress = self.backend.strip_suffix(name.as_str()).and_then(|rest| rest.strip_suffix('-'));
            ingress.is_some_and(|ingress| !ingress.is_empty()) && self.is_named_after(name) != Some(false)
        };
        let name = names.iter().filter(ends).max_by_key(|name| name.len())?;
        Some((name.as_str(), self.is_named_after(name) == Some(true)))
    }

    /// Whether its own name is made of that of this Service; none = it is not one of the controller's making.
    fn is_named_after(&self, service: &str) -> Option<bool> {
        let mut parts = self.id.split('/').nth(1)?.split('-');
        let (Some("k8s"), Some(_), Some(shortened), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        Some(service.chars().filter(char::is_ascii_alphanumeric).take(SHORTENED).eq(shortened.chars()))
    }

    fn behind(&self) -> impl Iterator<Item = Behind> {
        let target_group = &self.id;
        self.load_balancers.iter().map(move |load_balancer| Behind {
            load_balancer: load_balancer.clone(),
            target_group: target_group.clone(),
        })
    }
}

/// A group with whether it is certain whose it is.
type Found<'g> = (&'g TargetGroup, bool);

impl TargetGroups {
    /// The target groups of each of these services in this colour; one that has none is absent. Says in words which two
    /// groups cannot both be a service's.
    pub(crate) fn serving(
        &self,
        services: &BTreeMap<ServiceName, Colour>,
    ) -> Result<BTreeMap<ServiceName, BTreeSet<Behind>>, String> {
        let of_colour = |service: &ServiceName, colour: Colour| format!("{service}-{colour}");
        let names: BTreeSet<String> = services
            .keys()
            .flat_map(|name| [name.to_string(), of_colour(name, Colour::Blue), of_colour(name, Colour::Green)])
            .collect();
        let mut by_name: BTreeMap<&str, Vec<Found<'_>>> = BTreeMap::new();
        for group in &self.0 {
            if let Some((name, certain)) = group.of(&names) {
                by_name.entry(name).or_default().push((group, certain));
            }
        }
        let of_name = |name: &str| by_name.get(name).map_or(&[][..], Vec::as_slice);
        let mut serving = BTreeMap::new();
        for (service, colour) in services {
            let of_both = of_name(service.as_str());
            let (own, other) = (of_name(&of_colour(service, *colour)), of_name(&of_colour(service, colour.other())));
            let ambiguous = |(one, two): (&TargetGroup, &TargetGroup)| {
                format!("the target groups {one} and {two} may both be of {service}: which of them counts?")
            };
            if let (Some(&(one, _)), Some(&(two, _))) = (of_both.first(), own.first().or(other.first())) {
                return Err(ambiguous((one, two)));
            }
            let groups = if of_both.is_empty() { own } else { of_both };
            if let Some(two) = apart(groups) {
                return Err(ambiguous(two));
            }
            if !groups.is_empty() {
                serving.insert(service.clone(), groups.iter().flat_map(|(group, _)| group.behind()).collect());
            }
        }
        Ok(serving)
    }
}

/// Two groups of one name of which one may be another Service's: it is not certain whose it is, and what is before that
/// name differs.
fn apart<'g>(groups: &[Found<'g>]) -> Option<(&'g TargetGroup, &'g TargetGroup)> {
    let &(guessed, _) = groups.iter().find(|(_, certain)| !certain)?;
    let &(other, _) = groups.iter().find(|(other, _)| other.backend != guessed.backend)?;
    Some((guessed, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: Option<&str> = Some("shared-alb");

    /// A group of the namespace `shop`, by its name, what it is for, and its stack.
    fn group(name: &str, backend: &str, stack: Option<&str>) -> Option<TargetGroup> {
        let arn = format!("arn:aws:elasticloadbalancing:us-east-1:444444444444:targetgroup/{name}/1");
        TargetGroup::read(&arn, &["app/main/1".to_owned()], "shop", &format!("shop/{backend}:80"), stack)
    }

    /// The names of the groups that serve each of these services in green.
    fn serving(groups: &[Option<TargetGroup>], services: &[&str]) -> Result<BTreeMap<String, Vec<String>>, String> {
        let services = services.iter().map(|name| (ServiceName::new(name).unwrap(), Colour::Green)).collect();
        let groups = TargetGroups(groups.iter().flatten().cloned().collect());
        let name = |behind: &Behind| behind.target_group.split('/').nth(1).unwrap_or_default().to_owned();
        let told = groups.serving(&services)?;
        Ok(told.iter().map(|(service, behind)| (service.to_string(), behind.iter().map(name).collect())).collect())
    }

    fn named(all: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        all.iter().map(|(name, of)| ((*name).to_owned(), of.iter().map(|&one| one.to_owned()).collect())).collect()
    }

    #[test]
    fn each_colour_has_the_group_of_its_own_service() {
        let (blue, green) =
            (group("one", "main-web-blue", Some("shop/main")), group("two", "main-web-green", Some("shop/main")));
        assert_eq!(serving(&[blue.clone(), green], &["web"]).unwrap(), named(&[("web", &["two"])]));
        // The other colour's says nothing of this one.
        assert_eq!(serving(&[blue], &["web"]).unwrap(), named(&[]));
    }

    #[test]
    fn the_group_of_the_plain_name_serves_both_colours_and_none_beside_it() {
        let both = group("one", "main-web", Some("shop/main"));
        assert_eq!(serving(std::slice::from_ref(&both), &["web"]).unwrap(), named(&[("web", &["one"])]));
        for colour in ["blue", "green"] {
            let own = group("two", &format!("main-web-{colour}"), Some("shop/main"));
            let error = serving(&[both.clone(), own], &["web"]).unwrap_err();
            let expected = format!(
                "the target groups targetgroup/one/1 (main-web) and targetgroup/two/1 (main-web-{colour}) may both be of \
                 web: which of them counts?"
            );
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn the_ingress_is_where_the_stack_says() {
        let group = group("one", "main-admin-web", Some("shop/main"));
        assert_eq!(serving(std::slice::from_ref(&group), &["web"]).unwrap(), named(&[]));
        assert_eq!(serving(&[group], &["web", "admin-web"]).unwrap(), named(&[("admin-web", &["one"])]));
    }

    #[test]
    fn of_several_names_of_ours_the_longest_wins() {
        let group = group("one", "main-admin-web", SHARED);
        assert_eq!(serving(&[group], &["web", "admin-web"]).unwrap(), named(&[("admin-web", &["one"])]));
    }

    #[test]
    fn a_service_named_as_the_whole_leaves_no_ingress_and_is_not_it() {
        assert_eq!(
            serving(&[group("one", "web", SHARED), group("two", "-web", SHARED)], &["web"]).unwrap(),
            named(&[])
        );
    }

    #[test]
    fn a_group_that_is_named_after_another_service_is_not_taken() {
        let foreign = group("k8s-shop-adminweb-0a1b2c3d4e", "main-admin-web", SHARED);
        let ours = group("k8s-shop-web-0a1b2c3d4e", "main-web", SHARED);
        assert_eq!(serving(std::slice::from_ref(&foreign), &["web"]).unwrap(), named(&[]));
        assert_eq!(serving(&[foreign, ours], &["web"]).unwrap(), named(&[("web", &["k8s-shop-web-0a1b2c3d4e"])]));
        // Nor by a longer name of ours: here the Ingress is main-admin.
        let ours = group("k8s-shop-web-0a1b2c3d4e", "main-admin-web", SHARED);
        let found = serving(&[ours], &["web", "admin-web"]).unwrap();
        assert_eq!(found, named(&[("web", &["k8s-shop-web-0a1b2c3d4e"])]));
    }

    #[test]
    fn long_names_are_told_by_their_beginning() {
        let group = group("k8s-shop-springbo-0a1b2c3d4e", "main-springboot-service-green", SHARED);
        let expected = named(&[("springboot-service", &["k8s-shop-springbo-0a1b2c3d4e"])]);
        assert_eq!(serving(&[group], &["springboot-service", "service"]).unwrap(), expected);
    }

    #[test]
    fn several_ingresses_and_ports_of_one_service_are_all_its_own() {
        for (name, stacks) in [("k8s-shop-web", [SHARED, SHARED]), ("any", [Some("shop/public"), Some("shop/inside")])]
        {
            let groups = [
                group(&format!("{name}-1"), "public-web", stacks[0]),
                group(&format!("{name}-2"), "inside-web", stacks[1]),
            ];
            let (one, two) = (format!("{name}-1"), format!("{name}-2"));
            assert_eq!(serving(&groups, &["web"]).unwrap(), named(&[("web", &[one.as_str(), two.as_str()])]));
        }
    }

    #[test]
    fn what_may_be_another_services_is_an_error_that_names_both() {
        let (one, two) = (group("one", "main-web", SHARED), group("two", "main-admin-web", SHARED));
        let error = serving(&[one.clone(), two], &["web"]).unwrap_err();
        assert!(error.contains("targetgroup/one/1 (main-web)"), "{error}");
        assert!(error.contains("targetgroup/two/1 (main-admin-web)"), "{error}");
        // Two ports of what is before the same name are the same Service's, whichever that is.
        let port = group("two", "main-web", SHARED);
        assert_eq!(serving(&[one, port], &["web"]).unwrap(), named(&[("web", &["one", "two"])]));
    }

    #[test]
    fn what_is_tagged_otherwise_is_nobodys() {
        let read =
            |resource: &str, stack| TargetGroup::read("arn:aws:x:targetgroup/one/1", &[], "shop", resource, stack);
        assert!(read("shop/main-web:http", Some("shop/main")).is_some(), "a port may have a name");
        for resource in ["other/main-web:80", "shop/main-web", "FrontendNlb-tg-TCP-80", "shopping/main-web:80"] {
            assert_eq!(read(resource, SHARED), None, "{resource}");
        }
        assert_eq!(read("shop/main-web:80", Some("shop/other")), None, "of no Ingress of its stack");
    }

    #[test]
    fn only_application_load_balancers_have_these_metrics() {
        let arn =
            |kind: &str| format!("arn:aws:elasticloadbalancing:us-east-1:444444444444:loadbalancer/{kind}/main/1");
        assert_eq!(application(&arn("app")), Some("app/main/1"));
        for kind in ["net", "gwy"] {
            assert_eq!(application(&arn(kind)), None, "{kind}");
        }
    }
}
