//! What we know of the world outside, each fact with when and how it was learned.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::{Bundle, Found, ObjectKey};
use crate::digest::Digest;
use crate::names::{AlarmName, CommitSha, EnvName, Identity, ReleaseId, ServiceName, Tag};
use crate::policy::Severity;
use crate::time::Timestamp;

/// One image of a release: a digest in a service's repository, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Artifact {
    /// The digest that will be deployed (of the image, or of the image index).
    pub digest: Digest,
    /// A tag it was seen under; for people only.
    pub tag: Option<Tag>,
    /// The commit it was built from; differs from the release's when the live image is kept.
    pub commit: Option<CommitSha>,
    /// Whether it is the live image, carried over because nothing under the service's source changed.
    pub kept: bool,
    /// Size in bytes, where the registry says.
    pub size: Option<u64>,
}

/// What the source repository says of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct CommitFacts {
    /// The full commit id.
    pub commit: Option<CommitSha>,
    /// Its title, one line, at most 200 characters.
    pub title: String,
    /// Branches whose history holds it.
    pub branches: BTreeSet<String>,
    /// Its nearest ancestors, newest first, at most 50; the first is its parent.
    pub ancestors: Vec<CommitSha>,
    /// Authors, committers and co-authors of every commit between what is live and this one.
    pub people: BTreeSet<Identity>,
    /// Number of commits between what is live and this one.
    pub commits: u32,
    /// The Git tree of the commit: equal trees are equal sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<CommitSha>,
    /// Whether the commit says of itself that it can not be undone (a schema change).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forward_only: bool,
    /// Per service with a source folder: whether anything under it changed since the live commit. Absent = not known.
    pub changed: BTreeMap<ServiceName, bool>,
}

/// What another environment verified, as its ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promoted {
    /// The environment.
    pub environment: EnvName,
    /// Its verified releases, newest first, at most 10.
    pub verified: Vec<Verified>,
}

/// One release that was verified live.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verified {
    /// The release.
    pub release: ReleaseId,
    /// Its commit.
    pub commit: CommitSha,
    /// The Git tree of the commit, where known.
    pub tree: Option<CommitSha>,
    /// When it went live.
    pub at: Timestamp,
    /// Its images.
    pub digests: BTreeMap<ServiceName, Digest>,
}

/// State of an image's scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanStatus {
    /// Finished; absent severities mean zero.
    Complete,
    /// Running or waiting.
    InProgress,
    /// Tried and failed.
    Failed,
    /// The scanner can not read this image.
    Unsupported,
    /// Nobody asked for one.
    Missing,
}

/// What the registry says of an image's scan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanFact {
    /// Its state.
    pub status: ScanStatus,
    /// When it finished.
    pub completed_at: Option<Timestamp>,
    /// Findings by severity. Absent = zero, only if complete.
    pub counts: BTreeMap<Severity, u32>,
    /// The worst findings, at most 50, worst first: what waivers are matched with.
    pub findings: Vec<Finding>,
}

/// One vulnerability found in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// `CVE-…`, at most 60 characters.
    pub id: String,
    /// The package, at most 100 characters.
    pub package: String,
}

/// An image as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageFact {
    /// Tags that point at this digest now.
    pub tags: BTreeSet<Tag>,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// Size in bytes.
    pub size: Option<u64>,
}

/// What an alarm says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// All is well.
    Ok,
    /// It rings.
    Alarm,
    /// It can not tell.
    InsufficientData,
}

/// An alarm's state and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AlarmFact {
    /// The state.
    pub state: AlarmState,
    /// When it changed to this state, by the alarm's own clock.
    pub changed_at: Timestamp,
}

/// Everything the gates of one release look at, fetched by ourselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Facts {
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// Images by digest; absent = the registry does not have it.
    pub images: BTreeMap<Digest, ImageFact>,
    /// Scans by digest.
    pub scans: BTreeMap<Digest, ScanFact>,
    /// Alarms that match a pattern of the policy.
    pub alarms: BTreeMap<AlarmName, AlarmFact>,
    /// The commit; none = the source repository does not know it or was not asked.
    pub commit: Option<CommitFacts>,
    /// The objects on the cluster.
    pub objects: BTreeMap<ObjectKey, Found>,
    /// Hash of each service's manifest as it would be applied.
    pub manifests: BTreeMap<ServiceName, Digest>,
    /// The manifests that were given with the commit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bundles: BTreeMap<ServiceName, BundleFact>,
    /// What another environment says it verified; none = it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Promoted>,
    /// How many more pods the cluster has room for; none = it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<u32>,
    /// What could not be fetched, in words, by source. Never empty and passing at once.
    pub missing: BTreeMap<String, String>,
}

impl Facts {
    /// Whether both say the same, apart from when.
    pub fn same_content(&self, other: &Facts) -> bool {
        self.images == other.images
            && self.scans == other.scans
            && self.alarms == other.alarms
            && self.commit == other.commit
            && self.objects.iter().map(still).eq(other.objects.iter().map(still))
            && self.manifests == other.manifests
            && self.bundles == other.bundles
            && self.promoted == other.promoted
            && self.room == other.room
            && self.missing == other.missing
    }
}

/// A service's manifests as they were given with a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BundleFact {
    /// Where they are, and what they are.
    pub bundle: Bundle,
    /// Whether they say anything else than what serves now.
    pub differs: bool,
    /// Whether a Service can be made from them.
    pub serves: bool,
}

/// An object without its passing numbers: ready counts come and go without a decision changing.
fn still<'a>((key, found): (&'a ObjectKey, &'a Found)) -> (&'a ObjectKey, &'a Option<crate::action::Stamp>) {
    (key, &found.stamp)
}
