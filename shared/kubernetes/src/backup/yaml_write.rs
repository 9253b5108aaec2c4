//! An object as YAML that every reader takes alike: YAML 1.1 and 1.2, kubectl's and ours.
//!
//! A text is written plainly only if no reader could take it for anything else, over several lines only if nothing in
//! it would change by that, and otherwise quoted as JSON quotes it.

use std::fmt::Write as _;

use portcullis_domain::names::is_bidi_control;
use serde_json::{Map, Value as Json};

/// The longest key that may stand before its colon (YAML 1.2.2, section 7.4.2: 1,024 characters).
const MOST_KEY: usize = 1_000;

/// One document, without `---`. Fields come by name, but `apiVersion`, `kind` and `metadata` first. The object is
/// within [`super::bounds`].
pub fn yaml(object: &Json) -> String {
    let mut out = String::new();
    match object {
        Json::Object(fields) if !fields.is_empty() => map(fields, 0, false, &mut out),
        Json::Array(items) if !items.is_empty() => list(items, 0, false, &mut out),
        other => {
            scalar(other, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Objects as one stream of documents, each as it can be applied again.
pub fn stream(objects: &[Json]) -> String {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&yaml(object));
    }
    text
}

/// A text as one value on one line: plain where no reader could take it for anything else, else in quotes.
pub fn word(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::new();
    quoted(text, &mut out);
    out
}

fn map(fields: &Map<String, Json>, indent: usize, mut begun: bool, out: &mut String) {
    // Sorted here: whether a map keeps the order of insertion is a feature that any crate of the tree may turn on.
    let mut sorted: Vec<(&String, &Json)> = fields.iter().collect();
    let first = |key: &str| ["apiVersion", "kind", "metadata"].iter().position(|known| *known == key).unwrap_or(9);
    sorted.sort_by(|(a, _), (b, _)| (if indent == 0 { first(a).cmp(&first(b)) } else { a.cmp(b) }).then(a.cmp(b)));
    for (key, value) in sorted {
        if !begun {
            pad(indent, out);
        }
        begun = false;
        let at = out.len();
        if is_plain(key) {
            out.push_str(key);
        } else {
            quoted(key, out);
        }
        if out.len() - at > MOST_KEY {
            out.insert_str(at, "? ");
            out.push('\n');
            pad(indent, out);
        }
        out.push(':');
        match value {
            Json::Object(fields) if !fields.is_empty() => {
                out.push('\n');
                map(fields, indent + 2, false, out);
            }
            Json::Array(items) if !items.is_empty() => {
                out.push('\n');
                list(items, indent, false, out);
            }
            value => {
                out.push(' ');
                scalar(value, indent, out);
                out.push('\n');
            }
        }
    }
}

fn list(items: &[Json], indent: usize, mut begun: bool, out: &mut String) {
    for item in items {
        if !begun {
            pad(indent, out);
        }
        begun = false;
        out.push_str("- ");
        match item {
            Json::Object(fields) if !fields.is_empty() => map(fields, indent + 2, true, out),
            Json::Array(items) if !items.is_empty() => list(items, indent + 2, true, out),
            item => {
                scalar(item, indent, out);
                out.push('\n');
            }
        }
    }
}

/// Without its last line break.
fn scalar(value: &Json, indent: usize, out: &mut String) {
    match value {
        Json::String(text) if is_plain(text) => out.push_str(text),
        Json::String(text) if is_lines(text) => {
            out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
            for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    pad(indent + 2, out);
                    out.push_str(line);
                }
            }
        }
        Json::String(text) => quoted(text, out),
        Json::Object(_) => out.push_str("{}"),
        Json::Array(_) => out.push_str("[]"),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Whether no reader takes it for anything but this text.
fn is_plain(text: &str) -> bool {
    // What YAML 1.1 takes for a boolean or nothing, in any case.
    const WORDS: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan"];
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let inner = |c: &u8| c.is_ascii_alphanumeric() || b"-._/@:".contains(c);
    (first.is_ascii_alphabetic() || *first == b'/')
        && *last != b':'
        && bytes.iter().all(inner)
        && !(text.len() <= 5 && WORDS.contains(&text.to_ascii_lowercase().as_str()))
}

/// Whether it can be written line by line: every character is shown as it is, and no line begins or ends with white
/// space, which people and editors lose.
fn is_lines(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let line = |line: &str| !line.ends_with([' ', '\t']) && !line.starts_with('\t');
    body.contains('\n')
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && text.chars().all(|c| c == '\n' || c == '\t' || !needs_escape(c))
        && body.split('\n').all(line)
}

/// Characters that a reader may refuse (outside YAML's printable ones), fold, or show as something else.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || is_bidi_control(c)
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{200b}'..='\u{200d}')
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if needs_escape(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_reads_as_a_person_would_write_it() {
        let object = json!({
            "metadata": { "name": "web", "labels": { "app.kubernetes.io/name": "web" }, "annotations": {} },
            "kind": "ConfigMap", "apiVersion": "v1",
            "data": { "port": "80", "debug": "yes", "nginx.conf": "a {\n  b;\n}\n", "odd": " a\n", "empty": "", "end": "a\nb" },
            "list": [{ "name": "a", "args": ["-x", "plain", ["deep", {}]] }, [], null, 1.5, true, "line\nline"],
        });
        assert_snapshot!(yaml(&object), @r#"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          annotations: {}
          labels:
            app.kubernetes.io/name: web
          name: web
        data:
          debug: "yes"
          empty: ""
          end: |-
            a
            b
          nginx.conf: |
            a {
              b;
            }
          odd: " a\n"
          port: "80"
        list:
        - args:
          - "-x"
          - plain
          - - deep
            - {}
          name: a
        - []
        - null
        - 1.5
        - true
        - |-
          line
          line
        "#);
    }

    #[test]
    fn what_could_be_misread_or_not_seen_is_quoted_and_escaped() {
        for (text, written) in [
            ("true", r#""true""#),
            ("No", r#""No""#),
            ("1e3", r#""1e3""#),
            ("0x1f", r#""0x1f""#),
            ("2026-11-22", r#""2026-11-22""#),
            ("a: b", r#""a: b""#),
            ("a:", r#""a:""#),
            ("a #b", r#""a #b""#),
            ("*alias", r#""*alias""#),
            ("~", r#""~""#),
            ("\u{1b}[2J", r#""\u001b[2J""#),
            ("a\u{85}b", r#""a\u0085b""#),
            ("a\u{202e}b", r#""a\u202eb""#),
            ("a\u{2028}\nb", r#""a\u2028\nb""#),
            ("a\r\nb", r#""a\r\nb""#),
            ("a \nb", r#""a \nb""#),
            ("a\n\n", r#""a\n\n""#),
            ("Grüße", r#""Grüße""#),
            ("web:v1", "web:v1"),
        ] {
            assert_eq!(yaml(&json!(text)), format!("{written}\n"), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_is_too_long_for_its_line_is_marked_as_a_key() {
        let key = "k ".repeat(600);
        let text = yaml(&json!({ key.clone(): "v" }));
        assert_eq!(text, format!("? \"{key}\"\n: v\n"));
    }
}
