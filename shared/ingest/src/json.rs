//! A JSON value together with where it stands, so that every error names the field.

use std::fmt::Display;
use std::str::FromStr;

use portcullis_domain::names::is_bidi_control;
use portcullis_domain::time::Timestamp;
use serde_json::Value;

use crate::{MAX_BODY, MAX_DEPTH, Malformed};

/// How many characters of a value an error shows.
const SHOWN: usize = 80;

/// The longest of AWS's own words (a source, a detail type, a status) that is looked at, in bytes.
const WORD: usize = 128;

/// Parses a JSON object. `path` is where the bytes stood: empty for the body itself.
pub(crate) fn parse(bytes: &[u8], path: &str) -> Result<Value, Malformed> {
    let wrong = |why: String| Malformed { field: named(path), why };
    if bytes.len() > MAX_BODY {
        return Err(wrong(format!("has {} bytes; at most {MAX_BODY} are read", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| wrong(format!("is not UTF-8 from byte {}", e.valid_up_to())))?;
    if deepest(text) > MAX_DEPTH {
        return Err(wrong(format!("nests deeper than {MAX_DEPTH} levels")));
    }
    // serde_json's messages name a kind of mistake, a line and a column; they quote nothing.
    let value: Value = serde_json::from_str(text).map_err(|e| wrong(format!("is not JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(wrong(format!("must be a JSON object, not {}", kind(&value)))) }
}

/// How deep objects and arrays nest, read without recursion.
fn deepest(text: &str) -> usize {
    let (mut depth, mut most, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                most = most.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// A value from outside as an error or a page may show it: quoted, escaped, cut.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The same without quotes: control characters and those that reorder text are dropped.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_bidi_control(*c)).take(SHOWN).collect()
}

fn named(path: &str) -> String {
    if path.is_empty() { "body".to_owned() } else { path.to_owned() }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value and its path.
#[derive(Debug, Clone)]
pub(crate) struct At<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> At<'a> {
    pub(crate) fn root(value: &'a Value, path: &str) -> Self {
        Self { value, path: path.to_owned() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// An error about this value.
    pub(crate) fn wrong(&self, why: impl Into<String>) -> Malformed {
        Malformed { field: named(&self.path), why: why.into() }
    }

    fn expected(&self, what: &str) -> Malformed {
        self.wrong(format!("must be {what}, not {}", kind(self.value)))
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether the object has this key, whatever its value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some()
    }

    /// The field, if it is there and not null.
    pub(crate) fn optional(&self, name: &str) -> Result<Option<At<'a>>, Malformed> {
        let object = self.value.as_object().ok_or_else(|| self.expected("an object"))?;
        Ok(object.get(name).filter(|v| !v.is_null()).map(|value| At { value, path: self.path_of(name) }))
    }

    /// The field.
    pub(crate) fn field(&self, name: &str) -> Result<At<'a>, Malformed> {
        self.optional(name)?.ok_or_else(|| Malformed { field: self.path_of(name), why: "is missing".to_owned() })
    }

    /// The elements; at least one.
    pub(crate) fn items(&self) -> Result<Vec<At<'a>>, Malformed> {
        let array = self.value.as_array().ok_or_else(|| self.expected("an array"))?;
        if array.is_empty() {
            return Err(self.wrong("is empty"));
        }
        Ok(array.iter().enumerate().map(|(i, value)| At { value, path: format!("{}[{i}]", self.path) }).collect())
    }

    /// The fields that are not null. A key that is not one of AWS's words appears in the path escaped and cut.
    pub(crate) fn entries(&self) -> Result<Vec<(&'a str, At<'a>)>, Malformed> {
        let object = self.value.as_object().ok_or_else(|| self.expected("an object"))?;
        let at = |(key, value): (&'a String, &'a Value)| {
            let word = key.len() <= SHOWN && key.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c));
            let path = if word { self.path_of(key) } else { format!("{}[{}]", self.path, shown(key)) };
            (key.as_str(), At { value, path })
        };
        Ok(object.iter().filter(|(_, v)| !v.is_null()).map(at).collect())
    }

    /// A text with at most so many bytes, not empty, without control characters.
    pub(crate) fn text(&self, most: usize) -> Result<&'a str, Malformed> {
        let text = self.raw_text(most)?;
        if text.chars().any(char::is_control) {
            return Err(self.wrong(format!("{} has control characters", shown(text))));
        }
        Ok(text)
    }

    /// A text with at most so many bytes, not empty, of any characters.
    pub(crate) fn raw_text(&self, most: usize) -> Result<&'a str, Malformed> {
        let text = self.value.as_str().ok_or_else(|| self.expected("a string"))?;
        if text.is_empty() {
            return Err(self.wrong("is empty"));
        }
        if text.len() > most {
            return Err(self.wrong(format!("has {} bytes; at most {most} are read", text.len())));
        }
        Ok(text)
    }

    /// The text, if this is one; for what is only shown to people.
    pub(crate) fn maybe_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// One of AWS's own words.
    pub(crate) fn word(&self) -> Result<&'a str, Malformed> {
        self.text(WORD)
    }

    /// A text that is a name, a digest, a tag.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, most: usize) -> Result<T, Malformed> {
        self.text(most)?.parse().map_err(|why: T::Err| self.wrong(why.to_string()))
    }

    /// A count.
    pub(crate) fn count(&self) -> Result<u32, Malformed> {
        let number = self.value.as_number().ok_or_else(|| self.expected("a number"))?;
        let count = number.as_u64().and_then(|n| u32::try_from(n).ok());
        count.ok_or_else(|| self.wrong(format!("must be a whole number from 0 to {}", u32::MAX)))
    }

    /// A moment as AWS writes it: RFC 3339, with `Z` or an offset, also one without a colon (`+0000`).
    pub(crate) fn moment(&self) -> Result<Timestamp, Malformed> {
        let text = self.text(40)?;
        let wrong = || self.wrong(format!("{} is not a time such as 2026-11-20T02:41:11.000+0000", shown(text)));
        let moment: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        let millis = u64::try_from(moment.as_millisecond());
        millis.map(Timestamp).map_err(|_| self.wrong(format!("{} is before 1970", shown(text))))
    }

    /// An AWS account: 12 digits.
    pub(crate) fn account(&self) -> Result<&'a str, Malformed> {
        let text = self.text(WORD)?;
        let digits = text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit());
        if digits { Ok(text) } else { Err(self.wrong(format!("{} is not an account of 12 digits", shown(text)))) }
    }

    /// An AWS region such as `us-east-1`.
    pub(crate) fn region(&self) -> Result<&'a str, Malformed> {
        let text = self.text(WORD)?;
        if is_region(text) { Ok(text) } else { Err(self.wrong(format!("{} is not a region", shown(text)))) }
    }
}

/// Whether this is shaped like a region: parts of a-z joined by `-`, then a number.
pub(crate) fn is_region(text: &str) -> bool {
    let Some((area, number)) = text.rsplit_once('-') else { return false };
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase());
    text.len() <= 32
        && area.contains('-')
        && area.split('-').all(letters)
        && matches!(number.len(), 1 | 2)
        && number.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings_only() {
        assert_eq!(deepest(r#"{"a":[[1]]}"#), 3);
        assert_eq!(deepest(r#"{"a":"[[[[\"[["}"#), 1);
    }

    #[test]
    fn times_are_read_in_every_form_aws_writes() {
        let moment = |text: &str| {
            let value = Value::String(text.to_owned());
            At::root(&value, "time").moment().map(|t| t.0).map_err(|e| e.to_string())
        };
        let at = Ok(1_795_142_171_000);
        for same in [
            "2026-11-20T02:36:11Z",
            "2026-11-20T02:36:11.000Z",
            "2026-11-20T02:36:11.000+0000",
            "2026-11-20T02:36:11.000+00:00",
            "2026-11-20T03:36:11.000+0100",
            "2026-11-19T21:36:11-0500",
        ] {
            assert_eq!(moment(same), at, "{same}");
        }
        assert_eq!(moment("2026-11-20T02:36:11.5Z"), Ok(1_795_142_171_500));
        for bad in ["2026-11-20T02:36:11", "2026-11-20", "Nov 20, 2026, 2:36:11 AM", "2026-13-20T02:36:11Z", "now"] {
            assert!(moment(bad).unwrap_err().starts_with("time: \""), "{bad}");
        }
        assert_eq!(moment("1969-12-31T23:59:59Z"), Err("time: \"1969-12-31T23:59:59Z\" is before 1970".to_owned()));
    }

    #[test]
    fn what_errors_show_is_cut_and_escaped() {
        assert_eq!(shown("a\u{202e}\n\u{1b}[31m"), r#""a\u{202e}\n\u{1b}[31m""#);
        assert_eq!(shown(&"ü".repeat(81)), format!("\"{}\"…", "ü".repeat(80)));
        assert_eq!(plain("a\u{202e}\u{1b}[31m"), "a[31m");
    }

    #[test]
    fn regions_are_told_from_what_would_change_a_host_name() {
        for good in ["us-east-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"] {
            assert!(is_region(good), "{good}");
        }
        for bad in
            ["", "us", "us-east", "us-east-1.evil.example", "us-east-1/x", "US-EAST-1", "-east-1", "us--1", "a-1"]
        {
            assert!(!is_region(bad), "{bad}");
        }
    }
}
