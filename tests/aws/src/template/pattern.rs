//! EventBridge's event patterns, as far as the templates use them. An operator that is not known is an error: a test must
//! not take a rule for one that matches, or does not, when it cannot tell.
//!
//! Amazon EventBridge User Guide, "Comparison operators for use in event patterns", "Matching on arrays".

use serde_json::{Map, Value};

/// Why a pattern cannot be matched against anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(pub String);

/// Whether an event matches a pattern.
///
/// # Errors
/// When the pattern is empty, malformed, or has an operator that is not known here.
pub fn matches(pattern: &Value, event: &Value) -> Result<bool, Mismatch> {
    match pattern {
        Value::Object(fields) if !fields.is_empty() => object(fields, Some(event)),
        other => Err(Mismatch(format!("a pattern is a map of fields, not {other}"))),
    }
}

/// All fields must match. Nothing is skipped, so that an unknown operator is always found.
fn object(fields: &Map<String, Value>, event: Option<&Value>) -> Result<bool, Mismatch> {
    let mut all = true;
    for (name, wanted) in fields {
        if name.starts_with('$') {
            return Err(Mismatch(format!("the operator {name} is not known")));
        }
        let found = event.and_then(|event| event.get(name));
        all &= match wanted {
            Value::Array(alternatives) if !alternatives.is_empty() => any(alternatives, found)?,
            Value::Object(inner) if !inner.is_empty() => match found {
                // One element must match all of it.
                Some(Value::Array(items)) if !items.is_empty() => {
                    items.iter().try_fold(false, |any, item| Ok(any | object(inner, Some(item))?))?
                }
                found => object(inner, found)?,
            },
            other => return Err(Mismatch(format!("{name} is to match {other}, which is no list and no map"))),
        };
    }
    Ok(all)
}

/// One alternative must match; of an array, one of its elements.
fn any(alternatives: &[Value], found: Option<&Value>) -> Result<bool, Mismatch> {
    let mut matched = false;
    for alternative in alternatives {
        matched |= match (alternative, found) {
            (Value::Object(operator), found) => operated(operator, found)?,
            (Value::Array(_), _) => return Err(Mismatch(format!("{alternative} within a list"))),
            (plain, Some(Value::Array(items))) => items.contains(plain),
            (plain, found) => found == Some(plain),
        };
    }
    Ok(matched)
}

fn operated(operator: &Map<String, Value>, found: Option<&Value>) -> Result<bool, Mismatch> {
    let (Some((name, argument)), 1) = (operator.iter().next(), operator.len()) else {
        return Err(Mismatch(format!("{operator:?} is not one operator")));
    };
    let test: Box<dyn Fn(&Value) -> bool> = match (name.as_str(), argument) {
        ("exists", Value::Bool(wanted)) => {
            let is_leaf = found.is_some_and(|found| !found.is_object());
            return Ok(is_leaf == *wanted);
        }
        ("prefix", Value::String(prefix)) => {
            Box::new(move |value| value.as_str().is_some_and(|text| text.starts_with(prefix)))
        }
        ("suffix", Value::String(suffix)) => {
            Box::new(move |value| value.as_str().is_some_and(|text| text.ends_with(suffix)))
        }
        ("anything-but", Value::Array(others)) if others.iter().all(|other| other.is_string() || other.is_number()) => {
            Box::new(move |value| !others.contains(value))
        }
        ("anything-but", other @ (Value::String(_) | Value::Number(_))) => Box::new(move |value| value != other),
        ("anything-but", Value::Object(inner)) => match (inner.get("prefix"), inner.len()) {
            (Some(Value::String(prefix)), 1) => {
                Box::new(move |value| !value.as_str().is_some_and(|text| text.starts_with(prefix)))
            }
            _ => return Err(Mismatch(format!("the operator anything-but is not known with {inner:?}"))),
        },
        ("numeric", Value::Array(parts)) => {
            let comparisons = numeric(parts)?;
            Box::new(move |value| value.as_f64().is_some_and(|number| comparisons.iter().all(|holds| holds(number))))
        }
        _ => return Err(Mismatch(format!("the operator {name} is not known with {argument}"))),
    };
    Ok(match found {
        Some(Value::Array(items)) => items.iter().any(test),
        Some(value) => test(value),
        None => false,
    })
}

type Comparison = Box<dyn Fn(f64) -> bool>;

/// `[">", 0, "<=", 5]`.
fn numeric(parts: &[Value]) -> Result<Vec<Comparison>, Mismatch> {
    let wrong = || Mismatch(format!("numeric is not understood with {parts:?}"));
    if parts.is_empty() || !parts.len().is_multiple_of(2) {
        return Err(wrong());
    }
    parts
        .chunks(2)
        .map(|pair| {
            let (Some(sign), Some(bound)) = (pair[0].as_str(), pair[1].as_f64()) else { return Err(wrong()) };
            let comparison: Comparison = match sign {
                "=" => Box::new(move |number| (number - bound).abs() <= f64::EPSILON),
                "<" => Box::new(move |number| number < bound),
                "<=" => Box::new(move |number| number <= bound),
                ">" => Box::new(move |number| number > bound),
                ">=" => Box::new(move |number| number >= bound),
                _ => return Err(wrong()),
            };
            Ok(comparison)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_match_as_eventbridge_matches() {
        let event = json!({
            "source": "aws.ecr", "detail": { "result": "SUCCESS", "count": 3, "tags": ["a", "latest"],
            "resources": [{ "type": "HOST" }, { "type": "IMAGE", "id": "x" }] },
        });
        for (pattern, expected) in [
            (json!({ "source": ["aws.ecr"] }), true),
            (json!({ "source": ["aws.s3", "aws.ecr"] }), true),
            (json!({ "source": ["aws.s3"] }), false),
            (json!({ "source": ["aws.ecr"], "detail-type": ["x"] }), false),
            (json!({ "detail": { "result": [{ "prefix": "SUC" }] } }), true),
            (json!({ "detail": { "result": [{ "suffix": "URE" }] } }), false),
            (json!({ "detail": { "result": [{ "anything-but": ["FAILURE"] }] } }), true),
            (json!({ "detail": { "result": [{ "anything-but": "SUCCESS" }] } }), false),
            (json!({ "detail": { "result": [{ "anything-but": { "prefix": "SUC" } }] } }), false),
            (json!({ "detail": { "nothing": [{ "anything-but": "x" }] } }), false),
            (json!({ "detail": { "result": [{ "exists": true }] } }), true),
            (json!({ "detail": { "nothing": [{ "exists": true }] } }), false),
            (json!({ "detail": { "nothing": [{ "exists": false }] } }), true),
            (json!({ "detail": { "count": [{ "numeric": [">", 2, "<=", 3] }] } }), true),
            (json!({ "detail": { "count": [{ "numeric": [">", 3] }] } }), false),
            (json!({ "detail": { "tags": ["latest"] } }), true),
            (json!({ "detail": { "tags": [{ "prefix": "b" }] } }), false),
            (json!({ "detail": { "resources": { "type": ["IMAGE"] } } }), true),
            (json!({ "detail": { "resources": { "type": ["FUNCTION"] } } }), false),
            (json!({ "detail": { "resources": { "type": ["HOST"], "id": ["x"] } } }), false),
        ] {
            assert_eq!(matches(&pattern, &event), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn an_operator_that_is_not_known_is_an_error_even_where_another_field_fails() {
        for pattern in [
            json!({ "source": ["nobody"], "x": [{ "cidr": "10.0.0.0/24" }] }),
            json!({ "x": [{ "equals-ignore-case": "y" }] }),
            json!({ "$or": [{ "x": ["y"] }] }),
            json!({ "x": "y" }),
            json!({ "x": [] }),
            json!({ "x": [{ "numeric": [">"] }] }),
            json!({}),
            Value::Null,
        ] {
            assert!(matches(&pattern, &json!({ "source": "aws.ecr" })).is_err(), "{pattern}");
        }
    }
}
