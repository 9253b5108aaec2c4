//! Whether those who must agree exist at all.

use std::collections::BTreeMap;

use portcullis_domain::names::GroupName;

use crate::application::App;
use crate::diagnostic::{Diagnostic, Sink};
use crate::environment::Env;
use crate::grammar::{self, ScanWord};
use crate::nearest::{shown, suggestion};
use crate::node::{Entry, Node};

/// Checks every quorum and every reviewing group of a document, each once, however many environments inherit it.
pub(crate) fn check(app: &App<'_>, sink: &mut Sink) {
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
