//! A template's YAML as JSON: the short tags (`!Ref`, `!Sub` ...) become the long form that JSON templates have.
//!
//! Scalars are typed as YAML 1.2's core schema says. Anchors, aliases, doubled keys and unknown tags are
//! refused.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value, json};

use super::{TemplateError, wrong};

/// The functions that have a short tag.
const FUNCTIONS: [&str; 12] =
    ["And", "Base64", "Cidr", "Equals", "FindInMap", "GetAZs", "If", "Join", "Not", "Or", "Select", "Split"];

/// A list or map that is not closed yet.
enum Open {
    List { tag: Option<String>, items: Vec<Value> },
    Map { tag: Option<String>, entries: Map<String, Value>, key: Option<String> },
}

/// Reads one document.
pub fn read(text: &str) -> Result<Value, TemplateError> {
    let mut open: Vec<Open> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| TemplateError(error.to_string()))?;
        let at = |what: String| TemplateError(format!("line {}: {what}", span.start.line()));
        let done = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
            Event::Alias(_) => return Err(at("an alias".to_owned())),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return Err(at("an anchor".to_owned()));
            }
            Event::Scalar(text, style, _, tag) => {
                if let Some(Open::Map { key: key @ None, .. }) = open.last_mut() {
                    *key = Some(text.into_owned());
                    continue;
                }
                match tag {
                    Some(tag) => tagged(&short(&tag), Value::String(text.into_owned())).map_err(|error| at(error.0))?,
                    None if style == ScalarStyle::Plain => plain(&text),
                    None => Value::String(text.into_owned()),
                }
            }
            Event::SequenceStart(_, tag) => {
                open.push(Open::List { tag: tag.map(|tag| short(&tag)), items: Vec::new() });
                continue;
            }
            Event::MappingStart(_, tag) => {
                open.push(Open::Map { tag: tag.map(|tag| short(&tag)), entries: Map::new(), key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (tag, value) = match open.pop() {
                    Some(Open::List { tag, items }) => (tag, Value::Array(items)),
                    Some(Open::Map { tag, entries, .. }) => (tag, Value::Object(entries)),
                    None => return Err(at("something ends that did not begin".to_owned())),
                };
                match tag {
                    Some(tag) => tagged(&tag, value).map_err(|error| at(error.0))?,
                    None => value,
                }
            }
        };
        match open.last_mut() {
            None if document.is_some() => return Err(at("a second document".to_owned())),
            None => document = Some(done),
            Some(Open::List { items, .. }) => items.push(done),
            Some(Open::Map { entries, key, .. }) => {
                let Some(key) = key.take() else { return Err(at("a key that is no text".to_owned())) };
                if entries.contains_key(&key) {
                    return Err(at(format!("the key {key} twice")));
                }
                entries.insert(key, done);
            }
        }
    }
    document.map_or_else(|| wrong("nothing in it"), Ok)
}

/// `!GetAtt` without its exclamation mark.
fn short(tag: &Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix).trim_start_matches('!').to_owned()
}

fn tagged(tag: &str, value: Value) -> Result<Value, TemplateError> {
    Ok(match tag {
        "Ref" | "Condition" => json!({ tag: value }),
        "Sub" => json!({ "Fn::Sub": value }),
        "GetAtt" => match value {
            Value::String(text) => {
                let Some((id, attribute)) = text.split_once('.') else {
                    return wrong(format!("!GetAtt {text} names no attribute"));
                };
                json!({ "Fn::GetAtt": [id, attribute] })
            }
            list => json!({ "Fn::GetAtt": list }),
        },
        tag if FUNCTIONS.contains(&tag) => json!({ format!("Fn::{tag}"): value }),
        other => return wrong(format!("the tag !{other} is unknown")),
    })
}

/// An unquoted scalar by YAML's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.starts_with(|c: char| c.is_ascii_digit()) {
        if let Ok(number) = text.parse::<i64>() {
            return number.into();
        }
        if let Ok(number) = text.parse::<f64>() {
            return number.into();
        }
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_tags_become_the_long_form() {
        let read =
            read("a: !Ref X\nb: !GetAtt X.Arn\nc: !Sub s3://${X}\nd: !If [Y, !Ref Z, {e: 1}]\nf: !Not [!Condition Y]")
                .unwrap();
        assert_eq!(
            read,
            json!({
                "a": { "Ref": "X" },
                "b": { "Fn::GetAtt": ["X", "Arn"] },
                "c": { "Fn::Sub": "s3://${X}" },
                "d": { "Fn::If": ["Y", { "Ref": "Z" }, { "e": 1 }] },
                "f": { "Fn::Not": [{ "Condition": "Y" }] },
            })
        );
    }

    #[test]
    fn only_unquoted_scalars_are_typed() {
        let read = read("[1, \"1\", true, 'true', -2.5, 2012-10-17, \"\", ~, 1.2.3, rate(1 minute)]").unwrap();
        assert_eq!(read, json!([1, "1", true, "true", -2.5, "2012-10-17", "", null, "1.2.3", "rate(1 minute)"]));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (text, why) in [
            ("a: 1\nb: !Reff X", "line 2: the tag !Reff is unknown"),
            ("a: 1\na: 2", "line 2: the key a twice"),
            ("a: &x 1", "line 1: an anchor"),
            ("a: !GetAtt X", "line 1: !GetAtt X names no attribute"),
            ("", "nothing in it"),
        ] {
            assert_eq!(read(text).unwrap_err().0, why, "{text}");
        }
    }
}
