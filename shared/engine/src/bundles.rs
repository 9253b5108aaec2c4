//! Manifests that are given with a commit. They are stored before its release begins, at
//! `manifests/APP/ENV/COMMIT/SERVICE.yaml`, read when its gates are judged, and again when its colours are made.
//!
//! A commit does not change, and so do they not: what is stored is never replaced.

use std::collections::BTreeMap;

use portcullis_domain::action::Bundle;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{CommitSha, ServiceName, TargetId};

use crate::ports::{Blobs, PortError, PortResult};

/// Bytes of one service's manifests, at most.
pub const MOST_BYTES: usize = 256 * 1024;

/// Why manifests were not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotGiven {
    /// A release finds them by its whole commit only.
    #[error("{0} is no whole commit: manifests are given with all of its 40 characters")]
    Shortened(CommitSha),
    /// There is a limit.
    #[error("the manifests of {service} have {bytes} bytes; at most {MOST_BYTES} are taken")]
    TooLarge {
        /// Whose they are.
        service: ServiceName,
        /// How large they are.
        bytes: usize,
    },
    /// They are another text than before.
    #[error("other manifests of {service} were given with {commit} already: change them in a commit of their own")]
    Others {
        /// Whose they are.
        service: ServiceName,
        /// The commit.
        commit: CommitSha,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] PortError),
}

fn prefix(target: &TargetId, commit: &CommitSha) -> String {
    format!("manifests/{}/{}/{commit}", target.app, target.env)
}

/// Stores one service's manifests. False = the very same are there already.
///
/// # Errors
/// They are too large, or others were given with this commit; the store failed.
pub async fn give(
    blobs: &dyn Blobs,
    target: &TargetId,
    commit: &CommitSha,
    service: &ServiceName,
    text: &str,
) -> Result<bool, NotGiven> {
    if commit.as_str().len() < 40 {
        return Err(NotGiven::Shortened(commit.clone()));
    }
    if text.len() > MOST_BYTES {
        return Err(NotGiven::TooLarge { service: service.clone(), bytes: text.len() });
    }
    let key = format!("{}/{service}.yaml", prefix(target, commit));
    if blobs.put(&key, text.as_bytes(), true).await? {
        return Ok(true);
    }
    match blobs.get(&key).await? {
        Some(there) if there == text.as_bytes() => Ok(false),
        _ => Err(NotGiven::Others { service: service.clone(), commit: commit.clone() }),
    }
}

/// The services whose manifests were given with a commit, whole or shortened; with their texts.
///
/// # Errors
/// The store failed; several commits begin so; a text is none.
pub async fn of_commit(
    blobs: &dyn Blobs,
    target: &TargetId,
    commit: &CommitSha,
) -> PortResult<BTreeMap<ServiceName, (Bundle, String)>> {
    let doing = format!("reading the manifests given with {}", commit.short());
    let wrong = |found: String| PortError::new(&doing, found);
    let mut found: BTreeMap<ServiceName, (Bundle, String)> = BTreeMap::new();
    for key in blobs.list(&prefix(target, commit)).await? {
        let name = key.rsplit('/').next().and_then(|file| file.strip_suffix(".yaml")).unwrap_or_default();
        let service = ServiceName::new(name).map_err(|_| wrong(format!("{key} is named after no service")))?;
        let bytes = blobs.get(&key).await?.ok_or_else(|| wrong(format!("{key} is gone")))?;
        let hash = Digest::of(&bytes);
        let text = String::from_utf8(bytes).map_err(|_| wrong(format!("{key} is not UTF-8")))?;
        if found.insert(service, (Bundle { key, hash }, text)).is_some() {
            return Err(wrong(format!("several commits begin with {commit}")));
        }
    }
    Ok(found)
}

/// The text of a bundle, as it was when its hash was taken.
///
/// # Errors
/// The store failed, or has another text by now.
pub async fn read(blobs: &dyn Blobs, bundle: &Bundle) -> PortResult<String> {
    let wrong = |found: &str| PortError::new(format!("reading the manifests {}", bundle.key), found);
    let bytes = blobs.get(&bundle.key).await?.ok_or_else(|| wrong("they are gone"))?;
    if Digest::of(&bytes) != bundle.hash {
        return Err(wrong("they are not those that were approved"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("they are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryBlobs, World};

    fn names() -> (TargetId, CommitSha, ServiceName) {
        (
            "shop/production".parse().unwrap(),
            CommitSha::new(&"a1".repeat(20)).unwrap(),
            ServiceName::new("web").unwrap(),
        )
    }

    #[tokio::test]
    async fn what_was_given_is_found_by_its_commit_and_never_replaced() {
        let (target, commit, web) = names();
        let blobs = MemoryBlobs::new(World::new().faults);
        assert!(give(&*blobs, &target, &commit, &web, "one").await.unwrap());
        assert!(!give(&*blobs, &target, &commit, &web, "one").await.unwrap(), "a repeated pipeline changes nothing");
        let other = give(&*blobs, &target, &commit, &web, "two").await.unwrap_err();
        assert!(matches!(other, NotGiven::Others { .. }), "{other}");
        for shown in [commit.clone(), CommitSha::new(&commit.as_str()[..8]).unwrap()] {
            let found = of_commit(&*blobs, &target, &shown).await.unwrap();
            let (bundle, text) = &found[&web];
            assert_eq!((found.len(), text.as_str()), (1, "one"));
            assert_eq!(read(&*blobs, bundle).await.unwrap(), "one");
        }
        assert!(of_commit(&*blobs, &"shop/staging".parse().unwrap(), &commit).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_not_what_was_approved_is_not_read() {
        let (target, commit, web) = names();
        let blobs = MemoryBlobs::new(World::new().faults);
        give(&*blobs, &target, &commit, &web, "one").await.unwrap();
        let (bundle, _) = of_commit(&*blobs, &target, &commit).await.unwrap().remove(&web).unwrap();
        blobs.put(&bundle.key, b"two", false).await.unwrap();
        let error = read(&*blobs, &bundle).await.unwrap_err().to_string();
        assert!(error.contains("not those that were approved"), "{error}");
    }

    #[tokio::test]
    async fn what_could_be_of_two_commits_or_is_too_much_is_refused() {
        let (target, commit, web) = names();
        let blobs = MemoryBlobs::new(World::new().faults);
        let other = CommitSha::new(&format!("{}{}", "a1".repeat(10), "b2".repeat(10))).unwrap();
        for commit in [&commit, &other] {
            give(&*blobs, &target, commit, &web, "one").await.unwrap();
        }
        let short = CommitSha::new("a1a1a1a1").unwrap();
        let error = of_commit(&*blobs, &target, &short).await.unwrap_err().to_string();
        assert!(error.contains("several commits begin with a1a1a1a1"), "{error}");
        let refused = give(&*blobs, &target, &short, &web, "one").await.unwrap_err();
        assert!(matches!(refused, NotGiven::Shortened(_)), "{refused}");
        let refused = give(&*blobs, &target, &commit, &web, &"x".repeat(MOST_BYTES + 1)).await.unwrap_err();
        assert!(matches!(refused, NotGiven::TooLarge { .. }), "{refused}");
    }
}
