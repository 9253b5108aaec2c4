//! `promoted_from`: whether the environments that releases come from exist, and whether any could ever be first.

use std::collections::BTreeMap;

use portcullis_domain::names::EnvName;
use portcullis_domain::policy::Promotion;

use crate::application::App;
use crate::diagnostic::{Diagnostic, Sink};
use crate::environment::Env;
use crate::gates::{Asked, By, Said};
use crate::nearest::suggestion;

/// Checks where the releases of each environment come from.
pub(crate) fn check(app: &App<'_>, list: &[(Env<'_>, Asked)], sink: &mut Sink) {
    let mut from: BTreeMap<&EnvName, &Said<Promotion>> = BTreeMap::new();
    for (env, asked) in list {
        let Some(said) = &asked.promoted else { continue };
        let source = &said.value.environment;
        if source == env.name {
            sink.push(
                Diagnostic::error(format!("{} can not be promoted from itself", env.name))
                    .label(said.file, said.span.clone(), "must be another environment")
                    .help("name the one that comes before it, such as staging"),
            );
        } else if let Some((other, _)) = list.iter().find(|(other, _)| other.name == source) {
            from.insert(env.name, said);
            if other.only_observes() && !env.only_observes() {
                let mut found = Diagnostic::warning(format!("nothing can be promoted to {} yet", env.name));
                found = found.label(said.file, said.span.clone(), format!("{source} only observes"));
                let found = found.label(app.file, other.entry.key_span.clone(), "nothing is verified live here");
                sink.push(found.help(format!("set mode: gate or deploy for {source}")));
            }
        } else {
            let names: Vec<&str> = list.iter().map(|(env, _)| env.name.as_str()).collect();
            let found = Diagnostic::error(format!("{} has no environment {source}", app.name));
            let found = found.label(said.file, said.span.clone(), format!("{} is promoted from it", env.name));
            sink.push(if said.by == By::Organisation {
                let found = found.label(app.file, env.entry.key_span.clone(), "asked of this one");
                found.help(format!("the organisation wants {} promoted from {source}: add that environment", env.name))
            } else {
                found.help(suggestion(source.as_str(), &names, "environments"))
            });
        }
    }
    circles(&from, sink);
}

/// Environments that are promoted from each other in a circle: each circle once, from its first name on.
fn circles(from: &BTreeMap<&EnvName, &Said<Promotion>>, sink: &mut Sink) {
    for start in from.keys() {
        let mut path: Vec<&EnvName> = vec![start];
        let mut here = *start;
        while let Some(said) = from.get(here) {
            here = &said.value.environment;
            if here == *start {
                break;
            }
            // Into a circle that the start is not in, or with a member that comes before it: not told from here.
            if path.contains(&here) || here < *start {
                path.clear();
                break;
            }
            path.push(here);
        }
        if path.is_empty() || here != *start || path.len() < 2 {
            continue;
        }
        let names: Vec<&str> = path.iter().map(|name| name.as_str()).collect();
        let mut found = Diagnostic::error(format!(
            "environments are promoted from each other in a circle: {} from {}",
            names.join(" from "),
            names[0]
        ));
        for name in &path {
            if let Some(said) = from.get(name) {
                found = found.label(said.file, said.span.clone(), format!("{name} waits for this"));
            }
        }
        sink.push(found.help("remove one promoted_from: nothing could ever be released first"));
    }
}
