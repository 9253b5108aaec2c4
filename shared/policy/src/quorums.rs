//! Whether those who must agree exist at all.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use portcullis_domain::names::{GroupName, Subject};

use crate::application::App;
use crate::diagnostic::{Diagnostic, Sink};
use crate::environment::Env;
use crate::grammar::{self, ScanWord};
use crate::nearest::{listed, shown, suggestion};
use crate::node::{Entry, Node};

/// Checks every quorum and every reviewing group of a document, each once, however many environments inherit it.
pub(crate) fn check(app: &App<'_>, sink: &mut Sink) {
    together(app, sink);
    let mut asked: BTreeMap<usize, (&Node<'_>, Vec<&str>)> = BTreeMap::new();
    let mut single: BTreeMap<usize, &Entry<'_>> = BTreeMap::new();
    for env in Env::all(app) {
        for (_, node) in env.groups() {
            asked.entry(node.span.start).or_insert_with(|| (node, Vec::new())).1.push(env.name.as_str());
        }
        let approvals = env.find(&["gates", "approvals"]);
        if let Some((entry, [only])) = approvals.map(|entry| (entry, entry.value.items())) {
            single.insert(only.span.start, entry);
        }
    }
    for (node, environments) in asked.values() {
        let Some(text) = node.text() else { continue };
        // A list of one entry is shown with its brackets.
        let span = single.get(&node.span.start).map_or(&node.span, |entry| &entry.value.span);
        let span = if span.start < node.span.start && span.end > node.span.end { span } else { &node.span };
        let (count, name, what) = match (grammar::quorum(text), grammar::scan_action(text)) {
            (Ok((count, name)), _) => (usize::from(count), name, "approved"),
            (_, Ok(ScanWord::Review { by, .. })) => (1, by, "reviewed"),
            _ => continue,
        };
        let names = joined(environments);
        let Some(group) = GroupName::new(name).ok().and_then(|name| app.groups.get(&name)) else {
            unknown(app, node, name, sink);
            continue;
        };
        let Some(members) = &group.members else { continue };
        let people = |n: usize| if n == 1 { "1 person".to_owned() } else { format!("{n} different people") };
        if members.len() < count {
            let more = count - members.len();
            let add = match (members.len(), more) {
                (0, 1) => "a person".to_owned(),
                (1, 1) => "a second person".to_owned(),
                (_, 1) => "one more person".to_owned(),
                (_, more) => format!("{more} more people"),
            };
            let mut help = format!("add {add} to {name}");
            if !members.is_empty() && what == "approved" {
                help = format!("{help}, or write: {} of {name}", members.len());
            }
            sink.push(
                Diagnostic::error(format!("{names} can never be {what}"))
                    .label(app.file, span.clone(), format!("needs {}", people(count)))
                    .label(app.file, group.span.clone(), format!("but this group has {}", members.len()))
                    .help(help),
            );
        } else if members.len() == count {
            sink.push(
                Diagnostic::warning(format!("{names} can not be {what} when one of {name} wrote the change"))
                    .label(app.file, span.clone(), format!("needs {}", people(count)))
                    .label(app.file, group.span.clone(), format!("this group has {}", members.len()))
                    .help(format!("who requested or wrote a change never counts: add a person to {name}")),
            );
        }
    }
}

/// Checks that all who are asked at once can be had at once: whoever approves counts for one entry only.
fn together(app: &App<'_>, sink: &mut Sink) {
    let mut asked: BTreeMap<Vec<usize>, (Vec<Demand<'_>>, Vec<&str>)> = BTreeMap::new();
    for env in Env::all(app) {
        let demands = demands(app, &env);
        let alone = demands.iter().all(|demand| demand.members.len() >= demand.count);
        if demands.len() > 1 && alone && !all_met(&demands) {
            let key = demands.iter().map(|demand| demand.node.span.start).collect();
            asked.entry(key).or_insert_with(|| (demands, Vec::new())).1.push(env.name.as_str());
        }
    }
    for (demands, environments) in asked.values() {
        let needed: usize = demands.iter().map(|demand| demand.count).sum();
        let people: BTreeSet<&Subject> = demands.iter().flat_map(|demand| demand.members).collect();
        let mut found = Diagnostic::error(format!("{} can never get all approvals", joined(environments)));
        for demand in demands {
            let names: Vec<&str> = demand.members.iter().map(Subject::as_str).collect();
            let words = format!("{} of {}", demand.count, listed(&names, 6));
            found = found.label(app.file, demand.node.span.clone(), words);
        }
        sink.push(found.help(format!(
            "each person counts for one entry only: {needed} different people are needed, these groups have {}",
            people.len()
        )));
    }
}

/// So many people of a group whose members are known.
struct Demand<'a> {
    node: &'a Node<'a>,
    count: usize,
    members: &'a BTreeSet<Subject>,
}

fn demands<'a>(app: &'a App<'a>, env: &Env<'a>) -> Vec<Demand<'a>> {
    let mut reviewers = BTreeSet::new();
    env.groups()
        .into_iter()
        .filter_map(|(name, node)| {
            let members = app.groups.get(name)?.members.as_ref()?;
            let count = grammar::quorum(node.text()?).ok().map(|(count, _)| usize::from(count));
            // However many severities a group reviews, one of it is enough.
            let asked = count.is_some() || reviewers.insert(name);
            asked.then_some(Demand { node, count: count.unwrap_or(1), members })
        })
        .collect()
}

/// Whether different people can be found for all demands: augmenting paths, one person at a time.
fn all_met(demands: &[Demand<'_>]) -> bool {
    let mut taken: HashMap<&Subject, usize> = HashMap::new();
    demands
        .iter()
        .enumerate()
        .all(|(at, demand)| (0..demand.count).all(|_| met(at, demands, &mut taken, &mut HashSet::new())))
}

fn met<'a>(
    at: usize,
    demands: &'a [Demand<'_>],
    taken: &mut HashMap<&'a Subject, usize>,
    seen: &mut HashSet<&'a Subject>,
) -> bool {
    for person in demands[at].members {
        if !seen.insert(person) {
            continue;
        }
        let free = match taken.get(person).copied() {
            None => true,
            Some(other) => met(other, demands, taken, seen),
        };
        if free {
            taken.insert(person, at);
            return true;
        }
    }
    false
}

fn unknown(app: &App<'_>, node: &Node<'_>, name: &str, sink: &mut Sink) {
    let section = app.root.get("groups").map_or(&[][..], |entry| entry.value.entries());
    if section.iter().any(|entry| entry.key == name) || sink.is_full() {
        return;
    }
    let names: Vec<&str> = section.iter().map(|entry| &*entry.key).collect();
    let found = Diagnostic::error(format!("there is no group `{}`", shown(name)));
    let found = found.label(app.file, node.span.clone(), "not under groups");
    sink.push(found.help(suggestion(name, &names, "groups")));
}

/// `dev`, `dev and staging`, `dev, staging and production`.
pub(crate) fn joined(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}
