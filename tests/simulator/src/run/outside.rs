//! What the outside does to a run: events, pushes, alarms, people, hands on the cluster.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::facts::{AlarmState, CommitFacts, ScanStatus};
use portcullis_domain::names::{AlarmName, DeliveryId, Subject};
use portcullis_domain::policy::Colour;
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_domain::time::Millis;
use portcullis_engine::memory::Build;
use portcullis_engine::memory::world::{ACCOUNT, REGION, commit, commit_facts, repository, tag};

use super::{ATTEMPTS, FRONT, Run};
use crate::line::Moment;
use crate::people::{self, Deed};
use crate::scene;
use crate::story::{Edit, EditKind, Happening, Push};
use crate::weather::Fault;

impl Run {
    fn event(&mut self, kind: FactKind) {
        self.deliveries += 1;
        let Ok(delivery) = DeliveryId::new(&format!("delivery-{}", self.deliveries)) else { return };
        let now = self.hub.now();
        let (account, region) = (Some(ACCOUNT.to_owned()), Some(REGION.to_owned()));
        let fact = Fact { delivery, at: now, account, region, kind };
        if self.hub.strikes(|weather| weather.lost, Fault::EventLost) {
            return;
        }
        let copies = 1 + usize::from(self.hub.strikes(|weather| weather.doubled, Fault::EventDoubled));
        for _ in 0..copies {
            let late = self.hub.strikes(|weather| weather.late, Fault::EventLate);
            let after = if late { self.hub.between(2_000, 200_000) } else { self.hub.between(50, 1_500) };
            self.hub.schedule(now + Millis(after), Happening::Event(fact.clone(), 0));
        }
    }

    pub(super) fn deliver(&mut self, fact: Fact, attempt: u8) {
        let again = self.hub.now() + Millis::seconds(20);
        let process = &mut self.processes[usize::from(FRONT)];
        if !process.alive {
            if attempt < ATTEMPTS {
                self.hub.schedule(again, Happening::Event(fact, attempt + 1));
            }
            return;
        }
        self.hub.note(u64::from(attempt), || format!("an event comes: {:?}", fact.kind));
        let (recorder, hub) = (process.recorder.clone(), self.hub.clone());
        process.tasks.spawn(async move {
            if recorder.ingest(&fact).await.is_err() && attempt < ATTEMPTS {
                hub.schedule(hub.now() + Millis::seconds(20), Happening::Event(fact, attempt + 1));
            }
        });
    }

    pub(super) fn push(&mut self, push: &Push) {
        let Push { service, n, ready_after, findings, author, forward_only } = push;
        let (digest, repository, tag) = (scene::image_of(service, *n), repository(service.as_str()), tag(*n));
        let now = self.hub.now();
        self.hub.note(u64::from(*n), || format!("{service} {n} is pushed, by {author}, finding {findings:?}"));
        let build = match ready_after {
            Some(ready_after) => Build { ready_after: *ready_after, problem: None },
            None => Build { problem: Some("ImagePullBackOff".to_owned()), ..Build::default() },
        };
        if ready_after.is_none() {
            self.hub.count(Fault::Sick);
        }
        self.outside.cluster.set_build(digest, build);
        self.outside.registry.push(&repository, digest, &tag, now);
        if !findings.is_empty() {
            self.hub.count(Fault::BadScan);
            self.outside.registry.set_scan(digest, ScanStatus::Complete, now, findings.clone());
        }
        let facts = CommitFacts { forward_only: *forward_only, ..commit_facts(*n, author) };
        self.outside.source.set(&commit(*n), facts);
        self.event(FactKind::ImagePushed { repository, digest, tag: Some(tag) });
    }

    pub(super) fn alarm(&mut self, alarm: &str, rings: bool) {
        let Ok(alarm) = AlarmName::new(alarm) else { return };
        let (state, now) = (if rings { AlarmState::Alarm } else { AlarmState::Ok }, self.hub.now());
        if rings {
            if self.is_calm {
                return;
            }
            self.hub.count(Fault::Alarm);
        }
        self.hub.note(8, || format!("alarm {alarm} is {state:?}"));
        self.outside.metrics.set_alarm(&alarm, state, now);
        let reason = "threshold crossed".to_owned();
        self.event(FactKind::AlarmChanged { alarm, state, changed_at: now, reason, suppressed: false });
    }

    pub(super) fn edit(&mut self, edit: &Edit) {
        let Edit { service, kind } = edit;
        let green = ObjectKey::workload(service, Colour::Green);
        let traffic = ObjectKey::traffic(service);
        let cluster = &self.outside.cluster;
        let key = match kind {
            EditKind::Traffic(value) => {
                cluster.by_hand(&self.target, &traffic, *value);
                traffic
            }
            EditKind::Scale(replicas) => {
                let found = cluster.found(&self.target, &green).stamp.map(|stamp| stamp.value);
                if let Some(Value::Workload { digest, .. }) = found {
                    let value = Value::Workload { digest, replicas: *replicas };
                    cluster.by_hand(&self.target, &green, value);
                }
                green
            }
            EditKind::Prune => {
                cluster.set_annotation(&self.target, &traffic, None);
                traffic
            }
            EditKind::Foreign => {
                cluster.set_annotation(&self.target, &traffic, Some("another-ledger/0/7"));
                traffic
            }
            EditKind::DeleteGreen => {
                cluster.delete(&self.target, &green);
                green
            }
        };
        self.hub.count(Fault::HandEdit);
        self.hub.note(9, || format!("by hand: {key} {kind:?}"));
        self.outside.happened(Moment::ByHand(key));
    }

    pub(super) fn person(&mut self, who: &'static str, deed: Deed, attempt: u8) {
        let again = self.hub.now() + Millis::seconds(15);
        let process = &mut self.processes[usize::from(FRONT)];
        if !process.alive {
            if attempt < ATTEMPTS {
                self.hub.schedule(again, Happening::Person(who, deed, attempt + 1));
            }
            return;
        }
        self.hub.note(u64::from(attempt) + 10, || format!("{who}: {deed:?}"));
        let Ok(subject) = Subject::new(who) else { return };
        let (recorder, hub, seen) = (process.recorder.clone(), self.hub.clone(), self.seen.clone());
        let target = self.target.clone();
        process.tasks.spawn(async move {
            if people::act(&recorder, &hub, &target, &subject, deed, &seen).await.is_err() && attempt < ATTEMPTS {
                hub.schedule(hub.now() + Millis::seconds(15), Happening::Person(who, deed, attempt + 1));
            }
        });
    }
}
