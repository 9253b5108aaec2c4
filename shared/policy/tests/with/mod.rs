//! What the tests of this crate share: small policies, and a report as short lines.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fmt::Write as _;

use portcullis_policy::{Report, check};

/// The files as the crate takes them.
pub(crate) fn files(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// One line for each finding: severity, position, message.
pub(crate) fn lines(report: &Report) -> String {
    let mut lines = String::new();
    for found in &report.diagnostics {
        let (file, line, column) = report.position(found).unwrap_or(("", 0, 0));
        let _ = writeln!(lines, "{:?} {file}:{line}:{column} {}", found.severity, found.message);
    }
    lines
}

/// Everything found: severity, place and message, then each label with what it marks, and the help.
pub(crate) fn said(report: &Report, list: &[(String, String)]) -> String {
    let mut all = String::new();
    for found in &report.diagnostics {
        let (file, line, column) = report.position(found).unwrap_or(("", 0, 0));
        let file = if list.len() > 1 { format!("{file}:") } else { String::new() };
        let _ = writeln!(all, "    {:?} {file}{line}:{column} {}", found.severity, found.message);
        for label in &found.labels {
            let marked = list[label.file].1[label.span.clone()].lines().next().unwrap_or("");
            let _ = writeln!(all, "        [{marked}] {}", label.text);
        }
        let _ = writeln!(all, "        help: {}", found.help.as_deref().unwrap_or("none"));
    }
    if all.is_empty() {
        all.push_str("    nothing\n");
    }
    all
}

/// For each replaced text of [`GOOD`]: all findings, each with its labels and its help.
pub(crate) fn said_of(changes: &[(&str, &str)]) -> String {
    let mut all = String::new();
    for (old, new) in changes {
        let list = files(&[("p", &good_with(old, new))]);
        let _ = writeln!(all, "{}", new.trim().replace('\n', "\n  "));
        all.push_str(&said(&check(&list), &list));
    }
    all
}

/// A policy that loads without a finding; each test replaces the lines it is about.
pub(crate) const GOOD: &str = "\
portcullis: 1
application: shop
registry: ghcr.io/example
services:
  api: {}
  jobs: { after: api, kind: worker }
environments:
  production:
    mode: deploy
    cluster: local
    namespace: shop
    branch: main
    strategy: blue-green
    gates:
      scan: { critical: block }
      approvals: [1 of owners]
    verify: [smoke]
    watch: { for: 5m, healthy: { error_rate: below 1% } }
    roll_back: { window: 24h }
tests:
  smoke: { http: [GET /health] }
people:
  kofi: { github: kofi-m }
groups:
  owners: [kofi, lena]
notify:
  everything: [terminal]
";

/// [`GOOD`] with one text replaced, which must be there.
pub(crate) fn good_with(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    GOOD.replacen(old, new, 1)
}
