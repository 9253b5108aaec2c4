//! An image registry whose images and scans a test sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{ImageFact, ScanFact, ScanStatus};
use portcullis_domain::names::{Repository, Tag};
use portcullis_domain::policy::{Place, Severity};
use portcullis_domain::time::Timestamp;

use super::{Faults, Op, locked};
use crate::ports::{PortResult, Registry};

#[derive(Default)]
struct State {
    images: BTreeMap<(Repository, Digest), ImageFact>,
    scans: BTreeMap<Digest, ScanFact>,
}

/// Repositories of images.
pub struct FakeRegistry {
    faults: Faults,
    state: Mutex<State>,
}

impl FakeRegistry {
    /// An empty one.
    pub fn new(faults: Faults) -> Arc<Self> {
        Arc::new(Self { faults, state: Mutex::default() })
    }

    /// Puts an image there under a tag, which moves if another digest has it; scanned clean at once.
    pub fn push(&self, repository: &Repository, digest: Digest, tag: &Tag, at: Timestamp) {
        let mut state = locked(&self.state);
        for ((there, _), image) in &mut state.images {
            if there == repository {
                image.tags.remove(tag);
            }
        }
        let fresh = ImageFact { tags: BTreeSet::new(), pushed_at: at, size: Some(50_000_000) };
        state.images.entry((repository.clone(), digest)).or_insert(fresh).tags.insert(tag.clone());
        state.scans.entry(digest).or_insert_with(|| scan(ScanStatus::Complete, at, BTreeMap::new()));
    }

    /// Removes an image.
    pub fn delete(&self, repository: &Repository, digest: &Digest) {
        locked(&self.state).images.remove(&(repository.clone(), *digest));
    }

    /// Sets what its scan says.
    pub fn set_scan(&self, digest: Digest, status: ScanStatus, at: Timestamp, counts: BTreeMap<Severity, u32>) {
        locked(&self.state).scans.insert(digest, scan(status, at, counts));
    }
}

fn scan(status: ScanStatus, at: Timestamp, counts: BTreeMap<Severity, u32>) -> ScanFact {
    let completed_at = (status == ScanStatus::Complete).then_some(at);
    ScanFact { status, completed_at, counts, findings: Vec::new() }
}

#[async_trait]
impl Registry for FakeRegistry {
    async fn image(&self, _: &Place, repository: &Repository, digest: &Digest) -> PortResult<Option<ImageFact>> {
        self.faults.before(Op::Image).await?;
        Ok(locked(&self.state).images.get(&(repository.clone(), *digest)).cloned())
    }

    async fn tagged(&self, _: &Place, repository: &Repository, tag: &Tag) -> PortResult<Option<Digest>> {
        self.faults.before(Op::Image).await?;
        let state = locked(&self.state);
        let found = state.images.iter().find(|((there, _), image)| there == repository && image.tags.contains(tag));
        Ok(found.map(|((_, digest), _)| *digest))
    }

    async fn scan(&self, _: &Place, _: &Repository, digest: &Digest) -> PortResult<ScanFact> {
        self.faults.before(Op::Scan).await?;
        let found = locked(&self.state).scans.get(digest).cloned();
        Ok(found.unwrap_or_else(|| scan(ScanStatus::Missing, Timestamp(0), BTreeMap::new())))
    }

    async fn list(&self, _: &Place, repository: &Repository) -> PortResult<Vec<(Tag, Digest, Timestamp)>> {
        self.faults.before(Op::List).await?;
        let state = locked(&self.state);
        let mut listed: Vec<_> = state
            .images
            .iter()
            .filter(|((there, _), _)| there == repository)
            .flat_map(|((_, digest), image)| image.tags.iter().map(|tag| (tag.clone(), *digest, image.pushed_at)))
            .collect();
        listed.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        listed.truncate(1_000);
        Ok(listed)
    }
}
