//! Blobs as files: one per key, the key's segments as directories.
//!
//! A file holds the bytes and, after them, one line with their checksum that begins like a comment of YAML: a manifest
//! of a backup can be applied by hand as it lies there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::digest::Digest;
use portcullis_engine::ports::{Blobs, PortError, PortResult};

use crate::blocking;
use crate::durable::Durable;

const MARK: &[u8] = b"\n# sha256:";
/// The mark, 64 hexadecimal digits and a line's end.
const TRAILER: usize = MARK.len() + 64 + 1;

/// Blobs in a directory. A key is at most 512 characters: segments of `A-Z a-z 0-9 . _ = -`, none beginning with a dot,
/// joined by `/`. A key cannot be both a blob and the beginning of another (`a` and `a/b`).
#[derive(Debug, Clone)]
pub struct FileBlobs {
    files: Arc<Durable>,
}

impl FileBlobs {
    /// Opens or creates the directory.
    pub fn new(directory: &Path) -> PortResult<Self> {
        let files = Durable::at(directory)
            .map_err(|error| PortError::new(format!("opening the blobs in {}", directory.display()), error))?;
        Ok(Self { files: Arc::new(files) })
    }
}

#[async_trait]
impl Blobs for FileBlobs {
    async fn put(&self, key: &str, bytes: &[u8], only_new: bool) -> PortResult<bool> {
        let doing = format!("storing the blob {}", shown(key));
        let path = path(self.files.root(), key).map_err(|why| PortError::new(&doing, why))?;
        let (files, bytes) = (Arc::clone(&self.files), bytes.to_vec());
        let what = doing.clone();
        blocking(&doing, move || {
            let trailer = trailer(&bytes);
            let parts: [&[u8]; 2] = [&bytes, &trailer];
            let stored =
                if only_new { files.create(&path, &parts) } else { files.replace(&path, &parts).map(|()| true) };
            stored.map_err(|error| PortError::new(what, error))
        })
        .await
    }

    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>> {
        let doing = format!("reading the blob {}", shown(key));
        let path = path(self.files.root(), key).map_err(|why| PortError::new(&doing, why))?;
        let what = doing.clone();
        blocking(&doing, move || {
            let mut bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if absent(&error) => return Ok(None),
                Err(error) => return Err(PortError::new(what, error)),
            };
            let Some(length) = bytes.len().checked_sub(TRAILER) else {
                return Err(PortError::new(what, "it is cut off"));
            };
            if bytes[length..] != trailer(&bytes[..length]) {
                return Err(PortError::new(what, "its bytes do not fit their checksum"));
            }
            bytes.truncate(length);
            Ok(Some(bytes))
        })
        .await
    }

    async fn list(&self, prefix: &str) -> PortResult<Vec<String>> {
        let doing = format!("listing the blobs {}", shown(prefix));
        // Only whole segments name a directory; the rest of the prefix is compared with the names found.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let start = if folder.is_empty() { Ok(self.files.root().to_owned()) } else { path(self.files.root(), folder) };
        let start = start.map_err(|why| PortError::new(&doing, why))?;
        let (prefix, folder, what) = (prefix.to_owned(), folder.to_owned(), doing.clone());
        blocking(&doing, move || {
            let mut keys = Vec::new();
            walk(&start, &folder, &mut keys).map_err(|error| PortError::new(what, error))?;
            keys.retain(|key| key.starts_with(&prefix));
            keys.sort_unstable();
            Ok(keys)
        })
        .await
    }
}

fn trailer(bytes: &[u8]) -> Vec<u8> {
    [MARK, Digest::of(bytes).hex().as_bytes(), b"\n"].concat()
}

fn path(root: &Path, key: &str) -> Result<PathBuf, &'static str> {
    let segment = |segment: &str| {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._=-".contains(&c);
        !segment.is_empty() && segment.len() <= 255 && !segment.starts_with('.') && segment.bytes().all(allowed)
    };
    if key.len() > 512 || !key.split('/').all(segment) {
        return Err(
            "a key has at most 512 characters: segments of A-Z a-z 0-9 . _ = -, none beginning with a dot, joined by /",
        );
    }
    Ok(root.join(key))
}

fn shown(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(512).collect()
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}

fn walk(directory: &Path, key: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if absent(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let key = if key.is_empty() { name } else { format!("{key}/{name}") };
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &key, keys)?;
        } else {
            keys.push(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, FileBlobs) {
        let directory = tempfile::tempdir().unwrap();
        let blobs = FileBlobs::new(directory.path()).unwrap();
        (directory, blobs)
    }

    #[tokio::test]
    async fn what_was_put_is_what_is_got_and_listed_in_order() {
        let (_directory, blobs) = blobs();
        for (key, bytes) in [("b/2", b"two".as_slice()), ("b/1", b""), ("bc", b"\n# sha256:\n"), ("a", b"x")] {
            assert!(blobs.put(key, bytes, false).await.unwrap());
            assert_eq!(blobs.get(key).await.unwrap().as_deref(), Some(bytes));
        }
        assert_eq!(blobs.list("").await.unwrap(), ["a", "b/1", "b/2", "bc"]);
        assert_eq!(blobs.list("b").await.unwrap(), ["b/1", "b/2", "bc"]);
        assert_eq!(blobs.list("b/").await.unwrap(), ["b/1", "b/2"]);
        assert_eq!(blobs.list("c/d").await.unwrap(), [""; 0]);
        for absent in ["c", "b", "a/1"] {
            assert_eq!(blobs.get(absent).await.unwrap(), None, "{absent}");
        }
    }

    #[tokio::test]
    async fn only_the_first_of_many_puts_a_new_blob() {
        let (_directory, blobs) = blobs();
        let puts = (0..32_u8).map(|n| {
            let blobs = blobs.clone();
            tokio::spawn(async move { (n, blobs.put("backup/index.json", &[n; 9], true).await.unwrap()) })
        });
        let mut won = Vec::new();
        for put in puts.collect::<Vec<_>>() {
            let (n, new) = put.await.unwrap();
            won.extend(new.then_some(n));
        }
        assert_eq!(won.len(), 1);
        assert_eq!(blobs.get("backup/index.json").await.unwrap(), Some(vec![won[0]; 9]));
    }

    #[tokio::test]
    async fn a_changed_or_cut_off_file_is_an_error_and_never_bytes() {
        let (directory, blobs) = blobs();
        blobs.put("k", b"replicas: 3", false).await.unwrap();
        let path = directory.path().join("k");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(blobs.get("k").await.is_err(), "{length}");
            let mut changed = whole.clone();
            changed[length] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(blobs.get("k").await.is_err(), "{length}");
        }
        let error = blobs.get("k").await.unwrap_err().to_string();
        assert_eq!(error, "reading the blob k: its bytes do not fit their checksum");
    }

    #[tokio::test]
    async fn a_key_cannot_leave_the_directory() {
        let (_directory, blobs) = blobs();
        for key in
            ["", "/etc/passwd", "..", "a/../../b", "a//b", "a/", "./a", ".unfinished/x", "a b", "a\0", "ä", "a\\b"]
        {
            assert!(blobs.put(key, b"", false).await.is_err(), "{key:?}");
            assert!(blobs.get(key).await.is_err(), "{key:?}");
        }
        assert!(blobs.list("../").await.is_err());
        assert!(blobs.put(&"a".repeat(513), b"", false).await.is_err());
    }
}
