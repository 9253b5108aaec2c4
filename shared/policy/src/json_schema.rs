//! The table of [`crate::schema`] as a JSON Schema, for editors.

use serde_json::{Map, Value, json};

use crate::schema::{Key, ROOT, Shape};

/// JSON Schema (2020-12) of one policy document, with descriptions. It knows every key that the loader knows and no
/// other; what only shows in the whole (names that nothing defines, quorums out of reach) is the loader's to find.
pub fn json_schema() -> Value {
    let mut root = section(ROOT);
    if let Value::Object(map) = &mut root {
        map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".into(), json!("Portcullis policy"));
        map.insert(
            "description".into(),
            json!("What must hold before, during and after a release of one application."),
        );
    }
    root
}

fn of(shape: Shape) -> Value {
    match shape {
        Shape::Scalar(scalar) => scalar.json(),
        Shape::Threshold(measure) => {
            let amount = measure.pattern();
            let value = json!({"type": "string", "pattern": format!("^{amount}$")});
            let short = format!("^(below|above|at least|at most) +{amount}( +for +[0-9]+(ms|s|m|h|d))?$");
            json!({"oneOf": [
                {"type": "string", "pattern": short},
                {
                    "type": "object",
                    "properties": {
                        "below": value, "above": value, "at least": value, "at most": value,
                        "for": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"},
                    },
                    "additionalProperties": false,
                    "oneOf": [
                        {"required": ["below"]}, {"required": ["above"]}, {"required": ["at least"]}, {"required": ["at most"]},
                    ],
                },
            ]})
        }
        Shape::List { of: item, empty } => {
            let mut list = json!({"type": "array", "items": of(*item)});
            if empty.is_some() {
                list["minItems"] = json!(1);
            }
            list
        }
        Shape::Section(keys) => section(keys),
        // Metrics that the policy defines itself may stand beside the known ones.
        Shape::Rules(keys) => {
            let mut rules = section(keys);
            rules["additionalProperties"] = of(Shape::Threshold(crate::grammar::Measure::Any));
            rules
        }
        Shape::Open { keys, names, of: value, .. } => {
            let mut open = section(keys);
            open["additionalProperties"] = of(*value);
            if let (true, Some(pattern)) = (keys.is_empty(), names.json().get("pattern")) {
                open["propertyNames"] = json!({"pattern": pattern});
            }
            open
        }
        Shape::Either(shapes) => json!({"oneOf": shapes.iter().map(|shape| of(*shape)).collect::<Vec<_>>()}),
        Shape::Any => json!(true),
    }
}

fn section(keys: &'static [Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut value = match of(key.shape) {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        value.insert("description".into(), json!(key.doc));
        properties.insert(key.name.into(), Value::Object(value));
    }
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn table(keys: &[Key], path: &str, into: &mut BTreeSet<String>) {
        for key in keys {
            let path = format!("{path}/{}", key.name);
            shape(key.shape, &path, into);
            into.insert(path);
        }
    }

    fn shape(of: Shape, path: &str, into: &mut BTreeSet<String>) {
        match of {
            Shape::Section(keys) | Shape::Rules(keys) => table(keys, path, into),
            Shape::Open { keys, of, .. } => {
                table(keys, path, into);
                shape(*of, &format!("{path}/*"), into);
            }
            Shape::List { of, .. } => shape(*of, path, into),
            Shape::Either(shapes) => shapes.iter().for_each(|of| shape(*of, path, into)),
            Shape::Scalar(_) | Shape::Threshold(_) | Shape::Any => {}
        }
    }

    fn schema(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        if !value.is_object() {
            return;
        }
        let comparison = |name: &String| ["below", "above", "at least", "at most", "for"].contains(&name.as_str());
        let properties = value["properties"].as_object().into_iter().flatten();
        let threshold = value["properties"].get("at least").is_some();
        for (name, value) in properties.filter(|(name, _)| !(threshold && comparison(name))) {
            let path = format!("{path}/{name}");
            schema(value, &path, into);
            into.insert(path);
        }
        schema(&value["items"], path, into);
        schema(&value["additionalProperties"], &format!("{path}/*"), into);
        value["oneOf"].as_array().into_iter().flatten().for_each(|value| schema(value, path, into));
    }

    #[test]
    fn the_schema_has_every_key_the_loader_knows_and_no_other() {
        let (mut known, mut written) = (BTreeSet::new(), BTreeSet::new());
        table(ROOT, "", &mut known);
        schema(&json_schema(), "", &mut written);
        assert!(known.len() > 150, "the table was walked: {}", known.len());
        assert_eq!(known, written);
    }

    #[test]
    fn every_key_is_described() {
        fn keys(value: &Value, path: &str) {
            if !value.is_object() {
                return;
            }
            for (name, value) in value["properties"].as_object().into_iter().flatten() {
                if !matches!(name.as_str(), "below" | "above" | "at least" | "at most" | "for") {
                    assert!(value["description"].as_str().is_some_and(|doc| doc.ends_with('.')), "{path}/{name}");
                }
                keys(value, &format!("{path}/{name}"));
            }
            for inner in ["items", "additionalProperties"] {
                keys(&value[inner], path);
            }
            value["oneOf"].as_array().into_iter().flatten().for_each(|value| keys(value, path));
        }
        keys(&json_schema(), "");
    }
}
