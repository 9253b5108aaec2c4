//! Where everything is in a data directory.

use std::path::{Path, PathBuf};

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
    /// Everything that was told, one JSON object per line.
    pub(crate) fn notices(&self) -> PathBuf {
        self.0.join("notices.jsonl")
    }
}
