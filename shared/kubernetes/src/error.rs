//! What a Kubernetes API server refused, in words a person can act on.

use std::fmt;

use portcullis_engine::ports::PortError;
use serde::Deserialize;

use crate::client::Kind;

/// All that a server says of a JSON patch that cannot be applied, such as one whose `test` does not hold (seen on 1.36).
const NOT_APPLIED: &str = "the server rejected our request due to an error in our request";
/// How much of a server's own words is kept: admission names itself twice before it says what to do.
const MOST_SAID: usize = 700;

/// A call to the API server that came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{doing}: {why}{}", Said(.said))]
pub struct ApiError {
    /// What was being done, to what.
    pub doing: String,
    /// Why it came to nothing.
    pub why: Why,
    /// The server's own words, at most 700 characters, without control characters.
    pub said: String,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// 401: the cluster does not know who asks.
    Unauthorized,
    /// 403: it knows, and does not let them.
    Forbidden {
        /// Such as `patch`.
        verb: &'static str,
        /// Such as `deployments.apps`.
        resource: String,
        /// None = not of a namespace.
        namespace: Option<String>,
    },
    /// 404 of the object or of the kind.
    NotFound,
    /// 404 of the namespace.
    NoNamespace(String),
    /// 409: there is one of this name already.
    Exists,
    /// 409: another writer was first, or another field manager owns a field.
    Conflict {
        /// The fields that another manager owns, with the server's words on who it is. Empty = a write in between.
        owned: Vec<String>,
    },
    /// 410: the continuation of a list ran out.
    Expired,
    /// 422: the object would not be valid, or a patch's `test` did not hold.
    Invalid {
        /// Fields that cannot be changed on this object.
        immutable: Vec<String>,
        /// Whether it was a `test` of a JSON patch that did not hold.
        test_failed: bool,
    },
    /// 429, and still after what it asked to wait.
    TooMany,
    /// 5xx, or no answer in time. A write may have been made.
    Failed(u16),
    /// No connection, or it broke. A write may have been made unless the connection never came up.
    Unreachable,
    /// No answer in time. A write may have been made.
    TimedOut,
    /// An answer that is not what was asked for, or larger than allowed. A write was made.
    Malformed,
    /// Anything else the server refused before doing it.
    Refused(u16),
}

struct Said<'a>(&'a str);
impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Unauthorized => f.write_str("the cluster does not accept the credentials"),
            Why::Forbidden { verb, resource, namespace: Some(namespace) } => write!(
                f,
                "not allowed: the role needs the verb {verb} on {resource} in namespace {namespace}; \
                 `portcullis cluster rbac` writes it"
            ),
            Why::Forbidden { verb, resource, namespace: None } => {
                write!(f, "not allowed: the role needs the verb {verb} on {resource} in the whole cluster")
            }
            Why::NotFound => f.write_str("there is none"),
            Why::NoNamespace(namespace) => {
                write!(f, "there is no namespace {namespace}: it is created by whoever owns the cluster")
            }
            Why::Exists => f.write_str("there is one of this name already"),
            Why::Conflict { owned } if owned.is_empty() => f.write_str("somebody changed it meanwhile"),
            Why::Conflict { owned } => write!(
                f,
                "another field manager owns {}; take the field out of its manifest, or let it ignore differences there",
                owned.join(", ")
            ),
            Why::Expired => f.write_str("the list changed too much while it was read"),
            Why::Invalid { immutable, .. } if !immutable.is_empty() => write!(
                f,
                "{} cannot be changed on an object that exists: it would have to be made anew under another name",
                immutable.join(", ")
            ),
            Why::Invalid { test_failed: true, .. } => f.write_str("it is not what was read any more"),
            Why::Invalid { .. } => f.write_str("the cluster finds it not valid"),
            Why::TooMany => f.write_str("the cluster asks to slow down"),
            Why::Failed(status) => write!(f, "the cluster failed with {status}"),
            Why::Unreachable => f.write_str("the cluster cannot be reached"),
            Why::TimedOut => f.write_str("the cluster did not answer in time"),
            Why::Malformed => f.write_str("the cluster's answer is not what was asked for"),
            Why::Refused(status) => write!(f, "the cluster refused with {status}"),
        }
    }
}

impl ApiError {
    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.why == Why::NotFound
    }

    /// Whether a write can not have been made.
    pub fn is_certain(&self) -> bool {
        !matches!(self.why, Why::Failed(_) | Why::Unreachable | Why::TimedOut | Why::Malformed)
    }
}

impl From<ApiError> for PortError {
    fn from(error: ApiError) -> Self {
        let found = format!("{}{}", error.why, Said(&error.said));
        PortError::new(error.doing, found)
    }
}

/// The server's `Status` object, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    reason: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    kind: String,
    name: String,
    causes: Vec<Cause>,
    #[serde(rename = "retryAfterSeconds")]
    retry_after: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
    field: String,
}

/// What was asked for, for the words of its failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'static str,
    pub(crate) kind: &'a Kind,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
}

impl Asked<'_> {
    /// `patching Deployment shop/web-green`.
    pub(crate) fn doing(&self) -> String {
        let verb = match self.verb {
            "get" => "reading",
            "list" => "listing",
            "create" => "creating",
            "delete" => "deleting",
            _ => "writing",
        };
        let place = self.namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
        match self.name {
            Some(name) => format!("{verb} {} {place}{name}", self.kind.kind),
            None => format!("{verb} {} of {}", self.kind.plural, self.namespace.unwrap_or("the cluster")),
        }
    }

    pub(crate) fn error(&self, why: Why, said: &str) -> ApiError {
        ApiError { doing: self.doing(), why, said: clean(said) }
    }
}

/// Text from outside on one line, without control characters, at most 700 characters.
pub(crate) fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() || portcullis_domain::names::is_bidi_control(c) { ' ' } else { c };
    text.trim().chars().map(shown).take(MOST_SAID).collect()
}

/// How long the server asks to wait, by its `Status`: seconds.
pub(crate) fn retry_after(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Status>(body).ok()?.details.retry_after
}

/// The error that an answer with this status is.
pub(crate) fn of_answer(asked: Asked<'_>, status: u16, body: &[u8]) -> ApiError {
    let answer: Status = serde_json::from_slice(body).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(&body[..body.len().min(MOST_SAID)]).into_owned(),
        ..Status::default()
    });
    let causes = &answer.details.causes;
    let why = match status {
        401 => Why::Unauthorized,
        403 if answer.message.contains("because it is being terminated") => Why::Refused(403),
        // A quota or an admission plugin answers 403, too; only RBAC's is about the role.
        403 if is_admission(&answer) => Why::Refused(403),
        403 => Why::Forbidden {
            verb: asked.verb,
            resource: asked.kind.resource(),
            namespace: asked.namespace.map(str::to_owned),
        },
        404 if answer.details.kind == "namespaces" && asked.kind.plural != "namespaces" => {
            Why::NoNamespace(clean(&answer.details.name))
        }
        404 => Why::NotFound,
        409 if answer.reason == "AlreadyExists" => Why::Exists,
        409 => Why::Conflict {
            owned: causes
                .iter()
                .filter(|cause| cause.reason == "FieldManagerConflict")
                .map(|cause| clean(&format!("{} ({})", cause.field, cause.message)))
                .collect(),
        },
        410 => Why::Expired,
        422 => Why::Invalid {
            immutable: causes
                .iter()
                .filter(|cause| cause.message.contains("immutable") || cause.message.contains("may not be changed"))
                .map(|cause| clean(&cause.field))
                .collect(),
            test_failed: causes.is_empty() && answer.message == NOT_APPLIED,
        },
        429 => Why::TooMany,
        500.. => Why::Failed(status),
        _ => Why::Refused(status),
    };
    let said = if answer.message.is_empty() { answer.reason } else { answer.message };
    asked.error(why, &said)
}

/// RBAC's refusal says which user cannot do what; everything else that answers 403 looked at the object.
fn is_admission(answer: &Status) -> bool {
    answer.message.contains("exceeded quota")
        || answer.message.contains("denied the request")
        || (answer.reason == "Forbidden" && !answer.message.is_empty() && !answer.message.contains(" cannot "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::kinds;

    fn of(verb: &'static str, status: u16, body: &serde_json::Value) -> String {
        let asked = Asked { verb, kind: &kinds::DEPLOYMENTS, namespace: Some("shop"), name: Some("web-green") };
        of_answer(asked, status, body.to_string().as_bytes()).to_string()
    }

    #[test]
    fn a_refusal_names_the_verb_the_kind_and_the_namespace_that_are_missing() {
        let body = json!({ "kind": "Status", "reason": "Forbidden",
            "message": "deployments.apps \"web-green\" is forbidden: User \"x\" cannot patch resource" });
        let words = of("patch", 403, &body);
        assert!(words.starts_with("writing Deployment shop/web-green: not allowed: "), "{words}");
        assert!(words.contains("verb patch on deployments.apps in namespace shop"), "{words}");
    }

    #[test]
    fn a_quota_is_not_taken_for_a_missing_right() {
        let body = json!({ "reason": "Forbidden", "message": "pods \"x\" is forbidden: exceeded quota: q" });
        let words = of("create", 403, &body);
        assert!(words.contains("refused with 403") && words.contains("exceeded quota"), "{words}");
    }

    #[test]
    fn a_policy_of_the_cluster_is_not_taken_for_a_missing_right_and_is_heard_to_its_end() {
        let name = "portcullis.shop.production";
        let digest = "1".repeat(64);
        let message = format!(
            "deployments.apps \"web-green\" is forbidden: ValidatingAdmissionPolicy '{name}' with binding '{name}' denied \
             request: Portcullis releases web-green, and did not release \
             123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop/web@sha256:{digest}. Use portcullis release start \
             shop/production COMMIT, or portcullis rollback shop/production; in an emergency the group on-call may do it \
             by hand"
        );
        let words = of("patch", 403, &json!({ "reason": "Forbidden", "message": message }));
        assert!(words.contains("refused with 403") && words.contains("on-call may do it by hand"), "{words}");
    }

    #[test]
    fn each_kind_of_refusal_says_what_to_do() {
        for (status, body, expected) in [
            (401, json!({ "message": "Unauthorized" }), "does not accept the credentials"),
            (
                404,
                json!({ "details": { "kind": "namespaces", "name": "shop" }, "message": "namespaces \"shop\" not found" }),
                "there is no namespace shop",
            ),
            (404, json!({ "message": "deployments.apps \"web-green\" not found" }), "there is none"),
            (409, json!({ "reason": "AlreadyExists" }), "one of this name already"),
            (409, json!({ "reason": "Conflict" }), "somebody changed it meanwhile"),
            (
                409,
                json!({ "reason": "Conflict", "details": { "causes": [{ "reason": "FieldManagerConflict",
                    "message": "conflict with \"argocd-controller\" using apps/v1", "field": ".spec.replicas" }] } }),
                "another field manager owns .spec.replicas (conflict with \"argocd-controller\" using apps/v1)",
            ),
            (
                422,
                json!({ "reason": "Invalid", "details": { "causes": [{ "reason": "FieldValueInvalid",
                    "message": "Invalid value: {}: field is immutable", "field": "spec.selector" }] } }),
                "spec.selector cannot be changed on an object that exists",
            ),
            (
                422,
                json!({ "message": NOT_APPLIED, "reason": "Invalid", "details": {} }),
                "it is not what was read any more",
            ),
            (429, json!({}), "asks to slow down"),
            (503, json!({}), "failed with 503"),
        ] {
            let words = of("patch", status, &body);
            assert!(words.contains(expected), "{status}: {words}");
        }
    }

    #[test]
    fn a_write_is_certain_only_where_the_server_refused_it() {
        let asked = Asked { verb: "patch", kind: &kinds::SERVICES, namespace: Some("shop"), name: Some("web") };
        for (status, certain) in
            [(401, true), (403, true), (409, true), (422, true), (429, true), (500, false), (504, false)]
        {
            assert_eq!(of_answer(asked, status, b"{}").is_certain(), certain, "{status}");
        }
        assert!(!asked.error(Why::TimedOut, "").is_certain() && !asked.error(Why::Unreachable, "").is_certain());
    }

    #[test]
    fn a_servers_words_are_cut_and_cleaned() {
        let words = of("get", 500, &json!({ "message": format!("a\nb\u{202e}{}", "x".repeat(900)) }));
        assert!(words.contains("a b ") && words.len() < 900, "{words}");
    }
}
