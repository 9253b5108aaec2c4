//! The identifiers that must never be confused with one another, each parsed once at the edge.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not the identifier it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} {why}")]
pub struct InvalidName {
    /// Which kind of identifier was expected, in words.
    pub what: &'static str,
    /// The text found, cut to 80 characters.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

fn invalid(what: &'static str, text: &str, why: &'static str) -> InvalidName {
    InvalidName { what, text: text.chars().take(80).collect(), why }
}

fn label(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 63 {
        return Err("must have 1 to 63 characters");
    }
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let bytes = text.as_bytes();
    let ends = |c: u8| inner(c) && c != b'-';
    if !bytes.iter().all(|c| inner(*c)) || !ends(bytes[0]) || !ends(bytes[bytes.len() - 1]) {
        return Err("may hold only a-z, 0-9 and, inside, -");
    }
    Ok(())
}

fn printable(text: &str, most: usize) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > most {
        return Err("is empty or too long");
    }
    if text.chars().any(|c| c.is_control() || is_bidi_control(c)) {
        return Err("has control characters");
    }
    Ok(())
}

/// Characters that reorder text on a screen: never part of a name, stripped where text is shown.
pub fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses and validates the text.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                check(text).map_err(|why| invalid($what, text, why))?;
                Ok(Self(Arc::from(text)))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// An application: what a team ships.
    AppName, "application name", label);
name!(
    /// An environment of an application, such as `production`.
    EnvName, "environment name", label);
name!(
    /// A service of an application: one Deployment, fed by one image repository.
    ServiceName, "service name", label);
name!(
/// An image repository with its registry host, such as
/// `444444444444.dkr.ecr.us-east-1.amazonaws.com/volteryde/nestjs-service`. At most 255 characters.
Repository, "image repository", |text| {
    printable(text, 255)?;
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-._/:".contains(&c);
    if text.bytes().all(ok) { Ok(()) } else { Err("may hold only a-z, 0-9, and . _ - / :") }
});
name!(
/// An image tag (OCI distribution specification: at most 128 of `[A-Za-z0-9_.-]`). Never deployed.
Tag, "image tag", |text| {
    printable(text, 128)?;
    let ok = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    if text.bytes().all(ok) && !text.starts_with(['.', '-']) { Ok(()) }
    else { Err("may hold only A-Z, a-z, 0-9, _ and, inside, . -") }
});
name!(
/// A Git commit, 7 to 64 lower-case hexadecimal digits; shorter ones match by prefix.
CommitSha, "commit", |text| {
    if !(7..=64).contains(&text.len()) { return Err("must have 7 to 64 characters"); }
    if text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) { Ok(()) }
    else { Err("may hold only 0-9 and a-f") }
});
name!(
    /// A CloudWatch (or other) alarm's name, at most 255 characters.
    AlarmName, "alarm name", |text| printable(text, 255));
name!(
/// A person's opaque id in the ledger: the key under `people:` or in a group of the policy.
Subject, "person", |text| {
    printable(text, 64)?;
    let ok = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    if text.bytes().all(ok) { Ok(()) } else { Err("may hold only letters, digits and . _ -") }
});
name!(
    /// A group of people, such as `release-managers`.
    GroupName, "group name", label);
name!(
/// An account somewhere else that belongs to a person or a bot: `github:octocat`, `slack:T01/U02`, `email:a@b.c`.
Identity, "identity", |text| {
    printable(text, 200)?;
    if text.contains(':') { Ok(()) } else { Err("needs a kind, as in github:NAME") }
});
name!(
    /// The id under which a sender delivered an event; a redelivery has the same one. At most 200 characters.
    DeliveryId, "delivery id", |text| printable(text, 200));
name!(
    /// The name of an object on the cluster (RFC 1123 label).
    ObjectName, "object name", label);
name!(
    /// One ledger's own random name, written into every fence so that a foreign one is recognised.
    LedgerId, "ledger id", label);

impl CommitSha {
    /// Whether both name the same commit as far as the shorter one goes.
    pub fn matches(&self, other: &CommitSha) -> bool {
        self.0.starts_with(&*other.0) || other.0.starts_with(&*self.0)
    }

    /// The first seven digits, as people read it.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

/// One environment of one application: the aggregate, with one ledger. Shown as `volteryde/production`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.env)
    }
}
impl fmt::Debug for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for TargetId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (app, env) = text.split_once('/').ok_or_else(|| invalid("environment", text, "must be written APP/ENV"))?;
        Ok(Self { app: AppName::new(app)?, env: EnvName::new(env)? })
    }
}
impl Serialize for TargetId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for TargetId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The number of a release, unique in one installation: `release 142`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub u64);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The position of an event in its target's ledger, from 1. The position of an intention is its fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_could_deceive_or_break_out() {
        assert!(ServiceName::new("nestjs-service").is_ok());
        for bad in ["", "-a", "a-", "A", "a/b", "a b", &"a".repeat(64)] {
            assert!(ServiceName::new(bad).is_err(), "{bad:?}");
        }
        assert!(AlarmName::new("prod\u{202e}gnp").is_err());
        assert!(Tag::new("-x").is_err());
        assert!(Subject::new("kofi<script>").is_err());
    }

    #[test]
    fn a_short_commit_matches_its_long_form_only() {
        let short = CommitSha::new("8f3c2a1").unwrap();
        let long = CommitSha::new("8f3c2a1b00000000000000000000000000000000").unwrap();
        assert!(short.matches(&long) && long.matches(&short));
        assert!(!short.matches(&CommitSha::new("8f3c2a2").unwrap()));
    }

    #[test]
    fn a_target_reads_back_from_what_it_prints() {
        let target: TargetId = "volteryde/production".parse().unwrap();
        assert_eq!(target.to_string(), "volteryde/production");
        assert!("volteryde".parse::<TargetId>().is_err());
    }
}
