//! What only shows when several environments or applications are seen together.

use std::collections::{BTreeMap, HashMap};

use portcullis_domain::names::AppName;
use portcullis_domain::policy::{Policy, SealedPolicy};

use crate::application::App;
use crate::diagnostic::{Diagnostic, Sink};
use crate::environment::Env;
use crate::gates::Asked;
use crate::nearest::{listed, shown};
use crate::node::Span;
use crate::shape::Later;

/// The most bytes of one effective policy as the ledger stores it.
const MOST_BYTES: usize = 16 * 1024;

/// Where a policy comes from.
pub(crate) struct Origin {
    pub(crate) file: usize,
    pub(crate) span: Span,
}

/// Says of everything that is not supported yet whether it stops the policy or is only passed over.
pub(crate) fn not_supported(file: usize, found: &[Later], list: &[&(Env<'_>, Asked)], sink: &mut Sink) {
    for later in found {
        let mut path: Vec<&str> = later.path.iter().map(String::as_str).collect();
        let all = || list.iter().map(|(env, _)| env);
        let concerned: Vec<&Env<'_>> = match later.path.split_first() {
            Some((root, rest)) if root == "defaults" => {
                path.remove(0);
                all().filter(|env| !env.overrides(rest)).collect()
            }
            Some((root, [name, ..])) if root == "environments" => {
                path.drain(..2);
                all().filter(|env| env.name.as_str() == name).collect()
            }
            Some((root, [name, ..])) if root == "tests" => {
                all().filter(|env| env.tests().any(|test| test == name)).collect()
            }
            Some((root, [name, ..])) if root == "groups" => list
                .iter()
                .filter(|(_, asked)| asked.groups().any(|group| group.as_str() == name))
                .map(|(env, _)| env)
                .collect(),
            _ => all().collect(),
        };
        let what = match &later.value {
            Some(value) => format!("`{}` in {}", shown(value), path.join(".")),
            None => format!("`{}`", shown(&path.join("."))),
        };
        let needed = concerned.iter().filter(|env| !env.only_observes());
        // What several applications are asked for is told by application too.
        let needed: Vec<String> = needed
            .map(
                |env| {
                    if env.app.file == file { env.name.to_string() } else { format!("{}/{}", env.app.name, env.name) }
                },
            )
            .collect();
        let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
        sink.push(if needed.is_empty() {
            Diagnostic::warning(format!("{what} is not supported yet: it is passed over"))
                .label(file, later.span.clone(), if concerned.is_empty() { "used nowhere" } else { "" })
                .help("an environment with this can not leave mode: observe")
        } else {
            Diagnostic::unsupported(format!("{what} is not supported yet"))
                .label(file, later.span.clone(), format!("in force for {}", listed(&needed, 5)))
                .help("remove it, or set mode: observe, where it is passed over with a warning")
        });
    }
}

/// Two environments that the same push would start.
pub(crate) fn intake(app: &App<'_>, list: &[(Env<'_>, Asked)], sink: &mut Sink) {
    for (key, what) in [("branch", "branch"), ("moving_tag", "moving tag")] {
        let mut first: HashMap<&str, &(Env<'_>, Asked)> = HashMap::new();
        for pair in list {
            let (env, asked) = pair;
            let Some(entry) = env.find(&[key]) else { continue };
            let Some(text) = entry.value.text() else { continue };
            let Some((before, first_asked)) = first.get(text) else {
                first.insert(text, pair);
                continue;
            };
            if key == "branch" && (asked.promoted.is_some() || first_asked.promoted.is_some()) {
                continue;
            }
            let (a, b) = (before.name, env.name);
            let mut found = Diagnostic::error(format!("{a} and {b} are both started by the {what} `{}`", shown(text)));
            let other = before.find(&[key]).map_or(entry.value.span.clone(), |entry| entry.value.span.clone());
            if other == entry.value.span {
                found = found.label(app.file, other, format!("for {a} and {b}"));
            } else {
                found = found.label(app.file, other, format!("starts {a}")).label(
                    app.file,
                    entry.value.span.clone(),
                    format!("starts {b} too"),
                );
            }
            sink.push(
                found.help(format!("give each a {what} of its own, or promote from one to the other (promoted_from)")),
            );
        }
    }
}

/// One application written twice.
pub(crate) fn doubled_applications(apps: &[App<'_>], sink: &mut Sink) {
    let mut first: HashMap<&AppName, &App<'_>> = HashMap::new();
    for app in apps {
        if let Some(before) = first.get(&app.name) {
            sink.push(
                Diagnostic::error(format!("the application {} is written twice", app.name))
                    .label(app.file, app.name_span.clone(), "again here")
                    .label(before.file, before.name_span.clone(), "first here")
                    .help("keep one: all environments of an application belong together"),
            );
        } else {
            first.insert(&app.name, app);
        }
    }
}

/// Two environments, of one or of two applications, that would write to the same object of a cluster.
pub(crate) fn owners(policies: &[(Policy, Origin)], sink: &mut Sink) {
    let mut owners: HashMap<(Option<&str>, &str, &str, &str), Vec<usize>> = HashMap::new();
    let mut shared: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for (at, (policy, _)) in policies.iter().enumerate() {
        let place = &policy.place;
        for service in &policy.services {
            let account = place.account.as_deref();
            let owned = owners.entry((account, &place.cluster, &place.namespace, service.name.as_str())).or_default();
            // The same cluster name in two regions is two clusters.
            let apart = |other: &usize| {
                let regions = (&policies[*other].0.place.region, &place.region);
                matches!(regions, (Some(a), Some(b)) if a != b)
            };
            match owned.iter().find(|other| !apart(other)) {
                Some(other) => shared.entry((*other, at)).or_default().push(service.name.as_str()),
                None => owned.push(at),
            }
        }
    }
    for ((first, second), services) in shared {
        let ((a, a_origin), (b, b_origin)) = (&policies[first], &policies[second]);
        if a.target == b.target {
            continue;
        }
        let place = &a.place;
        sink.push(
            Diagnostic::error(format!("{} and {} own the same objects", a.target, b.target))
                .label(
                    b_origin.file,
                    b_origin.span.clone(),
                    format!("{} on {}/{}", listed(&services, 4), place.cluster, place.namespace),
                )
                .label(a_origin.file, a_origin.span.clone(), "has them already")
                .help("give one of them another namespace or cluster: two that write to one object undo each other"),
        );
    }
}

/// Seals the policies and refuses those that the ledger could not hold.
pub(crate) fn seal(policies: Vec<(Policy, Origin)>, sink: &mut Sink) -> Vec<SealedPolicy> {
    let mut sealed = Vec::with_capacity(policies.len());
    for (policy, origin) in policies {
        let bytes = serde_json::to_vec(&policy).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > MOST_BYTES {
            sink.push(
                Diagnostic::error(format!(
                    "the policy of {} has {bytes} bytes; the most is {MOST_BYTES}",
                    policy.target
                ))
                .label(origin.file, origin.span.clone(), "with everything it inherits")
                .help("shorten what is longest: people, waivers, alarm patterns or test paths"),
            );
        } else {
            sealed.push(SealedPolicy::new(policy));
        }
    }
    sealed.sort_by(|a, b| a.target.cmp(&b.target));
    sealed
}
