//! Where everything is in a data directory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A data directory. The ledger and the queue are in it as `portcullis.db`, with the people's tokens' hashes.
#[derive(Debug, Clone)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    /// Of this directory.
    pub(crate) fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }
    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }
    /// Backups and evidence.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }
    /// Images and their scans.
    pub(crate) fn registry(&self) -> PathBuf {
        self.0.join("registry")
    }
    /// Commits.
    pub(crate) fn source(&self) -> PathBuf {
        self.0.join("source")
    }
    /// The local cluster's objects.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.0.join("cluster")
    }
    /// Where the ledger is, in words, if it is not in this directory.
    ///
    /// # Errors
    /// It says so, and cannot be read.
    pub(crate) fn ledger_elsewhere(&self) -> anyhow::Result<Option<String>> {
        let note = self.note();
        match std::fs::read_to_string(&note) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", note.display())),
        }
    }
    /// Says for ever that the ledger is not in this directory, and where it is.
    pub(crate) fn set_ledger_elsewhere(&self, place: &str) -> anyhow::Result<()> {
        let note = self.note();
        std::fs::write(&note, format!("{place}\n")).with_context(|| format!("writing {}", note.display()))
    }
    fn note(&self) -> PathBuf {
        self.0.join("ledger-is-elsewhere")
    }
    /// Everything that was told, one JSON object per line.
    pub(crate) fn notices(&self) -> PathBuf {
        self.0.join("notices.jsonl")
    }
}
