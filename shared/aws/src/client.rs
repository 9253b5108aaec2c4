//! How AWS is called: one HTTP client, one set of timeouts and retries, one service client each, made when first asked
//! for.
//!
//! Nothing here opens a connection or reads a certificate: a function that is started and asked nothing costs nothing.

mod roots;

#[cfg(any(feature = "ledger", feature = "queue", feature = "blobs"))]
use std::sync::OnceLock;
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

pub use roots::http_client;

/// A connection inside a region takes a few milliseconds; a second is a lost packet sent twice.
const CONNECT: Duration = Duration::from_secs(1);
/// Until an answer begins. The slowest hundredth of DynamoDB's answers takes tens of milliseconds; past three seconds a
/// second attempt on another connection is the quicker way.
const READ: Duration = Duration::from_secs(3);
/// One attempt with its connection and its answer.
const ATTEMPT: Duration = Duration::from_secs(4);
/// A call with all its attempts. GitHub waits 10 s for the acknowledgement of a webhook: this leaves it time to be put
/// in the queue instead.
const OPERATION: Duration = Duration::from_secs(8);
/// With the pauses below: a throttled call is over after about a second, one that is not answered by [`OPERATION`].
const ATTEMPTS: u32 = 4;
/// The upper bound of the first pause; each pause is random between zero and its bound, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The largest bound of a pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Region, credentials and endpoints from the surroundings, as every AWS tool reads them: environment, container,
/// profile, instance; `AWS_ENDPOINT_URL` is honoured.
pub async fn load() -> SdkConfig {
    loader().load().await
}

/// The same, for whoever has to say more: another region, other credentials.
pub fn loader() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client())
        .timeout_config(timeouts(READ, ATTEMPT, OPERATION))
        .retry_config(retries())
}

/// Timeouts of calls whose answer may begin within `read`; one attempt may take `attempt`, all of them `operation`.
pub fn timeouts(read: Duration, attempt: Duration, operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(read)
        .operation_attempt_timeout(attempt)
        .operation_timeout(operation)
        .build()
}

/// Retries of what is safe to repeat: throttling, lost connections, answers 500 to 504; with full jitter.
pub fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE)
}

/// The clients of one account and region, each made when first asked for.
#[derive(Debug)]
pub struct Clients {
    config: SdkConfig,
    #[cfg(feature = "ledger")]
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    #[cfg(feature = "queue")]
    sqs: OnceLock<aws_sdk_sqs::Client>,
    #[cfg(feature = "blobs")]
    s3: OnceLock<aws_sdk_s3::Client>,
}

impl Clients {
    /// Clients that are configured like this; none is made yet.
    pub fn new(config: SdkConfig) -> Self {
        Self {
            config,
            #[cfg(feature = "ledger")]
            dynamodb: OnceLock::new(),
            #[cfg(feature = "queue")]
            sqs: OnceLock::new(),
            #[cfg(feature = "blobs")]
            s3: OnceLock::new(),
        }
    }

    /// What they are configured with.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// DynamoDB.
    #[cfg(feature = "ledger")]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        self.dynamodb.get_or_init(|| aws_sdk_dynamodb::Client::new(&self.config)).clone()
    }

    /// SQS.
    #[cfg(feature = "queue")]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        self.sqs.get_or_init(|| aws_sdk_sqs::Client::new(&self.config)).clone()
    }

    /// S3. Whole objects travel in one call: an attempt may take as long as a large backup over a slow line.
    #[cfg(feature = "blobs")]
    pub fn s3(&self) -> aws_sdk_s3::Client {
        self.s3.get_or_init(|| s3(&self.config)).clone()
    }
}

#[cfg(feature = "blobs")]
fn s3(config: &SdkConfig) -> aws_sdk_s3::Client {
    /// One attempt to send or to receive an object.
    const ATTEMPT: Duration = Duration::from_secs(30);
    /// An object with all attempts.
    const OPERATION: Duration = Duration::from_mins(1);
    let builder = aws_sdk_s3::config::Builder::from(config)
        // S3 answers a put when the object is stored three times: it may think longer than a database.
        .timeout_config(timeouts(READ * 3, ATTEMPT, OPERATION))
        // An endpoint of one's own has no name per bucket.
        .force_path_style(config.endpoint_url().is_some());
    aws_sdk_s3::Client::from_conf(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_over_before_github_gives_up() {
        assert!(READ < ATTEMPT && ATTEMPT < OPERATION && OPERATION < Duration::from_secs(10));
        let pauses: Duration = (0..ATTEMPTS - 1).map(|n| (FIRST_PAUSE * 2_u32.pow(n)).min(LONGEST_PAUSE)).sum();
        assert!(pauses < Duration::from_secs(1), "{pauses:?}");
    }
}
