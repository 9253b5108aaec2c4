//! The image registry on Amazon ECR, and what it and Amazon Inspector know of an image's vulnerabilities.
//!
//! Amazon ECR API Reference: `DescribeImages`, `DescribeImageScanFindings`, `BatchGetImage`, `PutImage`,
//! `PutImageTagMutability`, `ListImageReferrers`.
//!
//! An image is asked for in the registry that its repository's host names, because that is what the cluster pulls: with
//! the environment's role, or, by whoever only reads, with the reader role of the registry's account. A repository that
//! does not exist has no images; it is told in the log, for it is mostly a typing error.

pub(crate) mod address;
mod index;
mod referrers;
mod scan;
mod tags;

pub(crate) use scan::severity_named;

pub use referrers::{Referrer, ReferrerKind};
pub use tags::{Mutability, Pointed};

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::operation::describe_images::DescribeImagesError;
use aws_sdk_ecr::types::{DescribeImagesFilter, ImageDetail, ImageIdentifier, ImageStatus, TagStatus};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{ImageFact, ScanFact};
use portcullis_domain::names::{Repository, Tag};
use portcullis_domain::policy::Place;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{PortError, PortResult, Registry};

use crate::error::found as why;
use crate::inspector::{Inspector, Watches};
use crate::moment;
use crate::roles::{Clients, Roles};
use address::Address;

/// At most so many tags of a repository are listed.
const MOST_TAGS: usize = 1_000;
/// Images of one answer: the most that `DescribeImages` gives.
const PAGE: i32 = 1_000;
/// At most so many images of a repository are looked through. ECR's own limit is 100,000 unless it was raised.
const MOST_IMAGES: usize = 200_000;

/// Amazon ECR as the image registry of all places.
#[derive(Debug)]
pub struct EcrRegistry {
    clients: Clients<Client>,
    inspector: Option<Box<dyn Watches>>,
}

/// One repository with the client to ask about it.
struct Asked<'a> {
    client: Client,
    address: Address,
    place: &'a Place,
    repository: &'a Repository,
}

impl EcrRegistry {
    /// The registry, with what ECR itself tells of scans.
    pub fn new(roles: Arc<Roles>) -> Self {
        Self { clients: Clients::new(roles, Client::new), inspector: None }
    }

    /// Also asks Amazon Inspector where enhanced scanning is on: for findings that ECR does not show yet, and for
    /// whether the image is still watched. Needs `inspector2:ListFindings` and `inspector2:ListCoverage`.
    #[must_use]
    pub fn with_inspector(mut self, inspector: Inspector) -> Self {
        self.inspector = Some(Box::new(inspector));
        self
    }

    fn ask<'a>(&self, place: &'a Place, repository: &'a Repository) -> PortResult<Asked<'a>> {
        let address = Address::of(place, repository)?;
        let client = self.clients.in_account(place, address.registry.as_deref(), address.region.as_deref())?;
        Ok(Asked { client, address, place, repository })
    }
}

impl Asked<'_> {
    /// The image of this id; none = not there.
    async fn describe(&self, id: ImageIdentifier, doing: impl Fn() -> String) -> PortResult<Option<ImageDetail>> {
        let answer = self
            .client
            .describe_images()
            .set_registry_id(self.address.registry.clone())
            .repository_name(&self.address.name)
            .image_ids(id)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer.image_details.unwrap_or_default().into_iter().next()),
            Err(error) => match error.as_service_error() {
                Some(DescribeImagesError::ImageNotFoundException(_)) => Ok(None),
                Some(DescribeImagesError::RepositoryNotFoundException(_)) => {
                    tracing::warn!(repository = %self.repository, "the repository does not exist in its registry");
                    Ok(None)
                }
                _ => Err(PortError::new(doing(), why(&error))),
            },
        }
    }

    async fn tagged(&self, tag: &Tag) -> PortResult<Option<Digest>> {
        let doing = || format!("looking up tag {tag} of {}", self.repository);
        let id = ImageIdentifier::builder().image_tag(tag.as_str()).build();
        let Some(detail) = self.describe(id, doing).await? else { return Ok(None) };
        digest_of(&detail).map(Some).map_err(|found| PortError::new(doing(), found))
    }
}

fn digest_of(detail: &ImageDetail) -> Result<Digest, String> {
    let text = detail.image_digest().ok_or("an image without a digest")?;
    text.parse::<Digest>().map_err(|error| error.to_string())
}

fn pushed_at(detail: &ImageDetail) -> Result<Timestamp, String> {
    let at = detail.image_pushed_at().and_then(moment::told);
    at.ok_or_else(|| "an image without the moment of its push".to_owned())
}

/// The image's tags. ECR allows longer ones than the OCI distribution specification does; those name no commit.
fn tags_of(detail: &ImageDetail) -> impl Iterator<Item = Tag> {
    detail.image_tags().iter().filter_map(|tag| Tag::new(tag).ok())
}

fn fact(detail: &ImageDetail) -> Result<ImageFact, String> {
    match detail.image_status() {
        None | Some(ImageStatus::Active) => {}
        // It exists, but nothing can pull it: a release or a rollback to it would fail on the cluster.
        Some(other) => {
            return Err(format!("the image is {other}: restore it from ECR's archive before it is deployed"));
        }
    }
    Ok(ImageFact {
        tags: tags_of(detail).collect::<BTreeSet<_>>(),
        pushed_at: pushed_at(detail)?,
        size: detail.image_size_in_bytes().and_then(|size| u64::try_from(size).ok()),
    })
}

#[async_trait]
impl Registry for EcrRegistry {
    async fn image(&self, place: &Place, repository: &Repository, digest: &Digest) -> PortResult<Option<ImageFact>> {
        let doing = || format!("reading the image {digest} of {repository}");
        let id = ImageIdentifier::builder().image_digest(digest.to_string()).build();
        let Some(detail) = self.ask(place, repository)?.describe(id, doing).await? else { return Ok(None) };
        let wrong = |found: String| PortError::new(doing(), found);
        let found = digest_of(&detail).map_err(wrong)?;
        if found != *digest {
            return Err(wrong(format!("the registry answered with {found}")));
        }
        fact(&detail).map(Some).map_err(wrong)
    }

    async fn tagged(&self, place: &Place, repository: &Repository, tag: &Tag) -> PortResult<Option<Digest>> {
        self.ask(place, repository)?.tagged(tag).await
    }

    async fn scan(&self, place: &Place, repository: &Repository, digest: &Digest) -> PortResult<ScanFact> {
        self.ask(place, repository)?.scan(self.inspector.as_deref(), digest).await
    }

    async fn list(&self, place: &Place, repository: &Repository) -> PortResult<Vec<(Tag, Digest, Timestamp)>> {
        let asked = self.ask(place, repository)?;
        let wrong = |found: String| PortError::new(format!("listing the tags of {repository}"), found);
        let mut pages = asked
            .client
            .describe_images()
            .set_registry_id(asked.address.registry.clone())
            .repository_name(&asked.address.name)
            .filter(DescribeImagesFilter::builder().tag_status(TagStatus::Tagged).build())
            .into_paginator()
            .page_size(PAGE)
            .send();
        let mut newest: Vec<(Tag, Digest, Timestamp)> = Vec::new();
        let mut seen = 0;
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) if is_no_repository(error.as_service_error()) => {
                    tracing::warn!(%repository, "the repository does not exist in its registry");
                    return Ok(Vec::new());
                }
                Err(error) => return Err(wrong(why(&error))),
            };
            for detail in page.image_details() {
                let (digest, at) = (digest_of(detail).map_err(wrong)?, pushed_at(detail).map_err(wrong)?);
                newest.extend(tags_of(detail).map(|tag| (tag, digest, at)));
            }
            seen += page.image_details().len();
            if seen > MOST_IMAGES {
                return Err(wrong(format!(
                    "more than {MOST_IMAGES} tagged images; a lifecycle policy would thin them out"
                )));
            }
            // ECR tells them in no order, so every page is read, but never more is kept than is told.
            newest.sort_unstable_by(|one, other| other.2.cmp(&one.2).then_with(|| one.0.cmp(&other.0)));
            newest.truncate(MOST_TAGS);
        }
        Ok(newest)
    }
}

fn is_no_repository(error: Option<&DescribeImagesError>) -> bool {
    matches!(error, Some(DescribeImagesError::RepositoryNotFoundException(_)))
}
