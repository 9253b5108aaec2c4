//! `docs/policy.md`: every key with one line, written from the table of [`crate::schema`] and held against it.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fmt::Write as _;

use crate::schema::{Key, ORGANISATION, ROOT, Shape};

const WRITTEN: &str = include_str!("../../../docs/policy.md");
const BEGIN: &str = "<!-- keys: written by `PORTCULLIS_BLESS=1 cargo test -p portcullis-policy` -->\n";

fn keys(keys: &[Key], path: &str, out: &mut String) {
    for key in keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let must = if key.required { " **Required.**" } else { "" };
        let doc = key.doc.replace('|', "\\|");
        writeln!(out, "| `{path}` | {doc}{must} |").unwrap();
        shape(key.shape, &path, out);
    }
}

fn shape(of: Shape, path: &str, out: &mut String) {
    match of {
        Shape::Section(inner) | Shape::Rules(inner) => keys(inner, path, out),
        Shape::Open { keys: inner, of, .. } => {
            keys(inner, path, out);
            shape(*of, &format!("{path}.NAME"), out);
        }
        Shape::List { of, .. } => shape(*of, &format!("{path}[]"), out),
        Shape::Either(shapes) => shapes.iter().for_each(|of| shape(*of, path, out)),
        Shape::Scalar(_) | Shape::Threshold(_) | Shape::Any => {}
    }
}

/// The tables: an environment's keys stand once, though `defaults` has them too.
fn tables() -> String {
    let mut out = String::new();
    let head = "| key | what it says |\n| --- | --- |\n";
    let mut application = String::new();
    keys(ROOT, "", &mut application);
    let inherited = |line: &str| line.starts_with("| `defaults.");
    let (mut own, mut environment) = (String::new(), String::new());
    for line in application.lines().filter(|line| !inherited(line)) {
        match line.strip_prefix("| `environments.NAME.") {
            Some(rest) => writeln!(environment, "| `{rest}").unwrap(),
            None => writeln!(own, "{line}").unwrap(),
        }
    }
    let mut organisation = String::new();
    keys(ORGANISATION, "", &mut organisation);
    let repeated = |line: &str| line.starts_with("| `always.") || line.starts_with("| `environments.NAME.always.");
    let organisation: Vec<&str> = organisation.lines().filter(|line| !repeated(line)).collect();
    write!(out, "\n## An application\n\n{head}{own}").unwrap();
    write!(out, "\n## An environment, and `defaults`\n\n{head}{environment}").unwrap();
    write!(out, "\n## The organisation\n\n{head}{}\n", organisation.join("\n")).unwrap();
    out
}

#[test]
fn the_document_has_every_key_of_the_table_with_its_line() {
    let (before, written) = WRITTEN.split_once(BEGIN).unwrap();
    if std::env::var_os("PORTCULLIS_BLESS").is_some_and(|value| value == "1") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md");
        std::fs::write(path, format!("{before}{BEGIN}{}", tables())).unwrap();
    } else {
        assert_eq!(written, tables(), "docs/policy.md: run it once with PORTCULLIS_BLESS=1");
    }
}
