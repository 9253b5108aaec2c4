//! Findings as a person reads them: the line, what is underlined in it, and what to do.

use std::fmt::Write as _;

use crate::age::without_private_keys;
use crate::diagnostic::{Diagnostic, Label, Report, Severity};
use crate::nearest::visible;

/// Columns at most, for the lines of a file that are shown.
const WIDTH: usize = 100;

/// How findings are drawn: lines of a file are cut at 100 columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours. Meaning never depends on them.
    pub colour: bool,
    /// Draw with ASCII only.
    pub ascii: bool,
}

impl Style {
    /// Unicode lines, no colour.
    pub const PLAIN: Style = Style { colour: false, ascii: false };
    /// ASCII, no colour.
    pub const ASCII: Style = Style { colour: false, ascii: true };
}

struct Glyphs {
    top: &'static str,
    side: char,
    gap: char,
    next: &'static str,
    bottom: &'static str,
    line: char,
    tee: char,
    arrow: &'static str,
    cut: char,
}

const UNICODE: Glyphs =
    Glyphs {
        top: "╭─", side: '│', gap: '·', next: "├─", bottom: "╰─", line: '─', tee: '┬', arrow: "╰── ", cut: '…'
    };
const ASCII: Glyphs =
    Glyphs { top: ",-", side: '|', gap: '.', next: "+-", bottom: "`-", line: '-', tee: '+', arrow: "`-- ", cut: '~' };

impl Report {
    /// All findings, then the summary; empty if nothing was found.
    pub fn render(&self, style: &Style) -> String {
        let mut out = String::new();
        for found in &self.diagnostics {
            self.render_one(&mut out, found, *style);
            out.push('\n');
        }
        if self.more > 0 {
            let _ = writeln!(out, "... and {} more\n", self.more);
        }
        if !self.diagnostics.is_empty() {
            out.push_str(&self.summary());
            out.push('\n');
        }
        if style.ascii {
            out = out.replace('…', "...").chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        }
        out
    }

    /// `volteryde.yaml: 2 errors, 1 warning.`
    pub fn summary(&self) -> String {
        let (errors, warnings) = self.counts();
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let names: Vec<&str> = self.file_names().collect();
        let of = match names[..] {
            [one] => one.chars().map(visible).collect(),
            _ => count(names.len(), "file"),
        };
        let what = match (errors, warnings) {
            (0, 0) => "no errors".to_owned(),
            (0, n) => count(n, "warning"),
            (n, 0) => count(n, "error"),
            (n, m) => format!("{}, {}", count(n, "error"), count(m, "warning")),
        };
        format!("{of}: {what}.")
    }

    fn render_one(&self, out: &mut String, found: &Diagnostic, style: Style) {
        let glyphs = if style.ascii { &ASCII } else { &UNICODE };
        let (word, colour) = match found.severity {
            Severity::Error | Severity::Unsupported => ("error", "31"),
            Severity::Warning => ("warning", "33"),
        };
        let paint = |text: &str, code: &str| {
            if style.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
        };
        let message: String = found.message.chars().map(visible).collect();
        let _ = writeln!(out, "{}: {}", paint(word, &format!("1;{colour}")), paint(&message, "1"));

        let lines = self.lines(found);
        let gutter = lines.iter().map(|(_, line, _)| line.to_string().len()).max().unwrap_or(1).max(2);
        let mut file = None;
        for (label_file, line, labels) in &lines {
            let Some(source) = self.source(*label_file) else { continue };
            if file != Some(*label_file) {
                let corner = if file.is_none() { glyphs.top } else { glyphs.next };
                let (at_line, column) = match (file, self.position(found)) {
                    (None, Some((_, line, column))) => (line, column),
                    _ => labels.first().map_or((*line, 1), |label| source.line_column(label.span.start)),
                };
                let name: String = source.name.chars().map(visible).collect();
                let _ = writeln!(out, "{:gutter$} {corner}[{name}:{at_line}:{column}]", "");
                file = Some(*label_file);
            }
            let room = WIDTH.saturating_sub(gutter + 3);
            let all: Vec<char> = without_private_keys(source.line(*line)).chars().map(visible).collect();
            let first = labels.first().map_or(0, |label| source.line_column(label.span.start).1 - 1);
            // A long line is shown from a little before the first label on.
            let skip = if all.len() > room && first > room / 2 { first - room / 3 } else { 0 };
            let mut shown: String = all.iter().skip(skip).take(room).collect();
            if skip > 0 {
                shown = format!("{}{}", glyphs.cut, shown.chars().skip(1).collect::<String>());
            }
            if skip + room < all.len() {
                shown.pop();
                shown.push(glyphs.cut);
            }
            let _ = writeln!(out, "{line:>gutter$} {} {}", glyphs.side, shown.trim_end());
            for label in labels {
                let column = (source.line_column(label.span.start).1 - 1).saturating_sub(skip);
                let width = source.width_on_line(&label.span).clamp(1, room.saturating_sub(column).max(1));
                let middle = (width - 1) / 2;
                let mut marks: String = std::iter::repeat_n(glyphs.line, width).collect();
                if !label.text.is_empty() {
                    let tee = std::iter::once(glyphs.tee);
                    let sides = |n: usize| std::iter::repeat_n(glyphs.line, n);
                    marks = sides(middle).chain(tee).chain(sides(width - middle - 1)).collect();
                }
                let _ = writeln!(out, "{:gutter$} {} {:column$}{}", "", glyphs.gap, "", paint(&marks, colour));
                if !label.text.is_empty() {
                    let text: String = label.text.chars().map(visible).collect();
                    let words = paint(&format!("{}{text}", glyphs.arrow), colour);
                    let _ =
                        writeln!(out, "{:gutter$} {} {:indent$}{words}", "", glyphs.gap, "", indent = column + middle);
                }
            }
        }
        if !lines.is_empty() {
            let _ = writeln!(out, "{:gutter$} {}", "", glyphs.bottom);
        }
        if let Some(help) = &found.help {
            let help: String = help.chars().map(visible).collect();
            let _ = writeln!(out, "{:gutter$} {} {help}", "", paint("help:", "36"));
        }
    }

    /// The labels of each line: the first label's file first, lines in order.
    fn lines<'d>(&self, found: &'d Diagnostic) -> Vec<(usize, usize, Vec<&'d Label>)> {
        let mut lines: Vec<(usize, usize, Vec<&Label>)> = Vec::new();
        for label in &found.labels {
            let Some(source) = self.source(label.file) else { continue };
            let line = source.line_column(label.span.start).0;
            match lines.iter_mut().find(|(file, at, _)| (*file, *at) == (label.file, line)) {
                Some((_, _, labels)) => labels.push(label),
                None => lines.push((label.file, line, vec![label])),
            }
        }
        let first = found.labels.first().map_or(0, |label| label.file);
        lines.sort_by_key(|(file, line, _)| (*file != first, *file, *line));
        lines
    }
}
