//! How large an object, a document and a file may be. Whatever is larger is refused with words, never cut.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

/// The most bytes of one object as JSON: what an API server takes as one request (3 MiB,
/// `MaxRequestBodyBytes` of the generic API server). A larger one could never be applied again.
pub const MOST_OBJECT: usize = 3 << 20;
/// The deepest nesting of an object. Kubernetes' own reach about 20, schemas inside custom ones about 60.
pub const MOST_DEPTH: usize = 100;
/// The most values of one object: a list of one-digit numbers of [`MOST_OBJECT`] has three times as many.
pub const MOST_VALUES: usize = 500_000;
/// The most bytes of one file of a backup.
pub const MOST_FILE: usize = 256 << 20;
/// The most documents of one file.
pub const MOST_DOCUMENTS: usize = 100_000;

/// Why an object is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// More than [`MOST_OBJECT`] bytes.
    #[error("it has {0} bytes; an API server takes at most {MOST_OBJECT}")]
    Bytes(usize),
    /// More than [`MOST_DEPTH`] levels.
    #[error("it is nested more than {MOST_DEPTH} deep")]
    Depth,
    /// More than [`MOST_VALUES`] values.
    #[error("it has more than {MOST_VALUES} values")]
    Values,
    /// Not an object with a name.
    #[error("it is no object with a name")]
    Nameless,
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Syntax(String),
}

/// Reads one object of a page, within bounds.
///
/// # Errors
/// What it has too much of.
pub fn object(raw: &RawValue) -> Result<Json, TooMuch> {
    let text = raw.get();
    if text.len() > MOST_OBJECT {
        return Err(TooMuch::Bytes(text.len()));
    }
    let most_values = depth(text)?;
    let object = match serde_json::from_str::<WithoutFieldManagers>(text) {
        Ok(WithoutFieldManagers(object)) => object,
        // Of another shape, or damaged: in the words of whoever reads any JSON.
        Err(_) => serde_json::from_str(text).map_err(|error| TooMuch::Syntax(error.to_string()))?,
    };
    if most_values > MOST_VALUES {
        within(&object)?;
    }
    if super::object::name(&object).is_empty() {
        return Err(TooMuch::Nameless);
    }
    Ok(object)
}

/// Counts brackets outside strings, so that depth is refused by its own name before anything is built of it. Gives the most
/// values that it can have: as many as commas and brackets that open, and one.
fn depth(text: &str) -> Result<usize, TooMuch> {
    let (mut deep, mut quoted, mut escaped, mut values) = (0_usize, false, false, 1_usize);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                values += 1;
                deep += 1;
                if deep > MOST_DEPTH {
                    return Err(TooMuch::Depth);
                }
            }
            b'}' | b']' if !quoted => deep = deep.saturating_sub(1),
            b',' if !quoted => values += 1,
            _ => {}
        }
    }
    Ok(values)
}

/// An object without `metadata.managedFields`: often the half of it, and never kept.
struct WithoutFieldManagers(Json);

impl<'de> Deserialize<'de> for WithoutFieldManagers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Without(&["metadata", "managedFields"]).deserialize(deserializer)?))
    }
}

/// An object without the field at this path.
struct Without(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Without {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Without {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut from: M) -> Result<Json, M::Error> {
        let mut fields = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let value = match self.0 {
                [last] if key == *last => {
                    from.next_value::<IgnoredAny>()?;
                    continue;
                }
                [first, below @ ..] if key == *first => from.next_value_seed(Without(below))?,
                _ => from.next_value()?,
            };
            fields.insert(key, value);
        }
        Ok(Json::Object(fields))
    }
}

/// Whether an object that is built already keeps to depth and number of values.
///
/// # Errors
/// What it has too much of.
pub fn within(object: &Json) -> Result<(), TooMuch> {
    let mut left = MOST_VALUES;
    let mut waiting = vec![(object, 1_usize)];
    while let Some((value, deep)) = waiting.pop() {
        left = left.checked_sub(1).ok_or(TooMuch::Values)?;
        let nested = matches!(value, Json::Object(_) | Json::Array(_));
        if nested && deep > MOST_DEPTH {
            return Err(TooMuch::Depth);
        }
        match value {
            Json::Object(fields) => waiting.extend(fields.values().map(|value| (value, deep + 1))),
            Json::Array(items) => waiting.extend(items.iter().map(|value| (value, deep + 1))),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Json, TooMuch> {
        object(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn an_object_is_refused_by_what_it_has_too_much_of() {
        assert!(read(r#"{"metadata":{"name":"x"}}"#).is_ok());
        assert_eq!(read(r#"{"metadata":{}}"#), Err(TooMuch::Nameless));
        let deep = format!(r#"{{"metadata":{{"name":"x"}},"spec":{}{}}}"#, "[".repeat(120), "]".repeat(120));
        assert_eq!(read(&deep), Err(TooMuch::Depth));
        let large = format!(r#"{{"metadata":{{"name":"x"}},"data":"{}"}}"#, "x".repeat(MOST_OBJECT));
        assert!(matches!(read(&large), Err(TooMuch::Bytes(_))));
        let many = format!(r#"{{"metadata":{{"name":"x"}},"data":[{}0]}}"#, "0,".repeat(MOST_VALUES));
        assert_eq!(read(&many), Err(TooMuch::Values));
    }

    #[test]
    fn all_but_the_field_managers_is_read() {
        let with = |managed: &str| {
            let metadata = format!(r#"{{{managed}"name":"x","labels":{{"managedFields":"y"}}}}"#);
            read(&format!(r#"{{"managedFields":[1],"metadata":{metadata},"spec":{{"a":[{{}},null,1.5]}}}}"#)).unwrap()
        };
        assert_eq!(with(r#""managedFields":[{"fieldsV1":{"f:spec":{}}}],"#), with(""));
        assert_eq!(with("")["managedFields"], serde_json::json!([1]), "only the metadata's");
        assert_eq!(read(r#"{"metadata":[]}"#), Err(TooMuch::Nameless));
        assert!(matches!(read(r#"{"metadata":{"name":"x"},"spec":1e999}"#), Err(TooMuch::Syntax(_))));
        // Empty ones count twice while they are only counted: that is looked into then.
        let many = format!(r#"{{"metadata":{{"name":"x"}},"data":[{}0]}}"#, "{},".repeat(MOST_VALUES / 2));
        assert!(read(&many).is_ok());
    }

    #[test]
    fn brackets_in_a_text_are_no_depth() {
        let text = format!(r#"{{"metadata":{{"name":"x"}},"data":"\"{}\\"}}"#, "[".repeat(500));
        assert!(read(&text).is_ok());
    }
}
