//! What a store needs to find in an emulator: settings, a table, a queue, a bucket. Each is made as the template makes
//! it, with a name that no other test has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration,
};
use portcullis_aws::client;
use portcullis_aws::ledger::table;

use crate::wire::Wire;

/// Where the emulated things are.
pub const REGION: &str = "eu-west-1";

/// The product's own settings, with this endpoint and credentials that open nothing.
pub async fn config(endpoint: &str) -> SdkConfig {
    // An emulator on a busy machine is slower than AWS.
    let patient = client::timeouts(Duration::from_secs(20), Duration::from_secs(20), Duration::from_mins(1));
    client::loader()
        .region(Region::from_static(REGION))
        .credentials_provider(Credentials::from_keys("testing", "testing", None))
        .endpoint_url(endpoint)
        .timeout_config(patient)
        .load()
        .await
}

/// The same settings over a wire.
pub fn over(config: &SdkConfig, wire: &Wire) -> SdkConfig {
    config.to_builder().http_client(wire.client()).build()
}

/// A name that no other test of this machine has.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes the ledger's table as the template does, by the same constants.
pub async fn table(client: &aws_sdk_dynamodb::Client) -> String {
    let name = unique("ledger");
    let attribute = |name: &str, kind| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().expect("an attribute")
    };
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a key");
    let overdue = GlobalSecondaryIndex::builder()
        .index_name(table::OVERDUE_INDEX)
        .key_schema(key(table::OVERDUE_PARTITION_KEY, KeyType::Hash))
        .key_schema(key(table::OVERDUE_SORT_KEY, KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .expect("an index");
    client
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute(table::PARTITION_KEY, ScalarAttributeType::S))
        .attribute_definitions(attribute(table::SORT_KEY, ScalarAttributeType::S))
        .attribute_definitions(attribute(table::OVERDUE_PARTITION_KEY, ScalarAttributeType::S))
        .attribute_definitions(attribute(table::OVERDUE_SORT_KEY, ScalarAttributeType::N))
        .key_schema(key(table::PARTITION_KEY, KeyType::Hash))
        .key_schema(key(table::SORT_KEY, KeyType::Range))
        .global_secondary_indexes(overdue)
        .send()
        .await
        .expect("making the table");
    let expiry = TimeToLiveSpecification::builder().attribute_name(table::EXPIRES).enabled(true).build();
    client
        .update_time_to_live()
        .table_name(&name)
        .time_to_live_specification(expiry.expect("a time to live"))
        .send()
        .await
        .expect("setting the time to live");
    name
}

/// Makes a queue; its address.
pub async fn queue(client: &aws_sdk_sqs::Client) -> String {
    let made = client.create_queue().queue_name(unique("wakes")).send().await.expect("making the queue");
    made.queue_url.expect("the queue's address")
}

/// Makes a bucket that keeps versions; with `lock`, one whose objects can be kept from being deleted.
pub async fn bucket(client: &aws_sdk_s3::Client, lock: bool) -> String {
    let name = unique("blobs");
    let here = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(REGION)).build();
    client
        .create_bucket()
        .bucket(&name)
        .create_bucket_configuration(here)
        .object_lock_enabled_for_bucket(lock)
        .send()
        .await
        .expect("making the bucket");
    let versions = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    client
        .put_bucket_versioning()
        .bucket(&name)
        .versioning_configuration(versions)
        .send()
        .await
        .expect("keeping versions");
    name
}
