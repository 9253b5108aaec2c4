//! The outside of a story: a registry, a source and a cluster of plain values that obey the fence.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use portcullis_domain::action::{Action, Found, Look, ObjectKey, Outcome, Stamp, Value, Window, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{AlarmFact, AlarmState, CommitFacts, Facts, ImageFact, ScanFact, ScanStatus};
use portcullis_domain::names::{AlarmName, CommitSha, Identity, Seq, Tag};
use portcullis_domain::policy::{Colour, Metric, Policy, Severity};
use portcullis_domain::target::{Phase, Target};
use portcullis_domain::time::Timestamp;

/// As many ancestors as a source tells.
const ANCESTORS: usize = 50;

/// The values outside.
pub(super) struct Outside {
    cluster: BTreeMap<ObjectKey, Found>,
    images: BTreeMap<Digest, ImageFact>,
    scans: BTreeMap<Digest, ScanFact>,
    pub(super) commits: BTreeMap<CommitSha, CommitFacts>,
    alarms: BTreeMap<AlarmName, AlarmFact>,
    /// The share of failed requests that is measured, in basis points.
    pub(super) errors: i64,
}

pub(super) fn commit(n: usize) -> Result<CommitSha> {
    Ok(CommitSha::new(&Digest::of(&n.to_be_bytes()).hex()[..40])?)
}

pub(super) fn image(n: usize, service: &str) -> Digest {
    Digest::of(format!("{n} {service}").as_bytes())
}

impl Outside {
    /// Version 0 of every service is live in blue, three pods each; nobody fenced it yet.
    pub(super) fn new(policy: &Policy, now: Timestamp) -> Result<Self> {
        let mut outside = Self {
            cluster: BTreeMap::new(),
            images: BTreeMap::new(),
            scans: BTreeMap::new(),
            commits: BTreeMap::new(),
            alarms: BTreeMap::new(),
            errors: 12,
        };
        for alarm in ["app-0-production-5xx", "app-0-production-latency", "app-0-rds-cpu"] {
            outside.alarms.insert(AlarmName::new(alarm)?, AlarmFact { state: AlarmState::Ok, changed_at: now });
        }
        for service in &policy.services {
            let value = Value::Workload { digest: image(0, service.name.as_str()), replicas: 3 };
            let blue = Found { stamp: Some(Stamp { fence: None, value }), ready: 3, ..Found::default() };
            outside.cluster.insert(ObjectKey::workload(&service.name, Colour::Blue), blue);
            let image = ImageFact { tags: BTreeSet::new(), pushed_at: now, size: None };
            outside.images.insert(self::image(0, service.name.as_str()), image);
            outside.cluster.insert(ObjectKey::workload(&service.name, Colour::Green), Found::default());
            if !service.is_worker() {
                let stamp = Stamp { fence: None, value: Value::Traffic { green: 0 } };
                let traffic = Found { stamp: Some(stamp), ..Found::default() };
                outside.cluster.insert(ObjectKey::traffic(&service.name), traffic);
            }
        }
        Ok(outside)
    }

    /// Commit `n` is built: an image of every service; the scans are still running.
    pub(super) fn build(&mut self, n: usize, policy: &Policy, now: Timestamp) -> Result<()> {
        let sha = commit(n)?;
        let facts = CommitFacts {
            commit: Some(sha.clone()),
            title: format!("Change number {n} of the checkout page, with its tests"),
            branches: BTreeSet::from(["production".to_owned()]),
            ancestors: (0..n).rev().take(ANCESTORS).map(commit).collect::<Result<_>>()?,
            people: BTreeSet::from([Identity::new("github:lena-w")?, Identity::new("github:tunde-a")?]),
            commits: 3,
            tree: None,
            forward_only: false,
            changed: policy.services.iter().map(|service| (service.name.clone(), true)).collect(),
        };
        self.commits.insert(sha.clone(), facts);
        for service in &policy.services {
            let digest = image(n, service.name.as_str());
            let tags = BTreeSet::from([Tag::new(sha.as_str())?, Tag::new("production-latest")?]);
            self.images.insert(digest, ImageFact { tags, pushed_at: now, size: Some(123_456_789) });
            self.scan(digest, ScanStatus::InProgress, &[], now);
        }
        Ok(())
    }

    pub(super) fn scan(&mut self, digest: Digest, status: ScanStatus, counts: &[(Severity, u32)], now: Timestamp) {
        let completed_at = (status == ScanStatus::Complete).then_some(now);
        let fact = ScanFact { status, completed_at, counts: counts.iter().copied().collect(), findings: Vec::new() };
        self.scans.insert(digest, fact);
    }

    pub(super) fn alarm(&mut self, alarm: &AlarmName, state: AlarmState, now: Timestamp) {
        self.alarms.insert(alarm.clone(), AlarmFact { state, changed_at: now });
    }

    /// Does an action, as a driver would. `None` = it is not its time.
    pub(super) fn perform(&mut self, target: &Target, seq: Seq, action: &Action, now: Timestamp) -> Option<Outcome> {
        Some(match action {
            Action::Look(look) => Outcome::Facts(Box::new(self.facts(look, now))),
            Action::BackUp { prefix, .. } => {
                Outcome::BackedUp { index: format!("{prefix}index.json"), hash: Digest::of(b"index"), objects: 12 }
            }
            Action::Write(write) => self.write(target, seq, write),
            Action::AwaitReady(ask) => Outcome::Seen(self.cluster.get(&ask.object).cloned().unwrap_or_default()),
            Action::RunTest { .. } => Outcome::TestPassed { note: "GET /health: 200 in 4 ms".into() },
            Action::Measure(measure) => {
                let release = target.releases.values().find(|release| release.watch.is_some())?;
                let from = match release.phase {
                    Phase::Watching => release.watch.as_ref()?.measured_to,
                    _ => Timestamp(now.0.saturating_sub(measure.every.0)),
                };
                let to = from + measure.every;
                if to > now {
                    return None;
                }
                let window = |ready| Window {
                    values: BTreeMap::from([
                        (Metric::Requests, 100_000),
                        (Metric::ErrorRate, self.errors),
                        (Metric::ResponseTimeP95, 41_000),
                    ]),
                    requests: 6_000,
                    failed: u64::try_from(6_000 * self.errors / 10_000).unwrap_or(0),
                    ready,
                };
                let services = measure.services.keys().map(|service| (service.clone(), window(Some(3)))).collect();
                Outcome::Measured { from, to, services, alarms: self.alarms.clone() }
            }
            Action::Observe => Outcome::Observed(self.cluster.clone()),
        })
    }

    fn facts(&self, look: &Look, now: Timestamp) -> Facts {
        Facts {
            fetched_at: now,
            images: look.images.keys().filter_map(|d| Some((*d, self.images.get(d)?.clone()))).collect(),
            scans: look.images.keys().filter_map(|d| Some((*d, self.scans.get(d)?.clone()))).collect(),
            alarms: self.alarms.clone(),
            commit: look.commit.as_ref().and_then(|commit| self.commits.get(commit).cloned()),
            objects: self.cluster.clone(),
            manifests: look.services.iter().map(|s| (s.clone(), Digest::of(s.as_str().as_bytes()))).collect(),
            bundles: BTreeMap::new(),
            promoted: None,
            room: None,
            missing: BTreeMap::new(),
        }
    }

    /// The fence protocol on a plain value.
    fn write(&mut self, target: &Target, seq: Seq, write: &Write) -> Outcome {
        let found = self.cluster.get(&write.object).cloned().unwrap_or_default();
        if !write.from.contains(&found.stamp) {
            return Outcome::Drift(found);
        }
        let fence = target.fence_at(seq);
        let ready = if let Value::Workload { replicas, .. } = write.to { replicas } else { 0 };
        let stamp = Some(Stamp { fence, value: write.to });
        self.cluster.insert(write.object.clone(), Found { stamp, ready, ..Found::default() });
        Outcome::Written
    }
}
