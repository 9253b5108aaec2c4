//! The backup: every manifest, verified by reading it back, and an index that is written last and only once.

use std::collections::BTreeMap;

use portcullis_domain::action::Outcome;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::policy::Place;
use portcullis_domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Performed, still_wanted};
use crate::ports::{Blobs, Exported, Manifest, PortError, PortResult, Ports, Sealed};

/// The format of the index.
const INDEX: u32 = 1;
/// Attempts of one second that may store different bytes.
const MOST_ATTEMPTS: u32 = 20;

/// What a backup consists of. Its file is `index.json` under the backup's prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupIndex {
    /// The format's version, 1.
    pub v: u32,
    /// The target it is of.
    pub target: TargetId,
    /// The intention that asked for it.
    pub intention: Seq,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Until when it is kept.
    pub keep_until: Timestamp,
    /// Its files, by kind.
    pub files: Vec<BackupFile>,
    /// What the cluster says of it, in its adapter's own form: the version of each kind, the images that ran, what was
    /// left out and why. None = it says nothing, or an engine of before wrote it, which kept that among the objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<serde_json::Value>,
}

/// One file of a backup: all objects of one kind, as YAML documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its key in the blob store.
    pub key: String,
    /// The kind of its objects, such as `Deployment`.
    pub kind: String,
    /// The hash of its bytes, as they are stored.
    pub sha256: Digest,
    /// The names of its objects, in the order of its documents.
    pub objects: Vec<String>,
    /// The public key that it is encrypted to (age, X25519); none = it lies open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_to: Option<String>,
}

/// What a backup's intention says.
pub(super) struct Asked<'a> {
    /// The intention.
    pub(super) seq: Seq,
    /// Where the backup goes, ending with `/`.
    pub(super) prefix: &'a str,
    /// How long it is kept.
    pub(super) keep: Millis,
    /// To whose public key Secrets are encrypted.
    pub(super) secrets: Option<&'a str>,
}

impl BackupIndex {
    /// Reads an index as it is stored.
    ///
    /// # Errors
    /// When the bytes are not an index of a format this engine knows.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// How many objects it has.
    pub fn objects(&self) -> usize {
        self.files.iter().map(|file| file.objects.len()).sum()
    }
}

/// Takes the backup; where something `serves`, an export of nothing is a failure. The first index is *the* backup: one that is there already is verified and adopted.
pub(super) async fn back_up(
    ports: &Ports,
    target: &TargetId,
    place: &Place,
    asked: &Asked<'_>,
    serves: bool,
) -> PortResult<Performed> {
    let Asked { seq, prefix, keep, secrets } = *asked;
    let key = format!("{prefix}index.json");
    if let Some(bytes) = ports.blobs.get(&key).await? {
        return adopted(ports, key, &bytes).await;
    }
    let Exported { manifests, sealed, about } = ports.cluster.export(target, place, secrets).await?;
    if manifests.is_empty() && serves {
        return Err(PortError::new(format!("backing up {target}"), "the cluster has no manifest of it"));
    }
    let now = ports.clock.now();
    let mut index = BackupIndex {
        v: INDEX,
        target: target.clone(),
        intention: seq,
        taken_at: now,
        keep_until: now + keep,
        files: Vec::new(),
        about,
    };
    for (kind, manifests) in by_kind(manifests) {
        if !still_wanted(ports, target, seq).await? {
            return Ok(Performed::Gone);
        }
        let bytes = documents(&manifests).into_bytes();
        let name = format!("{prefix}backup-{}-{}", file_part(&kind), now.stamp());
        let key = store(ports, &name, "yaml", &bytes).await?;
        let objects = manifests.into_iter().map(|manifest| manifest.name).collect();
        index.files.push(BackupFile { key, kind, sha256: Digest::of(&bytes), objects, sealed_to: None });
    }
    for Sealed { kind, names, recipient, bytes } in sealed {
        if !still_wanted(ports, target, seq).await? {
            return Ok(Performed::Gone);
        }
        let key = store(ports, &sealed_name(prefix, &kind, now), "yaml.age", &bytes).await?;
        let sealed_to = Some(recipient);
        index.files.push(BackupFile { key, kind, sha256: Digest::of(&bytes), objects: names, sealed_to });
    }
    if !still_wanted(ports, target, seq).await? {
        return Ok(Performed::Gone);
    }
    let bytes = serde_json::to_vec_pretty(&index).map_err(|error| PortError::new(format!("encoding {key}"), error))?;
    ports.blobs.put(&key, &bytes, true).await?;
    let Some(stored) = ports.blobs.get(&key).await? else {
        return Err(PortError::new(format!("reading back {key}"), "it is not there"));
    };
    adopted(ports, key, &stored).await
}

/// Where the objects of a kind are kept that are encrypted: `backup-secrets-20261121T080147Z`, without its ending.
pub fn sealed_name(prefix: &str, kind: &str, at: Timestamp) -> String {
    format!("{prefix}backup-{}s-{}", file_part(kind), at.stamp())
}

/// Stores a file and reads it back. What another attempt stored under the same name is never replaced: its index may
/// be the one that counts.
async fn store(ports: &Ports, name: &str, ending: &str, bytes: &[u8]) -> PortResult<String> {
    for attempt in 1..=MOST_ATTEMPTS {
        let key = if attempt == 1 { format!("{name}.{ending}") } else { format!("{name}-{attempt}.{ending}") };
        let new = ports.blobs.put(&key, bytes, true).await?;
        if ports.blobs.get(&key).await?.as_deref() == Some(bytes) {
            return Ok(key);
        }
        if new {
            return Err(PortError::new(format!("reading back {key}"), "it is not what was written"));
        }
    }
    Err(PortError::new(format!("storing {name}"), format!("{MOST_ATTEMPTS} other attempts have that name")))
}

/// The backup that is stored under this index, if it is whole.
async fn adopted(ports: &Ports, key: String, bytes: &[u8]) -> PortResult<Performed> {
    let index = verify(&*ports.blobs, &key, bytes).await?;
    let objects = u32::try_from(index.objects()).unwrap_or(u32::MAX);
    Ok(Performed::Outcome(Outcome::BackedUp { index: key, hash: Digest::of(bytes), objects }))
}

/// Reads a stored index and every file it names, and compares their hashes. What is encrypted is compared as it is.
///
/// # Errors
/// The first thing that cannot be read, is missing, or is not what the index says.
pub async fn verify(blobs: &dyn Blobs, key: &str, bytes: &[u8]) -> PortResult<BackupIndex> {
    let index = BackupIndex::read(bytes).map_err(|error| PortError::new(format!("reading {key}"), error))?;
    for file in &index.files {
        let stored = blobs.get(&file.key).await?;
        if stored.as_deref().map(Digest::of) != Some(file.sha256) {
            return Err(PortError::new(format!("verifying {}", file.key), "it is missing or not what the index says"));
        }
    }
    Ok(index)
}

fn by_kind(manifests: Vec<Manifest>) -> BTreeMap<String, Vec<Manifest>> {
    let mut kinds: BTreeMap<String, Vec<Manifest>> = BTreeMap::new();
    for manifest in manifests {
        kinds.entry(manifest.kind.clone()).or_default().push(manifest);
    }
    for manifests in kinds.values_mut() {
        manifests.sort_by(|a, b| a.name.cmp(&b.name));
    }
    kinds
}

/// One YAML stream of several documents, each as it can be applied again.
fn documents(manifests: &[Manifest]) -> String {
    let mut text = String::new();
    for manifest in manifests {
        text.push_str("---\n");
        text.push_str(manifest.yaml.trim_start_matches("---\n").trim_end());
        text.push('\n');
    }
    text
}

/// A kind as part of a file's name.
fn file_part(kind: &str) -> String {
    kind.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_an_engine_of_before_wrote_is_read() {
        let old = br#"{ "v": 1, "target": "shop/production", "intention": 7, "taken_at": 1000, "keep_until": 2000,
            "files": [{ "key": "a", "kind": "Service", "objects": ["web"],
            "sha256": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }] }"#;
        let index = BackupIndex::read(old).unwrap();
        assert_eq!((index.objects(), index.about.clone(), index.files[0].sealed_to.clone()), (1, None, None));
        let written = serde_json::to_value(&index).unwrap();
        assert!(written.get("about").is_none() && written["files"][0].get("sealed_to").is_none());
    }

    #[test]
    fn a_backup_file_is_one_stream_of_documents_and_is_named_by_kind_and_moment() {
        let manifest = |name: &str| Manifest {
            kind: "Deployment".into(),
            name: name.into(),
            yaml: format!("---\nkind: Deployment\nmetadata:\n  name: {name}\n\n"),
        };
        let text = documents(&[manifest("a"), manifest("b")]);
        assert_eq!(text, "---\nkind: Deployment\nmetadata:\n  name: a\n---\nkind: Deployment\nmetadata:\n  name: b\n");
        assert_eq!(file_part("HorizontalPodAutoscaler"), "horizontalpodautoscaler");
        let secrets = sealed_name("shop/production/deployments/x/", "Secret", Timestamp(1_795_248_107_000));
        assert_eq!(secrets, "shop/production/deployments/x/backup-secrets-20261121T080147Z");
    }
}
