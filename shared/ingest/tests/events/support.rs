//! The sample events, and ways to change one place in them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of sample events.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

/// Every sample as (`ecr/image-action-push.json`, its bytes), sorted.
pub(crate) fn samples() -> Vec<(String, Vec<u8>)> {
    let mut samples = Vec::new();
    for sender in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(sender).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.strip_prefix(folder()).unwrap().to_string_lossy().replace('\\', "/");
            samples.push((name, fs::read(&file).unwrap()));
        }
    }
    samples.sort();
    samples
}

/// One sample, parsed.
pub(crate) fn sample(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(name)).unwrap()).unwrap()
}

/// A step into a value: a key, an index, or into the JSON that a string holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
    Inside,
}

/// Every place in a value but the root, with its path as errors write it.
pub(crate) fn places(value: &Value) -> Vec<(String, Vec<Step>)> {
    let mut found = Vec::new();
    walk(value, &mut Vec::new(), "", &mut found);
    found
}

fn walk(value: &Value, steps: &mut Vec<Step>, path: &str, found: &mut Vec<(String, Vec<Step>)>) {
    let mut visit = |step: Step, path: String, inner: &Value, steps: &mut Vec<Step>| {
        steps.push(step);
        found.push((path.clone(), steps.clone()));
        walk(inner, steps, &path, found);
        steps.pop();
    };
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                visit(Step::Key(key.clone()), path, inner, steps);
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                visit(Step::Index(i), format!("{path}[{i}]"), inner, steps);
            }
        }
        Value::String(text) if path == "Message" => {
            let inner: Value = serde_json::from_str(text).unwrap();
            steps.push(Step::Inside);
            walk(&inner, steps, path, found);
            steps.pop();
        }
        _ => {}
    }
}

/// The value with one place changed; `None` takes it out.
pub(crate) fn changed(value: &Value, steps: &[Step], to: Option<&Value>) -> Value {
    let mut value = value.clone();
    change(&mut value, steps, to);
    value
}

fn change(value: &mut Value, steps: &[Step], to: Option<&Value>) {
    let (first, rest) = steps.split_first().unwrap();
    if *first == Step::Inside {
        let mut inner: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
        change(&mut inner, rest, to);
        *value = Value::String(inner.to_string());
        return;
    }
    let slot = match first {
        Step::Key(key) => value.get_mut(key).unwrap(),
        Step::Index(i) => value.get_mut(*i).unwrap(),
        Step::Inside => unreachable!(),
    };
    match (rest.is_empty(), to) {
        (false, _) => change(slot, rest, to),
        (true, Some(to)) => *slot = to.clone(),
        (true, None) => match first {
            Step::Key(key) => drop(value.as_object_mut().unwrap().remove(key)),
            Step::Index(i) => drop(value.as_array_mut().unwrap().remove(*i)),
            Step::Inside => unreachable!(),
        },
    }
}
