//! The cluster's files: each there whole or not at all, also after a power cut.

use std::path::Path;
use std::sync::Arc;

use portcullis_engine::ports::{PortError, PortResult};

use crate::durable::Durable;

/// The state folder's files. Shared; everything in it blocks on the disk.
#[derive(Debug, Clone)]
pub(super) struct Files(Arc<Durable>);

impl Files {
    /// Makes the folder if it is missing.
    pub(super) fn at(dir: &Path) -> PortResult<Self> {
        Durable::at(dir).map(|files| Self(Arc::new(files))).map_err(|error| failed("opening", dir, error))
    }

    /// Replaces a file's content in one step; durable when it returns. Makes its folder if it is missing.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> PortResult<()> {
        self.0.replace(path, &[bytes]).map_err(|error| failed("writing", path, error))
    }
}

/// The error of something done to a file.
pub(super) fn failed(doing: &str, path: &Path, error: impl std::fmt::Display) -> PortError {
    PortError::new(format!("{doing} {}", path.display()), error)
}
