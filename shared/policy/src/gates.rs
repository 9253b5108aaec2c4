//! The gates that a document asks for, each with where it says so: an environment's, or the organisation's.

use std::collections::BTreeMap;

use portcullis_domain::calendar::{Calendar, Window};
use portcullis_domain::names::{EnvName, GroupName};
use portcullis_domain::policy::{Gates, Promotion, Quorum, Same, ScanAction, ScanRule, Severity, Waiver};
use portcullis_domain::rules::Rule;
use portcullis_domain::time::Millis;

use crate::amounts;
use crate::defaults;
use crate::diagnostic::{Diagnostic, Sink};
use crate::grammar::{self, ScanWord};
use crate::nearest::shown;
use crate::node::{Entry, Kind, Node, Span};
use crate::{own_rules, windows};

/// The most entries under `approvals`.
pub(crate) const MOST_QUORUMS: usize = 10;

/// Who asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Organisation,
    Application,
    Both,
}

/// Something asked for, and where that is written.
#[derive(Debug, Clone)]
pub(crate) struct Said<T> {
    pub(crate) value: T,
    pub(crate) file: usize,
    pub(crate) span: Span,
    /// With the brackets of a list of one.
    pub(crate) whole: Span,
    pub(crate) by: By,
}

/// The scan that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    pub(crate) key: Said<()>,
    /// None = allowed, and said so.
    pub(crate) severities: BTreeMap<Severity, Said<Option<ScanAction>>>,
    pub(crate) max_age: Option<Said<Millis>>,
    pub(crate) settle: Option<Said<Millis>>,
    pub(crate) waivers: Vec<Said<Waiver>>,
}

/// Everything that is asked for before a release.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) scan: Option<Scan>,
    pub(crate) approvals: Vec<Said<Quorum>>,
    pub(crate) typed: Option<Said<String>>,
    pub(crate) promoted: Option<Said<Promotion>>,
    pub(crate) freeze: Vec<Said<Window>>,
    pub(crate) open: Vec<Said<Window>>,
    pub(crate) rules: Vec<Said<Rule>>,
    /// The groups that the rules name.
    pub(crate) rule_groups: Vec<Said<GroupName>>,
    pub(crate) break_glass: Option<Said<Quorum>>,
}

impl Asked {
    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.scan.is_none()
            && self.approvals.is_empty()
            && self.typed.is_none()
            && self.promoted.is_none()
            && self.freeze.is_empty()
            && self.open.is_empty()
            && self.rules.is_empty()
            && self.break_glass.is_none()
    }

    /// The groups it speaks of.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &GroupName> {
        let quorums = self.approvals.iter().chain(&self.break_glass).map(|said| &said.value.group);
        let named = self.rule_groups.iter().map(|said| &said.value);
        quorums.chain(self.reviews().map(|(group, _)| group)).chain(named)
    }

    /// The groups that review findings, each with where that is said.
    pub(crate) fn reviews(&self) -> impl Iterator<Item = (&GroupName, &Said<Option<ScanAction>>)> {
        let said = self.scan.iter().flat_map(|scan| scan.severities.values());
        said.filter_map(|said| match &said.value {
            Some(ScanAction::Review { by, .. }) => Some((by, said)),
            _ => None,
        })
    }

    /// As the domain judges it.
    pub(crate) fn gates(&self, expire: Millis, remind: Millis, settle: Millis) -> Gates {
        fn values<T: Clone>(list: &[Said<T>]) -> Vec<T> {
            list.iter().map(|said| said.value.clone()).collect()
        }
        let scan = self.scan.as_ref().map(|scan| ScanRule {
            severities: scan.severities.iter().filter_map(|(at, said)| Some((*at, said.value.clone()?))).collect(),
            max_age: scan.max_age.as_ref().map_or(defaults::SCAN_MAX_AGE, |said| said.value),
            settle: scan.settle.as_ref().map_or(settle, |said| said.value),
            waivers: values(&scan.waivers),
        });
        Gates {
            scan,
            approvals: values(&self.approvals),
            typed_confirmation: self.typed.as_ref().map(|said| said.value.clone()),
            promoted_from: self.promoted.as_ref().map(|said| said.value.clone()),
            calendar: Calendar { freeze: values(&self.freeze), open: values(&self.open) },
            rules: values(&self.rules),
            break_glass: self.break_glass.as_ref().map(|said| said.value.clone()),
            ..Gates::none(expire, remind)
        }
    }
}

/// Maps of gates, the first in force before the second.
#[derive(Clone, Copy)]
pub(crate) struct Layers<'a> {
    pub(crate) file: usize,
    pub(crate) text: &'a str,
    pub(crate) nodes: [Option<&'a Node<'a>>; 2],
    pub(crate) by: By,
    pub(crate) checked: &'a own_rules::Checked,
}

impl<'a> Layers<'a> {
    pub(crate) fn find(&self, path: &[&str]) -> Option<&'a Entry<'a>> {
        self.nodes.iter().flatten().find_map(|node| node.find(path))
    }

    pub(crate) fn items(&self, path: &[&str]) -> &'a [Node<'a>] {
        self.find(path).map_or(&[][..], |entry| entry.value.items())
    }

    /// The entries of a map, those of both layers; of one name the first.
    pub(crate) fn entries(&self, key: &str) -> Vec<&'a Entry<'a>> {
        let mut entries: Vec<&Entry<'_>> = Vec::new();
        for entry in self.nodes.iter().flatten().filter_map(|node| node.get(key)).flat_map(|map| map.value.entries()) {
            if !entries.iter().any(|before| before.key == entry.key) {
                entries.push(entry);
            }
        }
        entries
    }

    pub(crate) fn said<T>(&self, value: T, span: &Span) -> Said<T> {
        Said { value, file: self.file, span: span.clone(), whole: span.clone(), by: self.by }
    }

    fn text(&self, path: &[&str]) -> Option<(&'a str, &'a Span)> {
        let node = &self.find(path)?.value;
        Some((node.text()?, &node.span))
    }
}

/// Reads what these maps ask for.
pub(crate) fn read(layers: &Layers<'_>, sink: &mut Sink) -> Asked {
    let glass = layers.text(&["break_glass"]).and_then(|(text, span)| {
        let (count, group) = grammar::quorum(text).ok().filter(|(count, _)| *count >= 2)?;
        Some(layers.said(Quorum { count, group: GroupName::new(group).ok()? }, span))
    });
    let rules = own_rules::read(layers, sink);
    let mut asked = Asked {
        scan: scan(layers, sink),
        approvals: approvals(layers, sink),
        typed: layers.text(&["typed_confirmation"]).map(|(text, span)| layers.said(text.to_owned(), span)),
        promoted: promoted(layers),
        freeze: windows::read(layers, "freeze", sink),
        open: windows::read(layers, "open", sink),
        rule_groups: own_rules::groups(layers, &rules, sink),
        rules,
        break_glass: glass,
    };
    windows::named_once(&mut asked, sink);
    asked
}

fn promoted(layers: &Layers<'_>) -> Option<Said<Promotion>> {
    let (environment, span) = layers.text(&["promoted_from", "environment"])?;
    let same = match layers.text(&["promoted_from", "same"]) {
        Some(("source_tree", _)) => Same::SourceTree,
        _ => Same::Digests,
    };
    let within = layers.text(&["promoted_from", "within"]).and_then(|(text, _)| amounts::some_duration(text).ok());
    Some(layers.said(Promotion { environment: EnvName::new(environment).ok()?, same, within }, span))
}

fn approvals(layers: &Layers<'_>, sink: &mut Sink) -> Vec<Said<Quorum>> {
    let mut approvals: Vec<Said<Quorum>> = Vec::new();
    let Some(entry) = layers.find(&["approvals"]) else { return approvals };
    let (list, items) = (&entry.value.span, entry.value.items());
    if items.len() > MOST_QUORUMS {
        let found = Diagnostic::error(format!("at most {MOST_QUORUMS} quorums can be asked for"));
        let found = found.label(layers.file, list.clone(), "too many");
        sink.push(found.help("join groups that are asked for the same reason"));
    }
    for node in items.iter().take(MOST_QUORUMS) {
        let Some((count, group)) = node.text().and_then(|text| grammar::quorum(text).ok()) else { continue };
        let Ok(group) = GroupName::new(group) else { continue };
        if approvals.iter().any(|said| said.value.group == group) {
            let found = Diagnostic::error(format!("{group} is asked twice"));
            let found = found.label(layers.file, node.span.clone(), "an entry above asks this group already");
            sink.push(found.help(format!("make one entry of it, such as 2 of {group}")));
        }
        let mut said = layers.said(Quorum { count, group }, &node.span);
        // A list of one entry is shown with its brackets.
        if items.len() == 1 && list.start < node.span.start && list.end > node.span.end {
            said.whole = list.clone();
        }
        approvals.push(said);
    }
    approvals
}

fn scan(layers: &Layers<'_>, sink: &mut Sink) -> Option<Scan> {
    let section = layers.find(&["scan"])?;
    let mut severities = BTreeMap::new();
    let mut named = false;
    for severity in Severity::ALL {
        let Some((text, span)) = layers.text(&["scan", &severity.to_string()]) else { continue };
        named = true;
        let action = match grammar::scan_action(text) {
            Ok(ScanWord::Block { above }) => Some(ScanAction::Block { above }),
            Ok(ScanWord::Review { above, by }) => match GroupName::new(by) {
                Ok(by) => Some(ScanAction::Review { above, by }),
                Err(_) => continue,
            },
            Ok(ScanWord::Allow) => None,
            Err(_) => continue,
        };
        severities.insert(severity, layers.said(action, span));
    }
    let known = |entry: &Entry<'_>| ["max_age", "settle", "waivers"].contains(&&*entry.key);
    // An unknown key is reported already, and probably is the severity that was meant.
    if !named && matches!(section.value.kind, Kind::Map(_)) && section.value.entries().iter().all(known) {
        let found = Diagnostic::error("the scan says nothing about any severity");
        let found = found.label(layers.file, section.key_span.clone(), "every finding would be allowed");
        sink.push(found.help("add, for example:  critical: block   (or allow, if that is meant)"));
    }
    let max_age = layers.text(&["scan", "max_age"]);
    let max_age = max_age.and_then(|(text, span)| Some(layers.said(amounts::duration(text).ok()?, span)));
    let settle = layers.text(&["scan", "settle"]);
    let settle = settle.and_then(|(text, span)| Some(layers.said(amounts::duration(text).ok()?, span)));
    Some(Scan { key: layers.said((), &section.key_span), severities, max_age, settle, waivers: waivers(layers, sink) })
}

fn waivers(layers: &Layers<'_>, sink: &mut Sink) -> Vec<Said<Waiver>> {
    let mut waivers: Vec<Said<Waiver>> = Vec::new();
    for node in layers.items(&["scan", "waivers"]) {
        let text = |key: &str| node.get(key).and_then(|entry| entry.value.text());
        let (Some(id), Some(reason), Some(until)) = (text("id"), text("reason"), text("until")) else { continue };
        let Ok(until) = grammar::date(until) else { continue };
        if waivers.iter().any(|said| said.value.id == id) {
            let found = Diagnostic::error(format!("{} is waived twice", shown(id)));
            sink.push(found.label(layers.file, node.span.clone(), "a second time").help("keep one of them"));
        }
        let waiver = Waiver { id: id.to_owned(), reason: reason.to_owned(), until };
        waivers.push(layers.said(waiver, &node.span));
    }
    waivers
}
