//! A release on its way or on its way back, and events said to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_domain::action::{Action, Intention, ObjectKey, Outcome, Purpose, Value, Write};
use portcullis_domain::apply;
use portcullis_domain::event::{Actor, Event, Reason, What};
use portcullis_domain::facts::{Artifact, CommitFacts};
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::policy::*;
use portcullis_domain::target::{BackStep, Outstanding, Phase, Progress, Release, Rollback, Serving, Step, Target};
use portcullis_domain::time::{Millis, Timestamp};

use super::*;

pub const START: Timestamp = Timestamp(1_800_000_000_000);
pub const ID: ReleaseId = ReleaseId(1);

/// The next event, one second after the one before.
pub fn say(target: &mut Target, what: What) -> Timestamp {
    let seq = Seq(target.seq.0 + 1);
    let at = START + Millis::seconds(seq.0);
    apply(target, &Event { seq, at, actor: Actor::Portcullis, what });
    at
}

pub fn opened(id: ReleaseId, n: u8) -> What {
    What::Opened {
        release: id,
        commit: commit(n),
        pushed_at: START,
        requested_by: Some(who("kofi")),
        typed: true,
        reason: None,
        forward_only: true,
        facts: Some(CommitFacts { title: "as opened".into(), ..CommitFacts::default() }),
        gather_until: START + Millis::hours(1),
    }
}

pub fn artifact(n: u8, name: &str) -> Artifact {
    Artifact { digest: image(n, name), tag: None, commit: Some(commit(n)), kept: false, size: None }
}

pub fn serving(n: u8, name: &str, replicas: u32) -> Serving {
    let digest = image(n, name);
    Serving { digest, colour: Colour::Blue, replicas, commit: Some(commit(n)), tag: None, release: None }
}

pub fn write(object: &ObjectKey, to: Value, purpose: Purpose) -> Action {
    Action::Write(Write { object: object.clone(), from: vec![], to, purpose, bundle: None })
}

pub fn pods(name: &str, replicas: u32) -> Value {
    Value::Workload { digest: image(2, name), replicas }
}

pub fn intention(action: Action) -> Intention {
    Intention { action, place: policy().place, not_before: START, every: None, deadline: START + Millis::hours(1) }
}

pub fn awaits(target: &mut Target, id: ReleaseId, seq: u64, action: Action) {
    target.outstanding.insert(Seq(seq), Outstanding { release: id, intention: Arc::new(intention(action)) });
}

pub fn answer(target: &mut Target, seq: u64, outcome: Outcome) -> Timestamp {
    say(target, What::Done { release: ID, intention: Seq(seq), outcome: Box::new(outcome) })
}

/// A release that changes one service, in green; blue serves before it.
pub fn on_its_way(policy: Policy, name: &str, step: Step, share: u16) -> Target {
    let name = service(name);
    let mut release = Release::new(ID, commit(2), START);
    release.phase = Phase::Deploying { wave: 0 };
    release.policy = Some(Arc::new(policy));
    release.before.insert(name.clone(), serving(1, name.as_str(), 3));
    let progress = Progress { colour: Colour::Green, replicas: 3, changes: true, step, share };
    release.progress.insert(name, progress);
    Target {
        seq: Seq(20),
        ledger: Some(World::ledger()),
        releases: BTreeMap::from([(ID, release)]),
        in_flight: Some(ID),
        ..Target::default()
    }
}

pub fn on_its_way_back(policy: Policy, steps: &[(&str, BackStep)]) -> Target {
    let mut target = on_its_way(policy, steps[0].0, Step::Switched, 10_000);
    let release = target.releases.get_mut(&ID).unwrap();
    release.phase = Phase::RollingBack;
    release.rollback = Some(Rollback {
        why: Reason::Person { reason: "it hurts".into() },
        since: START,
        seq: Seq(4),
        to: release.before.clone(),
        steps: steps.iter().map(|(name, step)| (service(name), *step)).collect(),
        restored_at: None,
        stuck: None,
    });
    target
}

pub fn green(name: &str) -> ObjectKey {
    ObjectKey::workload(&service(name), Colour::Green)
}

pub fn traffic(name: &str) -> ObjectKey {
    ObjectKey::traffic(&service(name))
}
