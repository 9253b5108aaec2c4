//! From policy text to the validated [`Policy`] of each environment.
//!
//! A policy is YAML, one document per application. Everything wrong is found in one run, each finding with file,
//! line and column; what a later version will carry out is read, checked and named as not supported yet.
//!
//! It must not know: files and directories (it is given texts), clocks, the engine, any outside party.
//!
//! Start reading at [`load`]; what a policy may say is the table in `schema.rs`, the small texts inside it are in
//! `grammar.rs` and `amounts.rs`, what holds where it says nothing is in `defaults.rs`.
//!
//! Limits: a file has at most 1 MiB, 200,000 values and 64 levels; an application at most 50 services; an effective
//! policy at most 16 KiB as JSON; a report lists at most 500 findings and counts the rest.

mod amounts;
mod application;
mod defaults;
mod diagnostic;
mod environment;
mod environment_keys;
mod explain;
mod grammar;
mod json_schema;
mod nearest;
mod node;
mod notices;
mod quorums;
mod render;
mod scalar;
mod schema;
mod services;
mod shape;
mod together;
mod watch;

use std::collections::BTreeMap;

use portcullis_domain::names::{AppName, TargetId};
use portcullis_domain::policy::{Policy, SealedPolicy};

pub use diagnostic::{Diagnostic, Label, Report, Severity};
pub use explain::explain;
pub use json_schema::json_schema;
pub use notices::{Channel, NoticeKind, Notices};
pub use render::Style;

use environment::Env;
use node::Kind;
use together::Origin;

/// The policies of every environment in some files.
#[derive(Debug, Clone)]
pub struct PolicySet {
    /// One for each environment of each application, by application and environment.
    pub policies: Vec<SealedPolicy>,
    /// Who is told what, by application.
    pub notices: BTreeMap<AppName, Notices>,
    /// What is accepted but worth a look; never anything that refuses a policy.
    pub warnings: Report,
}

impl PolicySet {
    /// The policy of one environment.
    pub fn get(&self, target: &TargetId) -> Option<&SealedPolicy> {
        let at = self.policies.binary_search_by(|policy| policy.target.cmp(target)).ok()?;
        self.policies.get(at)
    }

    /// The environments, by application and environment.
    pub fn targets(&self) -> impl Iterator<Item = &TargetId> {
        self.policies.iter().map(|policy| &policy.target)
    }
}

/// Reads and checks policy files, each a name (for messages) and its text.
///
/// # Errors
/// Everything wrong in any of the files: then none of them is in force.
pub fn load(files: &[(String, String)]) -> Result<PolicySet, Report> {
    let (policies, notices, report) = run(files);
    if report.failed() { Err(report) } else { Ok(PolicySet { policies, notices, warnings: report }) }
}

/// Everything there is to say about policy files, each a name (for messages) and its text.
pub fn check(files: &[(String, String)]) -> Report {
    run(files).2
}

fn run(files: &[(String, String)]) -> (Vec<SealedPolicy>, BTreeMap<AppName, Notices>, Report) {
    let mut sink = diagnostic::Sink::default();
    let documents: Vec<Vec<node::Node<'_>>> =
        files.iter().enumerate().map(|(file, (_, text))| node::read(file, text, &mut sink)).collect();
    let mut apps = Vec::new();
    let mut seen = false;
    for (file, (documents, (_, text))) in documents.iter().zip(files).enumerate() {
        for document in documents.iter().filter(|document| !matches!(document.kind, Kind::Empty)) {
            seen = true;
            apps.extend(application::read(file, text, document, &mut sink));
        }
    }
    if !seen && !sink.has_failed() {
        let found = Diagnostic::error("there is no policy here");
        let found = if files.is_empty() { found } else { found.label(0, 0..0, "") };
        sink.push(found.help("an application begins with:  portcullis: 1"));
    }
    together::doubled_applications(&apps, &mut sink);
    let mut policies: Vec<(Policy, Origin)> = Vec::new();
    let mut notices = BTreeMap::new();
    for app in &apps {
        for env in Env::all(app) {
            if let Some(policy) = env.policy(&mut sink) {
                policies.push((policy, Origin { file: app.file, span: env.entry.key_span.clone() }));
            }
        }
        quorums::check(app, &mut sink);
        together::intake(app, &mut sink);
        together::not_supported(app, &mut sink);
        notices.insert(app.name.clone(), app.notices.clone());
    }
    together::owners(&policies, &mut sink);
    // Sealing is only worth its hashes if the policies are going to be used.
    let sealed = if sink.has_failed() { Vec::new() } else { together::seal(policies, &mut sink) };
    (sealed, notices, sink.report(files))
}
