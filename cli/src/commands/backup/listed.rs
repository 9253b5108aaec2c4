//! Which backups there are, and which one a person means.

use std::collections::BTreeSet;

use portcullis_domain::names::TargetId;
use portcullis_domain::time::Timestamp;
use portcullis_engine::perform::backup::BackupIndex;
use portcullis_engine::ports::Blobs;
use portcullis_kubernetes::backup::stored;
use serde::Serialize;

use crate::exit;
use crate::show::screen::{Screen, Tone};
use crate::show::text::{count, pad};
use crate::when::Times;

/// A backup by its index: its files were not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Listed {
    key: String,
    target: TargetId,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<usize>,
    /// Why its index cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<String>,
}

/// The environments that have backups.
///
/// # Errors
/// When the store fails.
pub(super) async fn targets(blobs: &dyn Blobs) -> anyhow::Result<Vec<TargetId>> {
    let keys = blobs.list("").await?;
    let indices = keys.iter().filter(|key| key.ends_with("/index.json"));
    Ok(indices.filter_map(|key| target_of(key)).collect::<BTreeSet<_>>().into_iter().collect())
}

/// The environment that a key begins with.
fn target_of(key: &str) -> Option<TargetId> {
    let mut parts = key.splitn(3, '/');
    format!("{}/{}", parts.next()?, parts.next()?).parse().ok()
}

/// Every backup, of one environment or of all, oldest first.
///
/// # Errors
/// When the store fails. An index that cannot be read is in the answer.
pub(super) async fn all(blobs: &dyn Blobs, target: Option<&TargetId>) -> anyhow::Result<Vec<Listed>> {
    let targets = match target {
        Some(target) => vec![target.clone()],
        None => targets(blobs).await?,
    };
    let mut all = Vec::new();
    for target in targets {
        for key in stored::list(blobs, &target).await? {
            all.push(one(blobs, &target, key).await);
        }
    }
    all.sort_by(|a, b| (&a.target, a.taken_at, &a.key).cmp(&(&b.target, b.taken_at, &b.key)));
    Ok(all)
}

async fn one(blobs: &dyn Blobs, target: &TargetId, key: String) -> Listed {
    let read = match blobs.get(&key).await {
        Ok(Some(bytes)) => BackupIndex::read(&bytes).map_err(|error| error.to_string()),
        Ok(None) => Err("it is not there".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let target = target.clone();
    match read {
        Ok(index) => Listed {
            key,
            target,
            taken_at: Some(index.taken_at),
            keep_until: Some(index.keep_until),
            objects: Some(index.objects()),
            broken: None,
        },
        Err(why) => Listed { key, target, taken_at: None, keep_until: None, objects: None, broken: Some(why) },
    }
}

/// The key that a person means: the whole of it, as much of its name as is unique, or `latest`.
///
/// # Errors
/// There is none, or there are several.
pub(super) async fn find(blobs: &dyn Blobs, target: &TargetId, keys: &[String], name: &str) -> anyhow::Result<String> {
    if name == "latest" {
        let newest = all(blobs, Some(target)).await?.into_iter().filter(|one| one.taken_at.is_some());
        let newest = newest.max_by(|a, b| (a.taken_at, &a.key).cmp(&(b.taken_at, &b.key)));
        return newest
            .map(|one| one.key)
            .ok_or_else(|| exit::not_found(format!("there is no backup of {target} whose index can be read")));
    }
    let found: Vec<&String> = keys.iter().filter(|key| is_called(key, target, name)).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(exit::not_found(format!("there is no backup {name} of {target}; `portcullis backup list` has them"))),
        several => {
            let all: Vec<&str> = several.iter().map(|key| key.as_str()).collect();
            Err(exit::usage(format!("{name} could be any of\n  {}", all.join("\n  "))))
        }
    }
}

/// `shop/production/deployments/20261120T025842Z/index.json` is called so, by what is between its environment and
/// `index.json`, and by the end of that.
fn is_called(key: &str, target: &TargetId, name: &str) -> bool {
    let short = key.strip_prefix(&format!("{target}/")).and_then(|rest| rest.strip_suffix("/index.json"));
    let Some(short) = short else { return false };
    let name = name.trim_matches('/');
    key == name || short == name || (!name.is_empty() && short.ends_with(&format!("/{name}")))
}

/// The backups as text.
pub(super) fn text(all: &[Listed], screen: Screen, times: Times) -> String {
    if all.is_empty() {
        return "There are no backups. A release takes one before its first change.".to_owned();
    }
    let widest = all.iter().map(|one| one.key.len()).max().unwrap_or(0).min(64);
    let line = |one: &Listed| {
        let key = pad(&screen.safe(&one.key), widest);
        match (&one.broken, one.taken_at, one.keep_until) {
            (None, Some(taken), Some(until)) => {
                let objects = count(one.objects.unwrap_or(0) as u64, "object");
                let (taken, until) = (times.minute(taken), times.minute(until));
                format!("{key}  {taken}  {objects}, kept until {until}")
            }
            (why, ..) => {
                let why = screen.safe(why.as_deref().unwrap_or("its index says nothing"));
                format!("{key}  {}", screen.paint(Tone::Bad, &format!("cannot be read: {why}")))
            }
        }
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use portcullis_embedded::blobs::FileBlobs;

    use super::*;
    use crate::exit::{Exit, Stop};

    fn target() -> TargetId {
        "shop/production".parse().unwrap()
    }

    fn index(taken_at: u64) -> Vec<u8> {
        let index = BackupIndex {
            v: 1,
            target: target(),
            intention: portcullis_domain::names::Seq(1),
            taken_at: Timestamp(taken_at),
            keep_until: Timestamp(taken_at + 1),
            files: Vec::new(),
            about: None,
        };
        serde_json::to_vec(&index).unwrap()
    }

    async fn filled() -> (tempfile::TempDir, FileBlobs) {
        let folder = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::new(folder.path()).unwrap();
        for (key, bytes) in [
            ("shop/production/releases/7/1000/index.json", index(1_000)),
            ("shop/production/deployments/20261120T025842Z/index.json", index(3_000)),
            ("shop/production/deployments/20261121T025842Z/index.json", index(2_000)),
            ("shop/production/releases/8/4000/index.json", b"{".to_vec()),
            ("pay/production/releases/9/1000/index.json", index(1)),
        ] {
            assert!(blobs.put(key, &bytes, true).await.unwrap());
        }
        (folder, blobs)
    }

    #[tokio::test]
    async fn backups_are_found_by_environment_and_told_with_those_that_are_broken() {
        let (_folder, blobs) = filled().await;
        let found = targets(&blobs).await.unwrap();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["pay/production", "shop/production"]);
        let all = all(&blobs, Some(&target())).await.unwrap();
        assert_eq!(all.len(), 4);
        assert!(all[0].broken.is_some(), "what has no moment comes first: {all:?}");
        assert_eq!(all[3].taken_at, Some(Timestamp(3_000)));
        let text = text(&all, Screen::PLAIN, crate::show::samples::times());
        assert!(text.lines().next().unwrap().contains("cannot be read"), "{text}");
    }

    #[tokio::test]
    async fn a_backup_is_named_by_as_much_of_it_as_is_unique() {
        let (_folder, blobs) = filled().await;
        let target = target();
        let keys = stored::list(&blobs, &target).await.unwrap();
        let find = async |name: &str| find(&blobs, &target, &keys, name).await;
        let first = "shop/production/deployments/20261120T025842Z/index.json";
        assert_eq!(find("latest").await.unwrap(), first, "by its moment, not by its name");
        for name in ["20261120T025842Z", "deployments/20261120T025842Z", first] {
            assert_eq!(find(name).await.unwrap(), first, "{name}");
        }
        assert_eq!(find("7/1000").await.unwrap(), "shop/production/releases/7/1000/index.json");
        let code = |error: anyhow::Error| error.downcast_ref::<Stop>().unwrap().code;
        assert_eq!(code(find("025842Z").await.unwrap_err()), Exit::NotFound, "a part of a name is no name");
        assert_eq!(code(find("").await.unwrap_err()), Exit::NotFound);
    }
}
