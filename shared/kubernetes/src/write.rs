//! How a fenced write is carried out. DESIGN section 1, "Fences: the protocol on the cluster".
//!
//! Each is one JSON patch that tests the annotation and the value it was decided on, so that a patch that arrives late
//! changes nothing. It is done when the object holds value and fence: as the API server stored it, by the answer to the
//! patch, and where there was none by reading it back. Tested is what the write says, never the resource version: a status
//! changes all the time. Server-side apply cannot test anything, and is used for what carries no fence.

mod autoscaler;
mod patch;
#[cfg(test)]
mod tests;
mod traffic;
mod weights;
mod workload;

use portcullis_domain::action::{Fence, Found, Part, Purpose, Stamp, Value, Write};
use portcullis_domain::names::TargetId;
use portcullis_engine::ports::{PortError, PortResult, Written};
use serde_json::Value as Json;

use crate::bundle::Bundle;
use crate::client::{Client, Kind};
use crate::error::{ApiError, Why};
use crate::objects::{ACCEPTS, annotation, fence_key};
use crate::observe::{self, Readings};
use crate::owners::{self, Conflict, Field, conflicts, owners};

/// So often a write reads again because somebody changed the object between reading and patching.
const ATTEMPTS: usize = 8;

/// One fenced write and what it needs.
pub(crate) struct Writer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) readings: &'a Readings,
    pub(crate) target: &'a TargetId,
    pub(crate) namespace: &'a str,
    pub(crate) write: &'a Write,
    pub(crate) fence: &'a Fence,
    /// The version of autoscalers that is spoken to.
    pub(crate) autoscalers: &'a Kind,
    /// What was given with the commit.
    pub(crate) given: Option<&'a Bundle>,
    /// Whether the selector is switched behind a load balancer that loses requests then.
    pub(crate) selector_everywhere: bool,
}

/// What came of one try.
enum Tried {
    /// The patch was taken; the object as the API server stored it by that, where it was answered. Else read back.
    Taken(Option<Json>),
    /// The object is not what was read any more, or perhaps never was: read again.
    Moved,
}

impl Writer<'_> {
    /// Carries it out.
    ///
    /// # Errors
    /// The value is none that such an object can hold; the cluster refuses, or does not say what came of it.
    pub(crate) async fn run(&self) -> PortResult<Written> {
        match (self.write.object.part, self.write.to) {
            (Part::Traffic, Value::Traffic { green }) => self.traffic(green).await,
            (Part::Workload(colour), Value::Workload { digest, replicas }) => {
                self.workload(colour, digest, replicas).await
            }
            _ => Err(self.error("it is the value of another kind of object")),
        }
    }

    fn error(&self, found: impl std::fmt::Display) -> PortError {
        PortError::new(
            format!("writing {} of {} in namespace {}", self.write.object, self.target, self.namespace),
            found,
        )
    }

    fn fence_key(&self) -> String {
        fence_key(self.target)
    }

    /// What the object holds when it is done.
    fn ours(&self) -> Stamp {
        Stamp { fence: Some(self.fence.clone()), value: self.write.to }
    }

    /// On the way back nothing of what follows may hold a write up.
    fn is_way_back(&self) -> bool {
        self.write.purpose == Purpose::Restore
    }

    async fn drift(&self) -> PortResult<Written> {
        Ok(Written::Drift(self.found().await?))
    }

    async fn found(&self) -> PortResult<Found> {
        observe::found(self.client, self.target, self.namespace, &self.write.object).await
    }

    /// What a patch came to. Where the outcome is not known it is not repeated here: the object is read, and unless it
    /// holds what was written the error stands.
    async fn tried(&self, patched: Result<Json, ApiError>) -> PortResult<Tried> {
        match patched {
            Ok(stored) => Ok(Tried::Taken(Some(stored))),
            Err(ApiError { why: Why::Invalid { test_failed: true, .. } | Why::Exists | Why::NotFound, .. }) => {
                Ok(Tried::Moved)
            }
            Err(ApiError { why: Why::Conflict { owned }, .. }) if owned.is_empty() => Ok(Tried::Moved),
            Err(error) if error.is_certain() => Err(error.into()),
            Err(error) => match self.found().await {
                Ok(found) if found.foreign.is_none() && found.stamp == Some(self.ours()) => Ok(Tried::Taken(None)),
                _ => Err(error.into()),
            },
        }
    }

    /// Refuses to write fields that another tool keeps writing back, naming it and what to do. A person who has seen to
    /// it says so by an annotation: who owned a field last stays recorded, whatever that tool is told to ignore.
    fn check_owner(&self, object: &Json, fields: &[Field]) -> PortResult<()> {
        if self.is_way_back() {
            return Ok(());
        }
        match keeper(object, fields) {
            Some(conflict) => Err(self.error(format!(
                "{}. To go on: {}; then annotate {} with {ACCEPTS}={}. Nothing was changed",
                conflict.why, conflict.fix, conflict.object, conflict.manager
            ))),
            None => Ok(()),
        }
    }

    fn intention(&self) -> &'static str {
        match self.write.purpose {
            Purpose::Mark => "mark",
            Purpose::Deploy => "deploy",
            Purpose::Claim => "claim",
            Purpose::Switch => "switch",
            Purpose::Drain => "drain",
            Purpose::Restore => "restore",
        }
    }
}

/// Whoever keeps writing one of these fields, and was not accepted; a person's tool does it once, and is none.
pub(crate) fn keeper(object: &Json, fields: &[Field]) -> Option<Conflict> {
    let accepted = annotation(object, ACCEPTS).unwrap_or_default();
    let applies = |manager: &str| owners(object).iter().any(|owner| owner.applies && owner.manager == manager);
    conflicts(object, fields).into_iter().find(|conflict| {
        // A controller that we do not know, and that applies: it has an opinion of its own on the field.
        let keeps = conflict.writer.writes_again()
            || matches!(conflict.writer, owners::Writer::Other(_)) && applies(&conflict.manager);
        keeps && !accepted.split(',').any(|one| one.trim() == conflict.manager)
    })
}
