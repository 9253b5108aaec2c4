//! An image registry of files: which images there are, their tags, what their scans found.
//!
//! `DIR/images/REPOSITORY/DIGEST.json`, the repository's `/` written `+` and `:` written `=`, the digest its 64
//! hexadecimal digits:
//!
//! ```json
//! {
//!   "tags": ["8f3c2a1", "main"],
//!   "pushed_at": "2026-05-04T12:00:00Z",
//!   "size": 48200000,
//!   "scan": {
//!     "status": "complete",
//!     "completed_at": "2026-05-04T12:01:00Z",
//!     "counts": { "high": 1 },
//!     "findings": [{ "severity": "high", "id": "CVE-2026-1234", "package": "openssl" }]
//!   }
//! }
//! ```
//!
//! `pushed_at` is required; a moment is RFC 3339 or milliseconds since 1970; `status` is `complete`, `in_progress`,
//! `failed`, `unsupported` or `missing`. No `scan` = nobody asked for one. Unknown keys are let be. The files are read at
//! every call, so that they may be changed by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{Finding, ImageFact, ScanFact, ScanStatus};
use portcullis_domain::names::{Repository, Tag};
use portcullis_domain::policy::Place;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{PortError, PortResult, Registry};
use serde_json::json;

use crate::blocking;
use crate::durable::Durable;
use crate::fields::{Fields, written};

/// At most so many tags of a repository are listed.
const MOST_TAGS: usize = 1_000;
/// At most so many findings of an image are told, the worst.
const MOST_FINDINGS: usize = 50;

/// A registry of files; the account, region and role of a [`Place`] mean nothing to it.
#[derive(Debug, Clone)]
pub struct FileRegistry {
    images: Arc<Images>,
}

#[derive(Debug)]
struct Images {
    files: Durable,
    /// One at a time, so that a tag that moves is never seen nowhere.
    turn: Mutex<()>,
}

/// One image's file.
struct Image {
    fact: ImageFact,
    scan: Option<ScanFact>,
}

impl FileRegistry {
    /// Opens or creates the registry in a directory.
    pub fn new(directory: &Path) -> PortResult<Self> {
        let files = Durable::at(&directory.join("images"))
            .map_err(|error| PortError::new(format!("opening the images in {}", directory.display()), error))?;
        Ok(Self { images: Arc::new(Images { files, turn: Mutex::default() }) })
    }

    /// Pushes an image: its tags are taken from other images of the repository. The scan of an image that is there
    /// already is kept.
    pub fn put_image(&self, repository: &Repository, digest: &Digest, fact: &ImageFact) -> PortResult<()> {
        self.images.turn(|images| {
            let scan = images.image(repository, digest)?.and_then(|image| image.scan);
            images.store(repository, digest, &Image { fact: fact.clone(), scan })?;
            images.take_tags_from_others(repository, digest, &fact.tags)
        })
    }

    /// Says what the scan of an image found. Fails if the image is not there.
    pub fn put_scan(&self, repository: &Repository, digest: &Digest, scan: &ScanFact) -> PortResult<()> {
        self.images.turn(|images| {
            let mut image = images.existing(repository, digest)?;
            image.scan = Some(scan.clone());
            images.store(repository, digest, &image)
        })
    }

    /// Lets a tag point at an image, and at no other. Fails if the image is not there.
    pub fn move_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> PortResult<()> {
        self.images.turn(|images| {
            let mut image = images.existing(repository, digest)?;
            image.fact.tags.insert(tag.clone());
            images.store(repository, digest, &image)?;
            images.take_tags_from_others(repository, digest, &BTreeSet::from([tag.clone()]))
        })
    }

    /// Deletes an image with its tags and its scan; false if it was not there.
    pub fn remove_image(&self, repository: &Repository, digest: &Digest) -> PortResult<bool> {
        self.images.turn(|images| {
            let file = images.file(repository, digest)?;
            match fs::remove_file(&file) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(PortError::new(format!("removing {}", file.display()), error)),
            }
        })
    }

    async fn look<T: Send + 'static>(
        &self,
        repository: &Repository,
        work: impl FnOnce(&Images, &Repository) -> PortResult<T> + Send + 'static,
    ) -> PortResult<T> {
        let (images, repository) = (Arc::clone(&self.images), repository.clone());
        blocking("reading the images", move || images.turn(|images| work(images, &repository))).await
    }
}

#[async_trait]
impl Registry for FileRegistry {
    async fn image(&self, _: &Place, repository: &Repository, digest: &Digest) -> PortResult<Option<ImageFact>> {
        let digest = *digest;
        self.look(repository, move |images, repository| Ok(images.image(repository, &digest)?.map(|image| image.fact)))
            .await
    }

    async fn tagged(&self, _: &Place, repository: &Repository, tag: &Tag) -> PortResult<Option<Digest>> {
        let tag = tag.clone();
        self.look(repository, move |images, repository| {
            let mut images = images.all(repository)?.into_iter().filter(|(_, image)| image.fact.tags.contains(&tag));
            let found = images.next().map(|(digest, _)| digest);
            if images.next().is_some() {
                let doing = format!("looking for tag {tag} in the images of {repository}");
                return Err(PortError::new(doing, "more than one image has it"));
            }
            Ok(found)
        })
        .await
    }

    async fn scan(&self, _: &Place, repository: &Repository, digest: &Digest) -> PortResult<ScanFact> {
        let digest = *digest;
        self.look(repository, move |images, repository| {
            let none = ScanFact {
                status: ScanStatus::Missing,
                completed_at: None,
                counts: BTreeMap::new(),
                findings: Vec::new(),
            };
            Ok(images.image(repository, &digest)?.and_then(|image| image.scan).unwrap_or(none))
        })
        .await
    }

    async fn list(&self, _: &Place, repository: &Repository) -> PortResult<Vec<(Tag, Digest, Timestamp)>> {
        self.look(repository, |images, repository| {
            let mut all: Vec<_> = images
                .all(repository)?
                .into_iter()
                .flat_map(|(digest, image)| {
                    let at = image.fact.pushed_at;
                    image.fact.tags.into_iter().map(move |tag| (tag, digest, at))
                })
                .collect();
            all.sort_by(|one, other| other.2.cmp(&one.2).then_with(|| one.0.cmp(&other.0)));
            all.truncate(MOST_TAGS);
            Ok(all)
        })
        .await
    }
}

impl Images {
    fn turn<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        work(self)
    }

    fn folder(&self, repository: &Repository) -> PortResult<PathBuf> {
        let name = repository.as_str().replace('/', "+").replace(':', "=");
        if name.starts_with('.') {
            return Err(PortError::new(format!("reading the images of {repository}"), "its name begins with a dot"));
        }
        Ok(self.files.root().join(name))
    }

    fn file(&self, repository: &Repository, digest: &Digest) -> PortResult<PathBuf> {
        Ok(self.folder(repository)?.join(format!("{}.json", digest.hex())))
    }

    fn image(&self, repository: &Repository, digest: &Digest) -> PortResult<Option<Image>> {
        Fields::read(&self.file(repository, digest)?)?.map(|fields| image(&fields)).transpose()
    }

    fn existing(&self, repository: &Repository, digest: &Digest) -> PortResult<Image> {
        self.image(repository, digest)?.ok_or_else(|| {
            PortError::new(format!("changing the image {digest} of {repository}"), "the registry does not have it")
        })
    }

    /// Every image of a repository. Files that are not named by a digest are let be.
    fn all(&self, repository: &Repository) -> PortResult<Vec<(Digest, Image)>> {
        let folder = self.folder(repository)?;
        let wrong = |error: io::Error| PortError::new(format!("reading {}", folder.display()), error);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(wrong)?,
        };
        let mut images = Vec::new();
        for entry in entries {
            let path = entry.map_err(wrong)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            let Some(Ok(digest)) = name.map(|hex| format!("sha256:{hex}").parse::<Digest>()) else { continue };
            if let Some(fields) = Fields::read(&path)? {
                images.push((digest, image(&fields)?));
            }
        }
        Ok(images)
    }

    fn store(&self, repository: &Repository, digest: &Digest, image: &Image) -> PortResult<()> {
        let file = self.file(repository, digest)?;
        let fact = &image.fact;
        let mut json = json!({ "tags": fact.tags, "pushed_at": written(fact.pushed_at), "size": fact.size });
        if let Some(scan) = &image.scan {
            json["scan"] = json!({
                "status": scan.status,
                "completed_at": scan.completed_at.map(written),
                "counts": scan.counts,
                "findings": scan.findings,
            });
        }
        let text = format!("{json:#}\n");
        let doing = || format!("storing {}", file.display());
        self.files.replace(&file, &[text.as_bytes()]).map_err(|error| PortError::new(doing(), error))
    }

    fn take_tags_from_others(&self, repository: &Repository, keeps: &Digest, tags: &BTreeSet<Tag>) -> PortResult<()> {
        for (digest, mut image) in self.all(repository)? {
            let before = image.fact.tags.len();
            if digest != *keeps {
                image.fact.tags.retain(|tag| !tags.contains(tag));
            }
            if image.fact.tags.len() != before {
                self.store(repository, &digest, &image)?;
            }
        }
        Ok(())
    }
}

fn image(fields: &Fields) -> PortResult<Image> {
    let fact = ImageFact {
        tags: fields.optional("tags")?.unwrap_or_default(),
        pushed_at: fields.moment("pushed_at")?.ok_or_else(|| fields.wrong("pushed_at", "is missing"))?,
        size: fields.optional("size")?,
    };
    let scan = fields.object("scan")?.map(|scan| {
        let mut findings: Vec<Finding> = scan.optional("findings")?.unwrap_or_default();
        for finding in &mut findings {
            finding.id = finding.id.chars().take(60).collect();
            finding.package = finding.package.chars().take(100).collect();
        }
        findings.sort();
        findings.truncate(MOST_FINDINGS);
        Ok(ScanFact {
            status: scan.required("status")?,
            completed_at: scan.moment("completed_at")?,
            counts: scan.optional("counts")?.unwrap_or_default(),
            findings,
        })
    });
    Ok(Image { fact, scan: scan.transpose()? })
}
