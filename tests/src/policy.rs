//! Policies that read like a user's, with durations short enough to wait for.

use std::fmt::Write as _;

/// What differs from one test's policy to the next; everything else is [`PolicyText::render`]'s.
#[derive(Debug, Clone)]
pub struct PolicyText {
    /// The application.
    pub application: String,
    /// Its services in the order they come up, each with whether it is a worker.
    pub services: Vec<(String, bool)>,
    /// The branch whose commits open a release.
    pub branch: String,
    /// Lines under `gates:`.
    pub gates: Vec<String>,
    /// Lines under `watch:`.
    pub watch: Vec<String>,
    /// Lines under `roll_back:`.
    pub roll_back: Vec<String>,
    /// Between two looks at a gate's facts.
    pub look: &'static str,
    /// The time limits of the steps, as under `limits:`.
    pub limits: &'static str,
}

/// The alarms that the sample events speak of.
pub const ALARMS: &str = "alarms: { roll_back: [\"volteryde-prod-app-*\"] }";

impl PolicyText {
    /// Approval by one of kofi and lena, a scan without critical findings, a watch of two seconds.
    pub fn new(application: &str, services: &[(&str, bool)]) -> Self {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        Self {
            application: application.to_owned(),
            services: services.iter().map(|(name, worker)| ((*name).to_owned(), *worker)).collect(),
            branch: "main".to_owned(),
            gates: lines(&["scan: { critical: block, settle: 0s }", "approvals: [1 of owners]"]),
            // The process that watches is the one that serves: while it is down nothing can be measured, and what is
            // measured just after it came back is its coming back. Neither may end a release of these tests by itself.
            watch: lines(&["for: 2s", "every: 500ms", "extend: 10m", "healthy: { error_rate: below 10% for 1500ms }"]),
            roll_back: lines(&["window: 1s", "keep_old: 500ms"]),
            look: "1s",
            limits: "ready: 15s, write: 15s, backup: 30s",
        }
    }

    /// Nobody is asked and nothing is scanned.
    #[must_use]
    pub fn without_gates(mut self) -> Self {
        self.gates.clear();
        self
    }

    /// Watched for ten minutes: as good as for ever, and nothing measured counts but alarms.
    #[must_use]
    pub fn watched_on(mut self) -> Self {
        self.watch = vec!["for: 10m".to_owned(), "every: 1s".to_owned(), "extend: 10m".to_owned()];
        self
    }

    /// Live releases stay in their rollback window, and the old pods stay up.
    #[must_use]
    pub fn window_open(mut self) -> Self {
        self.roll_back = vec!["window: 1h".to_owned(), "keep_old: 1h".to_owned()];
        self
    }

    /// Nothing is looked at again but on a hint.
    #[must_use]
    pub fn looks_on_hints_only(mut self) -> Self {
        self.look = "1d";
        self
    }

    /// The text.
    pub fn render(&self) -> String {
        let Self { application, branch, look, limits, .. } = self;
        let mut services = String::new();
        let mut before: Option<&str> = None;
        for (name, worker) in &self.services {
            let after = before.map(|before| format!("after: {before}"));
            let kind = worker.then(|| "kind: worker, overlap: never".to_owned());
            let keys: Vec<String> = after.into_iter().chain(kind).collect();
            writeln!(services, "  {name}: {{ {} }}", keys.join(", ")).unwrap();
            before = Some(name);
        }
        let section = |name: &str, lines: &[String]| {
            if lines.is_empty() {
                return String::new();
            }
            let lines: Vec<String> = lines.iter().map(|line| format!("      {line}\n")).collect();
            format!("    {name}:\n{}", lines.concat())
        };
        let (gates, watch) = (section("gates", &self.gates), section("watch", &self.watch));
        let roll_back = section("roll_back", &self.roll_back);
        format!(
            "\
portcullis: 1
application: {application}
repository: github.com/example/{application}
registry: {registry}/{application}
tags: [\"{{sha}}\"]

services:
{services}
environments:
  production:
    mode: deploy
    account: \"333333333333\"
    region: us-east-1
    cluster: local
    namespace: {application}
    branch: {branch}
    strategy: blue-green
    verify: [smoke]
    backup: {{ keep: 1d }}
{gates}{watch}{roll_back}    limits: {{ look: {look}, {limits} }}

tests:
  smoke: {{ http: [GET /health], within: 15s }}

metrics: {{ preset: local }}

people:
  amara: {{ github: amara-o }}

groups:
  owners: [kofi, lena]
",
            registry = super::installation::REGISTRY,
        )
    }
}
