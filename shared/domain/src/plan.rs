//! The plan: what people approve, and what an approval is bound to.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, FieldHasher};
use crate::facts::{Artifact, ScanFact};
use crate::names::{CommitSha, ReleaseId, ServiceName};
use crate::policy::{SealedPolicy, Severity};

/// A plan's name: the first eight hexadecimal digits of its hash, shown as `4be1-c07f`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanId(u32);

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}-{:04x}", self.0 >> 16, self.0 & 0xffff)
    }
}
impl fmt::Debug for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl std::str::FromStr for PlanId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("plan {:?} is not of the form 4be1-c07f", text.chars().take(40).collect::<String>());
        let (high, low) = text.split_once('-').ok_or_else(wrong)?;
        let part = |hex: &str| match hex.len() {
            4 if hex.bytes().all(|c| c.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).map_err(|_| wrong()),
            _ => Err(wrong()),
        };
        Ok(Self(part(high)? << 16 | part(low)?))
    }
}
impl Serialize for PlanId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for PlanId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The class of evidence a plan was made on: findings by severity, summed over the images. More of any is worse.
pub type EvidenceClass = BTreeMap<Severity, u32>;

/// A plan. Its hash binds everything; the rest is what the next evidence is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// The name people see.
    pub id: PlanId,
    /// The whole hash, of which the name is the beginning.
    pub hash: Digest,
    /// The policy's hash.
    pub policy: Digest,
    /// The class of evidence.
    pub evidence: EvidenceClass,
}

/// What a plan is made of.
pub struct PlanInput<'a> {
    /// The release.
    pub release: ReleaseId,
    /// The effective policy, which names target and place.
    pub policy: &'a SealedPolicy,
    /// The images.
    pub artifacts: &'a BTreeMap<ServiceName, Artifact>,
    /// The hash of each service's manifest.
    pub manifests: &'a BTreeMap<ServiceName, Digest>,
    /// The commit.
    pub commit: &'a CommitSha,
    /// The digests that are live now.
    pub live: BTreeMap<&'a ServiceName, Digest>,
    /// The class of evidence.
    pub evidence: EvidenceClass,
}

impl Plan {
    /// Makes the plan: equal inputs give equal plans, any other a different one.
    pub fn of(input: PlanInput<'_>) -> Self {
        let mut hasher = FieldHasher::new("portcullis plan 1");
        let place = &input.policy.place;
        hasher.number(input.release.0);
        hasher.field(input.policy.target.app.as_str().as_bytes());
        hasher.field(input.policy.target.env.as_str().as_bytes());
        for text in [&place.account, &place.region, &place.role] {
            hasher.number(u64::from(text.is_some())).field(text.as_deref().unwrap_or("").as_bytes());
        }
        hasher.field(place.cluster.as_bytes()).field(place.namespace.as_bytes());
        hasher.number(input.artifacts.len() as u64);
        for (service, artifact) in input.artifacts {
            hasher.field(service.as_str().as_bytes()).field(artifact.digest.bytes());
            hasher.field(input.manifests.get(service).map_or(&[][..], |hash| &hash.bytes()[..]));
        }
        hasher.field(input.commit.as_str().as_bytes());
        hasher.number(input.live.len() as u64);
        for (service, digest) in &input.live {
            hasher.field(service.as_str().as_bytes()).field(digest.bytes());
        }
        hasher.number(input.evidence.len() as u64);
        for (severity, count) in &input.evidence {
            hasher.number(*severity as u64).number(u64::from(*count));
        }
        let policy = input.policy.hash();
        hasher.field(policy.bytes());
        let hash = hasher.finish();
        let b = hash.bytes();
        let id = PlanId(u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        Self { id, hash, policy, evidence: input.evidence }
    }
}

/// The class of these scans' evidence.
pub fn evidence_class<'a>(scans: impl Iterator<Item = &'a ScanFact>) -> EvidenceClass {
    let mut class = EvidenceClass::new();
    for (severity, count) in scans.flat_map(|scan| &scan.counts).filter(|(_, count)| **count > 0) {
        *class.entry(*severity).or_default() += count;
    }
    class
}

/// Whether `new` has more findings than `old` in any severity.
pub fn is_worse(new: &EvidenceClass, old: &EvidenceClass) -> bool {
    new.iter().any(|(severity, count)| *count > old.get(severity).copied().unwrap_or(0))
}
