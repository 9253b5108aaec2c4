//! The scene of a seed: its policy, its services, its outside as it was before the first push.

use std::sync::Arc;

use portcullis_domain::digest::Digest;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{AlarmName, LedgerId, ServiceName};
use portcullis_domain::policy::{Colour, Mode, Policy, Quorum, Service, ServiceKind, Strategy, Waiting};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::world::{World, commit, commit_facts, image, repository, tag};
use portcullis_engine::memory::{
    FakeCluster, FakeMetrics, FakeRegistry, FakeSource, Faults, MemoryBlobs, MemoryLedger, MemoryNotices,
    MemoryPolicies, MemoryQueue,
};

use crate::broken::Broken;
use crate::dice::Dice;
use crate::hub::Hub;
use crate::line::{Outside, SkewedClock};

/// When every seed begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_800_000_000_000);
/// The alarm that rolls back.
pub(crate) const ALARM: &str = "shop-errors";
/// The alarm that makes a person look.
pub(crate) const ASKS: &str = "ask-latency";
/// Replicas of every service.
const REPLICAS: u32 = 2;

/// The policy of a seed. Its times are short, so that a release's whole life fits into half an hour of its time.
pub(crate) fn policy(dice: &mut Dice) -> Policy {
    let mut policy = World::policy();
    let services = dice.pick(&[1, 1, 2, 3]);
    policy.services.truncate(services);
    if services == 3 {
        let after = policy.services.last().map(|last| last.name.clone());
        let jobs = World::service("jobs", 1, &[]);
        let kind = ServiceKind::Worker { overlap: dice.chance(500) };
        policy.services.push(Service { kind, after: after.into_iter().collect(), ..jobs });
    }
    policy.strategy = match dice.below(10) {
        0 | 1 => Strategy::Rolling,
        other => {
            let steps = if other < 7 { vec![10_000] } else { vec![2_500, 5_000, 10_000] };
            Strategy::BlueGreen { steps, every: Millis::minutes(1), manual: other == 2 }
        }
    };
    if dice.chance(30) {
        policy.mode = Mode::Observe;
    }
    if dice.chance(300) {
        policy.waiting = Waiting::Queue;
    }
    match dice.below(10) {
        0 => policy.gates.approvals.clear(),
        1 => policy.gates.approvals[0].count = 2,
        _ => {}
    }
    policy.governor.rollbacks = u8::try_from(dice.between(1, 3)).unwrap_or(1);
    if dice.chance(200) {
        policy.gates.break_glass = policy.gates.approvals.first().cloned().map(|quorum| Quorum { count: 2, ..quorum });
    }
    if dice.chance(200) {
        policy.gates.scan = None;
    }
    if dice.chance(300) {
        policy.verify.clear();
    }
    let minutes = |dice: &mut Dice, least, most| Millis::minutes(dice.between(least, most));
    policy.gates.expire = minutes(dice, 10, 20);
    policy.gates.remind = minutes(dice, 4, 8);
    policy.watch.length = minutes(dice, 1, 3);
    policy.watch.extend = minutes(dice, 1, 3);
    policy.roll_back.window = minutes(dice, 2, 6);
    policy.roll_back.keep_old = minutes(dice, 1, 3);
    policy.roll_back.health_failing_for = Some(minutes(dice, 1, 2));
    policy.limits.gather = minutes(dice, 5, 8);
    policy.limits.backup = minutes(dice, 1, 3);
    policy.limits.ready = minutes(dice, 1, 3);
    policy.limits.write = minutes(dice, 1, 2);
    policy.limits.escalate = minutes(dice, 3, 5);
    policy
}

/// Whether a commit says of itself that it can not be undone.
pub(crate) fn forward_only(dice: &mut Dice) -> bool {
    dice.chance(60)
}

/// Who wrote a commit.
pub(crate) fn author(dice: &mut Dice) -> &'static str {
    dice.pick(&["dev", "dev", "dev", "kofi"])
}

/// The outside as it was: every service serves image 0.
pub(crate) fn outside(hub: &Arc<Hub>, policy: &Policy, seed: u64, broken: Option<Broken>) -> Option<Outside> {
    let faults = Faults::default();
    let clock = SkewedClock::new(hub, 0);
    let cluster = FakeCluster::new(clock.clone(), faults.clone());
    let metrics = FakeMetrics::new(cluster.clone(), faults.clone());
    let outside = Outside {
        hub: hub.clone(),
        ledger: MemoryLedger::new(LedgerId::new(&format!("ledger-{seed}")).ok()?, faults.clone()),
        queue: MemoryQueue::new(clock, faults.clone()),
        blobs: MemoryBlobs::new(faults.clone()),
        registry: FakeRegistry::new(faults.clone()),
        source: FakeSource::new(faults),
        cluster,
        metrics,
        policies: MemoryPolicies::new(),
        notices: MemoryNotices::new(),
        broken,
        record: std::sync::Mutex::default(),
    };
    if broken == Some(Broken::Fences) {
        outside.cluster.ignore_fences();
    }
    for service in &policy.services {
        let digest = image_of(&service.name, 0);
        outside.registry.push(&repository(service.name.as_str()), digest, &tag(0), BEGIN - Millis::hours(1));
        if service.is_worker() {
            outside.cluster.seed_worker(&policy.target, &service.name, digest, REPLICAS);
        } else {
            outside.cluster.seed(&policy.target, &service.name, Colour::Blue, digest, REPLICAS);
        }
    }
    outside.source.set(&commit(0), commit_facts(0, "dev"));
    for alarm in [ALARM, ASKS] {
        outside.metrics.set_alarm(&AlarmName::new(alarm).ok()?, AlarmState::Ok, BEGIN - Millis::hours(1));
    }
    outside.policies.set(policy.clone());
    Some(outside)
}

/// The image of a service of commit `n`.
pub(crate) fn image_of(service: &ServiceName, n: u32) -> Digest {
    image(service.as_str(), n)
}
