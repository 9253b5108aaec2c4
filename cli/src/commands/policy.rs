//! `policy ...`: check, explain, simulate, schema.

use std::path::PathBuf;

use portcullis_domain::names::TargetId;
use portcullis_policy::Severity;
use serde_json::json;

use crate::args::Policy;
use crate::exit::{Exit, Stop};
use crate::out::Out;
use crate::policies::{texts, words};
use crate::{policies, simulate};

/// Does what was said.
pub(crate) fn run(command: Policy, out: Out) -> anyhow::Result<()> {
    match command {
        Policy::Check { files } => check(&files, out),
        Policy::Explain { files, target } => explain(&files, target.as_ref(), out),
        Policy::Simulate(asked) => simulate::run(&asked, out),
        Policy::Schema => crate::out::line(&serde_json::to_string_pretty(&portcullis_policy::json_schema())?),
    }
}

fn check(files: &[PathBuf], out: Out) -> anyhow::Result<()> {
    let report = portcullis_policy::check(&texts(files)?);
    let findings: Vec<_> = report
        .diagnostics
        .iter()
        .map(|found| {
            let (file, line, column) = report.position(found).unzip3();
            let severity = match found.severity {
                Severity::Error => "error",
                Severity::Unsupported => "unsupported",
                Severity::Warning => "warning",
            };
            json!({
                "severity": severity, "message": found.message, "help": found.help,
                "file": file, "line": line, "column": column,
            })
        })
        .collect();
    let value = json!({ "ok": !report.failed(), "findings": findings });
    if !report.failed() {
        return out.answer(&value, || {
            let shown = words(&report, out.screen);
            if shown.is_empty() { report.summary() } else { shown }
        });
    }
    // What was found is this command's answer; the exit code says that it is bad.
    out.answer(&value, || words(&report, out.screen))?;
    Err(Stop { code: Exit::Usage, words: String::new() }.into())
}

fn explain(files: &[PathBuf], target: Option<&TargetId>, out: Out) -> anyhow::Result<()> {
    let set = policies::read(files, out.screen)?;
    let wanted: Vec<_> =
        set.policies.iter().filter(|policy| target.is_none_or(|name| policy.target == *name)).collect();
    if let Some(target) = target.filter(|_| wanted.is_empty()) {
        return Err(policies::unknown(&set, target));
    }
    let value: Vec<_> = wanted.iter().map(|policy| &***policy).collect();
    out.answer(&value, || {
        let texts = wanted.iter().filter_map(|policy| set.explain(&policy.target));
        texts.map(|text| text.trim_end().to_owned()).collect::<Vec<_>>().join("\n\n")
    })
}

/// The three parts of a position, each where there is one.
trait Unzip3<A, B, C> {
    fn unzip3(self) -> (Option<A>, Option<B>, Option<C>);
}
impl<A, B, C> Unzip3<A, B, C> for Option<(A, B, C)> {
    fn unzip3(self) -> (Option<A>, Option<B>, Option<C>) {
        match self {
            Some((a, b, c)) => (Some(a), Some(b), Some(c)),
            None => (None, None, None),
        }
    }
}
