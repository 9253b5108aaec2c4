//! What `decide` is told, small enough to be remembered; and the real signal it stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_domain::action::{Action, Fence, Found, ObjectKey, Outcome, Stamp};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{AlarmFact, AlarmState, Facts, ImageFact, ScanFact, ScanStatus};
use portcullis_domain::names::{ReleaseId, Seq, Tag};
use portcullis_domain::plan::PlanId;
use portcullis_domain::policy::Severity;
use portcullis_domain::signal::{Command, Pushed, Signal};
use portcullis_domain::time::{Millis, Timestamp};

use crate::cast::{COMMITS, Cast, EPOCH, Held, MOST_OBJECTS};
use crate::ledger::{Node, healthy};

/// What is said to the recorder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sig {
    /// Time has passed.
    Wake,
    /// An image of a commit was pushed.
    Pushed {
        /// The commit, from 2.
        commit: u8,
        /// The service.
        service: u8,
    },
    /// A scan of a commit's images is said to be clean, or to have found something.
    Scan {
        /// The commit.
        commit: u8,
        /// Whether nothing was found.
        clean: bool,
    },
    /// The alarm rings, since then.
    Alarm(Timestamp),
    /// A person wants something.
    Person {
        /// Who, of the cast.
        who: u8,
        /// What.
        ask: Ask,
        /// Of which release.
        release: u64,
        /// The plan they saw.
        plan: Option<PlanId>,
    },
    /// What came of an intention.
    Outcome {
        /// The intention.
        seq: u64,
        /// What came of it.
        hand: Hand,
    },
}

/// What a person can want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// Approve the plan.
    Approve,
    /// Veto.
    Reject,
    /// Give it up.
    Cancel,
    /// Bring back what served before.
    RollBack,
    /// Take what is there as it is.
    Resolve,
    /// Stop forward steps.
    Pause,
    /// Go on.
    Resume,
    /// Let the old colour go.
    CloseWindow,
}

/// What a driver has in its hand after an effect, not yet recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hand {
    /// This object holds our value and fence.
    Written(u8),
    /// Something else was found.
    Drift(Object),
    /// A workload was looked at.
    Seen(Object),
    /// The backup is stored and was read back.
    BackedUp,
    /// The test passed.
    Passed,
    /// The facts were fetched.
    Facts(Arc<Snapshot>),
    /// The objects were read.
    Observed(Arc<Snapshot>),
    /// A window was measured: its two ends, and since when the alarm rings.
    Measured(Timestamp, Timestamp, Option<Timestamp>),
}

/// One object on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Object {
    /// Its value; none = absent.
    pub value: Option<Held>,
    /// Its fence; 0 = none.
    pub fence: u64,
    /// Ready pods.
    pub ready: u8,
    /// Whether a person wrote it last.
    pub by_hand: bool,
    /// Whether its annotation was taken off since we last wrote its value.
    pub pruned: bool,
}

/// What the registry says of the scan of a commit's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scan {
    /// Complete; nothing was found.
    #[default]
    Clean,
    /// Still running.
    Running,
    /// Complete; something critical was found.
    Critical,
}

/// What was read outside at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The objects.
    pub objects: [Object; MOST_OBJECTS],
    /// The scans of each commit's images.
    pub scans: [Scan; COMMITS as usize],
    /// Since when the alarm rings.
    pub alarm: Option<Timestamp>,
}

impl Object {
    /// As a driver reports it.
    pub fn found(&self, cast: &Cast) -> Found {
        let fence = (self.fence > 0).then(|| Fence { ledger: cast.ledger.clone(), epoch: 0, seq: Seq(self.fence) });
        Found {
            stamp: self.value.map(|held| Stamp { fence, value: cast.value(held) }),
            ready: u32::from(self.ready),
            ..Found::default()
        }
    }
}

impl Sig {
    /// The real signal.
    pub fn signal(&self, cast: &Cast, node: &Node) -> Signal {
        match self {
            Sig::Wake => Signal::Wake,
            Sig::Pushed { commit, service } => pushed(cast, *commit, usize::from(*service)),
            Sig::Scan { commit, clean } => Signal::ScanReported {
                digest: cast.image(*commit, 0),
                status: ScanStatus::Complete,
                counts: counts(!clean),
            },
            Sig::Alarm(since) => Signal::Alarm {
                alarm: cast.alarm.clone(),
                state: AlarmState::Alarm,
                changed_at: *since,
                reason: String::new(),
                suppressed: false,
            },
            Sig::Person { who, ask, release, plan } => Signal::Person {
                who: cast.people[usize::from(*who)].clone(),
                command: command(*ask, ReleaseId(*release), *plan),
            },
            Sig::Outcome { seq, hand } => {
                Signal::Outcome { intention: Seq(*seq), outcome: outcome(cast, node, Seq(*seq), hand) }
            }
        }
    }
}

fn pushed(cast: &Cast, commit: u8, service: usize) -> Signal {
    let sha = cast.commits[usize::from(commit - 1)].clone();
    Signal::Pushed(Pushed {
        service: cast.services[service].clone(),
        digest: cast.image(commit, service),
        tag: Tag::new(sha.as_str()).ok(),
        commit: sha,
        pushed_at: EPOCH + Millis::seconds(u64::from(commit)),
        facts: Some(cast.commit_facts(commit)),
        opens: true,
    })
}

/// The command of a person; a plan nobody made is never equal to any.
fn command(ask: Ask, release: ReleaseId, plan: Option<PlanId>) -> Command {
    let reason = String::new();
    match ask {
        Ask::Approve => {
            let plan = plan.or_else(|| "0000-0000".parse().ok());
            match plan {
                Some(plan) => Command::Approve { release, plan, typed: None },
                None => Command::Resume { release },
            }
        }
        Ask::Reject => Command::Reject { release, reason },
        Ask::Cancel => Command::Cancel { release, reason },
        Ask::RollBack => Command::RollBack { to: None, reason },
        Ask::Resolve => Command::Resolve { reason },
        Ask::Pause => Command::Pause { release },
        Ask::Resume => Command::Resume { release },
        Ask::CloseWindow => Command::CloseWindow { reason },
    }
}

fn counts(bad: bool) -> BTreeMap<Severity, u32> {
    if bad { BTreeMap::from([(Severity::Critical, 1)]) } else { BTreeMap::new() }
}

fn outcome(cast: &Cast, node: &Node, seq: Seq, hand: &Hand) -> Outcome {
    match hand {
        Hand::Written(_) => Outcome::Written,
        Hand::Drift(object) => Outcome::Drift(object.found(cast)),
        Hand::Seen(object) => Outcome::Seen(object.found(cast)),
        Hand::BackedUp => Outcome::BackedUp { index: "index.json".to_owned(), hash: Digest::of(b"index"), objects: 3 },
        Hand::Passed => Outcome::TestPassed { note: String::new() },
        Hand::Facts(read) => Outcome::Facts(Box::new(facts(cast, node, seq, read))),
        Hand::Observed(read) => Outcome::Observed(objects(cast, read)),
        Hand::Measured(from, to, alarm) => Outcome::Measured {
            from: *from,
            to: *to,
            services: cast.services.iter().map(|service| (service.clone(), healthy())).collect(),
            alarms: alarms(cast, *alarm),
        },
    }
}

fn alarms(cast: &Cast, rings: Option<Timestamp>) -> BTreeMap<portcullis_domain::names::AlarmName, AlarmFact> {
    let fact = rings.map_or(AlarmFact { state: AlarmState::Ok, changed_at: EPOCH }, |changed_at| AlarmFact {
        state: AlarmState::Alarm,
        changed_at,
    });
    BTreeMap::from([(cast.alarm.clone(), fact)])
}

fn objects(cast: &Cast, read: &Snapshot) -> BTreeMap<ObjectKey, Found> {
    let there = (0..cast.keys.len()).filter(|at| cast.exists(*at));
    there.map(|at| (cast.keys[at].clone(), read.objects[at].found(cast))).collect()
}

/// Everything a look fetches: of the commit that its intention names.
pub(crate) fn facts(cast: &Cast, node: &Node, seq: Seq, read: &Snapshot) -> Facts {
    let asked = node.target.outstanding.get(&seq).and_then(|outstanding| match &outstanding.intention.action {
        Action::Look(look) => look.commit.clone(),
        _ => None,
    });
    let commit = asked.and_then(|sha| (1..=COMMITS).find(|n| cast.commits[usize::from(n - 1)] == sha));
    let scan = |image: u8| {
        let scan = read.scans[usize::from(cast.commit_of(image) - 1)];
        let status = if scan == Scan::Running { ScanStatus::InProgress } else { ScanStatus::Complete };
        ScanFact { status, completed_at: Some(EPOCH), counts: counts(scan == Scan::Critical), findings: vec![] }
    };
    let numbers = || 0..u8::try_from(cast.images.len()).unwrap_or(0);
    Facts {
        fetched_at: node.now,
        images: cast
            .images
            .iter()
            .map(|digest| (*digest, ImageFact { tags: BTreeSet::new(), pushed_at: EPOCH, size: None }))
            .collect(),
        scans: numbers().map(|image| (cast.images[usize::from(image)], scan(image))).collect(),
        alarms: if cast.policy.watch.alarms_roll_back.is_empty() { BTreeMap::new() } else { alarms(cast, read.alarm) },
        commit: commit.map(|commit| cast.commit_facts(commit)),
        objects: objects(cast, read),
        manifests: cast.services.iter().map(|s| (s.clone(), Digest::of(s.as_str().as_bytes()))).collect(),
        ..Facts::default()
    }
}
