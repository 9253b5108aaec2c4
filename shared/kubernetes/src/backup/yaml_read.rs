//! Manifests from outside as objects: bounded, and refused where two readers could disagree.
//!
//! Refused with the line and what to write instead: aliases and anchors (an alias bomb is a few lines that unfold to
//! gigabytes), tags, merge keys, doubled keys, control characters, words that are a boolean to some readers and a text to
//! others, and everything over [`super::bounds`].

use std::collections::BTreeSet;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value as Json};

use super::bounds::{MOST_DEPTH, MOST_DOCUMENTS, MOST_FILE, MOST_OBJECT, MOST_VALUES};

/// Why manifests are refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Refused {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub what: String,
}

/// Reads a stream of documents. Empty ones are left out.
///
/// # Errors
/// The first thing that is refused; then nothing of the stream is read.
pub fn read(text: &str) -> Result<Vec<Json>, Refused> {
    let refused = |line, what: String| Err(Refused { line, what });
    if text.len() > MOST_FILE {
        return refused(1, format!("the file has {} bytes; at most {MOST_FILE} are read", text.len()));
    }
    let mut objects = Vec::new();
    for (line, document) in documents(text) {
        if document.len() > 2 * MOST_OBJECT {
            let what = format!("this document has {} bytes; an object has at most {MOST_OBJECT}", document.len());
            return refused(line, what);
        }
        if objects.len() == MOST_DOCUMENTS {
            return refused(line, format!("the file has more than {MOST_DOCUMENTS} documents; split it"));
        }
        if let Some(at) = document.find(is_refused_character) {
            let line = line + document[..at].matches('\n').count();
            let code = document[at..].chars().next().map_or(0, u32::from);
            return refused(line, format!("a control character (U+{code:04X}); in quotes, write \\u{code:04x}"));
        }
        let mut reader = Reader { line, stack: Vec::new(), done: Vec::new(), values: 0 };
        reader.run(document)?;
        objects.append(&mut reader.done);
    }
    Ok(objects)
}

/// The documents with the line each begins on. A line that begins with `---` can be part of no value: YAML forbids it
/// even inside quotes (YAML 1.2.2, section 9.1.2).
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut begin, mut begin_line, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---").is_some_and(|rest| rest.trim_start() != rest || rest.is_empty());
        if marker && at > begin {
            found.push((begin_line, &text[begin..at]));
            (begin, begin_line) = (at, number + 1);
        }
        at += line.len();
    }
    if at > begin {
        found.push((begin_line, &text[begin..at]));
    }
    found
}

fn is_refused_character(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t' | '\r')
}

enum Frame {
    List(Vec<Json>),
    Map { fields: Map<String, Json>, key: Option<String> },
}

struct Reader {
    /// The line that the document begins on.
    line: usize,
    stack: Vec<Frame>,
    done: Vec<Json>,
    values: usize,
}

impl Reader {
    fn run(&mut self, document: &str) -> Result<(), Refused> {
        let first = self.line;
        for event in Parser::new_from_str(document) {
            let (event, span) = event.map_err(|error| Refused {
                line: first + error.marker().line().saturating_sub(1),
                what: format!("this is not YAML: {}", error.info()),
            })?;
            self.line = first + span.start.line().saturating_sub(1);
            self.values += 1;
            if self.values > MOST_VALUES {
                return self.refuse(&format!("this document has more than {MOST_VALUES} values"));
            }
            self.event(event)?;
        }
        Ok(())
    }

    fn refuse<T>(&self, what: &str) -> Result<T, Refused> {
        Err(Refused { line: self.line, what: what.to_owned() })
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), Refused> {
        match event {
            Event::Alias(_) => self.refuse("aliases are not read: write the value out"),
            Event::Scalar(text, style, anchor, tag) => {
                self.extras(anchor, tag.is_some())?;
                if let Some(Frame::Map { key: key @ None, fields }) = self.stack.last_mut() {
                    let line = self.line;
                    if fields.contains_key(&*text) {
                        return Err(Refused { line, what: format!("`{}` is written twice", cut(&text)) });
                    }
                    if text == "<<" && style == ScalarStyle::Plain {
                        return Err(Refused { line, what: "merge keys are not read: write the values out".into() });
                    }
                    *key = Some(text.into_owned());
                    return Ok(());
                }
                let value = if style == ScalarStyle::Plain { self.plain(&text)? } else { text.into_owned().into() };
                self.place(value)
            }
            Event::SequenceStart(anchor, tag) => {
                self.extras(anchor, tag.is_some())?;
                self.open(Frame::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.extras(anchor, tag.is_some())?;
                self.open(Frame::Map { fields: Map::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::List(items)) => self.place(items.into()),
                Some(Frame::Map { fields, .. }) => self.place(fields.into()),
                None => self.refuse("an end without a beginning"),
            },
            _ => Ok(()),
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), Refused> {
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            return self.refuse("a list or a map can not be a key");
        }
        if self.stack.len() >= MOST_DEPTH {
            return self.refuse(&format!("nested more than {MOST_DEPTH} deep"));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn place(&mut self, value: Json) -> Result<(), Refused> {
        match self.stack.last_mut() {
            None if value.is_null() => {}
            None => self.done.push(value),
            Some(Frame::List(items)) => items.push(value),
            Some(Frame::Map { fields, key }) => match key.take() {
                Some(key) => {
                    fields.insert(key, value);
                }
                None => return self.refuse("a list or a map can not be a key"),
            },
        }
        Ok(())
    }

    fn extras(&self, anchor: usize, tagged: bool) -> Result<(), Refused> {
        if anchor > 0 {
            return self.refuse("anchors are not read: write the value out");
        }
        if tagged {
            return self.refuse("YAML tags are not read: remove the word that begins with !");
        }
        Ok(())
    }

    /// A scalar without quotes, by the core schema (YAML 1.2.2, section 10.3) as far as YAML 1.1 reads it alike.
    fn plain(&self, text: &str) -> Result<Json, Refused> {
        let lower = text.to_ascii_lowercase();
        let cased =
            text == lower || text == text.to_ascii_uppercase() || text.as_bytes().get(1..) == lower.as_bytes().get(1..);
        match lower.as_str() {
            "" | "~" => return Ok(Json::Null),
            "null" if cased => return Ok(Json::Null),
            "true" | "false" if cased => return Ok(Json::Bool(lower == "true")),
            "y" | "n" | "yes" | "no" | "on" | "off" if cased => {
                return self.refuse(&format!(
                    "`{text}` is a boolean to some readers and a text to others: write true or false, or put it in quotes"
                ));
            }
            ".inf" | "-.inf" | "+.inf" | ".nan" => return self.refuse("JSON has no such number: put it in quotes"),
            _ => {}
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !digits.bytes().any(|c| c.is_ascii_digit())
        {
            return Ok(text.into());
        }
        let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit());
        let based = ["0x", "0o", "0b"].iter().any(|base| {
            lower
                .trim_start_matches(['-', '+'])
                .strip_prefix(base)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_hexdigit() || c == b'_'))
        });
        let grouped = digits.contains('_') && digits.bytes().all(|c| c.is_ascii_digit() || b"_.".contains(&c));
        if octal || based || grouped {
            return self.refuse(&format!(
                "`{}` is not the same number to every reader: write it in decimal digits, or in quotes",
                cut(text)
            ));
        }
        if digits.bytes().all(|c| c.is_ascii_digit()) {
            let unsigned = text.strip_prefix('+').unwrap_or(text);
            if let Ok(number) = unsigned.parse::<i64>() {
                return Ok(number.into());
            }
            if let Ok(number) = unsigned.parse::<u64>() {
                return Ok(number.into());
            }
            return self.refuse(&format!("`{}` is too large a number: put it in quotes", cut(text)));
        }
        if is_float(digits) {
            return match text.parse::<f64>().ok().and_then(Number::from_f64) {
                Some(number) => Ok(Json::Number(number)),
                None => self.refuse(&format!("`{}` is too large a number: put it in quotes", cut(text))),
            };
        }
        Ok(text.into())
    }
}

/// `1.5`, `.5`, `1.`, `1e-9`, without a sign.
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = digits.split_once(['e', 'E']).map_or((digits, None), |(a, b)| (a, Some(b)));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let exponent = exponent.is_none_or(|text| number(text.strip_prefix(['-', '+']).unwrap_or(text)));
    let mantissa = match mantissa.split_once('.') {
        Some((whole, part)) => {
            (number(whole) || whole.is_empty()) && (number(part) || part.is_empty()) && mantissa.len() > 1
        }
        None => number(mantissa),
    };
    mantissa && exponent
}

fn cut(text: &str) -> String {
    super::wire::shown(text).chars().take(60).collect()
}

/// The objects that these documents are of: a `List` is its items, and each has a kind and a name.
///
/// # Errors
/// A document that is no object, or two of one name.
pub fn objects(documents: Vec<Json>) -> Result<Vec<Json>, String> {
    let mut found = Vec::new();
    for document in documents {
        match document.get("items").and_then(Json::as_array) {
            Some(items) if super::object::kind(&document).ends_with("List") => found.extend(items.iter().cloned()),
            _ => found.push(document),
        }
    }
    let mut seen = BTreeSet::new();
    for object in &found {
        let named = super::object::ObjectRef::of(object);
        if named.kind.is_empty() || named.name.is_empty() || super::object::text(object, "/apiVersion").is_empty() {
            return Err("a document without apiVersion, kind or metadata.name is no object".into());
        }
        if !seen.insert(named.clone()) {
            return Err(format!("{} is there twice", super::wire::shown(&named.to_string())));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::yaml_write::yaml;
    use super::*;

    fn refusal(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_reads_back_alike() {
        let object = json!({
            "a": "yes", "b": "line\nline\n", "c": "x\ny", "d": [{}, [], null, true, 1, -2, 1.5, [["x"]]],
            "e": { "nested": { "key with: colon": "\u{1b}\u{85}\u{2028}\u{feff}\"\\" } }, "": "empty key",
            "long": { "k ".repeat(700): "x" }, "u": "Grüße 🎉", "big": 9_007_199_254_740_993_i64,
        });
        assert_eq!(read(&yaml(&object)).unwrap(), [object]);
    }

    #[test]
    fn a_stream_is_cut_at_its_markers_only() {
        let text = "a: |\n  ---\n  x\n---\n# nothing\n---\nb: 1\n--- \nc: 2\n";
        assert_eq!(read(text).unwrap(), [json!({"a": "---\nx\n"}), json!({"b": 1}), json!({"c": 2})]);
    }

    #[test]
    fn plain_words_and_numbers_are_what_kubectl_reads() {
        let text =
            "[true, False, null, ~, 12, -3, 1.5, 1e3, abc, 1.2.3.4, 2026-11-22, 12:30, v1, 1Gi, 500m, -x, .x, -]";
        let wanted = json!([
            true,
            false,
            null,
            null,
            12,
            -3,
            1.5,
            1000.0,
            "abc",
            "1.2.3.4",
            "2026-11-22",
            "12:30",
            "v1",
            "1Gi",
            "500m",
            "-x",
            ".x",
            "-"
        ]);
        assert_eq!(read(&text.replace(", -]", ", \"-\"]")).unwrap(), [wanted]);
    }

    #[test]
    fn what_readers_disagree_on_is_refused_with_what_to_write() {
        assert_eq!(
            refusal("a: 1\nb: yes\n"),
            "line 2: `yes` is a boolean to some readers and a text to others: write true or false, or put it in quotes"
        );
        for text in ["0777", "0x1F", "0o17", "1_000"] {
            assert!(refusal(&format!("mode: {text}")).contains("decimal digits"), "{text}");
        }
        assert!(refusal("a: 1\na: 2\n").contains("`a` is written twice"));
        assert!(refusal("a: !!binary aGk=\n").contains("tags are not read"));
        assert!(refusal("a: &x 1\nb: *x\n").contains("anchors are not read"));
        assert!(refusal("<<: {a: 1}\n").contains("merge keys"));
        assert!(refusal("a: .inf\n").contains("no such number"));
        assert!(refusal("a: 99999999999999999999\n").contains("too large"));
    }

    #[test]
    fn a_control_character_is_named_with_its_line() {
        assert_eq!(
            refusal("---\na: 1\n---\nb: x\u{1b}y\n"),
            "line 4: a control character (U+001B); in quotes, write \\u001b"
        );
    }

    #[test]
    fn objects_of_lists_are_objects_and_two_of_one_name_are_refused() {
        let object = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [object("a"), object("b")] });
        assert_eq!(objects(vec![list, object("c")]).unwrap().len(), 3);
        assert_eq!(objects(vec![object("a"), object("a")]).unwrap_err(), "ConfigMap/a is there twice");
        assert!(objects(vec![json!({ "kind": "X" })]).is_err());
    }
}
