//! Parameters, conditions and intrinsic functions, worked out as far as they can be before anything is deployed.
//!
//! A reference to a resource becomes text: `${Wakes}` for `!Ref Wakes`, `${Wakes.Arn}` for `!GetAtt Wakes.Arn`. A
//! resource, statement or list item whose condition does not hold is left out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{TemplateError, list, wrong};

/// Where the stack is thought to be.
const PSEUDO: [(&str, &str); 7] = [
    ("AWS::AccountId", "123456789012"),
    ("AWS::Partition", "aws"),
    ("AWS::Region", "us-east-1"),
    ("AWS::StackName", "portcullis"),
    ("AWS::StackId", "arn:aws:cloudformation:us-east-1:123456789012:stack/portcullis/0"),
    ("AWS::URLSuffix", "amazonaws.com"),
    ("AWS::NotificationARNs", ""),
];
/// The sections in which there is something to work out.
const SECTIONS: [&str; 3] = ["Globals", "Resources", "Outputs"];

/// Works a template out.
pub fn resolve(raw: &Value, given: &[(&str, &str)]) -> Result<Value, TemplateError> {
    let mut scope = Scope { values: BTreeMap::new(), conditions: &raw["Conditions"], resources: &raw["Resources"] };
    for (name, text) in PSEUDO {
        scope.values.insert(name.to_owned(), json!(text));
    }
    for (name, parameter) in raw["Parameters"].as_object().into_iter().flatten() {
        let given = given.iter().find(|(given, _)| given == name).map(|(_, value)| json!(value));
        let Some(value) = given.or_else(|| parameter.get("Default").cloned()) else {
            return wrong(format!("the parameter {name} has no default and was given no value"));
        };
        let is_list =
            parameter["Type"].as_str().is_some_and(|kind| kind == "CommaDelimitedList" || kind.starts_with("List<"));
        let value = match (is_list, value) {
            (true, Value::String(text)) => text.split(',').map(|item| json!(item.trim())).collect(),
            (false, Value::String(text)) if parameter["Type"] == "Number" => {
                text.parse::<i64>().map_or(json!(text), |number| json!(number))
            }
            (_, value) => value,
        };
        scope.values.insert(name.clone(), value);
    }
    if let Some((unknown, _)) = given.iter().find(|(name, _)| raw["Parameters"].get(name).is_none()) {
        return wrong(format!("there is no parameter {unknown}"));
    }
    let mut done = raw.as_object().cloned().unwrap_or_default();
    for section in SECTIONS {
        let Some(Value::Object(entries)) = raw.get(section) else { continue };
        let mut kept = Map::new();
        for (id, entry) in entries {
            if let Some(condition) = entry.get("Condition").and_then(Value::as_str)
                && !scope.condition(condition)?
            {
                continue;
            }
            if let Some(value) =
                scope.value(entry).map_err(|TemplateError(why)| TemplateError(format!("{id}: {why}")))?
            {
                kept.insert(id.clone(), value);
            }
        }
        done.insert(section.to_owned(), Value::Object(kept));
    }
    Ok(Value::Object(done))
}

struct Scope<'a> {
    values: BTreeMap<String, Value>,
    conditions: &'a Value,
    resources: &'a Value,
}

impl Scope<'_> {
    /// The value; none = `AWS::NoValue`.
    fn value(&self, value: &Value) -> Result<Option<Value>, TemplateError> {
        Ok(match value {
            Value::Array(items) => {
                let mut kept = Vec::new();
                for item in items {
                    kept.extend(self.value(item)?);
                }
                Some(Value::Array(kept))
            }
            Value::Object(map) => match map.iter().next() {
                Some((name, argument)) if map.len() == 1 && (name == "Ref" || name.starts_with("Fn::")) => {
                    self.function(name, argument)?
                }
                _ => {
                    let mut kept = Map::new();
                    for (key, value) in map {
                        if let Some(value) = self.value(value)? {
                            kept.insert(key.clone(), value);
                        }
                    }
                    Some(Value::Object(kept))
                }
            },
            plain => Some(plain.clone()),
        })
    }

    fn function(&self, name: &str, argument: &Value) -> Result<Option<Value>, TemplateError> {
        match (name, argument) {
            ("Ref", Value::String(id)) if id == "AWS::NoValue" => Ok(None),
            ("Ref", Value::String(id)) => self.named(id).map(Some),
            ("Fn::GetAtt", Value::Array(parts)) => match parts.as_slice() {
                [Value::String(id), Value::String(attribute)] => self.attribute(id, attribute).map(Some),
                _ => wrong("Fn::GetAtt wants a resource and an attribute"),
            },
            ("Fn::Sub", Value::String(text)) => self.substitute(text, &Map::new()).map(Some),
            ("Fn::Sub", Value::Array(parts)) => match parts.as_slice() {
                [Value::String(text), Value::Object(own)] => {
                    let mut worked_out = Map::new();
                    for (key, value) in own {
                        worked_out.insert(key.clone(), self.needed(value)?);
                    }
                    self.substitute(text, &worked_out).map(Some)
                }
                _ => wrong("Fn::Sub wants a text and a map"),
            },
            ("Fn::If", Value::Array(parts)) => match parts.as_slice() {
                [Value::String(condition), yes, no] => self.value(if self.condition(condition)? { yes } else { no }),
                _ => wrong("Fn::If wants a condition and two values"),
            },
            ("Fn::Join", Value::Array(parts)) => match parts.as_slice() {
                [Value::String(between), items] => {
                    let items = self.needed(items)?;
                    let items: Result<Vec<_>, _> = list(&items).map(as_text).collect();
                    Ok(Some(json!(items?.join(between))))
                }
                _ => wrong("Fn::Join wants a delimiter and a list"),
            },
            ("Fn::Split", Value::Array(parts)) => match parts.as_slice() {
                [Value::String(at), text] => {
                    let text = as_text(&self.needed(text)?)?;
                    Ok(Some(text.split(at.as_str()).map(|part| json!(part)).collect()))
                }
                _ => wrong("Fn::Split wants a delimiter and a text"),
            },
            ("Fn::Select", Value::Array(parts)) => match parts.as_slice() {
                [index, items] => {
                    let (index, items) = (as_text(index)?, self.needed(items)?);
                    let found = index.parse::<usize>().ok().and_then(|index| items.get(index).cloned());
                    found.map_or_else(
                        || wrong(format!("Fn::Select finds no item {index} in {items}")),
                        |found| Ok(Some(found)),
                    )
                }
                _ => wrong("Fn::Select wants an index and a list"),
            },
            _ => wrong(format!("{name} is not understood with {argument}")),
        }
    }

    fn needed(&self, value: &Value) -> Result<Value, TemplateError> {
        self.value(value)?.map_or_else(|| wrong("AWS::NoValue where a value is needed"), Ok)
    }

    fn named(&self, id: &str) -> Result<Value, TemplateError> {
        if let Some(value) = self.values.get(id) {
            return Ok(value.clone());
        }
        if self.resources.get(id).is_some() {
            return Ok(json!(format!("${{{id}}}")));
        }
        wrong(format!("there is no parameter or resource {id}"))
    }

    fn attribute(&self, id: &str, attribute: &str) -> Result<Value, TemplateError> {
        if self.resources.get(id).is_none() {
            return wrong(format!("there is no resource {id}"));
        }
        Ok(json!(format!("${{{id}.{attribute}}}")))
    }

    /// `${Name}`, `${Resource.Attribute}`, and `${!literal}`.
    fn substitute(&self, text: &str, own: &Map<String, Value>) -> Result<Value, TemplateError> {
        let mut done = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            done.push_str(before);
            let Some((name, behind)) = after.split_once('}') else {
                return wrong(format!("{text:?} has a ${{ without }}"));
            };
            rest = behind;
            if let Some(literal) = name.strip_prefix('!') {
                done.push_str("${");
                done.push_str(literal);
                done.push('}');
            } else if let Some(value) = own.get(name) {
                done.push_str(&as_text(value)?);
            } else if let Some((id, attribute)) = name.split_once('.') {
                done.push_str(&as_text(&self.attribute(id, attribute)?)?);
            } else {
                done.push_str(&as_text(&self.named(name)?)?);
            }
        }
        done.push_str(rest);
        Ok(json!(done))
    }

    fn condition(&self, name: &str) -> Result<bool, TemplateError> {
        let condition = self.conditions.get(name);
        condition.map_or_else(|| wrong(format!("there is no condition {name}")), |condition| self.holds(condition))
    }

    fn holds(&self, condition: &Value) -> Result<bool, TemplateError> {
        let only = condition.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
        match only {
            Some((name, Value::String(id))) if name == "Condition" => self.condition(id),
            Some((name, Value::Array(parts))) => match (name.as_str(), parts.as_slice()) {
                ("Fn::Equals", [left, right]) => Ok(as_text(&self.needed(left)?)? == as_text(&self.needed(right)?)?),
                ("Fn::Not", [part]) => Ok(!self.holds(part)?),
                ("Fn::And", parts) => parts.iter().try_fold(true, |all, part| Ok(all & self.holds(part)?)),
                ("Fn::Or", parts) => parts.iter().try_fold(false, |any, part| Ok(any | self.holds(part)?)),
                _ => wrong(format!("the condition {condition} is not understood")),
            },
            _ => wrong(format!("the condition {condition} is not understood")),
        }
    }
}

fn as_text(value: &Value) -> Result<String, TemplateError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        other => wrong(format!("{other} where a text is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    const TEMPLATE: &str = r#"
Parameters:
  Name: { Type: String }
  Names: { Type: CommaDelimitedList, Default: "a, b" }
  Most: { Type: Number, Default: "7" }
  On: { Type: String, Default: "" }
Conditions:
  IsOn: !Not [!Equals [!Ref On, ""]]
  Both: !And [!Condition IsOn, !Equals [!Ref Most, 7]]
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: !Sub ${AWS::StackName}-${Name}
      Most: !Ref Most
      Keys: !Split [",", !Sub ["T#*/${Names}", { Names: !Join [",T#*/", !Ref Names] }]]
      Second: !Select [1, !Ref Names]
      Kept: !If [IsOn, yes, !Ref AWS::NoValue]
      List: [1, !If [Both, 2, !Ref AWS::NoValue], 3]
      Both: !Sub "${Queue.Arn}/${!literal}"
  Sometimes:
    Type: AWS::SNS::Topic
    Condition: IsOn
    Properties: { Of: !GetAtt Queue.Arn, Name: !Ref Queue }
"#;

    fn worked_out(given: &[(&str, &str)]) -> Result<Value, TemplateError> {
        resolve(&yaml::read(TEMPLATE).unwrap(), given).map(|done| done["Resources"].clone())
    }

    #[test]
    fn functions_are_worked_out_and_resources_stay_references() {
        let properties = worked_out(&[("Name", "wakes")]).unwrap()["Queue"]["Properties"].clone();
        assert_eq!(
            properties,
            json!({
                "QueueName": "portcullis-wakes", "Most": 7, "Keys": ["T#*/a", "T#*/b"], "Second": "b",
                "List": [1, 3], "Both": "${Queue.Arn}/${literal}",
            })
        );
    }

    #[test]
    fn what_a_condition_keeps_out_is_not_there() {
        assert_eq!(worked_out(&[("Name", "x")]).unwrap().get("Sometimes"), None);
        let on = worked_out(&[("Name", "x"), ("On", "1")]).unwrap();
        assert_eq!(on["Sometimes"]["Properties"], json!({ "Of": "${Queue.Arn}", "Name": "${Queue}" }));
        assert_eq!(on["Queue"]["Properties"]["List"], json!([1, 2, 3]));
        assert_eq!(on["Queue"]["Properties"]["Kept"], "yes");
    }

    #[test]
    fn what_cannot_be_worked_out_is_an_error() {
        assert!(worked_out(&[]).unwrap_err().0.contains("Name has no default"));
        assert!(worked_out(&[("Name", "x"), ("Nmae", "y")]).unwrap_err().0.contains("no parameter Nmae"));
        let unknown = json!({ "Resources": { "A": { "Properties": { "B": { "Fn::Cidr": [] } } } } });
        assert!(resolve(&unknown, &[]).unwrap_err().0.contains("Fn::Cidr is not understood"));
        let nobody = json!({ "Resources": { "A": { "Properties": { "B": { "Ref": "Nobody" } } } } });
        assert!(resolve(&nobody, &[]).unwrap_err().0.contains("no parameter or resource Nobody"));
    }
}
