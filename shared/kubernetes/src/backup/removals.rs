//! What is there and not in the backup: applying a backup leaves it, so it is removed by a JSON patch, each removal with a
//! test of what is removed.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::diff::{Difference, Step, diff, pointer};
use super::object::{group, kind};

/// What `object` has and `wanted` has not, as pointers and values in the order in which they can be removed.
pub(super) fn removals(wanted: &Json, object: &Json) -> Vec<(String, Json)> {
    // A pod's specification cannot be changed, and what admission wrote into it is no difference.
    let is_pod = kind(object) == "Pod" && group(object).is_empty();
    let fixed = |difference: &Difference| is_pod && difference.path.first() == Some(&Step::Key("spec".into()));
    let mut extra: Vec<Difference> =
        diff(wanted, object).into_iter().filter(|difference| difference.from.is_none() && !fixed(difference)).collect();
    // Items of one list from its end, so that none moves before it is removed.
    let place = |difference: &Difference| -> Vec<(String, usize)> {
        let step = |step: &Step| match step {
            Step::Key(key) => (key.clone(), 0),
            Step::Item { at, .. } => (String::new(), *at),
        };
        difference.path.iter().map(step).collect()
    };
    extra.sort_by_cached_key(|difference| std::cmp::Reverse(place(difference)));
    let raw = |difference: Difference| {
        let pointer = difference.pointer();
        let value = object.pointer(&pointer)?.clone();
        // Cleaning takes items out of a few lists: where that moved this one, it is not what stands there.
        difference.to.is_some_and(|to| covers(&value, &to)).then_some((pointer, value))
    };
    extra.into_iter().filter_map(raw).collect()
}

/// Lists in which items come and go at once: where, what it is, what it is to be. Applied, what comes would stand beside
/// what goes, and a Service with two ports of one name is refused. Of nested lists the outermost.
pub(super) fn exchanged(wanted: &Json, live: &Json) -> Vec<(String, Json, Json)> {
    let mut lists: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    for difference in diff(wanted, live) {
        let is_item = |step: &Step| matches!(step, Step::Item { .. });
        let (Some(first), true) =
            (difference.path.iter().position(is_item), difference.path.last().is_some_and(is_item))
        else {
            continue;
        };
        let (comes, goes) = lists.entry(pointer(&difference.path[..first])).or_default();
        *comes |= difference.to.is_none();
        *goes |= difference.from.is_none();
    }
    let both = lists.into_iter().filter(|(_, (comes, goes))| *comes && *goes);
    both.filter_map(|(at, _)| {
        let (is, to_be) = (live.pointer(&at)?.clone(), wanted.pointer(&at)?.clone());
        Some((at, is, to_be))
    })
    .collect()
}

/// Each list replaced, with a test of what it is.
pub(super) fn exchange(lists: &[(String, Json, Json)]) -> Json {
    let each = |(at, is, to_be): &(String, Json, Json)| {
        [json!({ "op": "test", "path": at, "value": is }), json!({ "op": "replace", "path": at, "value": to_be })]
    };
    lists.iter().flat_map(each).collect::<Vec<_>>().into()
}

/// Whether an object is another with, at most, what cleaning takes away.
fn covers(raw: &Json, cleaned: &Json) -> bool {
    match (raw, cleaned) {
        (Json::Object(raw), Json::Object(cleaned)) => {
            cleaned.iter().all(|(key, value)| raw.get(key).is_some_and(|raw| covers(raw, value)))
        }
        (Json::Array(raw), Json::Array(cleaned)) => {
            raw.len() == cleaned.len() && raw.iter().zip(cleaned).all(|(raw, cleaned)| covers(raw, cleaned))
        }
        (raw, cleaned) => raw == cleaned,
    }
}

/// Each removal with a test of what is removed.
pub(super) fn operations(removals: &[(String, Json)]) -> Json {
    let each = |(pointer, value): &(String, Json)| {
        [json!({ "op": "test", "path": pointer, "value": value }), json!({ "op": "remove", "path": pointer })]
    };
    removals.iter().flat_map(each).collect::<Vec<_>>().into()
}

/// Removes what a pointer points at.
pub(super) fn remove(object: &mut Json, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    let last = last.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Json::Object(fields)) => {
            fields.remove(&last);
        }
        Some(Json::Array(items)) => {
            if let Some(at) = last.parse::<usize>().ok().filter(|at| *at < items.len()) {
                items.remove(at);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_backup_does_not_have_is_removed_from_the_end_and_with_a_test() {
        let wanted = json!({ "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "a": "1" },
            "list": [] });
        let live = json!({ "kind": "ConfigMap", "metadata": { "name": "c", "uid": "u", "annotations": { "x/y": "z" } },
            "data": { "a": "2", "b": "3" }, "list": [1, 2] });
        let removals = removals(&wanted, &live);
        let pointers: Vec<&str> = removals.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/metadata/annotations/x~1y", "/list/1", "/list/0", "/data/b"]);
        let mut after = live.clone();
        for (pointer, _) in &removals {
            remove(&mut after, pointer);
        }
        assert_eq!(after["data"], json!({ "a": "2" }));
        assert_eq!(after["list"], json!([]));
        assert_eq!(
            operations(&removals[3..]),
            json!([
            { "op": "test", "path": "/data/b", "value": "3" }, { "op": "remove", "path": "/data/b" } ])
        );
    }

    #[test]
    fn a_list_in_which_items_come_and_go_is_replaced_and_no_other() {
        let service = |ports: Json| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": ports } });
        let port = |port: u16| json!({ "name": "http", "port": port, "protocol": "TCP" });
        let (wanted, live) = (service(json!([port(80)])), service(json!([port(81)])));
        let lists = exchanged(&wanted, &live);
        assert_eq!(lists, [("/spec/ports".to_owned(), json!([port(81)]), json!([port(80)]))]);
        assert_eq!(
            exchange(&lists),
            json!([{ "op": "test", "path": "/spec/ports", "value": [port(81)] },
                { "op": "replace", "path": "/spec/ports", "value": [port(80)] }])
        );
        assert_eq!(exchanged(&wanted, &service(json!([port(80), port(81)]))), [], "one only goes");
        assert_eq!(exchanged(&service(json!([port(80), port(81)])), &wanted), [], "one only comes");
    }

    #[test]
    fn an_item_is_removed_whole_with_what_the_cluster_added_to_it() {
        let service = |ports: Json| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": ports } });
        let wanted = service(json!([{ "port": 80, "protocol": "TCP" }]));
        let extra = json!({ "port": 81, "protocol": "TCP", "nodePort": 30001 });
        let live = service(json!([{ "port": 80, "protocol": "TCP", "nodePort": 30000 }, extra]));
        assert_eq!(removals(&wanted, &live), [("/spec/ports/1".to_owned(), extra)]);
    }
}
