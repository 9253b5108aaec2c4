//! Which adapter is behind which port, by what the template says in the environment.
//!
//! | variable | who needs it |
//! | --- | --- |
//! | `LEDGER_TABLE` | everybody |
//! | `POLICY_LOCATION` (`s3://bucket/prefix`) | everybody |
//! | `WAKE_QUEUE_URL` | everybody |
//! | `BLOB_BUCKET` | the driver, for backups; a recorder, for events that are too large for a message |
//! | `UNRECORDED_QUEUE_URL` | the recorders |
//! | `DEAD_LETTER_QUEUE_URL` | the sweep |

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_aws::blobs::{BucketOptions, S3Blobs};
use portcullis_aws::client::{self, Clients};
use portcullis_aws::ledger::DynamoLedger;
use portcullis_aws::metrics::{CloudWatch, MetricSources};
use portcullis_aws::policies::S3Policies;
use portcullis_aws::queue::{Message, SqsQueue};
use portcullis_aws::registry::EcrRegistry;
use portcullis_aws::roles::Roles;
use portcullis_engine::absent::{Absent, NoSource};
use portcullis_engine::ports::{Blobs, Cluster, Metrics, PortError, PortResult, Ports};
use portcullis_engine::recorder::Recorder;

use crate::clock::LambdaClock;
use crate::environment::{ConfigError, Environment};

/// What a function does, and so what it is wired to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Recorder,
    Driver,
    Sweep,
    Reader,
}

/// What a function is configured with. Nothing is made yet.
#[derive(Debug, Clone)]
pub struct Wiring {
    role: Role,
    table: String,
    wakes: String,
    policies: (String, String),
    bucket: Option<String>,
    unrecorded: Option<String>,
    dead_letters: Option<String>,
}

/// A function's ports, and what it needs beside them.
pub struct Wired {
    /// The ports.
    pub ports: Ports,
    /// The recorder on them.
    pub recorder: Recorder,
    /// Where events go that cannot be recorded at once.
    pub unrecorded: UnrecordedQueue,
    sqs: aws_sdk_sqs::Client,
    dead_letters: Option<String>,
}

/// The queue of events that could not be recorded when they came.
pub struct UnrecordedQueue(Option<SqsQueue>);

impl UnrecordedQueue {
    /// Puts an event there, as it came.
    ///
    /// # Errors
    /// When this function has no such queue, or it does not answer.
    pub async fn put(&self, event: &[u8]) -> PortResult<()> {
        self.queue()?.send_unrecorded("event", event).await
    }

    /// The event of a message: one of ours, or an event that its sender put there itself, after it could not be
    /// delivered.
    ///
    /// # Errors
    /// When what the message points at cannot be read.
    pub async fn body(&self, message: &str) -> PortResult<Vec<u8>> {
        match Message::decode(message) {
            Ok(Message::Event(event)) => self.queue()?.unrecorded(&event).await,
            _ => Ok(message.as_bytes().to_vec()),
        }
    }

    fn queue(&self) -> PortResult<&SqsQueue> {
        self.0.as_ref().ok_or_else(|| PortError::new("keeping an event for later", "this function has no queue for it"))
    }
}

impl Wiring {
    /// For an `on-*` function.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn recorder(environment: &Environment) -> Result<Self, ConfigError> {
        let wiring = Self::new(Role::Recorder, environment)?;
        Ok(Self { unrecorded: Some(environment.required("UNRECORDED_QUEUE_URL")?), ..wiring })
    }

    /// For `run-release`.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn driver(environment: &Environment) -> Result<Self, ConfigError> {
        let wiring = Self::new(Role::Driver, environment)?;
        Ok(Self { bucket: Some(environment.required("BLOB_BUCKET")?), ..wiring })
    }

    /// For `sweep`.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn sweep(environment: &Environment) -> Result<Self, ConfigError> {
        Self::new(Role::Sweep, environment)
    }

    /// For `notify`.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn readers(environment: &Environment) -> Result<Self, ConfigError> {
        Self::new(Role::Reader, environment)
    }

    fn new(role: Role, environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            role,
            table: environment.required("LEDGER_TABLE")?,
            wakes: environment.required("WAKE_QUEUE_URL")?,
            policies: location(&environment.required("POLICY_LOCATION")?)?,
            bucket: environment.optional("BLOB_BUCKET"),
            unrecorded: environment.optional("UNRECORDED_QUEUE_URL"),
            dead_letters: environment.optional("DEAD_LETTER_QUEUE_URL"),
        })
    }

    /// Makes the clients and reads what has to be read once: the ledger's name and the policies.
    ///
    /// # Errors
    /// When the ledger or the policies do not answer.
    pub async fn wire(&self) -> PortResult<Wired> {
        let config = client::load().await;
        let clients = Clients::new(config.clone());
        let clock = Arc::new(LambdaClock);
        let (bucket, prefix) = &self.policies;
        let (ledger, policies) = tokio::try_join!(
            DynamoLedger::open(clients.dynamodb(), &self.table),
            S3Policies::open(clients.s3(), bucket, prefix)
        )?;
        let blobs: Arc<dyn Blobs> = match &self.bucket {
            Some(bucket) => {
                let options = BucketOptions { bucket: bucket.clone(), ..BucketOptions::default() };
                Arc::new(S3Blobs::new(clients.s3(), options))
            }
            None => Arc::new(Absent),
        };
        let roles = Arc::new(Roles::new(config));
        let metrics: Arc<dyn Metrics> = match self.role {
            Role::Driver => Arc::new(CloudWatch::new(roles.clone(), MetricSources(BTreeMap::new()))),
            _ => Arc::new(Absent),
        };
        let ports = Ports {
            ledger: Arc::new(ledger),
            queue: Arc::new(SqsQueue::new(clients.sqs(), &self.wakes, clock.clone())),
            blobs: blobs.clone(),
            registry: Arc::new(EcrRegistry::new(roles)),
            source: Arc::new(NoSource),
            cluster: self.cluster().await?,
            metrics,
            clock: clock.clone(),
            policies: Arc::new(policies),
        };
        let unrecorded = self
            .unrecorded
            .as_ref()
            .map(|url| SqsQueue::new(clients.sqs(), url, clock.clone()).with_blobs(blobs.clone()));
        Ok(Wired {
            recorder: Recorder::new(ports.clone()),
            ports,
            unrecorded: UnrecordedQueue(unrecorded),
            sqs: clients.sqs(),
            dead_letters: self.dead_letters.clone(),
        })
    }

    async fn cluster(&self) -> PortResult<Arc<dyn Cluster>> {
        #[cfg(feature = "local-cluster")]
        if self.role == Role::Driver
            && let Ok(directory) = std::env::var("LOCAL_CLUSTER")
        {
            let options = portcullis_embedded::local::LocalOptions::new(directory.into());
            return Ok(portcullis_embedded::local::LocalCluster::start(options).await?);
        }
        Ok(Arc::new(Absent))
    }
}

impl Wired {
    /// Messages that wait in the dead letters; none where it could not be asked.
    pub async fn dead_letters(&self) -> Option<usize> {
        use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
        let url = self.dead_letters.as_ref()?;
        let asked = self.sqs.get_queue_attributes().queue_url(url).attribute_names(ApproximateNumberOfMessages);
        match asked.send().await {
            Ok(told) => told.attributes?.get(&ApproximateNumberOfMessages)?.parse().ok(),
            Err(error) => {
                tracing::warn!(error = %aws_sdk_sqs::error::DisplayErrorContext(error), "the dead letters could not be counted");
                None
            }
        }
    }
}

/// `s3://bucket/prefix`.
fn location(text: &str) -> Result<(String, String), ConfigError> {
    let wrong = || ConfigError { name: "POLICY_LOCATION", found: "is not of the form s3://bucket/prefix".to_owned() };
    let (bucket, prefix) = text.strip_prefix("s3://").ok_or_else(wrong)?.split_once('/').ok_or_else(wrong)?;
    if bucket.is_empty() {
        return Err(wrong());
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: [(&str, &str); 4] = [
        ("LEDGER_TABLE", "ledger"),
        ("WAKE_QUEUE_URL", "https://sqs.example/wakes"),
        ("POLICY_LOCATION", "s3://policies/live/"),
        ("UNRECORDED_QUEUE_URL", "https://sqs.example/unrecorded"),
    ];

    #[test]
    fn a_function_that_lacks_a_variable_says_which() {
        assert!(Wiring::recorder(&Environment::of(&VARIABLES)).is_ok());
        for (missing, _) in VARIABLES {
            let rest: Vec<_> = VARIABLES.into_iter().filter(|(name, _)| *name != missing).collect();
            let error = Wiring::recorder(&Environment::of(&rest)).unwrap_err();
            assert_eq!(error.name, missing);
        }
        let error = Wiring::driver(&Environment::of(&VARIABLES)).unwrap_err();
        assert_eq!(error.name, "BLOB_BUCKET", "backups have nowhere to go");
    }

    #[test]
    fn a_location_is_a_bucket_and_a_prefix() {
        assert_eq!(location("s3://policies/live/").unwrap(), ("policies".to_owned(), "live/".to_owned()));
        assert_eq!(location("s3://policies/").unwrap(), ("policies".to_owned(), String::new()));
        for wrong in ["policies/live", "s3://policies", "s3:///live", "https://policies/live"] {
            assert!(location(wrong).is_err(), "{wrong}");
        }
    }
}
