//! Backups as they are stored: found, read, verified.
//!
//! The format is the engine's: one YAML file per kind and an index with their checksums, written last and only once.
//! Secrets are a file of their own, encrypted; without the private key it is verified by its checksum, and not read.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::perform::backup::{BackupFile, BackupIndex, sealed_name};
use portcullis_engine::ports::{Blobs, PortError, PortResult};
use serde_json::Value as Json;

use super::about::About;
use super::export::Export;
use super::object::{ABOUT_LABEL, kind, label, name};
use super::seal::{PrivateKeys, open};
use super::yaml_read::{objects, read};
use super::yaml_write::stream;

/// The name of an index.
const INDEX: &str = "index.json";

/// A backup that was read whole, with every checksum right.
#[derive(Clone, PartialEq)]
pub struct Stored {
    /// Where its index is.
    pub key: String,
    /// Its index.
    pub index: BackupIndex,
    /// What it says of itself; none = a backup that says nothing (of the local cluster).
    pub about: Option<About>,
    /// Its objects; Secrets only where a private key opened them.
    pub objects: Vec<Json>,
    /// Its files that were not opened: their checksums are right, and nothing else is known of them.
    pub sealed: Vec<BackupFile>,
}

/// Without the objects: there may be Secrets among them.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("key", &self.key).field("objects", &self.objects.len()).finish_non_exhaustive()
    }
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
    let stamp = now.stamp();
    'attempts: for attempt in 1..=20_u32 {
        // A prefix per attempt: two people may take one in the same second.
        let part = if attempt == 1 { stamp.clone() } else { format!("{stamp}-{attempt}") };
        let prefix = format!("{target}/deployments/{part}/");
        let key = format!("{prefix}{INDEX}");
        if blobs.get(&key).await?.is_some() {
            continue;
        }
        let mut files = Vec::new();
        for (kind, objects) in &export.objects {
            let text = stream(objects);
            let part: String =
                kind.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
            let file = BackupFile {
                key: format!("{prefix}backup-{part}-{stamp}.yaml"),
                kind: kind.clone(),
                sha256: Digest::of(text.as_bytes()),
                objects: objects.iter().map(|object| name(object).to_owned()).collect(),
                sealed_to: None,
            };
            if !put(blobs, &file, text.as_bytes()).await? {
                continue 'attempts;
            }
            files.push(file);
        }
        if let Some(sealed) = &export.sealed {
            let file = BackupFile {
                key: format!("{}.yaml.age", sealed_name(&prefix, &sealed.kind, now)),
                kind: sealed.kind.clone(),
                sha256: Digest::of(&sealed.bytes),
                objects: sealed.names.clone(),
                sealed_to: Some(sealed.recipient.clone()),
            };
            if !put(blobs, &file, &sealed.bytes).await? {
                continue 'attempts;
            }
            files.push(file);
        }
        let index = BackupIndex {
            v: 1,
            target: target.clone(),
            intention: Seq(0),
            taken_at: now,
            keep_until: now + keep,
            files,
            about: serde_json::to_value(&export.about).ok(),
        };
        let bytes = serde_json::to_vec_pretty(&index).map_err(|error| PortError::new(doing.clone(), error))?;
        if !blobs.put(&key, &bytes, true).await? {
            continue;
        }
        if load(blobs, &key, None).await?.count() != export.count() {
            return Err(PortError::new(doing, "what was read back is not what was written"));
        }
        return Ok(key);
    }
    Err(PortError::new(doing, "20 others were taken in this second"))
}

/// Stores a file; false if another is there under its name. The same Secrets are never encrypted alike twice.
async fn put(blobs: &dyn Blobs, file: &BackupFile, bytes: &[u8]) -> PortResult<bool> {
    Ok(blobs.put(&file.key, bytes, true).await? || blobs.get(&file.key).await?.as_deref() == Some(bytes))
}

/// The keys of all backups of a target, oldest first by key.
///
/// # Errors
/// When the store fails.
pub async fn list(blobs: &dyn Blobs, target: &TargetId) -> PortResult<Vec<String>> {
    let keys = blobs.list(&format!("{target}/")).await?;
    Ok(keys.into_iter().filter(|key| key.ends_with(&format!("/{INDEX}"))).collect())
}

impl Stored {
    /// How many objects it has, those among them that were not opened.
    pub fn count(&self) -> usize {
        self.objects.len() + self.sealed.iter().map(|file| file.objects.len()).sum::<usize>()
    }
}

/// Reads a backup: its index, every file it names, every checksum and every object. What is encrypted is opened with
/// `keys`, and left in [`Stored::sealed`] without.
///
/// # Errors
/// The first thing that is missing, changed, no manifest or encrypted to another key, by its key in the store.
pub async fn load(blobs: &dyn Blobs, key: &str, keys: Option<&PrivateKeys>) -> PortResult<Stored> {
    let doing = |what: &str| format!("reading {what}");
    let Some(bytes) = blobs.get(key).await? else { return Err(PortError::new(doing(key), "it is not there")) };
    let index = BackupIndex::read(&bytes).map_err(|error| PortError::new(doing(key), error))?;
    if index.v != 1 {
        return Err(PortError::new(doing(key), format!("its format {} is not known here", index.v)));
    }
    // An index that names files elsewhere would make a restore take them for its own.
    let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
    let about = index.about.clone().map(serde_json::from_value).transpose();
    let mut about: Option<About> = about.map_err(|error| PortError::new(doing(key), error))?;
    let (mut found, mut sealed) = (Vec::new(), Vec::new());
    for file in &index.files {
        let wrong = |what: &dyn std::fmt::Display| PortError::new(doing(&file.key), what);
        if file.key.rsplit_once('/').map_or("", |(prefix, _)| prefix) != prefix {
            return Err(wrong(&"it is not beside its index"));
        }
        let Some(bytes) = blobs.get(&file.key).await? else { return Err(wrong(&"it is not there")) };
        if Digest::of(&bytes) != file.sha256 {
            return Err(wrong(&"it is not what its index says"));
        }
        let documents = match (&file.sealed_to, keys) {
            (Some(_), None) => {
                sealed.push(file.clone());
                continue;
            }
            (Some(_), Some(keys)) => {
                let opened = open(&bytes, keys).map_err(|error| wrong(&error))?;
                if opened.iter().any(|object| kind(object) != file.kind) {
                    return Err(wrong(&"it holds other kinds than its index says"));
                }
                opened
            }
            (None, _) => {
                let text = String::from_utf8(bytes).map_err(|error| wrong(&error))?;
                let documents = read(&text).map_err(|error| wrong(&error))?;
                objects(documents).map_err(|error| wrong(&error))?
            }
        };
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
    Ok(Stored { key: key.to_owned(), index, about, objects: found, sealed })
}

/// What verifying stored backups found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Those that are whole, with their number of objects.
    pub whole: BTreeMap<String, usize>,
    /// Those that are not, and why.
    pub broken: BTreeMap<String, String>,
}

/// Reads every backup of a target as a restore would; what is encrypted is opened only with `keys`.
///
/// # Errors
/// When the store cannot list them. A backup that cannot be read is in the answer.
pub async fn verify_all(blobs: &dyn Blobs, target: &TargetId, keys: Option<&PrivateKeys>) -> PortResult<Verified> {
    let mut verified = Verified::default();
    for key in list(blobs, target).await? {
        match load(blobs, &key, keys).await {
            Ok(stored) => {
                verified.whole.insert(key, stored.count());
            }
            Err(error) => {
                verified.broken.insert(key, error.to_string());
            }
        }
    }
    Ok(verified)
}
