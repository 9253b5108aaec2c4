//! Backups as they are stored: found, read, verified.
//!
//! The format is the engine's: one YAML file per kind and an index with their checksums, written last and only once.
//! A backup that is taken outside a release is stored under `deployments/<timestamp>/`, and its index also holds what the
//! backup says of itself; the one of a release has that as one of its manifests.

use std::collections::BTreeMap;

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::perform::backup::{BackupFile, BackupIndex};
use portcullis_engine::ports::{Blobs, PortError, PortResult};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::about::About;
use super::export::Export;
use super::object::{ABOUT_LABEL, kind, label, name};
use super::yaml_read::{objects, read};
use super::yaml_write::yaml;

/// The name of an index.
const INDEX: &str = "index.json";

/// The engine's index, with what the backup says of itself.
#[derive(Serialize, Deserialize)]
struct FullIndex {
    #[serde(flatten)]
    index: BackupIndex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<About>,
}

/// A backup that was read whole, with every checksum right.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Where its index is.
    pub key: String,
    /// Its index.
    pub index: BackupIndex,
    /// What it says of itself; none = a backup that says nothing (of the local cluster).
    pub about: Option<About>,
    /// Its objects.
    pub objects: Vec<Json>,
}

/// Stores an export that no release asked for, and reads it back. Its key is the answer.
///
/// # Errors
/// When the store fails, or what is read back is not what was written.
pub async fn store(
    blobs: &dyn Blobs,
    target: &TargetId,
    export: &Export,
    now: Timestamp,
    keep: Millis,
) -> PortResult<String> {
    let doing = format!("storing a backup of {target}");
    let stamp = stamp(now);
    for attempt in 1..=20_u32 {
        // A prefix per attempt: two people may take one in the same second.
        let part = if attempt == 1 { stamp.clone() } else { format!("{stamp}-{attempt}") };
        let prefix = format!("{target}/deployments/{part}/");
        let key = format!("{prefix}{INDEX}");
        if blobs.get(&key).await?.is_some() {
            continue;
        }
        let mut files = Vec::new();
        for (kind, objects) in &export.objects {
            let text = documents(objects);
            let part: String =
                kind.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
            let file = format!("{prefix}backup-{part}-{stamp}.yaml");
            if !blobs.put(&file, text.as_bytes(), true).await?
                && blobs.get(&file).await?.as_deref() != Some(text.as_bytes())
            {
                return Err(PortError::new(doing, format!("{file} is another backup's")));
            }
            files.push(BackupFile {
                key: file,
                kind: kind.clone(),
                sha256: Digest::of(text.as_bytes()),
                objects: objects.iter().map(|object| name(object).to_owned()).collect(),
            });
        }
        let index = BackupIndex {
            v: 1,
            target: target.clone(),
            intention: Seq(0),
            taken_at: now,
            keep_until: now + keep,
            files,
        };
        let full = FullIndex { index, about: Some(export.about.clone()) };
        let bytes = serde_json::to_vec_pretty(&full).map_err(|error| PortError::new(doing.clone(), error))?;
        if !blobs.put(&key, &bytes, true).await? {
            continue;
        }
        let stored = load(blobs, &key).await?;
        if stored.objects.len() != export.count() {
            return Err(PortError::new(doing, "what was read back is not what was written"));
        }
        return Ok(key);
    }
    Err(PortError::new(doing, "20 others were taken in this second"))
}

/// The keys of all backups of a target, oldest first by key.
///
/// # Errors
/// When the store fails.
pub async fn list(blobs: &dyn Blobs, target: &TargetId) -> PortResult<Vec<String>> {
    let keys = blobs.list(&format!("{target}/")).await?;
    Ok(keys.into_iter().filter(|key| key.ends_with(&format!("/{INDEX}"))).collect())
}

/// Reads a backup: its index, every file it names, every checksum and every object.
///
/// # Errors
/// The first thing that is missing, changed or no manifest, by its key.
pub async fn load(blobs: &dyn Blobs, key: &str) -> PortResult<Stored> {
    let doing = |what: &str| format!("reading {what}");
    let Some(bytes) = blobs.get(key).await? else { return Err(PortError::new(doing(key), "it is not there")) };
    let full: FullIndex = serde_json::from_slice(&bytes).map_err(|error| PortError::new(doing(key), error))?;
    let FullIndex { index, mut about } = full;
    if index.v != 1 {
        return Err(PortError::new(doing(key), format!("its format {} is not known here", index.v)));
    }
    // An index that names files elsewhere would make a restore take them for its own.
    let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
    let mut found = Vec::new();
    for file in &index.files {
        let wrong = |what: &dyn std::fmt::Display| PortError::new(doing(&file.key), what);
        if file.key.rsplit_once('/').map_or("", |(prefix, _)| prefix) != prefix {
            return Err(wrong(&"it is not beside its index"));
        }
        let Some(bytes) = blobs.get(&file.key).await? else { return Err(wrong(&"it is not there")) };
        if Digest::of(&bytes) != file.sha256 {
            return Err(wrong(&"it is not what its index says"));
        }
        let text = String::from_utf8(bytes).map_err(|error| wrong(&error))?;
        let documents = read(&text).map_err(|error| wrong(&error))?;
        let documents = objects(documents).map_err(|error| wrong(&error))?;
        let names: Vec<&str> = documents.iter().map(name).collect();
        if names != file.objects {
            return Err(wrong(&"it does not hold the objects that its index names"));
        }
        for object in documents {
            if label(&object, ABOUT_LABEL).is_some() && kind(&object) == "ConfigMap" {
                about = about.or_else(|| About::read(&object));
            } else {
                found.push(object);
            }
        }
    }
    Ok(Stored { key: key.to_owned(), index, about, objects: found })
}

/// What verifying stored backups found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Those that are whole, with their number of objects.
    pub whole: BTreeMap<String, usize>,
    /// Those that are not, and why.
    pub broken: BTreeMap<String, String>,
}

/// Reads every backup of a target as a restore would.
///
/// # Errors
/// When the store cannot list them. A backup that cannot be read is in the answer.
pub async fn verify_all(blobs: &dyn Blobs, target: &TargetId) -> PortResult<Verified> {
    let mut verified = Verified::default();
    for key in list(blobs, target).await? {
        match load(blobs, &key).await {
            Ok(stored) => {
                verified.whole.insert(key, stored.objects.len());
            }
            Err(error) => {
                verified.broken.insert(key, error.to_string());
            }
        }
    }
    Ok(verified)
}

/// One stream of documents, each as it can be applied again.
fn documents(objects: &[Json]) -> String {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&yaml(object));
    }
    text
}

/// `20261121T080147Z`.
fn stamp(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| at.0.to_string(), |moment| moment.strftime("%Y%m%dT%H%M%SZ").to_string())
}
