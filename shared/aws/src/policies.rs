//! The policies in force, read from S3: every `.yaml` and `.yml` file right under a prefix of a bucket.
//!
//! They are read anew when one of them changed, looked at no more often than once a minute. New ones that have errors do
//! not come into force: the last good ones stay, and the errors are logged once. A file is read in the very version that
//! was listed, and that version is kept with it, so that a decision's policy can be found again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use portcullis_domain::names::TargetId;
use portcullis_domain::policy::SealedPolicy;
use portcullis_engine::ports::{Policies, PortError, PortResult};
use portcullis_policy::{PolicySet, Style};

use crate::error;

/// A file larger than this is no policy. Bytes.
const MOST: i64 = 1024 * 1024;
/// So long is what was read taken as current.
const LIFE: Duration = Duration::from_mins(1);

/// One policy file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Changes with the bytes.
    pub etag: String,
    /// The version of the object; none = the bucket keeps no versions.
    pub version: Option<String>,
}

/// What a look at the bucket came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// The last look is not a minute old: none was taken.
    Fresh,
    /// Nothing changed.
    Same,
    /// Other policies are in force now, for so many environments.
    Changed(usize),
    /// What is there has errors; the last good policies stay in force. The errors, as `policy check` shows them.
    Refused(String),
}

/// Policies in a bucket.
#[derive(Debug)]
pub struct S3Policies {
    client: Client,
    bucket: String,
    prefix: String,
    state: Mutex<State>,
    /// One look at a time; who comes meanwhile goes on with what is in force.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    in_force: Arc<PolicySet>,
    files: BTreeMap<String, PolicyFile>,
    /// The `ETag`s of what was refused: not read and complained of again.
    refused: Option<BTreeMap<String, String>>,
    looked: Instant,
}

impl S3Policies {
    /// Reads and checks the policies under `s3://bucket/prefix`.
    ///
    /// # Errors
    /// They cannot be read, there are none, or they have errors.
    pub async fn open(client: Client, bucket: impl Into<String>, prefix: impl Into<String>) -> PortResult<Self> {
        let (bucket, prefix) = (bucket.into(), prefix.into());
        let etags = list(&client, &bucket, &prefix).await?;
        let (set, files) = read(&client, &bucket, &prefix, &etags).await?;
        let set = set.map_err(|why| PortError::new(reading(&bucket, &prefix), why))?;
        let state = State { in_force: Arc::new(set), files, refused: None, looked: Instant::now() };
        Ok(Self { client, bucket, prefix, state: Mutex::new(state), looking: tokio::sync::Mutex::default() })
    }

    /// The set in force.
    pub fn set(&self) -> Arc<PolicySet> {
        self.state().in_force.clone()
    }

    /// The files that the policies in force were read from, by key.
    pub fn files(&self) -> BTreeMap<String, PolicyFile> {
        self.state().files.clone()
    }

    /// Looks for changed policies if the last look is a minute old: what a function does before it decides. When S3
    /// cannot be reached, what is in force stays, and the error is the caller's to tell.
    ///
    /// # Errors
    /// S3 cannot be read.
    pub async fn refresh(&self) -> PortResult<Refreshed> {
        if self.state().looked.elapsed() < LIFE {
            return Ok(Refreshed::Fresh);
        }
        self.refresh_now().await
    }

    /// Looks for changed policies at once.
    ///
    /// # Errors
    /// S3 cannot be read.
    pub async fn refresh_now(&self) -> PortResult<Refreshed> {
        let Ok(_looking) = self.looking.try_lock() else { return Ok(Refreshed::Fresh) };
        let etags = list(&self.client, &self.bucket, &self.prefix).await?;
        {
            let mut state = self.state();
            state.looked = Instant::now();
            let known: BTreeMap<_, _> = state.files.iter().map(|(key, file)| (key, &file.etag)).collect();
            if known == etags.iter().collect() {
                state.refused = None;
                return Ok(Refreshed::Same);
            }
            if state.refused.as_ref() == Some(&etags) {
                return Ok(Refreshed::Same);
            }
        }
        let (set, files) = read(&self.client, &self.bucket, &self.prefix, &etags).await?;
        let mut state = self.state();
        match set {
            Ok(set) => {
                let environments = set.policies.len();
                state.in_force = Arc::new(set);
                state.files = files;
                state.refused = None;
                tracing::info!(environments, bucket = self.bucket, "other policies are in force");
                Ok(Refreshed::Changed(environments))
            }
            Err(why) => {
                state.refused = Some(etags);
                tracing::error!(bucket = self.bucket, %why, "the new policies have errors; the last good ones stay in force");
                Ok(Refreshed::Refused(why))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Policies for S3Policies {
    fn get(&self, target: &TargetId) -> Option<SealedPolicy> {
        self.set().get(target).cloned()
    }
    fn all(&self) -> Vec<SealedPolicy> {
        self.set().policies.clone()
    }
}

fn reading(bucket: &str, prefix: &str) -> String {
    format!("reading the policies in s3://{bucket}/{prefix}")
}

/// The `ETag` of every policy file right under the prefix, by key.
async fn list(client: &Client, bucket: &str, prefix: &str) -> PortResult<BTreeMap<String, String>> {
    let failed = |found: String| PortError::new(reading(bucket, prefix), found);
    let mut pages = client.list_objects_v2().bucket(bucket).prefix(prefix).delimiter("/").into_paginator().send();
    let mut etags = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failed(error::found(&error)))?;
        for object in page.contents.unwrap_or_default() {
            let (Some(key), Some(etag)) = (object.key, object.e_tag) else { continue };
            if !is_policy(&key) {
                continue;
            }
            if object.size.unwrap_or_default() > MOST {
                return Err(failed(format!("{key} is larger than a policy can be ({MOST} bytes)")));
            }
            etags.insert(key, etag);
        }
    }
    if etags.is_empty() {
        return Err(failed("there is no .yaml or .yml file".to_owned()));
    }
    Ok(etags)
}

fn is_policy(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    !name.starts_with('.') && [".yaml", ".yml"].iter().any(|ending| name.ends_with(ending))
}

type Files = BTreeMap<String, PolicyFile>;

/// Reads the files in the versions that were listed, and checks them together: the policies, or their errors in words.
async fn read(
    client: &Client,
    bucket: &str,
    prefix: &str,
    etags: &BTreeMap<String, String>,
) -> PortResult<(Result<PolicySet, String>, Files)> {
    let failed = |key: &str, found: String| PortError::new(reading(bucket, prefix), format!("{key}: {found}"));
    let (mut texts, mut files) = (Vec::new(), Files::new());
    for (key, etag) in etags {
        let object = client.get_object().bucket(bucket).key(key).if_match(etag).send().await;
        let object = object.map_err(|error| failed(key, error::found(&error)))?;
        let version = object.version_id().filter(|version| *version != "null").map(str::to_owned);
        let bytes = object.body.collect().await.map_err(|error| failed(key, error.to_string()))?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|error| failed(key, error.to_string()))?;
        texts.push((format!("s3://{bucket}/{key}"), text));
        files.insert(key.clone(), PolicyFile { etag: etag.clone(), version });
    }
    let set = portcullis_policy::load(&texts).map_err(|report| report.render(&Style::ASCII).trim_end().to_owned());
    Ok((set, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_yaml_files_that_are_not_hidden() {
        assert!(is_policy("policies/shop.yaml") && is_policy("organisation.yml"));
        assert!(!is_policy("policies/.shop.yaml") && !is_policy("policies/README.md") && !is_policy("yaml"));
    }
}
