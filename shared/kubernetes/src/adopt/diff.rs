//! The JSON patch between two states of an object: every field that changes is tested first.

use serde_json::{Value as Json, json};

use crate::objects::pointer;

/// The patch from `before` to `after`. Lists are changed as a whole.
pub(super) fn patch(before: &Json, after: &Json) -> Vec<Json> {
    let (mut tests, mut changes) = (Vec::new(), Vec::new());
    walk("", before, after, &mut tests, &mut changes);
    tests.into_iter().chain(changes).collect()
}

fn walk(path: &str, before: &Json, after: &Json, tests: &mut Vec<Json>, changes: &mut Vec<Json>) {
    if before == after {
        return;
    }
    let (Json::Object(old), Json::Object(new)) = (before, after) else {
        tests.push(json!({ "op": "test", "path": path, "value": before }));
        changes.push(json!({ "op": "replace", "path": path, "value": after }));
        return;
    };
    for (key, before) in old {
        let path = format!("{path}/{}", pointer(key));
        if let Some(after) = new.get(key) {
            walk(&path, before, after, tests, changes);
        } else {
            tests.push(json!({ "op": "test", "path": path, "value": before }));
            changes.push(json!({ "op": "remove", "path": path }));
        }
    }
    for (key, after) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        let path = format!("{path}/{}", pointer(key));
        // Somebody may have made such a map meanwhile, with something of theirs in it. What is absent is null.
        if after.is_object() {
            tests.push(json!({ "op": "test", "path": path, "value": null }));
        }
        changes.push(json!({ "op": "add", "path": path, "value": after }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_tests_what_it_changes_and_touches_nothing_else() {
        let before = json!({ "a": { "b/c": 1, "keep": 2 }, "list": [1], "gone": "x" });
        let after = json!({ "a": { "b/c": 3, "keep": 2, "new": 4 }, "list": [1, 2] });
        let patch = patch(&before, &after);
        let of = |op: &str| -> Vec<&str> {
            let of = patch.iter().filter(|one| one["op"] == op);
            let mut paths: Vec<&str> = of.filter_map(|one| one["path"].as_str()).collect();
            paths.sort_unstable();
            paths
        };
        assert_eq!(of("test"), ["/a/b~1c", "/gone", "/list"]);
        assert_eq!(of("replace"), ["/a/b~1c", "/list"]);
        assert_eq!((of("remove"), of("add")), (vec!["/gone"], vec!["/a/new"]));
        assert_eq!(super::patch(&before, &before), Vec::<Json>::new());
        let map = super::patch(&json!({}), &json!({ "annotations": { "a": "b" } }));
        assert_eq!(map[0], json!({ "op": "test", "path": "/annotations", "value": null }));
    }
}
