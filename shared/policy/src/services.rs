//! The services of an application: their images, and the waves that follow from who comes after whom.

use std::collections::{BTreeMap, HashMap};

use portcullis_domain::names::{Repository, ServiceName};
use portcullis_domain::policy::{Colour, Service, ServiceKind};

use crate::diagnostic::{Diagnostic, Sink};
use crate::nearest::{shown, suggestion};
use crate::node::{Entry, Kind, Node, Span};

/// The most services of one application.
const MOST: usize = 50;

struct Read<'a> {
    entry: &'a Entry<'a>,
    service: Service,
    /// What it comes after: the place in the list, and where that is written.
    after: Vec<(usize, Span)>,
}

/// The services by wave and name; those that cannot be read are left out.
pub(crate) fn read(file: usize, root: &Node<'_>, sink: &mut Sink) -> Vec<Service> {
    let Some(section) = root.get("services") else { return Vec::new() };
    let Kind::Map(entries) = &section.value.kind else { return Vec::new() };
    if entries.is_empty() || entries.len() > MOST {
        let found =
            Diagnostic::error(format!("an application has 1 to {MOST} services, this one has {}", entries.len()));
        let found = found.label(file, section.key_span.clone(), "these");
        sink.push(found.help(if entries.is_empty() { "add one:  api: {}" } else { "make several applications of it" }));
        return Vec::new();
    }
    let registry = root.get("registry").and_then(|entry| entry.value.text());
    let mut list: Vec<Read<'_>> = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(service) = one(file, entry, registry, sink) {
            list.push(Read { entry, service, after: Vec::new() });
        }
    }
    after(file, &mut list, entries, sink);
    repositories(file, &list, sink);
    waves(file, &mut list, sink);
    let mut services: Vec<Service> = list.into_iter().map(|read| read.service).collect();
    services.sort_by(|a, b| (a.wave, &a.name).cmp(&(b.wave, &b.name)));
    services
}

fn one(file: usize, entry: &Entry<'_>, registry: Option<&str>, sink: &mut Sink) -> Option<Service> {
    let name = ServiceName::new(&entry.key).ok()?;
    let text = |key: &str| entry.value.get(key).and_then(|entry| entry.value.text());
    let image = match (text("image"), registry) {
        (Some(image), _) => Repository::new(image).ok(),
        (None, Some(registry)) => {
            let image = format!("{registry}/{name}");
            let found = Repository::new(&image);
            if let (Err(error), Ok(_)) = (&found, Repository::new(registry)) {
                let message = format!("the image repository of {name} {}", error.why);
                sink.push(Diagnostic::error(message).label(file, entry.key_span.clone(), "registry/service"));
            }
            found.ok()
        }
        (None, None) => {
            sink.push(
                Diagnostic::error(format!("{name} has no image repository"))
                    .label(file, entry.key_span.clone(), "no `image` here, and no `registry` above")
                    .help("add `registry: HOST/PATH` to the policy, or `image:` to the service"),
            );
            None
        }
    };
    let worker = text("kind") == Some("worker");
    if let (Some(overlap), false) = (entry.value.get("overlap"), worker) {
        sink.push(
            Diagnostic::error(format!("{name} is no worker, so `overlap` means nothing"))
                .label(file, overlap.key_span.clone(), "only for kind: worker")
                .help("remove it, or add kind: worker"),
        );
    }
    let kind =
        if worker { ServiceKind::Worker { overlap: text("overlap") == Some("allowed") } } else { ServiceKind::Serving };
    let service = Service {
        // A stand-in while errors are collected: no policy is made of a document with an error.
        repository: image.or_else(|| Repository::new(&format!("none/{name}")).ok())?,
        name,
        source: text("source").map(|source| source.trim_end_matches('/').to_owned()),
        wave: 0,
        after: Vec::new(),
        kind,
    };
    service.workload_name(Colour::Green).map(|_| service)
}

fn after(file: usize, list: &mut [Read<'_>], entries: &[Entry<'_>], sink: &mut Sink) {
    let places: HashMap<String, usize> =
        list.iter().enumerate().map(|(at, read)| (read.service.name.as_str().to_owned(), at)).collect();
    let workers: Vec<bool> = list.iter().map(|read| read.service.is_worker()).collect();
    for read in list.iter_mut() {
        let Some(after) = read.entry.value.get("after") else { continue };
        let nodes = match &after.value.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&after.value),
        };
        for node in nodes {
            let Some(name) = node.text() else { continue };
            let Some(&at) = places.get(name) else {
                if ServiceName::new(name).is_ok() && !entries.iter().any(|entry| entry.key == name) {
                    let names: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
                    let found =
                        Diagnostic::error(format!("{}: there is no service `{}`", read.service.name, shown(name)));
                    let help = suggestion(name, &names, "services");
                    sink.push(found.label(file, node.span.clone(), "no such service").help(help));
                }
                continue;
            };
            if workers[at] && !read.service.is_worker() {
                sink.push(
                    Diagnostic::warning(format!("{} comes after the worker {name}", read.service.name))
                        .label(file, node.span.clone(), "a worker starts last, when all traffic has moved")
                        .help("let the worker come after the services instead"),
                );
            }
            let name = ServiceName::new(name).ok().filter(|name| !read.service.after.contains(name));
            if let Some(name) = name {
                read.service.after.push(name);
                read.after.push((at, node.span.clone()));
            }
        }
        read.service.after.sort();
    }
}

fn repositories(file: usize, list: &[Read<'_>], sink: &mut Sink) {
    let place = |read: &Read<'_>| {
        let image = read.entry.value.get("image");
        image.map_or(read.entry.key_span.clone(), |image| image.value.span.clone())
    };
    let mut owners: BTreeMap<&Repository, &Read<'_>> = BTreeMap::new();
    for read in list {
        if let Some(first) = owners.get(&read.service.repository) {
            let (a, b) = (&first.service.name, &read.service.name);
            sink.push(
                Diagnostic::error(format!("{a} and {b} have the same image repository"))
                    .label(file, place(first), format!("{} for {a}", read.service.repository))
                    .label(file, place(read), format!("and for {b}"))
                    .help("each service needs a repository of its own: a push must say which service it is for"),
            );
        } else {
            owners.insert(&read.service.repository, read);
        }
    }
}

/// Gives each service its wave: one more than the latest of those it comes after.
fn waves(file: usize, list: &mut [Read<'_>], sink: &mut Sink) {
    let count = list.len();
    let mut waiting: Vec<usize> = list.iter().map(|read| read.after.len()).collect();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (at, read) in list.iter().enumerate() {
        for (before, _) in &read.after {
            next[*before].push(at);
        }
    }
    let mut ready: Vec<usize> = (0..count).filter(|at| waiting[*at] == 0).collect();
    let mut done = vec![false; count];
    while let Some(at) = ready.pop() {
        done[at] = true;
        let wave = list[at].service.wave + 1;
        for &later in &next[at] {
            list[later].service.wave = list[later].service.wave.max(wave);
            waiting[later] -= 1;
            if waiting[later] == 0 {
                ready.push(later);
            }
        }
    }
    let Some(start) = done.iter().position(|done| !done) else { return };
    // Whatever is not done waits for something that is not done: following it must come round.
    let mut path = vec![start];
    let first = loop {
        let here = path[path.len() - 1];
        let Some((before, _)) = list[here].after.iter().find(|(before, _)| !done[*before]) else { return };
        if let Some(at) = path.iter().position(|seen| seen == before) {
            break at;
        }
        path.push(*before);
    };
    let cycle = &path[first..];
    let names: Vec<&str> = cycle.iter().map(|at| list[*at].service.name.as_str()).collect();
    let mut found = Diagnostic::error(match names[..] {
        [one] => format!("{one} comes after itself"),
        _ => format!("services wait for each other in a circle: {} after {}", names.join(" after "), names[0]),
    });
    for (place, at) in cycle.iter().enumerate() {
        let wanted = cycle[(place + 1) % cycle.len()];
        if let Some((_, span)) = list[*at].after.iter().find(|(before, _)| *before == wanted) {
            found = found.label(file, span.clone(), format!("{} waits for this", list[*at].service.name));
        }
    }
    sink.push(found.help("remove one `after`: none of them could ever come up first"));
}
