//! What came of a release: by its ledger on DynamoDB, and by what is outside. Both are read behind the functions' backs,
//! past whatever stands between them and AWS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_aws::blobs::{BucketOptions, S3Blobs};
use portcullis_aws::client::Clients;
use portcullis_aws::ledger::DynamoLedger;
use portcullis_aws::policies::S3Policies;
use portcullis_aws::queue::SqsQueue;
use portcullis_aws::registry::EcrRegistry;
use portcullis_aws::roles::Roles;
use portcullis_domain::action::{Action, ObjectKey, Outcome, Value};
use portcullis_domain::apply;
use portcullis_domain::digest::Digest;
use portcullis_domain::event::{Event, What};
use portcullis_domain::names::{ReleaseId, Seq, TargetId};
use portcullis_domain::signal::Command;
use portcullis_domain::target::Target;
use portcullis_embedded::clock::SystemClock;
use portcullis_engine::absent::{Absent, NoSource};
use portcullis_engine::codec::{self, Commit, decode_head};
use portcullis_engine::perform::backup::BackupIndex;
use portcullis_engine::ports::{Ledger as _, Ports};
use portcullis_engine::recorder::{Commanded, Recorder};
use portcullis_tests::wait;

use crate::home::{Home, LIFE, PERSON, objects, target};
use crate::stack::Stack;

/// The ledger of a stack, and a recorder on it for what a person says.
pub struct Ledger {
    port: Arc<DynamoLedger>,
    recorder: Recorder,
    s3: aws_sdk_s3::Client,
    backups: String,
}

/// A target's ledger, read to its end and verified.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its events.
    pub events: Vec<Event>,
    /// What they come to.
    pub state: Target,
}

impl Ledger {
    /// The ledger of this stack.
    pub async fn of(stack: &Stack) -> Self {
        let clients: Clients = stack.emulator.clients().await;
        let clock = Arc::new(SystemClock);
        let ledger = Arc::new(DynamoLedger::open(clients.dynamodb(), &stack.table).await.unwrap());
        let backups = stack.made("Backups").to_owned();
        let options = BucketOptions { bucket: backups.clone(), ..BucketOptions::default() };
        let ports = Ports {
            ledger: ledger.clone(),
            queue: Arc::new(SqsQueue::new(clients.sqs(), stack.queue("Wakes"), clock.clone())),
            blobs: Arc::new(S3Blobs::new(clients.s3(), options)),
            registry: Arc::new(EcrRegistry::new(Arc::new(Roles::new(clients.config().clone())))),
            source: Arc::new(NoSource),
            cluster: Arc::new(Absent),
            metrics: Arc::new(Absent),
            clock,
            policies: Arc::new(S3Policies::open(clients.s3(), &stack.policies, "policies/").await.unwrap()),
        };
        Self { port: ledger, recorder: Recorder::new(ports), s3: clients.s3(), backups }
    }

    /// Reads a target's ledger, and checks that its chain of hashes holds and that its events come to what its head
    /// says.
    pub async fn told(&self, target: &TargetId) -> Told {
        let mut told = Told { events: Vec::new(), state: Target::default() };
        // The head first: what is appended while the commits are read is behind it.
        let Some(head) = self.port.head(target).await.unwrap() else { return told };
        let mut chain = codec::genesis();
        while told.state.seq < head.version {
            let commits = self.port.commits(target, told.state.seq, 200).await.unwrap();
            assert!(!commits.is_empty(), "the ledger of {target} ends at {} before its head", told.state.seq);
            for commit in commits.into_iter().filter(|commit| commit.last <= head.version) {
                assert_eq!(commit.before, chain, "the chain of {target} is broken at {}", commit.first);
                chain = codec::chain(chain, &commit.bytes);
                for event in Commit::decode(&commit.bytes).unwrap().events {
                    assert_eq!(event.seq.0, told.state.seq.0 + 1, "a gap in the ledger of {target}");
                    apply(&mut told.state, &event);
                    told.events.push(event);
                }
            }
        }
        assert_eq!(chain, head.chain, "the chain of {target} ends elsewhere");
        assert_eq!(decode_head(&head.snapshot).unwrap(), told.state, "the head of {target} is not what its events say");
        let history = self.recorder.history(target, Seq(0), told.events.len()).await.unwrap();
        assert!(history.iter().map(|entry| &entry.event).eq(&told.events), "the history of {target} is another one");
        told
    }

    /// Waits until a target's ledger is as wanted.
    pub async fn until(&self, what: &str, target: &TargetId, wanted: impl Fn(&Told) -> bool) -> Told {
        wait::until(&format!("{target}: {what}"), LIFE, async || {
            let told = self.told(target).await;
            if wanted(&told) { Ok(told) } else { Err(told.end(12)) }
        })
        .await
    }

    /// Waits until a target's ledger is as wanted; says "go on" for a person as often as one is asked.
    pub async fn let_go_on_until(&self, what: &str, target: &TargetId, wanted: impl Fn(&Told) -> bool) -> Told {
        wait::until(&format!("{target}: {what}"), LIFE, async || {
            let told = self.told(target).await;
            if wanted(&told) {
                return Ok(told);
            }
            let asking = told.state.releases.values().find(|release| release.asking.is_some());
            if let Some(release) = asking {
                assert_ne!(release.phase.name(), "needs_help", "{}", told.end(20));
                let said = self.say(target, Command::Promote { release: release.id }).await;
                return Err(format!("{}\na person said go on: {said:?}", told.end(12)));
            }
            Err(told.end(12))
        })
        .await
    }

    /// What a person says.
    pub async fn say(&self, target: &TargetId, command: Command) -> Commanded {
        self.recorder.command(target, &PERSON.parse().unwrap(), command).await.unwrap()
    }

    /// What is outside is what this ledger says, each effect once. `cut` backups may have been cut off before their index:
    /// what they left is nobody's.
    pub async fn assert_sound(&self, home: &Home, application: &str, cut: usize) -> Told {
        let target = target(application);
        let told = self.told(&target).await;
        told.assert_each_once();
        let mut intended: BTreeMap<ObjectKey, u64> = BTreeMap::new();
        let mut done = intended.clone();
        let outcomes = told.outcomes();
        for (seq, action) in told.intended() {
            let Action::Write(write) = action else { continue };
            *intended.entry(write.object.clone()).or_default() += 1;
            let written = outcomes.get(&seq).is_some_and(|outcome| matches!(outcome, Outcome::Written));
            *done.entry(write.object.clone()).or_default() += u64::from(written);
        }
        for (object, before) in objects() {
            let changes = home.changes(application, &object).saturating_sub(before);
            let of = |counts: &BTreeMap<ObjectKey, u64>| counts.get(&object).copied().unwrap_or(0);
            assert!(
                of(&done) <= changes && changes <= of(&intended),
                "{object} of {application} was changed {changes} times; {} writes were intended, {} done\n{}",
                of(&intended),
                of(&done),
                told.end(200)
            );
        }
        let serves = told.state.live.values().next().map(|serving| serving.digest);
        let found = portcullis_tests::installation::serving(home.data(), application, crate::home::SERVICE);
        assert_eq!(found, serves, "the cluster serves something else than the ledger says\n{}", told.end(40));
        self.assert_backups(&target, &told, cut).await;
        told
    }

    /// Every backup that the ledger speaks of is there, whole, and there is no other index.
    async fn assert_backups(&self, target: &TargetId, told: &Told, cut: usize) {
        let mut pages = self.s3.list_objects_v2().bucket(&self.backups).into_paginator().send();
        let mut keys: Vec<String> = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.expect("listing the backups");
            keys.extend(page.contents().iter().filter_map(|object| object.key()).map(str::to_owned));
        }
        keys.retain(|key| key.contains(&format!("{target}/deployments/")));
        let mut indexes = BTreeSet::new();
        let mut files = 0;
        for outcome in told.outcomes().into_values() {
            let Outcome::BackedUp { index, hash, .. } = outcome else { continue };
            let key = keys.iter().find(|key| key.ends_with(index.as_str()));
            let key = key.unwrap_or_else(|| panic!("there is no {index} in {keys:?}"));
            let bytes = self.object(key).await;
            assert_eq!(Digest::of(&bytes), *hash, "{key} is not what the ledger says");
            let stored = BackupIndex::read(&bytes).unwrap();
            assert_eq!(stored.target, *target);
            for file in &stored.files {
                let key = keys.iter().find(|key| key.ends_with(file.key.as_str()));
                let key = key.unwrap_or_else(|| panic!("{} is missing in {keys:?}", file.key));
                assert_eq!(Digest::of(&self.object(key).await), file.sha256, "{key} is not what its index says");
            }
            files += stored.files.len();
            indexes.insert(key.clone());
        }
        let found: BTreeSet<String> = keys.iter().filter(|key| key.ends_with("/index.json")).cloned().collect();
        assert_eq!(found, indexes, "an index that the ledger does not speak of, or the other way round");
        let extra = keys.len() - indexes.len() - files;
        let most = if indexes.is_empty() { 0 } else { cut * files.div_ceil(indexes.len()) };
        assert!(extra <= most, "{extra} files of no backup, at most {most} may be: {keys:?}");
    }

    async fn object(&self, key: &str) -> Vec<u8> {
        let object = self.s3.get_object().bucket(&self.backups).key(key).send().await.expect("reading a backup");
        object.body.collect().await.expect("reading a backup to its end").to_vec()
    }
}

impl Told {
    /// The events' names, in order.
    pub fn names(&self) -> Vec<String> {
        self.events.iter().map(|event| name(&event.what)).collect()
    }

    /// Whether there is an event of this name, of this release.
    pub fn has(&self, release: ReleaseId, wanted: &str) -> bool {
        self.events.iter().any(|event| event.what.release() == Some(release) && name(&event.what) == wanted)
    }

    /// The releases, in their order.
    pub fn releases(&self) -> Vec<ReleaseId> {
        let opened = self.events.iter().filter(|event| name(&event.what) == "opened");
        opened.filter_map(|event| event.what.release()).collect()
    }

    /// The newest release.
    pub fn newest(&self) -> Option<ReleaseId> {
        self.releases().pop()
    }

    /// The phase of the newest release; none = it left the state, or there is none.
    pub fn phase(&self) -> Option<&'static str> {
        self.state.releases.get(&self.newest()?).map(|release| release.phase.name())
    }

    /// Whether no release is in the state and nothing is still to be done.
    pub fn is_quiet(&self) -> bool {
        !self.events.is_empty() && self.state.releases.is_empty() && self.state.outstanding.is_empty()
    }

    /// What was intended, by its fence.
    pub fn intended(&self) -> Vec<(Seq, &Action)> {
        let intended = self.events.iter().filter_map(|event| match &event.what {
            What::Intended { intention, .. } => Some((event.seq, &intention.action)),
            _ => None,
        });
        intended.collect()
    }

    /// What came of each intention that has an end.
    pub fn outcomes(&self) -> BTreeMap<Seq, &Outcome> {
        let done = self.events.iter().filter_map(|event| match &event.what {
            What::Done { intention, outcome, .. } => Some((*intention, outcome.as_ref())),
            _ => None,
        });
        done.collect()
    }

    /// The writes that were intended, in words and without digests, sorted: those of the same release of another
    /// application, played under other circumstances, are the same.
    pub fn writes(&self) -> Vec<String> {
        let writes = self.intended().into_iter().filter_map(|(_, action)| {
            let Action::Write(write) = action else { return None };
            let to = match write.to {
                Value::Workload { replicas, .. } => format!("{replicas} replicas"),
                Value::Traffic { green } => format!("{green} of 10,000 to green"),
            };
            Some(format!("{:?} {}: {to}", write.purpose, write.object))
        });
        let mut writes: Vec<String> = writes.collect();
        writes.sort();
        writes
    }

    /// No intention has two outcomes, and no release two beginnings or ends.
    pub fn assert_each_once(&self) {
        let mut seen = BTreeSet::new();
        for event in &self.events {
            let name = name(&event.what);
            let once = match &event.what {
                What::Done { intention, .. } => format!("the outcome of {intention}"),
                What::Opened { release, .. }
                | What::Began { release, .. }
                | What::RollbackBegan { release, .. }
                | What::RolledBack { release, .. }
                | What::WentLive { release, .. }
                | What::OldReleased { release }
                | What::WindowClosed { release }
                | What::Settled { release, .. } => format!("{name} of {release}"),
                _ => continue,
            };
            assert!(seen.insert(once.clone()), "twice in the ledger: {once}\n{}", self.end(200));
        }
    }

    /// Its last events, one line each.
    pub fn end(&self, most: usize) -> String {
        let last = self.events.iter().skip(self.events.len().saturating_sub(most));
        let lines = last.map(|event| {
            let text = serde_json::to_string(&event.what).unwrap_or_default();
            format!("{} {}", event.seq, text.chars().take(240).collect::<String>())
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// An event's name as it is stored.
pub fn name(what: &What) -> String {
    serde_json::to_value(what).unwrap()["event"].as_str().unwrap().to_owned()
}
