//! Tags that we move or protect: pointers such as `production-live`, and which tags of a repository may move at all.
//!
//! Amazon ECR User Guide, "Preventing image tags from being overwritten in Amazon ECR": a repository is `MUTABLE` or
//! `IMMUTABLE`, either with filters that exclude tags from it, so that pointers can move beside tags that cannot.

use aws_sdk_ecr::operation::put_image::PutImageError;
use aws_sdk_ecr::types::{
    ImageTagMutability, ImageTagMutabilityExclusionFilter, ImageTagMutabilityExclusionFilterType,
};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Repository, Tag};
use portcullis_domain::policy::Place;
use portcullis_engine::ports::{PortError, PortResult};

use super::EcrRegistry;
use crate::error::found as why;

/// Which tags of a repository may be put on another image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutability {
    /// All but those that match one of these wildcards (at most 5, each with at most two `*`).
    Mutable {
        /// Tags that stay where they are.
        except: Vec<String>,
    },
    /// None but those that match one of these wildcards (at most 5, each with at most two `*`).
    Immutable {
        /// Tags that may move: the pointers.
        except: Vec<String>,
    },
}

/// What pointing a tag at an image came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointed {
    /// It pointed there already; nothing was written.
    Already,
    /// It points there now.
    Moved {
        /// Where it pointed before; none = the tag was new.
        from: Option<Digest>,
    },
}

impl EcrRegistry {
    /// Points a tag at an image of the same repository, by digest. Repeating it changes nothing. The tag is read before
    /// and after: a pointer is a projection of what is live, and whoever finds another value there must look again.
    pub async fn point(
        &self,
        place: &Place,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
    ) -> PortResult<Pointed> {
        let asked = self.ask(place, repository)?;
        let wrong = |found: String| PortError::new(format!("pointing tag {tag} of {repository} at {digest}"), found);
        let from = asked.tagged(tag).await?;
        if from == Some(*digest) {
            return Ok(Pointed::Already);
        }
        let stored = asked.manifest(digest).await?.ok_or_else(|| wrong("the registry does not have it".to_owned()))?;
        let put = asked
            .client
            .put_image()
            .set_registry_id(asked.address.registry.clone())
            .repository_name(&asked.address.name)
            .image_tag(tag.as_str())
            .image_digest(digest.to_string())
            .image_manifest(stored.manifest)
            .set_image_manifest_media_type(stored.media_type)
            .send()
            .await;
        match put {
            Ok(_) => {}
            Err(error) => match error.as_service_error() {
                // Somebody pointed it there meanwhile.
                Some(PutImageError::ImageAlreadyExistsException(_)) => {}
                Some(PutImageError::ImageTagAlreadyExistsException(_)) => {
                    let found = "the repository forbids moving this tag: exclude pointer tags from its immutability";
                    return Err(wrong(found.to_owned()));
                }
                _ => return Err(wrong(why(&error))),
            },
        }
        match asked.tagged(tag).await? {
            Some(now) if now == *digest => Ok(Pointed::Moved { from }),
            Some(other) => Err(wrong(format!("it points at {other} now: somebody else moved it"))),
            None => Err(wrong("the tag is gone again".to_owned())),
        }
    }

    /// Says which tags of a repository may move. Repeating it changes nothing.
    pub async fn set_mutability(&self, place: &Place, repository: &Repository, rule: &Mutability) -> PortResult<()> {
        let asked = self.ask(place, repository)?;
        let wrong = |found: String| PortError::new(format!("setting which tags of {repository} may move"), found);
        let (kind, except) = match rule {
            Mutability::Mutable { except } if except.is_empty() => (ImageTagMutability::Mutable, except),
            Mutability::Mutable { except } => (ImageTagMutability::MutableWithExclusion, except),
            Mutability::Immutable { except } if except.is_empty() => (ImageTagMutability::Immutable, except),
            Mutability::Immutable { except } => (ImageTagMutability::ImmutableWithExclusion, except),
        };
        let filter = |text: &String| {
            ImageTagMutabilityExclusionFilter::builder()
                .filter_type(ImageTagMutabilityExclusionFilterType::Wildcard)
                .filter(text)
                .build()
        };
        let filters: Result<Vec<_>, _> = except.iter().map(filter).collect();
        let filters = filters.map_err(|error| wrong(error.to_string()))?;
        asked
            .client
            .put_image_tag_mutability()
            .set_registry_id(asked.address.registry.clone())
            .repository_name(&asked.address.name)
            .image_tag_mutability(kind)
            .set_image_tag_mutability_exclusion_filters((!filters.is_empty()).then_some(filters))
            .send()
            .await
            .map_err(|error| wrong(why(&error)))?;
        Ok(())
    }
}
