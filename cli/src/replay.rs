//! `replay`: what would these events do under this policy? The pure core alone, on ledgers in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis_domain::event::Event;
use portcullis_domain::given::Given;
use portcullis_domain::names::{LedgerId, ReleaseId, TargetId};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::route::{self, PushContext};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::signal::{Fact, FactKind, Signal};
use portcullis_domain::target::Target;
use portcullis_domain::time::Timestamp;
use portcullis_domain::{apply, decide, next};
use portcullis_engine::ports::Policies as _;
use portcullis_ingest::Read;
use serde::Serialize;

use crate::exit;
use crate::out::Out;
use crate::policies::FilePolicies;
use crate::show::text::{pad, safe};
use crate::when;
use crate::words::{Narrator, action_words};

/// What one event would do.
#[derive(Debug, Serialize)]
struct Replayed {
    file: String,
    read_as: String,
    decided: Vec<Decided>,
}

/// What one environment would decide.
#[derive(Debug, Serialize)]
struct Decided {
    target: TargetId,
    events: Vec<Event>,
    words: Vec<String>,
}

/// Reads the events in their order and prints what each would do.
pub(crate) fn run(files: &[PathBuf], policy: &[PathBuf], out: Out) -> anyhow::Result<()> {
    let policies = FilePolicies::load(policy, out.screen)?.all();
    let mut ledgers = Ledgers { targets: BTreeMap::new(), releases: 1, ledger: LedgerId::new("replay")? };
    let mut all = Vec::new();
    for file in files {
        all.push(ledgers.event(file, &policies)?);
    }
    let next = ledgers.next();
    out.answer(&all, || format!("{}\n\n{next}", all.iter().map(words).collect::<Vec<_>>().join("\n")))
}

fn words(replayed: &Replayed) -> String {
    let mut out = format!("{}   {}", replayed.file, safe(&replayed.read_as));
    if replayed.decided.is_empty() {
        out.push_str("\n  nothing");
    }
    for decided in &replayed.decided {
        if decided.words.is_empty() {
            let _ = write!(out, "\n  {}  changes nothing", pad(&decided.target.to_string(), 24));
        }
        for line in &decided.words {
            let _ = write!(out, "\n  {}  {line}", pad(&decided.target.to_string(), 24));
        }
    }
    out
}

struct Ledgers {
    targets: BTreeMap<TargetId, Target>,
    releases: u64,
    ledger: LedgerId,
}

impl Ledgers {
    fn event(&mut self, file: &Path, policies: &[SealedPolicy]) -> anyhow::Result<Replayed> {
        let name = file.display().to_string();
        let bytes = std::fs::read(file).with_context(|| format!("reading the event {name}"))?;
        let read = portcullis_ingest::read(&bytes).map_err(|malformed| exit::usage(format!("{name}: {malformed}")))?;
        let mut replayed = Replayed { file: name, read_as: read.to_string(), decided: Vec::new() };
        let Read::Facts(facts) = read else { return Ok(replayed) };
        for fact in &facts {
            let known = fact
                .account
                .as_ref()
                .is_none_or(|account| route::knows_account(policies, account, fact.region.as_deref()));
            if !known {
                replayed.read_as.push_str("; refused: its account or region is in no policy");
                continue;
            }
            for policy in policies {
                replayed.decided.extend(self.fact(policy, fact));
            }
        }
        Ok(replayed)
    }

    /// What one environment would decide; nothing outside is asked, so what only the outside knows is missing.
    fn fact(&mut self, policy: &SealedPolicy, fact: &Fact) -> Option<Decided> {
        let mut context = PushContext::default();
        if let FactKind::ImagePushed { tag, .. } = &fact.kind {
            context.tags.extend(tag.clone());
            // A push without its source opens a release only by a moving tag; the branch is taken as the policy's.
            context.facts = Some(portcullis_domain::facts::CommitFacts {
                branches: policy.intake.branch.iter().cloned().collect::<BTreeSet<_>>(),
                ..Default::default()
            });
        }
        let signal = route::signal(policy, fact, &context)?;
        let events = self.decide(policy, &signal, fact.at);
        let mut narrator = Narrator::default();
        let words = events.iter().flat_map(|event| narrator.tell(event));
        let words = words
            .map(|line| format!("{}  {} {}", when::clock(line.at), pad(&line.verb, 14), safe(&line.plain())))
            .collect();
        Some(Decided { target: policy.target.clone(), events, words })
    }

    fn decide(&mut self, policy: &SealedPolicy, signal: &Signal, now: Timestamp) -> Vec<Event> {
        let target = self.targets.entry(policy.target.clone()).or_default();
        let given = Given {
            now,
            ledger: self.ledger.clone(),
            next_release: ReleaseId(self.releases),
            scopes: Scope::of(&policy.target).into_iter().map(|scope| (scope, ScopeState::default())).collect(),
        };
        let events = decide(target, policy, signal, &given);
        for event in &events {
            apply(target, event);
        }
        if target.releases.contains_key(&ReleaseId(self.releases)) {
            self.releases += 1;
        }
        events
    }

    /// What a driver would do next.
    fn next(&self) -> String {
        let mut out = "Next, outside (not done here):".to_owned();
        for (target, state) in &self.targets {
            for due in next(state).actions {
                let words = safe(&action_words(&due.intention.action));
                let _ = write!(out, "\n  {}  release {}: {words}", pad(&target.to_string(), 24), due.release);
            }
        }
        if out.ends_with("here):") {
            out.push_str("\n  nothing");
        }
        out
    }
}
