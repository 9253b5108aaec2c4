//! Holds a document against the table of [`crate::schema`]: unknown keys, wrong kinds, empty values, bad values.
//!
//! What is good but not supported yet is collected here and weighed later, when it is known which environments
//! it is in force for.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::amounts::{self, COMPARISONS, Measure, Threshold};
use crate::diagnostic::{Diagnostic, Sink};
use crate::environment_keys::GATES;
use crate::grammar::Wrong;
use crate::nearest::{shown, suggestion};
use crate::node::{Kind, Node, Span};
use crate::scalar::Scalar;
use crate::schema::{Key, Shape};

/// Something a policy says that this version cannot carry out.
#[derive(Debug)]
pub(crate) struct Later {
    /// The keys on the way to it.
    pub(crate) path: Vec<String>,
    /// The value, where only that value is not supported.
    pub(crate) value: Option<String>,
    pub(crate) span: Span,
}

pub(crate) struct Walk<'w> {
    pub(crate) file: usize,
    pub(crate) text: &'w str,
    pub(crate) sink: &'w mut Sink,
    pub(crate) path: Vec<String>,
    pub(crate) later: Vec<Later>,
    /// The names of metrics that the policy defines itself.
    pub(crate) metrics: BTreeSet<String>,
}

impl Walk<'_> {
    /// Checks a value; `key` is the place of its key.
    pub(crate) fn check(&mut self, node: &Node<'_>, key: &Span, shape: Shape) {
        match (&node.kind, shape) {
            (Kind::Refused, _) => {}
            (Kind::Empty, _) => self.empty(key),
            (Kind::Scalar { text, plain }, Shape::Scalar(scalar)) => match scalar.check(text, *plain) {
                Err(wrong) => self.wrong(wrong, &node.span),
                Ok(()) if scalar.is_later(text) => self.later.push(Later {
                    path: self.path.clone(),
                    value: Some(text.clone().into_owned()),
                    span: node.span.clone(),
                }),
                Ok(()) => {}
            },
            (Kind::Scalar { .. } | Kind::Map(_), Shape::Threshold(measure)) => {
                if let Err((wrong, span)) = threshold(node, measure) {
                    self.wrong(wrong, &span);
                }
            }
            (Kind::List(items), Shape::List { of, empty }) => {
                if let (Some(why), true) = (empty, items.is_empty()) {
                    let found = Diagnostic::error(format!("{} is an empty list", self.shown_path()));
                    let help = format!("add {}, or remove the line", expected(*of));
                    self.sink.push(found.label(self.file, node.span.clone(), why).help(help));
                }
                for item in items {
                    let at = if item.span.is_empty() { key.clone() } else { item.span.clone() };
                    self.check(item, &at, *of);
                }
            }
            (Kind::Map(_), Shape::Section(keys)) => self.section(node, key, keys, None),
            (Kind::Map(_), Shape::Rules(keys)) => self.section(node, key, keys, Some("metrics")),
            (Kind::Map(_), Shape::Open { keys, names, of, later }) => self.open(node, keys, names, *of, later),
            (_, Shape::Either(shapes)) => match shapes.iter().find(|shape| fits(&node.kind, shape)) {
                Some(shape) => self.check(node, key, *shape),
                None => self.kind(node, key, shape),
            },
            (_, Shape::Any) => {}
            _ => self.kind(node, key, shape),
        }
    }

    fn section(&mut self, node: &Node<'_>, at: &Span, keys: &'static [Key], rules: Option<&str>) {
        for entry in node.entries() {
            if let Some(key) = keys.iter().find(|key| key.name == entry.key) {
                self.path.push(key.name.to_owned());
                if key.later {
                    self.record(&entry.key_span, &entry.value);
                }
                self.check(&entry.value, &entry.key_span, key.shape);
                self.path.pop();
            } else if rules.is_some() && self.metrics.contains(&*entry.key) {
                self.path.push(entry.key.clone().into_owned());
                self.record(&entry.key_span, &entry.value);
                self.check(&entry.value, &entry.key_span, Shape::Threshold(Measure::Any));
                self.path.pop();
            } else if self.sink.is_full() {
                self.sink.push(Diagnostic::error("unknown key"));
            } else {
                let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
                let (what, plural) = match rules {
                    Some(_) => ("no metric", "metrics"),
                    None => ("not a key", "keys"),
                };
                if rules.is_some() {
                    names.extend(self.metrics.iter().map(String::as_str));
                }
                let name = shown(&entry.key);
                let place = if self.path.is_empty() { "a policy".to_owned() } else { self.shown_path() };
                let message = match rules {
                    Some(_) => format!("`{name}` is a metric that nothing defines"),
                    None => format!("`{name}` is not a key of {place}"),
                };
                let mut help = suggestion(&entry.key, &names, plural);
                let has = |name: &str| keys.iter().any(|key| key.name == name);
                if GATES.iter().any(|key| key.name == entry.key) {
                    let place = if has("always") {
                        Some("a gate stands under always")
                    } else if has("break_glass") && entry.key == "promoted_from" {
                        Some("write it under environments:  production: { always: { promoted_from: ... } }")
                    } else if has("gates") || has("defaults") {
                        Some("a gate stands under gates: of an environment, or of defaults")
                    } else {
                        None
                    };
                    help = place.map_or(help, str::to_owned);
                }
                self.sink.push(Diagnostic::error(message).label(self.file, entry.key_span.clone(), what).help(help));
            }
        }
        for key in keys.iter().filter(|key| key.required && node.get(key.name).is_none()) {
            let place = if self.path.is_empty() { "the policy".to_owned() } else { self.shown_path() };
            let found = Diagnostic::error(format!("{place} has no `{}`", key.name));
            self.sink.push(
                found.label(self.file, at.clone(), "missing here").help(format!("add `{}`: {}", key.name, key.doc)),
            );
        }
    }

    fn open(&mut self, node: &Node<'_>, keys: &'static [Key], names: Scalar, of: Shape, later: bool) {
        for entry in node.entries() {
            if let Some(key) = keys.iter().find(|key| key.name == entry.key) {
                self.path.push(key.name.to_owned());
                if key.later {
                    self.record(&entry.key_span, &entry.value);
                }
                self.check(&entry.value, &entry.key_span, key.shape);
            } else {
                if let Err(wrong) = names.check(&entry.key, entry.plain) {
                    self.wrong(wrong, &entry.key_span);
                }
                self.path.push(entry.key.clone().into_owned());
                if later {
                    self.record(&entry.key_span, &entry.value);
                }
                self.check(&entry.value, &entry.key_span, of);
            }
            self.path.pop();
        }
    }

    /// Notes a key that is not supported yet; an empty one is an error of its own.
    fn record(&mut self, span: &Span, value: &Node<'_>) {
        if !matches!(value.kind, Kind::Empty | Kind::Refused) {
            self.later.push(Later { path: self.path.clone(), value: None, span: span.clone() });
        }
    }

    fn wrong(&mut self, wrong: Wrong, span: &Span) {
        let path = self.shown_path();
        let message = if path.is_empty() { wrong.problem } else { format!("{path}: {}", wrong.problem) };
        let mut found = Diagnostic::error(message).label(self.file, span.clone(), wrong.label);
        found.help = wrong.help;
        self.sink.push(found);
    }

    fn kind(&mut self, node: &Node<'_>, key: &Span, shape: Shape) {
        let span = if matches!(node.kind, Kind::Map(_)) { key.clone() } else { node.span.clone() };
        let expected = expected(shape);
        let message = format!("{}: expected {expected}, found {}", self.shown_path(), node.described());
        let mut found = Diagnostic::error(message).label(self.file, span, format!("this is {}", node.described()));
        if let Some(channel) = self.comment_after(node.span.end).filter(|_| self.in_notify()) {
            let (word, key) = (node.text().unwrap_or("slack"), self.path.last().map_or("everything", String::as_str));
            found = found.help(without_hash(key, word, &self.text[channel]));
        } else if let (Kind::Scalar { text, .. }, Shape::List { .. }) = (&node.kind, shape) {
            found = found.help(format!("write it as a list: [{}]", shown(text)));
        } else if let Shape::Section(keys) = shape {
            let keys: Vec<&str> = keys.iter().map(|key| key.name).collect();
            found = found.help(format!("its keys: {}", crate::nearest::listed(&keys, 12)));
        }
        self.sink.push(found);
    }

    /// An empty value: most often a `#` that begins a comment.
    fn empty(&mut self, key: &Span) {
        let name = self.path.last().map_or("", String::as_str);
        let message = format!("`{}` is empty", shown(name));
        let found = match self.comment_after(key.end) {
            Some(span) => {
                let comment = &self.text[span.clone()];
                let help = if self.in_notify() {
                    without_hash(name, "slack", comment)
                } else {
                    let inside = shown(comment.trim_start_matches('#').trim());
                    format!(
                        "a \"#\" after a space begins a comment; if it is meant, use quotes:  {name}: \"#{inside}\""
                    )
                };
                Diagnostic::error(message)
                    .label(self.file, span, "YAML reads this as a comment")
                    .at(key.start)
                    .help(help)
            }
            None => Diagnostic::error(message)
                .label(self.file, key.clone(), "has no value")
                .help("give it a value, or remove the line; a map without entries is written {}"),
        };
        self.sink.push(found);
    }

    /// The comment on the rest of the line from this byte on.
    fn comment_after(&self, from: usize) -> Option<Span> {
        let line_end = self.text[from..].find('\n').map_or(self.text.len(), |at| from + at);
        let rest = &self.text[from..line_end];
        rest.find(" #").map(|at| from + at + 1..from + rest.trim_end().len())
    }

    fn in_notify(&self) -> bool {
        self.path.first().is_some_and(|root| root == "notify")
    }

    /// The path as a person writes it: `environments.production.watch.for`.
    fn shown_path(&self) -> String {
        shown(&self.path.join("."))
    }
}

/// How to write the channel that YAML took for a comment.
fn without_hash(key: &str, kind: &str, comment: &str) -> String {
    let words = &mut comment.trim_start_matches('#').split(|c: char| c.is_whitespace() || c == ']');
    let name = words.find(|word| !word.is_empty()).unwrap_or("deployments");
    let (key, kind, name) = (shown(key), shown(kind), shown(name));
    format!("write channels without \"#\":  {key}: [{kind} {name}]")
}

/// Whether this kind of value is one that the shape takes.
fn fits(kind: &Kind<'_>, shape: &Shape) -> bool {
    match shape {
        Shape::Scalar(_) => matches!(kind, Kind::Scalar { .. }),
        Shape::Threshold(_) => matches!(kind, Kind::Scalar { .. } | Kind::Map(_)),
        Shape::List { .. } => matches!(kind, Kind::List(_)),
        Shape::Section(_) | Shape::Open { .. } | Shape::Rules(_) => matches!(kind, Kind::Map(_)),
        Shape::Either(shapes) => shapes.iter().any(|shape| fits(kind, shape)),
        Shape::Any => true,
    }
}

fn expected(shape: Shape) -> Cow<'static, str> {
    match shape {
        Shape::Scalar(scalar) => scalar.expected().into(),
        Shape::Threshold(measure) => format!("a threshold such as below {}", measure.example()).into(),
        Shape::List { of: Shape::Scalar(scalar), .. } => format!("a list: each {}", scalar.expected()).into(),
        Shape::List { .. } => "a list".into(),
        Shape::Section(_) | Shape::Open { .. } | Shape::Rules(_) => "a map of keys".into(),
        Shape::Either(shapes) => {
            let words: Vec<Cow<'_, str>> = shapes.iter().map(|shape| expected(*shape)).collect();
            words.join(", or ").into()
        }
        Shape::Any => "anything".into(),
    }
}

/// A threshold in its short or its long form, or what is wrong and where.
pub(crate) fn threshold(node: &Node<'_>, measure: Measure) -> Result<Threshold, (Wrong, Span)> {
    let at = |span: &Span| {
        let span = span.clone();
        move |wrong: Wrong| (wrong, span)
    };
    let whole = |problem: &str, help: String| {
        Err((Wrong::new(problem, "the long form of a threshold", help), node.span.clone()))
    };
    let example = format!("write: {{below: {}, for: 2m}}", measure.example());
    match &node.kind {
        Kind::Scalar { text, .. } => amounts::threshold(text, measure).map_err(at(&node.span)),
        Kind::Map(entries) => {
            let (mut limit, mut hold) = (None, None);
            for entry in entries {
                let text = entry.value.text().ok_or_else(|| {
                    (
                        Wrong::new("a text is missing", "expected an amount or a duration", example.clone()),
                        entry.key_span.clone(),
                    )
                })?;
                if entry.key == "for" {
                    hold = Some(amounts::some_duration(text).map_err(at(&entry.value.span))?);
                } else if let Some((_, comparison)) = COMPARISONS.iter().find(|(word, _)| *word == entry.key) {
                    let amount = amounts::amount(text, measure).map_err(at(&entry.value.span))?;
                    if limit.replace((*comparison, amount)).is_some() {
                        return whole("compares twice", "keep one of below, above, at least, at most".to_owned());
                    }
                } else {
                    let problem = format!("`{}` is not a key of a threshold", shown(&entry.key));
                    return Err((Wrong::new(problem, "not a key", example.clone()), entry.key_span.clone()));
                }
            }
            match limit {
                Some((comparison, limit)) => Ok(Threshold { comparison, limit, hold }),
                None => whole("compares nothing", example.clone()),
            }
        }
        _ => whole("is not a threshold", example.clone()),
    }
}
