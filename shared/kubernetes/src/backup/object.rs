//! Reading an object of any kind: the few fields that all have.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The label that marks what a backup says about itself: no object to bring back.
pub const ABOUT_LABEL: &str = "portcullis.dev/about";

/// Names an object within its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its API group; empty = the core one.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// `Deployment/web`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl ObjectRef {
    /// Of an object; missing parts are empty.
    pub fn of(object: &Json) -> Self {
        Self { group: group(object).to_owned(), kind: kind(object).to_owned(), name: name(object).to_owned() }
    }
}

/// What is at a path of field names such as `/metadata/name`. Not a JSON pointer: nothing in it is escaped, and it costs no
/// allocations, of which a backup would make some hundred thousand.
pub fn at<'a>(object: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('/').skip(1).try_fold(object, |value, key| value.get(key))
}

/// The same, to be changed.
pub fn at_mut<'a>(object: &'a mut Json, path: &str) -> Option<&'a mut Json> {
    path.split('/').skip(1).try_fold(object, |value, key| value.get_mut(key))
}

/// The text at a path; empty = none.
pub fn text<'a>(object: &'a Json, path: &str) -> &'a str {
    at(object, path).and_then(Json::as_str).unwrap_or_default()
}

/// Its kind.
pub fn kind(object: &Json) -> &str {
    text(object, "/kind")
}

/// Its name.
pub fn name(object: &Json) -> &str {
    text(object, "/metadata/name")
}

/// Its API group; empty = the core one.
pub fn group(object: &Json) -> &str {
    text(object, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group)
}

/// A label.
pub fn label<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    at(object, "/metadata/labels")?.get(key)?.as_str()
}

/// An annotation.
pub fn annotation<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    at(object, "/metadata/annotations")?.get(key)?.as_str()
}

/// The controller that made it and makes it again: of its owner references the one with `controller: true`.
pub fn controller(object: &Json) -> Option<&Json> {
    let owners = at(object, "/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)
}

/// The list at a path; empty = none.
pub fn list<'a>(object: &'a Json, path: &str) -> &'a [Json] {
    at(object, path).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}
