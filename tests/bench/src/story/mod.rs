//! A ledger as years of use would write it: whole lives of releases, recorded once, replayed by the benchmarks.

mod lives;
mod outside;
mod text;

use anyhow::{Context as _, Result};
use portcullis_domain::event::Event;
use portcullis_domain::given::Given;
use portcullis_domain::names::{LedgerId, ReleaseId};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::signal::Signal;
use portcullis_domain::target::Target;
use portcullis_domain::time::Timestamp;
use portcullis_domain::{apply, decide, next};

pub(crate) use text::applications;

/// Everything one target was told, and what followed.
pub(crate) struct Story {
    /// The policy it was all decided with.
    pub(crate) policy: SealedPolicy,
    /// The signals with their surroundings, in order.
    pub(crate) steps: Vec<Step>,
    /// The state after them.
    pub(crate) end: Target,
}

/// One signal, and what follows from it.
pub(crate) struct Step {
    pub(crate) signal: Signal,
    pub(crate) given: Given,
    pub(crate) events: Vec<Event>,
}

impl Story {
    /// Lives of releases, good and bad, until there are so many events.
    pub(crate) fn of(events: usize) -> Result<Self> {
        let files = applications(1);
        let set = portcullis_policy::load(&files).map_err(|report| anyhow::anyhow!("{}", report.summary()))?;
        let policy = set.policies.into_iter().find(|policy| policy.target.env.as_str() == "production");
        lives::tell(policy.context("the application has no production")?, events)
    }

    /// The same signals again, on an empty ledger.
    pub(crate) fn replay(&self) -> Target {
        let mut target = Target::default();
        for step in &self.steps {
            for event in &decide(&target, &self.policy, &step.signal, &step.given) {
                apply(&mut target, event);
            }
            std::hint::black_box(next(&target));
        }
        target
    }

    /// All events.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.steps.iter().flat_map(|step| &step.events)
    }
}

/// What a story is told with: the state, and the signals so far.
struct Teller {
    policy: SealedPolicy,
    target: Target,
    now: Timestamp,
    next_release: u64,
    scopes: Vec<(Scope, ScopeState)>,
    ledger: LedgerId,
    steps: Vec<Step>,
}

impl Teller {
    fn new(policy: SealedPolicy) -> Result<Self> {
        Ok(Self {
            scopes: Scope::of(&policy.target).into_iter().map(|scope| (scope, ScopeState::default())).collect(),
            policy,
            target: Target::default(),
            now: Timestamp(1_800_000_000_000),
            next_release: 1,
            ledger: LedgerId::new("ledger-a")?,
            steps: Vec::new(),
        })
    }

    fn tell(&mut self, signal: Signal) {
        let given = Given {
            now: self.now,
            ledger: self.ledger.clone(),
            next_release: ReleaseId(self.next_release),
            scopes: self.scopes.clone(),
        };
        let events = decide(&self.target, &self.policy, &signal, &given);
        for event in &events {
            apply(&mut self.target, event);
            if let portcullis_domain::event::What::Opened { release, .. } = event.what {
                self.next_release = release.0 + 1;
            }
        }
        self.steps.push(Step { signal, given, events });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_told_again_ends_in_the_same_state_and_counts_its_events_without_a_gap() {
        let story = Story::of(1_000).unwrap();
        assert_eq!(story.replay(), story.end);
        let seqs: Vec<u64> = story.events().map(|event| event.seq.0).collect();
        assert!(seqs.len() >= 1_000);
        assert!(seqs.iter().copied().eq(1..=seqs.last().copied().unwrap()));
    }
}
