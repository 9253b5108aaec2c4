//! What differs between two manifests in what they mean: not in the order of a map, the spelling of a quantity, or what
//! only a cluster can say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value as Json;

use super::clean::{RULES, cleaned};
use super::object::{ObjectRef, kind};
use super::wire::shown;
use crate::quantity::thousandths;

/// One difference.
#[derive(Clone, PartialEq)]
pub struct Difference {
    /// Where.
    pub path: Vec<Step>,
    /// The value in the first; none = it is not there.
    pub from: Option<Json>,
    /// The value in the second; none = it is not there.
    pub to: Option<Json>,
    /// Of a Secret: its values are never shown, nor their hashes, which tell short ones.
    secret: bool,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field.
    Key(String),
    /// An item of a list: its name, and its position in the second list (in the first, if the second has none).
    Item {
        /// Such as `name=web`, or its number.
        name: String,
        /// Its position.
        at: usize,
    },
}

/// `spec.template.spec.containers[name=web].image`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(key) if key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "[{:?}]", shown(key)),
            Step::Item { name, .. } => write!(f, "[{}]", shown(name)),
        }
    }
}

impl Difference {
    /// Where, as a person reads it.
    pub fn place(&self) -> String {
        let text: String = self.path.iter().map(Step::to_string).collect();
        text.strip_prefix('.').unwrap_or(&text).to_owned()
    }

    /// Where in the second manifest, as a JSON pointer (RFC 6901).
    pub fn pointer(&self) -> String {
        pointer(&self.path)
    }
}

/// A path as a JSON pointer (RFC 6901).
pub(super) fn pointer(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Step::Item { at, .. } => format!("/{at}"),
    };
    path.iter().map(step).collect()
}

/// `spec.replicas: 3 -> 5`, `+ data.new: "x"`, `- data.old: "y"`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret {
            return write!(f, "  {}: differs", self.place());
        }
        let value = |value: &Json| written(value);
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, "  {}: {} -> {}", self.place(), value(from), value(to)),
            (None, Some(to)) => write!(f, "+ {}: {}", self.place(), value(to)),
            (Some(from), None) => write!(f, "- {}: {}", self.place(), value(from)),
            (None, None) => write!(f, "  {}", self.place()),
        }
    }
}

/// As it is shown.
impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A value in at most 100 characters, on one line.
fn written(value: &Json) -> String {
    let text = shown(&compact(value));
    if text.chars().count() <= 100 { text } else { text.chars().take(97).chain("...".chars()).collect() }
}

/// The differences of one object as a person reads them. Of a Secret only that it differs.
pub fn lines(differences: &[Difference]) -> Vec<String> {
    if differences.iter().any(|difference| difference.secret) {
        return vec!["  differs; what is in a Secret is not shown".to_owned()];
    }
    differences.iter().map(ToString::to_string).collect()
}

/// What may differ without a difference being told: what each rule of cleaning takes away, and these.
pub const MAY_DIFFER: [(&str, &str); 4] = [
    ("the order of fields, and of list items that Kubernetes knows by a key", "they mean the same in any order"),
    ("the spelling of a quantity: 1000m and 1, 1Gi and 1024Mi", "they are the same amount"),
    ("a field without a value and a field that is not there", "an API server keeps neither"),
    ("metadata.namespace", "a manifest may be brought to another namespace"),
];

/// Everything that may differ, as text.
pub fn may_differ() -> Vec<String> {
    let cleaned = RULES.iter().map(|rule| {
        let of = rule.of.map_or(String::new(), |(_, kind)| format!("{kind}: "));
        format!("{of}{}: {}", rule.removes, rule.because)
    });
    cleaned.chain(MAY_DIFFER.iter().map(|(what, why)| format!("{what}: {why}"))).collect()
}

/// What differs from the first object to the second.
pub fn diff(from: &Json, to: &Json) -> Vec<Difference> {
    let (mut a, mut b) = (cleaned(from), cleaned(to));
    for object in [&mut a, &mut b] {
        if let Some(metadata) = object.get_mut("metadata").and_then(Json::as_object_mut) {
            metadata.remove("namespace");
            // Key by key, also where one of them has none at all.
            for key in ["labels", "annotations"] {
                metadata.entry(key).or_insert_with(|| Json::Object(serde_json::Map::new()));
            }
        }
    }
    let mut walk = Walk { found: Vec::new(), path: Vec::new(), secret: kind(&b) == "Secret" || kind(&a) == "Secret" };
    walk.values(&a, &b);
    walk.found
}

/// What became of an object from one set of manifests to another.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is only in the second.
    Added,
    /// It is only in the first.
    Removed,
    /// It is in both, and differs.
    Changed(Vec<Difference>),
}

/// What differs between two sets of manifests, such as two backups, by object. What is the same is not in it.
pub fn between(from: &[Json], to: &[Json]) -> BTreeMap<ObjectRef, Change> {
    let by_name = |objects: &[Json]| -> BTreeMap<ObjectRef, Json> {
        objects.iter().map(|object| (ObjectRef::of(object), object.clone())).collect()
    };
    let (from, to) = (by_name(from), by_name(to));
    let added = to.keys().filter(|object| !from.contains_key(object)).map(|object| (object.clone(), Change::Added));
    let mut found: BTreeMap<ObjectRef, Change> = added.collect();
    for (object, before) in &from {
        match to.get(object) {
            None => {
                found.insert(object.clone(), Change::Removed);
            }
            Some(after) => {
                let differences = diff(before, after);
                if !differences.is_empty() {
                    found.insert(object.clone(), Change::Changed(differences));
                }
            }
        }
    }
    found
}

struct Walk {
    found: Vec<Difference>,
    path: Vec<Step>,
    secret: bool,
}

impl Walk {
    fn told(&mut self, from: Option<&Json>, to: Option<&Json>) {
        let (path, secret) = (self.path.clone(), self.secret);
        self.found.push(Difference { path, from: from.cloned(), to: to.cloned(), secret });
    }

    fn at(&mut self, step: Step, go: impl FnOnce(&mut Self)) {
        self.path.push(step);
        go(self);
        self.path.pop();
    }

    fn values(&mut self, a: &Json, b: &Json) {
        match (a, b) {
            (Json::Object(left), Json::Object(right)) => {
                let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
                for key in keys {
                    self.at(Step::Key(key.clone()), |walk| match (left.get(key), right.get(key)) {
                        (Some(a), Some(b)) => walk.values(a, b),
                        (a, b) => walk.told(a, b),
                    });
                }
            }
            (Json::Array(left), Json::Array(right)) => self.lists(left, right),
            _ if a == b => {}
            _ if self.is_amount() && amount(a).is_some() && amount(a) == amount(b) => {}
            _ => self.told(Some(a), Some(b)),
        }
    }

    fn lists(&mut self, left: &[Json], right: &[Json]) {
        let field =
            self.path.iter().rev().find_map(|step| if let Step::Key(key) = step { Some(key.clone()) } else { None });
        let field = field.unwrap_or_default();
        let keys = merge_keys(&field).iter().find(|keys| is_keyed(left, keys) && is_keyed(right, keys));
        let Some(keys) = keys else { return self.positions(left, right) };
        let named = |item: &Json| -> String {
            let key = |key: &&str| Some(format!("{key}={}", plain(item.get(*key)?)));
            keys.iter().filter_map(key).collect::<Vec<_>>().join(",")
        };
        for (at, item) in left.iter().enumerate() {
            let name = named(item);
            match right.iter().position(|other| named(other) == name) {
                Some(at) => self.at(Step::Item { name, at }, |walk| walk.values(item, &right[at])),
                None => self.at(Step::Item { name, at }, |walk| walk.told(Some(item), None)),
            }
        }
        for (at, item) in right.iter().enumerate() {
            let name = named(item);
            if !left.iter().any(|other| named(other) == name) {
                self.at(Step::Item { name, at }, |walk| walk.told(None, Some(item)));
            }
        }
        // These are done, or read, one after the other.
        if matches!(field.as_str(), "initContainers" | "env") {
            let both = |list: &[Json], other: &[Json]| -> Vec<String> {
                let others: Vec<String> = other.iter().map(named).collect();
                list.iter().map(named).filter(|name| others.contains(name)).collect()
            };
            let (a, b) = (both(left, right), both(right, left));
            if a != b {
                self.at(Step::Item { name: "order".into(), at: 0 }, |walk| walk.told(Some(&a.into()), Some(&b.into())));
            }
        }
    }

    fn positions(&mut self, left: &[Json], right: &[Json]) {
        for at in 0..left.len().max(right.len()) {
            self.at(Step::Item { name: at.to_string(), at }, |walk| match (left.get(at), right.get(at)) {
                (Some(a), Some(b)) => walk.values(a, b),
                (a, b) => walk.told(a, b),
            });
        }
    }

    /// Whether amounts stand here: anywhere else two spellings are two texts.
    fn is_amount(&self) -> bool {
        let amounts = [
            "requests",
            "limits",
            "hard",
            "capacity",
            "sizeLimit",
            "averageValue",
            "value",
            "max",
            "min",
            "default",
            "defaultRequest",
            "maxLimitRequestRatio",
            "storage",
            "divisor",
            "overhead",
        ];
        self.path.iter().rev().take(2).any(|step| matches!(step, Step::Key(key) if amounts.contains(&key.as_str())))
            && !matches!(self.path.first(), Some(Step::Key(key)) if key == "data" || key == "metadata")
            && !self.path.iter().any(|step| matches!(step, Step::Key(key) if key == "env"))
    }
}

/// The keys by which Kubernetes knows the items of a list (its types' `patchMergeKey` and `listMapKey`), the most exact
/// first.
fn merge_keys(field: &str) -> &'static [&'static [&'static str]] {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims"
        | "schedulingGates" => &[&["name"]],
        "ports" => &[&["containerPort", "protocol"], &["port", "protocol"], &["containerPort"], &["port"]],
        "volumeMounts" => &[&["mountPath"]],
        "volumeDevices" => &[&["devicePath"]],
        "hostAliases" => &[&["ip"]],
        "topologySpreadConstraints" => &[&["topologyKey", "whenUnsatisfiable"]],
        _ => &[],
    }
}

/// On one line, fields by name: whether a map keeps the order of insertion is a feature that any crate may turn on.
fn compact(value: &Json) -> String {
    match value {
        Json::Object(fields) => {
            let sorted: BTreeMap<&String, &Json> = fields.iter().collect();
            let field = |(key, value): (&String, &Json)| format!("{}:{}", Json::from(key.as_str()), compact(value));
            format!("{{{}}}", sorted.into_iter().map(field).collect::<Vec<_>>().join(","))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Whether every item has the keys, and no two have the same.
fn is_keyed(items: &[Json], keys: &[&str]) -> bool {
    let mut seen = BTreeSet::new();
    items.iter().all(|item| {
        let key: Option<Vec<String>> = keys.iter().map(|key| item.get(*key).map(Json::to_string)).collect();
        key.is_some_and(|key| seen.insert(key))
    })
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An amount in thousandths; none = it is none, or finer than that, and then compared as it is written.
fn amount(value: &Json) -> Option<i128> {
    match value {
        Json::String(text) if !text.ends_with(['n', 'u']) => thousandths(text),
        Json::Number(number) => thousandths(&number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    fn text(from: &Json, to: &Json) -> String {
        diff(from, to).iter().map(Difference::to_string).collect::<Vec<_>>().join("\n")
    }

    fn deployment(containers: &Json) -> Json {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "uid": "u" },
            "spec": { "replicas": 3, "template": { "spec": { "containers": containers } } } })
    }

    #[test]
    fn what_means_the_same_is_no_difference() {
        let a = deployment(&json!([
            { "name": "web", "resources": { "limits": { "cpu": "1000m", "memory": "1Gi" } },
              "ports": [{ "containerPort": 80, "protocol": "TCP" }, { "containerPort": 81, "protocol": "TCP" }] },
            { "name": "proxy", "securityContext": null },
        ]));
        let mut b = deployment(&json!([
            { "name": "proxy" },
            { "name": "web", "resources": { "limits": { "memory": "1024Mi", "cpu": 1 } },
              "ports": [{ "containerPort": 81, "protocol": "TCP" }, { "containerPort": 80, "protocol": "TCP" }] },
        ]));
        b["metadata"] = json!({ "name": "web", "namespace": "other", "uid": "v", "resourceVersion": "9" });
        b["status"] = json!({ "replicas": 3 });
        assert_eq!(text(&a, &b), "");
    }

    #[test]
    fn what_differs_is_told_by_its_place() {
        let a = deployment(&json!([
            { "name": "web", "image": "r/web:1", "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }] },
        ]));
        let mut b = deployment(&json!([
            { "name": "sidecar", "image": "r/x:1" },
            { "name": "web", "image": "r/web:2", "env": [{ "name": "B", "value": "2" }, { "name": "A", "value": "1000m" }] },
        ]));
        b["spec"]["replicas"] = 5.into();
        b["metadata"]["annotations"] = json!({ "example.com/note": "a\u{1b}[2J" });
        assert_snapshot!(text(&a, &b), @r#"
        + metadata.annotations["example.com/note"]: "a\u001b[2J"
          spec.replicas: 3 -> 5
          spec.template.spec.containers[name=web].env[name=A].value: "1" -> "1000m"
          spec.template.spec.containers[name=web].env[order]: ["name=A","name=B"] -> ["name=B","name=A"]
          spec.template.spec.containers[name=web].image: "r/web:1" -> "r/web:2"
        + spec.template.spec.containers[name=sidecar]: {"image":"r/x:1","name":"sidecar"}
        "#);
        let added = diff(&a, &b).into_iter().last().unwrap();
        assert_eq!(added.pointer(), "/spec/template/spec/containers/0", "a pointer is into the second");
    }

    #[test]
    fn an_empty_selector_is_not_the_same_as_none() {
        let policy = |spec: Json| json!({ "kind": "NetworkPolicy", "metadata": { "name": "n" }, "spec": spec });
        let (a, b) = (policy(json!({ "podSelector": {} })), policy(json!({})));
        assert_eq!(text(&a, &b), "- spec.podSelector: {}");
    }

    #[test]
    fn a_secrets_values_are_never_shown() {
        // What some tools keep in an annotation is the whole object as it was.
        let secret = |value: &str| {
            json!({ "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "s", "annotations": { "kapp.k14s.io/original": value } }, "data": { "key": value } })
        };
        let gone = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" } });
        for to in [secret("c3dvcmRmaXNo"), gone] {
            let differences = diff(&secret("aHVudGVyMg=="), &to);
            assert_eq!(lines(&differences), ["  differs; what is in a Secret is not shown"]);
            for shown in [format!("{differences:?}"), differences[0].to_string(), differences[1].to_string()] {
                assert!(shown.contains("differs") && !shown.contains("aHVu") && !shown.contains("c3dv"), "{shown}");
            }
        }
        assert_eq!(lines(&diff(&secret("x"), &secret("x"))), Vec::<String>::new());
    }

    #[test]
    fn amounts_are_compared_as_amounts() {
        for (a, b, same) in [
            ("1", "1000m", true),
            ("1.5Gi", "1536Mi", true),
            ("1e3", "1k", true),
            ("0.1", "100m", true),
            ("1G", "1Gi", false),
            ("12E", "12E", true),
            ("1", "one", false),
            ("100n", "200n", false),
        ] {
            assert_eq!(amount(&json!(a)).is_some() && amount(&json!(a)) == amount(&json!(b)), same, "{a} {b}");
        }
    }

    #[test]
    fn two_backups_differ_in_what_was_added_removed_and_changed() {
        let map = |name: &str, value: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "k": value } });
        let found = between(
            &[map("gone", "1"), map("same", "1"), map("other", "1")],
            &[map("new", "1"), map("same", "1"), map("other", "2")],
        );
        let told: Vec<String> = found
            .iter()
            .map(|(object, change)| match change {
                Change::Added => format!("+ {object}"),
                Change::Removed => format!("- {object}"),
                Change::Changed(differences) => format!("{object}:{}", differences[0]),
            })
            .collect();
        assert_eq!(told, ["- ConfigMap/gone", "+ ConfigMap/new", "ConfigMap/other:  data.k: \"1\" -> \"2\""]);
    }

    #[test]
    fn everything_that_may_differ_is_listed() {
        assert_eq!(may_differ().len(), RULES.len() + MAY_DIFFER.len());
    }
}
