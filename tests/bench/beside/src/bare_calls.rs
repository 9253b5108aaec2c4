//! A Lambda function that reads two items of DynamoDB in one call and sends one message to SQS, by the AWS SDK and
//! nothing else: what `our-calls` is measured beside.

use std::collections::HashMap;
use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::de::IgnoredAny;
use tokio::sync::OnceCell;

struct Calls {
    table: String,
    queue: String,
    clients: OnceCell<(aws_sdk_dynamodb::Client, aws_sdk_sqs::Client)>,
}

impl Calls {
    async fn call(&self) -> Result<&'static str, Error> {
        let (dynamodb, sqs) = self.clients.get_or_init(clients).await;
        let key = |partition: &str, sort: &str| {
            HashMap::from([("pk", partition), ("sk", sort)].map(|(name, value)| {
                let value = AttributeValue::S(value.to_owned());
                (name.to_owned(), value)
            }))
        };
        let keys = KeysAndAttributes::builder()
            .keys(key("T#bench/production", "HEAD"))
            .keys(key("INSTALLATION", "LEDGER"))
            .consistent_read(true)
            .build()?;
        dynamodb.batch_get_item().request_items(&self.table, keys).send().await?;
        let wake = r#"{"wake":{"target":"bench/production","version":0,"at":0}}"#;
        sqs.send_message().queue_url(&self.queue).message_body(wake).delay_seconds(0).send().await?;
        Ok("called")
    }
}

/// As the SDK comes: this crate turns its default HTTP client off, so the SDK's own is named.
async fn clients() -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::rustls(CryptoMode::Ring)).build_https();
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http).load().await;
    (aws_sdk_dynamodb::Client::new(&config), aws_sdk_sqs::Client::new(&config))
}

fn main() -> Result<(), Error> {
    // Not the queue of wakes: what is in that one is written by our own adapter only.
    let (table, queue) = (std::env::var("LEDGER_TABLE")?, std::env::var("UNRECORDED_QUEUE_URL")?);
    let calls = Arc::new(Calls { table, queue, clients: OnceCell::new() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lambda_runtime::run(service_fn(move |_: LambdaEvent<IgnoredAny>| {
        let calls = calls.clone();
        async move { calls.call().await }
    })))
}
