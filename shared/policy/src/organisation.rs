//! The organisation's document: people, groups and accounts that every application can use, and gates that none of
//! them can remove.

use std::collections::BTreeMap;

use portcullis_domain::names::EnvName;
use portcullis_domain::time::Millis;

use crate::diagnostic::{Diagnostic, Sink};
use crate::directory::{self, Directory};
use crate::gates::{self, Asked, By, Layers};
use crate::governor;
use crate::nearest::shown;
use crate::node::{Kind, Node, Span};
use crate::schema::{ORGANISATION, Shape};
use crate::shape::{Later, Walk};
use crate::{own_rules, strictest};

/// The organisation, read as far as it can be read.
pub(crate) struct Organisation {
    pub(crate) file: usize,
    pub(crate) key_span: Span,
    pub(crate) directory: Directory,
    /// The groups it writes, also those that cannot be read.
    pub(crate) group_names: Vec<String>,
    /// Accounts by name; none = it names none, and an environment may have any.
    pub(crate) accounts: Option<BTreeMap<String, String>>,
    /// What every environment is asked for.
    always: Asked,
    /// What the environments of a name are asked for, with that; and where the name is written.
    environments: BTreeMap<EnvName, (Asked, Span)>,
    /// So many environments that roll back in so long stop every line.
    pub(crate) breaker: Option<(u8, Millis)>,
    pub(crate) later: Vec<Later>,
}

impl Organisation {
    /// What every environment of this name is asked for.
    pub(crate) fn asks(&self, environment: &EnvName) -> &Asked {
        self.environments.get(environment).map_or(&self.always, |(asked, _)| asked)
    }

    /// Everything asked for, with the name of those who are asked.
    pub(crate) fn lists(&self) -> Vec<(&str, &Asked)> {
        let named = self.environments.iter().map(|(name, (asked, _))| (name.as_str(), asked));
        std::iter::once((EVERY, &self.always)).chain(named).collect()
    }

    /// Says of names that no application has an environment of: what they ask for is in force nowhere.
    pub(crate) fn unused<'e>(&self, names: impl Iterator<Item = &'e EnvName>, sink: &mut Sink) {
        let names: Vec<&EnvName> = names.collect();
        for (name, (_, span)) in &self.environments {
            if !names.is_empty() && !names.contains(&name) {
                let words: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
                let near = crate::nearest::nearest(name.as_str(), words);
                let found = Diagnostic::warning(format!("no application has an environment {name}"));
                let found = found.label(self.file, span.clone(), "in force nowhere");
                sink.push(found.help(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "check the name; or the applications that have one are not among these files".to_owned(),
                }));
            }
        }
    }
}

/// How all environments together are called in a finding.
pub(crate) const EVERY: &str = "environments";

/// Whether the document is an organisation's: its first key says so.
pub(crate) fn is(root: &Node<'_>) -> bool {
    root.entries().first().is_some_and(|entry| entry.key == "organisation")
}

/// The organisation among these documents, of which there is at most one.
pub(crate) fn find(documents: &[Vec<Node<'_>>], files: &[(String, String)], sink: &mut Sink) -> Option<Organisation> {
    let mut found: Option<Organisation> = None;
    for (file, (documents, (_, text))) in documents.iter().zip(files).enumerate() {
        for document in documents.iter().filter(|document| is(document)) {
            let key_span = document.entries().first().map_or(0..0, |entry| entry.key_span.clone());
            if let Some(first) = &found {
                sink.push(
                    Diagnostic::error("there are two organisations")
                        .label(file, key_span, "again here")
                        .label(first.file, first.key_span.clone(), "first here")
                        .help("give the files of one organisation at a time"),
                );
            } else {
                found = Some(read(file, text, document, key_span, sink));
            }
        }
    }
    found
}

fn read(file: usize, text: &str, root: &Node<'_>, key_span: Span, sink: &mut Sink) -> Organisation {
    let mut walk =
        Walk { file, text, sink, path: Vec::new(), later: Vec::new(), metrics: std::collections::BTreeSet::new() };
    walk.check(root, &key_span, Shape::Section(ORGANISATION));
    let later = walk.later;
    let checked = own_rules::Checked::default();
    let layers = |node: Option<&Node<'_>>, sink: &mut Sink| {
        gates::read(&Layers { file, text, nodes: [node, None], by: By::Organisation, checked: &checked }, sink)
    };
    let mut always = layers(root.get("always").map(|entry| &entry.value), sink);
    // Of all environments it cannot be asked: that is told already, as no key of `always`.
    always.promoted = None;
    let mut environments = BTreeMap::new();
    for entry in root.get("environments").map_or(&[][..], |entry| entry.value.entries()) {
        let Ok(name) = EnvName::new(&entry.key) else { continue };
        let own = layers(entry.value.get("always").map(|entry| &entry.value), sink);
        environments.insert(name, (strictest::join(&always, own, sink), entry.key_span.clone()));
    }
    let group_names = root.get("groups").map_or(&[][..], |entry| entry.value.entries());
    Organisation {
        file,
        key_span,
        directory: directory::read(file, root, None, sink),
        group_names: group_names.iter().map(|entry| entry.key.to_string()).collect(),
        accounts: accounts(file, root, sink),
        always,
        environments,
        breaker: root.get("breaker").and_then(|entry| governor::often(&entry.value, "environments")),
        later,
    }
}

fn accounts(file: usize, root: &Node<'_>, sink: &mut Sink) -> Option<BTreeMap<String, String>> {
    let section = root.get("accounts")?;
    if matches!(&section.value.kind, Kind::Map(entries) if entries.is_empty()) {
        let found = Diagnostic::error("the organisation has no account");
        let found = found.label(file, section.key_span.clone(), "nothing in it");
        sink.push(found.help("add one:  production: \"111111111111\"   or remove the line: any account may be used"));
    }
    let mut accounts: BTreeMap<String, String> = BTreeMap::new();
    for entry in section.value.entries() {
        let Some(number) = entry.value.text() else { continue };
        if let Some((first, _)) = accounts.iter().find(|(_, known)| *known == number) {
            let (first, name) = (shown(first), shown(&entry.key));
            let found = Diagnostic::error(format!("{first} and {name} are the same account"));
            let found = found.label(file, entry.value.span.clone(), format!("this is {first} already"));
            sink.push(found.help("keep one name for it"));
        }
        accounts.insert(entry.key.to_string(), number.to_owned());
    }
    Some(accounts)
}
