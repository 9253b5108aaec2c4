//! Where wakes go: to the one executor's queue, or, where each account with a cluster has an executor of its own, to the
//! queue of the executor that drives the target's environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::names::EnvName;
use portcullis_domain::time::Millis;
use portcullis_engine::ports::{PortError, PortResult, Queue, Received, Wake};

use crate::environment::ConfigError;

/// The variable that says it.
pub(crate) const VARIABLE: &str = "WAKE_QUEUE_URL";

/// The queues of wakes by their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WakeQueues {
    /// One for every environment.
    One(String),
    /// One per environment.
    ByEnvironment(BTreeMap<EnvName, String>),
}

impl WakeQueues {
    /// Reads `https://…`, or `production=https://…,staging=https://…`.
    ///
    /// # Errors
    /// With what is wrong, and where: a wake that has nowhere to go would be missed when it is wanted.
    pub(crate) fn read(text: &str) -> Result<Self, ConfigError> {
        let wrong = |found: String| ConfigError::new(VARIABLE, found);
        if is_address(text) && !text.contains(',') {
            return Ok(Self::One(text.to_owned()));
        }
        let mut queues = BTreeMap::new();
        for item in text.split(',').map(str::trim) {
            let (name, address) = item.split_once('=').filter(|(_, address)| is_address(address)).ok_or_else(|| {
                wrong(format!("has {item:?}, which is neither a queue's address nor ENVIRONMENT=ADDRESS"))
            })?;
            let environment = EnvName::new(name).map_err(|error| wrong(format!("has {item:?}: {error}")))?;
            if queues.insert(environment, address.to_owned()).is_some() {
                return Err(wrong(format!("names the environment {name} twice")));
            }
        }
        Ok(Self::ByEnvironment(queues))
    }

    /// The port on them.
    pub(crate) fn open(&self, queue: impl Fn(&str) -> Arc<dyn Queue>) -> Arc<dyn Queue> {
        match self {
            Self::One(address) => queue(address),
            Self::ByEnvironment(queues) => {
                let queues = queues.iter().map(|(environment, address)| (environment.clone(), queue(address)));
                Arc::new(ByEnvironment(queues.collect()))
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !text.contains('=') && !text.contains(char::is_whitespace))
}

/// Sends each wake to the queue of its target's environment. Each is received by its own executor, not here.
struct ByEnvironment(BTreeMap<EnvName, Arc<dyn Queue>>);

#[async_trait]
impl Queue for ByEnvironment {
    async fn send(&self, wake: Wake) -> PortResult<()> {
        let environment = &wake.target.env;
        let Some(queue) = self.0.get(environment) else {
            let found = format!("{VARIABLE} names no queue for the environment {environment}");
            return Err(PortError::new(format!("sending a wake for {}", wake.target), found));
        };
        queue.send(wake).await
    }

    async fn receive(&self, _: usize, _: Millis) -> PortResult<Vec<Received>> {
        Err(PortError::new("receiving wakes", "each queue is received by the executor of its environments"))
    }

    async fn done(&self, _: &str) -> PortResult<()> {
        Err(PortError::new("ending a wake", "each queue is received by the executor of its environments"))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_domain::names::Seq;
    use portcullis_domain::time::Timestamp;
    use portcullis_engine::memory::{Faults, ManualClock, MemoryQueue};

    use super::*;

    const ONE: &str = "https://sqs.us-east-1.amazonaws.com/111111111111/portcullis-wakes";
    const OTHER: &str = "https://sqs.us-east-1.amazonaws.com/333333333333/portcullis-wakes";

    #[test]
    fn an_address_is_one_queue_and_a_list_is_one_per_environment() {
        assert_eq!(WakeQueues::read(ONE).unwrap(), WakeQueues::One(ONE.to_owned()));
        let list = WakeQueues::read(&format!("production={ONE}, staging={OTHER}")).unwrap();
        let queues = [("production", ONE), ("staging", OTHER)];
        let queues = queues.map(|(name, address)| (EnvName::new(name).unwrap(), address.to_owned()));
        assert_eq!(list, WakeQueues::ByEnvironment(BTreeMap::from(queues)));
        assert!(matches!(WakeQueues::read(&format!("production={ONE}")).unwrap(), WakeQueues::ByEnvironment(_)));
    }

    #[test]
    fn what_is_malformed_is_said_with_the_part_that_is() {
        for (text, part) in [
            ("portcullis-wakes".to_owned(), "\"portcullis-wakes\""),
            (format!("{ONE},{OTHER}"), "neither a queue's address nor"),
            (format!("production={ONE},{OTHER}"), OTHER),
            (format!("production={ONE},"), "\"\""),
            ("production=".to_owned(), "\"production=\""),
            (format!("Production={ONE}"), "environment name"),
            (format!("production={ONE},production={OTHER}"), "production twice"),
            (format!("production=staging={ONE}"), "production=staging="),
        ] {
            let error = WakeQueues::read(&text).unwrap_err();
            assert_eq!(error.name, VARIABLE);
            assert!(error.found.contains(part), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_wake_goes_to_the_executor_of_its_environment_and_to_no_other() {
        let clock = ManualClock::new(Timestamp(0));
        let made = BTreeMap::from([ONE, OTHER].map(|url| (url, MemoryQueue::new(clock.clone(), Faults::default()))));
        let queues = WakeQueues::read(&format!("production={ONE},staging={OTHER}")).unwrap();
        let queue = queues.open(|address| made[address].clone());
        let wake = |target: &str| Wake { target: target.parse().unwrap(), version: Seq(1), at: Timestamp(0) };
        queue.send(wake("shop/staging")).await.unwrap();
        assert_eq!((made[ONE].len(), made[OTHER].len()), (0, 1));
        queue.send(wake("shop/production")).await.unwrap();
        assert_eq!((made[ONE].len(), made[OTHER].len()), (1, 1));
        let error = queue.send(wake("shop/test")).await.unwrap_err();
        assert!(error.to_string().contains("no queue for the environment test"), "{error}");
    }
}
