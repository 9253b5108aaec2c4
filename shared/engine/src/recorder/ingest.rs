//! Facts from outside on their way into the ledgers of the targets they concern.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_domain::facts::CommitFacts;
use portcullis_domain::names::{CommitSha, DeliveryId, ServiceName, TargetId};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::scope::Scope;
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_domain::target::Target;

use super::{RecordError, Recorder, Waking};
use crate::core::route;
use crate::ports::PortError;

/// What a fact came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ingested {
    /// The targets it concerns, each with the number of events appended.
    pub targets: Vec<(TargetId, usize)>,
    /// Whether it concerns some target and was done already for each of them: a redelivery.
    pub already_done: bool,
}

impl Recorder {
    /// Records a fact for every target it concerns. An error means that it is not done for all of them: deliver it
    /// again (what was done is not done twice).
    pub async fn ingest(&self, fact: &Fact) -> Result<Ingested, RecordError> {
        let mut ingested = Ingested::default();
        let mut done = 0;
        let mut failed = None;
        for policy in self.ports.policies.all() {
            let own;
            let policy = if route::concerns(&policy, fact) {
                &policy
            } else if let Some(frozen) = self.frozen_concern(&policy, fact).await? {
                own = frozen;
                &own
            } else {
                continue;
            };
            match self.ingest_for(policy, fact).await {
                Ok(Some((events, already))) => {
                    ingested.targets.push((policy.target.clone(), events));
                    done += usize::from(already);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(target = %policy.target, delivery = %fact.delivery, %error, "a fact could not be recorded");
                    failed.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        ingested.already_done = done > 0 && done == ingested.targets.len();
        Ok(ingested)
    }

    /// The policy that a release in flight or in its window runs on, where an alarm is named by it and no longer by the
    /// one in force. Only targets of the alarm's own account and region are asked.
    async fn frozen_concern(&self, policy: &SealedPolicy, fact: &Fact) -> Result<Option<SealedPolicy>, RecordError> {
        let same =
            |ours: &Option<String>, theirs: &Option<String>| ours.is_none() || theirs.is_none() || ours == theirs;
        let place = &policy.place;
        if !matches!(fact.kind, FactKind::AlarmChanged { .. })
            || !same(&place.account, &fact.account)
            || !same(&place.region, &fact.region)
        {
            return Ok(None);
        }
        let state = self.load(&policy.target).await?.state;
        let own = [state.in_flight, state.live_release].into_iter().flatten();
        let mut frozen = own.filter_map(|id| state.releases.get(&id)?.policy.clone());
        Ok(frozen.find(|frozen| route::concerns(frozen, fact)).map(SealedPolicy::from_arc))
    }

    /// Records a fact for one target: the number of events, and whether it was done before. None = it says nothing
    /// to this target.
    pub(crate) async fn ingest_for(
        &self,
        policy: &SealedPolicy,
        fact: &Fact,
    ) -> Result<Option<(usize, bool)>, RecordError> {
        let target = &policy.target;
        let (basis, delivered) = self.read(target, &Scope::of(target), Some(&fact.delivery)).await?;
        if delivered {
            return Ok(Some((0, true)));
        }
        let (context, doubt) = self.context(policy, fact, basis.state()).await;
        let Some(signal) = route::signal(policy, fact, &context) else {
            return doubt.map_or(Ok(None), |error| Err(error.into()));
        };
        let delivery: Option<&DeliveryId> = Some(&fact.delivery);
        let hint = !matches!(fact.kind, FactKind::ImagePushed { .. });
        let waking = if hint { Waking::Callers } else { Waking::Sent };
        let (recorded, _) = self.record_from(target, signal, delivery, Some(Arc::new(basis)), waking).await?;
        if let (true, Some(error)) = (recorded.events.is_empty(), doubt) {
            // What could not be asked may be the reason why nothing came of it: the sender must come again.
            return Err(error.into());
        }
        if hint {
            self.look_now(target, &recorded.state).await;
        }
        Ok(Some((recorded.events.len(), false)))
    }

    /// What a push alone does not say: all tags of its digest, the commit, what the source says of it. With the first
    /// failure of those that were asked.
    async fn context(
        &self,
        policy: &SealedPolicy,
        fact: &Fact,
        state: &Target,
    ) -> (route::PushContext, Option<PortError>) {
        let mut context = route::PushContext::default();
        let FactKind::ImagePushed { repository, digest, tag } = &fact.kind else { return (context, None) };
        let mut doubt = None;
        context.tags.extend(tag.clone());
        match self.ports.registry.image(&policy.place, repository, digest).await {
            Ok(Some(image)) => context.tags.extend(image.tags),
            Ok(None) => {}
            Err(error) => doubt = Some(error),
        }
        let named = tag.iter().chain(&context.tags).find_map(|tag| policy.commit_of(tag));
        if let Some(commit) = named {
            match self.commit_facts(policy, state, &commit).await {
                Ok(facts) => context.facts = facts,
                Err(error) => doubt = doubt.or(Some(error)),
            }
            let full = context.facts.as_ref().and_then(|facts| facts.commit.clone());
            context.commit = full.filter(|full| full.matches(&commit)).or(Some(commit));
        }
        (context, doubt)
    }

    /// What the source says of a commit, compared with what is live.
    pub(super) async fn commit_facts(
        &self,
        policy: &SealedPolicy,
        state: &Target,
        commit: &CommitSha,
    ) -> Result<Option<CommitFacts>, PortError> {
        let since: BTreeMap<ServiceName, CommitSha> = state
            .live
            .iter()
            .filter_map(|(service, serving)| Some((service.clone(), serving.commit.clone()?)))
            .collect();
        let folders: BTreeMap<ServiceName, String> = policy
            .services
            .iter()
            .filter_map(|service| Some((service.name.clone(), service.source.clone()?)))
            .collect();
        self.ports.source.commit(policy.source.as_deref(), commit, &since, &folders).await
    }
}
