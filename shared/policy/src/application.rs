//! One document: an application with its services, tests and notices. Its people and groups are in
//! [`crate::directory`], its environments in [`crate::environment`].

use std::collections::{BTreeMap, HashSet};

use portcullis_domain::names::{AppName, EnvName, ObjectName};
use portcullis_domain::policy::{MetricsFrom, OnFailure, Service, Test, TestKind};
use portcullis_domain::tags::TagPattern;
use portcullis_domain::time::Millis;

use crate::amounts;
use crate::diagnostic::{Diagnostic, Sink};
use crate::directory::{self, Directory};
use crate::grammar;
use crate::nearest::{shown, suggestion};
use crate::node::{Entry, Kind, Node, Span};
use crate::notices::{NoticeKind, Notices};
use crate::organisation::Organisation;
use crate::own_rules::Checked;
use crate::schema::{ROOT, Shape};
use crate::services;
use crate::shape::{Later, Walk};

/// One document, read as far as it can be read.
pub(crate) struct App<'a> {
    pub(crate) file: usize,
    pub(crate) text: &'a str,
    pub(crate) organisation: Option<&'a Organisation>,
    pub(crate) root: &'a Node<'a>,
    pub(crate) name: AppName,
    pub(crate) name_span: Span,
    pub(crate) source: Option<String>,
    pub(crate) tags: Vec<TagPattern>,
    pub(crate) services: Vec<Service>,
    pub(crate) tests: BTreeMap<&'a str, Test>,
    pub(crate) metrics_from: MetricsFrom,
    /// The CloudWatch namespace that its deployments are counted in.
    pub(crate) publish: Option<String>,
    /// With the organisation's.
    pub(crate) directory: Directory,
    pub(crate) environments: Vec<(EnvName, &'a Entry<'a>)>,
    pub(crate) notices: Notices,
    pub(crate) later: Vec<Later>,
    /// What is known of its rules.
    pub(crate) checked: Checked,
}

/// Reads one document. `None` if it does not even have a name.
pub(crate) fn read<'a>(
    file: usize,
    text: &'a str,
    root: &'a Node<'a>,
    organisation: Option<&'a Organisation>,
    sink: &mut Sink,
) -> Option<App<'a>> {
    if !matches!(root.kind, Kind::Map(_)) {
        let found = Diagnostic::error(format!("a policy is a map of keys, this is {}", root.described()));
        sink.push(found.label(file, root.span.clone(), "here").help("begin with: portcullis: 1"));
        return None;
    }
    if let Some(entry) = ["organisation", "always"].iter().find_map(|key| root.get(key)) {
        let key = &entry.key;
        sink.push(
            Diagnostic::error(format!("`{key}` is not a key of an application"))
                .label(file, entry.key_span.clone(), "belongs to an organisation")
                .help("write it in a document of its own, whose first key is  organisation: NAME"),
        );
        return None;
    }
    let begin = root.entries().first().map_or(root.span.clone(), |entry| entry.key_span.clone());
    let metrics = root.get("metrics").map_or(&[][..], |entry| entry.value.entries());
    let metrics = metrics.iter().flat_map(|service| service.value.entries()).map(|metric| metric.key.to_string());
    let mut walk = Walk { file, text, sink, path: Vec::new(), later: Vec::new(), metrics: metrics.collect() };
    walk.check(root, &begin, Shape::Section(ROOT));
    let later = walk.later;

    let services = services::read(file, root, sink);
    metric_services(file, root, sink);
    let tests = tests(file, root, sink);
    let directory = directory::read(file, root, organisation.map(|above| &above.directory), sink);
    let environments = environments(file, root, sink);
    let metrics = |key: &str| root.find(&["metrics", key]).and_then(|entry| entry.value.text());
    let name = root.get("application")?;
    Some(App {
        file,
        text,
        organisation,
        root,
        name: AppName::new(name.value.text()?).ok()?,
        name_span: name.value.span.clone(),
        source: root.get("repository").and_then(|entry| entry.value.text()).map(str::to_owned),
        tags: tags(file, root, sink),
        services,
        tests,
        metrics_from: if metrics("preset") == Some("alb") { MetricsFrom::Alb } else { MetricsFrom::Local },
        publish: metrics("publish").map(str::to_owned),
        directory,
        environments,
        notices: notices(root),
        later,
        checked: Checked::default(),
    })
}

fn tags(file: usize, root: &Node<'_>, sink: &mut Sink) -> Vec<TagPattern> {
    let Some(entry) = root.get("tags") else { return "{sha}".parse().into_iter().collect() };
    let items = entry.value.items();
    let patterns: Vec<TagPattern> = items.iter().filter_map(|item| item.text()?.parse().ok()).collect();
    if !patterns.is_empty() && patterns.len() == items.len() && !patterns.iter().any(TagPattern::names_commit) {
        sink.push(
            Diagnostic::error("no tag pattern names a commit")
                .label(file, entry.value.span.clone(), "none of these has {sha} or {sha7}")
                .help("add the one your build uses, such as {sha}: without a commit no release can be gathered"),
        );
    }
    patterns
}

fn metric_services(file: usize, root: &Node<'_>, sink: &mut Sink) {
    let Some(metrics) = root.get("metrics") else { return };
    let services = root.get("services").map_or(&[][..], |entry| entry.value.entries());
    let names: HashSet<&str> = services.iter().map(|service| &*service.key).collect();
    for entry in metrics.value.entries() {
        if !["preset", "prometheus", "publish"].contains(&&*entry.key) && !names.contains(&*entry.key) {
            let mut known: Vec<&str> = vec!["preset", "prometheus", "publish"];
            known.extend(services.iter().map(|service| &*service.key));
            let found = Diagnostic::error(format!("metrics: there is no service `{}`", shown(&entry.key)));
            let help = suggestion(&entry.key, &known, "keys and services");
            sink.push(found.label(file, entry.key_span.clone(), "neither a key nor a service").help(help));
        }
    }
}

fn tests<'a>(file: usize, root: &'a Node<'a>, sink: &mut Sink) -> BTreeMap<&'a str, Test> {
    let mut tests = BTreeMap::new();
    for entry in root.get("tests").map_or(&[][..], |entry| entry.value.entries()) {
        let Kind::Map(_) = entry.value.kind else { continue };
        let (http, job) = (entry.value.get("http"), entry.value.get("job"));
        let kind = match (http, job) {
            (Some(http), None) => {
                let requests = http.value.items().iter().filter_map(|item| item.text());
                let paths = requests.filter_map(|text| grammar::http_request(text).ok()).map(str::to_owned).collect();
                TestKind::Http { paths }
            }
            (None, Some(job)) => {
                let name = job.value.text().and_then(|text| ObjectName::new(text.strip_prefix("cronjob/")?).ok());
                let Some(cronjob) = name else { continue };
                TestKind::Job { cronjob }
            }
            (both, _) => {
                let (what, help) = match both {
                    Some(_) => ("both `http` and `job`", "make two tests of it"),
                    None => ("neither `http` nor `job`", "add, for example:  http: [GET /health]"),
                };
                let found = Diagnostic::error(format!("the test `{}` has {what}", shown(&entry.key)));
                sink.push(found.label(file, entry.key_span.clone(), "a test is one of them").help(help));
                continue;
            }
        };
        let default = if job.is_some() { Millis::minutes(10) } else { Millis::minutes(1) };
        let within = entry.value.get("within").and_then(|within| amounts::some_duration(within.value.text()?).ok());
        let on_failure = match entry.value.get("on_failure").and_then(|entry| entry.value.text()) {
            Some("continue") => OnFailure::Continue,
            _ => OnFailure::Stop,
        };
        let test = Test { name: entry.key.to_string(), kind, within: within.unwrap_or(default), on_failure };
        tests.insert(&*entry.key, test);
    }
    tests
}

fn environments<'a>(file: usize, root: &'a Node<'a>, sink: &mut Sink) -> Vec<(EnvName, &'a Entry<'a>)> {
    let Some(section) = root.get("environments") else { return Vec::new() };
    let entries = section.value.entries();
    if entries.is_empty() && matches!(section.value.kind, Kind::Map(_)) {
        sink.push(
            Diagnostic::error("there is no environment")
                .label(file, section.key_span.clone(), "nothing in it")
                .help("add one:  production: {mode: observe, cluster: NAME, namespace: NAME, strategy: rolling}"),
        );
    }
    entries.iter().filter_map(|entry| Some((EnvName::new(&entry.key).ok()?, entry))).collect()
}

fn notices(root: &Node<'_>) -> Notices {
    let mut notices = Notices::default();
    let Some(section) = root.get("notify") else { return notices };
    for (kind, name) in NoticeKind::ALL {
        let Some(entry) = section.value.get(name) else { continue };
        let route = notices.routes.entry(kind).or_default();
        for channel in entry.value.items().iter().filter_map(|item| grammar::channel(item.text()?).ok()) {
            if !route.contains(&channel) {
                route.push(channel);
            }
        }
    }
    notices
}
