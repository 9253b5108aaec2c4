//! What is wrong with a policy, and where.

use std::ops::Range;
use std::sync::Arc;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// Good policy that this version cannot carry out yet; refused where the mode is `gate` or `deploy`.
    Unsupported,
    /// Accepted, but worth a look.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it weighs.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// The places it speaks of; the first is the one to go to.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// The byte of the first label's file to name as its position, where that is not the first label's begin.
    pub(crate) at: Option<usize>,
}

/// A place in a file, with what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file, by its place in the list of files that were checked.
    pub file: usize,
    /// The bytes of its text.
    pub span: Range<usize>,
    /// A few words; may be empty.
    pub text: String,
}

impl Diagnostic {
    fn new(severity: Severity, message: String) -> Self {
        Self { severity, message, labels: Vec::new(), help: None, at: None }
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Severity::Unsupported, message.into())
    }

    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    pub(crate) fn label(mut self, file: usize, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push(Label { file, span, text: text.into() });
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn at(mut self, byte: usize) -> Self {
        self.at = Some(byte);
        self
    }

    /// File and byte of its position.
    fn position(&self) -> Option<(usize, usize)> {
        let label = self.labels.first()?;
        Some((label.file, self.at.unwrap_or(label.span.start)))
    }
}

/// Where findings go. Keeps the first 500 and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    found: Vec<Diagnostic>,
    more: usize,
    failed: bool,
}

impl Sink {
    const MOST: usize = 500;

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.failed |= diagnostic.severity != Severity::Warning;
        if self.is_full() {
            self.more += 1;
        } else {
            self.found.push(diagnostic);
        }
    }

    /// Whether further findings are only counted: then their hints need not be worked out.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= Self::MOST
    }

    /// Whether anything but a warning was found.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn report(self, files: &[(String, String)]) -> Report {
        let mut diagnostics = self.found;
        // What several environments inherit is found once for each of them.
        diagnostics.sort_by(|a, b| (a.position(), a.severity, &a.message).cmp(&(b.position(), b.severity, &b.message)));
        diagnostics.dedup();
        let sources = files.iter().map(|(name, text)| Source::new(name, text)).collect();
        Report { diagnostics, more: self.more, failed: self.failed, sources }
    }
}

/// Everything found in one run over some files.
#[derive(Debug, Clone)]
pub struct Report {
    /// The findings, by file and position; at most 500.
    pub diagnostics: Vec<Diagnostic>,
    /// So many more were found and are not listed.
    pub more: usize,
    failed: bool,
    sources: Vec<Source>,
}

impl Report {
    /// Whether the policy is refused: anything but warnings.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// The number of findings that make the policy refused, and of warnings, among those listed.
    pub fn counts(&self) -> (usize, usize) {
        let warnings = self.diagnostics.iter().filter(|found| found.severity == Severity::Warning).count();
        (self.diagnostics.len() - warnings, warnings)
    }

    /// Name of the file, line and column (both from 1, the column in characters) of a finding.
    pub fn position(&self, diagnostic: &Diagnostic) -> Option<(&str, usize, usize)> {
        let (file, byte) = diagnostic.position()?;
        let source = self.sources.get(file)?;
        let (line, column) = source.line_column(byte);
        Some((&source.name, line, column))
    }

    pub(crate) fn source(&self, file: usize) -> Option<&Source> {
        self.sources.get(file)
    }

    pub(crate) fn file_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| &*source.name)
    }
}

/// One file's text, with its lines found.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: Arc<str>,
    text: Arc<str>,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: Arc::from(name), text: Arc::from(text), lines }
    }

    /// Line (from 1) and column (from 1, in characters) of a byte.
    pub(crate) fn line_column(&self, byte: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= byte).max(1);
        let start = self.lines[line - 1];
        let before = self.text.get(start..byte.min(self.text.len())).unwrap_or("");
        (line, before.chars().count() + 1)
    }

    /// The text of a line (from 1), without its end.
    pub(crate) fn line(&self, line: usize) -> &str {
        let start = self.lines.get(line - 1).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }

    /// How many characters of the span lie on the line it begins on.
    pub(crate) fn width_on_line(&self, span: &Range<usize>) -> usize {
        let text = self.text.get(span.clone()).unwrap_or("");
        text.lines().next().unwrap_or("").trim_end().chars().count()
    }
}
