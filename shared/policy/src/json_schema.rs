//! The table of [`crate::schema`] as a JSON Schema, for editors.

use serde_json::{Map, Value, json};

use crate::scalar::Scalar;
use crate::schema::{Key, ORGANISATION, ROOT, Shape};

/// JSON Schema (2020-12) of one policy document, with descriptions: of an organisation where it has the key
/// `organisation`, else of an application. It knows every key that the loader knows and no other; what only shows in
/// the whole (names that nothing defines, quorums out of reach) is the loader's to find.
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Portcullis policy",
        "description": "What must hold before, during and after a release: of one application, or of all (organisation).",
        "if": {"required": ["organisation"]},
        "then": section(ORGANISATION),
        "else": section(ROOT),
    })
}

fn of(shape: Shape) -> Value {
    match shape {
        Shape::Scalar(scalar) => value(scalar),
        Shape::Threshold(measure) => {
            let amount = measure.pattern();
            let limit = json!({"type": "string", "pattern": format!("^{amount}$")});
            let short = format!("^(below|above|at least|at most) +{amount}( +for +[0-9]+(ms|s|m|h|d))?$");
            json!({"oneOf": [
                {"type": "string", "pattern": short},
                {
                    "type": "object",
                    "properties": {
                        "below": limit, "above": limit, "at least": limit, "at most": limit,
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
            rules["additionalProperties"] = of(Shape::Threshold(crate::amounts::Measure::Any));
            rules
        }
        Shape::Open { keys, names, of: inner, .. } => {
            let mut open = section(keys);
            open["additionalProperties"] = of(*inner);
            if let (true, Some(pattern)) = (keys.is_empty(), value(names).get("pattern")) {
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

/// The JSON Schema of a single value, without its description.
fn value(scalar: Scalar) -> Value {
    const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
    let pattern = |pattern: &str| json!({"type": "string", "pattern": pattern});
    match scalar {
        Scalar::Version => json!({"const": 1}),
        Scalar::Line(most) => json!({"type": "string", "minLength": 1, "maxLength": most}),
        Scalar::Cluster => value(Scalar::Line(200)),
        Scalar::AlarmPattern => value(Scalar::Line(255)),
        Scalar::App
        | Scalar::Environment
        | Scalar::Service
        | Scalar::Group
        | Scalar::Test
        | Scalar::Object
        | Scalar::Label => pattern(LABEL),
        Scalar::Person => pattern("^[A-Za-z0-9._-]{1,64}$"),
        Scalar::MetricName => pattern("^[a-z][a-z0-9_]{0,62}$"),
        Scalar::MetricNamespace => pattern("^[A-Za-z0-9_./#-][A-Za-z0-9_./#:-]{0,254}$"),
        Scalar::Source => pattern("^[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._-]+)+$"),
        Scalar::Registry | Scalar::Image => pattern("^[a-z0-9._/:-]{1,255}$"),
        Scalar::Folder => pattern("^[^/\\s][^\\s]*$"),
        Scalar::TagPattern => pattern("^([A-Za-z0-9._-]|\\{(sha|sha7|version|date|time|number)\\})+$"),
        Scalar::Tag => pattern("^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"),
        Scalar::Account => pattern("^[0-9]{12}$"),
        Scalar::AccountOrName => pattern("^([0-9]{12}|[a-z]([a-z0-9-]{0,61}[a-z0-9])?)$"),
        Scalar::GlassQuorum => pattern("^([2-9]|[1-9][0-9]) of [a-z0-9][a-z0-9-]*$"),
        Scalar::Often => pattern("^[1-9][0-9]? in [0-9]+(ms|s|m|h|d)$"),
        Scalar::LocalTime => pattern("^2[01][0-9]{2}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?)?$"),
        Scalar::Cedar => json!({"type": "string", "minLength": 1, "maxLength": 4000}),
        Scalar::Region => pattern("^[a-z]{2,}(-[a-z]+)+-[0-9]+$"),
        Scalar::Branch => pattern("^[^\\s~^:?*\\[\\\\]+$"),
        Scalar::Duration | Scalar::DurationOrZero => pattern("^[0-9]+(ms|s|m|h|d)$"),
        Scalar::Amount(measure) => pattern(&format!("^{}$", measure.pattern())),
        Scalar::Quorum => pattern("^[1-9][0-9]? of [a-z0-9][a-z0-9-]*$"),
        Scalar::ScanAction => pattern("^(allow|block( above [0-9]+)?|review( above [0-9]+)? by [a-z0-9][a-z0-9-]*)$"),
        Scalar::Date => pattern("^2[01][0-9]{2}-[0-9]{2}-[0-9]{2}$"),
        Scalar::HttpRequest => pattern("^GET +/.*$"),
        Scalar::CronJob => pattern("^cronjob/[a-z0-9]([a-z0-9-]*[a-z0-9])?$"),
        Scalar::AgeRecipient => pattern("^age1[02-9ac-hj-np-z]{58}$"),
        Scalar::Count => json!({"type": "integer", "minimum": 1, "maximum": 50}),
        Scalar::Choice(choices) => {
            json!({"enum": choices.iter().map(|choice| choice.word).collect::<Vec<_>>()})
        }
        Scalar::Channel => pattern(
            "^(terminal|file|slack [A-Za-z0-9._-]+|github (status|comment|issue)|email .+@.+|pagerduty [A-Za-z0-9._-]+|compliance report)$",
        ),
        Scalar::Failing => pattern("^failing for [0-9]+(ms|s|m|h|d)$"),
        Scalar::Worse => pattern("^at most [0-9]+(\\.[0-9]+)?% worse$"),
        Scalar::SlackUser => pattern("^[TE][A-Z0-9]+/[UW][A-Z0-9]+$"),
        Scalar::Email => pattern("^[^@\\s]+@[^@\\s]+$"),
        Scalar::GithubLogin => pattern("^[A-Za-z0-9][A-Za-z0-9-]{0,38}(\\[bot\\])?$"),
    }
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
        for (keys, branch, least) in [(ROOT, "else", 170), (ORGANISATION, "then", 60)] {
            let (mut known, mut written) = (BTreeSet::new(), BTreeSet::new());
            table(keys, "", &mut known);
            schema(&json_schema()[branch], "", &mut written);
            assert!(known.len() > least, "the table was walked: {}", known.len());
            assert_eq!(known, written);
        }
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
        keys(&json_schema()["then"], "");
        keys(&json_schema()["else"], "");
    }
}
