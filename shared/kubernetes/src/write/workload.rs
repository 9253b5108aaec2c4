//! A colour's Deployment: image by digest, replicas, and what follows its colour.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use portcullis_domain::action::{Purpose, Stamp, Value};
use portcullis_domain::digest::Digest;
use portcullis_domain::policy::Colour;
use portcullis_engine::ports::{PortResult, Written};
use serde_json::Value as Json;

use super::patch::Patch;
use super::{ATTEMPTS, Tried, Writer};
use crate::client::{Kind, kinds};
use crate::colour::Copy;
use crate::fence::{self, Judgement};
use crate::objects::{
    COLOUR, INTENTION, PREVIOUS, RELEASED, REPLICAS_BEFORE, colour_of, coloured, name, own_container, repository_in,
    set_digest,
};
use crate::observe::{
    self, Workload, is_out_of_reach, is_scaled_by, is_under, replicas as replicas_of, said_by_workload, serving,
};
use crate::owners::Field;
use crate::traffic::read_refusal;

/// So long endpoints are waited for here. After it the write fails, and is tried again until its time is over.
const FOLLOW: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// What a colour is made from, and what is in front of it.
struct Beside {
    /// The other colour's Deployment.
    other: Option<Workload>,
    /// The Service.
    front: Option<Json>,
}

impl Beside {
    /// Whether requests go to this colour. A service without a colour sends to the one Deployment that there is.
    fn has_traffic(&self, colour: Colour) -> bool {
        self.front.as_ref().is_some_and(|front| match front["spec"]["selector"].get(COLOUR).and_then(Json::as_str) {
            Some(text) => colour_of(text) == Some(colour),
            None => colour == Colour::Blue,
        })
    }
}

impl Writer<'_> {
    pub(super) async fn workload(&self, colour: Colour, digest: Digest, replicas: u32) -> PortResult<Written> {
        let service = &self.write.object.service;
        for _ in 0..ATTEMPTS {
            let Some(there) = observe::workload(self.client, self.namespace, service, colour).await? else {
                match fence::judge(None, self.write, self.fence) {
                    Judgement::Accept => {}
                    _ => return self.drift().await,
                }
                let new = self.new_workload(colour, &digest).await?;
                let made = self.client.create(&kinds::DEPLOYMENTS, self.namespace, &new).await;
                // At rest it is under our fence: the next turn finds it so, and goes on from there.
                match made {
                    Ok(stored) if replicas == 0 => {
                        return self.workload_read_back(colour, Some(Workload { object: stored, plain: false })).await;
                    }
                    other => self.tried(other).await?,
                };
                continue;
            };
            let said = self.said(&there).await?;
            let Some(stamp) = said.stamp.filter(|_| said.foreign.is_none()) else { return self.drift().await };
            let (mut stored, mut is_pinned) = (None, false);
            match fence::judge(Some(&stamp), self.write, self.fence) {
                Judgement::Refuse => return self.drift().await,
                Judgement::Again => {}
                Judgement::Accept | Judgement::Begun => {
                    if replicas == 0 && replicas_of(&there.object) > 0 {
                        self.await_no_requests(colour, &there).await?;
                    }
                    let patch;
                    (patch, is_pinned) = self.workload_patch(colour, &there, &stamp, &digest, replicas).await?;
                    let name = name(&there.object);
                    let patched =
                        self.client.patch(&kinds::DEPLOYMENTS, self.namespace, name, patch.operations()).await;
                    match self.tried(patched).await? {
                        Tried::Moved => continue,
                        Tried::Taken(object) => stored = object.map(|object| Workload { object, plain: there.plain }),
                    }
                }
            }
            if !is_pinned {
                self.scaling_follows(colour, &there.object, replicas).await?;
            }
            return self.workload_read_back(colour, stored).await;
        }
        Err(self.error("somebody keeps changing it"))
    }

    /// A colour that lost its traffic keeps its pods until no proxy can send to them any more: controllers that are behind
    /// (an API server that just came back) still name them as endpoints.
    async fn await_no_requests(&self, colour: Colour, there: &Workload) -> PortResult<()> {
        let service = &self.write.object.service;
        let front = self.client.get(&kinds::SERVICES, self.namespace, service.as_str()).await?;
        let serves = |front: &Json| front["spec"]["selector"][COLOUR] == colour.to_string().as_str();
        // Where it is meant to serve nobody waits for the contrary: a first release that is undone.
        if front.is_none_or(|front| serves(&front)) {
            return Ok(());
        }
        let pods = observe::pods(self.client, self.namespace, there).await?;
        let pods: BTreeSet<&str> = pods.iter().map(name).collect();
        let begun = Instant::now();
        loop {
            let left = match serving(self.client, self.namespace, service.as_str(), |pod| pods.contains(pod)).await {
                // Without the right to see it nothing is held up.
                Err(error) if is_out_of_reach(&error) => return Ok(()),
                other => other?.own,
            };
            match left {
                0 => return Ok(()),
                left if begun.elapsed() > FOLLOW => {
                    return Err(self.error(format!(
                        "its Service sends to another colour, and {left} of its pods are still endpoints: they stay \
                         until the EndpointSlices follow"
                    )));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn said(&self, there: &Workload) -> PortResult<observe::Said> {
        let service = &self.write.object.service;
        // Pods are only asked where the image does not say it.
        if let Ok(said) = said_by_workload(self.target, service, there, &[]) {
            return Ok(said);
        }
        let pods = observe::pods(self.client, self.namespace, there).await?;
        let pods: Vec<&Json> = pods.iter().collect();
        said_by_workload(self.target, service, there, &pods).map_err(|why| self.error(why))
    }

    async fn beside(&self, colour: Colour) -> PortResult<Beside> {
        let service = &self.write.object.service;
        let picture = self.readings.objects(self.namespace, service).await?;
        let (other, front) = (picture.workload(colour.other()).cloned(), picture.traffic);
        Ok(Beside { other, front })
    }

    /// Before a colour that does not serve gets pods: everything that would keep it from getting traffic later holds the
    /// release here, where nothing has changed yet.
    async fn check_way_forward(&self, colour: Colour, beside: &Beside) -> PortResult<()> {
        if self.is_way_back() {
            return Ok(());
        }
        let service = &self.write.object.service;
        if beside.other.as_ref().is_some_and(|other| other.plain) {
            return Err(self.error(format!(
                "the Deployment {service} has no colour: it has to be adopted before another one can come up beside it \
                 (`portcullis cluster adopt`), or be deployed by the strategy `rolling`"
            )));
        }
        let Some(front) = beside.front.as_ref().filter(|_| !beside.has_traffic(colour)) else { return Ok(()) };
        if beside.other.is_some() && front["spec"]["selector"].get(COLOUR).is_none() {
            return Err(self.error(format!(
                "the Service {service} has no colour in its selector: its adoption was not finished \
                 (`portcullis cluster adopt`)"
            )));
        }
        self.check_owner(front, &[Field::of(&["spec", "selector"])])?;
        // Nothing of it may be in the way of weights either.
        self.check_weights_way(front, colour).await?;
        if !self.selector_everywhere
            && let Some(why) = read_refusal(self.readings, self.namespace, front).await?
        {
            return Err(self.error(why));
        }
        Ok(())
    }

    /// What the colour is made from where the other one is there: that one, or its like with the pods that were given.
    fn source(&self, beside: &Beside) -> PortResult<Option<Json>> {
        let Some(other) = &beside.other else { return Ok(None) };
        let Some(given) = self.given else { return Ok(Some(other.object.clone())) };
        let made = given.over(&self.write.object.service, Some(&other.object), beside.front.as_ref());
        made.map(Some).map_err(|why| self.error(why))
    }

    /// The colour's Deployment at rest, under our fence.
    async fn new_workload(&self, colour: Colour, digest: &Digest) -> PortResult<Json> {
        let service = &self.write.object.service;
        let beside = self.beside(colour).await?;
        let copy = Copy { target: self.target, service, colour };
        // Where it is only marked, what follows it comes with its pods.
        if self.write.purpose == Purpose::Mark {
            self.check_way_forward(colour, &beside).await?;
        } else {
            self.companions(&copy, &beside).await?;
        }
        let source = match self.source(&beside)? {
            Some(source) => source,
            None => match self.given {
                Some(bundle) => {
                    // Its tests ask it before there is a Service that sends to it.
                    if let Some(front) = beside.front.as_ref().or(bundle.service.as_ref()) {
                        let own = copy.own_service(front);
                        self.client.apply(&kinds::SERVICES, self.namespace, name(&own), &own, false).await?;
                    }
                    bundle.deployment.clone()
                }
                None => return Err(self.error("there is no such Deployment, and no manifest to make it from")),
            },
        };
        let mut new = copy.deployment(&source, digest).map_err(|why| self.error(why))?;
        new["metadata"]["annotations"][self.fence_key()] = self.fence.to_string().into();
        new["metadata"]["annotations"][RELEASED] = digest.to_string().into();
        new["metadata"]["annotations"][INTENTION] = self.intention().into();
        Ok(new)
    }

    /// The patch, and whether the colour's autoscaler is pinned already.
    async fn workload_patch(
        &self,
        colour: Colour,
        there: &Workload,
        stamp: &Stamp,
        digest: &Digest,
        replicas: u32,
    ) -> PortResult<(Patch, bool)> {
        let object = &there.object;
        let pod = &object["spec"]["template"]["spec"];
        let own = own_container(object, pod, self.write.object.service.as_str()).map_err(|why| self.error(why))?;
        let (was, before) = match stamp.value {
            Value::Workload { digest, replicas } => (digest, replicas),
            Value::Traffic { .. } => (*digest, replicas),
        };
        let mut fields = Vec::new();
        if was != *digest {
            fields.push(Field::image(pod["containers"][own]["name"].as_str().unwrap_or_default()));
        }
        if before != replicas {
            fields.push(Field::of(&["spec", "replicas"]));
        }
        self.check_owner(object, &fields)?;

        let mut patch = Patch::on(object, &self.fence_key());
        patch.test(&format!("/spec/template/spec/containers/{own}/image"), &pod["containers"][own]["image"]);
        patch.test("/spec/replicas", &replicas_of(object).into());
        patch.annotate(&self.fence_key(), self.fence.to_string());
        patch.annotate(INTENTION, self.intention());
        patch.annotate(RELEASED, digest.to_string());
        if was != *digest {
            patch.annotate(PREVIOUS, was.to_string());
        }
        if replicas == 0 && before > 0 {
            patch.annotate(REPLICAS_BEFORE, before.to_string());
        }
        if before != replicas {
            patch.set("/spec/replicas", replicas);
        }
        // What is at rest gets what serves now, with the new digest: configuration that changed since comes with it.
        if self.write.purpose == Purpose::Deploy && before == 0 && !there.plain {
            let beside = self.beside(colour).await?;
            let copy = Copy { target: self.target, service: &self.write.object.service, colour };
            let is_pinned = self.companions(&copy, &beside).await?;
            if let Some(source) = self.source(&beside)? {
                let template = copy.template(&source, digest).map_err(|why| self.error(why))?;
                if template != object["spec"]["template"] {
                    patch.set("/spec/template", template);
                }
                return Ok((patch, is_pinned));
            }
        }
        self.set_images(&mut patch, pod, own, digest);
        Ok((patch, false))
    }

    /// The new digest, field by field: nothing else of the pods is touched.
    fn set_images(&self, patch: &mut Patch, pod: &Json, own: usize, digest: &Digest) {
        let mut after = pod.clone();
        // One that runs by a tag gets the digest only with another one: its pods would be made anew for nothing.
        let by_tag = crate::objects::digest_in(pod["containers"][own]["image"].as_str().unwrap_or_default()).is_none();
        if by_tag
            && self
                .write
                .from
                .iter()
                .flatten()
                .any(|from| matches!(from.value, Value::Workload { digest: from, .. } if from == *digest))
        {
            return;
        }
        set_digest(&mut after, own, digest);
        for list in ["initContainers", "containers"] {
            for (n, container) in after[list].as_array().into_iter().flatten().enumerate() {
                let image = &container["image"];
                if *image != pod[list][n]["image"] {
                    debug_assert_eq!(
                        repository_in(image.as_str().unwrap_or_default()),
                        repository_in(pod[list][n]["image"].as_str().unwrap_or_default())
                    );
                    patch.set(&format!("/spec/template/spec/{list}/{n}/image"), image.clone());
                }
            }
        }
    }

    /// What follows a colour, once nothing is in its way: its disruption budget and its own Service, by server-side apply;
    /// its autoscaler, pinned. All of it is idle while the Deployment is at rest. True = no autoscaler of it is left to be
    /// pinned.
    async fn companions(&self, copy: &Copy<'_>, beside: &Beside) -> PortResult<bool> {
        let Some(other) = beside.other.as_ref().filter(|other| !other.plain) else {
            self.check_way_forward(copy.colour, beside).await?;
            return Ok(false);
        };
        let (free, autoscalers, budgets) = tokio::join!(
            self.check_way_forward(copy.colour, beside),
            self.readings.list(self.autoscalers, self.namespace),
            self.readings.list(&kinds::BUDGETS, self.namespace),
        );
        free?;
        let written = async {
            let budgets = &budgets?.items;
            let budget = budgets.iter().filter(|budget| is_under(&other.object, budget)).find_map(|b| copy.budget(b));
            let front = beside.front.as_ref().filter(|front| front["spec"]["selector"].is_object());
            let front = front.map(|front| copy.own_service(front));
            let (budget, front) =
                tokio::join!(self.applied(&kinds::BUDGETS, budget), self.applied(&kinds::SERVICES, front));
            budget?;
            front?;
            self.autoscaler_comes_along(copy, other, &autoscalers?.items).await
        };
        match written.await {
            // On the way back a colour comes up without them rather than not at all.
            Err(error) if self.is_way_back() => {
                tracing::warn!(%error, "what follows a colour could not be written on the way back");
                Ok(false)
            }
            other => other,
        }
    }

    async fn applied(&self, kind: &Kind, object: Option<Json>) -> PortResult<()> {
        if let Some(object) = object {
            self.client.apply(kind, self.namespace, name(&object), &object, false).await?;
        }
        Ok(())
    }

    /// True = no autoscaler of the colour is left to be pinned.
    async fn autoscaler_comes_along(
        &self,
        copy: &Copy<'_>,
        other: &Workload,
        autoscalers: &[Json],
    ) -> PortResult<bool> {
        let own = coloured(copy.service, copy.colour);
        let there = autoscalers.iter().find(|autoscaler| autoscaler["spec"]["scaleTargetRef"]["name"] == own.as_str());
        match autoscalers.iter().find(|autoscaler| is_scaled_by(&other.object, autoscaler)) {
            Some(source) => self.autoscaler_follows(copy, source, there).await.map(|()| true),
            // One of its own without a model is nobody's copy any more, and pinned as it is.
            None => Ok(there.is_none()),
        }
    }

    /// After the Deployment holds our fence: its autoscaler keeps what was asked for, or is let go again.
    async fn scaling_follows(&self, colour: Colour, deployment: &Json, replicas: u32) -> PortResult<()> {
        let followed = match self.write.purpose {
            Purpose::Mark => Ok(()),
            Purpose::Drain | Purpose::Restore if replicas == 0 => self.let_go(colour.other()).await,
            _ if replicas == 0 => Ok(()),
            _ => self.pin(colour, deployment, replicas).await,
        };
        match followed {
            Err(error) if self.is_way_back() => {
                tracing::warn!(%error, "an autoscaler could not be written on the way back");
                Ok(())
            }
            other => other,
        }
    }

    async fn workload_read_back(&self, colour: Colour, stored: Option<Workload>) -> PortResult<Written> {
        let there = match stored {
            Some(stored) => Some(stored),
            None => observe::workload(self.client, self.namespace, &self.write.object.service, colour).await?,
        };
        if let Some(there) = there {
            let said = self.said(&there).await?;
            if said.foreign.is_none() && said.stamp == Some(self.ours()) {
                return Ok(Written::Done);
            }
        }
        self.drift().await
    }
}
