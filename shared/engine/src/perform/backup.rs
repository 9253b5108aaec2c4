//! The backup: every manifest, verified by reading it back, and an index that is written last and only once.

use std::collections::BTreeMap;

use portcullis_domain::action::Outcome;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::policy::Place;
use portcullis_domain::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Performed, still_wanted};
use crate::ports::{Manifest, PortError, PortResult, Ports};

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
}

/// One file of a backup: all objects of one kind, as YAML documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its key in the blob store.
    pub key: String,
    /// The kind of its objects, such as `Deployment`.
    pub kind: String,
    /// The hash of its bytes.
    pub sha256: Digest,
    /// The names of its objects, in the order of its documents.
    pub objects: Vec<String>,
}

impl BackupIndex {
    /// Reads an index as it is stored.
    ///
    /// # Errors
    /// When the bytes are not an index of a format this engine knows.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Takes the backup; where something `serves`, an export of nothing is a failure. The first index is *the* backup: one that is there already is verified and adopted.
pub(super) async fn back_up(
    ports: &Ports,
    target: &TargetId,
    place: &Place,
    seq: Seq,
    (prefix, keep): (&str, Millis),
    serves: bool,
) -> PortResult<Performed> {
    let key = format!("{prefix}index.json");
    if let Some(bytes) = ports.blobs.get(&key).await? {
        return verified(ports, key, &bytes).await;
    }
    let manifests = ports.cluster.export(target, place).await?;
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
    };
    for (kind, manifests) in by_kind(manifests) {
        if !still_wanted(ports, target, seq).await? {
            return Ok(Performed::Gone);
        }
        let bytes = documents(&manifests).into_bytes();
        let key = store(ports, &format!("{prefix}backup-{}-{}", file_part(&kind), stamp(now)), &bytes).await?;
        let objects = manifests.into_iter().map(|manifest| manifest.name).collect();
        index.files.push(BackupFile { key, kind, sha256: Digest::of(&bytes), objects });
    }
    if !still_wanted(ports, target, seq).await? {
        return Ok(Performed::Gone);
    }
    let bytes = serde_json::to_vec_pretty(&index).map_err(|error| PortError::new(format!("encoding {key}"), error))?;
    ports.blobs.put(&key, &bytes, true).await?;
    let Some(stored) = ports.blobs.get(&key).await? else {
        return Err(PortError::new(format!("reading back {key}"), "it is not there"));
    };
    verified(ports, key, &stored).await
}

/// Stores a file and reads it back. What another attempt stored under the same name is never replaced: its index may
/// be the one that counts.
async fn store(ports: &Ports, name: &str, bytes: &[u8]) -> PortResult<String> {
    for attempt in 1..=MOST_ATTEMPTS {
        let key = if attempt == 1 { format!("{name}.yaml") } else { format!("{name}-{attempt}.yaml") };
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

/// Reads an index and every file it names, and compares their hashes.
async fn verified(ports: &Ports, key: String, bytes: &[u8]) -> PortResult<Performed> {
    let index: BackupIndex =
        serde_json::from_slice(bytes).map_err(|error| PortError::new(format!("reading {key}"), error))?;
    for file in &index.files {
        let stored = ports.blobs.get(&file.key).await?;
        if stored.as_deref().map(Digest::of) != Some(file.sha256) {
            return Err(PortError::new(format!("verifying {}", file.key), "it is missing or not what the index says"));
        }
    }
    let objects = index.files.iter().map(|file| file.objects.len()).sum::<usize>();
    let objects = u32::try_from(objects).unwrap_or(u32::MAX);
    Ok(Performed::Outcome(Outcome::BackedUp { index: key, hash: Digest::of(bytes), objects }))
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

/// `20261121T080147Z`.
fn stamp(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| at.0.to_string(), |moment| moment.strftime("%Y%m%dT%H%M%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(stamp(Timestamp(1_795_248_107_000)), "20261121T080147Z");
    }
}
