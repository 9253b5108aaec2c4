//! The Service: which colour its selector is narrowed to.

use portcullis_domain::action::{Found, Stamp, Value};
use portcullis_domain::policy::Colour;
use portcullis_engine::ports::{PortResult, Written};
use serde_json::{Value as Json, json};

use super::patch::Patch;
use super::{ATTEMPTS, Tried, Writer};
use crate::client::kinds;
use crate::fence::{self, Judgement};
use crate::objects::{APPLICATION, COLOUR, INTENTION, PREVIOUS_COLOUR, SERVICE, TRAFFIC, pointer};
use crate::observe::{found_traffic, said_by_traffic};
use crate::owners::Field;
use crate::weights::Way;

impl Writer<'_> {
    /// One patch where the object is what the write first expects; else it is read, judged, and patched on what was read.
    pub(super) async fn traffic(&self, green: u16) -> PortResult<Written> {
        if let Some(patch) = Colour::with_all(green).and_then(|to| self.expected_patch(to)) {
            let patched = self.client.patch(&kinds::SERVICES, self.namespace, self.name(), patch.operations()).await;
            if let Tried::Taken(stored) = self.tried(patched).await? {
                return self.traffic_read_back(stored).await;
            }
        }
        for _ in 0..ATTEMPTS {
            let object = self.client.get(&kinds::SERVICES, self.namespace, self.name()).await?;
            let way = object.as_ref().map_or(Ok(Way::Selector), Way::of);
            let way = match (way, &object) {
                (Ok(way), _) => way,
                (Err(_), Some(object)) => return Ok(Written::Drift(self.found_in(object, None))),
                (Err(why), None) => return Err(self.error(why)),
            };
            if way != Way::Selector {
                return self.weights(&way, green).await;
            }
            let Some(to) = Colour::with_all(green) else {
                return Err(self.error(format!(
                    "a share of {green} of 10,000: a Service's selector moves all traffic at once; shares need a route or a \
                     load balancer with weights (`traffic` in the policy)"
                )));
            };
            let Some(object) = object else {
                match fence::judge(None, self.write, self.fence) {
                    Judgement::Accept => {}
                    _ => return self.drift().await,
                }
                let made = self.client.create(&kinds::SERVICES, self.namespace, &self.new_service(to)?).await;
                match self.tried(made).await? {
                    Tried::Taken(stored) => return self.traffic_read_back(stored).await,
                    Tried::Moved => continue,
                }
            };
            let said = said_by_traffic(self.target, &object);
            let Some(stamp) = said.stamp.filter(|_| said.foreign.is_none()) else {
                return Ok(Written::Drift(self.found_in(&object, None)));
            };
            match fence::judge(Some(&stamp), self.write, self.fence) {
                Judgement::Refuse => return Ok(Written::Drift(self.found_in(&object, None))),
                Judgement::Again | Judgement::Begun => return Ok(Written::Done),
                Judgement::Accept => {}
            }
            let patch = self.patch_on(&object, &stamp, to)?;
            let patched = self.client.patch(&kinds::SERVICES, self.namespace, self.name(), patch.operations()).await;
            match self.tried(patched).await? {
                Tried::Taken(stored) => return self.traffic_read_back(stored).await,
                Tried::Moved => {}
            }
        }
        Err(self.error("somebody keeps changing it"))
    }

    pub(super) fn found_in(&self, front: &Json, carrier: Option<&Json>) -> Found {
        found_traffic(self.target, &self.write.object.service, front, carrier)
    }

    pub(super) fn name(&self) -> &str {
        self.write.object.service.as_str()
    }

    /// The patch for the first state that is expected, if it has a fence lower than ours: it needs no reading, for it
    /// tests everything that a reading would have judged.
    fn expected_patch(&self, to: Colour) -> Option<Patch> {
        let Some(Some(Stamp { fence: Some(fence), value: Value::Traffic { green } })) = self.write.from.first() else {
            return None;
        };
        let from = Colour::with_all(*green).filter(|_| fence::is_lower(fence, self.fence))?;
        let key = self.fence_key();
        let mut patch = Patch::default();
        // Whose traffic moves by weights has none of it moved by this.
        patch.test(&format!("/metadata/annotations/{}", pointer(TRAFFIC)), &Json::Null);
        patch.test(&format!("/metadata/annotations/{}", pointer(&key)), &fence.to_string().into());
        patch.test(&format!("/spec/selector/{}", pointer(COLOUR)), &from.to_string().into());
        self.change(&mut patch, from, to);
        Some(patch)
    }

    pub(super) fn patch_on(&self, object: &Json, stamp: &Stamp, to: Colour) -> PortResult<Patch> {
        let selector = &object["spec"]["selector"];
        let mut patch = Patch::on(object, &self.fence_key());
        let from = match stamp.value {
            Value::Traffic { green } => Colour::with_all(green).unwrap_or(to),
            Value::Workload { .. } => to,
        };
        if let Some(colour) = selector.get(COLOUR) {
            patch.test(&format!("/spec/selector/{}", pointer(COLOUR)), colour);
            // Only where it moves: on a Service that never had a colour somebody else's selector is not ours to write.
            if from != to {
                self.check_owner(object, &[Field::of(&["spec", "selector"])])?;
            }
            self.change(&mut patch, from, to);
            return Ok(patch);
        }
        if from != to {
            return Err(self.error(format!(
                "the Service has no colour in its selector: {} was not adopted yet (`portcullis cluster adopt`)",
                self.name()
            )));
        }
        // It sends to blue, and goes on doing so: only the fence is put on it.
        patch.test("/spec/selector", selector);
        self.annotate(&mut patch);
        Ok(patch)
    }

    pub(super) fn change(&self, patch: &mut Patch, from: Colour, to: Colour) {
        self.annotate(patch);
        if from != to {
            patch.annotate(PREVIOUS_COLOUR, from.to_string());
            patch.set(&format!("/spec/selector/{}", pointer(COLOUR)), to.to_string());
        }
    }

    pub(super) fn annotate(&self, patch: &mut Patch) {
        patch.annotate(&self.fence_key(), self.fence.to_string());
        patch.annotate(INTENTION, self.intention());
    }

    fn new_service(&self, to: Colour) -> PortResult<Json> {
        let service = &self.write.object.service;
        let Some(source) = self.given.and_then(|bundle| bundle.service.clone()) else {
            return Err(self.error("there is no such Service, and no manifest to make it from"));
        };
        let mut object = source;
        object["metadata"]["name"] = service.as_str().into();
        for map in ["labels", "annotations"] {
            if !object["metadata"][map].is_object() {
                object["metadata"][map] = json!({});
            }
        }
        object["metadata"]["labels"][SERVICE] = service.as_str().into();
        object["metadata"]["labels"][APPLICATION] = self.target.app.as_str().into();
        object["metadata"]["annotations"][self.fence_key()] = self.fence.to_string().into();
        object["metadata"]["annotations"][INTENTION] = self.intention().into();
        object["spec"]["selector"][COLOUR] = to.to_string().into();
        Ok(object)
    }

    async fn traffic_read_back(&self, stored: Option<Json>) -> PortResult<Written> {
        let found = match stored {
            Some(front) => self.found_in(&front, None),
            None => self.found().await?,
        };
        let done = found.foreign.is_none() && found.stamp == Some(self.ours());
        Ok(if done { Written::Done } else { Written::Drift(found) })
    }
}
