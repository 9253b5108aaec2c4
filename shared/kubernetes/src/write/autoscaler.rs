//! A colour's autoscaler: pinned while its colour is about to serve, let go when the other colour is at rest.
//!
//! It carries a fence of its own, so that a late write neither pins nor frees what a newer one decided.

use portcullis_domain::policy::Colour;
use portcullis_engine::ports::PortResult;
use serde_json::Value as Json;

use super::patch::Patch;
use super::{ATTEMPTS, Tried, Writer};
use crate::client::kinds;
use crate::colour::{Copy, own_bounds, pinned};
use crate::fence;
use crate::objects::{LEAST_BEFORE, MOST_BEFORE, annotation, coloured, name, pointer};
use crate::observe::is_scaled_by;

impl Writer<'_> {
    /// The copy of the live colour's autoscaler for this one.
    pub(super) async fn autoscaler_follows(
        &self,
        copy: &Copy<'_>,
        source: &Json,
        there: Option<&Json>,
    ) -> PortResult<()> {
        self.check_nobody_makes(source)?;
        let key = self.fence_key();
        let replicas = match self.write.to {
            portcullis_domain::action::Value::Workload { replicas, .. } => replicas,
            portcullis_domain::action::Value::Traffic { .. } => 0,
        };
        let wanted = copy.autoscaler(source, self.autoscalers, replicas, (&key, self.fence));
        let Some(there) = there else {
            let made = self.client.create(self.autoscalers, self.namespace, &wanted).await;
            return match made {
                Ok(_) => Ok(()),
                // Somebody made it meanwhile: pinning it comes after, under its fence.
                Err(error) if error.why == crate::error::Why::Exists => Ok(()),
                Err(error) => Err(error.into()),
            };
        };
        if !self.may_write(there)? {
            return Ok(());
        }
        let mut patch = Patch::on(there, &key);
        patch.set("/spec", wanted["spec"].clone());
        for annotation in [key.as_str(), LEAST_BEFORE, MOST_BEFORE] {
            patch.annotate(annotation, wanted["metadata"]["annotations"][annotation].clone());
        }
        let patched = self.client.patch(self.autoscalers, self.namespace, name(there), patch.operations()).await;
        // Whoever was first wrote it under a fence of their own; whether ours counts is told by the Deployment.
        match patched {
            Err(error) if !error.is_certain() => Err(error.into()),
            Err(error) if !matches!(error.why, crate::error::Why::Invalid { test_failed: true, .. }) => {
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// Keeps a colour's autoscaler from going below these replicas. Not where there is no other colour to go to: nobody
    /// would ever let it go again.
    pub(super) async fn pin(&self, colour: Colour, deployment: &Json, replicas: u32) -> PortResult<()> {
        let service = &self.write.object.service;
        let Some(there) = self.autoscaler_of(deployment).await? else { return Ok(()) };
        let other = coloured(service, colour.other());
        if self.client.get(&kinds::DEPLOYMENTS, self.namespace, &other).await?.is_none() {
            return Ok(());
        }
        self.check_nobody_makes(&there)?;
        self.change_autoscaler(there, |autoscaler, patch| {
            let (least, most) = own_bounds(autoscaler);
            let (low, high) = pinned(least, most, replicas);
            patch.annotate(LEAST_BEFORE, least.map_or_else(|| "none".to_owned(), |n| n.to_string()));
            patch.annotate(MOST_BEFORE, most.to_string());
            patch.set("/spec/minReplicas", low);
            patch.set("/spec/maxReplicas", high);
            true
        })
        .await
    }

    /// Gives a colour's autoscaler its owner's bounds back.
    pub(super) async fn let_go(&self, colour: Colour) -> PortResult<()> {
        let service = &self.write.object.service;
        let other = coloured(service, colour);
        let Some(deployment) = self.client.get(&kinds::DEPLOYMENTS, self.namespace, &other).await? else {
            return Ok(());
        };
        let Some(there) = self.autoscaler_of(&deployment).await? else { return Ok(()) };
        self.change_autoscaler(there, |autoscaler, patch| {
            if annotation(autoscaler, LEAST_BEFORE).is_none() {
                return false;
            }
            let (least, most) = own_bounds(autoscaler);
            match least {
                Some(least) => patch.set("/spec/minReplicas", least),
                // The API's default.
                None => patch.set("/spec/minReplicas", 1),
            };
            patch.set("/spec/maxReplicas", most);
            for key in [LEAST_BEFORE, MOST_BEFORE] {
                if annotation(autoscaler, key).is_some() {
                    patch.remove(&format!("/metadata/annotations/{}", pointer(key)));
                }
            }
            true
        })
        .await
    }

    async fn autoscaler_of(&self, deployment: &Json) -> PortResult<Option<Json>> {
        let listed = self.readings.list(self.autoscalers, self.namespace).await?;
        Ok(listed.items.iter().find(|autoscaler| is_scaled_by(deployment, autoscaler)).cloned())
    }

    async fn change_autoscaler(&self, mut there: Json, change: impl Fn(&Json, &mut Patch) -> bool) -> PortResult<()> {
        let key = self.fence_key();
        let own = name(&there).to_owned();
        for _ in 0..ATTEMPTS {
            if !self.may_write(&there)? {
                return Ok(());
            }
            let mut patch = Patch::on(&there, &key);
            patch.annotate(&key, self.fence.to_string());
            if !change(&there, &mut patch) {
                return Ok(());
            }
            let patched = self.client.patch(self.autoscalers, self.namespace, &own, patch.operations()).await;
            match patched {
                Ok(_) => return Ok(()),
                Err(error) => match self.tried(Err(error)).await? {
                    Tried::Taken(_) => return Ok(()),
                    Tried::Moved => {}
                },
            }
            match self.client.get(self.autoscalers, self.namespace, &own).await? {
                Some(now) => there = now,
                None => return Ok(()),
            }
        }
        Err(self.error(format!("somebody keeps changing the autoscaler {own}")))
    }

    /// Whether our fence is not below the autoscaler's: if it is, a newer intention decided about it.
    ///
    /// # Errors
    /// It carries another ledger's fence, or text that is none.
    fn may_write(&self, autoscaler: &Json) -> PortResult<bool> {
        let foreign =
            |text: &str| self.error(format!("the autoscaler {} carries {text:?}, which is not ours", name(autoscaler)));
        match fence::parse(annotation(autoscaler, &self.fence_key())) {
            Ok(None) => Ok(true),
            Ok(Some(there)) if there.ledger != self.fence.ledger => Err(foreign(&there.to_string())),
            Ok(Some(there)) => Ok(there == *self.fence || fence::is_lower(&there, self.fence)),
            Err(text) => Err(foreign(&text.chars().take(80).collect::<String>())),
        }
    }

    /// An autoscaler that something else makes (KEDA's `ScaledObject`) would be written back.
    fn check_nobody_makes(&self, autoscaler: &Json) -> PortResult<()> {
        let owners = autoscaler["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let Some(owner) = owners.into_iter().find(|owner| owner["controller"] == true) else { return Ok(()) };
        if self.is_way_back() {
            return Ok(());
        }
        Err(self.error(format!(
            "its autoscaler {} is made by {} {}, which would write it back: it cannot be pinned for a switch. Let the \
             Deployment be scaled by an autoscaler of its own",
            name(autoscaler),
            owner["kind"].as_str().unwrap_or("something"),
            owner["name"].as_str().unwrap_or("else"),
        )))
    }
}
