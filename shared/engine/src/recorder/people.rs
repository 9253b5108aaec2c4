//! What people ask for: commands, the start of a release, stops.

use std::collections::BTreeMap;

use portcullis_domain::digest::Digest;
use portcullis_domain::event::What;
use portcullis_domain::names::{CommitSha, ServiceName, Subject, Tag, TargetId};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::scope::{Scope, ScopeState, Stop};
use portcullis_domain::signal::{Command, Signal};

use super::{ATTEMPTS, RecordError, Recorded, Recorder};
use crate::ports::PortError;

/// What came of a person's command.
#[derive(Debug, Clone)]
pub enum Commanded {
    /// It was carried out; no events = it was so already.
    Accepted(Recorded),
    /// It was not.
    Refused {
        /// Why, and what would help.
        why: String,
        /// What was recorded: the refusal itself.
        recorded: Recorded,
    },
}

impl Recorder {
    /// Records a signed-in person's command.
    pub async fn command(&self, target: &TargetId, who: &Subject, command: Command) -> Result<Commanded, RecordError> {
        let recorded = self.record(target, Signal::Person { who: who.clone(), command }, None).await?;
        if !recorded.events.is_empty() {
            // A commit point wants fresh facts: a person does not wait for the next look's usual time.
            self.look_now(target, &recorded.state).await;
        }
        let refused = recorded.events.iter().find_map(|event| match &event.what {
            What::Refused { why, .. } => Some(why.clone()),
            _ => None,
        });
        Ok(match refused {
            Some(why) => Commanded::Refused { why, recorded },
            None => Commanded::Accepted(recorded),
        })
    }

    /// Opens a release of a commit on a person's word: its images are looked up in the registry by their tags. A
    /// `forward_only` one is never rolled back by itself.
    pub async fn start(
        &self,
        target: &TargetId,
        who: &Subject,
        commit: &CommitSha,
        typed: Option<String>,
        reason: Option<String>,
        forward_only: bool,
    ) -> Result<Commanded, RecordError> {
        let policy = self.ports.policies.get(target).ok_or_else(|| RecordError::NoPolicy { target: target.clone() })?;
        let (images, tagged) = self.images_of(&policy, commit).await?;
        let state = self.load(target).await?.state;
        let longest = tagged.unwrap_or_else(|| commit.clone());
        let facts = self.commit_facts(&policy, &state, &longest).await?;
        let full = facts.as_ref().and_then(|facts| facts.commit.clone()).filter(|full| full.matches(commit));
        let commit = full.unwrap_or(longest);
        self.command(target, who, Command::Start { commit, images, facts, typed, reason, forward_only }).await
    }

    /// Every service's newest image of a commit, and the longest form of the commit that a tag names.
    async fn images_of(
        &self,
        policy: &SealedPolicy,
        commit: &CommitSha,
    ) -> Result<(BTreeMap<ServiceName, (Digest, Option<Tag>)>, Option<CommitSha>), PortError> {
        let mut images = BTreeMap::new();
        let mut longest: Option<CommitSha> = None;
        for service in &policy.services {
            let listed = self.ports.registry.list(&policy.place, &service.repository).await?;
            let found = listed.into_iter().find_map(|(tag, digest, _)| {
                let named = policy.commit_of(&tag).filter(|named| named.matches(commit))?;
                Some((tag, digest, named))
            });
            if let Some((tag, digest, named)) = found {
                images.insert(service.name.clone(), (digest, Some(tag)));
                let longer = longest.as_ref().is_none_or(|known| named.as_str().len() > known.as_str().len());
                if longer && named.as_str().len() >= commit.as_str().len() {
                    longest = Some(named);
                }
            }
        }
        Ok((images, longest))
    }

    /// Puts a stop on a scope, or lifts it. When this returns, nothing it covers passes a commit point any more.
    pub async fn set_stop(&self, scope: &Scope, stop: Option<Stop>) -> Result<ScopeState, RecordError> {
        for _ in 0..ATTEMPTS {
            let now = self.scope(scope).await?;
            // Who lifts a stop of everything has looked at the rollbacks that may have stopped it, too.
            let rollbacks = if stop.is_some() { now.rollbacks.clone() } else { Vec::new() };
            if now.stop == stop && now.rollbacks == rollbacks {
                return Ok(now);
            }
            let quiet_since = if stop.is_some() { now.quiet_since } else { Some(self.ports.clock.now()) };
            let state = ScopeState { version: now.version + 1, stop: stop.clone(), rollbacks, quiet_since };
            if self.ports.ledger.set_scope(scope, &state).await? {
                self.look_again(scope).await?;
                return Ok(state);
            }
        }
        Err(PortError::new(format!("setting the stop of {scope}"), "others changed it again and again").into())
    }

    /// Lifts a stop that ran out, unless it was changed meanwhile. True if it was lifted.
    pub(crate) async fn lift_expired(&self, scope: &Scope, state: &ScopeState) -> Result<bool, RecordError> {
        let lifted = ScopeState { version: state.version + 1, stop: None, ..state.clone() };
        let done = self.ports.ledger.set_scope(scope, &lifted).await?;
        if done {
            self.look_again(scope).await?;
        }
        Ok(done)
    }

    async fn scope(&self, scope: &Scope) -> Result<ScopeState, RecordError> {
        let mut states = self.ports.ledger.scopes(std::slice::from_ref(scope)).await?;
        Ok(states.pop().unwrap_or_default())
    }

    /// Every target of a scope is judged again; one that can not be is left to the sweep.
    async fn look_again(&self, scope: &Scope) -> Result<(), RecordError> {
        for target in self.ports.ledger.targets().await?.into_iter().filter(|target| scope.covers(target)) {
            match self.record(&target, Signal::Wake, None).await {
                Ok(recorded) => self.look_now(&target, &recorded.state).await,
                Err(error) => tracing::warn!(%target, %error, "could not look again after a stop changed"),
            }
        }
        Ok(())
    }
}
