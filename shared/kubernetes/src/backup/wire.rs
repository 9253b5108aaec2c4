//! What backup, hooks and doctor need of the API server: one request, one answer, with a bound on its size.
//!
//! They speak of kinds that are only known when they run, so that typed calls would not help them. Everything that
//! connects, waits, paces or retries is behind [`Wire`].

use std::fmt::Write as _;

use async_trait::async_trait;
use portcullis_domain::names::is_bidi_control;
use portcullis_engine::ports::{PortError, PortResult};
use serde_json::Value as Json;

/// The most bytes of an answer that is not a page of objects: 16 MiB, several times what discovery of 1,000 kinds has.
pub const MOST_ANSWER: usize = 16 << 20;
/// The most bytes of one page of objects: 64 MiB.
pub const MOST_PAGE: usize = 64 << 20;

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates (POST, JSON).
    Create,
    /// Applies under a field manager that the path names (server-side apply).
    Apply,
    /// Changes by a JSON patch (RFC 6902).
    JsonPatch,
    /// Deletes, with delete options as the body.
    Delete,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What is done.
    pub method: Method,
    /// Path and query, encoded.
    pub path: String,
    /// Which form of answer is wanted.
    pub accept: &'static str,
    /// The body; empty = none.
    pub body: Vec<u8>,
    /// The most bytes of the answer that are read.
    pub most: usize,
}

impl Ask {
    /// Reads a path as JSON.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::Get, path: path.into(), accept: "application/json", body: Vec::new(), most: MOST_ANSWER }
    }

    /// Sends an object.
    pub fn send(method: Method, path: impl Into<String>, body: &Json) -> Self {
        Self { method, body: body.to_string().into_bytes(), ..Self::get(path) }
    }

    /// With another bound on the answer, in bytes.
    #[must_use]
    pub fn at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// With another form of answer.
    #[must_use]
    pub fn accepting(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoAnswer {
    /// It was larger than asked for; the rest was not read.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// There was none.
    #[error(transparent)]
    Failed(#[from] PortError),
}

/// A way to the API server.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Sends one request. A refusal by the server is an answer.
    async fn ask(&self, ask: Ask) -> Result<Answer, NoAnswer>;
}

impl Answer {
    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none, or is nested more than 128 deep.
    pub fn json(&self, doing: &str) -> PortResult<Json> {
        serde_json::from_slice(&self.body).map_err(|error| PortError::new(doing, format!("not JSON: {error}")))
    }

    /// The body as JSON if the status is a success, `None` on 404.
    ///
    /// # Errors
    /// Any other status, with the server's own words.
    pub fn found(&self, doing: &str) -> PortResult<Option<Json>> {
        match self.status {
            200..=299 => self.json(doing).map(Some),
            404 => Ok(None),
            _ => Err(PortError::new(doing, self.words())),
        }
    }

    /// The server's `Status` object, if this is one.
    pub fn status_object(&self) -> Option<Json> {
        let json: Json = serde_json::from_slice(&self.body).ok()?;
        (json["kind"] == "Status").then_some(json)
    }

    /// What the server says, on one line of at most 300 characters: its own message, else the status.
    pub fn words(&self) -> String {
        let said = self.status_object().and_then(|status| status["message"].as_str().map(shown));
        match said {
            Some(said) if !said.is_empty() => format!("{} {said}", self.status),
            _ => self.status.to_string(),
        }
    }
}

/// Asks, and takes an answer that is too large for a failure.
pub(crate) async fn answer(wire: &dyn Wire, ask: Ask, doing: &str) -> PortResult<Answer> {
    wire.ask(ask).await.map_err(|error| match error {
        NoAnswer::Failed(error) => error,
        NoAnswer::TooLarge(_) => PortError::new(doing, error),
    })
}

/// Text from a cluster on one line: control characters and those that reorder text become spaces, at most 300
/// characters.
pub fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() || is_bidi_control(c) { ' ' } else { c };
    text.trim().chars().map(plain).take(300).collect()
}

/// A text as one segment of a path, or one value of a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_says_can_not_move_the_cursor() {
        let answer = Answer { status: 403, body: br#"{"kind":"Status","message":"no\u001b[2J\u202e way"}"#.to_vec() };
        assert_eq!(answer.words(), "403 no [2J  way");
        let answer = Answer { status: 502, body: b"<html>".to_vec() };
        assert_eq!(answer.words(), "502");
    }

    #[test]
    fn a_name_can_not_leave_its_place_in_a_path() {
        assert_eq!(encoded("a/../b?x=1&y"), "a%2F..%2Fb%3Fx%3D1%26y");
    }
}
