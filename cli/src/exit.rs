//! The exit codes, and the errors that carry one.

use std::fmt;

/// How the program ends. Documented in `portcullis --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed that should have worked: a file, the network, the store. Nothing is known to have changed.
    Failed = 1,
    /// Used wrongly, or a policy with errors.
    Usage = 2,
    /// A rule or a missing permission said no; nothing changed.
    Refused = 3,
    /// There is no such release, environment or person.
    NotFound = 4,
    /// `policy simulate`: a gate holds, and none blocks. `cluster doctor`: something to look at.
    Held = 5,
    /// `policy simulate`: a gate blocks. `cluster doctor`: something is in the way.
    Blocked = 6,
}

/// The table shown under `portcullis --help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done (repeating what was done already is done, too)
  1  something failed: a file, the network, the store
  2  used wrongly, or a policy with errors
  3  refused by a rule or for want of permission; nothing changed
  4  no such release, environment or person
  5  policy simulate: a gate holds; cluster doctor: something to look at
  6  policy simulate: a gate blocks; cluster doctor: something is in the way";

/// An error with its exit code: what was being done, what was found, what to do.
#[derive(Debug)]
pub(crate) struct Stop {
    /// The code.
    pub(crate) code: Exit,
    /// The words, one or more lines, without a trailing newline.
    pub(crate) words: String,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}
impl std::error::Error for Stop {}

/// An error for wrong use.
pub(crate) fn usage(words: impl Into<String>) -> anyhow::Error {
    Stop { code: Exit::Usage, words: words.into() }.into()
}

/// An error for what a rule or a missing permission refuses.
pub(crate) fn refused(words: impl Into<String>) -> anyhow::Error {
    Stop { code: Exit::Refused, words: words.into() }.into()
}

/// An error for what does not exist.
pub(crate) fn not_found(words: impl Into<String>) -> anyhow::Error {
    Stop { code: Exit::NotFound, words: words.into() }.into()
}
