//! Weights on a route or an Ingress: the same protocol as on a Service, one level out.
//!
//! The fence stands on the object that has the weights, under a key of the service's own. First the weights are written,
//! and read back; then the Service itself gets the same fence, and where all traffic is on one colour its selector is
//! narrowed to that, for callers inside the cluster. Between the two everything is safe to repeat: whoever comes again finds
//! the weights done, and finishes the Service. A late writer cannot: the newer one's fence is on the weights first, and then
//! on the Service, at every step.
//!
//! **Health.** Before a colour gets more weight on a load balancer, its targets must be healthy. That is asked of every write
//! that goes forward, and fails closed: what nobody can say holds the release. It is not asked of [`Purpose::Restore`]:
//! the colour that served has had its pods claimed and ready by then, and a way back waits for no controller.
//!
//! [`Purpose::Restore`]: portcullis_domain::action::Purpose::Restore

use portcullis_domain::action::Value;
use portcullis_domain::policy::{ALL_TRAFFIC, Colour};
use portcullis_engine::ports::{PortResult, Written};
use serde_json::Value as Json;

use super::patch::Patch;
use super::{ATTEMPTS, Tried, Writer};
use crate::client::{Selector, kinds};
use crate::fence::{self, Judgement};
use crate::objects::{annotation, coloured, weights_fence_key, weights_intention_key};
use crate::observe::{self, said_by_front, said_by_traffic};
use crate::owners::Field;
use crate::targets;
use crate::weights::{self, Way};

impl Writer<'_> {
    pub(super) async fn weights(&self, way: &Way, green: u16) -> PortResult<Written> {
        let service = &self.write.object.service;
        let key = weights_fence_key(self.target, service);
        for _ in 0..ATTEMPTS {
            let Some((kind, name)) = way.carrier() else { return Err(self.error("a selector has no weights")) };
            let (front, carrier) = tokio::join!(
                self.client.get(&kinds::SERVICES, self.namespace, self.name()),
                self.client.get(kind, self.namespace, name),
            );
            let Some(front) = front? else { return self.drift().await };
            if Way::of(&front).as_ref() != Ok(way) {
                return Err(self.error("what moves its traffic was changed meanwhile"));
            }
            let carrier = carrier?;
            let said = said_by_front(self.target, service, &front, carrier.as_ref());
            let drifted = || Ok(Written::Drift(self.found_in(&front, carrier.as_ref())));
            let (Some(stamp), Some(carrier)) = (said.stamp.filter(|_| said.foreign.is_none()), &carrier) else {
                return drifted();
            };
            match fence::judge(Some(&stamp), self.write, self.fence) {
                Judgement::Refuse => return drifted(),
                Judgement::Again | Judgement::Begun => return self.selector_follows(way, green).await,
                Judgement::Accept => {}
            }
            let changes = weights::changes(way, service, carrier, green).map_err(|why| self.error(why))?;
            if stamp.value != self.write.to {
                self.check_owner(carrier, &[way.field(service)])?;
                if Colour::with_all(green).is_some() {
                    self.check_owner(&front, &[Field::of(&["spec", "selector"])])?;
                }
                self.check_targets(way, &stamp.value, green).await?;
            }
            let mut patch = Patch::on(carrier, &key);
            for change in &changes {
                patch.test(&change.path, &change.before);
            }
            patch.annotate(&key, self.fence.to_string());
            patch.annotate(&weights_intention_key(self.target, service), self.intention());
            for change in changes.into_iter().filter(|change| change.before != change.after) {
                patch.set(&change.path, change.after);
            }
            let patched = self.client.patch(kind, self.namespace, name, patch.operations()).await;
            if let Tried::Moved = self.tried(patched).await? {
                continue;
            }
            let found = self.found().await?;
            if found.foreign.is_some() || found.stamp != Some(self.ours()) {
                return Ok(Written::Drift(found));
            }
            return self.selector_follows(way, green).await;
        }
        Err(self.error("somebody keeps changing it"))
    }

    /// After the weights hold our fence, so does the Service; where they send all to one colour, so does its selector.
    async fn selector_follows(&self, way: &Way, green: u16) -> PortResult<Written> {
        for _ in 0..ATTEMPTS {
            let front = self.client.get(&kinds::SERVICES, self.namespace, self.name()).await?;
            let Some(front) = front else { return self.drift().await };
            if Way::of(&front).as_ref() != Ok(way) {
                return Err(self.error("what moves its traffic was changed meanwhile"));
            }
            let said = said_by_traffic(self.target, &front);
            let Some(stamp) = said.stamp.filter(|_| said.foreign.is_none()) else { return self.drift().await };
            let Value::Traffic { green: now } = stamp.value else { return self.drift().await };
            let Some(to) = Colour::with_all(green).or_else(|| Colour::with_all(now)) else { return self.drift().await };
            match &stamp.fence {
                Some(fence) if fence == self.fence && now == to.share(ALL_TRAFFIC) => return Ok(Written::Done),
                // Somebody newer, or a hand: what is there now is told, and nothing is written over it.
                Some(fence) if !fence::is_lower(fence, self.fence) => return self.drift().await,
                _ => {}
            }
            let patch = self.patch_on(&front, &stamp, to)?;
            let patched = self.client.patch(&kinds::SERVICES, self.namespace, self.name(), patch.operations()).await;
            // What is told of the Service counts: what the weights say is known. An answer that was lost is asked for again.
            match patched {
                Err(error) if !error.is_certain() => {
                    let now = self.client.get(&kinds::SERVICES, self.namespace, self.name()).await?;
                    if now.is_none_or(|now| annotation(&now, &self.fence_key()) != Some(&self.fence.to_string())) {
                        return Err(error.into());
                    }
                }
                other => {
                    // Moved or taken: the next reading tells.
                    self.tried(other).await?;
                }
            }
        }
        Err(self.error("somebody keeps changing the Service beside its weights"))
    }

    /// Before a colour gets more weight on a load balancer: its targets are healthy.
    async fn check_targets(&self, way: &Way, from: &Value, green: u16) -> PortResult<()> {
        let (Value::Traffic { green: before }, Way::Ingress(_)) = (from, way) else { return Ok(()) };
        if self.is_way_back() || green == *before {
            return Ok(());
        }
        let colour = if green > *before { Colour::Green } else { Colour::Blue };
        let service = &self.write.object.service;
        let everything = Selector::default();
        let (bindings, workload) = tokio::join!(
            self.client.list(&kinds::TARGET_GROUP_BINDINGS, Some(self.namespace), &everything),
            observe::workload(self.client, self.namespace, service, colour),
        );
        let Some(workload) = workload? else {
            return Err(self.error(format!("there is no Deployment {}", coloured(service, colour))));
        };
        let pods = observe::pods(self.client, self.namespace, &workload).await?;
        targets::healthy(&coloured(service, colour), self.namespace, &bindings?.items, &pods)
            .map_err(|why| self.error(why))
    }

    /// Before a colour comes up whose traffic moves by weights: they are ours to move, nobody else keeps writing them, and a
    /// load balancer has a target group for it, so that its pods get their readiness gates when they are made.
    pub(super) async fn check_weights_way(&self, front: &Json, colour: Colour) -> PortResult<()> {
        let way = Way::of(front).map_err(|why| self.error(why))?;
        if way == Way::Selector {
            return Ok(());
        }
        let service = &self.write.object.service;
        let carrier = observe::carrier(self.client, self.namespace, front).await?;
        let said = said_by_front(self.target, service, front, carrier.as_ref());
        if let Some(why) = said.foreign {
            return Err(self.error(format!("its traffic can not be moved: it has {why}")));
        }
        if let Some(carrier) = &carrier {
            self.check_owner(carrier, &[way.field(service)])?;
        }
        if matches!(way, Way::Ingress(_)) {
            let bindings = self.readings.list(&kinds::TARGET_GROUP_BINDINGS, self.namespace).await?;
            targets::bindings_of(&coloured(service, colour), &bindings.items).map_err(|why| self.error(why))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
