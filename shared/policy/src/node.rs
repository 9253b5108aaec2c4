//! YAML text as a small tree in which everything knows where it stands.
//!
//! Refused here: anchors, aliases, tags, doubled keys, keys that are not text, and texts that are too large.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::diagnostic::{Diagnostic, Sink};
use crate::nearest::shown;

/// A range of bytes of a file's text.
pub(crate) type Span = Range<usize>;

/// The most bytes of one file.
pub(crate) const MOST_BYTES: usize = 1 << 20;
/// The deepest nesting.
const MOST_DEPTH: usize = 64;
/// The most nodes of one file.
const MOST_NODES: usize = 200_000;

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) span: Span,
    pub(crate) kind: Kind<'a>,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Kind<'a> {
    /// Nothing at all, `~` or `null`.
    Empty,
    Scalar {
        text: Cow<'a, str>,
        /// Written without quotes.
        plain: bool,
    },
    List(Vec<Node<'a>>),
    Map(Vec<Entry<'a>>),
    /// Already reported; nothing more is said about it.
    Refused,
}

/// One `key: value` of a map.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) plain: bool,
    pub(crate) key_span: Span,
    pub(crate) value: Node<'a>,
}

impl<'a> Node<'a> {
    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The entries of a map; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry<'a>] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub(crate) fn items(&self) -> &[Node<'a>] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of this key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry<'a>> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entry at the end of this path of keys.
    pub(crate) fn find<S: AsRef<str>>(&self, path: &[S]) -> Option<&Entry<'a>> {
        let (last, before) = path.split_last()?;
        let mut node = self;
        for key in before {
            node = &node.get(key.as_ref())?.value;
        }
        node.get(last.as_ref())
    }

    /// What it is, in words.
    pub(crate) fn described(&self) -> &'static str {
        match self.kind {
            Kind::Empty => "nothing",
            Kind::Scalar { .. } => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
            Kind::Refused => "refused",
        }
    }
}

/// From character positions, which the scanner counts, to byte positions.
struct Positions {
    /// The byte at which each character begins; empty when the text is ASCII.
    starts: Vec<usize>,
    length: usize,
}

impl Positions {
    fn new(text: &str) -> Self {
        let starts = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self { starts, length: text.len() }
    }

    fn byte(&self, character: usize) -> usize {
        if self.starts.is_empty() {
            character.min(self.length)
        } else {
            self.starts.get(character).copied().unwrap_or(self.length)
        }
    }
}

enum Frame<'a> {
    List { start: usize, items: Vec<Node<'a>> },
    Map { start: usize, entries: Vec<Entry<'a>>, key: Option<(Cow<'a, str>, bool, Span)> },
}

/// Reads every document of a file. What is wrong goes to the sink; documents before a mistake of syntax are kept.
pub(crate) fn read<'a>(file: usize, text: &'a str, sink: &mut Sink) -> Vec<Node<'a>> {
    if text.len() > MOST_BYTES {
        sink.push(
            Diagnostic::error(format!("the file has {} bytes; a policy has at most {MOST_BYTES}", text.len()))
                .label(file, 0..0, "")
                .help("split it: each application may have a file of its own"),
        );
        return Vec::new();
    }
    Reader { file, text, positions: Positions::new(text), sink, stack: Vec::new(), documents: Vec::new() }.run()
}

struct Reader<'a, 's> {
    file: usize,
    text: &'a str,
    positions: Positions,
    sink: &'s mut Sink,
    stack: Vec<Frame<'a>>,
    documents: Vec<Node<'a>>,
}

impl<'a> Reader<'a, '_> {
    fn run(mut self) -> Vec<Node<'a>> {
        let mut parser = Parser::new_from_str(self.text);
        let mut nodes = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(found) => found,
                Err(error) => {
                    let at = self.positions.byte(error.marker().index());
                    self.syntax(at, error.info());
                    break;
                }
            };
            let span = self.trimmed(self.positions.byte(span.start.index())..self.positions.byte(span.end.index()));
            nodes += 1;
            if nodes > MOST_NODES {
                self.refuse(
                    span,
                    &format!("the file has more than {MOST_NODES} values"),
                    "split it into several files",
                );
                break;
            }
            if !self.event(event, span) {
                break;
            }
        }
        self.documents
    }

    /// Takes one event in; false = the rest of the file cannot be read.
    fn event(&mut self, event: Event<'a>, span: Span) -> bool {
        match event {
            Event::Alias(_) => {
                self.refuse(span.clone(), "aliases are not read", "write the value out, or put it under defaults:");
                return self.place(Node { span, kind: Kind::Refused }, false);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.extras(anchor, tag.is_some(), &span);
                let plain = style == ScalarStyle::Plain;
                let empty = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let kind = if empty { Kind::Empty } else { Kind::Scalar { text, plain } };
                return self.place(Node { span, kind }, plain);
            }
            Event::SequenceStart(anchor, tag) => {
                self.extras(anchor, tag.is_some(), &span);
                return self.open(Frame::List { start: span.start, items: Vec::new() }, span);
            }
            Event::MappingStart(anchor, tag) => {
                self.extras(anchor, tag.is_some(), &span);
                return self.open(Frame::Map { start: span.start, entries: Vec::new(), key: None }, span);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                // The end of a flow list is its bracket; the scanner counts a comment behind it in.
                let bracket = self.text[span.start..].starts_with([']', '}']);
                let span = if bracket { span.start..span.start + 1 } else { span };
                let node = match self.stack.pop() {
                    Some(Frame::List { start, items }) => {
                        Node { span: self.trimmed(start..span.end), kind: Kind::List(items) }
                    }
                    Some(Frame::Map { start, entries, .. }) => {
                        let entries = self.unique(entries);
                        Node { span: self.trimmed(start..span.end), kind: Kind::Map(entries) }
                    }
                    None => return false,
                };
                return self.place(node, false);
            }
            _ => {}
        }
        true
    }

    fn open(&mut self, frame: Frame<'a>, span: Span) -> bool {
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            self.refuse(span, "a list or a map can not be a key", "a key is a word, followed by a colon");
            return false;
        }
        if self.stack.len() >= MOST_DEPTH {
            self.refuse(span, &format!("nested more than {MOST_DEPTH} deep"), "no part of a policy is that deep");
            return false;
        }
        self.stack.push(frame);
        true
    }

    /// Puts a finished value where it belongs; false = it cannot belong there.
    fn place(&mut self, node: Node<'a>, plain: bool) -> bool {
        match self.stack.last_mut() {
            None => self.documents.push(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match key.take() {
                Some((key, plain, key_span)) => entries.push(Entry { key, plain, key_span, value: node }),
                None => match node.kind {
                    Kind::Scalar { text, .. } => *key = Some((text, plain, node.span)),
                    Kind::Empty => *key = Some((Cow::Borrowed(&self.text[node.span.clone()]), plain, node.span)),
                    _ => {
                        self.refuse(node.span, "this can not be a key", "a key is a word, followed by a colon");
                        return false;
                    }
                },
            },
        }
        true
    }

    /// The entries with every key once: the first stays, a later one is reported.
    fn unique(&mut self, mut entries: Vec<Entry<'a>>) -> Vec<Entry<'a>> {
        let mut seen: HashSet<&str> = HashSet::with_capacity(entries.len());
        let doubled: Vec<usize> =
            entries.iter().enumerate().filter(|(_, entry)| !seen.insert(&entry.key)).map(|(at, _)| at).collect();
        for at in doubled.into_iter().rev() {
            let later = entries.remove(at);
            let first = entries.iter().find(|entry| entry.key == later.key).map(|entry| entry.key_span.clone());
            let mut found = Diagnostic::error(format!("`{}` is written twice", shown(&later.key)));
            if let Some(first) = first {
                found = found.label(self.file, first, "first here");
            }
            self.sink.push(found.label(self.file, later.key_span, "and again here").help("keep one of them"));
        }
        entries
    }

    fn extras(&mut self, anchor: usize, tagged: bool, span: &Span) {
        if anchor > 0 {
            self.refuse(span.clone(), "anchors are not read", "write the value out, or put it under defaults:");
        }
        if tagged {
            self.refuse(span.clone(), "YAML tags are not read", "remove the word that begins with !");
        }
    }

    fn refuse(&mut self, span: Span, message: &str, help: &str) {
        self.sink.push(Diagnostic::error(message.to_owned()).label(self.file, span, "").help(help));
    }

    fn syntax(&mut self, at: usize, info: &str) {
        let end = at + self.text[at..].chars().next().map_or(0, char::len_utf8);
        let mut found = Diagnostic::error(format!("this is not YAML: {info}"));
        let line = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let indent = self.text[line..].chars().take_while(|c| c.is_whitespace() && *c != '\n');
        if let Some(comment) = self.comment_in_brackets(at) {
            found = found
                .label(self.file, comment, "from here on YAML reads a comment, the closing bracket too")
                .help("write channels without \"#\", or put the text in quotes");
        } else if info.contains("tab") || indent.clone().any(|c| c == '\t') {
            found = found.help("YAML indents with spaces, never with tabs");
        } else {
            found = found.help("look at the line above it too: a missing colon, quote or bracket is noticed late");
        }
        self.sink.push(found.label(self.file, at..end, "noticed here"));
    }

    /// A ` #` after an open bracket, in the 20 lines up to `at`: the usual reason for an unclosed list.
    fn comment_in_brackets(&self, at: usize) -> Option<Span> {
        let line_end = self.text[at..].find('\n').map_or(self.text.len(), |n| at + n);
        let mut end = line_end;
        for line in self.text[..line_end].rsplit('\n').take(20) {
            let start = end - line.len();
            if let Some(hash) = line.find(" #") {
                let before = &line[..hash];
                let count = |brackets: [char; 2]| before.matches(brackets).count();
                if count(['[', '{']) > count([']', '}']) {
                    return Some(start + hash + 1..start + line.trim_end().len());
                }
            }
            end = start.saturating_sub(1);
        }
        None
    }

    /// Without the white space at its end, which the scanner counts in.
    fn trimmed(&self, span: Span) -> Span {
        let end = span.end.max(span.start);
        let text = self.text.get(span.start..end).unwrap_or("");
        span.start..span.start + text.trim_end().len()
    }
}
