//! The two functions behind HTTP: `on-github-event` and `on-approval`. Here is their transport: a request of an HTTP API
//! or a function URL (payload format 2.0, Amazon API Gateway Developer Guide, "Create AWS Lambda proxy integrations for
//! HTTP APIs"), its raw bytes, its signature.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// The largest body that is looked at, in bytes: Lambda hands over at most 6 MB.
pub const MOST_BODY: usize = 6 * 1024 * 1024;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    headers: BTreeMap<String, String>,
    /// The body's bytes as they were sent: what a signature is of.
    pub body: Vec<u8>,
}

/// A body that is no request of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP request of payload format 2.0: {0}")]
pub struct NoRequest(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    version: String,
    raw_path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    request_context: WireContext,
    #[serde(default)]
    body: String,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
struct WireContext {
    http: WireHttp,
}

#[derive(Deserialize)]
struct WireHttp {
    method: String,
}

impl Request {
    /// Reads what Lambda was handed.
    ///
    /// # Errors
    /// When it is of another format, or its body is larger than [`MOST_BODY`].
    pub fn read(body: &[u8]) -> Result<Self, NoRequest> {
        let wire: Wire = serde_json::from_slice(body).map_err(|error| NoRequest(error.to_string()))?;
        if wire.version != "2.0" {
            return Err(NoRequest(format!("its version is {:?}", wire.version.chars().take(20).collect::<String>())));
        }
        let body = if wire.is_base64_encoded {
            aws_smithy_types::base64::decode(wire.body).map_err(|_| NoRequest("its body is not base64".to_owned()))?
        } else {
            wire.body.into_bytes()
        };
        if body.len() > MOST_BODY {
            return Err(NoRequest(format!("its body is larger than {MOST_BODY} bytes")));
        }
        let headers = wire.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        Ok(Self { method: wire.request_context.http.method, path: wire.raw_path, headers, body })
    }

    /// A header; its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A response: a status, and a JSON body that says why.
pub fn response(status: u16, body: &Value) -> Value {
    json!({
        "statusCode": status,
        "headers": { "content-type": "application/json", "cache-control": "no-store" },
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(body: &str, encoded: bool) -> Vec<u8> {
        json!({
            "version": "2.0",
            "routeKey": "POST /github",
            "rawPath": "/github",
            "rawQueryString": "",
            "headers": { "X-Hub-Signature-256": "sha256=00", "x-github-event": "push" },
            "requestContext": { "http": { "method": "POST", "path": "/github", "sourceIp": "192.0.2.1" } },
            "body": body,
            "isBase64Encoded": encoded,
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn the_bytes_are_those_that_were_signed() {
        let plain = Request::read(&wire("Hello, World!", false)).unwrap();
        assert_eq!((plain.method.as_str(), plain.path.as_str()), ("POST", "/github"));
        assert_eq!(plain.body, b"Hello, World!");
        assert_eq!(plain.header("x-hub-signature-256"), Some("sha256=00"));
        let encoded = Request::read(&wire("SGVsbG8sIFdvcmxkIQ==", true)).unwrap();
        assert_eq!(encoded.body, b"Hello, World!");
    }

    #[test]
    fn a_get_has_no_body() {
        let get = json!({ "version": "2.0", "rawPath": "/", "requestContext": { "http": { "method": "GET" } } });
        let get = Request::read(get.to_string().as_bytes()).unwrap();
        assert!(get.body.is_empty() && get.method == "GET");
    }

    #[test]
    fn what_is_no_request_is_said() {
        for (body, why) in [
            (&b"{}"[..], "missing field"),
            (br#"{"version":"1.0","rawPath":"/","requestContext":{"http":{"method":"GET"}}}"#, "its version"),
            (b"[", "EOF"),
        ] {
            let error = Request::read(body).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = Request::read(&wire("%%%", true)).unwrap_err().to_string();
        assert!(error.contains("base64"), "{error}");
    }
}
