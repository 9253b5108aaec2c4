//! The blobs port on S3: conditional puts, a SHA-256 that is checked on both sides, encryption and retention as told.
//!
//! S3 checks the hash that is sent with a put, and is asked for it with every get; the bytes are then hashed here as
//! well, because a store that keeps backups is believed least. The hash also stands in the object's metadata: a copy
//! made by replication or by hand may lose the checksum but keeps the metadata.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ObjectLockMode, ServerSideEncryption};
use aws_smithy_types::base64;
use portcullis_domain::digest::Digest;
use portcullis_domain::time::Millis;
use portcullis_engine::ports::{Blobs, PortError, PortResult};

use crate::error;

/// The metadata that holds the hash of the bytes.
const SHA256: &str = "sha256";
/// The metadata that names the put: one whose answer was lost is recognised.
const ATTEMPT: &str = "attempt";
/// S3 answers a conditional put with a conflict while another one of the same key is under way; so often is it sent.
const CONFLICTS: u32 = 6;
/// The pause after the first conflict; it doubles, and each is random between half and the whole.
const PAUSE: Duration = Duration::from_millis(50);

/// The tag of what is kept for a short time only: the bucket's lifecycle rule goes by it.
const SHORT: &str = "retention=short";

/// Where blobs are kept, and how.
#[derive(Debug, Clone, Default)]
pub struct BucketOptions {
    /// The bucket.
    pub bucket: String,
    /// Stands before every key, such as `portcullis/`; empty = nothing does.
    pub prefix: String,
    /// The KMS key that encrypts each object (its ARN); none = the bucket's default encryption.
    pub kms_key: Option<String>,
    /// How long objects are kept from being deleted; none = as the bucket says by itself. The bucket must have Object
    /// Lock switched on.
    pub keeping: Option<Keeping>,
}

/// Says how long a blob is kept, by its key; none = as the bucket says by itself.
pub type KeepFor = Arc<dyn Fn(&str) -> Option<Millis> + Send + Sync>;

/// Object Lock, and the tag for the lifecycle, by what the policies say (Amazon S3 User Guide, "Locking objects with Object
/// Lock").
#[derive(Clone)]
pub struct Keeping {
    /// How long each is kept.
    pub of: KeepFor,
    /// What is kept no longer than this has the tag `retention=short`.
    pub short: Millis,
    /// Nobody can shorten it, not even the account's owner; otherwise those with the right to bypass it can.
    pub compliance: bool,
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping")
            .field("short", &self.short)
            .field("compliance", &self.compliance)
            .finish_non_exhaustive()
    }
}

/// Blobs in a bucket.
#[derive(Debug, Clone)]
pub struct S3Blobs {
    client: Client,
    options: BucketOptions,
}

impl S3Blobs {
    /// Blobs in this bucket.
    pub fn new(client: Client, options: BucketOptions) -> Self {
        Self { client, options }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.options.prefix)
    }

    fn put_object(&self, key: &str, bytes: &[u8], attempt: &str) -> PutObjectFluentBuilder {
        let sha256 = Digest::of(bytes);
        let mut put = self
            .client
            .put_object()
            .bucket(&self.options.bucket)
            .key(self.key(key))
            .body(ByteStream::from(bytes.to_vec()))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(base64::encode(sha256.bytes()))
            .metadata(SHA256, sha256.hex())
            .metadata(ATTEMPT, attempt);
        if let Some(kms_key) = &self.options.kms_key {
            // With a bucket key S3 asks KMS once per bucket and while, not once per object.
            put = put
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .ssekms_key_id(kms_key)
                .bucket_key_enabled(true);
        }
        if let Some(keeping) = &self.options.keeping
            && let Some(keep) = (keeping.of)(key)
        {
            let mode = if keeping.compliance { ObjectLockMode::Compliance } else { ObjectLockMode::Governance };
            let until = DateTime::from(SystemTime::now() + Duration::from_millis(keep.0));
            put = put.object_lock_mode(mode).object_lock_retain_until_date(until);
            if keep <= keeping.short {
                put = put.tagging(SHORT);
            }
        }
        put
    }

    /// Whether the object that is there was stored by this put.
    async fn is_ours(&self, doing: &str, key: &str, attempt: &str) -> PortResult<bool> {
        let head = self.client.head_object().bucket(&self.options.bucket).key(self.key(key)).send().await;
        let head = head.map_err(|error| PortError::new(doing, error::found(&error)))?;
        Ok(head.metadata().and_then(|metadata| metadata.get(ATTEMPT)).is_some_and(|found| found == attempt))
    }
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put(&self, key: &str, bytes: &[u8], only_new: bool) -> PortResult<bool> {
        let doing = format!("storing the blob {key} in {}", self.options.bucket);
        let attempt = format!("{:032x}", rand::random::<u128>());
        for conflicts in 0..CONFLICTS {
            let mut put = self.put_object(key, bytes, &attempt);
            if only_new {
                put = put.if_none_match("*");
            }
            let Err(error) = put.send().await else { return Ok(true) };
            match error::code(&error) {
                // A put that was repeated because its answer was lost finds itself.
                Some("PreconditionFailed") if only_new => return self.is_ours(&doing, key, &attempt).await,
                Some("ConditionalRequestConflict" | "OperationAborted") => {
                    tokio::time::sleep((PAUSE * 2_u32.pow(conflicts)).mul_f64(rand::random_range(0.5..1.0))).await;
                }
                _ => return Err(PortError::new(doing, error::found(&error))),
            }
        }
        Err(PortError::new(doing, format!("others were putting it all the time ({CONFLICTS} attempts)")))
    }

    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>> {
        let doing = format!("reading the blob {key} in {}", self.options.bucket);
        let get = self.client.get_object().bucket(&self.options.bucket).key(self.key(key));
        let found = match get.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(PortError::new(doing, error::found(&error))),
        };
        let told = told(&found);
        // The SDK compares with what S3 says while it reads; its error says no more than this.
        let bytes = found.body.collect().await.map_err(|error| {
            PortError::new(&doing, format!("its bytes did not arrive, or do not fit their checksum: {error}"))
        })?;
        let bytes = bytes.to_vec();
        let hash = Digest::of(&bytes);
        if told.is_empty() {
            return Err(PortError::new(doing, "it has no SHA-256: it was not stored by Portcullis"));
        }
        if told.iter().any(|told| *told != hash.hex()) {
            return Err(PortError::new(doing, "its bytes do not fit their checksum"));
        }
        Ok(Some(bytes))
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<String>> {
        let doing = format!("listing the blobs {prefix} in {}", self.options.bucket);
        let list = self.client.list_objects_v2().bucket(&self.options.bucket).prefix(self.key(prefix));
        let mut pages = list.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| PortError::new(&doing, error::found(&error)))?;
            let found = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
            keys.extend(found.filter_map(|key| key.strip_prefix(&self.options.prefix).map(str::to_owned)));
        }
        keys.sort_unstable();
        Ok(keys)
    }
}

fn is_absent<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    matches!(error::code(error), Some("NoSuchKey"))
}

/// The hashes that S3 tells of an object, in hexadecimal digits: its checksum of the whole, and the metadata.
fn told(object: &GetObjectOutput) -> Vec<String> {
    let metadata = object.metadata().and_then(|metadata| metadata.get(SHA256)).cloned();
    // A checksum of parts ends in `-` and their number, and is none of the bytes.
    let checksum = object.checksum_sha256().and_then(|text| base64::decode(text).ok());
    let checksum = checksum.and_then(|bytes| Some(Digest::from_bytes(bytes.try_into().ok()?).hex()));
    metadata.into_iter().chain(checksum).collect()
}
