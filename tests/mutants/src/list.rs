//! Reading what cargo-mutants calls a mutant.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A place in a file: lines and columns are counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// From the first character to the one after the last.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: Place,
    pub(crate) end: Place,
}

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub(crate) enum Genre {
    /// A whole body, by a value.
    FnValue,
    BinaryOperator,
    UnaryOperator,
    /// An arm is left out.
    MatchArm,
    /// A guard, by true or false.
    MatchArmGuard,
    /// A field is left to the base of the literal.
    StructField,
}

/// One small change to one file.
#[derive(Debug, Deserialize)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) genre: Genre,
    pub(crate) span: Span,
    pub(crate) replacement: String,
}

impl Mutant {
    /// The file's text with this change.
    pub(crate) fn applied(&self, source: &str) -> Result<String> {
        let at = |place: Place| -> Result<usize> {
            let missing = || format!("{}: there is no such place", self.name);
            let line = source.split_inclusive('\n').take(place.line - 1).map(str::len).sum::<usize>();
            let rest = source.get(line..).with_context(missing)?;
            let column = rest.char_indices().nth(place.column - 1).map_or(rest.len(), |(offset, _)| offset);
            Ok(line + column)
        };
        let (start, end) = (at(self.span.start)?, at(self.span.end)?);
        Ok(format!("{}{}{}", &source[..start], self.replacement, &source[end..]))
    }
}

/// Reads the output of `cargo mutants --list --json`.
pub(crate) fn read(path: &Path) -> Result<Vec<Mutant>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no list of mutants", path.display()))
}

/// `K/N` with K below N.
pub(crate) fn shard(text: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("{text:?} is not K/N with K below N, such as 0/10");
    let (k, n) = text.split_once('/').ok_or_else(wrong)?;
    let (k, n) = (k.parse().map_err(|_| wrong())?, n.parse().map_err(|_| wrong())?);
    if k < n { Ok((k, n)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(span: [usize; 4], replacement: &str) -> Mutant {
        let place = |line, column| Place { line, column };
        Mutant {
            name: "it".to_owned(),
            file: "a.rs".to_owned(),
            genre: Genre::BinaryOperator,
            span: Span { start: place(span[0], span[1]), end: place(span[2], span[3]) },
            replacement: replacement.to_owned(),
        }
    }

    #[test]
    fn a_change_is_made_where_it_says_counted_in_characters() {
        let changed = mutant([2, 9, 2, 11], "!=").applied("fn f() {\n    \"é\" == x\n}\n").unwrap();
        assert_eq!(changed, "fn f() {\n    \"é\" != x\n}\n");
    }

    #[test]
    fn a_change_may_span_lines() {
        assert_eq!(mutant([1, 2, 2, 2], "-").applied("abc\ndef\n").unwrap(), "a-ef\n");
    }

    #[test]
    fn a_shard_is_below_its_count() {
        assert_eq!(shard("1/2"), Ok((1, 2)));
        assert!(shard("2/2").is_err());
        assert!(shard("half").is_err());
    }
}
