//! How a tag names its commit: anchored patterns such as `{sha}` or `prod-{sha7}-{date}-{time}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::{CommitSha, Tag};

/// One tag pattern: fixed text and placeholders, anchored at both ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagPattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Text(String),
    /// `{sha}`: 40 or 64 hexadecimal digits.
    Sha,
    /// `{sha7}`: exactly 7 hexadecimal digits.
    Sha7,
    /// `{version}`: `1.2.3`, with an optional `-suffix`.
    Version,
    /// `{date}`: 8 digits.
    Date,
    /// `{time}`: 6 digits.
    Time,
    /// `{number}`: 1 to 12 digits.
    Number,
}

/// Why a text is not a tag pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// An unknown placeholder.
    #[error("{{{0}}} is not a placeholder; there are {{sha}} {{sha7}} {{version}} {{date}} {{time}} {{number}}")]
    Unknown(String),
    /// A brace without its partner.
    #[error("a brace is not closed")]
    Unclosed,
    /// Text that no tag can hold.
    #[error("{0:?} can not be part of an image tag")]
    Text(String),
    /// Nothing at all, or more than 8 placeholders.
    #[error("a pattern has 1 to 128 characters and at most 8 placeholders")]
    Size,
}

/// What a tag said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagMatch {
    /// The commit, full or its first seven digits.
    pub commit: Option<CommitSha>,
    /// The version, `1.2.3`.
    pub version: Option<String>,
}

impl FromStr for TagPattern {
    type Err = InvalidPattern;
    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() || text.len() > 128 {
            return Err(InvalidPattern::Size);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('{') {
                let (name, tail) = after.split_once('}').ok_or(InvalidPattern::Unclosed)?;
                parts.push(match name {
                    "sha" => Part::Sha,
                    "sha7" => Part::Sha7,
                    "version" => Part::Version,
                    "date" => Part::Date,
                    "time" => Part::Time,
                    "number" => Part::Number,
                    other => return Err(InvalidPattern::Unknown(other.to_owned())),
                });
                rest = tail;
            } else {
                let end = rest.find('{').unwrap_or(rest.len());
                let (fixed, tail) = rest.split_at(end);
                if !fixed.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c)) {
                    return Err(InvalidPattern::Text(fixed.to_owned()));
                }
                parts.push(Part::Text(fixed.to_owned()));
                rest = tail;
            }
        }
        if parts.iter().filter(|part| !matches!(part, Part::Text(_))).count() > 8 {
            return Err(InvalidPattern::Size);
        }
        Ok(Self { parts })
    }
}

impl TagPattern {
    /// What the tag says, if the whole of it matches.
    pub fn read(&self, tag: &Tag) -> Option<TagMatch> {
        let mut found = TagMatch::default();
        consume(&self.parts, tag.as_str(), &mut found).then_some(found)
    }

    /// The commit the tag names, if it matches and names one.
    pub fn commit(&self, tag: &Tag) -> Option<CommitSha> {
        self.read(tag)?.commit
    }

    /// Whether a match names a commit.
    pub fn names_commit(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Sha | Part::Sha7))
    }
}

fn consume(parts: &[Part], text: &str, found: &mut TagMatch) -> bool {
    let Some((part, rest)) = parts.split_first() else { return text.is_empty() };
    let run = |ok: fn(u8) -> bool| text.bytes().take_while(|c| ok(*c)).count();
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let digit = |c: u8| c.is_ascii_digit();
    // Tags are ASCII, so every cut is a character boundary; at most a dozen lengths are tried per placeholder.
    let lengths: Vec<usize> = match part {
        Part::Text(fixed) => {
            return text.strip_prefix(fixed.as_str()).is_some_and(|tail| consume(rest, tail, found));
        }
        Part::Sha => [64, 40].into_iter().filter(|n| *n <= run(hex)).collect(),
        Part::Sha7 => (run(hex) >= 7).then_some(7).into_iter().collect(),
        Part::Date => (run(digit) >= 8).then_some(8).into_iter().collect(),
        Part::Time => (run(digit) >= 6).then_some(6).into_iter().collect(),
        Part::Number => (1..=run(digit).min(12)).rev().collect(),
        Part::Version => {
            let most = run(|c| c.is_ascii_alphanumeric() || b".-".contains(&c)).min(64);
            (5..=most).rev().filter(|n| is_version(&text[..*n])).collect()
        }
    };
    lengths.into_iter().any(|n| {
        let (here, tail) = text.split_at(n);
        if !consume(rest, tail, found) {
            return false;
        }
        match part {
            Part::Sha | Part::Sha7 => found.commit = CommitSha::new(here).ok(),
            Part::Version => found.version = Some(here.to_owned()),
            _ => {}
        }
        true
    })
}

fn is_version(text: &str) -> bool {
    let core = text.split_once('-').map_or(text, |(core, _)| core);
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()))
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Sha => f.write_str("{sha}"),
            Part::Sha7 => f.write_str("{sha7}"),
            Part::Version => f.write_str("{version}"),
            Part::Date => f.write_str("{date}"),
            Part::Time => f.write_str("{time}"),
            Part::Number => f.write_str("{number}"),
        })
    }
}
impl Serialize for TagPattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for TagPattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(pattern: &str, tag: &str) -> Option<String> {
        let pattern: TagPattern = pattern.parse().unwrap();
        pattern.commit(&Tag::new(tag).unwrap()).map(|commit| commit.as_str().to_owned())
    }

    #[test]
    fn the_tag_schemes_of_the_five_systems_name_their_commits() {
        let sha = "8f3c2a1b00000000000000000000000000000000";
        assert_eq!(commit("{sha}", sha).as_deref(), Some(sha));
        assert_eq!(commit("{sha}", "8f3c2a1"), None, "seven digits are {{sha7}}");
        assert_eq!(commit("{sha7}", "8f3c2a1").as_deref(), Some("8f3c2a1"));
        assert_eq!(commit("{sha7}", "8f3c2a10"), None, "anchored at the end");
        assert_eq!(commit("prod-{sha7}-{date}-{time}", "prod-8f3c2a1-20261120-025842").as_deref(), Some("8f3c2a1"));
        assert_eq!(commit("prod-{sha7}-{date}-{time}", "prod-latest"), None);
        assert_eq!(commit("pr-{number}", "pr-12"), None, "names no commit");
    }

    #[test]
    fn versions_are_read() {
        let pattern: TagPattern = "v{version}".parse().unwrap();
        let read = |tag: &str| pattern.read(&Tag::new(tag).unwrap()).and_then(|found| found.version);
        assert_eq!(read("v1.2.3").as_deref(), Some("1.2.3"));
        assert_eq!(read("v1.2.3-rc.1").as_deref(), Some("1.2.3-rc.1"));
        assert_eq!(read("v1.2"), None);
    }

    #[test]
    fn wrong_patterns_say_what_is_wrong() {
        assert_eq!("{sah}".parse::<TagPattern>(), Err(InvalidPattern::Unknown("sah".into())));
        assert_eq!("{sha".parse::<TagPattern>(), Err(InvalidPattern::Unclosed));
        assert_eq!("a b".parse::<TagPattern>(), Err(InvalidPattern::Text("a b".into())));
    }
}
