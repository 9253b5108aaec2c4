//! What is wrong with a window, in words for the person who wrote it.

use crate::time::Millis;

/// Why a window can not be used. Texts found are cut to 80 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// The name is empty, too long or not printable.
    #[error("{found:?} can not be a window's name; write 1 to 60 printable characters, such as weekend")]
    Name {
        /// What was found.
        found: String,
    },
    /// No such time zone.
    #[error("there is no time zone {found:?}; write a name of the IANA database, such as Europe/Berlin or UTC")]
    Zone {
        /// What was found.
        found: String,
    },
    /// Not a local date-time.
    #[error(
        "{found:?} is not a local date-time; write 2026-12-20T18:00, or 2026-12-20 for its first moment, without an \
         offset, in the years 1971 to 2999"
    )]
    Moment {
        /// Which of them: `from`, `until` or `starts`.
        part: &'static str,
        /// What was found.
        found: String,
    },
    /// It ends before it begins.
    #[error("the window ends at {until:?}, which is not after its beginning {from:?}; write a later `until`")]
    Order {
        /// Its beginning, as found.
        from: String,
        /// Its end, as found.
        until: String,
    },
    /// Not a recurrence rule, or one that is not supported.
    #[error("the rule {found:?} can not be used: {why}")]
    Rule {
        /// What was found.
        found: String,
        /// What is wrong with it, and what to write instead.
        why: String,
    },
    /// No length, or too long a one.
    #[error("a window can not last {found}; write a length above zero and of at most 366d")]
    Length {
        /// What was found.
        found: Millis,
    },
}

impl CalendarError {
    /// Which part of the window is wrong: `name`, `zone`, `from`, `until`, `starts`, `rule` or `length`.
    pub fn part(&self) -> &'static str {
        match self {
            Self::Name { .. } => "name",
            Self::Zone { .. } => "zone",
            Self::Moment { part, .. } => part,
            Self::Order { .. } => "until",
            Self::Rule { .. } => "rule",
            Self::Length { .. } => "length",
        }
    }
}

/// A text as an error shows it.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
