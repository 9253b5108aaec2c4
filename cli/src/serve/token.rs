//! Bearer tokens: the one that events come with, and how any is taken from a request.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

use crate::exit;

/// The environment variable that holds the events' token.
pub(crate) const EVENTS_TOKEN: &str = "PORTCULLIS_EVENTS_TOKEN";
/// A shorter token can be guessed.
const SHORTEST: usize = 16;

/// The tokens that events may come with: one, or two while it is being replaced.
pub(crate) struct EventsTokens(Vec<SecretString>);

impl EventsTokens {
    /// From the environment variable's text.
    ///
    /// # Errors
    /// There is none, there are more than two, or one is shorter than 16 characters.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let tokens: Vec<&str> = text.split(',').map(str::trim).filter(|token| !token.is_empty()).collect();
        match tokens.len() {
            0 => Err(exit::usage(format!(
                "{EVENTS_TOKEN} is not set: without it anybody could post events. Make one, for example with\n  \
                 openssl rand -hex 32"
            ))),
            1 | 2 if tokens.iter().all(|token| token.len() >= SHORTEST) => {
                Ok(Self(tokens.into_iter().map(SecretString::from).collect()))
            }
            1 | 2 => Err(exit::usage(format!("{EVENTS_TOKEN} is too short: at least {SHORTEST} characters"))),
            n => Err(exit::usage(format!("{EVENTS_TOKEN} holds {n} tokens: one, or two while it is being replaced"))),
        }
    }

    /// From the environment.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        Self::parse(&std::env::var(EVENTS_TOKEN).unwrap_or_default())
    }

    /// Whether this is one of them. Takes the same time for every wrong one of the same length.
    pub(crate) fn accepts(&self, token: &SecretString) -> bool {
        let given = token.expose_secret().as_bytes();
        let fits = |known: &SecretString| known.expose_secret().as_bytes().ct_eq(given);
        self.0.iter().map(fits).fold(Choice::from(0), |any, one| any | one).into()
    }
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (kind, token) = value.split_once(' ')?;
    let token = token.trim();
    (kind.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_good_token_does_not_start() {
        for bad in ["", "  ", ",", "short", "0123456789abcde", "0123456789abcdef,short"] {
            assert!(EventsTokens::parse(bad).is_err(), "{bad:?}");
        }
        assert!(EventsTokens::parse(&["0123456789abcdef"; 3].join(",")).is_err());
    }

    #[test]
    fn both_tokens_count_while_one_is_replaced_and_nothing_else_does() {
        let tokens = EventsTokens::parse("0123456789abcdef, fedcba9876543210").unwrap();
        for good in ["0123456789abcdef", "fedcba9876543210"] {
            assert!(tokens.accepts(&SecretString::from(good)));
        }
        for bad in ["", "0123456789abcdeg", "0123456789abcdef,", "0123456789abcdef0"] {
            assert!(!tokens.accepts(&SecretString::from(bad)), "{bad:?}");
        }
    }

    #[test]
    fn only_a_bearer_token_is_taken() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(|token| token.expose_secret().to_owned())
        };
        assert_eq!(with("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(with("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(with("Basic abc"), None);
        assert_eq!(with("Bearer "), None);
    }
}
