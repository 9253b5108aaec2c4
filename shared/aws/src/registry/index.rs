//! Image indexes: one digest that stands for an image per platform (OCI Image Format Specification, "Image Index";
//! Docker's manifest list is the same shape).

use aws_sdk_ecr::types::ImageIdentifier;
use portcullis_domain::digest::Digest;
use portcullis_engine::ports::{PortError, PortResult};
use serde::Deserialize;

use super::Asked;
use crate::error::found as why;

/// Media types of an index.
const INDEX: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// Media types of one platform's image.
const IMAGE: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// The most platforms that an index is looked at for.
const MOST_PLATFORMS: usize = 32;

/// A manifest with its media type, as the registry has it.
pub(super) struct Stored {
    pub(super) manifest: String,
    pub(super) media_type: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: Digest,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
}

impl Asked<'_> {
    /// The manifest of a digest; none = not there.
    pub(super) async fn manifest(&self, digest: &Digest) -> PortResult<Option<Stored>> {
        let wrong =
            |found: String| PortError::new(format!("reading the manifest {digest} of {}", self.repository), found);
        let answer = self
            .client
            .batch_get_image()
            .set_registry_id(self.address.registry.clone())
            .repository_name(&self.address.name)
            .image_ids(ImageIdentifier::builder().image_digest(digest.to_string()).build())
            .set_accepted_media_types(Some(INDEX.iter().chain(&IMAGE).map(|&kind| kind.to_owned()).collect()))
            .send()
            .await
            .map_err(|error| wrong(why(&error)))?;
        if let Some(image) = answer.images.unwrap_or_default().into_iter().next() {
            let manifest = image.image_manifest.ok_or_else(|| wrong("an image without a manifest".to_owned()))?;
            return Ok(Some(Stored { manifest, media_type: image.image_manifest_media_type }));
        }
        let failures = answer.failures.unwrap_or_default();
        match failures.first().and_then(|failure| failure.failure_code()) {
            None | Some(aws_sdk_ecr::types::ImageFailureCode::ImageNotFound) => Ok(None),
            Some(code) => Err(wrong(code.to_string())),
        }
    }

    /// The images that an index stands for; none = it is no index, or not there.
    pub(super) async fn platforms(&self, digest: &Digest) -> PortResult<Option<Vec<Digest>>> {
        let Some(stored) = self.manifest(digest).await? else { return Ok(None) };
        platforms(&stored)
            .map_err(|found| PortError::new(format!("reading the image index {digest} of {}", self.repository), found))
    }
}

/// The digests of the platforms' images. What is built about an image (attestations, which name no system that could
/// run them) is no platform.
fn platforms(stored: &Stored) -> Result<Option<Vec<Digest>>, String> {
    if !stored.media_type.as_deref().is_some_and(|kind| INDEX.contains(&kind)) {
        return Ok(None);
    }
    let index: Index = serde_json::from_str(&stored.manifest).map_err(|error| error.to_string())?;
    let runs = |one: &&Descriptor| one.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    let mut digests = Vec::new();
    for one in index.manifests.iter().filter(runs) {
        if !IMAGE.contains(&one.media_type.as_str()) {
            return Err(format!("it holds {}, which is neither an image nor about one", one.digest));
        }
        digests.push(one.digest);
    }
    match digests.len() {
        0 => Err("it holds no image".to_owned()),
        count if count > MOST_PLATFORMS => Err(format!("it holds {count} images, more than {MOST_PLATFORMS}")),
        _ => Ok(Some(digests)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stored(manifests: &Value) -> Stored {
        let manifest = json!({ "schemaVersion": 2, "mediaType": INDEX[0], "manifests": manifests }).to_string();
        Stored { manifest, media_type: Some(INDEX[0].to_owned()) }
    }

    fn one(of: &[u8], os: &str, kind: &str) -> Value {
        let platform = json!({ "architecture": "arm64", "os": os });
        json!({ "mediaType": kind, "digest": Digest::of(of), "size": 1, "platform": platform })
    }

    #[test]
    fn attestations_are_no_platform() {
        let stored = stored(&json!([
            one(b"arm", "linux", IMAGE[0]),
            one(b"amd", "linux", IMAGE[1]),
            one(b"about", "unknown", IMAGE[0])
        ]));
        assert_eq!(platforms(&stored), Ok(Some(vec![Digest::of(b"arm"), Digest::of(b"amd")])));
    }

    #[test]
    fn an_image_is_no_index() {
        let image = Stored { manifest: "{}".to_owned(), media_type: Some(IMAGE[0].to_owned()) };
        assert_eq!(platforms(&image), Ok(None));
    }

    #[test]
    fn an_index_that_cannot_be_looked_through_is_an_error() {
        assert!(platforms(&stored(&json!([]))).is_err());
        assert!(platforms(&stored(&json!([one(b"about", "unknown", IMAGE[0])]))).is_err());
        assert!(platforms(&stored(&json!([one(b"nested", "linux", INDEX[0])]))).is_err());
        assert!(platforms(&stored(&json!(vec![one(b"x", "linux", IMAGE[0]); MOST_PLATFORMS + 1]))).is_err());
    }
}
