//! The alarm that nobody needs: raised by a schedule, so that the whole path from CloudWatch to the ledger is tried again
//! and again. It is recorded in the ledger of its own target, to which nothing is ever deployed, and in no other, whatever
//! patterns other policies have: one that says `*` must not lose its release to it.

use std::sync::Arc;

use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{AlarmName, InvalidName, TargetId};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_engine::ports::{Policies, Ports};
use portcullis_engine::recorder::Recorder;

use crate::environment::{ConfigError, Environment};

/// The variable with its name; without it no alarm is synthetic.
const VARIABLE: &str = "SYNTHETIC_ALARM";
/// Its target, as `infra/synthetic/policy.yaml` has it.
const TARGET: &str = "portcullis/synthetic";

/// The synthetic alarm and its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synthetic {
    alarm: AlarmName,
    target: TargetId,
}

impl Synthetic {
    /// The one that the environment names; none = it names none.
    ///
    /// # Errors
    /// When what it names can be no alarm's name.
    pub(crate) fn configure(environment: &Environment) -> Result<Option<Self>, ConfigError> {
        let Some(name) = environment.optional(VARIABLE) else { return Ok(None) };
        let wrong = |error: InvalidName| ConfigError::new(VARIABLE, error.to_string());
        let (alarm, target) = (AlarmName::new(&name), TARGET.parse::<TargetId>());
        Ok(Some(Self { alarm: alarm.map_err(wrong)?, target: target.map_err(wrong)? }))
    }

    /// Whether a fact is of it.
    pub(crate) fn is(&self, fact: &Fact) -> bool {
        matches!(&fact.kind, FactKind::AlarmChanged { alarm, .. } if *alarm == self.alarm)
    }

    /// Whether a fact says that it was raised, rather than that it fell silent.
    pub(crate) fn is_raised(&self, fact: &Fact) -> bool {
        self.is(fact) && matches!(fact.kind, FactKind::AlarmChanged { state: AlarmState::Alarm, .. })
    }

    /// A recorder that knows its target and no other.
    pub(crate) fn recorder(&self, ports: &Ports) -> Recorder {
        let policies = Arc::new(Only { target: self.target.clone(), all: ports.policies.clone() });
        Recorder::new(Ports { policies, ..ports.clone() })
    }
}

/// The policy of one target.
struct Only {
    target: TargetId,
    all: Arc<dyn Policies>,
}

impl Policies for Only {
    fn get(&self, target: &TargetId) -> Option<SealedPolicy> {
        self.all.get(target).filter(|_| *target == self.target)
    }

    fn all(&self) -> Vec<SealedPolicy> {
        self.all.get(&self.target).into_iter().collect()
    }
}
