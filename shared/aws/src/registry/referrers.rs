//! What was pushed about an image: its bill of materials, its signatures, its attestations.
//!
//! Amazon ECR API Reference, `ListImageReferrers`; OCI Distribution Specification 1.1, "Listing Referrers". That one is
//! there says nothing about whether it is true: a signature must be verified before it counts.

use std::collections::BTreeMap;

use aws_sdk_ecr::operation::list_image_referrers::ListImageReferrersError;
use aws_sdk_ecr::types::{ImageReferrer, SubjectIdentifier};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::Repository;
use portcullis_domain::policy::Place;
use portcullis_engine::ports::{PortError, PortResult};

use super::EcrRegistry;
use crate::error::found as why;

/// Referrers of one answer: the most that ECR gives.
const PAGE: i32 = 50;
/// At most so many referrers of one image are read.
const MOST_REFERRERS: usize = 500;

/// What a referrer is, by its artifact type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferrerKind {
    /// A software bill of materials (SPDX or `CycloneDX`).
    Sbom,
    /// A signature (Notary Project, as AWS Signer makes it, or cosign).
    Signature,
    /// A signed statement (in-toto or a sigstore bundle), such as the provenance of a build.
    Attestation,
    /// Something else.
    Other,
}

impl ReferrerKind {
    fn of(artifact_type: &str) -> Self {
        match artifact_type {
            "application/spdx+json"
            | "text/spdx+json"
            | "application/vnd.cyclonedx+json"
            | "application/vnd.cyclonedx" => Self::Sbom,
            "application/vnd.cncf.notary.signature"
            | "application/vnd.dev.cosign.artifact.sig.v1+json"
            | "application/vnd.dev.cosign.simplesigning.v1+json" => Self::Signature,
            "application/vnd.in-toto+json" => Self::Attestation,
            bundle if bundle.starts_with("application/vnd.dev.sigstore.bundle") => Self::Attestation,
            _ => Self::Other,
        }
    }
}

/// One artifact that refers to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The digest of its manifest.
    pub digest: Digest,
    /// What it is.
    pub kind: ReferrerKind,
    /// Its artifact type as pushed; empty = it has none.
    pub artifact_type: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Size in bytes.
    pub size: u64,
}

impl EcrRegistry {
    /// What refers to an image, by digest. Empty for an image that the registry does not have.
    pub async fn referrers(
        &self,
        place: &Place,
        repository: &Repository,
        digest: &Digest,
    ) -> PortResult<Vec<Referrer>> {
        let asked = self.ask(place, repository)?;
        let wrong = |found: String| PortError::new(format!("listing what refers to {digest} of {repository}"), found);
        let subject = SubjectIdentifier::builder().image_digest(digest.to_string()).build();
        let subject = subject.map_err(|error| wrong(error.to_string()))?;
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let answer = asked
                .client
                .list_image_referrers()
                .set_registry_id(asked.address.registry.clone())
                .repository_name(&asked.address.name)
                .subject_id(subject.clone())
                .max_results(PAGE)
                .set_next_token(token.clone())
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if is_no_repository(error.as_service_error()) => return Ok(Vec::new()),
                Err(error) => return Err(wrong(why(&error))),
            };
            for one in answer.referrers() {
                found.push(referrer(one).map_err(wrong)?);
            }
            let next = answer.next_token.filter(|next| !next.is_empty());
            if next.is_none() {
                break;
            }
            if next == token || found.len() > MOST_REFERRERS {
                return Err(wrong(format!("the list does not end within {MOST_REFERRERS}")));
            }
            token = next;
        }
        found.sort_by_key(|one| (one.kind, one.digest));
        Ok(found)
    }
}

fn is_no_repository(error: Option<&ListImageReferrersError>) -> bool {
    matches!(error, Some(ListImageReferrersError::RepositoryNotFoundException(_)))
}

fn referrer(one: &ImageReferrer) -> Result<Referrer, String> {
    let artifact_type = one.artifact_type().unwrap_or_default().to_owned();
    Ok(Referrer {
        digest: one.digest().parse().map_err(|error: portcullis_domain::digest::InvalidDigest| error.to_string())?,
        kind: ReferrerKind::of(&artifact_type),
        artifact_type,
        annotations: one.annotations().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
        size: u64::try_from(one.size()).unwrap_or(0),
    })
}
