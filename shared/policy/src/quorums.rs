//! Whether those who must agree exist at all.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use portcullis_domain::names::{GroupName, Subject};

use crate::application::App;
use crate::diagnostic::{Diagnostic, Sink};
use crate::directory::Group;
use crate::environment::Env;
use crate::gates::{Asked, By, Said};
use crate::nearest::{listed, shown, suggestion};
use crate::node::Span;
use crate::organisation::{EVERY, Organisation};

/// What the people of a group are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    Approved,
    Reviewed,
    Glass,
    /// A rule names it.
    Named,
}

/// So many people of a group.
struct Demand<'a> {
    asking: Asking,
    count: usize,
    group: &'a GroupName,
    file: usize,
    span: &'a Span,
    whole: &'a Span,
    by: By,
}

/// Those who ask, and the groups that they can ask.
struct Scope<'a> {
    lists: Vec<(&'a str, &'a Asked)>,
    groups: &'a BTreeMap<GroupName, Group>,
    /// The groups that are written, also those that cannot be read.
    written: Vec<&'a str>,
    /// What only the organisation asks for is checked in its own document.
    skip: Option<By>,
}

/// Checks every quorum and every reviewing group of an application, each once, however many environments inherit it.
pub(crate) fn check(app: &App<'_>, list: &[(Env<'_>, Asked)], sink: &mut Sink) {
    let section = app.root.get("groups").map_or(&[][..], |entry| entry.value.entries());
    let above = app.organisation.iter().flat_map(|above| above.group_names.iter().map(String::as_str));
    Scope {
        lists: list.iter().map(|(env, asked)| (env.name.as_str(), asked)).collect(),
        groups: &app.directory.groups,
        written: section.iter().map(|entry| &*entry.key).chain(above).collect(),
        skip: Some(By::Organisation),
    }
    .check(sink);
}

/// Checks what the organisation asks for: it can only ask groups of its own.
pub(crate) fn check_organisation(organisation: &Organisation, sink: &mut Sink) {
    Scope {
        lists: organisation.lists(),
        groups: &organisation.directory.groups,
        written: organisation.group_names.iter().map(String::as_str).collect(),
        skip: None,
    }
    .check(sink);
}

impl<'a> Scope<'a> {
    fn check(&self, sink: &mut Sink) {
        self.together(sink);
        let mut asked: BTreeMap<(usize, usize), (Demand<'a>, Vec<&str>)> = BTreeMap::new();
        for (name, list) in &self.lists {
            for demand in demands(list).into_iter().filter(|demand| Some(demand.by) != self.skip) {
                let key = (demand.file, demand.span.start);
                asked.entry(key).or_insert_with(|| (demand, Vec::new())).1.push(name);
            }
        }
        for (demand, environments) in asked.values() {
            self.one(demand, &names(environments), sink);
        }
    }

    fn one(&self, demand: &Demand<'_>, names: &str, sink: &mut Sink) {
        let name = demand.group;
        let Some(group) = self.groups.get(name) else {
            self.unknown(demand, sink);
            return;
        };
        let Some(members) = &group.members else { return };
        let people = |n: usize| if n == 1 { "1 person".to_owned() } else { format!("{n} different people") };
        let found = |found: Diagnostic, second: String| {
            found.label(demand.file, demand.whole.clone(), format!("needs {}", people(demand.count))).label(
                group.file,
                group.span.clone(),
                second,
            )
        };
        let what = match demand.asking {
            Asking::Approved => "approved",
            Asking::Reviewed => "reviewed",
            Asking::Glass => "opened by breaking the glass",
            Asking::Named => return,
        };
        if members.len() < demand.count {
            let more = demand.count - members.len();
            let add = match (members.len(), more) {
                (0, 1) => "a person".to_owned(),
                (1, 1) => "a second person".to_owned(),
                (_, 1) => "one more person".to_owned(),
                (_, more) => format!("{more} more people"),
            };
            let mut help = format!("add {add} to {name}");
            let least = if demand.asking == Asking::Glass { 2 } else { 1 };
            if members.len() >= least && demand.asking != Asking::Reviewed {
                help = format!("{help}, or write: {} of {name}", members.len());
            }
            let error = Diagnostic::error(format!("{names} can never be {what}"));
            sink.push(found(error, format!("but this group has {}", members.len())).help(help));
        } else if members.len() == demand.count && demand.asking != Asking::Glass {
            let warning = Diagnostic::warning(format!("{names} can not be {what} when one of {name} wrote the change"));
            sink.push(
                found(warning, format!("this group has {}", members.len()))
                    .help(format!("who requested or wrote a change never counts: add a person to {name}")),
            );
        }
    }

    /// Checks that all who are asked at once can be had at once: whoever approves counts for one entry only.
    fn together(&self, sink: &mut Sink) {
        let mut asked: Together<'a> = BTreeMap::new();
        for (name, list) in &self.lists {
            let demands = self.known(list);
            let alone = demands.iter().all(|known| known.members.len() >= known.demand.count);
            let own = demands.iter().any(|known| Some(known.demand.by) != self.skip);
            if demands.len() > 1 && alone && own && !all_met(&demands) {
                let key = demands.iter().map(|known| (known.demand.file, known.demand.span.start)).collect();
                asked.entry(key).or_insert_with(|| (demands, Vec::new())).1.push(name);
            }
        }
        for (demands, environments) in asked.values() {
            let needed: usize = demands.iter().map(|known| known.demand.count).sum();
            let people: BTreeSet<&Subject> = demands.iter().flat_map(|known| known.members).collect();
            let mut found = Diagnostic::error(format!("{} can never get all approvals", names(environments)));
            for Known { demand, members } in demands {
                let names: Vec<&str> = members.iter().map(Subject::as_str).collect();
                let words = format!("{} of {}", demand.count, listed(&names, 6));
                found = found.label(demand.file, demand.span.clone(), words);
            }
            sink.push(found.help(format!(
                "each person counts for one entry only: {needed} different people are needed, these groups have {}",
                people.len()
            )));
        }
    }

    /// Those asked for one release whose members are known.
    fn known(&self, list: &'a Asked) -> Vec<Known<'a>> {
        let mut reviewers = BTreeSet::new();
        let demands = demands(list).into_iter().filter(|demand| match demand.asking {
            Asking::Approved => true,
            // However many severities a group reviews, one of it is enough.
            Asking::Reviewed => reviewers.insert(demand.group),
            Asking::Glass | Asking::Named => false,
        });
        demands
            .filter_map(|demand| Some(Known { members: self.groups.get(demand.group)?.members.as_ref()?, demand }))
            .collect()
    }

    fn unknown(&self, demand: &Demand<'_>, sink: &mut Sink) {
        let name = demand.group.as_str();
        if self.written.contains(&name) || sink.is_full() {
            return;
        }
        let found = Diagnostic::error(format!("there is no group `{}`", shown(name)));
        let found = found.label(demand.file, demand.span.clone(), "not under groups");
        sink.push(found.help(suggestion(name, &self.written, "groups")));
    }
}

fn demands(list: &Asked) -> Vec<Demand<'_>> {
    fn of<'a, T>(asking: Asking, count: u8, group: &'a GroupName, said: &'a Said<T>) -> Demand<'a> {
        let Said { file, span, whole, by, .. } = said;
        Demand { asking, count: usize::from(count), group, file: *file, span, whole, by: *by }
    }
    let approvals = list.approvals.iter().map(|said| of(Asking::Approved, said.value.count, &said.value.group, said));
    let reviews = list.reviews().map(|(group, said)| of(Asking::Reviewed, 1, group, said));
    let glass = list.break_glass.iter().map(|said| of(Asking::Glass, said.value.count, &said.value.group, said));
    let named = list.rule_groups.iter().map(|said| of(Asking::Named, 0, &said.value, said));
    approvals.chain(reviews).chain(glass).chain(named).collect()
}

/// So many people of a group whose members are known.
struct Known<'a> {
    demand: Demand<'a>,
    members: &'a BTreeSet<Subject>,
}

/// Those asked at once, by where that is written, each with the environments that ask them.
type Together<'a> = BTreeMap<Vec<(usize, usize)>, (Vec<Known<'a>>, Vec<&'a str>)>;

/// Whether different people can be found for all demands: augmenting paths, one person at a time.
fn all_met(demands: &[Known<'_>]) -> bool {
    let mut taken: HashMap<&Subject, usize> = HashMap::new();
    demands
        .iter()
        .enumerate()
        .all(|(at, known)| (0..known.demand.count).all(|_| met(at, demands, &mut taken, &mut HashSet::new())))
}

fn met<'a>(
    at: usize,
    demands: &'a [Known<'_>],
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

/// Those concerned; where all environments are, no single one is named beside them.
fn names(environments: &[&str]) -> String {
    if environments.contains(&EVERY) { EVERY.to_owned() } else { joined(environments) }
}

/// `dev`, `dev and staging`, `dev, staging and production`.
pub(crate) fn joined(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}
