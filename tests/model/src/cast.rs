//! The cast of every world: one application's policy, its images, its people. Small on purpose: what does not change
//! an interleaving is not in it.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{ObjectKey, Part, Value};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::CommitFacts;
use portcullis_domain::names::{AlarmName, CommitSha, GroupName, Identity, LedgerId, Repository, ServiceName, Subject};
use portcullis_domain::policy::{
    Colour, Gates, Governor, Intake, Limits, MetricsFrom, Mode, OnFailure, Place, Policy, Quorum, RollBack, ScanAction,
    ScanRule, SealedPolicy, Service, ServiceKind, Severity, Strategy, Test, TestKind, TrafficBy, Waiting, Watch,
};
use portcullis_domain::scope::Scope;
use portcullis_domain::time::{Millis, Timestamp};

/// Replicas of every workload at the beginning; what "enough ready pods" means.
pub const REQUIRED: u8 = 2;
/// All of a service's traffic.
pub const ALL: u16 = 10_000;
/// Objects of one service: blue, green, traffic.
pub const PARTS: usize = 3;
/// Services at most.
pub const MOST_SERVICES: usize = 2;
/// Objects at most.
pub const MOST_OBJECTS: usize = PARTS * MOST_SERVICES;
/// Commits: the baseline is the first one.
pub const COMMITS: u8 = 3;
/// Where time begins.
pub const EPOCH: Timestamp = Timestamp(1_800_000_000_000);
/// One measured window, and the whole watch.
pub const WINDOW: Millis = Millis::minutes(2);
/// A moment further away than this is nobody's deadline: actions that stand have one in a year.
pub const HORIZON: Millis = Millis::days(30);

/// Which policy a world runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One service with traffic, blue-green.
    Web,
    /// One service with traffic, changed in place.
    Rolling,
    /// One worker, of which old and new never run at once.
    Worker,
    /// A service with traffic and a worker that may overlap.
    WebAndWorker,
}

/// A value on the cluster, small: the image by its number in the cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Held {
    /// A workload.
    Pods {
        /// The image's number, 0 to `COMMITS * services - 1`.
        image: u8,
        /// Replicas asked for.
        replicas: u8,
    },
    /// Traffic: the share for green, of 10,000.
    Green(u16),
}

/// Everybody and everything that is named.
pub struct Cast {
    /// The shape of the policy.
    pub shape: Shape,
    /// The policy.
    pub policy: SealedPolicy,
    /// The ledger's name.
    pub ledger: LedgerId,
    /// The services, in the policy's order.
    pub services: Vec<ServiceName>,
    /// Which of them are workers.
    pub workers: Vec<bool>,
    /// The commits: baseline, first push, second push.
    pub commits: Vec<CommitSha>,
    /// Their images: commit by commit, service by service.
    pub images: Vec<Digest>,
    /// Every object's key.
    pub keys: Vec<ObjectKey>,
    /// May approve: two who had no hand in the change, and its author, who must not.
    pub people: [Subject; 3],
    /// The scopes that a stop may have.
    pub scopes: [Scope; 4],
    /// The one alarm.
    pub alarm: AlarmName,
}

/// A name that is a constant here.
fn name<T, E: std::fmt::Debug>(made: Result<T, E>) -> T {
    #[expect(clippy::expect_used, reason = "a constant of this file: the first test run would say so")]
    made.expect("a constant name is valid")
}

impl Cast {
    /// The cast of a shape, with so many approvals needed, and alarms watched or not.
    pub fn new(shape: Shape, quorum: u8, waiting: Waiting, alarms: bool) -> Self {
        let people = ["kofi", "lena", "amara"].map(|text| name(Subject::new(text)));
        let policy = SealedPolicy::new(policy(shape, quorum, waiting, alarms, &people));
        let services: Vec<ServiceName> = policy.services.iter().map(|service| service.name.clone()).collect();
        let commits = (1..=COMMITS).map(|n| name(CommitSha::new(&format!("{n:02x}").repeat(20)))).collect();
        let images = (1..=COMMITS)
            .flat_map(|n| services.iter().map(move |service| Digest::of(format!("{n} {service}").as_bytes())))
            .collect();
        let keys = services
            .iter()
            .flat_map(|service| {
                [
                    ObjectKey::workload(service, Colour::Blue),
                    ObjectKey::workload(service, Colour::Green),
                    ObjectKey::traffic(service),
                ]
            })
            .collect();
        Self {
            shape,
            ledger: name(LedgerId::new("ledger-a")),
            workers: policy.services.iter().map(Service::is_worker).collect(),
            scopes: Scope::of(&policy.target),
            alarm: name(AlarmName::new("app-5xx")),
            policy,
            services,
            commits,
            images,
            keys,
            people,
        }
    }

    /// The number of an object.
    pub fn object(&self, key: &ObjectKey) -> usize {
        let service = self.service(&key.service);
        service * PARTS
            + match key.part {
                Part::Workload(Colour::Blue) => 0,
                Part::Workload(Colour::Green) => 1,
                Part::Traffic => 2,
            }
    }

    /// The number of a service.
    pub fn service(&self, name: &ServiceName) -> usize {
        self.services.iter().position(|known| known == name).unwrap_or(0)
    }

    /// The image of a commit (1 = baseline) for a service.
    pub fn image(&self, commit: u8, service: usize) -> Digest {
        self.images[usize::from(commit - 1) * self.services.len() + service]
    }

    /// The commit (1 = baseline) that an image is of.
    pub fn commit_of(&self, image: u8) -> u8 {
        image / u8::try_from(self.services.len()).unwrap_or(1) + 1
    }

    /// The number of a digest; one that nobody built counts as out of range and equals no image.
    pub fn number(&self, digest: &Digest) -> u8 {
        let found = self.images.iter().position(|known| known == digest);
        found.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
    }

    /// A value, small.
    pub fn held(&self, value: Value) -> Held {
        match value {
            Value::Workload { digest, replicas } => {
                Held::Pods { image: self.number(&digest), replicas: u8::try_from(replicas).unwrap_or(u8::MAX) }
            }
            Value::Traffic { green } => Held::Green(green),
        }
    }

    /// A value, as the domain has it.
    pub fn value(&self, held: Held) -> Value {
        match held {
            Held::Pods { image, replicas } => {
                Value::Workload { digest: self.images[usize::from(image)], replicas: u32::from(replicas) }
            }
            Held::Green(green) => Value::Traffic { green },
        }
    }

    /// Whether an object exists at all: a worker has no traffic.
    pub fn exists(&self, object: usize) -> bool {
        object < self.keys.len() && !(object % PARTS == 2 && self.workers[object / PARTS])
    }

    /// What the source says of a commit. Amara wrote them all.
    pub fn commit_facts(&self, commit: u8) -> CommitFacts {
        CommitFacts {
            commit: Some(self.commits[usize::from(commit - 1)].clone()),
            title: format!("change {commit}"),
            branches: BTreeSet::from(["main".to_owned()]),
            ancestors: (1..commit).rev().map(|n| self.commits[usize::from(n - 1)].clone()).collect(),
            people: BTreeSet::from([name(Identity::new("github:amara"))]),
            commits: 1,
            changed: self.services.iter().map(|service| (service.clone(), true)).collect(),
            ..CommitFacts::default()
        }
    }
}

fn policy(shape: Shape, quorum: u8, waiting: Waiting, alarms: bool, people: &[Subject; 3]) -> Policy {
    let service = |text: &str, wave: u16, after: &[&str], kind| Service {
        name: name(ServiceName::new(text)),
        repository: name(Repository::new(&format!("registry.test/shop/{text}"))),
        source: Some(text.to_owned()),
        wave,
        after: after.iter().map(|text| name(ServiceName::new(text))).collect(),
        kind,
    };
    let managers = name(GroupName::new("release-managers"));
    let services = match shape {
        Shape::Web | Shape::Rolling => vec![service("web", 0, &[], ServiceKind::Serving)],
        Shape::Worker => vec![service("jobs", 0, &[], ServiceKind::Worker { overlap: false })],
        Shape::WebAndWorker => vec![
            service("web", 0, &[], ServiceKind::Serving),
            service("jobs", 1, &["web"], ServiceKind::Worker { overlap: true }),
        ],
    };
    let scan = ScanRule {
        severities: BTreeMap::from([(Severity::Critical, ScanAction::Block { above: 0 })]),
        max_age: Millis::days(20),
        settle: Millis(0),
        waivers: vec![],
    };
    let approvals = if quorum == 0 { vec![] } else { vec![Quorum { count: quorum, group: managers.clone() }] };
    Policy {
        target: name("shop/production".parse()),
        mode: Mode::Deploy,
        place: Place {
            account: None,
            region: None,
            role: None,
            cluster: "shop".to_owned(),
            namespace: "shop".to_owned(),
        },
        source: None,
        services,
        tags: vec![name("{sha}".parse())],
        intake: Intake { branch: Some("main".to_owned()), moving_tag: None },
        gates: Gates { scan: Some(scan), approvals, ..Gates::none(Millis::hours(24), Millis::hours(24)) },
        strategy: if shape == Shape::Rolling {
            Strategy::Rolling
        } else {
            Strategy::BlueGreen { steps: vec![ALL], every: Millis(0), manual: false }
        },
        verify: vec![Test {
            name: "smoke".to_owned(),
            kind: TestKind::Http { paths: vec!["/health".to_owned()] },
            within: Millis::minutes(10),
            on_failure: OnFailure::Stop,
        }],
        backup_keep: Millis::days(90),
        watch: Watch {
            length: WINDOW,
            every: WINDOW,
            healthy: vec![],
            traffic: None,
            extend: WINDOW,
            alarms_roll_back: if alarms { vec!["app-*".to_owned()] } else { vec![] },
            alarms_ask: vec![],
        },
        roll_back: RollBack {
            window: Millis::hours(1),
            keep_old: Millis::minutes(20),
            when: vec![],
            health_failing_for: None,
            vulnerability: None,
        },
        waiting,
        limits: Limits {
            gather: Millis::hours(2),
            backup: Millis::minutes(10),
            ready: Millis::minutes(10),
            write: Millis::minutes(10),
            escalate: Millis::minutes(15),
            look: Millis::minutes(1),
        },
        governor: Governor::default(),
        people: people
            .iter()
            .map(|who| (who.clone(), BTreeSet::from([name(Identity::new(&format!("github:{who}")))])))
            .collect(),
        groups: BTreeMap::from([(managers, people.iter().cloned().collect())]),
        metrics_from: MetricsFrom::Local,
        publish: None,
        traffic: TrafficBy::Selector,
        backup_secrets: None,
    }
}
