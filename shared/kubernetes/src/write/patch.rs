//! A JSON patch (RFC 6902) being put together.

use serde_json::{Value as Json, json};

use crate::objects::{annotation, pointer};

/// Tests first, changes after: the API server does all of them or none.
#[derive(Debug, Clone, Default)]
pub(super) struct Patch(Vec<Json>);

impl Patch {
    /// Whatever follows is only done if this is what is there.
    pub(super) fn test(&mut self, path: &str, value: &Json) -> &mut Self {
        self.0.push(json!({ "op": "test", "path": path, "value": value }));
        self
    }

    /// Sets a field; whether it is there makes no difference.
    pub(super) fn set(&mut self, path: &str, value: impl Into<Json>) -> &mut Self {
        self.0.push(json!({ "op": "add", "path": path, "value": value.into() }));
        self
    }

    /// Takes a field out that is there.
    pub(super) fn remove(&mut self, path: &str) -> &mut Self {
        self.0.push(json!({ "op": "remove", "path": path }));
        self
    }

    /// Sets an annotation, where there are annotations.
    pub(super) fn annotate(&mut self, key: &str, value: impl Into<Json>) -> &mut Self {
        self.set(&format!("/metadata/annotations/{}", pointer(key)), value)
    }

    /// Tests that the fence annotation is the one that was read. What is absent is tested for null, as the API server has it
    /// (seen on 1.36; RFC 6902 leaves it open): a server that does otherwise refuses, and nothing is written.
    pub(super) fn on(object: &Json, fence_key: &str) -> Self {
        let mut patch = Self::default();
        let fence = annotation(object, fence_key).map_or(Json::Null, Json::from);
        if object["metadata"]["annotations"].is_object() {
            patch.test(&format!("/metadata/annotations/{}", pointer(fence_key)), &fence);
        } else {
            patch.test("/metadata/annotations", &Json::Null);
            patch.set("/metadata/annotations", json!({}));
        }
        patch
    }

    pub(super) fn operations(&self) -> &[Json] {
        &self.0
    }
}
