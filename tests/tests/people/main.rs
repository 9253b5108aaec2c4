//! What people may do, and what nothing but a person's word does: on a real server, by its API and command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should fail")]

mod decisions;
mod exit_codes;
mod names;
mod protection;
mod restarts;

use portcullis_domain::names::TargetId;
use portcullis_embedded::local::Build;
use portcullis_tests::api::Api;
use portcullis_tests::binary::{self, Ran};
use portcullis_tests::installation::{Commit, Installation, target};
use portcullis_tests::ledger::Ledger;
use portcullis_tests::policy::PolicyText;
use portcullis_tests::server::Server;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const APP: &str = "shop";
pub(crate) const SERVICES: &[(&str, bool)] = &[("web", false)];

/// A server with people, a baseline that serves, and no release yet.
pub(crate) struct Shop {
    pub(crate) policy: PolicyText,
    pub(crate) home: Installation,
    pub(crate) server: Server,
    pub(crate) target: TargetId,
    pub(crate) baseline: Commit,
    /// The author of every commit.
    pub(crate) amara: Api,
    /// An owner.
    pub(crate) kofi: Api,
    /// Somebody whom no policy names.
    pub(crate) mallory: Api,
    pub(crate) tokens: BTreeMap<&'static str, String>,
}

impl Shop {
    pub(crate) async fn open(policy: PolicyText) -> Self {
        let home = Installation::new(&[&policy]);
        let baseline = home.baseline(&policy, "v1").await;
        let tokens: BTreeMap<&'static str, String> =
            ["amara", "kofi", "mallory"].into_iter().map(|name| (name, home.person(name))).collect();
        let server = Server::start(&home).await;
        let api = |name| server.api().with(&tokens[name]);
        let (amara, kofi, mallory) = (api("amara"), api("kofi"), api("mallory"));
        Self { target: target(APP), policy, home, server, baseline, amara, kofi, mallory, tokens }
    }

    /// Pushes a version and tells of it.
    pub(crate) async fn push(&self, version: &str, parent: &Commit) -> Commit {
        self.push_build(version, parent, &Build::new(version)).await
    }

    /// Pushes a version of this build and tells of it.
    pub(crate) async fn push_build(&self, version: &str, parent: &Commit, build: &Build) -> Commit {
        let commit = self.commit(version, parent, build);
        for event in commit.pushes() {
            assert_eq!(self.kofi.event(&event).await.status, 200);
        }
        commit
    }

    /// Pushes a version of this build and tells nobody.
    pub(crate) fn commit(&self, version: &str, parent: &Commit, build: &Build) -> Commit {
        let commit = Commit::new(APP, version, &self.policy.services);
        self.home.push(&commit, Some(&parent.sha), build, &[]);
        commit
    }

    /// Pushes a version, and waits until it waits for a person.
    pub(crate) async fn waiting(&self, version: &str, parent: &Commit) -> (Commit, Value) {
        let commit = self.push(version, parent).await;
        let release = self.kofi.until_asked(&commit.sha).await;
        (commit, release)
    }

    /// Brings a version live.
    pub(crate) async fn live(&self, version: &str, parent: &Commit) -> (Commit, Value) {
        let (commit, release) = self.waiting(version, parent).await;
        let answer = self.kofi.approve(&release).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let live = self.kofi.until_state(&commit.sha, "live").await;
        (commit, live)
    }

    /// The ledger's ends, and what every reader is shown.
    pub(crate) async fn all(&self) -> Value {
        let ends = Ledger::open(self.server.data()).ends().await;
        let mut all = json!({ "ends": ends.values().map(|seq| seq.0).collect::<Vec<_>>() });
        for path in ["/api/targets", "/api/releases", "/api/scopes", "/api/releases/1"] {
            all[path] = self.kofi.get(path).await.unwrap().json();
        }
        all
    }

    /// Runs a command against the server, as a person.
    pub(crate) fn run(&self, who: &str, args: &[&str]) -> Ran {
        let token = self.tokens.get(who).map_or(who, String::as_str);
        binary::run(args, &[("PORTCULLIS_SERVER", &self.server.url()), ("PORTCULLIS_TOKEN", token)])
    }
}

pub(crate) fn asks() -> PolicyText {
    PolicyText::new(APP, SERVICES)
}

pub(crate) fn approve(release: &Value, plan: &Value) -> Value {
    json!({ "command": "approve", "release": release["id"], "plan": plan })
}
