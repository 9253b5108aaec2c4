//! The scene of the stories: the application, its policy, its people, its commits.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::digest::Digest;
use portcullis_domain::facts::CommitFacts;
use portcullis_domain::names::{CommitSha, GroupName, Identity, Repository, ServiceName, Subject, Tag};
use portcullis_domain::policy::{
    Comparison, Gates, Governor, HoldFor, Intake, Limits, Metric, MetricsFrom, Mode, OnFailure, Place, Policy, Quorum,
    RollBack, ScanAction, ScanRule, Service, ServiceKind, Severity, Strategy, Test, TestKind, TrafficBy, Trigger,
    Waiting, Watch,
};
use portcullis_domain::time::Millis;

use super::World;

/// The account of the stories.
pub const ACCOUNT: &str = "444444444444";
/// Its region.
pub const REGION: &str = "us-east-1";

impl World {
    /// The policy of the stories: `api`, then `web`; a scan, one approval of `managers` (kofi, ama), one smoke test,
    /// ten minutes of watch in windows of one, alarms `shop-*`, an hour in which it may be rolled back.
    pub fn policy() -> Policy {
        let subject = |text: &str| Subject::new(text).unwrap();
        let account = |text: &str| BTreeSet::from([Identity::new(&format!("github:{text}")).unwrap()]);
        let managers = GroupName::new("managers").unwrap();
        let breach = |limit, hold| Trigger {
            metric: Metric::ErrorRate,
            breach: Comparison::Above,
            limit,
            hold: HoldFor::Points(hold),
        };
        Policy {
            target: "shop/production".parse().unwrap(),
            mode: Mode::Deploy,
            place: Place {
                account: Some(ACCOUNT.to_owned()),
                region: Some(REGION.to_owned()),
                role: None,
                cluster: "shop".to_owned(),
                namespace: "shop".to_owned(),
            },
            source: Some("github.com/shop/shop".to_owned()),
            services: vec![Self::service("api", 0, &[]), Self::service("web", 1, &["api"])],
            tags: vec!["{sha}".parse().unwrap()],
            intake: Intake { branch: Some("main".to_owned()), moving_tag: None },
            gates: Gates {
                scan: Some(ScanRule {
                    severities: BTreeMap::from([(Severity::Critical, ScanAction::Block { above: 0 })]),
                    max_age: Millis::days(7),
                    settle: Millis(0),
                    waivers: Vec::new(),
                }),
                approvals: vec![Quorum { count: 1, group: managers.clone() }],
                typed_confirmation: None,
                expire: Millis::hours(24),
                remind: Millis::hours(4),
                promoted_from: None,
                calendar: portcullis_domain::calendar::Calendar::default(),
                rules: vec![],
                break_glass: None,
            },
            strategy: Strategy::BlueGreen { steps: vec![10_000], every: Millis::minutes(1), manual: false },
            verify: vec![Test {
                name: "smoke".to_owned(),
                kind: TestKind::Http { paths: vec!["/health".to_owned()] },
                within: Millis::minutes(2),
                on_failure: OnFailure::Stop,
            }],
            backup_keep: Millis::days(30),
            watch: Watch {
                length: Millis::minutes(10),
                every: Millis::minutes(1),
                healthy: vec![breach(100, 2)],
                traffic: Some(1_000),
                extend: Millis::minutes(10),
                alarms_roll_back: vec!["shop-*".to_owned()],
                alarms_ask: vec!["ask-*".to_owned()],
            },
            roll_back: RollBack {
                window: Millis::hours(1),
                keep_old: Millis::minutes(30),
                when: vec![breach(500, 1)],
                health_failing_for: Some(Millis::minutes(3)),
                vulnerability: None,
            },
            waiting: Waiting::Newest,
            limits: Limits::default(),
            governor: Governor::default(),
            people: BTreeMap::from([
                (subject("kofi"), account("kofi")),
                (subject("ama"), account("ama")),
                (subject("dev"), account("dev")),
            ]),
            groups: BTreeMap::from([(managers, BTreeSet::from([subject("kofi"), subject("ama")]))]),
            metrics_from: MetricsFrom::Local,
            publish: None,
            traffic: TrafficBy::Selector,
            backup_secrets: None,
        }
    }

    /// A service with traffic.
    pub fn service(service: &str, wave: u16, after: &[&str]) -> Service {
        Service {
            name: name(service),
            repository: repository(service),
            source: None,
            wave,
            after: after.iter().map(|other| name(other)).collect::<Vec<ServiceName>>(),
            kind: ServiceKind::Serving,
        }
    }

    /// The source repository knows commit `n` of `main` and everything before it; `dev` wrote it.
    pub(super) fn know_commit(&self, n: u32) {
        self.source.set(&commit(n), commit_facts(n, "dev"));
    }
}

/// What the source says of commit `n` of `main`: everything before it is its ancestor, and this person wrote it.
pub fn commit_facts(n: u32, author: &str) -> CommitFacts {
    CommitFacts {
        commit: Some(commit(n)),
        title: format!("change {n}"),
        branches: BTreeSet::from(["main".to_owned()]),
        ancestors: (0..n).rev().take(50).map(commit).collect(),
        people: BTreeSet::from([Identity::new(&format!("github:{author}")).unwrap()]),
        commits: 1,
        tree: None,
        forward_only: false,
        changed: BTreeMap::new(),
    }
}

/// The commit of this number.
pub fn commit(n: u32) -> CommitSha {
    CommitSha::new(&Digest::of(format!("commit {n}").as_bytes()).hex()[..40]).unwrap()
}

/// The tag of a commit's images.
pub fn tag(n: u32) -> Tag {
    Tag::new(commit(n).as_str()).unwrap()
}

/// The digest of a service's image of a commit.
pub fn image(service: &str, n: u32) -> Digest {
    Digest::of(format!("{service} {n}").as_bytes())
}

/// The repository of a service.
pub fn repository(service: &str) -> Repository {
    let (account, region) = (ACCOUNT, REGION);
    Repository::new(&format!("{account}.dkr.ecr.{region}.amazonaws.com/shop/{service}")).unwrap()
}

/// The name of a service.
pub fn name(service: &str) -> ServiceName {
    ServiceName::new(service).unwrap()
}
