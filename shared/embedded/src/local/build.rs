//! What an image does when it runs: the facts of a build, read from `images/<hex>.json`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use portcullis_domain::digest::Digest;
use portcullis_domain::time::Millis;
use portcullis_engine::ports::PortResult;
use serde::{Deserialize, Serialize};

use super::files::{Files, failed};

/// What a build does when it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Build {
    /// The version it answers with, in the header `x-version`: 1 to 100 visible ASCII characters.
    pub version: String,
    /// Every n-th request fails with 500, counted per pod; none or 0 = none fails. Health paths never fail by it.
    pub error_every: Option<u32>,
    /// How long it thinks before it answers. Health paths answer at once.
    pub latency: Millis,
    /// How long after its start it becomes ready.
    pub ready_after: Millis,
    /// It exits as soon as it starts, and never becomes ready.
    pub crash: bool,
}

impl Build {
    /// A build without faults.
    pub fn new(version: &str) -> Self {
        Self { version: version.to_owned(), ..Self::default() }
    }
}

/// The images a cluster can pull: a folder of build facts.
#[derive(Debug, Clone)]
pub(super) struct Images {
    dir: PathBuf,
    files: Files,
}

impl Images {
    pub(super) fn new(state_dir: &Path, files: Files) -> Self {
        Self { dir: state_dir.join("images"), files }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.json", digest.hex()))
    }

    /// Pulls a build; an error is the line that a pod shows.
    pub(super) fn pull(&self, digest: &Digest) -> Result<Build, String> {
        let bytes = match fs::read(self.path(digest)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!("ImagePullBackOff: there is no image {digest}"));
            }
            Err(error) => return Err(format!("ImagePullBackOff: image {digest} cannot be read: {error}")),
        };
        let build: Build = serde_json::from_slice(&bytes)
            .map_err(|error| format!("InvalidImage: the build facts of {digest} are wrong: {error}"))?;
        let visible = build.version.bytes().all(|c| c.is_ascii_graphic());
        if build.version.is_empty() || build.version.len() > 100 || !visible {
            return Err(format!("InvalidImage: the version of {digest} must be 1 to 100 visible ASCII characters"));
        }
        Ok(build)
    }

    /// Stores a build's facts.
    pub(super) fn push(&self, digest: &Digest, build: &Build) -> PortResult<()> {
        let path = self.path(digest);
        let bytes = serde_json::to_vec_pretty(build).map_err(|error| failed("encoding", &path, error))?;
        self.files.write(&path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_cannot_run_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::new(dir.path(), Files::at(dir.path()).unwrap());
        let digest = Digest::of(b"image");
        assert!(images.pull(&digest).unwrap_err().starts_with("ImagePullBackOff: there is no image sha256:"));
        for wrong in ["{", r#"{"version":"v1","latencyy":3}"#, r#"{"version":""}"#, r#"{"version":"a\nb"}"#] {
            images.files.write(&images.path(&digest), wrong.as_bytes()).unwrap();
            assert!(images.pull(&digest).unwrap_err().starts_with("InvalidImage: "), "{wrong}");
        }
        let build = Build { error_every: Some(5), ..Build::new("v3") };
        images.push(&digest, &build).unwrap();
        assert_eq!(images.pull(&digest), Ok(build));
    }
}
