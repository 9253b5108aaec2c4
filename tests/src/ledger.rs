//! The ledger behind the server's back: read from its file, folded and checked here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use portcullis_domain::apply;
use portcullis_domain::event::{End, Event, What};
use portcullis_domain::names::{ReleaseId, Seq, TargetId};
use portcullis_domain::target::Target;
use portcullis_embedded::sqlite::SqliteStore;
use portcullis_engine::codec::{Commit, decode_head};
use portcullis_engine::ports::Ledger as _;
use serde_json::Value;

/// A ledger's file, opened for reading beside whoever writes it.
pub struct Ledger(Arc<SqliteStore>);

/// A target's ledger, read to its end.
#[derive(Debug, Clone)]
pub struct Fold {
    /// Its events.
    pub events: Vec<Event>,
    /// What they come to.
    pub state: Target,
}

impl Ledger {
    /// Opens the ledger of a data directory.
    pub fn open(data: &Path) -> Self {
        Self::try_open(data).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same where there may be none yet.
    pub fn try_open(data: &Path) -> Result<Self, String> {
        SqliteStore::open_read_only(data).map(Self).map_err(|error| error.to_string())
    }

    /// The position of every target's last event.
    pub async fn ends(&self) -> BTreeMap<TargetId, Seq> {
        let mut ends = BTreeMap::new();
        for target in self.0.targets().await.unwrap() {
            let head = self.0.head(&target).await.unwrap();
            ends.insert(target, head.map_or(Seq(0), |head| head.version));
        }
        ends
    }

    /// Reads a target's ledger, and checks that its chain of hashes holds and that its events come to what its head
    /// says.
    pub async fn verified(&self, target: &TargetId) -> Fold {
        let Some(head) = self.0.head(target).await.unwrap() else {
            return Fold { events: Vec::new(), state: Target::default() };
        };
        self.0.verify_chain(target).await.unwrap_or_else(|error| panic!("{error}"));
        let mut fold = Fold { events: Vec::new(), state: Target::default() };
        while fold.state.seq < head.version {
            let commits = self.0.commits(target, fold.state.seq, 200).await.unwrap();
            assert!(!commits.is_empty(), "the ledger of {target} ends at {} before its head", fold.state.seq);
            let events = commits.iter().flat_map(|commit| Commit::decode(&commit.bytes).unwrap().events);
            for event in events.filter(|event| event.seq <= head.version) {
                assert_eq!(event.seq.0, fold.state.seq.0 + 1, "a gap in the ledger of {target}");
                apply(&mut fold.state, &event);
                fold.events.push(event);
            }
        }
        assert_eq!(decode_head(&head.snapshot).unwrap(), fold.state, "the head of {target} is not what its events say");
        fold
    }
}

impl Fold {
    /// How a release stands by its events, in the words of the API.
    pub fn release(&self, id: ReleaseId) -> &'static str {
        let mut state = "absent";
        for event in self.events.iter().filter(|event| event.what.release() == Some(id)) {
            state = match &event.what {
                What::WentLive { .. } | What::WindowClosed { .. } => "live",
                What::RolledBack { .. } => "rolled_back",
                What::Resolved { .. } => "resolved",
                What::Settled { end, .. } => match end {
                    End::Rejected => "rejected",
                    End::Expired => "expired",
                    End::Superseded => "superseded",
                    End::Cancelled => "cancelled",
                    End::Observed => "observed",
                    End::Failed => "failed",
                },
                _ => state,
            };
        }
        if state == "absent" || state == "live" {
            // A release that is rolled back long after it went live is open again until that is done.
            state = self.state.releases.get(&id).map_or(state, |release| release.phase.name());
        }
        let serves = self.state.live.values().any(|serving| serving.release == Some(id));
        if state == "live" && !serves && self.state.live_release != Some(id) { "replaced" } else { state }
    }

    /// The releases it speaks of, in their order.
    pub fn releases(&self) -> Vec<ReleaseId> {
        let opened = self.events.iter().filter_map(|event| match event.what {
            What::Opened { release, .. } => Some(release),
            _ => None,
        });
        opened.collect()
    }

    /// Checks that the API says the same of this target: its last event, what is live, and every release's state.
    pub fn compare(&self, target: &Value, releases: &[Value]) -> Result<(), String> {
        let same = |what: &str, api: &Value, fold: &Value| {
            if api == fold { Ok(()) } else { Err(format!("{what}: the API says {api}, the ledger {fold}")) }
        };
        same("the last event", &target["seq"], &serde_json::json!(self.state.seq))?;
        same("what is live", &target["live"], &serde_json::to_value(&self.state.live).unwrap())?;
        let listed: BTreeMap<u64, &Value> =
            releases.iter().map(|release| (release["id"].as_u64().unwrap(), &release["state"])).collect();
        let known: BTreeMap<u64, Value> =
            self.releases().into_iter().map(|id| (id.0, Value::from(self.release(id)))).collect();
        let known: BTreeMap<u64, &Value> = known.iter().map(|(id, state)| (*id, state)).collect();
        if listed == known { Ok(()) } else { Err(format!("releases: the API says {listed:?}, the ledger {known:?}")) }
    }
}
