//! From policy text to the validated [`Policy`] of each environment.
//!
//! A policy is YAML, one document per application and at most one for the organisation above them. Everything wrong is found in one run, each finding with file,
//! line and column; what a later version will carry out is read, checked and named as not supported yet.
//!
//! It must not know: files and directories (it is given texts), clocks, the engine, any outside party.
//!
//! Start reading at [`load`]; what a policy may say is the table in `schema.rs`, the small texts inside it are in
//! `grammar.rs` and `amounts.rs`, what holds where it says nothing is in `defaults.rs`. The gates are read in `gates.rs`
//! and joined with those of the organisation in `strictest.rs`.
//!
//! Limits: a file has at most 1 MiB, 200,000 values and 64 levels; an application at most 50 services; an effective
//! policy at most 16 KiB as JSON; a report lists at most 500 findings and counts the rest.

mod age;
mod amounts;
mod application;
mod defaults;
mod diagnostic;
mod directory;
mod environment;
mod environment_keys;
mod explain;
mod explain_gates;
mod gates;
mod governor;
mod grammar;
mod json_schema;
mod nearest;
mod node;
mod notices;
mod organisation;
mod origins;
mod own_rules;
mod promotion;
mod quorums;
#[cfg(test)]
mod reference;
mod render;
mod scalar;
mod schema;
mod services;
mod shape;
mod spelling;
mod strictest;
mod switching;
mod together;
mod watch;
mod windows;

use std::collections::BTreeMap;

use portcullis_domain::names::{AppName, TargetId};
use portcullis_domain::policy::{Policy, SealedPolicy};

pub use diagnostic::{Diagnostic, Label, Report, Severity};
pub use explain::explain;
pub use json_schema::json_schema;
pub use notices::{Channel, NoticeKind, Notices};
pub use render::Style;

use environment::Env;
use gates::Asked;
use node::Kind;
use origins::Origins;
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
    /// Who asks for the gates of each environment; only where there is an organisation.
    origins: BTreeMap<TargetId, Origins>,
}

impl PolicySet {
    /// The policy of one environment.
    pub fn get(&self, target: &TargetId) -> Option<&SealedPolicy> {
        let at = self.policies.binary_search_by(|policy| policy.target.cmp(target)).ok()?;
        self.policies.get(at)
    }

    /// The policy of one environment in plain words, as [`explain`] writes it; where there is an organisation, each gate
    /// with who asks for it. `None` if there is no such environment.
    pub fn explain(&self, target: &TargetId) -> Option<String> {
        Some(explain::page(self.get(target)?, self.origins.get(target)))
    }

    /// The environments, by application and environment.
    pub fn targets(&self) -> impl Iterator<Item = &TargetId> {
        self.policies.iter().map(|policy| &policy.target)
    }
}

/// Reads and checks policy files, each a name (for messages) and its text. One document among them may be the
/// organisation's (its first key is `organisation`): what it asks for is joined into every policy.
///
/// # Errors
/// Everything wrong in any of the files: then none of them is in force.
pub fn load(files: &[(String, String)]) -> Result<PolicySet, Report> {
    let (set, failed) = run(files);
    if failed { Err(set.warnings) } else { Ok(set) }
}

/// Everything there is to say about policy files, each a name (for messages) and its text.
pub fn check(files: &[(String, String)]) -> Report {
    run(files).0.warnings
}

/// The set, with all findings as its warnings, and whether they refuse it.
fn run(files: &[(String, String)]) -> (PolicySet, bool) {
    let mut sink = diagnostic::Sink::default();
    let documents: Vec<Vec<node::Node<'_>>> =
        files.iter().enumerate().map(|(file, (_, text))| node::read(file, text, &mut sink)).collect();
    let organisation = organisation::find(&documents, files, &mut sink);
    let above = organisation.as_ref();
    let mut apps = Vec::new();
    let mut seen = false;
    for (file, (documents, (_, text))) in documents.iter().zip(files).enumerate() {
        for document in documents.iter().filter(|document| !matches!(document.kind, Kind::Empty)) {
            seen = true;
            if !organisation::is(document) {
                apps.extend(application::read(file, text, document, above, &mut sink));
            }
        }
    }
    if !seen && !sink.has_failed() {
        let found = Diagnostic::error("there is no policy here");
        let found = if files.is_empty() { found } else { found.label(0, 0..0, "") };
        sink.push(found.help("an application begins with:  portcullis: 1"));
    }
    together::doubled_applications(&apps, &mut sink);
    let mut policies: Vec<(Policy, Origin)> = Vec::new();
    let (mut notices, mut origins) = (BTreeMap::new(), BTreeMap::new());
    let mut all: Vec<Vec<(Env<'_>, Asked)>> = Vec::new();
    for app in &apps {
        let list: Vec<(Env<'_>, Asked)> = Env::all(app).map(|env| (env, env.asked(&mut sink))).collect();
        for (env, asked) in &list {
            if let Some(policy) = env.policy(asked, &mut sink) {
                if above.is_some() {
                    origins.insert(policy.target.clone(), Origins::of(asked));
                }
                policies.push((policy, Origin { file: app.file, span: env.entry.key_span.clone() }));
            }
        }
        quorums::check(app, &list, &mut sink);
        promotion::check(app, &list, &mut sink);
        together::intake(app, &list, &mut sink);
        together::not_supported(app.file, &app.later, &list.iter().collect::<Vec<_>>(), &mut sink);
        notices.insert(app.name.clone(), app.notices.clone());
        all.push(list);
    }
    if let Some(above) = above {
        let environments: Vec<&(Env<'_>, Asked)> = all.iter().flatten().collect();
        quorums::check_organisation(above, &mut sink);
        above.unused(environments.iter().map(|(env, _)| env.name), &mut sink);
        together::not_supported(above.file, &above.later, &environments, &mut sink);
    }
    together::owners(&policies, &mut sink);
    // Sealing is only worth its hashes if the policies are going to be used.
    let policies = if sink.has_failed() { Vec::new() } else { together::seal(policies, &mut sink) };
    let warnings = sink.report(files);
    let failed = warnings.failed();
    (PolicySet { policies, notices, warnings, origins }, failed)
}
