//! Releases in every interesting state, built by hand, for the snapshot tests of the screens.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::action::{Action, AwaitReady, Found, Intention, ObjectKey, Outcome, Purpose, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::{Actor, Event, Reason, What};
use portcullis_domain::facts::{AlarmFact, AlarmState, Artifact, CommitFacts, Facts, ImageFact};
use portcullis_domain::names::{AlarmName, CommitSha, Identity, ReleaseId, Seq, ServiceName, Subject};
use portcullis_domain::plan::{Plan, PlanId};
use portcullis_domain::policy::{Colour, Metric, Mode, Place, Severity};
use portcullis_domain::protection::{Change, Protection};
use portcullis_domain::target::{Phase, Release, Rollback, Serving, WatchState};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::{GateResult, Judgement};

use crate::api::{ReleaseDetail, ReleaseSummary, Rules, State, TargetSummary};
use crate::when::Times;

/// 2026-11-20 02:45:00 UTC.
pub(crate) const NIGHT: Timestamp = Timestamp(1_795_142_700_000);

pub(crate) fn times() -> Times {
    Times::new(NIGHT, 3_600)
}

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn digest(n: u8) -> Digest {
    Digest::of(&[n])
}

fn plan_id() -> PlanId {
    "4be1-c07f".parse().unwrap()
}

fn sha(text: &str) -> CommitSha {
    CommitSha::new(text).unwrap()
}

fn live() -> BTreeMap<ServiceName, Serving> {
    [("nestjs-service", "5d1e07c", 1), ("springboot-service", "5d1e07c", 2), ("temporal-workers", "41bb9d0", 3)]
        .into_iter()
        .map(|(name, commit, n)| {
            let serving = Serving {
                digest: digest(n),
                colour: Colour::Blue,
                replicas: 6,
                commit: Some(sha(commit)),
                tag: None,
                release: Some(ReleaseId(141)),
            };
            (service(name), serving)
        })
        .collect()
}

fn commit_facts() -> CommitFacts {
    CommitFacts {
        commit: Some(sha("8f3c2a1b00000000000000000000000000000000")),
        title: "Cache fare quotes".into(),
        people: BTreeSet::from([Identity::new("github:amara").unwrap(), Identity::new("github:joao").unwrap()]),
        commits: 3,
        ..CommitFacts::default()
    }
}

fn artifacts() -> BTreeMap<ServiceName, Artifact> {
    let artifact = |n, kept, size| Artifact { digest: digest(n), tag: None, commit: None, kept, size };
    BTreeMap::from([
        (service("nestjs-service"), artifact(11, false, Some(41_200_000))),
        (service("springboot-service"), artifact(12, false, Some(99_900_000))),
        (service("temporal-workers"), artifact(3, true, None)),
    ])
}

fn image(size: u64) -> ImageFact {
    ImageFact { tags: BTreeSet::new(), pushed_at: NIGHT, size: Some(size) }
}

fn judgement() -> Judgement {
    let mut approval = GateResult::hold("approval", "0 of 1 from release-managers", "kofi, lena or tunde approves");
    approval.until = Some(NIGHT + Millis::days(1));
    approval.evidence = vec!["cannot count: amara, joao (authors)".into()];
    let parts = (1..=3).map(|n| GateResult::pass(&format!("image {n}"), "by digest")).collect();
    Judgement {
        at: NIGHT,
        gates: vec![
            GateResult::all_of("images", "3 of 3 by digest (1 kept)", parts),
            GateResult::pass("scan", "0 critical, 2 high, 11 medium; complete, 4 min old"),
            GateResult::pass("alarms", "7 of 7 OK"),
            approval,
        ],
    }
}

fn release(phase: Phase) -> Release {
    let facts = Facts {
        images: BTreeMap::from([(digest(1), image(40_000_000)), (digest(2), image(100_000_000))]),
        commit: Some(commit_facts()),
        ..Facts::default()
    };
    let commit = sha("8f3c2a1b00000000000000000000000000000000");
    Release {
        commit_facts: Some(commit_facts()),
        phase,
        phase_since: NIGHT,
        artifacts: artifacts(),
        facts: Some(facts.into()),
        plan: Some(Plan { id: plan_id(), hash: digest(9), policy: digest(8), evidence: BTreeMap::new() }),
        judgement: Some(judgement()),
        ..Release::new(ReleaseId(142), commit, NIGHT - Millis(229_000))
    }
}

/// A view of a release in this phase, that shows as this state.
pub(crate) fn view(phase: Phase, state: State) -> ReleaseDetail {
    let release = release(phase);
    ReleaseDetail {
        summary: ReleaseSummary {
            id: release.id,
            target: "volteryde/production".parse().unwrap(),
            state,
            commit: release.commit.clone(),
            title: Some("Cache fare quotes".into()),
            requested_by: None,
            opened_at: release.opened_at,
            changed_at: NIGHT,
            paused: false,
            why: None,
            plan: Some(plan_id()),
            asks: false,
        },
        gates: release.judgement.clone(),
        live: live(),
        alarms: BTreeMap::from([(
            AlarmName::new("volteryde-prod-app-5xx").unwrap(),
            AlarmFact { state: AlarmState::Ok, changed_at: NIGHT },
        )]),
        hands_off: None,
        window_until: None,
        rules: Some(Rules {
            mode: Mode::Deploy,
            watch: Millis::minutes(5),
            window: Millis::hours(24),
            verify: true,
            rolling: false,
            sources: BTreeMap::from([(service("temporal-workers"), "workers".into())]),
            break_glass: None,
        }),
        release,
        ledger: Vec::new(),
    }
}

/// A release that waits for an approval.
pub(crate) fn waiting() -> ReleaseDetail {
    view(Phase::Gated, State::Gated)
}

struct Ledger {
    events: Vec<Event>,
    at: Timestamp,
}

impl Ledger {
    fn add(&mut self, after: u64, what: What) -> Seq {
        self.at = self.at + Millis(after);
        let seq = Seq(self.events.len() as u64 + 1);
        self.events.push(Event { seq, at: self.at, actor: Actor::Portcullis, what });
        seq
    }

    /// An intention and, so long after it, its outcome.
    fn did(&mut self, action: Action, took: u64, outcome: Outcome) {
        let place = Place { account: None, region: None, role: None, cluster: "c".into(), namespace: "n".into() };
        let intention =
            Intention { action, place, not_before: self.at, every: None, deadline: self.at + Millis::minutes(10) };
        let release = ReleaseId(142);
        let intention = self.add(0, What::Intended { release, intention: Box::new(intention) });
        self.add(took, What::Done { release, intention, outcome: Box::new(outcome) });
    }

    fn entered(&mut self, phase: Phase) {
        self.add(0, What::Entered { release: ReleaseId(142), phase });
    }
}

fn traffic(name: &str, green: u16, purpose: Purpose) -> Action {
    Action::Write(Write {
        object: ObjectKey::traffic(&service(name)),
        from: Vec::new(),
        to: Value::Traffic { green },
        purpose,
        bundle: None,
    })
}

/// The events of a release that was approved, went live in green, hurt, and was rolled back.
pub(crate) fn story() -> Vec<Event> {
    let release = ReleaseId(142);
    let mut ledger = Ledger { events: Vec::new(), at: NIGHT - Millis(229_000) };
    let opened = What::Opened {
        release,
        commit: sha("8f3c2a1b00000000000000000000000000000000"),
        pushed_at: NIGHT,
        requested_by: None,
        typed: false,
        reason: None,
        forward_only: false,
        facts: Some(commit_facts()),
        gather_until: NIGHT,
    };
    ledger.add(0, opened);
    let who = Subject::new("kofi").unwrap();
    ledger.add(200_000, What::Approved { release, plan: plan_id(), who, typed: false });
    let policy = policy().into();
    ledger.add(0, What::Began { release, plan: plan_id(), policy, before: live(), objects: BTreeMap::new() });
    let backup =
        Outcome::BackedUp { index: "s3://b/deployments/20261120-024431/".into(), hash: digest(7), objects: 214 };
    ledger.did(
        Action::BackUp { prefix: "deployments/20261120-024431/".into(), keep: Millis::days(90), secrets: None },
        2_000,
        backup,
    );
    ledger.entered(Phase::Deploying { wave: 0 });
    for name in ["nestjs-service", "springboot-service"] {
        let ask = AwaitReady {
            object: ObjectKey::workload(&service(name), Colour::Green),
            digest: digest(11),
            replicas: 6,
            after: Seq(1),
        };
        ledger.did(Action::AwaitReady(ask), 5_000, Outcome::Seen(Found { ready: 6, ..Found::default() }));
    }
    ledger.entered(Phase::Verifying);
    for name in ["nestjs-service", "springboot-service"] {
        ledger.did(traffic(name, 10_000, Purpose::Switch), 20, Outcome::Written);
    }
    ledger.entered(Phase::Watching);
    let breach = portcullis_domain::target::Breach {
        service: service("nestjs-service"),
        trigger: 0,
        points: 1,
        time: Millis::minutes(1),
    };
    let watch = WatchState { breaches: vec![breach], ..WatchState::default() };
    let saw = "nestjs error_rate 3.1%, response_time_p95 612 ms; springboot 0.1%, 88 ms".to_owned();
    ledger.add(116_000, What::Measured { release, watch, saw });
    ledger.add(120_000, What::RollbackBegan { release, why: threshold(), to: live(), served: true });
    for name in ["nestjs-service", "springboot-service"] {
        ledger.did(traffic(name, 0, Purpose::Restore), 2_000, Outcome::Written);
    }
    let alarm = AlarmName::new("volteryde-prod-app-5xx").unwrap();
    let changed_at = ledger.at;
    ledger.add(4_000, What::AlarmSeen { alarm, fact: AlarmFact { state: AlarmState::Alarm, changed_at } });
    let restored_at = Timestamp(ledger.at.0 - 4_000);
    ledger.add(31_000, What::RolledBack { release, restored_at });
    ledger.events
}

fn threshold() -> Reason {
    Reason::Threshold {
        service: service("nestjs-service"),
        metric: Metric::ErrorRate,
        value: 680,
        limit: 100,
        rule: "must stay below 1%".into(),
    }
}

/// A release that was rolled back.
pub(crate) fn rolled_back() -> ReleaseDetail {
    let mut view = view(Phase::RollingBack, State::RolledBack);
    view.ledger = story();
    let began = view.ledger.iter().find(|event| matches!(event.what, What::RollbackBegan { .. })).unwrap();
    view.release.policy = Some(policy().into());
    view.release.rollback = Some(Rollback {
        why: threshold(),
        since: began.at,
        seq: began.seq,
        to: live(),
        steps: BTreeMap::new(),
        restored_at: None,
        stuck: None,
    });
    view.release.watch = Some(WatchState {
        since: NIGHT + Millis::seconds(43),
        measured_to: NIGHT + Millis::seconds(283),
        requests: 18_330,
        failed: 1_204,
        ..WatchState::default()
    });
    view.release.approvals = vec![portcullis_domain::target::Approval {
        plan: plan_id(),
        who: Subject::new("kofi").unwrap(),
        at: NIGHT - Millis(29_000),
        typed: false,
    }];
    view
}

/// A policy, for what freezes one.
pub(crate) fn policy() -> portcullis_domain::policy::Policy {
    use portcullis_domain::policy as p;
    p::Policy {
        target: "volteryde/production".parse().unwrap(),
        mode: Mode::Deploy,
        place: Place { account: None, region: None, role: None, cluster: "c".into(), namespace: "n".into() },
        source: None,
        services: Vec::new(),
        tags: Vec::new(),
        intake: p::Intake { branch: None, moving_tag: None },
        gates: p::Gates {
            scan: None,
            approvals: Vec::new(),
            typed_confirmation: None,
            expire: Millis::hours(24),
            remind: Millis::hours(4),
            promoted_from: None,
            calendar: portcullis_domain::calendar::Calendar::default(),
            rules: vec![],
            break_glass: None,
        },
        strategy: p::Strategy::BlueGreen { steps: vec![10_000], every: Millis(0), manual: false },
        verify: Vec::new(),
        backup_keep: Millis::days(90),
        watch: p::Watch {
            length: Millis::minutes(5),
            every: Millis::minutes(1),
            healthy: Vec::new(),
            traffic: None,
            extend: Millis::minutes(5),
            alarms_roll_back: Vec::new(),
            alarms_ask: Vec::new(),
        },
        roll_back: p::RollBack {
            window: Millis::hours(24),
            keep_old: Millis::hours(1),
            when: Vec::new(),
            health_failing_for: None,
            vulnerability: None,
        },
        waiting: p::Waiting::Newest,
        limits: p::Limits::default(),
        governor: p::Governor::default(),
        people: BTreeMap::new(),
        groups: BTreeMap::new(),
        metrics_from: p::MetricsFrom::Local,
        publish: None,
        traffic: p::TrafficBy::Selector,
        backup_secrets: None,
    }
}

/// An environment with a release that waits.
pub(crate) fn environment() -> TargetSummary {
    let sample = waiting();
    TargetSummary {
        target: sample.summary.target.clone(),
        mode: Some(Mode::Deploy),
        seq: Seq(12),
        live: sample.live.clone(),
        releases: vec![sample.summary.clone()],
        ringing: Vec::new(),
        hands_off: None,
        quarantine: BTreeMap::new(),
        line_stopped: None,
        vulnerable: BTreeMap::new(),
        stops: Vec::new(),
        fleet: None,
    }
}

/// One of each event that tells of protection: policies, skipped gates, vulnerabilities, a stopped line.
pub(crate) fn protection() -> Vec<Event> {
    let mut ledger = Ledger { events: Vec::new(), at: NIGHT };
    let changed = |ledger: &mut Ledger, from: Option<u8>, changes: &[(&str, &str, &str, bool)]| {
        let change = |(what, before, after, loosens): &(&str, &str, &str, bool)| Change {
            what: (*what).into(),
            before: (*before).into(),
            after: (*after).into(),
            loosens: *loosens,
        };
        let protection = std::sync::Arc::new(Protection::of(&policy()));
        let changes = changes.iter().map(change).collect();
        ledger.add(1_000, What::PolicyChanged { from: from.map(digest), to: digest(2), protection, changes });
    };
    let approvals = ("gates.approvals", "2 of release-managers", "1 of release-managers", true);
    let scan = ("gates.scan", "", "critical: block", false);
    changed(&mut ledger, None, &[]);
    changed(&mut ledger, Some(1), &[]);
    changed(&mut ledger, Some(1), &[scan]);
    changed(&mut ledger, Some(1), &[approvals]);
    changed(&mut ledger, Some(1), &[scan, ("gates.typed_confirmation", "DEPLOY", "", true)]);
    let (release, service) = (ReleaseId(142), service("nestjs-service"));
    let gates = BTreeSet::from(["approval".to_owned(), "freeze".to_owned()]);
    let (who, reason) = (Subject::new("kofi").unwrap(), "incident 7".to_owned());
    ledger.add(1_000, What::GlassBroken { release, plan: plan_id(), gates, who, reason });
    for before_has_it in [Some(true), Some(false), None] {
        let (service, finding) = (service.clone(), "CVE-2026-1234".to_owned());
        let severity = Severity::Critical;
        let what = What::VulnerabilityFound { release, service, digest: digest(11), finding, severity, before_has_it };
        ledger.add(1_000, what);
    }
    let why = "a scan is said to have 1 critical in it, which serves".to_owned();
    ledger.add(1_000, What::LiveVulnerable { service, digest: digest(11), why });
    ledger.add(1_000, What::LineStopped { why: "3 automatic rollbacks within 1h".into() });
    ledger.add(1_000, What::LineResumed { reason: "it was the database".into() });
    ledger.events
}
