//! The user's own rules in Cedar: each checked by the domain, its mistakes shown where they stand in the file.

use std::cell::RefCell;
use std::collections::HashMap;

use portcullis_domain::names::GroupName;
use portcullis_domain::rules::{self, Rule, RuleError};

use crate::diagnostic::{Diagnostic, Sink};
use crate::gates::{Layers, Said};
use crate::nearest::{shown, visible};
use crate::node::{Node, Span};
use crate::scalar::Scalar;

/// The most rules of one environment.
pub(crate) const MOST: usize = rules::MOST_RULES;

/// What the domain says of the rules of one document, each asked once however many environments inherit it.
#[derive(Debug, Default)]
pub(crate) struct Checked(RefCell<HashMap<usize, Result<(), RuleError>>>);

impl Checked {
    /// What it says of the rule whose text begins at this byte.
    fn check(&self, at: usize, rule: &Rule) -> Result<(), RuleError> {
        self.0.borrow_mut().entry(at).or_insert_with(|| rules::check(rule)).clone()
    }
}

/// The rules of these maps by name, those in which the domain finds nothing wrong.
pub(crate) fn read(layers: &Layers<'_>, sink: &mut Sink) -> Vec<Said<Rule>> {
    let mut list: Vec<Said<Rule>> = Vec::new();
    let entries = layers.entries("rules");
    if let (true, Some(entry)) = (entries.len() > MOST, layers.find(&["rules"])) {
        let found = Diagnostic::error(format!("at most {MOST} rules can be given"));
        let found = found.label(layers.file, entry.key_span.clone(), format!("these are {}", entries.len()));
        sink.push(found.help("join rules that forbid for the same reason with ||"));
    }
    for entry in entries.iter().take(MOST) {
        let Some(text) = entry.value.text() else { continue };
        // Its form is looked into with the rest of the document.
        if Scalar::Cedar.check(text, false).is_err() || Scalar::Label.check(&entry.key, entry.plain).is_err() {
            continue;
        }
        let rule = Rule { name: entry.key.clone().into_owned(), text: text.to_owned() };
        if let Err(error) = layers.checked.check(entry.value.span.start, &rule) {
            let span = place(layers.text, &entry.value, text, error.line as usize, error.column as usize);
            let message: String = error.message.chars().map(visible).collect();
            let found = Diagnostic::error(format!("the rule {}: {message}", shown(&entry.key)));
            let mut found = found.label(layers.file, span, "");
            found.help = error.help;
            sink.push(found);
            continue;
        }
        list.push(layers.said(rule, &entry.key_span));
    }
    list.sort_by(|a, b| a.value.name.cmp(&b.value.name));
    list
}

/// The groups that rules name, `Portcullis::Group::"oncall"`, each with where: so that their people are in the policy.
pub(crate) fn groups(layers: &Layers<'_>, list: &[Said<Rule>], sink: &mut Sink) -> Vec<Said<GroupName>> {
    let entries = layers.entries("rules");
    let mut groups = Vec::new();
    for rule in list {
        let Some(entry) = entries.iter().find(|entry| entry.key == rule.value.name) else { continue };
        for (at, name) in named(&rule.value.text) {
            let before = &rule.value.text[..at];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            let span = place(layers.text, &entry.value, &rule.value.text, line, column);
            let span = span.start..span.end.min(span.start + name.len());
            if let Ok(group) = GroupName::new(name) {
                groups.push(layers.said(group, &span));
            } else {
                let found = Diagnostic::error(format!("there is no group `{}`", shown(name)));
                let found = found.label(layers.file, span, "no group has such a name");
                sink.push(found.help("write the name of a group as it stands under groups"));
            }
        }
    }
    groups
}

/// The texts after `Group::` in the code of a rule, each with the byte at which it begins. Not in comments or strings.
fn named(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut code, mut at) = (Vec::new(), String::new(), 0);
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with("//") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
        } else if c == '"' {
            let begin = at + 1;
            let mut escaped = false;
            let end = text[begin..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let end = end.map_or(text.len(), |end| begin + end);
            if code.ends_with("Group::") {
                found.push((begin, &text[begin..end]));
            }
            code.clear();
            at = (end + 1).min(text.len());
        } else {
            if !c.is_whitespace() {
                code.push(c);
            }
            at += c.len_utf8();
        }
    }
    found
}

/// Where line and column (both from 1, the column in characters) of a rule's text stand in the file: from there to the
/// end of that line. The whole value where the text is not in the file as it is (folded, or with escapes).
fn place(file: &str, node: &Node<'_>, text: &str, line: usize, column: usize) -> Span {
    let whole = || {
        let first = file.get(node.span.clone()).and_then(|text| text.lines().next()).unwrap_or("");
        node.span.start..node.span.start + first.trim_end().len()
    };
    let Some(wanted) = text.split('\n').nth(line.max(1) - 1) else { return whole() };
    let begin = file[..node.span.start].rfind('\n').map_or(0, |at| at + 1);
    let blank = text.split('\n').take_while(|line| line.trim().is_empty()).count();
    // The value begins with its first line that is not blank, or, in quotes or plain, on the line of its key.
    let mut start = begin;
    for _ in blank..line.max(1) - 1 {
        let Some(next) = file[start..].find('\n') else { return whole() };
        start += next + 1;
    }
    let end = file[start..].find('\n').map_or(file.len(), |at| start + at);
    let from = start.max(if start == begin { node.span.start.min(end) } else { 0 });
    let Some(at) = file[from..end].find(wanted.trim()) else { return whole() };
    let indent = wanted.chars().take_while(|c| c.is_whitespace()).count();
    let skip = (column.max(1) - 1).saturating_sub(indent);
    let length = |text: &str, count: usize| text.char_indices().nth(count).map_or(text.len(), |(at, _)| at);
    let trimmed = wanted.trim();
    let skipped = length(trimmed, skip);
    let span = from + at + skipped..from + at + trimmed.len();
    // At the end of a line there is nothing to underline but the last character.
    if span.is_empty() && skipped > 0 {
        let last = trimmed.char_indices().next_back().map_or(0, |(at, _)| at);
        return from + at + last..span.end;
    }
    span
}
