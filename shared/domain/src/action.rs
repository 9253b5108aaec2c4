//! What can be done outside, with every parameter frozen, and what can come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::facts::{AlarmFact, Facts};
use crate::names::{AlarmName, CommitSha, EnvName, LedgerId, Repository, Seq as LedgerSeq, ServiceName};
use crate::policy::{Colour, Metric, Place, Test, TrafficBy};
use crate::time::{Millis, Timestamp};

/// One object on the cluster that Portcullis writes: of a service, either a colour's workload or its traffic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The service.
    pub service: ServiceName,
    /// Which of its objects.
    pub part: Part,
}

/// Which of a service's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The Deployment of the colour, with its autoscaler.
    Workload(Colour),
    /// The Service (or route) that says where requests go.
    Traffic,
}

impl ObjectKey {
    /// A colour's Deployment.
    pub fn workload(service: &ServiceName, colour: Colour) -> Self {
        Self { service: service.clone(), part: Part::Workload(colour) }
    }
    /// The Service.
    pub fn traffic(service: &ServiceName) -> Self {
        Self { service: service.clone(), part: Part::Traffic }
    }
}
/// `Deployment/nestjs-service-green`, `Service/nestjs-service`.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::Workload(colour) => write!(f, "Deployment/{}-{colour}", self.service),
            Part::Traffic => write!(f, "Service/{}", self.service),
        }
    }
}
impl Serialize for ObjectKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let wrong = || serde::de::Error::custom(format!("{text:?} names no object"));
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        let (part, service) = match kind {
            "Service" => (Part::Traffic, name),
            "Deployment" => {
                let (service, colour) = name.rsplit_once('-').ok_or_else(wrong)?;
                let colour = match colour {
                    "blue" => Colour::Blue,
                    "green" => Colour::Green,
                    _ => return Err(wrong()),
                };
                (Part::Workload(colour), service)
            }
            _ => return Err(wrong()),
        };
        Ok(Self { service: ServiceName::new(service).map_err(serde::de::Error::custom)?, part })
    }
}

/// What an object holds, as far as we write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A workload: this image, so many replicas.
    Workload {
        /// The image, always by digest.
        digest: Digest,
        /// Replicas asked for.
        replicas: u32,
    },
    /// Traffic: this share of 10,000 goes to green, the rest to blue.
    Traffic {
        /// Share for green, 0 to 10,000.
        green: u16,
    },
}

/// The annotation that a write leaves on its object: which ledger, which epoch, which intention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Whose ledger.
    pub ledger: LedgerId,
    /// Raised by a person after a ledger was restored from a backup.
    pub epoch: u32,
    /// The ledger sequence number of the intention.
    pub seq: LedgerSeq,
}
impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.ledger, self.epoch, self.seq)
    }
}
impl std::str::FromStr for Fence {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not LEDGER/EPOCH/SEQUENCE");
        let mut parts = text.split('/');
        let (Some(ledger), Some(epoch), Some(seq), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Ok(Self {
            ledger: LedgerId::new(ledger).map_err(|_| wrong())?,
            epoch: epoch.parse().map_err(|_| wrong())?,
            seq: LedgerSeq(seq.parse().map_err(|_| wrong())?),
        })
    }
}

/// An object's value with the fence it was written under. No fence = nobody fenced it yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The fence found or confirmed.
    pub fence: Option<Fence>,
    /// The value.
    pub value: Value,
}

/// What was found on the cluster in the place of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Found {
    /// Its fence and value; none = there is no such object, or `foreign` says what it has in place of a value.
    pub stamp: Option<Stamp>,
    /// Ready pods (workloads only), by an observation made after the object's last change.
    pub ready: u32,
    /// What could not be understood, as text: the fence annotation or, where there is no stamp, what the object has in
    /// place of a value.
    pub foreign: Option<String>,
    /// Who else wrote it last, where known.
    pub written_by: Option<String>,
    /// What moves it, where that is known (traffic only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_by: Option<TrafficBy>,
    /// How many pods its manifest asks for, where it is not there yet and can be made (workloads only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<u32>,
    /// What keeps its pods from being ready or, for traffic, from being moved: one line each, at most 5.
    pub problems: Vec<String>,
}

/// A write that leaves its fence: accepted only on what it expects to find.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Write {
    /// The object.
    pub object: ObjectKey,
    /// Every state it may be found in: the last confirmed one, then what was intended since. An empty list or
    /// `None` in it = the object may be absent and is then created inert first.
    pub from: Vec<Option<Stamp>>,
    /// The value it will hold.
    pub to: Value,
    /// Why, for people and for the ledger's reader.
    pub purpose: Purpose,
    /// What the colour is made from; none = from what serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Bundle>,
}

/// The manifests of one service that were given with a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bundle {
    /// Where the text is stored.
    pub key: String,
    /// Its hash.
    pub hash: Digest,
}

/// Why an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It gets our fence: its value as it is, or created at rest.
    Mark,
    /// The new colour comes up with the new digest.
    Deploy,
    /// Its replicas are pinned before it gets traffic.
    Claim,
    /// Traffic moves.
    Switch,
    /// A colour that no longer serves is scaled down.
    Drain,
    /// Part of a rollback: the old state is written, whatever is there.
    Restore,
}

/// A colour's readiness, asked of an observation after the write it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AwaitReady {
    /// The workload.
    pub object: ObjectKey,
    /// It must run this.
    pub digest: Digest,
    /// So many pods must be ready (0 = none may be left).
    pub replicas: u32,
    /// The intention whose write the observation must come after.
    pub after: LedgerSeq,
}

/// Something to do outside, frozen: performing it makes no choice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Fetch the facts of the gates. Stands until the release leaves its gates.
    Look(Look),
    /// Copy every manifest of the namespace to the backup store and read it back.
    BackUp {
        /// Prefix of this attempt; the index is written last, and only if absent.
        prefix: String,
        /// How long it is kept.
        keep: Millis,
        /// To whose public key Secrets are encrypted (age, X25519); none = they are left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secrets: Option<String>,
    },
    /// Write one object.
    Write(Write),
    /// Look at one workload until it is ready. Stands until then.
    AwaitReady(AwaitReady),
    /// Run one test against the colour that does not serve yet.
    RunTest {
        /// The test.
        test: Test,
        /// The services it is run against and their colour.
        against: BTreeMap<ServiceName, Colour>,
    },
    /// Measure the next window of a watch. Stands until the watch ends.
    Measure(Measure),
    /// Read the objects of the target (after drift, or to see what others deploy).
    Observe,
}

/// Which facts to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Look {
    /// The commit, if one is known.
    pub commit: Option<CommitSha>,
    /// The commit that is live per service, to compare with.
    pub since: BTreeMap<ServiceName, CommitSha>,
    /// The source folder per service.
    pub sources: BTreeMap<ServiceName, String>,
    /// The images, with their repositories.
    pub images: BTreeMap<Digest, Repository>,
    /// Whether scans are wanted.
    pub scans: bool,
    /// Alarm patterns.
    pub alarms: BTreeSet<String>,
    /// The services whose objects are wanted.
    pub services: BTreeSet<ServiceName>,
    /// The environment to ask what it verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<EnvName>,
}

/// Which window to measure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Measure {
    /// The colour per service that changed; the metrics are of that colour's answers, a worker has only readiness.
    pub services: BTreeMap<ServiceName, Colour>,
    /// What to measure; `Requests` always comes too.
    pub metrics: BTreeSet<Metric>,
    /// Length of a window.
    pub every: Millis,
    /// Alarm patterns to read with it.
    pub alarms: BTreeSet<String>,
}

/// One service's measured window.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Window {
    /// Values by metric. Absent = no data.
    pub values: BTreeMap<Metric, i64>,
    /// Requests counted in the window.
    pub requests: u64,
    /// Of them, failed (5xx).
    pub failed: u64,
    /// Ready pods of the serving colour, if observed.
    pub ready: Option<u32>,
}

/// An intention: an action with what it belongs to. Its fence is the sequence number of the event that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intention {
    /// What to do.
    pub action: Action,
    /// Where.
    pub place: Place,
    /// Not before this moment.
    pub not_before: Timestamp,
    /// For an action that stands: how often it is done until it has its outcome.
    pub every: Option<Millis>,
    /// When it is given up, in words of the state: undone, or a person is asked.
    pub deadline: Timestamp,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The facts.
    Facts(Box<Facts>),
    /// The backup is stored, and was read back.
    BackedUp {
        /// Where its index is.
        index: String,
        /// Hash of the index.
        hash: Digest,
        /// Number of objects in it.
        objects: u32,
    },
    /// The object holds the value and our fence, by a read after the write.
    Written,
    /// Something else was found; nothing was changed.
    Drift(Found),
    /// What one look at a workload saw.
    Seen(Found),
    /// The test passed.
    TestPassed {
        /// One line of evidence.
        note: String,
    },
    /// The test failed.
    TestFailed {
        /// Why, with the first evidence; at most 500 characters.
        why: String,
    },
    /// One window was measured.
    Measured {
        /// Its start.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
        /// Per service; absent = no data at all.
        services: BTreeMap<ServiceName, Window>,
        /// The alarms as read with it.
        alarms: BTreeMap<AlarmName, AlarmFact>,
    },
    /// The target's objects.
    Observed(BTreeMap<ObjectKey, Found>),
    /// It could not be done this time; it will be tried again until its deadline.
    Failed {
        /// Why, at most 500 characters, without secrets.
        why: String,
    },
}
