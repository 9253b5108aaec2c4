//! A world for stories of the pure core: a ledger in memory, a cluster of plain values with the fence protocol, and
//! time in the test's hand. Nothing here waits, and nothing is random.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_imports, clippy::missing_panics_doc, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{
    Action, AwaitReady, Fence, Found, ObjectKey, Outcome, Part, Stamp, Value, Window, Write,
};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::{End, Event, What};
use portcullis_domain::facts::{
    AlarmFact, AlarmState, BundleFact, CommitFacts, Facts, ImageFact, ScanFact, ScanStatus,
};
use portcullis_domain::given::Given;
use portcullis_domain::names::{
    AlarmName, CommitSha, GroupName, Identity, LedgerId, ReleaseId, Repository, Seq, ServiceName, Subject, Tag,
};
use portcullis_domain::policy::*;
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::signal::{Command, Pushed, Signal};
use portcullis_domain::target::{Phase, Release, Target};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::{apply, decide, next};

pub mod applying;
pub mod measuring;
pub mod rules;
pub mod stages;
pub mod waits;
pub mod writing;

pub fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}
pub fn who(name: &str) -> Subject {
    Subject::new(name).unwrap()
}
pub fn commit(n: u8) -> CommitSha {
    CommitSha::new(&format!("{n:02x}").repeat(20)).unwrap()
}
/// The digest of the image of a commit for a service.
pub fn image(n: u8, service: &str) -> Digest {
    Digest::of(format!("{n} {service}").as_bytes())
}

pub fn trigger(metric: Metric, breach: Comparison, limit: i64) -> Trigger {
    Trigger { metric, breach, limit, hold: HoldFor::Points(2) }
}

/// Two services and a worker, as volteryde; production rules.
pub fn policy() -> Policy {
    let service = |name: &str, wave: u16, after: &[&str], kind| Service {
        name: service(name),
        repository: Repository::new(&format!("registry.test/shop/{name}")).unwrap(),
        source: Some(format!("services/{name}")),
        wave,
        after: after.iter().map(|name| self::service(name)).collect(),
        kind,
    };
    Policy {
        target: "shop/production".parse().unwrap(),
        mode: Mode::Deploy,
        place: Place {
            account: Some("333333333333".into()),
            region: Some("us-east-1".into()),
            role: None,
            cluster: "shop".into(),
            namespace: "shop".into(),
        },
        source: None,
        services: vec![
            service("web", 0, &[], ServiceKind::Serving),
            service("api", 1, &["web"], ServiceKind::Serving),
            service("jobs", 2, &["api"], ServiceKind::Worker { overlap: false }),
        ],
        tags: vec!["{sha}".parse().unwrap()],
        intake: Intake { branch: Some("main".into()), moving_tag: None },
        gates: Gates {
            scan: Some(ScanRule {
                severities: BTreeMap::from([(Severity::Critical, ScanAction::Block { above: 0 })]),
                max_age: Millis::days(1),
                settle: Millis(0),
                waivers: vec![],
            }),
            approvals: vec![Quorum { count: 1, group: GroupName::new("release-managers").unwrap() }],
            typed_confirmation: None,
            expire: Millis::hours(24),
            remind: Millis::hours(4),
            promoted_from: None,
            calendar: portcullis_domain::calendar::Calendar::default(),
            rules: vec![],
            break_glass: None,
        },
        strategy: Strategy::BlueGreen { steps: vec![10_000], every: Millis(0), manual: false },
        verify: vec![Test {
            name: "smoke".into(),
            kind: TestKind::Http { paths: vec!["/health".into()] },
            within: Millis::minutes(1),
            on_failure: OnFailure::Stop,
        }],
        backup_keep: Millis::days(90),
        watch: Watch {
            length: Millis::minutes(5),
            every: Millis::minutes(1),
            healthy: vec![trigger(Metric::ErrorRate, Comparison::AtLeast, 100)],
            traffic: None,
            extend: Millis::minutes(5),
            alarms_roll_back: vec![],
            alarms_ask: vec![],
        },
        roll_back: RollBack {
            window: Millis::hours(24),
            keep_old: Millis::hours(1),
            when: vec![],
            health_failing_for: Some(Millis::minutes(5)),
            vulnerability: None,
        },
        waiting: Waiting::Newest,
        limits: Limits::default(),
        governor: Governor::default(),
        people: BTreeMap::from([
            (who("amara"), BTreeSet::from([Identity::new("github:amara").unwrap()])),
            (who("kofi"), BTreeSet::from([Identity::new("github:kofi").unwrap()])),
            (who("lena"), BTreeSet::from([Identity::new("github:lena").unwrap()])),
        ]),
        groups: BTreeMap::from([(
            GroupName::new("release-managers").unwrap(),
            BTreeSet::from([who("amara"), who("kofi"), who("lena")]),
        )]),
        metrics_from: MetricsFrom::Local,
        publish: None,
        traffic: TrafficBy::Selector,
        backup_secrets: None,
    }
}

/// The world: what the core decided, and what is outside.
pub struct World {
    pub policy: SealedPolicy,
    pub target: Target,
    pub now: Timestamp,
    pub events: Vec<Event>,
    pub scopes: Vec<(Scope, ScopeState)>,
    pub cluster: BTreeMap<ObjectKey, Found>,
    pub scans: BTreeMap<Digest, ScanFact>,
    pub images: BTreeSet<Digest>,
    pub commits: BTreeMap<CommitSha, CommitFacts>,
    pub alarms: BTreeMap<AlarmName, AlarmFact>,
    /// Workloads that never become ready.
    pub sick: BTreeSet<ObjectKey>,
    /// What each service's window says.
    pub windows: BTreeMap<ServiceName, Option<Window>>,
    /// Actions that are not performed, by their kind.
    pub parked: fn(&Action) -> bool,
    pub failing_test: bool,
    /// Services whose traffic a person moved by hand: what that does is theirs.
    pub edited: BTreeSet<ServiceName>,
    pub next_release: u64,
    /// What another environment verified.
    pub promoted: Option<portcullis_domain::facts::Promoted>,
    /// How many more pods the cluster has room for.
    pub room: Option<u32>,
    /// Manifests that were given with every commit.
    pub bundles: BTreeMap<ServiceName, BundleFact>,
}

pub fn healthy_window() -> Window {
    Window {
        values: BTreeMap::from([(Metric::Requests, 100_000), (Metric::ErrorRate, 0), (Metric::ResponseTimeP95, 4_000)]),
        requests: 6_000,
        failed: 0,
        ready: None,
    }
}
pub fn failing_window(basis_points: i64) -> Window {
    let mut window = healthy_window();
    window.values.insert(Metric::ErrorRate, basis_points);
    window
}

impl World {
    /// Version 1 of every service is live in blue, 3 pods each; nobody fenced it yet.
    pub fn new(policy: Policy) -> Self {
        let mut world = Self::empty(policy);
        for s in world.policy.services.clone() {
            let name = s.name.as_str();
            let blue = Stamp { fence: None, value: Value::Workload { digest: image(1, name), replicas: 3 } };
            world.cluster.insert(ObjectKey::workload(&s.name, Colour::Blue), found(blue, 3));
            if !s.is_worker() {
                let stamp = Stamp { fence: None, value: Value::Traffic { green: 0 } };
                world.cluster.insert(ObjectKey::traffic(&s.name), found(stamp, 0));
            }
        }
        world
    }

    /// Nothing runs.
    pub fn empty(policy: Policy) -> Self {
        let policy = SealedPolicy::new(policy);
        let scopes = Scope::of(&policy.target).into_iter().map(|scope| (scope, ScopeState::default())).collect();
        Self {
            policy,
            target: Target::default(),
            now: Timestamp(1_800_000_000_000),
            events: vec![],
            scopes,
            cluster: BTreeMap::new(),
            scans: BTreeMap::new(),
            images: BTreeSet::new(),
            commits: BTreeMap::new(),
            alarms: BTreeMap::new(),
            sick: BTreeSet::new(),
            windows: BTreeMap::new(),
            parked: |_| false,
            failing_test: false,
            edited: BTreeSet::new(),
            next_release: 1,
            promoted: None,
            room: None,
            bundles: BTreeMap::new(),
        }
    }

    pub fn ledger() -> LedgerId {
        LedgerId::new("ledger-a").unwrap()
    }

    /// What a decision is given from outside.
    pub fn given(&self) -> Given {
        Given {
            now: self.now,
            ledger: Self::ledger(),
            next_release: ReleaseId(self.next_release),
            scopes: self.scopes.clone(),
        }
    }

    /// Decides one signal and appends what follows.
    pub fn signal(&mut self, signal: &Signal) -> Vec<Event> {
        let events = decide(&self.target, &self.policy, signal, &self.given());
        for event in &events {
            apply(&mut self.target, event);
            if let What::Opened { release, .. } = event.what {
                self.next_release = release.0 + 1;
            }
        }
        self.events.extend(events.iter().cloned());
        events
    }

    /// Makes a commit by an author, with an image of every service, clean scans, on main.
    pub fn build(&mut self, n: u8, author: &str) {
        let facts = CommitFacts {
            commit: Some(commit(n)),
            title: format!("change {n}"),
            branches: BTreeSet::from(["main".to_owned()]),
            ancestors: (1..n).rev().map(commit).collect(),
            people: BTreeSet::from([Identity::new(&format!("github:{author}")).unwrap()]),
            commits: 1,
            tree: None,
            forward_only: false,
            changed: self.policy.services.iter().map(|s| (s.name.clone(), true)).collect(),
        };
        self.commits.insert(commit(n), facts);
        for s in self.policy.services.clone() {
            let digest = image(n, s.name.as_str());
            self.images.insert(digest);
            self.scan(digest, &[]);
        }
    }

    pub fn scan(&mut self, digest: Digest, counts: &[(Severity, u32)]) {
        let scan = ScanFact {
            status: ScanStatus::Complete,
            completed_at: Some(self.now),
            counts: counts.iter().copied().collect(),
            findings: vec![],
        };
        self.scans.insert(digest, scan);
    }

    pub fn push_one(&mut self, n: u8, name: &str) -> Vec<Event> {
        let pushed = Pushed {
            service: service(name),
            digest: image(n, name),
            tag: Some(Tag::new(commit(n).as_str()).unwrap()),
            commit: commit(n),
            pushed_at: self.now,
            facts: self.commits.get(&commit(n)).cloned(),
            opens: true,
        };
        self.signal(&Signal::Pushed(pushed))
    }

    /// Pushes an image of every service of a commit, and lets everything happen that does not need time.
    pub fn push(&mut self, n: u8) -> ReleaseId {
        self.push_without(n, "")
    }

    /// The same, but for a service of which the commit has no new image.
    pub fn push_without(&mut self, n: u8, kept: &str) -> ReleaseId {
        let id = ReleaseId(self.next_release);
        for s in self.policy.services.clone().iter().filter(|s| s.name.as_str() != kept) {
            self.push_one(n, s.name.as_str());
        }
        self.settle();
        id
    }

    pub fn release(&self, id: ReleaseId) -> &Release {
        self.target
            .releases
            .get(&id)
            .unwrap_or_else(|| panic!("release {id} is not in the state: {:?}", self.story(id)))
    }

    pub fn phase(&self, id: ReleaseId) -> Option<Phase> {
        self.target.releases.get(&id).map(|release| release.phase)
    }

    pub fn command(&mut self, name: &str, command: Command) -> Vec<Event> {
        let events = self.signal(&Signal::Person { who: who(name), command });
        self.settle();
        events
    }

    pub fn approve(&mut self, name: &str, id: ReleaseId) -> Vec<Event> {
        let plan = self.release(id).plan.as_ref().unwrap().id;
        self.command(name, Command::Approve { release: id, plan, typed: None })
    }

    pub fn roll_back(&mut self, name: &str) -> Vec<Event> {
        self.command(name, Command::RollBack { to: None, reason: "it hurts".into() })
    }

    pub fn alarm(&mut self, name: &str, state: AlarmState, changed_at: Timestamp) -> Vec<Event> {
        let alarm = AlarmName::new(name).unwrap();
        self.alarms.insert(alarm.clone(), AlarmFact { state, changed_at });
        self.signal(&Signal::Alarm { alarm, state, changed_at, reason: "5xx".into(), suppressed: false })
    }

    /// Performs everything that is due now, until nothing changes any more.
    pub fn settle(&mut self) {
        for _ in 0..500 {
            let before = self.target.seq;
            let due = next(&self.target).actions;
            let now = self.now;
            for due in due.into_iter().filter(|due| due.not_before <= now) {
                if !self.target.outstanding.contains_key(&due.seq) || (self.parked)(&due.intention.action) {
                    continue;
                }
                if let Some(outcome) = self.perform(due.seq, &due.intention.action) {
                    self.signal(&Signal::Outcome { intention: due.seq, outcome });
                    self.check();
                }
            }
            if self.target.seq == before {
                return;
            }
        }
        panic!(
            "the world does not come to rest: {:.3000}",
            format!("{:?}", self.events.iter().rev().take(4).collect::<Vec<_>>())
        );
    }

    /// Lets time pass in steps, with everything that falls due in it.
    pub fn pass(&mut self, time: Millis) {
        let (begun, end) = (self.now, self.now + time);
        while self.now < end {
            let wake = next(&self.target).wake_at.filter(|at| *at > self.now).unwrap_or(end);
            // Standing looks come round every minute; who waits for days is looked at less often.
            let look = Millis::minutes(1).max(Millis(self.now.since(begun).0 / 20));
            self.now = wake.min(self.now + look).min(end);
            self.signal(&Signal::Wake);
            self.settle();
        }
    }

    /// Does one action as a driver would.
    pub fn perform(&mut self, seq: Seq, action: &Action) -> Option<Outcome> {
        Some(match action {
            Action::Look(look) => Outcome::Facts(Box::new(Facts {
                fetched_at: self.now,
                images: look
                    .images
                    .keys()
                    .filter(|digest| self.images.contains(digest) || self.is_version_1(digest))
                    .map(|digest| (*digest, ImageFact { tags: BTreeSet::new(), pushed_at: self.now, size: None }))
                    .collect(),
                scans: look
                    .images
                    .keys()
                    .filter_map(|digest| Some((*digest, self.scans.get(digest)?.clone())))
                    .collect(),
                alarms: self.alarms.clone(),
                commit: look.commit.as_ref().and_then(|commit| self.commits.get(commit).cloned()),
                objects: self.observe(),
                manifests: look
                    .services
                    .iter()
                    .map(|s| {
                        let given = self.bundles.get(s).filter(|given| given.differs).map(|given| given.bundle.hash);
                        (s.clone(), given.unwrap_or_else(|| Digest::of(s.as_str().as_bytes())))
                    })
                    .collect(),
                bundles: self.bundles.clone(),
                missing: BTreeMap::new(),
                promoted: self.promoted.clone(),
                room: self.room,
            })),
            Action::BackUp { prefix, .. } => {
                Outcome::BackedUp { index: format!("{prefix}index.json"), hash: Digest::of(b"index"), objects: 12 }
            }
            Action::Write(write) => self.write(seq, write),
            Action::AwaitReady(ask) => Outcome::Seen(self.seen(ask)),
            Action::RunTest { .. } if self.failing_test => Outcome::TestFailed { why: "GET /health: 500".into() },
            Action::RunTest { .. } => Outcome::TestPassed { note: "GET /health: 200".into() },
            Action::Measure(measure) => {
                let (_, release) = self.target.releases.iter().find(|(_, r)| r.watch.is_some())?;
                let from = match release.phase {
                    Phase::Watching => release.watch.as_ref()?.measured_to,
                    _ => self.now - measure.every,
                };
                let to = from + measure.every;
                if to > self.now {
                    return None;
                }
                let services = measure
                    .services
                    .keys()
                    .filter_map(|s| {
                        let window = self.windows.get(s).cloned().unwrap_or_else(|| Some(healthy_window()))?;
                        Some((s.clone(), window))
                    })
                    .collect();
                Outcome::Measured { from, to, services, alarms: self.alarms.clone() }
            }
            Action::Observe => Outcome::Observed(self.observe()),
        })
    }

    fn is_version_1(&self, digest: &Digest) -> bool {
        self.policy.services.iter().any(|s| image(1, s.name.as_str()) == *digest)
    }

    pub fn observe(&self) -> BTreeMap<ObjectKey, Found> {
        let mut objects = self.cluster.clone();
        for s in &self.policy.services {
            for colour in [Colour::Blue, Colour::Green] {
                objects.entry(ObjectKey::workload(&s.name, colour)).or_default();
            }
            if !s.is_worker() {
                objects.entry(ObjectKey::traffic(&s.name)).or_default();
            }
        }
        objects
    }

    fn seen(&self, ask: &AwaitReady) -> Found {
        let mut found = self.cluster.get(&ask.object).cloned().unwrap_or_default();
        if self.sick.contains(&ask.object) {
            found.ready = 0;
        }
        found
    }

    /// The first write that is held back by `parked`.
    pub fn under_way(&self) -> (Seq, Write) {
        let held = self.target.outstanding.iter().filter(|(_, o)| (self.parked)(&o.intention.action));
        let mut writes = held.filter_map(|(seq, o)| match &o.intention.action {
            Action::Write(write) => Some((*seq, write.clone())),
            _ => None,
        });
        writes.next().expect("a write is held back")
    }

    /// The fence protocol on a plain value.
    pub fn write(&mut self, seq: Seq, write: &Write) -> Outcome {
        let fence = Fence { ledger: Self::ledger(), epoch: self.target.epoch_at(seq), seq };
        let found = self.cluster.get(&write.object).cloned().unwrap_or_default();
        let expected = write.from.contains(&found.stamp) && found.foreign.is_none();
        let own = found.stamp.as_ref().is_some_and(|s| s.fence.as_ref() == Some(&fence) && s.value == write.to);
        let newer =
            found.stamp.as_ref().and_then(|s| s.fence.as_ref()).is_some_and(|f| (f.epoch, f.seq) > (fence.epoch, seq));
        if !own && (!expected || newer) {
            return Outcome::Drift(found);
        }
        let ready = match write.to {
            Value::Workload { .. } if self.sick.contains(&write.object) => 0,
            Value::Workload { replicas, .. } => replicas,
            Value::Traffic { .. } => 0,
        };
        let stamp = Stamp { fence: Some(fence), value: write.to };
        self.cluster.insert(write.object.clone(), self::found(stamp, ready));
        Outcome::Written
    }

    /// Which digest answers requests of a service.
    pub fn serves(&self, name: &str) -> Option<Digest> {
        let name = service(name);
        let green = match self.cluster.get(&ObjectKey::traffic(&name))?.stamp.as_ref()?.value {
            Value::Traffic { green } => green,
            Value::Workload { .. } => return None,
        };
        let colour = if green >= 5_000 { Colour::Green } else { Colour::Blue };
        match self.cluster.get(&ObjectKey::workload(&name, colour))?.stamp.as_ref()?.value {
            Value::Workload { digest, replicas } if replicas > 0 => Some(digest),
            _ => None,
        }
    }

    /// Which digests of a worker run.
    pub fn runs(&self, name: &str) -> BTreeSet<Digest> {
        let name = service(name);
        [Colour::Blue, Colour::Green]
            .into_iter()
            .filter_map(|colour| self.cluster.get(&ObjectKey::workload(&name, colour))?.stamp.clone())
            .filter_map(|stamp| match stamp.value {
                Value::Workload { digest, replicas } if replicas > 0 => Some(digest),
                _ => None,
            })
            .collect()
    }

    /// What must be true at every moment: somebody serves, and a worker that may not overlap never does.
    fn check(&self) {
        for s in self.policy.services.iter().filter(|s| !s.is_worker()) {
            if self.cluster.contains_key(&ObjectKey::traffic(&s.name)) && !self.edited.contains(&s.name) {
                assert!(self.serves(s.name.as_str()).is_some(), "nobody serves {}: {:#?}", s.name, self.cluster);
            }
        }
        for s in self.policy.services.iter().filter(|s| s.kind == (ServiceKind::Worker { overlap: false })) {
            assert!(self.runs(s.name.as_str()).len() <= 1, "{} overlaps", s.name);
        }
        let live: Vec<ReleaseId> =
            self.target.releases.values().filter(|r| r.phase == Phase::Live).map(|r| r.id).collect();
        assert_eq!(live, Vec::from_iter(self.target.live_release), "what is live, and what the state says is live");
        let in_flight = self.target.releases.values().filter(|r| r.phase.in_flight()).count();
        assert!(in_flight <= 1, "{in_flight} releases in flight");
    }

    /// The release's events, by name.
    pub fn story(&self, id: ReleaseId) -> Vec<String> {
        self.events
            .iter()
            .filter(|event| event.what.release() == Some(id))
            .map(|event| format!("{:?}", event.what).chars().take(160).collect())
            .collect()
    }

    /// How a release ended, and why.
    pub fn settled(&self, id: ReleaseId) -> Option<(End, String)> {
        self.events.iter().find_map(|event| match &event.what {
            What::Settled { release, end, why } if *release == id => Some((*end, why.clone())),
            _ => None,
        })
    }

    pub fn end_of(&self, id: ReleaseId) -> Option<End> {
        self.settled(id).map(|(end, _)| end)
    }

    pub fn happened(&self, which: impl Fn(&What) -> bool) -> usize {
        self.events.iter().filter(|event| which(&event.what)).count()
    }

    pub fn rolled_back(&self, id: ReleaseId) -> bool {
        self.happened(|what| matches!(what, What::RolledBack { release, .. } if *release == id)) == 1
    }

    /// The refusals so far.
    pub fn refusals(&self) -> Vec<String> {
        let refused = |event: &Event| match &event.what {
            What::Refused { why, .. } => Some(why.clone()),
            _ => None,
        };
        self.events.iter().filter_map(refused).collect()
    }

    /// What a gate of a release says.
    pub fn gate(&self, id: ReleaseId, gate: &str) -> String {
        let judgement = self.release(id).judgement.as_ref().expect("judged");
        let found = judgement.gates.iter().find(|result| result.gate == gate).expect("the gate was judged");
        format!("{}: {}", found.verdict, found.why)
    }

    /// A whole good release: pushed, approved, watched, live.
    pub fn go_live(&mut self, n: u8) -> ReleaseId {
        self.build(n, "amara");
        let id = self.push(n);
        self.approve("kofi", id);
        self.pass(Millis::minutes(6));
        assert_eq!(self.phase(id), Some(Phase::Live), "{:#?}", self.story(id));
        id
    }
}

pub fn found(stamp: Stamp, ready: u32) -> Found {
    Found { stamp: Some(stamp), ready, ..Found::default() }
}

/// Whether an action is a write of this part of a service's objects.
pub fn writes(action: &Action, part: fn(Part) -> bool) -> bool {
    matches!(action, Action::Write(write) if part(write.object.part))
}
