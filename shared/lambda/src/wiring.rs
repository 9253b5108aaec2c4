//! Which adapter is behind which port, by what the template says in the environment.
//!
//! | variable | who needs it |
//! | --- | --- |
//! | `LEDGER_TABLE` | everybody |
//! | `POLICY_LOCATION` (`s3://bucket/prefix`) | everybody |
//! | `WAKE_QUEUE_URL` (an address, or `production=ADDRESS,staging=ADDRESS`) | everybody |
//! | `READER_ROLES` (ARNs with commas between them) | the hub, where images are in other accounts |
//! | `EXTERNAL_ID` | whoever assumes a role |
//! | `BLOB_BUCKET` | the driver, for backups; a recorder, for events that are too large for a message |
//! | `BACKUP_DAYS`, `BACKUP_LOCK_MODE` (`GOVERNANCE` or `COMPLIANCE`) | the driver, where the bucket has Object Lock |
//! | `UNRECORDED_QUEUE_URL` | the recorders |
//! | `DEAD_LETTER_QUEUE_URL` | the sweep |

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use portcullis_aws::blobs::{BucketOptions, Keeping, S3Blobs};
use portcullis_aws::client::{self, Clients};
#[cfg(feature = "driver")]
use portcullis_aws::inspector::Inspector;
use portcullis_aws::ledger::DynamoLedger;
#[cfg(feature = "driver")]
use portcullis_aws::metrics::CloudWatch;
use portcullis_aws::policies::S3Policies;
use portcullis_aws::queue::{Message, SqsQueue};
use portcullis_aws::registry::EcrRegistry;
use portcullis_aws::roles::{ReaderRole, Roles};
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::time::Millis;
use portcullis_engine::absent::{Absent, NoSource};
use portcullis_engine::counting::{Appends, Counting};
use portcullis_engine::ports::{Blobs, Cluster, Metrics, PortError, PortResult, Ports, Queue, Registry};
use portcullis_engine::recorder::Recorder;

use crate::clock::LambdaClock;
use crate::current;
use crate::environment::{ConfigError, Environment};
use crate::health::{self, Metric};
use crate::running::Invocation;
use crate::settled::OnlySettles;
use crate::wakes::{self, WakeQueues};

/// The longest that an invocation waits for changed policies.
const MOST_REFRESHING: Duration = Duration::from_secs(3);

/// What a function does, and so what it is wired to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Recorder,
    Driver,
    Sweep,
    Reader,
}

/// What a function asks outside. A function passes what makes it, so that it links only what it uses.
pub(crate) struct Outside {
    metrics: Arc<dyn Metrics>,
    registry: Arc<dyn Registry>,
    cluster: Arc<dyn Cluster>,
}

impl Outside {
    /// What the driver asks: everything. It alone reaches clusters.
    #[cfg(feature = "driver")]
    pub(crate) fn all(roles: &Arc<Roles>) -> Self {
        let inspector = Inspector::new(roles.clone());
        Self {
            metrics: Arc::new(CloudWatch::new(roles.clone())),
            registry: Arc::new(EcrRegistry::new(roles.clone()).with_inspector(inspector)),
            cluster: Arc::new(crate::clusters::of_eks(roles.clone(), Arc::new(LambdaClock))),
        }
    }

    /// What who only tells asks: nothing.
    pub(crate) fn nothing(_: &Arc<Roles>) -> Self {
        Self { metrics: Arc::new(OnlySettles), registry: Arc::new(Absent), cluster: Arc::new(Absent) }
    }

    /// What the others ask: which images there are.
    pub(crate) fn images(roles: &Arc<Roles>) -> Self {
        let registry = Arc::new(EcrRegistry::new(roles.clone()));
        Self { metrics: Arc::new(OnlySettles), registry, cluster: Arc::new(Absent) }
    }
}

/// What a function is configured with. Nothing is made yet.
#[derive(Debug, Clone)]
pub struct Wiring {
    role: Role,
    table: String,
    wakes: WakeQueues,
    policies: (String, String),
    readers: Vec<ReaderRole>,
    external_id: Option<String>,
    bucket: Option<String>,
    lock: Option<Lock>,
    unrecorded: Option<String>,
    dead_letters: Option<String>,
}

/// How backups are kept from being deleted.
#[derive(Debug, Clone, Copy)]
struct Lock {
    short: Millis,
    compliance: bool,
}

impl Lock {
    /// What the template says; none = the bucket has no Object Lock.
    fn read(environment: &Environment) -> Result<Option<Self>, ConfigError> {
        let Some(days) = environment.optional("BACKUP_DAYS") else { return Ok(None) };
        let days: u64 = days.parse().map_err(|_| ConfigError::new("BACKUP_DAYS", "is not a whole number of days"))?;
        let compliance = match environment.required("BACKUP_LOCK_MODE")?.as_str() {
            "COMPLIANCE" => true,
            "GOVERNANCE" => false,
            _ => return Err(ConfigError::new("BACKUP_LOCK_MODE", "is neither GOVERNANCE nor COMPLIANCE")),
        };
        Ok(Some(Self { short: Millis::days(days), compliance }))
    }

    /// Each target's backups are kept as long as its policy says.
    fn by(self, policies: Arc<S3Policies>) -> Keeping {
        let of = move |key: &str| {
            let set = policies.set();
            let target = |policy: &&SealedPolicy| key.starts_with(&format!("{}/", policy.target));
            set.policies.iter().find(target).map(|policy| policy.backup_keep)
        };
        Keeping { of: Arc::new(of), short: self.short, compliance: self.compliance }
    }
}

/// A function's ports, and what it needs beside them.
pub struct Wired {
    /// The ports.
    pub ports: Ports,
    /// The recorder on them.
    pub recorder: Recorder,
    /// Where events go that cannot be recorded at once.
    pub unrecorded: UnrecordedQueue,
    /// How AWS is called in the function's own account.
    pub config: SdkConfig,
    policies: Arc<S3Policies>,
    appends: Arc<Appends>,
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
    /// When a variable is missing or malformed.
    pub fn recorder(environment: &Environment) -> Result<Self, ConfigError> {
        let wiring = Self::new(Role::Recorder, environment)?;
        Ok(Self { unrecorded: Some(environment.required("UNRECORDED_QUEUE_URL")?), ..wiring })
    }

    /// For `run-release`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn driver(environment: &Environment) -> Result<Self, ConfigError> {
        let wiring = Self::new(Role::Driver, environment)?;
        Ok(Self { bucket: Some(environment.required("BLOB_BUCKET")?), lock: Lock::read(environment)?, ..wiring })
    }

    /// For `sweep`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn sweep(environment: &Environment) -> Result<Self, ConfigError> {
        Self::new(Role::Sweep, environment)
    }

    /// For `notify`.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn readers(environment: &Environment) -> Result<Self, ConfigError> {
        Self::new(Role::Reader, environment)
    }

    fn new(role: Role, environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            role,
            table: environment.required("LEDGER_TABLE")?,
            wakes: WakeQueues::read(&environment.required(wakes::VARIABLE)?)?,
            policies: location(&environment.required("POLICY_LOCATION")?)?,
            readers: readers(environment)?,
            external_id: environment.optional("EXTERNAL_ID"),
            bucket: environment.optional("BLOB_BUCKET"),
            lock: None,
            unrecorded: environment.optional("UNRECORDED_QUEUE_URL"),
            dead_letters: environment.optional("DEAD_LETTER_QUEUE_URL"),
        })
    }

    /// Makes the clients, and reads the policies. The ledger's name comes with the first read of a target.
    ///
    /// # Errors
    /// When the policies do not answer, or not in time.
    pub(crate) async fn wire(&self, invocation: &Invocation, outside: fn(&Arc<Roles>) -> Outside) -> PortResult<Wired> {
        let until = invocation.until();
        match tokio::time::timeout_at(until, self.wire_for(invocation.account.clone(), outside)).await {
            Ok(wired) => wired,
            Err(_) => Err(PortError::new("reading the policies", "they did not come within this invocation")),
        }
    }

    async fn wire_for(&self, account: Option<String>, outside: fn(&Arc<Roles>) -> Outside) -> PortResult<Wired> {
        let config = client::load().await;
        let clients = Clients::new(config.clone());
        let clock = Arc::new(LambdaClock);
        let (bucket, prefix) = &self.policies;
        let policies = Arc::new(S3Policies::open(clients.s3(), bucket, prefix).await?);
        let blobs: Arc<dyn Blobs> = match &self.bucket {
            Some(bucket) => {
                let keeping = self.lock.map(|lock| lock.by(policies.clone()));
                let options = BucketOptions { bucket: bucket.clone(), keeping, ..BucketOptions::default() };
                Arc::new(S3Blobs::new(clients.s3(), options))
            }
            None => Arc::new(Absent),
        };
        let queue = |url: &str| SqsQueue::new(clients.sqs(), url, clock.clone()).with_trace(current::traceparent());
        let appends = Arc::new(Appends::default());
        let ledger = Arc::new(DynamoLedger::new(clients.dynamodb(), &self.table)?);
        let outside = outside(&Arc::new(self.roles(config.clone(), account)));
        let cluster = outside.cluster;
        #[cfg(feature = "local-cluster")]
        let cluster = self.local_cluster().await?.unwrap_or(cluster);
        let ports = Ports {
            ledger: Arc::new(Counting::new(ledger, appends.clone())),
            queue: self.wakes.open(|url| Arc::new(queue(url)) as Arc<dyn Queue>),
            blobs: blobs.clone(),
            registry: outside.registry,
            source: Arc::new(NoSource),
            cluster,
            metrics: outside.metrics,
            clock: clock.clone(),
            policies: policies.clone(),
        };
        #[cfg(feature = "faults")]
        let ports = crate::faults::between(ports);
        let unrecorded = self.unrecorded.as_ref().map(|url| queue(url).with_blobs(blobs.clone()));
        Ok(Wired {
            recorder: Recorder::new(ports.clone()),
            ports,
            unrecorded: UnrecordedQueue(unrecorded),
            config,
            policies,
            appends,
            sqs: clients.sqs(),
            dead_letters: self.dead_letters.clone(),
        })
    }

    /// The driver acts, so it has the roles that the policies name. Everybody else only reads.
    fn roles(&self, config: SdkConfig, account: Option<String>) -> Roles {
        let mut roles = Roles::new(config);
        if let Some(id) = &self.external_id {
            roles = roles.with_external_id(id);
        }
        match self.role {
            Role::Driver => roles,
            Role::Recorder | Role::Sweep | Role::Reader => roles.reading(account, self.readers.iter().cloned()),
        }
    }

    /// What stands in for a cluster in tests, where the environment asks for it.
    #[cfg(feature = "local-cluster")]
    async fn local_cluster(&self) -> PortResult<Option<Arc<dyn Cluster>>> {
        let Some(directory) = std::env::var_os("LOCAL_CLUSTER").filter(|_| self.role == Role::Driver) else {
            return Ok(None);
        };
        let options = portcullis_embedded::local::LocalOptions::new(directory);
        Ok(Some(portcullis_embedded::local::LocalCluster::start(options).await?))
    }
}

impl Wired {
    /// Looks whether other policies are to be in force, at most once a minute: what an invocation begins with. Where they
    /// cannot be read, or not soon, those in force stay: an alarm must not wait for them.
    pub async fn refresh(&self) {
        match tokio::time::timeout(MOST_REFRESHING, self.policies.refresh()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "whether the policies changed is not known; those in force stay");
            }
            Err(_) => tracing::warn!("whether the policies changed was not answered in time; those in force stay"),
        }
    }

    /// Tells how many appends were overtaken by others since the last time, if any were: what an invocation ends with.
    pub fn tell_conflicts(&self, function: &str) {
        let overtaken = self.appends.take().overtaken;
        if overtaken > 0 {
            let overtaken = Metric::count("append_conflicts", usize::try_from(overtaken).unwrap_or(usize::MAX));
            health::tell(self.ports.clock.now(), function, &[overtaken]);
        }
    }

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

/// The reader roles of other accounts.
fn readers(environment: &Environment) -> Result<Vec<ReaderRole>, ConfigError> {
    let role = |arn: String| {
        arn.parse::<ReaderRole>().map_err(|error| ConfigError::new("READER_ROLES", format!("has {error}")))
    };
    environment.list("READER_ROLES").into_iter().map(role).collect()
}

/// `s3://bucket/prefix`.
fn location(text: &str) -> Result<(String, String), ConfigError> {
    let wrong = || ConfigError::new("POLICY_LOCATION", "is not of the form s3://bucket/prefix");
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
        for (days, mode, wrong) in [
            ("30", "GOVERNANCE", None),
            ("30", "COMPLIANCE", None),
            ("a month", "GOVERNANCE", Some("BACKUP_DAYS")),
            ("30", "", Some("BACKUP_LOCK_MODE")),
            ("30", "governance", Some("BACKUP_LOCK_MODE")),
        ] {
            let more = [("BLOB_BUCKET", "backups"), ("BACKUP_DAYS", days), ("BACKUP_LOCK_MODE", mode)];
            let all: Vec<_> = VARIABLES.into_iter().chain(more).collect();
            assert_eq!(Wiring::driver(&Environment::of(&all)).err().map(|error| error.name), wrong, "{days} {mode}");
        }
    }

    #[test]
    fn a_function_refuses_to_start_with_a_variable_that_cannot_be_used() {
        let with = |name: &'static str, value: &'static str| {
            let rest = VARIABLES.into_iter().filter(|(other, _)| *other != name);
            let all: Vec<_> = rest.chain([(name, value)]).collect();
            Wiring::recorder(&Environment::of(&all))
        };
        assert_eq!(with("WAKE_QUEUE_URL", "production=").unwrap_err().name, "WAKE_QUEUE_URL");
        assert_eq!(with("POLICY_LOCATION", "policies").unwrap_err().name, "POLICY_LOCATION");
        let error = with("READER_ROLES", "arn:aws:iam::444444444444:role/reader,reader").unwrap_err();
        assert_eq!(error.name, "READER_ROLES");
        assert!(error.found.contains("\"reader\" is not the ARN of a role"), "{error}");
        let both = "arn:aws:iam::444444444444:role/reader, arn:aws:iam::333333333333:role/reader";
        assert_eq!(with("READER_ROLES", both).unwrap().readers.len(), 2);
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
