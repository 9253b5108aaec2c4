//! The people and groups of a document, with those of the organisation above it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portcullis_domain::names::{GroupName, Identity, Subject};

use crate::diagnostic::{Diagnostic, Sink};
use crate::nearest::{nearest, shown};
use crate::node::{Entry, Kind, Node, Span};

/// Who is known, and in which groups.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    pub(crate) people: BTreeMap<Subject, BTreeSet<Identity>>,
    pub(crate) groups: BTreeMap<GroupName, Group>,
    /// Where each person is described, or first counted on in a group.
    places: HashMap<Subject, (usize, Span)>,
    /// Whose each account is, by the account in lower case: no sender tells two people apart by that.
    owners: HashMap<String, (Subject, usize, Span)>,
}

/// A group of people.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// Its members; none = a directory elsewhere knows them.
    pub(crate) members: Option<BTreeSet<Subject>>,
    /// The file in which they are listed.
    pub(crate) file: usize,
    /// Where they are listed.
    pub(crate) span: Span,
}

/// Reads the people and groups of a document. What the organisation above it says of a person, and who is in its
/// groups, cannot be said again: else an application could choose who approves for the organisation.
pub(crate) fn read(file: usize, root: &Node<'_>, above: Option<&Directory>, sink: &mut Sink) -> Directory {
    let mut known = above.cloned().unwrap_or_default();
    people(file, root, above, &mut known, sink);
    groups(file, root, &mut known, sink);
    known
}

fn people(file: usize, root: &Node<'_>, above: Option<&Directory>, known: &mut Directory, sink: &mut Sink) {
    for person in root.get("people").map_or(&[][..], |entry| entry.value.entries()) {
        let Ok(subject) = Subject::new(&person.key) else { continue };
        if let Some((there, first)) = above.and_then(|above| above.places.get(&subject)) {
            sink.push(
                Diagnostic::error(format!("{subject} is a person of the organisation"))
                    .label(file, person.key_span.clone(), "described again")
                    .label(*there, first.clone(), "the organisation counts on this person here")
                    .help("remove it: only the organisation says whose accounts its people have"),
            );
            continue;
        }
        let accounts = accounts(file, person, &subject, known, sink);
        known.places.insert(subject.clone(), (file, person.key_span.clone()));
        known.people.insert(subject, accounts);
    }
}

fn accounts(
    file: usize,
    person: &Entry<'_>,
    subject: &Subject,
    known: &mut Directory,
    sink: &mut Sink,
) -> BTreeSet<Identity> {
    let mut accounts = BTreeSet::new();
    for account in person.value.entries() {
        let Some(text) = account.value.text() else { continue };
        // GitHub and mail know no upper and lower case in a name; two spellings are one human.
        let text = match &*account.key {
            "github" | "email" => text.to_ascii_lowercase(),
            _ => text.to_owned(),
        };
        let Ok(identity) = Identity::new(&format!("{}:{text}", account.key)) else { continue };
        let same = identity.as_str().to_ascii_lowercase();
        if let Some((other, there, first)) = known.owners.get(&same) {
            sink.push(
                Diagnostic::error(format!("{other} and {subject} have the same {} account", shown(&account.key)))
                    .label(*there, first.clone(), format!("belongs to {other}"))
                    .label(file, account.value.span.clone(), "and here again")
                    .help("one human is one person: else one could approve twice"),
            );
        } else {
            known.owners.insert(same, (subject.clone(), file, account.value.span.clone()));
        }
        accounts.insert(identity);
    }
    accounts
}

fn groups(file: usize, root: &Node<'_>, known: &mut Directory, sink: &mut Sink) {
    for entry in root.get("groups").map_or(&[][..], |entry| entry.value.entries()) {
        let Ok(name) = GroupName::new(&entry.key) else { continue };
        if let Some(group) = known.groups.get(&name) {
            sink.push(
                Diagnostic::error(format!("{name} is a group of the organisation"))
                    .label(file, entry.key_span.clone(), "written again")
                    .label(group.file, group.span.clone(), "its people are listed here")
                    .help("choose another name: an application can use the organisation's groups, not change them"),
            );
            continue;
        }
        let members = match &entry.value.kind {
            Kind::List(items) => Some(members(file, &name, items, known, sink)),
            Kind::Map(sources) => {
                if sources.is_empty() {
                    let found = Diagnostic::error(format!("the group {name} has nobody in it"));
                    let found = found.label(file, entry.key_span.clone(), "no list, no team");
                    sink.push(found.help(format!("list its people:  {name}: [kofi, lena]")));
                }
                None
            }
            _ => None,
        };
        known.groups.insert(name, Group { members, file, span: entry.value.span.clone() });
    }
}

fn members(
    file: usize,
    group: &GroupName,
    items: &[Node<'_>],
    known: &mut Directory,
    sink: &mut Sink,
) -> BTreeSet<Subject> {
    let mut members = BTreeSet::new();
    for item in items {
        let Some(subject) = item.text().and_then(|text| Subject::new(text).ok()) else { continue };
        let stranger = !sink.is_full() && !known.people.contains_key(&subject);
        let near = || nearest(subject.as_str(), known.people.keys().map(Subject::as_str));
        if let Some(near) = stranger.then(near).flatten() {
            sink.push(
                Diagnostic::warning(format!("{subject} in {group} is not among the people"))
                    .label(file, item.span.clone(), format!("did you mean `{near}`?"))
                    .help(format!("if this is another human, add {subject} to people")),
            );
        }
        known.places.entry(subject.clone()).or_insert_with(|| (file, item.span.clone()));
        if !members.insert(subject.clone()) {
            let found = Diagnostic::error(format!("{subject} is in {group} twice"));
            sink.push(found.label(file, item.span.clone(), "counts once").help("remove it"));
        }
    }
    members
}
